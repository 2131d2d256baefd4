//! Every image that was ever wanted, and how far it is.
//!
//! `unbuilt → building → built | failed`; each step is taken by one caller only, so that two
//! workers never build the same key.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Store, StoreError, row};
use crate::model::{Build, BuildKey, BuildState, ChallengeId, ServiceName, Timestamp};

/// Most bytes of a build's output that are kept: the end of it.
pub const MAX_LOG_TAIL_BYTES: usize = 16 << 10;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildOutcome {
    /// The image is on the node.
    Built {
        /// The engine's id of it, `sha256:…`.
        image: String,
    },
    /// It is not.
    Failed {
        /// Why, one line.
        error: String,
        /// Whether trying the same input again could help.
        is_retryable: bool,
    },
}

impl Store {
    /// Asks for the image `key`, unless somebody did before; the row in either case.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn want_build(
        &self,
        key: BuildKey,
        challenge: &ChallengeId,
        service: &ServiceName,
        now: Timestamp,
    ) -> Result<Build, StoreError> {
        let (challenge, service) = (challenge.to_string(), service.to_string());
        self.write(move |db| {
            db.prepare_cached(
                "INSERT INTO builds
                    (key, challenge, service, state, is_retryable, log_tail, queued_at, n_attempts)
                 VALUES (?1, ?2, ?3, 'unbuilt', 0, '', ?4, 0)
                 ON CONFLICT (key) DO NOTHING",
            )?
            .execute(params![key.to_string(), challenge, service, now.as_millis()])?;
            let build = one(db, key)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            Ok(build)
        })
        .await
    }

    /// Takes an unbuilt or failed image for an attempt that begins now: counts it and forgets the
    /// last error. `None` when somebody else has it, it is built, or nobody asked for it.
    ///
    /// # Errors
    /// When the database does not take it; then nobody has it.
    pub async fn begin_build(
        &self,
        key: BuildKey,
        now: Timestamp,
    ) -> Result<Option<Build>, StoreError> {
        self.change_build(
            key,
            "UPDATE builds SET state = 'building', started_at = ?2, finished_at = NULL,
                    error = NULL, is_retryable = 0, log_tail = '', n_attempts = n_attempts + 1
             WHERE key = ?1 AND state IN ('unbuilt', 'failed')",
            now,
        )
        .await
    }

    /// Ends an attempt. Also takes an image that turned out to be there without one (adopted after
    /// a crash). Of `log_tail` the last 16 KiB are kept. `None` when nobody asked for it.
    ///
    /// # Errors
    /// When the database does not take it; then the attempt still counts as running.
    pub async fn finish_build(
        &self,
        key: BuildKey,
        outcome: BuildOutcome,
        log_tail: String,
        now: Timestamp,
    ) -> Result<Option<Build>, StoreError> {
        self.write(move |db| {
            let log_tail = tail(&log_tail);
            let (state, image, error, is_retryable) = match &outcome {
                BuildOutcome::Built { image } => (BuildState::Built, Some(image), None, false),
                BuildOutcome::Failed { error, is_retryable } => {
                    (BuildState::Failed, None, Some(error), *is_retryable)
                }
            };
            let n = db
                .prepare_cached(
                    "UPDATE builds SET state = ?2, image = ?3, error = ?4, is_retryable = ?5,
                            log_tail = ?6, finished_at = ?7
                     WHERE key = ?1",
                )?
                .execute(params![
                    key.to_string(),
                    state.as_str(),
                    image,
                    error,
                    is_retryable,
                    log_tail,
                    now.as_millis()
                ])?;
            Ok(if n == 0 { None } else { one(db, key)? })
        })
        .await
    }

    /// Puts an image back in the queue: it failed and is tried again, or it is gone from the node.
    /// The last error stays readable until the next attempt begins. `None` when nobody asked for it
    /// or an attempt is running.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn requeue_build(
        &self,
        key: BuildKey,
        now: Timestamp,
    ) -> Result<Option<Build>, StoreError> {
        self.change_build(
            key,
            "UPDATE builds SET state = 'unbuilt', image = NULL, queued_at = ?2
             WHERE key = ?1 AND state <> 'building'",
            now,
        )
        .await
    }

    /// For the boot: attempts that a crash cut off are unbuilt again. Their keys, sorted.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn reset_building(&self) -> Result<Vec<BuildKey>, StoreError> {
        self.write(|db| {
            let mut keys = db
                .prepare_cached(
                    "UPDATE builds SET state = 'unbuilt' WHERE state = 'building' RETURNING key",
                )?
                .query_map([], |row| row::text(row, "key"))?
                .collect::<rusqlite::Result<Vec<BuildKey>>>()?;
            keys.sort();
            Ok(keys)
        })
        .await
    }

    /// One image; `None` when nobody asked for it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn build(&self, key: BuildKey) -> Result<Option<Build>, StoreError> {
        self.read(move |db| one(db, key)).await
    }

    /// Those of `keys` that somebody asked for.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn builds(
        &self,
        keys: Vec<BuildKey>,
    ) -> Result<BTreeMap<BuildKey, Build>, StoreError> {
        self.read(move |db| {
            let mut builds = BTreeMap::new();
            for key in keys {
                if let Some(build) = one(db, key)? {
                    builds.insert(key, build);
                }
            }
            Ok(builds)
        })
        .await
    }

    /// How far every image is, without its output: cheap for thousands.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn build_states(&self) -> Result<BTreeMap<BuildKey, BuildState>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT key, state FROM builds")?
                .query_map([], |row| {
                    Ok((row::text(row, "key")?, row::word(row, "state", BuildState::from_word)?))
                })?
                .collect()
        })
        .await
    }

    /// Every image, the one asked for longest ago first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn all_builds(&self) -> Result<Vec<Build>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM builds ORDER BY queued_at, key")?
                .query_map([], build_row)?
                .collect()
        })
        .await
    }

    /// Runs an update whose parameters are the key and a time; the row when it did anything.
    async fn change_build(
        &self,
        key: BuildKey,
        update: &'static str,
        now: Timestamp,
    ) -> Result<Option<Build>, StoreError> {
        self.write(move |db| {
            let n =
                db.prepare_cached(update)?.execute(params![key.to_string(), now.as_millis()])?;
            Ok(if n == 0 { None } else { one(db, key)? })
        })
        .await
    }
}

fn one(db: &Connection, key: BuildKey) -> rusqlite::Result<Option<Build>> {
    db.prepare_cached("SELECT * FROM builds WHERE key = ?1")?
        .query_row([key.to_string()], build_row)
        .optional()
}

fn build_row(row: &Row<'_>) -> rusqlite::Result<Build> {
    Ok(Build {
        key: row::text(row, "key")?,
        challenge: row::text(row, "challenge")?,
        service: row::text(row, "service")?,
        state: row::word(row, "state", BuildState::from_word)?,
        image: row.get("image")?,
        error: row.get("error")?,
        is_retryable: row.get("is_retryable")?,
        log_tail: row.get("log_tail")?,
        queued_at: row::time(row, "queued_at")?,
        started_at: row::opt_time(row, "started_at")?,
        finished_at: row::opt_time(row, "finished_at")?,
        n_attempts: row.get("n_attempts")?,
    })
}

/// The last [`MAX_LOG_TAIL_BYTES`] of `log`, without NUL, which text in SQLite may not hold.
fn tail(log: &str) -> String {
    let start = log.ceil_char_boundary(log.len().saturating_sub(MAX_LOG_TAIL_BYTES));
    log[start..].replace('\0', "\u{fffd}")
}
