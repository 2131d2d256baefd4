//! The wall around instances: a firewall table of our own on the host.
//!
//! A Docker bridge keeps instances apart from each other, not from the host, its neighbours and the
//! cloud's metadata service. This table does, for every bridge that is cut from our pool, present
//! and future: no rule is added or removed when instances come and go.
//!
//! In:  the installation and its pool. Out: the table `inet flagops_<installation>`, loaded by one
//! `nft` transaction. What it says is in [`rules`].
//!
//! The wall outlives the daemon on purpose: instances run on without it, so do their walls. The
//! daemon looks every 30 seconds whether the table is as it was made, and makes it again if not (a
//! firewall that was reloaded flushes everything). [`Wall::remove`] is for uninstalling.
//!
//! # Invariants
//! * There is no moment without rules while a table is replaced, and open connections survive.
//! * Only bridges of our own pool are touched: neither Docker's other containers nor another
//!   installation. Two installations with one pool have equal tables, which agree.
//! * A `drop` of ours is final whatever other tables say; an `accept` of ours is not, so nothing
//!   is opened that others close.
//! * No word from outside reaches the command line of `nft`.
//!
//! # Not here
//! Networks made from an earlier `network.pool`: they are outside the wall until they are removed.
//! A daemon in a network namespace of its own walls that one, not the host's.

mod rules;
#[cfg(test)]
mod tests;

use std::io;
use std::process::Stdio;
use std::time::Duration;

use ipnet::Ipv4Net;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::model::InstallationId;
use crate::telemetry::failpoint;

use self::rules::Plan;

/// How long `nft` may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Where `nft` is when it is not in `PATH`, as under a bare service manager.
const PROGRAMS: [&str; 4] = ["nft", "/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft"];
/// Rules from standard input; listings without counters and counted sources, so that two of them can be
/// compared.
const ARGUMENTS: [&str; 4] = ["--stateless", "--terse", "--file", "-"];

/// Connections at a time from one address outside, unless somebody says otherwise.
const SOURCE_CONNECTIONS: u32 = 1024;

/// The firewall table of one installation.
#[derive(Debug)]
pub struct Wall {
    table: String,
    plan: Plan,
    /// How the kernel listed the table right after we made it. Locked while `nft` runs.
    made: Mutex<Option<String>>,
    /// How a wall stands that is none.
    #[cfg(test)]
    pretended: Option<std::sync::Arc<std::sync::Mutex<WallState>>>,
}

/// Whether the wall stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WallState {
    /// It does.
    Up,
    /// This machine cannot have one; instances reach the host and its networks.
    Unsupported {
        /// What is missing, and how to get it.
        reason: String,
    },
}

/// Why the wall could not be changed although this machine can have one.
#[derive(Debug, Error)]
pub enum WallError {
    /// `nft` could not be run to its end.
    #[error("could not run `nft`")]
    Run {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `nft` did not come back.
    #[error("`nft` did not finish within {} s", DEADLINE.as_secs())]
    TimedOut,
    /// The kernel does not take our rules.
    #[error("`nft` refused the table `{table}`: {reason}")]
    Refused {
        /// The table.
        table: String,
        /// Its words, on one line.
        reason: String,
    },
}

/// How `nft` ended.
enum Outcome {
    /// It did it, and said this.
    Done(String),
    /// It did not, and said this.
    Refused(String),
    /// There is no `nft`.
    Missing,
}

impl Wall {
    /// The wall of `installation` around the networks cut from `pool`. Changes nothing yet.
    pub fn new(installation: &InstallationId, pool: Ipv4Net) -> Self {
        let table = format!("flagops_{}", installation.short());
        let plan = Plan { pool, deny: Vec::new(), source_connections: SOURCE_CONNECTIONS };
        Self {
            table,
            plan,
            made: Mutex::default(),
            #[cfg(test)]
            pretended: None,
        }
    }

    /// Keeps instances that reach the internet from `networks`, too.
    #[must_use]
    pub fn denying(mut self, networks: Vec<Ipv4Net>) -> Self {
        self.plan.deny = networks;
        self
    }

