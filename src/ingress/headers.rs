//! What goes on of the headers of a request and of an answer, and what we say ourselves.
//!
//! # Invariants
//! * Nothing of the client's says where a request comes from: those headers are ours alone, in every
//!   spelling, and no `Connection` of the client takes ours away.
//! * Headers about one connection end with it.

use std::net::IpAddr;

use hyper::header::{
    CONNECTION, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, SERVER,
    UPGRADE,
};

/// What our own answers say in `Server`.
pub(super) const SERVER_NAME: &str = "flagops";

/// Headers about one connection (RFC 9110 §7.6.1).
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How a request reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Without TLS.
    Http,
    /// Through TLS.
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Makes `headers` of a request from `peer` those that go on. `host` is the checked value of `Host`.
pub(super) fn send_on(headers: &mut HeaderMap, peer: IpAddr, scheme: Scheme, host: &HeaderValue) {
    end_hop(headers);
    // We answered that ourselves.
    headers.remove(EXPECT);
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
    join_cookies(headers);
    headers.insert(HOST, host.clone());
    let peer = peer.to_canonical();
    let node = match peer {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let named = host.to_str().unwrap_or_default();
    let ours = [
        (HeaderName::from_static("x-forwarded-for"), peer.to_string()),
        (HeaderName::from_static("x-forwarded-proto"), scheme.as_str().to_owned()),
        (HeaderName::from_static("x-forwarded-host"), named.to_owned()),
        (FORWARDED, format!("for={node};host=\"{named}\";proto={}", scheme.as_str())),
    ];
    for (name, value) in ours {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

/// Makes `headers` of an instance's answer those that go on.
pub(super) fn answer_on(headers: &mut HeaderMap) {
    end_hop(headers);
    // Nobody but we may look like us.
    if headers.get(SERVER).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"flagops")) {
        headers.remove(SERVER);
    }
}

/// Whether `headers` ask to speak the protocol of WebSocket from now on.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let is_asked = words(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"));
    let upgrade = headers.get(UPGRADE).map(HeaderValue::as_bytes);
    is_asked && upgrade.is_some_and(|it| it.eq_ignore_ascii_case(b"websocket"))
}

/// Says again that WebSocket is asked for, or was agreed on.
pub(super) fn ask_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

fn end_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        words(headers, &CONNECTION).filter_map(|word| word.parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether a header claims where a request comes from. Servers that make variables of headers take `_`
/// for `-`.
fn is_claim(name: &HeaderName) -> bool {
    let name = name.as_str().replace('_', "-");
    name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded")
}

/// HTTP/2 may cut one `Cookie` into several; HTTP/1 knows one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let values: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&values.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn sent(pairs: &[(&str, &str)], peer: &str) -> Vec<(String, String)> {
        let mut headers = headers(pairs);
        let host = HeaderValue::from_static("abc.ctf.test:8443");
        send_on(&mut headers, peer.parse().unwrap(), Scheme::Https, &host);
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        let mut sent: Vec<_> = headers.iter().map(pair).collect();
        sent.sort();
        sent
    }

    fn value_of(sent: &[(String, String)], name: &str) -> Vec<String> {
        sent.iter().filter(|(it, _)| it == name).map(|(_, value)| value.clone()).collect()
    }

    #[test]
    fn a05_what_a_client_claims_of_its_origin_is_dropped() {
        let sent = sent(
            &[
                ("x-forwarded-for", "127.0.0.1"),
                ("X-Forwarded-For", "10.0.0.1"),
                ("x_forwarded_for", "127.0.0.1"),
                ("x-forwarded-host", "evil.test"),
                ("x-forwarded-proto", "gopher"),
                ("x-forwarded-prefix", "/admin"),
                ("forwarded", "for=127.0.0.1"),
                ("x-real-ip", "127.0.0.1"),
                ("x_real-ip", "127.0.0.1"),
                ("accept", "*/*"),
            ],
            "192.0.2.7",
        );
        let names: Vec<&str> = sent.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "accept",
                "forwarded",
                "host",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto"
            ]
        );
        assert_eq!(value_of(&sent, "x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(value_of(&sent, "x-forwarded-host"), ["abc.ctf.test:8443"]);
        assert_eq!(value_of(&sent, "x-forwarded-proto"), ["https"]);
        assert_eq!(
            value_of(&sent, "forwarded"),
            ["for=192.0.2.7;host=\"abc.ctf.test:8443\";proto=https"]
        );
    }

    #[test]
    fn a05_connection_takes_nothing_of_ours_away() {
        let sent = sent(
            &[("connection", "close, X-Forwarded-Host, x-forwarded-for, X-Own"), ("x-own", "1")],
            "2001:db8::1",
        );
        assert_eq!(value_of(&sent, "x-forwarded-for"), ["2001:db8::1"]);
        assert_eq!(value_of(&sent, "x-forwarded-host").len(), 1);
        assert!(value_of(&sent, "forwarded")[0].starts_with("for=\"[2001:db8::1]\";"));
        assert_eq!(value_of(&sent, "x-own"), [""; 0]);
    }

    #[test]
    fn an_address_of_ipv4_in_ipv6_is_shown_as_one_of_ipv4() {
        assert_eq!(value_of(&sent(&[], "::ffff:192.0.2.7"), "x-forwarded-for"), ["192.0.2.7"]);
    }

    #[test]
    fn cookies_in_pieces_are_one_again() {
        let sent = sent(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")], "192.0.2.7");
        assert_eq!(value_of(&sent, "cookie"), ["a=1; b=2; c=3"]);
    }

    #[test]
    fn an_instance_cannot_look_like_us() {
        let mut answer = headers(&[("server", "FlagOps"), ("connection", "x"), ("x", "1")]);
        answer_on(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
        let mut other =
            headers(&[("server", "nginx"), ("set-cookie", "a=1"), ("set-cookie", "b=2")]);
        answer_on(&mut other);
        assert_eq!(other.len(), 3);
    }

    #[test]
    fn only_websocket_is_spoken_in_place_of_http() {
        for (connection, upgrade, is_it) in [
            ("Upgrade", "websocket", true),
            ("keep-alive, UPGRADE", "WebSocket", true),
            ("keep-alive", "websocket", false),
            ("Upgrade", "h2c", false),
            ("Upgrade, HTTP2-Settings", "h2c, websocket", false),
        ] {
            let asked = headers(&[("connection", connection), ("upgrade", upgrade)]);
            assert_eq!(is_websocket(&asked), is_it, "{connection} {upgrade}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_our_word_is_the_only_one(
            names in proptest::collection::vec(
                prop_oneof![
                    "[xX][-_][fF]orwarded[-_](for|host|proto|port|server|by)",
                    "[fF]orwarded", "[xX][-_][rR]eal[-_][iI][pP]", "[a-z]{1,8}",
                ], 0..8),
            connection in "[a-zA-Z,_ -]{0,40}",
        ) {
            let mut pairs: Vec<(&str, &str)> =
                names.iter().map(|name| (name.as_str(), "127.0.0.1")).collect();
            pairs.push(("connection", &connection));
            let sent = sent(&pairs, "192.0.2.7");
            for (name, value) in &sent {
                let name = name.replace('_', "-");
                if name.starts_with("x-forwarded") || name == "forwarded" || name == "x-real-ip" {
                    prop_assert!(!value.contains("127.0.0.1"), "{name}: {value}");
                }
            }
            prop_assert_eq!(value_of(&sent, "x-forwarded-for"), ["192.0.2.7"]);
        }
    }
}
