//! A tree with a few files replaced, to see what a check says before anything is written.
//!
//! # Invariants
//! * Only files that exist are replaced; nothing is added, and what kind an entry is stays.
//! * The ids of replaced files are those git would give them; ids of the folders around them are
//!   the old ones, so an overlay is for reading one folder, not for caches.

use std::collections::BTreeMap;
use std::fmt;

use sha1::{Digest as _, Sha1};

use crate::model::{Entry, EntryKind, ObjectId, Tree, TreeError};

/// A tree over a tree.
pub struct Overlay {
    base: Box<dyn Tree>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Overlay {
    /// `base`, with nothing replaced yet.
    pub fn over(base: Box<dyn Tree>) -> Self {
        Self { base, files: BTreeMap::new() }
    }

    /// Lets the file at `path` have this content from now on.
    pub fn put(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.files.insert(path.to_owned(), content.into());
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

impl Tree for Overlay {
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        let mut entries = self.base.entries(dir)?;
        for entry in &mut entries {
            let path = crate::catalog::folder::join(dir, &entry.name);
            if let (Some(content), EntryKind::File { .. }) = (self.files.get(&path), entry.kind) {
                entry.size_bytes = content.len() as u64;
                entry.oid = blob_id(content);
            }
        }
        Ok(entries)
    }

    fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, TreeError> {
        let Some(content) = self.files.get(path) else {
            return self.base.read(path, limit_bytes);
        };
        let size_bytes = content.len() as u64;
        if size_bytes > limit_bytes {
            return Err(TreeError::TooLarge { path: path.to_owned(), size_bytes, limit_bytes });
        }
        Ok(content.clone())
    }
}

/// The id that git gives a file of this content.
fn blob_id(content: &[u8]) -> ObjectId {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    ObjectId::from_bytes(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MemoryTree;

    #[test]
    fn a_replaced_file_has_its_new_content_size_and_git_id() {
        let base = MemoryTree::new().with("a/b", "old").with("a/c", "c");
        let mut tree = Overlay::over(Box::new(base));
        tree.put("a/b", "hello\n");
        tree.put("a/not-there", "x");
        assert_eq!(tree.read("a/b", 100).unwrap(), b"hello\n");
        assert_eq!(tree.read("a/c", 100).unwrap(), b"c");
        assert!(matches!(tree.read("a/b", 5), Err(TreeError::TooLarge { .. })));
        let entries = tree.entries("a").unwrap();
        let names: Vec<_> = entries.iter().map(|it| (it.name.as_str(), it.size_bytes)).collect();
        assert_eq!(names, [("b", 6), ("c", 1)]);
        // What `git hash-object` says of `hello` and a line end.
        assert_eq!(entries[0].oid.to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
