//! The wall around instances: a firewall table of our own on the host.
//!
//! A Docker bridge keeps instances apart from each other, not from the host, its neighbours and the
//! cloud's metadata service (`security.md` §3.4). This table does, for every bridge whose name
//! begins with [`BRIDGE_PREFIX`], present and future: it is static, so no rule is added or removed
//! when instances come and go, and it stays in force while neither we nor the engine run.
//!
//! In:  the installation. Out: the table, loaded by one `nft` transaction.
//!
//! # Invariants
//! * From an instance: replies, and packets to its own bridge. Nothing else: no host, no published
//!   port of another instance, no LAN, no internet, no IPv6, no forged source address.
//! * To an instance: what was published, replies, and what this host itself sends (the probe).
//! * A published port stays reachable: what Docker translated is let through.
//! * Other tables are never touched; a `drop` of ours is final whatever they say.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::model::InstallationId;

/// How the names of our bridges on the host begin.
pub const BRIDGE_PREFIX: &str = "fi";

/// How long `nft` may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Where `nft` is when it is not in `PATH`, as under a bare service manager.
const PATHS: [&str; 4] = ["nft", "/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft"];

/// The firewall table of one installation.
#[derive(Debug, Clone)]
pub struct Wall {
    table: String,
    prefix: String,
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

impl Wall {
    /// The wall of `installation`. Changes nothing yet.
    pub fn new(installation: &InstallationId) -> Self {
        Self::with_prefix(installation, BRIDGE_PREFIX)
    }

    fn with_prefix(installation: &InstallationId, prefix: &str) -> Self {
        Self { table: format!("flagops_{}", installation.short()), prefix: prefix.to_owned() }
    }

    /// Puts the table up, or replaces it by itself in one transaction: there is no moment without
    /// rules, and open connections survive. Call it at start and every now and then.
    ///
    /// # Errors
    /// When `nft` is there and allowed, and fails all the same.
    pub async fn ensure(&self) -> Result<WallState, WallError> {
        self.load(&rules(&self.table, &self.prefix)).await
    }

    /// Takes the table down; succeeds when there is none.
    ///
    /// # Errors
    /// As [`Self::ensure`].
    pub async fn remove(&self) -> Result<WallState, WallError> {
        // Declaring it first makes the deletion succeed when it is absent.
        let table = &self.table;
        self.load(&format!("table inet {table}\ndelete table inet {table}\n")).await
    }

    async fn load(&self, text: &str) -> Result<WallState, WallError> {
        if !rustix::process::geteuid().is_root() {
            let reason = "the firewall needs root: run the daemon as root, or give it \
                          CAP_NET_ADMIN and put the table up yourself"
                .to_owned();
            return Ok(WallState::Unsupported { reason });
        }
        let Some(output) = run_nft(&["-f", "-"], text).await? else {
            let reason = "there is no `nft` on this machine: install the package `nftables`";
            return Ok(WallState::Unsupported { reason: reason.to_owned() });
        };
        if output.status.success() {
            return Ok(WallState::Up);
        }
        Err(WallError::Refused { table: self.table.clone(), reason: one_line(&output.stderr) })
    }
}

/// Runs `nft` on `text`; `None` when there is no `nft`.
async fn run_nft(arguments: &[&str], text: &str) -> Result<Option<Output>, WallError> {
    for path in PATHS {
        let child = Command::new(path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(|source| WallError::Run { source })?,
        };
        let feed = async {
            if let Some(mut stdin) = child.stdin.take() {
                // A refusal closes the pipe early; its words are in the output.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        return match tokio::time::timeout(DEADLINE, feed).await {
            Ok(output) => output.map(Some).map_err(|source| WallError::Run { source }),
            Err(_) => Err(WallError::TimedOut),
        };
    }
    Ok(None)
}

fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(400).collect()
}

/// The whole table as one transaction.
///
/// The question "same bridge?" is asked by a route lookup (`fib daddr . iif`): nft cannot compare
/// two interface names, and a set of bridges would have to follow every start. It only matters
/// where bridged packets pass the firewall at all (`br_netfilter`); otherwise nobody asks.
fn rules(table: &str, prefix: &str) -> String {
    format!(
        r#"table inet {table}
delete table inet {table}
table inet {table} {{
  chain early {{
    # After connection tracking (-200), before address translation (-100): what is dropped here never
    # reaches a published port of another instance by way of the host.
    type filter hook prerouting priority -150; policy accept;
    iifname "{prefix}*" meta nfproto ipv6 counter drop
    iifname "{prefix}*" fib saddr . iif oif missing counter drop
    iifname "{prefix}*" ct state established,related accept
    iifname "{prefix}*" fib daddr . iif oif exists accept
    iifname "{prefix}*" counter drop
    # A neighbour that routes 127.0.0.1 to us would reach ports published on loopback only.
    iifname != "lo" ip daddr 127.0.0.0/8 counter drop
  }}
  chain input {{
    type filter hook input priority -10; policy accept;
    iifname "{prefix}*" ct state established,related accept
    iifname "{prefix}*" counter drop
  }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
    iifname "{prefix}*" oifname != "{prefix}*" ct state established,related accept
    iifname "{prefix}*" oifname != "{prefix}*" counter drop
    iifname != "{prefix}*" oifname "{prefix}*" ct state established,related accept
    iifname != "{prefix}*" oifname "{prefix}*" ct status dnat accept
    iifname != "{prefix}*" oifname "{prefix}*" counter drop
  }}
}}
"#
    )
}

#[cfg(test)]
#[path = "wall_tests.rs"]
mod tests;
