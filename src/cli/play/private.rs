//! The private data directory of one played challenge: locked, closed to others, emptied of all
//! state at the start and at the end.
//!
//! What stays between two plays is the installation id: by it the images of the last play are found
//! again, and what a killed play left in the engine.
//!
//! # Invariants
//! * Only files with names of ours are ever removed, and only in a directory that is marked.
//! * After a play that could end by itself, no key is on the disk that an answer could be derived
//!   from.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::model::id::hex;
use crate::store::{DataDir, DataDirError};
use crate::telemetry::Chain;

use super::super::failure::Failure;

/// Says that the directory is ours to empty.
const MARKER: &str = "play";
/// Where the snapshots of the work tree are.
const SNAPSHOTS: &str = "work.git";
/// What a play keeps only while it runs. Copies of a mirror that was set aside go too.
const STATE: [&str; 7] = [
    "flagops.db",
    "flagops.db-wal",
    "flagops.db-shm",
    "mirror",
    SNAPSHOTS,
    "answers.key",
    "admin.token",
];
/// Ports of each play: apart from those of servers, and one range for all plays of a challenge.
const FIRST_PORT: u16 = 30_000;
const N_PORTS: u16 = 100;
const N_RANGES: u16 = 27;
/// Addresses of each play, when the pool has room for several.
const SUBPOOL: u8 = 20;

/// Where a play keeps its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Private {
    path: PathBuf,
    /// Tells plays on one machine apart; from the challenge's path.
    digest: [u8; 32],
}

impl Private {
    /// The directory for the challenge at `folder`: `named`, or one in the user's cache.
    pub(super) fn of(folder: &Path, named: Option<&Path>) -> Result<Self, Failure> {
        let digest: [u8; 32] = Sha256::digest(folder.as_os_str().as_encoded_bytes()).into();
        let path = match named {
            Some(path) => path.to_owned(),
            None => cache().map(|cache| cache.join(&hex(&digest)[..16])).ok_or_else(|| {
                Failure::usage("neither HOME nor XDG_CACHE_HOME is set", "use `--data-dir`")
            })?,
        };
        Ok(Self { path, digest })
    }

    /// Locks the directory and empties it.
    pub(super) fn open(&self) -> Result<DataDir, Failure> {
        self.ensure_marked()?;
        // Until the lock is ours, nothing is touched.
        let data = match DataDir::open(&self.path) {
            Err(DataDirError::InUse { path, pid }) => {
                let who = pid.map_or(String::new(), |pid| format!(" by process {pid}"));
                return Err(Failure::failed(
                    format!("this challenge is being played already{who} (`{}`)", path.display()),
                    "end that play with Ctrl-C, or use another `--data-dir`",
                ));
            }
            other => other.map_err(|error| unusable(&Chain(&error).to_string()))?,
        };
        self.wipe().map_err(|error| unusable(&error.to_string()))?;
        Ok(data)
    }

    /// Whether a play was here before.
    pub(super) fn was_used(&self) -> bool {
        self.path.join(MARKER).is_file()
    }

    /// Marks an empty directory as ours. Refuses one that holds anything of somebody else, a
    /// server of ours among them.
    fn ensure_marked(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| unusable(&error.to_string());
        let marker = self.path.join(MARKER);
        if marker.is_file() {
            return Ok(());
        }
        let mut folders = fs::DirBuilder::new();
        folders.recursive(true).mode(0o700).create(&self.path).map_err(failed)?;
        if fs::read_dir(&self.path).map_err(failed)?.next().is_none() {
            return fs::write(marker, "A private data directory of `flagops play`.\n")
                .map_err(failed);
        }
        Err(Failure::usage(
            format!(
                "`{}` holds something else than a play, e.g. a server's data",
                self.path.display()
            ),
            "name an empty folder, or leave `--data-dir` out",
        ))
    }

