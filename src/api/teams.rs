//! Teams: registering in the competition, and the list of those who play.
//!
//! A token belongs to a team, so registering gives back the team that the token already has.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Player;
use super::competitions::{COMPETITION, team_of};
use super::error::{Answer, ApiError, Envelope, cut};
use super::extract::{Body, Path, Query};
use super::page::{Page, PageParams};
use super::standings::{ScoreboardEntry, standings};
use crate::daemon::platform::Platform;
use crate::model::{Team, TeamId};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(register_by_name))
        .routes(routes!(redeem))
        .routes(routes!(list))
        .routes(routes!(one))
}

/// How to register. Every mode gives the token's own team.
#[derive(Debug, Deserialize, ToSchema)]
struct RegisterBody {
    #[serde(rename = "mode")]
    _mode: Mode,
}

/// The contract's words for it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// Play alone.
    Solo,
    /// Make a team.
    Create,
}

/// A code of an invitation.
#[derive(Debug, Deserialize, ToSchema)]
struct RedeemBody {
    #[serde(rename = "code")]
    _code: String,
}

/// A team with its members.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct TeamDetail {
    #[serde(flatten)]
    team: TeamInfo,
    competition_id: &'static str,
    members: Vec<TeamMemberInfo>,
}

/// A team in a listing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct TeamInfo {
    id: String,
    name: String,
    description: String,
    captain_user_id: String,
    captain_display_name: String,
    captain_avatar_url: String,
    member_count: u32,
    created_at: Option<String>,
    /// Questions captured.
    solves: u32,
    attempts: u32,
    last_active_at: Option<String>,
}

/// A member. Tokens belong to teams, so a team has one: itself.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct TeamMemberInfo {
    user_id: String,
    display_name: String,
    avatar_url: String,
    is_captain: bool,
    joined_at: Option<String>,
}

fn info(team: &Team, row: Option<&ScoreboardEntry>) -> TeamInfo {
    TeamInfo {
        id: team.id.to_string(),
        name: team.name.clone(),
        description: String::new(),
        captain_user_id: team.id.to_string(),
        captain_display_name: team.name.clone(),
        captain_avatar_url: String::new(),
        member_count: 1,
        created_at: Some(team.created_at.rfc3339()),
        solves: row.map_or(0, |row| row.flags_solved),
        attempts: row.map_or(0, |row| row.attempts),
        last_active_at: row.and_then(|row| row.last_active_at.clone()),
    }
}

fn detail(team: &Team, row: Option<&ScoreboardEntry>) -> TeamDetail {
    let member = TeamMemberInfo {
        user_id: team.id.to_string(),
        display_name: team.name.clone(),
        avatar_url: String::new(),
        is_captain: true,
        joined_at: Some(team.created_at.rfc3339()),
    };
    TeamDetail { team: info(team, row), competition_id: COMPETITION, members: vec![member] }
}

async fn load(platform: &Platform, team: TeamId) -> Answer<TeamDetail> {
    let team = team_of(platform, team).await?;
    let id = team.id.to_string();
    let table = standings(platform).await?;
    Ok(detail(&team, table.iter().find(|row| row.team_id == id)))
}

fn of_competition(id: &str) -> Result<(), ApiError> {
    if id == COMPETITION {
        return Ok(());
    }
    let text = format!("Competition not found: {}", cut(id));
    Err(ApiError::new(StatusCode::NOT_FOUND, "competition_not_found", text))
}

/// Registers the caller: gives the team that the token belongs to, however often it is asked.
#[utoipa::path(post, path = "/competitions/{competition_id}/teams", tag = "competitions",
    security(("bearer" = [])),
    params(("competition_id" = String, Path, description = "`default`")),
    request_body = RegisterBody,
    responses((status = 201, body = TeamDetail), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope)))]
async fn register(
    State(platform): State<Platform>,
    Player { team, .. }: Player,
    Path(competition): Path<String>,
    Body(_body): Body<RegisterBody>,
) -> Answer<(StatusCode, Json<TeamDetail>)> {
    of_competition(&competition)?;
    Ok((StatusCode::CREATED, Json(load(&platform, team).await?)))
}

/// As `POST /competitions/{competition_id}/teams`.
#[utoipa::path(post, path = "/competitions/{competition_id}/register", tag = "competitions",
    security(("bearer" = [])),
    params(("competition_id" = String, Path, description = "`default`")),
    request_body = RegisterBody,
    responses((status = 201, body = TeamDetail), (status = 404, body = Envelope)))]
async fn register_by_name(
    platform: State<Platform>,
    player: Player,
    competition: Path<String>,
    body: Body<RegisterBody>,
) -> Answer<(StatusCode, Json<TeamDetail>)> {
    register(platform, player, competition, body).await
}

/// Joins a team by code. There are no codes: an operator gives out tokens of a team instead.
#[utoipa::path(post, path = "/competitions/{competition_id}/teams/redeem", tag = "competitions",
    security(("bearer" = [])),
    params(("competition_id" = String, Path, description = "`default`")),
    request_body = RedeemBody,
    responses((status = 404, body = Envelope, description = "`invite_not_found`")))]
async fn redeem(
    _player: Player,
    Path(competition): Path<String>,
    Body(_body): Body<RedeemBody>,
) -> Answer<Json<TeamDetail>> {
    of_competition(&competition)?;
    let text = "there are no invite codes here: ask an operator for a token of the team";
    Err(ApiError::new(StatusCode::NOT_FOUND, "invite_not_found", text))
}

/// Every team, by name.
#[utoipa::path(get, path = "/teams", tag = "competitions", params(PageParams),
    responses((status = 200, body = Page<TeamInfo>)))]
async fn list(
    State(platform): State<Platform>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<TeamInfo>>> {
    let teams = platform.teams().await?;
    let table = standings(&platform).await?;
    let rows: BTreeMap<_, _> = table.iter().map(|row| (row.team_id.as_str(), row)).collect();
    let row = |team: &Team| info(team, rows.get(team.id.to_string().as_str()).copied());
    Ok(Json(Page::of(teams.iter().map(row).collect(), page)))
}

/// One team.
#[utoipa::path(get, path = "/teams/{team_id}", tag = "competitions",
    params(("team_id" = String, Path)),
    responses((status = 200, body = TeamDetail), (status = 404, body = Envelope)))]
async fn one(State(platform): State<Platform>, Path(id): Path<String>) -> Answer<Json<TeamDetail>> {
    let unknown = || {
        let text = format!("Team {} not found", cut(&id));
        ApiError::new(StatusCode::NOT_FOUND, "team_not_found", text)
    };
    let wanted = id.parse::<TeamId>().map_err(|_| unknown())?;
    let teams = platform.teams().await?;
    let team = teams.iter().find(|team| team.id == wanted).ok_or_else(unknown)?;
    Ok(Json(load(&platform, team.id).await?))
}
