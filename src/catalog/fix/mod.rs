//! Mends what can be mended without knowing what the author meant.
//!
//! Missing limits, a missing health check, the obsolete `version:`, text that YAML reads as a
//! number: each becomes a small edit in the author's own text. What is there stays, in its order,
//! with its comments, line ends and indentation.
//!
//! In:  a challenge folder of a tree, the [`Policy`]. Out: its author files, mended: a [`Mended`].
//!
//! # Invariants
//! * After an edit the file parses to the old tree plus exactly the intended change.
//! * An edit stays only if its finding is gone, no other rule has more findings in that file, and
//!   the challenge has no more errors, and no more findings at all, than before.
//! * Mending twice gives what mending once gives.
//! * A file with faults in the YAML itself is left alone, and so is a waived finding.
//!
//! # Not here
//! Writing files (`cli`).

mod change;
mod compose;
mod health;
mod overlay;
mod place;
mod quote;
mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(super) use self::compose::limit;
pub(super) use self::health::tcp_port;
pub use overlay::Overlay;

use self::change::{Change, Edit};
use self::health::Sidecar;
use self::place::Source;
use super::folder::join;
use super::spanned::{self, Node};
use super::{Finding, Policy, load_one, rules};
use crate::model::{Tree as _, TreeError};

/// The author files that are mended, in this order.
const FILES: [&str; 2] = ["metadata.yaml", "docker-compose.yml"];
/// Most places in one file that are looked at; a file with more is left alone.
const MAX_PROPOSALS: usize = 256;
/// Rules whose every finding is mended, or reported as left alone.
const ALWAYS: [&str; 3] = [rules::COMPOSE002, rules::COMPOSE006, rules::HEALTH001];
/// Rules of which some findings can be mended.
const SOMETIMES: [&str; 5] =
    [rules::META002, rules::META004, rules::META006, rules::META008, rules::META022];

/// Whether some findings of `rule` can be mended mechanically.
pub fn is_fixable(rule: &str) -> bool {
    ALWAYS.contains(&rule) || SOMETIMES.contains(&rule)
}

/// What became of a challenge folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mended {
    /// The files that changed.
    pub files: Vec<MendedFile>,
    /// What could not be mended, by file and line.
    pub left: Vec<Left>,
}

/// A file that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MendedFile {
    /// Path in the repository.
    pub path: String,
    /// Its bytes before.
    pub before: Vec<u8>,
    /// Its bytes after.
    pub after: Vec<u8>,
    /// What was changed, by line.
    pub applied: Vec<Applied>,
}

/// One mended finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied {
    /// The line before anything was changed.
    pub line: u32,
    /// The rule.
    pub rule: String,
    /// What was done, in the past tense.
    pub what: String,
}

/// A finding that somebody has to mend by hand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// The file.
    pub path: String,
    /// The line before anything was changed; 0 for the whole file.
    pub line: u32,
    /// The line after everything was changed.
    pub line_after: u32,
    /// The rule.
    pub rule: String,
    /// Why it was left alone.
    pub why: String,
}

/// A change that may mend a finding.
#[derive(Debug, Clone)]
struct Proposal {
    about: About,
    /// What is done, in the past tense.
    what: String,
    /// The edits, in several spellings; the first that does exactly `changes` is taken.
    ways: Vec<Vec<Edit>>,
    changes: Vec<Change>,
}

impl Proposal {
    /// The last byte that it may touch.
    fn reach(&self) -> usize {
        self.ways.iter().flatten().map(|edit| edit.end).max().unwrap_or_default()
    }
}

/// Which findings a proposal is about.
#[derive(Debug, Clone)]
struct About {
    /// Their rules.
    rules: &'static [&'static str],
    /// The lines they may point at.
    lines: Vec<u32>,
    /// The service that they name.
    service: Option<String>,
}

impl About {
    fn is(&self, finding: &Finding) -> bool {
        let names = |service: &String| finding.message.contains(&format!("`{service}`"));
        self.rules.contains(&finding.rule.as_str())
            && (self.lines.contains(&finding.line) || self.service.as_ref().is_some_and(names))
    }
}

