//! Keeps the images of the newest revision built, and of what goes live next.
//!
//! Builds start at a push, never at a player's click. The row says what is wanted before the
//! builder is asked; a crash takes a running build back to `unbuilt`, and the image of a build
//! that finished unrecorded is found again by its key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::platform::{LiveChallenge, LiveSet};
use super::releases;
use super::shared::Shared;
use super::tasks::jittered;
use crate::builder::{BuildJob, BuildReport, ImageWish, image_tag, own_spec, own_tar};
use crate::model::compose::ImageSource;
use crate::model::{Build, BuildKey, BuildState, Challenge, RetryClass, Revision, ServiceName};
use crate::release::identity::{BuildUnit, build_units};
use crate::render::vpn;
use crate::store::{BuildOutcome, StoreError, VersionImages};
use crate::telemetry::metrics;

/// The priority of what a push asks for (`contract/gitops.md` §4.8: candidate build).
const PUSHED: i32 = 20;

/// Tries of a build that failed for a reason that may pass, before a person must ask.
const MAX_ATTEMPTS: u32 = 8;

/// Works off the queue of builds until the daemon stops; what runs then is begun anew next time.
pub(crate) async fn work(shared: Arc<Shared>) {
    tokio::select! {
        () = shared.builder.run() => {}
        () = shared.tasks.stopping().cancelled() => {}
    }
}

/// Takes in finished builds until the daemon stops.
pub(crate) async fn collect(
    shared: Arc<Shared>,
    mut reports: mpsc::UnboundedReceiver<BuildReport>,
) {
    loop {
        let report = tokio::select! {
            report = reports.recv() => report,
            () = shared.tasks.stopping().cancelled() => None,
        };
        let Some(report) = report else { return };
        if let Err(error) = record(&shared, report).await {
            tracing::error!(
                error = %crate::telemetry::chain::Chain(&error),
                "could not record a finished build; it is found again at the next start"
            );
        }
    }
}

async fn record(shared: &Arc<Shared>, report: BuildReport) -> Result<(), StoreError> {
    let key = report.key;
    let duration_ms = report.finished_at.millis_since(report.started_at);
    let report_result = report.result;
    let outcome = match &report_result {
        Ok(image) => {
            tracing::info!(build.key = %key.short(), duration_ms, "built an image");
            BuildOutcome::Built { image: image.id.clone() }
        }
        Err(failure) => {
            tracing::warn!(
                build.key = %key.short(), duration_ms, is_retryable = failure.is_retryable,
                "could not build an image: {}", failure.error
            );
            BuildOutcome::Failed {
                error: failure.error.clone(),
                is_retryable: failure.is_retryable,
            }
        }
    };
    metrics::build_finished(
        metrics::Outcome::of(&report_result),
        Duration::from_millis(duration_ms.max(0).unsigned_abs()),
    );
    shared.store.finish_build(key, outcome, report.log_tail, shared.now()).await?;
    releases::advance(shared).await;
    // It took room, or it failed because there was none.
    shared.disk_doubt.notify_one();
    retry_later(shared, key).await
}

/// Asks again for a build that may pass, after its backoff.
async fn retry_later(shared: &Arc<Shared>, key: BuildKey) -> Result<(), StoreError> {
    let Some(build) = shared.store.build(key).await? else { return Ok(()) };
    let may_pass = build.state == BuildState::Failed && build.is_retryable;
    if !may_pass || build.n_attempts >= MAX_ATTEMPTS {
        return Ok(());
    }
    let pause = jittered(RetryClass::Build.backoff_millis(build.n_attempts));
    let again = Arc::clone(shared);
    shared.tasks.spawn("build retry", async move {
        if again.tasks.sleep(pause).await {
            if let Err(error) = again.store.requeue_build(key, again.now()).await {
                tracing::warn!(error = %error, "could not ask for a build again");
            }
            want(&again).await;
        }
    });
    Ok(())
}

