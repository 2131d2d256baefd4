//! What the forge is told of commits: the newest status of each commit in each context.
//!
//! A wish and its delivery are one row. A newer wish is a new row under a new number, so that the
//! delivery of an older one, still under way, says nothing about it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::outbox::OutboxCounts;
use super::{Store, StoreError, row};
use crate::model::{CommitState, CommitStatus, StatusContext, Timestamp};

/// How many statuses are remembered: the newest.
const MAX_KEPT: i64 = 600;

/// One status on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRow {
    /// Its number.
    pub seq: i64,
    /// What it says.
    pub status: CommitStatus,
    /// When it was decided.
    pub created_at: Timestamp,
    /// Deliveries that failed.
    pub n_attempts: u32,
}

impl Store {
    /// The newest status of every commit that is remembered, delivered or not; oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn commit_statuses(&self) -> Result<Vec<CommitStatus>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM commit_statuses ORDER BY seq")?
                .query_map([], status)?
                .collect()
        })
        .await
    }

    /// Puts those of `statuses` on their way that say something else than the one before them;
    /// whether there were any.
    ///
    /// # Errors
    /// When the database does not take it; then nothing of it happened.
    pub async fn wish_statuses(
        &self,
        statuses: Vec<CommitStatus>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            let mut n_new = 0;
            for wish in &statuses {
                n_new += usize::from(put(db, wish, now)?);
            }
            db.prepare_cached(
                "DELETE FROM commit_statuses WHERE delivery <> 'waiting' AND seq NOT IN
                 (SELECT seq FROM commit_statuses ORDER BY seq DESC LIMIT ?1)",
            )?
            .execute([MAX_KEPT])?;
            Ok(n_new > 0)
        })
        .await
    }

    /// At most `limit` statuses that may be delivered now, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn due_statuses(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<StatusRow>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT * FROM commit_statuses WHERE delivery = 'waiting' AND next_at <= ?1
                 ORDER BY seq LIMIT ?2",
            )?
            .query_map(params![now.as_millis(), limit], status_row)?
            .collect()
        })
        .await
    }

    /// The forge has this one.
    ///
    /// # Errors
    /// When the database does not take it; then it is delivered again.
    pub async fn status_delivered(&self, seq: i64) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "UPDATE commit_statuses SET delivery = 'delivered', error = NULL WHERE seq = ?1",
            )?
            .execute([seq])?;
            Ok(())
        })
        .await
    }

    /// A delivery failed: it is tried again at `next_at`, or given up when there is no such time.
    ///
    /// # Errors
    /// When the database does not take it; then it is tried again at once.
    pub async fn status_failed(
        &self,
        seq: i64,
        next_at: Option<Timestamp>,
        error: String,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "UPDATE commit_statuses SET n_attempts = n_attempts + 1, error = ?2,
                 next_at = coalesce(?3, next_at),
                 delivery = CASE WHEN ?3 IS NULL THEN 'dead' ELSE 'waiting' END WHERE seq = ?1",
            )?
            .execute(params![seq, error, next_at.map(Timestamp::as_millis)])?;
            Ok(())
        })
        .await
    }

    /// How the way to the forge is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn status_counts(&self) -> Result<OutboxCounts, StoreError> {
        self.read(|db| {
            let count = |delivery: &str| {
                db.prepare_cached("SELECT count(*) FROM commit_statuses WHERE delivery = ?1")?
                    .query_row([delivery], |row| row.get(0))
            };
            let last_error = db
                .prepare_cached(
                    "SELECT error FROM commit_statuses WHERE error IS NOT NULL
                     ORDER BY seq DESC LIMIT 1",
                )?
                .query_row([], |row| row.get(0))
                .optional()?;
            Ok(OutboxCounts { n_waiting: count("waiting")?, n_dead: count("dead")?, last_error })
        })
        .await
    }
}

/// Puts `wish` in place of what the commit was told before, unless that says the same.
fn put(db: &Connection, wish: &CommitStatus, now: Timestamp) -> rusqlite::Result<bool> {
    let (revision, context) = (wish.revision.to_string(), wish.context.as_str());
    let known = db
        .prepare_cached("SELECT * FROM commit_statuses WHERE revision = ?1 AND context = ?2")?
        .query_row([&revision, context], status)
        .optional()?;
    if known.as_ref() == Some(wish) {
        return Ok(false);
    }
    db.prepare_cached("DELETE FROM commit_statuses WHERE revision = ?1 AND context = ?2")?
        .execute([&revision, context])?;
    db.prepare_cached(
        "INSERT INTO commit_statuses (revision, context, state, description, delivery,
         created_at, next_at, n_attempts) VALUES (?1, ?2, ?3, ?4, 'waiting', ?5, ?5, 0)",
    )?
    .execute(params![
        revision,
        context,
        wish.state.as_str(),
        wish.description,
        now.as_millis()
    ])?;
    Ok(true)
}

fn status(row: &Row<'_>) -> rusqlite::Result<CommitStatus> {
    Ok(CommitStatus {
        revision: row::text(row, "revision")?,
        context: row::word(row, "context", StatusContext::from_word)?,
        state: row::word(row, "state", CommitState::from_word)?,
        description: row.get("description")?,
    })
}

fn status_row(row: &Row<'_>) -> rusqlite::Result<StatusRow> {
    Ok(StatusRow {
        seq: row.get("seq")?,
        status: status(row)?,
        created_at: row::time(row, "created_at")?,
        n_attempts: row.get("n_attempts")?,
    })
}
