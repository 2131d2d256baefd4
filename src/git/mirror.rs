//! The bare repository of our own that follows the challenge repository.
//!
//! Everything after a fetch reads from here, so a remote that is down, emptied or rewritten takes
//! nothing away: the observed branch stays where it was, and every pinned revision keeps its
//! objects (nothing here ever collects garbage).
//!
//! `refs/flagops/observed/heads/<branch>` is what was seen last, `refs/flagops/observed/HEAD` names
//! that branch, `refs/flagops/pins/<name>` is what must not go. Names of the remote cannot collide
//! with ours.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use git2::{ObjectType, Oid, Repository};

use super::error::{FetchError, MirrorError};
use super::home::{self, HEAD, HEADS, PINS};
use super::remote::{BranchName, Credentials, Remote};
use super::session::{self, Order, TagWish, Tip};
use super::tree::GitTree;
use super::{local, object_id, oid, one_line};
use crate::model::{ObjectId, Revision, TagName, Timestamp, TreeError};
use crate::release::tag::{TagObject, TagTarget};
use crate::telemetry::failpoint;

/// What the fail points of the mirror begin with.
const ROOM: &str = "git";

/// Bounds of one fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Until the remote has listed its branches (default 15 s).
    pub connect: Duration,
    /// The whole transfer (default 120 s; ten times that for the first, which brings everything).
    pub transfer: Duration,
    /// Longest time below 1 kB/s without another sign of life (default 30 s).
    pub stall: Duration,
    /// Most bytes of one transfer (default 5 GiB).
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            transfer: Duration::from_secs(120),
            stall: Duration::from_secs(30),
            max_bytes: 5 << 30,
        }
    }
}

/// What a fetch found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where the branch stands.
    pub revision: Revision,
    /// The branch that is followed.
    pub branch: String,
    /// How that differs from what was seen before.
    pub change: Change,
    /// The commit there.
    pub commit: CommitInfo,
    /// What was seen beside the branch; `None` when nobody asked for tags.
    pub tags: Option<SeenTags>,
}

/// The release tags of a remote, all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenTags {
    /// What each names: a tag object or a commit.
    pub objects: BTreeMap<TagName, ObjectId>,
    /// Where the branches stand that a release must be on.
    pub branches: Vec<Revision>,
    /// Why some objects are not in the mirror, in words.
    pub fault: Option<String>,
}

/// How a branch moved since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was never seen before.
    First,
    /// It stands where it stood.
    Unchanged,
    /// The old commit is an ancestor of the new one.
    Forward,
    /// It is not: somebody rewrote history. The branch is followed, and the old objects stay.
    Rewritten {
        /// Where it stood.
        was: Revision,
    },
}

/// What people want to know of a commit. Foreign text: one line each, without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// `Name <mail>`.
    pub author: String,
    /// When it was committed, by the committer's clock.
    pub time: Timestamp,
    /// The first line of the message.
    pub subject: String,
}

/// What was found where the mirror belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: a new one was made.
    New,
    /// A mirror of ours in good order.
    Existing,
    /// Something damaged or foreign: it was set aside and a new one made.
    SetAside {
        /// Where it is now.
        aside: PathBuf,
        /// What was wrong with it.
        reason: String,
        /// Pins whose commits could not be saved.
        lost_pins: Vec<String>,
    },
}

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// What the new mirror holds.
    pub fetched: Fetched,
    /// Where the damaged one is now.
    pub aside: Option<PathBuf>,
    /// Pins whose commits neither the remote nor the damaged mirror had.
    pub lost_pins: Vec<String>,
}

/// How long a transfer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// It brings everything.
    First,
    /// It brings what is new.
    Usual,
}

/// The mirror of one remote. Share it: every method opens its own handle, writers take turns.
#[derive(Debug)]
pub struct Mirror {
    pub(super) dir: PathBuf,
    remote: Remote,
    credentials: Credentials,
    limits: Limits,
    wish: TagWish,
    opened: Opened,
    writer: Mutex<()>,
    n_running: Arc<AtomicUsize>,
}

