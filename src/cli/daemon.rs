//! The only place that wires the rooms: opens each from the configuration and runs them together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api;
use crate::config::{Config, Secret};
use crate::daemon::{Bond, Daemon, Parts, Renderer, StartError, tag_wish};
use crate::git::{Credentials, Mirror, MirrorError, Opened, Remote, RemoteError};
use crate::ingress::{Ingress, IngressError};
use crate::model::{Clock, NodeUrl};
use crate::node::NodeError;
use crate::node::client::{Connector, HttpPlatform};
use crate::node::identity::{Identity, IdentityFileError, fingerprint};
use crate::node::tls::{OwnKey, Pin, TlsError};
use crate::node::wire::RegisterOrder;
use crate::runtime::Engine;
use crate::runtime::docker::Docker;
use crate::runtime::metered::Metered;
use crate::runtime::routes;
use crate::runtime::wall::Wall;
use crate::store::{DataDir, Store, StoreError};
use crate::telemetry::clock;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{Chain, notify};

/// Between two samples folded into histograms.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why the daemon could not run.
#[derive(Debug, Error)]
pub(super) enum RunError {
    /// Something else listens there.
    #[error("could not listen on {address}: is another flagops running, or `listen` taken?")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Packets for instances would go elsewhere, and packets for elsewhere to instances.
    #[error(
        "`network.pool` {pool} overlaps {network}, which this machine reaches through `{interface}`: set it to a private network that nothing here uses"
    )]
    PoolTaken {
        /// The configured pool.
        pool: Ipv4Net,
        /// What it overlaps.
        network: Ipv4Net,
        /// How that is reached.
        interface: String,
    },
    /// Players would not reach what is started.
    #[error(transparent)]
    Ingress(#[from] IngressError),
    /// `source.repo` is not a remote we read.
    #[error("`source.repo` cannot be used")]
    Remote(#[from] RemoteError),
    /// The database cannot be used.
    #[error("the database `{}` cannot be used", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        source: StoreError,
    },
    /// A room could not be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is neither an identity nor an invitation.
    #[error(
        "this node has not joined that platform yet: make an invite there with `flagops nodes invite`, and give it with `--invite` or `--invite-file`"
    )]
    NotInvited,
    /// The platform does not want it.
    #[error("{platform} does not take this node on ({error})")]
    NotTaken {
        /// The platform.
        platform: String,
        /// Its words.
        error: NodeError,
    },
    /// What this node is cannot be read or kept.
    #[error(transparent)]
    Identity(#[from] IdentityFileError),
    /// This node has no key.
    #[error(transparent)]
    Key(#[from] TlsError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up ({0})")]
    Tls(String),
    /// The API ended by itself.
    #[error("the API stopped serving")]
    Serve(#[source] std::io::Error),
}

/// Runs the daemon until `stop`; instances keep running afterwards.
///
/// # Errors
/// When something cannot be opened. What was opened is closed again, nothing is half started.
pub(super) async fn run(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    let remote = Remote::parse(&config.source.repo, Path::new("."))?;
    check_pool(&config)?;
    let data = DataDir::open(&config.data_dir).map_err(StartError::from)?;
    let address = config.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })?;
    if data.was_created() {
        info!(
            path = %data.admin_token_path().display(),
            "made the data directory; the administrator's token is in this file"
        );
    }
    let ingress = Ingress::open(&config.ingress, data.path()).await?;
    let (daemon, metrics) = open(config, remote, data, None).await?;
    open_door(&daemon, ingress);
    info!(%address, "listening on http://{address}");
    notify::ready("following the repository");
    let pulse = daemon.tasks();
    pulse.spawn("pulse", beat(metrics, pulse.stopping().clone()));
    let served = api::serve(daemon.platform(), listener, stop).await.map_err(RunError::Serve);
    notify::stopping("finishing engine calls; instances keep running");
    daemon.stop().await;
    info!("stopped; instances keep running and are adopted at the next start");
    served
}

