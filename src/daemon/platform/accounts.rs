//! Tokens and teams.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Outcome, Platform, PlatformError};
use crate::model::{Caller, Role, Team, TeamId};

/// The prefix of a team's token, as the contract has it for fine-grained tokens.
const TEAM_TOKEN_PREFIX: &str = "pf_";

/// Tokens longer than this are not looked up.
const MAX_TOKEN_BYTES: usize = 256;

impl Platform {
    /// Who holds `token`.
    ///
    /// # Errors
    /// [`PlatformError::BadToken`].
    pub async fn authenticate(&self, token: &str) -> Outcome<Caller> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(PlatformError::BadToken);
        }
        if self.shared.data.is_admin_token(token) {
            return Ok(Caller { role: Role::Admin, token_id: "admin".to_owned() });
        }
        let found = self.shared.store.token_team(hash(token)).await?;
        let (token_id, team) = found.ok_or(PlatformError::BadToken)?;
        Ok(Caller { role: Role::Player { team }, token_id })
    }

    /// Makes a token for team `name`, and the team when it is new. The token is shown once; only
    /// its hash is stored.
    ///
    /// # Errors
    /// When the name is not one.
    pub async fn create_team_token(&self, name: &str) -> Outcome<(Team, String)> {
        let token = format!("{TEAM_TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<32>()?));
        let token_id = URL_SAFE_NO_PAD.encode(random::<12>()?);
        let team = self
            .shared
            .store
            .create_team_token(
                name,
                &token_id,
                hash(&token),
                TeamId::new(Uuid::new_v4()),
                self.now(),
            )
            .await
            .map_err(|error| match error {
                crate::store::StoreError::TeamName(_) => {
                    PlatformError::BadTeamName { reason: error.to_string() }
                }
                other => other.into(),
            })?;
        Ok((team, token))
    }

    /// Every team, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn teams(&self) -> Outcome<Vec<Team>> {
        Ok(self.shared.store.teams().await?)
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

pub(super) fn random<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| PlatformError::Internal(Box::new(error)))?;
    Ok(bytes)
}
