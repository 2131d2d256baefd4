//! Ways into teams: codes, invitations, requests.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Signed, TeamsRead, TeamsWrite};
use super::error::{Answer, ApiError, Envelope};
use super::extract::{Body, Faults, Path, Query};
use super::page::{Page, PageParams};
use super::teams::{self, TeamDetail};
use crate::daemon::platform::{EntryWish, Platform};
use crate::model::{Account, Caller, Invite, Timestamp};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(direct))
        .routes(routes!(revoke))
        .routes(routes!(accept))
        .routes(routes!(decline))
        .routes(routes!(request))
        .routes(routes!(approve))
        .routes(routes!(reject))
}

/// A new code.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct CodeBody {
    /// How often it may be used; 0 is any number of times, 1 when absent.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100)]
    max_uses: Option<i64>,
    /// For how long; 0 is for ever, a day when absent.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 2_592_000)]
    ttl_seconds: Option<i64>,
}

/// Who is invited.
#[derive(Debug, Deserialize, ToSchema)]
struct DirectBody {
    #[schema(min_length = 3, max_length = 320)]
    email: String,
}

/// A way into a team.
#[derive(Debug, Serialize, ToSchema)]
struct TeamInviteInfo {
    id: String,
    code: String,
    team_id: String,
    created_by_user_id: String,
    created_at: Option<String>,
    /// Null is never.
    expires_at: Option<String>,
    /// 0 is any number.
    max_uses: u32,
    use_count: u32,
    revoked_at: Option<String>,
    active: bool,
    competition_id: String,
    /// `code`, `direct` or `join_request`.
    kind: &'static str,
    /// Whom it is about; empty for a code.
    target_user_id: String,
}

impl TeamInviteInfo {
    fn of(invite: Invite, now: Timestamp) -> Self {
        Self {
            active: invite.is_active(now),
            id: invite.id,
            code: invite.code,
            team_id: invite.team.to_string(),
            created_by_user_id: invite.created_by,
            created_at: Some(invite.created_at.rfc3339()),
            expires_at: invite.expires_at.map(|at| at.rfc3339()),
            max_uses: invite.max_uses,
            use_count: invite.n_uses,
            revoked_at: invite.revoked_at.map(|at| at.rfc3339()),
            competition_id: invite.competition.to_string(),
            kind: invite.kind.as_str(),
            target_user_id: invite.target.map(|user| user.to_string()).unwrap_or_default(),
        }
    }
}

/// What became of an invitation.
#[derive(Debug, Serialize, ToSchema)]
struct Ended {
    /// `revoked`, `declined` or `rejected`; `already_revoked` when it was over.
    status: &'static str,
}

impl Ended {
    fn of(was_open: Outcome, word: &'static str) -> Json<Self> {
        let status = match was_open {
            Outcome::Ended => word,
            Outcome::WasOver => "already_revoked",
        };
        Json(Self { status })
    }
}

/// Whether an invitation was open until now.
enum Outcome {
    /// It was.
    Ended,
    /// It was not.
    WasOver,
}

impl From<bool> for Outcome {
    fn from(was_open: bool) -> Self {
        if was_open { Self::Ended } else { Self::WasOver }
    }
}

/// The account of who is invited or asks.
fn person(caller: &Caller) -> Answer<&Account> {
    caller.account.as_ref().ok_or_else(|| {
        let text = "this needs an account: a token of a team is in its team already";
        ApiError::new(StatusCode::FORBIDDEN, "not_invited", text)
    })
}

/// Makes a code that lets people into the caller's team (captain).
#[utoipa::path(post, path = "/competitions/{competition_id}/invites", tag = "teams",
    security(("bearer" = [])), params(("competition_id" = String, Path)), request_body = CodeBody,
    responses((status = 201, body = TeamInviteInfo),
        (status = 403, body = Envelope, description = "`not_captain`, `not_registered`")))]
async fn create(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path(competition): Path<String>,
    Body(body): Body<CodeBody>,
) -> Answer<(StatusCode, Json<TeamInviteInfo>)> {
    let (uses, secs) = (body.max_uses.unwrap_or(1), body.ttl_seconds.unwrap_or(86_400));
    let mut faults = Faults::default();
    faults.number("max_uses", uses, 0..=100);
    faults.number("ttl_seconds", secs, 0..=2_592_000);
    faults.finish()?;
    let contest = platform.contest_to_enter(&caller, &competition)?;
    let as_count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let invite = platform.create_code(&caller, &contest, as_count(uses), as_count(secs)).await?;
    Ok((StatusCode::CREATED, Json(TeamInviteInfo::of(invite, platform.now()))))
}

/// Every way into the caller's team there ever was, the newest first (captain).
#[utoipa::path(get, path = "/competitions/{competition_id}/invites", tag = "teams",
    security(("bearer" = [])), params(("competition_id" = String, Path), PageParams),
    responses((status = 200, body = Page<TeamInviteInfo>), (status = 403, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsRead>,
    Path(competition): Path<String>,
    Query(page): Query<PageParams>,
) -> Answer<Json<Page<TeamInviteInfo>>> {
    let contest = platform.contest_to_enter(&caller, &competition)?;
    let (invites, now) = (platform.invites(&caller, &contest).await?, platform.now());
    let rows = invites.into_iter().map(|invite| TeamInviteInfo::of(invite, now)).collect();
    Ok(Json(Page::of(rows, page)))
}

/// Invites one person into the caller's team (captain).
#[utoipa::path(post, path = "/competitions/{competition_id}/invites/direct", tag = "teams",
    security(("bearer" = [])), params(("competition_id" = String, Path)),
    request_body = DirectBody,
    responses((status = 201, body = TeamInviteInfo),
        (status = 400, body = Envelope, description = "`cannot_invite_self`"),
        (status = 404, body = Envelope, description = "`user_not_found`"),
        (status = 409, body = Envelope, description = "`already_on_team`, `invite_already_pending`")))]
