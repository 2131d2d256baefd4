//! `flagops node`: joins a platform and runs instances for it until it is told to stop.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, Need, Overrides, Secret};
use crate::model::NodeUrl;
use crate::node::tls::Pin;
use crate::telemetry::{self, Chain};

use super::daemon::Join;
use super::failure::{Ending, Failure};
use super::serve::{Signals, supervise_node};
use super::settings::Global;

/// Where a node listens when nothing is said: beside a platform on the same machine.
const DEFAULT_PORT: u16 = 8101;

/// Run instances for a platform on this machine
///
/// The first time it needs an invite, which an organizer makes with `flagops nodes invite` on the
/// platform and which is good for one node. What it is from then on is kept in the data directory, so
/// that it needs nothing else after a restart. It pulls the challenge repository itself, builds every
/// image ahead, and starts what the platform asks for. When the platform is away its instances go on.
/// SIGTERM leaves instances running; the next start adopts them.
///
/// Every option is also a key of `flagops.toml` and a variable; see `flagops.example.toml` and
/// docs/nodes.md.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops node --platform https://ctf.example.org --invite-file invite --public-url https://n1.example.org:8101
  flagops node --platform http://127.0.0.1:8100 --invite reg_…
  flagops node --config /etc/flagops/flagops.toml        a node that has joined")]
pub(crate) struct NodeArgs {
    /// The platform to join
    #[arg(long, value_name = "URL")]
    platform: Option<String>,

    /// The invite; a file is safer, since arguments can be seen by others [env: FLAGOPS_INVITE]
    #[arg(long, value_name = "INVITE", conflicts_with = "invite_file")]
    invite: Option<String>,

    /// File with the invite
    #[arg(long, value_name = "PATH")]
    invite_file: Option<PathBuf>,

    /// Where the platform reaches this node [default: http:// and the address it listens on]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// Serve TLS with a key of its own, which the platform pins
    #[arg(long)]
    tls: bool,

    /// The platform's certificate, where no authority vouches for it: its SHA-256 in hex
    #[arg(long, value_name = "SHA256")]
    platform_pin: Option<String>,

    /// What people call it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Instances that it takes on [default: twice its processors or its GiB of memory, whichever is less]
    #[arg(long, value_name = "NUMBER")]
    capacity: Option<u32>,

    /// What placement may ask for: `key=value` pairs with commas between them
    #[arg(long, value_name = "LABELS")]
    labels: Option<String>,

    /// Challenge repository, in place of the one that the platform names
    #[arg(long, value_name = "PATH_OR_URL")]
    repo: Option<String>,

    /// Address to listen on [default: 127.0.0.1:8101]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,

    /// Socket of the container engine [default: DOCKER_HOST or unix:///var/run/docker.sock]
    #[arg(long, value_name = "ENDPOINT")]
    engine: Option<String>,

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

impl NodeArgs {
    fn overrides(&self) -> Overrides {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        Overrides::new()
            .with("node.platform", "--platform", self.platform.clone())
            .with("node.invite_file", "--invite-file", path(&self.invite_file))
            .with("node.public_url", "--public-url", self.public_url.clone())
            .with("node.tls", "--tls", self.tls.then_some("true"))
            .with("node.platform_pin", "--platform-pin", self.platform_pin.clone())
            .with("node.name", "--name", self.name.clone())
            .with("node.capacity", "--capacity", self.capacity)
            .with("node.labels", "--labels", self.labels.clone())
            .with("source.repo", "--repo", self.repo.clone())
            .with("listen", "--listen", self.listen)
            .with("engine.endpoint", "--engine", self.engine.clone())
            .with("network.publish_address", "--publish-address", self.publish_address)
            .with("network.public_host", "--public-host", self.public_host.clone())
            .with("log.format", "--log-format", self.log_format.clone())
            .with("log.filter", "--log-filter", self.log_filter.clone())
    }
}

/// Runs the node until a signal or a failure.
pub(crate) async fn run(global: &Global, args: NodeArgs) -> Result<Ending, Failure> {
    // What is followed may come from the platform.
    let mut config = global.load(Need::Client, args.overrides())?;
    if config.listen == Config::default().listen {
        config.listen.set_port(DEFAULT_PORT);
    }
    telemetry::init(&config.log)
        .map_err(|error| Failure::failed(Chain(&error).to_string(), "correct `log.filter`"))?;
    // Only another provider installed earlier could refuse; then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let join = join(&config, args.invite)?;
    let signals = Signals::new()
        .map_err(|error| Failure::failed(format!("could not listen for signals ({error})"), ""))?;
    supervise_node(config, join, signals).await
}

fn join(config: &Config, invite: Option<String>) -> Result<Join, Failure> {
    let usage = |problem: String, fix: &str| Failure::usage(problem, fix);
    let platform = config.node.platform.as_deref().ok_or_else(|| {
        usage(
            "no platform is named".to_owned(),
            "give --platform URL, or `platform` below `[node]`",
        )
    })?;
    let url = |text: &str| -> Result<NodeUrl, Failure> {
        text.parse().map_err(|error: crate::model::NodeUrlError| {
            usage(error.to_string(), "give scheme, host and port")
        })
    };
    let listen = config.listen;
    let scheme = if config.node.tls { "https" } else { "http" };
    let own = format!("{scheme}://{listen}");
    let public_url = config.node.public_url.as_deref().unwrap_or(&own);
    if config.node.public_url.is_none() && listen.ip().is_unspecified() {
        return Err(usage(
            format!("nobody can reach a node at {listen}"),
            "give the address that the platform uses with --public-url",
        ));
    }
    let variable = std::env::var("FLAGOPS_INVITE").ok().filter(|text| !text.trim().is_empty());
    let invite = match (invite.or(variable), &config.node.invite_file) {
        (Some(text), _) => Some(Secret::new(text.trim().to_owned())),
        // A file that is gone is no fault: the invite is needed once.
        (None, Some(file)) if file.exists() => Some(Secret::read(file)?),
        (None, _) => None,
    };
    let pin = match &config.node.platform_pin {
        None => None,
        Some(text) => Some(text.parse::<Pin>().map_err(|error| {
            usage(
                format!("`node.platform_pin`: {error}"),
                "give what `openssl x509 -noout -fingerprint -sha256` prints",
            )
        })?),
    };
    let public_url = url(public_url)?;
    if config.node.tls != public_url.is_tls() && config.node.tls {
        return Err(usage(
            format!("`{public_url}` is not https, and this node serves TLS"),
            "give an https address with --public-url",
        ));
    }
    Ok(Join { platform: url(platform)?, public_url, pin, invite })
}
