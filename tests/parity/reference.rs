//! Asks the reference, as a program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Finding, inside};

/// The rules that the reference emits (`contract/challenges.md` §3.3–3.7).
pub(crate) const RULES: &[&str] = &[
    "META000",
    "META002",
    "META003",
    "META004",
    "META005",
    "META006",
    "META007",
    "META008",
    "META009",
    "META010",
    "META011",
    "META012",
    "META013",
    "STRUCT001",
    "STRUCT002",
    "STRUCT003",
    "STRUCT004",
    "STRUCT005",
    "STRUCT006",
    "STRUCT007",
    "STRUCT008",
    "STRUCT009",
    "STRUCT010",
    "STRUCT011",
    "STRUCT012",
    "STRUCT013",
    "STRUCT014",
    "COMPOSE001",
    "COMPOSE002",
    "COMPOSE003",
    "COMPOSE004",
    "COMPOSE005",
    "COMPOSE006",
    "HEALTH001",
    "NET001",
    "NET002",
    "NET003",
    "EXPLOIT001",
    "EXPLOIT002",
    "EXPLOIT003",
    "EXPLOIT004",
    "EXPLOIT007",
    "SOURCE001",
    "SOURCE002",
    "SOURCE003",
    "SOURCE004",
];

/// Beside the Python that `scripts/test` prepares. CI must have it.
fn program() -> Option<PathBuf> {
    let python = std::env::var_os("FLAGOPS_TEST_PYTHON").map(PathBuf::from);
    let program = python.and_then(|python| Some(python.parent()?.join("ctfy-admin")));
    let program = program.filter(|program| program.is_file());
    assert!(
        program.is_some() || std::env::var_os("CI").is_none(),
        "CI needs the reference: `scripts/test` installs it and names it by FLAGOPS_TEST_PYTHON"
    );
    program
}

/// The findings of the reference on the repository `root`, by challenge; `None` where it is not
/// installed.
///
/// # Panics
/// When it does not answer, with its words.
pub(crate) fn audit(root: &Path) -> Option<BTreeMap<String, BTreeSet<Finding>>> {
    let done = Command::new(program()?)
        .args(["challenge", "audit", "--all", "--json", "--challenges-dir"])
        .arg(root)
        .output()
        .expect("the reference can be started");
    let text = String::from_utf8_lossy(&done.stdout);
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&done.stderr));
    });
    let mut findings: BTreeMap<String, BTreeSet<Finding>> = BTreeMap::new();
    for issue in answer["issues"].as_array().expect("the report has issues") {
        let word = |key: &str| issue[key].as_str().expect("issues hold texts").to_owned();
        let id = word("benchmark");
        let found = (word("rule"), inside(&word("path"), &id));
        findings.entry(id).or_default().insert(found);
    }
    Some(findings)
}
