//! A report for programs: one JSON document.

use serde::Serialize;

use crate::catalog::rules::page;
use crate::catalog::{Finding, Severity};
use crate::cli::failure::Failure;
use crate::cli::fix::FixReport;
use crate::model::ChallengeId;

use super::report::{Report, rule_of};
use super::unwritable;

#[derive(Debug, Serialize)]
struct Document<'r> {
    challenges: usize,
    issues: Vec<Issue<'r>>,
    /// With `--fix`: `{"mended": […], "left": […]}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<serde_json::Value>,
}

/// One finding; paths are relative to the root of the repository.
#[derive(Debug, Serialize)]
struct Issue<'r> {
    rule: &'r str,
    severity: Severity,
    challenge: Option<&'r ChallengeId>,
    path: &'r str,
    /// From 1; 0 is the whole file.
    line: u32,
    column: u32,
    message: &'r str,
    hint: &'r str,
    /// Whether the challenge cannot run as it is written.
    blocks: bool,
    snippet: Option<&'r str>,
    /// Why the rule is there.
    why: Option<&'static str>,
    /// The page about the rule.
    help: Option<String>,
}

/// The document.
pub(super) fn render(report: &Report) -> Result<String, Failure> {
    let issues = report.findings.iter().map(issue).collect();
    let document = Document {
        challenges: report.challenges.len(),
        issues,
        fix: report.mended.as_ref().map(FixReport::json),
    };
    serde_json::to_string_pretty(&document).map_err(unwritable)
}

fn issue(finding: &Finding) -> Issue<'_> {
    let rule = rule_of(finding);
    Issue {
        rule: &finding.rule,
        severity: finding.severity,
        challenge: finding.challenge.as_ref(),
        path: &finding.path,
        line: finding.line,
        column: finding.column,
        message: &finding.message,
        hint: &finding.hint,
        blocks: finding.blocks,
        snippet: finding.snippet.as_deref(),
        why: rule.map(|rule| rule.why),
        help: rule.map(page::path),
    }
}
