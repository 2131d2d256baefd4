//! Releases, generations, and the flip: what players have changes at one commit of this database.
//!
//! # Invariants
//! * The active generation always names a complete manifest, and `live` is that manifest row by row.
//! * Generations only grow. A flip that was planned against another generation changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::tags::{TagDecision, insert_decision};
use super::{Store, StoreError, images, provenance, row};
use crate::model::{ChallengeId, Revision, Timestamp, TreeId};
use crate::release::manifest::{Cause, Entry, Generation, Manifest, ReleaseId};
use crate::release::revert::{StartRecord, StartRecords};

/// How many generations of the branch are kept: each push is one. Those of tags and people stay.
const MAX_BRANCH_GENERATIONS: u32 = 500;

/// Something that goes live.
#[derive(Debug, Clone)]
pub struct NewGeneration {
    /// What.
    pub manifest: Manifest,
    /// Why.
    pub cause: Cause,
    /// Who; `flagops` where nobody asked.
    pub who: String,
    /// In words.
    pub why: String,
    /// The generation it was planned against; 0 for none.
    pub expected: u32,
    /// Tags that never go live again from then on, e.g. the one that is rolled back from.
    pub quarantine_tags: Vec<TagDecision>,
    /// Versions that never go live again from then on.
    pub quarantine_versions: Vec<(ChallengeId, TreeId)>,
    /// The commit at which the branch never goes live again: somebody goes back from it.
    pub left_revision: Option<Revision>,
}

impl NewGeneration {
    /// `manifest` goes live and takes nothing out; planned against nothing yet.
    pub fn of(manifest: Manifest, cause: Cause, who: String, why: String) -> Self {
        Self {
            manifest,
            cause,
            who,
            why,
            expected: 0,
            quarantine_tags: Vec::new(),
            quarantine_versions: Vec::new(),
            left_revision: None,
        }
    }
}

/// What came of a flip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flip {
    /// Players have it.
    Done(Generation),
    /// Something else went live meanwhile: plan again.
    Overtaken,
}

/// A version that never goes live again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedVersion {
    /// The challenge.
    pub challenge: ChallengeId,
    /// The version.
    pub tree: TreeId,
    /// Who said so.
    pub who: String,
    /// Why.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// One thing that somebody did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// What: a stable word.
    pub what: String,
    /// To what.
    pub object: String,
    /// Why.
    pub why: String,
}

impl Store {
    /// Makes `new` live in one step: release, generation, the live set, what is quarantined with
    /// it, and the audit. Nobody ever sees half of it.
    ///
    /// # Errors
    /// When the database does not take it; then nothing changed.
    pub async fn flip(&self, new: NewGeneration, now: Timestamp) -> Result<Flip, StoreError> {
        self.write(move |db| Ok(flip_in(db, &new, now)?)).await
    }

