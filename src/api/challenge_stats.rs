//! How challenges start, fail and are solved, in numbers (administrators).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::chart::{Bars, Chart, percentile};
use super::error::{Answer, Envelope};
use super::extract::{FromParams, Params, Path, Query};
use super::page::{Page, PageParams};
use super::standings::as_u32;
use crate::contest::tally::Tally;
use crate::daemon::platform::{Platform, PlatformError};
use crate::model::{Challenge, ChallengeId, TeamId, Timestamp};
use crate::store::Launch;

/// How many of the last starts are listed one by one.
const N_RECENT: usize = 20;
/// Upper ends of the bars of the histogram, in milliseconds, and their names.
const LATENCIES: [(i64, &str); 5] =
    [(1000, "<1s"), (2000, "1-2s"), (5000, "2-5s"), (10_000, "5-10s"), (i64::MAX, "10s+")];

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(stats))
        .routes(routes!(timeseries))
        .routes(routes!(latency_histogram))
}

/// How one challenge goes.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct AdminChallengeStatsRow {
    challenge_id: String,
    name: String,
    category: &'static str,
    difficulty: &'static str,
    tags: Vec<String>,
    question_count: u32,
    launches: u32,
    /// Starts that ended in an error.
    errors: u32,
    /// Of the launches; 0 to 1.
    error_rate: f64,
    /// Teams that have every question, of those that started it; 0 to 1.
    solve_rate: f64,
    /// Seconds until it was usable, where it was.
    avg_launch_s: f64,
    p50_launch_s: f64,
    p95_launch_s: f64,
    /// Of the last twenty, the newest last.
    recent_launch_durations: Vec<f64>,
    /// Instances that are not over.
    running_count: u32,
    last_error: Option<AdminChallengeLastError>,
}

/// The last start that ended in an error.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct AdminChallengeLastError {
    instance_id: String,
    message: String,
    ts: f64,
}

/// One challenge over time.
#[derive(Debug, Serialize, ToSchema)]
struct AdminChallengeTimeseries {
    challenge_id: String,
    window_s: i64,
    bucket_s: i64,
    buckets: Vec<AdminChallengeTimeseriesBucket>,
}

/// Some seconds of it.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct AdminChallengeTimeseriesBucket {
    /// When it begins, in Unix seconds.
    ts: f64,
    launches: u32,
    errors: u32,
    error_rate: f64,
    p50_launch_s: f64,
    p95_launch_s: f64,
    /// Whether it is not over.
    partial: bool,
}

/// How many starts took so long.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct AdminChallengeLatencyBucket {
    label: &'static str,
    count: u32,
}

/// Which rows are wanted, and in which order.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Part of id and name, in any case.
    #[param(required = false)]
    q: String,
    /// One tag, exactly.
    #[param(required = false)]
    tag: String,
    /// `error_rate` (also without one), `solve_rate`, `launches`, `errors`, `running_count`,
    /// `p95_launch_s`: the highest first; or `name`.
    #[param(required = false)]
    sort: String,
    /// Only what this competition offers, and starts in it.
    #[param(required = false)]
    competition_id: String,
}

impl FromParams for Wanted {
    fn read(params: &mut Params) -> Self {
        Self {
            q: params.text("q"),
            tag: params.text("tag"),
            sort: params.text("sort"),
            competition_id: params.text("competition_id"),
        }
    }
}

impl Wanted {
    fn admits(&self, challenge: &Challenge) -> bool {
        let metadata = &challenge.metadata;
        let text = format!("{} {}", challenge.id, metadata.name).to_lowercase();
        (self.q.is_empty() || text.contains(&self.q.to_lowercase()))
            && (self.tag.is_empty() || metadata.tags.contains(&self.tag))
    }

