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

/// One change of a condition: of its status, or of the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Its place in the order of events; grows, and is never used again.
    pub seq: i64,
    /// The condition as it became; `since` is when it became so.
    pub condition: Condition,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only those after this one, oldest first; `None` for the newest.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: u32,
    /// Only those about this object.
    pub scope: Option<Scope>,
    /// Only those of this type.
    pub kind: Option<ConditionType>,
}

/// Some events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// Oldest first.
    pub rows: Vec<EventRow>,
    /// Everything up to this one was looked at: ask for what comes after it next.
    pub next: i64,
}

impl Store {
    /// States a condition; true when that left an event: its status or reason changed, or it is
    /// stated for the first time.
    ///
    /// `since` moves with the status only; reason, message and revision are replaced in any case.
    /// Another message or revision alone is no event. Stating the same again writes nothing.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn set_condition(
        &self,
        condition: NewCondition,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let is_event = self
            .write(move |db| {
                let NewCondition { scope, kind, status, reason, message, revision } = condition;
                let before = one(db, &scope, kind)?;
                let since = match &before {
                    Some(before) if before.status == status => before.since,
                    Some(_) | None => now,
                };
                let after = Condition { scope, kind, status, reason, message, since, revision };
                if before.as_ref() == Some(&after) {
                    return Ok::<_, StoreError>(false);
                }
                upsert(db, &after)?;
                let is_event = before.is_none_or(|before| {
                    before.status != after.status || before.reason != after.reason
                });
                if is_event {
                    append_event(db, &after, now)?;
                }
                Ok(is_event)
            })
            .await?;
        if is_event {
            self.ring();
        }
        Ok(is_event)
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
        let n_forgotten = self
            .write(move |db| {
                let mut delete = db.prepare_cached("DELETE FROM conditions WHERE scope = ?1")?;
                Ok::<_, StoreError>(delete.execute([scope])?)
            })
            .await?;
        if n_forgotten > 0 {
            self.ring();
        }
        Ok(())
    }

    /// At most `limit` events after the one numbered `after`, oldest first; 0 for the oldest kept.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn events(&self, after: i64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        let filter = EventFilter { after: Some(after), limit, ..EventFilter::default() };
        Ok(self.event_page(filter).await?.rows)
    }

    /// The events that `filter` asks for, oldest first, and where to go on.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn event_page(&self, filter: EventFilter) -> Result<EventPage, StoreError> {
        self.read(move |db| {
            let EventFilter { after, limit, scope, kind } = filter;
            let scope = scope.map(|scope| scope.to_string());
            let kind = kind.map(ConditionType::as_str);
            let order = if after.is_some() { "ASC" } else { "DESC" };
            let mut rows: Vec<EventRow> = db
                .prepare_cached(&format!(
                    "SELECT * FROM events WHERE seq > ?1 AND (?2 IS NULL OR scope = ?2)
                     AND (?3 IS NULL OR kind = ?3) ORDER BY seq {order} LIMIT ?4"
                ))?
                .query_map(params![after.unwrap_or(0), scope, kind, limit], |row| {
                    Ok(EventRow { seq: row.get("seq")?, condition: condition_row(row, "at")? })
                })?
                .collect::<rusqlite::Result<_>>()?;
            if after.is_none() {
                rows.reverse();
            }
            let newest = newest(db)?;
            let is_cut = after.is_some() && rows.len() >= limit as usize;
            let next = match rows.last() {
                Some(last) if is_cut => last.seq,
                Some(_) | None => newest.max(after.unwrap_or(0)),
            };
            Ok(EventPage { rows, next })
        })
        .await
    }

    /// The number of the newest event; 0 before the first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn newest_event(&self) -> Result<i64, StoreError> {
        self.read(newest).await
    }
}

fn newest(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?.query_row([], |row| row.get(0))
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

fn append_event(db: &Connection, condition: &Condition, at: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO events (scope, kind, status, reason, message, at, revision)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    // A change of the reason alone happens later than `since`.
    .execute(columns(&Condition { since: at, ..condition.clone() }))?;
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

pub(super) fn condition_row(row: &Row<'_>, time: &str) -> rusqlite::Result<Condition> {
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
