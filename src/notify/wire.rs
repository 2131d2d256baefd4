//! One request to somebody else's server, and what is to be kept of its answer.
//!
//! # Invariants
//! * A request takes at most [`DEADLINE`], follows no redirect, and reads at most [`MAX_ANSWER`].
//! * What is kept of an answer is one line without the secrets that were sent.

use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::Resolve;
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url, header};

use crate::model::Timestamp;
use crate::telemetry::Chain;

/// How long one delivery may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// How much of an answer is read, in bytes.
const MAX_ANSWER: usize = 500;
/// The longest pause that somebody may ask for.
const MAX_SILENCE: Duration = Duration::from_secs(24 * 3600);

/// What the other side said.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// The beginning of its text; hostile, in one line.
    pub(super) text: String,
    /// How long it wants to hear nothing.
    pub(super) silence: Option<Duration>,
}

/// A client for `url`.
///
/// # Errors
/// When TLS cannot be set up, with the library's words.
pub(super) fn client(url: &Url) -> Result<reqwest::Client, String> {
    build(reqwest::Client::builder(), url)
}

/// A client for addresses like `url` that others choose: it goes where `guard` lets it, and through
/// no proxy.
///
/// # Errors
/// As [`client`].
pub(super) fn guarded_client(
    url: &Url,
    guard: Arc<impl Resolve + 'static>,
) -> Result<reqwest::Client, String> {
    build(reqwest::Client::builder().no_proxy().dns_resolver(guard), url)
}

fn build(builder: reqwest::ClientBuilder, url: &Url) -> Result<reqwest::Client, String> {
    // Idempotent: whoever was first has installed the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = builder
        .user_agent(concat!("flagops/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(DEADLINE);
    if url.scheme() == "http" {
        // Without TLS no root certificates are needed, and a minimal image has none.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| Chain(&error.without_url()).to_string())
}

/// `text` as an address of the web.
pub(super) fn parse(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    is_web.then_some(url)
}

/// Sends `request`; `hide` takes secrets out of what is kept.
///
/// # Errors
/// When nobody answered, with the transport's words.
pub(super) async fn send(
    request: reqwest::RequestBuilder,
    now: Timestamp,
    hide: impl Fn(&str) -> String,
) -> Result<Answer, String> {
    let unreachable = |error: reqwest::Error| hide(&Chain(&error.without_url()).to_string());
    let mut response = request.send().await.map_err(unreachable)?;
    let (status, silence) = (response.status(), silence(response.headers(), now));
    let mut bytes = Vec::new();
    // An answer that breaks off is an answer all the same.
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - bytes.len())]);
        if bytes.len() >= MAX_ANSWER {
            break;
        }
    }
    Ok(Answer { status, text: hide(&one_line(&bytes)), silence })
}

/// How long the other side wants to hear nothing: because it says so, or because its limit is used
/// up until a time that it names.
fn silence(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let silence = retry_after(headers, now).or_else(|| until_reset(headers, now));
    silence.map(|pause| pause.min(MAX_SILENCE))
}

/// Seconds or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    use time::format_description::well_known::Rfc2822;
    let text = text_of(headers, header::RETRY_AFTER.as_str())?;
    if let Ok(secs) = text.parse::<u64>() {
        return Some(Duration::from_secs(secs));
    }
    let at = time::OffsetDateTime::parse(text, &Rfc2822).ok()?;
    let millis = i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()?;
    Some(until(millis, now))
}

/// GitHub says `x-ratelimit-…`, GitLab `ratelimit-…`: nothing is left until a second of the epoch.
fn until_reset(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    ["x-ratelimit", "ratelimit"].into_iter().find_map(|family| {
        let number =
            |name: &str| text_of(headers, &format!("{family}-{name}"))?.parse::<i64>().ok();
        let is_used_up = number("remaining")? <= 0;
        let reset = number("reset")?;
        is_used_up.then(|| until(reset.saturating_mul(1000), now))
    })
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

fn until(millis: i64, now: Timestamp) -> Duration {
    let left = millis.saturating_sub(now.as_millis());
    Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&'static str, &'static str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        silence(&headers, Timestamp::from_millis(100_000)).map(|pause| pause.as_secs())
    }

    #[test]
    fn silence_is_what_is_asked_for_or_the_time_until_the_limit_is_new() {
        for (headers, wanted) in [
            (&[][..], None),
            (&[("retry-after", "120")], Some(120)),
            (&[("retry-after", "Thu, 01 Jan 1970 00:05:00 GMT")], Some(200)),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "99999999")], Some(86_400)),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "160")], Some(60)),
            (&[("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "160")], None),
            (&[("x-ratelimit-remaining", "0")], None),
            (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "90")], Some(0)),
            (&[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "-9")], Some(0)),
        ] {
            assert_eq!(check(headers), wanted, "{headers:?}");
        }
    }
}
