//! The one thread that writes: a queue of changes, each in its own immediate transaction.
//!
//! One writer because a deferred transaction that reads and then writes fails at once when another
//! wrote in between, whatever the busy timeout; with a queue nobody ever waits in vain.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rusqlite::hooks::Action;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{oneshot, watch};

use super::StoreError;
use crate::telemetry::failpoint;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The thread and its queue. Dropping it finishes what is queued and closes the file.
pub(super) struct Writer {
    /// `None` only while being dropped.
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread, which owns the connection from now on. `bell` rings after a change that
    /// touched rows of `table`, when it can be read.
    pub(super) fn start(
        mut connection: Connection,
        table: &'static str,
        bell: watch::Sender<()>,
    ) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel::<Job>();
        let is_touched = Arc::new(AtomicBool::new(false));
        let touched = Arc::clone(&is_touched);
        let watch_table = move |_: Action, _: &str, changed: &str, _: i64| {
            if changed == table {
                touched.store(true, Ordering::Relaxed);
            }
        };
        connection.update_hook(Some(watch_table))?;
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                for job in jobs {
                    // A change that panics is rolled back by its transaction's drop; whoever waits
                    // for it learns of it, and the next change runs as if nothing had been.
                    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| job(&mut connection)));
                    if is_touched.swap(false, Ordering::Relaxed) {
                        bell.send_replace(());
                    }
                }
            })
            .map_err(|error| StoreError::System {
                what: "a thread for the database",
                source: Box::new(error),
            })?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `change` in an immediate transaction after everything queued before it. The fail points
    /// around it bear the name of the method that `change` is written in.
    pub(super) async fn run<T, E>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = transact(connection, change);
            // Nobody may be waiting any more; the change is made all the same.
            let _ = answer.send(outcome);
        });
        let queue = self.queue.as_ref().expect("only a writer that is being dropped has no queue");
        queue.send(job).map_err(|_| StoreError::Abandoned)?;
        wait.await.map_err(|_| StoreError::Abandoned)?
    }
}

impl Writer {
    /// As [`Writer::run`], without waiting: the change is made after everything queued before it,
    /// and `then` is told on the writer's thread.
    pub(super) fn post<T, E>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        then: impl FnOnce(Result<T, E>) + Send + 'static,
    ) where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let job: Job = Box::new(move |connection| then(transact(connection, change)));
        let queue = self.queue.as_ref().expect("only a writer that is being dropped has no queue");
        // Without its thread the daemon ends, and whoever waits for a change is told so.
        let _ = queue.send(job);
    }
}

fn transact<T, E, F>(connection: &mut Connection, change: F) -> Result<T, E>
where
    E: From<StoreError>,
    F: FnOnce(&Transaction<'_>) -> Result<T, E>,
{
    failpoint::before("store", std::any::type_name::<F>());
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(StoreError::from)?;
    let value = change(&transaction)?;
    transaction.commit().map_err(StoreError::from)?;
    failpoint::after("store", std::any::type_name::<F>());
    Ok(value)
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A change may hold the last clone of the store: then this *is* the thread.
            if thread.thread().id() != std::thread::current().id() {
                // It cannot have panicked: every job runs under `catch_unwind`.
                let _ = thread.join();
            }
        }
    }
}
