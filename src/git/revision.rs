//! A commit of somebody else's repository on this machine, by any name that git knows for it.

use std::path::Path;

use git2::Repository;

use super::GitTree;
use crate::model::{Revision, TreeError};

/// The files of commit `name` (a branch, a tag, an id, `HEAD~2`, …) in the repository at `root`,
/// bare or with a work tree. Nothing is checked out.
///
/// # Errors
/// [`TreeError::NotFound`] when there is no such commit, [`TreeError::Unreadable`] when there is
/// no repository that may be read.
pub fn tree_at(root: &Path, name: &str) -> Result<GitTree, TreeError> {
    let repository = Repository::open(root).map_err(|error| TreeError::Unreadable {
        path: root.display().to_string(),
        reason: error.message().to_owned(),
    })?;
    let not_found = || TreeError::NotFound { path: name.to_owned() };
    let commit = repository
        .revparse_single(name)
        .and_then(|object| object.peel_to_commit())
        .map_err(|_| not_found())?;
    let revision: Revision = commit.id().to_string().parse().map_err(|_| not_found())?;
    // Objects of linked work trees live in the common folder.
    GitTree::open(repository.commondir(), revision)
}

/// Whether the repository at `root` was cloned without all of its history.
pub fn is_shallow(root: &Path) -> bool {
    Repository::open(root).is_ok_and(|repository| repository.is_shallow())
}
