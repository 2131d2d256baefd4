//! TLS between platform and node without authorities: each side knows the other's certificate by its
//! digest, and takes no other.
//!
//! # Invariants
//! * A pinned connection is to the holder of exactly that key: neither names nor dates nor authorities
//!   count.
//! * The key file is readable by its owner only and never leaves the machine.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use p256::ecdsa::SigningKey;
use p256::pkcs8::EncodePrivateKey;
use rcgen::{CertificateParams, DistinguishedName, DnType, SerialNumber};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::model::IdError;
use crate::model::id::hex;
use crate::render::vpn::pki::Key;

/// The files in the data directory.
const KEY: &str = "node-tls.key";
const CERTIFICATE: &str = "node-tls.crt";

/// The SHA-256 of a certificate in DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for Pin {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError {
            text: text.chars().take(80).collect(),
            wanted: "a pin (the SHA-256 of a certificate, 64 hex digits)",
        };
        // As `openssl x509 -fingerprint -sha256` prints it, too.
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (nth, byte) in bytes.iter_mut().enumerate() {
            let pair = digits.get(nth * 2..nth * 2 + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// Why this node has no key of its own.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The files cannot be read or written.
    #[error("could not {what} `{}`", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No key can be made.
    #[error("could not make a key ({0})")]
    Make(String),
    /// The files do not fit each other.
    #[error("`{}` is damaged ({reason}): remove both files beside it and join again", path.display())]
    Damaged {
        /// The key file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The key and certificate of this node.
pub struct OwnKey {
    certificate: Vec<u8>,
    key: Vec<u8>,
    path: PathBuf,
}

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnKey({})", self.pin())
    }
}

impl OwnKey {
    /// What there is in the data directory, or a new one.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub fn load_or_make(data_dir: &Path) -> Result<Self, TlsError> {
        let (path, certificate_path) = (data_dir.join(KEY), data_dir.join(CERTIFICATE));
        let read = |path: &Path| match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TlsError::Io { what: "read", path: path.to_owned(), source }),
        };
        if let (Some(key), Some(certificate)) = (read(&path)?, read(&certificate_path)?) {
            return Ok(Self { certificate, key, path });
        }
        let (key, certificate) = make().map_err(TlsError::Make)?;
        // The key first: a certificate without one is made again.
        for (path, bytes) in [(&path, &key), (&certificate_path, &certificate)] {
            write(path, bytes).map_err(|source| TlsError::Io {
                what: "write",
                path: path.clone(),
                source,
            })?;
        }
        Ok(Self { certificate, key, path })
    }

    /// What the other side knows it by.
    pub fn pin(&self) -> Pin {
        Pin::of(&self.certificate)
    }

    /// How to serve with it.
    ///
    /// # Errors
    /// When key and certificate do not fit.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let damaged = |error: rustls::Error| TlsError::Damaged {
            path: self.path.clone(),
            reason: error.to_string(),
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let chain = vec![CertificateDer::from(self.certificate.clone())];
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(damaged)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(damaged)?;
        Ok(Arc::new(config))
    }
}

fn make() -> Result<(Vec<u8>, Vec<u8>), String> {
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    let signing = SigningKey::from_slice(&seed).map_err(|error| error.to_string())?;
    let document = signing.to_pkcs8_der().map_err(|error| error.to_string())?;
    let mut params = CertificateParams::new(vec!["flagops-node".to_owned()])
        .map_err(|error| error.to_string())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "flagops node");
    params.distinguished_name = name;
    params.serial_number =
        Some(SerialNumber::from_slice(&Sha256::digest(document.as_bytes())[..16]));
    let certificate = params.self_signed(&Key::new(signing)).map_err(|error| error.to_string())?;
    Ok((document.as_bytes().to_vec(), certificate.der().to_vec()))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How to talk to whoever holds the key of `pin`, and to nobody else.
///
/// # Errors
/// When the library has no protocol for it, with its words.
pub fn pinned(pin: Pin) -> Result<ClientConfig, String> {
    let provider = provider();
    let verifier = Arc::new(PinVerifier { pin, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

/// Takes one certificate.
#[derive(Debug)]
struct PinVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Pin::of(certificate) == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let words =
            format!("the certificate is {}, and {} is pinned", Pin::of(certificate), self.pin);
        Err(rustls::Error::General(words))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    #[test]
    fn a_key_survives_a_restart_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = OwnKey::load_or_make(dir.path()).unwrap();
        let second = OwnKey::load_or_make(dir.path()).unwrap();
        assert_eq!(first.pin(), second.pin());
        let mode = fs::metadata(dir.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(first.pin().to_string().parse::<Pin>().unwrap(), first.pin());
        assert!("xyz".parse::<Pin>().is_err());
    }

    /// Whether somebody who pins `pin` gets through to `own`.
    async fn gets_through(own: &OwnKey, pin: Pin) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(own.server().unwrap());
        let server = async move {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello").await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
            }
        };
        let client = async {
            let connector = TlsConnector::from(Arc::new(pinned(pin).unwrap()));
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("10.0.0.5").unwrap();
            let mut text = String::new();
            if let Ok(mut stream) = connector.connect(name, stream).await {
                stream.read_to_string(&mut text).await.unwrap();
            }
            text
        };
        tokio::join!(server, client).1 == "hello"
    }

    #[tokio::test]
    async fn only_the_pinned_key_is_talked_to() {
        let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = OwnKey::load_or_make(dir.path()).unwrap();
        let other = OwnKey::load_or_make(other_dir.path()).unwrap();
        assert!(gets_through(&own, own.pin()).await);
        assert!(!gets_through(&own, other.pin()).await);
    }
}
