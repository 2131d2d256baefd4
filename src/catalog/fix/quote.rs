//! Quotes around text that YAML readers take for a number, a boolean or a date.
//!
//! `answer: 42` was meant as the two characters, whatever a reader makes of them; with quotes all
//! readers agree. Nothing (`null`, `~`) is left alone: nobody can tell whether it is a word.
//!
//! # Not here
//! Which values must be text (`metadata`, `audit`): a quote stays only if a finding goes.

use std::sync::LazyLock;

use regex::Regex;

use super::change::{Change, Edit, Plain, Step, keys};
use super::place::Source;
use super::{About, Proposal, Proposals};
use crate::catalog::rules::{META002, META004, META006, META008, META022};
use crate::catalog::spanned::{Node, ScalarKind};

/// Most questions that are looked at; a file with more is refused as a whole.
const MAX_QUESTIONS: usize = 200;

/// Plain text that readers of YAML 1.1, the reference among them, take for something else.
static OTHER_IN_YAML_1_1: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)^(?:
          yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF
        | [-+]?0b[01_]+ | [-+]?0x[0-9a-fA-F_]+ | [-+]?[0-9][0-9_]*
        | [-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?
        | [-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)? | \.[0-9][0-9_]*
        | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[\x20\t]+)[0-9:.]+(?:[\x20\t]*(?:Z|[-+][0-9:]+))?)?
        )$",
    )
    .expect("the expression is constant, and a test matches with it")
});

/// What can be written inside double quotes as it is.
static HARMLESS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[A-Za-z0-9+\-.:_ ]+$").expect("the expression is constant, and tested")
});

/// Proposes quotes in a `metadata.yaml`.
pub(super) fn propose(source: Source<'_>, root: &Node, proposals: &mut Proposals) {
    let Some(map) = root.as_map() else { return };
    let quotes = Quotes { source, line: None };
    let fields: [(&str, &'static [&'static str]); 3] =
        [("name", &[META002]), ("description", &[META002]), ("author", &[META022])];
    for (key, rules) in fields {
        if let Some(entry) = map.get(key) {
            let group = quotes.scalar(&entry.value, keys(&[key]));
            proposals.able.extend(quotes.proposal(rules, key, group));
        }
    }
    if let Some(entry) = map.get("tags") {
        let group = quotes.each(&entry.value, &keys(&["tags"]));
        proposals.able.extend(quotes.proposal(&[META002, META004], "tags", group));
    }
    let questions = map.get("questions").and_then(|entry| entry.value.as_list());
    for (nth, question) in questions.unwrap_or_default().iter().take(MAX_QUESTIONS).enumerate() {
        let quotes = Quotes { source, line: Some(question.span.line) };
        quotes.question(question, nth, proposals);
    }
}

/// A scalar that gets quotes.
struct Quoted {
    line: u32,
    edit: Edit,
    change: Change,
}

/// Looks for scalars that need quotes.
struct Quotes<'t> {
    source: Source<'t>,
    /// The line of the list item around them, at which a finding may stand, too.
    line: Option<u32>,
}

impl Quotes<'_> {
    fn question(&self, question: &Node, nth: usize, proposals: &mut Proposals) {
        let Some(map) = question.as_map() else { return };
        let at = |key: &str| {
            let mut at = keys(&["questions"]);
            at.extend([Step::Item(nth), Step::Key(key.to_owned())]);
            at
        };
        let each = |key: &str| {
            map.get(key).map(|entry| self.each(&entry.value, &at(key))).unwrap_or_default()
        };
        for key in ["id", "prompt", "requires"] {
            proposals.able.extend(self.proposal(&[META006], key, each(key)));
        }
        // Both decide the mode, and one finding may speak of both.
        let mut group = each("answer");
        group.extend(each("choices"));
        proposals.able.extend(self.proposal(&[META008], "answer", group));
    }

    /// The scalars of a list, or the one scalar.
    fn each(&self, node: &Node, at: &[Step]) -> Vec<Quoted> {
        let Some(items) = node.as_list() else { return self.scalar(node, at.to_vec()) };
        let mut group = Vec::new();
        for (nth, item) in items.iter().enumerate() {
            let mut at = at.to_vec();
            at.push(Step::Item(nth));
            group.extend(self.scalar(item, at));
        }
        group
    }

    /// The scalar, if it needs quotes and they change nothing but its kind.
    fn scalar(&self, node: &Node, at: Vec<Step>) -> Vec<Quoted> {
        let Some(scalar) = node.as_scalar().filter(|scalar| scalar.is_plain) else {
            return Vec::new();
        };
        let is_other = match scalar.kind {
            ScalarKind::Null => false,
            ScalarKind::Bool(_) | ScalarKind::Int | ScalarKind::Float => true,
            ScalarKind::Text => OTHER_IN_YAML_1_1.is_match(&scalar.text),
        };
        let span = node.span;
        let is_written_so = self.source.0.get(span.start..span.end) == Some(scalar.text.as_str());
        if !is_other || !is_written_so || !HARMLESS.is_match(&scalar.text) {
            return Vec::new();
        }
        let edit = Edit::replace(span.start, span.end, format!("\"{}\"", scalar.text));
        let change = Change { at, to: Some(Plain::text(&scalar.text)) };
        vec![Quoted { line: span.line, edit, change }]
    }

    /// One proposal for all of `group`, if there is any.
    fn proposal(
        &self,
        rules: &'static [&'static str],
        key: &str,
        group: Vec<Quoted>,
    ) -> Option<Proposal> {
        if group.is_empty() {
            return None;
        }
        let mut lines: Vec<u32> = group.iter().map(|quoted| quoted.line).collect();
        lines.extend(self.line);
        let values = if group.len() == 1 { "the value" } else { "the values" };
        // The value itself is not repeated: it may be an answer.
        let what = format!("put {values} of `{key}` in quotes");
        let (edits, changes) = group.into_iter().map(|it| (it.edit, it.change)).unzip();
        let about = About { rules, lines, service: None };
        Some(Proposal { about, what, ways: vec![edits], changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_readers_take_for_something_else_is_known() {
        for text in [
            "yes",
            "Off",
            "12:30",
            "1_000",
            "012",
            "0x1F",
            "0b11",
            "2026-11-21",
            "1.5",
            "-3",
            "2026-11-21 10:00:00",
            "2026-11-21T10:00:00Z",
            ".5",
            "1:20:30.5",
        ] {
            assert!(OTHER_IN_YAML_1_1.is_match(text), "{text}");
            assert!(HARMLESS.is_match(text), "{text}");
        }
        for text in ["yesterday", "a", "1a", "10.0.0.1", "2026", "x:1", "FLAG{1}", "", "y", "oN"] {
            assert_eq!(OTHER_IN_YAML_1_1.is_match(text), text == "2026", "{text}");
        }
    }
}
