//! How often one caller may use a route: 429 with `Retry-After` beyond that.
//!
//! The key is the fingerprint of the bearer with the peer's address, or the address alone
//! (`contract/http-api.md` §1). Only routes that cost or that could be used to guess are limited. What
//! administrators say about rates comes with the request (`request::finish`).

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::{bearer, fingerprint};
use crate::contest::settings::Bucket;
use crate::contest::{Rate, Settings};

/// Keys above which those that are full again are forgotten, so that made-up tokens cannot fill
/// the memory.
const MAX_KEYS: usize = 10_000;

/// Who is counted: a token's fingerprint, if there is one, and an address.
type Key = (Option<String>, IpAddr);

/// One bucket per caller, at one rate.
pub(crate) struct Meter<K: Hash + Eq + Clone> {
    rate: Rate,
    buckets: DefaultKeyedRateLimiter<K>,
}

impl<K: Hash + Eq + Clone> Meter<K> {
    /// Allows as much as `rate` says, in any rhythm.
    pub(crate) fn of(rate: Rate) -> Arc<Self> {
        let between = Duration::from_secs(rate.secs().into()) / rate.count().get();
        // A rate has at most a million requests in a second, so there is something between two.
        let quota = Quota::with_period(between).unwrap_or(Quota::per_second(rate.count()));
        Arc::new(Self { rate, buckets: RateLimiter::keyed(quota.allow_burst(rate.count())) })
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

/// What limits a group of routes: at its built-in rate, unless administrators want another.
pub(crate) struct Limiter {
    bucket: Bucket,
    built_in: Rate,
    /// Replaced when another rate is wanted; everybody begins with a full bucket then.
    meter: RwLock<Arc<Meter<Key>>>,
}

impl Limiter {
    /// For the routes of `bucket`.
    pub(crate) fn of(bucket: Bucket, built_in: Rate) -> Arc<Self> {
        Arc::new(Self { bucket, built_in, meter: RwLock::new(Meter::of(built_in)) })
    }

    /// The meter at the rate that holds now; `None` while there are no limits.
    fn meter(&self, settings: Option<&Settings>) -> Option<Arc<Meter<Key>>> {
        let wanted = match settings {
            Some(settings) => settings.rate(self.bucket, self.built_in)?,
            None => self.built_in,
        };
        let meter = Arc::clone(&self.meter.read().unwrap_or_else(PoisonError::into_inner));
        if meter.rate == wanted {
            return Some(meter);
        }
        let mut meter = self.meter.write().unwrap_or_else(PoisonError::into_inner);
        if meter.rate != wanted {
            *meter = Meter::of(wanted);
        }
        Some(Arc::clone(&meter))
    }

    /// The refusal of a request by `key`, if it asks too often.
    fn refuse(&self, extensions: &Extensions, key: &Key) -> Option<Response> {
        let settings = extensions.get::<Arc<Settings>>().map(AsRef::as_ref);
        let meter = self.meter(settings)?;
        meter.refusal(key).map(|wait_secs| too_many(meter.rate, wait_secs))
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
    match limiter.refuse(request.extensions(), &key) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

/// As [`enforce`], by the address alone: where nobody is signed in yet, a token that somebody made
/// up must not be a bucket of its own.
pub(crate) async fn enforce_by_address(
    State(limiter): State<Arc<Limiter>>,
    request: Request,
    next: Next,
) -> Response {
    let key = (None, peer(request.extensions()));
    match limiter.refuse(request.extensions(), &key) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

/// The refusal of who asks too often, in the contract's bare shape.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RateLimited {
    /// Which rate was exceeded; `Retry-After` says when there is room again.
    error: String,
}

/// Refuses who asks too often.
pub(crate) fn too_many(rate: Rate, wait_secs: u64) -> Response {
    let body = RateLimited { error: format!("Rate limit exceeded: {rate}") };
    let headers = [(header::RETRY_AFTER, wait_secs.to_string())];
    (StatusCode::TOO_MANY_REQUESTS, headers, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(token: &str) -> Key {
        (Some(fingerprint(token)), IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    #[test]
    fn one_caller_who_is_refused_does_not_hinder_another() {
        let meter = Meter::of(Rate::per_minute(2));
        assert_eq!(meter.refusal(&key("a")), None);
        assert_eq!(meter.refusal(&key("a")), None);
        assert!(meter.refusal(&key("a")).is_some_and(|secs| (1..=31).contains(&secs)));
        assert_eq!(meter.refusal(&key("b")), None);
    }

    #[test]
    fn another_rate_holds_from_the_next_request_on() {
        let base = crate::contest::settings::Settings::for_test();
        let limiter = Limiter::of(Bucket::Login, Rate::per_minute(1));
        let with = |value: serde_json::Value| {
            base.with(&[(crate::contest::settings::SettingKey::RateLimits, value)].into())
        };
        let asks = |settings: &Settings| {
            limiter.meter(Some(settings)).is_some_and(|it| it.refusal(&key("a")).is_some())
        };
        assert!(!asks(&base) && asks(&base), "the second is one too many");
        let other = with(json!({"login": "3/hour"}));
        assert!(!asks(&other) && !asks(&other) && !asks(&other) && asks(&other));
        let off = [(crate::contest::settings::SettingKey::RateLimitingEnabled, json!(false))];
        assert!(limiter.meter(Some(&base.with(&off.into()))).is_none());
        // What is said of other routes changes nothing here.
        assert!(!asks(&with(json!({"register": "9/hour"}))), "the old rate, with full buckets");
    }
}
