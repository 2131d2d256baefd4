//! Git LFS pointers in place of files (REPO004).
//!
//! Nothing is fetched from an LFS server, so whoever asks for the file gets the pointer.

use super::Subject;
use crate::catalog::decode::{Report, shown};
use crate::catalog::files::shown_path;
use crate::catalog::finding::Weight;
use crate::catalog::rules;
use crate::model::TreeError;

/// What a pointer begins with.
const START: &str = "version https://git-lfs.github.com/spec/";
/// Sizes that a pointer can have, by its specification and its shortest content.
const SIZES: std::ops::Range<u64> = 100..1024;

/// Files that cannot be read when they are pointers, and say so themselves.
const READ_ANYWAY: &[&str] = &["metadata.yaml", "docker-compose.yml"];

/// Judges every small file.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    let small: Vec<&str> = subject
        .files
        .below("")
        .filter(|(name, size_bytes)| SIZES.contains(size_bytes) && !READ_ANYWAY.contains(name))
        .map(|(name, _)| name)
        .collect();
    for name in small {
        let is_pointer = subject.text(name)?.is_some_and(|text| text.starts_with(START));
        if !is_pointer {
            continue;
        }
        let (weight, who) = match place(subject, name) {
            Some(who) => (Weight::Refusal, who),
            None => (Weight::Warning, "who reads it gets"),
        };
        let message =
            format!("`{}` is a Git LFS pointer: {who} the pointer, not the file", shown(name));
        let hint = "commit the file itself: `git lfs untrack` its pattern, then `git add` it again";
        report.on_file(weight, rules::REPO004, shown_path(&subject.path(name)), message, hint);
    }
    Ok(())
}

/// Who would get the pointer, where that breaks the challenge.
fn place(subject: &Subject<'_>, name: &str) -> Option<&'static str> {
    let is_below = |dir: &str| {
        dir.is_empty() || name.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
    };
    if is_below("attachments") {
        Some("players would get")
    } else if subject.builds.iter().any(|build| is_below(&build.spec.context)) {
        Some("the image would hold")
    } else {
        None
    }
}
