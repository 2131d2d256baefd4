//! The archive of instances that are over: a record each, and what their containers wrote.
//!
//! A record is written in the transaction that ends its instance ([`note`]), so there is no moment
//! at which one is over and not recorded. What containers wrote is kept before they are removed, and
//! so before there is a record.
//!
//! # Invariants
//! * A record outlives the row of its instance; instances of our own making have none.
//! * Of two ends the later one counts, but what was known of a failure stays.
//!
//! # Not here
//! Reading the output, masking and packing it (`daemon::records`); when the old ones go (there, too).

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::instances::instance_row;
use super::{Store, StoreError, row};
use crate::model::{
    Activity, ChallengeId, Instance, InstanceId, InstancePhase, NodeId, Scope, StopReason,
    Submission, TeamId, Timestamp,
};

/// What is kept of an instance that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordRow {
    /// As it was when it ended.
    pub instance: Instance,
    /// Why it failed, with the last words of its containers: for organizers.
    pub error_detail: String,
}

/// Which records are meant, and which page of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordFilter {
    /// Only of this team.
    pub team: Option<TeamId>,
    /// Only of this challenge.
    pub challenge: Option<ChallengeId>,
    /// Only of this node.
    pub node: Option<NodeId>,
    /// Only those that ended like this.
    pub phase: Option<InstancePhase>,
    /// Only those that were asked for at this time or later.
    pub since: Option<Timestamp>,
    /// At most so many, and how many are skipped.
    pub page: (usize, usize),
}

/// What was pruned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Records.
    pub n_records: usize,
    /// Outputs, those of the records included.
    pub n_logs: usize,
}

impl Store {
    /// The records meant by `filter`, the newest start first; and how many there are before paging.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn instance_records(
        &self,
        filter: RecordFilter,
    ) -> Result<(Vec<RecordRow>, usize), StoreError> {
        self.read(move |db| {
            let wanted = "FROM instance_records
                WHERE (?1 IS NULL OR team = ?1) AND (?2 IS NULL OR challenge = ?2)
                  AND (?3 IS NULL OR node = ?3) AND (?4 IS NULL OR phase = ?4)
                  AND (?5 IS NULL OR created_at >= ?5)";
            let team = filter.team.map(|team| team.to_string());
            let challenge = filter.challenge.as_ref().map(ChallengeId::as_str);
            let node = filter.node.as_ref().map(NodeId::as_str);
            let phase = filter.phase.map(InstancePhase::as_str);
            let since = filter.since.map(Timestamp::as_millis);
            let total: i64 = db
                .prepare_cached(&format!("SELECT count(*) {wanted}"))?
                .query_row(params![team, challenge, node, phase, since], |row| row.get(0))?;
            let bound = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            let (limit, offset) = (bound(filter.page.0), bound(filter.page.1));
            let rows = db
                .prepare_cached(&format!(
                    "SELECT * {wanted} ORDER BY created_at DESC, id LIMIT ?6 OFFSET ?7"
                ))?
                .query_map(params![team, challenge, node, phase, since, limit, offset], record_row)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok((rows, usize::try_from(total).unwrap_or(usize::MAX)))
        })
        .await
    }

    /// The record of one instance.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn instance_record(&self, id: InstanceId) -> Result<Option<RecordRow>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM instance_records WHERE id = ?1")?
                .query_row([id.to_string()], record_row)
                .optional()
        })
        .await
    }

    /// Keeps what the containers of an incarnation wrote, in place of an earlier one's.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn keep_log(
        &self,
        id: InstanceId,
        n_resets: u32,
        packed: Vec<u8>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "INSERT INTO instance_logs (instance, n_resets, taken_at, packed)
                 VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (instance) DO UPDATE SET n_resets = excluded.n_resets,
                     taken_at = excluded.taken_at, packed = excluded.packed",
            )?
            .execute(params![id.to_string(), n_resets, now.as_millis(), packed])?;
            Ok(())
        })
        .await
    }

    /// Of which incarnation the output is kept, if any is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn log_incarnation(&self, id: InstanceId) -> Result<Option<u32>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT n_resets FROM instance_logs WHERE instance = ?1")?
                .query_row([id.to_string()], |row| row.get(0))
                .optional()
        })
        .await
    }

    /// What its containers wrote, as it was packed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn kept_log(&self, id: InstanceId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT packed FROM instance_logs WHERE instance = ?1")?
                .query_row([id.to_string()], |row| row.get(0))
                .optional()
        })
        .await
    }

    /// What happened to one instance, the oldest first; and how much before paging.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn activities_of_instance(
        &self,
        id: InstanceId,
        team: TeamId,
        page: (usize, usize),
    ) -> Result<(Vec<Activity>, usize), StoreError> {
        // Nobody waits when something is added: so whoever asks waits for what was added before.
        self.write(|_| Ok::<(), StoreError>(())).await?;
        self.read(move |db| {
            let (id, team) = (id.to_string(), team.to_string());
            let wanted = "FROM activities
                WHERE team = ?1 AND json_extract(detail, '$.instance_id') = ?2";
            let total: i64 = db
                .prepare_cached(&format!("SELECT count(*) {wanted}"))?
                .query_row([&team, &id], |row| row.get(0))?;
            let bound = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            let rows = db
                .prepare_cached(&format!("SELECT * {wanted} ORDER BY seq LIMIT ?3 OFFSET ?4"))?
                .query_map(params![team, id, bound(page.0), bound(page.1)], |row| {
                    super::activities::activity_row(row).map(|row| row.activity)
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok((rows, usize::try_from(total).unwrap_or(usize::MAX)))
        })
        .await
    }

    /// The answers that were given through one instance, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn submissions_through(
        &self,
        id: InstanceId,
        team: TeamId,
    ) -> Result<Vec<Submission>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT * FROM submissions WHERE team = ?1 AND instance = ?2 ORDER BY seq",
            )?
            .query_map([team.to_string(), id.to_string()], super::submissions::submission_row)?
            .collect()
        })
        .await
    }

    /// Deletes what ended before `before`, then the oldest outputs until the rest has at most
    /// `max_bytes`.
    ///
    /// # Errors
    /// When the database does not take it; nothing is deleted then.
    pub async fn prune_records(
        &self,
        before: Timestamp,
        max_bytes: u64,
    ) -> Result<Pruned, StoreError> {
        self.write(move |db| {
            let before = before.as_millis();
            let mut n_logs = db
                .prepare_cached(
                    "DELETE FROM instance_logs WHERE instance IN
                         (SELECT id FROM instance_records WHERE stopped_at < ?1)
                     OR (taken_at < ?1 AND instance NOT IN
                         (SELECT id FROM instances WHERE phase NOT IN ('stopped', 'failed')))",
                )?
                .execute([before])?;
            let n_records = db
                .prepare_cached("DELETE FROM instance_records WHERE stopped_at < ?1")?
                .execute([before])?;
            n_logs += db
                .prepare_cached(
                    "DELETE FROM instance_logs WHERE instance IN (SELECT instance FROM (
                         SELECT instance, sum(length(packed)) OVER
                             (ORDER BY taken_at DESC, instance) AS bytes FROM instance_logs)
                     WHERE bytes > ?1)",
                )?
                .execute([i64::try_from(max_bytes).unwrap_or(i64::MAX)])?;
            Ok(Pruned { n_records, n_logs })
        })
        .await
    }
}

