//! How far images are on all nodes together: what decides whether a version may go live.

use std::collections::BTreeMap;

use super::super::shared::Shared;
use crate::model::{BuildKey, BuildState, Duty};
use crate::release::spread::{Reach, spread};
use crate::store::StoreError;

/// The state of every image, as the gate of releases sees it: of this machine where it runs instances,
/// and of every node that is heard of and on duty. One that is silent or off duty holds nobody up.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn states(shared: &Shared) -> Result<BTreeMap<BuildKey, BuildState>, StoreError> {
    let own = shared.store.build_states().await?;
    let roster = shared.nodes.roster();
    if roster.is_empty() && shared.config.nodes.local {
        return Ok(own);
    }
    let now = shared.now();
    let patience = shared.config.nodes.lost_after_secs;
    let counts =
        |node: &crate::model::Node| node.duty == Duty::Active && node.is_heard(now, patience);
    let mut all: Vec<&BTreeMap<BuildKey, BuildState>> = roster
        .values()
        .filter(|known| counts(&known.node))
        .map(|known| &known.node.report.builds)
        .collect();
    if shared.config.nodes.local {
        all.push(&own);
    }
    Ok(spread(&all, Reach::of(shared.config.release.canary)))
}
