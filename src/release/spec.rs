//! The fields that we set on an engine's objects, and nothing else.
//!
//! [`InstanceSpec`] is what an instance was started from: it is stored with the instance, so that
//! it can be finished, repaired and removed without git and by a newer flagops. It holds no answer.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::gateway;
use crate::model::compose::{
    AnswerFiles, AnswerVariable, Compose, DependsCondition, Healthcheck, ImageSource, Limits,
    NetworkDecl, Restart, Service, ServiceProtocol, Tmpfs, Transport, VolumeMount,
};
use crate::model::{
    AnswerFormat, Challenge, ChallengeId, Demands, Egress, EndpointKind, Hardening, InstanceId,
    Provenance, QuestionMode, ServiceName, Topology, VpnProtocol,
};

/// The version of [`InstanceSpec`] that this binary writes.
const SCHEMA: u32 = 1;

/// The network every service without `networks` is on.
const DEFAULT_NETWORK: &str = "default";

/// Added for services that have ports and only internal networks. Not a name an author can write.
const INGRESS_NETWORK: &str = "_ingress";

/// Why a challenge cannot become an instance.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// An image is not on the node.
    #[error("the image of service `{service}` is not built yet")]
    MissingImage {
        /// The service.
        service: ServiceName,
    },
    /// Players come through a VPN gateway, and there is none.
    #[error(
        "challenge `{challenge}` has the topology `engagement` and no service `openvpn`, which players would come through: add it to docker-compose.yml (rule NET001)"
    )]
    NoGateway {
        /// The challenge.
        challenge: ChallengeId,
    },
}

