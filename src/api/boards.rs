//! What boards show beside the standings: bars, curves, a matrix, numbers of challenges and people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Maybe;
use super::error::{Answer, Envelope};
use super::extract::{FromParams, Params, Path, Query};
use super::page::{Page, PageParams};
use super::standings::{Books, as_u32, eyes_of};
use crate::contest::Contest;
use crate::contest::standings::{Eyes, distribution, dynamic_questions, is_solved};
use crate::daemon::platform::{LiveSet, Platform};
use crate::model::{Challenge, ChallengeId, QuestionId, Solve, TeamId, Timestamp};
use crate::store::Tries;

/// Routes of this file that are not limited.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(bars))
        .routes(routes!(curves))
        .routes(routes!(breakdown))
        .routes(routes!(matrix))
}

/// Routes about everything; limited.
pub(crate) fn global_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(challenge_stats)).routes(routes!(people))
}

/// How scores are spread.
#[derive(Debug, Serialize, ToSchema)]
struct ScoreDistribution {
    total_teams: u32,
    bins: Vec<ScoreBucket>,
}

/// So many teams captured so many questions.
#[derive(Debug, Serialize, ToSchema)]
struct ScoreBucket {
    label: String,
    count: u32,
}

/// How scores grew.
#[derive(Debug, Serialize, ToSchema)]
struct ScoreHistory {
    series: Vec<ScoreSeries>,
    /// Unix seconds.
    generated_at: f64,
}

/// One team's curve.
#[derive(Debug, Serialize, ToSchema)]
struct ScoreSeries {
    team_id: String,
    team_name: String,
    points: Vec<ScorePoint>,
}

/// One moment.
#[derive(Debug, Serialize, ToSchema)]
struct ScorePoint {
    /// Unix seconds.
    ts: f64,
    score: u64,
    rank: u32,
}

/// What became of each challenge.
#[derive(Debug, Serialize, ToSchema)]
struct ChallengeBreakdown {
    challenges: Vec<ChallengeRow>,
    /// Unix seconds.
    generated_at: f64,
}

/// One challenge.
#[derive(Debug, Serialize, ToSchema)]
struct ChallengeRow {
    challenge_id: String,
    name: String,
    category: &'static str,
    difficulty: &'static str,
    /// Teams with every dynamic question.
    solves_count: u32,
    attempts: u32,
    /// Percent of answers that were right, one decimal.
    success_rate: f64,
    first_blood_team_id: String,
    first_blood_team_name: String,
    first_blood_at: Option<String>,
}

/// Who solved what.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SolveMatrix {
    teams: Vec<MatrixTeam>,
    challenges: Vec<MatrixChallenge>,
    cells: Vec<MatrixCell>,
}

/// A row of the matrix: a team that tried.
#[derive(Debug, Serialize, ToSchema)]
struct MatrixTeam {
    team_id: String,
    name: String,
    solved: u32,
}

/// A column of the matrix.
#[derive(Debug, Serialize, ToSchema)]
struct MatrixChallenge {
    challenge_id: String,
    name: String,
    category: &'static str,
    difficulty: &'static str,
    solves_count: u32,
}

/// A team on a challenge; those that did not try are left out.
#[derive(Debug, Serialize, ToSchema)]
struct MatrixCell {
    team_id: String,
    challenge_id: String,
    solved: bool,
    solved_at: Option<String>,
    solve_time_s: f64,
    attempts: u32,
    first_blood: bool,
}

/// Numbers of a challenge over everything.
#[derive(Debug, Serialize, ToSchema)]
struct ChallengeStats {
    challenge_id: String,
    name: String,
    category: &'static str,
    difficulty: &'static str,
    solves_count: u32,
    total_attempts: u32,
    /// Percent, one decimal.
    success_rate: f64,
    flag_stats: Vec<FlagStats>,
}

/// Numbers of a question.
#[derive(Debug, Serialize, ToSchema)]
struct FlagStats {
    flag_id: String,
    solves_count: u32,
}

/// A person's place.
#[derive(Debug, Serialize, ToSchema)]
struct UserScoreboardEntry {
    rank: u32,
    user_id: String,
    display_name: String,
    avatar_url: &'static str,
    country: String,
    /// Challenges with any right answer of theirs.
    solved: u32,
    /// Questions that they answered rightly.
    flags_solved: u32,
    last_solve_at: Option<String>,
}

