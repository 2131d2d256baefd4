//! Compose files: every refusal with its line, every clamp with its value, the forms that pass.

use super::{COMPOSE, METADATA, lines, read, repository, valid};
use crate::catalog::{Folder, Severity};
use crate::model::compose::{
    AnswerFiles, DependsCondition, HealthTest, Healthcheck, ImageSource, Port, Restart, Service,
    ServiceProtocol, Transport,
};

/// Rules of the contract that a snippet of two lines breaks, and that have tests of their own
/// (`audit`): which image, which health check and limits there are, who gets answers, who is reached.
const LEFT_OUT: &[&str] = &[
    "BUILD011",
    "COMPOSE003",
    "COMPOSE006",
    "HEALTH001",
    "NET002",
    "NET003",
    "STRUCT006",
    "STRUCT007",
];

/// `RULE@line` of every other finding: what blocks plain, errors in brackets, warnings in
/// parentheses.
fn short(folder: &Folder) -> String {
    let findings = folder.findings.iter().filter(|it| !LEFT_OUT.contains(&it.rule.as_str()));
    let short: Vec<String> = findings
        .map(|it| match (it.blocks, it.severity) {
            (true, _) => format!("{}@{}", it.rule, it.line),
            (false, Severity::Error) => format!("[{}@{}]", it.rule, it.line),
            (false, Severity::Warning) => format!("({}@{})", it.rule, it.line),
        })
        .collect();
    short.join(" ")
}

/// A compose file whose service `web` also has `keys`, from line 4 on.
fn web_with(keys: &str) -> String {
    let has = |key: &str| keys.lines().any(|line| line.starts_with(key));
    let mut text =
        "services:\n  web:\n    deploy: {resources: {limits: {cpus: 1, memory: 64m}}}\n".to_owned();
    text.extend(keys.lines().map(|line| format!("    {line}\n")));
    if !has("ports") {
        text += "    ports: [80]\n";
    }
    if !has("build") && !has("image") {
        text += "    image: nginx:1.27\n";
    }
    if !has("healthcheck") {
        text += "    healthcheck: {test: [CMD, curl, 'http://127.0.0.1/']}\n";
    }
    text += "    x-answers: []\n";
    text + "volumes: {data: {}, answers: {}}\nnetworks: {back: {internal: true}}\n"
}

fn web(keys: &str) -> Service {
    valid(METADATA, &web_with(keys)).compose.unwrap().services.remove(0)
}

fn check(compose: &str, want: &str) {
    let folder = read(&repository(METADATA, compose));
    assert_eq!(short(&folder), want, "{compose}\n{}", lines(&folder));
    let is_valid = want.split(' ').all(|rule| rule.is_empty() || rule.starts_with(['(', '[']));
    assert_eq!(folder.challenge.is_some(), is_valid);
}

#[test]
fn a_plain_file_has_no_findings() {
    check(COMPOSE, "");
}

