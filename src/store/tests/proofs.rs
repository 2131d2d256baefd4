//! Proofs: the last time counts, over restarts, and canaries count against nobody.

use super::*;
use crate::model::{ProofOutcome, ProofRecord};

fn proof(challenge: &str, byte: u8, outcome: ProofOutcome, secs: i64) -> ProofRecord {
    ProofRecord {
        challenge: challenge.parse().unwrap(),
        tree: tree(byte),
        node: NodeId::local(),
        revision: revision(byte),
        outcome,
        message: format!("at {secs}"),
        took_millis: 1500,
        at: at(secs),
    }
}

#[tokio::test]
async fn the_last_proof_of_a_version_counts_and_moves_with_the_clock() {
    let fixture = Fixture::new();
    let first = proof("WEB-001", 1, ProofOutcome::Failed, 5);
    let again = proof("WEB-001", 1, ProofOutcome::Proven, 9);
    let other = proof("WEB-001", 2, ProofOutcome::NoExploit, 7);
    for proof in [&first, &other, &again] {
        fixture.store.set_proof(proof.clone()).await.unwrap();
    }
    let fixture = fixture.reopened();
    assert_eq!(fixture.store.proofs().await.unwrap(), [again.clone(), other.clone()]);
    fixture.store.move_times(60_000).await.unwrap();
    let moved: Vec<_> = fixture.store.proofs().await.unwrap().into_iter().map(|it| it.at).collect();
    assert_eq!(moved, [at(69), at(67)]);
}

#[tokio::test]
async fn a_canary_takes_no_players_place_and_is_no_launch() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let mut canary = new_instance(1);
    canary.instance.team = TeamId::CANARY;
    canary.limits = InstanceLimits { per_team: u32::MAX, per_node: u32::MAX };
    store.insert_instance(canary).await.unwrap();
    let mut player = new_instance(2);
    player.limits = InstanceLimits { per_team: 1, per_node: 1 };
    store.insert_instance(player).await.unwrap();
    let counts = store.counts(&NodeId::local()).await.unwrap();
    assert_eq!((counts.running, counts.live_or_failed), (1, 1));
    assert_eq!(store.launches_after(0).await.unwrap().1, [("WEB-001".parse().unwrap(), 1)].into());
}