impl Mirror {
    /// Opens the mirror at `dir` (mode 0700), or makes it. What is there and is damaged or not ours
    /// is set aside as `<dir>.corrupt-<n>` (the newest three are kept), its pins carried over as
    /// far as they can be read. A mirror of another remote is kept and forgets what it observed.
    /// Needs no network.
    ///
    /// # Errors
    /// When the folder cannot be made or moved, or belongs to another user.
    pub fn open(dir: &Path, remote: Remote, credentials: Credentials) -> Result<Self, MirrorError> {
        home::check_owner(dir)?;
        home::sweep(dir);
        // Succeeds for an empty folder only, which is as good as none.
        let _ = fs::remove_dir(dir);
        let opened = if fs::symlink_metadata(dir).is_err() {
            start_anew(dir, &remote)?;
            Opened::New
        } else {
            match home::adopt(dir, &remote) {
                Ok(()) => Opened::Existing,
                Err(reason) => {
                    let (aside, lost_pins) = start_anew(dir, &remote)?;
                    let aside = aside.unwrap_or_else(|| dir.to_owned());
                    Opened::SetAside { aside, reason, lost_pins }
                }
            }
        };
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(dir, mode)
            .map_err(|source| MirrorError::Io { dir: dir.to_owned(), source })?;
        Ok(Self {
            dir: dir.to_owned(),
            remote,
            credentials,
            limits: Limits::default(),
            wish: TagWish::default(),
            opened,
            writer: Mutex::new(()),
            n_running: Arc::default(),
        })
    }

    /// This mirror with other bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// This mirror, looking for tags as well.
    #[must_use]
    pub fn with_tags(mut self, wish: TagWish) -> Self {
        self.wish = wish;
        self
    }

    /// What [`Mirror::open`] found.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// What is mirrored.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Looks at the remote and brings what is new on `branch`, or on the remote's default branch.
    /// Blocks up to the limits; an unchanged remote costs one listing.
    ///
    /// # Errors
    /// See [`FetchError`]; nothing changed then. [`FetchError::Corrupt`] asks for
    /// [`Mirror::repair`].
    pub fn fetch(&self, branch: Option<&BranchName>) -> Result<Fetched, FetchError> {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        home::sweep(&self.dir);
        let before = self.repository()?;
        let patience = match before.find_reference(HEAD) {
            Ok(_) => Patience::Usual,
            Err(_) => Patience::First,
        };
        drop(before);
        failpoint::before(ROOM, "fetch");
        let tip = session::run(&self.order(&self.dir, branch, patience), &self.n_running)
            .map_err(|error| self.suspect_mirror(error))?;
        failpoint::after(ROOM, "fetch");
        // Opened after the transfer, so that it sees the new objects.
        let repository = self.repository()?;
        self.observe(&repository, &repository, &tip)
    }

    /// Clones the remote anew beside the mirror, carries over the pins, and swaps the two. The
    /// damaged one is set aside. Blocks like a first fetch.
    ///
    /// # Errors
    /// When the remote cannot be read or the disk not be written; the damaged mirror stays then.
    pub fn repair(&self, branch: Option<&BranchName>) -> Result<Repaired, FetchError> {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let unwritable = |reason: String| FetchError::Unwritable { dir: self.dir.clone(), reason };
        let place = home::unfinished(&self.dir);
        home::discard(&place);
        let guard = Discard(&place);
        home::create(&place, &self.remote).map_err(|error| unwritable(error.to_string()))?;
        let tip = session::run(&self.order(&place, branch, Patience::First), &self.n_running)?;
        let git = |error: git2::Error| unwritable(one_line(error.message(), 200));
        let new = home::open(&place).map_err(git)?;
        let lost_pins = save_pins(&self.dir, &new).map_err(git)?;
        let fetched = match home::open(&self.dir) {
            Ok(old) => self.observe(&old, &new, &tip)?,
            Err(_) => self.observe(&new, &new, &tip)?,
        };
        failpoint::before(ROOM, "swap");
        let aside = home::swap(&place, &self.dir).map_err(|error| unwritable(error.to_string()))?;
        failpoint::after(ROOM, "swap");
        drop(guard);
        Ok(Repaired { fetched, aside, lost_pins })
    }

    /// The revision that was observed last; `None` before the first fetch. Needs no network.
    pub fn head(&self) -> Option<Revision> {
        self.last().map(|fetched| fetched.revision)
    }

    /// What the last fetch found, as [`Change::Unchanged`]; `None` before the first. Needs no
    /// network.
    pub fn last(&self) -> Option<Fetched> {
        let repository = home::open(&self.dir).ok()?;
        let head = repository.find_reference(HEAD).ok()?;
        let name = head.symbolic_target().ok()??;
        let branch = name.strip_prefix(HEADS)?.to_owned();
        let commit = head.peel_to_commit().ok()?;
        Some(Fetched {
            revision: Revision(object_id(commit.id())),
            branch,
            change: Change::Unchanged,
            commit: describe(&commit),
            tags: None,
        })
    }

