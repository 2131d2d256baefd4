//! How the event goes, in numbers (administrators).

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::boards::{SolveMatrix, whole_matrix};
use super::chart::{Bars, Chart};
use super::error::{Answer, Envelope};
use super::extract::{FromParams, Params, Query};
use super::standings::as_u32;
use crate::daemon::platform::Platform;
use crate::model::{InstancePhase, Timestamp};
use crate::store::{Launch, RecordFilter};

/// Rows of each list of flags.
const MAX_FLAGS: usize = 50;
/// A start that takes longer than this is stuck, in milliseconds.
const STUCK_MILLIS: i64 = 60_000;
/// Starts from which on a challenge without a solve is silent.
const SILENT_LAUNCHES: u32 = 3;
/// Seconds of a day.
const DAY: i64 = 86_400;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(overview))
        .routes(routes!(health_flags))
        .routes(routes!(timeseries))
        .routes(routes!(solve_matrix))
        .routes(routes!(traffic_summary))
}

/// The event at a glance.
#[derive(Debug, Serialize, ToSchema)]
struct AdminOverview {
    nodes: AdminOverviewCounts,
    /// Instances that all healthy nodes on duty take on together.
    capacity: u32,
    running_instances: u32,
    teams_total: u32,
    solves_total: u32,
    /// Since midnight, UTC.
    solves_today: u32,
    users_total: u32,
    users_active_24h: u32,
    users_new_24h: u32,
}

/// Nodes.
#[derive(Debug, Serialize, ToSchema)]
struct AdminOverviewCounts {
    total: u32,
    healthy: u32,
}

/// What somebody should look at.
#[derive(Debug, Default, Serialize, ToSchema)]
struct AdminHealthFlags {
    /// On their way for more than a minute.
    stuck_starting: Vec<AdminStuckInstance>,
    /// Failed, the newest start first.
    recent_errors: Vec<AdminRecentError>,
    unhealthy_nodes: Vec<AdminUnhealthyNode>,
    /// Started at least three times, answered, and solved by nobody.
    silent_challenges: Vec<AdminSilentChallenge>,
}

/// An instance that is not usable yet.
#[derive(Debug, Serialize, ToSchema)]
struct AdminStuckInstance {
    instance_id: String,
    challenge_id: String,
    team_id: String,
    node_id: String,
    requested_at: f64,
    stuck_for_s: f64,
}

/// An instance that failed.
#[derive(Debug, Serialize, ToSchema)]
struct AdminRecentError {
    instance_id: String,
    challenge_id: String,
    team_id: String,
    node_id: String,
    error: String,
    stopped_at: f64,
}

/// A node that was not heard of for too long.
#[derive(Debug, Serialize, ToSchema)]
struct AdminUnhealthyNode {
    node_id: String,
    display_name: String,
    url: String,
    last_heartbeat_ts: f64,
    downtime_s: f64,
}

/// A challenge that may be broken, or too hard.
#[derive(Debug, Serialize, ToSchema)]
struct AdminSilentChallenge {
    challenge_id: String,
    name: String,
    launches: u32,
    submissions: u32,
}

/// One number over time.
#[derive(Debug, Serialize, ToSchema)]
struct AdminTimeseries {
    metric: &'static str,
    window_s: i64,
    bucket_s: i64,
    buckets: Vec<AdminTimeseriesBucket>,
}

/// Some seconds of it.
#[derive(Debug, Serialize, ToSchema)]
struct AdminTimeseriesBucket {
    /// When it begins, in Unix seconds.
    ts: f64,
    value: u32,
    /// Whether it is not over.
    partial: bool,
}

/// Captured traffic by team: none, as nothing is captured.
#[derive(Debug, Default, Serialize, ToSchema)]
struct AdminTrafficSummary {
    teams: Vec<AdminTrafficRow>,
    instances: Vec<AdminTrafficRow>,
    total_requests: u32,
}

