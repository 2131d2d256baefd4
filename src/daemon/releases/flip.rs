//! Goes live: everything that is needed before, the one transaction, and what follows from it.
//!
//! # Invariants
//! * Before the transaction the commits are pinned and the images noted; after it the memory holds
//!   what the database says. A kill anywhere leaves the old manifest or the new one.

use std::sync::Arc;

use super::{ReleaseError, replace, state};
use crate::catalog::{self, Catalog, Policy};
use crate::daemon::platform::{LiveChallenge, LiveSet};
use crate::daemon::shared::{Shared, Statement};
use crate::daemon::{builds, competitions};
use crate::git::Mirror;
use crate::model::{
    ChallengeId, ConditionStatus, ConditionType, ObjectId, Revision, Scope, TagName, Timestamp,
};
use crate::release::gate;
use crate::release::manifest::{Difference, Entry, EntryDisposition, Generation, Manifest};
use crate::store::{Flip, NewGeneration};

/// The manifest of what `next` holds, where `revision` of the branch declares `head`.
pub(super) fn manifest_of(next: &LiveSet, head: &Catalog, revision: Revision) -> Manifest {
    let entries = next.iter().map(|(id, live)| {
        let mut entry = gate::entry(&live.challenge, live.revision);
        // An unchanged version is the newest one, whatever commit it was first read from.
        if head.folders.get(id).is_none_or(|folder| folder.tree != entry.tree) {
            entry.disposition = EntryDisposition::LastKnownGood;
        }
        (id.clone(), entry)
    });
    Manifest::new(None, revision, entries.collect())
}

/// Makes `next`, which is what `new.manifest` lists, what players have. Whoever calls holds
/// `release_turn`. `None` when something else went live meanwhile.
pub(crate) async fn flip(
    shared: &Arc<Shared>,
    mut new: NewGeneration,
    next: LiveSet,
) -> Result<Option<Generation>, ReleaseError> {
    let before = super::live_entries(shared);
    let difference = Difference::between(&before, &new.manifest.challenges);
    builds::pin(shared, &next).await;
    shared.store.note_images(builds::consists_of(&next)).await?;
    // Nobody else changes it meanwhile; the store makes sure of that.
    new.expected = shared.store.active().await?.map_or(0, |(generation, _)| generation.number);
    let (revision, tag) = (new.manifest.revision, new.manifest.tag.clone());
    let generation = match shared.store.flip(new, shared.now()).await? {
        Flip::Done(generation) => generation,
        Flip::Overtaken => return Ok(None),
    };
    shared.live.store(next);
    competitions::follow(shared).await;
    tracing::info!(
        release.generation = generation.number, release.cause = generation.cause.as_str(),
        revision = %revision,
        "generation {} is live: {} ({} new, {} changed, {} gone)", generation.number,
        generation.why, difference.added.len(), difference.changed.len(), difference.removed.len()
    );
    // What it took the place of may go.
    shared.disk_doubt.notify_one();
    state_live(shared, &generation, tag.as_ref(), &difference, revision).await;
    replace::by_policy(shared, &difference).await;
    Ok(Some(generation))
}

async fn state_live(
    shared: &Shared,
    generation: &Generation,
    tag: Option<&(TagName, ObjectId)>,
    difference: &Difference,
    revision: Revision,
) {
    let what = match tag {
        Some((name, _)) => format!("tag `{name}`"),
        None => format!("revision {}", revision.short()),
    };
    let words = format!("generation {} is live: {what}", generation.number);
    let (kind, status) = (ConditionType::Released, ConditionStatus::True);
    state(shared, kind, status, "Live", words, Some(revision)).await;
    let live = shared.live.load();
    for id in difference.added.iter().chain(&difference.changed) {
        let revision = live.get(id).map(|live| live.revision);
        let (scope, message) = (Scope::Challenge(id.clone()), "players can start it".to_owned());
        let reason = "Live";
        shared.state(Statement { scope, kind, status, reason, message, revision }).await;
    }
    for id in &difference.removed {
        let (scope, message) =
            (Scope::Challenge(id.clone()), "it is no longer live: nobody can start it".to_owned());
        let (status, reason) = (ConditionStatus::False, "NotReleased");
        let revision = Some(revision);
        shared.state(Statement { scope, kind, status, reason, message, revision }).await;
    }
}

/// Why a manifest cannot be made live again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{challenge} at {} cannot be read from the mirror any more: its commit is gone from the remote as well, or the file is damaged",
    revision.short()
)]
pub(crate) struct Unresolved {
    challenge: ChallengeId,
    revision: Revision,
}

/// The challenges that `manifest` lists: from memory where they are known, else from the mirror.
pub(crate) async fn resolve(
    shared: &Arc<Shared>,
    manifest: &Manifest,
    catalogs: Vec<Arc<Catalog>>,
) -> Result<LiveSet, Unresolved> {
    let live = shared.live.load();
    let (mirror, policy, now) = (Arc::clone(&shared.mirror), shared.policy(), shared.now());
    let entries = manifest.challenges.clone();
    let work = move || {
        let resolve = |(id, entry): (ChallengeId, Entry)| {
            let found = resolve_one(&id, &entry, &live, &catalogs, now)
                .or_else(|| read_one(&mirror, &policy, &entry, now));
            let unresolved = Unresolved { challenge: id.clone(), revision: entry.revision };
            found.map(|live| (id, live)).ok_or(unresolved)
        };
        entries.into_iter().map(resolve).collect()
    };
    // A panic of ours: say so where everything else is said.
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn resolve_one(
    id: &ChallengeId,
    entry: &Entry,
    live: &LiveSet,
    catalogs: &[Arc<Catalog>],
    now: Timestamp,
) -> Option<LiveChallenge> {
    let is_it = |challenge: &crate::model::Challenge| {
        challenge.tree == entry.tree && challenge.path == entry.path
    };
    if let Some(live) = live.get(id).filter(|live| is_it(&live.challenge)) {
        return Some(LiveChallenge { revision: entry.revision, ..live.clone() });
    }
    let folders = catalogs.iter().filter_map(|catalog| catalog.folders.get(id));
    let mut challenges = folders.filter_map(|folder| folder.challenge.clone());
    let challenge = challenges.find(|challenge| is_it(challenge))?;
    Some(LiveChallenge { challenge, revision: entry.revision, since: now })
}

/// One challenge of a manifest from the mirror.
fn read_one(
    mirror: &Mirror,
    policy: &Policy,
    entry: &Entry,
    now: Timestamp,
) -> Option<LiveChallenge> {
    let tree = mirror.tree(entry.revision).ok()?;
    let folder = catalog::load_one(&tree, &entry.path, policy).ok()?;
    let challenge = folder.challenge.filter(|challenge| challenge.tree == entry.tree)?;
    Some(LiveChallenge { challenge, revision: entry.revision, since: now })
}
