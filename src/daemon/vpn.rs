//! The VPN gateways of engagements: what each is filled with, and who it admits while it runs.
//!
//! A change of who may connect is a row first. A gateway that starts later is filled from the rows; one
//! that runs is told, again and again until it was, so that a crash in between costs time only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::executor::Fault;
use super::shared::Shared;
use crate::catalog;
use crate::model::compose::HealthTest;
use crate::model::{Instance, InstanceId, VpnAccess};
use crate::planner::container::container_name;
use crate::release::gateway::EDGE_NETWORK;
use crate::release::spec::{InstanceSpec, ServiceSpec};
use crate::render::vpn::{self, Holder, Own, RefusedAt};
use crate::runtime::{ContainerState, EngineError};
use crate::store::StoreError;

/// How long one question to a gateway may take.
const ASK_DEADLINE: Duration = Duration::from_secs(10);
/// When a gateway that could not be told is tried again: revoked means refused within 5 s.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A look without a cause.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What is known of the VPN of `instance`, or that its networks are not there yet.
pub(super) async fn facts(
    shared: &Shared,
    instance: &Instance,
    spec: &InstanceSpec,
) -> Result<vpn::Facts, Fault> {
    let gateway = spec.gateway().ok_or(Fault::Again)?;
    let rows = shared.store.networks().await?;
    let subnet_of = |wish: &String| -> Option<Ipv4Net> {
        let is_its = |(owner, name): &(InstanceId, String)| *owner == instance.id && name == wish;
        rows.iter().find(|row| row.owner.as_ref().is_some_and(is_its)).map(|row| row.spec.subnet)
    };
    let mut networks = Vec::new();
    let mut tunnel = None;
    for wish in gateway.networks.keys() {
        let subnet = subnet_of(wish).ok_or(Fault::Again)?;
        match wish == EDGE_NETWORK {
            true => tunnel = Some(shared.config.network.tunnel_of(subnet)),
            false => networks.push(subnet),
        }
    }
    Ok(vpn::Facts {
        instance: instance.id,
        created_at: instance.created_at,
        networks,
        clients: tunnel.ok_or(Fault::Again)?,
        admitted: admitted(shared, instance).await?,
    })
}

/// The templates that the repository has of its own at the commit of `instance`. Ours stand in for
/// what cannot be read: a gateway of ours is as safe, and a player is not kept out.
pub(super) async fn own_templates(shared: &Shared, instance: &Instance) -> Own {
    let (mirror, revision) = (Arc::clone(&shared.mirror), instance.revision);
    let read = move || catalog::gateway_templates(&mirror.tree(revision)?);
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(own)) => own,
        Ok(Err(error)) => {
            tracing::warn!(
                instance.id = %instance.id, error = %crate::telemetry::chain::Chain(&error),
                "the commit of instance {} cannot be read: its gateway is made of the platform's own templates",
                instance.id
            );
            Own::default()
        }
        // The daemon stops.
        Err(_) => Own::default(),
    }
}

/// Says that a template of the repository was not used for `instance`.
pub(super) fn tell_refused(instance: &Instance, refused: Option<RefusedAt>) {
    let Some(refused) = refused else { return };
    tracing::warn!(
        instance.id = %instance.id, revision = %instance.revision, refused = %refused,
        "a template of the repository was refused, so the platform's own is used: {refused}; `flagops check` says why"
    );
}

/// How its team, the only holder, stands with the VPN of `instance`.
pub(super) async fn access(shared: &Shared, instance: &Instance) -> Result<VpnAccess, StoreError> {
    let holder = instance.team.as_uuid();
    let rows = shared.store.vpn_access(instance.id).await?;
    Ok(rows.into_iter().find(|row| row.holder == holder).unwrap_or(VpnAccess {
        instance: instance.id,
        holder,
        serial: 1,
        is_revoked: false,
        is_applied: true,
        changed_at: instance.created_at,
    }))
}

async fn admitted(shared: &Shared, instance: &Instance) -> Result<Vec<Holder>, StoreError> {
    let access = access(shared, instance).await?;
    let holder = Holder { id: access.holder, serial: access.serial };
    Ok(if access.is_revoked { Vec::new() } else { vec![holder] })
}

