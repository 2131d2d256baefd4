//! The HTTP in captured packets of an instance: read by a child, and who asked.
//!
//! # Invariants
//! * Players may ask as often as they like: an instance is read once in [`FRESH`], whoever asks, and
//!   [`N_READERS`] are read at a time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::Ipv4Net;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::super::shared::Shared;
use super::{CaptureError, of};
use crate::model::InstanceId;
use crate::store::NetworkRow;
use crate::traffic::{Flow, Side};

/// Captures that are read at a time: each may be in memory as a whole.
const N_READERS: usize = 2;
/// How long what was read is good enough.
const FRESH: Duration = Duration::from_secs(2);

/// Who reads, and what was read a moment ago.
pub(super) struct Readers {
    slots: Semaphore,
    read: Mutex<BTreeMap<InstanceId, Read>>,
}

/// What was read, and when.
struct Read {
    at: Instant,
    flows: Arc<[Flow]>,
}

impl Default for Readers {
    fn default() -> Self {
        Self { slots: Semaphore::new(N_READERS), read: Mutex::default() }
    }
}

impl Readers {
    fn fresh(&self, id: InstanceId) -> Option<Arc<[Flow]>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|_, it| it.at.elapsed() < FRESH);
        read.get(&id).map(|it| Arc::clone(&it.flows))
    }

    fn keep(&self, id: InstanceId, flows: &Arc<[Flow]>) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert(id, Read { at: Instant::now(), flows: Arc::clone(flows) });
    }
}

/// The HTTP in what was captured of an instance on this machine, by time.
///
/// # Errors
/// When the disk, the database or the child that reads does not answer.
pub(crate) async fn flows_of(shared: &Shared, id: InstanceId) -> Result<Arc<[Flow]>, CaptureError> {
    let readers = &shared.captures.readers;
    let _slot = readers.slots.acquire().await;
    if let Some(flows) = readers.fresh(id) {
        return Ok(flows);
    }
    let Some(captured) = of(shared, id).await? else { return Ok(Arc::default()) };
    let mut flows = shared.renderer.read_traffic(captured.pcap).await?;
    let owns = |row: &NetworkRow| row.owner.as_ref().is_some_and(|(owner, _)| *owner == id);
    let networks = shared.store.networks().await?;
    let subnets: Vec<_> =
        networks.iter().filter(|row| owns(row)).map(|row| row.spec.subnet).collect();
    for flow in &mut flows {
        flow.metadata.side = side(flow, &subnets);
    }
    let flows: Arc<[Flow]> = flows.into();
    readers.keep(id, &flows);
    Ok(flows)
}

/// Who asked: the first address of a network is this machine, which speaks for players.
pub(super) fn side(flow: &Flow, subnets: &[Ipv4Net]) -> Side {
    let (IpAddr::V4(client), IpAddr::V4(server)) = (flow.client.ip, flow.server.ip) else {
        return Side::Inside;
    };
    let is_asked = subnets.iter().any(|subnet| subnet.contains(&server));
    let is_own = |subnet: &Ipv4Net| {
        subnet.contains(&client) && subnet.hosts().next().is_some_and(|gateway| gateway != client)
    };
    if is_asked && !subnets.iter().any(is_own) { Side::Outside } else { Side::Inside }
}
