//! The repository and what became of it, for operators: our own routes.

mod events;
mod explain;
mod pauses;
mod proofs;
mod provenance;
mod recover;
mod releases;
mod verdicts;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use verdicts::VerdictEvent;

use super::auth::Admin;
use super::error::{Answer, Envelope};
use super::extract::{FromParams, Params, Query};
use super::page::{Page, PageParams};
use crate::catalog::rules::{self, page};
use crate::catalog::{Finding, Severity};
use crate::daemon::platform::{
    ChallengeState, Counts, LiveChallenge, Outbox, Platform, SourceState,
};
use crate::model::build::BuildProgress;
use crate::model::{Build, Condition, ConditionStatus, Timestamp};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(reconcile))
        .routes(routes!(status))
        .routes(routes!(conditions))
        .routes(routes!(challenges))
        .routes(routes!(builds))
        .merge(events::routes())
        .merge(super::gc::routes())
        .merge(super::isolation::routes())
        .merge(verdicts::routes())
        .merge(pauses::routes())
        .merge(proofs::routes())
        .merge(recover::routes())
        .merge(releases::routes())
        .merge(provenance::routes())
        .merge(explain::routes())
}

/// Everything an operator asks first, in one answer.
#[derive(Debug, Serialize, ToSchema)]
struct GitopsStatus {
    source: SourceView,
    /// Whether the engine answered its last real create.
    engine_ready: bool,
    counts: CountsView,
    notices: NoticesView,
    /// Every condition, by object.
    conditions: Vec<ConditionView>,
    /// Every challenge of the newest revision and every live one, by id.
    challenges: Vec<ChallengeView>,
}

/// The repository.
#[derive(Debug, Serialize, ToSchema)]
struct SourceView {
    /// Credentials masked.
    remote: String,
    branch: Option<String>,
    /// The newest commit read.
    revision: Option<String>,
    /// When the remote last answered.
    fetched_at: Option<String>,
    /// What belongs to no single challenge.
    findings: Vec<FindingView>,
}

/// Numbers.
#[derive(Debug, Serialize, ToSchema)]
struct CountsView {
    running_instances: u32,
    live_instances: u32,
    max_instances: u32,
    teams: u32,
    solves: u32,
}

/// What people are told when something is wrong.
#[derive(Debug, Serialize, ToSchema)]
struct NoticesView {
    /// What the receiver understands, `json` or `slack`; null when nobody is told.
    receiver: Option<&'static str>,
    /// On their way.
    waiting: u32,
    /// Given up, of the last hundred.
    given_up: u32,
    /// Why the newest of those that failed did.
    last_error: Option<String>,
}

/// One statement about one object.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct ConditionView {
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
    /// When the status last changed.
    since: String,
    revision: Option<String>,
}

/// One challenge, from commit to players.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct ChallengeView {
    id: String,
    /// Of the live version; the id otherwise.
    name: String,
    /// `live`, `updating` (another version is on its way), `building`, `failed`, `invalid` (and not
    /// live), or `removed` (from the repository, still live).
    state: &'static str,
    /// What players get.
    live: Option<LiveView>,
    /// The folder's tree at the newest revision.
    head_tree: Option<String>,
    /// Whether the newest version passes every rule.
    valid: bool,
    /// `unbuilt`, `building`, `built` or `failed`.
    build: &'static str,
    /// The images of the newest valid version, without their logs.
    images: Vec<ImageView>,
    findings: Vec<FindingView>,
}

/// A version that players get.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct LiveView {
    revision: String,
    tree: String,
    since: String,
}

/// One image.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct ImageView {
    key: String,
    challenge_id: String,
    service: String,
    status: &'static str,
    /// The engine's id, when built.
    image: Option<String>,
    error: Option<String>,
    /// Whether a failed one is tried again by itself.
    retryable: bool,
    attempts: u32,
    queued_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    /// Where the last attempt is or ended.
    progress: Option<ProgressView>,
}

/// Where a build is.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct ProgressView {
    /// E.g. `3/7`; empty when the output does not say.
    step: String,
    /// The last line of output: hostile text, without control characters.
    line: String,
}

/// One image with the end of its build's output.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct BuildView {
    #[serde(flatten)]
    image: ImageView,
    /// Hostile text, without control characters but line ends and tabs.
    log_tail: String,
}

