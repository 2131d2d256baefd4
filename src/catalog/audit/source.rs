//! What sources give away (SOURCE): flags, comments and texts that name the weakness, shortcuts.
//!
//! In:  every file below `services/`.
//!
//! # Invariants
//! * One pass over a file finds out whether anything more is to be done.
//! * The work ends at a budget, and it is said when it does.
//! * No flag is repeated in a message.
//!
//! # Not here
//! Attachments and the metadata (`leak`).

pub(super) mod flags;
mod jsx;
mod routes;
mod spans;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeSet;

use self::spans::Paths;
use self::words::Hints;
use super::place::Lines;
use super::{MAX_TEXT_BYTES, Subject};
use crate::catalog::decode::{MAX_FINDINGS, Report, shown};
use crate::catalog::files::shown_path;
use crate::catalog::finding::Weight;
use crate::catalog::rules;
use crate::model::TreeError;

/// The folder of the sources.
pub(super) const SERVICES: &str = "services";
/// Most work on one challenge, in bytes of text that nothing is found in: a fraction of a second.
const MAX_WORK: u64 = 32 << 20;
/// What a byte costs, when rules have to look closer.
const CLOSE_LOOK: u64 = 4;

/// Extensions of files that are no sources.
const SKIPPED_EXTENSIONS: [&str; 27] = [
    "png", "jpg", "jpeg", "gif", "ico", "pdf", "zip", "tar", "gz", "tgz", "bz2", "xz", "jar",
    "class", "pyc", "so", "dll", "exe", "woff", "woff2", "ttf", "eot", "mp3", "mp4", "webp",
    "lock", "svg",
];

/// Files that tools write.
const SKIPPED_NAMES: [&str; 8] = [
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "composer.lock",
    "Gemfile.lock",
    "Cargo.lock",
    "poetry.lock",
    "uv.lock",
];

/// Judges the family.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    check_within(MAX_WORK, subject, report)
}

/// Judges the family with a budget.
fn check_within(work: u64, subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    let mut scan = Scan { subject, report, work_left: work, n_findings: 0 };
    scan.folders();
    for (name, size_bytes) in subject.files.below(SERVICES) {
        if !scan.file(name, size_bytes)? {
            scan.give_up(name);
            break;
        }
    }
    Ok(())
}

/// The extension of a file name, in lower case; empty when there is none.
pub(super) fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension.to_lowercase(),
        _ => String::new(),
    }
}

/// Whether a file is looked into.
pub(super) fn is_source(path: &str, extension: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_packed = || {
        let Some((stem, last)) = name.rsplit_once('.') else { return false };
        let stem = stem.to_ascii_lowercase();
        let is_word = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_word && (stem.ends_with(".min") || stem.ends_with(".bundle"))
    };
    !SKIPPED_EXTENSIONS.contains(&extension) && !SKIPPED_NAMES.contains(&name) && !is_packed()
}

/// One look at one challenge.
struct Scan<'s, 'r> {
    subject: &'s Subject<'s>,
    report: &'r mut Report,
    work_left: u64,
    n_findings: usize,
}

impl Scan<'_, '_> {
    /// Names every folder that is a shortcut. Folders without a file are in no repository.
    fn folders(&mut self) {
        let mut seen = BTreeSet::new();
        for (name, _) in self.subject.files.below(SERVICES) {
            let ends = name.match_indices('/').map(|(at, _)| at);
            seen.extend(ends.map(|end| &name[..end]));
        }
        for folder in seen {
            let name = folder.rsplit('/').next().unwrap_or(folder);
            if routes::is_shortcut(name) {
                let path = shown_path(&self.subject.path(&format!("{SERVICES}/{folder}")));
                let message = format!("the folder `{}` only explains the service", shown(name));
                let hint = "remove it, or rename it if the service needs it: players are to \
                            explore the product, not its manual";
                self.report.on_file(Weight::Error, rules::SOURCE004, path, message, hint);
            }
        }
    }

    /// Judges one file; says whether there is budget left.
    fn file(&mut self, name: &str, size_bytes: u64) -> Result<bool, TreeError> {
        let extension = extension(name);
        let is_source = is_source(name, &extension);
        let has_routes = routes::has_routes(&extension);
        if !is_source && !has_routes {
            return Ok(true);
        }
        let file = File { path: self.subject.path(&format!("{SERVICES}/{name}")), extension };
        if size_bytes > MAX_TEXT_BYTES {
            if has_routes {
                let message =
                    format!("the script is larger than {MAX_TEXT_BYTES} bytes and is not read");
                self.unread(&file, message, "split it, or move its data into another file");
            }
            return Ok(true);
        }
        if !self.spend(size_bytes) {
            return Ok(false);
        }
        let Some(text) = self.subject.text(&format!("{SERVICES}/{name}"))? else {
            return Ok(true);
        };
        if is_source && is_utf16(&text, size_bytes) {
            let message = "the file is UTF-16 text, which no rule can read";
            self.unread(&file, message.to_owned(), "save it as UTF-8");
            return Ok(true);
        }
        let mut hints = Hints::of(&text);
        if spans::is_rewritten(&file.extension) {
            // Words may only come about when expressions are taken out.
            (hints.words, hints.paths) = (true, true);
        }
        if hints == Hints::default() {
            return Ok(true);
        }
        if !self.spend(size_bytes.saturating_mul(CLOSE_LOOK)) {
            return Ok(false);
        }
        let mut found = Vec::new();
        if is_source {
            found.extend(flags(&text, hints));
            found.extend(comments(&text, hints));
            found.extend(texts(&text, &file.extension, hints));
        }
        if has_routes && hints.shortcuts {
            found.extend(shortcuts(&text));
        }
        self.report(&file, &text, found);
        Ok(self.n_findings < 2 * MAX_FINDINGS)
    }

