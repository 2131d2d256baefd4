//! Follows the repository: looks, reads the newest revision, and hands on what it declares.
//!
//! Whatever fails here changes nothing for players: the last good revision stays in use, and the
//! conditions of the repository say since when and why.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::shared::{Head, Shared, Statement};
use super::{builds, competitions, releases};
use crate::catalog::{Catalog, Folder, Gate, Severity, rules};
use crate::git::{BranchName, Change, FetchError, Fetched, Watch, hands};
use crate::model::{
    Condition, ConditionStatus, ConditionType, Disposition, Revision, Scope, Timestamp, TreeError,
};
use crate::store::SourceRow;
use crate::telemetry::metrics;

/// Somebody who waits for a look.
pub(crate) type Looker = oneshot::Sender<()>;

/// Follows the repository until the daemon stops.
pub(crate) async fn follow(shared: Arc<Shared>, mut looks: mpsc::Receiver<Looker>) {
    recall_head(&shared).await;
    let mut watch = Watch::start(shared.mirror.remote());
    let mut last_success = shared.now();
    let mut n_failures: u32 = 0;
    let mut waiting: Vec<Looker> = Vec::new();
    loop {
        // Everybody who asked before this look began is answered by it.
        while let Ok(looker) = looks.try_recv() {
            waiting.push(looker);
        }
        match look(&shared).await {
            Ok(()) => {
                n_failures = 0;
                last_success = shared.now();
            }
            Err(error) => {
                n_failures += 1;
                state_failure(&shared, &error, last_success).await;
            }
        }
        for looker in waiting.drain(..) {
            let _ = looker.send(());
        }
        tokio::select! {
            () = tokio::time::sleep(next_look(&shared, n_failures)) => {}
            () = hint(&mut watch) => {}
            looker = looks.recv() => match looker {
                Some(looker) => waiting.push(looker),
                None => return,
            },
            () = shared.tasks.stopping().cancelled() => return,
        }
    }
}

/// Reads the newest revision of the last life from the mirror: without the remote its images can
/// be built and its findings read.
async fn recall_head(shared: &Arc<Shared>) {
    let row = match shared.store.source().await {
        Ok(Some(row)) => row,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(error = %error, "could not read which revision was the newest");
            return;
        }
    };
    match read(shared, row.revision, Arc::default()).await {
        Ok(catalog) => {
            shared.head.store(Head { revision: Some(row.revision), catalog: Arc::new(catalog) });
            competitions::follow(shared).await;
            builds::want(shared).await;
        }
        Err(error) => tracing::warn!(
            error = %crate::telemetry::chain::Chain(&error), revision = %row.revision,
            "could not read the last revision from the mirror; the next look brings the newest"
        ),
    }
}

