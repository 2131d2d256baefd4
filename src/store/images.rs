//! What needs which image, and when each was last used: the ground of their garbage collection.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, params};

use super::live::LiveRow;
use super::{Store, StoreError, row};
use crate::model::{BuildKey, BuildState, ChallengeId, InstanceId, ServiceName, Timestamp, TreeId};
use crate::release::spec::InstanceSpec;

/// Versions of a challenge that are remembered beside the live one.
const N_PREVIOUS: u32 = 2;

/// A version and the images that it consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionImages {
    /// The challenge.
    pub challenge: ChallengeId,
    /// Its tree.
    pub tree: TreeId,
    /// What determines its images; empty for a quiz, and when nobody noted them.
    pub keys: BTreeSet<BuildKey>,
}

/// One image that somebody asked for, without its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildFact {
    /// The challenge that asked first.
    pub challenge: ChallengeId,
    /// The service that asked first.
    pub service: ServiceName,
    /// How far it is.
    pub state: BuildState,
    /// The engine's id, when built.
    pub image: Option<String>,
    /// When the last attempt ended.
    pub finished_at: Option<Timestamp>,
}

/// Everything that is known about images, of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// The live versions, by challenge.
    pub live: Vec<VersionImages>,
    /// The versions that were live before, the last one of each challenge last.
    pub previous: Vec<VersionImages>,
    /// The instances that are not over, by the engine's id of what they run.
    pub instances: BTreeMap<String, BTreeSet<InstanceId>>,
    /// Every image that somebody asked for.
    pub builds: BTreeMap<BuildKey, BuildFact>,
    /// When images were last used, by the engine's id.
    pub uses: BTreeMap<String, Timestamp>,
}

impl Store {
    /// Notes what a version consists of, in place of what was noted before. To be called before
    /// the version goes live, so that no live version is ever without.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn note_images(&self, versions: Vec<VersionImages>) -> Result<(), StoreError> {
        self.write(move |db| {
            for version in &versions {
                let (challenge, tree) = (version.challenge.as_str(), version.tree.to_string());
                db.prepare_cached("DELETE FROM version_images WHERE challenge = ?1 AND tree = ?2")?
                    .execute(params![challenge, tree])?;
                let mut insert = db.prepare_cached(
                    "INSERT INTO version_images (challenge, tree, key) VALUES (?1, ?2, ?3)",
                )?;
                for key in &version.keys {
                    insert.execute(params![challenge, tree, key.to_string()])?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Everything that is known about images, read at once.
    ///
    /// # Errors
    /// When the database does not answer, or a row is of a shape that we do not know: then nothing
    /// is known, and nothing may be removed.
    pub async fn image_facts(&self) -> Result<ImageFacts, StoreError> {
        self.read(|db| {
            Ok(ImageFacts {
                live: versions(db, "SELECT challenge, tree FROM live ORDER BY challenge")?,
                previous: versions(
                    db,
                    "SELECT challenge, tree FROM previous_versions ORDER BY challenge, seq",
                )?,
                instances: instances(db)?,
                builds: builds(db)?,
                uses: db
                    .prepare_cached("SELECT image, used_at FROM image_uses")?
                    .query_map([], |row| Ok((row.get("image")?, row::time(row, "used_at")?)))?
                    .collect::<rusqlite::Result<_>>()?,
            })
        })
        .await
    }

    /// For an image that is about to be removed: nobody counts on it any more. Whoever wants it
    /// again has it built, or finds it if it could not be removed.
    ///
    /// # Errors
    /// When the database does not take it; then it must stay.
    pub async fn forget_build(&self, key: BuildKey, image: String) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "DELETE FROM builds WHERE key = ?1 AND state = 'built' AND image = ?2",
            )?
            .execute(params![key.to_string(), image])?;
            Ok(())
        })
        .await
    }

    /// An image is gone from the engine: when it was used does not matter any more.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn forget_use(&self, image: String) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached("DELETE FROM image_uses WHERE image = ?1")?.execute([image])?;
            Ok(())
        })
        .await
    }
}

/// Notes that an instance of `spec` was asked for.
pub(super) fn note_start(
    db: &Connection,
    spec: &InstanceSpec,
    now: Timestamp,
) -> rusqlite::Result<()> {
    spec.services.iter().try_for_each(|service| touch(db, &service.image, now))
}