/// What is wrong with a file.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct FindingView {
    rule: String,
    /// `error` or `warning`.
    severity: &'static str,
    challenge_id: Option<String>,
    path: String,
    /// From 1; 0 is the whole file.
    line: u32,
    column: u32,
    message: String,
    hint: String,
    /// Whether the challenge cannot run as it is written.
    blocks: bool,
    /// The line it is about, with answers masked.
    snippet: Option<String>,
    /// Why the rule is there.
    why: Option<&'static str>,
    /// The page about the rule.
    help: Option<String>,
}

/// Which builds are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct BuildFilter {
    #[param(required = false)]
    challenge_id: String,
    /// `unbuilt`, `building`, `built` or `failed`.
    #[param(required = false)]
    status: String,
}

impl FromParams for BuildFilter {
    fn read(params: &mut Params) -> Self {
        let words = crate::model::BuildState::WORDS;
        Self { challenge_id: params.text("challenge_id"), status: params.word("status", words) }
    }
}

fn time(time: Option<Timestamp>) -> Option<String> {
    time.map(Timestamp::rfc3339)
}

fn finding(finding: &Finding) -> FindingView {
    let rule = rules::find(&finding.rule);
    FindingView {
        rule: finding.rule.clone(),
        severity: match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        challenge_id: finding.challenge.as_ref().map(ToString::to_string),
        path: finding.path.clone(),
        line: finding.line,
        column: finding.column,
        message: finding.message.clone(),
        hint: finding.hint.clone(),
        blocks: finding.blocks,
        snippet: finding.snippet.clone(),
        why: rule.map(|rule| rule.why),
        help: rule.map(page::path),
    }
}

fn source(state: SourceState) -> SourceView {
    SourceView {
        remote: state.remote,
        branch: state.branch,
        revision: state.revision.map(|revision| revision.to_string()),
        fetched_at: time(state.fetched_at),
        findings: state.findings.iter().map(finding).collect(),
    }
}

fn counts_view(counts: Counts) -> CountsView {
    CountsView {
        running_instances: counts.running_instances,
        live_instances: counts.live_instances,
        max_instances: counts.max_instances,
        teams: counts.teams,
        solves: counts.solves,
    }
}

fn notices_view(outbox: Outbox) -> NoticesView {
    NoticesView {
        receiver: outbox.format,
        waiting: outbox.counts.n_waiting,
        given_up: outbox.counts.n_dead,
        last_error: outbox.counts.last_error,
    }
}

fn condition(condition: &Condition) -> ConditionView {
    ConditionView {
        scope: condition.scope.to_string(),
        kind: condition.kind.as_str(),
        status: condition.status.as_str(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        since: condition.since.rfc3339(),
        revision: condition.revision.map(|revision| revision.to_string()),
    }
}

/// One word for where a challenge is, between commit and players.
fn word(state: &ChallengeState) -> &'static str {
    use crate::model::BuildState;
    let live_tree = state.live.as_ref().map(|live| live.challenge.tree);
    match (live_tree, state.head_tree) {
        (Some(_), None) => "removed",
        (Some(live), Some(head)) if live == head => "live",
        _ if !state.is_valid => "invalid",
        _ if state.build == BuildState::Failed => "failed",
        (Some(_), Some(_)) => "updating",
        (None, _) => "building",
    }
}

fn challenge(state: &ChallengeState) -> ChallengeView {
    let live = |live: &LiveChallenge| LiveView {
        revision: live.revision.to_string(),
        tree: live.challenge.tree.to_string(),
        since: live.since.rfc3339(),
    };
    let name = state.live.as_ref().map(|live| live.challenge.metadata.name.clone());
    ChallengeView {
        id: state.id.to_string(),
        name: name.unwrap_or_else(|| state.id.to_string()),
        state: word(state),
        live: state.live.as_ref().map(live),
        head_tree: state.head_tree.map(|tree| tree.to_string()),
        valid: state.is_valid,
        build: state.build.as_str(),
        images: state.builds.iter().map(image).collect(),
        findings: state.findings.iter().map(finding).collect(),
    }
}

