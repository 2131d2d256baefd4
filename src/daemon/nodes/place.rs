//! Which node an instance goes to: gathers what is known, asks the planner, and moves what may move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::shared::Shared;
use super::super::{isolation, queue, versions};
use crate::model::{BuildKey, Challenge, Duty, Instance, NodeId, OnNodeLoss, TeamId};
use crate::planner::placement::{Candidate, Placement, Wanted, place};
use crate::release::identity::build_units;
use crate::store::StoreError;

/// Where an instance of `challenge` for `team` goes now. `except` names a node that is out of the
/// question.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn choose(
    shared: &Shared,
    challenge: &Challenge,
    team: TeamId,
    except: Option<&NodeId>,
) -> Result<Placement, StoreError> {
    let images: Vec<BuildKey> = build_units(challenge).into_iter().map(|unit| unit.key).collect();
    let demands = &challenge.metadata.instance.demands;
    let services = challenge.compose.iter().flat_map(|compose| &compose.services);
    let wanted = Wanted {
        images: &images,
        runtime: demands.runtime,
        memory_bytes: services.map(|service| service.limits.memory_bytes).sum(),
        labels: &challenge.metadata.instance.node,
    };
    let usage = shared.store.usage().await?;
    let own_builds = shared.store.build_states().await?;
    let roster = shared.nodes.roster();
    let local = NodeId::local();
    let (no_labels, now) = (BTreeMap::new(), shared.now());
    let closed = closed(shared).unwrap_or_default();
    let own_runtimes = own_runtimes(shared, &wanted).await;
    let patience = shared.config.nodes.lost_after_secs;
    let used = |id: &NodeId| {
        let used = usage.get(id);
        let n_of_team = used.and_then(|it| it.by_team.get(&team)).copied().unwrap_or(0);
        (used.map_or(0, |it| it.n_instances), n_of_team, used.map_or(0, |it| it.memory_bytes))
    };
    // A percentage of nothing is no bound.
    let percent = shared.config.nodes.memory_percent;
    let known = |memory_bytes: u64| if percent == 0 { 0 } else { memory_bytes };
    let mut candidates = Vec::new();
    if shared.config.nodes.local {
        let (n_instances, n_of_team, memory_used_bytes) = used(&local);
        candidates.push(Candidate {
            id: &local,
            is_healthy: true,
            duty: Duty::Active,
            closed: &closed,
            labels: &no_labels,
            runtimes: &own_runtimes,
            builds: &own_builds,
            capacity: shared.config.limits.instances_per_node,
            n_instances,
            n_of_team,
            // The operator's own bound is the number of instances, as ever.
            memory_bytes: 0,
            memory_used_bytes,
            overcommit_percent: percent,
        });
    }
    for (id, known_node) in roster.iter() {
        let (node, (n_instances, n_of_team, memory_used_bytes)) = (&known_node.node, used(id));
        candidates.push(Candidate {
            id,
            is_healthy: node.is_heard(now, patience),
            duty: node.duty,
            closed: &node.report.closed,
            labels: &node.labels,
            runtimes: &node.report.runtimes,
            builds: &node.report.builds,
            capacity: node.capacity,
            n_instances,
            n_of_team,
            memory_bytes: known(node.report.memory_bytes),
            memory_used_bytes,
            overcommit_percent: percent,
        });
    }
    candidates.retain(|candidate| Some(candidate.id) != except);
    Ok(place(&wanted, &candidates))
}

/// Why this machine starts nothing now; `None` when it does.
pub(crate) fn closed(shared: &Shared) -> Option<String> {
    isolation::refusal(shared)
}

/// The runtimes of this machine's engine, where that matters.
async fn own_runtimes(shared: &Shared, wanted: &Wanted<'_>) -> BTreeSet<String> {
    if wanted.runtime == crate::model::ContainerRuntime::Default {
        return BTreeSet::new();
    }
    // An engine that does not answer has none, for now.
    shared.engine.info().await.map(|info| info.runtimes.into_iter().collect()).unwrap_or_default()
}

/// Makes an instance anew on another node, where its challenge allows that and a node takes it; `why`
/// is for the log. Whether it was moved.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn relocate(
    shared: &Arc<Shared>,
    row: &Instance,
    why: &str,
) -> Result<bool, StoreError> {
    let Some(challenge) = versions::of(shared, row).await else { return Ok(false) };
    if challenge.metadata.instance.on_node_loss != OnNodeLoss::Move || row.is_canary() {
        return Ok(false);
    }
    let placement = choose(shared, &challenge, row.team, Some(&row.node)).await?;
    // The embedded node takes new instances only: a row that moves has no ports of this machine.
    let Some(to) = placement.node.filter(|node| *node != NodeId::local()) else { return Ok(false) };
    let moved = shared.store.move_instance(row.id, &row.node, &to).await?;
    let Some(moved) = moved else { return Ok(false) };
    tracing::warn!(
        instance.id = %row.id, node.id = %to,
        "instance {} is made anew on node {to} with the same answers: {why} ({})", row.id, row.node
    );
    queue::trigger(shared, moved.id);
    Ok(true)
}