/// Traffic of one team or instance. There is none.
#[derive(Debug, Serialize, ToSchema)]
struct AdminTrafficRow {}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    Launches,
    Submissions,
    Solves,
    RunningInstances,
    Teams,
    ActiveUsers,
}

impl Metric {
    const ALL: [Self; 6] = [
        Self::Launches,
        Self::Submissions,
        Self::Solves,
        Self::RunningInstances,
        Self::Teams,
        Self::ActiveUsers,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Launches => "launches",
            Self::Submissions => "submissions",
            Self::Solves => "solves",
            Self::RunningInstances => "running_instances",
            Self::Teams => "teams",
            Self::ActiveUsers => "active_users",
        }
    }
}

/// Which number is wanted.
#[derive(Debug, Clone, Copy, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// `launches`, `submissions`, `solves`, `teams` (new ones), `active_users` (with an account), or
    /// `running_instances` (at the end of each bucket).
    #[param(value_type = String)]
    metric: Metric,
}

impl FromParams for Wanted {
    fn read(params: &mut Params) -> Self {
        let words = Metric::ALL.map(Metric::as_str);
        let word = params.required_word("metric", &words);
        let metric = Metric::ALL.into_iter().find(|it| it.as_str() == word);
        Self { metric: metric.unwrap_or(Metric::Launches) }
    }
}

/// The event at a glance.
#[utoipa::path(get, path = "/admin/overview", tag = "admin", security(("bearer" = [])),
    responses((status = 200, body = AdminOverview), (status = 403, body = Envelope)))]
async fn overview(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<AdminOverview>> {
    let now = platform.now();
    let (day_ago, totals) = (now.plus_secs(-DAY), platform.totals().await?);
    let midnight = Timestamp::from_millis(now.as_millis() - now.as_millis().rem_euclid(DAY * 1000));
    let nodes = platform.nodes().await?;
    let n_own = usize::from(platform.has_local_node());
    let n_own_healthy = usize::from(platform.has_local_node() && platform.is_engine_ready());
    let solves = platform.solves().await?;
    let accounts = platform.accounts().await?;
    let active: BTreeSet<_> =
        platform.people_active(day_ago).await?.into_iter().map(|(_, user)| user).collect();
    let n_new = accounts.iter().filter(|row| row.account.created_at >= day_ago).count();
    Ok(Json(AdminOverview {
        nodes: AdminOverviewCounts {
            total: as_u32(nodes.len() + n_own),
            healthy: as_u32(nodes.iter().filter(|it| it.is_healthy).count() + n_own_healthy),
        },
        capacity: totals.max_instances,
        running_instances: totals.running_instances,
        teams_total: totals.teams,
        solves_total: as_u32(solves.len()),
        solves_today: as_u32(solves.iter().filter(|solve| solve.solved_at >= midnight).count()),
        users_total: as_u32(accounts.len()),
        users_active_24h: as_u32(active.len()),
        users_new_24h: as_u32(n_new),
    }))
}

/// Instances that do not start, failures, silent nodes and silent challenges; fifty of each.
#[utoipa::path(get, path = "/admin/health-flags", tag = "admin", security(("bearer" = [])),
    responses((status = 200, body = AdminHealthFlags), (status = 403, body = Envelope)))]
