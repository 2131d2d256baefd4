//! The wildcard certificate: read, checked, and read again when its files change.
//!
//! # Invariants
//! * What is served is always whole: certificate and key that belong together, for the domain.
//! * New files that cannot be used are told once and change nothing.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Chain;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file is not there, not ours to read, or no PEM.
    #[error("`{}` cannot be read: it must be a PEM file that flagops may read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The file has none.
    #[error("`{}` has no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// They do not belong together, or are of a kind that nobody serves.
    #[error("certificate `{}` and key `{}` cannot be used together", certificate.display(), key.display())]
    Pair {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// It is for other hosts.
    #[error("certificate `{}` is not for `*.{domain}`: players would be warned", path.display())]
    OtherName {
        /// The file.
        path: PathBuf,
        /// What it should be for.
        domain: String,
        /// Why.
        source: rustls::Error,
    },
}

/// The files, and what they were when they could be used last.
#[derive(Debug)]
pub(super) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    domain: String,
    configs: RwLock<Configs>,
}

/// How TLS is spoken.
#[derive(Debug, Clone)]
pub(super) struct Configs {
    /// Before HTTP, of either version.
    pub(super) http: Arc<ServerConfig>,
    /// Before anything else.
    pub(super) stream: Arc<ServerConfig>,
}

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub(super) fn open(
        certificate: &Path,
        key: &Path,
        domain: &str,
    ) -> Result<Self, CertificateError> {
        let configs = RwLock::new(load(certificate, key, domain)?);
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Self { certificate, key, domain: domain.to_owned(), configs })
    }

    /// How TLS is spoken now.
    pub(super) fn configs(&self) -> Configs {
        self.configs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again whenever they change, until `stop`.
    pub(super) async fn keep(&self, stop: CancellationToken) {
        let mut known = self.stamp().await;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
            let stamp = self.stamp().await;
            if stamp != known {
                known = stamp;
                self.reload();
            }
        }
    }

    /// Takes the files as they are, when they can be used.
    pub(super) fn reload(&self) {
        match load(&self.certificate, &self.key, &self.domain) {
            Ok(configs) => {
                *self.configs.write().unwrap_or_else(PoisonError::into_inner) = configs;
                tracing::info!(path = %self.certificate.display(), "took the new certificate of the ingress");
            }
            Err(error) => tracing::error!(
                "the new certificate of the ingress cannot be used, the old one stays: {}",
                Chain(&error)
            ),
        }
    }

    /// What changes when a file does.
    async fn stamp(&self) -> [Option<(u64, u64, i64, i64)>; 2] {
        let of = |file: Metadata| (file.ino(), file.len(), file.mtime(), file.mtime_nsec());
        let certificate = tokio::fs::metadata(&self.certificate).await.ok().map(of);
        [certificate, tokio::fs::metadata(&self.key).await.ok().map(of)]
    }
}

fn load(certificate: &Path, key: &Path, domain: &str) -> Result<Configs, CertificateError> {
    let cannot_read = |path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Read { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(cannot_read(certificate))?;
    let first =
        chain.first().ok_or_else(|| CertificateError::Empty { path: certificate.into() })?;
    check_name(first, domain).map_err(|source| CertificateError::OtherName {
        path: certificate.to_owned(),
        domain: domain.to_owned(),
        source,
    })?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(cannot_read(key))?;
    let unusable = |source| CertificateError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let stream = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    let mut http = stream.clone();
    http.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Configs { http: Arc::new(http), stream: Arc::new(stream) })
}

/// Whether `certificate` is for every name one label below `domain`.
fn check_name(certificate: &CertificateDer<'_>, domain: &str) -> Result<(), rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let name = ServerName::try_from(format!("any-label.{domain}"))
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    verify_server_name(&parsed, &name)
}
