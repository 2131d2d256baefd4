//! Wakes up when something changes below a folder on disk.
//!
//! Only hints: the caller reads the folder and compares. A watched folder that is removed and made
//! again gives no more events, so every second it is compared with the one that is watched.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::super::failure::Failure;

/// Saving touches several files; a change is over when it was quiet for this long.
const QUIET: Duration = Duration::from_millis(150);
/// Somebody who never stops writing is read all the same.
const MAX_NOISE: Duration = Duration::from_secs(2);
/// How often the watched folder is compared with the one on disk.
const RECHECK: Duration = Duration::from_secs(1);

/// Watches one folder and everything below it.
pub(super) struct Watch {
    folder: PathBuf,
    hints: Arc<Notify>,
    armed: Option<(RecommendedWatcher, Identity)>,
    /// A hint that was taken and not yet told: dropping the future of `changed` must not lose it.
    is_pending: bool,
}

/// What tells a folder from another one of the same name.
type Identity = (u64, u64);

impl Watch {
    /// Watches from now on.
    pub(super) fn start(folder: &Path) -> Result<Self, Failure> {
        let mut watch = Self {
            folder: folder.to_owned(),
            hints: Arc::new(Notify::new()),
            armed: None,
            is_pending: false,
        };
        watch.arm().map_err(|error| {
            Failure::failed(
                format!("could not watch `{}` ({error})", folder.display()),
                "raise fs.inotify.max_user_watches, or leave `--watch` out",
            )
        })?;
        Ok(watch)
    }

    fn arm(&mut self) -> notify::Result<()> {
        let hints = Arc::clone(&self.hints);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error (an overflow) means that something was missed: look.
            if event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_))) {
                hints.notify_one();
            }
        })?;
        watcher.watch(&self.folder, RecursiveMode::Recursive)?;
        self.armed = identity(&self.folder).map(|identity| (watcher, identity));
        Ok(())
    }

    /// Returns when something may have changed and it is quiet again. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        while !self.is_pending {
            if timeout(RECHECK, self.hints.notified()).await.is_ok() {
                self.is_pending = true;
                break;
            }
            let now = identity(&self.folder);
            let is_same = self.armed.as_ref().map(|(_, armed)| *armed) == now;
            // A folder that is away for a moment comes back: it is watched again then.
            self.is_pending = !is_same && now.is_some() && self.arm().is_ok();
        }
        let begin = Instant::now();
        while begin.elapsed() < MAX_NOISE && timeout(QUIET, self.hints.notified()).await.is_ok() {}
        self.is_pending = false;
    }
}

fn identity(folder: &Path) -> Option<Identity> {
    fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(watch: &mut Watch) {
        timeout(Duration::from_secs(20), watch.changed()).await.expect("the change is seen");
    }

    #[tokio::test]
    async fn a_change_anywhere_below_is_seen_also_in_a_folder_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("WEB-001");
        fs::create_dir_all(folder.join("services/web")).unwrap();
        let mut watch = Watch::start(&folder).unwrap();
        fs::write(folder.join("services/web/app.py"), "1").unwrap();
        told(&mut watch).await;
        fs::rename(&folder, dir.path().join("away")).unwrap();
        fs::create_dir_all(folder.join("services")).unwrap();
        told(&mut watch).await;
        // Whatever is left of the move is taken in before the next change.
        while timeout(Duration::from_secs(2), watch.changed()).await.is_ok() {}
        fs::write(folder.join("services/new"), "2").unwrap();
        told(&mut watch).await;
    }

    #[tokio::test]
    async fn reading_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1").unwrap();
        let mut watch = Watch::start(dir.path()).unwrap();
        fs::read(dir.path().join("a")).unwrap();
        assert!(timeout(Duration::from_millis(500), watch.changed()).await.is_err());
    }
}
