//! How a command ends: fine, with findings, or with a failure that says what to do next.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigErrors;

/// How a command ended that could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing is wrong: exit code 0.
    Fine,
    /// It found what it looks for: exit code 1.
    Findings,
    /// There is something to do: exit code 2, of `plan` alone.
    Changes,
    /// A person holds something back: exit code 3, of `plan` alone.
    Held,
    /// Somebody ended it before it was done: exit code 130, as shells have it for Ctrl-C.
    Interrupted,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Fine => Self::SUCCESS,
            Ending::Findings => Self::from(1),
            Ending::Changes => Self::from(2),
            Ending::Held => Self::from(3),
            Ending::Interrupted => Self::from(130),
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    blame: Blame,
    problem: String,
    next: String,
}

/// Who can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// The command line or the configuration is wrong: exit code 2.
    Usage,
    /// Something else is: exit code 1.
    World,
}

impl Failure {
    /// The command could not be done; `next` says what to do, or is empty.
    pub(crate) fn failed(problem: impl Into<String>, next: impl Into<String>) -> Self {
        Self { blame: Blame::World, problem: problem.into(), next: next.into() }
    }

    /// What was asked for makes no sense; `next` says what to do, or is empty.
    pub(crate) fn usage(problem: impl Into<String>, next: impl Into<String>) -> Self {
        Self { blame: Blame::Usage, problem: problem.into(), next: next.into() }
    }

    /// The code that the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.blame {
            Blame::World => ExitCode::from(1),
            Blame::Usage => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.problem)?;
        if self.next.is_empty() { Ok(()) } else { write!(f, "\n next: {}", self.next) }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::usage(errors.to_string(), "")
    }
}
