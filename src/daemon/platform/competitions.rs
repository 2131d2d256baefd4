//! Which competitions somebody sees, what is offered there, and what is visible at all.
//!
//! # Invariants
//! * What somebody may not see is as if it were not there.
//! * A challenge is visible when a competition that one may see offers it now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Denial, LiveChallenge, LiveSet, Outcome, Platform, wrong_competition};
use crate::contest::competition::{Access, Closed, Contest, Status};
use crate::model::{Caller, ChallengeId, CompetitionId, Role, TeamId, Timestamp};

impl From<Closed> for Denial {
    fn from(closed: Closed) -> Self {
        let code = closed.code();
        let denial = Self::conflict(code, closed.to_string());
        match closed {
            Closed::NotStarted { id, at } | Closed::NotOpenYet { id, at } => {
                denial.with("competition_id", id.as_str()).with("starts_at", at.rfc3339())
            }
            Closed::Ended { id, at } | Closed::NoLongerOpen { id, at } => {
                denial.with("competition_id", id.as_str()).with("ended_at", at.rfc3339())
            }
            Closed::OtherMode { id, .. } => denial.with("competition_id", id.as_str()),
        }
    }
}

impl Platform {
    /// Every competition that somebody sees, by id.
    pub fn contests(&self, caller: Option<&Caller>) -> Vec<Arc<Contest>> {
        let all = self.shared.contests.load();
        all.all.values().filter(|contest| self.sees(caller, contest)).cloned().collect()
    }

    /// Every competition there is, for administrators.
    pub fn every_contest(&self) -> Vec<Arc<Contest>> {
        self.shared.contests.load().all.values().cloned().collect()
    }

    /// Whether there is such a competition.
    pub(super) fn has_competition(&self, id: &CompetitionId) -> bool {
        self.shared.contests.load().all.contains_key(id)
    }

    /// One competition that somebody sees.
    ///
    /// # Errors
    /// When there is none that they may know of, or their token is not for it.
    pub fn contest(&self, caller: Option<&Caller>, id: &str) -> Outcome<Arc<Contest>> {
        let found = self.find(id).filter(|contest| self.sees(caller, contest));
        let contest = found.ok_or_else(|| no_competition("", id))?;
        check_reach(caller, &contest.id)?;
        Ok(contest)
    }

