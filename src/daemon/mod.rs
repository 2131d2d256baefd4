//! The loops: follow the repository, build, keep every instance what it should be.
//!
//! [`Daemon::start`] opens everything, sorts out what an unclean stop left, and spawns the tasks;
//! [`Daemon::stop`] ends them and leaves instances running. The API talks to [`Platform`] only.
//!
//! Both loops have one shape, observe → plan (pure) → act → record; they are woken by events and
//! never depend on them.
//!
//! # Invariants
//! * What the tasks need from the database is committed before anything is done in the engine.
//! * A start needs no network: live versions are read from the mirror's pinned commits.

mod activities;
mod adoption;
mod attachments;
mod books;
mod budgets;
mod builds;
mod capture;
mod certificate;
mod competitions;
mod doubts;
mod executor;
mod exports;
mod gauges;
mod gc;
mod hints;
mod holders;
mod hubs;
mod ingress;
mod instances;
pub mod isolation;
mod last_words;
mod leases;
mod leftovers;
mod nodes;
mod observe;
mod own_image;
mod passwords;
mod pauses;
pub mod platform;
mod queue;
mod records;
mod recovery;
mod releases;
mod repairs;
pub(crate) mod secrets;
mod settings;
mod shared;
mod shells;
mod solver;
mod source;
mod specs;
mod statuses;
mod steady;
mod stock;
pub mod tasks;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verdicts;
mod versions;
mod vpn;
mod waiting;
mod watch;
mod webhook;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;

use crate::builder::{BuildReport, Builder, BuilderSettings};
use crate::catalog;
use crate::config::identities::{self, IdentityError};
use crate::config::{BuildNetworkChoice, BuildPlace, Config};
use crate::git::{Mirror, MirrorError};
use crate::ingress::{CertificateState, Table};
use crate::model::Clock;
use crate::notify::{Pump, SolvePump};
use crate::runtime::wall::Wall;
use crate::runtime::{BuildNetwork, Engine, EngineError};
use crate::store::{DataDir, DataDirError, LiveRow, Loss, Store, StoreError};

pub use attachments::{COMMAND as RENDER_COMMAND, Renderer, TRAFFIC_COMMAND};
pub use platform::Platform;
use platform::{LiveChallenge, LiveSet};
pub use releases::tag_wish;
use shared::Shared;
use steady::Steady;
use webhook::Webhook;
pub use webhook::WebhookError;
pub use worker::LocalNode;
pub use worker::link::Bond;

