//! Calls of the webhook, good and hostile.

use std::path::PathBuf;

use axum::Router;
use axum::body::Body;
use axum::http::header;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::api::router;
use crate::config::WebhookKind;
use crate::daemon::testing::Rig;

const ID: &str = "0123456789abcdef";
const UNKNOWN: &str = "fedcba9876543210";
/// From GitHub's documentation of webhooks.
const SECRET: &str = "It's a Secret to Everybody";
const PAYLOAD: &str = "Hello, World!";
const SIGNATURE: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

const OTHER_SECRET: &str = "another secret, as good";

/// A server with a webhook of `kind`.
struct Bench {
    _rig: Rig,
    app: Router,
    secret_file: PathBuf,
    other_secret_file: PathBuf,
}

impl Bench {
    fn new(kind: WebhookKind) -> Self {
        let mut rig = Rig::new();
        let secret_file = rig.config.data_dir.join("webhook.secret");
        let other_secret_file = rig.config.data_dir.join("webhook.other");
        std::fs::write(&secret_file, format!("{SECRET}\n")).unwrap();
        std::fs::write(&other_secret_file, OTHER_SECRET).unwrap();
        let webhook = &mut rig.config.source.webhook;
        (webhook.kind, webhook.id) = (Some(kind), Some(ID.to_owned()));
        webhook.secret_file = Some(secret_file.clone());
        webhook.other_secret_file = Some(other_secret_file.clone());
        let app = router(rig.idle());
        Self { _rig: rig, app, secret_file, other_secret_file }
    }

