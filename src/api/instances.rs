//! Instances: start, look, renew, stop; and the same below a competition.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attachments;
use super::auth::{Admin, InstancesRead, InstancesWrite, Maybe, Signed};
use super::error::{Answer, Envelope};
use super::extract::{Body, FromParams, Params, Path, Query};
use super::instance_view::{
    self, InstanceInfo, InstanceProvenance, InstanceStatusResponse, QueuePlace, Standing, WAITING,
};
use super::page::{Page, PageParams};
use crate::contest::tally::Tally;
use crate::daemon::platform::{Audience, Platform, PlatformError, Repeats, Seen, StartRequest};
use crate::model::{Caller, Challenge, Instance, InstanceId, Role, StopReason, Waiting};
use crate::planner::lifecycle::Answers;

/// Routes of this file but the limited one.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(list, stop_all))
        .routes(routes!(one, stop))
        .routes(routes!(status))
        .routes(routes!(renew))
        .routes(routes!(traffic))
        .routes(routes!(nested_one, nested_stop))
        .routes(routes!(nested_status))
        .routes(routes!(nested_renew))
        .routes(routes!(nested_traffic))
}

/// What costs the engine: `POST /instances`, and the reset of one.
pub(crate) fn start_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(reset))
}

/// What to start.
#[derive(Debug, Deserialize, ToSchema)]
struct StartBody {
    #[schema(example = "WEB-001")]
    challenge_id: String,
    /// The competition; may be empty where the caller plays in one only.
    #[serde(default)]
    competition_id: String,
    /// Wanted lease in seconds; the platform's default when absent.
    #[serde(default)]
    ttl: Option<i64>,
    /// Whether another instance is wanted although one of the team is starting. Without it a
    /// repeated wish, as clients send it that saw no answer, gives the one that is starting.
    #[serde(default)]
    another: bool,
}

/// The start is on its way.
#[derive(Debug, Serialize, ToSchema)]
struct StartResponse {
    id: String,
    status: &'static str,
}

/// What a reset keeps.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetBody {
    #[serde(default)]
    answers: ResetAnswers,
}

impl ResetBody {
    /// A reset after which these answers hold.
    pub(crate) fn with(answers: ResetAnswers) -> Self {
        Self { answers }
    }
}

/// Which answers the instance has afterwards.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ResetAnswers {
    /// The same as before.
    #[default]
    Keep,
    /// Other ones.
    New,
}

/// The reset is on its way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResetResponse {
    id: String,
    /// `starting`, until everything is made anew.
    status: &'static str,
    /// How often it was made anew by now.
    resets: u32,
}

/// The stop is on its way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StopResponse {
    /// Always `stopped`.
    status: &'static str,
    id: String,
}

impl StopResponse {
    /// It is on its way.
    pub(crate) fn of(id: InstanceId) -> Self {
        Self { status: "stopped", id: id.to_string() }
    }
}

/// The new end of the lease.
#[derive(Debug, Serialize, ToSchema)]
struct RenewResponse {
    /// Always `renewed`.
    status: &'static str,
    id: String,
    /// Unix seconds.
    expires_at: f64,
}

/// A request by HTTP and what was answered, in captured packets: hostile text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct Flow(Value);

impl Flow {
    /// In the order of `flows`.
    pub(crate) fn all(flows: Vec<Value>) -> Vec<Self> {
        flows.into_iter().map(Self).collect()
    }
}

/// Which instances are wanted.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    #[param(required = false)]
    challenge_id: String,
    /// `starting`, `ready` or `error`.
    #[param(required = false)]
    status: String,
    /// Part of challenge id and name, in any case.
    #[param(required = false)]
    q: String,
    /// Only of this competition.
    #[param(required = false)]
    competition_id: String,
    /// Only of this node; the embedded one is `local`.
    #[param(required = false)]
    node_id: String,
}

