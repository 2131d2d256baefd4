//! Networks made ahead: a start takes one that is ready, an instance that ends gives it back.
//!
//! Making a network costs the engine 70 ms and blocks all others meanwhile (P8), so a few empty
//! ones wait. The row in the store is written before the engine is asked, and the explicit subnet
//! and bridge name are the lock: two makers cannot both succeed (E16).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::executor::Fault;
use super::shared::Shared;
use crate::model::{InstanceId, Timestamp};
use crate::runtime::{EngineError, NetworkSeen};
use crate::store::{
    InstanceFilter, NetworkKind, NetworkRow, NetworkState, PortRange, StoreError, Which,
};

/// How long a subnet that a stranger uses is not tried again.
const STRANGER_MILLIS: i64 = 600_000;

/// A row whose network was never seen for this long belongs to a crash.
const STALE_INTENT_MILLIS: i64 = 120_000;

/// The subnets of the networks of an instance, by the engine's id.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn subnets(
    shared: &Shared,
    id: InstanceId,
) -> Result<BTreeMap<String, Ipv4Net>, StoreError> {
    let rows = shared.store.networks().await?;
    let own = rows.into_iter().filter(|row| row.owner.as_ref().is_some_and(|it| it.0 == id));
    Ok(own.filter_map(|row| Some((row.engine_id?, row.spec.subnet))).collect())
}

/// The network for one wish of an instance: from the stock, or made now.
pub(crate) async fn claim(
    shared: &Shared,
    instance: InstanceId,
    wish: &str,
    kind: NetworkKind,
) -> Result<String, Fault> {
    forget_lost(shared, instance, wish).await?;
    // Another instance can take what we just made, so try as often as there are rivals.
    for _ in 0..50 {
        let now = shared.now();
        let row = shared.store.claim_network(instance, wish, kind, now).await?;
        if let Some(id) = row.and_then(|row| row.engine_id) {
            shared.stock_low.notify_one();
            shared.captures.ring();
            return Ok(id);
        }
        make(shared, kind).await?;
    }
    Err(Fault::Again)
}

/// Forgets the network that the instance holds for `wish` when the engine does not have it: it is
/// claimed because it was not seen.
async fn forget_lost(shared: &Shared, instance: InstanceId, wish: &str) -> Result<(), Fault> {
    let rows = shared.store.networks().await?;
    let held: Vec<_> = rows.iter().filter(|row| is_held_by(row, instance, wish)).collect();
    forget_missing(shared, &held).await
}

fn is_held_by(row: &NetworkRow, instance: InstanceId, wish: &str) -> bool {
    row.owner.as_ref().is_some_and(|(owner, name)| *owner == instance && name == wish)
}

/// Gives a network back. One that a hub may be on goes away, and whatever is on it with it.
pub(crate) async fn release(
    shared: &Shared,
    instance: InstanceId,
    wish: &str,
) -> Result<(), Fault> {
    let rows = shared.store.networks().await?;
    if let Some(row) = rows.iter().find(|row| is_held_by(row, instance, wish)) {
        give_back(shared, row).await?;
    }
    Ok(())
}

/// A network that nobody has any more: into the stock, unless a hub may be on it. Then it is removed
/// first and forgotten after that, so that a kill in between leaves it with its owner.
async fn give_back(shared: &Shared, row: &NetworkRow) -> Result<(), Fault> {
    if !row.is_single_use {
        shared.store.release_network(row.spec.subnet, shared.now()).await?;
        return Ok(());
    }
    shared.engine.remove_network(row.engine_id.as_ref().unwrap_or(&row.spec.name)).await?;
    shared.store.forget_network(row.spec.subnet).await?;
    shared.stock_low.notify_one();
    Ok(())
}

/// New host ports for those that strangers use.
pub(crate) async fn reassign_ports(
    shared: &Shared,
    id: InstanceId,
    taken: Vec<u16>,
    (first, last): (u16, u16),
) -> Result<(), StoreError> {
    shared.store.reassign_ports(id, taken, PortRange { first, last }).await?;
    Ok(())
}

/// Makes one network and puts it into the stock.
async fn make(shared: &Shared, kind: NetworkKind) -> Result<(), Fault> {
    let _slot = shared.network_slots.acquire().await;
    let network = &shared.config.network;
    loop {
        let now = shared.now();
        let row = shared
            .store
            .reserve_network(
                network.pool,
                network.prefix_len,
                kind,
                shared.data.installation(),
                now,
            )
            .await?;
        let Some(row) = row else {
            make_room(shared, kind).await?;
            continue;
        };
        match shared.engine.create_network(&row.spec).await {
            Ok(id) => {
                shared.store.network_made(row.spec.subnet, &id).await?;
                return Ok(());
            }
            Err(EngineError::SubnetTaken { subnet }) => {
                tracing::warn!(
                    network.subnet = subnet,
                    "a subnet of our pool is used by a stranger, taking another"
                );
                let until = now.plus_millis(STRANGER_MILLIS);
                shared.store.block_subnet(row.spec.subnet, until).await?;
                // Refused is not made: the block stands for it from now on, not an intent.
                shared.store.forget_network(row.spec.subnet).await?;
            }
            // The row stays as the intent: the next sweep finds out whether it was made.
            Err(error) => return Err(error.into()),
        }
    }
}

/// The pool is used up: gives up an idle network of another kind.
async fn make_room(shared: &Shared, kind: NetworkKind) -> Result<(), Fault> {
    let rows = shared.store.networks().await?;
    let is_wanted = |row: &NetworkRow| row.kind() == kind;
    let mut idle = rows.iter().filter(|row| row.state == NetworkState::Ready);
    match idle.find(|row| !is_wanted(row)) {
        Some(row) => retire(shared, row).await,
        // One of them is being made, or was just given back.
        None if rows.iter().any(|row| row.state != NetworkState::Used) => Err(Fault::Again),
        None => Err(Fault::Hopeless(
            "no free network is left on the node; stop an instance or enlarge `network.pool`"
                .to_owned(),
        )),
    }
}

