//! The archive: what is left of instances that are over (administrators).
//!
//! # Invariants
//! * An id that nobody knows has no record (404), and empty listings beside it, as the contract wants.
//! * Answers of the author are not in a record: they are in the repository. What players sent is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::catalogue::{Lock, QuestionPublicInfo, question_info};
use super::download;
use super::error::{Answer, Envelope};
use super::extract::{FromParams, Params, Path, Query};
use super::instance_view::{AttackSurface, surface_of};
use super::instances::{self, Flow};
use super::page::{LongPage, Page, PageParams};
use super::standings::as_u32;
use super::submissions::SubmissionState;
use crate::contest::tally::Solves;
use crate::daemon::platform::{LiveSet, Platform, PlatformError};
use crate::model::{
    Activity, Challenge, ChallengeId, InstancePhase, InstanceStatus, NodeId, TeamId, Timestamp,
};
use crate::store::{RecordFilter, RecordRow};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(log))
        .routes(routes!(events))
        .routes(routes!(submissions))
        .routes(routes!(traffic))
        .routes(routes!(pcap))
}

/// What is left of an instance.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct InstanceRecordInfo {
    id: String,
    challenge_id: String,
    team_id: String,
    competition_id: String,
    node_id: String,
    name: String,
    category: Option<&'static str>,
    difficulty: &'static str,
    /// `stopped` or `error`; of one that is not over what players are told.
    status: &'static str,
    /// Why it ended.
    stop_reason: &'static str,
    /// Why it failed, for players.
    error: String,
    /// The same for organizers, with the last words of its containers.
    error_detail: String,
    /// When it was asked for, in Unix seconds.
    started_at: f64,
    /// 0 while it is not over.
    stopped_at: f64,
    /// The lease in seconds.
    ttl: u32,
    /// From the wish to the end; 0 while it is not over.
    duration_s: f64,
    /// Whether its team has every question.
    solved: bool,
    /// Answers of its team to the challenge.
    attempts: u32,
    /// Always 0: requests in captured packets are counted for one record at a time.
    request_count: u32,
    /// The commit it was started from.
    revision: String,
}

/// A record with everything that hangs on it.
#[derive(Debug, Serialize, ToSchema)]
struct InstanceRecordDetail {
    record: InstanceRecordWhole,
    artifacts: InstanceRecordArtifacts,
}

/// A record, and what it was a copy of.
#[derive(Debug, Serialize, ToSchema)]
struct InstanceRecordWhole {
    #[serde(flatten)]
    record: InstanceRecordInfo,
    /// The challenge at its own revision, without answers; only the id when that can be read no more.
    spec: RecordSpec,
    surface: Option<AttackSurface>,
    /// Always empty: nothing of it is a file.
    artifact_dir: &'static str,
}

/// The challenge that an instance was a copy of.
#[derive(Debug, Serialize, ToSchema)]
struct RecordSpec {
    /// The id of the instance.
    id: String,
    challenge_id: String,
    name: String,
    description: String,
    tags: Vec<String>,
    network_topology: &'static str,
    questions: Vec<QuestionPublicInfo>,
    services: Vec<String>,
    revision: String,
    tree: String,
}

/// How much there is beside a record.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct InstanceRecordArtifacts {
    has_manifest: bool,
    has_container_log: bool,
    events_count: u32,
    submissions_count: u32,
    /// Requests by HTTP in its captured packets.
    traffic_count: u32,
    /// What is kept of its packets on the platform.
    pcap_bytes: u32,
}

/// What its containers wrote.
#[derive(Debug, Serialize, ToSchema)]
struct RecordLog {
    instance_id: String,
    /// Written by the challenge: hostile text. Answers of the instance are masked.
    logs: String,
}

/// One thing that happened to it, with what belongs to its kind.
#[derive(Debug, Serialize, ToSchema)]
struct RecordEvent {
    /// ISO 8601 with offset.
    timestamp: String,
    event: String,
    actor_id: String,
    actor_name: String,
    /// `team`, `node`, `admin` or `system`.
    actor_type: &'static str,
    team_id: String,
    team_name: String,
    challenge_id: String,
    #[serde(flatten)]
    data: BTreeMap<String, Value>,
}

/// Which records are wanted.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    #[param(required = false)]
    team_id: String,
    #[param(required = false)]
    challenge_id: String,
    #[param(required = false)]
    node_id: String,
    /// `stopped` or `error`.
    #[param(required = false)]
    status: String,
    /// Only those that were asked for at this time or later, in Unix seconds.
    #[param(required = false)]
    since_ts: f64,
}

impl FromParams for Wanted {
    fn read(params: &mut Params) -> Self {
        Self {
            team_id: params.text("team_id"),
            challenge_id: params.text("challenge_id"),
            node_id: params.text("node_id"),
            status: params.text("status"),
            since_ts: params.parsed("since_ts").unwrap_or_default(),
        }
    }
}

