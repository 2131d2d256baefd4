//! What people were told about conditions, and the notices that are on their way to them.
//!
//! Alarms and notices change together ([`Store::decide`]), so that a kill between them can neither
//! lose a notice nor make it twice. A notice leaves when the receiver has it: a kill in between
//! delivers it again, under the same number.

use rusqlite::{Connection, Row, params};

use super::conditions::condition_row;
use super::{Store, StoreError, row};
use crate::model::{Alarm, AlarmPhase, ConditionType, Notice, Scope, Timestamp};

/// How many letters that were given up are kept, to be shown: the newest.
const MAX_DEAD: i64 = 100;

/// A table of letters on their way, with `seq`, `state`, `next_at`, `n_attempts` and `error`.
pub(super) struct Tray(pub(super) &'static str);

const NOTICES: Tray = Tray("notices");

impl Tray {
    /// How many wait.
    pub(super) fn n_waiting(&self, db: &Connection) -> rusqlite::Result<u32> {
        db.prepare_cached(&format!("SELECT count(*) FROM {} WHERE state = 'waiting'", self.0))?
            .query_row([], |row| row.get(0))
    }

    /// A letter arrived: it goes.
    pub(super) fn delivered(&self, db: &Connection, seq: i64) -> rusqlite::Result<()> {
        db.prepare_cached(&format!("DELETE FROM {} WHERE seq = ?1", self.0))?.execute([seq])?;
        Ok(())
    }

    /// A delivery failed: the letter is tried again at `next_at`, or given up when there is no such time.
    pub(super) fn failed(
        &self,
        db: &Connection,
        seq: i64,
        next_at: Option<Timestamp>,
        error: &str,
    ) -> rusqlite::Result<()> {
        let table = self.0;
        db.prepare_cached(&format!(
            "UPDATE {table} SET n_attempts = n_attempts + 1, error = ?2,
             next_at = coalesce(?3, next_at),
             state = CASE WHEN ?3 IS NULL THEN 'dead' ELSE 'waiting' END WHERE seq = ?1",
        ))?
        .execute(params![seq, error, next_at.map(Timestamp::as_millis)])?;
        db.prepare_cached(&format!(
            "DELETE FROM {table} WHERE state = 'dead' AND seq NOT IN
             (SELECT seq FROM {table} WHERE state = 'dead' ORDER BY seq DESC LIMIT ?1)",
        ))?
        .execute([MAX_DEAD])?;
        Ok(())
    }
}

/// What is to be remembered and to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Alarms as they are now.
    pub alarms: Vec<Alarm>,
    /// Alarms that are over.
    pub forgotten: Vec<(Scope, ConditionType)>,
    /// New notices, in order.
    pub notices: Vec<Notice>,
}

/// One notice on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its number; receivers know by it what they have already.
    pub seq: i64,
    /// What it says.
    pub notice: Notice,
    /// When it was decided.
    pub created_at: Timestamp,
    /// Deliveries that failed.
    pub n_attempts: u32,
}

/// How the outbox is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// Notices on their way.
    pub n_waiting: u32,
    /// Notices that were given up, of the last hundred.
    pub n_dead: u32,
    /// Why the newest of those that failed did.
    pub last_error: Option<String>,
}

impl Store {
    /// Every alarm, by scope and type.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM alarms ORDER BY scope, kind")?
                .query_map([], alarm_row)?
                .collect()
        })
        .await
    }

    /// Remembers what was decided, and puts the notices into the outbox.
    ///
    /// # Errors
    /// When the database does not take it; then nothing of it happened.
    pub async fn decide(&self, decision: Decision, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |db| {
            for (scope, kind) in &decision.forgotten {
                db.prepare_cached("DELETE FROM alarms WHERE scope = ?1 AND kind = ?2")?
                    .execute(params![scope.to_string(), kind.as_str()])?;
            }
            for alarm in &decision.alarms {
                upsert(db, alarm)?;
            }
            for notice in &decision.notices {
                db.prepare_cached(
                    "INSERT INTO notices (kind, state, body, created_at, next_at, n_attempts)
                     VALUES (?1, 'waiting', ?2, ?3, ?3, 0)",
                )?
                .execute(params![
                    notice.r#type.as_str(),
                    row::to_json(notice)?,
                    now.as_millis()
                ])?;
            }
            Ok(())
        })
        .await
    }

    /// At most `limit` notices that may be delivered now: of each type only the oldest, so that a
    /// recovery never overtakes its failure.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn due_notices(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT * FROM notices WHERE state = 'waiting' AND next_at <= ?1
                 AND seq IN (SELECT min(seq) FROM notices WHERE state = 'waiting' GROUP BY kind)
                 ORDER BY seq LIMIT ?2",
            )?
            .query_map(params![now.as_millis(), limit], outbox_row)?
            .collect()
        })
        .await
    }

    /// Deletes a notice that was delivered.
    ///
    /// # Errors
    /// When the database does not take it; then it is delivered again.
    pub async fn notice_delivered(&self, seq: i64) -> Result<(), StoreError> {
        self.write(move |db| Ok(NOTICES.delivered(db, seq)?)).await
    }

    /// A delivery failed: it is tried again at `next_at`, or given up when there is no such time.
    ///
    /// # Errors
    /// When the database does not take it; then it is tried again at once.
    pub async fn notice_failed(
        &self,
        seq: i64,
        next_at: Option<Timestamp>,
        error: String,
    ) -> Result<(), StoreError> {
        self.write(move |db| Ok(NOTICES.failed(db, seq, next_at, &error)?)).await
    }

    /// How the outbox is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_counts(&self) -> Result<OutboxCounts, StoreError> {
        self.read(|db| {
            let count = |state: &str| {
                db.prepare_cached("SELECT count(*) FROM notices WHERE state = ?1")?
                    .query_row([state], |row| row.get(0))
            };
            let mut errors = db.prepare_cached(
                "SELECT error FROM notices WHERE error IS NOT NULL ORDER BY seq DESC LIMIT 1",
            )?;
            let last_error = errors.query_map([], |row| row.get(0))?.next().transpose()?;
            Ok(OutboxCounts { n_waiting: count("waiting")?, n_dead: count("dead")?, last_error })
        })
        .await
    }
}

fn upsert(db: &Connection, alarm: &Alarm) -> rusqlite::Result<()> {
    let condition = &alarm.condition;
    db.prepare_cached(
        "INSERT OR REPLACE INTO alarms (scope, kind, phase, status, reason, message, since,
         revision, failed, failing_since, n_told, told)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        condition.scope.to_string(),
        condition.kind.as_str(),
        alarm.phase.as_str(),
        condition.status.as_str(),
        condition.reason,
        condition.message,
        condition.since.as_millis(),
        condition.revision.map(|revision| revision.to_string()),
        alarm.failed,
        alarm.failing_since.as_millis(),
        alarm.n_told,
        row::to_json(&alarm.told)?,
    ])?;
    Ok(())
}

fn alarm_row(row: &Row<'_>) -> rusqlite::Result<Alarm> {
    Ok(Alarm {
        phase: row::word(row, "phase", AlarmPhase::from_word)?,
        condition: condition_row(row, "since")?,
        failed: row.get("failed")?,
        failing_since: row::time(row, "failing_since")?,
        n_told: row.get("n_told")?,
        told: row::json(row, "told")?,
    })
}

fn outbox_row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        seq: row.get("seq")?,
        notice: row::json(row, "body")?,
        created_at: row::time(row, "created_at")?,
        n_attempts: row.get("n_attempts")?,
    })
}
