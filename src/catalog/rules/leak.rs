//! Answers where players could find them.

use super::{Base, Example, Rule, ids, text};
use crate::catalog::finding::Weight;

/// A solution for challenges of one file.
const EXPLOIT: &str = r#"from ctfy.challenge.exploit import ExploitBase, run_exploit


class Exploit(ExploitBase):
    def run(self) -> dict[str, str]:
        return {"key": bytes(b ^ 7 for b in open("attachments/note.txt", "rb").read()).decode()}


if __name__ == "__main__":
    run_exploit(Exploit)
"#;

const NOTE_METADATA: &str = r#"name: Note
description: Somebody left a note.
difficulty: easy
category: crypto
tags: [crypto]
questions:
  - id: key
    prompt: What does the note say?
    answer: attack at dawn
"#;

const TWO_QUESTIONS: &str = r#"name: Cookie jar
description: Find out what the owner keeps at the bottom of the jar.
difficulty: easy
tags: [web]
questions:
  - id: flag
    prompt: What is at the bottom of the jar?
  - id: recipe
    prompt: Which recipe does the owner hide?
    answer: butter-waffle 12
"#;

/// The compose file of the base, with the whole challenge as a build context.
const BUILT_FROM_ALL: &str = r#"services:
  web:
    build: .
    ports: ["8080"]
    volumes: ["answers:/answers:ro"]
    depends_on:
      flag-rotator: {condition: service_completed_successfully}
    healthcheck:
      test: ["CMD", "wget", "-qO", "/dev/null", "http://127.0.0.1:8080/"]
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
  flag-rotator:
    build: services/flag-rotator
    environment: [ANSWER_FLAG]
    volumes: ["answers:/out"]
    healthcheck: {test: ["CMD", "test", "-s", "/out/flag"]}
    deploy: {resources: {limits: {cpus: "0.25", memory: 32M}}}
volumes:
  answers:
"#;

/// The compose file of the base, with a literal flag in it.
const WITH_FLAG: &str = r#"services:
  web:
    build: services/web
    ports: ["8080"]
    volumes: ["answers:/answers:ro"]
    depends_on:
      flag-rotator: {condition: service_completed_successfully}
    environment: {MOTTO: "FLAG{w3lcome-guest}"}
    healthcheck:
      test: ["CMD", "wget", "-qO", "/dev/null", "http://127.0.0.1:8080/"]
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
  flag-rotator:
    build: services/flag-rotator
    environment: [ANSWER_FLAG]
    volumes: ["answers:/out"]
    healthcheck: {test: ["CMD", "test", "-s", "/out/flag"]}
    deploy: {resources: {limits: {cpus: "0.25", memory: 32M}}}
volumes:
  answers:
"#;

/// The same, with a placeholder.
const WITHOUT_FLAG: &str = r#"services:
  web:
    build: services/web
    ports: ["8080"]
    volumes: ["answers:/answers:ro"]
    depends_on:
      flag-rotator: {condition: service_completed_successfully}
    environment: {MOTTO: "FLAG{sample-flag}"}
    healthcheck:
      test: ["CMD", "wget", "-qO", "/dev/null", "http://127.0.0.1:8080/"]
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
  flag-rotator:
    build: services/flag-rotator
    environment: [ANSWER_FLAG]
    volumes: ["answers:/out"]
    healthcheck: {test: ["CMD", "test", "-s", "/out/flag"]}
    deploy: {resources: {limits: {cpus: "0.25", memory: 32M}}}
volumes:
  answers:
"#;

