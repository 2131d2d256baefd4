//! What changed since a commit: the challenges whose tree is another, and the findings that are new.
//!
//! Both are compared by the very same rules, so a finding of the repository that was there before is
//! nobody's fault now. Folders that did not change are not read.

use std::path::Path;

use crate::cli::failure::Failure;
use crate::git::{GitTree, revision};
use crate::model::Below;

/// The files at commit `name` of the repository at `root` below `base`, to compare with.
pub(super) fn open(root: &Path, base: &str, name: &str) -> Result<Below<GitTree>, Failure> {
    match revision::tree_at(root, name) {
        Ok(tree) => Ok(Below { tree, folder: base.to_owned() }),
        Err(_) if revision::is_shallow(root) => Err(Failure::usage(
            format!("this clone is shallow and does not hold commit `{name}`"),
            "fetch it first: `git fetch --depth=1 origin BRANCH` and `--since FETCH_HEAD`, or \
             `fetch-depth: 0` in actions/checkout, or `GIT_DEPTH: 0` in GitLab CI",
        )),
        Err(error) => Err(Failure::usage(
            format!("could not read revision `{name}` of `{}`: {error}", root.display()),
            format!("`git -C {} rev-parse {name}` must name a commit", root.display()),
        )),
    }
}
