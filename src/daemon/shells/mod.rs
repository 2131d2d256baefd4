//! Shells of administrators in containers of instances: who has one, and what closes it.
//!
//! In:  somebody who says why, then a web socket with the token that they got for it.
//! Out: bytes both ways, a recording, and three records of what happened.
//!
//! # Invariants
//! * A token opens one shell, once, soon after it was made, in the instance that it was made for.
//! * No shell is open that is not recorded, and none that its administrator may not have any more, or
//!   whose instance is over.
//! * Neither direction waits for the other, and nothing is kept of what is on its way.
//!
//! # Not here
//! The socket (`api`), the program behind it (`runtime`), asking a node for it (`node`).

mod recording;
mod relay;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Sink;
use futures_util::stream::BoxStream;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::model::{Caller, InstanceId, NodeId, Timestamp, id};
use crate::runtime::TerminalSize;

pub use recording::RecordingFile;
pub(crate) use relay::{Open, run};

/// Most shells that were asked for and are not over, of everybody.
const MAX_SESSIONS: usize = 256;

/// A shell, as administrators see it.
#[derive(Debug, Clone, PartialEq)]
pub struct ShellSession {
    /// Its id: 32 hex digits.
    pub id: String,
    /// Who asked for it.
    pub admin_id: String,
    /// Their address; empty for the holder of `admin.token`.
    pub admin_email: String,
    /// In which instance.
    pub instance: InstanceId,
    /// Where.
    pub node: NodeId,
    /// In which container.
    pub container: String,
    /// Which program.
    pub shell: String,
    /// Why, in their words.
    pub reason: String,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it was opened; `None` while it was not.
    pub opened_at: Option<Timestamp>,
    /// How much was typed.
    pub bytes_in: u64,
    /// How much was shown.
    pub bytes_out: u64,
    /// Whether somebody asked that it be closed.
    pub is_closing: bool,
}

/// What somebody types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// Bytes.
    Bytes(Bytes),
    /// Their terminal has another size.
    Resize(TerminalSize),
}

/// What somebody is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Bytes.
    Bytes(Bytes),
    /// It is over, and why.
    Closed(&'static str),
}

/// Whoever looks at a shell.
pub struct Onlooker {
    /// What they type; ends when they are gone.
    pub typed: BoxStream<'static, Typed>,
    /// What they are shown.
    pub shown: Pin<Box<dyn Sink<Shown, Error = ()> + Send>>,
}

/// What is counted while a shell is open.
#[derive(Debug, Default)]
struct Counters {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

struct Entry {
    session: ShellSession,
    /// Who asked for it, as they were then.
    caller: Caller,
    /// The hash of what opens it.
    token: [u8; 32],
    asked: Instant,
    counters: Arc<Counters>,
    close: CancellationToken,
}

impl Entry {
    fn shown(&self) -> ShellSession {
        ShellSession {
            bytes_in: self.counters.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.counters.bytes_out.load(Ordering::Relaxed),
            is_closing: self.close.is_cancelled(),
            ..self.session.clone()
        }
    }
}

/// Why there is no shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoShell {
    /// The token is no good: unknown, used, too old, or of another instance.
    Token,
    /// Too many.
    TooMany,
}

/// What somebody asks for.
pub(crate) struct Wanted {
    pub(crate) caller: Caller,
    pub(crate) instance: InstanceId,
    pub(crate) node: NodeId,
    pub(crate) container: String,
    pub(crate) shell: String,
    pub(crate) reason: String,
}

/// Every shell that was asked for and is not over. In memory: a token that outlives the daemon is worth
/// nothing, and neither is a socket.
#[derive(Default)]
pub(crate) struct Shells(Mutex<BTreeMap<String, Entry>>);

impl Shells {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that somebody wants one; its token. Secret.
    pub(crate) fn ask(
        &self,
        wanted: Wanted,
        max_each: u32,
        patience: Duration,
        now: Timestamp,
    ) -> Result<(ShellSession, String), NoShell> {
        let mut sessions = self.lock();
        forget_late(&mut sessions, patience);
        let admin = administrator(&wanted.caller);
        let n_own = sessions.values().filter(|it| it.session.admin_id == admin).count();
        if n_own >= usize::try_from(max_each).unwrap_or(usize::MAX)
            || sessions.len() >= MAX_SESSIONS
        {
            return Err(NoShell::TooMany);
        }
        let email = wanted.caller.account.as_ref().map(|it| it.email.clone());
        let session = ShellSession {
            id: random().ok_or(NoShell::TooMany)?,
            admin_id: admin,
            admin_email: email.unwrap_or_default(),
            instance: wanted.instance,
            node: wanted.node,
            container: wanted.container,
            shell: wanted.shell,
            reason: wanted.reason,
            requested_at: now,
            opened_at: None,
            bytes_in: 0,
            bytes_out: 0,
            is_closing: false,
        };
        let token = random().ok_or(NoShell::TooMany)?;
        let entry = Entry {
            session: session.clone(),
            caller: wanted.caller,
            token: Sha256::digest(token.as_bytes()).into(),
            asked: Instant::now(),
            counters: Arc::default(),
            close: CancellationToken::new(),
        };
        sessions.insert(session.id.clone(), entry);
        Ok((session, token))
    }

