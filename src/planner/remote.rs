//! Decides the next step for an instance that runs on another machine. Pure.
//!
//! In:  the row, and what its node said of it: `None` when the node said that it has no such instance.
//! Out: one step; whoever takes it asks again.
//!
//! # Invariants
//! * A node that could not be asked is not asked about here: silence is never `None`.
//! * Whatever the two say, taking the steps again and again ends with both agreeing, or both rid of it.
//! * What an older incarnation came to never counts for a newer one.

use super::Want;
use super::lifecycle;
use crate::model::{Death, Endpoint, Instance, InstancePhase, Timestamp};

/// The lease on a node is this much longer, so that the platform ends it first.
pub const GRACE_SECS: i64 = 60;
/// Leases that differ by less are the same: two machines do not look at once.
const SLACK_SECS: i64 = 10;

/// What a node said of an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteSeen {
    /// How far it is.
    pub state: RemoteState,
    /// Which incarnation; `None` from a node that does not count.
    pub n_resets: Option<u32>,
    /// What is left of its lease there; `None` from a node that keeps none.
    pub remaining_secs: Option<i64>,
    /// Where it answers.
    pub endpoints: Vec<Endpoint>,
    /// Times a container was started again.
    pub n_restarts: u32,
    /// The last service that died.
    pub last_death: Option<Death>,
}

/// How far an instance is on its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteState {
    /// On its way, this far.
    Starting(InstancePhase),
    /// Usable.
    Ready,
    /// It cannot become usable; the text is for its owner.
    Failed(String),
    /// It was taken down because the platform was not heard of, and may be made again.
    Fenced,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ask the node to start it.
    Start,
    /// Take down what there is, then start it.
    Restart,
    /// Ask for the incarnation of the row.
    Reset,
    /// It is on its way: show that, and look again.
    Show(InstancePhase),
    /// It is usable: write that down with where it answers.
    Ready,
    /// What the row says of restarts, deaths or places is old.
    Note,
    /// Its lease on the node is wrong: so many seconds are left.
    Renew(u32),
    /// It failed.
    Fail(String),
    /// Ask the node to end it; then nothing of it is left.
    Stop,
    /// Nothing.
    Rest,
}

/// The next step where nothing that the node says could change it: an order that arrives is worth more
/// than an answer that does not, and asking twice is asking once.
pub fn unasked(row: &Instance) -> Option<Step> {
    match (lifecycle::want(row), row.phase) {
        (Want::Gone, _) => Some(Step::Stop),
        (Want::Run, InstancePhase::Queued) => Some(Step::Start),
        (Want::Run, _) => None,
    }
}

/// The next step where [`unasked`] has none. Total.
pub fn step(row: &Instance, seen: Option<&RemoteSeen>, now: Timestamp) -> Step {
    match seen {
        None => Step::Start,
        Some(seen) => towards_ready(row, seen, now),
    }
}

fn towards_ready(row: &Instance, seen: &RemoteSeen, now: Timestamp) -> Step {
    if seen.n_resets.is_some_and(|n| n < row.n_resets) {
        // What failed cannot be reset any more.
        return match seen.state {
            RemoteState::Failed(_) | RemoteState::Fenced => Step::Restart,
            RemoteState::Starting(_) | RemoteState::Ready => Step::Reset,
        };
    }
    match &seen.state {
        RemoteState::Fenced => Step::Restart,
        RemoteState::Failed(why) => Step::Fail(why.clone()),
        RemoteState::Starting(phase) => Step::Show(*phase),
        RemoteState::Ready if row.phase != InstancePhase::Ready => Step::Ready,
        RemoteState::Ready => agreed(row, seen, now),
    }
}

fn agreed(row: &Instance, seen: &RemoteSeen, now: Timestamp) -> Step {
    if let Some(remaining) = seen.remaining_secs {
        let wanted = lease_secs(row, now);
        if (remaining - wanted).abs() > SLACK_SECS {
            return Step::Renew(u32::try_from(wanted).unwrap_or(0));
        }
    }
    let is_same = row.surface == seen.endpoints
        && row.n_restarts == seen.n_restarts
        && row.last_death == seen.last_death;
    if is_same { Step::Rest } else { Step::Note }
}

