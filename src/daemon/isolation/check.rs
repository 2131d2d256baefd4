//! One check: two instances of the prober, what it saw, and nothing left.
//!
//! The instances are rows like any other, made and removed by their workers; after a kill the next
//! start ends them. They differ from a player's in nothing but what runs in them.
//!
//! # Invariants
//! * Whatever a check comes to, its instances are asked to end before that is told.
//! * The listener of the check is closed when the prober has ended.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};
use uuid::Uuid;

use crate::catalog::CAPABILITIES;
use crate::daemon::own_image::{self, OwnImage};
use crate::daemon::shared::Shared;
use crate::daemon::{leases, queue};
use crate::model::compose::{AnswerFiles, HealthTest, Healthcheck, Limits, Restart, Transport};
use crate::model::{
    AskedFor, ChallengeId, ContainerRuntime, Demands, Endpoint, EndpointKind, Instance, InstanceId,
    InstancePhase, ObjectId, Revision, ServiceName, TeamId, TreeId, VpnProtocol,
};
use crate::planner::isolation::{self, Ground, PORT, Row};
use crate::release::spec::{InstanceSpec, NetworkWish, PortSpec, Profile, ServiceSpec};
use crate::runtime::routes;
use crate::store::{InstanceLimits, NewInstance, PortRange};
use crate::telemetry::Chain;

/// The competition that these instances are in, for operators who list instances.
pub(crate) const COMPETITION: &str = "isolation";
/// What they are filed under, in place of a challenge.
const CHALLENGE: &str = "isolation";
/// Their only network.
const NETWORK: &str = "default";
/// The service that tries, and the one that only answers.
const PROBER: &str = "prober";
const MATE: &str = "mate";

/// Between two looks at a row.
const POLL: Duration = Duration::from_millis(100);
/// How long the prober may take; it gives up on what does not answer after three seconds.
const DEADLINE: Duration = Duration::from_secs(30);
/// How much longer than a start and the prober the lease of an instance is, in seconds.
const SPARE_SECS: u32 = 120;

/// The image of the prober.
const IMAGE: OwnImage = OwnImage {
    purpose: b"flagops-prober-v1",
    challenge: "isolation",
    service: "prober",
    what: "the image of the isolation check",
    files: &[
        ("Dockerfile", include_str!("../../../images/prober/Dockerfile")),
        ("probe.pl", include_str!("../../../images/prober/probe.pl")),
    ],
    fix: "mend what it says; its base is `debian:bookworm-slim`",
};

/// Makes the check with this container runtime; the matrix of what was seen.
///
/// # Errors
/// Says why it could not be made.
pub(super) async fn run(
    shared: &Arc<Shared>,
    runtime: ContainerRuntime,
) -> Result<Vec<Row>, String> {
    let image = own_image::ensure(shared, &IMAGE).await?;
    let first = start(shared, spec(&image, &[PROBER, MATE], runtime)?).await?;
    let second = match start(shared, spec(&image, &[PROBER], runtime)?).await {
        Ok(second) => second,
        Err(error) => {
            leases::retire(shared, first.id).await;
            return Err(error);
        }
    };
    let rows = probe(shared, &first, &second, runtime).await;
    tokio::join!(leases::retire(shared, first.id), leases::retire(shared, second.id));
    rows
}

/// An instance of the prober: these services, of which [`PROBER`] publishes its port.
fn spec(image: &str, services: &[&str], runtime: ContainerRuntime) -> Result<InstanceSpec, String> {
    let services = services.iter().map(|name| service(name, image)).collect::<Result<_, _>>()?;
    Ok(InstanceSpec {
        schema: 1,
        challenge: challenge()?,
        services,
        networks: vec![NetworkWish { name: NETWORK.to_owned(), is_internal: false }],
        volumes: Vec::new(),
        answers: BTreeMap::new(),
        demands: Demands { runtime, ..Demands::default() },
        templates: Vec::new(),
        exports: Vec::new(),
        vpn: VpnProtocol::default(),
    })
}

fn challenge() -> Result<ChallengeId, String> {
    CHALLENGE.parse().map_err(|error: crate::model::IdError| error.to_string())
}

