//! Programs that wait for a person to let them in.

use rusqlite::{OptionalExtension, Row, params};

use super::account_tokens::{self, NewToken};
use super::{Store, StoreError, row};
use crate::model::{Timestamp, UserId};

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceState {
    /// Nobody has said anything.
    Pending,
    /// Somebody let it in; it has not fetched its token.
    Approved(UserId),
    /// Somebody refused it.
    Denied,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// What the person types.
    pub user_code: String,
    /// How far it is.
    pub state: DeviceState,
    /// When it asked.
    pub requested_at: Timestamp,
    /// Until when it may be let in.
    pub expires_at: Timestamp,
    /// From where it asked.
    pub address: String,
    /// What it says it is.
    pub user_agent: String,
}

impl Store {
    /// Notes that a program waits, and forgets those whose time is over.
    ///
    /// # Errors
    /// When the database does not take it, for one because the user code is in use.
    pub async fn add_device(&self, hash: [u8; 32], new: DeviceRow) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached("DELETE FROM device_codes WHERE expires_at < ?1")?
                .execute([new.requested_at.as_millis()])?;
            db.prepare_cached(
                "INSERT INTO device_codes (device_hash, user_code, state, requested_at,
                        expires_at, address, user_agent)
                 VALUES (?1, ?2, 'pending', ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                hash,
                new.user_code,
                new.requested_at.as_millis(),
                new.expires_at.as_millis(),
                new.address,
                new.user_agent,
            ])?;
            Ok(())
        })
        .await
    }

    /// The request with this user code whose time is not over.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn device_by_user_code(
        &self,
        user_code: &str,
        now: Timestamp,
    ) -> Result<Option<DeviceRow>, StoreError> {
        let user_code = user_code.to_owned();
        self.read(move |db| {
            db.prepare_cached(
                "SELECT * FROM device_codes WHERE user_code = ?1 AND expires_at > ?2",
            )?
            .query_row(params![user_code, now.as_millis()], device_row)
            .optional()
        })
        .await
    }

    /// Lets a program in that waits, or refuses it; what it is afterwards. One that was answered
    /// before stays as it is.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn answer_device(
        &self,
        user_code: &str,
        approved_by: Option<UserId>,
        now: Timestamp,
    ) -> Result<Option<DeviceRow>, StoreError> {
        let user_code = user_code.to_owned();
        let state = if approved_by.is_some() { "approved" } else { "denied" };
        self.write(move |db| {
            db.prepare_cached(
                "UPDATE device_codes SET state = ?2, user = ?3
                 WHERE user_code = ?1 AND state = 'pending' AND expires_at > ?4",
            )?
            .execute(params![
                user_code,
                state,
                approved_by.map(|user| user.to_string()),
                now.as_millis()
            ])?;
            Ok(db
                .prepare_cached(
                    "SELECT * FROM device_codes WHERE user_code = ?1 AND expires_at > ?2",
                )?
                .query_row(params![user_code, now.as_millis()], device_row)
                .optional()?)
        })
        .await
    }

    /// How far the request of this device is. One that was let in gets the token that `make` makes
    /// for its person and is forgotten, in one step: so the token is given out exactly once.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn redeem_device(
        &self,
        hash: [u8; 32],
        now: Timestamp,
        make: impl FnOnce(UserId) -> NewToken + Send + 'static,
    ) -> Result<Option<DeviceState>, StoreError> {
        self.write(move |db| {
            let found = db
                .prepare_cached(
                    "SELECT * FROM device_codes WHERE device_hash = ?1 AND expires_at > ?2",
                )?
                .query_row(params![hash, now.as_millis()], device_row)
                .optional()?;
            let Some(found) = found else { return Ok(None) };
            if let DeviceState::Approved(user) = found.state {
                account_tokens::add(db, &make(user), u32::MAX)?;
                db.prepare_cached("DELETE FROM device_codes WHERE device_hash = ?1")?
                    .execute([hash])?;
            }
            Ok(Some(found.state))
        })
        .await
    }
}

fn device_row(row: &Row<'_>) -> rusqlite::Result<DeviceRow> {
    let user: Option<UserId> = row::opt_text(row, "user")?;
    let is_denied = row.get::<_, String>("state")? == "denied";
    Ok(DeviceRow {
        user_code: row.get("user_code")?,
        state: match user {
            Some(user) => DeviceState::Approved(user),
            None if is_denied => DeviceState::Denied,
            None => DeviceState::Pending,
        },
        requested_at: row::time(row, "requested_at")?,
        expires_at: row::time(row, "expires_at")?,
        address: row.get("address")?,
        user_agent: row.get("user_agent")?,
    })
}
