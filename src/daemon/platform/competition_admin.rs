//! Competitions that administrators make, and the people beside players.

use uuid::Uuid;

use super::competitions::no_competition;
use super::sign_in::unknown_user;
use super::{Denial, Outcome, Platform};
use crate::contest::competition::{Access, ChallengeSet, Contest, Origin, Status};
use crate::daemon::activities;
use crate::daemon::competitions;
use crate::model::account::normal_email;
use crate::model::competition::{Selection, Selector};
use crate::model::{
    Account, Activity, Caller, ChallengeId, CompetitionId, Happening, Team, Timestamp,
};
use crate::store::{PersonKind, PersonRow};
use std::sync::Arc;

/// What an administrator wants a competition to be; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct CompetitionWish {
    /// Display name.
    pub title: Option<String>,
    /// What players read about it.
    pub description: Option<String>,
    /// Ids of challenges, in order.
    pub challenges: Option<Vec<String>>,
    /// When it begins.
    pub starts_at: Option<Timestamp>,
    /// When it ends.
    pub ends_at: Option<Timestamp>,
    /// How far its making is.
    pub status: Option<Status>,
    /// Who may take part.
    pub access: Option<Access>,
}

/// Somebody beside the players of a competition.
#[derive(Debug, Clone)]
pub struct Person {
    /// Who.
    pub account: Account,
    /// Who made them that.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Platform {
    /// Makes a competition.
    ///
    /// # Errors
    /// When the wish is out of bounds.
    pub async fn create_competition(
        &self,
        caller: &Caller,
        wish: CompetitionWish,
    ) -> Outcome<Arc<Contest>> {
        let id: CompetitionId =
            Uuid::new_v4().as_simple().to_string().parse().expect("hexadecimal digits are an id");
        let account = caller.account.as_ref();
        let origin = Origin::Api {
            by: account.map(|account| account.id),
            by_name: account.map_or_else(|| "admin".to_owned(), |account| account.name.clone()),
        };
        let now = self.now();
        let blank = Contest {
            origin,
            description: String::new(),
            status: Status::Draft,
            set: ChallengeSet::Selected(Vec::new()),
            ..Contest::built_in(id.clone(), "", now)
        };
        let contest = self.applied(blank, wish)?;
        self.put(contest).await
    }

    /// Changes a competition that an administrator made.
    ///
    /// # Errors
    /// When there is none, a file declares it, or the wish is out of bounds.
    pub async fn change_competition(
        &self,
        contest: &Contest,
        wish: CompetitionWish,
    ) -> Outcome<Arc<Contest>> {
        check_made(contest)?;
        let contest = self.applied(contest.clone(), wish)?;
        self.put(Contest { updated_at: self.now(), ..contest }).await
    }

    fn applied(&self, mut contest: Contest, wish: CompetitionWish) -> Outcome<Contest> {
        if let Some(ids) = wish.challenges {
            contest.set = ChallengeSet::Selected(self.selections(&ids)?);
        }
        contest.title = wish.title.unwrap_or(contest.title);
        contest.description = wish.description.unwrap_or(contest.description);
        contest.starts_at = wish.starts_at.or(contest.starts_at);
        contest.ends_at = wish.ends_at.or(contest.ends_at);
        contest.status = wish.status.unwrap_or(contest.status);
        contest.access = wish.access.unwrap_or(contest.access);
        match (contest.starts_at, contest.ends_at) {
            (Some(start), Some(end)) if end <= start => {
                Err(Denial::invalid("", "ends_at must be later than starts_at").into())
            }
            _ => Ok(contest),
        }
    }

    fn selections(&self, ids: &[String]) -> Outcome<Vec<Selection>> {
        let head = &self.shared.head.load().catalog;
        let live = self.shared.live.load();
        let mut known: Vec<ChallengeId> = Vec::new();
        let mut unknown = Vec::new();
        for text in ids {
            match text.parse::<ChallengeId>() {
                Ok(id) if live.contains_key(&id) || head.folders.contains_key(&id) => {
                    if known.contains(&id) {
                        let message = "challenge_ids contains duplicates";
                        return Err(Denial::invalid("", message).into());
                    }
                    known.push(id);
                }
                _ => unknown.push(text.chars().take(80).collect::<String>()),
            }
        }
        if !unknown.is_empty() {
            let message = format!("Unknown challenge ids: ['{}']", unknown.join("', '"));
            return Err(Denial::invalid("", message).into());
        }
        let select = |id| Selection { selector: Selector::Id(id), value: None, release_at: None };
        Ok(known.into_iter().map(select).collect())
    }

    async fn put(&self, contest: Contest) -> Outcome<Arc<Contest>> {
        let id = contest.id.clone();
        self.shared.store.put_competition(contest).await?;
        competitions::refresh(&self.shared).await?;
        self.find(id.as_str()).ok_or_else(|| no_competition("", id.as_str()).into())
    }

