//! A daemon for tests: real store, real mirror of a real remote, an engine in memory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;

use super::platform::{Content, Download};
use super::{Daemon, Parts, Platform, Renderer, prepare, watch};
use crate::config::Config;
use crate::git::testing::{self, History, TagOn};
use crate::git::{Credentials, Mirror, Remote};
use crate::model::{Clock, InstallationId, Timestamp};
use crate::runtime::ImageSeen;
use crate::runtime::fake::FakeEngine;
use crate::runtime::wall::Wall;
use crate::store::{DataDir, NewCondition, Store};
use crate::telemetry::clock::SystemClock;

/// Everything a daemon needs, in a folder that goes away with it.
pub(crate) struct Rig {
    dir: TempDir,
    /// The machine; survives daemons, as a real one does.
    pub(crate) engine: FakeEngine,
    /// Changes what the next daemon is configured with.
    pub(crate) config: Config,
    /// The wall of the next daemon.
    pub(crate) wall: Option<Arc<Wall>>,
    /// Moves the daemon's time.
    pub(crate) clock: SkewedClock,
}

/// The real time, moved by as much as a test likes. A clone is the same clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct SkewedClock {
    passed: Arc<AtomicI64>,
    jumped: Arc<AtomicI64>,
}

impl SkewedClock {
    /// So many milliseconds pass.
    pub(crate) fn advance_millis(&self, millis: i64) {
        self.passed.fetch_add(millis, Ordering::SeqCst);
    }

    /// Somebody sets the wall clock; no time passes.
    pub(crate) fn jump_millis(&self, millis: i64) {
        self.jumped.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        let moved = self.passed.load(Ordering::SeqCst) + self.jumped.load(Ordering::SeqCst);
        SystemClock.now().plus_millis(moved)
    }

    fn monotonic_millis(&self) -> i64 {
        SystemClock.monotonic_millis() + self.passed.load(Ordering::SeqCst)
    }
}

