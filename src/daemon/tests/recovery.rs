//! A database that was lost: nothing is taken away for it, and what runs gets its row again.

use super::*;
use crate::daemon::platform::Unadoptable;
use crate::model::{ConditionStatus, NodeId, Role};
use crate::planner::lifecycle::Answers;
use crate::runtime::fake::IsOom;

/// The loss is stated, until somebody accepts it.
async fn recovering(platform: &Platform) -> Condition {
    let node = Scope::Node(NodeId::local());
    condition(platform, &node, ConditionType::Recovering).await.unwrap()
}

async fn proved(rig: &Rig) -> (Daemon, Platform) {
    let daemon = rig.start().await;
    let platform = daemon.platform();
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    (daemon, platform)
}

#[tokio::test]
async fn an_instance_that_no_row_knows_is_adopted_without_being_touched() {
    let mut rig = full_rig();
    // What is made ahead is made at any time.
    rig.config.network.n_ready = 0;
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let id = instance.id.to_string();
    // In its second incarnation, with other answers.
    platform.reset(&red, &id, Answers::Renew).await.unwrap();
    let before = ready(&daemon, instance.id).await;
    let containers = rig.engine.containers(None).await.unwrap();
    let flag = rig.engine.files(&container(&rig, instance.id, "web"))["/answers/flag"].clone();
    daemon.stop().await;
    drop(platform);
    rig.lose_database();

    let (daemon, platform) = proved(&rig).await;
    live(&platform, "WEB-001").await;
    daemon.relist().await;
    let unknown = platform.unknown().await.unwrap();
    let owner = unknown[&instance.id].owner.clone().unwrap();
    assert_eq!((owner.challenge, owner.team), (before.challenge.clone(), before.team));
    let n_calls = rig.engine.calls().len();
    let outcome = platform.adopt_unknown(&[instance.id]).await.unwrap();
    assert_eq!(outcome.refused, std::collections::BTreeMap::new());
    let after = ready(&daemon, instance.id).await;
    daemon.relist().await;
    let writes: Vec<_> =
        rig.engine.calls().into_iter().skip(n_calls).filter(|verb| verb.changes()).collect();
    assert_eq!(writes, [], "what runs is not touched");
    assert_eq!(rig.engine.containers(None).await.unwrap(), containers);

    assert_eq!(after.surface, before.surface, "players find it where it was");
    assert_eq!(after.created_at, before.created_at);
    assert_eq!((after.n_resets, after.answer_epoch), (1, 1));
    assert!(after.expires_at > before.expires_at, "the lease begins anew");
    assert!(platform.unknown().await.unwrap().is_empty());

    // Its team plays on as soon as it has a token, and its answer counts.
    let name = format!("recovered-{}", &before.team.to_string()[..8]);
    let red = player(&platform, &name).await;
    assert_eq!(red.team(), Some(before.team));
    let right = Answer::One(String::from_utf8(flag).unwrap());
    assert!(platform.submit(&red, &id, "flag", right).await.unwrap().is_fully_solved);
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn ports_and_networks_of_an_adopted_instance_are_nobody_elses() {
    let mut rig = full_rig();
    rig.config.network.first_port = 30_000;
    rig.config.network.last_port = 30_001;
    let (daemon, _, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    daemon.stop().await;
    rig.lose_database();
    let (daemon, platform) = proved(&rig).await;
    live(&platform, "WEB-001").await;
    platform.adopt_unknown(&[instance.id]).await.unwrap();
    let blue = player(&platform, "blue").await;
    let other = ready_instance(&daemon, &blue).await;
    assert_ne!(other.surface[0].port, instance.surface[0].port);
    let rows = daemon.store().networks().await.unwrap();
    let of = |id| rows.iter().filter(|row| row.owner.as_ref().is_some_and(|it| it.0 == id)).count();
    assert_eq!((of(instance.id), of(other.id)), (2, 2));
    // A second time there is nothing to adopt.
    let again = platform.adopt_unknown(&[instance.id]).await.unwrap();
    assert_eq!(again.adopted.len(), 0);
    assert_eq!(again.refused[&instance.id], "a row knows it already");
    for id in [instance.id, other.id] {
        let admin = Caller { role: Role::Admin, ..blue.clone() };
        platform.stop(&admin, &id.to_string(), StopReason::AdminStopAll).await.unwrap();
    }
    platform.accept_loss("ada").await;
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_instance_whose_service_died_is_adopted_and_repaired() {
    let rig = full_rig();
    let (daemon, _, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    daemon.stop().await;
    rig.lose_database();
    rig.engine.crash(&container(&rig, instance.id, "db"), 1, IsOom::No);
    let lost = container(&rig, instance.id, "web");
    rig.engine.remove_by_hand(&lost);
    let (daemon, platform) = proved(&rig).await;
    live(&platform, "WEB-001").await;
    let outcome = platform.adopt_unknown(&[instance.id]).await.unwrap();
    assert_eq!(outcome.adopted.len(), 1, "{:?}", outcome.refused);
    ready(&daemon, instance.id).await;
    assert_eq!(objects_of(&rig, instance.id).len(), 5);
    daemon.stop().await;
}

#[tokio::test]
async fn what_the_remote_has_lost_as_well_cannot_be_adopted_and_is_left_alone() {
    let rig = full_rig();
    let (daemon, _, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    daemon.stop().await;
    rig.lose_database();
    rig.lose_mirror();
    rig.force_push(&[("README.md", "nothing is here any more\n")]);
    let (daemon, platform) = proved(&rig).await;
    until("the source to be read", async || platform.source().await.ok()?.revision.map(|_| ()))
        .await;
    let outcome = platform.adopt_unknown(&[instance.id]).await.unwrap();
    assert!(outcome.adopted.is_empty());
    let unknown = platform.unknown().await.unwrap();
    assert!(matches!(unknown[&instance.id].owner, Err(Unadoptable::NoChallenge { .. })));
    daemon.relist().await;
    assert_eq!(objects_of(&rig, instance.id).len(), 5);
    daemon.stop().await;
}

#[tokio::test]
async fn a_damaged_database_comes_back_from_its_copy_and_a_person_accepts_that() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let early = ready_instance(&daemon, &red).await;
    let folder = rig.config.data_dir.join("backups");
    daemon.store().back_up(&folder, platform.now()).await.unwrap();
    let late = ready_instance(&daemon, &red).await;
    daemon.stop().await;
    drop(platform);
    rig.damage_database();

    rig.clock.advance_millis(3_600_000);
    let (daemon, platform) = proved(&rig).await;
    live(&platform, "WEB-001").await;
    let stated = recovering(&platform).await;
    assert_eq!((stated.status, stated.reason.as_str()), (ConditionStatus::True, "DatabaseLost"));
    assert!(stated.message.contains("flagops recover"), "{}", stated.message);
    assert!(platform.database_loss().await.unwrap().is_some());
    let after = row(&daemon, early.id).await;
    assert!(after.expires_at > early.expires_at.plus_secs(3_000), "its lease begins anew");
    assert_eq!(platform.unknown().await.unwrap().into_keys().collect::<Vec<_>>(), [late.id]);
    daemon.stop().await;
    drop(platform);

    // The next life still waits for somebody.
    let (daemon, platform) = proved(&rig).await;
    assert_eq!(recovering(&platform).await.status, ConditionStatus::True);
    live(&platform, "WEB-001").await;
    let outcome = platform.adopt_unknown(&[late.id]).await.unwrap();
    assert_eq!(outcome.adopted.len(), 1, "{:?}", outcome.refused);
    platform.accept_loss("ada").await;
    let stated = recovering(&platform).await;
    assert_eq!((stated.status, stated.reason.as_str()), (ConditionStatus::False, "Accepted"));
    assert!(stated.message.ends_with("ada"));
    let red = player(&platform, "red").await;
    for id in [early.id, late.id] {
        platform.stop(&red, &id.to_string(), StopReason::User).await.unwrap();
    }
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn until_a_loss_is_accepted_no_pin_and_no_network_goes() {
    let rig = full_rig();
    let (daemon, _, red) = playing(&rig).await;
    ready_instance(&daemon, &red).await;
    let folder = rig.config.data_dir.join("backups");
    daemon.store().back_up(&folder, daemon.platform().now()).await.unwrap();
    daemon.stop().await;
    let pins = rig.pins();
    assert!(!pins.is_empty());
    let networks = rig.engine.networks().await.unwrap();
    // Not even a copy is of use.
    rig.spoil_backups(&folder);
    rig.damage_database();
    // Another version is live afterwards, so the old commit is nobody's any more.
    rig.push(&[FULL_FILES, &[("WEB/WEB-001/attachments/new.txt", "new\n")]].concat());
    let (daemon, platform) = proved(&rig).await;
    live(&platform, "WEB-001").await;
    daemon.relist().await;
    daemon.relist().await;
    for network in &networks {
        let now = rig.engine.networks().await.unwrap();
        assert!(now.iter().any(|it| it.id == network.id), "a network of before is gone");
    }
    daemon.stop().await;
    drop(platform);
    assert!(rig.pins().is_superset(&pins), "a pin of before is gone");
}
