//! Letting a program in by a code, and the page where people type it.
//!
//! The page asks for address and password each time: there is no cookie, so no other page can
//! press its button.

use axum::Form;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::accounts::From;
use super::auth::Session;
use super::error::{Answer, ApiError, Envelope};
use super::extract::{Body, Faults, FromParams, Params, Query};
use super::html::{escape, page};
use crate::daemon::platform::{DEVICE_CODE_SECS, DeviceAnswer, DeviceVerdict, Platform};
use crate::store::{DeviceRow, DeviceState};

/// Seconds between two questions of a program that waits.
const INTERVAL_SECS: u32 = 5;

const TEMPLATE: &str = include_str!("../../templates/pages/device.html");

/// What programs call, before anybody signed in.
pub(crate) fn code_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(code))
}

/// What programs ask again and again.
pub(crate) fn token_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(token))
}

/// What people call.
pub(crate) fn answer_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(info)).routes(routes!(approve)).routes(routes!(deny))
}

/// The page, at the root.
pub(crate) fn page_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(show, send))
}

/// The codes of a request.
#[derive(Serialize, ToSchema)]
struct DeviceCodeResponse {
    device_code: String,
    #[schema(example = "NRQY-7XPB")]
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    expires_in: u32,
    interval: u32,
}

/// A program that waits.
#[derive(Deserialize, ToSchema)]
struct DeviceTokenBody {
    #[schema(min_length = 1, max_length = 512)]
    device_code: String,
}

/// How far it is.
#[derive(Serialize, ToSchema)]
struct DeviceTokenResponse {
    /// `pending`, `approved`, `denied` or `expired`.
    status: &'static str,
    /// The token, when approved, this once.
    token: String,
}

/// What a person types.
#[derive(Debug, Deserialize, ToSchema)]
struct UserCodeBody {
    #[schema(min_length = 1, max_length = 64)]
    user_code: String,
}

/// Which request is meant.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct UserCode {
    /// What the program shows.
    #[param(required = false)]
    user_code: String,
}

impl FromParams for UserCode {
    fn read(params: &mut Params) -> Self {
        Self { user_code: params.text("user_code") }
    }
}

/// A request, for who answers it.
#[derive(Debug, Serialize, ToSchema)]
struct DeviceInfoResponse {
    /// `pending`, `approved` or `denied`.
    status: &'static str,
    requested_at: Option<String>,
    requester_ip: String,
    requester_user_agent: String,
}

impl DeviceInfoResponse {
    fn of(row: DeviceRow) -> Json<Self> {
        Json(Self {
            status: word(row.state),
            requested_at: Some(row.requested_at.rfc3339()),
            requester_ip: row.address,
            requester_user_agent: row.user_agent,
        })
    }
}

fn word(state: DeviceState) -> &'static str {
    match state {
        DeviceState::Pending => "pending",
        DeviceState::Approved(_) => "approved",
        DeviceState::Denied => "denied",
    }
}

/// The form of the page. Its `Debug` is not derived, so that it cannot be logged.
#[derive(Deserialize, ToSchema)]
struct DeviceForm {
    user_code: String,
    email: String,
    password: String,
    verdict: FormVerdict,
}

/// The button that was pressed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FormVerdict {
    /// Let it in.
    Approve,
    /// Refuse.
    Deny,
}

/// Begins to let a program in: it shows the user code and asks `/auth/device/token`.
#[utoipa::path(post, path = "/auth/device/code", tag = "accounts",
    responses((status = 200, body = DeviceCodeResponse)))]
async fn code(
    State(platform): State<Platform>,
    From(origin): From,
    headers: HeaderMap,
) -> Answer<Json<DeviceCodeResponse>> {
    let codes = platform.request_device(origin).await?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let verification_uri = format!("http://{host}/device");
    Ok(Json(DeviceCodeResponse {
        verification_uri_complete: format!("{verification_uri}?user_code={}", codes.user_code),
        verification_uri,
        device_code: codes.device_code,
        user_code: codes.user_code,
        expires_in: DEVICE_CODE_SECS,
        interval: INTERVAL_SECS,
    }))
}

/// How far a request is. The token is given out once; a code that nobody knows is `expired`.
#[utoipa::path(post, path = "/auth/device/token", tag = "accounts",
    request_body = DeviceTokenBody, responses((status = 200, body = DeviceTokenResponse)))]
async fn token(
    State(platform): State<Platform>,
    From(origin): From,
    Body(body): Body<DeviceTokenBody>,
) -> Answer<Json<DeviceTokenResponse>> {
    let mut faults = Faults::default();
    faults.length("device_code", &body.device_code, 1..=512);
    faults.finish()?;
    let (status, token) = match platform.device_answer(&body.device_code, origin).await? {
        DeviceAnswer::Pending => ("pending", String::new()),
        DeviceAnswer::Approved(token) => ("approved", token),
        DeviceAnswer::Denied => ("denied", String::new()),
        DeviceAnswer::Expired => ("expired", String::new()),
    };
    Ok(Json(DeviceTokenResponse { status, token }))
}

