//! What came of running a challenge's own exploit.

use serde::{Deserialize, Serialize};

use super::challenge::word_enum;
use super::{ChallengeId, NodeId, Revision, Timestamp, TreeId};

word_enum!(
    /// What came of running a challenge's own exploit against a fresh instance of it.
    ProofOutcome {
        /// It found every answer that was minted.
        Proven = "proven",
        /// It did not, or the instance did not start.
        Failed = "failed",
        /// The challenge has none.
        NoExploit = "no_exploit",
    }
);

/// One version of a challenge, tried on one node; the last time counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofRecord {
    /// The challenge.
    pub challenge: ChallengeId,
    /// The version.
    pub tree: TreeId,
    /// Where.
    pub node: NodeId,
    /// The commit that the version was read from.
    pub revision: Revision,
    /// What came of it.
    pub outcome: ProofOutcome,
    /// One sentence for operators. Holds no answer.
    pub message: String,
    /// How long the exploit ran, in milliseconds; 0 when it did not.
    pub took_millis: u64,
    /// When that was known.
    pub at: Timestamp,
}
