//! What the family says about challenges that are sound but for one thing.

use crate::catalog::rules::Base::{self, Engagement, Pwn, Quiz, Web};
use crate::catalog::tests::Edit::{self, Drop, Put, Replace};
use crate::catalog::tests::{edited, verdict};
use crate::catalog::{Policy, load_one};

const META: &str = "metadata.yaml";
const COMPOSE: &str = "docker-compose.yml";
const DEPENDS: &str =
    "    depends_on:\n      flag-rotator: {condition: service_completed_successfully}\n";
const MOUNT: &str = "    volumes: [\"answers:/answers:ro\"]\n";
const ENVIRONMENT: &str = "    environment: [ANSWER_FLAG]\n";
const SIDECAR: &str = r#"  flag-rotator:
    build: services/flag-rotator
    environment: [ANSWER_FLAG]
    volumes: ["answers:/out"]
    healthcheck: {test: ["CMD", "test", "-s", "/out/flag"]}
    deploy: {resources: {limits: {cpus: "0.25", memory: 32M}}}
"#;

#[track_caller]
fn check(base: Base, edits: &[Edit], want: &str) {
    assert_eq!(verdict(base, edits, &["STRUCT"]), want);
}

/// The one message and hint of rule `id`.
fn words(base: Base, edits: &[Edit], id: &str) -> String {
    let folder = load_one(&edited(base, edits), base.folder(), &Policy::default()).unwrap();
    let texts: Vec<String> = folder
        .findings
        .iter()
        .filter(|it| it.rule == id)
        .map(|it| format!("{}; {}", it.message, it.hint))
        .collect();
    texts.join("\n")
}

#[test]
fn something_must_run_in_some_categories() {
    check(Web, &[Drop(COMPOSE)], "STRUCT001 docker-compose.yml:0 !");
    check(Pwn, &[Drop(COMPOSE)], "STRUCT001 docker-compose.yml:0 !");
    let crypto = Replace(META, "category: pwn", "category: crypto");
    check(Pwn, &[crypto, Drop(COMPOSE)], "STRUCT011 metadata.yaml:7 !");
    let unknown = Put(META, "name: x\ndescription: x\ndifficulty: easy\ntags: [x]\ncategory: X\n");
    check(Web, &[unknown, Drop(COMPOSE)], "STRUCT001 docker-compose.yml:0 !");
}

#[test]
fn a_template_can_bring_a_minted_answer_where_nothing_runs() {
    let edits = [
        Replace(META, "category: pwn", "category: crypto"),
        Drop(COMPOSE),
        Put("attachments/letter.txt.tpl", "{{ answers.flag }}\n"),
    ];
    check(Pwn, &edits, "STRUCT011 metadata.yaml:7");
}

#[test]
fn a_compose_file_of_another_name_is_said_where_it_is() {
    let edits = [Drop(COMPOSE), Put("compose.yaml", "services: {}\n")];
    check(Web, &edits, "(STRUCT026 compose.yaml:0)\nSTRUCT001 docker-compose.yml:0 !");
    assert!(
        words(Web, &edits, "STRUCT001").ends_with("rename `compose.yaml` to `docker-compose.yml`")
    );
}

#[test]
fn only_quizzes_need_no_exploit_and_no_attachments() {
    check(Web, &[Drop("solution")], "STRUCT002 solution/exploit.py:0");
    check(Engagement, &[Drop("solution")], "STRUCT002 solution/exploit.py:0");
    check(Pwn, &[Drop("attachments")], "STRUCT010 attachments:0");
    let deeper = [Drop("attachments"), Put("attachments/sub/x", "x")];
    check(Pwn, &deeper, "STRUCT010 attachments:0");
    check(Quiz, &[], "");
    let minted = Put(
        META,
        "name: x\ndescription: x\ndifficulty: easy\ntags: [x]\ncategory: misc\n\
         questions: [{id: a, prompt: p}, {id: b, prompt: p, answer: x}]\n",
    );
    check(
        Quiz,
        &[minted],
        "STRUCT010 attachments:0\nSTRUCT011 metadata.yaml:6 !\nSTRUCT002 solution/exploit.py:0",
    );
}

#[test]
fn a_fault_of_one_question_is_no_fault_of_the_folder() {
    for (from, to) in [("id: port", "id: Port"), ("answer: \"22\"", "answer: \"99\"")] {
        check(Quiz, &[Replace(META, from, to)], "");
    }
    check(Web, &[Replace(META, "id: flag", "id: Flag")], "");
}

