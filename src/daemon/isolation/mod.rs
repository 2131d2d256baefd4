//! Whether this node keeps instances apart: holds the wall up, looks from inside, and says whether
//! instances may start.
//!
//! In:  the wall, the engine, the clock. Out: the condition `Isolated` of the node, the last report,
//! and the answer to whoever wants to start something.
//!
//! A check is made when the daemon starts, after each restart of the engine, every
//! `network.check_secs`, and when somebody asks; again soon while one missed or could not be made. Where
//! `network.check_secs` is 0, only when somebody asks.
//!
//! # Invariants
//! * One check at a time.
//! * A miss stops new starts, and stays one over a restart of the daemon until a check passes.
//! * Instances that run are left alone, whatever a check finds.
//! * gVisor is given to instances unless the last look into it found something wrong; what it finds says
//!   nothing of instances without.
//!
//! # Not here
//! What is tried and what follows (`planner::isolation`), the rules (`runtime::wall`).

mod check;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

pub(crate) use check::COMPETITION;

use super::leases;
use super::shared::{Shared, Statement};
use crate::config::Wall as Wish;
use crate::model::{
    ConditionStatus, ConditionType, ContainerRuntime, NodeId, Scope, StopReason, TeamId, Timestamp,
};
use crate::planner::isolation::{self, Gate, Row, Rule, Verdict, Wall};
use crate::runtime::wall::WallState;
use crate::store::{InstanceFilter, StoreError, Which};
use crate::telemetry::{Chain, metrics};

/// Between two looks at the wall.
const TICK: Duration = Duration::from_secs(30);
/// Between two checks while the last one missed or could not be made.
const SOON: Duration = Duration::from_secs(60);
/// Between two looks whether the engine is ready for a check that is due.
const WAIT: Duration = Duration::from_secs(1);

/// Why a check is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The daemon started.
    Start,
    /// The engine restarted, or was away.
    Engine,
    /// It was time.
    Schedule,
    /// Somebody asked.
    Asked,
}

impl Trigger {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Engine => "engine",
            Self::Schedule => "schedule",
            Self::Asked => "asked",
        }
    }
}

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// Why it was made.
    pub trigger: Trigger,
    /// What was seen from inside of an instance.
    pub look: Look,
    /// What was seen from inside of one with gVisor, where the engine has that.
    pub sandbox: Option<Look>,
}

/// What was seen from inside of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The matrix; empty when nobody could look.
    pub rows: Vec<Row>,
    /// What the matrix comes to.
    pub verdict: Verdict,
    /// Why nobody could look.
    pub problem: Option<String>,
}