/// Waits for a hint of the file system; for ever where there is none.
async fn hint(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// The poll interval ±10 %, or the backoff after failures if that is longer.
fn next_look(shared: &Shared, n_failures: u32) -> Duration {
    let interval = u64::from(shared.config.source.poll_secs) * 1000;
    let backoff = match n_failures {
        0 => 0,
        n => crate::model::RetryClass::Network.backoff_millis(n),
    };
    Duration::from_millis(jitter(interval.max(backoff)))
}

fn jitter(millis: u64) -> u64 {
    let mut byte = [0_u8; 1];
    // Without randomness the poll is only less spread.
    let _ = getrandom::fill(&mut byte);
    millis * (900 + u64::from(byte[0]) * 200 / 255) / 1000
}

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the newest revision could not be read")]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error("what the tags are could not be recorded")]
    Tags(#[from] releases::ReleaseError),
    #[error("whether the branch is signed could not be worked out")]
    Signed(#[source] releases::ReleaseError),
    #[error("the look was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// One look: fetch, and read what is new.
async fn look(shared: &Arc<Shared>) -> Result<(), LookError> {
    let begin = std::time::Instant::now();
    let branch: Option<BranchName> =
        shared.config.source.branch.as_deref().and_then(|name| name.parse().ok());
    let mirror = Arc::clone(&shared.mirror);
    let fetched = tokio::task::spawn_blocking(move || {
        let result = mirror.fetch(branch.as_ref());
        if let Err(FetchError::Corrupt { .. }) = &result {
            // Cloned aside and swapped; what is live is pinned and taken along.
            mirror.repair(branch.as_ref())?;
            return mirror.fetch(branch.as_ref());
        }
        result
    })
    .await??;
    let (branch, tip) = (&fetched.branch, fetched.revision);
    let followed = releases::follow(shared, branch, tip).await.map_err(LookError::Signed)?;
    state_reachable(shared, &fetched, followed).await;
    let head = shared.head.load();
    let has_tags = fetched.tags.is_some();
    if let Some(tags) = fetched.tags.clone() {
        releases::observe(shared, tags, followed).await?;
    }
    match followed.filter(|revision| head.revision != Some(*revision)) {
        Some(revision) => {
            let catalog = read(shared, revision, Arc::clone(&head.catalog)).await?;
            adopt(shared, revision, catalog).await;
        }
        None if has_tags => releases::advance(shared).await,
        None => {}
    }
    if let Some(revision) = followed {
        let (branch, fetched_at) = (fetched.branch.clone(), shared.now());
        shared.store.set_source(SourceRow { branch, revision, fetched_at }).await?;
    }
    metrics::reconcile_finished(metrics::Outcome::Ok, begin.elapsed());
    Ok(())
}

/// Reads a revision; folders that did not change are taken over from `previous`.
pub(crate) async fn read(
    shared: &Arc<Shared>,
    revision: Revision,
    previous: Arc<Catalog>,
) -> Result<Catalog, ReadError> {
    let mirror = Arc::clone(&shared.mirror);
    let policy = shared.policy();
    let catalog = tokio::task::spawn_blocking(move || {
        let tree = mirror.tree(revision)?;
        hands::load(&tree, Some(&previous), &policy)
    })
    .await??;
    Ok(catalog)
}

/// Why a revision could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The mirror.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The daemon stops.
    #[error(transparent)]
    Interrupted(#[from] tokio::task::JoinError),
}

impl From<ReadError> for LookError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Tree(source) => Self::Tree(source),
            ReadError::Interrupted(source) => Self::Interrupted(source),
        }
    }
}

/// Makes a revision the newest one: conditions, builds, and what is live.
pub(crate) async fn adopt(shared: &Arc<Shared>, revision: Revision, catalog: Catalog) {
    tracing::info!(
        revision = %revision, catalog.n_challenges = catalog.folders.len(),
        "read revision {}: {} challenges", revision.short(), catalog.folders.len()
    );
    let previous = shared.head.load();
    shared.head.store(Head { revision: Some(revision), catalog: Arc::new(catalog) });
    state_challenges(shared, &previous.catalog).await;
    state_gateway_templates(shared).await;
    let head = shared.head.load();
    shared.verdicts.publish(shared.now(), revision, &previous.catalog, &head.catalog);
    builds::want(shared).await;
}

async fn state_reachable(shared: &Shared, fetched: &Fetched, followed: Option<Revision>) {
    let revision = Some(fetched.revision);
    let statement = |kind, status, reason, message| Statement {
        scope: Scope::Repo,
        kind,
        status,
        reason,
        message,
        revision,
    };
    let branch = &fetched.branch;
    shared
        .state(statement(
            ConditionType::SourceReachable,
            ConditionStatus::True,
            "Ok",
            format!("branch `{branch}` of the remote is read"),
        ))
        .await;
    shared
        .state(statement(
            ConditionType::SourceStale,
            ConditionStatus::False,
            "Ok",
            "the remote answered the last poll".to_owned(),
        ))
        .await;
    if followed != Some(fetched.revision) {
        // `SourceVerified` says why.
        return;
    }
    let (status, reason, message) = match fetched.change {
        Change::Rewritten { was } => (
            ConditionStatus::True,
            "HistoryRewritten",
            format!(
                "branch `{branch}` was force-pushed: {} is no longer part of it; the new tip is followed, running instances keep what they started from",
                was.short()
            ),
        ),
        Change::Forward => {
            (ConditionStatus::False, "Ok", format!("branch `{branch}` moved forward"))
        }
        Change::First | Change::Unchanged => return,
    };
    shared.state(statement(ConditionType::Held, status, reason, message)).await;
}

