//! The rows of the table of hostile inputs (`contract/security.md` §4) that builds, storage and
//! repositories answer.

use super::{COMPOSE, METADATA, read, repository};
use crate::catalog::{Policy, Weight, load};
use crate::model::{EntryKind, MemoryTree};

const ROOT: &str = "WEB/WEB-001";
const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

/// Whether some finding of `tree`, of the repository or of the challenge, has this rule and weight.
fn has(tree: &MemoryTree, rule: &str, weight: Weight) -> bool {
    let catalog = load(tree, None, &Policy::default()).unwrap();
    catalog.all_findings().any(|it| it.rule == rule && it.weight() == weight)
}

#[test]
fn m14_ceilings_hold() {
    for (keys, rule, weight) in [
        ("deploy: {replicas: 10000}", "HARDEN015", Weight::Refusal),
        ("mem_limit: 1000g", "HARDEN020", Weight::Warning),
        ("cpus: 999", "HARDEN020", Weight::Warning),
        ("pids_limit: -1", "HARDEN020", Weight::Warning),
        ("shm_size: 100g", "HARDEN020", Weight::Warning),
        ("ulimits: {nofile: -1}", "HARDEN020", Weight::Warning),
        ("oom_kill_disable: true", "HARDEN011", Weight::Refusal),
        ("stop_grace_period: 1h", "HARDEN020", Weight::Warning),
        ("restart: always", "HARDEN020", Weight::Warning),
        ("healthcheck: {test: x, interval: 1ms}", "HARDEN020", Weight::Warning),
        ("healthcheck: {test: x, start_period: 8760h}", "HARDEN020", Weight::Warning),
        ("logging: {driver: syslog}", "HARDEN010", Weight::Refusal),
    ] {
        let compose =
            format!("services:\n  web:\n    build: services/web\n    ports: ['80']\n    {keys}\n");
        assert!(has(&repository(METADATA, &compose), rule, weight), "{keys}");
    }
    let many: String = (0..200).map(|n| format!("  s{n}: {{image: 'a:1'}}\n")).collect();
    let tree = repository(METADATA, &format!("services:\n{many}"));
    assert!(has(&tree, "HARDEN016", Weight::Refusal));
}

#[test]
fn m16_m19_and_m20_dockerfiles_are_judged() {
    for (line, rule, weight) in [
        ("ADD http://169.254.169.254/ /x", "BUILD003", Weight::Refusal),
        ("ADD git@host:a/b.git /x", "BUILD003", Weight::Refusal),
        ("RUN --security=insecure true", "BUILD005", Weight::Refusal),
        ("RUN --network=host true", "BUILD005", Weight::Refusal),
        ("RUN --mount=type=ssh true", "BUILD006", Weight::Refusal),
        ("RUN --mount=type=secret,id=a true", "BUILD006", Weight::Refusal),
        ("RUN --mount=type=bind,from=flagops/a-b:1 true", "BUILD008", Weight::Refusal),
        ("RUN --mount=type=bind,from=elsewhere true", "BUILD007", Weight::Warning),
        ("ONBUILD RUN true", "BUILD009", Weight::Warning),
        ("COPY --from=flagops/web-002-web:00 / /x", "BUILD008", Weight::Refusal),
        ("FROM ${X}", "BUILD002", Weight::Refusal),
        ("WORKDIR /proc/self/fd/8", "BUILD014", Weight::Refusal),
        ("USER 4294967295", "BUILD014", Weight::Refusal),
        ("STOPSIGNAL 0", "BUILD014", Weight::Refusal),
        ("FROM --platform=linux/arm64 a:1", "BUILD017", Weight::Warning),
        ("FROM scratch", "BUILD019", Weight::Refusal),
        ("VOLUME /data", "BUILD015", Weight::Warning),
        ("EXPOSE 1-65535", "BUILD016", Weight::Warning),
    ] {
        let dockerfile = format!("FROM a:1\n{line}\n");
        let tree = repository(METADATA, COMPOSE)
            .with(&format!("{ROOT}/services/web/Dockerfile"), dockerfile);
        assert!(has(&tree, rule, weight), "{line}");
    }
    let frontend = repository(METADATA, COMPOSE)
        .with(&format!("{ROOT}/services/web/Dockerfile"), "# syntax=evil/frontend\nFROM a:1\n");
    assert!(has(&frontend, "BUILD004", Weight::Error));
}

#[test]
fn g04_g08_and_g17_entries_are_named() {
    let tree = || repository(METADATA, COMPOSE);
    let link =
        |path: &str| tree().with_kind(&format!("{ROOT}/{path}"), EntryKind::Symlink, "/etc/passwd");
    let file = |path: &str, text: &str| tree().with(&format!("{ROOT}/{path}"), text);
    for (tree, rule, weight) in [
        (link("attachments/x"), "STRUCT020", Weight::Refusal),
        (link("services/web/x"), "STRUCT020", Weight::Refusal),
        (link("notes"), "STRUCT020", Weight::Warning),
        (file("attachments/x.bin", POINTER), "REPO004", Weight::Refusal),
        (file("services/web/x.bin", POINTER), "REPO004", Weight::Refusal),
        (file("docs/x.bin", POINTER), "REPO004", Weight::Warning),
        (
            tree().with(".lfsconfig", "[lfs]\nurl = http://169.254.169.254\n"),
            "REPO005",
            Weight::Warning,
        ),
        (tree().with(".gitmodules", ""), "REPO005", Weight::Warning),
        (file("Flag.txt", "").with(&format!("{ROOT}/flag.txt"), ""), "STRUCT024", Weight::Refusal),
        (file("\u{e9}", "").with(&format!("{ROOT}/e\u{301}"), ""), "STRUCT024", Weight::Refusal),
        (file("a.", ""), "STRUCT022", Weight::Refusal),
        (file("x\u{202e}gpj", ""), "STRUCT022", Weight::Refusal),
        (file("a\nb", ""), "STRUCT022", Weight::Refusal),
        (tree().with("OLD/web-001/metadata.yaml", METADATA), "REPO002", Weight::Refusal),
    ] {
        assert!(has(&tree, rule, weight), "{rule} {weight:?}");
    }
    let plain = file("attachments/x.bin", &POINTER.replace("version", "Version"));
    assert!(read(&plain).findings.iter().all(|it| it.rule != "REPO004"));
}
