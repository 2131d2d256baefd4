//! Numbers for `/metrics`: every name, its meaning, and one function per thing that happens.
//!
//! In:  calls from the rooms, cheap and without effect before [`Metrics::install`].
//! Out: Prometheus text from [`Metrics::render`]; the API serves it, there is no listener here.
//!
//! # Invariants
//! * Labels have few values: words of enums, routes, names of verbs; never ids, paths or texts.
//! * Names end in their unit; counters end in `_total`.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::model::{InstancePhase, InstanceStatus, StopReason, Timestamp};

/// Gauge by `status`: instances.
pub const INSTANCES: &str = "flagops_instances";
/// Starts that wait for room.
pub const WAITING_STARTS: &str = "flagops_waiting_starts";
/// Gauge: when the certificate of the ingress ends, in seconds since the Unix epoch; 0 while there is none.
pub const CERTIFICATE_END: &str = "flagops_certificate_end_timestamp_seconds";
/// Histogram by `phase`: how long one phase of a start took.
pub const START_PHASE_SECONDS: &str = "flagops_start_phase_duration_seconds";
/// Histogram by `outcome`: from the request to ready.
pub const START_SECONDS: &str = "flagops_start_duration_seconds";
/// Counter by `reason`: instances that ended.
pub const INSTANCES_ENDED: &str = "flagops_instances_ended_total";
/// Histogram by `outcome`: builds.
pub const BUILD_SECONDS: &str = "flagops_build_duration_seconds";
/// Gauge: images that wait for a slot or are being built.
pub const BUILDS_PENDING: &str = "flagops_builds_pending";
/// Histogram by `outcome`: looks at the repository.
pub const RECONCILE_SECONDS: &str = "flagops_reconcile_duration_seconds";
/// Gauge by `state`: challenges.
pub const CHALLENGES: &str = "flagops_challenges";
/// Histogram by `verb`: calls to the engine that succeeded.
pub const ENGINE_CALL_SECONDS: &str = "flagops_engine_call_duration_seconds";
/// Counter by `verb` and `error`: calls to the engine that did not.
pub const ENGINE_ERRORS: &str = "flagops_engine_call_errors_total";
/// Counter by `class` (`D1` …): differences of ready instances, and of what bears our names.
pub const DRIFT: &str = "flagops_drift_total";
/// Histogram by `outcome`: level passes over everything that the engine has.
pub const LEVEL_PASS_SECONDS: &str = "flagops_level_pass_duration_seconds";
/// Counter by `kind`: leftovers of instances that are over, removed.
pub const PRUNED: &str = "flagops_pruned_total";
/// Counter by `verdict`: graded answers.
pub const SUBMISSIONS: &str = "flagops_submissions_total";
/// Histogram by `outcome`: runs of challenges' own exploits against a canary.
pub const SOLVE_SECONDS: &str = "flagops_solve_duration_seconds";
/// Histogram by `outcome`: looks from inside at whether instances are kept apart.
pub const ISOLATION_SECONDS: &str = "flagops_isolation_check_duration_seconds";
/// Counter by `fate`: deliveries of notices.
pub const NOTICES: &str = "flagops_notices_total";
/// Counter by `fate`: deliveries of commit statuses.
pub const COMMIT_STATUSES: &str = "flagops_commit_statuses_total";
/// Counter by `fate`: deliveries of solves to a CTFd.
pub const CTFD_SOLVES: &str = "flagops_ctfd_solves_total";
/// Counter by `fate`: calls of webhooks.
pub const WEBHOOK_CALLS: &str = "flagops_webhook_calls_total";
/// Histogram by `method`, `route` and `status`: requests to the API.
pub const HTTP_SECONDS: &str = "flagops_http_request_duration_seconds";

/// Bounds of every histogram in seconds: from one engine call to the longest build.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 1200.0,
];

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As wanted.
    Ok,
    /// Not as wanted.
    Failed,
}

