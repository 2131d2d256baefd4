//! Turns [`Node`]s into typed values and collects every fault on the way.
//!
//! A decoder never stops at the first fault: each function answers `None` for what it could not
//! read, after it reported why, and the caller goes on with the rest.
//!
//! # Not here
//! What a particular file wants (`metadata`, `compose`), the notation (`spanned`).

use super::finding::{Finding, Weight};
use super::rules;
use super::spanned::{Entry, Map, Node, Scalar, ScalarKind, Span};
use crate::model::ChallengeId;

/// Most findings that one challenge shows.
pub(crate) const MAX_FINDINGS: usize = 200;

/// The findings of one file, or of one folder when the span is empty.
#[derive(Debug)]
pub(crate) struct Report {
    challenge: Option<ChallengeId>,
    path: String,
    findings: Vec<Finding>,
}

impl Report {
    /// An empty report on the file or folder `path`.
    pub(crate) fn new(challenge: Option<ChallengeId>, path: String) -> Self {
        Self { challenge, path, findings: Vec::new() }
    }

    /// Something with which the challenge cannot run.
    pub(crate) fn refuse(
        &mut self,
        rule: &str,
        at: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.at(Weight::Refusal, rule, self.path.clone(), at, message, hint);
    }

    /// Something that breaks a rule, though the challenge could run.
    pub(crate) fn error(
        &mut self,
        rule: &str,
        at: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.at(Weight::Error, rule, self.path.clone(), at, message, hint);
    }

    /// Something that the author should look at.
    pub(crate) fn warning(
        &mut self,
        rule: &str,
        at: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.at(Weight::Warning, rule, self.path.clone(), at, message, hint);
    }

    /// A finding of any weight about a place in this file.
    pub(crate) fn here(
        &mut self,
        weight: Weight,
        rule: &str,
        at: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.at(weight, rule, self.path.clone(), at, message, hint);
    }

    /// A finding about another file or folder as a whole.
    pub(crate) fn on_file(
        &mut self,
        weight: Weight,
        rule: &str,
        path: String,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.at(weight, rule, path, Span::default(), message, hint);
    }

    /// A finding about a place in any file.
    pub(crate) fn at(
        &mut self,
        weight: Weight,
        rule: &str,
        path: String,
        at: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.findings.push(Finding {
            rule: rule.to_owned(),
            severity: weight.severity(),
            blocks: weight == Weight::Refusal,
            challenge: self.challenge.clone(),
            path,
            line: at.line,
            column: at.column,
            message: message.into(),
            hint: hint.into(),
            snippet: None,
        });
    }

    /// The findings so far.
    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    /// Reports a value of another kind than `wanted`; `what` names the key.
    pub(crate) fn mismatch(&mut self, rule: &str, what: &str, wanted: &str, node: &Node) {
        let message = format!("`{what}` must be {wanted}, this is {}", node.kind());
        self.refuse(rule, node.span, message, format!("write {wanted}"));
    }

    /// Text that was meant as text: an unquoted number or boolean is a fault.
    pub(crate) fn text(&mut self, rule: &str, what: &str, node: &Node) -> Option<String> {
        match node.as_scalar() {
            Some(Scalar { text, kind: ScalarKind::Text, .. }) => Some(text.clone()),
            Some(Scalar { text, kind, .. }) if *kind != ScalarKind::Null => {
                let message = format!(
                    "`{what}` must be text, but `{}` without quotes is {}",
                    shown(text),
                    node.kind()
                );
                self.refuse(rule, node.span, message, "put it in quotes");
                None
            }
            _ => {
                self.mismatch(rule, what, "text", node);
                None
            }
        }
    }

    /// Any scalar but null, as written; the way compose reads numbers where it wants text.
    pub(crate) fn loose_text(&mut self, rule: &str, what: &str, node: &Node) -> Option<String> {
        match node.as_scalar() {
            Some(scalar) if scalar.kind != ScalarKind::Null => Some(scalar.text.clone()),
            _ => {
                self.mismatch(rule, what, "text", node);
                None
            }
        }
    }

    /// `true` or `false`; text of the same spelling counts, as after an interpolation.
    pub(crate) fn boolean(&mut self, rule: &str, what: &str, node: &Node) -> Option<bool> {
        match node.as_scalar() {
            Some(Scalar { kind: ScalarKind::Bool(value), .. }) => Some(*value),
            Some(Scalar { text, .. }) if text == "true" => Some(true),
            Some(Scalar { text, .. }) if text == "false" => Some(false),
            _ => {
                self.mismatch(rule, what, "`true` or `false`", node);
                None
            }
        }
    }

    /// A whole number; text that spells one counts.
    pub(crate) fn integer(&mut self, rule: &str, what: &str, node: &Node) -> Option<i64> {
        let parsed = node.as_scalar().and_then(|scalar| parse_integer(&scalar.text));
        if parsed.is_none() {
            self.mismatch(rule, what, "a whole number", node);
        }
        parsed
    }

