//! CTFd as the front: what its plugin asks for its teams and users.
//!
//! Each route asks what the player's route of the same name asks; for whom is in the body or the
//! query, and the token says which CTFd.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Ctfd;
use super::error::{Answer, Envelope};
use super::extract::{Body, FromParams, Params, Path, Query};
use super::instance_view::{InstanceInfo, QueuePlace, ServiceEndpoint, VpnEndpoint};
use super::instances::{self, Filter, ResetBody, ResetResponse, StopResponse};
use super::page::{Page, PageParams};
use super::submissions::{AnswerBody, SubmissionResponse, flag};
use crate::daemon::platform::{Front, FrontStart, Platform};
use crate::model::StopReason;

/// What costs nothing but a look.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(whoami))
        .routes(routes!(challenges))
        .routes(routes!(list))
        .routes(routes!(one, stop))
        .routes(routes!(renew))
}

/// What costs the engine.
pub(crate) fn start_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(reset))
}

/// What grades.
pub(crate) fn verify_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(verify))
}

/// Which CTFd a token is of.
#[derive(Debug, Serialize, ToSchema)]
struct CtfdSelf {
    id: String,
    name: String,
    competition_id: String,
    /// `team`, `user` or `unlimited`.
    mode: &'static str,
    webhook_url: Option<String>,
}

/// What can be started.
#[derive(Debug, Serialize, ToSchema)]
struct CtfdChallenge {
    id: String,
    name: String,
    description: String,
    category: &'static str,
    difficulty: &'static str,
    /// Ids of its questions.
    questions: Vec<String>,
    /// Whether it is answered without an instance.
    is_quiz: bool,
}

/// Whom CTFd speaks for, in a query.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct Owner {
    /// The team's number in CTFd.
    #[param(required = false, minimum = 1)]
    team_id: Option<u32>,
    /// The user's number in CTFd.
    #[param(required = false, minimum = 1)]
    user_id: Option<u32>,
}

impl FromParams for Owner {
    fn read(params: &mut Params) -> Self {
        let mut number = |name| {
            let number = params.integer(name, 1..=i64::from(u32::MAX))?;
            u32::try_from(number).ok()
        };
        Self { team_id: number("team_id"), user_id: number("user_id") }
    }
}

/// Whose instances are wanted, and of which challenge.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// The team's number in CTFd.
    #[param(required = false, minimum = 1)]
    team_id: Option<u32>,
    /// The user's number in CTFd.
    #[param(required = false, minimum = 1)]
    user_id: Option<u32>,
    #[param(required = false)]
    challenge_id: String,
}

impl FromParams for Wanted {
    fn read(params: &mut Params) -> Self {
        let Owner { team_id, user_id } = Owner::read(params);
        Self { team_id, user_id, challenge_id: params.text("challenge_id") }
    }
}

/// What to start, and for whom.
#[derive(Debug, Deserialize, ToSchema)]
struct CtfdStart {
    /// The team's number in CTFd.
    #[serde(default)]
    #[schema(minimum = 1)]
    team_id: Option<u32>,
    /// The user's number in CTFd.
    #[serde(default)]
    #[schema(minimum = 1)]
    user_id: Option<u32>,
    #[schema(example = "WEB-001")]
    challenge_id: String,
    /// Wanted lease in seconds.
    #[serde(default)]
    ttl: Option<i64>,
    /// In mode `unlimited`: the same when a wish is sent again, another one for another instance.
    #[serde(default)]
    #[schema(max_length = 128)]
    request_id: String,
}

/// For whom a lease is renewed, and for how long.
#[derive(Debug, Deserialize, ToSchema)]
struct CtfdRenew {
    #[serde(default)]
    #[schema(minimum = 1)]
    team_id: Option<u32>,
    #[serde(default)]
    #[schema(minimum = 1)]
    user_id: Option<u32>,
    /// Seconds from now; the default when absent.
    #[serde(default)]
    ttl: Option<i64>,
}

