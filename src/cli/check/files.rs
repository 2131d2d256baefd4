//! The files that are looked at: on disk or of a commit, from the root of the challenges on.

use std::path::Path;

use crate::cli::failure::Failure;
use crate::git::hands::Share;
use crate::git::{GitTree, WorkTree, revision};
use crate::model::{Below, Entry, Tree, TreeError};

/// Files from the root of the challenges on.
pub(super) type Files = Below<Store>;

/// Where files come from.
pub(super) enum Store {
    /// What is on disk.
    Disk(WorkTree),
    /// A commit.
    Commit(GitTree),
}

/// The files of the repository at `root` below `base`, on disk or of commit `name`.
pub(super) fn open(root: &Path, base: &str, name: Option<&str>) -> Result<Files, Failure> {
    let shown = root.display();
    let tree = match name {
        None => Store::Disk(WorkTree::open(root).map_err(|error| {
            Failure::failed(format!("could not open `{shown}`: {error}"), "check its permissions")
        })?),
        Some(name) => Store::Commit(revision::tree_at(root, name).map_err(|error| {
            Failure::usage(
                format!("could not read revision `{name}` of `{shown}`: {error}"),
                format!("`git -C {shown} rev-parse {name}` must name a commit"),
            )
        })?),
    };
    Ok(Below { tree, folder: base.to_owned() })
}

impl Tree for Store {
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        match self {
            Self::Disk(tree) => tree.entries(dir),
            Self::Commit(tree) => tree.entries(dir),
        }
    }

    fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, TreeError> {
        match self {
            Self::Disk(tree) => tree.read(path, limit_bytes),
            Self::Commit(tree) => tree.read(path, limit_bytes),
        }
    }
}

impl Share for Store {
    fn share(&self) -> Result<Self, TreeError> {
        Ok(match self {
            Self::Disk(tree) => Self::Disk(tree.share()?),
            Self::Commit(tree) => Self::Commit(tree.share()?),
        })
    }

    fn look_ahead(&self, folders: &[String]) {
        match self {
            Self::Disk(tree) => tree.look_ahead(folders),
            Self::Commit(tree) => tree.look_ahead(folders),
        }
    }

    fn ahead(&self) -> Vec<String> {
        match self {
            Self::Disk(tree) => tree.ahead(),
            Self::Commit(tree) => tree.ahead(),
        }
    }
}