    /// Takes the shell that `token` opens in `instance`. Whatever comes of it, the token is used up.
    pub(crate) fn enter(
        &self,
        instance: InstanceId,
        token: &str,
        patience: Duration,
        now: Timestamp,
    ) -> Result<Open, NoShell> {
        let mut sessions = self.lock();
        forget_late(&mut sessions, patience);
        // Hashes are compared, so how long that takes says nothing about the token.
        let token: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let is_it = |it: &&mut Entry| {
            it.token == token && it.session.instance == instance && it.session.opened_at.is_none()
        };
        let entry = sessions.values_mut().find(is_it).ok_or(NoShell::Token)?;
        entry.session.opened_at = Some(now);
        Ok(Open::of(entry))
    }

    /// It is over.
    fn forget(&self, session: &str) {
        self.lock().remove(session);
    }

    /// Asks that one be closed; whether there is such a one.
    pub(crate) fn close(&self, session: &str) -> bool {
        let mut sessions = self.lock();
        let Some(entry) = sessions.get(session) else { return false };
        entry.close.cancel();
        if entry.session.opened_at.is_none() {
            sessions.remove(session);
        }
        true
    }

    /// Every one, the oldest first.
    pub(crate) fn list(&self) -> Vec<ShellSession> {
        let mut sessions: Vec<_> = self.lock().values().map(Entry::shown).collect();
        sessions.sort_by(|a, b| (a.requested_at, &a.id).cmp(&(b.requested_at, &b.id)));
        sessions
    }
}

/// Who an administrator is, in listings and for what they may have.
fn administrator(caller: &Caller) -> String {
    match &caller.account {
        Some(account) => account.id.to_string(),
        None => caller.token_id.clone(),
    }
}

/// What was asked for and never opened goes.
fn forget_late(sessions: &mut BTreeMap<String, Entry>, patience: Duration) {
    sessions.retain(|_, it| it.session.opened_at.is_some() || it.asked.elapsed() < patience);
}

/// 32 hex digits that nobody can guess; `None` when the system gives none.
fn random() -> Option<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(id::hex(&bytes))
}

/// Every recording, the newest first.
pub(crate) async fn recordings(shared: &Shared) -> Vec<RecordingFile> {
    let folder = shared.data.recordings_path();
    tokio::task::spawn_blocking(move || recording::list(&folder)).await.unwrap_or_default()
}

/// Takes away recordings of before `before`, and the oldest until the rest has `max_bytes`.
pub(crate) async fn prune(shared: &Shared, before: Timestamp, max_bytes: u64) {
    let open: Vec<String> = shared.shells.list().into_iter().map(|it| it.id).collect();
    let folder = shared.data.recordings_path();
    let gone = tokio::task::spawn_blocking(move || {
        let mut gone = recording::overdue(recording::list(&folder), before, max_bytes);
        gone.retain(|it| !open.contains(&it.session));
        gone.retain(|it| std::fs::remove_file(folder.join(&it.path)).is_ok());
        gone.len()
    });
    if let Ok(n @ 1..) = gone.await {
        tracing::info!(
            recording.n = n,
            "{n} recordings of shells were older or larger than what is kept"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn instance(n: u8) -> InstanceId {
        InstanceId::new(uuid::Uuid::from_bytes([n; 16]))
    }

    fn ask(shells: &Shells, who: &str, max_each: u32) -> Result<(ShellSession, String), NoShell> {
        let wanted = Wanted {
            caller: Caller::administrator(who),
            instance: instance(1),
            node: NodeId::local(),
            container: "web".to_owned(),
            shell: "sh".to_owned(),
            reason: "to look".to_owned(),
        };
        shells.ask(wanted, max_each, SOON, Timestamp::from_millis(1))
    }

    fn enter(shells: &Shells, n: u8, token: &str, patience: Duration) -> Option<NoShell> {
        shells.enter(instance(n), token, patience, Timestamp::from_millis(2)).err()
    }

    #[tokio::test]
    async fn a_token_opens_one_shell_once_and_where_it_was_made_for() {
        let shells = Shells::default();
        let (session, token) = ask(&shells, "a", 3).unwrap();
        assert_eq!((session.id.len(), token.len()), (32, 32));
        assert_eq!(enter(&shells, 2, &token, SOON), Some(NoShell::Token), "of another instance");
        assert_eq!(enter(&shells, 1, &session.id, SOON), Some(NoShell::Token));
        assert_eq!(enter(&shells, 1, &token, SOON), None);
        assert_eq!(enter(&shells, 1, &token, SOON), Some(NoShell::Token), "a second time");
        assert!(shells.list()[0].opened_at.is_some());
    }

    #[tokio::test]
    async fn a_token_that_nobody_uses_is_worth_nothing_soon_and_takes_no_place() {
        let shells = Shells::default();
        let (_, token) = ask(&shells, "a", 1).unwrap();
        assert_eq!(ask(&shells, "a", 1).err(), Some(NoShell::TooMany));
        assert!(ask(&shells, "b", 1).is_ok(), "each has their own");
        assert_eq!(enter(&shells, 1, &token, Duration::ZERO), Some(NoShell::Token));
        assert!(ask(&shells, "a", 1).is_ok());
    }

    #[tokio::test]
    async fn one_that_is_closed_before_it_is_open_never_opens() {
        let shells = Shells::default();
        let (session, token) = ask(&shells, "a", 1).unwrap();
        assert!(shells.close(&session.id) && !shells.close(&session.id));
        assert_eq!(enter(&shells, 1, &token, SOON), Some(NoShell::Token));
    }
}
