//! VPN profiles that were rotated or revoked.

use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use super::{Store, StoreError, row};
use crate::model::{InstanceId, Timestamp, VpnAccess};

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

    /// What gateways of live instances were not told yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unapplied_vpn_access(&self) -> Result<Vec<VpnAccess>, StoreError> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT a.* FROM vpn_access a JOIN instances i ON i.id = a.instance
                 WHERE a.is_applied = 0 AND i.phase NOT IN ('stopped', 'failed', 'removing')
                 ORDER BY a.instance, a.holder",
            )?
            .query_map([], access_row)?
            .collect()
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
                is_applied: false,
                changed_at: now,
            };
            db.prepare_cached(
                "INSERT OR REPLACE INTO vpn_access
                 (instance, holder, serial, is_revoked, is_applied, changed_at)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5)",
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

    /// Notes that the gateway was told `access`, unless it was changed meanwhile.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn vpn_access_applied(&self, access: VpnAccess) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "UPDATE vpn_access SET is_applied = 1
                 WHERE instance = ?1 AND holder = ?2 AND serial = ?3 AND is_revoked = ?4",
            )?
            .execute(params![
                access.instance.to_string(),
                access.holder.to_string(),
                access.serial,
                access.is_revoked,
            ])?;
            Ok(())
        })
        .await
    }
}

fn access_row(row: &Row<'_>) -> rusqlite::Result<VpnAccess> {
    Ok(VpnAccess {
        instance: row::text(row, "instance")?,
        holder: row::text(row, "holder")?,
        serial: row.get("serial")?,
        is_revoked: row.get("is_revoked")?,
        is_applied: row.get("is_applied")?,
        changed_at: row::time(row, "changed_at")?,
    })
}
