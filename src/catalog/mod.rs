//! Turns a tree into typed challenges and findings.
//!
//! [`load`] is pure: daemon, `flagops check` and the tests run the very same code. All problems of
//! a push are found at once; an invalid challenge hinders nobody else.
//!
//! In:  a [`Tree`] (git objects or a work tree), the previous [`Catalog`] as a cache, a [`Policy`].
//! Out: a [`Catalog`]: every challenge folder with its challenge, or with the reasons it has none.
//!
//! # Invariants
//! * Loading with a previous catalog gives what loading without one gives, if the policy is the
//!   same.
//! * A folder has a challenge exactly when the [`Gate`] lets all of its findings through.
//!
//! # Not here
//! Which challenges go live (`release`), what a Dockerfile may say (`builder`).

#![warn(clippy::wildcard_enum_match_arm)]

mod allowlist;
mod audit;
mod competition;
mod compose;
pub mod context;
mod decode;
mod discover;
mod dockerfile;
mod dockerignore;
mod encrypted;
mod exports;
mod files;
pub mod finding;
pub mod fix;
mod folder;
mod gateway;
mod graph;
mod metadata;
mod names;
mod quantity;
mod repository;
pub mod rules;
pub mod schema;
mod snippet;
mod spanned;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use competition::{FOLDER as COMPETITIONS, competitions};
pub use compose::process::CAPABILITIES;
pub use finding::{Finding, Severity, Weight};
pub use folder::Found;
pub use gateway::gateway_templates;

use crate::model::{Challenge, ChallengeId, Competition, CompetitionId, Tree, TreeError, TreeId};

/// Everything one revision declares.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Every challenge folder by id, valid or not. Shared between revisions while unchanged.
    pub folders: BTreeMap<ChallengeId, Arc<Folder>>,
    /// Every competition whose file has no fault.
    pub competitions: BTreeMap<CompetitionId, Arc<Competition>>,
    /// Findings that belong to no single challenge (ids, collisions, links at the top,
    /// competitions).
    pub findings: Vec<Finding>,
}

/// One challenge folder at one tree.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Path in the repository.
    pub path: String,
    /// Its git tree.
    pub tree: TreeId,
    /// The challenge, when the gate lets every finding through.
    pub challenge: Option<Arc<Challenge>>,
    /// What is wrong, or only doubtful, by file and line.
    pub findings: Vec<Finding>,
    /// How many files and folders it has.
    pub n_entries: usize,
    /// How many bytes its files have.
    pub total_bytes: u64,
}

/// The organizer's ceilings, applied when a file is read so that a verdict shows effective values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Largest memory of one service, in bytes (default 4 GiB).
    pub max_memory_bytes: u64,
    /// Largest CPU of one service, in thousandths of a core (default 4000).
    pub max_cpu_millis: u32,
    /// Most processes of one service (default 4096).
    pub max_pids: u32,
    /// Most services of one challenge (default 20).
    pub max_services: usize,
    /// Longest lease in seconds (default 86400).
    pub max_ttl_secs: u32,
    /// Which findings keep a version from being used (default [`Gate::Runnable`]).
    pub gate: Gate,
}

/// Which findings keep a version of a challenge from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Whatever can run may be used: a broken rule of style never stops a repair in the middle of
    /// an event.
    #[default]
    Runnable,
    /// Every error must be mended, or waived in `audit-allowlist.yaml`.
    Errors,
    /// Every warning too.
    Warnings,
}

impl Gate {
    /// Whether a challenge with this finding may be used.
    pub fn lets_through(self, finding: &Finding) -> bool {
        match self {
            Self::Runnable => !finding.blocks,
            Self::Errors => finding.severity != Severity::Error,
            Self::Warnings => false,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_memory_bytes: 4 << 30,
            max_cpu_millis: 4000,
            max_pids: 4096,
            max_services: 20,
            max_ttl_secs: 86_400,
            gate: Gate::Runnable,
        }
    }
}

impl Catalog {
    /// Every finding: those of no challenge, then those of each challenge by id.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        let of_folders = self.folders.values().flat_map(|folder| &folder.findings);
        self.findings.iter().chain(of_folders)
    }
}

/// Reads every challenge of `tree`. Folders whose path and tree are those of `previous` are taken
/// over unread, so a commit that changes one challenge of a thousand costs one parse.
///
/// `previous` must have been loaded with the same `policy`: ceilings are part of what was read.
///
/// # Errors
/// Only when the store behind `tree` fails; what authors wrote wrong is a [`Finding`].
pub fn load(
    tree: &dyn Tree,
    previous: Option<&Catalog>,
    policy: &Policy,
) -> Result<Catalog, TreeError> {
    let survey = survey(tree, previous)?;
    let read = survey.unread.iter().map(|found| read(tree, found, policy));
    let folders = read.collect::<Result<Vec<Folder>, TreeError>>()?;
    survey.finish(tree, previous, folders)
}

/// What has to be read for a catalog, so that several hands can read it ([`load`] is all of it in
/// one).
#[derive(Debug)]
pub struct Survey {
    /// The folders to [`read`], in the order in which [`Survey::finish`] wants them.
    pub unread: Vec<Found>,
    found: Vec<Found>,
    catalog: Catalog,
}

