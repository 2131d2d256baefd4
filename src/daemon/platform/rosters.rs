//! Getting into teams and out of them.

use std::sync::Arc;

use uuid::Uuid;

use super::competitions::{check_reach, no_competition, not_registered};
use super::tokens::{public_id, random};
use super::{Denial, Outcome, Platform, PlatformError};
use crate::contest::Contest;
use crate::contest::competition::Entry;
use crate::daemon::{activities, leases};
use crate::model::{
    Account, Activity, Caller, Happening, Invite, InviteKind, StopReason, Team, TeamId,
};
use crate::store::{
    Ending, InstanceFilter, Joining, Left, NewTeam, NewTeamMode, RosterError, RosterRefusal,
    StoreError, Way, Which,
};

/// What codes are made of: nothing that looks like another.
const ALPHABET: &[u8; 31] = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";

/// How somebody wants to get in.
#[derive(Debug, Clone)]
pub enum EntryWish {
    /// Alone; again gives the team that they have.
    Solo,
    /// With a team of this name and these words.
    Create(String, String),
    /// With a code.
    Code(String),
    /// By an invitation with this id.
    Invitation(String),
}

impl From<RosterError> for PlatformError {
    fn from(error: RosterError) -> Self {
        match error {
            RosterError::Store(error @ StoreError::TeamName(_)) => {
                Self::BadTeamName { reason: error.to_string() }
            }
            RosterError::Store(error) => error.into(),
            RosterError::Refused(refusal) => denial(&refusal).into(),
        }
    }
}

fn denial(refusal: &RosterRefusal) -> Denial {
    let message = refusal.to_string();
    match refusal {
        RosterRefusal::AlreadyMember { team } => {
            Denial::conflict("already_member", message).with("team_id", team.to_string())
        }
        RosterRefusal::NameTaken => Denial::conflict("team_name_taken", message),
        RosterRefusal::InviteNotFound => Denial::not_found("invite_not_found", message),
        RosterRefusal::WrongCompetition => Denial::conflict("wrong_competition", message),
        RosterRefusal::ExpiredOrRevoked => Denial::conflict("expired_or_revoked", message),
        RosterRefusal::TeamDeleted => Denial::conflict("team_deleted", message),
        RosterRefusal::TeamFull { max } => {
            Denial::conflict("team_full", message).with("max_size", *max)
        }
        RosterRefusal::WrongKind { kind } => {
            Denial::conflict("wrong_invite_kind", message).with("kind", kind.as_str())
        }
        RosterRefusal::NotInvited => Denial::forbidden("not_invited", message),
        RosterRefusal::NotMember => Denial::forbidden("not_registered", message),
        RosterRefusal::NotTeamMember => Denial::not_found("not_team_member", message),
    }
}

impl Platform {
    /// The competition of a route about registering: what one may not see is not there.
    ///
    /// # Errors
    /// `competition_not_found`, or a token that is not for it.
    pub fn contest_to_enter(&self, caller: &Caller, id: &str) -> Outcome<Arc<Contest>> {
        match self.contest(Some(caller), id) {
            Ok(contest) => Ok(contest),
            Err(PlatformError::Denied(denial)) if denial.code.is_empty() => {
                Err(no_competition("competition_not_found", id).into())
            }
            Err(error) => Err(error),
        }
    }

    /// Gets the caller into a competition; their team. A token of a team is in already.
    ///
    /// # Errors
    /// When it is not the time, they may not, or the way is none.
    pub async fn enter(
        &self,
        caller: &Caller,
        contest: &Contest,
        wish: EntryWish,
    ) -> Outcome<Team> {
        let Some(account) = &caller.account else {
            let team = caller.team_in(&contest.id);
            let team = team.ok_or_else(|| not_registered(contest.id.as_str()))?;
            return self.team(team).await;
        };
        if let (EntryWish::Solo, Some(team)) = (&wish, caller.team_in(&contest.id)) {
            return self.team(team).await;
        }
        let entry = match &wish {
            EntryWish::Solo => Entry::Solo,
            EntryWish::Create(..) => Entry::Create,
            EntryWish::Code(_) | EntryWish::Invitation(_) => Entry::Join,
        };
        self.check_door(caller, contest, entry)?;
        let team = self.through(account, contest, wish.clone()).await?;
        self.shared.vpn_due.notify_one();
        if !matches!(wish, EntryWish::Invitation(_)) {
            self.registered(caller, &team);
        }
        Ok(team)
    }

