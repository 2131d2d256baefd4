//! The files of a challenge and how they fit (STRUCT).
//!
//! What is judged here is judged on the files as they are written, so that it speaks also where
//! the typed model could not be made. What nothing can be run from blocks; the rest is the
//! author's to mend.
//!
//! # Not here
//! Names, links, budgets (`catalog::files`), what a compose file must say (`audit::compose`).

pub(super) mod asked;
mod contexts;
mod delivery;
mod protocol;
#[cfg(test)]
mod tests;

use super::Subject;
use crate::catalog::decode::{Report, shown};
use crate::catalog::finding::Weight;
use crate::catalog::rules;
use crate::catalog::spanned::Node;
use crate::model::{Category, EntryKind, TreeError, plain_name};

const COMPOSE: &str = "docker-compose.yml";
const METADATA: &str = "metadata.yaml";
const EXPLOIT: &str = "solution/exploit.py";
const ATTACHMENTS: &str = "attachments";
/// Names that compose reads too, and we do not.
const OTHER_NAMES: &[&str] = &["docker-compose.yaml", "compose.yaml", "compose.yml"];

/// Judges the family.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    check_other_names(subject, report);
    // Without metadata nobody can say what the folder must have.
    if subject.metadata.is_some() {
        // A category that does not exist is judged as the default.
        let category = subject.category.unwrap_or(Category::Web);
        check_compose_file(subject, category, report);
        if !subject.is_quiz() {
            check_exploit(subject, report);
            check_attachments(subject, category, report);
        }
    }
    contexts::check(subject, report);
    delivery::check(subject, report);
    protocol::check(subject, report);
    Ok(())
}

/// Whether a challenge of this category is always something that runs.
fn needs_compose(category: Category) -> bool {
    match category {
        Category::Web | Category::Pwn => true,
        Category::Reverse | Category::Crypto | Category::Misc => false,
    }
}

/// Whether a challenge of this category always has something to download.
fn needs_attachments(category: Category) -> bool {
    match category {
        Category::Web => false,
        Category::Pwn | Category::Reverse | Category::Crypto | Category::Misc => true,
    }
}

/// STRUCT026 and REPO008: compose files and allowlists under a name that is not read.
fn check_other_names(subject: &Subject<'_>, report: &mut Report) {
    for name in OTHER_NAMES.iter().filter(|name| subject.files.kind(name).is_some()) {
        let message = format!("`{name}` is not read");
        let hint = format!("rename it to `{COMPOSE}`");
        report.on_file(Weight::Warning, rules::STRUCT026, subject.path(name), message, hint);
    }
    let (name, right) = ("audit-allowlist.yml", "audit-allowlist.yaml");
    if subject.files.kind(name).is_some() {
        let message = format!("`{name}` is not read, so it waives nothing");
        let hint = format!("rename it to `{right}`");
        report.on_file(Weight::Warning, rules::REPO008, subject.path(name), message, hint);
    }
}

/// STRUCT001 and STRUCT011: something runs where something must.
fn check_compose_file(subject: &Subject<'_>, category: Category, report: &mut Report) {
    let is_there =
        matches!(subject.files.kind(COMPOSE), Some(EntryKind::File { .. } | EntryKind::Symlink));
    if is_there {
        return;
    }
    if !needs_compose(category) {
        check_minted(subject, report);
        return;
    }
    let message = format!("a challenge of category `{category}` needs `{COMPOSE}`");
    let other = OTHER_NAMES.iter().find(|name| subject.files.kind(name).is_some());
    let hint = match other {
        Some(other) => format!("rename `{other}` to `{COMPOSE}`"),
        None => format!("write `{COMPOSE}`, or choose another `category` if nothing is to run"),
    };
    report.on_file(Weight::Refusal, rules::STRUCT001, subject.path(COMPOSE), message, hint);
}

/// STRUCT011: minted answers, and nothing that runs. Only a template can bring them to players
/// then; without one there is no way at all.
fn check_minted(subject: &Subject<'_>, report: &mut Report) {
    let questions = asked::asked(subject).unwrap_or_default();
    let mut ids: Vec<&str> = questions.iter().filter(|it| it.is_minted()).map(|it| it.id).collect();
    ids.sort_unstable();
    if ids.is_empty() {
        return;
    }
    let first = ids.first().copied();
    let ids: Vec<String> = ids.iter().map(|id| format!("`{}`", shown(id))).collect();
    let message = format!("nothing runs that could hold the minted answer of {}", ids.join(", "));
    let hint = format!("add `answer` to the question, or add `{COMPOSE}` with what holds it");
    let entry = subject.metadata.and_then(|map| map.get("questions"));
    let items = entry.and_then(|entry| entry.value.as_list()).unwrap_or_default();
    let written = |item: &Node| Some(item.as_map()?.get("id")?.value.clone());
    let is_first = |id: &Node| id.as_scalar().is_some_and(|it| Some(it.text.as_str()) == first);
    let at = items.iter().filter_map(written).find(is_first).map(|id| id.span);
    let at = at.or_else(|| entry.map(|entry| entry.key_span)).unwrap_or_default();
    let is_template = |name: &str| plain_name(name).unwrap_or(name).ends_with(".tpl");
    let has_template = subject.files.below(ATTACHMENTS).any(|(name, _)| is_template(name));
    let weight = if has_template { Weight::Error } else { Weight::Refusal };
    report.at(weight, rules::STRUCT011, subject.path(METADATA), at, message, hint);
}

/// STRUCT002: there is proof that it can be solved.
fn check_exploit(subject: &Subject<'_>, report: &mut Report) {
    let message = match subject.files.kind(EXPLOIT) {
        Some(EntryKind::File { .. }) => return,
        Some(EntryKind::Symlink) => format!("`{EXPLOIT}` is a link, which is never followed"),
        Some(EntryKind::Directory | EntryKind::Submodule) | None => {
            format!("`{EXPLOIT}` is missing, the proof that the challenge can be solved")
        }
    };
    let hint =
        format!("write `{EXPLOIT}` with a class `Exploit(ExploitBase)`; only quizzes need none");
    report.on_file(Weight::Error, rules::STRUCT002, subject.path(EXPLOIT), message, hint);
}

/// STRUCT010: there is something to download.
fn check_attachments(subject: &Subject<'_>, category: Category, report: &mut Report) {
    if !needs_attachments(category) || subject.has_direct_file(ATTACHMENTS) {
        return;
    }
    let is_deeper = subject.files.below(ATTACHMENTS).next().is_some();
    let message = if is_deeper {
        format!("`{ATTACHMENTS}/` has files in sub-folders only")
    } else {
        format!(
            "a challenge of category `{category}` gives players files, but `{ATTACHMENTS}/` has none"
        )
    };
    let hint = match (is_deeper, category) {
        (true, _) => format!("put at least one file directly into `{ATTACHMENTS}/`"),
        (false, Category::Pwn) => format!("put the program, or its source, into `{ATTACHMENTS}/`"),
        (false, _) => format!("put the file that players work on into `{ATTACHMENTS}/`"),
    };
    report.on_file(Weight::Error, rules::STRUCT010, subject.path(ATTACHMENTS), message, hint);
}

impl Subject<'_> {
    /// Whether a file lies directly in `dir`. A link counts: it is refused as such (STRUCT020).
    fn has_direct_file(&self, dir: &str) -> bool {
        self.files.children(dir).any(|kind| match kind {
            EntryKind::File { .. } | EntryKind::Symlink => true,
            EntryKind::Directory | EntryKind::Submodule => false,
        })
    }
}
