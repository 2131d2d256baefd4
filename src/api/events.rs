//! What happens in contests, as it happens: the event stream of the contract.
//!
//! In:  a token in the query, because a browser's `EventSource` sends no header. Out: frames with a
//! number, a name and one line of JSON.
//!
//! # Invariants
//! * What is about a team goes to its members and to administrators, nothing of it to anybody else; a
//!   bad, expired or under-scoped token is nobody's.
//! * A reader that is slow loses the oldest frames, never the memory of this process: all readers share
//!   one bounded buffer.
//! * There are so many readers and no more, and neither one token nor strangers take all the places.
//!
//! # Not here
//! What is recorded and when (`daemon::activities`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{InstancesRead, allow};
use super::error::{Answer, ApiError, Envelope};
use super::extract::{FromParams, Params, Query};
use super::health::MetaStats;
use super::nodes::HealthSample;
use super::serve::Stopping;
use crate::daemon::platform::Platform;
use crate::model::{Activity, Caller, Happening, NodeId, NodeSample, TeamId};
use crate::store::ActivityRow;

/// Silence after which a stream says that it is alive (`contract/http-api.md` §10).
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Quiet after which the numbers of `meta_stats` follow what changed them: one frame for a burst.
const STATS_AFTER: Duration = Duration::from_millis(100);
/// However much happens, they come within this.
const STATS_WITHIN: Duration = Duration::from_secs(1);
/// Most frames that a reader who comes back is told of.
const MAX_MISSED: usize = 1_000;
/// Readers at a time. Each is a connection, which is what this bounds.
const MAX_READERS: usize = 4_096;
/// Readers without a token among them.
const MAX_STRANGERS: usize = 512;
/// Readers with one token among them.
const MAX_PER_TOKEN: usize = 16;
/// When who found no place may try again, in seconds.
const TRY_AGAIN_SECS: u32 = 30;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    let places = Arc::new(Places::new(MAX_READERS, MAX_STRANGERS, MAX_PER_TOKEN));
    OpenApiRouter::new().routes(routes!(events)).layer(Extension(places))
}

/// Who reads, in numbers.
#[derive(Debug)]
struct Places {
    taken: Mutex<Taken>,
    in_all: usize,
    strangers: usize,
    per_token: usize,
}

#[derive(Debug, Default)]
struct Taken {
    in_all: usize,
    /// By token; strangers have the empty one.
    by_token: BTreeMap<String, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    token_id: String,
}

impl Places {
    fn new(in_all: usize, strangers: usize, per_token: usize) -> Self {
        Self { taken: Mutex::default(), in_all, strangers, per_token }
    }

    /// A place for a reader with this token; `None` when there is none left for them.
    fn take(self: &Arc<Self>, token_id: String) -> Option<Place> {
        let limit = if token_id.is_empty() { self.strangers } else { self.per_token };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let n = taken.by_token.get(&token_id).copied().unwrap_or(0);
        if taken.in_all >= self.in_all || n >= limit {
            return None;
        }
        taken.in_all += 1;
        taken.by_token.insert(token_id.clone(), n + 1);
        Some(Place { places: Arc::clone(self), token_id })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.in_all -= 1;
        if let Some(n) = taken.by_token.get_mut(&self.token_id) {
            *n -= 1;
            if *n == 0 {
                taken.by_token.remove(&self.token_id);
            }
        }
    }
}

fn no_place() -> ApiError {
    let text = "too many streams of events are open; ask again later, or poll";
    let refusal = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", text);
    ApiError { retry_after_secs: Some(TRY_AGAIN_SECS), ..refusal }
}

/// Who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listener {
    is_admin: bool,
    teams: Vec<TeamId>,
}

impl Listener {
    /// Nobody in particular.
    fn anonymous() -> Self {
        Self { is_admin: false, teams: Vec::new() }
    }

    fn of(caller: &Caller) -> Self {
        if allow::<InstancesRead>(caller).is_err() {
            return Self::anonymous();
        }
        let is_admin = caller.is_administrator() && caller.grant.is_none();
        Self { is_admin, teams: caller.teams() }
    }

