//! Removes what is left of instances that are over, as `planner::prune` decides, and says what is
//! held.
//!
//! In:  one full listing, and the rows that were read after it.
//!
//! # Invariants
//! * What no row knows is never touched: the database may be older than the engine.
//! * The tombstone of what is removed was committed by an earlier pass.

use std::collections::{BTreeMap, BTreeSet};

use super::executor::Fault;
use super::shared::{Shared, Statement};
use crate::model::{ConditionStatus, ConditionType, InstanceId, NodeId, Scope};
use crate::planner::prune::{self, Leftover, LeftoverKind, PruneHold};
use crate::runtime::{ContainerSeen, EngineError, NetworkSeen, VolumeSeen};
use crate::telemetry::metrics;

/// Everything that the engine has of ours, and what nobody wants of it.
pub(crate) struct Listing<'a> {
    pub(crate) containers: &'a [ContainerSeen],
    pub(crate) volumes: &'a [VolumeSeen],
    pub(crate) networks: &'a [NetworkSeen],
    /// Networks, by the engine's id, that no row knows and no container is on.
    pub(crate) idle_networks: Vec<String>,
    /// The instances that live.
    pub(crate) live: BTreeSet<InstanceId>,
}

/// Looks at leftovers once: buries what is new, removes what was seen before.
///
/// # Errors
/// When the store fails. What could not be removed is tried again by the next pass.
pub(crate) async fn prune(shared: &Shared, listing: &Listing<'_>) -> Result<(), Fault> {
    let found = sort(shared, listing).await?;
    let tombstones = shared.store.tombstones().await?;
    let n_managed = listing.containers.len() + listing.volumes.len() + listing.networks.len();
    let now = shared.now();
    let plan = prune::plan(&found.leftovers, &tombstones, n_managed, found.n_wanted, now);
    if !plan.bury.is_empty() || !plan.forget.is_empty() {
        shared.store.set_tombstones(plan.bury, plan.forget, now).await?;
    }
    // A lost database may know less than the engine has.
    let is_masked = shared.awaits_acceptance();
    for leftover in plan.remove.iter().filter(|_| !is_masked) {
        tracing::info!(
            leftover.kind = %leftover.kind, leftover.object = leftover.object,
            "removing a leftover that nobody wants: {} `{}`", leftover.kind, leftover.object
        );
        match remove(shared, leftover).await {
            Ok(()) => metrics::pruned(leftover.kind.as_str()),
            Err(error) => tracing::warn!(
                error = %crate::telemetry::chain::Chain(&error),
                "a leftover could not be removed, trying again with the next look"
            ),
        }
    }
    state(shared, plan.held, found.n_unknown).await;
    Ok(())
}

/// What a listing consists of.
struct Found {
    leftovers: BTreeSet<Leftover>,
    /// Objects of instances that live, or that no row knows.
    n_wanted: usize,
    n_unknown: usize,
}

async fn sort(shared: &Shared, listing: &Listing<'_>) -> Result<Found, Fault> {
    let containers = listing
        .containers
        .iter()
        .filter_map(|it| Some((LeftoverKind::Container, it.id.clone(), it.instance?)));
    let volumes = listing
        .volumes
        .iter()
        .filter_map(|it| Some((LeftoverKind::Volume, it.name.clone(), it.instance?)));
    let mut found = Found { leftovers: BTreeSet::new(), n_wanted: 0, n_unknown: 0 };
    let mut is_over: BTreeMap<InstanceId, Option<bool>> = BTreeMap::new();
    for (kind, object, id) in containers.chain(volumes) {
        if listing.live.contains(&id) {
            found.n_wanted += 1;
            continue;
        }
        let known = match is_over.get(&id) {
            Some(known) => *known,
            None => {
                let known = has_ended(shared, id).await?;
                is_over.insert(id, known);
                known
            }
        };
        match known {
            Some(true) => {
                found.leftovers.insert(Leftover { kind, object, instance: Some(id) });
            }
            // It was started since the listing.
            Some(false) => found.n_wanted += 1,
            None => {
                found.n_wanted += 1;
                found.n_unknown += 1;
            }
        }
    }
    let networks = listing.idle_networks.iter().map(|id| Leftover {
        kind: LeftoverKind::Network,
        object: id.clone(),
        instance: None,
    });
    found.leftovers.extend(networks);
    Ok(found)
}

/// Whether an instance has ended; `None` when no row knows it.
async fn has_ended(shared: &Shared, id: InstanceId) -> Result<Option<bool>, Fault> {
    let row = shared.store.instance(id).await?;
    Ok(row.map(|instance| !instance.phase.is_live()))
}

async fn remove(shared: &Shared, leftover: &Leftover) -> Result<(), EngineError> {
    let object = &leftover.object;
    match leftover.kind {
        LeftoverKind::Container => shared.engine.remove_container(object).await,
        LeftoverKind::Volume => shared.engine.remove_volume(object).await,
        LeftoverKind::Network => shared.engine.remove_network(object).await,
    }
}

async fn state(shared: &Shared, held: Option<PruneHold>, n_unknown: usize) {
    shared.set_unknown(n_unknown);
    let (status, reason, message) = match (held, n_unknown) {
        (Some(PruneHold::AllWouldBeRemoved), _) => (
            ConditionStatus::True,
            "AllWouldBeRemoved",
            "every container and volume of ours belongs to an instance that is over, and removing them would leave nothing; is this the right database? Nothing is removed until somebody has looked: `flagops recover` lists them, `flagops recover --remove-all` removes them",
        ),
        (_, 1..) => (
            ConditionStatus::True,
            "AwaitingApproval",
            "containers or volumes bear our label but belong to no instance of this database; was it restored from a backup? They are left alone until somebody has looked: `flagops recover` lists, adopts and removes them",
        ),
        (Some(PruneHold::BudgetExceeded), 0) => (
            ConditionStatus::True,
            "BudgetExceeded",
            "more is left of instances that are over than may be removed at once; the next looks remove the rest",
        ),
        (None, 0) => (ConditionStatus::False, "Ok", "everything that bears our label has a row"),
    };
    shared
        .state(Statement {
            scope: Scope::Node(NodeId::local()),
            kind: ConditionType::PruneHeld,
            status,
            reason,
            message: message.to_owned(),
            revision: None,
        })
        .await;
}
