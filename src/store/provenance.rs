//! Where what players have comes from: the images of each generation, and the generation of a
//! version.
//!
//! # Invariants
//! * The images of a generation are noted in the transaction that makes it live, and never change.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::releases::with_manifest;
use super::{Store, StoreError, row};
use crate::model::{BuildKey, ChallengeId, Timestamp, TreeId};
use crate::release::manifest::{Generation, Manifest};
use crate::release::provenance::ImageRecord;

impl Store {
    /// The images that generation `number` went live with, by what determines them; without those
    /// that nobody noted.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn generation_images(
        &self,
        number: u32,
    ) -> Result<BTreeMap<BuildKey, ImageRecord>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT key, image, started_at FROM generation_images WHERE generation = ?1",
            )?
            .query_map([number], |found| {
                let record = ImageRecord {
                    image: found.get("image")?,
                    started_at: row::opt_time(found, "started_at")?,
                };
                Ok((row::text(found, "key")?, record))
            })?
            .collect()
        })
        .await
    }

    /// The generation that had `tree` of `challenge` at `at`: the newest one of then that has it,
    /// else the first one after. `None` when no generation that is kept has it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn generation_of(
        &self,
        challenge: &ChallengeId,
        tree: TreeId,
        at: Timestamp,
    ) -> Result<Option<(Generation, Manifest)>, StoreError> {
        let (challenge, tree) = (challenge.to_string(), tree.to_string());
        self.read(move |db| {
            db.prepare_cached(
                "SELECT g.*, r.manifest FROM generations g JOIN releases r ON r.id = g.release
                 WHERE json_extract(r.manifest, '$.challenges.\"' || ?1 || '\".tree') = ?2
                 ORDER BY g.at > ?3, CASE WHEN g.at > ?3 THEN g.number ELSE -g.number END
                 LIMIT 1",
            )?
            .query_row(params![challenge, tree, at.as_millis()], with_manifest)
            .optional()
        })
        .await
    }
}

/// Notes which images generation `number` goes live with. Belongs into the flip.
pub(super) fn note_images(db: &Connection, number: u32) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO generation_images (generation, key, image, started_at)
         SELECT DISTINCT g.number, b.key, b.image, b.started_at
         FROM generations g
         JOIN releases r ON r.id = g.release
         JOIN json_each(r.manifest, '$.challenges') c
         JOIN json_each(c.value, '$.images') i
         JOIN builds b ON b.key = i.value
         WHERE g.number = ?1 AND b.image NOT NULL",
    )?
    .execute([number])?;
    Ok(())
}
