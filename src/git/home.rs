//! The folder of the mirror: made, checked, set aside and swapped, never deleted while it may be
//! the only copy.
//!
//! Beside `mirror` stand `mirror.new-…` (a clone that is not finished; swept at the next start) and
//! `mirror.corrupt-<n>` (what was set aside; the newest three are kept).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::{Config, Repository, RepositoryInitOptions};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::error::MirrorError;
use super::remote::Remote;

/// Marks a repository as a mirror of ours, and says of what.
const MARKER: &str = "flagops.remote";
/// The branch that was observed last, as a symbolic reference.
pub(super) const HEAD: &str = "refs/flagops/observed/HEAD";
/// Observed branches.
pub(super) const HEADS: &str = "refs/flagops/observed/heads/";
/// Pins.
pub(super) const PINS: &str = "refs/flagops/pins/";

const N_KEPT: usize = 3;
/// Nobody holds a lock this long: it was left behind by a crash.
const STALE_LOCK: Duration = Duration::from_secs(10);
const STALE_PACK: Duration = Duration::from_secs(3600);

/// Opens the repository at `dir` with its own configuration only: no `insteadOf`, no proxy, no
/// TLS setting of the machine or the user has a say.
pub(super) fn open(dir: &Path) -> Result<Repository, git2::Error> {
    let repository = Repository::open_bare(dir)?;
    repository.set_config(&Config::open(&dir.join("config"))?)?;
    Ok(repository)
}

/// Makes a new bare repository at `dir`, which must not exist.
pub(super) fn create(dir: &Path, remote: &Remote) -> Result<(), MirrorError> {
    let io = |source| MirrorError::Io { dir: dir.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    let git = |source| MirrorError::Git { dir: dir.to_owned(), source };
    let mut options = RepositoryInitOptions::new();
    options.bare(true).no_reinit(true).external_template(false);
    Repository::init_opts(dir, &options).map_err(git)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(io)?;
    let mut config = Config::open(&dir.join("config")).map_err(git)?;
    // Objects and references survive a power cut before anybody is told of them.
    config.set_bool("core.fsyncObjectFiles", true).map_err(git)?;
    config.set_str(MARKER, &remote.masked()).map_err(git)
}

/// Whether the repository at `dir` is a mirror of ours of `remote`; when it mirrored another
/// remote, forgets what was observed there and keeps objects and pins.
///
/// The error is the reason why it is unusable.
pub(super) fn adopt(dir: &Path, remote: &Remote) -> Result<(), String> {
    let words = |error: git2::Error| super::one_line(error.message(), 200);
    let repository = open(dir).map_err(words)?;
    let mut config = repository.config().map_err(words)?;
    let marker = config.get_string(MARKER).map_err(|_| "it is not a mirror of ours".to_owned())?;
    if marker != remote.masked() {
        forget(&repository, HEAD).map_err(words)?;
        forget(&repository, &format!("{HEADS}*")).map_err(words)?;
        config.set_str(MARKER, &remote.masked()).map_err(words)?;
    }
    check(&repository).map_err(words)
}

/// Deletes the references that match `glob`.
pub(super) fn forget(repository: &Repository, glob: &str) -> Result<(), git2::Error> {
    for reference in repository.references_glob(glob)? {
        reference?.delete()?;
    }
    Ok(())
}

/// Reads every commit that we promised to keep, and its root tree.
fn check(repository: &Repository) -> Result<(), git2::Error> {
    for reference in repository.references_glob("refs/flagops/*")? {
        reference?.peel_to_commit()?.tree()?;
    }
    Ok(())
}

/// Refuses a folder of another user: we could neither trust nor move it.
pub(super) fn check_owner(dir: &Path) -> Result<(), MirrorError> {
    let Ok(metadata) = fs::symlink_metadata(dir) else { return Ok(()) };
    let ours = rustix::process::geteuid().as_raw();
    if metadata.uid() == ours {
        return Ok(());
    }
    Err(MirrorError::NotOwned { dir: dir.to_owned(), owner: metadata.uid(), ours })
}

/// A name beside `dir` for a clone that is not finished.
pub(super) fn unfinished(dir: &Path) -> PathBuf {
    beside(dir, &format!("new-{}", std::process::id()))
}

fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    dir.with_file_name(name)
}

/// Puts `new` in the place of `dir` and what was there aside; says where, if there was anything.
pub(super) fn swap(new: &Path, dir: &Path) -> io::Result<Option<PathBuf>> {
    let aside = match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::rename(new, dir)?;
            None
        }
        Err(error) => return Err(error),
        Ok(_) => {
            let aside = free_aside(dir);
            match renameat_with(CWD, new, CWD, dir, RenameFlags::EXCHANGE) {
                // One step: no crash can leave the place empty.
                Ok(()) => fs::rename(new, &aside)?,
                // A file system without exchange: the next start makes a new one if we die between.
                Err(_) => {
                    fs::rename(dir, &aside)?;
                    fs::rename(new, dir)?;
                }
            }
            Some(aside)
        }
    };
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::File::open(parent)?.sync_all()?;
    }
    prune_asides(dir);
    Ok(aside)
}

/// The folders set aside so far with their number, oldest first.
fn asides(dir: &Path) -> Vec<(u64, PathBuf)> {
    let prefix = format!("{}.corrupt-", dir.file_name().unwrap_or_default().to_string_lossy());
    let mut asides: Vec<_> = siblings(dir)
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            let number = name.strip_prefix(&prefix)?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    asides.sort();
    asides
}

fn siblings(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn free_aside(dir: &Path) -> PathBuf {
    let next = asides(dir).last().map_or(1, |(number, _)| number + 1);
    beside(dir, &format!("corrupt-{next}"))
}

fn prune_asides(dir: &Path) {
    let asides = asides(dir);
    for (_, path) in asides.iter().take(asides.len().saturating_sub(N_KEPT)) {
        remove(path);
    }
}

/// Removes what a crash left behind: unfinished clones of processes that are gone, locks nobody
/// holds, packs nobody finishes. Failing to is harmless; the next sweep tries again.
pub(super) fn sweep(dir: &Path) {
    let prefix = format!("{}.new-", dir.file_name().unwrap_or_default().to_string_lossy());
    for path in siblings(dir) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&prefix) && is_older(&path, STALE_PACK) {
            remove(&path);
        }
    }
    for lock in ["HEAD.lock", "packed-refs.lock", "config.lock"] {
        sweep_lock(&dir.join(lock));
    }
    sweep_locks(&dir.join("refs"), 0);
    let packs = fs::read_dir(dir.join("objects/pack")).into_iter().flatten().flatten();
    for entry in packs {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_temporary = name.starts_with("tmp_") || name.starts_with("pack_git2_");
        if is_temporary && is_older(&entry.path(), STALE_PACK) {
            remove(&entry.path());
        }
    }
}

fn sweep_locks(dir: &Path, depth: usize) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < 32 => sweep_locks(&entry.path(), depth + 1),
            Ok(kind) if kind.is_file() => sweep_lock(&entry.path()),
            _ => (),
        }
    }
}

fn sweep_lock(path: &Path) {
    if path.extension().is_some_and(|extension| extension == "lock") && is_older(path, STALE_LOCK) {
        remove(path);
    }
}

/// By the file system's own clock: it is the one that wrote the time we compare with.
fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| elapsed > age))
}

fn remove(path: &Path) {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    if let Err(error) = result {
        tracing::debug!(path = %path.display(), %error, "left a stale file of the mirror behind");
    }
}

/// Removes an unfinished clone.
pub(super) fn discard(path: &Path) {
    remove(path);
}