impl Outcome {
    /// The outcome of a result.
    pub fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Ok } else { Self::Failed }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

/// The verdict on one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Right.
    Correct,
    /// Wrong.
    Wrong,
}

/// What became of one call of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFate {
    /// It was good, and the repository is looked at.
    Accepted,
    /// It came before.
    Duplicate,
    /// There is no such webhook.
    UnknownId,
    /// It was not signed with a secret of ours.
    BadSignature,
    /// The file of a secret cannot be read: somebody has to look.
    NoSecret,
    /// Too many came.
    Limited,
    /// It was too large, too slow, or broke off.
    Unreadable,
}

impl CallFate {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::UnknownId => "unknown_id",
            Self::BadSignature => "bad_signature",
            Self::NoSecret => "no_secret",
            Self::Limited => "limited",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What became of one delivery of a notice or a commit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeFate {
    /// The receiver has it.
    Delivered,
    /// It is tried again later.
    Retried,
    /// It never will be: somebody has to look.
    GivenUp,
}

impl NoticeFate {
    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::GivenUp => "given_up",
        }
    }
}

/// The numbers of this process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Counts from now on. There is one set per process: a second call returns the same.
    pub fn install() -> Self {
        static INSTALLED: OnceLock<Metrics> = OnceLock::new();
        INSTALLED.get_or_init(Self::install_once).clone()
    }

    fn install_once() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)
            .map(PrometheusBuilder::build_recorder)
            .unwrap_or_else(|_| PrometheusBuilder::new().build_recorder());
        let handle = recorder.handle();
        // Only another recorder in the same process can refuse; then we render an empty text.
        let _ = metrics::set_global_recorder(recorder);
        describe();
        Self { handle }
    }

    /// Everything counted so far, as Prometheus text.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds samples into histograms; call it every few seconds, or memory grows between scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn describe() {
    describe_gauge!(INSTANCES, "Instances by status.");
    describe_gauge!(WAITING_STARTS, "Starts that wait until a node has room.");
    describe_gauge!(CERTIFICATE_END, "When the certificate of the ingress ends; 0 without one.");
    describe_histogram!(START_PHASE_SECONDS, "How long one phase of a start took.");
    describe_histogram!(START_SECONDS, "From the request for an instance until it was ready.");
    describe_counter!(INSTANCES_ENDED, "Instances that ended, by reason.");
    describe_histogram!(BUILD_SECONDS, "How long builds of images took.");
    describe_gauge!(BUILDS_PENDING, "Images that wait for a slot or are being built.");
    describe_histogram!(RECONCILE_SECONDS, "How long a look at the repository took.");
    describe_gauge!(CHALLENGES, "Challenges by state.");
    describe_histogram!(ENGINE_CALL_SECONDS, "How long calls to the container engine took.");
    describe_counter!(ENGINE_ERRORS, "Calls that the container engine did not fulfil.");
    describe_counter!(DRIFT, "Differences that were found, by their class.");
    describe_histogram!(LEVEL_PASS_SECONDS, "How long a look at everything on the engine took.");
    describe_counter!(PRUNED, "Leftovers of instances that are over, removed, by kind.");
    describe_counter!(SUBMISSIONS, "Graded answers by verdict.");
    describe_histogram!(SOLVE_SECONDS, "How long challenges' own exploits ran against a canary.");
    describe_histogram!(ISOLATION_SECONDS, "How long looks at the walls from inside took.");
    describe_counter!(NOTICES, "Deliveries of notices by what became of them.");
    describe_counter!(COMMIT_STATUSES, "Deliveries of commit statuses by what became of them.");
    describe_counter!(CTFD_SOLVES, "Deliveries of solves to a CTFd by what became of them.");
    describe_counter!(WEBHOOK_CALLS, "Calls of webhooks by what became of them.");
    describe_histogram!(HTTP_SECONDS, "How long requests to the API took.");
}

