//! A Docker engine behind its socket.
//!
//! [`Docker`] exists while the engine is down: each call tries anew. What the engine is asked for
//! is decided in `profile` (pure); how its words are read, in `errors`.
//!
//! # Invariants
//! * Those of [`Engine`]. In particular no call hangs and nothing foreign is touched.
//!
//! # Not here
//! Whether an instance is usable (`runtime::probe`), the firewall (`runtime::wall`).

mod build;
mod build_log;
mod connect;
mod containers;
mod disk;
mod errors;
mod events;
mod exec;
mod files;
mod follow;
mod images;
mod names;
mod networks;
mod profile;
mod prove;
mod seccomp;
mod shell;
mod syntax;
#[cfg(test)]
pub(super) mod tests;
mod transfer;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use self::connect::{Call, Connection};
use super::terminal::Terminal;
use super::{
    BuildError, BuildRequest, ContainerSeen, Engine, EngineError, EngineEvent, EngineInfo,
    ExecOutcome, ImageBytes, ImageFile, ImageSeen, LogLine, LogSink, NetworkSeen, NoFile, Registry,
    VolumeSeen,
};
use crate::model::compose::HealthTest;
use crate::model::{BuildKey, Disk, InstallationId, InstanceId};
use crate::release::spec::{ContainerSpec, NetworkSpec};

/// Most container ids that are remembered as ours.
const REMEMBERED: usize = 65_536;

/// One Docker engine.
pub struct Docker {
    connection: Arc<Connection>,
    installation: InstallationId,
    volume_paths: images::VolumePaths,
    /// Ids of containers that are ours. An id never changes hands.
    own: Mutex<BTreeSet<String>>,
    /// Where our containers keep what they write.
    places: usage::Known,
    /// One proof at a time; holds the unnamed volumes that the last one found unused.
    proof: tokio::sync::Mutex<BTreeSet<String>>,
}

impl Docker {
    /// The engine at `endpoint`, e.g. `unix:///var/run/docker.sock`. Sends nothing yet, so it
    /// succeeds while the engine is down.
    ///
    /// # Errors
    /// When `endpoint` is not a local socket.
    pub fn connect(endpoint: &str, installation: InstallationId) -> Result<Self, EngineError> {
        Ok(Self {
            connection: Arc::new(Connection::new(endpoint)?),
            installation,
            volume_paths: images::VolumePaths::default(),
            own: Mutex::default(),
            places: usage::Known::default(),
            proof: tokio::sync::Mutex::default(),
        })
    }

    fn is_known_own(&self, id: &str) -> bool {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    fn remember_own(&self, id: &str) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= REMEMBERED {
            own.clear();
        }
        own.insert(id.to_owned());
    }

