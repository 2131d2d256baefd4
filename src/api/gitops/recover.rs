//! What bears our label and belongs to no instance of this database, for operators.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::Admin;
use crate::api::error::{Answer, ApiError, Envelope};
use crate::api::extract::Body;
use crate::daemon::platform::{Platform, PlatformError, Unknown};
use crate::model::InstanceId;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(list, remove))
        .routes(routes!(adopt))
        .routes(routes!(accept))
}

/// What is left of an instance that no row knows.
#[derive(Debug, Serialize, ToSchema)]
struct UnknownView {
    instance_id: String,
    /// Names of its containers.
    containers: Vec<String>,
    /// How many of them run.
    running: usize,
    /// Names of its volumes.
    volumes: Vec<String>,
    /// Whether it can be adopted.
    adoptable: bool,
    /// Why not.
    reason: Option<String>,
    /// The challenge it is a copy of, if that is told.
    challenge_id: Option<String>,
    /// The id of the team it belongs to, if that is told.
    team_id: Option<String>,
    /// When it was asked for, if that is told.
    created_at: Option<String>,
}

/// Everything of that kind.
#[derive(Debug, Serialize, ToSchema)]
struct UnknownList {
    total: usize,
    items: Vec<UnknownView>,
    /// What happened to the database, until somebody accepts it; null when nothing did.
    database_lost: Option<String>,
}

/// What came of an adoption.
#[derive(Debug, Serialize, ToSchema)]
struct AdoptedList {
    /// Ids of instances that have a row now.
    adopted: Vec<String>,
    /// Those that have none.
    refused: Vec<RefusedView>,
}

/// An instance that was not adopted.
#[derive(Debug, Serialize, ToSchema)]
struct RefusedView {
    instance_id: String,
    reason: String,
}

/// Which are meant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChosenBody {
    /// Ids from the list, each of which somebody has looked at.
    instance_ids: Vec<String>,
}

impl ChosenBody {
    fn parse(&self) -> Answer<Vec<InstanceId>> {
        let parse = |text: &String| {
            let id: String = text.chars().take(80).collect();
            text.parse().map_err(|_| ApiError::from(PlatformError::InstanceNotFound { id }))
        };
        self.instance_ids.iter().map(parse).collect()
    }
}

/// Who looked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AcceptBody {
    /// For the record.
    who: String,
}

fn view((id, left): (InstanceId, Unknown)) -> UnknownView {
    let owner = left.owner.as_ref().ok();
    UnknownView {
        adoptable: owner.is_some(),
        reason: left.owner.as_ref().err().map(ToString::to_string),
        challenge_id: owner.map(|owner| owner.challenge.to_string()),
        team_id: owner.map(|owner| owner.team.to_string()),
        created_at: owner.map(|owner| owner.created_at.rfc3339()),
        instance_id: id.to_string(),
        containers: left.containers,
        running: left.n_running,
        volumes: left.volumes,
    }
}

/// What belongs to no instance of this database, and is left alone until somebody has looked.
#[utoipa::path(get, path = "/gitops/recover", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = UnknownList), (status = 403, body = Envelope),
        (status = 503, body = Envelope, description = "the engine cannot be asked")))]
async fn list(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<UnknownList>> {
    let items: Vec<_> = platform.unknown().await?.into_iter().map(view).collect();
    let database_lost = platform.database_loss().await?;
    Ok(Json(UnknownList { total: items.len(), items, database_lost }))
}

/// Removes what is left of the named instances; answers with what was removed.
#[utoipa::path(post, path = "/gitops/recover", tag = "gitops", security(("bearer" = [])),
    request_body = ChosenBody, responses((status = 200, body = UnknownList),
        (status = 403, body = Envelope), (status = 404, body = Envelope),
        (status = 503, body = Envelope, description = "the engine cannot be asked")))]
async fn remove(
    State(platform): State<Platform>,
    _admin: Admin,
    Body(body): Body<ChosenBody>,
) -> Answer<Json<UnknownList>> {
    let removed = platform.remove_unknown(&body.parse()?).await?;
    let items: Vec<_> = removed.into_iter().map(view).collect();
    let database_lost = platform.database_loss().await?;
    Ok(Json(UnknownList { total: items.len(), items, database_lost }))
}

/// Gives the named instances rows again, from what their containers tell; they are not touched.
#[utoipa::path(post, path = "/gitops/recover/adopt", tag = "gitops", security(("bearer" = [])),
    request_body = ChosenBody, responses((status = 200, body = AdoptedList),
        (status = 403, body = Envelope), (status = 404, body = Envelope),
        (status = 503, body = Envelope, description = "the engine cannot be asked")))]
async fn adopt(
    State(platform): State<Platform>,
    _admin: Admin,
    Body(body): Body<ChosenBody>,
) -> Answer<Json<AdoptedList>> {
    let outcome = platform.adopt_unknown(&body.parse()?).await?;
    let refused =
        |(id, reason): (InstanceId, String)| RefusedView { instance_id: id.to_string(), reason };
    Ok(Json(AdoptedList {
        adopted: outcome.adopted.iter().map(|instance| instance.id.to_string()).collect(),
        refused: outcome.refused.into_iter().map(refused).collect(),
    }))
}

/// Accepts the loss of the database: what it may have known is no longer held back for it.
#[utoipa::path(post, path = "/gitops/recover/accept", tag = "gitops", security(("bearer" = [])),
    request_body = AcceptBody, responses((status = 200, body = UnknownList),
        (status = 403, body = Envelope),
        (status = 503, body = Envelope, description = "the engine cannot be asked")))]
async fn accept(
    State(platform): State<Platform>,
    admin: Admin,
    Body(body): Body<AcceptBody>,
) -> Answer<Json<UnknownList>> {
    platform.accept_loss(&body.who).await;
    list(State(platform), admin).await
}
