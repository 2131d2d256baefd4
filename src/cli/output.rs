//! The only place that prints. Commands make text; this makes it safe and puts it out.
//!
//! # Invariants
//! * Results go to standard output, everything else to standard error.
//! * Text of others (logs, messages, names) passes [`clean`] or [`clean_block`] first: it cannot
//!   move the cursor, set titles or reverse the reading order.
//! * A reader that went away ends nothing: `flagops … | head` is fine.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::Value;

use super::failure::Failure;

/// How a result is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON document.
    Json,
}

/// The formats of `--format`: every command has the first two, `check` has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Shape {
    /// For people
    #[default]
    #[value(alias = "text")]
    Table,
    /// One JSON document
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations of GitHub Actions
    Github,
    /// JUnit XML, for GitLab and others
    Junit,
}

impl Shape {
    /// Reads what every command knows.
    pub(crate) fn of_every_command() -> impl TypedValueParser<Value = Self> {
        let known = [Self::Table, Self::Json];
        let names = known.iter().filter_map(ValueEnum::to_possible_value);
        PossibleValuesParser::new(names).map(move |name| {
            let is_named = |shape: &&Self| {
                shape.to_possible_value().is_some_and(|value| value.matches(&name, false))
            };
            known.iter().find(is_named).copied().unwrap_or_default()
        })
    }
}

impl From<Shape> for Format {
    /// What is for machines is JSON to whoever has no other.
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Table => Self::Table,
            Shape::Json | Shape::Sarif | Shape::Github | Shape::Junit => Self::Json,
        }
    }
}

/// Whether colours may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Text only.
    Plain,
    /// Bold and colours of a terminal.
    Colours,
}

impl Paint {
    /// Colours when standard output is a terminal that takes them, and nobody set `NO_COLOR`.
    pub(crate) fn of_output() -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        if io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb {
            Self::Colours
        } else {
            Self::Plain
        }
    }

    /// `text` in `style`; `text` was cleaned before.
    pub(crate) fn put(self, style: Style, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colours => format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()),
        }
    }
}

/// How a part of a text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// What is broken.
    Bad,
    /// What is doubtful.
    Doubtful,
    /// What is well.
    Good,
    /// What is beside the point.
    Quiet,
    /// A heading.
    Strong,
}

impl Style {
    /// The parameter of the escape sequence.
    fn code(self) -> &'static str {
        match self {
            Self::Bad => "1;31",
            Self::Doubtful => "1;33",
            Self::Good => "1;32",
            Self::Quiet => "36",
            Self::Strong => "1",
        }
    }
}

/// Puts `text` and a line end on standard output.
///
/// # Errors
/// When it cannot be written, e.g. to a full disk; not when nobody reads.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| {
        if text.ends_with('\n') {
            out.flush()
        } else {
            out.write_all(b"\n").and_then(|()| out.flush())
        }
    });
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(
            format!("could not write the result ({error})"),
            "free some space, or write somewhere else",
        )),
        _ => Ok(()),
    }
}

/// Puts `value` on standard output as indented JSON.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&format!("{value:#}"))
}

/// Tells the person something beside the result, on standard error.
pub(crate) fn note(text: &str) {
    // Nowhere is left to say that standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether a person watches standard error, so that progress may be drawn.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// A table without lines, columns two blanks apart, cells cleaned. `header` may be empty.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).force_no_tty();
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// `text` in one line and without anything that a terminal would act on.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_hostile(c) { '\u{fffd}' } else { c }).collect()
}

/// As [`clean`], but lines and tabs stay. Carriage returns go: progress bars become lines.
pub(crate) fn clean_block(text: &str) -> String {
    let replaced = |c| match c {
        '\n' | '\t' => Some(c),
        '\r' => None,
        c if is_hostile(c) => Some('\u{fffd}'),
        c => Some(c),
    };
    text.chars().filter_map(replaced).collect()
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` cut at `n` characters, with a mark when something is missing.
pub(crate) fn cut(text: &str, n: usize) -> String {
    if text.chars().count() <= n {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(n.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A span of time in its two largest units: `1d2h`, `3m20s`, `450ms`.
pub(crate) fn span(millis: i64) -> String {
    let millis = millis.max(0);
    let (secs, rest) = (millis / 1000, millis % 1000);
    match secs {
        0 => format!("{rest}ms"),
        1..60 => format!("{secs}.{}s", rest / 100),
        60..3600 => format!("{}m{}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h{}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d{}h", secs / 86_400, secs % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_aligned_columns_and_no_escape_sequences() {
        let rows = vec![
            vec!["WEB-001".to_owned(), "live".to_owned(), String::new()],
            vec!["X\u{1b}[31m\n".to_owned(), "invalid".to_owned(), "2 errors".to_owned()],
        ];
        insta::assert_snapshot!(table(&["ID", "STATE", "FINDINGS"], &rows), @r"
        ID       STATE    FINDINGS
        WEB-001  live
        X�[31m�  invalid  2 errors
        ");
    }

    #[test]
    fn hostile_text_cannot_drive_a_terminal() {
        assert_eq!(
            clean("a\u{1b}]0;x\u{7}b\u{202e}c\td"),
            "a\u{fffd}]0;x\u{fffd}b\u{fffd}c\u{fffd}d"
        );
        assert_eq!(clean_block("10%\r20%\r\nx\ty\u{9b}"), "10%20%\nx\ty\u{fffd}");
    }

    #[test]
    fn spans_show_two_units() {
        for (millis, shown) in [
            (-5, "0ms"),
            (450, "450ms"),
            (3_250, "3.2s"),
            (200_000, "3m20s"),
            (86_340_000, "23h59m"),
            (93_600_000, "1d2h"),
        ] {
            assert_eq!(span(millis), shown);
        }
    }

    #[test]
    fn cutting_counts_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