/// Writes the record of an instance that is over, in place of that of an earlier end. What operators
/// were told of a failure is read from its condition.
pub(super) fn note(db: &Connection, instance: &Instance) -> rusqlite::Result<()> {
    if instance.is_canary() || instance.phase.is_live() {
        return Ok(());
    }
    let detail: Option<String> = db
        .prepare_cached(
            "SELECT message FROM conditions
             WHERE scope = ?1 AND kind = 'Healthy' AND status = 'False' AND reason = 'Failing'",
        )?
        .query_row([Scope::Instance(instance.id).to_string()], |row| row.get(0))
        .optional()?;
    db.prepare_cached(
        "INSERT INTO instance_records (id, challenge, team, competition, node, revision, tree, phase,
                error, error_detail, stop_reason, surface, created_at, started_at, stopped_at,
                ttl_secs, expires_at, n_restarts, n_resets, answer_epoch, last_death)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
                ?20, ?21)
         ON CONFLICT (id) DO UPDATE SET phase = excluded.phase,
             error = coalesce(excluded.error, error),
             error_detail = CASE excluded.error_detail WHEN '' THEN error_detail
                            ELSE excluded.error_detail END,
             stop_reason = excluded.stop_reason, surface = excluded.surface,
             started_at = excluded.started_at, stopped_at = excluded.stopped_at,
             ttl_secs = excluded.ttl_secs, expires_at = excluded.expires_at,
             n_restarts = excluded.n_restarts, n_resets = excluded.n_resets,
             answer_epoch = excluded.answer_epoch, last_death = excluded.last_death",
    )?
    .execute(params![
        instance.id.to_string(),
        instance.challenge.as_str(),
        instance.team.to_string(),
        instance.competition,
        instance.node.as_str(),
        instance.revision.to_string(),
        instance.tree.to_string(),
        instance.phase.as_str(),
        instance.error,
        detail.unwrap_or_default(),
        instance.stop_reason.map(StopReason::as_str),
        row::to_json(&instance.surface)?,
        instance.created_at.as_millis(),
        instance.started_at.as_millis(),
        instance.stopped_at.map(Timestamp::as_millis),
        instance.ttl_secs,
        instance.expires_at.as_millis(),
        instance.n_restarts,
        instance.n_resets,
        instance.answer_epoch,
        instance.last_death.as_ref().map(row::to_json).transpose()?,
    ])?;
    Ok(())
}

/// Forgets an instance that never was, or whose archive is elsewhere.
pub(super) fn forget(db: &Connection, id: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM instance_records WHERE id = ?1")?.execute([id])?;
    db.prepare_cached("DELETE FROM instance_logs WHERE instance = ?1")?.execute([id])?;
    Ok(())
}

fn record_row(row: &Row<'_>) -> rusqlite::Result<RecordRow> {
    Ok(RecordRow { instance: instance_row(row)?, error_detail: row.get("error_detail")? })
}
