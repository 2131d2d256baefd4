//! The archive: written with the end, by itself afterwards, and pruned by age and size.

use super::*;
use crate::model::{Activity, Actor, ConditionStatus, ConditionType, Happening, Scope, StopReason};
use crate::planner::lifecycle;

async fn end(store: &Store, n: u128, secs: i64) {
    let stop = move |row: &mut Instance| lifecycle::end(row, StopReason::User, at(secs));
    store.change_instance(instance_id(n), stop).await.unwrap();
    let gone = move |row: &mut Instance| lifecycle::gone(row, at(secs));
    store.change_instance(instance_id(n), gone).await.unwrap();
}

async fn started(store: &Store, n: u128) {
    store.insert_instance(new_instance(n)).await.unwrap();
}

fn every() -> RecordFilter {
    RecordFilter { page: (100, 0), ..RecordFilter::default() }
}

async fn listed(store: &Store, filter: RecordFilter) -> Vec<InstanceId> {
    let (rows, _) = store.instance_records(filter).await.unwrap();
    rows.into_iter().map(|row| row.instance.id).collect()
}

#[tokio::test]
async fn an_instance_is_recorded_in_the_step_that_ends_it() {
    let Fixture { store, folder: _folder } = Fixture::new();
    started(&store, 1).await;
    assert_eq!(listed(&store, every()).await, []);
    end(&store, 1, 50).await;
    let record = store.instance_record(instance_id(1)).await.unwrap().unwrap();
    let row = store.instance(instance_id(1)).await.unwrap().unwrap();
    assert_eq!((record.instance, record.error_detail.as_str()), (row, ""));
}

#[tokio::test]
async fn a_failed_instance_that_is_stopped_keeps_what_was_known_of_the_failure() {
    let Fixture { store, folder: _folder } = Fixture::new();
    started(&store, 1).await;
    let id = instance_id(1);
    let fail = |row: &mut Instance| lifecycle::fail(row, 0, "it died".to_owned());
    store.change_instance(id, fail).await.unwrap();
    let told = NewCondition {
        scope: Scope::Instance(id),
        kind: ConditionType::Healthy,
        status: ConditionStatus::False,
        reason: "Failing".to_owned(),
        message: "it died\nlast output of `web`:\nsegfault".to_owned(),
        revision: None,
    };
    store.set_condition(told, at(3)).await.unwrap();
    store.change_instance(id, |row: &mut Instance| lifecycle::gone(row, at(4))).await.unwrap();
    let failed = store.instance_record(id).await.unwrap().unwrap();
    assert_eq!(failed.instance.phase, InstancePhase::Failed);
    assert!(failed.error_detail.ends_with("segfault"), "{}", failed.error_detail);
    store.clear_conditions(&Scope::Instance(id)).await.unwrap();
    let stop = |row: &mut Instance| lifecycle::end(row, StopReason::User, at(9));
    store.change_instance(id, stop).await.unwrap();
    let stopped = store.instance_record(id).await.unwrap().unwrap();
    assert_eq!(stopped.instance.phase, InstancePhase::Stopped);
    assert_eq!(stopped.instance.stop_reason, Some(StopReason::User));
    assert_eq!(stopped.instance.error.as_deref(), Some("it died"));
    assert_eq!(stopped.error_detail, failed.error_detail);
}

#[tokio::test]
async fn instances_of_our_own_making_have_no_record_and_a_node_keeps_none() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let mut canary = new_instance(1);
    canary.instance.team = TeamId::CANARY;
    store.insert_instance(canary).await.unwrap();
    started(&store, 2).await;
    store.keep_log(instance_id(2), 0, vec![1], at(3)).await.unwrap();
    end(&store, 1, 5).await;
    end(&store, 2, 5).await;
    assert_eq!(listed(&store, every()).await, [instance_id(2)]);
    assert!(store.forget_instance(instance_id(2)).await.unwrap());
    assert_eq!(listed(&store, every()).await, []);
    assert_eq!(store.kept_log(instance_id(2)).await.unwrap(), None);
}

