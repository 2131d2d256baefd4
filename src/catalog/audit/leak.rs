//! Answers where players could find them (LEAK).
//!
//! In:  the metadata, attachments, sources, and what the build contexts hold.
//!
//! # Invariants
//! * No answer and no flag is repeated: a message names the question.
//! * What is read ends at a budget.
//!
//! # Not here
//! Flags in sources (`source`), answers in the compose file (`compose`).

mod secrets;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use regex::bytes::Regex;

use self::secrets::{Edges, Found, Secrets};
use super::place::Lines;
use super::source::flags::literal_flags;
use super::source::{self, SERVICES};
use super::{MAX_TEXT_BYTES, Subject};
use crate::catalog::compose::BuildAt;
use crate::catalog::context::{self, ContextError};
use crate::catalog::decode::{MAX_FINDINGS, Report, shown};
use crate::catalog::files::shown_path;
use crate::catalog::finding::Weight;
use crate::catalog::folder::join;
use crate::catalog::rules;
use crate::catalog::spanned::{Map, Node, Span};
use crate::model::{Category, TreeError};

const METADATA: &str = "metadata.yaml";
const COMPOSE: &str = "docker-compose.yml";
const ATTACHMENTS: &str = "attachments";
const SOLUTION: &str = "solution";
/// Largest attachment that is looked into.
const MAX_ATTACHMENT_BYTES: u64 = 16 << 20;
/// Most bytes of attachments, and most of sources, that are looked into.
const MAX_TOTAL_BYTES: u64 = 32 << 20;

/// Judges the family.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    let secrets = Secrets::of(subject.questions.unwrap_or_default());
    let mut judge = Judge { subject, secrets: secrets.as_ref(), report };
    judge.metadata();
    judge.compose()?;
    judge.attachments()?;
    judge.sources()?;
    judge.contexts()
}

/// What looks, and where findings go.
struct Judge<'j, 'q> {
    subject: &'j Subject<'j>,
    secrets: Option<&'j Secrets<'q>>,
    report: &'j mut Report,
}

