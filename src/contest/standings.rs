//! Who leads: from solves and rules to a table, and how it came to be.
//!
//! In:  teams, their solves, a [`Contest`], the versions of challenges that are live.
//! Out: [`Place`]s, best first, and what boards show beside them.
//!
//! # Invariants
//! * The order in which solves are handed in does not matter.
//! * Only solves in the window of their team count, and while the standings are frozen only those
//!   from before.
//! * Ranks are 1 to n, without ties: who was there earlier goes first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::competition::{ChallengeSet, Contest, ONE_EACH};
use super::scoring;
use crate::model::competition::Selector;
use crate::model::{Challenge, ChallengeId, QuestionId, Solve, Team, TeamId, Timestamp};

/// Most moments that a history shows.
const MAX_SAMPLES: usize = 300;

/// The versions of challenges that are live, by id.
pub type Versions<'a> = BTreeMap<&'a ChallengeId, &'a Challenge>;

/// Everything that standings are made from.
#[derive(Debug, Clone, Copy)]
pub struct Ledger<'a> {
    /// The rules; `None` counts everything that ever was, a point each.
    pub contest: Option<&'a Contest>,
    /// Every team; those of other competitions are left out.
    pub teams: &'a [Team],
    /// Every solve.
    pub solves: &'a [Solve],
    /// What is live.
    pub versions: &'a Versions<'a>,
    /// Whether the freeze is looked through.
    pub eyes: Eyes,
    /// Now.
    pub now: Timestamp,
}

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eyes {
    /// Players: while the standings are frozen they see them as they were.
    Public,
    /// Who runs the event.
    Organizer,
}

/// One team's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1, without ties.
    pub rank: u32,
    /// Who.
    pub team: TeamId,
    /// Their name.
    pub name: String,
    /// Points.
    pub score: u64,
    /// Challenges with every dynamic question captured.
    pub n_solved: u32,
    /// Questions captured.
    pub n_flags: u32,
    /// When they captured the last one.
    pub last_at: Option<Timestamp>,
}

/// One moment of a team's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Its points then.
    pub score: u64,
    /// Its rank then.
    pub rank: u32,
}

impl<'a> Ledger<'a> {
    /// The teams that are counted.
    pub fn entrants(&self) -> impl Iterator<Item = &'a Team> {
        let contest = self.contest;
        self.teams.iter().filter(move |it| contest.is_none_or(|own| own.id == it.competition))
    }

    /// The solves that count, in the order of their times.
    pub fn counted(&self) -> Vec<&'a Solve> {
        let since: BTreeMap<TeamId, Timestamp> =
            self.entrants().map(|team| (team.id, team.created_at)).collect();
        let counts = |solve: &&Solve| {
            let Some(since) = since.get(&solve.team) else { return false };
            let Some(contest) = self.contest else { return true };
            let (from, until) = contest.window(*since);
            let frozen = match self.eyes {
                Eyes::Public => contest.frozen_since(self.now),
                Eyes::Organizer => None,
            };
            solve.solved_at >= from
                && until.is_none_or(|until| solve.solved_at < until)
                && frozen.is_none_or(|frozen| solve.solved_at < frozen)
                && self.is_played(contest, &solve.challenge)
        };
        let mut counted: Vec<_> = self.solves.iter().filter(counts).collect();
        counted.sort_by_key(|it| (it.solved_at, it.rank, it.team));
        counted
    }

    /// A challenge that is live no more counts where it was named itself.
    fn is_played(&self, contest: &Contest, id: &ChallengeId) -> bool {
        match (self.versions.get(id), &contest.set) {
            (Some(challenge), _) => contest.has(challenge),
            (None, ChallengeSet::Everything) => true,
            (None, ChallengeSet::Selected(selections)) => selections.iter().any(|it| {
                !matches!(it.selector, Selector::Tag(_)) && it.selector.matches(id, None, &[])
            }),
        }
    }

    /// The table: every team, best first.
    pub fn places(&self) -> Vec<Place> {
        self.places_of(&self.counted())
    }

    fn places_of(&self, counted: &[&Solve]) -> Vec<Place> {
        let mut scores: BTreeMap<TeamId, Score<'_>> = BTreeMap::new();
        let mut holders: BTreeMap<(&ChallengeId, &QuestionId), Vec<TeamId>> = BTreeMap::new();
        for solve in counted {
            let score = scores.entry(solve.team).or_default();
            if score.captured.entry(&solve.challenge).or_default().insert(&solve.question) {
                holders.entry((&solve.challenge, &solve.question)).or_default().push(solve.team);
                score.last_at = score.last_at.max(Some(solve.solved_at));
            }
        }
        for ((challenge, _), teams) in holders {
            let rules = self.scoring_of(challenge);
            let worth = scoring::value(&rules, u32::try_from(teams.len()).unwrap_or(u32::MAX));
            for (nth, team) in teams.into_iter().enumerate() {
                let bonus = if nth == 0 { rules.first_blood } else { 0 };
                let score = scores.entry(team).or_default();
                score.points += u64::from(worth) + u64::from(bonus);
            }
        }
        let nothing = Score::default();
        let mut rows: Vec<Place> = self
            .entrants()
            .map(|team| {
                let score = scores.get(&team.id).unwrap_or(&nothing);
                self.place(team, score)
            })
            .collect();
        let is_counting = self.contest.is_none_or(|contest| contest.scoring == ONE_EACH);
        rows.sort_by(|a, b| {
            let key = |it: &Place| {
                let n_solved = if is_counting { it.n_solved } else { 0 };
                (Reverse(it.score), Reverse(n_solved), it.last_at.is_none(), it.last_at)
            };
            key(a).cmp(&key(b)).then_with(|| (&a.name, a.team).cmp(&(&b.name, b.team)))
        });
        for (nth, row) in rows.iter_mut().enumerate() {
            row.rank = u32::try_from(nth + 1).unwrap_or(u32::MAX);
        }
        rows
    }

    fn scoring_of(&self, challenge: &ChallengeId) -> crate::model::competition::Scoring {
        match (self.contest, self.versions.get(challenge)) {
            (Some(contest), Some(challenge)) => contest.scoring_of(challenge),
            (Some(contest), None) => contest.scoring,
            (None, _) => ONE_EACH,
        }
    }

    fn place(&self, team: &Team, score: &Score<'_>) -> Place {
        let n_flags: usize = score.captured.values().map(BTreeSet::len).sum();
        let version = |id: &ChallengeId| self.versions.get(id).copied();
        let n_solved =
            score.captured.iter().filter(|(id, got)| is_solved(version(id), got)).count();
        Place {
            rank: 0,
            team: team.id,
            name: team.name.clone(),
            score: score.points,
            n_solved: u32::try_from(n_solved).unwrap_or(u32::MAX),
            n_flags: u32::try_from(n_flags).unwrap_or(u32::MAX),
            last_at: score.last_at,
        }
    }

    /// How the best `n_teams` teams that have anything came to where they are.
    pub fn history(&self, n_teams: usize) -> Vec<(Place, Vec<Sample>)> {
        let counted = self.counted();
        let mut moments: Vec<Timestamp> = counted.iter().map(|solve| solve.solved_at).collect();
        moments.dedup();
        let step = moments.len().div_ceil(MAX_SAMPLES).max(1);
        // From the end, so that the last moment is always there.
        let sampled: BTreeSet<Timestamp> = moments.iter().rev().step_by(step).copied().collect();
        let mut series: BTreeMap<TeamId, Vec<Sample>> = BTreeMap::new();
        for at in sampled {
            let n_until = counted.partition_point(|solve| solve.solved_at <= at);
            for place in self.places_of(&counted[..n_until]) {
                let sample = Sample { at, score: place.score, rank: place.rank };
                if place.n_flags > 0 {
                    series.entry(place.team).or_default().push(sample);
                }
            }
        }
        let places = self.places_of(&counted).into_iter().filter(|place| place.n_flags > 0);
        places
            .take(n_teams)
            .map(|place| {
                let samples = series.remove(&place.team).unwrap_or_default();
                (place, samples)
            })
            .collect()
    }
}

