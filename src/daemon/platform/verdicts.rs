//! The findings of any revision that the mirror holds, and the verdicts as they land.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::{Outcome, Platform, PlatformError};
use crate::catalog::{self, Catalog};
use crate::model::{Revision, TreeError};

pub use crate::daemon::verdicts::{Since, Verdict};

/// How long a caller waits for a revision that nobody has judged yet.
const PATIENCE: Duration = Duration::from_secs(30);

/// A revision and everything that was found in it.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The commit.
    pub revision: Revision,
    /// Its challenges and findings.
    pub catalog: Arc<Catalog>,
}

/// Verdicts: those that a listener missed, and those to come.
pub struct Listening {
    /// Remembered, oldest first.
    pub missed: Vec<Arc<Verdict>>,
    /// From now on. One that lags must start anew.
    pub live: broadcast::Receiver<Arc<Verdict>>,
}

impl Platform {
    /// The verdict on the commit `name`: 40 hex digits, or at least 7 that begin only one. The
    /// newest revision is in memory; another one is read from the mirror, one at a time.
    ///
    /// # Errors
    /// When there is no such commit, or it takes too long: then it goes on, and is there for who
    /// asks again.
    pub async fn judged(&self, name: &str) -> Outcome<Judged> {
        let revision = self.find_revision(name).await?;
        let head = self.shared.head.load();
        if head.revision == Some(revision) {
            return Ok(Judged { revision, catalog: Arc::clone(&head.catalog) });
        }
        if let Some(catalog) = self.shared.verdicts.recall(revision) {
            return Ok(Judged { revision, catalog });
        }
        let too_slow = |_| PlatformError::StillJudging { revision };
        let judging = self.judge(revision, Arc::clone(&head.catalog));
        let catalog = tokio::time::timeout(PATIENCE, judging).await.map_err(too_slow)??;
        Ok(Judged { revision, catalog })
    }

    /// The verdicts after `since`, of this daemon's life, and those to come.
    pub fn verdicts(&self, since: Since) -> Listening {
        let (missed, live) = self.shared.verdicts.listen(since);
        Listening { missed, live }
    }

    async fn find_revision(&self, name: &str) -> Outcome<Revision> {
        let wanted = name.to_ascii_lowercase();
        let mirror = Arc::clone(&self.shared.mirror);
        let find = move || mirror.find(&wanted);
        let unknown = || PlatformError::RevisionNotFound { name: name.chars().take(80).collect() };
        blocking(find).await?.ok_or_else(unknown)
    }

    async fn judge(&self, revision: Revision, previous: Arc<Catalog>) -> Outcome<Arc<Catalog>> {
        let closed = |error| PlatformError::Internal(Box::new(error));
        let turn = Arc::clone(&self.shared.verdicts.turn).acquire_owned().await.map_err(closed)?;
        if let Some(catalog) = self.shared.verdicts.recall(revision) {
            return Ok(catalog);
        }
        let shared = Arc::clone(&self.shared);
        let read = move || -> Result<Arc<Catalog>, TreeError> {
            let tree = shared.mirror.tree(revision)?;
            let catalog = Arc::new(catalog::load(&tree, Some(&previous), &shared.policy())?);
            // Here, since the caller may have given up.
            shared.verdicts.remember(revision, Arc::clone(&catalog));
            drop(turn);
            Ok(catalog)
        };
        blocking(read).await
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TreeError> + Send + 'static,
) -> Outcome<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(PlatformError::Internal(Box::new(error))),
        Err(error) => Err(PlatformError::Internal(Box::new(error))),
    }
}
