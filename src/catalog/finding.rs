//! What is wrong with a file, where, why, and how to mend it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::ChallengeId;

/// One finding of one rule. `path` is relative to the repository root; `line` and `column` count
/// from 1, 0 means the whole file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The rule's stable id, e.g. `META005`.
    pub rule: String,
    /// How much it weighs: an error ends `flagops check` with 1.
    pub severity: Severity,
    /// Whether the challenge cannot run as it is written. Only an error blocks, and nobody can
    /// waive it; any other error is the author's to mend or to waive (`audit-allowlist.yaml`).
    pub blocks: bool,
    /// The challenge, if it belongs to one.
    pub challenge: Option<ChallengeId>,
    /// File or folder.
    pub path: String,
    /// Line, or 0.
    pub line: u32,
    /// Column in characters, or 0.
    pub column: u32,
    /// What is wrong and why; one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// The line it is about, with answers and flags masked; `None` for a whole file.
    pub snippet: Option<String>,
}

impl Finding {
    /// How much it weighs, in one word.
    pub fn weight(&self) -> Weight {
        match (self.severity, self.blocks) {
            (Severity::Error, true) => Weight::Refusal,
            (Severity::Error, false) => Weight::Error,
            (Severity::Warning, _) => Weight::Warning,
        }
    }

    /// What lists of findings are sorted by, everywhere: path, line, column, rule.
    pub fn place(&self) -> (&str, u32, u32, &str) {
        (&self.path, self.line, self.column, &self.rule)
    }
}

/// What a finding means for the challenge, heaviest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// It cannot run as it is written: an error that nobody can waive.
    Refusal,
    /// It runs, and breaks a rule: an error.
    Error,
    /// It runs, and somebody should look.
    Warning,
}

impl Weight {
    /// The severity people see.
    pub fn severity(self) -> Severity {
        match self {
            Self::Refusal | Self::Error => Severity::Error,
            Self::Warning => Severity::Warning,
        }
    }
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A rule is broken.
    Error,
    /// Nothing is broken, but somebody should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Finding {
    /// One line: `path:line:column: severity[RULE] message; hint`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}[{}] {}", self.severity, self.rule, self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}