fn image(build: &Build) -> ImageView {
    let progress = progress(&build.log_tail);
    ImageView {
        key: build.key.to_string(),
        challenge_id: build.challenge.to_string(),
        service: build.service.to_string(),
        status: build.state.as_str(),
        image: build.image.clone(),
        error: build.error.clone(),
        retryable: build.is_retryable,
        attempts: build.n_attempts,
        queued_at: build.queued_at.rfc3339(),
        started_at: time(build.started_at),
        finished_at: time(build.finished_at),
        progress: progress.map(|found| ProgressView { step: found.step, line: found.line }),
    }
}

/// Where a build is, by the end of its output: the last `Step 3/7` or `[3/7]`, and the last line.
fn progress(log_tail: &str) -> Option<BuildProgress> {
    let lines = log_tail.lines().map(printable);
    let lines: Vec<_> = lines.filter(|line| !line.trim().is_empty()).collect();
    let line = lines.last()?.trim().chars().take(200).collect();
    let step = lines.iter().rev().find_map(|line| step(line)).unwrap_or_default();
    Some(BuildProgress { step, line })
}

/// `Step 3/7 : RUN …` of the classic builder, `#9 [web 3/7] RUN …` or `[3/7] RUN …` of BuildKit.
fn step(line: &str) -> Option<String> {
    let line = line.strip_prefix("CACHED ").unwrap_or(line);
    let words = line.split([' ', '[', ']', ':']).filter(|word| !word.is_empty());
    let is_mark = line.starts_with("Step ") || line.starts_with(['#', '[']);
    let is_number =
        |text: &str| (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let is_step =
        |word: &&str| word.split_once('/').is_some_and(|(n, of)| is_number(n) && is_number(of));
    words.take(5).find(is_step).filter(|_| is_mark).map(str::to_owned)
}

/// `text` without characters that a terminal would obey, but line ends and tabs.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// By object, the bad ones first.
fn in_order(mut conditions: Vec<Condition>) -> Vec<ConditionView> {
    let is_fine = |condition: &Condition| condition.status == ConditionStatus::True;
    conditions.sort_by(|a, b| (&a.scope, a.kind, is_fine(a)).cmp(&(&b.scope, b.kind, is_fine(b))));
    conditions.iter().map(condition).collect()
}

/// Looks at the remote at once, and answers when that look is done.
#[utoipa::path(post, path = "/gitops/reconcile", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = SourceView), (status = 403, body = Envelope)))]
async fn reconcile(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<SourceView>> {
    Ok(Json(source(platform.reconcile_now().await?)))
}

/// The repository, every condition, every challenge, and the numbers.
#[utoipa::path(get, path = "/gitops/status", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = GitopsStatus), (status = 403, body = Envelope)))]
async fn status(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<GitopsStatus>> {
    Ok(Json(GitopsStatus {
        source: source(platform.source().await?),
        engine_ready: platform.is_engine_ready(),
        counts: counts_view(platform.totals().await?),
        notices: notices_view(platform.outbox().await?),
        conditions: in_order(platform.conditions().await?),
        challenges: platform.challenge_states().await?.iter().map(challenge).collect(),
    }))
}

/// Every condition, by object.
#[utoipa::path(get, path = "/gitops/conditions", tag = "gitops", security(("bearer" = [])),
    params(PageParams),
    responses((status = 200, body = Page<ConditionView>), (status = 403, body = Envelope)))]
async fn conditions(
    State(platform): State<Platform>,
    _admin: Admin,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<ConditionView>>> {
    Ok(Json(Page::of(in_order(platform.conditions().await?), page)))
}

/// Every challenge of the newest revision and every live one, by id.
#[utoipa::path(get, path = "/gitops/challenges", tag = "gitops", security(("bearer" = [])),
    params(PageParams),
    responses((status = 200, body = Page<ChallengeView>), (status = 403, body = Envelope)))]
async fn challenges(
    State(platform): State<Platform>,
    _admin: Admin,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<ChallengeView>>> {
    let states = platform.challenge_states().await?;
    Ok(Json(Page::of(states.iter().map(challenge).collect(), page)))
}

/// Every image that is wanted, with the end of its build's output.
#[utoipa::path(get, path = "/gitops/builds", tag = "gitops", security(("bearer" = [])),
    params(BuildFilter, PageParams),
    responses((status = 200, body = Page<BuildView>), (status = 403, body = Envelope)))]
