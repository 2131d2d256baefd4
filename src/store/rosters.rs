//! Getting into teams and out of them: each step whole, whatever races.
//!
//! # Invariants
//! * Nobody is in two teams of one competition.
//! * A team with members has one of them as its captain; when the last one leaves it is disbanded.
//! * A use of a code is counted exactly when somebody joined by it.

use rusqlite::{Connection, OptionalExtension, params};
use thiserror::Error;

use super::{Store, StoreError, invites, row, teams};
use crate::model::{CompetitionId, Invite, InviteKind, Team, TeamId, Timestamp, UserId};

/// Why somebody did not get in, or out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RosterRefusal {
    /// They are in a team of this competition.
    #[error("you are in a team of this competition already: leave it first")]
    AlreadyMember {
        /// Which.
        team: TeamId,
    },
    /// Another team has the name.
    #[error("another team of this competition has this name: take another")]
    NameTaken,
    /// There is no such way in, or none that they may know of.
    #[error("there is no such invitation")]
    InviteNotFound,
    /// It is for another competition.
    #[error("wrong competition")]
    WrongCompetition,
    /// It is used up, over or taken back.
    #[error("expired or revoked")]
    ExpiredOrRevoked,
    /// The team is no more.
    #[error("team deleted")]
    TeamDeleted,
    /// It has as many members as it may.
    #[error("the team has {max} members, as many as it may")]
    TeamFull {
        /// How many.
        max: u32,
    },
    /// It is of another kind.
    #[error("this invitation is of another kind")]
    WrongKind {
        /// Which.
        kind: InviteKind,
    },
    /// It is for somebody else.
    #[error("this invitation is for somebody else")]
    NotInvited,
    /// They are in no team of this competition.
    #[error("you are in no team of this competition")]
    NotMember,
    /// Somebody is not in the team.
    #[error("this person is not in your team")]
    NotTeamMember,
}

/// Why nothing was changed.
#[derive(Debug, Error)]
pub enum RosterError {
    /// The rules.
    #[error(transparent)]
    Refused(#[from] RosterRefusal),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for RosterError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A team that somebody makes for themselves.
#[derive(Debug, Clone)]
pub struct NewTeam {
    /// The team; its captain is who makes it.
    pub team: Team,
    /// What happens when they are in one, or the name is taken.
    pub mode: NewTeamMode,
}

/// How a team is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewTeamMode {
    /// For one player: who is in a team keeps it, and a name that is taken gets a number.
    Solo,
    /// On purpose: both are refused.
    Create,
}

/// How somebody joins.
#[derive(Debug, Clone)]
pub struct Joining {
    /// In which competition.
    pub competition: CompetitionId,
    /// Most members of a team.
    pub max_members: u32,
    /// When.
    pub now: Timestamp,
}

/// Which invitation is used.
#[derive(Debug, Clone)]
pub enum Way {
    /// By its code, as this person.
    Code(String, UserId),
    /// By its id, as this person, who is invited.
    Invited(String, UserId),
    /// By its id, as the captain of this team who lets the requester in.
    Approved(String, TeamId),
}

impl Store {
    /// Makes a team for somebody, who is its captain; for a solo player again gives the one that
    /// they have.
    ///
    /// # Errors
    /// [`RosterRefusal::AlreadyMember`], [`RosterRefusal::NameTaken`]; nothing is changed then.
    pub async fn form_team(&self, new: NewTeam, captain: UserId) -> Result<Team, RosterError> {
        teams::check_team_name(&new.team.name).map_err(StoreError::from)?;
        self.write(move |db| {
            let NewTeam { mut team, mode } = new;
            if let Some(own) = team_of(db, captain, &team.competition)? {
                return match mode {
                    NewTeamMode::Solo => Ok(own),
                    NewTeamMode::Create => {
                        Err(RosterRefusal::AlreadyMember { team: own.id }.into())
                    }
                };
            }
            let wanted = team.name.clone();
            let mut n_tries = 1;
            while teams::by_name(db, &team.competition, &team.name)?.is_some() {
                if mode == NewTeamMode::Create {
                    return Err(RosterRefusal::NameTaken.into());
                }
                n_tries += 1;
                let suffix = format!(" {n_tries}");
                let n_kept = teams::MAX_TEAM_NAME_CHARS - suffix.chars().count();
                let kept: String = wanted.chars().take(n_kept).collect();
                team.name = format!("{}{suffix}", kept.trim_end());
            }
            teams::insert(db, &team)?;
            enrol(db, captain, &team, team.created_at)?;
            Ok(team)
        })
        .await
    }

