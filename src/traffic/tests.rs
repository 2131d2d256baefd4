//! HTTP in packets that were made for it, and in packets that were made against us.

use etherparse::PacketBuilder;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const SYN: u8 = 1;
const CLIENT: ([u8; 4], u16) = ([10, 7, 0, 1], 40_000);
const SERVER: ([u8; 4], u16) = ([10, 7, 0, 2], 8080);

/// A capture that is written packet by packet.
struct Tape {
    bytes: Vec<u8>,
    at_micros: u64,
}

impl Tape {
    fn new() -> Self {
        Self { bytes: pcap::header().to_vec(), at_micros: 1_700_000_000_000_000 }
    }

    fn packet(&mut self, packet: &[u8]) {
        self.at_micros += 1500;
        let secs = u32::try_from(self.at_micros / 1_000_000).unwrap();
        let micros = u32::try_from(self.at_micros % 1_000_000).unwrap();
        let length = u32::try_from(packet.len()).unwrap();
        for number in [secs, micros, length, length] {
            self.bytes.extend(number.to_le_bytes());
        }
        self.bytes.extend(packet);
    }

    fn tcp(
        &mut self,
        from: ([u8; 4], u16),
        to: ([u8; 4], u16),
        number: u32,
        flags: u8,
        payload: &[u8],
    ) {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from.0, to.0, 64);
        let mut builder = builder.tcp(from.1, to.1, number, 1024);
        builder = if flags == SYN { builder.syn() } else { builder.ack(1) };
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).unwrap();
        self.packet(&packet);
    }

    fn said(&mut self, number: u32, payload: &str) -> &mut Self {
        self.tcp(CLIENT, SERVER, number, 0, payload.as_bytes());
        self
    }

    fn answered(&mut self, number: u32, payload: &str) -> &mut Self {
        self.tcp(SERVER, CLIENT, number, 0, payload.as_bytes());
        self
    }

    fn flows(&self) -> Vec<Flow> {
        flows(&self.bytes)
    }
}

fn body_of(flow: &Flow) -> &str {
    flow.response.as_ref().and_then(|it| it.body.as_deref()).unwrap_or_default()
}

