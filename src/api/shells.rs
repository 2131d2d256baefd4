//! Shells of super administrators in containers, and what was recorded of them.
//!
//! # Invariants
//! * A token is shown once, to who asked; it is in no listing and no log.
//! * What refuses a shell says so before the socket is one.

use axum::Json;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Super;
use super::error::{Answer, ApiError, Envelope, Issue};
use super::extract::{Body, FromParams, Params, Path, Query};
use super::shell_socket;
use crate::daemon::platform::{Platform, RecordingFile, ShellSession, ShellWish};
use crate::model::Timestamp;

/// Shortest and longest reason, in characters.
const REASON: std::ops::RangeInclusive<usize> = 10..=500;
/// Longest name of a container.
const MAX_CONTAINER: usize = 200;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(containers))
        .routes(routes!(open))
        .routes(routes!(sessions))
        .routes(routes!(close))
        .routes(routes!(recordings))
        .routes(routes!(recording))
}

/// The route that has a rate of its own.
pub(crate) fn ask_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(ask))
}

/// A container of an instance.
#[derive(Debug, Serialize, ToSchema)]
struct ShellContainer {
    name: String,
    service: String,
    status: String,
    image: String,
    /// Whether it is ours, not the author's.
    is_sidecar: bool,
    exec_ready: bool,
    privileged: bool,
    cap_add: Vec<String>,
}

/// What is asked for.
#[derive(Debug, Deserialize, ToSchema)]
struct ShellSessionRequest {
    /// The name of a container of the instance.
    #[schema(min_length = 1, max_length = 200)]
    container: String,
    /// `bash` or `sh`.
    #[serde(default = "bash")]
    shell: String,
    /// Why; it is recorded.
    #[schema(min_length = 10, max_length = 500)]
    reason: String,
}

fn bash() -> String {
    "bash".to_owned()
}

/// A shell that waits for its socket. Its `Debug` is not derived, so that it cannot be logged.
#[derive(Serialize, ToSchema)]
struct ShellSessionResponse {
    session_id: String,
    /// Opens it once. Secret.
    session_token: String,
    /// Where, with the token.
    ws_url: String,
    /// Within so many seconds.
    expires_in: u32,
}

/// A shell that is not over.
#[derive(Debug, Serialize, ToSchema)]
struct ShellSessionInfo {
    session_id: String,
    super_admin_user_id: String,
    super_admin_email: String,
    instance_id: String,
    node_id: String,
    container: String,
    shell: String,
    reason: String,
    /// In Unix seconds.
    requested_at: f64,
    /// Whether its token was used.
    burned: bool,
    ws_opened_at: Option<f64>,
    bytes_in: u64,
    bytes_out: u64,
    force_close_requested: bool,
}

impl From<ShellSession> for ShellSessionInfo {
    fn from(session: ShellSession) -> Self {
        Self {
            session_id: session.id,
            super_admin_user_id: session.admin_id,
            super_admin_email: session.admin_email,
            instance_id: session.instance.to_string(),
            node_id: session.node.to_string(),
            container: session.container,
            shell: session.shell,
            reason: session.reason,
            requested_at: session.requested_at.as_secs_f64(),
            burned: session.opened_at.is_some(),
            ws_opened_at: session.opened_at.map(Timestamp::as_secs_f64),
            bytes_in: session.bytes_in,
            bytes_out: session.bytes_out,
            force_close_requested: session.is_closing,
        }
    }
}

/// That a shell is being closed.
#[derive(Debug, Serialize, ToSchema)]
struct ShellClosing {
    status: &'static str,
    session_id: String,
}

/// What was recorded of a shell.
#[derive(Debug, Serialize, ToSchema)]
struct ShellRecordingInfo {
    session_id: String,
    /// `<month>/<session>.cast`.
    path: String,
    size_bytes: u64,
    /// In Unix seconds.
    modified_at_ts: f64,
}

impl From<RecordingFile> for ShellRecordingInfo {
    fn from(file: RecordingFile) -> Self {
        Self {
            session_id: file.session,
            path: file.path,
            size_bytes: file.n_bytes,
            modified_at_ts: file.modified_at.as_secs_f64(),
        }
    }
}

/// What opens a shell.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct Ticket {
    /// The token that was given for it.
    session: String,
}

impl FromParams for Ticket {
    fn read(params: &mut Params) -> Self {
        Self { session: params.text("session") }
    }
}

/// The containers of an instance.
#[utoipa::path(get, path = "/admin/instances/{instance_id}/containers", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = Vec<ShellContainer>), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 502, body = Envelope)))]
async fn containers(
    State(platform): State<Platform>,
    Super(caller): Super,
    Path(id): Path<String>,
) -> Answer<Json<Vec<ShellContainer>>> {
    let found = platform.shell_containers(&caller, &id).await?.into_iter();
    let shown = found.map(|it| ShellContainer {
        name: it.name,
        service: it.service,
        status: it.status,
        image: it.image,
        is_sidecar: it.is_sidecar,
        exec_ready: it.exec_ready,
        privileged: it.privileged,
        cap_add: it.cap_add,
    });
    Ok(Json(shown.collect()))
}