    fn order(&self, a: &AdminChallengeStatsRow, b: &AdminChallengeStatsRow) -> Ordering {
        let number = |row: &AdminChallengeStatsRow| match self.sort.as_str() {
            "solve_rate" => row.solve_rate,
            "launches" => f64::from(row.launches),
            "errors" => f64::from(row.errors),
            "running_count" => f64::from(row.running_count),
            "p95_launch_s" => row.p95_launch_s,
            "name" => 0.0,
            _ => row.error_rate,
        };
        let by_name = a.name.cmp(&b.name).then_with(|| a.challenge_id.cmp(&b.challenge_id));
        number(b).total_cmp(&number(a)).then(by_name)
    }
}

/// A fraction; 0 of nothing.
fn fraction(part: u32, whole: u32) -> f64 {
    if whole == 0 { 0.0 } else { f64::from(part) / f64::from(whole) }
}

/// Starts, failures and how long the others took.
struct Sums {
    launches: u32,
    errors: u32,
    /// Sorted, in seconds.
    durations: Vec<f64>,
}

impl Sums {
    fn of(launches: &[&Launch]) -> Self {
        let mut durations: Vec<f64> = launches.iter().filter_map(|it| duration(it)).collect();
        durations.sort_by(f64::total_cmp);
        Self {
            launches: as_u32(launches.len()),
            errors: as_u32(launches.iter().filter(|it| it.error.is_some()).count()),
            durations,
        }
    }

    fn error_rate(&self) -> f64 {
        fraction(self.errors, self.launches)
    }

    fn average(&self) -> f64 {
        let n = self.durations.len();
        if n == 0 { 0.0 } else { self.durations.iter().sum::<f64>() / f64::from(as_u32(n)) }
    }
}

/// Seconds until it was usable.
fn duration(launch: &Launch) -> Option<f64> {
    Some(Timestamp::from_millis(launch.launch_millis()?).as_secs_f64())
}

fn row(challenge: &Challenge, launches: &[&Launch], tally: &Tally) -> AdminChallengeStatsRow {
    let sums = Sums::of(launches);
    let teams: BTreeSet<TeamId> = launches.iter().map(|it| it.team).collect();
    let n_solved = teams.iter().filter(|team| tally.has_solved(**team, challenge)).count();
    let recent: Vec<f64> = launches.iter().filter_map(|it| duration(it)).collect();
    let last_error = launches.iter().rev().find_map(|it| {
        Some(AdminChallengeLastError {
            instance_id: it.instance.to_string(),
            message: it.error.clone()?,
            ts: it.ended_at.unwrap_or(it.created_at).as_secs_f64(),
        })
    });
    let metadata = &challenge.metadata;
    AdminChallengeStatsRow {
        challenge_id: challenge.id.to_string(),
        name: metadata.name.clone(),
        category: metadata.category.as_str(),
        difficulty: metadata.difficulty.as_str(),
        tags: metadata.tags.clone(),
        question_count: as_u32(metadata.questions.len()),
        launches: sums.launches,
        errors: sums.errors,
        error_rate: sums.error_rate(),
        solve_rate: fraction(as_u32(n_solved), as_u32(teams.len())),
        avg_launch_s: sums.average(),
        p50_launch_s: percentile(&sums.durations, 50),
        p95_launch_s: percentile(&sums.durations, 95),
        recent_launch_durations: recent
            .get(recent.len().saturating_sub(N_RECENT)..)
            .unwrap_or_default()
            .to_vec(),
        running_count: as_u32(launches.iter().filter(|it| it.ended_at.is_none()).count()),
        last_error,
    }
}

fn by_challenge(launches: &[Launch]) -> BTreeMap<&ChallengeId, Vec<&Launch>> {
    let mut all: BTreeMap<&ChallengeId, Vec<&Launch>> = BTreeMap::new();
    for launch in launches {
        all.entry(&launch.challenge).or_default().push(launch);
    }
    all
}

