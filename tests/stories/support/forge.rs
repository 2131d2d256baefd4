//! A forge on loopback: it serves a bare repository over HTTPS, and takes commit statuses over HTTP.

use std::io::{BufRead, BufReader};
use std::path::{Path as FilePath, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::{Remote, python, repository_root};

/// A commit status that was posted.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    /// The commit.
    pub(crate) commit: String,
    /// What was sent.
    pub(crate) body: Value,
    /// What the sender showed to be allowed to.
    pub(crate) authorization: String,
}

/// It.
#[derive(Debug)]
pub(crate) struct Forge {
    address: std::net::SocketAddr,
    /// Ends with this.
    _served: JoinSet<std::io::Result<()>>,
    tls: Child,
    tls_port: u16,
    certificate: PathBuf,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Drop for Forge {
    fn drop(&mut self) {
        let _ = self.tls.kill();
        let _ = self.tls.wait();
    }
}

#[derive(Clone)]
struct Inside {
    bare: PathBuf,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Forge {
    /// Serves `remote` from now on; its certificate is put into `folder`.
    pub(crate) async fn open(remote: &Remote, folder: &FilePath) -> Self {
        let posted = Arc::default();
        let inside = Inside { bare: remote.bare().to_owned(), posted: Arc::clone(&posted) };
        let app = Router::new()
            .route("/ctf.git/info/refs", get(refs))
            .route("/ctf.git/git-upload-pack", post(pack))
            .route("/api/v1/repos/example/ctf/statuses/{commit}", post(status))
            .with_state(inside);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut served = JoinSet::new();
        served.spawn(async move { axum::serve(listener, app).await });
        let (certificate, key) = certify(folder);
        let mut tls = std::process::Command::new(python())
            .arg(repository_root().join("tests/stories/fixtures/tls.py"))
            .args([&certificate, &key])
            .arg(address.port().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python can be run");
        let mut said = String::new();
        let stdout = tls.stdout.as_mut().expect("it is a pipe");
        BufReader::new(stdout).read_line(&mut said).expect("it says where it listens");
        let tls_port = said.trim().parse().expect("it says a port");
        Self { address, _served: served, tls, tls_port, certificate, posted }
    }

    /// Where the repository is: git is not spoken over bare HTTP.
    pub(crate) fn repo_url(&self) -> String {
        format!("https://127.0.0.1:{}/ctf.git", self.tls_port)
    }

    /// Who trusts this file trusts the repository's server.
    pub(crate) fn certificate(&self) -> String {
        self.certificate.display().to_string()
    }

    /// Where its API is.
    pub(crate) fn api_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// Every status that was posted, in order.
    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A certificate of 127.0.0.1, and its key.
pub(super) fn certify(folder: &FilePath) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("forge.crt"), folder.join("forge.key"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=forge", "-newkey", "ec"])
        .args([
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

async fn refs(State(inside): State<Inside>) -> impl IntoResponse {
    let mut body = b"001e# service=git-upload-pack\n0000".to_vec();
    body.extend(upload_pack(&inside, &["--advertise-refs"], &[]).await);
    let kind = "application/x-git-upload-pack-advertisement";
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], body)
}

async fn pack(State(inside): State<Inside>, wanted: Bytes) -> impl IntoResponse {
    let body = upload_pack(&inside, &[], &wanted).await;
    ([(header::CONTENT_TYPE, "application/x-git-upload-pack-result")], body)
}

async fn upload_pack(inside: &Inside, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut git = Command::new("git")
        .args(["upload-pack", "--stateless-rpc"])
        .args(arguments)
        .arg(&inside.bare)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git is installed");
    let mut stdin = git.stdin.take().expect("it is a pipe");
    stdin.write_all(input).await.expect("git reads what it is asked");
    drop(stdin);
    git.wait_with_output().await.expect("git ends").stdout
}

async fn status(
    State(inside): State<Inside>,
    Path(commit): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    let body = serde_json::from_slice(&body).expect("a status is JSON");
    let authorization = authorization.unwrap_or_default().to_owned();
    let posted = Posted { commit, body, authorization };
    inside.posted.lock().unwrap_or_else(PoisonError::into_inner).push(posted);
    StatusCode::CREATED
}