const DOCKERFILE: &str = r#"FROM busybox:1.36
COPY services/web/www /www
CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]
"#;

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: ids::LEAK001,
        weight: Weight::Error,
        summary: "The name, the description or a prompt holds a static answer",
        why: "These texts are shown before anybody starts. An answer in them, even in passing or \
              as an example, solves the question. Answers of questions with choices are left out, \
              and so are short words and numbers, which anybody may write by chance.",
        fix: "Reword the text, or ask something else.",
        bad: Example {
            base: Base::Quiz,
            files: &[text(
                "metadata.yaml",
                r#"name: Ports
description: Which server is it? Answer like "OpenSSH 9.6".
difficulty: easy
category: misc
tags: [quiz]
questions:
  - id: server
    prompt: Which server and version answers on port 22?
    answer: OpenSSH 9.6
"#,
            )],
        },
        good: Example {
            base: Base::Quiz,
            files: &[text(
                "metadata.yaml",
                r#"name: Ports
description: Which server is it? Answer like "Exim 4.97".
difficulty: easy
category: misc
tags: [quiz]
questions:
  - id: server
    prompt: Which server and version answers on port 22?
    answer: OpenSSH 9.6
"#,
            )],
        },
    },
    Rule {
        id: ids::LEAK002,
        weight: Weight::Error,
        summary: "An attachment holds a static answer in clear",
        why: "Every player has the attachment, and `strings` or a text search is the first thing \
              they try. Text, templates and binaries are searched, the latter also for UTF-16; \
              files of more than 16 MiB and what is inside of archives are not. In category \
              `misc`, where finding something in a log or a dump can be the task, it is a warning.",
        fix: "Take the answer out, or keep only what it can be computed from. Where it has to be \
              found there, waive the finding in `audit-allowlist.yaml` and say so.",
        bad: Example {
            base: Base::Nothing,
            files: &[
                text("/CRYPTO/NOTE-1/metadata.yaml", NOTE_METADATA),
                text("/CRYPTO/NOTE-1/attachments/note.txt", "attack at dawn\n"),
                text("/CRYPTO/NOTE-1/solution/exploit.py", EXPLOIT),
            ],
        },
        good: Example {
            base: Base::Nothing,
            files: &[
                text("/CRYPTO/NOTE-1/metadata.yaml", NOTE_METADATA),
                text("/CRYPTO/NOTE-1/attachments/note.txt", "fssfdl'fs'cfpi\n"),
                text("/CRYPTO/NOTE-1/solution/exploit.py", EXPLOIT),
            ],
        },
    },
    Rule {
        id: ids::LEAK003,
        weight: Weight::Warning,
        summary: "A source below `services/` holds a static answer",
        why: "A service that hands an answer out has to know it, so this can be meant. But a \
              static answer is the same for all, and it stays in the image and in git: one player \
              who tells ends the question for everybody. A minted one does not have to be kept \
              secret by the author.",
        fix: "Leave `answer` out of the question, so that it is minted for each instance and \
              delivered as a file. If it must be static, waive the finding.",
        bad: Example {
            base: Base::Web,
            files: &[
                text("metadata.yaml", TWO_QUESTIONS),
                text("services/web/app.py", "RECIPES = [\"plain 3\", \"butter-waffle 12\"]\n"),
            ],
        },
        good: Example {
            base: Base::Web,
            files: &[
                text("metadata.yaml", TWO_QUESTIONS),
                text("services/web/app.py", "RECIPES = open(\"/data/recipes\").readlines()\n"),
            ],
        },
    },
    Rule {
        id: ids::LEAK004,
        weight: Weight::Error,
        summary: "An attachment or the metadata holds a literal flag",
        why: "A flag in a file that everybody gets is either the answer, or a decoy that fills the \
              log of wrong submissions. Placeholders are fine, and so is a picture of the form \
              like `FLAG{...}`.",
        fix: "Hand out minted flags with a template: name the file with `.tpl` and write \
              `{{ answer.flag }}` in it. Show the form as `FLAG{...}`, and use \
              `FLAG{sample-flag}` for local tests.",
        bad: Example {
            base: Base::Pwn,
            files: &[text("attachments/guestbook", "#!/bin/sh\necho FLAG{w3lcome-guest}\n")],
        },
        good: Example {
            base: Base::Pwn,
            files: &[text("attachments/guestbook", "#!/bin/sh\necho FLAG{sample-flag}\n")],
        },
    },
    Rule {
        id: ids::LEAK005,
        weight: Weight::Error,
        summary: "A build context holds the solution or the metadata",
        why: "`COPY . .` takes everything in the context into the image. Players who get a shell, \
              or read any file of the service, then read the exploit and the static answers. A \
              `COPY` that is careful today is one edit away from it.",
        fix: "Build each service from its own folder below `services/`. If the context must be the \
              whole challenge, name `solution/` and `metadata.yaml` in `.dockerignore`.",
        bad: Example {
            base: Base::Web,
            files: &[text("docker-compose.yml", BUILT_FROM_ALL), text("Dockerfile", DOCKERFILE)],
        },
        good: Example {
            base: Base::Web,
            files: &[
                text("docker-compose.yml", BUILT_FROM_ALL),
                text("Dockerfile", DOCKERFILE),
                text(".dockerignore", "*\n!services\n"),
            ],
        },
    },
    Rule {
        id: ids::LEAK006,
        weight: Weight::Warning,
        summary: "`docker-compose.yml` holds a literal flag",
        why: "A flag in a variable, a command or a label is the same in every instance, so one team \
              can hand it to another. It is either the answer, or a decoy that fills the log of \
              wrong submissions.",
        fix: "Let the service read the minted answer from `/answers/<id>`. Use `FLAG{sample-flag}` \
              where something must stand.",
        bad: Example { base: Base::Web, files: &[text("docker-compose.yml", WITH_FLAG)] },
        good: Example { base: Base::Web, files: &[text("docker-compose.yml", WITHOUT_FLAG)] },
    },
];
