//! CTFd as the front of an event: its tokens, and the teams of ours that stand for its own.
//!
//! # Invariants
//! * A token of an integration is worth nothing but what is here: no other route knows it.
//! * Whoever CTFd speaks for plays as a team of ours does, through the same methods: the same
//!   limits, the same line, the same grading.
//! * What belongs to another team is as if it were not there.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::competitions::no_competition;
use super::tokens::{fresh_token, hash};
use super::{
    Answer, Denial, Graded, LiveSet, Outcome, Platform, PlatformError, Repeats, Seen, StartRequest,
};
use crate::model::{
    Caller, CtfdOwner, Instance, InstanceId, Integration, IntegrationId, IntegrationMode,
    Membership, NodeUrl, Plain, Role, StopReason, Team, TeamId,
};
use crate::render;
use crate::store::teams::check_team_name;
use crate::store::{InstanceFilter, IntegrationError, IntegrationRow, Which};

/// Most characters of the name of an integration: names of teams begin with it.
const MAX_NAME_CHARS: usize = 40;
/// Longest `request_id`, in characters.
const MAX_REQUEST_ID_CHARS: usize = 128;
/// How often the use of a token is noted, at most.
const USE_MILLIS: i64 = 60_000;

/// The wish for an integration.
#[derive(Debug, Clone)]
pub struct IntegrationWish {
    /// What organizers call it.
    pub name: String,
    /// In which competition; may be empty where one only is published.
    pub competition: String,
    /// Who owns instances.
    pub mode: IntegrationMode,
    /// Who is told of solves.
    pub webhook: Option<String>,
}

/// What an integration shows and checks; given out once.
pub struct IntegrationKeys {
    /// The bearer token of CTFd.
    pub token: String,
    /// What calls of its webhook are signed with.
    pub webhook_secret: String,
}

/// Somebody whom CTFd speaks for.
#[derive(Debug, Clone)]
pub struct Front {
    /// The integration.
    pub integration: Integration,
    /// Who they are there.
    pub owner: CtfdOwner,
    /// Who they are here: a player of one team, or of none while nothing was started for them.
    pub caller: Caller,
}

/// What CTFd wants started.
#[derive(Debug, Clone)]
pub struct FrontStart {
    /// The challenge.
    pub challenge: String,
    /// Wanted lease in seconds.
    pub ttl_secs: Option<i64>,
    /// What makes a wish of mode `unlimited` the same as one before.
    pub request_id: String,
}

impl Platform {
    /// Makes an integration (administrators).
    ///
    /// # Errors
    /// When the name is none or taken, there is no such competition, or nobody may be called there.
    pub async fn create_integration(
        &self,
        caller: &Caller,
        wish: IntegrationWish,
    ) -> Outcome<(Integration, IntegrationKeys)> {
        let token = fresh_token("ci_")?;
        let integration = Integration {
            id: IntegrationId::new(Uuid::new_v4()),
            name: integration_name(&wish.name)?,
            competition: self.meant(&wish.competition)?,
            mode: wish.mode,
            webhook: wish.webhook.as_deref().map(|url| self.webhook_url(url)).transpose()?,
            epoch: 0,
            created_by: caller.name(),
            created_at: self.now(),
            last_used_at: None,
            revoked_at: None,
        };
        let made = self.shared.store.create_integration(integration.clone(), hash(&token)).await;
        made.map_err(|error| match error {
            IntegrationError::NameTaken => {
                Denial::conflict("integration_name_taken", error.to_string()).into()
            }
            IntegrationError::Store(error) => PlatformError::from(error),
        })?;
        tracing::info!(
            integration.id = %integration.id,
            "{} made the integration `{}` for competition {}",
            caller.name(), integration.name, integration.competition
        );
        let keys = self.keys_of(&integration, token);
        Ok((integration, keys))
    }

