//! Reads `metadata.yaml`: what players see and what is asked.
//!
//! In:  the bytes of the file, the organizer's [`Policy`].
//! Out: a [`Draft`]: as much as could be read. The caller makes a challenge of it only when the
//! report holds no error.
//!
//! # Not here
//! Whether the rest of the folder fits (`folder`), the notation (`spanned`).

mod links;
mod questions;
mod settings;

/// Every key of each mapping below the top, for the test that the schema has the same.
#[cfg(test)]
pub(super) mod keys {
    pub(crate) use super::questions::KEYS as QUESTION;
    pub(crate) use super::settings::{INSTANCE_KEYS as INSTANCE, SCORING_KEYS as SCORING};
}

use super::Policy;
use super::decode::{Report, misspelt, nearest, shown, suggestion};
use super::finding::Weight;
use super::rules;
use super::spanned::{Entry, Map, Node, Parsed, Span};
use crate::model::{Category, Difficulty, Metadata, Question, Topology};

/// Every top-level key, those of the contract first.
pub(super) const KEYS: &[&str] = &[
    "name",
    "description",
    "difficulty",
    "tags",
    "questions",
    "category",
    "network_topology",
    "entry_urls",
    "instance",
    "scoring",
    "author",
    "release_at",
    "exports",
];

/// Keys of older formats and what replaces them.
const RETIRED: &[(&str, &str)] = &[
    ("flags", "use `questions`; without `answer` the platform mints one per instance"),
    ("vars", "use `questions`; without `answer` the platform mints one per instance"),
    ("public_vars", "use `questions`"),
    ("flag_path", "delivery is the job of `flag-rotator`, or of `/answers/<id>`"),
    ("flag_inject", "delivery is the job of `flag-rotator`, or of `/answers/<id>`"),
    ("id", "the name of the folder is the id"),
    ("origin", "the name of the bucket folder says it"),
    ("provider", "it is always a container engine"),
    ("provider_config", "write it in `docker-compose.yml`"),
    ("hint_levels", "hints are not supported"),
];

/// What could be read of a `metadata.yaml`.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The file as written, if it could be parsed.
    pub root: Option<Node>,
    /// Everything, when nothing was wrong that leaves a hole.
    pub metadata: Option<Metadata>,
    /// The questions that could be read; `None` when the list itself could not.
    pub questions: Option<Vec<Question>>,
    /// The category.
    pub category: Option<Category>,
    /// The topology.
    pub topology: Option<Topology>,
}

/// Reads the file.
pub(crate) fn read(parsed: Parsed, policy: &Policy, report: &mut Report) -> Draft {
    for fault in parsed.faults {
        report.refuse(rules::META000, fault.at, fault.message, fault.hint);
    }
    let Some(root) = parsed.root else { return Draft::default() };
    match root.as_map() {
        Some(map) => {
            let draft = read_map(map, root.span, policy, report);
            Draft { root: Some(root), ..draft }
        }
        None => {
            let message = format!("`metadata.yaml` must be a mapping, this is {}", root.kind());
            report.refuse(rules::META000, root.span, message, "write `name: …` and so on");
            Draft::default()
        }
    }
}

fn read_map(map: &Map, at: Span, policy: &Policy, report: &mut Report) -> Draft {
    check_keys(map, report);
    let name = required(map, "name", at, report, |report, node| line(report, "name", node));
    let description = required(map, "description", at, report, |report, node| {
        let text = report.text(rules::META002, "description", node)?;
        plain_text(report, "description", &text, node);
        Some(text)
    });
    let difficulty = required(map, "difficulty", at, report, |report, node| {
        // Of another type it is a fault of the field, not of the word.
        report.text(rules::META002, "difficulty", node)?;
        let words = Difficulty::WORDS;
        report.word(rules::META003, "difficulty", node, words, Difficulty::from_word)
    });
    let tags = required(map, "tags", at, report, tags);
    let category = optional(map, "category", rules::META011, Category::Web, report);
    let category = category.read(|report, node| {
        report.word(rules::META011, "category", node, Category::WORDS, Category::from_word)
    });
    let topology = optional(map, "network_topology", rules::META012, Topology::Simple, report);
    let topology = topology.read(|report, node| {
        let words = Topology::WORDS;
        report.word(rules::META012, "network_topology", node, words, Topology::from_word)
    });
    let entry_urls = optional(map, "entry_urls", rules::META013, Vec::new(), report);
    let entry_urls = entry_urls.read(|report, node| links::entry_urls(node, report));
    let questions_entry = map.get("questions");
    let questions = questions::read(questions_entry, report);
    let extras = settings::read(map, policy, report);
    let metadata = (|| {
        Some(Metadata {
            name: name?,
            description: description?,
            difficulty: difficulty?,
            tags: tags?,
            category: category?,
            topology: topology?,
            entry_urls: entry_urls?,
            questions: questions.clone()?,
            instance: extras.instance,
            author: extras.author,
            release_at: extras.release_at,
            // Read once it is known what runs (`exports`).
            exports: Vec::new(),
        })
    })();
    Draft { root: None, metadata, questions, category, topology }
}

/// Names every key that does not exist. A misspelt key blocks: what would run is not what was
/// meant. Any other one changes nothing of what runs.
fn check_keys(map: &Map, report: &mut Report) {
    for entry in &map.entries {
        if let Some((_, instead)) = RETIRED.iter().find(|(key, _)| *key == entry.key) {
            let message = format!("the key `{}` was retired", entry.key);
            report.error(rules::META005, entry.key_span, message, *instead);
        } else if !KEYS.contains(&entry.key.as_str()) {
            unknown_key(rules::META005, "metadata", entry, KEYS, report);
        }
    }
}

