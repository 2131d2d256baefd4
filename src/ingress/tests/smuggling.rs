//! Messages that a client hides in others: none of them reaches a service (A03, A05, N16).

use super::stage::{Stage, host, rest, until};
use crate::ingress::{Protocol, Reach};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// `lines` as a request to the host of `one`, and `body` behind it.
fn request(lines: &[&str], body: &str) -> Vec<u8> {
    let head: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{head}\r\n{body}").into_bytes()
}

#[tokio::test]
async fn a03_nothing_of_a_message_with_two_readings_reaches_a_service() {
    let mut stage = Stage::new().await;
    let (service, seen) = stage.says(OK).await;
    stage.lead("one", service, Protocol::Http);
    let to = "Host: one.ctf.test";
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: one.ctf.test\r\n\r\n";
    for (what, bytes, status) in [
        (
            "CL.TE",
            request(
                &["POST / HTTP/1.1", to, "Content-Length: 6", "Transfer-Encoding: chunked"],
                "0\r\n\r\nG",
            ),
            400,
        ),
        (
            "TE.CL",
            request(
                &["POST / HTTP/1.1", to, "Transfer-Encoding: chunked", "Content-Length: 4"],
                "5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n",
            ),
            400,
        ),
        (
            "TE.TE",
            request(
                &[
                    "POST / HTTP/1.1",
                    to,
                    "Transfer-Encoding: chunked",
                    "Transfer-Encoding: identity",
                ],
                "0\r\n\r\n",
            ),
            400,
        ),
        (
            "hidden TE",
            request(&["POST / HTTP/1.1", to, "Transfer-Encoding: xchunked"], "0\r\n\r\n"),
            400,
        ),
        (
            "CL.CL",
            request(&["POST / HTTP/1.1", to, "Content-Length: 0", "Content-Length: 47"], smuggled),
            400,
        ),
        (
            "the same length twice",
            request(&["POST / HTTP/1.1", to, "Content-Length: 2", "Content-Length: 2"], "hi"),
            400,
        ),
        ("obs-fold", request(&["GET / HTTP/1.1", to, "X: 1", " folded: 2"], ""), 400),
        (
            "space before colon",
            request(&["POST / HTTP/1.1", to, "Content-Length : 47"], smuggled),
            400,
        ),
        ("bare LF", b"GET / HTTP/1.1\nHost: one.ctf.test\n\n".to_vec(), 400),
        ("two hosts", request(&["GET / HTTP/1.1", to, "Host: two.ctf.test"], ""), 400),
        ("no host", request(&["GET / HTTP/1.1"], ""), 400),
        ("another host", request(&["GET http://two.ctf.test/ HTTP/1.1", to], ""), 400),
        ("CONNECT", request(&["CONNECT one.ctf.test:80 HTTP/1.1", to], ""), 405),
        ("large", request(&["GET / HTTP/1.1", to, &format!("X: {}", "x".repeat(40_000))], ""), 431),
    ] {
        let answer = stage.say("one", &bytes).await;
        let begin = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&begin), "{what}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("server: flagops"), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: {answer}");
        let seen = seen.lock().unwrap().clone();
        assert_eq!(String::from_utf8_lossy(&seen), "", "{what}");
    }
}

#[tokio::test]
async fn a03_a_body_with_a_bad_chunk_ends_the_connection_and_nothing_follows_it() {
    let mut stage = Stage::new().await;
    let (echo, _) = (stage.echo().await, ());
    stage.lead("one", echo, Protocol::Http);
    let body = "5\r\nhello\r\nzz\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: one.ctf.test\r\n\r\n";
    let head = ["POST / HTTP/1.1", "Host: one.ctf.test", "Transfer-Encoding: chunked"];
    let answer = stage.say("one", &request(&head, body)).await;
    assert!(!answer.contains("200 OK") && !answer.contains("/smuggled"), "{answer}");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn a03_a_request_inside_of_a_body_stays_a_body() {
    let mut stage = Stage::new().await;
    let echo = stage.echo().await;
    stage.lead("one", echo, Protocol::Http);
    let inner = "GET /smuggled HTTP/1.1\r\nHost: one.ctf.test\r\n\r\n";
    let length = format!("Content-Length: {}", inner.len());
    let mut bytes = request(&["POST /a HTTP/1.1", "Host: one.ctf.test", &length], inner);
    let last = ["GET /b HTTP/1.1", "Host: one.ctf.test", "Connection: close"];
    bytes.extend(request(&last, ""));
    let answer = stage.say("one", &bytes).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(answer.contains("POST /a\n") && answer.contains("GET /b\n"), "{answer}");
    // It comes back as part of what was posted.
    assert!(answer.contains(&format!("\n\n{inner}")), "{answer}");
}

#[tokio::test]
async fn a03_a_refused_request_behind_a_good_one_is_refused_alone() {
    let mut stage = Stage::new().await;
    let echo = stage.echo().await;
    stage.lead("one", echo, Protocol::Http);
    let mut stream = stage.connect(&host("one"), &[]).await;
    stream.write_all(&request(&["GET /a HTTP/1.1", "Host: one.ctf.test"], "")).await.unwrap();
    until(&mut stream, "GET /a\n").await;
    stream.write_all(&request(&["GET /b HTTP/1.1", "Host : one.ctf.test"], "")).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.contains("HTTP/1.1 400 ") && !answer.contains("GET /b"), "{answer}");
}

