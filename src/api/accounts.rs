//! Accounts: signing up and in, passwords, ways to sign in.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Session;
use super::error::{Answer, ApiError, Envelope, cut};
use super::extract::{Body, Faults, Path, Query};
use super::limits::peer;
use super::page::{Page, PageParams};
use crate::daemon::platform::{Origin, Platform};
use crate::model::account::{MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS};

/// Routes of this file that are not limited by themselves.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(providers))
        .routes(routes!(identities))
        .routes(routes!(oauth_login))
        .routes(routes!(oauth_callback))
}

/// `POST /auth/login`.
pub(crate) fn login_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(login))
}

/// `POST /auth/register`.
pub(crate) fn register_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(register))
}

/// `POST /auth/password`.
pub(crate) fn password_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(set_password))
}

/// What takes a way to sign in away, or adds one.
pub(crate) fn change_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(delete_password))
        .routes(routes!(unbind))
        .routes(routes!(link))
}

/// Where a request comes from.
pub(crate) struct From(pub(crate) Origin);

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let agent = parts.headers.get(header::USER_AGENT).and_then(|it| it.to_str().ok());
        Ok(Self(Origin {
            address: peer(&parts.extensions).to_string(),
            user_agent: agent.unwrap_or_default().to_owned(),
        }))
    }
}

/// Somebody who signs up. Its `Debug` is not derived, so that it cannot be logged.
#[derive(Deserialize, ToSchema)]
struct SignUpBody {
    #[schema(example = "ada@example.org")]
    email: String,
    #[schema(min_length = 12, max_length = 256)]
    password: String,
    /// The address when empty.
    #[serde(default)]
    #[schema(max_length = 120)]
    display_name: String,
}

/// Somebody who signs in.
#[derive(Deserialize, ToSchema)]
struct LoginBody {
    email: String,
    #[schema(min_length = 1, max_length = 256)]
    password: String,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
struct PasswordBody {
    /// The one so far, if there is one.
    #[serde(default)]
    #[schema(max_length = 256)]
    current_password: String,
    #[schema(min_length = 12, max_length = 256)]
    new_password: String,
}

/// A session. The token is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenResponse {
    token: String,
    redirect_to: &'static str,
}

impl TokenResponse {
    fn of(token: String) -> Json<Self> {
        Json(Self { token, redirect_to: "/" })
    }
}

/// It is done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// Always `ok`.
    pub(crate) status: &'static str,
}

impl Done {
    /// It is done.
    pub(crate) const fn ok() -> Json<Self> {
        Json(Self { status: "ok" })
    }
}

/// How one can sign in here.
#[derive(Debug, Serialize, ToSchema)]
struct Providers {
    providers: Vec<Provider>,
    password_auth: PasswordAuth,
}

/// Another service that vouches for people. None is configured.
#[derive(Debug, Serialize, ToSchema)]
struct Provider {
    name: &'static str,
    enabled: bool,
    authorize_path: &'static str,
}

/// Whether passwords work.
#[derive(Debug, Serialize, ToSchema)]
struct PasswordAuth {
    enabled: bool,
}

/// A way to sign in to an account.
#[derive(Debug, Serialize, ToSchema)]
struct LinkedIdentity {
    identity_id: &'static str,
    /// Always `password`.
    provider: &'static str,
    provider_user_id: &'static str,
    provider_login: &'static str,
    provider_email: String,
    provider_display_name: &'static str,
    avatar_url: &'static str,
    created_at: Option<String>,
    last_used_at: Option<String>,
}

/// Makes an account and signs it in. The first account ever is a super administrator's.
#[utoipa::path(post, path = "/auth/register", tag = "accounts", request_body = SignUpBody,
    responses((status = 200, body = TokenResponse),
        (status = 409, body = Envelope, description = "`email_taken`"),
        (status = 422, body = Envelope, description = "`weak_password`")))]
async fn register(
    State(platform): State<Platform>,
    From(origin): From,
    Body(body): Body<SignUpBody>,
) -> Answer<Json<TokenResponse>> {
    let mut faults = Faults::default();
    faults.length("password", &body.password, MIN_PASSWORD_CHARS..=MAX_PASSWORD_CHARS);
    faults.length("display_name", &body.display_name, 0..=120);
    if crate::model::account::normal_email(&body.email).is_none() {
        faults.other("email", "value is not a valid email address".to_owned());
    }
    faults.finish()?;
    let SignUpBody { email, password, display_name } = body;
    let token = platform.register(&email, password, &display_name, origin).await?;
    Ok(TokenResponse::of(token))
}

/// Signs in. An address that nobody has is refused as a wrong password is, after as long a time.
#[utoipa::path(post, path = "/auth/login", tag = "accounts", request_body = LoginBody,
    responses((status = 200, body = TokenResponse),
        (status = 401, body = Envelope, description = "`invalid_credentials`")))]
