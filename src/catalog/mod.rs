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
//! * A folder has a challenge exactly when none of its findings is an error.
//!
//! # Not here
//! Which challenges go live (`release`), what a Dockerfile may say (`builder`).

#![warn(clippy::wildcard_enum_match_arm)]

mod compose;
pub mod context;
mod decode;
mod discover;
mod dockerignore;
mod files;
pub mod finding;
mod folder;
mod graph;
mod metadata;
mod names;
mod quantity;
pub mod rules;
mod spanned;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use finding::{Finding, Severity};

use crate::model::{Challenge, ChallengeId, EntryKind, Tree, TreeError, TreeId};

/// Everything one revision declares.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Every challenge folder by id, valid or not. Shared between revisions while unchanged.
    pub folders: BTreeMap<ChallengeId, Arc<Folder>>,
    /// Findings that belong to no single challenge (ids, collisions, links at the top).
    pub findings: Vec<Finding>,
}

/// One challenge folder at one tree.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Path in the repository.
    pub path: String,
    /// Its git tree.
    pub tree: TreeId,
    /// The challenge, when no finding is an error.
    pub challenge: Option<Arc<Challenge>>,
    /// What is wrong, or only doubtful, by file and line.
    pub findings: Vec<Finding>,
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
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_memory_bytes: 4 << 30,
            max_cpu_millis: 4000,
            max_pids: 4096,
            max_services: 20,
            max_ttl_secs: 86_400,
        }
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
    let known = Known::new(previous);
    let is_known = |path: &str, tree: TreeId| known.folder(path, tree).is_some();
    let discovery = discover::discover(tree, &is_known)?;
    let mut catalog = Catalog { findings: discovery.findings, ..Catalog::default() };
    for found in &discovery.found {
        if catalog.folders.contains_key(&found.id) {
            // A second folder of this id: `report_collisions` says so.
            continue;
        }
        let folder = match known.folder(&found.path, found.tree) {
            Some(folder) => Arc::clone(folder),
            None => Arc::new(folder::read(tree, found, policy)?),
        };
        catalog.folders.insert(found.id.clone(), folder);
    }
    report_collisions(&discovery.found, &mut catalog);
    catalog.findings.sort_by(|left, right| {
        (&left.path, left.line, left.column).cmp(&(&right.path, right.line, right.column))
    });
    Ok(catalog)
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
fn report_collisions(found: &[folder::Found], catalog: &mut Catalog) {
    for folders in discover::collisions(found).into_values() {
        let paths: Vec<String> =
            folders.iter().map(|folder| format!("`{}`", folder.path)).collect();
        let message = format!("{} have one and the same challenge id", paths.join(" and "));
        let finding = |path: &str, challenge: Option<ChallengeId>| Finding {
            rule: rules::REPO002.to_owned(),
            severity: Severity::Error,
            challenge,
            path: path.to_owned(),
            line: 0,
            column: 0,
            message: message.clone(),
            hint: "rename one of them; ids are compared without case".to_owned(),
        };
        catalog.findings.push(finding(&folders[0].path, None));
        for id in folders.iter().map(|folder| &folder.id) {
            if let Some(folder) = catalog.folders.get_mut(id) {
                let folder = Arc::make_mut(folder);
                let own = finding(&folder.path, Some(id.clone()));
                if !folder.findings.contains(&own) {
                    folder.findings.insert(0, own);
                }
                folder.challenge = None;
            }
        }
    }
}

/// Reads the one challenge in folder `path`, e.g. a version that is still live.
///
/// # Errors
/// As [`load`]; [`TreeError::NotFound`] when there is no such folder, or its name is no id.
pub fn load_one(tree: &dyn Tree, path: &str, policy: &Policy) -> Result<Folder, TreeError> {
    let not_found = || TreeError::NotFound { path: path.to_owned() };
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let entry = tree
        .entries(parent)?
        .into_iter()
        .find(|entry| entry.name == name && entry.kind == EntryKind::Directory)
        .ok_or_else(not_found)?;
    let found = folder::Found {
        id: name.parse().map_err(|_| not_found())?,
        path: path.to_owned(),
        tree: TreeId(entry.oid),
        bucket: (!parent.is_empty()).then(|| parent.to_owned()),
    };
    folder::read(tree, &found, policy)
}
