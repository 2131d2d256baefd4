//! A disk that runs full: old images go, what is needed stays, and the event goes on.

use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::Notify;

use super::*;
use crate::config::BuildCache;
use crate::model::{ConditionStatus, Disk, NodeId};
use crate::planner::gc::{ImageHold, Pressure};
use crate::runtime::EngineError;
use crate::runtime::fake::{Fate, Verb, When};

/// Every image that is built has 50 of 1000 bytes; others use `used_bytes`.
fn set_disk(rig: &Rig, used_bytes: u64) {
    rig.engine.set_image_size(Some(50));
    rig.engine.set_disk(Some(Disk { capacity_bytes: 1000, used_bytes }));
}

fn gc_rig(used_bytes: u64) -> Rig {
    let mut rig = full_rig();
    rig.config.gc.min_age_secs = 0;
    set_disk(&rig, used_bytes);
    rig
}

/// Pushes another version of the challenge.
fn push(rig: &Rig, page: &str) {
    let mut files = FULL_FILES.to_vec();
    files[3].1 = page;
    rig.push(&files);
}

/// Pushes another version and waits until it is live; the image that was built for it.
async fn goes_live(rig: &Rig, platform: &Platform, page: &str) -> String {
    push(rig, page);
    let pushed = platform.reconcile_now().await.unwrap().revision;
    until("the push to be live", async || {
        let live = platform.live();
        (live.values().next().map(|live| live.revision) == pushed).then_some(())
    })
    .await;
    image_of(platform).await
}

/// The image that was built for the newest version.
async fn image_of(platform: &Platform) -> String {
    let states = platform.challenge_states().await.unwrap();
    let mut builds = states[0].builds.iter().filter(|build| build.service.as_str() == "web");
    builds.next().unwrap().image.clone().unwrap()
}

async fn ours(rig: &Rig) -> BTreeSet<String> {
    rig.engine.images().await.unwrap().into_iter().map(|image| image.id).collect()
}

async fn disk_pressure(platform: &Platform) -> (ConditionStatus, String) {
    let node = Scope::Node(NodeId::local());
    let stated = until("the disk to be looked at", async || {
        condition(platform, &node, ConditionType::DiskPressure).await
    })
    .await;
    (stated.status, stated.reason)
}

fn set<const N: usize>(ids: [&String; N]) -> BTreeSet<String> {
    ids.into_iter().cloned().collect()
}

