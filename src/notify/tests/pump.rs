//! Notices against a receiver over HTTP that is slow, wrong, down, or busy.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::config::{NoticeFormat, NotifyConfig};
use crate::model::Clock as _;
use crate::store::{NewCondition, Store};

/// A store, a receiver, and a pump between them that moves only when it is told to.
struct Bench {
    folder: TempDir,
    server: MockServer,
    clock: Still,
    store: Store,
    pump: Pump,
    throttle: Throttle,
}

impl Bench {
    async fn new(format: NoticeFormat) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = MockServer::start().await;
        let address = format!("{}/hook/SECRETSECRET\n", server.uri());
        std::fs::write(folder.path().join("url"), address).unwrap();
        let clock = Still::default();
        let store = Store::open(&folder.path().join("flagops.db")).unwrap();
        let pump = pump(&folder, &store, &clock, format);
        Self { folder, server, clock, store, pump, throttle: Throttle::default() }
    }

    /// As after a kill: everything is opened anew.
    fn restart(self) -> Self {
        let Self { folder, server, clock, store, pump, .. } = self;
        drop((pump, store));
        let store = Store::open(&folder.path().join("flagops.db")).unwrap();
        let pump = pump_of(&folder, &store, &clock);
        Self { folder, server, clock, store, pump, throttle: Throttle::default() }
    }

    /// The receiver answers so from now on.
    async fn answer(&self, answer: ResponseTemplate) {
        self.server.reset().await;
        let hook = Mock::given(method("POST")).and(path("/hook/SECRETSECRET"));
        hook.respond_with(answer).mount(&self.server).await;
    }

    async fn state(&self, condition: Condition) {
        let Condition { scope, kind, status, reason, message, revision, .. } = condition;
        let new = NewCondition { scope, kind, status, reason, message, revision };
        self.store.set_condition(new, self.clock.now()).await.unwrap();
    }

    /// Looks and delivers; what the receiver was asked since the last answer was set, as JSON.
    async fn turn(&mut self) -> Vec<serde_json::Value> {
        self.pump.look(&mut self.throttle).await.unwrap();
        self.pump.deliver_due().await.unwrap();
        let requests = self.server.received_requests().await.unwrap();
        requests.iter().map(|request| request.body_json().unwrap()).collect()
    }

    async fn counts(&self) -> (u32, u32, String) {
        let counts = self.store.outbox_counts().await.unwrap();
        (counts.n_waiting, counts.n_dead, counts.last_error.unwrap_or_default())
    }
}

fn pump_of(folder: &TempDir, store: &Store, clock: &Still) -> Pump {
    pump(folder, store, clock, NoticeFormat::Json)
}

fn pump(folder: &TempDir, store: &Store, clock: &Still, format: NoticeFormat) -> Pump {
    let config = NotifyConfig { url_file: Some(folder.path().join("url")), format };
    let receiver = Arc::new(Receiver::new(&config).unwrap());
    let clock = Arc::new(clock.clone());
    Pump::new(store.clone(), clock, receiver, CancellationToken::new(), Duration::from_millis)
}

fn ok() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_string("ok")
}

