//! The one competition there is: `default`, always running, with every challenge and every team.
//!
//! The contract's clients play inside a competition; ours have one without declaring it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Maybe;
use super::catalogue::{ChallengeInfo, Filter};
use super::challenges;
use super::error::{Answer, ApiError, Envelope, cut, not_registered};
use super::extract::{FromParams, Params, Path, Query};
use super::page::{Page, PageParams};
use super::standings::{ScoreboardEntry, as_u32, standings};
use crate::daemon::platform::{COMPETITION_TITLE as TITLE, Platform};
use crate::model::{Caller, InstanceStatus, Team, TeamId};

/// Its id.
pub(crate) const COMPETITION: &str = "default";

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one)).routes(routes!(challenges_of))
}

/// A competition in a listing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct CompetitionInfo {
    id: &'static str,
    title: &'static str,
    description: &'static str,
    starts_at: Option<String>,
    ends_at: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
    created_by: &'static str,
    created_by_name: &'static str,
    challenge_ids: Vec<String>,
    /// Always `published`.
    status: &'static str,
    /// Always `public`.
    access: &'static str,
    /// Always `running`.
    phase: &'static str,
    registered_count: u32,
    is_registered: bool,
    can_participate: bool,
    my_team_id: String,
    my_team_name: String,
    /// `captain`, or empty.
    my_role: &'static str,
    /// −1 without a team; likewise below.
    my_rank: i64,
    my_score: i64,
    my_solves: i64,
}

/// A competition with its challenges.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct CompetitionDetail {
    #[serde(flatten)]
    info: CompetitionInfo,
    challenges: Vec<ChallengeInfo>,
    registered_at: Option<String>,
}

/// The caller's team in a competition.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Membership {
    competition_id: &'static str,
    competition_title: &'static str,
    competition_phase: &'static str,
    team_id: String,
    team_name: String,
    role: &'static str,
    /// Instances that are starting or ready.
    running_instances: u32,
    starts_at: Option<String>,
    ends_at: Option<String>,
    my_rank: i64,
    competition_team_count: u32,
}

/// A team with its row on the wire.
pub(crate) struct Belonging {
    /// The team.
    pub(crate) team: Team,
    /// The row.
    pub(crate) row: Membership,
}

/// Which competitions are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct InPhase {
    /// `upcoming`, `running` or `past`.
    #[param(required = false)]
    phase: String,
}

impl FromParams for InPhase {
    fn read(params: &mut Params) -> Self {
        Self { phase: params.word("phase", &["upcoming", "running", "past"]) }
    }
}

/// Accepts the id of the one competition.
pub(crate) fn known(id: &str) -> Result<(), ApiError> {
    if id == COMPETITION {
        return Ok(());
    }
    let text = format!("Competition not found: {}", cut(id));
    Err(ApiError::plain(StatusCode::NOT_FOUND, &text))
}

/// The team `id` among all; a token outlives its team for a moment only.
pub(crate) async fn team_of(platform: &Platform, id: TeamId) -> Answer<Team> {
    let teams = platform.teams().await?;
    teams.into_iter().find(|team| team.id == id).ok_or_else(|| not_registered(COMPETITION))
}

/// The caller's team and how it stands.
pub(crate) async fn membership(
    platform: &Platform,
    caller: &Caller,
    id: TeamId,
) -> Answer<Belonging> {
    let team = team_of(platform, id).await?;
    let table = standings(platform).await?;
    let instances = platform.instances(caller).await?;
    let is_running = |status: InstanceStatus| {
        [InstanceStatus::Starting, InstanceStatus::Ready].contains(&status)
    };
    let n_running = instances.iter().filter(|one| one.team == id && is_running(one.status()));
    let row = Membership {
        competition_id: COMPETITION,
        competition_title: TITLE,
        competition_phase: "running",
        team_id: id.to_string(),
        team_name: team.name.clone(),
        role: "captain",
        running_instances: as_u32(n_running.count()),
        starts_at: None,
        ends_at: None,
        my_rank: own_row(&table, id).map_or(-1, |row| i64::from(row.rank)),
        competition_team_count: as_u32(table.len()),
    };
    Ok(Belonging { team, row })
}