impl FromParams for Filter {
    fn read(params: &mut Params) -> Self {
        Self {
            challenge_id: params.text("challenge_id"),
            status: params.text("status"),
            q: params.text("q"),
            competition_id: params.text("competition_id"),
            node_id: params.text("node_id"),
        }
    }
}

impl Filter {
    /// Those of one challenge; of all for the empty id.
    pub(crate) fn of_challenge(challenge_id: String) -> Self {
        Self { challenge_id, ..Self::default() }
    }

    fn admits(&self, row: &InstanceInfo) -> bool {
        let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        let text = format!("{}{}", row.challenge_id, row.name).to_lowercase();
        is(&self.challenge_id, &row.challenge_id)
            && is(&self.status, row.status)
            && is(&self.competition_id, &row.competition_id)
            && is(&self.node_id, &row.node_id)
            && (self.q.is_empty() || text.contains(&self.q.to_lowercase()))
    }
}

/// The lease that is wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct Lease {
    /// Seconds from now; the default when absent.
    #[param(required = false)]
    ttl: Option<i64>,
}

impl FromParams for Lease {
    fn read(params: &mut Params) -> Self {
        Self { ttl: params.integer("ttl", i64::MIN..=i64::MAX) }
    }
}

/// The challenge of `instance` at its own revision; `None` when it can be read no more.
pub(crate) async fn challenge_of(
    platform: &Platform,
    instance: &Instance,
) -> Answer<Option<Arc<Challenge>>> {
    match platform.challenge_of(instance).await {
        Ok(challenge) => Ok(Some(challenge)),
        Err(PlatformError::ChallengeNotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn view(
    platform: &Platform,
    caller: &Caller,
    instance: &Instance,
    tally: &Tally,
) -> Answer<InstanceInfo> {
    let challenge = challenge_of(platform, instance).await?;
    let standing = Standing {
        captured: tally.captured_by(instance.team, &instance.challenge),
        wrong: platform.wrong_attempts(instance.team, &instance.challenge).await?,
    };
    let cap_of = |mode: &str| platform.attempt_cap(&instance.competition, mode);
    let mut info = instance_view::info(instance, challenge.as_deref(), &standing, cap_of);
    if let Some(challenge) = &challenge {
        info.attachments.extend(attachments::exports_of(platform, instance, challenge).await?);
    }
    if caller.role == Role::Admin {
        let images = platform.images_of_instance(instance).await?;
        info.provenance = Some(InstanceProvenance::of(instance, images));
    }
    Ok(info)
}

/// A start that waits, as the instance that it becomes.
async fn waiting_view(
    platform: &Platform,
    caller: &Caller,
    waiting: &Waiting,
    tally: &Tally,
) -> Answer<InstanceInfo> {
    let mut info = view(platform, caller, &waiting.as_instance(), tally).await?;
    info.node_id.clear();
    info.provenance = None;
    info.queue = platform.place_in_line(waiting).map(QueuePlace::of);
    if info.queue.is_some() {
        info.phase = WAITING;
    }
    Ok(info)
}

/// The instance `id`, if `caller` may see it.
pub(crate) async fn show(platform: &Platform, caller: &Caller, id: &str) -> Answer<InstanceInfo> {
    let solves = platform.solves().await?;
    let tally = solves.tally();
    match platform.seen(caller, id).await? {
        Seen::Instance(instance) => view(platform, caller, &instance, tally).await,
        Seen::Waits(waiting) => waiting_view(platform, caller, &waiting, tally).await,
    }
}

/// An instance that was asked for a moment ago, whether it waits or is on its way.
pub(crate) async fn show_row(
    platform: &Platform,
    caller: &Caller,
    row: &Instance,
) -> Answer<InstanceInfo> {
    match show(platform, caller, &row.id.to_string()).await {
        // It ended already, or ended long ago and was asked for again.
        Err(error) if error.status == StatusCode::NOT_FOUND => {
            let solves = platform.solves().await?;
            view(platform, caller, row, solves.tally()).await
        }
        shown => shown,
    }
}

/// The instances that `caller` may see and `filter` admits, oldest first.
pub(crate) async fn rows(
    platform: &Platform,
    caller: &Caller,
    filter: &Filter,
) -> Answer<Vec<InstanceInfo>> {
    let solves = platform.solves().await?;
    let tally = solves.tally();
    let mut rows = Vec::new();
    for instance in platform.instances(caller).await? {
        rows.push(view(platform, caller, &instance, tally).await?);
    }
    for waiting in platform.waiting(caller).await? {
        rows.push(waiting_view(platform, caller, &waiting, tally).await?);
    }
    rows.retain(|row| filter.admits(row));
    Ok(rows)
}

/// Starts an instance of a challenge for the caller's team. Poll its status until `ready`. When no node
/// has room it waits, and `queue` says where it stands.
#[utoipa::path(post, path = "/instances", tag = "instances", security(("bearer" = [])),
    request_body = StartBody,
    responses((status = 202, body = StartResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope),
        (status = 503, body = Envelope, description = "`capacity_exceeded` or `engine_unavailable`")))]
async fn start(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<InstancesWrite>,
    Body(body): Body<StartBody>,
) -> Answer<(StatusCode, Json<StartResponse>)> {
    let request = StartRequest {
        challenge: body.challenge_id,
        competition: body.competition_id,
        ttl_secs: body.ttl,
        repeats: if body.another { Repeats::Another } else { Repeats::Same },
    };
    let instance = platform.start(&caller, request).await?;
    let answer = StartResponse { id: instance.id.to_string(), status: instance.status().as_str() };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// The instances of the caller's team; of all teams for an administrator; none for strangers.
#[utoipa::path(get, path = "/instances", tag = "instances", params(Filter, PageParams),
    responses((status = 200, body = Page<InstanceInfo>), (status = 422, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    caller: Maybe<InstancesRead>,
    Query((filter, page)): Query<(Filter, PageParams)>,
) -> Answer<Json<Page<InstanceInfo>>> {
    let rows = match &caller.0 {
        Some(caller) => rows(&platform, caller, &filter).await?,
        None => Vec::new(),
    };
    Ok(Json(Page::of(rows, page)))
}

/// Stops every instance of every team (administrators).
#[utoipa::path(delete, path = "/instances", tag = "instances", security(("bearer" = [])),
    responses((status = 200, body = Vec<StopResponse>), (status = 403, body = Envelope)))]
async fn stop_all(
    State(platform): State<Platform>,
    Admin(caller): Admin,
) -> Answer<Json<Vec<StopResponse>>> {
    let mut stopped = Vec::new();
    // First, so that nobody gets the room that becomes free.
    for waiting in platform.waiting(&caller).await? {
        let id = waiting.id.to_string();
        if platform.leave_line(&caller, &id).await? {
            stopped.push(StopResponse { status: "stopped", id });
        }
    }
    for instance in platform.instances(&caller).await? {
        let id = instance.id.to_string();
        match platform.stop(&caller, &id, StopReason::AdminStopAll).await {
            // Somebody else was faster.
            Ok(_) | Err(PlatformError::InstanceNotFound { .. }) => {
                stopped.push(StopResponse { status: "stopped", id });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(stopped))
}

/// One instance with its questions.
#[utoipa::path(get, path = "/instances/{instance_id}", tag = "instances",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = InstanceInfo), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn one(
    State(platform): State<Platform>,
    Signed(caller, _): Signed,
    Path(id): Path<String>,
) -> Answer<Json<InstanceInfo>> {
    Ok(Json(show(&platform, &caller, &id).await?))
}

/// How far an instance is, and where to attack once it is ready.
#[utoipa::path(get, path = "/instances/{instance_id}/status", tag = "instances",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = InstanceStatusResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn status(
    State(platform): State<Platform>,
    Signed(caller, _): Signed,
    Path(id): Path<String>,
) -> Answer<Json<InstanceStatusResponse>> {
    let instance = match platform.seen(&caller, &id).await? {
        Seen::Instance(instance) => instance,
        Seen::Waits(waiting) => {
            let place = platform.place_in_line(&waiting).map(QueuePlace::of);
            return Ok(Json(instance_view::waiting(&waiting, place)));
        }
    };
    let files = attachments::of(&platform, &instance).await?;
    Ok(Json(instance_view::status(&instance, files, platform.obstacle(&instance))))
}

/// Restarts the lease from now.
#[utoipa::path(post, path = "/instances/{instance_id}/renew", tag = "instances",
    security(("bearer" = [])), params(("instance_id" = String, Path), Lease),
    responses((status = 200, body = RenewResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 409, body = Envelope, description = "ending or failed")))]
