//! Packets of instances: who is captured now, and what was.
//!
//! One loop compares what should be captured with what is (`planner::capture`, pure) and starts or ends
//! one `tcpdump` for each bridge ([`process`]). Its packets come through a pipe, so it opens no file, and
//! the daemon looks at nothing of them but their lengths. What is read of them afterwards a child reads.
//!
//! # Invariants
//! * Files are the daemon's alone, and never more than is set aside for them, whatever players send.
//! * Of one bridge there is one capture: whatever an earlier daemon left is killed before the first begins.
//! * Nobody waits for a capture, and no instance fails for want of one.
//!
//! # Not here
//! How long what is over is kept: as long as its record (`daemon::records`).

mod flows;
mod folder;
mod process;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::attachments::ChildError;
use super::shared::Shared;
use super::{hubs, isolation, solver, specs};
use crate::config::CaptureMode;
use crate::model::{Capture, Instance, InstanceId, InstancePhase, NodeId};
use crate::node::NodeError;
use crate::planner::capture::{self, Bounds, Ledger, Target};
use crate::store::{InstanceFilter, StoreError, Which};
use crate::telemetry::Chain;

use flows::Readers;
pub(crate) use flows::flows_of;
use folder::Folder;

/// Between two looks when nothing seems to change.
const EVERY: Duration = Duration::from_secs(2);
/// Changes come in bursts; one look is enough for those within this time.
const BURST: Duration = Duration::from_millis(20);
/// How long one that failed is not tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long the packets of an instance elsewhere are waited for when it ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// How segments are called that come from another node, in place of a bridge.
const ELSEWHERE: &str = "node";

/// What is captured on this machine.
pub(crate) struct Captures {
    folder: Folder,
    inner: Mutex<Inner>,
    readers: Readers,
    /// Rings when a network changed hands, or a capture ended.
    due: Notify,
}

#[derive(Default)]
struct Inner {
    ledger: Ledger,
    running: BTreeMap<Target, CancellationToken>,
    /// Why there are no packets of an instance, in words for operators.
    faults: BTreeMap<InstanceId, String>,
}

/// What was captured of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Captured {
    /// One pcap, by time.
    pub(crate) pcap: Bytes,
    /// Whether older packets had to go.
    pub(crate) is_cut: bool,
}

