//! Ends instances whose lease is over, once a second, and keeps leases whole when the clock jumps.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::shared::Shared;
use super::steady::JUMP_MILLIS;
use super::{activities, pauses, queue};
use crate::model::{Happening, Instance, InstanceId, InstancePhase, Scope, StopReason};
use crate::planner::lifecycle;
use crate::store::StoreError;
use crate::telemetry::Chain;

/// How long the end of an instance of our own making is waited for.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at it.
const END_POLL: Duration = Duration::from_millis(100);
/// How often it is noted that we live, in looks.
const NOTE_EVERY: u64 = 30;

/// Watches the leases until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut n_looks: u64 = 0;
    while shared.tasks.sleep(Duration::from_secs(1)).await {
        n_looks += 1;
        if let Err(error) = look(&shared, n_looks).await {
            tracing::error!(
                error = %crate::telemetry::chain::Chain(&error),
                "could not look for ended leases, trying again in a second"
            );
        }
    }
}

async fn look(shared: &Arc<Shared>, n_looks: u64) -> Result<(), StoreError> {
    // The clock first: a jump must not end a lease.
    if let Some(by) = shared.clock.look() {
        follow_jump(shared, by).await?;
    }
    if n_looks % NOTE_EVERY == 1 {
        shared.store.note_time(shared.now()).await?;
    }
    expire(shared).await
}

/// The wall clock was set: what depends on it moves along, and everything is looked at anew.
async fn follow_jump(shared: &Arc<Shared>, by_millis: i64) -> Result<(), StoreError> {
    shared.store.move_times(by_millis).await?;
    shared.clock.follow(by_millis);
    tracing::warn!(
        clock.jump_ms = by_millis,
        "the clock of this machine jumped by {} s: leases keep what was left of them; is time kept by NTP?",
        by_millis / 1000
    );
    shared.engine_doubt.notify_one();
    queue::wake_all(shared);
    Ok(())
}

/// The wall clock may have been set back while no daemon lived: then what was left of a lease is
/// left of it still. Set forward it cannot be told from a long pause.
///
/// # Errors
/// When the database fails.
pub(crate) async fn after_downtime(shared: &Shared) -> Result<(), StoreError> {
    let now = shared.now();
    if let Some(last_seen) = shared.store.last_seen().await? {
        let by = now.millis_since(last_seen);
        if by <= -JUMP_MILLIS {
            tracing::warn!(clock.jump_ms = by, "the clock of this machine was set back meanwhile");
            shared.store.move_times(by).await?;
        }
    }
    shared.store.note_time(now).await
}

async fn expire(shared: &Arc<Shared>) -> Result<(), StoreError> {
    pauses::expire(shared).await?;
    for id in shared.store.expired(shared.now()).await? {
        if shared.pauses.load().held_instance(id).is_some() {
            continue;
        }
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
    if matches!(reason, StopReason::TtlExpired | StopReason::AutoStopAfterSolve) {
        let happening = Happening::InstanceStopped {
            instance_id: id,
            node_id: instance.node.to_string(),
            reason: reason.as_str().to_owned(),
            ip: String::new(),
        };
        activities::of_instance(shared, &instance, activities::by_itself(&instance), happening);
    }
    if instance.phase == InstancePhase::Removing {
        queue::trigger(shared, id);
    } else {
        shared.store.clear_conditions(&Scope::Instance(id)).await?;
    }
    Ok(Some(instance))
}

/// Asks for the end of an instance of our own making, and waits until nothing of it is left. What
/// cannot be asked for now ends with its lease, or at the next start.
pub(crate) async fn retire(shared: &Arc<Shared>, id: InstanceId) {
    let begin = Instant::now();
    while begin.elapsed() < END_PATIENCE {
        if let Err(error) = end(shared, id, StopReason::User).await {
            tracing::warn!(
                error = %Chain(&error), instance.id = %id,
                "could not end an instance of our own, trying again"
            );
        }
        match shared.store.instance(id).await {
            Ok(Some(row)) if row.phase != InstancePhase::Stopped => {}
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "could not look at an instance of our own");
            }
        }
        if !shared.tasks.sleep(END_POLL).await {
            return;
        }
    }
}