async fn state_failure(shared: &Shared, error: &LookError, last_success: Timestamp) {
    metrics::reconcile_finished(metrics::Outcome::Failed, Duration::ZERO);
    let (reason, is_terminal) = match error {
        LookError::Fetch(error) => (error.reason(), error.disposition() == Disposition::Terminal),
        LookError::Tree(_) => ("Corrupt", false),
        LookError::Store(_)
        | LookError::Tags(_)
        | LookError::Signed(_)
        | LookError::Interrupted(_) => ("Internal", false),
    };
    let text = crate::telemetry::chain::Chain(error).to_string();
    let next = if is_terminal { "needs a change of yours" } else { "tried again by itself" };
    shared
        .state(Statement {
            scope: Scope::Repo,
            kind: ConditionType::SourceReachable,
            status: ConditionStatus::False,
            reason,
            message: format!("{text}; the last good revision stays in use; {next}"),
            revision: shared.head.load().revision,
        })
        .await;
    let patience = (i64::from(shared.config.source.poll_secs) * 3_000).max(120_000);
    if shared.now().millis_since(last_success) > patience {
        shared
            .state(Statement {
                scope: Scope::Repo,
                kind: ConditionType::SourceStale,
                status: ConditionStatus::True,
                reason: "NoSuccessfulPoll",
                message: format!("the remote has not been read for a while: {text}"),
                revision: shared.head.load().revision,
            })
            .await;
    }
}

/// States for every changed challenge whether its newest version is valid.
async fn state_challenges(shared: &Shared, previous: &Catalog) {
    let head = shared.head.load();
    for (id, folder) in &head.catalog.folders {
        let is_same = previous.folders.get(id).is_some_and(|old| Arc::ptr_eq(old, folder));
        if is_same {
            continue;
        }
        let (status, reason, message) = validity(folder, shared.policy().gate);
        if status == ConditionStatus::False {
            tracing::warn!(
                challenge.id = %id, finding.n = folder.findings.len(),
                "challenge {id} is invalid at the newest revision: {message}"
            );
        }
        shared
            .state(Statement {
                scope: Scope::Challenge(id.clone()),
                kind: ConditionType::Validated,
                status,
                reason,
                message,
                revision: head.revision,
            })
            .await;
    }
    for id in previous.folders.keys().filter(|id| !head.catalog.folders.contains_key(*id)) {
        if let Err(error) = shared.store.clear_conditions(&Scope::Challenge(id.clone())).await {
            tracing::warn!(error = %error, "could not clear the conditions of a challenge that is gone");
        }
    }
}

/// States when a template of the repository for gateways is refused, and when it is mended.
async fn state_gateway_templates(shared: &Shared) {
    let head = shared.head.load();
    let first = head.catalog.findings.iter().find(|it| it.rule == rules::NET005);
    let (status, reason, message) = match first {
        Some(finding) => (
            ConditionStatus::False,
            "GatewayTemplateRefused",
            format!("{finding}; gateways and profiles are made of the platform's own template"),
        ),
        // Nothing is said about most repositories, which have none.
        None if !was_stated(shared).await => return,
        None => (ConditionStatus::True, "Ok", "no template of the gateway is refused".to_owned()),
    };
    let (scope, kind, revision) = (Scope::Repo, ConditionType::Validated, head.revision);
    shared.state(Statement { scope, kind, status, reason, message, revision }).await;
}