    fn check_door(&self, caller: &Caller, contest: &Contest, entry: Entry) -> Outcome<()> {
        contest.enterable(entry, self.now()).map_err(Denial::from)?;
        if entry == Entry::Solo && contest.teams.min > 1 {
            let message = format!(
                "teams of this competition have at least {} members: make one, or join one",
                contest.teams.min
            );
            return Err(Denial::conflict("registration_mode_not_allowed", message).into());
        }
        if self.may_take_part(Some(caller), contest) {
            return Ok(());
        }
        Err(uninvited(contest).into())
    }

    async fn through(
        &self,
        account: &Account,
        contest: &Contest,
        wish: EntryWish,
    ) -> Outcome<Team> {
        let (store, now) = (&self.shared.store, self.now());
        let team = |name: String, description: String| Team {
            id: TeamId::new(Uuid::new_v4()),
            competition: contest.id.clone(),
            name,
            description,
            captain: Some(account.id),
            created_at: now,
        };
        let joining =
            Joining { competition: contest.id.clone(), max_members: contest.teams.max, now };
        Ok(match wish {
            EntryWish::Solo => {
                let name: String = account.name.chars().take(72).collect();
                let team = team(format!("{}'s team", name.trim_end()), String::new());
                store.form_team(NewTeam { team, mode: NewTeamMode::Solo }, account.id).await?
            }
            EntryWish::Create(name, description) => {
                let team = team(name, description);
                store.form_team(NewTeam { team, mode: NewTeamMode::Create }, account.id).await?
            }
            EntryWish::Code(code) => {
                store.join_team(Way::Code(code.trim().to_uppercase(), account.id), joining).await?
            }
            EntryWish::Invitation(id) => {
                store.join_team(Way::Invited(id, account.id), joining).await?
            }
        })
    }

    fn registered(&self, caller: &Caller, team: &Team) {
        let activity = Activity {
            at: self.now(),
            happening: Happening::TeamRegistered { ip: caller.address.clone() },
            competition: Some(team.competition.clone()),
            team: Some(team.id),
            challenge: None,
            actor: activities::actor_of(caller),
        };
        activities::record(&self.shared, activity);
    }

    /// One team, disbanded or not.
    ///
    /// # Errors
    /// When there is none.
    pub async fn team(&self, id: TeamId) -> Outcome<Team> {
        let found = self.shared.store.team(id).await?;
        found.ok_or_else(|| unknown_team(&id.to_string()).into())
    }

    /// The team that the caller leads in a competition.
    ///
    /// # Errors
    /// `not_registered`, `not_captain`.
    pub async fn led(&self, caller: &Caller, contest: &Contest) -> Outcome<Team> {
        check_reach(Some(caller), &contest.id)?;
        let own = caller.team_in(&contest.id);
        let own = own.ok_or_else(|| not_registered(contest.id.as_str()))?;
        let team = self.team(own).await?;
        let is_captain = match &caller.account {
            Some(account) => team.captain == Some(account.id),
            // A team's own token leads as long as nobody else does.
            None => team.captain.is_none(),
        };
        if is_captain {
            return Ok(team);
        }
        Err(Denial::forbidden("not_captain", "only the captain of the team may do this").into())
    }

    /// Makes a code for the caller's team.
    ///
    /// # Errors
    /// When they lead none.
    pub async fn create_code(
        &self,
        caller: &Caller,
        contest: &Contest,
        max_uses: u32,
        ttl_secs: u32,
    ) -> Outcome<Invite> {
        let team = self.led(caller, contest).await?;
        let invite = self.invite(caller, &team, InviteKind::Code, max_uses, ttl_secs)?;
        let added = self.shared.store.add_invite(invite).await?;
        added.map_err(|id| pending("invite_already_pending", id).into())
    }

    /// Invites one person into the caller's team.
    ///
    /// # Errors
    /// When they lead none, there is no such person, or they are in a team.
    pub async fn invite_person(
        &self,
        caller: &Caller,
        contest: &Contest,
        email: &str,
    ) -> Outcome<Invite> {
        let team = self.led(caller, contest).await?;
        let account = self.named("", email).await?;
        if caller.account.as_ref().is_some_and(|own| own.id == account.id) {
            return Err(Denial::bad_request("cannot_invite_self", "this is you").into());
        }
        self.check_free(&account, contest).await?;
        let invite = Invite {
            target: Some(account.id),
            ..self.invite(caller, &team, InviteKind::Direct, 1, 0)?
        };
        let added = self.shared.store.add_invite(invite).await?;
        added.map_err(|id| pending("invite_already_pending", id).into())
    }

