//! Stores a folder that nobody committed as a commit of a bare repository of our own.
//!
//! In:  a folder on disk, and where it belongs in its repository. Out: a [`Revision`] that a
//! `Mirror` can fetch and a `GitTree` can show, exactly as if its author had pushed it.
//!
//! # Invariants
//! * What is stored is what [`WorkTree`] shows: no ignored file, links as links.
//! * Equal folders give equal commits, whenever they are taken.
//! * The author's own repository is read, never written.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository, RepositoryInitOptions, Signature, Time};
use thiserror::Error;

use super::tree::GitTree;
use super::worktree::{MAX_HASHED_BYTES, WorkTree};
use super::{home, object_id, oid};
use crate::model::{Entry, EntryKind, Revision, Tree, TreeError};

/// The one branch that is published.
const BRANCH: &str = "refs/heads/main";
/// Largest file beside the folder that is taken along.
const MAX_BESIDE_BYTES: u64 = 1 << 20;

/// Why a folder could not be stored.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The folder on disk cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A name cannot be asked for.
    #[error("a name in `{dir}` is not UTF-8: rename the file")]
    Name {
        /// The folder.
        dir: String,
    },
    /// The disk said no.
    #[error("could not read or write `{}`", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The repository of snapshots said no.
    #[error("could not store a snapshot in `{}`", dir.display())]
    Git {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: git2::Error,
    },
}

/// A bare repository that holds snapshots.
#[derive(Debug)]
pub struct Snapshots {
    dir: PathBuf,
}

impl Snapshots {
    /// Makes an empty one at `dir` (mode 0700), which must not exist.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn create(dir: &Path) -> Result<Self, SnapshotError> {
        let failed = |source| SnapshotError::Io { path: dir.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let snapshots = Self { dir: dir.to_owned() };
        let mut options = RepositoryInitOptions::new();
        options.bare(true).no_reinit(true).external_template(false).initial_head("main");
        Repository::init_opts(dir, &options).map_err(|source| snapshots.git(source))?;
        Ok(snapshots)
    }

    /// Stores `folder` under the path `inside`, with the YAML files at the top of `root`.
    ///
    /// # Errors
    /// When something cannot be read, or the repository cannot be written.
    pub fn take(
        &self,
        root: &Path,
        folder: &Path,
        inside: &str,
    ) -> Result<Revision, SnapshotError> {
        let repository = home::open(&self.dir).map_err(|source| self.git(source))?;
        let writer = Writer { snapshots: self, repository: &repository };
        let mut tree = writer.folder(&WorkTree::open(folder)?, "")?;
        let names: Vec<&str> = inside.split('/').collect();
        for (depth, name) in names.iter().enumerate().rev() {
            let mut items = vec![((*name).to_owned(), tree, 0o040_000)];
            if depth == 0 {
                items.extend(writer.beside(root)?);
            }
            tree = writer.tree(&items)?;
        }
        writer.commit(tree).map(|commit| Revision(object_id(commit)))
    }

    /// The files of a snapshot.
    ///
    /// # Errors
    /// When it is none of ours.
    pub fn tree(&self, revision: Revision) -> Result<GitTree, TreeError> {
        GitTree::open(&self.dir, revision)
    }

    /// Makes `revision` what a mirror of this repository sees.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub fn publish(&self, revision: Revision) -> Result<(), SnapshotError> {
        let repository = home::open(&self.dir).map_err(|source| self.git(source))?;
        repository
            .reference(BRANCH, oid(revision), true, "")
            .map(drop)
            .map_err(|source| self.git(source))
    }

    fn git(&self, source: git2::Error) -> SnapshotError {
        SnapshotError::Git { dir: self.dir.clone(), source }
    }
}

/// A name, its object and its mode in git's own numbers.
type Item = (String, Oid, i32);

struct Writer<'a> {
    snapshots: &'a Snapshots,
    repository: &'a Repository,
}

