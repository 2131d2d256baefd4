//! Why the store did not do it.

use std::path::PathBuf;

use rusqlite::ErrorCode;
use thiserror::Error;

use super::teams::TeamNameError;
use crate::model::{Disposition, InstanceId, InstancePhase, RetryClass};

/// Why the store did not do it. Nothing of a failed change is stored.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk has no room left.
    #[error("the disk that holds the database is full: free some space, nothing was changed")]
    DiskFull {
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The disk failed, or the file became unwritable.
    #[error("the disk that holds the database failed")]
    Disk {
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// Another program holds the database.
    #[error("another program has locked the database")]
    Locked {
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The file is damaged.
    #[error("the database is damaged ({detail}): stop, and restore the newest backup")]
    Damaged {
        /// What SQLite found.
        detail: String,
    },
    /// A statement was refused: a mistake of ours.
    #[error("the database refused a statement")]
    Refused {
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// A row holds something that no version of ours writes.
    #[error("a row of the database cannot be read")]
    BadRow {
        /// The column and what is wrong with it.
        source: rusqlite::Error,
    },
    /// The file or its folder cannot be opened.
    #[error("could not open the database `{}`", path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is a database of some other program.
    #[error("`{}` is a database, but not one of flagops: choose another data directory", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The database was written by a newer flagops.
    #[error(
        "the database has version {found}, this flagops knows up to {known}: \
         use the newer flagops, or restore a backup from before the upgrade"
    )]
    Newer {
        /// The newest migration in the file.
        found: u32,
        /// The newest one that we have.
        known: u32,
    },
    /// A migration that the database has is not the one that we have.
    #[error("migration `{name}` was edited after it was applied: use the flagops that applied it")]
    EditedMigration {
        /// Its name.
        name: String,
    },
    /// A migration failed; the database is as it was.
    #[error("migration `{name}` failed, the database is unchanged")]
    Migration {
        /// Its name.
        name: String,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The copy before a migration could not be made; the database is as it was.
    #[error("could not back up the database to `{}` before changing its shape", path.display())]
    Backup {
        /// Where it should have gone.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An ended instance was to live again.
    #[error("instance {id} is {was} and cannot become {wanted}")]
    InstanceOver {
        /// The instance.
        id: InstanceId,
        /// Its phase.
        was: InstancePhase,
        /// The phase that was wanted.
        wanted: InstancePhase,
    },
    /// The name cannot be a team's.
    #[error(transparent)]
    TeamName(#[from] TeamNameError),
    /// The system gave no randomness or no thread.
    #[error("the system refused {what}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The change panicked: a mistake of ours. Nothing of it is stored.
    #[error("a change of the database was abandoned half-way and undone")]
    Abandoned,
}

impl StoreError {
    /// Says whether trying again can help, and with which backoff.
    pub fn disposition(&self) -> Disposition {
        match self {
            // Local, and it passes when somebody makes room: the engine's pace fits.
            Self::DiskFull { .. } | Self::Disk { .. } | Self::System { .. } => {
                Disposition::Retry(RetryClass::Engine)
            }
            Self::Locked { .. } => Disposition::Retry(RetryClass::Contention),
            Self::Damaged { .. }
            | Self::Refused { .. }
            | Self::BadRow { .. }
            | Self::CannotOpen { .. }
            | Self::NotOurs { .. }
            | Self::Newer { .. }
            | Self::EditedMigration { .. }
            | Self::Migration { .. }
            | Self::Backup { .. }
            | Self::InstanceOver { .. }
            | Self::TeamName(_)
            | Self::Abandoned => Disposition::Terminal,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull { source },
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory,
            ) => Self::Disk { source },
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed,
            ) => Self::Locked { source },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { detail: source.to_string() }
            }
            Some(_) => Self::Refused { source },
            None => match source {
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..) => Self::BadRow { source },
                _ => Self::Refused { source },
            },
        }
    }
}
