//! Reads `competitions/*.yaml` at the root of the repository.
//!
//! In:  the tree, and the challenges that were read from it.
//! Out: every [`Competition`] whose own file has no fault, and the findings (EVENT).
//!
//! # Invariants
//! * A fault of a competition never touches a challenge, nor another competition.
//! * What a file says about challenges (EVENT004, EVENT005) never takes its competition away: they
//!   come and go with revisions.
//!
//! # Not here
//! Who plays and what counts (`contest`), when a competition goes live (`daemon`).

mod fields;
mod file;
mod selections;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

#[cfg(test)]
pub(super) use file::keys;
pub(super) use file::{MAX_CAP, MAX_PER_TEAM, MAX_POINTS, MAX_TEAM_SIZE};

use super::decode::{Report, shown};
use super::finding::{Finding, Severity};
use super::rules;
use super::spanned::{self, MAX_BYTES, Span};
use super::{Catalog, snippet};
use crate::model::{Competition, CompetitionId, Entry, EntryKind, Tree, TreeError};

/// The folder of competition files.
pub const FOLDER: &str = "competitions";
/// Most competition files that are read.
const MAX_FILES: usize = 200;
/// Most findings that one file shows.
const MAX_FINDINGS: usize = 100;

/// Reads every competition of `tree` into `catalog`, whose challenges are known by then. A
/// competition that is the one of `previous` is shared with it.
///
/// # Errors
/// Only when the store behind the tree fails.
pub(super) fn load(
    tree: &dyn Tree,
    previous: Option<&Catalog>,
    catalog: &mut Catalog,
) -> Result<(), TreeError> {
    let entries = match tree.entries(FOLDER) {
        Ok(entries) => entries,
        Err(TreeError::NotFound { .. } | TreeError::NotAFile { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    if entries.iter().any(|entry| entry.name == "metadata.yaml") {
        // A challenge of that name in a flat repository, as `discover` sees it too.
        return Ok(());
    }
    for (nth, entry) in entries.iter().filter(|entry| is_file_of_ours(entry)).enumerate() {
        let read = if nth < MAX_FILES {
            read(tree, entry, catalog)?
        } else {
            let mut report = report_on(entry);
            let message = format!("more than {MAX_FILES} competition files: this one is not read");
            report.error(rules::EVENT000, Span::default(), message, "remove old ones");
            Read { competition: None, findings: report.into_findings() }
        };
        catalog.findings.extend(settled(read.findings));
        if let Some(competition) = read.competition {
            let known = previous.and_then(|it| it.competitions.get(&competition.id));
            let shared = known.filter(|known| known.as_ref() == &competition).map(Arc::clone);
            let id = competition.id.clone();
            catalog.competitions.insert(id, shared.unwrap_or_else(|| Arc::new(competition)));
        }
    }
    Ok(())
}

/// What the competition files of `tree` declare, and which files are there with a fault. What they
/// say about challenges is not looked at: that is for the verdict on a revision.
///
/// # Errors
/// Only when the store behind the tree fails.
pub fn competitions(
    tree: &dyn Tree,
) -> Result<(Vec<Competition>, BTreeSet<CompetitionId>), TreeError> {
    let entries = match tree.entries(FOLDER) {
        Ok(entries) => entries,
        Err(TreeError::NotFound { .. } | TreeError::NotAFile { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let (mut declared, mut faulty) = (Vec::new(), BTreeSet::new());
    if entries.iter().any(|entry| entry.name == "metadata.yaml") {
        return Ok((declared, faulty));
    }
    let files = entries.iter().filter(|entry| is_file_of_ours(entry));
    for (nth, entry) in files.enumerate() {
        let read = if nth < MAX_FILES {
            read(tree, entry, &Catalog::default())?.competition
        } else {
            None
        };
        let id = entry.name.strip_suffix(".yaml").and_then(|name| name.parse().ok());
        match (read, id) {
            (Some(competition), _) => declared.push(competition),
            (None, Some(id)) => {
                faulty.insert(id);
            }
            (None, None) => (),
        }
    }
    Ok((declared, faulty))
}

/// What came of one file.
struct Read {
    /// The competition; `None` when its file has a fault.
    competition: Option<Competition>,
    findings: Vec<Finding>,
}

fn report_on(entry: &Entry) -> Report {
    Report::new(None, format!("{FOLDER}/{}", shown(&entry.name)))
}

fn is_file_of_ours(entry: &Entry) -> bool {
    let is_yaml = entry.name.ends_with(".yaml") || entry.name.ends_with(".yml");
    is_yaml && entry.kind != EntryKind::Directory && !entry.name.starts_with('.')
}

/// Reads one file.
fn read(tree: &dyn Tree, entry: &Entry, catalog: &Catalog) -> Result<Read, TreeError> {
    let mut report = report_on(entry);
    let Some(id) = id_of(entry, &mut report) else {
        return Ok(Read { competition: None, findings: report.into_findings() });
    };
    // A name that is an id holds nothing that must be escaped.
    let path = format!("{FOLDER}/{id}.yaml");
    let Some(bytes) = bytes_of(tree, entry, &path)? else {
        let message = format!("this is no regular file of at most {MAX_BYTES} bytes");
        report.error(rules::EVENT000, Span::default(), message, "write a regular file");
        return Ok(Read { competition: None, findings: report.into_findings() });
    };
    let draft = file::read(spanned::parse(&bytes), id, path, &mut report);
    let mut findings = report.into_findings();
    let has_fault = findings.iter().any(|finding| finding.severity == Severity::Error);
    let mut report = report_on(entry);
    selections::compare(&draft.selections, catalog, &mut report);
    findings.extend(report.into_findings());
    let text = String::from_utf8_lossy(&bytes);
    for finding in findings.iter_mut().filter(|finding| finding.line > 0) {
        finding.snippet = snippet::quote(&text, finding.line);
    }
    Ok(Read { competition: draft.competition.filter(|_| !has_fault), findings })
}

fn bytes_of(tree: &dyn Tree, entry: &Entry, path: &str) -> Result<Option<Vec<u8>>, TreeError> {
    match entry.kind {
        EntryKind::File { .. } => match tree.read(path, MAX_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error @ TreeError::Unreadable { .. }) => Err(error),
            Err(
                TreeError::NotFound { .. }
                | TreeError::NotAFile { .. }
                | TreeError::TooLarge { .. },
            ) => Ok(None),
        },
        EntryKind::Directory | EntryKind::Symlink | EntryKind::Submodule => Ok(None),
    }
}

/// The findings of one file by place, without doubles, at most [`MAX_FINDINGS`]. None blocks:
/// there is no challenge that could not run.
fn settled(mut findings: Vec<Finding>) -> Vec<Finding> {
    for finding in &mut findings {
        finding.blocks = false;
    }
    findings.sort_by(|left, right| {
        let key = |it: &Finding| (it.severity, it.line, it.column);
        key(left).cmp(&key(right)).then_with(|| left.cmp(right))
    });
    findings.dedup();
    findings.truncate(MAX_FINDINGS);
    findings
}

/// The id in the name of a file; reports a name that is none.
fn id_of(entry: &Entry, report: &mut Report) -> Option<CompetitionId> {
    let Some(name) = entry.name.strip_suffix(".yaml") else {
        let message = format!("`{}` is not read", shown(&entry.name));
        let stem = entry.name.trim_end_matches(".yml");
        let hint = format!("rename it to `{}.yaml`", shown(stem));
        report.warning(rules::EVENT006, Span::default(), message, hint);
        return None;
    };
    let id = name.parse().ok().filter(|_| entry.is_utf8);
    if id.is_none() {
        let message = format!("`{}` is no competition id, so the file is not read", shown(name));
        let hint =
            "rename it to 1 to 64 lower-case letters, digits or `-`, such as `finals-2027.yaml`";
        report.error(rules::EVENT006, Span::default(), message, hint);
    }
    id
}
