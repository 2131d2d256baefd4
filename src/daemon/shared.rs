//! What the daemon's tasks share: the rooms' handles and the few values that change.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{Notify, Semaphore, broadcast, mpsc, oneshot};

use super::attachments::{Folder, Renderer};
use super::books::Books;
use super::capture::Captures;
use super::competitions::Contests;
use super::doubts::Doubts;
use super::holders::Holders;
use super::hubs::Hubs;
use super::isolation::Isolation;
use super::nodes::Nodes;
use super::passwords::Passwords;
use super::platform::{Downloads, LiveSet, Tables};
use super::queue::Queue;
use super::releases::Releases;
use super::repairs::Repairs;
use super::shells::Shells;
use super::solver::Solver;
use super::specs::Specs;
use super::steady::Steady;
use super::tasks::Tasks;
use super::verdicts::Verdicts;
use super::waiting::Line;
use super::webhook::Webhook;
use super::worker::Worker;
use crate::builder::Builder;
use crate::catalog::{Catalog, Policy};
use crate::config::Config;
use crate::contest::Settings;
use crate::git::Mirror;
use crate::model::{
    Challenge, ChallengeId, ConditionStatus, ConditionType, InstanceId, Pauses, Revision, Scope,
    Timestamp, TreeId,
};
use crate::notify::Receiver;
use crate::runtime::Engine;
use crate::runtime::wall::Wall;
use crate::secrets::Identities;
use crate::store::{ActivityRow, DataDir, NewCondition, Store, StoreError};

/// Most happenings that somebody who is slow is behind.
const HAPPENINGS: usize = 256;

/// Everything the tasks share. One per daemon, behind an [`Arc`].
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Arc<Steady>,
    pub(crate) data: DataDir,
    pub(crate) store: Store,
    pub(crate) engine: Arc<dyn Engine>,
    /// What keeps instances from the host; `None` where nobody wants one.
    pub(crate) wall: Option<Arc<Wall>>,
    /// Whether it does, as far as anybody has looked.
    pub(crate) isolation: Isolation,
    /// Which instances are the hubs of teams.
    pub(crate) hubs: Hubs,
    /// Other machines that run instances for this one.
    pub(crate) nodes: Nodes,
    /// What this machine is to a platform.
    pub(crate) worker: Worker,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) builder: Builder,
    /// What opens encrypted files of the repository.
    pub(crate) identities: Arc<Identities>,
    /// What renders the files of instances.
    pub(crate) renderer: Renderer,
    /// Where they are.
    pub(crate) attachments: Folder,
    /// Where those are that services of instances wrote.
    pub(crate) collected: Folder,
    /// Packets of instances.
    pub(crate) captures: Captures,
    /// Who downloads how much at the moment.
    pub(crate) downloads: Downloads,
    /// Hashes and compares passwords.
    pub(crate) passwords: Passwords,
    /// Who is told when something is wrong.
    pub(crate) receiver: Option<Arc<Receiver>>,
    pub(crate) tasks: Tasks,
    /// What players can start.
    pub(crate) live: Swap<LiveSet>,
    /// Which competitions there are.
    pub(crate) contests: Swap<Contests>,
    /// What administrators set, over what is configured.
    pub(crate) settings: Swap<Settings>,
    /// Whoever reads them anew holds it: an older reading never takes the place of a newer one.
    pub(crate) settings_turn: tokio::sync::Mutex<()>,
    /// What the newest revision declares.
    pub(crate) head: Swap<Head>,
    /// What revisions were judged to be.
    pub(crate) verdicts: Verdicts,
    /// Instances that are being worked on.
    pub(crate) queue: Queue,
    /// What ready instances were started from.
    pub(crate) specs: Specs,
    /// What drifted, and how much of it may be repaired at once.
    pub(crate) repairs: Repairs,
    /// What happens in contests, for who follows along. Bounded: whoever is slow loses the oldest.
    pub(crate) happened: broadcast::Sender<Arc<ActivityRow>>,
    /// Which versions are to be proven by their own exploits.
    pub(crate) solver: Solver,
    /// Shells of administrators.
    pub(crate) shells: Shells,
    /// Asks the source loop to look at once; answered when that look is done.
    pub(crate) looks: mpsc::Sender<oneshot::Sender<()>>,
    /// Who may give hints from outside.
    pub(crate) webhook: Option<Webhook>,
    /// Rings when somebody gave one.
    pub(crate) hinted: Notify,
    /// Rings when a solve is on its way to a CTFd.
    pub(crate) solves_due: Notify,
    /// Rings when the forge may have to be told something.
    pub(crate) statuses_due: Notify,
    /// What rows add up to.
    pub(crate) books: Books,
    pub(crate) holders: Holders,
    /// Standings as they were worked out last.
    pub(crate) tables: Tables,
    /// Starts that wait for room.
    pub(crate) line: Swap<Line>,
    /// Rings when it is to be served at once.
    pub(crate) line_due: Notify,
    /// Bounds looks for whose answer a wrong one is.
    pub(crate) fairness_slots: Arc<Semaphore>,
    /// Bounds the engine calls that start containers.
    pub(crate) start_slots: Semaphore,
    /// Bounds network creation, which the engine serialises anyway (P8).
    pub(crate) network_slots: Semaphore,
    /// What goes live, and why.
    pub(crate) releases: Releases,
    /// Whoever changes what is live holds it.
    pub(crate) release_turn: Semaphore,
    /// Whoever asks for images, or takes them away, holds it: what is wanted is never removed, and
    /// what is removed is wanted anew.
    pub(crate) image_turn: Semaphore,
    /// One garbage collection at a time.
    pub(crate) gc_turn: Semaphore,
    /// Rings when the disk of the engine should be looked at.
    pub(crate) disk_doubt: Notify,
    /// Rings when a VPN gateway has to be told who may connect.
    pub(crate) vpn_due: Notify,
    /// Rings when a network was taken from the stock.
    pub(crate) stock_low: Notify,
    /// Who keeps us from what.
    pub(crate) pauses: Swap<Pauses>,
    /// Rings when everything should be listed at once.
    pub(crate) relist_due: Notify,
    /// Rings when the engine should be proved at once.
    pub(crate) engine_doubt: Notify,
    is_engine_ready: AtomicBool,
    /// The database was lost, and nobody has accepted that yet.
    awaits_acceptance: AtomicBool,
    /// Something bears our label that no row knows, or nobody has looked yet.
    has_unknown: AtomicBool,
    pub(crate) started_at: Timestamp,
    /// What instances that are on their way wait for, in words for their owner.
    obstacles: Mutex<BTreeMap<InstanceId, &'static str>>,
    /// What their probes said last, for operators.
    pub(crate) doubts: Doubts,
    /// Versions that are live no more but that running instances were started from.
    pub(crate) pinned: Mutex<BTreeMap<(ChallengeId, TreeId), Arc<Challenge>>>,
}

