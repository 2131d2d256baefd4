//! Integrations with CTFd: their tokens' digests, whom they spoke for, and solves on their way to
//! them.
//!
//! A solve is put into the outbox by the transaction that records it ([`post`]), so that no kill
//! lies between the two.

use rusqlite::{Connection, OptionalExtension, Row, params};
use thiserror::Error;

use super::outbox::{OutboxCounts, Tray};
use super::{Store, StoreError, row, teams};
use crate::model::{
    CtfdOwner, CtfdSolve, Integration, IntegrationId, IntegrationMode, NodeUrl, OwnerKind, Solve,
    Submission, Team, TeamId, Timestamp,
};

const SOLVES: Tray = Tray("ctfd_solves");

/// Why an integration was not made.
#[derive(Debug, Error)]
pub enum IntegrationError {
    /// Another one has the name.
    #[error("there is an integration of this name: revoke it first, or take another name")]
    NameTaken,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for IntegrationError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// An integration, and how much there is of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrationRow {
    /// It.
    pub integration: Integration,
    /// Teams and users of CTFd that it spoke for.
    pub n_owners: u32,
    /// Its solves on their way.
    pub solves: OutboxCounts,
}

/// One solve on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolveRow {
    /// Its number, which is never given twice.
    pub seq: i64,
    /// Who is told.
    pub integration: Integration,
    /// What.
    pub solve: CtfdSolve,
    /// When it was solved.
    pub created_at: Timestamp,
    /// Deliveries that failed.
    pub n_attempts: u32,
}

impl Store {
    /// Makes an integration whose token has this SHA-256.
    ///
    /// # Errors
    /// [`IntegrationError::NameTaken`]; or when the database does not take it.
    pub async fn create_integration(
        &self,
        new: Integration,
        hash: [u8; 32],
    ) -> Result<(), IntegrationError> {
        self.write(move |db| {
            let n_new = db
                .prepare_cached(
                    "INSERT INTO ctfd_integrations (id, name, competition, mode, token_hash,
                     webhook, epoch, created_by, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
                )?
                .execute(params![
                    new.id.to_string(),
                    new.name,
                    new.competition.as_str(),
                    new.mode.as_str(),
                    hash,
                    new.webhook.map(|url| url.to_string()),
                    new.epoch,
                    new.created_by,
                    new.created_at.as_millis(),
                ])?;
            if n_new == 0 { Err(IntegrationError::NameTaken) } else { Ok(()) }
        })
        .await
    }

