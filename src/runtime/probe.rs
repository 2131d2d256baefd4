//! Whether a container is usable: our own readiness probe.
//!
//! The engine's health check first runs after one whole interval, and a published port accepts
//! before anybody listens behind it. So we look ourselves, soon and often: connect to each TCP port
//! on the container's own address, then run the health command.
//!
//! In:  a [`ProbeTarget`], a deadline. Out: usable, or [`ProbeFailure`] with what was seen last.
//!
//! # Invariants
//! * A container that has exited is told within half a second, not at the deadline.
//! * A single attempt is bounded by the timeout of the health check.
//! * A silent engine is not a broken service: the probe goes on until its deadline.
//!
//! # Not here
//! What to do about a failure (`planner`), one-shot services (nobody probes those).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::{ContainerState, Engine, EngineError};
use crate::model::compose::{HealthTest, Healthcheck, Transport};
use crate::release::spec::ServiceSpec;

/// Pauses between the first attempts, in milliseconds; then the last one again and again.
const PAUSES_MILLIS: [u64; 8] = [20, 30, 50, 80, 130, 210, 340, 500];
/// How often it is asked whether the container still runs.
const STATE_EVERY: Duration = Duration::from_millis(500);
/// How long one attempt may take when the service does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most of a command's output that goes into a message, in characters.
const SHOWN_CHARS: usize = 300;

/// What is probed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    /// The container, by id.
    pub container: String,
    /// TCP ports that must accept, inside the container.
    pub ports: Vec<u16>,
    /// The command that must end with 0, if there is one.
    pub test: Option<HealthTest>,
    /// The bound of one attempt.
    pub timeout: Duration,
}

impl ProbeTarget {
    /// The probe of `service` in `container`: its own health command, or the image's when the
    /// service says nothing. `Disabled` leaves the ports only.
    pub fn new(container: &str, service: &ServiceSpec, image_health: Option<&HealthTest>) -> Self {
        let (test, timeout) = match &service.healthcheck {
            None => (image_health.cloned(), DEFAULT_TIMEOUT),
            Some(Healthcheck::Disabled) => (None, DEFAULT_TIMEOUT),
            Some(Healthcheck::Command { test, timeout_millis, .. }) => {
                (Some(test.clone()), Duration::from_millis(u64::from(*timeout_millis)))
            }
        };
        let mut ports: Vec<_> = service
            .ports
            .iter()
            .filter(|port| port.transport == Transport::Tcp)
            .map(|port| port.target)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        let timeout = if timeout.is_zero() { DEFAULT_TIMEOUT } else { timeout };
        Self { container: container.to_owned(), ports, test, timeout }
    }
}

/// Why a container is not usable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProbeFailure {
    /// Its main process ended. A code of 0 is an end too.
    #[error("the container exited with {code}{}", if *.is_oom { " (out of memory)" } else { "" })]
    Exited {
        /// Exit code.
        code: i64,
        /// Whether the kernel killed it for memory.
        is_oom: bool,
    },
    /// Somebody removed it.
    #[error("the container is gone")]
    Gone,
    /// It runs, and a check failed to the end.
    #[error("not usable after {} ms: {check}", .waited.as_millis())]
    Unusable {
        /// The check that failed last.
        check: FailedCheck,
        /// How long we tried.
        waited: Duration,
    },
    /// The engine did not let us look.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FailedCheck {
    /// It does not run (yet), or has no address.
    #[error("the container is {state}")]
    NotRunning {
        /// What it is instead.
        state: String,
    },
    /// Nobody listens.
    #[error("port {port} does not accept connections ({reason})")]
    Port {
        /// Inside the container.
        port: u16,
        /// The transport's words.
        reason: String,
    },
    /// The health command ended with another code than 0.
    #[error("the health command ended with {code}: {output}")]
    Command {
        /// Exit code.
        code: i64,
        /// The end of its output on one line, cut; hostile text.
        output: String,
    },
    /// The health command could not be started at all: it is not there, or no program.
    #[error("the health command cannot be run: {reason}")]
    CannotRun {
        /// Exit code, 126 or 127 as shells have it.
        code: i64,
        /// The engine's or the shell's words on one line, cut; hostile text.
        reason: String,
    },
    /// The health command did not end.
    #[error("the health command did not end within {} ms", .timeout.as_millis())]
    CommandTimedOut {
        /// The bound of one attempt.
        timeout: Duration,
    },
}

/// Probes until `target` is usable, at most for `deadline`. Cancel-safe.
///
/// # Errors
/// At once when the container is gone or has exited; at the deadline with the check that failed
/// last.
pub async fn wait_usable(
    engine: &dyn Engine,
    target: &ProbeTarget,
    deadline: Duration,
) -> Result<(), ProbeFailure> {
    wait_usable_telling(engine, target, deadline, |_, _| ()).await
}