/// What could be done about one file, and what could not, and why.
#[derive(Debug, Default)]
struct Proposals {
    able: Vec<Proposal>,
    unable: Vec<(About, String)>,
}

/// Mends what can be mended in challenge folder `folder`; `tree` shows the mended files then.
///
/// # Errors
/// Only when the store behind the tree fails.
pub fn mend(tree: &mut Overlay, folder: &str, policy: &Policy) -> Result<Mended, TreeError> {
    let check = |tree: &Overlay| Ok(load_one(tree, folder, policy)?.findings);
    mend_by(&check, tree, folder, policy)
}

/// The findings of the folder.
type Check<'c> = &'c dyn Fn(&Overlay) -> Result<Vec<Finding>, TreeError>;

/// As [`mend`], judged by `check`.
fn mend_by(
    check: Check<'_>,
    tree: &mut Overlay,
    folder: &str,
    policy: &Policy,
) -> Result<Mended, TreeError> {
    let findings = check(tree)?;
    if !findings.iter().any(|finding| is_fixable(&finding.rule)) {
        return Ok(Mended::default());
    }
    let mut bench = Bench { check, tree, folder, policy, findings };
    let mut drafts = Vec::new();
    for name in FILES {
        drafts.extend(Draft::open(bench.tree, &join(folder, name))?);
    }
    if bench.findings.iter().any(|finding| finding.rule == rules::STRUCT099) {
        let why = "the challenge has more findings than are shown; mend some by hand first";
        return Ok(Mended { files: Vec::new(), left: leave(&drafts, &bench.findings, Some(why)) });
    }
    // What one file says decides what is a fault in the other, so both are looked at again until
    // nothing changes any more. It ends because no edit makes room for one that was made before.
    loop {
        let mut n_applied = 0;
        for draft in &mut drafts {
            n_applied += bench.pass(draft)?;
        }
        if n_applied == 0 {
            break;
        }
    }
    let left = leave(&drafts, &bench.findings, None);
    Ok(Mended { files: drafts.into_iter().filter_map(Draft::finish).collect(), left })
}

/// The remaining findings that somebody may have hoped for; `why` for all of them, or their own.
fn leave(drafts: &[Draft], findings: &[Finding], why: Option<&str>) -> Vec<Left> {
    let mut left = Vec::new();
    for draft in drafts {
        for finding in findings.iter().filter(|finding| finding.path == draft.path) {
            let reason = draft.unable.iter().find(|(about, _)| about.is(finding));
            let reason = match (why, reason) {
                (Some(why), _) if ALWAYS.contains(&finding.rule.as_str()) => why.to_owned(),
                (None, Some((_, reason))) => reason.clone(),
                (None, None) if ALWAYS.contains(&finding.rule.as_str()) => NO_SAFE_WAY.to_owned(),
                _ => continue,
            };
            left.push(Left {
                path: draft.path.clone(),
                line: draft.origin_of(finding.line),
                line_after: finding.line,
                rule: finding.rule.clone(),
                why: reason,
            });
        }
    }
    left.sort();
    left
}

const NO_SAFE_WAY: &str = "it cannot be written here without touching something else";

/// One author file while it is mended.
struct Draft {
    path: String,
    before: Vec<u8>,
    /// What stands before the text: a byte-order mark, or nothing.
    mark: &'static str,
    text: String,
    /// For every line of `text` the line of `before` that it comes from.
    origins: Vec<u32>,
    applied: Vec<Applied>,
    unable: Vec<(About, String)>,
}

