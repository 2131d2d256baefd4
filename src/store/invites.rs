//! Ways into teams: codes, invitations, requests.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rosters::{RosterError, RosterRefusal};
use super::{Store, StoreError, row};
use crate::model::{Invite, InviteKind, TeamId, Timestamp, UserId};

/// How an invitation ends without being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By the captain of this team: any kind of it is taken back.
    Revoked(TeamId),
    /// By the invited person.
    Declined(UserId),
    /// By the captain of this team: a request is refused.
    Rejected(TeamId),
}

impl Store {
    /// Makes a way into a team. Of one person's invitations or requests for a team only one waits.
    ///
    /// # Errors
    /// When the database does not take it. `Ok(Err(id))` when one waits already.
    pub async fn add_invite(&self, invite: Invite) -> Result<Result<Invite, String>, StoreError> {
        self.write(move |db| {
            if let Some(target) = invite.target {
                let waiting = of_target(db, target)?.into_iter().find(|it| {
                    it.team == invite.team
                        && it.kind == invite.kind
                        && it.is_active(invite.created_at)
                });
                if let Some(waiting) = waiting {
                    return Ok(Err(waiting.id));
                }
            }
            insert(db, &invite)?;
            Ok(Ok(invite))
        })
        .await
    }

    /// Every way into a team there ever was, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn invites_of_team(&self, team: TeamId) -> Result<Vec<Invite>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM team_invites WHERE team = ?1 ORDER BY seq DESC")?
                .query_map([team.to_string()], invite_row)?
                .collect()
        })
        .await
    }

    /// Every invitation and request about one person, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn invites_of_user(&self, user: UserId) -> Result<Vec<Invite>, StoreError> {
        self.read(move |db| of_target(db, user)).await
    }

    /// Ends an invitation without its being used; whether it was open until now.
    ///
    /// # Errors
    /// When there is none that this person or team may end, or it is of another kind.
    pub async fn end_invite(
        &self,
        id: &str,
        ending: Ending,
        now: Timestamp,
    ) -> Result<bool, RosterError> {
        let id = id.to_owned();
        self.write(move |db| {
            let invite = one(db, &id)?.ok_or(RosterRefusal::InviteNotFound)?;
            let wrong = RosterRefusal::WrongKind { kind: invite.kind };
            match ending {
                Ending::Revoked(team) | Ending::Rejected(team) if invite.team != team => {
                    return Err(RosterRefusal::InviteNotFound.into());
                }
                Ending::Declined(user) if invite.target != Some(user) => {
                    return Err(RosterRefusal::NotInvited.into());
                }
                Ending::Rejected(_) if invite.kind != InviteKind::JoinRequest => {
                    return Err(wrong.into());
                }
                // Who asked may withdraw the request in the same way.
                Ending::Revoked(_) | Ending::Rejected(_) | Ending::Declined(_) => (),
            }
            let n_ended = db
                .prepare_cached(
                    "UPDATE team_invites SET revoked_at = ?2
                     WHERE id = ?1 AND revoked_at IS NULL",
                )?
                .execute(params![id, now.as_millis()])?;
            Ok(n_ended > 0)
        })
        .await
    }
}

pub(super) fn one(db: &Connection, id: &str) -> rusqlite::Result<Option<Invite>> {
    db.prepare_cached("SELECT * FROM team_invites WHERE id = ?1")?
        .query_row([id], invite_row)
        .optional()
}

pub(super) fn by_code(db: &Connection, code: &str) -> rusqlite::Result<Option<Invite>> {
    db.prepare_cached("SELECT * FROM team_invites WHERE code = ?1")?
        .query_row([code], invite_row)
        .optional()
}

pub(super) fn count_use(db: &Connection, id: &str) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE team_invites SET n_uses = n_uses + 1 WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}

fn of_target(db: &Connection, user: UserId) -> rusqlite::Result<Vec<Invite>> {
    db.prepare_cached("SELECT * FROM team_invites WHERE target_user = ?1 ORDER BY seq DESC")?
        .query_map([user.to_string()], invite_row)?
        .collect()
}

fn insert(db: &Connection, invite: &Invite) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO team_invites (id, code, team, competition, kind, target_user, created_by,
                created_at, expires_at, max_uses, n_uses, revoked_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        invite.id,
        invite.code,
        invite.team.to_string(),
        invite.competition.as_str(),
        invite.kind.as_str(),
        invite.target.map(|user| user.to_string()),
        invite.created_by,
        invite.created_at.as_millis(),
        invite.expires_at.map(Timestamp::as_millis),
        invite.max_uses,
        invite.n_uses,
        invite.revoked_at.map(Timestamp::as_millis),
    ])?;
    Ok(())
}

fn invite_row(row: &Row<'_>) -> rusqlite::Result<Invite> {
    Ok(Invite {
        id: row.get("id")?,
        code: row.get("code")?,
        team: row::text(row, "team")?,
        competition: row::text(row, "competition")?,
        kind: row::word(row, "kind", InviteKind::from_word)?,
        target: row::opt_text(row, "target_user")?,
        created_by: row.get("created_by")?,
        created_at: row::time(row, "created_at")?,
        expires_at: row::opt_time(row, "expires_at")?,
        max_uses: row.get("max_uses")?,
        n_uses: row.get("n_uses")?,
        revoked_at: row::opt_time(row, "revoked_at")?,
    })
}
