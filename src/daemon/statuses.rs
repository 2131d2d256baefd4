//! Gathers what the forge is told of: what the newest revision holds, how far its images are, and
//! whether players have it.
//!
//! In:  hints that something changed, and the levels themselves.
//! Out: [`Facts`] for `notify::forge`, which decides and delivers. Nothing waits for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::platform::LiveSet;
use super::releases::{Candidate, Missing};
use super::shared::{Shared, Statement};
use super::solver;
use super::tasks;
use crate::catalog::{Catalog, Folder};
use crate::model::{
    BuildKey, BuildState, ChallengeId, ConditionStatus, ConditionType, Revision, Scope,
};
use crate::notify::forge::{
    Active, Facts, Forge, Going, HeadFacts, ImageFacts, Kept, Names, Pump, Tagged,
};
use crate::proof::Proof;
use crate::release::identity::build_units;
use crate::release::live::build_state;
use crate::release::tag::TagTarget;
use crate::store::StoreError;
use crate::telemetry::chain::Chain;

/// How long the first change waits for others, so that what happens together is told together.
const GATHER: Duration = Duration::from_millis(200);
/// Between two looks without a hint.
const LOOK_EVERY: Duration = Duration::from_secs(30);

type BuildStates = std::collections::BTreeMap<BuildKey, BuildState>;

/// Starts what posts statuses, if they are configured.
pub(crate) async fn begin(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let Some(forge) = Forge::new(&shared.config.statuses) else {
        return settle(shared).await;
    };
    let names = if shared.config.statuses.names { Names::Told } else { Names::Hidden };
    let pump = Arc::new(Pump::new(
        shared.store.clone(),
        Arc::clone(&shared.clock) as _,
        forge,
        names,
        shared.tasks.stopping().clone(),
        tasks::jittered,
    ));
    shared.tasks.spawn("statuses", keep(Arc::clone(shared), Arc::clone(&pump)));
    shared.tasks.spawn("forge", pump.deliver());
    Ok(())
}

/// A forge that refused us is no matter any more once nothing is posted.
async fn settle(shared: &Shared) -> Result<(), StoreError> {
    let kind = ConditionType::StatusesPosted;
    let is_stated = |it: &crate::model::Condition| it.kind == kind && kind.is_bad(it.status);
    if shared.store.conditions().await?.iter().any(is_stated) {
        let message = "commit statuses are not posted any more".to_owned();
        let (status, reason) = (ConditionStatus::Unknown, "NotConfigured");
        let scope = Scope::Repo;
        shared.state(Statement { scope, kind, status, reason, message, revision: None }).await;
    }
    Ok(())
}

/// Looks after each hint, and now and then, until the daemon stops.
async fn keep(shared: Arc<Shared>, pump: Arc<Pump>) {
    loop {
        let told = match facts(&shared).await {
            Ok(facts) => pump.look(&facts).await,
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::error!(error = %Chain(&error), "could not decide what to tell the forge");
        }
        tokio::select! {
            // Cancel-safe: a permit that is not taken stays.
            () = shared.statuses_due.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shared.tasks.stopping().cancelled() => return,
        }
        if !shared.tasks.sleep(GATHER).await {
            return;
        }
    }
}

async fn facts(shared: &Shared) -> Result<Facts, StoreError> {
    let active = shared.store.active().await?;
    let active = active.map(|(generation, manifest)| Active {
        revision: manifest.revision,
        generation: generation.number,
    });
    let builds = super::nodes::images::states(shared).await?;
    let head = shared.head.load();
    let live = shared.live.load();
    let proofs = solver::proofs_of(shared, &head.catalog).await?;
    let unproven: BTreeSet<ChallengeId> = proofs
        .into_iter()
        .filter_map(|(id, proof)| matches!(proof, Proof::Failed(_)).then_some(id))
        .collect();
    let head = head.revision.map(|revision| {
        let mut facts = head_facts(revision, &head.catalog, &live, &builds, &unproven);
        if shared.releases.policy().is_some() {
            facts.going = Going::AwaitsTag;
        }
        facts
    });
    Ok(Facts { head, active, tagged: tagged(shared) })
}

/// The tag that goes live next, or would but for what holds it.
fn tagged(shared: &Shared) -> Option<Tagged> {
    let (tags, selection) = shared.releases.tags();
    if let Some((tag, hold)) = selection.waiting {
        let facts = tags.into_iter().find(|it| it.record.name == tag)?;
        let TagTarget::Commit { revision, .. } = facts.target else { return None };
        return Some(Tagged { tag, revision, kept: Kept::Waits(hold.reason()) });
    }
    let Candidate { name, revision, missing, .. } = shared.releases.candidate()?;
    let kept = match missing {
        Missing::Nothing => Kept::Waits("going live"),
        Missing::Waiting(_) => Kept::Waits("images or proofs are on their way"),
        Missing::Blocked(faults) => {
            Kept::Blocked(faults.iter().filter_map(|it| it.id().cloned()).collect())
        }
        Missing::AllWouldBeRemoved => Kept::Blocked(Vec::new()),
    };
    Some(Tagged { tag: name, revision, kept })
}

fn head_facts(
    revision: Revision,
    catalog: &Catalog,
    live: &LiveSet,
    builds: &BuildStates,
    unproven: &BTreeSet<ChallengeId>,
) -> HeadFacts {
    let broken = catalog.folders.iter().filter(|(_, folder)| folder.challenge.is_none());
    HeadFacts {
        revision,
        n_challenges: catalog.folders.len(),
        broken: broken.map(|(id, _)| id.clone()).collect(),
        images: images(catalog, builds),
        going: going(catalog, live, builds, unproven),
    }
}

fn images(catalog: &Catalog, builds: &BuildStates) -> ImageFacts {
    let mut keys = BTreeSet::new();
    let mut failed = Vec::new();
    for (id, folder) in &catalog.folders {
        let units = folder.challenge.as_deref().map(build_units).unwrap_or_default();
        keys.extend(units.iter().map(|unit| unit.key));
        if build_state(folder, builds) == Some(BuildState::Failed) {
            failed.push(id.clone());
        }
    }
    let state = |key| builds.get(key).copied().unwrap_or(BuildState::Unbuilt);
    let n_in =
        |states: &[BuildState]| keys.iter().filter(|key| states.contains(&state(key))).count();
    ImageFacts {
        n_images: keys.len(),
        n_missing: n_in(&[BuildState::Unbuilt, BuildState::Building]),
        n_failed: n_in(&[BuildState::Failed]),
        failed,
    }
}

/// Whether players have every challenge as it is in `catalog`, where nobody releases it as a whole.
fn going(
    catalog: &Catalog,
    live: &LiveSet,
    builds: &BuildStates,
    unproven: &BTreeSet<ChallengeId>,
) -> Going {
    let is_live = |id: &ChallengeId, folder: &Folder| {
        live.get(id)
            .is_some_and(|it| it.challenge.tree == folder.tree && it.challenge.path == folder.path)
    };
    let missing = || catalog.folders.iter().filter(|(id, folder)| !is_live(id, folder));
    let is_stuck = |(id, folder): &(&ChallengeId, &Arc<Folder>)| {
        matches!(build_state(folder, builds), None | Some(BuildState::Failed))
            || unproven.contains(*id)
    };
    let stuck: Vec<_> = missing().filter(is_stuck).map(|(id, _)| id.clone()).collect();
    let is_emptied = catalog.folders.is_empty() && !live.is_empty();
    if !stuck.is_empty() {
        Going::Blocked(stuck)
    } else if missing().next().is_some() || is_emptied {
        Going::Waiting
    } else {
        Going::Live
    }
}
