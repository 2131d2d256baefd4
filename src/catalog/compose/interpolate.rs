//! `${X:-default}` from an explicit, empty map: nothing of the node's environment gets in.
//!
//! Two places are left as they are and expand their own texts: `ports`, whose host part is
//! ignored anyway, and the environment of `flag-rotator`, where `ANSWER_…` is passed through.

use crate::catalog::decode::{Report, shown};
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Node, Scalar, ScalarKind, Span, Value};
use crate::model::compose::ROTATOR;

const MAX_NESTING: usize = 8;

/// Why a text cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// The variable has no value and no default.
    Undefined(String),
    /// The variable is a minted answer.
    Answer(String),
    /// `${X:?message}`.
    Required(String),
    /// Not a variable at all.
    Malformed,
}

/// The whole file with every text expanded.
pub(super) fn file(map: &Map, report: &mut Report) -> Map {
    map_with(map, |entry| match entry.key.as_str() {
        key if key.starts_with("x-") => entry.value.clone(),
        "services" => services(&entry.value, report),
        _ => tree(&entry.value, report),
    })
}

fn map_with(map: &Map, mut change: impl FnMut(&Entry) -> Node) -> Map {
    let entries = map
        .entries
        .iter()
        .map(|entry| Entry {
            key: entry.key.clone(),
            key_span: entry.key_span,
            value: change(entry),
        })
        .collect();
    Map { entries }
}

fn services(node: &Node, report: &mut Report) -> Node {
    let Some(services) = node.as_map() else { return node.clone() };
    let services = map_with(services, |service| {
        let Some(keys) = service.value.as_map() else { return service.value.clone() };
        let keys = map_with(keys, |entry| match entry.key.as_str() {
            "ports" => entry.value.clone(),
            "environment" if service.key == ROTATOR => entry.value.clone(),
            key if key.starts_with("x-") => entry.value.clone(),
            _ => tree(&entry.value, report),
        });
        Node::map(service.value.span, keys)
    });
    Node::map(node.span, services)
}

/// `node` with every text in it expanded.
pub(super) fn tree(node: &Node, report: &mut Report) -> Node {
    match &node.value {
        Value::List(items) => {
            Node::list(node.span, items.iter().map(|item| tree(item, report)).collect())
        }
        Value::Map(map) => Node::map(node.span, map_with(map, |entry| tree(&entry.value, report))),
        Value::Scalar(scalar) if scalar.text.contains('$') => {
            // What cannot be expanded stays as it is, so that the rest of it is checked.
            let text = text(&scalar.text, node.span, report).unwrap_or(scalar.text.clone());
            Node::scalar(node.span, Scalar { text, kind: ScalarKind::Text, is_plain: false })
        }
        Value::Scalar(_) => node.clone(),
    }
}

/// `text` expanded; reports and answers `None` when that is not possible.
pub(super) fn text(text: &str, at: Span, report: &mut Report) -> Option<String> {
    match expand(text, 0) {
        Ok(expanded) => Some(expanded),
        Err(problem) => {
            report_problem(&problem, at, report);
            None
        }
    }
}

/// Reports why a text cannot be expanded.
pub(super) fn report_problem(problem: &Problem, at: Span, report: &mut Report) {
    match problem {
        Problem::Undefined(name) => {
            let message = format!(
                "the variable `{}` has no value: nothing of the node's environment is visible",
                shown(name)
            );
            let hint = format!(
                "write the value, or a default as in `${{{0}:-…}}`; for the shell's own variable \
                 write `$${0}`",
                shown(name)
            );
            report.refuse(rules::COMPOSE010, at, message, hint);
        }
        Problem::Answer(name) => {
            let message = format!("`{}` is a minted answer; it may not stand here", shown(name));
            let hint = "pass it through in the environment of `flag-rotator`, or read \
                        `/answers/<id>`";
            report.refuse(rules::HARDEN013, at, message, hint);
        }
        Problem::Required(message) => {
            let message = format!("a required variable has no value: {}", shown(message));
            report.refuse(rules::COMPOSE010, at, message, "write the value in the file");
        }
        Problem::Malformed => {
            let message = "a `$` here begins no variable";
            report.refuse(rules::COMPOSE010, at, message, "write `$$` for a dollar sign");
        }
    }
}

