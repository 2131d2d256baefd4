//! An engine with a stopwatch: counts and times each call, and passes a fail point before and after
//! each that changes something, so that tests see what any crash leaves behind.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::terminal::Terminal;
use super::{
    BuildError, BuildRequest, ContainerSeen, Engine, EngineError, EngineEvent, EngineInfo,
    ExecOutcome, ImageBytes, ImageFile, ImageSeen, LogLine, LogSink, NetworkSeen, NoFile, Registry,
    VolumeSeen,
};
use crate::model::compose::HealthTest;
use crate::model::{BuildKey, Disk, InstanceId};
use crate::release::spec::{ContainerSpec, NetworkSpec};
use crate::telemetry::{failpoint, metrics};

/// What the fail points of the engine begin with.
const ROOM: &str = "engine";

/// Wraps an engine.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Engine>,
}

impl Metered {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Engine>) -> Self {
        Self { inner }
    }

    async fn read<T>(
        &self,
        verb: &'static str,
        call: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let begin = Instant::now();
        let result = call.await;
        count(verb, begin, result.as_ref().err());
        result
    }

    async fn change<T>(
        &self,
        verb: &'static str,
        call: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        failpoint::before(ROOM, verb);
        let result = self.read(verb, call).await;
        failpoint::after(ROOM, verb);
        result
    }
}

fn count(verb: &'static str, begin: Instant, error: Option<&EngineError>) {
    match error {
        None => metrics::engine_call(verb, begin.elapsed()),
        Some(error) => metrics::engine_error(verb, error.word()),
    }
}