async fn renew(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<InstancesWrite>,
    Path(id): Path<String>,
    Query(lease): Query<Lease>,
) -> Answer<Json<RenewResponse>> {
    let renewed = platform.renew(&caller, &id, lease.ttl).await?;
    let expires_at = renewed.expires_at.as_secs_f64();
    Ok(Json(RenewResponse { status: "renewed", id: renewed.id.to_string(), expires_at }))
}

/// Makes containers and volumes of an instance anew, in one step: id, ports, network and lease
/// stay, and the answers too unless others are asked for.
#[utoipa::path(post, path = "/instances/{instance_id}/reset", tag = "instances",
    security(("bearer" = [])), params(("instance_id" = String, Path)), request_body = ResetBody,
    responses((status = 202, body = ResetResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 409, body = Envelope, description = "ending or failed"),
        (status = 429, body = Envelope)))]
async fn reset(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<InstancesWrite>,
    Path(id): Path<String>,
    Body(body): Body<ResetBody>,
) -> Answer<(StatusCode, Json<ResetResponse>)> {
    let answer = make_anew(&platform, &caller, &id, &body).await?;
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// Asks for the reset that `body` describes.
pub(crate) async fn make_anew(
    platform: &Platform,
    caller: &Caller,
    id: &str,
    body: &ResetBody,
) -> Answer<ResetResponse> {
    let answers = match body.answers {
        ResetAnswers::Keep => Answers::Keep,
        ResetAnswers::New => Answers::Renew,
    };
    let row = platform.reset(caller, id, answers).await?;
    let status = row.status().as_str();
    Ok(ResetResponse { id: row.id.to_string(), status, resets: row.n_resets })
}

/// Stops an instance, in any state. A second call is a 404.
#[utoipa::path(delete, path = "/instances/{instance_id}", tag = "instances",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = StopResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn stop(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<InstancesWrite>,
    Path(id): Path<String>,
) -> Answer<Json<StopResponse>> {
    Ok(Json(stop_or_leave(&platform, &caller, id, StopReason::User).await?))
}

