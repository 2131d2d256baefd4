//! What is true now and since when, and each change of it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Store, StoreError, row};
use crate::model::{Condition, ConditionStatus, ConditionType, Revision, Scope, Timestamp};

/// How many events are kept: the newest.
pub const MAX_EVENTS: i64 = 50_000;

/// A statement about an object; since when it holds is the store's to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCondition {
    /// What it is about.
    pub scope: Scope,
    /// What is stated.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// PascalCase word, stable.
    pub reason: String,
    /// One sentence for people, without counters and times.
    pub message: String,
    /// The revision it was observed at.
    pub revision: Option<Revision>,
}

/// One change of a condition's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Its place in the order of events; grows, and is never used again.
    pub seq: i64,
    /// The condition as it became, `since` then.
    pub condition: Condition,
}

impl Store {
    /// States a condition; true when its status changed, or it is stated for the first time.
    ///
    /// `since` moves with the status only; reason, message and revision are replaced in any case.
    /// A change leaves an event. Stating the same again writes nothing.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn set_condition(
        &self,
        condition: NewCondition,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            let NewCondition { scope, kind, status, reason, message, revision } = condition;
            let before = one(db, &scope, kind)?;
            let since = match &before {
                Some(before) if before.status == status => before.since,
                Some(_) | None => now,
            };
            let after = Condition { scope, kind, status, reason, message, since, revision };
            if before.as_ref() == Some(&after) {
                return Ok(false);
            }
            upsert(db, &after)?;
            let is_transition = before.is_none_or(|before| before.status != after.status);
            if is_transition {
                append_event(db, &after)?;
            }
            Ok(is_transition)
        })
        .await
    }

    /// Every condition, by scope and kind.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn conditions(&self) -> Result<Vec<Condition>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM conditions ORDER BY scope, kind")?
                .query_map([], |row| condition_row(row, "since"))?
                .collect()
        })
        .await
    }

    /// Forgets what is stated about an object that is no more. Its events stay.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn clear_conditions(&self, scope: &Scope) -> Result<(), StoreError> {
        let scope = scope.to_string();
        self.write(move |db| {
            db.prepare_cached("DELETE FROM conditions WHERE scope = ?1")?.execute([scope])?;
            Ok(())
        })
        .await
    }

    /// At most `limit` events after the one numbered `after`, oldest first; 0 for the oldest kept.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn events(&self, after: i64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2")?
                .query_map(params![after, limit], |row| {
                    Ok(EventRow { seq: row.get("seq")?, condition: condition_row(row, "at")? })
                })?
                .collect()
        })
        .await
    }
}

fn one(db: &Connection, scope: &Scope, kind: ConditionType) -> rusqlite::Result<Option<Condition>> {
    db.prepare_cached("SELECT * FROM conditions WHERE scope = ?1 AND kind = ?2")?
        .query_row(params![scope.to_string(), kind.as_str()], |row| condition_row(row, "since"))
        .optional()
}

fn upsert(db: &Connection, condition: &Condition) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO conditions (scope, kind, status, reason, message, since, revision)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(columns(condition))?;
    Ok(())
}

fn append_event(db: &Connection, condition: &Condition) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO events (scope, kind, status, reason, message, at, revision)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(columns(condition))?;
    db.prepare_cached("DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?1")?
        .execute([MAX_EVENTS])?;
    Ok(())
}

type Columns<'a> = (String, &'a str, &'a str, &'a str, &'a str, i64, Option<String>);

fn columns(condition: &Condition) -> Columns<'_> {
    (
        condition.scope.to_string(),
        condition.kind.as_str(),
        condition.status.as_str(),
        &condition.reason,
        &condition.message,
        condition.since.as_millis(),
        condition.revision.map(|revision| revision.to_string()),
    )
}

fn condition_row(row: &Row<'_>, time: &str) -> rusqlite::Result<Condition> {
    Ok(Condition {
        scope: row::text(row, "scope")?,
        kind: row::word(row, "kind", ConditionType::from_word)?,
        status: row::word(row, "status", ConditionStatus::from_word)?,
        reason: row.get("reason")?,
        message: row.get("message")?,
        since: row::time(row, time)?,
        revision: row::opt_text(row, "revision")?,
    })
}
