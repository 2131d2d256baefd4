//! The files of one commit, read from the mirror's objects without checking anything out.
//!
//! # Invariants
//! * Nothing larger than its caller's limit is read; the size is looked up first.
//! * Links and submodules are shown, never followed. Names are compared, never given to the system.
//! * A missing or damaged object is [`TreeError::Unreadable`], never an absence.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use git2::{ErrorCode, ObjectType, Oid, Repository};

use super::hands::Share;
use super::{home, object_id, oid, one_line};
use crate::model::{Entry, EntryKind, Revision, Tree, TreeError, TreeId};

/// Largest tree object that is read: about 200,000 entries.
const MAX_TREE_BYTES: usize = 8 << 20;
/// Folders kept in memory; beyond that the cache starts anew.
const MAX_CACHED: usize = 4096;

/// The files of one commit. Opens its own handle, so it can go to another thread.
pub struct GitTree {
    repository: Repository,
    root: Oid,
    folders: RefCell<HashMap<String, Vec<Entry>>>,
}

impl GitTree {
    /// The files of `revision` in the bare repository at `dir`.
    pub(super) fn open(dir: &Path, revision: Revision) -> Result<Self, TreeError> {
        let unreadable = |error: git2::Error| TreeError::Unreadable {
            path: format!("commit {revision}"),
            reason: one_line(error.message(), 200),
        };
        let repository = home::open(dir).map_err(unreadable)?;
        let root = repository
            .find_commit(oid(revision))
            .and_then(|commit| commit.tree())
            .map_err(unreadable)?
            .id();
        Ok(Self { repository, root, folders: RefCell::default() })
    }

    /// The git tree at the root: equal for equal files.
    pub fn id(&self) -> TreeId {
        TreeId(object_id(self.root))
    }

    /// Runs `look` over the entries of `dir`, read at most once.
    fn with_folder<T>(&self, dir: &str, look: impl FnOnce(&[Entry]) -> T) -> Result<T, TreeError> {
        if let Some(entries) = self.folders.borrow().get(dir) {
            return Ok(look(entries));
        }
        let tree = self.find_folder(dir)?;
        let entries = self.read_folder(dir, tree)?;
        let seen = look(&entries);
        let mut folders = self.folders.borrow_mut();
        if folders.len() >= MAX_CACHED {
            folders.clear();
        }
        folders.insert(dir.to_owned(), entries);
        Ok(seen)
    }

    /// The tree object of `dir`, looked up from its nearest known ancestor.
    fn find_folder(&self, dir: &str) -> Result<Oid, TreeError> {
        let not_found = || TreeError::NotFound { path: dir.to_owned() };
        if dir.is_empty() {
            return Ok(self.root);
        }
        let mut tree = self.root;
        let mut rest = dir;
        // Folders are mostly read parent first: then the parent's entries name this one.
        if let Some((parent, name)) = dir.rsplit_once('/')
            && !parent.is_empty()
            && let Some(entries) = self.folders.borrow().get(parent)
        {
            let entry = find(entries, name).ok_or_else(not_found)?;
            if entry.kind != EntryKind::Directory {
                return Err(not_found());
            }
            tree = Oid::from_bytes(entry.oid.as_bytes()).map_err(|_| not_found())?;
            rest = "";
        }
        // An empty name (`/a`, `a//b`) is found nowhere.
        for name in rest.split('/').filter(|_| !rest.is_empty()) {
            self.check_tree_size(dir, tree)?;
            let object = self.repository.find_tree(tree).map_err(|error| failed(dir, &error))?;
            let entry = object.get_name_bytes(name.as_bytes()).ok_or_else(not_found)?;
            if entry.kind() != Some(ObjectType::Tree) {
                return Err(not_found());
            }
            tree = entry.id();
        }
        Ok(tree)
    }

    fn check_tree_size(&self, dir: &str, tree: Oid) -> Result<(), TreeError> {
        let odb = self.repository.odb().map_err(|error| failed(dir, &error))?;
        let (size, _) = odb.read_header(tree).map_err(|error| failed(dir, &error))?;
        if size > MAX_TREE_BYTES {
            return Err(TreeError::Unreadable {
                path: dir.to_owned(),
                reason: "the folder has too many entries".to_owned(),
            });
        }
        Ok(())
    }