    /// Lets somebody into a team; whom, and which.
    ///
    /// # Errors
    /// A [`RosterRefusal`]; nothing is changed then.
    pub async fn join_team(&self, way: Way, joining: Joining) -> Result<Team, RosterError> {
        self.write(move |db| join(db, &way, &joining)).await
    }

    /// The name and the words of a team.
    ///
    /// # Errors
    /// [`RosterRefusal::NameTaken`].
    pub async fn rename_team(
        &self,
        id: TeamId,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<Team, RosterError> {
        if let Some(name) = &name {
            teams::check_team_name(name).map_err(StoreError::from)?;
        }
        self.write(move |db| {
            let team = teams::one(db, id)?.ok_or(RosterRefusal::TeamDeleted)?;
            let name = name.unwrap_or_else(|| team.name.clone());
            let other = teams::by_name(db, &team.competition, &name)?;
            if other.is_some_and(|other| other.id != id) {
                return Err(RosterRefusal::NameTaken.into());
            }
            let description = description.unwrap_or(team.description);
            db.prepare_cached("UPDATE teams SET name = ?2, description = ?3 WHERE id = ?1")?
                .execute(params![id.to_string(), name, description])?;
            Ok(Team { name, description, ..team })
        })
        .await
    }

    /// Takes somebody out of their team. A captain hands over to who is in it longest; the last one
    /// leaves a team that is disbanded. What became of it.
    ///
    /// # Errors
    /// [`RosterRefusal::NotMember`].
    pub async fn leave_team(
        &self,
        user: UserId,
        competition: &CompetitionId,
        now: Timestamp,
    ) -> Result<Left, RosterError> {
        let competition = competition.clone();
        self.write(move |db| {
            let team = team_of(db, user, &competition)?.ok_or(RosterRefusal::NotMember)?;
            leave(db, user, &team, now)
        })
        .await
    }

    /// Takes a member out of the captain's team.
    ///
    /// # Errors
    /// [`RosterRefusal::NotTeamMember`].
    pub async fn kick_member(
        &self,
        team: TeamId,
        user: UserId,
        now: Timestamp,
    ) -> Result<Left, RosterError> {
        self.write(move |db| {
            let team = teams::one(db, team)?.ok_or(RosterRefusal::TeamDeleted)?;
            let own = team_of(db, user, &team.competition)?;
            if own.is_none_or(|own| own.id != team.id) {
                return Err(RosterRefusal::NotTeamMember.into());
            }
            leave(db, user, &team, now)
        })
        .await
    }
}

impl Store {
    /// Removes an account: it leaves its teams, its tokens and invitations go, and what it answered
    /// stays on record without it. What became of its teams.
    ///
    /// # Errors
    /// When the database does not take it; then nothing is changed.
    pub async fn delete_account(
        &self,
        user: UserId,
        now: Timestamp,
    ) -> Result<Vec<Left>, RosterError> {
        self.write(move |db| {
            let competitions: Vec<CompetitionId> = db
                .prepare_cached("SELECT competition FROM members WHERE user = ?1")?
                .query_map([user.to_string()], |row| row::text(row, "competition"))?
                .collect::<rusqlite::Result<_>>()?;
            let mut left = Vec::new();
            for competition in competitions {
                if let Some(team) = team_of(db, user, &competition)? {
                    left.push(leave(db, user, &team, now)?);
                }
            }
            for sql in [
                // Only disbanded teams still name them.
                "UPDATE teams SET captain = NULL WHERE captain = ?1",
                "UPDATE submissions SET user = NULL WHERE user = ?1",
                "DELETE FROM users WHERE id = ?1",
            ] {
                db.prepare_cached(sql)?.execute([user.to_string()])?;
            }
            Ok(left)
        })
        .await
    }
}

/// What became of a team that somebody left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The team as it was.
    pub team: Team,
    /// Whether nobody is left.
    pub is_disbanded: bool,
}

fn team_of(
    db: &Connection,
    user: UserId,
    competition: &CompetitionId,
) -> rusqlite::Result<Option<Team>> {
    let id: Option<TeamId> = db
        .prepare_cached("SELECT team FROM members WHERE user = ?1 AND competition = ?2")?
        .query_row(params![user.to_string(), competition.as_str()], |row| row::text(row, "team"))
        .optional()?;
    id.map_or(Ok(None), |id| teams::one(db, id))
}

fn enrol(db: &Connection, user: UserId, team: &Team, now: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO members (user, competition, team, joined_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        user.to_string(),
        team.competition.as_str(),
        team.id.to_string(),
        now.as_millis()
    ])?;
    // Whoever is in a team waits for no other of the competition.
    db.prepare_cached(
        "UPDATE team_invites SET revoked_at = ?3
         WHERE target_user = ?1 AND competition = ?2 AND revoked_at IS NULL
         AND (max_uses = 0 OR n_uses < max_uses)",
    )?
    .execute(params![user.to_string(), team.competition.as_str(), now.as_millis()])?;
    Ok(())
}

