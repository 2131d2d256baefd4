//! The hubs of teams: one gateway for each team that has engagements on this machine, which leads to all
//! of them as they come and go. Only where `vpn.mode` says so.
//!
//! A hub is a row like any other, so that its worker makes, keeps and removes it; this loop puts it onto the
//! networks of the team's engagements and tells it where to lead.
//!
//! # Invariants
//! * A network is marked before a hub is put onto it, and only while its instance has it. A marked one
//!   is never handed on (`stock`): it is removed, with whatever is on it, before its row is forgotten.
//! * Hubs are asked and told one by one, and no hub keeps another waiting.
//! * Level decides: a hub that is seen on a network that it should not be on is taken off.
//!
//! # Not here
//! Which steps those are (`planner::hubs`) and doing them (`arrange`), who may connect (`vpn`), what runs in a hub
//! (`images/openvpn`).

mod arrange;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::Instant;
use uuid::Uuid;

use super::executor::Fault;
use super::shared::{Shared, Swap};
use super::{leases, queue, specs, vpn};
use crate::config::VpnMode;
use crate::model::compose::Transport;
use crate::model::{
    AskedFor, Endpoint, EndpointKind, Instance, InstanceId, InstancePhase, NodeId, ObjectId,
    Revision, StopReason, TeamId, TreeId,
};
use crate::planner::hubs::Wanted;
use crate::planner::lifecycle;
use crate::release::gateway::hub_spec;
use crate::release::spec::InstanceSpec;
use crate::render::vpn::GATEWAY_PORT;
use crate::store::{
    HubRow, InstanceFilter, InstanceLimits, NewInstance, PortRange, StoreError, Which,
};
use crate::telemetry::Chain;

/// The competition that hubs are in, for operators who list instances.
pub(crate) const COMPETITION: &str = "vpn-hub";
/// Between two looks.
const TICK: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });
/// Between two looks at a hub that is as it should be.
const LOOK_ANYWAY: Duration = Duration::from_secs(15);
/// Between two tries to start the hub of one team.
const START_AGAIN: Duration = Duration::from_secs(30);
/// How long a hub stays without an engagement: its team's profiles stay good as long.
const LEASE_SECS: u32 = 3600;
/// Hubs that are looked after at a time.
const AT_ONCE: usize = 8;

/// Which instances are hubs, and whose.
#[derive(Debug)]
pub(crate) struct Hubs {
    teams: Swap<BTreeMap<InstanceId, TeamId>>,
    /// Those that lead to where they should, as far as anybody has looked.
    settled: Mutex<BTreeMap<InstanceId, (Wanted, Instant)>>,
    /// When the hub of a team was started last.
    started: Mutex<BTreeMap<TeamId, Instant>>,
}

impl Hubs {
    pub(crate) fn new() -> Self {
        Self { teams: Swap::default(), settled: Mutex::default(), started: Mutex::default() }
    }

    /// Whose hub an instance is; `None` when it is none.
    pub(crate) fn team_of(&self, instance: InstanceId) -> Option<TeamId> {
        self.teams.load().get(&instance).copied()
    }

    /// The hub of a team.
    pub(crate) fn of_team(&self, team: TeamId) -> Option<InstanceId> {
        self.teams.load().iter().find(|(_, its)| **its == team).map(|(id, _)| *id)
    }

    /// Whether a hub leads to where it should, as far as anybody has looked.
    pub(crate) fn is_settled(&self, hub: InstanceId) -> bool {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&hub)
    }

    fn is_as_wanted(&self, hub: InstanceId, wanted: &Wanted) -> bool {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let found = settled.get(&hub);
        found.is_some_and(|(was, at)| was == wanted && at.elapsed() < LOOK_ANYWAY)
    }

    fn settle(&self, hub: InstanceId, wanted: Option<Wanted>) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        match wanted {
            Some(wanted) => settled.insert(hub, (wanted, Instant::now())),
            None => settled.remove(&hub),
        };
    }

    /// As if nobody had looked yet.
    #[cfg(test)]
    pub(crate) fn doubt_for_test(&self) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the hub of a team may be started now; then it counts as started.
    fn take_turn(&self, team: TeamId) -> bool {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let may = started.get(&team).is_none_or(|at| at.elapsed() >= START_AGAIN);
        if may {
            started.insert(team, Instant::now());
        }
        may
    }
}

/// Recalls which instances are hubs.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn restore(shared: &Shared) -> Result<(), StoreError> {
    recall(shared, &shared.store.hubs().await?);
    Ok(())
}

