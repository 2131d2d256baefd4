//! An ingress on a free port, services behind it, and clients that send bytes.

use std::convert::Infallible;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use rcgen::{
    CertificateParams, KeyIdMethod, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
    SignatureAlgorithm,
};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::config::IngressConfig;
use crate::ingress::{Ingress, Protocol, Reach, Route, Routes, Table};
use crate::model::InstanceId;

pub(super) const DOMAIN: &str = "ctf.test";

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Stage {
    pub(super) tls: SocketAddr,
    pub(super) plain: SocketAddr,
    table: Arc<Table>,
    routes: Routes,
    root: CertificateDer<'static>,
    pub(super) tasks: TaskTracker,
    _stop: DropGuard,
    _files: tempfile::TempDir,
}

/// What a service was sent.
pub(super) type Seen = Arc<Mutex<Vec<u8>>>;

/// A certificate for `*.<domain>` in files.
pub(super) fn certificate(
    folder: &std::path::Path,
    domain: &str,
) -> (PathBuf, PathBuf, CertificateDer<'static>) {
    let key = Key::new();
    let mut params = CertificateParams::new([format!("*.{domain}")]).unwrap();
    params.serial_number = Some(SerialNumber::from_slice(&key.public[1..17]));
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.public[1..21].to_vec());
    let made = params.self_signed(&key).unwrap();
    let private = key.signing.to_pkcs8_pem(LineEnding::LF).unwrap();
    let (path, key_path) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&path, made.pem()).unwrap();
    std::fs::write(&key_path, private.as_bytes()).unwrap();
    (path, key_path, made.der().clone())
}

/// A new key.
struct Key {
    signing: SigningKey,
    public: Vec<u8>,
}

impl Key {
    fn new() -> Self {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).unwrap();
        let signing = SigningKey::from_slice(&secret).unwrap();
        let public = signing.verifying_key().to_encoded_point(false).as_bytes().to_vec();
        Self { signing, public }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: DerSignature = self.signing.sign(message);
        Ok(signature.to_bytes().to_vec())
    }
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut IngressConfig)) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (certificate, key, root) = certificate(files.path(), DOMAIN);
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = IngressConfig {
            domain: Some(DOMAIN.to_owned()),
            listen: free,
            plain_listen: Some(free),
            public_port: Some(8443),
            certificate: Some(certificate),
            key: Some(key),
            ..IngressConfig::default()
        };
        change(&mut config);
        let ingress = Ingress::open(&config, files.path()).await.unwrap().unwrap();
        let (tls, plain) = ingress.addresses();
        let table = ingress.table();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(ingress.serve(stop.clone()));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        Self {
            tls: tls.unwrap_or(nowhere),
            plain: plain.unwrap_or(nowhere),
            table,
            routes: Routes::new(),
            root,
            tasks,
            _stop: stop.drop_guard(),
            _files: files,
        }
    }

    /// Lets `label` lead to `target`.
    pub(super) fn lead(&mut self, label: &str, target: SocketAddr, protocol: Protocol) {
        self.lead_as(label, target, protocol, Reach::Ready);
    }

    pub(super) fn lead_as(
        &mut self,
        label: &str,
        target: SocketAddr,
        protocol: Protocol,
        reach: Reach,
    ) {
        let number = label.bytes().fold(0, |sum, byte| sum * 256 + u128::from(byte));
        let instance = InstanceId::new(uuid::Uuid::from_u128(number));
        let route = Route { instance, target, protocol, reach };
        self.routes.insert(host(label), route);
        self.table.replace(self.table.begin(), self.routes.clone());
    }

    /// A service that answers with the request as it got it.
    pub(super) async fn echo(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = self.tasks.clone();
        self.tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(repeat));
                tasks.spawn(async move {
                    let _ = serving.await;
                });
            }
        });
        address
    }

    /// A service that says `answer` whenever it was sent something, and notes what that was.
    pub(super) async fn says(&self, answer: &'static [u8]) -> (SocketAddr, Seen) {
        self.answers(&[answer]).await
    }

    /// A service that says each of `answers` in turn when it was sent something, and then the last one.
    pub(super) async fn answers(&self, answers: &[&'static [u8]]) -> (SocketAddr, Seen) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen::default();
        let noted = Arc::clone(&seen);
        let (tasks, answers) = (self.tasks.clone(), answers.to_vec());
        self.tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (noted, answers) = (Arc::clone(&noted), answers.clone());
                tasks.spawn(async move {
                    let mut bytes = [0; 4096];
                    let last = answers.len() - 1;
                    for nth in 0.. {
                        let Ok(n @ 1..) = stream.read(&mut bytes).await else { return };
                        noted.lock().unwrap().extend_from_slice(&bytes[..n]);
                        if stream.write_all(answers[last.min(nth)]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (address, seen)
    }

    /// TLS to the ingress that asks for `sni`.
    pub(super) async fn connect(&self, sni: &str, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
        let stream = TcpStream::connect(self.tls).await.unwrap();
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Sends `bytes` to `label` through TLS and returns all that comes back until the end.
    pub(super) async fn say(&self, label: &str, bytes: &[u8]) -> String {
        let mut stream = self.connect(&host(label), &[b"http/1.1"]).await;
        stream.write_all(bytes).await.unwrap();
        rest(&mut stream).await
    }
}

pub(super) fn host(label: &str) -> String {
    format!("{label}.{DOMAIN}")
}

/// All that comes until the end of `stream`.
pub(super) async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(reading.is_ok(), "it never ended: {text}");
    text
}

/// Reads until `wanted` came.
pub(super) async fn until(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    wanted: &str,
) -> String {
    let mut text = String::new();
    let reading = async {
        let mut bytes = [0; 4096];
        while !text.contains(wanted) {
            let n = stream.read(&mut bytes).await.unwrap_or(0);
            if n == 0 {
                break;
            }
            text.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    };
    let _ = tokio::time::timeout(PATIENCE, reading).await;
    assert!(text.contains(wanted), "`{wanted}` never came: {text}");
    text
}

async fn repeat(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let mut text = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    text.push('\n');
    let mut bytes = text.into_bytes();
    match body.collect().await {
        Ok(body) => bytes.extend_from_slice(&body.to_bytes()),
        Err(_) => bytes.extend_from_slice(b"(cut short)"),
    }
    Ok(Response::new(Full::new(bytes.into())))
}