async fn login(
    State(platform): State<Platform>,
    From(origin): From,
    Body(body): Body<LoginBody>,
) -> Answer<Json<TokenResponse>> {
    let mut faults = Faults::default();
    faults.length("password", &body.password, 1..=MAX_PASSWORD_CHARS);
    faults.finish()?;
    Ok(TokenResponse::of(platform.sign_in(&body.email, body.password, origin).await?))
}

/// Sets a new password.
#[utoipa::path(post, path = "/auth/password", tag = "accounts", security(("bearer" = [])),
    request_body = PasswordBody,
    responses((status = 200, body = Done),
        (status = 401, body = Envelope, description = "`wrong_current_password`"),
        (status = 422, body = Envelope, description = "`weak_password`")))]
async fn set_password(
    State(platform): State<Platform>,
    Session { account, .. }: Session,
    Body(body): Body<PasswordBody>,
) -> Answer<Json<Done>> {
    let mut faults = Faults::default();
    faults.length("current_password", &body.current_password, 0..=MAX_PASSWORD_CHARS);
    faults.length("new_password", &body.new_password, MIN_PASSWORD_CHARS..=MAX_PASSWORD_CHARS);
    faults.finish()?;
    platform.set_password(&account, body.current_password, body.new_password).await?;
    Ok(Done::ok())
}

/// Takes the password away. It is the last way to sign in, so that is refused.
#[utoipa::path(delete, path = "/auth/password", tag = "accounts", security(("bearer" = [])),
    responses((status = 404, body = Envelope, description = "`password_not_set`"),
        (status = 409, body = Envelope, description = "`last_sign_in_method`")))]
async fn delete_password(
    State(platform): State<Platform>,
    Session { account, .. }: Session,
) -> Answer<Json<Done>> {
    platform.delete_password(&account).await?;
    Ok(Done::ok())
}

/// How one can sign in here: with a password; no other service is configured.
#[utoipa::path(get, path = "/auth/providers", tag = "accounts",
    responses((status = 200, body = Providers)))]
async fn providers() -> Json<Providers> {
    let provider = |name, authorize_path| Provider { name, enabled: false, authorize_path };
    Json(Providers {
        providers: vec![
            provider("github", "/api/v1/auth/login/github"),
            provider("google", "/api/v1/auth/login/google"),
        ],
        password_auth: PasswordAuth { enabled: true },
    })
}

/// The ways to sign in to the caller's account.
#[utoipa::path(get, path = "/auth/identities", tag = "accounts", security(("bearer" = [])),
    params(PageParams), responses((status = 200, body = Page<LinkedIdentity>)))]
async fn identities(
    State(platform): State<Platform>,
    Session { account, .. }: Session,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<LinkedIdentity>>> {
    let mut rows = Vec::new();
    if platform.has_password(&account).await? {
        rows.push(LinkedIdentity {
            identity_id: "password",
            provider: "password",
            provider_user_id: "",
            provider_login: "",
            provider_email: account.email,
            provider_display_name: "",
            avatar_url: "",
            created_at: Some(account.created_at.rfc3339()),
            last_used_at: None,
        });
    }
    Ok(Json(Page::of(rows, page)))
}

/// Takes a way to sign in away. Only those of other services can be, and there are none.
#[utoipa::path(delete, path = "/auth/identities/{identity_id}", tag = "accounts",
    security(("bearer" = [])), params(("identity_id" = String, Path)),
    responses((status = 404, body = Envelope, description = "`identity_not_found`")))]
async fn unbind(_session: Session, Path(id): Path<String>) -> Answer<Json<Done>> {
    let text = format!("there is no linked identity `{}`", cut(&id));
    Err(ApiError::new(StatusCode::NOT_FOUND, "identity_not_found", text))
}

fn no_provider(name: &str) -> ApiError {
    let text = format!("`{}` is not configured here: sign in with a password", cut(name));
    ApiError::new(StatusCode::NOT_FOUND, "oauth_provider_not_configured", text)
}

/// Links another service to the account. None is configured.
#[utoipa::path(post, path = "/auth/identities/link/{provider}", tag = "accounts",
    security(("bearer" = [])), params(("provider" = String, Path)),
    responses((status = 404, body = Envelope, description = "`oauth_provider_not_configured`")))]
async fn link(_session: Session, Path(provider): Path<String>) -> Answer<Json<Done>> {
    Err(no_provider(&provider))
}

/// Signs in with another service. None is configured.
#[utoipa::path(get, path = "/auth/login/{provider}", tag = "accounts",
    params(("provider" = String, Path)),
    responses((status = 404, body = Envelope, description = "`oauth_provider_not_configured`")))]
async fn oauth_login(Path(provider): Path<String>) -> Answer<Json<Done>> {
    Err(no_provider(&provider))
}

/// Where another service sends people back to. None is configured.
#[utoipa::path(get, path = "/auth/callback/{provider}", tag = "accounts",
    params(("provider" = String, Path)),
    responses((status = 404, body = Envelope, description = "`oauth_provider_not_configured`")))]
async fn oauth_callback(Path(provider): Path<String>) -> Answer<Json<Done>> {
    Err(no_provider(&provider))
}
