//! Time as a value: [`Timestamp`] everywhere, and [`Clock`] for those who may ask for it.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time, in milliseconds since the Unix epoch (UTC).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Seconds since the Unix epoch, as the wire shapes of the instance clocks want them.
    pub fn as_secs_f64(self) -> f64 {
        // Exact up to the year 287396: 2^53 milliseconds.
        self.0 as f64 / 1000.0
    }

    /// The point that many seconds after the Unix epoch; `None` for what is no number, or so far away
    /// that no calendar has it.
    pub fn from_secs_f64(secs: f64) -> Option<Self> {
        let is_near = secs.is_finite() && secs.abs() < 1e11;
        // In bounds, so nothing is cut off but parts of a millisecond.
        is_near.then_some(Self((secs * 1000.0) as i64))
    }

    /// This point plus `millis`, saturating.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This point plus `secs`, saturating.
    #[must_use]
    pub const fn plus_secs(self, secs: i64) -> Self {
        self.plus_millis(secs.saturating_mul(1000))
    }

    /// Milliseconds from `earlier` to this point; negative when `earlier` is later.
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// RFC 3339 in UTC with milliseconds, e.g. `2026-11-20T14:15:32.555Z`.
    pub fn rfc3339(self) -> String {
        self.as_date_time().format(&Rfc3339).unwrap_or_else(|_| format!("@{}ms", self.0))
    }

    /// The same point as a date and time; clamped to the years that `time` knows.
    pub fn as_date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Parses RFC 3339, e.g. `2027-03-01T12:00:00Z`.
    ///
    /// # Errors
    /// When `text` is not RFC 3339.
    pub fn parse_rfc3339(text: &str) -> Result<Self, time::error::Parse> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339)?;
        Ok(Self(i64::try_from(parsed.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// Where the time comes from. The real one is `telemetry::clock::SystemClock`.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time now, by the wall clock: it can jump, either way.
    fn now(&self) -> Timestamp;

    /// Milliseconds since some fixed moment; never goes back, and counts what the machine slept.
    fn monotonic_millis(&self) -> i64;
}
