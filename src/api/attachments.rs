//! Files of a challenge and of an instance.
//!
//! # Invariants
//! * Only files that the catalogue lists, by exactly the listed name, are served: a path that
//!   climbs, is absolute or names a folder matches nothing.
//! * A template is never served; what was rendered from it only to its own team.
//! * An encrypted file is listed and served decrypted, without its `.age`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{ChallengesRead, Signed};
use super::catalogue::{AttachmentInfo, attachments};
use super::error::{Answer, ApiError, Envelope};
use super::extract::Path;
use super::{challenges, download};
use crate::daemon::platform::{Platform, PlatformError};
use crate::model::{Caller, Challenge, Instance, Revision, Role, TreeId};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(of_challenge))
        .routes(routes!(download_of_challenge))
        .routes(routes!(of_instance))
        .routes(routes!(download_of_instance))
}

/// A listing of files.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttachmentList {
    pub(crate) files: Vec<AttachmentInfo>,
    /// The commit that they are read from.
    pub(crate) revision: String,
    /// The challenge's folder there; null unless an administrator asks.
    pub(crate) tree: Option<String>,
}

impl AttachmentList {
    /// `files` of the folder `tree` at `revision`, as `caller` may see them.
    fn of(caller: &Caller, files: Vec<AttachmentInfo>, revision: Revision, tree: TreeId) -> Self {
        let tree = (caller.role == Role::Admin).then(|| tree.to_string());
        Self { files, revision: revision.to_string(), tree }
    }
}

/// The files out of the images of a challenge.
pub(crate) async fn exported(
    platform: &Platform,
    challenge: &Challenge,
) -> Answer<Vec<AttachmentInfo>> {
    let files = platform.exported(challenge).await?.into_iter();
    Ok(files.map(|file| AttachmentInfo { name: file.name, size: file.size_bytes }).collect())
}

/// The files out of the images and containers that an instance runs.
pub(crate) async fn exports_of(
    platform: &Platform,
    instance: &Instance,
    challenge: &Challenge,
) -> Answer<Vec<AttachmentInfo>> {
    let files = platform.instance_exports(instance, challenge).await?.into_iter();
    Ok(files.map(|file| AttachmentInfo { name: file.name, size: file.size_bytes }).collect())
}

/// The files of an instance that can be downloaded now.
pub(crate) async fn of(platform: &Platform, instance: &Instance) -> Answer<Vec<AttachmentInfo>> {
    let files = platform.instance_attachments(instance).await?.into_iter();
    Ok(files.map(|file| AttachmentInfo { name: file.name, size: file.size_bytes }).collect())
}

/// The files of a challenge. A template is listed without its `.tpl`, with the template's size.
#[utoipa::path(get, path = "/challenges/{challenge_id}/attachments", tag = "attachments",
    security(("bearer" = [])), params(("challenge_id" = String, Path)),
    responses((status = 200, body = AttachmentList), (status = 404, body = Envelope)))]
async fn of_challenge(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<ChallengesRead>,
    Path(id): Path<String>,
) -> Answer<Json<AttachmentList>> {
    let live = platform.catalogue(Some(&caller), "");
    let challenge = challenges::visible(&platform, &live, &id)?;
    let revision = live[&challenge.id].revision;
    let mut files = attachments(challenge);
    files.extend(exported(&platform, challenge).await?);
    Ok(Json(AttachmentList::of(&caller, files, revision, challenge.tree)))
}

/// Downloads a file of a challenge. Ranges and entity tags work.
#[utoipa::path(get, path = "/challenges/{challenge_id}/attachments/{*path}", tag = "attachments",
    security(("bearer" = [])),
    params(("challenge_id" = String, Path), ("path" = String, Path, description = "as listed")),
    responses((status = 200, content_type = "application/octet-stream"),
        (status = 206, description = "the part asked for"), (status = 404, body = Envelope),
        (status = 429, body = Envelope)))]
async fn download_of_challenge(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<ChallengesRead>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<Response> {
    let live = platform.catalogue(Some(&caller), "");
    let challenge = challenges::visible(&platform, &live, &id)?;
    let slot = platform.begin_download(&caller)?;
    let file = platform.attachment(&challenge.id, &name).await?;
    platform.note_file(&caller.teams(), &challenge.id);
    Ok(download::answer(&name, file, slot, &headers))
}

/// The files of an instance, at the version it was started from; with those that were rendered for
/// it, as soon as they are.
#[utoipa::path(get, path = "/instances/{instance_id}/attachments", tag = "attachments",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = AttachmentList), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn of_instance(
    State(platform): State<Platform>,
    Signed(caller, _): Signed,
    Path(id): Path<String>,
) -> Answer<Json<AttachmentList>> {
    let instance = platform.instance(&caller, &id).await?;
    let files = of(&platform, &instance).await?;
    Ok(Json(AttachmentList::of(&caller, files, instance.revision, instance.tree)))
}

/// Downloads a file of an instance. Ranges and entity tags work.
#[utoipa::path(get, path = "/instances/{instance_id}/attachments/{*path}", tag = "attachments",
    security(("bearer" = [])),
    params(("instance_id" = String, Path), ("path" = String, Path, description = "as listed")),
    responses((status = 200, content_type = "application/octet-stream"),
        (status = 206, description = "the part asked for"), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 429, body = Envelope)))]
async fn download_of_instance(
    State(platform): State<Platform>,
    Signed(caller, _): Signed,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<Response> {
    let instance = platform.instance(&caller, &id).await?;
    let slot = platform.begin_download(&caller)?;
    match platform.instance_attachment(&instance, &name).await {
        Ok(file) => {
            if caller.plays_for(instance.team) {
                platform.note_file(&[instance.team], &instance.challenge);
            }
            Ok(download::answer(&name, file, slot, &headers))
        }
        Err(PlatformError::AttachmentNotFound | PlatformError::ChallengeNotFound { .. }) => {
            Err(absent())
        }
        Err(error) => Err(error.into()),
    }
}

/// Instances have a code of their own for this.
fn absent() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "attachment_not_found", "attachment not found")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attachment, challenge, question};
    use super::*;
    use crate::daemon::platform::static_file;

    #[test]
    fn t07_hostile_names_and_templates_match_nothing() {
        let is_served = |web: &Challenge, name: &str| static_file(web, name).is_some();
        let mut web = challenge("WEB-001", vec![question("flag")]);
        web.attachments = vec![attachment("src/main.c", 10), attachment("notes.txt.tpl", 20)];
        web.attachments.push(attachment("map.png.age", 30));
        web.attachments.push(attachment("key.txt.tpl.age", 40));
        assert!(is_served(&web, "src/main.c") && is_served(&web, "map.png"));
        for name in [
            "",
            ".",
            "..",
            "src",
            "src/",
            "/src/main.c",
            "src/../src/main.c",
            "./src/main.c",
            "src//main.c",
            "src\\main.c",
            "src/main.c\0",
            "SRC/MAIN.C",
            "notes.txt",
            "notes.txt.tpl",
            "map.png.age",
            "key.txt",
            "key.txt.tpl",
            "key.txt.tpl.age",
        ] {
            assert!(!is_served(&web, name), "{name:?}");
        }
        let listed: Vec<_> = attachments(&web).into_iter().map(|file| file.name).collect();
        assert_eq!(listed, ["src/main.c", "notes.txt", "map.png", "key.txt"]);
    }
}
