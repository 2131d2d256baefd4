//! What is mended, what is left alone, and what holds for every file.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::catalog::Severity;
use crate::catalog::rules::{Base, What};
use crate::model::MemoryTree;

const METADATA: &str = "metadata.yaml";
const COMPOSE: &str = "docker-compose.yml";
const FOLDER: &str = "WEB/WEB-001";

/// The clean web challenge with one file replaced.
fn repository(name: &str, content: &str) -> Overlay {
    let mut tree = MemoryTree::new();
    for file in Base::Web.files() {
        let What::Text(text) = file.what else { panic!("{} is no text", file.path) };
        tree = tree.with(&format!("{FOLDER}/{}", file.path), text);
    }
    Overlay::over(Box::new(tree.with(&format!("{FOLDER}/{name}"), content)))
}

/// The findings of the folder; a service without a health check is one of them in any case.
fn findings(tree: &Overlay) -> Result<Vec<Finding>, TreeError> {
    let mut findings = load_one(tree, FOLDER, &Policy::default())?.findings;
    if findings.iter().any(|finding| finding.rule == rules::HEALTH001) {
        return Ok(findings);
    }
    let path = format!("{FOLDER}/{COMPOSE}");
    let root = spanned::parse(&tree.read(&path, 1 << 20)?).root;
    for service in root.as_ref().map(compose::services).unwrap_or_default() {
        if service.map.get("healthcheck").is_none() {
            findings.push(Finding {
                rule: rules::HEALTH001.to_owned(),
                severity: Severity::Error,
                blocks: false,
                challenge: None,
                path: path.clone(),
                line: service.entry.key_span.line,
                column: 1,
                message: format!("`{}` has no health check", service.entry.key),
                hint: "add one".to_owned(),
                snippet: None,
            });
        }
    }
    Ok(findings)
}

/// Mends `content` as file `name`: the new content, and one line for each thing done or left.
fn run(name: &str, content: &str) -> (String, String) {
    let mut tree = repository(name, content);
    let mended = mend_by(&findings, &mut tree, FOLDER, &Policy::default()).unwrap();
    let path = format!("{FOLDER}/{name}");
    let mut said = String::new();
    for file in mended.files {
        assert_eq!(file.path, path);
        assert_eq!(file.before, content.as_bytes());
        for Applied { line, rule, what } in file.applied {
            writeln!(said, "{line} {rule} {what}").unwrap();
        }
    }
    for Left { line, rule, why, .. } in mended.left {
        writeln!(said, "{line} {rule} left: {why}").unwrap();
    }
    let after = String::from_utf8(tree.read(&path, 1 << 20).unwrap()).unwrap();
    (after, said)
}

/// The lines that are new.
fn added(before: &str, after: &str) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    let new = diff.iter_all_changes().filter(|it| it.tag() == similar::ChangeTag::Insert);
    new.map(|change| change.value()).collect()
}

const HEALTH: &str = "healthcheck: {test: [CMD, 'true']}";

