//! Converged means quiet: nothing is written, nothing is done.

use super::*;
use crate::runtime::fake::Verb;

/// Calls that change nothing.
const LOOKS: &[Verb] = &[
    Verb::Prove,
    Verb::Info,
    Verb::Disk,
    Verb::Image,
    Verb::Images,
    Verb::Networks,
    Verb::Volumes,
    Verb::Container,
    Verb::Containers,
    Verb::Events,
];

#[tokio::test]
async fn a_converged_machine_is_only_looked_at() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    until("the stock to be full", async || {
        let rows = daemon.store().networks().await.unwrap();
        let n_ready = rows.iter().filter(|row| row.state == NetworkState::Ready).count();
        (n_ready >= rig.config.network.n_ready as usize).then_some(())
    })
    .await;
    daemon.relist().await;
    let node = Scope::Node(crate::model::NodeId::local());
    until("the disk to be looked at", async || {
        condition(&platform, &node, ConditionType::DiskPressure).await
    })
    .await;
    let n_calls = rig.engine.calls().len();
    let before = (row(&daemon, instance.id).await, daemon.store().networks().await.unwrap());
    let conditions = platform.conditions().await.unwrap();
    for _ in 0..3 {
        daemon.relist().await;
        platform.reconcile_now().await.unwrap();
    }
    let calls = rig.engine.calls().split_off(n_calls);
    let changes: Vec<_> = calls.into_iter().filter(|verb| !LOOKS.contains(verb)).collect();
    assert_eq!(changes, []);
    let after = (row(&daemon, instance.id).await, daemon.store().networks().await.unwrap());
    assert_eq!(after, before);
    assert_eq!(platform.conditions().await.unwrap(), conditions);
    daemon.stop().await;
}

#[tokio::test]
async fn a_restart_of_the_daemon_changes_nothing_on_the_machine() {
    let rig = full_rig();
    let (daemon, _, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    until("the stock to be full", async || {
        let rows = daemon.store().networks().await.unwrap();
        let n_ready = rows.iter().filter(|row| row.state == NetworkState::Ready).count();
        (n_ready >= rig.config.network.n_ready as usize).then_some(())
    })
    .await;
    daemon.stop().await;
    let n_calls = rig.engine.calls().len();
    let (daemon, ..) = playing(&rig).await;
    daemon.relist().await;
    assert_eq!(row(&daemon, instance.id).await, instance);
    let calls = rig.engine.calls().split_off(n_calls);
    let changes: Vec<_> = calls.into_iter().filter(|verb| !LOOKS.contains(verb)).collect();
    assert_eq!(changes, []);
    daemon.stop().await;
}
