//! `entry_urls`: links on an instance's page, so nothing but plain absolute http(s) URLs.
//!
//! A link that is not plain is left out and said; the challenge runs without it.

use crate::catalog::decode::{Report, shown};
use crate::catalog::rules;
use crate::catalog::spanned::Node;

const MAX_URLS: usize = 50;
const MAX_URL_BYTES: usize = 2048;

/// Reads the list.
pub(super) fn entry_urls(node: &Node, report: &mut Report) -> Option<Vec<String>> {
    let items = report.list(rules::META013, "entry_urls", node)?;
    if items.len() > MAX_URLS {
        let message = format!(
            "`entry_urls` has {} items; those after the first {MAX_URLS} are not shown",
            items.len()
        );
        report.error(rules::META024, node.span, message, "keep the ones players need");
    }
    let mut urls = Vec::new();
    let mut is_text = true;
    for (nth, item) in items.iter().enumerate() {
        let Some(url) = report.text(rules::META013, "entry_urls", item) else {
            is_text = false;
            continue;
        };
        match fault(&url) {
            None => urls.push(url),
            Some((rule, reason)) => {
                let message = format!("`entry_urls[{nth}]`, `{}`, {reason}", shown(&url));
                let hint = "write an absolute URL such as `https://example.org/`";
                report.error(rule, item.span, message, hint);
            }
        }
    }
    urls.truncate(MAX_URLS);
    is_text.then_some(urls)
}

/// Why `url` is no link to show, and by which rule, if it is none.
fn fault(url: &str) -> Option<(&'static str, &'static str)> {
    let contract = |reason| Some((rules::META013, reason));
    let strict = |reason| Some((rules::META024, reason));
    if url.is_empty() {
        return contract("is empty");
    }
    let Some((scheme, rest)) = url.trim_start().split_once(':') else {
        return contract("is not absolute");
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return contract("has another scheme than http or https");
    }
    let authority = match rest.strip_prefix("//") {
        Some(rest) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None => "",
    };
    if authority.is_empty() {
        return contract("has no host");
    }
    if url.len() > MAX_URL_BYTES {
        strict("has more than 2048 bytes")
    } else if url.chars().any(|c| c.is_whitespace() || c.is_control() || "<>\"`\\^{}|".contains(c))
    {
        strict("has a character that must be percent-encoded")
    } else if authority.contains('@') {
        strict("has a user name, which hides where the link leads")
    } else if is_authority(authority) {
        None
    } else {
        strict("has no valid host")
    }
}

/// `host[:port]` that a browser can open.
fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, tail)) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
                (host, tail.strip_prefix(':').or(tail.is_empty().then_some("80")))
            }
            _ => return false,
        },
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("80")),
        },
    };
    let is_host = !host.is_empty()
        && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'))
        && host.chars().any(char::is_alphanumeric);
    is_host && port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn only_plain_absolute_http_links_pass() {
        for url in ["http://a", "https://example.org:8443/x?y#z", "HTTP://[::1]:80/", "http://é.fr"]
        {
            assert_eq!(fault(url), None, "{url}");
        }
        for url in [
            "",
            "javascript:alert(1)",
            "//x",
            "/path",
            "http://",
            "http:///x",
            "http:a",
            "http://?x",
            "ftp://a",
            "data:text/html,<b>",
        ] {
            assert_eq!(fault(url).map(|it| it.0), Some("META013"), "{url:?}");
        }
        for url in [
            "http://a b",
            " http://a",
            "http://a\r\nX: y",
            "http://user:pw@h/",
            "http://h:99999/",
            "http://h:/",
            "http://:80",
            "http://[::1",
            "http://./",
            "http://a/<b>",
        ] {
            assert_eq!(fault(url).map(|it| it.0), Some("META024"), "{url:?}");
        }
    }
}
