//! Leftovers of instances that are over, and since when they were seen.

use rusqlite::{Row, params};

use super::{Store, StoreError, row};
use crate::model::{InstanceId, Timestamp};
use crate::planner::prune::{Leftover, LeftoverKind, Tombstones};

impl Store {
    /// Every tombstone.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tombstones(&self) -> Result<Tombstones, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM tombstones")?
                .query_map([], |row| Ok((leftover(row)?, row::time(row, "seen_at")?)))?
                .collect()
        })
        .await
    }

    /// Notes leftovers that were seen at `now` for the first time, and drops the tombstones of
    /// `forget`, in one step. One that is there keeps its time.
    ///
    /// # Errors
    /// When the database does not take it; then nothing is changed.
    pub async fn set_tombstones(
        &self,
        bury: Vec<Leftover>,
        forget: Vec<Leftover>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            for it in &forget {
                db.prepare_cached(
                    "DELETE FROM tombstones WHERE kind = ?1 AND object = ?2 AND instance = ?3",
                )?
                .execute(params![it.kind.as_str(), it.object, owner(it)])?;
            }
            for it in &bury {
                db.prepare_cached(
                    "INSERT OR IGNORE INTO tombstones (kind, object, instance, seen_at)
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    it.kind.as_str(),
                    it.object,
                    owner(it),
                    now.as_millis()
                ])?;
            }
            Ok(())
        })
        .await
    }
}

fn owner(leftover: &Leftover) -> String {
    leftover.instance.as_ref().map(InstanceId::to_string).unwrap_or_default()
}

fn leftover(row: &Row<'_>) -> rusqlite::Result<Leftover> {
    let owner: String = row.get("instance")?;
    Ok(Leftover {
        kind: row::word(row, "kind", LeftoverKind::from_word)?,
        object: row.get("object")?,
        instance: if owner.is_empty() { None } else { Some(row::text(row, "instance")?) },
    })
}
