//! What a forge is told of a commit: one word and one line for each of three contexts.

use serde::{Deserialize, Serialize};

use super::Revision;
use super::challenge::word_enum;

word_enum!(
    /// What a status is about; forges show these words beside the commit.
    StatusContext {
        /// Whether its challenges are valid.
        Validate = "flagops/validate",
        /// Whether its images are built.
        Build = "flagops/build",
        /// Whether players have it.
        Release = "flagops/release",
    }
);

word_enum!(
    /// How it stands, in the words that forges share.
    CommitState {
        /// It goes on.
        Pending = "pending",
        /// As wanted.
        Success = "success",
        /// Not as wanted: the commit has to change.
        Failure = "failure",
        /// Not finished, and it never will be.
        Error = "error",
    }
);

/// One status of one commit. A newer one of the same context takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatus {
    /// The commit; never the object of a tag.
    pub revision: Revision,
    /// What it is about.
    pub context: StatusContext,
    /// How it stands.
    pub state: CommitState,
    /// Why, in one line of at most 140 characters.
    pub description: String,
}
