//! Finds the challenge folders of a repository, in flat and in bucket layout.
//!
//! A folder of the root that holds `metadata.yaml` is a challenge; otherwise each of its
//! sub-folders that does is one. The id is the name of the folder.
//!
//! In:  the tree, and which folders are known already. Out: every folder with an id of its own,
//! and the findings about names, links and collisions.

use std::collections::BTreeMap;

use super::decode::{Report, nearest, shown};
use super::finding::{Finding, Weight};
use super::folder::{Found, join};
use super::names;
use super::repository;
use super::rules;
use crate::model::{ChallengeId, Entry, EntryKind, Tree, TreeError, TreeId};

const SKIPPED: &[&str] = &["scripts", "node_modules"];
const MAX_FOLDERS: usize = 20_000;
/// Most folders that are listed only to find challenges that nobody would miss otherwise.
const MAX_LOOKS: usize = 1000;
const COMPOSE_FILES: &[&str] =
    &["docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml"];

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
    let mut search =
        Search { tree, is_known, discovery: Discovery::default(), n_folders: 0, n_looks: 0 };
    for entry in tree.entries("")? {
        search.discovery.findings.extend(repository::root_setting(&entry));
        if is_skipped(&entry) {
            continue;
        }
        search.top(&entry)?;
    }
    Ok(search.discovery)
}

/// How far below the root it is looked for lost challenges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// In the folders of a bucket.
    Children,
    /// In the folders of these, too.
    Grandchildren,
}

/// Why a folder looks like a challenge.
#[derive(Debug)]
enum Sign {
    /// It has a file that was meant to be `metadata.yaml`.
    Misnamed(String),
    /// It has a compose file.
    Compose(String),
    /// It has `solution/exploit.py`.
    Exploit,
}

struct Search<'a> {
    tree: &'a dyn Tree,
    is_known: &'a dyn Fn(&str, TreeId) -> bool,
    discovery: Discovery,
    n_folders: usize,
    /// Folders that were listed only to find what was lost.
    n_looks: usize,
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
        self.discovery.findings.extend(repository::competition_folder(entry, &children));
        let sign = self.sign(&path, &children)?;
        let depth = if sign.is_some() { Depth::Children } else { Depth::Grandchildren };
        let n_found = self.discovery.found.len();
        for child in children {
            self.child(&child, &entry.name, depth)?;
        }
        match sign {
            Some(sign) if self.discovery.found.len() == n_found => self.lost(&path, &sign),
            Some(_) | None => (),
        }
        Ok(())
    }

    fn child(&mut self, entry: &Entry, bucket: &str, depth: Depth) -> Result<(), TreeError> {
        if !self.is_folder(entry, bucket) {
            return Ok(());
        }
        let path = join(bucket, &entry.name);
        let tree = TreeId(entry.oid);
        if (self.is_known)(&path, tree) {
            self.add(&path, &entry.name, tree, Some(bucket.to_owned()));
            return Ok(());
        }
        let Some(entries) = self.entries(&path)? else { return Ok(()) };
        if has_metadata(&entries) {
            self.add(&path, &entry.name, tree, Some(bucket.to_owned()));
        } else if !is_skipped(entry) {
            match (self.sign(&path, &entries)?, depth) {
                (Some(sign), _) => self.lost(&path, &sign),
                (None, Depth::Grandchildren) => self.too_deep(bucket, &path, &entries)?,
                (None, Depth::Children) => (),
            }
        }
        Ok(())
    }

    /// Names challenges among `entries` of a folder in a bucket, where none is looked for.
    fn too_deep(&mut self, bucket: &str, path: &str, entries: &[Entry]) -> Result<(), TreeError> {
        let folders = entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
        for entry in folders.filter(|entry| !is_skipped(entry)) {
            let path = join(path, &entry.name);
            let Some(entries) = self.look(&path)? else { return Ok(()) };
            let is_challenge = has_metadata(&entries)
                || matches!(self.sign(&path, &entries)?, Some(Sign::Misnamed(_) | Sign::Exploit));
            if is_challenge {
                let message = format!(
                    "`{}` looks like a challenge, but lies too deep to be one",
                    shown(&path)
                );
                let hint = format!("move it to `{bucket}/{}`", shown(&entry.name));
                self.report(Weight::Warning, rules::REPO007, &path, message, &hint);
            }
        }
        Ok(())
    }

    /// What makes a folder without `metadata.yaml` look like a challenge.
    fn sign(&mut self, path: &str, entries: &[Entry]) -> Result<Option<Sign>, TreeError> {
        let is_file = |entry: &&Entry| matches!(entry.kind, EntryKind::File { .. });
        let name = |is_meant: fn(&str) -> bool| {
            entries.iter().filter(is_file).find(|entry| is_meant(&entry.name)).map(|it| &it.name)
        };
        if let Some(name) = name(is_misnamed) {
            return Ok(Some(Sign::Misnamed(name.clone())));
        }
        if let Some(name) = name(|name| COMPOSE_FILES.contains(&name)) {
            return Ok(Some(Sign::Compose(name.clone())));
        }
        let has_solution = entries
            .iter()
            .any(|entry| entry.name == "solution" && entry.kind == EntryKind::Directory);
        if !has_solution {
            return Ok(None);
        }
        let inside = self.look(&join(path, "solution"))?.unwrap_or_default();
        Ok(inside.iter().any(|entry| entry.name == "exploit.py").then_some(Sign::Exploit))
    }

    /// Lists a folder that is not looked for, as long as there are not too many.
    fn look(&mut self, path: &str) -> Result<Option<Vec<Entry>>, TreeError> {
        self.n_looks += 1;
        if self.n_looks > MAX_LOOKS {
            return Ok(None);
        }
        match self.tree.entries(path) {
            Ok(entries) => Ok(Some(entries)),
            Err(TreeError::NotFound { .. }) => Ok(Some(Vec::new())),
            Err(error) => Err(error),
        }
    }

    /// Names a folder that looks like a challenge and is none.
    fn lost(&mut self, path: &str, sign: &Sign) {
        let (has, hint) = match sign {
            Sign::Misnamed(name) => {
                let name = shown(name);
                (format!("`{name}`"), format!("rename `{name}` to `metadata.yaml`"))
            }
            Sign::Compose(name) => {
                (format!("`{}`", shown(name)), "write `metadata.yaml` beside it".to_owned())
            }
            Sign::Exploit => {
                let hint = "write `metadata.yaml` beside `solution/`".to_owned();
                ("`solution/exploit.py`".to_owned(), hint)
            }
        };
        let message = format!(
            "`{}` looks like a challenge, as it has {has}, but without `metadata.yaml` it is none",
            shown(path)
        );
        self.report(Weight::Warning, rules::REPO007, path, message, &hint);
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

fn is_skipped(entry: &Entry) -> bool {
    entry.name.starts_with('.') || SKIPPED.contains(&entry.name.as_str())
}

/// Whether a file of this name was meant to be `metadata.yaml`.
fn is_misnamed(name: &str) -> bool {
    let folded = name.to_lowercase();
    let is_another = ["metadata.json", "meta.yaml", "meta.yml", "challenge.yaml", "challenge.yml"]
        .contains(&folded.as_str());
    name != "metadata.yaml" && (is_another || nearest(&folded, &["metadata.yaml"]).is_some())
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