#[test]
fn every_dangerous_key_is_its_own_finding_with_its_line() {
    for (keys, want) in [
        ("privileged: true", "HARDEN001@4"),
        ("privileged: false", ""),
        ("cap_add: [SYS_ADMIN]", "HARDEN002@4"),
        (
            "cap_add:\n  - ALL\n  - sys_ptrace\n  - CAP_SYS_ADMIN",
            "HARDEN002@5 HARDEN002@6 HARDEN002@7",
        ),
        ("cap_add: [NET_RAW, chown, CAP_KILL]", "HARDEN002@4"),
        ("pid: host", "HARDEN003@4"),
        ("ipc: host", "HARDEN003@4"),
        ("uts: host", "HARDEN003@4"),
        ("userns_mode: host", "HARDEN003@4"),
        ("network_mode: host", "HARDEN003@4"),
        ("network_mode: 'container:x'", "HARDEN003@4"),
        ("network_mode: 'service:db'", "HARDEN003@4"),
        ("cgroup_parent: /x", "HARDEN004@4"),
        ("device_cgroup_rules: ['c 1:3 mr']", "HARDEN004@4"),
        ("devices: ['/dev/kvm']", "HARDEN004@4"),
        ("gpus: all", "HARDEN004@4"),
        ("runtime: nvidia", "HARDEN005@4"),
        ("security_opt: ['seccomp=unconfined']", "HARDEN005@4"),
        ("sysctls: {net.ipv6.conf.all.disable_ipv6: 0}", "HARDEN005@4"),
        ("sysctls: ['kernel.msgmax=1']", "HARDEN005@4"),
        ("sysctls: {net.ipv4.ip_unprivileged_port_start: 0}", "(HARDEN022@4)"),
        ("credential_spec: {file: x}", "HARDEN005@4"),
        ("volumes: ['/:/h']", "HARDEN006@4"),
        ("volumes: ['/var/run/docker.sock:/var/run/docker.sock']", "HARDEN006@4"),
        ("volumes: ['../../etc:/e']", "HARDEN006@4 [STRUCT005@4]"),
        ("volumes: ['~/x:/e']", "HARDEN006@4"),
        ("volumes: ['./x:/e:ro']", "HARDEN006@4 [STRUCT005@4]"),
        ("volumes: ['./services:/e:ro']", "HARDEN006@4"),
        ("volumes: ['C:\\x:/e']", "HARDEN006@4"),
        ("volumes: [{type: bind, source: /etc, target: /e}]", "HARDEN006@4"),
        ("volumes: [{type: npipe, source: x, target: /e}]", "HARDEN006@4"),
        ("volumes: [{type: cluster, source: x, target: /e}]", "HARDEN006@4"),
        ("volumes: [{type: image, source: x, target: /e}]", "HARDEN006@4"),
        ("volumes: ['data:/proc/x']", "HARDEN006@4"),
        ("volumes: ['data:/a/../etc']", "HARDEN006@4"),
        ("volumes: ['data:/']", "HARDEN006@4"),
        ("volumes: ['data:/d:rshared']", "HARDEN006@4"),
        ("volumes_from: [db]", "HARDEN006@4"),
        ("tmpfs: /answers", "HARDEN006@4"),
        ("tmpfs: ['/answers/flag:size=1m']", "HARDEN006@4"),
        ("volumes: ['/answers']", "HARDEN006@4"),
        ("links: [db]", "HARDEN007@4"),
        ("external_links: [db]", "HARDEN007@4"),
        ("extra_hosts: ['h:host-gateway']", "HARDEN007@4"),
        ("dns: 8.8.8.8", "HARDEN007@4"),
        ("dns_search: x", "HARDEN007@4"),
        ("domainname: \"a\\nb\"", "HARDEN007@4"),
        (&format!("hostname: {}", "h".repeat(300)), "HARDEN007@4"),
        ("networks: {back: {ipv4_address: 10.0.0.2}}", "HARDEN007@4"),
        ("env_file: /etc/os-release", "HARDEN009@4"),
        ("extends: {service: x}", "HARDEN009@4"),
        ("configs: [x]", "HARDEN009@4"),
        ("secrets: [x]", "HARDEN009@4"),
        ("logging: {driver: syslog}", "HARDEN010@4"),
        ("oom_kill_disable: true", "HARDEN011@4"),
        ("oom_score_adj: -1000", "HARDEN011@4"),
        ("blkio_config: {weight: 1}", "HARDEN011@4"),
        ("storage_opt: {size: 1g}", "HARDEN011@4"),
        ("memswap_limit: -1", "HARDEN011@4"),
        ("container_name: x", "HARDEN012@4"),
        ("profiles: [x]", "HARDEN012@4"),
        ("platform: linux/arm64", "HARDEN012@4"),
        ("pull_policy: always", "HARDEN012@4"),
        ("stdin_open: true", "HARDEN012@4"),
        ("tty: true", "HARDEN012@4"),
        ("environment: {ANSWER_FLAG: x}", "HARDEN013@4"),
        ("environment: ['A=${ANSWER_FLAG}']", "HARDEN013@4"),
        ("command: echo ${ANSWER_FLAG:-x}", "HARDEN013@4"),
        ("isolation: hyperv", "HARDEN005@4"),
        ("privilged: true", "COMPOSE008@4"),
    ] {
        check(&web_with(keys), want);
    }
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    let folder = read(&repository(METADATA, &web_with("enviroment: {A: b}\nPorts: [1]")));
    let hints: Vec<&str> = folder.findings.iter().map(|it| it.hint.as_str()).collect();
    assert!(hints.contains(&"did you mean `environment`?"), "{hints:?}");
    let folder = read(&repository(METADATA, &web_with("p\u{43e}rts: [1]")));
    assert!(folder.findings[0].message.contains(r"p\u{43e}rts"), "{}", folder.findings[0]);
    assert_eq!(folder.findings[0].hint, "did you mean `ports`?");
}

