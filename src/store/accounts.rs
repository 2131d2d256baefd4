//! Accounts: who signed up, how they sign in, what they may do.

use rusqlite::{Connection, OptionalExtension, Row, params};
use thiserror::Error;

use super::{Store, StoreError, row};
use crate::model::{Account, AccountRole, Profile, Timestamp, UserId};

/// Somebody who signs up.
#[derive(Clone)]
pub struct NewAccount {
    /// The id they get.
    pub id: UserId,
    /// In lower case.
    pub email: String,
    /// Display name.
    pub name: String,
    /// The argon2id hash of their password.
    pub password: String,
    /// When.
    pub now: Timestamp,
}

/// An account as administrators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// The account.
    pub account: Account,
    /// Who gave it its role; `None` when nobody did.
    pub promoted_by: Option<String>,
    /// When.
    pub promoted_at: Option<Timestamp>,
}

/// Why an account was not made or changed.
#[derive(Debug, Error)]
pub enum AccountError {
    /// Somebody has it.
    #[error("an account with this address exists already")]
    EmailTaken,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for AccountError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// How many accounts there are.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn n_users(&self) -> Result<u32, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT count(*) FROM users")?.query_row([], |row| row.get(0))
        })
        .await
    }

    /// Makes an account. The first one there ever was is a super administrator's: of two at once
    /// exactly one is first.
    ///
    /// # Errors
    /// [`AccountError::EmailTaken`]; or when the database does not take it.
    pub async fn create_account(&self, new: NewAccount) -> Result<Account, AccountError> {
        self.write(move |db| {
            let is_first: bool = db
                .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM users)")?
                .query_row([], |row| row.get(0))?;
            let role = if is_first { AccountRole::SuperAdmin } else { AccountRole::User };
            let profile = Profile::default();
            let n_new = db
                .prepare_cached(
                    "INSERT INTO users (id, email, name, password, role, profile, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (email) DO NOTHING",
                )?
                .execute(params![
                    new.id.to_string(),
                    new.email,
                    new.name,
                    new.password,
                    role.as_str(),
                    row::to_json(&profile)?,
                    new.now.as_millis(),
                ])?;
            if n_new == 0 {
                return Err(AccountError::EmailTaken);
            }
            let (id, email, name, created_at) = (new.id, new.email, new.name, new.now);
            Ok(Account { id, email, name, role, created_at, profile })
        })
        .await
    }

    /// The account with this address, and the hash of its password, if it has one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_by_email(
        &self,
        email: &str,
    ) -> Result<Option<(Account, Option<String>)>, StoreError> {
        let email = email.to_owned();
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM users WHERE email = ?1")?
                .query_row([email], |row| Ok((account_row(row)?, row.get("password")?)))
                .optional()
        })
        .await
    }

    /// One account.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account(&self, id: UserId) -> Result<Option<AccountRow>, StoreError> {
        self.read(move |db| one(db, id)).await
    }

    /// Every account, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM users ORDER BY seq")?
                .query_map([], admin_row)?
                .collect()
        })
        .await
    }

    /// The hash of the password of an account; `None` when it has none.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn password(&self, id: UserId) -> Result<Option<String>, StoreError> {
        self.read(move |db| {
            let found: Option<Option<String>> = db
                .prepare_cached("SELECT password FROM users WHERE id = ?1")?
                .query_row([id.to_string()], |row| row.get(0))
                .optional()?;
            Ok(found.flatten())
        })
        .await
    }

    /// Sets the hash of the password of an account, if it is still `was`; whether it did.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn set_password(
        &self,
        id: UserId,
        was: Option<String>,
        hash: String,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            let n_changed = db
                .prepare_cached("UPDATE users SET password = ?3 WHERE id = ?1 AND password IS ?2")?
                .execute(params![id.to_string(), was, hash])?;
            Ok(n_changed == 1)
        })
        .await
    }

    /// Gives an account a role, unless it is a super administrator's; what it is afterwards.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn set_role(
        &self,
        id: UserId,
        role: AccountRole,
        by: String,
        now: Timestamp,
    ) -> Result<Option<AccountRow>, StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "UPDATE users SET role = ?2, promoted_by = ?3, promoted_at = ?4
                 WHERE id = ?1 AND role <> 'super_admin'",
            )?
            .execute(params![id.to_string(), role.as_str(), by, now.as_millis()])?;
            Ok(one(db, id)?)
        })
        .await
    }

    /// Writes what somebody tells about themselves.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn set_profile(&self, id: UserId, profile: Profile) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached("UPDATE users SET profile = ?2 WHERE id = ?1")?
                .execute(params![id.to_string(), row::to_json(&profile)?])?;
            Ok(())
        })
        .await
    }
}

fn one(db: &Connection, id: UserId) -> rusqlite::Result<Option<AccountRow>> {
    db.prepare_cached("SELECT * FROM users WHERE id = ?1")?
        .query_row([id.to_string()], admin_row)
        .optional()
}

pub(super) fn account_row(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: row::text(row, "id")?,
        email: row.get("email")?,
        name: row.get("name")?,
        role: row::word(row, "role", AccountRole::from_word)?,
        created_at: row::time(row, "created_at")?,
        profile: row::json(row, "profile")?,
    })
}

fn admin_row(row: &Row<'_>) -> rusqlite::Result<AccountRow> {
    Ok(AccountRow {
        account: account_row(row)?,
        promoted_by: row.get("promoted_by")?,
        promoted_at: row::opt_time(row, "promoted_at")?,
    })
}
