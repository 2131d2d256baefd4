//! The front door: isolation, durability, panics, and the small tables.

use super::*;

fn live(challenge: &str, byte: u8) -> LiveRow {
    LiveRow {
        challenge: challenge.parse().unwrap(),
        path: format!("WEB/{challenge}"),
        revision: revision(byte),
        tree: tree(byte),
        since: at(1),
    }
}

#[tokio::test]
async fn the_live_set_changes_in_one_step_and_survives_a_restart() {
    let fixture = Fixture::new();
    let (a, b, c) = (live("WEB-001", 1), live("WEB-002", 2), live("WEB-003", 3));
    set_live(&fixture.store, vec![b.clone(), a.clone()], Vec::new()).await.unwrap();
    assert_eq!(fixture.store.live().await.unwrap(), [a.clone(), b.clone()]);

    let newer = live("WEB-002", 9);
    let remove = vec![a.challenge.clone(), "GONE".parse().unwrap()];
    set_live(&fixture.store, vec![newer.clone(), c.clone()], remove).await.unwrap();
    assert_eq!(fixture.reopened().store.live().await.unwrap(), [newer, c]);
}

#[tokio::test]
async fn the_source_is_one_row() {
    let fixture = Fixture::new();
    assert_eq!(fixture.store.source().await.unwrap(), None);
    let row =
        |byte| SourceRow { branch: "main".to_owned(), revision: revision(byte), fetched_at: at(5) };
    fixture.store.set_source(row(1)).await.unwrap();
    fixture.store.set_source(row(2)).await.unwrap();
    assert_eq!(fixture.reopened().store.source().await.unwrap(), Some(row(2)));
}

#[tokio::test]
async fn revisions_in_use_are_pinned_and_launches_counted() {
    let Fixture { store, folder: _folder } = Fixture::new();
    set_live(&store, vec![live("WEB-001", 1)], Vec::new()).await.unwrap();
    for (n, byte) in [(1, 2), (2, 3), (3, 4)] {
        let mut new = new_instance(n);
        new.instance.revision = revision(byte);
        store.insert_instance(new).await.unwrap();
    }
    let end = |phase| move |instance: &mut Instance| instance.phase = phase;
    store.change_instance(instance_id(2), end(InstancePhase::Stopped)).await.unwrap();
    store.change_instance(instance_id(3), end(InstancePhase::Failed)).await.unwrap();
    let pinned = store.pinned_revisions().await.unwrap();
    assert_eq!(pinned.into_iter().collect::<Vec<_>>(), [revision(1), revision(2), revision(99)]);
    let launches = store.launches_after(0).await.unwrap().1;
    assert_eq!(launches, [("WEB-001".parse().unwrap(), 3)].into());
}

#[tokio::test]
async fn a_change_that_fails_or_panics_leaves_nothing_and_hinders_nobody() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let write_then = |ending: fn() -> Result<(), StoreError>| {
        store.write(move |db| {
            db.execute("INSERT INTO cursors (name, value) VALUES ('x', 1)", [])?;
            ending()
        })
    };
    assert!(matches!(write_then(|| Err(StoreError::Abandoned)).await, Err(StoreError::Abandoned)));
    let panicking = write_then(|| panic!("on purpose"));
    assert!(matches!(panicking.await, Err(StoreError::Abandoned)));
    let n: u32 = store
        .read(|db| db.query_row("SELECT count(*) FROM cursors", [], |row| row.get(0)))
        .await
        .unwrap();
    assert_eq!(n, 0);
    write_then(|| Ok(())).await.unwrap();
}

#[tokio::test]
async fn a_question_that_panics_gives_its_connection_back() {
    let Fixture { store, folder: _folder } = Fixture::new();
    for _ in 0..10 {
        let asked = store.read::<()>(|_| panic!("on purpose")).await;
        assert!(matches!(asked, Err(StoreError::Abandoned)));
    }
    assert_eq!(store.live().await.unwrap(), []);
}

#[tokio::test]
async fn readers_cannot_write() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let asked = store.read(|db| db.execute("DELETE FROM live", [])).await;
    assert!(matches!(asked, Err(StoreError::Disk { .. })), "{asked:?}");
}

#[tokio::test]
async fn a_dropped_caller_does_not_undo_its_change() {
    let fixture = Fixture::new();
    let (begin, begun) = std::sync::mpsc::channel::<()>();
    let store = fixture.store.clone();
    let blocked = store.write::<_, StoreError>(move |_| {
        let _ = begun.recv();
        Ok(())
    });
    let source = SourceRow { branch: "main".to_owned(), revision: revision(1), fetched_at: at(1) };
    let change = store.set_source(source.clone());
    {
        // Both are queued, then their callers go away.
        let (mut blocked, mut change) = (Box::pin(blocked), Box::pin(change));
        assert!(futures_util::poll!(&mut blocked).is_pending());
        assert!(futures_util::poll!(&mut change).is_pending());
    }
    begin.send(()).unwrap();
    drop(store);
    assert_eq!(fixture.reopened().store.source().await.unwrap(), Some(source));
}

#[tokio::test]
async fn commits_are_on_the_disk_before_the_caller_hears_of_them() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let pragma = |name: &'static str| {
        store.write::<String, StoreError>(move |db| {
            Ok(db.query_row(
                &format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"),
                [],
                |row| row.get(0),
            )?)
        })
    };
    assert_eq!(pragma("journal_mode").await.unwrap(), "wal");
    assert_eq!(pragma("synchronous").await.unwrap(), "2");
    assert_eq!(pragma("foreign_keys").await.unwrap(), "1");
    assert_eq!(pragma("trusted_schema").await.unwrap(), "0");
}

#[tokio::test]
async fn a_full_disk_is_called_so_and_passes() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let set_max = |pages: u32| {
        store.write::<u32, StoreError>(move |db| {
            Ok(db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0))?)
        })
    };
    // The smallest that SQLite allows is what there is: from now on the file cannot grow.
    set_max(1).await.unwrap();
    let live_row = |n: u32| LiveRow { path: "x".repeat(4000), ..live(&format!("WEB-{n}"), 1) };
    let rows: Vec<_> = (0..100).map(live_row).collect();
    let refused = set_live(&store, rows.clone(), Vec::new()).await.unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused:?}");
    assert!(matches!(refused.disposition(), crate::model::Disposition::Retry(_)));
    assert_eq!(store.live().await.unwrap(), []);
    set_max(1 << 30).await.unwrap();
    set_live(&store, rows, Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_row_that_we_did_not_write_is_an_error_that_names_its_column() {
    let Fixture { store, folder: _folder } = Fixture::new();
    store
        .write::<_, StoreError>(|db| {
            Ok(db.execute(
                "INSERT INTO live VALUES ('WEB-001', 'p', 'nonsense', 'nonsense', 0)",
                [],
            )?)
        })
        .await
        .unwrap();
    let error = store.live().await.unwrap_err();
    let StoreError::BadRow { source } = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("column `revision`"), "{source}");
}
