//! Hands and accidents: what a ready instance lost comes back, what is not ours stays.

use super::*;
use crate::model::{ConditionStatus, NodeId};
use crate::runtime::ContainerState;
use crate::runtime::fake::IsOom;
use crate::store::NetworkRow;

/// Waits until the instance is ready with all its containers up and on their networks.
pub(super) async fn whole(rig: &Rig, daemon: &Daemon, id: InstanceId) -> Instance {
    until("the instance to be whole", async || {
        let seen = rig.engine.containers(Some(id)).await.unwrap();
        let is_up = |service: &str, n_networks: usize| {
            seen.iter().any(|container| {
                container.service.as_ref().is_some_and(|name| name.as_str() == service)
                    && container.state == ContainerState::Running
                    && container.addresses.len() == n_networks
            })
        };
        let now = row(daemon, id).await;
        assert_eq!(now.error, None);
        let is_whole = seen.len() == 3 && is_up("web", 2) && is_up("db", 1);
        (is_whole && now.phase == InstancePhase::Ready && !daemon.is_busy(id)).then_some(now)
    })
    .await
}

/// Breaks a ready instance with `hurt` and waits until it is whole again, with the same surface.
async fn repaired(hurt: impl AsyncFn(&Rig, InstanceId)) -> Instance {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let before = ready_instance(&daemon, &red).await;
    hurt(&rig, before.id).await;
    daemon.relist().await;
    let after = whole(&rig, &daemon, before.id).await;
    assert_eq!(after.surface, before.surface);
    assert_eq!((after.started_at, after.expires_at), (before.started_at, before.expires_at));
    platform.stop(&red, &before.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
    after
}

#[tokio::test]
async fn a_killed_container_is_started_again() {
    let after = repaired(async |rig, id| {
        rig.engine.crash(&container(rig, id, "db"), 137, IsOom::No);
    })
    .await;
    assert_eq!(after.n_restarts, 1);
}

#[tokio::test]
async fn a_removed_container_is_made_again() {
    repaired(async |rig, id| rig.engine.remove_by_hand(&container(rig, id, "web"))).await;
}

#[tokio::test]
async fn a_paused_container_is_made_again() {
    repaired(async |rig, id| rig.engine.pause_by_hand(&container(rig, id, "web"))).await;
}

#[tokio::test]
async fn an_engine_that_restarted_runs_everything_again_on_the_same_ports() {
    repaired(async |rig, _| rig.engine.restart()).await;
}

#[tokio::test]
async fn a_network_that_was_taken_away_is_replaced_with_all_that_hung_on_it() {
    repaired(async |rig, id| {
        let web = container(rig, id, "web");
        let seen = rig.engine.container(&web).await.unwrap().unwrap();
        for network in seen.addresses.keys() {
            rig.engine.remove_network(network).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_stopped_container_whose_network_is_gone_is_made_again() {
    repaired(async |rig, id| {
        let web = container(rig, id, "web");
        let seen = rig.engine.container(&web).await.unwrap().unwrap();
        rig.engine.crash(&web, 1, IsOom::No);
        for network in seen.addresses.keys() {
            rig.engine.remove_network(network).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_network_that_vanished_from_the_stock_is_not_handed_out() {
    let mut rig = full_rig();
    rig.config.network.n_ready = 2;
    let (daemon, platform, red) = playing(&rig).await;
    until("the stock to be full", async || {
        (rig.engine.networks().await.unwrap().len() == 2).then_some(())
    })
    .await;
    for network in rig.engine.networks().await.unwrap() {
        rig.engine.remove_network(&network.id).await.unwrap();
    }
    let begin = tokio::time::Instant::now();
    let instance = ready_instance(&daemon, &red).await;
    assert!(begin.elapsed() < Duration::from_secs(2), "the start waited for a relist");
    whole(&rig, &daemon, instance.id).await;
    platform.stop(&red, &instance.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

/// As when the database is that of yesterday: names follow from subnets, so only the id tells.
#[tokio::test]
async fn a_network_that_bears_the_name_of_one_of_the_stock_is_not_handed_out_for_it() {
    let mut rig = full_rig();
    rig.config.network.n_ready = 2;
    let (daemon, platform, red) = playing(&rig).await;
    until("the stock to be full", async || {
        let rows = daemon.store().networks().await.unwrap();
        let is_ready = |row: &&NetworkRow| row.state == NetworkState::Ready;
        (rows.iter().filter(is_ready).count() == 2).then_some(())
    })
    .await;
    for row in daemon.store().networks().await.unwrap() {
        rig.engine.remove_network(&row.spec.name).await.unwrap();
        rig.engine.create_network(&row.spec).await.unwrap();
    }
    let begin = tokio::time::Instant::now();
    let instance = ready_instance(&daemon, &red).await;
    assert!(begin.elapsed() < Duration::from_secs(2), "the start waited for a relist");
    whole(&rig, &daemon, instance.id).await;
    platform.stop(&red, &instance.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_service_that_dies_while_another_is_awaited_is_not_called_ready() {
    let rig = full_rig();
    let compose = FULL.replace("  db:\n", "  db:\n    restart: 'no'\n");
    let mut files = FULL_FILES.to_vec();
    files[1].1 = &compose;
    rig.push(&files);
    let (daemon, platform, red) = playing(&rig).await;
    rig.engine.set_port("web", 8080, crate::runtime::fake::Port::Closed);
    let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
    until("the last service to be probed", async || {
        (row(&daemon, started.id).await.phase == InstancePhase::Probing).then_some(())
    })
    .await;
    rig.engine.crash(&container(&rig, started.id, "db"), 9, IsOom::No);
    rig.engine.set_port("web", 8080, crate::runtime::fake::Port::Open);
    let failed = in_phase(&daemon, started.id, InstancePhase::Failed).await;
    assert_eq!(failed.error.as_deref(), Some("service `db` exited with code 9"));
    assert_eq!(failed.started_at, failed.created_at, "it never was ready");
    daemon.stop().await;
}

#[tokio::test]
async fn what_belongs_to_another_installation_is_never_touched() {
    let rig = full_rig();
    let other = crate::daemon::testing::Rig::new();
    let theirs = rig.engine.as_installation(other.installation());
    // They have an instance on the very same machine.
    let (daemon, _, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    daemon.stop().await;
    let before = rig.engine.object_names();
    let mut other = other;
    other.engine = theirs;
    other.push(FULL_FILES);
    let (daemon, platform, red) = playing(&other).await;
    daemon.relist().await;
    let ours = ready_instance(&daemon, &red).await;
    platform.stop(&red, &ours.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&other, &daemon).await;
    assert!(rig.engine.object_names().is_superset(&before));
    assert_eq!(objects_of(&rig, instance.id).len(), 5);
    daemon.stop().await;
}

#[tokio::test]
async fn containers_of_an_unknown_instance_are_held() {
    let rig = full_rig();
    let (daemon, _, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    daemon.stop().await;
    rig.lose_database();
    let daemon = rig.start().await;
    let platform = daemon.platform();
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    daemon.relist().await;
    let node = Scope::Node(NodeId::local());
    let held = condition(&platform, &node, ConditionType::PruneHeld).await.unwrap();
    assert_eq!((held.status, held.reason.as_str()), (ConditionStatus::True, "AwaitingApproval"));
    assert_eq!(objects_of(&rig, instance.id).len(), 5);

    let unknown = platform.unknown().await.unwrap();
    assert_eq!(unknown.keys().copied().collect::<Vec<_>>(), [instance.id]);
    let left = &unknown[&instance.id];
    assert_eq!((left.containers.len(), left.volumes.len()), (3, 2));
    let other = InstanceId::new(uuid::Uuid::from_bytes([9; 16]));
    assert!(platform.remove_unknown(&[other]).await.unwrap().is_empty());
    assert_eq!(objects_of(&rig, instance.id).len(), 5, "what nobody named stays");
    platform.remove_unknown(&[instance.id]).await.unwrap();
    assert_eq!(objects_of(&rig, instance.id).len(), 0);
    until("nothing to be held any more", async || {
        let held = condition(&platform, &node, ConditionType::PruneHeld).await.unwrap();
        (held.status == ConditionStatus::False).then_some(())
    })
    .await;
    platform.accept_loss("ada").await;
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_known_instance_is_no_matter_of_recovery() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    assert!(platform.unknown().await.unwrap().is_empty());
    assert!(platform.remove_unknown(&[instance.id]).await.unwrap().is_empty());
    assert_eq!(objects_of(&rig, instance.id).len(), 5);
    daemon.stop().await;
}

#[tokio::test]
async fn a_service_that_dies_again_and_again_is_started_ever_later() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let started = ready_instance(&daemon, &red).await;
    // Each worker knows of the deaths that an earlier one repaired.
    for _ in 0..3 {
        rig.engine.crash(&container(&rig, started.id, "db"), 1, IsOom::No);
        daemon.relist().await;
        whole(&rig, &daemon, started.id).await;
    }
    let after = row(&daemon, started.id).await;
    assert_eq!(after.n_restarts, 3);
    let took = platform.now().millis_since(started.started_at);
    assert!(took >= 1_000, "three restarts within {took} ms");
    platform.stop(&red, &started.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}
