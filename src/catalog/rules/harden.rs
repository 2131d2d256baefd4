//! What no challenge may do, and what is clamped.

use super::{Base, Example, File, Rule, text};
use crate::catalog::finding::Weight;

/// A compose file of the web base: its build, more keys of the service, its volumes, its `deploy`,
/// and more at the top level.
macro_rules! compose {
    ($build:literal, $keys:literal, $volumes:literal, $deploy:literal, $top:literal) => {
        concat!(
            "services:\n  web:\n    build: ",
            $build,
            "\n    ports: [\"8080\"]\n",
            $keys,
            "    volumes: ",
            $volumes,
            "\n    depends_on:\n",
            "      flag-rotator: {condition: service_completed_successfully}\n",
            "    healthcheck:\n",
            "      test: [\"CMD\", \"wget\", \"-qO\", \"/dev/null\", \"http://127.0.0.1:8080/\"]\n",
            "    deploy: ",
            $deploy,
            "\n  flag-rotator:\n    build: services/flag-rotator\n",
            "    environment: [ANSWER_FLAG]\n    volumes: [\"answers:/out\"]\n",
            "    healthcheck: {test: [\"CMD\", \"test\", \"-s\", \"/out/flag\"]}\n",
            "    deploy: {resources: {limits: {cpus: \"0.25\", memory: 32M}}}\n",
            "volumes:\n  answers:\n",
            $top,
        )
    };
}

