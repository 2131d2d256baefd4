//! Reads the challenge as it is on disk, by the rules of the server.
//!
//! In:  the folder on disk. Out: a [`Reading`]: a version that can be played, or what is wrong with
//! it, ready to be shown.
//!
//! # Invariants
//! * What is judged is the very snapshot that is built: a file that changes meanwhile belongs to the
//!   next one.

use std::sync::Arc;

use crate::catalog::{self, Finding, Policy, Severity};
use crate::git::Snapshots;
use crate::model::{Challenge, Revision};
use crate::telemetry::Chain;

use super::super::excerpt;
use super::super::failure::Failure;
use super::super::output::Paint;
use super::target::Target;

/// Reads one challenge again and again.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) target: Target,
    pub(super) snapshots: Snapshots,
    pub(super) policy: Policy,
}

/// What a look at the folder showed.
#[derive(Debug)]
pub(super) enum Reading {
    /// It can be played.
    Playable(Version),
    /// It cannot.
    Refused {
        /// Why.
        findings: Vec<Finding>,
        /// The same with the lines they are about, for people.
        text: String,
    },
}

/// A version of the challenge.
#[derive(Debug, Clone)]
pub(super) struct Version {
    /// The snapshot.
    pub(super) revision: Revision,
    /// What it declares.
    pub(super) challenge: Arc<Challenge>,
    /// Broken rules that keep nothing from running.
    pub(super) n_errors: usize,
}

impl Reader {
    /// Looks at the folder. Blocks for as long as reading and storing its files takes.
    pub(super) fn read(&self) -> Result<Reading, Failure> {
        let Target { root, folder, inside, .. } = &self.target;
        let revision = self.snapshots.take(root, folder, inside).map_err(|error| {
            let shown = folder.display();
            Failure::failed(
                format!("could not read `{shown}`: {}", Chain(&error)),
                "check its files and their permissions",
            )
        })?;
        let unreadable =
            |error: crate::model::TreeError| Failure::failed(error.to_string(), "try again");
        let tree = self.snapshots.tree(revision).map_err(unreadable)?;
        let catalog = catalog::load(&tree, None, &self.policy).map_err(unreadable)?;
        let challenge =
            catalog.folders.get(&self.target.id).and_then(|folder| folder.challenge.clone());
        let findings: Vec<&Finding> = catalog.all_findings().collect();
        Ok(match challenge {
            Some(challenge) => {
                let is_error = |finding: &&&Finding| finding.severity == Severity::Error;
                let n_errors = findings.iter().filter(is_error).count();
                Reading::Playable(Version { revision, challenge, n_errors })
            }
            None => {
                let findings = self.blocking(findings);
                Reading::Refused { text: self.render(&findings), findings }
            }
        })
    }

    /// The findings that keep the challenge from being played, in the order of the files.
    fn blocking(&self, mut findings: Vec<&Finding>) -> Vec<Finding> {
        findings.retain(|finding| !self.policy.gate.lets_through(finding));
        findings.sort_by_key(|finding| (&finding.path, finding.line, finding.column));
        findings.dedup();
        findings.into_iter().cloned().collect()
    }

    fn render(&self, findings: &[Finding]) -> String {
        let mut text = String::new();
        for finding in findings {
            text += &excerpt::render(finding, Paint::Plain);
            text += "\n\n";
        }
        let n = findings.len();
        let (verb, s) = if n == 1 { ("keeps", "") } else { ("keep", "s") };
        text + &format!("{n} finding{s} {verb} {} from being played", self.target.id)
    }
}

impl Version {
    /// Says what `check` would say more, or nothing.
    pub(super) fn more(&self) -> Option<String> {
        let (n, path) = (self.n_errors, &self.challenge.path);
        let s = if n == 1 { "" } else { "s" };
        (n > 0).then(|| {
            format!("{n} other error{s} found, which do not keep it from running: `flagops check {path}`")
        })
    }
}
