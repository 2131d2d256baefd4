//! Tokens of accounts: made, listed, taken back.
//!
//! # Invariants
//! * A token is given out once, when it is made; only its digest is kept.
//! * A fine-grained token never makes another token, nor takes one back.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::{Denial, Outcome, Platform, PlatformError};
use crate::model::{Account, AccountToken, Caller, CompetitionId, Grant, Reach, UserId};
use crate::store::NewToken;

/// Live fine-grained tokens that one account may have.
const MAX_FINE_TOKENS: u32 = 20;

/// How long a session lasts, in seconds.
const SESSION_SECS: i64 = 90 * 86_400;

/// How long a fine-grained token lasts when its maker does not say, in days.
const DEFAULT_DAYS: u32 = 30;

/// Characters that are kept of what a client says it is.
const MAX_AGENT_CHARS: usize = 200;

/// Where a request comes from, as its token remembers it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The peer's address.
    pub address: String,
    /// What the client says it is.
    pub user_agent: String,
}

/// The wish for a fine-grained token.
#[derive(Debug, Clone, Default)]
pub struct TokenWish {
    /// What its owner calls it.
    pub label: String,
    /// How long it lasts: 0 is for ever, `None` is thirty days.
    pub expires_in_days: Option<u32>,
    /// Levels by area, in words.
    pub permissions: Option<BTreeMap<String, String>>,
    /// `none`, `all` or `selected`.
    pub access: Option<String>,
    /// Which, for `selected`.
    pub competitions: Vec<String>,
}

impl Platform {
    /// Makes a session: a token that may do everything that its account may.
    pub(super) async fn begin_session(&self, user: UserId, origin: Origin) -> Outcome<String> {
        let token = fresh_token("pt_")?;
        let new = self.session(user, &token, public_id()?, origin);
        self.shared.store.add_account_token(new, u32::MAX).await?;
        Ok(token)
    }

    /// A session with this token, to be stored.
    pub(super) fn session(
        &self,
        user: UserId,
        token: &str,
        id: String,
        origin: Origin,
    ) -> NewToken {
        let now = self.now();
        let row = AccountToken {
            id,
            grant: None,
            label: String::new(),
            created_at: now,
            expires_at: Some(now.plus_secs(SESSION_SECS)),
            last_used_at: None,
            address: origin.address,
            user_agent: origin.user_agent.chars().take(MAX_AGENT_CHARS).collect(),
        };
        NewToken { token: row, hash: hash(token), user }
    }

    /// Makes a fine-grained token for the caller's account. The token is shown once.
    ///
    /// # Errors
    /// When the wish is out of bounds, or there are too many.
    pub async fn mint_token(
        &self,
        account: &Account,
        wish: TokenWish,
        origin: Origin,
    ) -> Outcome<(AccountToken, String)> {
        let grant = self.granted(&wish)?;
        let token = fresh_token("pf_")?;
        let mut new = self.session(account.id, &token, public_id()?, origin);
        let days = wish.expires_in_days.unwrap_or(DEFAULT_DAYS);
        let end = new.token.created_at.plus_secs(i64::from(days) * 86_400);
        new.token.expires_at = (days > 0).then_some(end);
        new.token.label = wish.label;
        new.token.grant = Some(grant);
        let row = new.token.clone();
        if self.shared.store.add_account_token(new, MAX_FINE_TOKENS).await? {
            return Ok((row, token));
        }
        let message =
            format!("you have {MAX_FINE_TOKENS} live tokens, as many as you may: revoke one first");
        Err(Denial::bad_request("token_limit_reached", message)
            .with("limit", MAX_FINE_TOKENS)
            .into())
    }

    fn granted(&self, wish: &TokenWish) -> Outcome<Grant> {
        if wish.access.is_none() && wish.permissions.is_none() {
            return Ok(Grant::for_play());
        }
        let reach = match wish.access.as_deref() {
            None | Some("none") => Reach::None,
            Some("all") => Reach::All,
            Some("selected") => Reach::Selected(self.selected(&wish.competitions)?),
            Some(_) => {
                let message = "`competition_access` is one of none, all, selected";
                return Err(Denial::invalid("invalid_competition_access", message).into());
            }
        };
        let nothing = BTreeMap::new();
        Ok(Grant::of_words(wish.permissions.as_ref().unwrap_or(&nothing), reach))
    }

    fn selected(&self, ids: &[String]) -> Outcome<Vec<CompetitionId>> {
        let mut selected = Vec::new();
        for text in ids {
            let known = match text.parse::<CompetitionId>() {
                Ok(id) if self.has_competition(&id) => Some(id),
                Ok(_) | Err(_) => None,
            };
            let id = known.ok_or_else(|| {
                let cut: String = text.chars().take(80).collect();
                let message = format!("there is no competition `{cut}`");
                Denial::invalid("unknown_competition_id", message).with("competition_id", cut)
            })?;
            if !selected.contains(&id) {
                selected.push(id);
            }
        }
        if selected.is_empty() {
            let message = "name at least one competition, or ask for `all`";
            return Err(Denial::invalid("competition_scope_required", message).into());
        }
        Ok(selected)
    }

    /// The tokens of an account that were not taken back, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tokens(&self, account: &Account) -> Outcome<Vec<AccountToken>> {
        Ok(self.shared.store.account_tokens(account.id).await?)
    }

    /// Takes a token of the caller's account back; again is fine.
    ///
    /// # Errors
    /// When it is the one that is being used, or the account has none of that id.
    pub async fn revoke_token(
        &self,
        caller: &Caller,
        account: &Account,
        token_id: &str,
    ) -> Outcome<()> {
        if caller.token_id == token_id {
            let message = "this is the token that you are using: sign out instead";
            return Err(Denial::conflict("cannot_revoke_current_token", message).into());
        }
        if self.shared.store.revoke_token(account.id, token_id, self.now()).await? {
            return Ok(());
        }
        Err(Denial::not_found("token_not_found", "you have no such token").into())
    }

    /// Takes the token back that is being used.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_out(&self, caller: &Caller, account: &Account) -> Outcome<()> {
        self.shared.store.revoke_token(account.id, &caller.token_id, self.now()).await?;
        Ok(())
    }

    /// Takes back every token of the caller's account but the one that is being used; how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke_other_tokens(&self, caller: &Caller, account: &Account) -> Outcome<usize> {
        let store = &self.shared.store;
        Ok(store.revoke_other_tokens(account.id, &caller.token_id, self.now()).await?)
    }
}

/// A new token with this prefix.
pub(super) fn fresh_token(prefix: &str) -> Outcome<String> {
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::<32>()?)))
}

/// A new public id: 16 characters.
pub(super) fn public_id() -> Outcome<String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<12>()?))
}

/// What is kept of a token.
pub(super) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Random bytes.
pub(super) fn random<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| PlatformError::Internal(Box::new(error)))?;
    Ok(bytes)
}
