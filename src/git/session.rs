//! One conversation with the remote: what has it, and hand over what we miss.
//!
//! libgit2 blocks without a limit, and its own time limits can only be set through `unsafe` calls,
//! which this crate forbids. So the conversation has a thread of its own and the caller stops
//! waiting at the deadline; the thread is told to stop at its next callback. A peer that stays mute
//! for ever keeps that one thread (of at most [`MAX_THREADS`]) until its connection breaks. Such a
//! thread cannot move a reference: only the caller does that.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use git2::{
    AutotagOption, CertificateCheckStatus, Cred, CredentialType, FetchOptions, Oid, ProxyOptions,
    RemoteCallbacks, RemoteRedirect, Repository,
};

use super::error::FetchError;
use super::known_hosts::{self, Verdict};
use super::local::{self, CopyError};
use super::mirror::Limits;
use super::remote::{BranchName, Credentials, Remote};
use super::{home, object_id, one_line};
use crate::model::TagName;
use crate::release::order::TagPattern;

/// Conversations that may hang at the same time before new ones are refused.
const MAX_THREADS: usize = 64;
/// Most tags that are looked at. More are a mistake, or an attack.
const MAX_TAGS: usize = 5_000;
/// Matches no reference: connects and lists, transfers nothing.
const NOTHING: &str = "+refs/flagops/nothing:refs/flagops/nothing";
/// Below this many bytes per second, and without another sign of life, a transfer has stalled.
const STALL_BYTES_PER_SEC: u64 = 1000;

/// What to ask, and where to put it.
#[derive(Clone)]
pub(super) struct Order {
    /// The repository that receives objects.
    pub(super) dir: PathBuf,
    pub(super) remote: Remote,
    pub(super) credentials: Credentials,
    /// `None` follows the remote's own default branch.
    pub(super) branch: Option<BranchName>,
    /// What else is wanted.
    pub(super) wish: TagWish,
    pub(super) limits: Limits,
}

/// What is wanted beside the branch.
#[derive(Debug, Clone, Default)]
pub struct TagWish {
    /// Tags that match; `None` for none.
    pub pattern: Option<TagPattern>,
    /// Branches whose tips are needed to tell what contains a tag.
    pub branches: Vec<BranchName>,
}

/// Where the wanted branch stands. Its objects are in the receiving repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) branch: BranchName,
    pub(super) oid: Oid,
    /// Tips of the wished branches that exist.
    pub(super) branches: Vec<Oid>,
    /// What the wished tags name; their objects may be missing.
    pub(super) tags: BTreeMap<TagName, Oid>,
    /// Why some of those objects are missing.
    pub(super) fault: Option<FetchError>,
}

enum Step {
    Listed,
    Done(Result<Tip, FetchError>),
}

/// Signs of life and the order to stop, shared between the two threads.
#[derive(Default)]
struct Pulse {
    is_cancelled: AtomicBool,
    is_too_large: AtomicBool,
    n_bytes: AtomicU64,
    n_signs: AtomicU64,
}

impl Pulse {
    /// Notes progress; says whether to go on.
    fn beat(&self, n_bytes: u64, limit_bytes: u64) -> bool {
        self.n_bytes.store(n_bytes, Ordering::Relaxed);
        if n_bytes > limit_bytes {
            self.is_too_large.store(true, Ordering::Relaxed);
        }
        !self.is_too_large.load(Ordering::Relaxed) && !self.is_cancelled.load(Ordering::Relaxed)
    }
}

