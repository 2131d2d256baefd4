//! Events: a stream of verdicts and conditions as they come, and pages of what was recorded.
//!
//! # Invariants
//! * A condition is read from the store by its number, so none is lost between what a client missed
//!   and what comes, nor by a client that reads slowly.
//! * Every id of the stream says where to go on: `SEQ` after a condition, `LIFE-NTH-SEQ` after a
//!   verdict. Conditions go on exactly there; a verdict that landed in the same millisecond may
//!   come twice.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::{Extension, Json};
use futures_util::stream::{self, PollNext};
use futures_util::{Stream, StreamExt as _};
use serde::Serialize;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::verdicts::verdict_event;
use crate::api::auth::Admin;
use crate::api::error::{Answer, Envelope};
use crate::api::extract::{FromParams, Params, Query};
use crate::api::serve::Stopping;
use crate::daemon::platform::{Platform, Since, Verdict};
use crate::model::{ConditionType, Scope, Timestamp};
use crate::store::{EventFilter, EventRow};

/// How often a quiet stream says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Conditions that one stream reads at a time.
const BATCH: u32 = 100;

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(events)).routes(routes!(log)).routes(routes!(test_notice))
}

/// A condition that changed its status or its reason, or was stated for the first time.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct EventView {
    /// Grows, and is never used again.
    seq: i64,
    at: String,
    /// `repo`, `challenge/ID`, `node/ID` or `instance/ID`.
    scope: String,
    /// What is stated, e.g. `SourceReachable`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// `True`, `False` or `Unknown`.
    status: &'static str,
    /// A stable word.
    reason: String,
    /// For people.
    message: String,
    revision: Option<String>,
}

/// Some events, oldest first.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct EventLog {
    items: Vec<EventView>,
    /// Give it as `after` for what comes next.
    next: i64,
}

/// How the receiver of notices took a test.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct TriedView {
    /// What it understands: `json` or `slack`.
    format: &'static str,
    /// The HTTP status of its answer.
    status: u16,
    /// The beginning of its answer: hostile text.
    answer: String,
    took_ms: i64,
}

/// Which events of the log are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct LogParams {
    /// Only those after this number, oldest first. Without it, the newest.
    #[param(minimum = 0, required = false)]
    after: Option<i64>,
    /// How many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 50, required = false)]
    limit: u32,
    /// Only those about this object: `repo`, `challenge/ID`, `node/ID` or `instance/ID`.
    #[param(required = false, value_type = Option<String>)]
    scope: Option<Scope>,
    /// Only those of this type, e.g. `SourceReachable`.
    #[param(required = false, value_type = Option<String>)]
    kind: Option<ConditionType>,
}

impl FromParams for LogParams {
    fn read(params: &mut Params) -> Self {
        Self {
            after: params.integer("after", 0..=i64::MAX),
            limit: params
                .integer("limit", 1..=1000)
                .map_or(50, |limit| u32::try_from(limit).unwrap_or(50)),
            scope: params.parsed("scope"),
            kind: params.parsed("kind"),
        }
    }
}

/// Where a stream begins.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct StreamParams {
    /// First the conditions after this number; `Last-Event-ID` wins.
    #[param(minimum = 0, required = false)]
    after: Option<i64>,
}

impl FromParams for StreamParams {
    fn read(params: &mut Params) -> Self {
        Self { after: params.integer("after", 0..=i64::MAX) }
    }
}

fn event_view(row: &EventRow) -> EventView {
    let condition = &row.condition;
    EventView {
        seq: row.seq,
        at: condition.since.rfc3339(),
        scope: condition.scope.to_string(),
        kind: condition.kind.as_str(),
        status: condition.status.as_str(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        revision: condition.revision.map(|revision| revision.to_string()),
    }
}

/// A stream of events: `condition` whenever one changes its status or reason, `verdict` whenever a
/// revision has been judged.
///
/// Comments say that the stream is alive. A client that comes back with the `Last-Event-ID` it saw
/// gets what it missed: every condition that is kept (50,000), and the verdicts that are remembered
/// (64). The data of `condition` is a row of `/gitops/events/log`, that of `verdict` a `VerdictEvent`.
#[utoipa::path(get, path = "/gitops/events", tag = "gitops", security(("bearer" = [])),
    params(StreamParams,
        ("Last-Event-ID" = Option<String>, Header, description = "The last event seen.")),
    responses((status = 200, content_type = "text/event-stream"),
        (status = 403, body = Envelope)))]
async fn events(
    State(platform): State<Platform>,
    _admin: Admin,
    stopping: Option<Extension<Stopping>>,
    Query(params): Query<StreamParams>,
    headers: HeaderMap,
) -> Answer<impl IntoResponse> {
    let stop = stopping.map_or_else(CancellationToken::new, |Extension(Stopping(stop))| stop);
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let place = place(last, params.after, platform.started_at());
    let stream = stream_of(platform, place).await?.take_until(stop.cancelled_owned());
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("heartbeat");
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    Ok(([unbuffered], Sse::new(stream).keep_alive(keep_alive)))
}

/// Changes of conditions that were recorded: those after a number, or the newest.
#[utoipa::path(get, path = "/gitops/events/log", tag = "gitops", security(("bearer" = [])),
    params(LogParams), responses((status = 200, body = EventLog), (status = 403, body = Envelope),
        (status = 422, body = Envelope)))]
async fn log(
    State(platform): State<Platform>,
    _admin: Admin,
    Query(params): Query<LogParams>,
) -> Answer<Json<EventLog>> {
    let LogParams { after, limit, scope, kind } = params;
    let page = platform.events(EventFilter { after, limit, scope, kind }).await?;
    let items = page.rows.iter().map(event_view).collect();
    Ok(Json(EventLog { items, next: page.next }))
}