    fn forget_own(&self, id: &str) {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Docker")
            .field("endpoint", &self.connection.endpoint())
            .field("installation", &self.installation)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Engine for Docker {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let api = self.connection.api().await?;
        let info = self
            .connection
            .run(
                &Call::read("read what the engine is"),
                |client| async move { client.info().await },
            )
            .await?;
        let text = |value: Option<String>| value.unwrap_or_default();
        Ok(EngineInfo {
            version: text(info.server_version),
            api_version: api.to_string(),
            storage_driver: text(info.driver),
            root_dir: text(info.docker_root_dir),
            n_cpus: info.ncpu.and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
            memory_bytes: info.mem_total.and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
            cgroup_version: text(info.cgroup_version.map(|version| version.to_string())),
            kernel: text(info.kernel_version),
            has_live_restore: info.live_restore_enabled.unwrap_or_default(),
            runtimes: info.runtimes.unwrap_or_default().into_keys().collect(),
        })
    }

    async fn prove(&self) -> Result<(), EngineError> {
        self.prove_creation().await
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageSeen>, EngineError> {
        self.seen_image(reference).await
    }

    async fn images(&self) -> Result<Vec<ImageSeen>, EngineError> {
        self.seen_images().await
    }

    async fn pull(&self, reference: &str) -> Result<ImageSeen, EngineError> {
        self.pull_image(reference).await
    }

    async fn build(&self, request: BuildRequest, log: LogSink) -> Result<ImageSeen, BuildError> {
        self.build_image(request, log).await
    }

    async fn image_file(
        &self,
        image: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError> {
        self.file_of_image(image, path, limit_bytes).await
    }

    async fn save(&self, image: &str) -> Result<ImageBytes, EngineError> {
        self.save_image(image).await
    }

    async fn load(
        &self,
        image: &str,
        tag: &str,
        bytes: ImageBytes,
    ) -> Result<ImageSeen, EngineError> {
        self.load_image(image, tag, bytes).await
    }

    async fn push(
        &self,
        image: &str,
        key: BuildKey,
        registry: &Registry,
    ) -> Result<String, EngineError> {
        self.push_image(image, key, registry).await
    }

    async fn fetch(
        &self,
        image: &str,
        tag: &str,
        registry: &Registry,
        digest: &str,
    ) -> Result<ImageSeen, EngineError> {
        self.fetch_image(image, tag, registry, digest).await
    }

    async fn unload(&self, tag: &str) -> Result<(), EngineError> {
        self.unload_image(tag).await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        self.drop_image(reference).await
    }

    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        self.root_disk().await
    }

    async fn disk_use(
        &self,
        enough_bytes: u64,
    ) -> Result<Option<BTreeMap<InstanceId, u64>>, EngineError> {
        self.instance_disk_use(enough_bytes).await
    }

    async fn build_cache_bytes(&self) -> Result<u64, EngineError> {
        self.cache_size().await
    }

    async fn trim_build_cache(&self, keep_bytes: u64) -> Result<u64, EngineError> {
        self.trim_cache(keep_bytes).await
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<String, EngineError> {
        self.make_network(spec).await
    }

    async fn remove_network(&self, network: &str) -> Result<(), EngineError> {
        self.drop_network(network).await
    }

    async fn connect_network(&self, network: &str, container: &str) -> Result<(), EngineError> {
        self.plug_in(network, container).await
    }

    async fn disconnect_network(&self, network: &str, container: &str) -> Result<(), EngineError> {
        self.unplug(network, container).await
    }

    async fn networks(&self) -> Result<Vec<NetworkSeen>, EngineError> {
        self.seen_networks().await
    }

    async fn create_volume(&self, name: &str, instance: InstanceId) -> Result<(), EngineError> {
        self.make_volume(name, instance).await
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        self.drop_volume(name).await
    }

    async fn volumes(&self) -> Result<Vec<VolumeSeen>, EngineError> {
        self.seen_volumes().await
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        self.make_container(spec).await
    }

    async fn upload(&self, container: &str, dir: &str, tar: Bytes) -> Result<(), EngineError> {
        self.fill(container, dir, tar).await
    }

    async fn container_file(
        &self,
        container: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError> {
        self.file_of_container(container, path, limit_bytes).await
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        self.start_container(container).await
    }

    async fn stop(&self, container: &str, grace: Duration) -> Result<(), EngineError> {
        self.stop_container(container, grace).await
    }

    async fn remove_container(&self, container: &str) -> Result<(), EngineError> {
        self.drop_container(container).await
    }

    async fn container(&self, container: &str) -> Result<Option<ContainerSeen>, EngineError> {
        self.seen_container(container).await
    }

    async fn containers(
        &self,
        instance: Option<InstanceId>,
    ) -> Result<Vec<ContainerSeen>, EngineError> {
        self.seen_containers(instance).await
    }

    async fn exec(
        &self,
        container: &str,
        test: &HealthTest,
        deadline: Duration,
    ) -> Result<ExecOutcome, EngineError> {
        self.run_inside(container, test, deadline).await
    }

    async fn shell(&self, container: &str, words: &[String]) -> Result<Terminal, EngineError> {
        self.open_shell(container, words).await
    }

    async fn logs(&self, container: &str, n_lines: u32) -> Result<String, EngineError> {
        self.read_logs(container, n_lines).await
    }

    async fn follow_logs(
        &self,
        container: &str,
        after: Option<&str>,
    ) -> Result<BoxStream<'static, LogLine>, EngineError> {
        self.follow(container, after).await
    }

    async fn events(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError> {
        self.subscribe().await
    }
}
