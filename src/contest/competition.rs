//! A competition as it is played, wherever it comes from: what is offered when, and who may get in.
//!
//! # Invariants
//! * Nothing of a competition is offered before it begins, nor a challenge before its `release_at`.
//! * After the end nothing is started or answered, unless it goes on for practice.

use thiserror::Error;

use crate::model::competition::{
    AttemptCaps, Registration, RegistrationMode, Scoring, ScoringFunction, Selection, Selector,
    TeamSize,
};
use crate::model::{
    Challenge, ChallengeId, Competition, CompetitionId, Revision, Timestamp, UserId,
};

/// A competition as it is played.
#[derive(Debug, Clone, PartialEq)]
pub struct Contest {
    /// Its id.
    pub id: CompetitionId,
    /// Display name.
    pub title: String,
    /// What players read about it.
    pub description: String,
    /// Where it comes from.
    pub origin: Origin,
    /// How far its making is.
    pub status: Status,
    /// Who may take part.
    pub access: Access,
    /// When it begins; `None` is since ever.
    pub starts_at: Option<Timestamp>,
    /// When it ends; `None` is never.
    pub ends_at: Option<Timestamp>,
    /// From when the standings stay as they are until the end.
    pub freeze_at: Option<Timestamp>,
    /// Whether it can be played after its end.
    pub practice: bool,
    /// How players get in.
    pub registration: Registration,
    /// How many make a team.
    pub teams: TeamSize,
    /// What is played.
    pub set: ChallengeSet,
    /// What answers are worth.
    pub scoring: Scoring,
    /// Caps of its own; `None` leaves them to the platform.
    pub caps: Option<AttemptCaps>,
    /// Most instances of a team at a time; `None` leaves it to the platform.
    pub instances_per_team: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// Where a competition comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is there when no other is.
    BuiltIn,
    /// A file of the repository: only a commit changes it.
    File {
        /// The file.
        path: String,
        /// The commit it was read from.
        revision: Revision,
    },
    /// An administrator made it.
    Api {
        /// Their account; `None` for the holder of `admin.token`.
        by: Option<UserId>,
        /// Their name then.
        by_name: String,
    },
}

/// How far the making of a competition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Only administrators see it.
    Draft,
    /// It is there.
    Published,
    /// Only administrators see it any more.
    Archived,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Published => "published",
            Self::Archived => "archived",
        }
    }

    /// The status that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Draft, Self::Published, Self::Archived].into_iter().find(|it| it.as_str() == word)
    }
}

/// Who may take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Who was invited; everybody sees it.
    PrivateListed,
    /// Who was invited; nobody else sees it.
    PrivateHidden,
}

impl Access {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::PrivateListed => "private_listed",
            Self::PrivateHidden => "private_hidden",
        }
    }

    /// The access that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Public, Self::PrivateListed, Self::PrivateHidden];
        all.into_iter().find(|it| it.as_str() == word)
    }
}

/// Which challenges are played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChallengeSet {
    /// All there are.
    Everything,
    /// These, in this order.
    Selected(Vec<Selection>),
}

/// Where a competition is in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has not begun.
    Upcoming,
    /// It is on.
    Running,
    /// It is over.
    Past,
}

impl Phase {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upcoming => "upcoming",
            Self::Running => "running",
            Self::Past => "past",
        }
    }
}

/// How somebody wants to get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Alone.
    Solo,
    /// With a team of their own.
    Create,
    /// Into a team that is there.
    Join,
}

/// Why something is not possible now.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Closed {
    /// It has not begun.
    #[error("competition {id} begins at {at}")]
    NotStarted {
        /// Which.
        id: CompetitionId,
        /// When it does.
        at: Timestamp,
    },
    /// It is over.
    #[error("competition {id} ended at {at}")]
    Ended {
        /// Which.
        id: CompetitionId,
        /// When it did.
        at: Timestamp,
    },
    /// Nobody registers yet.
    #[error("registration for {id} opens at {at}")]
    NotOpenYet {
        /// Which.
        id: CompetitionId,
        /// When it does.
        at: Timestamp,
    },
    /// Nobody registers any more.
    #[error("registration for {id} closed at {at}")]
    NoLongerOpen {
        /// Which.
        id: CompetitionId,
        /// When it did.
        at: Timestamp,
    },
    /// Not this way.
    #[error("competition {id} does not let players in this way ({wanted})")]
    OtherMode {
        /// Which.
        id: CompetitionId,
        /// What is possible.
        wanted: &'static str,
    },
}

impl Closed {
    /// The stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotStarted { .. } => "competition_not_started",
            Self::Ended { .. } => "competition_ended",
            Self::NotOpenYet { .. } => "registration_not_open",
            Self::NoLongerOpen { .. } => "registration_closed",
            Self::OtherMode { .. } => "registration_mode_not_allowed",
        }
    }
}

