//! Everything below a challenge folder, listed once, with what is hostile named.
//!
//! # Invariants
//! * Nothing is read; links and submodules are named, never entered.
//! * The walk ends at the budget, whatever the size of the folder.

use std::collections::BTreeMap;

use super::decode::{Report, shown};
use super::finding::Weight;
use super::folder::join;
use super::names;
use super::rules;
use crate::model::{Entry, EntryKind, Tree, TreeError};

const MAX_FILE_BYTES: u64 = 100 << 20;
const MAX_TOTAL_BYTES: u64 = 512 << 20;
const MAX_FILES: usize = 20_000;
const MAX_DEPTH: usize = 32;

/// The entries of a challenge folder by their path inside it.
#[derive(Debug, Default)]
pub(super) struct Files {
    root: String,
    entries: BTreeMap<String, (EntryKind, u64)>,
}

/// Lists the folder `root`.
pub(super) fn walk(tree: &dyn Tree, root: &str, report: &mut Report) -> Result<Files, TreeError> {
    let mut files = Files { root: root.to_owned(), entries: BTreeMap::new() };
    let mut total_bytes = 0_u64;
    let mut open = vec![(String::new(), 0)];
    while let Some((dir, depth)) = open.pop() {
        let entries = match tree.entries(&join(root, &dir)) {
            Ok(entries) => entries,
            // Gone between two looks at a work tree: the next pass sees what is there then.
            Err(TreeError::NotFound { .. }) if depth > 0 => continue,
            Err(error) => return Err(error),
        };
        check_collisions(&join(root, &dir), &entries, report);
        for entry in entries {
            let path = join(&dir, &entry.name);
            if !is_usable(&entry, &join(root, &path), report) {
                continue;
            }
            total_bytes = total_bytes.saturating_add(entry.size_bytes);
            if entry.kind == EntryKind::Directory && depth + 1 >= MAX_DEPTH {
                let message = format!("the folder is nested deeper than {MAX_DEPTH} levels");
                over_budget(join(root, &path), message, report);
                continue;
            }
            if entry.kind == EntryKind::Directory {
                open.push((path.clone(), depth + 1));
            }
            files.entries.insert(path, (entry.kind, entry.size_bytes));
            if files.entries.len() > MAX_FILES {
                let message = format!("the challenge has more than {MAX_FILES} files");
                over_budget(root.to_owned(), message, report);
                return Ok(files);
            }
        }
    }
    if total_bytes > MAX_TOTAL_BYTES {
        let message = format!("the challenge has {total_bytes} bytes, more than 512 MiB");
        over_budget(root.to_owned(), message, report);
    }
    Ok(files)
}

fn over_budget(path: String, message: String, report: &mut Report) {
    report.on_file(
        Weight::Refusal,
        rules::STRUCT023,
        path,
        message,
        "keep large files elsewhere, and fetch them in the Dockerfile",
    );
}

/// Whether an entry may be looked at further; reports why not.
fn is_usable(entry: &Entry, path: &str, report: &mut Report) -> bool {
    let path = shown_path(path);
    let fault = if entry.is_utf8 { names::fault(&entry.name) } else { Some("is not UTF-8") };
    if let Some(fault) = fault {
        let message = format!("the name `{}` {fault}", shown(&entry.name));
        report.on_file(Weight::Refusal, rules::STRUCT022, path, message, "rename it");
        return false;
    }
    match entry.kind {
        EntryKind::Submodule => {
            let message =
                format!("`{}` is a submodule, which is never fetched", shown(&entry.name));
            let hint = "copy its files into the repository";
            report.on_file(Weight::Refusal, rules::STRUCT021, path, message, hint);
            false
        }
        EntryKind::File { .. } if entry.size_bytes > MAX_FILE_BYTES => {
            let message = format!("the file has {} bytes, more than 100 MiB", entry.size_bytes);
            over_budget(path, message, report);
            true
        }
        EntryKind::File { .. } | EntryKind::Directory | EntryKind::Symlink => true,
    }
}

/// A path for a finding: what misleads is escaped.
pub(super) fn shown_path(path: &str) -> String {
    if path.chars().any(names::is_misleading) {
        path.chars()
            .flat_map(|c| {
                let escaped: Vec<char> =
                    if names::is_misleading(c) { c.escape_unicode().collect() } else { vec![c] };
                escaped
            })
            .collect()
    } else {
        path.to_owned()
    }
}

fn check_collisions(dir: &str, entries: &[Entry], report: &mut Report) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for entry in entries {
        if let Some(first) = seen.insert(names::folded(&entry.name), &entry.name) {
            let message = format!(
                "`{}` and `{}` are one name on some file systems",
                shown(first),
                shown(&entry.name)
            );
            let path = shown_path(&join(dir, &entry.name));
            report.on_file(Weight::Refusal, rules::STRUCT024, path, message, "rename one of them");
        }
    }
}

impl Files {
    /// What is at `path`.
    pub(super) fn kind(&self, path: &str) -> Option<EntryKind> {
        self.entries.get(path).map(|(kind, _)| *kind)
    }

    /// Whether `path` is a folder.
    pub(super) fn is_dir(&self, path: &str) -> bool {
        self.kind(path) == Some(EntryKind::Directory)
    }

    /// The size of the file at `path`, 0 when there is none.
    pub(super) fn size_bytes(&self, path: &str) -> u64 {
        self.entries.get(path).map_or(0, |(_, size)| *size)
    }

    /// How many files and folders there are, and how many bytes in them.
    pub(super) fn total(&self) -> (usize, u64) {
        let bytes = self.entries.values().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
        (self.entries.len(), bytes)
    }

    /// The regular files below folder `dir`, `""` for all: path inside it, size; sorted.
    pub(super) fn below<'a>(&'a self, dir: &str) -> impl Iterator<Item = (&'a str, u64)> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        self.entries.iter().filter_map(move |(path, (kind, size))| {
            let name = path.strip_prefix(&prefix)?;
            matches!(kind, EntryKind::File { .. }).then_some((name, *size))
        })
    }

    /// What lies directly in folder `dir`.
    pub(super) fn children<'a>(&'a self, dir: &str) -> impl Iterator<Item = EntryKind> + 'a {
        let prefix = format!("{dir}/");
        self.entries.iter().filter_map(move |(path, (kind, _))| {
            let name = path.strip_prefix(&prefix)?;
            (!name.contains('/')).then_some(*kind)
        })
    }

    /// Reports every link: as an error where it would reach players or an image. `is_sent` says
    /// whether a build would send it.
    pub(super) fn report_links(&self, is_sent: impl Fn(&str) -> bool, report: &mut Report) {
        for (path, _) in self.entries.iter().filter(|(_, (kind, _))| *kind == EntryKind::Symlink) {
            let (weight, place, hint) = if is_below("attachments", path) {
                (Weight::Refusal, "attachments", "put the file itself there")
            } else if is_sent(path) {
                let hint = "put the file itself there, or name the link in `.dockerignore`";
                (Weight::Refusal, "a build context", hint)
            } else {
                (Weight::Warning, "a challenge", "put the file itself there")
            };
            report.on_file(
                weight,
                rules::STRUCT020,
                shown_path(&join(&self.root, path)),
                format!("a symbolic link in {place}, which is never followed"),
                hint,
            );
        }
    }
}

/// Whether `path` is `dir` or lies in it; everything lies in `""`.
pub(super) fn is_below(dir: &str, path: &str) -> bool {
    dir.is_empty()
        || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
