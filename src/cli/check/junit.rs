//! A report as JUnit XML: one suite per challenge.
//!
//! An error is a failed case, a warning a skipped one, and a challenge without errors has a case
//! that passed: GitLab shows errors as failed tests and a clean challenge as passed. Names have no
//! line numbers, so that a case keeps its history when lines move.

use std::collections::BTreeMap;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::catalog::rules::page;
use crate::catalog::{Finding, Severity};
use crate::cli::excerpt;
use crate::cli::failure::Failure;
use crate::cli::output::Paint;

use super::report::{Report, rule_of};
use super::unwritable;

/// Name of the suite for what belongs to no challenge.
const REPOSITORY: &str = "repository";

/// The document.
pub(super) fn render(report: &Report) -> Result<String, Failure> {
    let mut suites: BTreeMap<String, Vec<&Finding>> =
        report.challenges.keys().map(|id| (id.to_string(), Vec::new())).collect();
    for (id, findings) in report.by_challenge() {
        let name = id.map_or_else(|| REPOSITORY.to_owned(), ToString::to_string);
        suites.entry(name).or_default().extend(findings);
    }
    let mut document = quick_junit::Report::new("flagops check");
    document.add_test_suites(suites.iter().map(|(name, findings)| suite(name, findings)));
    document.to_string().map_err(unwritable)
}

fn suite(name: &str, findings: &[&Finding]) -> TestSuite {
    let mut suite = TestSuite::new(name);
    if findings.iter().all(|finding| finding.severity != Severity::Error) {
        let mut passed = TestCase::new("no errors", TestCaseStatus::success());
        passed.set_classname(name);
        suite.add_test_case(passed);
    }
    suite.add_test_cases(findings.iter().map(|finding| case(name, finding)));
    suite
}

fn case(suite: &str, finding: &Finding) -> TestCase {
    let mut status = match finding.severity {
        Severity::Error => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Severity::Warning => TestCaseStatus::skipped(),
    };
    status.set_type(finding.rule.as_str());
    status.set_message(finding.message.as_str());
    status.set_description(description(finding));
    let mut case = TestCase::new(format!("{}: {}", finding.rule, finding.message), status);
    case.set_classname(suite);
    case.extra.insert("file".into(), finding.path.as_str().into());
    if finding.line > 0 {
        case.extra.insert("line".into(), finding.line.to_string().into());
    }
    case
}

fn description(finding: &Finding) -> String {
    let mut text = excerpt::render(finding, Paint::Plain);
    if let Some(rule) = rule_of(finding) {
        text = format!("{text}\n\n{}\nSee {}.", rule.why, page::path(rule));
    }
    text
}
