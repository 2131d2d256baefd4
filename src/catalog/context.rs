//! Which files of a folder make up a build context, after `.dockerignore`, and their digest.
//!
//! In:  a [`Tree`], the context's folder and its Dockerfile.
//! Out: the files that are sent, sorted by path; or the one reason why they cannot be.
//!
//! # Invariants
//! * Only regular files with sane names are sent: no link, nothing from another repository.
//! * The Dockerfile and the ignore file in force are sent whatever the patterns say.
//! * The walk ends at the budget, and enters no ignored folder without need.
//! * Equal paths, modes and contents have an equal digest, on every machine.
//! * An encrypted file is there under its plain name only, and no other file has that name. The
//!   digest is of its encrypted bytes.
//!
//! # Not here
//! What a pattern matches (`dockerignore`), the archive and decrypting (`builder::context`).

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::dockerignore::{Ignore, IgnoreError, Verdict};
use super::files::shown_path;
use super::folder::join;
use super::names;
use crate::model::{
    ContextId, Disposition, Entry, EntryKind, ObjectId, RetryClass, Tree, TreeError, plain_name,
};
use crate::secrets::DecryptError;

/// Most files of a context.
const MAX_FILES: usize = 20_000;
/// Most entries that are looked at, ignored ones included.
const MAX_SEEN: usize = 100_000;
/// Most bytes of a context.
const MAX_TOTAL_BYTES: u64 = 512 << 20;
/// Most folders inside one another.
const MAX_DEPTH: usize = 64;
/// Largest Dockerfile.
const MAX_DOCKERFILE_BYTES: u64 = 1 << 20;
/// Largest `.dockerignore`.
const MAX_IGNORE_BYTES: u64 = 64 << 10;
/// The first word of every digest; changes with the meaning of what follows it.
const DIGEST_VERSION: &[u8] = b"flagops-context-v1";

/// One regular file of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextFile {
    /// Path inside the context, as the Dockerfile sees it: without `.age`.
    pub path: String,
    /// Whether the executable bit is set.
    pub is_executable: bool,
    /// Whether it is stored encrypted, as `path` with `.age`.
    pub is_encrypted: bool,
    /// The blob, as stored.
    pub oid: ObjectId,
    /// Size in bytes, as stored.
    pub size_bytes: u64,
}

impl ContextFile {
    /// Path inside the context, as stored.
    pub fn stored_path(&self) -> Cow<'_, str> {
        match self.is_encrypted {
            true => Cow::Owned(format!("{}.age", self.path)),
            false => Cow::Borrowed(&self.path),
        }
    }
}