/// Lists the remote and fetches the wanted branch, within the limits of `order`.
pub(super) fn run(order: &Order, n_running: &Arc<AtomicUsize>) -> Result<Tip, FetchError> {
    let remote = order.remote.masked();
    let failed = |reason: String| FetchError::Failed { remote: remote.clone(), reason };
    if n_running.load(Ordering::Relaxed) >= MAX_THREADS {
        let reason = "too many earlier attempts still hang; restart flagops to end them";
        return Err(failed(reason.to_owned()));
    }
    let (sender, receiver) = channel();
    let pulse = Arc::new(Pulse::default());
    let thread = {
        let (order, pulse, n_running) = (order.clone(), Arc::clone(&pulse), Arc::clone(n_running));
        n_running.fetch_add(1, Ordering::Relaxed);
        move || {
            let _guard = Running(n_running);
            let outcome = converse(&order, &pulse, &sender);
            // Nobody listens any more after a deadline.
            let _ = sender.send(Step::Done(outcome));
        }
    };
    std::thread::Builder::new()
        .name("git-fetch".to_owned())
        .spawn(thread)
        .map_err(|error| failed(error.to_string()))?;
    let outcome = wait(order, &pulse, &receiver);
    pulse.is_cancelled.store(true, Ordering::Relaxed);
    outcome
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn wait(order: &Order, pulse: &Pulse, steps: &Receiver<Step>) -> Result<Tip, FetchError> {
    let limits = &order.limits;
    let timeout = |what, limit: Duration| FetchError::Timeout {
        remote: order.remote.masked(),
        what,
        secs: limit.as_secs(),
    };
    let mut since = Instant::now();
    let mut is_listed = false;
    let mut mark = (since, 0, 0);
    loop {
        match steps.recv_timeout(Duration::from_millis(50)) {
            Ok(Step::Done(outcome)) => return outcome,
            Ok(Step::Listed) => {
                is_listed = true;
                since = Instant::now();
                mark = (since, 0, 0);
            }
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => {
                let reason =
                    "it sent something that cannot be read, e.g. a branch that is no UTF-8";
                let remote = order.remote.masked();
                return Err(FetchError::Failed { remote, reason: reason.to_owned() });
            }
        }
        if !is_listed {
            if since.elapsed() > limits.connect {
                return Err(timeout("answer", limits.connect));
            }
            continue;
        }
        if since.elapsed() > limits.transfer {
            return Err(timeout("finish the transfer", limits.transfer));
        }
        if mark.0.elapsed() > limits.stall {
            let n_bytes = pulse.n_bytes.load(Ordering::Relaxed);
            let n_signs = pulse.n_signs.load(Ordering::Relaxed);
            let wanted = STALL_BYTES_PER_SEC * limits.stall.as_secs().max(1);
            if n_bytes.saturating_sub(mark.1) < wanted && n_signs == mark.2 {
                return Err(timeout("send anything worth waiting for", limits.stall));
            }
            mark = (Instant::now(), n_bytes, n_signs);
        }
    }
}

fn converse(order: &Order, pulse: &Arc<Pulse>, steps: &Sender<Step>) -> Result<Tip, FetchError> {
    match order.remote.is_local() {
        Some(path) => converse_local(order, path, pulse, steps),
        None => converse_remote(order, pulse, steps),
    }
}

fn too_large(order: &Order) -> FetchError {
    FetchError::TooLarge { remote: order.remote.masked(), limit_bytes: order.limits.max_bytes }
}

fn corrupt(order: &Order, error: &git2::Error) -> FetchError {
    FetchError::Corrupt { dir: order.dir.clone(), reason: one_line(error.message(), 200) }
}

// ---- A folder on this machine ----

fn converse_local(
    order: &Order,
    path: &Path,
    pulse: &Pulse,
    steps: &Sender<Step>,
) -> Result<Tip, FetchError> {
    let source = open_local(&order.remote, path)?;
    let git = |error: git2::Error| FetchError::from_git(&order.remote, &error);
    let mut tip = choose(&list_local(&source, &order.wish).map_err(git)?, order)?;
    let _ = steps.send(Step::Listed);
    let mirror = home::open(&order.dir).map_err(|error| corrupt(order, &error))?;
    let copy = |oid: Oid| {
        local::copy(&source, &mirror, oid, |n_bytes| {
            pulse.n_signs.fetch_add(1, Ordering::Relaxed);
            pulse.beat(n_bytes, order.limits.max_bytes)
        })
        .map_err(|error| match error {
            CopyError::Stopped => too_large(order),
            CopyError::Git(error) => git(error),
        })
    };
    if !has(&mirror, tip.oid) {
        copy(tip.oid)?;
    }
    let wanted: Vec<_> = tip.branches.iter().chain(tip.tags.values()).copied().collect();
    let mut objects = Vec::new();
    for oid in wanted.into_iter().filter(|oid| !mirror.odb().is_ok_and(|odb| odb.exists(*oid))) {
        // The commit first: a tag object that is here has everything.
        let copied = local::tag_chain(&source, oid).map_err(git).and_then(|(tags, commit)| {
            if let Some(commit) = commit.filter(|commit| !has(&mirror, *commit)) {
                copy(commit)?;
            }
            objects.extend(tags);
            Ok(())
        });
        if let Err(error) = copied {
            tip.fault = Some(error);
        }
    }
    if let Err(error) = local::copy_tags(&source, &mirror, &objects) {
        tip.fault = Some(git(error));
    }
    Ok(tip)
}

fn open_local(remote: &Remote, path: &Path) -> Result<Repository, FetchError> {
    let shown = remote.masked();
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(FetchError::PermissionDenied {
                remote: shown,
                reason: "the folder is closed to us; `chmod` or `chown` it".to_owned(),
            });
        }
        Err(error) => {
            return Err(FetchError::Unreachable { remote: shown, reason: error.to_string() });
        }
        Ok(metadata) if !metadata.is_dir() => {
            let reason = "it is a file, not a folder".to_owned();
            return Err(FetchError::NotARepository { remote: shown, reason });
        }
        Ok(_) => (),
    }
    Repository::open(path).map_err(|error| match error.code() {
        git2::ErrorCode::NotFound => FetchError::NotARepository {
            remote: shown,
            reason: "the folder holds no `.git`; run `git init` in it".to_owned(),
        },
        _ => FetchError::from_git(remote, &error),
    })
}

