//! Facts for the numbers that administrators look at. Counting them is somebody else's.

use rusqlite::params;

use super::{Store, StoreError, row};
use crate::model::{ChallengeId, InstanceId, InstancePhase, NodeId, TeamId, Timestamp, UserId};

/// One start of an instance, over or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Of which.
    pub instance: InstanceId,
    /// Of what.
    pub challenge: ChallengeId,
    /// By whom.
    pub team: TeamId,
    /// In which competition.
    pub competition: String,
    /// Where.
    pub node: NodeId,
    /// How far it is.
    pub phase: InstancePhase,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was usable; `None` if it never was.
    pub ready_at: Option<Timestamp>,
    /// When it was over; `None` while it is not.
    pub ended_at: Option<Timestamp>,
}

impl Launch {
    /// Milliseconds from the wish until it was usable.
    pub fn launch_millis(&self) -> Option<i64> {
        self.ready_at.map(|at| at.millis_since(self.created_at))
    }
}

impl Store {
    /// Every start that was wanted or that lived at `since` or later, in the order of asking; none of
    /// our own making.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn launches_since(&self, since: Timestamp) -> Result<Vec<Launch>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT id, challenge, team, competition, node, phase, error, created_at, started_at,
                        stopped_at
                 FROM instances
                 WHERE team <> ?1 AND (created_at >= ?2 OR phase NOT IN ('stopped', 'failed')
                       OR stopped_at >= ?2)
                 ORDER BY seq",
            )?
            .query_map(params![TeamId::CANARY.to_string(), since.as_millis()], |row| {
                let (created_at, started_at) =
                    (row::time(row, "created_at")?, row::time(row, "started_at")?);
                let phase = row::word(row, "phase", InstancePhase::from_word)?;
                let stopped_at = row::opt_time(row, "stopped_at")?;
                Ok(Launch {
                    instance: row::text(row, "id")?,
                    challenge: row::text(row, "challenge")?,
                    team: row::text(row, "team")?,
                    competition: row.get("competition")?,
                    node: row::text(row, "node")?,
                    error: row.get("error")?,
                    created_at,
                    ready_at: (started_at != created_at).then_some(started_at),
                    ended_at: stopped_at.filter(|_| !phase.is_live()),
                    phase,
                })
            })?
            .collect()
        })
        .await
    }

    /// When answers were given, from `since` on.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn answer_times(&self, since: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT submitted_at FROM submissions WHERE submitted_at >= ?1")?
                .query_map([since.as_millis()], |row| row::time(row, "submitted_at"))?
                .collect()
        })
        .await
    }

    /// What people did, and when, from `since` on; by the activities on record.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn people_active(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(Timestamp, UserId)>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT at, actor FROM activities WHERE at >= ?1 AND actor IN (SELECT id FROM users)",
            )?
            .query_map([since.as_millis()], |row| {
                Ok((row::time(row, "at")?, row::text(row, "actor")?))
            })?
            .collect()
        })
        .await
    }
}
