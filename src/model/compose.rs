//! What a compose file may say, after every refusal and clamp: only what is here can run.
//!
//! There is no field for `privileged`, host namespaces, devices, host mounts or foreign networks,
//! so no code path can hand them to an engine (`contract/security.md` M07–M14).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ServiceName;
use super::challenge::word_enum;

/// A whole compose file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compose {
    /// In file order: the first with `ports` is the primary service.
    pub services: Vec<Service>,
    /// Declared networks beside `default`, by name.
    pub networks: BTreeMap<String, NetworkDecl>,
    /// Declared named volumes. All are private to the instance.
    pub volumes: Vec<String>,
}

impl Compose {
    /// The service of this name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name.as_str() == name)
    }
}

/// A declared network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkDecl {
    /// No way out and no published ports.
    pub is_internal: bool,
}

/// One service. Durations in milliseconds, sizes in bytes, CPU in thousandths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its key in `services`; also its DNS name inside the instance.
    pub name: ServiceName,
    /// Where the image comes from.
    pub image: ImageSource,
    /// Replaces the image's CMD.
    pub command: Option<Vec<String>>,
    /// Replaces the image's ENTRYPOINT.
    pub entrypoint: Option<Vec<String>>,
    /// Literal variables, after interpolation from the explicit map.
    pub environment: BTreeMap<String, String>,
    /// Variables `ANSWER_<ID>` that are passed through from the minted answers; only the service
    /// `flag-rotator` has any. The value is the name of the variable inside the container.
    pub answer_environment: Vec<AnswerVariable>,
    /// Ports that players reach, without duplicates. The host side is ours.
    pub ports: Vec<Port>,
    /// What the ports speak (`ctfy.service.protocol`).
    pub protocol: ServiceProtocol,
    /// Which services must have come how far before this one starts.
    pub depends_on: BTreeMap<ServiceName, DependsCondition>,
    /// The author's health command; `None` leaves the image's own in force.
    pub healthcheck: Option<Healthcheck>,
    /// Networks with extra aliases; empty means `default`.
    pub networks: BTreeMap<String, NetworkUse>,
    /// Named volumes mounted into it.
    pub volumes: Vec<VolumeMount>,
    /// Which answers are files under `/answers/`.
    pub answers: AnswerFiles,
    /// tmpfs mounts.
    pub tmpfs: Vec<Tmpfs>,
    /// Bounds on what it may use; never unlimited.
    pub limits: Limits,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Host name inside the container.
    pub hostname: Option<String>,
    /// Capabilities beyond none, all from the allowlist, without `CAP_`, sorted. The baseline's
    /// default set minus `cap_drop`, plus `cap_add`.
    pub capabilities: Vec<String>,
    /// Root file system read-only.
    pub is_read_only: bool,
    /// Signal that stops it, e.g. `SIGINT`.
    pub stop_signal: Option<String>,
    /// How long it may take to stop, at most 10 s. 0, the default, kills it at once: nothing of an
    /// instance outlives it, so there is nothing to save.
    pub stop_grace_millis: u32,
    /// What happens when it exits.
    pub restart: Restart,
}

impl Service {
    /// Whether this is the conventional sidecar that writes answers and exits.
    pub fn is_rotator(&self) -> bool {
        self.name.as_str() == ROTATOR
    }
}

/// The conventional name of the answer sidecar.
pub const ROTATOR: &str = "flag-rotator";

/// The name of the service that our own VPN gateway takes the place of, in an engagement.
pub const GATEWAY: &str = "openvpn";

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// Built from the repository.
    Build(BuildSpec),
    /// A reference, present locally or pulled.
    Reference(String),
    /// Our own VPN gateway, whatever the author wrote: no author's code gets `NET_ADMIN`.
    Gateway,
}

/// How an image is built. Paths stay inside the challenge folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSpec {
    /// Context folder inside the challenge folder; `""` is the challenge folder.
    pub context: String,
    /// Dockerfile inside the context.
    pub dockerfile: String,
    /// Stage to stop at.
    pub target: Option<String>,
    /// Build arguments. Never a secret: they can be read from the image.
    pub args: BTreeMap<String, String>,
}

/// An answer passed through to the rotator's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerVariable {
    /// Name of the variable inside the container.
    pub name: String,
    /// The question whose minted answer is its value.
    pub question: String,
}

/// A port that players reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Port {
    /// Port inside the container.
    pub target: u16,
    /// Transport.
    pub transport: Transport,
}

word_enum!(
    /// Transport of a published port.
    Transport {
        /// Stream.
        Tcp = "tcp",
        /// Datagram.
        Udp = "udp",
    }
);

word_enum!(
    /// What a service speaks on its ports.
    ServiceProtocol {
        /// HTTP; the default.
        Http = "http",
        /// Anything else.
        Tcp = "tcp",
    }
);

word_enum!(
    /// How far a dependency must have come.
    DependsCondition {
        /// Its container runs.
        Started = "service_started",
        /// Its health command passed.
        Healthy = "service_healthy",
        /// It exited with 0.
        Completed = "service_completed_successfully",
    }
);

/// A health command (durations in milliseconds).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Healthcheck {
    /// `disable: true` or `test: ["NONE"]`.
    Disabled,
    /// A command.
    Command {
        /// What to run.
        test: HealthTest,
        /// Between two runs.
        interval_millis: u32,
        /// How long one may take.
        timeout_millis: u32,
        /// Failures in a row until unhealthy.
        retries: u32,
        /// Failures in this time do not count.
        start_period_millis: u32,
    },
}

/// The command of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthTest {
    /// `CMD`: arguments, no shell.
    Exec(Vec<String>),
    /// `CMD-SHELL`: one line for the container's shell.
    Shell(String),
}

/// How a service sits on a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkUse {
    /// Further names beside the service's own.
    pub aliases: Vec<String>,
}

/// A named volume inside a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// The volume's name in the file; `None` is an anonymous volume.
    pub source: Option<String>,
    /// Absolute path inside the container.
    pub target: String,
    /// Read-only inside.
    pub is_read_only: bool,
}

/// Which minted answers a service finds under `/answers/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnswerFiles {
    /// Every dynamic question. The case of a file where no service says anything about answers.
    All,
    /// These questions; from mounts of `/answers/<id>` or from `x-answers`.
    Only(Vec<String>),
}

/// A tmpfs mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Absolute path inside the container.
    pub target: String,
    /// Bound in bytes; counts as memory.
    pub size_bytes: u64,
}

/// Bounds of one container; the effective values, after defaults and ceilings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory, swap included.
    pub memory_bytes: u64,
    /// CPU in thousandths of one core.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub pids: u32,
    /// `/dev/shm`.
    pub shm_bytes: u64,
    /// Open files, soft and hard.
    pub nofile: (u32, u32),
}

impl Default for Limits {
    /// 512 MiB, one core, 256 processes, 64 MiB shm, 4096:16384 files (`security.md` §3.2).
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            cpu_millis: 1000,
            pids: 256,
            shm_bytes: 64 << 20,
            nofile: (4096, 16384),
        }
    }
}

/// What happens when a container exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Nothing: an exit with 0 is success, another code is a failure.
    No,
    /// Started again, by us, with a bounded number of attempts (the default).
    OnFailure,
}