/// Keeps the stock full until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    loop {
        if shared.is_engine_ready()
            && let Err(error) = refill(&shared).await
        {
            tracing::debug!(error = %crate::telemetry::chain::Chain(&error), "could not refill the stock of networks");
        }
        tokio::select! {
            () = shared.stock_low.notified() => {}
            () = tokio::time::sleep(Duration::from_secs(30)) => {}
            () = shared.tasks.stopping().cancelled() => return,
        }
    }
}

async fn refill(shared: &Shared) -> Result<(), Fault> {
    loop {
        let rows = shared.store.networks().await?;
        let ready: Vec<_> = rows
            .iter()
            .filter(|row| row.state == NetworkState::Ready && row.kind() == NetworkKind::Outward)
            .collect();
        let wanted = shared.config.network.n_ready as usize;
        if ready.len() >= wanted {
            // What came back from many instances at once is not kept for ever.
            for row in ready.iter().skip((wanted * 2).max(8)) {
                retire(shared, row).await?;
            }
            return Ok(());
        }
        make(shared, NetworkKind::Outward).await?;
        if shared.tasks.stopping().is_cancelled() {
            return Ok(());
        }
    }
}

/// Removes one network of the stock: the row first says that nobody may take it.
async fn retire(shared: &Shared, row: &NetworkRow) -> Result<(), Fault> {
    if shared.store.retire_network(row.spec.subnet).await? {
        shared.engine.remove_network(&row.spec.name).await?;
        shared.store.forget_network(row.spec.subnet).await?;
    }
    Ok(())
}

/// Brings rows and engine together after a crash or a hand: adopts what was made, forgets what is
/// gone, and gives the ids of what no row knows and no container is on. `looked_at` is from before
/// `seen` was listed: a row touched since then is newer than the listing and is left alone.
pub(crate) async fn sweep(
    shared: &Shared,
    seen: &[NetworkSeen],
    looked_at: Timestamp,
) -> Result<Vec<String>, Fault> {
    let now = shared.now();
    let rows = shared.store.networks().await?;
    let mut missing = Vec::new();
    let by_name: BTreeMap<&str, &NetworkSeen> =
        seen.iter().map(|network| (network.name.as_str(), network)).collect();
    let by_id: BTreeMap<&str, &NetworkSeen> =
        seen.iter().map(|network| (network.id.as_str(), network)).collect();
    let mut live = None;
    for row in rows.iter().filter(|row| row.touched_at < looked_at) {
        let found = match &row.engine_id {
            Some(id) => by_id.get(id.as_str()),
            None => by_name
                .get(row.spec.name.as_str())
                .filter(|network| network.is_internal == row.spec.is_internal),
        };
        match (row.state, found) {
            (NetworkState::Intent, Some(network)) => {
                shared.store.network_made(row.spec.subnet, &network.id).await?;
            }
            (NetworkState::Intent, None) => {
                if now.millis_since(row.touched_at) > STALE_INTENT_MILLIS {
                    shared.store.forget_network(row.spec.subnet).await?;
                }
            }
            (NetworkState::Ready | NetworkState::Used, None) => missing.push(row),
            (NetworkState::Ready, Some(_)) => {}
            (NetworkState::Used, Some(_)) => {
                let live = match &live {
                    Some(live) => live,
                    None => live.insert(live_ids(shared).await?),
                };
                let is_over = row.owner.as_ref().is_some_and(|(owner, _)| !live.contains(owner));
                // What is removed takes everybody off: not on the word of a database that was lost.
                if is_over && !(row.is_single_use && shared.awaits_acceptance()) {
                    give_back(shared, row).await?;
                }
            }
        }
    }
    forget_missing(shared, &missing).await?;
    // A lost database knows nothing of the networks that it held.
    if shared.awaits_acceptance() {
        return Ok(Vec::new());
    }
    let known: BTreeSet<&str> = rows.iter().map(|row| row.spec.name.as_str()).collect();
    let is_idle = |it: &&NetworkSeen| it.n_containers == 0 && !known.contains(it.name.as_str());
    Ok(seen.iter().filter(is_idle).map(|network| network.id.clone()).collect())
}

/// Forgets networks that a second look does not show either: the first may have been taken while
/// one was being made.
async fn forget_missing(shared: &Shared, missing: &[&NetworkRow]) -> Result<(), Fault> {
    if missing.is_empty() {
        return Ok(());
    }
    let again = shared.engine.networks().await?;
    for row in missing {
        if !again.iter().any(|network| is_the_one(network, row)) {
            tracing::warn!(
                network.name = row.spec.name,
                "a network of ours is gone from the engine"
            );
            shared.store.forget_network(row.spec.subnet).await?;
        }
    }
    Ok(())
}

/// Whether the engine's network is that of the row. Names follow from subnets, so one that was made
/// later, by hand or by a daemon with another database, can bear the name of one that is gone: as
/// long as the row has an id, only the id tells.
fn is_the_one(network: &NetworkSeen, row: &NetworkRow) -> bool {
    match &row.engine_id {
        Some(id) => network.id == *id,
        None => network.name == row.spec.name && network.is_internal == row.spec.is_internal,
    }
}

/// The instances that live now. Read after the rows of networks: whoever owns one has a row.
async fn live_ids(shared: &Shared) -> Result<BTreeSet<InstanceId>, StoreError> {
    let live = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
    Ok(shared.store.instances(live).await?.iter().map(|instance| instance.id).collect())
}