/// Lets players in through the ingress, where one is configured. It ends with the daemon's tasks.
fn open_door(daemon: &Daemon, ingress: Option<Ingress>) {
    let Some(ingress) = ingress else { return };
    let (tls, plain) = ingress.addresses();
    for (address, what) in [(tls, "TLS"), (plain, "plain HTTP")] {
        if let Some(address) = address {
            info!(%address, "the ingress listens for {what} on {address}");
        }
    }
    let tasks = daemon.tasks();
    daemon.keep_routes(ingress.table());
    if let Some(certificate) = ingress.certificate() {
        daemon.tell_certificate(certificate);
    }
    let clock = clock::of_this_process();
    tasks.spawn("certificate", ingress.keep_certificate(clock, tasks.stopping().clone()));
    tasks.spawn("ingress", ingress.serve(tasks.stopping().clone()));
}

/// Opens every room and starts the daemon.
async fn open(
    config: Config,
    remote: Remote,
    data: DataDir,
    bond: Option<Bond>,
) -> Result<(Daemon, Metrics), RunError> {
    let metrics = Metrics::install();
    let path = data.database_path();
    let clock = clock::of_this_process();
    let (store, loss) = Store::open_or_restore(&path, &data.backups_path(), clock.now())
        .map_err(|error| unusable(&path, error.into()))?;
    let engine = Docker::connect(&config.engine.endpoint, data.installation().clone())
        .map_err(StartError::from)?;
    let engine = Arc::new(Metered::new(Arc::new(engine)));
    let mirror = open_mirror(&config, remote, data.path().join("mirror")).await?;
    let wall = raise_wall(&config, &data).await;
    let renderer = Renderer::of_this_process();
    let parts = Parts { config, clock, data, store, engine, wall, mirror, loss, renderer, bond };
    let daemon = Daemon::start(parts).await.map_err(|error| unusable(&path, error))?;
    Ok((daemon, metrics))
}

/// Runs a node until `stop`; instances keep running afterwards.
///
/// # Errors
/// As [`run`]; and when the platform does not take this node on.
pub(super) async fn run_node(
    mut config: Config,
    join: Join,
    stop: CancellationToken,
) -> Result<(), RunError> {
    check_pool(&config)?;
    let data = DataDir::open(&config.data_dir).map_err(StartError::from)?;
    let address = config.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })?;
    let connector = match join.pin {
        Some(pin) => Connector::pinned(pin),
        None => Connector::new(),
    };
    let connector = connector.map_err(RunError::Tls)?;
    let own = if config.node.tls { Some(OwnKey::load_or_make(data.path())?) } else { None };
    let tls = own.as_ref().map(OwnKey::server).transpose()?;
    let platform = connector.platform(join.platform.clone());
    let identity = identity(&config, &data, &platform, &join, own.as_ref(), &stop).await?;
    follow_offer(&mut config, &identity);
    let remote = Remote::parse(&config.source.repo, Path::new("."))?;
    let token = identity.token.clone();
    info!(node.id = %identity.node, "node {} of {}", identity.node, identity.platform);
    let bond = Some(Bond { platform, identity });
    let ingress = Ingress::open(&config.ingress, data.path()).await?;
    let (daemon, metrics) = open(config, remote, data, bond).await?;
    open_door(&daemon, ingress);
    info!(%address, "listening on http://{address}");
    notify::ready("following the platform");
    let pulse = daemon.tasks();
    pulse.spawn("pulse", beat(metrics, pulse.stopping().clone()));
    let app = api::node_router(Arc::new(daemon.node()), Some(token));
    let served = api::serve_node(app, listener, tls, stop).await.map_err(RunError::Serve);
    notify::stopping("finishing engine calls; instances keep running");
    daemon.stop().await;
    info!("stopped; instances keep running and are adopted at the next start");
    served
}