/// The newest revision that was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    /// The commit; `None` before the first look.
    pub(crate) revision: Option<Revision>,
    /// What it declares.
    pub(crate) catalog: Arc<Catalog>,
}

/// A value that is replaced as a whole and read without waiting.
#[derive(Debug, Default)]
pub(crate) struct Swap<T>(RwLock<Arc<T>>);

impl<T> Swap<T> {
    fn of(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn store(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

/// A statement to record; its `since` is the store's business.
pub(crate) struct Statement {
    pub(crate) scope: Scope,
    pub(crate) kind: ConditionType,
    pub(crate) status: ConditionStatus,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) revision: Option<Revision>,
}

impl Shared {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The organizer's ceilings for the catalog.
    pub(crate) fn policy(&self) -> Policy {
        self.config.limits.policy()
    }

    pub(crate) fn is_engine_ready(&self) -> bool {
        self.is_engine_ready.load(Ordering::Relaxed)
    }

    pub(crate) fn set_engine_ready(&self, value: EngineState) {
        self.is_engine_ready.store(value == EngineState::Ready, Ordering::Relaxed);
    }

    /// Whether the database was lost and nobody has accepted that yet: then nothing that it may
    /// have known is taken away.
    pub(crate) fn awaits_acceptance(&self) -> bool {
        self.awaits_acceptance.load(Ordering::SeqCst)
    }

    pub(crate) fn set_loss(&self, loss: LossState) {
        self.awaits_acceptance.store(loss == LossState::Open, Ordering::SeqCst);
    }

    /// Whether the engine has something of ours that no row knows, as far as anybody has looked.
    pub(crate) fn has_unknown(&self) -> bool {
        self.has_unknown.load(Ordering::SeqCst)
    }

    pub(crate) fn set_unknown(&self, n_unknown: usize) {
        self.has_unknown.store(n_unknown > 0, Ordering::SeqCst);
    }

    /// Records a condition and logs the transition. A store that cannot take it is logged, too:
    /// nobody upstream could do more.
    pub(crate) async fn state(&self, statement: Statement) {
        let Statement { scope, kind, status, reason, message, revision } = statement;
        let reason = reason.to_owned();
        let condition = NewCondition { scope, kind, status, reason, message, revision };
        if let Err(error) = self.note(condition).await {
            tracing::error!(
                error = %crate::telemetry::chain::Chain(&error),
                "could not record a condition"
            );
        }
    }

    /// Records a condition, and logs it when that is an event.
    ///
    /// # Errors
    /// When the database does not take it.
    pub(crate) async fn note(&self, condition: NewCondition) -> Result<(), StoreError> {
        let NewCondition { scope, kind, status, reason, message, .. } = &condition;
        let (scope, text) = (scope.clone(), format!("{scope} {kind}={status}: {message}"));
        let (kind, status, reason) = (*kind, *status, reason.clone());
        if self.store.set_condition(condition, self.now()).await? {
            tracing::info!(
                condition.scope = %scope, condition.kind = %kind, condition.status = %status,
                condition.reason = reason, "{text}"
            );
        }
        Ok(())
    }

    /// Says what an instance waits for, or that it goes on.
    pub(crate) fn set_obstacle(&self, id: InstanceId, words: Option<&'static str>) {
        let mut obstacles = self.obstacles.lock().unwrap_or_else(PoisonError::into_inner);
        match words {
            Some(words) => obstacles.insert(id, words),
            None => {
                self.doubts.forget(id);
                obstacles.remove(&id)
            }
        };
    }

    /// What an instance waits for, in words for its owner.
    pub(crate) fn obstacle_of(&self, id: InstanceId) -> Option<&'static str> {
        self.obstacles.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }
}

/// Whether a loss of the database waits for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LossState {
    /// It was lost, and nobody has accepted that.
    Open,
    /// It was not, or somebody has.
    Settled,
}

