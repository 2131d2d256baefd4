//! Who leads: the tables of `contest::standings` on the wire, and who captured what.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Maybe;
use super::error::{Answer, Envelope};
use super::extract::{Path, Query};
use super::page::{Page, PageParams};
use crate::contest::Contest;
pub(crate) use crate::contest::standings::dynamic_questions;
use crate::contest::standings::{Eyes, Ledger, Place, Versions};
use crate::contest::tally::Solves;
use crate::daemon::platform::{LiveSet, Platform};
use crate::model::{Team, TeamId, Timestamp};

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
    /// Questions captured.
    pub(crate) flags_solved: u32,
    /// Points, by the rules of the competition; one for each question where it has none.
    pub(crate) score: u64,
    /// Right and wrong answers; 0 for a team without a solve.
    pub(crate) attempts: u32,
    pub(crate) last_solve_at: Option<String>,
    pub(crate) last_active_at: Option<String>,
    pub(crate) avatar_url: String,
}

/// A count for the wire; more than four billion of anything is as good as that.
pub(crate) fn as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Everything that standings are made from, read once.
pub(crate) struct Books {
    teams: Vec<Team>,
    solves: Arc<Solves>,
    live: Arc<LiveSet>,
    now: Timestamp,
}

impl Books {
    /// Reads them.
    pub(crate) async fn read(platform: &Platform) -> Answer<Self> {
        Ok(Self {
            teams: platform.teams().await?,
            solves: platform.solves().await?,
            live: platform.live(),
            now: platform.now(),
        })
    }

    /// The versions of challenges that are live.
    pub(crate) fn versions(&self) -> Versions<'_> {
        self.live.iter().map(|(id, live)| (id, &*live.challenge)).collect()
    }

    /// The ledger of a competition, or of everything.
    pub(crate) fn ledger<'a>(
        &'a self,
        contest: Option<&'a Contest>,
        versions: &'a Versions<'a>,
        eyes: Eyes,
    ) -> Ledger<'a> {
        let Self { teams, solves, now, .. } = self;
        Ledger { contest, teams, solves, versions, eyes, now: *now }
    }
}

fn entry(place: Place, attempts: &BTreeMap<TeamId, u32>) -> ScoreboardEntry {
    let last = place.last_at.map(Timestamp::rfc3339);
    ScoreboardEntry {
        rank: place.rank,
        team_id: place.team.to_string(),
        team_name: place.name,
        solved: place.n_solved,
        flags_solved: place.n_flags,
        score: place.score,
        attempts: last.as_ref().and(attempts.get(&place.team)).copied().unwrap_or(0),
        last_solve_at: last.clone(),
        last_active_at: last,
        avatar_url: String::new(),
    }
}

/// The standings of a competition as players see them.
pub(crate) async fn of(platform: &Platform, contest: &Contest) -> Answer<Vec<ScoreboardEntry>> {
    let places = platform.places(contest, Eyes::Public).await?;
    let attempts = platform.attempts().await?;
    Ok(places.iter().map(|place| entry(place.clone(), &attempts)).collect())
}

/// How far the caller sees: who runs a competition looks through its freeze.
pub(crate) fn eyes_of(platform: &Platform, caller: &Maybe, contest: &Contest) -> Eyes {
    if platform.runs(caller.0.as_ref(), contest) { Eyes::Organizer } else { Eyes::Public }
}

/// Standings of a competition: every team, best first.
#[utoipa::path(get, path = "/competitions/{competition_id}/scoreboard", tag = "standings",
    params(("competition_id" = String, Path), PageParams),
    responses((status = 200, body = Page<ScoreboardEntry>), (status = 404, body = Envelope)))]
async fn of_competition(
    State(platform): State<Platform>,
    caller: Maybe,
    Path(competition): Path<String>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<ScoreboardEntry>>> {
    let contest = platform.contest(caller.0.as_ref(), &competition)?;
    let eyes = eyes_of(&platform, &caller, &contest);
    let places = platform.places(&contest, eyes).await?;
    Ok(Json(page_of(&platform, &places, page).await?))
}

/// Standings of everything, a point for each question: every team of the competitions that
/// everybody sees, best first.
#[utoipa::path(get, path = "/scoreboard", tag = "standings", params(PageParams),
    responses((status = 200, body = Page<ScoreboardEntry>)))]
async fn global(
    State(platform): State<Platform>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<ScoreboardEntry>>> {
    let places = platform.places_of_everything().await?;
    Ok(Json(page_of(&platform, &places, page).await?))
}

/// One page of a table: what is not on it is not written out.
async fn page_of(
    platform: &Platform,
    places: &[Place],
    page: PageParams,
) -> Answer<Page<ScoreboardEntry>> {
    let attempts = platform.attempts().await?;
    let wanted = places.iter().skip(page.offset).take(page.limit);
    let items = wanted.map(|place| entry(place.clone(), &attempts)).collect();
    Ok(Page { items, total: places.len(), limit: page.limit, offset: page.offset })
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
        let now = Timestamp::from_millis(90_000);
        let books = Books {
            teams,
            solves: Arc::new(Solves::of(solves.to_vec())),
            live: Arc::new(live),
            now,
        };
        let versions = books.versions();
        let places = books.ledger(None, &versions, Eyes::Public).places();
        let table: Vec<_> = places
            .into_iter()
            .map(|place| entry(place, &attempts))
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
}
