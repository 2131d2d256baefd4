//! Competition files: what they declare, and what is said about them.

use crate::catalog::{Catalog, Policy, load};
use crate::model::competition::{RegistrationMode, ScoringFunction, Selector, TeamSize};
use crate::model::{EntryKind, MemoryTree, Timestamp};

const FINALS: &str = "\
title: Finals
starts_at: 2027-03-01T09:00:00Z
ends_at: 2027-03-01T17:00:00Z
";

fn quiz(name: &str) -> String {
    format!(
        "name: {name}\ndescription: d\ndifficulty: easy\ncategory: misc\ntags: [quiz]\n\
         questions:\n  - {{id: q, prompt: p, answer: x}}\n"
    )
}

/// A repository with two quizzes, one that is invalid, and `competitions/finals.yaml`.
fn repository(finals: &str) -> MemoryTree {
    MemoryTree::new()
        .with("MISC/QUIZ-001/metadata.yaml", quiz("one"))
        .with("MISC/QUIZ-002/metadata.yaml", quiz("two"))
        .with("WEB/WEB-001/metadata.yaml", "name: three\n")
        .with("competitions/finals.yaml", finals)
}

fn loaded(tree: &MemoryTree) -> Catalog {
    load(tree, None, &Policy::default()).unwrap()
}

/// `RULE@line` of every finding about competitions, warnings in parentheses.
fn short(catalog: &Catalog) -> String {
    let short = catalog.findings.iter().map(|it| {
        assert!(!it.blocks && it.challenge.is_none() && it.path.starts_with("competitions/"));
        let text = format!("{}@{}", it.rule, it.line);
        if it.severity == crate::catalog::Severity::Error { text } else { format!("({text})") }
    });
    short.collect::<Vec<_>>().join(" ")
}

/// The findings of the valid head with `more` from line 4 on.
fn check(more: &str, want: &str) {
    let catalog = loaded(&repository(&format!("{FINALS}{more}\n")));
    assert_eq!(short(&catalog), want, "{more}\n{:#?}", catalog.findings);
    let is_faultless = !want.split(' ').any(|it| {
        it.starts_with("EVENT") && !it.starts_with("EVENT004") && !it.starts_with("EVENT007")
    });
    assert_eq!(catalog.competitions.len(), usize::from(is_faultless), "{more}");
    assert_eq!(catalog.folders.len(), 3, "challenges are not touched");
}

#[test]
fn what_is_left_out_has_its_default() {
    let catalog = loaded(&repository(&format!("{FINALS}challenges: [QUIZ-001]\n")));
    let finals = &catalog.competitions[&"finals".parse().unwrap()];
    assert_eq!(
        (finals.title.as_str(), finals.path.as_str()),
        ("Finals", "competitions/finals.yaml")
    );
    assert_eq!(finals.starts_at, Timestamp::parse_rfc3339("2027-03-01T09:00:00Z").unwrap());
    assert_eq!((finals.freeze_at, finals.practice, finals.instances_per_team), (None, false, None));
    assert_eq!(finals.registration.mode, RegistrationMode::Create);
    assert_eq!(finals.teams, TeamSize { min: 1, max: 4 });
    assert_eq!((finals.scoring.function, finals.scoring.value), (ScoringFunction::Static, 500));
    assert_eq!(
        (finals.scoring.minimum, finals.scoring.decay, finals.scoring.first_blood),
        (100, 30, 0)
    );
    let caps = finals.attempt_caps;
    assert_eq!((caps.static_text, caps.single_select, caps.multi_select), (10, 3, 10));
}

