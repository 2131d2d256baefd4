//! A database that was lost: what took its place is said, and nothing that it might have known is
//! taken away until a person has accepted that.
//!
//! Also makes the copies that a lost database comes back from.
//!
//! # Not here
//! Choosing and opening the copy (`store::backup`), instances that no row knows
//! (`platform::recover`, `adopt`).

use std::sync::Arc;
use std::time::Duration;

use super::shared::{LossState, Shared, Statement};
use crate::model::{ConditionStatus, ConditionType, NodeId, Scope};
use crate::store::{Loss, StoreError};

/// Between two copies: what a lost database costs at most.
const BACKUP_SECS: u64 = 600;

/// Before the first copy after a start, so that a daemon that restarts again and again does not
/// only copy.
const FIRST_BACKUP_SECS: u64 = 60;

/// The word of the condition while a loss is not accepted.
const LOST: &str = "DatabaseLost";

/// Says that the database was lost, if it was in this life or an earlier one and nobody has
/// accepted it yet. Then nothing that the database does not know is removed.
///
/// Leases begin anew: one that was renewed after the copy was made must not end by an old date.
///
/// # Errors
/// When the database fails.
pub(crate) async fn begin(shared: &Shared, loss: Option<Loss>) -> Result<(), StoreError> {
    let loss = match loss {
        Some(loss) => Some(loss),
        None => forgotten(shared).await?,
    };
    if let Some(loss) = loss {
        // Nobody knows what was put onto them since the copy was made.
        shared.store.mark_all_single_use().await?;
        let n_leases = shared.store.begin_leases_anew(shared.now()).await?;
        tracing::error!(lease.n = n_leases, "the database was lost: {}", message(&loss));
        state(shared, ConditionStatus::True, LOST, message(&loss)).await;
    }
    let conditions = shared.store.conditions().await?;
    let is_lost = conditions.iter().any(|it| {
        it.kind == ConditionType::Recovering
            && it.status == ConditionStatus::True
            && it.reason == LOST
    });
    shared.set_loss(if is_lost { LossState::Open } else { LossState::Settled });
    Ok(())
}

/// The loss of a database of which no copy was left: this one has never been written, although the
/// mirror keeps commits for releases and instances of an earlier one.
async fn forgotten(shared: &Shared) -> Result<Option<Loss>, StoreError> {
    if !shared.store.conditions().await?.is_empty() {
        return Ok(None);
    }
    let mirror = Arc::clone(&shared.mirror);
    let n_pins = match tokio::task::spawn_blocking(move || mirror.pins()).await {
        Ok(Ok(pins)) => pins.len(),
        // A mirror that cannot be read is mended by the source loop, and tells nothing.
        Ok(Err(_)) | Err(_) => 0,
    };
    let detail = format!("it is new, but the mirror keeps {n_pins} commits that were in use");
    Ok((n_pins > 0).then_some(Loss { detail, aside: None, backup: None }))
}

/// A person has looked: what is unknown now may be removed by name, and everything goes its way.
pub(crate) async fn accept(shared: &Shared, who: &str) {
    shared.set_loss(LossState::Settled);
    // For people, on one line.
    let who: String = who.chars().filter(|c| !c.is_control()).take(200).collect();
    let words = format!("the loss of the database was accepted by {}", who.trim());
    state(shared, ConditionStatus::False, "Accepted", words).await;
    shared.relist_due.notify_one();
    shared.disk_doubt.notify_one();
}

fn message(loss: &Loss) -> String {
    let came_back = match &loss.backup {
        Some(backup) => format!(
            "the copy of {} took its place, and what came later is missing: submissions, teams, tokens, starts and stops",
            backup.at
        ),
        None => {
            "there was no good copy, and it begins empty: teams, tokens and submissions are missing"
                .to_owned()
        }
    };
    let aside = match &loss.aside {
        Some(path) => format!("; the damaged file is `{}`", path.display()),
        None => String::new(),
    };
    format!(
        "{} ({came_back}{aside}). Instances keep running; `flagops recover` lists those that it does not know, `flagops recover --adopt-all` takes them on, `flagops recover --accept` ends this state",
        loss.detail
    )
}

async fn state(shared: &Shared, status: ConditionStatus, reason: &'static str, message: String) {
    shared
        .state(Statement {
            scope: Scope::Node(NodeId::local()),
            kind: ConditionType::Recovering,
            status,
            reason,
            message,
            revision: None,
        })
        .await;
}

/// Copies the database now and then until the daemon stops.
pub(crate) async fn keep_backups(shared: Arc<Shared>) {
    let mut pause = FIRST_BACKUP_SECS;
    while shared.tasks.sleep(Duration::from_secs(pause)).await {
        pause = BACKUP_SECS;
        let folder = shared.data.backups_path();
        match shared.store.back_up(&folder, shared.now()).await {
            Ok(backup) => tracing::debug!(path = %backup.path.display(), "copied the database"),
            Err(error) => tracing::error!(
                error = %crate::telemetry::chain::Chain(&error),
                "could not copy the database, trying again in {} minutes: if it is lost now, what came since the last copy is lost too",
                BACKUP_SECS / 60
            ),
        }
    }
}