/// Why a folder is no usable context. Paths are those inside the context, safe to print.
#[derive(Debug, Error)]
pub enum ContextError {
    /// The folder is not there, or is something else.
    #[error("`{root}` is no folder; create it, or mend `context`")]
    NoFolder {
        /// Path from the repository's root.
        root: String,
    },
    /// The Dockerfile is not there.
    #[error("`{path}` is missing; write it, or mend `dockerfile`")]
    NoDockerfile {
        /// The Dockerfile.
        path: String,
    },
    /// The Dockerfile or the ignore file is a link, a folder or a submodule.
    #[error("`{path}` is no regular file; put the file itself there")]
    NotRegular {
        /// The file.
        path: String,
    },
    /// The Dockerfile or the ignore file is too large.
    #[error(
        "`{path}` has {size_bytes} bytes, more than {limit_bytes}; move data into files of its own"
    )]
    FileTooLarge {
        /// The file.
        path: String,
        /// Its size.
        size_bytes: u64,
        /// The most it may have.
        limit_bytes: u64,
    },
    /// A line of the ignore file is no pattern.
    #[error("`{path}:{line}`: {reason}")]
    Pattern {
        /// The ignore file.
        path: String,
        /// Counted from 1.
        line: u32,
        /// What is wrong with the line.
        reason: &'static str,
    },
    /// The ignore file has more patterns than can be matched in sane time.
    #[error("the patterns of `{path}` are too many or too long; ignore whole folders instead")]
    TooManyPatterns {
        /// The ignore file.
        path: String,
    },
    /// A symbolic link would be sent.
    #[error(
        "`{path}` is a symbolic link, which is never followed; put the file itself there, or \
         name the link in `.dockerignore`"
    )]
    Symlink {
        /// The link.
        path: String,
    },
    /// A submodule would be sent.
    #[error(
        "`{path}` is a submodule, which is never fetched; copy its files into the repository, or \
         name it in `.dockerignore`"
    )]
    Submodule {
        /// The submodule.
        path: String,
    },
    /// A name that is not the same everywhere.
    #[error("the name of `{path}` {fault}; rename it, or name it in `.dockerignore`")]
    Name {
        /// The file or folder.
        path: String,
        /// What is wrong with the name.
        fault: &'static str,
    },
    /// An encrypted file would take the name of something else.
    #[error("`{path}.age` is decrypted to `{path}`, which is there already; remove one of the two")]
    Twin {
        /// The name without `.age`.
        path: String,
    },
    /// A file that decides what is sent is encrypted.
    #[error("`{path}.age` is never decrypted, because checks have to read it; commit it as it is")]
    NeverEncrypted {
        /// The name without `.age`.
        path: String,
    },
    /// An encrypted file was not opened.
    #[error("`{path}` cannot be decrypted")]
    Decrypt {
        /// The file as stored.
        path: String,
        /// Why, and what to do.
        source: DecryptError,
    },
    /// Folders are nested too deep.
    #[error("`{path}` is nested deeper than {MAX_DEPTH} folders; flatten the context")]
    TooDeep {
        /// The folder.
        path: String,
    },
    /// There are too many files.
    #[error(
        "the context has more than {MAX_FILES} files to send, or {MAX_SEEN} to look at; name \
         folders that the build does not need in `.dockerignore`, or remove them"
    )]
    TooManyFiles,
    /// The files are too large together.
    #[error(
        "the context has more than {} MiB; name what the build does not need in `.dockerignore`, \
         or fetch it in the Dockerfile",
        MAX_TOTAL_BYTES >> 20
    )]
    TooManyBytes,
    /// The store failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl ContextError {
    /// Whether reading it again can help: only when the store behind the tree failed.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Tree(TreeError::Unreadable { .. }) => Disposition::Retry(RetryClass::Build),
            Self::Tree(
                TreeError::NotFound { .. }
                | TreeError::NotAFile { .. }
                | TreeError::TooLarge { .. },
            )
            | Self::NoFolder { .. }
            | Self::NoDockerfile { .. }
            | Self::NotRegular { .. }
            | Self::FileTooLarge { .. }
            | Self::Pattern { .. }
            | Self::TooManyPatterns { .. }
            | Self::Symlink { .. }
            | Self::Submodule { .. }
            | Self::Name { .. }
            | Self::Twin { .. }
            | Self::NeverEncrypted { .. }
            | Self::Decrypt { .. }
            | Self::TooDeep { .. }
            | Self::TooManyFiles { .. }
            | Self::TooManyBytes { .. } => Disposition::Terminal,
        }
    }
}

/// The files of the context folder `root` (path from the repository's root, `""` is the root
/// itself), sorted by path. `dockerfile` is a path inside the context.
///
/// # Errors
/// When the folder does not exist or is over budget, when the Dockerfile or the ignore file is
/// unusable, and when something would be sent that is no regular file.
pub fn files(
    tree: &dyn Tree,
    root: &str,
    dockerfile: &str,
) -> Result<Vec<ContextFile>, ContextError> {
    let contents = contents(tree, root, dockerfile)?;
    match contents.links.first() {
        Some(path) => Err(ContextError::Symlink { path: shown_path(path) }),
        None => Ok(contents.files),
    }
}

/// What a context holds: [`files`], and the links for which it could not be sent.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Sorted by path.
    pub files: Vec<ContextFile>,
    /// Paths of the links that would be sent, sorted.
    pub links: Vec<String>,
}

/// As [`files`], but names every link instead of the first.
pub(super) fn contents(
    tree: &dyn Tree,
    root: &str,
    dockerfile: &str,
) -> Result<Contents, ContextError> {
    let root = root.trim_end_matches('/');
    if let Err(TreeError::NotFound { .. }) = tree.entries(root) {
        return Err(ContextError::NoFolder { root: shown_path(root) });
    }
    let dockerfile = dockerfile.strip_prefix("./").unwrap_or(dockerfile);
    check_dockerfile(tree, root, dockerfile)?;
    let (ignore, ignore_path) = ignore(tree, root, dockerfile)?;
    let always = [dockerfile, IGNORE, ignore_path.as_str()];
    let mut walk =
        Walk { ignore, always, contents: Contents::default(), n_seen: 0, total_bytes: 0 };
    let mut open = vec![Folder { path: String::new(), verdict: Verdict::default(), depth: 0 }];
    while let Some(folder) = open.pop() {
        for entry in tree.entries(&join(root, &folder.path))? {
            open.extend(walk.visit(&folder, entry)?);
        }
    }
    let mut contents = walk.contents;
    contents.files.sort_unstable_by(|left, right| left.path.cmp(&right.path));
    contents.links.sort_unstable();
    match twin(&contents) {
        Some(path) => Err(ContextError::Twin { path: shown_path(path) }),
        None => Ok(contents),
    }
}

