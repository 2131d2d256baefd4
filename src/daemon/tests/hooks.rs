//! Forges: a hint makes us look, and they are told how each commit stands.

use std::time::Duration;

use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::config::{ForgeKind, WebhookKind};
use crate::daemon::platform::{Called, Deed, Headers};
use crate::git::testing::TagOn;
use crate::model::{ConditionStatus, Scope};
use crate::store::DecisionKind;

const ID: &str = "0123456789abcdef";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A rig whose daemons post statuses to `server`.
fn posting(server: &MockServer) -> Rig {
    let mut rig = rig();
    let token_file = rig.config.data_dir.join("forge.token");
    std::fs::write(&token_file, "TOKENTOKEN").unwrap();
    let statuses = &mut rig.config.statuses;
    (statuses.kind, statuses.token_file) = (Some(ForgeKind::Gitea), Some(token_file));
    statuses.api_url = Some(format!("{}/api/v1", server.uri()));
    statuses.repository = Some("ctf/challenges".to_owned());
    rig
}

async fn forge(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    server
}

/// What the forge was last told of a commit in each context: `context state description`.
async fn told(server: &MockServer, revision: &str) -> Vec<String> {
    let mut newest = std::collections::BTreeMap::new();
    for request in server.received_requests().await.unwrap() {
        if request.url.path().ends_with(revision) {
            let body: serde_json::Value = request.body_json().unwrap();
            let word = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
            newest.insert(word("context"), (word("state"), word("description")));
        }
    }
    let line = |(context, (state, words))| format!("{context} {state} {words}");
    newest.into_iter().map(line).collect()
}