const fn web(files: &'static [File]) -> Example {
    Example { base: Base::Web, files }
}

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: super::HARDEN001,
        weight: Weight::Refusal,
        summary: "`privileged` is set",
        why: "A service with `privileged` is root on the organizer's machine: it sees every device and every other team. No challenge needs that, and the container that flagops asks the engine for has no such field.",
        fix: "Remove `privileged`. If the service only has to bind a low port or change users, that works without it.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    privileged: true\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN002,
        weight: Weight::Refusal,
        summary: "A capability beyond the allowed set",
        why: "A service has the capabilities CHOWN, DAC_OVERRIDE, FOWNER, KILL, NET_BIND_SERVICE, SETGID and SETUID, and `cap_add` may name only these. Others, SYS_ADMIN and SYS_PTRACE above all, lead out of the container.",
        fix: "Remove the capability from `cap_add`. Tools for pwn challenges such as gdb work inside one container without SYS_PTRACE.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    cap_add: [SYS_ADMIN]\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    cap_add: [NET_BIND_SERVICE]\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN003,
        weight: Weight::Refusal,
        summary: "A namespace of the host or of another container",
        why: "`network_mode`, `pid`, `ipc`, `uts`, `userns_mode` and `cgroup` put a service into a namespace of the node or of a foreign container, where it sees what is not its own.",
        fix: "Remove the key. Services of one instance reach each other by name on its own networks, and share memory through `shm_size` or a volume.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    network_mode: host\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN004,
        weight: Weight::Refusal,
        summary: "Devices of the node, or a place outside of the instance's limits",
        why: "`devices`, `device_cgroup_rules`, `gpus` and devices below `deploy.resources` hand out hardware of the node to every team, and `cgroup_parent` leaves the limits of the instance.",
        fix: "Remove the key. The gateway of an engagement has `/dev/net/tun` by itself.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    devices: [\"/dev/kvm\"]\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN005,
        weight: Weight::Refusal,
        summary: "A security profile, a runtime or a kernel setting",
        why: "`security_opt`, `runtime`, `isolation`, `credential_spec`, `use_api_socket` and `sysctls` change what stands between players and the kernel. The organizer chooses that, once for all challenges.",
        fix: "Remove the key. A service may bind low ports without any sysctl.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    security_opt: [\"seccomp=unconfined\"]\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN006,
        weight: Weight::Refusal,
        summary: "A mount of the node, of another container, or over a protected path",
        why: "Paths of the node (`volumes` such as `/etc:/x` or the engine's socket), `volumes_from`, mounts over `/proc`, `/sys`, `/dev` or the root, and a `working_dir` there reach outside of the instance. `/answers` is where the platform puts answers.",
        fix: "Copy files in the Dockerfile. Use a named volume for data that services share, and mount answers at `/answers/<id>`.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"/var/run/docker.sock:/docker.sock\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN007,
        weight: Weight::Refusal,
        summary: "Names, addresses or resolvers that are the platform's to choose",
        why: "Many instances run side by side, so `extra_hosts`, `dns`, `dns_search`, `dns_opt`, `domainname`, `links`, `external_links`, `mac_address` and fixed addresses are not the author's: two instances would collide, or one would answer for another.",
        fix: "Remove the key. Services find each other by their names, by `aliases` on a network, or by a short `hostname`.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    extra_hosts: [\"db:10.0.0.5\"]\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    hostname: jar\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN008,
        weight: Weight::Refusal,
        summary: "A network or volume of somebody else, or with a driver",
        why: "`external`, `name`, `driver`, `driver_opts` and `ipam` of the top-level networks and volumes reach things that another instance or the node owns. Every instance gets networks and volumes of its own.",
        fix: "Leave the declaration empty, or write `internal: true` for a network without a way out.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                "networks: {default: {external: true}}\n"
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                "networks: {back: {internal: true}}\n"
            ),
        )]),
    },
    Rule {
        id: super::HARDEN009,
        weight: Weight::Refusal,
        summary: "A file of the node, or of another compose file",
        why: "`env_file`, `label_file`, `extends`, `include`, `configs` and `secrets` read files beside the challenge, which on a server are files of the node.",
        fix: "Write values into `environment`, copy files in the Dockerfile, read answers from `/answers/<id>`, and repeat yourself with a YAML anchor instead of `extends`.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    env_file: .env\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    environment: {MODE: ctf}\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN010,
        weight: Weight::Refusal,
        summary: "A logging driver",
        why: "`logging`, `log_driver` and `log_opt` make the engine send output to other hosts or keep it without bound.",
        fix: "Remove the key and write to standard output: the platform keeps the last part of it.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    logging: {driver: syslog}\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN011,
        weight: Weight::Refusal,
        summary: "Settings of memory, scheduler or storage beside the limits",
        why: "`oom_kill_disable`, `oom_score_adj`, `blkio_config`, `storage_opt`, `cpu_count`, `cpu_percent`, `cpu_shares`, `cpu_period`, `cpu_quota`, `cpu_rt_runtime`, `cpu_rt_period`, `cpuset`, `mem_reservation`, `mem_swappiness` and `memswap_limit` let one instance starve the others, or say a second time what the limits say.",
        fix: "Say it with `deploy.resources.limits`: `cpus`, `memory` and `pids`.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    oom_kill_disable: true\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN012,
        weight: Weight::Refusal,
        summary: "A key whose job is the platform's",
        why: "Instances are named, started, watched and stopped by flagops. So `name`, `container_name`, `profiles`, `scale`, `pull_policy`, `platform`, `provider`, `models`, `develop`, `stdin_open`, `tty`, `attach`, `group_add`, `annotations`, `post_start` and `pre_stop` have no meaning here, or a dangerous one.",
        fix: "Remove the key. A service without a terminal can be served over a socket, for example with `socat` and `script`.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    container_name: jar\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN013,
        weight: Weight::Refusal,
        summary: "An answer in the environment of a service that is not `flag-rotator`",
        why: "The environment of a container can be read by everything that runs in it and by everybody who can inspect it. Only `flag-rotator`, which writes the answers and ends, has variables `ANSWER_<ID>`.",
        fix: "Remove the variable and read the file `/answers/<id>` when the service needs the answer.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    environment: {ANSWER_FLAG: \"FLAG{sampleanswer}\"}\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN014,
        weight: Weight::Refusal,
        summary: "A build that reaches outside of its context",
        why: "A build sees one folder of the challenge and nothing else. `build.network`, `privileged`, `ssh`, `secrets`, `cache_from`, `cache_to`, `extra_hosts`, `entitlements`, `isolation`, `ulimits`, `shm_size`, `additional_contexts`, `dockerfile_inline`, `platforms`, `no_cache_filter`, and a `context` or `dockerfile` with `..` or a URL would change that. `build.per_team` is refused, too: the cache of an engine does not tell builds apart by their secrets, so the second team would get what was built with the answers of the first, and it stays in the cache when the image is gone. What a service writes when it starts is its own: `exports: [{…, per_team: true}]` of `metadata.yaml` hands it out.",
        fix: "Name a folder of the challenge as `context` and a file of that folder as `dockerfile`; copy what the build needs into it.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "../shared",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN015,
        weight: Weight::Refusal,
        summary: "A key of `deploy` beside the limits",
        why: "A service is one container. `replicas` other than 1, `mode`, `restart_policy`, `placement`, `labels`, `endpoint_mode`, `update_config` and `rollback_config` are for a swarm, which does not exist here.",
        fix: "Keep `deploy.resources.limits` only. Write a service twice if you need two of them.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{replicas: 3, resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN016,
        weight: Weight::Refusal,
        summary: "Too many services, networks, volumes, ports or aliases",
        why: "Each of them costs time and kernel objects at every start of every team. One challenge has at most 10 networks, 20 volumes, 32 ports of a service, 32 aliases, and as many services as the organizer allows (20 unless set otherwise).",
        fix: "Use fewer, or make two challenges of one.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                "networks: {a: , b: , c: , d: , e: , f: , g: , h: , i: , j: , k: }\n"
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                "networks: {a: , b: }\n"
            ),
        )]),
    },
    Rule {
        id: super::HARDEN020,
        weight: Weight::Warning,
        summary: "A value above its ceiling, which is used instead",
        why: "Memory, CPU, processes, open files, `/dev/shm`, leases, times of health checks and of stopping have ceilings, because one instance must not take the node. `restart: always` is read as `on-failure`. The message names the value that is used.",
        fix: "Write a value inside of the bounds, so that the file says what happens.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64G}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN022,
        weight: Weight::Warning,
        summary: "A key that is accepted and has no effect",
        why: "Older files are full of keys that are harmless and do nothing here: labels, options of a tmpfs, `reservations`, ulimits beside `nofile`, `build.labels`. They are named so that nobody relies on them.",
        fix: "Remove the key.",
        bad: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    labels: {maintainer: alice}\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
        good: web(&[text(
            "docker-compose.yml",
            compose!(
                "services/web",
                "    labels: {ctfy.service.protocol: http}\n",
                "[\"answers:/answers:ro\"]",
                "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                ""
            ),
        )]),
    },
    Rule {
        id: super::HARDEN023,
        weight: Weight::Warning,
        summary: "A way out to the internet",
        why: "With `egress: internet` every container of an instance connects to public addresses, and so does whoever breaks into one: what they attack sees the address of the node. Private addresses, the node and mail stay closed, connections are counted. Without it nothing is resolved or reached outside of the instance.",
        fix: "Leave it out unless the challenge cannot do without. What it fetches can mostly be a service of its own.",
        bad: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\ninstance: {egress: internet}\n",
        )]),
        good: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\ninstance: {egress: none}\n",
        )]),
    },
    Rule {
        id: super::HARDEN024,
        weight: Weight::Error,
        summary: "A strict challenge with a service that may be root",
        why: "`instance.profile: strict` takes every capability away and makes the root file system read-only. A root without capabilities still owns every file of the image, so a strict service runs as somebody else. Which user an image names is not known before it is built, so the file has to say it. `flag-rotator` is left out: players never get into it.",
        fix: "Write `user: \"1000:1000\"` for each service, and give it what it writes as `tmpfs`.",
        bad: web(&[
            text(
                "metadata.yaml",
                "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\ninstance: {profile: strict}\n",
            ),
            text(
                "docker-compose.yml",
                compose!(
                    "services/web",
                    "",
                    "[\"answers:/answers:ro\"]",
                    "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                    ""
                ),
            ),
        ]),
        good: web(&[
            text(
                "metadata.yaml",
                "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\ninstance: {profile: strict}\n",
            ),
            text(
                "docker-compose.yml",
                compose!(
                    "services/web",
                    "    user: \"1000:1000\"\n",
                    "[\"answers:/answers:ro\"]",
                    "{resources: {limits: {cpus: \"0.5\", memory: 64M}}}",
                    ""
                ),
            ),
        ]),
    },
];
