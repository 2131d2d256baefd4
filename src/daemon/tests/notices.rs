//! People are told: once when the engine goes, once when it is back, and nothing else.

use std::time::Duration;

use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::model::{ConditionStatus, NodeId};
use crate::store::OutboxCounts;

/// A rig whose daemons tell `server`.
fn telling(server: &MockServer) -> Rig {
    let mut rig = rig();
    let file = rig.config.data_dir.join("notify.url");
    std::fs::write(&file, format!("{}/hook", server.uri())).unwrap();
    rig.config.notify.url_file = Some(file);
    rig
}

async fn receiver(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    server
}

/// Waits for `n` notices about the engine; their kinds.
async fn told(server: &MockServer, n: usize) -> Vec<String> {
    until(&format!("{n} notices"), async || {
        let requests = server.received_requests().await.unwrap();
        let notices = requests.iter().map(|it| it.body_json::<serde_json::Value>().unwrap());
        let kinds: Vec<String> = notices
            .filter(|notice| notice["type"] == "DockerAvailable")
            .map(|notice| notice["kind"].as_str().unwrap().to_owned())
            .collect();
        (kinds.len() >= n).then_some(kinds)
    })
    .await
}

async fn engine_is(daemon: &Daemon, status: ConditionStatus) {
    let node = Scope::Node(NodeId::local());
    let platform = daemon.platform();
    until(&format!("the engine to be stated {status}"), async || {
        daemon.shared.engine_doubt.notify_one();
        let stated = condition(&platform, &node, ConditionType::DockerAvailable).await?;
        (stated.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_goes_and_comes_back_is_two_notices_also_over_a_restart() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let rig = telling(&server);
    let (daemon, _, _) = playing(&rig).await;
    rig.engine.go_down();
    engine_is(&daemon, ConditionStatus::False).await;
    assert_eq!(told(&server, 1).await, ["failure"]);
    daemon.stop().await;
    // Still down after a restart: they know.
    let daemon = rig.start().await;
    engine_is(&daemon, ConditionStatus::False).await;
    rig.engine.come_up();
    engine_is(&daemon, ConditionStatus::True).await;
    assert_eq!(told(&server, 2).await, ["failure", "recovery"]);
    until("the outbox to be empty", async || {
        let counts = daemon.store().outbox_counts().await.unwrap();
        (counts == OutboxCounts::default()).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(told(&server, 2).await.len(), 2, "exactly one each");
    daemon.stop().await;
}

#[tokio::test]
async fn a_receiver_that_hangs_slows_nothing_down() {
    let server = receiver(ResponseTemplate::new(200).set_delay(Duration::from_secs(60))).await;
    let rig = telling(&server);
    let (daemon, platform, red) = playing(&rig).await;
    rig.engine.go_down();
    engine_is(&daemon, ConditionStatus::False).await;
    told(&server, 1).await;
    rig.engine.come_up();
    engine_is(&daemon, ConditionStatus::True).await;
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    ready_instance(&daemon, &red).await;
    let begin = tokio::time::Instant::now();
    daemon.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(5), "nor the stop");
}

#[tokio::test]
async fn a_test_notice_says_what_the_receiver_answered() {
    let server = receiver(ResponseTemplate::new(200).set_body_string("ok")).await;
    let rig = telling(&server);
    let tried = rig.idle().test_notice().await.unwrap();
    assert_eq!((tried.format, tried.status, tried.answer.as_str()), ("json", 200, "ok"));
    let server = receiver(ResponseTemplate::new(404).set_body_string("no_team")).await;
    let rig = telling(&server);
    let error = rig.idle().test_notice().await.unwrap_err();
    assert_eq!(error.to_string(), "the receiver answered HTTP 404: no_team");
}
