//! Health checks.

use super::{Base, Example, Rule, ids, text};
use crate::catalog::finding::Weight;

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: ids::HEALTH001,
        weight: Weight::Error,
        summary: "A service has no `healthcheck`",
        why: "An instance is ready when its services say so. Without a health check the best that can be known is that a process was started, so players may meet a service that is still loading or that died after its first second.",
        fix: "Add a `healthcheck` that asks the service itself, such as an HTTP request with `wget` or `curl`, `nc -z` or, where only `bash` is, `exec 3<>/dev/tcp/127.0.0.1/1337` for a TCP service, `mysqladmin ping` for a database, and `test -s` on the written file for `flag-rotator`.",
        bad: Example {
            base: Base::Pwn,
            files: &[text(
                "docker-compose.yml",
                r#"services:
  chal:
    build: services/chal
    ports: ["1337"]
    labels: {ctfy.service.protocol: tcp}
    volumes: ["answers:/answers:ro"]
    depends_on:
      flag-rotator: {condition: service_completed_successfully}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
  flag-rotator:
    build: services/flag-rotator
    environment: [ANSWER_FLAG]
    volumes: ["answers:/out"]
    healthcheck: {test: ["CMD", "test", "-s", "/out/flag"]}
    deploy: {resources: {limits: {cpus: "0.25", memory: 32M}}}
volumes:
  answers:
"#,
            )],
        },
        good: Example {
            base: Base::Pwn,
            files: &[text(
                "docker-compose.yml",
                r#"services:
  chal:
    build: services/chal
    ports: ["1337"]
    labels: {ctfy.service.protocol: tcp}
    volumes: ["answers:/answers:ro"]
    depends_on:
      flag-rotator: {condition: service_completed_successfully}
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "1337"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
  flag-rotator:
    build: services/flag-rotator
    environment: [ANSWER_FLAG]
    volumes: ["answers:/out"]
    healthcheck: {test: ["CMD", "test", "-s", "/out/flag"]}
    deploy: {resources: {limits: {cpus: "0.25", memory: 32M}}}
volumes:
  answers:
"#,
            )],
        },
    },
    Rule {
        id: ids::HEALTH020,
        weight: Weight::Warning,
        summary: "A health check is switched off",
        why: "`healthcheck:` without anything behind it, `disable: true` and `NONE` leave nothing that says whether the service is usable, so players may meet one that is still loading.",
        fix: "Write a `test` that asks the service itself; remove `disable`.",
        bad: Example {
            base: Base::Pwn,
            files: &[text(
                "docker-compose.yml",
                r#"services:
  chal:
    build: services/chal
    ports: ["1337"]
    labels: {ctfy.service.protocol: tcp}
    volumes: ["answers:/answers:ro"]
    depends_on:
      flag-rotator: {condition: service_completed_successfully}
    healthcheck: {disable: true}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
  flag-rotator:
    build: services/flag-rotator
    environment: [ANSWER_FLAG]
    volumes: ["answers:/out"]
    healthcheck: {test: ["CMD", "test", "-s", "/out/flag"]}
    deploy: {resources: {limits: {cpus: "0.25", memory: 32M}}}
volumes:
  answers:
"#,
            )],
        },
        good: Example {
            base: Base::Pwn,
            files: &[text(
                "docker-compose.yml",
                r#"services:
  chal:
    build: services/chal
    ports: ["1337"]
    labels: {ctfy.service.protocol: tcp}
    volumes: ["answers:/answers:ro"]
    depends_on:
      flag-rotator: {condition: service_completed_successfully}
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "1337"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
  flag-rotator:
    build: services/flag-rotator
    environment: [ANSWER_FLAG]
    volumes: ["answers:/out"]
    healthcheck: {test: ["CMD", "test", "-s", "/out/flag"]}
    deploy: {resources: {limits: {cpus: "0.25", memory: 32M}}}
volumes:
  answers:
"#,
            )],
        },
    },
];
