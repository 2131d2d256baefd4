//! What is true now about the repository, a challenge, the node or the engine, and since when.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::challenge::word_enum;
use super::{ChallengeId, InstanceId, NodeId, Revision, Timestamp};

/// One statement about one object (`contract/gitops.md` §4.13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub scope: Scope,
    /// What is stated.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// PascalCase word, stable, e.g. `AuthFailed`.
    pub reason: String,
    /// One sentence for people, without counters and times.
    pub message: String,
    /// When `status` last changed.
    pub since: Timestamp,
    /// The revision it was observed at.
    pub revision: Option<Revision>,
}

/// What a condition is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The challenge repository.
    Repo,
    /// One challenge.
    Challenge(ChallengeId),
    /// One node.
    Node(NodeId),
    /// One instance.
    Instance(InstanceId),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repo => f.write_str("repo"),
            Self::Challenge(id) => write!(f, "challenge/{id}"),
            Self::Node(id) => write!(f, "node/{id}"),
            Self::Instance(id) => write!(f, "instance/{id}"),
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = super::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some(("challenge", id)) => id.parse().map(Self::Challenge),
            Some(("node", id)) => id.parse().map(Self::Node),
            Some(("instance", id)) => id.parse().map(Self::Instance),
            _ if text == "repo" => Ok(Self::Repo),
            _ => Err(super::IdError {
                text: text.chars().take(80).collect(),
                wanted: "a scope (`repo`, `challenge/ID`, `node/ID` or `instance/ID`)",
            }),
        }
    }
}

word_enum!(
    /// The vocabulary of §4.13, as far as anything states it.
    ConditionType {
        /// Everything is as wanted.
        Ready = "Ready",
        /// Work is going on.
        Reconciling = "Reconciling",
        /// The remote answers.
        SourceReachable = "SourceReachable",
        /// No successful poll for too long.
        SourceStale = "SourceStale",
        /// Something waits for a person.
        Held = "Held",
        /// The newest revision of it passes every rule.
        Validated = "Validated",
        /// Its images are on the node.
        Built = "Built",
        /// Players can start it.
        Released = "Released",
        /// It works.
        Healthy = "Healthy",
        /// Removal waits.
        PruneHeld = "PruneHeld",
        /// The engine answers a real create.
        DockerAvailable = "DockerAvailable",
        /// The disk is nearly full.
        DiskPressure = "DiskPressure",
        /// Our own work on it is suspended by a person.
        Suspended = "Suspended",
        /// A boot is sorting out what an unclean stop left.
        Recovering = "Recovering",
    }
);

word_enum!(
    /// Whether a condition holds.
    ConditionStatus {
        /// It does.
        True = "True",
        /// It does not.
        False = "False",
        /// Nobody could look.
        Unknown = "Unknown",
    }
);
