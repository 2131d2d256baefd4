//! Statuses against a forge over HTTP that is slow, busy, down, or does not like us.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::*;
use crate::config::{ForgeKind, StatusesConfig};
use crate::model::ConditionType;
use crate::notify::courier::Turn;
use crate::notify::tests::Still;
use crate::store::Store;

/// A store, a forge, and a pump between them that moves only when it is told to.
struct Bench {
    folder: TempDir,
    server: MockServer,
    clock: Still,
    store: Store,
    pump: Pump,
}

impl Bench {
    async fn new(kind: ForgeKind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "SECRETSECRET\n").unwrap();
        let server = MockServer::start().await;
        let clock = Still::default();
        let store = Store::open(&folder.path().join("flagops.db")).unwrap();
        let pump = pump(&folder, &server, &store, &clock, kind);
        Self { folder, server, clock, store, pump }
    }

    async fn answer(&self, answer: ResponseTemplate) {
        self.server.reset().await;
        Mock::given(method("POST")).respond_with(answer).mount(&self.server).await;
    }

    /// Looks at `facts` and delivers.
    async fn turn(&self, facts: &Facts) -> Turn {
        self.pump.look(facts).await.unwrap();
        self.pump.deliver_due().await.unwrap()
    }

    /// What the forge was asked since its answer was set.
    async fn asked(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap()
    }

    async fn counts(&self) -> (u32, u32, String) {
        let counts = self.store.status_counts().await.unwrap();
        (counts.n_waiting, counts.n_dead, counts.last_error.unwrap_or_default())
    }
}

fn pump(
    folder: &TempDir,
    server: &MockServer,
    store: &Store,
    clock: &Still,
    kind: ForgeKind,
) -> Pump {
    let config = StatusesConfig {
        kind: Some(kind),
        api_url: Some(format!("{}/api/", server.uri())),
        repository: Some("ctf/event.2026".to_owned()),
        token_file: Some(folder.path().join("token")),
        target_url: Some("https://ctf.example.org/".to_owned()),
        names: false,
    };
    let forge = Forge::new(&config).unwrap();
    let (clock, stop) = (Arc::new(clock.clone()), CancellationToken::new());
    Pump::new(store.clone(), clock, forge, Names::Hidden, stop, Duration::from_millis)
}

fn ok() -> ResponseTemplate {
    ResponseTemplate::new(201)
}

/// A revision whose images could not be built.
fn failed(n: u8) -> Facts {
    let images = ImageFacts { n_images: 1, n_failed: 1, ..ImageFacts::default() };
    facts(HeadFacts { images, ..head(n) })
}