    /// Removes the state. Call it only while the directory is locked by us.
    pub(super) fn wipe(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if STATE.contains(&name.as_ref()) || name.starts_with("mirror.") {
                match entry.file_type()? {
                    kind if kind.is_dir() => fs::remove_dir_all(entry.path())?,
                    _ => fs::remove_file(entry.path())?,
                }
            }
        }
        Ok(())
    }

    /// Where the snapshots belong.
    pub(super) fn snapshots(&self) -> PathBuf {
        self.path.join(SNAPSHOTS)
    }

    /// `config` for a daemon that only this machine and only this play uses.
    pub(super) fn configure(&self, mut config: Config) -> Config {
        config.data_dir.clone_from(&self.path);
        config.source.repo = self.snapshots().display().to_string();
        config.source.branch = Some("main".to_owned());
        config.source.poll_secs = 3600;
        // An author's disk may well be fuller than a server's; a play removes what it built anyway.
        (config.gc.high_percent, config.gc.low_percent) = (100, 100);
        let number = u16::from_be_bytes([self.digest[0], self.digest[1]]);
        // What somebody tries on a laptop is nobody else's alarm.
        config.notify.url_file = None;
        config.ingress.domain = None;
        let network = &mut config.network;
        network.n_ready = 0;
        network.publish_address = std::net::Ipv4Addr::LOCALHOST.into();
        network.public_host = "127.0.0.1".to_owned();
        network.first_port = FIRST_PORT + number % N_RANGES * N_PORTS;
        network.last_port = network.first_port + N_PORTS - 1;
        if network.pool.prefix_len() < SUBPOOL && network.prefix_len >= SUBPOOL {
            let n_pools = 1_usize << (SUBPOOL - network.pool.prefix_len()).min(15);
            let mut pools = network.pool.subnets(SUBPOOL).into_iter().flatten();
            network.pool = pools.nth(usize::from(number) % n_pools).unwrap_or(network.pool);
        }
        config
    }
}

fn unusable(why: &str) -> Failure {
    Failure::failed(
        format!("the private data directory of this play cannot be used: {why}"),
        "free it, or name another one with `--data-dir`",
    )
}

/// `flagops/play` in the user's cache.
fn cache() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    cache.filter(|path| path.is_absolute()).map(|path| path.join("flagops/play"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_play_leaves_no_key_and_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("play");
        let private = Private::of(Path::new("/repo/WEB-001"), Some(&path)).unwrap();
        let data = private.open().unwrap();
        let installation = data.installation().clone();
        assert!(private.open().unwrap_err().to_string().contains("being played already"));
        fs::create_dir(path.join("mirror")).unwrap();
        fs::write(path.join("flagops.db"), "").unwrap();
        private.wipe().unwrap();
        drop(data);
        let mut left: Vec<_> =
            fs::read_dir(&path).unwrap().map(|it| it.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["installation", "lock", "play"]);
        assert_eq!(private.open().unwrap().installation(), &installation);
    }

    #[test]
    fn somebody_elses_folder_is_refused_and_untouched() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("flagops.db"), "precious").unwrap();
        let private = Private::of(Path::new("/repo/WEB-001"), Some(dir.path())).unwrap();
        assert!(private.open().unwrap_err().to_string().contains("something else"));
        assert_eq!(fs::read(dir.path().join("flagops.db")).unwrap(), b"precious");
    }

    #[test]
    fn every_play_listens_on_this_machine_only() {
        for name in 0..200 {
            let folder = PathBuf::from(format!("/repo/C-{name}"));
            let private = Private::of(&folder, Some(Path::new("/x"))).unwrap();
            let network = private.configure(Config::default()).network;
            assert!(network.publish_address.is_loopback());
            assert!(network.first_port >= FIRST_PORT && network.last_port < 32_768, "{network:?}");
            assert_eq!(network.pool.prefix_len(), SUBPOOL);
            assert!(Config::default().network.pool.contains(&network.pool));
        }
    }
}