fn recall(shared: &Shared, rows: &[HubRow]) {
    let teams: BTreeMap<_, _> = rows.iter().map(|row| (row.instance, row.team)).collect();
    if *shared.hubs.teams.load() != teams {
        shared.hubs.teams.store(teams);
    }
}

/// Looks after the hubs until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    while shared.tasks.sleep(TICK).await {
        if !shared.is_engine_ready() {
            continue;
        }
        let looked = match is_on(&shared) {
            IsOn::Yes => look(&shared).await,
            IsOn::No => end_all(&shared).await,
        };
        match looked {
            Ok(IsDone::No) => {}
            Ok(IsDone::Yes) => return,
            Err(error) => tracing::warn!(
                error = %Chain(&error), "could not look after the hubs of teams, trying again"
            ),
        }
    }
}

enum IsOn {
    Yes,
    No,
}

/// Whether there is anything left to look after.
enum IsDone {
    Yes,
    No,
}

/// A node's platform knows whose instances are whose; hubs are for its own machine.
fn is_on(shared: &Shared) -> IsOn {
    match shared.config.vpn.mode {
        VpnMode::Team if !shared.worker.follows() => IsOn::Yes,
        VpnMode::Team | VpnMode::Instance => IsOn::No,
    }
}

/// Ends what an earlier configuration began.
async fn end_all(shared: &Arc<Shared>) -> Result<IsDone, Fault> {
    let rows = shared.store.hubs().await?;
    for row in &rows {
        match shared.store.instance(row.instance).await? {
            Some(instance) if instance.phase.is_live() => {
                leases::end(shared, row.instance, StopReason::User).await?;
            }
            Some(_) | None => shared.store.forget_hub(row.instance).await?,
        }
    }
    recall(shared, &rows);
    Ok(if rows.is_empty() { IsDone::Yes } else { IsDone::No })
}

/// One engagement of a team, which is ready.
struct Engagement {
    row: Instance,
    spec: Arc<InstanceSpec>,
}

