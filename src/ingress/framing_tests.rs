//! The judge of messages: each way to be understood twice is refused, and what passes is unchanged.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

const MAX_HEAD: usize = 8 << 10;

/// What goes on of `input`, cut into pieces of at most `piece` bytes, and why the rest does not.
fn through(input: &[u8], piece: usize) -> (Vec<u8>, Option<Refusal>) {
    let mut framing = Framing::new(MAX_HEAD);
    let mut out = Vec::new();
    for part in input.chunks(piece.max(1)) {
        let mut at = 0;
        while at < part.len() {
            at += framing.feed(&part[at..], &mut out);
            framing.resume(Upgrade::Declined);
        }
    }
    (out, framing.refusal())
}

fn head(lines: &[&str]) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

fn get(headers: &[&str]) -> Vec<u8> {
    let mut lines = vec!["GET / HTTP/1.1", "Host: a"];
    lines.extend(headers);
    head(&lines)
}

#[test]
fn a03_every_message_with_two_readings_is_refused() {
    use Refusal::*;
    let plain = |text: &str| text.as_bytes().to_vec();
    for (bytes, refusal) in [
        (get(&["Content-Length: 5", "Transfer-Encoding: chunked"]), BothLengths),
        (get(&["Transfer-Encoding: chunked", "Content-Length: 5"]), BothLengths),
        (get(&["Transfer-Encoding: chunked", "content-length: 0"]), BothLengths),
        (get(&["Content-Length: 5", "Content-Length: 6"]), ContentLength),
        (get(&["Content-Length: 5", "content-length: 5"]), ContentLength),
        (get(&["Content-Length: 5, 5"]), ContentLength),
        (get(&["Content-Length: +5"]), ContentLength),
        (get(&["Content-Length: -5"]), ContentLength),
        (get(&["Content-Length: 0x5"]), ContentLength),
        (get(&["Content-Length: 5 5"]), ContentLength),
        (get(&["Content-Length:"]), ContentLength),
        (get(&["Content-Length: 99999999999999999999"]), ContentLength),
        (get(&["Transfer-Encoding: chunked, chunked"]), TransferEncoding),
        (get(&["Transfer-Encoding: gzip, chunked"]), TransferEncoding),
        (get(&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]), TransferEncoding),
        (get(&["Transfer-Encoding: identity"]), TransferEncoding),
        (get(&["Transfer-Encoding: xchunked"]), TransferEncoding),
        (get(&["Transfer-Encoding: \"chunked\""]), TransferEncoding),
        (get(&["Transfer-Encoding:\u{b}chunked"]), Header),
        (head(&["POST / HTTP/1.0", "Host: a", "Transfer-Encoding: chunked"]), TransferEncoding),
        (get(&["Transfer-Encoding : chunked"]), SpaceBeforeColon),
        (get(&["Content-Length\t: 5"]), SpaceBeforeColon),
        (get(&["X: 1", " Transfer-Encoding: chunked"]), Fold),
        (get(&["X: 1", "\tfolded"]), Fold),
        (head(&["GET / HTTP/1.1", " Host: a"]), Fold),
        (get(&["no colon"]), Header),
        (get(&[": no name"]), Header),
        (get(&["X\u{0}: 1"]), Header),
        (get(&["X: a\u{0}b"]), Header),
        (get(&["X(: 1"]), Header),
        (get(&["Host: b"]), Host),
        (head(&["GET / HTTP/1.1"]), Host),
        (head(&["CONNECT a:80 HTTP/1.1", "Host: a"]), Connect),
        (head(&["GET  / HTTP/1.1", "Host: a"]), RequestLine),
        (head(&["GET / HTTP/1.1 ", "Host: a"]), RequestLine),
        (head(&["GET / x HTTP/1.1", "Host: a"]), RequestLine),
        (head(&["GET /\t HTTP/1.1", "Host: a"]), RequestLine),
        (head(&["GET / HTTP/2.0", "Host: a"]), RequestLine),
        (head(&["GET / http/1.1", "Host: a"]), RequestLine),
        (head(&["GET /", "Host: a"]), RequestLine),
        (head(&["G@T / HTTP/1.1", "Host: a"]), RequestLine),
        (plain("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), RequestLine),
        (plain("GET / HTTP/1.1\nHost: a\n\n"), LineEnd),
        (plain("GET / HTTP/1.1\r\nHost: a\r\nX: 1\n\r\n"), LineEnd),
        (plain("GET / HTTP/1.1\r\nHost: a\rX: 1\r\n\r\n"), LineEnd),
        (plain("\n\nGET / HTTP/1.1\r\n"), LineEnd),
        (get(&[&format!("X: {}", "x".repeat(MAX_HEAD))]), TooLarge),
        (get(&vec!["X: 1"; 101]), TooLarge),
    ] {
        for piece in [1, 7, bytes.len()] {
            let (out, found) = through(&bytes, piece);
            let text = String::from_utf8_lossy(&bytes);
            assert_eq!(found, Some(refusal), "{text:?} in pieces of {piece}");
            assert_eq!(out, STAND_IN, "{text:?}");
        }
    }
}

#[test]
fn a03_a_chunk_that_is_not_what_it_says_is_refused() {
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello",
        ";x\r\nhello",
        "5;x\nhello\r\n0\r\n\r\n",
        "5;x\ry\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: 1\n\r\n",
        "5\r\nhello\r\n0\r\n X: 1\r\n\r\n",
        "5\r\nhello\r\n0\r\n\rX",
        "fffffffffffffffff\r\n",
    ] {
        let mut bytes = head(&["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"]);
        bytes.extend_from_slice(body.as_bytes());
        for piece in [1, 5, bytes.len()] {
            let mut framing = Framing::new(MAX_HEAD);
            let mut out = Vec::new();
            for part in bytes.chunks(piece) {
                framing.feed(part, &mut out);
            }
            assert_eq!(framing.refusal(), Some(Refusal::Chunk), "{body:?} in pieces of {piece}");
            assert!(framing.is_cut_short());
            assert!(bytes.starts_with(&out) && out.len() < bytes.len(), "{body:?}");
        }
    }
}