#[async_trait]
impl Engine for Metered {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.read("info", self.inner.info()).await
    }

    async fn prove(&self) -> Result<(), EngineError> {
        // It makes a container, and removes it.
        self.change("prove", self.inner.prove()).await
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageSeen>, EngineError> {
        self.read("image", self.inner.image(reference)).await
    }

    async fn images(&self) -> Result<Vec<ImageSeen>, EngineError> {
        self.read("images", self.inner.images()).await
    }

    async fn pull(&self, reference: &str) -> Result<ImageSeen, EngineError> {
        self.change("pull", self.inner.pull(reference)).await
    }

    async fn build(&self, request: BuildRequest, log: LogSink) -> Result<ImageSeen, BuildError> {
        failpoint::before(ROOM, "build");
        let begin = Instant::now();
        let result = self.inner.build(request, log).await;
        match &result {
            Ok(_) => count("build", begin, None),
            Err(BuildError::Engine(error)) => count("build", begin, Some(error)),
            Err(BuildError::Failed { .. }) => metrics::engine_error("build", "failed"),
            Err(BuildError::TimedOut { .. }) => metrics::engine_error("build", "timed_out"),
        }
        failpoint::after(ROOM, "build");
        result
    }

    async fn image_file(
        &self,
        image: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError> {
        // It makes a container, and removes it.
        self.change("image_file", self.inner.image_file(image, path, limit_bytes)).await
    }

    async fn save(&self, image: &str) -> Result<ImageBytes, EngineError> {
        self.read("save", self.inner.save(image)).await
    }

    async fn load(
        &self,
        image: &str,
        tag: &str,
        bytes: ImageBytes,
    ) -> Result<ImageSeen, EngineError> {
        self.change("load", self.inner.load(image, tag, bytes)).await
    }

    async fn push(
        &self,
        image: &str,
        key: BuildKey,
        registry: &Registry,
    ) -> Result<String, EngineError> {
        self.change("push", self.inner.push(image, key, registry)).await
    }

    async fn fetch(
        &self,
        image: &str,
        tag: &str,
        registry: &Registry,
        digest: &str,
    ) -> Result<ImageSeen, EngineError> {
        self.change("fetch", self.inner.fetch(image, tag, registry, digest)).await
    }

    async fn unload(&self, tag: &str) -> Result<(), EngineError> {
        self.change("unload", self.inner.unload(tag)).await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        self.change("remove_image", self.inner.remove_image(reference)).await
    }

    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        self.read("disk", self.inner.disk()).await
    }

    async fn disk_use(
        &self,
        enough_bytes: u64,
    ) -> Result<Option<BTreeMap<InstanceId, u64>>, EngineError> {
        self.read("disk_use", self.inner.disk_use(enough_bytes)).await
    }

    async fn build_cache_bytes(&self) -> Result<u64, EngineError> {
        self.read("build_cache_bytes", self.inner.build_cache_bytes()).await
    }

    async fn trim_build_cache(&self, keep_bytes: u64) -> Result<u64, EngineError> {
        self.change("trim_build_cache", self.inner.trim_build_cache(keep_bytes)).await
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<String, EngineError> {
        self.change("create_network", self.inner.create_network(spec)).await
    }

    async fn remove_network(&self, network: &str) -> Result<(), EngineError> {
        self.change("remove_network", self.inner.remove_network(network)).await
    }

    async fn connect_network(&self, network: &str, container: &str) -> Result<(), EngineError> {
        self.change("connect_network", self.inner.connect_network(network, container)).await
    }

    async fn disconnect_network(&self, network: &str, container: &str) -> Result<(), EngineError> {
        self.change("disconnect_network", self.inner.disconnect_network(network, container)).await
    }

    async fn networks(&self) -> Result<Vec<NetworkSeen>, EngineError> {
        self.read("networks", self.inner.networks()).await
    }

    async fn create_volume(&self, name: &str, instance: InstanceId) -> Result<(), EngineError> {
        self.change("create_volume", self.inner.create_volume(name, instance)).await
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        self.change("remove_volume", self.inner.remove_volume(name)).await
    }

    async fn volumes(&self) -> Result<Vec<VolumeSeen>, EngineError> {
        self.read("volumes", self.inner.volumes()).await
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        self.change("create_container", self.inner.create_container(spec)).await
    }

    async fn upload(&self, container: &str, dir: &str, tar: Bytes) -> Result<(), EngineError> {
        self.change("upload", self.inner.upload(container, dir, tar)).await
    }

    async fn container_file(
        &self,
        container: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError> {
        let read = self.inner.container_file(container, path, limit_bytes);
        self.read("container_file", read).await
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        self.change("start", self.inner.start(container)).await
    }

    async fn stop(&self, container: &str, grace: Duration) -> Result<(), EngineError> {
        self.change("stop", self.inner.stop(container, grace)).await
    }

    async fn remove_container(&self, container: &str) -> Result<(), EngineError> {
        self.change("remove_container", self.inner.remove_container(container)).await
    }

    async fn container(&self, container: &str) -> Result<Option<ContainerSeen>, EngineError> {
        self.read("container", self.inner.container(container)).await
    }

    async fn containers(
        &self,
        instance: Option<InstanceId>,
    ) -> Result<Vec<ContainerSeen>, EngineError> {
        self.read("containers", self.inner.containers(instance)).await
    }

    async fn exec(
        &self,
        container: &str,
        test: &HealthTest,
        deadline: Duration,
    ) -> Result<ExecOutcome, EngineError> {
        self.change("exec", self.inner.exec(container, test, deadline)).await
    }

    async fn shell(&self, container: &str, words: &[String]) -> Result<Terminal, EngineError> {
        self.change("shell", self.inner.shell(container, words)).await
    }

    async fn reach(&self, address: SocketAddrV4, deadline: Duration) -> io::Result<()> {
        // Not a call to the engine: refused connections are normal while a service wakes up.
        self.inner.reach(address, deadline).await
    }

    async fn logs(&self, container: &str, n_lines: u32) -> Result<String, EngineError> {
        self.read("logs", self.inner.logs(container, n_lines)).await
    }

    async fn follow_logs(
        &self,
        container: &str,
        after: Option<&str>,
    ) -> Result<BoxStream<'static, LogLine>, EngineError> {
        self.read("follow_logs", self.inner.follow_logs(container, after)).await
    }

    async fn events(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError> {
        self.read("events", self.inner.events()).await
    }
}
