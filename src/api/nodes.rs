//! Nodes: who joined, invitations, heartbeats, and what operators do with them.
//!
//! # Invariants
//! * Where a node answers is for operators: everybody else sees that it is there.
//! * A token of a node is in the reply to its joining and nowhere else.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, Maybe, bearer};
use super::error::{Answer, ApiError, Envelope};
use super::extract::{Body, FromParams, Params, Path, Query};
use super::node::image_response;
use super::page::{Page, PageParams};
use crate::daemon::platform::{NodeState, Platform};
use crate::model::{Duty, NodeEvent, NodeId, NodeInvite, NodeSample};
use crate::node::client::ImageReply;
use crate::node::wire::{Heartbeat, HeartbeatReply, LiveReply, RegisterOrder};
use crate::store::NodeChange;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(invite))
        .routes(routes!(invites))
        .routes(routes!(revoke_invite))
        .routes(routes!(register))
        .routes(routes!(heartbeat))
        .routes(routes!(live))
        .routes(routes!(image))
        .routes(routes!(remove))
        .routes(routes!(one))
        .routes(routes!(patch))
        .routes(routes!(history))
        .routes(routes!(events))
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct NodeInfo {
    id: String,
    /// Empty unless an administrator asks.
    url: String,
    display_name: String,
    capacity: u32,
    running: u32,
    is_healthy: bool,
    last_heartbeat: Option<String>,
    registered_at: Option<String>,
    labels: BTreeMap<String, String>,
    cpu_percent: f64,
    memory_percent: f64,
    disk_percent: f64,
    /// `active`, `cordoned` or `draining`.
    duty: &'static str,
    /// Why it starts nothing now; empty when it does, and unless an administrator asks.
    closed: String,
    /// The generation that it serves.
    generation: u32,
    /// Why it refuses a newer one; empty unless an administrator asks.
    mismatch: String,
    version: String,
    architecture: String,
    /// Instances that the platform has there.
    instances: u32,
    /// Images that are there, and that failed.
    images_built: u32,
    images_failed: u32,
}

/// Whether operators ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Everybody,
    Operators,
}

impl NodeInfo {
    fn of(state: NodeState, sight: Sight) -> Self {
        use crate::model::BuildState::{Built, Failed};
        let NodeState { node, is_healthy, n_instances } = state;
        let count = |wanted| {
            let n = node.report.builds.values().filter(|it| **it == wanted).count();
            u32::try_from(n).unwrap_or(u32::MAX)
        };
        let (images_built, images_failed) = (count(Built), count(Failed));
        let shown = |text: String| if sight == Sight::Operators { text } else { String::new() };
        Self {
            id: node.id.to_string(),
            url: shown(node.url),
            display_name: if sight == Sight::Operators { node.name } else { node.id.to_string() },
            capacity: node.capacity,
            running: node.report.running,
            is_healthy,
            last_heartbeat: Some(node.last_beat.rfc3339()),
            registered_at: Some(node.registered_at.rfc3339()),
            labels: node.labels,
            cpu_percent: node.report.cpu_percent,
            memory_percent: node.report.memory_percent,
            disk_percent: node.report.disk_percent,
            duty: node.duty.as_str(),
            closed: shown(node.report.closed),
            generation: node.report.generation,
            mismatch: shown(node.report.mismatch),
            version: node.report.version,
            architecture: node.report.architecture,
            instances: n_instances,
            images_built,
            images_failed,
        }
    }
}

/// A node that joined, and its token. Both spellings, for nodes of either age.
#[derive(Debug, Serialize, ToSchema)]
struct Registered {
    #[serde(flatten)]
    node: NodeInfo,
    node_id: String,
    node_token: String,
    token: String,
    /// What it follows.
    source: Value,
}

/// How long an invitation is good.
#[derive(Debug, Deserialize, ToSchema)]
struct InviteBody {
    /// Seconds, from a minute to a week.
    #[serde(default = "one_hour")]
    #[schema(minimum = 60, maximum = 604_800, default = 3600)]
    ttl_seconds: i64,
}

fn one_hour() -> i64 {
    3600
}

/// An invitation, shown once.
#[derive(Debug, Serialize, ToSchema)]
struct Invited {
    id: String,
    /// The same, as the reference's command line reads it.
    invite_id: String,
    registration_token: String,
    expires_at: String,
}

/// An invitation in a listing.
#[derive(Debug, Serialize, ToSchema)]
struct InviteInfo {
    id: String,
    created_at: String,
    expires_at: String,
    /// `active`, `consumed` or `expired`.
    status: &'static str,
    consumed_by_node_id: String,
}

