//! Around every request: its id, its span, its deadline, and the last word on refusals.
//!
//! # Invariants
//! * The request id is ours: one sent by a client reaches neither logs nor headers.
//! * The log has the route's pattern, never the query, a token or a body.
//! * A panic or a handler that hangs is answered, in the same shape as every refusal.

use std::any::Any;
use std::time::Duration;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::{Instrument, debug, error, field, info_span};
use uuid::Uuid;

use super::error::ApiError;
use crate::daemon::platform::Platform;
use crate::telemetry::metrics;

/// How long a handler may take; the longest is a look at a slow remote.
const DEADLINE: Duration = Duration::from_secs(120);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Runs the request inside its span and finishes its response.
pub(crate) async fn finish(
    State(platform): State<Platform>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(platform.settings());
    let id = Uuid::now_v7().as_simple().to_string();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("-", MatchedPath::as_str);
    let method = method_name(request.method());
    let span = info_span!(
        "request",
        request.id = id,
        http.method = method,
        http.route = route,
        caller.token = field::Empty,
    );
    let began = platform.now();
    let answer = tokio::time::timeout(DEADLINE, next.run(request)).instrument(span.clone()).await;
    let answer = answer.unwrap_or_else(|_| timed_out().into_response());
    let mut response = span.in_scope(|| {
        let response = render(&platform, answer);
        let duration_ms = platform.now().millis_since(began);
        let status = response.status().as_u16();
        let took = Duration::from_millis(duration_ms.max(0).unsigned_abs());
        metrics::http_request(method, route, status, took);
        debug!(http.status = status, duration_ms, "answered");
        response
    });
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A word from a closed set: clients may send any token as a method.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn timed_out() -> ApiError {
    ApiError::plain(StatusCode::GATEWAY_TIMEOUT, "the platform took too long, try again")
}

/// Gives a refusal its body, and logs its cause if it is our fault.
fn render(platform: &Platform, mut response: Response) -> Response {
    let Some(refusal) = response.extensions_mut().remove::<ApiError>() else { return response };
    if let Some(cause) = &refusal.cause {
        error!(error = chain(cause.as_ref()), "a request failed for a reason of ours");
    }
    let mut rendered = (refusal.status, Json(refusal.body(platform.now()))).into_response();
    if let Some(secs) = refusal.retry_after_secs {
        rendered.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    rendered
}

/// An error with its causes, in one line.
fn chain(error: &(dyn std::error::Error + Send + Sync)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The answer after a panic; the panic itself is printed by the hook of the process.
pub(crate) fn after_panic(_panic: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response()
}

/// A path that nothing is at.
pub(crate) async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"detail": "Not Found"}))).into_response()
}

/// A path that is there, for other methods.
pub(crate) async fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({"detail": "Method Not Allowed"}))).into_response()
}
