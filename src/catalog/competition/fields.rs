//! Single values of a competition file: times, numbers, lines of text.

use std::ops::RangeInclusive;

use crate::catalog::decode::{Report, misspelt, shown};
use crate::catalog::names;
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Span};
use crate::model::Timestamp;

const MAX_LINE_CHARS: usize = 200;

/// A value and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<T> {
    /// What is written.
    pub value: T,
    /// Where.
    pub at: Span,
}

/// The entry of `key`, unless nothing stands behind it.
pub(super) fn present<'m>(map: &'m Map, key: &str) -> Option<&'m Entry> {
    map.get(key).filter(|entry| !entry.value.is_null())
}

/// The entry of a key that must be there.
pub(super) fn required<'m>(
    map: &'m Map,
    key: &str,
    example: &str,
    report: &mut Report,
) -> Option<&'m Entry> {
    let entry = present(map, key);
    if entry.is_none() {
        let at = map.get(key).map(|entry| entry.key_span);
        let at = at.unwrap_or(Span { line: 1, column: 1, ..Span::default() });
        let message = format!("the field `{key}` is missing");
        let (at, hint) = match misspelt(map, key) {
            Some(entry) => {
                let (written, line) = (shown(&entry.key), entry.key_span.line);
                (entry.value.span, format!("you wrote `{written}:` in line {line}: write `{key}:`"))
            }
            None => (at, format!("add `{key}: {example}`")),
        };
        report.error(rules::EVENT001, at, message, hint);
    }
    entry
}

/// One line of text that people read.
pub(super) fn line(entry: &Entry, what: &str, report: &mut Report) -> Option<String> {
    let text = report.text(rules::EVENT001, what, &entry.value)?;
    let text = text.trim();
    let fault = if text.is_empty() {
        "is blank"
    } else if text.chars().any(names::is_misleading) {
        "has a line break, or a control or direction character"
    } else if text.chars().count() > MAX_LINE_CHARS {
        "has more than 200 characters"
    } else {
        return Some(text.to_owned());
    };
    let message = format!("`{what}` {fault}");
    report.error(rules::EVENT001, entry.value.span, message, "write one plain line");
    None
}

/// A point in time.
pub(super) fn time(entry: &Entry, what: &str, report: &mut Report) -> Option<At<Timestamp>> {
    let text = report.text(rules::EVENT001, what, &entry.value)?;
    match Timestamp::parse_rfc3339(&text) {
        Ok(value) => Some(At { value, at: entry.value.span }),
        Err(_) => {
            let message = format!("`{what}` cannot be `{}`", shown(&text));
            let hint = "write date, time and zone, such as `2027-03-01T12:00:00Z`";
            report.error(rules::EVENT001, entry.value.span, message, hint);
            None
        }
    }
}

/// The time behind an optional key.
pub(super) fn optional_time(
    map: &Map,
    key: &str,
    place: &str,
    report: &mut Report,
) -> Option<At<Timestamp>> {
    present(map, key).and_then(|entry| time(entry, &format!("{place}{key}"), report))
}

/// A whole number within bounds.
pub(super) fn number(
    entry: &Entry,
    what: &str,
    bounds: RangeInclusive<u32>,
    report: &mut Report,
) -> Option<u32> {
    let number = report.integer(rules::EVENT001, what, &entry.value)?;
    let fitting = u32::try_from(number).ok().filter(|number| bounds.contains(number));
    if fitting.is_none() {
        let (min, max) = (bounds.start(), bounds.end());
        let message = format!("`{what}` is {number}, which is not between {min} and {max}");
        let hint = format!("write a number from {min} to {max}");
        report.error(rules::EVENT008, entry.value.span, message, hint);
    }
    fitting
}

/// Reports that `later` is not after `earlier`.
pub(super) fn in_order(
    earlier: (&str, Option<At<Timestamp>>),
    later: (&str, Option<At<Timestamp>>),
    report: &mut Report,
) {
    let ((first, Some(start)), (second, Some(end))) = (earlier, later) else { return };
    if end.value > start.value {
        return;
    }
    let message = format!("`{second}` is not after `{first}` ({})", start.value);
    report.error(rules::EVENT003, end.at, message, "put the times in order");
}