/// Whether something is said about rules of the repository as a whole.
async fn was_stated(shared: &Shared) -> bool {
    let is_it = |it: &Condition| it.scope == Scope::Repo && it.kind == ConditionType::Validated;
    shared.store.conditions().await.is_ok_and(|all| all.iter().any(is_it))
}

/// Whether the newest version of a challenge may be used, and what is to be said about it.
fn validity(folder: &Folder, gate: Gate) -> (ConditionStatus, &'static str, String) {
    let errors = || folder.findings.iter().filter(|it| it.severity == Severity::Error);
    if folder.challenge.is_some() {
        let message = match (errors().count(), errors().next()) {
            (1, Some(first)) => format!("runs, with an error: {first}"),
            (n_errors, Some(first)) => format!("runs, with {n_errors} errors: {first}"),
            (_, None) => "every rule passes".to_owned(),
        };
        return (ConditionStatus::True, "Ok", message);
    }
    // What keeps it from running comes before what only breaks a rule.
    let held = folder.findings.iter().filter(|finding| !gate.lets_through(finding));
    let first = held.min_by_key(|finding| finding.weight());
    let message = first
        .or(folder.findings.first())
        .map_or_else(|| "the folder holds no usable challenge".to_owned(), ToString::to_string);
    (ConditionStatus::False, "Invalid", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Finding, Policy};
    use crate::model::MemoryTree;

    const QUIZ: &str = "name: Ports\ndescription: Which port?\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - id: port\n    prompt: Which port?\n    answer: \"22\"\n";

    fn folder() -> Folder {
        let tree = MemoryTree::new().with("MISC/QUIZ-001/metadata.yaml", QUIZ);
        let folder = crate::catalog::load_one(&tree, "MISC/QUIZ-001", &Policy::default()).unwrap();
        assert!(folder.challenge.is_some() && folder.findings.is_empty());
        folder
    }

    fn finding(rule: &str) -> Finding {
        Finding {
            rule: rule.to_owned(),
            severity: Severity::Error,
            blocks: false,
            challenge: None,
            path: "metadata.yaml".to_owned(),
            line: 1,
            column: 1,
            message: "is wrong".to_owned(),
            hint: String::new(),
            snippet: None,
        }
    }

    #[test]
    fn a_challenge_that_runs_with_errors_says_how_many_and_the_first() {
        let check = |findings: Vec<Finding>| {
            let (status, reason, message) =
                validity(&Folder { findings, ..folder() }, Gate::Runnable);
            format!("{status} {reason}: {message}")
        };
        assert_eq!(check(Vec::new()), "True Ok: every rule passes");
        assert_eq!(
            check(vec![finding("META010")]),
            "True Ok: runs, with an error: metadata.yaml:1:1: error[META010] is wrong"
        );
        assert_eq!(
            check(vec![finding("META010"), finding("META007")]),
            "True Ok: runs, with 2 errors: metadata.yaml:1:1: error[META010] is wrong"
        );
    }

    #[test]
    fn what_the_gate_holds_back_is_said_with_its_reason() {
        let warning = Finding { severity: Severity::Warning, ..finding("BUILD001") };
        for (findings, gate, wanted) in [
            (
                vec![finding("META010"), Finding { blocks: true, ..finding("META005") }],
                Gate::Runnable,
                "META005",
            ),
            (vec![warning.clone(), finding("META010")], Gate::Errors, "META010"),
            (vec![warning], Gate::Warnings, "BUILD001"),
            (Vec::new(), Gate::Runnable, "no usable challenge"),
        ] {
            let held = Folder { findings, challenge: None, ..folder() };
            let (status, reason, message) = validity(&held, gate);
            assert_eq!((status, reason), (ConditionStatus::False, "Invalid"));
            assert!(message.contains(wanted), "{gate:?}: {message}");
        }
    }
}
