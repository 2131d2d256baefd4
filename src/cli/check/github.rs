//! A report as workflow commands of GitHub Actions: each becomes an annotation at its line.
//!
//! GitHub shows ten errors and ten warnings of a step, so errors come first and a group in the log
//! has everything once more.
//!
//! # Invariants
//! * No text of an author can begin a line: it cannot give a command of its own.

use std::fmt::Write as _;

use crate::catalog::{Finding, Severity};
use crate::cli::output::clean;

use super::report::{Report, count};

/// The commands.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    for wanted in [Severity::Error, Severity::Warning] {
        for finding in report.findings.iter().filter(|finding| finding.severity == wanted) {
            text += &command(finding);
            text.push('\n');
        }
    }
    // Writing to a String cannot fail.
    let checked = format!("{} checked", count(report.challenges.len(), "challenge"));
    if report.findings.is_empty() {
        return format!("flagops: {checked}, nothing to complain about");
    }
    let _ = writeln!(text, "::group::flagops: {checked}: {}", report.counts());
    for finding in &report.findings {
        let _ = writeln!(text, "- {}", clean(&finding.to_string()));
    }
    text + "::endgroup::"
}

fn command(finding: &Finding) -> String {
    let Finding { rule, severity, path, line, column, message, hint, .. } = finding;
    let mut place = format!("file={}", property(path));
    if *line > 0 {
        let _ = write!(place, ",line={line},col={}", (*column).max(1));
    }
    let mut told = clean(message);
    if !hint.is_empty() {
        told = format!("{told}\n{}", clean(hint));
    }
    format!("::{severity} {place},title={}::{}", property(rule), data(&told))
}

/// `text` after the `::` of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// `text` as the value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_github_takes_for_syntax_is_escaped() {
        assert_eq!(data("100%\r\na: b, c"), "100%25%0D%0Aa: b, c");
        assert_eq!(property("a:b,c%\n"), "a%3Ab%2Cc%25%0A");
    }
}