    /// A mapping.
    pub(crate) fn map<'n>(&mut self, rule: &str, what: &str, node: &'n Node) -> Option<&'n Map> {
        if node.as_map().is_none() {
            self.mismatch(rule, what, "a mapping", node);
        }
        node.as_map()
    }

    /// A sequence.
    pub(crate) fn list<'n>(
        &mut self,
        rule: &str,
        what: &str,
        node: &'n Node,
    ) -> Option<&'n [Node]> {
        match node.as_scalar() {
            // A value of META008 may be an answer, and is never repeated.
            Some(scalar)
                if scalar.kind != ScalarKind::Null
                    && rule != rules::META008
                    && (1..=40).contains(&scalar.text.len()) =>
            {
                let message = format!("`{what}` must be a list, this is {}", node.kind());
                let hint = format!("write a list: `[{}]`", shown(&scalar.text));
                self.refuse(rule, node.span, message, hint);
            }
            _ if node.as_list().is_none() => self.mismatch(rule, what, "a list", node),
            _ => (),
        }
        node.as_list()
    }

    /// One of a few words.
    pub(crate) fn word<T>(
        &mut self,
        rule: &str,
        what: &str,
        node: &Node,
        words: &[&str],
        parse: fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(rule, what, node)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            let message = format!("`{what}` cannot be `{}`", shown(&text));
            self.refuse(rule, node.span, message, suggestion(&text, words));
        }
        parsed
    }

    /// Reports a key that does not exist, with the nearest one that does.
    pub(crate) fn unknown_key(&mut self, rule: &str, place: &str, entry: &Entry, known: &[&str]) {
        let message = format!("{place} has no key `{}`", shown(&entry.key));
        self.refuse(rule, entry.key_span, message, suggestion(&entry.key, known));
    }

    /// Reports every key of `map` that is not in `known`.
    pub(crate) fn only_keys(&mut self, rule: &str, place: &str, map: &Map, known: &[&str]) {
        for entry in map.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            self.unknown_key(rule, place, entry, known);
        }
    }
}

/// Sorts findings by place, drops doubles, and keeps [`MAX_FINDINGS`], errors first if some
/// must go.
pub(crate) fn settle(mut findings: Vec<Finding>, challenge: &ChallengeId) -> Vec<Finding> {
    let place = |finding: &Finding| (finding.path.clone(), finding.line, finding.column);
    if findings.len() > MAX_FINDINGS {
        findings.sort();
        findings.dedup();
        findings.sort_by_cached_key(|finding| (finding.weight(), place(finding)));
        let n_dropped = findings.len().saturating_sub(MAX_FINDINGS);
        if n_dropped > 0 {
            let weight = findings[MAX_FINDINGS].weight();
            let path = findings[0].path.clone();
            findings.truncate(MAX_FINDINGS);
            let mut report = Report::new(Some(challenge.clone()), path);
            let message = format!("{n_dropped} further findings are not shown");
            let path = findings[0].path.clone();
            report.on_file(weight, rules::STRUCT099, path, message, "mend the others first");
            findings.extend(report.into_findings());
        }
    }
    findings.sort_by_cached_key(|finding| {
        (place(finding), finding.weight(), finding.rule.clone(), finding.message.clone())
    });
    findings.dedup();
    findings
}

/// Decimal, `0x…` or `0o…`.
pub(crate) fn parse_integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with(['+', '-']));
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with(['+', '-']));
    }
    text.parse().ok()
}

/// `text` as it may stand in a message: at most 60 characters, nothing that hides or misleads.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::new();
    for (nth, c) in text.chars().enumerate() {
        if nth == 60 {
            out.push('…');
            break;
        }
        if c.is_ascii_graphic() || c == ' ' {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

/// The hint for a word that is none of `known`: the nearest one, or all of them when few.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some((known, _)) => format!("did you mean `{known}`?"),
        None if known.len() <= 16 => {
            let all: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
            format!("use one of {}", all.join(", "))
        }
        None => "remove it".to_owned(),
    }
}

/// The key of `map` that was meant to be `key`, and is another one.
pub(crate) fn misspelt<'m>(map: &'m Map, key: &str) -> Option<&'m Entry> {
    let is_near = |entry: &&Entry| {
        entry.key != key
            && nearest(&entry.key, &[key]).is_some_and(|(_, distance)| distance * 2 <= key.len())
    };
    map.entries.iter().find(is_near)
}

/// The word of `known` that `word` is most like, and how many letters apart they are.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<(&'k str, usize)> {
    let folded = word.to_lowercase();
    known
        .iter()
        .map(|known| (*known, distance(&folded, &known.to_lowercase())))
        .filter(|(known, distance)| *distance <= 2 && *distance < known.len())
        .min_by_key(|(_, distance)| *distance)
}

/// Levenshtein distance of the first 64 characters.
pub(super) fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}
