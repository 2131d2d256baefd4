//! Is it alive, is it ready, what is it, how busy is it.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, Maybe};
use super::error::{Answer, ApiError, Envelope};
use super::limits::peer;
use super::standings::as_u32;
use crate::daemon::platform::{Platform, SourceState};

/// What clients compare with their own version: the contract's, then ours.
pub(crate) const VERSION: &str = concat!("0.6.3+flagops.", env!("CARGO_PKG_VERSION"));

/// Routes under `/api/v1`.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(meta)).routes(routes!(cluster_info))
}

/// Routes at the root, for supervisors and monitoring.
pub(crate) fn probes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(alive)).routes(routes!(ready)).routes(routes!(metrics))
}

/// What clients look at first.
#[derive(Debug, Serialize, ToSchema)]
struct HealthResponse {
    /// Always `ok`.
    status: &'static str,
    /// The product; the machine's name is nobody's business.
    hostname: &'static str,
    running_instances: u32,
    /// Instances that can still be started.
    capacity: u32,
    #[schema(example = "0.6.3+flagops.0.1.0")]
    version: &'static str,
}

/// What runs here. The counters are null unless an administrator asks.
#[derive(Debug, Serialize, ToSchema)]
struct MetaResponse {
    version: &'static str,
    platform: MetaPlatform,
    challenges: MetaChallenges,
    /// What players have; null before anything went live.
    release: Option<MetaRelease>,
    /// Unix seconds.
    started_at_ts: f64,
    /// Unix seconds.
    server_time_ts: f64,
    teams_total: Option<u32>,
    users_total: Option<u32>,
    nodes_total: Option<u32>,
    nodes_healthy: Option<u32>,
    running_instances: Option<u32>,
    solves_total: Option<u32>,
    /// Always false.
    admin_shell_enabled: bool,
}

/// The platform's own source.
#[derive(Debug, Serialize, ToSchema)]
struct MetaPlatform {
    commit_sha: Option<String>,
    commit_url: Option<String>,
    repo_url: String,
}

/// The challenge repository.
#[derive(Debug, Serialize, ToSchema)]
struct MetaChallenges {
    /// The newest commit read.
    commit_sha: Option<String>,
    commit_url: Option<String>,
    /// For administrators; credentials masked.
    repo_url: String,
    total: u32,
}

/// What players have, as a whole.
#[derive(Debug, Serialize, ToSchema)]
struct MetaRelease {
    /// Only ever grows.
    generation: u32,
    /// The tag, where tags go live.
    tag: Option<String>,
    /// The commit that was released; `challenges` has the newest one.
    commit_sha: String,
    /// The hash of the manifest.
    release_id: String,
}

/// How to reach the platform from a node.
#[derive(Debug, Serialize, ToSchema)]
struct ClusterInfo {
    platform_url: String,
    /// Empty: the node is inside the platform.
    node_image: &'static str,
}

/// Whether it can be used, in one word.
#[derive(Debug, Serialize, ToSchema)]
struct Probe {
    /// `alive`, `ready` or `unready`.
    status: &'static str,
    /// Why not.
    reason: &'static str,
}

/// The first thing that clients ask: who answers, and which version.
#[utoipa::path(get, path = "/health", tag = "meta", responses((status = 200, body = HealthResponse)))]
async fn health(State(platform): State<Platform>) -> Answer<Json<HealthResponse>> {
    let counts = platform.totals().await?;
    Ok(Json(HealthResponse {
        status: "ok",
        hostname: "flagops",
        running_instances: counts.running_instances,
        capacity: counts.max_instances.saturating_sub(counts.live_instances),
        version: VERSION,
    }))
}

/// How many nodes there are, the embedded one among them, and how many of them are well.
async fn nodes_of(platform: &Platform) -> Answer<(u32, u32)> {
    let nodes = platform.nodes().await?;
    let n_healthy = nodes.iter().filter(|state| state.is_healthy).count();
    let own = u32::from(platform.has_local_node());
    let own_healthy = own * u32::from(platform.is_engine_ready());
    Ok((own + as_u32(nodes.len()), own_healthy + as_u32(n_healthy)))
}

/// The numbers that administrators are told whenever one of them changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MetaStats {
    teams_total: u32,
    users_total: u32,
    nodes_total: u32,
    nodes_healthy: u32,
    running_instances: u32,
    solves_total: u32,
    challenges_total: u32,
}

impl MetaStats {
    /// As they are now.
    pub(crate) async fn of(platform: &Platform) -> Answer<Self> {
        let counts = platform.totals().await?;
        let (nodes_total, nodes_healthy) = nodes_of(platform).await?;
        Ok(Self {
            teams_total: counts.teams,
            users_total: counts.users,
            nodes_total,
            nodes_healthy,
            running_instances: counts.running_instances,
            solves_total: counts.solves,
            challenges_total: as_u32(platform.live().len()),
        })
    }
}

