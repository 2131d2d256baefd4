//! Reports in every format, made by hand and by the engine, and what `--since` leaves of them.

use serde_json::Value;

use super::*;
use crate::catalog::{Finding, Severity};
use crate::model::MemoryTree;

fn finding(path: &str, line: u32, severity: Severity) -> Finding {
    Finding {
        rule: "X001".to_owned(),
        severity,
        blocks: false,
        snippet: (line > 0).then(|| "naem: x".to_owned()),
        challenge: path.split('/').nth(1).map(|id| id.parse().unwrap()),
        path: path.to_owned(),
        line,
        column: line.min(1),
        message: "`name` is missing".to_owned(),
        hint: "add it".to_owned(),
    }
}

/// Two challenges, one of them clean; everything that formats show differently.
fn report() -> Report {
    let waived = Finding {
        message: "`tags`: 50% (allowlisted)".to_owned(),
        hint: String::new(),
        ..finding("WEB/WEB-001/metadata.yaml", 2, Severity::Warning)
    };
    let blocking = Finding {
        blocks: true,
        rule: "X000".to_owned(),
        ..finding("WEB/WEB-001/metadata.yaml", 1, Severity::Error)
    };
    let findings = vec![finding("a,b", 0, Severity::Error), blocking, waived];
    let path = |id: &str| (id.parse().unwrap(), format!("WEB/{id}"));
    Report {
        challenges: ["WEB-001", "WEB-002"].map(path).into(),
        findings,
        since: None,
        mended: None,
        mendable: Mendable::default(),
    }
}