/// Stops an instance, or takes a start that waits out of the line.
pub(crate) async fn stop_or_leave(
    platform: &Platform,
    caller: &Caller,
    id: String,
    reason: StopReason,
) -> Answer<StopResponse> {
    if platform.leave_line(caller, &id).await? {
        return Ok(StopResponse { status: "stopped", id });
    }
    let stopped = platform.stop(caller, &id, reason).await?;
    Ok(StopResponse::of(stopped.id))
}

/// HTTP that was asked from outside, by time; empty where its packets are not captured.
#[utoipa::path(get, path = "/instances/{instance_id}/traffic", tag = "instances",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = Vec<Flow>), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn traffic(
    State(platform): State<Platform>,
    Signed(caller, _): Signed,
    Path(id): Path<String>,
) -> Answer<Json<Vec<Flow>>> {
    let flows = platform.traffic(&caller, &id, Audience::Player).await?;
    Ok(Json(Flow::all(flows)))
}

/// The id, if the instance belongs to the competition that it was asked below.
pub(super) async fn nested(
    platform: &Platform,
    caller: &Caller,
    (competition, id): (String, String),
) -> Answer<Path<String>> {
    let is_in = match platform.seen(caller, &id).await? {
        Seen::Instance(instance) => instance.competition == competition,
        Seen::Waits(waiting) => waiting.competition == competition,
    };
    if is_in { Ok(Path(id)) } else { Err(PlatformError::InstanceNotFound { id }.into()) }
}

