//! The only room with SQL: one SQLite file that survives being killed at any instruction.
//!
//! One thread writes, each change in one immediate transaction that is on the disk when the caller
//! hears of it; a few read-only connections answer questions beside it. Queries are methods of
//! [`Store`], one file per family of tables, that take and return model types.
//!
//! In:  what happened, with its time; never a clock of its own.
//! Out: rows as model types, in a documented order.
//!
//! # Invariants
//! * A method that returned `Ok` is durable; one that failed, or never returned, is whole or absent.
//! * Every method is cancel-safe: a dropped future's change still happens whole or not at all.
//! * A read that begins after a write returned sees it.
//! * Two daemons never share a data directory ([`datadir`]).
//!
//! # Not here
//! What the rows mean (`contest`, `planner`); when they change (`daemon`).

pub mod account_tokens;
pub mod accounts;
pub mod activities;
pub mod adoption;
pub mod announcements;
pub mod backup;
pub mod builds;
pub mod commit_statuses;
pub mod competitions;
pub mod conditions;
pub mod ctfd;
pub mod datadir;
pub mod devices;
pub mod error;
mod exports;
pub mod fairness;
mod given;
pub mod holders;
mod hubs;
pub mod images;
pub mod instances;
pub mod invites;
pub mod live;
mod migrate;
pub mod networks;
mod news;
pub mod nodes;
pub mod outbox;
pub mod pauses;
mod ports;
pub mod proofs;
pub mod provenance;
mod readers;
pub mod records;
pub mod releases;
pub mod rosters;
mod row;
pub mod settings;
pub mod source;
pub mod statistics;
pub mod submissions;
mod subnets;
pub mod tags;
pub mod teams;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod time;
pub mod tombstones;
pub mod vpn;
pub mod waiting;
pub mod webhooks;
pub mod whole;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::watch;

pub use account_tokens::NewToken;
pub use accounts::{AccountError, AccountRow, NewAccount};
pub use activities::{ActivityFilter, ActivityRow};
pub use adoption::{AdoptError, AdoptedInstance, AdoptedNetwork};
pub use backup::{Backup, Loss};
pub use builds::BuildOutcome;
pub use commit_statuses::StatusRow;
pub use competitions::{Declared, PersonKind, PersonRow};
pub use conditions::{EventFilter, EventPage, EventRow, NewCondition};
pub use ctfd::{IntegrationError, IntegrationRow, SolveRow};
pub use datadir::{DataDir, DataDirError};
pub use devices::{DeviceRow, DeviceState};
pub use error::StoreError;
pub use exports::{ExportPlace, Exported};
pub use fairness::{Review, ReviewVerdict};
pub use given::Given;
pub use holders::Holder;
pub use hubs::HubRow;
pub use images::{BuildFact, ImageFacts, VersionImages};
pub use instances::{
    InsertError, InstanceCounts, InstanceFilter, InstanceLimits, NewInstance, PortRange, Repeats,
    Which,
};
pub use invites::Ending;
pub use live::LiveRow;
pub use networks::{NetworkKind, NetworkRow, NetworkState};
pub use news::{AsOf, Topic};
pub use nodes::{Beat, Beaten, JoinError, NodeChange, Usage, Voucher};
pub use outbox::{Decision, OutboxCounts, OutboxRow};
pub use records::{Pruned, RecordFilter, RecordRow};
pub use releases::{AuditRow, Flip, NewGeneration, QuarantinedVersion};
pub use rosters::{Joining, Left, NewTeam, NewTeamMode, RosterError, RosterRefusal, Way};
pub use source::SourceRow;
pub use statistics::Launch;
pub use submissions::{AttemptReset, BestPerson, Submitted, Tries, Work};
pub use tags::{DecisionKind, TagDecision};
pub use teams::NewTeamToken;
pub use vpn::VpnChange;
pub use waiting::{EnqueueError, Enqueued, WaitingLimits};

use news::News;
use ports::StrangerPorts;
use readers::Readers;
use writer::Writer;

/// The database. Cheap to clone; the file is closed when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    // Dropped in this order: the writer closes last and folds the write-ahead log in.
    readers: Readers,
    writer: Writer,
    /// Host ports that others were seen on. Forgotten at a restart: they are then seen again.
    strangers: Mutex<StrangerPorts>,
    /// Rings after conditions changed.
    bell: watch::Sender<()>,
    /// Rings after rows of instances changed.
    instance_bell: watch::Sender<()>,
    /// How often what is kept in memory changed.
    news: Arc<News>,
    /// The file.
    path: PathBuf,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the database file at `path`, makes it (mode 0600) when it is absent, and brings it to
    /// this version's shape, after a backup beside it when there was something to back up.
    ///
    /// Blocks for as long as migrations and a check of the whole file take.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, belongs to another program or to a newer
    /// version, or a migration that it already has was edited.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = migrate::open(path)?;
        let readers = Readers::open(path)?;
        let instance_bell = watch::Sender::new(());
        let news = Arc::new(News::default());
        let writer = Writer::start(connection, Arc::clone(&news), instance_bell.clone())?;
        let strangers = Mutex::default();
        let bell = watch::Sender::new(());
        let path = path.to_owned();
        Ok(Self {
            inner: Arc::new(Inner { readers, writer, strangers, bell, instance_bell, news, path }),
        })
    }

    /// Changes whenever conditions did. A hint: look at the rows after each change, and now and
    /// then without one.
    pub fn bell(&self) -> watch::Receiver<()> {
        self.inner.bell.subscribe()
    }

    /// Changes whenever rows of instances did, after that can be read. A hint, as [`Store::bell`] is.
    pub fn instance_bell(&self) -> watch::Receiver<()> {
        self.inner.instance_bell.subscribe()
    }

    /// As of when something of `topic` is that is read from now on.
    pub fn as_of(&self, topic: Topic) -> AsOf {
        AsOf::now(self.inner.news.count(topic))
    }

    fn ring(&self) {
        self.inner.bell.send_replace(());
    }

    /// Runs `change` on the writer's thread, as a whole: on the disk when it returns `Ok`, taken back
    /// otherwise.
    async fn write<T, E>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.inner.writer.run(change).await
    }

    /// Runs `question` in one read transaction: it sees one state of everything.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.readers.run(question).await
    }
}