fn list_local(source: &Repository, wish: &TagWish) -> Result<Listing, git2::Error> {
    let mut listing = Listing::default();
    // Without a wish, tags are nobody's business, broken ones least of all.
    let tags = wish.pattern.as_ref().map(|_| source.references_glob("refs/tags/*")).transpose()?;
    for reference in source.references_glob("refs/heads/*")?.chain(tags.into_iter().flatten()) {
        let reference = reference?;
        // A symbolic branch stands where its target stands; a dangling one is no branch.
        let target = reference.resolve().ok().and_then(|resolved| resolved.target());
        if let (Ok(name), Some(oid)) = (reference.name(), target) {
            listing.add(name, oid);
        }
    }
    if let Ok(head) = source.find_reference("HEAD") {
        listing.default = head.symbolic_target().ok().flatten().map(str::to_owned);
        listing.head = head.resolve().ok().and_then(|resolved| resolved.target());
    }
    Ok(listing)
}

// ---- Over the network ----

fn converse_remote(
    order: &Order,
    pulse: &Arc<Pulse>,
    steps: &Sender<Step>,
) -> Result<Tip, FetchError> {
    let url = order.remote.url().expect("a remote that is no folder has an address");
    let mirror = home::open(&order.dir).map_err(|error| corrupt(order, &error))?;
    // What a callback found wrong is more precise than what libgit2 makes of its refusal.
    let verdict = Rc::new(Cell::new(None));
    let explain = |error: git2::Error| {
        if pulse.is_too_large.load(Ordering::Relaxed) {
            return too_large(order);
        }
        verdict.take().unwrap_or_else(|| FetchError::from_git(&order.remote, &error))
    };
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks(order, pulse, &verdict))
        .download_tags(AutotagOption::None)
        // Redirects stay on the host that was configured: the token goes nowhere else.
        .follow_redirects(RemoteRedirect::None)
        .update_fetchhead(false);
    let mut proxy = ProxyOptions::new();
    proxy.auto();
    options.proxy_options(proxy);
    let mut connection = mirror.remote_anonymous(url).map_err(explain)?;
    connection.download(&[NOTHING], Some(&mut options)).map_err(explain)?;
    let listing = list_remote(&connection).map_err(explain)?;
    let mut tip = choose(&listing, order)?;
    let _ = steps.send(Step::Listed);
    if !has(&mirror, tip.oid) {
        let branch = &tip.branch;
        let wanted = format!("+refs/heads/{branch}:{}{branch}", home::HEADS);
        connection.download(&[wanted], Some(&mut options)).map_err(explain)?;
    }
    // Objects only: what a tag names is remembered in the database, so names never collide here.
    let wanted = listing.missing(order, &tip, &mirror);
    if !wanted.is_empty()
        && let Err(error) = connection.download(&wanted, Some(&mut options)).map_err(explain)
    {
        // A tag that cannot be had is no reason to be blind for the branch.
        tip.fault = Some(error);
    }
    Ok(tip)
}

