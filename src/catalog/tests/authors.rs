//! What new authors get wrong, and the words that help them.

use super::{Edit, edited};
use crate::catalog::rules::Base;
use crate::catalog::{Policy, load, load_one};
use crate::model::MemoryTree;

use Edit::{Drop, Put, Replace};

const METADATA: &str = "metadata.yaml";
const COMPOSE: &str = "docker-compose.yml";
const EXPLOIT: &str = "solution/exploit.py";
const DOCKERFILE: &str = "services/web/Dockerfile";
const CHECK: &str = "    healthcheck:
      test: [\"CMD\", \"wget\", \"-qO\", \"/dev/null\", \"http://127.0.0.1:8080/\"]
";
const LIMITS: &str = "    deploy: {resources: {limits: {cpus: \"0.5\", memory: 64M}}}\n";
const QUIZ: &str = "\
name: Quiz
description: Which port?
difficulty: easy
tags: [qa]
category: misc
questions: [{id: port, prompt: 'Which?', answer: '22'}]
";

/// `RULE line:column message; hint` of what is found in the web challenge after `edits`.
fn said(edits: &[Edit]) -> Vec<String> {
    said_of(Base::Web, edits)
}

fn said_of(base: Base, edits: &[Edit]) -> Vec<String> {
    let folder = load_one(&edited(base, edits), base.folder(), &Policy::default()).unwrap();
    let line = |it: &crate::catalog::Finding| {
        format!("{} {}:{} {}; {}", it.rule, it.line, it.column, it.message, it.hint)
    };
    folder.findings.iter().map(line).collect()
}

/// Wants one finding with each of `parts`, in this order.
fn wants(edits: &[Edit], parts: &[&str]) {
    let said = said(edits);
    let mut left = said.iter();
    for part in parts {
        assert!(left.any(|line| line.contains(part)), "{part}\nis not in\n{}", said.join("\n"));
    }
}

#[test]
fn a_missing_health_check_is_shown_with_what_the_image_has() {
    let without = Replace(COMPOSE, CHECK, "");
    let nc = r#"{test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}"#;
    let bash = r#"{test: ["CMD", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080"]}"#;
    for (dockerfile, want) in [
        ("FROM busybox:1.36\nCMD [\"a\"]\n", nc),
        ("FROM node:20-alpine\nCMD [\"a\"]\n", nc),
        ("FROM ghcr.io/me/mine:1\nRUN apk add nginx\nCMD [\"a\"]\n", nc),
        ("FROM debian:bookworm-slim\nCMD [\"a\"]\n", bash),
        ("FROM ghcr.io/me/mine:1\nCMD [\"a\"]\n", bash),
        ("FROM golang:1.22 AS b\nFROM debian:12 AS c\nFROM c\nCMD [\"a\"]\n", bash),
        ("FROM golang:1.22 AS b\nFROM scratch\nCMD [\"/a\"]\n", "there is no shell in it"),
    ] {
        wants(&[without, Put(DOCKERFILE, dockerfile)], &[want]);
    }
    let other_port = Replace(COMPOSE, "[\"8080\"]", "[\"1234:31337/tcp\"]");
    wants(&[without, other_port], &["\"31337\""]);
    let misspelt = Replace(
        COMPOSE,
        "    healthcheck:\n      test: [\"CMD\", \"wget\"",
        "    healtcheck:\n      test: [\"CMD\", \"wget\"",
    );
    wants(&[misspelt], &["HEALTH001", "COMPOSE008"]);
    wants(&[misspelt], &["you wrote `healtcheck:` in line 8: rename it to `healthcheck:`"]);
}

#[test]
fn a_health_check_that_is_switched_off_is_a_warning() {
    for check in ["healthcheck:", "healthcheck: {disable: true}", "healthcheck: {test: [NONE]}"] {
        let check: &'static str = Box::leak(format!("    {check}\n").into_boxed_str());
        let said = said(&[Replace(COMPOSE, CHECK, check)]);
        let is_said = |line: &String| line.starts_with("HEALTH020 8:5 the service `web` has no");
        assert!(said.iter().any(is_said), "{check}: {said:?}");
    }
}

#[test]
fn a_question_with_a_fault_still_exists() {
    for broken in ["requires: flag", "format: hex", "answer: 42", "choices: flag"] {
        let to: &'static str = Box::leak(format!("  - id: flag\n    {broken}\n").into_boxed_str());
        let said = said(&[Replace(METADATA, "  - id: flag\n", to)]);
        assert!(!said.is_empty() && said.iter().all(|it| it.starts_with("META")), "{said:?}");
    }
    for questions in ["questions: flag\n", "questions: {id: flag}\n"] {
        let from = "questions:\n  - id: flag\n    prompt: What is at the bottom of the jar?\n";
        let said = said(&[Replace(METADATA, from, questions)]);
        assert!(said.iter().all(|it| it.starts_with("META006")), "{said:?}");
    }
    let said = said(&[Replace(METADATA, "id: flag", "id: my-flag")]);
    assert!(!said.iter().any(|it| it.contains("ANSWER_MY-FLAG")), "{said:?}");
}

#[test]
fn a_misspelt_key_is_named_where_the_right_one_is_missing() {
    wants(
        &[Replace(METADATA, "name: Cookie", "nmae: Cookie")],
        &[
            "META005 1:1 metadata has no key `nmae`",
            "META002 1:7 the field `name` is missing; you wrote `nmae:` in line 1: write `name:`",
        ],
    );
    wants(
        &[Replace(METADATA, "    prompt: What", "    promt: What")],
        &["META006 7:5", "the question has no `prompt`; you wrote `promt:` in line 7"],
    );
}

#[test]
fn a_limit_is_told_as_it_has_to_be_written() {
    let full = "deploy: {resources: {limits: {cpus: \"1.0\", memory: 512M}}}";
    for (limits, want) in [
        ("", format!("add `{full}`; ")),
        (
            "    mem_limit: 96m\n",
            "add `deploy: {resources: {limits: {cpus: \"1.0\", memory: \"96m\"}}}`; ".to_owned(),
        ),
        (
            "    deploy: {resources: {limits: {cpus: \"0.5\"}}}\n",
            "add `memory: 512M` to its `deploy.resources.limits`; ".to_owned(),
        ),
        (
            "    deploy: {resources: {}}\n",
            "add `limits: {cpus: \"1.0\", memory: 512M}` to its `deploy.resources`; ".to_owned(),
        ),
    ] {
        let edit = Replace(COMPOSE, LIMITS, Box::leak(limits.to_owned().into_boxed_str()));
        wants(&[edit], &[&want]);
    }
    wants(&[Replace(COMPOSE, "64M", "256MBytes")], &["; write `256M`: units are"]);
}

#[test]
fn hints_say_what_was_meant() {
    let subpath = "volumes: [{type: volume, source: answers, target: /answers/flag, volume: {subpath: flga}}]";
    for (edits, want) in [
        (
            vec![Replace(COMPOSE, "volumes: [\"answers:/answers:ro\"]", subpath)],
            "`subpath: flga` is not the question of `/answers/flag`; write `subpath: flag`, or remove it",
        ),
        (
            vec![Replace(
                COMPOSE,
                "volumes: [\"answers:/answers:ro\"]",
                "volumes: [\"answer:/x\"]",
            )],
            "COMPOSE009 5:15 the volume `answer` is not declared; did you mean `answers`?",
        ),
        (
            vec![Drop(DOCKERFILE), Put("services/web/dockerfile", "FROM busybox:1.36\n")],
            "rename `dockerfile` to `Dockerfile`",
        ),
        (vec![Replace(METADATA, "tags: [web]", "tags: web")], "write a list: `[web]`"),
        (
            vec![Replace(COMPOSE, "  flag-rotator:\n    build", "  flagrotator:\n    build")],
            "rename `flagrotator` to `flag-rotator`",
        ),
        (
            vec![Replace(COMPOSE, "    build: services/web\n", "    image: nginx\n")],
            "BUILD011 3:12 the image `nginx` can be another one tomorrow",
        ),
        (
            vec![Replace(
                COMPOSE,
                "    ports: [\"8080\"]",
                "    ports: [\"8080\"]\n    command: [sh, -c, echo $foo]",
            )],
            "for the shell's own variable write `$$foo`",
        ),
        (
            vec![Replace(
                COMPOSE,
                "    ports: [\"8080\"]",
                "    ports: [\"8080\"]\n    labels: {a.b: 'FLAG{w3lcome}'}",
            )],
            "LEAK006 5:20 `docker-compose.yml` holds a literal flag",
        ),
        (
            vec![Replace(METADATA, "Find out what", "Find \u{202e}out what")],
            "META023 2:19 `description` has the control or direction character U+202E",
        ),
        (vec![Put("audit-allowlist.yml", "allowlist: []\n")], "REPO008 0:0"),
        (vec![Put(EXPLOIT, "\n")], "EXPLOIT003 0:0 `solution/exploit.py` is empty"),
        (vec![Replace(EXPLOIT, "import ExploitBase, run_exploit", "import *")], "EXPLOIT002 1:1"),
        (vec![Replace(EXPLOIT, "\"__main__\"", "\"main\"")], "EXPLOIT004 10:4"),
    ] {
        wants(&edits, &[want]);
    }
    let renamed = Replace(COMPOSE, "  openvpn:\n", "  open-vpn:\n");
    let said = said_of(Base::Engagement, &[renamed]);
    assert!(said.iter().any(|it| it.contains("rename `open-vpn` to `openvpn`")), "{said:?}");
}

/// `RULE path message; hint` of the findings of a repository with these files.
fn repository(files: &[(&str, &str)]) -> String {
    let mut tree = MemoryTree::new();
    for (path, text) in files {
        tree = tree.with(path, *text);
    }
    let catalog = load(&tree, None, &Policy::default()).unwrap();
    let lines: Vec<String> = catalog
        .findings
        .iter()
        .map(|it| format!("{} {} {}; {}", it.rule, it.path, it.message, it.hint))
        .collect();
    lines.join("\n")
}

#[test]
fn a_challenge_without_its_metadata_does_not_vanish() {
    let told = repository(&[
        ("WEB/WEB-001/metadata.yml", QUIZ),
        ("WEB/WEB-002/Metadata.yaml", QUIZ),
        ("WEB/WEB-003/docker-compose.yml", "services: {}\n"),
        ("WEB/WEB-004/solution/exploit.py", "x"),
        ("WEB/WEB-005/metadata.yaml", QUIZ),
        ("WEB/notes/readme.md", "x"),
        ("WEB/easy/WEB-006/metadata.yaml", QUIZ),
        ("FLAT-1/compose.yaml", "services: {}\n"),
        (".github/x/metadata.yml", "x"),
        ("scripts/x/metadata.yml", "x"),
        ("competition/finals.yaml", "title: x\n"),
        ("audit-allowlist.yaml", "allowlist: []\n"),
    ]);
    insta::assert_snapshot!(told, @r"
    REPO007 FLAT-1 `FLAT-1` looks like a challenge, as it has `compose.yaml`, but without `metadata.yaml` it is none; write `metadata.yaml` beside it
    REPO007 WEB/WEB-001 `WEB/WEB-001` looks like a challenge, as it has `metadata.yml`, but without `metadata.yaml` it is none; rename `metadata.yml` to `metadata.yaml`
    REPO007 WEB/WEB-002 `WEB/WEB-002` looks like a challenge, as it has `Metadata.yaml`, but without `metadata.yaml` it is none; rename `Metadata.yaml` to `metadata.yaml`
    REPO007 WEB/WEB-003 `WEB/WEB-003` looks like a challenge, as it has `docker-compose.yml`, but without `metadata.yaml` it is none; write `metadata.yaml` beside it
    REPO007 WEB/WEB-004 `WEB/WEB-004` looks like a challenge, as it has `solution/exploit.py`, but without `metadata.yaml` it is none; write `metadata.yaml` beside `solution/`
    REPO007 WEB/easy/WEB-006 `WEB/easy/WEB-006` looks like a challenge, but lies too deep to be one; move it to `WEB/WEB-006`
    REPO008 audit-allowlist.yaml `audit-allowlist.yaml` has no effect: an allowlist belongs to one challenge; put it beside the `metadata.yaml` of the challenge, as `audit-allowlist.yaml`
    REPO008 competition `competition/` is not read; rename it to `competitions/` if its files are competitions
    ");
}
