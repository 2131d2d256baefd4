//! The entries of an allowlist: read, checked, and compared with findings.

use crate::catalog::decode::{Report, parse_integer, shown, suggestion};
use crate::catalog::finding::Finding;
use crate::catalog::names;
use crate::catalog::rules;
use crate::catalog::spanned::{Map, Node, Parsed, ScalarKind, Span};

const KEYS: &[&str] = &["rule", "path", "line", "reason"];
const MAX_ENTRIES: usize = 200;
const MAX_REASON_CHARS: usize = 200;

/// One entry without faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The rule it waives.
    pub rule: String,
    /// Where `rule` stands.
    pub rule_at: Span,
    /// The end of the path of a finding.
    pub path: String,
    /// The line; every line when absent.
    pub line: Option<u32>,
    /// Why, on one line, with what misleads escaped.
    pub reason: String,
}

impl Entry {
    /// Whether it is about `finding`. Paths are compared by whole components: `app.py` is the end
    /// of `services/app.py`, not of `services/myapp.py`.
    pub(super) fn matches(&self, finding: &Finding) -> bool {
        let is_path = finding.path.strip_suffix(self.path.as_str()).is_some_and(|before| {
            before.is_empty() || before.ends_with('/') || self.path.starts_with('/')
        });
        is_path && self.rule == finding.rule && self.line.is_none_or(|line| line == finding.line)
    }
}

/// Reads the list: `allowlist`, a list of mappings.
pub(super) fn read(parsed: Parsed, report: &mut Report) -> Vec<Entry> {
    for fault in parsed.faults {
        report.error(rules::ALLOW001, fault.at, fault.message, fault.hint);
    }
    let Some(root) = parsed.root else { return Vec::new() };
    let shape = "write `allowlist:` and below it one `- {rule: …, path: …, reason: …}` per finding";
    let Some(map) = root.as_map() else {
        let message = format!("the allowlist must be a mapping, this is {}", root.kind());
        report.error(rules::ALLOW001, root.span, message, shape);
        return Vec::new();
    };
    report.only_keys(rules::ALLOW001, "an allowlist", map, &["allowlist"]);
    let Some(entry) = map.get("allowlist") else {
        report.error(rules::ALLOW001, root.span, "the key `allowlist` is missing", shape);
        return Vec::new();
    };
    let Some(items) = entry.value.as_list() else {
        let message = format!("`allowlist` must be a list, this is {}", entry.value.kind());
        report.error(rules::ALLOW001, entry.value.span, message, shape);
        return Vec::new();
    };
    if items.len() > MAX_ENTRIES {
        let message = format!(
            "the list has {} entries; those after the first {MAX_ENTRIES} waive nothing",
            items.len()
        );
        report.error(rules::ALLOW001, entry.key_span, message, "mend some of the findings instead");
    }
    items.iter().take(MAX_ENTRIES).filter_map(|item| read_entry(item, report)).collect()
}

fn read_entry(item: &Node, report: &mut Report) -> Option<Entry> {
    let map = report.map(rules::ALLOW001, "an entry", item)?;
    report.only_keys(rules::ALLOW001, "an entry", map, KEYS);
    let rule = filled(map, "rule", item.span, report).and_then(|(rule, at)| {
        if rules::find(rule).is_some() {
            return Some((rule.to_owned(), at));
        }
        let message = format!("there is no rule `{}`", shown(rule));
        let known: Vec<&str> = rules::all().map(|rule| rule.id).collect();
        let hint = match suggestion(rule, &known) {
            hint if hint.starts_with("did") => hint,
            _ => "copy the id of the finding, such as `META007`".to_owned(),
        };
        report.error(rules::ALLOW001, at, message, hint);
        None
    });
    let path = filled(map, "path", item.span, report);
    let reason = filled(map, "reason", item.span, report);
    let line = line(map, report);
    let (rule, rule_at) = rule?;
    Some(Entry {
        rule,
        rule_at,
        path: path?.0.to_owned(),
        line: line?,
        reason: one_line(reason?.0),
    })
}

/// The text behind a key that must be there, and its place.
fn filled<'m>(map: &'m Map, key: &str, at: Span, report: &mut Report) -> Option<(&'m str, Span)> {
    let Some(entry) = map.get(key) else {
        let message = format!("the entry has no `{key}`, so it waives nothing");
        report.error(rules::ALLOW001, at, message, format!("add `{key}: …`"));
        return None;
    };
    let scalar = entry.value.as_scalar().filter(|scalar| scalar.kind == ScalarKind::Text);
    match scalar.filter(|scalar| !scalar.text.trim().is_empty()) {
        Some(scalar) => Some((scalar.text.trim(), entry.value.span)),
        None => {
            let message = format!("`{key}` must be text, this is {}", kind(&entry.value));
            report.error(rules::ALLOW001, entry.value.span, message, format!("write `{key}: …`"));
            None
        }
    }
}

fn kind(node: &Node) -> &'static str {
    match node.as_scalar() {
        Some(scalar) if scalar.kind == ScalarKind::Text => "blank",
        _ => node.kind(),
    }
}

/// The line; `None` when there is something that is no line.
fn line(map: &Map, report: &mut Report) -> Option<Option<u32>> {
    let Some(entry) = map.get("line").filter(|entry| !entry.value.is_null()) else {
        return Some(None);
    };
    let scalar = entry.value.as_scalar().filter(|scalar| scalar.kind == ScalarKind::Int);
    let number = scalar.and_then(|scalar| parse_integer(&scalar.text));
    match number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0) {
        Some(number) => Some(Some(number)),
        None => {
            let message = "`line` is no line number";
            let hint = "write a whole number from 1, or leave it out for every line";
            report.error(rules::ALLOW001, entry.value.span, message, hint);
            None
        }
    }
}

/// A reason as it may stand behind a message.
fn one_line(reason: &str) -> String {
    let mut out = String::new();
    for (nth, c) in reason.chars().enumerate() {
        if nth == MAX_REASON_CHARS {
            out.push('…');
            break;
        }
        match c {
            _ if c.is_whitespace() => out.push(' '),
            _ if names::is_misleading(c) => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out
}