/// What a node needs to know before it can join.
pub(super) struct Join {
    /// The platform.
    pub(super) platform: NodeUrl,
    /// Where it reaches this node.
    pub(super) public_url: NodeUrl,
    /// Its certificate, where no authority vouches for it.
    pub(super) pin: Option<Pin>,
    /// The invitation; needed once.
    pub(super) invite: Option<Secret<String>>,
}

/// Tries to join before a person has to look.
const JOIN_ATTEMPTS: u32 = 6;

/// Who this node is: as it was kept, or as the platform says when it joins with an invitation.
async fn identity(
    config: &Config,
    data: &DataDir,
    platform: &HttpPlatform,
    join: &Join,
    own: Option<&OwnKey>,
    stop: &CancellationToken,
) -> Result<Identity, RunError> {
    let kept = Identity::load(data.path())?.filter(|it| it.platform == join.platform.to_string());
    let Some(invite) = &join.invite else { return kept.ok_or(RunError::NotInvited) };
    if let Some(kept) = kept.filter(|it| it.invite == Some(fingerprint(invite.reveal()))) {
        // The invitation that it joined with is still in the arguments: it is used up, and not needed.
        return Ok(kept);
    }
    let order = RegisterOrder {
        url: join.public_url.to_string(),
        display_name: config.node.name.clone().unwrap_or_default(),
        capacity: match config.node.capacity {
            0 => 1, // The first heartbeat says how many, once the engine was asked.
            capacity => capacity,
        },
        labels: config.node.labels.clone().unwrap_or_default().0,
        tls_pin: own.map(|own| own.pin().to_string()),
    };
    let mut attempt = 0;
    let reply = loop {
        attempt += 1;
        match platform.register(invite.reveal(), &order).await {
            Ok(reply) => break reply,
            Err(error @ NodeError::Unreachable(_)) if attempt < JOIN_ATTEMPTS => {
                warn!("could not join {} ({error}), trying again", join.platform);
                let pause = Duration::from_secs(1 << attempt);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return Err(RunError::NotInvited),
                }
            }
            Err(error) => {
                let platform = join.platform.to_string();
                return Err(RunError::NotTaken { platform, error });
            }
        }
    };
    let nobody = || RunError::NotTaken {
        platform: join.platform.to_string(),
        error: NodeError::Unreachable("its answer names no node".to_owned()),
    };
    let (node, token) = reply.identity().ok_or_else(nobody)?;
    let identity = Identity {
        platform: join.platform.to_string(),
        node: node.parse().map_err(|_| nobody())?,
        token: token.to_owned(),
        source: reply.source,
        invite: Some(fingerprint(invite.reveal())),
    };
    identity.save(data.path())?;
    Ok(identity)
}

/// What a node follows where its own configuration names nothing.
fn follow_offer(config: &mut Config, identity: &Identity) {
    let Some(offer) = &identity.source else { return };
    if config.source.repo.is_empty() {
        config.source.repo.clone_from(&offer.repo);
        config.source.branch = config.source.branch.take().or_else(|| offer.branch.clone());
    }
    if config.release.pattern.is_none() {
        config.release.pattern.clone_from(&offer.pattern);
    }
}

/// Refuses a pool that overlaps what this machine reaches already. Routes that cannot be read, and those
/// of another machine that the engine is on, are the operator's to know (`flagops doctor`).
fn check_pool(config: &Config) -> Result<(), RunError> {
    let pool = config.network.pool;
    let routes = match routes::routes() {
        Ok(routes) if config.engine.endpoint.starts_with("unix://") => routes,
        Ok(_) | Err(_) => return Ok(()),
    };
    match routes::conflict(pool, &routes) {
        None => Ok(()),
        Some(route) => {
            let (network, interface) = (route.network, route.interface.clone());
            Err(RunError::PoolTaken { pool, network, interface })
        }
    }
}

