//! Proofs: challenges solved by their own exploits, for organizers.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::Admin;
use crate::api::error::{Answer, Envelope};
use crate::api::extract::{Body, Query};
use crate::api::page::{Page, PageParams};
use crate::daemon::platform::{Platform, ProofProgress, ProofState, ProofWhich};
use crate::model::NodeId;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(solve))
}

/// Which challenges are to be proven.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SolveBody {
    /// Their ids; an empty list means all.
    #[schema(example = json!(["WEB-001"]))]
    challenges: Vec<String>,
}

/// One version of a challenge, and what its own exploit did to it.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct ProofView {
    challenge_id: String,
    /// `live`: what players get. `newest`: the newest valid version, when that is another.
    /// `tagged`: that of the tag that goes live next, when it is neither.
    version: &'static str,
    /// The commit.
    revision: String,
    /// The challenge's folder at that commit.
    tree: String,
    node: String,
    /// `queued` or `running` while it is tried; else `proven`, `failed`, `no_exploit`, `given_up`
    /// (something that says nothing about the challenge came between, again and again), or
    /// `pending` (never tried).
    state: &'static str,
    /// For people; holds no answer.
    why: String,
    /// How long the exploit ran.
    took_ms: Option<u64>,
    /// When it was known.
    at: Option<String>,
}

/// What was wanted, as it stands now.
#[derive(Debug, Serialize, ToSchema)]
struct Wanted {
    total: usize,
    items: Vec<ProofView>,
}

fn view(state: ProofState) -> ProofView {
    let (word, why) = match (&state.progress, &state.record) {
        (ProofProgress::Queued(why), _) => ("queued", why.clone().unwrap_or_default()),
        (ProofProgress::Running, _) => ("running", String::new()),
        (ProofProgress::GivenUp(why), _) => ("given_up", why.clone()),
        (ProofProgress::Idle, None) => ("pending", String::new()),
        (ProofProgress::Idle, Some(record)) => (record.outcome.as_str(), record.message.clone()),
    };
    let record = state.record.filter(|_| state.progress == ProofProgress::Idle);
    ProofView {
        challenge_id: state.challenge.to_string(),
        version: match state.which {
            ProofWhich::Live => "live",
            ProofWhich::Newest => "newest",
            ProofWhich::Tagged => "tagged",
        },
        revision: state.revision.to_string(),
        tree: state.tree.to_string(),
        node: NodeId::local().to_string(),
        state: word,
        why,
        took_ms: record.as_ref().map(|record| record.took_millis),
        at: record.map(|record| record.at.rfc3339()),
    }
}

/// Every live version, and every newest or tagged one that is another, with what its own exploit did to it.
#[utoipa::path(get, path = "/gitops/proofs", tag = "gitops", security(("bearer" = [])),
    params(PageParams),
    responses((status = 200, body = Page<ProofView>), (status = 403, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    _admin: Admin,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<ProofView>>> {
    let proofs = platform.proofs().await?;
    Ok(Json(Page::of(proofs.into_iter().map(view).collect(), page)))
}

/// Runs the exploits of challenges, each against a fresh instance that no player sees. Answers at
/// once; `GET /gitops/proofs` tells when it is over, and what came of it.
#[utoipa::path(post, path = "/gitops/solve", tag = "gitops", security(("bearer" = [])),
    request_body = SolveBody,
    responses((status = 202, body = Wanted), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope)))]
async fn solve(
    State(platform): State<Platform>,
    _admin: Admin,
    Body(body): Body<SolveBody>,
) -> Answer<(StatusCode, Json<Wanted>)> {
    let items: Vec<_> = platform.solve(&body.challenges).await?.into_iter().map(view).collect();
    Ok((StatusCode::ACCEPTED, Json(Wanted { total: items.len(), items })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::tree;
    use crate::model::{ObjectId, ProofOutcome, ProofRecord, Revision, Timestamp};

    #[test]
    fn a_verdict_is_shown_when_nobody_tries_it_again() {
        let revision = Revision(ObjectId::from_bytes([7; 20]));
        let record = ProofRecord {
            challenge: "WEB-001".parse().unwrap(),
            tree: tree(1),
            node: NodeId::local(),
            revision,
            outcome: ProofOutcome::Failed,
            message: "it found no answer to `flag`".to_owned(),
            took_millis: 1200,
            at: Timestamp::from_millis(5000),
        };
        let state = |progress, record| ProofState {
            challenge: "WEB-001".parse().unwrap(),
            which: ProofWhich::Newest,
            revision,
            tree: tree(1),
            progress,
            record,
        };
        let seen = |progress, record| {
            let view = view(state(progress, record));
            (view.state, view.why, view.took_ms)
        };
        let (none, some) = (None, Some(record.clone()));
        assert_eq!(seen(ProofProgress::Idle, none.clone()), ("pending", String::new(), None));
        assert_eq!(seen(ProofProgress::Idle, some.clone()), ("failed", record.message, Some(1200)));
        assert_eq!(seen(ProofProgress::Running, some.clone()), ("running", String::new(), None));
        let away = ProofProgress::GivenUp("away".to_owned());
        assert_eq!(seen(away, some), ("given_up", "away".to_owned(), None));
        let again = ProofProgress::Queued(Some("again".to_owned()));
        assert_eq!(seen(again, none), ("queued", "again".to_owned(), None));
    }
}
