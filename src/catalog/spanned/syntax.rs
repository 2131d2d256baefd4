//! Says in the words of an author what the parser could not read.
//!
//! The parser stops where its grammar ends, which is often behind the mistake: a tab of the next
//! line, a quote that was opened far above. What is usual is recognised, and pointed at.

use granit_parser::{ErrorKind, ScanError};

use super::{Fault, Span, fault, place, to_u32};
use crate::catalog::decode::shown;

/// How many lines behind an error a tab is looked for.
const MAX_LINES: usize = 50;

/// The fault that `error` of the parser is.
pub(super) fn fault_of(text: &str, error: &ScanError) -> Fault {
    let mark = error.marker();
    let start = mark.byte_offset().unwrap_or(0).min(text.len());
    let at = Span {
        start,
        end: start,
        line: to_u32(mark.line().max(1)),
        column: to_u32(mark.col() + 1),
    };
    let is_tab = matches!(
        error.kind(),
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
            | ErrorKind::TabAtBlockScalarStart
    );
    let line_start = text.get(..start).and_then(|it| it.rfind('\n')).map_or(0, |at| at + 1);
    let n_lines = if is_tab { MAX_LINES } else { 2 };
    if let Some(offset) = indenting_tab(text, line_start, n_lines) {
        return tab(text, offset);
    }
    let after = text.get(line_start..).unwrap_or_default();
    if let Some(offset) = after.find('\t').filter(|_| is_tab) {
        return tab(text, line_start + offset);
    }
    let info = error.info();
    let reason = info.as_str();
    let lines = Around::new(text, line_start, start);
    if reason.contains("quoted scalar")
        && !reason.contains("trailing content")
        && let Some(offset) = open_quote(text, start)
    {
        let message = "this is not YAML: the quote that is opened here is never closed";
        return fault(place(text.as_bytes(), offset), message, "close it at the end of the text");
    }
    fault(at, format!("this is not YAML: {reason}"), lines.hint(reason))
}

/// The fault of the tab at byte `offset`.
pub(super) fn tab(text: &str, offset: usize) -> Fault {
    let message = "this is not YAML: a tab is used where YAML wants spaces";
    fault(place(text.as_bytes(), offset), message, "indent with spaces")
}

/// The first tab that indents one of `n_lines` lines from byte `line_start` on.
fn indenting_tab(text: &str, line_start: usize, n_lines: usize) -> Option<usize> {
    let mut at = line_start;
    for line in text.get(line_start..)?.split_inclusive('\n').take(n_lines) {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line.get(..indent)?.find('\t').filter(|_| !line.trim().is_empty()) {
            return Some(at + tab);
        }
        at += line.len();
    }
    None
}

/// The last value before byte `end` that begins with a quote which its line does not close.
fn open_quote(text: &str, end: usize) -> Option<usize> {
    let mut at = 0;
    let mut found = None;
    for line in text.get(..end)?.split_inclusive('\n') {
        let value = value_at(line);
        let quote = value.and_then(|value| line.get(value..)?.chars().next());
        if let (Some(value), Some(quote @ ('"' | '\''))) = (value, quote)
            && line.matches(quote).count() % 2 == 1
        {
            found = Some(at + value);
        }
        at += line.len();
    }
    found
}

/// Where the value of `key: value` or of `- value` begins in a line.
fn value_at(line: &str) -> Option<usize> {
    let (head, rest) = match line.split_once(": ") {
        Some((key, rest)) => (key.len() + 2, rest),
        None => {
            let rest = line.trim_start().strip_prefix("- ")?;
            (line.len() - rest.len(), rest)
        }
    };
    Some(head + rest.len() - rest.trim_start().len())
}

/// The lines around an error.
struct Around<'t> {
    /// The line of the error.
    line: &'t str,
    /// What of it stands before the error.
    before: &'t str,
    /// The line before it.
    previous: &'t str,
}

impl<'t> Around<'t> {
    fn new(text: &'t str, line_start: usize, start: usize) -> Self {
        let line = text.get(line_start..).and_then(|it| it.lines().next()).unwrap_or_default();
        let previous = text.get(..line_start).and_then(|it| it.lines().next_back());
        let before = text.get(line_start..start).unwrap_or_default();
        Self { line, before, previous: previous.unwrap_or_default() }
    }

    /// What to do about an error for which the parser says `reason`.
    fn hint(&self, reason: &str) -> String {
        let usual = "mend the YAML; what follows is not looked at until then";
        let without_space = [self.line, self.previous].into_iter().find_map(without_space);
        let value = value_at(self.line).and_then(|at| self.line.get(at..)).unwrap_or_default();
        let first = value.chars().next().unwrap_or(' ');
        if reason.contains("unclosed") {
            return "close the bracket; put a text that begins with one in quotes".to_owned();
        }
        if reason.contains("trailing content") {
            return "the text in quotes ends before this: write it in the other kind of quotes, \
                    or remove what follows"
                .to_owned();
        }
        if reason.contains("mapping values") && value_at(self.before).is_some() {
            return "put the text in quotes: `: ` in it begins a new key".to_owned();
        }
        if let Some((key, value)) = without_space
            && (reason.contains("mapping values") || reason.contains("':'"))
        {
            return format!("write a space after the colon: `{}: {}`", shown(key), shown(value));
        }
        if reason.contains("mapping values") {
            return "give the keys of one mapping the same indentation".to_owned();
        }
        if "@`%*&{[!|>".contains(first) {
            return format!("put the text in quotes: `{first}` at its start means something else");
        }
        usual.to_owned()
    }
}

/// The key and value of `key:value`.
fn without_space(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim().trim_start_matches("- ").split_once(':')?;
    let is_key =
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let is_value = !value.is_empty() && !value.starts_with([' ', '/']) && !value.contains(": ");
    (is_key && is_value).then_some((key, value))
}