/// One point for each question, and nothing sinks: how it is counted where nobody says otherwise.
pub const ONE_EACH: Scoring =
    Scoring { function: ScoringFunction::Static, value: 1, minimum: 1, decay: 1, first_blood: 0 };

impl Contest {
    /// The competition that is there when no other is: everything, for everybody, at all times.
    pub fn built_in(id: CompetitionId, title: &str, since: Timestamp) -> Self {
        Self {
            id,
            title: title.to_owned(),
            description: "Every challenge of this platform, for every team, at all times."
                .to_owned(),
            origin: Origin::BuiltIn,
            status: Status::Published,
            access: Access::Public,
            starts_at: None,
            ends_at: None,
            freeze_at: None,
            practice: false,
            registration: Registration {
                mode: RegistrationMode::Create,
                opens_at: None,
                closes_at: None,
            },
            teams: TeamSize { min: 1, max: 100 },
            set: ChallengeSet::Everything,
            scoring: ONE_EACH,
            caps: None,
            instances_per_team: None,
            created_at: since,
            updated_at: since,
        }
    }

    /// As a file declares it. Where only the invited get in, everybody still sees it.
    pub fn declared(file: &Competition, revision: Revision, since: Timestamp) -> Self {
        let access = match file.registration.mode {
            RegistrationMode::Invite => Access::PrivateListed,
            RegistrationMode::Solo | RegistrationMode::Create | RegistrationMode::Join => {
                Access::Public
            }
        };
        Self {
            id: file.id.clone(),
            title: file.title.clone(),
            description: file.description.clone(),
            origin: Origin::File { path: file.path.clone(), revision },
            status: Status::Published,
            access,
            starts_at: Some(file.starts_at),
            ends_at: Some(file.ends_at),
            freeze_at: file.freeze_at,
            practice: file.practice,
            registration: file.registration.clone(),
            teams: file.teams,
            set: ChallengeSet::Selected(file.challenges.clone()),
            scoring: file.scoring,
            caps: Some(file.attempt_caps),
            instances_per_team: file.instances_per_team,
            created_at: since,
            updated_at: since,
        }
    }

    /// Where it is in time.
    pub fn phase(&self, now: Timestamp) -> Phase {
        if self.ends_at.is_some_and(|end| end <= now) {
            Phase::Past
        } else if self.starts_at.is_some_and(|start| start > now) {
            Phase::Upcoming
        } else {
            Phase::Running
        }
    }

    /// Whether players can play: start, answer.
    ///
    /// # Errors
    /// Before its beginning, and after its end where that is the end.
    pub fn playable(&self, now: Timestamp) -> Result<(), Closed> {
        let id = || self.id.clone();
        match (self.phase(now), self.starts_at, self.ends_at) {
            (Phase::Upcoming, Some(at), _) => Err(Closed::NotStarted { id: id(), at }),
            (Phase::Past, _, Some(at)) if !self.practice => Err(Closed::Ended { id: id(), at }),
            _ => Ok(()),
        }
    }

    /// Whether players can get in, this way.
    ///
    /// # Errors
    /// Outside of the time for it, and when the mode is another.
    pub fn enterable(&self, entry: Entry, now: Timestamp) -> Result<(), Closed> {
        let id = || self.id.clone();
        if let (Phase::Past, Some(at), false) = (self.phase(now), self.ends_at, self.practice) {
            return Err(Closed::Ended { id: id(), at });
        }
        if let Some(at) = self.registration.opens_at.filter(|at| *at > now) {
            return Err(Closed::NotOpenYet { id: id(), at });
        }
        if let Some(at) = self.registration.closes_at.filter(|at| *at <= now) {
            return Err(Closed::NoLongerOpen { id: id(), at });
        }
        let wanted = match (self.registration.mode, entry) {
            (RegistrationMode::Solo, Entry::Create | Entry::Join) => "everybody plays alone",
            (RegistrationMode::Join, Entry::Solo | Entry::Create) => {
                "join a team with the code of the organizer"
            }
            (RegistrationMode::Solo, Entry::Solo)
            | (RegistrationMode::Join, Entry::Join)
            | (RegistrationMode::Create | RegistrationMode::Invite, _) => return Ok(()),
        };
        Err(Closed::OtherMode { id: id(), wanted })
    }

