//! Each image is wanted once, built by one, and never stuck.

use super::*;
use crate::model::{Build, BuildKey, BuildState};
use crate::store::builds::MAX_LOG_TAIL_BYTES;

fn key(byte: u8) -> BuildKey {
    BuildKey::from_digest([byte; 32])
}

async fn want(store: &Store, byte: u8, secs: i64) -> Build {
    let (challenge, service) = ("WEB-001".parse().unwrap(), "web".parse().unwrap());
    store.want_build(key(byte), &challenge, &service, at(secs)).await.unwrap()
}

fn failed(error: &str) -> BuildOutcome {
    BuildOutcome::Failed { error: error.to_owned(), is_retryable: true }
}

#[tokio::test]
async fn an_image_goes_from_wanted_to_built() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let wanted = want(store, 1, 10).await;
    assert_eq!(
        (wanted.state, wanted.queued_at, wanted.n_attempts),
        (BuildState::Unbuilt, at(10), 0)
    );
    assert_eq!(want(store, 1, 99).await, wanted, "asking again changes nothing");

    let begun = store.begin_build(key(1), at(11)).await.unwrap().unwrap();
    assert_eq!(
        (begun.state, begun.started_at, begun.n_attempts),
        (BuildState::Building, Some(at(11)), 1)
    );

    let outcome = BuildOutcome::Built { image: "sha256:ab".to_owned() };
    let built =
        store.finish_build(key(1), outcome, "done".to_owned(), at(12)).await.unwrap().unwrap();
    assert_eq!(built.state, BuildState::Built);
    assert_eq!(built.image.as_deref(), Some("sha256:ab"));
    assert_eq!((built.finished_at, built.log_tail.as_str()), (Some(at(12)), "done"));
    assert_eq!(fixture.reopened().store.build(key(1)).await.unwrap(), Some(built));
}

#[tokio::test]
async fn a_failure_is_readable_until_the_next_attempt_begins() {
    let Fixture { store, folder: _folder } = Fixture::new();
    want(&store, 1, 1).await;
    store.begin_build(key(1), at(2)).await.unwrap().unwrap();
    let build = store
        .finish_build(key(1), failed("no network"), "log".to_owned(), at(3))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((build.state, build.is_retryable), (BuildState::Failed, true));
    let build = store.requeue_build(key(1), at(4)).await.unwrap().unwrap();
    assert_eq!((build.state, build.error.as_deref()), (BuildState::Unbuilt, Some("no network")));
    let build = store.begin_build(key(1), at(5)).await.unwrap().unwrap();
    assert_eq!((build.error, build.log_tail.as_str(), build.n_attempts), (None, "", 2));
}

#[tokio::test]
async fn of_many_workers_one_gets_the_image() {
    let Fixture { store, folder: _folder } = Fixture::new();
    want(&store, 1, 1).await;
    let attempts = (0..20).map(|_| store.begin_build(key(1), at(2)));
    let outcomes = futures_util::future::join_all(attempts).await;
    let n_taken = outcomes.iter().filter(|outcome| outcome.as_ref().unwrap().is_some()).count();
    assert_eq!(n_taken, 1);
    assert_eq!(store.requeue_build(key(1), at(3)).await.unwrap(), None, "it is being built");
}

#[tokio::test]
async fn what_nobody_asked_for_is_not_there() {
    let Fixture { store, folder: _folder } = Fixture::new();
    assert_eq!(store.build(key(1)).await.unwrap(), None);
    assert_eq!(store.begin_build(key(1), at(1)).await.unwrap(), None);
    assert_eq!(store.requeue_build(key(1), at(1)).await.unwrap(), None);
    assert_eq!(store.finish_build(key(1), failed("x"), String::new(), at(1)).await.unwrap(), None);
    assert_eq!(store.all_builds().await.unwrap(), []);
}

#[tokio::test]
async fn a_boot_takes_back_what_was_being_built() {
    let fixture = Fixture::new();
    for byte in [3, 1, 2] {
        want(&fixture.store, byte, i64::from(byte)).await;
    }
    fixture.store.begin_build(key(3), at(5)).await.unwrap();
    fixture.store.begin_build(key(1), at(5)).await.unwrap();
    let Fixture { store, folder: _folder } = fixture.reopened();
    assert_eq!(store.reset_building().await.unwrap(), [key(1), key(3)]);
    assert_eq!(store.reset_building().await.unwrap(), []);
    let keys: Vec<_> = store.all_builds().await.unwrap().iter().map(|build| build.key).collect();
    assert_eq!(keys, [key(1), key(2), key(3)]);
    let some = store.builds(vec![key(2), key(9), key(2)]).await.unwrap();
    assert_eq!(some.into_keys().collect::<Vec<_>>(), [key(2)]);
}

#[tokio::test]
async fn only_the_end_of_a_long_log_is_kept() {
    let Fixture { store, folder: _folder } = Fixture::new();
    want(&store, 1, 1).await;
    let log = format!("{}é\0 the end", "é".repeat(100_000));
    let build = store.finish_build(key(1), failed("x"), log, at(2)).await.unwrap().unwrap();
    assert!(build.log_tail.len() <= MAX_LOG_TAIL_BYTES + 2, "{}", build.log_tail.len());
    assert!(build.log_tail.ends_with("é\u{fffd} the end"));
}
