//! What a person keeps flagops from doing: by whom, why, and until when.

use serde::{Deserialize, Serialize};

use super::challenge::word_enum;
use super::{ChallengeId, InstanceId, Scope, Timestamp};

/// One pause of one object. It ends by itself at `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// The object; a pause of the repository is one of everything.
    pub scope: Scope,
    /// What is kept from happening.
    pub kind: PauseKind,
    /// Who said so.
    pub who: String,
    /// Why: for whoever wonders at three in the morning.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

word_enum!(
    /// What is kept from happening.
    PauseKind {
        /// Our own work on it: no repair, no removal of what is left, no new version. Players start
        /// and stop as ever, and leases end.
        Suspend = "suspend",
        /// What players and time do: a challenge is not started, an instance does not end by its
        /// lease, a solve or its team.
        Hold = "hold",
        /// What goes live: nothing does, by itself. Of the repository only.
        Freeze = "freeze",
    }
);

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "by {} until {}: {}", self.who, self.until, self.why)
    }
}

/// Every pause there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pauses(pub Vec<Pause>);

impl Pauses {
    /// The pause of exactly this object.
    pub fn of(&self, kind: PauseKind, scope: &Scope) -> Option<&Pause> {
        self.0.iter().find(|pause| pause.kind == kind && pause.scope == *scope)
    }

    /// Why our work on a challenge, or on all of them, is suspended.
    pub fn suspended_challenge(&self, id: &ChallengeId) -> Option<&Pause> {
        self.of(PauseKind::Suspend, &Scope::Repo)
            .or_else(|| self.of(PauseKind::Suspend, &Scope::Challenge(id.clone())))
    }

    /// Why our work on an instance of a challenge is suspended.
    pub fn suspended_instance(&self, id: InstanceId, challenge: &ChallengeId) -> Option<&Pause> {
        self.suspended_challenge(challenge)
            .or_else(|| self.of(PauseKind::Suspend, &Scope::Instance(id)))
    }

    /// Why a challenge is not started.
    pub fn held_challenge(&self, id: &ChallengeId) -> Option<&Pause> {
        self.of(PauseKind::Hold, &Scope::Challenge(id.clone()))
    }

    /// Why an instance does not end.
    pub fn held_instance(&self, id: InstanceId) -> Option<&Pause> {
        self.of(PauseKind::Hold, &Scope::Instance(id))
    }

    /// Why nothing goes live.
    pub fn frozen(&self) -> Option<&Pause> {
        self.of(PauseKind::Freeze, &Scope::Repo)
    }

    /// Those that are over at `now`.
    pub fn over(&self, now: Timestamp) -> Vec<Pause> {
        self.0.iter().filter(|pause| pause.until <= now).cloned().collect()
    }
}
