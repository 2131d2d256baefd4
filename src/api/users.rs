//! Accounts for administrators: who there is, and who runs the event.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, Super};
use super::error::{Answer, Envelope};
use super::extract::{Body, Path, Query};
use super::page::{Page, PageParams};
use crate::daemon::platform::Platform;
use crate::model::AccountRole;
use crate::store::AccountRow;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one)).routes(routes!(set_role))
}

/// An account as administrators see it.
#[derive(Debug, Serialize, ToSchema)]
struct AdminUserInfo {
    id: String,
    email: String,
    display_name: String,
    avatar_url: &'static str,
    created_at: Option<String>,
    bio: Option<String>,
    country: Option<String>,
    website_url: Option<String>,
    timezone: Option<String>,
    social_links: BTreeMap<String, String>,
    /// Questions that they answered rightly.
    solves: u32,
    /// Answers that they gave.
    attempts: u32,
    last_active_at: Option<String>,
    /// `user`, `admin` or `super_admin`.
    role: &'static str,
    promoted_by: Option<String>,
    promoted_at: Option<String>,
}

/// What somebody becomes.
#[derive(Debug, Deserialize, ToSchema)]
struct RoleBody {
    role: NewRole,
}

/// The roles that are given.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NewRole {
    /// Runs the event.
    Admin,
    /// Plays.
    User,
}

async fn view(platform: &Platform, row: AccountRow) -> Answer<AdminUserInfo> {
    let AccountRow { account, promoted_by, promoted_at } = row;
    let work = platform.work_of(&account).await?;
    Ok(AdminUserInfo {
        id: account.id.to_string(),
        email: account.email,
        display_name: account.name,
        avatar_url: "",
        created_at: Some(account.created_at.rfc3339()),
        bio: account.profile.bio,
        country: account.profile.country,
        website_url: account.profile.website_url,
        timezone: account.profile.timezone,
        social_links: account.profile.social_links,
        solves: work.solves,
        attempts: work.attempts,
        last_active_at: work.last_at.map(|at| at.rfc3339()),
        role: account.role.as_str(),
        promoted_by,
        promoted_at: promoted_at.map(|at| at.rfc3339()),
    })
}

/// Every account, the oldest first.
#[utoipa::path(get, path = "/admin/users", tag = "admin", security(("bearer" = [])),
    params(PageParams),
    responses((status = 200, body = Page<AdminUserInfo>), (status = 403, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    _admin: Admin,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<AdminUserInfo>>> {
    let Page { items, total, limit, offset } = Page::of(platform.accounts().await?, page);
    let mut rows = Vec::new();
    for row in items {
        rows.push(view(&platform, row).await?);
    }
    Ok(Json(Page { items: rows, total, limit, offset }))
}

/// One account.
#[utoipa::path(get, path = "/admin/users/{user_id}", tag = "admin", security(("bearer" = [])),
    params(("user_id" = String, Path)),
    responses((status = 200, body = AdminUserInfo), (status = 404, body = Envelope)))]
async fn one(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Answer<Json<AdminUserInfo>> {
    Ok(Json(view(&platform, platform.account(&id).await?).await?))
}

/// Makes somebody an administrator, or a player again (super administrators).
#[utoipa::path(patch, path = "/admin/users/{user_id}/role", tag = "admin",
    security(("bearer" = [])), params(("user_id" = String, Path)), request_body = RoleBody,
    responses((status = 200, body = AdminUserInfo), (status = 400, body = Envelope),
        (status = 403, body = Envelope), (status = 404, body = Envelope)))]
async fn set_role(
    State(platform): State<Platform>,
    Super(caller): Super,
    Path(id): Path<String>,
    Body(body): Body<RoleBody>,
) -> Answer<Json<AdminUserInfo>> {
    let role = match body.role {
        NewRole::Admin => AccountRole::Admin,
        NewRole::User => AccountRole::User,
    };
    let row = platform.set_role(&caller, &id, role).await?;
    Ok(Json(view(&platform, row).await?))
}
