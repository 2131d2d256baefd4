//! `audit-allowlist.yaml`: findings that the author of a challenge waives, with a reason.
//!
//! The first entry that matches an error makes it a warning and adds the reason. What blocks stays:
//! nobody can waive that a challenge cannot run.
//!
//! In:  the list beside `metadata.yaml`, the findings of the folder. Out: the findings, lowered,
//! and what is wrong with the list itself (ALLOW).
//!
//! # Invariants
//! * A list never makes a finding heavier, and never takes one away.
//! * An entry that waives nothing is a finding, so a list only shrinks when a challenge gets better.

mod entry;
#[cfg(test)]
mod tests;

use self::entry::Entry;
use super::audit::Subject;
use super::decode::{Report, shown};
use super::finding::{Finding, Severity, Weight};
use super::rules;
use super::spanned::{self, MAX_BYTES, Span};
use crate::model::{EntryKind, TreeError};

/// The file of a challenge.
const FILE: &str = "audit-allowlist.yaml";

/// Lowers the findings that the folder's allowlist waives to warnings, and reports what is wrong
/// with the list itself.
///
/// # Errors
/// Only when the store fails.
pub(super) fn apply(
    subject: &Subject<'_>,
    findings: &mut [Finding],
    report: &mut Report,
) -> Result<(), TreeError> {
    let Some(kind) = subject.files.kind(FILE) else { return Ok(()) };
    let path = subject.path(FILE);
    let mut own = Report::new(None, path.clone());
    let bytes = match kind {
        EntryKind::File { .. } => match subject.tree.read(&path, MAX_BYTES) {
            Ok(bytes) => Some(bytes),
            Err(error @ TreeError::Unreadable { .. }) => return Err(error),
            Err(
                TreeError::NotFound { .. }
                | TreeError::NotAFile { .. }
                | TreeError::TooLarge { .. },
            ) => None,
        },
        EntryKind::Directory | EntryKind::Symlink | EntryKind::Submodule => None,
    };
    match bytes {
        Some(bytes) => {
            let entries = entry::read(spanned::parse(&bytes), &mut own);
            waive(&entries, findings, &mut own);
        }
        None => {
            let message = format!("`{FILE}` is no regular file of at most {MAX_BYTES} bytes");
            own.error(rules::ALLOW001, Span::default(), message, "write a small regular file");
        }
    }
    take_over(own, report);
    Ok(())
}

/// Hands the findings about the list on. None of them blocks: the list runs nowhere.
fn take_over(own: Report, report: &mut Report) {
    for finding in own.into_findings() {
        let weight = match finding.severity {
            Severity::Error => Weight::Error,
            Severity::Warning => Weight::Warning,
        };
        let at = Span { line: finding.line, column: finding.column, ..Span::default() };
        report.at(weight, &finding.rule, finding.path, at, finding.message, finding.hint);
    }
}

/// What came of one entry.
#[derive(Debug, Clone, Default)]
struct Outcome {
    /// Whether it was the first match of some finding.
    is_used: bool,
    /// Whether what it matched could not be waived.
    is_refused: bool,
    /// The earlier entry that took what it matches.
    taken_by: Option<usize>,
}

fn waive(entries: &[Entry], findings: &mut [Finding], own: &mut Report) {
    let mut outcomes = vec![Outcome::default(); entries.len()];
    for finding in findings.iter_mut() {
        let mut first = None;
        for (nth, entry) in entries.iter().enumerate() {
            if !entry.matches(finding) {
                continue;
            }
            if finding.blocks {
                outcomes[nth].is_refused = true;
            } else if first.is_some() {
                outcomes[nth].taken_by = first;
            } else {
                first = Some(nth);
                outcomes[nth].is_used = true;
            }
        }
        if let Some(nth) = first {
            finding.severity = Severity::Warning;
            let message = format!("{} (allowlisted: {})", finding.message, entries[nth].reason);
            finding.message = message;
        }
    }
    for (entry, outcome) in entries.iter().zip(&outcomes) {
        judge(entry, outcome, entries, own);
    }
}

/// Says what is wrong with an entry that could be read.
fn judge(entry: &Entry, outcome: &Outcome, entries: &[Entry], own: &mut Report) {
    if outcome.is_refused {
        let message = format!(
            "`{}` at `{}` cannot be waived: the challenge cannot run like this",
            entry.rule,
            shown(&entry.path)
        );
        own.warning(rules::ALLOW003, entry.rule_at, message, "mend the finding itself");
    }
    if outcome.is_used || outcome.is_refused {
        return;
    }
    let (message, hint) = match outcome.taken_by {
        Some(earlier) => {
            let earlier = entries[earlier].rule_at;
            let message = format!(
                "everything that this entry matches is waived by the one at {}:{}",
                earlier.line, earlier.column
            );
            (message, "remove one of the two")
        }
        None => {
            let message = format!(
                "the entry matches nothing: there is no `{}` at `{}`{}",
                entry.rule,
                shown(&entry.path),
                entry.line.map(|line| format!(" in line {line}")).unwrap_or_default()
            );
            let hint = if entry.path.starts_with(['/', '.']) {
                "write the path inside the challenge folder, such as `services/web/app.py`"
            } else {
                "remove the entry if the finding is mended, else correct its path or line"
            };
            (message, hint)
        }
    };
    own.warning(rules::ALLOW002, entry.rule_at, message, hint);
}
