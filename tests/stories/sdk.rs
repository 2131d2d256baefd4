//! Players come with the unmodified Python SDK `ctfy==0.6.3`.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{Challenge, Finished, Stage, python, repository_root};

/// The conformance script: beside this repository, or where `FLAGOPS_SHARED` says.
fn quickstart() -> Option<PathBuf> {
    let shared = std::env::var_os("FLAGOPS_SHARED")
        .map_or_else(|| repository_root().join("../shared"), PathBuf::from);
    Some(shared.join("sdk-conformance/quickstart.py")).filter(|path| path.is_file())
}

/// # Panics
/// With the way out, when the SDK is not installed.
pub(crate) fn require_sdk() {
    let mut ask = Command::new(python());
    let found =
        Finished::of(ask.args(["-c", "import importlib.metadata as m; print(m.version('ctfy'))"]));
    assert_eq!(
        found.stdout.trim(),
        "0.6.3",
        "this story needs a Python with `ctfy==0.6.3`: `scripts/test` makes one, \
         FLAGOPS_TEST_PYTHON names another ({})",
        found.stderr
    );
}

#[tokio::test]
async fn the_instance_part_of_the_sdk_works() {
    require_sdk();
    let stage = Stage::with(&[Challenge::web("WEB-701", "one")
        .with("attachments/readme.txt", "read me\n")
        .with("attachments/letter.txt.tpl", "for {{ team.name }}: {{ answer.flag }}\n")])
    .await;
    let daemon = stage.serve().await;
    daemon.live("WEB-701").await;
    let red = daemon.team("red").await;
    let script = repository_root().join("tests/stories/fixtures/sdk_instance.py");
    let mut run = Command::new(python());
    let done = Finished::of(run.arg(script).args([&daemon.url(), red.token(), "WEB-701"]));
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    daemon.nothing_left().await;
}

#[tokio::test]
async fn every_core_method_that_is_here_works() {
    require_sdk();
    let quiz = Challenge::quiz("QUIZ-703");
    let stage = Stage::with(&[
        Challenge::web("WEB-703", "one").with("attachments/readme.txt", "read me\n"),
        quiz,
    ])
    .await;
    let daemon = stage.serve().await;
    daemon.live("WEB-703").await;
    daemon.live("QUIZ-703").await;
    let script = repository_root().join("tests/stories/fixtures/sdk_conformance.py");
    let mut run = Command::new(python());
    run.arg(script).args([&daemon.url(), daemon.admin().token(), "WEB-703", "QUIZ-703"]);
    let done = Finished::of(&mut run);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("49 of 93 core"), "{}", done.stdout);
    daemon.nothing_left().await;
}

/// The script of the contract, unmodified and whole. CI has it beside the repository; a checkout
/// without it still has the fixture above.
#[tokio::test]
async fn the_conformance_script_passes() {
    require_sdk();
    let Some(script) = quickstart() else {
        // The script is not ours to copy; `the_instance_part_of_the_sdk_works` covers its ground.
        assert!(
            std::env::var_os("CI").is_none(),
            "CI needs `../shared/sdk-conformance/quickstart.py`, or FLAGOPS_SHARED"
        );
        return;
    };
    let stage =
        Stage::with(
            &[Challenge::web("WEB-702", "one").with("attachments/readme.txt", "read me\n")],
        )
        .await;
    let daemon = stage.serve().await;
    daemon.live("WEB-702").await;
    let red = daemon.team("red").await;
    let mut run = Command::new(python());
    run.arg(script).args(["--url", &daemon.url(), "--token", red.token()]).args([
        "--challenge",
        "WEB-702",
        "--flag-from-url",
        "/answers/flag",
        "--timeout",
        "60",
        "--events",
    ]);
    let done = Finished::of(&mut run);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains(" 0 failed"), "{}", done.stdout);
    daemon.nothing_left().await;
}
