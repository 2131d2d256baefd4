//! The version of its challenge that an instance was started from: live, or read from the mirror.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::shared::Shared;
use crate::catalog;
use crate::model::{Challenge, ChallengeId, Instance, Revision, TreeId};

/// Old versions kept parsed for running instances.
const MAX_PINNED: usize = 256;

/// The challenge as it was at the revision that `instance` was started from; it may differ from the
/// live version, or be live no more. `None` when the mirror no longer has that revision.
pub(crate) async fn of(shared: &Arc<Shared>, instance: &Instance) -> Option<Arc<Challenge>> {
    at(shared, &instance.challenge, instance.revision, instance.tree).await
}

/// Challenge `id` at `revision`, where somebody saw `tree`; it is another one when they saw something
/// else. `None` when the mirror does not have that revision.
pub(crate) async fn at(
    shared: &Arc<Shared>,
    id: &ChallengeId,
    revision: Revision,
    tree: TreeId,
) -> Option<Arc<Challenge>> {
    let live = shared.live.load();
    if let Some(live) = live.get(id)
        && live.challenge.tree == tree
    {
        return Some(Arc::clone(&live.challenge));
    }
    let key = (id.clone(), tree);
    if let Some(challenge) = pinned(shared).get(&key) {
        return Some(Arc::clone(challenge));
    }
    let mirror = Arc::clone(&shared.mirror);
    let policy = shared.policy();
    let head = Arc::clone(&shared.head.load().catalog);
    let id = id.clone();
    let read = move || {
        // What did not change since is taken over from the newest revision, unread.
        let catalog = catalog::load(&mirror.tree(revision).ok()?, Some(&head), &policy).ok()?;
        catalog.folders.get(&id)?.challenge.clone()
    };
    let challenge = tokio::task::spawn_blocking(read).await.ok().flatten()?;
    if challenge.tree != tree {
        return Some(challenge);
    }
    let mut pinned = pinned(shared);
    if pinned.len() >= MAX_PINNED {
        pinned.clear();
    }
    pinned.insert(key, Arc::clone(&challenge));
    Some(challenge)
}

fn pinned(shared: &Shared) -> MutexGuard<'_, BTreeMap<(ChallengeId, TreeId), Arc<Challenge>>> {
    shared.pinned.lock().unwrap_or_else(PoisonError::into_inner)
}
