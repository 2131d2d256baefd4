//! Every setting: its type, its default, and what it is for. One struct per section.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use schemars::JsonSchema;

use super::capture::CaptureConfig;
use super::forge::{self, StatusesConfig, WebhookConfig};
use super::ingress::{self, IngressConfig};
use super::layers::{Layers, Setting};
use super::nodes::{self, NodeConfig, NodesConfig};
use super::registry::{self, RegistryConfig};
use super::release::ReleaseConfig;
use super::secrets::mask_credentials;
use super::vpn::VpnConfig;
use crate::catalog::{Gate, Policy};
use crate::model::ChallengeId;
use crate::proof::Rule;

/// The settings of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, title = "flagops.toml")]
pub struct Config {
    /// Where everything is kept; made with mode 0700 (default `./flagops-data`).
    #[schemars(length(min = 1))]
    pub data_dir: PathBuf,
    /// Where the API listens (default `127.0.0.1:8100`).
    #[schemars(regex(pattern = r":[0-9]{1,5}$"))]
    pub listen: SocketAddr,
    /// The challenge repository.
    pub source: SourceConfig,
    /// The container engine.
    pub engine: EngineConfig,
    /// Addresses and ports of instances.
    pub network: NetworkConfig,
    /// The one door that players reach instances through.
    pub ingress: IngressConfig,
    /// How players reach engagements.
    pub vpn: VpnConfig,
    /// How images are built.
    pub builder: BuilderConfig,
    /// Where images are fetched from that another machine built.
    pub registry: RegistryConfig,
    /// What decrypts files of the repository.
    pub secrets: SecretsConfig,
    /// When images go from a disk that runs full.
    pub gc: GcConfig,
    /// How long the archive of instances is kept.
    pub records: RecordsConfig,
    /// What is captured of the packets of instances.
    pub capture: CaptureConfig,
    /// Which tags go live, and how.
    pub release: ReleaseConfig,
    /// How much may run, and for how long.
    pub limits: LimitsConfig,
    /// Whether challenges are proven by their own exploits.
    pub solver: SolverConfig,
    /// Whether administrators may open shells in containers.
    pub shell: ShellConfig,
    /// How a platform deals with its nodes.
    pub nodes: NodesConfig,
    /// This machine as a node of a platform.
    pub node: NodeConfig,
    /// Who is told when something is wrong.
    pub notify: NotifyConfig,
    /// What the forge shows beside a commit.
    pub statuses: StatusesConfig,
    /// What is logged.
    pub log: LogConfig,
}

/// `[source]`: the challenge repository.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SourceConfig {
    /// URL or path. The only setting without a default.
    #[schemars(regex(pattern = r"\S"))]
    pub repo: String,
    /// The branch to follow; `None` is the remote's own default branch.
    #[schemars(length(min = 1), regex(pattern = r"^[^\s-]\S*$"))]
    pub branch: Option<String>,
    /// Seconds between two looks at the remote (default 30, at least 1).
    #[schemars(range(min = 1, max = 86_400))]
    pub poll_secs: u32,
    /// Private key for `ssh` remotes; a file.
    #[schemars(length(min = 1))]
    pub ssh_key: Option<PathBuf>,
    /// Host keys of `ssh` remotes in the format of OpenSSH.
    #[schemars(length(min = 1))]
    pub known_hosts: Option<PathBuf>,
    /// A file with the token for `https` remotes.
    #[schemars(length(min = 1))]
    pub token_file: Option<PathBuf>,
    /// Who may ask for a look at once.
    pub webhook: WebhookConfig,
}

impl fmt::Debug for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceConfig")
            .field("repo", &mask_credentials(&self.repo))
            .field("branch", &self.branch)
            .field("poll_secs", &self.poll_secs)
            .field("ssh_key", &self.ssh_key)
            .field("known_hosts", &self.known_hosts)
            .field("token_file", &self.token_file)
            .field("webhook", &self.webhook)
            .finish()
    }
}

/// `[engine]`: the container engine.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EngineConfig {
    /// Its socket (default: `DOCKER_HOST`, else `unix:///var/run/docker.sock`).
    #[schemars(regex(pattern = "^(unix|tcp|http)://"))]
    pub endpoint: String,
}

