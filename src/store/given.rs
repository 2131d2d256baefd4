//! What the platform gave an instance of this node beside its row: its answers, how long it may
//! answer without the platform, and who may connect to its VPN.
//!
//! # Invariants
//! * Nothing of it is in a log or an error; the file is readable by its owner only.

use std::collections::BTreeMap;
use std::fmt;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Store, StoreError, row};
use crate::model::{InstanceId, VpnSeat};

/// What the platform gave.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Given {
    /// Its answers by question. Secret.
    pub answers: BTreeMap<String, String>,
    /// The name of its team.
    pub team: String,
    /// It must not answer any more when the platform was not heard of for this long; 0 for never.
    pub fence_secs: u32,
    /// Who may connect to its VPN; `None` where the platform leaves that to us.
    pub vpn_seats: Option<Vec<VpnSeat>>,
    /// Which telling said so.
    pub vpn_number: i64,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("answers", &self.answers.keys()).finish_non_exhaustive()
    }
}

impl Store {
    /// Everything that was given, by instance.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn given(&self) -> Result<BTreeMap<InstanceId, Given>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM given_answers")?
                .query_map([], |row| Ok((row::text(row, "instance")?, given_row(row)?)))?
                .collect()
        })
        .await
    }

    /// Keeps what was given, in place of what was given before.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn give(&self, id: InstanceId, given: Given) -> Result<(), StoreError> {
        self.write(move |db| Ok(give(db, id, &given)?)).await
    }

    /// Forgets what was given to an instance that there is not.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn forget_given(&self, id: InstanceId) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached("DELETE FROM given_answers WHERE instance = ?1")?
                .execute([id.to_string()])?;
            Ok(())
        })
        .await
    }
}

fn give(db: &Connection, id: InstanceId, given: &Given) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO given_answers (instance, answers, team, fence_secs, vpn_seats, vpn_number)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (instance) DO UPDATE SET
         answers = ?2, team = ?3, fence_secs = ?4, vpn_seats = ?5, vpn_number = ?6",
    )?
    .execute(params![
        id.to_string(),
        row::to_json(&given.answers)?,
        given.team,
        given.fence_secs,
        given.vpn_seats.as_ref().map(row::to_json).transpose()?,
        given.vpn_number,
    ])?;
    Ok(())
}

fn given_row(row: &Row<'_>) -> rusqlite::Result<Given> {
    Ok(Given {
        answers: row::json(row, "answers")?,
        team: row.get("team")?,
        fence_secs: row.get("fence_secs")?,
        vpn_seats: row::opt_json(row, "vpn_seats")?,
        vpn_number: row.get("vpn_number")?,
    })
}

/// The cursor that holds the generation of the platform.
const PLATFORM_GENERATION: &str = "platform_generation";

impl Store {
    /// The newest generation of its platform that this node followed; 0 before the first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn platform_generation(&self) -> Result<u32, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT value FROM cursors WHERE name = ?1")?
                .query_row([PLATFORM_GENERATION], |row| row.get(0))
                .optional()
                .map(Option::unwrap_or_default)
        })
        .await
    }

    /// Notes that this node follows that generation of its platform; it never goes back.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn note_platform_generation(&self, generation: u32) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "INSERT INTO cursors (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = max(value, ?2)",
            )?
            .execute(params![PLATFORM_GENERATION, generation])?;
            Ok(())
        })
        .await
    }
}