impl Draft {
    /// The file at `path`, if it is there and is faultless YAML.
    fn open(tree: &Overlay, path: &str) -> Result<Option<Self>, TreeError> {
        let before = match tree.read(path, spanned::MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error @ TreeError::Unreadable { .. }) => return Err(error),
            Err(
                TreeError::NotFound { .. }
                | TreeError::NotAFile { .. }
                | TreeError::TooLarge { .. },
            ) => return Ok(None),
        };
        let Ok(text) = std::str::from_utf8(&before) else { return Ok(None) };
        let (mark, text) = match text.strip_prefix('\u{feff}') {
            Some(text) => ("\u{feff}", text.to_owned()),
            None => ("", text.to_owned()),
        };
        let n_lines = u32::try_from(text.split('\n').count()).unwrap_or(u32::MAX);
        let origins = (1..=n_lines).collect();
        let (applied, unable) = (Vec::new(), Vec::new());
        Ok(Some(Self { path: path.to_owned(), before, mark, text, origins, applied, unable }))
    }

    fn bytes(&self, text: &str) -> Vec<u8> {
        format!("{}{text}", self.mark).into_bytes()
    }

    /// The line before all edits of `line` as it is now.
    fn origin_of(&self, line: u32) -> u32 {
        let index = usize::try_from(line).unwrap_or(0);
        index.checked_sub(1).and_then(|index| self.origins.get(index)).copied().unwrap_or(line)
    }

    /// Takes `text`, which `edits` (latest first) made of the text so far.
    fn take(&mut self, text: String, edits: &[Edit]) {
        let mut edits: Vec<&Edit> = edits.iter().collect();
        edits.sort_by_key(|edit| std::cmp::Reverse(edit.start));
        let n_breaks = |text: &str| text.matches('\n').count();
        for edit in edits {
            let first = n_breaks(self.text.get(..edit.start).unwrap_or_default());
            let n_old = n_breaks(self.text.get(edit.start..edit.end).unwrap_or_default());
            let origin = self.origins.get(first).copied().unwrap_or(0);
            let after = (first + 1).min(self.origins.len());
            let until = (after + n_old).min(self.origins.len());
            let new = std::iter::repeat_n(origin, n_breaks(&edit.new));
            self.origins.splice(after..until, new).for_each(drop);
        }
        self.text = text;
    }

    fn finish(mut self) -> Option<MendedFile> {
        if self.applied.is_empty() {
            return None;
        }
        let after = self.bytes(&self.text);
        self.applied.sort();
        Some(MendedFile { path: self.path, before: self.before, after, applied: self.applied })
    }
}

/// Where edits are tried.
struct Bench<'b> {
    check: Check<'b>,
    tree: &'b mut Overlay,
    folder: &'b str,
    policy: &'b Policy,
    /// The findings of the folder as it is now.
    findings: Vec<Finding>,
}

