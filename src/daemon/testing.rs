//! A daemon for tests: real store, real mirror of a real remote, an engine in memory.

use std::path::Path;
use std::sync::Arc;

use git2::{IndexEntry, IndexTime, Repository, Signature};
use tempfile::TempDir;

use super::{Daemon, Parts, Platform, prepare};
use crate::config::Config;
use crate::git::{Credentials, Mirror, Remote};
use crate::runtime::fake::FakeEngine;
use crate::store::{DataDir, Store};
use crate::telemetry::clock::SystemClock;

/// Everything a daemon needs, in a folder that goes away with it.
pub(crate) struct Rig {
    dir: TempDir,
    /// The machine; survives daemons, as a real one does.
    pub(crate) engine: FakeEngine,
    /// Changes what the next daemon is configured with.
    pub(crate) config: Config,
}

impl Rig {
    /// A remote without commits and an empty machine.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let remote = dir.path().join("remote.git");
        let mut options = git2::RepositoryInitOptions::new();
        Repository::init_opts(&remote, options.bare(true).initial_head("main")).unwrap();
        let data = DataDir::open(&dir.path().join("data")).unwrap();
        let engine = FakeEngine::new(data.installation().clone());
        let mut config = Config { data_dir: dir.path().join("data"), ..Config::default() };
        config.source.repo = remote.display().to_string();
        config.source.poll_secs = 1;
        Self { dir, engine, config }
    }

    /// Commits exactly these files on top of the branch.
    pub(crate) fn push(&self, files: &[(&str, &str)]) {
        let repository = Repository::open(self.dir.path().join("remote.git")).unwrap();
        let mut index = git2::Index::new().unwrap();
        for (path, content) in files {
            let id = repository.blob(content.as_bytes()).unwrap();
            index.add(&entry(path, id)).unwrap();
        }
        let tree = repository.find_tree(index.write_tree_to(&repository).unwrap()).unwrap();
        let author = Signature::now("author", "author@example.org").unwrap();
        let parent = repository
            .find_reference("refs/heads/main")
            .and_then(|reference| reference.peel_to_commit())
            .ok();
        let parents: Vec<_> = parent.iter().collect();
        repository
            .commit(Some("refs/heads/main"), &author, &author, "push", &tree, &parents)
            .unwrap();
    }

    /// A daemon's parts, opened anew.
    pub(crate) fn parts(&self) -> Parts {
        let data = DataDir::open(&self.config.data_dir).unwrap();
        let remote = Remote::parse(&self.config.source.repo, Path::new("/")).unwrap();
        let mirror =
            Mirror::open(&data.path().join("mirror"), remote, Credentials::default()).unwrap();
        Parts {
            config: self.config.clone(),
            clock: Arc::new(SystemClock),
            store: Store::open(&data.database_path()).unwrap(),
            data,
            engine: Arc::new(self.engine.clone()),
            mirror,
        }
    }

    /// A platform without any loop running.
    pub(crate) fn idle(&self) -> Platform {
        Platform::new(prepare(self.parts()).0)
    }

    /// A daemon with its loops.
    pub(crate) async fn start(&self) -> Daemon {
        Daemon::start(self.parts()).await.unwrap()
    }
}

fn entry(path: &str, id: git2::Oid) -> IndexEntry {
    IndexEntry {
        ctime: IndexTime::new(0, 0),
        mtime: IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}
