//! A report for people: by challenge and file, with excerpts, counts, and what to do next.

use std::fmt::Write as _;

use crate::catalog::{Finding, Severity, rules};
use crate::cli::excerpt;
use crate::cli::fix::FixReport;
use crate::cli::output::{Paint, Style, clean};

use super::report::{Report, count, counts};

/// Most rules that the summary names.
const MAX_RULES: usize = 12;

/// The text.
pub(super) fn render(report: &Report, paint: Paint) -> String {
    let mut text = String::new();
    for (id, findings) in report.by_challenge() {
        let name = id.map_or_else(|| "repository".to_owned(), ToString::to_string);
        let n_errors = findings.iter().filter(|it| it.severity == Severity::Error).count();
        let counts = counts(n_errors, findings.len() - n_errors);
        // Writing to a String cannot fail.
        let _ = write!(text, "{}: {counts}\n\n", paint.put(Style::Strong, &clean(&name)));
        for finding in findings {
            text += &excerpt::render(finding, paint);
            text += "\n\n";
        }
    }
    if let Some(mended) = report.mended.as_ref().map(FixReport::render) {
        text += &mended;
        text += if mended.is_empty() { "" } else { "\n\n" };
    }
    if !report.findings.is_empty() {
        text += &rules_line(report);
        text.push('\n');
    }
    text += &summary(report, paint);
    if let Some(next) = next(report) {
        let _ = write!(text, "\nnext: {next}");
    }
    text
}

/// `2 rules: META003 ×1, META005 ×3; …`.
fn rules_line(report: &Report) -> String {
    let by_rule = report.by_rule();
    let parts: Vec<String> =
        by_rule.iter().take(MAX_RULES).map(|(id, n)| format!("{} ×{n}", clean(id))).collect();
    let more = if by_rule.len() > MAX_RULES { ", …" } else { "" };
    let known = heaviest(report).filter(|finding| rules::find(&finding.rule).is_some());
    let see = known.map_or_else(String::new, |finding| {
        format!("\n see: `flagops check --explain {}`", clean(&finding.rule))
    });
    format!("{}: {}{more}{see}", count(by_rule.len(), "rule"), parts.join(", "))
}

/// What to read about first.
fn heaviest(report: &Report) -> Option<&Finding> {
    report.findings.iter().min_by_key(|finding| finding.weight())
}

fn summary(report: &Report, paint: Paint) -> String {
    let mut checked = format!("{} checked", count(report.challenges.len(), "challenge"));
    if let Some(since) = &report.since {
        let differ = if report.challenges.len() == 1 { "differs" } else { "differ" };
        checked = format!("{checked} that {differ} from `{}`", clean(since));
    }
    if report.findings.is_empty() {
        return paint.put(Style::Good, &format!("{checked}, nothing to complain about"));
    }
    let style = if report.n_errors() > 0 { Style::Bad } else { Style::Doubtful };
    format!("{checked}: {}", paint.put(style, &report.counts()))
}

/// What the reader can do now.
fn next(report: &Report) -> Option<String> {
    let mendable = report.mendable.by_rule.iter();
    let mendable: Vec<String> = mendable.map(|(id, n)| format!("{id} ×{n}")).collect();
    // After `--fix` there is nothing left of it.
    if !mendable.is_empty() && report.mended.is_none() {
        let more = if report.mendable.is_cut { ", and more" } else { "" };
        let rules = format!("{}{more}", mendable.join(", "));
        return Some(format!("`flagops check --fix` mends what is mechanical ({rules})"));
    }
    match (report.n_blocking(), report.n_errors(), report.findings.len()) {
        (0, 0, 0) if report.challenges.is_empty() && report.since.is_none() => Some(
            "a challenge is a folder with `metadata.yaml`, as in `WEB/WEB-001/metadata.yaml`"
                .to_owned(),
        ),
        (0, 0, 0) => None,
        (0, 0, _) => Some("nothing has to be mended; `--strict` fails on warnings too".to_owned()),
        // Nobody can waive what belongs to no challenge.
        (0, ..) if report.errors().all(|it| it.challenge.is_none()) => {
            Some("mend the errors".to_owned())
        }
        (0, ..) => Some(
            "mend the errors, or waive one with its reason in `audit-allowlist.yaml`".to_owned(),
        ),
        (1, ..) => {
            Some("mend the error that blocks first: the server cannot use this version".to_owned())
        }
        (n_blocking, ..) => Some(format!(
            "mend the {n_blocking} errors that block first: the server cannot use {}",
            if report.n_blocked() > 1 { "these versions" } else { "this version" }
        )),
    }
}