#[test]
fn everything_that_is_written_is_read() {
    let more = "\
description: The last day.
freeze_at: 2027-03-01T16:00:00Z
practice: true
registration: {mode: solo, opens_at: 2027-02-01T00:00:00Z, closes_at: 2027-03-01T09:00:00Z}
challenges:
  - MISC-*
  - QUIZ-00?
  - {id: QUIZ-002, value: 300, release_at: 2027-03-01T12:00:00Z}
  - {bucket: MISC}
  - {tag: quiz}
scoring: {function: logarithmic, value: 1000, minimum: 50, decay: 20, first_blood: 25}
attempt_caps: {static: 5, single_select: 1, multi_select: 2}
instances: {per_team: 3}
";
    let catalog = loaded(&repository(&format!("{FINALS}{more}")));
    assert_eq!(short(&catalog), "(EVENT004@9)");
    let finals = &catalog.competitions[&"finals".parse().unwrap()];
    assert_eq!(finals.teams, TeamSize { min: 1, max: 1 });
    let selectors: Vec<String> =
        finals.challenges.iter().map(|it| it.selector.to_string()).collect();
    assert_eq!(selectors, ["MISC-*", "QUIZ-00?", "QUIZ-002", "bucket: MISC", "tag: quiz"]);
    let counts = finals.selection(&"QUIZ-002".parse().unwrap(), Some("MISC"), &[]).unwrap();
    assert_eq!(counts.selector, Selector::Id("QUIZ-002".parse().unwrap()));
    assert_eq!((counts.value, counts.release_at.is_some()), (Some(300), true));
}