    /// The integration whose token has this SHA-256, unless it is revoked.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn integration_of(&self, hash: [u8; 32]) -> Result<Option<Integration>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT * FROM ctfd_integrations WHERE token_hash = ?1 AND revoked_at IS NULL",
            )?
            .query_row([hash], integration_row)
            .optional()
        })
        .await
    }

    /// Notes that the token of an integration was used.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn note_integration_use(
        &self,
        id: IntegrationId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached("UPDATE ctfd_integrations SET last_used_at = ?2 WHERE id = ?1")?
                .execute(params![id.to_string(), now.as_millis()])?;
            Ok(())
        })
        .await
    }

    /// Every integration, revoked ones too, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn integrations(&self) -> Result<Vec<IntegrationRow>, StoreError> {
        self.read(|db| {
            let mut select = db.prepare_cached(
                "SELECT *,
                        (SELECT count(*) FROM ctfd_owners WHERE integration = it.id) AS n_owners,
                        (SELECT count(*) FROM ctfd_solves
                         WHERE integration = it.id AND state = 'waiting') AS n_waiting,
                        (SELECT count(*) FROM ctfd_solves
                         WHERE integration = it.id AND state = 'dead') AS n_dead,
                        (SELECT error FROM ctfd_solves
                         WHERE integration = it.id AND error IS NOT NULL
                         ORDER BY seq DESC LIMIT 1) AS last_error
                 FROM ctfd_integrations AS it ORDER BY created_at, id",
            )?;
            let rows = select.query_map([], |row| {
                Ok(IntegrationRow {
                    integration: integration_row(row)?,
                    n_owners: row.get("n_owners")?,
                    solves: OutboxCounts {
                        n_waiting: row.get("n_waiting")?,
                        n_dead: row.get("n_dead")?,
                        last_error: row.get("last_error")?,
                    },
                })
            })?;
            rows.collect()
        })
        .await
    }

    /// Gives an integration another token, and with it another secret; the old ones are worth
    /// nothing from then on. `None` when there is none, or it is revoked.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn rotate_integration(
        &self,
        id: IntegrationId,
        hash: [u8; 32],
    ) -> Result<Option<Integration>, StoreError> {
        self.write(move |db| {
            let rotated = db
                .prepare_cached(
                    "UPDATE ctfd_integrations SET token_hash = ?2, epoch = epoch + 1
                     WHERE id = ?1 AND revoked_at IS NULL RETURNING *",
                )?
                .query_row(params![id.to_string(), hash], integration_row)
                .optional()?;
            Ok(rotated)
        })
        .await
    }

    /// Takes everything from an integration that it may; its instances stay. Again is fine. Whether
    /// there is one.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn revoke_integration(
        &self,
        id: IntegrationId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            let id = id.to_string();
            let n = db
                .prepare_cached(
                    "UPDATE ctfd_integrations SET revoked_at = coalesce(revoked_at, ?2)
                     WHERE id = ?1",
                )?
                .execute(params![id, now.as_millis()])?;
            db.prepare_cached("DELETE FROM ctfd_solves WHERE integration = ?1")?.execute([id])?;
            Ok(n > 0)
        })
        .await
    }

    /// The team that stands for an owner, if CTFd spoke for them before.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ctfd_team(
        &self,
        id: IntegrationId,
        owner: CtfdOwner,
    ) -> Result<Option<TeamId>, StoreError> {
        self.read(move |db| stands_for(db, id, owner)).await
    }

    /// The team that stands for an owner; `new` when CTFd speaks for them for the first time. Of
    /// fifty at once one makes it. A name that somebody has gets a number: whose a team is follows
    /// from the number in CTFd alone.
    ///
    /// # Errors
    /// When the name is none of a team, or the database does not take it.
    pub async fn ensure_ctfd_team(
        &self,
        id: IntegrationId,
        owner: CtfdOwner,
        new: Team,
    ) -> Result<TeamId, StoreError> {
        if let Some(team) = self.ctfd_team(id, owner).await? {
            return Ok(team);
        }
        teams::check_team_name(&new.name)?;
        self.write(move |db| {
            if let Some(team) = stands_for(db, id, owner)? {
                return Ok(team);
            }
            let mut team = new;
            let wanted = team.name.clone();
            let mut n_tries = 1;
            while teams::by_name(db, &team.competition, &team.name)?.is_some() {
                n_tries += 1;
                team.name = format!("{wanted} ({n_tries})");
            }
            teams::insert(db, &team)?;
            db.prepare_cached(
                "INSERT INTO ctfd_owners (integration, kind, number, team, seen_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                id.to_string(),
                owner.kind.as_str(),
                owner.number,
                team.id.to_string(),
                team.created_at.as_millis(),
            ])?;
            Ok(team.id)
        })
        .await
    }

    /// Everybody that an integration spoke for.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ctfd_owners(
        &self,
        id: IntegrationId,
    ) -> Result<Vec<(CtfdOwner, TeamId)>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT kind, number, team FROM ctfd_owners WHERE integration = ?1
                 ORDER BY kind, number",
            )?
            .query_map([id.to_string()], |row| Ok((owner_row(row)?, row::text(row, "team")?)))?
            .collect()
        })
        .await
    }

    /// Forgets that a team stands for an owner, and disbands it: what it did stays on record, and
    /// the owner is somebody new next time.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn purge_ctfd_owner(
        &self,
        id: IntegrationId,
        owner: CtfdOwner,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            let team: Option<String> = db
                .prepare_cached(
                    "DELETE FROM ctfd_owners WHERE integration = ?1 AND kind = ?2 AND number = ?3
                     RETURNING team",
                )?
                .query_row(params![id.to_string(), owner.kind.as_str(), owner.number], |row| {
                    row.get(0)
                })
                .optional()?;
            if let Some(team) = team {
                db.prepare_cached("UPDATE teams SET disbanded_at = ?2 WHERE id = ?1")?
                    .execute(params![team, now.as_millis()])?;
            }
            Ok(())
        })
        .await
    }

    /// At most `limit` solves that may be told now: of each integration only the oldest, so that
    /// solves arrive in the order they happened.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn due_solves(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SolveRow>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT it.*, seq, body, solves.created_at AS solved_at, n_attempts
                 FROM ctfd_solves AS solves JOIN ctfd_integrations AS it ON it.id = integration
                 WHERE next_at <= ?1 AND seq IN
                     (SELECT min(seq) FROM ctfd_solves WHERE state = 'waiting' GROUP BY integration)
                 ORDER BY seq LIMIT ?2",
            )?
            .query_map(params![now.as_millis(), limit], |row| {
                Ok(SolveRow {
                    seq: row.get("seq")?,
                    integration: integration_row(row)?,
                    solve: row::json(row, "body")?,
                    created_at: row::time(row, "solved_at")?,
                    n_attempts: row.get("n_attempts")?,
                })
            })?
            .collect()
        })
        .await
    }

    /// How many solves wait, of all integrations.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn n_waiting_solves(&self) -> Result<u32, StoreError> {
        self.read(|db| SOLVES.n_waiting(db)).await
    }

    /// Deletes a solve that was told.
    ///
    /// # Errors
    /// When the database does not take it; then it is told again.
    pub async fn solve_delivered(&self, seq: i64) -> Result<(), StoreError> {
        self.write(move |db| Ok(SOLVES.delivered(db, seq)?)).await
    }

    /// A delivery failed: it is tried again at `next_at`, or given up when there is no such time.
    ///
    /// # Errors
    /// When the database does not take it; then it is tried again at once.
    pub async fn solve_failed(
        &self,
        seq: i64,
        next_at: Option<Timestamp>,
        error: String,
    ) -> Result<(), StoreError> {
        self.write(move |db| Ok(SOLVES.failed(db, seq, next_at, &error)?)).await
    }
}