#[test]
fn builds_stay_inside_the_challenge() {
    for (build, want) in [
        ("build: .", "STRUCT004@0"),
        ("build: ./services/web/", ""),
        ("build: ../..", "HARDEN014@4"),
        ("build: /etc", "HARDEN014@4"),
        ("build: https://github.com/x/y.git", "HARDEN014@4 STRUCT004@4"),
        ("build: {context: services/web, per_team: true}", "HARDEN014@4"),
        ("build: git@github.com:x/y", "HARDEN014@4 STRUCT004@4"),
        ("build: services/none", "STRUCT004@4"),
        ("build: {context: services/web, dockerfile: ../x}", "HARDEN014@4"),
        ("build: {context: services/web, dockerfile: Other}", "STRUCT004@0"),
        ("build: {context: services, dockerfile: web/Dockerfile, target: final}", ""),
        (
            "build: {context: services/web, network: host, privileged: true}",
            "HARDEN014@4 HARDEN014@4",
        ),
        (
            "build:\n  context: services/web\n  ssh: [default]\n  secrets: [x]\n  cache_from: [x]\n  cache_to: [x]\n  extra_hosts: [x]\n  entitlements: [x]\n  isolation: x\n  ulimits: {}\n  shm_size: 1g",
            "HARDEN014@6 HARDEN014@7 HARDEN014@8 HARDEN014@9 HARDEN014@10 HARDEN014@11 HARDEN014@12 HARDEN014@13 HARDEN014@14",
        ),
        ("build: {context: services/web, args: {ANSWER_FLAG: x}}", "COMPOSE005@4"),
        ("build: {context: services/web, args: [A=1, B]}", "COMPOSE010@4"),
        ("build: {context: services/web, contxt: x}", "COMPOSE008@4"),
        ("build: {context: services/web, no_cache: true}", "(HARDEN022@4)"),
        ("image: 'x y'", "COMPOSE007@4"),
        ("image: Upper/Case", "COMPOSE007@4"),
        ("image: registry.example:5000/team/app:1@sha256:0123", ""),
    ] {
        check(&web_with(build), want);
    }
    let ImageSource::Build(spec) =
        web("build: {context: ./services/./web/, args: {V: 1.50, W: on}}").image
    else {
        panic!("a build");
    };
    assert_eq!(spec.context, "services/web");
    assert_eq!(spec.args["V"], "1.50");
    assert_eq!(spec.args["W"], "on");
}