#[test]
fn messages_one_after_the_other_pass_unchanged() {
    let mut bytes = Vec::new();
    bytes.extend(get(&["X: \u{e9}", "Empty:"]));
    bytes.extend(head(&["POST /a?b HTTP/1.1", "Host: a", "Content-Length: 7"]));
    bytes.extend(b"a\nb\r\n\r\n");
    bytes.extend(head(&["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: Chunked"]));
    bytes.extend(b"5;name=\"va lue\"\r\nhello\r\n0a\r\n0123456789\r\n00\r\nX-Sum: 1\r\n\r\n");
    bytes.extend(head(&["GET / HTTP/1.0", "Host: a", "Content-Length: 0"]));
    bytes.extend(get(&["Connection: keep-alive, Upgrade", "Upgrade: websocket"]));
    bytes.extend(head(&["OPTIONS * HTTP/1.1", "Host: a"]));
    for piece in [1, 2, 3, 50, bytes.len()] {
        let (out, refusal) = through(&bytes, piece);
        assert_eq!(refusal, None);
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn an_empty_line_after_a_body_is_forgiven() {
    let mut bytes = b"\r\n".to_vec();
    bytes.extend(get(&[]));
    assert_eq!(through(&bytes, 1), (get(&[]), None));
}

#[test]
fn nothing_goes_on_before_it_is_known_what_became_of_an_upgrade() {
    let asked = get(&["Connection: Upgrade", "Upgrade: websocket"]);
    let mut framing = Framing::new(MAX_HEAD);
    let mut out = Vec::new();
    let mut bytes = asked.clone();
    bytes.extend(b"\x81\x05hello");
    assert_eq!(framing.feed(&bytes, &mut out), asked.len());
    assert_eq!(framing.asked(), Some(1));
    assert_eq!(framing.feed(b"more", &mut out), 0);
    framing.resume(Upgrade::Accepted);
    assert_eq!(framing.unseen(), u64::MAX);
    assert_eq!(framing.feed(b"\x81\x05hello", &mut out), 7);
    assert!(out.ends_with(b"\x81\x05hello"));
}

#[test]
fn an_upgrade_with_a_body_or_to_something_else_is_a_request_like_any_other() {
    for headers in [
        &["Connection: Upgrade", "Upgrade: h2c"][..],
        &["Upgrade: websocket"],
        &["Connection: Upgrade", "Upgrade: websocket", "Content-Length: 3"],
    ] {
        let mut framing = Framing::new(MAX_HEAD);
        let bytes = get(headers);
        assert_eq!(framing.feed(&bytes, &mut Vec::new()), bytes.len());
        assert_eq!(framing.asked(), None, "{headers:?}");
    }
}

/// A message that has one reading, and nothing else.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let body = proptest::collection::vec(any::<u8>(), 0..200);
    let sizes = proptest::collection::vec(1_usize..40, 1..8);
    let extra = proptest::collection::vec(("[A-Za-z-]{1,12}", "[ -~]{0,20}"), 0..4);
    (body, sizes, extra, 0..3_u8).prop_map(|(body, sizes, extra, kind)| {
        let mut text = "POST /x HTTP/1.1\r\nHost: a\r\n".to_owned();
        for (name, value) in extra {
            let _ = write!(text, "x-{name}: {value}\r\n");
        }
        match kind {
            0 => format!("{text}\r\n").into_bytes(),
            1 => {
                let head = format!("{text}Content-Length: {}\r\n\r\n", body.len());
                [head.into_bytes(), body].concat()
            }
            _ => {
                let mut bytes = format!("{text}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
                let mut rest = &body[..];
                for size in sizes.iter().cycle() {
                    let (chunk, others) = rest.split_at(rest.len().min(*size));
                    bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                    rest = others;
                    if chunk.is_empty() {
                        break;
                    }
                }
                bytes
            }
        }
    })
}

proptest! {
    #[test]
    fn what_has_one_reading_passes_however_it_is_cut(
        messages in proptest::collection::vec(message(), 1..5), piece in 1_usize..300,
    ) {
        let bytes = messages.concat();
        let (out, refusal) = through(&bytes, piece);
        prop_assert_eq!(refusal, None);
        prop_assert_eq!(out, bytes);
    }

    #[test]
    fn the_cut_of_any_bytes_changes_nothing(
        messages in proptest::collection::vec(message(), 1..3),
        at in any::<proptest::sample::Index>(),
        with in proptest::collection::vec(any::<u8>(), 0..4),
        piece in 1_usize..60,
    ) {
        let mut bytes = messages.concat();
        let at = at.index(bytes.len());
        bytes.splice(at..at, with);
        prop_assert_eq!(through(&bytes, piece), through(&bytes, bytes.len()));
    }
}
