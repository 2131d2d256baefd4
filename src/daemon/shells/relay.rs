//! One open shell: bytes both ways until somebody or something closes it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::recording::{self, Recording, Way};
use super::{Counters, Entry, Onlooker, ShellSession, Shown, Typed};
use crate::daemon::activities;
use crate::daemon::shared::Shared;
use crate::model::{AccountRole, Caller, Happening, Instance, InstancePhase};
use crate::runtime::{Keyboard, Terminal};

/// Between two looks whether it may stay open.
const LOOK: Duration = Duration::from_secs(1);
/// How long its program has to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A shell that its administrator has come for.
pub(crate) struct Open {
    pub(crate) session: ShellSession,
    caller: Caller,
    counters: Arc<Counters>,
    close: CancellationToken,
}

impl Open {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            session: entry.session.clone(),
            caller: entry.caller.clone(),
            counters: Arc::clone(&entry.counters),
            close: entry.close.clone(),
        }
    }

    /// Who asked for it.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Nothing came of it.
    pub(crate) fn give_up(self, shared: &Shared) {
        shared.shells.forget(&self.session.id);
    }
}

/// What is recorded, and when something was typed last.
struct Watch {
    recording: Mutex<Recording>,
    typed: Mutex<Instant>,
}

impl Watch {
    /// Keeps something; the reason to close when it cannot be kept.
    fn keep(
        &self,
        keep: impl FnOnce(&mut Recording) -> std::io::Result<()>,
    ) -> Result<(), &'static str> {
        let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut recording).map_err(|error| {
            tracing::warn!(%error, "a shell is closed that cannot be recorded any more");
            "recording_full"
        })
    }
}

/// Serves a shell to its end.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    open: Open,
    instance: &Instance,
    terminal: Terminal,
    onlooker: Onlooker,
) {
    let began = Instant::now();
    let session = &open.session;
    let path = recording::path_of(&session.id, session.requested_at);
    let file = shared.data.recordings_path().join(&path);
    let title = format!("{} in instance {}", session.container, session.instance);
    let Terminal { output, mut keyboard } = terminal;
    let reason = match Recording::begin(&file, shared.now(), &title) {
        Ok(recording) => {
            tell(shared, &open, instance, opened(session, &path));
            let watch =
                Watch { recording: Mutex::new(recording), typed: Mutex::new(Instant::now()) };
            let Onlooker { typed, mut shown } = onlooker;
            // Cancel-safe: whoever is cut off here has nothing that is needed any more.
            let reason = tokio::select! {
                reason = type_in(&open, &watch, typed, keyboard.as_mut()) => reason,
                reason = show(&open, &watch, output, &mut shown) => reason,
                reason = stay(shared, &open, &watch) => reason,
            };
            let _ = tokio::time::timeout(PATIENCE, shown.send(Shown::Closed(reason))).await;
            reason
        }
        Err(error) => {
            tracing::error!(%error, "a shell cannot be recorded, so it is not opened");
            "internal_error"
        }
    };
    let _ = tokio::time::timeout(PATIENCE, keyboard.end()).await;
    shared.shells.forget(&session.id);
    tell(shared, &open, instance, closed(&open, path, began, reason));
}

async fn type_in(
    open: &Open,
    watch: &Watch,
    mut typed: futures_util::stream::BoxStream<'static, Typed>,
    keyboard: &mut dyn Keyboard,
) -> &'static str {
    while let Some(typed) = typed.next().await {
        *watch.typed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let (kept, done) = match typed {
            Typed::Bytes(bytes) => {
                open.counters.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                let kept = watch.keep(|recording| recording.add(Way::In, &bytes));
                (kept, keyboard.type_in(&bytes).await)
            }
            Typed::Resize(size) => {
                let kept = watch.keep(|recording| recording.resize(size));
                (kept, keyboard.resize(size).await)
            }
        };
        if let Err(reason) = kept {
            return reason;
        }
        if done.is_err() {
            return "node_disconnect";
        }
    }
    "client_disconnect"
}

async fn show(
    open: &Open,
    watch: &Watch,
    mut output: futures_util::stream::BoxStream<'static, std::io::Result<bytes::Bytes>>,
    shown: &mut std::pin::Pin<Box<dyn futures_util::Sink<Shown, Error = ()> + Send>>,
) -> &'static str {
    while let Some(chunk) = output.next().await {
        let Ok(bytes) = chunk else { return "upstream_error" };
        open.counters.bytes_out.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if let Err(reason) = watch.keep(|recording| recording.add(Way::Out, &bytes)) {
            return reason;
        }
        if shown.send(Shown::Bytes(bytes)).await.is_err() {
            return "client_disconnect";
        }
    }
    "node_disconnect"
}

/// Waits until it may not stay open any more.
async fn stay(shared: &Arc<Shared>, open: &Open, watch: &Watch) -> &'static str {
    let began = Instant::now();
    loop {
        tokio::select! {
            () = open.close.cancelled() => return "force_close",
            () = shared.tasks.stopping().cancelled() => return "server_stops",
            () = tokio::time::sleep(LOOK) => {}
        }
        let bounds = shared.settings.load().shell.clone();
        let secs = |secs: u32| Duration::from_secs(secs.into());
        let typed = *watch.typed.lock().unwrap_or_else(PoisonError::into_inner);
        if typed.elapsed() > secs(bounds.idle_secs) {
            return "idle_timeout";
        }
        if began.elapsed() > secs(bounds.hard_secs) {
            return "hard_timeout";
        }
        // A database that does not answer closes nothing.
        if let Ok(row) = shared.store.instance(open.session.instance).await
            && row.is_none_or(|row| !row.phase.is_live() || row.phase == InstancePhase::Removing)
        {
            return "instance_ended";
        }
        if let Some(account) = &open.caller.account
            && let Ok(row) = shared.store.account(account.id).await
            && row.is_none_or(|row| row.account.role < AccountRole::SuperAdmin)
        {
            return "role_revoked";
        }
    }
}

fn tell(shared: &Shared, open: &Open, instance: &Instance, happening: Happening) {
    activities::of_instance(shared, instance, activities::actor_of(&open.caller), happening);
}

fn opened(session: &ShellSession, path: &str) -> Happening {
    Happening::AdminShellSessionOpened {
        session_id: session.id.clone(),
        instance_id: session.instance,
        container: session.container.clone(),
        node_id: session.node.to_string(),
        recording_path: path.to_owned(),
    }
}

fn closed(open: &Open, path: String, began: Instant, reason: &str) -> Happening {
    let session = &open.session;
    Happening::AdminShellSessionClosed {
        session_id: session.id.clone(),
        instance_id: session.instance,
        container: session.container.clone(),
        node_id: session.node.to_string(),
        recording_path: path,
        duration_s: began.elapsed().as_secs_f64(),
        bytes_in: open.counters.bytes_in.load(Ordering::Relaxed),
        bytes_out: open.counters.bytes_out.load(Ordering::Relaxed),
        reason: reason.to_owned(),
    }
}
