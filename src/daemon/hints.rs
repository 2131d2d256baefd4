//! Turns hints, that the remote may have changed, into looks at it.
//!
//! A forge tells of a push a moment before everybody can read it, so one hint is three looks: at
//! once, after two seconds and after ten. What a hint says is not believed; that it came is all.
//!
//! # Invariants
//! * After every hint there is a look that began after it, and one at least ten seconds after it.
//! * Three hints in a row are acted on at once, because a commit and its tag are often pushed within a
//!   second. However many come, no more than that and one in five seconds are; those in between are one
//!   hint at the end of these five seconds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::shared::Shared;
use crate::model::Clock as _;

/// When we look after a hint, in milliseconds.
const LOOKS_AFTER: [i64; 3] = [0, 2_000, 10_000];

/// The time between two hints that are acted on in a storm, in milliseconds.
const APART: i64 = 5_000;

/// Hints that are acted on at once after a silence.
const BURST: i64 = 3;

/// The looks that hints ask for. Times are those of a monotonic clock, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// When the newest hint is acted on; it may be still to come.
    newest: Option<i64>,
    /// When nothing would be left of the storm: each hint that is acted on moves it by [`APART`].
    quiet_at: i64,
    due: BTreeSet<i64>,
}

impl Hints {
    /// A hint came at `now`.
    pub(crate) fn hint(&mut self, now: i64) {
        // One that waits already speaks for this one as well.
        if self.newest.is_some_and(|newest| now < newest) {
            return;
        }
        let at = now.max(self.quiet_at - (BURST - 1) * APART);
        self.quiet_at = self.quiet_at.max(at) + APART;
        self.newest = Some(at);
        self.due.extend(LOOKS_AFTER.map(|after| at + after));
    }

    /// When to look next.
    pub(crate) fn next(&self) -> Option<i64> {
        self.due.first().copied()
    }

    /// Whether to look at `now`; that look stands for every one that was due before.
    pub(crate) fn take_due(&mut self, now: i64) -> bool {
        let n_before = self.due.len();
        self.due.retain(|due| *due > now);
        self.due.len() < n_before
    }
}

/// Looks at the remote after hints, until the daemon stops.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let mut hints = Hints::default();
    loop {
        if hints.take_due(shared.clock.monotonic_millis()) && !look(&shared).await {
            return;
        }
        tokio::select! {
            // Cancel-safe: a permit that is not taken stays.
            () = shared.hinted.notified() => hints.hint(shared.clock.monotonic_millis()),
            () = until(&shared, hints.next()) => {}
            () = shared.tasks.stopping().cancelled() => return,
        }
    }
}

/// One look, begun after now and done; false when the daemon stops.
async fn look(shared: &Shared) -> bool {
    let (done, looked) = oneshot::channel();
    let asked = async {
        // Nobody answers once the source is no longer followed: that is the stop.
        let is_asked = shared.looks.send(done).await.is_ok();
        is_asked && looked.await.is_ok()
    };
    tokio::select! {
        is_done = asked => is_done,
        () = shared.tasks.stopping().cancelled() => false,
    }
}

async fn until(shared: &Shared, at: Option<i64>) {
    let Some(at) = at else { return std::future::pending().await };
    let left = at.saturating_sub(shared.clock.monotonic_millis());
    tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0))).await;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The looks that hints at these times lead to, when each look takes no time.
    fn looks(mut hints_at: Vec<i64>) -> Vec<i64> {
        hints_at.sort_unstable();
        let (mut hints, mut looks) = (Hints::default(), Vec::new());
        let mut catch_up = |hints: &mut Hints, until: i64| {
            while let Some(at) = hints.next().filter(|at| *at <= until) {
                assert!(hints.take_due(at));
                looks.push(at);
            }
        };
        for at in hints_at {
            // What is due at the very moment of a hint began before it.
            catch_up(&mut hints, at);
            hints.hint(at);
        }
        catch_up(&mut hints, i64::MAX);
        assert!(!hints.take_due(i64::MAX), "nothing is left");
        looks
    }

    #[test]
    fn a_hint_is_three_looks_and_hints_in_between_are_one_at_the_end() {
        assert_eq!(looks(vec![]), Vec::<i64>::new());
        assert_eq!(looks(vec![7]), [7, 2_007, 10_007]);
        // A commit, then its tag: players do not wait for a look that comes by itself.
        assert_eq!(looks(vec![0, 900]), [0, 900, 2_000, 2_900, 10_000, 10_900]);
        let storm = looks(vec![0, 1, 2, 3, 4, 4_999, 5_001]);
        assert_eq!(
            storm,
            [
                0, 1, 2, 2_000, 2_001, 2_002, 5_000, 7_000, 10_000, 10_001, 10_002, 12_000, 15_000,
                20_000
            ]
        );
    }

    #[test]
    fn a_look_that_took_long_stands_for_all_that_were_due() {
        let mut hints = Hints::default();
        hints.hint(0);
        assert!(hints.take_due(60_000));
        assert!(!hints.take_due(60_000));
        assert_eq!(hints.next(), None);
    }

    proptest! {
        #[test]
        fn after_every_hint_there_are_looks_soon_and_late(
            hints_at in prop::collection::vec(0_i64..60_000, 1..80)
        ) {
            let looks = looks(hints_at.clone());
            for hint in hints_at {
                let soon = looks.iter().any(|at| (hint..=hint + APART).contains(at));
                let late = looks.iter().any(|at| (hint + 10_000..=hint + 15_000).contains(at));
                prop_assert!(soon && late, "hint at {hint}: {looks:?}");
            }
        }

        #[test]
        fn a_storm_is_few_looks(hints_at in prop::collection::vec(0_i64..60_000, 0..400)) {
            let looks = looks(hints_at);
            // Those of a burst and of one hint in five seconds, each of which is three looks.
            prop_assert!(looks.len() <= 3 * (60_000 / 5_000 + 1 + 2), "{looks:?}");
            for (nth, begin) in looks.iter().enumerate() {
                let n_soon = looks[nth..].iter().take_while(|at| **at < begin + APART).count();
                prop_assert!(n_soon <= 3 * 4, "{looks:?}");
            }
        }
    }
}