#[test]
fn what_is_built_has_a_folder_and_a_dockerfile() {
    let build = |to| [Replace(COMPOSE, "build: services/web", to)];
    for (edits, want) in [
        (build("build: services/nope"), "STRUCT004 docker-compose.yml:3 !"),
        (build("build: metadata.yaml"), "STRUCT004 docker-compose.yml:3 !"),
        (build("build: ."), "STRUCT004 Dockerfile:0 !"),
        (
            build("build: {context: services/web, dockerfile: Other}"),
            "STRUCT004 services/web/Other:0 !",
        ),
        (build("build: ./services//web/."), ""),
        (build("build: services/${X:-web}"), ""),
        (build("build: ../.."), ""),
        ([Drop("services/web/Dockerfile")], "STRUCT004 services/web/Dockerfile:0 !"),
        ([Put("services/web/Dockerfile", "")], "STRUCT004 services/web/Dockerfile:0 !"),
    ] {
        check(Web, &edits, want);
    }
    let edits = [
        Drop("services"),
        Put("src/Dockerfile", "FROM scratch\n"),
        Replace(COMPOSE, "services/web", "src"),
        Replace(COMPOSE, "services/flag-rotator", "src"),
    ];
    check(Web, &edits, "STRUCT003 services:0");
}

#[test]
fn a_context_is_judged_also_where_the_service_could_not_be_read() {
    let edits = [Replace(COMPOSE, "  web:\n    build: services/web", "  we b:\n    build: nope")];
    check(Web, &edits, "STRUCT004 docker-compose.yml:3 !");
}

#[test]
fn a_mounted_path_that_is_not_there_is_named() {
    for (volume, want) in [
        ("./nope:/e", "STRUCT005 docker-compose.yml:5"),
        ("../nope:/e", "STRUCT005 docker-compose.yml:5"),
        ("./services:/e", ""),
        ("./nope/../services:/e", ""),
        ("nope:/e", ""),
        ("/nope:/e", ""),
    ] {
        let compose = Web.files().iter().find(|it| it.path == COMPOSE).unwrap();
        let crate::catalog::rules::What::Text(text) = compose.what else { panic!("a text") };
        let text = text.replace("[\"answers:/answers:ro\"]", &format!("[\"{volume}\"]"));
        let tree = edited(Web, &[]).with("WEB/WEB-001/docker-compose.yml", text);
        let folder = load_one(&tree, "WEB/WEB-001", &Policy::default()).unwrap();
        let found: Vec<String> = folder
            .findings
            .iter()
            .filter(|it| it.rule.starts_with("STRUCT"))
            .map(|it| format!("{} docker-compose.yml:{}", it.rule, it.line))
            .collect();
        assert_eq!(found.join("\n"), want, "{volume}");
    }
}

#[test]
fn somebody_says_who_gets_the_answers() {
    let none = || vec![Replace(COMPOSE, SIDECAR, ""), Replace(COMPOSE, DEPENDS, "")];
    check(Web, &none(), "STRUCT006 docker-compose.yml:1");
    insta::assert_snapshot!(words(Web, &none(), "STRUCT006"), @"no service says which answers it needs, and there is no `flag-rotator`; add `x-answers: [flag]` to the service that reads `/answers/<id>`, or add the sidecar `flag-rotator`");
    for wish in ["    x-answers: [flag]\n", "    x-answers: []\n"] {
        check(Web, &[none(), vec![Replace(COMPOSE, MOUNT, wish)]].concat(), "");
    }
    let text = [none(), vec![Replace(COMPOSE, MOUNT, "    x-answers: flag\n")]].concat();
    check(Web, &text, "STRUCT006 docker-compose.yml:1");
    let fixed = Replace(META, "the jar?\n", "the jar?\n    answer: crumbs\n");
    let fixed = [none(), vec![fixed, Replace(COMPOSE, MOUNT, "")]].concat();
    insta::assert_snapshot!(words(Web, &fixed, "STRUCT006"), @"no service says which answers it needs, and there is no `flag-rotator`; no answer is minted here: add `x-answers: []` to a service to say so");
}

