//! What was taken out of images for players.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::params;

use super::{Store, StoreError};
use crate::model::{BuildKey, NodeId};

/// What an image has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exported {
    /// A file.
    File {
        /// SHA-256 of its content, in hex.
        sha256: String,
        /// Its size.
        size_bytes: u64,
    },
    /// None, and why.
    Fault(String),
}

/// Where a file comes from: the engine's id of an image, and the path in it.
pub type ExportPlace = (String, String);

impl Store {
    /// Notes what the image of `key` has at a place, in place of what was noted before.
    ///
    /// # Errors
    /// When the database does not take it, or nobody wants that image any more.
    pub async fn note_export(
        &self,
        node: &NodeId,
        key: BuildKey,
        (image, path): ExportPlace,
        exported: Exported,
    ) -> Result<(), StoreError> {
        let node = node.to_string();
        self.write(move |db| {
            let (sha256, size_bytes, fault) = match exported {
                Exported::File { sha256, size_bytes } => {
                    (Some(sha256), Some(i64::try_from(size_bytes).unwrap_or(i64::MAX)), None)
                }
                Exported::Fault(why) => (None, None, Some(why)),
            };
            db.prepare_cached(
                "INSERT INTO exports (node, image, path, key, sha256, size_bytes, fault)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (node, image, path) DO UPDATE SET
                    key = ?4, sha256 = ?5, size_bytes = ?6, fault = ?7",
            )?
            .execute(params![
                node,
                image,
                path,
                key.to_string(),
                sha256,
                size_bytes,
                fault
            ])?;
            Ok(())
        })
        .await
    }

    /// Everything that was noted of the images of `node`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn exports(
        &self,
        node: &NodeId,
    ) -> Result<BTreeMap<ExportPlace, Exported>, StoreError> {
        let node = node.to_string();
        self.read(move |db| {
            let mut exports = BTreeMap::new();
            let mut rows = db.prepare_cached(
                "SELECT image, path, sha256, size_bytes, fault FROM exports WHERE node = ?1",
            )?;
            let mut rows = rows.query([node])?;
            while let Some(row) = rows.next()? {
                let fault: Option<String> = row.get("fault")?;
                let exported = match fault {
                    Some(why) => Exported::Fault(why),
                    None => Exported::File {
                        sha256: row.get("sha256")?,
                        size_bytes: row.get::<_, i64>("size_bytes")?.unsigned_abs(),
                    },
                };
                exports.insert((row.get("image")?, row.get("path")?), exported);
            }
            Ok(exports)
        })
        .await
    }

    /// The digest of everything that was taken out of images of `node`, by image key and path.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn exports_by_key(
        &self,
        node: &NodeId,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let node = node.to_string();
        self.read(move |db| {
            db.prepare_cached(
                "SELECT key || ' ' || path AS place, sha256 FROM exports
                 WHERE node = ?1 AND sha256 NOT NULL",
            )?
            .query_map([node], |row| Ok((row.get("place")?, row.get("sha256")?)))?
            .collect()
        })
        .await
    }

    /// The digests of every file that some image still has.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn export_digests(&self) -> Result<BTreeSet<String>, StoreError> {
        self.read(|db| {
            let digests = db
                .prepare_cached("SELECT sha256 FROM exports WHERE sha256 NOT NULL")?
                .query_map([], |row| row.get("sha256"))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(digests)
        })
        .await
    }
}
