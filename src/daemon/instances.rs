//! Keeps one instance what it should be: the worker of that instance.
//!
//! It reads the row, observes the engine, plans, acts and plans again until the plan is empty. A
//! changed wish (a stop during a start) interrupts at the next safe point.
//!
//! # Invariants
//! * An engine call that creates or removes is never abandoned half way: the worker waits for it
//!   (each call has a deadline) before it turns around.
//!
//! # Not here
//! Who gets a worker and when (`queue`), the choice of actions (`planner`), the engine calls
//! (`executor`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::activities;
use super::attachments;
use super::executor::{self, Effect, Fault, Job};
use super::last_words;
use super::nodes::remote::{self, Pass, RemoteError};
use super::observe;
use super::queue::Signal;
use super::records;
use super::repairs::{self, Turn};
use super::shared::{Shared, Statement};
use super::specs;
use super::tasks::jittered;
use super::watch;
use crate::model::{
    ConditionStatus, ConditionType, Death, Instance, InstanceId, InstancePhase, NodeId, RetryClass,
    Scope, ServiceName, Timestamp,
};
use crate::planner::drift::{self, DriftClass};
use crate::planner::{
    self, Action, Crashes, Exit, Observed, ServiceState, Verdict, Want, lifecycle,
};
use crate::store::StoreError;
use crate::telemetry::metrics;

/// Deaths older than this are forgotten.
const CRASH_MEMORY_MILLIS: i64 = 600_000;

/// Between two looks whether the image of a repair is there again.
const IMAGE_PAUSE: Duration = Duration::from_secs(2);

/// Between two looks whether a stranger has given up a name of ours.
const NAME_PAUSE: Duration = Duration::from_secs(60);

/// Starts the worker of an instance; the table of workers has `signal` already.
pub(crate) fn spawn_worker(shared: &Arc<Shared>, id: InstanceId, signal: Arc<Signal>) {
    let worker = Worker {
        shared: Arc::clone(shared),
        id,
        signal,
        crashes: shared.queue.crashes_of(id),
        phase_since: Instant::now(),
        proved: BTreeSet::new(),
        n_resets: None,
        image_lost_since: None,
    };
    shared.tasks.spawn("instance", worker.run());
}

/// What to do after one pass.
enum Next {
    /// Nothing until the next trigger.
    Rest,
    /// Look again after so long at the latest.
    WakeIn(Duration),
    /// Look again at once.
    Again,
    /// The ground changed: look again, ever later if that goes on.
    Retry,
}

/// Why a pass could not be finished.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

struct Worker {
    shared: Arc<Shared>,
    id: InstanceId,
    signal: Arc<Signal>,
    crashes: BTreeMap<ServiceName, Crashes>,
    phase_since: Instant,
    /// Containers that passed their probe since they were last started: they are not probed again
    /// for each hint.
    proved: BTreeSet<String>,
    /// The incarnation that was last looked at: a newer one has no history.
    n_resets: Option<u32>,
    /// Since when a repair finds no image.
    image_lost_since: Option<Instant>,
}

