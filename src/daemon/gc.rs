//! Makes room on the disk of the engine: removes images that nothing needs any more.
//!
//! Every few minutes, and after each build, it looks at the disk. Over the high mark it lists our
//! images, reads from the database what needs which, plans (`planner::gc`, pure), carries out the
//! first step, and looks again. What is planned is planned anew before each removal.
//!
//! # Invariants
//! * What could not be read pins everything: a failed look removes nothing.
//! * While an image is taken away nobody asks for images, so a removed one is always wanted anew.
//! * The row goes before the image: an image without a row is found again by its key, a row
//!   without an image would be a promise.
//! * Running instances, starts and builds under way are never touched or delayed.
//!
//! # Not here
//! Which image may go (`planner::gc`), what remembers versions and uses (`store::images`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::executor::Fault;
use super::platform::LiveSet;
use super::shared::{Head, Shared, Statement};
use super::{capture, records};
use crate::catalog::Catalog;
use crate::config::{BuildCache, GcConfig};
use crate::model::{
    BuildKey, BuildState, ChallengeId, ConditionStatus, ConditionType, Disk, NodeId, Scope,
    ServiceName,
};
use crate::planner::gc::{
    self, CacheRule, Coverage, GcImage, GcPhase, GcPlan, GcSettings, GcView, Pin, Pins, Pressure,
};
use crate::release::identity::build_units;
use crate::runtime::{EngineError, ImageSeen};
use crate::store::ImageFacts;

/// Between two looks at a disk that nothing happened to.
const EVERY: Duration = Duration::from_secs(300);

/// Before the next look while the disk is over the high mark: an instance that ends, a version that
/// goes live, or somebody else may have made room.
const SOON: Duration = Duration::from_secs(30);

/// A burst of finished builds is one look.
const BURST: Duration = Duration::from_millis(200);

/// What a garbage collection found and did, or would do.
#[derive(Debug, Clone)]
pub struct GcReport {
    /// The marks it went by.
    pub settings: GcSettings,
    /// The disk as it was found; `None` when it cannot be seen from here.
    pub disk_before: Option<Disk>,
    /// The disk as it is now.
    pub disk: Option<Disk>,
    /// Size of the build cache, when it may be trimmed and is known.
    pub cache_bytes: Option<u64>,
    /// How many bytes the build cache was made smaller by, if it was.
    pub trimmed_bytes: Option<u64>,
    /// What was removed, in that order.
    pub removed: Vec<GcImage>,
    /// What is left to do, and what is held and why.
    pub plan: GcPlan,
    /// Whether new builds wait.
    pub are_builds_paused: bool,
    /// What images were built for.
    pub built_for: BTreeMap<BuildKey, (ChallengeId, ServiceName)>,
}

/// Keeps the disk below its mark until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    loop {
        let pause = if shared.is_engine_ready() { tend(&shared).await } else { EVERY };
        records::prune(&shared).await;
        capture::prune(&shared).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Cancel-safe: a ring that nobody waited for is kept.
            () = shared.disk_doubt.notified() => tokio::time::sleep(BURST).await,
            () = shared.tasks.stopping().cancelled() => return,
        }
    }
}

/// One look, and what follows from it; when to look again.
async fn tend(shared: &Arc<Shared>) -> Duration {
    match try_tend(shared).await {
        Ok(pause) => pause,
        Err(error) => {
            tracing::warn!(
                error = %crate::telemetry::chain::Chain(&error),
                "could not look after the disk of the container engine; no image is removed until that works"
            );
            EVERY
        }
    }
}