/// The plain name of an encrypted file that another file, a link or a folder has too.
fn twin(contents: &Contents) -> Option<&str> {
    let files = &contents.files;
    let mut encrypted = (0..files.len()).filter(|at| files[*at].is_encrypted);
    let is_taken = |at: &usize| {
        let path = &files[*at].path;
        let is_same = |other: Option<&ContextFile>| other.is_some_and(|it| it.path == *path);
        let below = format!("{path}/");
        let next = files.partition_point(|file| file.path < below);
        is_same(at.checked_sub(1).and_then(|before| files.get(before)))
            || is_same(files.get(at + 1))
            || files.get(next).is_some_and(|file| file.path.starts_with(&below))
            || contents.links.binary_search(path).is_ok()
    };
    encrypted.find(is_taken).map(|at| files[at].path.as_str())
}

/// The digest of a context: equal for equal paths, modes and contents, in whatever order.
pub fn digest(files: &[ContextFile]) -> ContextId {
    let mut sorted: Vec<&ContextFile> = files.iter().collect();
    sorted
        .sort_unstable_by_key(|file| (&file.path, file.is_executable, file.is_encrypted, file.oid));
    let mut hash = Sha256::new();
    let mut update = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    update(DIGEST_VERSION);
    for file in sorted {
        update(file.path.as_bytes());
        update(&[u8::from(file.is_executable) | (u8::from(file.is_encrypted) << 1)]);
        update(file.oid.as_bytes());
    }
    ContextId::from_digest(hash.finalize().into())
}

const IGNORE: &str = ".dockerignore";

/// A folder that is still to be looked into.
struct Folder {
    path: String,
    verdict: Verdict,
    depth: usize,
}

/// What a walk has seen so far.
struct Walk<'a> {
    ignore: Ignore,
    /// The files that no pattern leaves out.
    always: [&'a str; 3],
    contents: Contents,
    n_seen: usize,
    total_bytes: u64,
}