/// How each live challenge starts, fails and is solved; the one with most errors first.
#[utoipa::path(get, path = "/admin/challenges/stats", tag = "admin", security(("bearer" = [])),
    params(Wanted, PageParams),
    responses((status = 200, body = Page<AdminChallengeStatsRow>), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn stats(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Query((wanted, page)): Query<(Wanted, PageParams)>,
) -> Answer<Json<Page<AdminChallengeStatsRow>>> {
    let mut launches = platform.launches_since(Timestamp::from_millis(0)).await?;
    let seen = if wanted.competition_id.is_empty() {
        platform.live()
    } else {
        let contest = platform.contest(Some(&caller), &wanted.competition_id)?;
        launches.retain(|launch| launch.competition == contest.id.as_str());
        std::sync::Arc::new(platform.offered(Some(&caller), &contest))
    };
    let solves = platform.solves().await?;
    let tally = solves.tally();
    let by_challenge = by_challenge(&launches);
    let challenges = seen.values().map(|live| &*live.challenge);
    let mut rows: Vec<_> = challenges
        .filter(|challenge| wanted.admits(challenge))
        .map(|challenge| {
            let own = by_challenge.get(&challenge.id).map(Vec::as_slice).unwrap_or_default();
            row(challenge, own, tally)
        })
        .collect();
    rows.sort_by(|a, b| wanted.order(a, b));
    Ok(Json(Page::of(rows, page)))
}

/// How one challenge started and failed over time. Bars end now; the last is not over.
#[utoipa::path(get, path = "/admin/challenges/{challenge_id}/timeseries", tag = "admin",
    security(("bearer" = [])), params(("challenge_id" = String, Path), Chart),
    responses((status = 200, body = AdminChallengeTimeseries), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope)))]
async fn timeseries(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(id): Path<String>,
    Query(chart): Query<Chart>,
) -> Answer<Json<AdminChallengeTimeseries>> {
    let unknown = || PlatformError::ChallengeNotFound { id: id.clone() };
    let challenge: ChallengeId = id.parse().map_err(|_| unknown())?;
    let bars = Bars::of(chart, platform.now());
    let mut launches = platform.launches_since(bars.since).await?;
    launches.retain(|launch| launch.challenge == challenge);
    if launches.is_empty() && !platform.live().contains_key(&challenge) {
        return Err(unknown().into());
    }
    Ok(Json(AdminChallengeTimeseries {
        challenge_id: challenge.to_string(),
        window_s: chart.window,
        bucket_s: chart.bucket,
        buckets: buckets(&bars, &launches),
    }))
}

fn buckets(bars: &Bars, launches: &[Launch]) -> Vec<AdminChallengeTimeseriesBucket> {
    let mut own = vec![Vec::new(); bars.n_bars];
    for launch in launches {
        if let Some(nth) = bars.position(launch.created_at) {
            own[nth].push(launch);
        }
    }
    let bucket = |(nth, launches): (usize, Vec<&Launch>)| {
        let sums = Sums::of(&launches);
        AdminChallengeTimeseriesBucket {
            ts: bars.begin(nth).as_secs_f64(),
            launches: sums.launches,
            errors: sums.errors,
            error_rate: sums.error_rate(),
            p50_launch_s: percentile(&sums.durations, 50),
            p95_launch_s: percentile(&sums.durations, 95),
            partial: bars.is_partial(nth),
        }
    };
    own.into_iter().enumerate().map(bucket).collect()
}

/// How long starts took until their instance was usable, over all challenges.
#[utoipa::path(get, path = "/admin/challenges/latency-histogram", tag = "admin",
    security(("bearer" = [])),
    responses((status = 200, body = Vec<AdminChallengeLatencyBucket>),
        (status = 403, body = Envelope)))]
async fn latency_histogram(
    State(platform): State<Platform>,
    _admin: Admin,
) -> Answer<Json<Vec<AdminChallengeLatencyBucket>>> {
    let launches = platform.launches_since(Timestamp::from_millis(0)).await?;
    Ok(Json(histogram(launches.iter().filter_map(Launch::launch_millis))))
}