/// `[network]`: addresses and ports of instances.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NetworkConfig {
    /// All networks of instances come from here (default `10.80.0.0/15`).
    #[schemars(with = "String", regex(pattern = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$"))]
    pub pool: Ipv4Net,
    /// Size of one network (default 28: 13 containers).
    #[schemars(range(min = 1, max = 30))]
    pub prefix_len: u8,
    /// Networks made ahead, because making one takes 75 ms (default 4).
    #[schemars(range(min = 0, max = 256))]
    pub n_ready: u32,
    /// Host address that ports are published on (default `127.0.0.1`).
    #[schemars(with = "String", regex(pattern = "^[0-9a-fA-F.:]+$"))]
    pub publish_address: IpAddr,
    /// Host name or address that players are told (default `127.0.0.1`).
    #[schemars(regex(pattern = r"^[A-Za-z0-9.:\[\]_-]+$"))]
    pub public_host: String,
    /// First published port (default 20000).
    #[schemars(range(min = 1024, max = 65_535))]
    pub first_port: u16,
    /// Last published port (default 29999).
    #[schemars(range(min = 1024, max = 65_535))]
    pub last_port: u16,
    /// Packet filter between instances and the host (default `required`).
    pub wall: Wall,
    /// Seconds between two looks from inside whether it holds. They are made at start and after a
    /// restart of the engine, too; 0 is only when somebody asks (default 21600).
    #[schemars(range(min = 0, max = YEAR_SECS))]
    pub check_secs: u32,
    /// The public name server that challenges with `egress: internet` ask (default `1.1.1.1`).
    #[schemars(with = "String", regex(pattern = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$"))]
    pub resolver: Ipv4Addr,
    /// Further networks that challenges with `egress: internet` do not reach, e.g. public addresses of
    /// this event's own machines: networks with commas between them.
    #[schemars(with = "Option<String>", inner(length(min = 1)))]
    pub egress_deny: Option<Networks>,
    /// Most connections at a time from one address outside to what instances publish (default 1024).
    #[schemars(range(min = 16, max = 65_535))]
    pub source_connections: u32,
    /// Addresses inside of VPN tunnels: at least as large as `pool`, and apart from it (default
    /// `10.82.0.0/15`).
    #[schemars(with = "String", regex(pattern = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$"))]
    pub tunnel_pool: Ipv4Net,
}

impl NetworkConfig {
    /// The network inside of the tunnel of an instance whose gateway is on `edge`, a network of the
    /// pool. No two instances have the same one, so that one player can be in several.
    pub fn tunnel_of(&self, edge: Ipv4Net) -> Ipv4Net {
        let offset = u32::from(edge.network()).wrapping_sub(u32::from(self.pool.network()));
        let first = u32::from(self.tunnel_pool.network()).wrapping_add(offset);
        Ipv4Net::new(Ipv4Addr::from(first), edge.prefix_len()).unwrap_or(edge).trunc()
    }
}

/// `[builder]`: how images are built.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct BuilderConfig {
    /// Builds at a time (default 2).
    #[schemars(range(min = 1, max = 64))]
    pub n_slots: u32,
    /// Longest build in seconds (default 1200).
    #[schemars(range(min = 1, max = 86_400))]
    pub deadline_secs: u32,
    /// Whether `RUN` may use the network (default `default`).
    pub network: BuildNetworkChoice,
    /// On a node: whether images that another machine of the event has are built here all the same (default
    /// `each`).
    pub build: BuildPlace,
}

/// `[secrets]`: what decrypts files of the repository that end in `.age`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SecretsConfig {
    /// A file of age identities, one a line, that only flagops may read; without it no challenge
    /// with encrypted files goes live.
    #[schemars(length(min = 1))]
    pub identity_file: Option<PathBuf>,
}

