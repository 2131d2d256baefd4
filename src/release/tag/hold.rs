//! What a release tag waits for, in words that say what to do.

use super::FUTURE_MILLIS;
use crate::model::{ObjectId, TagName, Timestamp};

/// Why a tag is not a candidate although it is the highest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hold {
    /// It names something else than when it was first seen.
    #[error("tag `{name}` moved from {} to {}: accept that with `flagops releases accept-move {name} {now}`, or make a new tag", was.short(), now.short())]
    Moved {
        /// The tag.
        name: TagName,
        /// What it named.
        was: ObjectId,
        /// What it names.
        now: ObjectId,
    },
    /// It moved, and `release.on_moved` is `reject`.
    #[error(
        "tag `{name}` moved and is never a release again (`release.on_moved = \"reject\"`): make a new tag"
    )]
    Rejected {
        /// The tag.
        name: TagName,
    },
    /// Another tag has the same place.
    #[error("tags `{name}` and `{other}` have the same place in the order: delete one of them")]
    Ambiguous {
        /// The tag.
        name: TagName,
        /// The other.
        other: TagName,
    },
    /// It is lightweight.
    #[error(
        "tag `{name}` is no tag object: make it with `git tag -a`, or set `release.require_annotated = false`"
    )]
    NotAnnotated {
        /// The tag.
        name: TagName,
    },
    /// The tag object says another name: somebody shows an old tag under a new name.
    #[error(
        "tag `{name}` holds a tag object that calls itself `{inner}`: an old tag was put under a new name; make a new tag"
    )]
    NameMismatch {
        /// The tag.
        name: TagName,
        /// The name inside.
        inner: String,
    },
    /// It names no commit.
    #[error("tag `{name}` names a {what} instead of a commit: tag the commit itself")]
    NotACommit {
        /// The tag.
        name: TagName,
        /// What it names.
        what: &'static str,
    },
    /// Its objects cannot be read.
    #[error(
        "what tag `{name}` names cannot be read from the mirror: push it again, or wait for the next look"
    )]
    Unreadable {
        /// The tag.
        name: TagName,
    },
    /// Its signature does not count.
    #[error("tag `{name}` is not trusted: {reason}")]
    Untrusted {
        /// The tag.
        name: TagName,
        /// In words.
        reason: String,
    },
    /// No wanted branch contains it.
    #[error(
        "tag `{name}` is on none of the branches of `release.ancestor_of`: merge its commit, then tag"
    )]
    NotAnAncestor {
        /// The tag.
        name: TagName,
    },
    /// Its date is ahead of us.
    #[error("tag `{name}` is dated {at}, in the future: is the clock of whoever made it right?")]
    FutureDate {
        /// The tag.
        name: TagName,
        /// Its date.
        at: Timestamp,
    },
    /// The tag that is live was deleted, and `release.on_deleted` is `hold`.
    #[error(
        "the live tag `{live}` was deleted: push it again, or say `flagops releases approve {name}`"
    )]
    LiveDeleted {
        /// The tag that waits.
        name: TagName,
        /// The deleted one.
        live: TagName,
    },
    /// It was not seen for long enough.
    #[error("tag `{name}` goes live at {until} (`release.soak_secs`)")]
    Soaking {
        /// The tag.
        name: TagName,
        /// When it may.
        until: Timestamp,
    },
    /// Nothing goes live now.
    #[error(
        "nothing goes live until {until}: {why}; `flagops releases approve {name}` does not wait"
    )]
    Frozen {
        /// The tag.
        name: TagName,
        /// Until when.
        until: Timestamp,
        /// Why.
        why: String,
    },
    /// A person has to say so.
    #[error("tag `{name}` waits for `flagops releases approve {name}`")]
    AwaitingApproval {
        /// The tag.
        name: TagName,
    },
}

impl Hold {
    /// The reason of the condition `Held` (`contract/gitops.md` §4.13).
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Moved { .. } | Self::Rejected { .. } => "TagMoved",
            Self::Ambiguous { .. } => "AmbiguousTag",
            Self::NotAnnotated { .. } => "NotAnnotated",
            Self::NameMismatch { .. } => "TagNameMismatch",
            Self::NotACommit { .. } => "NotACommit",
            Self::Unreadable { .. } => "Unreadable",
            Self::Untrusted { .. } => "Untrusted",
            Self::NotAnAncestor { .. } => "NotAncestor",
            Self::FutureDate { .. } => "FutureDate",
            Self::LiveDeleted { .. } => "TagMissing",
            Self::Soaking { .. } => "Soaking",
            Self::Frozen { .. } => "FreezeWindow",
            Self::AwaitingApproval { .. } => "AwaitingApproval",
        }
    }

    /// When time alone ends it.
    pub(super) fn ends_at(&self) -> Option<Timestamp> {
        match self {
            Self::Soaking { until, .. } | Self::Frozen { until, .. } => Some(*until),
            Self::FutureDate { at, .. } => Some(at.plus_millis(-FUTURE_MILLIS)),
            Self::Moved { .. }
            | Self::Rejected { .. }
            | Self::Ambiguous { .. }
            | Self::NotAnnotated { .. }
            | Self::NameMismatch { .. }
            | Self::NotACommit { .. }
            | Self::Unreadable { .. }
            | Self::Untrusted { .. }
            | Self::NotAnAncestor { .. }
            | Self::LiveDeleted { .. }
            | Self::AwaitingApproval { .. } => None,
        }
    }
}
