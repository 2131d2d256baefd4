//! Who holds a token, and tokens of teams.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::super::holders;
use super::competitions::no_competition;
use super::tokens::{fresh_token, hash, public_id};
use super::{Denial, Outcome, Platform, PlatformError};
use crate::contest::competition::Status;
use crate::model::{Caller, CompetitionId, Grant, Member, Team, TeamId};
use crate::store::{Holder, NewTeamToken};

/// Tokens longer than this are not looked up.
const MAX_TOKEN_BYTES: usize = 256;

impl Platform {
    /// Who holds `token`.
    ///
    /// # Errors
    /// [`PlatformError::BadToken`], [`PlatformError::TokenExpired`].
    pub async fn authenticate(&self, token: &str) -> Outcome<Caller> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(PlatformError::BadToken);
        }
        if self.shared.data.is_admin_token(token) {
            return Ok(Caller::administrator("admin"));
        }
        let hash = hash(token);
        let found = holders::of(&self.shared, hash).await?;
        let holder = found.ok_or(PlatformError::BadToken)?;
        let (token, account, memberships) = match &*holder {
            Holder::Team { token_id, membership } => {
                return Ok(Caller::of_team(membership.clone(), token_id.clone()));
            }
            Holder::Account { token, account, memberships } => (token, account, memberships),
        };
        let now = self.now();
        if token.expires_at.is_some_and(|end| end <= now) {
            return Err(PlatformError::TokenExpired);
        }
        let is_noted = token.last_used_at.is_some_and(|used| now.millis_since(used) < 60_000);
        if !is_noted {
            if let Err(error) = self.shared.store.note_token_use(&token.id, now).await {
                // Whoever it is may go on all the same.
                tracing::warn!(error = %error, "could not note that a token was used");
            }
            self.shared.holders.forget(&hash);
        }
        let (account, memberships) = ((**account).clone(), memberships.clone());
        Ok(Caller::of_account(account, memberships, token.id.clone(), token.grant.clone()))
    }

    /// Makes a token for team `name` in a competition, and the team when it is new. The token is
    /// shown once; only its hash is stored. Without a competition named it is the only one that is
    /// published.
    ///
    /// # Errors
    /// When the name is not one, or it is not clear which competition is meant.
    pub async fn create_team_token(
        &self,
        name: &str,
        competition: &str,
    ) -> Outcome<(Team, String)> {
        let token = fresh_token("pf_")?;
        let new = NewTeamToken {
            competition: self.meant(competition)?,
            name: name.to_owned(),
            team_if_new: TeamId::new(Uuid::new_v4()),
            token_id: public_id()?,
            hash: hash(&token),
            now: self.now(),
        };
        let team = self.shared.store.create_team_token(new).await.map_err(|error| match error {
            crate::store::StoreError::TeamName(_) => {
                PlatformError::BadTeamName { reason: error.to_string() }
            }
            other => other.into(),
        })?;
        Ok((team, token))
    }

    /// The competition that an organizer means.
    pub(super) fn meant(&self, id: &str) -> Outcome<CompetitionId> {
        if !id.is_empty() {
            let found = self.find(id).ok_or_else(|| no_competition("competition_not_found", id))?;
            return Ok(found.id.clone());
        }
        let mut published = self.every_contest();
        published.retain(|contest| contest.status == Status::Published);
        match published.as_slice() {
            [only] => Ok(only.id.clone()),
            several => {
                let ids: Vec<&str> = several.iter().map(|it| it.id.as_str()).collect();
                let message = format!("name the competition (`--competition`): {}", ids.join(", "));
                Err(Denial::invalid("competition_required", message).into())
            }
        }
    }

    /// Who is in which team.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn members(&self) -> Outcome<BTreeMap<TeamId, Vec<Member>>> {
        Ok(self.shared.store.members().await?)
    }

    /// Every team, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn teams(&self) -> Outcome<Vec<Team>> {
        Ok(self.shared.store.teams().await?)
    }
}

/// A token that is not for this competition, or for none.
pub fn wrong_competition(grant: &Grant, competition: Option<&CompetitionId>) -> Denial {
    let name = competition.map(CompetitionId::as_str).unwrap_or_default();
    let message = match competition {
        Some(id) => format!("this token is not for competition {id}"),
        None => "this token is for no competition".to_owned(),
    };
    Denial::forbidden("token_competition_forbidden", message)
        .with("competition_id", name)
        .with("competition_access", grant.reach.as_str())
}
