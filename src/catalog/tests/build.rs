//! Dockerfiles: what is refused, what is only said, and where.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{COMPOSE, METADATA, lines, read, repository};

const DOCKERFILE: &str = "WEB/WEB-001/services/web/Dockerfile";

/// The findings of a challenge with this Dockerfile: `line:column weight rule message`.
fn said(dockerfile: &str) -> String {
    said_with(dockerfile, COMPOSE)
}

fn said_with(dockerfile: &str, compose: &str) -> String {
    let folder = read(&repository(METADATA, compose).with(DOCKERFILE, dockerfile));
    let lines: Vec<String> = folder
        .findings
        .iter()
        .filter(|it| it.rule.starts_with("BUILD"))
        .map(|it| {
            let weight = match it.weight() {
                crate::catalog::Weight::Refusal => "refused",
                crate::catalog::Weight::Error => "error",
                crate::catalog::Weight::Warning => "warning",
            };
            format!("{}:{} {weight} {} {}", it.line, it.column, it.rule, it.message)
        })
        .collect();
    lines.join("\n")
}

/// A clean file around `lines`.
fn around(lines: &str) -> String {
    format!("FROM debian:bookworm-slim\n{lines}\nCMD [\"/server\"]\n")
}

#[test]
fn ordinary_files_have_no_findings() {
    for dockerfile in [
        "FROM debian:bookworm-slim\nCMD [\"x\"]\n",
        "# syntax=docker/dockerfile:1\nARG V=3.12\nFROM --platform=$BUILDPLATFORM python:${V}-slim AS build\n\
         RUN --mount=type=cache,target=/root/.cache pip install x\n\
         FROM scratch\nCOPY --from=build --chmod=755 /a /b\nCOPY --from=0 /a /c\n\
         COPY --from=busybox:1.36 /bin/sh /sh\nENTRYPOINT [\"/b\"]\n",
        "FROM registry.example:5000/team/app@sha256:00\nENV PATH=/x:$PATH TOKEN_FILE=/run/t MONKEY=1 \
         PUBLIC_URL=http://x\nUSER 65534:65534\nWORKDIR $HOME/app\nEXPOSE 80 53/udp 9000-9010\n\
         STOPSIGNAL SIGINT\nSTOPSIGNAL RTMIN+3\nHEALTHCHECK CMD true\nLABEL maintainer=\"a b\"\n\
         ADD a.tar.gz *.txt $DATA_DIR/\nADD [\"a\", \"/b c/\"]\nADD app-${VERSION}.tar /\n",
        "FROM debian:12 AS a\nFROM A\nCMD x\n",
    ] {
        assert_eq!(said(dockerfile), "", "{dockerfile}");
    }
}