async fn try_tend(shared: &Arc<Shared>) -> Result<Duration, Fault> {
    // What needs which image is read from the database.
    if shared.awaits_acceptance() {
        return Ok(EVERY);
    }
    let settings = settings(&shared.config.gc);
    let disk = shared.engine.disk().await?;
    let is_over = disk.is_some_and(|disk| disk.is_at(settings.high_percent));
    if !is_over && settings.cache == CacheRule::Leave {
        // The usual case costs one question.
        settle(shared, if disk.is_some() { Pressure::Fine } else { Pressure::Unknown }).await;
        return Ok(EVERY);
    }
    Ok(match run(shared).await?.plan.pressure {
        Pressure::HighWatermark | Pressure::NothingToFree => SOON,
        Pressure::Fine | Pressure::Unknown => EVERY,
    })
}

/// Frees what may be freed until the disk is at the low mark, and states how it is.
pub(crate) async fn run(shared: &Arc<Shared>) -> Result<GcReport, Fault> {
    let _turn = shared.gc_turn.acquire().await;
    let mut run = Run::begin(shared).await?;
    loop {
        let is_done = run.step().await?;
        if is_done || shared.tasks.stopping().is_cancelled() {
            break;
        }
    }
    settle(shared, run.plan.pressure).await;
    Ok(run.report())
}

/// What [`run`] would do now.
pub(crate) async fn look(shared: &Arc<Shared>) -> Result<GcReport, Fault> {
    let mut run = Run::begin(shared).await?;
    run.plan().await?;
    Ok(run.report())
}

/// One garbage collection.
struct Run<'a> {
    shared: &'a Arc<Shared>,
    settings: GcSettings,
    /// As listed at the beginning, less what is gone.
    images: Vec<ImageSeen>,
    /// Those that the engine would not remove.
    refused: BTreeSet<String>,
    disk_before: Option<Disk>,
    disk: Option<Disk>,
    phase: GcPhase,
    cache_bytes: Option<u64>,
    is_trimmed: bool,
    trimmed_bytes: Option<u64>,
    removed: Vec<GcImage>,
    built_for: BTreeMap<BuildKey, (ChallengeId, ServiceName)>,
    plan: GcPlan,
}

impl<'a> Run<'a> {
    async fn begin(shared: &'a Arc<Shared>) -> Result<Self, Fault> {
        let settings = settings(&shared.config.gc);
        let disk = shared.engine.disk().await?;
        let cache_bytes = match settings.cache {
            CacheRule::Leave => None,
            CacheRule::Trim { .. } => cache_bytes(shared).await,
        };
        let images = shared.engine.images().await?;
        let plan = GcPlan {
            trim_cache_to: None,
            remove: Vec::new(),
            held: Vec::new(),
            pressure: Pressure::Unknown,
        };
        Ok(Self {
            shared,
            settings,
            images,
            refused: BTreeSet::new(),
            disk_before: disk,
            disk,
            phase: GcPhase::Watching,
            cache_bytes,
            is_trimmed: false,
            trimmed_bytes: None,
            removed: Vec::new(),
            built_for: BTreeMap::new(),
            plan,
        })
    }

    /// Plans anew and does the first thing of the plan; true when there is none.
    async fn step(&mut self) -> Result<bool, Fault> {
        // Held from reading the pins to the end of the removal.
        let turn = self.shared.image_turn.acquire().await;
        self.plan().await?;
        if self.plan.pressure == Pressure::HighWatermark {
            settle(self.shared, Pressure::HighWatermark).await;
            self.phase = GcPhase::Freeing;
        }
        if let Some(keep_bytes) = self.plan.trim_cache_to {
            drop(turn);
            self.trim(keep_bytes).await?;
            return Ok(false);
        }
        let Some(image) = self.plan.remove.first().cloned() else { return Ok(true) };
        self.remove(image).await?;
        Ok(false)
    }