fn list_remote(connection: &git2::Remote<'_>) -> Result<Listing, git2::Error> {
    let mut listing = Listing::default();
    for head in connection.list()? {
        if head.name() == "HEAD" {
            listing.head = Some(head.oid());
            listing.default = head.symref_target().map(str::to_owned);
        } else {
            listing.add(head.name(), head.oid());
        }
    }
    Ok(listing)
}

type SharedVerdict = Rc<Cell<Option<FetchError>>>;

fn callbacks(
    order: &Order,
    pulse: &Arc<Pulse>,
    verdict: &SharedVerdict,
) -> RemoteCallbacks<'static> {
    let mut callbacks = RemoteCallbacks::new();
    let limit_bytes = order.limits.max_bytes;
    let shared = Arc::clone(pulse);
    let mut n_indexed = 0;
    callbacks.transfer_progress(move |progress| {
        let indexed = progress.indexed_objects() + progress.indexed_deltas();
        if indexed != n_indexed && progress.received_objects() == progress.total_objects() {
            // Everything is here and being sorted: no bytes come, and none are missing.
            shared.n_signs.fetch_add(1, Ordering::Relaxed);
        }
        n_indexed = indexed;
        shared.beat(progress.received_bytes() as u64, limit_bytes)
    });
    let shared = Arc::clone(pulse);
    callbacks.sideband_progress(move |_| {
        // The server counts and compresses; its words are not shown.
        shared.n_signs.fetch_add(1, Ordering::Relaxed);
        !shared.is_cancelled.load(Ordering::Relaxed)
    });
    let (credentials, remote) = (order.credentials.clone(), order.remote.clone());
    let shared = Rc::clone(verdict);
    let mut n_attempts = 0;
    callbacks.credentials(move |_, user, allowed| {
        n_attempts += 1;
        offer(&remote, &credentials, user, allowed, n_attempts)
            .map_err(|error| refuse(&shared, error))
    });
    let (credentials, remote) = (order.credentials.clone(), order.remote.clone());
    let shared = Rc::clone(verdict);
    callbacks.certificate_check(move |certificate, host| {
        let key = certificate.as_hostkey().and_then(|hostkey| hostkey.hostkey());
        match (&credentials.known_hosts, key) {
            (Some(file), Some(key)) => check_host_key(&remote, file, host, key)
                .map(|()| CertificateCheckStatus::CertificateOk)
                .map_err(|error| refuse(&shared, error)),
            // TLS, or the user's own `known_hosts`: libgit2 has checked, strictly.
            _ => Ok(CertificateCheckStatus::CertificatePassthrough),
        }
    });
    callbacks
}

fn refuse(verdict: &SharedVerdict, error: FetchError) -> git2::Error {
    let text = error.to_string();
    verdict.set(Some(error));
    git2::Error::new(git2::ErrorCode::User, git2::ErrorClass::Callback, text)
}

