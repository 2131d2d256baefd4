//! The API of a node, for its platform and for the contract's `NodeClient` (`contract/http-api.md` §4.2).
//!
//! In:  requests with the token that the platform gave this node. Out: calls of [`Node`].
//!
//! # Invariants
//! * Without the token nothing but `/health` is answered; the comparison takes the same time wherever
//!   two tokens differ.
//! * Refusals are bare, `{"detail": …}`, as the contract wants them on nodes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use subtle::ConstantTimeEq;
use tower_http::catch_panic::CatchPanicLayer;
use uuid::Uuid;

use super::auth::bearer;
use super::error::Issue;
use super::extract::{MAX_BODY_BYTES, parse};
use super::request;
use super::shell_socket;
use crate::builder::{Carrier, Supplied};
use crate::model::{ChallengeId, InstanceId};
use crate::node::client::{IMAGE_DIGEST, IMAGE_ID};
use crate::node::wire::{
    Done, FileList, InstanceHealth, Logs, RenewOrder, ResetOrder, ShellOrder, StartOrder, Stopped,
    VpnOrder,
};
use crate::node::{Node, NodeError};
use crate::telemetry::metrics::Metrics;

/// What the routes share.
#[derive(Clone)]
struct Served {
    node: Arc<dyn Node>,
    /// `None` before this node joined. Secret.
    token: Option<Arc<str>>,
}

/// Everything a node answers to whoever shows `token`.
pub fn node_router(node: Arc<dyn Node>, token: Option<String>) -> Router {
    let served = Served { node, token: token.map(Arc::from) };
    let guarded = Router::new()
        .route("/instances", post(start).get(instances))
        .route("/instances/{id}", delete(stop))
        .route("/instances/{id}/status", get(status))
        .route("/instances/{id}/renew", post(renew))
        .route("/instances/{id}/reset", post(reset))
        .route("/instances/{id}/health", get(is_healthy))
        .route("/instances/{id}/agent-runtime", get(agent_runtime))
        .route("/instances/{id}/container-logs", get(logs))
        .route("/instances/{id}/traffic", get(traffic))
        .route("/instances/{id}/pcap", get(pcap))
        .route("/instances/{id}/containers", get(containers))
        .route("/instances/{id}/shell", get(shell))
        .route("/instances/{id}/attachments", get(files))
        .route("/instances/{id}/attachments/{*name}", get(file))
        .route("/instances/{id}/openvpn-config", get(openvpn_config))
        .route("/instances/{id}/vpn", put(admit).get(vpn_sessions))
        .route("/images/{key}", get(image))
        .route("/admin/stop-all", post(stop_all))
        .route("/admin/rescan-challenges", post(rescan))
        .route("/admin/challenges/build-all", post(build_all))
        .route("/admin/challenges/build-state", get(build_states))
        .route("/admin/challenges/{id}/build", post(build))
        .route_layer(middleware::from_fn_with_state(served.clone(), authorize));
    let under_v1 = guarded.route("/health", get(health));
    Router::new()
        .nest("/api/v1", under_v1)
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(request::not_found)
        .method_not_allowed_fallback(request::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::new())
        .with_state(served)
}

/// Lets only the platform in.
async fn authorize(State(served): State<Served>, request: Request, next: Next) -> Response {
    let refuse = |status: StatusCode, detail: &str| {
        (status, Json(json!({"detail": detail}))).into_response()
    };
    let Some(token) = &served.token else {
        return refuse(StatusCode::FORBIDDEN, "Node has not yet registered; token unavailable");
    };
    let Some(shown) = bearer(request.headers()) else {
        return refuse(StatusCode::UNAUTHORIZED, "Missing bearer token");
    };
    if !bool::from(token.as_bytes().ct_eq(shown.as_bytes())) {
        return refuse(StatusCode::FORBIDDEN, "Invalid node token");
    }
    next.run(request).await
}

/// A refusal of the node, or of what was sent to it.
enum Refusal {
    Node(NodeError),
    Body(Box<Issue>),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, detail) = match self {
            Self::Node(error) => (status_of(&error), error.to_string().into()),
            // The bare list of faults that the contract has on nodes.
            Self::Body(issue) => {
                let Issue { kind, location, message, input, .. } = *issue;
                let fault = json!({"type": kind, "loc": location, "msg": message, "input": input});
                (StatusCode::UNPROCESSABLE_ENTITY, json!([fault]))
            }
        };
        (status, Json(json!({"detail": detail}))).into_response()
    }
}