#[test]
fn people_see_challenges_counts_and_what_to_do() {
    insta::assert_snapshot!(table::render(&report(), Paint::Plain), @r"
    repository: 1 error

    error[X001] `name` is missing
      --> a,b
       = hint: add it

    WEB-001: 1 error, 1 warning

    error[X000] `name` is missing
      --> WEB/WEB-001/metadata.yaml:1:1
       |
     1 | naem: x
       | ^
       = hint: add it
       = note: blocks, the challenge cannot run like this

    warning[X001] `tags`: 50% (allowlisted)
      --> WEB/WEB-001/metadata.yaml:2:1
       |
     2 | naem: x
       | ^

    2 rules: X000 ×1, X001 ×2
    2 challenges checked: 2 errors, 1 warning
    next: mend the error that blocks first: the server cannot use this version
    ");
}

#[test]
fn the_last_line_fits_what_was_found() {
    let shown = |findings: Vec<Finding>| {
        let text = table::render(&Report { findings, ..report() }, Paint::Plain);
        text.lines().last().unwrap_or_default().to_owned()
    };
    let error = || finding("WEB/WEB-001/metadata.yaml", 1, Severity::Error);
    assert_eq!(shown(Vec::new()), "2 challenges checked, nothing to complain about");
    assert_eq!(
        shown(vec![Finding { severity: Severity::Warning, ..error() }]),
        "next: nothing has to be mended; `--strict` fails on warnings too"
    );
    assert_eq!(
        shown(vec![error()]),
        "next: mend the errors, or waive one with its reason in `audit-allowlist.yaml`"
    );
    assert_eq!(
        shown(vec![Finding { challenge: None, ..error() }]),
        "next: mend the errors",
        "an allowlist belongs to a challenge"
    );
    let blocking = |line| Finding { blocks: true, line, ..error() };
    assert_eq!(
        shown(vec![blocking(1), blocking(2)]),
        "next: mend the 2 errors that block first: the server cannot use this version"
    );
    let by_rule = [("COMPOSE006".to_owned(), 1)].into();
    let mendable = Mendable { by_rule, is_cut: false };
    let report = Report { findings: vec![error()], mendable, ..report() };
    let text = table::render(&report, Paint::Plain);
    assert_eq!(
        text.lines().last(),
        Some("next: `flagops check --fix` mends what is mechanical (COMPOSE006 ×1)")
    );
    let nothing = Report {
        challenges: Default::default(),
        findings: Vec::new(),
        since: None,
        mended: None,
        mendable: Mendable::default(),
    };
    assert!(table::render(&nothing, Paint::Plain).contains("next: a challenge is a folder"));
    let unchanged = table::render(&nothing.since("main"), Paint::Plain);
    assert_eq!(
        unchanged,
        "0 challenges checked that differ from `main`, nothing to complain about"
    );
}

#[test]
fn json_has_every_field_of_the_contract() {
    let document: Value = serde_json::from_str(&json::render(&report()).unwrap()).unwrap();
    assert_eq!(document["challenges"], 2);
    assert_eq!(document["issues"].as_array().map(Vec::len), Some(3));
    insta::assert_json_snapshot!(document["issues"][1], @r#"
    {
      "blocks": true,
      "challenge": "WEB-001",
      "column": 1,
      "help": null,
      "hint": "add it",
      "line": 1,
      "message": "`name` is missing",
      "path": "WEB/WEB-001/metadata.yaml",
      "rule": "X000",
      "severity": "error",
      "snippet": "naem: x",
      "why": null
    }
    "#);
}

#[test]
fn github_gets_errors_first_escaped_and_no_command_of_an_author() {
    let mut report = report();
    report.findings[0].message = "::set-env::\nx".to_owned();
    insta::assert_snapshot!(github::render(&report), @r"
    ::error file=a%2Cb,title=X001::::set-env::�x%0Aadd it
    ::error file=WEB/WEB-001/metadata.yaml,line=1,col=1,title=X000::`name` is missing%0Aadd it
    ::warning file=WEB/WEB-001/metadata.yaml,line=2,col=1,title=X001::`tags`: 50%25 (allowlisted)
    ::group::flagops: 2 challenges checked: 2 errors, 1 warning
    - a,b: error[X001] ::set-env::�x; add it
    - WEB/WEB-001/metadata.yaml:1:1: error[X000] `name` is missing; add it
    - WEB/WEB-001/metadata.yaml:2:1: warning[X001] `tags`: 50% (allowlisted)
    ::endgroup::
    ");
}

#[test]
fn junit_fails_errors_skips_warnings_and_passes_clean_challenges() {
    insta::assert_snapshot!(junit::render(&report()).unwrap(), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="flagops check" tests="4" skipped="1" failures="2" errors="0">
        <testsuite name="WEB-001" tests="2" skipped="1" errors="0" failures="1">
            <testcase name="X000: `name` is missing" classname="WEB-001" file="WEB/WEB-001/metadata.yaml" line="1">
                <failure message="`name` is missing" type="X000">error[X000] `name` is missing
      --&gt; WEB/WEB-001/metadata.yaml:1:1
       |
     1 | naem: x
       | ^
       = hint: add it
       = note: blocks, the challenge cannot run like this</failure>
            </testcase>
            <testcase name="X001: `tags`: 50% (allowlisted)" classname="WEB-001" file="WEB/WEB-001/metadata.yaml" line="2">
                <skipped message="`tags`: 50% (allowlisted)" type="X001">warning[X001] `tags`: 50% (allowlisted)
      --&gt; WEB/WEB-001/metadata.yaml:2:1
       |
     2 | naem: x
       | ^</skipped>
            </testcase>
        </testsuite>
        <testsuite name="WEB-002" tests="1" skipped="0" errors="0" failures="0">
            <testcase name="no errors" classname="WEB-002"/>
        </testsuite>
        <testsuite name="repository" tests="1" skipped="0" errors="0" failures="1">
            <testcase name="X001: `name` is missing" classname="repository" file="a,b">
                <failure message="`name` is missing" type="X001">error[X001] `name` is missing
      --&gt; a,b
       = hint: add it</failure>
            </testcase>
        </testsuite>
    </testsuites>
    "#);
}

/// What every reader of SARIF relies on.
fn assert_is_sarif(log: &Value) {
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().ends_with("sarif-2.1.0.json"));
    let runs = log["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    let driver = &runs[0]["tool"]["driver"];
    assert_eq!(driver["name"], "flagops");
    let rules = driver["rules"].as_array().unwrap();
    let ids: Vec<_> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "each rule once: {ids:?}");
    for rule in rules.iter().filter(|rule| rule.get("help").is_some()) {
        for key in ["shortDescription", "fullDescription", "help"] {
            assert!(!rule[key]["text"].as_str().unwrap().is_empty(), "{rule}");
        }
    }
    let mut prints = std::collections::BTreeSet::new();
    for result in runs[0]["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(result["ruleId"], ids[index]);
        assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()), "{result}");
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        let file = &place["artifactLocation"];
        let uri = file["uri"].as_str().unwrap();
        assert!(!uri.starts_with('/') && !uri.contains([' ', '\\', ':']), "{uri}");
        assert!(runs[0]["originalUriBaseIds"].get(file["uriBaseId"].as_str().unwrap()).is_some());
        if let Some(region) = place.get("region") {
            assert!(region["startLine"].as_u64().unwrap() >= 1, "{region}");
            assert!(region.get("startColumn").is_none_or(|it| it.as_u64().unwrap() >= 1));
        }
        for print in result["partialFingerprints"].as_object().unwrap().values() {
            assert!(prints.insert(print.as_str().unwrap().to_owned()), "twice: {print}");
        }
    }
}

fn sarif(report: &Report) -> Value {
    serde_json::from_str(&sarif::render(report).unwrap()).unwrap()
}

#[test]
fn sarif_says_what_was_waived_and_names_the_place() {
    let log = sarif(&report());
    assert_is_sarif(&log);
    let results = log["runs"][0]["results"].as_array().unwrap();
    let is_waived: Vec<bool> = results.iter().map(|it| it.get("suppressions").is_some()).collect();
    assert_eq!(is_waived, [false, false, true]);
    insta::assert_json_snapshot!(results[1], { ".partialFingerprints" => "…" }, @r#"
    {
      "level": "error",
      "locations": [
        {
          "physicalLocation": {
            "artifactLocation": {
              "uri": "WEB/WEB-001/metadata.yaml",
              "uriBaseId": "SRCROOT"
            },
            "region": {
              "snippet": {
                "text": "naem: x"
              },
              "startColumn": 1,
              "startLine": 1
            }
          }
        }
      ],
      "message": {
        "text": "`name` is missing\nadd it"
      },
      "partialFingerprints": "…",
      "properties": {
        "blocks": true,
        "challenge": "WEB-001"
      },
      "ruleId": "X000",
      "ruleIndex": 0
    }
    "#);
}

#[test]
fn a_fingerprint_stays_when_lines_move_and_tells_twins_apart() {
    let prints = |findings: Vec<Finding>| -> Vec<String> {
        let log = sarif(&Report { findings, ..report() });
        assert_is_sarif(&log);
        let results = log["runs"][0]["results"].as_array().unwrap().iter();
        results.map(|result| result["partialFingerprints"].to_string()).collect()
    };
    let at = |line| finding("WEB/WEB-001/metadata.yaml", line, Severity::Error);
    let before = prints(vec![at(1), at(3)]);
    assert_eq!(prints(vec![at(11), at(13)]), before);
    assert_ne!(before[0], before[1]);
    assert_ne!(
        prints(vec![finding("WEB/WEB-002/metadata.yaml", 1, Severity::Error)])[0],
        before[0]
    );
}

const QUIZ: &str = "name: Ports\ndescription: Which port does SSH use?\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - id: port\n    prompt: Which port?\n    answer: \"22\"\n";

fn with_quiz(tree: MemoryTree, id: &str, extra: &str) -> MemoryTree {
    tree.with(&format!("MISC/{id}/metadata.yaml"), format!("{QUIZ}{extra}"))
}

fn read_all(tree: &MemoryTree, parts: &[&str]) -> Report {
    let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    Report::read(tree, &parts, &Policy::default()).unwrap()
}

fn ids(report: &Report) -> Vec<&str> {
    report.challenges.keys().map(|id| id.as_str()).collect()
}

#[test]
fn a_part_is_a_bucket_a_challenge_or_a_file() {
    let tree = with_quiz(MemoryTree::new(), "QUIZ-001", "colour: red\n");
    let tree = with_quiz(tree, "QUIZ-002", "").with("README.md", "hello");
    let tree = tree.with("MISCELLANEOUS/QUIZ-003/metadata.yaml", QUIZ);
    assert_eq!(ids(&read_all(&tree, &[""])), ["QUIZ-001", "QUIZ-002", "QUIZ-003"]);
    assert_eq!(ids(&read_all(&tree, &["MISC"])), ["QUIZ-001", "QUIZ-002"]);
    assert_eq!(ids(&read_all(&tree, &["README.md"])), Vec::<&str>::new());
    let two = ["MISC/QUIZ-001", "MISCELLANEOUS/QUIZ-003"];
    assert_eq!(ids(&read_all(&tree, &two)), ["QUIZ-001", "QUIZ-003"]);
    let nowhere = Report::read(&tree, &["MISC/QUIZ-009".to_owned()], &Policy::default());
    assert!(matches!(nowhere, Err(TreeError::NotFound { .. })));
    let red = read_all(&tree, &["MISC/QUIZ-001", "README.md"]);
    let rules: Vec<_> = red.findings.iter().map(|it| (it.rule.as_str(), it.line)).collect();
    assert!(rules.contains(&("META005", 10)), "{rules:?}");
}

#[test]
fn since_leaves_what_differs_and_what_is_new_in_the_repository() {
    let base = with_quiz(MemoryTree::new(), "QUIZ-001", "colour: red\n");
    let base = with_quiz(base, "QUIZ-002", "").with("PWN/TWIN/metadata.yaml", QUIZ);
    let base = base.with("CRYPTO/TWIN/metadata.yaml", QUIZ);
    let now = with_quiz(base.clone(), "QUIZ-002", "shape: round\n");
    let now = with_quiz(now, "QUIZ-003", "").with("REV/QUIZ-001/metadata.yaml", QUIZ);
    let changed = hands::load_changed(&now, &base, &Policy::default()).unwrap();
    let report = Report::of(&changed, &[String::new()]);
    assert!(ids(&report).contains(&"QUIZ-002") && ids(&report).contains(&"QUIZ-003"));
    assert!(!ids(&report).contains(&"TWIN"), "it was so before");
    let of_none = report.findings.iter().filter(|it| it.challenge.is_none());
    let of_none: Vec<_> = of_none.map(|it| (it.rule.as_str(), it.path.as_str())).collect();
    assert_eq!(of_none, [("REPO002", "MISC/QUIZ-001"), ("REPO002", "REV/QUIZ-001")]);
    assert!(report.findings.iter().any(|it| it.rule == "META005" && it.message.contains("shape")));
    let nothing = hands::load_changed(&now, &now, &Policy::default()).unwrap();
    assert!(nothing.folders.is_empty() && nothing.findings.is_empty());
}