#[test]
fn missing_limits_and_a_health_check_are_written_in_the_style_of_the_file() {
    let before = "\
services:
    # what players see
    web:
        build: services/web   # small
        ports: [\"8080\"]
        depends_on:
            flag-rotator: {condition: service_completed_successfully}
        # the end of web

    # the sidecar
    flag-rotator:
        build: services/flag-rotator
        environment: [ANSWER_FLAG]
        volumes:
            - answers:/out
volumes:
    answers:
";
    let (after, said) = run(COMPOSE, before);
    insta::assert_snapshot!(said, @r#"
    3 COMPOSE006 limited `web` to `cpus: "1.0"` and `memory: 512M`
    3 HEALTH001 gave `web` a health check
    11 COMPOSE006 limited `flag-rotator` to `cpus: "0.25"` and `memory: 64M`
    11 HEALTH001 gave `flag-rotator` a health check
    "#);
    insta::assert_snapshot!(after, @r#"
    services:
        # what players see
        web:
            build: services/web   # small
            ports: ["8080"]
            depends_on:
                flag-rotator: {condition: service_completed_successfully}
            # the end of web
            healthcheck:
                # True while something listens on 8080 (1F90 in hex).
                test: ["CMD-SHELL", "grep -q ':1F90 [0-9A-F]*:0000 0A' /proc/net/tcp /proc/net/tcp6"]
                interval: 10s
                timeout: 3s
                retries: 5
            deploy:
                resources:
                    limits:
                        cpus: "1.0"
                        memory: 512M

        # the sidecar
        flag-rotator:
            build: services/flag-rotator
            environment: [ANSWER_FLAG]
            volumes:
                - answers:/out
            healthcheck:
                test: ["CMD", "test", "-s", "/out/flag"]
                interval: 1s
                timeout: 1s
                retries: 30
            deploy:
                resources:
                    limits:
                        cpus: "0.25"
                        memory: 64M
    volumes:
        answers:
    "#);
}

/// A compose file with one service that says `keys`, each on its own line.
fn service(keys: &[&str]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("    {key}\n")).collect();
    let rotator = "\
  flag-rotator: {build: services/flag-rotator, environment: [ANSWER_FLAG], volumes: ['a:/out'], \
healthcheck: {test: [CMD, 'true']}, deploy: {resources: {limits: {cpus: '1', memory: 64M}}}}
";
    format!(
        "services:\n  web:\n    build: services/web\n    ports: ['8080']\n    {HEALTH}\n{}{rotator}volumes: {{a: }}\n",
        keys.concat()
    )
}

#[test]
fn limits_go_into_what_is_there_already() {
    for (keys, want) in [
        (
            &["deploy:"][..],
            "      resources:\n        limits:\n          cpus: \"1.0\"\n          memory: 512M\n",
        ),
        (
            &["deploy: # later"],
            "      resources:\n        limits:\n          cpus: \"1.0\"\n          memory: 512M\n",
        ),
        (&["deploy: {}"], "    deploy: {resources: {limits: {cpus: \"1.0\", memory: 512M}}}\n"),
        (
            &["deploy: ~ # x"],
            "    deploy: {resources: {limits: {cpus: \"1.0\", memory: 512M}}} # x\n",
        ),
        (
            &["deploy: {replicas: 1}"],
            "    deploy: {replicas: 1, resources: {limits: {cpus: \"1.0\", memory: 512M}}}\n",
        ),
        (
            &["deploy:", "  replicas: 1"],
            "      resources:\n        limits:\n          cpus: \"1.0\"\n          memory: 512M\n",
        ),
        (
            &["deploy:", "  resources:", "    limits:", "      memory: 20M"],
            "          cpus: \"1.0\"\n",
        ),
        (
            &["deploy:", "  resources:", "    limits:", "      memory: 20M", "      cpus:"],
            "          cpus: \"1.0\"\n",
        ),
        (
            &["deploy:", "  resources:", "    limits:", "      cpus: # ?", "      memory:"],
            "          cpus: \"1.0\" # ?\n          memory: 512M\n",
        ),
        (
            &["deploy:", "   resources: {limits: {memory: 20M}}"],
            "       resources: {limits: {memory: 20M, cpus: \"1.0\"}}\n",
        ),
        (
            &["deploy: {resources: {limits: {memory: , }}}"],
            "    deploy: {resources: {limits: {cpus: \"1.0\", memory: 512M , }}}\n",
        ),
        (
            &["deploy: {", "  resources: {", "    limits: {memory: 20M} # }", "  },", "}"],
            "        limits: {memory: 20M, cpus: \"1.0\"} # }\n",
        ),
        (
            &["mem_limit: 40m"],
            "    deploy:\n      resources:\n        limits:\n          cpus: \"1.0\"\n          memory: \"40m\"\n",
        ),
        (
            &["labels: {ctfy.service.protocol: tcp}"],
            "    deploy:\n      resources:\n        limits:\n          cpus: \"1.0\"\n          memory: 256M\n",
        ),
        (
            &["labels: ['ctfy.service.protocol=tcp']"],
            "    deploy:\n      resources:\n        limits:\n          cpus: \"1.0\"\n          memory: 256M\n",
        ),
        (
            &["command: |", "  one", "", "  two", ""],
            "    deploy:\n      resources:\n        limits:\n          cpus: \"1.0\"\n          memory: 512M\n",
        ),
        (
            &["'command': [", "  'a', # ]", "  'b' ]"],
            "    deploy:\n      resources:\n        limits:\n          cpus: \"1.0\"\n          memory: 512M\n",
        ),
    ] {
        let before = service(keys);
        let (after, said) = run(COMPOSE, &before);
        assert_eq!(added(&before, &after), want, "{said}{after}");
        assert!(said.starts_with("2 COMPOSE006 limited `web`"), "{said}");
    }
}

#[test]
fn what_cannot_be_understood_is_left_alone_and_said() {
    let full = "{resources: {limits: {cpus: '1', memory: 64M}}}";
    for (compose, want) in [
        // Two services share the mapping: an edit for one would be an edit for both.
        (
            format!(
                "x-web: &web\n  build: services/web\n  ports: ['1']\n  {HEALTH}\nservices:\n  web: *web\n  other:\n    <<: *web\n    deploy: {full}\n"
            ),
            "6 COMPOSE006 left: it cannot be written here without touching something else\n",
        ),
        // The gap is in a mapping that is merged.
        (
            format!(
                "x-d: &d {{resources: {{limits: {{cpus: '1'}}}}}}\nservices:\n  web:\n    build: services/web\n    ports: ['1']\n    {HEALTH}\n    deploy: *d\n"
            ),
            "3 COMPOSE006 left: it cannot be written here without touching something else\n",
        ),
        (
            format!(
                "services:\n  web:\n    build: services/web\n    ports: ['1']\n    {HEALTH}\n    mem_limit: ${{M:-64m}}\n"
            ),
            "2 COMPOSE006 left: its `mem_limit` cannot be repeated as it is written\n",
        ),
        // A shell in the image is not known, or no port says what healthy is.
        (
            format!(
                "services:\n  web:\n    image: ghcr.io/me/mine:1\n    ports: ['1']\n    deploy: {full}\n"
            ),
            "2 HEALTH001 left: nothing says that its image has a shell, which a stub needs (its Dockerfile does not show one)\n",
        ),
        (
            format!("services:\n  web:\n    build: services/web\n    deploy: {full}\n"),
            "2 HEALTH001 left: it publishes no port, so only you know when it is healthy\n",
        ),
        (
            format!(
                "services:\n  web:\n    build: services/web\n    ports: ['5353:53/udp']\n    deploy: {full}\n"
            ),
            "2 HEALTH001 left: it publishes something else than plain TCP ports\n",
        ),
        (
            format!(
                "services:\n  flag-rotator:\n    build: services/web\n    environment: [ANSWER_FLAG]\n    deploy: {full}\n"
            ),
            "2 HEALTH001 left: it mounts nothing at `/out`, where answers are written\n",
        ),
        (
            format!(
                "{{version: '3', services: {{web: {{build: services/web, ports: ['1'], {HEALTH}, deploy: {full}}}}}}}\n"
            ),
            "1 COMPOSE002 left: it cannot be written here without touching something else\n",
        ),
        // Faults in the notation: nothing is certain about such a file.
        (
            "version: '3'\nservices:\n  web: {build: services/web}\n  web: {}\n".to_owned(),
            "1 COMPOSE002 left: it cannot be written here without touching something else\n3 COMPOSE006 left: it cannot be written here without touching something else\n3 HEALTH001 left: it cannot be written here without touching something else\n",
        ),
    ] {
        let (after, said) = run(COMPOSE, &compose);
        assert_eq!(after, compose);
        assert_eq!(said, want, "{compose}");
    }
}

#[test]
fn a_merged_service_gets_its_own_keys_and_the_anchor_stays() {
    let before = format!(
        "x-base: &base\n  build: services/web\n  {HEALTH}\nservices:\n  web:\n    <<: *base\n    ports: ['8080']\n  api:\n    <<: *base\n"
    );
    let (after, said) = run(COMPOSE, &before);
    insta::assert_snapshot!(said, @r#"
    5 COMPOSE006 limited `web` to `cpus: "1.0"` and `memory: 512M`
    8 COMPOSE006 limited `api` to `cpus: "1.0"` and `memory: 512M`
    "#);
    insta::assert_snapshot!(added(&before, &after), @r#"
        deploy:
          resources:
            limits:
              cpus: "1.0"
              memory: 512M
        deploy:
          resources:
            limits:
              cpus: "1.0"
              memory: 512M
    "#);
}

#[test]
fn the_version_goes_and_nothing_else() {
    for (head, want) in [
        ("version: '3'\n", ""),
        ("version: 3.8\r\n", ""),
        ("# before\nversion: \"3\"\n\n# after\n", "# before\n\n# after\n"),
        ("version: '3' # why\n", "# why\n"),
        ("\u{feff}version: '3'\n", "\u{feff}"),
        ("---\nversion: '3'\n", "---\n"),
        ("version:\n", ""),
        ("'version': '3'\n", ""),
        ("x-a: 1\nversion: 3\nx-b: 2\n", "x-a: 1\nx-b: 2\n"),
    ] {
        let rest = service(&["deploy: {resources: {limits: {cpus: '1', memory: 64M}}}"]);
        let (after, said) = run(COMPOSE, &format!("{head}{rest}"));
        assert_eq!(after, format!("{want}{rest}"), "{head:?}");
        assert!(said.ends_with("COMPOSE002 removed the obsolete `version`\n"), "{said}");
    }
}

#[test]
fn the_line_ends_of_the_file_are_kept() {
    let before = service(&[]).replace('\n', "\r\n");
    let (after, _) = run(COMPOSE, &before);
    assert_eq!(after.matches('\n').count(), after.matches("\r\n").count());
    assert!(after.contains("    deploy:\r\n      resources:\r\n"), "{after}");
    let last = before.trim_end().to_owned();
    let (after, _) = run(COMPOSE, &last);
    assert!(!after.ends_with('\n'));
}

/// A `metadata.yaml` with these lines for the parts that are text.
fn metadata(name: &str, tags: &str, question: &str) -> String {
    format!(
        "name: {name}   # shown\ndescription: Find out what the owner keeps.\ndifficulty: easy\ntags: {tags}\nquestions:\n  - id: flag\n    prompt: What is it?\n{question}"
    )
}

#[test]
fn text_that_reads_as_something_else_gets_quotes() {
    for (name, tags, question, want) in [
        ("123", "[web]", "", "name: \"123\"   # shown\n"),
        ("true", "[web]", "", "name: \"true\"   # shown\n"),
        ("1.50", "[web]", "", "name: \"1.50\"   # shown\n"),
        ("Jar", "[web, 2026, 1.5]", "", "tags: [web, \"2026\", \"1.5\"]\n"),
        ("Jar", "\n  - 1 # one\n  - web", "", "  - \"1\" # one\n"),
    ] {
        let before = metadata(name, tags, question);
        let (after, said) = run(METADATA, &before);
        assert_eq!(added(&before, &after), want, "{said}");
    }
    let quiz = "  - id: port\n    prompt: Which?\n    answer: 22\n    choices: [21, 22, 'a', b]\n  - id: no_\n    prompt: 5\n    answer: yes\n";
    let before = metadata("Jar", "[web]", quiz);
    let (after, said) = run(METADATA, &before);
    insta::assert_snapshot!(added(&before, &after), @r#"
        answer: "22"
        choices: ["21", "22", 'a', b]
        prompt: "5"
        answer: "yes"
    "#);
    insta::assert_snapshot!(said, @r"
    10 META008 put the values of `answer` in quotes
    13 META006 put the value of `prompt` in quotes
    14 META008 put the value of `answer` in quotes
    ");
}

#[test]
fn nothing_and_other_faults_get_no_quotes() {
    for (name, tags, question) in [
        ("~", "[web]", ""),
        ("[1]", "[web]", ""),
        ("Jar", "[~]", ""),
        ("Jar", "[web]", "    answer: ~\n"),
        ("Jar", "[web]", "    flag: 42\n"),
        ("Jar", "&t [1, *t]", ""),
    ] {
        let before = metadata(name, tags, question);
        assert_eq!(run(METADATA, &before).0, before);
    }
}

#[test]
fn an_edit_that_would_bring_something_else_to_light_is_left() {
    // The answer is none of the choices, with quotes or without.
    let quiz = "  - id: port\n    prompt: Which?\n    answer: 23\n    choices: ['21', '22']\n";
    let before = metadata("Jar", "[web]", quiz);
    let (after, said) = run(METADATA, &before);
    assert_eq!(after, before);
    assert_eq!(said, "10 META008 left: the finding would stay; mend it by hand\n");
}

#[test]
fn a_clean_challenge_is_not_touched() {
    for file in Base::Web.files() {
        let What::Text(text) = file.what else { continue };
        assert_eq!(run(file.path, text), (text.to_owned(), String::new()));
    }
}

/// Texts of a compose file: styles that people mix, with and without what can be mended.
fn composes() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "deploy:",
        "deploy: {}",
        "deploy: # none yet\n      # really\n      replicas: 1",
        "deploy: {resources: {limits: {memory: 64M}}} # half",
        "deploy:\n        resources:\n                limits:\n                  cpus: '0.5'\n                  # memory: 12M",
        "mem_limit: 64m",
        "<<: *base",
        "command: |\n      echo a\n\n      # no comment\n\n",
        "command: >-\n      echo a\n\n",
        "command: [\"sh\", # run\n      '-c', 'true']",
        "labels: &l {a: b}",
        "# only a comment",
        "",
        "healthcheck: {test: [CMD, 'true']}",
        "\"environment\": {A: \"#\", B: }",
        "environment:\n    - A=1 # one\n    # - B=2",
        "ports: ['8080:80', \"81\"] # two",
        "ports:\n    - 80\n    - target: 81\n      protocol: tcp",
    ]);
    let service = prop::collection::vec(key, 0..5);
    let head = prop::sample::select(vec!["", "version: '3'\n", "# top\nversion: 3 # x\n", "---\n"]);
    (head, service.clone(), service, any::<bool>(), any::<bool>()).prop_map(
        |(head, web, db, is_crlf, is_cut)| {
            let lines = |keys: Vec<&str>| -> String {
                keys.iter().map(|key| format!("    {key}\n")).collect()
            };
            let mut text = format!(
                "{head}x-base: &base\n  read_only: true\nservices:\n  web:\n    build: services/web\n{}  # two\n  db:\n    image: redis:7\n{}",
                lines(web),
                lines(db)
            );
            if is_cut {
                text.truncate(text.trim_end().len());
            }
            if is_crlf { text.replace('\n', "\r\n") } else { text }
        },
    )
}

/// Texts of a metadata file.
fn metadatas() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "42",
        "yes",
        "'42'",
        "~",
        "",
        "2026-01-01",
        "1.5 # x",
        "word",
        "[1, a]",
        "&a 3",
        "0x1F",
        "\"a\" # b",
        "!!str 5",
        "12:30",
        "|\n      7",
    ]);
    prop::collection::vec(value, 8).prop_map(|v| {
        format!(
            "# first\nname: {}\ndescription: {} # d\ndifficulty: easy\ntags: [web, {}]\nauthor: {}\nquestions:\n  # q\n  - id: flag\n    prompt: {}\n    answer: {}\n  - {{id: b, prompt: p, answer: {}, choices: [1, {}]}}\n",
            v[0],
            v[1],
            v[2].split(' ').next().unwrap_or_default(),
            v[3],
            v[4],
            v[5],
            v[6].split([' ', '\n']).next().unwrap_or_default(),
            v[7].split([' ', '\n']).next().unwrap_or_default(),
        )
    })
}