#[test]
fn ports_are_read_in_every_form() {
    let ports = |text: &str| -> Vec<(u16, &str)> {
        let ports = web(&format!("ports: {text}")).ports;
        ports.iter().map(|port| (port.target, port.transport.as_str())).collect()
    };
    assert_eq!(ports("[80]"), [(80, "tcp")]);
    assert_eq!(ports("['8080:80']"), [(80, "tcp")]);
    assert_eq!(ports("['127.0.0.1:8080:80/udp']"), [(80, "udp")]);
    assert_eq!(ports("[{target: 53, protocol: udp}]"), [(53, "udp")]);
    assert_eq!(ports("['8000-8001:8000-8001']"), [(8000, "tcp"), (8001, "tcp")]);
    assert_eq!(ports("[2222:22]"), [(22, "tcp")]);
    assert_eq!(ports("['[::1]:80:81', '81', '81/UDP']"), [(81, "tcp"), (81, "udp")]);
    assert_eq!(ports("['${P}:80', '${P:-1:2}:${Q:-90}']"), [(80, "tcp"), (90, "tcp")]);
    assert_eq!(
        ports("[{target: '80', published: '${X}', host_ip: '::', mode: host}]"),
        [(80, "tcp")]
    );
    for (text, want) in [
        ("['1-65535']", "COMPOSE011@4"),
        ("['80/sctp']", "COMPOSE011@4"),
        ("['0']", "COMPOSE011@4"),
        ("['70000']", "COMPOSE011@4"),
        ("['x:y']", "COMPOSE011@4"),
        ("['90-80']", "COMPOSE011@4"),
        ("['80:${Q}']", "COMPOSE010@4"),
        ("[{published: 80}]", "COMPOSE011@4"),
        ("[{target: 80, prot: udp}]", "COMPOSE008@4"),
        ("['1000-1031', '2000']", "HARDEN016@4"),
        ("80", "COMPOSE011@4"),
    ] {
        let folder = read(&repository(METADATA, &web_with(&format!("ports: {text}"))));
        let want: Vec<&str> = want.split(' ').collect();
        assert!(
            want.iter().all(|rule| short(&folder).contains(rule)),
            "{text}: {}",
            lines(&folder)
        );
    }
}

#[test]
fn ceilings_are_warnings_with_the_effective_value() {
    let service =
        web("mem_limit: 64m\npids_limit: -1\nshm_size: 100g\nulimits: {nofile: -1, core: 0}\n\
         stop_grace_period: 1h\nrestart: always\n\
         healthcheck: {test: 'true', interval: 1ms, start_period: 8760h, retries: 0}");
    assert_eq!(service.limits.memory_bytes, 64 << 20);
    assert_eq!(service.limits.pids, 4096);
    assert_eq!(service.limits.shm_bytes, 64 << 20);
    assert_eq!(service.limits.nofile, (65_536, 65_536));
    assert_eq!(service.stop_grace_millis, 10_000);
    assert_eq!(service.restart, Restart::OnFailure);
    assert_eq!(
        service.healthcheck,
        Some(Healthcheck::Command {
            test: HealthTest::Shell("true".to_owned()),
            interval_millis: 100,
            timeout_millis: 30_000,
            retries: 3,
            start_period_millis: 600_000,
        })
    );
    let compose = "services:\n  web:\n    image: x\n    ports: [80]\n    deploy:\n      \
                   resources:\n        limits:\n          cpus: 999\n          memory: 1000g\n";
    check(compose, "(HARDEN020@8) (HARDEN020@9)");
    let folder = read(&repository(METADATA, compose));
    assert!(lines(&folder).contains("4 GiB is used"), "{}", lines(&folder));
}

#[test]
fn missing_limits_are_the_defaults() {
    let compose = "services:\n  web: {image: x, ports: [80]}\n";
    let service = valid(METADATA, compose).compose.unwrap().services.remove(0);
    assert_eq!(service.limits, crate::model::compose::Limits::default());
}

