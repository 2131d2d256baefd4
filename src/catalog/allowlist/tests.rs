//! Lists that waive, lists that do not, and lists that are wrong.

use proptest::prelude::*;

use super::entry::{self, Entry};
use super::waive;
use crate::catalog::decode::Report;
use crate::catalog::finding::{Finding, Severity};
use crate::catalog::spanned;

fn finding(rule: &str, path: &str, line: u32) -> Finding {
    Finding {
        rule: rule.to_owned(),
        severity: Severity::Error,
        blocks: false,
        challenge: None,
        path: path.to_owned(),
        line,
        column: 1,
        message: "wrong".to_owned(),
        hint: String::new(),
        snippet: None,
    }
}

/// The findings after the list, and what is said about the list.
fn check(list: &str, mut findings: Vec<Finding>) -> (Vec<String>, Vec<String>) {
    let mut own = Report::new(None, "list".to_owned());
    let entries: Vec<Entry> = entry::read(spanned::parse(list.as_bytes()), &mut own);
    waive(&entries, &mut findings, &mut own);
    let lines = |findings: Vec<Finding>| {
        findings
            .iter()
            .map(|it| format!("{} {} {}:{} {}", it.severity, it.rule, it.path, it.line, it.message))
            .collect()
    };
    (lines(findings), lines(own.into_findings()))
}

fn one(entry: &str) -> String {
    format!("allowlist:\n  - {{{entry}}}\n")
}

#[test]
fn the_first_match_lowers_an_error_and_gives_the_reason() {
    let list = one("rule: META007, path: metadata.yaml, reason: a lesson");
    let found = vec![
        finding("META007", "WEB/W-1/metadata.yaml", 2),
        finding("META010", "WEB/W-1/metadata.yaml", 2),
    ];
    let (findings, own) = check(&list, found);
    assert_eq!(
        findings,
        [
            "warning META007 WEB/W-1/metadata.yaml:2 wrong (allowlisted: a lesson)",
            "error META010 WEB/W-1/metadata.yaml:2 wrong"
        ]
    );
    assert_eq!(own, [""; 0]);
}

#[test]
fn paths_fit_by_whole_components_and_lines_exactly() {
    for (path, line, want) in [
        ("services/a.py", "", true),
        ("W-1/services/a.py", "", true),
        ("WEB/W-1/services/a.py", "", true),
        ("/services/a.py", "", true),
        ("a.py", "", true),
        ("a.py", ", line: 3", true),
        ("a.py", ", line: 4", false),
        ("a.py", ", line: ~", true),
        (".py", "", false),
        ("ices/a.py", "", false),
        ("./services/a.py", "", false),
        ("services", "", false),
    ] {
        let list = one(&format!("rule: META007, path: {path}, reason: x{line}"));
        let (findings, own) = check(&list, vec![finding("META007", "WEB/W-1/services/a.py", 3)]);
        assert_eq!(findings[0].starts_with("warning"), want, "{path} {line}: {findings:?}");
        assert_eq!(own.is_empty(), want, "{own:?}");
    }
}

#[test]
fn what_blocks_stays_and_is_said() {
    let mut refusal = finding("META003", "W-1/metadata.yaml", 3);
    refusal.blocks = true;
    let (findings, own) =
        check(&one("rule: META003, path: metadata.yaml, reason: x"), vec![refusal]);
    assert_eq!(findings, ["error META003 W-1/metadata.yaml:3 wrong"]);
    assert_eq!(
        own,
        [
            "warning ALLOW003 list:2 `META003` at `metadata.yaml` cannot be waived: the challenge cannot run like this"
        ]
    );
}

#[test]
fn an_entry_that_waives_nothing_is_said() {
    let list = "allowlist:\n  - {rule: META007, path: metadata.yaml, reason: x}\n  - {rule: META007, path: metadata.yaml, reason: x}\n  - {rule: META010, path: metadata.yaml, line: 9, reason: x}\n";
    let (_, own) = check(list, vec![finding("META007", "W-1/metadata.yaml", 2)]);
    assert_eq!(
        own,
        [
            "warning ALLOW002 list:3 everything that this entry matches is waived by the one at 2:12",
            "warning ALLOW002 list:4 the entry matches nothing: there is no `META010` at `metadata.yaml` in line 9"
        ]
    );
}