impl<'q> Judge<'_, 'q> {
    /// The texts that players read before they start (LEAK001, LEAK004).
    fn metadata(&mut self) {
        let path = self.subject.path(METADATA);
        for (what, node) in texts(self.subject.metadata) {
            let Some(scalar) = node.as_scalar() else { continue };
            let text = scalar.text.as_str();
            let found = self.found_in(text.as_bytes(), Edges::Words);
            for found in &found {
                let message =
                    format!("`{what}` holds the answer of question `{}`", shown(found.question));
                let hint = "reword it without the answer";
                let path = path.clone();
                self.report.at(Weight::Error, rules::LEAK001, path, node.span, message, hint);
            }
            if real_flags(text).any(|flag| !is_inside(flag, &found)) {
                let message = format!("`{what}` holds a literal flag");
                let hint = "show the form of flags as `FLAG{...}`";
                let path = path.clone();
                self.report.at(Weight::Error, rules::LEAK004, path, node.span, message, hint);
            }
        }
    }

    /// What is the same in every instance (LEAK006).
    fn compose(&mut self) -> Result<(), TreeError> {
        let Some(text) = self.subject.text(COMPOSE)? else { return Ok(()) };
        // Columns count from behind a byte-order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        // A static answer there is refused as such (HARDEN013).
        let found = self.found_in(text.as_bytes(), Edges::Words);
        let lines = Lines::new(text);
        let flags = real_flags(text).filter(|flag| !is_inside(*flag, &found));
        for (start, end) in flags.take(MAX_FINDINGS) {
            let message =
                format!("`{COMPOSE}` holds a literal flag, the same one in every instance");
            let hint = "let the service read `/answers/<id>`, or use a placeholder like \
                        `FLAG{sample-flag}`";
            let (path, at) = (self.subject.path(COMPOSE), lines.span(start, end));
            self.report.at(Weight::Warning, rules::LEAK006, path, at, message, hint);
        }
        Ok(())
    }

    /// The files that players get (LEAK002, LEAK004).
    fn attachments(&mut self) -> Result<(), TreeError> {
        // Who has to find things in a dump or a log finds them in the dump or the log.
        let weight = match self.subject.category {
            Some(Category::Misc) => Weight::Warning,
            Some(Category::Web | Category::Pwn | Category::Crypto | Category::Reverse) | None => {
                Weight::Error
            }
        };
        let mut left = MAX_TOTAL_BYTES;
        for (name, size_bytes) in self.subject.files.below(ATTACHMENTS) {
            if size_bytes > MAX_ATTACHMENT_BYTES || size_bytes > left {
                continue;
            }
            left -= size_bytes;
            let name = join(ATTACHMENTS, name);
            let Some(bytes) = self.bytes(&name)? else { continue };
            self.attachment(&name, &bytes, weight);
        }
        Ok(())
    }

    fn attachment(&mut self, name: &str, bytes: &[u8], weight: Weight) {
        let text = std::str::from_utf8(bytes).ok();
        let edges = if text.is_some() { Edges::Words } else { Edges::Anywhere };
        let found = self.found_in(bytes, edges);
        let flags = flags_in(bytes, text);
        let flags: Vec<_> = flags.into_iter().filter(|flag| !is_inside(*flag, &found)).collect();
        if found.is_empty() && flags.is_empty() {
            return;
        }
        let path = shown_path(&self.subject.path(name));
        let place = Place::of(text);
        for found in found {
            let question = shown(found.question);
            let message =
                format!("the attachment holds the answer of question `{question}` in clear");
            let hint = "take it out, or encode it; where finding it there is the task, waive this \
                        in `audit-allowlist.yaml`";
            let at = place.span((found.start, found.end));
            self.report.at(weight, rules::LEAK002, path.clone(), at, message, hint);
        }
        for flag in flags {
            let message = "the attachment holds a literal flag, the same one for every player";
            let hint = "name the file with `.tpl` and write `{{ answer.ID }}` in it, or use a \
                        placeholder like `FLAG{sample-flag}`";
            let at = place.span(flag);
            self.report.at(Weight::Error, rules::LEAK004, path.clone(), at, message, hint);
        }
    }

    /// What images are made of (LEAK003).
    fn sources(&mut self) -> Result<(), TreeError> {
        if self.secrets.is_none() {
            return Ok(());
        }
        let mut left = MAX_TOTAL_BYTES;
        for (name, size_bytes) in self.subject.files.below(SERVICES) {
            let is_source = source::is_source(name, &source::extension(name));
            if !is_source || size_bytes > MAX_TEXT_BYTES || size_bytes > left {
                continue;
            }
            left -= size_bytes;
            let name = join(SERVICES, name);
            let Some(text) = self.subject.text(&name)? else { continue };
            let found = self.found_in(text.as_bytes(), Edges::Words);
            if found.is_empty() {
                continue;
            }
            let lines = Lines::new(&text);
            let path = shown_path(&self.subject.path(&name));
            for found in found {
                let question = shown(found.question);
                let message = format!("the source holds the answer of question `{question}`");
                let hint = "let the answer be minted (leave `answer` out) if the service is to \
                            hand it out; else take it out";
                let at = lines.span(found.start, found.end);
                self.report.at(Weight::Warning, rules::LEAK003, path.clone(), at, message, hint);
            }
        }
        Ok(())
    }

    /// What could be copied into images (LEAK005).
    fn contexts(&mut self) -> Result<(), TreeError> {
        for build in self.subject.builds {
            let Some(name) = self.told_by(build)? else { continue };
            let message = format!(
                "the build context of `{}` holds `{}`, which a `COPY` takes into the image that \
                 players get into",
                build.service,
                shown(&name)
            );
            let hint = if build.spec.context.is_empty() {
                "build from a folder below `services/`, or name `solution/` and `metadata.yaml` in \
                 `.dockerignore`"
            } else {
                "build from a folder below `services/`"
            };
            let path = self.subject.path(COMPOSE);
            self.report.at(Weight::Error, rules::LEAK005, path, build.at, message, hint);
        }
        Ok(())
    }

    /// A file of the context that tells the solution, by its path in the challenge.
    fn told_by(&self, build: &BuildAt) -> Result<Option<String>, TreeError> {
        let context = build.spec.context.as_str();
        if !context.is_empty() && context.split('/').next() != Some(SOLUTION) {
            return Ok(None);
        }
        let root = self.subject.path(context);
        let files = match context::files(self.subject.tree, &root, &build.spec.dockerfile) {
            Ok(files) => files,
            Err(ContextError::Tree(error @ TreeError::Unreadable { .. })) => return Err(error),
            // Why it is no context is said by `folder`.
            Err(_) => return Ok(None),
        };
        let tells = |path: &String| {
            path == METADATA
                || path.strip_prefix(SOLUTION).is_some_and(|rest| rest.starts_with('/'))
        };
        Ok(files.into_iter().rev().map(|file| join(context, &file.path)).find(tells))
    }

    fn found_in(&self, bytes: &[u8], edges: Edges) -> Vec<Found<'q>> {
        self.secrets.map(|secrets| secrets.found_in(bytes, edges)).unwrap_or_default()
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, TreeError> {
        match self.subject.tree.read(&self.subject.path(name), MAX_ATTACHMENT_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error @ TreeError::Unreadable { .. }) => Err(error),
            Err(
                TreeError::NotFound { .. }
                | TreeError::NotAFile { .. }
                | TreeError::TooLarge { .. },
            ) => Ok(None),
        }
    }
}

