//! The operator's program that writes the record which proves that a domain is theirs.
//!
//! In:  `PROGRAM present|cleanup NAME VALUE`, as lego's `exec` calls it, so what was written for that serves.
//! Out: whether it ended well; what it said when not.
//!
//! # Invariants
//! * It gets nothing of ours: no variable beyond where programs are, no open file, no secret argument.
//! * It has a bound in time, and what it started ends with it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// How long it may take: providers' APIs take a minute at worst.
const DEADLINE: Duration = Duration::from_secs(180);

/// What of its words is kept.
const MAX_WORDS: usize = 16 << 10;

/// Variables that it gets, as far as we have them. The directory is where systemd puts credentials.
const VARIABLES: &[&str] = &["PATH", "HOME", "LANG", "TZ", "CREDENTIALS_DIRECTORY"];

/// What it is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Write the record, and come back when it is written.
    Present,
    /// Take the record away.
    Cleanup,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Cleanup => "cleanup",
        }
    }
}

/// Why a record is not as it should be.
#[derive(Debug, Error)]
pub(crate) enum HookError {
    /// There is no such program.
    #[error("`ingress.acme.hook` {} could not be run: is it there, and executable by flagops?", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It did not end.
    #[error("`{} {action} {name} …` did not end within {} s, so it was killed", program.display(), DEADLINE.as_secs())]
    TimedOut {
        /// The program.
        program: PathBuf,
        /// Its first argument.
        action: &'static str,
        /// Its second.
        name: String,
    },
    /// It said that it failed.
    #[error("`{} {action} {name} …` {how}: {words}", program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// Its first argument.
        action: &'static str,
        /// Its second.
        name: String,
        /// How it ended.
        how: String,
        /// The end of what it wrote to its standard error.
        words: String,
    },
}

/// The program.
#[derive(Debug)]
pub(super) struct Hook {
    program: PathBuf,
}

impl Hook {
    pub(super) fn new(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    /// Runs it for the record `name` (with the dot at its end) and `value`.
    ///
    /// # Errors
    /// [`HookError`].
    pub(super) async fn call(
        &self,
        action: Action,
        name: &str,
        value: &str,
    ) -> Result<(), HookError> {
        let (program, word) = (self.program.clone(), action.word());
        let kept = VARIABLES.iter().filter_map(|&it| Some((it, std::env::var_os(it)?)));
        let spawned = Command::new(&self.program)
            .args([word, name, value])
            .env_clear()
            .envs(kept)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(source) => return Err(HookError::Run { program, source }),
        };
        let _group = Group(child.id());
        match tokio::time::timeout(DEADLINE, end(&mut child)).await {
            Ok(Ok((status, _))) if status.success() => Ok(()),
            Ok(Ok((status, words))) => Err(HookError::Failed {
                program,
                action: word,
                name: name.to_owned(),
                how: how(status),
                words,
            }),
            Ok(Err(source)) => Err(HookError::Run { program, source }),
            Err(_) => Err(HookError::TimedOut { program, action: word, name: name.to_owned() }),
        }
    }
}

/// Everything that a program started; it ends with this.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Mostly nothing is left of it.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn end(child: &mut Child) -> io::Result<(ExitStatus, String)> {
    let stderr = child.stderr.take();
    let read = async {
        match stderr {
            Some(stderr) => tail(stderr).await,
            None => Ok(Vec::new()),
        }
    };
    let (words, status) = tokio::join!(read, child.wait());
    let words = words?;
    let text = String::from_utf8_lossy(&words);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last: Vec<_> = lines.iter().rev().take(3).rev().copied().collect();
    let words: String = last.join(" / ").chars().take(400).collect();
    Ok((status?, if words.is_empty() { "it said nothing on stderr".to_owned() } else { words }))
}

/// The last [`MAX_WORDS`] bytes or somewhat more; all of it is read, so that nobody waits for a reader.
async fn tail(mut from: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut words = Vec::new();
    while from.read_buf(&mut words).await? > 0 {
        if words.len() > 2 * MAX_WORDS {
            words.drain(..words.len() - MAX_WORDS);
        }
    }
    Ok(words)
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn hook(folder: &Path, script: &str) -> Hook {
        let program = folder.join("hook");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        Hook::new(&program)
    }

    async fn refusal(script: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let error = hook(folder.path(), script)
            .call(Action::Present, "_acme-challenge.ctf.test.", "v")
            .await
            .unwrap_err();
        error.to_string().replace(folder.path().to_str().unwrap(), "DIR")
    }

    #[tokio::test]
    async fn it_is_told_what_to_write_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let said = folder.path().join("said");
        let script = format!("echo \"$*\" > {0}; env | cut -d= -f1 | sort >> {0}", said.display());
        let hook = hook(folder.path(), &script);
        hook.call(Action::Cleanup, "_acme-challenge.ctf.test.", "value").await.unwrap();
        let said = fs::read_to_string(said).unwrap();
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some("cleanup _acme-challenge.ctf.test. value"));
        // What the shell adds by itself.
        let is_fine =
            |name: &str| VARIABLES.contains(&name) || ["PWD", "SHLVL", "_"].contains(&name);
        let strange: Vec<_> = lines.filter(|name| !is_fine(name)).collect();
        assert_eq!(strange, [""; 0]);
    }

    #[tokio::test]
    async fn a_failure_is_told_in_its_own_words() {
        assert_eq!(
            refusal("echo 'zone ctf.test: REFUSED' >&2; exit 3").await,
            "`DIR/hook present _acme-challenge.ctf.test. …` failed with status 3: zone ctf.test: REFUSED"
        );
        assert_eq!(
            refusal("kill -9 $$").await,
            "`DIR/hook present _acme-challenge.ctf.test. …` was ended by signal 9: it said nothing on stderr"
        );
        let long = refusal("yes no | head -c 999999 >&2; exit 1").await;
        assert!(long.ends_with("no / no / no"), "{long}");
        let missing = Hook::new(Path::new("/nowhere/hook"));
        let error = missing.call(Action::Present, "a.", "v").await.unwrap_err();
        assert!(error.to_string().contains("executable by flagops?"), "{error}");
    }
}
