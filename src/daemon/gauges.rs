//! Keeps the numbers that are levels, not events: instances, builds and challenges by state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;
use crate::model::{BuildState, InstanceStatus};
use crate::store::{InstanceFilter, StoreError, Which};
use crate::telemetry::metrics;

/// Between two readings.
const EVERY: Duration = Duration::from_secs(5);

/// Reads the levels until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    while shared.tasks.sleep(EVERY).await {
        if let Err(error) = read(&shared).await {
            tracing::debug!(error = %crate::telemetry::chain::Chain(&error), "could not read the levels");
        }
    }
}

async fn read(shared: &Shared) -> Result<(), StoreError> {
    let filter = InstanceFilter { which: Which::LiveOrFailed, ..InstanceFilter::default() };
    let mut by_status: BTreeMap<InstanceStatus, usize> = BTreeMap::new();
    for instance in shared.store.instances(filter).await? {
        *by_status.entry(instance.status()).or_default() += 1;
    }
    metrics::instances(&by_status);
    let builds = shared.store.build_states().await?;
    let is_pending =
        |state: &&BuildState| matches!(state, BuildState::Unbuilt | BuildState::Building);
    metrics::builds_pending(builds.values().filter(is_pending).count());
    let head = shared.head.load();
    let n_valid = head.catalog.folders.values().filter(|folder| folder.challenge.is_some()).count();
    metrics::challenges("live", shared.live.load().len());
    metrics::challenges("valid", n_valid);
    metrics::challenges("invalid", head.catalog.folders.len() - n_valid);
    Ok(())
}
