//! What a Dockerfile may say.

use super::{Base, Example, File, Rule, text};
use crate::catalog::finding::Weight;

/// The compose file of the web base with another `build`.
macro_rules! compose {
    ($build:literal) => {
        concat!(
            "services:\n  web:\n    build: ",
            $build,
            "\n    ports: [\"8080\"]\n    volumes: [\"answers:/answers:ro\"]\n    depends_on:\n",
            "      flag-rotator: {condition: service_completed_successfully}\n",
            "    healthcheck:\n",
            "      test: [\"CMD\", \"wget\", \"-qO\", \"/dev/null\", \"http://127.0.0.1:8080/\"]\n",
            "    deploy: {resources: {limits: {cpus: \"0.5\", memory: 64M}}}\n",
            "  flag-rotator:\n    build: services/flag-rotator\n",
            "    environment: [ANSWER_FLAG]\n    volumes: [\"answers:/out\"]\n",
            "    healthcheck: {test: [\"CMD\", \"test\", \"-s\", \"/out/flag\"]}\n",
            "    deploy: {resources: {limits: {cpus: \"0.25\", memory: 32M}}}\n",
            "volumes:\n  answers:\n",
        )
    };
}

const fn web(files: &'static [File]) -> Example {
    Example { base: Base::Web, files }
}

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: super::BUILD001,
        weight: Weight::Refusal,
        summary: "A Dockerfile that no engine reads",
        why: "An unknown instruction, one without its values, an unclosed heredoc or bytes that are no text end every build before its first step, and the challenge keeps its last good version, or has none.",
        fix: "Mend the instruction that the message names. When a line is the rest of the one before, end that one with a backslash.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nCOPPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nCOPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD002,
        weight: Weight::Refusal,
        summary: "A Dockerfile without a base image",
        why: "Every stage begins with `FROM` and an image. An `ARG` that names the image needs a default, or a value in `build.args`, for nothing else sets it.",
        fix: "Begin with `FROM image:tag`, and give an `ARG` that stands in it a default.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM ${BASE}\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "ARG BASE=busybox:1.36\nFROM ${BASE}\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD003,
        weight: Weight::Refusal,
        summary: "A file that the engine itself would fetch",
        why: "`ADD` of a URL or a git repository is fetched by the engine, in the network of the node and not in that of the build. So it reaches services of the node and the metadata of the cloud, even where builds have no network, and the answer lands in the image.",
        fix: "Fetch the file with `RUN`, which is shut in the network of the build, or commit it and use `COPY`.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nADD https://files.example/www.tar.gz /www/\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nCOPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD004,
        weight: Weight::Error,
        summary: "A foreign or experimental frontend, which is ignored",
        why: "`# syntax=` asks the engine to fetch an image and let it read the Dockerfile: foreign code that decides what a build does. flagops makes a comment of the line, and the engine's own frontend builds. So what only the other one can do fails.",
        fix: "Remove the line, or write `# syntax=docker/dockerfile:1`, and use what Docker's own frontend reads.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "# syntax=example/frontend\nFROM busybox:1.36\nCOPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "# syntax=docker/dockerfile:1\nFROM busybox:1.36\nCOPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD005,
        weight: Weight::Refusal,
        summary: "A step that asks for privileges, devices or the network of the node",
        why: "`RUN --security=insecure`, `RUN --network=host` and `RUN --device` give a step what no challenge gets. The engine was not told to allow it, so the build fails.",
        fix: "Remove the flag.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nRUN --network=host wget -O /x http://127.0.0.1/\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nRUN mkdir /x\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD006,
        weight: Weight::Refusal,
        summary: "A step that asks for a secret or an SSH agent",
        why: "Nothing is handed to a build: no secret, no key, no agent. The step would wait for it and fail.",
        fix: "Commit what the build needs. What players must not see does not belong into an image at all.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nRUN --mount=type=secret,id=token cat /run/secrets/token\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nRUN --mount=type=cache,target=/cache mkdir -p /cache/x\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD007,
        weight: Weight::Warning,
        summary: "Files from something that is neither a stage nor a pinned image",
        why: "A name behind `--from` that is no stage is an image, which the engine fetches from a registry. Without a version that is another image tomorrow, and often it is only a stage with a typing error.",
        fix: "Name a stage of the file, or an image with a version such as `busybox:1.36`.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36 AS build\nFROM busybox:1.36\nCOPY --from=biuld /bin/busybox /b\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36 AS build\nFROM busybox:1.36\nCOPY --from=build /bin/busybox /b\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD008,
        weight: Weight::Refusal,
        summary: "An image of the platform, built for some challenge",
        why: "Images named `flagops/…` were built for challenges. Taking files from one couples two challenges, and shows what another author hides.",
        fix: "Copy the files that you need into this challenge, or publish a base image with a version of its own.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM flagops/web-002-web:0011223344556677\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nCOPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD009,
        weight: Weight::Warning,
        summary: "`ONBUILD`",
        why: "Its instruction runs when another image is built on this one. Nobody builds on the image of a challenge, so it never runs.",
        fix: "Write the instruction itself, without `ONBUILD`.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nONBUILD COPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nCOPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD010,
        weight: Weight::Warning,
        summary: "A secret in an argument or a variable of the image",
        why: "Values of `ARG` and `ENV` stay in the history of the image. Everybody who gets the image reads them, they are the same for every team, and a service gives its environment away with the first bug.",
        fix: "Make the value when the service starts, or read it from `/answers/<id>` if it is what players look for. A name that ends in `_FILE` or `_PATH` is taken for a place, not for a secret.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nENV ADMIN_PASSWORD=hunter2\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nENV ADMIN_PASSWORD_FILE=/run/admin\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD011,
        weight: Weight::Warning,
        summary: "A base image without a version",
        why: "`latest`, or no tag at all, is whatever was pushed last. The challenge that was tested is not the one that runs after the next build.",
        fix: "Name a version such as `busybox:1.36`, or a digest (`image@sha256:…`).",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox\nCOPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nCOPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD012,
        weight: Weight::Warning,
        summary: "What engines before Docker 23.0 do not know",
        why: "flagops builds with the engine's own frontend. Heredocs, `RUN --network`, `RUN --security`, `COPY --link`, `COPY --parents`, `ADD --checksum` and others came with Docker 23.0, and an older engine fails on them.",
        fix: "Put the text of a heredoc into a file and `COPY` it, and do without the flag. If your engine is newer, waive the rule in `audit-allowlist.yaml`.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nRUN <<EOF\nmkdir /x\nEOF\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nRUN mkdir /x\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD013,
        weight: Weight::Refusal,
        summary: "A Dockerfile over its budget",
        why: "A file has at most 1000 instructions, 50 stages and 125 layers in a stage, which is what engines stack, and its variables grow to at most 64 KiB each. Beyond that a build fails, or hurts the node.",
        fix: "Join `RUN` and `COPY` lines, move text into files, and keep variables short.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nENV A1=xxxxxxxx\nENV A2=$A1$A1$A1$A1\nENV A3=$A2$A2$A2$A2\nENV A4=$A3$A3$A3$A3\nENV A5=$A4$A4$A4$A4\nENV A6=$A5$A5$A5$A5\nENV A7=$A6$A6$A6$A6\nENV A8=$A7$A7$A7$A7\nENV A9=$A8$A8$A8$A8\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nENV A1=xxxxxxxx\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD014,
        weight: Weight::Refusal,
        summary: "A user, folder, signal or port that no engine takes",
        why: "A user number above 2147483647, a `WORKDIR` inside of `/proc`, `/sys` or `/dev` (a way out of containers, CVE-2024-21626), a signal that does not exist and a port that is no number end the build or every start.",
        fix: "Write a value that the message asks for, such as `USER 65534`, `WORKDIR /app`, `STOPSIGNAL SIGTERM` or `EXPOSE 8080`.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nWORKDIR /proc/self/fd/8\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nWORKDIR /app\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD015,
        weight: Weight::Warning,
        summary: "`VOLUME`",
        why: "A volume of the image would be storage without a bound. At every start flagops puts an empty folder in memory there: what the image has below that path is not seen, and nothing of it is kept.",
        fix: "Remove `VOLUME`. Mount a named volume in `docker-compose.yml` where services share data.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nVOLUME /data\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nRUN mkdir /data\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD016,
        weight: Weight::Warning,
        summary: "`EXPOSE` of very many ports",
        why: "`EXPOSE` publishes nothing. A range of more than 32 ports looks like a wish that is not fulfilled.",
        fix: "List the ports that players reach as `ports` of the service, and remove the range.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nEXPOSE 1-65535\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nEXPOSE 8080\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD017,
        weight: Weight::Warning,
        summary: "A base image for another platform",
        why: "An image that is fetched with `--platform` for another processor starts on such a node only, and the build fails at its first `RUN` elsewhere.",
        fix: "Remove `--platform`. `--platform=$BUILDPLATFORM` is fine for a stage that only compiles.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM --platform=linux/arm64 busybox:1.36\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM --platform=$BUILDPLATFORM busybox:1.36\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD018,
        weight: Weight::Refusal,
        summary: "A build target that does not exist",
        why: "`build.target` names the stage at which a build stops. The engine refuses a name that no stage has.",
        fix: "Name a stage of the Dockerfile (`FROM image AS name`), or remove `target` to build the last one.",
        bad: web(&[
            text("docker-compose.yml", compose!("{context: services/web, target: finial}")),
            text(
                "services/web/Dockerfile",
                "FROM busybox:1.36 AS final\nCOPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
            ),
        ]),
        good: web(&[
            text("docker-compose.yml", compose!("{context: services/web, target: final}")),
            text(
                "services/web/Dockerfile",
                "FROM busybox:1.36 AS final\nCOPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
            ),
        ]),
    },
    Rule {
        id: super::BUILD019,
        weight: Weight::Refusal,
        summary: "An image without a command",
        why: "An image on `scratch` inherits no command. Without `CMD` or `ENTRYPOINT`, and without `command` in the compose file, there is nothing to start.",
        fix: "Add `CMD [\"/program\"]` at the end of the Dockerfile, or `command` to the service.",
        bad: web(&[text("services/web/Dockerfile", "FROM scratch\nCOPY www /www\n")]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM scratch\nCOPY www /www\nCMD [\"/www/server\"]\n",
        )]),
    },
    Rule {
        id: super::BUILD020,
        weight: Weight::Refusal,
        summary: "A label that steers programs of the node",
        why: "An engine gives the labels of an image to its containers, and proxies and managers of a node act on labels such as `traefik.…`, `com.docker.…`, `io.podman.…` and `flagops.…`.",
        fix: "Remove the label. Other labels are harmless.",
        bad: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nLABEL traefik.enable=true\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
        good: web(&[text(
            "services/web/Dockerfile",
            "FROM busybox:1.36\nLABEL maintainer=alice\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
        )]),
    },
];