/// How many curves are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct Top {
    /// The best so many teams; at least 1, at most 50.
    #[param(required = false, default = 15)]
    top: usize,
}

impl FromParams for Top {
    fn read(params: &mut Params) -> Self {
        let top = params.integer("top", i64::MIN..=i64::MAX).unwrap_or(15).clamp(1, 50);
        Self { top: usize::try_from(top).unwrap_or(15) }
    }
}

/// Percent with one decimal; 0 of nothing.
fn percent(part: u32, whole: u32) -> f64 {
    if whole == 0 { 0.0 } else { (f64::from(part) / f64::from(whole) * 1000.0).round() / 10.0 }
}

/// What a competition is looked at with: its books, what of it one sees, and who tried what.
struct View {
    books: Books,
    /// `None` is everything.
    contest: Option<Arc<Contest>>,
    offered: LiveSet,
    eyes: Eyes,
    tries: Vec<Tries>,
}

impl View {
    /// Of competition `id`, for `caller`.
    async fn of(platform: &Platform, caller: &Maybe, id: &str) -> Answer<Self> {
        let contest = platform.contest(caller.0.as_ref(), id)?;
        Ok(Self {
            books: Books::read(platform).await?,
            offered: platform.offered(caller.0.as_ref(), &contest),
            eyes: eyes_of(platform, caller, &contest),
            tries: platform.tries(Some(&contest)).await?,
            contest: Some(contest),
        })
    }
}

/// How each team stands with each challenge.
struct Facts<'a> {
    /// The solves that count, by challenge and team.
    captured: BTreeMap<(&'a ChallengeId, TeamId), BTreeMap<&'a QuestionId, Timestamp>>,
    /// The first one of each challenge.
    first: BTreeMap<&'a ChallengeId, &'a Solve>,
}

impl<'a> Facts<'a> {
    fn of(solves: Vec<&'a Solve>) -> Self {
        let mut facts = Self { captured: BTreeMap::new(), first: BTreeMap::new() };
        for solve in solves {
            let key = (&solve.challenge, solve.team);
            facts.captured.entry(key).or_default().insert(&solve.question, solve.solved_at);
            facts.first.entry(&solve.challenge).or_insert(solve);
        }
        facts
    }

    /// When the team had every dynamic question; `None` while it has not.
    fn solved_at(&self, challenge: &Challenge, team: TeamId) -> Option<Timestamp> {
        let captured = self.captured.get(&(&challenge.id, team))?;
        let questions: BTreeSet<&QuestionId> = captured.keys().copied().collect();
        dynamic_questions(challenge).next()?;
        is_solved(Some(challenge), &questions).then(|| captured.values().max().copied()).flatten()
    }

    fn n_solved(&self, challenge: &Challenge) -> u32 {
        let teams = self.captured.keys().filter(|(id, _)| **id == challenge.id);
        as_u32(teams.filter(|(_, team)| self.solved_at(challenge, *team).is_some()).count())
    }
}

fn breakdown_of(view: &View) -> Vec<ChallengeRow> {
    let versions = view.books.versions();
    let ledger = view.books.ledger(view.contest.as_deref(), &versions, view.eyes);
    let names: BTreeMap<TeamId, &str> =
        ledger.entrants().map(|team| (team.id, team.name.as_str())).collect();
    let facts = Facts::of(ledger.counted());
    let row = |challenge: &Challenge| {
        let own = view
            .tries
            .iter()
            .filter(|it| it.challenge == challenge.id && names.contains_key(&it.team));
        let (attempts, n_correct) =
            own.fold((0, 0), |(n, n_correct), it| (n + it.n, n_correct + it.n_correct));
        let first = facts.first.get(&challenge.id);
        let name = first.and_then(|it| names.get(&it.team)).copied().unwrap_or_default();
        ChallengeRow {
            challenge_id: challenge.id.to_string(),
            name: challenge.metadata.name.clone(),
            category: challenge.metadata.category.as_str(),
            difficulty: challenge.metadata.difficulty.as_str(),
            solves_count: facts.n_solved(challenge),
            attempts,
            success_rate: percent(n_correct, attempts),
            first_blood_team_id: first.map(|it| it.team.to_string()).unwrap_or_default(),
            first_blood_team_name: name.to_owned(),
            first_blood_at: first.map(|it| it.solved_at.rfc3339()),
        }
    };
    view.offered.values().map(|live| row(&live.challenge)).collect()
}

