//! Our own readiness probe: usable means reachable and healthy, not "container started".
//!
//! The engine runs a health command only after a whole interval (P5) and accepts connections on a
//! published port before anybody listens (P4). So we connect to each TCP port on the container's
//! own address, and then run the health command ourselves: at once, and then every few tens of
//! milliseconds at first.
//!
//! In:  a service and its running container.
//! Out: usable, or the check that failed last, with its output.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{ContainerSeen, ContainerState, Engine, EngineError};
use crate::model::compose::{HealthTest, Healthcheck, Transport};
use crate::release::spec::ServiceSpec;

/// Pauses before the second, third, … attempt; the last one repeats.
const PAUSES_MILLIS: &[u64] = &[20, 30, 50, 80, 120, 200, 300, 500];

/// How long one connect may take: it stays on this machine.
const CONNECT_DEADLINE: Duration = Duration::from_millis(500);

/// How long one run of an image's own health command may take.
const IMAGE_HEALTH_DEADLINE: Duration = Duration::from_secs(5);

/// Between two looks at whether the container still runs.
const LOOK_AGAIN: Duration = Duration::from_millis(400);

/// How much of a failed command's output is kept, in characters.
const OUTPUT_CHARS: usize = 300;

/// What is probed.
#[derive(Debug, Clone)]
pub struct ProbeTarget {
    /// The engine's id of the container.
    pub container: String,
    /// What it runs.
    pub service: ServiceSpec,
    /// The health command of its image, used when the service says nothing.
    pub image_health: Option<HealthTest>,
}

/// Why a container is not usable.
#[derive(Debug)]
pub enum ProbeFailure {
    /// Its main process does not run any more.
    Exited {
        /// Exit code.
        code: i64,
        /// Whether the kernel killed it for memory.
        is_oom: bool,
    },
    /// It is gone, or never got an address.
    Vanished,
    /// Nobody listens on a port.
    NotListening {
        /// The port inside the container.
        port: u16,
    },
    /// The health command says no.
    Unhealthy {
        /// Its exit code; `None` when it took too long.
        code: Option<i64>,
        /// The end of its output; hostile text.
        output: String,
    },
    /// The engine could not be asked.
    Engine(EngineError),
}

impl fmt::Display for ProbeFailure {
    /// Written for players: the output of the command is not shown, it may hold an answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { is_oom: true, .. } => f.write_str("it used more memory than its limit"),
            Self::Exited { code, .. } => write!(f, "it exited with code {code}"),
            Self::Vanished => f.write_str("its container vanished"),
            Self::NotListening { port } => write!(f, "nothing listens on its port {port}"),
            Self::Unhealthy { code: Some(code), .. } => {
                write!(f, "its health command ends with code {code}")
            }
            Self::Unhealthy { code: None, .. } => f.write_str("its health command does not end in time"),
            Self::Engine(error) => write!(f, "{error}"),
        }
    }
}

/// Probes until the container is usable.
///
/// Cancel-safe: nothing is left behind but a health command that ends by itself.
///
/// # Errors
/// The last failure, once the container has ended or `deadline` has passed.
pub async fn wait_usable(
    engine: &dyn Engine,
    target: &ProbeTarget,
    deadline: Duration,
) -> Result<(), ProbeFailure> {
    let end = Instant::now() + deadline;
    let mut seen = look(engine, target).await?;
    let mut looked_at = Instant::now();
    let mut pauses = PAUSES_MILLIS.iter();
    let mut pause = Duration::ZERO;
    loop {
        let failure = match probe_once(engine, target, &seen).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        if let ProbeFailure::Exited { .. } = failure {
            return Err(failure);
        }
        if let Some(millis) = pauses.next() {
            pause = Duration::from_millis(*millis);
        }
        if Instant::now() + pause >= end {
            return Err(failure);
        }
        tokio::time::sleep(pause).await;
        if looked_at.elapsed() >= LOOK_AGAIN || seen.addresses.is_empty() {
            seen = look(engine, target).await?;
            looked_at = Instant::now();
        }
    }
}

/// One attempt: every TCP port, then the health command.
///
/// # Errors
/// The first check that fails.
pub async fn probe_once(
    engine: &dyn Engine,
    target: &ProbeTarget,
    seen: &ContainerSeen,
) -> Result<(), ProbeFailure> {
    let ports =
        target.service.ports.iter().filter(|p| p.transport == Transport::Tcp).map(|p| p.target);
    for port in ports {
        if !listens(seen, port).await {
            return Err(ProbeFailure::NotListening { port });
        }
    }
    let Some((test, patience)) = health_command(target) else { return Ok(()) };
    match engine.exec(&target.container, &test, patience).await {
        Ok(outcome) if outcome.code == 0 => Ok(()),
        Ok(outcome) => Err(ProbeFailure::Unhealthy {
            code: Some(outcome.code),
            output: outcome.output.chars().take(OUTPUT_CHARS).collect(),
        }),
        Err(EngineError::TimedOut { .. }) => {
            Err(ProbeFailure::Unhealthy { code: None, output: String::new() })
        }
        Err(error) => {
            // A container that ended meanwhile refuses the command: say that it ended.
            look(engine, target).await?;
            Err(ProbeFailure::Engine(error))
        }
    }
}

/// Looks at the container: running, or why not.
async fn look(engine: &dyn Engine, target: &ProbeTarget) -> Result<ContainerSeen, ProbeFailure> {
    let seen = engine.container(&target.container).await.map_err(ProbeFailure::Engine)?;
    let seen = seen.ok_or(ProbeFailure::Vanished)?;
    match seen.state {
        ContainerState::Exited { code, is_oom } => Err(ProbeFailure::Exited { code, is_oom }),
        ContainerState::Created
        | ContainerState::Running
        | ContainerState::Paused
        | ContainerState::Other(_) => Ok(seen),
    }
}

async fn listens(seen: &ContainerSeen, port: u16) -> bool {
    for address in seen.addresses.values() {
        if connects(*address, port).await {
            return true;
        }
    }
    false
}

async fn connects(address: Ipv4Addr, port: u16) -> bool {
    let address = SocketAddr::new(IpAddr::V4(address), port);
    matches!(tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// The health command in force and how long one run may take.
fn health_command(target: &ProbeTarget) -> Option<(HealthTest, Duration)> {
    match &target.service.healthcheck {
        Some(Healthcheck::Disabled) => None,
        Some(Healthcheck::Command { test, timeout_millis, .. }) => {
            Some((test.clone(), Duration::from_millis(u64::from(*timeout_millis))))
        }
        None => target.image_health.clone().map(|test| (test, IMAGE_HEALTH_DEADLINE)),
    }
}
