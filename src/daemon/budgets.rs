//! Ends instances that write more to the node's disk than they may.
//!
//! In:  what the engine's disk holds of each instance, every ten seconds. Out: instances that end with
//! `disk_quota`, which their owners read, and conditions for operators.
//!
//! # Not here
//! Who is over (`planner::budget`), how it is measured (`runtime`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::executor::Fault;
use super::shared::{Shared, Statement};
use super::{queue, specs};
use crate::model::{ConditionStatus, ConditionType, Instance, Scope};
use crate::planner::budget::{self, Over};
use crate::planner::lifecycle;
use crate::store::{InstanceFilter, Which};
use crate::telemetry::Chain;

/// Between two looks: what is written in that time is over the budget at most.
const EVERY: Duration = Duration::from_secs(10);

/// Looks until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    while shared.tasks.sleep(EVERY).await {
        if !shared.is_engine_ready() {
            continue;
        }
        if let Err(error) = look(&shared).await {
            tracing::warn!(
                error = %Chain(&error),
                "could not look how much instances wrote, trying again in {} s", EVERY.as_secs()
            );
        }
    }
}

/// One look: whoever is over is ended.
///
/// # Errors
/// When the engine or the store does not answer: then nobody is.
pub(crate) async fn look(shared: &Arc<Shared>) -> Result<(), Fault> {
    let live = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
    let mut budgets = BTreeMap::new();
    for instance in shared.store.instances(live).await? {
        if let Some(stored) = specs::of(shared, &instance).await? {
            let node_mib = shared.config.limits.max_disk_mib;
            budgets.insert(instance.id, budget::budget_bytes(node_mib, &stored.spec.demands));
        }
    }
    let Some(enough) = budgets.values().max().copied() else { return Ok(()) };
    let Some(used) = shared.engine.disk_use(enough).await? else { return Ok(()) };
    for over in budget::over(&used, &budgets) {
        end(shared, &over).await?;
    }
    Ok(())
}

async fn end(shared: &Arc<Shared>, over: &Over) -> Result<(), Fault> {
    let (id, why) = (over.id, over.words());
    let change = move |row: &mut Instance| lifecycle::overfull(row, why);
    let changed = shared.store.change_instance(id, change).await?;
    let Some((instance, true)) = changed else { return Ok(()) };
    tracing::warn!(
        instance.id = %id, challenge.id = %instance.challenge, used_bytes = over.used_bytes,
        budget_bytes = over.budget_bytes, "instance {id} wrote more than it may and is ended"
    );
    if !instance.is_canary() {
        let (scope, kind) = (Scope::Instance(id), ConditionType::Healthy);
        let (status, reason) = (ConditionStatus::False, "DiskQuota");
        let (message, revision) = (over.words(), Some(instance.revision));
        shared.state(Statement { scope, kind, status, reason, message, revision }).await;
    }
    queue::trigger(shared, id);
    Ok(())
}
