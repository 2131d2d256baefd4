//! Small challenges without any finding, to show rules on.

use super::File;
use super::text;

/// Which challenge an example is built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// A web challenge: one service and the sidecar that writes its answer.
    Web,
    /// A pwn challenge: one TCP service, one attachment.
    Pwn,
    /// A quiz: nothing runs.
    Quiz,
    /// A network behind a VPN gateway.
    Engagement,
    /// An empty repository.
    Nothing,
}

impl Base {
    /// The folder of the challenge in its repository.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Web => "WEB/WEB-001",
            Self::Pwn => "PWN/PWN-001",
            Self::Quiz => "MISC/QUIZ-001",
            Self::Engagement => "WEB/LAB-001",
            Self::Nothing => "",
        }
    }

    /// Its files.
    pub fn files(self) -> &'static [File] {
        match self {
            Self::Web => WEB,
            Self::Pwn => PWN,
            Self::Quiz => QUIZ,
            Self::Engagement => ENGAGEMENT,
            Self::Nothing => &[],
        }
    }
}

/// An exploit that fits every base.
const EXPLOIT: &str = r#"from ctfy.challenge.exploit import ExploitBase, run_exploit


class Exploit(ExploitBase):
    def run(self) -> dict[str, str]:
        page = self.session.get(f"{self.base_url}/").text
        return {"flag": self.match_flag(page)}


if __name__ == "__main__":
    run_exploit(Exploit)
"#;

const ROTATE: &str = r#"#!/bin/sh
printf %s "${ANSWER_FLAG:-FLAG{samplemainanswer}}" >/out/flag
"#;

const ROTATOR_DOCKERFILE: &str = r#"FROM busybox:1.36
COPY rotate.sh /rotate.sh
CMD ["/bin/sh", "/rotate.sh"]
"#;

const WEB: &[File] = &[
    text(
        "metadata.yaml",
        r#"name: Cookie jar
description: Find out what the owner keeps at the bottom of the jar.
difficulty: easy
tags: [web]
questions:
  - id: flag
    prompt: What is at the bottom of the jar?
"#,
    ),
    text(
        "docker-compose.yml",
        r#"services:
  web:
    build: services/web
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
"#,
    ),
    text(
        "services/web/Dockerfile",
        r#"FROM busybox:1.36
COPY www /www
CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]
"#,
    ),
    text("services/web/www/index.html", "<h1>Cookies</h1>\n"),
    text("services/flag-rotator/Dockerfile", ROTATOR_DOCKERFILE),
    text("services/flag-rotator/rotate.sh", ROTATE),
    text("solution/exploit.py", EXPLOIT),
];

const PWN: &[File] = &[
    text(
        "metadata.yaml",
        r#"name: Guestbook
description: Sign the guestbook, and read what others wrote.
difficulty: medium
category: pwn
tags: [pwn]
questions:
  - id: flag
    prompt: What did the first guest write?
"#,
    ),
    text(
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
    ),
    text(
        "services/chal/Dockerfile",
        r#"FROM busybox:1.36
COPY guestbook /guestbook
CMD ["nc", "-ll", "-p", "1337", "-e", "/guestbook"]
"#,
    ),
    text("services/chal/guestbook", "#!/bin/sh\necho Your name?\n"),
    text("services/flag-rotator/Dockerfile", ROTATOR_DOCKERFILE),
    text("services/flag-rotator/rotate.sh", ROTATE),
    text("attachments/guestbook", "#!/bin/sh\necho Your name?\n"),
    text("solution/exploit.py", EXPLOIT),
];

const QUIZ: &[File] = &[text(
    "metadata.yaml",
    r#"name: Ports
description: Which port does SSH use?
difficulty: easy
category: misc
tags: [quiz]
questions:
  - id: port
    prompt: Which port does SSH use?
    answer: "22"
    choices: ["21", "22", "23"]
"#,
)];

const ENGAGEMENT: &[File] = &[
    text(
        "metadata.yaml",
        r#"name: Branch office
description: Get into the branch office and read the memo.
difficulty: hard
tags: [network]
network_topology: engagement
entry_urls: ["http://intranet"]
questions:
  - id: flag
    prompt: What does the memo say?
"#,
    ),
    text(
        "docker-compose.yml",
        r#"services:
  openvpn:
    image: ctfy/openvpn-base:1
    ports: ["1194/udp"]
    healthcheck: {test: ["CMD", "test", "-s", "/etc/openvpn/client.ovpn"]}
    deploy: {resources: {limits: {cpus: "0.5", memory: 128M}}}
  intranet:
    build: services/intranet
    volumes: ["answers:/answers:ro"]
    depends_on:
      flag-rotator: {condition: service_completed_successfully}
    healthcheck:
      test: ["CMD", "wget", "-qO", "/dev/null", "http://127.0.0.1/"]
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
    ),
    text(
        "services/intranet/Dockerfile",
        r#"FROM busybox:1.36
CMD ["httpd", "-f", "-p", "80", "-h", "/answers"]
"#,
    ),
    text("services/flag-rotator/Dockerfile", ROTATOR_DOCKERFILE),
    text("services/flag-rotator/rotate.sh", ROTATE),
    text("solution/exploit.py", EXPLOIT),
];
