//! Changes that wait for each other are made together, and fail alone.

use std::time::Duration;

use futures_util::future::join_all;
use rusqlite::Connection;

use super::*;
use crate::store::StoreError;

fn put(db: &Connection, nth: i64) -> Result<(), StoreError> {
    db.execute("INSERT INTO cursors (name, value) VALUES (?1, ?1)", [format!("{nth}")])
        .map(|_| ())
        .map_err(StoreError::from)
}

async fn values(store: &Store) -> Vec<String> {
    let read = |db: &Connection| {
        db.prepare("SELECT name FROM cursors WHERE value = CAST(name AS INTEGER) ORDER BY value")?
            .query_map([], |row| row.get(0))?
            .collect()
    };
    store.read(read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_or_panics_takes_no_other_with_it_and_is_wholly_undone() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    // Everything else waits for this one, so all of it is one transaction.
    let slow = store.write(|db| {
        std::thread::sleep(Duration::from_millis(200));
        put(db, 100)
    });
    let changes = (0..12_i64).map(|nth| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let change = move |db: &Connection| {
            put(db, nth)?;
            match nth {
                3 => Err(StoreError::Abandoned),
                5 => panic!("a mistake of ours"),
                // What an earlier one of the group did is seen.
                7 => put(db, 0).map_err(|_| StoreError::Abandoned),
                _ => Ok(()),
            }
        };
        store.write(change).await
    });
    let (slow, outcomes) = tokio::join!(slow, join_all(changes));
    slow.unwrap();
    for (nth, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_ok(), ![3, 5, 7].contains(&nth), "{nth}: {outcome:?}");
    }
    let wanted: Vec<_> = [0, 1, 2, 4, 6, 8, 9, 10, 11, 100].map(|n: i32| n.to_string()).to_vec();
    assert_eq!(values(store).await, wanted);
    // The next one runs as if nothing had been.
    store.write(|db| put(db, 200)).await.unwrap();
    let Fixture { store, folder: _folder } = fixture.reopened();
    assert_eq!(values(&store).await.len(), wanted.len() + 1);
}

#[tokio::test]
async fn what_is_asked_for_after_the_disk_was_full_is_not_refused_for_it() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let set_max = |db: &Connection, pages: u32| {
        db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
    };
    store.write::<(), StoreError>(move |db| Ok(set_max(db, 1)?)).await.unwrap();
    let (sender, outcomes) = tokio::sync::oneshot::channel();
    let again = store.clone();
    let fill = |db: &Connection| (0..10_000).try_for_each(|nth| put(db, nth));
    // Told on the thread that writes, before it looks at its queue again: as early as anybody can ask.
    store.inner.writer.post(fill, move |full: Result<(), StoreError>| {
        let make_room = move |db: &Connection| Ok(set_max(db, 1 << 30)?);
        let tell = move |then: Result<(), StoreError>| sender.send((full, then)).unwrap();
        again.inner.writer.post(make_room, tell);
    });
    let (full, then) = outcomes.await.unwrap();
    assert!(matches!(full, Err(StoreError::DiskFull { .. })), "{full:?}");
    then.unwrap();
}
