//! `metadata.yaml`: modes, requirements, retired keys, and the keys of ours.

use super::{COMPOSE, METADATA, lines, read, repository, short, valid};
use crate::catalog::{Folder, Weight};
use crate::model::{AnswerFormat, Category, InstanceScope, MemoryTree, QuestionMode, Topology};

/// The findings about `metadata.yaml` of the valid file with `more` from line 5 on.
fn check(more: &str, want: &str) {
    check_file(&format!("{METADATA}{more}\n"), want);
}

/// The findings about this `metadata.yaml`; those about other files are tested elsewhere.
fn check_file(text: &str, want: &str) {
    let folder = about_metadata(read(&repository(text, COMPOSE)));
    assert_eq!(short(&folder), want, "{text}\n{}", lines(&folder));
}

fn about_metadata(mut folder: Folder) -> Folder {
    folder.findings.retain(|finding| finding.path.ends_with("/metadata.yaml"));
    folder
}

#[test]
fn what_is_left_out_has_its_default() {
    let challenge = valid(METADATA, COMPOSE);
    let metadata = &challenge.metadata;
    assert_eq!(challenge.id.as_str(), "WEB-001");
    assert_eq!(challenge.bucket.as_deref(), Some("WEB"));
    assert_eq!((metadata.category, metadata.topology), (Category::Web, Topology::Simple));
    assert_eq!(metadata.questions.len(), 1);
    assert_eq!(metadata.questions[0].id.as_str(), "flag");
    assert_eq!(metadata.questions[0].prompt, "Capture the secret");
    assert_eq!(metadata.questions[0].mode, QuestionMode::Dynamic { format: AnswerFormat::Flag });
    assert_eq!(valid(&format!("{METADATA}questions: null\n"), COMPOSE).metadata, *metadata);
}

#[test]
fn required_fields_and_their_types_are_checked() {
    let check = check_file;
    check("{}", "META002@1 META002@1 META002@1 META002@1");
    check("[1]", "META000@1");
    check("", "META000@0");
    check("a: [", "META000@1");
    check(
        "name: 42\ndescription: [x]\ndifficulty: Easy\ntags: web\n",
        "META002@1 META002@2 META003@3 META002@4",
    );
    check("name: x\ndescription: x\ndifficulty: 5\ntags: [a]\n", "META002@3");
    check("name: x\ndescription: x\ndifficulty: easy\ntags: []\n", "META004@4");
    check("name: x\ndescription: x\ndifficulty: easy\ntags: [a, 1, true]\n", "META004@4 META004@4");
    check("name: \"a\\u202eb\"\ndescription: x\ndifficulty: easy\ntags: [a]\n", "META023@1");
    check("name: ' '\ndescription: x\ndifficulty: easy\ntags: ['']\n", "META023@1 META023@4");
    check("name: x\nname: y\ndescription: x\ndifficulty: easy\ntags: [a]\n", "META000@2");
}

#[test]
fn optional_fields_are_checked() {
    for (more, want) in [
        ("category: pwn", ""),
        ("category: Web", "META011@5"),
        ("category: 5", "META011@5"),
        ("category:", "META011@5"),
        ("network_topology:", "META012@5"),
        ("entry_urls:", "META013@5"),
        ("questions:", "META006@5"),
        ("network_topology: engagement", ""),
        ("network_topology: bridge", "META012@5"),
        ("entry_urls: ['https://a.example/x']", ""),
        ("entry_urls: ['javascript:alert(1)', '//x', ok]", "META013@5 META013@5 META013@5"),
        ("entry_urls: http://x", "META013@5"),
        ("entry_urls: [5]", "META013@5"),
        ("entry_urls: ['http://a b', 'http://u@h/']", "META024@5 META024@5"),
        ("nme: x", "META005@5"),
        ("flags: [x]", "META005@5"),
        ("id: x", "META005@5"),
        ("hint_levels: 3", "META005@5"),
        ("author: Ada <ada@example.org>", ""),
        ("author: 5", "META022@5"),
        ("release_at: 2027-03-01T12:00:00Z", ""),
        ("release_at: tomorrow", "META022@5"),
    ] {
        check(more, want);
    }
    let urls = vec!["'http://a'"; 10_000].join(", ");
    check(&format!("entry_urls: [{urls}]"), "META024@5");
}

