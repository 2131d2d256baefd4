//! The process that renders: a child of the daemon's own binary, with limits that it sets on itself.
//!
//! The request goes in through standard input and the texts come out of standard output: nothing
//! secret is an argument or a variable. The child bounds its own memory and processor time
//! (`cli::render`); time on the wall and what is read of it are bounded here.
//!
//! # Invariants
//! * A child that is not awaited to its end is killed.
//! * Whatever a child says, at most so many bytes of it are kept.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::render::attachments::job::{self, MAX_TOTAL_BYTES, Reply, Request};
use crate::traffic::Flow;

/// The subcommand of our binary that renders; not for people.
pub const COMMAND: &str = "render-attachments";
/// The subcommand of our binary that reads captured packets; not for people.
pub const TRAFFIC_COMMAND: &str = "read-traffic";
/// How long one child may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Children at a time: each may use as much memory as it bounds itself to.
const N_CHILDREN: usize = 4;
/// Most that is read of one child: the texts, and a line before each.
const MAX_READ_BYTES: u64 = MAX_TOTAL_BYTES as u64 + (1 << 20);

/// Renders the templates of instances, each in a process of its own.
#[derive(Debug)]
pub struct Renderer {
    by: By,
    deadline: Duration,
    slots: Semaphore,
}

#[derive(Debug)]
enum By {
    /// This program, with these arguments.
    Child { program: PathBuf, arguments: Vec<String> },
    /// This very process, for unit tests: their binary has no such subcommand.
    #[cfg(test)]
    Here,
}

/// Why nothing was rendered.
#[derive(Debug, Error)]
pub(crate) enum ChildError {
    /// A template did too much, or the child ended over it. The text is for the owner.
    #[error("{0}")]
    Template(String),
    /// This machine cannot run a child now.
    #[error(transparent)]
    Spawn(io::Error),
}

impl Renderer {
    /// Lets `program`, a flagops, do it.
    pub fn program(program: PathBuf) -> Self {
        Self::new(By::Child { program, arguments: vec![COMMAND.to_owned()] })
    }

    /// Lets the binary of this process do it, also when its file was replaced or deleted since.
    pub fn of_this_process() -> Self {
        Self::program("/proc/self/exe".into())
    }

    /// Renders in this process, without the limits of a child.
    #[cfg(test)]
    pub(crate) fn here() -> Self {
        Self::new(By::Here)
    }

    /// Lets any program do it, for so long.
    #[cfg(test)]
    pub(super) fn script(script: &str, deadline: Duration) -> Self {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        Self { deadline, ..Self::new(By::Child { program: "/bin/sh".into(), arguments }) }
    }

    fn new(by: By) -> Self {
        Self { by, deadline: DEADLINE, slots: Semaphore::new(N_CHILDREN) }
    }

    /// The HTTP in a capture. Whoever asks bounds how many do at a time: a capture is large. Cancel-safe:
    /// a child that nobody waits for is killed.
    pub(crate) async fn read_traffic(&self, capture: Bytes) -> Result<Vec<Flow>, ChildError> {
        let program = match &self.by {
            By::Child { program, .. } => program,
            #[cfg(test)]
            By::Here => return Ok(crate::traffic::flows(&capture)),
        };
        let talk = talk(command(program, &[TRAFFIC_COMMAND.to_owned()]), capture.into());
        let talked = tokio::time::timeout(self.deadline, talk).await;
        let failed = |why: &str| ChildError::Spawn(io::Error::other(why.to_owned()));
        match talked.map_err(|_| failed("it takes too long"))?.map_err(ChildError::Spawn)? {
            (flows, Ended::By(status)) if status.success() => serde_json::from_slice(&flows)
                .map_err(|_| failed("the child that reads it made no sense")),
            (_, ended) => Err(failed(&format!("the child that reads it: {}", ended.say()))),
        }
    }

    /// A reply for each template of `request`. Cancel-safe: a child that nobody waits for is killed.
    pub(crate) async fn render(&self, request: Request) -> Result<Vec<Reply>, ChildError> {
        let names: Vec<String> = request.templates.iter().map(|it| it.name.clone()).collect();
        let _slot = self.slots.acquire().await;
        let (program, arguments) = match &self.by {
            By::Child { program, arguments } => (program, arguments),
            #[cfg(test)]
            By::Here => {
                let mut out = Vec::new();
                job::answer(&request.encode(), &mut out).map_err(ChildError::Spawn)?;
                return Ok(job::replies(&out, names.len()));
            }
        };
        let talk = talk(command(program, arguments), request.encode());
        let (bytes, ended) = match tokio::time::timeout(self.deadline, talk).await {
            Ok(talked) => talked.map_err(ChildError::Spawn)?,
            Err(_) => (Vec::new(), Ended::TooLate),
        };
        let replies = job::replies(&bytes, names.len());
        match (names.get(replies.len()), ended) {
            (None, Ended::By(status)) if status.success() => Ok(replies),
            (_, Ended::TooLate) => {
                let which = names.first().map_or("", String::as_str);
                let seconds = self.deadline.as_secs();
                let which = if names.len() > 1 { "the templates" } else { which };
                Err(ChildError::Template(format!("{which}: not rendered within {seconds} s")))
            }
            (name, ended) => {
                let name = name.or(names.last()).map_or("", String::as_str);
                Err(ChildError::Template(format!("{name}: {}", ended.say())))
            }
        }
    }
}

/// A child with nothing of ours but its pipes.
fn command(program: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// How a child ended.
enum Ended {
    By(ExitStatus),
    /// It said more than is read.
    TooMuch,
    /// It did not end in time.
    TooLate,
}

impl Ended {
    /// What that says about a template.
    fn say(&self) -> String {
        let signal = match self {
            Self::TooMuch => {
                return format!("the files have more than {} MiB", MAX_TOTAL_BYTES >> 20);
            }
            Self::By(status) => status.signal(),
            Self::TooLate => None,
        };
        let is = |wanted: Signal| signal == Some(wanted.as_raw());
        let words = match signal {
            _ if is(Signal::XCPU) => "it takes too much processor time",
            // Where memory ends the standard library aborts.
            _ if is(Signal::ABORT) => "it needs more memory than a rendering may use",
            Some(_) => "its rendering was killed",
            None => "its rendering ended without a result",
        };
        words.to_owned()
    }
}

/// Hands `request` to a child and reads what it says.
async fn talk(mut command: Command, request: Vec<u8>) -> io::Result<(Vec<u8>, Ended)> {
    let mut child = command.spawn()?;
    let missing = || io::Error::other("a child has no pipes");
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let mut bytes = Vec::new();
    let mut stdout = stdout.take(MAX_READ_BYTES + 1);
    let ask = async {
        // A child that ends early says why by how it ends.
        let _ = stdin.write_all(&request).await;
        drop(stdin);
    };
    let ((), read) = tokio::join!(ask, stdout.read_to_end(&mut bytes));
    read?;
    if bytes.len() as u64 > MAX_READ_BYTES {
        child.kill().await?;
        return Ok((bytes, Ended::TooMuch));
    }
    Ok((bytes, Ended::By(child.wait().await?)))
}