    /// The generation that players have, with its manifest; `None` before the first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn active(&self) -> Result<Option<(Generation, Manifest)>, StoreError> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT g.*, r.manifest FROM active a
                 JOIN generations g ON g.number = a.generation
                 JOIN releases r ON r.id = g.release",
            )?
            .query_row([], with_manifest)
            .optional()
        })
        .await
    }

    /// One generation with its manifest.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn generation(
        &self,
        number: u32,
    ) -> Result<Option<(Generation, Manifest)>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT g.*, r.manifest FROM generations g JOIN releases r ON r.id = g.release
                 WHERE g.number = ?1",
            )?
            .query_row([number], with_manifest)
            .optional()
        })
        .await
    }

    /// The newest generations, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn generations(&self, limit: u32) -> Result<Vec<Generation>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM generations ORDER BY number DESC LIMIT ?1")?
                .query_map([limit], generation_row)?
                .collect()
        })
        .await
    }

    /// Versions that never go live again, by challenge.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn quarantined_versions(&self) -> Result<Vec<QuarantinedVersion>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM quarantined_versions ORDER BY challenge, at")?
                .query_map([], |found| {
                    Ok(QuarantinedVersion {
                        challenge: row::text(found, "challenge")?,
                        tree: row::text(found, "tree")?,
                        who: found.get("who")?,
                        why: found.get("why")?,
                        at: row::time(found, "at")?,
                    })
                })?
                .collect()
        })
        .await
    }

    /// Commits at which the branch never goes live again.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn left_revisions(&self) -> Result<BTreeSet<Revision>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT left_revision FROM generations WHERE left_revision NOT NULL")?
                .query_map([], |found| row::text(found, "left_revision"))?
                .collect()
        })
        .await
    }

    /// How starts of each version went since `since`: whether it became usable.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn start_records(&self, since: Timestamp) -> Result<StartRecords, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT challenge, tree,
                    sum(started_at > created_at) AS n_good,
                    sum(error NOT NULL AND started_at <= created_at) AS n_failed
                 FROM instances WHERE created_at >= ?1 GROUP BY challenge, tree",
            )?
            .query_map([since.as_millis()], |found| {
                let version = (row::text(found, "challenge")?, row::text(found, "tree")?);
                let record =
                    StartRecord { n_good: found.get("n_good")?, n_failed: found.get("n_failed")? };
                Ok((version, record))
            })?
            .collect()
        })
        .await
    }

    /// Notes what somebody did that changes no row of its own.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn note_deed(
        &self,
        who: String,
        what: &'static str,
        object: String,
        why: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| Ok(note_audit(db, now, &who, what, &object, &why)?)).await
    }

    /// What people did, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit(&self, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM audit ORDER BY seq DESC LIMIT ?1")?
                .query_map([limit], |found| {
                    Ok(AuditRow {
                        seq: found.get("seq")?,
                        at: row::time(found, "at")?,
                        who: found.get("who")?,
                        what: found.get("what")?,
                        object: found.get("object")?,
                        why: found.get("why")?,
                    })
                })?
                .collect()
        })
        .await
    }
}

/// The flip within a transaction.
pub(super) fn flip_in(
    db: &Connection,
    new: &NewGeneration,
    now: Timestamp,
) -> rusqlite::Result<Flip> {
    let before = active_number(db)?;
    if before != new.expected {
        return Ok(Flip::Overtaken);
    }
    let release = new.manifest.id();
    db.prepare_cached(
        "INSERT INTO releases (id, manifest, created_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![release.as_str(), row::to_json(&new.manifest)?, now.as_millis()])?;
    let number = last_number(db)? + 1;
    let generation = Generation {
        number,
        release,
        cause: new.cause,
        who: new.who.clone(),
        why: new.why.clone(),
        at: now,
    };
    note_revisions(db, &generation.release, &new.manifest)?;
    insert_generation(db, &generation, new.left_revision)?;
    provenance::note_images(db, number)?;
    db.prepare_cached("INSERT OR REPLACE INTO active (one, generation) VALUES (1, ?1)")?
        .execute([number])?;
    set_live(db, &new.manifest.challenges, now)?;
    for decision in &new.quarantine_tags {
        insert_decision(db, decision)?;
    }
    for (challenge, tree) in &new.quarantine_versions {
        quarantine(db, challenge, *tree, &generation)?;
    }
    if generation.cause != Cause::Branch {
        let what = generation.cause.as_str();
        let object = format!("generation {number}");
        note_audit(db, now, &generation.who, what, &object, &generation.why)?;
    }
    thin_out(db)?;
    Ok(Flip::Done(generation))
}

fn active_number(db: &Connection) -> rusqlite::Result<u32> {
    let number = db
        .prepare_cached("SELECT generation FROM active")?
        .query_row([], |found| found.get(0))
        .optional()?;
    Ok(number.unwrap_or(0))
}

fn last_number(db: &Connection) -> rusqlite::Result<u32> {
    db.prepare_cached("SELECT coalesce(max(number), 0) FROM generations")?
        .query_row([], |found| found.get(0))
}

fn note_revisions(
    db: &Connection,
    release: &ReleaseId,
    manifest: &Manifest,
) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT OR IGNORE INTO release_revisions (release, revision) VALUES (?1, ?2)",
    )?;
    let revisions = manifest.challenges.values().map(|entry| entry.revision);
    for revision in BTreeSet::from_iter(revisions.chain([manifest.revision])) {
        insert.execute(params![release.as_str(), revision.to_string()])?;
    }
    Ok(())
}