/// Which team solved what, over all competitions; for organizers.
pub(crate) async fn whole_matrix(platform: &Platform) -> Answer<SolveMatrix> {
    let view = View {
        books: Books::read(platform).await?,
        contest: None,
        offered: (*platform.live()).clone(),
        eyes: Eyes::Organizer,
        tries: platform.tries(None).await?,
    };
    Ok(matrix_of(&view))
}

fn matrix_of(view: &View) -> SolveMatrix {
    let versions = view.books.versions();
    let ledger = view.books.ledger(view.contest.as_deref(), &versions, view.eyes);
    let facts = Facts::of(ledger.counted());
    let places = ledger.places();
    let entrants: BTreeSet<TeamId> = places.iter().map(|place| place.team).collect();
    let is_shown =
        |it: &&Tries| entrants.contains(&it.team) && view.offered.contains_key(&it.challenge);
    let shown: Vec<&Tries> = view.tries.iter().filter(is_shown).collect();
    let tried: BTreeSet<TeamId> = shown.iter().map(|it| it.team).collect();
    let cell = |it: &Tries| {
        let challenge = &view.offered[&it.challenge].challenge;
        let solved_at = facts.solved_at(challenge, it.team);
        MatrixCell {
            team_id: it.team.to_string(),
            challenge_id: it.challenge.to_string(),
            solved: solved_at.is_some(),
            solved_at: solved_at.map(Timestamp::rfc3339),
            solve_time_s: if solved_at.is_some() { it.solve_time_secs } else { 0.0 },
            attempts: it.n,
            first_blood: facts.first.get(&it.challenge).is_some_and(|first| first.team == it.team),
        }
    };
    SolveMatrix {
        teams: places
            .iter()
            .filter(|place| tried.contains(&place.team))
            .map(|place| MatrixTeam {
                team_id: place.team.to_string(),
                name: place.name.clone(),
                solved: place.n_solved,
            })
            .collect(),
        challenges: view
            .offered
            .values()
            .map(|live| MatrixChallenge {
                challenge_id: live.challenge.id.to_string(),
                name: live.challenge.metadata.name.clone(),
                category: live.challenge.metadata.category.as_str(),
                difficulty: live.challenge.metadata.difficulty.as_str(),
                solves_count: facts.n_solved(&live.challenge),
            })
            .collect(),
        cells: shown.into_iter().map(cell).collect(),
    }
}

/// How the scores of a competition are spread.
#[utoipa::path(get, path = "/competitions/{competition_id}/scoreboard/distribution",
    tag = "standings", params(("competition_id" = String, Path)),
    responses((status = 200, body = ScoreDistribution), (status = 404, body = Envelope)))]
async fn bars(
    State(platform): State<Platform>,
    caller: Maybe,
    Path(id): Path<String>,
) -> Answer<Json<ScoreDistribution>> {
    let contest = platform.contest(caller.0.as_ref(), &id)?;
    let books = Books::read(&platform).await?;
    let versions = books.versions();
    let eyes = eyes_of(&platform, &caller, &contest);
    let places = books.ledger(Some(&contest), &versions, eyes).places();
    let bins = distribution(&places).into_iter();
    let bins = bins.map(|(label, count)| ScoreBucket { label, count }).collect();
    Ok(Json(ScoreDistribution { total_teams: as_u32(places.len()), bins }))
}

/// How the scores of the best teams of a competition grew.
#[utoipa::path(get, path = "/competitions/{competition_id}/score-history", tag = "standings",
    params(("competition_id" = String, Path), Top),
    responses((status = 200, body = ScoreHistory), (status = 404, body = Envelope)))]
async fn curves(
    State(platform): State<Platform>,
    caller: Maybe,
    Path(id): Path<String>,
    Query(wanted): Query<Top>,
) -> Answer<Json<ScoreHistory>> {
    let contest = platform.contest(caller.0.as_ref(), &id)?;
    let books = Books::read(&platform).await?;
    let versions = books.versions();
    let eyes = eyes_of(&platform, &caller, &contest);
    let history = books.ledger(Some(&contest), &versions, eyes).history(wanted.top);
    let series = history.into_iter().map(|(place, samples)| ScoreSeries {
        team_id: place.team.to_string(),
        team_name: place.name,
        points: samples
            .into_iter()
            .map(|it| ScorePoint { ts: it.at.as_secs_f64(), score: it.score, rank: it.rank })
            .collect(),
    });
    let generated_at = platform.now().as_secs_f64();
    Ok(Json(ScoreHistory { series: series.collect(), generated_at }))
}

