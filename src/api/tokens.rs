//! Tokens of the caller's account.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::accounts::{Done, From};
use super::auth::Session;
use super::error::{Answer, Envelope};
use super::extract::{Body, Faults, Path, Query};
use super::page::{Page, PageParams};
use crate::daemon::platform::{Platform, TokenWish};
use crate::model::{AccountToken, Area, Grant, Level, Reach};

/// Routes that only read.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(scopes))
}

/// `POST /auth/tokens`.
pub(crate) fn mint_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(mint))
}

/// What takes tokens back.
pub(crate) fn revoke_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(revoke_others))
        .routes(routes!(revoke))
        .routes(routes!(sign_out))
}

/// The wish for a fine-grained token.
#[derive(Debug, Deserialize, ToSchema)]
struct MintBody {
    #[serde(default)]
    #[schema(max_length = 64)]
    label: String,
    /// 0 is for ever; thirty days when absent.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1825)]
    expires_in_days: Option<i64>,
    /// `none`, `read` or `write` by area.
    #[serde(default)]
    permissions: Option<BTreeMap<String, String>>,
    /// `none`, `all` or `selected`.
    #[serde(default)]
    competition_access: Option<String>,
    /// For `selected`.
    #[serde(default)]
    competition_ids: Vec<String>,
}

/// A token without the token.
#[derive(Debug, Serialize, ToSchema)]
struct TokenInfo {
    token_id: String,
    /// `user` or `fine_grained`.
    kind: &'static str,
    label: String,
    created_at: Option<String>,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    /// Where it was made from.
    ip_address: String,
    user_agent: String,
    /// Whether this request used it.
    is_current: bool,
    competition_access: &'static str,
    competition_ids: Vec<String>,
    permissions: BTreeMap<&'static str, &'static str>,
}

/// A new token; it is shown this once.
#[derive(Serialize, ToSchema)]
struct MintedToken {
    #[serde(flatten)]
    info: TokenInfo,
    token: String,
}

impl TokenInfo {
    fn of(token: AccountToken, current: &str) -> Self {
        let everything = Grant { levels: BTreeMap::new(), reach: Reach::None };
        let is_fine = token.grant.is_some();
        let grant = token.grant.unwrap_or(everything);
        let permissions =
            Area::ALL.into_iter().map(|area| (area.as_str(), grant.level(area).as_str()));
        let ids = match &grant.reach {
            Reach::Selected(ids) => ids.iter().map(ToString::to_string).collect(),
            Reach::None | Reach::All => Vec::new(),
        };
        Self {
            is_current: token.id == current,
            token_id: token.id,
            kind: if is_fine { "fine_grained" } else { "user" },
            label: token.label,
            created_at: Some(token.created_at.rfc3339()),
            expires_at: token.expires_at.map(|at| at.rfc3339()),
            last_used_at: token.last_used_at.map(|at| at.rfc3339()),
            ip_address: token.address,
            user_agent: token.user_agent,
            competition_access: grant.reach.as_str(),
            competition_ids: ids,
            permissions: if is_fine { permissions.collect() } else { BTreeMap::new() },
        }
    }
}

/// What tokens can be limited to.
#[derive(Debug, Serialize, ToSchema)]
struct Scopes {
    categories: Vec<ScopeRow>,
    levels: Vec<&'static str>,
}

/// One area.
#[derive(Debug, Serialize, ToSchema)]
struct ScopeRow {
    key: &'static str,
    label: &'static str,
    description: &'static str,
    competition_scoped: bool,
    max_level: &'static str,
}

/// How many were taken back.
#[derive(Debug, Serialize, ToSchema)]
struct RevokedResponse {
    /// Always `ok`.
    status: &'static str,
    revoked: usize,
}

/// The tokens of the caller's account that were not taken back, the newest first.
#[utoipa::path(get, path = "/auth/tokens", tag = "accounts", security(("bearer" = [])),
    params(PageParams), responses((status = 200, body = Page<TokenInfo>)))]