impl Wanted {
    /// What is asked of the store; `None` when nothing can fit.
    fn filter(&self, page: LongPage) -> Option<RecordFilter> {
        fn opt<T: std::str::FromStr>(text: &str) -> Option<Option<T>> {
            if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
        }
        let phase = match self.status.as_str() {
            "" => None,
            "stopped" => Some(InstancePhase::Stopped),
            "error" => Some(InstancePhase::Failed),
            _ => return None,
        };
        Some(RecordFilter {
            team: opt::<TeamId>(&self.team_id)?,
            challenge: opt::<ChallengeId>(&self.challenge_id)?,
            node: opt::<NodeId>(&self.node_id)?,
            phase,
            since: Timestamp::from_secs_f64(self.since_ts).filter(|_| self.since_ts > 0.0),
            page: (page.limit, page.offset),
        })
    }
}

/// What records are shown with, read once.
struct Books {
    live: std::sync::Arc<LiveSet>,
    solves: Arc<Solves>,
    attempts: BTreeMap<(TeamId, ChallengeId), u32>,
}

impl Books {
    async fn read(platform: &Platform) -> Answer<Self> {
        let tries = platform.tries(None).await?.into_iter();
        Ok(Self {
            live: platform.live(),
            solves: platform.solves().await?,
            attempts: tries.map(|it| ((it.team, it.challenge), it.n)).collect(),
        })
    }

    fn info(&self, row: &RecordRow, challenge: Option<&Challenge>) -> InstanceRecordInfo {
        let RecordRow { instance, error_detail } = row;
        let live = self.live.get(&instance.challenge);
        let challenge = challenge.or(live.map(|live| &*live.challenge));
        let metadata = challenge.map(|challenge| &challenge.metadata);
        let key = (instance.team, instance.challenge.clone());
        let stopped_at = instance.stopped_at.filter(|_| !instance.phase.is_live());
        InstanceRecordInfo {
            id: instance.id.to_string(),
            challenge_id: instance.challenge.to_string(),
            team_id: instance.team.to_string(),
            competition_id: instance.competition.clone(),
            node_id: instance.node.to_string(),
            name: metadata.map_or(instance.challenge.as_str(), |it| it.name.as_str()).to_owned(),
            category: metadata.map(|it| it.category.as_str()),
            difficulty: metadata.map_or("", |it| it.difficulty.as_str()),
            status: instance.status().as_str(),
            stop_reason: instance.stop_reason.map_or("", |reason| reason.as_str()),
            error: instance.error.clone().unwrap_or_default(),
            error_detail: error_detail.clone(),
            started_at: instance.created_at.as_secs_f64(),
            stopped_at: stopped_at.map_or(0.0, Timestamp::as_secs_f64),
            ttl: instance.ttl_secs,
            duration_s: stopped_at
                .map_or(0.0, |at| at.as_secs_f64() - instance.created_at.as_secs_f64()),
            solved: challenge.is_some_and(|it| self.solves.tally().has_solved(instance.team, it)),
            attempts: self.attempts.get(&key).copied().unwrap_or(0),
            request_count: 0,
            revision: instance.revision.to_string(),
        }
    }
}

fn spec(row: &RecordRow, challenge: Option<&Challenge>) -> RecordSpec {
    let metadata = challenge.map(|challenge| &challenge.metadata);
    let compose = challenge.and_then(|challenge| challenge.compose.as_ref());
    RecordSpec {
        id: row.instance.id.to_string(),
        challenge_id: row.instance.challenge.to_string(),
        name: metadata.map(|it| it.name.clone()).unwrap_or_default(),
        description: metadata.map(|it| it.description.clone()).unwrap_or_default(),
        tags: metadata.map(|it| it.tags.clone()).unwrap_or_default(),
        network_topology: metadata.map_or("simple", |it| it.topology.as_str()),
        questions: metadata
            .into_iter()
            .flat_map(|it| &it.questions)
            .map(|question| question_info(question, Lock::Open))
            .collect(),
        services: compose
            .into_iter()
            .flat_map(|compose| compose.services.iter().map(|service| service.name.to_string()))
            .collect(),
        revision: row.instance.revision.to_string(),
        tree: row.instance.tree.to_string(),
    }
}

fn event(activity: Activity, team_name: &str) -> RecordEvent {
    let happening = serde_json::to_value(&activity.happening).unwrap_or(Value::Null);
    let data = match happening.get("detail") {
        Some(Value::Object(members)) => members.clone().into_iter().collect(),
        Some(_) | None => BTreeMap::new(),
    };
    RecordEvent {
        timestamp: activity.at.rfc3339().replace('Z', "+00:00"),
        event: happening["event"].as_str().unwrap_or_default().to_owned(),
        actor_id: activity.actor.id,
        actor_name: activity.actor.name,
        actor_type: activity.actor.kind.as_str(),
        team_id: activity.team.map(|team| team.to_string()).unwrap_or_default(),
        team_name: team_name.to_owned(),
        challenge_id: activity.challenge.map(|id| id.to_string()).unwrap_or_default(),
        data,
    }
}

async fn found(platform: &Platform, id: &str) -> Answer<RecordRow> {
    let record = platform.archived(id).await?;
    record.ok_or_else(|| PlatformError::InstanceNotFound { id: id.to_owned() }.into())
}

