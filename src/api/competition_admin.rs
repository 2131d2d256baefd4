//! Competitions for those who run them: made, changed, removed; and the people beside players.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, ChallengesRead, Signed, Super};
use super::competitions::{CompetitionInfo, Places, describe, rows};
use super::error::{Answer, ApiError, Envelope};
use super::extract::{Body, Faults, Path, Query};
use super::page::{Page, PageParams};
use crate::contest::Contest;
use crate::contest::competition::{Access, Status};
use crate::daemon::platform::{CompetitionWish, Person, Platform};
use crate::model::{Caller, Timestamp};
use crate::store::PersonKind;

/// Most challenges of one competition.
const MAX_CHALLENGES: usize = 200;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(change, delete))
        .routes(routes!(registrations))
        .routes(routes!(admins, grant))
        .routes(routes!(ungrant))
        .routes(routes!(invited, invite))
        .routes(routes!(uninvite))
}

/// What a competition is to be; absent and null leave it as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct CompetitionBody {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    title: Option<String>,
    #[serde(default)]
    #[schema(max_length = 20_000)]
    description: Option<String>,
    #[serde(default)]
    #[schema(max_items = 200)]
    challenge_ids: Option<Vec<String>>,
    /// RFC 3339.
    #[serde(default)]
    starts_at: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    ends_at: Option<String>,
    /// `draft`, `published` or `archived`.
    #[serde(default)]
    status: Option<String>,
    /// `public`, `private_listed` or `private_hidden`.
    #[serde(default)]
    access: Option<String>,
}

impl CompetitionBody {
    fn read(self) -> Answer<CompetitionWish> {
        let mut faults = Faults::default();
        if let Some(title) = &self.title {
            faults.length("title", title, 1..=200);
        }
        faults.length("description", self.description.as_deref().unwrap_or_default(), 0..=20_000);
        if self.challenge_ids.as_ref().is_some_and(|ids| ids.len() > MAX_CHALLENGES) {
            let message = format!("List should have at most {MAX_CHALLENGES} items");
            faults.other("challenge_ids", message);
        }
        let mut time = |name: &str, text: Option<&String>| {
            let text = text.map(|text| text.trim()).filter(|text| !text.is_empty())?;
            let parsed = Timestamp::parse_rfc3339(text).ok();
            if parsed.is_none() {
                faults.other(name, "Input should be a valid datetime with a zone".to_owned());
            }
            parsed
        };
        let starts_at = time("starts_at", self.starts_at.as_ref());
        let ends_at = time("ends_at", self.ends_at.as_ref());
        let status = self.status.as_deref().map(Status::from_word);
        if status == Some(None) {
            faults.other("status", "Input should be one of draft, published, archived".to_owned());
        }
        let access = self.access.as_deref().map(Access::from_word);
        if access == Some(None) {
            let words = "Input should be one of public, private_listed, private_hidden";
            faults.other("access", words.to_owned());
        }
        faults.finish()?;
        Ok(CompetitionWish {
            title: self.title,
            description: self.description,
            challenges: self.challenge_ids,
            starts_at,
            ends_at,
            status: status.flatten(),
            access: access.flatten(),
        })
    }
}

/// Somebody named by id or address.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct PersonBody {
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    email: String,
}

/// Somebody who runs a competition.
#[derive(Debug, Serialize, ToSchema)]
struct CompetitionAdminInfo {
    user_id: String,
    display_name: String,
    email: String,
    granted_by: String,
    granted_at: Option<String>,
}

/// Somebody who may take part in a private competition.
#[derive(Debug, Serialize, ToSchema)]
struct CompetitionInviteInfo {
    user_id: String,
    display_name: String,
    email: String,
    invited_by: String,
    invited_at: Option<String>,
}

/// A team of a competition.
#[derive(Debug, Serialize, ToSchema)]
struct RegistrationInfo {
    team_id: String,
    team_name: String,
    registered_at: Option<String>,
}

/// A competition is gone.
#[derive(Debug, Serialize, ToSchema)]
struct CompetitionDeleted {
    /// Always `deleted`.
    status: &'static str,
    competition_id: String,
}

/// Somebody is no more what they were.
#[derive(Debug, Serialize, ToSchema)]
struct Revoked {
    /// Always `revoked`.
    status: &'static str,
    competition_id: String,
    user_id: String,
}

fn admin_info(person: Person) -> CompetitionAdminInfo {
    CompetitionAdminInfo {
        user_id: person.account.id.to_string(),
        display_name: person.account.name,
        email: person.account.email,
        granted_by: person.by,
        granted_at: Some(person.at.rfc3339()),
    }
}