/// For whom an instance is made anew, and what it keeps.
#[derive(Debug, Deserialize, ToSchema)]
struct CtfdReset {
    #[serde(default)]
    #[schema(minimum = 1)]
    team_id: Option<u32>,
    #[serde(default)]
    #[schema(minimum = 1)]
    user_id: Option<u32>,
    /// `keep` or `new`.
    #[serde(default)]
    answers: instances::ResetAnswers,
}

/// An answer, and whose. Its `Debug` is not derived, so that it cannot be logged.
#[derive(Deserialize, ToSchema)]
struct CtfdAnswer {
    #[serde(default)]
    #[schema(minimum = 1)]
    team_id: Option<u32>,
    #[serde(default)]
    #[schema(minimum = 1)]
    user_id: Option<u32>,
    challenge_id: String,
    /// Through which instance; the newest of the challenge when absent, over or not.
    #[serde(default)]
    instance_id: Option<String>,
    #[serde(default = "flag")]
    question_id: String,
    answer: AnswerBody,
}

/// An instance of a team or user of CTFd.
#[derive(Debug, Serialize, ToSchema)]
struct CtfdInstance {
    id: String,
    challenge_id: String,
    /// `team` or `user`.
    owner: &'static str,
    /// Their number in CTFd.
    owner_id: u32,
    /// `starting`, `ready`, `stopped` or `error`.
    status: &'static str,
    /// How far it is, finer than `status`; `waiting` while no node has room.
    phase: &'static str,
    /// Where it stands while it waits for room.
    queue: Option<QueuePlace>,
    /// Why it failed.
    error: String,
    services: Vec<ServiceEndpoint>,
    vpn_endpoint: Option<VpnEndpoint>,
    /// One line for players, like `http://…` or `nc HOST PORT`; empty until it is ready.
    connection_info: String,
    /// Unix seconds.
    started_at: f64,
    /// Unix seconds.
    expires_at: f64,
    /// Times it was made anew on request.
    resets: u32,
}

impl CtfdInstance {
    fn of(front: &Front, info: InstanceInfo) -> Self {
        Self {
            id: info.id,
            challenge_id: info.challenge_id,
            owner: front.owner.kind.as_str(),
            owner_id: front.owner.number,
            status: info.status,
            phase: info.phase,
            queue: info.queue,
            error: info.error,
            connection_info: connection(&info.services),
            services: info.services,
            vpn_endpoint: info.vpn_endpoint,
            started_at: info.started_at,
            expires_at: info.expires_at,
            resets: info.resets,
        }
    }
}

/// Where an instance's services are, as players type it.
fn connection(services: &[ServiceEndpoint]) -> String {
    let one = |it: &ServiceEndpoint| match it.service_type {
        "http" | "https" => format!("{}://{}:{}{}", it.service_type, it.host, it.port, it.path),
        "ssh" => format!("ssh -p {} {}", it.port, it.host),
        _ => format!("nc {} {}", it.host, it.port),
    };
    services.iter().map(one).collect::<Vec<_>>().join(" · ")
}

/// Somebody in CTFd whose instance is named.
async fn owner_of(
    platform: &Platform,
    ctfd: Ctfd,
    numbers: (Option<u32>, Option<u32>),
    id: &str,
) -> Answer<Front> {
    let front = platform.front(ctfd.integration, numbers, ctfd.address).await?;
    platform.front_seen(&front, id).await?;
    Ok(front)
}

async fn show(platform: &Platform, front: &Front, id: &str) -> Answer<CtfdInstance> {
    let info = instances::show(platform, &front.caller, id).await?;
    Ok(CtfdInstance::of(front, info))
}

/// Which integration the token is of: what a plugin asks to try its settings.
#[utoipa::path(get, path = "/integrations/ctfd/self", tag = "integrations",
    security(("bearer" = [])),
    responses((status = 200, body = CtfdSelf), (status = 401, body = Envelope),
        (status = 403, body = Envelope)))]
async fn whoami(ctfd: Ctfd) -> Json<CtfdSelf> {
    let it = ctfd.integration;
    Json(CtfdSelf {
        id: it.id.to_string(),
        name: it.name,
        competition_id: it.competition.to_string(),
        mode: it.mode.as_str(),
        webhook_url: it.webhook.map(|url| url.to_string()),
    })
}

