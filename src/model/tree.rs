//! A read-only folder tree: what git, a work tree on disk and a test all look like to `catalog`.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use super::ObjectId;

/// A read-only tree of files. Paths are relative, `/`-separated, without a leading `/`; the root
/// is `""`.
pub trait Tree: Send {
    /// The entries of folder `dir`, sorted by name. Sub-folders are not descended into.
    ///
    /// # Errors
    /// [`TreeError::NotFound`] when `dir` is not a folder, [`TreeError::Unreadable`] when the
    /// store cannot answer; the latter says nothing about what exists.
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError>;

    /// The git tree of folder `dir`, which is not the root: equal for equal content.
    ///
    /// # Errors
    /// As [`Tree::entries`].
    fn id(&self, dir: &str) -> Result<ObjectId, TreeError> {
        let (parent, name) = dir.rsplit_once('/').unwrap_or(("", dir));
        let found = self.entries(parent)?.into_iter().find(|entry| entry.name == name);
        found
            .filter(|entry| entry.kind == EntryKind::Directory)
            .map(|entry| entry.oid)
            .ok_or_else(|| TreeError::NotFound { path: dir.to_owned() })
    }

    /// The bytes of the regular file at `path`, never following a link.
    ///
    /// # Errors
    /// [`TreeError::TooLarge`] before reading when the file has more than `limit_bytes`.
    fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, TreeError>;
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name; bytes that are not UTF-8 are replaced, and then `is_utf8` is false.
    pub name: String,
    /// Whether `name` is exactly what is stored.
    pub is_utf8: bool,
    /// What it is.
    pub kind: EntryKind,
    /// The git object: blob, tree or, for a submodule, commit.
    pub oid: ObjectId,
    /// Size in bytes; 0 for what is not a file.
    pub size_bytes: u64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Whether the executable bit is set.
        executable: bool,
    },
    /// A folder.
    Directory,
    /// A symbolic link. Never followed.
    Symlink,
    /// A submodule (a commit of another repository). Never fetched.
    Submodule,
}

/// Why a tree did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TreeError {
    /// There is no such file or folder.
    #[error("`{path}` does not exist")]
    NotFound {
        /// The path asked for.
        path: String,
    },
    /// There is something, but not a regular file.
    #[error("`{path}` is not a regular file")]
    NotAFile {
        /// The path asked for.
        path: String,
    },
    /// The file is larger than the caller wants to read.
    #[error("`{path}` has {size_bytes} bytes, more than the limit of {limit_bytes}")]
    TooLarge {
        /// The path asked for.
        path: String,
        /// Its size.
        size_bytes: u64,
        /// The caller's limit.
        limit_bytes: u64,
    },
    /// The store behind the tree failed: corrupt, gone, no permission.
    #[error("could not read `{path}`: {reason}")]
    Unreadable {
        /// The path asked for.
        path: String,
        /// The store's words.
        reason: String,
    },
}

/// The part of a tree below one folder, as a tree of its own.
#[derive(Debug, Clone)]
pub struct Below<T> {
    /// The whole.
    pub tree: T,
    /// The folder; empty for all of it.
    pub folder: String,
}

impl<T> Below<T> {
    fn whole(&self, path: &str) -> String {
        match (self.folder.is_empty(), path.is_empty()) {
            (true, _) => path.to_owned(),
            (false, true) => self.folder.clone(),
            (false, false) => format!("{}/{path}", self.folder),
        }
    }
}

impl<T: Tree> Tree for Below<T> {
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        self.tree.entries(&self.whole(dir))
    }

    fn id(&self, dir: &str) -> Result<ObjectId, TreeError> {
        self.tree.id(&self.whole(dir))
    }

    fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, TreeError> {
        self.tree.read(&self.whole(path), limit_bytes)
    }
}

/// A tree in memory, for tests and for trees that were computed.
#[derive(Clone, Default)]
pub struct MemoryTree {
    files: BTreeMap<String, (EntryKind, Vec<u8>)>,
}

impl MemoryTree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// This tree with a regular file at `path`.
    #[must_use]
    pub fn with(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), (EntryKind::File { executable: false }, content.into()));
        self
    }

    /// This tree with an entry of any kind at `path`; `content` is a link's target.
    #[must_use]
    pub fn with_kind(mut self, path: &str, kind: EntryKind, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), (kind, content.into()));
        self
    }

    /// A stand-in for git's object id of a file or folder: equal content gives an equal id.
    fn oid(&self, path: &str) -> ObjectId {
        let prefix = format!("{path}/");
        let below = |name: &&String| name.as_str() == path || name.starts_with(&prefix);
        // Eight bytes a step: fuzzing reads a great many large files. Two lanes of 64 bits.
        let mut lanes = [0xcbf2_9ce4_8422_2325_u64, 0x9e37_79b9_7f4a_7c15];
        let mut mix = |text: &[u8]| {
            for chunk in text.chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                let word = u64::from_le_bytes(word);
                for lane in &mut lanes {
                    *lane = (lane.rotate_left(23) ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25);
                }
            }
        };
        for name in self.files.keys().filter(below) {
            let (kind, content) = &self.files[name];
            mix(format!("{}{kind:?}{}", &name[path.len()..], content.len()).as_bytes());
            mix(content);
        }
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&lanes[0].to_be_bytes());
        bytes[8..16].copy_from_slice(&lanes[1].to_be_bytes());
        ObjectId::from_bytes(bytes)
    }
}

impl fmt::Debug for MemoryTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

impl Tree for MemoryTree {
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let mut entries = BTreeMap::new();
        for (path, (kind, content)) in &self.files {
            let Some(rest) = path.strip_prefix(&prefix) else { continue };
            let (name, kind, size) = match rest.split_once('/') {
                Some((name, _)) => (name, EntryKind::Directory, 0),
                None => (rest, *kind, content.len() as u64),
            };
            // Folders come once for each file below them.
            if entries.contains_key(name) {
                continue;
            }
            let oid = self.oid(&format!("{prefix}{name}"));
            entries.insert(
                name.to_owned(),
                Entry { name: name.to_owned(), is_utf8: true, kind, oid, size_bytes: size },
            );
        }
        if entries.is_empty() && !dir.is_empty() {
            return Err(TreeError::NotFound { path: dir.to_owned() });
        }
        Ok(entries.into_values().collect())
    }

    fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, TreeError> {
        match self.files.get(path) {
            None => Err(TreeError::NotFound { path: path.to_owned() }),
            Some((EntryKind::File { .. }, content)) if content.len() as u64 > limit_bytes => {
                Err(TreeError::TooLarge {
                    path: path.to_owned(),
                    size_bytes: content.len() as u64,
                    limit_bytes,
                })
            }
            Some((EntryKind::File { .. }, content)) => Ok(content.clone()),
            Some(_) => Err(TreeError::NotAFile { path: path.to_owned() }),
        }
    }
}