/// What changes of a node.
#[derive(Debug, Deserialize, ToSchema)]
struct NodePatch {
    display_name: Option<String>,
    /// In place of all labels that it has.
    labels: Option<BTreeMap<String, String>>,
    /// `active`, `cordoned` or `draining`.
    duty: Option<String>,
    /// For the audit.
    #[serde(default)]
    why: String,
}

/// One heartbeat that was kept, or a look that found none.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthSample {
    node_id: String,
    /// Unix seconds.
    ts: f64,
    is_healthy: bool,
    cpu_percent: f64,
    memory_percent: f64,
    disk_percent: f64,
    latency_ms: f64,
}

impl HealthSample {
    /// Of the node `id`.
    pub(crate) fn of(id: &str, sample: &NodeSample) -> Self {
        Self {
            node_id: id.to_owned(),
            ts: sample.at.as_secs_f64(),
            is_healthy: sample.is_healthy,
            cpu_percent: sample.cpu_percent,
            memory_percent: sample.memory_percent,
            disk_percent: sample.disk_percent,
            latency_ms: sample.latency_ms,
        }
    }
}

/// One thing that happened to a node, in the shape of an activity.
#[derive(Debug, Serialize, ToSchema)]
struct NodeActivity {
    id: String,
    timestamp: String,
    event: &'static str,
    team_id: &'static str,
    team_name: &'static str,
    challenge_id: &'static str,
    actor_id: String,
    actor_name: String,
    actor_type: &'static str,
    detail: Value,
}

fn bearer_of(headers: &HeaderMap) -> Result<&str, ApiError> {
    bearer(headers).ok_or_else(|| ApiError::plain(StatusCode::UNAUTHORIZED, "Missing bearer token"))
}

/// The embedded node, in the same shape.
async fn embedded(platform: &Platform) -> Answer<Option<NodeInfo>> {
    if !platform.has_local_node() {
        return Ok(None);
    }
    let counts = platform.counts().await?;
    let since = Some(platform.started_at().rfc3339());
    Ok(Some(NodeInfo {
        id: NodeId::local().to_string(),
        url: String::new(),
        display_name: "embedded".to_owned(),
        capacity: counts.max_instances,
        running: counts.running_instances,
        is_healthy: platform.is_engine_ready(),
        last_heartbeat: Some(platform.now().rfc3339()),
        registered_at: since,
        labels: BTreeMap::new(),
        cpu_percent: 0.0,
        memory_percent: crate::telemetry::load::memory_percent(),
        disk_percent: 0.0,
        duty: Duty::Active.as_str(),
        closed: String::new(),
        generation: platform.active().await?.map_or(0, |(generation, _)| generation.number),
        mismatch: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        architecture: String::new(),
        instances: counts.live_instances,
        images_built: 0,
        images_failed: 0,
    }))
}

/// Every node, the embedded one first.
#[utoipa::path(get, path = "/nodes", tag = "nodes", params(PageParams),
    responses((status = 200, body = Page<NodeInfo>)))]
async fn list(
    State(platform): State<Platform>,
    caller: Maybe,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<NodeInfo>>> {
    let sight = if caller.is_admin() { Sight::Operators } else { Sight::Everybody };
    let mut all: Vec<_> = embedded(&platform).await?.into_iter().collect();
    all.extend(platform.nodes().await?.into_iter().map(|it| NodeInfo::of(it, sight)));
    Ok(Json(Page::of(all, page)))
}

/// Makes an invitation for one node; its token is shown once.
#[utoipa::path(post, path = "/nodes/invites", tag = "nodes", security(("bearer" = [])),
    request_body = InviteBody,
    responses((status = 200, body = Invited), (status = 403, body = Envelope)))]
async fn invite(
    State(platform): State<Platform>,
    _admin: Admin,
    Body(body): Body<InviteBody>,
) -> Answer<Json<Invited>> {
    let ttl = body.ttl_seconds;
    if !(60..=604_800).contains(&ttl) {
        let bound =
            if ttl < 60 { "greater than or equal to 60" } else { "less than or equal to 604800" };
        return Err(ApiError::invalid(&[super::error::Issue {
            kind: if ttl < 60 { "greater_than_equal" } else { "less_than_equal" },
            location: vec!["body".to_owned(), "ttl_seconds".to_owned()],
            message: format!("Input should be {bound}"),
            input: ttl.into(),
            context: None,
        }]));
    }
    let (invite, token) = platform.invite_node(u32::try_from(ttl).unwrap_or(3600)).await?;
    Ok(Json(Invited {
        invite_id: invite.id.clone(),
        id: invite.id,
        registration_token: token,
        expires_at: invite.expires_at.rfc3339(),
    }))
}

