//! What the caller and their teams did; for administrators what everybody did.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, Session};
use super::chart::{Bars, Chart};
use super::error::{Answer, Envelope};
use super::extract::{FromParams, Params, Query};
use super::page::{LongPage, Page};
use crate::daemon::platform::Platform;
use crate::model::Timestamp;
use crate::store::{ActivityFilter, ActivityRow};

/// Rows that are looked at for a chart, at most.
const MAX_CHARTED: usize = 100_000;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(chart))
        .routes(routes!(list_all))
        .routes(routes!(chart_all))
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

/// Which activities are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Of this actor.
    actor_id: Option<String>,
    team_id: Option<String>,
    challenge_id: Option<String>,
    /// Of this kind.
    event: Option<String>,
    /// Not before this time (RFC 3339).
    #[param(value_type = Option<String>)]
    since: Option<Time>,
    /// Not after this time (RFC 3339).
    #[param(value_type = Option<String>)]
    until: Option<Time>,
}

/// A time with a zone.
#[derive(Debug, Clone, Copy)]
struct Time(Timestamp);

impl std::str::FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = Timestamp::parse_rfc3339(text);
        time.map(Self).map_err(|_| "Input should be a time with a zone (RFC 3339)")
    }
}

impl FromParams for Wanted {
    fn read(params: &mut Params) -> Self {
        let mut text = |name: &str| Some(params.text(name)).filter(|text| !text.is_empty());
        Self {
            actor_id: text("actor_id"),
            team_id: text("team_id"),
            challenge_id: text("challenge_id"),
            event: text("event"),
            since: params.parsed("since"),
            until: params.parsed("until"),
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
    Ok(Json(Page { items: views(&platform, rows).await?, total, limit, offset }))
}

/// The rows with the names of their teams.
async fn views(platform: &Platform, rows: Vec<ActivityRow>) -> Answer<Vec<ActivityInfo>> {
    let names: BTreeMap<_, _> =
        platform.teams().await?.into_iter().map(|team| (team.id, team.name)).collect();
    let view = |row: ActivityRow| {
        let name = row.activity.team.and_then(|team| names.get(&team)).cloned();
        ActivityInfo::of(row, name.unwrap_or_default())
    };
    Ok(rows.into_iter().map(view).collect())
}

/// What everybody did, the newest first (administrators).
#[utoipa::path(get, path = "/admin/activities", tag = "admin", security(("bearer" = [])),
    params(Wanted, LongPage),
    responses((status = 200, body = Page<ActivityInfo>), (status = 403, body = Envelope),
        (status = 422, body = Envelope)))]
async fn list_all(
    State(platform): State<Platform>,
    _admin: Admin,
    Query((wanted, page)): Query<(Wanted, LongPage)>,
) -> Answer<Json<Page<ActivityInfo>>> {
    let LongPage { limit, offset } = page;
    let filter = ActivityFilter {
        actor: wanted.actor_id,
        team: wanted.team_id,
        challenge: wanted.challenge_id,
        event: wanted.event,
        since: wanted.since.map(|time| time.0),
        until: wanted.until.map(|time| time.0),
        page: (limit, offset),
        ..ActivityFilter::default()
    };
    let (rows, total) = platform.activities(filter).await?;
    Ok(Json(Page { items: views(&platform, rows).await?, total, limit, offset }))
}

/// How often what happened to anybody (administrators). Bars end now; the last is not over.
#[utoipa::path(get, path = "/admin/activities/timeseries", tag = "admin",
    security(("bearer" = [])), params(Chart),
    responses((status = 200, body = ActivityTimeseries), (status = 403, body = Envelope),
        (status = 422, body = Envelope)))]
async fn chart_all(
    State(platform): State<Platform>,
    _admin: Admin,
    Query(chart): Query<Chart>,
) -> Answer<Json<ActivityTimeseries>> {
    let bars = Bars::of(chart, platform.now());
    let (since, page) = (Some(bars.since), (MAX_CHARTED, 0));
    let filter = ActivityFilter { since, page, ..ActivityFilter::default() };
    Ok(Json(drawn(chart, &bars, platform.activities(filter).await?.0)))
}

/// How often what happened to the caller and their teams. Bars end now; the last is not over.
#[utoipa::path(get, path = "/activities/timeseries", tag = "me", security(("bearer" = [])),
    params(Chart),
    responses((status = 200, body = ActivityTimeseries), (status = 403, body = Envelope)))]
async fn chart(
    State(platform): State<Platform>,
    Session { caller, .. }: Session,
    Query(chart): Query<Chart>,
) -> Answer<Json<ActivityTimeseries>> {
    let bars = Bars::of(chart, platform.now());
    let page = (MAX_CHARTED, 0);
    let (rows, _) = platform.activities_of(&caller, Some(bars.since), page).await?;
    Ok(Json(drawn(chart, &bars, rows)))
}

fn drawn(chart: Chart, bars: &Bars, rows: Vec<ActivityRow>) -> ActivityTimeseries {
    let mut buckets: Vec<ActivityBucket> = (0..bars.n_bars)
        .map(|nth| ActivityBucket {
            ts: bars.begin(nth).as_secs_f64(),
            counts: BTreeMap::new(),
            partial: bars.is_partial(nth),
        })
        .collect();
    let mut events = BTreeSet::new();
    for row in rows {
        let position = bars.position(row.activity.at);
        let event = ActivityInfo::of(row, String::new()).event;
        if let Some(own) = position.and_then(|nth| buckets.get_mut(nth)) {
            *own.counts.entry(event.clone()).or_default() += 1;
            events.insert(event);
        }
    }
    let events = events.into_iter().collect();
    ActivityTimeseries { window_s: chart.window, bucket_s: chart.bucket, events, buckets }
}
