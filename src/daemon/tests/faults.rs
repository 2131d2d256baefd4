//! An engine that fails, lies or is down: what is wanted comes about all the same, or its owner
//! reads why not.

use super::*;
use crate::model::{ConditionStatus, NodeId};
use crate::runtime::fake::{Port, Verb};
use crate::runtime::{EngineError, ExecOutcome};

fn unavailable() -> EngineError {
    EngineError::Unavailable { endpoint: "fake".to_owned(), reason: "broken pipe".to_owned() }
}

fn timed_out() -> EngineError {
    EngineError::TimedOut { what: "the call".to_owned(), secs: 10 }
}

const VERBS: &[Verb] = &[
    Verb::Image,
    Verb::CreateNetwork,
    Verb::Networks,
    Verb::CreateVolume,
    Verb::RemoveVolume,
    Verb::Volumes,
    Verb::CreateContainer,
    Verb::Upload,
    Verb::Start,
    Verb::Stop,
    Verb::RemoveContainer,
    Verb::Container,
    Verb::Containers,
    Verb::Exec,
    Verb::Reach,
];

/// A start and a stop go through although the engine fails once at each of `verbs`.
async fn survives(fail: impl Fn(&Rig, Verb), verbs: &[Verb]) {
    let life = async |verb| {
        let mut rig = full_rig();
        rig.config.network.n_ready = 0;
        let (daemon, platform, red) = playing(&rig).await;
        daemon.relist().await;
        fail(&rig, verb);
        let instance = ready_instance(&daemon, &red).await;
        assert_eq!(objects_of(&rig, instance.id).len(), 5, "{verb:?}");
        platform.stop(&red, &instance.id.to_string(), StopReason::User).await.unwrap();
        in_phase(&daemon, instance.id, InstancePhase::Stopped).await;
        nothing_is_left(&rig, &daemon).await;
        daemon.stop().await;
    };
    futures_util::future::join_all(verbs.iter().map(|verb| life(*verb))).await;
}

#[tokio::test]
async fn one_call_that_does_not_get_through_delays_only() {
    survives(|rig, verb| rig.engine.fail_next(verb, unavailable()), VERBS).await;
}

#[tokio::test]
async fn one_call_whose_answer_is_lost_is_not_done_twice() {
    let changes: Vec<_> = VERBS
        .iter()
        .copied()
        .filter(|verb| !matches!(verb, Verb::Exec | Verb::Reach | Verb::Image))
        .collect();
    survives(|rig, verb| rig.engine.fail_after_effect(verb, timed_out()), &changes).await;
}