/// What a node is told is left of the lease of `row`.
pub fn lease_secs(row: &Instance, now: Timestamp) -> i64 {
    (row.expires_at.millis_since(now) / 1000).max(0) + GRACE_SECS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{InstanceId, StopReason};
    use crate::planner::lifecycle::Answers;
    use crate::planner::lifecycle::tests::new_row;

    const NOW: i64 = 1_000_000;

    fn now() -> Timestamp {
        Timestamp::from_millis(NOW)
    }

    fn row() -> Instance {
        new_row(InstanceId::new(uuid::Uuid::from_bytes([1; 16])), now())
    }

    fn seen(state: RemoteState, n_resets: u32) -> RemoteSeen {
        RemoteSeen {
            state,
            n_resets: Some(n_resets),
            remaining_secs: Some(600 + GRACE_SECS),
            endpoints: Vec::new(),
            n_restarts: 0,
            last_death: None,
        }
    }

    /// Takes `step`, as a worker and a node that work would.
    fn take(row: &mut Instance, node: &mut Option<RemoteSeen>, step: &Step) {
        let n_resets = row.n_resets;
        match step {
            // What a node has already it does not start again.
            Step::Start if node.is_some() => {
                lifecycle::reached(row, n_resets, InstancePhase::Preparing);
            }
            Step::Start | Step::Restart | Step::Reset => {
                lifecycle::reached(row, n_resets, InstancePhase::Preparing);
                let lease = lease_secs(row, now());
                let fresh = RemoteSeen {
                    remaining_secs: Some(lease),
                    ..seen(RemoteState::Starting(InstancePhase::Creating), n_resets)
                };
                *node = Some(fresh);
            }
            Step::Show(phase) => {
                lifecycle::reached(row, n_resets, *phase);
                if let Some(node) = node {
                    node.state = RemoteState::Ready;
                }
            }
            Step::Ready | Step::Note => {
                let seen = node.clone().unwrap();
                row.surface = seen.endpoints;
                row.n_restarts = seen.n_restarts;
                row.last_death = seen.last_death;
                lifecycle::ready(row, n_resets, now());
            }
            Step::Renew(secs) => node.as_mut().unwrap().remaining_secs = Some(i64::from(*secs)),
            Step::Fail(why) => {
                lifecycle::fail(row, n_resets, why.clone());
            }
            Step::Stop => {
                *node = None;
                lifecycle::gone(row, now());
            }
            Step::Rest => {}
        }
    }

    fn any_state() -> impl Strategy<Value = RemoteState> {
        prop_oneof![
            Just(RemoteState::Starting(InstancePhase::Probing)),
            Just(RemoteState::Ready),
            Just(RemoteState::Failed("it died".to_owned())),
            Just(RemoteState::Fenced),
        ]
    }

    fn any_seen() -> impl Strategy<Value = Option<RemoteSeen>> {
        let some =
            (any_state(), prop::option::of(0_u32..3), prop::option::of(-50_i64..900), 0_u32..3);
        prop::option::of(some.prop_map(|(state, n_resets, remaining_secs, n_restarts)| {
            RemoteSeen { n_resets, remaining_secs, n_restarts, ..seen(state, 0) }
        }))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn both_sides_agree_in_the_end(
            mut node in any_seen(),
            n_resets in 0_u32..3,
            is_ready in any::<bool>(),
            is_ending in any::<bool>(),
        ) {
            let mut row = row();
            for _ in 0..n_resets {
                lifecycle::reset(&mut row, Answers::Keep);
            }
            if is_ready {
                lifecycle::ready(&mut row, n_resets, now());
            }
            if is_ending {
                lifecycle::end(&mut row, StopReason::User, now());
            }
            for _ in 0..12 {
                if !row.phase.is_live() {
                    break;
                }
                let step = unasked(&row).unwrap_or_else(|| step(&row, node.as_ref(), now()));
                take(&mut row, &mut node, &step);
            }
            if row.phase.is_live() {
                prop_assert_eq!(row.phase, InstancePhase::Ready);
                prop_assert_eq!(step(&row, node.as_ref(), now()), Step::Rest);
                let node = node.unwrap();
                prop_assert_eq!(node.state, RemoteState::Ready);
                prop_assert!(node.n_resets.is_none_or(|n| n >= row.n_resets));
            } else {
                prop_assert!(node.is_none(), "nothing is left on the node: {:?}", node);
            }
        }

        #[test]
        fn an_older_incarnation_neither_serves_nor_fails_a_newer_one(state in any_state()) {
            let mut row = row();
            lifecycle::reset(&mut row, Answers::Keep);
            let step = step(&row, Some(&seen(state, 0)), now());
            prop_assert!(matches!(step, Step::Reset | Step::Restart), "{:?}", step);
        }
    }

    #[test]
    fn a_lease_that_was_renewed_reaches_the_node() {
        let mut row = row();
        lifecycle::ready(&mut row, 0, now());
        assert_eq!(step(&row, Some(&seen(RemoteState::Ready, 0)), now()), Step::Rest);
        lifecycle::renew(&mut row, 1200, now());
        assert_eq!(step(&row, Some(&seen(RemoteState::Ready, 0)), now()), Step::Renew(1260));
    }
}
