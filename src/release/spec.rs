//! The fields that we set on an engine's objects, and nothing else.
//!
//! [`InstanceSpec`] is what an instance was started from: it is stored with the instance, so that
//! it can be finished, repaired and removed without git and by a newer flagops. It holds no answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::compose::{
    AnswerFiles, AnswerVariable, DependsCondition, Healthcheck, Limits, Restart, Tmpfs, Transport,
    VolumeMount,
};
use crate::model::{AnswerFormat, ChallengeId, EndpointKind, InstanceId, ServiceName};

/// Everything that determines the containers of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Version of this shape; golden tests pin its hash.
    pub schema: u32,
    /// The challenge.
    pub challenge: ChallengeId,
    /// In file order.
    pub services: Vec<ServiceSpec>,
    /// Networks of the instance by name; `default` first if any service uses it.
    pub networks: Vec<NetworkWish>,
    /// Named volumes of the instance.
    pub volumes: Vec<String>,
    /// The dynamic questions with the shape of their answers.
    pub answers: BTreeMap<String, AnswerFormat>,
}

/// A network that an instance needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkWish {
    /// The name in the compose file.
    pub name: String,
    /// No way out and no published ports.
    pub is_internal: bool,
}

/// One container of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// The service.
    pub name: ServiceName,
    /// The image, by the engine's id (`sha256:…`), so that a moved tag changes nothing.
    pub image: String,
    /// Replaces the image's CMD.
    pub command: Option<Vec<String>>,
    /// Replaces the image's ENTRYPOINT.
    pub entrypoint: Option<Vec<String>>,
    /// Literal variables.
    pub environment: BTreeMap<String, String>,
    /// Variables whose value is a minted answer (rotator only).
    pub answer_environment: Vec<AnswerVariable>,
    /// Which answers are files under `/answers/`.
    pub answers: AnswerFiles,
    /// Ports that players reach.
    pub ports: Vec<PortSpec>,
    /// What must have come how far before it starts.
    pub depends_on: BTreeMap<ServiceName, DependsCondition>,
    /// The health command; `None` leaves the image's own.
    pub healthcheck: Option<Healthcheck>,
    /// Networks by name with the further aliases; never empty.
    pub networks: BTreeMap<String, Vec<String>>,
    /// Named and anonymous volumes.
    pub volumes: Vec<VolumeMount>,
    /// tmpfs mounts.
    pub tmpfs: Vec<Tmpfs>,
    /// Bounds.
    pub limits: Limits,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Capabilities, the complete set.
    pub capabilities: Vec<String>,
    /// Root file system read-only.
    pub is_read_only: bool,
    /// Signal that stops it.
    pub stop_signal: Option<String>,
    /// How long it may take to stop.
    pub stop_grace_millis: u32,
    /// What happens when it exits.
    pub restart: Restart,
}

/// A port that players reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Inside the container.
    pub target: u16,
    /// Transport.
    pub transport: Transport,
    /// The wire word of the endpoint.
    pub kind: EndpointKind,
}

/// One container as the engine is asked for it. Made by `planner`, consumed by `runtime::Engine`.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSpec {
    /// Deterministic name, see `planner::names`.
    pub name: String,
    /// The instance it belongs to.
    pub instance: InstanceId,
    /// What it runs.
    pub service: ServiceSpec,
    /// The challenge, for the label.
    pub challenge: ChallengeId,
    /// `release::identity::spec_hash` of the whole instance, for the label.
    pub spec_hash: String,
    /// The network it is created on, which carries its published ports.
    pub network: NetworkEnd,
    /// Networks it is connected to before it starts.
    pub more_networks: Vec<NetworkEnd>,
    /// Engine names of the named volumes, by their name in the file.
    pub volume_names: BTreeMap<String, String>,
    /// Published ports: host address and port for each of `service.ports`, in the same order.
    pub published: Vec<Published>,
    /// Values for `service.answer_environment`, in the same order. Secret.
    pub answer_values: Vec<String>,
    /// Whether a volume of ours is mounted at `/answers`, to be filled before the start.
    pub has_answers: bool,
}

/// One end of a container on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkEnd {
    /// The engine's id of the network.
    pub network: String,
    /// Names under which the others find it: the service's name first.
    pub aliases: Vec<String>,
}

/// Where a port is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Host address, e.g. `127.0.0.1`.
    pub address: std::net::IpAddr,
    /// Host port, allocated by us.
    pub port: u16,
    /// Port inside the container.
    pub target: u16,
    /// Transport.
    pub transport: Transport,
}

/// One network as the engine is asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Engine name, `fo-<installation8>-<subnet in hex>`.
    pub name: String,
    /// Interface name on the host, `fi` + 10 hex: with the subnet the lock against doubles.
    pub bridge: String,
    /// Explicit, from our own pool.
    pub subnet: ipnet::Ipv4Net,
    /// No way out and no published ports.
    pub is_internal: bool,
}