async fn health_flags(
    State(platform): State<Platform>,
    _admin: Admin,
) -> Answer<Json<AdminHealthFlags>> {
    let now = platform.now();
    let filter = RecordFilter {
        phase: Some(InstancePhase::Failed),
        page: (MAX_FLAGS, 0),
        ..RecordFilter::default()
    };
    let failed = platform.archive(filter).await?.0.into_iter().map(|row| row.instance);
    let errors = failed.map(|row| AdminRecentError {
        instance_id: row.id.to_string(),
        challenge_id: row.challenge.to_string(),
        team_id: row.team.to_string(),
        node_id: row.node.to_string(),
        error: row.error.unwrap_or_default(),
        stopped_at: row.stopped_at.map_or(0.0, Timestamp::as_secs_f64),
    });
    let silent = platform.nodes().await?.into_iter().filter(|it| !it.is_healthy);
    let nodes = silent.map(|state| AdminUnhealthyNode {
        node_id: state.node.id.to_string(),
        display_name: state.node.name,
        url: state.node.url,
        last_heartbeat_ts: state.node.last_beat.as_secs_f64(),
        downtime_s: secs(now.millis_since(state.node.last_beat)),
    });
    Ok(Json(AdminHealthFlags {
        stuck_starting: stuck(&platform.launches_since(now).await?, now),
        recent_errors: errors.collect(),
        unhealthy_nodes: nodes.take(MAX_FLAGS).collect(),
        silent_challenges: silent_challenges(&platform).await?,
    }))
}

fn secs(millis: i64) -> f64 {
    Timestamp::from_millis(millis.max(0)).as_secs_f64()
}

fn stuck(launches: &[Launch], now: Timestamp) -> Vec<AdminStuckInstance> {
    let is_on_its_way = |launch: &&Launch| {
        launch.phase.is_live()
            && ![InstancePhase::Ready, InstancePhase::Removing].contains(&launch.phase)
            && launch.ready_at.is_none()
            && now.millis_since(launch.created_at) > STUCK_MILLIS
    };
    let row = |launch: &Launch| AdminStuckInstance {
        instance_id: launch.instance.to_string(),
        challenge_id: launch.challenge.to_string(),
        team_id: launch.team.to_string(),
        node_id: launch.node.to_string(),
        requested_at: launch.created_at.as_secs_f64(),
        stuck_for_s: secs(now.millis_since(launch.created_at)),
    };
    launches.iter().filter(is_on_its_way).map(row).take(MAX_FLAGS).collect()
}

async fn silent_challenges(platform: &Platform) -> Answer<Vec<AdminSilentChallenge>> {
    let launches = platform.launches().await?;
    let solves = platform.solves().await?;
    let tally = solves.tally();
    let mut answers = BTreeMap::new();
    for tries in platform.tries(None).await? {
        *answers.entry(tries.challenge).or_insert(0_u32) += tries.n;
    }
    let live = platform.live();
    let row = |(id, n_launches): (_, &u32)| {
        let (challenge, n_launches) = (&live.get(id)?.challenge, *n_launches);
        let submissions = answers.get(id).copied().unwrap_or(0);
        let is_silent =
            n_launches >= SILENT_LAUNCHES && submissions > 0 && tally.n_full_solves(challenge) == 0;
        is_silent.then(|| AdminSilentChallenge {
            challenge_id: id.to_string(),
            name: challenge.metadata.name.clone(),
            launches: n_launches,
            submissions,
        })
    };
    Ok(launches.iter().filter_map(row).take(MAX_FLAGS).collect())
}

/// One number over time. Bars end now; the last is not over.
#[utoipa::path(get, path = "/admin/timeseries", tag = "admin", security(("bearer" = [])),
    params(Wanted, Chart),
    responses((status = 200, body = AdminTimeseries), (status = 403, body = Envelope),
        (status = 422, body = Envelope)))]
