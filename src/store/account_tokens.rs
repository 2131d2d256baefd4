//! Tokens of accounts: only their digests, who they are of, and what they may do.

use rusqlite::{Connection, Row, params};

use super::{Store, StoreError, row};
use crate::model::{AccountToken, Grant, Timestamp, UserId};

/// How often the time of last use is written, at most.
const USE_MILLIS: i64 = 60_000;

/// A token that is made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What it is.
    pub token: AccountToken,
    /// Its SHA-256.
    pub hash: [u8; 32],
    /// Whose.
    pub user: UserId,
}

impl Store {
    /// Adds a token to an account, unless it has `max_fine` live fine-grained ones already and this
    /// is another; whether it did.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn add_account_token(
        &self,
        new: NewToken,
        max_fine: u32,
    ) -> Result<bool, StoreError> {
        self.write(move |db| add(db, &new, max_fine).map_err(StoreError::from)).await
    }

    /// Notes that a token was used, unless it was within the last minute.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn note_token_use(&self, token_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let token_id = token_id.to_owned();
        self.write(move |db| {
            db.prepare_cached(
                "UPDATE user_tokens SET last_used_at = ?2 WHERE token_id = ?1
                 AND (last_used_at IS NULL OR last_used_at <= ?2 - ?3)",
            )?
            .execute(params![token_id, now.as_millis(), USE_MILLIS])?;
            Ok(())
        })
        .await
    }

    /// The tokens of an account that were not revoked, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_tokens(&self, user: UserId) -> Result<Vec<AccountToken>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT * FROM user_tokens WHERE user = ?1 AND revoked_at IS NULL ORDER BY seq DESC",
            )?
            .query_map([user.to_string()], token_row)?
            .collect()
        })
        .await
    }

    /// Revokes one token of an account; whether the account has it, revoked before or not.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn revoke_token(
        &self,
        user: UserId,
        token_id: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let token_id = token_id.to_owned();
        self.write(move |db| {
            let n_found = db
                .prepare_cached(
                    "UPDATE user_tokens SET revoked_at = coalesce(revoked_at, ?3)
                     WHERE user = ?1 AND token_id = ?2",
                )?
                .execute(params![user.to_string(), token_id, now.as_millis()])?;
            Ok(n_found > 0)
        })
        .await
    }

    /// Revokes every token of an account but `kept`; how many.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn revoke_other_tokens(
        &self,
        user: UserId,
        kept: &str,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let kept = kept.to_owned();
        self.write(move |db| {
            Ok(db
                .prepare_cached(
                    "UPDATE user_tokens SET revoked_at = ?3
                     WHERE user = ?1 AND token_id <> ?2 AND revoked_at IS NULL",
                )?
                .execute(params![user.to_string(), kept, now.as_millis()])?)
        })
        .await
    }
}

pub(super) fn add(db: &Connection, new: &NewToken, max_fine: u32) -> rusqlite::Result<bool> {
    let NewToken { token, hash, user } = new;
    if token.grant.is_some() {
        let n_live: u32 = db
            .prepare_cached(
                "SELECT count(*) FROM user_tokens WHERE user = ?1 AND rights IS NOT NULL
                 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)",
            )?
            .query_row(params![user.to_string(), token.created_at.as_millis()], |row| row.get(0))?;
        if n_live >= max_fine {
            return Ok(false);
        }
    }
    let rights = token.grant.as_ref().map(row::to_json).transpose()?;
    db.prepare_cached(
        "INSERT INTO user_tokens (token_id, token_hash, user, rights, label, created_at,
                expires_at, address, user_agent)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        token.id,
        hash,
        user.to_string(),
        rights,
        token.label,
        token.created_at.as_millis(),
        token.expires_at.map(Timestamp::as_millis),
        token.address,
        token.user_agent,
    ])?;
    Ok(true)
}

pub(super) fn token_row(row: &Row<'_>) -> rusqlite::Result<AccountToken> {
    Ok(AccountToken {
        id: row.get("token_id")?,
        grant: row::opt_json::<Grant>(row, "rights")?,
        label: row.get("label")?,
        created_at: row::time(row, "created_at")?,
        expires_at: row::opt_time(row, "expires_at")?,
        last_used_at: row::opt_time(row, "last_used_at")?,
        address: row.get("address")?,
        user_agent: row.get("user_agent")?,
    })
}
