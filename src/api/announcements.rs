//! Announcements: written by administrators, read in the inbox.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, ProfileWrite, Signed};
use super::error::{Answer, Envelope};
use super::extract::{Body, Faults, Path, Query};
use super::inbox::{present, session_account};
use super::page::{Page, PageParams};
use super::standings::as_u32;
use crate::daemon::platform::{AnnouncementWish, Platform};
use crate::model::{Announcement, Severity, Timestamp};

/// Longest title, in characters.
const MAX_TITLE: usize = 200;
/// Longest text, in characters.
const MAX_BODY: usize = 20_000;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(update, delete))
        .routes(routes!(read))
        .routes(routes!(read_all))
}

/// An announcement.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct AnnouncementInfo {
    pub(crate) id: String,
    title: String,
    body: String,
    /// `info`, `warning` or `critical`.
    severity: &'static str,
    /// From when on players see it; null is at once.
    starts_at: Option<String>,
    /// Until when it holds; null is for ever.
    ends_at: Option<String>,
    created_by: String,
    created_by_name: String,
    created_at: Option<String>,
    updated_at: Option<String>,
}

impl From<Announcement> for AnnouncementInfo {
    fn from(one: Announcement) -> Self {
        Self {
            id: one.id,
            title: one.title,
            body: one.body,
            severity: one.severity.as_str(),
            starts_at: one.starts_at.map(Timestamp::rfc3339),
            ends_at: one.ends_at.map(Timestamp::rfc3339),
            created_by: one.created_by,
            created_by_name: one.created_by_name,
            created_at: Some(one.created_at.rfc3339()),
            updated_at: Some(one.updated_at.rfc3339()),
        }
    }
}

/// The words of the contract.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SeverityWord {
    /// Good to know.
    Info,
    /// Something is not as it should be.
    Warning,
    /// Everybody has to act.
    Critical,
}

impl From<SeverityWord> for Severity {
    fn from(word: SeverityWord) -> Self {
        match word {
            SeverityWord::Info => Self::Info,
            SeverityWord::Warning => Self::Warning,
            SeverityWord::Critical => Self::Critical,
        }
    }
}

/// A new announcement.
#[derive(Debug, Deserialize, ToSchema)]
struct AnnouncementCreate {
    #[schema(min_length = 1, max_length = 200)]
    title: String,
    #[serde(default)]
    #[schema(max_length = 20_000)]
    body: String,
    #[serde(default)]
    severity: Option<SeverityWord>,
    /// RFC 3339 with a zone.
    #[serde(default)]
    starts_at: Option<String>,
    /// RFC 3339 with a zone.
    #[serde(default)]
    ends_at: Option<String>,
}

/// What changes; absent stays. A time that is null is taken back.
#[derive(Debug, Deserialize, ToSchema)]
struct AnnouncementUpdate {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    title: Option<String>,
    #[serde(default)]
    #[schema(max_length = 20_000)]
    body: Option<String>,
    #[serde(default)]
    severity: Option<SeverityWord>,
    #[serde(default, deserialize_with = "present")]
    starts_at: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    ends_at: Option<Option<String>>,
}

/// It is gone.
#[derive(Debug, Serialize, ToSchema)]
struct AnnouncementDeleted {
    /// Always `deleted`.
    status: &'static str,
    announcement_id: String,
}

/// It counts as read.
#[derive(Debug, Serialize, ToSchema)]
struct ReadOne {
    ok: bool,
    /// Whether it was not read before.
    new: bool,
}

/// They count as read.
#[derive(Debug, Serialize, ToSchema)]
struct ReadAll {
    ok: bool,
    /// How many were not read before.
    read_count: u32,
}