#[test]
fn values_that_are_wrong_are_named_where_they_stand() {
    for (keys, want) in [
        ("deploy2: x", "COMPOSE008@4"),
        ("command: \"echo 'x\"", "COMPOSE007@4"),
        ("user: \"a\\nb\"", "COMPOSE007@4"),
        ("user: '4294967295'", "COMPOSE007@4"),
        ("working_dir: /proc/self/fd/8", "HARDEN006@4"),
        ("working_dir: app", "COMPOSE007@4"),
        ("stop_signal: 0", "COMPOSE007@4"),
        ("stop_signal: SIGTREM", "COMPOSE007@4"),
        ("restart: sometimes", "COMPOSE007@4"),
        ("restart: false", "(COMPOSE007@4)"),
        ("cpus: 0.5", "COMPOSE007@4"),
        ("mem_limit: 1m", "COMPOSE007@4"),
        ("init: maybe", "COMPOSE007@4"),
        ("init: false", ""),
        ("expose: [80, '90-95', x]", "COMPOSE011@4"),
        ("labels: {traefik.http.routers.x.rule: y}", "(HARDEN022@4)"),
        ("labels: ['ctfy.service.protocol=quic']", "[STRUCT012@4]"),
        ("labels: {ctfy.service.protocol: 5}", "(HARDEN022@4)"),
        ("labels: ['com.docker.compose.project=other']", "(HARDEN022@4)"),
        ("depends_on: [db]", "COMPOSE009@4"),
        ("depends_on: [web]", "COMPOSE009@4"),
        ("depends_on: {db: {condition: service_ready}}", "COMPOSE009@4 COMPOSE007@4"),
        ("depends_on: {db: {condition: service_started, required: false}}", "(COMPOSE009@4)"),
        ("networks: [front]", "COMPOSE009@4"),
        ("networks: [default, back]", ""),
        ("volumes: ['none:/x']", "COMPOSE009@4"),
        ("volumes: ['data:/x', 'data:/x/']", "COMPOSE007@4"),
        (
            "volumes: [{type: volume, source: data, target: /x, volume: {subpath: a}}]",
            "HARDEN006@4",
        ),
        ("environment: {A: '${HOME}'}", "COMPOSE010@4"),
        ("environment: [A]", "COMPOSE010@4"),
        ("environment: {A: true}", "(COMPOSE007@4)"),
        ("environment: {A: $x}", "COMPOSE010@4"),
        ("healthcheck: {test: [curl]}", "COMPOSE007@4"),
        ("healthcheck: {test: x, interval: soon}", "COMPOSE007@4"),
        ("healthcheck: {interval: 1s}", "(HARDEN022@4)"),
        ("ulimits: {nofile: {soft: 9, hard: 5}}", "COMPOSE007@4"),
        ("x-anything: {a: '${B}'}", ""),
    ] {
        check(&web_with(keys), want);
    }
}

#[test]
fn the_forms_that_pass_keep_their_meaning() {
    let service = web("command: python -m 'my app'\nentrypoint: [sh, -c]\nuser: '1000:1000'\n\
         working_dir: /app/\nhostname: box\ncap_drop: [ALL]\ncap_add: [CAP_CHOWN, setuid]\n\
         read_only: true\nstop_signal: int\nstop_grace_period: 2s\nrestart: no\n\
         labels: {ctfy.service.protocol: tcp}\nports: [1337]\n\
         environment: {A: 1.50, B: '$${x}', C: '${X:-d}', D: ''}\n\
         networks: {back: {aliases: [api, api.local]}, default: }\n\
         tmpfs: ['/run:size=1m', /tmp]\n\
         volumes: ['data:/data:ro', /cache, {type: tmpfs, target: /t, tmpfs: {size: 2m}}]\n\
         healthcheck: {test: [CMD, curl, localhost], interval: 1s, timeout: 2s, retries: 5}");
    let words = |words: &[&str]| Some(words.iter().map(|it| (*it).to_owned()).collect());
    assert_eq!(service.command, words(&["python", "-m", "my app"]));
    assert_eq!(service.entrypoint, words(&["sh", "-c"]));
    assert_eq!(service.user.as_deref(), Some("1000:1000"));
    assert_eq!(service.working_dir.as_deref(), Some("/app"));
    assert_eq!(service.capabilities, ["CHOWN", "SETUID"]);
    assert!(service.is_read_only);
    assert_eq!(service.stop_signal.as_deref(), Some("SIGINT"));
    assert_eq!(service.stop_grace_millis, 2000);
    assert_eq!(service.restart, Restart::No);
    assert_eq!(service.protocol, ServiceProtocol::Tcp);
    assert_eq!(service.ports, [Port { target: 1337, transport: Transport::Tcp }]);
    let environment: Vec<_> =
        service.environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(environment, ["A=1.50", "B=${x}", "C=d", "D="]);
    assert_eq!(service.networks["back"].aliases, ["api", "api.local"]);
    assert!(service.networks.contains_key("default"));
    let tmpfs: Vec<_> =
        service.tmpfs.iter().map(|it| (it.target.as_str(), it.size_bytes)).collect();
    assert_eq!(tmpfs, [("/run", 1 << 20), ("/tmp", 64 << 20), ("/t", 2 << 20)]);
    let volumes: Vec<_> = service
        .volumes
        .iter()
        .map(|it| (it.source.as_deref(), it.target.as_str(), it.is_read_only))
        .collect();
    assert_eq!(volumes, [(Some("data"), "/data", true), (None, "/cache", false)]);
    let Some(Healthcheck::Command { test, .. }) = service.healthcheck else { panic!("a command") };
    assert_eq!(test, HealthTest::Exec(vec!["curl".to_owned(), "localhost".to_owned()]));
    assert_eq!(web("").capabilities.len(), 7);
}

