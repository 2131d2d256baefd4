//! What a compose file must say.

use super::{Base, Example, File, Rule, ids, text};
use crate::catalog::finding::Weight;

/// A compose file that is sound.
const SOUND: &str = r#"services:
  web:
    build: services/web
    ports: ["8080"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#;

/// A Dockerfile that serves a page.
const DOCKERFILE: &str = r#"FROM busybox:1.36
CMD ["httpd", "-f", "-p", "8080", "-h", "/"]
"#;

/// The one file that most rules are about.
const fn compose(content: &'static str) -> File {
    text("docker-compose.yml", content)
}

/// An example on the base with one web service.
const fn web(files: &'static [File]) -> Example {
    Example { base: Base::Web, files }
}

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: ids::COMPOSE000,
        weight: Weight::Refusal,
        summary: "`docker-compose.yml` cannot be read as one YAML mapping",
        why: "Nothing of the file can be looked at, let alone started.",
        fix: "Mend the YAML at the place that is named: indent with spaces, close every bracket \
              and quote, write no key twice, and keep the file a regular one below 256 KiB.",
        bad: web(&[compose("services:\n  web: [build: services/web\n")]),
        good: web(&[compose(SOUND)]),
    },
    Rule {
        id: ids::COMPOSE001,
        weight: Weight::Refusal,
        summary: "`services` is missing, or no mapping",
        why: "The services are what runs. Without them there is nothing to start.",
        fix: "Write `services:` and below it, indented, a name for each service.",
        bad: web(&[compose("services: [web]\n")]),
        good: web(&[compose(SOUND)]),
    },
    Rule {
        id: ids::COMPOSE002,
        weight: Weight::Error,
        summary: "the top-level key `version`",
        why: "It is obsolete and has no effect. Compose itself warns about it.",
        fix: "Remove the line.",
        bad: web(&[compose(
            r#"version: "3.8"
services:
  web:
    build: services/web
    ports: ["8080"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: web(&[compose(SOUND)]),
    },
    Rule {
        id: ids::COMPOSE003,
        weight: Weight::Error,
        summary: "no service publishes a port",
        why: "Players reach published ports only. `expose` publishes nothing.",
        fix: "Add `ports` with the container's port to the service that players reach. The port of \
              the host is chosen by the platform.",
        bad: web(&[compose(
            r#"services:
  web:
    build: services/web
    expose: ["8080"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: web(&[compose(SOUND)]),
    },
    Rule {
        id: ids::COMPOSE004,
        weight: Weight::Error,
        summary: "a Dockerfile takes an answer at build time",
        why: "Images are built once and shared by all instances. An answer in an image is the same \
              for everybody, and everybody who gets hold of a layer can read it.",
        fix: "Read the file `/answers/<question id>` when the service needs the answer.",
        bad: web(&[text(
            "services/web/Dockerfile",
            r#"FROM busybox:1.36
ARG ANSWER_FLAG
CMD ["httpd", "-f", "-p", "8080", "-h", "/"]
"#,
        )]),
        good: web(&[text("services/web/Dockerfile", DOCKERFILE)]),
    },
    Rule {
        id: ids::COMPOSE005,
        weight: Weight::Refusal,
        summary: "a build argument is named `ANSWER_…`",
        why: "Build arguments stay in the history of the image, where everybody can read them. \
              There is also no answer yet when an image is built: answers belong to instances.",
        fix: "Remove the argument, and read the file `/answers/<question id>` at run time.",
        bad: web(&[compose(
            r#"services:
  web:
    build: {context: services/web, args: [ANSWER_FLAG]}
    ports: ["8080"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: web(&[compose(SOUND)]),
    },
    Rule {
        id: ids::COMPOSE006,
        weight: Weight::Error,
        summary: "a service does not say how much CPU or memory it may take",
        why: "Many instances share a node, and players try to break them. Only the author knows \
              what the service needs; without a word the platform's default is used, which may be \
              too little, or wasteful.",
        fix: "Add `deploy.resources.limits` with `cpus` and `memory` to every service, the sidecar \
              included. The older `cpus` and `mem_limit` of the service itself do not count.",
        bad: web(&[compose(
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
"#,
        )]),
        good: web(&[compose(SOUND)]),
    },
    Rule {
        id: ids::COMPOSE007,
        weight: Weight::Refusal,
        summary: "a value has the wrong type or shape",
        why: "It could mean several things, and what runs must be what was meant.",
        fix: "Write what the message asks for: it names the key, what it must be and what it is.",
        bad: web(&[compose(
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    command: [["httpd", "-f"]]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: web(&[compose(
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    command: ["httpd", "-f", "-p", "8080", "-h", "/www"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
    },
    Rule {
        id: ids::COMPOSE008,
        weight: Weight::Refusal,
        summary: "a key that compose does not know",
        why: "A key that is misspelt has no effect, and nobody notices until the event. Keys for \
              other programs begin with `x-`.",
        fix: "Write the key as the message suggests, or remove it.",
        bad: web(&[compose(
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    enviroment: {THEME: dark}
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: web(&[compose(
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    environment: {THEME: dark}
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
    },
    Rule {
        id: ids::COMPOSE009,
        weight: Weight::Refusal,
        summary: "a service, network or volume is not declared, or `depends_on` goes in a circle",
        why: "What is named must exist, and services that wait for each other never start.",
        fix: "Declare the network or volume at the top level, mend the name, or break the circle.",
        bad: web(&[compose(
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    volumes: ["cookies:/var/cookies"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: web(&[compose(
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    volumes: ["cookies:/var/cookies"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
volumes:
  cookies:
"#,
        )]),
    },
    Rule {
        id: ids::COMPOSE010,
        weight: Weight::Refusal,
        summary: "a variable has no value, or is malformed",
        why: "Nothing of the node's environment reaches a challenge, so a variable has the value \
              that is written in the file, or none.",
        fix: "Write the value, or a default such as `${THEME:-dark}`. Write `$$` for a dollar sign.",
        bad: web(&[compose(
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    environment: {THEME: "${THEME}"}
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: web(&[compose(
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    environment: {THEME: "${THEME:-dark}"}
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
    },
    Rule {
        id: ids::COMPOSE011,
        weight: Weight::Refusal,
        summary: "a port that cannot be published",
        why: "The port of the container must be a number between 1 and 65535, and its protocol TCP \
              or UDP; a range may have 32 ports. The part before the colon is the host's and is \
              ignored.",
        fix: "Write e.g. `\"8080\"`, `\"80:8080\"` or `\"53/udp\"`.",
        bad: web(&[compose(
            r#"services:
  web:
    build: services/web
    ports: ["8080:web"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: web(&[compose(SOUND)]),
    },
];
