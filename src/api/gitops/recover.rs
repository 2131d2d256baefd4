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
    OpenApiRouter::new().routes(routes!(list, remove))
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
}

/// Everything of that kind.
#[derive(Debug, Serialize, ToSchema)]
struct UnknownList {
    total: usize,
    items: Vec<UnknownView>,
}

/// What is to be removed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RemoveBody {
    /// Ids from the list, each of which somebody has looked at.
    instance_ids: Vec<String>,
}

fn view((id, left): (InstanceId, Unknown)) -> UnknownView {
    UnknownView {
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
    Ok(Json(UnknownList { total: items.len(), items }))
}

/// Removes what is left of the named instances; answers with what was removed.
#[utoipa::path(post, path = "/gitops/recover", tag = "gitops", security(("bearer" = [])),
    request_body = RemoveBody, responses((status = 200, body = UnknownList),
        (status = 403, body = Envelope), (status = 404, body = Envelope),
        (status = 503, body = Envelope, description = "the engine cannot be asked")))]
async fn remove(
    State(platform): State<Platform>,
    _admin: Admin,
    Body(body): Body<RemoveBody>,
) -> Answer<Json<UnknownList>> {
    let parse = |text: &String| {
        let id: String = text.chars().take(80).collect();
        text.parse().map_err(|_| ApiError::from(PlatformError::InstanceNotFound { id }))
    };
    let ids = body.instance_ids.iter().map(parse).collect::<Answer<Vec<InstanceId>>>()?;
    let items: Vec<_> = platform.remove_unknown(&ids).await?.into_iter().map(view).collect();
    Ok(Json(UnknownList { total: items.len(), items }))
}
