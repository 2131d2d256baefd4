//! The gateway of an engagement.

use super::{Base, Example, File, Rule, absent, ids, text};
use crate::catalog::finding::Weight;

const fn engagement(files: &'static [File]) -> Example {
    Example { base: Base::Engagement, files }
}

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: ids::NET001,
        weight: Weight::Error,
        summary: "An engagement has no service `openvpn`",
        why: "In an engagement nothing is published but the VPN gateway. Without one the network runs, and no player gets in.",
        fix: "Add a service `openvpn` that is built on `ctfy/openvpn-base` and publishes `1194/udp`, or remove `network_topology` so that the declared ports are published.",
        bad: engagement(&[
            absent("services/openvpn/Dockerfile"),
            text(
                "docker-compose.yml",
                r#"services:
  intranet:
    build: services/intranet
    ports: ["80"]
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
        ]),
        good: engagement(&[]),
    },
    Rule {
        id: ids::NET002,
        weight: Weight::Error,
        summary: "The gateway is not built on `ctfy/openvpn-base`",
        why: "The base image makes the keys of every instance and keeps the players of one team from those of another. Another image would hand out a profile that does not connect, or one that connects too far. The last stage counts, of any registry, with any tag or digest; a service with `image` only is judged by that image.",
        fix: "Begin the last stage of the Dockerfile with `FROM ctfy/openvpn-base:1`, and add only what your network needs.",
        bad: engagement(&[text(
            "services/openvpn/Dockerfile",
            "FROM alpine:3.20\nRUN apk add openvpn\n",
        )]),
        good: engagement(&[text("services/openvpn/Dockerfile", "FROM ctfy/openvpn-base:1\n")]),
    },
    Rule {
        id: ids::NET003,
        weight: Weight::Error,
        summary: "The gateway does not publish 1194/udp",
        why: "The profile that players download points at this port. When it is not published, every connection runs into its timeout.",
        fix: "Write `ports: [\"1194/udp\"]` at the service `openvpn`. Which port of the host it gets is chosen per instance.",
        bad: engagement(&[text("docker-compose.yml", TCP)]),
        good: engagement(&[]),
    },
];

const TCP: &str = r#"services:
  openvpn:
    build: services/openvpn
    ports: ["1194"]
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
"#;