#[test]
fn top_level_keys_are_checked() {
    let with = |line: &str| format!("{COMPOSE}{line}\n");
    for (line, want) in [
        ("version: '3'", "[COMPOSE002@8]"),
        ("name: x", "HARDEN012@8"),
        ("configs: {x: {file: /etc/passwd}}", "HARDEN009@8"),
        ("secrets: {x: {file: /etc/passwd}}", "HARDEN009@8"),
        ("include: [../x.yml]", "HARDEN009@8"),
        ("volume: {}", "COMPOSE008@8"),
        ("x-base: {a: 1}", ""),
        ("volumes: {a: {driver: local}}", "HARDEN008@8"),
        ("volumes: {a: {driver_opts: {o: bind, device: /}}}", "HARDEN008@8"),
        ("volumes: {a: {external: true}}", "HARDEN008@8"),
        ("volumes: {a: {name: other}}", "HARDEN008@8"),
        ("volumes: {a: {labels: [x]}}", "(HARDEN022@8)"),
        ("volumes: {'a/b': }", "COMPOSE007@8"),
        ("networks: {a: {external: true}}", "HARDEN008@8"),
        ("networks: {a: {ipam: {config: []}}}", "HARDEN008@8"),
        ("networks: {a: {driver: host}}", "HARDEN008@8"),
        ("networks: {a: {driver: macvlan}}", "HARDEN008@8"),
        ("networks: {a: {driver_opts: {x: y}}}", "HARDEN008@8"),
        ("networks: {a: {name: other}}", "HARDEN008@8"),
        ("networks: {a: {driver: bridge, internal: true}}", ""),
        ("networks: {a: {attachable: true}}", "(HARDEN022@8)"),
    ] {
        check(&with(line), want);
    }
    for (text, want) in [
        ("services: {}", "COMPOSE007@1"),
        ("services: [a]", "COMPOSE001@1"),
        ("networks: {}", "COMPOSE001@1"),
        ("services:\n  web: x", "COMPOSE007@2"),
        ("[1]", "COMPOSE000@1"),
        ("a: [", "COMPOSE000@1"),
        ("services:\n  web!: {image: x}", "COMPOSE007@2"),
    ] {
        let folder = read(&repository(METADATA, text));
        assert!(short(&folder).contains(want), "{text}: {}", lines(&folder));
    }
}

#[test]
fn deploy_knows_limits_only() {
    for (deploy, want) in [
        ("{replicas: 1}", ""),
        ("{replicas: 10000}", "HARDEN015@5"),
        ("{mode: global}", "HARDEN015@5"),
        ("{resources: {reservations: {cpus: 1}}}", "(HARDEN022@5)"),
        (
            "{resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
            "(HARDEN022@5) HARDEN004@5",
        ),
    ] {
        let text =
            format!("services:\n  web:\n    image: x\n    ports: [80]\n    deploy: {deploy}\n");
        check(&text, want);
    }
}

#[test]
fn sixty_services_are_too_many() {
    let services: String = (0..60).map(|n| format!("  s{n}: {{image: x}}\n")).collect();
    check(&format!("services:\n{services}"), "HARDEN016@1");
}

