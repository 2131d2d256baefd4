//! Teams: registering in a competition, and the list of those who play.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Signed, TeamsRead, TeamsWrite};
use super::error::{Answer, ApiError, Envelope, cut};
use super::extract::{Body, Faults, FromParams, Params, Path, Query};
use super::page::{Page, PageParams};
use super::standings::as_u32;
use crate::daemon::platform::{Denial, EntryWish, Platform, PlatformError};
use crate::model::{Member, Team, TeamId, Timestamp};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(register_by_name))
        .routes(routes!(redeem))
        .routes(routes!(search))
        .routes(routes!(change))
        .routes(routes!(leave))
        .routes(routes!(kick))
        .routes(routes!(list))
        .routes(routes!(one))
}

/// How to register.
#[derive(Debug, Deserialize, ToSchema)]
struct RegisterBody {
    #[serde(default)]
    mode: Mode,
    /// The name of a new team.
    #[serde(default)]
    #[schema(max_length = 80)]
    name: String,
    #[serde(default)]
    #[schema(max_length = 2000)]
    description: String,
}

/// The contract's words for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// Play alone; again gives the team that one has.
    #[default]
    Solo,
    /// Make a team.
    Create,
}

/// A code of an invitation.
#[derive(Debug, Deserialize, ToSchema)]
struct RedeemBody {
    #[schema(min_length = 1, max_length = 64)]
    code: String,
}

/// What changes; null and absent stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
struct ChangeBody {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 80)]
    name: Option<String>,
    #[serde(default)]
    #[schema(max_length = 2000)]
    description: Option<String>,
}

/// A team with its members.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct TeamDetail {
    #[serde(flatten)]
    team: TeamInfo,
    members: Vec<TeamMemberInfo>,
}

/// A team in a listing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct TeamInfo {
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
    competition_id: String,
}

/// A member. A team that has tokens of its own has one: itself.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct TeamMemberInfo {
    user_id: String,
    display_name: String,
    avatar_url: String,
    is_captain: bool,
    joined_at: Option<String>,
}

/// Which teams are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct Search {
    /// Part of a name in any case, or an id; nothing is found without.
    #[param(required = false)]
    q: String,
}

impl FromParams for Search {
    fn read(params: &mut Params) -> Self {
        Self { q: params.text("q") }
    }
}

/// What a team did.
#[derive(Debug, Clone, Copy, Default)]
struct Deeds {
    solves: u32,
    attempts: u32,
    last_at: Option<Timestamp>,
}

/// Everything about teams, read once.
struct Rolls {
    members: BTreeMap<TeamId, Vec<Member>>,
    deeds: BTreeMap<TeamId, Deeds>,
}

impl Rolls {
    async fn read(platform: &Platform) -> Answer<Self> {
        let mut deeds: BTreeMap<TeamId, Deeds> = BTreeMap::new();
        for solve in platform.solves().await?.iter() {
            deeds.entry(solve.team).or_default().solves += 1;
        }
        for (team, (n, last_at)) in platform.activity_of_teams().await? {
            let deeds = deeds.entry(team).or_default();
            (deeds.attempts, deeds.last_at) = (n, Some(last_at));
        }
        Ok(Self { members: platform.members().await?, deeds })
    }

    fn info(&self, team: &Team) -> TeamInfo {
        let members = self.members.get(&team.id).map(Vec::as_slice).unwrap_or_default();
        let captain = members.iter().find(|member| Some(member.user) == team.captain);
        let deeds = self.deeds.get(&team.id).copied().unwrap_or_default();
        TeamInfo {
            id: team.id.to_string(),
            name: team.name.clone(),
            description: team.description.clone(),
            captain_user_id: team
                .captain
                .map_or_else(|| team.id.to_string(), |user| user.to_string()),
            captain_display_name: captain.map_or_else(|| team.name.clone(), |it| it.name.clone()),
            captain_avatar_url: String::new(),
            member_count: as_u32(members.len().max(usize::from(team.captain.is_none()))),
            created_at: Some(team.created_at.rfc3339()),
            solves: deeds.solves,
            attempts: deeds.attempts,
            last_active_at: deeds.last_at.map(|at| at.rfc3339()),
            competition_id: team.competition.to_string(),
        }
    }