/// Asks for every image of the newest revision that is not there, then lets what is built go live.
pub(crate) async fn want(shared: &Arc<Shared>) {
    let head = shared.head.load();
    if let Some(revision) = head.revision {
        let challenges = head.catalog.folders.values().filter_map(|it| it.challenge.clone());
        want_of(shared, revision, challenges.collect(), PUSHED).await;
    }
    releases::advance(shared).await;
}

/// Asks for every image of these challenges of `revision` that is not there.
pub(crate) async fn want_of(
    shared: &Arc<Shared>,
    revision: Revision,
    challenges: Vec<Arc<Challenge>>,
    priority: i32,
) {
    if !shared.config.nodes.local {
        return;
    }
    // An image that is being taken away would be found, and be gone a moment later.
    let _turn = shared.image_turn.acquire().await;
    let states = match shared.store.build_states().await {
        Ok(states) => states,
        Err(error) => {
            tracing::error!(error = %crate::telemetry::chain::Chain(&error), "could not read which images there are");
            return;
        }
    };
    for challenge in challenges {
        for unit in build_units(&challenge) {
            let is_asked_for = states.get(&unit.key).is_some_and(|s| *s != BuildState::Unbuilt);
            if is_asked_for {
                continue;
            }
            if let Err(error) = want_one(shared, revision, &challenge, unit, priority).await {
                tracing::error!(
                    error = %crate::telemetry::chain::Chain(&error), challenge.id = %challenge.id,
                    "could not ask for an image"
                );
            }
        }
    }
}

async fn want_one(
    shared: &Arc<Shared>,
    revision: Revision,
    challenge: &Arc<Challenge>,
    unit: BuildUnit,
    priority: i32,
) -> Result<(), StoreError> {
    let build =
        shared.store.want_build(unit.key, &challenge.id, &unit.service, shared.now()).await?;
    if build.state != BuildState::Unbuilt {
        return Ok(());
    }
    shared.store.begin_build(unit.key, shared.now()).await?;
    let (mirror, identities) = (Arc::clone(&shared.mirror), Arc::clone(&shared.identities));
    let path = challenge.path.clone();
    let wish = match unit.source {
        ImageSource::Reference(reference) => ImageWish::Reference(reference),
        ImageSource::Gateway => gateway(shared, unit.key),
        ImageSource::Build(spec) => ImageWish::Dockerfile {
            context: {
                let spec = spec.clone();
                Arc::new(move || {
                    let tree = mirror.tree(revision)?;
                    crate::builder::context_tar(&tree, &path, &spec, &identities)
                })
            },
            spec,
            tag: image_tag(shared.data.installation(), &challenge.id, &unit.service, unit.key),
        },
    };
    shared.builder.submit(BuildJob {
        key: unit.key,
        challenge: challenge.id.clone(),
        service: unit.service,
        tree: challenge.tree,
        priority,
        wish,
    });
    Ok(())
}

/// Our own VPN gateway, built like any other image, under one name for all challenges.
fn gateway(shared: &Shared, key: BuildKey) -> ImageWish {
    ImageWish::Dockerfile {
        context: Arc::new(|| own_tar(vpn::IMAGE)),
        spec: own_spec(),
        tag: format!("flagops/gateway:{}-{}", key.short(), shared.data.installation().short()),
    }
}

/// At the start: notes what is live consists of. An earlier flagops did not.
pub(crate) async fn note_live(shared: &Shared) -> Result<(), StoreError> {
    shared.store.note_images(consists_of(&shared.live.load())).await
}

/// What every version of `live` consists of.
pub(crate) fn consists_of(live: &LiveSet) -> Vec<VersionImages> {
    let version = |live: &LiveChallenge| VersionImages {
        challenge: live.challenge.id.clone(),
        tree: live.challenge.tree,
        keys: build_units(&live.challenge).into_iter().map(|unit| unit.key).collect(),
    };
    live.values().map(version).collect()
}