async fn builds(
    State(platform): State<Platform>,
    _admin: Admin,
    Query((wanted, page)): Query<(BuildFilter, PageParams)>,
) -> Answer<Json<Page<BuildView>>> {
    let states = platform.challenge_states().await?;
    let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
    let rows = states
        .iter()
        .filter(|state| is(&wanted.challenge_id, state.id.as_str()))
        .flat_map(|state| &state.builds)
        .filter(|build| is(&wanted.status, build.state.as_str()))
        .map(|build| BuildView { image: image(build), log_tail: printable(&build.log_tail) });
    Ok(Json(Page::of(rows.collect(), page)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{build, challenge as sample, live_one, question, state, tree};
    use super::*;
    use crate::model::BuildState;

    #[test]
    fn progress_is_read_from_the_end_of_the_output() {
        let cases = [
            (
                "Step 1/7 : FROM alpine\n ---> abc\nStep 3/7 : RUN make\n gcc -c \x1b[31mmain.c\n",
                "3/7 | gcc -c [31mmain.c",
            ),
            ("#5 [internal] load\n#9 [web 2/4] RUN apk add\n#9 0.3 fetch\n", "2/4 | #9 0.3 fetch"),
            ("[internal] load\n[2/4] RUN make\nhalf way\n", "2/4 | half way"),
            ("CACHED [web 3/4] RUN make\n", "3/4 | CACHED [web 3/4] RUN make"),
            ("downloaded 3/7 parts\n", " | downloaded 3/7 parts"),
            ("\n \n", "none"),
            ("", "none"),
        ];
        for (log, wanted) in cases {
            let found = progress(log).map(|found| format!("{} | {}", found.step, found.line));
            assert_eq!(found.as_deref().unwrap_or("none"), wanted, "{log:?}");
        }
    }

    #[test]
    fn one_word_says_where_a_challenge_is() {
        let web = sample("WEB-001", vec![question("flag")]);
        let live = Some(live_one(web.clone()));
        let base = state("WEB-001", BuildState::Built);
        let check = |live: &Option<LiveChallenge>, head, is_valid, build| {
            let base = base.clone();
            word(&ChallengeState { live: live.clone(), head_tree: head, is_valid, build, ..base })
        };
        let (same, other) = (Some(web.tree), Some(tree(9)));
        assert_eq!(check(&live, same, true, BuildState::Built), "live");
        assert_eq!(check(&live, other, true, BuildState::Building), "updating");
        assert_eq!(check(&live, other, false, BuildState::Unbuilt), "invalid");
        assert_eq!(check(&live, None, false, BuildState::Unbuilt), "removed");
        assert_eq!(check(&None, other, true, BuildState::Building), "building");
        assert_eq!(check(&None, other, true, BuildState::Failed), "failed");
        assert_eq!(check(&None, other, false, BuildState::Unbuilt), "invalid");
    }

    #[test]
    fn a_challenge_is_shown_from_commit_to_players() {
        let mut web = state("WEB-001", BuildState::Built);
        web.live = Some(live_one(sample("WEB-001", vec![question("flag")])));
        web.builds = vec![build("WEB-001", BuildState::Built)];
        insta::assert_json_snapshot!(challenge(&web), @r#"
        {
          "id": "WEB-001",
          "name": "Name of WEB-001",
          "state": "live",
          "live": {
            "revision": "0707070707070707070707070707070707070707",
            "tree": "0101010101010101010101010101010101010101",
            "since": "1970-01-01T00:00:05Z"
          },
          "head_tree": "0101010101010101010101010101010101010101",
          "valid": true,
          "build": "built",
          "images": [
            {
              "key": "0303030303030303030303030303030303030303030303030303030303030303",
              "challenge_id": "WEB-001",
              "service": "web",
              "status": "built",
              "image": "sha256:abc",
              "error": null,
              "retryable": false,
              "attempts": 1,
              "queued_at": "1970-01-01T00:00:01Z",
              "started_at": "1970-01-01T00:00:02Z",
              "finished_at": "1970-01-01T00:00:03Z",
              "progress": {
                "step": "2/2",
                "line": "done"
              }
            }
          ],
          "findings": []
        }
        "#);
    }
}
