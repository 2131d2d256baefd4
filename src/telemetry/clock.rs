//! The only place that asks the system for the time; everybody else takes a [`Clock`].

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::{Clock, Timestamp};

/// The wall clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// The time now. A clock before 1970 gives negative times; one outside of `i64` milliseconds
    /// is clamped.
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that others are handed")]
        let now = SystemTime::now();
        let millis =
            |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(match now.duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        })
    }

    fn monotonic_millis(&self) -> i64 {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        since_boot.tv_sec.saturating_mul(1000).saturating_add(since_boot.tv_nsec / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_forward_and_is_after_this_was_written() {
        let first = SystemClock.now();
        let second = SystemClock.now();
        assert!(second >= first);
        let earlier = SystemClock.monotonic_millis();
        assert!(SystemClock.monotonic_millis() >= earlier && earlier > 0);
        assert!(first > Timestamp::parse_rfc3339("2020-01-01T00:00:00Z").unwrap(), "{first}");
    }
}