impl Rig {
    /// A remote without commits and an empty machine.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Self::in_folder(dir, &data)
    }

    /// As [`Rig::new`], with a data directory that is there already.
    pub(crate) fn at(data: &Path) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), data)
    }

    fn in_folder(dir: TempDir, data_dir: &Path) -> Self {
        let remote = dir.path().join("remote.git");
        testing::init(&remote);
        let data = DataDir::open(data_dir).unwrap();
        let engine = FakeEngine::new(data.installation().clone());
        let mut config = Config { data_dir: data_dir.to_owned(), ..Config::default() };
        config.source.repo = remote.display().to_string();
        config.source.poll_secs = 1;
        Self { dir, engine, config, wall: None, clock: SkewedClock::default() }
    }

    /// Puts an image onto the machine.
    pub(crate) fn add_image(&self, reference: &str) {
        let image = ImageSeen {
            id: format!("sha256:{reference}"),
            build_key: None,
            made_at: None,
            size_bytes: 1,
            health: None,
            volumes: Vec::new(),
        };
        self.engine.add_image(reference, image);
    }

    /// The remote cannot be reached until [`Rig::bring_remote_back`].
    pub(crate) fn take_remote_away(&self) {
        std::fs::rename(self.remote(), self.dir.path().join("away")).unwrap();
    }

    /// The remote is where it was.
    pub(crate) fn bring_remote_back(&self) {
        std::fs::rename(self.dir.path().join("away"), self.remote()).unwrap();
    }

    /// Commits exactly these files on top of the branch.
    pub(crate) fn push(&self, files: &[(&str, &str)]) {
        testing::push(&self.remote(), files, History::Continued);
    }

    /// Makes exactly these files the only commit of the branch.
    pub(crate) fn force_push(&self, files: &[(&str, &str)]) {
        testing::push(&self.remote(), files, History::Rewritten);
    }

    /// Makes a tag, in place of an earlier one of that name.
    pub(crate) fn tag(&self, name: &str, on: TagOn<'_>) {
        testing::tag(&self.remote(), name, on);
    }

    /// Deletes a tag.
    pub(crate) fn delete_tag(&self, name: &str) {
        testing::delete_tag(&self.remote(), name);
    }

    /// A daemon's parts, opened anew.
    pub(crate) fn parts(&self) -> Parts {
        let data = DataDir::open(&self.config.data_dir).unwrap();
        let remote = Remote::parse(&self.config.source.repo, Path::new("/")).unwrap();
        let mirror =
            Mirror::open(&data.path().join("mirror"), remote, Credentials::default()).unwrap();
        let mirror = mirror.with_tags(super::tag_wish(&self.config.release));
        let (store, loss) =
            Store::open_or_restore(&data.database_path(), &data.backups_path(), self.clock.now())
                .unwrap();
        Parts {
            config: self.config.clone(),
            clock: Arc::new(self.clock.clone()),
            store,
            loss,
            data,
            engine: Arc::new(self.engine.clone()),
            wall: self.wall.clone(),
            mirror,
            renderer: Renderer::here(),
            bond: None,
        }
    }

    pub(crate) fn remote(&self) -> PathBuf {
        self.dir.path().join("remote.git")
    }

    /// Who the daemons of this rig are.
    pub(crate) fn installation(&self) -> InstallationId {
        DataDir::open(&self.config.data_dir).unwrap().installation().clone()
    }

    /// The database is gone; the keys, the mirror and the machine are as they were.
    pub(crate) fn lose_database(&self) {
        let database = DataDir::open(&self.config.data_dir).unwrap().database_path();
        for suffix in ["", "-wal", "-shm"] {
            // The two beside it are there only after an unclean end.
            let _ = std::fs::remove_file(format!("{}{suffix}", database.display()));
        }
        assert!(!database.exists());
    }

    /// The middle of the database is noise; everything else is as it was.
    pub(crate) fn damage_database(&self) {
        let database = DataDir::open(&self.config.data_dir).unwrap().database_path();
        spoil(&database);
    }

    /// Every copy of the database in `folder` is noise.
    pub(crate) fn spoil_backups(&self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            spoil(&entry.unwrap().path());
        }
    }

    /// The mirror of the remote is gone.
    pub(crate) fn lose_mirror(&self) {
        std::fs::remove_dir_all(self.config.data_dir.join("mirror")).unwrap();
    }

    /// What the mirror keeps whatever happens to the branch.
    pub(crate) fn pins(&self) -> BTreeSet<String> {
        self.parts().mirror.pins().unwrap().into_keys().collect()
    }

    /// A platform without any loop running.
    pub(crate) fn idle(&self) -> Platform {
        Platform::new(prepare(self.parts()).unwrap().0)
    }

    /// A daemon with its loops.
    pub(crate) async fn start(&self) -> Daemon {
        Daemon::start(self.parts()).await.unwrap()
    }
}

fn spoil(database: &Path) {
    let mut bytes = std::fs::read(database).unwrap();
    let half = bytes.len() / 2;
    bytes[100..half].fill(0xa5);
    std::fs::write(database, bytes).unwrap();
}

impl Download {
    /// All of it.
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self.content {
            Content::Bytes(bytes) => bytes,
            Content::File(mut file, size) => {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, size);
                bytes
            }
        }
    }
}

impl Platform {
    /// Whoever waits looks at once, as after a long sleep of the machine.
    pub(crate) fn wake_workers_for_test(&self) {
        super::queue::wake_all(self.shared_for_test());
    }

    /// Looks at how starts of new versions went, as the loop does every quarter of a minute.
    pub(crate) async fn check_reverts_for_test(&self) {
        super::releases::check_reverts(self.shared_for_test()).await;
    }

    /// States a condition as the loops do; whether that was an event.
    pub(crate) async fn state_for_test(&self, condition: NewCondition, now: Timestamp) -> bool {
        self.shared_for_test().store.set_condition(condition, now).await.unwrap()
    }
}

impl Daemon {
    /// One level pass now instead of in a quarter of a minute; again when the engine fails it.
    pub(crate) async fn relist(&self) {
        for _ in 0..20 {
            if watch::relist(&self.shared).await.is_ok() {
                return;
            }
        }
        panic!("the relist fails again and again");
    }

    /// The store, to be looked at.
    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    /// What nobody waits for any more: workers that are busy.
    pub(crate) fn is_busy(&self, id: crate::model::InstanceId) -> bool {
        super::queue::is_busy(&self.shared, id)
    }
}
