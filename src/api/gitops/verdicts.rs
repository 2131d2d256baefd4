//! Verdicts on revisions: everything found in one, and what is told when one lands.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{FindingView, finding};
use crate::api::auth::Admin;
use crate::api::error::{Answer, Envelope};
use crate::api::extract::Path;
use crate::catalog::{Finding, Folder, Severity};
use crate::daemon::platform::{Judged, Platform, Verdict};
use crate::model::ChallengeId;

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(findings))
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

/// A verdict that landed, as the stream of events tells it.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct VerdictEvent {
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

pub(super) fn verdict_event(verdict: &Verdict) -> VerdictEvent {
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