/// As `GET /instances/{instance_id}`.
#[utoipa::path(get, path = "/competitions/{competition_id}/instances/{instance_id}",
    tag = "instances", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("instance_id" = String, Path)),
    responses((status = 200, body = InstanceInfo), (status = 404, body = Envelope)))]
async fn nested_one(
    platform: State<Platform>,
    caller: Signed,
    Path(ids): Path<(String, String)>,
) -> Answer<Json<InstanceInfo>> {
    let id = nested(&platform, &caller.0, ids).await?;
    one(platform, caller, id).await
}

/// As `DELETE /instances/{instance_id}`.
#[utoipa::path(delete, path = "/competitions/{competition_id}/instances/{instance_id}",
    tag = "instances", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("instance_id" = String, Path)),
    responses((status = 200, body = StopResponse), (status = 404, body = Envelope)))]
async fn nested_stop(
    platform: State<Platform>,
    caller: Signed<InstancesWrite>,
    Path(ids): Path<(String, String)>,
) -> Answer<Json<StopResponse>> {
    let id = nested(&platform, &caller.0, ids).await?;
    stop(platform, caller, id).await
}

/// As `GET /instances/{instance_id}/status`.
#[utoipa::path(get, path = "/competitions/{competition_id}/instances/{instance_id}/status",
    tag = "instances", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("instance_id" = String, Path)),
    responses((status = 200, body = InstanceStatusResponse), (status = 404, body = Envelope)))]
async fn nested_status(
    platform: State<Platform>,
    caller: Signed,
    Path(ids): Path<(String, String)>,
) -> Answer<Json<InstanceStatusResponse>> {
    let id = nested(&platform, &caller.0, ids).await?;
    status(platform, caller, id).await
}

/// As `POST /instances/{instance_id}/renew`.
#[utoipa::path(post, path = "/competitions/{competition_id}/instances/{instance_id}/renew",
    tag = "instances", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("instance_id" = String, Path), Lease),
    responses((status = 200, body = RenewResponse), (status = 404, body = Envelope)))]
async fn nested_renew(
    platform: State<Platform>,
    caller: Signed<InstancesWrite>,
    Path(ids): Path<(String, String)>,
    lease: Query<Lease>,
) -> Answer<Json<RenewResponse>> {
    let id = nested(&platform, &caller.0, ids).await?;
    renew(platform, caller, id, lease).await
}

/// As `GET /instances/{instance_id}/traffic`.
#[utoipa::path(get, path = "/competitions/{competition_id}/instances/{instance_id}/traffic",
    tag = "instances", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("instance_id" = String, Path)),
    responses((status = 200, body = Vec<Flow>), (status = 404, body = Envelope)))]
async fn nested_traffic(
    platform: State<Platform>,
    caller: Signed,
    Path(ids): Path<(String, String)>,
) -> Answer<Json<Vec<Flow>>> {
    let id = nested(&platform, &caller.0, ids).await?;
    traffic(platform, caller, id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_needs_a_challenge_and_nothing_else() {
        let body: StartBody = serde_json::from_str(r#"{"challenge_id":"WEB-001"}"#).unwrap();
        assert_eq!((body.competition_id.as_str(), body.ttl), ("", None));
        assert!(serde_json::from_str::<StartBody>(r#"{"ttl":5}"#).is_err());
        // A path on our host, sent by a player, is ignored like every unknown member.
        let body = r#"{"challenge_id":"WEB-001","proxy_output_dir":"/etc"}"#;
        assert!(serde_json::from_str::<StartBody>(body).is_ok());
    }
}
