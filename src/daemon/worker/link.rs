//! A node's side of the bond with its platform: heartbeats out, what is live and what to build in.
//!
//! # Invariants
//! * What goes live here is worked out from this node's own mirror: a manifest that it does not come to
//!   by itself is refused, and the platform is told why.
//! * A generation that was followed is never gone back from.
//! * A platform that is silent changes nothing, but for instances that would be made anew elsewhere:
//!   those are taken down before that can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::super::shared::{Shared, Statement};
use super::super::{builds, isolation, queue, releases, source};
use super::{FENCED, lock, rows};
use crate::catalog::Catalog;
use crate::model::{
    ChallengeId, ConditionStatus, ConditionType, InstancePhase, InstanceStatus, NodeId, NodeReport,
    Revision, Scope, StopReason,
};
use crate::node::client::HttpPlatform;
use crate::node::identity::Identity;
use crate::node::wire::{Beating, Heartbeat, HeartbeatReply, LiveReply};
use crate::node::{NodeError, Outcome};
use crate::planner::lifecycle;
use crate::release::manifest::{Cause, Entry, Manifest};
use crate::runtime::EngineInfo;
use crate::store::NewGeneration;
use crate::telemetry::Chain;
use crate::telemetry::load::{CpuTime, memory_percent};

/// Between two looks whether the platform is silent for too long.
const FENCE_LOOK: Duration = Duration::from_secs(1);
/// Most images that are reported.
const MAX_BUILDS: usize = 5_000;
/// The priority of what a release waits for (`contract/gitops.md` §4.8).
const RELEASE: i32 = 80;

/// What a node needs to keep the bond.
pub struct Bond {
    /// The platform.
    pub platform: HttpPlatform,
    /// Who this node is to it.
    pub identity: Identity,
}

/// Instances that this machine takes on: as configured, else twice its processors or its GiB of
/// memory, whichever is less.
pub(crate) async fn capacity(shared: &Shared) -> u32 {
    match shared.config.node.capacity {
        0 => shared.engine.info().await.map_or(0, |info| default_capacity(&info)),
        configured => configured,
    }
}

fn default_capacity(info: &EngineInfo) -> u32 {
    let gib = u32::try_from(info.memory_bytes >> 30).unwrap_or(u32::MAX);
    info.n_cpus.saturating_mul(2).min(gib).max(1)
}

/// Keeps the bond until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>, bond: Bond) {
    let life = uuid::Uuid::new_v4().as_simple().to_string();
    let interval = Duration::from_secs(shared.config.node.heartbeat_secs.into());
    let mut beat = 0;
    let mut cpu = CpuTime::read();
    let mut wanted = BTreeSet::new();
    loop {
        beat += 1;
        let now = CpuTime::read();
        let node = &bond.identity.node;
        let heartbeat = heartbeat(&shared, node, (&life, beat), now.percent_since(cpu)).await;
        cpu = now;
        let outcome = bond.platform.heartbeat(&bond.identity.token, &heartbeat).await;
        state(&shared, &bond, &outcome).await;
        if let Ok(reply) = outcome {
            *lock(&shared.worker.heard) = Some(Instant::now());
            follow(&shared, &bond, &reply).await;
            build(&shared, &reply, &mut wanted).await;
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = shared.worker.poke.notified() => {}
            () = shared.tasks.stopping().cancelled() => return,
        }
    }
}