#[test]
fn a_file_that_no_engine_reads_is_refused_at_its_line() {
    insta::assert_snapshot!(said("FORM a:1\n"), @"
    0:0 refused BUILD002 the Dockerfile has no `FROM`
    1:1 refused BUILD001 there is no instruction `FORM`
    ");
    insta::assert_snapshot!(said("# only\n\n"), @"0:0 refused BUILD002 the Dockerfile has no `FROM`");
    insta::assert_snapshot!(said("RUN a\nCOPY a b\nFROM a:1"), @"1:1 refused BUILD002 `RUN` stands before the first `FROM`");
    insta::assert_snapshot!(said(&around("COPY a\nFROM a:1 b\nENV A\nWORKDIR\n# escape=x")), @"
    2:1 refused BUILD001 `COPY` is not complete, or has too much
    3:1 refused BUILD001 `FROM` is not complete, or has too much
    4:1 refused BUILD001 `ENV` is not complete, or has too much
    5:1 refused BUILD001 `WORKDIR` is not complete, or has too much
    ");
    insta::assert_snapshot!(said("# escape=x\nFROM a:1\n"), @"1:1 refused BUILD001 the directive `escape` is neither a backslash nor a backtick");
    insta::assert_snapshot!(said("FROM ${X}\n"), @"1:6 refused BUILD002 `FROM ${X}` names no image: nothing sets it");
    insta::assert_snapshot!(said("ARG X\nFROM $X\n"), @"2:6 refused BUILD002 `FROM $X` names no image: nothing sets it");
    let given = COMPOSE
        .replace("build: ./services/web", "build: {context: services/web, args: {X: 'a:1'}}");
    assert_eq!(said_with("ARG X\nFROM $X\n", &given), "");
    let target =
        COMPOSE.replace("build: ./services/web", "build: {context: services/web, target: biuld}");
    insta::assert_snapshot!(said_with("FROM a:1 AS build\n", &target), @"0:0 refused BUILD018 `build.target` of `web` is `biuld`, which is no stage of this Dockerfile");
}

#[test]
fn the_engine_fetches_nothing() {
    for line in [
        "ADD http://169.254.169.254/ /x",
        "ADD --chmod=755 a HTTPS://h/x /x",
        "ADD git@h:a/b.git /x",
        "ADD [\"http://h/x\", \"/x\"]",
        "ADD ['http://h/x', '/x']",
        "ADD \"http://h/x\" /x",
        "ADD a\\ http://h/x /x",
        "ARG U=http://h\nADD ${U}/x /x",
        "ENV U=ht\nADD ${U}tp://h/x /x",
        "ADD $FROM_BASE /x",
        "ADD h${FROM_BASE}/x /x",
        "ADD \\\n  # a comment\n  http://h/x /x",
        "ONBUILD ADD http://h/x /x",
        "\u{a0}ADD http://h/x /x",
        // What only an old engine reads as an instruction.
        "RUN <<\"#x\"\nADD http://h/x /x\n#x",
        "RUN <<USER\nADD http://h/x /x\nRUN true \\\nUSER\nUSER x",
        "ADD x \\\\\nLABEL http://h/x /x",
    ] {
        let said = said(&around(line));
        assert!(said.contains("refused BUILD003"), "{line}: {said}");
    }
    for line in [
        "ADD a/http://h /x",
        "COPY $FROM_BASE /x",
        "RUN <<EOF\nADD http://h/x /x\nEOF",
        "RUN curl http://h/x",
        "ADD x${FROM_BASE} /x",
    ] {
        let said = said(&around(line));
        assert!(!said.contains("BUILD003"), "{line}: {said}");
    }
}

#[test]
fn what_reaches_outside_is_named_at_its_flag() {
    insta::assert_snapshot!(said(&around(
        "RUN --security=insecure --network=host true\nRUN --network=none --mount=type=cache,target=/x true\n\
         RUN --mount=type=secret,id=a --mount=type=ssh true\nCOPY --link a b\n\
         COPY --from=web /a /b\nCOPY --from=flagops/web-002-web:0011 /a /b\nCOPY --from=3 /a /b\n\
         RUN --mount=from=alpine,target=/x true"
    )), @"
    2:5 refused BUILD005 `RUN --security=insecure` asks for every privilege of the node
    2:25 refused BUILD005 `RUN --network=host` asks for the network of the node
    3:5 warning BUILD012 `RUN --network` needs an engine of Docker 23.0 or later
    4:5 refused BUILD006 `--mount=type=secret`: no secret is handed to a build
    4:30 refused BUILD006 `--mount=type=ssh`: no ssh is handed to a build
    5:6 warning BUILD012 `COPY --link` needs an engine of Docker 23.0 or later
    6:6 warning BUILD007 `web` is no stage of this file, so an image of that name is fetched, without a version
    7:6 refused BUILD008 `flagops/web-002-web:0011` is an image of the platform, of some challenge
    8:6 refused BUILD007 there is no stage `3` before this one
    9:5 warning BUILD007 `alpine` is no stage of this file, so an image of that name is fetched, without a version
    ");
    insta::assert_snapshot!(said("# syntax=evil/frontend\nFROM busybox\nFROM docker.io/flagops/a-b:1\n"), @"
    1:1 error BUILD004 `# syntax=evil/frontend` is ignored: no foreign frontend is fetched, the engine's own one builds
    2:6 warning BUILD011 the base image `busybox` can be another one tomorrow: it has no tag but `latest`
    3:6 refused BUILD008 `docker.io/flagops/a-b:1` is an image of the platform, of some challenge
    ");
    insta::assert_snapshot!(said("# syntax=docker/dockerfile:1-labs\nFROM --platform=linux/arm64 a:1\n"), @"
    1:1 error BUILD004 `# syntax=docker/dockerfile:1-labs` is ignored: the engine's own frontend builds, which has no experimental features
    2:6 warning BUILD017 an image for `linux/arm64` starts on such a node only
    ");
}

#[test]
fn what_an_image_says_about_the_process_is_checked() {
    insta::assert_snapshot!(said(&around(
        "USER 4294967295\nUSER 1000:4294967295\nWORKDIR /proc/self/fd/8\nSTOPSIGNAL 0\nEXPOSE 1-65535\n\
         EXPOSE web\nVOLUME /data /x\nVOLUME [\"/a b\"]\nONBUILD RUN true\nLABEL traefik.enable=true\n\
         ENV DB_PASSWORD=hunter2 API_KEY=\"\"\nARG TOKEN\nARG TOKEN=x\nENV SECRET_KEY words too"
    )), @"
    2:6 refused BUILD014 `USER 4294967295` is a number that no engine starts
    3:6 refused BUILD014 `USER 1000:4294967295` is a number that no engine starts
    4:9 refused BUILD014 `WORKDIR /proc/self/fd/8` is a folder of the kernel
    5:12 refused BUILD014 `STOPSIGNAL 0` is no signal
    6:8 warning BUILD016 `EXPOSE 1-65535` publishes none of its 65535 ports
    7:8 refused BUILD014 `EXPOSE web` is no port
    8:8 warning BUILD015 `VOLUME` makes `/data`, `/x` an empty folder in memory at every start
    9:8 warning BUILD015 `VOLUME` makes `/a b` an empty folder in memory at every start
    10:1 warning BUILD009 `ONBUILD` has no effect: no image is built on the one of a challenge
    11:7 refused BUILD020 the label `traefik.enable` would steer programs of the node: containers get it, too
    12:5 warning BUILD010 `ENV DB_PASSWORD` puts a secret into the image, where everybody who has the image reads it
    14:5 warning BUILD010 `ARG TOKEN` puts a secret into the image, where everybody who has the image reads it
    15:5 warning BUILD010 `ENV SECRET_KEY` puts a secret into the image, where everybody who has the image reads it
    ");
    insta::assert_snapshot!(said("FROM scratch\nCOPY a /a\n"), @"1:1 refused BUILD019 the image of `web` has no command, so it cannot start");
    let command =
        COMPOSE.replace("build: ./services/web", "build: ./services/web\n    command: [/a]");
    assert_eq!(said_with("FROM scratch\nCOPY a /a\n", &command), "");
}

#[test]
fn bombs_end_at_a_budget_and_at_once() {
    let start = Instant::now();
    let doubling: String = (0..60).map(|n| format!("ENV A{}=$A{n}$A{n}\n", n + 1)).collect();
    for (lines, rule) in [
        (format!("ENV A0=xxxx\n{doubling}"), "BUILD013"),
        ("RUN true\n".repeat(126), "BUILD013"),
        ("ARG A\n".repeat(2000), "BUILD013"),
        ("FROM a:1\n".repeat(60), "BUILD013"),
        (format!("ENV A={}\n{}", "x".repeat(60_000), "USER $A\n".repeat(900)), "BUILD013"),
        (format!("RUN <<A\n{}A\n", "x\n".repeat(100_000)), "BUILD012"),
        (format!("RUN {}\n", "<<A ".repeat(50_000)), "BUILD001"),
        ("ONBUILD ".repeat(30_000), "BUILD001"),
        (format!("EXPOSE {}", "x ".repeat(100_000)), "BUILD014"),
    ] {
        let said = said(&around(&lines));
        assert!(said.contains(rule), "{}: {said}", &lines[..20]);
    }
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    let folder = read(&repository(METADATA, COMPOSE).with(DOCKERFILE, b"FROM a:1\n\xff".to_vec()));
    insta::assert_snapshot!(lines(&folder), @"services/web/Dockerfile:0:0 error BUILD001 the Dockerfile is not UTF-8");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_panic_and_nothing_misleading_is_said(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("FROM "), Just("AS b\n"), Just("RUN "), Just("ADD "), Just("COPY "), Just("ENV "),
                Just("ARG A="), Just("${A:-"), Just("$A"), Just("}"), Just("--from="), Just("--mount="),
                Just("type=ssh,"), Just("<<E\n"), Just("E\n"), Just("\n"), Just("\\\n"), Just("\u{202e}"),
                Just("http://"), Just("EXPOSE 1-"), Just("USER "), Just("LABEL "), Just("ONBUILD "),
                Just("VOLUME [\"a\"]\n"), Just("scratch\n"), Just("flagops/x"), Just("STOPSIGNAL é\n"),
                Just("# syntax="), Just("\0"), Just("\""), Just("WORKDIR /proc"), Just("9"),
            ],
            0..30,
        ),
        noise in proptest::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut bytes = parts.concat().into_bytes();
        bytes.extend(noise);
        let folder = read(&repository(METADATA, COMPOSE).with(DOCKERFILE, bytes));
        for finding in &folder.findings {
            let misleads = |text: &str| text.chars().any(crate::catalog::names::is_misleading);
            let is_plain = !misleads(&finding.message) && !misleads(&finding.hint);
            prop_assert!(is_plain, "{:?}", finding);
        }
    }
}
