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
    /// What goes live: the candidate, and what players have.
    Release,
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
            Self::Release => f.write_str("release"),
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
            _ if text == "release" => Ok(Self::Release),
            _ => Err(super::IdError {
                text: text.chars().take(80).collect(),
                wanted: "a scope (`repo`, `release`, `challenge/ID`, `node/ID` or `instance/ID`)",
            }),
        }
    }
}

word_enum!(
    /// What can be stated (`contract/gitops.md` §4.13): one vocabulary for every object.
    ///
    /// Each type has a [`Polarity`]. `Unknown` is never good or bad: nobody could look.
    ConditionType {
        /// Everything is as wanted: the sum of the others.
        Ready = "Ready",
        /// Work is going on.
        Reconciling = "Reconciling",
        /// Nothing goes on by itself any more: the input has to change.
        Stalled = "Stalled",
        /// The remote answers.
        SourceReachable = "SourceReachable",
        /// No successful poll for too long.
        SourceStale = "SourceStale",
        /// The revision is signed by somebody whom we trust.
        SourceVerified = "SourceVerified",
        /// Something waits for a person.
        Held = "Held",
        /// The newest revision of it passes every rule.
        Validated = "Validated",
        /// Its images are on the node.
        Built = "Built",
        /// Its own solution solved it.
        Proven = "Proven",
        /// Players can start it.
        Released = "Released",
        /// It works.
        Healthy = "Healthy",
        /// Something else than we changed what runs.
        Drifted = "Drifted",
        /// Removal waits.
        PruneHeld = "PruneHeld",
        /// The engine answers a real create.
        DockerAvailable = "DockerAvailable",
        /// The node answers.
        NodeConnected = "NodeConnected",
        /// Instances reach themselves and nothing else.
        Isolated = "Isolated",
        /// The disk is nearly full.
        DiskPressure = "DiskPressure",
        /// A boot is sorting out what an unclean stop left.
        Recovering = "Recovering",
        /// A person asked that nothing be done.
        Suspended = "Suspended",
        /// The forge takes our commit statuses.
        StatusesPosted = "StatusesPosted",
        /// The ingress has a certificate that players are not warned of.
        CertificateValid = "CertificateValid",
    }
);

/// Which status of a condition is the wanted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polarity {
    /// `True` is good, `False` is bad.
    Positive,
    /// `True` is bad, `False` is good.
    Negative,
}

impl ConditionType {
    /// Which status of this type is the wanted one.
    pub fn polarity(self) -> Polarity {
        match self {
            Self::Ready
            | Self::SourceReachable
            | Self::SourceVerified
            | Self::Validated
            | Self::Built
            | Self::Proven
            | Self::Released
            | Self::Healthy
            | Self::DockerAvailable
            | Self::NodeConnected
            | Self::Isolated
            | Self::StatusesPosted
            | Self::CertificateValid => Polarity::Positive,
            Self::Reconciling
            | Self::Stalled
            | Self::SourceStale
            | Self::Held
            | Self::Drifted
            | Self::PruneHeld
            | Self::DiskPressure
            | Self::Recovering
            | Self::Suspended => Polarity::Negative,
        }
    }

    /// Whether `status` is the unwanted one of this type. `Unknown` is neither.
    pub fn is_bad(self, status: ConditionStatus) -> bool {
        match (self.polarity(), status) {
            (Polarity::Positive, ConditionStatus::False)
            | (Polarity::Negative, ConditionStatus::True) => true,
            (Polarity::Positive, ConditionStatus::True)
            | (Polarity::Negative, ConditionStatus::False)
            | (_, ConditionStatus::Unknown) => false,
        }
    }
}

impl std::str::FromStr for ConditionType {
    type Err = super::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_word(text).ok_or_else(|| super::IdError {
            text: text.chars().take(80).collect(),
            wanted: "a type of conditions, e.g. `SourceReachable` or `DockerAvailable`",
        })
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_polarity_and_nobody_looked_is_neither() {
        let bad_when = |status| {
            let all = ConditionType::WORDS.iter().filter_map(|word| ConditionType::from_word(word));
            let bad: Vec<_> =
                all.filter(|kind| kind.is_bad(status)).map(ConditionType::as_str).collect();
            bad.join(" ")
        };
        assert_eq!(
            bad_when(ConditionStatus::True),
            "Reconciling Stalled SourceStale Held Drifted PruneHeld DiskPressure Recovering Suspended"
        );
        assert_eq!(
            bad_when(ConditionStatus::False),
            "Ready SourceReachable SourceVerified Validated Built Proven Released Healthy \
             DockerAvailable NodeConnected Isolated StatusesPosted CertificateValid"
        );
        assert_eq!(bad_when(ConditionStatus::Unknown), "");
    }

    #[test]
    fn a_type_is_read_by_its_word_and_a_wrong_one_is_named() {
        assert_eq!("PruneHeld".parse(), Ok(ConditionType::PruneHeld));
        let error = "pruneheld".parse::<ConditionType>().unwrap_err();
        assert!(error.to_string().contains("pruneheld"), "{error}");
    }
}
