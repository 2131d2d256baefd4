//! What a check found: the challenges that were looked at, and their findings in order.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::fix;
use crate::catalog::rules::{self, Rule};
use crate::catalog::{self, Catalog, Finding, Folder, Policy, Severity};
use crate::cli::fix::{FixReport, Mendable};
use crate::git::hands::{self, Share};
use crate::model::{ChallengeId, Tree, TreeError};

/// What was found.
#[derive(Debug)]
pub(super) struct Report {
    /// Every challenge that was looked at, by id: where its folder is.
    pub(super) challenges: BTreeMap<ChallengeId, String>,
    /// Sorted by path and place.
    pub(super) findings: Vec<Finding>,
    /// The commit that the challenges were compared with, if any.
    pub(super) since: Option<String>,
    /// What was mended before the check, if anything was to be.
    pub(super) mended: Option<FixReport>,
    /// What `--fix` would mend, as far as it was tried.
    pub(super) mendable: Mendable,
}

impl Report {
    /// Reads `parts` of `tree`; challenges that are named one by one are read alone.
    pub(super) fn read(
        tree: &(impl Share + Send),
        parts: &[String],
        policy: &Policy,
    ) -> Result<Self, TreeError> {
        let mut folders = Vec::new();
        for part in parts {
            if !is_challenge(tree, part)? {
                return Ok(Self::of(&hands::load(tree, None, policy)?, parts));
            }
            match catalog::load_one(tree, part, policy) {
                Ok(folder) => folders.push(folder),
                // Its name is no id: the whole repository says so.
                Err(TreeError::NotFound { .. }) => {
                    return Ok(Self::of(&hands::load(tree, None, policy)?, parts));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self::new(folders.iter(), &[]))
    }

    /// What `catalog` has below `parts`.
    pub(super) fn of(catalog: &Catalog, parts: &[String]) -> Self {
        let is_inside = |path: &str| parts.iter().any(|part| contains(part, path));
        let folders = catalog.folders.values().map(|folder| &**folder);
        let of_none: Vec<&Finding> =
            catalog.findings.iter().filter(|finding| is_inside(&finding.path)).collect();
        Self::new(folders.filter(|folder| is_inside(&folder.path)), &of_none)
    }

    /// `of_none` belong to no challenge.
    fn new<'f>(folders: impl Iterator<Item = &'f Folder>, of_none: &[&Finding]) -> Self {
        let mut challenges = BTreeMap::new();
        let mut findings: Vec<Finding> = of_none.iter().copied().cloned().collect();
        for folder in folders {
            let name = folder.path.rsplit('/').next().unwrap_or_default();
            if let Ok(id) = name.parse() {
                challenges.insert(id, folder.path.clone());
            }
            findings.extend_from_slice(&folder.findings);
        }
        findings.sort_by(|left, right| left.place().cmp(&right.place()));
        findings.dedup();
        Self { challenges, findings, since: None, mended: None, mendable: Mendable::default() }
    }

    /// Writes every path from the root of the repository on: the challenges are below `base` of it.
    pub(super) fn below(mut self, base: &str) -> Self {
        if base.is_empty() {
            return self;
        }
        for path in self.challenges.values_mut() {
            *path = format!("{base}/{path}");
        }
        for finding in &mut self.findings {
            let path = &finding.path;
            finding.path = if path.is_empty() { base.to_owned() } else { format!("{base}/{path}") };
        }
        self
    }

    /// The folders of the challenges with a finding of a rule that can be mended.
    pub(super) fn with_fixable(&self) -> BTreeSet<&str> {
        let fixable = self.findings.iter().filter(|finding| fix::is_fixable(&finding.rule));
        let folder = |finding: &Finding| self.challenges.get(finding.challenge.as_ref()?);
        fixable.filter_map(folder).map(String::as_str).collect()
    }

    /// Says that only what differs from commit `name` was looked at.
    pub(super) fn since(mut self, name: &str) -> Self {
        self.since = Some(name.to_owned());
        self
    }

    /// The findings that are errors.
    pub(super) fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error)
    }

    /// How many challenges cannot be used.
    pub(super) fn n_blocked(&self) -> usize {
        let blocking = self.findings.iter().filter(|finding| finding.blocks);
        blocking.map(|finding| &finding.challenge).collect::<BTreeSet<_>>().len()
    }

    /// How many findings are errors.
    pub(super) fn n_errors(&self) -> usize {
        self.errors().count()
    }

    /// How many findings keep their challenge from running.
    pub(super) fn n_blocking(&self) -> usize {
        self.findings.iter().filter(|finding| finding.blocks).count()
    }

    /// How often each rule was broken, by id.
    pub(super) fn by_rule(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for finding in &self.findings {
            *counts.entry(finding.rule.as_str()).or_default() += 1;
        }
        counts
    }

    /// The findings of each challenge; first those of none. A challenge without any is absent.
    pub(super) fn by_challenge(&self) -> BTreeMap<Option<&ChallengeId>, Vec<&Finding>> {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for finding in &self.findings {
            groups.entry(finding.challenge.as_ref()).or_default().push(finding);
        }
        groups
    }

    /// `3 errors, 1 warning`, of all findings.
    pub(super) fn counts(&self) -> String {
        counts(self.n_errors(), self.findings.len() - self.n_errors())
    }
}

/// `3 errors, 1 warning`; what is none is left out.
pub(super) fn counts(n_errors: usize, n_warnings: usize) -> String {
    match (n_errors, n_warnings) {
        (n_errors, 0) => count(n_errors, "error"),
        (0, n_warnings) => count(n_warnings, "warning"),
        _ => format!("{}, {}", count(n_errors, "error"), count(n_warnings, "warning")),
    }
}

/// `1 error`, `2 errors`.
pub(super) fn count(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

/// The table's entry of a finding's rule.
pub(super) fn rule_of(finding: &Finding) -> Option<&'static Rule> {
    rules::find(&finding.rule)
}

/// Whether the author waived this finding: it would be an error otherwise.
pub(super) fn is_waived(finding: &Finding) -> bool {
    finding.severity == Severity::Warning && finding.message.contains("(allowlisted")
}

fn is_challenge(tree: &dyn Tree, part: &str) -> Result<bool, TreeError> {
    match tree.entries(part) {
        Ok(entries) => {
            Ok(!part.is_empty() && entries.iter().any(|entry| entry.name == "metadata.yaml"))
        }
        Err(TreeError::NotFound { .. }) if !part.is_empty() => {
            // It may be a file. What is nowhere is refused, not taken for clean.
            let (parent, name) = part.rsplit_once('/').unwrap_or(("", part));
            let siblings = tree.entries(parent)?;
            match siblings.iter().any(|entry| entry.name == name) {
                true => Ok(false),
                false => Err(TreeError::NotFound { path: part.to_owned() }),
            }
        }
        Err(error) => Err(error),
    }
}

/// Whether `path` is `part` or below it.
fn contains(part: &str, path: &str) -> bool {
    part.is_empty()
        || path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
