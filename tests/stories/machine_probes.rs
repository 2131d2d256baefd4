//! A machine that believes our OpenAPI document asks what it says and what it does not say, as everybody
//! who may ask: no answer is an error of ours, and each is as the document says.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{Challenge, Client, Daemon, Finished, Stage, python, repository_root};

/// What is asked of each answer.
const CHECKS: &str = "not_a_server_error,response_schema_conformance,content_type_conformance,\
                      status_code_conformance";
/// Streams never end; other stories read them.
const STREAMS: &str = "^/api/v1/(gitops/)?events$";
/// Who asks these is nobody afterwards; only who is nobody is asked.
const STREAMS_AND_ENDS: &str = "^/api/v1/((gitops/)?events|auth/logout|auth/password|me)$";
/// What is not here answers so, on purpose.
const ACCEPTED: &str = "[checks.not_a_server_error]
expected-statuses = [\"2xx\", \"3xx\", \"4xx\", 501]
";

/// A server without rates, with something of everything to ask about.
async fn server(id: &str) -> (Stage, Daemon, Client) {
    let stage = Stage::with(&[Challenge::web(id, "one")]).await;
    let daemon = stage.serve().await;
    daemon.live(id).await;
    let rates = "/admin/platform-settings/rate_limiting_enabled";
    daemon.admin().patch(rates, json!({"value": false})).await.expect_status(200);
    let red = daemon.team("red").await;
    red.play(id).await;
    (stage, daemon, red)
}

/// Asks everything as whoever has `token`.
fn probe(folder: &Path, daemon: &Daemon, token: &str) {
    let accepted = folder.join("schemathesis.toml");
    fs::write(&accepted, ACCEPTED).expect("it can be written");
    let mut run = Command::new(python());
    run.current_dir(folder).args(["-m", "schemathesis.cli", "--config-file"]).arg(&accepted);
    run.arg("run").arg(format!("{}/openapi.json", daemon.url()));
    run.args(["--checks", CHECKS, "--max-examples", "3", "--generation-deterministic"]);
    run.args(["--continue-on-failure", "--request-timeout", "20", "--warnings", "off"]);
    run.args(["--no-color", "--exclude-path-regex"]);
    run.arg(if token.is_empty() { STREAMS } else { STREAMS_AND_ENDS });
    if !token.is_empty() {
        run.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let done = Finished::of(&mut run);
    assert_eq!(
        done.code,
        Some(0),
        "{}{}\n(this story needs a Python with the `schemathesis` that `{}` names; \
         FLAGOPS_TEST_PYTHON names another)",
        done.stdout,
        done.stderr,
        repository_root().join("scripts/prelude.sh").display()
    );
    assert!(done.stdout.contains("No issues found"), "{}", done.stdout);
}

#[tokio::test]
async fn nobody_is_answered_as_the_document_says() {
    let (stage, daemon, _) = server("WEB-731").await;
    probe(&stage.path(""), &daemon, "");
}

#[tokio::test]
async fn a_player_is_answered_as_the_document_says() {
    let (stage, daemon, _) = server("WEB-732").await;
    // The first account administers; this one does not.
    daemon.account("ada").await;
    let bob = daemon.account("bob").await;
    bob.post("/competitions/default/register", json!({})).await;
    probe(&stage.path(""), &daemon, bob.token());
}

#[tokio::test]
async fn a_team_is_answered_as_the_document_says() {
    let (stage, daemon, red) = server("WEB-733").await;
    probe(&stage.path(""), &daemon, red.token());
}

#[tokio::test]
async fn a_super_administrator_is_answered_as_the_document_says() {
    let (stage, daemon, _) = server("WEB-734").await;
    let ada = daemon.account("ada").await;
    ada.get("/admin/platform-settings").await.expect_status(200);
    probe(&stage.path(""), &daemon, ada.token());
}