    /// Whether they are told of it.
    fn hears(&self, activity: &Activity) -> bool {
        self.is_admin
            || match audience(&activity.happening) {
                Audience::All => true,
                Audience::Team => activity.team.is_some_and(|team| self.teams.contains(&team)),
                Audience::Admins => false,
            }
    }
}

/// Who an event is for (`contract/http-api.md` §10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    All,
    Team,
    Admins,
}

fn audience(happening: &Happening) -> Audience {
    match happening {
        Happening::NodeRegistered { .. }
        | Happening::NodeUnhealthy { .. }
        | Happening::NodeRecovered { .. }
        | Happening::NodeRemoved { .. }
        | Happening::NodeUpdated { .. }
        | Happening::AnnouncementCreated { .. }
        | Happening::AnnouncementUpdated { .. }
        | Happening::AnnouncementDeleted { .. } => Audience::All,
        Happening::TeamRegistered { .. }
        | Happening::InstanceStarted { .. }
        | Happening::InstanceReady { .. }
        | Happening::InstanceError { .. }
        | Happening::InstanceStopped { .. }
        | Happening::InstanceRenewed { .. }
        | Happening::FlagCorrect { .. }
        | Happening::FlagWrong { .. } => Audience::Team,
        Happening::FlagShared { .. }
        | Happening::TeamRoleChanged { .. }
        | Happening::CompetitionAdminChanged { .. }
        | Happening::CompetitionInviteChanged { .. }
        | Happening::PlatformSettingChanged { .. }
        | Happening::QuestionAttemptReset { .. }
        | Happening::AdminShellSessionRequested { .. }
        | Happening::AdminShellSessionOpened { .. }
        | Happening::AdminShellSessionClosed { .. }
        | Happening::AdminShellRecordingViewed { .. } => Audience::Admins,
    }
}

/// The token, and where to go on.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct StreamParams {
    /// Of a player or an administrator; without one only what is for everybody comes.
    #[param(required = false)]
    token: String,
}

impl FromParams for StreamParams {
    fn read(params: &mut Params) -> Self {
        Self { token: params.text("token") }
    }
}

/// What happens, as it happens. A reader that comes back with the `Last-Event-ID` it saw is first told
/// what it missed.
#[utoipa::path(get, path = "/events", tag = "events",
    params(StreamParams,
        ("Last-Event-ID" = Option<String>, Header, description = "The last event seen.")),
    responses((status = 200, content_type = "text/event-stream"),
        (status = 503, body = Envelope, description = "too many streams are open")))]