    async fn send(&self, id: &str, headers: &[(&str, &str)], body: Body) -> (u16, Value) {
        let mut request = Request::post(format!("/hooks/{id}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.app.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        if status == 429 {
            let wait = response.headers()[header::RETRY_AFTER].to_str().unwrap();
            assert!(wait.parse::<u32>().is_ok_and(|secs| (1..=60).contains(&secs)), "{wait}");
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        if let Some(body) = body.as_object_mut() {
            body.remove("timestamp");
        }
        (status, body)
    }

    async fn status(&self, headers: &[(&str, &str)]) -> u16 {
        self.send(ID, headers, Body::from(PAYLOAD)).await.0
    }
}

fn signed() -> String {
    format!("sha256={SIGNATURE}")
}

#[tokio::test]
async fn each_kind_of_forge_is_answered_at_once() {
    let signed = signed();
    for (kind, header, value) in [
        (WebhookKind::Github, "X-Hub-Signature-256", signed.as_str()),
        (WebhookKind::Gitea, "X-Gitea-Signature", SIGNATURE),
        (WebhookKind::Forgejo, "X-Forgejo-Signature", SIGNATURE),
        (WebhookKind::Gitlab, "X-Gitlab-Token", SECRET),
        (WebhookKind::Generic, "X-Flagops-Signature-256", signed.as_str()),
    ] {
        let bench = Bench::new(kind);
        let (status, body) = bench.send(ID, &[(header, value)], Body::from(PAYLOAD)).await;
        assert_eq!((status, body["status"].as_str()), (202, Some("accepted")), "{kind:?}");
        assert_eq!(bench.status(&[(header, "sha256=00")]).await, 401, "{kind:?}");
        assert_eq!(bench.status(&[]).await, 401, "{kind:?}");
        let other_body = bench.send(ID, &[(header, value)], Body::from("Hello")).await.0;
        // A token signs no body, so that GitLab's is good for any.
        let wanted = if kind == WebhookKind::Gitlab { 202 } else { 401 };
        assert_eq!(other_body, wanted, "{kind:?}");
    }
}

#[tokio::test]
async fn what_is_asked_makes_no_difference_to_a_ping() {
    let bench = Bench::new(WebhookKind::Github);
    let headers = [("X-Hub-Signature-256", &*signed()), ("X-GitHub-Event", "ping")];
    assert_eq!(bench.status(&headers).await, 202);
}

#[tokio::test]
async fn a_wrong_id_and_a_wrong_signature_are_answered_alike() {
    let bench = Bench::new(WebhookKind::Github);
    let good = signed();
    let unknown = bench.send(UNKNOWN, &[("X-Hub-Signature-256", &good)], Body::from(PAYLOAD)).await;
    let wrong = bench.send(ID, &[("X-Hub-Signature-256", "sha256=0")], Body::from(PAYLOAD)).await;
    assert_eq!(unknown, wrong);
    insta::assert_snapshot!(
        format!("{} {}", wrong.0, wrong.1),
        @r#"401 {"code":"http_401","detail":"no such webhook, or the call is not signed with its secret"}"#
    );
    let rig = Rig::new();
    let none = Bench { app: router(rig.idle()), _rig: rig, ..bench };
    assert_eq!(none.send(ID, &[("X-Hub-Signature-256", &good)], Body::from(PAYLOAD)).await, wrong);
}

#[tokio::test]
async fn a_delivery_that_comes_again_is_ignored() {
    let bench = Bench::new(WebhookKind::Github);
    let good = signed();
    let delivery = |name| [("X-Hub-Signature-256", good.as_str()), ("X-GitHub-Delivery", name)];
    let forged = [("X-Hub-Signature-256", "sha256=00"), ("X-GitHub-Delivery", "1")];
    assert_eq!(bench.status(&forged).await, 401);
    assert_eq!(bench.status(&delivery("1")).await, 202, "the forged one is not remembered");
    let (status, body) = bench.send(ID, &delivery("1"), Body::from(PAYLOAD)).await;
    assert_eq!((status, body["status"].as_str()), (200, Some("duplicate")));
    assert_eq!(bench.status(&delivery("2")).await, 202);
}

#[tokio::test]
async fn two_secrets_are_good_while_one_takes_the_place_of_the_other() {
    let bench = Bench::new(WebhookKind::Gitlab);
    let status = async |secret| bench.status(&[("X-Gitlab-Token", secret)]).await;
    assert_eq!((status(SECRET).await, status(OTHER_SECRET).await), (202, 202));
    // Both files are read anew: nothing is restarted.
    std::fs::write(&bench.secret_file, OTHER_SECRET).unwrap();
    std::fs::write(&bench.other_secret_file, OTHER_SECRET).unwrap();
    assert_eq!((status(SECRET).await, status(OTHER_SECRET).await), (401, 202));
    std::fs::remove_file(&bench.secret_file).unwrap();
    assert_eq!(status(OTHER_SECRET).await, 401, "without a secret nobody is let in");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_or_too_slow_is_not_read_to_its_end() {
    let bench = Bench::new(WebhookKind::Github);
    let large = Body::from(vec![b'x'; MAX_BODY_BYTES + 1]);
    assert_eq!(bench.send(ID, &[], large).await.0, 413);
    let just = Body::from(vec![b'x'; MAX_BODY_BYTES]);
    assert_eq!(bench.send(ID, &[], just).await.0, 401);
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 65_536]));
    assert_eq!(bench.send(ID, &[], Body::from_stream(endless)).await.0, 413);
    let silent = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    assert_eq!(bench.send(ID, &[], Body::from_stream(silent)).await.0, 408);
    let broken = futures_util::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("gone"))]);
    assert_eq!(bench.send(ID, &[], Body::from_stream(broken)).await.0, 400);
    let long = "x".repeat(MAX_HEADER_BYTES);
    assert_eq!(bench.status(&[("X-Other", &long)]).await, 431);
}

#[tokio::test]
async fn thirty_calls_a_minute_are_taken_and_strangers_use_up_their_own() {
    let bench = Bench::new(WebhookKind::Gitlab);
    let good = [("X-Gitlab-Token", SECRET)];
    for _ in 0..30 {
        assert_eq!(bench.send(UNKNOWN, &good, Body::empty()).await.0, 401);
    }
    assert_eq!(bench.send(UNKNOWN, &good, Body::empty()).await.0, 429);
    assert_eq!(bench.send("another-stranger", &good, Body::empty()).await.0, 429);
    for _ in 0..30 {
        assert_eq!(bench.send(ID, &good, Body::empty()).await.0, 202);
    }
    assert_eq!(bench.send(ID, &good, Body::empty()).await.0, 429);
}
