//! The hubs of teams, on an engine in memory: where they lead, and that no kill leaves one where it should
//! not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;
use crate::config::VpnMode;
use crate::daemon::platform::{PlatformError, VpnTarget};
use crate::model::TeamId;
use crate::runtime::fake::{Fate, Verb, When};

fn hub_rig() -> Rig {
    let mut rig = Rig::new();
    rig.add_image("base:1");
    rig.push(vpn::LAB_FILES);
    rig.config.vpn.mode = VpnMode::Team;
    rig.config.network.n_ready = 1;
    rig
}

fn team(caller: &Caller) -> TeamId {
    caller.team().unwrap()
}

/// Every container is on networks of its own instance only, and a hub on those of its team's.
async fn apart(rig: &Rig, daemon: &Daemon) {
    let store = daemon.store();
    let before = store.networks().await.unwrap();
    let containers = rig.engine.containers(None).await.unwrap();
    let after = store.networks().await.unwrap();
    for container in containers {
        for network in container.addresses.keys() {
            let row = |rows: &[crate::store::NetworkRow]| {
                rows.iter().find(|row| row.engine_id.as_ref() == Some(network)).cloned()
            };
            // What changes hands just now is looked at the next time.
            let (Some(row), Some(now)) = (row(&before), row(&after)) else { continue };
            let (Some((owner, _)), true) = (&row.owner, row.owner == now.owner) else { continue };
            if Some(*owner) == container.instance {
                continue;
            }
            let of = store.instance(*owner).await.unwrap().unwrap().team;
            let hubs = store.hubs().await.unwrap();
            let hub = hubs.iter().find(|hub| Some(hub.instance) == container.instance);
            let hub = hub.unwrap_or_else(|| panic!("{} is on {row:?}", container.name));
            assert_eq!(hub.team, of, "{} is on a network of another team: {row:?}", container.name);
            assert!(now.is_single_use, "no mark: {row:?}");
        }
    }
}

/// Waits until the hub of a team is on and leads to so many networks; which they are.
async fn leads(rig: &Rig, daemon: &Daemon, team: TeamId, n: usize) -> BTreeSet<String> {
    until(&format!("the hub to lead to {n} networks"), async || {
        apart(rig, daemon).await;
        let hubs = daemon.store().hubs().await.unwrap();
        let hub = hubs.iter().find(|hub| hub.team == team)?;
        let told = hub.told.clone().filter(|told| told.len() == n)?;
        let seen = rig.engine.containers(Some(hub.instance)).await.unwrap();
        let rows = daemon.store().networks().await.unwrap();
        let on: Vec<_> = seen.first()?.addresses.keys().cloned().collect();
        let is_edge = |id: &String| seen[0].wishes.values().any(|edge| edge == id);
        let further: BTreeSet<_> = on.into_iter().filter(|id| !is_edge(id)).collect();
        let subnets =
            rows.iter().filter(|row| row.engine_id.as_ref().is_some_and(|id| further.contains(id)));
        let is_same = subnets.map(|row| row.spec.subnet).collect::<BTreeSet<_>>() == told;
        (is_same && further.len() == n && daemon.shared.hubs.is_settled(hub.instance))
            .then_some(further)
    })
    .await
}

async fn stopped(platform: &Platform, caller: &Caller, id: InstanceId) {
    platform.stop(caller, &id.to_string(), StopReason::User).await.unwrap();
}

