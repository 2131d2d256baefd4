//! This machine as a node: what its platform, or anybody with the contract's client, may ask of it.
//!
//! [`LocalNode`] is [`Node`] over the daemon's own loops: an order becomes a row, and the row's worker
//! does the rest, as for any instance. The embedded node of a platform and `flagops node` are this one.
//!
//! # Invariants
//! * An id that is known is never started a second time, whatever comes with the order.
//! * Answers of an order are kept before its row: a row without them cannot be.
//! * Nothing is started from another tree than the platform has seen, and nothing by order of an older
//!   generation than this node has followed.
//!
//! # Not here
//! The wire (`api::node`), heartbeats and what is live (`link`), who decides where an instance goes
//! (`daemon::nodes`).

pub(crate) mod link;
mod start;
mod supply;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::capture::CaptureError;
use super::nodes::images;
use super::platform::{Content, Platform, PlatformError};
use super::shared::{Shared, Swap};
use super::{capture, leases, queue, specs, vpn};
use crate::builder::{Supplied, Supplier};
use crate::config::RegistryConfig;
use crate::model::{
    BuildKey, BuildState, Caller, ChallengeId, Endpoint, EndpointKind, Instance, InstanceId,
    InstancePhase, InstanceStatus, StopReason,
};
use crate::node::wire::{
    AgentRuntime, BuildAllReply, BuildReply, BuildStates, Container, FileEntry, Health,
    InstanceExtras, InstanceState, RescanReply, ResetOrder, Service, ShellOrder, StartOrder,
    Surface, Vpn, VpnOrder, VpnSessions,
};
use crate::node::{Node, NodeError, NodeFile, Outcome};
use crate::planner::lifecycle;
use crate::release::spec::Profile;
use crate::runtime::{ContainerState, EngineError, Terminal};
use crate::store::{Given, InstanceFilter, StoreError, Which};
use crate::telemetry::Chain;

/// Why an instance was taken down while the platform was not heard of. It may be made again.
pub(crate) const FENCED: &str =
    "the platform was not heard of for too long; it is made anew as soon as it is";
/// Lines of each container's output that are handed out.
const LOG_LINES: u32 = 1000;
/// How long the end of an instance is waited for.
const STOP_PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a row that is waited for and of which nothing is heard.
const LOOK: Duration = Duration::from_secs(1);
/// Largest file that is handed to the platform.
const MAX_FILE: u64 = 256 << 20;
/// Most characters of a build error.
const MAX_ERROR: usize = 800;

/// What this machine is as a node.
pub(crate) struct Worker {
    /// What the platform gave, by instance.
    given: Swap<BTreeMap<InstanceId, Given>>,
    /// Whoever changes that holds it.
    turn: tokio::sync::Mutex<()>,
    /// Whether this daemon follows a platform instead of deciding what is live.
    follows: std::sync::atomic::AtomicBool,
    /// When the platform was last heard of.
    heard: Mutex<Option<Instant>>,
    /// Why a newer generation of the platform is refused.
    mismatch: Mutex<String>,
    /// The newest generation that was followed.
    generation: AtomicU32,
    /// Its release.
    release: Mutex<String>,
    /// Rings when a heartbeat should go out at once.
    pub(crate) poke: Notify,
}

impl Worker {
    pub(crate) fn new() -> Self {
        Self {
            given: Swap::default(),
            turn: tokio::sync::Mutex::default(),
            follows: false.into(),
            heard: Mutex::default(),
            mismatch: Mutex::default(),
            generation: AtomicU32::new(0),
            release: Mutex::default(),
            poke: Notify::new(),
        }
    }

    /// What was given to an instance; `None` for one of this machine's own.
    pub(crate) fn given(&self, id: InstanceId) -> Option<Given> {
        self.given.load().get(&id).cloned()
    }

    /// Whether a platform decides what is live.
    pub(crate) fn follows(&self) -> bool {
        self.follows.load(Ordering::SeqCst)
    }

