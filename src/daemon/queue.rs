//! One worker per instance: who is busy, and what arrived meanwhile.
//!
//! A trigger carries only an id. One that arrives while the worker of that instance is busy is
//! remembered, never dropped; what to do is decided from the level, not from the trigger.
//!
//! # Invariants
//! * At most one worker per instance.
//! * After [`trigger`] returned, a worker looks at the instance at least once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::instances::spawn_worker;
use super::shared::Shared;
use crate::model::{InstanceId, ServiceName};
use crate::planner::Crashes;

/// The workers that are busy, by instance.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    workers: Mutex<BTreeMap<InstanceId, Arc<Signal>>>,
    /// Deaths, kept from one worker of an instance to the next, so that a service which dies again
    /// and again is started ever later.
    crashes: Mutex<BTreeMap<InstanceId, BTreeMap<ServiceName, Crashes>>>,
    /// When the last worker of an instance was done, for as long as a listing may take.
    done: Mutex<BTreeMap<InstanceId, Instant>>,
}

/// No listing takes longer than this.
const LONGEST_LISTING: Duration = Duration::from_secs(600);

impl Queue {
    fn workers(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Arc<Signal>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a worker off the table, unless it was rung meanwhile: then it must go on.
    pub(crate) fn retire(&self, id: InstanceId, signal: &Signal) -> bool {
        let mut workers = self.workers();
        if signal.take() {
            return false;
        }
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Instant::now());
        workers.remove(&id);
        true
    }

    /// Instances that a worker was at since `then`: what was listed since then may be older than
    /// what was done.
    pub(crate) fn touched_since(&self, then: Instant) -> BTreeSet<InstanceId> {
        // In the order of `retire`: whoever leaves one table is in the other.
        let workers = self.workers();
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.retain(|_, at| at.elapsed() < LONGEST_LISTING);
        let recent = done.iter().filter(|(_, at)| **at >= then).map(|(id, _)| *id);
        workers.keys().copied().chain(recent).collect()
    }

    /// The deaths that earlier workers repaired.
    pub(crate) fn crashes_of(&self, id: InstanceId) -> BTreeMap<ServiceName, Crashes> {
        let crashes = self.crashes.lock().unwrap_or_else(PoisonError::into_inner);
        crashes.get(&id).cloned().unwrap_or_default()
    }

    /// Keeps deaths for the workers to come.
    pub(crate) fn remember(&self, id: InstanceId, crashes: BTreeMap<ServiceName, Crashes>) {
        self.crashes.lock().unwrap_or_else(PoisonError::into_inner).insert(id, crashes);
    }

    /// Nothing of the instance is left.
    pub(crate) fn forget(&self, id: InstanceId) {
        self.crashes.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// How a busy worker hears that something changed.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    is_dirty: AtomicBool,
    bell: Notify,
}

impl Signal {
    fn ring(&self) {
        self.is_dirty.store(true, Ordering::SeqCst);
        self.bell.notify_one();
    }

    /// Whether it rang since the last call.
    pub(crate) fn take(&self) -> bool {
        self.is_dirty.swap(false, Ordering::SeqCst)
    }

    /// Waits until it rings. Cancel-safe: a ring that nobody waited for is kept.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}

/// Makes sure that a worker looks at instance `id` after this call.
pub(crate) fn trigger(shared: &Arc<Shared>, id: InstanceId) {
    let mut workers = shared.queue.workers();
    if let Some(signal) = workers.get(&id) {
        signal.ring();
        return;
    }
    if shared.tasks.stopping().is_cancelled() {
        return;
    }
    let signal = Arc::new(Signal::default());
    workers.insert(id, Arc::clone(&signal));
    spawn_worker(shared, id, signal);
}

/// Rings at every worker, so that those which wait for the engine need not wait any longer.
pub(crate) fn wake_all(shared: &Shared) {
    for signal in shared.queue.workers().values() {
        signal.ring();
    }
}

/// Whether a worker is busy with it.
pub(crate) fn is_busy(shared: &Shared, id: InstanceId) -> bool {
    shared.queue.workers().contains_key(&id)
}