/// `text` with a few bytes replaced, doubled or cut out.
fn damaged(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let change = (
        any::<prop::sample::Index>(),
        0..3_u8,
        prop::sample::select(vec![
            " ", "\n", ":", "#", "{", "}", "- ", "'", "\t", "&a ", "*a", "|", "\r", "é", ", ",
        ]),
    );
    (text, prop::collection::vec(change, 0..3)).prop_map(|(text, changes)| {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, kind, new) in changes {
            let at = at.index(chars.len().max(1)).min(chars.len());
            match kind {
                0 => chars.splice(at..at, new.chars()).for_each(drop),
                1 => chars.splice(at..(at + 1).min(chars.len()), new.chars()).for_each(drop),
                _ => chars.splice(at..(at + 3).min(chars.len()), []).for_each(drop),
            }
        }
        chars.into_iter().collect()
    })
}

/// The comments of a text, as far as they can be told without a parser: what follows ` #`.
fn comments(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.contains("True while something listens"));
    lines
        .filter_map(|line| {
            let line = format!(" {line}");
            line.find(" #").map(|at| line[at..].trim().to_owned())
        })
        .collect()
}

/// Whether `part` is `whole` with bytes left out, so that nothing of `part` moved or went.
fn is_within(part: &str, whole: &str) -> bool {
    let mut whole = whole.bytes();
    part.bytes().all(|byte| whole.any(|other| other == byte))
}

