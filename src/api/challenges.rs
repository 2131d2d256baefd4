//! The catalogue's routes: list, facets, one challenge.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attachments;
use super::auth::{Maybe, Need};
use super::catalogue::{
    AttachmentInfo, ChallengeFacets, ChallengeInfo, Filter, Listed, Progress, Snapshot, Viewer,
    facets, is_visible, needs_solves, sort_by,
};
use super::error::{Answer, ApiError, Envelope};
use super::extract::{Path, Query};
use super::page::{Page, PageParams};
use crate::contest::tally::Tally;
use crate::daemon::platform::{LiveSet, Platform, PlatformError};
use crate::model::{Caller, Challenge, ChallengeId, Role};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(count)).routes(routes!(one))
}

impl<N: Need> Maybe<N> {
    /// Whose view the caller has.
    pub(crate) fn viewer(&self) -> Viewer {
        self.0.as_ref().map_or(Viewer::Anyone, viewer_of)
    }
}

/// Everything the projections of all of `live` need, read once.
pub(crate) async fn snapshot<'a>(platform: &Platform, live: &'a LiveSet) -> Answer<Snapshot<'a>> {
    let outline = outline(platform, live).await?;
    let all = live.values().map(|live| &*live.challenge);
    Ok(Snapshot { exported: exported(platform, all).await?, ..outline })
}

/// As [`snapshot`], without the files out of images.
async fn outline<'a>(platform: &Platform, live: &'a LiveSet) -> Answer<Snapshot<'a>> {
    let (solves, launches) = (platform.solves().await?, platform.launches().await?);
    Ok(Snapshot { live, solves, launches, exported: BTreeMap::new(), now: platform.now() })
}

/// The files out of images of `challenges`, where they have any.
async fn exported(
    platform: &Platform,
    challenges: impl Iterator<Item = &Challenge>,
) -> Answer<BTreeMap<ChallengeId, Vec<AttachmentInfo>>> {
    let mut exported = BTreeMap::new();
    for challenge in challenges.filter(|challenge| !challenge.metadata.exports.is_empty()) {
        let files = attachments::exported(platform, challenge).await?;
        exported.insert(challenge.id.clone(), files);
    }
    Ok(exported)
}

/// What the caller's teams solved and run, in `competition` or anywhere; `None` without a team.
async fn progress(
    platform: &Platform,
    caller: Option<&Caller>,
    tally: &Tally,
    competition: &str,
) -> Answer<Option<Progress>> {
    let Some(caller) = caller.filter(|caller| !caller.memberships.is_empty()) else {
        return Ok(None);
    };
    let is_wanted = |id: &str| competition.is_empty() || id == competition;
    let mut instances = platform.instances(caller).await?;
    instances.retain(|instance| is_wanted(&instance.competition));
    let running = instances.into_iter().map(|instance| instance.challenge).collect();
    let own = caller.memberships.iter().filter(|it| is_wanted(it.competition.as_str()));
    let solved = own.flat_map(|it| tally.touched_by(it.team)).collect();
    Ok(Some(Progress { solved, running }))
}

/// The page of the rows that `filter` admits, in the wanted order; the others are not projected.
pub(crate) async fn rows(
    platform: &Platform,
    caller: &Maybe,
    filter: &Filter,
    page: PageParams,
) -> Answer<Page<ChallengeInfo>> {
    let (caller, competition) = (caller.0.as_ref(), filter.competition_id.as_str());
    let live = platform.catalogue(caller, competition);
    let outline = outline(platform, &live).await?;
    // What a team runs costs a look at the database.
    let progress = match filter.is_about_progress() {
        true => progress(platform, caller, outline.solves.tally(), competition).await?,
        false => None,
    };
    let viewer = caller.map_or(Viewer::Anyone, |caller| viewer_in(caller, competition));
    let wanted = outline.visible().into_iter();
    let mut wanted: Vec<&Challenge> =
        wanted.filter(|challenge| filter.admits(challenge, progress.as_ref())).collect();
    if let Ok(contest) = platform.contest(caller, competition) {
        // The order of its maker; what is not named one by one follows as the folders are.
        wanted
            .sort_by_cached_key(|challenge| contest.position(&challenge.id).unwrap_or(usize::MAX));
    }
    let n_solves = |challenge| match needs_solves(&filter.sort) {
        true => outline.solves.tally().n_full_solves(challenge),
        false => 0,
    };
    let listed = |challenge| Listed { challenge, n_solves: n_solves(challenge) };
    let listed = sort_by(wanted.into_iter().map(listed).collect(), &filter.sort);
    let shown = Page::of(listed, page).map(|row| row.challenge);
    let exported = exported(platform, shown.items.iter().copied()).await?;
    let snapshot = Snapshot { exported, ..outline };
    Ok(shown.map(|challenge| snapshot.project(challenge, &viewer)))
}

