//! The only room that talks to a container engine.
//!
//! [`Engine`] is what the rest of the house knows of one: a handful of verbs over engine-neutral
//! specs. [`docker::Docker`] speaks to a real engine, [`fake::FakeEngine`] is driven by tests, and
//! one suite (`runtime::suite`) runs against both.
//!
//! # Invariants
//! * Everything created bears our installation id; listings return nothing else; removing what is
//!   not ours is [`EngineError::NotOurs`].
//! * Removing what is absent succeeds.
//! * Every call has a deadline and ends as [`EngineError::TimedOut`], never hangs.
//! * No secret is put into a label, a name or an error.

mod archive;
pub mod docker;
pub mod fake;
mod labels;
pub mod metered;
pub mod probe;
mod registry;
pub mod routes;
#[cfg(test)]
mod suite;
pub mod terminal;
pub mod wall;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use thiserror::Error;

use crate::model::compose::HealthTest;
use crate::model::{
    BuildKey, ChallengeId, Disk, Disposition, InstanceId, Provenance, RetryClass, ServiceName,
    Timestamp, TreeId,
};
use crate::planner::drift::LimitsSeen;
use crate::release::spec::{ContainerSpec, NetworkSpec, Published};

pub use archive::{ImageFile, NoFile};
pub use registry::{Registry, is_digest};
pub use terminal::{Keyboard, Terminal, TerminalSize};

/// A saved image on its way; one that is broken off ends with an error.
pub type ImageBytes = BoxStream<'static, std::io::Result<Bytes>>;

/// What the tags begin with that images have for a moment, while they are taken over.
const TAKEN: &str = "flagops/taken:";

/// The tag that an image has while it is taken over, to be tagged `tag` in the end.
pub fn taken_tag(tag: &str) -> String {
    format!("{TAKEN}{}", tag.rsplit_once(':').map_or(tag, |(_, version)| version))
}

/// A container engine on one machine.
#[async_trait]
pub trait Engine: fmt::Debug + Send + Sync {
    /// What engine this is.
    async fn info(&self) -> Result<EngineInfo, EngineError>;

    /// Proves that the engine can really create: makes and removes a container (never started)
    /// from a tiny image of our own. A mere ping answers while containerd hangs (E17).
    async fn prove(&self) -> Result<(), EngineError>;

