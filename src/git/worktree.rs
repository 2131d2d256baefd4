//! A folder on disk as a tree, for authors who have not committed yet.
//!
//! Shows what `git add -A` would store: without `.git`, without what `.gitignore` leaves out and
//! git does not track, without empty folders and special files; links as links, a nested
//! repository as a submodule. Ids are those that git would give.
//!
//! # Invariants
//! * No link is followed. Every file is read at most once, also when both its id and its content
//!   are asked for; one that git knows unchanged is not read for its id, one above 100 MiB never.
//! * One [`WorkTree`] and those [shared](Share::share) with it show a folder as it was when first
//!   read; a later edit needs a new one.

mod index;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use git2::{ObjectType, Oid};

use self::index::Index;

use super::hands::Share;
use super::tree::decode;
use super::{object_id, one_line};
use crate::model::{Entry, EntryKind, ObjectId, Tree, TreeError};

/// Above every budget of a challenge: such a file is not read for its id.
pub(super) const MAX_HASHED_BYTES: u64 = 100 << 20;
/// Deeper folders are not shown.
const MAX_DEPTH: usize = 100;
/// Largest file whose content is kept between its id and its reading.
const MAX_KEPT_FILE_BYTES: u64 = 1 << 20;
/// Most content that is kept in all.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// A folder on disk.
pub struct WorkTree {
    root: PathBuf,
    index: Option<Index>,
    seen: Arc<Mutex<Seen>>,
}

/// What was looked at already.
#[derive(Default)]
struct Seen {
    folders: HashMap<String, Arc<[Entry]>>,
    /// Files that were read for their ids and not yet for themselves.
    contents: HashMap<String, Vec<u8>>,
    kept_bytes: usize,
}

impl Seen {
    fn keep(&mut self, path: &str, content: Vec<u8>) {
        if self.kept_bytes + content.len() <= MAX_KEPT_BYTES {
            self.kept_bytes += content.len();
            self.contents.insert(path.to_owned(), content);
        }
    }

    fn take(&mut self, path: &str) -> Option<Vec<u8>> {
        let content = self.contents.remove(path)?;
        self.kept_bytes -= content.len();
        Some(content)
    }
}

