//! Images in the contract's words: state, kick-off, rescan, on every node; the embedded one is `local`.
//!
//! A node that does not answer is told as such and never makes the whole fail.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::error::{Answer, Envelope, cut};
use super::extract::Path;
use super::standings::as_u32;
use crate::daemon::platform::{ChallengeState, Platform, PlatformError, Told};
use crate::model::{BuildState, ChallengeId, NodeId, Timestamp};
use crate::node::wire::{BuildAllReply, BuildStates, RescanReply};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(build_state))
        .routes(routes!(build_one))
        .routes(routes!(build_all))
        .routes(routes!(rescan))
}

/// The images of every challenge.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct BuildStateResponse {
    rows: Vec<BuildStateRow>,
}

/// The images of one challenge.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct BuildStateRow {
    challenge_id: String,
    /// `failed`, `building`, `unbuilt` or `built`.
    aggregated: &'static str,
    nodes: Vec<NodeBuildState>,
}

/// The images of one challenge on one node.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct NodeBuildState {
    node_id: String,
    status: &'static str,
    /// Unix seconds; 0 unless built.
    built_at: f64,
    /// Why it failed, by service.
    error: String,
    /// Why the node could not be asked.
    node_error: String,
}

/// What a kick-off began.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct KickoffResponse {
    /// Empty for all.
    challenge_id: String,
    nodes: Vec<KickoffNode>,
}

/// What a kick-off began on one node.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
struct KickoffNode {
    node_id: String,
    ok: bool,
    status: &'static str,
    queued: Vec<String>,
    skipped_built: Vec<String>,
    skipped_in_progress: Vec<String>,
    error: String,
}

/// What a look at the remote changed.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct RescanResult {
    /// Challenges at the newest revision.
    total: u32,
    added: Vec<String>,
    removed: Vec<String>,
    nodes: Vec<RescanNode>,
}

/// The same on one node.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct RescanNode {
    node_id: String,
    ok: bool,
    total: Option<u32>,
    error: Option<String>,
}

impl RescanNode {
    fn fine(node: &NodeId, total: u32) -> Self {
        Self { node_id: node.to_string(), ok: true, total: Some(total), error: None }
    }
}

/// The images of one challenge on this machine.
fn own_state(state: &ChallengeState) -> NodeBuildState {
    let finished = state.builds.iter().filter_map(|build| build.finished_at).max();
    let built_at = finished.filter(|_| state.build == BuildState::Built);
    let failed = state.builds.iter().filter(|build| build.state == BuildState::Failed);
    let errors =
        failed.filter_map(|build| Some(format!("{}: {}", build.service, build.error.as_ref()?)));
    NodeBuildState {
        node_id: NodeId::local().to_string(),
        status: state.build.as_str(),
        built_at: built_at.map_or(0.0, Timestamp::as_secs_f64),
        error: errors.collect::<Vec<_>>().join("; "),
        node_error: String::new(),
    }
}

/// The same on another node, by what it said of all.
fn state_elsewhere(id: &str, told: &Told<BuildStates>) -> NodeBuildState {
    let unbuilt = NodeBuildState {
        node_id: told.node.to_string(),
        status: BuildState::Unbuilt.as_str(),
        built_at: 0.0,
        error: String::new(),
        node_error: String::new(),
    };
    match &told.said {
        Err(why) => NodeBuildState { node_error: why.clone(), ..unbuilt },
        Ok(states) => match states.rows.iter().find(|row| row.challenge_id == id) {
            None => unbuilt,
            Some(row) => NodeBuildState {
                status: BuildState::from_word(&row.status).unwrap_or(BuildState::Unbuilt).as_str(),
                built_at: row.built_at,
                error: row.error.clone(),
                ..unbuilt
            },
        },
    }
}

/// One challenge: the first that applies of failed, building, unbuilt, built; unbuilt without a node.
fn row(id: &str, nodes: Vec<NodeBuildState>) -> BuildStateRow {
    let order = [BuildState::Failed, BuildState::Building, BuildState::Unbuilt, BuildState::Built];
    let words = order.map(BuildState::as_str).into_iter();
    let mut seen = words.filter(|word| nodes.iter().any(|node| node.status == *word));
    let aggregated = seen.next().unwrap_or(BuildState::Unbuilt.as_str());
    BuildStateRow { challenge_id: id.to_owned(), aggregated, nodes }
}

