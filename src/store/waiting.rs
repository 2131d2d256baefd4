//! Starts that wait for room.

use rusqlite::{Connection, OptionalExtension, Row, params};
use thiserror::Error;

use super::instances::{n_of_team, random_offset, repeated, take_on};
use super::{InsertError, NewInstance, Repeats, Store, StoreError, row};
use crate::model::{Actor, ActorKind, Instance, InstanceId, Timestamp, Waiting};

/// How many may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingLimits {
    /// Instances and waiting starts of one team together.
    pub per_team: u32,
    /// Waiting starts of all teams.
    pub in_all: u32,
}

/// Why a start does not wait. Nothing is stored.
#[derive(Debug, Error)]
pub enum EnqueueError {
    /// The team has as many as it may.
    #[error("the team has {limit} instances, as many as it may: stop one first")]
    TeamLimit {
        /// The limit.
        limit: u32,
    },
    /// Too many wait already.
    #[error("{limit} starts wait for room already: try again later")]
    LineFull {
        /// The limit.
        limit: u32,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for EnqueueError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What a wish became that could not be followed at once.
#[derive(Debug, Clone, PartialEq)]
pub enum Enqueued {
    /// It waits; of a repeated wish, the one that waits already.
    Waits(Box<Waiting>),
    /// The wish repeats one that is under way.
    Starts(Box<Instance>),
}

impl Store {
    /// Has `wish` wait for room, unless it repeats one that waits or starts.
    ///
    /// # Errors
    /// When too many wait; nothing is stored then.
    pub async fn enqueue(
        &self,
        wish: Waiting,
        repeats: Repeats,
        limits: WaitingLimits,
    ) -> Result<Enqueued, EnqueueError> {
        self.write(move |db| {
            if let Some(first) = repeated(db, &wish.as_instance(), repeats)? {
                return Ok(Enqueued::Starts(Box::new(first)));
            }
            if repeats == Repeats::Same
                && let Some(waiting) = like(db, &wish.as_instance())?
            {
                return Ok(Enqueued::Waits(Box::new(waiting)));
            }
            let of_team = n_of_team(db, wish.team)?;
            if of_team >= limits.per_team {
                return Err(EnqueueError::TeamLimit { limit: limits.per_team });
            }
            let in_all: u32 = db
                .prepare_cached("SELECT count(*) FROM waiting WHERE error IS NULL")?
                .query_row([], |row| row.get(0))?;
            if in_all >= limits.in_all {
                return Err(EnqueueError::LineFull { limit: limits.in_all });
            }
            insert(db, &wish)?;
            Ok(Enqueued::Waits(Box::new(wish)))
        })
        .await
    }

    /// Makes the start that waits an instance, in one step. `None` when it does not wait any more.
    ///
    /// # Errors
    /// When there is no room after all, or no port is free: then it goes on waiting.
    pub async fn seat(&self, new: NewInstance) -> Result<Option<Instance>, InsertError> {
        let avoid = self.avoided_ports(&[]);
        let offset = random_offset()?;
        self.write(move |db| {
            let n_left = db
                .prepare_cached("DELETE FROM waiting WHERE id = ?1 AND error IS NULL")?
                .execute([new.instance.id.to_string()])?;
            if n_left == 0 {
                return Ok(None);
            }
            take_on(db, new, &avoid, offset).map(Some)
        })
        .await
    }

    /// Everything that waits or failed to become an instance, who asked first first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM waiting ORDER BY seq")?
                .query_map([], waiting_row)?
                .collect()
        })
        .await
    }

    /// One of them.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn waiting_start(&self, id: InstanceId) -> Result<Option<Waiting>, StoreError> {
        self.read(move |db| by_id(db, id)).await
    }

    /// It does not become an instance: `why` is for its owner, who reads it until they take it away.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn fail_waiting(
        &self,
        id: InstanceId,
        why: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "UPDATE waiting SET error = ?2, failed_at = ?3 WHERE id = ?1 AND error IS NULL",
            )?
            .execute(params![id.to_string(), why, now.as_millis()])?;
            Ok(())
        })
        .await
    }

    /// It waits no more, and nothing is left of it. Whether it did.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn leave(&self, id: InstanceId) -> Result<bool, StoreError> {
        self.write(move |db| {
            let n = db
                .prepare_cached("DELETE FROM waiting WHERE id = ?1")?
                .execute([id.to_string()])?;
            Ok(n > 0)
        })
        .await
    }
}

/// The start that waits under this id, or failed to get room.
pub(super) fn by_id(db: &Connection, id: InstanceId) -> rusqlite::Result<Option<Waiting>> {
    db.prepare_cached("SELECT * FROM waiting WHERE id = ?1")?
        .query_row([id.to_string()], waiting_row)
        .optional()
}

/// The start for the same team, challenge and competition that waits.
pub(super) fn like(db: &Connection, wish: &Instance) -> rusqlite::Result<Option<Waiting>> {
    db.prepare_cached(
        "SELECT * FROM waiting WHERE team = ?1 AND challenge = ?2 AND competition = ?3
         AND error IS NULL ORDER BY seq LIMIT 1",
    )?
    .query_row(
        params![wish.team.to_string(), wish.challenge.as_str(), wish.competition],
        waiting_row,
    )
    .optional()
}

fn insert(db: &Connection, wish: &Waiting) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO waiting (id, challenge, team, competition, revision, tree, ttl_secs, asked_at,
                actor, actor_name, actor_kind, address)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        wish.id.to_string(),
        wish.challenge.as_str(),
        wish.team.to_string(),
        wish.competition,
        wish.revision.to_string(),
        wish.tree.to_string(),
        wish.ttl_secs,
        wish.asked_at.as_millis(),
        wish.actor.id,
        wish.actor.name,
        wish.actor.kind.as_str(),
        wish.address,
    ])?;
    Ok(())
}

fn waiting_row(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    let error: Option<String> = row.get("error")?;
    Ok(Waiting {
        id: row::text(row, "id")?,
        challenge: row::text(row, "challenge")?,
        team: row::text(row, "team")?,
        competition: row.get("competition")?,
        revision: row::text(row, "revision")?,
        tree: row::text(row, "tree")?,
        ttl_secs: row.get("ttl_secs")?,
        asked_at: row::time(row, "asked_at")?,
        failure: error.zip(row::opt_time(row, "failed_at")?),
        actor: Actor {
            id: row.get("actor")?,
            name: row.get("actor_name")?,
            kind: row::word(row, "actor_kind", ActorKind::from_word)?,
        },
        address: row.get("address")?,
    })
}
