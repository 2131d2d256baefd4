//! What our instances keep on the engine's disk.
//!
//! Read from the disk itself, because asking the engine makes it walk every layer: the writable layer,
//! volumes, the folder that the engine keeps for each container (its log, and `/etc/hosts` and the like,
//! which are files of the host outside of the layer, E14), and files that are open and have no name any
//! more. Where we may not look (we are not root, or the engine is elsewhere), the engine is asked for the
//! writable layers, or nobody knows.
//!
//! # Invariants
//! * No link is followed, and nothing but names and sizes is read: what is walked belongs to players.
//! * Adding up stops at `enough_bytes` for each instance, so a container with ten million files costs no
//!   more than one that is just over.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use bollard::query_parameters::ListContainersOptions;

use super::Docker;
use super::connect::Call;
use crate::model::InstanceId;
use crate::runtime::{EngineError, labels};

/// What a file costs beside its blocks, so that empty ones are not free.
const FILE_BYTES: u64 = 1024;
/// `statfs` says this of memory.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// Where a container keeps what it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    instance: InstanceId,
    folders: Vec<PathBuf>,
}

/// Containers by id; where one keeps things never changes.
pub(super) type Known = std::sync::Mutex<BTreeMap<String, Places>>;

impl Docker {
    /// Bytes by instance; `None` when nobody can see them.
    pub(super) async fn instance_disk_use(
        &self,
        enough_bytes: u64,
    ) -> Result<Option<BTreeMap<InstanceId, u64>>, EngineError> {
        let ids = self.container_ids(labels::KIND_INSTANCE, &[]).await?;
        let mut places = BTreeMap::new();
        for id in ids {
            if let Some(found) = self.places_of(&id).await? {
                places.insert(id, found);
            }
        }
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = places.clone();
        let look = tokio::task::spawn_blocking(move || add_up(&places, enough_bytes));
        match look.await.ok().flatten() {
            Some(used) => Ok(Some(used)),
            None => self.layers_by_instance().await,
        }
    }

    /// Where a container keeps what it writes; `None` when it is gone.
    async fn places_of(&self, id: &str) -> Result<Option<Places>, EngineError> {
        let known = self.places.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(found) = self.inspect(id).await? else { return Ok(None) };
        let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
        let Some(instance) = labels::instance(labels) else { return Ok(None) };
        let driver = found.graph_driver.map(|driver| driver.data).unwrap_or_default();
        let mut folders: Vec<_> = driver.get("UpperDir").map(PathBuf::from).into_iter().collect();
        let volumes = found.mounts.into_iter().flatten().filter(|mount| mount.driver.is_some());
        folders.extend(volumes.filter_map(|mount| mount.source).map(PathBuf::from));
        // The log is in the folder of the container, with whatever else the engine keeps for it.
        let own = found.log_path.as_deref().and_then(|log| Path::new(log).parent());
        let is_started = own.is_some_and(|own| !own.as_os_str().is_empty());
        folders.extend(own.filter(|_| is_started).map(Path::to_owned));
        let places = Places { instance, folders };
        if is_started {
            let mut known = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(id.to_owned(), places.clone());
        }
        Ok(Some(places))
    }

    /// The writable layers alone, as the engine adds them up.
    async fn layers_by_instance(&self) -> Result<Option<BTreeMap<InstanceId, u64>>, EngineError> {
        let options = ListContainersOptions {
            all: true,
            size: true,
            filters: Some(labels::filter(&self.installation, labels::KIND_INSTANCE, &[])),
            ..Default::default()
        };
        let call = Call::within(60, "add up the layers of containers");
        let listed = self
            .connection
            .run(&call, |client| {
                let options = options.clone();
                async move { client.list_containers(Some(options)).await }
            })
            .await?;
        let mut used = BTreeMap::new();
        for container in listed {
            let Some(instance) = labels::instance(container.labels.as_ref()) else { continue };
            let bytes = container.size_rw.and_then(|bytes| u64::try_from(bytes).ok());
            *used.entry(instance).or_default() += bytes.unwrap_or_default();
        }
        Ok(Some(used))
    }
}