/// What players read of the metadata, and how it is called.
fn texts(metadata: Option<&Map>) -> Vec<(&'static str, &Node)> {
    let Some(map) = metadata else { return Vec::new() };
    let mut texts = Vec::new();
    for key in ["name", "description"] {
        texts.extend(map.get(key).map(|entry| (key, &entry.value)));
    }
    let questions = map.get("questions").and_then(|entry| entry.value.as_list());
    for question in questions.unwrap_or_default() {
        let prompt = question.as_map().and_then(|map| map.get("prompt"));
        texts.extend(prompt.map(|entry| ("prompt", &entry.value)));
    }
    texts
}

/// Places in a file, when it is a text that people open.
struct Place<'t>(Option<Lines<'t>>);

impl<'t> Place<'t> {
    fn of(text: Option<&'t str>) -> Self {
        let is_small =
            |text: &&str| u64::try_from(text.len()).is_ok_and(|len| len <= MAX_TEXT_BYTES);
        Self(text.filter(is_small).map(Lines::new))
    }

    fn span(&self, (start, end): (usize, usize)) -> Span {
        self.0.as_ref().map(|lines| lines.span(start, end)).unwrap_or_default()
    }
}

/// A flag of one line with letters in it.
static FLAG: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u)FLAG\{[^}\x00-\x1f\x7f]{1,200}\}")
        .expect("the pattern is a constant that the tests compile")
});

/// The flags in a file.
fn flags_in(bytes: &[u8], text: Option<&str>) -> Vec<(usize, usize)> {
    if !FLAG.is_match(bytes) {
        return Vec::new();
    }
    match text {
        Some(text) => real_flags(text).take(MAX_FINDINGS).collect(),
        None => FLAG
            .find_iter(bytes)
            .filter(|found| {
                std::str::from_utf8(found.as_bytes())
                    .is_ok_and(|flag| real_flags(flag).next().is_some())
            })
            .map(|found| (found.start(), found.end()))
            .take(MAX_FINDINGS)
            .collect(),
    }
}

/// The literal flags in `text` that are no picture of one, as `FLAG{...}` is.
pub(super) fn real_flags(text: &str) -> impl Iterator<Item = (usize, usize)> {
    literal_flags(text).filter(|(start, end)| {
        let body = &text["FLAG{".len() + start..end - 1];
        let is_picture =
            body.chars().all(|c| matches!(c, '.' | '…' | 'x' | 'X' | '*' | '?' | '_' | '-'));
        // A regular expression.
        let is_pattern = body.starts_with(['[', '(', '^', '\\', '.']);
        !is_picture && !is_pattern && !body.contains(['\n', '\r'])
    })
}

/// Whether a flag is an answer that was already named.
fn is_inside((start, end): (usize, usize), found: &[Found<'_>]) -> bool {
    found.iter().any(|it| it.start < end && start < it.end)
}