fn service(name: &str, image: &str) -> Result<ServiceSpec, String> {
    let name: ServiceName = name.parse().map_err(|_| format!("`{name}` is no service"))?;
    let port = PortSpec {
        target: PORT,
        transport: Transport::Tcp,
        kind: EndpointKind::Tcp,
        is_hidden: false,
    };
    Ok(ServiceSpec {
        name,
        image: image.to_owned(),
        command: None,
        entrypoint: None,
        environment: BTreeMap::new(),
        answer_environment: Vec::new(),
        answers: AnswerFiles::Only(Vec::new()),
        ports: vec![port],
        depends_on: BTreeMap::new(),
        healthcheck: Some(Healthcheck::Disabled),
        networks: BTreeMap::from([(NETWORK.to_owned(), Vec::new())]),
        volumes: Vec::new(),
        tmpfs: Vec::new(),
        limits: Limits::default(),
        user: None,
        working_dir: None,
        hostname: None,
        capabilities: CAPABILITIES.iter().map(|&it| it.to_owned()).collect(),
        is_read_only: false,
        stop_signal: Some("SIGKILL".to_owned()),
        stop_grace_millis: 0,
        restart: Restart::OnFailure,
        profile: Profile::Default,
    })
}

/// Commits the wish for an instance and wakes its worker.
async fn start(shared: &Arc<Shared>, spec: InstanceSpec) -> Result<Instance, String> {
    let config = &shared.config;
    let now = shared.now();
    let deadline = u32::try_from(DEADLINE.as_secs()).unwrap_or(u32::MAX);
    let ttl_secs = shared.settings.load().start_deadline_secs + deadline + SPARE_SECS;
    let nothing = ObjectId::from_bytes([0; 20]);
    let surface = spec.services.iter().map(|service| Endpoint {
        service: service.name.clone(),
        kind: EndpointKind::Tcp,
        host: config.network.public_host.clone(),
        port: 0,
        target: PORT,
        transport: Transport::Tcp,
        door: None,
    });
    let instance = Instance {
        surface: surface.collect(),
        ..Instance::asked_for(
            AskedFor {
                id: InstanceId::new(Uuid::new_v4()),
                challenge: spec.challenge.clone(),
                team: TeamId::CANARY,
                competition: COMPETITION.to_owned(),
                // It comes from this binary. A revision that is there keeps it from being missed.
                revision: shared.head.load().revision.unwrap_or(Revision(nothing)),
                tree: TreeId(nothing),
            },
            now,
            ttl_secs,
        )
    };
    let new = NewInstance {
        instance,
        spec,
        // Two, and one check at a time.
        limits: InstanceLimits { per_team: u32::MAX, per_node: u32::MAX },
        repeats: crate::store::Repeats::Another,
        ports: PortRange { first: config.network.first_port, last: config.network.last_port },
    };
    let instance =
        shared.store.insert_instance(new).await.map_err(|error| Chain(&error).to_string())?;
    queue::trigger(shared, instance.id);
    Ok(instance)
}

/// Waits for both instances, opens the listener, and lets the first one try everything.
async fn probe(
    shared: &Arc<Shared>,
    first: &Instance,
    second: &Instance,
    runtime: ContainerRuntime,
) -> Result<Vec<Row>, String> {
    wait_ready(shared, first.id).await?;
    let other = wait_ready(shared, second.id).await?;
    let listener = Listener::open().await.map_err(|error| format!("no listener: {error}"))?;
    let (prober, ours) = addresses(shared, first.id).await?;
    let (_, theirs) = addresses(shared, second.id).await?;
    let of = |addresses: &BTreeMap<String, Ipv4Addr>, service: &str| {
        addresses.get(service).copied().ok_or_else(|| format!("`{service}` has no address"))
    };
    let routes = routes::routes().unwrap_or_default();
    let kernel = match runtime {
        ContainerRuntime::Default => None,
        ContainerRuntime::Runsc => {
            let info = shared.engine.info().await.map_err(|error| Chain(&error).to_string())?;
            Some(info.kernel)
        }
    };
    let ground = Ground {
        mate: of(&ours, MATE)?,
        other: of(&theirs, PROBER)?,
        own_gateway: gateway(shared, first.id).await?,
        other_gateway: gateway(shared, second.id).await?,
        node: routes::own_address(),
        listener: listener.port,
        published: other.surface.first().map(|it| it.port).ok_or("nothing is published")?,
        router: routes::router(&routes),
        internet: shared.config.network.resolver,
        kernel,
    };
    let command = HealthTest::Exec(isolation::command(&ground));
    let ran = tokio::select! {
        ran = shared.engine.exec(&prober, &command, DEADLINE) => ran,
        never = listener.serve() => match never {},
        () = shared.tasks.stopping().cancelled() => return Err("the server stops".to_owned()),
    };
    let ran = ran.map_err(|error| Chain(&error).to_string())?;
    if ran.code != 0 {
        let said: String = ran.output.chars().take(200).collect();
        return Err(format!("the prober ended with code {}: {}", ran.code, said.trim()));
    }
    Ok(isolation::matrix(&ground, &ran.output))
}

