//! Competitions: what there is, when, and how the caller stands in it.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Maybe;
use super::catalogue::{ChallengeInfo, Filter};
use super::challenges;
use super::error::{Answer, Envelope};
use super::extract::{FromParams, Params, Path, Query};
use super::page::{Page, PageParams};
use super::standings::{self, ScoreboardEntry, as_u32};
use crate::contest::Contest;
use crate::contest::competition::{Origin, Phase};
use crate::daemon::platform::Platform;
use crate::model::{Caller, CompetitionId, Team, TeamId};

/// For how many registered rows of a listing places are worked out.
const MAX_RANKED: usize = 12;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one)).routes(routes!(challenges_of))
}

/// A competition in a listing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct CompetitionInfo {
    pub(crate) id: String,
    title: String,
    description: String,
    starts_at: Option<String>,
    ends_at: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
    created_by: String,
    created_by_name: String,
    /// What is offered now; before the beginning only for who runs it.
    challenge_ids: Vec<String>,
    /// `draft`, `published` or `archived`.
    status: &'static str,
    /// `public`, `private_listed` or `private_hidden`.
    access: &'static str,
    /// `upcoming`, `running` or `past`.
    pub(crate) phase: &'static str,
    registered_count: u32,
    is_registered: bool,
    can_participate: bool,
    my_team_id: String,
    my_team_name: String,
    /// `captain`, `member`, or empty.
    my_role: &'static str,
    /// −1 without a team, before the beginning, and for late rows of a listing; likewise below.
    my_rank: i64,
    my_score: i64,
    my_solves: i64,
    /// Where it comes from: `builtin`, `git` or `api`. What is in git changes by a commit only.
    source: &'static str,
    /// The file and commit that declare it; null unless it comes from git.
    declared_in: Option<DeclaredIn>,
    /// From when the standings stay as they are until the end.
    freeze_at: Option<String>,
    /// Whether it can be played after its end.
    practice: bool,
}

/// Where a competition is declared.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct DeclaredIn {
    path: String,
    revision: String,
}

/// A competition with its challenges.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct CompetitionDetail {
    #[serde(flatten)]
    info: CompetitionInfo,
    challenges: Vec<ChallengeInfo>,
    registered_at: Option<String>,
}

/// Which competitions are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct InPhase {
    /// `upcoming`, `running` or `past`.
    #[param(required = false)]
    phase: String,
}

impl FromParams for InPhase {
    fn read(params: &mut Params) -> Self {
        Self { phase: params.word("phase", &["upcoming", "running", "past"]) }
    }
}

/// The one team of a caller who is not asked in which competition.
pub(crate) fn role_of(caller: &Caller, team: &Team) -> &'static str {
    match (&caller.account, team.captain) {
        (Some(account), Some(captain)) if account.id == captain => "captain",
        (Some(_), _) | (None, Some(_)) => "member",
        (None, None) => "captain",
    }
}

/// Whether places are worked out, which costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// They are.
    Ranked,
    /// They are not.
    Left,
}

/// The competition as `caller` sees it.
pub(crate) async fn describe(
    platform: &Platform,
    caller: Option<&Caller>,
    contest: &Contest,
    n_teams: &BTreeMap<CompetitionId, usize>,
    places: Places,
) -> Answer<CompetitionInfo> {
    let offered = platform.offered(caller, contest);
    let mut ids: Vec<_> = offered.values().map(|live| &*live.challenge).collect();
    ids.sort_by_key(|it| (contest.position(&it.id).unwrap_or(usize::MAX), &it.bucket, &it.id));
    let phase = contest.phase(platform.now());
    let own = caller.and_then(|caller| caller.team_in(&contest.id));
    let team = match own {
        Some(id) => Some(platform.team(id).await?),
        None => None,
    };
    let row = match own {
        Some(team) if places == Places::Ranked && phase != Phase::Upcoming => {
            own_row(&standings::of(platform, contest).await?, team).cloned()
        }
        _ => None,
    };
    let (created_by, created_by_name, source, declared_in) = match &contest.origin {
        Origin::BuiltIn => (String::new(), "flagops".to_owned(), "builtin", None),
        Origin::File { path, revision } => {
            let declared_in = DeclaredIn { path: path.clone(), revision: revision.to_string() };
            (String::new(), "git".to_owned(), "git", Some(declared_in))
        }
        Origin::Api { by, by_name } => {
            let by = by.map(|by| by.to_string()).unwrap_or_default();
            (by, by_name.clone(), "api", None)
        }
    };
    Ok(CompetitionInfo {
        id: contest.id.to_string(),
        title: contest.title.clone(),
        description: contest.description.clone(),
        starts_at: contest.starts_at.map(|at| at.rfc3339()),
        ends_at: contest.ends_at.map(|at| at.rfc3339()),
        created_at: Some(contest.created_at.rfc3339()),
        updated_at: Some(contest.updated_at.rfc3339()),
        created_by,
        created_by_name,
        challenge_ids: ids.into_iter().map(|challenge| challenge.id.to_string()).collect(),
        status: contest.status.as_str(),
        access: contest.access.as_str(),
        phase: phase.as_str(),
        registered_count: as_u32(n_teams.get(&contest.id).copied().unwrap_or(0)),
        is_registered: own.is_some(),
        can_participate: platform.may_take_part(caller, contest),
        my_team_id: own.map(|team| team.to_string()).unwrap_or_default(),
        my_team_name: team.as_ref().map(|team| team.name.clone()).unwrap_or_default(),
        my_role: caller.zip(team.as_ref()).map_or("", |(caller, team)| role_of(caller, team)),
        my_rank: row.as_ref().map_or(-1, |row| i64::from(row.rank)),
        my_score: row.as_ref().map_or(-1, |row| i64::try_from(row.score).unwrap_or(i64::MAX)),
        my_solves: row.as_ref().map_or(-1, |row| i64::from(row.solved)),
        source,
        declared_in,
        freeze_at: contest.freeze_at.map(|at| at.rfc3339()),
        practice: contest.practice,
    })
}

