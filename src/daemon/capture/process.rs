//! One `tcpdump` on one bridge, and the files that its packets go into.
//!
//! It opens the bridge, gives its rights up for those of `nobody`, and writes to a pipe: it never has a
//! file. It bears our installation in the name that processes are listed by, so that one that outlived
//! its daemon is found; without a reader it also ends with the next packet.
//!
//! # Invariants
//! * No word from outside is an argument: names of bridges are made of addresses of our own pool.
//! * Between the pipe and the files nothing is believed of a packet but its length, up to a bound.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use thiserror::Error;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::super::shared::Shared;
use super::begin;
use crate::model::InstallationId;
use crate::planner::capture::Target;
use crate::traffic::pcap::{self, Splitter};

/// Where `tcpdump` is when it is not in `PATH`, as under a bare service manager.
const PROGRAMS: [&str; 4] =
    ["tcpdump", "/usr/bin/tcpdump", "/usr/sbin/tcpdump", "/usr/local/sbin/tcpdump"];
/// Whom it becomes once it has the bridge.
const USER: &str = "nobody";
/// Most that is read at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Most of its last words.
const MAX_WORDS: u64 = 4 << 10;
/// How long one that was killed is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a capture ended that should go on.
#[derive(Debug, Error)]
pub(super) enum CaptureFault {
    /// It is not installed.
    #[error("there is no `tcpdump` on the node: install the package `tcpdump`")]
    Missing,
    /// It could not be started.
    #[error("could not run `tcpdump`")]
    Run(#[source] io::Error),
    /// It ended.
    #[error("`tcpdump` ended: {0}")]
    Ended(String),
    /// It says what makes no sense.
    #[error("`tcpdump` wrote no capture")]
    Strange(#[from] pcap::Fault),
    /// The disk.
    #[error("the captured packets cannot be written")]
    Write(#[source] io::Error),
}

/// What captures of an installation are called in the list of processes.
pub(super) fn tag(installation: &InstallationId) -> String {
    format!("flagops-capture-{installation}")
}

/// Captures `target` until `stop`.
///
/// # Errors
/// When it ends by itself.
pub(super) async fn run(
    shared: &Shared,
    target: &Target,
    stop: &CancellationToken,
) -> Result<(), CaptureFault> {
    let mut child = spawn(&tag(shared.data.installation()), &target.bridge)?;
    let no_pipe = || CaptureFault::Run(io::Error::other("a child has no pipes"));
    let mut stdout = child.stdout.take().ok_or_else(no_pipe)?;
    let mut files = Files { shared, target, open: None };
    let (mut splitter, mut chunk) = (Splitter::default(), vec![0; CHUNK_BYTES]);
    let copied = loop {
        // Cancel-safe: what a read did not return it did not take.
        let n_read = tokio::select! {
            read = stdout.read(&mut chunk) => read.map_err(CaptureFault::Run),
            () = stop.cancelled() => break Ok(()),
        };
        let n_read = match n_read {
            Ok(0) => break Err(CaptureFault::Ended(String::new())),
            Ok(n_read) => n_read,
            Err(fault) => break Err(fault),
        };
        let records = splitter.push(chunk.get(..n_read).unwrap_or_default());
        let written = match records {
            Ok(records) => files.write(&records).await.map_err(CaptureFault::Write),
            Err(fault) => Err(fault.into()),
        };
        if let Err(fault) = written {
            break Err(fault);
        }
    };
    files.close();
    drop(stdout);
    let words = end(child).await;
    match copied {
        Err(CaptureFault::Ended(_)) => Err(CaptureFault::Ended(words)),
        copied => copied,
    }
}

fn spawn(tag: &str, bridge: &str) -> Result<Child, CaptureFault> {
    let snaplen = pcap::SNAPLEN.to_string();
    for program in PROGRAMS {
        let mut command = Command::new(program);
        command.arg0(tag).args(["-i", bridge, "-n", "-U", "--immediate-mode"]);
        command.args(["-s", &snaplen, "-w", "-", "-Z", USER]);
        command.env("LC_ALL", "C").current_dir("/").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map_err(CaptureFault::Run),
        }
    }
    Err(CaptureFault::Missing)
}

/// Ends a child, and gives the last line that it said.
async fn end(mut child: Child) -> String {
    // One that is over cannot be killed.
    let _ = child.start_kill();
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut stderr = stderr.take(MAX_WORDS);
        let _ = tokio::time::timeout(PATIENCE, stderr.read_to_end(&mut words)).await;
    }
    let _ = tokio::time::timeout(PATIENCE, child.wait()).await;
    let words = String::from_utf8_lossy(&words);
    let told = |line: &&str| !line.contains("packet") && !line.contains("listening on");
    words.lines().rfind(told).unwrap_or_default().trim().chars().take(200).collect()
}

/// The segments of one capture.
struct Files<'a> {
    shared: &'a Shared,
    target: &'a Target,
    open: Option<Open>,
}

/// The segment that is written.
struct Open {
    number: u64,
    file: File,
    n_bytes: u64,
}

impl Files<'_> {
    /// Writes whole records; into another segment when this one would grow over its share.
    async fn write(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let bounds = self.shared.config.capture.bounds();
        let n_new = records.len() as u64;
        if self.open.as_ref().is_some_and(|it| it.n_bytes + n_new > bounds.segment_bytes()) {
            self.close();
        }
        if self.open.is_none() {
            let n_bytes = bounds.segment_bytes();
            let begun = begin(self.shared, self.target, n_bytes, bounds).await;
            // Without room for it, it is as if it had been older.
            let Some(number) = begun else { return Ok(()) };
            let (folder, target) = (self.shared.captures.folder.clone(), self.target.clone());
            let made = tokio::task::spawn_blocking(move || folder.begin(number, &target)).await;
            match made.map_err(io::Error::other).and_then(|made| made) {
                Ok(file) => {
                    let n_bytes = pcap::HEADER_BYTES as u64;
                    self.open = Some(Open { number, file: File::from_std(file), n_bytes });
                }
                Err(error) => {
                    self.shared.captures.inner().ledger.close(number, 0);
                    return Err(error);
                }
            }
        }
        if let Some(open) = &mut self.open {
            open.n_bytes += n_new;
            open.file.write_all(records).await?;
            open.file.flush().await?;
        }
        Ok(())
    }

    /// The segment is as long as it is.
    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.shared.captures.inner().ledger.close(open.number, open.n_bytes);
        }
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Kills what an earlier daemon of this installation left, and waits for its end.
pub(super) fn end_strays(tag: &str) {
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        let strays: Vec<_> = processes().filter(|pid| is_called(*pid, tag)).collect();
        if strays.is_empty() {
            return;
        }
        for pid in strays {
            // The name is read again once the process is held: its number may be another's by now.
            if let Ok(held) = pidfd_open(pid, PidfdFlags::empty())
                && is_called(pid, tag)
            {
                let _ = pidfd_send_signal(&held, Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    tracing::warn!("a capture of an earlier run does not end; its packets go nowhere");
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// Whether a process has that name, and is none that has ended.
fn is_called(pid: Pid, tag: &str) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    line.is_ok_and(|line| line.split(|byte| *byte == 0).next() == Some(tag.as_bytes()))
}