    /// Asks the captain of a team to be let in.
    ///
    /// # Errors
    /// When there is no such team, or the caller is in one or may not be.
    pub async fn request_to_join(
        &self,
        caller: &Caller,
        contest: &Contest,
        team_id: &str,
    ) -> Outcome<Invite> {
        let Some(account) = &caller.account else {
            return Err(already_on_team().into());
        };
        let found = match team_id.parse::<TeamId>() {
            Ok(id) => self.shared.store.team(id).await?,
            Err(_) => None,
        };
        let is_there = |team: &Team| team.competition == contest.id && team.captain.is_some();
        let teams = self.teams_of(contest).await?;
        let team = found.filter(is_there).filter(|it| teams.iter().any(|team| team.id == it.id));
        let team = team.ok_or_else(|| unknown_team(team_id))?;
        self.check_free(account, contest).await?;
        self.check_door(caller, contest, Entry::Join)?;
        let invite = Invite {
            target: Some(account.id),
            ..self.invite(caller, &team, InviteKind::JoinRequest, 1, 0)?
        };
        let added = self.shared.store.add_invite(invite).await?;
        added.map_err(|id| pending("request_already_pending", id).into())
    }

    async fn check_free(&self, account: &Account, contest: &Contest) -> Outcome<()> {
        let memberships = self.shared.store.memberships(account.id).await?;
        if memberships.iter().any(|it| it.competition == contest.id) {
            return Err(already_on_team().into());
        }
        Ok(())
    }

    fn invite(
        &self,
        caller: &Caller,
        team: &Team,
        kind: InviteKind,
        max_uses: u32,
        ttl_secs: u32,
    ) -> Outcome<Invite> {
        let now = self.now();
        Ok(Invite {
            id: public_id()?,
            code: code()?,
            team: team.id,
            competition: team.competition.clone(),
            kind,
            target: None,
            created_by: match &caller.account {
                Some(account) => account.id.to_string(),
                None => team.id.to_string(),
            },
            created_at: now,
            expires_at: (ttl_secs > 0).then(|| now.plus_secs(i64::from(ttl_secs))),
            max_uses,
            n_uses: 0,
            revoked_at: None,
        })
    }

    /// Every way into the caller's team there ever was.
    ///
    /// # Errors
    /// When they lead none.
    pub async fn invites(&self, caller: &Caller, contest: &Contest) -> Outcome<Vec<Invite>> {
        let team = self.led(caller, contest).await?;
        Ok(self.shared.store.invites_of_team(team.id).await?)
    }

