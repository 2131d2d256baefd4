//! Who leads: standings as pure functions of teams and solves, and their routes.
//!
//! A team's score is the number of questions it captured; ties go to who got there first
//! (`contract/http-api.md` §6 and §9).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::competitions;
use super::error::{Answer, Envelope};
use super::extract::{Path, Query};
use super::page::{Page, PageParams};
use crate::daemon::platform::{LiveSet, Platform};
use crate::model::{Challenge, ChallengeId, QuestionId, Solve, Team, TeamId, Timestamp};

/// Routes of this file, all limited.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(of_competition)).routes(routes!(global))
}

/// One team's place.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ScoreboardEntry {
    /// From 1, without ties.
    pub(crate) rank: u32,
    pub(crate) team_id: String,
    pub(crate) team_name: String,
    /// Challenges with every dynamic question captured.
    pub(crate) solved: u32,
    /// Questions captured: the score.
    pub(crate) flags_solved: u32,
    /// Right and wrong answers; 0 for a team without a solve.
    pub(crate) attempts: u32,
    pub(crate) last_solve_at: Option<String>,
    pub(crate) last_active_at: Option<String>,
    pub(crate) avatar_url: String,
}

/// Which team captured which question of which challenge.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<ChallengeId, BTreeMap<QuestionId, BTreeSet<TeamId>>>);

impl Tally {
    /// Counts `solves`.
    pub(crate) fn of(solves: &[Solve]) -> Self {
        let mut tally = Self::default();
        for solve in solves {
            let questions = tally.0.entry(solve.challenge.clone()).or_default();
            questions.entry(solve.question.clone()).or_default().insert(solve.team);
        }
        tally
    }

    /// Teams that captured `question`.
    pub(crate) fn n_teams(&self, challenge: &ChallengeId, question: &QuestionId) -> usize {
        let questions = self.0.get(challenge);
        questions.and_then(|questions| questions.get(question)).map_or(0, BTreeSet::len)
    }

    /// Questions of `challenge` that `team` captured.
    pub(crate) fn captured_by(
        &self,
        team: TeamId,
        challenge: &ChallengeId,
    ) -> BTreeSet<QuestionId> {
        let questions = self.0.get(challenge).into_iter().flatten();
        questions
            .filter(|(_, teams)| teams.contains(&team))
            .map(|(question, _)| question.clone())
            .collect()
    }

    /// Challenges of which `team` captured anything.
    pub(crate) fn touched_by(&self, team: TeamId) -> BTreeSet<ChallengeId> {
        let touched = |questions: &BTreeMap<QuestionId, BTreeSet<TeamId>>| {
            questions.values().any(|teams| teams.contains(&team))
        };
        let challenges = self.0.iter().filter(|(_, questions)| touched(questions));
        challenges.map(|(challenge, _)| challenge.clone()).collect()
    }

    /// Teams that captured every dynamic question of `challenge`; none if it has none.
    pub(crate) fn n_full_solves(&self, challenge: &Challenge) -> usize {
        let mut everywhere: Option<BTreeSet<TeamId>> = None;
        let none = BTreeSet::new();
        for question in dynamic_questions(challenge) {
            let questions = self.0.get(&challenge.id);
            let teams = questions.and_then(|questions| questions.get(question)).unwrap_or(&none);
            everywhere = Some(match everywhere {
                None => teams.clone(),
                Some(so_far) => so_far.intersection(teams).copied().collect(),
            });
        }
        everywhere.map_or(0, |teams| teams.len())
    }
}

/// The questions whose answers are minted, in the author's order.
pub(crate) fn dynamic_questions(challenge: &Challenge) -> impl Iterator<Item = &QuestionId> {
    let questions = challenge.metadata.questions.iter();
    questions.filter(|question| question.mode.is_dynamic()).map(|question| &question.id)
}

/// Whether `captured` solves the challenge in the standings: every dynamic question, or anything
/// where there is none. A challenge that is live no more counts once anything was captured.
fn is_solved(challenge: Option<&Challenge>, captured: &BTreeSet<&QuestionId>) -> bool {
    challenge.is_none_or(|challenge| {
        dynamic_questions(challenge).all(|question| captured.contains(question))
    })
}

/// One team's score while it is being counted.
#[derive(Default)]
struct Score<'a> {
    captured: BTreeMap<&'a ChallengeId, BTreeSet<&'a QuestionId>>,
    last_solve_at: Option<Timestamp>,
}