/// The images of every challenge, by id.
#[utoipa::path(get, path = "/admin/challenges/build-state", tag = "admin",
    security(("bearer" = [])),
    responses((status = 200, body = BuildStateResponse), (status = 403, body = Envelope)))]
async fn build_state(
    State(platform): State<Platform>,
    _admin: Admin,
) -> Answer<Json<BuildStateResponse>> {
    let states = platform.challenge_states().await?;
    let told = platform.builds_elsewhere().await;
    let own = |state| platform.has_local_node().then(|| own_state(state));
    let rows = states.iter().map(|state| {
        let id = state.id.as_str();
        let elsewhere = told.iter().map(|told| state_elsewhere(id, told));
        row(id, own(state).into_iter().chain(elsewhere).collect())
    });
    Ok(Json(BuildStateResponse { rows: rows.collect() }))
}

/// Asks for the images of one challenge again, also when they failed for good.
#[utoipa::path(post, path = "/admin/challenges/{challenge_id}/build", tag = "admin",
    security(("bearer" = [])), params(("challenge_id" = String, Path)),
    responses((status = 200, body = KickoffResponse), (status = 403, body = Envelope)))]
async fn build_one(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Answer<Json<KickoffResponse>> {
    let mut states = platform.challenge_states().await?;
    states.retain(|state| state.id.as_str() == id);
    let mut nodes = Vec::new();
    if platform.has_local_node() && states.is_empty() {
        // As the contract wants it: an unknown challenge is the node's refusal, not ours.
        let error = format!("node returned 404: Challenge not found on this node: {}", cut(&id));
        let node_id = NodeId::local().to_string();
        nodes.push(KickoffNode { node_id, error, ..KickoffNode::default() });
    } else if platform.has_local_node() {
        nodes.push(kick_off(&platform, &states).await?);
    }
    if let Ok(known) = id.parse() {
        let told = platform.build_elsewhere(&known).await.into_iter();
        nodes.extend(told.map(|told| {
            let queued = vec![known.to_string()];
            kicked(told, |_| BuildAllReply { queued, ..BuildAllReply::default() })
        }));
    }
    Ok(Json(KickoffResponse { challenge_id: cut(&id), nodes }))
}

/// Asks for every image that is not there yet.
#[utoipa::path(post, path = "/admin/challenges/build-all", tag = "admin",
    security(("bearer" = [])),
    responses((status = 200, body = KickoffResponse), (status = 403, body = Envelope)))]
async fn build_all(
    State(platform): State<Platform>,
    _admin: Admin,
) -> Answer<Json<KickoffResponse>> {
    let states = platform.challenge_states().await?;
    let mut nodes = Vec::new();
    if platform.has_local_node() {
        nodes.push(kick_off(&platform, &states).await?);
    }
    let told = platform.build_all_elsewhere().await.into_iter();
    nodes.extend(told.map(|told| kicked(told, |reply| reply)));
    Ok(Json(KickoffResponse { challenge_id: String::new(), nodes }))
}

/// What a kick-off began on another node.
fn kicked<T>(told: Told<T>, asked_for: impl FnOnce(T) -> BuildAllReply) -> KickoffNode {
    let node_id = told.node.to_string();
    match told.said {
        Err(error) => KickoffNode { node_id, error, ..KickoffNode::default() },
        Ok(reply) => {
            let BuildAllReply { queued, skipped_built, skipped_in_progress } = asked_for(reply);
            KickoffNode {
                node_id,
                ok: true,
                status: "ok",
                queued,
                skipped_built,
                skipped_in_progress,
                error: String::new(),
            }
        }
    }
}

