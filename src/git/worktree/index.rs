//! What git knows of a work tree: what it leaves out, and which files have not changed.
//!
//! Reading the index of a large repository costs more than looking at one folder, so it is read
//! when it is needed, or when somebody is about to look at everything.
//!
//! # Invariants
//! * A file counts as unchanged by git's own rule: size, times, inode and kind are those of the
//!   index, and it was not written in the moment the index was (then nobody can tell).
//! * What is hidden does not depend on whether the index was read ahead.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use git2::{IndexEntry, Oid, Repository};

/// The index of the repository around a folder.
pub(super) struct Index {
    repository: Repository,
    /// Where the folder is inside the repository, `""` or with a final `/`.
    prefix: String,
    known: OnceCell<Arc<Known>>,
}

/// What the index says.
struct Known {
    /// Tracked paths: they stay, even if a pattern matches them.
    tracked: BTreeMap<String, IndexEntry>,
    /// When the index was written, in seconds and nanoseconds.
    written: (i64, i64),
}

impl Index {
    /// The index around `root`; `None` outside of any repository.
    pub(super) fn discover(root: &Path) -> Option<Self> {
        let repository = Repository::discover(root).ok()?;
        let workdir = fs::canonicalize(repository.workdir()?).ok()?;
        let prefix = match root.strip_prefix(&workdir).ok()?.to_str()? {
            "" => String::new(),
            inside => format!("{inside}/"),
        };
        Some(Self { repository, prefix, known: OnceCell::new() })
    }

    /// The same for another thread.
    pub(super) fn share(&self) -> Result<Self, git2::Error> {
        Ok(Self {
            repository: Repository::open(self.repository.path())?,
            prefix: self.prefix.clone(),
            known: self.known.clone(),
        })
    }

    /// Reads the index now: from here on questions are answered from memory.
    pub(super) fn load(&self) {
        self.known();
    }

    fn known(&self) -> &Known {
        self.known.get_or_init(|| Arc::new(Known::read(&self.repository)))
    }

    /// Whether git leaves the file `path` out.
    pub(super) fn hides_file(&self, path: &str) -> bool {
        let path = format!("{}{path}", self.prefix);
        let is_tracked = |known: &Known| known.tracked.contains_key(&path);
        // Patterns are slow to ask: tracked files are never asked about.
        !self.known.get().is_some_and(|known| is_tracked(known))
            && self.is_ignored(&path)
            && !is_tracked(self.known())
    }

    /// Whether git leaves out everything below the folder `path`.
    pub(super) fn hides_folder(&self, path: &str) -> bool {
        let path = format!("{}{path}/", self.prefix);
        let has_tracked = |known: &Known| {
            let mut from_here = known.tracked.range(path.clone()..);
            from_here.next().is_some_and(|(next, _)| next.starts_with(&path))
        };
        !self.known.get().is_some_and(|known| has_tracked(known))
            && self.is_ignored(&path)
            && !has_tracked(self.known())
    }

    fn is_ignored(&self, path: &str) -> bool {
        self.repository.is_path_ignored(path).unwrap_or(false)
    }

    /// The id of the file `path`, if it is surely what git has stored and the index was read.
    pub(super) fn unchanged(&self, path: &str, metadata: &fs::Metadata) -> Option<Oid> {
        let known = self.known.get()?;
        let entry = known.tracked.get(&format!("{}{path}", self.prefix))?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let stored =
            |time: &git2::IndexTime| (i64::from(time.seconds()), i64::from(time.nanoseconds()));
        let is_executable = metadata.mode() & 0o100 != 0;
        let is_same = stored(&entry.mtime) == modified
            && stored(&entry.ctime) == changed
            && u64::from(entry.file_size) == metadata.len()
            // The index keeps the low half of inodes.
            && u64::from(entry.ino) == metadata.ino() & u64::from(u32::MAX)
            && entry.mode == if is_executable { 0o100_755 } else { 0o100_644 };
        (is_same && modified < known.written).then_some(entry.id)
    }
}

impl Known {
    /// Everything in the index; nothing when it cannot be read, as in a repository without one.
    fn read(repository: &Repository) -> Self {
        let Ok(index) = repository.index() else {
            return Self { tracked: BTreeMap::new(), written: (0, 0) };
        };
        let tracked = index
            .iter()
            .map(|entry| (String::from_utf8_lossy(&entry.path).into_owned(), entry))
            .collect();
        let written = index
            .path()
            .and_then(|path| fs::metadata(path).ok())
            .map_or((0, 0), |metadata| (metadata.mtime(), metadata.mtime_nsec()));
        Self { tracked, written }
    }
}