/// `[gc]`: when images go from a disk that runs full. Only images that this installation built are
/// removed, and only those that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GcConfig {
    /// Used percent of the engine's disk at which images go; builds wait when none may (default 80).
    #[schemars(range(min = 0, max = 100))]
    pub high_percent: u32,
    /// Used percent at which no further image goes (default 70).
    #[schemars(range(min = 0, max = 100))]
    pub low_percent: u32,
    /// An image that was made or used within this many seconds stays (default 1800).
    #[schemars(range(min = 0, max = YEAR_SECS))]
    pub min_age_secs: u32,
    /// Whether the engine's build cache is trimmed. It belongs to everybody who uses the engine
    /// (default `leave`).
    pub build_cache: BuildCache,
    /// Largest build cache in GiB, when it is trimmed (default 20).
    #[schemars(range(min = 0, max = 1_048_576))]
    pub build_cache_gib: u32,
}

/// `[records]`: how long the archive of instances that are over is kept.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RecordsConfig {
    /// Days after its end for which a record is kept (default 90).
    #[schemars(range(min = 1, max = 3660))]
    pub keep_days: u32,
    /// Most MiB of packed output of containers; beyond that the oldest goes (default 512).
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_mib: u32,
}

/// `[limits]`: how much may run, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Live instances of one team (default 100).
    #[schemars(range(min = 1, max = 100_000))]
    pub instances_per_team: u32,
    /// Live instances in all (default 500).
    #[schemars(range(min = 1, max = 100_000))]
    pub instances_per_node: u32,
    /// Starts that wait until a node has room, of all teams; 0 refuses them at once (default 500).
    #[schemars(range(max = 100_000))]
    pub waiting_starts: u32,
    /// How long a start waits for room at most, in seconds (default 1800).
    #[schemars(range(min = 1, max = 86_400))]
    pub waiting_secs: u32,
    /// A solve so many seconds after the instance was usable is shown to organizers; nothing follows
    /// from it (default 20).
    #[schemars(range(max = 86_400))]
    pub fast_solve_secs: u32,
    /// Starts at a time; the engine gains nothing from more (default 4).
    #[schemars(range(min = 1, max = 64))]
    pub n_start_slots: u32,
    /// How long a start may take, in seconds (default 300).
    #[schemars(range(min = 1, max = 3600))]
    pub start_deadline_secs: u32,
    /// Lease of an instance whose challenge and player name none, in seconds (default 86400).
    #[schemars(range(min = 1, max = YEAR_SECS))]
    pub default_ttl_secs: u32,
    /// Longest lease in seconds (default 86400).
    #[schemars(range(min = 1, max = YEAR_SECS))]
    pub max_ttl_secs: u32,
    /// Largest memory of one service in MiB (default 4096).
    #[schemars(range(min = 6, max = 1 << 24))]
    pub max_memory_mib: u32,
    /// Largest CPU of one service in thousandths of a core (default 4000).
    #[schemars(range(min = 10, max = 1_024_000))]
    pub max_cpu_millis: u32,
    /// Most processes of one service (default 4096).
    #[schemars(range(min = 1, max = 4_194_304))]
    pub max_pids: u32,
    /// Most MiB that the containers of one instance may keep on the disk: writable layers, volumes, logs.
    /// An instance over it ends (default 1024).
    #[schemars(range(min = 1, max = 1 << 24))]
    pub max_disk_mib: u32,
    /// Most services of one challenge (default 20).
    #[schemars(range(min = 1, max = 1000))]
    pub max_services: u32,
    /// Which findings keep a version of a challenge from going live (default `runnable`).
    pub gate: Gate,
    /// Whether a team reads the last output of a service of its instance that died (default false:
    /// output can hold what players should not know; answers are masked, nothing else is).
    pub players_see_logs: bool,
    /// Wrong answers per question, by its mode.
    pub attempt_caps: AttemptCaps,
}

impl LimitsConfig {
    /// The ceilings in the words of the catalog: daemon and command line judge alike.
    pub fn policy(&self) -> Policy {
        Policy {
            max_memory_bytes: u64::from(self.max_memory_mib) << 20,
            max_cpu_millis: self.max_cpu_millis,
            max_pids: self.max_pids,
            max_services: usize::try_from(self.max_services).unwrap_or(usize::MAX),
            max_ttl_secs: self.max_ttl_secs,
            gate: self.gate,
        }
    }
}

