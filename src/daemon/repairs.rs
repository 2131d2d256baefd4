//! Says what drifted, and lets repairs of ready instances begin, or wait, or end.
//!
//! A worker asks for its turn before it repairs; the level pass tells of everything that it sees
//! before it wakes anybody, so that a storm is known before its first repair.
//!
//! # Invariants
//! * Starts, stops and resets ask for nothing: only what was ready waits.
//! * Times are monotonic here, so a clock that is set ends and lengthens no pause.
//!
//! # Not here
//! The choices (`planner::drift`, `planner::fuse`).

use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::shared::{Shared, Statement};
use crate::model::{
    Clock as _, ConditionStatus, ConditionType, Instance, InstanceId, InstancePhase, NodeId, Scope,
    Timestamp,
};
use crate::planner::drift::{Drift, DriftClass, Repair, is_from_within};
use crate::planner::fuse::{Admission, Fuse, Mode, Replaces};
use crate::store::StoreError;
use crate::telemetry::metrics;

/// What is known about repairs. Conditions outlive the daemon, the rest is forgotten with it: its
/// first listing is a fresh look.
#[derive(Debug, Default)]
pub(crate) struct Repairs(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    fuse: Fuse,
    replaces: BTreeMap<InstanceId, Replaces>,
    /// Instances of which `Drifted` is stated.
    drifted: BTreeSet<InstanceId>,
    /// Instances that are left alone.
    stalled: BTreeSet<InstanceId>,
    /// What was stated of the fuse.
    said: Option<Discriminant<Mode>>,
}

/// Whether the repair of an instance may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Now.
    Go,
    /// Ask again after so long.
    Wait(Duration),
    /// Not before somebody resets it: it was made anew too often.
    Stalled,
}

impl Repairs {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `Drifted` is stated of it.
    pub(crate) fn is_drifted(&self, id: InstanceId) -> bool {
        self.known().drifted.contains(&id)
    }

    /// Nothing of the instance is left, nor are its conditions.
    pub(crate) fn forget(&self, id: InstanceId) {
        let mut known = self.known();
        known.fuse.forget(id);
        known.replaces.remove(&id);
        known.drifted.remove(&id);
        known.stalled.remove(&id);
    }
}

/// Reads what was stated before the daemon started.
///
/// # Errors
/// When the database fails.
pub(crate) async fn restore(shared: &Shared) -> Result<(), StoreError> {
    let conditions = shared.store.conditions().await?;
    let mut known = shared.repairs.known();
    for condition in conditions.iter().filter(|it| it.status == ConditionStatus::True) {
        match (&condition.scope, condition.kind) {
            (Scope::Instance(id), ConditionType::Drifted) => drop(known.drifted.insert(*id)),
            (Scope::Instance(id), ConditionType::Stalled) => drop(known.stalled.insert(*id)),
            _ => (),
        }
    }
    Ok(())
}

/// Tells the fuse of everything that a level pass found, before anybody begins to repair it.
pub(crate) fn tell(shared: &Shared, found: &[(InstanceId, Vec<Drift>)], n_managed: usize) {
    let now = tick(shared);
    let mut known = shared.repairs.known();
    for (id, _) in found.iter().filter(|(_, drifts)| !is_from_within(drifts)) {
        known.fuse.drifted(*id, n_managed, now);
    }
}

/// Whether the worker of an instance that was ready may repair it, in which it found `drifts`
/// (none while it is on its way already).
///
/// # Errors
/// When the database fails.
pub(crate) async fn turn(
    shared: &Shared,
    instance: &Instance,
    drifts: &[Drift],
) -> Result<Turn, StoreError> {
    let id = instance.id;
    if !drifts.is_empty() {
        let n_managed = shared.store.counts(&NodeId::local()).await?.running as usize;
        let now = tick(shared);
        let is_one_too_many = {
            let mut known = shared.repairs.known();
            if !is_from_within(drifts) {
                known.fuse.drifted(id, n_managed, now);
            }
            let is_made_anew = drifts.iter().any(|it| it.repair == Repair::MakeAnew);
            is_made_anew
                && !known.stalled.contains(&id)
                && !known.replaces.entry(id).or_default().count(now)
        };
        say(shared, instance, drifts).await;
        if is_one_too_many {
            stall(shared, instance, drifts).await;
        }
    }
    let now = tick(shared);
    let (is_stalled, admission) = {
        let mut known = shared.repairs.known();
        let is_stalled = known.stalled.contains(&id);
        if is_stalled {
            // It waits for a person, not for its turn.
            known.fuse.forget(id);
        }
        (is_stalled, known.fuse.admit(id, now))
    };
    say_mode(shared).await;
    Ok(match admission {
        _ if is_stalled => Turn::Stalled,
        Admission::Go => Turn::Go,
        Admission::Wait(until) => {
            if matches!(shared.repairs.known().fuse.mode(), Mode::Paused(at) if at <= now) {
                shared.relist_due.notify_one();
            }
            let millis = until.millis_since(now).max(1);
            Turn::Wait(Duration::from_millis(millis.unsigned_abs()))
        }
    })
}

