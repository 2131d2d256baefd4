//! Verdicts on revisions: everything found in one, and an event when one lands.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::{Extension, Json};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Serialize;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{FindingView, finding};
use crate::api::auth::Admin;
use crate::api::error::{Answer, Envelope};
use crate::api::extract::Path;
use crate::api::serve::Stopping;
use crate::catalog::{Finding, Folder, Severity};
use crate::daemon::platform::{Judged, Platform, Verdict};
use crate::model::{ChallengeId, Timestamp};

/// How often a quiet stream says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(findings)).routes(routes!(events))
}

/// Everything found in one revision.
#[derive(Debug, Serialize, ToSchema)]
struct RevisionView {
    /// The commit.
    revision: String,
    /// Challenge folders.
    challenges: usize,
    /// Those that may be used.
    valid: usize,
    /// Every finding, by path and line, as `flagops check --rev` lists them.
    issues: Vec<FindingView>,
    /// Every challenge folder, by id.
    by_challenge: Vec<ChallengeVerdict>,
}

/// The verdict on one challenge.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct ChallengeVerdict {
    challenge_id: String,
    /// Its folder.
    path: String,
    /// The folder's tree: equal trees have equal verdicts.
    tree: String,
    /// `valid`: it may be used. `invalid`: the gate holds it back.
    state: &'static str,
    /// Whether a finding says that it cannot run as it is written.
    blocks: bool,
    errors: usize,
    warnings: usize,
}

/// A verdict that landed.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct VerdictEvent {
    /// The commit.
    revision: String,
    /// Challenge folders.
    challenges: usize,
    n_valid: usize,
    n_errors: usize,
    n_warnings: usize,
    /// How many challenges are new, gone or other than before.
    n_changed: usize,
    /// The first 500 of them.
    changed: Vec<String>,
}

fn revision_view(judged: &Judged) -> RevisionView {
    let catalog = &judged.catalog;
    let mut findings: Vec<&Finding> = catalog.all_findings().collect();
    findings.sort_by(|left, right| left.place().cmp(&right.place()));
    findings.dedup();
    let by_challenge: Vec<_> =
        catalog.folders.iter().map(|(id, folder)| challenge_verdict(id, folder)).collect();
    RevisionView {
        revision: judged.revision.to_string(),
        challenges: catalog.folders.len(),
        valid: by_challenge.iter().filter(|verdict| verdict.state == "valid").count(),
        issues: findings.into_iter().map(finding).collect(),
        by_challenge,
    }
}

fn challenge_verdict(id: &ChallengeId, folder: &Folder) -> ChallengeVerdict {
    let findings = &folder.findings;
    let errors = findings.iter().filter(|it| it.severity == Severity::Error).count();
    ChallengeVerdict {
        challenge_id: id.to_string(),
        path: folder.path.clone(),
        tree: folder.tree.to_string(),
        state: if folder.challenge.is_some() { "valid" } else { "invalid" },
        blocks: findings.iter().any(|finding| finding.blocks),
        errors,
        warnings: findings.len() - errors,
    }
}

/// Everything found in a commit that the server has fetched.
///
/// `sha` has 40 hex digits, or at least 7 that begin only one commit. The newest revision is
/// answered from memory.
#[utoipa::path(get, path = "/gitops/revisions/{sha}/findings", tag = "gitops",
    security(("bearer" = [])), params(("sha" = String, Path, description = "The commit.")),
    responses((status = 200, body = RevisionView), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 503, body = Envelope)))]
async fn findings(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(sha): Path<String>,
) -> Answer<Json<RevisionView>> {
    Ok(Json(revision_view(&platform.judged(&sha).await?)))
}

/// A stream of events: `verdict` whenever a revision has been judged.
///
/// Comments say that the stream is alive. A client that comes back with the `Last-Event-ID` it saw
/// gets what it missed, as far as that is remembered (64 verdicts).
#[utoipa::path(get, path = "/gitops/events", tag = "gitops", security(("bearer" = [])),
    params(("Last-Event-ID" = Option<String>, Header, description = "The last event seen.")),
    responses((status = 200, body = VerdictEvent, content_type = "text/event-stream"),
        (status = 403, body = Envelope)))]
async fn events(
    State(platform): State<Platform>,
    _admin: Admin,
    stopping: Option<Extension<Stopping>>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let stop = stopping.map_or_else(CancellationToken::new, |Extension(Stopping(stop))| stop);
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("heartbeat");
    let stream = stream_of(&platform, last).take_until(stop.cancelled_owned());
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    ([unbuffered], Sse::new(stream).keep_alive(keep_alive))
}

/// What was missed since event `last`, then what comes. Ends when the client reads too slowly: it
/// comes back with the last event it saw, and gets the rest.
fn stream_of(
    platform: &Platform,
    last: Option<&str>,
) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    let life = platform.started_at();
    let listening = platform.verdicts(last.map(|last| nth_of(last, life)));
    let live = BroadcastStream::new(listening.live)
        .take_while(|verdict| std::future::ready(verdict.is_ok()))
        .filter_map(|verdict| std::future::ready(verdict.ok()));
    let hello = stream::once(std::future::ready(Ok(Event::default().comment("connected"))));
    let verdicts = stream::iter(listening.missed).chain(live);
    hello.chain(verdicts.map(move |verdict| Ok(event(&verdict, life))))
}

/// The number of the event `id`; 0 for one of an earlier life, of which nothing is remembered.
fn nth_of(id: &str, life: Timestamp) -> u64 {
    let nth = id.split_once('-').filter(|(of, _)| *of == life.as_millis().to_string());
    nth.and_then(|(_, nth)| nth.parse().ok()).unwrap_or(0)
}

fn event(verdict: &Arc<Verdict>, life: Timestamp) -> Event {
    let id = format!("{}-{}", life.as_millis(), verdict.nth);
    Event::default().event("verdict").id(id).json_data(verdict_event(verdict)).unwrap_or_else(
        // Texts and numbers can always be written.
        |_| Event::default().comment("an event could not be written"),
    )
}

fn verdict_event(verdict: &Verdict) -> VerdictEvent {
    VerdictEvent {
        revision: verdict.revision.to_string(),
        challenges: verdict.n_challenges,
        n_valid: verdict.n_valid,
        n_errors: verdict.n_errors,
        n_warnings: verdict.n_warnings,
        n_changed: verdict.n_changed,
        changed: verdict.changed.iter().map(ToString::to_string).collect(),
    }
}