/// How long a stop waits for engine calls that are under way.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Why the daemon could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used, or another daemon uses it.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mirror cannot be used.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The configured endpoint is not one.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A webhook is configured that anybody could call.
    #[error("`source.webhook` cannot be used")]
    Webhook(#[from] WebhookError),
    /// The age identities cannot be used.
    #[error("`secrets.identity_file` cannot be used")]
    Identities(#[from] IdentityError),
}

/// A running daemon.
pub struct Daemon {
    shared: Arc<Shared>,
}

/// The rooms' handles that the wiring has opened.
pub struct Parts {
    /// The whole configuration, checked.
    pub config: Config,
    /// The real clock, or a test's.
    pub clock: Arc<dyn Clock>,
    /// The locked data directory.
    pub data: DataDir,
    /// The database in it.
    pub store: Store,
    /// The engine, which may be down.
    pub engine: Arc<dyn Engine>,
    /// What keeps instances from this host; `None` where nobody wants that.
    pub wall: Option<Arc<Wall>>,
    /// The mirror, which may be empty.
    pub mirror: Mirror,
    /// What the database lost before it was opened.
    pub loss: Option<Loss>,
    /// What renders the files of instances.
    pub renderer: Renderer,
    /// The platform that this machine is a node of; `None` where this is the platform.
    pub bond: Option<Bond>,
}

impl Daemon {
    /// Starts every loop. Returns as soon as what was live is live again; the engine may still be
    /// down and the remote unreachable.
    ///
    /// # Errors
    /// When the database or the age identities cannot be read, or the webhook has no secret.
    pub async fn start(mut parts: Parts) -> Result<Self, StartError> {
        let (loss, bond) = (parts.loss.take(), parts.bond.take());
        let (shared, Inbox { looks, reports }) = prepare(parts)?;
        if let Some(bond) = &bond {
            shared.worker.follow();
            if shared.config.builder.build == BuildPlace::Once {
                shared.builder.supply_by(worker::supplier(bond, &shared.config.registry));
            }
        }
        settings::restore(&shared).await?;
        worker::restore(&shared).await?;
        nodes::refresh(&shared).await?;
        leases::after_downtime(&shared).await?;
        recovery::begin(&shared, loss).await?;
        pauses::restore(&shared).await?;
        repairs::restore(&shared).await?;
        isolation::restore(&shared).await?;
        hubs::restore(&shared).await?;
        builds::recover(&shared).await?;
        attachments::sweep(&shared).await?;
        capture::restore(&shared).await;
        restore_live(&shared).await?;
        competitions::refresh(&shared).await?;
        builds::note_live(&shared).await?;
        if let Err(error) = releases::recall(&shared).await {
            tracing::warn!(
                error = %crate::telemetry::chain::Chain(&error),
                "could not recall the tags; the next look at the remote brings them"
            );
        }
        let tasks = &shared.tasks;
        tasks.spawn("source", source::follow(Arc::clone(&shared), looks));
        tasks.spawn("hints", hints::follow(Arc::clone(&shared)));
        tasks.spawn("builder", builds::work(Arc::clone(&shared)));
        tasks.spawn("builds", builds::collect(Arc::clone(&shared), reports));
        tasks.spawn("releases", releases::keep(Arc::clone(&shared)));
        tasks.spawn("engine", watch::prove(Arc::clone(&shared)));
        tasks.spawn("events", watch::listen(Arc::clone(&shared)));
        tasks.spawn("relist", watch::tick(Arc::clone(&shared)));
        tasks.spawn("stock", stock::keep(Arc::clone(&shared)));
        tasks.spawn("gauges", gauges::keep(Arc::clone(&shared)));
        tasks.spawn("gc", gc::keep(Arc::clone(&shared)));
        tasks.spawn("backups", recovery::keep_backups(Arc::clone(&shared)));
        tasks.spawn("leases", leases::keep(Arc::clone(&shared)));
        tasks.spawn("line", waiting::keep(Platform::new(Arc::clone(&shared)), Arc::clone(&shared)));
        tasks.spawn("solver", solver::keep(Arc::clone(&shared)));
        tasks.spawn("budgets", budgets::keep(Arc::clone(&shared)));
        tasks.spawn("captures", capture::keep(Arc::clone(&shared)));
        tasks.spawn("isolation", isolation::keep(Arc::clone(&shared)));
        tasks.spawn("vpn", vpn::keep(Arc::clone(&shared)));
        tasks.spawn("profiles", vpn::look(Platform::new(Arc::clone(&shared)), Arc::clone(&shared)));
        tasks.spawn("hubs", hubs::keep(Arc::clone(&shared)));
        tasks.spawn("nodes", nodes::keep(Arc::clone(&shared)));
        if let Some(bond) = bond {
            tasks.spawn("link", worker::link::keep(Arc::clone(&shared), bond));
            tasks.spawn("fence", worker::link::fence(Arc::clone(&shared)));
        }
        if let Some(receiver) = &shared.receiver {
            let pump = Pump::new(
                shared.store.clone(),
                Arc::clone(&shared.clock) as _,
                Arc::clone(receiver),
                tasks.stopping().clone(),
                tasks::jittered,
            );
            let pump = Arc::new(pump);
            tasks.spawn("notices", Arc::clone(&pump).watch());
            tasks.spawn("outbox", pump.deliver());
        }
        tell_solves(&shared);
        statuses::begin(&shared).await?;
        certificate::settle(&shared).await?;
        Ok(Self { shared })
    }

    /// What the API talks to.
    pub fn platform(&self) -> Platform {
        Platform::new(Arc::clone(&self.shared))
    }

    /// This machine as a node.
    pub fn node(&self) -> LocalNode {
        LocalNode::new(Arc::clone(&self.shared))
    }

    /// Keeps the names of the ingress of this node, which lead to its instances.
    pub fn keep_routes(&self, table: Arc<Table>) {
        self.shared.tasks.spawn("routes", ingress::keep(Arc::clone(&self.shared), table));
    }

    /// Tells people how the certificate of the ingress of this node stands.
    pub fn tell_certificate(&self, state: tokio::sync::watch::Receiver<CertificateState>) {
        self.shared
            .tasks
            .spawn("certificate-told", certificate::tell(Arc::clone(&self.shared), state));
    }

    /// The table of tasks, for what the wiring adds.
    pub fn tasks(&self) -> tasks::Tasks {
        self.shared.tasks.clone()
    }

    /// Ends every loop after the engine calls that are under way. Instances keep running.
    pub async fn stop(self) {
        self.shared.tasks.join(STOP_PATIENCE).await;
    }
}

/// Where the loops get their work from.
struct Inbox {
    looks: mpsc::Receiver<source::Looker>,
    reports: mpsc::UnboundedReceiver<BuildReport>,
}

/// Puts the parts together; nothing runs yet.
fn prepare(parts: Parts) -> Result<(Arc<Shared>, Inbox), StartError> {
    let Parts { config, clock, data, store, engine, wall, mirror, loss: _, renderer, bond: _ } =
        parts;
    let webhook = Webhook::open(&config.source.webhook)?;
    let file = config.secrets.identity_file.as_deref();
    let identities = identities::load(file, mirror.remote().is_local())?;
    let (report, reports) = mpsc::unbounded_channel();
    let settings = BuilderSettings {
        n_slots: config.builder.n_slots as usize,
        deadline: Duration::from_secs(u64::from(config.builder.deadline_secs)),
        network: build_network(config.builder.network),
    };
    let clock = Arc::new(Steady::new(clock));
    let builder = Builder::new(Arc::clone(&engine), settings, Arc::clone(&clock) as _, report);
    let (looks_in, looks) = mpsc::channel(64);
    let shared = Shared::new(
        config, clock, data, store, engine, wall, mirror, builder, identities, looks_in, webhook,
        renderer,
    );
    Ok((Arc::new(shared), Inbox { looks, reports }))
}

/// Starts what tells CTFd of solves.
fn tell_solves(shared: &Arc<Shared>) {
    let pump = Arc::new(SolvePump::new(
        shared.store.clone(),
        shared.data.answer_key().clone(),
        Arc::clone(&shared.clock) as _,
        shared.tasks.stopping().clone(),
        tasks::jittered,
    ));
    let (bell, posted) = (Arc::clone(&pump), Arc::clone(shared));
    shared.tasks.spawn("ctfd-bell", async move {
        let stop = posted.tasks.stopping().clone();
        loop {
            tokio::select! {
                // Cancel-safe: a permit that is not taken stays.
                () = posted.solves_due.notified() => bell.ring(),
                () = stop.cancelled() => return,
            }
        }
    });
    shared.tasks.spawn("ctfd", pump.deliver());
}

fn build_network(choice: BuildNetworkChoice) -> BuildNetwork {
    match choice {
        BuildNetworkChoice::Default => BuildNetwork::Default,
        BuildNetworkChoice::None => BuildNetwork::None,
    }
}

/// Makes live what was live at the last stop, from the mirror, without the remote.
async fn restore_live(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let rows = shared.store.live().await?;
    let mirror = Arc::clone(&shared.mirror);
    let policy = shared.policy();
    let read = move || {
        let mut live = LiveSet::new();
        for row in rows {
            match restore_one(&mirror, &policy, &row) {
                Some(challenge) => {
                    live.insert(row.challenge.clone(), challenge);
                }
                None => tracing::error!(
                    challenge.id = %row.challenge, revision = %row.revision,
                    "challenge {} was live and cannot be read from the mirror any more; it comes back with the next look at the remote",
                    row.challenge
                ),
            }
        }
        live
    };
    if let Ok(live) = tokio::task::spawn_blocking(read).await {
        shared.live.store(live);
    }
    Ok(())
}

fn restore_one(mirror: &Mirror, policy: &catalog::Policy, row: &LiveRow) -> Option<LiveChallenge> {
    let tree = mirror.tree(row.revision).ok()?;
    let folder = catalog::load_one(&tree, &row.path, policy).ok()?;
    let challenge = folder.challenge?;
    Some(LiveChallenge { challenge, revision: row.revision, since: row.since })
}