    /// Every integration, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn integrations(&self) -> Outcome<Vec<IntegrationRow>> {
        Ok(self.shared.store.integrations().await?)
    }

    /// One integration, revoked or not.
    ///
    /// # Errors
    /// When there is none.
    pub async fn integration(&self, id: &str) -> Outcome<IntegrationRow> {
        let rows = self.shared.store.integrations().await?;
        let found = rows.into_iter().find(|row| row.integration.id.to_string() == id);
        found.ok_or_else(|| no_integration(id))
    }

    /// Gives an integration another token and another secret (administrators).
    ///
    /// # Errors
    /// When there is none, or it is revoked.
    pub async fn rotate_integration(&self, id: &str) -> Outcome<(Integration, IntegrationKeys)> {
        let parsed = id.parse().map_err(|_| no_integration(id))?;
        let token = fresh_token("ci_")?;
        let rotated = self.shared.store.rotate_integration(parsed, hash(&token)).await?;
        let integration = rotated.ok_or_else(|| no_integration(id))?;
        let keys = self.keys_of(&integration, token);
        Ok((integration, keys))
    }

    /// Takes an integration its rights; instances of its teams run on until their leases end
    /// (administrators). Again is fine.
    ///
    /// # Errors
    /// When there is none.
    pub async fn revoke_integration(&self, id: &str) -> Outcome<()> {
        let parsed = id.parse().map_err(|_| no_integration(id))?;
        let was_there = self.shared.store.revoke_integration(parsed, self.now()).await?;
        if was_there { Ok(()) } else { Err(no_integration(id)) }
    }

    /// The integration that holds `token`.
    ///
    /// # Errors
    /// [`PlatformError::BadToken`].
    pub async fn integration_of(&self, token: &str) -> Outcome<Integration> {
        let store = &self.shared.store;
        let found = store.integration_of(hash(token)).await?;
        let integration = found.ok_or(PlatformError::BadToken)?;
        let now = self.now();
        let is_noted =
            integration.last_used_at.is_some_and(|used| now.millis_since(used) < USE_MILLIS);
        if !is_noted && let Err(error) = store.note_integration_use(integration.id, now).await {
            // Whoever it is may go on all the same.
            tracing::warn!(error = %error, "could not note that an integration was used");
        }
        Ok(integration)
    }

    /// Who plays when CTFd names a team, a user, or both; nobody is made.
    ///
    /// # Errors
    /// When the number that the integration goes by is missing.
    pub async fn front(
        &self,
        integration: Integration,
        (team, user): (Option<u32>, Option<u32>),
        address: String,
    ) -> Outcome<Front> {
        let owner = integration
            .mode
            .owner(team, user)
            .map_err(|error| Denial::invalid("owner_required", error.to_string()))?;
        let team = self.shared.store.ctfd_team(integration.id, owner).await?;
        let mut caller = player(&integration, team);
        caller.address = address;
        Ok(Front { integration, owner, caller })
    }

    /// What an integration's teams can start now.
    ///
    /// # Errors
    /// When its competition is gone.
    pub fn front_offers(&self, integration: &Integration) -> Outcome<LiveSet> {
        let id = integration.competition.as_str();
        let contest = self.find(id).ok_or_else(|| no_competition("", id))?;
        Ok(self.offered(None, &contest))
    }

    /// Starts an instance for somebody in CTFd, as [`start`](Self::start) does for a team.
    ///
    /// # Errors
    /// As [`start`](Self::start); and when a wish of mode `unlimited` cannot be told from another.
    pub async fn front_start(&self, front: &mut Front, wish: FrontStart) -> Outcome<Instance> {
        let Front { integration, owner, caller } = front;
        let is_counted = integration.mode == IntegrationMode::Unlimited;
        let n_chars = wish.request_id.chars().count();
        if n_chars > MAX_REQUEST_ID_CHARS || (is_counted && n_chars == 0) {
            let message = format!(
                "send a `request_id` of 1 to {MAX_REQUEST_ID_CHARS} characters that is the same \
                 when you try again and another one for another instance"
            );
            return Err(Denial::invalid("request_id_required", message).into());
        }
        let new = Team {
            id: TeamId::new(Uuid::new_v4()),
            competition: integration.competition.clone(),
            name: format!("{} {owner}", integration.name),
            description: String::new(),
            captain: None,
            created_at: self.now(),
        };
        // Nothing is made for a challenge that nobody can start.
        let competition = integration.competition.as_str();
        let contest = self.find(competition).ok_or_else(|| no_competition("", competition))?;
        self.playable(&contest, &wish.challenge)?;
        let team = self.shared.store.ensure_ctfd_team(integration.id, *owner, new).await?;
        let address = std::mem::take(&mut caller.address);
        *caller = Caller { address, ..player(integration, Some(team)) };
        let (id, repeats) = if is_counted {
            (numbered(team, &wish), Repeats::Numbered)
        } else {
            (InstanceId::new(Uuid::new_v4()), Repeats::Only)
        };
        match self.found(caller, id).await? {
            Some(Seen::Instance(instance)) => return Ok(instance),
            Some(Seen::Waits(waiting)) => return Ok(waiting.as_instance()),
            None => {}
        }
        let request = StartRequest {
            challenge: wish.challenge,
            competition: integration.competition.to_string(),
            ttl_secs: wish.ttl_secs,
            repeats,
        };
        self.start_as(caller, request, id).await
    }

    /// An instance of theirs, or a start of theirs that waits.
    ///
    /// # Errors
    /// When there is none, or it is somebody else's, which is not told apart.
    pub async fn front_seen(&self, front: &Front, id: &str) -> Outcome<Seen> {
        hidden(self.seen(&front.caller, id).await, id)
    }

    /// Grades and records an answer of theirs. Without an instance named it goes through the newest
    /// one of the challenge, over or not; a quiz needs none.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); what belongs to others is not there.
    pub async fn front_submit(
        &self,
        front: &Front,
        (instance, challenge): (Option<String>, &str),
        question: &str,
        answer: Answer,
    ) -> Outcome<Graded> {
        let caller = &front.caller;
        let known = match instance {
            Some(id) => Some(id),
            None => self.newest_of(caller, challenge).await?,
        };
        match known {
            Some(id) => hidden(self.submit(caller, &id, question, answer).await, &id),
            None => {
                let place = (front.integration.competition.as_str(), challenge);
                hidden(self.submit_quiz(caller, place, question, answer).await, challenge)
            }
        }
    }

    async fn newest_of(&self, caller: &Caller, challenge: &str) -> Outcome<Option<String>> {
        let (Some(team), Ok(challenge)) = (caller.team(), challenge.parse()) else {
            return Ok(None);
        };
        let filter = InstanceFilter {
            team: Some(team),
            challenge: Some(challenge),
            which: Which::All,
            ..InstanceFilter::default()
        };
        let instances = self.shared.store.instances(filter).await?;
        Ok(instances.last().map(|instance| instance.id.to_string()))
    }

    /// Stops every instance of an integration's teams, or of one owner, and lets none of their starts
    /// wait any more (administrators). How many there were.
    ///
    /// # Errors
    /// When there is no such integration, or the store fails.
    pub async fn kill_front(&self, id: &str, only: Option<CtfdOwner>) -> Outcome<usize> {
        let row = self.integration(id).await?;
        let mut n_stopped = 0;
        for (owner, team) in self.shared.store.ctfd_owners(row.integration.id).await? {
            if only.is_none_or(|only| only == owner) {
                n_stopped += self.kill_team(&row.integration, team).await?;
            }
        }
        Ok(n_stopped)
    }

    async fn kill_team(&self, integration: &Integration, team: TeamId) -> Outcome<usize> {
        let caller = player(integration, Some(team));
        let mut n_stopped = 0;
        // First, so that none gets the room that becomes free.
        for waiting in self.waiting(&caller).await? {
            n_stopped += usize::from(self.leave_line(&caller, &waiting.id.to_string()).await?);
        }
        let admin = Caller::administrator("admin");
        for instance in self.instances(&caller).await? {
            let id = instance.id.to_string();
            match self.stop(&admin, &id, StopReason::AdminStopAll).await {
                Ok(_) => n_stopped += 1,
                // Somebody else was faster.
                Err(PlatformError::InstanceNotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(n_stopped)
    }

    /// As [`kill_front`](Self::kill_front), and forgets whom the integration spoke for: their teams are
    /// disbanded, and they begin anew next time (administrators). How many owners there were.
    ///
    /// # Errors
    /// As [`kill_front`](Self::kill_front).
    pub async fn purge_front(&self, id: &str, only: Option<CtfdOwner>) -> Outcome<usize> {
        let row = self.integration(id).await?;
        let mut n_purged = 0;
        for (owner, team) in self.shared.store.ctfd_owners(row.integration.id).await? {
            if only.is_some_and(|only| only != owner) {
                continue;
            }
            // Forgotten first: a start that comes meanwhile is of somebody new.
            self.shared.store.purge_ctfd_owner(row.integration.id, owner, self.now()).await?;
            self.kill_team(&row.integration, team).await?;
            n_purged += 1;
        }
        Ok(n_purged)
    }

    fn keys_of(&self, integration: &Integration, token: String) -> IntegrationKeys {
        let key = self.shared.data.answer_key();
        let webhook_secret = render::webhook_secret(key, integration.id, integration.epoch);
        IntegrationKeys { token, webhook_secret }
    }

    fn webhook_url(&self, text: &str) -> Outcome<NodeUrl> {
        let plain =
            if self.shared.config.nodes.allow_http { Plain::Allowed } else { Plain::Loopback };
        let url: Result<NodeUrl, _> = text.parse();
        url.and_then(|url| url.check_plain(plain).map(|()| url)).map_err(|error| {
            let message = format!("this is no address of a webhook: {error}");
            Denial::invalid("bad_webhook", message).into()
        })
    }
}

/// Whoever plays for this team through an integration.
fn player(integration: &Integration, team: Option<TeamId>) -> Caller {
    let token_id = format!("ctfd:{}", integration.id);
    let competition = integration.competition.clone();
    Caller {
        role: Role::Player,
        token_id,
        account: None,
        memberships: team.map(|team| Membership { competition, team }).into_iter().collect(),
        grant: None,
        address: String::new(),
    }
}

/// The id of the instance that a numbered wish makes, whenever and however often it is sent.
fn numbered(team: TeamId, wish: &FrontStart) -> InstanceId {
    let mut digest = Sha256::new();
    digest.update(b"ctfd-start1");
    digest.update(team.as_uuid().as_bytes());
    for word in [wish.challenge.as_str(), wish.request_id.as_str()] {
        digest.update((word.len() as u64).to_be_bytes());
        digest.update(word.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.finalize()[..16]);
    InstanceId::new(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// What somebody else has is not there.
fn hidden<T>(outcome: Outcome<T>, id: &str) -> Outcome<T> {
    let none = || PlatformError::InstanceNotFound { id: id.chars().take(80).collect() };
    match outcome {
        Err(PlatformError::NotYours | PlatformError::NotAQuiz { .. }) => Err(none()),
        Err(PlatformError::Denied(denial)) if denial.code == "not_registered" => Err(none()),
        other => other,
    }
}

fn no_integration(id: &str) -> PlatformError {
    let cut: String = id.chars().take(80).collect();
    let message = format!("there is no integration {cut}: `flagops ctfd ls` lists them");
    Denial::not_found("integration_not_found", message).into()
}

fn integration_name(text: &str) -> Outcome<String> {
    let name = text.trim();
    let n_chars = name.chars().count();
    if n_chars > MAX_NAME_CHARS {
        let reason = format!("the name of an integration has 1 to {MAX_NAME_CHARS} characters");
        return Err(PlatformError::BadTeamName { reason });
    }
    check_team_name(name)
        .map_err(|error| PlatformError::BadTeamName { reason: error.to_string() })?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(challenge: &str, request_id: &str) -> FrontStart {
        FrontStart {
            challenge: challenge.to_owned(),
            ttl_secs: None,
            request_id: request_id.to_owned(),
        }
    }

    proptest! {
        #[test]
        fn a_repeated_wish_has_the_same_id_and_no_other_has_it(
            team in any::<u128>(), a in ".{1,20}", b in ".{1,20}",
        ) {
            let of = |team: u128, wish: &FrontStart| {
                numbered(TeamId::new(Uuid::from_u128(team)), wish)
            };
            let own = of(team, &wish("WEB-001", &a));
            prop_assert_eq!(own, of(team, &wish("WEB-001", &a)));
            prop_assert_ne!(own, of(team.wrapping_add(1), &wish("WEB-001", &a)));
            prop_assert_ne!(own, of(team, &wish("WEB-002", &a)));
            prop_assert_eq!(own == of(team, &wish("WEB-001", &b)), a == b);
            // As text it is an id that everybody can parse again.
            prop_assert_eq!(own.to_string().parse::<InstanceId>().ok(), Some(own));
        }
    }
}
