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

use super::Policy;
use super::decode::{Report, shown, suggestion};
use super::rules;
use super::spanned::{self, Entry, Map, Node, Span};
use crate::model::{Category, Difficulty, Metadata, Question, Topology};

/// Every top-level key, those of the contract first.
const KEYS: &[&str] = &[
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
    /// Everything, when nothing was wrong that leaves a hole.
    pub metadata: Option<Metadata>,
    /// The questions that could be read; `None` when the list itself could not.
    pub questions: Option<Vec<Question>>,
    /// Where `questions` stands.
    pub questions_at: Span,
    /// The category.
    pub category: Option<Category>,
    /// The topology.
    pub topology: Option<Topology>,
}

/// Reads the file.
pub(crate) fn read(bytes: &[u8], policy: &Policy, report: &mut Report) -> Draft {
    let parsed = spanned::parse(bytes);
    for fault in parsed.faults {
        report.error(rules::META000, fault.at, fault.message, fault.hint);
    }
    let Some(root) = parsed.root else { return Draft::default() };
    match root.as_map() {
        Some(map) => read_map(map, root.span, policy, report),
        None => {
            let message = format!("`metadata.yaml` must be a mapping, this is {}", root.kind());
            report.error(rules::META000, root.span, message, "write `name: …` and so on");
            Draft::default()
        }
    }
}

fn read_map(map: &Map, at: Span, policy: &Policy, report: &mut Report) -> Draft {
    check_keys(map, report);
    let name = required(map, "name", at, report, |report, node| line(report, "name", node));
    let description = required(map, "description", at, report, |report, node| {
        report.text(rules::META002, "description", node)
    });
    let difficulty = required(map, "difficulty", at, report, |report, node| {
        let words = Difficulty::WORDS;
        report.word(rules::META003, "difficulty", node, words, Difficulty::from_word)
    });
    let tags = required(map, "tags", at, report, tags);
    let category = optional(map, "category", Category::Web, |node| {
        report.word(rules::META011, "category", node, Category::WORDS, Category::from_word)
    });
    let topology = optional(map, "network_topology", Topology::Simple, |node| {
        let words = Topology::WORDS;
        report.word(rules::META012, "network_topology", node, words, Topology::from_word)
    });
    let entry_urls =
        optional(map, "entry_urls", Vec::new(), |node| links::entry_urls(node, report));
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
        })
    })();
    let questions_at = questions_entry.map_or(Span::default(), |entry| entry.key_span);
    Draft { metadata, questions, questions_at, category, topology }
}

fn check_keys(map: &Map, report: &mut Report) {
    for entry in &map.entries {
        if let Some((_, instead)) = RETIRED.iter().find(|(key, _)| *key == entry.key) {
            let message = format!("the key `{}` was retired", entry.key);
            report.error(rules::META005, entry.key_span, message, *instead);
        } else if !KEYS.contains(&entry.key.as_str()) {
            let message = format!("metadata has no key `{}`", shown(&entry.key));
            report.error(rules::META005, entry.key_span, message, suggestion(&entry.key, KEYS));
        }
    }
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
            report.error(rules::META002, at, message, format!("add `{key}: …`"));
            None
        }
    }
}

/// The value of an optional key; absent and null mean `default`.
fn optional<T>(
    map: &Map,
    key: &str,
    default: T,
    read: impl FnOnce(&Node) -> Option<T>,
) -> Option<T> {
    match map.get(key) {
        Some(Entry { value, .. }) if !value.is_null() => read(value),
        _ => Some(default),
    }
}

/// Text on one line, as names and tags are shown.
fn line(report: &mut Report, what: &str, node: &Node) -> Option<String> {
    let text = report.text(rules::META002, what, node)?;
    let fault = if text.trim().is_empty() {
        "is blank"
    } else if text.chars().any(super::names::is_misleading) {
        "has a control or direction character"
    } else if text.chars().count() > 200 {
        "has more than 200 characters"
    } else {
        return Some(text);
    };
    report.error(rules::META002, node.span, format!("`{what}` {fault}"), "write one plain line");
    None
}

fn tags(report: &mut Report, node: &Node) -> Option<Vec<String>> {
    let items = report.list(rules::META002, "tags", node)?;
    if items.is_empty() {
        report.error(rules::META004, node.span, "`tags` is empty", "write at least one tag");
        return None;
    }
    let mut tags = Vec::new();
    for item in items {
        let tag = report.text(rules::META004, "tags", item);
        tags.extend(tag.filter(|_| line(report, "tags", item).is_some()));
    }
    (tags.len() == items.len()).then_some(tags)
}
