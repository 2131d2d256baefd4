//! The isolation check against an engine in memory: what a miss stops, and what it leaves alone.

use std::sync::{Arc, Mutex};

use super::*;
use crate::config::Wall as Wish;
use crate::daemon::isolation::{COMPETITION, Standing};
use crate::daemon::platform::PlatformError;
use crate::model::{ConditionStatus, NodeId, TeamId};
use crate::planner::isolation::{Gate, said};
use crate::runtime::ExecOutcome;
use crate::runtime::fake::Verb;
use crate::runtime::wall::{Wall, WallState};

/// A rig with a wall that stands as the value says.
fn walled_rig() -> (Rig, Arc<Mutex<WallState>>) {
    let state = Arc::new(Mutex::new(WallState::Up));
    let mut rig = rig();
    rig.wall = Some(Arc::new(Wall::pretend(Arc::clone(&state))));
    prober_says(&rig, &[]);
    (rig, state)
}

/// What every prober says from now on: all is well, but for these rows.
fn prober_says(rig: &Rig, but: &[(&str, &str)]) {
    rig.engine.script_exec("prober", [ExecOutcome { code: 0, output: said(but) }]);
}

fn lacking() -> WallState {
    WallState::Unsupported { reason: "there is no `nft`".to_owned() }
}

async fn stated(platform: &Platform, reason: &str) -> Condition {
    let scope = Scope::Node(NodeId::local());
    until(&format!("Isolated to be {reason}"), async || {
        let stated = condition(platform, &scope, ConditionType::Isolated).await?;
        (stated.reason == reason).then_some(stated)
    })
    .await
}

fn reason(standing: &Standing) -> &'static str {
    let (Gate::Open { reason, .. } | Gate::Shut { reason, .. }) = standing.gate;
    reason
}

