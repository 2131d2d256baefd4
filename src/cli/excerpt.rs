//! A finding with the line it is about, for people.
//!
//! The line is the engine's snippet, in which answers are masked: no file is read for it.

use std::fmt::Write as _;

use crate::catalog::{Finding, Severity};

use super::output::{Paint, Style, clean};

/// Longest line that is shown around a caret.
const WIDTH: usize = 120;
/// What stands for a part of the line that is not shown.
const MASK: char = '•';

/// Renders `finding`.
///
/// ```text
/// error[META005] `difficulty` must be one of easy, medium, hard
///   --> WEB/WEB-001/metadata.yaml:3:13
///    |
///  3 | difficulty: mediun
///    |             ^
///    = hint: did you mean `medium`?
///    = note: blocks: the challenge cannot run as it is written
/// ```
pub(super) fn render(finding: &Finding, paint: Paint) -> String {
    let style = match finding.severity {
        Severity::Error => Style::Bad,
        Severity::Warning => Style::Doubtful,
    };
    let margin = " ".repeat(finding.line.to_string().len());
    let bar = paint.put(Style::Quiet, "|");
    let mut text = paint.put(style, &format!("{}[{}]", finding.severity, clean(&finding.rule)));
    // Writing to a String cannot fail.
    let _ = write!(text, " {}", paint.put(Style::Strong, &clean(&finding.message)));
    let _ = write!(text, "\n  {} {}", paint.put(Style::Quiet, "-->"), place(finding));
    if let Some(Excerpt { line, caret }) = excerpt(finding) {
        let _ = write!(text, "\n {margin} {bar}\n {} {bar} {line}", finding.line);
        if let Some(caret) = caret {
            let caret = format!("{}{}", " ".repeat(caret), paint.put(style, "^"));
            let _ = write!(text, "\n {margin} {bar} {caret}");
        }
    }
    if !finding.hint.is_empty() {
        let _ = write!(text, "\n {margin} = hint: {}", clean(&finding.hint));
    }
    if finding.blocks {
        let _ = write!(text, "\n {margin} = note: blocks, the challenge cannot run like this");
    }
    text
}

fn place(finding: &Finding) -> String {
    match finding.line {
        0 => clean(&finding.path),
        line => format!("{}:{line}:{}", clean(&finding.path), finding.column.max(1)),
    }
}

struct Excerpt {
    line: String,
    /// Characters before the caret.
    caret: Option<usize>,
}

fn excerpt(finding: &Finding) -> Option<Excerpt> {
    // A tab is one character wide here, so that the caret stays below its column.
    let line = clean(&finding.snippet.as_deref()?.replace('\t', " "));
    let column = usize::try_from(finding.column.max(1) - 1).ok()?;
    let length = line.chars().count();
    // Behind a mask the columns are no longer those of the file.
    let is_true = finding.column > 0 && !line.chars().take(column).any(|c| c == MASK);
    let caret = Some(column).filter(|column| is_true && *column <= length);
    if length <= WIDTH {
        return Some(Excerpt { line: line.trim_end().to_owned(), caret });
    }
    // A window around the column, with a mark where something is left out.
    let first = column.min(length).saturating_sub(WIDTH / 2);
    let window: String = line.chars().skip(first).take(WIDTH).collect();
    let head = if first > 0 { "…" } else { "" };
    let tail = if first + WIDTH < length { "…" } else { "" };
    let caret = caret.map(|column| column - first + head.chars().count());
    Some(Excerpt { line: format!("{head}{window}{tail}"), caret })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Severity;

    fn finding(line: u32, column: u32, snippet: Option<&str>) -> Finding {
        Finding {
            rule: "META005".to_owned(),
            severity: Severity::Error,
            blocks: false,
            snippet: snippet.map(str::to_owned),
            challenge: None,
            path: "WEB/WEB-001/metadata.yaml".to_owned(),
            line,
            column,
            message: "`difficulty` must be one of easy, medium, hard".to_owned(),
            hint: "did you mean `medium`?".to_owned(),
        }
    }

    fn shown(finding: &Finding) -> String {
        render(finding, Paint::Plain)
    }

    #[test]
    fn the_caret_points_at_the_column() {
        insta::assert_snapshot!(shown(&finding(3, 13, Some("difficulty: mediun"))), @r"
        error[META005] `difficulty` must be one of easy, medium, hard
          --> WEB/WEB-001/metadata.yaml:3:13
           |
         3 | difficulty: mediun
           |             ^
           = hint: did you mean `medium`?
        ");
    }

    #[test]
    fn a_finding_about_a_whole_file_has_no_excerpt() {
        insta::assert_snapshot!(shown(&finding(0, 0, None)), @r"
        error[META005] `difficulty` must be one of easy, medium, hard
          --> WEB/WEB-001/metadata.yaml
           = hint: did you mean `medium`?
        ");
    }

    #[test]
    fn what_blocks_says_so() {
        let blocking = Finding { blocks: true, ..finding(0, 0, None) };
        assert!(shown(&blocking).ends_with("= note: blocks, the challenge cannot run like this"));
    }

    #[test]
    fn there_is_no_caret_behind_a_mask_or_beyond_the_line() {
        for (column, snippet, has_caret) in [
            (1, "answer: ••• # x", true),
            (9, "answer: ••• # x", true),
            (13, "answer: ••• # x", false),
            (40, "name: x", false),
            (0, "name: x", false),
        ] {
            let shown = shown(&finding(2, column, Some(snippet)));
            assert_eq!(shown.contains('^'), has_caret, "{column} {snippet}");
        }
    }

    #[test]
    fn a_long_line_is_a_window_around_the_caret() {
        let source = format!("{}X{}", "a".repeat(200), "b".repeat(199));
        let shown = shown(&finding(1, 201, Some(&source)));
        let lines: Vec<&str> = shown.lines().collect();
        let caret = lines[4].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[3].chars().nth(caret), Some('X'), "{shown}");
        assert!(lines[3].chars().count() < 140, "{shown}");
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let finding = finding(3, 13, Some("difficulty: mediun"));
        let coloured = render(&finding, Paint::Colours);
        assert!(coloured.starts_with("\u{1b}[1;31merror[META005]\u{1b}[0m"), "{coloured:?}");
        let mut plain = String::new();
        for part in coloured.split('\u{1b}') {
            plain +=
                part.strip_prefix('[').and_then(|it| it.split_once('m')).map_or(part, |it| it.1);
        }
        assert_eq!(plain, shown(&finding));
    }

    proptest! {
        #[test]
        fn nothing_in_a_file_drives_the_terminal_or_panics(
            snippet in "(?s).{0,300}", line in 0_u32..12, column in 0_u32..400,
        ) {
            let shown = shown(&finding(line, column, Some(&snippet)));
            prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}
