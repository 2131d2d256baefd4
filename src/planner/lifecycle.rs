//! Every change of an instance's row, as steps of one state machine.
//!
//! A step looks at the row as it is inside of its transaction, so that of two which race the first
//! wins and the second sees it. The daemon and the simulation take the very same steps.
//!
//! In:  the row, what somebody wants or saw, the time.
//! Out: the row after that, and whether the step was taken; one that does not fit changes nothing.
//!
//! # Invariants
//! * `Stopped` and `Failed` are ends: nothing makes such an instance live again.
//! * What an older incarnation (before a reset) comes to never counts for a newer one.
//!
//! # Not here
//! Rows and transactions (`store::instances`), who wakes whom (`daemon`).

use super::Want;
use crate::model::{Death, Instance, InstancePhase, StopReason, Timestamp};

/// Which answers an instance has after a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answers {
    /// The same as before.
    #[default]
    Keep,
    /// Other ones; the old ones are wrong from then on.
    Renew,
}

/// What the row asks for.
pub fn want(row: &Instance) -> Want {
    if row.phase == InstancePhase::Removing { Want::Gone } else { Want::Run }
}

/// Whether it was never usable. The lease counts from the moment it is, which sets the two apart.
pub fn is_first_start(row: &Instance) -> bool {
    row.started_at == row.created_at
}

/// It is on its way and came this far.
pub fn reached(row: &mut Instance, n_resets: u32, phase: InstancePhase) -> bool {
    let fits = is_wanted(row) && row.n_resets == n_resets && phase != InstancePhase::Removing;
    if fits {
        row.phase = phase;
    }
    fits
}

/// Everything it consists of is usable. The first time, its lease begins.
pub fn ready(row: &mut Instance, n_resets: u32, now: Timestamp) -> bool {
    let fits = is_wanted(row) && row.n_resets == n_resets && row.phase != InstancePhase::Ready;
    if fits {
        row.phase = InstancePhase::Ready;
        if is_first_start(row) {
            row.started_at = now.max(row.created_at.plus_millis(1));
            row.expires_at = now.plus_secs(i64::from(row.ttl_secs));
        }
    }
    fits
}

/// A service died and is started again.
pub fn restarted(row: &mut Instance, death: Death) {
    row.n_restarts += 1;
    row.last_death = Some(death);
}

/// It cannot become usable; `reason` is for its owner.
pub fn fail(row: &mut Instance, n_resets: u32, reason: String) -> bool {
    let fits = is_wanted(row) && row.n_resets == n_resets;
    if fits {
        let was_ready = !is_first_start(row);
        row.phase = InstancePhase::Removing;
        row.error = Some(reason);
        row.stop_reason =
            Some(if was_ready { StopReason::HealthCheckFailed } else { StopReason::Error });
    }
    fits
}

/// Somebody wants it gone, or its lease is over. The first reason stays.
pub fn end(row: &mut Instance, reason: StopReason, now: Timestamp) -> bool {
    match row.phase {
        InstancePhase::Stopped => false,
        InstancePhase::Failed => {
            row.phase = InstancePhase::Stopped;
            row.stop_reason = Some(reason);
            true
        }
        InstancePhase::Removing => {
            // Whoever stops an instance that is failing does not want to read its error later.
            row.error = None;
            true
        }
        InstancePhase::Queued
        | InstancePhase::Preparing
        | InstancePhase::Creating
        | InstancePhase::Starting
        | InstancePhase::Probing
        | InstancePhase::Ready => {
            row.phase = InstancePhase::Removing;
            row.stop_reason = Some(reason);
            row.stopped_at = Some(now);
            true
        }
    }
}

/// Its version is live no more, and organizers want it gone: `why` is for its owner.
pub fn replace(row: &mut Instance, why: String) -> bool {
    let fits = is_wanted(row);
    if fits {
        row.phase = InstancePhase::Removing;
        row.error = Some(why);
        row.stop_reason = Some(StopReason::AdminStopAll);
    }
    fits
}

/// It wrote more to the node's disk than it may: `why` is for its owner.
pub fn overfull(row: &mut Instance, why: String) -> bool {
    let fits = is_wanted(row);
    if fits {
        row.phase = InstancePhase::Removing;
        row.error = Some(why);
        row.stop_reason = Some(StopReason::DiskQuota);
    }
    fits
}

/// Nothing of it is left.
pub fn gone(row: &mut Instance, now: Timestamp) -> bool {
    let fits = row.phase == InstancePhase::Removing;
    if fits {
        row.phase =
            if row.error.is_some() { InstancePhase::Failed } else { InstancePhase::Stopped };
        row.stopped_at = Some(now);
    }
    fits
}

/// Its lease begins anew, with `ttl_secs`.
pub fn renew(row: &mut Instance, ttl_secs: u32, now: Timestamp) -> bool {
    let fits = is_wanted(row);
    if fits {
        row.ttl_secs = ttl_secs;
        row.expires_at = now.plus_secs(i64::from(ttl_secs));
    }
    fits
}

