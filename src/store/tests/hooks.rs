//! What forges told us, and what they are told.

use super::*;
use crate::model::{CommitState, CommitStatus, StatusContext};

fn status(n: u8, context: StatusContext, state: CommitState, words: &str) -> CommitStatus {
    CommitStatus { revision: revision(n), context, state, description: words.to_owned() }
}

fn build(n: u8, state: CommitState, words: &str) -> CommitStatus {
    status(n, StatusContext::Build, state, words)
}

async fn due(store: &Store, secs: i64) -> Vec<(i64, String)> {
    let rows = store.due_statuses(at(secs), 9).await.unwrap();
    rows.into_iter().map(|row| (row.seq, row.status.description)).collect()
}

#[tokio::test]
async fn a_delivery_is_new_once_also_over_a_restart() {
    let fixture = Fixture::new();
    assert!(fixture.store.note_delivery(b"one", at(1)).await.unwrap());
    assert!(!fixture.store.note_delivery(b"one", at(2)).await.unwrap());
    let Fixture { store, folder: _folder } = fixture.reopened();
    assert!(!store.note_delivery(b"one", at(3)).await.unwrap());
    assert!(store.note_delivery(b"two", at(3)).await.unwrap());
}

#[tokio::test]
async fn only_the_newest_thousand_deliveries_are_remembered() {
    let Fixture { store, folder: _folder } = Fixture::new();
    for n in 0..=1000_u32 {
        store.note_delivery(&n.to_le_bytes(), at(1)).await.unwrap();
    }
    assert!(!store.note_delivery(&1_u32.to_le_bytes(), at(1)).await.unwrap());
    assert!(store.note_delivery(&0_u32.to_le_bytes(), at(1)).await.unwrap(), "it was forgotten");
}

#[tokio::test]
async fn the_newest_wish_takes_the_place_of_one_that_waits_and_the_same_again_is_none() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let pending = build(1, CommitState::Pending, "a");
    let validated = status(1, StatusContext::Validate, CommitState::Success, "v");
    let wishes = vec![pending.clone(), validated];
    assert!(store.wish_statuses(wishes.clone(), at(1)).await.unwrap());
    assert!(!store.wish_statuses(wishes, at(2)).await.unwrap());
    assert_eq!(due(&store, 1).await, [(1, "a".to_owned()), (2, "v".to_owned())]);
    store.status_failed(1, Some(at(60)), "HTTP 503".to_owned()).await.unwrap();
    assert_eq!(due(&store, 1).await, [(2, "v".to_owned())]);
    let built = build(1, CommitState::Success, "b");
    assert!(store.wish_statuses(vec![built.clone()], at(3)).await.unwrap());
    // The delivery of the older one ends only now: it says nothing about the newer one.
    store.status_delivered(1).await.unwrap();
    store.status_delivered(2).await.unwrap();
    assert_eq!(due(&store, 3).await, [(3, "b".to_owned())]);
    store.status_delivered(3).await.unwrap();
    assert_eq!(due(&store, 99).await, []);
    assert!(!store.wish_statuses(vec![built], at(4)).await.unwrap(), "the forge has it");
    assert!(store.wish_statuses(vec![pending], at(4)).await.unwrap(), "this it has no more");
}

#[tokio::test]
async fn what_was_given_up_is_counted_and_what_waits_is_never_forgotten() {
    let Fixture { store, folder: _folder } = Fixture::new();
    store.wish_statuses(vec![build(1, CommitState::Pending, "waits")], at(1)).await.unwrap();
    store.wish_statuses(vec![build(2, CommitState::Pending, "dies")], at(1)).await.unwrap();
    store.status_failed(2, None, "HTTP 422: no such commit".to_owned()).await.unwrap();
    let counts = store.status_counts().await.unwrap();
    assert_eq!((counts.n_waiting, counts.n_dead), (1, 1));
    assert_eq!(counts.last_error.as_deref(), Some("HTTP 422: no such commit"));
    for n in 0..700 {
        let wish = build(3, CommitState::Pending, &format!("{n}"));
        store.wish_statuses(vec![wish], at(2)).await.unwrap();
    }
    let kept = store.commit_statuses().await.unwrap();
    assert_eq!(kept[0].description, "waits");
    assert_eq!(kept.len(), 3);
}