    /// The selection that takes `challenge` in; `None` when it is not played here.
    fn selection<'a>(&'a self, challenge: &Challenge) -> Option<Option<&'a Selection>> {
        match &self.set {
            ChallengeSet::Everything => Some(None),
            ChallengeSet::Selected(selections) => {
                let tags = &challenge.metadata.tags;
                let bucket = challenge.bucket.as_deref();
                selections
                    .iter()
                    .filter(|it| it.selector.matches(&challenge.id, bucket, tags))
                    .min_by_key(|it| !it.selector.is_exact())
                    .map(Some)
            }
        }
    }

    /// Whether `challenge` is played here, at whatever time.
    pub fn has(&self, challenge: &Challenge) -> bool {
        self.selection(challenge).is_some()
    }

    /// Whether players may know of `challenge` here and now.
    pub fn offers(&self, challenge: &Challenge, now: Timestamp) -> bool {
        if self.phase(now) == Phase::Upcoming {
            return false;
        }
        let is_due = |at: Option<Timestamp>| at.is_none_or(|at| at <= now);
        self.selection(challenge).is_some_and(|selection| {
            is_due(challenge.metadata.release_at)
                && is_due(selection.and_then(|selection| selection.release_at))
        })
    }

    /// What an answer to a question of `challenge` is worth here.
    pub fn scoring_of(&self, challenge: &Challenge) -> Scoring {
        let value = self.selection(challenge).flatten().and_then(|selection| selection.value);
        match value {
            None => self.scoring,
            // What is worth less than the common minimum does not sink.
            Some(value) => {
                Scoring { value, minimum: self.scoring.minimum.min(value), ..self.scoring }
            }
        }
    }

    /// Where `id` stands in the order that the maker gave, for those that are named one by one.
    pub fn position(&self, id: &ChallengeId) -> Option<usize> {
        let ChallengeSet::Selected(selections) = &self.set else { return None };
        selections.iter().position(|it| matches!(&it.selector, Selector::Id(own) if own == id))
    }

    /// From when until when solves count for a team that was made at `team_since`.
    pub fn window(&self, team_since: Timestamp) -> (Timestamp, Option<Timestamp>) {
        (self.starts_at.map_or(team_since, |start| start.max(team_since)), self.ends_at)
    }

    /// Whether the standings stay as they were at `freeze_at`, now.
    pub fn frozen_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.freeze_at.filter(|at| *at <= now && self.phase(now) == Phase::Running)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn contest(starts: Option<i64>, ends: Option<i64>) -> Contest {
        let id = "finals".parse().unwrap();
        Contest {
            starts_at: starts.map(at),
            ends_at: ends.map(at),
            ..Contest::built_in(id, "Finals", at(0))
        }
    }

    #[test]
    fn nobody_plays_before_the_beginning_nor_after_the_end() {
        let finals = contest(Some(10), Some(20));
        let verdict = |now| finals.playable(at(now)).map_err(|closed| closed.code());
        assert_eq!(verdict(9), Err("competition_not_started"));
        assert_eq!(verdict(10), Ok(()));
        assert_eq!(verdict(19), Ok(()));
        assert_eq!(verdict(20), Err("competition_ended"));
        let practice = Contest { practice: true, ..finals };
        assert_eq!(practice.playable(at(20)), Ok(()));
        assert_eq!(practice.phase(at(20)), Phase::Past);
    }

    #[test]
    fn registration_has_its_window_and_its_mode() {
        let mut finals = contest(Some(10), Some(20));
        finals.registration.opens_at = Some(at(5));
        finals.registration.closes_at = Some(at(15));
        let verdict = |finals: &Contest, entry, now| {
            finals.enterable(entry, at(now)).map_err(|closed| closed.code())
        };
        assert_eq!(verdict(&finals, Entry::Solo, 4), Err("registration_not_open"));
        assert_eq!(verdict(&finals, Entry::Solo, 5), Ok(()));
        assert_eq!(verdict(&finals, Entry::Create, 15), Err("registration_closed"));
        assert_eq!(verdict(&finals, Entry::Join, 20), Err("competition_ended"));
        finals.registration.mode = RegistrationMode::Solo;
        let other = "registration_mode_not_allowed";
        assert_eq!(verdict(&finals, Entry::Join, 6), Err(other));
        finals.registration.mode = RegistrationMode::Join;
        assert_eq!(verdict(&finals, Entry::Solo, 6), Err(other));
        assert_eq!(verdict(&finals, Entry::Join, 6), Ok(()));
    }

    proptest! {
        #[test]
        fn who_can_play_is_in_no_upcoming_one(
            starts in proptest::option::of(0_i64..100),
            ends in proptest::option::of(0_i64..100),
            now in 0_i64..100,
        ) {
            let it = contest(starts, ends);
            if it.playable(at(now)).is_ok() {
                prop_assert_eq!(it.phase(at(now)), Phase::Running);
            } else {
                prop_assert_ne!(it.phase(at(now)), Phase::Running);
            }
        }
    }
}
