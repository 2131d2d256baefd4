//! Integrations for administrators: made, listed, rotated, revoked; their instances stopped.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::error::{Answer, ApiError, Envelope};
use super::extract::{Body, Faults, Path, Query};
use super::page::{Page, PageParams};
use crate::daemon::platform::{IntegrationKeys, IntegrationWish, Platform};
use crate::model::{CtfdOwner, Integration, IntegrationMode, OwnerKind};
use crate::store::IntegrationRow;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, revoke))
        .routes(routes!(rotate))
        .routes(routes!(kill))
        .routes(routes!(purge))
}

/// What is made.
#[derive(Debug, Deserialize, ToSchema)]
struct IntegrationCreate {
    /// Names of its teams begin with it.
    #[schema(min_length = 1, max_length = 40)]
    name: String,
    /// In which competition; may be empty where one only is published.
    #[serde(default)]
    competition_id: String,
    mode: NewMode,
    /// Where CTFd hears of solves; `https`, or `http` on this machine.
    #[serde(default)]
    #[schema(max_length = 200)]
    webhook_url: Option<String>,
}

/// Who owns instances.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NewMode {
    /// A team of CTFd; one instance of each challenge.
    Team,
    /// A user of CTFd; one instance of each challenge.
    User,
    /// A team, or a user without one; as many as limits allow.
    Unlimited,
}

/// An integration.
#[derive(Debug, Serialize, ToSchema)]
struct IntegrationInfo {
    id: String,
    name: String,
    competition_id: String,
    /// `team`, `user` or `unlimited`.
    mode: &'static str,
    webhook_url: Option<String>,
    created_by: String,
    created_at: String,
    last_used_at: Option<String>,
    revoked_at: Option<String>,
    /// Teams and users of CTFd that it spoke for.
    owners: u32,
    /// Solves that CTFd was not told yet.
    solves_waiting: u32,
    /// Solves that were given up after a day, of the last hundred.
    solves_given_up: u32,
    /// Why the newest of those failed.
    last_error: Option<String>,
}

impl From<IntegrationRow> for IntegrationInfo {
    fn from(row: IntegrationRow) -> Self {
        let it = row.integration;
        Self {
            id: it.id.to_string(),
            name: it.name,
            competition_id: it.competition.to_string(),
            mode: it.mode.as_str(),
            webhook_url: it.webhook.map(|url| url.to_string()),
            created_by: it.created_by,
            created_at: it.created_at.rfc3339(),
            last_used_at: it.last_used_at.map(|at| at.rfc3339()),
            revoked_at: it.revoked_at.map(|at| at.rfc3339()),
            owners: row.n_owners,
            solves_waiting: row.solves.n_waiting,
            solves_given_up: row.solves.n_dead,
            last_error: row.solves.last_error,
        }
    }
}

/// What CTFd needs; shown this once. Its `Debug` is not derived, so that it cannot be logged.
#[derive(Serialize, ToSchema)]
struct IntegrationKeysResponse {
    id: String,
    name: String,
    competition_id: String,
    /// The bearer token of CTFd.
    token: String,
    /// What calls of the webhook are signed with.
    webhook_secret: String,
}

impl IntegrationKeysResponse {
    fn of(integration: Integration, keys: IntegrationKeys) -> Self {
        Self {
            id: integration.id.to_string(),
            name: integration.name,
            competition_id: integration.competition.to_string(),
            token: keys.token,
            webhook_secret: keys.webhook_secret,
        }
    }
}

/// Whose instances are meant; everybody's when neither is there.
#[derive(Debug, Deserialize, ToSchema)]
struct Whose {
    /// A team's number in CTFd.
    #[serde(default)]
    #[schema(minimum = 1)]
    team_id: Option<u32>,
    /// A user's number in CTFd.
    #[serde(default)]
    #[schema(minimum = 1)]
    user_id: Option<u32>,
}

impl Whose {
    fn owner(&self) -> Result<Option<CtfdOwner>, ApiError> {
        let (kind, number) = match (self.team_id, self.user_id) {
            (None, None) => return Ok(None),
            (Some(number), None) => (OwnerKind::Team, number),
            (None, Some(number)) => (OwnerKind::User, number),
            (Some(_), Some(_)) => {
                let mut faults = Faults::default();
                faults.other("team_id", "name a team or a user, not both".to_owned());
                faults.finish()?;
                return Ok(None);
            }
        };
        Ok(Some(CtfdOwner { kind, number }))
    }
}