/// The row of one team.
pub(crate) fn own_row(table: &[ScoreboardEntry], team: TeamId) -> Option<&ScoreboardEntry> {
    let id = team.to_string();
    table.iter().find(|row| row.team_id == id)
}

/// The competitions `contests` as the caller sees them: those that began last first.
pub(crate) async fn rows(
    platform: &Platform,
    caller: Option<&Caller>,
    mut contests: Vec<Arc<Contest>>,
) -> Answer<Vec<CompetitionInfo>> {
    contests.sort_by_key(|it| std::cmp::Reverse((it.starts_at, it.created_at, it.id.clone())));
    let n_teams = platform.n_teams().await?;
    let (mut rows, mut n_ranked) = (Vec::new(), 0);
    for contest in contests {
        let is_own = caller.is_some_and(|caller| caller.team_in(&contest.id).is_some());
        n_ranked += usize::from(is_own);
        let places = if n_ranked <= MAX_RANKED { Places::Ranked } else { Places::Left };
        rows.push(describe(platform, caller, &contest, &n_teams, places).await?);
    }
    Ok(rows)
}

/// Every competition that the caller sees, those that began last first.
#[utoipa::path(get, path = "/competitions", tag = "competitions", params(InPhase, PageParams),
    responses((status = 200, body = Page<CompetitionInfo>), (status = 422, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    caller: Maybe,
    Query((wanted, page)): Query<(InPhase, PageParams)>,
) -> Answer<Json<Page<CompetitionInfo>>> {
    let caller = caller.0.as_ref();
    let now = platform.now();
    let mut contests = platform.contests(caller);
    contests.retain(|it| {
        let is_admitted = platform.contest(caller, it.id.as_str()).is_ok();
        is_admitted && (wanted.phase.is_empty() || wanted.phase == it.phase(now).as_str())
    });
    Ok(Json(Page::of(rows(&platform, caller, contests).await?, page)))
}

/// One competition with its challenges.
#[utoipa::path(get, path = "/competitions/{competition_id}", tag = "competitions",
    params(("competition_id" = String, Path)),
    responses((status = 200, body = CompetitionDetail), (status = 404, body = Envelope)))]
async fn one(
    State(platform): State<Platform>,
    caller: Maybe,
    Path(id): Path<String>,
) -> Answer<Json<CompetitionDetail>> {
    let contest = platform.contest(caller.0.as_ref(), &id)?;
    let n_teams = platform.n_teams().await?;
    let info = describe(&platform, caller.0.as_ref(), &contest, &n_teams, Places::Ranked).await?;
    let filter = Filter { competition_id: contest.id.to_string(), ..Filter::default() };
    let challenges = challenges::rows(&platform, &caller, &filter, PageParams::ALL).await?.items;
    let own = caller.0.as_ref().and_then(|caller| caller.team_in(&contest.id));
    let registered_at = match own {
        Some(team) => Some(platform.team(team).await?.created_at.rfc3339()),
        None => None,
    };
    Ok(Json(CompetitionDetail { info, challenges, registered_at }))
}

/// The challenges of a competition, filtered.
#[utoipa::path(get, path = "/competitions/{competition_id}/challenges", tag = "competitions",
    params(("competition_id" = String, Path), Filter, PageParams),
    responses((status = 200, body = Page<ChallengeInfo>), (status = 404, body = Envelope)))]
async fn challenges_of(
    State(platform): State<Platform>,
    caller: Maybe,
    Path(id): Path<String>,
    Query((filter, page)): Query<(Filter, PageParams)>,
) -> Answer<Json<Page<ChallengeInfo>>> {
    let contest = platform.contest(caller.0.as_ref(), &id)?;
    let filter = Filter { competition_id: contest.id.to_string(), ..filter };
    Ok(Json(challenges::rows(&platform, &caller, &filter, page).await?))
}