#[tokio::test]
async fn a_daemon_without_an_engine_is_not_ready_and_recovers() {
    let rig = full_rig();
    rig.engine.go_down();
    let daemon = rig.start().await;
    let platform = daemon.platform();
    let node = Scope::Node(NodeId::local());
    until("the engine to be found missing", async || {
        let stated = condition(&platform, &node, ConditionType::DockerAvailable).await?;
        (stated.status == ConditionStatus::False).then_some(())
    })
    .await;
    assert!(!platform.is_engine_ready());
    rig.engine.come_up();
    live(&platform, "WEB-001").await;
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    let red = player(&platform, "red").await;
    ready_instance(&daemon, &red).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_first_listing_that_fails_is_repeated_soon() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    drop(platform);
    daemon.stop().await;
    rig.engine.restart();
    rig.engine.fail_next(Verb::Volumes, unavailable());
    let begin = tokio::time::Instant::now();
    let daemon = rig.start().await;
    until("the instance to run again", async || {
        (row(&daemon, instance.id).await.n_restarts >= 2).then_some(())
    })
    .await;
    assert!(begin.elapsed() < Duration::from_secs(5));
    ready(&daemon, instance.id).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_replaced_and_the_surface_says_so() {
    let mut rig = rig();
    rig.config.network.first_port = 20_000;
    rig.config.network.last_port = 20_003;
    for port in 20_000..20_003 {
        rig.engine.occupy_port(port);
    }
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    assert_eq!(instance.surface[0].port, 20_003);
    let seen = platform.instance(&red, &instance.id.to_string()).await.unwrap();
    assert_eq!(seen.surface[0].port, 20_003);
    platform.stop(&red, &instance.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_taken_subnet_is_left_to_its_stranger() {
    let mut rig = rig();
    rig.config.network.pool = "10.80.0.0/24".parse().unwrap();
    rig.engine.occupy_subnet("10.80.0.0/25".parse().unwrap());
    let (daemon, _, red) = playing(&rig).await;
    ready_instance(&daemon, &red).await;
    for row in daemon.store().networks().await.unwrap() {
        assert!(row.spec.subnet.network() >= std::net::Ipv4Addr::new(10, 80, 0, 128), "{row:?}");
    }
    daemon.stop().await;
}

/// Starts an instance that must fail; gives what its owner reads.
async fn failure(rig: &Rig) -> String {
    let (daemon, platform, red) = playing(rig).await;
    let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
    let id = started.id.to_string();
    let failed = in_phase(&daemon, started.id, InstancePhase::Failed).await;
    assert_eq!(failed.stop_reason, Some(StopReason::Error));
    assert_eq!(objects_of(rig, started.id), BTreeSet::new());
    nothing_is_left(rig, &daemon).await;
    let shown = platform.instance(&red, &id).await.unwrap();
    assert_eq!(shown.status(), InstanceStatus::Error);
    let scope = Scope::Instance(started.id);
    assert!(condition(&platform, &scope, ConditionType::Healthy).await.is_some());
    platform.stop(&red, &id, StopReason::User).await.unwrap();
    assert!(platform.instance(&red, &id).await.is_err());
    // What is over is not stated about for ever.
    assert!(condition(&platform, &scope, ConditionType::Healthy).await.is_none());
    daemon.stop().await;
    shown.error.unwrap()
}

#[tokio::test]
async fn a_service_that_crashes_on_start_is_named_with_its_code() {
    let rig = full_rig();
    rig.engine.exit_on_start("db", 7);
    assert_eq!(failure(&rig).await, "service `db` exited with code 7");
}

#[tokio::test]
async fn a_failing_job_is_named_with_its_code() {
    let rig = full_rig();
    rig.engine.exit_on_start("flag-rotator", 3);
    assert_eq!(failure(&rig).await, "service `flag-rotator` exited with code 3");
}

#[tokio::test]
async fn a_health_check_that_never_passes_ends_the_start_at_its_deadline() {
    let mut rig = full_rig();
    rig.config.limits.start_deadline_secs = 1;
    rig.engine.script_exec("db", [ExecOutcome { code: 1, output: "FLAG{leak}".to_owned() }]);
    let text = failure(&rig).await;
    assert!(!text.contains("leak"), "{text}");
    assert!(text.contains("`db`"), "{text}");
}

#[tokio::test]
async fn operators_see_why_a_probe_fails_and_players_do_not() {
    let mut rig = full_rig();
    rig.config.limits.start_deadline_secs = 2;
    let missing = "exec: \"nc\": executable file not found in $PATH: unknown";
    rig.engine.script_exec("db", [ExecOutcome { code: 126, output: missing.to_owned() }]);
    let (daemon, platform, red) = playing(&rig).await;
    let operator = Caller::administrator("test");
    let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
    let doubt = until("a probe to fail", async || {
        assert!(platform.doubts(&red, started.id).is_empty());
        platform.doubts(&operator, started.id).remove(&"db".parse().unwrap())
    })
    .await;
    assert_eq!(doubt.since_probe, 1);
    let told = "the health command cannot be run: exec \"nc\": executable file not found in $PATH";
    assert_eq!(doubt.check.to_string(), told);
    let failed = in_phase(&daemon, started.id, InstancePhase::Failed).await;
    let error = failed.error.unwrap();
    assert!(error.contains("`db`") && !error.contains("nc"), "{error}");
    let scope = Scope::Instance(started.id);
    let shown = condition(&platform, &scope, ConditionType::Healthy).await.unwrap();
    assert!(shown.message.contains(&format!("last probe of `db`: {told}")), "{shown:?}");
    assert!(platform.doubts(&operator, started.id).is_empty());
    daemon.stop().await;
}

#[tokio::test]
async fn a_port_that_never_opens_ends_the_start_at_its_deadline() {
    let mut rig = full_rig();
    rig.config.limits.start_deadline_secs = 1;
    rig.engine.set_port("web", 8080, Port::Closed);
    let text = failure(&rig).await;
    assert!(text.contains("`web`") && text.contains("8080"), "{text}");
}

#[tokio::test]
async fn a_job_that_never_ends_is_named_at_the_deadline() {
    let mut rig = full_rig();
    rig.config.limits.start_deadline_secs = 1;
    rig.engine.stay_on_start("flag-rotator");
    let text = failure(&rig).await;
    assert!(text.contains("1 s"), "{text}");
}

#[tokio::test]
async fn a_build_that_fails_for_good_keeps_its_log_and_waits_for_a_person() {
    let rig = full_rig();
    rig.engine.set_build_failure("web", Some("COPY failed: no such file"));
    let daemon = rig.start().await;
    let platform = daemon.platform();
    let build = until("the build to fail", async || {
        let states = platform.challenge_states().await.unwrap();
        let builds = states.into_iter().next()?.builds;
        builds.into_iter().find(|build| build.error.is_some())
    })
    .await;
    assert_eq!((build.is_retryable, build.n_attempts), (false, 1));
    let error = build.error.unwrap();
    assert!(error.ends_with("COPY failed: no such file"), "{error}");
    assert!(build.log_tail.contains("COPY failed"));
    assert!(platform.live().is_empty());
    rig.engine.set_build_failure("web", None);
    platform.rebuild("WEB-001").await.unwrap();
    live(&platform, "WEB-001").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_build_that_may_pass_is_tried_again_after_a_restart() {
    let rig = rig();
    rig.engine.fail_next(Verb::Image, unavailable());
    let daemon = rig.start().await;
    until("the build to fail", async || {
        let builds = daemon.store().all_builds().await.unwrap();
        builds.iter().any(|build| build.is_retryable && build.error.is_some()).then_some(())
    })
    .await;
    daemon.stop().await;
    let daemon = rig.start().await;
    live(&daemon.platform(), "WEB-001").await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_image_that_vanished_is_built_again_and_the_owner_knows() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    for image in rig.engine.images().await.unwrap() {
        rig.engine.remove_image(&image.id).await.unwrap();
    }
    let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
    let failed = in_phase(&daemon, started.id, InstancePhase::Failed).await;
    assert!(failed.error.unwrap().contains("the image of service `web` is gone"));
    platform.stop(&red, &started.id.to_string(), StopReason::User).await.unwrap();
    until("the image to be back", async || {
        (!rig.engine.images().await.unwrap().is_empty()).then_some(())
    })
    .await;
    let again = until("a start to be possible", async || {
        platform.start(&red, start_request("WEB-001")).await.ok()
    })
    .await;
    ready(&daemon, again.id).await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_image_that_vanished_is_built_again_without_the_remote() {
    let rig = full_rig();
    let (daemon, ..) = playing(&rig).await;
    daemon.stop().await;
    for image in rig.engine.images().await.unwrap() {
        rig.engine.remove_image(&image.id).await.unwrap();
    }
    rig.take_remote_away();
    let daemon = rig.start().await;
    until("the image to be back", async || {
        (!rig.engine.images().await.unwrap().is_empty()).then_some(())
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_set_ends_no_lease_and_makes_none_longer() {
    let mut rig = rig();
    rig.config.limits.default_ttl_secs = 600;
    let (daemon, platform, red) = playing(&rig).await;
    let started = ready_instance(&daemon, &red).await;
    let left = |row: &Instance| row.expires_at.millis_since(platform.now());
    for hours in [24, -48, 24, -1] {
        let by = hours * 3_600_000;
        let (before, wall) = (row(&daemon, started.id).await, platform.now());
        rig.clock.jump_millis(by);
        until("the jump to be followed", async || {
            let moved = platform.now().millis_since(wall);
            ((moved - by).abs() < 20_000).then_some(())
        })
        .await;
        let after = row(&daemon, started.id).await;
        assert_eq!(after.phase, InstancePhase::Ready, "{hours} h");
        let moved = after.expires_at.millis_since(before.expires_at);
        assert!((moved - by).abs() < 1_000, "{hours} h: moved by {moved} ms");
        assert!((0..=600_000).contains(&left(&after)), "{hours} h: {} ms left", left(&after));
    }
    rig.clock.advance_millis(601_000);
    let ended = in_phase(&daemon, started.id, InstancePhase::Stopped).await;
    assert_eq!(ended.stop_reason, Some(StopReason::TtlExpired));
    nothing_is_left(&rig, &daemon).await;
    drop(platform);
    daemon.stop().await;

    // Set back while nobody looks: what was left is left.
    let daemon = rig.start().await;
    let platform = daemon.platform();
    live(&platform, "WEB-001").await;
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    let started = ready_instance(&daemon, &red).await;
    drop(platform);
    daemon.stop().await;
    rig.clock.jump_millis(-7 * 24 * 3_600_000);
    let daemon = rig.start().await;
    let after = row(&daemon, started.id).await;
    let left = after.expires_at.millis_since(daemon.platform().now());
    // The moment in which no daemon lived is not counted.
    assert!((0..=601_000).contains(&left), "{left} ms left");
    daemon.stop().await;
}
