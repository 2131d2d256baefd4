//! A folder on disk as a tree.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::model::{Entry, EntryKind, ObjectId, Tree, TreeError};

/// A folder on disk. Stands in until the real one is merged: it knows no object ids.
#[derive(Debug, Clone)]
pub struct WorkTree(PathBuf);

impl WorkTree {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// When there is no folder.
    pub fn open(path: &Path) -> Result<Self, TreeError> {
        if path.is_dir() {
            Ok(Self(path.to_owned()))
        } else {
            Err(TreeError::NotFound { path: path.display().to_string() })
        }
    }
}

impl Tree for WorkTree {
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => TreeError::NotFound { path: dir.to_owned() },
            _ => TreeError::Unreadable { path: dir.to_owned(), reason: error.to_string() },
        };
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(self.0.join(dir)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let metadata = entry.metadata().map_err(failed)?;
            let kind = if metadata.is_dir() {
                EntryKind::Directory
            } else if metadata.is_symlink() {
                EntryKind::Symlink
            } else {
                EntryKind::File { executable: metadata.permissions().mode() & 0o100 != 0 }
            };
            let name = entry.file_name();
            let size_bytes = if metadata.is_file() { metadata.len() } else { 0 };
            let (is_utf8, name) = (name.to_str().is_some(), name.to_string_lossy().into_owned());
            let oid = ObjectId::from_bytes([0; 20]);
            entries.push(Entry { name, is_utf8, kind, oid, size_bytes });
        }
        entries.retain(|entry| entry.name != ".git");
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(entries)
    }

    fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, TreeError> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => TreeError::NotFound { path: path.to_owned() },
            _ => TreeError::Unreadable { path: path.to_owned(), reason: error.to_string() },
        };
        let metadata = std::fs::symlink_metadata(self.0.join(path)).map_err(failed)?;
        if !metadata.is_file() {
            return Err(TreeError::NotAFile { path: path.to_owned() });
        }
        if metadata.len() > limit_bytes {
            let (path, size_bytes) = (path.to_owned(), metadata.len());
            return Err(TreeError::TooLarge { path, size_bytes, limit_bytes });
        }
        std::fs::read(self.0.join(path)).map_err(failed)
    }
}
