//! Two wishes at once: every order ends with what was asked for last, and nothing is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::*;
use crate::daemon::platform::PlatformError;
use crate::runtime::fake::{Fate, Verb, When};

/// Rings at the `nth` engine call from now on, before it is made.
fn bell_at(rig: &Rig, nth: usize) -> Arc<Notify> {
    let bell = Arc::new(Notify::new());
    let rung = Arc::clone(&bell);
    let n_calls = AtomicUsize::new(0);
    rig.engine.set_hook(Arc::new(move |_, when| {
        if when == When::Before && n_calls.fetch_add(1, Ordering::SeqCst) == nth {
            rung.notify_one();
        }
        Fate::GoOn
    }));
    bell
}

/// Everything the engine is asked for a start takes a moment, so that others come between.
fn slow_down(rig: &Rig) {
    for verb in [Verb::CreateVolume, Verb::CreateNetwork, Verb::CreateContainer, Verb::Start] {
        rig.engine.set_latency(verb, Duration::from_millis(3));
    }
}

#[tokio::test]
async fn a_stop_at_any_moment_of_a_start_leaves_nothing() {
    let rig = full_rig();
    slow_down(&rig);
    let (daemon, platform, red) = playing(&rig).await;
    for nth in 0..24 {
        let bell = bell_at(&rig, nth);
        let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
        tokio::select! {
            () = bell.notified() => {}
            _ = ready(&daemon, started.id) => {}
        }
        platform.stop(&red, &started.id.to_string(), StopReason::User).await.unwrap();
        nothing_is_left(&rig, &daemon).await;
        let ended = row(&daemon, started.id).await;
        assert_eq!((ended.phase, ended.error), (InstancePhase::Stopped, None));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_second_stop_finds_nothing_and_a_new_start_is_another_instance() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let first = ready_instance(&daemon, &red).await;
    let id = first.id.to_string();
    let (one, two) = tokio::join!(
        platform.stop(&red, &id, StopReason::User),
        platform.stop(&red, &id, StopReason::User),
    );
    assert!(one.is_ok() || two.is_ok());
    let again = platform.start(&red, start_request("WEB-001")).await.unwrap();
    assert!(matches!(
        platform.stop(&red, &id, StopReason::User).await,
        Err(PlatformError::InstanceNotFound { .. })
    ));
    ready(&daemon, again.id).await;
    in_phase(&daemon, first.id, InstancePhase::Stopped).await;
    assert_eq!(objects_of(&rig, first.id), BTreeSet::new());
    assert_eq!(objects_of(&rig, again.id).len(), 5);
    platform.stop(&red, &again.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_lease_that_ends_during_the_start_ends_the_instance() {
    let mut rig = full_rig();
    rig.config.limits.default_ttl_secs = 60;
    rig.config.limits.max_ttl_secs = 60;
    rig.engine.set_latency(Verb::Start, Duration::from_millis(1500));
    let (daemon, platform, red) = playing(&rig).await;
    let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
    rig.clock.advance_millis(61_000);
    let ended = in_phase(&daemon, started.id, InstancePhase::Stopped).await;
    assert_eq!(ended.stop_reason, Some(StopReason::TtlExpired));
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_renewal_beside_an_expiry_either_counts_or_is_refused() {
    let mut rig = rig();
    rig.config.limits.default_ttl_secs = 60;
    let (daemon, platform, red) = playing(&rig).await;
    for _ in 0..5 {
        let instance = ready_instance(&daemon, &red).await;
        let id = instance.id.to_string();
        rig.clock.advance_millis(61_000);
        let (renewed, ended) = tokio::join!(
            platform.renew(&red, &id, None),
            crate::daemon::leases::end(&daemon.shared, instance.id, StopReason::TtlExpired),
        );
        ended.unwrap();
        match renewed {
            Ok(renewed) => assert!(renewed.expires_at > instance.expires_at),
            Err(error) => assert!(matches!(
                error,
                PlatformError::NotRunning { .. } | PlatformError::InstanceNotFound { .. }
            )),
        }
        let gone = platform.renew(&red, &id, None).await;
        assert!(matches!(gone, Err(PlatformError::InstanceNotFound { .. })));
        nothing_is_left(&rig, &daemon).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_solve_beside_a_stop_is_recorded_or_refused_and_the_instance_ends_once() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let id = instance.id.to_string();
    let answer = rig.engine.files(&container(&rig, instance.id, "web"))["/answers/flag"].clone();
    let answer = Answer::One(String::from_utf8(answer).unwrap());
    let (graded, stopped) = tokio::join!(
        platform.submit(&red, &id, "flag", answer),
        platform.stop(&red, &id, StopReason::User),
    );
    let is_solved = match graded {
        Ok(graded) => graded.is_fully_solved,
        Err(PlatformError::InstanceNotFound { .. }) => false,
        Err(other) => panic!("{other}"),
    };
    assert!(is_solved || stopped.is_ok());
    assert_eq!(platform.solves().await.unwrap().len(), usize::from(is_solved));
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn ten_starts_at_once_share_a_stock_of_two_networks() {
    let mut rig = full_rig();
    rig.config.network.n_ready = 2;
    let (daemon, platform, red) = playing(&rig).await;
    let starts = (0..10).map(|_| platform.start(&red, start_request("WEB-001")));
    let started: Vec<_> = join_all(starts).await.into_iter().map(Result::unwrap).collect();
    let mut ports = BTreeSet::new();
    let mut networks = BTreeSet::new();
    for instance in &started {
        let ready = ready(&daemon, instance.id).await;
        assert!(ports.insert(ready.surface[0].port), "two instances have one port");
        for container in rig.engine.containers(Some(instance.id)).await.unwrap() {
            networks.extend(container.addresses.into_keys());
        }
    }
    assert_eq!(networks.len(), 20, "each instance has two networks of its own");
    join_all(started.iter().map(|instance| async {
        platform.stop(&red, &instance.id.to_string(), StopReason::User).await.unwrap();
    }))
    .await;
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn limits_are_exact_when_everybody_starts_at_once() {
    let mut rig = rig();
    rig.config.limits.instances_per_team = 3;
    rig.config.limits.instances_per_node = 5;
    rig.config.limits.waiting_starts = 0;
    let (daemon, platform, red) = playing(&rig).await;
    let blue = player(&platform, "blue").await;
    let starts = (0..20).map(|nth| {
        let caller = if nth % 2 == 0 { &red } else { &blue };
        platform.start(caller, start_request("WEB-001"))
    });
    let (taken, refused): (Vec<_>, Vec<_>) =
        join_all(starts).await.into_iter().partition(Result::is_ok);
    assert_eq!((taken.len(), refused.len()), (5, 15));
    for refusal in refused {
        assert!(matches!(refusal, Err(PlatformError::Capacity { .. })));
    }
    for caller in [&red, &blue] {
        let mine = platform.instances(caller).await.unwrap();
        assert!(mine.len() <= 3, "{}", mine.len());
        for instance in mine {
            platform.stop(caller, &instance.id.to_string(), StopReason::User).await.unwrap();
        }
    }
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_pool_that_idle_internal_networks_have_filled_serves_others() {
    // Four networks in all. Two instances leave two internal ones idle.
    let mut rig = full_rig();
    rig.config.network.n_ready = 0;
    rig.config.network.pool = "10.80.0.0/26".parse().unwrap();
    let (daemon, platform, red) = playing(&rig).await;
    let first = ready_instance(&daemon, &red).await;
    let second = ready_instance(&daemon, &red).await;
    for id in [first.id, second.id] {
        platform.stop(&red, &id.to_string(), StopReason::User).await.unwrap();
    }
    nothing_is_left(&rig, &daemon).await;
    let mut files = FULL_FILES.to_vec();
    files.extend([
        ("WEB/WEB-002/metadata.yaml", METADATA),
        ("WEB/WEB-002/docker-compose.yml", COMPOSE),
    ]);
    rig.push(&files);
    live(&platform, "WEB-002").await;
    let mut started = Vec::new();
    for _ in 0..4 {
        started.push(platform.start(&red, start_request("WEB-002")).await.unwrap().id);
    }
    for id in &started {
        ready(&daemon, *id).await;
    }
    let fifth = platform.start(&red, start_request("WEB-002")).await.unwrap();
    let failed = in_phase(&daemon, fifth.id, InstancePhase::Failed).await;
    assert!(failed.error.unwrap().contains("network.pool"));
    daemon.stop().await;
}

#[tokio::test]
async fn r14_a_storm_of_starts_becomes_ready_a_few_at_a_time() {
    const N: usize = 200;
    let mut rig = full_rig();
    rig.config.limits.instances_per_team = 1000;
    let slots = rig.config.limits.n_start_slots as usize;
    let (daemon, platform, red) = playing(&rig).await;
    rig.engine.set_latency(Verb::Start, Duration::from_millis(1));
    let (n_now, n_most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, most) = (Arc::clone(&n_now), Arc::clone(&n_most));
    rig.engine.set_hook(Arc::new(move |verb, when| {
        match (verb, when) {
            (Verb::Start, When::Before) => {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            }
            (Verb::Start, When::After) => drop(now.fetch_sub(1, Ordering::SeqCst)),
            _ => {}
        }
        Fate::GoOn
    }));
    let starts = (0..N).map(|_| platform.start(&red, start_request("WEB-001")));
    let started: Vec<_> = join_all(starts).await.into_iter().map(Result::unwrap).collect();
    let deadline = Duration::from_secs(300);
    let all = join_all(started.iter().map(|row| async {
        while super::row(&daemon, row.id).await.status() == InstanceStatus::Starting {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        super::row(&daemon, row.id).await
    }));
    let rows = tokio::time::timeout(deadline, all).await.expect("no start waits for ever");
    for row in rows {
        assert_eq!((row.status(), row.error, row.n_restarts), (InstanceStatus::Ready, None, 0));
    }
    let n_most = n_most.load(Ordering::SeqCst);
    assert!((1..=slots).contains(&n_most), "{n_most} starts at a time, {slots} are allowed");
    rig.engine.revive();
    daemon.stop().await;
}
