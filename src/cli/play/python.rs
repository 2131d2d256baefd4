//! The Python that runs exploits: which interpreter, and the module that every exploit imports.
//!
//! # Invariants
//! * The module needs nothing but the standard library; it travels in this binary.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::proof::program::MODULE;

use super::super::failure::Failure;
use super::super::output;

/// How long the interpreter may take to say who it is.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);
/// What it is asked: itself behind any launcher, and where `pip install --user` puts packages.
const PROBE: &str = "import site, sys; print(sys.executable); print(site.getuserbase())";

/// An interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Python {
    /// Its own path.
    pub(super) program: PathBuf,
    /// The author's own packages, found although `HOME` is another for the exploit.
    pub(super) user_base: OsString,
}

impl Python {
    /// Asks `program` who it is.
    pub(super) async fn find(program: &Path) -> Result<Self, Failure> {
        let shown = program.display();
        let unusable = |why: String| {
            Failure::failed(
                format!("could not run Python as `{shown}`: {}", output::clean(&why)),
                "install Python 3.9 or newer, or name it: `--python PATH`",
            )
        };
        let mut command = tokio::process::Command::new(program);
        command.args(["-c", PROBE]).stdin(Stdio::null()).kill_on_drop(true);
        let asked = tokio::time::timeout(PROBE_PATIENCE, command.output()).await;
        let answered = asked
            .map_err(|_| unusable("it does not answer".to_owned()))?
            .map_err(|error| unusable(error.to_string()))?;
        let said = String::from_utf8_lossy(&answered.stdout).into_owned();
        match (answered.status.success(), said.lines().collect::<Vec<_>>().as_slice()) {
            (true, [program, user_base, ..]) if !program.is_empty() => {
                Ok(Self { program: PathBuf::from(program), user_base: user_base.into() })
            }
            _ => {
                let stderr = String::from_utf8_lossy(&answered.stderr);
                Err(unusable(stderr.lines().last().unwrap_or("it says nothing").to_owned()))
            }
        }
    }
}

/// Writes the module below `folder`, which becomes an entry of `PYTHONPATH`.
pub(super) fn unpack(folder: &Path) -> io::Result<()> {
    for (name, content) in MODULE {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
    }
    Ok(())
}