/// Adds up what is below the folders of each instance; `None` when we may not look.
fn add_up(
    places: &BTreeMap<String, Places>,
    enough_bytes: u64,
) -> Option<BTreeMap<InstanceId, u64>> {
    let mut folders: BTreeMap<InstanceId, BTreeSet<&Path>> = BTreeMap::new();
    for place in places.values() {
        // A volume that two services share is one folder.
        folders
            .entry(place.instance)
            .or_default()
            .extend(place.folders.iter().map(PathBuf::as_path));
    }
    let mut used = BTreeMap::new();
    for (instance, folders) in folders {
        let bytes: &mut u64 = used.entry(instance).or_default();
        for folder in folders {
            walk(folder, enough_bytes, bytes)?;
        }
    }
    nameless(places, &mut used);
    Some(used)
}

/// Adds what is below `folder` to `bytes`, until that is more than enough; `None` when it cannot be read.
/// What vanishes meanwhile is not there.
fn walk(folder: &Path, enough_bytes: u64, bytes: &mut u64) -> Option<()> {
    if is_memory(folder) {
        return Some(());
    }
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        let entries = match std::fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return None,
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            // Of the entry itself: a link is counted, not followed.
            let Ok(metadata) = entry.metadata() else { continue };
            *bytes = bytes.saturating_add(metadata.blocks() * 512).saturating_add(FILE_BYTES);
            if *bytes > enough_bytes {
                return Some(());
            }
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Some(())
}

/// Memory counts as memory.
fn is_memory(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == TMPFS)
}

/// Adds files that processes of our containers hold open and that have no name any more.
fn nameless(places: &BTreeMap<String, Places>, used: &mut BTreeMap<InstanceId, u64>) {
    let mut counted = BTreeSet::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let Ok(groups) = std::fs::read_to_string(process.path().join("cgroup")) else { continue };
        let Some(place) = container_of(&groups).and_then(|id| places.get(id)) else { continue };
        for handle in std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let path = handle.path();
            let is_nameless = std::fs::read_link(&path)
                .is_ok_and(|target| target.as_os_str().as_encoded_bytes().ends_with(b" (deleted)"));
            if !is_nameless || is_memory(&path) {
                continue;
            }
            let Ok(file) = std::fs::metadata(&path) else { continue };
            if file.nlink() == 0 && counted.insert((file.dev(), file.ino())) {
                *used.entry(place.instance).or_default() += file.blocks() * 512;
            }
        }
    }
}

/// The id of the container that a process of these control groups is in: 64 hex digits, however the
/// engine names its groups.
fn container_of(groups: &str) -> Option<&str> {
    groups
        .split(|c: char| !c.is_ascii_hexdigit())
        .find(|word| word.len() == 64 && word.bytes().all(|b| !b.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_not_followed_and_empty_files_are_not_free() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = folder.path();
        std::fs::create_dir(path.join("a")).unwrap();
        std::fs::write(path.join("a/file"), vec![1; 10_000]).unwrap();
        std::os::unix::fs::symlink("/usr", path.join("a/usr")).unwrap();
        let mut bytes = 0;
        walk(path, u64::MAX, &mut bytes).unwrap();
        assert!((10_000..100_000).contains(&bytes), "{bytes}");
        for n in 0..100 {
            std::fs::write(path.join(format!("{n}")), "").unwrap();
        }
        let (mut more, mut some) = (0, 0);
        walk(path, u64::MAX, &mut more).unwrap();
        assert!(more >= bytes + 100 * FILE_BYTES, "{more}");
        walk(path, 20_000, &mut some).unwrap();
        assert!((20_000..more).contains(&some), "it goes on after enough: {some} of {more}");
        assert_eq!(walk(&path.join("gone"), u64::MAX, &mut some), Some(()));
    }

    #[test]
    fn a_process_is_told_by_the_id_in_its_groups() {
        let id = "0123456789abcdef".repeat(4);
        for groups in [
            format!("12:pids:/docker/{id}\n0::/\n"),
            format!("0::/system.slice/docker-{id}.scope\n"),
            format!("0::/../{id}\n"),
        ] {
            assert_eq!(container_of(&groups), Some(id.as_str()));
        }
        assert_eq!(container_of("0::/user.slice/user-1000.slice\n"), None);
    }
}