impl Setting for Gate {
    const WANTED: &'static str = "\"runnable\", \"errors\" or \"warnings\"";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "runnable" => Ok(Self::Runnable),
            "errors" => Ok(Self::Errors),
            "warnings" => Ok(Self::Warnings),
            _ => Err(String::new()),
        }
    }
}

/// `[limits.attempt_caps]`: wrong answers that a question allows. Dynamic ones are uncapped.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AttemptCaps {
    /// One of several choices (default 3).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub single_select: u32,
    /// A set of choices (default 10).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub multi_select: u32,
    /// One fixed text (default 10).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub r#static: u32,
}

/// `[solver]`: whether challenges are proven by their own `solution/exploit.py`, each run against a
/// fresh instance that no player sees.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SolverConfig {
    /// Whether a version must be solved by its own exploit before it is released (default `off`).
    pub gate: SolverGate,
    /// Seconds between two proofs of a live challenge; 0 is never by itself (default 0).
    #[schemars(range(min = 0, max = YEAR_SECS))]
    pub every_secs: u32,
    /// How long an exploit may run, in seconds (default 120).
    #[schemars(range(min = 1, max = 3600))]
    pub deadline_secs: u32,
    /// Exploits at a time (default 1).
    #[schemars(range(min = 1, max = 16))]
    pub n_slots: u32,
    /// Challenges that are proven only when somebody asks: ids with commas between them.
    #[schemars(with = "Option<String>", inner(length(min = 1)))]
    pub skip: Option<ChallengeIds>,
    /// An image with Python 3.9 or newer, in place of the one that flagops builds (Debian's Python
    /// with `requests`).
    #[schemars(regex(pattern = r"^\S+$"))]
    pub image: Option<String>,
}

impl SolverConfig {
    /// What is asked for, in the words of the room that decides.
    pub fn rule(&self) -> Rule {
        Rule {
            is_required: self.gate == SolverGate::Required,
            skip: self.skip.as_ref().map(|ids| ids.0.clone()).unwrap_or_default(),
        }
    }
}

/// Some challenges; in the file their ids with commas between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeIds(pub BTreeSet<ChallengeId>);

impl Setting for ChallengeIds {
    const WANTED: &'static str = "ids of challenges with commas between them";
    fn from_text(text: &str) -> Result<Self, String> {
        let ids = text.split(',').map(|id| id.trim().parse::<ChallengeId>());
        ids.collect::<Result<_, _>>().map(Self).map_err(|error| format!("is wrong: {error}"))
    }
}

/// Some networks; in the file with commas between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks(pub Vec<Ipv4Net>);

impl Setting for Networks {
    const WANTED: &'static str = "IPv4 networks with commas between them";
    fn from_text(text: &str) -> Result<Self, String> {
        let networks = text.split(',').map(|it| it.trim().parse::<Ipv4Net>());
        networks.collect::<Result<_, _>>().map(Self).map_err(|error| format!("is wrong: {error}"))
    }
}

/// `[shell]`: shells of administrators in containers of instances. Each is recorded.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ShellConfig {
    /// Whether there are any (default `off`).
    pub mode: ShellMode,
}

/// `[notify]`: who is told when something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NotifyConfig {
    /// A file that holds the address of a webhook or chat; without it nobody is told.
    #[schemars(length(min = 1))]
    pub url_file: Option<PathBuf>,
    /// What it understands (default `json`).
    pub format: NoticeFormat,
}

/// `[log]`: what is logged.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LogConfig {
    /// For people or for machines (default `text`).
    pub format: LogFormat,
    /// Level, or levels by target as in `info,flagops::git=debug` (default `info`).
    #[schemars(regex(pattern = r"\S"))]
    pub filter: String,
}

