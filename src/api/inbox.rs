//! What waits for the caller: invitations, requests; and what they tell about themselves.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::announcements::AnnouncementInfo;
use super::auth::{ProfileRead, ProfileWrite, Session, Signed};
use super::error::{Answer, ApiError, Envelope};
use super::extract::{Body, Faults};
use super::me::{self, MeResponse};
use crate::daemon::platform::{Denial, Platform, PlatformError};
use crate::model::{Account, Caller, Invite, InviteKind, Profile, TeamId};
use crate::store::PersonKind;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(inbox))
        .routes(routes!(change_profile))
        .routes(routes!(change_visibility))
        .routes(routes!(delete))
}

/// What can be hidden from others.
const HIDEABLE: &[&str] = &[
    "email",
    "country",
    "website_url",
    "social_links",
    "timezone",
    "bio",
    "last_active_at",
    "solves_count",
    "attempts_count",
    "achievements",
    "rank_history",
    "activity_calendar",
    "tag_stats",
    "difficulty_stats",
    "solve_trend",
];

/// Everything that waits.
#[derive(Debug, Default, Serialize, ToSchema)]
struct InboxResponse {
    incoming_invites: Vec<IncomingInvite>,
    outgoing_requests: Vec<OutgoingRequest>,
    captain_requests: Vec<CaptainRequest>,
    competition_invites: Vec<CompetitionInvite>,
    /// What organizers tell everybody now, the newest first.
    announcements: Vec<InboxAnnouncement>,
    unread_announcement_count: u32,
}

/// A captain asks the caller.
#[derive(Debug, Serialize, ToSchema)]
struct IncomingInvite {
    id: String,
    competition_id: String,
    competition_title: String,
    team_id: String,
    team_name: String,
    captain_user_id: String,
    captain_display_name: String,
    created_at: Option<String>,
}

/// The caller asks a captain.
#[derive(Debug, Serialize, ToSchema)]
struct OutgoingRequest {
    invite_id: String,
    competition_id: String,
    competition_title: String,
    team_id: String,
    team_name: String,
    captain_user_id: String,
    captain_display_name: String,
    created_at: Option<String>,
}

/// Somebody asks the caller, who is a captain.
#[derive(Debug, Serialize, ToSchema)]
struct CaptainRequest {
    invite_id: String,
    competition_id: String,
    competition_title: String,
    team_id: String,
    team_name: String,
    requester_user_id: String,
    requester_display_name: String,
    created_at: Option<String>,
}

/// The caller may take part in a private competition.
#[derive(Debug, Serialize, ToSchema)]
struct CompetitionInvite {
    competition_id: String,
    competition_title: String,
    competition_phase: &'static str,
    invited_at: Option<String>,
    invited_by_user_id: String,
    invited_by_display_name: String,
}

/// Words of the organizers.
#[derive(Debug, Serialize, ToSchema)]
struct InboxAnnouncement {
    #[serde(flatten)]
    announcement: AnnouncementInfo,
    is_read: bool,
}

/// What somebody tells about themselves; absent stays, null clears.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct ProfileBody {
    #[serde(default, deserialize_with = "present")]
    #[schema(max_length = 280)]
    bio: Option<Option<String>>,
    /// Two capital letters.
    #[serde(default, deserialize_with = "present")]
    country: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(max_length = 200)]
    website_url: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(max_length = 80)]
    timezone: Option<Option<String>>,
    /// At most eight, each of at most 200 characters.
    #[serde(default, deserialize_with = "present")]
    social_links: Option<Option<BTreeMap<String, String>>>,
}

/// A member that is there, null or not.
pub(crate) fn present<'de, D, T>(from: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(from).map(Some)
}

pub(crate) fn session_account(caller: &Caller) -> Answer<&Account> {
    caller.account.as_ref().ok_or_else(|| {
        let text = "this needs an account: a token of a team has no profile";
        ApiError::plain(StatusCode::FORBIDDEN, text)
    })
}

/// A title and names for what is listed.
struct Names<'a> {
    platform: &'a Platform,
    caller: &'a Caller,
}