fn status_of(error: &NodeError) -> StatusCode {
    match error {
        NodeError::NotFound(_) => StatusCode::NOT_FOUND,
        NodeError::Conflict(_) => StatusCode::CONFLICT,
        NodeError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        NodeError::Unauthorized(_) => StatusCode::FORBIDDEN,
        NodeError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        NodeError::Unreachable(_) => StatusCode::BAD_GATEWAY,
    }
}

impl From<NodeError> for Refusal {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

type Answer<T> = Result<T, Refusal>;

/// The instance that is named; what is no id names none.
fn instance(id: &str) -> Answer<InstanceId> {
    id.parse().map_err(|_| Refusal::Node(NodeError::NotFound("Instance not found".to_owned())))
}

/// What was sent.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Answer<T> {
    parse(bytes).map_err(Refusal::Body)
}

async fn health(State(served): State<Served>) -> Answer<Response> {
    Ok(Json(served.node.health().await?).into_response())
}

/// For supervisors: this process answers.
async fn alive() -> Response {
    Json(json!({"status": "alive"})).into_response()
}

/// For supervisors: this node could take an instance.
async fn ready(State(served): State<Served>) -> Response {
    match served.node.readiness().await {
        Ok(()) => Json(json!({"status": "ready", "reason": ""})).into_response(),
        Err(why) => {
            let body = json!({"status": "unready", "reason": why.to_string()});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

/// Prometheus text, for this machine only.
async fn metrics(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if !peer.ip().is_loopback() {
        return request::not_found().await;
    }
    Metrics::install().render().into_response()
}

async fn start(State(served): State<Served>, bytes: Bytes) -> Answer<Response> {
    let order: StartOrder = body(&bytes)?;
    // The contract's reply has two members; ours has those of the status, too.
    Ok(Json(served.node.start(order).await?).into_response())
}

async fn instances(State(served): State<Served>) -> Answer<Response> {
    Ok(Json(served.node.instances().await?).into_response())
}

async fn status(State(served): State<Served>, Path(id): Path<String>) -> Answer<Response> {
    Ok(Json(served.node.status(instance(&id)?).await?).into_response())
}

async fn stop(State(served): State<Served>, Path(id): Path<String>) -> Answer<Response> {
    served.node.stop(instance(&id)?).await?;
    Ok(Json(Stopped { instance_id: id, status: "stopped".to_owned() }).into_response())
}

async fn renew(
    State(served): State<Served>,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Answer<Response> {
    let order: RenewOrder = body(&bytes)?;
    Ok(Json(served.node.renew(instance(&id)?, order.ttl).await?).into_response())
}

async fn reset(
    State(served): State<Served>,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Answer<Response> {
    let order: ResetOrder = body(&bytes)?;
    Ok(Json(served.node.reset(instance(&id)?, order).await?).into_response())
}

async fn is_healthy(State(served): State<Served>, Path(id): Path<String>) -> Answer<Response> {
    let is_healthy = served.node.is_healthy(instance(&id)?).await?;
    Ok(Json(InstanceHealth { is_healthy }).into_response())
}

async fn agent_runtime(State(served): State<Served>, Path(id): Path<String>) -> Answer<Response> {
    Ok(Json(served.node.agent_runtime(instance(&id)?).await?).into_response())
}

async fn logs(State(served): State<Served>, Path(id): Path<String>) -> Answer<Response> {
    let logs = served.node.logs(instance(&id)?).await?;
    Ok(Json(Logs { logs }).into_response())
}

async fn traffic(State(served): State<Served>, Path(id): Path<String>) -> Answer<Response> {
    Ok(Json(served.node.traffic(instance(&id)?).await?).into_response())
}

async fn pcap(State(served): State<Served>, Path(id): Path<String>) -> Answer<Response> {
    let bytes = served.node.pcap(instance(&id)?).await?;
    Ok(file_response(bytes, "application/vnd.tcpdump.pcap", None))
}

async fn containers(State(served): State<Served>, Path(id): Path<String>) -> Answer<Response> {
    let elsewhere = || NodeError::NotFound("Instance not found on this node".to_owned());
    let id = instance(&id).map_err(|_| elsewhere())?;
    Ok(Json(served.node.containers(id).await?).into_response())
}

async fn shell(
    State(served): State<Served>,
    Path(id): Path<String>,
    order: Result<Query<ShellOrder>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer<Response> {
    let invalid = |words: &str| NodeError::Invalid(words.to_owned());
    let Query(order) = order.map_err(|_| invalid("`container` is missing"))?;
    let upgrade = upgrade.map_err(|_| invalid("a shell is opened as a web socket"))?;
    let terminal = served.node.shell(instance(&id)?, order).await?;
    Ok(shell_socket::serve(upgrade, terminal))
}

async fn files(State(served): State<Served>, Path(id): Path<String>) -> Answer<Response> {
    let files = served.node.files(instance(&id)?).await?;
    Ok(Json(FileList { files }).into_response())
}

async fn file(
    State(served): State<Served>,
    Path((id, name)): Path<(String, String)>,
) -> Answer<Response> {
    let file = served.node.file(instance(&id)?, &name).await?;
    Ok(file_response(file.content, "application/octet-stream", Some(&file.tag)))
}

/// Whose profile is asked for.
#[derive(Deserialize)]
struct Wished {
    holder: Option<Uuid>,
}

async fn openvpn_config(
    State(served): State<Served>,
    Path(id): Path<String>,
    wished: Result<Query<Wished>, QueryRejection>,
) -> Answer<Response> {
    let Query(wished) =
        wished.map_err(|_| NodeError::Invalid("`holder` is no id: leave it out".to_owned()))?;
    let profile = served.node.openvpn_config(instance(&id)?, wished.holder).await?;
    Ok(file_response(profile, "application/x-openvpn-profile", None))
}

async fn admit(
    State(served): State<Served>,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Answer<Response> {
    let order: VpnOrder = body(&bytes)?;
    served.node.admit(instance(&id)?, order).await?;
    Ok(Json(Done { status: "told".to_owned() }).into_response())
}

async fn vpn_sessions(State(served): State<Served>, Path(id): Path<String>) -> Answer<Response> {
    Ok(Json(served.node.vpn_sessions(instance(&id)?).await?).into_response())
}

fn file_response(bytes: Bytes, kind: &'static str, tag: Option<&str>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    let mut response = (headers, bytes).into_response();
    if let Some(Ok(tag)) = tag.map(|tag| HeaderValue::from_str(&format!("\"{tag}\""))) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// How an image may come.
#[derive(Debug, Deserialize)]
struct ImageWay {
    /// The repository of a registry that it may be fetched from.
    #[serde(default)]
    registry: Option<String>,
}

async fn image(
    State(served): State<Served>,
    Path(key): Path<String>,
    Query(way): Query<ImageWay>,
) -> Answer<Response> {
    let unknown = || NodeError::NotFound("this node has no such image".to_owned());
    let key = key.parse().map_err(|_| unknown())?;
    Ok(image_response(served.node.image(key, way.registry.as_deref()).await?))
}

/// An image as a body, with the id that it has where it comes from.
pub(super) fn image_response(image: Supplied) -> Response {
    let headers = [(IMAGE_ID, image.id), (header::CACHE_CONTROL.as_str(), "no-store".to_owned())];
    match image.carrier {
        Carrier::Bytes(bytes) => {
            let kind = [(header::CONTENT_TYPE, "application/x-tar")];
            (headers, kind, Body::from_stream(bytes)).into_response()
        }
        Carrier::Registry(digest) => (headers, [(IMAGE_DIGEST, digest)]).into_response(),
    }
}

async fn stop_all(State(served): State<Served>) -> Answer<Response> {
    served.node.stop_all().await?;
    Ok(Json(Done { status: "stopped".to_owned() }).into_response())
}

async fn rescan(State(served): State<Served>) -> Answer<Response> {
    Ok(Json(served.node.rescan().await?).into_response())
}

async fn build(State(served): State<Served>, Path(id): Path<String>) -> Answer<Response> {
    let unknown = || {
        let id = super::error::cut(&id);
        NodeError::NotFound(format!("Challenge not found on this node: {id}"))
    };
    let challenge: ChallengeId = id.parse().map_err(|_| unknown())?;
    let reply = served.node.build(challenge).await?;
    Ok((StatusCode::ACCEPTED, Json(reply)).into_response())
}

async fn build_all(State(served): State<Served>) -> Answer<Response> {
    let reply = served.node.build_all().await?;
    Ok((StatusCode::ACCEPTED, Json(reply)).into_response())
}

async fn build_states(State(served): State<Served>) -> Answer<Response> {
    Ok(Json(served.node.build_states().await?).into_response())
}