impl WorkTree {
    /// The folder at `root`. `.gitignore` is honoured when it is inside a repository.
    ///
    /// # Errors
    /// When `root` is no folder that can be read.
    pub fn open(root: &Path) -> Result<Self, TreeError> {
        let shown = root.display().to_string();
        let metadata = fs::metadata(root).map_err(|error| failed(&shown, &error))?;
        if !metadata.is_dir() {
            return Err(TreeError::NotFound { path: shown });
        }
        let root = fs::canonicalize(root).map_err(|error| failed(&shown, &error))?;
        let index = Index::discover(&root);
        Ok(Self { root, index, seen: Arc::default() })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The path on disk of `path`; an error unless every folder on the way is a real folder.
    pub(super) fn locate(&self, path: &str) -> Result<PathBuf, TreeError> {
        let mut at = self.root.clone();
        if path.is_empty() {
            return Ok(at);
        }
        if let Some((dir, name)) = path.rsplit_once('/')
            && self.seen().folders.contains_key(dir)
            && !matches!(name, "" | "." | "..")
            && !name.contains('\0')
        {
            // Whoever listed the folder made sure that it is one, all the way down.
            at.push(path);
            return Ok(at);
        }
        let names: Vec<&str> = path.split('/').collect();
        for (index, name) in names.iter().enumerate() {
            let is_name = !matches!(*name, "" | "." | "..") && !name.contains('\0');
            let is_folder = || fs::symlink_metadata(&at).is_ok_and(|found| found.is_dir());
            if !is_name || (index > 0 && !is_folder()) {
                return Err(TreeError::NotFound { path: path.to_owned() });
            }
            at.push(name);
        }
        Ok(at)
    }

    fn folder(&self, dir: &str) -> Result<Arc<[Entry]>, TreeError> {
        if let Some(entries) = self.known(dir) {
            return Ok(entries);
        }
        let at = self.locate(dir)?;
        let metadata = fs::symlink_metadata(&at).map_err(|error| failed(dir, &error))?;
        if !metadata.is_dir() {
            return Err(TreeError::NotFound { path: dir.to_owned() });
        }
        self.folder_at(&at, dir)
    }

    fn known(&self, dir: &str) -> Option<Arc<[Entry]>> {
        self.seen().folders.get(dir).map(Arc::clone)
    }

    /// The folder at `at`, which is no link, and neither is anything above it.
    fn folder_at(&self, at: &Path, dir: &str) -> Result<Arc<[Entry]>, TreeError> {
        if let Some(entries) = self.known(dir) {
            return Ok(entries);
        }
        let entries: Arc<[Entry]> = self.read_folder(at, dir)?.into();
        // Another thread may have been faster: everybody sees what was seen first.
        Ok(Arc::clone(self.seen().folders.entry(dir.to_owned()).or_insert(entries)))
    }

    fn read_folder(&self, at: &Path, dir: &str) -> Result<Vec<Entry>, TreeError> {
        if dir.split('/').count() > MAX_DEPTH {
            let reason = "the folders are nested too deeply".to_owned();
            return Err(TreeError::Unreadable { path: dir.to_owned(), reason });
        }
        let mut entries = Vec::new();
        for found in fs::read_dir(at).map_err(|error| failed(dir, &error))? {
            let found = found.map_err(|error| failed(dir, &error))?;
            let (name, is_utf8) = decode(found.file_name().as_bytes());
            if name == ".git" {
                continue;
            }
            let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
            // A folder whose name is no UTF-8 cannot be asked for: it is shown without content.
            let path = is_utf8.then_some(path);
            if let Some((kind, oid, size_bytes)) = self.look_at(&found.path(), path.as_deref())? {
                entries.push(Entry { name, is_utf8, kind, oid, size_bytes });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// What is at `at`, unless git would not store it. `path` is its place in the tree.
    fn look_at(&self, at: &Path, path: Option<&str>) -> Result<Option<Look>, TreeError> {
        let shown = path.unwrap_or("a file whose name is no UTF-8");
        let metadata = match fs::symlink_metadata(at) {
            Ok(metadata) => metadata,
            // Gone since the folder was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(shown, &error)),
        };
        let kind = metadata.file_type();
        if kind.is_dir() {
            return self.look_at_folder(at, path);
        }
        let index = self.index.as_ref().zip(path);
        if index.is_some_and(|(index, path)| index.hides_file(path)) {
            return Ok(None);
        }
        let refused = |error| refused(shown, &error);
        if kind.is_symlink() {
            let target = fs::read_link(at).map_err(|error| failed(shown, &error))?;
            let oid = Oid::hash_object(ObjectType::Blob, target.as_os_str().as_bytes());
            return Ok(Some((EntryKind::Symlink, object_id(oid.map_err(refused)?), 0)));
        }
        if !kind.is_file() {
            return Ok(None);
        }
        let known = index.and_then(|(index, path)| index.unchanged(path, &metadata));
        let oid = match known {
            Some(oid) => oid,
            // Some id of its own: the file is over budget whatever it holds.
            None if metadata.len() > MAX_HASHED_BYTES => {
                Oid::hash_object(ObjectType::Blob, metadata.len().to_string().as_bytes())
                    .map_err(refused)?
            }
            None => self.hash(at, path, metadata.len())?,
        };
        let executable = metadata.mode() & 0o100 != 0;
        let kind = EntryKind::File { executable };
        Ok(Some((kind, object_id(oid), metadata.len())))
    }

    /// The id of the file at `at`. What was read for it is kept: most files are wanted next.
    fn hash(&self, at: &Path, path: Option<&str>, size_bytes: u64) -> Result<Oid, TreeError> {
        let shown = path.unwrap_or("a file whose name is no UTF-8");
        let Some(path) = path.filter(|_| size_bytes <= MAX_KEPT_FILE_BYTES) else {
            return Oid::hash_file(ObjectType::Blob, at).map_err(|error| refused(shown, &error));
        };
        let content = read_at_most(at, MAX_HASHED_BYTES).map_err(|error| failed(path, &error))?;
        let oid = Oid::hash_object(ObjectType::Blob, &content);
        let oid = oid.map_err(|error| refused(path, &error))?;
        self.seen().keep(path, content);
        Ok(oid)
    }

    fn look_at_folder(&self, at: &Path, path: Option<&str>) -> Result<Option<Look>, TreeError> {
        let nothing = ObjectId::from_bytes([0; 20]);
        let Some(path) = path else { return Ok(Some((EntryKind::Directory, nothing, 0))) };
        if self.index.as_ref().is_some_and(|index| index.hides_folder(path)) {
            return Ok(None);
        }
        if at.join(".git").symlink_metadata().is_ok() {
            return Ok(Some((EntryKind::Submodule, nothing, 0)));
        }
        let inside = self.folder_at(at, path)?;
        if inside.is_empty() {
            return Ok(None);
        }
        Ok(Some((EntryKind::Directory, tree_id(path, &inside)?, 0)))
    }
}

/// Kind, id and size of an entry.
type Look = (EntryKind, ObjectId, u64);

impl std::fmt::Debug for WorkTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WorkTree").field(&self.root).finish()
    }
}

impl Share for WorkTree {
    fn share(&self) -> Result<Self, TreeError> {
        let shown = self.root.display().to_string();
        if let Some(index) = &self.index {
            index.load();
        }
        let index = self.index.as_ref().map(Index::share).transpose();
        let index = index.map_err(|error| refused(&shown, &error))?;
        Ok(Self { root: self.root.clone(), index, seen: Arc::clone(&self.seen) })
    }

    fn look_ahead(&self, folders: &[String]) {
        for folder in folders {
            // A fault is met again, and told, by whoever needs the folder.
            let _ = self.folder(folder);
        }
    }

    /// The folders below those at the top: the id of the whole needs the content of each.
    fn ahead(&self) -> Vec<String> {
        let names = |dir: &Path| -> Vec<String> {
            let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|name| !name.starts_with('.'))
                .collect()
        };
        let tops = names(&self.root).into_iter();
        tops.flat_map(|top| {
            let inside = names(&self.root.join(&top));
            inside.into_iter().map(move |name| format!("{top}/{name}"))
        })
        .filter(|path| !self.index.as_ref().is_some_and(|index| index.hides_folder(path)))
        .collect()
    }
}

impl Tree for WorkTree {
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        if let Some(index) = self.index.as_ref().filter(|_| dir.is_empty()) {
            // Everything will be looked at: then it pays to know what git knows.
            index.load();
        }
        Ok(self.folder(dir)?.to_vec())
    }

