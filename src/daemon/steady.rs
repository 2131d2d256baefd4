//! The daemon's time: the wall clock, without its jumps.
//!
//! Between two looks time passes as the monotonic clock says. A small difference to the wall clock
//! is followed at once (that is how clocks are kept right); a jump is first told to whoever keeps
//! times, who moves them by as much, and then followed. So a lease has as much left after a jump
//! as before it, and what the database says agrees with the wall clock again.
//!
//! # Not here
//! What is moved (`store::time`), and when it is looked at (`leases`).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::{Clock, Timestamp};

/// A difference above which the wall clock has jumped (`contract/gitops.md` §4.14, D12).
pub(crate) const JUMP_MILLIS: i64 = 30_000;

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Steady {
    clock: Arc<dyn Clock>,
    /// The wall clock minus the monotonic one, as last followed.
    offset: AtomicI64,
}

impl Steady {
    /// Begins with what the wall clock shows.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let offset = clock.now().as_millis() - clock.monotonic_millis();
        Self { clock, offset: AtomicI64::new(offset) }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Timestamp {
        let monotonic = self.clock.monotonic_millis();
        Timestamp::from_millis(self.offset.load(Ordering::SeqCst).saturating_add(monotonic))
    }

    /// Looks at the wall clock. `Some` is a jump by so many milliseconds, which is followed only
    /// by [`Steady::follow`].
    pub(crate) fn look(&self) -> Option<i64> {
        let ahead = self.clock.now().millis_since(self.now());
        if ahead.abs() >= JUMP_MILLIS {
            return Some(ahead);
        }
        self.follow(ahead);
        None
    }

    /// Follows the wall clock by so many milliseconds.
    pub(crate) fn follow(&self, millis: i64) {
        self.offset.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for Steady {
    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    fn monotonic_millis(&self) -> i64 {
        self.clock.monotonic_millis()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A wall clock and a monotonic one, set by hand.
    #[derive(Debug, Default)]
    struct ByHand {
        wall: AtomicI64,
        monotonic: AtomicI64,
    }

    impl Clock for ByHand {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.wall.load(Ordering::SeqCst))
        }

        fn monotonic_millis(&self) -> i64 {
            self.monotonic.load(Ordering::SeqCst)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn what_is_left_of_a_lease_shrinks_as_time_passes_and_by_nothing_else(
            events in proptest::collection::vec((0_i64..5_000, -100_000_i64..100_000), 1..30),
        ) {
            let by_hand = Arc::new(ByHand::default());
            let steady = Steady::new(Arc::clone(&by_hand) as Arc<dyn Clock>);
            let mut expires_at = steady.now().plus_millis(3_600_000);
            let mut slewed = 0;
            let mut passed_in_all = 0;
            for (passed, jump) in events {
                by_hand.wall.fetch_add(passed + jump, Ordering::SeqCst);
                by_hand.monotonic.fetch_add(passed, Ordering::SeqCst);
                passed_in_all += passed;
                let before = expires_at.millis_since(steady.now());
                match steady.look() {
                    Some(by) => {
                        prop_assert!(by.abs() >= JUMP_MILLIS);
                        expires_at = expires_at.plus_millis(by);
                        steady.follow(by);
                        prop_assert_eq!(expires_at.millis_since(steady.now()), before);
                    }
                    None => slewed += before - expires_at.millis_since(steady.now()),
                }
                prop_assert_eq!(steady.now(), by_hand.now(), "it agrees with the wall clock");
            }
            let left = expires_at.millis_since(steady.now());
            prop_assert_eq!(left, 3_600_000 - passed_in_all - slewed);
        }
    }
}
