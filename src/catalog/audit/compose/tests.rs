//! What the family says about challenges that are sound but for one thing.

use crate::catalog::rules::Base::{Engagement, Web};
use crate::catalog::tests::Edit::{self, Drop, Put, Replace};
use crate::catalog::tests::{edited, verdict};
use crate::catalog::{Policy, load_one};

const COMPOSE: &str = "docker-compose.yml";
const DOCKERFILE: &str = "services/web/Dockerfile";
const BUILD: &str = "build: services/web";
const LIMITS: &str = "deploy: {resources: {limits: {cpus: \"0.5\", memory: 64M}}}";

#[track_caller]
fn check(edits: &[Edit], want: &str) {
    assert_eq!(verdict(Web, edits, &["COMPOSE"]), want);
}

#[test]
fn services_are_a_mapping_that_is_not_empty() {
    for (text, want) in [
        ("services: [a]\n", "COMPOSE001 docker-compose.yml:1 !"),
        ("x-a: 1\nservices:\n", "COMPOSE001 docker-compose.yml:2 !"),
        ("version: '3'\n", "COMPOSE001 docker-compose.yml:1 !"),
        ("services: {}\n", "COMPOSE003 docker-compose.yml:1\nCOMPOSE007 docker-compose.yml:1 !"),
        ("services: [\n", "COMPOSE000 docker-compose.yml:1 !"),
    ] {
        let found = verdict(Web, &[Put(COMPOSE, text)], &["COMPOSE"]);
        let mut lines: Vec<&str> = found.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines.join("\n"), want, "{text}");
    }
}

#[test]
fn a_version_is_an_error_that_does_not_block() {
    let edits = [Replace(COMPOSE, "services:\n  web", "version: '3'\nservices:\n  web")];
    check(&edits, "COMPOSE002 docker-compose.yml:1");
}

#[test]
fn some_service_publishes_a_port() {
    for ports in ["", "    ports: []\n", "    ports:\n", "    ports: false\n"] {
        let edits = [Replace(COMPOSE, "    ports: [\"8080\"]\n", ports)];
        let found = verdict(Web, &edits, &["COMPOSE003"]);
        assert_eq!(found, "COMPOSE003 docker-compose.yml:1", "{ports}");
    }
    let gateway = [Replace(COMPOSE, "    ports: [\"1194/udp\"]\n", "")];
    assert_eq!(verdict(Engagement, &gateway, &["COMPOSE"]), "COMPOSE003 docker-compose.yml:1");
}

#[test]
fn no_dockerfile_takes_an_answer() {
    for (line, is_found) in [
        ("ARG ANSWER_FLAG", true),
        ("\tARG  ANSWER_FLAG=x", true),
        ("RUN echo $ANSWER_FLAG", true),
        ("RUN echo \"$ANSWER_FLAG\" > /flag", true),
        ("arg ANSWER_FLAG", false),
        ("ARG ANSWER_", false),
        ("ARG MY_ANSWER_FLAG", false),
        ("# ARG ANSWER_FLAG", false),
        ("RUN echo x $ANSWER_FLAG", false),
    ] {
        for end in ["\n", "\r\n"] {
            let text = format!("FROM busybox:1.36{end}{line}{end}");
            let tree = edited(Web, &[]).with(&format!("WEB/WEB-001/{DOCKERFILE}"), text);
            let folder = load_one(&tree, "WEB/WEB-001", &Policy::default()).unwrap();
            let found: Vec<u32> = folder
                .findings
                .iter()
                .filter(|it| it.rule == "COMPOSE004" && it.path.ends_with(DOCKERFILE))
                .map(|it| it.line)
                .collect();
            assert_eq!(found, if is_found { vec![2] } else { vec![] }, "{line:?}{end:?}");
        }
    }
    let other = [
        Put("services/web/Other", "FROM x\nARG ANSWER_FLAG\n"),
        Replace(COMPOSE, BUILD, "build: {context: services/web, dockerfile: Other}"),
    ];
    check(&other, "COMPOSE004 services/web/Other:2");
    check(&[Put("services/flag-rotator/Dockerfile", "FROM x\nARG ANSWER_FLAG\n")], "");
    check(&[Drop(DOCKERFILE)], "");
}

#[test]
fn an_answer_in_a_build_argument_blocks() {
    for args in ["[ANSWER_FLAG]", "{ANSWER_FLAG: x}", "[\" ANSWER_X=1\"]"] {
        let compose = Web.files().iter().find(|it| it.path == COMPOSE).unwrap();
        let crate::catalog::rules::What::Text(text) = compose.what else { panic!("a text") };
        let text = text.replace(BUILD, &format!("build: {{context: services/web, args: {args}}}"));
        let tree = edited(Web, &[]).with("WEB/WEB-001/docker-compose.yml", text);
        let folder = load_one(&tree, "WEB/WEB-001", &Policy::default()).unwrap();
        let found: Vec<String> = folder
            .findings
            .iter()
            .map(|it| format!("{}@{} {}", it.rule, it.line, it.blocks))
            .collect();
        assert_eq!(found, ["COMPOSE005@3 true"], "{args}");
    }
}

#[test]
fn every_service_has_limits() {
    for (limits, want) in [
        ("", "COMPOSE006 docker-compose.yml:2"),
        (
            "deploy: {resources: {limits: {cpus: \"\", memory: 64M}}}",
            "COMPOSE006 docker-compose.yml:2",
        ),
        ("deploy: {resources: {limits: {cpus: 1, memory: ~}}}", "COMPOSE006 docker-compose.yml:2"),
        ("mem_limit: 64m\n    cpus: 1", "COMPOSE006 docker-compose.yml:2"),
        ("deploy: {resources: {limits: {cpus: 1, memory: 64M}}}", ""),
    ] {
        assert_eq!(verdict(Web, &[Replace(COMPOSE, LIMITS, limits)], &["COMPOSE006"]), want);
    }
}

#[test]
fn missing_limits_name_what_is_used_instead() {
    let hints = |limits, policy: &Policy| {
        let tree = edited(Web, &[Replace(COMPOSE, LIMITS, limits)]);
        let folder = load_one(&tree, Web.folder(), policy).unwrap();
        let finding = folder.findings.into_iter().find(|it| it.rule == "COMPOSE006").unwrap();
        format!("{}; {}", finding.message, finding.hint)
    };
    let small = Policy { max_memory_bytes: 64 << 20, max_cpu_millis: 250, ..Policy::default() };
    insta::assert_snapshot!(hints("", &Policy::default()), @r#"the service `web` lacks `cpus` and `memory` below `deploy.resources.limits`; add `deploy: {resources: {limits: {cpus: "1.0", memory: 512M}}}`; until then the service gets `cpus` 1 and `memory` 512 MiB"#);
    insta::assert_snapshot!(hints("", &small), @r#"the service `web` lacks `cpus` and `memory` below `deploy.resources.limits`; add `deploy: {resources: {limits: {cpus: "0.25", memory: 64M}}}`; until then the service gets `cpus` 0.25 and `memory` 64 MiB"#);
    insta::assert_snapshot!(hints("mem_limit: 64m", &Policy::default()), @r#"the service `web` lacks `cpus` and `memory` below `deploy.resources.limits`; add `deploy: {resources: {limits: {cpus: "1.0", memory: "64m"}}}`; until then the service gets `cpus` 1 and what its `mem_limit` says"#);
}