    /// As if that generation of the platform was followed.
    #[cfg(test)]
    pub(crate) fn follow_generation_for_test(&self, generation: u32) {
        self.generation.store(generation, Ordering::SeqCst);
    }

    /// The platform was heard of just now.
    #[cfg(test)]
    pub(crate) fn hear(&self) {
        *lock(&self.heard) = Some(Instant::now());
    }

    /// From now on a platform decides what is live.
    pub(crate) fn follow(&self) {
        self.follows.store(true, Ordering::SeqCst);
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::SeqCst)
    }
}

/// Who has images that this node need not build.
pub(crate) fn supplier(bond: &link::Bond, registry: &RegistryConfig) -> Arc<dyn Supplier> {
    Arc::new(supply::OfPlatform::new(bond, registry.clone()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Recalls what was given before this daemon started. What belongs to no row goes: it was kept before a
/// row that was never written.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn restore(shared: &Shared) -> Result<(), StoreError> {
    let mut given = shared.store.given().await?;
    for id in given.keys().copied().collect::<Vec<_>>() {
        if shared.store.instance(id).await?.is_none() {
            shared.store.forget_given(id).await?;
            given.remove(&id);
        }
    }
    shared.worker.given.store(given);
    let generation = shared.store.platform_generation().await?;
    shared.worker.generation.store(generation, Ordering::SeqCst);
    Ok(())
}

/// Keeps what was given to an instance.
async fn give(shared: &Shared, id: InstanceId, given: Given) -> Result<(), StoreError> {
    let _turn = shared.worker.turn.lock().await;
    shared.store.give(id, given.clone()).await?;
    let mut all = (*shared.worker.given.load()).clone();
    all.insert(id, given);
    shared.worker.given.store(all);
    Ok(())
}

/// Changes what was given to an instance; `None` where nothing was.
async fn change_given<T>(
    shared: &Shared,
    id: InstanceId,
    change: impl FnOnce(&mut Given) -> Outcome<T>,
) -> Outcome<Option<T>> {
    let _turn = shared.worker.turn.lock().await;
    let mut all = (*shared.worker.given.load()).clone();
    let Some(given) = all.get_mut(&id) else { return Ok(None) };
    let outcome = change(given)?;
    shared.store.give(id, given.clone()).await.map_err(internal)?;
    shared.worker.given.store(all);
    Ok(Some(outcome))
}

/// Forgets an instance that is over: its platform has the archive.
async fn forget(shared: &Shared, id: InstanceId) -> Result<(), StoreError> {
    let _turn = shared.worker.turn.lock().await;
    if shared.store.forget_instance(id).await? {
        let mut all = (*shared.worker.given.load()).clone();
        all.remove(&id);
        shared.worker.given.store(all);
    }
    Ok(())
}

/// This machine, as a node.
#[derive(Clone)]
pub struct LocalNode {
    shared: Arc<Shared>,
    platform: Platform,
}

impl LocalNode {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let platform = Platform::new(Arc::clone(&shared));
        Self { shared, platform }
    }

    /// The platform acts as an operator.
    fn caller() -> Caller {
        Caller::administrator("platform")
    }

    async fn row(&self, id: InstanceId) -> Outcome<Instance> {
        let row = self.shared.store.instance(id).await.map_err(internal)?;
        let is_there = |row: &Instance| {
            row.phase != InstancePhase::Stopped
                && (row.phase != InstancePhase::Removing || row.error.is_some())
        };
        row.filter(is_there).ok_or_else(not_found)
    }

    async fn state(&self, row: &Instance) -> Outcome<InstanceState> {
        let status = match row.status() {
            InstanceStatus::Ready => "ready",
            InstanceStatus::Error => "error",
            InstanceStatus::Starting | InstanceStatus::Stopped => "starting",
        };
        let files = match row.status() {
            InstanceStatus::Ready => self.listed(row).await?,
            InstanceStatus::Starting | InstanceStatus::Error | InstanceStatus::Stopped => {
                Vec::new()
            }
        };
        let now = self.shared.now();
        let given = self.shared.worker.given(row.id);
        let obstacle = self.shared.obstacle_of(row.id).unwrap_or_default();
        Ok(InstanceState {
            instance_id: row.id.to_string(),
            status: status.to_owned(),
            attack_surface: (status == "ready").then(|| surface(&row.surface, files)),
            error: row.error.clone(),
            flagops: Some(InstanceExtras {
                phase: row.phase.as_str().to_owned(),
                endpoints: row.surface.clone(),
                obstacle: obstacle.to_owned(),
                remaining_secs: row.expires_at.millis_since(now) / 1000,
                is_fenced: row.error.as_deref() == Some(FENCED),
                n_resets: row.n_resets,
                n_restarts: row.n_restarts,
                last_death: row.last_death.clone(),
                challenge_id: row.challenge.to_string(),
                team_id: row.team.to_string(),
                competition_id: row.competition.clone(),
                revision: row.revision,
                tree: row.tree,
                age_secs: now.millis_since(row.created_at) / 1000,
                answer_epoch: row.answer_epoch,
                has_answers: given.is_some(),
            }),
        })
    }

    async fn listed(&self, row: &Instance) -> Outcome<Vec<FileEntry>> {
        let files = self.platform.instance_attachments(row).await.map_err(refused)?;
        let entry =
            |it: super::platform::ListedFile| FileEntry { name: it.name, size: it.size_bytes };
        Ok(files.into_iter().map(entry).collect())
    }

    /// Waits until an instance is over, and forgets it.
    async fn await_end(&self, id: InstanceId) -> Outcome<()> {
        let begin = Instant::now();
        let mut bell = self.shared.store.instance_bell();
        while begin.elapsed() < STOP_PATIENCE {
            bell.mark_unchanged();
            let row = self.shared.store.instance(id).await.map_err(internal)?;
            if row.is_none_or(|row| row.phase == InstancePhase::Stopped) {
                return forget(&self.shared, id).await.map_err(internal);
            }
            if !rung(&self.shared, &mut bell).await {
                break;
            }
        }
        Err(NodeError::Failed("it is still being taken down: ask again".to_owned()))
    }

    async fn build_reply(&self, id: &ChallengeId) -> Outcome<BuildReply> {
        let states = self.build_states().await?;
        let found = states.rows.into_iter().find(|row| row.challenge_id == id.as_str());
        found.ok_or_else(|| unknown_challenge(id.as_str()))
    }
}

/// Waits until some row changed, or for a while; false when the daemon stops.
async fn rung(shared: &Shared, bell: &mut tokio::sync::watch::Receiver<()>) -> bool {
    tokio::select! {
        _ = bell.changed() => true,
        is_on = shared.tasks.sleep(LOOK) => is_on,
    }
}

#[async_trait]
impl Node for LocalNode {
    async fn health(&self) -> Outcome<Health> {
        let counts = self.platform.counts().await.map_err(refused)?;
        let node = &self.shared.config.node;
        Ok(Health {
            status: "ok".to_owned(),
            public_url: node.public_url.clone().unwrap_or_default(),
            capacity: link::capacity(&self.shared).await,
            running: counts.running_instances,
            labels: node.labels.clone().unwrap_or_default().0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    async fn readiness(&self) -> Outcome<()> {
        if !self.shared.is_engine_ready() {
            return Err(NodeError::Failed("its container engine does not answer".to_owned()));
        }
        match super::isolation::refusal(&self.shared) {
            Some(why) => Err(NodeError::Failed(format!("its walls are being repaired ({why})"))),
            None => Ok(()),
        }
    }

    async fn start(&self, order: StartOrder) -> Outcome<InstanceState> {
        let row = start::start(&self.shared, &self.platform, order).await?;
        if row.phase == InstancePhase::Failed {
            let why = row.error.as_deref().unwrap_or("it ended before it was usable");
            return Err(NodeError::Failed(format!("Start failed: {why}")));
        }
        self.state(&row).await
    }

    async fn status(&self, id: InstanceId) -> Outcome<InstanceState> {
        let row = self.row(id).await?;
        self.state(&row).await
    }

    async fn instances(&self) -> Outcome<Vec<InstanceState>> {
        let mut states = Vec::new();
        for row in rows(&self.shared).await.map_err(internal)? {
            states.push(self.state(&row).await?);
        }
        Ok(states)
    }

    async fn stop(&self, id: InstanceId) -> Outcome<()> {
        let ended = leases::end(&self.shared, id, StopReason::User).await.map_err(internal)?;
        if ended.is_none() {
            // Over already, or never there; a row that is left of it goes.
            forget(&self.shared, id).await.map_err(internal)?;
            return Err(not_found());
        }
        self.await_end(id).await
    }

    async fn renew(&self, id: InstanceId, ttl_secs: u32) -> Outcome<InstanceState> {
        let row = self.row(id).await?;
        let now = self.shared.now();
        let change = move |row: &mut Instance| lifecycle::renew(row, ttl_secs, now);
        let changed = self.shared.store.change_instance(row.id, change).await.map_err(internal)?;
        let (row, _) = changed.ok_or_else(not_found)?;
        self.state(&row).await
    }

    async fn reset(&self, id: InstanceId, order: ResetOrder) -> Outcome<InstanceState> {
        let row = self.row(id).await?;
        if row.n_resets >= order.n_resets {
            return self.state(&row).await;
        }
        start::check_answers(&self.shared, &row, &order.answers).await?;
        let answers = order.answers.clone();
        let renew = |given: &mut Given| {
            given.answers = answers;
            Ok(())
        };
        if change_given(&self.shared, id, renew).await?.is_none() {
            let given = Given { answers: order.answers, ..Given::default() };
            give(&self.shared, id, given).await.map_err(internal)?;
        }
        let (n_resets, epoch) = (order.n_resets, order.answer_epoch);
        let change = move |row: &mut Instance| {
            let fits = lifecycle::reset(row, lifecycle::Answers::Keep);
            if fits {
                (row.n_resets, row.answer_epoch) = (n_resets, epoch);
            }
            fits
        };
        let changed = self.shared.store.change_instance(id, change).await.map_err(internal)?;
        let (row, is_reset) = changed.ok_or_else(not_found)?;
        if is_reset {
            self.shared.queue.forget(id);
            super::repairs::begin_anew_by_hand(&self.shared, id).await;
            queue::trigger(&self.shared, id);
        }
        self.state(&row).await
    }

    async fn is_healthy(&self, id: InstanceId) -> Outcome<bool> {
        let row = self.row(id).await?;
        let containers = self.shared.engine.containers(Some(id)).await.map_err(unavailable)?;
        let runs = |state: &ContainerState| matches!(state, ContainerState::Running);
        Ok(row.phase == InstancePhase::Ready && containers.iter().all(|it| runs(&it.state)))
    }

    async fn agent_runtime(&self, id: InstanceId) -> Outcome<AgentRuntime> {
        let row = self.row(id).await?;
        let mut target_hosts: Vec<_> = row.surface.iter().map(|it| it.host.clone()).collect();
        target_hosts.sort();
        target_hosts.dedup();
        Ok(AgentRuntime {
            kind: "docker".to_owned(),
            ca_volume: String::new(),
            proxy_url: String::new(),
            ca_cert_pem: String::new(),
            target_hosts,
        })
    }

    async fn logs(&self, id: InstanceId) -> Outcome<String> {
        self.row(id).await?;
        let (caller, id) = (Self::caller(), id.to_string());
        self.platform.logs(&caller, &id, LOG_LINES).await.map_err(refused)
    }

    async fn traffic(&self, id: InstanceId) -> Outcome<Vec<serde_json::Value>> {
        self.row(id).await?;
        let flows = capture::flows_of(&self.shared, id).await.map_err(unread)?;
        flows.iter().map(serde_json::to_value).collect::<Result<_, _>>().map_err(|error| {
            NodeError::Failed(format!("captured traffic cannot be written as JSON: {error}"))
        })
    }

    async fn pcap(&self, id: InstanceId) -> Outcome<Bytes> {
        let row = self.row(id).await?;
        if let Some(captured) =
            capture::of(&self.shared, id).await.map_err(|error| unread(error.into()))?
        {
            return Ok(captured.pcap);
        }
        let why = capture::why_none(&self.shared, &row).await.map_err(internal)?;
        Err(NodeError::NotFound(format!("No capture for this instance: {why}")))
    }

    async fn containers(&self, id: InstanceId) -> Outcome<Vec<Container>> {
        let elsewhere = |_| NodeError::NotFound("Instance not found on this node".to_owned());
        let row = self.row(id).await.map_err(elsewhere)?;
        let stored = specs::of(&self.shared, &row).await.map_err(internal)?;
        let seen = self.shared.engine.containers(Some(id)).await.map_err(unavailable)?;
        let container = |it: crate::runtime::ContainerSeen| {
            let service = it.service.as_ref();
            let spec = stored.as_ref().and_then(|it| {
                it.spec.services.iter().find(|wanted| Some(&wanted.name) == service)
            });
            let is_sidecar = spec.is_some_and(|spec| spec.profile == Profile::Gateway);
            Container {
                name: it.name,
                service: it.service.map(|name| name.to_string()).unwrap_or_default(),
                status: word(&it.state).to_owned(),
                image: it.image,
                is_sidecar,
                exec_ready: it.state == ContainerState::Running,
                privileged: false,
                cap_add: spec.map(|spec| spec.capabilities.clone()).unwrap_or_default(),
            }
        };
        Ok(seen.into_iter().map(container).collect())
    }

    async fn shell(&self, id: InstanceId, order: ShellOrder) -> Outcome<Terminal> {
        let row = self.row(id).await?;
        if !matches!(order.shell.as_str(), "bash" | "sh") {
            return Err(NodeError::Invalid("`shell` is `bash` or `sh`".to_owned()));
        }
        if row.phase != InstancePhase::Ready {
            return Err(NodeError::Invalid("the instance is not running".to_owned()));
        }
        let seen = self.shared.engine.containers(Some(id)).await.map_err(unavailable)?;
        let Some(found) = seen.into_iter().find(|it| it.name == order.container) else {
            let words = "this instance has no such container".to_owned();
            return Err(NodeError::Invalid(words));
        };
        if found.state != ContainerState::Running {
            return Err(NodeError::Invalid("the container is not running".to_owned()));
        }
        let words = [order.shell];
        self.shared.engine.shell(&found.id, &words).await.map_err(unavailable)
    }

    async fn files(&self, id: InstanceId) -> Outcome<Vec<FileEntry>> {
        let row = self.row(id).await?;
        self.listed(&row).await
    }

    async fn file(&self, id: InstanceId, name: &str) -> Outcome<NodeFile> {
        let row = self.row(id).await?;
        let missing = || NodeError::NotFound("attachment not found".to_owned());
        let download = self.platform.instance_attachment(&row, name).await;
        let download = download.map_err(|error| match error {
            PlatformError::AttachmentNotFound => missing(),
            other => refused(other),
        })?;
        let content = match download.content {
            Content::Bytes(bytes) => Bytes::from(bytes),
            Content::File(_, size) if size > MAX_FILE => return Err(missing()),
            Content::File(file, _) => {
                let mut bytes = Vec::new();
                let mut file = tokio::fs::File::from_std(file).take(MAX_FILE);
                file.read_to_end(&mut bytes).await.map_err(|_| missing())?;
                Bytes::from(bytes)
            }
        };
        Ok(NodeFile { content, tag: download.tag })
    }

    async fn openvpn_config(&self, id: InstanceId, holder: Option<Uuid>) -> Outcome<Bytes> {
        let row = self.row(id).await?;
        let missing = || NodeError::NotFound("OpenVPN config not available".to_owned());
        let profile = self.platform.profile_here(&row, holder).await;
        let text = profile.map_err(|error| match error {
            PlatformError::NoVpnProfile { .. }
            | PlatformError::VpnRevoked { .. }
            | PlatformError::Denied(_) => missing(),
            other => refused(other),
        })?;
        Ok(Bytes::from(text))
    }

    async fn admit(&self, id: InstanceId, order: VpnOrder) -> Outcome<()> {
        self.row(id).await?;
        let seats = start::seats(&order)?;
        let change = |given: &mut Given| {
            if order.number < given.vpn_number {
                let text = "a newer order says who may connect: this one is late";
                return Err(NodeError::Conflict(text.to_owned()));
            }
            (given.vpn_seats, given.vpn_number) = (Some(seats), order.number);
            Ok(())
        };
        let changed = change_given(&self.shared, id, change).await?;
        changed.ok_or_else(|| {
            NodeError::Conflict(
                "this node lost the order of this instance: send it again".to_owned(),
            )
        })?;
        self.shared.vpn_due.notify_one();
        Ok(())
    }

    async fn vpn_sessions(&self, id: InstanceId) -> Outcome<VpnSessions> {
        let row = self.row(id).await?;
        let told = vpn::ask(&self.shared, &row, vec!["status".to_owned()]).await;
        let text = told.map_err(|error| NodeError::Failed(Chain(&error).to_string()))?;
        Ok(VpnSessions { text })
    }

    async fn image(&self, key: BuildKey, repository: Option<&str>) -> Outcome<Supplied> {
        let build = self.shared.store.build(key).await.map_err(internal)?;
        let missing = || NodeError::NotFound("this node has no such image".to_owned());
        let id = build.and_then(|build| build.image).ok_or_else(missing)?;
        let handed = images::hand_over(&self.shared, key, id, repository).await;
        handed.map_err(|error| match error {
            EngineError::NotFound { .. } => missing(),
            other => NodeError::Failed(Chain(&other).to_string()),
        })
    }

    async fn stop_all(&self) -> Outcome<()> {
        for row in rows(&self.shared).await.map_err(internal)? {
            match self.stop(row.id).await {
                Ok(()) | Err(NodeError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn rescan(&self) -> Outcome<RescanReply> {
        let ids = |states: &[super::platform::ChallengeState]| -> Vec<String> {
            let here = states.iter().filter(|state| state.head_tree.is_some());
            here.map(|state| state.id.to_string()).collect()
        };
        let before = ids(&self.platform.challenge_states().await.map_err(refused)?);
        self.platform.reconcile_now().await.map_err(refused)?;
        let after = ids(&self.platform.challenge_states().await.map_err(refused)?);
        let only_in = |these: &[String], those: &[String]| {
            these.iter().filter(|id| !those.contains(id)).cloned().collect()
        };
        Ok(RescanReply {
            total: u32::try_from(after.len()).unwrap_or(u32::MAX),
            added: only_in(&after, &before),
            removed: only_in(&before, &after),
        })
    }

    async fn build(&self, id: ChallengeId) -> Outcome<BuildReply> {
        let before = self.build_reply(&id).await?;
        if before.status == BuildState::Building.as_str() {
            return Err(NodeError::Conflict(format!("Challenge is being built already: {id}")));
        }
        self.platform.rebuild(id.as_str()).await.map_err(refused)?;
        let status = BuildState::Building.as_str().to_owned();
        Ok(BuildReply { status, built_at: 0.0, error: String::new(), ..before })
    }

    async fn build_all(&self) -> Outcome<BuildAllReply> {
        let mut reply = BuildAllReply::default();
        for row in self.build_states().await?.rows {
            match BuildState::from_word(&row.status) {
                Some(BuildState::Built) => reply.skipped_built.push(row.challenge_id),
                Some(BuildState::Building) => reply.skipped_in_progress.push(row.challenge_id),
                Some(BuildState::Unbuilt | BuildState::Failed) | None => {
                    match self.platform.rebuild(&row.challenge_id).await {
                        Ok(()) => reply.queued.push(row.challenge_id),
                        // Gone or invalid since we looked: nothing to build.
                        Err(PlatformError::ChallengeNotFound { .. }) => {}
                        Err(error) => return Err(refused(error)),
                    }
                }
            }
        }
        Ok(reply)
    }

    async fn build_states(&self) -> Outcome<BuildStates> {
        let states = self.platform.challenge_states().await.map_err(refused)?;
        let rows = states.into_iter().map(|state| {
            let finished = state.builds.iter().filter_map(|build| build.finished_at).max();
            let built_at = finished.filter(|_| state.build == BuildState::Built);
            let error =
                state.builds.iter().find_map(|build| build.error.clone()).unwrap_or_default();
            let n_chars = error.chars().count();
            BuildReply {
                challenge_id: state.id.to_string(),
                status: state.build.as_str().to_owned(),
                built_at: built_at.map_or(0.0, crate::model::Timestamp::as_secs_f64),
                error: error.chars().skip(n_chars.saturating_sub(MAX_ERROR)).collect(),
            }
        });
        Ok(BuildStates { rows: rows.collect() })
    }
}

/// Every instance of this node that is not over; our own canaries and probers are nobody else's.
async fn rows(shared: &Shared) -> Result<Vec<Instance>, StoreError> {
    let filter = InstanceFilter { which: Which::LiveOrFailed, ..InstanceFilter::default() };
    let mut rows = shared.store.instances(filter).await?;
    rows.retain(|row| {
        let is_ours = row.is_canary() || row.competition == super::isolation::COMPETITION;
        !is_ours && (row.phase != InstancePhase::Removing || row.error.is_some())
    });
    Ok(rows)
}

/// Where players attack, in the words of the contract.
fn surface(endpoints: &[Endpoint], provided_files: Vec<FileEntry>) -> Surface {
    let service = |it: &Endpoint| Service {
        service_type: it.public_kind().as_str().to_owned(),
        host: it.host.clone(),
        port: it.public_port(),
        credentials: None,
        path: "/".to_owned(),
        label: it.service.to_string(),
    };
    let vpn = endpoints.iter().find(|it| it.kind == EndpointKind::Vpn).map(|it| Vpn {
        proto: "udp".to_owned(),
        host: it.host.clone(),
        port: it.port,
        config_url: String::new(),
    });
    Surface {
        services: endpoints.iter().filter(|it| it.kind != EndpointKind::Vpn).map(service).collect(),
        provided_files,
        flag_path: None,
        vpn,
    }
}

/// The engine's word.
fn word(state: &ContainerState) -> &str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Exited { .. } => "exited",
        ContainerState::Other(word) => word,
    }
}

fn not_found() -> NodeError {
    NodeError::NotFound("Instance not found".to_owned())
}

fn unknown_challenge(id: &str) -> NodeError {
    let id: String = id.chars().take(80).collect();
    NodeError::NotFound(format!("Challenge not found on this node: {id}"))
}

fn unread(error: CaptureError) -> NodeError {
    tracing::error!(error = %Chain(&error), "captured packets could not be handed to the platform");
    NodeError::Failed("internal error of the node".to_owned())
}

fn internal(error: StoreError) -> NodeError {
    tracing::error!(error = %crate::telemetry::Chain(&error), "a request of the platform failed");
    NodeError::Failed("internal error of the node".to_owned())
}

fn unavailable(error: crate::runtime::EngineError) -> NodeError {
    NodeError::Failed(format!("the container engine of the node is not available ({error})"))
}

fn refused(error: PlatformError) -> NodeError {
    match error {
        PlatformError::InstanceNotFound { .. } => not_found(),
        PlatformError::ChallengeNotFound { id } => unknown_challenge(&id),
        PlatformError::Internal(cause) => {
            tracing::error!(error = %crate::telemetry::Chain(cause.as_ref()), "a request of the platform failed");
            NodeError::Failed("internal error of the node".to_owned())
        }
        other => NodeError::Failed(other.to_string()),
    }
}