/// Asks for a shell; whoever has the token opens it, once and soon.
#[utoipa::path(post, path = "/admin/instances/{instance_id}/shell/sessions", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    request_body = ShellSessionRequest,
    responses((status = 200, body = ShellSessionResponse), (status = 400, body = Envelope),
        (status = 403, body = Envelope), (status = 404, body = Envelope),
        (status = 422, body = Envelope), (status = 429, body = Envelope),
        (status = 502, body = Envelope)))]
async fn ask(
    State(platform): State<Platform>,
    Super(caller): Super,
    Path(id): Path<String>,
    Body(body): Body<ShellSessionRequest>,
) -> Answer<Json<ShellSessionResponse>> {
    check(&body)?;
    let ShellSessionRequest { container, shell, reason } = body;
    let wish = ShellWish { container, shell, reason };
    let (session, token) = platform.ask_shell(&caller, &id, wish).await?;
    Ok(Json(ShellSessionResponse {
        ws_url: format!("/api/v1/admin/instances/{}/shell?session={token}", session.instance),
        session_id: session.id,
        session_token: token,
        expires_in: platform.settings().shell.session_secs,
    }))
}

fn check(body: &ShellSessionRequest) -> Result<(), ApiError> {
    let issue = |member: &str, message: String| {
        ApiError::invalid(&[Issue {
            kind: "value_error",
            location: vec!["body".to_owned(), member.to_owned()],
            message,
            input: serde_json::Value::Null,
            context: None,
        }])
    };
    if !(1..=MAX_CONTAINER).contains(&body.container.chars().count()) {
        let message = format!("the name of a container has 1 to {MAX_CONTAINER} characters");
        return Err(issue("container", message));
    }
    let is_told = REASON.contains(&body.reason.trim().chars().count());
    if !is_told || body.reason.chars().any(char::is_control) {
        let (least, most) = (REASON.start(), REASON.end());
        let message = format!("say in {least} to {most} characters on one line why");
        return Err(issue("reason", message));
    }
    Ok(())
}

/// The shell itself: a web socket. Binary frames are bytes of the terminal both ways, text frames
/// `{"type":"resize","rows":24,"cols":80}`.
#[utoipa::path(get, path = "/admin/instances/{instance_id}/shell", tag = "admin",
    params(("instance_id" = String, Path), Ticket),
    responses((status = 101, description = "the socket is open"), (status = 400, body = Envelope),
        (status = 403, body = Envelope, description = "the token, or the origin, is no good"),
        (status = 404, body = Envelope), (status = 502, body = Envelope)))]
async fn open(
    State(platform): State<Platform>,
    Path(id): Path<String>,
    Query(Ticket { session }): Query<Ticket>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer<Response> {
    let words = "a shell is opened as a web socket";
    let upgrade = upgrade.map_err(|_| ApiError::plain(StatusCode::BAD_REQUEST, words))?;
    let origin = headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("null"));
    let entered = platform.enter_shell(&id, &session, origin).await?;
    let upgrade = shell_socket::bounded(upgrade);
    Ok(upgrade.on_upgrade(move |socket| async move {
        platform.run_shell(entered, shell_socket::onlooker(socket)).await;
    }))
}

/// Every shell that was asked for and is not over.
#[utoipa::path(get, path = "/admin/shell-sessions", tag = "admin", security(("bearer" = [])),
    responses((status = 200, body = Vec<ShellSessionInfo>), (status = 403, body = Envelope)))]
async fn sessions(
    State(platform): State<Platform>,
    _super: Super,
) -> Answer<Json<Vec<ShellSessionInfo>>> {
    Ok(Json(platform.shell_sessions()?.into_iter().map(ShellSessionInfo::from).collect()))
}

/// Closes a shell within a second.
#[utoipa::path(delete, path = "/admin/shell-sessions/{session_id}", tag = "admin",
    security(("bearer" = [])), params(("session_id" = String, Path)),
    responses((status = 200, body = ShellClosing), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn close(
    State(platform): State<Platform>,
    _super: Super,
    Path(id): Path<String>,
) -> Answer<Json<ShellClosing>> {
    platform.close_shell(&id)?;
    Ok(Json(ShellClosing { status: "force_close_requested", session_id: id }))
}

/// Every recording of a shell, the newest first.
#[utoipa::path(get, path = "/admin/shell-recordings", tag = "admin", security(("bearer" = [])),
    responses((status = 200, body = Vec<ShellRecordingInfo>), (status = 403, body = Envelope)))]
async fn recordings(
    State(platform): State<Platform>,
    _super: Super,
) -> Answer<Json<Vec<ShellRecordingInfo>>> {
    let found = platform.shell_recordings().await?.into_iter();
    Ok(Json(found.map(ShellRecordingInfo::from).collect()))
}

/// One recording, as asciinema plays it (version 2). That it was read is recorded.
#[utoipa::path(get, path = "/admin/shell-recordings/{session_id}", tag = "admin",
    security(("bearer" = [])), params(("session_id" = String, Path)),
    responses((status = 200, content_type = "application/x-asciicast+json"),
        (status = 403, body = Envelope), (status = 404, body = Envelope)))]
async fn recording(
    State(platform): State<Platform>,
    Super(caller): Super,
    Path(id): Path<String>,
) -> Answer<Response> {
    let bytes = platform.shell_recording(&caller, &id).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-asciicast+json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, bytes).into_response())
}
