//! Tombstones: remembered over restarts, forgotten when they are wrong.

use super::*;
use crate::planner::prune::{Leftover, LeftoverKind};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[tokio::test]
async fn a_tombstone_keeps_its_first_time_over_a_restart_and_moves_with_the_clock() {
    let fixture = Fixture::new();
    let id = InstanceId::new(Uuid::from_bytes([7; 16]));
    let volume =
        Leftover { kind: LeftoverKind::Volume, object: "fo-v".to_owned(), instance: Some(id) };
    let network = Leftover { kind: LeftoverKind::Network, object: "0a".to_owned(), instance: None };
    let both = vec![volume.clone(), network.clone()];
    fixture.store.set_tombstones(both.clone(), vec![], at(5_000)).await.unwrap();
    fixture.store.set_tombstones(both, vec![], at(9_000)).await.unwrap();
    let again = Store::open(&fixture.folder.path().join("flagops.db")).unwrap();
    let wanted = [(volume.clone(), at(5_000)), (network.clone(), at(5_000))].into();
    assert_eq!(again.tombstones().await.unwrap(), wanted);
    again.move_times(60_000).await.unwrap();
    again.set_tombstones(vec![], vec![volume], at(9_000)).await.unwrap();
    assert_eq!(again.tombstones().await.unwrap(), [(network, at(65_000))].into());
}