    /// Looks at this folder only: its siblings would all have to be read.
    fn id(&self, dir: &str) -> Result<ObjectId, TreeError> {
        let at = self.locate(dir)?;
        if !fs::symlink_metadata(&at).is_ok_and(|found| found.is_dir()) {
            return Err(TreeError::NotFound { path: dir.to_owned() });
        }
        let found = self.look_at_folder(&at, Some(dir))?;
        match found {
            Some((EntryKind::Directory, oid, _)) => Ok(oid),
            _ => Err(TreeError::NotFound { path: dir.to_owned() }),
        }
    }

    fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, TreeError> {
        let kept = self.seen().take(path);
        if let Some(content) = kept.filter(|content| content.len() as u64 <= limit_bytes) {
            return Ok(content);
        }
        let at = self.locate(path)?;
        let metadata = fs::symlink_metadata(&at).map_err(|error| failed(path, &error))?;
        if !metadata.is_file() {
            return Err(TreeError::NotAFile { path: path.to_owned() });
        }
        let too_large =
            |size_bytes| TreeError::TooLarge { path: path.to_owned(), size_bytes, limit_bytes };
        if metadata.len() > limit_bytes {
            return Err(too_large(metadata.len()));
        }
        // The file may have grown since: one byte more than allowed is enough to know.
        let bytes = read_at_most(&at, limit_bytes.saturating_add(1));
        let bytes = bytes.map_err(|error| failed(path, &error))?;
        match bytes.len() as u64 {
            size if size > limit_bytes => Err(too_large(size)),
            _ => Ok(bytes),
        }
    }
}

/// The first `limit_bytes` of the file at `at`, which is no link.
fn read_at_most(at: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let file = fs::OpenOptions::new().read(true).custom_flags(no_follow).open(at)?;
    let mut bytes = Vec::new();
    file.take(limit_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The id that git gives to a folder of these entries.
fn tree_id(path: &str, entries: &[Entry]) -> Result<ObjectId, TreeError> {
    let mut sorted: Vec<(String, &Entry)> = entries
        .iter()
        .map(|entry| match entry.kind {
            EntryKind::Directory => (format!("{}/", entry.name), entry),
            EntryKind::File { .. } | EntryKind::Symlink | EntryKind::Submodule => {
                (entry.name.clone(), entry)
            }
        })
        .collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut bytes = Vec::new();
    for (_, entry) in sorted {
        let mode = match entry.kind {
            EntryKind::Directory => "40000",
            EntryKind::File { executable: false } => "100644",
            EntryKind::File { executable: true } => "100755",
            EntryKind::Symlink => "120000",
            EntryKind::Submodule => "160000",
        };
        bytes.extend_from_slice(mode.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(entry.name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(entry.oid.as_bytes());
    }
    let oid = Oid::hash_object(ObjectType::Tree, &bytes).map_err(|error| refused(path, &error))?;
    Ok(object_id(oid))
}

fn failed(path: &str, error: &io::Error) -> TreeError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            TreeError::NotFound { path: path.to_owned() }
        }
        _ => TreeError::Unreadable { path: path.to_owned(), reason: error.to_string() },
    }
}

fn refused(path: &str, error: &git2::Error) -> TreeError {
    TreeError::Unreadable { path: path.to_owned(), reason: one_line(error.message(), 200) }
}