/// Reports a key that is not in `known`.
fn unknown_key(rule: &str, place: &str, entry: &Entry, known: &[&str], report: &mut Report) {
    let message = format!("{place} has no key `{}`", shown(&entry.key));
    let hint = suggestion(&entry.key, known);
    let weight = match nearest(&entry.key, known) {
        Some((key, distance)) if distance * 3 <= key.len() => Weight::Refusal,
        _ => Weight::Error,
    };
    report.here(weight, rule, entry.key_span, message, hint);
}

fn required<T>(
    map: &Map,
    key: &str,
    at: Span,
    report: &mut Report,
    read: impl FnOnce(&mut Report, &Node) -> Option<T>,
) -> Option<T> {
    match map.get(key) {
        Some(entry) => read(report, &entry.value),
        None => {
            let message = format!("the field `{key}` is missing");
            let (at, hint) = missing_hint(map, key, at);
            report.refuse(rules::META002, at, message, hint);
            None
        }
    }
}

/// Where to say that `key` is missing, and what to do: behind the key that was meant to be it, if
/// there is one, so that the cause comes first.
fn missing_hint(map: &Map, key: &str, at: Span) -> (Span, String) {
    match misspelt(map, key) {
        Some(entry) => {
            let (written, line) = (shown(&entry.key), entry.key_span.line);
            (entry.value.span, format!("you wrote `{written}:` in line {line}: write `{key}:`"))
        }
        None => (at, format!("add `{key}: …`")),
    }
}

/// An optional key of one mapping.
struct Optional<'a, T> {
    entry: Option<&'a Entry>,
    rule: &'static str,
    default: T,
    report: &'a mut Report,
}

fn optional<'a, T>(
    map: &'a Map,
    key: &str,
    rule: &'static str,
    default: T,
    report: &'a mut Report,
) -> Optional<'a, T> {
    Optional { entry: map.get(key), rule, default, report }
}

impl<T> Optional<'_, T> {
    /// The value; an absent key means the default, and so does one without a value, which is said.
    fn read(self, read: impl FnOnce(&mut Report, &Node) -> Option<T>) -> Option<T> {
        match self.entry {
            Some(entry) if entry.value.is_null() => {
                without_value(entry, self.rule, self.report);
                Some(self.default)
            }
            Some(entry) => read(self.report, &entry.value),
            None => Some(self.default),
        }
    }
}

/// Reports a key that has nothing behind it.
fn without_value(entry: &Entry, rule: &str, report: &mut Report) {
    let message = format!("`{}` has no value, so the default is used", entry.key);
    report.error(rule, entry.key_span, message, "write a value, or remove the key");
}

/// Text on one line, as names and tags are shown.
fn line(report: &mut Report, what: &str, node: &Node) -> Option<String> {
    let text = report.text(rules::META002, what, node)?;
    plain_line(report, what, &text, node.span).then(|| text.trim().to_owned())
}

/// Whether `text` can be shown as one line; reports why not.
fn plain_line(report: &mut Report, what: &str, text: &str, at: Span) -> bool {
    // A block scalar ends with a line break that nobody meant.
    let text = text.trim();
    let fault = if text.is_empty() {
        "is blank"
    } else if text.contains('\n') {
        "has a line break"
    } else if let Some(c) = text.chars().find(|c| super::names::is_misleading(*c)) {
        let message =
            format!("`{what}` has the control or direction character U+{:04X}", u32::from(c));
        report.refuse(rules::META023, at, message, "remove it");
        return false;
    } else if text.chars().count() > 200 {
        "has more than 200 characters"
    } else {
        return true;
    };
    report.refuse(rules::META023, at, format!("`{what}` {fault}"), "write one plain line");
    false
}

/// Reports a character of a longer text that hides or reorders what stands around it.
fn plain_text(report: &mut Report, what: &str, text: &str, node: &Node) {
    // Joiners and marks are how some languages are written.
    let is_hidden = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let Some((offset, c)) = text.char_indices().find(|(_, c)| is_hidden(*c)) else { return };
    let message = format!("`{what}` has the control or direction character U+{:04X}", u32::from(c));
    let at = place_in(node, text.get(..offset).unwrap_or_default());
    report.error(rules::META023, at, message, "remove it");
}

/// Where a value goes on behind `before`, as long as that is on its first line.
fn place_in(node: &Node, before: &str) -> Span {
    let at = node.span;
    let is_plain = node.as_scalar().is_some_and(|scalar| scalar.is_plain);
    let n_chars = before.chars().count() + usize::from(!is_plain);
    match u32::try_from(n_chars) {
        Ok(n_chars) if !before.contains('\n') => {
            Span { column: at.column.saturating_add(n_chars), ..at }
        }
        _ => at,
    }
}

fn tags(report: &mut Report, node: &Node) -> Option<Vec<String>> {
    let items = report.list(rules::META002, "tags", node)?;
    if items.is_empty() {
        report.refuse(rules::META004, node.span, "`tags` is empty", "write at least one tag");
        return None;
    }
    let mut tags = Vec::new();
    for item in items {
        let Some(tag) = report.text(rules::META004, "tags", item) else { continue };
        if plain_line(report, "tags", &tag, item.span) {
            tags.push(tag.trim().to_owned());
        }
    }
    (tags.len() == items.len()).then_some(tags)
}
