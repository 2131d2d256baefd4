//! `flagops instances shell`: a shell in a container, for super administrators; every byte is recorded.
//!
//! # Invariants
//! * The terminal of who calls is as it was before, however this ends.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use clap::Args;
use futures_util::StreamExt as _;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::client::{Client, Request};
use crate::cli::failure::{Ending, Failure};
use crate::cli::output;
use crate::cli::wire::Fields as _;
use crate::runtime::terminal::{Terminal, TerminalSize};

/// Most that is read of the keyboard at a time.
const CHUNK: usize = 4096;
/// What a terminal sends when nothing more is typed.
const END_OF_INPUT: &[u8] = b"\x04";

/// Open a shell in a container of an instance (super administrators only); it is recorded
///
/// The server has to allow it: `mode = "on"` below `[shell]`. Every byte is recorded, both ways, and
/// that it was asked for, opened and closed. It ends with `exit`, with the instance, or when nothing is
/// typed for long.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops instances shell 3f2a --reason \"team blue cannot log in\"
  flagops instances shell 3f2a --container fi-3f2a-db --shell sh --reason \"look at the database\"")]
pub(super) struct ShellArgs {
    /// Id, or how it begins
    id: String,
    /// Why; at least ten letters, recorded
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Name of the container, or of its service; needed where there are several
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// Which shell: `bash` or `sh`
    #[arg(long, default_value = "sh", value_parser = ["bash", "sh"])]
    shell: String,
}

/// Opens it and stays until it is over.
pub(super) async fn run(client: &Client, args: &ShellArgs) -> Result<Ending, Failure> {
    let id = super::resolve(client, &args.id).await?.to_string();
    let containers = client.get(Request::to(&["admin", "instances", &id, "containers"])).await?;
    let container = choose(&containers, args.container.as_deref())?;
    let wish = json!({ "container": container, "shell": args.shell, "reason": args.reason });
    let path = ["admin", "instances", &id, "shell", "sessions"];
    let session = client.post(Request::to(&path), Some(&wish)).await?;
    let query = [("session", session.text("session_token").to_owned())];
    let path = ["admin", "instances", &id, "shell"];
    let terminal = client.terminal(Request { path: &path, query: &query }).await?;
    let talked = talk(terminal).await;
    output::note(&format!(
        "\nthe shell is closed; it is recorded as {}",
        session.text("session_id")
    ));
    talked.map_err(|error| {
        Failure::failed(
            format!("the connection to the shell was lost ({error})"),
            "`flagops instances show` says whether the instance still runs",
        )
    })?;
    Ok(Ending::Fine)
}

/// The container that is meant: the one that is named, by itself or by its service, or the only one
/// that runs.
fn choose(containers: &Value, named: Option<&str>) -> Result<String, Failure> {
    let rows = containers.as_array().map(Vec::as_slice).unwrap_or_default();
    let fitting: Vec<&Value> = match named {
        Some(name) => {
            let is_it = |row: &&Value| row.text("name") == name || row.text("service") == name;
            rows.iter().filter(is_it).collect()
        }
        None => rows.iter().filter(|row| row.is("exec_ready") && !row.is("is_sidecar")).collect(),
    };
    if let [only] = fitting.as_slice() {
        return Ok(only.text("name").to_owned());
    }
    let names: Vec<_> = rows.iter().map(|row| output::clean(row.text("name"))).collect();
    let there = match names.as_slice() {
        [] => "it has no containers now".to_owned(),
        names => format!("name one with `--container`: {}", names.join(", ")),
    };
    let found = if fitting.is_empty() { "no container fits" } else { "several containers fit" };
    Err(Failure::usage(found, there))
}

/// The terminal of who calls, letting every key through until this is dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn begin() -> Self {
        let stdin = io::stdin();
        let before = stdin.is_terminal().then(|| tcgetattr(&stdin).ok()).flatten();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // A terminal that cannot be changed shows every key twice, and works.
            let _ = tcsetattr(&stdin, OptionalActions::Now, &raw);
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// The size of the terminal of who calls.
fn size() -> Option<TerminalSize> {
    let found = tcgetwinsize(io::stdout()).ok()?;
    TerminalSize::new(found.ws_row.into(), found.ws_col.into())
}

/// Moves bytes both ways until the shell ends.
async fn talk(terminal: Terminal) -> io::Result<()> {
    let raw = Raw::begin();
    let Terminal { mut output, mut keyboard } = terminal;
    let mut keys = keys(raw.0.is_some());
    let mut resized = signal(SignalKind::window_change())?;
    if let Some(size) = size() {
        keyboard.resize(size).await?;
    }
    loop {
        // Cancel-safe: each of them only takes what is there.
        tokio::select! {
            shown = output.next() => match shown {
                Some(bytes) => {
                    let mut out = io::stdout().lock();
                    out.write_all(&bytes?)?;
                    out.flush()?;
                }
                None => break,
            },
            Some(typed) = keys.recv() => keyboard.type_in(&typed).await?,
            Some(()) = resized.recv() => {
                if let Some(size) = size() {
                    keyboard.resize(size).await?;
                }
            }
        }
    }
    keyboard.end().await;
    Ok(())
}

/// What is typed. A thread of its own reads it: it may wait for a key when everything else is over, and
/// must keep nobody from ending.
fn keys(is_person: IsPerson) -> mpsc::Receiver<Vec<u8>> {
    let (typed, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut chunk = [0; CHUNK];
        loop {
            let bytes = match io::stdin().lock().read(&mut chunk) {
                Ok(0) | Err(_) if is_person => return,
                // A script that is over: so is its shell.
                Ok(0) | Err(_) => END_OF_INPUT.to_vec(),
                Ok(n) => chunk[..n].to_vec(),
            };
            let is_last = bytes == END_OF_INPUT && !is_person;
            if typed.blocking_send(bytes).is_err() || is_last {
                return;
            }
        }
    });
    keys
}

/// Whether a person types, not a file.
type IsPerson = bool;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_named_by_itself_by_its_service_or_by_being_alone() {
        let row = |name: &str, service: &str, is_sidecar: bool| {
            json!({
                "name": name, "service": service, "is_sidecar": is_sidecar, "exec_ready": true,
            })
        };
        let one = json!([row("fi-1-web", "web", false), row("fi-1-gate", "gate", true)]);
        let two = json!([row("fi-1-web", "web", false), row("fi-1-db", "db", false)]);
        assert_eq!(choose(&one, None).unwrap(), "fi-1-web");
        assert_eq!(choose(&two, Some("db")).unwrap(), "fi-1-db");
        assert_eq!(choose(&two, Some("fi-1-web")).unwrap(), "fi-1-web");
        for (rows, named) in [(&two, None), (&two, Some("no")), (&json!([]), None)] {
            assert!(choose(rows, named).is_err(), "{rows} {named:?}");
        }
        let words = choose(&two, None).unwrap_err().to_string();
        assert!(words.contains("several containers fit"), "{words}");
    }
}
