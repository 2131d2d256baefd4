//! Starts for which no node has room.

use futures_util::future::join_all;

use super::*;
use crate::daemon::platform::{PlaceInLine, PlatformError, Seen};
use crate::model::{PauseKind, Waiting};

/// A rig whose node takes `n` instances.
fn small_rig(n: u32) -> Rig {
    let mut rig = rig();
    rig.config.limits.instances_per_node = n;
    rig
}

async fn waits(platform: &Platform, caller: &Caller, id: InstanceId) -> Waiting {
    match platform.seen(caller, &id.to_string()).await.unwrap() {
        Seen::Waits(waiting) => waiting,
        Seen::Instance(instance) => panic!("{} is {}", instance.id, instance.phase),
    }
}

async fn started(platform: &Platform, caller: &Caller) -> InstanceId {
    platform.start(caller, start_request("WEB-001")).await.unwrap().id
}

/// Waits until the line was looked at and `id` stands at `position` of `length`.
async fn stands_at(
    platform: &Platform,
    caller: &Caller,
    id: InstanceId,
    position: usize,
    length: usize,
) {
    let wanted = PlaceInLine { position, length };
    until(&format!("{wanted} to be the place of {id}"), async || {
        let waiting = waits(platform, caller, id).await;
        (platform.place_in_line(&waiting) == Some(wanted)).then_some(())
    })
    .await;
}

/// Waits until what waited has its room and is ready.
async fn seated(daemon: &Daemon, id: InstanceId) {
    until("it to have room", async || daemon.store().instance(id).await.unwrap()).await;
    ready(daemon, id).await;
}

async fn stop(platform: &Platform, caller: &Caller, id: InstanceId) {
    platform.stop(caller, &id.to_string(), StopReason::User).await.unwrap();
}

#[tokio::test]
async fn who_finds_no_room_stands_in_line_and_teams_take_turns() {
    let rig = small_rig(2);
    let (daemon, platform, red) = playing(&rig).await;
    let yellow = player(&platform, "yellow").await;
    let (blue, green) = (player(&platform, "blue").await, player(&platform, "green").await);
    let (first, other) = (started(&platform, &red).await, started(&platform, &yellow).await);
    ready(&daemon, other).await;
    // Red asks first, but has one already, and blue's second comes after green's first.
    let red_waits = started(&platform, &red).await;
    let blue_waits = started(&platform, &blue).await;
    let blue_again = started(&platform, &blue).await;
    let green_waits = started(&platform, &green).await;
    stands_at(&platform, &blue, blue_waits, 1, 4).await;
    stands_at(&platform, &green, green_waits, 2, 4).await;
    stands_at(&platform, &red, red_waits, 3, 4).await;
    stands_at(&platform, &blue, blue_again, 4, 4).await;
    assert!(daemon.store().instance(blue_waits).await.unwrap().is_none(), "it is no instance");
    let refused = platform.renew(&blue, &blue_waits.to_string(), None).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("Instance {blue_waits} waits for room (1 of 4)"));
    let others = platform.seen(&green, &blue_waits.to_string()).await;
    assert!(matches!(others, Err(PlatformError::NotYours)), "{others:?}");

    stop(&platform, &yellow, other).await;
    seated(&daemon, blue_waits).await;
    stands_at(&platform, &green, green_waits, 1, 3).await;
    // Whoever leaves is no instance and keeps nobody waiting.
    assert!(platform.leave_line(&green, &green_waits.to_string()).await.unwrap());
    stop(&platform, &blue, blue_waits).await;
    // Blue has none now, and red has one.
    seated(&daemon, blue_again).await;
    stop(&platform, &blue, blue_again).await;
    seated(&daemon, red_waits).await;
    for id in [first, red_waits] {
        stop(&platform, &red, id).await;
    }
    nothing_is_left(&rig, &daemon).await;
    assert_eq!(daemon.store().waiting().await.unwrap(), []);
    daemon.stop().await;
}

#[tokio::test]
async fn a_repeated_wish_waits_once_and_a_team_has_no_more_than_it_may() {
    let mut rig = small_rig(1);
    rig.config.limits.instances_per_team = 2;
    rig.config.limits.waiting_starts = 2;
    let (daemon, platform, red) = playing(&rig).await;
    let first = started(&platform, &red).await;
    let blue = player(&platform, "blue").await;
    let same = || StartRequest { repeats: Repeats::Same, ..start_request("WEB-001") };
    let wishes = join_all((0..10).map(|_| platform.start(&blue, same()))).await;
    let ids: BTreeSet<_> = wishes.into_iter().map(|it| it.unwrap().id).collect();
    assert_eq!(ids.len(), 1, "one wish is one place in the line");
    started(&platform, &red).await;
    let refused = platform.start(&red, start_request("WEB-001")).await.unwrap_err();
    assert_eq!(refused.to_string(), "Max 2 concurrent instances per team");
    let green = player(&platform, "green").await;
    let refused = platform.start(&green, start_request("WEB-001")).await.unwrap_err();
    assert_eq!(refused.to_string(), "Node at capacity", "two may wait");
    ready(&daemon, first).await;
    daemon.stop().await;
}

#[tokio::test]
async fn the_line_survives_a_restart_and_what_cannot_start_any_more_says_why() {
    let mut rig = small_rig(1);
    rig.config.limits.waiting_secs = 600;
    let (daemon, platform, red) = playing(&rig).await;
    let first = started(&platform, &red).await;
    ready(&daemon, first).await;
    let blue = player(&platform, "blue").await;
    let waiting = started(&platform, &blue).await;
    drop(platform);
    daemon.stop().await;

    let daemon = rig.start().await;
    let platform = daemon.platform();
    live(&platform, "WEB-001").await;
    stands_at(&platform, &blue, waiting, 1, 1).await;
    let scope = Scope::Challenge(challenge_id("WEB-001"));
    super::operators::pause(&platform, PauseKind::Hold, scope.clone()).await;
    stop(&platform, &red, first).await;
    until("the line to be held", async || {
        let why = platform.why_waiting(waiting).unwrap_or_default();
        why.contains("an organizer holds the challenge").then_some(())
    })
    .await;
    let explained = platform.explain(&Scope::Instance(waiting)).await.unwrap();
    assert_eq!(explained.report.because, ["an organizer holds the challenge"]);

    rig.clock.advance_millis(600_000);
    let failed = until("it to have waited too long", async || {
        waits(&platform, &blue, waiting).await.failure
    })
    .await;
    assert_eq!(failed.0, "no room became free within 10 minutes: try again later");
    platform.resume(PauseKind::Hold, scope).await.unwrap();
    let again = started(&platform, &blue).await;
    seated(&daemon, again).await;
    rig.clock.advance_millis(700_000);
    let third = player(&platform, "third").await;
    let third = platform.start(&third, start_request("WEB-001")).await.unwrap().id;
    until("what failed to be forgotten", async || {
        daemon.store().waiting_start(waiting).await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(daemon.store().waiting_start(third).await.unwrap().is_some());
    daemon.stop().await;
}
