//! Players come with the unmodified Python SDK `ctfy==0.6.3`.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{
    Challenge, Daemon, Finished, PATIENCE, Settings, Stage, python, repository_root, until,
};

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
    let web = Challenge::web("WEB-703", "one")
        .with("attachments/readme.txt", "read me\n")
        .with("attachments/letter.txt.tpl", "for {{ team.name }}: {{ answer.flag }}\n");
    let stage = Stage::with(&[web, Challenge::quiz("QUIZ-703")]).await;
    let mut daemon = stage.serve().await;
    daemon.live("WEB-703").await;
    daemon.live("QUIZ-703").await;
    let node = Daemon::start(node_of(&stage, &daemon).await).await;
    until("the node follows what is live", PATIENCE, || async {
        let nodes = daemon.admin().get("/nodes").await.body;
        let rows = nodes["items"].as_array().cloned().unwrap_or_default();
        let follows = rows.iter().any(|row| row["images_built"].as_u64() > Some(0));
        if follows { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
    let script = repository_root().join("tests/stories/fixtures/sdk_conformance.py");
    let mut run = Command::new(python());
    run.arg(script).args([&daemon.url(), daemon.admin().token(), "WEB-703", "QUIZ-703"]);
    let done = Finished::of(&mut run);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("73 of 93 core"), "{}", done.stdout);
    daemon.nothing_left().await;
    node.nothing_left().await;

    // The other twenty are of a node; its platform would take on what is started behind its back.
    daemon.kill9();
    let identity = std::fs::read(node.data_dir().join("node.json")).expect("it has joined");
    let identity: serde_json::Value = serde_json::from_slice(&identity).expect("it is whole");
    let token = identity["token"].as_str().expect("it has a token").to_owned();
    let script = repository_root().join("tests/stories/fixtures/node_client.py");
    let mut run = Command::new(python());
    let done = Finished::of(run.arg(script).args([&node.url(), &token, "WEB-703"]));
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("20 of 20"), "{}", done.stdout);
    node.nothing_left().await;
}

/// A node of `platform` that is called "one", not yet running.
async fn node_of(stage: &Stage, platform: &Daemon) -> Settings {
    let body = serde_json::json!({"ttl_seconds": 600});
    let invite = platform.admin().post("/nodes/invites", body).await;
    let invite = invite.expect_status(200).text("registration_token");
    let settings = stage.settings().data_dir(stage.path("one")).text("node.name", "one");
    settings.node_of(&platform.url(), &invite)
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