#[test]
fn the_rotator_knows_the_minted_answers_and_no_others() {
    let more =
        "the jar?\n  - {id: admin_pw, prompt: p}\n  - {id: year, prompt: p, answer: '1999'}\n";
    let environment = |to| [Replace(META, "the jar?\n", more), Replace(COMPOSE, ENVIRONMENT, to)];
    for (to, want) in [
        ("    environment: [ANSWER_FLAG, ANSWER_ADMIN_PW]\n", ""),
        ("    environment: {ANSWER_FLAG: , ANSWER_ADMIN_PW: '${ANSWER_ADMIN_PW}'}\n", ""),
        ("    environment: [ANSWER_FLAG]\n", "STRUCT006 docker-compose.yml:13"),
        ("", "STRUCT006 docker-compose.yml:11"),
        (
            "    environment:\n      - ANSWER_FLAG\n      - ANSWER_ADMIN_PW\n      - ANSWER_YEAR\n",
            "STRUCT006 docker-compose.yml:16",
        ),
        (
            "    environment:\n      - ANSWER_FLAG\n      - ANSWER_ADMIN_PW\n      - ANSWER_FLAGG\n",
            "STRUCT006 docker-compose.yml:16",
        ),
    ] {
        check(Web, &environment(to), want);
    }
    let slip = environment("    environment: [ANSWER_FLAG, ANSWER_ADMIN_PWD]\n");
    insta::assert_snapshot!(words(Web, &slip, "STRUCT006"), @r"
    the environment of `flag-rotator` lacks `ANSWER_ADMIN_PW`; add `- ANSWER_ADMIN_PW` to its `environment`, without a value
    `ANSWER_ADMIN_PWD` belongs to no question; did you mean `ANSWER_ADMIN_PW`?
    ");
}

#[test]
fn the_rotator_is_awaited_and_not_for_players() {
    let silent = || vec![Replace(COMPOSE, DEPENDS, ""), Replace(COMPOSE, MOUNT, "")];
    check(Web, &silent(), "STRUCT007 docker-compose.yml:8");
    check(Web, &[Replace(COMPOSE, DEPENDS, "")], "");
    check(Web, &[Replace(COMPOSE, MOUNT, "")], "");
    let list = Replace(COMPOSE, DEPENDS, "    depends_on: [flag-rotator]\n");
    check(Web, &[list, Replace(COMPOSE, MOUNT, "")], "");
    let ports = "    environment: [ANSWER_FLAG]\n    ports: [\"1\"]\n";
    check(Web, &[Replace(COMPOSE, ENVIRONMENT, ports)], "STRUCT008 docker-compose.yml:14");
    let tree = edited(Web, &[Replace(COMPOSE, ENVIRONMENT, ports)]);
    let folder = load_one(&tree, Web.folder(), &Policy::default()).unwrap();
    let compose = folder.challenge.unwrap().compose.clone().unwrap();
    assert!(compose.service("flag-rotator").unwrap().ports.is_empty());
}

#[test]
fn answers_that_are_never_delivered_are_not_mounted() {
    let more = "the jar?\n  - {id: year, prompt: p, answer: '1999'}\n";
    let mount = |to| [Replace(META, "the jar?\n", more), Replace(COMPOSE, MOUNT, to)];
    for (to, want) in [
        ("    volumes: [\"answers:/answers/flag:ro\"]\n", ""),
        ("    volumes: [\"answers:/answers/year:ro\"]\n", "STRUCT009 docker-compose.yml:5"),
        ("    volumes: [\"answers:/answers/flgg/\"]\n", "STRUCT009 docker-compose.yml:5"),
        (
            "    volumes:\n      - {type: volume, source: answers, target: /answers/year}\n",
            "STRUCT009 docker-compose.yml:6",
        ),
        ("    x-answers: [flag]\n", ""),
        ("    x-answers: [flag, year]\n", "STRUCT009 docker-compose.yml:5 !"),
        ("    x-answers: [flgg]\n", "STRUCT009 docker-compose.yml:5 !"),
    ] {
        check(Web, &mount(to), want);
    }
    insta::assert_snapshot!(words(Web, &mount("    x-answers: [flgg, year]\n"), "STRUCT009"), @r"
    `x-answers` wants the answer of `flgg`, but there is no such question; did you mean `flag`?
    `x-answers` wants the answer of `year`, which stands in `metadata.yaml` and is never delivered; remove it from `x-answers`
    ");
}

#[test]
fn the_label_fits_the_service() {
    const LABEL: &str = "    labels: {ctfy.service.protocol: tcp}\n";
    let label = |to| [Replace(COMPOSE, LABEL, to)];
    for (to, want) in [
        ("    labels: [ctfy.service.protocol=tcp]\n", ""),
        ("", "STRUCT014 docker-compose.yml:2"),
        ("    labels: {ctfy.service.protocol: http}\n", "STRUCT014 docker-compose.yml:2"),
        (
            "    labels: [ctfy.service.protocol=quic, ctfy.service.protocol=tcp]\n",
            "STRUCT014 docker-compose.yml:2\nSTRUCT012 docker-compose.yml:5",
        ),
        ("    labels: {ctfy.service.protocol: 5}\n", "STRUCT014 docker-compose.yml:2"),
    ] {
        check(Pwn, &label(to), want);
    }
    let hidden = [Replace(COMPOSE, "    ports: [\"1337\"]\n", "")];
    check(Pwn, &hidden, "STRUCT013 docker-compose.yml:4");
}

#[test]
fn a_compose_file_that_is_none_is_not_judged() {
    check(Web, &[Put(COMPOSE, "services: [\n")], "");
    check(
        Pwn,
        &[Put(COMPOSE, "services: []\n")],
        "STRUCT006 docker-compose.yml:1\nSTRUCT014 docker-compose.yml:1",
    );
}