/// One team's score while it is being counted.
#[derive(Debug, Default)]
struct Score<'a> {
    captured: BTreeMap<&'a ChallengeId, BTreeSet<&'a QuestionId>>,
    points: u64,
    last_at: Option<Timestamp>,
}

/// The questions whose answers are minted, in the author's order.
pub fn dynamic_questions(challenge: &Challenge) -> impl Iterator<Item = &QuestionId> {
    let questions = challenge.metadata.questions.iter();
    questions.filter(|question| question.mode.is_dynamic()).map(|question| &question.id)
}

/// Whether `captured` solves the challenge in the standings: every dynamic question, or anything
/// where there is none. A challenge that is live no more counts once anything was captured.
pub fn is_solved(challenge: Option<&Challenge>, captured: &BTreeSet<&QuestionId>) -> bool {
    challenge.is_none_or(|challenge| {
        dynamic_questions(challenge).all(|question| captured.contains(question))
    })
}

/// A bar of the distribution: its label and its count.
pub type Bin = (String, u32);

/// How many teams captured how many questions: a bar for each number up to twelve, else wider ones.
pub fn distribution(places: &[Place]) -> Vec<Bin> {
    let Some(most) = places.iter().map(|place| place.n_flags).max() else { return Vec::new() };
    let ranges: Vec<(String, u32, u32)> = if most <= 12 {
        (0..=most).map(|n| (n.to_string(), n, n)).collect()
    } else {
        [(0, 0), (1, 1), (2, 3), (4, 5), (6, 10), (11, 20), (21, u32::MAX)]
            .into_iter()
            .map(|(low, high)| match (low, high) {
                (low, u32::MAX) => (format!("{low}+"), low, high),
                (low, high) if low == high => (low.to_string(), low, high),
                (low, high) => (format!("{low}-{high}"), low, high),
            })
            .collect()
    };
    let count = |low: u32, high: u32| {
        let n = places.iter().filter(|place| (low..=high).contains(&place.n_flags)).count();
        u32::try_from(n).unwrap_or(u32::MAX)
    };
    ranges.into_iter().map(|(label, low, high)| (label, count(low, high))).collect()
}

#[cfg(test)]
mod tests;