/// Expands `text` from the empty map.
pub(super) fn expand(text: &str, depth: usize) -> Result<String, Problem> {
    if depth > MAX_NESTING {
        return Err(Problem::Malformed);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('{') {
            let end = closing_brace(tail).ok_or(Problem::Malformed)?;
            out.push_str(&braced(&tail[..end], depth)?);
            rest = &tail[end + 1..];
        } else {
            let name = variable_name(rest);
            return Err(if name.is_empty() { Problem::Malformed } else { undefined(name) });
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// What stands between `${` and `}`.
fn braced(inner: &str, depth: usize) -> Result<String, Problem> {
    let name = variable_name(inner);
    if name.is_empty() {
        return Err(Problem::Malformed);
    }
    if is_answer(name) {
        return Err(Problem::Answer(name.to_owned()));
    }
    let rest = &inner[name.len()..];
    // Unset and empty are the same in an empty map, so that `:-` equals `-`.
    let operator = rest.strip_prefix(':').unwrap_or(rest);
    if rest.is_empty() {
        Err(undefined(name))
    } else if let Some(default) = operator.strip_prefix('-') {
        expand(default, depth + 1)
    } else if let Some(message) = operator.strip_prefix('?') {
        Err(Problem::Required(format!("{name}: {message}")))
    } else if operator.starts_with('+') {
        Ok(String::new())
    } else {
        Err(Problem::Malformed)
    }
}

fn undefined(name: &str) -> Problem {
    if is_answer(name) {
        Problem::Answer(name.to_owned())
    } else {
        Problem::Undefined(name.to_owned())
    }
}

/// Whether a variable of this name holds a minted answer.
pub(super) fn is_answer(name: &str) -> bool {
    name.starts_with("ANSWER_")
}

fn variable_name(text: &str) -> &str {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return "";
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if previous == '$' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => (),
        }
        previous = c;
    }
    None
}

/// The variable, when `text` is nothing but one variable: `$X`, `${X}`, `${X:-default}`.
pub(super) fn whole_variable(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('$')?;
    match rest.strip_prefix('{') {
        Some(inner) => {
            let end = closing_brace(inner).filter(|end| end + 1 == inner.len())?;
            let inner = &inner[..end];
            let name = variable_name(inner);
            let tail = &inner[name.len()..];
            let is_fine = tail.is_empty() || tail.starts_with([':', '-', '?']);
            (is_fine && !name.is_empty()).then_some(name)
        }
        None => {
            let name = variable_name(rest);
            (!name.is_empty() && name.len() == rest.len()).then_some(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn variables_come_from_an_empty_map_only() {
        let undefined = |name: &str| Err(Problem::Undefined(name.to_owned()));
        for (text, want) in [
            ("plain", Ok("plain".to_owned())),
            ("a$$b$$", Ok("a$b$".to_owned())),
            ("${X:-d}-${Y-e}", Ok("d-e".to_owned())),
            ("${X:-${Y:-z}}!", Ok("z!".to_owned())),
            ("${X:+set}", Ok(String::new())),
            ("${X:-}", Ok(String::new())),
            ("$HOME/x", undefined("HOME")),
            ("${PATH}", undefined("PATH")),
            ("${X:?must}", Err(Problem::Required("X: must".to_owned()))),
            ("${ANSWER_FLAG:-x}", Err(Problem::Answer("ANSWER_FLAG".to_owned()))),
            ("$ANSWER_FLAG", Err(Problem::Answer("ANSWER_FLAG".to_owned()))),
            ("$(cat /x)", Err(Problem::Malformed)),
            ("${", Err(Problem::Malformed)),
            ("${1}", Err(Problem::Malformed)),
            ("$", Err(Problem::Malformed)),
        ] {
            assert_eq!(expand(text, 0), want, "{text:?}");
        }
    }

    #[test]
    fn a_whole_variable_is_nothing_but_one() {
        for (text, want) in [
            ("$A", Some("A")),
            ("${A}", Some("A")),
            ("${A:-x}", Some("A")),
            ("x$A", None),
            ("$A$B", None),
            ("${A}x", None),
            ("$$A", None),
            ("A", None),
        ] {
            assert_eq!(whole_variable(text), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_an_expansion_panic_or_grow(text in "[${}:?+A-C_1é-]{0,40}") {
            if let Ok(expanded) = expand(&text, 0) {
                prop_assert!(expanded.len() <= text.len());
            }
            let _ = whole_variable(&text);
        }
    }
}