/// The container of the prober of an instance, and the address of each service.
async fn addresses(
    shared: &Shared,
    id: InstanceId,
) -> Result<(String, BTreeMap<String, Ipv4Addr>), String> {
    let seen = shared.engine.containers(Some(id)).await;
    let seen = seen.map_err(|error| Chain(&error).to_string())?;
    let mut addresses = BTreeMap::new();
    let mut prober = None;
    for container in seen {
        let Some(service) = &container.service else { continue };
        if service.as_str() == PROBER {
            prober = Some(container.id.clone());
        }
        let network = container.wishes.get(NETWORK);
        if let Some(address) = network.and_then(|network| container.addresses.get(network)) {
            addresses.insert(service.to_string(), *address);
        }
    }
    Ok((prober.ok_or("the prober is gone")?, addresses))
}

/// The address of this host on the network of an instance.
async fn gateway(shared: &Shared, id: InstanceId) -> Result<Ipv4Addr, String> {
    let rows = shared.store.networks().await.map_err(|error| Chain(&error).to_string())?;
    let own = rows.iter().find(|row| row.owner.as_ref().is_some_and(|(owner, _)| *owner == id));
    own.and_then(|row| row.spec.subnet.hosts().next())
        .ok_or_else(|| "the prober has no network".to_owned())
}

async fn wait_ready(shared: &Arc<Shared>, id: InstanceId) -> Result<Instance, String> {
    loop {
        let row = shared.store.instance(id).await.map_err(|error| Chain(&error).to_string())?;
        let row = row.ok_or("the prober's row is gone")?;
        match row.phase {
            InstancePhase::Ready => return Ok(row),
            InstancePhase::Queued
            | InstancePhase::Preparing
            | InstancePhase::Creating
            | InstancePhase::Starting
            | InstancePhase::Probing => {}
            InstancePhase::Removing | InstancePhase::Failed | InstancePhase::Stopped => {
                let why = row.error.unwrap_or_else(|| "somebody stopped it".to_owned());
                return Err(format!("the prober did not start: {why}"));
            }
        }
        if !shared.tasks.sleep(POLL).await {
            return Err("the server stops".to_owned());
        }
    }
}

/// A service of the host on every address of it, by TCP and UDP on one port.
struct Listener {
    port: u16,
    tcp: TcpListener,
    udp: UdpSocket,
    /// `None` where the host has no IPv6.
    v6: Option<TcpListener>,
}

impl Listener {
    async fn open() -> io::Result<Self> {
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let port = tcp.local_addr()?.port();
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        // Linux would let it take the IPv4 addresses, too, unless somebody has them: we have.
        let v6 = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await.ok();
        Ok(Self { port, tcp, udp, v6 })
    }

    /// Answers whoever comes, until it is dropped.
    async fn serve(&self) -> std::convert::Infallible {
        let mut datagram = [0; 64];
        loop {
            // Cancel-safe: accepting and receiving lose nothing when another wins.
            tokio::select! {
                accepted = self.tcp.accept() => answer(accepted).await,
                accepted = accept(self.v6.as_ref()) => answer(accepted).await,
                received = self.udp.recv_from(&mut datagram) => {
                    if let Ok((_, from)) = received {
                        let _ = self.udp.send_to(b"flagops\n", from).await;
                    }
                }
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn answer(accepted: io::Result<(tokio::net::TcpStream, SocketAddr)>) {
    match accepted {
        Ok((mut stream, _)) => {
            let _ = stream.write_all(b"flagops\n").await;
        }
        // Out of files, most likely: that passes.
        Err(_) => tokio::time::sleep(POLL).await,
    }
}
