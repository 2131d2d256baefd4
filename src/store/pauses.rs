//! Who keeps us from what, and until when.

use rusqlite::{Row, params};

use super::{Store, StoreError, row};
use crate::model::{Pause, PauseKind, Scope};

impl Store {
    /// Every pause, by object.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM pauses ORDER BY scope, kind")?
                .query_map([], pause_row)?
                .collect()
        })
        .await
    }

    /// Begins a pause, in place of an earlier one of that kind and object.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn set_pause(&self, pause: Pause) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO pauses (scope, kind, who, why, since, until)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                pause.scope.to_string(),
                pause.kind.as_str(),
                pause.who,
                pause.why,
                pause.since.as_millis(),
                pause.until.as_millis(),
            ])?;
            Ok(())
        })
        .await
    }

    /// Ends a pause; whether there was one.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn end_pause(&self, kind: PauseKind, scope: Scope) -> Result<bool, StoreError> {
        self.write(move |db| {
            let n_ended = db
                .prepare_cached("DELETE FROM pauses WHERE scope = ?1 AND kind = ?2")?
                .execute(params![scope.to_string(), kind.as_str()])?;
            Ok(n_ended > 0)
        })
        .await
    }
}

fn pause_row(row: &Row<'_>) -> rusqlite::Result<Pause> {
    Ok(Pause {
        scope: row::text(row, "scope")?,
        kind: row::word(row, "kind", PauseKind::from_word)?,
        who: row.get("who")?,
        why: row.get("why")?,
        since: row::time(row, "since")?,
        until: row::time(row, "until")?,
    })
}