fn invite_info(person: Person) -> CompetitionInviteInfo {
    CompetitionInviteInfo {
        user_id: person.account.id.to_string(),
        display_name: person.account.name,
        email: person.account.email,
        invited_by: person.by,
        invited_at: Some(person.at.rfc3339()),
    }
}

/// The competition `id`, for one who runs it. What they may not know of is not there for them; only
/// then it is said who may.
fn run_by(platform: &Platform, caller: &Caller, id: &str) -> Answer<Arc<Contest>> {
    let found = platform.every_contest().into_iter().find(|it| it.id.as_str() == id);
    if let Some(contest) = found
        && caller.grant.is_none()
        && platform.runs(Some(caller), &contest)
    {
        return Ok(contest);
    }
    platform.contest(Some(caller), id)?;
    let text = "Competition-admin privileges required";
    Err(ApiError::plain(StatusCode::FORBIDDEN, text))
}

async fn view(
    platform: &Platform,
    caller: &Caller,
    contest: &Contest,
) -> Answer<Json<CompetitionInfo>> {
    let n_teams = platform.n_teams().await?;
    Ok(Json(describe(platform, Some(caller), contest, &n_teams, Places::Left).await?))
}

/// Every competition, drafts too (administrators).
#[utoipa::path(get, path = "/admin/competitions", tag = "admin", security(("bearer" = [])),
    params(PageParams),
    responses((status = 200, body = Page<CompetitionInfo>), (status = 403, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<CompetitionInfo>>> {
    let contests = platform.every_contest();
    Ok(Json(Page::of(rows(&platform, Some(&caller), contests).await?, page)))
}

/// Makes a competition that lives in the database (administrators). One that is to live in the
/// repository is a file there.
#[utoipa::path(post, path = "/admin/competitions", tag = "admin", security(("bearer" = [])),
    request_body = CompetitionBody,
    responses((status = 201, body = CompetitionInfo), (status = 422, body = Envelope)))]
async fn create(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Body(body): Body<CompetitionBody>,
) -> Answer<(StatusCode, Json<CompetitionInfo>)> {
    let wish = body.read()?;
    if wish.title.is_none() {
        let mut faults = Faults::default();
        faults.length("title", "", 1..=200);
        faults.finish()?;
    }
    let contest = platform.create_competition(&caller, wish).await?;
    Ok((StatusCode::CREATED, view(&platform, &caller, &contest).await?))
}

/// Changes a competition (its administrators). What a file declares changes by a commit only.
#[utoipa::path(patch, path = "/admin/competitions/{competition_id}", tag = "admin",
    security(("bearer" = [])), params(("competition_id" = String, Path)),
    request_body = CompetitionBody,
    responses((status = 200, body = CompetitionInfo), (status = 404, body = Envelope),
        (status = 409, body = Envelope, description = "`competition_read_only`"),
        (status = 422, body = Envelope)))]
async fn change(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<ChallengesRead>,
    Path(id): Path<String>,
    Body(body): Body<CompetitionBody>,
) -> Answer<Json<CompetitionInfo>> {
    let contest = run_by(&platform, &caller, &id)?;
    let contest = platform.change_competition(&contest, body.read()?).await?;
    view(&platform, &caller, &contest).await
}

/// Removes a competition (administrators). Its teams and what they did stay on record.
#[utoipa::path(delete, path = "/admin/competitions/{competition_id}", tag = "admin",
    security(("bearer" = [])), params(("competition_id" = String, Path)),
    responses((status = 200, body = CompetitionDeleted), (status = 404, body = Envelope),
        (status = 409, body = Envelope, description = "`competition_read_only`")))]
async fn delete(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Answer<Json<CompetitionDeleted>> {
    let contest = run_by(&platform, &caller, &id)?;
    platform.delete_competition(&contest).await?;
    Ok(Json(CompetitionDeleted { status: "deleted", competition_id: id }))
}

/// The teams of a competition (its administrators).
#[utoipa::path(get, path = "/admin/competitions/{competition_id}/registrations", tag = "admin",
    security(("bearer" = [])), params(("competition_id" = String, Path), PageParams),
    responses((status = 200, body = Page<RegistrationInfo>), (status = 404, body = Envelope)))]
async fn registrations(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<ChallengesRead>,
    Path(id): Path<String>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<RegistrationInfo>>> {
    let contest = run_by(&platform, &caller, &id)?;
    let teams = platform.teams_of(&contest).await?.into_iter();
    let rows = teams.map(|team| RegistrationInfo {
        team_id: team.id.to_string(),
        team_name: team.name,
        registered_at: Some(team.created_at.rfc3339()),
    });
    Ok(Json(Page::of(rows.collect(), page)))
}

/// Who runs a competition without being an administrator of everything (super administrators).
#[utoipa::path(get, path = "/admin/competitions/{competition_id}/admins", tag = "admin",
    security(("bearer" = [])), params(("competition_id" = String, Path), PageParams),
    responses((status = 200, body = Page<CompetitionAdminInfo>), (status = 404, body = Envelope)))]
