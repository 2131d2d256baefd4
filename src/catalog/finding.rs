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
    /// Whether it makes the challenge invalid.
    pub severity: Severity,
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
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The challenge cannot be used.
    Error,
    /// It can, but somebody should look.
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