/// The next credential to try. Each is tried once: a refused key does not become right.
fn offer(
    remote: &Remote,
    credentials: &Credentials,
    user: Option<&str>,
    allowed: CredentialType,
    n_attempts: u32,
) -> Result<Cred, FetchError> {
    let auth_failed = |reason: &str| FetchError::AuthFailed {
        remote: remote.masked(),
        reason: reason.to_owned(),
    };
    let user = user.unwrap_or("git");
    let made = if allowed.contains(CredentialType::USERNAME) {
        Cred::username(user)
    } else if n_attempts > 2 {
        return Err(auth_failed("the key or token was not accepted"));
    } else if allowed.contains(CredentialType::SSH_KEY) {
        match &credentials.ssh_key {
            Some(path) => {
                read_secret(remote, path)?;
                Cred::ssh_key(user, None, path, None)
            }
            None => Cred::ssh_key_from_agent(user),
        }
    } else if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) {
        let Some(path) = &credentials.token_file else {
            return Err(auth_failed("it wants a token, and no `source.token_file` is set"));
        };
        let text = read_secret(remote, path)?;
        let (user, token) = text.trim().split_once(':').unwrap_or(("x-access-token", text.trim()));
        Cred::userpass_plaintext(user, token)
    } else {
        return Err(auth_failed("it wants a kind of login that we do not have"));
    };
    made.map_err(|error| auth_failed(&one_line(error.message(), 200)))
}

