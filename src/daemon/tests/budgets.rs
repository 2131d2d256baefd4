//! Instances that write too much against an engine in memory, and challenges that ask for what the node
//! does not have.

use super::*;
use crate::daemon::budgets;
use crate::daemon::platform::PlatformError;
use crate::model::ConditionStatus;

#[tokio::test]
async fn an_instance_over_its_budget_ends_and_its_owner_reads_why() {
    let mut rig = rig();
    rig.config.limits.max_disk_mib = 100;
    let (daemon, platform, red) = playing(&rig).await;
    let (greedy, modest) =
        (ready_instance(&daemon, &red).await, ready_instance(&daemon, &red).await);
    rig.engine.set_disk_use(modest.id, 100 << 20);
    rig.engine.set_disk_use(greedy.id, (100 << 20) + 1);
    budgets::look(platform.shared_for_test()).await.unwrap();
    let ended = in_phase(&daemon, greedy.id, InstancePhase::Failed).await;
    assert_eq!(ended.stop_reason, Some(StopReason::DiskQuota));
    let shown = platform.instance(&red, &greedy.id.to_string()).await.unwrap();
    insta::assert_snapshot!(shown.error.unwrap(), @"disk_quota: its containers wrote more than 100 MiB to the disk of the node, so it was ended; start it anew");
    let stated =
        condition(&platform, &Scope::Instance(greedy.id), ConditionType::Healthy).await.unwrap();
    assert_eq!((stated.status, stated.reason.as_str()), (ConditionStatus::False, "DiskQuota"));
    assert_eq!(objects_of(&rig, greedy.id), BTreeSet::new());
    assert_eq!(row(&daemon, modest.id).await.phase, InstancePhase::Ready);
    // What was added up before does not end it a second time.
    budgets::look(platform.shared_for_test()).await.unwrap();
    platform.stop(&red, &greedy.id.to_string(), StopReason::User).await.unwrap();
    platform.stop(&red, &modest.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_challenge_may_give_itself_less_room() {
    let rig = Rig::new();
    rig.add_image("base:1");
    let small = format!("{METADATA}instance: {{disk: 10M}}\n");
    rig.push(&[("WEB/WEB-001/metadata.yaml", &small), ONE_FILES[1]]);
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    rig.engine.set_disk_use(instance.id, 11 << 20);
    budgets::look(platform.shared_for_test()).await.unwrap();
    in_phase(&daemon, instance.id, InstancePhase::Failed).await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_wants_a_runtime_that_the_node_lacks_is_refused_with_the_reason() {
    let rig = Rig::new();
    rig.add_image("base:1");
    let shut_in = format!("{METADATA}instance: {{runtime: runsc}}\n");
    rig.push(&[("WEB/WEB-001/metadata.yaml", &shut_in), ONE_FILES[1]]);
    let (daemon, platform, red) = playing(&rig).await;
    let refused = platform.start(&red, start_request("WEB-001")).await.unwrap_err();
    assert!(matches!(refused, PlatformError::NotStartable { .. }));
    insta::assert_snapshot!(refused, @"Challenge WEB-001 cannot be started: it wants the container runtime `runsc`, which the engine of this node does not have");
    rig.engine.add_runtime("runsc");
    ready_instance(&daemon, &red).await;
    daemon.stop().await;
}
