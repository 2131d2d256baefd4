//! Which version of each challenge players get.

use rusqlite::{Connection, Row, params};

use super::{Store, StoreError, images, row};
use crate::model::{ChallengeId, Revision, Timestamp, TreeId};

/// One live challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRow {
    /// The challenge.
    pub challenge: ChallengeId,
    /// Its folder at `revision`.
    pub path: String,
    /// The commit it comes from; pinned while it is live.
    pub revision: Revision,
    /// Its tree.
    pub tree: TreeId,
    /// Since when this version is live.
    pub since: Timestamp,
}

impl Store {
    /// Every live challenge, by id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn live(&self) -> Result<Vec<LiveRow>, StoreError> {
        self.read(all).await
    }
}

/// Every live challenge, by id.
pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<LiveRow>> {
    db.prepare_cached("SELECT * FROM live ORDER BY challenge")?.query_map([], live_row)?.collect()
}

/// Makes one version live in place of the one before it, which is remembered.
pub(super) fn put(db: &Connection, live: &LiveRow) -> rusqlite::Result<()> {
    images::supersede(db, live)?;
    db.prepare_cached(
        "INSERT OR REPLACE INTO live (challenge, path, revision, tree, since)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        live.challenge.as_str(),
        live.path,
        live.revision.to_string(),
        live.tree.to_string(),
        live.since.as_millis(),
    ])?;
    Ok(())
}

fn live_row(row: &Row<'_>) -> rusqlite::Result<LiveRow> {
    Ok(LiveRow {
        challenge: row::text(row, "challenge")?,
        path: row.get("path")?,
        revision: row::text(row, "revision")?,
        tree: row::text(row, "tree")?,
        since: row::time(row, "since")?,
    })
}
