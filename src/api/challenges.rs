//! The catalogue's routes: list, facets, one challenge.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attachments;
use super::auth::Maybe;
use super::catalogue::{
    ChallengeFacets, ChallengeInfo, Filter, Progress, Snapshot, Viewer, facets, is_visible, sort_by,
};
use super::error::{Answer, ApiError, Envelope};
use super::extract::{Path, Query};
use super::page::{Page, PageParams};
use super::standings::Tally;
use crate::daemon::platform::{LiveSet, Platform, PlatformError};
use crate::model::{Caller, Challenge, Role};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(count)).routes(routes!(one))
}

impl Maybe {
    /// Whose view the caller has.
    pub(crate) fn viewer(&self) -> Viewer {
        self.0.as_ref().map_or(Viewer::Anyone, viewer_of)
    }
}

/// Everything the projections need, read once.
pub(crate) async fn snapshot<'a>(platform: &Platform, live: &'a LiveSet) -> Answer<Snapshot<'a>> {
    let tally = Tally::of(&platform.solves().await?);
    let mut exported = BTreeMap::new();
    for live in live.values().filter(|live| !live.challenge.metadata.exports.is_empty()) {
        let files = attachments::exported(platform, &live.challenge).await?;
        exported.insert(live.challenge.id.clone(), files);
    }
    let launches = platform.launches().await?;
    Ok(Snapshot { live, tally, launches, exported, now: platform.now() })
}

/// What the caller's team solved and runs; `None` without a team.
async fn progress(
    platform: &Platform,
    caller: Option<&Caller>,
    tally: &Tally,
) -> Answer<Option<Progress>> {
    let Some((caller, team)) = caller.and_then(|caller| Some((caller, caller.team()?))) else {
        return Ok(None);
    };
    let instances = platform.instances(caller).await?;
    let running = instances.into_iter().map(|instance| instance.challenge).collect();
    Ok(Some(Progress { solved: tally.touched_by(team), running }))
}

/// The rows that `filter` admits, in the wanted order.
pub(crate) async fn rows(
    platform: &Platform,
    caller: &Maybe,
    filter: &Filter,
) -> Answer<Vec<ChallengeInfo>> {
    let live = platform.live();
    let snapshot = snapshot(platform, &live).await?;
    let progress = progress(platform, caller.0.as_ref(), &snapshot.tally).await?;
    let wanted = snapshot.visible().into_iter();
    let wanted = wanted.filter(|challenge| filter.admits(challenge, progress.as_ref()));
    let rows = wanted.map(|challenge| snapshot.project(challenge, caller.viewer())).collect();
    Ok(sort_by(rows, &filter.sort))
}

/// Every challenge that players can start, filtered and sorted.
#[utoipa::path(get, path = "/challenges", tag = "challenges", params(Filter, PageParams),
    responses((status = 200, body = Page<ChallengeInfo>), (status = 422, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    caller: Maybe,
    Query((filter, page)): Query<(Filter, PageParams)>,
) -> Answer<Json<Page<ChallengeInfo>>> {
    Ok(Json(Page::of(rows(&platform, &caller, &filter).await?, page)))
}

/// How many challenges there are of each kind, and how many of them the caller's team solved.
#[utoipa::path(get, path = "/challenges/facets", tag = "challenges",
    params(("competition_id" = Option<String>, Query, description = "`default`; any other id counts nothing")),
    responses((status = 200, body = ChallengeFacets)))]
async fn count(
    State(platform): State<Platform>,
    caller: Maybe,
    Query(filter): Query<Filter>,
) -> Answer<Json<ChallengeFacets>> {
    let filter = Filter { competition_id: filter.competition_id, ..Filter::default() };
    let live = platform.live();
    let snapshot = snapshot(&platform, &live).await?;
    let progress = progress(&platform, caller.0.as_ref(), &snapshot.tally).await?;
    let mut visible = snapshot.visible();
    visible.retain(|challenge| filter.admits(challenge, None));
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
    let live = platform.live();
    let snapshot = snapshot(&platform, &live).await?;
    let challenge = visible(&platform, &live, &id)?;
    Ok(Json(snapshot.project(challenge, caller.viewer())))
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
    match caller.role {
        Role::Admin => Viewer::Operator,
        Role::Player { team } => Viewer::Team(team),
    }
}
