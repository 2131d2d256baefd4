//! The shape of the file: made once, changed forward only, and never guessed at.

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use super::migrate::{MIGRATIONS, Migration, open_with};
use super::*;
use crate::model::Membership;

const FIRST: Migration = Migration { name: "0001_a", sql: "CREATE TABLE a (x INTEGER) STRICT;" };
const SECOND: Migration = Migration { name: "0002_b", sql: "CREATE TABLE b (x INTEGER) STRICT;" };
const BROKEN: Migration =
    Migration { name: "0002_b", sql: "CREATE TABLE b (x INTEGER) STRICT; NONSENSE;" };

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    (folder, path)
}

fn names(path: &std::path::Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut select = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn files(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn opening_again_changes_nothing() {
    let (folder, path) = folder();
    for _ in 0..3 {
        drop(open_with(&path, &[FIRST, SECOND]).unwrap());
        assert_eq!(names(&path), ["a", "b", "migrations"]);
        assert_eq!(files(&folder), ["x.db"]);
    }
}

#[test]
fn an_existing_database_is_copied_before_it_changes() {
    let (folder, path) = folder();
    open_with(&path, &[FIRST]).unwrap().execute("INSERT INTO a VALUES (42)", []).unwrap();
    drop(open_with(&path, &[FIRST, SECOND]).unwrap());
    assert_eq!(names(&path), ["a", "b", "migrations"]);
    assert_eq!(files(&folder), ["x.db", "x.db.before-0002"]);
    let backup = folder.path().join("x.db.before-0002");
    assert_eq!(names(&backup), ["a", "migrations"]);
    assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let kept =
        Connection::open(&backup).unwrap().query_row("SELECT x FROM a", [], |row| row.get(0));
    assert_eq!(kept, Ok(42));
}

#[test]
fn a_migration_that_fails_leaves_the_database_as_it_was() {
    let (_folder, path) = folder();
    drop(open_with(&path, &[FIRST]).unwrap());
    let error = open_with(&path, &[FIRST, BROKEN]).unwrap_err();
    assert!(matches!(&error, StoreError::Migration { name, .. } if name == "0002_b"), "{error}");
    assert_eq!(names(&path), ["a", "migrations"]);
    drop(open_with(&path, &[FIRST, SECOND]).expect("the mended one is applied"));
}

#[test]
fn an_edited_migration_is_refused() {
    let (_folder, path) = folder();
    drop(open_with(&path, &[FIRST, SECOND]).unwrap());
    let edited = Migration { sql: "CREATE TABLE a (y TEXT) STRICT;", ..FIRST };
    let error = open_with(&path, &[edited, SECOND]).unwrap_err();
    assert!(matches!(&error, StoreError::EditedMigration { name } if name == "0001_a"), "{error}");
    let renamed = Migration { name: "0001_other", ..FIRST };
    let error = open_with(&path, &[renamed, SECOND]).unwrap_err();
    assert!(matches!(error, StoreError::EditedMigration { .. }), "{error}");
}

#[test]
fn a_newer_database_is_refused() {
    let (_folder, path) = folder();
    drop(open_with(&path, &[FIRST, SECOND]).unwrap());
    let error = open_with(&path, &[FIRST]).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 2, known: 1 }), "{error}");
}

#[test]
fn the_database_of_another_program_is_refused_and_left_alone() {
    let (folder, path) = folder();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::NotOurs { .. }), "{error}");
    assert_eq!(names(&path), ["theirs"]);
    assert_eq!(files(&folder), ["x.db"]);
    let mode: String = Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "delete");
}

#[test]
fn what_is_no_database_is_refused() {
    let (_folder, path) = folder();
    std::fs::write(&path, "this is a text, and a rather long one at that. ".repeat(40)).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let error = Store::open(std::path::Path::new("/nonexistent/x.db")).unwrap_err();
    assert!(matches!(error, StoreError::CannotOpen { .. }), "{error}");
}

#[test]
fn the_database_is_its_owners_alone() {
    let (_folder, path) = folder();
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _store = Store::open(&path).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", path.display());
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
}

#[test]
fn every_step_is_numbered_by_its_position_and_every_table_is_strict() {
    for (nth, step) in MIGRATIONS.iter().enumerate() {
        assert!(step.name.starts_with(&format!("{:04}_", nth + 1)), "{}", step.name);
    }
    let (_folder, path) = folder();
    drop(Store::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    let mut select = connection
        .prepare("SELECT name FROM pragma_table_list WHERE NOT strict AND name NOT LIKE 'sqlite_%'")
        .unwrap();
    let lax: Vec<String> =
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(lax, Vec::<String>::new());
}

#[tokio::test]
async fn a_database_of_the_first_schema_opens_and_keeps_its_rows() {
    let (folder, path) = folder();
    let old = open_with(&path, &MIGRATIONS[..1]).unwrap();
    old.execute_batch(
        "INSERT INTO conditions (scope, kind, status, reason, message, since)
         VALUES ('repo', 'SourceReachable', 'False', 'Timeout', 'no answer', 1000);
         INSERT INTO events (at, scope, kind, status, reason, message)
         VALUES (1000, 'repo', 'SourceReachable', 'False', 'Timeout', 'no answer');",
    )
    .unwrap();
    drop(old);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.conditions().await.unwrap()[0].reason, "Timeout");
    assert_eq!(store.events(0, 9).await.unwrap().len(), 1);
    assert_eq!(store.alarms().await.unwrap(), []);
    assert_eq!(store.outbox_counts().await.unwrap(), OutboxCounts::default());
    drop(store);
    assert!(files(&folder).contains(&"x.db.before-0002".to_owned()));
}

#[tokio::test]
async fn teams_and_their_tokens_survive_that_teams_belong_to_competitions() {
    let (_folder, path) = folder();
    let before = MIGRATIONS.iter().position(|step| step.name == "0014_accounts").unwrap();
    let old = open_with(&path, &MIGRATIONS[..before]).unwrap();
    let id = team(7).to_string();
    old.execute("INSERT INTO teams (id, name, created_at) VALUES (?1, 'Red', 5000)", [&id])
        .unwrap();
    old.execute(
        "INSERT INTO team_tokens (token_id, token_hash, team, created_at)
         VALUES ('t1', ?1, ?2, 6000)",
        (vec![7_u8; 32], &id),
    )
    .unwrap();
    drop(old);
    let store = Store::open(&path).unwrap();
    let teams = store.teams().await.unwrap();
    let seen: Vec<_> = teams.iter().map(|it| (it.id, it.competition.as_str(), &*it.name)).collect();
    assert_eq!(seen, [(team(7), "default", "Red")]);
    let membership = Membership { competition: "default".parse().unwrap(), team: team(7) };
    let holder = Holder::Team { token_id: "t1".to_owned(), membership };
    assert_eq!(store.holder([7; 32]).await.unwrap(), Some(holder));
}