/// What an instance of `challenge` consists of. `images` maps each service to the engine's id of
/// its image.
///
/// # Errors
/// When an image is missing, or the topology cannot be run.
pub fn instance_spec(
    challenge: &Challenge,
    images: &BTreeMap<ServiceName, String>,
) -> Result<InstanceSpec, SpecError> {
    let empty = Compose { services: Vec::new(), networks: BTreeMap::new(), volumes: Vec::new() };
    let compose = challenge.compose.as_ref().unwrap_or(&empty);
    let is_behind_gateway = challenge.metadata.topology == Topology::Engagement;
    if is_behind_gateway
        && challenge.compose.is_some()
        && !compose.services.iter().any(|it| it.image == ImageSource::Gateway)
    {
        return Err(SpecError::NoGateway { challenge: challenge.id.clone() });
    }
    let mut demands = challenge.metadata.instance.demands;
    if is_behind_gateway {
        // Its services have no way out, and its gateway must not become one.
        demands.egress = Egress::None;
    }
    let services = compose
        .services
        .iter()
        .map(|service| {
            let reach = if is_behind_gateway {
                Reach::ThroughGateway
            } else {
                Reach::Published(&compose.networks)
            };
            match &service.image {
                ImageSource::Gateway => Ok(gateway::spec(service, image_of(service, images)?)),
                ImageSource::Build(_) | ImageSource::Reference(_) => {
                    Ok(shut_in(service_spec(service, images, reach)?, demands.profile))
                }
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut networks: Vec<NetworkWish> = Vec::new();
    for name in services.iter().flat_map(|service| service.networks.keys()) {
        if networks.iter().all(|wish| wish.name != *name) {
            let is_internal = match is_behind_gateway {
                // Nothing but the gateway's own end leads out.
                true => name != gateway::EDGE_NETWORK,
                false => compose.networks.get(name).is_some_and(|decl| decl.is_internal),
            };
            networks.push(NetworkWish { name: name.clone(), is_internal });
        }
    }
    networks.sort_by_key(|wish| (wish.name != DEFAULT_NETWORK, wish.name.clone()));
    let answers = challenge
        .metadata
        .questions
        .iter()
        .filter_map(|question| match question.mode {
            QuestionMode::Dynamic { format } => Some((question.id.to_string(), format)),
            QuestionMode::Static { .. }
            | QuestionMode::SingleSelect { .. }
            | QuestionMode::MultiSelect { .. } => None,
        })
        .collect();
    Ok(InstanceSpec {
        schema: SCHEMA,
        challenge: challenge.id.clone(),
        services,
        networks,
        volumes: compose.volumes.clone(),
        answers,
        demands,
        templates: templates(challenge),
        exports: exports(challenge),
        vpn: VpnProtocol::default(),
    })
}

/// The templates that are rendered for each instance, as stored below `attachments/`.
fn templates(challenge: &Challenge) -> Vec<String> {
    let templates = challenge.attachments.iter().filter(|file| file.is_template);
    templates.map(|file| file.name.clone()).collect()
}

/// The files that each instance makes for itself.
fn exports(challenge: &Challenge) -> Vec<ExportWish> {
    let own = challenge.metadata.exports.iter().filter(|export| export.is_per_team);
    own.map(|it| ExportWish {
        service: it.service.clone(),
        path: it.path.clone(),
        name: it.name.clone(),
    })
    .collect()
}

/// How players reach the ports of a service.
#[derive(Clone, Copy)]
enum Reach<'a> {
    /// On ports of the host. With the networks as they are declared.
    Published(&'a BTreeMap<String, NetworkDecl>),
    /// At its own address, through the VPN.
    ThroughGateway,
}

fn service_spec(
    service: &Service,
    images: &BTreeMap<ServiceName, String>,
    reach: Reach<'_>,
) -> Result<ServiceSpec, SpecError> {
    let image = image_of(service, images)?;
    let mut networks = networks_of(service);
    if let Reach::Published(decls) = reach {
        let is_internal = |name: &String| decls.get(name).is_some_and(|decl| decl.is_internal);
        if networks.keys().all(is_internal) && !service.ports.is_empty() {
            // An engine publishes nothing on an internal network (E1): the ports get a way in.
            networks.insert(INGRESS_NETWORK.to_owned(), Vec::new());
        }
    }
    let ports = service
        .ports
        .iter()
        .map(|port| PortSpec {
            target: port.target,
            transport: port.transport,
            kind: endpoint_kind(service.protocol, port.transport, port.target),
            is_hidden: matches!(reach, Reach::ThroughGateway),
        })
        .collect();
    Ok(ServiceSpec {
        name: service.name.clone(),
        image: image.clone(),
        command: service.command.clone(),
        entrypoint: service.entrypoint.clone(),
        environment: service.environment.clone(),
        answer_environment: service.answer_environment.clone(),
        answers: service.answers.clone(),
        ports,
        depends_on: service.depends_on.clone(),
        healthcheck: service.healthcheck.clone(),
        networks,
        volumes: service.volumes.clone(),
        tmpfs: service.tmpfs.clone(),
        limits: service.limits.clone(),
        user: service.user.clone(),
        working_dir: service.working_dir.clone(),
        hostname: service.hostname.clone(),
        capabilities: service.capabilities.clone(),
        is_read_only: service.is_read_only,
        stop_signal: service.stop_signal.clone(),
        stop_grace_millis: service.stop_grace_millis,
        restart: service.restart,
        profile: Profile::Default,
    })
}

fn image_of<'i>(
    service: &Service,
    images: &'i BTreeMap<ServiceName, String>,
) -> Result<&'i String, SpecError> {
    let missing = || SpecError::MissingImage { service: service.name.clone() };
    images.get(&service.name).ok_or_else(missing)
}

/// The networks of a service with its further names there; never none.
pub(super) fn networks_of(service: &Service) -> BTreeMap<String, Vec<String>> {
    let named = service.networks.iter().map(|(name, how)| (name.clone(), how.aliases.clone()));
    let mut networks: BTreeMap<String, Vec<String>> = named.collect();
    if networks.is_empty() {
        networks.insert(DEFAULT_NETWORK.to_owned(), Vec::new());
    }
    networks
}

/// `service` as its profile has it: a strict one has no capability, and a root that is not written.
fn shut_in(service: ServiceSpec, profile: Hardening) -> ServiceSpec {
    match profile {
        Hardening::Default => service,
        Hardening::Strict => {
            ServiceSpec { capabilities: Vec::new(), is_read_only: true, ..service }
        }
    }
}

/// The wire word of a port (`contract/challenges.md` §4.4 point 5).
fn endpoint_kind(protocol: ServiceProtocol, transport: Transport, target: u16) -> EndpointKind {
    match (protocol, transport, target) {
        (ServiceProtocol::Tcp, _, _) | (_, Transport::Udp, _) => EndpointKind::Tcp,
        (ServiceProtocol::Http, Transport::Tcp, 443) => EndpointKind::Https,
        (ServiceProtocol::Http, Transport::Tcp, _) => EndpointKind::Http,
    }
}

impl InstanceSpec {
    /// The VPN gateway, where there is one.
    pub fn gateway(&self) -> Option<&ServiceSpec> {
        self.services.iter().find(|service| service.profile == Profile::Gateway)
    }

    /// The same with a gateway that speaks `protocol`, where it has one.
    #[must_use]
    pub fn speaking(mut self, protocol: VpnProtocol) -> Self {
        if self.gateway().is_some() {
            self.vpn = protocol;
        }
        self
    }

    /// The memory that its services may use together.
    pub fn memory_bytes(&self) -> u64 {
        let limits = self.services.iter().map(|service| service.limits.memory_bytes);
        limits.fold(0, u64::saturating_add)
    }

    /// The processors that its services may use together, in thousandths.
    pub fn cpu_millis(&self) -> u64 {
        self.services.iter().map(|service| u64::from(service.limits.cpu_millis)).sum()
    }
}

impl ServiceSpec {
    /// Whether something is written into its container before it starts.
    pub fn is_filled(&self, spec: &InstanceSpec) -> bool {
        self.profile == Profile::Gateway || !self.answer_ids(spec).is_empty()
    }

    /// The dynamic questions whose answers it finds under `/answers/`.
    pub fn answer_ids<'a>(&'a self, spec: &'a InstanceSpec) -> Vec<&'a str> {
        match &self.answers {
            AnswerFiles::All => spec.answers.keys().map(String::as_str).collect(),
            AnswerFiles::Only(ids) => {
                ids.iter().map(String::as_str).filter(|id| spec.answers.contains_key(*id)).collect()
            }
        }
    }
}

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
    /// What it asks of the node beside room; absent when nothing, as before there was any.
    #[serde(default, skip_serializing_if = "Demands::is_nothing")]
    pub demands: Demands,
    /// Templates below `attachments/` that are rendered before the first container exists. They
    /// determine no container, so no hash covers them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<String>,
    /// Files that its services write when they start, and that its players may download. They
    /// determine no container either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<ExportWish>,
    /// What its gateway speaks, where it has one; absent for OpenVPN, as before there was a choice.
    #[serde(default, skip_serializing_if = "VpnProtocol::is_openvpn")]
    pub vpn: VpnProtocol,
}

