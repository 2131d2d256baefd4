//! The VPN gateways of engagements: what each is filled with, and who it admits while it runs.
//!
//! Who may connect follows from rows: members of the team, and what was rotated or revoked. A gateway that
//! starts is filled from them; one that runs is told whenever it was told something else last, again and
//! again until it was, so that a lost hint or a crash in between costs time only.
//!
//! # Invariants
//! * What a gateway was told last is forgotten before it is told something else: what nobody knows is told
//!   once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use ipnet::Ipv4Net;
use tokio::time::Instant;

use super::executor::Fault;
use super::platform::Platform;
use super::shared::Shared;
use crate::catalog;
use crate::config::NetworkConfig;
use crate::model::compose::HealthTest;
use crate::model::{
    EndpointKind, Instance, InstanceId, InstancePhase, NodeId, TeamId, VpnProtocol,
};
use crate::node::wire::VpnOrder;
use crate::planner::container::container_name;
use crate::planner::vpn::{self as rules, Standing};
use crate::release::gateway::EDGE_NETWORK;
use crate::release::spec::{InstanceSpec, ServiceSpec};
use crate::render::vpn::{self, Own, RefusedAt};
use crate::runtime::{ContainerState, EngineError};
use crate::store::{InstanceFilter, StoreError, Which};
use crate::telemetry::Chain;

/// How long one question to a gateway may take.
const ASK_DEADLINE: Duration = Duration::from_secs(10);
/// When a gateway that could not be told is tried again: revoked means refused within 5 s.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often that is, before it is more likely that something is broken.
const QUICK_TRIES: u32 = 30;
/// When it is tried again after that.
const SLOW_RETRY_AFTER: Duration = Duration::from_secs(15);
/// A look without a cause.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Between two looks who is connected: longer than a connection lasts whose machine moved.
const CONNECTED_EVERY: Duration = Duration::from_secs(90);

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
    let (config, protocol) = (&shared.config.network, spec.vpn);
    let mut networks = Vec::new();
    let (mut clients, mut hub) = (None, None);
    for wish in gateway.networks.keys() {
        let subnet = subnet_of(wish).ok_or(Fault::Again)?;
        match wish == EDGE_NETWORK {
            true => {
                clients = Some(clients_of(config, protocol, subnet));
                let is_hub = shared.hubs.team_of(instance.id).is_some();
                hub = is_hub.then_some(vpn::Hub { edge: subnet, pool: config.pool });
            }
            false => networks.push(subnet),
        }
    }
    Ok(vpn::Facts {
        instance: instance.id,
        protocol,
        created_at: instance.created_at,
        networks,
        clients: clients.ok_or(Fault::Again)?,
        admitted: rules::admitted(&standings(shared, instance).await?),
        hub,
    })
}

/// The addresses inside the tunnel of a gateway on `edge`. With WireGuard everybody's follows from who
/// they are, so that they come from the whole pool, or two would soon have the same.
fn clients_of(config: &NetworkConfig, protocol: VpnProtocol, edge: Ipv4Net) -> Ipv4Net {
    match protocol {
        VpnProtocol::OpenVpn => config.tunnel_of(edge),
        VpnProtocol::WireGuard => config.tunnel_pool,
    }
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
                instance.id = %instance.id, error = %Chain(&error),
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

/// How each who may have a profile of `instance` stands, those who joined first before the others.
pub(super) async fn standings(
    shared: &Shared,
    instance: &Instance,
) -> Result<Vec<Standing>, StoreError> {
    if let Some(seats) = shared.worker.given(instance.id).and_then(|given| given.vpn_seats) {
        return Ok(rules::standings_of_seats(instance.team, &seats));
    }
    let members = shared.store.members_of(team_of(shared, instance)).await?;
    let access = shared.store.vpn_access(instance.id).await?;
    let team = team_name(shared, instance).await?;
    Ok(rules::standings((team_of(shared, instance), &team), &members, &access))
}

/// The team that plays in an instance, or whose hub it is.
fn team_of(shared: &Shared, instance: &Instance) -> TeamId {
    shared.hubs.team_of(instance.id).unwrap_or(instance.team)
}

/// How people call the team of `instance`; empty where nobody knows.
pub(super) async fn team_name(shared: &Shared, instance: &Instance) -> Result<String, StoreError> {
    let given = || shared.worker.given(instance.id).map(|given| given.team);
    let team = shared.store.team(team_of(shared, instance)).await?;
    Ok(team.map(|team| team.name).or_else(given).unwrap_or_default())
}

/// Looks whose profiles are in use at several places, until the daemon stops. Of a node its platform asks.
pub(super) async fn look(platform: Platform, shared: Arc<Shared>) {
    while shared.tasks.sleep(CONNECTED_EVERY).await {
        if shared.worker.follows() {
            continue;
        }
        if let Err(error) = platform.look_at_gateways().await {
            tracing::warn!(error = %Chain(&error), "could not look who is connected, trying again");
        }
    }
}

/// Tells gateways whom they let in, until the daemon stops. Each by itself: one that hangs keeps no
/// other waiting.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut telling = FuturesUnordered::new();
    let mut failed: BTreeMap<InstanceId, u32> = BTreeMap::new();
    let mut busy = BTreeSet::new();
    let mut next_look = Instant::now();
    loop {
        // Cancel-safe: a ring that nobody waited for is kept, and so is what is being told.
        tokio::select! {
            () = shared.vpn_due.notified() => {}
            () = tokio::time::sleep_until(next_look) => {}
            Some((id, outcome)) = telling.next() => {
                busy.remove(&id);
                match outcome {
                    Ok(()) => { failed.remove(&id); }
                    Err(_) => { *failed.entry(id).or_default() += 1; }
                }
                continue;
            }
            () = shared.tasks.stopping().cancelled() => return,
        }
        let due = due(&shared).await.unwrap_or_else(|error| {
            tracing::warn!(error = %Chain(&error), "could not look whom VPN gateways let in, trying again");
            None
        });
        let is_quiet = due.as_ref().is_some_and(Vec::is_empty);
        next_look = Instant::now() + if is_quiet { LOOK_EVERY } else { RETRY_AFTER };
        for id in due.unwrap_or_default() {
            if busy.insert(id) {
                let n_failures = failed.get(&id).copied().unwrap_or_default();
                telling.push(tell_or_pause(Arc::clone(&shared), id, n_failures));
            }
        }
    }
}

