//! What drifts is said, counted and repaired, within bounds; what is left over goes with patience.

use super::repair::whole;
use super::*;
use crate::model::{ConditionStatus, NodeId};
use crate::planner::lifecycle::Answers;
use crate::runtime::fake::{IsOom, Verb};
use crate::runtime::{ContainerState, EngineError};

fn node() -> Scope {
    Scope::Node(NodeId::local())
}

/// What was stated of the drift of an object, in order: status, reason and message.
async fn told(daemon: &Daemon, scope: &Scope) -> Vec<(ConditionStatus, String, String)> {
    let events = daemon.store().events(0, 1_000).await.unwrap().into_iter();
    events
        .map(|event| event.condition)
        .filter(|it| it.kind == ConditionType::Drifted && it.scope == *scope)
        .map(|it| (it.status, it.reason, it.message))
        .collect()
}

/// Breaks a ready instance with `hurt`, waits until it is whole again, and gives the class and the
/// words that were stated; they are taken back in the end.
async fn stated(hurt: impl AsyncFn(&Rig, InstanceId)) -> (String, String) {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let before = ready_instance(&daemon, &red).await;
    hurt(&rig, before.id).await;
    daemon.relist().await;
    let scope = Scope::Instance(before.id);
    let told = until("the drift to be said and repaired", async || {
        whole(&rig, &daemon, before.id).await;
        let told = told(&daemon, &scope).await;
        let is_over = told.last().is_some_and(|(status, ..)| *status == ConditionStatus::False);
        is_over.then_some(told)
    })
    .await;
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(told[1].1, "Repaired");
    assert_eq!(objects_of(&rig, before.id).len(), 5);
    platform.stop(&red, &before.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    assert!(condition(&platform, &scope, ConditionType::Drifted).await.is_none());
    daemon.stop().await;
    (told[0].1.clone(), told[0].2.clone())
}

#[tokio::test]
async fn d1_a_container_that_is_gone_is_said_and_made_again() {
    let (class, words) =
        stated(async |rig, id| rig.engine.remove_by_hand(&container(rig, id, "web"))).await;
    assert_eq!(class, "ContainerMissing");
    assert_eq!(words, "service `web` has no container: it is made anew");
}

#[tokio::test]
async fn d2_a_container_that_ended_is_said_and_started() {
    let (class, words) = stated(async |rig, id| {
        rig.engine.crash(&container(rig, id, "db"), 9, IsOom::No);
    })
    .await;
    assert_eq!(class, "ContainerExited");
    assert_eq!(words, "service `db` exited with code 9: it is started again");
}

#[tokio::test]
async fn d3_an_unhealthy_service_is_probed_and_said() {
    let (class, _) =
        stated(async |rig, id| rig.engine.make_unhealthy(&container(rig, id, "db"))).await;
    assert_eq!(class, "Unhealthy");
}

#[tokio::test]
async fn d5_limits_that_a_hand_changed_are_put_right() {
    let (class, words) = stated(async |rig, id| {
        rig.engine.set_memory_by_hand(&container(rig, id, "web"), 1 << 30);
    })
    .await;
    assert_eq!(class, "ChangedByHand");
    assert!(words.contains("memory 1073741824 instead of 67108864 bytes"), "{words}");
}

#[tokio::test]
async fn d5_a_container_that_a_hand_took_off_its_network_is_made_anew() {
    let (class, words) = stated(async |rig, id| {
        let web = container(rig, id, "web");
        let seen = rig.engine.container(&web).await.unwrap().unwrap();
        let network = seen.addresses.keys().next().unwrap();
        rig.engine.detach_by_hand(&web, network);
    })
    .await;
    assert_eq!(class, "ChangedByHand");
    assert!(words.contains("was taken off the network"), "{words}");
}

#[tokio::test]
async fn d6_a_second_container_of_a_service_is_removed_and_the_usable_one_stays() {
    let (class, _) = stated(async |rig, id| {
        let web = container(rig, id, "web");
        // Its name sorts before ours, and it serves no port.
        rig.engine.copy_by_hand(&web, &format!("a-{id}-copy")).unwrap();
    })
    .await;
    assert_eq!(class, "Duplicate");
}

#[tokio::test]
async fn d8_what_has_our_name_and_is_not_ours_is_never_touched() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let (web, scope) = (container(&rig, instance.id, "web"), Scope::Instance(instance.id));
    let stranger = crate::daemon::testing::Rig::new().installation();
    rig.engine.give_away(&web, &stranger);
    daemon.relist().await;
    let held = until("the stranger to be named", async || {
        let found = condition(&platform, &scope, ConditionType::Drifted).await?;
        (found.reason == "NameConflict").then_some(found)
    })
    .await;
    assert!(held.message.contains(&web), "{}", held.message);
    // It is left alone, and so are we: nobody asks the engine again and again.
    let n_calls = rig.engine.calls().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let calls = rig.engine.calls().split_off(n_calls);
    assert!(!calls.contains(&Verb::CreateContainer), "{calls:?}");
    assert!(rig.engine.object_names().contains(&web));

    // A start that meets one has failed, and says so.
    let theirs = rig.engine.as_installation(stranger);
    theirs.remove_container(&web).await.unwrap();
    platform.reset(&red, &instance.id.to_string(), Answers::Keep).await.unwrap();
    whole(&rig, &daemon, instance.id).await;
    until("it to be taken back", async || {
        let found = condition(&platform, &scope, ConditionType::Drifted).await?;
        (found.status == ConditionStatus::False).then_some(())
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn d9_a_lost_image_is_built_again_and_the_instance_comes_back() {
    let rig = full_rig();
    let (daemon, _, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    daemon.stop().await;
    rig.engine.remove_by_hand(&container(&rig, instance.id, "web"));
    for image in rig.engine.images().await.unwrap() {
        rig.engine.remove_image(&image.id).await.unwrap();
    }
    rig.engine.set_latency(Verb::Build, Duration::from_millis(300));
    let daemon = rig.start().await;
    let scope = Scope::Instance(instance.id);
    until("the image to be missed", async || {
        let told = told(&daemon, &scope).await;
        told.iter().any(|(_, reason, _)| reason == "ImageMissing").then_some(())
    })
    .await;
    let after = whole(&rig, &daemon, instance.id).await;
    assert_eq!((after.surface, after.n_resets), (instance.surface, 0));
    daemon.stop().await;
}

#[tokio::test]
async fn d10_an_instance_whose_volume_is_lost_ends_and_names_it() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let volume = container(&rig, instance.id, "v-data");
    rig.engine.lose_volume(&volume);
    daemon.relist().await;
    let failed = in_phase(&daemon, instance.id, InstancePhase::Failed).await;
    let error = failed.error.unwrap();
    assert!(error.contains("the volume `data`") && error.contains("lost"), "{error}");
    assert!(!rig.engine.object_names().contains(&volume), "no empty one in its place");
    let shown = platform.instance(&red, &instance.id.to_string()).await.unwrap();
    assert_eq!(shown.status(), InstanceStatus::Error);
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn d10_one_listing_that_misses_a_volume_ends_nothing() {
    let rig = full_rig();
    let (daemon, _, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    for _ in 0..3 {
        let error = EngineError::TimedOut { what: "list".to_owned(), secs: 1 };
        rig.engine.fail_next(Verb::Volumes, error);
        daemon.relist().await;
    }
    assert_eq!(whole(&rig, &daemon, instance.id).await, instance);
    daemon.stop().await;
}

#[tokio::test]
async fn d11_a_port_that_is_not_served_is_served_again() {
    let (class, words) = stated(async |rig, id| {
        let web = container(rig, id, "web");
        let seen = rig.engine.container(&web).await.unwrap().unwrap();
        let port = *seen.served.first().unwrap();
        rig.engine.take_port_by_hand(&web, port);
    })
    .await;
    assert_eq!(class, "PortNotServed");
    assert!(words.contains("does not serve the host port"), "{words}");
}

/// Ready instances of one small challenge, one for each team.
async fn many(rig: &mut Rig, n: usize) -> (Daemon, Platform, Vec<InstanceId>) {
    rig.config.network.n_ready = 0;
    let (daemon, platform, _) = playing(rig).await;
    let mut ids = Vec::new();
    for nth in 0..n {
        let team = player(&platform, &format!("team-{nth}")).await;
        ids.push(ready_instance(&daemon, &team).await.id);
    }
    (daemon, platform, ids)
}

async fn n_running(rig: &Rig) -> usize {
    let seen = rig.engine.containers(None).await.unwrap();
    seen.iter().filter(|it| it.state == ContainerState::Running).count()
}

#[tokio::test]
async fn d12_an_engine_that_restarted_makes_nobody_wait() {
    let mut rig = rig();
    let (daemon, platform, ids) = many(&mut rig, 15).await;
    let begin = tokio::time::Instant::now();
    rig.engine.restart();
    daemon.relist().await;
    for id in &ids {
        until("it to run again", async || {
            let now = row(&daemon, *id).await;
            (now.n_restarts > 0 && now.phase == InstancePhase::Ready).then_some(())
        })
        .await;
    }
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert_eq!(n_running(&rig).await, 15);
    let storm = condition(&platform, &node(), ConditionType::Drifted).await.unwrap();
    assert_ne!(storm.status, ConditionStatus::Unknown);
    daemon.stop().await;
}

#[tokio::test]
async fn a_storm_pauses_repairs_and_delays_nobody_else() {
    let mut rig = rig();
    let (daemon, platform, ids) = many(&mut rig, 14).await;
    // Nobody looks until everything is gone: hints of removals would be followed one by one.
    rig.engine.set_latency(Verb::Containers, Duration::from_millis(50));
    rig.clock.advance_millis(61_000);
    for id in &ids {
        rig.engine.pause_quietly(&container(&rig, *id, "web"));
    }
    daemon.relist().await;
    let storm = until("the storm to be told", async || {
        let found = condition(&platform, &node(), ConditionType::Drifted).await?;
        (found.status == ConditionStatus::True).then_some(found)
    })
    .await;
    assert_eq!(storm.reason, "DriftStorm");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(n_running(&rig).await, 0, "nothing is repaired in the pause");
    for id in &ids {
        let now = row(&daemon, *id).await;
        assert_eq!(now.status(), InstanceStatus::Starting, "it is not usable, and says so");
    }
    // A start and a stop do not wait.
    let late = player(&platform, "late").await;
    let begin = tokio::time::Instant::now();
    let started = ready_instance(&daemon, &late).await;
    platform.stop(&late, &started.id.to_string(), StopReason::User).await.unwrap();
    in_phase(&daemon, started.id, InstancePhase::Stopped).await;
    assert!(begin.elapsed() < Duration::from_secs(5));

    rig.clock.advance_millis(61_000);
    daemon.relist().await;
    until("ten to be repaired", async || (n_running(&rig).await == 10).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(n_running(&rig).await, 10, "ten within ten seconds");
    rig.clock.advance_millis(10_100);
    platform.wake_workers_for_test();
    until("the others to be repaired", async || (n_running(&rig).await == 14).then_some(())).await;
    until("the storm to be over", async || {
        rig.clock.advance_millis(61_000);
        daemon.relist().await;
        let found = condition(&platform, &node(), ConditionType::Drifted).await?;
        (found.status == ConditionStatus::False).then_some(())
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_made_anew_again_and_again_is_left_alone_until_its_owner_resets_it() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let scope = Scope::Instance(instance.id);
    for _ in 0..3 {
        rig.engine.remove_by_hand(&container(&rig, instance.id, "web"));
        daemon.relist().await;
        whole(&rig, &daemon, instance.id).await;
    }
    rig.engine.remove_by_hand(&container(&rig, instance.id, "web"));
    daemon.relist().await;
    let stalled = until("it to be left alone", async || {
        condition(&platform, &scope, ConditionType::Stalled).await
    })
    .await;
    assert_eq!(
        (stalled.status, stalled.reason.as_str()),
        (ConditionStatus::True, "ReplacesExhausted")
    );
    for _ in 0..3 {
        daemon.relist().await;
    }
    until("nobody to be busy", async || (!daemon.is_busy(instance.id)).then_some(())).await;
    assert_eq!(objects_of(&rig, instance.id).len(), 4, "no endless redeploy");
    assert_eq!(row(&daemon, instance.id).await.status(), InstanceStatus::Starting);
    drop(platform);
    daemon.stop().await;

    // Also for the next daemon.
    let (daemon, platform, _) = playing(&rig).await;
    daemon.relist().await;
    until("nobody to be busy", async || (!daemon.is_busy(instance.id)).then_some(())).await;
    assert_eq!(objects_of(&rig, instance.id).len(), 4);
    platform.reset(&red, &instance.id.to_string(), Answers::Keep).await.unwrap();
    whole(&rig, &daemon, instance.id).await;
    let stalled = condition(&platform, &scope, ConditionType::Stalled).await.unwrap();
    assert_eq!(stalled.status, ConditionStatus::False);
    daemon.stop().await;
}

/// An instance that is over, of which the engine has everything still: a machine that was rolled
/// back.
async fn over_but_there(rig: &Rig, daemon: &Daemon, team: &str) -> InstanceId {
    let platform = daemon.platform();
    let team = player(&platform, team).await;
    let instance = ready_instance(daemon, &team).await;
    let names = objects_of(rig, instance.id);
    rig.engine.hide(&names);
    platform.stop(&team, &instance.id.to_string(), StopReason::User).await.unwrap();
    in_phase(daemon, instance.id, InstancePhase::Stopped).await;
    rig.engine.show();
    assert_eq!(objects_of(rig, instance.id), names);
    instance.id
}

#[tokio::test]
async fn d7_a_leftover_goes_after_two_looks_a_minute_apart_and_not_all_at_once() {
    let mut rig = full_rig();
    rig.config.network.n_ready = 0;
    let (daemon, _, red) = playing(&rig).await;
    let alive = ready_instance(&daemon, &red).await;
    let over = over_but_there(&rig, &daemon, "blue").await;
    for _ in 0..3 {
        daemon.relist().await;
    }
    assert_eq!(objects_of(&rig, over).len(), 5, "one minute has not passed");
    assert_eq!(daemon.store().tombstones().await.unwrap().len(), 5);
    rig.clock.advance_millis(61_000);
    daemon.relist().await;
    assert_eq!(objects_of(&rig, over).len(), 2, "three at once");
    daemon.relist().await;
    assert_eq!(objects_of(&rig, over).len(), 0);
    daemon.relist().await;
    assert_eq!(daemon.store().tombstones().await.unwrap().len(), 0);
    assert_eq!(whole(&rig, &daemon, alive.id).await.n_restarts, alive.n_restarts);
    daemon.stop().await;
}

#[tokio::test]
async fn nothing_goes_when_everything_would_until_a_person_says_so() {
    let mut rig = full_rig();
    rig.config.network.n_ready = 0;
    let (daemon, platform, _) = playing(&rig).await;
    let over =
        [over_but_there(&rig, &daemon, "blue").await, over_but_there(&rig, &daemon, "green").await];
    daemon.relist().await;
    rig.clock.advance_millis(61_000);
    daemon.relist().await;
    let held = condition(&platform, &node(), ConditionType::PruneHeld).await.unwrap();
    assert_eq!((held.status, held.reason.as_str()), (ConditionStatus::True, "AllWouldBeRemoved"));
    assert!(over.iter().all(|id| objects_of(&rig, *id).len() == 5));
    let unknown = platform.unknown().await.unwrap();
    assert_eq!(unknown.len(), 2);
    platform.remove_unknown(&over).await.unwrap();
    daemon.relist().await;
    let held = condition(&platform, &node(), ConditionType::PruneHeld).await.unwrap();
    assert_eq!(held.status, ConditionStatus::False);
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}
