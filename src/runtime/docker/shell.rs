//! Runs a program inside of a container with a terminal, for a person.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::connect::{Call, Connection};
use super::exec::end_exec;
use super::{Docker, errors};
use crate::runtime::EngineError;
use crate::runtime::terminal::{Keyboard, Terminal, TerminalSize};

impl Docker {
    pub(super) async fn open_shell(
        &self,
        container: &str,
        words: &[String],
    ) -> Result<Terminal, EngineError> {
        self.own_container(container).await?;
        let call = Call::read(format!("open a shell in container {container}"));
        let made = self
            .connection
            .run(&call, |client| {
                let options = CreateExecOptions {
                    cmd: Some(words.to_vec()),
                    env: Some(vec!["TERM=xterm-256color".to_owned()]),
                    attach_stdin: Some(true),
                    attach_stdout: Some(true),
                    attach_stderr: Some(true),
                    tty: Some(true),
                    ..CreateExecOptions::default()
                };
                async move { client.create_exec(container, options).await }
            })
            .await?;
        let exec = made.id;
        let how = StartExecOptions { detach: false, tty: true, output_capacity: None };
        let started = self
            .connection
            .run(&call, |client| {
                let exec = exec.clone();
                async move { client.start_exec(&exec, Some(how)).await }
            })
            .await?;
        let StartExecResults::Attached { output, input } = started else {
            let (what, reason) = (call.what, "the engine did not attach to it".to_owned());
            return Err(EngineError::Refused { what, reason });
        };
        let output = output.map(|chunk| match chunk {
            Ok(chunk) => Ok(chunk.into_bytes()),
            Err(error) => Err(io::Error::other(errors::reason(&error))),
        });
        let keyboard = Typing {
            connection: Arc::clone(&self.connection),
            container: container.to_owned(),
            exec,
            input,
        };
        Ok(Terminal { output: output.boxed(), keyboard: Box::new(keyboard) })
    }
}

/// What is typed into one program.
struct Typing {
    connection: Arc<Connection>,
    container: String,
    exec: String,
    input: Pin<Box<dyn AsyncWrite + Send>>,
}

#[async_trait]
impl Keyboard for Typing {
    async fn type_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.input.write_all(bytes).await?;
        self.input.flush().await
    }

    async fn resize(&mut self, size: TerminalSize) -> io::Result<()> {
        let call = Call::read(format!("resize the terminal of exec {}", self.exec));
        let options = ResizeExecOptions { height: size.rows(), width: size.columns() };
        let exec = self.exec.as_str();
        self.connection
            .run(&call, |client| async move { client.resize_exec(exec, options).await })
            .await
            .map_err(io::Error::other)
    }

    async fn end(&mut self) {
        // Its connection alone would leave it running (moby#9098).
        let _ = self.input.shutdown().await;
        end_exec(&self.connection, &self.container, &self.exec).await;
    }
}
