//! The hubs of teams: which instance is one, whose, and where it was told to lead.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use rusqlite::{Row, params};

use super::{Store, StoreError, row};
use crate::model::{InstanceId, TeamId};

/// The hub of a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRow {
    /// The instance that runs it. Its row is written after this one.
    pub instance: InstanceId,
    /// Whose it is.
    pub team: TeamId,
    /// Where it was told to lead last; `None` while it is being told.
    pub told: Option<BTreeSet<Ipv4Net>>,
}

impl Store {
    /// Every hub there is, or was until somebody looks.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn hubs(&self) -> Result<Vec<HubRow>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM hubs ORDER BY instance")?
                .query_map([], hub_row)?
                .collect()
        })
        .await
    }

    /// Notes that `instance` is to be the hub of a team.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn add_hub(&self, instance: InstanceId, team: TeamId) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached("INSERT INTO hubs (instance, team) VALUES (?1, ?2)")?
                .execute(params![instance.to_string(), team.to_string()])?;
            Ok(())
        })
        .await
    }

    /// Forgets a hub whose instance is over, or never was.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn forget_hub(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached("DELETE FROM hubs WHERE instance = ?1")?
                .execute([instance.to_string()])?;
            Ok(())
        })
        .await
    }

    /// Notes where a hub was told to lead; `None` before it is told: whatever comes of that, what it
    /// knew before counts no more.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn note_hub_told(
        &self,
        instance: InstanceId,
        told: Option<BTreeSet<Ipv4Net>>,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            let told = told.as_ref().map(row::to_json).transpose()?;
            db.prepare_cached("UPDATE hubs SET networks = ?2 WHERE instance = ?1")?
                .execute(params![instance.to_string(), told])?;
            Ok(())
        })
        .await
    }
}

fn hub_row(row: &Row<'_>) -> rusqlite::Result<HubRow> {
    Ok(HubRow {
        instance: row::text(row, "instance")?,
        team: row::text(row, "team")?,
        told: row::opt_json(row, "networks")?,
    })
}
