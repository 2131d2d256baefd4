//! The one thread that writes: a queue of changes, made in the order they were asked for.
//!
//! One writer because a deferred transaction that reads and then writes fails at once when another
//! wrote in between, whatever the busy timeout; with a queue nobody ever waits in vain.
//!
//! What waits when a transaction begins is made within it, each change in a savepoint of its own, because
//! what costs is that the disk says it has it, and it says so once for all of them.
//!
//! # Invariants
//! * A change is whole or not made; one that fails or panics takes no other with it.
//! * Nobody is told of a change before the disk has it.

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rusqlite::hooks::Action;
use rusqlite::{Connection, TransactionBehavior, ffi};
use tokio::sync::{oneshot, watch};

use super::StoreError;
use super::news::News;
use crate::telemetry::{Chain, failpoint};

/// Most changes of one transaction: who came first should not wait for a crowd.
const MAX_TOGETHER: usize = 64;

/// A change that waits for its turn.
trait Change: Send {
    /// Makes it in a savepoint of its own; what comes out tells whoever waits, once all is on the disk.
    fn make(self: Box<Self>, connection: &Connection) -> Tell;

    /// Tells whoever waits that nothing can be changed.
    fn refuse(self: Box<Self>, why: StoreError);
}

type Job = Box<dyn Change>;

/// Tells whoever waits for a change how it ended, or why the transaction around it failed.
type Tell = Box<dyn FnOnce(Option<StoreError>) + Send>;

/// The thread and its queue. Dropping it finishes what is queued and closes the file.
pub(super) struct Writer {
    /// `None` only while being dropped.
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread, which owns the connection from now on. `news` tells what a change touched when it
    /// can be read, and `bell` rings after one that touched rows of instances.
    pub(super) fn start(
        mut connection: Connection,
        news: Arc<News>,
        bell: watch::Sender<()>,
    ) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel::<Job>();
        let touched = Arc::clone(&news);
        connection.update_hook(Some(move |_: Action, _: &str, table: &str, id: i64| {
            touched.touch(table, id);
        }))?;
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                while let Ok(first) = jobs.recv() {
                    let more = jobs.try_iter().take(MAX_TOGETHER - 1);
                    make(&mut connection, std::iter::once(first).chain(more), &|| {
                        if news.publish() {
                            bell.send_replace(());
                        }
                    });
                }
            })
            .map_err(|error| StoreError::System {
                what: "a thread for the database",
                source: Box::new(error),
            })?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Makes `change` after everything queued before it. The fail points around it bear the name of the
    /// method that `change` is written in.
    pub(super) async fn run<T, E>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        // Nobody may be waiting any more; the change is made all the same.
        let job = job(change, move |outcome| drop(answer.send(outcome)));
        let queue = self.queue.as_ref().expect("only a writer that is being dropped has no queue");
        queue.send(job).map_err(|_| StoreError::Abandoned)?;
        wait.await.map_err(|_| StoreError::Abandoned)?
    }

    /// As [`Writer::run`], without waiting: the change is made after everything queued before it,
    /// and `then` is told on the writer's thread.
    pub(super) fn post<T, E>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        then: impl FnOnce(Result<T, E>) + Send + 'static,
    ) where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let queue = self.queue.as_ref().expect("only a writer that is being dropped has no queue");
        // Without its thread the daemon ends, and whoever waits for a change is told so.
        let _ = queue.send(job(change, then));
    }
}

/// A change, and who is told how it ended.
struct Wish<F, N> {
    change: F,
    then: N,
}

/// `change` as something that the thread can do; `then` is told how it ended.
fn job<T, E, F>(change: F, then: impl FnOnce(Result<T, E>) + Send + 'static) -> Job
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
    F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
{
    Box::new(Wish { change, then: (then, PhantomData) })
}

impl<T, E, F, N> Change for Wish<F, (N, PhantomData<fn() -> (T, E)>)>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
    F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    N: FnOnce(Result<T, E>) + Send + 'static,
{
    fn make(self: Box<Self>, connection: &Connection) -> Tell {
        let Self { change, then: (then, _) } = *self;
        failpoint::before("store", std::any::type_name::<F>());
        let outcome = within_savepoint(connection, change);
        Box::new(move |failure| match failure {
            Some(error) => then(outcome.and_then(|_| Err(E::from(error)))),
            None => {
                failpoint::after("store", std::any::type_name::<F>());
                then(outcome);
            }
        })
    }

    fn refuse(self: Box<Self>, why: StoreError) {
        (self.then.0)(Err(E::from(why)));
    }
}

fn within_savepoint<T, E: From<StoreError>>(
    connection: &Connection,
    change: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    run(connection, "SAVEPOINT change")?;
    match change(connection) {
        Ok(value) => {
            run(connection, "RELEASE change")?;
            Ok(value)
        }
        Err(error) => {
            undo(connection)?;
            Err(error)
        }
    }
}

/// Takes back what was done since the savepoint. A full disk takes everything back by itself.
fn undo(connection: &Connection) -> Result<(), StoreError> {
    if connection.is_autocommit() {
        return Ok(());
    }
    run(connection, "ROLLBACK TO change")?;
    run(connection, "RELEASE change")
}

fn run(connection: &Connection, statement: &str) -> Result<(), StoreError> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}

/// Makes `changes` in one immediate transaction, calls `publish`, then tells whoever waits for them.
fn make(connection: &mut Connection, changes: impl Iterator<Item = Job>, publish: &dyn Fn()) {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            // All that waits, before anybody is told: what is asked for after that is not refused for it.
            let refused: Vec<Job> = changes.collect();
            refused.into_iter().for_each(|change| change.refuse(again(&error)));
            return;
        }
    };
    let mut told = Vec::new();
    for change in changes {
        // One that panics is taken back; whoever waits for it learns of it, and the next one runs as if
        // nothing had been.
        match std::panic::catch_unwind(AssertUnwindSafe(|| change.make(&transaction))) {
            Ok(tell) => told.push(tell),
            Err(_) => {
                if let Err(error) = undo(&transaction) {
                    tracing::error!(error = %Chain(&error), "a change that panicked was not taken back");
                }
            }
        }
        // The disk is full or failed, and SQLite took back all of it: nothing more is made outside. What
        // still waits has a transaction of its own next.
        if transaction.is_autocommit() {
            break;
        }
    }
    let failure = match transaction.is_autocommit() {
        true => Some(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None)),
        false => transaction.commit().err(),
    };
    publish();
    for tell in told {
        tell(failure.as_ref().map(again));
    }
}

/// The same error for one more who waits.
fn again(error: &rusqlite::Error) -> StoreError {
    match error {
        rusqlite::Error::SqliteFailure(code, text) => {
            rusqlite::Error::SqliteFailure(*code, text.clone()).into()
        }
        other => StoreError::System {
            what: "a transaction of the database",
            source: other.to_string().into(),
        },
    }
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
