//! What the door costs: requests through the ingress beside the same ones through nginx, and without
//! either.
//!
//! `wrk` asks, nginx answers, and nginx is also the proxy that ours is measured beside, with the same
//! certificate, kept connections on both sides, and as many threads as the machine has.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flagops::config::IngressConfig;
use flagops::ingress::{Ingress, Protocol, Reach, Route, Routes};
use flagops::model::InstanceId;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::report::Report;
use crate::wrk::{Seen, load};

const DOMAIN: &str = "bench.test";

/// Connections that ask at a time; one asks for the latency that nothing waits for.
const CONNECTIONS: [u32; 2] = [64, 1];

/// How long each is asked.
const SECS: u32 = 5;

/// Measures all three by turns.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    if !(runs("nginx", "-v") && runs("wrk", "-v")) {
        report.number("ingress", "nginx or wrk is not installed".to_owned(), "");
        return Ok(());
    }
    let folder = TempDir::new()?;
    let (service, proxy) = (free()?, free()?);
    let (certificate, key) = make_certificate(folder.path())?;
    let _nginx = Nginx::start(folder.path(), service, proxy)?;
    let config = IngressConfig {
        domain: Some(DOMAIN.to_owned()),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        certificate: Some(certificate),
        key: Some(key),
        ..IngressConfig::default()
    };
    let ingress = Ingress::open(&config, folder.path()).await?.context("a domain is configured")?;
    let ours = ingress.addresses().0.context("it listens for TLS")?;
    let table = ingress.table();
    let route = Route {
        instance: InstanceId::new(Uuid::from_u128(1)),
        target: service,
        protocol: Protocol::Http,
        reach: Reach::Ready,
    };
    // `wrk` resolves the name that it asks TLS for, so it has to be one that every machine knows.
    let host = "localhost".to_owned();
    table.replace(table.begin(), Routes::from([(host.clone(), route)]));
    let stop = CancellationToken::new();
    let serving = tokio::spawn(ingress.serve(stop.clone()));
    for connections in CONNECTIONS {
        let url =
            |scheme: &str, address: SocketAddr| format!("{scheme}://{host}:{}/", address.port());
        let direct = load(&url("http", service), connections, SECS, None).await?;
        let nginx = load(&url("https", proxy), connections, SECS, None).await?;
        let door = load(&url("https", ours), connections, SECS, None).await?;
        tell(report, connections, direct, nginx, door);
    }
    stop.cancel();
    serving.await?;
    Ok(())
}

fn tell(report: &mut Report, connections: u32, direct: Seen, nginx: Seen, door: Seen) {
    let goal = if connections > 1 { ">= 0.5 of nginx" } else { "" };
    let share = door.per_sec / nginx.per_sec;
    report.number(
        &format!("ingress, requests/s at {connections} (nginx, direct)"),
        format!("{:.0} ({:.0}, {:.0}): {share:.2}", door.per_sec, nginx.per_sec, direct.per_sec),
        goal,
    );
    let latency = |it: Seen| format!("{:.2}/{:.2}", it.median_ms, it.slow_ms);
    report.number(
        &format!("ingress, ms median/p99 at {connections} (nginx, direct)"),
        format!("{} ({}, {})", latency(door), latency(nginx), latency(direct)),
        "",
    );
}

/// A running nginx; ended with this.
struct Nginx(Child);

impl Nginx {
    fn start(folder: &Path, service: SocketAddr, proxy: SocketAddr) -> Result<Self> {
        let at = folder.display();
        let text = format!(
            "daemon off; worker_processes auto; pid {at}/pid; error_log {at}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;
  uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
  server {{ listen {service}; location / {{ default_type text/plain; return 200 'hello from a service\\n'; }} }}
  upstream service {{ server {service}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen {proxy} ssl; ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;
    location / {{
      proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection '';
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
    }}
  }}
}}
"
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, text)?;
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(folder)
            .stderr(Stdio::null())
            .spawn()?;
        let nginx = Self(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(proxy).is_err() {
            let log = std::fs::read_to_string(folder.join("error.log")).unwrap_or_default();
            ensure!(Instant::now() < deadline, "nginx does not listen: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers when it is asked, not when it is killed.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn make_certificate(folder: &Path) -> Result<(std::path::PathBuf, std::path::PathBuf)> {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=bench", "-addext"])
        .arg(format!("subjectAltName=DNS:*.{DOMAIN}"))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status()?;
    ensure!(made.success(), "openssl makes no certificate");
    Ok((certificate, key))
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn runs(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