    /// What `object`, which a tag names, is. Needs no network.
    pub fn tag_target(&self, object: ObjectId) -> TagTarget {
        home::open(&self.dir)
            .and_then(|repository| read_target(&repository, oid(Revision(object))))
            .unwrap_or(TagTarget::Unreadable)
    }

    /// The bytes of a tag or commit object, as they are signed.
    ///
    /// # Errors
    /// [`TreeError::Unreadable`] when the mirror does not hold it, or it is larger than any tag.
    pub fn raw_object(&self, object: ObjectId) -> Result<Vec<u8>, TreeError> {
        let wanted = Revision(object);
        let read = || -> Result<Vec<u8>, git2::Error> {
            let repository = home::open(&self.dir)?;
            let odb = repository.odb()?;
            if odb.read_header(oid(wanted))?.0 > local::MAX_TAG_BYTES {
                return Err(git2::Error::from_str("it is larger than 1 MiB"));
            }
            Ok(odb.read(oid(wanted))?.data().to_vec())
        };
        read().map_err(|error| unreadable(wanted, &error))
    }

    /// Whether one of `tips` is `revision` or a descendant of it.
    ///
    /// # Errors
    /// [`TreeError::Unreadable`] when the mirror does not hold one of them.
    pub fn is_contained(&self, revision: Revision, tips: &[Revision]) -> Result<bool, TreeError> {
        let repository = home::open(&self.dir).map_err(|error| unreadable(revision, &error))?;
        for tip in tips {
            let is_tip = *tip == revision;
            let contains = || repository.graph_descendant_of(oid(*tip), oid(revision));
            if is_tip || contains().map_err(|error| unreadable(revision, &error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What is known of a commit in the mirror.
    ///
    /// # Errors
    /// [`TreeError::Unreadable`] when the mirror does not hold it.
    pub fn commit(&self, revision: Revision) -> Result<CommitInfo, TreeError> {
        let repository = home::open(&self.dir).map_err(|error| unreadable(revision, &error))?;
        let commit =
            repository.find_commit(oid(revision)).map_err(|error| unreadable(revision, &error))?;
        Ok(describe(&commit))
    }

    /// The commit `name` in the mirror: 40 hex digits, or at least 7 that begin one commit only;
    /// `None` when there is no such commit, or there are several.
    ///
    /// # Errors
    /// [`TreeError::Unreadable`] when the mirror itself cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Revision>, TreeError> {
        if !(7..=40).contains(&name.len()) || !name.bytes().all(|it| it.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let repository = home::open(&self.dir).map_err(|error| TreeError::Unreadable {
            path: format!("commit {name}"),
            reason: one_line(error.message(), 200),
        })?;
        let commit = repository.find_commit_by_prefix(name).ok();
        Ok(commit.map(|commit| Revision(object_id(commit.id()))))
    }

    /// The files of a revision.
    ///
    /// # Errors
    /// [`TreeError::Unreadable`] when the mirror does not hold the commit or its root tree.
    pub fn tree(&self, revision: Revision) -> Result<GitTree, TreeError> {
        GitTree::open(&self.dir, revision)
    }

    /// Keeps `revision` under `name` whatever happens to the branch; moves an existing pin.
    ///
    /// # Errors
    /// When the name is none, the mirror does not hold the commit, or cannot be written.
    pub fn pin(&self, name: &str, revision: Revision) -> Result<(), MirrorError> {
        let reference = pin_name(name)?;
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let repository = home::open(&self.dir).map_err(|source| self.git(source))?;
        let wanted = oid(revision);
        if repository.find_commit(wanted).and_then(|commit| commit.tree()).is_err() {
            return Err(MirrorError::MissingCommit { dir: self.dir.clone(), revision });
        }
        if repository.refname_to_id(&reference).is_ok_and(|stands| stands == wanted) {
            return Ok(());
        }
        failpoint::before(ROOM, "pin");
        repository.reference(&reference, wanted, true, "").map_err(|source| self.git(source))?;
        failpoint::after(ROOM, "pin");
        Ok(())
    }

    /// Gives the revision under `name` up; succeeds when there is none.
    ///
    /// # Errors
    /// When the name is none, or the mirror cannot be written.
    pub fn unpin(&self, name: &str) -> Result<(), MirrorError> {
        let reference = pin_name(name)?;
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let repository = home::open(&self.dir).map_err(|source| self.git(source))?;
        match repository.find_reference(&reference) {
            Ok(mut found) => {
                failpoint::before(ROOM, "unpin");
                found.delete().map_err(|source| self.git(source))?;
                failpoint::after(ROOM, "unpin");
                Ok(())
            }
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(()),
            Err(source) => Err(self.git(source)),
        }
    }

    /// Every pin by name.
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn pins(&self) -> Result<BTreeMap<String, Revision>, MirrorError> {
        let repository = home::open(&self.dir).map_err(|source| self.git(source))?;
        let pins = pins(&repository).map_err(|source| self.git(source))?;
        Ok(pins.into_iter().map(|(name, oid)| (name, Revision(object_id(oid)))).collect())
    }

    fn git(&self, source: git2::Error) -> MirrorError {
        MirrorError::Git { dir: self.dir.clone(), source }
    }

    fn repository(&self) -> Result<Repository, FetchError> {
        home::open(&self.dir).map_err(|error| self.corrupt(&error))
    }

    fn corrupt(&self, error: &git2::Error) -> FetchError {
        FetchError::Corrupt { dir: self.dir.clone(), reason: one_line(error.message(), 200) }
    }

    fn order(&self, dir: &Path, branch: Option<&BranchName>, patience: Patience) -> Order {
        let mut limits = self.limits.clone();
        if patience == Patience::First {
            limits.transfer *= 10;
        }
        Order {
            dir: dir.to_owned(),
            remote: self.remote.clone(),
            credentials: self.credentials.clone(),
            branch: branch.cloned(),
            wish: self.wish.clone(),
            limits,
        }
    }

    /// A transfer that failed without a word about the network may have failed on our side.
    fn suspect_mirror(&self, error: FetchError) -> FetchError {
        match error {
            FetchError::Failed { .. } => match home::adopt(&self.dir, &self.remote) {
                Ok(()) => error,
                Err(reason) => FetchError::Corrupt { dir: self.dir.clone(), reason },
            },
            _ => error,
        }
    }

    /// Proves that the commit at `tip` can be read, then moves the observed branch in `new`;
    /// compares with what `old` observed.
    fn observe(
        &self,
        old: &Repository,
        new: &Repository,
        tip: &Tip,
    ) -> Result<Fetched, FetchError> {
        let object = new.find_object(tip.oid, None).map_err(|error| self.corrupt(&error))?;
        let commit = object.into_commit().map_err(|_| FetchError::NotACommit {
            remote: self.remote.masked(),
            branch: tip.branch.to_string(),
            oid: object_id(tip.oid),
        })?;
        commit.tree().map_err(|error| self.corrupt(&error))?;
        let reference = format!("{HEADS}{}", tip.branch);
        let change = match old.refname_to_id(&reference) {
            Err(_) => Change::First,
            Ok(was) if was == tip.oid => Change::Unchanged,
            // An old commit that is gone from the mirror cannot be an ancestor of the new one.
            Ok(was) => match new.graph_descendant_of(tip.oid, was) {
                Ok(true) => Change::Forward,
                Ok(false) | Err(_) => Change::Rewritten { was: Revision(object_id(was)) },
            },
        };
        let is_moved = change != Change::Unchanged
            || new.refname_to_id(HEAD).ok() != Some(tip.oid)
            || !std::ptr::eq(old, new);
        if is_moved {
            failpoint::before(ROOM, "move_head");
            move_head(new, &reference, tip.oid).map_err(|error| FetchError::Unwritable {
                dir: self.dir.clone(),
                reason: one_line(error.message(), 200),
            })?;
            failpoint::after(ROOM, "move_head");
        }
        Ok(Fetched {
            revision: Revision(object_id(tip.oid)),
            branch: tip.branch.to_string(),
            change,
            commit: describe(&commit),
            tags: self.wish.pattern.as_ref().map(|_| SeenTags {
                objects: tip
                    .tags
                    .iter()
                    .map(|(name, oid)| (name.clone(), object_id(*oid)))
                    .collect(),
                branches: tip.branches.iter().map(|oid| Revision(object_id(*oid))).collect(),
                fault: tip.fault.as_ref().map(ToString::to_string),
            }),
        })
    }
}

/// What the object of a tag is, as far as the repository holds it.
fn read_target(repository: &Repository, object: Oid) -> Result<TagTarget, git2::Error> {
    let (size, kind) = repository.odb()?.read_header(object)?;
    match kind {
        ObjectType::Commit => {
            repository.find_commit(object)?.tree()?;
            Ok(TagTarget::Commit { revision: Revision(object_id(object)), object: None })
        }
        ObjectType::Tag if size <= local::MAX_TAG_BYTES => {
            let tag = repository.find_tag(object)?;
            if tag.target_type() != Some(ObjectType::Commit) {
                return Ok(TagTarget::Other(tag.target_type().map_or("thing", |it| it.str())));
            }
            repository.find_commit(tag.target_id())?.tree()?;
            let tagged_at = tag.tagger().map(|tagger| tagger.when().seconds());
            let name = String::from_utf8_lossy(tag.name_bytes()).into_owned();
            let object = TagObject {
                name,
                tagged_at: tagged_at.map(|secs| Timestamp::from_millis(0).plus_secs(secs)),
            };
            Ok(TagTarget::Commit {
                revision: Revision(object_id(tag.target_id())),
                object: Some(object),
            })
        }
        ObjectType::Tag | ObjectType::Tree | ObjectType::Blob | ObjectType::Any => {
            Ok(TagTarget::Other(kind.str()))
        }
    }
}

/// Lets the observed head be `reference` at `oid`, and forgets other branches.
fn move_head(repository: &Repository, reference: &str, oid: Oid) -> Result<(), git2::Error> {
    if repository.reference(reference, oid, true, "").is_err() {
        // `a` became `a/b`: both cannot exist as files. The old branch is not needed any more.
        home::forget(repository, &format!("{HEADS}*"))?;
        repository.reference(reference, oid, true, "")?;
    }
    repository.reference_symbolic(HEAD, reference, true, "")?;
    for other in repository.references_glob(&format!("{HEADS}*"))? {
        let mut other = other?;
        if other.name_bytes() != reference.as_bytes() {
            other.delete()?;
        }
    }
    Ok(())
}

/// Makes a new mirror in the place of whatever is at `dir`; says where that went, and which of its
/// pins were lost.
fn start_anew(dir: &Path, remote: &Remote) -> Result<(Option<PathBuf>, Vec<String>), MirrorError> {
    let place = home::unfinished(dir);
    home::discard(&place);
    let guard = Discard(&place);
    home::create(&place, remote)?;
    let git = |source| MirrorError::Git { dir: dir.to_owned(), source };
    let new = home::open(&place).map_err(git)?;
    let lost_pins = save_pins(dir, &new).map_err(git)?;
    let aside = home::swap(&place, dir)
        .map_err(|source| MirrorError::Io { dir: dir.to_owned(), source })?;
    drop(guard);
    Ok((aside, lost_pins))
}

/// Removes an unfinished clone, also when the making of it failed.
struct Discard<'a>(&'a Path);

impl Drop for Discard<'_> {
    fn drop(&mut self) {
        home::discard(self.0);
    }
}

/// Carries the pins of the repository at `from` over into `to`, objects included; says which could
/// not be. A repository that cannot be opened has no pins to lose.
fn save_pins(from: &Path, to: &Repository) -> Result<Vec<String>, git2::Error> {
    let Ok(old) = home::open(from) else { return Ok(Vec::new()) };
    let mut lost = Vec::new();
    for (name, oid) in pins(&old).unwrap_or_default() {
        let is_there = to.find_commit(oid).and_then(|commit| commit.tree()).is_ok()
            || local::copy(&old, to, oid, |_| true).is_ok();
        if is_there && to.find_commit(oid).is_ok() {
            to.reference(&format!("{PINS}{name}"), oid, true, "")?;
        } else {
            lost.push(name);
        }
    }
    Ok(lost)
}

fn pins(repository: &Repository) -> Result<BTreeMap<String, Oid>, git2::Error> {
    let mut pins = BTreeMap::new();
    for reference in repository.references_glob(&format!("{PINS}*"))? {
        let reference = reference?;
        let name = reference.name()?.trim_start_matches(PINS).to_owned();
        if let Some(oid) = reference.target() {
            pins.insert(name, oid);
        }
    }
    Ok(pins)
}

fn pin_name(name: &str) -> Result<String, MirrorError> {
    let reference = format!("{PINS}{name}");
    let is_fine = name.len() <= 200
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && git2::Reference::is_valid_name(&reference);
    if is_fine { Ok(reference) } else { Err(MirrorError::BadName { name: one_line(name, 80) }) }
}

fn describe(commit: &git2::Commit<'_>) -> CommitInfo {
    let author = commit.author();
    let name = String::from_utf8_lossy(author.name_bytes());
    let mail = String::from_utf8_lossy(author.email_bytes());
    let subject = String::from_utf8_lossy(commit.summary_bytes().unwrap_or_default());
    CommitInfo {
        author: one_line(&format!("{name} <{mail}>"), 200),
        time: Timestamp::from_millis(commit.time().seconds().saturating_mul(1000)),
        subject: one_line(&subject, 200),
    }
}

pub(super) fn unreadable(revision: Revision, error: &git2::Error) -> TreeError {
    TreeError::Unreadable {
        path: format!("commit {revision}"),
        reason: one_line(error.message(), 200),
    }
}
