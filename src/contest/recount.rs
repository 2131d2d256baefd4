//! Proves that the solves on record are what the answers on record make them.
//!
//! The first right answer of a team to a question is its solve; the rank is the number of teams
//! that had it then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{ChallengeId, QuestionId, Solve, Submission, TeamId, Timestamp};

/// A question of a challenge, for a team.
type Key = (TeamId, ChallengeId, QuestionId);

/// A solve that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whose.
    pub team: TeamId,
    /// Of which challenge.
    pub challenge: ChallengeId,
    /// Of which question.
    pub question: QuestionId,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a solve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is a right answer and no solve.
    Missing,
    /// There is a solve and no right answer.
    Unfounded,
    /// Its time is another than that of the first right answer.
    Time {
        /// On record.
        recorded: Timestamp,
        /// Of the answer.
        answered: Timestamp,
    },
    /// Its rank is another than the number of teams that had it then.
    Rank {
        /// On record.
        recorded: u32,
        /// Counted.
        counted: u32,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is a right answer and no solve"),
            Self::Unfounded => f.write_str("there is a solve and no right answer"),
            Self::Time { recorded, answered } => {
                write!(f, "solved at {recorded}, first answered rightly at {answered}")
            }
            Self::Rank { recorded, counted } => {
                write!(f, "its rank is {recorded}, and {counted} teams had it then")
            }
        }
    }
}

/// Every difference between `solves` and what `answers`, in the order they were given, make of
/// them; in the order of teams.
pub fn recount(answers: &[Submission], solves: &[Solve]) -> Vec<Difference> {
    let mut wanted: BTreeMap<Key, (Timestamp, u32)> = BTreeMap::new();
    let mut n_teams: BTreeMap<(&ChallengeId, &QuestionId), u32> = BTreeMap::new();
    for answer in answers.iter().filter(|answer| answer.is_correct) {
        let key = (answer.team, answer.challenge.clone(), answer.question.clone());
        if wanted.contains_key(&key) {
            continue;
        }
        let n = n_teams.entry((&answer.challenge, &answer.question)).or_default();
        *n += 1;
        wanted.insert(key, (answer.submitted_at, *n));
    }
    let recorded: BTreeMap<Key, &Solve> = solves
        .iter()
        .map(|solve| ((solve.team, solve.challenge.clone(), solve.question.clone()), solve))
        .collect();
    let keys: BTreeSet<&Key> = wanted.keys().chain(recorded.keys()).collect();
    let mut differences = Vec::new();
    for key in keys {
        let faults = match (wanted.get(key), recorded.get(key)) {
            (Some((answered, counted)), Some(solve)) => {
                let (at, rank) = (solve.solved_at, solve.rank);
                let time =
                    (at != *answered).then_some(Fault::Time { recorded: at, answered: *answered });
                let rank =
                    (rank != *counted).then_some(Fault::Rank { recorded: rank, counted: *counted });
                [time, rank]
            }
            (Some(_), None) => [Some(Fault::Missing), None],
            (None, _) => [Some(Fault::Unfounded), None],
        };
        let (team, challenge, question) = key;
        differences.extend(faults.into_iter().flatten().map(|fault| Difference {
            team: *team,
            challenge: challenge.clone(),
            question: question.clone(),
            fault,
        }));
    }
    differences
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{ObjectId, Revision, SubmissionId};

    fn team(n: u8) -> TeamId {
        TeamId::new(Uuid::from_bytes([n; 16]))
    }

    fn answer(of: u8, secs: i64) -> Submission {
        Submission {
            id: SubmissionId::new(Uuid::from_bytes([of; 16])),
            team: team(of),
            user: None,
            challenge: "WEB-001".parse().unwrap(),
            instance: None,
            question: "flag".parse().unwrap(),
            claimed: String::new(),
            is_correct: true,
            submitted_at: Timestamp::from_millis(secs * 1000),
            solve_time_secs: 0.0,
            revision: Revision(ObjectId::from_bytes([7; 20])),
        }
    }

    fn solve(of: u8, secs: i64, rank: u32) -> Solve {
        Solve {
            team: team(of),
            challenge: "WEB-001".parse().unwrap(),
            question: "flag".parse().unwrap(),
            solved_at: Timestamp::from_millis(secs * 1000),
            rank,
        }
    }

    fn check(answers: &[Submission], solves: &[Solve]) -> Vec<String> {
        recount(answers, solves).into_iter().map(|it| it.fault.to_string()).collect()
    }

    #[test]
    fn what_the_answers_make_is_fine_and_everything_else_is_told() {
        let wrong = Submission { is_correct: false, ..answer(3, 1) };
        let answers = [wrong, answer(1, 5), answer(2, 6), answer(1, 9)];
        assert_eq!(check(&answers, &[solve(1, 5, 1), solve(2, 6, 2)]), Vec::<String>::new());
        assert_eq!(
            check(&answers, &[solve(1, 9, 2), solve(3, 1, 1)]),
            [
                "solved at 1970-01-01T00:00:09Z, first answered rightly at 1970-01-01T00:00:05Z",
                "its rank is 2, and 1 teams had it then",
                "there is a right answer and no solve",
                "there is a solve and no right answer",
            ]
        );
    }
}