    async fn plan(&mut self) -> Result<(), Fault> {
        let shared = self.shared;
        let facts = shared.store.image_facts().await?;
        for (key, fact) in &facts.builds {
            let built_for = || (fact.challenge.clone(), fact.service.clone());
            self.built_for.entry(*key).or_insert_with(built_for);
        }
        let (pins, coverage) = pins(
            &facts,
            &shared.head.load(),
            shared.releases.candidate().as_ref().map(|it| &*it.catalog),
            &shared.live.load(),
        );
        let view = GcView {
            images: self.images.iter().map(|image| self.image(image, &facts)).collect(),
            coverage,
            disk: self.disk,
            phase: self.phase,
            // Once is all that a trim can do.
            cache_bytes: self.cache_bytes.filter(|_| !self.is_trimmed),
        };
        self.plan = gc::plan(&view, &pins, &self.settings, shared.now());
        Ok(())
    }

    fn image(&self, seen: &ImageSeen, facts: &ImageFacts) -> GcImage {
        let build = seen.build_key.and_then(|key| facts.builds.get(&key));
        let is_it = |image: &Option<String>| image.as_deref() == Some(seen.id.as_str());
        let built_at = build.filter(|build| is_it(&build.image)).and_then(|it| it.finished_at);
        GcImage {
            id: seen.id.clone(),
            key: seen.build_key,
            size_bytes: seen.size_bytes,
            last_use: seen.made_at.max(built_at).max(facts.uses.get(&seen.id).copied()),
            is_refused: self.refused.contains(&seen.id),
        }
    }

    async fn trim(&mut self, keep_bytes: u64) -> Result<(), Fault> {
        self.is_trimmed = true;
        let freed_bytes = self.shared.engine.trim_build_cache(keep_bytes).await?;
        tracing::info!(cache.freed_bytes = freed_bytes, "trimmed the engine's build cache");
        self.trimmed_bytes = Some(freed_bytes);
        self.cache_bytes = self.cache_bytes.map(|size| size.saturating_sub(freed_bytes));
        self.disk = self.shared.engine.disk().await?;
        Ok(())
    }

