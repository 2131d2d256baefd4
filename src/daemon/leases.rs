//! Ends instances whose lease is over, once a second.

use std::sync::Arc;
use std::time::Duration;

use super::queue;
use super::shared::Shared;
use crate::model::{Instance, InstanceId, InstancePhase, Scope, StopReason};
use crate::planner::lifecycle;
use crate::store::StoreError;

/// Watches the leases until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    while shared.tasks.sleep(Duration::from_secs(1)).await {
        if let Err(error) = expire(&shared).await {
            tracing::error!(
                error = %crate::telemetry::chain::Chain(&error),
                "could not look for ended leases, trying again in a second"
            );
        }
    }
}

async fn expire(shared: &Arc<Shared>) -> Result<(), StoreError> {
    for id in shared.store.expired(shared.now()).await? {
        end(shared, id, StopReason::TtlExpired).await?;
    }
    Ok(())
}

/// Commits the wish that an instance be gone, and wakes its worker. The first reason stays.
///
/// Returns the row after that, or `None` when there is no live or failed instance of that id.
pub(crate) async fn end(
    shared: &Arc<Shared>,
    id: InstanceId,
    reason: StopReason,
) -> Result<Option<Instance>, StoreError> {
    let now = shared.now();
    let change = move |row: &mut Instance| lifecycle::end(row, reason, now);
    let changed = shared.store.change_instance(id, change).await?;
    let Some((instance, true)) = changed else { return Ok(None) };
    if instance.phase == InstancePhase::Removing {
        queue::trigger(shared, id);
    } else {
        shared.store.clear_conditions(&Scope::Instance(id)).await?;
    }
    Ok(Some(instance))
}
