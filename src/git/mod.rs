//! The only room that touches git.
//!
//! [`Mirror`] is a bare repository of our own that follows one branch of one [`Remote`] and keeps
//! every revision that is still needed. [`GitTree`] and [`WorkTree`] show a commit and a folder on
//! disk as a `model::Tree`. [`Watch`] wakes up early when the remote is a folder on this machine.
//!
//! In:  what the operator wrote about the repository, and the remote.
//! Out: a [`Fetched`] revision, trees to read, or a [`FetchError`] that says what to do.
//!
//! # Invariants
//! * No work tree, no hook, no filter, no subprocess, no global git configuration.
//! * A failed fetch changes nothing: the last revision stays readable, also without network.
//! * Host keys and certificates are never learnt silently; no error shows a credential.
//! * Everything but [`Watch::changed`] blocks: call it from a blocking task.
//!
//! # Not here
//! When to look (`daemon`), what the files mean (`catalog`).

pub mod error;
pub mod hands;
mod home;
mod known_hosts;
mod lineage;
mod local;
pub mod mirror;
pub mod remote;
pub mod revision;
mod session;
pub mod snapshot;
pub mod tree;
pub mod watch;
pub mod worktree;

pub use error::{FetchError, MirrorError};
pub use lineage::Ancestry;
pub use mirror::{Change, CommitInfo, Fetched, Limits, Mirror, Opened, Repaired, SeenTags};
pub use remote::{BranchName, Credentials, Remote, RemoteError};
pub use session::TagWish;
pub use snapshot::{SnapshotError, Snapshots};
pub use tree::GitTree;
pub use watch::Watch;
pub use worktree::WorkTree;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use crate::model::{ObjectId, Revision};

/// Our id of a git object.
fn object_id(oid: git2::Oid) -> ObjectId {
    let mut bytes = [0; 20];
    let len = oid.as_bytes().len().min(20);
    bytes[..len].copy_from_slice(&oid.as_bytes()[..len]);
    ObjectId::from_bytes(bytes)
}

/// libgit2's id of a revision.
fn oid(revision: Revision) -> git2::Oid {
    git2::Oid::from_bytes(revision.0.as_bytes()).expect("20 bytes are an object id")
}

/// Foreign text for an error or a record: one line, no control characters, at most `max` long.
fn one_line(text: &str, max: usize) -> String {
    let cleaned: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max).collect();
    cleaned.split_whitespace().collect::<Vec<_>>().join(" ")
}
