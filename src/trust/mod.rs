//! Decides whether a tag or a commit was signed by one who may.
//!
//! In:  a raw object, the name of the ref that shows it, a [`Keyring`], and a [`Sighting`].
//! Out: a [`Verdict`]: who signed, or why it does not count, and what to do about it.
//!
//! # Invariants
//! * No bytes make it panic, and none that were not signed are [`Verdict::Good`].
//! * Where `ssh-keygen -Y verify` or `gpg --verify` refuse a signature, so do we (`tests/trust`).
//!   We refuse more: signed objects under another name, keys without the role, keys that were
//!   valid only by the date in the object, SHA-1.
//! * The same object, ref, keyring and first sight give the same verdict, whenever it is asked for,
//!   unless the clock was wrong. It may be kept under the object, the ref and [`Keyring::digest`].
//!
//! # Not here
//! Tags that move, vanish or are ambiguous (`release`); reading objects (`git`); reading the files
//! of the keyring (`config::trust`).

mod chain;
mod fault;
mod file;
mod keyring;
mod object;
#[cfg(feature = "pgp")]
mod openpgp;
#[cfg(not(feature = "pgp"))]
#[path = "no_openpgp.rs"]
mod openpgp;
mod roles;
mod ssh;
mod verdict;

pub use chain::{Chain, Link, verify_chain};
pub use fault::{Fault, KeyringErrors, SourceText};
pub use file::TrustFile;
pub use keyring::{KeyFiles, Keyring};
pub use verdict::{Role, Signer, Subject, Verdict};

use object::{Armor, CommitObject, TagObject};
use ssh::Times;
use verdict::shown;

use crate::model::Timestamp;

/// How far a date may lie ahead: clocks of people differ.
const LEEWAY_SECS: i64 = 5 * 60;

/// Where and when an object was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting<'a> {
    /// The address of the watched repository, as configured.
    pub repository: &'a str,
    /// When we first saw this object under this ref.
    pub first_seen: Timestamp,
    /// Now.
    pub now: Timestamp,
}

impl Sighting<'_> {
    /// The latest date that is believed of what was seen then.
    ///
    /// Waiting does not make a date from the future right, so the first sight counts.
    fn latest(&self) -> Timestamp {
        self.first_seen.min(self.now).plus_secs(LEEWAY_SECS)
    }
}

/// Judges the tag object `raw` that `ref_name` (`refs/tags/…`) shows.
///
/// Structure first, then who signed, so that the first thing to mend is said first. Whether the
/// target exists is for the caller to see.
pub fn verify_tag(
    raw: &[u8],
    ref_name: &str,
    keyring: &Keyring,
    sighting: &Sighting<'_>,
) -> Verdict {
    judge_tag(raw, ref_name, keyring, sighting).unwrap_or_else(|refusal| refusal)
}

fn judge_tag(
    raw: &[u8],
    ref_name: &str,
    keyring: &Keyring,
    sighting: &Sighting<'_>,
) -> Result<Verdict, Verdict> {
    let tag = TagObject::parse(raw)?;
    if ref_name.strip_prefix("refs/tags/").map(str::as_bytes) != Some(tag.name) {
        return Err(Verdict::TagNameMismatch {
            inner: shown(tag.name),
            expected: shown(ref_name.as_bytes()),
        });
    }
    match tag.kind {
        "commit" => (),
        "tag" => return Err(Verdict::NestedTag),
        kind => return Err(Verdict::NotACommit { kind: kind.to_owned() }),
    }
    let armor = tag.signature.ok_or(Verdict::Unsigned)?;
    let watched = same_repository(sighting.repository);
    for written in tag.repositories() {
        let written = String::from_utf8_lossy(written);
        if same_repository(&written) != watched {
            return Err(Verdict::WrongRepository {
                written: shown(written.as_bytes()),
                watched: shown(watched.as_bytes()),
            });
        }
    }
    let signer = check(armor, tag.payload, Role::Release, tag.at, keyring, sighting)?;
    Ok(Verdict::Good { signer, at: tag.at, target: tag.target })
}

/// Judges the raw commit object `raw` of the branch.
pub fn verify_commit(raw: &[u8], keyring: &Keyring, sighting: &Sighting<'_>) -> Verdict {
    judge_commit(raw, keyring, sighting).unwrap_or_else(|refusal| refusal)
}

fn judge_commit(
    raw: &[u8],
    keyring: &Keyring,
    sighting: &Sighting<'_>,
) -> Result<Verdict, Verdict> {
    let commit = CommitObject::parse(raw)?;
    let block = commit.signature.ok_or(Verdict::Unsigned)?;
    let armor = Armor::parse(&block)?;
    let signer = check(armor, &commit.payload, Role::Commit, commit.at, keyring, sighting)?;
    Ok(Verdict::Good { signer, at: commit.at, target: commit.tree })
}

fn check(
    armor: Armor<'_>,
    payload: &[u8],
    role: Role,
    dated: Timestamp,
    keyring: &Keyring,
    sighting: &Sighting<'_>,
) -> Result<Signer, Verdict> {
    let latest = sighting.latest();
    if dated > latest {
        return Err(Verdict::FutureDate { at: dated, seen: sighting.first_seen });
    }
    let times = Times { dated, first_seen: sighting.first_seen };
    keyring.verify(armor, payload, role, times, latest)
}

/// An address without what does not tell repositories apart: credentials, `.git`, a last `/`.
fn same_repository(address: &str) -> String {
    let address = address.trim().trim_end_matches('/');
    let address = address.strip_suffix(".git").unwrap_or(address).trim_end_matches('/');
    match address.split_once("://") {
        Some((scheme, rest)) if scheme.starts_with("http") => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{}{path}", host.to_ascii_lowercase())
        }
        _ => address.to_owned(),
    }
}
