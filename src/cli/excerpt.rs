//! A finding with the lines of the file it is about, for people.

use std::fmt::Write as _;

use crate::catalog::Finding;

use super::output::clean;

/// Longest line that is shown around a caret.
const WIDTH: usize = 120;

/// Renders `finding`; `source` is the text of its file, if it has one.
///
/// ```text
/// error[META005] `difficulty` must be one of easy, medium, hard
///   --> WEB/WEB-001/metadata.yaml:3:13
///    |
///  3 | difficulty: mediun
///    |             ^
///    = hint: did you mean `medium`?
/// ```
pub(super) fn render(finding: &Finding, source: Option<&str>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let (severity, rule) = (finding.severity, clean(&finding.rule));
    let _ = writeln!(text, "{severity}[{rule}] {}", clean(&finding.message));
    let _ = write!(text, "  --> {}", clean(&finding.path));
    if finding.line > 0 {
        let _ = write!(text, ":{}:{}", finding.line, finding.column.max(1));
    }
    let excerpt = source.and_then(|source| excerpt(finding, source));
    let margin = finding.line.to_string().len();
    if let Some(Excerpt { line, caret }) = excerpt {
        let (number, blank) = (finding.line, " ".repeat(margin));
        let _ = write!(text, "\n {blank} |\n {number} | {line}");
        if let Some(caret) = caret {
            let _ = write!(text, "\n {blank} | {}^", " ".repeat(caret));
        }
    }
    if !finding.hint.is_empty() {
        let blank = " ".repeat(margin);
        let _ = write!(text, "\n {blank} = hint: {}", clean(&finding.hint));
    }
    text
}

struct Excerpt {
    line: String,
    /// Characters before the caret.
    caret: Option<usize>,
}

fn excerpt(finding: &Finding, source: &str) -> Option<Excerpt> {
    let index = usize::try_from(finding.line.checked_sub(1)?).ok()?;
    // A tab is one character wide here, so that the caret stays below its column.
    let line = clean(&source.lines().nth(index)?.replace('\t', " "));
    let column = usize::try_from(finding.column.checked_sub(1)?).ok()?;
    let length = line.chars().count();
    if length <= WIDTH {
        let caret = (column <= length).then_some(column);
        return Some(Excerpt { line: line.trim_end().to_owned(), caret });
    }
    // A window around the column, with a mark where something is left out.
    let first = column.min(length).saturating_sub(WIDTH / 2);
    let window: String = line.chars().skip(first).take(WIDTH).collect();
    let head = if first > 0 { "…" } else { "" };
    let tail = if first + WIDTH < length { "…" } else { "" };
    let caret = (column <= length).then(|| column - first + head.chars().count());
    Some(Excerpt { line: format!("{head}{window}{tail}"), caret })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Severity;

    fn finding(line: u32, column: u32) -> Finding {
        Finding {
            rule: "META005".to_owned(),
            severity: Severity::Error,
            challenge: None,
            path: "WEB/WEB-001/metadata.yaml".to_owned(),
            line,
            column,
            message: "`difficulty` must be one of easy, medium, hard".to_owned(),
            hint: "did you mean `medium`?".to_owned(),
        }
    }

    #[test]
    fn the_caret_points_at_the_column() {
        let source = "name: x\n\ndifficulty: mediun\n";
        insta::assert_snapshot!(render(&finding(3, 13), Some(source)), @r"
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
        insta::assert_snapshot!(render(&finding(0, 0), Some("name: x")), @r"
        error[META005] `difficulty` must be one of easy, medium, hard
          --> WEB/WEB-001/metadata.yaml
           = hint: did you mean `medium`?
        ");
    }

    #[test]
    fn a_line_beyond_the_file_is_left_out() {
        let shown = render(&finding(9, 1), Some("name: x"));
        assert_eq!(shown.lines().count(), 3, "{shown}");
    }

    #[test]
    fn a_long_line_is_a_window_around_the_caret() {
        let source = format!("{}X{}", "a".repeat(400), "b".repeat(400));
        let shown = render(&finding(1, 401), Some(&source));
        let lines: Vec<&str> = shown.lines().collect();
        let caret = lines[4].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[3].chars().nth(caret), Some('X'), "{shown}");
        assert!(lines[3].chars().count() < 140, "{shown}");
    }

    proptest! {
        #[test]
        fn nothing_in_a_file_drives_the_terminal_or_panics(
            source in "(?s).{0,300}", line in 0_u32..12, column in 0_u32..400,
        ) {
            let shown = render(&finding(line, column), Some(&source));
            prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}