async fn admins(
    State(platform): State<Platform>,
    Super(caller): Super,
    Path(id): Path<String>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<CompetitionAdminInfo>>> {
    let contest = run_by(&platform, &caller, &id)?;
    let people = platform.people(&contest, PersonKind::Admin).await?;
    Ok(Json(Page::of(people.into_iter().map(admin_info).collect(), page)))
}

/// Lets somebody run a competition (super administrators); again is fine.
#[utoipa::path(post, path = "/admin/competitions/{competition_id}/admins", tag = "admin",
    security(("bearer" = [])), params(("competition_id" = String, Path)),
    request_body = PersonBody,
    responses((status = 201, body = CompetitionAdminInfo), (status = 404, body = Envelope),
        (status = 422, body = Envelope)))]
async fn grant(
    State(platform): State<Platform>,
    Super(caller): Super,
    Path(id): Path<String>,
    Body(body): Body<PersonBody>,
) -> Answer<(StatusCode, Json<CompetitionAdminInfo>)> {
    let contest = run_by(&platform, &caller, &id)?;
    let named = (body.user_id.as_str(), body.email.as_str());
    let person = platform.add_person(&caller, &contest, named, PersonKind::Admin).await?;
    Ok((StatusCode::CREATED, Json(admin_info(person))))
}

/// Lets somebody run a competition no more (super administrators).
#[utoipa::path(delete, path = "/admin/competitions/{competition_id}/admins/{user_id}",
    tag = "admin", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("user_id" = String, Path)),
    responses((status = 200, body = Revoked), (status = 404, body = Envelope)))]
async fn ungrant(
    State(platform): State<Platform>,
    Super(caller): Super,
    Path((id, user_id)): Path<(String, String)>,
) -> Answer<Json<Revoked>> {
    let contest = run_by(&platform, &caller, &id)?;
    platform.remove_person(&caller, &contest, &user_id, PersonKind::Admin).await?;
    Ok(Json(Revoked { status: "revoked", competition_id: id, user_id }))
}

/// Who may take part in a private competition (its administrators).
#[utoipa::path(get, path = "/admin/competitions/{competition_id}/invites", tag = "admin",
    security(("bearer" = [])), params(("competition_id" = String, Path), PageParams),
    responses((status = 200, body = Page<CompetitionInviteInfo>), (status = 404, body = Envelope)))]
async fn invited(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<ChallengesRead>,
    Path(id): Path<String>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<CompetitionInviteInfo>>> {
    let contest = run_by(&platform, &caller, &id)?;
    let people = platform.people(&contest, PersonKind::Invited).await?;
    Ok(Json(Page::of(people.into_iter().map(invite_info).collect(), page)))
}

/// Lets somebody take part in a private competition (its administrators); again is fine.
#[utoipa::path(post, path = "/admin/competitions/{competition_id}/invites", tag = "admin",
    security(("bearer" = [])), params(("competition_id" = String, Path)),
    request_body = PersonBody,
    responses((status = 201, body = CompetitionInviteInfo), (status = 404, body = Envelope),
        (status = 422, body = Envelope)))]
async fn invite(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<ChallengesRead>,
    Path(id): Path<String>,
    Body(body): Body<PersonBody>,
) -> Answer<(StatusCode, Json<CompetitionInviteInfo>)> {
    let contest = run_by(&platform, &caller, &id)?;
    let named = (body.user_id.as_str(), body.email.as_str());
    let person = platform.add_person(&caller, &contest, named, PersonKind::Invited).await?;
    Ok((StatusCode::CREATED, Json(invite_info(person))))
}

/// Lets somebody take part no more; the team that they have stays (its administrators).
#[utoipa::path(delete, path = "/admin/competitions/{competition_id}/invites/{user_id}",
    tag = "admin", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("user_id" = String, Path)),
    responses((status = 200, body = Revoked), (status = 404, body = Envelope)))]
async fn uninvite(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<ChallengesRead>,
    Path((id, user_id)): Path<(String, String)>,
) -> Answer<Json<Revoked>> {
    let contest = run_by(&platform, &caller, &id)?;
    platform.remove_person(&caller, &contest, &user_id, PersonKind::Invited).await?;
    Ok(Json(Revoked { status: "revoked", competition_id: id, user_id }))
}
