//! The flip, and what tags were ever seen to be.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rusqlite::Connection;

use super::*;
use crate::model::TagName;
use crate::release::manifest::{Cause, Entry, EntryDisposition, Manifest};
use crate::store::migrate::MIGRATIONS;
use crate::store::releases::flip_in;
use crate::store::{DecisionKind, Flip, NewGeneration, TagDecision, live};

fn object(n: u8) -> ObjectId {
    ObjectId::from_bytes([n; 20])
}

fn tag(name: &str) -> TagName {
    name.parse().unwrap()
}

fn manifest(versions: &[(&str, u8)]) -> Manifest {
    let entry = |n: u8| Entry {
        path: "WEB/x".into(),
        revision: Revision(object(n)),
        tree: TreeId(object(n)),
        images: vec![],
        disposition: EntryDisposition::Include,
    };
    let challenges = versions.iter().map(|(id, n)| (id.parse().unwrap(), entry(*n))).collect();
    Manifest::new(None, Revision(object(99)), challenges)
}

fn new(expected: u32, versions: &[(&str, u8)]) -> NewGeneration {
    NewGeneration {
        manifest: manifest(versions),
        cause: Cause::Tag,
        who: "ada".into(),
        why: "because".into(),
        expected,
        quarantine_tags: vec![],
        quarantine_versions: vec![],
        left_revision: None,
    }
}

#[tokio::test]
async fn a_flip_changes_everything_at_once_and_generations_only_grow() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    assert_eq!(store.active().await.unwrap(), None);
    let first = store.flip(new(0, &[("A", 1), ("B", 1)]), at(1)).await.unwrap();
    let Flip::Done(first) = first else { panic!() };
    assert_eq!(first.number, 1);
    let Flip::Done(second) = store.flip(new(1, &[("B", 1), ("C", 2)]), at(2)).await.unwrap() else {
        panic!()
    };
    assert_eq!(second.number, 2);
    let live = store.live().await.unwrap();
    let seen: Vec<_> = live.iter().map(|row| (row.challenge.as_str(), row.since)).collect();
    assert_eq!(seen, [("B", at(1)), ("C", at(2))], "what did not change keeps its time");
    let (active, what) = store.active().await.unwrap().unwrap();
    assert_eq!((active.number, what.id()), (2, second.release));
    // Back is forward: an old manifest under a new number.
    let Flip::Done(back) = store.flip(new(2, &[("A", 1), ("B", 1)]), at(3)).await.unwrap() else {
        panic!()
    };
    assert_eq!((back.number, &back.release), (3, &first.release));
    let numbers: Vec<_> = store.generations(10).await.unwrap().iter().map(|it| it.number).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(store.audit(10).await.unwrap()[0].object, "generation 3");
}

#[tokio::test]
async fn a_flip_that_was_overtaken_changes_nothing() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.flip(new(0, &[("A", 1)]), at(1)).await.unwrap();
    let outcome = store.flip(new(0, &[("A", 2)]), at(2)).await.unwrap();
    assert_eq!(outcome, Flip::Overtaken);
    assert_eq!(store.active().await.unwrap().unwrap().0.number, 1);
    assert_eq!(store.live().await.unwrap()[0].tree, TreeId(object(1)));
}

#[tokio::test]
async fn what_is_quarantined_with_a_flip_is_so_at_the_same_moment() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let mut rollback = new(0, &[("A", 1)]);
    rollback.quarantine_versions = vec![("A".parse().unwrap(), TreeId(object(2)))];
    rollback.quarantine_tags = vec![TagDecision {
        tag: tag("v2"),
        object: object(2),
        kind: DecisionKind::Quarantine,
        who: "ada".into(),
        why: "leaked".into(),
        at: at(1),
    }];
    store.flip(rollback, at(1)).await.unwrap();
    assert_eq!(store.quarantined_versions().await.unwrap()[0].tree, TreeId(object(2)));
    assert_eq!(store.tag_decisions().await.unwrap()[0].kind, DecisionKind::Quarantine);
}

#[tokio::test]
async fn of_the_generations_of_the_branch_only_the_newest_are_kept() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.flip(new(0, &[("A", 1)]), at(1)).await.unwrap();
    for n in 1..=520 {
        let mut pushed = new(n, &[("A", u8::try_from(n % 250).unwrap())]);
        pushed.cause = Cause::Branch;
        store.flip(pushed, at(2)).await.unwrap();
    }
    let kept = store.generations(1000).await.unwrap();
    assert_eq!(kept.len(), 501);
    assert_eq!(kept.last().unwrap().number, 1, "what a tag brought stays");
    assert_eq!(store.active().await.unwrap().unwrap().0.number, 521);
}