async fn look(shared: &Arc<Shared>) -> Result<IsDone, Fault> {
    let filter = InstanceFilter { which: Which::LiveOrFailed, ..InstanceFilter::default() };
    let rows: BTreeMap<InstanceId, Instance> =
        shared.store.instances(filter).await?.into_iter().map(|row| (row.id, row)).collect();
    let hubs = drop_ended(shared, &rows).await?;
    let engagements = engagements(shared, &rows).await?;
    let mut kept = BTreeSet::new();
    for hub in &hubs {
        if let Some(row) = rows.get(&hub.instance).filter(|row| is_wanted(row)) {
            kept.insert(hub.team);
            if engagements.contains_key(&hub.team) {
                renew(shared, row).await?;
            }
        }
    }
    for (team, its) in engagements.iter().filter(|(team, _)| !kept.contains(*team)) {
        start(shared, *team, its).await?;
    }
    let (none, networks) = (Vec::new(), shared.store.networks().await?);
    let ready = hubs.iter().filter_map(|hub| {
        let row = rows.get(&hub.instance).filter(|row| row.phase == InstancePhase::Ready)?;
        Some((hub, row, engagements.get(&hub.team).unwrap_or(&none)))
    });
    let arranging = ready.map(|(hub, row, its)| {
        let aim = arrange::wanted(&networks, its);
        arrange::arrange_or_say(shared, hub, row, aim)
    });
    futures_util::stream::iter(arranging.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
    Ok(IsDone::No)
}

/// The services that players reach through the hub of a team, with their addresses, sorted.
pub(super) async fn hosts(
    shared: &Shared,
    team: TeamId,
) -> Result<Vec<(String, std::net::Ipv4Addr)>, Fault> {
    let filter =
        InstanceFilter { team: Some(team), which: Which::Live, ..InstanceFilter::default() };
    let rows = shared.store.instances(filter).await?.into_iter().map(|row| (row.id, row)).collect();
    let mut hosts = Vec::new();
    for its in engagements(shared, &rows).await?.into_values().flatten() {
        let Some(gateway) = its.spec.gateway() else { continue };
        for (service, address) in vpn::hosts(shared, &its.row, gateway).await? {
            hosts.push((format!("{service}.{}", its.row.challenge), address));
        }
    }
    hosts.sort();
    Ok(hosts)
}

fn is_wanted(row: &Instance) -> bool {
    row.phase.is_live() && row.phase != InstancePhase::Removing
}

/// The hubs whose instances there are; what failed is taken down, what is over is forgotten.
async fn drop_ended(
    shared: &Arc<Shared>,
    rows: &BTreeMap<InstanceId, Instance>,
) -> Result<Vec<HubRow>, Fault> {
    let mut hubs = shared.store.hubs().await?;
    let mut gone = BTreeSet::new();
    for hub in &hubs {
        match rows.get(&hub.instance) {
            Some(row) if row.phase == InstancePhase::Failed => {
                leases::end(shared, hub.instance, StopReason::User).await?;
            }
            Some(_) => {}
            // Stopped, or noted by a life that ended before it wrote the row.
            None => {
                shared.store.forget_hub(hub.instance).await?;
                shared.hubs.settle(hub.instance, None);
                gone.insert(hub.instance);
            }
        }
    }
    hubs.retain(|hub| !gone.contains(&hub.instance));
    recall(shared, &hubs);
    Ok(hubs)
}

/// The engagements of this machine that are ready, by team.
async fn engagements(
    shared: &Shared,
    rows: &BTreeMap<InstanceId, Instance>,
) -> Result<BTreeMap<TeamId, Vec<Engagement>>, Fault> {
    let mut by_team: BTreeMap<TeamId, Vec<Engagement>> = BTreeMap::new();
    for row in rows.values() {
        let has_gateway = row.surface.iter().any(|it| it.kind == EndpointKind::Vpn);
        let is_here = row.node == NodeId::local() && row.phase == InstancePhase::Ready;
        if !has_gateway || !is_here || row.is_canary() {
            continue;
        }
        if let Some(stored) = specs::of(shared, row).await? {
            let engagement = Engagement { row: row.clone(), spec: stored.spec };
            by_team.entry(row.team).or_default().push(engagement);
        }
    }
    Ok(by_team)
}

/// Keeps a hub that is needed.
async fn renew(shared: &Shared, row: &Instance) -> Result<(), Fault> {
    let now = shared.now();
    if row.expires_at.millis_since(now) > i64::from(LEASE_SECS) * 500 {
        return Ok(());
    }
    let change = move |row: &mut Instance| lifecycle::renew(row, LEASE_SECS, now);
    shared.store.change_instance(row.id, change).await?;
    Ok(())
}

/// Commits the wish for the hub of a team and wakes its worker.
async fn start(shared: &Arc<Shared>, team: TeamId, its: &[Engagement]) -> Result<(), Fault> {
    let newest = its.iter().max_by_key(|it| it.row.created_at);
    let Some(image) = newest.and_then(|it| it.spec.gateway()).map(|it| it.image.clone()) else {
        return Ok(());
    };
    if !shared.hubs.take_turn(team) {
        return Ok(());
    }
    let spec = hub_spec(&image, shared.config.vpn.protocol)
        .map_err(|error| Fault::Hopeless(error.to_string()))?;
    let (network, now) = (&shared.config.network, shared.now());
    let nothing = ObjectId::from_bytes([0; 20]);
    let surface = spec.services.iter().map(|service| Endpoint {
        service: service.name.clone(),
        kind: EndpointKind::Vpn,
        host: network.public_host.clone(),
        port: 0,
        target: GATEWAY_PORT,
        transport: Transport::Udp,
        door: None,
    });
    let instance = Instance {
        surface: surface.collect(),
        ..Instance::asked_for(
            AskedFor {
                id: InstanceId::new(Uuid::new_v4()),
                challenge: spec.challenge.clone(),
                team: TeamId::CANARY,
                competition: COMPETITION.to_owned(),
                // It comes from this binary. A revision that is there keeps it from being missed.
                revision: shared.head.load().revision.unwrap_or(Revision(nothing)),
                tree: TreeId(nothing),
            },
            now,
            LEASE_SECS,
        )
    };
    let id = instance.id;
    // First: whoever finds the row must find whose it is.
    shared.store.add_hub(id, team).await?;
    recall(shared, &shared.store.hubs().await?);
    let new = NewInstance {
        instance,
        spec,
        limits: InstanceLimits { per_team: u32::MAX, per_node: u32::MAX },
        repeats: crate::store::Repeats::Another,
        ports: PortRange { first: network.first_port, last: network.last_port },
    };
    shared
        .store
        .insert_instance(new)
        .await
        .map_err(|error| Fault::Hopeless(Chain(&error).to_string()))?;
    tracing::info!(instance.id = %id, team.id = %team, "team {team} gets a hub for its engagements");
    queue::trigger(shared, id);
    Ok(())
}