/// Every invitation, the newest first.
#[utoipa::path(get, path = "/nodes/invites", tag = "nodes", security(("bearer" = [])),
    params(PageParams),
    responses((status = 200, body = Page<InviteInfo>), (status = 403, body = Envelope)))]
async fn invites(
    State(platform): State<Platform>,
    _admin: Admin,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<InviteInfo>>> {
    let now = platform.now();
    let info = |invite: NodeInvite| InviteInfo {
        status: invite.status(now),
        created_at: invite.created_at.rfc3339(),
        expires_at: invite.expires_at.rfc3339(),
        consumed_by_node_id: invite.consumed_by.map(|id| id.to_string()).unwrap_or_default(),
        id: invite.id,
    };
    let all = platform.node_invites().await?.into_iter().map(info).collect();
    Ok(Json(Page::of(all, page)))
}

/// Takes an invitation back.
#[utoipa::path(delete, path = "/nodes/invites/{invite_id}", tag = "nodes",
    security(("bearer" = [])), params(("invite_id" = String, Path)),
    responses((status = 200), (status = 403, body = Envelope), (status = 404, body = Envelope)))]
async fn revoke_invite(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    platform
        .revoke_node_invite(&id)
        .await
        .map_err(|_| ApiError::plain(StatusCode::NOT_FOUND, "Invite not found"))?;
    Ok(Json(json!({"status": "revoked", "invite_id": id})))
}

/// Joins: with an invitation, or as an administrator. Again with the same address: under another token.
#[utoipa::path(post, path = "/nodes/register", tag = "nodes", security(("bearer" = [])),
    request_body = Value,
    responses((status = 200, body = Registered), (status = 401, body = Envelope),
        (status = 403, body = Envelope), (status = 422, body = Envelope)))]
async fn register(
    State(platform): State<Platform>,
    headers: HeaderMap,
    Body(order): Body<RegisterOrder>,
) -> Answer<Json<Registered>> {
    let (node, token, source) = platform.register_node(bearer_of(&headers)?, order).await?;
    let node_id = node.id.to_string();
    let state = NodeState { node, is_healthy: true, n_instances: 0 };
    Ok(Json(Registered {
        node: NodeInfo::of(state, Sight::Operators),
        node_id,
        node_token: token.clone(),
        token,
        source: serde_json::to_value(source).unwrap_or_default(),
    }))
}

/// A node says how it stands, and learns what is live.
#[utoipa::path(post, path = "/nodes/heartbeat", tag = "nodes", security(("bearer" = [])),
    request_body = Value,
    responses((status = 200), (status = 401, body = Envelope), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn heartbeat(
    State(platform): State<Platform>,
    headers: HeaderMap,
    Body(beat): Body<Heartbeat>,
) -> Answer<Json<HeartbeatReply>> {
    Ok(Json(platform.heartbeat(bearer_of(&headers)?, beat).await?))
}

/// The manifest of what is live, for nodes.
#[utoipa::path(get, path = "/nodes/live", tag = "nodes", security(("bearer" = [])),
    responses((status = 200), (status = 401, body = Envelope), (status = 403, body = Envelope)))]
async fn live(State(platform): State<Platform>, headers: HeaderMap) -> Answer<Json<LiveReply>> {
    Ok(Json(platform.live_for_node(bearer_of(&headers)?).await?))
}

/// How an image may come.
struct ImageWay {
    registry: Option<String>,
}

impl FromParams for ImageWay {
    fn read(params: &mut Params) -> Self {
        Self { registry: Some(params.text("registry")).filter(|it| !it.is_empty()) }
    }
}

/// An image, for a node that would build it otherwise: 200 with it, 202 while somebody builds it, 204 when
/// the node is to build it itself.
#[utoipa::path(get, path = "/nodes/images/{key}", tag = "nodes", security(("bearer" = [])),
    params(("key" = String, Path, description = "what determines the image: 64 hex digits"),
        ("registry" = Option<String>, Query,
            description = "the repository of a registry that the node can fetch it from")),
    responses((status = 200, content_type = "application/x-tar",
            description = "as `docker save` writes it, `X-Flagops-Image` is its id; or nothing but its \
                digest in that repository as `X-Flagops-Registry-Digest`"),
        (status = 202, description = "ask again"), (status = 204, description = "build it"),
        (status = 403, body = Envelope), (status = 422, body = Envelope)))]