/// Keeps the objects of every live version and running instance in the mirror.
pub(crate) async fn pin(shared: &Arc<Shared>, live: &LiveSet) {
    let mut wanted: BTreeSet<Revision> = live.values().map(|live| live.revision).collect();
    match shared.store.pinned_revisions().await {
        Ok(revisions) => wanted.extend(revisions),
        Err(error) => {
            tracing::warn!(error = %error, "could not read which revisions are in use");
            return;
        }
    }
    // A lost database does not know what instances that run were started from.
    let may_unpin = !shared.awaits_acceptance() && !shared.has_unknown();
    let mirror = Arc::clone(&shared.mirror);
    let work = move || {
        let present = mirror.pins()?;
        for revision in &wanted {
            let name = revision.to_string();
            if present.contains_key(&name) {
                continue;
            }
            match mirror.pin(&name, *revision) {
                // What is lost already keeps nobody else from being kept.
                Err(error @ crate::git::MirrorError::MissingCommit { .. }) => {
                    tracing::warn!("a revision in use cannot be pinned: {error}");
                }
                pinned => pinned?,
            }
        }
        for name in present.keys().filter(|_| may_unpin) {
            let is_wanted = name.parse().is_ok_and(|revision: Revision| wanted.contains(&revision));
            if !is_wanted {
                mirror.unpin(name)?;
            }
        }
        Ok::<_, crate::git::MirrorError>(())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(
            error = %crate::telemetry::chain::Chain(&error),
            "could not pin the revisions in use; a force-push could take their files away"
        ),
        Err(_) => {}
    }
}

/// What the rows say about the images of a challenge, in file order.
pub(crate) async fn of_challenge(
    shared: &Shared,
    challenge: &Challenge,
) -> Result<Vec<Build>, StoreError> {
    let units = build_units(challenge);
    let rows = shared.store.builds(units.iter().map(|unit| unit.key).collect()).await?;
    let mut seen = BTreeSet::new();
    let builds = units.iter().filter(|unit| seen.insert(unit.key));
    Ok(builds.filter_map(|unit| rows.get(&unit.key).cloned()).collect())
}

/// The engine's ids of the images of a challenge that are built, by service.
pub(crate) async fn images_of(
    shared: &Shared,
    challenge: &Challenge,
) -> Result<BTreeMap<ServiceName, String>, StoreError> {
    let units = build_units(challenge);
    let keys = units.iter().map(|unit| unit.key).collect();
    let builds = shared.store.builds(keys).await?;
    let image = |unit: BuildUnit| Some((unit.service, builds.get(&unit.key)?.image.clone()?));
    Ok(units.into_iter().filter_map(image).collect())
}

/// At the start: what was being built is wanted again, and so is what failed for a reason that may
/// have passed, since whoever would have tried it again died with the last life.
pub(crate) async fn recover(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let interrupted = shared.store.reset_building().await?;
    if !interrupted.is_empty() {
        tracing::info!(build.n = interrupted.len(), "builds were interrupted and are wanted again");
    }
    for build in shared.store.all_builds().await? {
        if build.state == BuildState::Failed && build.is_retryable {
            shared.store.requeue_build(build.key, shared.now()).await?;
        }
    }
    Ok(())
}

/// Asks again for images that were built and that the engine no longer has.
pub(crate) async fn heal(shared: &Arc<Shared>) -> Result<(), super::executor::Fault> {
    let built: Vec<Build> = shared
        .store
        .all_builds()
        .await?
        .into_iter()
        .filter(|build| build.state == BuildState::Built)
        .collect();
    if built.is_empty() {
        return Ok(());
    }
    let mut n_lost = 0;
    for build in built {
        let Some(image) = &build.image else { continue };
        if shared.engine.image(image).await?.is_none() {
            // Gone from the rows as well: garbage collection was faster.
            let requeued = shared.store.requeue_build(build.key, shared.now()).await?;
            n_lost += usize::from(requeued.is_some());
        }
    }
    if n_lost > 0 {
        tracing::warn!(build.n = n_lost, "images are gone from the engine and are built again");
        want(shared).await;
    }
    Ok(())
}