#[tokio::test]
async fn a05_what_a_client_says_of_its_origin_does_not_reach_a_service() {
    let mut stage = Stage::new().await;
    let echo = stage.echo().await;
    stage.lead("one", echo, Protocol::Http);
    let bytes = request(
        &[
            "GET / HTTP/1.1",
            "Host: one.ctf.test",
            "X-Forwarded-For: 10.9.8.7",
            "X-Forwarded-Host: evil.test",
            "X-Forwarded-Proto: gopher",
            "X_Forwarded_For: 10.9.8.7",
            "Forwarded: for=10.9.8.7",
            "X-Real-IP: 10.9.8.7",
            "Connection: close, X-Forwarded-Host",
        ],
        "",
    );
    let answer = stage.say("one", &bytes).await;
    assert!(!answer.contains("10.9.8.7") && !answer.contains("evil"), "{answer}");
    assert!(!answer.contains("gopher"), "{answer}");
    for line in [
        "x-forwarded-for: 127.0.0.1\n",
        "x-forwarded-host: one.ctf.test\n",
        "x-forwarded-proto: https\n",
        "forwarded: for=127.0.0.1;host=\"one.ctf.test\";proto=https\n",
        "host: one.ctf.test\n",
    ] {
        assert!(answer.contains(line), "`{line}` is missing: {answer}");
    }
}

#[tokio::test]
async fn n16_host_and_tls_name_the_same_instance_or_the_request_is_misdirected() {
    let mut stage = Stage::new().await;
    let echo = stage.echo().await;
    stage.lead("one", echo, Protocol::Http);
    stage.lead("two", echo, Protocol::Http);
    let answer = stage.say("one", b"GET / HTTP/1.1\r\nHost: two.ctf.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    // A second request of a connection is held to it, too.
    let mut stream = stage.connect(&host("one"), &[]).await;
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: one.ctf.test\r\n\r\n").await.unwrap();
    until(&mut stream, "GET /a\n").await;
    stream.write_all(b"GET /b HTTP/1.1\r\nHost: two.ctf.test\r\n\r\n").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.contains("HTTP/1.1 421 ") && !answer.contains("GET /b"), "{answer}");
}

#[tokio::test]
async fn n16_all_unknown_names_look_alike() {
    let mut stage = Stage::new().await;
    let echo = stage.echo().await;
    stage.lead("tcp", echo, Protocol::Stream);
    let of = |label: &str| {
        format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host(label))
    };
    let without_date = |answer: String| {
        let is_date = |line: &&str| !line.to_ascii_lowercase().starts_with("date:");
        answer.lines().filter(is_date).collect::<Vec<_>>().join("\n")
    };
    let first = without_date(stage.say("nobody", of("nobody").as_bytes()).await);
    let second = without_date(stage.say("else", of("else").as_bytes()).await);
    assert!(first.starts_with("HTTP/1.1 404 "), "{first}");
    assert_eq!(first, second);
}

#[tokio::test]
async fn an_instance_on_its_way_says_when_to_come_back() {
    let mut stage = Stage::new().await;
    let echo = stage.echo().await;
    stage.lead_as("soon", echo, Protocol::Http, Reach::Starting);
    let bytes = b"GET / HTTP/1.1\r\nHost: soon.ctf.test\r\nConnection: close\r\n\r\n";
    let answer = stage.say("soon", bytes).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("retry-after: 2\r\n"), "{answer}");
}

#[tokio::test]
async fn without_tls_everything_is_sent_there_and_nowhere_else() {
    let mut stage = Stage::new().await;
    let (service, seen) = stage.says(OK).await;
    stage.lead("one", service, Protocol::Http);
    for (host, status, location) in [
        ("one.ctf.test", 308, Some("location: https://one.ctf.test:8443/a?b\r\n")),
        ("one.ctf.test:8080", 308, Some("location: https://one.ctf.test:8443/a?b\r\n")),
        ("evil.test", 404, None),
    ] {
        let mut stream = TcpStream::connect(stage.plain).await.unwrap();
        let text = format!("GET /a?b HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
        assert_eq!(location.is_some(), answer.contains("location:"), "{host}: {answer}");
        assert!(answer.contains(location.unwrap_or_default()), "{host}: {answer}");
    }
    assert!(seen.lock().unwrap().is_empty());
}
