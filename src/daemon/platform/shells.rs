//! Shells of administrators, for the API.

use std::sync::Arc;
use std::time::Duration;

use super::{Denial, Outcome, Platform, PlatformError};
use crate::config::ShellMode;
use crate::daemon::shells::{self, NoShell, Onlooker, Open, RecordingFile, ShellSession, Wanted};
use crate::daemon::{LocalNode, activities};
use crate::model::{Caller, Happening, Instance, InstancePhase};
use crate::node::wire::{Container, ShellOrder};
use crate::node::{Node, NodeError};
use crate::runtime::Terminal;

/// Who asks for a shell, and why.
#[derive(Debug, Clone)]
pub struct ShellWish {
    /// The name of the container.
    pub container: String,
    /// `bash` or `sh`.
    pub shell: String,
    /// Why; it is recorded.
    pub reason: String,
}

/// A shell that waits for its socket.
pub struct EnteredShell {
    open: Open,
    instance: Instance,
    terminal: Terminal,
}

impl Platform {
    /// Whether administrators may have shells.
    pub fn has_shells(&self) -> bool {
        self.shared.config.shell.mode == ShellMode::On
    }

    fn shells_are_on(&self) -> Outcome<()> {
        if self.has_shells() {
            return Ok(());
        }
        let words =
            "this server opens no shells: its operator sets `mode = \"on\"` below `[shell]`";
        Err(Denial::forbidden("shell_disabled", words).into())
    }

    /// The machine that an instance is on.
    fn machine_of(&self, instance: &Instance) -> Arc<dyn Node> {
        self.link_of(instance).unwrap_or_else(|| Arc::new(LocalNode::new(Arc::clone(&self.shared))))
    }

    /// The containers of an instance.
    ///
    /// # Errors
    /// When shells are off, there is no such instance, or its node does not answer.
    pub async fn shell_containers(&self, caller: &Caller, id: &str) -> Outcome<Vec<Container>> {
        self.shells_are_on()?;
        let instance = self.instance(caller, id).await?;
        let containers = self.machine_of(&instance).containers(instance.id).await;
        containers.map_err(|error| refused(error, id))
    }

    /// Notes that somebody wants a shell; the token that opens it. Secret.
    ///
    /// # Errors
    /// When shells are off, there are too many, or there is no such container that runs.
    pub async fn ask_shell(
        &self,
        caller: &Caller,
        id: &str,
        wish: ShellWish,
    ) -> Outcome<(ShellSession, String)> {
        let containers = self.shell_containers(caller, id).await?;
        let instance = self.instance(caller, id).await?;
        let bad = |words: &str| PlatformError::from(Denial::bad_request("", words));
        if !matches!(wish.shell.as_str(), "bash" | "sh") {
            return Err(bad("`shell` is `bash` or `sh`"));
        }
        let found = containers.iter().find(|it| it.name == wish.container);
        let is_running = found.is_some_and(|it| it.exec_ready);
        if !is_running || instance.phase != InstancePhase::Ready {
            return Err(bad("no container of this name runs in the instance"));
        }
        let bounds = self.settings().shell.clone();
        let wanted = Wanted {
            caller: caller.clone(),
            instance: instance.id,
            node: instance.node.clone(),
            container: wish.container,
            shell: wish.shell,
            reason: wish.reason,
        };
        let patience = Duration::from_secs(bounds.session_secs.into());
        let asked = self.shared.shells.ask(wanted, bounds.max_each, patience, self.now());
        let (session, token) = asked.map_err(|_| {
            let words = "too many shells are open or asked for: close one (`admin_shell_max_concurrent_per_admin`)";
            PlatformError::from(Denial::too_many("too_many_shells", words))
        })?;
        let happening = Happening::AdminShellSessionRequested {
            session_id: session.id.clone(),
            instance_id: session.instance,
            container: session.container.clone(),
            node_id: session.node.to_string(),
            reason: session.reason.clone(),
        };
        let actor = activities::actor_of(caller);
        activities::of_instance(&self.shared, &instance, actor, happening);
        Ok((session, token))
    }

