//! Proves versions of challenges by their own exploits: a queue with slots of its own.
//!
//! Whoever wants a version proven says so ([`want`]); the loop begins attempts beside which players
//! do not wait, and keeps what came of them. The queue is in memory: what a release needs it asks
//! for again, what is on a schedule becomes due again, and a person sees that the server is gone.
//!
//! A release looks at [`proofs_of`] and asks for what is missing with [`want_missing`];
//! `Shared::solver.told` rings after each proof.
//!
//! # Invariants
//! * At most `solver.n_slots` canaries, and none begins while players' starts use every slot.
//! * A version is tried once at a time; wanting it meanwhile changes nothing.
//! * Canaries of an earlier life end before the first one of this life begins.
//!
//! # Not here
//! What an attempt means and what is due (`proof`), one attempt (`canary`).

mod canary;
mod image;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::leases;
use super::shared::{Shared, Statement};
use super::tasks::jittered;
use crate::catalog::Catalog;
use crate::model::{
    BuildState, Challenge, ChallengeId, ConditionType, InstancePhase, NodeId, ProofOutcome,
    ProofRecord, RetryClass, Revision, Scope, StopReason, TeamId, TreeId,
};
use crate::proof::{self, Attempt, Next, Proof, Records, Stated};
use crate::release::live::build_state;
use crate::store::{InstanceFilter, StoreError, Which};
use crate::telemetry::{Chain, metrics};

/// Between two looks at what is due.
const EVERY: Duration = Duration::from_secs(2);

/// Attempts in a row that came to nothing before a wish is given up; whoever needs it asks again.
const MAX_CUT_OFF: u32 = 8;

/// One version of a challenge.
pub(crate) use canary::COMPETITION;

pub(crate) type Version = (ChallengeId, TreeId);

/// Who wants a version proven; the first is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// A person waits.
    Asked,
    /// A release waits.
    Release,
    /// It is time again.
    Schedule,
}

/// How far a wish is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It waits; with what came between, if anything.
    Queued(Option<String>),
    /// It is being tried.
    Running,
    /// It was given up.
    GivenUp(String),
}

#[derive(Debug, Clone)]
struct Want {
    challenge: Arc<Challenge>,
    revision: Revision,
    why: Why,
    /// Wishes in the order of asking.
    nth: u64,
    progress: Progress,
    n_tries: u32,
    n_cut_off: u32,
    not_before: Instant,
}

/// The wishes, and what bounds them.
#[derive(Debug)]
pub(crate) struct Solver {
    wants: Mutex<BTreeMap<Version, Want>>,
    /// Rings when something is wanted, or a slot is free again.
    bell: Notify,
    /// Rings after a proof was recorded: whoever decides about releases looks again.
    pub(crate) told: Notify,
    slots: Arc<Semaphore>,
    /// One makes the image, the others find it.
    image_turn: Semaphore,
}

impl Solver {
    pub(crate) fn new(n_slots: usize) -> Self {
        Self {
            wants: Mutex::default(),
            bell: Notify::new(),
            told: Notify::new(),
            slots: Arc::new(Semaphore::new(n_slots)),
            image_turn: Semaphore::new(1),
        }
    }

    fn wants(&self) -> MutexGuard<'_, BTreeMap<Version, Want>> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the wishes are.
    pub(crate) fn progress(&self) -> BTreeMap<Version, Progress> {
        self.wants()
            .iter()
            .map(|(version, want)| (version.clone(), want.progress.clone()))
            .collect()
    }

    /// The wish whose turn it is; it counts as running from now on.
    fn take_next(&self) -> Option<Want> {
        let mut wants = self.wants();
        let now = Instant::now();
        let is_ready =
            |want: &Want| matches!(want.progress, Progress::Queued(_)) && want.not_before <= now;
        let next = wants.values_mut().filter(|want| is_ready(want));
        let next = next.min_by_key(|want| (want.why, want.nth))?;
        next.progress = Progress::Running;
        Some(next.clone())
    }

    /// Puts a wish back whose attempt is not the last one, or gives it up.
    fn put_back(&self, mut want: Want, why: String) {
        let pause = match want.n_cut_off {
            0 => Duration::ZERO,
            n => jittered(RetryClass::Engine.backoff_millis(n)),
        };
        want.not_before = Instant::now() + pause;
        want.progress = if want.n_cut_off < MAX_CUT_OFF {
            Progress::Queued(Some(why))
        } else {
            tracing::warn!(challenge.id = %want.challenge.id, "gave up proving {}: {why}", want.challenge.id);
            Progress::GivenUp(why)
        };
        let version = (want.challenge.id.clone(), want.challenge.tree);
        self.wants().insert(version, want);
    }
}