/// An enum of words in the file.
macro_rules! word_setting {
    ($(#[$doc:meta])* $name:ident, $wanted:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
        pub enum $name {
            $($(#[$vdoc])* #[schemars(rename = $word)] $variant),+
        }

        impl $name {
            /// The word in the file.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl Setting for $name {
            const WANTED: &'static str = $wanted;
            fn from_text(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(String::new()),
                }
            }
        }
    };
}
pub(super) use word_setting;

word_setting!(
    /// Packet filter between instances and the host.
    Wall, "\"required\", \"auto\" or \"off\"" {
        /// Rules of ours; where we cannot set them, no instance starts.
        Required = "required",
        /// Rules where we may set them, a condition where not: instances start all the same.
        Auto = "auto",
        /// No rules of ours.
        Off = "off",
    }
);

word_setting!(
    /// Where images are built.
    BuildPlace, "\"each\" or \"once\"" {
        /// On each node by itself: it trusts nobody.
        Each = "each",
        /// On one machine; the others get it from there, by way of the platform.
        Once = "once",
    }
);

word_setting!(
    /// Whether `RUN` may use the network.
    BuildNetworkChoice, "\"default\" or \"none\"" {
        /// The engine's default network.
        Default = "default",
        /// None but loopback.
        None = "none",
    }
);

word_setting!(
    /// What the receiver of notices understands.
    NoticeFormat, "\"json\" or \"slack\"" {
        /// One object with every field (docs/operating.md).
        Json = "json",
        /// A text, as Slack, Mattermost and others take it.
        Slack = "slack",
    }
);

word_setting!(
    /// Whether a version must be proven before it is released.
    SolverGate, "\"off\" or \"required\"" {
        /// Proofs are told and keep nothing back.
        Off = "off",
        /// A version with an exploit must be solved by it; one without is told.
        Required = "required",
    }
);

word_setting!(
    /// Whether administrators may open shells in containers.
    ShellMode, "\"off\" or \"on\"" {
        /// Nobody may.
        Off = "off",
        /// Super administrators may.
        On = "on",
    }
);

word_setting!(
    /// Whether the engine's build cache is trimmed.
    BuildCache, "\"leave\" or \"trim\"" {
        /// It is left alone: others may build with it.
        Leave = "leave",
        /// The engine is ours alone: the cache is trimmed, longest unused first.
        Trim = "trim",
    }
);

word_setting!(
    /// How a log line looks.
    LogFormat, "\"text\" or \"json\"" {
        /// For people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
);

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./flagops-data"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8100)),
            source: SourceConfig {
                repo: String::new(),
                branch: None,
                poll_secs: 30,
                ssh_key: None,
                known_hosts: None,
                token_file: None,
                webhook: WebhookConfig::default(),
            },
            engine: EngineConfig { endpoint: "unix:///var/run/docker.sock".to_owned() },
            network: NetworkConfig {
                pool: Ipv4Net::new_assert(Ipv4Addr::new(10, 80, 0, 0), 15),
                prefix_len: 28,
                n_ready: 4,
                publish_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                public_host: "127.0.0.1".to_owned(),
                first_port: 20_000,
                last_port: 29_999,
                wall: Wall::Required,
                check_secs: 21_600,
                resolver: Ipv4Addr::new(1, 1, 1, 1),
                egress_deny: None,
                source_connections: 1024,
                tunnel_pool: Ipv4Net::new_assert(Ipv4Addr::new(10, 82, 0, 0), 15),
            },
            ingress: IngressConfig::default(),
            builder: BuilderConfig {
                n_slots: 2,
                deadline_secs: 1200,
                network: BuildNetworkChoice::Default,
                build: BuildPlace::Each,
            },
            release: ReleaseConfig::default(),
            registry: RegistryConfig::default(),
            secrets: SecretsConfig { identity_file: None },
            gc: GcConfig {
                high_percent: 80,
                low_percent: 70,
                min_age_secs: 1800,
                build_cache: BuildCache::Leave,
                build_cache_gib: 20,
            },
            records: RecordsConfig { keep_days: 90, max_mib: 512 },
            capture: CaptureConfig::default(),
            limits: LimitsConfig {
                instances_per_team: 100,
                instances_per_node: 500,
                waiting_starts: 500,
                waiting_secs: 1800,
                fast_solve_secs: 20,
                n_start_slots: 4,
                start_deadline_secs: 300,
                default_ttl_secs: 86_400,
                max_ttl_secs: 86_400,
                max_memory_mib: 4096,
                max_cpu_millis: 4000,
                max_pids: 4096,
                max_disk_mib: 1024,
                max_services: 20,
                gate: Gate::Runnable,
                players_see_logs: false,
                attempt_caps: AttemptCaps { single_select: 3, multi_select: 10, r#static: 10 },
            },
            vpn: VpnConfig::default(),
            solver: SolverConfig {
                gate: SolverGate::Off,
                every_secs: 0,
                deadline_secs: 120,
                n_slots: 1,
                skip: None,
                image: None,
            },
            shell: ShellConfig { mode: ShellMode::Off },
            nodes: NodesConfig::default(),
            node: NodeConfig::default(),
            notify: NotifyConfig { url_file: None, format: NoticeFormat::Json },
            statuses: StatusesConfig::OFF,
            log: LogConfig { format: LogFormat::Text, filter: "info".to_owned() },
        }
    }
}

/// Longest of everything that is counted in seconds: a year.
const YEAR_SECS: u32 = 366 * 86_400;

/// Takes every setting out of `layers`.
pub(super) fn take(layers: &mut Layers) -> Config {
    let default = Config::default();
    Config {
        data_dir: layers.take("data_dir", default.data_dir),
        listen: layers.take("listen", default.listen),
        source: take_source(layers, default.source),
        engine: EngineConfig { endpoint: layers.take("engine.endpoint", default.engine.endpoint) },
        network: take_network(layers, default.network),
        ingress: ingress::take(layers, &default.ingress),
        builder: BuilderConfig {
            n_slots: layers.take_in("builder.n_slots", default.builder.n_slots, 1..=64),
            deadline_secs: layers.take_in(
                "builder.deadline_secs",
                default.builder.deadline_secs,
                1..=86_400,
            ),
            network: layers.take("builder.network", default.builder.network),
            build: layers.take("builder.build", default.builder.build),
        },
        registry: registry::take(layers),
        secrets: SecretsConfig { identity_file: layers.take_optional("secrets.identity_file") },
        gc: take_gc(layers, &default.gc),
        records: RecordsConfig {
            keep_days: layers.take_in("records.keep_days", default.records.keep_days, 1..=3660),
            max_mib: layers.take_in("records.max_mib", default.records.max_mib, 1..=1_048_576),
        },
        capture: CaptureConfig::read(layers, &default.capture),
        release: super::release::take(layers),
        limits: take_limits(layers, &default.limits),
        vpn: VpnConfig::read(layers, &default.vpn),
        solver: take_solver(layers, &default.solver),
        shell: ShellConfig { mode: layers.take("shell.mode", default.shell.mode) },
        nodes: nodes::take_nodes(layers, &default.nodes),
        node: nodes::take_node(layers, &default.node),
        notify: NotifyConfig {
            url_file: layers.take_optional("notify.url_file"),
            format: layers.take("notify.format", default.notify.format),
        },
        statuses: forge::take_statuses(layers, &default.statuses),
        log: LogConfig {
            format: layers.take("log.format", default.log.format),
            filter: layers.take("log.filter", default.log.filter),
        },
    }
}

fn take_source(layers: &mut Layers, default: SourceConfig) -> SourceConfig {
    SourceConfig {
        repo: layers.take("source.repo", default.repo),
        branch: layers.take_optional("source.branch"),
        poll_secs: layers.take_in("source.poll_secs", default.poll_secs, 1..=86_400),
        ssh_key: layers.take_optional("source.ssh_key"),
        known_hosts: layers.take_optional("source.known_hosts"),
        token_file: layers.take_optional("source.token_file"),
        webhook: forge::take_webhook(layers),
    }
}

fn take_network(layers: &mut Layers, default: NetworkConfig) -> NetworkConfig {
    NetworkConfig {
        pool: layers.take("network.pool", default.pool),
        prefix_len: layers.take("network.prefix_len", default.prefix_len),
        n_ready: layers.take_in("network.n_ready", default.n_ready, 0..=256),
        publish_address: layers.take("network.publish_address", default.publish_address),
        public_host: layers.take("network.public_host", default.public_host),
        first_port: layers.take("network.first_port", default.first_port),
        last_port: layers.take("network.last_port", default.last_port),
        wall: layers.take("network.wall", default.wall),
        check_secs: layers.take_in("network.check_secs", default.check_secs, 0..=YEAR_SECS),
        resolver: layers.take("network.resolver", default.resolver),
        egress_deny: layers.take_optional("network.egress_deny"),
        source_connections: layers.take_in(
            "network.source_connections",
            default.source_connections,
            16..=65_535,
        ),
        tunnel_pool: layers.take("network.tunnel_pool", default.tunnel_pool),
    }
}

fn take_gc(layers: &mut Layers, default: &GcConfig) -> GcConfig {
    GcConfig {
        high_percent: layers.take_in("gc.high_percent", default.high_percent, 0..=100),
        low_percent: layers.take_in("gc.low_percent", default.low_percent, 0..=100),
        min_age_secs: layers.take_in("gc.min_age_secs", default.min_age_secs, 0..=YEAR_SECS),
        build_cache: layers.take("gc.build_cache", default.build_cache),
        build_cache_gib: layers.take_in(
            "gc.build_cache_gib",
            default.build_cache_gib,
            0..=1_048_576,
        ),
    }
}

fn take_solver(layers: &mut Layers, default: &SolverConfig) -> SolverConfig {
    SolverConfig {
        gate: layers.take("solver.gate", default.gate),
        every_secs: layers.take_in("solver.every_secs", default.every_secs, 0..=YEAR_SECS),
        deadline_secs: layers.take_in("solver.deadline_secs", default.deadline_secs, 1..=3600),
        n_slots: layers.take_in("solver.n_slots", default.n_slots, 1..=16),
        skip: layers.take_optional("solver.skip"),
        image: layers.take_optional("solver.image"),
    }
}

fn take_limits(layers: &mut Layers, default: &LimitsConfig) -> LimitsConfig {
    let gate = layers.take("limits.gate", default.gate);
    let players_see_logs = layers.take("limits.players_see_logs", default.players_see_logs);
    let mut number = |key, value, range| layers.take_in(key, value, range);
    LimitsConfig {
        instances_per_team: number(
            "limits.instances_per_team",
            default.instances_per_team,
            1..=100_000,
        ),
        instances_per_node: number(
            "limits.instances_per_node",
            default.instances_per_node,
            1..=100_000,
        ),
        waiting_starts: number("limits.waiting_starts", default.waiting_starts, 0..=100_000),
        waiting_secs: number("limits.waiting_secs", default.waiting_secs, 1..=86_400),
        fast_solve_secs: number("limits.fast_solve_secs", default.fast_solve_secs, 0..=86_400),
        n_start_slots: number("limits.n_start_slots", default.n_start_slots, 1..=64),
        start_deadline_secs: number(
            "limits.start_deadline_secs",
            default.start_deadline_secs,
            1..=3600,
        ),
        default_ttl_secs: number(
            "limits.default_ttl_secs",
            default.default_ttl_secs,
            1..=YEAR_SECS,
        ),
        max_ttl_secs: number("limits.max_ttl_secs", default.max_ttl_secs, 1..=YEAR_SECS),
        // Docker refuses less than 6 MiB.
        max_memory_mib: number("limits.max_memory_mib", default.max_memory_mib, 6..=1 << 24),
        max_cpu_millis: number("limits.max_cpu_millis", default.max_cpu_millis, 10..=1_024_000),
        max_pids: number("limits.max_pids", default.max_pids, 1..=4_194_304),
        max_disk_mib: number("limits.max_disk_mib", default.max_disk_mib, 1..=1 << 24),
        max_services: number("limits.max_services", default.max_services, 1..=1000),
        gate,
        players_see_logs,
        attempt_caps: AttemptCaps {
            single_select: number(
                "limits.attempt_caps.single_select",
                default.attempt_caps.single_select,
                1..=1_000_000,
            ),
            multi_select: number(
                "limits.attempt_caps.multi_select",
                default.attempt_caps.multi_select,
                1..=1_000_000,
            ),
            r#static: number(
                "limits.attempt_caps.static",
                default.attempt_caps.r#static,
                1..=1_000_000,
            ),
        },
    }
}