#[tokio::test]
async fn records_are_listed_by_what_is_asked_for_the_newest_start_first() {
    let Fixture { store, folder: _folder } = Fixture::new();
    for n in 1..=4 {
        started(&store, n).await;
        end(&store, n, 100).await;
    }
    let ids = |ns: &[u128]| ns.iter().map(|n| instance_id(*n)).collect::<Vec<_>>();
    assert_eq!(listed(&store, every()).await, ids(&[4, 3, 2, 1]));
    let page = RecordFilter { page: (2, 1), ..every() };
    assert_eq!(store.instance_records(page.clone()).await.unwrap().1, 4, "before paging");
    assert_eq!(listed(&store, page).await, ids(&[3, 2]));
    assert_eq!(listed(&store, RecordFilter { team: Some(team(1)), ..every() }).await, ids(&[4, 1]));
    assert_eq!(listed(&store, RecordFilter { since: Some(at(3)), ..every() }).await, ids(&[4, 3]));
    let failed = RecordFilter { phase: Some(InstancePhase::Failed), ..every() };
    assert_eq!(listed(&store, failed).await, []);
    let elsewhere = RecordFilter { node: Some("n1".parse().unwrap()), ..every() };
    assert_eq!(listed(&store, elsewhere).await, []);
}

#[tokio::test]
async fn old_records_go_with_their_output_and_large_output_goes_oldest_first() {
    let Fixture { store, folder: _folder } = Fixture::new();
    for n in 1..=4 {
        started(&store, n).await;
        let ended_at = i64::try_from(n * 100).unwrap();
        store.keep_log(instance_id(n), 0, vec![7; 10], at(ended_at)).await.unwrap();
        end(&store, n, ended_at).await;
    }
    // One that runs on keeps its output, whatever its age.
    started(&store, 5).await;
    store.keep_log(instance_id(5), 0, vec![7; 10], at(1)).await.unwrap();
    let nothing = store.prune_records(at(100), 50).await.unwrap();
    assert_eq!(nothing, Pruned::default());
    let pruned = store.prune_records(at(201), 20).await.unwrap();
    assert_eq!(pruned, Pruned { n_records: 2, n_logs: 3 });
    assert_eq!(listed(&store, every()).await, [instance_id(4), instance_id(3)]);
    let mut kept = Vec::new();
    for n in 1..=5 {
        if store.log_incarnation(instance_id(n)).await.unwrap().is_some() {
            kept.push(n);
        }
    }
    assert_eq!(kept, [3, 4], "the output that was taken first goes first");
    assert!(store.instance(instance_id(1)).await.unwrap().is_some(), "its row is no archive");
}

#[tokio::test]
async fn the_output_of_a_later_incarnation_takes_the_place_of_an_earlier_one() {
    let Fixture { store, folder: _folder } = Fixture::new();
    started(&store, 1).await;
    for n_resets in [0, 1] {
        let packed = vec![u8::try_from(n_resets).unwrap()];
        store.keep_log(instance_id(1), n_resets, packed, at(1)).await.unwrap();
    }
    assert_eq!(store.log_incarnation(instance_id(1)).await.unwrap(), Some(1));
    assert_eq!(store.kept_log(instance_id(1)).await.unwrap(), Some(vec![1]));
}

#[tokio::test]
async fn what_happened_to_one_instance_is_told_without_that_of_others() {
    let Fixture { store, folder: _folder } = Fixture::new();
    for n in [1, 2, 1] {
        let (instance_id, node_id) = (instance_id(n), "local".to_owned());
        let activity = Activity {
            at: at(1),
            happening: Happening::InstanceReady { instance_id, node_id },
            competition: None,
            team: Some(team(1)),
            challenge: None,
            actor: Actor::system(),
        };
        store.add_activity(activity, drop);
    }
    let (rows, total) =
        store.activities_of_instance(instance_id(1), team(1), (1, 1)).await.unwrap();
    assert_eq!((rows.len(), total), (1, 2));
    let (rows, total) =
        store.activities_of_instance(instance_id(1), team(2), (9, 0)).await.unwrap();
    assert_eq!((rows.len(), total), (0, 0), "of another team there is nothing");
}