/// Ranks every team: score, then solved challenges, then the earlier last solve, then the name.
pub(crate) fn rank(
    teams: &[Team],
    solves: &[Solve],
    attempts: &BTreeMap<TeamId, u32>,
    live: &LiveSet,
) -> Vec<ScoreboardEntry> {
    let mut scores: BTreeMap<TeamId, Score<'_>> = BTreeMap::new();
    for solve in solves {
        let score = scores.entry(solve.team).or_default();
        score.captured.entry(&solve.challenge).or_default().insert(&solve.question);
        score.last_solve_at = score.last_solve_at.max(Some(solve.solved_at));
    }
    let nothing = Score::default();
    let mut rows: Vec<_> = teams
        .iter()
        .map(|team| {
            let score = scores.get(&team.id).unwrap_or(&nothing);
            let n_flags: usize = score.captured.values().map(BTreeSet::len).sum();
            let version = |id: &ChallengeId| live.get(id).map(|live| &*live.challenge);
            let solved = score.captured.iter().filter(|(id, got)| is_solved(version(id), got));
            (team, as_u32(n_flags), as_u32(solved.count()), score.last_solve_at)
        })
        .collect();
    rows.sort_by_key(|(team, n_flags, n_solved, last)| {
        (Reverse(*n_flags), Reverse(*n_solved), last.is_none(), *last, team.name.clone(), team.id)
    });
    let place = |(nth, (team, flags_solved, solved, last)): (
        usize,
        (&Team, u32, u32, Option<Timestamp>),
    )| {
        let last = last.map(Timestamp::rfc3339);
        ScoreboardEntry {
            rank: as_u32(nth + 1),
            team_id: team.id.to_string(),
            team_name: team.name.clone(),
            solved,
            flags_solved,
            attempts: last.as_ref().and(attempts.get(&team.id)).copied().unwrap_or(0),
            last_solve_at: last.clone(),
            last_active_at: last,
            avatar_url: String::new(),
        }
    };
    rows.into_iter().enumerate().map(place).collect()
}

/// A count for the wire; more than four billion of anything is as good as that.
pub(crate) fn as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The standings now.
pub(crate) async fn standings(platform: &Platform) -> Answer<Vec<ScoreboardEntry>> {
    let teams = platform.teams().await?;
    let solves = platform.solves().await?;
    let attempts = platform.attempts().await?;
    Ok(rank(&teams, &solves, &attempts, &platform.live()))
}

/// Standings of a competition: every team, best first.
#[utoipa::path(get, path = "/competitions/{competition_id}/scoreboard", tag = "standings",
    params(("competition_id" = String, Path, description = "`default`"), PageParams),
    responses((status = 200, body = Page<ScoreboardEntry>), (status = 404, body = Envelope)))]
async fn of_competition(
    State(platform): State<Platform>,
    Path(competition): Path<String>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<ScoreboardEntry>>> {
    competitions::known(&competition)?;
    Ok(Json(Page::of(standings(&platform).await?, page)))
}

/// Standings of everything: every team, best first.
#[utoipa::path(get, path = "/scoreboard", tag = "standings", params(PageParams),
    responses((status = 200, body = Page<ScoreboardEntry>)))]
async fn global(
    State(platform): State<Platform>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<ScoreboardEntry>>> {
    Ok(Json(Page::of(standings(&platform).await?, page)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{challenge, live, question, solve, team};
    use super::*;

    #[test]
    fn more_flags_win_then_more_challenges_then_the_earlier_last_solve() {
        let web = challenge("WEB-001", vec![question("flag"), question("root")]);
        let pwn = challenge("PWN-001", vec![question("flag")]);
        let live = live(vec![web, pwn]);
        let teams: Vec<_> = (1..=4).map(team).collect();
        let solves = [
            solve(1, "WEB-001", "flag", 10),
            solve(1, "WEB-001", "root", 20),
            solve(2, "WEB-001", "flag", 5),
            solve(2, "PWN-001", "flag", 30),
            solve(3, "WEB-001", "root", 40),
            solve(3, "PWN-001", "flag", 25),
        ];
        let attempts = BTreeMap::from([(team(1).id, 7), (team(4).id, 9)]);
        let table: Vec<_> = rank(&teams, &solves, &attempts, &live)
            .iter()
            .map(|row| {
                format!(
                    "{} {} flags={} solved={} attempts={} last={:?}",
                    row.rank,
                    row.team_name,
                    row.flags_solved,
                    row.solved,
                    row.attempts,
                    row.last_solve_at.as_deref().unwrap_or("never"),
                )
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r#"
        1 team-1 flags=2 solved=1 attempts=7 last="1970-01-01T00:00:20Z"
        2 team-2 flags=2 solved=1 attempts=0 last="1970-01-01T00:00:30Z"
        3 team-3 flags=2 solved=1 attempts=0 last="1970-01-01T00:00:40Z"
        4 team-4 flags=0 solved=0 attempts=0 last="never"
        "#);
    }

    #[test]
    fn a_full_solve_needs_every_dynamic_question_of_one_team() {
        let web = challenge("WEB-001", vec![question("flag"), question("root")]);
        let half = [solve(1, "WEB-001", "flag", 1), solve(2, "WEB-001", "root", 2)];
        assert_eq!(Tally::of(&half).n_full_solves(&web), 0);
        let whole = [solve(1, "WEB-001", "flag", 1), solve(1, "WEB-001", "root", 2)];
        assert_eq!(Tally::of(&whole).n_full_solves(&web), 1);
        assert_eq!(Tally::default().n_full_solves(&web), 0);
    }
}