#[tokio::test]
async fn a_failure_and_its_end_are_posted_as_documented() {
    let mut bench = Bench::new(NoticeFormat::Json).await;
    bench.answer(ok()).await;
    bench.state(engine("Unreachable")).await;
    let sent = bench.turn().await;
    insta::assert_json_snapshot!(sent, @r#"
    [
      {
        "count": 1,
        "id": 1,
        "kind": "failure",
        "message": "because of Unreachable",
        "next_command": "flagops doctor",
        "reason": "Unreachable",
        "revision": null,
        "scope": "node/local",
        "scopes": [
          "node/local"
        ],
        "since": "1970-01-01T00:00:00Z",
        "status": "False",
        "text": "node/local: DockerAvailable=False (Unreachable)\nwhere: node/local\nwhy: because of Unreachable\nwhen: since 1970-01-01T00:00:00Z\nnext: `flagops doctor`",
        "title": "node/local: DockerAvailable=False (Unreachable)",
        "type": "DockerAvailable"
      }
    ]
    "#);
    assert_eq!(bench.turn().await.len(), 1, "once");
    bench.state(engine("Ok")).await;
    let sent = bench.turn().await;
    assert_eq!((sent.len(), &sent[1]["kind"]), (2, &"recovery".into()));
    assert_eq!(bench.turn().await.len(), 2, "once");
    assert_eq!(bench.counts().await, (0, 0, String::new()));
}

#[tokio::test]
async fn a_chat_gets_a_text_that_shouts_at_nobody() {
    let mut bench = Bench::new(NoticeFormat::Slack).await;
    bench.answer(ok()).await;
    let message = "<!channel> & @all".to_owned();
    bench.state(Condition { message, ..engine("Unreachable") }).await;
    let sent = bench.turn().await;
    let text = sent[0]["text"].as_str().unwrap();
    assert!(text.contains("why: &lt;!channel&gt; &amp; @\u{200b}all\n"), "{text}");
    assert_eq!(sent[0].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_is_down_gets_everything_later_and_in_order() {
    let mut bench = Bench::new(NoticeFormat::Json).await;
    bench.answer(ResponseTemplate::new(503).set_body_string("later")).await;
    bench.state(engine("Unreachable")).await;
    assert_eq!(bench.turn().await.len(), 1);
    bench.state(engine("Ok")).await;
    assert_eq!(bench.turn().await.len(), 1, "the end waits for the failure");
    let error = "the receiver answered HTTP 503: later".to_owned();
    assert_eq!(bench.counts().await, (2, 0, error));
    for (secs, n_sent) in [(4, 1), (1, 2), (9, 2), (1, 3), (20, 4), (40, 5), (80, 6)] {
        bench.clock.advance(secs);
        assert_eq!(bench.turn().await.len(), n_sent, "after {secs} s more");
    }
    let mut bench = bench.restart();
    bench.answer(ok()).await;
    bench.clock.advance(160);
    let sent = bench.turn().await;
    let kinds: Vec<_> = sent.iter().map(|notice| notice["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["failure", "recovery"]);
    assert_eq!(sent[0]["id"], 1);
    assert_eq!(bench.counts().await, (0, 0, String::new()));
}

#[tokio::test]
async fn a_restart_tells_nothing_again_and_still_tells_the_end() {
    let mut bench = Bench::new(NoticeFormat::Json).await;
    bench.answer(ok()).await;
    bench.state(engine("Unreachable")).await;
    assert_eq!(bench.turn().await.len(), 1);
    let mut bench = bench.restart();
    assert_eq!(bench.turn().await.len(), 1);
    let bench = {
        bench.state(engine("Ok")).await;
        bench.restart()
    };
    let mut bench = bench;
    assert_eq!(bench.turn().await.len(), 2);
}

#[tokio::test]
async fn a_receiver_that_asks_for_silence_gets_it() {
    let mut bench = Bench::new(NoticeFormat::Json).await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "120");
    bench.answer(busy).await;
    bench.state(engine("Unreachable")).await;
    bench.state(condition(Scope::Repo, ConditionType::Held, ConditionStatus::True, "X")).await;
    assert_eq!(bench.turn().await.len(), 1, "the other one is not even tried");
    bench.answer(ok()).await;
    bench.clock.advance(119);
    assert_eq!(bench.turn().await.len(), 0);
    bench.clock.advance(1);
    assert_eq!(bench.turn().await.len(), 2);
}

#[tokio::test]
async fn a_date_to_come_back_is_understood() {
    let mut bench = Bench::new(NoticeFormat::Json).await;
    let date = "Thu, 01 Jan 1970 00:05:00 GMT";
    bench.answer(ResponseTemplate::new(503).insert_header("retry-after", date)).await;
    bench.state(engine("Unreachable")).await;
    bench.turn().await;
    bench.clock.advance(299);
    assert_eq!(bench.turn().await.len(), 1);
    bench.clock.advance(1);
    assert_eq!(bench.turn().await.len(), 2);
}

#[tokio::test]
async fn what_the_receiver_calls_wrong_is_given_up_and_shown_without_the_address() {
    let mut bench = Bench::new(NoticeFormat::Json).await;
    let echo = ResponseTemplate::new(404).set_body_string("no /hook/SECRETSECRET here");
    bench.answer(echo).await;
    bench.state(engine("Unreachable")).await;
    bench.turn().await;
    let error = "the receiver answered HTTP 404: no … here".to_owned();
    assert_eq!(bench.counts().await, (0, 1, error));
    bench.clock.advance(900);
    assert_eq!(bench.turn().await.len(), 1, "and not tried again");
}

#[tokio::test]
async fn what_does_not_arrive_in_a_day_is_given_up() {
    let mut bench = Bench::new(NoticeFormat::Json).await;
    bench.answer(ResponseTemplate::new(500)).await;
    bench
        .state(condition(
            Scope::Repo,
            ConditionType::Held,
            ConditionStatus::True,
            "HistoryRewritten",
        ))
        .await;
    bench.turn().await;
    bench.clock.advance(86_399);
    bench.turn().await;
    assert_eq!(bench.counts().await.0, 1);
    bench.clock.advance(901);
    bench.turn().await;
    let (n_waiting, n_dead, error) = bench.counts().await;
    assert_eq!((n_waiting, n_dead), (0, 1));
    assert_eq!(error, "the receiver answered HTTP 500: Internal Server Error");
}

#[tokio::test]
async fn no_error_shows_the_address() {
    let bench = Bench::new(NoticeFormat::Json).await;
    let url = bench.folder.path().join("url");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed =
        format!("http://user:SECRETSECRET@{}/SECRETSECRET", listener.local_addr().unwrap());
    drop(listener);
    let config = NotifyConfig { url_file: Some(url.clone()), format: NoticeFormat::Json };
    let receiver = Receiver::new(&config).unwrap();
    for (content, wanted) in [
        (closed.as_str(), "the receiver did not answer"),
        ("SECRETSECRET", "holds no URL"),
        ("ftp://host/SECRETSECRET", "holds no URL"),
        ("", "it is empty"),
    ] {
        std::fs::write(&url, content).unwrap();
        let error = receiver.send(None, &test_notice(at(0)), at(0)).await.unwrap_err();
        let shown = crate::telemetry::Chain(&error).to_string();
        assert!(shown.contains(wanted) && !shown.contains("SECRET"), "{shown}");
        assert!(!format!("{error:?} {receiver:?}").contains("SECRET"), "{error:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut bench = Bench::new(NoticeFormat::Json).await;
    let elsewhere = format!("{}/elsewhere", bench.server.uri());
    bench.answer(ResponseTemplate::new(302).insert_header("location", elsewhere.as_str())).await;
    bench.state(engine("Unreachable")).await;
    assert_eq!(bench.turn().await.len(), 1);
    assert!(bench.counts().await.2.contains("put the final address into the file"));
}

#[tokio::test]
async fn the_loops_tell_by_themselves_and_end_at_the_stop() {
    let bench = Bench::new(NoticeFormat::Json).await;
    bench.answer(ok()).await;
    let config = NotifyConfig {
        url_file: Some(bench.folder.path().join("url")),
        format: NoticeFormat::Json,
    };
    let stop = CancellationToken::new();
    let pump = Arc::new(Pump::new(
        bench.store.clone(),
        Arc::new(bench.clock.clone()),
        Arc::new(Receiver::new(&config).unwrap()),
        stop.clone(),
        Duration::from_millis,
    ));
    let loops = async { tokio::join!(Arc::clone(&pump).watch(), pump.deliver()) };
    let story = async {
        for (reason, n_sent) in [("Unreachable", 1), ("Ok", 2)] {
            bench.state(engine(reason)).await;
            while bench.server.received_requests().await.unwrap().len() < n_sent {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        stop.cancel();
    };
    let all = async { tokio::join!(loops, story) };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("both ends come in time");
}
