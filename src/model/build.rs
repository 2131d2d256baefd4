//! The state of one image.

use serde::{Deserialize, Serialize};

use super::challenge::word_enum;
use super::{BuildKey, ChallengeId, ServiceName, Timestamp};

/// One image that is wanted: a Dockerfile to build or a reference to have at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// What determines the image; one image per key.
    pub key: BuildKey,
    /// The challenge that asked first.
    pub challenge: ChallengeId,
    /// The service that asked first.
    pub service: ServiceName,
    /// How far it is.
    pub state: BuildState,
    /// The engine's id of the image (`sha256:…`), when built.
    pub image: Option<String>,
    /// Why it failed, one line.
    pub error: Option<String>,
    /// Whether trying the same input again could help.
    pub is_retryable: bool,
    /// The last lines of the build's output, at most 16 KiB; hostile text.
    pub log_tail: String,
    /// When it was asked for.
    pub queued_at: Timestamp,
    /// When the last attempt began.
    pub started_at: Option<Timestamp>,
    /// When the last attempt ended.
    pub finished_at: Option<Timestamp>,
    /// Attempts so far.
    pub n_attempts: u32,
}

word_enum!(
    /// How far an image is.
    BuildState {
        /// Wanted; waits for a slot, or for the next attempt.
        Unbuilt = "unbuilt",
        /// An attempt is running. A crash takes it back to `unbuilt`.
        Building = "building",
        /// The image is on the node.
        Built = "built",
        /// The last attempt failed; `is_retryable` says whether another follows by itself.
        Failed = "failed",
    }
);

/// Serialisable position inside a build, for progress shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BuildProgress {
    /// The current step, e.g. `3/7`.
    pub step: String,
    /// The last line of output.
    pub line: String,
}
