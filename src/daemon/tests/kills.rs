//! Killed at every engine call of a whole life: the next daemon finishes what the last one began.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::*;
use crate::planner::lifecycle::Answers;
use crate::runtime::fake::{Fate, Verb, When};

/// How far the story has come, as the player remembers it.
#[derive(Default)]
struct Story {
    red: Option<Caller>,
    id: Option<InstanceId>,
    is_stopped: bool,
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn changes_something(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::Build
            | Verb::CreateNetwork
            | Verb::RemoveNetwork
            | Verb::CreateVolume
            | Verb::RemoveVolume
            | Verb::CreateContainer
            | Verb::Upload
            | Verb::Start
            | Verb::Stop
            | Verb::RemoveContainer
    )
}

/// Lives on from where the story stands to its end.
async fn live_on(rig: &Rig, story: &mut Story) {
    let daemon = rig.start().await;
    let platform = daemon.platform();
    live(&platform, "WEB-001").await;
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    if story.red.is_none() {
        story.red = Some(player(&platform, "red").await);
    }
    let red = story.red.clone().unwrap();
    if story.id.is_none() {
        let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
        story.id = Some(started.id);
    }
    let id = story.id.unwrap();
    if !story.is_stopped {
        let usable = ready(&daemon, id).await;
        assert_eq!(rig.engine.containers(Some(id)).await.unwrap().len(), 3);
        assert_eq!(usable.surface.len(), 1);
        if usable.n_resets == 0 {
            platform.reset(&red, &id.to_string(), Answers::Keep).await.unwrap();
        }
        ready(&daemon, id).await;
        until("only the new incarnation to exist", async || {
            daemon.relist().await;
            let names = objects_of(rig, id);
            let is_new = |name: &String| !name.contains("-v-");
            (names.len() == 5 && names.iter().all(is_new)).then_some(())
        })
        .await;
        platform.stop(&red, &id.to_string(), StopReason::User).await.unwrap();
        story.is_stopped = true;
    }
    nothing_is_left(rig, &daemon).await;
    let ended = row(&daemon, id).await;
    assert_eq!((ended.phase, ended.error), (InstancePhase::Stopped, None));
    assert!(platform.archived(&id.to_string()).await.unwrap().is_some(), "it has no record");
    let kept = daemon.store().log_incarnation(id).await.unwrap();
    assert_eq!(kept, Some(ended.n_resets), "the last words of its containers are lost");
}

/// Kills the daemon at the `nth` call that `counts`, and lets the next one live on. False when
/// there are not that many.
fn kill_at(nth: usize, when: When, counts: fn(Verb) -> bool) -> bool {
    let mut rig = full_rig();
    rig.config.network.n_ready = 1;
    let died = Arc::new(Notify::new());
    let n_calls = Arc::new(AtomicUsize::new(0));
    let bell = Arc::clone(&died);
    rig.engine.set_hook(Arc::new(move |verb, now| {
        if now != when || !counts(verb) || n_calls.fetch_add(1, Ordering::SeqCst) != nth {
            return Fate::GoOn;
        }
        // Shown when the test fails: where it was killed.
        println!("killed {now:?} call {nth}, {verb:?}");
        bell.notify_one();
        Fate::Die
    }));
    let mut story = Story::default();
    let first = runtime();
    let was_killed = first.block_on(async {
        tokio::select! {
            () = died.notified() => true,
            () = live_on(&rig, &mut story) => false,
        }
    });
    // Every task ends where it stands, as in a killed process.
    drop(first);
    if was_killed {
        rig.engine.revive();
        runtime().block_on(live_on(&rig, &mut story));
    }
    was_killed
}

fn kill_everywhere(when: When, counts: fn(Verb) -> bool) -> usize {
    let mut nth = 0;
    while kill_at(nth, when, counts) {
        nth += 1;
    }
    nth
}

#[test]
fn killed_before_any_change_the_next_daemon_converges() {
    let n_points = kill_everywhere(When::Before, changes_something);
    assert!(n_points >= 15, "only {n_points} points");
}

#[test]
fn killed_after_any_change_the_next_daemon_converges() {
    let n_points = kill_everywhere(When::After, changes_something);
    assert!(n_points >= 15, "only {n_points} points");
}

#[test]
fn killed_while_looking_the_next_daemon_converges() {
    let looks = |verb| !changes_something(verb) && verb != Verb::Events;
    assert!(kill_everywhere(When::After, looks) >= 10);
}
