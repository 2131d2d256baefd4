//! Signing up, signing in, passwords, roles.

use uuid::Uuid;

use super::tokens::Origin;
use super::{Denial, Outcome, Platform, PlatformError};
use crate::daemon::activities;
use crate::daemon::passwords::PasswordError;
use crate::model::account::{MIN_PASSWORD_CHARS, WeakPassword, check_password, normal_email};
use crate::model::{Account, AccountRole, Activity, Caller, Happening, Profile, UserId};
use crate::store::{AccountError, AccountRow, NewAccount};

impl From<PasswordError> for PlatformError {
    fn from(error: PasswordError) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl Platform {
    /// Makes an account and signs it in; the token. The first account ever is a super
    /// administrator's.
    ///
    /// # Errors
    /// When the address is none or taken, or the password is weak.
    pub async fn register(
        &self,
        email: &str,
        password: String,
        name: &str,
        origin: Origin,
    ) -> Outcome<String> {
        let email = normal_email(email).ok_or_else(bad_email)?;
        check(&password)?;
        let password = self.shared.passwords.hash(password).await?;
        let name = display_name(name).unwrap_or_else(|| email.clone());
        let id = UserId::new(Uuid::new_v4());
        let new = NewAccount { id, email, name, password, now: self.now() };
        let account = self.shared.store.create_account(new).await.map_err(|error| match error {
            AccountError::EmailTaken => {
                Denial::conflict("email_taken", format!("{error}: sign in instead")).into()
            }
            AccountError::Store(error) => PlatformError::from(error),
        })?;
        if account.role == AccountRole::SuperAdmin {
            tracing::info!(user.id = %account.id, "the first account was made: a super administrator");
        }
        self.begin_session(account.id, origin).await
    }

    /// Signs an account in; the token.
    ///
    /// # Errors
    /// `invalid_credentials`, after the same time whether there is such an account or not.
    pub async fn sign_in(&self, email: &str, password: String, origin: Origin) -> Outcome<String> {
        let account = self.recognize(email, password).await?;
        self.begin_session(account.id, origin).await
    }

    /// Whose address and password these are.
    pub(super) async fn recognize(&self, email: &str, password: String) -> Outcome<Account> {
        let known = match normal_email(email) {
            Some(email) => self.shared.store.account_by_email(&email).await?,
            None => None,
        };
        let (account, hash) = known.unzip();
        if self.shared.passwords.is_right(password, hash.flatten()).await?
            && let Some(account) = account
        {
            return Ok(account);
        }
        let message = "this address and this password do not belong together";
        Err(Denial::unauthorized("invalid_credentials", message).into())
    }

    /// Whether an account has a password.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn has_password(&self, account: &Account) -> Outcome<bool> {
        Ok(self.shared.store.password(account.id).await?.is_some())
    }

    /// Sets a new password; the current one must be right, if there is one.
    ///
    /// # Errors
    /// When it is weak, the current one is wrong, or somebody else changed it meanwhile.
    pub async fn set_password(
        &self,
        account: &Account,
        current: String,
        new: String,
    ) -> Outcome<()> {
        check(&new)?;
        let was = self.shared.store.password(account.id).await?;
        let wrong = || {
            let message = "the current password is another one";
            Denial::unauthorized("wrong_current_password", message)
        };
        if was.is_some() && !self.shared.passwords.is_right(current, was.clone()).await? {
            return Err(wrong().into());
        }
        let hash = self.shared.passwords.hash(new).await?;
        if self.shared.store.set_password(account.id, was, hash).await? {
            return Ok(());
        }
        Err(wrong().into())
    }

    /// Takes the password away. It is the only way to sign in, so that is always refused.
    ///
    /// # Errors
    /// Always.
    pub async fn delete_password(&self, account: &Account) -> Outcome<()> {
        if self.has_password(account).await? {
            let message = "the password is the last way to sign in: it stays";
            return Err(Denial::conflict("last_sign_in_method", message).into());
        }
        Err(Denial::not_found("password_not_set", "there is no password").into())
    }

    /// Every account, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn accounts(&self) -> Outcome<Vec<AccountRow>> {
        Ok(self.shared.store.accounts().await?)
    }

    /// One account, by id.
    ///
    /// # Errors
    /// When there is none.
    pub async fn account(&self, id: &str) -> Outcome<AccountRow> {
        let found = match id.parse::<UserId>() {
            Ok(id) => self.shared.store.account(id).await?,
            Err(_) => None,
        };
        found.ok_or_else(|| unknown_user(id).into())
    }

    /// Makes somebody an administrator, or a player again.
    ///
    /// # Errors
    /// When there is no such account, it is the caller's own, or a super administrator's.
    pub async fn set_role(
        &self,
        caller: &Caller,
        id: &str,
        role: AccountRole,
    ) -> Outcome<AccountRow> {
        let by = caller.account.as_ref();
        let found = self.account(id).await?.account;
        if by.is_some_and(|by| by.id == found.id) {
            return Err(Denial::bad_request("", "nobody changes their own role").into());
        }
        let who = by.map_or_else(|| "admin".to_owned(), |by| by.id.to_string());
        let after = self.shared.store.set_role(found.id, role, who, self.now()).await?;
        let after = after.ok_or_else(|| unknown_user(id))?;
        if after.account.role == AccountRole::SuperAdmin {
            let message = "the role of a super administrator is not changed here";
            return Err(Denial::forbidden("", message).into());
        }
        let activity = Activity {
            at: self.now(),
            happening: Happening::TeamRoleChanged {
                target_user_id: found.id.to_string(),
                previous_role: found.role.as_str().to_owned(),
                new_role: after.account.role.as_str().to_owned(),
            },
            competition: None,
            team: None,
            challenge: None,
            actor: activities::actor_of(caller),
        };
        activities::record(&self.shared, activity);
        Ok(after)
    }

    /// Writes what somebody tells about themselves.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_profile(&self, account: &Account, profile: Profile) -> Outcome<()> {
        Ok(self.shared.store.set_profile(account.id, profile).await?)
    }
}

/// There is no such account.
pub(super) fn unknown_user(id: &str) -> Denial {
    let cut: String = id.chars().take(80).collect();
    Denial::not_found("user_not_found", format!("User {cut} not found"))
}

fn bad_email() -> Denial {
    Denial::invalid("invalid_email", "`email` is no address like ada@example.org")
}

/// A name that can be shown: without what hides, reorders or breaks text; `None` when nothing is
/// left.
fn display_name(text: &str) -> Option<String> {
    let kept: String =
        text.chars().filter(|c| crate::store::teams::is_printable(*c)).take(120).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

fn check(password: &str) -> Outcome<()> {
    check_password(password).map_err(|weak| {
        let denial = Denial::invalid("weak_password", weak.to_string());
        match weak {
            WeakPassword::Short => {
                denial.with("rule", "min_length").with("min_length", MIN_PASSWORD_CHARS)
            }
            WeakPassword::Long => denial.with("rule", "max_length"),
            WeakPassword::Common => denial.with("rule", "common_password"),
        }
        .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_name_shows_what_it_is() {
        assert_eq!(display_name(" Ada \u{202e}Lovelace\n").as_deref(), Some("Ada Lovelace"));
        assert_eq!(display_name("\u{200b} "), None);
        assert_eq!(display_name(&"x".repeat(200)).map(|name| name.len()), Some(120));
    }
}