/// As [`wait_usable`], and gives each failed probe with its number, from 1, to `tell`.
///
/// # Errors
/// As [`wait_usable`].
pub async fn wait_usable_telling(
    engine: &dyn Engine,
    target: &ProbeTarget,
    deadline: Duration,
    mut tell: impl FnMut(u32, &FailedCheck),
) -> Result<(), ProbeFailure> {
    let began = Instant::now();
    let mut n_probes = 0;
    let mut pauses = PAUSES_MILLIS.into_iter();
    let mut probe = Probe { engine, target, addresses: Vec::new(), looked_at: None };
    let mut last = FailedCheck::NotRunning { state: "not started".to_owned() };
    let mut silence = None;
    loop {
        let left = deadline.saturating_sub(began.elapsed());
        n_probes += 1;
        match tokio::time::timeout(left, probe.attempt()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(ProbeFailure::Unusable { check, .. })) => {
                tell(n_probes, &check);
                last = check;
                silence = None;
            }
            Ok(Err(ProbeFailure::Engine(error))) if is_passing(&error) => silence = Some(error),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => (),
        }
        let pause = Duration::from_millis(pauses.next().unwrap_or(500));
        if began.elapsed() + pause >= deadline {
            return Err(match silence {
                Some(error) => error.into(),
                None => ProbeFailure::Unusable { check: last, waited: began.elapsed() },
            });
        }
        tokio::time::sleep(pause).await;
    }
}

/// Probes once: for samples of a container that was usable before.
///
/// # Errors
/// The first check that fails.
pub async fn probe_once(engine: &dyn Engine, target: &ProbeTarget) -> Result<(), ProbeFailure> {
    let began = Instant::now();
    let mut probe = Probe { engine, target, addresses: Vec::new(), looked_at: None };
    probe.attempt().await.map_err(|failure| match failure {
        ProbeFailure::Unusable { check, .. } => {
            ProbeFailure::Unusable { check, waited: began.elapsed() }
        }
        other => other,
    })
}

/// Whether to ask the engine again.
fn is_passing(error: &EngineError) -> bool {
    matches!(error, EngineError::Unavailable { .. } | EngineError::TimedOut { .. })
}

/// One probe over its attempts: the container is not inspected for each of them.
struct Probe<'a> {
    engine: &'a dyn Engine,
    target: &'a ProbeTarget,
    addresses: Vec<Ipv4Addr>,
    looked_at: Option<Instant>,
}

impl Probe<'_> {
    async fn attempt(&mut self) -> Result<(), ProbeFailure> {
        let is_stale = self.looked_at.is_none_or(|at| at.elapsed() >= STATE_EVERY);
        if is_stale || self.addresses.is_empty() {
            self.look().await?;
        }
        for &port in &self.target.ports {
            self.connect(port).await?;
        }
        match &self.target.test {
            Some(test) => self.run(test).await,
            None => Ok(()),
        }
    }

    /// Inspects the container: does it still run, and where.
    async fn look(&mut self) -> Result<(), ProbeFailure> {
        let seen =
            self.engine.container(&self.target.container).await?.ok_or(ProbeFailure::Gone)?;
        let state = match seen.state {
            ContainerState::Running => {
                self.addresses = seen.addresses.into_values().collect();
                self.looked_at = Some(Instant::now());
                // Without ports nobody needs an address.
                if !self.addresses.is_empty() || self.target.ports.is_empty() {
                    return Ok(());
                }
                "on no network".to_owned()
            }
            ContainerState::Exited { code, is_oom } => {
                return Err(ProbeFailure::Exited { code, is_oom });
            }
            ContainerState::Created => "not started".to_owned(),
            ContainerState::Paused => "paused".to_owned(),
            ContainerState::Other(state) => state,
        };
        Err(failed(FailedCheck::NotRunning { state }))
    }

    /// Succeeds when the port accepts on one of the container's addresses.
    async fn connect(&mut self, port: u16) -> Result<(), ProbeFailure> {
        let mut reason = String::new();
        for &address in &self.addresses {
            let address = SocketAddrV4::new(address, port);
            match self.engine.reach(address, self.target.timeout).await {
                Ok(()) => return Ok(()),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(failed(FailedCheck::Port { port, reason }))
    }

    async fn run(&mut self, test: &HealthTest) -> Result<(), ProbeFailure> {
        let timeout = self.target.timeout;
        match self.engine.exec(&self.target.container, test, timeout).await {
            Ok(outcome) if outcome.code == 0 => Ok(()),
            Ok(outcome) => Err(failed(command_failed(outcome.code, &outcome.output))),
            Err(EngineError::TimedOut { .. }) => {
                Err(failed(FailedCheck::CommandTimedOut { timeout }))
            }
            // It ended since we last looked: say how.
            Err(error @ (EngineError::Refused { .. } | EngineError::NotFound { .. })) => {
                self.looked_at = None;
                self.look().await?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A failed check of one attempt; the time is filled in by whoever counts it.
fn failed(check: FailedCheck) -> ProbeFailure {
    ProbeFailure::Unusable { check, waited: Duration::ZERO }
}

/// What a health command that ended with `code` says.
fn command_failed(code: i64, output: &str) -> FailedCheck {
    let output = shown(output);
    if !matches!(code, 126 | 127) {
        return FailedCheck::Command { code, output };
    }
    // `OCI runtime exec failed: … unable to start container process: exec: "nc": not found: unknown`
    let reason = match output.rsplit_once("exec: \"") {
        Some((_, rest)) => format!("exec \"{}", rest.trim_end_matches(": unknown")),
        None if output.is_empty() => format!("it ends with {code}"),
        None => output,
    };
    FailedCheck::CannotRun { code, reason }
}

/// The end of hostile text on one line.
fn shown(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let n_chars = line.chars().count();
    if n_chars <= SHOWN_CHARS {
        return line;
    }
    line.chars().skip(n_chars - SHOWN_CHARS).collect()
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