/// Sends a test to the receiver of notices, once, and says how it took it.
#[utoipa::path(post, path = "/gitops/notices/test", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = TriedView), (status = 403, body = Envelope),
        (status = 409, body = Envelope), (status = 502, body = Envelope)))]
async fn test_notice(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<TriedView>> {
    let tried = platform.test_notice().await?;
    Ok(Json(TriedView {
        format: tried.format,
        status: tried.status,
        answer: tried.answer,
        took_ms: tried.took_millis,
    }))
}

/// Where a stream goes on.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    verdicts: Verdicts,
    /// The last condition seen; `None` for the newest there is.
    seq: Option<i64>,
}

/// Which verdicts a stream tells.
#[derive(Debug, PartialEq, Eq)]
enum Verdicts {
    Since(Since),
    /// Those that landed since the condition of [`Place::seq`] did.
    SinceThatCondition,
}

/// Reads the last id that a client saw. One that is not ours means all verdicts that are remembered,
/// and so does one of an earlier life.
fn place(last: Option<&str>, after: Option<i64>, life: Timestamp) -> Place {
    let Some(last) = last else {
        return Place { verdicts: Verdicts::Since(Since::Now), seq: after };
    };
    if let Ok(seq) = last.parse() {
        return Place { verdicts: Verdicts::SinceThatCondition, seq: Some(seq) };
    }
    let mut parts = last.split('-');
    let is_this_life = parts.next() == Some(life.as_millis().to_string().as_str());
    let nth = parts.next().and_then(|nth| nth.parse().ok()).filter(|_| is_this_life);
    let seq = parts.next().and_then(|seq| seq.parse().ok());
    Place { verdicts: Verdicts::Since(Since::Nth(nth.unwrap_or(0))), seq: seq.or(after) }
}

/// What was missed, then what comes. Ends when the client reads verdicts too slowly, or the store
/// fails: it comes back with the last event it saw, and gets the rest.
async fn stream_of(
    platform: Platform,
    place: Place,
) -> Answer<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let since = match place.verdicts {
        Verdicts::Since(since) => since,
        Verdicts::SinceThatCondition => since_condition(&platform, place.seq.unwrap_or(0)).await?,
    };
    let after = match place.seq {
        Some(seq) => seq,
        None => platform.newest_event().await?,
    };
    let life = platform.started_at();
    let seen = Arc::new(AtomicI64::new(after));
    let listening = platform.verdicts(since);
    let live = BroadcastStream::new(listening.live)
        .take_while(|verdict| std::future::ready(verdict.is_ok()))
        .filter_map(|verdict| std::future::ready(verdict.ok()));
    let last_seen = Arc::clone(&seen);
    let verdicts = stream::iter(listening.missed)
        .chain(live)
        .map(move |verdict| verdict_line(&verdict, life, last_seen.load(Ordering::Relaxed)));
    let conditions = conditions(platform, after).map(move |row| {
        seen.store(row.seq, Ordering::Relaxed);
        condition_line(&row)
    });
    let hello = stream::once(std::future::ready(Event::default().comment("connected")));
    // Verdicts first: one that landed before a condition is told before it.
    let told = until_either_ends(verdicts, conditions);
    Ok(hello.chain(told).map(Ok))
}

/// Both streams in one, the left one first; the end of either is the end.
fn until_either_ends(
    left: impl Stream<Item = Event>,
    right: impl Stream<Item = Event>,
) -> impl Stream<Item = Event> {
    let end = || stream::once(std::future::ready(None));
    let left = left.map(Some).chain(end());
    let right = right.map(Some).chain(end());
    stream::select_with_strategy(left, right, |(): &mut ()| PollNext::Left)
        .take_while(|event| std::future::ready(event.is_some()))
        .filter_map(std::future::ready)
}

/// Every condition after the one numbered `after`, for ever.
fn conditions(platform: Platform, after: i64) -> impl Stream<Item = EventRow> {
    let begin = (platform, after, VecDeque::<EventRow>::new());
    stream::unfold(begin, async |(platform, after, mut rows)| {
        if rows.is_empty() {
            rows = platform.next_events(after, BATCH).await.ok()?.into();
        }
        let row = rows.pop_front()?;
        let after = row.seq;
        Some((row, (platform, after, rows)))
    })
}

/// The time of the condition numbered `seq`, or everything when it is not kept any more.
async fn since_condition(platform: &Platform, seq: i64) -> Answer<Since> {
    let after = Some(seq.saturating_sub(1).max(0));
    let filter = EventFilter { after, limit: 1, ..EventFilter::default() };
    let page = platform.events(filter).await?;
    let row = page.rows.first().filter(|row| row.seq == seq);
    Ok(row.map_or(Since::Nth(0), |row| Since::Time(row.condition.since)))
}

fn condition_line(row: &EventRow) -> Event {
    line(Event::default().event("condition").id(row.seq.to_string()), &event_view(row))
}

fn verdict_line(verdict: &Verdict, life: Timestamp, seq: i64) -> Event {
    let id = format!("{}-{}-{seq}", life.as_millis(), verdict.nth);
    line(Event::default().event("verdict").id(id), &verdict_event(verdict))
}

fn line(event: Event, data: &impl Serialize) -> Event {
    // Texts and numbers can always be written.
    let broken = |_| Event::default().comment("an event could not be written");
    event.json_data(data).unwrap_or_else(broken)
}