/// How many starts wait for room.
pub fn waiting_starts(n: usize) {
    gauge!(WAITING_STARTS).set(n as f64);
}

/// The certificate of the ingress ends then.
pub fn certificate_end(until: Option<Timestamp>) {
    gauge!(CERTIFICATE_END).set(until.map_or(0.0, Timestamp::as_secs_f64));
}

/// How many instances have which status; a status that is absent is 0.
pub fn instances(by_status: &BTreeMap<InstanceStatus, usize>) {
    for word in InstanceStatus::WORDS {
        let status = InstanceStatus::from_word(word);
        let n = status.and_then(|status| by_status.get(&status)).copied().unwrap_or(0);
        gauge!(INSTANCES, "status" => *word).set(n as f64);
    }
}

/// An instance left `phase` of its start after `elapsed`.
pub fn start_phase(phase: InstancePhase, elapsed: Duration) {
    histogram!(START_PHASE_SECONDS, "phase" => phase.as_str()).record(elapsed);
}

/// A start ended after `elapsed`, counted from the request.
pub fn start_finished(outcome: Outcome, elapsed: Duration) {
    histogram!(START_SECONDS, "outcome" => outcome.as_str()).record(elapsed);
}

/// An instance ended.
pub fn instance_ended(reason: StopReason) {
    counter!(INSTANCES_ENDED, "reason" => reason.as_str()).increment(1);
}

/// A build ended after `elapsed`.
pub fn build_finished(outcome: Outcome, elapsed: Duration) {
    histogram!(BUILD_SECONDS, "outcome" => outcome.as_str()).record(elapsed);
}

/// How many images wait or are being built.
pub fn builds_pending(n: usize) {
    gauge!(BUILDS_PENDING).set(n as f64);
}

/// A look at the repository ended after `elapsed`.
pub fn reconcile_finished(outcome: Outcome, elapsed: Duration) {
    histogram!(RECONCILE_SECONDS, "outcome" => outcome.as_str()).record(elapsed);
}

/// How many challenges are in `state` (`live`, `valid`, `invalid`, …).
pub fn challenges(state: &'static str, n: usize) {
    gauge!(CHALLENGES, "state" => state).set(n as f64);
}

/// The engine fulfilled `verb` (`create_container`, …) after `elapsed`.
pub fn engine_call(verb: &'static str, elapsed: Duration) {
    histogram!(ENGINE_CALL_SECONDS, "verb" => verb).record(elapsed);
}

/// The engine did not fulfil `verb`; `error` is the variant's word (`timed_out`, …).
pub fn engine_error(verb: &'static str, error: &'static str) {
    counter!(ENGINE_ERRORS, "verb" => verb, "error" => error).increment(1);
}

/// A difference was found; `class` is its code (`D1`, …).
pub fn drift(class: &'static str) {
    counter!(DRIFT, "class" => class).increment(1);
}

/// A level pass ended after `elapsed`.
pub fn level_pass(outcome: Outcome, elapsed: Duration) {
    histogram!(LEVEL_PASS_SECONDS, "outcome" => outcome.as_str()).record(elapsed);
}

/// A leftover was removed; `kind` is what it was (`container`, …).
pub fn pruned(kind: &'static str) {
    counter!(PRUNED, "kind" => kind).increment(1);
}

/// An answer was graded.
pub fn submission(verdict: Verdict) {
    let word = match verdict {
        Verdict::Correct => "correct",
        Verdict::Wrong => "wrong",
    };
    counter!(SUBMISSIONS, "verdict" => word).increment(1);
}

/// A challenge's own exploit ran for `elapsed`.
pub fn solve_finished(outcome: Outcome, elapsed: Duration) {
    histogram!(SOLVE_SECONDS, "outcome" => outcome.as_str()).record(elapsed);
}

