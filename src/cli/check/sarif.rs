//! A report as SARIF 2.1.0, for code scanning.
//!
//! One run. Rules are those that occur, with their pages as help; a result names its rule by index
//! and its file below `SRCROOT`. A fingerprint says that two results of two revisions are one: it
//! is made of rule, path and the line's text, not of the line's number.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::catalog::rules::{self, Rule, page};
use crate::catalog::{Finding, Severity};
use crate::cli::failure::Failure;
use crate::model::id::hex;

use super::report::{Report, is_waived};
use super::unwritable;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
/// What paths are relative to.
const BASE: &str = "SRCROOT";
/// Name and version of how fingerprints are made.
const FINGERPRINT: &str = "flagopsFinding/v1";

#[derive(Debug, Serialize)]
struct Log<'r> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'r>; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'r> {
    tool: Tool<'r>,
    automation_details: AutomationDetails,
    original_uri_base_ids: BTreeMap<&'static str, UriBase>,
    column_kind: &'static str,
    results: Vec<Outcome<'r>>,
}

#[derive(Debug, Serialize)]
struct Tool<'r> {
    driver: Driver<'r>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver<'r> {
    name: &'static str,
    version: &'static str,
    semantic_version: &'static str,
    rules: Vec<Descriptor<'r>>,
}

#[derive(Debug, Serialize)]
struct AutomationDetails {
    id: &'static str,
}

#[derive(Debug, Serialize)]
struct UriBase {
    description: Text,
}

/// A rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'r> {
    id: &'r str,
    #[serde(flatten)]
    words: Option<Words>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Words {
    short_description: Text,
    full_description: Text,
    help: Help,
    default_configuration: Configuration,
}

#[derive(Debug, Serialize)]
struct Help {
    text: String,
    markdown: String,
}

#[derive(Debug, Serialize)]
struct Configuration {
    level: Severity,
}

#[derive(Debug, Serialize)]
struct Text {
    text: String,
}

/// A finding.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'r> {
    rule_id: &'r str,
    rule_index: usize,
    level: Severity,
    message: Text,
    locations: [Location<'r>; 1],
    partial_fingerprints: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressions: Vec<Suppression>,
    properties: Properties<'r>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location<'r> {
    physical_location: PhysicalLocation<'r>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation<'r> {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region<'r>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLocation {
    uri: String,
    uri_base_id: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Region<'r> {
    start_line: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_column: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snippet: Option<Snippet<'r>>,
}

#[derive(Debug, Serialize)]
struct Snippet<'r> {
    text: &'r str,
}

#[derive(Debug, Serialize)]
struct Suppression {
    kind: &'static str,
    status: &'static str,
}

/// What SARIF has no word for.
#[derive(Debug, Serialize)]
struct Properties<'r> {
    challenge: Option<&'r str>,
    blocks: bool,
}

/// The document.
pub(super) fn render(report: &Report) -> Result<String, Failure> {
    let ids: Vec<&str> = report.by_rule().into_keys().collect();
    let mut seen = BTreeMap::<String, u32>::new();
    let results = report.findings.iter().map(|finding| {
        let print = fingerprint(finding);
        // Two findings may be alike: they are counted, as they stand in the file.
        let nth = seen.entry(print.clone()).or_default();
        *nth += 1;
        // Every id of a finding is among the ids, which are sorted.
        let index = ids.partition_point(|id| *id < finding.rule.as_str());
        result(finding, index, format!("{print}:{nth}"))
    });
    let run = Run {
        results: results.collect(),
        tool: Tool { driver: driver(&ids) },
        automation_details: AutomationDetails { id: "flagops/" },
        original_uri_base_ids: BTreeMap::from([(
            BASE,
            UriBase { description: text("the root of the repository") },
        )]),
        column_kind: "unicodeCodePoints",
    };
    let log = Log { schema: SCHEMA, version: "2.1.0", runs: [run] };
    serde_json::to_string_pretty(&log).map_err(unwritable)
}

fn driver<'r>(ids: &[&'r str]) -> Driver<'r> {
    let version = env!("CARGO_PKG_VERSION");
    let rules = ids.iter().map(|id| Descriptor { id, words: rules::find(id).map(words) });
    Driver { name: "flagops", version, semantic_version: version, rules: rules.collect() }
}

fn words(rule: &Rule) -> Words {
    Words {
        short_description: text(rule.summary),
        full_description: text(rule.why),
        help: Help { text: rule.fix.to_owned(), markdown: page::render(rule) },
        default_configuration: Configuration { level: rule.weight.severity() },
    }
}

fn result(finding: &Finding, rule_index: usize, fingerprint: String) -> Outcome<'_> {
    let message = match finding.hint.as_str() {
        "" => finding.message.clone(),
        hint => format!("{}\n{hint}", finding.message),
    };
    let waived = Suppression { kind: "external", status: "accepted" };
    Outcome {
        rule_id: &finding.rule,
        rule_index,
        level: finding.severity,
        message: Text { text: message },
        locations: [Location {
            physical_location: PhysicalLocation {
                artifact_location: ArtifactLocation { uri: uri(&finding.path), uri_base_id: BASE },
                region: region(finding),
            },
        }],
        partial_fingerprints: BTreeMap::from([(FINGERPRINT, fingerprint)]),
        suppressions: is_waived(finding).then_some(waived).into_iter().collect(),
        properties: Properties {
            challenge: finding.challenge.as_ref().map(|id| id.as_str()),
            blocks: finding.blocks,
        },
    }
}

fn region(finding: &Finding) -> Option<Region<'_>> {
    (finding.line > 0).then(|| Region {
        start_line: finding.line,
        start_column: (finding.column > 0).then_some(finding.column),
        snippet: finding.snippet.as_deref().map(|text| Snippet { text }),
    })
}

fn fingerprint(finding: &Finding) -> String {
    let content = finding.snippet.as_deref().map_or(finding.message.as_str(), str::trim);
    let mut hash = Sha256::new();
    for part in [finding.rule.as_str(), &finding.path, content] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex(&hash.finalize()[..16])
}

/// A path as a relative reference: everything but plain characters is percent-encoded.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => {
                uri.push('%');
                uri += &hex(&[byte]).to_uppercase();
            }
        }
    }
    // The repository as a whole.
    if uri.is_empty() { ".".to_owned() } else { uri }
}

fn text(text: &str) -> Text {
    Text { text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_relative_reference() {
        assert_eq!(uri("WEB/WEB-001/metadata.yaml"), "WEB/WEB-001/metadata.yaml");
        assert_eq!(uri("a b/é:#?%"), "a%20b/%C3%A9%3A%23%3F%25");
        assert_eq!(uri(""), ".");
    }
}