impl Bench<'_> {
    /// Tries every proposal for `draft` once, and says how many stayed.
    fn pass(&mut self, draft: &mut Draft) -> Result<usize, TreeError> {
        draft.unable.clear();
        if !self.findings.iter().any(|it| it.path == draft.path && is_fixable(&it.rule)) {
            return Ok(0);
        }
        let parsed = spanned::parse(draft.text.as_bytes());
        let Some(root) = parsed.root.filter(|_| parsed.faults.is_empty()) else { return Ok(0) };
        let mut proposals = self.proposals(draft, &root);
        draft.unable.append(&mut proposals.unable);
        if proposals.able.len() > MAX_PROPOSALS {
            let why = format!("the file has more than {MAX_PROPOSALS} places to mend");
            let unable = proposals.able.into_iter().map(|it| (it.about, why.clone()));
            draft.unable.extend(unable);
            return Ok(0);
        }
        // From the end of the file to its start: what stands before an edit keeps its place. A
        // proposal that reaches behind it is looked at again in the next pass.
        proposals.able.sort_by_key(|it| std::cmp::Reverse(it.reach()));
        let mut moved_from = draft.text.len();
        let mut n_applied = 0;
        for proposal in proposals.able {
            if proposal.reach() > moved_from {
                continue;
            }
            match self.attempt(draft, &proposal)? {
                Ok((applied, start)) => {
                    draft.applied.push(applied);
                    moved_from = moved_from.min(start);
                    n_applied += 1;
                }
                Err(why) => draft.unable.push((proposal.about, why)),
            }
        }
        Ok(n_applied)
    }

    fn proposals(&self, draft: &Draft, root: &Node) -> Proposals {
        let mut proposals = Proposals::default();
        let source = Source(&draft.text);
        if draft.path.ends_with(FILES[0]) {
            quote::propose(source, root, &mut proposals);
        } else {
            compose::propose(source, root, self.policy, &mut proposals);
            let images = shell::Images { tree: self.tree, folder: self.folder };
            let is_unclear = self.findings.iter().any(|it| it.rule == rules::STRUCT006);
            let sidecar = if is_unclear { Sidecar::Unclear } else { Sidecar::Fits };
            health::propose(source, root, &images, sidecar, &mut proposals);
        }
        proposals
    }

    /// Makes the change if it makes the file better, and says from which byte on things moved;
    /// says why not otherwise.
    fn attempt(
        &mut self,
        draft: &mut Draft,
        proposal: &Proposal,
    ) -> Result<Result<(Applied, usize), String>, TreeError> {
        let way = proposal.ways.iter().find_map(|edits| {
            let text = change::apply(&draft.text, edits)?;
            change::is_exactly(&draft.text, &text, &proposal.changes).then_some((text, edits))
        });
        let Some((text, edits)) = way else { return Ok(Err(NO_SAFE_WAY.to_owned())) };
        self.tree.put(&draft.path, draft.bytes(&text));
        let findings = (self.check)(self.tree)?;
        match judge(&self.findings, &findings, &draft.path, proposal.about.rules) {
            Ok(rule) => {
                let line = proposal.about.lines.first().copied().unwrap_or(0);
                let line = draft.origin_of(line);
                let start = edits.iter().map(|edit| edit.start).min().unwrap_or_default();
                draft.take(text, edits);
                self.findings = findings;
                Ok(Ok((Applied { line, rule, what: proposal.what.clone() }, start)))
            }
            Err(why) => {
                self.tree.put(&draft.path, draft.bytes(&draft.text));
                Ok(Err(why))
            }
        }
    }
}

/// Whether `after` is better than `before`: the rule of `rules` that has fewer findings in `path`,
/// or why it is not.
fn judge(
    before: &[Finding],
    after: &[Finding],
    path: &str,
    rules: &'static [&'static str],
) -> Result<String, String> {
    let (old, new) = (counts(before, path), counts(after, path));
    let count = |counts: &BTreeMap<&str, usize>, rule: &str| counts.get(rule).copied().unwrap_or(0);
    let target = |counts: &BTreeMap<&str, usize>| -> usize {
        rules.iter().map(|rule| count(counts, rule)).sum()
    };
    let Some(rule) = rules.iter().find(|rule| count(&new, rule) < count(&old, rule)) else {
        return Err("the finding would stay; mend it by hand".to_owned());
    };
    let grown: Vec<String> = new
        .iter()
        .filter(|(rule, n)| !rules.contains(rule) && **n > count(&old, rule))
        .map(|(rule, _)| (*rule).to_owned())
        .collect();
    let n_errors = |findings: &[Finding]| {
        let weigh = |it: &&Finding| it.severity == super::Severity::Error;
        let n_blocking = findings.iter().filter(|it| it.blocks).count();
        (findings.iter().filter(weigh).count(), n_blocking)
    };
    let (errors, more_errors) = (n_errors(before), n_errors(after));
    let is_worse =
        more_errors.0 > errors.0 || more_errors.1 > errors.1 || after.len() > before.len();
    if grown.is_empty() && !is_worse && target(&new) < target(&old) {
        return Ok((*rule).to_owned());
    }
    let about = if grown.is_empty() { String::new() } else { format!(" ({})", grown.join(", ")) };
    Err(format!("mended alone, it would bring other findings to light{about}; mend it by hand"))
}

/// The findings of file `path` by rule.
fn counts<'f>(findings: &'f [Finding], path: &str) -> BTreeMap<&'f str, usize> {
    let mut counts = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.path == path) {
        *counts.entry(finding.rule.as_str()).or_default() += 1;
    }
    counts
}
