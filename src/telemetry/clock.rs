//! The only place that asks the system for the time; everybody else takes a [`Clock`].

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::{Clock, Timestamp};

/// The clock that the daemon lives by: the machine's. In a debug build `FLAGOPS_TEST_CLOCK=FILE`
/// sets its wall clock ahead by as many milliseconds as stand in `FILE`, so that a test can set it
/// while the daemon runs.
pub fn of_this_process() -> Arc<dyn Clock> {
    #[cfg(debug_assertions)]
    if let Some(file) = std::env::var_os("FLAGOPS_TEST_CLOCK") {
        return Arc::new(SetByFile(file.into()));
    }
    Arc::new(SystemClock)
}

/// The wall clock of this machine, ahead by the milliseconds in a file; without one it is right.
#[cfg(debug_assertions)]
#[derive(Debug)]
struct SetByFile(std::path::PathBuf);

#[cfg(debug_assertions)]
impl Clock for SetByFile {
    fn now(&self) -> Timestamp {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        SystemClock.now().plus_millis(text.trim().parse().unwrap_or(0))
    }

    fn monotonic_millis(&self) -> i64 {
        SystemClock.monotonic_millis()
    }
}

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
    #[cfg(debug_assertions)]
    #[test]
    fn a_clock_that_is_set_by_a_file_jumps_with_it_and_its_monotonic_side_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SetByFile(folder.path().join("ahead"));
        let ahead = || clock.now().millis_since(SystemClock.now());
        assert!(ahead().abs() < 1_000);
        let before = clock.monotonic_millis();
        std::fs::write(&clock.0, "-7200000\n").unwrap();
        assert!((ahead() + 7_200_000).abs() < 1_000);
        assert!(clock.monotonic_millis() - before < 60_000);
    }
}