    /// One competition, whoever asks.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Contest>> {
        let id: CompetitionId = id.parse().ok()?;
        self.shared.contests.load().all.get(&id).cloned()
    }

    /// Whether somebody runs this competition: an administrator, or one of its own.
    pub fn runs(&self, caller: Option<&Caller>, contest: &Contest) -> bool {
        let Some(caller) = caller else { return false };
        let is_own = caller.account.as_ref().is_some_and(|account| {
            let key = (contest.id.clone(), account.id);
            self.shared.contests.load().admins.contains(&key)
        });
        caller.role == Role::Admin || caller.is_administrator() || is_own
    }

    fn sees(&self, caller: Option<&Caller>, contest: &Contest) -> bool {
        if self.runs(caller, contest) {
            return true;
        }
        let is_member = caller.is_some_and(|caller| caller.team_in(&contest.id).is_some());
        contest.status == Status::Published
            && (contest.access != Access::PrivateHidden
                || is_member
                || self.is_invited(caller, contest))
    }

    fn is_invited(&self, caller: Option<&Caller>, contest: &Contest) -> bool {
        caller.and_then(|caller| caller.account.as_ref()).is_some_and(|account| {
            let key = (contest.id.clone(), account.id);
            self.shared.contests.load().invited.contains(&key)
        })
    }

    /// Whether somebody may take part: only in private ones it needs an invitation.
    pub fn may_take_part(&self, caller: Option<&Caller>, contest: &Contest) -> bool {
        contest.access == Access::Public
            || self.is_invited(caller, contest)
            || self.runs(caller, contest)
    }

    /// What a competition offers now; for who runs it also what it will offer.
    pub fn offered(&self, caller: Option<&Caller>, contest: &Contest) -> LiveSet {
        let (now, runs) = (self.now(), self.runs(caller, contest));
        let disabled = &self.settings().disabled;
        let is_offered = |live: &LiveChallenge| {
            if disabled.contains(&live.challenge.id) {
                false
            } else if runs {
                contest.has(&live.challenge)
            } else {
                contest.offers(&live.challenge, now)
            }
        };
        let live = self.shared.live.load();
        let offered = live.iter().filter(|(_, live)| is_offered(live));
        offered.map(|(id, live)| (id.clone(), live.clone())).collect()
    }

    /// What somebody sees of all challenges: what any competition that they see offers now. With
    /// the id of a competition only what that one offers; nothing when they do not see it.
    pub fn catalogue(&self, caller: Option<&Caller>, competition: &str) -> LiveSet {
        let is_wanted =
            |contest: &Contest| competition.is_empty() || contest.id.as_str() == competition;
        if competition.is_empty() && caller.is_some_and(|caller| caller.role == Role::Admin) {
            return (*self.live()).clone();
        }
        let mut seen = LiveSet::new();
        for contest in self.contests(caller).into_iter().filter(|contest| is_wanted(contest)) {
            if check_reach(caller, &contest.id).is_ok() {
                seen.extend(self.offered(caller, &contest));
            }
        }
        seen
    }

    /// The team that the caller plays for in a competition; without one named, their only team's.
    ///
    /// # Errors
    /// When they have none there, or several and none is named.
    pub(super) fn place(
        &self,
        caller: &Caller,
        competition: &str,
    ) -> Outcome<(Arc<Contest>, TeamId)> {
        if competition.is_empty() {
            return match caller.memberships.as_slice() {
                [] => Err(not_registered(DEFAULT_WORD).into()),
                [only] => {
                    let id = only.competition.as_str();
                    let contest = self.find(id).ok_or_else(|| no_competition("", id))?;
                    Ok((contest, only.team))
                }
                [_, _, ..] => {
                    let message = "you play in several competitions: name one (`competition_id`)";
                    Err(Denial::forbidden("competition_required", message).into())
                }
            };
        }
        let unknown = || not_registered(competition);
        let id: CompetitionId = competition.parse().map_err(|_| unknown())?;
        check_reach(Some(caller), &id)?;
        let team = caller.team_in(&id).ok_or_else(unknown)?;
        Ok((self.find(competition).ok_or_else(unknown)?, team))
    }

    /// The challenge of a competition that its players may start or answer now.
    ///
    /// # Errors
    /// Before the beginning, after the end, and when it is not offered there.
    pub(super) fn playable(&self, contest: &Contest, challenge: &str) -> Outcome<LiveChallenge> {
        let unknown =
            || super::PlatformError::ChallengeNotFound { id: challenge.chars().take(80).collect() };
        let now = self.now();
        contest.playable(now).map_err(Denial::from)?;
        let id: ChallengeId = challenge.parse().map_err(|_| unknown())?;
        let live = self.live().get(&id).cloned().ok_or_else(unknown)?;
        if contest.offers(&live.challenge, now) { Ok(live) } else { Err(unknown()) }
    }

    /// When a competition, or a team in it, counts from and until.
    pub fn window(
        &self,
        contest: &Contest,
        team_since: Timestamp,
    ) -> (Timestamp, Option<Timestamp>) {
        contest.window(team_since)
    }

    /// How many teams each competition has.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn n_teams(&self) -> Outcome<BTreeMap<CompetitionId, usize>> {
        let mut counts = BTreeMap::new();
        for team in self.shared.store.teams().await? {
            *counts.entry(team.competition).or_default() += 1;
        }
        Ok(counts)
    }

    /// The competitions that somebody runs without being an administrator of everything.
    pub fn runs_own(&self, caller: &Caller) -> BTreeSet<CompetitionId> {
        let contests = self.shared.contests.load();
        let Some(account) = &caller.account else { return BTreeSet::new() };
        let own = contests.admins.iter().filter(|(_, user)| *user == account.id);
        own.map(|(id, _)| id.clone()).collect()
    }
}

/// What a caller without any team is told to be registered in.
const DEFAULT_WORD: &str = crate::daemon::competitions::DEFAULT;

/// There is no such competition, or none that they may know of.
pub(super) fn no_competition(code: &'static str, id: &str) -> Denial {
    let cut: String = id.chars().take(80).collect();
    Denial::not_found(code, format!("Competition not found: {cut}"))
}

/// They are in no team of it.
pub(super) fn not_registered(competition: &str) -> Denial {
    let cut: String = competition.chars().take(80).collect();
    let message = format!("You are not registered in competition {cut}");
    Denial::forbidden("not_registered", message).with("competition_id", cut)
}

/// Refuses a token that is not for this competition.
pub(super) fn check_reach(caller: Option<&Caller>, id: &CompetitionId) -> Result<(), Denial> {
    match caller.and_then(|caller| caller.grant.as_ref()) {
        Some(grant) if !grant.reach.admits(id) => Err(wrong_competition(grant, Some(id))),
        Some(_) | None => Ok(()),
    }
}