#[tokio::test]
async fn what_a_tag_ever_named_stays_told() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let seen = |pairs: &[(&str, u8)]| -> BTreeMap<TagName, ObjectId> {
        pairs.iter().map(|(name, n)| (tag(name), object(*n))).collect()
    };
    store.observe_tags(seen(&[("v1", 1), ("v2", 2)]), at(1)).await.unwrap();
    store.observe_tags(seen(&[("v1", 3)]), at(2)).await.unwrap();
    let records = store.observe_tags(seen(&[("v1", 1)]), at(3)).await.unwrap();
    assert_eq!(records, store.tag_records().await.unwrap());
    let v1: Vec<_> = records[0].sightings.iter().map(|it| (it.object, it.first_seen)).collect();
    assert_eq!(v1, [(object(1), at(1)), (object(3), at(2))]);
    assert_eq!(records[0].current, Some(object(1)));
    assert_eq!(records[1].current, None, "v2 is gone");
    assert_eq!(records[1].sightings.len(), 1);
}

/// What somebody does to what is live.
#[derive(Debug, Clone)]
struct Wish {
    /// How far behind the plan is; 0 for one that was made just now.
    behind: u32,
    cause: Cause,
    versions: BTreeMap<String, u8>,
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let cause = prop_oneof![
        4 => Just(Cause::Tag),
        2 => Just(Cause::Branch),
        2 => Just(Cause::Rollback),
        1 => Just(Cause::Revert),
    ];
    let behind = prop_oneof![4 => Just(0_u32), 1 => 1_u32..4];
    (behind, cause, proptest::collection::btree_map("[A-D]", 0_u8..4, 0..5))
        .prop_map(|(behind, cause, versions)| Wish { behind, cause, versions })
}

/// One database for all cases; each leaves it as it was.
fn database() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    for step in MIGRATIONS {
        db.execute_batch(step.sql).unwrap();
    }
    db
}

thread_local! {
    static DATABASE: Connection = database();
}

fn numbers(db: &Connection) -> (u32, u32, u32) {
    let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, Option<u32>>(0)).unwrap();
    (
        number("SELECT max(generation) FROM active").unwrap_or(0),
        number("SELECT max(number) FROM generations").unwrap_or(0),
        number("SELECT count(*) FROM generations").unwrap_or(0),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// I7: a generation never decreases, whatever goes live, goes back or comes too late; and what
    /// is live is that manifest, row by row (I5).
    #[test]
    fn i7_generations_never_decrease(wishes in proptest::collection::vec(any_wish(), 1..8)) {
        DATABASE.with(|db| {
            db.execute_batch("SAVEPOINT one_case").unwrap();
            let result = run_wishes(db, &wishes);
            db.execute_batch("ROLLBACK TO one_case; RELEASE one_case").unwrap();
            result
        })?;
    }
}

fn run_wishes(db: &Connection, wishes: &[Wish]) -> Result<(), TestCaseError> {
    for (nth, wish) in wishes.iter().enumerate() {
        let (active, newest, n_before) = numbers(db);
        let versions: Vec<_> = wish.versions.iter().map(|(id, n)| (id.as_str(), *n)).collect();
        let mut wanted = new(active.saturating_sub(wish.behind), &versions);
        wanted.cause = wish.cause;
        let is_late = wanted.expected != active;
        let now = at(i64::try_from(nth).unwrap());
        let outcome = flip_in(db, &wanted, now).unwrap();
        let (after, newest_after, n_after) = numbers(db);
        match outcome {
            Flip::Overtaken => {
                prop_assert!(is_late);
                prop_assert_eq!((after, newest_after, n_after), (active, newest, n_before));
            }
            Flip::Done(generation) => {
                prop_assert!(!is_late);
                prop_assert!(generation.number > newest && generation.number > active);
                prop_assert_eq!((after, newest_after), (generation.number, generation.number));
                let live: BTreeMap<String, u8> = live::all(db)
                    .unwrap()
                    .into_iter()
                    .map(|row| (row.challenge.to_string(), row.tree.0.as_bytes()[0]))
                    .collect();
                prop_assert_eq!(&live, &wish.versions);
            }
        }
    }
    Ok(())
}