    /// Every invitation and request about the caller.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn invites_of(&self, account: &Account) -> Outcome<Vec<Invite>> {
        Ok(self.shared.store.invites_of_user(account.id).await?)
    }

    /// The requests to join that wait for the caller, who leads the team.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn requests_for(&self, team: TeamId) -> Outcome<Vec<Invite>> {
        let mut invites = self.shared.store.invites_of_team(team).await?;
        let now = self.now();
        invites.retain(|it| it.kind == InviteKind::JoinRequest && it.is_active(now));
        Ok(invites)
    }

    /// Takes back a way into the caller's team; whether it was open.
    ///
    /// # Errors
    /// When they lead none, or it is another team's.
    pub async fn revoke_invite(
        &self,
        caller: &Caller,
        contest: &Contest,
        id: &str,
    ) -> Outcome<bool> {
        let team = self.led(caller, contest).await?;
        Ok(self.shared.store.end_invite(id, Ending::Revoked(team.id), self.now()).await?)
    }

    /// Declines an invitation of the caller, or withdraws their request; whether it was open.
    ///
    /// # Errors
    /// When it is not theirs.
    pub async fn decline_invite(&self, account: &Account, id: &str) -> Outcome<bool> {
        Ok(self.shared.store.end_invite(id, Ending::Declined(account.id), self.now()).await?)
    }

    /// Refuses a request to join the caller's team; whether it was open.
    ///
    /// # Errors
    /// When they lead none, or it is no request of it.
    pub async fn reject_request(
        &self,
        caller: &Caller,
        contest: &Contest,
        id: &str,
    ) -> Outcome<bool> {
        let team = self.led(caller, contest).await?;
        Ok(self.shared.store.end_invite(id, Ending::Rejected(team.id), self.now()).await?)
    }

    /// Lets a person who asked into the caller's team.
    ///
    /// # Errors
    /// When they lead none, or the person may not take part any more.
    pub async fn approve_request(
        &self,
        caller: &Caller,
        contest: &Contest,
        id: &str,
    ) -> Outcome<Team> {
        let team = self.led(caller, contest).await?;
        contest.enterable(Entry::Join, self.now()).map_err(Denial::from)?;
        let invites = self.shared.store.invites_of_team(team.id).await?;
        let target = invites.iter().find(|it| it.id == id).and_then(|it| it.target);
        let requester = match target {
            Some(user) => self.shared.store.account(user).await?,
            None => None,
        };
        if let Some(row) = &requester {
            let person = Caller::of_account(row.account.clone(), Vec::new(), String::new(), None);
            if !self.may_take_part(Some(&person), contest) {
                return Err(uninvited(contest).into());
            }
        }
        let joining = Joining {
            competition: contest.id.clone(),
            max_members: contest.teams.max,
            now: self.now(),
        };
        let way = Way::Approved(id.to_owned(), team.id);
        let team = self.shared.store.join_team(way, joining).await?;
        self.shared.vpn_due.notify_one();
        Ok(team)
    }

    /// Changes name and words of the caller's team.
    ///
    /// # Errors
    /// When they lead none, or the name is taken.
    pub async fn rename_team(
        &self,
        caller: &Caller,
        contest: &Contest,
        name: Option<String>,
        description: Option<String>,
    ) -> Outcome<Team> {
        let team = self.led(caller, contest).await?;
        Ok(self.shared.store.rename_team(team.id, name, description).await?)
    }

    /// Takes the caller out of their team.
    ///
    /// # Errors
    /// When they are in none.
    pub async fn leave_team(&self, caller: &Caller, contest: &Contest) -> Outcome<()> {
        check_reach(Some(caller), &contest.id)?;
        let Some(account) = &caller.account else {
            let message = "a token of a team does not leave it: ask the organizer";
            return Err(Denial::forbidden("not_registered", message).into());
        };
        if caller.team_in(&contest.id).is_none() {
            return Err(not_registered(contest.id.as_str()).into());
        }
        let left = self.shared.store.leave_team(account.id, &contest.id, self.now()).await?;
        self.after(left).await
    }

    /// Takes somebody out of the caller's team.
    ///
    /// # Errors
    /// When the caller leads none, it is themselves, or they are not in it.
    pub async fn kick_member(
        &self,
        caller: &Caller,
        contest: &Contest,
        user_id: &str,
    ) -> Outcome<()> {
        let team = self.led(caller, contest).await?;
        let account = self.account(user_id).await?.account;
        if caller.account.as_ref().is_some_and(|own| own.id == account.id) {
            let message = "this is you: leave the team instead";
            return Err(Denial::bad_request("cannot_kick_self", message).into());
        }
        let left = self.shared.store.kick_member(team.id, account.id, self.now()).await?;
        self.after(left).await
    }

    /// Removes the caller's account. What they answered stays on record, without their name.
    ///
    /// # Errors
    /// When the name that is to confirm it is another one.
    pub async fn delete_account(&self, account: &Account, confirmed: &str) -> Outcome<()> {
        if confirmed != account.name {
            let message = "give the display name of the account to confirm";
            return Err(Denial::bad_request("wrong_confirmation", message).into());
        }
        for left in self.shared.store.delete_account(account.id, self.now()).await? {
            self.after(left).await?;
        }
        crate::daemon::competitions::refresh(&self.shared).await?;
        Ok(())
    }

    /// Gateways let in who is left. Nobody can reach the instances of a team without members, so they
    /// end.
    async fn after(&self, left: Left) -> Outcome<()> {
        self.shared.vpn_due.notify_one();
        if !left.is_disbanded {
            return Ok(());
        }
        let filter = InstanceFilter {
            team: Some(left.team.id),
            which: Which::LiveOrFailed,
            ..InstanceFilter::default()
        };
        for instance in self.shared.store.instances(filter).await? {
            leases::end(&self.shared, instance.id, StopReason::User).await?;
        }
        Ok(())
    }
}

fn pending(code: &'static str, id: String) -> Denial {
    Denial::conflict(code, "one waits for an answer already").with("invite_id", id)
}

fn already_on_team() -> Denial {
    Denial::conflict("already_on_team", "already in a team of this competition")
}

fn uninvited(contest: &Contest) -> Denial {
    let message = format!("competition {} is for the invited: ask the organizer", contest.id);
    Denial::forbidden("competition_invitation_required", message)
        .with("competition_id", contest.id.as_str())
}

/// There is no such team.
pub(super) fn unknown_team(id: &str) -> Denial {
    let cut: String = id.chars().take(80).collect();
    Denial::not_found("team_not_found", format!("Team {cut} not found"))
}

/// Eight characters. 256 is no multiple of 31, so bytes beyond the last whole multiple are drawn
/// again.
fn code() -> Outcome<String> {
    let mut code = String::new();
    while code.len() < 8 {
        let bytes = random::<16>()?;
        let fitting = bytes.into_iter().filter(|byte| *byte < 248);
        code.extend(fitting.map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])));
    }
    code.truncate(8);
    Ok(code)
}
