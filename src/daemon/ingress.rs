//! Keeps the names that the ingress knows equal to the rows of instances.
//!
//! The rows decide: a change of them is only why they are looked at sooner. While they cannot be read
//! the names stay as they are.

use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;
use crate::ingress::{Table, routes};
use crate::store::{InstanceFilter, Which};

/// Between two looks at the rows, when nothing seems to change.
const EVERY: Duration = Duration::from_secs(2);

/// Changes come in bursts; one look is enough for those within this time.
const BURST: Duration = Duration::from_millis(20);

/// Keeps `table` until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>, table: Arc<Table>) {
    let mut bell = shared.store.instance_bell();
    table.follow(bell.clone());
    let stop = shared.tasks.stopping().clone();
    loop {
        bell.mark_unchanged();
        look(&shared, &table).await;
        // Cancel-safe: each of them only says that it is worth a look.
        tokio::select! {
            () = table.wanted() => {}
            _ = bell.changed() => {
                tokio::select! {
                    () = table.wanted() => {}
                    () = tokio::time::sleep(BURST) => {}
                }
            }
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn look(shared: &Shared, table: &Table) {
    let pass = table.begin();
    let filter = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
    match shared.store.instances(filter).await {
        Ok(rows) => table.replace(pass, routes(&rows)),
        Err(error) => tracing::warn!(
            "could not read which instances the ingress leads to: {}",
            crate::telemetry::Chain(&error)
        ),
    }
}
