//! Teams and the digests of their tokens.

use rusqlite::{OptionalExtension, Row, params};
use thiserror::Error;

use super::{Store, StoreError, row};
use crate::model::{Team, TeamId, Timestamp};

/// Most characters of a team's name.
pub const MAX_TEAM_NAME_CHARS: usize = 64;

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

/// Checks the name of a team: 1 to 64 characters, printable, no blank at either end. Names reach
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

fn is_printable(character: char) -> bool {
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

impl Store {
    /// Adds a token to team `name`, and makes the team, with the id `team_if_new`, when there is
    /// none of that name. Only the digest of the token is kept.
    ///
    /// # Errors
    /// [`StoreError::TeamName`]; or when the database does not take it, for one because the token
    /// exists already.
    pub async fn create_team_token(
        &self,
        name: &str,
        token_id: &str,
        token_hash: [u8; 32],
        team_if_new: TeamId,
        now: Timestamp,
    ) -> Result<Team, StoreError> {
        check_team_name(name)?;
        let (name, token_id) = (name.to_owned(), token_id.to_owned());
        self.write(move |db| {
            db.prepare_cached(
                "INSERT INTO teams (id, name, created_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO NOTHING",
            )?
            .execute(params![team_if_new.to_string(), name, now.as_millis()])?;
            let team = db
                .prepare_cached("SELECT * FROM teams WHERE name = ?1")?
                .query_row([name], team_row)?;
            db.prepare_cached(
                "INSERT INTO team_tokens (token_id, token_hash, team, created_at)
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                token_id,
                token_hash,
                team.id.to_string(),
                now.as_millis()
            ])?;
            Ok(team)
        })
        .await
    }

    /// Public id and team of the token with this SHA-256.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_team(
        &self,
        token_hash: [u8; 32],
    ) -> Result<Option<(String, TeamId)>, StoreError> {
        self.read(move |db| {
            // Looking up by digest gives nothing away in its timing: nobody can choose a digest.
            db.prepare_cached("SELECT token_id, team FROM team_tokens WHERE token_hash = ?1")?
                .query_row([token_hash], |row| Ok((row.get("token_id")?, row::text(row, "team")?)))
                .optional()
        })
        .await
    }

    /// Every team, by name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn teams(&self) -> Result<Vec<Team>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM teams ORDER BY name")?
                .query_map([], team_row)?
                .collect()
        })
        .await
    }

    /// One team.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn team(&self, id: TeamId) -> Result<Option<Team>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM teams WHERE id = ?1")?
                .query_row([id.to_string()], team_row)
                .optional()
        })
        .await
    }
}

fn team_row(row: &Row<'_>) -> rusqlite::Result<Team> {
    Ok(Team {
        id: row::text(row, "id")?,
        name: row.get("name")?,
        created_at: row::time(row, "created_at")?,
    })
}
