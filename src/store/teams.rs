//! Teams and the digests of their tokens.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use thiserror::Error;

use super::{Store, StoreError, row};
use crate::model::{CompetitionId, Member, Membership, Team, TeamId, Timestamp, UserId};

/// Most characters of a team's name.
pub const MAX_TEAM_NAME_CHARS: usize = 80;

/// Why a text is no team's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TeamNameError {
    /// Empty, or too long.
    #[error("a team's name has 1 to {MAX_TEAM_NAME_CHARS} characters, this one has {n_chars}")]
    Length {
        /// How many it has.
        n_chars: usize,
    },
    /// It would look like another name, or break a line of output.
    #[error("a team's name has printable characters only, U+{:04X} is none", u32::from(*.character))]
    Character {
        /// The first that is refused.
        character: char,
    },
    /// Blanks that nobody sees.
    #[error("a team's name neither begins nor ends with a blank")]
    Padded,
}

/// Checks the name of a team: 1 to 80 characters, printable, no blank at either end. Names reach
/// score boards and terminals, so nothing that hides, reorders or breaks text is let in.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check_team_name(name: &str) -> Result<(), TeamNameError> {
    let n_chars = name.chars().count();
    if n_chars == 0 || n_chars > MAX_TEAM_NAME_CHARS {
        return Err(TeamNameError::Length { n_chars });
    }
    if let Some(character) = name.chars().find(|character| !is_printable(*character)) {
        return Err(TeamNameError::Character { character });
    }
    if name.starts_with(' ') || name.ends_with(' ') { Err(TeamNameError::Padded) } else { Ok(()) }
}

/// Whether a character can be shown beside others: nothing that hides, reorders or breaks text.
pub fn is_printable(character: char) -> bool {
    if character.is_control() || (character.is_whitespace() && character != ' ') {
        return false;
    }
    !matches!(character,
        // Invisible: soft hyphen, combining joiner, Arabic letter mark, Hangul and Khmer fillers.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{ffa0}'
        // Zero width, direction marks, embeddings, overrides, isolates, invisible operators.
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        // Byte order mark, annotations, replacement; private use; tags; non-characters.
        | '\u{feff}' | '\u{fff0}'..='\u{ffff}' | '\u{e000}'..='\u{f8ff}'
        | '\u{e0000}'..='\u{10ffff}')
}

/// A team that gets a token of its own.
#[derive(Debug, Clone)]
pub struct NewTeamToken {
    /// In which competition.
    pub competition: CompetitionId,
    /// The team's name; a new one makes a new team.
    pub name: String,
    /// The id of the team if it is new.
    pub team_if_new: TeamId,
    /// Public id of the token.
    pub token_id: String,
    /// Its SHA-256.
    pub hash: [u8; 32],
    /// When.
    pub now: Timestamp,
}

impl Store {
    /// Adds a token to the team of this name, and makes the team when there is none. Only the
    /// digest of the token is kept.
    ///
    /// # Errors
    /// [`StoreError::TeamName`]; or when the database does not take it, for one because the token
    /// exists already.
    pub async fn create_team_token(&self, new: NewTeamToken) -> Result<Team, StoreError> {
        check_team_name(&new.name)?;
        self.write(move |db| {
            let team = match by_name(db, &new.competition, &new.name)? {
                Some(team) => team,
                None => {
                    let team = Team {
                        id: new.team_if_new,
                        competition: new.competition,
                        name: new.name,
                        description: String::new(),
                        captain: None,
                        created_at: new.now,
                    };
                    insert(db, &team)?;
                    team
                }
            };
            db.prepare_cached(
                "INSERT INTO team_tokens (token_id, token_hash, team, created_at)
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                new.token_id,
                new.hash,
                team.id.to_string(),
                new.now.as_millis()
            ])?;
            Ok(team)
        })
        .await
    }

    /// Every team that is not disbanded, by name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn teams(&self) -> Result<Vec<Team>, StoreError> {
        self.read(every).await
    }

    /// One team, disbanded or not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn team(&self, id: TeamId) -> Result<Option<Team>, StoreError> {
        self.read(move |db| one(db, id)).await
    }

    /// The teams that somebody is in.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        self.read(move |db| memberships(db, user)).await
    }

    /// Who is in one team, those who joined first before the others.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn members_of(&self, team: TeamId) -> Result<Vec<Member>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT user, name, joined_at FROM members JOIN users ON users.id = user
                 WHERE team = ?1 ORDER BY joined_at, user",
            )?
            .query_map([team.to_string()], member_row)?
            .collect()
        })
        .await
    }

    /// Who is in which team, those who joined first before the others.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn members(&self) -> Result<BTreeMap<TeamId, Vec<Member>>, StoreError> {
        self.read(|db| {
            let mut teams: BTreeMap<TeamId, Vec<Member>> = BTreeMap::new();
            let mut select = db.prepare_cached(
                "SELECT team, user, name, joined_at FROM members JOIN users ON users.id = user
                 ORDER BY joined_at, user",
            )?;
            for row in
                select.query_map([], |row| Ok((row::text(row, "team")?, member_row(row)?)))?
            {
                let (team, member) = row?;
                teams.entry(team).or_default().push(member);
            }
            Ok(teams)
        })
        .await
    }
}

pub(super) fn one(db: &Connection, id: TeamId) -> rusqlite::Result<Option<Team>> {
    db.prepare_cached("SELECT * FROM teams WHERE id = ?1")?
        .query_row([id.to_string()], team_row)
        .optional()
}

pub(super) fn by_name(
    db: &Connection,
    competition: &CompetitionId,
    name: &str,
) -> rusqlite::Result<Option<Team>> {
    db.prepare_cached(
        "SELECT * FROM teams WHERE competition = ?1 AND lower(name) = lower(?2)
         AND disbanded_at IS NULL",
    )?
    .query_row(params![competition.as_str(), name], team_row)
    .optional()
}

pub(super) fn insert(db: &Connection, team: &Team) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO teams (id, competition, name, description, captain, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        team.id.to_string(),
        team.competition.as_str(),
        team.name,
        team.description,
        team.captain.map(|user| user.to_string()),
        team.created_at.as_millis(),
    ])?;
    Ok(())
}

fn team_row(row: &Row<'_>) -> rusqlite::Result<Team> {
    Ok(Team {
        id: row::text(row, "id")?,
        competition: row::text(row, "competition")?,
        name: row.get("name")?,
        description: row.get("description")?,
        captain: row::opt_text(row, "captain")?,
        created_at: row::time(row, "created_at")?,
    })
}

pub(super) fn member_row(row: &Row<'_>) -> rusqlite::Result<Member> {
    Ok(Member {
        user: row::text(row, "user")?,
        name: row.get("name")?,
        joined_at: row::time(row, "joined_at")?,
    })
}

pub(super) fn membership_row(row: &Row<'_>) -> rusqlite::Result<Membership> {
    Ok(Membership { competition: row::text(row, "competition")?, team: row::text(row, "team")? })
}

/// The teams that `user` plays for, those they joined first before the others.
pub(super) fn memberships(db: &Connection, user: UserId) -> rusqlite::Result<Vec<Membership>> {
    db.prepare_cached(
        "SELECT team, competition FROM members WHERE user = ?1 ORDER BY joined_at, team",
    )?
    .query_map([user.to_string()], membership_row)?
    .collect()
}

fn every(db: &Connection) -> rusqlite::Result<Vec<Team>> {
    db.prepare_cached("SELECT * FROM teams WHERE disbanded_at IS NULL ORDER BY name, id")?
        .query_map([], team_row)?
        .collect()
}