#[test]
fn retired_and_unknown_keys_have_a_hint_of_their_own() {
    let text = format!("{METADATA}flag_path: /flag\nquestion: []\n");
    let folder = about_metadata(read(&repository(&text, COMPOSE)));
    let hints: Vec<&str> = folder.findings.iter().map(|it| it.hint.as_str()).collect();
    assert_eq!(
        hints,
        [
            "delivery is the job of `flag-rotator`, or of `/answers/<id>`",
            "did you mean `questions`?"
        ]
    );
}

#[test]
fn modes_follow_from_the_shapes() {
    let mode = |keys: &str| {
        let more = format!("questions:\n  - {{id: q, prompt: p{keys}}}\n");
        let mut metadata = valid(&format!("{METADATA}{more}"), COMPOSE).metadata;
        metadata.questions.remove(0).mode
    };
    let texts = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    assert_eq!(mode(", format: raw"), QuestionMode::Dynamic { format: AnswerFormat::Raw });
    assert_eq!(mode(", answer: abc"), QuestionMode::Static { answer: "abc".to_owned() });
    assert_eq!(mode(", answer: '42'"), QuestionMode::Static { answer: "42".to_owned() });
    assert_eq!(
        mode(", answer: B, choices: [A, B]"),
        QuestionMode::SingleSelect { answer: "B".to_owned(), choices: texts(&["A", "B"]) }
    );
    assert_eq!(
        mode(", answer: [x, y], choices: [x, y, z]"),
        QuestionMode::MultiSelect { answers: texts(&["x", "y"]), choices: texts(&["x", "y", "z"]) }
    );
}

#[test]
fn questions_that_would_vanish_are_errors() {
    for (keys, want) in [
        ("id: q, prompt: p, answer: 42", "META008@6"),
        ("id: q, prompt: p, answer: yes", "META008@6"),
        ("id: q, prompt: p, answer: 'yes'", ""),
        ("id: q, prompt: p, answer: true", "META008@6"),
        ("id: q, prompt: p, answer: 012", "META008@6"),
        ("id: q, prompt: p, answer: 12:30", "META008@6"),
        ("id: q, prompt: p, answer: 2020-01-02", "META008@6"),
        ("id: q, prompt: p, answer: 2020-1-2T03:04:05Z", "META008@6"),
        ("id: q, prompt: p, answer: 1:2.5", "META008@6"),
        ("id: q, prompt: p, answer: 1_000", "META008@6"),
        ("id: q, prompt: p, answer: 1.2.3", ""),
        ("id: q, prompt: p, answer: CVE-2020-1", ""),
        ("id: q, prompt: p, answer: ", "META023@6"),
        ("id: q, prompt: p, answer: ' '", "META023@6"),
        ("id: q, prompt: p, answer: a, choices: [a, a]", "META025@6"),
        ("id: q, prompt: p, answer: {a: b}", "META008@6"),
        ("id: q, prompt: p, answer: [a]", "META008@6"),
        ("id: q, prompt: p, choices: [a]", "META008@6"),
        ("id: q, prompt: p, answer: a, choices: []", "META008@6"),
        ("id: q, prompt: p, answer: a, choices: [b]", "META008@6"),
        ("id: q, prompt: p, answer: a, choices: [a, 1]", "META008@6"),
        ("id: q, prompt: p, answer: [a, a, c], choices: [a, b]", "META008@6 META008@6"),
        ("id: q, prompt: p, answer: [], choices: [a, b]", "META008@6"),
        ("id: Q, prompt: p", "META006@6"),
        ("id: 1, prompt: p", "META006@6"),
        ("prompt: p", "META006@6"),
        ("id: q", "META006@6"),
        ("id: q, prompt: '  '", "META006@6"),
        ("id: q, prompt: p, format: hex", "META006@6"),
        ("id: q, prompt: p, points: 5", "META006@6"),
        ("id: q, prompt: p, requires: x", "META006@6"),
        ("id: q, prompt: p, requires: [q]", "META009@6"),
        ("id: q, prompt: p, requires: [other]", "META009@6"),
        ("id: q, prompt: p, requires: ", ""),
    ] {
        check(&format!("questions:\n  - {{{keys}}}"), want);
    }
    check("questions: []", "META006@5");
    check("questions: text", "META006@5");
    check("questions:\n  - text", "META006@6");
    check("questions:\n  - {id: a, prompt: p}\n  - {id: a, prompt: p}", "META006@7");
    // What requires a question with a fault is not at fault itself.
    check(
        "questions:\n  - {id: a, prompt: p, answer: 5}\n  - {id: b, prompt: p, requires: [a]}",
        "META008@6",
    );
    check(
        "questions:\n  - {id: A, prompt: p}\n  - {id: b, prompt: p, requires: [A, c]}",
        "META006@6 META009@7",
    );
    check(
        "questions:\n  - {id: a, prompt: p, requires: [b]}\n  - {id: b, prompt: p, requires: [a]}",
        "META009@5",
    );
}