/// What is left of instances that are over, the newest start first.
#[utoipa::path(get, path = "/admin/instance-records", tag = "admin", security(("bearer" = [])),
    params(Wanted, LongPage),
    responses((status = 200, body = Page<InstanceRecordInfo>), (status = 403, body = Envelope),
        (status = 422, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    _admin: Admin,
    Query((wanted, page)): Query<(Wanted, LongPage)>,
) -> Answer<Json<Page<InstanceRecordInfo>>> {
    let LongPage { limit, offset } = page;
    let (rows, total) = match wanted.filter(page) {
        Some(filter) => platform.archive(filter).await?,
        None => (Vec::new(), 0),
    };
    let books = Books::read(&platform).await?;
    let items = rows.iter().map(|row| books.info(row, None)).collect();
    Ok(Json(Page { items, total, limit, offset }))
}

/// The record of one instance; what is known so far of one that is not over.
#[utoipa::path(get, path = "/admin/instance-records/{instance_id}", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = InstanceRecordDetail), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn one(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Answer<Json<InstanceRecordDetail>> {
    let row = found(&platform, &id).await?;
    let challenge = instances::challenge_of(&platform, &row.instance).await?;
    let challenge = challenge.as_deref();
    let books = Books::read(&platform).await?;
    let (_, n_events) = platform.archived_events(&row, (0, 0)).await?;
    let submissions = platform.archived_submissions(&row).await?;
    let log = platform.archived_log(row.instance.id).await?;
    let was_reachable = row.instance.status() != InstanceStatus::Starting;
    Ok(Json(InstanceRecordDetail {
        record: InstanceRecordWhole {
            record: books.info(&row, challenge),
            spec: spec(&row, challenge),
            surface: was_reachable.then(|| surface_of(&row.instance, Vec::new())),
            artifact_dir: "",
        },
        artifacts: InstanceRecordArtifacts {
            has_manifest: challenge.is_some(),
            has_container_log: !log.is_empty(),
            events_count: as_u32(n_events),
            submissions_count: as_u32(submissions.len()),
            traffic_count: as_u32(platform.archived_traffic(&id).await?.len()),
            pcap_bytes: u32::try_from(platform.kept_packets(row.instance.id).await)
                .unwrap_or(u32::MAX),
        },
    }))
}

/// What its containers wrote last, by service; empty when nothing was kept.
#[utoipa::path(get, path = "/admin/instance-records/{instance_id}/container-log", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = RecordLog), (status = 403, body = Envelope)))]
async fn log(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Answer<Json<RecordLog>> {
    let logs = match id.parse() {
        Ok(id) => platform.archived_log(id).await?,
        Err(_) => String::new(),
    };
    Ok(Json(RecordLog { instance_id: super::error::cut(&id), logs }))
}

/// What happened to it, the oldest first.
#[utoipa::path(get, path = "/admin/instance-records/{instance_id}/events", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path), PageParams),
    responses((status = 200, body = Page<RecordEvent>), (status = 403, body = Envelope)))]
async fn events(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<RecordEvent>>> {
    let Some(row) = platform.archived(&id).await? else {
        return Ok(Json(Page::of(Vec::new(), page)));
    };
    let PageParams { limit, offset } = page;
    let (rows, total) = platform.archived_events(&row, (limit, offset)).await?;
    let teams = platform.teams().await?;
    let team = teams.into_iter().find(|team| team.id == row.instance.team);
    let name = team.map(|team| team.name).unwrap_or_default();
    let items = rows.into_iter().map(|row| event(row, &name)).collect();
    Ok(Json(Page { items, total, limit, offset }))
}

/// The answers that were given through it, the oldest first.
#[utoipa::path(get, path = "/admin/instance-records/{instance_id}/submissions", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path), PageParams),
    responses((status = 200, body = Page<SubmissionState>), (status = 403, body = Envelope)))]
async fn submissions(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<SubmissionState>>> {
    let rows = match platform.archived(&id).await? {
        Some(row) => platform.archived_submissions(&row).await?,
        None => Vec::new(),
    };
    Ok(Json(Page::of(rows.into_iter().map(SubmissionState::from).collect(), page)))
}

/// HTTP in its captured packets, by time; empty where nothing is kept.
#[utoipa::path(get, path = "/admin/instance-records/{instance_id}/traffic", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path), PageParams),
    responses((status = 200, body = Page<Flow>), (status = 403, body = Envelope)))]
async fn traffic(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<Flow>>> {
    let flows = platform.archived_traffic(&id).await?;
    Ok(Json(Page::of(Flow::all(flows), page)))
}

/// Its captured packets, as one pcap by time; 404 with the reason where none are kept.
#[utoipa::path(get, path = "/admin/instance-records/{instance_id}/pcap", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, content_type = "application/vnd.tcpdump.pcap"),
        (status = 403, body = Envelope), (status = 404, body = Envelope)))]
async fn pcap(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Answer<Response> {
    let packets = platform.archived_packets(&caller, &id).await?;
    Ok(download::packets(&id, packets))
}