fn join(db: &Connection, way: &Way, joining: &Joining) -> Result<Team, RosterError> {
    let found = match way {
        Way::Code(code, _) => invites::by_code(db, code)?,
        Way::Invited(id, _) | Way::Approved(id, _) => invites::one(db, id)?,
    };
    let invite = found.ok_or(RosterRefusal::InviteNotFound)?;
    let user = newcomer(way, &invite)?;
    if invite.competition != joining.competition {
        return Err(RosterRefusal::WrongCompetition.into());
    }
    if let Some(own) = team_of(db, user, &joining.competition)? {
        return Err(RosterRefusal::AlreadyMember { team: own.id }.into());
    }
    if !invite.is_active(joining.now) {
        return Err(RosterRefusal::ExpiredOrRevoked.into());
    }
    let (is_disbanded, n_members): (bool, u32) = db
        .prepare_cached(
            "SELECT disbanded_at IS NOT NULL, (SELECT count(*) FROM members WHERE team = teams.id)
             FROM teams WHERE id = ?1",
        )?
        .query_row([invite.team.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if is_disbanded {
        return Err(RosterRefusal::TeamDeleted.into());
    }
    if n_members >= joining.max_members {
        return Err(RosterRefusal::TeamFull { max: joining.max_members }.into());
    }
    let team = teams::one(db, invite.team)?.ok_or(RosterRefusal::TeamDeleted)?;
    invites::count_use(db, &invite.id)?;
    enrol(db, user, &team, joining.now)?;
    Ok(team)
}

/// Who joins by `invite` in this way.
fn newcomer(way: &Way, invite: &Invite) -> Result<UserId, RosterRefusal> {
    let wrong = || RosterRefusal::WrongKind { kind: invite.kind };
    match way {
        Way::Code(_, caller) => match invite.kind {
            InviteKind::Code => Ok(*caller),
            // Their codes are as good for who is meant, and for nobody else.
            InviteKind::Direct | InviteKind::JoinRequest if invite.target != Some(*caller) => {
                Err(RosterRefusal::InviteNotFound)
            }
            InviteKind::Direct => Ok(*caller),
            InviteKind::JoinRequest => Err(RosterRefusal::InviteNotFound),
        },
        Way::Invited(_, caller) => match (invite.kind, invite.target) {
            (InviteKind::Direct, Some(target)) if target == *caller => Ok(target),
            (InviteKind::Direct, _) => Err(RosterRefusal::NotInvited),
            (InviteKind::Code | InviteKind::JoinRequest, _) => Err(wrong()),
        },
        Way::Approved(_, team) if invite.team != *team => Err(RosterRefusal::InviteNotFound),
        Way::Approved(..) => match (invite.kind, invite.target) {
            (InviteKind::JoinRequest, Some(target)) => Ok(target),
            (InviteKind::Code | InviteKind::Direct | InviteKind::JoinRequest, _) => Err(wrong()),
        },
    }
}

fn leave(db: &Connection, user: UserId, team: &Team, now: Timestamp) -> Result<Left, RosterError> {
    db.prepare_cached("DELETE FROM members WHERE user = ?1 AND competition = ?2")?
        .execute(params![user.to_string(), team.competition.as_str()])?;
    let next: Option<String> = db
        .prepare_cached(
            "SELECT user FROM members WHERE team = ?1 ORDER BY joined_at, user LIMIT 1",
        )?
        .query_row([team.id.to_string()], |row| row.get(0))
        .optional()?;
    let is_disbanded = next.is_none() && team.captain.is_some();
    if is_disbanded {
        db.prepare_cached("UPDATE teams SET disbanded_at = ?2 WHERE id = ?1")?
            .execute(params![team.id.to_string(), now.as_millis()])?;
        db.prepare_cached(
            "UPDATE team_invites SET revoked_at = ?2 WHERE team = ?1 AND revoked_at IS NULL",
        )?
        .execute(params![team.id.to_string(), now.as_millis()])?;
    } else if team.captain == Some(user) {
        db.prepare_cached("UPDATE teams SET captain = ?2 WHERE id = ?1")?
            .execute(params![team.id.to_string(), next])?;
    }
    Ok(Left { team: team.clone(), is_disbanded })
}