fn wish(body: AnnouncementUpdate) -> Answer<AnnouncementWish> {
    let mut faults = Faults::default();
    if let Some(title) = &body.title {
        faults.length("title", title.trim(), 1..=MAX_TITLE);
        if title.chars().any(char::is_control) {
            faults.other("title", "Input should be one line".to_owned());
        }
    }
    if let Some(text) = &body.body {
        faults.length("body", text, 0..=MAX_BODY);
    }
    let mut time = |name: &str, wanted: Option<Option<String>>| {
        wanted.map(|text| {
            let text = text?;
            let time = Timestamp::parse_rfc3339(&text).ok();
            if time.is_none() {
                faults.other(name, "Input should be a time with a zone (RFC 3339)".to_owned());
            }
            time
        })
    };
    let starts_at = time("starts_at", body.starts_at);
    let ends_at = time("ends_at", body.ends_at);
    faults.finish()?;
    Ok(AnnouncementWish {
        title: body.title.map(|title| title.trim().to_owned()),
        body: body.body,
        severity: body.severity.map(Severity::from),
        starts_at,
        ends_at,
    })
}

/// Every announcement, the newest first.
#[utoipa::path(get, path = "/admin/announcements", tag = "admin", security(("bearer" = [])),
    params(PageParams),
    responses((status = 200, body = Page<AnnouncementInfo>), (status = 403, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    _admin: Admin,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<AnnouncementInfo>>> {
    let all = platform.announcements().await?.into_iter().map(AnnouncementInfo::from).collect();
    Ok(Json(Page::of(all, page)))
}

/// Tells everybody something.
#[utoipa::path(post, path = "/admin/announcements", tag = "admin", security(("bearer" = [])),
    request_body = AnnouncementCreate,
    responses((status = 201, body = AnnouncementInfo), (status = 403, body = Envelope),
        (status = 409, body = Envelope, description = "`too_many_announcements`"),
        (status = 422, body = Envelope)))]
async fn create(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Body(body): Body<AnnouncementCreate>,
) -> Answer<(StatusCode, Json<AnnouncementInfo>)> {
    let body = AnnouncementUpdate {
        title: Some(body.title),
        body: Some(body.body),
        severity: body.severity,
        starts_at: Some(body.starts_at),
        ends_at: Some(body.ends_at),
    };
    let new = platform.announce(&caller, wish(body)?).await?;
    Ok((StatusCode::CREATED, Json(new.into())))
}

/// Changes one.
#[utoipa::path(patch, path = "/admin/announcements/{announcement_id}", tag = "admin",
    security(("bearer" = [])), params(("announcement_id" = String, Path)),
    request_body = AnnouncementUpdate,
    responses((status = 200, body = AnnouncementInfo), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope)))]
async fn update(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    Body(body): Body<AnnouncementUpdate>,
) -> Answer<Json<AnnouncementInfo>> {
    Ok(Json(platform.change_announcement(&caller, &id, wish(body)?).await?.into()))
}

/// Takes one back.
#[utoipa::path(delete, path = "/admin/announcements/{announcement_id}", tag = "admin",
    security(("bearer" = [])), params(("announcement_id" = String, Path)),
    responses((status = 200, body = AnnouncementDeleted), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn delete(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Answer<Json<AnnouncementDeleted>> {
    platform.delete_announcement(&caller, &id).await?;
    Ok(Json(AnnouncementDeleted { status: "deleted", announcement_id: id }))
}

/// Notes that the caller has read one.
#[utoipa::path(post, path = "/me/announcements/{announcement_id}/read", tag = "me",
    security(("bearer" = [])), params(("announcement_id" = String, Path)),
    responses((status = 200, body = ReadOne), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn read(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<ProfileWrite>,
    Path(id): Path<String>,
) -> Answer<Json<ReadOne>> {
    let new = platform.read_announcement(session_account(&caller)?, &id).await?;
    Ok(Json(ReadOne { ok: true, new }))
}

/// Notes that the caller has read all that they are shown.
#[utoipa::path(post, path = "/me/announcements/read-all", tag = "me", security(("bearer" = [])),
    responses((status = 200, body = ReadAll), (status = 403, body = Envelope)))]
async fn read_all(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<ProfileWrite>,
) -> Answer<Json<ReadAll>> {
    let n_read = platform.read_all_announcements(session_account(&caller)?).await?;
    Ok(Json(ReadAll { ok: true, read_count: as_u32(n_read) }))
}
