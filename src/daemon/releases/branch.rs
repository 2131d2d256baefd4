//! Lets the newest revision of the branch go live, each challenge as soon as it is built, and proven
//! where that is required.

use std::sync::Arc;

use super::{FLAGOPS, ReleaseError, flip, quarantined, state_held};
use crate::daemon::platform::{LiveChallenge, LiveSet};
use crate::daemon::shared::{Shared, Statement};
use crate::daemon::{competitions, exports, nodes, secrets, solver};
use crate::model::{ChallengeId, ConditionStatus, ConditionType, Revision, Scope};
use crate::proof::Proof;
use crate::release::live::{self, HoldReason, LiveChange, LiveVersion};
use crate::release::manifest::Cause;
use crate::store::NewGeneration;

/// Lets every version that is valid and built go live, and takes away what authors removed.
pub(super) async fn advance(shared: &Arc<Shared>) -> Result<(), ReleaseError> {
    let head = shared.head.load();
    let Some(revision) = head.revision else { return Ok(()) };
    if let Some(pause) = shared.pauses.load().frozen() {
        let words = format!("nothing goes live {pause}");
        state_held(shared, Some(("FreezeWindow", words)), Some(revision)).await;
        return Ok(());
    }
    let now = shared.now();
    let freezes = shared.config.release.freezes();
    if let Some(freeze) = freezes.iter().find(|it| it.is_on(now)) {
        shared.releases.known().wake_at = Some(freeze.until);
        let words = format!("nothing goes live until {}: {}", freeze.until, freeze.why);
        state_held(shared, Some(("FreezeWindow", words)), Some(revision)).await;
        return Ok(());
    }
    if shared.store.left_revisions().await?.contains(&revision) {
        let words = format!(
            "somebody went back from revision {}: push a commit that mends it",
            revision.short()
        );
        state_held(shared, Some(("RolledBack", words)), Some(revision)).await;
        return Ok(());
    }
    state_held(shared, None, Some(revision)).await;
    competitions::follow(shared).await;
    let change = plan(shared).await?;
    state_prune(shared, change.held, revision).await;
    if change.promote.is_empty() && change.drop.is_empty() {
        return Ok(());
    }
    let next = apply(shared, &change, revision);
    let manifest = flip::manifest_of(&next, &head.catalog, revision);
    let why = format!("revision {} of the branch", revision.short());
    let new = NewGeneration::of(manifest, Cause::Branch, FLAGOPS.to_owned(), why);
    if flip::flip(shared, new, next).await?.is_some() {
        for id in &change.drop {
            tracing::info!(challenge.id = %id, "challenge {id} is no longer in the repository and was taken away");
        }
    }
    Ok(())
}

async fn plan(shared: &Arc<Shared>) -> Result<LiveChange, ReleaseError> {
    let head = shared.head.load();
    let builds = nodes::images::states(shared).await?;
    let out = quarantined(shared).await?;
    let live = shared.live.load();
    let version = |live: &LiveChallenge| LiveVersion {
        path: live.challenge.path.clone(),
        tree: live.challenge.tree,
    };
    let versions = live.iter().map(|(id, live)| (id.clone(), version(live))).collect();
    let mut change = live::plan(&head.catalog, &versions, &builds);
    let pauses = shared.pauses.load();
    let may_change = |id: &ChallengeId| pauses.suspended_challenge(id).is_none();
    change
        .promote
        .retain(|id| may_change(id) && !out.contains(&(id.clone(), head.catalog.folders[id].tree)));
    change.drop.retain(may_change);
    let proofs = solver::proofs_of(shared, &head.catalog).await?;
    let is_open =
        |id: &ChallengeId| matches!(proofs.get(id), Some(Proof::Failed(_) | Proof::Pending));
    change.promote.retain(|id| !is_open(id));
    if let Some(revision) = head.revision {
        secrets::withhold(shared, revision, &mut change.promote).await;
        exports::withhold(shared, revision, &mut change.promote).await;
    }
    Ok(change)
}

fn apply(shared: &Shared, change: &LiveChange, revision: Revision) -> LiveSet {
    let head = shared.head.load();
    let mut next: LiveSet = (*shared.live.load()).clone();
    for id in &change.promote {
        let Some(challenge) = head.catalog.folders[id].challenge.clone() else { continue };
        next.insert(id.clone(), LiveChallenge { challenge, revision, since: shared.now() });
    }
    for id in &change.drop {
        next.remove(id);
    }
    next
}

async fn state_prune(shared: &Shared, held: Option<HoldReason>, revision: Revision) {
    let (status, reason, message) = match held {
        Some(HoldReason::AllWouldBeRemoved) => (
            ConditionStatus::True,
            "AllWouldBeRemoved",
            "the newest revision has none of the live challenges, so nothing is taken away; push one with challenges in it",
        ),
        None => (ConditionStatus::False, "Ok", "what authors removed was taken away"),
    };
    let (scope, kind, message) = (Scope::Repo, ConditionType::PruneHeld, message.to_owned());
    let revision = Some(revision);
    shared.state(Statement { scope, kind, status, reason, message, revision }).await;
}