    fn spend(&mut self, work: u64) -> bool {
        let left = self.work_left.checked_sub(work);
        self.work_left = left.unwrap_or(0);
        left.is_some()
    }

    fn report(&mut self, file: &File, text: &str, found: Vec<Fault>) {
        self.n_findings += found.len();
        if found.is_empty() {
            return;
        }
        let lines = Lines::new(text);
        let path = shown_path(&file.path);
        for fault in found {
            let at = lines.span(fault.start, fault.end);
            let (message, hint) = (fault.message, fault.hint);
            self.report.at(Weight::Error, fault.rule, path.clone(), at, message, hint);
        }
    }

    /// Names a file that was not looked through.
    fn unread(&mut self, file: &File, message: String, hint: &str) {
        let path = shown_path(&file.path);
        self.report.on_file(Weight::Warning, rules::SOURCE020, path, message, hint);
    }

    /// Says where the look ended.
    fn give_up(&mut self, name: &str) {
        let path = self.subject.path(SERVICES);
        let message = format!(
            "there is more below `{SERVICES}` than is looked through: the rules stopped at `{}`",
            shown(name)
        );
        let hint = "mend what was found so far, and fetch large data in the Dockerfile instead";
        self.report.on_file(Weight::Warning, rules::SOURCE020, path, message, hint);
    }
}

/// Whether a file was UTF-16 before its mark, which is no UTF-8, was dropped.
fn is_utf16(text: &str, size_bytes: u64) -> bool {
    let is_marked = u64::try_from(text.len()).is_ok_and(|len| len + 2 == size_bytes);
    let is_blank = |from: usize| text.bytes().skip(from).step_by(2).take(8).all(|byte| byte == 0);
    is_marked && text.len() > 1 && (is_blank(0) || is_blank(1))
}

/// A file that is looked into.
struct File {
    /// In the repository.
    path: String,
    extension: String,
}

/// What is wrong with a part of a file.
struct Fault {
    rule: &'static str,
    start: usize,
    end: usize,
    message: String,
    hint: &'static str,
}

/// Literal flags (SOURCE001).
fn flags(text: &str, hints: Hints) -> Vec<Fault> {
    if !hints.flags {
        return Vec::new();
    }
    let fault = |(start, end)| Fault {
        rule: rules::SOURCE001,
        start,
        end,
        message: "a literal flag is written into the source".to_owned(),
        hint: "write a placeholder like `FLAG{sample-flag}`, and let `flag-rotator` write the \
               minted one when an instance starts",
    };
    flags::literal_flags(text).take(MAX_FINDINGS).map(fault).collect()
}

/// Comments that name the weakness (SOURCE002): the first word of each line.
fn comments(text: &str, hints: Hints) -> Vec<Fault> {
    if !hints.words {
        return Vec::new();
    }
    let mut is_in_block = false;
    let mut faults = Vec::new();
    for (start, line) in logical_lines(text) {
        let is_comment = is_in_block || begins_comment(line);
        if !is_comment {
            continue;
        }
        let ends = line.contains("*/") || line.contains("-->");
        let begins = line.contains("/*") || line.contains("<!--");
        is_in_block = !ends && (is_in_block || begins);
        if let Some((at, word)) = words::first_word(line) {
            faults.push(Fault {
                rule: rules::SOURCE002,
                start: start + at,
                end: start + at + word.len(),
                message: format!(
                    "the comment says `{}`, which points at the weakness",
                    shown(word)
                ),
                hint: "say what the code does, not what is wrong with it",
            });
            if faults.len() == MAX_FINDINGS {
                break;
            }
        }
    }
    faults
}

/// Whether a line is one of the comments that are recognised.
fn begins_comment(line: &str) -> bool {
    let text = line.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{1f}');
    ["//", "#", "/*", "*", "<!--"].iter().any(|mark| text.starts_with(mark))
}

/// Lines as a person sees them: whatever breaks one ends it. First byte, and text.
fn logical_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_break = |c: char| matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut start = 0;
    text.split_inclusive(is_break).map(move |line| {
        let begin = start;
        start += line.len();
        (begin, line.trim_end_matches(is_break))
    })
}

/// Texts that players see (SOURCE003).
fn texts(text: &str, extension: &str, hints: Hints) -> Vec<Fault> {
    if !(hints.words || hints.paths) || !spans::is_rendered(extension) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for piece in spans::rendered(extension, text) {
        if hints.words {
            faults.extend(words::words(&piece.text).take(MAX_FINDINGS).map(|(at, word)| Fault {
                rule: rules::SOURCE003,
                start: piece.origin(at),
                end: piece.origin(at + word.len()),
                message: format!("players read `{}`, which points at the weakness", shown(word)),
                hint: "describe the product as its owner would",
            }));
        }
        if hints.paths && piece.paths == Paths::Checked {
            faults.extend(words::paths(&piece.text).take(MAX_FINDINGS).map(|(at, path)| Fault {
                rule: rules::SOURCE003,
                start: piece.origin(at),
                end: piece.origin(at + path.len()),
                message: format!("players read the internal path `{}`", shown(path)),
                hint: "leave the path out: finding it is part of the challenge",
            }));
        }
        if faults.len() >= MAX_FINDINGS {
            break;
        }
    }
    faults
}

/// Routes that only explain the service (SOURCE004).
fn shortcuts(text: &str) -> Vec<Fault> {
    let fault = |(start, path): (usize, &str)| Fault {
        rule: rules::SOURCE004,
        start,
        end: start + path.len(),
        message: format!("the route `{}` only explains the service", shown(path)),
        hint: "remove it: players are to explore the product, not its manual",
    };
    routes::shortcuts(text).into_iter().take(MAX_FINDINGS).map(fault).collect()
}