/// The challenges that can be started now, by id.
#[utoipa::path(get, path = "/integrations/ctfd/challenges", tag = "integrations",
    security(("bearer" = [])), params(PageParams),
    responses((status = 200, body = Page<CtfdChallenge>), (status = 403, body = Envelope),
        (status = 404, body = Envelope, description = "the competition is gone")))]
async fn challenges(
    State(platform): State<Platform>,
    ctfd: Ctfd,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<CtfdChallenge>>> {
    let offered = platform.front_offers(&ctfd.integration)?;
    let rows = offered.values().map(|live| {
        let (id, metadata) = (live.challenge.id.to_string(), &live.challenge.metadata);
        CtfdChallenge {
            id,
            name: metadata.name.clone(),
            description: metadata.description.clone(),
            category: metadata.category.as_str(),
            difficulty: metadata.difficulty.as_str(),
            questions: metadata.questions.iter().map(|it| it.id.to_string()).collect(),
            is_quiz: live.challenge.is_qa_only(),
        }
    });
    Ok(Json(Page::of(rows.collect(), page)))
}

/// Starts an instance for a team or user of CTFd. In the modes `team` and `user` the one that lives
/// is given, however often and however many at once ask; in mode `unlimited` `request_id` tells
/// wishes apart.
#[utoipa::path(post, path = "/integrations/ctfd/instances", tag = "integrations",
    security(("bearer" = [])), request_body = CtfdStart,
    responses((status = 202, body = CtfdInstance), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 409, body = Envelope),
        (status = 422, body = Envelope, description = "`owner_required`, `request_id_required`"),
        (status = 503, body = Envelope, description = "`capacity_exceeded` or `engine_unavailable`")))]
async fn start(
    State(platform): State<Platform>,
    ctfd: Ctfd,
    Body(body): Body<CtfdStart>,
) -> Answer<(StatusCode, Json<CtfdInstance>)> {
    let numbers = (body.team_id, body.user_id);
    let mut front = platform.front(ctfd.integration, numbers, ctfd.address).await?;
    let (challenge, request_id) = (body.challenge_id, body.request_id);
    let wish = FrontStart { challenge, ttl_secs: body.ttl, request_id };
    let instance = platform.front_start(&mut front, wish).await?;
    let shown = instances::show_row(&platform, &front.caller, &instance).await?;
    Ok((StatusCode::ACCEPTED, Json(CtfdInstance::of(&front, shown))))
}

/// The instances of a team or user of CTFd, oldest first.
#[utoipa::path(get, path = "/integrations/ctfd/instances", tag = "integrations",
    security(("bearer" = [])), params(Wanted, PageParams),
    responses((status = 200, body = Page<CtfdInstance>), (status = 403, body = Envelope),
        (status = 422, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    ctfd: Ctfd,
    Query((wanted, page)): Query<(Wanted, PageParams)>,
) -> Answer<Json<Page<CtfdInstance>>> {
    let numbers = (wanted.team_id, wanted.user_id);
    let front = platform.front(ctfd.integration, numbers, ctfd.address).await?;
    let filter = Filter::of_challenge(wanted.challenge_id);
    let rows = instances::rows(&platform, &front.caller, &filter).await?;
    let rows = rows.into_iter().map(|info| CtfdInstance::of(&front, info)).collect();
    Ok(Json(Page::of(rows, page)))
}

/// One instance: how far it is, and where it is once it is ready.
#[utoipa::path(get, path = "/integrations/ctfd/instances/{instance_id}", tag = "integrations",
    security(("bearer" = [])), params(("instance_id" = String, Path), Owner),
    responses((status = 200, body = CtfdInstance), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope)))]
async fn one(
    State(platform): State<Platform>,
    ctfd: Ctfd,
    Path(id): Path<String>,
    Query(owner): Query<Owner>,
) -> Answer<Json<CtfdInstance>> {
    let front = owner_of(&platform, ctfd, (owner.team_id, owner.user_id), &id).await?;
    Ok(Json(show(&platform, &front, &id).await?))
}

