//! What is wanted, seen, next and held, for operators.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::Admin;
use crate::api::error::{Answer, ApiError, Envelope};
use crate::api::extract::Path;
use crate::daemon::platform::{Explained, Platform, PlatformError};
use crate::model::{NodeId, Scope};
use crate::release::chain::Link;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(plan)).routes(routes!(explain))
}

/// What is said about one object.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainedView {
    /// `challenge/ID`, `instance/ID` or `node/local`.
    scope: String,
    wanted: String,
    seen: Vec<String>,
    /// What happens next, in this order.
    next: Vec<String>,
    /// Why nothing, or nothing more, happens.
    because: Vec<String>,
    /// Whether a person keeps something from happening.
    held: bool,
    /// Where it comes from, the nearest link first; empty in plans.
    chain: Vec<LinkView>,
}

/// One link between what runs and who released it.
#[derive(Debug, Serialize, ToSchema)]
struct LinkView {
    /// `instance`, `generation`, `tag`, `commit`, `tree`, `build_key` or `image`.
    kind: &'static str,
    /// Its number, name or hash; empty when it is not known.
    id: String,
    /// What is known of it.
    words: String,
    /// The command that shows more; empty when there is none.
    more: String,
}

/// Everything that would be done now.
#[derive(Debug, Serialize, ToSchema)]
struct PlanView {
    /// Objects with a next step.
    changes: usize,
    /// Objects that a person keeps from theirs.
    held: usize,
    items: Vec<ExplainedView>,
}

fn view(explained: Explained) -> ExplainedView {
    let report = explained.report;
    ExplainedView {
        scope: explained.scope.to_string(),
        wanted: report.wanted,
        seen: report.seen,
        next: report.next,
        because: report.because,
        held: report.is_held,
        chain: explained.chain.into_iter().map(link).collect(),
    }
}

fn link(link: Link) -> LinkView {
    LinkView { kind: link.kind.as_str(), id: link.id, words: link.words, more: link.more }
}

/// Everything that would be done now, from a look at the engine. Changes nothing.
#[utoipa::path(get, path = "/gitops/plan", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = PlanView), (status = 403, body = Envelope),
        (status = 503, body = Envelope, description = "the engine cannot be asked")))]
async fn plan(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<PlanView>> {
    let items: Vec<_> = platform.plan().await?.into_iter().map(view).collect();
    let held = items.iter().filter(|item| item.held).count();
    Ok(Json(PlanView { changes: items.len() - held, held, items }))
}

/// Explains one object: what is wanted, what is seen, what happens next, why not more, and where it
/// comes from.
#[utoipa::path(get, path = "/gitops/explain/{kind}/{id}", tag = "gitops",
    security(("bearer" = [])), params(("kind" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = ExplainedView), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn explain(
    State(platform): State<Platform>,
    _admin: Admin,
    Path((kind, id)): Path<(String, String)>,
) -> Answer<Json<ExplainedView>> {
    let unknown = || {
        let id: String = id.chars().take(80).collect();
        ApiError::from(match kind.as_str() {
            "instance" => PlatformError::InstanceNotFound { id },
            _ => PlatformError::ChallengeNotFound { id },
        })
    };
    let scope = match kind.as_str() {
        "node" if id == "local" => Scope::Node(NodeId::local()),
        "instance" | "challenge" => format!("{kind}/{id}").parse().map_err(|_| unknown())?,
        _ => return Err(unknown()),
    };
    Ok(Json(view(platform.explain(&scope).await?)))
}