impl Look {
    fn of(seen: Result<Vec<Row>, String>) -> Self {
        let (rows, problem) = match seen {
            Ok(rows) => (rows, None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        Self { verdict: isolation::judge(&rows), rows, problem }
    }

    /// Why nothing may start in what it looked from; `None` when everything held.
    fn fault(&self) -> Option<String> {
        match (&self.verdict, &self.problem) {
            (Verdict::Holds, _) => None,
            (_, Some(problem)) => Some(problem.clone()),
            (Verdict::Missed(rows) | Verdict::Unseen(rows), None) => Some(rows.join(", ")),
        }
    }
}

/// How the node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How the wall stands.
    pub wall: Wall,
    /// Whether instances may start, and why.
    pub gate: Gate,
    /// The last check, if there was one in this life.
    pub report: Option<Report>,
}

/// What is known, and what bounds the checks.
#[derive(Debug)]
pub(crate) struct Isolation {
    known: Mutex<Known>,
    /// Rings when a check is due at once.
    due: Notify,
    /// One check at a time.
    turn: Semaphore,
}

#[derive(Debug)]
struct Known {
    wall: Wall,
    /// What the last check that saw anything came to.
    verdict: Option<Verdict>,
    report: Option<Report>,
    /// What the last look into gVisor found wrong.
    sandbox: Option<String>,
}

impl Isolation {
    pub(crate) fn new() -> Self {
        let known = Known { wall: Wall::Unseen, verdict: None, report: None, sandbox: None };
        Self { known: Mutex::new(known), due: Notify::new(), turn: Semaphore::new(1) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine is another one than before, as far as anybody knows: a check is due.
    pub(crate) fn engine_restarted(&self) {
        self.due.notify_one();
    }
}

/// How the node stands now.
pub(crate) fn standing(shared: &Shared) -> Standing {
    let known = shared.isolation.known();
    let gate = isolation::gate(rule(shared), &known.wall, known.verdict.as_ref());
    Standing { wall: known.wall.clone(), gate, report: known.report.clone() }
}

/// Why no instance may start; `None` when they may.
pub(crate) fn refusal(shared: &Shared) -> Option<String> {
    match standing(shared).gate {
        Gate::Open { .. } => None,
        Gate::Shut { reason, .. } => Some(reason.to_owned()),
    }
}

/// Of what the engine can run containers with, what instances may be given.
pub(crate) fn runtimes(shared: &Shared, mut of_engine: BTreeSet<String>) -> BTreeSet<String> {
    if sandbox_fault(shared).is_some() {
        of_engine.remove(ContainerRuntime::Runsc.as_str());
    }
    of_engine
}

/// Why gVisor, which the engine has, is not given to instances; `None` when nobody found a reason.
pub(crate) fn sandbox_fault(shared: &Shared) -> Option<String> {
    shared.isolation.known().sandbox.clone()
}

/// What the operator wants. A daemon without a wall has none to look after.
fn rule(shared: &Shared) -> Rule {
    match (shared.config.network.wall, &shared.wall) {
        (Wish::Off, _) | (_, None) => Rule::Off,
        (Wish::Auto, Some(_)) => Rule::Optional,
        (Wish::Required, Some(_)) => Rule::Required,
    }
}

/// Recalls what was stated before the daemon started, and how the wall stands.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn restore(shared: &Shared) -> Result<(), StoreError> {
    let scope = Scope::Node(NodeId::local());
    let conditions = shared.store.conditions().await?;
    let missed = conditions.iter().any(|it| {
        it.scope == scope
            && it.kind == ConditionType::Isolated
            && it.status == ConditionStatus::False
            && it.reason == "RowsMissed"
    });
    if missed {
        let verdict = Verdict::Missed(vec!["found before the last restart".to_owned()]);
        shared.isolation.known().verdict = Some(verdict);
    }
    if rule(shared) == Rule::Off && conditions.iter().all(|it| it.kind != ConditionType::Isolated) {
        return Ok(());
    }
    look_at_wall(shared).await;
    Ok(())
}

/// Keeps the wall up and makes the checks until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    while let Err(error) = end_leftovers(&shared).await {
        tracing::warn!(error = %Chain(&error), "could not end the probers of an earlier life, trying again");
        if !shared.tasks.sleep(WAIT).await {
            return;
        }
    }
    if rule(&shared) == Rule::Off {
        return;
    }
    let is_automatic = shared.config.network.check_secs > 0;
    let mut due = is_automatic.then_some(Trigger::Start);
    let mut next = Instant::now() + every(&shared);
    loop {
        look_at_wall(&shared).await;
        if let Some(trigger) = due.filter(|_| shared.is_engine_ready()) {
            due = None;
            let report = check(&shared, trigger).await;
            let is_fine = report.look.verdict == Verdict::Holds
                && report.sandbox.is_none_or(|look| look.verdict == Verdict::Holds);
            next = Instant::now() + if is_fine { every(&shared) } else { SOON };
        }
        let pause = if due.is_some() { WAIT } else { TICK };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = tokio::time::sleep_until(next), if is_automatic && due.is_none() => due = Some(Trigger::Schedule),
            // Cancel-safe: a ring that nobody waited for is kept.
            () = shared.isolation.due.notified(), if is_automatic => {
                due = due.or(Some(Trigger::Engine));
            }
            () = shared.tasks.stopping().cancelled() => return,
        }
    }
}

/// Between two checks that find everything right.
fn every(shared: &Shared) -> Duration {
    Duration::from_secs(shared.config.network.check_secs.into())
}

/// Ends probers whose check died with an earlier life.
async fn end_leftovers(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let ours = InstanceFilter {
        team: Some(TeamId::CANARY),
        which: Which::LiveOrFailed,
        ..InstanceFilter::default()
    };
    for row in shared.store.instances(ours).await? {
        if row.competition == COMPETITION {
            leases::end(shared, row.id, StopReason::User).await?;
        }
    }
    Ok(())
}

