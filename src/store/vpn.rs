//! VPN profiles that were rotated or revoked, and what gateways were told of it.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{Store, StoreError, row};
use crate::model::{InstanceId, Timestamp, VpnAccess, VpnTold};

/// What is done to the profiles of a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VpnChange {
    /// The profile there is is worth nothing any more, and the next one is valid. Not where it was
    /// revoked: that is for organizers to take back.
    Rotate,
    /// The next one is valid, whatever was before.
    Restore,
    /// None is valid until it is restored.
    Revoke,
}

impl Store {
    /// Everything that was changed for the VPN of `instance`, by holder.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn vpn_access(&self, instance: InstanceId) -> Result<Vec<VpnAccess>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM vpn_access WHERE instance = ?1 ORDER BY holder")?
                .query_map([instance.to_string()], access_row)?
                .collect()
        })
        .await
    }

    /// As [`Self::vpn_access`], of all live instances.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn live_vpn_access(
        &self,
    ) -> Result<BTreeMap<InstanceId, Vec<VpnAccess>>, StoreError> {
        self.read(|db| {
            let mut by_instance: BTreeMap<InstanceId, Vec<VpnAccess>> = BTreeMap::new();
            let mut select = db.prepare_cached(
                "SELECT a.* FROM vpn_access a JOIN instances i ON i.id = a.instance
                 WHERE i.phase NOT IN ('stopped', 'failed', 'removing')
                 ORDER BY a.instance, a.holder",
            )?;
            for access in select.query_map([], access_row)? {
                let access = access?;
                by_instance.entry(access.instance).or_default().push(access);
            }
            Ok(by_instance)
        })
        .await
    }

    /// Changes what is valid for `holder`; how it stands then, or `None` when it is revoked and that
    /// change does not take it back.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn change_vpn_access(
        &self,
        instance: InstanceId,
        holder: Uuid,
        change: VpnChange,
        now: Timestamp,
    ) -> Result<Option<VpnAccess>, StoreError> {
        self.write(move |db| {
            let keys = (instance.to_string(), holder.to_string());
            let (serial, was_revoked): (u32, bool) = db
                .prepare_cached(
                    "SELECT serial, is_revoked FROM vpn_access WHERE instance = ?1 AND holder = ?2",
                )?
                .query_row((&keys.0, &keys.1), |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?
                .unwrap_or((1, false));
            if was_revoked && change == VpnChange::Rotate {
                return Ok(None);
            }
            let access = VpnAccess {
                instance,
                holder,
                serial: if change == VpnChange::Revoke { serial } else { serial + 1 },
                is_revoked: change == VpnChange::Revoke,
                changed_at: now,
            };
            db.prepare_cached(
                "INSERT OR REPLACE INTO vpn_access
                 (instance, holder, serial, is_revoked, changed_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                keys.0,
                keys.1,
                access.serial,
                access.is_revoked,
                now.as_millis()
            ])?;
            Ok(Some(access))
        })
        .await
    }

    /// What gateways were told last, as far as they were told anything.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn vpn_told(&self) -> Result<BTreeMap<InstanceId, VpnTold>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM vpn_told")?
                .query_map([], |row| Ok((row::text(row, "instance")?, told_row(row)?)))?
                .collect()
        })
        .await
    }

    /// What the gateway of `instance` was told last.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn vpn_told_of(&self, instance: InstanceId) -> Result<Option<VpnTold>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM vpn_told WHERE instance = ?1")?
                .query_row([instance.to_string()], told_row)
                .optional()
        })
        .await
    }

    /// Notes that the gateway of `instance` is about to be told: whatever comes of it, what it knew
    /// before counts no more. The number of this telling, above every earlier one's, also when those
    /// were lost with a database and `now` is later.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn begin_vpn_telling(
        &self,
        instance: InstanceId,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        self.write(move |db| Ok(telling(db, instance, None, now)?)).await
    }

    /// Notes what the gateway of `instance` begins with, before it runs.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn note_vpn_filled(
        &self,
        instance: InstanceId,
        names: Vec<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            telling(db, instance, Some(&names), now)?;
            Ok(())
        })
        .await
    }

    /// Notes that the gateway was told `names`, unless another telling began meanwhile.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn note_vpn_told(
        &self,
        instance: InstanceId,
        number: i64,
        names: Vec<String>,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "UPDATE vpn_told SET names = ?3 WHERE instance = ?1 AND number = ?2",
            )?
            .execute(params![instance.to_string(), number, row::to_json(&names)?])?;
            Ok(())
        })
        .await
    }
}

fn telling(
    db: &Connection,
    instance: InstanceId,
    names: Option<&Vec<String>>,
    now: Timestamp,
) -> rusqlite::Result<i64> {
    let names = names.map(row::to_json).transpose()?;
    db.prepare_cached(
        "INSERT INTO vpn_told (instance, number, names) VALUES (?1, max(?2, 1), ?3)
         ON CONFLICT (instance) DO UPDATE SET number = max(number + 1, ?2), names = ?3
         RETURNING number",
    )?
    .query_row(params![instance.to_string(), now.as_millis(), names], |row| row.get(0))
}

fn told_row(row: &Row<'_>) -> rusqlite::Result<VpnTold> {
    Ok(VpnTold { number: row.get("number")?, names: row::opt_json(row, "names")? })
}

fn access_row(row: &Row<'_>) -> rusqlite::Result<VpnAccess> {
    Ok(VpnAccess {
        instance: row::text(row, "instance")?,
        holder: row::text(row, "holder")?,
        serial: row.get("serial")?,
        is_revoked: row.get("is_revoked")?,
        changed_at: row::time(row, "changed_at")?,
    })
}
