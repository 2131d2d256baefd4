//! Brings one hub to where it should lead: onto networks, off them, and told of them.
//!
//! # Invariants
//! * The mark on a network is committed before a hub is put onto it.
//! * One network that cannot be reached keeps the hub from no other.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;

use super::Engagement;
use crate::daemon::executor::Fault;
use crate::daemon::shared::Shared;
use crate::daemon::{specs, vpn};
use crate::model::{Instance, InstanceId};
use crate::planner::container::container_name;
use crate::planner::hubs::{Candidate, HubSeen, HubStep, Wanted, plan};
use crate::release::gateway::EDGE_NETWORK;
use crate::release::spec::ServiceSpec;
use crate::render::vpn::lead_to;
use crate::runtime::ContainerState;
use crate::store::{HubRow, NetworkRow};
use crate::telemetry::Chain;

/// Brings one hub to where it should lead, or says why it is not there yet.
pub(super) async fn arrange_or_say(shared: &Shared, hub: &HubRow, row: &Instance, aim: Aim) {
    if let Err(error) = arrange(shared, hub, row, aim).await {
        shared.hubs.settle(hub.instance, None);
        tracing::debug!(
            instance.id = %hub.instance, team.id = %hub.team, error = %Chain(&error),
            "the hub of team {} does not lead to all of its engagements yet, trying again", hub.team
        );
    }
}

/// Brings one hub to where it should lead.
async fn arrange(shared: &Shared, hub: &HubRow, row: &Instance, aim: Aim) -> Result<(), Fault> {
    let Aim { wanted, owners } = aim;
    let all: BTreeSet<_> = wanted.values().copied().collect();
    if hub.told.as_ref() == Some(&all) && shared.hubs.is_as_wanted(hub.instance, &wanted) {
        return Ok(());
    }
    let stored = specs::of(shared, row).await?.ok_or(Fault::Again)?;
    let gateway = stored.spec.gateway().ok_or(Fault::Again)?;
    let name = container_name(shared.data.installation(), row.id, &gateway.name);
    let seen = shared.engine.container(&name).await?.ok_or(Fault::Again)?;
    if seen.state != ContainerState::Running {
        return Err(Fault::Again);
    }
    let view = HubSeen {
        edge: seen.wishes.get(EDGE_NETWORK).cloned().ok_or(Fault::Again)?,
        on: seen.addresses.keys().cloned().collect(),
        told: hub.told.clone(),
    };
    let mut told = hub.told.clone();
    let (mut missing, mut outcome) = (BTreeSet::new(), Ok(()));
    for step in plan(&wanted, &view) {
        match step {
            HubStep::Tell(networks) => {
                let networks: BTreeSet<_> = networks.difference(&missing).copied().collect();
                if told.as_ref() != Some(&networks) {
                    shared.store.note_hub_told(hub.instance, None).await?;
                    vpn::ask(shared, row, lead_to(&networks)).await?;
                    shared.store.note_hub_told(hub.instance, Some(networks.clone())).await?;
                    told = Some(networks);
                }
            }
            HubStep::Disconnect(network) => {
                shared.engine.disconnect_network(&network, &seen.id).await?;
            }
            HubStep::Connect(network, subnet) => {
                let owner = *owners.get(&network).ok_or(Fault::Again)?;
                // One that cannot be reached keeps the hub from no other.
                if let Err(error) = connect(shared, &seen.id, owner, (&network, subnet)).await {
                    missing.insert(subnet);
                    outcome = Err(error);
                }
            }
        }
    }
    outcome?;
    shared.hubs.settle(hub.instance, Some(wanted));
    Ok(())
}

/// Puts a hub onto a network of `owner`.
async fn connect(
    shared: &Shared,
    hub: &str,
    owner: InstanceId,
    (network, subnet): (&str, Ipv4Net),
) -> Result<(), Fault> {
    // The intent. Whoever gives the network back from now on removes it.
    if !shared.store.mark_single_use(subnet, owner, network).await? {
        return Err(Fault::Again);
    }
    shared.engine.connect_network(network, hub).await?;
    Ok(())
}

/// Where a hub should lead, and whose each network is.
pub(super) struct Aim {
    wanted: Wanted,
    owners: BTreeMap<String, InstanceId>,
}

/// Where the hub of these engagements should lead.
pub(super) fn wanted(networks: &[NetworkRow], its: &[Engagement]) -> Aim {
    let mut aim = Aim { wanted: Wanted::new(), owners: BTreeMap::new() };
    for row in networks {
        let (Some((owner, wish)), Some(id)) = (&row.owner, &row.engine_id) else { continue };
        let Some(engagement) = its.iter().find(|it| it.row.id == *owner) else { continue };
        let is_reached =
            |gateway: &ServiceSpec| wish != EDGE_NETWORK && gateway.networks.contains_key(wish);
        if !engagement.spec.gateway().is_some_and(is_reached) {
            continue;
        }
        let on_it = engagement.spec.services.iter().filter(|it| it.networks.contains_key(wish));
        let candidate = Candidate { subnet: row.spec.subnet, n_containers: on_it.count() };
        if candidate.has_room() {
            aim.wanted.insert(id.clone(), row.spec.subnet);
            aim.owners.insert(id.clone(), *owner);
        }
    }
    aim
}