/// Puts a solve on its way to the CTFd whose team made it, if that wants to be told.
pub(super) fn post(
    db: &Connection,
    solve: &Solve,
    submission: &Submission,
) -> rusqlite::Result<()> {
    let found = db
        .prepare_cached(
            "SELECT integration, kind, number, competition FROM ctfd_owners
             JOIN ctfd_integrations ON id = integration
             WHERE team = ?1 AND webhook IS NOT NULL AND revoked_at IS NULL",
        )?
        .query_row([solve.team.to_string()], |row| {
            let integration: String = row.get("integration")?;
            Ok((integration, owner_row(row)?, row::text(row, "competition")?))
        })
        .optional()?;
    let Some((integration, owner, competition_id)) = found else { return Ok(()) };
    let body = CtfdSolve {
        event: "solve".to_owned(),
        competition_id,
        challenge_id: solve.challenge.clone(),
        question_id: solve.question.clone(),
        instance_id: submission.instance,
        owner: owner.kind,
        owner_id: owner.number,
        team_id: solve.team,
        rank: solve.rank,
        solved_at: solve.solved_at.rfc3339(),
    };
    db.prepare_cached(
        "INSERT INTO ctfd_solves (integration, state, body, created_at, next_at, n_attempts)
         VALUES (?1, 'waiting', ?2, ?3, ?3, 0)",
    )?
    .execute(params![integration, row::to_json(&body)?, solve.solved_at.as_millis()])?;
    Ok(())
}

fn stands_for(
    db: &Connection,
    id: IntegrationId,
    owner: CtfdOwner,
) -> rusqlite::Result<Option<TeamId>> {
    db.prepare_cached(
        "SELECT team FROM ctfd_owners WHERE integration = ?1 AND kind = ?2 AND number = ?3",
    )?
    .query_row(params![id.to_string(), owner.kind.as_str(), owner.number], |row| {
        row::text(row, "team")
    })
    .optional()
}

fn owner_row(row: &Row<'_>) -> rusqlite::Result<CtfdOwner> {
    Ok(CtfdOwner {
        kind: row::word(row, "kind", OwnerKind::from_word)?,
        number: row.get("number")?,
    })
}

fn integration_row(row: &Row<'_>) -> rusqlite::Result<Integration> {
    Ok(Integration {
        id: row::text(row, "id")?,
        name: row.get("name")?,
        competition: row::text(row, "competition")?,
        mode: row::word(row, "mode", IntegrationMode::from_word)?,
        webhook: row::opt_text::<NodeUrl>(row, "webhook")?,
        epoch: row.get("epoch")?,
        created_by: row.get("created_by")?,
        created_at: row::time(row, "created_at")?,
        last_used_at: row::opt_time(row, "last_used_at")?,
        revoked_at: row::opt_time(row, "revoked_at")?,
    })
}