    /// The image of this reference or id, if present. Not limited to ours.
    async fn image(&self, reference: &str) -> Result<Option<ImageSeen>, EngineError>;
    /// The images that we built.
    async fn images(&self) -> Result<Vec<ImageSeen>, EngineError>;
    /// Pulls a reference from its registry.
    async fn pull(&self, reference: &str) -> Result<ImageSeen, EngineError>;
    /// Builds one image; each line of output goes to `log` as it appears. Cancel-safe: dropping
    /// the future ends the build.
    async fn build(&self, request: BuildRequest, log: LogSink) -> Result<ImageSeen, BuildError>;
    /// The regular file at `path` of an image, of at most `limit_bytes`; links are not followed at
    /// its end, and nothing of the image runs.
    async fn image_file(
        &self,
        image: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError>;
    /// An image with its layers, as another engine takes it in. Not limited to ours.
    async fn save(&self, image: &str) -> Result<ImageBytes, EngineError>;
    /// Takes an image in that another engine saved, and finds it by the id `image` that it has there:
    /// an id names content. It gets the tag `tag`, one of [`taken_tag`], and no label of ours.
    async fn load(
        &self,
        image: &str,
        tag: &str,
        bytes: ImageBytes,
    ) -> Result<ImageSeen, EngineError>;
    /// Takes the tag that [`Engine::load`] gave away, and the image with it where it has no other; layers
    /// that another image shares stay.
    async fn unload(&self, tag: &str) -> Result<(), EngineError>;
    /// Puts an image into a registry under the name `key` there, and gives the digest that it has there.
    /// The image has no further tag afterwards.
    async fn push(
        &self,
        image: &str,
        key: BuildKey,
        registry: &Registry,
    ) -> Result<String, EngineError>;
    /// As [`Engine::load`], out of a registry, by the digest that [`Engine::push`] gave.
    async fn fetch(
        &self,
        image: &str,
        tag: &str,
        registry: &Registry,
        digest: &str,
    ) -> Result<ImageSeen, EngineError>;
    /// Removes an image of ours that no container uses.
    async fn remove_image(&self, reference: &str) -> Result<(), EngineError>;

    /// The disk that it keeps its data on; `None` when that cannot be seen from this machine.
    async fn disk(&self) -> Result<Option<Disk>, EngineError>;
    /// How many bytes each of our instances keeps on that disk: writable layers, volumes, and what the
    /// engine keeps for its containers, logs among it. Adding up stops at `enough_bytes` for each. `None`
    /// when nobody can see that.
    async fn disk_use(
        &self,
        enough_bytes: u64,
    ) -> Result<Option<BTreeMap<InstanceId, u64>>, EngineError>;
    /// How large its build cache is: that of everybody who uses the engine. Slow: seconds.
    async fn build_cache_bytes(&self) -> Result<u64, EngineError>;
    /// Removes what was not used for longest from its build cache until at most `keep_bytes` are
    /// left; how many bytes that freed. Whoever else uses the engine builds slower afterwards.
    async fn trim_build_cache(&self, keep_bytes: u64) -> Result<u64, EngineError>;

    /// Makes a network; [`EngineError::SubnetTaken`] when the subnet or bridge is in use.
    async fn create_network(&self, spec: &NetworkSpec) -> Result<String, EngineError>;
    /// Removes a network of ours by id or name.
    async fn remove_network(&self, network: &str) -> Result<(), EngineError>;
    /// Puts a container of ours onto a network of ours, both by id, without names there; succeeds when it
    /// is on it. [`EngineError::NotFound`] when either is gone.
    async fn connect_network(&self, network: &str, container: &str) -> Result<(), EngineError>;
    /// Takes a container of ours off a network of ours, both by id; succeeds when it is not on it, or
    /// either is gone.
    async fn disconnect_network(&self, network: &str, container: &str) -> Result<(), EngineError>;
    /// Our networks.
    async fn networks(&self) -> Result<Vec<NetworkSeen>, EngineError>;

    /// Makes a named volume for an instance; succeeds when it exists and is that instance's.
    async fn create_volume(&self, name: &str, instance: InstanceId) -> Result<(), EngineError>;
    /// Removes a volume of ours.
    async fn remove_volume(&self, name: &str) -> Result<(), EngineError>;
    /// Our named volumes with their instance.
    async fn volumes(&self) -> Result<Vec<VolumeSeen>, EngineError>;

    /// Makes a container and connects its further networks; does not start it. When the name is
    /// taken by the same instance and spec hash, returns that one's id (a repeat after a crash).
    async fn create_container(&self, spec: &ContainerSpec) -> Result<String, EngineError>;
    /// Unpacks a tar into folder `dir` of a container, created or running.
    async fn upload(&self, container: &str, dir: &str, tar: Bytes) -> Result<(), EngineError>;
    /// The regular file at `path` of a container of ours, as it has it now, of at most `limit_bytes`;
    /// links are not followed at its end. What is on a tmpfs, or inside of gVisor, is not there.
    async fn container_file(
        &self,
        container: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError>;
    /// Starts it; succeeds when it runs. [`EngineError::PortTaken`] when a host port is in use.
    async fn start(&self, container: &str) -> Result<(), EngineError>;
    /// Stops it with its stop signal, kills it after `grace`; succeeds when it does not run.
    async fn stop(&self, container: &str, grace: Duration) -> Result<(), EngineError>;
    /// Kills and removes it with its anonymous volumes.
    async fn remove_container(&self, container: &str) -> Result<(), EngineError>;
    /// One container of ours by id or name, inspected.
    async fn container(&self, container: &str) -> Result<Option<ContainerSeen>, EngineError>;
    /// Our containers, inspected; of one instance or all.
    async fn containers(
        &self,
        instance: Option<InstanceId>,
    ) -> Result<Vec<ContainerSeen>, EngineError>;
    /// Runs a health command inside, with the container's own user and environment.
    async fn exec(
        &self,
        container: &str,
        test: &HealthTest,
        deadline: Duration,
    ) -> Result<ExecOutcome, EngineError>;
    /// Runs a program inside with a terminal, for a person; the container's own user.
    async fn shell(&self, container: &str, words: &[String]) -> Result<Terminal, EngineError>;
    /// The last `n_lines` of its output, both streams, lossy UTF-8, at most 256 KiB; hostile text.
    async fn logs(&self, container: &str, n_lines: u32) -> Result<String, EngineError>;
    /// Its output line by line as it appears: everything from the first line, or what is later than
    /// the line at `after`. Ends with its main process, or with the connection; hostile text.
    async fn follow_logs(
        &self,
        container: &str,
        after: Option<&str>,
    ) -> Result<BoxStream<'static, LogLine>, EngineError>;

    /// Hints that something of ours changed. Ends when the connection does; the caller relists
    /// and subscribes again. Events get lost: never depend on one.
    async fn events(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError>;

    /// Whether a TCP connection to a container's own address is accepted, within `deadline`.
    /// Never ask a published port: its proxy accepts before the application listens.
    async fn reach(&self, address: SocketAddrV4, deadline: Duration) -> std::io::Result<()> {
        let connecting = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(deadline, connecting).await {
            Ok(connected) => connected.map(drop),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Where lines of a build's output go.
pub type LogSink = tokio::sync::mpsc::UnboundedSender<String>;

/// What an engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its own version, e.g. `20.10.24+dfsg1`.
    pub version: String,
    /// The API version spoken, e.g. `1.41`.
    pub api_version: String,
    /// `overlay2`, ….
    pub storage_driver: String,
    /// Where it keeps its data.
    pub root_dir: String,
    /// Cores of its machine.
    pub n_cpus: u32,
    /// Memory of its machine.
    pub memory_bytes: u64,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// Kernel of its machine.
    pub kernel: String,
    /// Whether containers survive a restart of the engine.
    pub has_live_restore: bool,
    /// What it can run containers with, e.g. `runc`, `runsc`.
    pub runtimes: BTreeSet<String>,
}

/// An image on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSeen {
    /// `sha256:…`.
    pub id: String,
    /// The build key of our label, if it is ours.
    pub build_key: Option<BuildKey>,
    /// When it was made or last tagged, to the second; `None` when the engine does not say.
    pub made_at: Option<Timestamp>,
    /// Size in bytes, with the layers that it shares.
    pub size_bytes: u64,
    /// Whether the image itself declares a health command (used when the service has none).
    pub health: Option<HealthTest>,
    /// Paths the image declares as volumes; covered with tmpfs (E14).
    pub volumes: Vec<String>,
}

/// What to build.
pub struct BuildRequest {
    /// Goes into a label.
    pub key: BuildKey,
    /// Goes into a label.
    pub challenge: ChallengeId,
    /// Goes into a label.
    pub service: ServiceName,
    /// Goes into a label; `None` for what comes from no challenge.
    pub tree: Option<TreeId>,
    /// The tag to give, e.g. `flagops/web-001-web:0123456789abcdef-01234567`.
    pub tag: String,
    /// The context, an uncompressed tar.
    pub context: Bytes,
    /// The Dockerfile inside the context.
    pub dockerfile: String,
    /// Stage to stop at.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Whether `RUN` may use the network.
    pub network: BuildNetwork,
    /// How long it may take in all.
    pub deadline: Duration,
}

/// Whether `RUN` may use the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildNetwork {
    /// The engine's default network.
    Default,
    /// None but loopback.
    None,
}

/// A network of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSeen {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its subnet, if it has an IPv4 one.
    pub subnet: Option<ipnet::Ipv4Net>,
    /// No way out.
    pub is_internal: bool,
    /// How many containers are on it.
    pub n_containers: usize,
}

/// A named volume of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSeen {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub instance: Option<InstanceId>,
}

/// A container of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSeen {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub instance: Option<InstanceId>,
    /// The service it runs.
    pub service: Option<ServiceName>,
    /// The label.
    pub spec_hash: String,
    /// What it does.
    pub state: ContainerState,
    /// Its address on each network, by the network's id; empty unless running.
    pub addresses: BTreeMap<String, Ipv4Addr>,
    /// The engine's own health verdict: a late signal, we probe ourselves.
    pub is_unhealthy: bool,
    /// Its limits.
    pub limits: LimitsSeen,
    /// Host ports that it serves; empty unless running.
    pub served: BTreeSet<u16>,
    /// The challenge it is of; `None` when the label is not there.
    pub challenge: Option<ChallengeId>,
    /// The engine's id of its image.
    pub image: String,
    /// Where its ports are published, as it was asked for.
    pub published: Vec<Published>,
    /// The engine's id of the network that fulfils each wish; empty when an older flagops made it.
    pub wishes: BTreeMap<String, String>,
    /// Where its instance comes from; `None` when an older flagops made it.
    pub provenance: Option<Provenance>,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its main process runs.
    Running,
    /// Somebody paused it.
    Paused,
    /// Its main process ended.
    Exited {
        /// Exit code.
        code: i64,
        /// Whether the kernel killed it for memory.
        is_oom: bool,
    },
    /// The engine is busy with it, or could not clean it up.
    Other(String),
}

