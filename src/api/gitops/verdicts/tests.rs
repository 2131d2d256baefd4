//! Findings of any revision and events of verdicts, through the router.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::api::{router, serve};
use crate::daemon::testing::Rig;

const QUIZ: &str = "name: Ports\ndescription: Which port?\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - id: port\n    prompt: Which port?\n    answer: \"22\"\n";
const FINE: &str = "MISC/QUIZ-001/metadata.yaml";
const BROKEN: &str = "MISC/QUIZ-002/metadata.yaml";

fn admin_token(rig: &Rig) -> String {
    let file = rig.config.data_dir.join("admin.token");
    std::fs::read_to_string(file).unwrap().trim().to_owned()
}

fn request(rig: &Rig, path: &str) -> axum::http::request::Builder {
    let bearer = format!("Bearer {}", admin_token(rig));
    Request::get(format!("/api/v1/gitops{path}")).header(header::AUTHORIZATION, bearer)
}

async fn findings_of(rig: &Rig, app: &Router, sha: &str) -> (StatusCode, Value) {
    let request = request(rig, &format!("/revisions/{sha}/findings")).body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// A stream of events that is being read.
struct Reader {
    body: Body,
    text: String,
}

impl Reader {
    async fn open(rig: &Rig, app: &Router, last: Option<&str>) -> Self {
        let mut request = request(rig, "/events");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        let mut reader = Self { body: response.into_body(), text: String::new() };
        assert_eq!(reader.next().await.as_deref(), Some(": connected"));
        reader
    }

    /// The next event or comment; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let patience = Duration::from_secs(10);
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                return Some(event);
            }
            let frame = tokio::time::timeout(patience, self.body.frame());
            let frame = frame.await.expect("an event comes in time")?;
            self.text += &String::from_utf8_lossy(&frame.unwrap().into_data().unwrap());
        }
    }

    /// The id and the data of the next event.
    async fn verdict(&mut self) -> (String, Value) {
        let event = self.next().await.expect("the stream goes on");
        let field = |name: &str| {
            let mut lines = event.lines();
            lines.find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
        };
        assert_eq!(field("event:"), "verdict", "{event}");
        (field("id:"), serde_json::from_str(&field("data:")).unwrap())
    }
}

#[tokio::test]
async fn a_push_is_an_event_and_its_findings_can_be_read_for_ever() {
    let rig = Rig::new();
    rig.push(&[(FINE, QUIZ)]);
    let daemon = rig.start().await;
    let platform = daemon.platform();
    let app = router(platform.clone());
    let first = platform.reconcile_now().await.unwrap().revision.unwrap().to_string();
    let mut reader = Reader::open(&rig, &app, None).await;

    let broken = format!("{QUIZ}colour: red\n");
    rig.push(&[(FINE, QUIZ), (BROKEN, &broken)]);
    let second = platform.reconcile_now().await.unwrap().revision.unwrap().to_string();
    let (id, verdict) = reader.verdict().await;
    assert_eq!(verdict["revision"], second.as_str());
    assert_eq!(verdict["changed"], serde_json::json!(["QUIZ-002"]));
    let numbers = |key: &str| verdict[key].as_u64().unwrap();
    assert_eq!((numbers("challenges"), numbers("n_errors"), numbers("n_changed")), (2, 1, 1));

    // The newest from memory, the one before from the mirror, also by its first digits.
    let (status, of_second) = findings_of(&rig, &app, &second).await;
    assert_eq!((status, &of_second["challenges"]), (StatusCode::OK, &2.into()));
    let issue = &of_second["issues"][0];
    assert_eq!((&issue["rule"], &issue["path"]), (&"META005".into(), &BROKEN.into()));
    assert_eq!((&issue["line"], &issue["snippet"]), (&10.into(), &"colour: red".into()));
    let row = &of_second["by_challenge"][1];
    assert_eq!((&row["challenge_id"], &row["errors"]), (&"QUIZ-002".into(), &1.into()));
    assert_eq!(row["blocks"], issue["blocks"]);
    for sha in [first.as_str(), &first[..10], &first.to_uppercase()] {
        let (status, of_first) = findings_of(&rig, &app, sha).await;
        assert_eq!((status, &of_first["revision"]), (StatusCode::OK, &first.as_str().into()));
        assert_eq!((&of_first["challenges"], &of_first["valid"]), (&1.into(), &1.into()));
        assert_eq!(of_first["issues"], serde_json::json!([]));
    }

    // Who comes back gets what came meanwhile, and only that.
    rig.push(&[(FINE, QUIZ)]);
    platform.reconcile_now().await.unwrap();
    let (third, gone) = Reader::open(&rig, &app, Some(&id)).await.verdict().await;
    assert_eq!(
        (&gone["changed"], &gone["n_errors"]),
        (&serde_json::json!(["QUIZ-002"]), &0.into())
    );
    let mut stranger = Reader::open(&rig, &app, Some("1-1")).await;
    let mut all = Vec::new();
    while all.last() != Some(&third) {
        all.push(stranger.verdict().await.0);
    }
    assert!(all.contains(&id), "{all:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_revision_that_is_not_there_is_a_404_with_a_hint() {
    let rig = Rig::new();
    let app = router(rig.idle());
    for sha in ["0123456789", &"0".repeat(40), "main", "abc", "HEAD~1", &"f".repeat(4000)] {
        let (status, body) = findings_of(&rig, &app, sha).await;
        let seen = (status, body["code"].as_str());
        assert_eq!(seen, (StatusCode::NOT_FOUND, Some("revision_not_found")), "{sha}");
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.contains("flagops reconcile") && detail.len() < 400, "{detail}");
    }
}

#[tokio::test]
async fn a_stream_of_events_does_not_hold_the_stop_up() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let rig = Rig::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let token = admin_token(&rig);
    let client = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /api/v1/gitops/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(11).any(|it| it == b": connected") {
            assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "the stream ended early");
        }
        stop.cancel();
        stream.read_to_end(&mut seen).await.unwrap();
        assert!(seen.ends_with(b"0\r\n\r\n"), "ended in order, not cut off");
    };
    let both = async { tokio::join!(serve(rig.idle(), listener, stop.clone()), client) };
    let (served, ()) = tokio::time::timeout(Duration::from_secs(5), both).await.unwrap();
    served.unwrap();
}

#[test]
fn an_event_of_an_earlier_life_means_all_that_is_remembered() {
    let life = Timestamp::from_millis(1_700_000_000_000);
    for (id, nth) in
        [("1700000000000-7", 7), ("1600000000000-7", 0), ("1700000000000-x", 0), ("7", 0), ("", 0)]
    {
        assert_eq!(nth_of(id, life), nth, "{id}");
    }
}