fn histogram(millis: impl Iterator<Item = i64>) -> Vec<AdminChallengeLatencyBucket> {
    let mut bars = LATENCIES.map(|(_, label)| AdminChallengeLatencyBucket { label, count: 0 });
    for took in millis {
        let nth = LATENCIES.iter().position(|(end, _)| took < *end).unwrap_or(LATENCIES.len() - 1);
        bars[nth].count += 1;
    }
    bars.into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{challenge, question, solve, team};
    use super::*;
    use crate::contest::tally::Solves;
    use crate::model::{InstanceId, InstancePhase, NodeId};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn launch(team_n: u8, created_at: i64, took: Option<i64>, error: Option<&str>) -> Launch {
        Launch {
            instance: InstanceId::new(uuid::Uuid::from_u128(1)),
            challenge: "WEB-001".parse().unwrap(),
            team: team(team_n).id,
            competition: "default".to_owned(),
            node: NodeId::local(),
            phase: InstancePhase::Stopped,
            error: error.map(str::to_owned),
            created_at: at(created_at),
            ready_at: took.map(|took| at(created_at + took)),
            ended_at: error.map(|_| at(created_at + 9000)),
        }
    }

    #[test]
    fn a_row_counts_starts_failures_and_who_solved_it() {
        let launches = [
            launch(1, 0, Some(1000), None),
            launch(1, 10, Some(3000), None),
            launch(2, 20, None, Some("it died")),
            launch(3, 30, Some(2000), None),
        ];
        let web = challenge("WEB-001", vec![question("flag")]);
        let solves = Solves::of(vec![solve(1, "WEB-001", "flag", 60)]);
        let tally = solves.tally();
        let row = row(&web, &launches.iter().collect::<Vec<_>>(), tally);
        assert_eq!((row.launches, row.errors, row.running_count), (4, 1, 3));
        assert_eq!((row.error_rate, row.solve_rate), (0.25, 1.0 / 3.0));
        assert_eq!((row.avg_launch_s, row.p50_launch_s, row.p95_launch_s), (2.0, 2.0, 3.0));
        assert_eq!(row.recent_launch_durations, [1.0, 3.0, 2.0]);
        assert_eq!(row.last_error.unwrap().message, "it died");
    }

    #[test]
    fn the_challenge_with_most_errors_comes_first_and_names_break_ties() {
        let tally = Tally::default();
        let named = |id: &str, launches: &[Launch]| {
            row(&challenge(id, vec![]), &launches.iter().collect::<Vec<_>>(), &tally)
        };
        let good = [launch(1, 0, Some(1000), None)];
        let bad = [launch(1, 0, None, Some("no"))];
        let mut rows = [named("B-1", &good), named("C-1", &bad), named("A-1", &good)];
        let order = |rows: &mut [AdminChallengeStatsRow], sort: &str| {
            let wanted = Wanted { sort: sort.to_owned(), ..Wanted::default() };
            rows.sort_by(|a, b| wanted.order(a, b));
            rows.iter().map(|row| row.challenge_id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(order(&mut rows, ""), ["C-1", "A-1", "B-1"]);
        assert_eq!(order(&mut rows, "p95_launch_s"), ["A-1", "B-1", "C-1"]);
        assert_eq!(order(&mut rows, "name"), ["A-1", "B-1", "C-1"]);
    }

    #[test]
    fn starts_are_sorted_into_bars_by_how_long_they_took() {
        let counts: Vec<_> = histogram([0, 999, 1000, 4999, 5000, 60_000].into_iter())
            .into_iter()
            .map(|bar| (bar.label, bar.count))
            .collect();
        assert_eq!(counts, [("<1s", 2), ("1-2s", 1), ("2-5s", 1), ("5-10s", 1), ("10s+", 1)]);
    }

    #[test]
    fn bars_over_time_have_their_own_starts_only() {
        let bars = Bars::of(Chart { window: 120, bucket: 60 }, at(120_000));
        let launches = [
            launch(1, 1000, Some(500), None),
            launch(1, 61_000, None, Some("no")),
            launch(1, -1, Some(1), None),
        ];
        let seen: Vec<_> = buckets(&bars, &launches)
            .into_iter()
            .map(|it| (it.launches, it.error_rate, it.p50_launch_s, it.partial))
            .collect();
        assert_eq!(seen, [(1, 0.0, 0.5, false), (1, 1.0, 0.0, true)]);
    }
}