/// Tells running gateways what changed, until the daemon stops.
pub(super) async fn keep(shared: Arc<Shared>) {
    loop {
        let pause = match tell_all(&shared).await {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                tracing::debug!(error = %crate::telemetry::chain::Chain(&error), "a VPN gateway was not told who may connect");
                RETRY_AFTER
            }
        };
        tokio::select! {
            () = shared.vpn_due.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = shared.tasks.stopping().cancelled() => return,
        }
    }
}

/// Tries every gateway; the first error, after all were tried.
async fn tell_all(shared: &Shared) -> Result<(), Fault> {
    let mut by_instance: BTreeMap<InstanceId, Vec<VpnAccess>> = BTreeMap::new();
    for access in shared.store.unapplied_vpn_access().await? {
        by_instance.entry(access.instance).or_default().push(access);
    }
    let mut outcome = Ok(());
    for (id, changes) in by_instance {
        let told = tell(shared, id, changes).await;
        outcome = outcome.and(told);
    }
    outcome
}

async fn tell(shared: &Shared, id: InstanceId, changes: Vec<VpnAccess>) -> Result<(), Fault> {
    let Some(instance) = shared.store.instance(id).await? else { return Ok(()) };
    let mut words = vec!["clients".to_owned()];
    words.extend(admitted(shared, &instance).await?.iter().map(Holder::to_string));
    // One that is not up yet may have been filled before the change: it is told as soon as it runs.
    ask(shared, &instance, words).await?;
    for change in changes {
        shared.store.vpn_access_applied(change).await?;
    }
    Ok(())
}

/// Asks the gateway of `instance`; what it said. [`Fault::Again`] when it does not run.
pub(super) async fn ask(
    shared: &Shared,
    instance: &Instance,
    words: Vec<String>,
) -> Result<String, Fault> {
    let stored = super::specs::of(shared, instance).await?.ok_or(Fault::Again)?;
    let gateway = stored.spec.gateway().ok_or(Fault::Again)?;
    let name = container_name(shared.data.installation(), instance.id, &gateway.name);
    let seen = shared.engine.container(&name).await?.ok_or(Fault::Again)?;
    if seen.state != ContainerState::Running {
        return Err(Fault::Again);
    }
    let test = HealthTest::Exec([vec![vpn::PROGRAM.to_owned()], words].concat());
    let outcome = shared.engine.exec(&seen.id, &test, ASK_DEADLINE).await?;
    if outcome.code == 0 {
        return Ok(outcome.output);
    }
    Err(Fault::Engine(EngineError::Refused {
        what: format!("ask the gateway `{name}`"),
        reason: format!("it ended with {}: {}", outcome.code, outcome.output.trim()),
    }))
}

/// The services that players reach through `gateway`, with their addresses, sorted.
pub(super) async fn hosts(
    shared: &Shared,
    instance: &Instance,
    gateway: &ServiceSpec,
) -> Result<Vec<(String, std::net::Ipv4Addr)>, Fault> {
    let rows = shared.store.networks().await?;
    let reached = |network: &String| {
        rows.iter().any(|row| {
            let is_its = |(owner, wish): &(InstanceId, String)| {
                *owner == instance.id && wish != EDGE_NETWORK && gateway.networks.contains_key(wish)
            };
            row.engine_id.as_ref() == Some(network) && row.owner.as_ref().is_some_and(is_its)
        })
    };
    let containers = shared.engine.containers(Some(instance.id)).await?;
    let mut hosts: Vec<_> = containers
        .iter()
        .filter(|seen| seen.state == ContainerState::Running)
        .filter_map(|seen| Some((seen.service.as_ref()?, &seen.addresses)))
        .filter(|(service, _)| **service != gateway.name)
        .flat_map(|(service, addresses)| {
            let on = addresses.iter().filter(|(network, _)| reached(network));
            on.map(|(_, address)| (service.to_string(), *address))
        })
        .collect();
    hosts.sort();
    Ok(hosts)
}