#[test]
fn a_wrong_list_is_named_by_line_and_waives_nothing() {
    for (list, want) in [
        ("", "error ALLOW001 list:0 the file is empty"),
        ("[a]", "error ALLOW001 list:1 the allowlist must be a mapping, this is a list"),
        ("{}", "error ALLOW001 list:1 the key `allowlist` is missing"),
        ("allowlist: x", "error ALLOW001 list:1 `allowlist` must be a list, this is text"),
        ("allowlist:\n  - x", "error ALLOW001 list:2 `an entry` must be a mapping, this is text"),
        ("allowlist: []\nmore: 1", "error ALLOW001 list:2 an allowlist has no key `more`"),
        (
            &one("path: p, reason: r"),
            "error ALLOW001 list:2 the entry has no `rule`, so it waives nothing",
        ),
        (
            &one("rule: META007, reason: r"),
            "error ALLOW001 list:2 the entry has no `path`, so it waives nothing",
        ),
        (
            &one("rule: META007, path: p"),
            "error ALLOW001 list:2 the entry has no `reason`, so it waives nothing",
        ),
        (
            &one("rule: META007, path: p, reason: ' '"),
            "error ALLOW001 list:2 `reason` must be text, this is blank",
        ),
        (
            &one("rule: META007, path: p, reason: ~"),
            "error ALLOW001 list:2 `reason` must be text, this is nothing",
        ),
        (&one("rule: META7, path: p, reason: r"), "error ALLOW001 list:2 there is no rule `META7`"),
        (
            &one("rule: META007, path: p, reason: r, line: two"),
            "error ALLOW001 list:2 `line` is no line number",
        ),
        (
            &one("rule: META007, path: p, reason: r, line: 0"),
            "error ALLOW001 list:2 `line` is no line number",
        ),
        (
            &one("rule: META007, path: p, reason: r, line: 2.5"),
            "error ALLOW001 list:2 `line` is no line number",
        ),
        (
            &one("rule: META007, path: p, reason: r, line: '2'"),
            "error ALLOW001 list:2 `line` is no line number",
        ),
        (
            &one("rule: META007, path: p, reason: r, lines: 2"),
            "error ALLOW001 list:2 an entry has no key `lines`",
        ),
    ] {
        let (_, own) = check(list, Vec::new());
        assert_eq!(own.first().map(String::as_str), Some(want), "{list}");
    }
    let entry = "  - {rule: META007, path: p, reason: r}\n";
    let (_, own) = check(&format!("allowlist:\n{}", entry.repeat(201)), Vec::new());
    assert_eq!(
        own[0],
        "error ALLOW001 list:1 the list has 201 entries; those after the first 200 waive nothing"
    );
}

#[test]
fn a_reason_is_shown_on_one_line_and_without_tricks() {
    let list = one(&format!("rule: META007, path: p, reason: \"é\\n\\u202e{}\"", "x".repeat(300)));
    let (findings, _) = check(&list, vec![finding("META007", "p", 1)]);
    assert!(findings[0].contains("(allowlisted: é \\u{202e}xxx"), "{findings:?}");
    assert!(findings[0].ends_with("…)") && findings[0].chars().count() < 300);
}

proptest! {
    #[test]
    fn a_list_takes_no_finding_away_and_makes_none_heavier(
        list in "(allowlist:\n)?(  - \\{(rule: (META007|META003|x), )?(path: [a-z./]{0,4}, )?(line: [0-9a]{1,3}, )?reason: x\\}\n){0,4}",
        blocks in any::<bool>(),
    ) {
        let mut before = vec![finding("META007", "a/b", 1), finding("META003", "a", 2)];
        before[1].blocks = blocks;
        let mut after = before.clone();
        let mut own = Report::new(None, "list".to_owned());
        let entries = entry::read(spanned::parse(list.as_bytes()), &mut own);
        waive(&entries, &mut after, &mut own);
        prop_assert_eq!(after.len(), before.len());
        for (old, new) in before.iter().zip(&after) {
            prop_assert!(new.weight() >= old.weight());
            prop_assert!(!old.blocks || new == old);
        }
    }
}
