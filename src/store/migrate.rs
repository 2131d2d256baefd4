//! Opens the file and brings it to the shape of this version: forward only, each step whole.
//!
//! The table `migrations` remembers what was applied, with the digest of its text, so that an
//! edited step and a database of a newer flagops are refused instead of guessed at. Before an
//! existing database changes, a copy is put beside it (`<file>.before-NNNN`).

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use sha2::{Digest, Sha256};

use super::StoreError;
use super::backup::{copy, suffixed};
use crate::model::id::hex;

/// How long a lock of another program (a backup, a shell) is waited for.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One step; its version is its position, from 1.
pub(super) struct Migration {
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

/// Every step there ever was, in order. Append only.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { name: "0001_initial", sql: include_str!("../../schema/sql/0001_initial.sql") },
    Migration { name: "0002_instances", sql: include_str!("../../schema/sql/0002_instances.sql") },
    Migration { name: "0003_notices", sql: include_str!("../../schema/sql/0003_notices.sql") },
    Migration { name: "0004_images", sql: include_str!("../../schema/sql/0004_images.sql") },
    Migration {
        name: "0005_tombstones",
        sql: include_str!("../../schema/sql/0005_tombstones.sql"),
    },
    Migration { name: "0006_releases", sql: include_str!("../../schema/sql/0006_releases.sql") },
    Migration {
        name: "0007_generations",
        sql: include_str!("../../schema/sql/0007_generations.sql"),
    },
    Migration { name: "0008_hooks", sql: include_str!("../../schema/sql/0008_hooks.sql") },
    Migration { name: "0009_proofs", sql: include_str!("../../schema/sql/0009_proofs.sql") },
    Migration {
        name: "0010_provenance",
        sql: include_str!("../../schema/sql/0010_provenance.sql"),
    },
    Migration { name: "0011_vpn", sql: include_str!("../../schema/sql/0011_vpn.sql") },
    Migration { name: "0012_exports", sql: include_str!("../../schema/sql/0012_exports.sql") },
    Migration { name: "0013_nodes", sql: include_str!("../../schema/sql/0013_nodes.sql") },
    Migration { name: "0014_accounts", sql: include_str!("../../schema/sql/0014_accounts.sql") },
    Migration {
        name: "0015_competitions",
        sql: include_str!("../../schema/sql/0015_competitions.sql"),
    },
    Migration { name: "0016_invites", sql: include_str!("../../schema/sql/0016_invites.sql") },
    Migration {
        name: "0017_activities",
        sql: include_str!("../../schema/sql/0017_activities.sql"),
    },
    Migration { name: "0018_waiting", sql: include_str!("../../schema/sql/0018_waiting.sql") },
    Migration { name: "0019_fairness", sql: include_str!("../../schema/sql/0019_fairness.sql") },
    Migration { name: "0020_vpn_told", sql: include_str!("../../schema/sql/0020_vpn_told.sql") },
    Migration { name: "0021_hubs", sql: include_str!("../../schema/sql/0021_hubs.sql") },
    Migration { name: "0022_records", sql: include_str!("../../schema/sql/0022_records.sql") },
    Migration {
        name: "0023_administration",
        sql: include_str!("../../schema/sql/0023_administration.sql"),
    },
    Migration {
        name: "0024_statistics",
        sql: include_str!("../../schema/sql/0024_statistics.sql"),
    },
    Migration { name: "0025_changes", sql: include_str!("../../schema/sql/0025_changes.sql") },
    Migration { name: "0026_ctfd", sql: include_str!("../../schema/sql/0026_ctfd.sql") },
    Migration { name: "0027_news", sql: include_str!("../../schema/sql/0027_news.sql") },
    Migration {
        name: "0028_shared_profiles",
        sql: include_str!("../../schema/sql/0028_shared_profiles.sql"),
    },
];

/// The connection that writes, to a database of this version's shape.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    open_with(path, MIGRATIONS)
}

/// As [`open`], up to the given steps.
pub(super) fn open_with(path: &Path, steps: &[Migration]) -> Result<Connection, StoreError> {
    let cannot_open = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::CannotOpen {
        path: path.to_owned(),
        source,
    };
    create_private(path).map_err(|error| cannot_open(Box::new(error)))?;
    let mut connection = Connection::open(path).map_err(|error| cannot_open(Box::new(error)))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Before anything is set: what is not ours stays as it is.
    n_applied(&connection, path, steps)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA journal_size_limit = 67108864;",
    )?;
    check_integrity(&connection)?;
    migrate(&mut connection, path, steps)?;
    Ok(connection)
}

/// Makes the file when it is absent, and takes it from everybody else in any case.
pub(super) fn create_private(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

fn check_integrity(connection: &Connection) -> Result<(), StoreError> {
    let detail: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if detail == "ok" { Ok(()) } else { Err(StoreError::Damaged { detail }) }
}

fn migrate(
    connection: &mut Connection,
    path: &Path,
    steps: &[Migration],
) -> Result<(), StoreError> {
    let n_applied = n_applied(connection, path, steps)?;
    for (nth, step) in steps.iter().enumerate().skip(n_applied) {
        if nth == n_applied && n_applied > 0 {
            back_up(connection, path, step)?;
        }
        apply(connection, nth, step)
            .map_err(|source| StoreError::Migration { name: step.name.to_owned(), source })?;
    }
    Ok(())
}

/// How many steps the database has; an error when they are not a beginning of ours.
fn n_applied(
    connection: &Connection,
    path: &Path,
    steps: &[Migration],
) -> Result<usize, StoreError> {
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if tables.is_empty() {
        return Ok(0);
    }
    if !tables.iter().any(|table| table == "migrations") {
        return Err(StoreError::NotOurs { path: path.to_owned() });
    }
    let applied: Vec<(u32, String, String)> = connection
        .prepare("SELECT version, name, sha256 FROM migrations ORDER BY version")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let known = version(steps.len().saturating_sub(1));
    for (nth, (found, name, sha256)) in applied.iter().enumerate() {
        let Some(step) = steps.get(nth) else {
            return Err(StoreError::Newer { found: *found, known });
        };
        if *found != version(nth) || name != step.name || *sha256 != digest(step) {
            return Err(StoreError::EditedMigration { name: name.clone() });
        }
    }
    Ok(applied.len())
}

fn apply(connection: &mut Connection, nth: usize, step: &Migration) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (
             version INTEGER PRIMARY KEY NOT NULL,
             name    TEXT NOT NULL,
             sha256  TEXT NOT NULL
         ) STRICT;",
    )?;
    transaction.execute_batch(step.sql)?;
    transaction.execute(
        "INSERT INTO migrations (version, name, sha256) VALUES (?1, ?2, ?3)",
        (version(nth), step.name, digest(step)),
    )?;
    transaction.commit()
}

fn back_up(connection: &Connection, path: &Path, step: &Migration) -> Result<(), StoreError> {
    let number = step.name.get(..4).unwrap_or(step.name);
    let target = suffixed(path, &format!(".before-{number}"));
    copy(connection, &target).map_err(|source| StoreError::Backup { path: target.clone(), source })
}

fn version(nth: usize) -> u32 {
    u32::try_from(nth + 1).unwrap_or(u32::MAX)
}

fn digest(step: &Migration) -> String {
    hex(&Sha256::digest(step.sql.as_bytes()))
}