#[test]
fn a_request_and_its_answer_are_in_the_shape_of_the_contract() {
    let mut tape = Tape::new();
    tape.tcp(CLIENT, SERVER, 99, SYN, b"");
    tape.said(100, "POST /jar?who=me&n=2 HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\nabc");
    tape.answered(
        7,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello",
    );
    let flows = tape.flows();
    insta::assert_json_snapshot!(flows, @r#"
    [
      {
        "request": {
          "method": "POST",
          "url": "http://shop/jar?who=me&n=2",
          "host": "shop",
          "path": "/jar",
          "version": "HTTP/1.1",
          "headers": {
            "content-length": "3",
            "host": "shop"
          },
          "query": {
            "n": "2",
            "who": "me"
          },
          "body": "abc"
        },
        "response": {
          "status_code": 200,
          "headers": {
            "content-length": "5",
            "content-type": "text/html"
          },
          "body": "hello",
          "content_type": "text/html",
          "content_length": 5
        },
        "metadata": {
          "timestamp": "2023-11-14T22:13:20.003000Z",
          "duration": 1.5,
          "side": "inside"
        },
        "client": {
          "ip": "10.7.0.1",
          "port": 40000
        },
        "server": {
          "ip": "10.7.0.2",
          "port": 8080
        }
      }
    ]
    "#);
}

#[test]
fn exchanges_of_one_connection_are_told_apart() {
    let mut tape = Tape::new();
    tape.said(1, "GET /a HTTP/1.1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\nGET /c HTTP/1.0\r\n\r\n");
    let mut number = 1;
    for part in [
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "3\r\none\r\n2\r\n!!\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.0 404 No\r\n\r\nuntil the end",
    ] {
        tape.answered(number, part);
        number += u32::try_from(part.len()).unwrap();
    }
    let flows = tape.flows();
    let seen: Vec<_> = flows.iter().map(|it| (it.request.path.as_str(), body_of(it))).collect();
    assert_eq!(seen, [("/a", "one!!"), ("/b", ""), ("/c", "until the end")]);
}

#[test]
fn packets_out_of_order_and_twice_are_put_right() {
    let mut tape = Tape::new();
    tape.tcp(CLIENT, SERVER, u32::MAX - 3, SYN, b"");
    tape.said(5, " /late HTTP/1.1\r\n\r\n")
        .said(u32::MAX - 2, "XYZ GET")
        .said(u32::MAX - 2, "XYZ GET");
    assert_eq!(tape.flows(), []);
    let mut tape = Tape::new();
    tape.tcp(CLIENT, SERVER, u32::MAX - 3, SYN, b"");
    tape.said(0, " /late HTTP/1.1\r\n\r\n").said(u32::MAX - 2, "GET").said(u32::MAX - 2, "GET");
    assert_eq!(tape.flows()[0].request.path, "/late");
}

#[test]
fn what_was_cut_says_so() {
    let mut tape = Tape::new();
    tape.said(1, "GET / HTTP/1.1\r\n\r\n");
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{}", "x".repeat(30_000));
    tape.answered(1, &long);
    let flows = tape.flows();
    assert!(body_of(&flows[0]).ends_with("xxx... [truncated]"));
    assert!(body_of(&flows[0]).len() < 17_000);
    let mut tape = Tape::new();
    tape.said(1, "GET / HTTP/1.1\r\n\r\n");
    tape.answered(1, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    assert_eq!(body_of(&tape.flows()[0]), "half... [truncated]");
}

#[test]
fn a_capture_that_began_late_knows_who_asked() {
    let mut tape = Tape::new();
    tape.answered(1, "HTTP/1.1 200 OK\r\n\r\nlate").said(1, "GET /early HTTP/1.1\r\n\r\n");
    let flows = tape.flows();
    assert_eq!((flows[0].client.port, flows[0].request.path.as_str()), (40_000, "/early"));
}

#[test]
fn of_very_many_exchanges_the_newest_stay() {
    let mut tape = Tape::new();
    for nth in 0..MAX_FLOWS + 5 {
        let port = u16::try_from(20_000 + nth).unwrap();
        let asked = format!("GET /{nth} HTTP/1.1\r\n\r\n");
        tape.tcp((CLIENT.0, port), SERVER, 1, 0, asked.as_bytes());
    }
    let flows = tape.flows();
    assert_eq!(flows.len(), MAX_FLOWS);
    assert_eq!(flows[0].request.path, "/5");
}

proptest! {
    #[test]
    fn however_it_is_cut_into_packets_the_same_is_read(
        cuts in vec(1_usize..30, 1..8), keys in vec(any::<u32>(), 60), first in any::<u32>(),
    ) {
        let text = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n01234567890123456789";
        let (mut rest, mut number, mut pieces) = (text.as_slice(), first.wrapping_add(1), Vec::new());
        let mut sizes = cuts.iter().cycle();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            pieces.push((number, piece));
            number = number.wrapping_add(u32::try_from(piece.len()).unwrap());
            rest = after;
        }
        // Any order that the bound on early packets allows.
        let mut order: Vec<_> = pieces.into_iter().zip(keys.iter().cycle()).collect();
        order.truncate(60);
        order.sort_by_key(|(_, key)| **key);
        let mut tape = Tape::new();
        tape.tcp(CLIENT, SERVER, first, SYN, b"");
        for ((number, piece), _) in &order {
            tape.tcp(CLIENT, SERVER, *number, 0, piece);
        }
        let flows = tape.flows();
        prop_assume!(order.iter().map(|((_, piece), _)| piece.len()).sum::<usize>() == text.len());
        prop_assert_eq!(flows.len(), 1);
        prop_assert_eq!(flows[0].request.body.as_deref(), Some("01234567890123456789"));
    }

    #[test]
    fn no_packet_makes_a_panic(packets in vec(vec(any::<u8>(), 0..120), 0..20)) {
        let mut tape = Tape::new();
        packets.iter().for_each(|packet| tape.packet(packet));
        prop_assert_eq!(tape.flows(), []);
    }

    #[test]
    fn no_speech_makes_a_panic(
        said in vec((any::<bool>(), any::<u32>(), "[ -~\r\n]{0,60}"), 0..12),
        asked in "(GET|PUT) [!-~]{1,20} HTTP/1\\.[01]\r\n([a-zA-Z-]{1,20}: [ -~]{0,20}\r\n){0,3}\r\n",
        answer in "HTTP/1\\.1 [0-9]{3} \r\n((Content-Length|Transfer-Encoding): (chunked|[0-9]{1,25})\r\n)?\r\n[ -~\r\n]{0,60}",
    ) {
        let mut tape = Tape::new();
        tape.said(1, &asked).answered(1, &answer);
        for (is_client, number, text) in &said {
            if *is_client { tape.said(*number, text) } else { tape.answered(*number, text) };
        }
        prop_assert!(tape.flows().len() <= MAX_FLOWS);
    }
}
