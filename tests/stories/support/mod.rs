//! What every story stands on: a stage with a repository, a daemon, players, and a look at the
//! engine.

mod challenge;
mod daemon;
mod engine;
mod forge;
mod http;
mod own_engine;
mod own_registry;
mod remote;
mod rows;
mod served;
mod slot;
mod until;
mod vpn;

use std::path::{Path, PathBuf};

use tokio::sync::{Semaphore, SemaphorePermit};

pub(crate) use challenge::{Challenge, Compose};
pub(crate) use daemon::{Daemon, Finished, Settings, command};
pub(crate) use engine::{Engine, Left};
pub(crate) use forge::Forge;
pub(crate) use http::{Client, Ready, fetch, read_tcp};
pub(crate) use own_engine::{Disk, OwnEngine};
pub(crate) use own_registry::OwnRegistry;
pub(crate) use remote::Remote;
pub(crate) use rows::Rows;
pub(crate) use served::{Fault, Served, Transport, free_port, lock, make_key, unlock};
pub(crate) use until::{PATIENCE, until};
pub(crate) use vpn::Laptop;

/// Stories that run at a time within one process. With cargo-nextest each story has a process of
/// its own, and `.config/nextest.toml` says the same.
static TURNS: Semaphore = Semaphore::const_new(2);

/// The ground of one story: a folder that goes away with it, and a repository in it.
pub(crate) struct Stage {
    /// The repository that daemons of this story follow.
    pub(crate) remote: Remote,
    dir: tempfile::TempDir,
    _turn: SemaphorePermit<'static>,
}

impl Stage {
    /// Waits for a turn and makes the ground; the repository is empty.
    pub(crate) async fn set() -> Self {
        let turn = TURNS.acquire().await.expect("nobody closes the semaphore");
        Engine::shared().require_busybox();
        let dir = tempfile::Builder::new()
            .prefix("flagops-story.")
            .tempdir()
            .expect("a temporary folder can be made");
        let remote = Remote::create(&dir.path().join("challenges.git"));
        Self { remote, dir, _turn: turn }
    }

    /// A stage whose repository holds `challenges`, pushed.
    pub(crate) async fn with(challenges: &[Challenge]) -> Self {
        let stage = Self::set().await;
        for challenge in challenges {
            stage.remote.put(challenge);
        }
        stage.remote.push("first challenges");
        stage
    }

    /// A path below the folder of this story.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The settings of a daemon that follows this story's repository.
    pub(crate) fn settings(&self) -> Settings {
        Settings::new(self.dir.path(), &self.remote.url())
    }

    /// A daemon that follows this story's repository and is ready.
    pub(crate) async fn serve(&self) -> Daemon {
        Daemon::start(self.settings()).await
    }
}

/// The root of this repository.
pub(crate) fn repository_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python of `scripts/test`, which has the SDK; else the machine's.
pub(crate) fn python() -> PathBuf {
    let made = repository_root().join(".run/venv/bin/python");
    let named = std::env::var_os("FLAGOPS_TEST_PYTHON").map(PathBuf::from);
    named.unwrap_or_else(|| if made.exists() { made } else { PathBuf::from("python3") })
}