/// What runs here, since when, from which revision.
#[utoipa::path(get, path = "/meta", tag = "meta", responses((status = 200, body = MetaResponse)))]
async fn meta(State(platform): State<Platform>, caller: Maybe) -> Answer<Json<MetaResponse>> {
    // Before the first look at the remote there is no revision, and that is no failure here.
    let source = platform.source().await.ok();
    let counts = if caller.is_admin() { Some(platform.totals().await?) } else { None };
    let nodes = if caller.is_admin() { Some(nodes_of(&platform).await?) } else { None };
    let release = platform.active().await?.map(|(generation, manifest)| MetaRelease {
        generation: generation.number,
        tag: manifest.tag.map(|(name, _)| name.to_string()),
        commit_sha: manifest.revision.to_string(),
        release_id: generation.release.to_string(),
    });
    Ok(Json(MetaResponse {
        version: VERSION,
        platform: MetaPlatform { commit_sha: None, commit_url: None, repo_url: String::new() },
        challenges: MetaChallenges {
            commit_sha: source.as_ref().and_then(|s| s.revision).map(|rev| rev.to_string()),
            commit_url: None,
            repo_url: remote_for(&caller, source),
            total: as_u32(platform.live().len()),
        },
        release,
        started_at_ts: platform.started_at().as_secs_f64(),
        server_time_ts: platform.now().as_secs_f64(),
        teams_total: counts.as_ref().map(|counts| counts.teams),
        users_total: counts.as_ref().map(|counts| counts.users),
        nodes_total: nodes.map(|(n_nodes, _)| n_nodes),
        nodes_healthy: nodes.map(|(_, n_healthy)| n_healthy),
        running_instances: counts.as_ref().map(|counts| counts.running_instances),
        solves_total: counts.as_ref().map(|counts| counts.solves),
        admin_shell_enabled: platform.has_shells(),
    }))
}

fn remote_for(caller: &Maybe, source: Option<SourceState>) -> String {
    source.filter(|_| caller.is_admin()).map(|source| source.remote).unwrap_or_default()
}

/// How to reach the platform (administrators).
#[utoipa::path(get, path = "/cluster-info", tag = "meta", security(("bearer" = [])),
    responses((status = 200, body = ClusterInfo), (status = 401, body = Envelope),
        (status = 403, body = Envelope)))]
async fn cluster_info(_admin: Admin, headers: HeaderMap) -> Json<ClusterInfo> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    Json(ClusterInfo { platform_url: format!("http://{host}"), node_image: "" })
}

/// Whether the process answers at all.
#[utoipa::path(get, path = "/healthz", tag = "probes", responses((status = 200, body = Probe)))]
async fn alive() -> Json<Probe> {
    Json(Probe { status: "alive", reason: "" })
}

/// Whether instances can be started: the engine answered its last real create.
#[utoipa::path(get, path = "/readyz", tag = "probes",
    responses((status = 200, body = Probe), (status = 503, body = Probe)))]
async fn ready(State(platform): State<Platform>) -> Response {
    if platform.is_engine_ready() {
        return Json(Probe { status: "ready", reason: "" }).into_response();
    }
    let reason = "the container engine does not answer; `flagops doctor` says why";
    (StatusCode::SERVICE_UNAVAILABLE, Json(Probe { status: "unready", reason })).into_response()
}

/// Metrics in Prometheus' text format, for administrators and for this machine.
#[utoipa::path(get, path = "/metrics", tag = "probes", security((), ("bearer" = [])),
    responses((status = 200, content_type = "text/plain; version=0.0.4", body = String),
        (status = 401, body = Envelope), (status = 403, body = Envelope)))]
async fn metrics(
    State(platform): State<Platform>,
    caller: Maybe,
    request: Request,
) -> Answer<Response> {
    let is_local = is_this_machine(peer(request.extensions()), request.headers());
    if !caller.is_admin() && !is_local {
        let status =
            if caller.0.is_some() { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
        return Err(ApiError::plain(status, "Admin privileges required"));
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, platform.metrics()).into_response())
}

/// Whether nobody else can be behind this peer: a reverse proxy on this machine says for whom it
/// asks.
fn is_this_machine(peer: IpAddr, headers: &HeaderMap) -> bool {
    let is_forwarded = ["forwarded", "x-forwarded-for", "x-real-ip", "via"]
        .iter()
        .any(|name| headers.contains_key(*name));
    peer.is_loopback() && !is_forwarded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_on_this_machine_is_not_this_machine() {
        let (here, there) = ("127.0.0.1".parse().unwrap(), "10.0.0.7".parse().unwrap());
        let mut headers = HeaderMap::new();
        assert!(is_this_machine(here, &headers));
        assert!(is_this_machine("::1".parse().unwrap(), &headers));
        assert!(!is_this_machine(there, &headers));
        headers.insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
        assert!(!is_this_machine(here, &headers));
    }

    #[test]
    fn the_version_begins_like_the_contract_s() {
        assert!(VERSION.starts_with("0.6."));
        assert!(!VERSION.contains("+unknown"));
    }
}