async fn kick_off(platform: &Platform, states: &[ChallengeState]) -> Answer<KickoffNode> {
    let mut node = KickoffNode {
        node_id: NodeId::local().to_string(),
        ok: true,
        status: "ok",
        ..KickoffNode::default()
    };
    for state in states {
        let id = state.id.to_string();
        match state.build {
            BuildState::Built => node.skipped_built.push(id),
            BuildState::Building => node.skipped_in_progress.push(id),
            BuildState::Unbuilt | BuildState::Failed => match platform.rebuild(&id).await {
                Ok(()) => node.queued.push(id),
                // Gone or invalid since we looked: nothing to build.
                Err(PlatformError::ChallengeNotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
    Ok(node)
}

/// Looks at the remote at once and says which challenges came and went.
#[utoipa::path(post, path = "/admin/challenges/rescan", tag = "admin", security(("bearer" = [])),
    responses((status = 200, body = RescanResult), (status = 403, body = Envelope)))]
async fn rescan(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<RescanResult>> {
    let before = at_head(&platform.challenge_states().await?);
    platform.reconcile_now().await?;
    let after = at_head(&platform.challenge_states().await?);
    let told = platform.rescan_elsewhere().await;
    let seen = |told: Told<RescanReply>| match told.said {
        Ok(reply) => RescanNode::fine(&told.node, reply.total),
        Err(error) => RescanNode {
            node_id: told.node.to_string(),
            ok: false,
            total: None,
            error: Some(error),
        },
    };
    let own =
        platform.has_local_node().then(|| RescanNode::fine(&NodeId::local(), as_u32(after.len())));
    let nodes = own.into_iter().chain(told.into_iter().map(seen)).collect();
    Ok(Json(difference(&before, &after, nodes)))
}

/// The challenges at the newest revision.
fn at_head(states: &[ChallengeState]) -> Vec<ChallengeId> {
    let here = states.iter().filter(|state| state.head_tree.is_some());
    here.map(|state| state.id.clone()).collect()
}

fn difference(
    before: &[ChallengeId],
    after: &[ChallengeId],
    nodes: Vec<RescanNode>,
) -> RescanResult {
    let only_in = |these: &[ChallengeId], those: &[ChallengeId]| {
        let ids = these.iter().filter(|id| !those.contains(id));
        ids.map(ToString::to_string).collect()
    };
    let total = as_u32(after.len());
    RescanResult { total, added: only_in(after, before), removed: only_in(before, after), nodes }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{build, state};
    use super::*;

    #[test]
    fn a_failed_image_is_named_with_its_service() {
        let mut web = state("WEB-001", BuildState::Failed);
        let mut failed = build("WEB-001", BuildState::Failed);
        failed.error = Some("no such package".to_owned());
        web.builds = vec![build("WEB-001", BuildState::Built), failed];
        insta::assert_json_snapshot!(row("WEB-001", vec![own_state(&web)]), @r#"
        {
          "challenge_id": "WEB-001",
          "aggregated": "failed",
          "nodes": [
            {
              "node_id": "local",
              "status": "failed",
              "built_at": 0.0,
              "error": "web: no such package",
              "node_error": ""
            }
          ]
        }
        "#);
    }

    #[test]
    fn a_node_that_is_silent_keeps_a_challenge_from_counting_as_built() {
        let built = |id: &str| BuildStates {
            rows: vec![crate::node::wire::BuildReply {
                challenge_id: id.to_owned(),
                status: "built".to_owned(),
                built_at: 5.0,
                error: String::new(),
            }],
        };
        let told = |name: &str, said| Told { node: name.parse().unwrap(), said };
        let one = told("one", Ok(built("WEB-001")));
        let two = told("two", Err("node offline (no recent heartbeat)".to_owned()));
        let states = |told: &[&Told<BuildStates>]| {
            row("WEB-001", told.iter().map(|told| state_elsewhere("WEB-001", told)).collect())
        };
        assert_eq!(states(&[&one]).aggregated, "built");
        let both = states(&[&one, &two]);
        assert_eq!(both.aggregated, "unbuilt");
        assert_eq!(both.nodes[1].node_error, "node offline (no recent heartbeat)");
        assert_eq!(states(&[&told("three", Ok(built("WEB-002")))]).aggregated, "unbuilt");
        assert_eq!(states(&[]).aggregated, "unbuilt");
    }

    #[test]
    fn a_rescan_says_what_came_and_what_went() {
        let ids = |ids: &[&str]| ids.iter().map(|id| id.parse().unwrap()).collect::<Vec<_>>();
        let result = difference(&ids(&["A-1", "B-1"]), &ids(&["B-1", "C-1"]), Vec::new());
        assert_eq!((result.added, result.removed), (vec!["C-1".into()], vec!["A-1".into()]));
        assert_eq!(result.total, 2);
    }
}
