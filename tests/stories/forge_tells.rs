//! A forge calls the webhook after a push, and shows beside each commit how it stands.

use std::time::{Duration, Instant};

use crate::support::{Challenge, Daemon, Forge, PATIENCE, Stage, until};

const ID: &str = "5f2b6c0e8d1a4937b6e0c1d2f3a4b5c6";
const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// The signature of `body`, made by somebody else's code.
fn sign(body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = ring::hmac::sign(&key, body.as_bytes());
    let digits: Vec<String> = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={}", digits.concat())
}

/// Calls the webhook; the HTTP status.
async fn call(daemon: &Daemon, delivery: &str, signature: &str, body: &str) -> u16 {
    let url = format!("{}/hooks/{ID}", daemon.url());
    let request = reqwest::Client::builder().no_proxy().build().expect("a client").post(url);
    let request = request
        .header("x-github-event", "push")
        .header("x-github-delivery", delivery)
        .header("x-hub-signature-256", signature)
        .body(body.to_owned());
    request.send().await.expect("the daemon answers").status().as_u16()
}

/// The newest status of a commit in a context.
fn newest(forge: &Forge, commit: &str, context: &str) -> Option<(String, String)> {
    let posted = forge.posted();
    let found = posted.iter().rev().find(|it| it.commit == commit && it.body["context"] == context);
    let word = |body: &serde_json::Value, key: &str| body[key].as_str().unwrap_or("").to_owned();
    found.map(|it| (word(&it.body, "state"), word(&it.body, "description")))
}

async fn shown(forge: &Forge, commit: &str, context: &str, state: &str, words: &str) {
    until(&format!("{context} of {commit} is {state}"), PATIENCE, || async {
        match newest(forge, commit, context) {
            Some((is, said)) if is == state && said == words => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_signed_call_brings_a_push_at_once_and_the_commit_shows_what_became_of_it() {
    let stage = Stage::with(&[Challenge::web("WEB-611", "one")]).await;
    let forge = Forge::open(&stage.remote, &stage.path("")).await;
    std::fs::write(stage.path("webhook.secret"), SECRET).expect("a file");
    std::fs::write(stage.path("statuses.token"), "TOKENTOKEN\n").expect("a file");
    let file = |name: &str| stage.path(name).display().to_string();
    let settings = stage
        .settings()
        .text("source.repo", &forge.repo_url())
        .variable("SSL_CERT_FILE", &forge.certificate())
        // Nobody would look for an hour, and a remote elsewhere cannot be watched.
        .number("source.poll_secs", 3600)
        .text("source.webhook.kind", "github")
        .text("source.webhook.id", ID)
        .text("source.webhook.secret_file", &file("webhook.secret"))
        .text("statuses.kind", "forgejo")
        .text("statuses.api_url", &forge.api_url())
        .text("statuses.repository", "example/ctf")
        .text("statuses.token_file", &file("statuses.token"));
    let daemon = Daemon::start(settings).await;
    daemon.live("WEB-611").await;
    let first = stage.remote.git(&["rev-parse", "main"]).trim().to_owned();
    shown(&forge, &first, "flagops/validate", "success", "1 challenge is valid").await;
    shown(&forge, &first, "flagops/build", "success", "1 image is built").await;
    shown(&forge, &first, "flagops/release", "success", "live as generation 1").await;

    stage.remote.put(&Challenge::quiz("QUIZ-611"));
    let pushed = stage.remote.push("a quiz");
    // What it says is a lie: nobody believes it, or even reads it.
    let body = format!("{{\"ref\":\"refs/heads/other\",\"after\":\"{first}\"");
    assert_eq!(call(&daemon, "1", &sign("another body"), &body).await, 401);
    let begin = Instant::now();
    assert_eq!(call(&daemon, "1", &sign(&body), &body).await, 202);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    let admin = daemon.admin();
    until("the push is read", PATIENCE, || async {
        let row = admin.challenge("QUIZ-611").await?;
        if row["state"] == "live" { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "a hint is acted on at once: {took:?}");
    assert_eq!(call(&daemon, "1", &sign(&body), &body).await, 200, "the same delivery again");

    shown(&forge, &pushed, "flagops/validate", "success", "2 challenges are valid").await;
    shown(&forge, &pushed, "flagops/release", "success", "live as generation 2").await;
    let over = "was live until another revision took its place";
    shown(&forge, &first, "flagops/release", "success", over).await;
    for posted in forge.posted() {
        assert_eq!(posted.authorization, "token TOKENTOKEN");
        let text = posted.body.to_string();
        assert!(!text.contains("-611"), "a challenge is named: {text}");
    }
    let log = daemon.log();
    for secret in [SECRET, "TOKENTOKEN", ID] {
        assert_eq!(log.lines().find(|line| line.contains(secret)), None, "a secret is logged");
    }
}

#[tokio::test]
async fn a_webhook_without_a_secret_is_refused_at_the_start() {
    let stage = Stage::set().await;
    let settings =
        stage.settings().text("source.webhook.kind", "github").text("source.webhook.id", ID);
    let refused = crate::support::Finished::of(&mut settings.serve_command());
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("`source.webhook.secret_file` is not set"), "{refused:?}");
    let settings = settings.text("source.webhook.secret_file", "/nonexistent/secret");
    let refused = crate::support::Finished::of(&mut settings.serve_command());
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("`source.webhook` cannot be used"), "{refused:?}");
    assert!(refused.stderr.contains("/nonexistent/secret"), "{refused:?}");
}