/// Looks for challenge folders, and takes over those of `previous` that did not change.
///
/// # Errors
/// As [`load`].
pub fn survey(tree: &dyn Tree, previous: Option<&Catalog>) -> Result<Survey, TreeError> {
    let known = Known::new(previous);
    let is_known = |path: &str, tree: TreeId| known.folder(path, tree).is_some();
    let discovery = discover::discover(tree, &is_known)?;
    let mut catalog = Catalog { findings: discovery.findings, ..Catalog::default() };
    let mut unread = BTreeMap::new();
    for found in &discovery.found {
        if catalog.folders.contains_key(&found.id) || unread.contains_key(&found.id) {
            // A second folder of this id: `report_collisions` says so.
            continue;
        }
        match known.folder(&found.path, found.tree) {
            Some(folder) => drop(catalog.folders.insert(found.id.clone(), Arc::clone(folder))),
            None => drop(unread.insert(found.id.clone(), found.clone())),
        }
    }
    let unread = unread.into_values().collect();
    Ok(Survey { unread, found: discovery.found, catalog })
}

/// Reads one folder of a survey.
///
/// # Errors
/// As [`load`].
pub fn read(tree: &dyn Tree, found: &Found, policy: &Policy) -> Result<Folder, TreeError> {
    folder::read(tree, found, policy)
}

impl Survey {
    /// Surveys another tree in the light of this one: what is here under the same path with the
    /// same tree is not looked at again.
    ///
    /// # Errors
    /// As [`load`].
    pub fn of_another(&self, tree: &dyn Tree) -> Result<Self, TreeError> {
        let ours = self.trees();
        let is_known = |path: &str, tree: TreeId| ours.get(path) == Some(&tree);
        let discovery = discover::discover(tree, &is_known)?;
        let catalog = Catalog { findings: discovery.findings, ..Catalog::default() };
        Ok(Self { unread: Vec::new(), found: discovery.found, catalog })
    }

    /// Leaves out the folders that `other` has under the same path with the same tree: neither
    /// read nor in the catalog.
    pub fn leave_out(&mut self, other: &Self) {
        let theirs = other.trees();
        self.unread.retain(|found| theirs.get(found.path.as_str()) != Some(&found.tree));
    }

    fn trees(&self) -> BTreeMap<&str, TreeId> {
        self.found.iter().map(|found| (found.path.as_str(), found.tree)).collect()
    }

    /// The catalog, with what was read of [`Survey::unread`], in its order; `tree` and `previous`
    /// are those of the survey.
    ///
    /// # Errors
    /// As [`load`].
    pub fn finish(
        self,
        tree: &dyn Tree,
        previous: Option<&Catalog>,
        read: Vec<Folder>,
    ) -> Result<Catalog, TreeError> {
        let Self { unread, found, mut catalog } = self;
        for (found, folder) in unread.into_iter().zip(read) {
            catalog.folders.insert(found.id, Arc::new(folder));
        }
        report_collisions(&found, &mut catalog);
        repository::check_budgets(&mut catalog);
        competition::load(tree, previous, &mut catalog)?;
        catalog.findings.extend(gateway::check(tree)?);
        catalog.findings.sort_by(|left, right| {
            (&left.path, left.line, left.column).cmp(&(&right.path, right.line, right.column))
        });
        Ok(catalog)
    }
}

/// The folders of an earlier catalog by path.
struct Known<'c>(BTreeMap<&'c str, &'c Arc<Folder>>);

impl<'c> Known<'c> {
    fn new(previous: Option<&'c Catalog>) -> Self {
        let folders = previous.into_iter().flat_map(|catalog| catalog.folders.values());
        Self(
            folders
                // A collision is the fault of two folders: without the other it may be gone.
                .filter(|folder| folder.findings.iter().all(|it| it.rule != rules::REPO002))
                .map(|folder| (folder.path.as_str(), folder))
                .collect(),
        )
    }

    fn folder(&self, path: &str, tree: TreeId) -> Option<&'c Arc<Folder>> {
        self.0.get(path).copied().filter(|folder| folder.tree == tree)
    }
}

/// Names every group of folders with one id, and takes the challenges of all of them away.
fn report_collisions(found: &[Found], catalog: &mut Catalog) {
    for folders in discover::collisions(found).into_values() {
        let paths: Vec<String> =
            folders.iter().map(|folder| format!("`{}`", folder.path)).collect();
        let message = format!("{} have one and the same challenge id", paths.join(" and "));
        let finding = |path: &str, challenge: Option<ChallengeId>| Finding {
            rule: rules::REPO002.to_owned(),
            severity: Severity::Error,
            blocks: true,
            snippet: None,
            challenge,
            path: path.to_owned(),
            line: 0,
            column: 0,
            message: message.clone(),
            hint: "rename one of them; ids are compared without case".to_owned(),
        };
        for found in folders {
            match catalog.folders.get_mut(&found.id) {
                Some(folder) if folder.path == found.path => {
                    let folder = Arc::make_mut(folder);
                    let own = finding(&folder.path, Some(found.id.clone()));
                    if !folder.findings.contains(&own) {
                        folder.findings.insert(0, own);
                    }
                    folder.challenge = None;
                }
                // Its twin was read in its place.
                Some(_) | None => catalog.findings.push(finding(&found.path, None)),
            }
        }
    }
}

/// The bytes of each literal flag in `text`: first, and one past the last. Placeholders such as
/// `FLAG{...}` are none.
pub fn literal_flags(text: &str) -> impl Iterator<Item = (usize, usize)> {
    audit::literal_flags(text)
}

/// Reads the one challenge in folder `path`, e.g. a version that is still live.
///
/// # Errors
/// As [`load`]; [`TreeError::NotFound`] when there is no such folder, or its name is no id.
pub fn load_one(tree: &dyn Tree, path: &str, policy: &Policy) -> Result<Folder, TreeError> {
    let not_found = || TreeError::NotFound { path: path.to_owned() };
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let found = Found {
        id: name.parse().map_err(|_| not_found())?,
        path: path.to_owned(),
        tree: TreeId(tree.id(path)?),
        bucket: (!parent.is_empty()).then(|| parent.to_owned()),
    };
    folder::read(tree, &found, policy)
}