    async fn remove(&mut self, image: GcImage) -> Result<(), Fault> {
        let (engine, store) = (&self.shared.engine, &self.shared.store);
        if let Some(key) = image.key {
            store.forget_build(key, image.id.clone()).await?;
        }
        match engine.remove_image(&image.id).await {
            Ok(()) => {}
            Err(
                error @ (EngineError::Refused { .. }
                | EngineError::Conflict { .. }
                | EngineError::NotOurs { .. }),
            ) => {
                tracing::debug!(image.id, error = %error, "an image is in use, so it stays");
                self.refused.insert(image.id);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        store.forget_use(image.id.clone()).await?;
        let before = self.disk.map(|disk| disk.used_bytes);
        self.disk = engine.disk().await?;
        let after = self.disk.map(|disk| disk.used_bytes);
        let freed_bytes = before.zip(after).map(|(before, after)| before.saturating_sub(after));
        let name = image.key.and_then(|key| self.built_for.get(&key));
        let name = name.map_or_else(
            || "an image of no known challenge".to_owned(),
            |(challenge, service)| format!("an image of {challenge}/{service}"),
        );
        tracing::info!(
            image.id,
            image.size_bytes,
            disk.freed_bytes = freed_bytes,
            "removed {name} that nothing needs any more"
        );
        self.images.retain(|seen| seen.id != image.id);
        self.removed.push(image);
        Ok(())
    }

    fn report(self) -> GcReport {
        GcReport {
            settings: self.settings,
            disk_before: self.disk_before,
            disk: self.disk,
            cache_bytes: self.cache_bytes,
            trimmed_bytes: self.trimmed_bytes,
            removed: self.removed,
            plan: self.plan,
            are_builds_paused: self.shared.builder.is_paused(),
            built_for: self.built_for,
        }
    }
}

/// The size of the build cache; `None` when the engine does not say: then it is not trimmed.
async fn cache_bytes(shared: &Shared) -> Option<u64> {
    match shared.engine.build_cache_bytes().await {
        Ok(size) => Some(size),
        Err(error) => {
            tracing::warn!(
                error = %crate::telemetry::chain::Chain(&error),
                "could not add up the build cache, so it is not trimmed"
            );
            None
        }
    }
}

/// What must stay, and whether everything that could say so was read.
fn pins(
    facts: &ImageFacts,
    head: &Head,
    candidate: Option<&Catalog>,
    live: &LiveSet,
) -> (Pins, Coverage) {
    let mut pins = Pins::default();
    let newest = candidate.into_iter().chain([&*head.catalog]);
    let folders = newest.flat_map(|catalog| catalog.folders.values());
    for challenge in folders.filter_map(|folder| folder.challenge.as_ref()) {
        for unit in build_units(challenge) {
            pins.pin_key(unit.key, Pin::Newest(challenge.id.clone()));
        }
    }
    for challenge in live.values().map(|live| &live.challenge) {
        for unit in build_units(challenge) {
            pins.pin_key(unit.key, Pin::Live(challenge.id.clone()));
        }
    }
    for version in &facts.live {
        for key in &version.keys {
            pins.pin_key(*key, Pin::Live(version.challenge.clone()));
        }
    }
    for version in &facts.previous {
        for key in &version.keys {
            pins.pin_key(*key, Pin::Previous(version.challenge.clone()));
        }
    }
    for (image, instances) in &facts.instances {
        for instance in instances {
            pins.pin_id(image.clone(), Pin::Instance(*instance));
        }
    }
    let is_wanted = |state| matches!(state, BuildState::Unbuilt | BuildState::Building);
    for (key, _) in facts.builds.iter().filter(|(_, build)| is_wanted(build.state)) {
        pins.pin_key(*key, Pin::Wanted);
    }
    // A live version that nobody could read and that was never noted could need any image.
    let is_known =
        |id: &ChallengeId, tree| live.get(id).is_some_and(|live| live.challenge.tree == tree);
    let is_read = facts
        .live
        .iter()
        .all(|version| !version.keys.is_empty() || is_known(&version.challenge, version.tree));
    let is_full = head.revision.is_some() && is_read;
    (pins, if is_full { Coverage::Full } else { Coverage::Partial })
}

fn settings(config: &GcConfig) -> GcSettings {
    GcSettings {
        high_percent: config.high_percent,
        low_percent: config.low_percent,
        min_age_millis: i64::from(config.min_age_secs) * 1000,
        cache: match config.build_cache {
            BuildCache::Leave => CacheRule::Leave,
            BuildCache::Trim => {
                CacheRule::Trim { cap_bytes: u64::from(config.build_cache_gib) << 30 }
            }
        },
    }
}

/// States how full the disk is, and lets builds begin or wait.
async fn settle(shared: &Shared, pressure: Pressure) {
    if pressure == Pressure::NothingToFree {
        shared.builder.pause();
    } else if shared.builder.is_paused() {
        shared.builder.resume();
    }
    let (status, reason, message) = match pressure {
        Pressure::Fine => (
            ConditionStatus::False,
            "Ok",
            "the disk of the container engine is below `gc.high_percent`",
        ),
        Pressure::Unknown => (
            ConditionStatus::Unknown,
            "DiskNotSeen",
            "the disk of the container engine is not on this machine, so no image is removed; watch it there",
        ),
        Pressure::HighWatermark => (
            ConditionStatus::True,
            "HighWatermark",
            "the disk of the container engine is over `gc.high_percent`; images that nothing needs are removed",
        ),
        Pressure::NothingToFree => (
            ConditionStatus::True,
            "GcNothingToFree",
            "the disk of the container engine is over `gc.high_percent` and no image of ours may go: new builds wait, instances go on; `flagops gc --dry-run` shows what is kept and why, free some space or raise the mark",
        ),
    };
    shared
        .state(Statement {
            scope: Scope::Node(NodeId::local()),
            kind: ConditionType::DiskPressure,
            status,
            reason,
            message: message.to_owned(),
            revision: None,
        })
        .await;
}