#[tokio::test]
async fn images_of_old_pushes_go_and_what_is_needed_stays() {
    let rig = gc_rig(0);
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let v0 = image_of(&platform).await;
    let mut built = Vec::new();
    for page in ["1", "2", "3", "4", "5"] {
        built.push(goes_live(&rig, &platform, page).await);
    }
    let [v1, v2, v3, v4, v5] = &built[..] else { panic!("{built:?}") };
    assert_eq!(disk_pressure(&platform).await, (ConditionStatus::False, "Ok".to_owned()));

    set_disk(&rig, 550);
    let plan = platform.gc_plan().await.unwrap();
    let planned: Vec<_> = plan.plan.remove.iter().map(|image| &image.id).collect();
    assert_eq!(planned, [v1, v2]);
    assert_eq!(ours(&rig).await.len(), 6, "a plan changes nothing");
    let done = platform.gc_now().await.unwrap();
    let removed: Vec<_> = done.removed.iter().map(|image| &image.id).collect();
    assert_eq!(removed, [v1, v2]);
    assert_eq!(ours(&rig).await, set([&v0, v3, v4, v5]));
    assert_eq!(done.disk.unwrap().used_bytes, 750);
    let why = |id: &String| {
        let held = done.plan.held.iter().find(|held| held.image.id == *id).unwrap();
        let ImageHold::Pinned(pins) = &held.why else { panic!("{held:?}") };
        pins.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(why(&v0), [format!("instance {}", instance.id)]);
    assert_eq!(why(v3), ["previous version of WEB-001"]);
    assert_eq!(why(v4), ["previous version of WEB-001"]);
    assert_eq!(why(v5), ["live in WEB-001", "newest version of WEB-001"]);
    assert_eq!(done.plan.pressure, Pressure::Fine);

    // What went is wanted anew when somebody pushes it again.
    assert_eq!(goes_live(&rig, &platform, "1").await, *v1);
    daemon.relist().await;
    ready(&daemon, instance.id).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_finished_build_is_followed_by_a_look_at_the_disk() {
    let rig = gc_rig(600);
    let (daemon, platform, _) = playing(&rig).await;
    let v0 = image_of(&platform).await;
    for page in ["1", "2", "3"] {
        goes_live(&rig, &platform, page).await;
    }
    until("the oldest image to go", async || (!ours(&rig).await.contains(&v0)).then_some(())).await;
    until("the pressure to be over", async || {
        (disk_pressure(&platform).await.0 == ConditionStatus::False).then_some(())
    })
    .await;
    assert_eq!(ours(&rig).await.len(), 3);
    daemon.stop().await;
}

#[tokio::test]
async fn builds_wait_while_nothing_is_left_to_free_and_players_do_not() {
    let rig = gc_rig(0);
    let (daemon, platform, red) = playing(&rig).await;
    set_disk(&rig, 900);
    let stuck = platform.gc_now().await.unwrap();
    assert_eq!(stuck.plan.pressure, Pressure::NothingToFree);
    assert!(stuck.are_builds_paused);
    assert_eq!(
        disk_pressure(&platform).await,
        (ConditionStatus::True, "GcNothingToFree".to_owned())
    );
    let n_builds = || rig.engine.calls().iter().filter(|verb| **verb == Verb::Build).count();
    let n_before = n_builds();
    push(&rig, "1");
    let pushed = platform.reconcile_now().await.unwrap().revision;
    ready_instance(&daemon, &red).await;
    assert_eq!(n_builds(), n_before, "a build began on a full disk");

    set_disk(&rig, 0);
    let fine = platform.gc_now().await.unwrap();
    assert_eq!((fine.plan.pressure, fine.removed.len()), (Pressure::Fine, 0));
    until("the push to be live", async || {
        (platform.live().values().next().map(|live| live.revision) == pushed).then_some(())
    })
    .await;
    assert_eq!(disk_pressure(&platform).await, (ConditionStatus::False, "Ok".to_owned()));
    daemon.stop().await;
}

#[tokio::test]
async fn what_could_not_be_read_removes_nothing() {
    let rig = gc_rig(0);
    let (daemon, platform, _) = playing(&rig).await;
    for page in ["1", "2", "3"] {
        goes_live(&rig, &platform, page).await;
    }
    let all = ours(&rig).await;
    // Enough for the daemon's own looks as well.
    for _ in 0..50 {
        let (endpoint, reason) = ("fake".to_owned(), "gone".to_owned());
        rig.engine.fail_next(Verb::Images, EngineError::Unavailable { endpoint, reason });
    }
    set_disk(&rig, 800);
    platform.gc_now().await.unwrap_err();
    rig.engine.go_down();
    platform.gc_now().await.unwrap_err();
    daemon.stop().await;
    rig.engine.come_up();
    while rig.engine.images().await.is_err() {}
    assert_eq!(ours(&rig).await, all);
    drop(platform);
    // Nobody knows any more what is live, and the remote does not say what is the newest.
    rig.lose_database();
    rig.take_remote_away();
    let daemon = rig.start().await;
    let blind = daemon.platform().gc_now().await.unwrap();
    assert!(blind.plan.held.iter().all(|held| held.why == ImageHold::Unseen), "{blind:#?}");
    assert_eq!(ours(&rig).await, all);
    daemon.stop().await;
}

#[tokio::test]
async fn young_images_stay_whatever_the_disk_says() {
    let mut rig = gc_rig(0);
    rig.config.gc.min_age_secs = 1800;
    let (daemon, platform, _) = playing(&rig).await;
    for page in ["1", "2", "3", "4"] {
        goes_live(&rig, &platform, page).await;
    }
    set_disk(&rig, 700);
    assert_eq!(platform.gc_now().await.unwrap().removed, []);
    let before = ours(&rig).await.len();
    rig.clock.advance_millis(1_800_000);
    // The daemon's own look, which a new version rings for, may be faster than ours.
    platform.gc_now().await.unwrap();
    assert_eq!(before - ours(&rig).await.len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn images_of_another_installation_are_never_touched() {
    let mut rig = gc_rig(0);
    rig.config.gc.high_percent = 0;
    rig.config.gc.low_percent = 0;
    let mut other = crate::daemon::testing::Rig::new();
    other.engine = rig.engine.as_installation(other.installation());
    other.push(FULL_FILES);
    let (daemon, ..) = playing(&other).await;
    daemon.stop().await;
    let theirs = ours(&other).await;
    assert_eq!(theirs.len(), 1);
    let daemon = rig.start().await;
    let platform = daemon.platform();
    until("the newest revision to be read", async || platform.source().await.unwrap().revision)
        .await;
    platform.gc_now().await.unwrap();
    assert_eq!(ours(&other).await, theirs);
    daemon.stop().await;
}

#[tokio::test]
async fn the_build_cache_goes_first_but_only_where_it_is_ours_alone() {
    for (rule, left) in [(BuildCache::Leave, 700), (BuildCache::Trim, 500)] {
        let mut rig = gc_rig(0);
        rig.config.gc.build_cache = rule;
        let (daemon, platform, _) = playing(&rig).await;
        for page in ["1", "2", "3"] {
            goes_live(&rig, &platform, page).await;
        }
        rig.engine.set_build_cache(700);
        let done = platform.gc_now().await.unwrap();
        let n_removed = if rule == BuildCache::Leave { 1 } else { 0 };
        assert_eq!(done.removed.len(), n_removed, "{rule:?}");
        assert_eq!(rig.engine.build_cache_bytes().await.unwrap(), left, "{rule:?}");
        daemon.stop().await;
    }
}

/// Five versions on a full disk, of which two go.
async fn full_disk(rig: &Rig) -> Daemon {
    let (daemon, platform, _) = playing(rig).await;
    for page in ["1", "2", "3", "4"] {
        goes_live(rig, &platform, page).await;
    }
    set_disk(rig, 700);
    let _ = platform.gc_now().await;
    daemon
}

#[test]
fn killed_between_row_and_image_the_next_daemon_goes_on() {
    for when in [When::Before, When::After] {
        let rig = gc_rig(0);
        let died = Arc::new(Notify::new());
        let bell = Arc::clone(&died);
        rig.engine.set_hook(Arc::new(move |verb, now| {
            if now != when || verb != Verb::RemoveImage {
                return Fate::GoOn;
            }
            bell.notify_one();
            Fate::Die
        }));
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        let first = runtime();
        first.block_on(async {
            tokio::select! {
                () = died.notified() => {}
                _ = full_disk(&rig) => panic!("nothing was removed"),
            }
        });
        drop(first);
        rig.engine.revive();
        runtime().block_on(async {
            let (daemon, platform, red) = playing(&rig).await;
            // Until the newest revision is read again, everything is pinned.
            until("two images to be gone", async || {
                platform.gc_now().await.unwrap();
                let n_left = ours(&rig).await.len();
                assert!(n_left >= 3, "{when:?}: {n_left} left");
                (n_left == 3).then_some(())
            })
            .await;
            ready_instance(&daemon, &red).await;
            // Whatever went, the version it was of can come back.
            set_disk(&rig, 0);
            platform.gc_now().await.unwrap();
            let again = goes_live(&rig, &platform, "1").await;
            assert!(ours(&rig).await.contains(&again));
            daemon.stop().await;
        });
    }
}