#[test]
fn circles_and_twins_are_named() {
    let text = "services:\n  a: {image: x, depends_on: [b], cpus: 1, mem_limit: 64m, ports: [1]}\n  \
                b: {image: x, depends_on: {a: {condition: service_healthy}}, cpus: 1, mem_limit: 64m}\n";
    check(text, "COMPOSE009@2");
    let text = text.replace("depends_on: [b], ", "").replace("  b:", "  A:");
    check(&text, "COMPOSE007@3");
    let healthy = valid(METADATA, &text.replace("  A:", "  b:")).compose.unwrap();
    let depends = &healthy.service("b").unwrap().depends_on;
    assert_eq!(depends.values().copied().collect::<Vec<_>>(), [DependsCondition::Healthy]);
}

/// Two minted answers and one fixed.
const QUESTIONS: &str = "\
name: x
description: x
difficulty: easy
tags: [web]
questions:
  - {id: flag, prompt: a}
  - {id: admin_pw, prompt: b, format: raw}
  - {id: year, prompt: c, answer: '1999'}
";

const ROTATOR: &str = "\
services:
  web:
    image: x
    ports: [80]
    volumes:
      - WEB_VOLUME
    deploy: {resources: {limits: {cpus: 1, memory: 64m}}}
    depends_on: {flag-rotator: {condition: service_completed_successfully}}
  flag-rotator:
    build: services/flag-rotator
    volumes: ['answers:/out']
    environment: ROTATOR_ENV
    deploy: {resources: {limits: {cpus: 1, memory: 64m}}}
volumes: {answers: }
";

fn rotator(volume: &str, environment: &str) -> String {
    ROTATOR.replace("WEB_VOLUME", volume).replace("ROTATOR_ENV", environment)
}

#[test]
fn the_rotator_passes_minted_answers_through() {
    for environment in [
        "[ANSWER_FLAG, ANSWER_ADMIN_PW]",
        "['ANSWER_FLAG=${ANSWER_FLAG}', 'ANSWER_ADMIN_PW=$ANSWER_ADMIN_PW']",
        "{ANSWER_FLAG: , ANSWER_ADMIN_PW: '${ANSWER_ADMIN_PW:-none}'}",
    ] {
        let compose = rotator("answers:/answers:ro", environment);
        let compose = valid(QUESTIONS, &compose).compose.unwrap();
        let service = compose.service("flag-rotator").unwrap();
        let passed: Vec<_> = service
            .answer_environment
            .iter()
            .map(|it| (it.name.as_str(), it.question.as_str()))
            .collect();
        assert_eq!(passed, [("ANSWER_FLAG", "flag"), ("ANSWER_ADMIN_PW", "admin_pw")]);
        assert_eq!(service.environment.len(), 0);
        assert_eq!(service.answers, AnswerFiles::Only(Vec::new()));
        assert_eq!(service.volumes[0].target, "/out");
    }
    for (environment, want) in [
        ("[ANSWER_FLAG]", ""),
        ("[ANSWER_FLAG, ANSWER_ADMIN_PW, ANSWER_YEAR]", ""),
        ("[ANSWER_FLAG, ANSWER_ADMIN_PW, 'X=${ANSWER_YEAR}']", "COMPOSE010@12"),
        ("[ANSWER_FLAG=x, ANSWER_ADMIN_PW, 'ANSWER_FLAG']", "HARDEN013@12"),
        ("[ANSWER_FLAG, ANSWER_ADMIN_PW, 'X=a-${ANSWER_FLAG}']", "HARDEN013@12"),
        ("[ANSWER_FLAG, ANSWER_ADMIN_PW, 'X=${HOME}']", "COMPOSE010@12"),
        ("[ANSWER_FLAG, ANSWER_ADMIN_PW, 'X=${Y:-z}']", ""),
    ] {
        let folder = read(&repository(QUESTIONS, &rotator("answers:/answers:ro", environment)));
        assert_eq!(short(&folder), want, "{environment}\n{}", lines(&folder));
    }
}