/// Wants one version proven, live or not, whatever is known of it. Its images should be there.
pub(crate) fn want(shared: &Shared, challenge: &Arc<Challenge>, revision: Revision, why: Why) {
    let version = (challenge.id.clone(), challenge.tree);
    let mut wants = shared.solver.wants();
    let nth = wants.values().map(|want| want.nth + 1).max().unwrap_or_default();
    match wants.get_mut(&version) {
        Some(want) if !matches!(want.progress, Progress::GivenUp(_)) => {
            want.why = want.why.min(why);
        }
        _ => {
            let challenge = Arc::clone(challenge);
            let (progress, not_before) = (Progress::Queued(None), Instant::now());
            let want = Want {
                challenge,
                revision,
                why,
                nth,
                progress,
                not_before,
                n_tries: 0,
                n_cut_off: 0,
            };
            wants.insert(version, want);
        }
    }
    drop(wants);
    shared.solver.bell.notify_one();
}

/// How every valid version of `catalog` stands.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn proofs_of(
    shared: &Shared,
    catalog: &Catalog,
) -> Result<BTreeMap<ChallengeId, Proof>, StoreError> {
    Ok(proof::proofs(catalog, &records(shared).await?, &shared.config.solver.rule()))
}

/// Wants every version of `catalog` proven that is pending and whose images are there.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn want_missing(
    shared: &Shared,
    revision: Revision,
    catalog: &Catalog,
) -> Result<(), StoreError> {
    let proofs = proofs_of(shared, catalog).await?;
    if proofs.values().all(|proof| *proof != Proof::Pending) {
        return Ok(());
    }
    let builds = shared.store.build_states().await?;
    for id in proofs.iter().filter(|(_, proof)| **proof == Proof::Pending).map(|(id, _)| id) {
        let Some(folder) = catalog.folders.get(id) else { continue };
        let is_built = matches!(build_state(folder, &builds), Some(BuildState::Built) | None);
        if let Some(challenge) = folder.challenge.as_ref().filter(|_| is_built) {
            want(shared, challenge, revision, Why::Release);
        }
    }
    Ok(())
}

/// What was recorded on this node.
pub(crate) async fn records(shared: &Shared) -> Result<Records, StoreError> {
    let here = NodeId::local();
    let all = shared.store.proofs().await?.into_iter().filter(|record| record.node == here);
    Ok(all.map(|record| ((record.challenge.clone(), record.tree), record)).collect())
}

/// Proves what is wanted until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    while let Err(error) = end_leftovers(&shared).await {
        tracing::warn!(error = %Chain(&error), "could not end the canaries of an earlier life, trying again");
        if !shared.tasks.sleep(EVERY).await {
            return;
        }
    }
    let mut said = BTreeMap::new();
    loop {
        if let Err(error) = tend(&shared, &mut said).await {
            tracing::warn!(error = %Chain(&error), "could not look at what is to be proven");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            // Cancel-safe: a ring that nobody waited for is kept.
            () = shared.solver.bell.notified() => {}
            () = shared.tasks.stopping().cancelled() => return,
        }
    }
}

/// Ends canaries whose attempt died with an earlier life.
async fn end_leftovers(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let canaries = InstanceFilter {
        team: Some(TeamId::CANARY),
        which: Which::LiveOrFailed,
        ..InstanceFilter::default()
    };
    for row in shared.store.instances(canaries).await? {
        if row.competition == canary::COMPETITION {
            leases::end(shared, row.id, StopReason::User).await?;
        }
    }
    Ok(())
}

/// One look: what is due is wanted, what is known is said, what may begin begins.
async fn tend(
    shared: &Arc<Shared>,
    said: &mut BTreeMap<ChallengeId, Stated>,
) -> Result<(), StoreError> {
    let records = records(shared).await?;
    say(shared, &records, said).await;
    want_due(shared, &records);
    let head = shared.head.load();
    if let Some(revision) = head.revision.filter(|_| shared.config.solver.rule().is_required) {
        want_missing(shared, revision, &head.catalog).await?;
    }
    begin(shared).await
}

fn want_due(shared: &Shared, records: &Records) {
    let config = &shared.config.solver;
    let live = shared.live.load();
    let versions = live.iter().map(|(id, live)| (id.clone(), live.challenge.tree)).collect();
    let skip = config.rule().skip;
    let given_up: BTreeSet<ChallengeId> = (shared.solver.progress().into_iter())
        .filter(|(_, progress)| matches!(progress, Progress::GivenUp(_)))
        .map(|((id, _), _)| id)
        .collect();
    for id in proof::due(&versions, records, &skip, config.every_secs, shared.now()) {
        // What came to nothing comes to nothing again, until a person or a release asks.
        if let Some(live) = live.get(&id).filter(|_| !given_up.contains(&id)) {
            want(shared, &live.challenge, live.revision, Why::Schedule);
        }
    }
}