    fn detail(&self, team: &Team) -> TeamDetail {
        let mut members: Vec<&Member> = self.members.get(&team.id).into_iter().flatten().collect();
        members.sort_by_key(|it| (Some(it.user) != team.captain, it.joined_at, it.user));
        let row = |member: &Member| TeamMemberInfo {
            user_id: member.user.to_string(),
            display_name: member.name.clone(),
            avatar_url: String::new(),
            is_captain: Some(member.user) == team.captain,
            joined_at: Some(member.joined_at.rfc3339()),
        };
        let mut rows: Vec<_> = members.into_iter().map(row).collect();
        if team.captain.is_none() {
            let own = TeamMemberInfo {
                user_id: team.id.to_string(),
                display_name: team.name.clone(),
                avatar_url: String::new(),
                is_captain: true,
                joined_at: Some(team.created_at.rfc3339()),
            };
            rows.insert(0, own);
        }
        TeamDetail { team: self.info(team), members: rows }
    }
}

/// A team with its members.
pub(crate) async fn detail(platform: &Platform, team: &Team) -> Answer<TeamDetail> {
    Ok(Rolls::read(platform).await?.detail(team))
}

/// Registers the caller: alone, or with a new team.
#[utoipa::path(post, path = "/competitions/{competition_id}/teams", tag = "teams",
    security(("bearer" = [])), params(("competition_id" = String, Path)),
    request_body = RegisterBody,
    responses((status = 201, body = TeamDetail), (status = 403, body = Envelope),
        (status = 404, body = Envelope, description = "`competition_not_found`"),
        (status = 409, body = Envelope,
            description = "`already_member`, `competition_ended`, `registration_closed`, `team_name_taken`"),
        (status = 422, body = Envelope, description = "`team_name_required`")))]
async fn register(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path(competition): Path<String>,
    Body(body): Body<RegisterBody>,
) -> Answer<(StatusCode, Json<TeamDetail>)> {
    let mut faults = Faults::default();
    faults.length("name", &body.name, 0..=80);
    faults.length("description", &body.description, 0..=2000);
    faults.finish()?;
    let contest = platform.contest_to_enter(&caller, &competition)?;
    let name = body.name.trim().to_owned();
    let wish = match body.mode {
        Mode::Solo => EntryWish::Solo,
        Mode::Create if name.is_empty() => {
            let denial = Denial::invalid("team_name_required", "a team needs a name");
            return Err(PlatformError::from(denial).into());
        }
        Mode::Create => EntryWish::Create(name, body.description),
    };
    let team = platform.enter(&caller, &contest, wish).await?;
    Ok((StatusCode::CREATED, Json(detail(&platform, &team).await?)))
}

/// As `POST /competitions/{competition_id}/teams`.
#[utoipa::path(post, path = "/competitions/{competition_id}/register", tag = "teams",
    security(("bearer" = [])), params(("competition_id" = String, Path)),
    request_body = RegisterBody,
    responses((status = 201, body = TeamDetail), (status = 404, body = Envelope)))]
async fn register_by_name(
    platform: State<Platform>,
    caller: Signed<TeamsWrite>,
    competition: Path<String>,
    body: Body<RegisterBody>,
) -> Answer<(StatusCode, Json<TeamDetail>)> {
    register(platform, caller, competition, body).await
}

/// Joins a team by code.
#[utoipa::path(post, path = "/competitions/{competition_id}/teams/redeem", tag = "teams",
    security(("bearer" = [])), params(("competition_id" = String, Path)),
    request_body = RedeemBody,
    responses((status = 200, body = TeamDetail),
        (status = 404, body = Envelope, description = "`invite_not_found`"),
        (status = 409, body = Envelope,
            description = "`already_member`, `wrong_competition`, `expired_or_revoked`, `team_deleted`, `team_full`")))]
async fn redeem(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path(competition): Path<String>,
    Body(body): Body<RedeemBody>,
) -> Answer<Json<TeamDetail>> {
    let mut faults = Faults::default();
    faults.length("code", &body.code, 1..=64);
    faults.finish()?;
    let contest = platform.contest_to_enter(&caller, &competition)?;
    let team = platform.enter(&caller, &contest, EntryWish::Code(body.code)).await?;
    Ok(Json(detail(&platform, &team).await?))
}

/// Teams of a competition by part of their name, or by id.
#[utoipa::path(get, path = "/competitions/{competition_id}/teams/search", tag = "teams",
    security(("bearer" = [])), params(("competition_id" = String, Path), Search, PageParams),
    responses((status = 200, body = Page<TeamInfo>), (status = 404, body = Envelope)))]
