//! Databases as earlier versions left them, for tests.

use std::path::Path;

use super::migrate::{MIGRATIONS, open_with};

/// Writes the database of a daemon of schema 0001 with one running instance to `path`; the networks
/// of the instance bear these ids in the engine.
pub(crate) fn write_0001(path: &Path, front: &str, back: &str) {
    let rows = include_str!("fixtures/0001_rows.sql");
    let rows = rows.replace("{front}", front).replace("{back}", back);
    open_with(path, &MIGRATIONS[..1]).unwrap().execute_batch(&rows).unwrap();
}
