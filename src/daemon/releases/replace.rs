//! What happens to instances of a version that is live no more.
//!
//! Nothing, unless their challenge or an organizer says so: they keep what they were started from.
//! `drain` lets no lease be renewed; `force` ends them, and tells their players why.

use std::sync::Arc;

use crate::daemon::queue;
use crate::daemon::shared::Shared;
use crate::model::{ChallengeId, Instance, UpdatePolicy};
use crate::planner::lifecycle;
use crate::release::manifest::Difference;
use crate::store::{InstanceFilter, StoreError};

/// After a flip: ends stale instances of the challenges whose new version says `force`.
pub(super) async fn by_policy(shared: &Arc<Shared>, difference: &Difference) {
    let live = shared.live.load();
    let forced = difference.changed.iter().filter(|id| {
        live.get(*id)
            .is_some_and(|live| live.challenge.metadata.instance.update == UpdatePolicy::Force)
    });
    for id in forced {
        let why = "a new version of the challenge is live, start it again";
        if let Err(error) = force(shared, id, why).await {
            tracing::error!(
                error = %crate::telemetry::chain::Chain(&error), challenge.id = %id,
                "could not end instances of the old version; `flagops releases force {id}` does it"
            );
        }
    }
}

/// Ends every instance of `challenge` that is of another version than the live one; how many. Their
/// players read `why`.
///
/// # Errors
/// When the database fails.
pub(crate) async fn force(
    shared: &Arc<Shared>,
    challenge: &ChallengeId,
    why: &str,
) -> Result<usize, StoreError> {
    let tree = shared.live.load().get(challenge).map(|live| live.challenge.tree);
    let filter = InstanceFilter { challenge: Some(challenge.clone()), ..InstanceFilter::default() };
    let mut n_ended = 0;
    for instance in shared.store.instances(filter).await? {
        if Some(instance.tree) == tree {
            continue;
        }
        let words = why.to_owned();
        let end = move |row: &mut Instance| lifecycle::replace(row, words);
        if matches!(shared.store.change_instance(instance.id, end).await?, Some((_, true))) {
            queue::trigger(shared, instance.id);
            n_ended += 1;
        }
    }
    Ok(n_ended)
}