impl Writer<'_> {
    fn folder(&self, from: &WorkTree, dir: &str) -> Result<Oid, SnapshotError> {
        let mut items = Vec::new();
        for entry in from.entries(dir)? {
            items.push(self.item(from, dir, &entry)?);
        }
        self.tree(&items)
    }

    fn item(&self, from: &WorkTree, dir: &str, entry: &Entry) -> Result<Item, SnapshotError> {
        if !entry.is_utf8 {
            return Err(SnapshotError::Name { dir: dir.to_owned() });
        }
        let path =
            if dir.is_empty() { entry.name.clone() } else { format!("{dir}/{}", entry.name) };
        let (object, mode) = match entry.kind {
            EntryKind::Directory => (self.folder(from, &path)?, 0o040_000),
            EntryKind::File { executable } => {
                let bytes = from.read(&path, MAX_HASHED_BYTES)?;
                (self.blob(&bytes)?, if executable { 0o100_755 } else { 0o100_644 })
            }
            EntryKind::Symlink => {
                let at = from.locate(&path)?;
                let target = fs::read_link(&at)
                    .map_err(|source| SnapshotError::Io { path: at.clone(), source })?;
                (self.blob(target.as_os_str().as_bytes())?, 0o120_000)
            }
            // Which commit it is at does not matter: it is never fetched.
            EntryKind::Submodule => (self.blob(b"")?, 0o160_000),
        };
        Ok((entry.name.clone(), object, mode))
    }

    /// The small YAML files at the top of `root`: what is said there can be about every challenge.
    fn beside(&self, root: &Path) -> Result<Vec<Item>, SnapshotError> {
        let mut items = Vec::new();
        for found in fs::read_dir(root).into_iter().flatten().flatten() {
            let Ok(name) = found.file_name().into_string() else { continue };
            let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
            let is_small =
                || found.metadata().is_ok_and(|it| it.is_file() && it.len() <= MAX_BESIDE_BYTES);
            if !is_yaml || !is_small() {
                continue;
            }
            let path = found.path();
            match fs::read(&path) {
                Ok(bytes) => items.push((name, self.blob(&bytes)?, 0o100_644)),
                // Gone since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                Err(source) => return Err(SnapshotError::Io { path, source }),
            }
        }
        Ok(items)
    }

    fn blob(&self, bytes: &[u8]) -> Result<Oid, SnapshotError> {
        self.repository.blob(bytes).map_err(|source| self.snapshots.git(source))
    }

    fn tree(&self, items: &[Item]) -> Result<Oid, SnapshotError> {
        let write = || {
            let mut builder = self.repository.treebuilder(None)?;
            for (name, object, mode) in items {
                builder.insert(name, *object, *mode)?;
            }
            builder.write()
        };
        write().map_err(|source| self.snapshots.git(source))
    }

    /// A commit without a past and without a time: equal trees give equal commits.
    fn commit(&self, tree: Oid) -> Result<Oid, SnapshotError> {
        let write = || {
            let author = Signature::new("flagops", "flagops@localhost", &Time::new(0, 0))?;
            let tree = self.repository.find_tree(tree)?;
            self.repository.commit(None, &author, &author, "files on disk", &tree, &[])
        };
        write().map_err(|source| self.snapshots.git(source))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path, content: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn repository(at: &Path) -> PathBuf {
        let folder = at.join("repo/WEB/WEB-001");
        write(&folder.join("metadata.yaml"), "name: x\n");
        write(&folder.join("services/web/run"), "#!/bin/sh\n");
        let run = folder.join("services/web/run");
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
        write(&at.join("repo/WEB/WEB-002/metadata.yaml"), "name: another\n");
        write(&at.join("repo/event.yaml"), "name: event\n");
        write(&at.join("repo/notes.txt"), "not taken\n");
        folder
    }

    #[test]
    fn a_snapshot_shows_the_folder_as_the_work_tree_does() {
        let dir = tempfile::tempdir().unwrap();
        let folder = repository(dir.path());
        let root = dir.path().join("repo");
        let snapshots = Snapshots::create(&dir.path().join("work.git")).unwrap();
        let revision = snapshots.take(&root, &folder, "WEB/WEB-001").unwrap();
        let tree = snapshots.tree(revision).unwrap();
        let names = |dir: &str| {
            tree.entries(dir).unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["WEB", "event.yaml"]);
        assert_eq!(names("WEB"), ["WEB-001"]);
        let work = WorkTree::open(&root).unwrap();
        let same = "WEB/WEB-001";
        assert_eq!(tree.entries(same).unwrap(), work.entries(same).unwrap());
        assert_eq!(
            tree.entries("WEB/WEB-001/services/web").unwrap(),
            work.entries("WEB/WEB-001/services/web").unwrap()
        );
    }

    #[test]
    fn equal_folders_give_equal_commits_and_a_change_another() {
        let dir = tempfile::tempdir().unwrap();
        let folder = repository(dir.path());
        let root = dir.path().join("repo");
        let snapshots = Snapshots::create(&dir.path().join("work.git")).unwrap();
        let take = || snapshots.take(&root, &folder, "WEB/WEB-001").unwrap();
        let first = take();
        assert_eq!(take(), first);
        write(&folder.join("metadata.yaml"), "name: y\n");
        let second = take();
        assert_ne!(second, first);
        snapshots.publish(first).unwrap();
        snapshots.publish(second).unwrap();
        let seen = super::super::revision::tree_at(&dir.path().join("work.git"), "main").unwrap();
        assert_eq!(seen.read("WEB/WEB-001/metadata.yaml", 99).unwrap(), b"name: y\n");
    }

    #[test]
    fn what_git_ignores_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let folder = repository(dir.path());
        let root = dir.path().join("repo");
        Repository::init(&root).unwrap();
        write(&root.join(".gitignore"), "*.secret\n");
        write(&folder.join("a.secret"), "x");
        let snapshots = Snapshots::create(&dir.path().join("work.git")).unwrap();
        let revision = snapshots.take(&root, &folder, "WEB/WEB-001").unwrap();
        let entries = snapshots.tree(revision).unwrap().entries("WEB/WEB-001").unwrap();
        assert!(entries.iter().all(|entry| entry.name != "a.secret"), "{entries:?}");
        assert!(entries.iter().any(|entry| entry.name == "metadata.yaml"));
    }
}
