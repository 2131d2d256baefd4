//! How often one caller may use a route: 429 with `Retry-After` beyond that.
//!
//! The key is the fingerprint of the bearer with the peer's address, or the address alone
//! (`contract/http-api.md` §1). Only routes that cost or that could be used to guess are limited.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde_json::json;

use super::auth::{bearer, fingerprint};

/// Keys above which those that are full again are forgotten, so that made-up tokens cannot fill
/// the memory.
const MAX_KEYS: usize = 10_000;

/// Who is counted: a token's fingerprint, if there is one, and an address.
type Key = (Option<String>, IpAddr);

/// How often: so many in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rate {
    /// In a minute.
    PerMinute(NonZeroU32),
    /// In an hour.
    PerHour(NonZeroU32),
}

impl Rate {
    fn quota(self) -> Quota {
        match self {
            Self::PerMinute(count) => Quota::per_minute(count),
            Self::PerHour(count) => Quota::per_hour(count),
        }
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PerMinute(count) => write!(f, "{count} per 1 minute"),
            Self::PerHour(count) => write!(f, "{count} per 1 hour"),
        }
    }
}

/// One bucket per caller for a group of routes.
pub(crate) struct Limiter<K: Hash + Eq + Clone = Key> {
    rate: Rate,
    buckets: DefaultKeyedRateLimiter<K>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// Allows `per_minute` requests a minute, in any rhythm.
    pub(crate) fn per_minute(per_minute: NonZeroU32) -> Arc<Self> {
        Self::of(Rate::PerMinute(per_minute))
    }

    /// Allows as much as `rate` says, in any rhythm.
    pub(crate) fn of(rate: Rate) -> Arc<Self> {
        Arc::new(Self { rate, buckets: RateLimiter::keyed(rate.quota()) })
    }

    /// Seconds to wait, if the bucket of `key` is empty.
    pub(crate) fn refusal(&self, key: &K) -> Option<u64> {
        if self.buckets.len() > MAX_KEYS {
            self.buckets.retain_recent();
        }
        let refused = self.buckets.check_key(key).err()?;
        let wait = refused.wait_time_from(DefaultClock::default().now());
        Some(wait.as_secs().saturating_add(1))
    }
}

/// Where a request came from; a test without a socket counts as loopback's neighbour `0.0.0.0`.
pub(crate) fn peer(extensions: &Extensions) -> IpAddr {
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| {
            address.ip().to_canonical()
        })
}

fn key_of(headers: &HeaderMap, extensions: &Extensions) -> Key {
    (bearer(headers).map(fingerprint), peer(extensions))
}

/// Lets the request pass, or answers 429 in the contract's bare shape.
pub(crate) async fn enforce(
    State(limiter): State<Arc<Limiter>>,
    request: Request,
    next: Next,
) -> Response {
    let key = key_of(request.headers(), request.extensions());
    let Some(wait_secs) = limiter.refusal(&key) else { return next.run(request).await };
    too_many(limiter.rate, wait_secs)
}

/// As [`enforce`], by the address alone: where nobody is signed in yet, a token that somebody made
/// up must not be a bucket of its own.
pub(crate) async fn enforce_by_address(
    State(limiter): State<Arc<Limiter>>,
    request: Request,
    next: Next,
) -> Response {
    let key = (None, peer(request.extensions()));
    let Some(wait_secs) = limiter.refusal(&key) else { return next.run(request).await };
    too_many(limiter.rate, wait_secs)
}

/// The refusal of who asks too often, in the contract's bare shape.
pub(crate) fn too_many(rate: Rate, wait_secs: u64) -> Response {
    let error = format!("Rate limit exceeded: {rate}");
    let headers = [(header::RETRY_AFTER, wait_secs.to_string())];
    (StatusCode::TOO_MANY_REQUESTS, headers, Json(json!({"error": error}))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(token: &str) -> Key {
        (Some(fingerprint(token)), IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    #[test]
    fn one_caller_who_is_refused_does_not_hinder_another() {
        let limiter = Limiter::per_minute(NonZeroU32::new(2).unwrap());
        assert_eq!(limiter.refusal(&key("a")), None);
        assert_eq!(limiter.refusal(&key("a")), None);
        assert!(limiter.refusal(&key("a")).is_some_and(|secs| (1..=31).contains(&secs)));
        assert_eq!(limiter.refusal(&key("b")), None);
    }
}