/// Every challenge that players can start, filtered and sorted.
#[utoipa::path(get, path = "/challenges", tag = "challenges", params(Filter, PageParams),
    responses((status = 200, body = Page<ChallengeInfo>), (status = 422, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    caller: Maybe,
    Query((filter, page)): Query<(Filter, PageParams)>,
) -> Answer<Json<Page<ChallengeInfo>>> {
    Ok(Json(rows(&platform, &caller, &filter, page).await?))
}

/// How many challenges there are of each kind, and how many of them the caller's team solved.
#[utoipa::path(get, path = "/challenges/facets", tag = "challenges",
    params(("competition_id" = Option<String>, Query, description = "only what this competition offers")),
    responses((status = 200, body = ChallengeFacets)))]
async fn count(
    State(platform): State<Platform>,
    caller: Maybe,
    Query(filter): Query<Filter>,
) -> Answer<Json<ChallengeFacets>> {
    let (caller, competition) = (caller.0.as_ref(), filter.competition_id.as_str());
    let live = platform.catalogue(caller, competition);
    let snapshot = snapshot(&platform, &live).await?;
    let progress = progress(&platform, caller, snapshot.solves.tally(), competition).await?;
    let visible = snapshot.visible();
    Ok(Json(facets(&visible, progress.as_ref())))
}

/// One challenge.
#[utoipa::path(get, path = "/challenges/{challenge_id}", tag = "challenges",
    params(("challenge_id" = String, Path)),
    responses((status = 200, body = ChallengeInfo), (status = 404, body = Envelope)))]
async fn one(
    State(platform): State<Platform>,
    caller: Maybe,
    Path(id): Path<String>,
) -> Answer<Json<ChallengeInfo>> {
    let live = platform.catalogue(caller.0.as_ref(), "");
    let snapshot = snapshot(&platform, &live).await?;
    let challenge = visible(&platform, &live, &id)?;
    Ok(Json(snapshot.project(challenge, &caller.viewer())))
}

/// The challenge `id` of `live`, if players may know of it.
pub(crate) fn visible<'a>(
    platform: &Platform,
    live: &'a LiveSet,
    id: &str,
) -> Result<&'a Challenge, ApiError> {
    let found = id.parse().ok().and_then(|id| live.get(&id));
    found
        .map(|live| &*live.challenge)
        .filter(|challenge| is_visible(challenge, platform.now()))
        .ok_or_else(|| PlatformError::ChallengeNotFound { id: id.to_owned() }.into())
}

/// Whose view an authenticated caller has.
pub(crate) fn viewer_of(caller: &Caller) -> Viewer {
    viewer_in(caller, "")
}

/// Whose view an authenticated caller has of what a competition offers: what a team solved in one
/// unlocks nothing in another.
pub(crate) fn viewer_in(caller: &Caller, competition: &str) -> Viewer {
    match caller.role {
        Role::Admin => Viewer::Operator,
        Role::Player => {
            let own = caller.memberships.iter();
            let own =
                own.filter(|it| competition.is_empty() || it.competition.as_str() == competition);
            Viewer::Teams(own.map(|it| it.team).collect())
        }
    }
}
