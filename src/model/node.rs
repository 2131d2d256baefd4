//! A machine that runs instances, as the platform knows it.
//!
//! # Not here
//! How it is talked to (`node`), which one an instance goes to (`planner::placement`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::challenge::word_enum;
use super::{BuildKey, BuildState, NodeId, Timestamp};

/// Most labels of one node.
pub const MAX_LABELS: usize = 32;

/// Whether `text` may be a key or a value of a label.
pub fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
}

/// One node that joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its id: derived from where it answers.
    pub id: NodeId,
    /// Where it answers, without a trailing slash.
    pub url: String,
    /// What people call it.
    pub name: String,
    /// Instances that it takes on.
    pub capacity: u32,
    /// What placement may ask for.
    pub labels: BTreeMap<String, String>,
    /// Whether it gets new instances.
    pub duty: Duty,
    /// SHA-256 of the certificate that it serves with, in hex; empty for one of an authority.
    pub tls_pin: String,
    /// When it joined first.
    pub registered_at: Timestamp,
    /// When it was last heard of.
    pub last_beat: Timestamp,
    /// What it said then.
    pub report: NodeReport,
}

impl Node {
    /// Whether it was heard of within so many seconds.
    pub fn is_heard(&self, now: Timestamp, patience_secs: u32) -> bool {
        now.millis_since(self.last_beat) < i64::from(patience_secs) * 1000
    }
}

word_enum!(
    /// Whether a node gets new instances, and what becomes of those that it has.
    Duty {
        /// It gets some.
        Active = "active",
        /// It gets none; those that it has stay.
        Cordoned = "cordoned",
        /// It gets none; those that may move go elsewhere, the others run out.
        Draining = "draining",
    }
);

/// What a node says of itself with each heartbeat. Everything has a default, so that an older node
/// can leave it out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeReport {
    /// Instances that are starting or ready.
    pub running: u32,
    /// Percent of its processors in use.
    pub cpu_percent: f64,
    /// Percent of its memory in use.
    pub memory_percent: f64,
    /// Percent of its disk in use.
    pub disk_percent: f64,
    /// When that was measured, Unix seconds; 0 when it was not.
    pub sampled_at: f64,
    /// Version of flagops.
    pub version: String,
    /// Of its processors: `amd64`, `arm64`.
    pub architecture: String,
    /// Container runtimes that its engine has.
    pub runtimes: BTreeSet<String>,
    /// Its memory.
    pub memory_bytes: u64,
    /// Its processors, in thousandths.
    pub cpu_millis: u64,
    /// Host ports that it may give out.
    pub n_ports: u32,
    /// Why it starts nothing now; empty when it does.
    pub closed: String,
    /// The generation whose challenges it serves; 0 before the first.
    pub generation: u32,
    /// The release of that generation.
    pub release: String,
    /// Why it refuses a newer one; empty when it does not.
    pub mismatch: String,
    /// How far its images are.
    pub builds: BTreeMap<BuildKey, BuildState>,
    /// SHA-256 over what it took out of its images for players, by build key and path.
    pub exports: BTreeMap<String, String>,
}

/// One heartbeat that was kept, or a look that found none.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSample {
    /// When.
    pub at: Timestamp,
    /// Whether it was heard of.
    pub is_healthy: bool,
    /// As reported.
    pub cpu_percent: f64,
    /// As reported.
    pub memory_percent: f64,
    /// As reported.
    pub disk_percent: f64,
    /// From measuring to receiving.
    pub latency_ms: f64,
}

impl NodeSample {
    /// A node was not heard of.
    pub fn missed(at: Timestamp) -> Self {
        Self {
            at,
            is_healthy: false,
            cpu_percent: 0.0,
            memory_percent: 0.0,
            disk_percent: 0.0,
            latency_ms: 0.0,
        }
    }
}

/// An invitation for one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInvite {
    /// Public id: 16 hex digits.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// The node that used it.
    pub consumed_by: Option<NodeId>,
}

impl NodeInvite {
    /// How it stands: `active`, `consumed` or `expired`.
    pub fn status(&self, now: Timestamp) -> &'static str {
        match self.consumed_by {
            Some(_) => "consumed",
            None if self.expires_at <= now => "expired",
            None => "active",
        }
    }
}

word_enum!(
    /// What happened to a node.
    NodeEventKind {
        /// It joined, or joined again.
        Registered = "node_registered",
        /// It was not heard of for too long.
        Unhealthy = "node_unhealthy",
        /// It was heard of again.
        Recovered = "node_recovered",
        /// It left, or was removed.
        Removed = "node_removed",
        /// Its name, labels or duty changed.
        Updated = "node_updated",
    }
);

/// One thing that happened to a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeEvent {
    /// Counts up.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Which.
    pub node: NodeId,
    /// What.
    pub kind: NodeEventKind,
    /// What else there is to say, a JSON object.
    pub detail: serde_json::Value,
}
