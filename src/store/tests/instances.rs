//! Limits, ports, and changes that do not interleave.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::model::{ChallengeId, StopReason};

fn set_phase(phase: InstancePhase) -> impl FnOnce(&mut Instance) + Send + 'static {
    move |instance| instance.phase = phase
}

async fn ids(store: &Store, filter: InstanceFilter) -> Vec<InstanceId> {
    store.instances(filter).await.unwrap().into_iter().map(|instance| instance.id).collect()
}

fn ports(instance: &Instance) -> Vec<(Transport, u16)> {
    instance.surface.iter().map(|endpoint| (endpoint.transport, endpoint.port)).collect()
}

#[tokio::test]
async fn an_instance_is_stored_as_it_was_asked_for_but_queued_and_with_ports() {
    let fixture = Fixture::new();
    let mut new = new_instance(1);
    new.instance.phase = InstancePhase::Ready;
    let stored = fixture.store.insert_instance(new).await.unwrap();
    let mut expected = instance(1);
    for (endpoint, got) in expected.surface.iter_mut().zip(&stored.surface) {
        assert!((20_000..=20_999).contains(&got.port), "{}", got.port);
        endpoint.port = got.port;
    }
    assert_eq!(stored, expected);
    let Fixture { store, folder: _folder } = fixture.reopened();
    assert_eq!(store.instance(instance_id(1)).await.unwrap(), Some(stored));
    assert_eq!(store.instance_spec(instance_id(1)).await.unwrap(), Some(spec()));
    assert_eq!(store.instance(instance_id(2)).await.unwrap(), None);
    assert_eq!(store.instance_spec(instance_id(2)).await.unwrap(), None);
}

#[tokio::test]
async fn every_field_that_may_change_is_kept() {
    let fixture = Fixture::new();
    let before = fixture.store.insert_instance(new_instance(1)).await.unwrap();
    let (after, said) = fixture
        .store
        .change_instance(instance_id(1), |instance| {
            instance.phase = InstancePhase::Removing;
            instance.error = Some("it broke".to_owned());
            instance.stop_reason = Some(StopReason::HealthCheckFailed);
            instance.surface[0].host = "ctf.example".to_owned();
            instance.started_at = at(50);
            instance.stopped_at = Some(at(60));
            instance.ttl_secs = 7;
            instance.expires_at = at(57);
            instance.n_restarts = 3;
            // What it is stays.
            instance.team = team(99);
            instance.id = instance_id(99);
            "said"
        })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(said, "said");
    assert_eq!((after.id, after.team, after.n_restarts), (before.id, before.team, 3));
    assert_eq!(fixture.reopened().store.instance(instance_id(1)).await.unwrap(), Some(after));
}

#[tokio::test]
async fn a_team_and_a_node_have_limits_that_include_what_failed_or_not() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let with = |n: u128, per_team, per_node| {
        let mut new = new_instance(n);
        new.instance.team = team(1);
        new.limits = InstanceLimits { per_team, per_node };
        store.insert_instance(new)
    };
    with(1, 2, 9).await.unwrap();
    with(2, 2, 9).await.unwrap();
    let refused = with(3, 2, 9).await.unwrap_err();
    assert!(matches!(refused, InsertError::TeamLimit { limit: 2 }), "{refused}");
    store.change_instance(instance_id(2), set_phase(InstancePhase::Failed)).await.unwrap();
    let refused = with(3, 2, 9).await.unwrap_err();
    assert!(matches!(refused, InsertError::TeamLimit { limit: 2 }), "a failed one counts");
    let refused = with(3, 9, 1).await.unwrap_err();
    assert!(matches!(refused, InsertError::NodeLimit { limit: 1 }), "{refused}");
    with(3, 9, 2).await.expect("a failed one needs nothing of the node");
    store.change_instance(instance_id(2), set_phase(InstancePhase::Stopped)).await.unwrap();
    with(4, 3, 9).await.expect("a stopped one does not count");
    assert_eq!(store.instance(instance_id(5)).await.unwrap(), None);
}

