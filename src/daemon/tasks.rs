//! Spawns, names and joins every task of the daemon.
//!
//! Nothing is detached: at the stop each task is told once and waited for.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// A pause of `bound_millis` at most, drawn from its upper half, so that what failed together does
/// not come back together.
pub(crate) fn jittered(bound_millis: u64) -> Duration {
    let mut byte = [0_u8; 1];
    // Without randomness the pauses are only less spread.
    let _ = getrandom::fill(&mut byte);
    Duration::from_millis(bound_millis / 2 + bound_millis * u64::from(byte[0]) / 510)
}

/// The tasks of one daemon. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` under `name`. Long-running futures watch [`Tasks::stopping`].
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let span = tracing::debug_span!("task", task.name = name);
        self.tracker.spawn(future.instrument(span));
    }

    /// Runs `future` under `name` for somebody who waits for what it gives. It goes on also while
    /// they do something else, or nothing.
    pub fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let span = tracing::debug_span!("task", task.name = name);
        self.tracker.spawn(future.instrument(span))
    }

    /// Cancelled when the daemon stops.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Sleeps for `pause`; false when the daemon stops meanwhile.
    pub async fn sleep(&self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Tells every task to stop and waits for them, at most `patience`.
    pub async fn join(&self, patience: Duration) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            tracing::warn!(
                task.n_left = self.tracker.len(),
                "some tasks did not stop in time; what they left half done is finished at the next start"
            );
        }
    }
}