#[test]
fn a_misspelt_key_blocks_and_a_foreign_one_does_not() {
    let weights = |more: &str| -> Vec<Weight> {
        let folder = about_metadata(read(&repository(&format!("{METADATA}{more}\n"), COMPOSE)));
        folder.findings.iter().map(|finding| finding.weight()).collect()
    };
    for (more, want) in [
        ("catgory: pwn", Weight::Refusal),
        ("Questions: []", Weight::Refusal),
        ("colour: red", Weight::Error),
        ("date: today", Weight::Error),
        ("flags: [x]", Weight::Error),
        ("questions:\n  - {id: q, prompt: p, anwser: x}", Weight::Refusal),
        ("questions:\n  - {id: q, prompt: p, points: 5}", Weight::Error),
        ("category:", Weight::Error),
        ("entry_urls: [ftp://x]", Weight::Error),
    ] {
        assert_eq!(weights(more), [want], "{more}");
    }
}

#[test]
fn what_the_description_gives_away_has_its_line() {
    let text = "\
name: Cookie jar
description: >-
  The jar has an XSS,
  and /api/v1 is open. Break the deploy server, read private notes.
difficulty: easy
tags: [web]
questions:
  - {id: a, prompt: p}
  - {id: b, prompt: Break the deploy server and read on, requires: [a]}
";
    let folder = about_metadata(read(&repository(text, COMPOSE)));
    insta::assert_snapshot!(lines(&folder), @r"
    metadata.yaml:3:3 error META010 the description shares `break deploy server read` with the prompt of `b`, which is still locked
    metadata.yaml:3:18 error META007 the description names a technique: `XSS`
    metadata.yaml:4:7 error META007 the description names an internal API path: `/api/v1`
    ");
    assert!(folder.challenge.is_some(), "none of them blocks");
}

#[test]
fn a_quiz_may_name_techniques_and_still_frames_no_locked_prompt() {
    let quiz = |questions: &str| {
        let text = format!(
            "name: n\ndescription: What is XSS in the deploy server we read\ndifficulty: easy\n\
             category: misc\ntags: [a]\nquestions:\n{questions}"
        );
        let tree = MemoryTree::new().with("WEB/WEB-001/metadata.yaml", text);
        short(&about_metadata(read(&tree)))
    };
    assert_eq!(quiz("  - {id: a, prompt: p, answer: x}\n"), "");
    assert_eq!(quiz("  - {id: a, prompt: p}\n"), "META007@2 STRUCT011@7");
    assert_eq!(
        quiz("  - {id: a, prompt: p, answer: x}\n  - {id: b, prompt: p, answer: 5}\n"),
        "META008@8"
    );
}

#[test]
fn a_finding_never_repeats_an_answer() {
    let more = "questions:\n  - {id: q, prompt: p, answer: 31337}\n  \
                - {id: r, prompt: p, answer: s3cret, choices: [x]}\n";
    let folder = read(&repository(&format!("{METADATA}{more}"), COMPOSE));
    let text = lines(&folder);
    assert!(!text.contains("31337") && !text.contains("s3cret"), "{text}");
}

#[test]
fn instance_settings_are_read_and_checked() {
    let settings =
        |more: &str| valid(&format!("{METADATA}instance: {{{more}}}\n"), COMPOSE).metadata.instance;
    let instance = settings("scope: shared, ttl: 2h, max_ttl: 8h");
    assert_eq!(instance.scope, InstanceScope::Shared);
    assert_eq!((instance.ttl_secs, instance.max_ttl_secs), (Some(7200), Some(28_800)));
    assert_eq!(settings("max_ttl: 90d").max_ttl_secs, Some(86_400));
    for (more, want) in [
        ("ttl: 2x", "META020@5"),
        ("ttl: 5", "META020@5"),
        ("ttl: 8h, max_ttl: 2h", "META020@5"),
        ("max_ttl: 90d", "(HARDEN020@5)"),
        ("scope: world", "META020@5"),
        ("size: small, warm: 0, update: on_next_start, egress: none, runtime: default", ""),
        ("size: tiny", "META020@5"),
        ("warm: many", "META020@5"),
        ("warm: 1000", "META020@5"),
        ("egress: internet", "(HARDEN023@5)"),
        ("disk: 256M, profile: strict, runtime: runsc", ""),
        ("egress: internet, runtime: runsc", "(HARDEN023@5) (HARDEN023@5)"),
        ("disk: 0", "META020@5"),
        ("disk: much", "META020@5"),
        ("profile: lax", "META020@5"),
        ("runtime: kata", "META020@5"),
        ("tll: 2h", "META020@5"),
    ] {
        check(&format!("instance: {{{more}}}"), want);
    }
    check("instance: 5", "META020@5");
    check("scoring: {value: 500, minimum: 100, decay: 30, function: linear}", "(HARDEN022@5)");
    check("scoring: {value: x}", "(HARDEN022@5) META021@5");
    check("scoring: {value: 1, minimum: 5}", "(HARDEN022@5) META021@5");
}

#[test]
fn a_file_of_each_team_is_taken_from_where_its_service_can_write_and_the_engine_can_read() {
    let of_web =
        |keys: &str| COMPOSE.replace("    x-answers", &format!("    {keys}\n    x-answers"));
    let said = |export: &str, runtime: &str, compose: &str| {
        let metadata =
            format!("{METADATA}exports:\n  - {export}\ninstance: {{runtime: {runtime}}}\n");
        let folder = about_metadata(read(&repository(&metadata, compose)));
        (short(&folder), lines(&folder))
    };
    let own = "{service: web, path: /srv/out/chal, as: chal, per_team: true}";
    let common = "{service: web, path: /srv/out/chal, as: chal}";
    let wrong = "META026@6";
    for (export, runtime, keys, want) in [
        (own, "default", "user: '1000'", ""),
        (common, "runsc", "user: '1000'", ""),
        (own, "runsc", "user: '1000'", wrong),
        (own, "default", "tmpfs: ['/srv/out:size=1m']", wrong),
        (common, "default", "tmpfs: ['/srv/out:size=1m']", ""),
        (own, "default", "tmpfs: ['/srv/ou:size=1m']", ""),
        (own, "default", "read_only: true", wrong),
        (common, "default", "read_only: true", ""),
        (
            "{service: web, path: /srv/chal, as: chal, per_team: 'yes'}",
            "default",
            "init: true",
            wrong,
        ),
    ] {
        let (short, lines) = said(export, runtime, &of_web(keys));
        assert_eq!(short, want, "{export} {runtime} {keys}\n{lines}");
    }
    let kept = of_web("read_only: true\n    volumes: ['out:/srv/out']") + "volumes: {out: }\n";
    assert_eq!(said(own, "default", &kept).0, "");
    let challenge = valid(
        &format!("{METADATA}exports:\n  - {own}\n  - {{service: web, path: /x, as: x}}\n"),
        COMPOSE,
    );
    let each: Vec<bool> = challenge.metadata.exports.iter().map(|it| it.is_per_team).collect();
    assert_eq!(each, [true, false]);
}

#[test]
fn a_file_with_eleven_faults_reports_all_eleven() {
    let text = "\
name: 5
descripton: é
difficulty: hardest
tags: []
category: Pwn
network_topology: vpn
entry_urls: ['ftp://x']
flags: [x]
release_at: soon
questions:
  - {id: Flag, prompt: p}
";
    let folder = about_metadata(read(&repository(text, COMPOSE)));
    insta::assert_snapshot!(lines(&folder), @r"
    metadata.yaml:1:7 error META002 `name` must be text, but `5` without quotes is a number
    metadata.yaml:2:1 error META005 metadata has no key `descripton`
    metadata.yaml:2:13 error META002 the field `description` is missing
    metadata.yaml:3:13 error META003 `difficulty` cannot be `hardest`
    metadata.yaml:4:7 error META004 `tags` is empty
    metadata.yaml:5:11 error META011 `category` cannot be `Pwn`
    metadata.yaml:6:19 error META012 `network_topology` cannot be `vpn`
    metadata.yaml:7:14 error META013 `entry_urls[0]`, `ftp://x`, has another scheme than http or https
    metadata.yaml:8:1 error META005 the key `flags` was retired
    metadata.yaml:9:13 error META022 `release_at` cannot be `soon`
    metadata.yaml:11:10 error META006 `Flag` is no question id
    ");
}