/// What became of each challenge of a competition.
#[utoipa::path(get, path = "/competitions/{competition_id}/challenge-breakdown",
    tag = "standings", params(("competition_id" = String, Path)),
    responses((status = 200, body = ChallengeBreakdown), (status = 404, body = Envelope)))]
async fn breakdown(
    State(platform): State<Platform>,
    caller: Maybe,
    Path(id): Path<String>,
) -> Answer<Json<ChallengeBreakdown>> {
    let view = View::of(&platform, &caller, &id).await?;
    let challenges = breakdown_of(&view);
    Ok(Json(ChallengeBreakdown { challenges, generated_at: platform.now().as_secs_f64() }))
}

/// Which team of a competition solved what.
#[utoipa::path(get, path = "/competitions/{competition_id}/solve-matrix", tag = "standings",
    params(("competition_id" = String, Path)),
    responses((status = 200, body = SolveMatrix), (status = 404, body = Envelope)))]
async fn matrix(
    State(platform): State<Platform>,
    caller: Maybe,
    Path(id): Path<String>,
) -> Answer<Json<SolveMatrix>> {
    let view = View::of(&platform, &caller, &id).await?;
    Ok(Json(matrix_of(&view)))
}

/// Numbers of every challenge that everybody sees.
#[utoipa::path(get, path = "/scoreboard/challenges", tag = "standings", params(PageParams),
    responses((status = 200, body = Page<ChallengeStats>)))]
async fn challenge_stats(
    State(platform): State<Platform>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<ChallengeStats>>> {
    let seen = platform.catalogue(None, "");
    let solves = platform.solves().await?;
    let tally = solves.tally();
    let tries = platform.tries(None).await?;
    let row = |challenge: &Challenge| {
        let own = tries.iter().filter(|it| it.challenge == challenge.id);
        let (attempts, n_correct) =
            own.fold((0, 0), |(n, n_correct), it| (n + it.n, n_correct + it.n_correct));
        ChallengeStats {
            challenge_id: challenge.id.to_string(),
            name: challenge.metadata.name.clone(),
            category: challenge.metadata.category.as_str(),
            difficulty: challenge.metadata.difficulty.as_str(),
            solves_count: as_u32(tally.n_full_solves(challenge)),
            total_attempts: attempts,
            success_rate: percent(n_correct, attempts),
            flag_stats: dynamic_questions(challenge)
                .map(|question| FlagStats {
                    flag_id: question.to_string(),
                    solves_count: as_u32(tally.n_teams(&challenge.id, question)),
                })
                .collect(),
        }
    };
    Ok(Json(Page::of(seen.values().map(|live| row(&live.challenge)).collect(), page)))
}

/// Everybody who answered a question rightly, best first.
#[utoipa::path(get, path = "/scoreboard/users", tag = "standings", params(PageParams),
    responses((status = 200, body = Page<UserScoreboardEntry>)))]
async fn people(
    State(platform): State<Platform>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<UserScoreboardEntry>>> {
    let mut rows = Vec::new();
    for row in platform.best_people().await? {
        let profile = &row.account.profile;
        let is_shown = |what: &str| profile.visibility.get(what).copied().unwrap_or(true);
        let country = profile.country.clone().filter(|_| is_shown("country"));
        rows.push(UserScoreboardEntry {
            rank: as_u32(rows.len() + 1),
            user_id: row.account.id.to_string(),
            display_name: row.account.name.clone(),
            avatar_url: "",
            country: country.unwrap_or_default(),
            solved: row.n_challenges,
            flags_solved: row.n_questions,
            last_solve_at: Some(row.last_at.rfc3339()),
        });
    }
    Ok(Json(Page::of(rows, page)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_one_decimal_and_nothing_is_zero() {
        assert_eq!([percent(1, 3), percent(2, 2), percent(0, 0)], [33.3, 100.0, 0.0]);
    }
}
