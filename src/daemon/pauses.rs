//! Keeps the pauses at hand, states them as conditions, and ends them at their time.

use std::sync::Arc;

use super::shared::{Shared, Statement};
use super::{queue, releases, repairs};
use crate::model::{
    ConditionStatus, ConditionType, InstancePhase, Pause, PauseKind, Pauses, Scope,
};
use crate::store::StoreError;

/// Reads what was paused before the daemon started.
///
/// # Errors
/// When the database fails.
pub(crate) async fn restore(shared: &Shared) -> Result<(), StoreError> {
    shared.pauses.store(Pauses(shared.store.pauses().await?));
    Ok(())
}

/// Begins a pause.
///
/// # Errors
/// When the database fails; then nothing is paused.
pub(crate) async fn begin(shared: &Arc<Shared>, pause: Pause) -> Result<(), StoreError> {
    shared.store.set_pause(pause.clone()).await?;
    restore(shared).await?;
    let message = format!("{pause}; `flagops resume {}` ends it", pause.scope);
    state(shared, pause.kind, pause.scope, ConditionStatus::True, message).await;
    if pause.kind == PauseKind::Freeze {
        releases::advance(shared).await;
    }
    Ok(())
}

/// Ends a pause; whether there was one. What was left alone meanwhile is looked at now.
///
/// # Errors
/// When the database fails.
pub(crate) async fn end(
    shared: &Arc<Shared>,
    kind: PauseKind,
    scope: Scope,
) -> Result<bool, StoreError> {
    let was_paused = shared.store.end_pause(kind, scope.clone()).await?;
    restore(shared).await?;
    if was_paused {
        let message = "nobody keeps us from anything".to_owned();
        state(shared, kind, scope.clone(), ConditionStatus::False, message).await;
        if let Scope::Instance(id) = scope {
            queue::trigger(shared, id);
            let row = shared.store.instance(id).await?;
            if row.is_none_or(|row| row.phase == InstancePhase::Stopped) {
                // It ended meanwhile: nothing is stated about what is no more.
                shared.store.clear_conditions(&scope).await?;
            }
        }
        if let Scope::Instance(id) = &scope {
            // Whoever lets us work on it again wants it to be repaired, whatever was before.
            repairs::begin_anew_by_hand(shared, *id).await;
        }
        // The relist finds what died meanwhile.
        shared.relist_due.notify_one();
        releases::advance(shared).await;
    }
    Ok(was_paused)
}

/// Ends what is over.
///
/// # Errors
/// When the database fails.
pub(crate) async fn expire(shared: &Arc<Shared>) -> Result<(), StoreError> {
    for pause in shared.pauses.load().over(shared.now()) {
        end(shared, pause.kind, pause.scope).await?;
    }
    Ok(())
}

async fn state(
    shared: &Shared,
    kind: PauseKind,
    scope: Scope,
    status: ConditionStatus,
    message: String,
) {
    let kind = match kind {
        PauseKind::Suspend => ConditionType::Suspended,
        PauseKind::Hold => ConditionType::Held,
        // Whoever would go live says that it waits.
        PauseKind::Freeze => return,
    };
    let (reason, revision) = ("ByOperator", None);
    shared.state(Statement { scope, kind, status, reason, message, revision }).await;
}