impl Worker {
    async fn run(mut self) {
        let mut n_errors = 0;
        let mut n_retries = 0;
        loop {
            self.signal.take();
            let pause = match self.pass().await {
                Ok(Next::Again) => Duration::ZERO,
                Ok(Next::Retry) => {
                    n_retries += 1;
                    jittered(RetryClass::Contention.backoff_millis(n_retries))
                }
                Ok(Next::WakeIn(pause)) => pause,
                Ok(Next::Rest) => {
                    (n_errors, n_retries) = (0, 0);
                    if self.shared.queue.retire(self.id, &self.signal) {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    n_errors += 1;
                    self.after_error(&error, n_errors)
                }
            };
            let keeps_going = tokio::select! {
                is_on = self.shared.tasks.sleep(pause) => is_on,
                () = self.signal.rung(), if !pause.is_zero() => true,
            };
            if !keeps_going {
                return;
            }
        }
    }

    fn until(&self, at: Timestamp) -> Duration {
        let millis = at.millis_since(self.shared.now()).max(1);
        Duration::from_millis(millis.unsigned_abs())
    }

    fn after_error(&self, error: &PassError, n_errors: u32) -> Duration {
        let text = crate::telemetry::chain::Chain(error).to_string();
        if n_errors == 1 {
            tracing::warn!(instance.id = %self.id, "instance {} waits: {text}", self.id);
        }
        let words = match error {
            PassError::Fault(Fault::Attachments(_)) => "its files cannot be written now",
            PassError::Fault(_) | PassError::Store(_) => "waiting for the container engine",
            PassError::Remote(_) => "waiting for its node",
        };
        self.shared.set_obstacle(self.id, Some(words));
        if !matches!(error, PassError::Remote(_)) {
            self.shared.engine_doubt.notify_one();
        }
        jittered(RetryClass::Engine.backoff_millis(n_errors))
    }

    /// One pass: read, observe, then plan and act until the plan is empty.
    async fn pass(&mut self) -> Result<Next, PassError> {
        let Some(instance) = self.shared.store.instance(self.id).await? else {
            return Ok(Next::Rest);
        };
        if !instance.phase.is_live() || watch::is_suspended(&self.shared, &instance) {
            return Ok(Next::Rest);
        }
        if instance.node != NodeId::local() {
            return Ok(match remote::pass(&self.shared, instance, &self.signal).await? {
                Pass::Done => Next::Rest,
                Pass::Again => Next::Again,
                Pass::Later(pause) => Next::WakeIn(pause),
            });
        }
        let Some(stored) = specs::of(&self.shared, &instance).await? else {
            return Ok(Next::Rest);
        };
        let mut job = Job::new(&self.shared, instance, stored);
        self.begin_incarnation(job.n_resets);
        let mut observed = if job.instance.phase == InstancePhase::Queued {
            Observed::default() // The row is older than anything that could exist.
        } else {
            match observe::instance(&self.shared, &job).await {
                Ok(observed) => observed,
                // Nothing is known of what exists, but its owner is not kept waiting for ever.
                Err(_) if job.is_first_start() && job.is_late() => {
                    let nothing = Observed::default();
                    return self.fail(&job, &nothing, job.too_late(&nothing)).await;
                }
                Err(fault) => return Err(fault.into()),
            }
        };
        observed.crashes = self.recent_crashes();
        if !observed.lost_volumes.is_empty() {
            // What it held is lost with the instance: that is looked at twice.
            let again = observe::instance(&self.shared, &job).await?;
            observed.lost_volumes.retain(|volume| again.lost_volumes.contains(volume));
        }
        if job.instance.phase != InstancePhase::Ready {
            self.recall_proofs(&mut observed);
        }
        if job.want() == Want::Gone {
            records::keep_log(&job, &observed).await;
        }
        if let Some(next) = self.await_turn(&mut job, &observed).await? {
            return Ok(next);
        }
        self.drive(&mut job, observed).await
    }

    /// Says what drifted; `Some` when the repair has to wait.
    async fn await_turn(
        &mut self,
        job: &mut Job,
        observed: &Observed,
    ) -> Result<Option<Next>, PassError> {
        if job.want() != Want::Run || job.is_first_start() {
            return Ok(None);
        }
        let drifts = drift::classify(&job.instance, &job.spec, observed);
        if drifts.is_empty() && job.instance.phase == InstancePhase::Ready {
            return Ok(None);
        }
        let (words, next) = match repairs::turn(&self.shared, &job.instance, &drifts).await? {
            Turn::Go => return Ok(None),
            Turn::Wait(pause) => {
                ("many instances need repair at once, it waits for its turn", Next::WakeIn(pause))
            }
            Turn::Stalled => (
                "it was repaired again and again and is left alone now: reset it, or ask an organizer",
                Next::Rest,
            ),
        };
        let plan = planner::plan(&job.spec, Want::Run, observed, self.shared.now());
        self.show(job, repairs::waiting_phase(&plan.verdict)).await?;
        self.shared.set_obstacle(self.id, Some(words));
        Ok(Some(next))
    }

    /// What passed its probe and still runs is usable. A ready instance is left out: there only the
    /// engine's verdict makes a service doubtful, and that is worth a probe.
    fn recall_proofs(&self, observed: &mut Observed) {
        for seen in observed.services.values_mut() {
            if seen.state == ServiceState::Running && self.proved.contains(&seen.container) {
                seen.state = ServiceState::Usable;
            }
        }
    }

    /// Keeps in mind which containers are proved.
    fn note_proof(&mut self, effect: &Effect) {
        let Effect::Service { container, state, .. } = effect else { return };
        if *state == ServiceState::Usable {
            self.proved.insert(container.clone());
        } else {
            self.proved.remove(container);
        }
    }

    /// A reset makes everything anew: what died before says nothing about what runs now.
    fn begin_incarnation(&mut self, n_resets: u32) {
        if self.n_resets.replace(n_resets).is_some_and(|before| before != n_resets) {
            self.crashes.clear();
            self.proved.clear();
        }
    }

    fn recent_crashes(&mut self) -> BTreeMap<ServiceName, Crashes> {
        let horizon = self.shared.now().plus_millis(-CRASH_MEMORY_MILLIS);
        // A clock that was set back must not keep a death for longer than it is worth.
        let latest = self.shared.now().plus_millis(CRASH_MEMORY_MILLIS);
        self.crashes.retain(|_, it| it.last_at > horizon && it.last_at <= latest);
        self.crashes.clone()
    }

    async fn drive(&mut self, job: &mut Job, mut observed: Observed) -> Result<Next, PassError> {
        let mut running = Running::new();
        let mut busy = BTreeSet::new();
        loop {
            let want = job.want();
            let plan = planner::plan(&job.spec, want, &observed, self.shared.now());
            if let Verdict::Progress(phase) = plan.verdict {
                self.show(job, phase).await?;
                if job.want() != want || job.is_outdated() {
                    // What is under way could still make what would be removed beside it.
                    settle(job, &mut running).await;
                    return Ok(Next::Again);
                }
            }
            if let Verdict::Failed(reason) = &plan.verdict {
                settle(job, &mut running).await;
                return self.fail(job, &observed, reason.clone()).await;
            }
            for action in plan.actions {
                if busy.insert(action.clone()) {
                    self.note_restart(job, &action, &mut observed).await?;
                    running.push(executor::execute(job, &observed, action));
                }
            }
            if running.is_empty() {
                return match plan.verdict {
                    // Something died meanwhile: what was proved before may not hold any more.
                    Verdict::Usable if self.signal.take() => Ok(Next::Again),
                    Verdict::Usable => self.ready(job).await,
                    Verdict::Gone => self.gone(job).await,
                    Verdict::Progress(_) | Verdict::Failed(_) if job.is_late() => {
                        self.fail(job, &observed, job.too_late(&observed)).await
                    }
                    Verdict::Progress(_) | Verdict::Failed(_) => {
                        let words = "a service died and is started again in a moment";
                        self.shared.set_obstacle(self.id, plan.wake_at.map(|_| words));
                        let pause = plan.wake_at.map_or(Duration::MAX, |at| self.until(at));
                        Ok(Next::WakeIn(pause.min(job.time_left())))
                    }
                };
            }
            // Cancel-safe: `next` and `notified` lose nothing when the other wins.
            tokio::select! {
                Some((action, result)) = running.next() => {
                    busy.remove(&action);
                    let effect = match result {
                        Ok(effect) => effect,
                        Err(fault) => {
                            settle(job, &mut running).await;
                            return self.after_fault(job, &observed, fault).await;
                        }
                    };
                    self.note_proof(&effect);
                    executor::apply(&mut observed, effect);
                }
                () = self.signal.rung() => {
                    if self.wish_changed(job).await? {
                        settle(job, &mut running).await;
                        return Ok(Next::Again);
                    }
                }
                () = tokio::time::sleep(job.time_left()), if want == Want::Run => {
                    settle(job, &mut running).await;
                    return self.fail(job, &observed, job.too_late(&observed)).await;
                }
                () = self.shared.tasks.stopping().cancelled() => {
                    settle(job, &mut running).await;
                    return Ok(Next::Rest);
                }
            }
        }
    }

    /// Re-reads the row: whether somebody wants something else now.
    async fn wish_changed(&self, job: &mut Job) -> Result<bool, StoreError> {
        let Some(instance) = self.shared.store.instance(self.id).await? else { return Ok(true) };
        let before = job.want();
        job.instance = instance;
        Ok(job.want() != before || job.is_outdated())
    }

    /// Remembers that a service which died is started again.
    async fn note_restart(
        &mut self,
        job: &Job,
        action: &Action,
        observed: &mut Observed,
    ) -> Result<(), StoreError> {
        let Action::Start(name) = action else { return Ok(()) };
        let Some(seen) = observed.services.get(name) else { return Ok(()) };
        let ServiceState::Exited { code, is_oom } = seen.state else { return Ok(()) };
        let container = seen.container.clone();
        let crashes = self.crashes.entry(name.clone()).or_default();
        *crashes = Crashes { n_recent: crashes.n_recent + 1, last_at: self.shared.now() };
        observed.crashes.insert(name.clone(), *crashes);
        let death = planner::death(name, Exit { code, is_oom }, crashes);
        self.shared.queue.remember(self.id, self.crashes.clone());
        tracing::info!(
            instance.id = %self.id, service.name = %name, restart.n = death.n_recent,
            "{death} and is started again (instance {})", self.id
        );
        self.record_death(job, death, &container).await
    }

    /// Keeps a death for the owner; one too many in a short time is a crash loop, which operators
    /// read with the container's last words.
    async fn record_death(
        &self,
        job: &Job,
        mut death: Death,
        container: &str,
    ) -> Result<(), StoreError> {
        let is_first_of_loop = death.n_recent == Death::CRASH_LOOP;
        let players_see = self.shared.config.limits.players_see_logs;
        let words = if is_first_of_loop || players_see {
            last_words::of_container(job, container).await
        } else {
            String::new()
        };
        if is_first_of_loop {
            let last = match words.as_str() {
                "" => String::new(),
                words => format!("\nlast output of `{}`:\n{words}", death.service),
            };
            let message = format!(
                "{death}, again and again: it is started ever later; look at `flagops instances logs {}`{last}",
                self.id
            );
            self.state_health(job, ConditionStatus::False, "CrashLooping", message).await;
        }
        death.last_words = (players_see && !words.is_empty()).then_some(words);
        let change = move |row: &mut Instance| lifecycle::restarted(row, death);
        self.shared.store.change_instance(self.id, change).await?;
        Ok(())
    }

    async fn state_health(
        &self,
        job: &Job,
        status: ConditionStatus,
        reason: &'static str,
        message: String,
    ) {
        if job.instance.is_canary() {
            // Its challenge says it, as `Proven`.
            return;
        }
        let revision = Some(job.instance.revision);
        let (scope, kind) = (Scope::Instance(self.id), ConditionType::Healthy);
        let statement = Statement { scope, kind, status, reason, message, revision };
        self.shared.state(statement).await;
    }

    /// Records the phase, unless somebody wants the instance gone meanwhile.
    async fn show(&mut self, job: &mut Job, phase: InstancePhase) -> Result<(), StoreError> {
        if job.instance.phase == phase || phase == InstancePhase::Removing {
            return Ok(());
        }
        let n_resets = job.n_resets;
        let change = move |row: &mut Instance| lifecycle::reached(row, n_resets, phase);
        metrics::start_phase(job.instance.phase, self.phase_since.elapsed());
        self.phase_since = Instant::now();
        if let Some((instance, _)) = self.shared.store.change_instance(self.id, change).await? {
            job.instance = instance;
        }
        Ok(())
    }

    async fn ready(&mut self, job: &Job) -> Result<Next, PassError> {
        let now = self.shared.now();
        let n_resets = job.n_resets;
        let change = move |row: &mut Instance| lifecycle::ready(row, n_resets, now);
        let changed = self.shared.store.change_instance(self.id, change).await?;
        if let Some((instance, true)) = changed {
            let took_ms = now.millis_since(instance.created_at);
            tracing::info!(
                instance.id = %self.id, challenge.id = %instance.challenge, duration_ms = took_ms,
                "instance {} of {} is ready", self.id, instance.challenge
            );
            self.shared.set_obstacle(self.id, None);
            activities::ready(&self.shared, &instance);
            if job.is_first_start() {
                metrics::start_finished(
                    metrics::Outcome::Ok,
                    Duration::from_millis(took_ms.max(0).unsigned_abs()),
                );
            }
        }
        if !job.is_first_start() {
            repairs::settled(&self.shared, &job.instance).await;
        }
        self.image_lost_since = None;
        self.after_a_crash_loop(job).await
    }

    /// A crash loop is over when nothing died for as long as deaths are remembered.
    async fn after_a_crash_loop(&self, job: &Job) -> Result<Next, PassError> {
        let looping = self.crashes.values().filter(|it| it.n_recent >= Death::CRASH_LOOP);
        let quiet_at = looping.map(|it| it.last_at.plus_millis(CRASH_MEMORY_MILLIS + 1)).max();
        if let Some(at) = quiet_at.filter(|at| *at > self.shared.now()) {
            return Ok(Next::WakeIn(self.until(at)));
        }
        if job.instance.last_death.as_ref().is_some_and(Death::is_crash_loop) {
            let words = "every service is usable".to_owned();
            self.state_health(job, ConditionStatus::True, "Passing", words).await;
        }
        Ok(Next::Rest)
    }

    async fn gone(&self, job: &Job) -> Result<Next, PassError> {
        // Before the row says so: a kill in between finds it still ending.
        attachments::discard(&self.shared, self.id).await;
        let now = self.shared.now();
        let change = move |row: &mut Instance| lifecycle::gone(row, now);
        let changed = self.shared.store.change_instance(self.id, change).await?;
        if let Some((row, _)) = changed {
            if let Some(reason) = row.stop_reason {
                metrics::instance_ended(reason);
            }
            if row.phase == InstancePhase::Stopped {
                self.shared.store.clear_conditions(&Scope::Instance(self.id)).await?;
            }
        }
        self.shared.set_obstacle(self.id, None);
        self.shared.queue.forget(self.id);
        self.shared.repairs.forget(self.id);
        self.shared.stock_low.notify_one();
        tracing::info!(
            instance.id = %self.id, challenge.id = %job.instance.challenge,
            "instance {} is gone", self.id
        );
        Ok(Next::Rest)
    }

    /// Gives up on the instance: its owner reads why, operators also read the containers' words.
    async fn fail(
        &self,
        job: &Job,
        observed: &Observed,
        reason: String,
    ) -> Result<Next, PassError> {
        let detail = last_words::of(job, observed).await;
        if job.is_first_start() {
            let millis = self.shared.now().millis_since(job.instance.created_at).max(0);
            let took = Duration::from_millis(millis.unsigned_abs());
            metrics::start_finished(metrics::Outcome::Failed, took);
        }
        let (why, n_resets) = (reason.clone(), job.n_resets);
        let change = move |row: &mut Instance| lifecycle::fail(row, n_resets, why);
        let changed = self.shared.store.change_instance(self.id, change).await?;
        self.shared.set_obstacle(self.id, None);
        if let Some((instance, true)) = changed {
            activities::failed(&self.shared, &instance, &reason);
            let message = format!("{reason}{detail}");
            self.state_health(job, ConditionStatus::False, "Failing", message).await;
        }
        Ok(Next::Again)
    }

    async fn after_fault(
        &mut self,
        job: &mut Job,
        observed: &Observed,
        fault: Fault,
    ) -> Result<Next, PassError> {
        if self.wish_changed(job).await? {
            return Ok(Next::Again);
        }
        match fault {
            Fault::Again => Ok(Next::Retry),
            Fault::Hopeless(reason) if job.want() == Want::Run => {
                self.fail(job, observed, reason).await
            }
            // Nothing of it runs: this is a start. What runs goes on without its files.
            Fault::Unrendered(reason)
                if job.want() == Want::Run && observed.services.is_empty() =>
            {
                self.fail(job, observed, reason).await
            }
            Fault::NameTaken { .. } | Fault::ImageLost { .. } | Fault::Unrendered(_)
                if job.want() == Want::Run =>
            {
                self.hold_back(job, observed, fault).await
            }
            // Removal is never given up: nothing may be left behind.
            other => Err(other.into()),
        }
    }
}

impl Worker {
    /// A start that meets a stranger's object, or no image, has failed. What worked before waits
    /// until the stranger is gone, or the image is built again.
    async fn hold_back(
        &mut self,
        job: &Job,
        observed: &Observed,
        fault: Fault,
    ) -> Result<Next, PassError> {
        let (class, is_over) = match &fault {
            Fault::ImageLost { .. } => {
                let since = *self.image_lost_since.get_or_insert_with(Instant::now);
                let patience = self.shared.settings.load().start_deadline_secs;
                let is_over = since.elapsed() >= Duration::from_secs(patience.into());
                (DriftClass::ImageMissing, is_over)
            }
            Fault::Unrendered(_) => (DriftClass::GroundMissing, false),
            _ => (DriftClass::NameConflict, false),
        };
        let message = fault.to_string();
        repairs::say_late(&self.shared, &job.instance, class, message.clone()).await;
        if is_over || job.is_first_start() {
            return self.fail(job, observed, message).await;
        }
        let (words, pause) = match class {
            DriftClass::ImageMissing => ("its image is being built again", IMAGE_PAUSE),
            DriftClass::GroundMissing => ("its files cannot be rendered again", NAME_PAUSE),
            _ => ("something else on the node has its name; organizers see what", NAME_PAUSE),
        };
        self.shared.set_obstacle(self.id, Some(words));
        Ok(Next::WakeIn(pause))
    }
}

/// The engine calls of one pass that have not come back yet.
type Running = FuturesUnordered<BoxFuture<'static, (Action, Result<Effect, Fault>)>>;

/// Ends probes and waits, and waits for the calls that must not be abandoned.
async fn settle(job: &Job, running: &mut Running) {
    job.turn_around.cancel();
    while running.next().await.is_some() {}
}
