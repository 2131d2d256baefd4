//! Findings of any revision, events of verdicts and of conditions, through the router.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::api::{router, serve};
use crate::daemon::testing::Rig;
use crate::model::ConditionStatus;
use crate::store::NewCondition;

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
        Self::open_at(rig, app, "/events", last).await
    }

    async fn open_at(rig: &Rig, app: &Router, path: &str, last: Option<&str>) -> Self {
        let mut request = request(rig, path);
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

    /// The id and the data of the next event of this name; others are left out.
    async fn event(&mut self, name: &str) -> (String, Value) {
        loop {
            let event = self.next().await.expect("the stream goes on");
            let field = |name: &str| {
                let mut lines = event.lines();
                lines.find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
            };
            if field("event:") == name {
                return (field("id:"), serde_json::from_str(&field("data:")).unwrap());
            }
        }
    }

    async fn verdict(&mut self) -> (String, Value) {
        self.event("verdict").await
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
    // The end of an id is where the stream is with conditions, which differs.
    let verdict_of = |id: &str| id.rsplit_once('-').unwrap().0.to_owned();
    let mut all = Vec::new();
    while all.last() != Some(&verdict_of(&third)) {
        all.push(verdict_of(&stranger.verdict().await.0));
    }
    assert!(all.contains(&verdict_of(&id)), "{all:?}");
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
fn an_id_says_where_to_go_on_and_one_of_an_earlier_life_means_all_that_is_remembered() {
    let life = Timestamp::from_millis(1_700_000_000_000);
    let nth = |nth, seq| Place { verdicts: Verdicts::Since(Since::Nth(nth)), seq };
    let of_condition = |seq| Place { verdicts: Verdicts::SinceThatCondition, seq: Some(seq) };
    for (id, wanted) in [
        ("1700000000000-7-3", nth(7, Some(3))),
        ("1700000000000-7", nth(7, None)),
        ("1600000000000-7-3", nth(0, Some(3))),
        ("1700000000000-x", nth(0, None)),
        ("7", of_condition(7)),
        ("", nth(0, None)),
    ] {
        assert_eq!(place(Some(id), None, life), wanted, "{id}");
    }
    let now = |seq| Place { verdicts: Verdicts::Since(Since::Now), seq };
    assert_eq!(place(None, None, life), now(None));
    assert_eq!(place(None, Some(5), life), now(Some(5)));
}

fn stated(status: ConditionStatus, reason: &str) -> NewCondition {
    NewCondition {
        scope: Scope::Challenge("WEB-001".parse().unwrap()),
        kind: ConditionType::Built,
        status,
        reason: reason.to_owned(),
        message: format!("about {reason}"),
        revision: None,
    }
}

#[tokio::test]
async fn conditions_are_told_as_they_are_recorded_and_none_is_lost_in_between() {
    let rig = Rig::new();
    let platform = rig.idle();
    let say = async |status, reason: &str| {
        let now = Timestamp::from_millis(5000);
        assert!(platform.state_for_test(stated(status, reason), now).await);
    };
    say(ConditionStatus::False, "Old").await;
    let app = router(platform.clone());
    let mut reader = Reader::open(&rig, &app, None).await;
    say(ConditionStatus::False, "Building").await;
    let (id, event) = reader.event("condition").await;
    assert_eq!((id.as_str(), &event["reason"]), ("2", &"Building".into()), "not the old one");
    assert_eq!(event["scope"], "challenge/WEB-001");
    assert_eq!((&event["type"], &event["status"]), (&"Built".into(), &"False".into()));
    drop(reader);
    for n in 0..250 {
        say(ConditionStatus::True, &format!("R{n}")).await;
    }
    let mut reader = Reader::open(&rig, &app, Some(&id)).await;
    for n in 0..250 {
        let (id, event) = reader.event("condition").await;
        assert_eq!((id, &event["reason"]), ((n + 3).to_string(), &format!("R{n}").into()));
    }
    say(ConditionStatus::True, "Ok").await;
    assert_eq!(reader.event("condition").await.0, "253");
    let mut all = Reader::open_at(&rig, &app, "/events?after=0", None).await;
    assert_eq!(all.event("condition").await.1["reason"], "Old");
}

#[tokio::test]
async fn the_log_has_pages_that_can_be_narrowed() {
    let rig = Rig::new();
    let platform = rig.idle();
    let at = Timestamp::from_millis(5000);
    platform.state_for_test(stated(ConditionStatus::False, "Building"), at).await;
    let repo = NewCondition { scope: Scope::Repo, ..stated(ConditionStatus::False, "Other") };
    platform.state_for_test(repo, at).await;
    let app = router(platform);
    let get = async |path: &str| {
        let request = request(&rig, path).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (_, page) = get("/events/log?scope=challenge/WEB-001&kind=Built").await;
    insta::assert_json_snapshot!(page, @r#"
    {
      "items": [
        {
          "at": "1970-01-01T00:00:05Z",
          "message": "about Building",
          "reason": "Building",
          "revision": null,
          "scope": "challenge/WEB-001",
          "seq": 1,
          "status": "False",
          "type": "Built"
        }
      ],
      "next": 2
    }
    "#);
    let (_, page) = get("/events/log?after=0&limit=1").await;
    assert_eq!((&page["items"][0]["seq"], &page["next"]), (&1.into(), &1.into()));
    let (status, body) = get("/events/log?scope=nowhere&kind=Nice&limit=9999").await;
    assert_eq!(status, 422);
    assert_eq!(body["detail"]["issues"].as_array().unwrap().len(), 3, "{body}");
}

#[tokio::test]
async fn a_test_notice_without_a_receiver_says_how_to_name_one() {
    let rig = Rig::new();
    let bearer = format!("Bearer {}", admin_token(&rig));
    let request = Request::post("/api/v1/gitops/notices/test")
        .header(header::AUTHORIZATION, bearer)
        .body(Body::empty())
        .unwrap();
    let response = router(rig.idle()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("notify.url_file"));
}
