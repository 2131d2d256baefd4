//! What is bounded: connections, headers, silence, and what a service may say.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::stage::{DOMAIN, Stage, certificate, host, rest, until};
use crate::ingress::certificate::{Certificate, CertificateError};
use crate::ingress::{Ingress, Protocol};

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: one.ctf.test\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_source_has_only_so_many_connections() {
    let mut stage = Stage::with(|config| config.source_connections = 2).await;
    let echo = stage.echo().await;
    stage.lead("one", echo, Protocol::Http);
    let mut first = stage.connect(&host("one"), &[]).await;
    let _second = stage.connect(&host("one"), &[]).await;
    let mut third = TcpStream::connect(stage.tls).await.unwrap();
    assert_eq!(rest(&mut third).await, "");
    // One that ends makes room.
    first.write_all(ASK).await.unwrap();
    rest(&mut first).await;
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut again = TcpStream::connect(stage.tls).await.unwrap();
        // Who is let in and speaks HTTP is told that this port speaks TLS.
        let _ = again.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
        let mut bytes = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut again, &mut bytes).await;
        if !bytes.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "no room was made");
    }
}

#[tokio::test]
async fn an_instance_has_only_so_many_connections() {
    let mut stage = Stage::with(|config| config.instance_connections = 1).await;
    let (service, _) = stage.says(b"one").await;
    let echo = stage.echo().await;
    stage.lead("tcp", service, Protocol::Stream);
    stage.lead("one", echo, Protocol::Http);
    let mut first = stage.connect(&host("tcp"), &[]).await;
    first.write_all(b"x").await.unwrap();
    until(&mut first, "one").await;
    let mut second = stage.connect(&host("tcp"), &[]).await;
    let _ = second.write_all(b"x").await;
    assert_eq!(rest(&mut second).await, "");
    // Another instance has its own.
    assert!(stage.say("one", ASK).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a01_who_is_slow_to_say_what_it_wants_loses_its_connection() {
    let mut stage = Stage::with(|config| config.header_secs = 1).await;
    let echo = stage.echo().await;
    stage.lead("one", echo, Protocol::Http);
    let begin = Instant::now();
    let mut silent = TcpStream::connect(stage.tls).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    let mut slow = stage.connect(&host("one"), &[]).await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: one.").await.unwrap();
    rest(&mut slow).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_service_that_does_not_answer_as_it_should_is_told_apart_from_its_answers() {
    let mut stage = Stage::with(|config| config.idle_secs = 2).await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let (garbage, _) = stage.says(b"SSH-2.0-OpenSSH\r\n").await;
    let (silent, _) = stage.says(b"").await;
    let large: &'static [u8] = Box::leak(
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)).into_boxed_str(),
    )
    .as_bytes();
    let (large, _) = stage.says(large).await;
    for (what, service, status) in [
        ("nobody listens", closed, 502),
        ("no HTTP", garbage, 502),
        ("headers without end", large, 502),
        ("silence", silent, 504),
    ] {
        stage.lead("one", service, Protocol::Http);
        let answer = stage.say("one", ASK).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        assert!(answer.contains("server: flagops\r\n"), "{what}: {answer}");
    }
}

#[test]
fn a_new_certificate_is_taken_when_it_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key, _) = certificate(folder.path(), DOMAIN);
    let kept = Certificate::open(&path, &key, DOMAIN).unwrap();
    let before = kept.configs().unwrap();
    let is_same =
        |kept: &Certificate| std::sync::Arc::ptr_eq(&kept.configs().unwrap().http, &before.http);
    std::fs::write(&path, "half a file").unwrap();
    kept.reload();
    assert!(is_same(&kept));
    certificate(folder.path(), DOMAIN);
    kept.reload();
    assert!(!is_same(&kept));
}

#[test]
fn a_certificate_that_players_would_be_warned_of_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key, _) = certificate(folder.path(), "other.test");
    let error = Certificate::open(&path, &key, DOMAIN).unwrap_err();
    assert!(matches!(error, CertificateError::OtherName { .. }), "{error}");
    let apart = tempfile::tempdir().unwrap();
    let (_, strange, _) = certificate(apart.path(), "other.test");
    let error = Certificate::open(&path, &strange, "other.test").unwrap_err();
    assert!(matches!(error, CertificateError::Pair { .. }), "{error}");
    let error = Certificate::open(&path, &apart.path().join("no.pem"), "other.test").unwrap_err();
    assert!(matches!(error, CertificateError::Read { .. }), "{error}");
    std::fs::write(&path, "").unwrap();
    let error = Certificate::open(&path, &key, "other.test").unwrap_err();
    assert!(matches!(error, CertificateError::Empty { .. }), "{error}");
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = crate::config::IngressConfig {
        domain: Some(DOMAIN.to_owned()),
        plain_listen: taken.local_addr().ok(),
        ..crate::config::IngressConfig::default()
    };
    let error = Ingress::open(&config, Path::new("/nowhere")).await.unwrap_err().to_string();
    assert!(error.contains(&taken.local_addr().unwrap().to_string()), "{error}");
}