#[test]
fn mounts_below_answers_become_answer_files() {
    let only = |ids: &[&str]| AnswerFiles::Only(ids.iter().map(|it| (*it).to_owned()).collect());
    let environment = "[ANSWER_FLAG, ANSWER_ADMIN_PW]";
    for (volume, want) in [
        ("answers:/answers/flag:ro", only(&["flag"])),
        (
            "{type: volume, source: answers, target: /answers/flag, read_only: true, volume: {subpath: flag}}",
            only(&["flag"]),
        ),
        ("answers:/answers:ro", only(&["admin_pw", "flag"])),
        ("answers:/answers/", only(&["admin_pw", "flag"])),
        ("/cache", only(&[])),
    ] {
        let compose = valid(QUESTIONS, &rotator(volume, environment)).compose.unwrap();
        let service = compose.service("web").unwrap();
        assert_eq!(service.answers, want, "{volume}");
        assert_eq!(service.volumes.len(), usize::from(volume == "/cache"));
    }
    for (volume, want) in [
        ("answers:/answers/year:ro", "[STRUCT009@6]"),
        ("answers:/answers/none", "[STRUCT009@6]"),
        ("answers:/answers/Flag", "HARDEN006@6"),
        ("answers:/answers/flag/x", "HARDEN006@6"),
        (
            "{type: volume, source: answers, target: /answers/flag, volume: {subpath: year}}",
            "HARDEN006@6",
        ),
        ("{type: tmpfs, target: /answers/flag}", "HARDEN006@6"),
        ("other:/answers/flag", "COMPOSE009@6"),
    ] {
        let folder = read(&repository(QUESTIONS, &rotator(volume, environment)));
        assert_eq!(short(&folder), want, "{volume}\n{}", lines(&folder));
    }
}

#[test]
fn who_says_nothing_gets_all_answers_or_none() {
    let service = "image: x, ports: [80], cpus: 1, mem_limit: 64m";
    let all = format!("services: {{a: {{{service}}}, b: {{{service}}}}}");
    let compose = valid(QUESTIONS, &all).compose.unwrap();
    assert!(compose.services.iter().all(|it| it.answers == AnswerFiles::All));
    let some = format!("services: {{a: {{{service}, x-answers: [flag]}}, b: {{{service}}}}}");
    let compose = valid(QUESTIONS, &some).compose.unwrap();
    assert_eq!(compose.services[0].answers, AnswerFiles::Only(vec!["flag".to_owned()]));
    assert_eq!(compose.services[1].answers, AnswerFiles::Only(Vec::new()));
    for (ids, want) in
        [("[year]", "STRUCT009@1"), ("[fag]", "STRUCT009@1"), ("flag", "COMPOSE007@1")]
    {
        let folder = read(&repository(QUESTIONS, &some.replace("[flag]", ids)));
        assert_eq!(short(&folder), want, "{}", lines(&folder));
    }
}

#[test]
fn the_gateway_of_an_engagement_may_ask_for_its_tunnel() {
    let compose = "services:\n  openvpn:\n    image: ctfy/openvpn-base\n    ports: ['1194:1194/udp']\n    \
                   cap_add: [NET_ADMIN]\n    devices: ['/dev/net/tun:/dev/net/tun']\n    \
                   sysctls: {net.ipv4.ip_forward: 1}\n    cpus: 1\n    mem_limit: 64m\n";
    let metadata = format!("{METADATA}network_topology: engagement\n");
    let folder = read(&repository(&metadata, compose));
    assert_eq!(short(&folder), "");
    let folder = read(&repository(METADATA, compose));
    assert_eq!(short(&folder), "HARDEN002@5 HARDEN004@6 HARDEN005@7");
}

#[test]
fn a_merged_base_is_used_and_counted_once() {
    let compose = "x-base: &base {cpus: 1, mem_limit: 64m, image: x}\nservices:\n  \
                   a: {<<: *base, ports: [80]}\n  b: {<<: *base, image: y, privileged: true}\n";
    let folder = read(&repository(METADATA, compose));
    assert_eq!(short(&folder), "HARDEN001@4");
}
