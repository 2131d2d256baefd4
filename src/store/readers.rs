//! A few read-only connections, used from threads that may block.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::StoreError;

/// How many questions are answered at once; more wait.
const N_READERS: usize = 4;

/// The connections that are free, and a permit for each.
pub(super) struct Readers {
    free: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// Opens the connections; the file exists already.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut free = Vec::with_capacity(N_READERS);
        for _ in 0..N_READERS {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(super::migrate::BUSY_TIMEOUT)?;
            connection.execute_batch(
                "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
            )?;
            free.push(connection);
        }
        let permits = Arc::new(Semaphore::new(N_READERS));
        Ok(Self { free: Arc::new(Mutex::new(free)), permits })
    }

    /// Runs `question` in one read transaction on a free connection, waiting for one if need be.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit =
            Arc::clone(&self.permits).acquire_owned().await.expect("nobody closes the semaphore");
        let free = Arc::clone(&self.free);
        let answer = tokio::task::spawn_blocking(move || {
            let mut lease = Lease { connection: pop(&free), free };
            let outcome = match lease.connection.as_mut() {
                Some(connection) => ask(connection, question),
                // Unreachable while permits and connections are equally many.
                None => Err(rusqlite::Error::InvalidQuery),
            };
            drop(lease);
            // Only after the connection is back, so that the next one finds it.
            drop(permit);
            outcome
        });
        match answer.await {
            Ok(outcome) => Ok(outcome?),
            Err(_panicked_or_shutting_down) => Err(StoreError::Abandoned),
        }
    }
}

fn ask<T>(
    connection: &mut Connection,
    question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction()?;
    let value = question(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

fn pop(free: &Mutex<Vec<Connection>>) -> Option<Connection> {
    free.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// Gives the connection back, also when the question panics.
struct Lease {
    connection: Option<Connection>,
    free: Arc<Mutex<Vec<Connection>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}