async fn direct(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path(competition): Path<String>,
    Body(body): Body<DirectBody>,
) -> Answer<(StatusCode, Json<TeamInviteInfo>)> {
    let mut faults = Faults::default();
    faults.length("email", &body.email, 3..=320);
    faults.finish()?;
    let contest = platform.contest_to_enter(&caller, &competition)?;
    let invite = platform.invite_person(&caller, &contest, &body.email).await?;
    Ok((StatusCode::CREATED, Json(TeamInviteInfo::of(invite, platform.now()))))
}

/// Takes back a way into the caller's team (captain).
#[utoipa::path(delete, path = "/competitions/{competition_id}/invites/{invite_id}", tag = "teams",
    security(("bearer" = [])),
    params(("competition_id" = String, Path), ("invite_id" = String, Path)),
    responses((status = 200, body = Ended),
        (status = 404, body = Envelope, description = "`invite_not_found`")))]
async fn revoke(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path((competition, id)): Path<(String, String)>,
) -> Answer<Json<Ended>> {
    let contest = platform.contest_to_enter(&caller, &competition)?;
    let was_open = platform.revoke_invite(&caller, &contest, &id).await?;
    Ok(Ended::of(was_open.into(), "revoked"))
}

/// Accepts an invitation.
#[utoipa::path(post, path = "/competitions/{competition_id}/invites/{invite_id}/accept",
    tag = "teams", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("invite_id" = String, Path)),
    responses((status = 200, body = TeamDetail),
        (status = 403, body = Envelope, description = "`not_invited`"),
        (status = 409, body = Envelope, description = "`wrong_invite_kind`, and as for codes")))]
async fn accept(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path((competition, id)): Path<(String, String)>,
) -> Answer<Json<TeamDetail>> {
    person(&caller)?;
    let contest = platform.contest_to_enter(&caller, &competition)?;
    let team = platform.enter(&caller, &contest, EntryWish::Invitation(id)).await?;
    Ok(Json(teams::detail(&platform, &team).await?))
}

/// Declines an invitation, or withdraws a request.
#[utoipa::path(post, path = "/competitions/{competition_id}/invites/{invite_id}/decline",
    tag = "teams", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("invite_id" = String, Path)),
    responses((status = 200, body = Ended),
        (status = 403, body = Envelope, description = "`not_invited`")))]
async fn decline(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path((competition, id)): Path<(String, String)>,
) -> Answer<Json<Ended>> {
    let account = person(&caller)?;
    platform.contest_to_enter(&caller, &competition)?;
    let was_open = platform.decline_invite(account, &id).await?;
    Ok(Ended::of(was_open.into(), "declined"))
}

/// Asks the captain of a team to be let in.
#[utoipa::path(post, path = "/competitions/{competition_id}/teams/{team_id}/join-request",
    tag = "teams", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("team_id" = String, Path)),
    responses((status = 201, body = TeamInviteInfo),
        (status = 404, body = Envelope, description = "`team_not_found`"),
        (status = 409, body = Envelope, description = "`already_on_team`, `request_already_pending`")))]
async fn request(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path((competition, team)): Path<(String, String)>,
) -> Answer<(StatusCode, Json<TeamInviteInfo>)> {
    let contest = platform.contest_to_enter(&caller, &competition)?;
    let invite = platform.request_to_join(&caller, &contest, &team).await?;
    Ok((StatusCode::CREATED, Json(TeamInviteInfo::of(invite, platform.now()))))
}

/// Lets who asked into the caller's team (captain).
#[utoipa::path(post, path = "/competitions/{competition_id}/invites/{invite_id}/approve",
    tag = "teams", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("invite_id" = String, Path)),
    responses((status = 200, body = TeamDetail), (status = 403, body = Envelope),
        (status = 409, body = Envelope, description = "`wrong_invite_kind`, and as for codes")))]
async fn approve(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path((competition, id)): Path<(String, String)>,
) -> Answer<Json<TeamDetail>> {
    let contest = platform.contest_to_enter(&caller, &competition)?;
    let team = platform.approve_request(&caller, &contest, &id).await?;
    Ok(Json(teams::detail(&platform, &team).await?))
}

/// Refuses a request to join the caller's team (captain).
#[utoipa::path(post, path = "/competitions/{competition_id}/invites/{invite_id}/reject",
    tag = "teams", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("invite_id" = String, Path)),
    responses((status = 200, body = Ended), (status = 403, body = Envelope),
        (status = 409, body = Envelope, description = "`wrong_invite_kind`")))]
async fn reject(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<TeamsWrite>,
    Path((competition, id)): Path<(String, String)>,
) -> Answer<Json<Ended>> {
    let contest = platform.contest_to_enter(&caller, &competition)?;
    let was_open = platform.reject_request(&caller, &contest, &id).await?;
    Ok(Ended::of(was_open.into(), "rejected"))
}