impl Walk<'_> {
    /// Takes a file, or gives back the folder to open.
    fn visit(&mut self, folder: &Folder, entry: Entry) -> Result<Option<Folder>, ContextError> {
        self.n_seen += 1;
        if self.n_seen > MAX_SEEN {
            return Err(ContextError::TooManyFiles);
        }
        let path = join(&folder.path, &entry.name);
        let plain = self.plain_path(&path, entry.kind);
        let mut verdict = self.ignore.verdict(folder.verdict, &path);
        if let Some(plain) = plain {
            // The author may mean the file by either name.
            verdict = self.ignore.verdict(verdict, plain);
        }
        if !self.is_wanted(&path, entry.kind, verdict) {
            return Ok(None);
        }
        let fault = if entry.is_utf8 { names::fault(&entry.name) } else { Some("is not UTF-8") };
        if let Some(fault) = fault {
            return Err(ContextError::Name { path: shown_path(&path), fault });
        }
        match entry.kind {
            EntryKind::Symlink => {
                self.contents.links.push(path);
                Ok(None)
            }
            EntryKind::Submodule => Err(ContextError::Submodule { path: shown_path(&path) }),
            EntryKind::Directory if folder.depth + 1 > MAX_DEPTH => {
                Err(ContextError::TooDeep { path: shown_path(&path) })
            }
            EntryKind::Directory => Ok(Some(Folder { path, verdict, depth: folder.depth + 1 })),
            EntryKind::File { executable } => {
                let is_encrypted = plain.is_some();
                let path = match plain {
                    Some(plain) => self.checked_plain(plain)?,
                    None => path,
                };
                self.take(ContextFile {
                    path,
                    is_executable: executable,
                    is_encrypted,
                    oid: entry.oid,
                    size_bytes: entry.size_bytes,
                })?;
                Ok(None)
            }
        }
    }

    /// What the file at `path` is called in the context, when it is an encrypted one.
    fn plain_path<'p>(&self, path: &'p str, kind: EntryKind) -> Option<&'p str> {
        let is_file = matches!(kind, EntryKind::File { .. });
        plain_name(path).filter(|_| is_file && !self.always.contains(&path))
    }

    /// `plain`, when a file may be decrypted to this path.
    fn checked_plain(&self, plain: &str) -> Result<String, ContextError> {
        let name = plain.rsplit('/').next().unwrap_or(plain);
        if let Some(fault) = names::fault(name) {
            return Err(ContextError::Name { path: shown_path(plain), fault });
        }
        let decides = |it: &str| plain == it || plain.strip_suffix(IGNORE) == Some(it);
        if plain == IGNORE || self.always.iter().any(|it| decides(it)) {
            return Err(ContextError::NeverEncrypted { path: shown_path(plain) });
        }
        Ok(plain.to_owned())
    }

    /// Whether an entry is sent or, for a folder, whether something below it may be.
    fn is_wanted(&self, path: &str, kind: EntryKind, verdict: Verdict) -> bool {
        match kind {
            EntryKind::File { .. } => {
                !self.ignore.is_left_out(verdict) || self.always.contains(&path)
            }
            EntryKind::Directory => {
                let is_above =
                    |file: &&str| file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
                self.ignore.may_hold_files(verdict) || self.always.iter().any(is_above)
            }
            EntryKind::Symlink | EntryKind::Submodule => !self.ignore.is_left_out(verdict),
        }
    }

    fn take(&mut self, file: ContextFile) -> Result<(), ContextError> {
        self.total_bytes = self.total_bytes.saturating_add(file.size_bytes);
        if self.total_bytes > MAX_TOTAL_BYTES {
            return Err(ContextError::TooManyBytes);
        }
        if self.contents.files.len() == MAX_FILES {
            return Err(ContextError::TooManyFiles);
        }
        self.contents.files.push(file);
        Ok(())
    }
}

fn check_dockerfile(tree: &dyn Tree, root: &str, path: &str) -> Result<(), ContextError> {
    let missing = || ContextError::NoDockerfile { path: shown_path(path) };
    // A work tree on disk would go up.
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(missing());
    }
    let entry = find(tree, root, path)?.ok_or_else(missing)?;
    check_file(&entry, path, MAX_DOCKERFILE_BYTES)
}

/// The patterns in force and the file they are from: that of the Dockerfile before the general one.
fn ignore(tree: &dyn Tree, root: &str, dockerfile: &str) -> Result<(Ignore, String), ContextError> {
    for path in [format!("{dockerfile}{IGNORE}"), IGNORE.to_owned()] {
        let Some(entry) = find(tree, root, &path)? else { continue };
        check_file(&entry, &path, MAX_IGNORE_BYTES)?;
        let bytes = tree.read(&join(root, &path), MAX_IGNORE_BYTES)?;
        let shown = shown_path(&path);
        let ignore = Ignore::parse(&bytes).map_err(|error| match error {
            IgnoreError::Line { line, reason } => {
                ContextError::Pattern { path: shown, line, reason }
            }
            IgnoreError::TooMuch => ContextError::TooManyPatterns { path: shown },
        })?;
        return Ok((ignore, path));
    }
    Ok((Ignore::none(), IGNORE.to_owned()))
}

/// What is at `path` inside of the context; a missing folder on the way is an absence.
fn find(tree: &dyn Tree, root: &str, path: &str) -> Result<Option<Entry>, TreeError> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    match tree.entries(&join(root, dir)) {
        Ok(entries) => Ok(entries.into_iter().find(|it| it.is_utf8 && it.name == name)),
        Err(TreeError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn check_file(entry: &Entry, path: &str, limit_bytes: u64) -> Result<(), ContextError> {
    let path = shown_path(path);
    match entry.kind {
        EntryKind::File { .. } if entry.size_bytes > limit_bytes => {
            Err(ContextError::FileTooLarge { path, size_bytes: entry.size_bytes, limit_bytes })
        }
        EntryKind::File { .. } => Ok(()),
        EntryKind::Directory | EntryKind::Symlink | EntryKind::Submodule => {
            Err(ContextError::NotRegular { path })
        }
    }
}

#[cfg(test)]
mod tests;