fn own_row(table: &[ScoreboardEntry], team: TeamId) -> Option<&ScoreboardEntry> {
    let id = team.to_string();
    table.iter().find(|row| row.team_id == id)
}

/// The competition as a team sees it; pure.
fn describe(
    table: &[ScoreboardEntry],
    team: Option<TeamId>,
    challenge_ids: Vec<String>,
    created_at: String,
) -> CompetitionInfo {
    let row = team.and_then(|team| own_row(table, team));
    CompetitionInfo {
        id: COMPETITION,
        title: TITLE,
        description: "Every challenge of this platform, for every team, at all times.",
        starts_at: None,
        ends_at: None,
        created_at: Some(created_at.clone()),
        updated_at: Some(created_at),
        created_by: "",
        created_by_name: "flagops",
        challenge_ids,
        status: "published",
        access: "public",
        phase: "running",
        registered_count: as_u32(table.len()),
        is_registered: row.is_some(),
        can_participate: true,
        my_team_id: row.map(|row| row.team_id.clone()).unwrap_or_default(),
        my_team_name: row.map(|row| row.team_name.clone()).unwrap_or_default(),
        my_role: if row.is_some() { "captain" } else { "" },
        my_rank: row.map_or(-1, |row| i64::from(row.rank)),
        my_score: row.map_or(-1, |row| i64::from(row.flags_solved)),
        my_solves: row.map_or(-1, |row| i64::from(row.solved)),
    }
}

async fn detail(platform: &Platform, caller: &Maybe) -> Answer<CompetitionDetail> {
    let table = standings(platform).await?;
    let challenges = challenges::rows(platform, caller, &Filter::default()).await?;
    let ids = challenges.iter().map(|challenge| challenge.id.clone()).collect();
    let info = describe(&table, caller.team(), ids, platform.started_at().rfc3339());
    let registered_at = match caller.team() {
        Some(team) if info.is_registered => {
            Some(team_of(platform, team).await?.created_at.rfc3339())
        }
        _ => None,
    };
    Ok(CompetitionDetail { info, challenges, registered_at })
}

/// Every competition: the one there is.
#[utoipa::path(get, path = "/competitions", tag = "competitions", params(InPhase, PageParams),
    responses((status = 200, body = Page<CompetitionInfo>), (status = 422, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    caller: Maybe,
    Query((wanted, page)): Query<(InPhase, PageParams)>,
) -> Answer<Json<Page<CompetitionInfo>>> {
    let mut rows = vec![detail(&platform, &caller).await?.info];
    rows.retain(|row| wanted.phase.is_empty() || wanted.phase == row.phase);
    Ok(Json(Page::of(rows, page)))
}

/// One competition with its challenges.
#[utoipa::path(get, path = "/competitions/{competition_id}", tag = "competitions",
    params(("competition_id" = String, Path, description = "`default`")),
    responses((status = 200, body = CompetitionDetail), (status = 404, body = Envelope)))]
async fn one(
    State(platform): State<Platform>,
    caller: Maybe,
    Path(id): Path<String>,
) -> Answer<Json<CompetitionDetail>> {
    known(&id)?;
    Ok(Json(detail(&platform, &caller).await?))
}

/// The challenges of a competition, filtered.
#[utoipa::path(get, path = "/competitions/{competition_id}/challenges", tag = "competitions",
    params(("competition_id" = String, Path, description = "`default`"), Filter, PageParams),
    responses((status = 200, body = Page<ChallengeInfo>), (status = 404, body = Envelope)))]
async fn challenges_of(
    State(platform): State<Platform>,
    caller: Maybe,
    Path(id): Path<String>,
    Query((filter, page)): Query<(Filter, PageParams)>,
) -> Answer<Json<Page<ChallengeInfo>>> {
    known(&id)?;
    let filter = Filter { competition_id: String::new(), ..filter };
    Ok(Json(Page::of(challenges::rows(&platform, &caller, &filter).await?, page)))
}