/// The instances whose gateways do not know who may connect; `None` for a moment without knowledge.
async fn due(shared: &Shared) -> Result<Option<Vec<InstanceId>>, StoreError> {
    let filter = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
    let mut rows = shared.store.instances(filter).await?;
    rows.retain(|row| {
        let has_gateway = row.surface.iter().any(|it| it.kind == EndpointKind::Vpn);
        has_gateway && row.phase != InstancePhase::Removing
    });
    if rows.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let members = shared.store.members().await?;
    let access = shared.store.live_vpn_access().await?;
    let told = shared.store.vpn_told().await?;
    let is_due = |row: &Instance| {
        let given = shared.worker.given(row.id).and_then(|given| given.vpn_seats);
        let standings = match given {
            Some(seats) => rules::standings_of_seats(row.team, &seats),
            None => {
                let team = team_of(shared, row);
                let members = members.get(&team).map_or(&[][..], Vec::as_slice);
                let access = access.get(&row.id).map_or(&[][..], Vec::as_slice);
                rules::standings((team, ""), members, access)
            }
        };
        let is_up = row.phase == InstancePhase::Ready;
        match told.get(&row.id) {
            Some(told) => {
                (is_up || row.node == NodeId::local())
                    && told.names != Some(rules::names(&rules::admitted(&standings)))
            }
            // One that is on its way is filled from the rows.
            None => is_up,
        }
    };
    Ok(Some(rows.iter().filter(|row| is_due(row)).map(|row| row.id).collect()))
}

/// Tells one gateway; when that fails, ends only after a pause.
async fn tell_or_pause(
    shared: Arc<Shared>,
    id: InstanceId,
    n_failures: u32,
) -> (InstanceId, Result<(), Fault>) {
    let told = tell(&shared, id).await;
    if let Err(error) = &told {
        tracing::debug!(
            instance.id = %id, error = %Chain(error),
            "the VPN gateway of instance {id} was not told who may connect, trying again"
        );
        let pause = if n_failures < QUICK_TRIES { RETRY_AFTER } else { SLOW_RETRY_AFTER };
        shared.tasks.sleep(pause).await;
    }
    (id, told)
}

/// Who may connect to `instance`, for the node that it is ordered from.
pub(super) async fn order(shared: &Shared, instance: &Instance) -> Result<VpnOrder, StoreError> {
    let number = shared.store.begin_vpn_telling(instance.id, shared.now()).await?;
    let seats = rules::seats(&standings(shared, instance).await?);
    let spec = super::specs::of(shared, instance).await?;
    Ok(VpnOrder { number, seats, protocol: spec.map(|it| it.spec.vpn).unwrap_or_default() })
}

async fn tell(shared: &Shared, id: InstanceId) -> Result<(), Fault> {
    let Some(instance) = shared.store.instance(id).await? else { return Ok(()) };
    // Before the look at who may connect: of two tellings the later one knows at least as much.
    let order = order(shared, &instance).await?;
    let (number, names) = (order.number, rules::names_of_seats(&order.seats));
    match shared.nodes.known(&instance.node) {
        // One that is not up yet may have been filled before the change: it is told as soon as it runs.
        None => {
            let holders = rules::holders_of_seats(&order.seats);
            let (key, pool) = (shared.data.answer_key(), shared.config.network.tunnel_pool);
            let words = vpn::let_in(key, id, order.protocol, pool, &holders)
                .map_err(|error| Fault::Hopeless(Chain(&error).to_string()))?;
            ask(shared, &instance, words).await?;
        }
        Some(known) => known.link.admit(id, order).await?,
    }
    shared.store.note_vpn_told(id, number, names).await?;
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