/// How a command inside a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Exit code.
    pub code: i64,
    /// The end of its output, at most 4 KiB; hostile text.
    pub output: String,
}

/// One line of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When, by the engine's clock, in a form of fixed width: later lines sort after it as text.
    pub at: String,
    /// The line without its end, lossy UTF-8, at most 16 KiB; hostile text.
    pub text: String,
}

/// A hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// The instance it is about, if it says.
    pub instance: Option<InstanceId>,
    /// `start`, `die`, `destroy`, ….
    pub action: String,
}

/// Why an engine did not do it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// It does not answer at all.
    #[error("the container engine at `{endpoint}` does not answer ({reason})")]
    Unavailable {
        /// The socket.
        endpoint: String,
        /// The transport's words.
        reason: String,
    },
    /// It took the call and did not finish it in time.
    #[error("the container engine did not finish `{what}` within {secs} s")]
    TimedOut {
        /// The verb and object.
        what: String,
        /// The deadline.
        secs: u64,
    },
    /// The object is not there.
    #[error("{what} does not exist on the container engine")]
    NotFound {
        /// The object.
        what: String,
    },
    /// The name belongs to something that is not the same object.
    #[error("{what} exists already and is something else")]
    Conflict {
        /// The object.
        what: String,
    },
    /// The object does not bear our installation id.
    #[error("{what} is not ours, so it is left alone")]
    NotOurs {
        /// The object.
        what: String,
    },
    /// The subnet or bridge of a network is in use.
    #[error("the subnet {subnet} is in use on this machine")]
    SubnetTaken {
        /// The subnet.
        subnet: String,
    },
    /// A host port is in use.
    #[error("a host port of {what} is in use ({reason})")]
    PortTaken {
        /// The container.
        what: String,
        /// The engine's words.
        reason: String,
    },
    /// The engine's disk is full.
    #[error("the disk of the container engine is full ({reason})")]
    DiskFull {
        /// The engine's words.
        reason: String,
    },
    /// The registry of an image was not reached, or wants us to come back later.
    #[error("the registry of `{reference}` does not answer ({reason})")]
    Registry {
        /// The image, or the step of a build that needs it.
        reference: String,
        /// The engine's words.
        reason: String,
    },
    /// It refused, and will refuse again.
    #[error("the container engine refused `{what}`: {reason}")]
    Refused {
        /// The verb and object.
        what: String,
        /// The engine's words.
        reason: String,
    },
}