/// Begins attempts as long as there are slots, and nobody who plays would wait for them.
async fn begin(shared: &Arc<Shared>) -> Result<(), StoreError> {
    while shared.is_engine_ready() {
        let Ok(slot) = Arc::clone(&shared.solver.slots).try_acquire_owned() else { return Ok(()) };
        if shared.solver.wants().is_empty() {
            return Ok(());
        }
        let n_start_slots = shared.config.limits.n_start_slots as usize;
        if !proof::may_begin(n_player_starts(shared).await?, n_start_slots) {
            return Ok(());
        }
        let Some(want) = shared.solver.take_next() else { return Ok(()) };
        shared.tasks.spawn("proof", run(Arc::clone(shared), want, slot));
    }
    Ok(())
}

/// Instances of players that are on their way.
async fn n_player_starts(shared: &Shared) -> Result<usize, StoreError> {
    let live = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
    let rows = shared.store.instances(live).await?;
    let is_start = |phase| !matches!(phase, InstancePhase::Ready | InstancePhase::Removing);
    Ok(rows.iter().filter(|row| !row.is_canary() && is_start(row.phase)).count())
}

/// One attempt and what follows from it.
async fn run(shared: Arc<Shared>, mut want: Want, slot: OwnedSemaphorePermit) {
    let attempt = canary::attempt(&shared, &want.challenge, want.revision).await;
    if matches!(attempt, Attempt::CutOff(_)) {
        want.n_cut_off += 1;
    } else {
        (want.n_tries, want.n_cut_off) = (want.n_tries + 1, 0);
    }
    if let Attempt::Ran(report) = &attempt {
        let outcome =
            if report.is_solved() { metrics::Outcome::Ok } else { metrics::Outcome::Failed };
        metrics::solve_finished(outcome, report.took);
    }
    match proof::after(&attempt, want.n_tries) {
        Next::Again(why) => {
            let id = &want.challenge.id;
            tracing::info!(challenge.id = %id, "{id} is tried again: {why}");
            shared.solver.put_back(want, why);
        }
        Next::Record(outcome, message) => {
            let version = (want.challenge.id.clone(), want.challenge.tree);
            match record(&shared, &want, &attempt, outcome, message).await {
                Ok(()) => {
                    shared.solver.wants().remove(&version);
                }
                Err(error) => {
                    want.n_cut_off += 1;
                    shared.solver.put_back(want, Chain(&error).to_string());
                }
            }
        }
    }
    drop(slot);
    shared.solver.bell.notify_one();
}

async fn record(
    shared: &Shared,
    want: &Want,
    attempt: &Attempt,
    outcome: ProofOutcome,
    message: String,
) -> Result<(), StoreError> {
    let took = match attempt {
        Attempt::Ran(report) => report.took,
        _ => Duration::ZERO,
    };
    let id = want.challenge.id.clone();
    tracing::info!(
        challenge.id = %id, proof.outcome = %outcome, duration_ms = took.as_millis(),
        "proof of {id}: {message}"
    );
    let proof = ProofRecord {
        challenge: id,
        tree: want.challenge.tree,
        node: NodeId::local(),
        revision: want.revision,
        outcome,
        message,
        took_millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        at: shared.now(),
    };
    shared.store.set_proof(proof).await?;
    shared.solver.told.notify_one();
    Ok(())
}

/// States `Proven` for each challenge of which a version was ever tried, where that changed.
async fn say(shared: &Shared, records: &Records, said: &mut BTreeMap<ChallengeId, Stated>) {
    let (live, head) = (shared.live.load(), shared.head.load());
    let ids: BTreeSet<&ChallengeId> = records.keys().map(|(id, _)| id).collect();
    for id in ids {
        let live = live.get(id).map(|live| live.challenge.tree);
        let head = head.catalog.folders.get(id).map(|folder| folder.tree);
        let trees = live.into_iter().chain(head.filter(|head| live != Some(*head)));
        let tried: Vec<_> = trees.filter_map(|tree| records.get(&(id.clone(), tree))).collect();
        let now = proof::stated(&tried);
        if said.get(id) == Some(&now) {
            continue;
        }
        let Stated { status, reason, message, revision } = now.clone();
        let (scope, kind) = (Scope::Challenge(id.clone()), ConditionType::Proven);
        shared.state(Statement { scope, kind, status, reason, message, revision }).await;
        said.insert(id.clone(), now);
    }
}
