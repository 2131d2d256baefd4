//! Which node an instance goes to: gathers what is known, asks the planner, and moves what may move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::shared::Shared;
use super::super::{isolation, queue, versions};
use super::Roster;
use crate::model::{
    BuildKey, BuildState, Challenge, ContainerRuntime, Duty, Instance, NodeId, OnNodeLoss, TeamId,
    Timestamp,
};
use crate::planner::placement::{Candidate, Placement, Wanted, place};
use crate::release::identity::build_units;
use crate::store::{StoreError, Usage};

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
    let ground = Ground::see(shared, [challenge]).await?;
    Ok(ground.place(challenge, team, &except.into_iter().cloned().collect()))
}

/// What is known of all nodes at one moment.
pub(crate) struct Ground<'a> {
    shared: &'a Shared,
    usage: BTreeMap<NodeId, Usage>,
    roster: Arc<Roster>,
    own_builds: BTreeMap<BuildKey, BuildState>,
    own_runtimes: BTreeSet<String>,
    /// Why this machine starts nothing now; empty when it does.
    closed: String,
    now: Timestamp,
}

impl<'a> Ground<'a> {
    /// Looks around for what `challenges` need.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn see<'c>(
        shared: &'a Shared,
        challenges: impl IntoIterator<Item = &'c Challenge>,
    ) -> Result<Self, StoreError> {
        let is_default =
            |it: &Challenge| it.metadata.instance.demands.runtime == ContainerRuntime::Default;
        let needs_runtimes = shared.config.nodes.local && !challenges.into_iter().all(is_default);
        Ok(Self {
            shared,
            usage: shared.store.usage().await?,
            roster: shared.nodes.roster(),
            own_builds: shared.store.build_states().await?,
            own_runtimes: if needs_runtimes { runtimes(shared).await } else { BTreeSet::new() },
            closed: closed(shared).unwrap_or_default(),
            now: shared.now(),
        })
    }

    /// How many instances each team has.
    pub(crate) fn n_by_team(&self) -> BTreeMap<TeamId, u32> {
        let mut n_by_team = BTreeMap::new();
        for (team, n) in self.usage.values().flat_map(|used| &used.by_team) {
            *n_by_team.entry(*team).or_default() += n;
        }
        n_by_team
    }

    /// Counts an instance of `challenge` for `team` on `node`, which will be there in a moment.
    pub(crate) fn give(&mut self, node: &NodeId, team: TeamId, challenge: &Challenge) {
        let used = self.usage.entry(node.clone()).or_default();
        used.n_instances += 1;
        used.memory_bytes = used.memory_bytes.saturating_add(memory_of(challenge));
        *used.by_team.entry(team).or_default() += 1;
    }

    /// Where an instance of `challenge` for `team` goes, but for the nodes of `except`.
    pub(crate) fn place(
        &self,
        challenge: &Challenge,
        team: TeamId,
        except: &BTreeSet<NodeId>,
    ) -> Placement {
        let images: Vec<BuildKey> =
            build_units(challenge).into_iter().map(|unit| unit.key).collect();
        let wanted = Wanted {
            images: &images,
            runtime: challenge.metadata.instance.demands.runtime,
            memory_bytes: memory_of(challenge),
            labels: &challenge.metadata.instance.node,
        };
        let config = &self.shared.config;
        let (local, no_labels) = (NodeId::local(), BTreeMap::new());
        let used = |id: &NodeId| {
            let used = self.usage.get(id);
            let n_of_team = used.and_then(|it| it.by_team.get(&team)).copied().unwrap_or(0);
            (used.map_or(0, |it| it.n_instances), n_of_team, used.map_or(0, |it| it.memory_bytes))
        };
        // A percentage of nothing is no bound.
        let percent = config.nodes.memory_percent;
        let known = |memory_bytes: u64| if percent == 0 { 0 } else { memory_bytes };
        let mut candidates = Vec::new();
        if config.nodes.local {
            let (n_instances, n_of_team, memory_used_bytes) = used(&local);
            candidates.push(Candidate {
                id: &local,
                is_healthy: true,
                duty: Duty::Active,
                closed: &self.closed,
                labels: &no_labels,
                runtimes: &self.own_runtimes,
                builds: &self.own_builds,
                capacity: config.limits.instances_per_node,
                n_instances,
                n_of_team,
                // The operator's own bound is the number of instances, as ever.
                memory_bytes: 0,
                memory_used_bytes,
                overcommit_percent: percent,
            });
        }
        for (id, known_node) in self.roster.iter() {
            let (node, (n_instances, n_of_team, memory_used_bytes)) = (&known_node.node, used(id));
            candidates.push(Candidate {
                id,
                is_healthy: node.is_heard(self.now, config.nodes.lost_after_secs),
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
        candidates.retain(|candidate| !except.contains(candidate.id));
        place(&wanted, &candidates)
    }
}

/// What all services of an instance may use together.
fn memory_of(challenge: &Challenge) -> u64 {
    let services = challenge.compose.iter().flat_map(|compose| &compose.services);
    services.map(|service| service.limits.memory_bytes).sum()
}

/// Why this machine starts nothing now; `None` when it does.
pub(crate) fn closed(shared: &Shared) -> Option<String> {
    isolation::refusal(shared)
}

/// The runtimes of this machine's engine; one that does not answer has none, for now.
async fn runtimes(shared: &Shared) -> BTreeSet<String> {
    let of_engine = shared.engine.info().await.map(|info| info.runtimes).unwrap_or_default();
    isolation::runtimes(shared, of_engine)
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