/// Its containers and volumes are made anew; id, ports, network and lease stay.
pub fn reset(row: &mut Instance, answers: Answers) -> bool {
    let fits = is_wanted(row);
    if fits {
        row.n_resets += 1;
        if row.phase != InstancePhase::Queued {
            row.phase = InstancePhase::Preparing;
        }
        row.last_death = None;
        if answers == Answers::Renew {
            row.answer_epoch += 1;
        }
    }
    fits
}

/// Whether it lives and nobody wants it gone.
fn is_wanted(row: &Instance) -> bool {
    row.phase.is_live() && row.phase != InstancePhase::Removing
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{InstanceId, NodeId, ObjectId, Revision, TeamId, TreeId};

    /// An instance that was asked for a moment ago, with a lease of ten minutes.
    pub(in crate::planner) fn new_row(id: InstanceId, at: Timestamp) -> Instance {
        Instance {
            id,
            challenge: "WEB-1".parse().unwrap(),
            team: TeamId::new(uuid::Uuid::from_bytes([2; 16])),
            competition: "default".into(),
            node: NodeId::local(),
            revision: Revision(ObjectId::from_bytes([3; 20])),
            tree: TreeId(ObjectId::from_bytes([4; 20])),
            phase: InstancePhase::Queued,
            error: None,
            stop_reason: None,
            surface: vec![],
            created_at: at,
            started_at: at,
            stopped_at: None,
            ttl_secs: 600,
            expires_at: at.plus_secs(600),
            n_restarts: 0,
            n_resets: 0,
            answer_epoch: 0,
            last_death: None,
        }
    }

    fn row() -> Instance {
        let id = InstanceId::new(uuid::Uuid::from_bytes([1; 16]));
        new_row(id, Timestamp::from_millis(1_000))
    }

    /// Anything that anybody may want of a row, about the incarnation with this number.
    #[derive(Debug, Clone)]
    enum Step {
        Reached(u32, InstancePhase),
        Ready(u32),
        Fail(u32),
        End(StopReason),
        Gone,
        Renew(u32),
        Reset(Answers),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let on_its_way = prop_oneof![
            Just(InstancePhase::Preparing),
            Just(InstancePhase::Creating),
            Just(InstancePhase::Starting),
            Just(InstancePhase::Probing),
        ];
        prop_oneof![
            (0_u32..3, on_its_way).prop_map(|(n, phase)| Step::Reached(n, phase)),
            (0_u32..3).prop_map(Step::Ready),
            (0_u32..3).prop_map(Step::Fail),
            prop_oneof![Just(StopReason::User), Just(StopReason::TtlExpired)].prop_map(Step::End),
            Just(Step::Gone),
            (1_u32..100).prop_map(Step::Renew),
            prop_oneof![Just(Answers::Keep), Just(Answers::Renew)].prop_map(Step::Reset),
        ]
    }

    fn take(row: &mut Instance, step: &Step, now: Timestamp) -> bool {
        match step {
            Step::Reached(n, phase) => reached(row, *n, *phase),
            Step::Ready(n) => ready(row, *n, now),
            Step::Fail(n) => fail(row, *n, "because".into()),
            Step::End(reason) => end(row, *reason, now),
            Step::Gone => gone(row, now),
            Step::Renew(ttl) => renew(row, *ttl, now),
            Step::Reset(answers) => reset(row, *answers),
        }
    }

    #[test]
    fn a_readiness_of_before_the_reset_does_not_count() {
        let mut row = row();
        assert!(ready(&mut row, 0, Timestamp::from_millis(2_000)));
        assert!(reset(&mut row, Answers::Keep));
        assert!(!ready(&mut row, 0, Timestamp::from_millis(3_000)));
        assert!(!fail(&mut row, 0, "the old one died".into()));
        assert!(ready(&mut row, 1, Timestamp::from_millis(4_000)));
        assert_eq!(row.started_at, Timestamp::from_millis(2_000), "a reset is no second start");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn ends_are_ends_and_nothing_is_taken_back(
            steps in proptest::collection::vec((any_step(), 0_i64..5_000), 0..20),
        ) {
            let mut row = row();
            let mut now = row.created_at;
            for (step, later) in &steps {
                now = now.plus_millis(*later);
                let before = row.clone();
                let was_taken = take(&mut row, step, now);
                prop_assert!(was_taken || row == before, "a refused step changed something");
                if !before.phase.is_live() {
                    prop_assert!(!row.phase.is_live(), "it was over");
                }
                if before.phase == InstancePhase::Removing {
                    prop_assert!(matches!(
                        row.phase,
                        InstancePhase::Removing | InstancePhase::Stopped | InstancePhase::Failed
                    ));
                }
                prop_assert!(row.n_resets >= before.n_resets);
                prop_assert!(row.answer_epoch >= before.answer_epoch);
                prop_assert!(row.answer_epoch <= row.n_resets);
                if !is_first_start(&before) {
                    prop_assert_eq!(row.started_at, before.started_at);
                }
                let is_extended = row.expires_at > before.expires_at;
                let may_extend = matches!(step, Step::Renew(_) | Step::Ready(_));
                prop_assert!(!is_extended || may_extend, "only a renewal makes a lease longer");
            }
        }
    }
}