/// The text of a small file that holds a secret.
fn read_secret(remote: &Remote, path: &Path) -> Result<String, FetchError> {
    fs::read_to_string(path).map_err(|error| FetchError::CredentialsUnreadable {
        remote: remote.masked(),
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn check_host_key(remote: &Remote, path: &Path, host: &str, key: &[u8]) -> Result<(), FetchError> {
    let file = read_secret(remote, path)?;
    let at = path.display();
    let reason = match known_hosts::check(&file, host, remote.ssh_port(), key) {
        Verdict::Known => return Ok(()),
        Verdict::Changed { line } => format!(
            "it is not the key in `{at}:{line}`; if the host really has a new key, check it and \
             replace that line"
        ),
        Verdict::Revoked { line } => format!("`{at}:{line}` revokes it"),
        Verdict::Unknown => format!(
            "`{at}` does not list the host; check its key (`ssh-keyscan {host}` shows it) and add \
             it"
        ),
    };
    Err(FetchError::HostKeyMismatch { remote: remote.masked(), reason })
}

// ---- Both ----

/// What a remote has.
#[derive(Debug, Default)]
struct Listing {
    /// Branches by name, without `refs/heads/`.
    heads: BTreeMap<String, Oid>,
    /// What tags name, without `refs/tags/`.
    tags: BTreeMap<TagName, Oid>,
    /// What `HEAD` names, if it names a branch.
    default: Option<String>,
    /// Where `HEAD` stands, unless the branch it names has no commit.
    head: Option<Oid>,
}

impl Listing {
    fn add(&mut self, name: &str, oid: Oid) {
        if let Some(branch) = name.strip_prefix("refs/heads/") {
            self.heads.insert(branch.to_owned(), oid);
        } else if let Some(tag) = name.strip_prefix("refs/tags/")
            // What a server peels for us (`NAME^{}`) is no name.
            && let Ok(tag) = tag.parse()
        {
            self.tags.insert(tag, oid);
        }
    }

    /// The tags that are wished for.
    fn wished(&self, wish: &TagWish) -> BTreeMap<TagName, Oid> {
        let Some(pattern) = &wish.pattern else { return BTreeMap::new() };
        let wished = self.tags.iter().filter(|(name, _)| pattern.ordered_part(name).is_some());
        wished.map(|(name, oid)| (name.clone(), *oid)).collect()
    }

    /// What to ask for, so that the objects of every wished branch and tag are here.
    fn missing(&self, order: &Order, tip: &Tip, mirror: &Repository) -> Vec<String> {
        let is_missing = |oid: &Oid| !mirror.odb().is_ok_and(|odb| odb.exists(*oid));
        let mut wanted = Vec::new();
        for branch in &order.wish.branches {
            if self.heads.get(branch.as_str()).is_some_and(is_missing) {
                wanted.push(format!("+refs/heads/{branch}:refs/flagops/nothing"));
            }
        }
        for (tag, oid) in &tip.tags {
            if is_missing(oid) {
                wanted.push(format!("+refs/tags/{tag}:refs/flagops/nothing"));
            }
        }
        wanted
    }

    /// The branch that the remote itself holds for the main one. A detached `HEAD` and one that
    /// names a branch without commit fall back to what can only be meant.
    fn default_branch(&self) -> Option<&str> {
        let named = self.default.as_deref().and_then(|name| name.strip_prefix("refs/heads/"));
        let exists = |name: &&str| self.heads.contains_key(*name);
        let stands_at_head = |name: &&str| self.head == self.heads.get(*name).copied();
        named
            .filter(exists)
            .or_else(|| ["main", "master"].into_iter().filter(exists).find(stands_at_head))
            .or_else(|| {
                let mut names = self.heads.keys().map(String::as_str);
                names.find(|name| self.head.is_some() && stands_at_head(name))
            })
            .or_else(|| {
                self.heads.keys().next().filter(|_| self.heads.len() == 1).map(String::as_str)
            })
    }
}

fn choose(listing: &Listing, order: &Order) -> Result<Tip, FetchError> {
    let missing =
        || FetchError::branch_missing(&order.remote, order.branch.as_ref(), listing.heads.keys());
    if listing.heads.is_empty() {
        return Err(FetchError::EmptyRepository { remote: order.remote.masked() });
    }
    let name = match &order.branch {
        Some(branch) => branch.as_str(),
        None => listing.default_branch().ok_or_else(missing)?,
    };
    let oid = *listing.heads.get(name).ok_or_else(missing)?;
    let branch = name.parse().map_err(|error: super::remote::BranchNameError| {
        FetchError::Failed { remote: order.remote.masked(), reason: error.to_string() }
    })?;
    let tips = order.wish.branches.iter().filter_map(|branch| listing.heads.get(branch.as_str()));
    let branches = tips.copied().collect();
    let mut tags = listing.wished(&order.wish);
    let fault = (tags.len() > MAX_TAGS).then(|| FetchError::Failed {
        remote: order.remote.masked(),
        reason: format!(
            "{} tags match `release.tags`, more than {MAX_TAGS}: make the pattern narrower",
            tags.len()
        ),
    });
    if fault.is_some() {
        tags.clear();
    }
    Ok(Tip { branch, oid, branches, tags, fault })
}

/// Whether the mirror holds the commit. An object of another kind counts too: it is told apart
/// afterwards, with its own error.
fn has(mirror: &Repository, oid: Oid) -> bool {
    let is_there = mirror.odb().is_ok_and(|odb| odb.exists(oid));
    if !is_there {
        tracing::debug!(revision = %object_id(oid), "the remote has something new");
    }
    is_there
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(heads: &[(&str, u8)], default: Option<&str>, head: Option<u8>) -> Listing {
        let oid = |byte: u8| Oid::from_bytes(&[byte; 20]).unwrap();
        let mut listing = Listing::default();
        for (name, byte) in heads {
            listing.add(&format!("refs/heads/{name}"), oid(*byte));
        }
        listing.default = default.map(|name| format!("refs/heads/{name}"));
        listing.head = head.map(oid);
        listing
    }

    #[test]
    fn the_default_branch_is_what_the_remote_says_or_what_can_only_be_meant() {
        for (heads, default, head, wanted) in [
            (&[("main", 1), ("x", 2)][..], Some("x"), Some(2), Some("x")),
            // HEAD names a branch without commit.
            (&[("main", 1)], Some("master"), None, Some("main")),
            (&[("a", 1), ("b", 2)], Some("master"), None, None),
            // Detached.
            (&[("a", 1), ("main", 1)], None, Some(1), Some("main")),
            (&[("a", 1), ("b", 2)], None, Some(2), Some("b")),
            (&[("a", 1), ("b", 2)], None, Some(3), None),
            (&[], None, None, None),
        ] {
            assert_eq!(listing(heads, default, head).default_branch(), wanted, "{heads:?}");
        }
    }
}