/// States what drifted, and counts it.
pub(crate) async fn say(shared: &Shared, instance: &Instance, drifts: &[Drift]) {
    let Some(first) = drifts.first() else { return };
    for drift in drifts {
        metrics::drift(drift.class.code());
        tracing::info!(
            instance.id = %instance.id, drift.class = drift.class.code(),
            "instance {} drifted: {drift}", instance.id
        );
    }
    let words: Vec<_> = drifts.iter().map(ToString::to_string).collect();
    state_drift(shared, instance, first.class, words.join("; ")).await;
}

/// States one class of drift that only showed while something was done.
pub(crate) async fn say_late(
    shared: &Shared,
    instance: &Instance,
    class: DriftClass,
    message: String,
) {
    metrics::drift(class.code());
    state_drift(shared, instance, class, message).await;
}

async fn state_drift(shared: &Shared, instance: &Instance, class: DriftClass, message: String) {
    shared.repairs.known().drifted.insert(instance.id);
    let status = ConditionStatus::True;
    state(shared, instance, ConditionType::Drifted, status, class.as_str(), message).await;
}

async fn stall(shared: &Shared, instance: &Instance, drifts: &[Drift]) {
    shared.repairs.known().stalled.insert(instance.id);
    let words: Vec<_> = drifts.iter().map(ToString::to_string).collect();
    let message = format!(
        "it was made anew three times within ten minutes and drifted again, so it is left alone ({}); look at what changes it, then reset it, or suspend and resume it",
        words.join("; ")
    );
    let (kind, status) = (ConditionType::Stalled, ConditionStatus::True);
    state(shared, instance, kind, status, "ReplacesExhausted", message).await;
}

/// The instance is as it should be: what was said of it does not hold any more.
pub(crate) async fn settled(shared: &Shared, instance: &Instance) {
    let was_drifted = shared.repairs.known().drifted.remove(&instance.id);
    if was_drifted {
        let (kind, words) = (ConditionType::Drifted, "it is as it was made".to_owned());
        state(shared, instance, kind, ConditionStatus::False, "Repaired", words).await;
    }
    begin_anew(shared, instance.id).await;
}

/// A person wants it to be made anew, or to be tried again: what was counted counts no more.
pub(crate) async fn begin_anew_by_hand(shared: &Shared, id: InstanceId) {
    shared.repairs.known().replaces.remove(&id);
    begin_anew(shared, id).await;
}

async fn begin_anew(shared: &Shared, id: InstanceId) {
    let was_stalled = {
        let mut known = shared.repairs.known();
        known.fuse.forget(id);
        known.stalled.remove(&id)
    };
    if was_stalled {
        let statement = Statement {
            scope: Scope::Instance(id),
            kind: ConditionType::Stalled,
            status: ConditionStatus::False,
            reason: "Ok",
            message: "it is repaired again when it drifts".to_owned(),
            revision: None,
        };
        shared.state(statement).await;
    }
}

/// Everything was listed, beginning at `began`; whether somebody who waited may go on.
pub(crate) async fn listed(shared: &Shared, began: Timestamp) -> bool {
    let is_over = shared.repairs.known().fuse.listed(began);
    say_mode(shared).await;
    is_over
}

/// The time for what is counted here.
pub(crate) fn tick(shared: &Shared) -> Timestamp {
    Timestamp::from_millis(shared.clock.monotonic_millis())
}

async fn say_mode(shared: &Shared) {
    let mode = {
        let mut known = shared.repairs.known();
        let mode = known.fuse.mode();
        if known.said.replace(discriminant(&mode)) == Some(discriminant(&mode)) {
            return;
        }
        mode
    };
    let (status, reason, message) = match mode {
        Mode::Calm => (ConditionStatus::False, "Ok", "repairs begin at once"),
        Mode::Paused(_) => (
            ConditionStatus::True,
            "DriftStorm",
            "more than 30 % of the instances were changed from outside within a minute: repairs pause for a minute, then everything is listed anew; look at what or who changes containers on this machine (`flagops events --kind Drifted`)",
        ),
        Mode::Slow => (
            ConditionStatus::True,
            "DriftStorm",
            "many instances were changed at once: they are repaired slowly, at most ten in ten seconds; those whose containers only ended are started at once",
        ),
    };
    let scope = Scope::Node(NodeId::local());
    let (kind, revision, message) = (ConditionType::Drifted, None, message.to_owned());
    shared.state(Statement { scope, kind, status, reason, message, revision }).await;
}

async fn state(
    shared: &Shared,
    instance: &Instance,
    kind: ConditionType,
    status: ConditionStatus,
    reason: &'static str,
    message: String,
) {
    if instance.is_canary() {
        // Its exploit may break it on purpose, and it is gone in a moment.
        return;
    }
    let (scope, revision) = (Scope::Instance(instance.id), Some(instance.revision));
    shared.state(Statement { scope, kind, status, reason, message, revision }).await;
}

/// The phase in which an instance is shown that waits for its repair.
pub(crate) fn waiting_phase(verdict: &crate::planner::Verdict) -> InstancePhase {
    match verdict {
        crate::planner::Verdict::Progress(phase) => *phase,
        crate::planner::Verdict::Usable
        | crate::planner::Verdict::Failed(_)
        | crate::planner::Verdict::Gone => InstancePhase::Starting,
    }
}
