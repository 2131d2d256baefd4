//! Takes a challenge back to its last good version when its new one does not start.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{FLAGOPS, ReleaseError, flip, live_entries, quarantined};
use crate::daemon::shared::{Shared, Statement};
use crate::model::{ConditionStatus, ConditionType, Revision, Scope, Timestamp};
use crate::release::manifest::{Cause, Manifest};
use crate::release::revert::{Revert, Scene, due};
use crate::store::NewGeneration;

/// How long a version is new.
const FRESH_SECS: i64 = 24 * 3600;

/// Earlier generations that are looked through for a good version.
const N_HISTORY: u32 = 50;

/// Looks at how starts went, and takes back what does not start.
pub(crate) async fn check(shared: &Arc<Shared>) {
    if !shared.config.release.auto_revert || !shared.is_engine_ready() {
        return;
    }
    if let Err(error) = try_check(shared).await {
        tracing::warn!(
            error = %crate::telemetry::chain::Chain(&error),
            "could not look at how new versions start"
        );
    }
}

async fn try_check(shared: &Arc<Shared>) -> Result<(), ReleaseError> {
    let now = shared.now();
    let live = shared.live.load();
    let is_fresh = |since: Timestamp| now.millis_since(since) < FRESH_SECS * 1000;
    let fresh: BTreeSet<_> = live
        .iter()
        .filter(|(_, live)| is_fresh(live.since))
        .map(|(id, live)| (id.clone(), live.challenge.tree))
        .collect();
    if fresh.is_empty() {
        return Ok(());
    }
    let starts = shared.store.start_records(Timestamp::from_millis(0)).await?;
    let failed = |version| starts.get(version).is_some_and(|it| it.n_good == 0 && it.n_failed > 0);
    if !fresh.iter().any(failed) {
        return Ok(());
    }
    let _turn = shared.release_turn.acquire().await;
    let Some((active, manifest)) = shared.store.active().await? else { return Ok(()) };
    let mut history = Vec::new();
    for earlier in shared.store.generations(N_HISTORY).await? {
        if earlier.number < active.number
            && let Some((_, manifest)) = shared.store.generation(earlier.number).await?
        {
            history.push(manifest.challenges);
        }
    }
    let scene = Scene {
        live: &live_entries(shared),
        history: &history,
        fresh: &fresh,
        starts: &starts,
        quarantined: &quarantined(shared).await?,
    };
    for revert in due(&scene) {
        go_back(shared, &manifest, revert).await?;
    }
    Ok(())
}

async fn go_back(
    shared: &Arc<Shared>,
    active: &Manifest,
    revert: Revert,
) -> Result<(), ReleaseError> {
    let Revert { challenge, from, to } = revert;
    let mut entries = live_entries(shared);
    let version = to.tree;
    entries.insert(challenge.clone(), to);
    let manifest = Manifest::new(active.tag.clone(), active.revision, entries);
    let next = match flip::resolve(shared, &manifest, Vec::new()).await {
        Ok(next) => next,
        Err(error) => {
            tracing::error!(challenge.id = %challenge, "cannot go back: {error}");
            return Ok(());
        }
    };
    let words = format!(
        "version {} did not start for anybody and version {} is live again: mend it and release it anew (`flagops instances ls` has the errors)",
        Revision(from.0).short(),
        Revision(version.0).short()
    );
    let why = format!("{challenge}: {words}");
    let mut new = NewGeneration::of(manifest, Cause::Revert, FLAGOPS.to_owned(), why);
    new.quarantine_versions.push((challenge.clone(), from));
    flip::flip(shared, new, next).await?;
    let statement = Statement {
        scope: Scope::Challenge(challenge),
        kind: ConditionType::Healthy,
        status: ConditionStatus::False,
        reason: "RevertedToLKG",
        message: words,
        revision: Some(active.revision),
    };
    shared.state(statement).await;
    Ok(())
}
