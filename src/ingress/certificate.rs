//! The wildcard certificate: read, checked, and read again when its files change. Where an authority gives
//! it, it is ordered when it is due.
//!
//! # Invariants
//! * What is served is always whole: certificate and key that belong together, for the domain.
//! * New files that cannot be used are told once and change nothing.
//! * An order that fails changes nothing but what is told.
//!
//! # Not here
//! When it is due (`planner::certificate`), ordering (`acme`), who is told (`daemon::certificate`).

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
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use x509_cert::der::Decode;

use super::acme::Acme;
use crate::model::{Clock, Timestamp};
use crate::planner::certificate::{Next, Origin, Validity, next};
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
    /// It does not say from when to when it is valid.
    #[error("certificate `{}` has no validity that can be read", path.display())]
    Validity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: x509_cert::der::Error,
    },
}

/// How the certificate stands, for whoever tells people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateState {
    /// Where it comes from.
    pub origin: Origin,
    /// When the one that is served is valid; `None` while there is none.
    pub held: Option<Validity>,
    /// Why the last order failed, if one did since the last that worked.
    pub why: Option<String>,
}

/// The files, and what they were when they could be used last.
#[derive(Debug)]
pub(super) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    domain: String,
    /// `None` while the first one is being ordered.
    configs: RwLock<Option<Configs>>,
    acme: Option<Acme>,
    state: watch::Sender<CertificateState>,
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
        let (configs, held) = load(certificate, key, domain)?;
        Ok(Self::new(certificate, key, domain, Some((configs, held)), None))
    }

    /// The certificate that `acme` keeps; one that it got before is served at once.
    pub(super) fn ordered(acme: Acme, domain: &str) -> Self {
        let file = acme.certificate();
        let got = match load(&file, &file, domain) {
            Ok(got) => Some(got),
            Err(CertificateError::Read { .. }) if !file.exists() => None,
            Err(error) => {
                tracing::warn!("another certificate is ordered: {}", Chain(&error));
                None
            }
        };
        Self::new(&file, &file, domain, got, Some(acme))
    }

    fn new(
        certificate: &Path,
        key: &Path,
        domain: &str,
        got: Option<(Configs, Validity)>,
        acme: Option<Acme>,
    ) -> Self {
        let (configs, held) = got.unzip();
        let origin = if acme.is_some() { Origin::Authority } else { Origin::Files };
        let (state, _) = watch::channel(CertificateState { origin, held, why: None });
        Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            domain: domain.to_owned(),
            configs: RwLock::new(configs),
            acme,
            state,
        }
    }

    /// How TLS is spoken now; `None` while there is no certificate.
    pub(super) fn configs(&self) -> Option<Configs> {
        self.configs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How it stands, now and later.
    pub(super) fn state(&self) -> watch::Receiver<CertificateState> {
        self.state.subscribe()
    }

    /// Reads the files again whenever they change, and orders when it is due, until `stop`.
    pub(super) async fn keep(&self, clock: &dyn Clock, stop: CancellationToken) {
        let mut known = self.stamp().await;
        loop {
            if let Some(acme) = &self.acme {
                tokio::select! {
                    () = self.order_if_due(acme, clock) => {}
                    // Whatever is under way is begun anew at the next start.
                    () = stop.cancelled() => return,
                }
            }
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

    async fn order_if_due(&self, acme: &Acme, clock: &dyn Clock) {
        let held = self.state.borrow().held;
        if let Next::Wait(_) = next(held, acme.failures(), clock.now()) {
            return;
        }
        tracing::info!("ordering a certificate for *.{}", self.domain);
        let got = acme.obtain(&self.domain).await;
        let why = match got {
            Ok(()) => {
                self.reload();
                self.due_already(acme, clock.now())
            }
            Err(error) => {
                let again = acme.fail(clock.now()).again();
                let why = Chain(&error).to_string();
                tracing::error!(
                    "no certificate for *.{}, tried again at {again}: {why}",
                    self.domain
                );
                Some(why)
            }
        };
        self.state.send_if_modified(|state| std::mem::replace(&mut state.why, why.clone()) != why);
    }

    /// What is wrong when the certificate that was just given is to be renewed at once. It counts as a failure:
    /// an authority would be asked without end.
    fn due_already(&self, acme: &Acme, now: Timestamp) -> Option<String> {
        let held = self.state.borrow().held;
        let Next::Order = next(held, None, now) else { return None };
        let again = acme.fail(now).again();
        let why = "the certificate that was given has less than a third of its life left: \
                   is the clock of this machine right?";
        tracing::error!("*.{}, tried again at {again}: {why}", self.domain);
        Some(why.to_owned())
    }

    /// Takes the files as they are, when they can be used.
    pub(super) fn reload(&self) {
        match load(&self.certificate, &self.key, &self.domain) {
            Ok((configs, held)) => {
                *self.configs.write().unwrap_or_else(PoisonError::into_inner) = Some(configs);
                self.state.send_modify(|state| state.held = Some(held));
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

/// What is served with these files, and how long it is valid.
pub(super) fn load(
    certificate: &Path,
    key: &Path,
    domain: &str,
) -> Result<(Configs, Validity), CertificateError> {
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
    let held = validity(first)
        .map_err(|source| CertificateError::Validity { path: certificate.to_owned(), source })?;
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
    Ok((Configs { http: Arc::new(http), stream: Arc::new(stream) }, held))
}

fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, x509_cert::der::Error> {
    let parsed = x509_cert::Certificate::from_der(certificate)?;
    let at = |time: x509_cert::time::Time| {
        let millis = i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(millis)
    };
    let it = parsed.tbs_certificate.validity;
    Ok(Validity { from: at(it.not_before), until: at(it.not_after) })
}

/// Whether `certificate` is for every name one label below `domain`.
fn check_name(certificate: &CertificateDer<'_>, domain: &str) -> Result<(), rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let name = ServerName::try_from(format!("any-label.{domain}"))
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    verify_server_name(&parsed, &name)
}