    /// Lets so many connections at a time in from one address outside.
    #[must_use]
    pub fn with_source_connections(mut self, n: u32) -> Self {
        self.plan.source_connections = n;
        self
    }

    /// No wall, which says that it stands as `state` says.
    #[cfg(test)]
    pub(crate) fn pretend(state: std::sync::Arc<std::sync::Mutex<WallState>>) -> Self {
        let installation = "0000000000000000".parse().unwrap();
        let pool = "10.80.0.0/15".parse().unwrap();
        Self { pretended: Some(state), ..Self::new(&installation, pool) }
    }

    /// Puts the table up, or replaces it when it is not as we made it. Call it at start and every
    /// now and then; as long as nobody touched the table, that only reads. Cancel-safe.
    ///
    /// # Errors
    /// When `nft` is there and allowed, and fails all the same.
    pub async fn ensure(&self) -> Result<WallState, WallError> {
        #[cfg(test)]
        if let Some(state) = &self.pretended {
            return Ok(state.lock().unwrap().clone());
        }
        let mut made = self.made.lock().await;
        if made.is_some() && self.listing().await? == *made {
            return Ok(WallState::Up);
        }
        *made = None;
        failpoint::before("wall", "load");
        let loaded = run_nft(&rules::text(&self.table, &self.plan)).await?;
        failpoint::after("wall", "load");
        match loaded {
            Outcome::Done(_) => {
                *made = self.listing().await?;
                Ok(WallState::Up)
            }
            Outcome::Missing => Ok(WallState::Unsupported {
                reason: "there is no `nft` on this machine: install the package `nftables`"
                    .to_owned(),
            }),
            Outcome::Refused(reason) => match unsupported(&reason) {
                Some(reason) => Ok(WallState::Unsupported { reason: reason.to_owned() }),
                None => Err(self.refused(reason)),
            },
        }
    }

    /// Takes the table down; succeeds when there is none.
    ///
    /// # Errors
    /// When `nft` is there and fails, also for want of rights.
    pub async fn remove(&self) -> Result<(), WallError> {
        let mut made = self.made.lock().await;
        *made = None;
        match run_nft(&rules::removal(&self.table)).await? {
            Outcome::Done(_) | Outcome::Missing => Ok(()),
            Outcome::Refused(reason) => Err(self.refused(reason)),
        }
    }

    /// The table as the kernel has it; `None` when it has none, or does not tell.
    async fn listing(&self) -> Result<Option<String>, WallError> {
        match run_nft(&format!("list table inet {}\n", self.table)).await? {
            Outcome::Done(text) => Ok(Some(text)),
            Outcome::Refused(_) | Outcome::Missing => Ok(None),
        }
    }

    fn refused(&self, reason: String) -> WallError {
        WallError::Refused { table: self.table.clone(), reason }
    }
}

/// What this machine lacks, if that is why `nft` refused.
fn unsupported(reason: &str) -> Option<&'static str> {
    if reason.contains("Operation not permitted") || reason.contains("Permission denied") {
        return Some(
            "rules may not be set: run the daemon as root, or give its service `CAP_NET_ADMIN`",
        );
    }
    // How `nft` says that the kernel has no nf_tables at all.
    let is_without = ["Protocol not supported", "Unable to initialize Netlink socket"]
        .iter()
        .any(|words| reason.contains(words));
    is_without.then_some("the kernel has no nf_tables: load the module `nf_tables`")
}

/// Runs `nft` on `text`.
async fn run_nft(text: &str) -> Result<Outcome, WallError> {
    for program in PROGRAMS {
        let child = Command::new(program)
            .args(ARGUMENTS)
            // Its refusals are read by `unsupported`, so they have to be in English.
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(|source| WallError::Run { source })?,
        };
        let finished = async {
            if let Some(mut stdin) = child.stdin.take() {
                // A refusal closes the pipe early; its words are in the output.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(DEADLINE, finished)
            .await
            .map_err(|_| WallError::TimedOut)?
            .map_err(|source| WallError::Run { source })?;
        return Ok(if output.status.success() {
            Outcome::Done(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Outcome::Refused(one_line(&output.stderr))
        });
    }
    Ok(Outcome::Missing)
}

/// The beginning of what `nft` said, on one line.
fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(400).collect()
}