/// Stops an instance, or takes a start that waits out of the line. A second call is a 404.
#[utoipa::path(delete, path = "/integrations/ctfd/instances/{instance_id}", tag = "integrations",
    security(("bearer" = [])), params(("instance_id" = String, Path), Owner),
    responses((status = 200, body = StopResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope)))]
async fn stop(
    State(platform): State<Platform>,
    ctfd: Ctfd,
    Path(id): Path<String>,
    Query(owner): Query<Owner>,
) -> Answer<Json<StopResponse>> {
    let front = owner_of(&platform, ctfd, (owner.team_id, owner.user_id), &id).await?;
    Ok(Json(instances::stop_or_leave(&platform, &front.caller, id, StopReason::User).await?))
}

/// Restarts the lease from now.
#[utoipa::path(post, path = "/integrations/ctfd/instances/{instance_id}/renew",
    tag = "integrations", security(("bearer" = [])), params(("instance_id" = String, Path)),
    request_body = CtfdRenew,
    responses((status = 200, body = CtfdInstance), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 409, body = Envelope, description = "ending or failed"),
        (status = 422, body = Envelope)))]
async fn renew(
    State(platform): State<Platform>,
    ctfd: Ctfd,
    Path(id): Path<String>,
    Body(body): Body<CtfdRenew>,
) -> Answer<Json<CtfdInstance>> {
    let front = owner_of(&platform, ctfd, (body.team_id, body.user_id), &id).await?;
    platform.renew(&front.caller, &id, body.ttl).await?;
    Ok(Json(show(&platform, &front, &id).await?))
}

/// Makes containers and volumes of an instance anew; id, ports and lease stay.
#[utoipa::path(post, path = "/integrations/ctfd/instances/{instance_id}/reset",
    tag = "integrations", security(("bearer" = [])), params(("instance_id" = String, Path)),
    request_body = CtfdReset,
    responses((status = 202, body = ResetResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 409, body = Envelope, description = "ending or failed"),
        (status = 422, body = Envelope)))]
async fn reset(
    State(platform): State<Platform>,
    ctfd: Ctfd,
    Path(id): Path<String>,
    Body(body): Body<CtfdReset>,
) -> Answer<(StatusCode, Json<ResetResponse>)> {
    let front = owner_of(&platform, ctfd, (body.team_id, body.user_id), &id).await?;
    let wish = ResetBody::with(body.answers);
    let answer = instances::make_anew(&platform, &front.caller, &id, &wish).await?;
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// Grades and records what somebody typed into CTFd. A right answer counts also after its instance
/// ended; the last one stops it.
#[utoipa::path(post, path = "/integrations/ctfd/verify", tag = "integrations",
    security(("bearer" = [])), request_body = CtfdAnswer,
    responses((status = 200, body = SubmissionResponse),
        (status = 403, body = Envelope, description = "`question_locked`"),
        (status = 404, body = Envelope), (status = 409, body = Envelope),
        (status = 422, body = Envelope, description = "`unknown_question_id`"),
        (status = 429, body = Envelope, description = "`question_attempt_cap_exceeded`")))]
async fn verify(
    State(platform): State<Platform>,
    ctfd: Ctfd,
    Body(body): Body<CtfdAnswer>,
) -> Answer<Json<SubmissionResponse>> {
    let numbers = (body.team_id, body.user_id);
    let front = platform.front(ctfd.integration, numbers, ctfd.address).await?;
    let place = (body.instance_id, body.challenge_id.as_str());
    let sent = body.answer.into();
    let graded = platform.front_submit(&front, place, &body.question_id, sent).await?;
    Ok(Json(graded.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn players_read_one_line_that_they_can_type() {
        let service = |kind, host: &str, port| ServiceEndpoint {
            service_type: kind,
            host: host.to_owned(),
            port,
            credentials: None,
            path: "",
            label: "web".to_owned(),
        };
        let line = connection(&[
            service("https", "abc.ctf.example", 443),
            service("tcp", "10.0.0.1", 1337),
            service("ssh", "10.0.0.1", 2222),
        ]);
        insta::assert_snapshot!(line, @"https://abc.ctf.example:443 · nc 10.0.0.1 1337 · ssh -p 2222 10.0.0.1");
        assert_eq!(connection(&[]), "");
    }
}
