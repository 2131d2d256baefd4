//! Suspending and holding, for organizers.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::Admin;
use crate::api::error::{Answer, ApiError, Envelope};
use crate::api::extract::{Body, FromParams, Params, Query};
use crate::daemon::platform::{PauseRequest, Platform, PlatformError};
use crate::model::{Pause, PauseKind, Scope};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(list, begin, end))
}

/// Who keeps us from what.
#[derive(Debug, Serialize, ToSchema)]
struct PauseView {
    /// `repo`, `challenge/ID` or `instance/ID`.
    scope: String,
    /// `suspend`: our own work on it; `hold`: what players and time do; `freeze`: what goes live.
    kind: &'static str,
    who: String,
    why: String,
    /// RFC 3339.
    since: String,
    /// RFC 3339; it ends by itself then.
    until: String,
}

/// Every pause.
#[derive(Debug, Serialize, ToSchema)]
struct PauseList {
    total: usize,
    items: Vec<PauseView>,
}

/// A pause that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PauseBody {
    /// `repo`, `challenge/ID` or `instance/ID`.
    #[schema(example = "challenge/WEB-001")]
    scope: String,
    /// `suspend`, `hold` or `freeze`.
    kind: String,
    who: String,
    why: String,
    /// For how long, in seconds.
    secs: u32,
}

/// Which pause ends.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// `repo`, `challenge/ID` or `instance/ID`.
    scope: String,
    /// `suspend`, `hold` or `freeze`.
    kind: String,
}

impl FromParams for Which {
    fn read(params: &mut Params) -> Self {
        Self { scope: params.text("scope"), kind: params.text("kind") }
    }
}

/// Whether there was one.
#[derive(Debug, Serialize, ToSchema)]
struct Resumed {
    resumed: bool,
}

fn view(pause: Pause) -> PauseView {
    PauseView {
        scope: pause.scope.to_string(),
        kind: pause.kind.as_str(),
        who: pause.who,
        why: pause.why,
        since: pause.since.rfc3339(),
        until: pause.until.rfc3339(),
    }
}

fn parse(scope: &str, kind: &str) -> Answer<(Scope, PauseKind)> {
    let bad = |reason: String| ApiError::from(PlatformError::BadPause { reason });
    let scope = scope
        .parse()
        .map_err(|_| bad("`scope` must be `repo`, `challenge/ID` or `instance/ID`".to_owned()))?;
    let kind = PauseKind::from_word(kind)
        .ok_or_else(|| bad("`kind` must be `suspend`, `hold` or `freeze`".to_owned()))?;
    Ok((scope, kind))
}

/// Who keeps us from what, why, and until when.
#[utoipa::path(get, path = "/gitops/pauses", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = PauseList), (status = 403, body = Envelope)))]
async fn list(State(platform): State<Platform>, _admin: Admin) -> Json<PauseList> {
    let items: Vec<_> = platform.pauses().into_iter().map(view).collect();
    Json(PauseList { total: items.len(), items })
}

/// Suspends our work on an object, or holds what players and time do to it.
#[utoipa::path(post, path = "/gitops/pauses", tag = "gitops", security(("bearer" = [])),
    request_body = PauseBody, responses((status = 200, body = PauseView),
        (status = 403, body = Envelope), (status = 404, body = Envelope), (status = 422, body = Envelope)))]
async fn begin(
    State(platform): State<Platform>,
    _admin: Admin,
    Body(body): Body<PauseBody>,
) -> Answer<Json<PauseView>> {
    let (scope, kind) = parse(&body.scope, &body.kind)?;
    let PauseBody { who, why, secs, .. } = body;
    let pause = platform.pause(PauseRequest { scope, kind, who, why, secs }).await?;
    Ok(Json(view(pause)))
}

/// Ends a pause before its time.
#[utoipa::path(delete, path = "/gitops/pauses", tag = "gitops", security(("bearer" = [])),
    params(Which), responses((status = 200, body = Resumed), (status = 403, body = Envelope),
        (status = 422, body = Envelope)))]
async fn end(
    State(platform): State<Platform>,
    _admin: Admin,
    Query(which): Query<Which>,
) -> Answer<Json<Resumed>> {
    let (scope, kind) = parse(&which.scope, &which.kind)?;
    Ok(Json(Resumed { resumed: platform.resume(kind, scope).await? }))
}
