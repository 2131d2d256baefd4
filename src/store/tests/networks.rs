//! Subnets are handed out once, found again after a crash, and rest before they come back.

use ipnet::Ipv4Net;

use super::*;

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

async fn reserve(store: &Store, secs: i64) -> Option<NetworkRow> {
    let installation = "0123456789abcdef".parse().unwrap();
    store
        .reserve_network(net("10.213.0.0/26"), 28, NetworkKind::Outward, &installation, at(secs))
        .await
        .unwrap()
}

async fn ready(store: &Store, secs: i64) -> Ipv4Net {
    let subnet = reserve(store, secs).await.unwrap().spec.subnet;
    store.network_made(subnet, &format!("id-{subnet}")).await.unwrap();
    subnet
}

async fn with_instances(n: u128) -> Fixture {
    let fixture = Fixture::new();
    for nth in 1..=n {
        fixture.store.insert_instance(new_instance(nth)).await.unwrap();
    }
    fixture
}

async fn claim(store: &Store, n: u128, secs: i64) -> Option<NetworkRow> {
    store.claim_network(instance_id(n), "default", NetworkKind::Outward, at(secs)).await.unwrap()
}

#[tokio::test]
async fn the_names_of_a_network_follow_from_its_subnet() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let row = reserve(&store, 1).await.unwrap();
    assert_eq!(row.spec.subnet, net("10.213.0.0/28"));
    assert_eq!(row.spec.name, "fo-01234567-0ad50000");
    assert_eq!(row.spec.bridge, "fi0ad500001c");
    assert_eq!((row.state, row.engine_id, row.owner), (NetworkState::Intent, None, None));
}

#[tokio::test]
async fn a_pool_is_used_up_and_a_freed_subnet_comes_last() {
    let fixture = Fixture::new();
    let first = reserve(&fixture.store, 1).await.unwrap().spec.subnet;
    let second = reserve(&fixture.store, 2).await.unwrap().spec.subnet;
    fixture.store.forget_network(first).await.unwrap();
    let Fixture { store, folder: _folder } = fixture.reopened();
    let mut order = vec![first, second];
    while let Some(row) = reserve(&store, 3).await {
        order.push(row.spec.subnet);
    }
    assert_eq!(
        order,
        ["10.213.0.0/28", "10.213.0.16/28", "10.213.0.32/28", "10.213.0.48/28", "10.213.0.0/28"]
            .map(net)
    );
    store.forget_network(second).await.unwrap();
    assert_eq!(reserve(&store, 4).await.unwrap().spec.subnet, second);
}

#[tokio::test]
async fn a_strangers_subnet_is_avoided_until_then() {
    let Fixture { store, folder: _folder } = Fixture::new();
    store.block_subnet(net("10.213.0.0/27"), at(10)).await.unwrap();
    store.block_subnet(net("10.213.0.32/28"), at(20)).await.unwrap();
    assert_eq!(reserve(&store, 9).await.unwrap().spec.subnet, net("10.213.0.48/28"));
    assert_eq!(reserve(&store, 9).await, None);
    assert_eq!(reserve(&store, 10).await.unwrap().spec.subnet, net("10.213.0.0/28"));
    assert_eq!(reserve(&store, 10).await.unwrap().spec.subnet, net("10.213.0.16/28"));
    assert_eq!(reserve(&store, 10).await, None);
    assert_eq!(reserve(&store, 20).await.unwrap().spec.subnet, net("10.213.0.32/28"));
}

#[tokio::test]
async fn a_network_is_claimed_once_and_the_same_one_again_after_a_crash() {
    let fixture = with_instances(2).await;
    let store = &fixture.store;
    assert_eq!(claim(store, 1, 1).await, None, "none is ready");
    reserve(store, 1).await.unwrap();
    assert_eq!(claim(store, 1, 1).await, None, "an intent is not ready");
    let subnet = ready(store, 2).await;

    let claimed = claim(store, 1, 3).await.unwrap();
    assert_eq!(claimed.spec.subnet, subnet);
    assert_eq!(claimed.engine_id.as_deref(), Some("id-10.213.0.16/28"));
    assert_eq!(claimed.owner, Some((instance_id(1), "default".to_owned())));
    assert_eq!((claimed.state, claimed.touched_at), (NetworkState::Used, at(3)));

    let Fixture { store, folder: _folder } = fixture.reopened();
    assert_eq!(claim(&store, 1, 9).await, Some(claimed));
    assert_eq!(claim(&store, 2, 9).await, None);
    store.release_network(subnet, at(10)).await.unwrap();
    let other = claim(&store, 2, 11).await.unwrap();
    assert_eq!((other.spec.subnet, other.owner.unwrap().0), (subnet, instance_id(2)));
}