async fn search(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsRead>,
    Path(competition): Path<String>,
    Query((wanted, page)): Query<(Search, PageParams)>,
) -> Answer<Json<Page<TeamInfo>>> {
    let contest = platform.contest(Some(&caller), &competition)?;
    let text = wanted.q.trim().to_lowercase();
    let mut teams = platform.teams_of(&contest).await?;
    teams.retain(|team| {
        !text.is_empty()
            && (team.name.to_lowercase().contains(&text) || team.id.to_string() == text)
    });
    let rolls = Rolls::read(&platform).await?;
    Ok(Json(Page::of(teams.iter().map(|team| rolls.info(team)).collect(), page)))
}

/// Changes name and description of the caller's team (captain).
#[utoipa::path(patch, path = "/competitions/{competition_id}/team", tag = "teams",
    security(("bearer" = [])), params(("competition_id" = String, Path)),
    request_body = ChangeBody,
    responses((status = 200, body = TeamDetail),
        (status = 403, body = Envelope, description = "`not_captain`, `not_registered`"),
        (status = 409, body = Envelope, description = "`team_name_taken`")))]
async fn change(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path(competition): Path<String>,
    Body(body): Body<ChangeBody>,
) -> Answer<Json<TeamDetail>> {
    let mut faults = Faults::default();
    if let Some(name) = &body.name {
        faults.length("name", name, 1..=80);
    }
    faults.length("description", body.description.as_deref().unwrap_or_default(), 0..=2000);
    faults.finish()?;
    let contest = platform.contest_to_enter(&caller, &competition)?;
    let team = platform.rename_team(&caller, &contest, body.name, body.description).await?;
    Ok(Json(detail(&platform, &team).await?))
}

/// Leaves the team. A captain hands over to who is in it longest; the last one disbands it.
#[utoipa::path(post, path = "/competitions/{competition_id}/team/leave", tag = "teams",
    security(("bearer" = [])), params(("competition_id" = String, Path)),
    responses((status = 204, description = "left"), (status = 403, body = Envelope)))]
async fn leave(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path(competition): Path<String>,
) -> Answer<StatusCode> {
    let contest = platform.contest_to_enter(&caller, &competition)?;
    platform.leave_team(&caller, &contest).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a member out of the team (captain).
#[utoipa::path(delete, path = "/competitions/{competition_id}/team/members/{user_id}",
    tag = "teams", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("user_id" = String, Path)),
    responses((status = 204, description = "gone"),
        (status = 400, body = Envelope, description = "`cannot_kick_self`"),
        (status = 403, body = Envelope, description = "`not_captain`"),
        (status = 404, body = Envelope, description = "`user_not_found`, `not_team_member`")))]
async fn kick(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path((competition, user)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let contest = platform.contest_to_enter(&caller, &competition)?;
    platform.kick_member(&caller, &contest, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Every team of the competitions that everybody sees, by name.
#[utoipa::path(get, path = "/teams", tag = "teams", params(PageParams),
    responses((status = 200, body = Page<TeamInfo>)))]
async fn list(
    State(platform): State<Platform>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<TeamInfo>>> {
    let open = platform.contests(None);
    let mut teams = platform.teams().await?;
    teams.retain(|team| open.iter().any(|contest| contest.id == team.competition));
    let rolls = Rolls::read(&platform).await?;
    Ok(Json(Page::of(teams.iter().map(|team| rolls.info(team)).collect(), page)))
}

/// One team.
#[utoipa::path(get, path = "/teams/{team_id}", tag = "teams",
    params(("team_id" = String, Path)),
    responses((status = 200, body = TeamDetail), (status = 404, body = Envelope)))]
async fn one(State(platform): State<Platform>, Path(id): Path<String>) -> Answer<Json<TeamDetail>> {
    let unknown = || {
        let text = format!("Team {} not found", cut(&id));
        ApiError::new(StatusCode::NOT_FOUND, "team_not_found", text)
    };
    let wanted = id.parse::<TeamId>().map_err(|_| unknown())?;
    let open = platform.contests(None);
    let teams = platform.teams().await?;
    let is_open = |team: &&Team| open.iter().any(|contest| contest.id == team.competition);
    let team = teams.iter().find(|team| team.id == wanted).filter(is_open);
    Ok(Json(detail(&platform, team.ok_or_else(unknown)?).await?))
}