impl EngineError {
    /// One stable word for the situation, for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::TimedOut { .. } => "timed_out",
            Self::NotFound { .. } => "not_found",
            Self::Conflict { .. } => "conflict",
            Self::NotOurs { .. } => "not_ours",
            Self::SubnetTaken { .. } => "subnet_taken",
            Self::PortTaken { .. } => "port_taken",
            Self::DiskFull { .. } => "disk_full",
            Self::Registry { .. } => "registry",
            Self::Refused { .. } => "refused",
        }
    }

    /// Whether trying again can help, and with which backoff.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unavailable { .. } | Self::TimedOut { .. } | Self::DiskFull { .. } => {
                Disposition::Retry(RetryClass::Engine)
            }
            Self::SubnetTaken { .. } | Self::PortTaken { .. } => {
                Disposition::Retry(RetryClass::Contention)
            }
            Self::Registry { .. } => Disposition::Retry(RetryClass::Network),
            Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::NotOurs { .. }
            | Self::Refused { .. } => Disposition::Terminal,
        }
    }
}

/// Why an image was not built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The Dockerfile or its context is wrong; the same input fails again.
    #[error("the build failed: {message}")]
    Failed {
        /// One line, e.g. the failing instruction and its exit code.
        message: String,
    },
    /// It took too long.
    #[error("the build did not finish within {secs} s")]
    TimedOut {
        /// The deadline.
        secs: u64,
    },
    /// Something around the build failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl BuildError {
    /// Whether trying the same input again can help.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Failed { .. } | Self::TimedOut { .. } => Disposition::Terminal,
            Self::Engine(source) => match source.disposition() {
                Disposition::Terminal => Disposition::Terminal,
                Disposition::Retry(_) => Disposition::Retry(RetryClass::Build),
                wait @ Disposition::WaitUntil(_) => wait,
            },
        }
    }
}
