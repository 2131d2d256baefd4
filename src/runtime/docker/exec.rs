//! Runs one command inside a container and waits for its end.
//!
//! Three short calls (create, start attached, inspect) and no polling: the attached stream ends
//! when the command does. Docker cannot end a command, so on a deadline we do it ourselves.

use std::time::Duration;

use bollard::exec::{CreateExecOptions, StartExecResults};
use futures_util::StreamExt;

use super::connect::{Call, Connection};
use super::containers::{Tail, lossy};
use super::{Docker, errors};
use crate::model::compose::HealthTest;
use crate::runtime::{EngineError, ExecOutcome};

/// Most that is kept of a command's output.
const OUTPUT_BYTES: usize = 4096;

impl Docker {
    pub(super) async fn run_inside(
        &self,
        container: &str,
        test: &HealthTest,
        deadline: Duration,
    ) -> Result<ExecOutcome, EngineError> {
        self.own_container(container).await?;
        let call = Call { what: format!("exec in container {container}"), deadline };
        let exec = tokio::time::timeout(deadline, self.make_exec(container, test))
            .await
            .map_err(|_| errors::timed_out(&call))??;
        match tokio::time::timeout(deadline, self.follow_exec(&exec)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                end_exec(&self.connection, container, &exec).await;
                Err(errors::timed_out(&call))
            }
        }
    }

    async fn make_exec(&self, container: &str, test: &HealthTest) -> Result<String, EngineError> {
        let words = match test {
            HealthTest::Exec(words) => words.clone(),
            HealthTest::Shell(line) => {
                vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()]
            }
        };
        let call = Call::read(format!("exec in container {container}"));
        let made = self
            .connection
            .run(&call, |client| {
                let options = CreateExecOptions {
                    cmd: Some(words.clone()),
                    attach_stdout: Some(true),
                    attach_stderr: Some(true),
                    ..CreateExecOptions::default()
                };
                async move { client.create_exec(container, options).await }
            })
            .await?;
        Ok(made.id)
    }

    /// Starts the command, reads it to its end, and asks how it ended.
    async fn follow_exec(&self, exec: &str) -> Result<ExecOutcome, EngineError> {
        let call = Call::within(3600, format!("follow exec {exec}"));
        let started = self
            .connection
            .raw(&call, |client| async move {
                let mut tail = Tail::new(OUTPUT_BYTES);
                if let StartExecResults::Attached { mut output, .. } =
                    client.start_exec(exec, None).await?
                {
                    while let Some(chunk) = output.next().await {
                        tail.push(&chunk?.into_bytes());
                    }
                }
                Ok(tail.into_bytes())
            })
            .await?;
        let output = match started {
            Ok(bytes) => lossy(&bytes, OUTPUT_BYTES),
            // The command itself could not be run: an outcome, as a shell's 127.
            Err(error) if errors::reason(&error).contains("exec failed") => {
                return Ok(ExecOutcome { code: 127, output: errors::reason(&error) });
            }
            Err(error) => return Err(errors::map(&error, &call, self.connection.endpoint())),
        };
        let ended = self
            .connection
            .run(&Call::read(format!("inspect exec {exec}")), |client| async move {
                client.inspect_exec(exec).await
            })
            .await?;
        // No code: it was cut off by the end of its container, or it still runs with its output
        // closed. Neither is a success.
        Ok(ExecOutcome { code: ended.exit_code.unwrap_or(-1), output })
    }
}

/// Kills a command that outlived its deadline or its terminal, so that such commands do not fill the
/// container's process limit. Best effort: only on the engine's own machine and as root.
pub(super) async fn end_exec(connection: &Connection, container: &str, exec: &str) {
    let inspected = connection
        .run(&Call::within(2, format!("inspect exec {exec}")), |client| async move {
            client.inspect_exec(exec).await
        })
        .await;
    let Ok(inspected) = inspected else { return };
    let id = inspected.container_id.unwrap_or_else(|| container.to_owned());
    if let (Some(true), Some(pid)) = (inspected.running, inspected.pid) {
        kill_in_container(pid, &id);
    }
}

/// Kills process `pid` if it really runs in container `id`. The handle is taken before the look, so
/// a process id that was given away meanwhile is never hit.
fn kill_in_container(pid: i64, id: &str) {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return;
    };
    let Ok(handle) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else {
        return;
    };
    let path = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
    let is_inside = std::fs::read_to_string(path).is_ok_and(|groups| groups.contains(id));
    if is_inside && id.len() == 64 {
        // A process that ended between the two lines is what we want anyway.
        let _ = rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::KILL);
    }
}
