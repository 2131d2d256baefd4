//! A folder on disk as a tree, for authors who have not committed yet.
//!
//! Shows what `git add -A` would store: without `.git`, without what `.gitignore` leaves out and
//! git does not track, without empty folders and special files; links as links, a nested
//! repository as a submodule. Ids are those that git would give.
//!
//! # Invariants
//! * No link is followed. Every file is read at most once for its id; one above 100 MiB not at all.
//! * One [`WorkTree`] shows a folder as it was when first read; a later edit needs a new one.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid, Repository};

use super::tree::decode;
use super::{object_id, one_line};
use crate::model::{Entry, EntryKind, ObjectId, Tree, TreeError};

/// Above every budget of a challenge: such a file is not read for its id.
const MAX_HASHED_BYTES: u64 = 100 << 20;
/// Deeper folders are not shown.
const MAX_DEPTH: usize = 100;

/// A folder on disk.
pub struct WorkTree {
    root: PathBuf,
    ignore: Option<Ignore>,
    folders: RefCell<HashMap<String, Vec<Entry>>>,
}

/// What git leaves out.
struct Ignore {
    repository: Repository,
    /// Where `root` is inside the repository, `""` or with a final `/`.
    prefix: String,
    /// Paths in the index: tracked files stay, even if a pattern matches them.
    tracked: BTreeSet<String>,
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
        let ignore = Ignore::discover(&root);
        Ok(Self { root, ignore, folders: RefCell::default() })
    }

    /// The path on disk of `path`; an error unless every folder on the way is a real folder.
    fn locate(&self, path: &str) -> Result<PathBuf, TreeError> {
        let mut at = self.root.clone();
        if path.is_empty() {
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

    fn folder(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        if let Some(entries) = self.folders.borrow().get(dir) {
            return Ok(entries.clone());
        }
        let entries = self.read_folder(dir)?;
        self.folders.borrow_mut().insert(dir.to_owned(), entries.clone());
        Ok(entries)
    }

    fn read_folder(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        if dir.split('/').count() > MAX_DEPTH {
            let reason = "the folders are nested too deeply".to_owned();
            return Err(TreeError::Unreadable { path: dir.to_owned(), reason });
        }
        let at = self.locate(dir)?;
        let metadata = fs::symlink_metadata(&at).map_err(|error| failed(dir, &error))?;
        if !metadata.is_dir() {
            return Err(TreeError::NotFound { path: dir.to_owned() });
        }
        let mut entries = Vec::new();
        for found in fs::read_dir(&at).map_err(|error| failed(dir, &error))? {
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
        let ignore = self.ignore.as_ref();
        if ignore.zip(path).is_some_and(|(ignore, path)| ignore.hides_file(path)) {
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
        let oid = if metadata.len() > MAX_HASHED_BYTES {
            // Some id of its own: the file is over budget whatever it holds.
            Oid::hash_object(ObjectType::Blob, metadata.len().to_string().as_bytes())
        } else {
            Oid::hash_file(ObjectType::Blob, at)
        };
        let executable = metadata.mode() & 0o100 != 0;
        let kind = EntryKind::File { executable };
        Ok(Some((kind, object_id(oid.map_err(refused)?), metadata.len())))
    }

    fn look_at_folder(&self, at: &Path, path: Option<&str>) -> Result<Option<Look>, TreeError> {
        let nothing = ObjectId::from_bytes([0; 20]);
        let Some(path) = path else { return Ok(Some((EntryKind::Directory, nothing, 0))) };
        if self.ignore.as_ref().is_some_and(|ignore| ignore.hides_folder(path)) {
            return Ok(None);
        }
        if at.join(".git").symlink_metadata().is_ok() {
            return Ok(Some((EntryKind::Submodule, nothing, 0)));
        }
        let inside = self.folder(path)?;
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

impl Tree for WorkTree {
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        self.folder(dir)
    }

    fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, TreeError> {
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
        let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let file = fs::OpenOptions::new().read(true).custom_flags(no_follow).open(&at);
        let file = file.map_err(|error| failed(path, &error))?;
        // The file may have grown since: one byte more than allowed is enough to know.
        let mut bytes = Vec::new();
        let limit = limit_bytes.saturating_add(1);
        file.take(limit).read_to_end(&mut bytes).map_err(|error| failed(path, &error))?;
        match bytes.len() as u64 {
            size if size > limit_bytes => Err(too_large(size)),
            _ => Ok(bytes),
        }
    }
}

impl Ignore {
    fn discover(root: &Path) -> Option<Self> {
        let repository = Repository::discover(root).ok()?;
        let workdir = fs::canonicalize(repository.workdir()?).ok()?;
        let prefix = match root.strip_prefix(&workdir).ok()?.to_str()? {
            "" => String::new(),
            inside => format!("{inside}/"),
        };
        let index = repository.index().ok()?;
        let tracked =
            index.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect();
        Some(Self { repository, prefix, tracked })
    }

    fn hides_file(&self, path: &str) -> bool {
        let path = format!("{}{path}", self.prefix);
        self.repository.is_path_ignored(&path).unwrap_or(false) && !self.tracked.contains(&path)
    }

    fn hides_folder(&self, path: &str) -> bool {
        let path = format!("{}{path}/", self.prefix);
        let mut from_here = self.tracked.range(path.clone()..);
        self.repository.is_path_ignored(&path).unwrap_or(false)
            && !from_here.next().is_some_and(|next| next.starts_with(&path))
    }
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
