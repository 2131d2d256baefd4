//! A player enters through the one door of an event: everything by name, on one port, through TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Challenge, Client, Daemon, Finished, Stage, until};

const DOMAIN: &str = "ctf.test";

/// Longest conversation.
const SECS: &str = "30";

/// Web, a service that speaks WebSocket, and one that speaks anything.
fn doors(id: &str) -> Challenge {
    Challenge::web(id, "one")
        .with(
            "docker-compose.yml",
            "services:
  web:
    build: services/web
    ports: [\"8080\"]
    x-answers: [flag]
    deploy: {resources: {limits: {cpus: \"0.5\", memory: 32M}}}
  ws:
    build: services/ws
    ports: [\"8081\"]
    deploy: {resources: {limits: {cpus: \"0.5\", memory: 32M}}}
  raw:
    build: services/raw
    ports: [\"1337\"]
    labels: {ctfy.service.protocol: tcp}
    x-answers: [flag]
    deploy: {resources: {limits: {cpus: \"0.5\", memory: 32M}}}
",
        )
        .with(
            "services/ws/Dockerfile",
            "FROM busybox:latest
COPY --chmod=755 ws.sh /ws.sh
CMD [\"nc\", \"-ll\", \"-p\", \"8081\", \"-e\", \"/ws.sh\"]
",
        )
        .with(
            "services/ws/ws.sh",
            r"#!/bin/sh
while IFS= read -r line && [ ${#line} -gt 1 ]; do :; done
printf 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'
exec cat
",
        )
        .with(
            "services/raw/Dockerfile",
            "FROM busybox:latest
CMD [\"nc\", \"-ll\", \"-p\", \"1337\", \"-e\", \"cat\", \"/answers/flag\"]
",
        )
}

/// A wildcard certificate, its key, and the port of the door.
struct Door {
    certificate: PathBuf,
    key: PathBuf,
    port: u16,
}

impl Door {
    fn new(stage: &Stage) -> Self {
        let (certificate, key) = (stage.path("cert.pem"), stage.path("key.pem"));
        make_certificate(&certificate, &key);
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = free.local_addr().expect("it has an address").port();
        Self { certificate, key, port }
    }

    async fn daemon(&self, stage: &Stage) -> Daemon {
        let settings = stage
            .settings()
            .text("network.publish_address", "0.0.0.0")
            .text("ingress.domain", DOMAIN)
            .text("ingress.listen", &format!("127.0.0.1:{}", self.port))
            .text("ingress.certificate", &self.certificate.display().to_string())
            .text("ingress.key", &self.key.display().to_string());
        Daemon::start(settings).await
    }

    /// `curl` of `https://<host>/<path>` through the door, with more arguments.
    fn curl(&self, host: &str, path: &str, more: &[&str]) -> String {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", SECS, "--cacert"]).arg(&self.certificate);
        command.arg("--resolve").arg(format!("{host}:{}:127.0.0.1", self.port)).args(more);
        command.arg(format!("https://{host}:{}{path}", self.port));
        Finished::of(&mut command).fine()
    }

    /// Sends `bytes` through TLS that asks for `host`, and returns what comes until `wanted`.
    fn talk(&self, host: &str, bytes: &str, wanted: &str) -> String {
        let mut client = Command::new("timeout")
            .args([SECS, "openssl", "s_client", "-quiet", "-verify_return_error"])
            .args(["-connect", &format!("127.0.0.1:{}", self.port), "-servername", host])
            .args(["-verify_hostname", host, "-CAfile"])
            .arg(&self.certificate)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        let mut input = client.stdin.take().expect("it has an input");
        input.write_all(bytes.as_bytes()).expect("it takes what is sent");
        let mut output = client.stdout.take().expect("it has an output");
        let mut said = String::new();
        let mut buffer = [0; 4096];
        while !said.contains(wanted) {
            match output.read(&mut buffer) {
                Ok(n @ 1..) => said.push_str(&String::from_utf8_lossy(&buffer[..n])),
                Ok(0) | Err(_) => break,
            }
        }
        drop(input);
        let _ = client.kill();
        let _ = client.wait();
        assert!(said.contains(wanted), "`{wanted}` never came from {host}: {said}");
        said
    }
}

fn make_certificate(certificate: &Path, key: &Path) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    command.args(["-nodes", "-days", "2", "-subj", "/CN=ctf.test", "-addext"]);
    command.arg(format!("subjectAltName=DNS:*.{DOMAIN}"));
    Finished::of(command.arg("-keyout").arg(key).arg("-out").arg(certificate)).fine();
}

/// Type, host and port of the endpoint of `service`.
async fn endpoint(team: &Client, id: &str, service: &str) -> (String, String, u64) {
    let reply = team.get(&format!("/instances/{id}/status")).await.expect_status(200);
    let services = reply.body["attack_surface"]["services"].as_array().cloned();
    let found = services.into_iter().flatten().find(|row| row["label"] == service);
    let row = found.unwrap_or_else(|| panic!("no `{service}`: {}", reply.body));
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    (text("service_type"), text("host"), row["port"].as_u64().unwrap_or_default())
}

/// The host addresses that the ports of a container are published on.
fn published(daemon: &Daemon, id: &str, service: &str) -> Vec<String> {
    let name = format!("fo-{}-{id}-{service}", &daemon.installation()[..8]);
    let mut command = Command::new("docker");
    command.args(["inspect", "-f", "{{json .HostConfig.PortBindings}}", &name]);
    let bindings: Value = serde_json::from_str(&Finished::of(&mut command).fine()).expect("JSON");
    let of_port = |bindings: &Value| bindings.as_array().cloned().unwrap_or_default();
    let all = bindings.as_object().into_iter().flatten().flat_map(|(_, it)| of_port(it));
    all.map(|it| it["HostIp"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_enters_by_name_and_nobody_else_does() {
    let stage = Stage::with(&[doors("WEB-901")]).await;
    let door = Door::new(&stage);
    let mut daemon = door.daemon(&stage).await;
    daemon.live("WEB-901").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let (mine, theirs) = (red.play("WEB-901").await, blue.play("WEB-901").await);

    // Every endpoint has a name that nobody guesses, and nothing of it is on an address of the machine.
    let (kind, web, port) = endpoint(&red, &mine.id, "web").await;
    assert_eq!((kind.as_str(), port), ("https", u64::from(door.port)));
    let label = web.strip_suffix(&format!(".{DOMAIN}")).expect("it is in the domain");
    assert_eq!(label.len(), 17, "{web}");
    let (_, other, _) = endpoint(&blue, &theirs.id, "web").await;
    assert_ne!(web, other);
    for service in ["web", "ws", "raw"] {
        assert_eq!(published(&daemon, &mine.id, service), ["127.0.0.1"], "{service}");
    }
    // HTTP of both versions, each team its own flag, and it is the right one.
    let flag = door.curl(&web, "/answers/flag", &["--http1.1"]);
    assert!(flag.starts_with("FLAG{"), "{flag}");
    assert_ne!(flag, door.curl(&other, "/answers/flag", &[]));
    let spoken = ["--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
    assert_eq!(door.curl(&web, "/answers/flag", &spoken), "2 200");

    // A name that nobody has, and another host than the one that TLS asked for.
    let code = ["-o", "/dev/null", "-w", "%{http_code}"];
    let nobody = format!("aaaaaaaaaaaaaaaaa.{DOMAIN}");
    assert_eq!(door.curl(&nobody, "/", &code), "404");
    let fronted = format!("Host: {other}");
    assert_eq!(door.curl(&web, "/", &[&["-H", &fronted][..], &code[..]].concat()), "421");
    let head = door.curl(&nobody, "/", &["-i", "--http1.1"]);
    assert!(head.contains("server: flagops\r\n"), "{head}");

    // WebSocket, and whatever else: by the name that TLS asks for.
    let (_, ws, _) = endpoint(&red, &mine.id, "ws").await;
    let ask = format!(
        "GET /chat HTTP/1.1\r\nHost: {ws}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let said = door.talk(&ws, &format!("{ask}an echo of this"), "an echo of this");
    assert!(said.starts_with("HTTP/1.1 101 "), "{said}");
    let (kind, raw, port) = endpoint(&red, &mine.id, "raw").await;
    assert_eq!((kind.as_str(), port), ("tcp", u64::from(door.port)));
    door.talk(&raw, "", "FLAG{");

    // Names outlive the daemon, and a new certificate needs no restart.
    daemon.stop().await;
    daemon.restart().await;
    assert_eq!(endpoint(&red, &mine.id, "web").await.1, web);
    assert!(door.curl(&web, "/answers/flag", &[]).starts_with("FLAG{"));
    let before = fs::read(&door.certificate).expect("the certificate can be read");
    make_certificate(&door.certificate, &door.key);
    assert_ne!(fs::read(&door.certificate).expect("it can be read"), before);
    until("the new certificate is served", crate::support::PATIENCE, || async {
        // Only who trusts the new one, and nobody else, gets through.
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", SECS, "--cacert"]).arg(&door.certificate);
        command.arg("--resolve").arg(format!("{web}:{}:127.0.0.1", door.port));
        command.arg(format!("https://{web}:{}/answers/flag", door.port));
        let finished = Finished::of(&mut command);
        if finished.code == Some(0) { Ok(()) } else { Err(format!("{finished:?}")) }
    })
    .await;

    // The flag is the right one, and what is solved is over and has no name any more.
    let graded = red.submit(&mine.id, "flag", flag.into()).await.expect_status(200);
    assert_eq!(graded.body["correct"], true, "{}", graded.body);
    red.gone(&mine.id).await;
    until("the name is gone", crate::support::PATIENCE, || async {
        let code = door.curl(&web, "/", &code);
        if code == "404" { Ok(()) } else { Err(code) }
    })
    .await;
    assert!(door.curl(&other, "/answers/flag", &[]).starts_with("FLAG{"));
}