#[tokio::test]
async fn a_node_is_looked_at_when_it_starts_and_nothing_of_that_is_left() {
    let (rig, _) = walled_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let stated = stated(&platform, "Ok").await;
    assert_eq!(stated.status, ConditionStatus::True);
    let report = platform.isolation().report.unwrap();
    assert_eq!(report.trigger.as_str(), "start");
    assert!(report.look.rows.len() > 40 && report.look.rows.iter().all(|row| row.holds()));
    assert_eq!(platform.instances(&red).await.unwrap(), [], "players see nothing of it");
    assert_eq!(platform.counts().await.unwrap().live_instances, 0);
    nothing_is_left(&rig, &daemon).await;
    ready_instance(&daemon, &red).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_row_that_misses_stops_new_starts_until_a_later_look_finds_it_mended() {
    let (rig, _) = walled_rig();
    let (daemon, platform, red) = playing(&rig).await;
    stated(&platform, "Ok").await;
    let before = ready_instance(&daemon, &red).await;

    prober_says(&rig, &[("metadata", "reached"), ("bpf", "unknown")]);
    let standing = platform.check_isolation().await.unwrap();
    assert_eq!(reason(&standing), "RowsMissed");
    let miss = stated(&platform, "RowsMissed").await;
    assert_eq!(miss.status, ConditionStatus::False);
    assert!(miss.message.contains("metadata") && !miss.message.contains("bpf"), "{miss:?}");
    let refused = platform.start(&red, start_request("WEB-001")).await.unwrap_err();
    insta::assert_snapshot!(refused, @"no instance starts right now: the walls of this node are being repaired (RowsMissed); instances that run are not affected, try again in a few minutes");
    assert_eq!(row(&daemon, before.id).await.phase, InstancePhase::Ready, "what runs stays");

    // A look that sees nothing says nothing against what was seen.
    rig.engine.script_exec("prober", [ExecOutcome { code: 1, output: "no perl".to_owned() }]);
    let standing = platform.check_isolation().await.unwrap();
    assert_eq!(reason(&standing), "RowsMissed");
    let problem = standing.report.unwrap().look.problem.unwrap();
    assert_eq!(problem, "the prober ended with code 1: no perl");

    // Nor does another daemon on the same data.
    drop(platform);
    daemon.stop().await;
    rig.engine.set_latency(Verb::Exec, Duration::from_secs(1));
    let daemon = rig.start().await;
    let platform = daemon.platform();
    live(&platform, "WEB-001").await;
    assert!(matches!(
        platform.start(&red, start_request("WEB-001")).await,
        Err(PlatformError::NotIsolated { .. })
    ));
    prober_says(&rig, &[]);
    stated(&platform, "Ok").await;
    ready_instance(&daemon, &red).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_node_without_a_wall_starts_nothing_unless_the_operator_allows_it() {
    let (mut rig, state) = walled_rig();
    *state.lock().unwrap() = lacking();
    let (daemon, platform, red) = playing(&rig).await;
    let miss = stated(&platform, "NoWall").await;
    assert!(miss.message.contains("there is no `nft`"), "{miss:?}");
    assert!(matches!(
        platform.start(&red, start_request("WEB-001")).await,
        Err(PlatformError::NotIsolated { .. })
    ));
    drop(platform);
    daemon.stop().await;

    rig.config.network.wall = Wish::Auto;
    let (daemon, platform, red) = playing(&rig).await;
    assert_eq!(stated(&platform, "WithoutWall").await.status, ConditionStatus::False);
    ready_instance(&daemon, &red).await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_engine_that_restarts_is_looked_at_again() {
    let (rig, _) = walled_rig();
    let (daemon, platform, _) = playing(&rig).await;
    stated(&platform, "Ok").await;
    prober_says(&rig, &[("other-instance", "reached")]);
    rig.engine.go_down();
    until("the engine to be gone", async || (!platform.is_engine_ready()).then_some(())).await;
    rig.engine.come_up();
    stated(&platform, "RowsMissed").await;
    assert_eq!(platform.isolation().report.unwrap().trigger.as_str(), "engine");
    daemon.stop().await;
}

#[tokio::test]
async fn probers_of_a_check_that_died_end_with_the_next_start() {
    let (rig, _) = walled_rig();
    rig.engine.set_latency(Verb::Exec, Duration::from_secs(3600));
    let (daemon, platform, _) = playing(&rig).await;
    let probers = async |daemon: &Daemon| {
        let filter = InstanceFilter { team: Some(TeamId::CANARY), ..InstanceFilter::default() };
        let rows = daemon.store().instances(filter).await.unwrap();
        rows.into_iter().filter(|row| row.competition == COMPETITION).collect::<Vec<_>>()
    };
    let died = until("both probers to be ready", async || {
        let rows = probers(&daemon).await;
        let is_ready = |row: &Instance| row.phase == InstancePhase::Ready;
        (rows.len() == 2 && rows.iter().all(is_ready)).then_some(rows)
    })
    .await;
    drop(platform);
    daemon.stop().await;
    rig.engine.set_latency(Verb::Exec, Duration::ZERO);
    let (daemon, platform, _) = playing(&rig).await;
    stated(&platform, "Ok").await;
    for prober in died {
        in_phase(&daemon, prober.id, InstancePhase::Stopped).await;
    }
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn gvisor_that_does_not_do_what_it_is_for_is_not_used_and_stops_nothing_else() {
    let (rig, _) = walled_rig();
    rig.engine.add_runtime("runsc");
    prober_says(&rig, &[("own-kernel", "reached")]);
    rig.add_image("base:1");
    let shut_in = format!("{METADATA}instance: {{runtime: runsc}}\n");
    rig.push(&[
        ONE_FILES[0],
        ONE_FILES[1],
        ("WEB/WEB-002/metadata.yaml", &shut_in),
        ("WEB/WEB-002/docker-compose.yml", ONE_FILES[1].1),
    ]);
    let (daemon, platform, red) = playing(&rig).await;
    let unfit = stated(&platform, "SandboxUnfit").await;
    assert_eq!(unfit.status, ConditionStatus::True, "what is not shut in starts");
    assert!(unfit.message.contains("own-kernel"), "{}", unfit.message);
    ready_instance(&daemon, &red).await;
    let refused = platform.start(&red, start_request("WEB-002")).await.unwrap_err();
    insta::assert_snapshot!(refused, @"Challenge WEB-002 cannot be started: it wants the container runtime `runsc`, which does not do on this node what it is for: own-kernel");

    prober_says(&rig, &[]);
    let report = platform.check_isolation().await.unwrap().report.unwrap();
    assert!(report.sandbox.unwrap().rows.iter().any(|row| row.id == "own-kernel" && row.holds()));
    stated(&platform, "Ok").await;
    platform.start(&red, start_request("WEB-002")).await.unwrap();
    daemon.stop().await;
}