impl Names<'_> {
    fn title(&self, competition: &str) -> String {
        let contest = self.platform.contest(Some(self.caller), competition);
        contest.map_or_else(|_| competition.to_owned(), |contest| contest.title.clone())
    }

    /// Name of the team, id and name of its captain.
    async fn team(&self, id: TeamId) -> Answer<(String, String, String)> {
        let team = self.platform.team(id).await?;
        let Some(captain) = team.captain else {
            return Ok((team.name.clone(), id.to_string(), team.name));
        };
        let account = self.platform.account(&captain.to_string()).await?.account;
        Ok((team.name, captain.to_string(), account.name))
    }
}

async fn of_account(
    platform: &Platform,
    caller: &Caller,
    account: &Account,
) -> Answer<InboxResponse> {
    let (names, now) = (Names { platform, caller }, platform.now());
    let mut inbox = InboxResponse::default();
    let own = platform.invites_of(account).await?;
    for invite in own.into_iter().filter(|invite| invite.is_active(now)) {
        let Invite { id, team, competition, created_at, kind, .. } = invite;
        let (team_name, captain_user_id, captain_display_name) = names.team(team).await?;
        let competition_title = names.title(competition.as_str());
        let (competition_id, team_id) = (competition.to_string(), team.to_string());
        let created_at = Some(created_at.rfc3339());
        match kind {
            InviteKind::Direct => inbox.incoming_invites.push(IncomingInvite {
                id,
                competition_id,
                competition_title,
                team_id,
                team_name,
                captain_user_id,
                captain_display_name,
                created_at,
            }),
            InviteKind::JoinRequest => inbox.outgoing_requests.push(OutgoingRequest {
                invite_id: id,
                competition_id,
                competition_title,
                team_id,
                team_name,
                captain_user_id,
                captain_display_name,
                created_at,
            }),
            InviteKind::Code => (),
        }
    }
    for membership in &caller.memberships {
        let team = platform.team(membership.team).await?;
        if team.captain != Some(account.id) {
            continue;
        }
        for request in platform.requests_for(team.id).await? {
            let Some(target) = request.target else { continue };
            let requester = platform.account(&target.to_string()).await?.account;
            inbox.captain_requests.push(CaptainRequest {
                invite_id: request.id,
                competition_id: team.competition.to_string(),
                competition_title: names.title(team.competition.as_str()),
                team_id: team.id.to_string(),
                team_name: team.name.clone(),
                requester_user_id: target.to_string(),
                requester_display_name: requester.name,
                created_at: Some(request.created_at.rfc3339()),
            });
        }
    }
    let taken: BTreeSet<_> = caller.memberships.iter().map(|it| &it.competition).collect();
    for contest in platform.contests(Some(caller)) {
        if taken.contains(&contest.id) {
            continue;
        }
        for person in platform.people(&contest, PersonKind::Invited).await? {
            if person.account.id == account.id {
                inbox.competition_invites.push(CompetitionInvite {
                    competition_id: contest.id.to_string(),
                    competition_title: contest.title.clone(),
                    competition_phase: contest.phase(now).as_str(),
                    invited_at: Some(person.at.rfc3339()),
                    invited_by_user_id: person.by,
                    invited_by_display_name: String::new(),
                });
            }
        }
    }
    let (shown, read) = platform.announcements_for(account).await?;
    for one in shown {
        let is_read = read.contains(&one.id);
        inbox.unread_announcement_count += u32::from(!is_read);
        inbox.announcements.push(InboxAnnouncement { announcement: one.into(), is_read });
    }
    Ok(inbox)
}

/// What waits for the caller.
#[utoipa::path(get, path = "/me/inbox", tag = "me", security(("bearer" = [])),
    responses((status = 200, body = InboxResponse), (status = 403, body = Envelope)))]
async fn inbox(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<ProfileRead>,
) -> Answer<Json<InboxResponse>> {
    match &caller.account {
        Some(account) => of_account(&platform, &caller, account).await.map(Json),
        None => Ok(Json(InboxResponse::default())),
    }
}

/// Changes what the caller tells about themselves.
#[utoipa::path(patch, path = "/me/profile", tag = "me", security(("bearer" = [])),
    request_body = ProfileBody,
    responses((status = 200, body = MeResponse),
        (status = 422, body = Envelope, description = "`invalid_profile`")))]
async fn change_profile(
    State(platform): State<Platform>,
    Signed(mut caller, _): Signed<ProfileWrite>,
    Body(body): Body<ProfileBody>,
) -> Answer<Json<MeResponse>> {
    let account = session_account(&caller)?.clone();
    let profile = changed(account.profile.clone(), body)?;
    platform.set_profile(&account, profile.clone()).await?;
    caller.account = Some(Account { profile, ..account });
    me::view(&platform, &caller).await
}