/// A look from inside at whether instances are kept apart took `elapsed`.
pub fn isolation_checked(outcome: Outcome, elapsed: Duration) {
    histogram!(ISOLATION_SECONDS, "outcome" => outcome.as_str()).record(elapsed);
}

/// A notice was delivered, or was not.
pub fn notice(fate: NoticeFate) {
    counter!(NOTICES, "fate" => fate.as_str()).increment(1);
}

/// A commit status was delivered, or was not.
pub fn commit_status(fate: NoticeFate) {
    counter!(COMMIT_STATUSES, "fate" => fate.as_str()).increment(1);
}

/// A solve was delivered to a CTFd, or was not.
pub fn ctfd_solve(fate: NoticeFate) {
    counter!(CTFD_SOLVES, "fate" => fate.as_str()).increment(1);
}

/// Somebody called a webhook.
pub fn webhook_call(fate: CallFate) {
    counter!(WEBHOOK_CALLS, "fate" => fate.as_str()).increment(1);
}

/// A request was answered. `route` is the pattern (`/api/v1/instances/{id}`), never the path.
pub fn http_request(method: &'static str, route: &str, status: u16, elapsed: Duration) {
    let (route, status) = (route.to_owned(), status.to_string());
    histogram!(HTTP_SECONDS, "method" => method, "route" => route, "status" => status)
        .record(elapsed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_is_rendered_with_its_meaning() {
        let metrics = Metrics::install();
        instances(&BTreeMap::from([(InstanceStatus::Ready, 3)]));
        start_phase(InstancePhase::Creating, Duration::from_millis(8));
        start_finished(Outcome::Ok, Duration::from_millis(400));
        instance_ended(StopReason::TtlExpired);
        build_finished(Outcome::Failed, Duration::from_secs(3));
        builds_pending(2);
        reconcile_finished(Outcome::of::<(), ()>(&Ok(())), Duration::from_millis(20));
        challenges("live", 7);
        engine_call("create_container", Duration::from_millis(8));
        engine_error("create_network", "timed_out");
        drift("D1");
        level_pass(Outcome::Ok, Duration::from_millis(30));
        pruned("volume");
        submission(Verdict::Wrong);
        solve_finished(Outcome::Ok, Duration::from_secs(2));
        notice(NoticeFate::GivenUp);
        commit_status(NoticeFate::Delivered);
        ctfd_solve(NoticeFate::Delivered);
        webhook_call(CallFate::BadSignature);
        http_request("GET", "/api/v1/instances/{id}", 404, Duration::from_millis(2));
        metrics.upkeep();
        let text = metrics.render();
        for line in [
            "flagops_instances{status=\"ready\"} 3",
            "flagops_instances{status=\"error\"} 0",
            "flagops_start_phase_duration_seconds_bucket{phase=\"creating\",le=\"0.01\"} 1",
            "flagops_instances_ended_total{reason=\"ttl_expired\"} 1",
            "flagops_build_duration_seconds_count{outcome=\"failed\"} 1",
            "flagops_builds_pending 2",
            "flagops_challenges{state=\"live\"} 7",
            "flagops_engine_call_errors_total{verb=\"create_network\",error=\"timed_out\"} 1",
            "flagops_drift_total{class=\"D1\"} 1",
            "flagops_level_pass_duration_seconds_count{outcome=\"ok\"} 1",
            "flagops_pruned_total{kind=\"volume\"} 1",
            "flagops_submissions_total{verdict=\"wrong\"} 1",
            "flagops_solve_duration_seconds_count{outcome=\"ok\"}",
            "flagops_notices_total{fate=\"given_up\"}",
            "flagops_commit_statuses_total{fate=\"delivered\"}",
            "flagops_webhook_calls_total{fate=\"bad_signature\"}",
            "# HELP flagops_http_request_duration_seconds How long requests to the API took.",
        ] {
            assert!(text.contains(line), "missing {line:?} in:\n{text}");
        }
        assert!(Metrics::install().render().contains("flagops_builds_pending 2"));
    }
}
