//! What was last read from the remote.

use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, row};
use crate::model::{Revision, Timestamp};

/// The newest revision that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    /// The branch that is followed.
    pub branch: String,
    /// Its newest commit that we have.
    pub revision: Revision,
    /// When the remote last answered.
    pub fetched_at: Timestamp,
}

impl Store {
    /// What was last read; `None` before the first time.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn source(&self) -> Result<Option<SourceRow>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM source")?
                .query_row([], |row| {
                    Ok(SourceRow {
                        branch: row.get("branch")?,
                        revision: row::text(row, "revision")?,
                        fetched_at: row::time(row, "fetched_at")?,
                    })
                })
                .optional()
        })
        .await
    }

    /// Remembers what was read.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn set_source(&self, source: SourceRow) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO source (one, branch, revision, fetched_at)
                 VALUES (1, ?1, ?2, ?3)",
            )?
            .execute(params![
                source.branch,
                source.revision.to_string(),
                source.fetched_at.as_millis()
            ])?;
            Ok(())
        })
        .await
    }
}