#[tokio::test]
async fn each_kind_of_forge_is_told_in_its_own_shape() {
    let mut shapes = Vec::new();
    for kind in [ForgeKind::Github, ForgeKind::Gitea, ForgeKind::Forgejo, ForgeKind::Gitlab] {
        let bench = Bench::new(kind).await;
        bench.answer(ok()).await;
        assert_eq!(bench.turn(&failed(1)).await, Turn::On);
        let asked = bench.asked().await;
        assert_eq!(asked.len(), 3);
        let request = &asked[1];
        let token =
            ["authorization", "private-token"].iter().find_map(|it| request.headers.get(*it));
        shapes.push(format!(
            "{} {} [{}] {}",
            kind.as_str(),
            request.url.path(),
            token.unwrap().to_str().unwrap(),
            request.body_json::<serde_json::Value>().unwrap(),
        ));
        assert_eq!(bench.counts().await, (0, 0, String::new()));
    }
    insta::assert_snapshot!(shapes.join("\n"), @r#"
    github /api/repos/ctf/event.2026/statuses/0101010101010101010101010101010101010101 [Bearer SECRETSECRET] {"context":"flagops/build","description":"1 of 1 images could not be built","state":"failure","target_url":"https://ctf.example.org/"}
    gitea /api/repos/ctf/event.2026/statuses/0101010101010101010101010101010101010101 [token SECRETSECRET] {"context":"flagops/build","description":"1 of 1 images could not be built","state":"failure","target_url":"https://ctf.example.org/"}
    forgejo /api/repos/ctf/event.2026/statuses/0101010101010101010101010101010101010101 [token SECRETSECRET] {"context":"flagops/build","description":"1 of 1 images could not be built","state":"failure","target_url":"https://ctf.example.org/"}
    gitlab /api/projects/ctf%2Fevent.2026/statuses/0101010101010101010101010101010101010101 [SECRETSECRET] {"description":"1 of 1 images could not be built","name":"flagops/build","state":"failed","target_url":"https://ctf.example.org/"}
    "#);
}

#[tokio::test]
async fn the_same_is_told_once_and_the_newest_takes_the_place_of_what_waits() {
    let bench = Bench::new(ForgeKind::Github).await;
    bench.answer(ResponseTemplate::new(503)).await;
    bench.turn(&failed(1)).await;
    bench.turn(&facts(head(1))).await;
    bench.answer(ok()).await;
    bench.clock.advance(5);
    bench.turn(&facts(head(1))).await;
    let said: Vec<String> = bench
        .asked()
        .await
        .iter()
        .map(|it| it.body_json::<serde_json::Value>().unwrap()["description"].to_string())
        .collect();
    let wanted = ["41 challenges are valid", "live", "57 images are built"];
    assert_eq!(said, wanted.map(|it| format!("{it:?}")), "the failure was never told");
    bench.turn(&facts(head(1))).await;
    assert_eq!(bench.asked().await.len(), 3);
}

#[tokio::test]
async fn a_forge_that_is_down_is_asked_ever_later_and_given_up_after_a_day() {
    let bench = Bench::new(ForgeKind::Gitea).await;
    bench.answer(ResponseTemplate::new(502)).await;
    let facts = facts(head(1));
    for (secs, n_asked) in [(0, 3), (4, 3), (1, 6), (9, 6), (1, 9), (20, 12)] {
        bench.clock.advance(secs);
        bench.turn(&facts).await;
        assert_eq!(bench.asked().await.len(), n_asked, "after {secs} s more");
    }
    bench.clock.advance(86_400);
    bench.turn(&facts).await;
    let error = "the forge answered HTTP 502: Bad Gateway".to_owned();
    assert_eq!(bench.counts().await, (0, 3, error));
    bench.clock.advance(900);
    bench.turn(&facts).await;
    assert_eq!(bench.asked().await.len(), 15, "and not tried again");
}

#[tokio::test]
async fn a_forge_that_refuses_the_token_is_asked_no_more_and_people_are_told() {
    for status in [401, 403] {
        let bench = Bench::new(ForgeKind::Github).await;
        let echo = ResponseTemplate::new(status).set_body_string("Bad credentials: SECRETSECRET");
        bench.answer(echo).await;
        assert_eq!(bench.turn(&facts(head(1))).await, Turn::Halt);
        assert_eq!(bench.asked().await.len(), 1);
        let conditions = bench.store.conditions().await.unwrap();
        let stated = conditions.iter().find(|it| it.kind == ConditionType::StatusesPosted).unwrap();
        assert_eq!((stated.status.as_str(), stated.reason.as_str()), ("False", "AuthFailed"));
        let wanted =
            format!("the forge refused the token (HTTP {status}: Bad credentials: …); put");
        assert!(stated.message.starts_with(&wanted), "{}", stated.message);
        assert_eq!(bench.counts().await.0, 3, "nothing is lost");
        // The next life has a better token.
        let Bench { folder, server, clock, store, .. } = bench;
        let pump = pump(&folder, &server, &store, &clock, ForgeKind::Github);
        let bench = Bench { folder, server, clock, store, pump };
        bench.answer(ok()).await;
        assert_eq!(bench.turn(&facts(head(1))).await, Turn::On);
        assert_eq!(bench.counts().await.0, 0);
        let conditions = bench.store.conditions().await.unwrap();
        let stated = conditions.iter().find(|it| it.kind == ConditionType::StatusesPosted).unwrap();
        assert_eq!(stated.status.as_str(), "True");
    }
}

#[tokio::test]
async fn a_forge_that_asks_for_silence_gets_it_and_is_not_taken_for_a_refusal() {
    for (answer, secs) in [
        (ResponseTemplate::new(429).insert_header("retry-after", "120"), 120),
        (ResponseTemplate::new(503).insert_header("retry-after", "120"), 120),
        (ResponseTemplate::new(429), 60),
        (
            ResponseTemplate::new(403)
                .insert_header("x-ratelimit-remaining", "0")
                .insert_header("x-ratelimit-reset", "300"),
            300,
        ),
        (
            ResponseTemplate::new(403).set_body_string("You have exceeded a secondary rate limit."),
            60,
        ),
    ] {
        let bench = Bench::new(ForgeKind::Github).await;
        let is_bare_429 = format!("{answer:?}").contains("429") && secs == 60;
        bench.answer(answer).await;
        let turn = bench.turn(&facts(head(1))).await;
        if is_bare_429 {
            // Nothing says how long: the ordinary backoff.
            assert_eq!((turn, bench.asked().await.len()), (Turn::On, 3));
            continue;
        }
        assert_eq!((turn, bench.asked().await.len()), (Turn::Pause, 1), "the others wait too");
        bench.answer(ok()).await;
        bench.clock.advance(secs - 1);
        bench.turn(&facts(head(1))).await;
        assert_eq!(bench.asked().await.len(), 0);
        bench.clock.advance(1);
        bench.turn(&facts(head(1))).await;
        assert_eq!(bench.asked().await.len(), 3);
    }
}

#[tokio::test]
async fn a_used_up_limit_is_honoured_before_it_is_exceeded() {
    let bench = Bench::new(ForgeKind::Gitlab).await;
    let last =
        ok().insert_header("ratelimit-remaining", "0").insert_header("ratelimit-reset", "30");
    bench.answer(last).await;
    assert_eq!(bench.turn(&facts(head(1))).await, Turn::Pause);
    assert_eq!(bench.asked().await.len(), 1);
    assert_eq!(bench.counts().await, (2, 0, String::new()), "that one was taken");
    bench.answer(ok()).await;
    bench.clock.advance(30);
    bench.turn(&facts(head(1))).await;
    assert_eq!(bench.asked().await.len(), 2);
}

#[tokio::test]
async fn what_the_forge_calls_wrong_is_given_up_and_a_redirect_is_not_followed() {
    let bench = Bench::new(ForgeKind::Github).await;
    bench.answer(ResponseTemplate::new(422).set_body_string("No commit found for SHA")).await;
    bench.turn(&facts(head(1))).await;
    let error = "the forge answered HTTP 422: No commit found for SHA".to_owned();
    assert_eq!(bench.counts().await, (0, 3, error));
    let elsewhere = format!("{}/elsewhere", bench.server.uri());
    bench.answer(ResponseTemplate::new(307).insert_header("location", elsewhere.as_str())).await;
    bench.turn(&facts(head(2))).await;
    // Three of the second revision, and the last word on the first one's release.
    assert_eq!(bench.asked().await.len(), 4);
    assert!(bench.counts().await.2.contains("correct `statuses.api_url`"));
}

#[tokio::test]
async fn gitlab_has_a_status_that_it_does_not_want_twice() {
    let bench = Bench::new(ForgeKind::Gitlab).await;
    let same = "{\"message\":\"Cannot transition status via :enqueue from :pending\"}";
    bench.answer(ResponseTemplate::new(400).set_body_string(same)).await;
    assert_eq!(bench.turn(&facts(head(1))).await, Turn::On);
    assert_eq!(bench.counts().await, (0, 0, String::new()));
}

#[tokio::test]
async fn a_token_that_is_not_there_is_waited_for() {
    let bench = Bench::new(ForgeKind::Github).await;
    bench.answer(ok()).await;
    std::fs::remove_file(bench.folder.path().join("token")).unwrap();
    bench.turn(&facts(head(1))).await;
    let (n_waiting, _, error) = bench.counts().await;
    assert!(n_waiting == 3 && error.starts_with("the token for commit statuses"), "{error}");
    std::fs::write(bench.folder.path().join("token"), "SECRETSECRET").unwrap();
    bench.clock.advance(5);
    bench.turn(&facts(head(1))).await;
    assert_eq!(bench.counts().await.0, 0);
}
