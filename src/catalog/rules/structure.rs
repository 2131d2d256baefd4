//! The files of a challenge and how they fit.

use super::{Base, Example, File, Rule, What, absent, ids, text};
use crate::catalog::finding::Weight;

/// A compose file that is sound: one service that names the answer it reads.
const SOUND: &str = r#"services:
  web:
    build: services/web
    ports: ["8080"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#;

/// A sidecar as it is meant to be, behind a service that waits for it.
const SIDECAR: &str = r#"services:
  web:
    build: services/web
    ports: ["8080"]
    volumes: ["answers:/answers:ro"]
    depends_on:
      flag-rotator: {condition: service_completed_successfully}
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
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

/// A Dockerfile that serves a page.
const DOCKERFILE: &str = r#"FROM busybox:1.36
CMD ["httpd", "-f", "-p", "8080", "-h", "/"]
"#;

/// A pwn challenge whose service speaks raw TCP.
const TCP: &str = r#"services:
  chal:
    build: services/chal
    ports: ["1337"]
    labels: {ctfy.service.protocol: tcp}
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "1337"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#;

const CRYPTO: &str = r#"name: Letter
description: Somebody wrote a letter that nobody can read.
difficulty: easy
category: crypto
tags: [crypto]
questions:
  - id: flag
    prompt: What does the letter say?
"#;

const CRYPTO_ANSWERED: &str = r#"name: Letter
description: Somebody wrote a letter that nobody can read.
difficulty: easy
category: crypto
tags: [crypto]
questions:
  - id: flag
    prompt: What does the letter say?
    answer: meet me at noon
"#;

const EXPLOIT: &str = r#"from ctfy.challenge.exploit import ExploitBase, run_exploit


class Exploit(ExploitBase):
    def run(self) -> dict[str, str]:
        page = self.session.get(f"{self.base_url}/").text
        return {"flag": self.match_flag(page)}


if __name__ == "__main__":
    run_exploit(Exploit)
"#;

/// An example on the base with one web service.
const fn web(files: &'static [File]) -> Example {
    Example { base: Base::Web, files }
}

/// An example on the base with one TCP service.
const fn pwn(files: &'static [File]) -> Example {
    Example { base: Base::Pwn, files }
}

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: ids::STRUCT001,
        weight: Weight::Refusal,
        summary: "the category needs `docker-compose.yml`, and there is none",
        why: "A challenge of category `web` or `pwn` is something that players reach over the \
              network. Without a compose file nothing can be started for them.",
        fix: "Write `docker-compose.yml`; other names such as `compose.yaml` are not read. If \
              nothing is to run, choose the category `crypto`, `reverse` or `misc`.",
        bad: web(&[absent("docker-compose.yml")]),
        good: web(&[text("docker-compose.yml", SOUND)]),
    },
    Rule {
        id: ids::STRUCT002,
        weight: Weight::Error,
        summary: "`solution/exploit.py` is missing",
        why: "The exploit proves that the challenge can be solved, today and after every change. \
              Without it a broken challenge is found by the players.",
        fix: "Write `solution/exploit.py` that solves the challenge the way a player would and \
              returns its answers. Only a quiz, where nothing runs, needs none.",
        bad: web(&[absent("solution/exploit.py")]),
        good: web(&[text("solution/exploit.py", EXPLOIT)]),
    },
    Rule {
        id: ids::STRUCT003,
        weight: Weight::Error,
        summary: "something is built, but there is no folder `services/`",
        why: "Sources of services live in `services/<name>/`. Rules about sources look there, so \
              what lies elsewhere is never checked for leaked answers.",
        fix: "Move each build context to `services/<name>/`, and mend `build` in \
              `docker-compose.yml`.",
        bad: web(&[
            text(
                "docker-compose.yml",
                r#"services:
  web:
    build: src
    ports: ["8080"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
            ),
            text("src/Dockerfile", DOCKERFILE),
            absent("services/web/Dockerfile"),
            absent("services/web/www/index.html"),
            absent("services/flag-rotator/Dockerfile"),
            absent("services/flag-rotator/rotate.sh"),
        ]),
        good: web(&[
            text("docker-compose.yml", SOUND),
            text("services/web/Dockerfile", DOCKERFILE),
        ]),
    },
    Rule {
        id: ids::STRUCT004,
        weight: Weight::Refusal,
        summary: "a build context or its Dockerfile is missing or unusable",
        why: "The image of the service cannot be built, so the challenge cannot start.",
        fix: "Create the folder that `build` names, with a file `Dockerfile` in it (or the one \
              that `build.dockerfile` names). Upper and lower case matter.",
        bad: web(&[absent("services/web/Dockerfile")]),
        good: web(&[text("services/web/Dockerfile", DOCKERFILE)]),
    },
    Rule {
        id: ids::STRUCT005,
        weight: Weight::Error,
        summary: "a mounted path is not in the challenge",
        why: "A service wants a file or folder of the challenge mounted that does not exist. \
              Nothing of the node is ever mounted, so such a mount cannot work in any case \
              (HARDEN006).",
        fix: "Copy what the service needs in its Dockerfile, and remove the mount.",
        bad: web(&[text(
            "docker-compose.yml",
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    volumes: ["./pages:/www"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: web(&[
            text("docker-compose.yml", SOUND),
            text(
                "services/web/Dockerfile",
                r#"FROM busybox:1.36
COPY www /www
CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]
"#,
            ),
        ]),
    },
    Rule {
        id: ids::STRUCT006,
        weight: Weight::Error,
        summary: "nobody says who gets the answers, or `flag-rotator` does not fit the questions",
        why: "Without a word about it, every service gets every answer, also one that players take \
              over early. A sidecar `flag-rotator` that does not know an answer cannot write it.",
        fix: "Add `x-answers: [<question id>]` to each service that reads `/answers/<question id>` \
              (`x-answers: []` when none does). Or add the sidecar `flag-rotator` with one \
              `ANSWER_<ID>` in its environment per question without `answer`, and no others.",
        bad: web(&[text(
            "docker-compose.yml",
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: web(&[text("docker-compose.yml", SOUND)]),
    },
    Rule {
        id: ids::STRUCT007,
        weight: Weight::Error,
        summary: "nobody waits for `flag-rotator`, and nobody shares a volume with it",
        why: "A service that neither waits for the sidecar nor shares a volume with it starts \
              without the answer, or never sees it.",
        fix: "Mount the volume of `flag-rotator` in the service that reads the answers, and add \
              `depends_on: {flag-rotator: {condition: service_completed_successfully}}` there.",
        bad: web(&[text(
            "docker-compose.yml",
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
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
        )]),
        good: web(&[text("docker-compose.yml", SIDECAR)]),
    },
    Rule {
        id: ids::STRUCT008,
        weight: Weight::Error,
        summary: "`flag-rotator` publishes ports",
        why: "The sidecar writes the answers and exits; there is nothing that players could reach. \
              Its ports are not published.",
        fix: "Remove `ports` from `flag-rotator`.",
        bad: web(&[text(
            "docker-compose.yml",
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    volumes: ["answers:/answers:ro"]
    depends_on:
      flag-rotator: {condition: service_completed_successfully}
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
  flag-rotator:
    build: services/flag-rotator
    ports: ["9000"]
    environment: [ANSWER_FLAG]
    volumes: ["answers:/out"]
    healthcheck: {test: ["CMD", "test", "-s", "/out/flag"]}
    deploy: {resources: {limits: {cpus: "0.25", memory: 32M}}}
volumes:
  answers:
"#,
        )]),
        good: web(&[text("docker-compose.yml", SIDECAR)]),
    },
    Rule {
        id: ids::STRUCT009,
        weight: Weight::Error,
        summary: "a service wants an answer that is never delivered",
        why: "Only answers of questions without `answer` are minted and delivered. A service that \
              waits for another one finds no file. Asked for by `x-answers`, it keeps the \
              challenge from running.",
        fix: "Name a question without `answer`, or remove the mount or the entry of `x-answers`.",
        bad: web(&[text(
            "docker-compose.yml",
            r#"services:
  web:
    build: services/web
    ports: ["8080"]
    volumes: ["answers:/answers/fag:ro"]
    depends_on:
      flag-rotator: {condition: service_completed_successfully}
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "8080"]}
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
        )]),
        good: web(&[text("docker-compose.yml", SIDECAR)]),
    },
    Rule {
        id: ids::STRUCT010,
        weight: Weight::Error,
        summary: "the category needs a file in `attachments/`, and there is none",
        why: "Challenges of category `pwn`, `reverse`, `crypto` and `misc` start from a file that \
              players download. Files in sub-folders alone do not count.",
        fix: "Put the program, the source or the cipher text directly into `attachments/`.",
        bad: pwn(&[absent("attachments/guestbook")]),
        good: pwn(&[text("attachments/guestbook.sh", "#!/bin/sh\necho Your name?\n")]),
    },
    Rule {
        id: ids::STRUCT011,
        weight: Weight::Refusal,
        summary: "an answer is minted, but nothing runs that could hold it",
        why: "A question without `answer` gets a new answer for every instance. Without services, \
              only a template in `attachments/` could bring it to the player; with neither, nobody \
              can find it.",
        fix: "Add `answer` to the question, or write `docker-compose.yml` with the service that \
              holds the answer.",
        bad: pwn(&[text("metadata.yaml", CRYPTO), absent("docker-compose.yml")]),
        good: pwn(&[text("metadata.yaml", CRYPTO_ANSWERED), absent("docker-compose.yml")]),
    },
    Rule {
        id: ids::STRUCT012,
        weight: Weight::Error,
        summary: "`ctfy.service.protocol` is neither `http` nor `tcp`",
        why: "The label decides how players are routed to the service. An unknown word is treated \
              as `http`, which does not work for anything else.",
        fix: "Write `ctfy.service.protocol: tcp` for raw TCP, and no label at all for HTTP.",
        bad: pwn(&[text(
            "docker-compose.yml",
            r#"services:
  chal:
    build: services/chal
    ports: ["1337"]
    labels: {ctfy.service.protocol: ssh}
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "1337"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: pwn(&[text("docker-compose.yml", TCP)]),
    },
    Rule {
        id: ids::STRUCT013,
        weight: Weight::Error,
        summary: "a service has the label `ctfy.service.protocol` and publishes no port",
        why: "The label says what the published ports speak. Without `ports` nobody reaches the \
              service, so one of the two was forgotten.",
        fix: "Add `ports` to the service that players reach, or remove the label.",
        bad: pwn(&[text(
            "docker-compose.yml",
            r#"services:
  chal:
    build: services/chal
    labels: {ctfy.service.protocol: tcp}
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "1337"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: pwn(&[text("docker-compose.yml", TCP)]),
    },
    Rule {
        id: ids::STRUCT014,
        weight: Weight::Error,
        summary: "no service of a pwn challenge speaks raw TCP",
        why: "Without the label a port is routed as HTTP, and bytes that are no HTTP request never \
              arrive. A program to be exploited over a socket is out of reach then.",
        fix: "Add `labels: {ctfy.service.protocol: tcp}` to the service that players reach, or \
              choose another `category`.",
        bad: pwn(&[text(
            "docker-compose.yml",
            r#"services:
  chal:
    build: services/chal
    ports: ["1337"]
    x-answers: [flag]
    healthcheck: {test: ["CMD", "nc", "-z", "127.0.0.1", "1337"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
"#,
        )]),
        good: pwn(&[text("docker-compose.yml", TCP)]),
    },
    Rule {
        id: ids::STRUCT020,
        weight: Weight::Refusal,
        summary: "a symbolic link inside of a challenge",
        why: "A link can name any file of the machine that follows it, so none is ever followed. \
              In `attachments/` or in a build context the file behind it would be missing; \
              elsewhere the link is only useless, which is a warning.",
        fix: "Put the file itself there. A link that a build does not need can be named in \
              `.dockerignore`.",
        bad: pwn(&[File {
            path: "attachments/guestbook.txt",
            what: What::Link("../services/chal/guestbook"),
        }]),
        good: pwn(&[text("attachments/guestbook.txt", "#!/bin/sh\necho Your name?\n")]),
    },
    Rule {
        id: ids::STRUCT021,
        weight: Weight::Refusal,
        summary: "a submodule inside of a challenge",
        why: "A submodule is a pointer to another repository, which is never fetched: its files \
              are not part of the revision that was checked.",
        fix: "Copy the files into the repository, or fetch them in the Dockerfile by a pinned \
              version.",
        bad: web(&[File { path: "services/web/vendor", what: What::Submodule }]),
        good: web(&[text("services/web/vendor/page.html", "<p>Cookies</p>\n")]),
    },
    Rule {
        id: ids::STRUCT022,
        weight: Weight::Refusal,
        summary: "a file name is not UTF-8, or misleads",
        why: "Names with control or invisible characters, names that end in a dot or a space, and \
              names that are special to git or to Windows cannot be shown or stored everywhere as \
              they are.",
        fix: "Rename the file. Letters of any language, digits, `-`, `_` and dots inside are fine.",
        bad: pwn(&[text("attachments/readme.", "Sign, please.\n")]),
        good: pwn(&[text("attachments/readme.txt", "Sign, please.\n")]),
    },
    Rule {
        id: ids::STRUCT023,
        weight: Weight::Refusal,
        summary: "a file, or the whole folder, is over its budget",
        why: "One file may have 100 MiB, a challenge 512 MiB and 20,000 files, and folders may be \
              nested 32 deep. More than that makes every check, build and start slow for everybody.",
        fix: "Keep large files outside of the repository and fetch them in the Dockerfile by a \
              checksum; flatten folders.",
        bad: pwn(&[text(
            "attachments/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/\
             28/29/30/31/32/33/note.txt",
            "Deep down.\n",
        )]),
        good: pwn(&[text("attachments/deep/note.txt", "Deep down.\n")]),
    },
    Rule {
        id: ids::STRUCT024,
        weight: Weight::Refusal,
        summary: "two names that are one name on some file systems",
        why: "Names that differ only by case, or by how an accent is written, overwrite each other \
              on the computers of players and authors who use Windows or macOS.",
        fix: "Rename one of the two.",
        bad: pwn(&[
            text("attachments/Notes.txt", "First.\n"),
            text("attachments/notes.txt", "Second.\n"),
        ]),
        good: pwn(&[
            text("attachments/notes-1.txt", "First.\n"),
            text("attachments/notes-2.txt", "Second.\n"),
        ]),
    },
    Rule {
        id: ids::STRUCT026,
        weight: Weight::Warning,
        summary: "a compose file under a name that is not read",
        why: "Only `docker-compose.yml` is read. What stands in a file of another name never runs.",
        fix: "Rename the file to `docker-compose.yml`, or remove it.",
        bad: web(&[text("compose.yaml", SOUND)]),
        good: web(&[text("docker-compose.yml", SOUND)]),
    },
    Rule {
        id: ids::STRUCT099,
        weight: Weight::Refusal,
        summary: "there are more findings than are shown",
        why: "At most 200 findings of a challenge are shown, the heaviest first. So many have most \
              often one cause, such as a file that is something else than its name says.",
        fix: "Mend what is shown; what remains is shown then.",
        bad: web(&[text(
            "docker-compose.yml",
            "services:
  web:
    build: services/web
    expose: [
      x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x,
      x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x,
      x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x,
      x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x,
      x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x,
      x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x,
      x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x]
",
        )]),
        good: web(&[text("docker-compose.yml", SOUND)]),
    },
];
