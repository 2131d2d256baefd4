//! How long players and authors wait, beside the floor measured in the same run.
//!
//! `make bench` runs everything; `cargo bench -- start` only what has `start` in its name. Numbers
//! are medians in milliseconds; a ratio is to the bare engine calls for the same containers.
//! Nothing here asserts: goals are printed beside what was seen.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::disallowed_methods, reason = "the bench is no part of the daemon")]

mod apart;
mod catalogue;
mod check;
mod cluster;
mod converged;
mod engagement;
mod floor;
mod ingress;
mod load;
mod placement;
mod planner;
mod platform;
mod process;
mod releases;
mod render;
mod report;
mod ssh;
mod vpn;
mod wall;
mod wrk;

use anyhow::Result;

use crate::platform::Platform;
use crate::report::Report;

/// Runs of each start; `FLAGOPS_BENCH_RUNS` changes it.
const RUNS: usize = 20;

fn main() -> Result<()> {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let runs =
        std::env::var("FLAGOPS_BENCH_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(RUNS);
    let runtime = tokio::runtime::Runtime::new()?;
    if wall::is_inside() {
        return runtime.block_on(wall::inside());
    }
    let mut report = Report::new();
    let wants = |name: &str| name.contains(&filter);
    if wants("reconcile") || wants("rss") {
        catalogue::run(&mut report)?;
    }
    if wants("plan") {
        planner::run(&mut report)?;
    }
    if wants("place") {
        placement::run(&mut report)?;
    }
    if wants("wall") {
        wall::run(&mut report)?;
    }
    if wants("check") {
        check::run(&mut report, runs)?;
        check::hostile(&mut report);
    }
    if wants("vpn") {
        vpn::keys(&mut report, runs)?;
    }
    if wants("render") {
        render::run(&mut report, runs)?;
    }
    if wants("release") {
        runtime.block_on(releases::live(&mut report, runs))?;
        runtime.block_on(releases::called(&mut report, runs))?;
        runtime.block_on(releases::preview(&mut report, runs))?;
    }
    if wants("ingress") {
        runtime.block_on(ingress::run(&mut report))?;
    }
    if wants("nodes") {
        runtime.block_on(apart::run(&mut report, runs))?;
        runtime.block_on(cluster::run(&mut report))?;
    }
    if wants("api") {
        runtime.block_on(load::run(&mut report))?;
    }
    if wants("no-op") {
        runtime.block_on(converged::no_op(&mut report))?;
    }
    if wants("recovery") {
        runtime.block_on(converged::recovery(&mut report))?;
    }
    if wants("start") || wants("stop") || wants("parallel") {
        runtime.block_on(starts(&mut report, runs))?;
    }
    if wants("engagement start") {
        runtime.block_on(engagement::run(&mut report, runs))?;
    }
    report.print();
    Ok(())
}

/// Starts and stops, ours and the floor's by turns, so that a noisy machine disturbs both.
async fn starts(report: &mut Report, runs: usize) -> Result<()> {
    let platform = Platform::start(&[("ONE-001", 1), ("TWO-001", 2)]).await?;
    let bare = floor::Bare::connect().await?;
    for (challenge, n_services, name) in
        [("ONE-001", 1, "start, one service"), ("TWO-001", 2, "start, two services")]
    {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        let (mut our_stops, mut floor_stops) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let started = platform.start_instance(challenge).await?;
            ours.push(started.took);
            our_stops.push(platform.stop_instance(&started.id).await?);
            let launched = bare.launch(n_services).await?;
            floor.push(launched.took);
            floor_stops.push(bare.remove(launched).await?);
        }
        report.ratio(name, &ours, &floor, 1.3);
        report.ratio(&name.replace("start", "stop"), &our_stops, &floor_stops, f64::NAN);
    }
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..(runs / 5).max(3) {
        ours.push(platform.start_many("ONE-001", 10).await?);
        floor.push(bare.launch_many(10, 4).await?);
    }
    report.ratio("parallel, ten starts", &ours, &floor, 1.2);
    Ok(())
}
