//! For operators: tokens, every instance, their logs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::download;
use super::error::{Answer, ApiError, Envelope, Issue};
use super::extract::{Body, FromParams, Params, Path, Query};
use super::instance_view::InstanceInfo;
use super::instances::{self, StopResponse};
use super::page::{Page, PageParams};
use crate::daemon::platform::{Audience, Platform};
use crate::model::StopReason;

/// Longest name of a team, in characters.
const MAX_TEAM_NAME: usize = 80;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(create_token))
        .routes(routes!(every_instance))
        .routes(routes!(one_instance, stop_instance))
        .routes(routes!(reset_instance))
        .routes(routes!(logs))
        .routes(routes!(traffic))
        .routes(routes!(pcap))
}

/// For whom a token is made.
#[derive(Debug, Deserialize, ToSchema)]
struct TokenBody {
    /// The team's name; a new name makes a new team.
    #[schema(min_length = 1, max_length = 80)]
    team: String,
    /// In which competition; may be empty where one only is published.
    #[serde(default)]
    competition: String,
}

/// A new token. It is shown this once. Its `Debug` is not derived, so that it cannot be logged.
#[derive(Serialize, ToSchema)]
struct TeamTokenResponse {
    token: String,
    team_id: String,
    team_name: String,
    competition_id: String,
}

/// The last lines of an instance's containers.
#[derive(Debug, Serialize, ToSchema)]
struct LogResponse {
    instance_id: String,
    /// Written by the challenge: hostile text.
    logs: String,
}

/// How much of the logs is wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct Lines {
    /// Lines of each service, from the end.
    #[param(minimum = 1, maximum = 10000, default = 200, required = false)]
    lines: u32,
}

impl FromParams for Lines {
    fn read(params: &mut Params) -> Self {
        let lines = params.integer("lines", 1..=10_000);
        Self { lines: lines.and_then(|lines| u32::try_from(lines).ok()).unwrap_or(200) }
    }
}

/// The name without blanks around it, if it can be shown on a scoreboard.
fn team_name(text: &str) -> Result<&str, ApiError> {
    let name = text.trim();
    let length = name.chars().count();
    let is_shown = !name.chars().any(|c| c.is_control() || is_direction(c));
    if is_shown && (1..=MAX_TEAM_NAME).contains(&length) {
        return Ok(name);
    }
    Err(ApiError::invalid(&[Issue {
        kind: "value_error",
        location: vec!["body".to_owned(), "team".to_owned()],
        message: format!(
            "a team's name has 1 to {MAX_TEAM_NAME} characters, none of them a control character"
        ),
        input: serde_json::Value::Null,
        context: None,
    }]))
}

/// Characters that turn around the text after them, and so the neighbours on the scoreboard.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The id, if it could be one: the contract refuses others before anything is looked up.
fn checked(id: &str) -> Result<&str, ApiError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=64).contains(&id.len()) && id.bytes().all(is_plain) {
        return Ok(id);
    }
    Err(ApiError::plain(StatusCode::BAD_REQUEST, "invalid instance_id"))
}

/// Makes a token for a team, and the team when it is new.
#[utoipa::path(post, path = "/admin/tokens", tag = "admin", security(("bearer" = [])),
    request_body = TokenBody,
    responses((status = 201, body = TeamTokenResponse), (status = 403, body = Envelope),
        (status = 422, body = Envelope)))]
async fn create_token(
    State(platform): State<Platform>,
    _admin: Admin,
    Body(body): Body<TokenBody>,
) -> Answer<(StatusCode, Json<TeamTokenResponse>)> {
    let (team, token) =
        platform.create_team_token(team_name(&body.team)?, &body.competition).await?;
    let answer = TeamTokenResponse {
        token,
        team_id: team.id.to_string(),
        team_name: team.name,
        competition_id: team.competition.to_string(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Every instance of every team, oldest first.
#[utoipa::path(get, path = "/admin/instances", tag = "admin", security(("bearer" = [])),
    params(instances::Filter, PageParams),
    responses((status = 200, body = Page<InstanceInfo>), (status = 403, body = Envelope)))]
async fn every_instance(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Query((filter, page)): Query<(instances::Filter, PageParams)>,
) -> Answer<Json<Page<InstanceInfo>>> {
    Ok(Json(Page::of(instances::rows(&platform, &caller, &filter).await?, page)))
}

/// One instance of any team.
#[utoipa::path(get, path = "/admin/instances/{instance_id}", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = InstanceInfo), (status = 400, body = Envelope),
        (status = 403, body = Envelope), (status = 404, body = Envelope)))]
async fn one_instance(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Answer<Json<InstanceInfo>> {
    Ok(Json(instances::show(&platform, &caller, checked(&id)?).await?))
}

/// Stops an instance of any team, in any state. A second call is a 404.
#[utoipa::path(delete, path = "/admin/instances/{instance_id}", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = StopResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn stop_instance(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Answer<Json<StopResponse>> {
    let id = checked(&id)?;
    if let (true, Ok(waiting)) = (platform.leave_line(&caller, id).await?, id.parse()) {
        return Ok(Json(StopResponse::of(waiting)));
    }
    let stopped = platform.stop(&caller, id, StopReason::AdminStopAll).await?;
    Ok(Json(StopResponse::of(stopped.id)))
}

/// Makes containers and volumes of an instance of any team anew, as
/// `POST /instances/{instance_id}/reset` does.
#[utoipa::path(post, path = "/admin/instances/{instance_id}/reset", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    request_body = instances::ResetBody,
    responses((status = 202, body = instances::ResetResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope),
        (status = 409, body = Envelope, description = "ending or failed")))]
async fn reset_instance(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    Body(body): Body<instances::ResetBody>,
) -> Answer<(StatusCode, Json<instances::ResetResponse>)> {
    let answer = instances::make_anew(&platform, &caller, checked(&id)?, &body).await?;
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// HTTP of any instance in captured packets, also between its services, by time.
#[utoipa::path(get, path = "/admin/instances/{instance_id}/traffic", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = Vec<instances::Flow>), (status = 400, body = Envelope),
        (status = 403, body = Envelope), (status = 404, body = Envelope)))]
async fn traffic(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Answer<Json<Vec<instances::Flow>>> {
    let flows = platform.traffic(&caller, checked(&id)?, Audience::Organizer).await?;
    Ok(Json(instances::Flow::all(flows)))
}

/// Captured packets of any instance, as one pcap by time; 404 with the reason where there are none.
#[utoipa::path(get, path = "/admin/instances/{instance_id}/pcap", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, content_type = "application/vnd.tcpdump.pcap"),
        (status = 400, body = Envelope), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 502, body = Envelope)))]
async fn pcap(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Answer<Response> {
    let packets = platform.packets(&caller, checked(&id)?).await?;
    Ok(download::packets(&id, packets))
}

/// The last lines that an instance's containers wrote, by service.
#[utoipa::path(get, path = "/admin/instances/{instance_id}/logs", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path), Lines),
    responses((status = 200, body = LogResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn logs(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    Query(wanted): Query<Lines>,
) -> Answer<Json<LogResponse>> {
    let logs = platform.logs(&caller, &id, wanted.lines).await?;
    Ok(Json(LogResponse { instance_id: id, logs }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn team_names_are_trimmed_and_harmless() {
        assert_eq!(team_name("  Blue Börds 🐦 ").unwrap(), "Blue Börds 🐦");
        for name in ["", "  ", "a\nb", "a\u{1b}[31m", "a\u{202e}b", &"x".repeat(81)] {
            assert!(team_name(name).is_err(), "{name:?}");
        }
    }
}