/// A file that is taken out of a container once the instance is usable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportWish {
    /// Whose container.
    pub service: ServiceName,
    /// Where it is there: absolute, without `.` and `..`.
    pub path: String,
    /// The name it is downloaded by.
    pub name: String,
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
    /// What it may do beside the fields above.
    // Left out where it says nothing, so that specs of before keep their hashes.
    #[serde(default, skip_serializing_if = "Profile::is_default")]
    pub profile: Profile,
}

/// What a container may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// What every service may.
    #[default]
    Default,
    /// Our own VPN gateway: it has a tunnel, and forwards.
    Gateway,
}

impl Profile {
    fn is_default(&self) -> bool {
        *self == Self::Default
    }
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
    /// Not published: players reach it through the VPN, at the container's own address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_hidden: bool,
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
    /// What its challenge asks of the node beside room.
    pub demands: Demands,
    /// Most bytes that its instance may keep on the disk, and so of any one file.
    pub disk_bytes: u64,
    /// The name server for names outside of the instance; `None` when none is asked.
    pub resolver: Option<Ipv4Addr>,
    /// What it finds in `/etc/hosts`: names of the instance with their addresses.
    pub hosts: Vec<(String, Ipv4Addr)>,
    /// Where the instance comes from, for the labels.
    pub provenance: Provenance,
}

/// One end of a container on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkEnd {
    /// The wish of the instance that it fulfils, for the label.
    pub wish: String,
    /// The engine's id of the network.
    pub network: String,
    /// Names under which the others find it: the service's name first.
    pub aliases: Vec<String>,
    /// The address that it has there; `None` when the engine chooses.
    pub address: Option<Ipv4Addr>,
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
    /// Interface name on the host, `fi` + 10 hex, or `fx` when it leads to the internet: with the subnet
    /// the lock against doubles, and what the wall tells networks by.
    pub bridge: String,
    /// Explicit, from our own pool.
    pub subnet: ipnet::Ipv4Net,
    /// No way out and no published ports.
    pub is_internal: bool,
}
