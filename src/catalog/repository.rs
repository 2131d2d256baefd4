//! What holds for a repository as a whole: settings at its root, and its size (REPO005, REPO006).

use super::decode::{Report, nearest, shown};
use super::finding::{Finding, Weight};
use super::rules;
use super::{COMPETITIONS, Catalog};
use crate::model::{Entry, EntryKind};

/// Most challenges of a repository.
const MAX_CHALLENGES: usize = 2000;
/// Most files and folders in all challenges.
const MAX_ENTRIES: usize = 200_000;
/// Most bytes in all challenges.
const MAX_BYTES: u64 = 8 << 30;

/// Reports an `entry` of the root that asks for files of other servers.
pub(super) fn root_setting(entry: &Entry) -> Option<Finding> {
    let (rule, what, hint) = match entry.name.as_str() {
        ".gitmodules" => {
            (rules::REPO005, "submodules are never fetched", "copy their files into the repository")
        }
        ".lfsconfig" => {
            (rules::REPO005, "nothing is fetched from Git LFS", "commit the files themselves")
        }
        "audit-allowlist.yaml" | "audit-allowlist.yml" => (
            rules::REPO008,
            "an allowlist belongs to one challenge",
            "put it beside the `metadata.yaml` of the challenge, as `audit-allowlist.yaml`",
        ),
        _ => return None,
    };
    if entry.kind == EntryKind::Directory {
        return None;
    }
    let mut report = Report::new(None, String::new());
    let message = format!("`{}` has no effect: {what}", entry.name);
    report.on_file(Weight::Warning, rule, entry.name.clone(), message, hint);
    report.into_findings().pop()
}

/// Reports a folder of the root with `children` that was meant to be `competitions`.
pub(super) fn competition_folder(entry: &Entry, children: &[Entry]) -> Option<Finding> {
    let name = entry.name.as_str();
    let is_meant = name != COMPETITIONS && nearest(name, &[COMPETITIONS]).is_some();
    let has_file = |it: &Entry| it.name.ends_with(".yaml") || it.name.ends_with(".yml");
    if !is_meant || !children.iter().any(has_file) {
        return None;
    }
    let mut report = Report::new(None, String::new());
    let message = format!("`{}/` is not read", shown(name));
    let hint = format!("rename it to `{COMPETITIONS}/` if its files are competitions");
    report.on_file(Weight::Warning, rules::REPO008, shown(name), message, hint);
    report.into_findings().pop()
}

/// Reports what there is too much of.
pub(super) fn check_budgets(catalog: &mut Catalog) {
    let folders = catalog.folders.values();
    let n_entries: usize = folders.clone().map(|folder| folder.n_entries).sum();
    let bytes = folders.fold(0_u64, |sum, folder| sum.saturating_add(folder.total_bytes));
    catalog.findings.extend(over(catalog.folders.len(), n_entries, bytes));
}

fn over(n_challenges: usize, n_entries: usize, bytes: u64) -> Vec<Finding> {
    let mut report = Report::new(None, String::new());
    let mut say = |message: String, hint: &str| {
        report.on_file(Weight::Error, rules::REPO006, String::new(), message, hint);
    };
    if n_challenges > MAX_CHALLENGES {
        let message = format!("{n_challenges} challenges are more than {MAX_CHALLENGES}");
        say(message, "split the repository by event");
    }
    if n_entries > MAX_ENTRIES {
        let message =
            format!("the challenges have {n_entries} files and folders, more than {MAX_ENTRIES}");
        say(message, "remove what no challenge needs, such as vendored packages");
    }
    if bytes > MAX_BYTES {
        let message = format!("the challenges have {bytes} bytes, more than 8 GiB");
        say(message, "keep large files elsewhere, and fetch them in the Dockerfile");
    }
    report.into_findings()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_budget_has_its_own_finding() {
        let said = |challenges, entries, bytes| -> Vec<String> {
            over(challenges, entries, bytes).into_iter().map(|it| it.message).collect()
        };
        assert_eq!(said(2000, 200_000, 8 << 30), [""; 0]);
        insta::assert_snapshot!(said(2001, 200_001, (8 << 30) + 1).join("\n"), @"
        2001 challenges are more than 2000
        the challenges have 200001 files and folders, more than 200000
        the challenges have 8589934593 bytes, more than 8 GiB
        ");
    }
}