async fn events(
    State(platform): State<Platform>,
    Extension(places): Extension<Arc<Places>>,
    stopping: Option<Extension<Stopping>>,
    Query(StreamParams { token }): Query<StreamParams>,
    headers: HeaderMap,
) -> Answer<Response> {
    let caller = match token.as_str() {
        "" => None,
        token => platform.authenticate(token).await.ok(),
    };
    let listener = caller.as_ref().map_or_else(Listener::anonymous, Listener::of);
    let token_id = caller.map(|caller| caller.token_id).unwrap_or_default();
    let place = places.take(token_id).ok_or_else(no_place)?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let last: Option<i64> = last.and_then(|text| text.parse().ok());
    // First the ear, then the past: nothing falls between them, and nothing comes twice.
    let live = platform.follow_activities();
    let missed = match last {
        Some(last) => platform.activities_after(last, MAX_MISSED).await?,
        None => Vec::new(),
    };
    let stop = stopping.map_or_else(CancellationToken::new, |Extension(Stopping(stop))| stop);
    let sources = Sources {
        missed,
        last: last.unwrap_or(0),
        live: BroadcastStream::new(live),
        samples: BroadcastStream::new(platform.follow_node_samples()),
    };
    // A stream ends with the platform and does not keep it.
    let platform = platform.downgrade();
    let stats = move || {
        let platform = platform.upgrade();
        async move {
            // Whoever wants them in spite of a database that does not answer asks `/meta`.
            let stats = MetaStats::of(&platform?).await.ok()?;
            serde_json::to_value(stats).ok()
        }
    };
    let frames = frames(listener, sources, stats);
    let frames = frames.map(move |frame| {
        let _held = &place;
        frame
    });
    let body = Body::from_stream(frames.take_until(stop.cancelled_owned()));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    let mut response = (headers, body).into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Where what is told comes from.
struct Sources {
    /// What a reader that comes back has missed.
    missed: Vec<Arc<ActivityRow>>,
    /// The last row that it has seen.
    last: i64,
    live: BroadcastStream<Arc<ActivityRow>>,
    samples: BroadcastStream<Arc<(NodeId, NodeSample)>>,
}

/// One thing to tell.
struct Told {
    /// Frames; often none.
    text: String,
    /// Whether the numbers of `meta_stats` are others by now.
    changes_stats: bool,
}

/// Everything that `listener` is told; `stats` gives the payload of `meta_stats`.
fn frames<F: Future<Output = Option<Value>> + Send>(
    listener: Listener,
    sources: Sources,
    stats: impl Fn() -> F + Send,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let Sources { missed, last, live, samples } = sources;
    let seen = missed.last().map_or(last, |row| row.seq);
    let is_admin = listener.is_admin;
    // A reader that lagged goes on with what is still there.
    let live = live.filter_map(|row| std::future::ready(row.ok()));
    let live = live.filter(move |row| std::future::ready(row.seq > seen)).map(|row| (row, true));
    let rows = stream::iter(missed).map(|row| (row, false)).chain(live);
    let rows = rows.map(move |(row, is_live)| Told {
        text: text_of(&listener, &row),
        changes_stats: is_admin && is_live && changes_stats(&row.activity.happening),
    });
    let samples = samples.filter_map(move |sample| {
        let sample = sample.ok().filter(|_| is_admin);
        std::future::ready(sample.map(|sample| Told {
            text: frame(
                None,
                "node_status",
                &json!(HealthSample::of(sample.0.as_str(), &sample.1)),
            ),
            changes_stats: false,
        }))
    });
    // What happened goes before how nodes are.
    let rows_first = |(): &mut ()| stream::PollNext::Left;
    let told = Box::pin(stream::select_with_strategy(rows, samples, rows_first));
    let state = (told, None::<Instant>, stats);
    let alive = stream::unfold(state, |(mut told, mut due, stats)| async move {
        loop {
            let is_late = due.is_some_and(|since| since.elapsed() >= STATS_WITHIN);
            let wait = if due.is_some() { STATS_AFTER } else { KEEPALIVE };
            let next = match is_late {
                true => Err(()),
                false => tokio::time::timeout(wait, told.next()).await.map_err(|_| ()),
            };
            match next {
                Ok(None) => return None,
                Ok(Some(Told { text, changes_stats })) => {
                    if changes_stats && due.is_none() {
                        due = Some(Instant::now());
                    }
                    if !text.is_empty() {
                        return Some((text, (told, due, stats)));
                    }
                }
                Err(()) if due.take().is_some() => {
                    if let Some(stats_now) = stats().await {
                        return Some((frame(None, "meta_stats", &stats_now), (told, due, stats)));
                    }
                }
                Err(()) => return Some((": keepalive\n\n".to_owned(), (told, due, stats))),
            }
        }
    });
    let first = stream::once(std::future::ready(": connected\n\n".to_owned()));
    first.chain(alive).map(|text| Ok(Bytes::from(text)))
}

/// Whether the numbers that administrators are told are others after it (`contract/http-api.md` §10).
fn changes_stats(happening: &Happening) -> bool {
    matches!(
        happening,
        Happening::InstanceStarted { .. }
            | Happening::InstanceStopped { .. }
            | Happening::InstanceError { .. }
            | Happening::TeamRegistered { .. }
            | Happening::NodeRegistered { .. }
            | Happening::NodeUnhealthy { .. }
            | Happening::NodeRecovered { .. }
            | Happening::NodeRemoved { .. }
            | Happening::FlagCorrect { .. }
    )
}

/// The frames that `listener` gets for a row; often none.
fn text_of(listener: &Listener, row: &ActivityRow) -> String {
    let mut text = String::new();
    if listener.hears(&row.activity) {
        let happening = serde_json::to_value(&row.activity.happening).unwrap_or_default();
        let name = happening["event"].as_str().unwrap_or_default();
        text.push_str(&frame(Some(row.seq), name, &data(listener, &row.activity, &happening)));
    }
    if matches!(row.activity.happening, Happening::FlagCorrect { .. }) {
        text.push_str(&frame(None, "scoreboard_updated", &json!({})));
    }
    text
}

fn frame(seq: Option<i64>, name: &str, data: &Value) -> String {
    let id = seq.map_or_else(String::new, |seq| format!("id: {seq}\n"));
    format!("{id}event: {name}\ndata: {data}\n\n")
}

/// The payload, without what the contract keeps from clients: which question was answered, and where a
/// node is.
fn data(listener: &Listener, activity: &Activity, happening: &Value) -> Value {
    let mut data = happening["detail"].as_object().cloned().unwrap_or_default();
    let is_flag =
        matches!(activity.happening, Happening::FlagCorrect { .. } | Happening::FlagWrong { .. });
    if is_flag {
        data.remove("question_id");
    }
    if !listener.is_admin {
        data.remove("url");
    }
    let challenge = activity.challenge.as_ref().map(ToString::to_string).unwrap_or_default();
    data.insert("challenge_id".to_owned(), challenge.into());
    data.insert("actor_id".to_owned(), activity.actor.id.clone().into());
    data.insert("actor_name".to_owned(), activity.actor.name.clone().into());
    data.insert("actor_type".to_owned(), activity.actor.kind.as_str().into());
    Value::Object(data)
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;
    use crate::model::{Actor, ActorKind, Timestamp};

    fn team(n: u8) -> TeamId {
        TeamId::new(uuid::Uuid::from_bytes([n; 16]))
    }

    fn row(seq: i64, happening: Happening) -> Arc<ActivityRow> {
        let actor = Actor { id: "a".to_owned(), name: "red".to_owned(), kind: ActorKind::Team };
        let activity = Activity {
            at: Timestamp::from_millis(1),
            happening,
            competition: None,
            team: Some(team(1)),
            challenge: "WEB-001".parse().ok(),
            actor,
        };
        Arc::new(ActivityRow { seq, activity })
    }

    fn correct() -> Happening {
        Happening::FlagCorrect {
            instance_id: None,
            question_id: "flag".to_owned(),
            solve_time_s: 4.1,
            ip: "198.51.100.7".to_owned(),
        }
    }

    fn lost() -> Happening {
        Happening::NodeUnhealthy {
            node_id: "n1".to_owned(),
            url: "http://10.0.0.5:8101".to_owned(),
            error_message: "No heartbeat".to_owned(),
        }
    }

    fn player(n: u8) -> Listener {
        Listener { is_admin: false, teams: vec![team(n)] }
    }

    #[test]
    fn what_is_about_a_team_is_told_to_that_team_and_to_administrators() {
        let admin = Listener { is_admin: true, teams: Vec::new() };
        let row = row(7, correct());
        let told = text_of(&player(1), &row);
        assert!(told.starts_with("id: 7\nevent: flag_correct\ndata: {"), "{told}");
        assert!(told.contains("198.51.100.7") && !told.contains("question_id"), "{told}");
        assert!(text_of(&admin, &row).contains("flag_correct"));
        for other in [player(2), Listener::anonymous()] {
            let told = text_of(&other, &row);
            assert_eq!(told, "event: scoreboard_updated\ndata: {}\n\n", "no word of whose it was");
        }
    }

    #[test]
    fn everybody_is_told_of_nodes_and_only_operators_where_they_are() {
        let admin = Listener { is_admin: true, teams: Vec::new() };
        let row = row(8, lost());
        assert!(text_of(&Listener::anonymous(), &row).contains("node_unhealthy"));
        assert!(!text_of(&Listener::anonymous(), &row).contains("10.0.0.5"));
        assert!(text_of(&admin, &row).contains("10.0.0.5"));
    }

    #[test]
    fn r17_there_are_so_many_readers_and_nobody_takes_all_the_places() {
        let places = Arc::new(Places::new(5, 2, 3));
        let take = |token: &str| places.take(token.to_owned());
        let strangers = [take(""), take("")];
        assert!(strangers.iter().all(Option::is_some) && take("").is_none());
        let mut of_one = vec![take("a"), take("a"), take("a")];
        assert!(of_one.iter().all(Option::is_some) && take("a").is_none());
        assert!(take("b").is_none(), "all are taken");
        let refusal = no_place();
        assert_eq!((refusal.status.as_u16(), refusal.retry_after_secs), (503, Some(30)));
        of_one.pop();
        let other = take("b");
        assert!(other.is_some() && take("a").is_none(), "who left made room for anybody");
        drop((strangers, of_one, other));
        let taken = places.taken.lock().unwrap();
        assert_eq!((taken.in_all, taken.by_token.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_comes_back_is_told_what_it_missed_once_and_a_quiet_stream_is_alive() {
        let (sender, receiver) = broadcast::channel(4);
        sender.send(row(3, correct())).unwrap();
        sender.send(row(4, lost())).unwrap();
        let missed = vec![row(2, lost()), row(3, correct())];
        let (_samples, samples) = broadcast::channel(4);
        let told = told(player(1), missed, receiver, samples, 5).await;
        assert_eq!(told, [": connected", "id: 2", "id: 3", "id: 4", ": keepalive"]);
    }

    /// The first lines of the first `n` frames.
    async fn told(
        listener: Listener,
        missed: Vec<Arc<ActivityRow>>,
        live: broadcast::Receiver<Arc<ActivityRow>>,
        samples: broadcast::Receiver<Arc<(NodeId, NodeSample)>>,
        n: usize,
    ) -> Vec<String> {
        let (live, samples) = (BroadcastStream::new(live), BroadcastStream::new(samples));
        let sources = Sources { missed, last: 1, live, samples };
        let stats = || async { Some(json!({"teams_total": 2})) };
        let told: Vec<_> = frames(listener, sources, stats).take(n).collect().await;
        let texts = told.into_iter().map(|it| String::from_utf8(it.unwrap().to_vec()).unwrap());
        texts.map(|it| it.lines().next().unwrap_or_default().to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn administrators_are_told_the_numbers_once_after_a_burst_and_how_nodes_are() {
        let admin = Listener { is_admin: true, teams: Vec::new() };
        let (sender, _) = broadcast::channel(8);
        let (samples, _) = broadcast::channel(8);
        let sample = NodeSample {
            at: Timestamp::from_millis(1500),
            is_healthy: true,
            cpu_percent: 1.0,
            memory_percent: 2.0,
            disk_percent: 3.0,
            latency_ms: 4.0,
        };
        let ears = || (sender.subscribe(), samples.subscribe());
        let (of_admin, of_player) = (ears(), ears());
        for seq in 3..6 {
            sender.send(row(seq, lost())).unwrap();
        }
        samples.send(Arc::new(("n1".parse().unwrap(), sample))).unwrap();
        // What was missed changes no number any more.
        let missed = vec![row(2, lost())];
        let heard = told(admin, missed.clone(), of_admin.0, of_admin.1, 8).await;
        let wanted = [
            ": connected",
            "id: 2",
            "id: 3",
            "id: 4",
            "id: 5",
            "event: node_status",
            "event: meta_stats",
            ": keepalive",
        ];
        assert_eq!(heard, wanted);
        let heard = told(player(1), missed, of_player.0, of_player.1, 6).await;
        assert_eq!(heard, [": connected", "id: 2", "id: 3", "id: 4", "id: 5", ": keepalive"]);
    }
}
