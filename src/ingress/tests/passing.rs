//! What is passed on: HTTP of both versions, WebSocket, streams, and TLS that is the service's own.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stage::{PATIENCE, Stage, host, rest, until};
use crate::ingress::Protocol;

const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Kept: 1\r\n\r\n";

#[tokio::test]
async fn http_2_goes_in_and_http_1_comes_to_the_service() {
    let mut stage = Stage::new().await;
    let echo = stage.echo().await;
    stage.lead("one", echo, Protocol::Http);
    let stream = stage.connect(&host("one"), &[b"h2", b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    stage.tasks.spawn(async move {
        let _ = connection.await;
    });
    let ask = |uri: &str, body: &'static str| {
        let request = Request::post(uri)
            .header("x-forwarded-for", "10.9.8.7")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .unwrap();
        let mut sender = sender.clone();
        async move {
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status();
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8_lossy(&bytes).into_owned())
        }
    };
    // Several at a time, each with its own body.
    let (first, second, third) = tokio::join!(
        ask("https://one.ctf.test/1?q", "first"),
        ask("https://one.ctf.test/2", "second"),
        ask("https://two.ctf.test/3", "third"),
    );
    assert_eq!(first.0, StatusCode::OK);
    assert!(first.1.starts_with("POST /1?q\n") && first.1.ends_with("\n\nfirst"), "{}", first.1);
    assert!(first.1.contains("host: one.ctf.test\n"), "{}", first.1);
    assert!(first.1.contains("cookie: a=1; b=2\n"), "{}", first.1);
    assert!(first.1.contains("x-forwarded-for: 127.0.0.1\n"), "{}", first.1);
    assert!(!first.1.contains("10.9.8.7"), "{}", first.1);
    assert!(second.1.ends_with("\n\nsecond"), "{}", second.1);
    assert_eq!(third.0, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn websocket_is_agreed_on_by_the_service_and_then_bytes_pass_both_ways() {
    let mut stage = Stage::new().await;
    let (service, seen) = stage.says(SWITCH).await;
    stage.lead("ws", service, Protocol::Http);
    let mut stream = stage.connect(&host("ws"), &[b"http/1.1"]).await;
    let ask = "GET /chat HTTP/1.1\r\nHost: ws.ctf.test\r\nConnection: keep-alive, Upgrade\r\n\
               Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // What is sent before the agreement is no request, whatever it looks like.
    let early = "GET /smuggled HTTP/1.1\r\n\r\n";
    stream.write_all(format!("{ask}{early}").as_bytes()).await.unwrap();
    let answer = until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("upgrade: websocket\r\n"), "{answer}");
    assert!(answer.contains("X-Kept: 1\r\n"), "{answer}");
    stream.write_all(b"\x81\x02hi").await.unwrap();
    until(&mut stream, "101").await;
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    let seen_lower = seen.to_ascii_lowercase();
    assert!(seen_lower.contains("connection: upgrade\r\n"), "{seen}");
    assert!(seen_lower.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n"), "{seen}");
    assert!(seen_lower.contains("x-forwarded-for: 127.0.0.1\r\n"), "{seen}");
    assert!(seen.contains(early), "{seen}");
}

#[tokio::test]
async fn websocket_may_follow_a_request_even_one_without_its_answer_yet() {
    let mut stage = Stage::new().await;
    let switch: &'static [u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst";
    let (service, seen) = stage.answers(&[switch, SWITCH, b"\x81\x04echo"]).await;
    stage.lead("ws", service, Protocol::Http);
    let mut stream = stage.connect(&host("ws"), &[b"http/1.1"]).await;
    let first = "GET /first HTTP/1.1\r\nHost: ws.ctf.test\r\n\r\n";
    let ask = "GET /chat HTTP/1.1\r\nHost: ws.ctf.test\r\nConnection: Upgrade\r\n\
               Upgrade: websocket\r\n\r\n";
    stream.write_all(format!("{first}{ask}\u{1}frame").as_bytes()).await.unwrap();
    until(&mut stream, "echo").await;
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    assert!(seen.ends_with("\r\n\r\n\u{1}frame"), "{seen}");
}

#[tokio::test]
async fn a_service_that_declines_websocket_is_asked_on_as_before() {
    let mut stage = Stage::new().await;
    let echo = stage.echo().await;
    stage.lead("one", echo, Protocol::Http);
    let ask = "GET /ws HTTP/1.1\r\nHost: one.ctf.test\r\nConnection: Upgrade\r\n\
               Upgrade: websocket\r\n\r\n";
    let next = "GET /next HTTP/1.1\r\nHost: one.ctf.test\r\nConnection: close\r\n\r\n";
    let answer = stage.say("one", format!("{ask}{next}").as_bytes()).await;
    assert!(answer.contains("GET /ws\n") && answer.contains("GET /next\n"), "{answer}");
}

#[tokio::test]
async fn a_service_cannot_speak_something_that_nobody_asked_for() {
    let mut stage = Stage::new().await;
    let (service, _) = stage.says(SWITCH).await;
    stage.lead("one", service, Protocol::Http);
    let bytes = b"GET / HTTP/1.1\r\nHost: one.ctf.test\r\nConnection: close\r\n\r\n";
    let answer = stage.say("one", bytes).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn tcp_is_found_by_the_name_that_tls_asks_for() {
    let mut stage = Stage::new().await;
    let (one, seen) = stage.says(b"one").await;
    let (two, _) = stage.says(b"two").await;
    stage.lead("one", one, Protocol::Stream);
    stage.lead("two", two, Protocol::Stream);
    for (label, answer) in [("one", "one"), ("two", "two")] {
        let mut stream = stage.connect(&host(label), &[]).await;
        stream.write_all(b"not HTTP\n").await.unwrap();
        until(&mut stream, answer).await;
    }
    assert_eq!(&*seen.lock().unwrap(), b"not HTTP\n");
}

#[tokio::test]
async fn a_service_with_tls_of_its_own_gets_the_bytes_of_the_client() {
    let mut stage = Stage::new().await;
    let (service, seen) = stage.says(b"its own answer").await;
    stage.lead("own", service, Protocol::OwnTls);
    // Any first message of TLS that names the host.
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = host("own").try_into().unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect(stage.tls).await.unwrap();
    // In pieces, as a network may deliver it.
    for part in hello.chunks(50) {
        stream.write_all(part).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    until(&mut stream, "its own answer").await;
    assert_eq!(*seen.lock().unwrap(), hello);
}

#[tokio::test]
async fn http_on_the_port_of_tls_is_told_so() {
    let stage = Stage::new().await;
    let mut stream = TcpStream::connect(stage.tls).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: one.ctf.test\r\n\r\n").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("TLS"), "{answer}");
}

#[tokio::test]
async fn without_a_certificate_http_is_served_on_the_plain_port() {
    let mut stage = Stage::with(|config| (config.certificate, config.key) = (None, None)).await;
    let echo = stage.echo().await;
    stage.lead("one", echo, Protocol::Http);
    let mut stream = TcpStream::connect(stage.plain).await.unwrap();
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: ONE.ctf.test\r\n\r\n").await.unwrap();
    let answer = until(&mut stream, "GET /a\n").await;
    let answer = if answer.contains("proto") { answer } else { until(&mut stream, "proto").await };
    assert!(answer.contains("x-forwarded-proto: http\n"), "{answer}");
    // The first request binds the connection here, too.
    stream.write_all(b"GET /b HTTP/1.1\r\nHost: two.ctf.test\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.contains("HTTP/1.1 421 "));
}

#[tokio::test]
async fn a_large_body_passes_in_both_directions() {
    let mut stage = Stage::new().await;
    let echo = stage.echo().await;
    stage.lead("one", echo, Protocol::Http);
    let body: Vec<u8> = (0..8_u32 << 20).map(|it| (it % 251) as u8).collect();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: one.ctf.test\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let stream = stage.connect(&host("one"), &[]).await;
    let (mut read, mut write) = tokio::io::split(stream);
    let sent = body.clone();
    stage.tasks.spawn(async move {
        write.write_all(head.as_bytes()).await.unwrap();
        write.write_all(&sent).await.unwrap();
        std::future::pending::<()>().await;
    });
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, read.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    assert!(answer.ends_with(&body), "{} of {} bytes", answer.len(), body.len());
}

#[tokio::test]
async fn an_answer_to_head_has_its_length_and_no_body() {
    let mut stage = Stage::new().await;
    let echo = stage.echo().await;
    stage.lead("one", echo, Protocol::Http);
    let bytes = b"HEAD / HTTP/1.1\r\nHost: one.ctf.test\r\nConnection: close\r\n\r\n";
    let answer = stage.say("one", bytes).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK") && body.is_empty(), "{answer}");
}

#[tokio::test]
async fn http_2_without_a_body_is_a_request_without_a_body() {
    let mut stage = Stage::new().await;
    let echo = stage.echo().await;
    stage.lead("one", echo, Protocol::Http);
    let stream = stage.connect(&host("one"), &[b"h2"]).await;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    stage.tasks.spawn(async move {
        let _ = connection.await;
    });
    let request = Request::get("https://one.ctf.test/").body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(!text.contains("transfer-encoding") && !text.contains("content-length"), "{text}");
}