    /// Removes a competition that an administrator made. Its teams and what they did stay on
    /// record.
    ///
    /// # Errors
    /// When there is none, or a file declares it.
    pub async fn delete_competition(&self, contest: &Contest) -> Outcome<()> {
        check_made(contest)?;
        self.shared.store.delete_competition(&contest.id).await?;
        competitions::refresh(&self.shared).await?;
        Ok(())
    }

    /// The teams of a competition, in the order of their making.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn teams_of(&self, contest: &Contest) -> Outcome<Vec<Team>> {
        let mut teams = self.shared.store.teams().await?;
        teams.retain(|team| team.competition == contest.id);
        teams.sort_by_key(|team| (team.created_at, team.id));
        Ok(teams)
    }

    /// The people of one kind beside the players of a competition.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn people(&self, contest: &Contest, kind: PersonKind) -> Outcome<Vec<Person>> {
        let rows = self.shared.store.competition_people().await?;
        let mut people = Vec::new();
        for row in rows.into_iter().filter(|it| it.competition == contest.id && it.kind == kind) {
            if let Some(found) = self.shared.store.account(row.user).await? {
                people.push(Person { account: found.account, by: row.by, at: row.at });
            }
        }
        Ok(people)
    }

    /// Adds somebody, named by id or address, to the people of a competition; again is fine.
    ///
    /// # Errors
    /// When nobody is named, or there is no such account.
    pub async fn add_person(
        &self,
        caller: &Caller,
        contest: &Contest,
        (user_id, email): (&str, &str),
        kind: PersonKind,
    ) -> Outcome<Person> {
        let account = self.named(user_id, email).await?;
        let by = caller.account.as_ref().map_or("admin".to_owned(), |by| by.id.to_string());
        let person = PersonRow {
            competition: contest.id.clone(),
            user: account.id,
            kind,
            by,
            at: self.now(),
        };
        self.shared.store.add_person(person).await?;
        competitions::refresh(&self.shared).await?;
        let action = match kind {
            PersonKind::Admin => "granted",
            PersonKind::Invited => "invited",
        };
        self.told(caller, contest, &account, kind, action);
        let found = self.people(contest, kind).await?;
        let found = found.into_iter().find(|person| person.account.id == account.id);
        found.ok_or_else(|| unknown_user(&account.id.to_string()).into())
    }

    /// Takes somebody away from the people of a competition.
    ///
    /// # Errors
    /// When they are not there.
    pub async fn remove_person(
        &self,
        caller: &Caller,
        contest: &Contest,
        user_id: &str,
        kind: PersonKind,
    ) -> Outcome<()> {
        let account = self.account(user_id).await?.account;
        if !self.shared.store.remove_person(&contest.id, account.id, kind).await? {
            return Err(unknown_user(user_id).into());
        }
        competitions::refresh(&self.shared).await?;
        self.told(caller, contest, &account, kind, "revoked");
        Ok(())
    }

    fn told(
        &self,
        caller: &Caller,
        contest: &Contest,
        account: &Account,
        kind: PersonKind,
        action: &str,
    ) {
        let (competition_id, target_user_id) = (contest.id.clone(), account.id.to_string());
        let action = action.to_owned();
        let happening = match kind {
            PersonKind::Admin => {
                Happening::CompetitionAdminChanged { competition_id, target_user_id, action }
            }
            PersonKind::Invited => {
                Happening::CompetitionInviteChanged { competition_id, target_user_id, action }
            }
        };
        let activity = Activity {
            at: self.now(),
            happening,
            competition: Some(contest.id.clone()),
            team: None,
            challenge: None,
            actor: activities::actor_of(caller),
        };
        activities::record(&self.shared, activity);
    }

    /// The account that an id or else an address names.
    pub(super) async fn named(&self, user_id: &str, email: &str) -> Outcome<Account> {
        if !user_id.is_empty() {
            return Ok(self.account(user_id).await?.account);
        }
        if email.is_empty() {
            return Err(Denial::invalid("", "name somebody by user_id or email").into());
        }
        let found = match normal_email(email) {
            Some(email) => self.shared.store.account_by_email(&email).await?,
            None => None,
        };
        found.map(|(account, _)| account).ok_or_else(|| unknown_user(email).into())
    }
}

/// Refuses what only a commit can change.
fn check_made(contest: &Contest) -> Outcome<()> {
    let message = match &contest.origin {
        Origin::Api { .. } => return Ok(()),
        Origin::File { path, .. } => format!(
            "competition {} is declared by `{path}` in the repository: change that file and push it",
            contest.id
        ),
        Origin::BuiltIn => format!(
            "competition {} is there because no other is: declare one in `competitions/` of the repository, or make one",
            contest.id
        ),
    };
    Err(Denial::conflict("competition_read_only", message)
        .with("competition_id", contest.id.as_str())
        .into())
}