fn changed(mut profile: Profile, body: ProfileBody) -> Answer<Profile> {
    let mut faults = Faults::default();
    for (name, value, most) in [
        ("bio", &body.bio, 280),
        ("website_url", &body.website_url, 200),
        ("timezone", &body.timezone, 80),
    ] {
        faults.length(name, value.iter().flatten().next().map_or("", String::as_str), 0..=most);
    }
    faults.finish()?;
    let invalid = |message: &str| {
        ApiError::from(PlatformError::from(Denial::invalid("invalid_profile", message)))
    };
    if let Some(Some(country)) = &body.country
        && (country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()))
    {
        return Err(invalid("`country` is two capital letters, such as `DE`"));
    }
    if let Some(Some(url)) = &body.website_url
        && !(url.is_empty() || url.starts_with("https://") || url.starts_with("http://"))
    {
        return Err(invalid("`website_url` begins with https:// or http://"));
    }
    if let Some(Some(links)) = &body.social_links {
        let is_long = |text: &String| text.chars().count() > 200;
        if links.len() > 8 || links.iter().any(|(name, link)| is_long(name) || is_long(link)) {
            return Err(invalid("`social_links` has at most 8 entries of at most 200 characters"));
        }
    }
    profile.bio = body.bio.unwrap_or(profile.bio);
    profile.country = body.country.unwrap_or(profile.country);
    profile.website_url = body.website_url.unwrap_or(profile.website_url);
    profile.timezone = body.timezone.unwrap_or(profile.timezone);
    if let Some(links) = body.social_links {
        profile.social_links = links.unwrap_or_default();
    }
    Ok(profile)
}

/// What confirms that an account goes.
#[derive(Debug, Deserialize, ToSchema)]
struct DeleteBody {
    #[schema(min_length = 1, max_length = 120)]
    confirm_display_name: String,
}

/// Removes the caller's account. What they answered stays on record, without their name.
#[utoipa::path(delete, path = "/me", tag = "me", security(("bearer" = [])),
    request_body = DeleteBody,
    responses((status = 204, description = "gone"),
        (status = 400, body = Envelope, description = "`wrong_confirmation`")))]
async fn delete(
    State(platform): State<Platform>,
    Session { account, .. }: Session,
    Body(body): Body<DeleteBody>,
) -> Answer<StatusCode> {
    platform.delete_account(&account, &body.confirm_display_name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes what others see of the caller. Unknown names are dropped.
#[utoipa::path(patch, path = "/me/profile/visibility", tag = "me", security(("bearer" = [])),
    request_body = BTreeMap<String, bool>,
    responses((status = 200, body = MeResponse), (status = 422, body = Envelope)))]
async fn change_visibility(
    State(platform): State<Platform>,
    Signed(mut caller, _): Signed<ProfileWrite>,
    Body(body): Body<BTreeMap<String, bool>>,
) -> Answer<Json<MeResponse>> {
    let account = session_account(&caller)?.clone();
    let mut profile = account.profile.clone();
    profile
        .visibility
        .extend(body.into_iter().filter(|(name, _)| HIDEABLE.contains(&name.as_str())));
    platform.set_profile(&account, profile.clone()).await?;
    caller.account = Some(Account { profile, ..account });
    me::view(&platform, &caller).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_stays_and_null_clears() {
        let before = Profile {
            bio: Some("old".to_owned()),
            country: Some("DE".to_owned()),
            ..Profile::default()
        };
        let body: ProfileBody =
            serde_json::from_str(r#"{"bio":null,"social_links":{"x":"@a"}}"#).unwrap();
        let after = changed(before.clone(), body).unwrap();
        assert_eq!((after.bio, after.country.as_deref()), (None, Some("DE")));
        assert_eq!(after.social_links.len(), 1);
        for wrong in [
            r#"{"country":"de"}"#,
            r#"{"country":"DEU"}"#,
            r#"{"website_url":"javascript:alert(1)"}"#,
        ] {
            let body: ProfileBody = serde_json::from_str(wrong).unwrap();
            let refusal = changed(before.clone(), body).unwrap_err();
            assert_eq!(&*refusal.code, "invalid_profile", "{wrong}");
        }
    }
}
