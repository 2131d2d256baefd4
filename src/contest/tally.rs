//! Who captured what, counted as solves come in. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use super::standings::dynamic_questions;
use crate::model::{Challenge, ChallengeId, QuestionId, Solve, TeamId};

/// Every solve, and the count of them, which grows along.
#[derive(Debug, Clone, Default)]
pub struct Solves {
    rows: Vec<Solve>,
    tally: Tally,
}

impl Solves {
    /// Those of `rows`, in their order.
    pub fn of(rows: Vec<Solve>) -> Self {
        let mut solves = Self::default();
        rows.into_iter().for_each(|solve| solves.add(solve));
        solves
    }

    /// One more.
    pub fn add(&mut self, solve: Solve) {
        self.tally.add(&solve);
        self.rows.push(solve);
    }

    /// Who captured what.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}

impl Deref for Solves {
    type Target = [Solve];

    fn deref(&self) -> &[Solve] {
        &self.rows
    }
}

/// Which team captured which question of which challenge.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    teams: BTreeMap<ChallengeId, BTreeMap<QuestionId, BTreeSet<TeamId>>>,
    challenges: BTreeMap<TeamId, BTreeSet<ChallengeId>>,
}

impl Tally {
    fn add(&mut self, solve: &Solve) {
        let questions = self.teams.entry(solve.challenge.clone()).or_default();
        questions.entry(solve.question.clone()).or_default().insert(solve.team);
        self.challenges.entry(solve.team).or_default().insert(solve.challenge.clone());
    }

    /// Teams that captured `question`.
    pub fn n_teams(&self, challenge: &ChallengeId, question: &QuestionId) -> usize {
        self.holders(challenge, question).map_or(0, BTreeSet::len)
    }

    fn holders(&self, challenge: &ChallengeId, question: &QuestionId) -> Option<&BTreeSet<TeamId>> {
        self.teams.get(challenge)?.get(question)
    }

    /// Questions of `challenge` that `team` captured.
    pub fn captured_by(&self, team: TeamId, challenge: &ChallengeId) -> BTreeSet<QuestionId> {
        let questions = self.teams.get(challenge).into_iter().flatten();
        questions
            .filter(|(_, teams)| teams.contains(&team))
            .map(|(question, _)| question.clone())
            .collect()
    }

    /// Questions of `challenge` that any of `teams` captured.
    pub fn captured_by_any(
        &self,
        teams: &[TeamId],
        challenge: &ChallengeId,
    ) -> BTreeSet<QuestionId> {
        teams.iter().flat_map(|team| self.captured_by(*team, challenge)).collect()
    }

    /// Challenges of which `team` captured anything.
    pub fn touched_by(&self, team: TeamId) -> BTreeSet<ChallengeId> {
        self.challenges.get(&team).cloned().unwrap_or_default()
    }

    /// Whether `team` captured every dynamic question of `challenge`; never if it has none.
    pub fn has_solved(&self, team: TeamId, challenge: &Challenge) -> bool {
        let has = |question| {
            self.holders(&challenge.id, question).is_some_and(|teams| teams.contains(&team))
        };
        let mut wanted = dynamic_questions(challenge).peekable();
        wanted.peek().is_some() && wanted.all(has)
    }

    /// Teams that captured every dynamic question of `challenge`; none if it has none.
    pub fn n_full_solves(&self, challenge: &Challenge) -> usize {
        let mut holders = Vec::new();
        for question in dynamic_questions(challenge) {
            let Some(teams) = self.holders(&challenge.id, question) else { return 0 };
            holders.push(teams);
        }
        holders.sort_by_key(|teams| teams.len());
        let Some((fewest, others)) = holders.split_first() else { return 0 };
        if others.is_empty() {
            return fewest.len();
        }
        fewest.iter().filter(|team| others.iter().all(|teams| teams.contains(team))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn solve(team: u8, challenge: &str, question: &str) -> Solve {
        Solve {
            team: TeamId::new(uuid::Uuid::from_bytes([team; 16])),
            challenge: challenge.parse().unwrap(),
            question: question.parse().unwrap(),
            solved_at: Timestamp::from_millis(0),
            rank: 1,
        }
    }

    #[test]
    fn what_is_counted_grows_with_each_solve() {
        let mut solves = Solves::of(vec![solve(1, "WEB-001", "flag"), solve(2, "WEB-001", "flag")]);
        let (web, flag) = ("WEB-001".parse().unwrap(), "flag".parse().unwrap());
        assert_eq!(solves.tally().n_teams(&web, &flag), 2);
        assert_eq!(solves.tally().n_teams(&web, &"root".parse().unwrap()), 0);
        solves.add(solve(3, "WEB-001", "flag"));
        solves.add(solve(3, "PWN-001", "flag"));
        assert_eq!((solves.len(), solves.tally().n_teams(&web, &flag)), (4, 3));
        let third = solves[3].team;
        assert_eq!(solves.tally().touched_by(third).len(), 2);
        assert_eq!(solves.tally().captured_by(third, &web), BTreeSet::from([flag]));
    }
}
