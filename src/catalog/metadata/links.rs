//! `entry_urls`: links on an instance's page, so nothing but plain absolute http(s) URLs.

use crate::catalog::decode::{Report, shown};
use crate::catalog::rules;
use crate::catalog::spanned::Node;

const MAX_URLS: usize = 50;
const MAX_URL_BYTES: usize = 2048;

/// Reads the list.
pub(super) fn entry_urls(node: &Node, report: &mut Report) -> Option<Vec<String>> {
    let items = report.list(rules::META013, "entry_urls", node)?;
    if items.len() > MAX_URLS {
        let message = format!("`entry_urls` has {} items, more than {MAX_URLS}", items.len());
        report.error(rules::META013, node.span, message, "keep the ones players need");
        return None;
    }
    let mut urls = Vec::new();
    for (nth, item) in items.iter().enumerate() {
        let Some(url) = report.text(rules::META013, "entry_urls", item) else { continue };
        match fault(&url) {
            None => urls.push(url),
            Some(reason) => {
                let message = format!("`entry_urls[{nth}]`, `{}`, {reason}", shown(&url));
                let hint = "write an absolute URL such as `https://example.org/`";
                report.error(rules::META013, item.span, message, hint);
            }
        }
    }
    (urls.len() == items.len()).then_some(urls)
}

/// Why `url` is no link to show, if it is none.
fn fault(url: &str) -> Option<&'static str> {
    if url.is_empty() {
        return Some("is empty");
    }
    if url.len() > MAX_URL_BYTES {
        return Some("has more than 2048 bytes");
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control() || "<>\"`\\^{}|".contains(c)) {
        return Some("has a character that must be percent-encoded");
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some("is not absolute");
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Some("has another scheme than http or https");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    (!is_authority(authority)).then_some("has no valid host")
}

/// `host[:port]` without user information, which would only mislead.
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
            "ftp://a",
            "http://a b",
            "http://a\r\nX: y",
            "http://user:pw@h/",
            "http://h:99999/",
            "http://h:/",
            "http://[::1",
            "data:text/html,<b>",
        ] {
            assert!(fault(url).is_some(), "{url:?}");
        }
    }
}
