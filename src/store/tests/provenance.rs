//! Which images a generation went live with, and which generation a version came with.

use super::migrate::{MIGRATIONS, open_with};
use super::*;
use crate::model::BuildKey;
use crate::release::provenance::ImageRecord;

fn key(n: u8) -> BuildKey {
    BuildKey::from_digest([n; 32])
}

fn new(expected: u32, versions: &[(&str, u8)]) -> NewGeneration {
    let entry = |n: u8| Entry {
        path: "WEB/x".into(),
        revision: Revision(ObjectId::from_bytes([n; 20])),
        tree: TreeId(ObjectId::from_bytes([n; 20])),
        images: vec![key(n), key(n)],
        disposition: EntryDisposition::Include,
    };
    let challenges = versions.iter().map(|(id, n)| (id.parse().unwrap(), entry(*n))).collect();
    let manifest = Manifest::new(None, Revision(ObjectId::from_bytes([99; 20])), challenges);
    let new = NewGeneration::of(manifest, Cause::Branch, "flagops".into(), "because".into());
    NewGeneration { expected, ..new }
}

async fn build(store: &Store, n: u8, image: &str, secs: i64) {
    let (challenge, service) = ("A".parse().unwrap(), "web".parse().unwrap());
    store.want_build(key(n), &challenge, &service, at(secs)).await.unwrap();
    store.begin_build(key(n), at(secs)).await.unwrap();
    let outcome = BuildOutcome::Built { image: image.to_owned() };
    store.finish_build(key(n), outcome, String::new(), at(secs + 1)).await.unwrap();
}

#[tokio::test]
async fn a_generation_keeps_the_images_it_went_live_with() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    build(store, 1, "sha256:one", 1).await;
    store.flip(new(0, &[("A", 1), ("B", 1), ("C", 2)]), at(10)).await.unwrap();
    store.forget_build(key(1), "sha256:one".to_owned()).await.unwrap();
    build(store, 1, "sha256:again", 20).await;
    store.flip(new(1, &[("A", 1)]), at(30)).await.unwrap();
    let record =
        |image: &str, secs| ImageRecord { image: image.to_owned(), started_at: Some(at(secs)) };
    let first = store.generation_images(1).await.unwrap();
    assert_eq!(first, [(key(1), record("sha256:one", 1))].into(), "what is not built is left out");
    let second = store.generation_images(2).await.unwrap();
    assert_eq!(second, [(key(1), record("sha256:again", 20))].into());
    assert_eq!(store.generation_images(3).await.unwrap(), [].into());
}

#[tokio::test]
async fn a_version_came_with_the_newest_generation_of_its_time_that_has_it() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    for (nth, version) in [1, 2, 1, 1].into_iter().enumerate() {
        let nth = u32::try_from(nth).unwrap();
        let changes = new(nth, &[("A", version), ("B", 10 + u8::try_from(nth).unwrap())]);
        store.flip(changes, at(10 * i64::from(nth + 1))).await.unwrap();
    }
    let of = async |version: u8, secs| {
        let tree = TreeId(ObjectId::from_bytes([version; 20]));
        let found = store.generation_of(&"A".parse().unwrap(), tree, at(secs)).await.unwrap();
        found.map(|(generation, _)| generation.number)
    };
    assert_eq!(of(1, 15).await, Some(1));
    assert_eq!(of(1, 25).await, Some(1), "the second has another version");
    assert_eq!(of(1, 30).await, Some(3));
    assert_eq!(of(1, 99).await, Some(4));
    assert_eq!(of(2, 99).await, Some(2));
    assert_eq!(of(2, 5).await, Some(2), "the first one after, if none before has it");
    assert_eq!(of(3, 99).await, None);
}

#[tokio::test]
async fn an_earlier_database_notes_the_images_of_what_is_live() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let before = open_with(&path, &MIGRATIONS[..9]).unwrap();
    let manifest = new(0, &[("A", 1), ("B", 2)]).manifest;
    let id = manifest.id();
    before
        .execute(
            "INSERT INTO releases (id, manifest, created_at) VALUES (?1, ?2, 0)",
            [id.as_str(), &serde_json::to_string(&manifest).unwrap()],
        )
        .unwrap();
    for number in [1, 2] {
        before
            .execute(
                "INSERT INTO generations (number, release, cause, who, why, at)
                 VALUES (?1, ?2, 'branch', 'flagops', 'because', 0)",
                rusqlite::params![number, id.as_str()],
            )
            .unwrap();
    }
    before.execute("INSERT INTO active (one, generation) VALUES (1, 2)", []).unwrap();
    before
        .execute(
            "INSERT INTO builds (key, challenge, service, state, image, is_retryable, log_tail,
                                 queued_at, n_attempts)
             VALUES (?1, 'A', 'web', 'built', 'sha256:one', 0, '', 0, 1)",
            [key(1).to_string()],
        )
        .unwrap();
    drop(before);
    let store = Store::open(&path).unwrap();
    let images = store.generation_images(2).await.unwrap();
    let record = ImageRecord { image: "sha256:one".to_owned(), started_at: None };
    assert_eq!(images, [(key(1), record)].into());
    assert_eq!(store.generation_images(1).await.unwrap(), [].into(), "nobody knows");
}
