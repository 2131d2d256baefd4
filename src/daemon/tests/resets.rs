//! A reset makes everything of an instance anew in one step, also beside other wishes.

use super::*;
use crate::model::{ConditionStatus, Death};
use crate::planner::lifecycle::Answers;
use crate::runtime::fake::{IsOom, Verb};

fn flag(rig: &Rig, id: InstanceId) -> String {
    let files = rig.engine.files(&container(rig, id, "web"));
    String::from_utf8(files["/answers/flag"].clone()).unwrap()
}

#[tokio::test]
async fn a_reset_makes_containers_and_volumes_anew_and_keeps_the_rest() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let before = ready_instance(&daemon, &red).await;
    let id = before.id.to_string();
    let (old_flag, old_objects) = (flag(&rig, before.id), objects_of(&rig, before.id));
    let old_container = rig.engine.containers(Some(before.id)).await.unwrap();

    let reset = platform.reset(&red, &id, Answers::Keep).await.unwrap();
    assert_eq!((reset.n_resets, reset.status()), (1, InstanceStatus::Starting));
    let after = ready(&daemon, before.id).await;
    assert_eq!(after.surface, before.surface, "players find it where it was");
    assert_eq!(after.expires_at, before.expires_at, "a reset is no renewal");
    assert_eq!(after.started_at, before.started_at);
    assert_eq!(flag(&rig, before.id), old_flag);
    let new_container = rig.engine.containers(Some(before.id)).await.unwrap();
    for old in &old_container {
        assert!(new_container.iter().all(|new| new.id != old.id), "{} is the old one", old.name);
    }
    // What the old containers wrote is gone with their volumes.
    let new_objects = objects_of(&rig, before.id);
    assert_eq!(new_objects.len(), old_objects.len());
    assert!(old_objects.iter().any(|name| name.contains("-v-")), "{old_objects:?}");
    assert!(new_objects.iter().all(|name| !name.contains("-v-")), "{new_objects:?}");

    platform.reset(&red, &id, Answers::Renew).await.unwrap();
    ready(&daemon, before.id).await;
    let new_flag = flag(&rig, before.id);
    assert_ne!(new_flag, old_flag);
    let answer = |text: &str| Answer::One(text.to_owned());
    let graded = platform.submit(&red, &id, "flag", answer(&old_flag)).await.unwrap();
    assert!(!graded.submission.is_correct, "an answer that was given up is wrong");
    let graded = platform.submit(&red, &id, "flag", answer(&new_flag)).await.unwrap();
    assert!(graded.is_fully_solved);
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_reset_at_any_moment_of_a_start_ends_with_one_whole_instance() {
    let rig = full_rig();
    for verb in [Verb::CreateVolume, Verb::CreateNetwork, Verb::CreateContainer, Verb::Start] {
        rig.engine.set_latency(verb, Duration::from_millis(2));
    }
    let (daemon, platform, red) = playing(&rig).await;
    for pause in 0..12 {
        let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(pause * 3)).await;
        platform.reset(&red, &started.id.to_string(), Answers::Keep).await.unwrap();
        let after = ready(&daemon, started.id).await;
        assert_eq!(after.n_resets, 1);
        until("only one incarnation to exist", async || {
            daemon.relist().await;
            (objects_of(&rig, started.id).len() == 5).then_some(())
        })
        .await;
        platform.stop(&red, &started.id.to_string(), StopReason::User).await.unwrap();
        nothing_is_left(&rig, &daemon).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_stop_beside_a_reset_ends_the_instance() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    for _ in 0..5 {
        let instance = ready_instance(&daemon, &red).await;
        let id = instance.id.to_string();
        let (reset, stopped) = tokio::join!(
            platform.reset(&red, &id, Answers::Keep),
            platform.stop(&red, &id, StopReason::User),
        );
        stopped.unwrap();
        assert!(reset.is_ok() || reset.is_err(), "either order is fine");
        in_phase(&daemon, instance.id, InstancePhase::Stopped).await;
        nothing_is_left(&rig, &daemon).await;
        assert!(platform.reset(&red, &id, Answers::Keep).await.is_err(), "it is over");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_reset_that_was_cut_off_is_finished_by_the_next_daemon() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    rig.engine.set_latency(Verb::RemoveContainer, Duration::from_millis(200));
    platform.reset(&red, &instance.id.to_string(), Answers::Keep).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(platform);
    daemon.stop().await;
    rig.engine.set_latency(Verb::RemoveContainer, Duration::ZERO);
    let daemon = rig.start().await;
    let after = ready(&daemon, instance.id).await;
    assert_eq!(after.n_resets, 1);
    until("only one incarnation to exist", async || {
        daemon.relist().await;
        (objects_of(&rig, instance.id).len() == 5).then_some(())
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_crash_loop_is_told_to_owner_and_operators_and_ends_with_a_reset() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let started = ready_instance(&daemon, &red).await;
    let db = container(&rig, started.id, "db");
    rig.engine.set_log(&db, "out of cheese\n");
    for n_deaths in 1..=Death::CRASH_LOOP {
        // Longer than any pause so far, and five of them are within the ten minutes of a loop.
        rig.clock.advance_millis(10_000);
        rig.engine.crash(&db, 137, IsOom::Yes);
        daemon.relist().await;
        until("the death to be noted and repaired", async || {
            let now = row(&daemon, started.id).await;
            (now.n_restarts == n_deaths && now.phase == InstancePhase::Ready).then_some(())
        })
        .await;
    }
    let death = row(&daemon, started.id).await.last_death.expect("it died");
    assert_eq!((death.service.as_str(), death.is_oom, death.code), ("db", true, 137));
    assert!(death.is_crash_loop());
    assert_eq!(death.last_words, None, "players read no output unless organizers say so");
    let scope = Scope::Instance(started.id);
    let healthy = condition(&platform, &scope, ConditionType::Healthy).await.unwrap();
    assert_eq!((healthy.status, healthy.reason.as_str()), (ConditionStatus::False, "CrashLooping"));
    assert!(healthy.message.contains("out of cheese"), "{}", healthy.message);

    platform.reset(&red, &started.id.to_string(), Answers::Keep).await.unwrap();
    let after = ready(&daemon, started.id).await;
    assert_eq!(after.last_death, None);
    let healthy = condition(&platform, &scope, ConditionType::Healthy).await.unwrap();
    assert_eq!((healthy.status, healthy.reason.as_str()), (ConditionStatus::True, "Passing"));
    platform.stop(&red, &started.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}