/// The request behind a user code.
#[utoipa::path(get, path = "/auth/device/info", tag = "accounts", security(("bearer" = [])),
    params(UserCode),
    responses((status = 200, body = DeviceInfoResponse),
        (status = 404, body = Envelope, description = "`device_code_invalid`")))]
async fn info(
    State(platform): State<Platform>,
    _session: Session,
    Query(wanted): Query<UserCode>,
) -> Answer<Json<DeviceInfoResponse>> {
    Ok(DeviceInfoResponse::of(platform.device(&wanted.user_code).await?))
}

/// Lets the program in.
#[utoipa::path(post, path = "/auth/device/approve", tag = "accounts", security(("bearer" = [])),
    request_body = UserCodeBody,
    responses((status = 200, body = DeviceInfoResponse),
        (status = 404, body = Envelope, description = "`device_code_invalid`")))]
async fn approve(
    State(platform): State<Platform>,
    Session { account, .. }: Session,
    Body(body): Body<UserCodeBody>,
) -> Answer<Json<DeviceInfoResponse>> {
    let verdict = DeviceVerdict::Approve;
    Ok(DeviceInfoResponse::of(platform.answer_device(&account, &body.user_code, verdict).await?))
}

/// Refuses the program.
#[utoipa::path(post, path = "/auth/device/deny", tag = "accounts", security(("bearer" = [])),
    request_body = UserCodeBody,
    responses((status = 200, body = DeviceInfoResponse),
        (status = 404, body = Envelope, description = "`device_code_invalid`")))]
async fn deny(
    State(platform): State<Platform>,
    Session { account, .. }: Session,
    Body(body): Body<UserCodeBody>,
) -> Answer<Json<DeviceInfoResponse>> {
    let verdict = DeviceVerdict::Deny;
    Ok(DeviceInfoResponse::of(platform.answer_device(&account, &body.user_code, verdict).await?))
}

/// The page where people let programs in.
#[utoipa::path(get, path = "/device", tag = "accounts", params(UserCode),
    responses((status = 200, content_type = "text/html", body = String)))]
async fn show(State(platform): State<Platform>, Query(wanted): Query<UserCode>) -> Response {
    let request = platform.device(&wanted.user_code).await.ok();
    let shown = Shown { user_code: &wanted.user_code, request: request.as_ref() };
    render(StatusCode::OK, &shown, "", "")
}

/// What the page sends.
#[utoipa::path(post, path = "/device", tag = "accounts",
    request_body(content = DeviceForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, content_type = "text/html", body = String),
        (status = 401, content_type = "text/html", body = String),
        (status = 404, content_type = "text/html", body = String)))]
async fn send(
    State(platform): State<Platform>,
    form: Result<Form<DeviceForm>, FormRejection>,
) -> Response {
    let DeviceForm { user_code, email, password, verdict } = match form {
        Ok(Form(form)) => form,
        Err(rejection) => {
            let words = "send the form of this page, as `application/x-www-form-urlencoded`";
            return ApiError::plain(rejection.status(), words).into_response();
        }
    };
    let verdict = match verdict {
        FormVerdict::Approve => DeviceVerdict::Approve,
        FormVerdict::Deny => DeviceVerdict::Deny,
    };
    let password = password.chars().take(256).collect();
    match platform.answer_device_as((&email, password), &user_code, verdict).await {
        Ok(row) => {
            let notice = match row.state {
                DeviceState::Approved(_) => "The program was let in. You may close this page.",
                DeviceState::Denied => "The program was refused. You may close this page.",
                DeviceState::Pending => "Nothing was changed.",
            };
            render(StatusCode::OK, &Shown { user_code: "", request: Some(&row) }, "good", notice)
        }
        Err(error) => {
            let refusal = ApiError::from(error);
            let text = match refusal.detail.as_str() {
                Some(text) => text.to_owned(),
                None => "it did not work, try again in a moment".to_owned(),
            };
            render(refusal.status, &Shown { user_code: &user_code, request: None }, "bad", &text)
        }
    }
}

/// What the page is about.
struct Shown<'a> {
    user_code: &'a str,
    request: Option<&'a DeviceRow>,
}

fn render(status: StatusCode, shown: &Shown<'_>, tone: &str, notice: &str) -> Response {
    let request = shown.request.map_or_else(String::new, |row| {
        let facts = [
            ("Asked at", row.requested_at.rfc3339()),
            ("From", row.address.clone()),
            ("By", row.user_agent.clone()),
            ("State", word(row.state).to_owned()),
        ];
        let fact = |(name, value): (&str, String)| {
            format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(&value))
        };
        facts.map(fact).concat()
    });
    let code: String = shown.user_code.chars().take(64).collect();
    let values = [
        ("tone", escape(tone)),
        ("notice", escape(notice)),
        ("request", request),
        ("user_code", escape(&code)),
    ];
    page(status, TEMPLATE, &values)
}