async fn image(
    State(platform): State<Platform>,
    headers: HeaderMap,
    Path(key): Path<String>,
    Query(way): Query<ImageWay>,
) -> Answer<Response> {
    let repository = way.registry.as_deref();
    Ok(match platform.image_for_node(bearer_of(&headers)?, &key, repository).await? {
        ImageReply::Image(image) => image_response(image),
        ImageReply::Wait => StatusCode::ACCEPTED.into_response(),
        ImageReply::Build => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Forgets a node; it may ask itself. Its instances fail, or go elsewhere.
#[utoipa::path(delete, path = "/nodes/{node_id}", tag = "nodes", security(("bearer" = [])),
    params(("node_id" = String, Path)),
    responses((status = 200), (status = 401, body = Envelope), (status = 403, body = Envelope)))]
async fn remove(
    State(platform): State<Platform>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    platform.remove_node(bearer_of(&headers)?, &id).await?;
    Ok(Json(json!({"status": "removed", "node_id": id})))
}

/// One node.
#[utoipa::path(get, path = "/admin/nodes/{node_id}", tag = "admin", security(("bearer" = [])),
    params(("node_id" = String, Path)),
    responses((status = 200, body = NodeInfo), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn one(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Answer<Json<NodeInfo>> {
    if id == NodeId::local().as_str()
        && let Some(info) = embedded(&platform).await?
    {
        return Ok(Json(info));
    }
    Ok(Json(NodeInfo::of(platform.node(&id).await?, Sight::Operators)))
}

/// Changes name, labels or duty of a node. Draining: what may move is made anew elsewhere.
#[utoipa::path(patch, path = "/admin/nodes/{node_id}", tag = "admin", security(("bearer" = [])),
    params(("node_id" = String, Path)), request_body = NodePatch,
    responses((status = 200, body = NodeInfo), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope)))]
async fn patch(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    Body(patch): Body<NodePatch>,
) -> Answer<Json<NodeInfo>> {
    let duty = match patch.duty.as_deref() {
        None => None,
        Some(word) => Some(Duty::from_word(word).ok_or_else(|| {
            ApiError::invalid(&[super::error::Issue {
                kind: "literal_error",
                location: vec!["body".to_owned(), "duty".to_owned()],
                message: format!("Input should be one of {}", Duty::WORDS.join(", ")),
                input: super::error::cut(word).into(),
                context: None,
            }])
        })?),
    };
    let change = NodeChange { name: patch.display_name, labels: patch.labels, duty };
    let why = patch.why.chars().filter(|c| !c.is_control()).take(300).collect();
    let state = platform.change_node(&caller, &id, change, why).await?;
    Ok(Json(NodeInfo::of(state, Sight::Operators)))
}

/// The last heartbeats of a node, the oldest first.
#[utoipa::path(get, path = "/admin/nodes/{node_id}/health-history", tag = "admin",
    security(("bearer" = [])), params(("node_id" = String, Path), PageParams),
    responses((status = 200, body = Page<HealthSample>), (status = 403, body = Envelope)))]
async fn history(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<HealthSample>>> {
    let samples = platform.node_samples(&id).await?;
    let all = samples.iter().map(|sample| HealthSample::of(&id, sample)).collect();
    Ok(Json(Page::of(all, page)))
}

/// How many events are wanted.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct EventLimit {
    /// From 1 to 200.
    #[param(required = false, minimum = 1, maximum = 200)]
    limit: u32,
}

impl FromParams for EventLimit {
    fn read(params: &mut Params) -> Self {
        let limit = params.integer("limit", 1..=200).unwrap_or(50);
        Self { limit: u32::try_from(limit).unwrap_or(50) }
    }
}

/// The last things that happened to a node, the newest first.
#[utoipa::path(get, path = "/admin/nodes/{node_id}/events", tag = "admin",
    security(("bearer" = [])), params(("node_id" = String, Path), EventLimit),
    responses((status = 200, body = [NodeActivity]), (status = 403, body = Envelope)))]
async fn events(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
    Query(EventLimit { limit }): Query<EventLimit>,
) -> Answer<Json<Vec<NodeActivity>>> {
    let activity = |it: NodeEvent| {
        let node = it.node.to_string();
        let mut detail = it.detail;
        if let Some(detail) = detail.as_object_mut() {
            detail.insert("node_id".to_owned(), node.clone().into());
        }
        NodeActivity {
            id: it.seq.to_string(),
            timestamp: it.at.rfc3339(),
            event: it.kind.as_str(),
            team_id: "",
            team_name: "",
            challenge_id: "",
            actor_id: node.clone(),
            actor_name: node,
            actor_type: "node",
            detail,
        }
    };
    Ok(Json(platform.node_events(&id, limit).await?.into_iter().map(activity).collect()))
}