    /// Takes the shell that `token` opens, from a page of `origin`; `None` is no page.
    ///
    /// # Errors
    /// When the token or the page is no good, or the shell does not start.
    pub async fn enter_shell(
        &self,
        id: &str,
        token: &str,
        origin: Option<&str>,
    ) -> Outcome<EnteredShell> {
        self.shells_are_on()?;
        let bounds = self.settings().shell.clone();
        if origin.is_some_and(|origin| !bounds.origins.iter().any(|it| it == origin)) {
            let words = "pages of this origin may open no shells: `admin_shell_allowed_origins`";
            return Err(Denial::forbidden("", words).into());
        }
        let patience = Duration::from_secs(bounds.session_secs.into());
        let no_good = || {
            let words = "the token of this shell is unknown, used or too old: ask for another one";
            PlatformError::from(Denial::forbidden("", words))
        };
        let parsed = id.parse().map_err(|_| no_good())?;
        let entered = self.shared.shells.enter(parsed, token, patience, self.now());
        let open = entered.map_err(|_: NoShell| no_good())?;
        match self.start_shell(id, &open).await {
            Ok((instance, terminal)) => Ok(EnteredShell { open, instance, terminal }),
            Err(error) => {
                open.give_up(&self.shared);
                Err(error)
            }
        }
    }

    async fn start_shell(&self, id: &str, open: &Open) -> Outcome<(Instance, Terminal)> {
        let instance = self.instance(open.caller(), id).await?;
        let order = ShellOrder {
            container: open.session.container.clone(),
            shell: open.session.shell.clone(),
        };
        let terminal = self.machine_of(&instance).shell(instance.id, order).await;
        Ok((instance, terminal.map_err(|error| refused(error, id))?))
    }

    /// Serves a shell to its end.
    pub async fn run_shell(&self, entered: EnteredShell, onlooker: Onlooker) {
        let EnteredShell { open, instance, terminal } = entered;
        shells::run(&self.shared, open, &instance, terminal, onlooker).await;
    }

    /// Every shell that was asked for and is not over.
    ///
    /// # Errors
    /// When shells are off.
    pub fn shell_sessions(&self) -> Outcome<Vec<ShellSession>> {
        self.shells_are_on()?;
        Ok(self.shared.shells.list())
    }

    /// Closes one.
    ///
    /// # Errors
    /// When there is none.
    pub fn close_shell(&self, session: &str) -> Outcome<()> {
        self.shells_are_on()?;
        if self.shared.shells.close(session) {
            return Ok(());
        }
        Err(Denial::not_found("", "there is no such shell, or it is closed").into())
    }

    /// Every recording of a shell, the newest first. Also while shells are off: what was done stays.
    ///
    /// # Errors
    /// None at present.
    pub async fn shell_recordings(&self) -> Outcome<Vec<RecordingFile>> {
        Ok(shells::recordings(&self.shared).await)
    }

    /// One recording; that somebody reads it is recorded, too.
    ///
    /// # Errors
    /// When there is none.
    pub async fn shell_recording(&self, caller: &Caller, session: &str) -> Outcome<Vec<u8>> {
        let missing = || Denial::not_found("", "there is no such recording");
        let found = shells::recordings(&self.shared).await;
        let found = found.into_iter().find(|it| it.session == session).ok_or_else(missing)?;
        let file = self.shared.data.recordings_path().join(&found.path);
        let bytes = tokio::fs::read(file).await.map_err(|_| missing())?;
        let happening = Happening::AdminShellRecordingViewed {
            session_id: found.session,
            recording_path: found.path,
        };
        activities::of_platform(&self.shared, caller, happening);
        Ok(bytes)
    }
}

fn refused(error: NodeError, id: &str) -> PlatformError {
    match error {
        NodeError::NotFound(_) => PlatformError::InstanceNotFound { id: id.to_owned() },
        NodeError::Invalid(words) | NodeError::Conflict(words) => {
            Denial::bad_request("", words).into()
        }
        NodeError::Unauthorized(_) | NodeError::Failed(_) | NodeError::Unreachable(_) => {
            super::attachments::unavailable(&error)
        }
    }
}
