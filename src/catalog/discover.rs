//! Finds the challenge folders of a repository, in flat and in bucket layout.
//!
//! A folder of the root that holds `metadata.yaml` is a challenge; otherwise each of its
//! sub-folders that does is one. The id is the name of the folder.
//!
//! In:  the tree, and which folders are known already. Out: every folder with an id of its own,
//! and the findings about names, links and collisions.

use std::collections::BTreeMap;

use super::decode::{Report, shown};
use super::finding::{Finding, Weight};
use super::folder::{Found, join};
use super::names;
use super::repository;
use super::rules;
use crate::model::{ChallengeId, Entry, EntryKind, Tree, TreeError, TreeId};

const SKIPPED: &[&str] = &["scripts", "node_modules"];
const MAX_FOLDERS: usize = 20_000;

/// What discovery found.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    /// Every challenge folder with a valid id, in path order.
    pub found: Vec<Found>,
    /// What is wrong at the top.
    pub findings: Vec<Finding>,
}

/// Looks for challenge folders. `is_known` says whether path and tree are a challenge already
/// seen; such a folder is not listed again.
pub(super) fn discover(
    tree: &dyn Tree,
    is_known: &dyn Fn(&str, TreeId) -> bool,
) -> Result<Discovery, TreeError> {
    let mut search = Search { tree, is_known, discovery: Discovery::default(), n_folders: 0 };
    for entry in tree.entries("")? {
        search.discovery.findings.extend(repository::root_setting(&entry));
        if entry.name.starts_with('.') || SKIPPED.contains(&entry.name.as_str()) {
            continue;
        }
        search.top(&entry)?;
    }
    Ok(search.discovery)
}

struct Search<'a> {
    tree: &'a dyn Tree,
    is_known: &'a dyn Fn(&str, TreeId) -> bool,
    discovery: Discovery,
    n_folders: usize,
}

impl Search<'_> {
    fn top(&mut self, entry: &Entry) -> Result<(), TreeError> {
        if !self.is_folder(entry, "") {
            return Ok(());
        }
        let path = entry.name.clone();
        let tree = TreeId(entry.oid);
        if (self.is_known)(&path, tree) {
            self.add(&path, &entry.name, tree, None);
            return Ok(());
        }
        let Some(children) = self.entries(&path)? else { return Ok(()) };
        if has_metadata(&children) {
            self.add(&path, &entry.name, tree, None);
            return Ok(());
        }
        for child in children {
            self.child(&child, &entry.name)?;
        }
        Ok(())
    }

    fn child(&mut self, entry: &Entry, bucket: &str) -> Result<(), TreeError> {
        if !self.is_folder(entry, bucket) {
            return Ok(());
        }
        let path = join(bucket, &entry.name);
        let tree = TreeId(entry.oid);
        let is_challenge = (self.is_known)(&path, tree)
            || self.entries(&path)?.is_some_and(|entries| has_metadata(&entries));
        if is_challenge {
            self.add(&path, &entry.name, tree, Some(bucket.to_owned()));
        }
        Ok(())
    }

    fn entries(&mut self, path: &str) -> Result<Option<Vec<Entry>>, TreeError> {
        self.n_folders += 1;
        if self.n_folders == MAX_FOLDERS + 1 {
            let message = format!("the repository has more than {MAX_FOLDERS} folders to look at");
            self.report(Weight::Refusal, rules::REPO006, "", message, "split the repository");
        }
        if self.n_folders > MAX_FOLDERS {
            return Ok(None);
        }
        match self.tree.entries(path) {
            Ok(entries) => Ok(Some(entries)),
            Err(TreeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether `entry` is a folder to look into; names links and submodules.
    fn is_folder(&mut self, entry: &Entry, parent: &str) -> bool {
        let path = join(parent, &entry.name);
        match entry.kind {
            EntryKind::Directory => {
                let fault =
                    if entry.is_utf8 { names::fault(&entry.name) } else { Some("is not UTF-8") };
                if let Some(fault) = fault {
                    let message = format!("the folder name `{}` {fault}", shown(&entry.name));
                    self.report(Weight::Refusal, rules::REPO001, &path, message, "rename it");
                }
                fault.is_none()
            }
            EntryKind::File { .. } => false,
            EntryKind::Symlink => {
                let message =
                    format!("`{}` is a symbolic link, which is never followed", shown(&entry.name));
                let hint = "a challenge must be a folder of this repository";
                self.report(Weight::Warning, rules::REPO003, &path, message, hint);
                false
            }
            EntryKind::Submodule => {
                let message =
                    format!("`{}` is a submodule, which is never fetched", shown(&entry.name));
                let hint = "a challenge must be a folder of this repository";
                self.report(Weight::Warning, rules::REPO003, &path, message, hint);
                false
            }
        }
    }

    fn add(&mut self, path: &str, name: &str, tree: TreeId, bucket: Option<String>) {
        match name.parse::<ChallengeId>() {
            Ok(id) => {
                self.discovery.found.push(Found { id, path: path.to_owned(), tree, bucket });
            }
            Err(error) => {
                let message = format!("the folder name `{}` is no challenge id", shown(name));
                let hint = format!("use {}", error.wanted);
                self.report(Weight::Refusal, rules::REPO001, path, message, &hint);
            }
        }
    }

    fn report(&mut self, weight: Weight, rule: &str, path: &str, message: String, hint: &str) {
        let mut report = Report::new(None, String::new());
        report.on_file(weight, rule, shown(path), message, hint);
        self.discovery.findings.extend(report.into_findings());
    }
}

fn has_metadata(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| {
        entry.name == "metadata.yaml"
            && matches!(entry.kind, EntryKind::File { .. } | EntryKind::Symlink)
    })
}

/// The folders whose ids are one id when composed and without case, by that form; only groups of
/// two and more.
pub(super) fn collisions(found: &[Found]) -> BTreeMap<String, Vec<&Found>> {
    let mut groups: BTreeMap<String, Vec<&Found>> = BTreeMap::new();
    for folder in found {
        groups.entry(names::folded(folder.id.as_str())).or_default().push(folder);
    }
    groups.retain(|_, folders| folders.len() > 1);
    groups
}