fn insert_generation(
    db: &Connection,
    generation: &Generation,
    left: Option<Revision>,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO generations (number, release, cause, who, why, at, left_revision)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        generation.number,
        generation.release.as_str(),
        generation.cause.as_str(),
        generation.who,
        generation.why,
        generation.at.as_millis(),
        left.map(|revision| revision.to_string()),
    ])?;
    Ok(())
}

/// Makes `live` the manifest. What players have already stays as it is, with its time.
fn set_live(
    db: &Connection,
    wanted: &BTreeMap<ChallengeId, Entry>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let live = super::live::all(db)?;
    for row in &live {
        if !wanted.contains_key(&row.challenge) {
            db.prepare_cached("DELETE FROM live WHERE challenge = ?1")?
                .execute([row.challenge.as_str()])?;
            images::retire(db, &row.challenge)?;
        }
    }
    let unchanged: BTreeSet<_> = live
        .iter()
        .filter(|row| {
            wanted.get(&row.challenge).is_some_and(|entry| {
                (&entry.path, entry.tree, entry.revision) == (&row.path, row.tree, row.revision)
            })
        })
        .map(|row| &row.challenge)
        .collect();
    for (challenge, entry) in wanted.iter().filter(|(id, _)| !unchanged.contains(id)) {
        let row = super::LiveRow {
            challenge: challenge.clone(),
            path: entry.path.clone(),
            revision: entry.revision,
            tree: entry.tree,
            // The commit alone changes nothing for players.
            since: live
                .iter()
                .find(|row| row.challenge == *challenge && row.tree == entry.tree)
                .map_or(now, |row| row.since),
        };
        super::live::put(db, &row)?;
    }
    images::tidy(db)
}

fn quarantine(
    db: &Connection,
    challenge: &ChallengeId,
    tree: TreeId,
    by: &Generation,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO quarantined_versions (challenge, tree, who, why, at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        challenge.as_str(),
        tree.to_string(),
        by.who,
        by.why,
        by.at.as_millis()
    ])?;
    Ok(())
}

/// Forgets the oldest generations of the branch, and releases that no generation names any more.
fn thin_out(db: &Connection) -> rusqlite::Result<()> {
    let n_forgotten = db
        .prepare_cached(
            "DELETE FROM generations WHERE cause = 'branch'
             AND number NOT IN (SELECT generation FROM active)
             AND number <= (SELECT number FROM generations WHERE cause = 'branch'
                            ORDER BY number DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([MAX_BRANCH_GENERATIONS])?;
    if n_forgotten > 0 {
        db.execute("DELETE FROM releases WHERE id NOT IN (SELECT release FROM generations)", [])?;
    }
    Ok(())
}

/// Notes what somebody did.
pub(super) fn note_audit(
    db: &Connection,
    at: Timestamp,
    who: &str,
    what: &str,
    object: &str,
    why: &str,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO audit (at, who, what, object, why) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![at.as_millis(), who, what, object, why])?;
    Ok(())
}

pub(super) fn with_manifest(found: &Row<'_>) -> rusqlite::Result<(Generation, Manifest)> {
    Ok((generation_row(found)?, row::json(found, "manifest")?))
}

fn generation_row(found: &Row<'_>) -> rusqlite::Result<Generation> {
    Ok(Generation {
        number: found.get("number")?,
        release: row::text(found, "release")?,
        cause: row::word(found, "cause", Cause::from_word)?,
        who: found.get("who")?,
        why: found.get("why")?,
        at: row::time(found, "at")?,
    })
}
