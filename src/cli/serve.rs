//! `flagops serve`: loads the configuration, sets up logs, and runs the daemon until it is told to
//! stop.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::config::{Need, Overrides};
use crate::telemetry::{self, Chain};

use super::daemon::{Join, RunError};
use super::failure::{Ending, Failure};
use super::settings::Global;

/// Serve a repository of challenges
///
/// Follows the repository, builds images ahead, runs instances on the local container engine and
/// answers the HTTP API. On the first start it makes the data directory and writes `admin.token`
/// into it. SIGTERM finishes requests and leaves instances running; the next start adopts them.
///
/// Every option is also a key of `flagops.toml` and a variable; see `flagops.example.toml`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops serve --repo ./challenges
  flagops serve --repo git@github.com:example/ctf.git --branch main --ssh-key /etc/flagops/key
  flagops serve --config /etc/flagops/flagops.toml
  FLAGOPS_SOURCE__REPO=https://git.example/ctf.git flagops serve --listen 0.0.0.0:8100")]
pub(crate) struct ServeArgs {
    /// Challenge repository: a URL or a path
    #[arg(long, value_name = "PATH_OR_URL")]
    repo: Option<String>,

    /// Branch to follow [default: the remote's own default branch]
    #[arg(long)]
    branch: Option<String>,

    /// Seconds between two looks at the remote [default: 30]
    #[arg(long, value_name = "SECONDS")]
    poll_secs: Option<u32>,

    /// Private key for ssh remotes
    #[arg(long, value_name = "PATH")]
    ssh_key: Option<PathBuf>,

    /// Address to listen on [default: 127.0.0.1:8100]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,

    /// Socket of the container engine [default: DOCKER_HOST or unix:///var/run/docker.sock]
    #[arg(long, value_name = "ENDPOINT")]
    engine: Option<String>,

    /// Run no instances on this machine: nodes do (`flagops nodes invite`)
    #[arg(long)]
    no_local_node: bool,

    /// Host address that ports of instances are published on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    publish_address: Option<IpAddr>,

    /// Host name that players are told [default: 127.0.0.1]
    #[arg(long, value_name = "HOST")]
    public_host: Option<String>,

    /// How log lines look: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// What is logged: a level, or levels by target [default: info]
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
}

impl ServeArgs {
    fn overrides(self) -> Overrides {
        Overrides::new()
            .with("source.repo", "--repo", self.repo)
            .with("source.branch", "--branch", self.branch)
            .with("source.poll_secs", "--poll-secs", self.poll_secs)
            .with("source.ssh_key", "--ssh-key", self.ssh_key.map(|p| p.display().to_string()))
            .with("listen", "--listen", self.listen)
            .with("engine.endpoint", "--engine", self.engine)
            .with("nodes.local", "--no-local-node", self.no_local_node.then_some("false"))
            .with("network.publish_address", "--publish-address", self.publish_address)
            .with("network.public_host", "--public-host", self.public_host)
            .with("log.format", "--log-format", self.log_format)
            .with("log.filter", "--log-filter", self.log_filter)
    }
}

/// Runs the daemon until a signal or a failure.
pub(crate) async fn run(global: &Global, args: ServeArgs) -> Result<Ending, Failure> {
    let config = global.load(Need::Daemon, args.overrides())?;
    telemetry::init(&config.log)
        .map_err(|error| Failure::failed(Chain(&error).to_string(), "correct `log.filter`"))?;
    // Only another provider installed earlier could refuse; then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let signals = Signals::new()
        .map_err(|error| Failure::failed(format!("could not listen for signals ({error})"), ""))?;
    supervise(config, signals).await
}

async fn supervise(config: Config, signals: Signals) -> Result<Ending, Failure> {
    let stop = CancellationToken::new();
    watch_over(super::daemon::run(config, stop.clone()), stop, signals).await
}

/// Runs a node until a signal or a failure.
pub(super) async fn supervise_node(
    config: Config,
    join: Join,
    signals: Signals,
) -> Result<Ending, Failure> {
    let stop = CancellationToken::new();
    watch_over(super::daemon::run_node(config, join, stop.clone()), stop, signals).await
}

/// Runs `daemon` until it ends by itself, or a signal cancels `stop`.
async fn watch_over(
    daemon: impl Future<Output = Result<(), RunError>>,
    stop: CancellationToken,
    mut signals: Signals,
) -> Result<Ending, Failure> {
    let mut daemon = std::pin::pin!(daemon);
    let ended = tokio::select! {
        // Kept across the select: neither arm loses anything when the other is first.
        ended = &mut daemon => Some(ended),
        name = signals.next() => {
            info!("{name}: finishing requests; instances keep running");
            stop.cancel();
            None
        }
    };
    let ended = match ended {
        Some(ended) => ended,
        None => tokio::select! {
            ended = &mut daemon => ended,
            name = signals.next() => {
                warn!("{name} again: ending at once; the next start recovers");
                return Ok(Ending::Findings);
            }
        },
    };
    match ended {
        Ok(()) => Ok(Ending::Fine),
        Err(error) => Err(Failure::failed(
            Chain(&error).to_string(),
            "`flagops doctor` checks what the daemon needs",
        )),
    }
}

/// The signals that end a daemon.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on, instead of ending at once.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one; its name. Cancel-safe.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
