//! Puts the files of one challenge where they belong: all of them, or none.
//!
//! # Invariants
//! * A folder appears complete, or not at all: it is written beside its place and then renamed.
//! * A link is never written through, and nothing outside of the root is touched.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::scaffold::Files;
use crate::cli::failure::Failure;

/// Beginning of the folder that a challenge is written to first. Names with a dot are no challenges.
const STAGING: &str = ".flagops-new.";
/// Most names that a message lists.
const MAX_SHOWN: usize = 8;

/// What to do where something is already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Overwrite {
    /// Leave it, and fail.
    Refuse,
    /// Put the new folder in its place.
    Replace,
}

impl Overwrite {
    /// As `--force` says.
    pub(in crate::cli) fn from_flag(force: &bool) -> Self {
        if *force { Self::Replace } else { Self::Refuse }
    }
}

/// What was there before, and is gone.
pub(in crate::cli) type Removed = BTreeSet<String>;

/// A folder that is written, and will take its place.
#[derive(Debug)]
pub(in crate::cli) struct Staged {
    /// Holds the new folder, and then the old one.
    staging: tempfile::TempDir,
    root: PathBuf,
}

impl Staged {
    /// An empty folder beside all challenges of `root`.
    ///
    /// # Errors
    /// When `root` cannot be written.
    pub(in crate::cli) fn begin(root: &Path) -> Result<Self, Failure> {
        let failed = |error| could_not("write to", root, &error);
        let staging = tempfile::Builder::new().prefix(STAGING).tempdir_in(root).map_err(failed)?;
        fs::create_dir(staging.path().join("new")).map_err(failed)?;
        Ok(Self { staging, root: root.to_owned() })
    }

    /// The folder to write to.
    pub(in crate::cli) fn folder(&self) -> PathBuf {
        self.staging.path().join("new")
    }

    /// Writes files into it; what begins with `#!` becomes a program.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(in crate::cli) fn write(&self, files: &Files) -> Result<(), Failure> {
        for (name, content) in files {
            let file = self.folder().join(name);
            let written = fs::create_dir_all(file.parent().expect("a file is in a folder"))
                .and_then(|()| fs::write(&file, content))
                .and_then(|()| match content.starts_with(b"#!") {
                    true => fs::set_permissions(&file, fs::Permissions::from_mode(0o755)),
                    false => Ok(()),
                });
            written.map_err(|error| could_not("write", &file, &error))?;
        }
        Ok(())
    }

    /// Puts the folder at `path`, a path inside of the root.
    ///
    /// # Errors
    /// When something is there that may not be replaced, or the file system refuses.
    pub(in crate::cli) fn put(self, path: &str, overwrite: Overwrite) -> Result<Removed, Failure> {
        let place = self.root.join(path);
        let before = check(&place, path, overwrite)?;
        let parent = place.parent().expect("a place is below the root");
        fs::create_dir_all(parent).map_err(|error| could_not("create", parent, &error))?;
        let old = self.staging.path().join("old");
        let moved = match before {
            None => fs::rename(self.folder(), &place),
            Some(_) => fs::rename(&place, &old).and_then(|()| {
                fs::rename(self.folder(), &place).inspect_err(|_| {
                    // The old one goes back; what failed is said either way.
                    let _ = fs::rename(&old, &place);
                })
            }),
        };
        moved.map_err(|error| could_not("put the challenge at", &place, &error))?;
        let now = listing(&place).unwrap_or_default();
        Ok(before.unwrap_or_default().difference(&now).cloned().collect())
    }
}

/// The files at `place`, if something is there and may be replaced.
fn check(place: &Path, path: &str, overwrite: Overwrite) -> Result<Option<Removed>, Failure> {
    let found = match fs::symlink_metadata(place) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(could_not("look at", place, &error)),
    };
    if !found.is_dir() {
        let problem = format!("`{path}` exists and is no folder");
        return Err(Failure::usage(problem, "move it away, or choose another id"));
    }
    let names = listing(place).map_err(|error| could_not("list", place, &error))?;
    if overwrite == Overwrite::Refuse && !names.is_empty() {
        let problem = format!("`{path}` exists already: {}", shown(&names));
        let next = "choose another id, or replace the whole folder with `--force`";
        return Err(Failure::usage(problem, next));
    }
    Ok(Some(names))
}

/// Some names, and how many more there are.
fn shown(names: &BTreeSet<String>) -> String {
    let some: Vec<&str> = names.iter().take(MAX_SHOWN).map(String::as_str).collect();
    let n_more = names.len() - some.len();
    let more = if n_more > 0 { format!(" and {n_more} more") } else { String::new() };
    format!("{}{more}", some.join(", "))
}

/// Everything below `folder` that is no folder itself.
fn listing(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap_or(&path);
                names.insert(name.to_string_lossy().into_owned());
            }
        }
    }
    Ok(names)
}

/// A failure of the file system.
pub(in crate::cli) fn could_not(what: &str, path: &Path, error: &io::Error) -> Failure {
    let problem = format!("could not {what} `{}` ({error})", path.display());
    Failure::failed(problem, "check the permissions and the free space")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Files {
        names.iter().map(|name| ((*name).to_owned(), b"#!/bin/sh\n".to_vec())).collect()
    }

    fn put(
        root: &Path,
        path: &str,
        names: &[&str],
        overwrite: Overwrite,
    ) -> Result<Removed, Failure> {
        let staged = Staged::begin(root)?;
        staged.write(&files(names))?;
        staged.put(path, overwrite)
    }

    #[test]
    fn a_folder_is_replaced_as_a_whole_and_only_when_asked() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "WEB/WEB-001", &["a", "b/c"], Overwrite::Refuse).unwrap();
        let place = root.path().join("WEB/WEB-001");
        let refused = put(root.path(), "WEB/WEB-001", &["a"], Overwrite::Refuse).unwrap_err();
        insta::assert_snapshot!(refused, @r"
        error: `WEB/WEB-001` exists already: a, b/c
         next: choose another id, or replace the whole folder with `--force`
        ");
        let removed = put(root.path(), "WEB/WEB-001", &["a", "d"], Overwrite::Replace).unwrap();
        assert_eq!(removed, BTreeSet::from(["b/c".to_owned()]));
        assert_eq!(listing(&place).unwrap(), BTreeSet::from(["a".to_owned(), "d".to_owned()]));
        assert_eq!(fs::metadata(place.join("a")).unwrap().permissions().mode() & 0o111, 0o111);
        // Nothing is left beside the challenges.
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("keep"), "").unwrap();
        std::os::unix::fs::symlink(other.path(), root.path().join("WEB-001")).unwrap();
        let refused = put(root.path(), "WEB-001", &["a"], Overwrite::Replace).unwrap_err();
        assert!(refused.to_string().contains("is no folder"), "{refused}");
        assert!(other.path().join("keep").exists());
    }
}
