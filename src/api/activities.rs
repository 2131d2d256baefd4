//! What the caller and their teams did.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Session;
use super::error::{Answer, Envelope};
use super::extract::{FromParams, Params, Query};
use super::page::{LongPage, Page};
use crate::daemon::platform::Platform;
use crate::store::ActivityRow;

/// Rows that are looked at for a chart, at most.
const MAX_CHARTED: usize = 100_000;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(chart))
}

/// One thing that happened.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActivityInfo {
    id: String,
    timestamp: Option<String>,
    event: String,
    team_id: String,
    team_name: String,
    challenge_id: String,
    actor_id: String,
    actor_name: String,
    /// `team`, `node`, `admin` or `system`.
    actor_type: &'static str,
    /// What belongs to this kind of event.
    detail: Value,
}

impl ActivityInfo {
    fn of(row: ActivityRow, team_name: String) -> Self {
        let activity = row.activity;
        let happening = serde_json::to_value(&activity.happening).unwrap_or(Value::Null);
        let mut detail = happening["detail"].clone();
        if let (Some(detail), Some(competition)) = (detail.as_object_mut(), &activity.competition) {
            detail.entry("competition_id").or_insert_with(|| competition.as_str().into());
        }
        Self {
            id: row.seq.to_string(),
            timestamp: Some(activity.at.rfc3339()),
            event: happening["event"].as_str().unwrap_or_default().to_owned(),
            team_id: activity.team.map(|team| team.to_string()).unwrap_or_default(),
            team_name,
            challenge_id: activity.challenge.map(|id| id.to_string()).unwrap_or_default(),
            actor_id: activity.actor.id,
            actor_name: activity.actor.name,
            actor_type: activity.actor.kind.as_str(),
            detail,
        }
    }
}

/// How often what happened, over time.
#[derive(Debug, Serialize, ToSchema)]
struct ActivityTimeseries {
    window_s: i64,
    bucket_s: i64,
    /// The kinds of events that are counted.
    events: Vec<String>,
    buckets: Vec<ActivityBucket>,
}

/// Some seconds of it.
#[derive(Debug, Serialize, ToSchema)]
struct ActivityBucket {
    /// When it begins, in Unix seconds.
    ts: f64,
    counts: BTreeMap<String, u32>,
    /// Whether it is not over.
    partial: bool,
}

/// The chart that is wanted.
#[derive(Debug, Clone, Copy, IntoParams)]
#[into_params(parameter_in = Query)]
struct Chart {
    /// How far back, in seconds.
    #[param(minimum = 60, maximum = 604_800, default = 86_400, required = false)]
    window: i64,
    /// How much is one bar, in seconds.
    #[param(minimum = 60, maximum = 86_400, default = 3_600, required = false)]
    bucket: i64,
}

impl FromParams for Chart {
    fn read(params: &mut Params) -> Self {
        Self {
            window: params.integer("window", 60..=604_800).unwrap_or(86_400),
            bucket: params.integer("bucket", 60..=86_400).unwrap_or(3_600),
        }
    }
}

/// What the caller and their teams did, the newest first.
#[utoipa::path(get, path = "/activities", tag = "me", security(("bearer" = [])), params(LongPage),
    responses((status = 200, body = Page<ActivityInfo>), (status = 403, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    Session { caller, .. }: Session,
    Query(LongPage { limit, offset }): Query<LongPage>,
) -> Answer<Json<Page<ActivityInfo>>> {
    let (rows, total) = platform.activities_of(&caller, None, (limit, offset)).await?;
    let names: BTreeMap<_, _> =
        platform.teams().await?.into_iter().map(|team| (team.id, team.name)).collect();
    let view = |row: ActivityRow| {
        let name = row.activity.team.and_then(|team| names.get(&team)).cloned();
        ActivityInfo::of(row, name.unwrap_or_default())
    };
    Ok(Json(Page { items: rows.into_iter().map(view).collect(), total, limit, offset }))
}

/// How often what happened to the caller and their teams. Bars end now; the last is not over.
#[utoipa::path(get, path = "/activities/timeseries", tag = "me", security(("bearer" = [])),
    params(Chart),
    responses((status = 200, body = ActivityTimeseries), (status = 403, body = Envelope)))]
async fn chart(
    State(platform): State<Platform>,
    Session { caller, .. }: Session,
    Query(Chart { window, bucket }): Query<Chart>,
) -> Answer<Json<ActivityTimeseries>> {
    let now = platform.now();
    let n_buckets = (window + bucket - 1) / bucket;
    let since = now.plus_secs(-n_buckets * bucket);
    let (rows, _) = platform.activities_of(&caller, Some(since), (MAX_CHARTED, 0)).await?;
    let mut buckets: Vec<ActivityBucket> = (0..n_buckets)
        .map(|nth| ActivityBucket {
            ts: since.plus_secs(nth * bucket).as_secs_f64(),
            counts: BTreeMap::new(),
            partial: nth + 1 == n_buckets,
        })
        .collect();
    let mut events = BTreeMap::new();
    for row in rows {
        let nth = row.activity.at.millis_since(since) / (bucket * 1000);
        let event = ActivityInfo::of(row, String::new()).event;
        let own = usize::try_from(nth).ok().and_then(|nth| buckets.get_mut(nth));
        if let Some(own) = own {
            *own.counts.entry(event.clone()).or_default() += 1;
            events.insert(event, ());
        }
    }
    let events = events.into_keys().collect();
    Ok(Json(ActivityTimeseries { window_s: window, bucket_s: bucket, events, buckets }))
}