/// Before `next` becomes live: what is live now becomes a previous version, and the oldest of those
/// is forgotten. Nothing happens when only the commit or the folder changes.
pub(super) fn supersede(db: &Connection, next: &LiveRow) -> rusqlite::Result<()> {
    let challenge = next.challenge.as_str();
    let old: Option<TreeId> = db
        .prepare_cached("SELECT tree FROM live WHERE challenge = ?1")?
        .query_row([challenge], |row| row::text(row, "tree"))
        .optional()?;
    touch_version(db, challenge, next.tree, next.since)?;
    let Some(old) = old.filter(|old| *old != next.tree) else { return Ok(()) };
    touch_version(db, challenge, old, next.since)?;
    db.prepare_cached(
        "INSERT OR REPLACE INTO previous_versions (challenge, revision, tree, since, until)
         SELECT challenge, revision, tree, since, ?2 FROM live WHERE challenge = ?1",
    )?
    .execute(params![challenge, next.since.as_millis()])?;
    db.prepare_cached("DELETE FROM previous_versions WHERE challenge = ?1 AND tree = ?2")?
        .execute(params![challenge, next.tree.to_string()])?;
    db.prepare_cached(
        "DELETE FROM previous_versions WHERE challenge = ?1 AND seq NOT IN
            (SELECT seq FROM previous_versions WHERE challenge = ?1 ORDER BY seq DESC LIMIT ?2)",
    )?
    .execute(params![challenge, N_PREVIOUS])?;
    Ok(())
}

/// A challenge is taken away: there is nothing to go back to.
pub(super) fn retire(db: &Connection, challenge: &ChallengeId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM previous_versions WHERE challenge = ?1")?
        .execute([challenge.as_str()])?;
    Ok(())
}

/// Forgets what versions consist of that are neither live nor previous.
pub(super) fn tidy(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM version_images WHERE (challenge, tree) NOT IN
            (SELECT challenge, tree FROM live
             UNION SELECT challenge, tree FROM previous_versions)",
    )?
    .execute([])?;
    Ok(())
}

fn touch_version(
    db: &Connection,
    challenge: &str,
    tree: TreeId,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let images: Vec<String> = db
        .prepare_cached(
            "SELECT image FROM builds WHERE image IS NOT NULL AND key IN
                (SELECT key FROM version_images WHERE challenge = ?1 AND tree = ?2)",
        )?
        .query_map(params![challenge, tree.to_string()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    images.iter().try_for_each(|image| touch(db, image, now))
}

fn touch(db: &Connection, image: &str, now: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO image_uses (image, used_at) VALUES (?1, ?2)
         ON CONFLICT (image) DO UPDATE SET used_at = max(used_at, excluded.used_at)",
    )?
    .execute(params![image, now.as_millis()])?;
    Ok(())
}

fn versions(db: &Connection, select: &str) -> rusqlite::Result<Vec<VersionImages>> {
    let named: Vec<(ChallengeId, TreeId)> = db
        .prepare_cached(select)?
        .query_map([], |row| Ok((row::text(row, "challenge")?, row::text(row, "tree")?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut keys =
        db.prepare_cached("SELECT key FROM version_images WHERE challenge = ?1 AND tree = ?2")?;
    named
        .into_iter()
        .map(|(challenge, tree)| {
            let keys = keys
                .query_map([challenge.as_str(), &tree.to_string()], |row| row::text(row, "key"))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(VersionImages { challenge, tree, keys })
        })
        .collect()
}

fn instances(db: &Connection) -> rusqlite::Result<BTreeMap<String, BTreeSet<InstanceId>>> {
    let mut used: BTreeMap<String, BTreeSet<InstanceId>> = BTreeMap::new();
    // Nothing of a failed one is left in the engine.
    let mut select = db.prepare_cached(
        "SELECT id, spec FROM instances INDEXED BY instances_not_stopped
         WHERE phase <> 'stopped' AND phase <> 'failed'",
    )?;
    let rows = select.query_map([], |row| {
        Ok((row::text(row, "id")?, row::json::<InstanceSpec>(row, "spec")?))
    })?;
    for found in rows {
        let (id, spec): (InstanceId, _) = found?;
        for service in spec.services {
            used.entry(service.image).or_default().insert(id);
        }
    }
    Ok(used)
}

fn builds(db: &Connection) -> rusqlite::Result<BTreeMap<BuildKey, BuildFact>> {
    db.prepare_cached("SELECT key, challenge, service, state, image, finished_at FROM builds")?
        .query_map([], |row| {
            let fact = BuildFact {
                challenge: row::text(row, "challenge")?,
                service: row::text(row, "service")?,
                state: row::word(row, "state", BuildState::from_word)?,
                image: row.get("image")?,
                finished_at: row::opt_time(row, "finished_at")?,
            };
            Ok((row::text(row, "key")?, fact))
        })?
        .collect()
}