/// Names the database where it is why the daemon could not start: what is wrong with a file is of use
/// only to who knows which file.
fn unusable(path: &Path, error: StartError) -> RunError {
    match error {
        StartError::Store(source) => RunError::Database { path: path.to_owned(), source },
        other => other.into(),
    }
}

/// A daemon for this process alone.
pub(super) struct Private {
    /// It.
    pub(super) daemon: Daemon,
    /// Its engine.
    pub(super) engine: Arc<dyn Engine>,
}

/// The engine of `config`, seen by the installation of `data`. Sends nothing yet.
pub(super) fn private_engine(
    config: &Config,
    data: &DataDir,
) -> Result<Arc<dyn Engine>, StartError> {
    Ok(Arc::new(Docker::connect(&config.engine.endpoint, data.installation().clone())?))
}

/// Runs a daemon that nobody else talks to: no API, no metrics, no wall.
///
/// # Errors
/// As [`run`].
pub(super) async fn start_private(
    config: Config,
    data: DataDir,
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
) -> Result<Private, RunError> {
    let remote = Remote::parse(&config.source.repo, Path::new("."))?;
    let store = Store::open(&data.database_path()).map_err(StartError::from)?;
    let mirror = open_mirror(&config, remote, data.path().join("mirror")).await?;
    // A private daemon keeps nothing that is worth a copy.
    let (renderer, engine_of_it) = (Renderer::of_this_process(), Arc::clone(&engine));
    let parts = Parts {
        config,
        clock,
        data,
        store,
        engine: engine_of_it,
        wall: None,
        mirror,
        loss: None,
        renderer,
        bond: None,
    };
    Ok(Private { daemon: Daemon::start(parts).await?, engine })
}

async fn open_mirror(config: &Config, remote: Remote, path: PathBuf) -> Result<Mirror, StartError> {
    let credentials = Credentials {
        ssh_key: config.source.ssh_key.clone(),
        known_hosts: config.source.known_hosts.clone(),
        token_file: config.source.token_file.clone(),
    };
    let wish = tag_wish(&config.release);
    let open = move || Ok(Mirror::open(&path, remote, credentials)?.with_tags(wish));
    match tokio::task::spawn_blocking(open).await {
        Ok(mirror) => {
            let mirror: Mirror = mirror.map_err(|error: MirrorError| StartError::from(error))?;
            say_how_it_opened(mirror.opened());
            Ok(mirror)
        }
        // A panic of ours: say so where everything else is said.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// A mirror that had to be made anew is worth a word: what it lost comes back with the next look.
fn say_how_it_opened(opened: &Opened) {
    if let Opened::SetAside { aside, reason, lost_pins } = opened {
        warn!(
            path = %aside.display(), pin.n_lost = lost_pins.len(),
            "the mirror was damaged ({reason}); it was set aside and made anew, look into it if you miss anything"
        );
    }
}

/// Puts up the host's firewall around instances, where that is wanted. How it stands is looked at,
/// told and kept by the daemon; this is so that it stands before anything of an instance does.
async fn raise_wall(config: &Config, data: &DataDir) -> Option<Arc<Wall>> {
    if config.network.wall == crate::config::Wall::Off {
        warn!("`network.wall` is off: instances can reach this host and its networks");
        return None;
    }
    let network = &config.network;
    let denied = network.egress_deny.as_ref().map(|deny| deny.0.clone()).unwrap_or_default();
    let wall = Wall::new(data.installation(), network.pool)
        .denying(denied)
        .with_source_connections(network.source_connections);
    let wall = Arc::new(wall);
    if let Err(error) = wall.ensure().await {
        warn!("could not put up the wall around instances: {}", Chain(&error));
    }
    Some(wall)
}

/// Folds metrics and tells systemd that we live.
async fn beat(metrics: Metrics, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(UPKEEP) => {}
            () = stop.cancelled() => return,
        }
        metrics.upkeep();
        notify::watchdog_ping();
    }
}