#[tokio::test]
async fn a_hub_leads_to_the_engagements_of_its_team_as_they_come_and_go() {
    let mut rig = hub_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let blue = player(&platform, "blue").await;
    let of = |caller: &Caller| team(caller).to_string();
    let own = || VpnTarget::Own;
    let none = platform.team_vpn_profile(&red, &of(&red), own()).await.unwrap_err();
    assert!(none.to_string().contains("start one"), "{none}");
    let one = ready_instance(&daemon, &red).await.id;
    let first = leads(&rig, &daemon, team(&red), 1).await;
    let (hub, profile) = until("the team's profile", async || {
        platform.team_vpn_profile(&red, &of(&red), own()).await.ok()
    })
    .await;
    assert!(profile.contains("# All engagements (vpn-hub)"), "{profile}");
    assert!(profile.contains(" web.WEB-001\n"), "{profile}");
    let refused = platform.team_vpn_profile(&blue, &of(&red), own()).await.unwrap_err();
    assert_eq!(refused.to_string(), PlatformError::NotYours.to_string());

    // Another of the team, one of another team, and one that goes.
    let two = ready_instance(&daemon, &red).await.id;
    let both = leads(&rig, &daemon, team(&red), 2).await;
    let theirs = ready_instance(&daemon, &blue).await.id;
    let of_blue = leads(&rig, &daemon, team(&blue), 1).await;
    assert!(both.is_superset(&first) && both.is_disjoint(&of_blue));
    stopped(&platform, &red, one).await;
    let left = leads(&rig, &daemon, team(&red), 1).await;
    assert!(left.is_disjoint(&first));
    until("the network to be gone", async || {
        let seen = rig.engine.networks().await.unwrap();
        seen.iter().all(|it| !first.contains(&it.id)).then_some(())
    })
    .await;
    let again = platform.team_vpn_profile(&red, &of(&red), own()).await.unwrap();
    assert_eq!(again.0, hub, "it is the same hub");
    assert_eq!(platform.instances(&red).await.unwrap().len(), 1, "players see nothing of it");
    assert_eq!(platform.counts().await.unwrap().live_instances, 2);

    // The hub is taken away, and comes back to where it was.
    let seen = rig.engine.containers(Some(hub)).await.unwrap();
    rig.engine.remove_by_hand(&seen[0].id);
    until("another container", async || {
        let now = rig.engine.containers(Some(hub)).await.unwrap();
        now.first().filter(|it| it.id != seen[0].id).map(|_| ())
    })
    .await;
    assert_eq!(leads(&rig, &daemon, team(&red), 1).await, left);
    // Somebody puts it onto a network of another team: it is taken off, and was told nothing of it.
    let mine = rig.engine.containers(Some(hub)).await.unwrap()[0].id.clone();
    let stranger = of_blue.first().unwrap();
    rig.engine.connect_network(stranger, &mine).await.unwrap();
    daemon.shared.hubs.doubt_for_test();
    until("it to be taken off", async || {
        let seen = rig.engine.container(&mine).await.unwrap().unwrap();
        (!seen.addresses.contains_key(stranger)).then_some(())
    })
    .await;

    // Another mode: hubs end, and nothing else.
    daemon.stop().await;
    drop(platform);
    rig.config.vpn.mode = VpnMode::Instance;
    let daemon = rig.start().await;
    until("the hubs to end", async || {
        daemon.store().hubs().await.unwrap().is_empty().then_some(())
    })
    .await;
    let platform = daemon.platform();
    let none = platform.team_vpn_profile(&red, &of(&red), own()).await.unwrap_err();
    assert!(none.to_string().contains("teams have none"), "{none}");
    assert_eq!(ready(&daemon, two).await.error, None);
    for (caller, id) in [(&red, two), (&blue, theirs)] {
        stopped(&platform, caller, id).await;
    }
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

/// How far the story has come, as the players remember it.
#[derive(Default)]
struct Story {
    players: Vec<Caller>,
    ids: Vec<InstanceId>,
    is_stopped: bool,
}

async fn live_on(rig: &Rig, story: &mut Story) {
    let daemon = rig.start().await;
    let platform = daemon.platform();
    live(&platform, "WEB-001").await;
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    for name in ["red", "blue"].iter().skip(story.players.len()) {
        story.players.push(player(&platform, name).await);
    }
    let (red, blue) = (story.players[0].clone(), story.players[1].clone());
    while story.ids.len() < 2 {
        story.ids.push(platform.start(&red, start_request("WEB-001")).await.unwrap().id);
    }
    if !story.is_stopped {
        leads(rig, &daemon, team(&red), 2).await;
        platform.stop(&red, &story.ids[0].to_string(), StopReason::User).await.ok();
        story.is_stopped = true;
    }
    leads(rig, &daemon, team(&red), 1).await;
    while story.ids.len() < 4 {
        story.ids.push(platform.start(&blue, start_request("WEB-001")).await.unwrap().id);
    }
    let of_blue = leads(rig, &daemon, team(&blue), 2).await;
    let of_red = leads(rig, &daemon, team(&red), 1).await;
    assert!(of_blue.is_disjoint(&of_red));
    apart(rig, &daemon).await;
    daemon.relist().await;
    apart(rig, &daemon).await;
}

fn arranges(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::ConnectNetwork
            | Verb::DisconnectNetwork
            | Verb::RemoveNetwork
            | Verb::CreateNetwork
            | Verb::Exec
    )
}

/// Kills the daemon at the `nth` call, and lets the next one live on. False when there are not that
/// many.
fn kill_at(nth: usize, when: When) -> bool {
    let rig = hub_rig();
    let died = Arc::new(Notify::new());
    let (n_calls, bell) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&died));
    rig.engine.set_hook(Arc::new(move |verb, now| {
        if now != when || !arranges(verb) || n_calls.fetch_add(1, Ordering::SeqCst) != nth {
            return Fate::GoOn;
        }
        println!("killed {now:?} call {nth}, {verb:?}");
        bell.notify_one();
        Fate::Die
    }));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut story = Story::default();
    let first = runtime();
    let was_killed = first.block_on(async {
        tokio::select! {
            () = died.notified() => true,
            () = live_on(&rig, &mut story) => false,
        }
    });
    drop(first);
    if was_killed {
        rig.engine.revive();
        runtime().block_on(live_on(&rig, &mut story));
    }
    was_killed
}

#[test]
fn killed_anywhere_no_hub_is_on_a_network_of_another_team() {
    for when in [When::Before, When::After] {
        let n_points = (0..60).take_while(|nth| kill_at(*nth, when)).count();
        assert!(n_points >= 15, "only {n_points} points");
    }
}