fn check_invariants(name: &str, before: &str) -> Result<(), TestCaseError> {
    let n_errors = |content: &str| {
        let found = findings(&repository(name, content)).unwrap();
        let n_errors = found.iter().filter(|it| it.severity == Severity::Error).count();
        (n_errors, found.iter().filter(|it| it.blocks).count(), found.len())
    };
    let (after, said) = run(name, before);
    let (old, new) = (n_errors(before), n_errors(&after));
    prop_assert!(new.0 <= old.0 && new.1 <= old.1, "{:?} -> {:?}\n{}", old, new, after);
    prop_assert_eq!(comments(before), comments(&after));
    // Without the line of `version:` and explicit nothings, mending only adds.
    let kept: Vec<&str> =
        before.lines().filter(|line| !line.contains("version") && !line.contains('~')).collect();
    let kept = kept.join("\n").replace('\r', "");
    prop_assert!(is_within(&kept, &after.replace('\r', "")), "{}", after);
    let (again, said_again) = run(name, &after);
    prop_assert_eq!(&again, &after, "{}---\n{}", said, said_again);
    prop_assert!(new.2 <= old.2, "{}", said);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn mending_a_compose_file_is_safe(text in composes()) {
        check_invariants(COMPOSE, &text)?;
    }

    #[test]
    fn mending_a_damaged_compose_file_is_safe(text in damaged(composes())) {
        check_invariants(COMPOSE, &text)?;
    }

    #[test]
    fn mending_a_metadata_file_is_safe(text in metadatas()) {
        check_invariants(METADATA, &text)?;
    }

    #[test]
    fn mending_a_damaged_metadata_file_is_safe(text in damaged(metadatas())) {
        check_invariants(METADATA, &text)?;
    }
}