async fn list(
    State(platform): State<Platform>,
    Session { caller, account }: Session,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<TokenInfo>>> {
    let tokens = platform.tokens(&account).await?.into_iter();
    let rows = tokens.map(|token| TokenInfo::of(token, &caller.token_id)).collect();
    Ok(Json(Page::of(rows, page)))
}

/// Makes a fine-grained token. It is shown this once.
#[utoipa::path(post, path = "/auth/tokens", tag = "accounts", security(("bearer" = [])),
    request_body = MintBody,
    responses((status = 200, body = MintedToken),
        (status = 400, body = Envelope, description = "`token_limit_reached`"),
        (status = 422, body = Envelope)))]
async fn mint(
    State(platform): State<Platform>,
    Session { caller, account }: Session,
    From(origin): From,
    Body(body): Body<MintBody>,
) -> Answer<Json<MintedToken>> {
    let mut faults = Faults::default();
    faults.length("label", &body.label, 0..=64);
    faults.number("expires_in_days", body.expires_in_days.unwrap_or(0), 0..=1825);
    faults.finish()?;
    let wish = TokenWish {
        label: body.label,
        expires_in_days: body.expires_in_days.and_then(|days| u32::try_from(days).ok()),
        permissions: body.permissions,
        access: body.competition_access,
        competitions: body.competition_ids,
    };
    let (row, token) = platform.mint_token(&account, wish, origin).await?;
    Ok(Json(MintedToken { info: TokenInfo::of(row, &caller.token_id), token }))
}

/// Takes every token of the caller's account back but the one that is used.
#[utoipa::path(delete, path = "/auth/tokens/others", tag = "accounts",
    security(("bearer" = [])), responses((status = 200, body = RevokedResponse)))]
async fn revoke_others(
    State(platform): State<Platform>,
    Session { caller, account }: Session,
) -> Answer<Json<RevokedResponse>> {
    let revoked = platform.revoke_other_tokens(&caller, &account).await?;
    Ok(Json(RevokedResponse { status: "ok", revoked }))
}

/// Takes a token back; again is fine.
#[utoipa::path(delete, path = "/auth/tokens/{token_id}", tag = "accounts",
    security(("bearer" = [])), params(("token_id" = String, Path)),
    responses((status = 200, body = Done),
        (status = 404, body = Envelope, description = "`token_not_found`"),
        (status = 409, body = Envelope, description = "`cannot_revoke_current_token`")))]
async fn revoke(
    State(platform): State<Platform>,
    Session { caller, account }: Session,
    Path(id): Path<String>,
) -> Answer<Json<Done>> {
    platform.revoke_token(&caller, &account, &id).await?;
    Ok(Done::ok())
}

/// Signs out: takes the token of this very request back.
#[utoipa::path(post, path = "/auth/logout", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = Done)))]
async fn sign_out(
    State(platform): State<Platform>,
    Session { caller, account }: Session,
) -> Answer<Json<Done>> {
    platform.sign_out(&caller, &account).await?;
    Ok(Done::ok())
}

/// What tokens can be limited to.
#[utoipa::path(get, path = "/auth/tokens/scopes", tag = "accounts",
    responses((status = 200, body = Scopes)))]
async fn scopes() -> Json<Scopes> {
    let row = |area: Area| {
        let (label, description) = words(area);
        ScopeRow {
            key: area.as_str(),
            label,
            description,
            competition_scoped: area.is_of_competitions(),
            max_level: area.max_level().as_str(),
        }
    };
    Json(Scopes {
        categories: Area::ALL.into_iter().map(row).collect(),
        levels: Level::ALL.into_iter().map(Level::as_str).collect(),
    })
}

fn words(area: Area) -> (&'static str, &'static str) {
    match area {
        Area::Challenges => ("Challenges", "Look at competitions, challenges and their files"),
        Area::Submissions => ("Submissions", "Look at and send answers"),
        Area::Instances => ("Instances", "Look at, start, renew and stop instances"),
        Area::Teams => ("Teams", "Look at and manage teams and invitations"),
        Area::Scoreboard => ("Scoreboard", "Look at standings"),
        Area::Profile => ("Profile", "Look at and change the own profile"),
        Area::Identities => ("Identities", "Look at ways to sign in"),
        Area::Tokens => ("Tokens", "Look at the own tokens"),
    }
}