async fn timeseries(
    State(platform): State<Platform>,
    _admin: Admin,
    Query((wanted, chart)): Query<(Wanted, Chart)>,
) -> Answer<Json<AdminTimeseries>> {
    let metric = wanted.metric;
    let bars = Bars::of(chart, platform.now());
    let values = match metric {
        Metric::Launches => {
            let launches = platform.launches_since(bars.since).await?;
            bars.counts(launches.into_iter().map(|launch| launch.created_at))
        }
        Metric::Submissions => bars.counts(platform.answer_times(bars.since).await?),
        Metric::Solves => bars.counts(platform.solves().await?.iter().map(|solve| solve.solved_at)),
        Metric::Teams => {
            bars.counts(platform.teams().await?.into_iter().map(|team| team.created_at))
        }
        Metric::RunningInstances => running(&bars, &platform.launches_since(bars.since).await?),
        Metric::ActiveUsers => {
            let mut people = vec![BTreeSet::new(); bars.n_bars];
            for (at, user) in platform.people_active(bars.since).await? {
                if let Some(nth) = bars.position(at) {
                    people[nth].insert(user);
                }
            }
            people.iter().map(|people| as_u32(people.len())).collect()
        }
    };
    let bucket = |(nth, value)| AdminTimeseriesBucket {
        ts: bars.begin(nth).as_secs_f64(),
        value,
        partial: bars.is_partial(nth),
    };
    Ok(Json(AdminTimeseries {
        metric: metric.as_str(),
        window_s: chart.window,
        bucket_s: chart.bucket,
        buckets: values.into_iter().enumerate().map(bucket).collect(),
    }))
}

/// How many instances lived at the end of each bar.
fn running(bars: &Bars, launches: &[Launch]) -> Vec<u32> {
    // What began counts from its bar on, what ended no more from its own on.
    let mut changes = vec![0_i64; bars.n_bars];
    for launch in launches {
        let begin =
            if launch.created_at < bars.since { Some(0) } else { bars.position(launch.created_at) };
        let end = launch.ended_at.and_then(|at| bars.position(at));
        if let Some(nth) = begin {
            changes[nth] += 1;
            if let Some(nth) = end {
                changes[nth] -= 1;
            }
        }
    }
    let total = |sum: &mut i64, change: i64| {
        *sum += change;
        Some(u32::try_from(*sum).unwrap_or(0))
    };
    changes.into_iter().scan(0, total).collect()
}

/// Which team solved what, over all competitions.
#[utoipa::path(get, path = "/admin/solve-matrix", tag = "admin", security(("bearer" = [])),
    responses((status = 200, body = SolveMatrix), (status = 403, body = Envelope)))]
async fn solve_matrix(
    State(platform): State<Platform>,
    _admin: Admin,
) -> Answer<Json<SolveMatrix>> {
    Ok(Json(whole_matrix(&platform).await?))
}

/// Captured traffic: none, as nothing is captured.
#[utoipa::path(get, path = "/admin/traffic/summary", tag = "admin", security(("bearer" = [])),
    responses((status = 200, body = AdminTrafficSummary), (status = 403, body = Envelope)))]
async fn traffic_summary(_admin: Admin) -> Json<AdminTrafficSummary> {
    Json(AdminTrafficSummary::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{InstanceId, NodeId};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn launch(created_at: i64, ended_at: Option<i64>) -> Launch {
        Launch {
            instance: InstanceId::new(uuid::Uuid::from_u128(1)),
            challenge: "WEB-001".parse().unwrap(),
            team: super::super::tests::team(1).id,
            competition: "default".to_owned(),
            node: NodeId::local(),
            phase: InstancePhase::Starting,
            error: None,
            created_at: at(created_at),
            ready_at: None,
            ended_at: ended_at.map(at),
        }
    }

    #[test]
    fn an_instance_runs_in_every_bar_that_ends_while_it_lives() {
        let bars = Bars::of(Chart { window: 180, bucket: 60 }, at(1180));
        let launches = [
            launch(10, None),
            launch(900, Some(1010)),
            launch(1010, Some(1070)),
            launch(1075, None),
            launch(1100, Some(1110)),
        ];
        assert_eq!(running(&bars, &launches), [2, 2, 2]);
    }

    #[test]
    fn only_what_never_was_usable_is_stuck() {
        let mut ready = launch(0, None);
        ready.ready_at = Some(at(5));
        let stuck = stuck(&[launch(0, None), launch(50, None), ready], at(100));
        assert_eq!(stuck.iter().map(|it| it.stuck_for_s).collect::<Vec<_>>(), [100.0]);
    }
}