/// Why there is nothing to hand out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    /// The disk.
    #[error("the captured packets cannot be read")]
    Io(#[from] io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The child that reads them.
    #[error("the captured packets could not be read for HTTP")]
    Child(#[from] ChildError),
}

impl Captures {
    /// Nothing runs yet; `root` need not exist.
    pub(crate) fn at(root: std::path::PathBuf) -> Self {
        let folder = Folder::at(root);
        Self { folder, inner: Mutex::default(), readers: Readers::default(), due: Notify::new() }
    }

    /// A network went to an instance.
    pub(crate) fn ring(&self) {
        self.due.notify_one();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends what an earlier daemon left, and finds what it captured.
pub(crate) async fn restore(shared: &Shared) {
    let tag = process::tag(shared.data.installation());
    let folder = shared.captures.folder.clone();
    let found = tokio::task::spawn_blocking(move || {
        process::end_strays(&tag);
        folder.list()
    });
    for (number, target, n_bytes) in found.await.unwrap_or_default() {
        shared.captures.inner().ledger.found(number, target, n_bytes);
    }
}

/// Captures until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut bell = shared.store.instance_bell();
    let stop = shared.tasks.stopping().clone();
    loop {
        bell.mark_unchanged();
        if let Err(error) = look(&shared).await {
            tracing::warn!(
                error = %Chain(&error),
                "could not read whose packets are captured, trying again in {} s", EVERY.as_secs()
            );
        }
        // Cancel-safe: each of them only says that it is worth a look.
        tokio::select! {
            () = shared.captures.due.notified() => {}
            _ = bell.changed() => tokio::time::sleep(BURST).await,
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// One look: what runs becomes what is wanted.
///
/// # Errors
/// When the database does not answer: then everything stays as it is.
async fn look(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let wanted = wanted(shared).await?;
    let bounds = shared.config.capture.bounds();
    let plan = {
        let mut inner = shared.captures.inner();
        let running: BTreeSet<_> = inner.running.keys().cloned().collect();
        let plan = capture::plan(&wanted, &running, bounds);
        inner.faults.retain(|id, _| wanted.iter().any(|target| target.instance == *id));
        for target in &plan.held {
            let why = "no room is left for it on the node (`capture.node_mib`)".to_owned();
            inner.faults.insert(target.instance, why);
        }
        for target in &plan.stop {
            if let Some(running) = inner.running.get(target) {
                running.cancel();
            }
        }
        for target in &plan.start {
            inner.running.insert(target.clone(), shared.tasks.stopping().child_token());
        }
        plan
    };
    for target in plan.start {
        shared.tasks.spawn("capture", run(Arc::clone(shared), target));
    }
    Ok(())
}

/// What should be captured on this machine.
async fn wanted(shared: &Shared) -> Result<BTreeSet<Target>, StoreError> {
    if shared.config.capture.mode == CaptureMode::Off {
        return Ok(BTreeSet::new());
    }
    let live = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
    let mut asking = BTreeSet::new();
    for row in shared.store.instances(live).await? {
        if is_captured(shared, &row).await? {
            asking.insert(row.id);
        }
    }
    if asking.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut bridges = BTreeMap::<_, BTreeSet<String>>::new();
    for network in shared.store.networks().await? {
        let owner = network.owner.as_ref().filter(|(id, _)| asking.contains(id));
        if let (Some((id, _)), true) = (owner, network.engine_id.is_some()) {
            bridges.entry(*id).or_default().insert(network.spec.bridge);
        }
    }
    Ok(bridges.iter().flat_map(|(id, bridges)| capture::targets(*id, bridges)).collect())
}

/// Whether packets of an instance of this machine are to be captured now.
async fn is_captured(shared: &Shared, row: &Instance) -> Result<bool, StoreError> {
    let ours = [hubs::COMPETITION, isolation::COMPETITION, solver::COMPETITION];
    let is_played = row.node == NodeId::local() && !ours.contains(&row.competition.as_str());
    if !is_played || row.phase == InstancePhase::Removing {
        return Ok(false);
    }
    if shared.config.capture.mode == CaptureMode::All {
        return Ok(true);
    }
    asks(shared, row).await
}

/// Whether the version that it was started from asks for it.
async fn asks(shared: &Shared, row: &Instance) -> Result<bool, StoreError> {
    let stored = specs::of(shared, row).await?;
    Ok(stored.is_some_and(|stored| stored.spec.demands.capture == Capture::Packets))
}

/// One capture, from its begin to its end.
async fn run(shared: Arc<Shared>, target: Target) {
    let stop = shared.captures.inner().running.get(&target).cloned().unwrap_or_default();
    let ended = process::run(&shared, &target, &stop).await;
    if let Err(fault) = ended
        && !stop.is_cancelled()
    {
        let why = Chain(&fault).to_string();
        let before = shared.captures.inner().faults.insert(target.instance, why.clone());
        if before.as_ref() != Some(&why) {
            tracing::warn!(
                instance.id = %target.instance, network.bridge = target.bridge,
                "packets of instance {} are not captured, trying again every {} s: {why}",
                target.instance, RETRY.as_secs()
            );
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = stop.cancelled() => {}
        }
    }
    shared.captures.inner().running.remove(&target);
    shared.captures.ring();
}

/// What was captured of an instance on this machine; `None` when nothing was.
///
/// # Errors
/// When the disk does not answer.
pub(crate) async fn of(shared: &Shared, id: InstanceId) -> io::Result<Option<Captured>> {
    let folder = shared.captures.folder.clone();
    let read = tokio::task::spawn_blocking(move || folder.read(id)).await;
    let read = read.map_err(io::Error::other)??;
    Ok(read.map(|(pcap, is_cut)| Captured { pcap: pcap.into(), is_cut }))
}

/// How many bytes are kept of an instance on this machine.
pub(crate) async fn size_of(shared: &Shared, id: InstanceId) -> u64 {
    let folder = shared.captures.folder.clone();
    tokio::task::spawn_blocking(move || folder.n_bytes(id)).await.unwrap_or_default()
}

/// Why there are no packets of an instance of this machine, in words for operators.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn why_none(shared: &Shared, row: &Instance) -> Result<String, StoreError> {
    let fault = shared.captures.inner().faults.get(&row.id).cloned();
    if let Some(fault) = fault {
        return Ok(fault);
    }
    let why = match shared.config.capture.mode {
        CaptureMode::Off => "its node captures nothing (`capture.mode`)",
        CaptureMode::Asked if !asks(shared, row).await? => {
            "its challenge does not ask for it (`instance.capture: packets`)"
        }
        CaptureMode::Asked | CaptureMode::All => {
            "no packet went over its networks, or none is left"
        }
    };
    Ok(why.to_owned())
}

/// Keeps what a node captured of one of its instances, which is about to end.
pub(crate) async fn keep_of(
    shared: &Shared,
    row: &Instance,
    read: impl Future<Output = Result<Bytes, NodeError>>,
) {
    if size_of(shared, row.id).await > 0 {
        return;
    }
    let pcap = match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(pcap)) => pcap,
        // It captured nothing; or whoever asks it to stop will say that it does not answer.
        Ok(Err(_)) => return,
        Err(_) => return skip(row.id, "they did not come in time"),
    };
    let target = Target { instance: row.id, bridge: ELSEWHERE.to_owned() };
    let bounds = Bounds { instance_bytes: u64::MAX, ..shared.config.capture.bounds() };
    let Some(number) = begin(shared, &target, pcap.len() as u64, bounds).await else {
        return skip(row.id, "no room is left for them (`capture.node_mib`)");
    };
    let (folder, n_bytes) = (shared.captures.folder.clone(), pcap.len() as u64);
    let write = move || folder.keep(number, &target, &pcap);
    let kept = tokio::task::spawn_blocking(write).await.map_err(io::Error::other);
    match kept.and_then(|kept| kept) {
        Ok(()) => shared.captures.inner().ledger.close(number, n_bytes),
        Err(error) => {
            shared.captures.inner().ledger.close(number, 0);
            skip(row.id, &error.to_string());
        }
    }
}

fn skip(id: InstanceId, why: &str) {
    tracing::warn!(
        instance.id = %id,
        "the captured packets of instance {id} could not be kept, it ends without: {why}"
    );
}

/// Sets room aside for a segment, and removes what goes for it. `None` when there is no room.
async fn begin(shared: &Shared, target: &Target, n_bytes: u64, bounds: Bounds) -> Option<u64> {
    let begun = shared.captures.inner().ledger.begin(target, n_bytes, bounds);
    if !begun.removed.is_empty() {
        let (folder, removed) = (shared.captures.folder.clone(), begun.removed);
        let remove = move || {
            for (number, segment) in &removed {
                folder.remove(*number, &segment.target);
            }
        };
        let _ = tokio::task::spawn_blocking(remove).await;
    }
    begun.number
}

/// Removes what was captured of instances that are over and that the archive does not have any more.
pub(crate) async fn prune(shared: &Shared) {
    // What a lost database knew is looked at by a person first.
    if shared.awaits_acceptance() {
        return;
    }
    let kept = shared.captures.inner().ledger.instances();
    for id in kept {
        match is_known(shared, id).await {
            Ok(true) => {}
            Ok(false) => {
                let folder = shared.captures.folder.clone();
                let _ = tokio::task::spawn_blocking(move || folder.discard(id)).await;
                shared.captures.inner().ledger.forget(id);
            }
            Err(error) => {
                return tracing::warn!(
                    error = %Chain(&error),
                    "could not prune captured packets, trying again in a few minutes"
                );
            }
        }
    }
}

/// Whether it is not over, or in the archive.
async fn is_known(shared: &Shared, id: InstanceId) -> Result<bool, StoreError> {
    let row = shared.store.instance(id).await?;
    Ok(row.is_some_and(|row| row.phase.is_live())
        || shared.store.instance_record(id).await?.is_some())
}