/// What the last proof of the engine said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineState {
    /// It made and removed a container.
    Ready,
    /// It did not.
    Failing,
}

impl Shared {
    /// The shared state of a daemon whose engine has not been proved yet.
    #[expect(clippy::too_many_arguments, reason = "called once, by the wiring")]
    pub(crate) fn new(
        config: Config,
        clock: Arc<Steady>,
        data: DataDir,
        store: Store,
        engine: Arc<dyn Engine>,
        wall: Option<Arc<Wall>>,
        mirror: Mirror,
        builder: Builder,
        identities: Identities,
        looks: mpsc::Sender<oneshot::Sender<()>>,
        webhook: Option<Webhook>,
        renderer: Renderer,
    ) -> Self {
        let started_at = clock.now();
        let settings = super::settings::configured(&config);
        let releases = Releases::new(&config.release);
        let receiver = Receiver::new(&config.notify).map(Arc::new);
        let n_slots = config.limits.n_start_slots.max(1) as usize;
        let n_solver_slots = config.solver.n_slots.max(1) as usize;
        Self {
            config,
            clock,
            attachments: Folder::at(data.instances_path()),
            collected: Folder::at(data.collected_path()),
            captures: Captures::at(data.captures_path()),
            renderer,
            downloads: Downloads::default(),
            data,
            store,
            engine,
            wall,
            isolation: Isolation::new(),
            hubs: Hubs::new(),
            nodes: Nodes::new(),
            worker: Worker::new(),
            mirror: Arc::new(mirror),
            builder,
            identities: Arc::new(identities),
            passwords: Passwords::new(),
            receiver,
            tasks: Tasks::new(),
            live: Swap::default(),
            settings: Swap::of(settings),
            settings_turn: tokio::sync::Mutex::default(),
            contests: Swap::of(Contests::only_default(started_at)),
            head: Swap::default(),
            verdicts: Verdicts::default(),
            queue: Queue::default(),
            specs: Specs::default(),
            repairs: Repairs::default(),
            happened: broadcast::Sender::new(HAPPENINGS),
            solver: Solver::new(n_solver_slots),
            shells: Shells::default(),
            looks,
            webhook,
            hinted: Notify::new(),
            solves_due: Notify::new(),
            statuses_due: Notify::new(),
            books: Books::default(),
            holders: Holders::default(),
            tables: Tables::default(),
            line: Swap::default(),
            line_due: Notify::new(),
            fairness_slots: Arc::new(Semaphore::new(8)),
            start_slots: Semaphore::new(n_slots),
            network_slots: Semaphore::new(2),
            releases,
            release_turn: Semaphore::new(1),
            image_turn: Semaphore::new(1),
            gc_turn: Semaphore::new(1),
            disk_doubt: Notify::new(),
            vpn_due: Notify::new(),
            stock_low: Notify::new(),
            engine_doubt: Notify::new(),
            pauses: Swap::default(),
            relist_due: Notify::new(),
            is_engine_ready: AtomicBool::new(false),
            awaits_acceptance: AtomicBool::new(false),
            has_unknown: AtomicBool::new(true),
            started_at,
            obstacles: Mutex::default(),
            doubts: Doubts::default(),
            pinned: Mutex::default(),
        }
    }
}