#[tokio::test]
async fn the_network_that_was_idle_longest_is_claimed_first() {
    let Fixture { store, folder: _folder } = with_instances(4).await;
    let (a, b, c) = (ready(&store, 1).await, ready(&store, 2).await, ready(&store, 3).await);
    assert_eq!(claim(&store, 1, 4).await.unwrap().spec.subnet, a);
    store.release_network(a, at(5)).await.unwrap();
    let mut order = Vec::new();
    for n in 2..=4 {
        order.push(claim(&store, n, 6).await.unwrap().spec.subnet);
    }
    assert_eq!(order, [b, c, a]);
}

#[tokio::test]
async fn an_internal_wish_gets_an_internal_network_only() {
    let Fixture { store, folder: _folder } = with_instances(1).await;
    ready(&store, 1).await;
    let claim = || store.claim_network(instance_id(1), "back", NetworkKind::Internal, at(2));
    assert_eq!(claim().await.unwrap(), None);
    let installation = "0123456789abcdef".parse().unwrap();
    let row = store
        .reserve_network(net("10.9.0.0/24"), 28, NetworkKind::Internal, &installation, at(2))
        .await
        .unwrap()
        .unwrap();
    store.network_made(row.spec.subnet, "id").await.unwrap();
    let claimed = claim().await.unwrap().unwrap();
    assert!(claimed.spec.is_internal);
    assert_eq!(claimed.spec, row.spec);
}

#[tokio::test]
async fn a_network_that_leads_to_the_internet_is_for_whom_asked_for_one() {
    let Fixture { store, folder: _folder } = with_instances(2).await;
    let installation = "0123456789abcdef".parse().unwrap();
    let row = store
        .reserve_network(net("10.9.0.0/24"), 28, NetworkKind::Egress, &installation, at(1))
        .await
        .unwrap()
        .unwrap();
    // The wall knows it by its bridge, and a sweep that finds it by its name.
    assert_eq!(row.spec.bridge, "fx0a0900001c");
    assert_eq!(row.spec.name, "fo-01234567-x0a090000");
    assert_eq!(row.kind(), NetworkKind::Egress);
    store.network_made(row.spec.subnet, "id").await.unwrap();
    assert_eq!(claim(&store, 1, 2).await, None, "it is not for those that reach nothing");
    ready(&store, 2).await;
    let plain = claim(&store, 1, 3).await.unwrap();
    assert_eq!(plain.kind(), NetworkKind::Outward);
    let wish = store.claim_network(instance_id(2), "default", NetworkKind::Egress, at(3));
    assert_eq!(wish.await.unwrap().unwrap().spec, row.spec);
}

#[tokio::test]
async fn late_news_about_a_network_changes_nothing() {
    let Fixture { store, folder: _folder } = with_instances(1).await;
    let subnet = ready(&store, 1).await;
    claim(&store, 1, 2).await.unwrap();
    let before = store.networks().await.unwrap();
    store.network_made(subnet, "another").await.unwrap();
    store.network_made(net("10.1.1.0/28"), "unknown").await.unwrap();
    assert_eq!(store.networks().await.unwrap(), before);
    store.release_network(subnet, at(3)).await.unwrap();
    let released = store.networks().await.unwrap();
    store.release_network(subnet, at(9)).await.unwrap();
    assert_eq!(store.networks().await.unwrap(), released, "idle since 3, not since 9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_at_once_get_different_networks() {
    let Fixture { store, folder: _folder } = with_instances(8).await;
    for secs in 0..4 {
        ready(&store, secs).await;
    }
    // Twice each, as two workers after a crash might.
    let claims = (1..=8).chain(1..=8).map(|n| claim(&store, n, 9));
    let claimed: Vec<_> =
        futures_util::future::join_all(claims).await.into_iter().flatten().collect();
    let mut owners: Vec<_> =
        claimed.iter().map(|row| (row.spec.subnet, row.owner.clone().unwrap().0)).collect();
    owners.sort();
    owners.dedup();
    assert_eq!(owners.len(), 4, "each network has one owner: {owners:?}");
}

#[tokio::test]
async fn a_network_that_a_hub_may_be_on_is_never_handed_on() {
    let fixture = with_instances(2).await;
    let subnet = ready(&fixture.store, 1).await;
    let claimed = claim(&fixture.store, 1, 2).await.unwrap();
    let id = claimed.engine_id.clone().unwrap();
    let store = &fixture.store;
    // Only for who has it, by the id that it has.
    assert!(!store.mark_single_use(subnet, instance_id(2), &id).await.unwrap());
    assert!(!store.mark_single_use(subnet, instance_id(1), "another").await.unwrap());
    assert!(store.mark_single_use(subnet, instance_id(1), &id).await.unwrap());
    store.release_network(subnet, at(3)).await.unwrap();
    let rows = store.networks().await.unwrap();
    assert_eq!((rows[0].state, rows[0].is_single_use), (NetworkState::Used, true));
    assert!(!store.retire_network(subnet).await.unwrap());
    assert_eq!(claim(store, 2, 4).await, None, "nobody else gets it");
    store.forget_network(subnet).await.unwrap();
    ready(store, 5).await;
    assert!(claim(store, 2, 6).await.is_some_and(|row| !row.is_single_use));
}
