//! Challenges that build in less than a second: busybox and a file or two.

use std::collections::BTreeMap;

/// A challenge folder.
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    /// Its path in the repository.
    pub(crate) folder: String,
    /// Its files, by path inside of it.
    pub(crate) files: BTreeMap<String, String>,
}

/// The compose files of stories.
pub(crate) struct Compose;

impl Compose {
    /// One web server that hands out `/answers/flag`, with `extra` lines for the service.
    pub(crate) fn web(extra: &[&str]) -> String {
        let mut text = String::from(
            "services:
  web:
    build: services/web
    ports: [\"8080\"]
    x-answers: [flag]
    healthcheck:
      test: [\"CMD\", \"wget\", \"-q\", \"-O\", \"/dev/null\", \"http://127.0.0.1:8080/www/version\"]
      interval: 10s
    deploy:
      resources:
        limits: {cpus: \"0.5\", memory: 32M}
",
        );
        for line in extra {
            text.push_str("    ");
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

impl Challenge {
    fn new(folder: &str) -> Self {
        Self { folder: folder.to_owned(), files: BTreeMap::new() }
    }

    /// The challenge with one more file, or another content of it.
    pub(crate) fn with(mut self, name: &str, content: impl Into<String>) -> Self {
        self.files.insert(name.to_owned(), content.into());
        self
    }

    /// One web server: `/answers/flag` is the flag, `/www/version` is `version`.
    pub(crate) fn web(id: &str, version: &str) -> Self {
        Self::new(&format!("WEB/{id}"))
            .with("metadata.yaml", metadata(id, "web"))
            .with("docker-compose.yml", Compose::web(&[]))
            .with("solution/exploit.py", EXPLOIT)
            .with(
                "services/web/Dockerfile",
                "FROM busybox:latest
COPY version /www/version
CMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/\"]
",
            )
            .with("services/web/version", version)
    }

    /// Two services and a volume: `/cgi-bin/flag` of the first asks the second, which alone knows
    /// the flag, over a network without a way out.
    pub(crate) fn web_and_db(id: &str, version: &str) -> Self {
        Self::new(&format!("WEB/{id}"))
            .with("metadata.yaml", metadata(id, "web"))
            .with("docker-compose.yml", TWO_SERVICES)
            .with("solution/exploit.py", EXPLOIT)
            .with(
                "services/web/Dockerfile",
                "FROM busybox:latest
COPY flag /www/cgi-bin/flag
COPY version /www/version
CMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]
",
            )
            .with("services/web/version", version)
            .with(
                "services/web/flag",
                "#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
exec nc -w 5 db 6379 </dev/null
",
            )
            .with(
                "services/db/Dockerfile",
                "FROM busybox:latest
CMD [\"nc\", \"-ll\", \"-p\", \"6379\", \"-e\", \"cat\", \"/answers/flag\"]
",
            )
    }

    /// A TCP service that says its flag and hangs up.
    pub(crate) fn tcp(id: &str) -> Self {
        Self::new(&format!("PWN/{id}"))
            .with("metadata.yaml", metadata(id, "pwn"))
            .with(
                "docker-compose.yml",
                "services:
  chal:
    build: services/chal
    ports: [\"1337\"]
    labels: {ctfy.service.protocol: tcp}
    x-answers: [flag]
    deploy:
      resources:
        limits: {cpus: \"0.5\", memory: 32M}
",
            )
            .with("solution/exploit.py", EXPLOIT)
            .with("attachments/readme.txt", "Connect, and read.\n")
            .with(
                "services/chal/Dockerfile",
                "FROM busybox:latest
CMD [\"nc\", \"-ll\", \"-p\", \"1337\", \"-e\", \"cat\", \"/answers/flag\"]
",
            )
    }

    /// A network behind a VPN gateway, with the service of [`Challenge::tcp`].
    pub(crate) fn engagement(id: &str) -> Self {
        let open = Self::tcp(id);
        let metadata = format!("{}network_topology: engagement\n", open.files["metadata.yaml"]);
        let compose = "services:
  openvpn:
    image: ctfy/openvpn-base:1
    ports: [\"1194/udp\"]
    healthcheck: {test: [\"CMD\", \"true\"]}
    deploy: {resources: {limits: {cpus: \"0.5\", memory: 128M}}}
  chal:
    build: services/chal
    ports: [\"1337\"]
    labels: {ctfy.service.protocol: tcp}
    x-answers: [flag]
    deploy: {resources: {limits: {cpus: \"0.5\", memory: 32M}}}
";
        open.with("metadata.yaml", metadata).with("docker-compose.yml", compose)
    }

    /// The conventional delivery: a `flag-rotator` writes the flag into a volume that the web
    /// server mounts by `volume.subpath`.
    pub(crate) fn rotated(id: &str) -> Self {
        Self::new(&format!("WEB/{id}"))
            .with("metadata.yaml", metadata(id, "web"))
            .with("docker-compose.yml", ROTATED)
            .with("solution/exploit.py", EXPLOIT)
            .with(
                "services/flag-rotator/Dockerfile",
                "FROM busybox:latest
COPY rotate.sh /rotate.sh
CMD [\"/rotate.sh\"]
",
            )
            .with(
                "services/flag-rotator/rotate.sh",
                "#!/bin/sh
set -eu
printf '%s' \"$ANSWER_FLAG\" >/out/flag
chmod 0644 /out/flag
",
            )
            .with(
                "services/web/Dockerfile",
                "FROM busybox:latest
CMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/answers\"]
",
            )
    }

    /// Questions of the three modes that need no instance; the last requires the first.
    pub(crate) fn quiz(id: &str) -> Self {
        Self::new(&format!("MISC/{id}")).with(
            "metadata.yaml",
            format!(
                "name: Quiz {id}
description: Four questions.
difficulty: easy
category: misc
tags: [story]
questions:
  - {{id: port, prompt: The port of HTTPS?, answer: \"443\"}}
  - {{id: one, prompt: Choose one., answer: ssh, choices: [telnet, ssh, ftp]}}
  - {{id: many, prompt: Choose all., answer: [dns, ntp], choices: [dns, ntp, smtp]}}
  - {{id: last, prompt: A secret., answer: open, requires: [port]}}
"
            ),
        )
    }
}

fn metadata(id: &str, category: &str) -> String {
    format!(
        "name: Story {id}
description: Says its flag to whoever asks.
difficulty: easy
category: {category}
tags: [story]
questions:
  - id: flag
    prompt: What does it say?
"
    )
}

/// A reference exploit that breaks no rule and finds nothing.
const EXPLOIT: &str = "from ctfy.challenge.exploit import ExploitBase, run_exploit


class Exploit(ExploitBase):
    def run(self) -> dict[str, str]:
        return {\"flag\": self.match_flag(self.session.get(self.base_url).text)}


if __name__ == \"__main__\":
    run_exploit(Exploit)
";

const TWO_SERVICES: &str = "services:
  web:
    build: services/web
    ports: [\"8080\"]
    networks: [default, backend]
    depends_on:
      db: {condition: service_healthy}
    volumes:
      - scratch:/scratch
    healthcheck:
      test: [\"CMD\", \"wget\", \"-q\", \"-O\", \"/dev/null\", \"http://127.0.0.1:8080/version\"]
      interval: 10s
    deploy:
      resources:
        limits: {cpus: \"0.5\", memory: 32M}
  db:
    build: services/db
    x-answers: [flag]
    networks: [backend]
    healthcheck:
      test: [\"CMD-SHELL\", \"nc -w 2 127.0.0.1 6379 </dev/null | grep -q FLAG\"]
      interval: 10s
    deploy:
      resources:
        limits: {cpus: \"0.5\", memory: 32M}
networks:
  backend: {internal: true}
volumes:
  scratch: {}
";

const ROTATED: &str = "services:
  flag-rotator:
    build: services/flag-rotator
    environment: [ANSWER_FLAG]
    volumes:
      - answers:/out
    restart: \"no\"
    deploy:
      resources:
        limits: {cpus: \"0.5\", memory: 32M}
  web:
    build: services/web
    ports: [\"8080\"]
    depends_on:
      flag-rotator: {condition: service_completed_successfully}
    volumes:
      - type: volume
        source: answers
        target: /answers/flag
        read_only: true
        volume: {subpath: flag}
    deploy:
      resources:
        limits: {cpus: \"0.5\", memory: 32M}
volumes:
  answers: {}
";