#[tokio::test]
async fn listings_are_in_the_order_of_asking() {
    let Fixture { store, folder: _folder } = Fixture::new();
    for n in [5, 2, 3, 4] {
        let mut new = new_instance(n);
        if n == 4 {
            new.instance.challenge = "PWN-001".parse().unwrap();
        }
        store.insert_instance(new).await.unwrap();
    }
    store.change_instance(instance_id(5), set_phase(InstancePhase::Failed)).await.unwrap();
    store.change_instance(instance_id(3), set_phase(InstancePhase::Stopped)).await.unwrap();
    store.change_instance(instance_id(2), set_phase(InstancePhase::Removing)).await.unwrap();
    for (filter, expected) in [
        (InstanceFilter::default(), vec![2, 4]),
        (InstanceFilter { which: Which::LiveOrFailed, ..Default::default() }, vec![5, 2, 4]),
        (InstanceFilter { which: Which::All, ..Default::default() }, vec![5, 2, 3, 4]),
        (
            InstanceFilter { which: Which::All, team: Some(team(2)), ..Default::default() },
            vec![5, 2],
        ),
        (
            InstanceFilter {
                challenge: Some("PWN-001".parse::<ChallengeId>().unwrap()),
                ..Default::default()
            },
            vec![4],
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().map(instance_id).collect();
        assert_eq!(ids(&store, filter.clone()).await, expected, "{filter:?}");
    }
    let counts = store.counts(&NodeId::local()).await.unwrap();
    assert_eq!(counts, InstanceCounts { running: 1, live_or_failed: 3 });
    assert_eq!(store.counts(&"other".parse().unwrap()).await.unwrap(), InstanceCounts::default());
}

#[tokio::test]
async fn a_lease_ends_for_live_and_failed_instances_alike() {
    let Fixture { store, folder: _folder } = Fixture::new();
    for n in 1..=5 {
        store.insert_instance(new_instance(n)).await.unwrap();
    }
    store.change_instance(instance_id(2), set_phase(InstancePhase::Failed)).await.unwrap();
    store.change_instance(instance_id(3), set_phase(InstancePhase::Stopped)).await.unwrap();
    store.change_instance(instance_id(4), set_phase(InstancePhase::Removing)).await.unwrap();
    assert_eq!(store.expired(at(100)).await.unwrap(), []);
    assert_eq!(store.expired(at(101)).await.unwrap(), [instance_id(1)]);
    assert_eq!(store.expired(at(999)).await.unwrap(), [1, 2, 5].map(instance_id));
}

#[tokio::test]
async fn what_is_over_does_not_live_again() {
    let Fixture { store, folder: _folder } = Fixture::new();
    store.insert_instance(new_instance(1)).await.unwrap();
    store.change_instance(instance_id(1), set_phase(InstancePhase::Failed)).await.unwrap();
    let revived = store.change_instance(instance_id(1), set_phase(InstancePhase::Ready)).await;
    assert!(matches!(revived, Err(StoreError::InstanceOver { .. })), "{revived:?}");
    store.change_instance(instance_id(1), set_phase(InstancePhase::Removing)).await.unwrap();
    store.change_instance(instance_id(1), set_phase(InstancePhase::Stopped)).await.unwrap();
    for phase in [InstancePhase::Queued, InstancePhase::Removing, InstancePhase::Failed] {
        let revived = store.change_instance(instance_id(1), set_phase(phase)).await;
        assert!(matches!(revived, Err(StoreError::InstanceOver { .. })), "{revived:?}");
    }
    let kept = store.instance(instance_id(1)).await.unwrap().unwrap();
    assert_eq!(kept.phase, InstancePhase::Stopped);
    assert_eq!(store.change_instance(instance_id(9), |_| ()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_at_once_do_not_lose_each_other() {
    let Fixture { store, folder: _folder } = Fixture::new();
    store.insert_instance(new_instance(1)).await.unwrap();
    let changes = (0..100).map(|_| {
        store.change_instance(instance_id(1), |instance| {
            instance.n_restarts += 1;
            instance.n_restarts
        })
    });
    let mut seen: Vec<_> = futures_util::future::join_all(changes)
        .await
        .into_iter()
        .map(|outcome| outcome.unwrap().unwrap().1)
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=100).collect::<Vec<_>>(), "each saw the one before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ports_are_unique_when_many_ask_at_once() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let asked = (1..=40).map(|n| store.insert_instance(new_instance(n)));
    let stored: Vec<_> =
        futures_util::future::join_all(asked).await.into_iter().map(Result::unwrap).collect();
    let all: Vec<_> = stored.iter().flat_map(ports).collect();
    let unique: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!((all.len(), unique.len()), (120, 120));
}

#[tokio::test]
async fn a_range_is_used_up_and_nothing_of_a_refused_instance_is_kept() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let in_small_range = |n: u128| {
        let mut new = new_instance(n);
        // Two TCP ports and one UDP port each: room for one and a half.
        new.ports = PortRange { first: 30_000, last: 30_002 };
        store.insert_instance(new)
    };
    let first = in_small_range(1).await.unwrap();
    let refused = in_small_range(2).await.unwrap_err();
    assert!(matches!(refused, InsertError::NoFreePort), "{refused}");
    assert_eq!(store.instance(instance_id(2)).await.unwrap(), None);

    // The half-made instance gave its port back, and so does an ended one.
    for phase in [InstancePhase::Failed, InstancePhase::Stopped] {
        store.change_instance(instance_id(1), set_phase(phase)).await.unwrap();
    }
    let second = in_small_range(2).await.unwrap();
    assert_eq!(ports(&second).len(), 3);
    assert_eq!(ports(&first).len(), 3);
}

#[tokio::test]
async fn a_freed_port_comes_last() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let ask = |n: u128| {
        let mut new = new_instance(n);
        new.instance.surface = vec![endpoint(Transport::Tcp)];
        new.ports = PortRange { first: 30_000, last: 30_009 };
        store.insert_instance(new)
    };
    let mut order = Vec::new();
    for n in 1..=20 {
        let instance = ask(n).await.unwrap();
        order.push(instance.surface[0].port);
        store.change_instance(instance.id, set_phase(InstancePhase::Stopped)).await.unwrap();
    }
    let unique: BTreeSet<_> = order[..10].iter().collect();
    assert_eq!(unique.len(), 10, "every other port first: {order:?}");
    assert_eq!(order[..10], order[10..], "then the one freed longest ago");
}

#[tokio::test]
async fn a_port_that_a_stranger_has_is_replaced_and_left_alone_for_ten_minutes() {
    tokio::time::pause();
    let Fixture { store, folder: _folder } = Fixture::new();
    let range = PortRange { first: 30_000, last: 30_003 };
    let ask = |n: u128| {
        let mut new = new_instance(n);
        new.ports = range;
        store.insert_instance(new)
    };
    let before = ask(1).await.unwrap();
    let bad = before.surface[2].port;
    let after = store.reassign_ports(before.id, vec![bad], range).await.unwrap().unwrap();
    assert_eq!(after.surface[0], before.surface[0]);
    assert_eq!(after.surface[2].target, before.surface[2].target);
    assert!(ports(&after).iter().all(|(_, port)| *port != bad), "{after:?}");
    assert_eq!(store.instance(before.id).await.unwrap(), Some(after.clone()));

    // Two TCP ports of four are held and one is a stranger's: too few for two more.
    assert!(matches!(ask(2).await, Err(InsertError::NoFreePort)));
    tokio::time::advance(Duration::from_secs(601)).await;
    ask(2).await.unwrap();
}

#[tokio::test]
async fn ports_of_an_instance_that_is_over_or_cannot_move_stay() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let mut new = new_instance(1);
    let range = PortRange { first: 30_000, last: 30_001 };
    new.ports = range;
    let before = store.insert_instance(new).await.unwrap();
    let all: Vec<_> = before.surface.iter().map(|endpoint| endpoint.port).collect();
    assert_eq!(store.reassign_ports(before.id, all.clone(), range).await.unwrap(), None);
    assert_eq!(store.instance(before.id).await.unwrap(), Some(before.clone()));
    store.change_instance(before.id, set_phase(InstancePhase::Stopped)).await.unwrap();
    let wide = PortRange { first: 30_000, last: 31_000 };
    assert_eq!(store.reassign_ports(before.id, all, wide).await.unwrap(), None);
    assert_eq!(store.reassign_ports(instance_id(9), vec![1], wide).await.unwrap(), None);
}
