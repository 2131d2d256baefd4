//! Announcements, and who has read them.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Store, StoreError, row};
use crate::model::{Announcement, Severity, Timestamp, UserId};

impl Store {
    /// Every announcement, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn announcements(&self) -> Result<Vec<Announcement>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM announcements ORDER BY seq DESC")?
                .query_map([], announcement_row)?
                .collect()
        })
        .await
    }

    /// Adds one.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn add_announcement(&self, new: Announcement) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "INSERT INTO announcements (id, title, body, severity, starts_at, ends_at,
                        created_by, created_by_name, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                new.id,
                new.title,
                new.body,
                new.severity.as_str(),
                new.starts_at.map(Timestamp::as_millis),
                new.ends_at.map(Timestamp::as_millis),
                new.created_by,
                new.created_by_name,
                new.created_at.as_millis(),
                new.updated_at.as_millis(),
            ])?;
            Ok(())
        })
        .await
    }

    /// Runs `change` on one and stores the outcome in one step, unless it refuses. `None` when there
    /// is none of that id.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn change_announcement<E: Send + 'static>(
        &self,
        id: String,
        change: impl FnOnce(&mut Announcement) -> Result<(), E> + Send + 'static,
    ) -> Result<Option<Result<Announcement, E>>, StoreError> {
        self.write(move |db| {
            let Some(mut row) = one(db, &id)? else { return Ok(None) };
            if let Err(refusal) = change(&mut row) {
                return Ok(Some(Err(refusal)));
            }
            db.prepare_cached(
                "UPDATE announcements SET title = ?2, body = ?3, severity = ?4, starts_at = ?5,
                        ends_at = ?6, updated_at = ?7 WHERE id = ?1",
            )?
            .execute(params![
                id,
                row.title,
                row.body,
                row.severity.as_str(),
                row.starts_at.map(Timestamp::as_millis),
                row.ends_at.map(Timestamp::as_millis),
                row.updated_at.as_millis(),
            ])?;
            Ok(Some(Ok(row)))
        })
        .await
    }

    /// Takes one back; whether there was one.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn delete_announcement(&self, id: String) -> Result<bool, StoreError> {
        self.write(move |db| {
            let n = db.prepare_cached("DELETE FROM announcements WHERE id = ?1")?.execute([id])?;
            Ok(n > 0)
        })
        .await
    }

    /// The ids of those that somebody has read.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn announcements_read(&self, user: UserId) -> Result<BTreeSet<String>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT announcement FROM announcement_reads WHERE user = ?1")?
                .query_map([user.to_string()], |row| row.get(0))?
                .collect()
        })
        .await
    }

    /// Notes that somebody has read these; how many of them they had not. Those that are gone are
    /// passed over.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn read_announcements(
        &self,
        user: UserId,
        ids: Vec<String>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        self.write(move |db| {
            let mut n_new = 0;
            for id in ids {
                n_new += db
                    .prepare_cached(
                        "INSERT INTO announcement_reads (user, announcement, read_at)
                         SELECT ?1, id, ?3 FROM announcements WHERE id = ?2
                         ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![user.to_string(), id, now.as_millis()])?;
            }
            Ok(n_new)
        })
        .await
    }
}

fn one(db: &Connection, id: &str) -> rusqlite::Result<Option<Announcement>> {
    db.prepare_cached("SELECT * FROM announcements WHERE id = ?1")?
        .query_row([id], announcement_row)
        .optional()
}

fn announcement_row(row: &Row<'_>) -> rusqlite::Result<Announcement> {
    Ok(Announcement {
        id: row.get("id")?,
        title: row.get("title")?,
        body: row.get("body")?,
        severity: row::word(row, "severity", Severity::from_word)?,
        starts_at: row::opt_time(row, "starts_at")?,
        ends_at: row::opt_time(row, "ends_at")?,
        created_by: row.get("created_by")?,
        created_by_name: row.get("created_by_name")?,
        created_at: row::time(row, "created_at")?,
        updated_at: row::time(row, "updated_at")?,
    })
}
