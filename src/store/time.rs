//! The times that other times depend on: moved together when the wall clock jumps.

use rusqlite::params;

use super::{Store, StoreError};
use crate::model::Timestamp;

/// The name of the cursor that holds the last time the daemon lived.
const LAST_SEEN: &str = "last_seen";

impl Store {
    /// Moves, in one step, every time that is compared with the present by `millis`: the ends of
    /// leases that are not over, the times of networks, subnets, tombstones and proofs, and when
    /// statuses that wait are tried. What is a record of the past stays.
    ///
    /// # Errors
    /// When the database does not take it; then nothing is moved.
    pub async fn move_times(&self, millis: i64) -> Result<(), StoreError> {
        self.write(move |db| {
            for sql in [
                "UPDATE instances SET expires_at = expires_at + ?1 WHERE phase <> 'stopped'",
                "UPDATE networks SET touched_at = touched_at + ?1",
                "UPDATE blocked_subnets SET until = until + ?1",
                "UPDATE tombstones SET seen_at = seen_at + ?1",
                "UPDATE commit_statuses SET created_at = created_at + ?1, next_at = next_at + ?1
                 WHERE delivery = 'waiting'",
                "UPDATE device_codes SET expires_at = expires_at + ?1",
                "UPDATE proofs SET at = at + ?1",
                "UPDATE waiting SET asked_at = asked_at + ?1, failed_at = failed_at + ?1",
                "UPDATE cursors SET value = value + ?1 WHERE name = 'last_seen'",
            ] {
                db.prepare_cached(sql)?.execute([millis])?;
            }
            Ok(())
        })
        .await
    }

    /// Gives every live instance at least a whole lease from `now`; how many there are.
    ///
    /// # Errors
    /// When the database does not take it; then no lease is longer.
    pub async fn begin_leases_anew(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.write(move |db| {
            let mut update = db.prepare_cached(
                "UPDATE instances SET expires_at = max(expires_at, ?1 + ttl_secs * 1000)
                 WHERE phase NOT IN ('stopped', 'failed', 'removing')",
            )?;
            Ok(update.execute([now.as_millis()])?)
        })
        .await
    }

    /// Notes that the daemon lives at `now`.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn note_time(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "INSERT INTO cursors (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )?
            .execute(params![LAST_SEEN, now.as_millis()])?;
            Ok(())
        })
        .await
    }

    /// When a daemon last lived, by its clock of then.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last_seen(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|db| {
            let mut select = db.prepare_cached("SELECT value FROM cursors WHERE name = ?1")?;
            let mut rows = select.query([LAST_SEEN])?;
            rows.next()?.map(|row| row.get(0).map(Timestamp::from_millis)).transpose()
        })
        .await
    }
}