    fn read_folder(&self, dir: &str, tree: Oid) -> Result<Vec<Entry>, TreeError> {
        self.check_tree_size(dir, tree)?;
        let object = self.repository.find_tree(tree).map_err(|error| failed(dir, &error))?;
        let odb = self.repository.odb().map_err(|error| failed(dir, &error))?;
        let mut entries = Vec::with_capacity(object.len());
        for entry in &object {
            let kind = match entry.filemode_raw() & 0o170_000 {
                0o040_000 => EntryKind::Directory,
                0o120_000 => EntryKind::Symlink,
                0o160_000 => EntryKind::Submodule,
                // git itself reads any other mode as a file.
                _ => EntryKind::File { executable: entry.filemode_raw() & 0o100 != 0 },
            };
            let size_bytes = match kind {
                EntryKind::File { .. } => {
                    let header = odb.read_header(entry.id());
                    header.map_err(|error| failed(&join(dir, entry.name_bytes()), &error))?.0 as u64
                }
                EntryKind::Directory | EntryKind::Symlink | EntryKind::Submodule => 0,
            };
            let (name, is_utf8) = decode(entry.name_bytes());
            entries.push(Entry { name, is_utf8, kind, oid: object_id(entry.id()), size_bytes });
        }
        // git sorts folders as if their name ended in `/`.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

impl std::fmt::Debug for GitTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("GitTree").field(&self.root).finish()
    }
}

impl Share for GitTree {
    fn share(&self) -> Result<Self, TreeError> {
        let repository = home::open(self.repository.path()).map_err(|error| {
            let reason = one_line(error.message(), 200);
            TreeError::Unreadable { path: "the repository".to_owned(), reason }
        })?;
        Ok(Self { repository, root: self.root, folders: RefCell::default() })
    }
}

impl Tree for GitTree {
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        self.with_folder(dir, <[Entry]>::to_vec)
    }

    fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, TreeError> {
        let (dir, name) = match path.rsplit_once('/') {
            Some(("", _)) => return Err(TreeError::NotFound { path: path.to_owned() }),
            Some(split) => split,
            None => ("", path),
        };
        let entry = match self.with_folder(dir, |entries| find(entries, name).cloned()) {
            Ok(found) => found,
            // Told about the file that was asked for, not about its folder.
            Err(TreeError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let entry = entry.ok_or_else(|| TreeError::NotFound { path: path.to_owned() })?;
        match entry.kind {
            EntryKind::File { .. } => (),
            EntryKind::Directory | EntryKind::Symlink | EntryKind::Submodule => {
                return Err(TreeError::NotAFile { path: path.to_owned() });
            }
        }
        let size_bytes = entry.size_bytes;
        if size_bytes > limit_bytes {
            return Err(TreeError::TooLarge { path: path.to_owned(), size_bytes, limit_bytes });
        }
        let blob = Oid::from_bytes(entry.oid.as_bytes()).map_err(|error| failed(path, &error))?;
        let odb = self.repository.odb().map_err(|error| failed(path, &error))?;
        let object = odb.read(blob).map_err(|error| failed(path, &error))?;
        match object.kind() {
            ObjectType::Blob => Ok(object.data().to_vec()),
            _ => Err(TreeError::NotAFile { path: path.to_owned() }),
        }
    }
}

/// The entry of exactly this name.
fn find<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    let at = entries.partition_point(|entry| entry.name.as_str() < name);
    entries[at..].iter().take_while(|entry| entry.name == name).find(|entry| entry.is_utf8)
}

/// A name as text. A `/` cannot come from git itself; it would break paths apart, so it is
/// replaced like bytes that are not UTF-8.
pub(super) fn decode(name: &[u8]) -> (String, bool) {
    match std::str::from_utf8(name) {
        Ok(text) if !text.contains('/') && !text.is_empty() => (text.to_owned(), true),
        _ => (String::from_utf8_lossy(name).replace('/', "\u{fffd}"), false),
    }
}

fn join(dir: &str, name: &[u8]) -> String {
    let (name, _) = decode(name);
    if dir.is_empty() { name } else { format!("{dir}/{name}") }
}

/// The commit names it, so it must be there: a missing object is a damaged mirror.
fn failed(path: &str, error: &git2::Error) -> TreeError {
    let reason = match error.code() {
        ErrorCode::NotFound => "an object of it is missing from the mirror".to_owned(),
        _ => one_line(error.message(), 200),
    };
    TreeError::Unreadable { path: path.to_owned(), reason }
}