/// How this node stands, as its platform reads it.
pub(crate) async fn heartbeat(
    shared: &Shared,
    node: &NodeId,
    (life, beat): (&str, u64),
    cpu_percent: f64,
) -> Heartbeat {
    let instances = rows(shared).await.unwrap_or_default();
    let beating: Vec<_> = instances
        .iter()
        .map(|row| Beating {
            id: row.id.to_string(),
            status: match row.status() {
                InstanceStatus::Ready => "ready",
                InstanceStatus::Error => "error",
                InstanceStatus::Starting | InstanceStatus::Stopped => "starting",
            }
            .to_owned(),
            n_resets: row.n_resets,
            n_restarts: row.n_restarts,
        })
        .collect();
    let info = shared.engine.info().await.ok();
    let disk = shared.engine.disk().await.ok().flatten();
    let mut builds = shared.store.build_states().await.unwrap_or_default();
    while builds.len() > MAX_BUILDS {
        builds.pop_last();
    }
    let network = &shared.config.network;
    let running = beating.iter().filter(|it| it.status != "error").count();
    let closed = match (&info, isolation::refusal(shared)) {
        (None, _) => "its container engine does not answer".to_owned(),
        (Some(_), Some(why)) => format!("its walls are being repaired ({why})"),
        (Some(_), None) => String::new(),
    };
    let exports = exports(shared).await;
    let (release, mismatch) =
        (lock(&shared.worker.release).clone(), lock(&shared.worker.mismatch).clone());
    let report = NodeReport {
        running: u32::try_from(running).unwrap_or(u32::MAX),
        cpu_percent,
        memory_percent: memory_percent(),
        disk_percent: disk
            .map_or(0.0, |disk| f64::from(u32::try_from(disk.used_percent()).unwrap_or(100))),
        sampled_at: shared.now().as_secs_f64(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        architecture: architecture().to_owned(),
        runtimes: info
            .as_ref()
            .map(|info| isolation::runtimes(shared, info.runtimes.clone()))
            .unwrap_or_default(),
        memory_bytes: info.as_ref().map_or(0, |info| info.memory_bytes),
        cpu_millis: info.as_ref().map_or(0, |info| u64::from(info.n_cpus) * 1000),
        n_ports: u32::from(network.last_port.saturating_sub(network.first_port)) + 1,
        closed,
        generation: shared.worker.generation(),
        release,
        mismatch,
        builds,
        exports,
    };
    let capacity = match shared.config.node.capacity {
        0 => info.as_ref().map_or(0, default_capacity),
        configured => configured,
    };
    Heartbeat {
        node_id: node.to_string(),
        capacity,
        beat,
        life: life.to_owned(),
        report,
        instances: beating,
        conditions: super::super::nodes::told::own(shared).await.unwrap_or_default(),
    }
}

/// The engine's word for the processors of this machine.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What was taken out of the images of this node for players, by image key and path: the platform
/// compares them.
async fn exports(shared: &Shared) -> BTreeMap<String, String> {
    shared.store.exports_by_key(&NodeId::local()).await.unwrap_or_default()
}

async fn state(shared: &Shared, bond: &Bond, outcome: &Outcome<HeartbeatReply>) {
    let (status, reason, message) = match outcome {
        Ok(_) => (
            ConditionStatus::True,
            "Ok",
            format!("the platform {} takes heartbeats", bond.identity.platform),
        ),
        Err(NodeError::Unauthorized(why) | NodeError::NotFound(why)) => (
            ConditionStatus::False,
            "Forgotten",
            format!(
                "the platform {} does not know this node any more ({why}): instances go on; join again with `flagops node --invite` and a new invite",
                bond.identity.platform
            ),
        ),
        Err(error) => (
            ConditionStatus::False,
            "PlatformSilent",
            format!(
                "the platform {} does not take heartbeats ({error}): instances go on, leases end in time, and it is tried again",
                bond.identity.platform
            ),
        ),
    };
    let (scope, kind) = (Scope::Node(NodeId::local()), ConditionType::NodeConnected);
    shared.state(Statement { scope, kind, status, reason, message, revision: None }).await;
}

/// Makes live what is live on the platform, if this node comes to the same by itself.
async fn follow(shared: &Arc<Shared>, bond: &Bond, reply: &HeartbeatReply) {
    let followed = shared.worker.generation();
    let is_same = *lock(&shared.worker.release) == reply.release;
    if reply.generation == 0
        || reply.generation < followed
        || (reply.generation == followed && is_same)
    {
        return;
    }
    let live = match bond.platform.live(&bond.identity.token).await {
        Ok(live) => live,
        Err(error) => {
            tracing::warn!(error = %error, "could not ask the platform what is live");
            return;
        }
    };
    let verdict = adopt(shared, live).await;
    let (status, reason, message) = match &verdict {
        Ok(()) => (ConditionStatus::True, "Live", "it has what the platform has".to_owned()),
        Err(why) => (ConditionStatus::False, "ReleaseMismatch", why.clone()),
    };
    if let Err(why) = &verdict {
        tracing::error!("a release of the platform is refused: {why}");
    }
    *lock(&shared.worker.mismatch) = verdict.err().unwrap_or_default();
    let (scope, kind) = (Scope::Node(NodeId::local()), ConditionType::Released);
    shared.state(Statement { scope, kind, status, reason, message, revision: None }).await;
}

/// Works a release out from this node's own mirror and makes it live; else why not.
async fn adopt(shared: &Arc<Shared>, live: LiveReply) -> Result<(), String> {
    let LiveReply { generation, release, manifest } = live;
    if generation < shared.worker.generation() {
        return Err(format!("generation {generation} is older than the one that is followed"));
    }
    if manifest.id().as_str() != release {
        return Err(format!("what was sent is not release {release}"));
    }
    fetch(shared, &manifest).await;
    let own = derive(shared, &manifest).await?;
    if own.id() != manifest.id() {
        let theirs = &manifest.challenges;
        let differs = own.challenges.iter().find(|(id, entry)| theirs.get(*id) != Some(*entry));
        let which = differs.map_or_else(String::new, |(id, _)| format!(": {id} differs"));
        return Err(format!(
            "ReleaseMismatch: this node comes to release {} from its own mirror, the platform to {}{which}",
            own.id().short(),
            manifest.id().short()
        ));
    }
    releases::check_trust(shared, &manifest).await?;
    let head = Arc::clone(&shared.head.load().catalog);
    let next = releases::flip::resolve(shared, &manifest, vec![head])
        .await
        .map_err(|error| error.to_string())?;
    let mut by_revision: BTreeMap<Revision, Vec<_>> = BTreeMap::new();
    for live in next.values() {
        by_revision.entry(live.revision).or_default().push(Arc::clone(&live.challenge));
    }
    let _turn = shared.release_turn.acquire().await;
    let cause = if manifest.tag.is_some() { Cause::Tag } else { Cause::Branch };
    let why = format!("generation {generation} of the platform");
    let new = NewGeneration::of(manifest, cause, "platform".to_owned(), why);
    let flipped = releases::flip::flip(shared, new, next).await;
    flipped.map_err(|error| Chain(&error).to_string())?;
    let noted = shared.store.note_platform_generation(generation).await;
    noted.map_err(|error| Chain(&error).to_string())?;
    shared.worker.generation.store(generation, Ordering::SeqCst);
    *lock(&shared.worker.release) = release;
    for (revision, challenges) in by_revision {
        builds::want_of(shared, revision, challenges, RELEASE).await;
    }
    Ok(())
}

/// Looks at the remote once when the mirror lacks a commit of the manifest.
async fn fetch(shared: &Arc<Shared>, manifest: &Manifest) {
    let revisions: BTreeSet<Revision> = manifest
        .challenges
        .values()
        .map(|entry| entry.revision)
        .chain([manifest.revision])
        .collect();
    let mirror = Arc::clone(&shared.mirror);
    let lacks = move || revisions.into_iter().any(|revision| mirror.tree(revision).is_err());
    if tokio::task::spawn_blocking(lacks).await.unwrap_or(true) {
        let (done, looked) = tokio::sync::oneshot::channel();
        if shared.looks.send(done).await.is_ok() {
            let _ = looked.await;
        }
    }
}

/// The same manifest, with every entry read from this node's own mirror.
async fn derive(shared: &Arc<Shared>, manifest: &Manifest) -> Result<Manifest, String> {
    let mut catalogs: BTreeMap<Revision, Arc<Catalog>> = BTreeMap::new();
    let mut own: BTreeMap<ChallengeId, Entry> = BTreeMap::new();
    for (id, entry) in &manifest.challenges {
        let catalog = match catalogs.get(&entry.revision) {
            Some(catalog) => Arc::clone(catalog),
            None => {
                let previous = Arc::clone(&shared.head.load().catalog);
                let read = source::read(shared, entry.revision, previous).await;
                let read = read.map_err(|error| {
                    format!(
                        "this node cannot read commit {} ({}): does it reach the repository?",
                        entry.revision.short(),
                        Chain(&error)
                    )
                })?;
                let catalog = Arc::new(read);
                catalogs.insert(entry.revision, Arc::clone(&catalog));
                catalog
            }
        };
        let folder = catalog.folders.get(id).and_then(|folder| folder.challenge.as_ref());
        let challenge = folder.ok_or_else(|| {
            format!(
                "ReleaseMismatch: {id} is no valid challenge at {} here",
                entry.revision.short()
            )
        })?;
        let read = crate::release::gate::entry(challenge, entry.revision);
        own.insert(id.clone(), Entry { disposition: entry.disposition, ..read });
    }
    Ok(Manifest { challenges: own, ..manifest.clone() })
}

/// Asks for the images of the commits that the platform waits for.
async fn build(shared: &Arc<Shared>, reply: &HeartbeatReply, wanted: &mut BTreeSet<Revision>) {
    wanted.retain(|revision| reply.build.contains(revision));
    for revision in reply.build.iter().take(8) {
        if wanted.contains(revision) {
            continue;
        }
        let previous = Arc::clone(&shared.head.load().catalog);
        match source::read(shared, *revision, previous).await {
            Ok(catalog) => {
                let folders = catalog.folders.values();
                let challenges = folders.filter_map(|folder| folder.challenge.clone()).collect();
                builds::want_of(shared, *revision, challenges, RELEASE).await;
                wanted.insert(*revision);
            }
            Err(error) => {
                tracing::debug!(error = %Chain(&error), revision = %revision, "a commit is not here yet");
                // The next look brings it; it is asked for in the background.
                let (done, _) = tokio::sync::oneshot::channel();
                let _ = shared.looks.try_send(done);
            }
        }
    }
}

/// Takes instances down that would be made anew elsewhere, when the platform is silent for too long.
pub(crate) async fn fence(shared: Arc<Shared>) {
    let begin = Instant::now();
    while shared.tasks.sleep(FENCE_LOOK).await {
        let heard = lock(&shared.worker.heard).unwrap_or(begin);
        let silent = heard.elapsed().as_secs();
        let given = shared.worker.given.load();
        let is_due = |secs: u32| secs > 0 && silent >= u64::from(secs);
        if !given.values().any(|given| is_due(given.fence_secs)) {
            continue;
        }
        let Ok(rows) = rows(&shared).await else { continue };
        for row in rows {
            let due = given.get(&row.id).is_some_and(|given| is_due(given.fence_secs));
            if !due || !row.phase.is_live() || row.phase == InstancePhase::Removing {
                continue;
            }
            let n_resets = row.n_resets;
            let change = move |row: &mut crate::model::Instance| {
                let fits = lifecycle::fail(row, n_resets, FENCED.to_owned());
                if fits {
                    row.stop_reason = Some(StopReason::NodeUnhealthy);
                }
                fits
            };
            if let Ok(Some((row, true))) = shared.store.change_instance(row.id, change).await {
                tracing::warn!(
                    instance.id = %row.id,
                    "instance {} is taken down: the platform was not heard of for {silent} s, and may make it anew elsewhere", row.id
                );
                queue::trigger(&shared, row.id);
            }
        }
    }
}
