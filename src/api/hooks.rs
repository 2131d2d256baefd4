//! The webhook that a forge calls after a push. A hint: it makes us look at the repository, and
//! nothing that it says is believed.
//!
//! # Invariants
//! * What is read is bounded in size and time before anybody looks at it.
//! * Who calls a wrong id, or signs wrongly, is answered alike.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, Envelope};
use super::extract::Path;
use super::limits::{Meter, too_many};
use crate::contest::Rate;
use crate::daemon::platform::{Called, Headers, Platform};
use crate::telemetry::metrics::{self, CallFate};

/// Largest body.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Most headers, names and values together.
const MAX_HEADER_BYTES: usize = 32 << 10;
/// How long the body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// Calls of one webhook, and of all that there are not.
const RATE: Rate = Rate::per_minute(30);

/// Who is counted together: strangers cannot use up what the forge may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Caller {
    Ours,
    Stranger,
}

/// The route.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    let meter: Arc<Meter<Caller>> = Meter::of(RATE);
    OpenApiRouter::new().routes(routes!(call)).layer(Extension(meter))
}

/// What became of a call.
#[derive(Debug, Serialize, ToSchema)]
struct HookAnswer {
    /// `accepted`, or `duplicate` when this delivery came before.
    status: &'static str,
}

/// A forge tells that something was pushed: the repository is looked at, now, after 2 and after 10
/// seconds. The body is not read but for its signature.
#[utoipa::path(post, path = "/hooks/{id}", tag = "hooks",
    params(("id" = String, Path, description = "`source.webhook.id` of the configuration")),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 202, body = HookAnswer, description = "the repository is looked at"),
        (status = 200, body = HookAnswer, description = "this delivery came before"),
        (status = 401, body = Envelope, description = "no such webhook, or not signed by it"),
        (status = 408, body = Envelope), (status = 413, body = Envelope),
        (status = 429, description = "30 calls a minute"), (status = 431, body = Envelope)))]
async fn call(
    State(platform): State<Platform>,
    Extension(meter): Extension<Arc<Meter<Caller>>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let caller = if platform.is_webhook(&id) { Caller::Ours } else { Caller::Stranger };
    if let Some(wait_secs) = meter.refusal(&caller) {
        metrics::webhook_call(CallFate::Limited);
        return too_many(RATE, wait_secs);
    }
    let (headers, body) = match read(request).await {
        Ok(read) => read,
        Err(refusal) => {
            metrics::webhook_call(CallFate::Unreadable);
            return refusal.into_response();
        }
    };
    match platform.webhook_called(&id, &headers, &body).await {
        Called::Accepted => {
            (StatusCode::ACCEPTED, Json(HookAnswer { status: "accepted" })).into_response()
        }
        Called::Duplicate => Json(HookAnswer { status: "duplicate" }).into_response(),
        Called::Refused => ApiError::plain(
            StatusCode::UNAUTHORIZED,
            "no such webhook, or the call is not signed with its secret",
        )
        .into_response(),
    }
}

async fn read(request: Request) -> Result<(Headers, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    let headers = bounded(&parts.headers).ok_or_else(|| {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        ApiError::plain(status, "the headers have more than 32 KiB")
    })?;
    let read = axum::body::to_bytes(body, MAX_BODY_BYTES);
    let read = tokio::time::timeout(BODY_DEADLINE, read)
        .await
        .map_err(|_| ApiError::plain(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"))?;
    let body = read.map_err(|error| {
        let is_large = std::error::Error::source(&error)
            .is_some_and(|it| it.is::<http_body_util::LengthLimitError>());
        if is_large {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            ApiError::plain(status, "the body has more than 1 MiB")
        } else {
            ApiError::plain(StatusCode::BAD_REQUEST, "the body could not be read")
        }
    })?;
    Ok((headers, body))
}

/// The headers, unless they are too many. The first of repeated ones counts.
fn bounded(headers: &HeaderMap) -> Option<Headers> {
    let size_bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let first = |name: &axum::http::HeaderName| {
        let value = headers.get(name)?;
        Some((name.as_str().to_owned(), value.as_bytes().to_vec()))
    };
    (size_bytes <= MAX_HEADER_BYTES).then(|| headers.keys().filter_map(first).collect())
}

#[cfg(test)]
mod tests;
