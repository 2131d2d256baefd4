//! An agent plays over the Model Context Protocol, with the unmodified Python client, and may what its
//! token may: nothing of another team.

use std::process::Command;

use crate::support::{Challenge, Finished, Stage, python, repository_root};

#[tokio::test]
async fn an_agent_plays_with_the_client_of_its_maker() {
    let mut ask = Command::new(python());
    let found =
        Finished::of(ask.args(["-c", "import importlib.metadata as m; print(m.version('mcp'))"]));
    assert!(
        found.stdout.starts_with("2."),
        "this story needs a Python with `mcp==2.3.0`: `scripts/test` makes one, \
         FLAGOPS_TEST_PYTHON names another ({})",
        found.stderr
    );
    let stage = Stage::with(&[Challenge::web("WEB-711", "one")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-711").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let script = repository_root().join("tests/stories/fixtures/mcp_agent.py");
    let mut run = Command::new(python());
    run.arg(script).args([&daemon.url(), red.token(), blue.token(), "WEB-711"]);
    let done = Finished::of(&mut run);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert_eq!(done.stdout.trim(), "played");
    assert!(!daemon.log().contains(red.token()), "a token is in the log");
    daemon.nothing_left().await;
}