#[test]
fn a_file_that_cannot_be_read_declares_nothing() {
    for (text, want) in [
        ("", "EVENT000@0"),
        ("[a]", "EVENT000@1"),
        ("title: a: b", "EVENT000@1"),
        ("title: 5\n", "EVENT001@1 EVENT001@1 EVENT001@1 EVENT001@1"),
        ("title: a\ntitle: b\n", "EVENT001@1 EVENT001@1 EVENT001@1 EVENT000@2"),
    ] {
        let catalog = loaded(&repository(text));
        assert_eq!(short(&catalog), want, "{text}");
        assert!(catalog.competitions.is_empty());
    }
    let tree = repository(&format!("{FINALS}challenges: [QUIZ-001]\n"))
        .with_kind("competitions/link.yaml", EntryKind::Symlink, "finals.yaml")
        .with("competitions/Big One.yaml", "x: 1\n")
        .with("competitions/other.yml", "x: 1\n")
        .with("competitions/README.md", "not ours\n");
    let findings: Vec<String> = loaded(&tree).findings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(findings.join("\n"), @r"
    competitions/Big One.yaml: error[EVENT006] `Big One` is no competition id, so the file is not read; rename it to 1 to 64 lower-case letters, digits or `-`, such as `finals-2027.yaml`
    competitions/link.yaml: warning[REPO003] `link.yaml` is a symbolic link, which is never followed; a challenge must be a folder of this repository
    competitions/link.yaml: error[EVENT000] this is no regular file of at most 262144 bytes; write a regular file
    competitions/other.yml: warning[EVENT006] `other.yml` is not read; rename it to `other.yaml`
    ");
}

#[test]
fn every_fault_of_a_file_has_its_line() {
    for (more, want) in [
        ("challenges: [QUIZ-001]\ncolour: red", "EVENT002@5"),
        ("challenges: []", "EVENT001@4"),
        ("challenges: QUIZ-001", "EVENT001@4"),
        ("challenges: [5]", "EVENT001@4"),
        ("challenges: ['a b']", "EVENT001@4"),
        ("challenges: [{value: 5}]", "EVENT001@4"),
        ("challenges: [{id: QUIZ-001, tag: quiz}]", "EVENT001@4"),
        ("challenges: [{id: QUIZ-001, worth: 5}]", "EVENT002@4"),
        ("challenges: [{id: QUIZ-001, value: many}]", "EVENT001@4"),
        ("challenges: [{id: QUIZ-001, value: -1}]", "EVENT008@4"),
        ("challenges: [{id: QUIZ-001, release_at: 2027-03-01T17:00:00Z}]", "EVENT003@4"),
        ("challenges: [QUIZ-001]\nfreeze_at: noon", "EVENT001@5"),
        ("challenges: [QUIZ-001]\nfreeze_at: 2027-03-01T09:00:00Z", "EVENT003@5"),
        ("challenges: [QUIZ-001]\nfreeze_at: 2027-03-01T17:00:00Z", "EVENT003@5"),
        ("challenges: [QUIZ-001]\nfreeze_at: 2027-03-01T16:00:00Z", ""),
        ("challenges: [QUIZ-001]\npractice: maybe", "EVENT001@5"),
        ("challenges: [QUIZ-001]\nregistration: {mode: closed}", "EVENT001@5"),
        (
            "challenges: [QUIZ-001]\nregistration: {opens_at: 2027-02-02T00:00:00Z, closes_at: 2027-02-01T00:00:00Z}",
            "EVENT003@5",
        ),
        ("challenges: [QUIZ-001]\nregistration: {opens_at: 2028-02-02T00:00:00Z}", "EVENT003@3"),
        ("challenges: [QUIZ-001]\nteams: {min_size: 0}", "EVENT008@5"),
        ("challenges: [QUIZ-001]\nteams: {min_size: 3, max_size: 2}", "EVENT008@5"),
        ("challenges: [QUIZ-001]\nteams: {min_size: 6}", ""),
        ("challenges: [QUIZ-001]\nregistration: {mode: solo}\nteams: {max_size: 3}", "EVENT008@6"),
        ("challenges: [QUIZ-001]\nscoring: {function: exponential}", "EVENT001@5"),
        ("challenges: [QUIZ-001]\nscoring: {value: 50}", ""),
        ("challenges: [QUIZ-001]\nscoring: {value: 50, minimum: 60}", "EVENT008@5"),
        ("challenges: [QUIZ-001]\nscoring: {decay: 0}", "EVENT008@5"),
        ("challenges: [QUIZ-001]\nattempt_caps: {static: 0}", "EVENT008@5"),
        ("challenges: [QUIZ-001]\nattempt_caps: {dynamic: 3}", "EVENT002@5"),
        ("challenges: [QUIZ-001]\ninstances: {per_team: 0}", "EVENT008@5"),
        ("challenges: [QUIZ-001]\ninstances: 3", "EVENT001@5"),
    ] {
        check(more, want);
    }
}

#[test]
fn what_is_selected_is_compared_with_the_challenges() {
    for (more, want) in [
        ("challenges: [QUIZ-001, QUIZ-002]", ""),
        ("challenges: [QUIZ-01]", "EVENT004@4"),
        ("challenges: [PWN-*]", "(EVENT004@4)"),
        ("challenges: [{bucket: PWN}, {tag: none}]", "(EVENT004@4) (EVENT004@4)"),
        ("challenges: [WEB-001]", "(EVENT005@4)"),
        ("challenges: [WEB-*, {bucket: WEB}]", "(EVENT005@4)"),
        ("challenges: [{tag: quiz, value: 1}, {bucket: MISC, value: 2}]", "EVENT007@4"),
        ("challenges: [{tag: quiz, value: 1}, {bucket: MISC, value: 1}]", ""),
        ("challenges: [{bucket: MISC, value: 2}, {id: QUIZ-001, value: 9}]", ""),
        ("challenges: [{id: QUIZ-001, value: 2}, {id: QUIZ-001, value: 9}]", "EVENT007@4"),
    ] {
        check(more, want);
    }
    let catalog = loaded(&repository(&format!("{FINALS}challenges: [QUIZ-01]\n")));
    assert_eq!(catalog.findings[0].hint, "did you mean `QUIZ-001`?");
    assert_eq!(catalog.findings[0].snippet.as_deref(), Some("challenges: [QUIZ-01]"));
}

#[test]
fn an_unchanged_competition_is_shared_and_a_changed_one_is_not() {
    let text = format!("{FINALS}challenges: [QUIZ-001]\n");
    let first = loaded(&repository(&text));
    let policy = Policy::default();
    let id = "finals".parse().unwrap();
    let again = load(&repository(&text), Some(&first), &policy).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first.competitions[&id], &again.competitions[&id]));
    let other =
        load(&repository(&format!("{text}practice: true\n")), Some(&first), &policy).unwrap();
    assert!(other.competitions[&id].practice);
}

#[test]
fn a_broken_competition_hinders_no_other() {
    let tree = repository("title: [\n")
        .with("competitions/warm-up.yaml", format!("{FINALS}challenges: ['*']\n"));
    let catalog = loaded(&tree);
    let ids: Vec<&str> = catalog.competitions.keys().map(|id| id.as_str()).collect();
    assert_eq!(ids, ["warm-up"]);
}

#[test]
fn a_challenge_named_competitions_is_a_challenge() {
    let tree = MemoryTree::new()
        .with("competitions/metadata.yaml", quiz("odd"))
        .with("competitions/other.yaml", "x: 1\n");
    let catalog = loaded(&tree);
    assert_eq!((catalog.folders.len(), catalog.competitions.len()), (1, 0));
    assert_eq!(catalog.findings, []);
}
