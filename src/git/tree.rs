//! A commit as a tree.

use std::path::{Path, PathBuf};

use crate::model::{Entry, EntryKind, ObjectId, Revision, Tree, TreeError};

/// A commit of a repository on disk. Stands in until the real one is merged.
#[derive(Debug, Clone)]
pub struct GitTree {
    dir: PathBuf,
    revision: Revision,
}

impl GitTree {
    pub(super) fn open(dir: &Path, revision: Revision) -> Result<Self, TreeError> {
        Ok(Self { dir: dir.to_owned(), revision })
    }

    fn with<T>(
        &self,
        path: &str,
        look: impl FnOnce(&git2::Repository, git2::Tree<'_>) -> Result<T, git2::Error>,
    ) -> Result<T, TreeError> {
        let failed = |_| TreeError::NotFound { path: path.to_owned() };
        let repository = git2::Repository::open(&self.dir).map_err(failed)?;
        let id = git2::Oid::from_bytes(self.revision.0.as_bytes()).map_err(failed)?;
        let tree = repository.find_commit(id).and_then(|commit| commit.tree()).map_err(failed)?;
        look(&repository, tree).map_err(failed)
    }
}

impl Tree for GitTree {
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        self.with(dir, |repository, root| {
            let tree = if dir.is_empty() {
                root
            } else {
                repository.find_tree(root.get_path(Path::new(dir))?.id())?
            };
            Ok(tree
                .iter()
                .map(|entry| Entry {
                    name: String::from_utf8_lossy(entry.name_bytes()).into_owned(),
                    is_utf8: true,
                    kind: match entry.kind() {
                        Some(git2::ObjectType::Tree) => EntryKind::Directory,
                        _ => EntryKind::File { executable: false },
                    },
                    oid: ObjectId::from_bytes([0; 20]),
                    size_bytes: 0,
                })
                .collect())
        })
    }

    fn read(&self, path: &str, _limit_bytes: u64) -> Result<Vec<u8>, TreeError> {
        self.with(path, |repository, root| {
            let id = root.get_path(Path::new(path))?.id();
            Ok(repository.find_blob(id)?.content().to_vec())
        })
    }
}
