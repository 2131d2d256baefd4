//! An event that runs CTFd and has us run its instances: who it speaks for, and what it is told.
//!
//! # Invariants
//! * An owner is told apart by the integration, the kind and the number in CTFd; names say nothing.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::challenge::word_enum;
use super::{
    ChallengeId, CompetitionId, InstanceId, IntegrationId, NodeUrl, QuestionId, TeamId, Timestamp,
};

word_enum!(
    /// Who an instance belongs to, and how many of a challenge they may have at once.
    IntegrationMode {
        /// A team of CTFd; one instance of each challenge.
        Team = "team",
        /// A user of CTFd, whatever team they are in; one instance of each challenge.
        User = "user",
        /// A team of CTFd, or a user who is in none; as many as limits allow.
        Unlimited = "unlimited",
    }
);

word_enum!(
    /// What a number of CTFd counts.
    OwnerKind {
        /// Teams.
        Team = "team",
        /// Users.
        User = "user",
    }
);

/// A CTFd that may speak for its teams and users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    /// Its id.
    pub id: IntegrationId,
    /// What organizers call it, unique among those that are not revoked.
    pub name: String,
    /// Where its teams play.
    pub competition: CompetitionId,
    /// Who owns instances.
    pub mode: IntegrationMode,
    /// Who is told of solves.
    pub webhook: Option<NodeUrl>,
    /// How often it got another token and secret.
    pub epoch: u32,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When its token was used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Since when it may nothing any more.
    pub revoked_at: Option<Timestamp>,
}

/// A team or a user of CTFd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CtfdOwner {
    /// Which of both.
    pub kind: OwnerKind,
    /// Its number there, from 1.
    pub number: u32,
}

impl fmt::Display for CtfdOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.number)
    }
}

/// Why it is not clear for whom CTFd speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OwnerError {
    /// The mode wants a number that was not sent.
    #[error(
        "integrations of mode `{mode}` speak for a {kind}: send its number in CTFd as `{kind}_id`"
    )]
    Missing {
        /// The mode.
        mode: IntegrationMode,
        /// What it wants.
        kind: OwnerKind,
    },
    /// CTFd counts from 1.
    #[error("`{kind}_id` is a number of CTFd, from 1")]
    Zero {
        /// Of what.
        kind: OwnerKind,
    },
}

impl IntegrationMode {
    /// The owner that CTFd speaks for when it names a team, a user, or both.
    ///
    /// # Errors
    /// When the number that this mode goes by is missing, or is none of CTFd.
    pub fn owner(self, team: Option<u32>, user: Option<u32>) -> Result<CtfdOwner, OwnerError> {
        let (kind, number) = match (self, team, user) {
            (Self::Team | Self::Unlimited, Some(number), _) => (OwnerKind::Team, number),
            (Self::User, _, Some(number)) | (Self::Unlimited, None, Some(number)) => {
                (OwnerKind::User, number)
            }
            (Self::Team | Self::Unlimited, None, _) => {
                return Err(OwnerError::Missing { mode: self, kind: OwnerKind::Team });
            }
            (Self::User, _, None) => {
                return Err(OwnerError::Missing { mode: self, kind: OwnerKind::User });
            }
        };
        if number == 0 { Err(OwnerError::Zero { kind }) } else { Ok(CtfdOwner { kind, number }) }
    }
}

/// A solve, as CTFd is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtfdSolve {
    /// Always `solve`.
    pub event: String,
    /// Where the team plays.
    pub competition_id: CompetitionId,
    /// On what.
    pub challenge_id: ChallengeId,
    /// Which question of it.
    pub question_id: QuestionId,
    /// Through which instance.
    pub instance_id: Option<InstanceId>,
    /// Whose solve: `team` or `user`.
    pub owner: OwnerKind,
    /// The number of that team or user in CTFd.
    pub owner_id: u32,
    /// Our team that stands for them.
    pub team_id: TeamId,
    /// 1 is first blood.
    pub rank: u32,
    /// RFC 3339.
    pub solved_at: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(mode: IntegrationMode, team: Option<u32>, user: Option<u32>) -> String {
        match mode.owner(team, user) {
            Ok(owner) => owner.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_mode_says_by_whose_number_an_instance_is_found() {
        use IntegrationMode::{Team, Unlimited, User};
        assert_eq!(check(Team, Some(17), Some(3)), "team 17");
        assert_eq!(check(User, Some(17), Some(3)), "user 3");
        assert_eq!(check(Unlimited, Some(17), Some(3)), "team 17");
        assert_eq!(check(Unlimited, None, Some(3)), "user 3");
        assert!(check(Team, None, Some(3)).contains("`team_id`"));
        assert!(check(User, Some(17), None).contains("`user_id`"));
        assert!(check(Unlimited, None, None).contains("`team_id`"));
        assert_eq!(check(Team, Some(0), None), "`team_id` is a number of CTFd, from 1");
    }

    proptest! {
        #[test]
        fn a_user_never_owns_what_a_team_of_the_same_number_owns(number in 1..u32::MAX) {
            let team = IntegrationMode::Team.owner(Some(number), Some(number)).unwrap();
            let user = IntegrationMode::User.owner(Some(number), Some(number)).unwrap();
            prop_assert_ne!(team, user);
        }
    }
}
