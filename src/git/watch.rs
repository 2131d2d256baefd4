//! Wakes up early when a remote on this machine gets a push.
//!
//! Only hints: the caller polls as well, so a lost event costs one interval. References are
//! watched, not the work tree: nothing happens before a commit.
//!
//! A watched folder that is removed and made again gives no more events, so every two seconds the
//! folders are compared with those that are watched, and watched anew when they differ.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::remote::Remote;

/// A push touches several files; they are one change.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How often the watched folders are compared with those on disk.
const RECHECK: Duration = Duration::from_secs(2);
/// Largest `.git` or `commondir` file that is read.
const MAX_POINTER_BYTES: u64 = 16 << 10;

/// Watches the references of one repository on this machine.
pub struct Watch {
    path: PathBuf,
    hints: Arc<Notify>,
    /// A hint that was taken and not yet told: dropping the future of `changed` must not lose it.
    is_pending: bool,
    armed: Option<Armed>,
}

/// A running watcher and the folders that it watches.
struct Armed {
    _watcher: RecommendedWatcher,
    folders: Vec<FolderId>,
}

/// A folder and what tells it from another one of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FolderId {
    path: PathBuf,
    device: u64,
    inode: u64,
    mode: Depth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Itself,
    Everything,
}

impl Watch {
    /// Starts to watch; `None` when the remote is not on this machine, or the system gives us no
    /// watcher. A repository that is not there yet is watched from when it is.
    pub fn start(remote: &Remote) -> Option<Self> {
        let path = remote.is_local()?.to_owned();
        let hints = Arc::new(Notify::new());
        let folders = folders(&path);
        let armed = match arm(&folders, &hints) {
            Ok(armed) => armed,
            Err(error) => {
                tracing::warn!(
                    path = %path.display(),
                    %error,
                    "cannot watch the repository, so pushes are only seen by polling"
                );
                return None;
            }
        };
        Some(Self { path, hints, is_pending: false, armed: Some(armed) })
    }

    /// Returns when something may have changed; many changes at once count as one. Cancel-safe.
    pub async fn changed(&mut self) {
        while !self.is_pending {
            tokio::select! {
                // Cancel-safe: a permit that was not taken stays.
                () = self.hints.notified() => self.is_pending = true,
                // Cancel-safe: a later check sees the same difference.
                () = tokio::time::sleep(RECHECK) => self.recheck(),
            }
        }
        tokio::time::sleep(DEBOUNCE).await;
        // What came during the pause belongs to this change.
        let _ = self.hints.notified().now_or_never();
        self.recheck();
        self.is_pending = false;
    }

    /// Watches anew when the folders on disk are not those that are watched.
    fn recheck(&mut self) {
        let now = folders(&self.path);
        if self.armed.as_ref().is_some_and(|armed| armed.folders == now) {
            return;
        }
        self.is_pending = true;
        match arm(&now, &self.hints) {
            Ok(armed) => self.armed = Some(armed),
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "cannot watch the repository yet");
                self.armed = None;
            }
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watch").field(&self.path).finish()
    }
}

fn arm(folders: &[FolderId], hints: &Arc<Notify>) -> notify::Result<Armed> {
    let hints = Arc::clone(hints);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error (an overflow) means that something was missed: look.
        if event.map_or(true, |event| is_telling(&event)) {
            hints.notify_one();
        }
    })?;
    let mut watched = Vec::new();
    for folder in folders {
        let mode = match folder.mode {
            Depth::Itself => RecursiveMode::NonRecursive,
            Depth::Everything => RecursiveMode::Recursive,
        };
        match watcher.watch(&folder.path, mode) {
            Ok(()) => watched.push(folder.clone()),
            // Gone again: the next check sees the difference.
            Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => (),
            Err(error) => return Err(error),
        }
    }
    Ok(Armed { _watcher: watcher, folders: watched })
}

/// Whether an event can mean a moved reference. Locks come and go around every one.
fn is_telling(event: &Event) -> bool {
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    event.paths.is_empty()
        || event.paths.iter().any(|path| {
            let in_refs = path.components().any(|part| part.as_os_str() == "refs");
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_lock = path.extension().is_some_and(|extension| extension == "lock");
            !is_lock && (in_refs || matches!(name, "HEAD" | "packed-refs" | "reftable"))
        })
}

/// The folders that hold the references of the repository at `path`, as far as they exist.
fn folders(path: &Path) -> Vec<FolderId> {
    let Some(git_dir) = git_dir(path) else { return Vec::new() };
    let common = common_dir(&git_dir);
    let mut folders = Vec::new();
    let mut add = |path: PathBuf, mode| {
        if let Ok(metadata) = fs::metadata(&path)
            && metadata.is_dir()
        {
            let (device, inode) = (metadata.dev(), metadata.ino());
            folders.push(FolderId { path, device, inode, mode });
        }
    };
    if git_dir != common {
        add(git_dir, Depth::Itself);
    }
    add(common.join("refs"), Depth::Everything);
    add(common, Depth::Itself);
    folders
}

/// The folder with `HEAD`: of a work tree, of a linked work tree, or of a bare repository.
fn git_dir(path: &Path) -> Option<PathBuf> {
    let inner = path.join(".git");
    let Ok(metadata) = fs::metadata(&inner) else {
        return path.join("HEAD").exists().then(|| path.to_owned());
    };
    if metadata.is_dir() {
        return Some(inner);
    }
    let text = read_pointer(&inner)?;
    let target = text.strip_prefix("gitdir:")?.trim();
    Some(path.join(target))
}

/// The folder with the shared references; a linked work tree names it.
fn common_dir(git_dir: &Path) -> PathBuf {
    match read_pointer(&git_dir.join("commondir")) {
        Some(text) => git_dir.join(text.trim()),
        None => git_dir.to_owned(),
    }
}

fn read_pointer(path: &Path) -> Option<String> {
    let is_small = fs::metadata(path).is_ok_and(|found| found.len() <= MAX_POINTER_BYTES);
    if is_small { fs::read_to_string(path).ok() } else { None }
}
