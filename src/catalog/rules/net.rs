//! The gateway of an engagement.

use super::{Base, Example, File, Rule, ids, text};
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
        fix: "Add a service `openvpn` with `image: ctfy/openvpn-base` and `ports: [\"1194/udp\"]`, or remove `network_topology` so that the declared ports are published.",
        bad: engagement(&[text(
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
        )]),
        good: engagement(&[]),
    },
    Rule {
        id: ids::NET002,
        weight: Weight::Error,
        summary: "The gateway is not `ctfy/openvpn-base`",
        why: "What players connect to is the gateway of the platform, whatever the image is: nobody else's code gets the right to change a network. Another image shows that something else was expected of the service, and that will not be there. With a build the last stage counts, of any registry, with any tag or digest.",
        fix: "Write `image: ctfy/openvpn-base` at the service `openvpn`, and put what your network needs beside the gateway into services of their own.",
        bad: engagement(&[
            text("docker-compose.yml", BUILT),
            text("services/openvpn/Dockerfile", "FROM alpine:3.20\nRUN apk add openvpn\n"),
        ]),
        good: engagement(&[]),
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
    Rule {
        id: ids::NET004,
        weight: Weight::Warning,
        summary: "The gateway is built, and the build is not used",
        why: "The service `openvpn` of an engagement is the gateway of the platform: it makes the keys of every instance, keeps the players of one team from those of another, and is the same for all challenges. An author's Dockerfile is not run, so nobody should wait for what stands in it.",
        fix: "Replace `build:` by `image: ctfy/openvpn-base` and delete the folder. Of the service only `networks` (what players reach) and `depends_on` count.",
        bad: engagement(&[
            text("docker-compose.yml", BUILT),
            text("services/openvpn/Dockerfile", "FROM ctfy/openvpn-base:1\n"),
        ]),
        good: engagement(&[]),
    },
    Rule {
        id: ids::NET005,
        weight: Weight::Error,
        summary: "A template of the gateway that is refused",
        why: "A repository may have `templates/openvpn/server.conf.j2` and `client.ovpn.j2` of its own. What they give configures a program with rights over a network, and programs on the machines of players, so only directives of a list pass: none that runs a program, loads code, reads another file, weakens the tunnel or leads elsewhere. A template that is refused is not used: gateways and profiles are made of the platform's own.",
        fix: "Remove or mend the line that is named. Begin with the platform's own template, and change only numbers, comments and what is in the list of docs/vpn.md.",
        bad: engagement(&[text("/templates/openvpn/server.conf.j2", BAD_SERVER)]),
        good: engagement(&[text("/templates/openvpn/server.conf.j2", GOOD_SERVER)]),
    },
];

const GOOD_SERVER: &str = r#"port 1194
proto udp
dev tun0
dev-type tun
topology subnet
server {{ clients.address }} {{ clients.mask }}
max-clients 8
ca ca.crt
cert server.crt
key server.key
dh none
tls-crypt-v2 tls-crypt-v2.key
verify-client-cert require
remote-cert-tls client
client-config-dir clients
ccd-exclusive
tls-version-min 1.3
data-ciphers AES-256-GCM
disable-dco
{% for network in networks -%}
push "route {{ network.address }} {{ network.mask }}"
{% endfor -%}
keepalive 10 60
persist-tun
persist-key
user nobody
group nogroup
management /run/gateway.sock unix
"#;

const BAD_SERVER: &str = r#"port 1194
proto udp
dev tun0
dev-type tun
topology subnet
server {{ clients.address }} {{ clients.mask }}
max-clients 8
ca ca.crt
cert server.crt
key server.key
dh none
tls-crypt-v2 tls-crypt-v2.key
verify-client-cert require
remote-cert-tls client
client-config-dir clients
ccd-exclusive
tls-version-min 1.3
data-ciphers AES-256-GCM
disable-dco
push "redirect-gateway def1"
keepalive 10 60
persist-tun
persist-key
user nobody
group nogroup
script-security 2
client-connect /gateway/notify.sh
management /run/gateway.sock unix
"#;

const TCP: &str = r#"services:
  openvpn:
    image: ctfy/openvpn-base:1
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

const BUILT: &str = r#"services:
  openvpn:
    build: services/openvpn
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
"#;
