//! The clock of a play: real time, moved past the moment before which the challenge is hidden.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::{Clock, Timestamp};
use crate::telemetry::SystemClock;

/// Real time plus an offset that only grows. A clone is the same clock.
#[derive(Debug, Clone, Default)]
pub(super) struct PlayClock(Arc<AtomicI64>);

impl PlayClock {
    /// Makes it later than `release_at`, so that authors can play what is not out yet.
    pub(super) fn pass(&self, release_at: Option<Timestamp>) {
        let missing = release_at.map_or(0, |at| at.millis_since(self.now()));
        if missing >= 0 && release_at.is_some() {
            self.0.fetch_add(missing.saturating_add(1), Ordering::SeqCst);
        }
    }
}

impl Clock for PlayClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.0.load(Ordering::SeqCst))
    }

    /// The offset is time that passes.
    fn monotonic_millis(&self) -> i64 {
        SystemClock.monotonic_millis().saturating_add(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_out_yet_is_out_and_time_never_goes_back() {
        let clock = PlayClock::default();
        let day = 86_400_000;
        let soon = SystemClock.now().plus_millis(day);
        clock.pass(Some(soon));
        assert!(clock.now() > soon);
        let now = clock.now();
        clock.pass(Some(soon.plus_millis(-2 * day)));
        clock.pass(None);
        assert!(clock.now() >= now && clock.now().millis_since(now) < 60_000);
    }
}