/// Puts the wall up where it is not as it was made, and says how it stands.
async fn look_at_wall(shared: &Shared) {
    if let Some(wall) = &shared.wall {
        let stands = match wall.ensure().await {
            Ok(WallState::Up) => Wall::Up,
            Ok(WallState::Unsupported { reason }) => Wall::Unsupported(reason),
            Err(error) => Wall::Failed(Chain(&error).to_string()),
        };
        shared.isolation.known().wall = stands;
    }
    say(shared).await;
}

/// Makes a check now, or after the one that is being made, and says what it found.
pub(crate) async fn check(shared: &Arc<Shared>, trigger: Trigger) -> Report {
    let _turn = shared.isolation.turn.acquire().await;
    look_at_wall(shared).await;
    let begin = Instant::now();
    let look = Look::of(check::run(shared, ContainerRuntime::Default).await);
    let sandbox = look_into_sandbox(shared, &look).await;
    let took = begin.elapsed();
    let at = shared.now();
    let report = Report { at, took, trigger, look, sandbox };
    {
        let mut known = shared.isolation.known();
        // What could not be seen says nothing against what was seen before.
        if !matches!(report.look.verdict, Verdict::Unseen(_)) {
            known.verdict = Some(report.look.verdict.clone());
        }
        // Of gVisor nothing but a look says that it works here.
        known.sandbox = report.sandbox.as_ref().and_then(Look::fault);
        known.report = Some(report.clone());
    }
    tell(&report);
    say(shared).await;
    report
}

/// Looks from inside of gVisor, where the engine has it and what was seen without is no reason not to.
async fn look_into_sandbox(shared: &Arc<Shared>, without: &Look) -> Option<Look> {
    let info = shared.engine.info().await.ok()?;
    if !info.runtimes.contains(ContainerRuntime::Runsc.as_str()) || without.fault().is_some() {
        return None;
    }
    Some(Look::of(check::run(shared, ContainerRuntime::Runsc).await))
}

fn tell(report: &Report) {
    tell_of_sandbox(report);
    let look = &report.look;
    let (trigger, duration_ms) = (report.trigger.as_str(), report.took.as_millis());
    let outcome = match &look.verdict {
        Verdict::Holds => metrics::Outcome::Ok,
        Verdict::Missed(_) | Verdict::Unseen(_) => metrics::Outcome::Failed,
    };
    metrics::isolation_checked(outcome, report.took);
    match (&look.verdict, &look.problem) {
        (Verdict::Holds, _) => tracing::info!(
            isolation.trigger = trigger,
            duration_ms,
            "instances are kept apart: all {} rows hold",
            look.rows.len()
        ),
        (Verdict::Missed(rows), _) => tracing::error!(
            isolation.trigger = trigger,
            duration_ms,
            "instances are not kept apart, nothing starts until they are: {}",
            rows.join(", ")
        ),
        (Verdict::Unseen(_), Some(problem)) => tracing::warn!(
            isolation.trigger = trigger,
            duration_ms,
            "could not look whether instances are kept apart: {problem}"
        ),
        (Verdict::Unseen(rows), None) => tracing::warn!(
            isolation.trigger = trigger,
            duration_ms,
            "could not see whether instances are kept apart in: {}",
            rows.join(", ")
        ),
    }
}

fn tell_of_sandbox(report: &Report) {
    match report.sandbox.as_ref().map(Look::fault) {
        None => {}
        Some(None) => {
            tracing::info!("what is shut in by gVisor has a kernel of its own, and the same walls");
        }
        Some(Some(fault)) => tracing::error!(
            "the engine has gVisor, and it does not do what it is for, so nothing starts in it: {fault}"
        ),
    }
}

/// States how the node stands.
async fn say(shared: &Shared) {
    let (status, reason, message) = match standing(shared).gate {
        Gate::Open { reason: "Ok", message } if let Some(fault) = sandbox_fault(shared) => {
            let message =
                format!("{message}; nothing starts in gVisor, which the engine has: {fault}");
            (ConditionStatus::True, "SandboxUnfit", message)
        }
        Gate::Open { reason: reason @ "Ok", message } => (ConditionStatus::True, reason, message),
        Gate::Open { reason: reason @ ("NotChecked" | "Off"), message } => {
            (ConditionStatus::Unknown, reason, message)
        }
        Gate::Open { reason, message } | Gate::Shut { reason, message } => {
            (ConditionStatus::False, reason, message)
        }
    };
    let (scope, kind) = (Scope::Node(NodeId::local()), ConditionType::Isolated);
    shared.state(Statement { scope, kind, status, reason, message, revision: None }).await;
}