/// How many there were.
#[derive(Debug, Serialize, ToSchema)]
struct KillResponse {
    /// Instances that stop, and starts that wait no more.
    stopped: usize,
}

/// How many there were.
#[derive(Debug, Serialize, ToSchema)]
struct PurgeResponse {
    /// Teams and users of CTFd that are forgotten.
    purged: usize,
}

/// It is worth nothing any more.
#[derive(Debug, Serialize, ToSchema)]
struct IntegrationRevoked {
    /// Always `revoked`.
    status: &'static str,
    id: String,
}

/// Every integration, the oldest first.
#[utoipa::path(get, path = "/integrations/ctfd", tag = "integrations", security(("bearer" = [])),
    params(PageParams),
    responses((status = 200, body = Page<IntegrationInfo>), (status = 403, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    _admin: Admin,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<IntegrationInfo>>> {
    let rows = platform.integrations().await?;
    Ok(Json(Page::of(rows.into_iter().map(IntegrationInfo::from).collect(), page)))
}

/// Makes an integration. Token and secret are shown this once.
#[utoipa::path(post, path = "/integrations/ctfd", tag = "integrations", security(("bearer" = [])),
    request_body = IntegrationCreate,
    responses((status = 201, body = IntegrationKeysResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 409, body = Envelope),
        (status = 422, body = Envelope, description = "`bad_webhook` and the like")))]
async fn create(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Body(body): Body<IntegrationCreate>,
) -> Answer<(StatusCode, Json<IntegrationKeysResponse>)> {
    let mode = match body.mode {
        NewMode::Team => IntegrationMode::Team,
        NewMode::User => IntegrationMode::User,
        NewMode::Unlimited => IntegrationMode::Unlimited,
    };
    let (name, competition, webhook) = (body.name, body.competition_id, body.webhook_url);
    let wish = IntegrationWish { name, competition, mode, webhook };
    let (integration, keys) = platform.create_integration(&caller, wish).await?;
    Ok((StatusCode::CREATED, Json(IntegrationKeysResponse::of(integration, keys))))
}

/// One integration.
#[utoipa::path(get, path = "/integrations/ctfd/{integration_id}", tag = "integrations",
    security(("bearer" = [])), params(("integration_id" = String, Path)),
    responses((status = 200, body = IntegrationInfo), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn one(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Answer<Json<IntegrationInfo>> {
    Ok(Json(platform.integration(&id).await?.into()))
}

/// Takes an integration its rights. Its instances run on until their leases end; `kill` stops them.
#[utoipa::path(delete, path = "/integrations/ctfd/{integration_id}", tag = "integrations",
    security(("bearer" = [])), params(("integration_id" = String, Path)),
    responses((status = 200, body = IntegrationRevoked), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn revoke(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Answer<Json<IntegrationRevoked>> {
    platform.revoke_integration(&id).await?;
    Ok(Json(IntegrationRevoked { status: "revoked", id }))
}

/// Gives an integration another token and another secret; the old ones are worth nothing.
#[utoipa::path(post, path = "/integrations/ctfd/{integration_id}/rotate", tag = "integrations",
    security(("bearer" = [])), params(("integration_id" = String, Path)),
    responses((status = 200, body = IntegrationKeysResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn rotate(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Answer<Json<IntegrationKeysResponse>> {
    let (integration, keys) = platform.rotate_integration(&id).await?;
    Ok(Json(IntegrationKeysResponse::of(integration, keys)))
}

/// Stops the instances of everybody that an integration spoke for, or of one team or user.
#[utoipa::path(post, path = "/integrations/ctfd/{integration_id}/kill", tag = "integrations",
    security(("bearer" = [])), params(("integration_id" = String, Path)), request_body = Whose,
    responses((status = 200, body = KillResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope)))]
async fn kill(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
    Body(whose): Body<Whose>,
) -> Answer<Json<KillResponse>> {
    Ok(Json(KillResponse { stopped: platform.kill_front(&id, whose.owner()?).await? }))
}

/// As `kill`, and forgets them: their teams are disbanded, what they did stays on record, and they
/// begin anew next time.
#[utoipa::path(post, path = "/integrations/ctfd/{integration_id}/purge", tag = "integrations",
    security(("bearer" = [])), params(("integration_id" = String, Path)), request_body = Whose,
    responses((status = 200, body = PurgeResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope)))]
async fn purge(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
    Body(whose): Body<Whose>,
) -> Answer<Json<PurgeResponse>> {
    Ok(Json(PurgeResponse { purged: platform.purge_front(&id, whose.owner()?).await? }))
}