async fn until_told(server: &MockServer, revision: &str, wanted: &[&str]) {
    until(&format!("the forge to be told {wanted:?}"), async || {
        (told(server, revision).await == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_hint_makes_us_look_now_and_again_a_little_later() {
    let mut rig = rig();
    rig.config.source.poll_secs = 3600;
    let file = rig.config.data_dir.join("webhook.secret");
    std::fs::write(&file, SECRET).unwrap();
    let webhook = &mut rig.config.source.webhook;
    (webhook.kind, webhook.id) = (Some(WebhookKind::Gitlab), Some(ID.to_owned()));
    webhook.secret_file = Some(file);
    let (daemon, platform, _) = playing(&rig).await;
    // Watching and polling have nothing to see from here on.
    let looked_at = async || daemon.store().source().await.unwrap().map(|seen| seen.fetched_at);
    // The first look may not have ended, and the last push may be seen a second time.
    let before = until("no more looks", async || {
        let at = looked_at().await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        (looked_at().await == Some(at)).then_some(at)
    })
    .await;
    let signed = Headers::from([("x-gitlab-token".to_owned(), SECRET.into())]);
    let called = platform.webhook_called(ID, &Headers::new(), b"").await;
    assert_eq!(called, Called::Refused);
    assert_eq!(platform.webhook_called(ID, &signed, b"{]").await, Called::Accepted);
    let first = until("a look", async || looked_at().await.filter(|at| *at > before)).await;
    let second = until("a second", async || looked_at().await.filter(|at| *at > first)).await;
    assert!((1_500..6_000).contains(&second.millis_since(first)), "{first} {second}");
    daemon.stop().await;
}

#[tokio::test]
async fn the_forge_is_told_of_each_commit_and_of_no_challenge() {
    let server = forge(ResponseTemplate::new(201)).await;
    let rig = posting(&server);
    let (daemon, platform, _) = playing(&rig).await;
    let first = platform.source().await.unwrap().revision.unwrap().to_string();
    let live = [
        "flagops/build success 1 image is built",
        "flagops/release success live as generation 1",
        "flagops/validate success 1 challenge is valid",
    ];
    until_told(&server, &first, &live).await;
    rig.push(&[ONE_FILES[1], (ONE_FILES[0].0, "name: One\n")]);
    platform.reconcile_now().await.unwrap();
    let second = platform.source().await.unwrap().revision.unwrap().to_string();
    let broken = [
        "flagops/build success no images are needed",
        "flagops/release failure 1 challenge does not go live as it is",
        "flagops/validate failure 1 of 1 challenges not valid",
    ];
    until_told(&server, &second, &broken).await;
    assert_eq!(told(&server, &first).await, live, "players have it still");
    for request in server.received_requests().await.unwrap() {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert!(!body.contains("WEB-001"), "{body}");
        assert_eq!(request.headers["authorization"], "token TOKENTOKEN");
    }
    let n_told = server.received_requests().await.unwrap().len();
    drop(platform);
    daemon.stop().await;
    let daemon = rig.start().await;
    daemon.platform().reconcile_now().await.unwrap();
    until("the same facts to be looked at again", async || {
        let known = daemon.store().commit_statuses().await.unwrap();
        (known.len() == 6).then_some(())
    })
    .await;
    let n_told_then = server.received_requests().await.unwrap().len();
    assert_eq!(n_told_then, n_told, "a restart tells nothing again");
    daemon.stop().await;
}

#[tokio::test]
async fn the_forge_is_told_what_a_tag_waits_for() {
    let server = forge(ResponseTemplate::new(201)).await;
    let mut rig = posting(&server);
    rig.config.release.pattern = Some("^v(?<v>.+)$".to_owned());
    rig.config.release.auto = false;
    rig.tag("v1.0.0", TagOn::Tip);
    let daemon = rig.start().await;
    let platform = daemon.platform();
    platform.reconcile_now().await.unwrap();
    let revision = platform.source().await.unwrap().revision.unwrap().to_string();
    let before = [
        "flagops/build success 1 image is built",
        "flagops/release pending tag v1.0.0 waits: AwaitingApproval",
        "flagops/validate success 1 challenge is valid",
    ];
    until_told(&server, &revision, &before).await;
    let deed = Deed { who: "ada".to_owned(), why: "fine".to_owned() };
    platform.decide_tag("v1.0.0", None, DecisionKind::Approve, deed).await.unwrap();
    let after = [before[0], "flagops/release success live as generation 1", before[2]];
    until_told(&server, &revision, &after).await;
    drop(platform);
    daemon.stop().await;
}

#[tokio::test]
async fn a_forge_that_refuses_the_token_is_left_alone_and_hinders_nobody() {
    let server = forge(ResponseTemplate::new(401).set_body_string("bad TOKENTOKEN")).await;
    let rig = posting(&server);
    let (daemon, platform, red) = playing(&rig).await;
    let stated = until("the refusal to be stated", async || {
        condition(&platform, &Scope::Repo, ConditionType::StatusesPosted).await
    })
    .await;
    assert_eq!((stated.status, stated.reason.as_str()), (ConditionStatus::False, "AuthFailed"));
    assert!(stated.message.contains("statuses.token_file"), "{}", stated.message);
    assert!(!stated.message.contains("TOKENTOKEN"), "{}", stated.message);
    ready_instance(&daemon, &red).await;
    rig.push(&[ONE_FILES[1], (ONE_FILES[0].0, "name: One\n")]);
    platform.reconcile_now().await.unwrap();
    until("the newest to be on its way", async || {
        let waiting = daemon.store().status_counts().await.unwrap().n_waiting;
        (waiting >= 4).then_some(())
    })
    .await;
    assert_eq!(server.received_requests().await.unwrap().len(), 1, "asked once");
    drop(platform);
    daemon.stop().await;
    // The token is mended and flagops started again.
    server.reset().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(201)).mount(&server).await;
    let daemon = rig.start().await;
    until("everything to be told", async || {
        let counts = daemon.store().status_counts().await.unwrap();
        (counts.n_waiting == 0).then_some(())
    })
    .await;
    let stated = condition(&daemon.platform(), &Scope::Repo, ConditionType::StatusesPosted).await;
    assert_eq!(stated.unwrap().status, ConditionStatus::True);
    daemon.stop().await;
}
