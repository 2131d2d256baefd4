//! Samples for the tests of this room, and the tests of the router as a whole.

mod accounts;
mod administration;
mod contests;
mod ctfd;
mod sweep;
mod vpn;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use uuid::Uuid;

use super::*;
use crate::daemon::platform::{ChallengeState, LiveChallenge, LiveSet};
use crate::daemon::testing::Rig;
use crate::model::{
    AnswerFormat, Attachment, Build, BuildKey, BuildState, Category, Challenge, Difficulty,
    InstanceSettings, Metadata, ObjectId, Question, QuestionMode, Revision, Solve, Submission,
    SubmissionId, Team, TeamId, Timestamp, Topology, TreeId,
};

pub(super) fn tree(n: u8) -> TreeId {
    TreeId(ObjectId::from_bytes([n; 20]))
}

pub(super) fn question(id: &str) -> Question {
    Question {
        id: id.parse().unwrap(),
        prompt: format!("Find the {id}."),
        mode: QuestionMode::Dynamic { format: AnswerFormat::Flag },
        requires: Vec::new(),
    }
}

pub(super) fn challenge(id: &str, questions: Vec<Question>) -> Challenge {
    Challenge {
        id: id.parse().unwrap(),
        path: id.to_owned(),
        bucket: id.split_once('-').map(|(bucket, _)| bucket.to_owned()),
        tree: tree(1),
        metadata: Metadata {
            name: format!("Name of {id}"),
            description: "A brief.".to_owned(),
            difficulty: Difficulty::Easy,
            tags: vec!["sqli".to_owned()],
            category: Category::Web,
            topology: Topology::Simple,
            entry_urls: vec!["https://example.org".to_owned()],
            questions,
            instance: InstanceSettings::default(),
            author: None,
            release_at: None,
            exports: vec![],
        },
        compose: None,
        attachments: Vec::new(),
        contexts: BTreeMap::new(),
    }
}

pub(super) fn attachment(name: &str, size_bytes: u64) -> Attachment {
    let plain = crate::model::plain_name(name);
    Attachment {
        name: name.to_owned(),
        size_bytes,
        is_encrypted: plain.is_some(),
        is_template: plain.unwrap_or(name).ends_with(".tpl"),
    }
}

pub(super) fn live_one(challenge: Challenge) -> LiveChallenge {
    let revision = Revision(ObjectId::from_bytes([7; 20]));
    LiveChallenge { challenge: Arc::new(challenge), revision, since: Timestamp::from_millis(5000) }
}

pub(super) fn live(challenges: Vec<Challenge>) -> LiveSet {
    challenges.into_iter().map(|one| (one.id.clone(), live_one(one))).collect()
}

pub(super) fn team(n: u8) -> Team {
    Team {
        id: TeamId::new(Uuid::from_bytes([n; 16])),
        competition: "default".parse().unwrap(),
        name: format!("team-{n}"),
        description: String::new(),
        captain: None,
        created_at: Timestamp::from_millis(i64::from(n)),
    }
}

pub(super) fn solve(team_n: u8, challenge: &str, question: &str, secs: i64) -> Solve {
    Solve {
        team: team(team_n).id,
        challenge: challenge.parse().unwrap(),
        question: question.parse().unwrap(),
        solved_at: Timestamp::from_millis(secs * 1000),
        rank: 1,
    }
}

/// A right answer.
pub(super) fn submission(question: &str) -> Submission {
    Submission {
        id: SubmissionId::new(Uuid::nil()),
        team: team(1).id,
        user: None,
        challenge: "WEB-001".parse().unwrap(),
        instance: None,
        question: question.parse().unwrap(),
        claimed: "FLAG{x}".to_owned(),
        is_correct: true,
        submitted_at: Timestamp::from_millis(9000),
        solve_time_secs: 4.1,
        revision: Revision(ObjectId::from_bytes([7; 20])),
    }
}

pub(super) fn build(challenge: &str, state: BuildState) -> Build {
    Build {
        key: BuildKey::from_digest([3; 32]),
        challenge: challenge.parse().unwrap(),
        service: "web".parse().unwrap(),
        state,
        image: Some("sha256:abc".to_owned()),
        error: None,
        is_retryable: false,
        log_tail: "Step 2/2 : CMD x\n done\n".to_owned(),
        queued_at: Timestamp::from_millis(1000),
        started_at: Some(Timestamp::from_millis(2000)),
        finished_at: Some(Timestamp::from_millis(3000)),
        n_attempts: 1,
    }
}

pub(super) fn state(id: &str, build: BuildState) -> ChallengeState {
    ChallengeState {
        id: id.parse().unwrap(),
        live: None,
        head_tree: Some(tree(1)),
        is_valid: true,
        build,
        builds: Vec::new(),
        findings: Vec::new(),
    }
}

/// Sends a request to a fresh router; gives status, headers and body.
async fn send(request: Request<Body>) -> (StatusCode, axum::http::HeaderMap, Vec<u8>) {
    // The platform that router tests run against knows no token and has nothing.
    let rig = Rig::new();
    let response = router(rig.idle()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

fn ask(method: &str, path: &str, token: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(Body::empty()).unwrap()
}

async fn status_and_json(request: Request<Body>) -> (u16, Value) {
    let (status, _, body) = send(request).await;
    (status.as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn every_protected_route_refuses_strangers_and_bad_tokens_in_the_contract_s_words() {
    let routes = [
        ("GET", "/api/v1/me"),
        ("GET", "/api/v1/me/solves"),
        ("GET", "/api/v1/me/milestone-progress"),
        ("GET", "/api/v1/cluster-info"),
        ("POST", "/api/v1/instances"),
        ("DELETE", "/api/v1/instances"),
        ("GET", "/api/v1/instances/x"),
        ("DELETE", "/api/v1/instances/x"),
        ("GET", "/api/v1/instances/x/status"),
        ("POST", "/api/v1/instances/x/renew"),
        ("GET", "/api/v1/instances/x/traffic"),
        ("GET", "/api/v1/instances/x/openvpn-config"),
        ("GET", "/api/v1/teams/x/openvpn-config"),
        ("POST", "/api/v1/teams/x/openvpn-config/rotate"),
        ("GET", "/api/v1/instances/x/attachments"),
        ("GET", "/api/v1/instances/x/attachments/a/b"),
        ("POST", "/api/v1/instances/x/verify-answer"),
        ("GET", "/api/v1/competitions/default/instances/x"),
        ("POST", "/api/v1/competitions/default/teams"),
        ("GET", "/api/v1/challenges/x/attachments"),
        ("GET", "/api/v1/challenges/x/attachments/a"),
        ("POST", "/api/v1/submissions"),
        ("GET", "/api/v1/submissions"),
        ("POST", "/api/v1/qa/submissions"),
        ("GET", "/api/v1/qa/challenges"),
        ("GET", "/api/v1/admin/challenges/build-state"),
        ("POST", "/api/v1/admin/challenges/x/build"),
        ("POST", "/api/v1/admin/challenges/build-all"),
        ("POST", "/api/v1/admin/challenges/rescan"),
        ("GET", "/api/v1/admin/instances"),
        ("GET", "/api/v1/admin/instances/x"),
        ("GET", "/api/v1/admin/instances/x/logs"),
        ("POST", "/api/v1/admin/tokens"),
        ("GET", "/api/v1/admin/users"),
        ("PATCH", "/api/v1/admin/users/x/role"),
        ("GET", "/api/v1/auth/tokens"),
        ("POST", "/api/v1/auth/tokens"),
        ("DELETE", "/api/v1/auth/tokens/others"),
        ("POST", "/api/v1/auth/password"),
        ("GET", "/api/v1/auth/identities"),
        ("GET", "/api/v1/auth/device/info"),
        ("POST", "/api/v1/auth/device/approve"),
        ("POST", "/api/v1/gitops/reconcile"),
        ("GET", "/api/v1/gitops/status"),
        ("GET", "/api/v1/gitops/conditions"),
        ("GET", "/api/v1/gitops/challenges"),
        ("GET", "/api/v1/gitops/builds"),
        ("GET", "/api/v1/gitops/revisions/x/findings"),
        ("GET", "/api/v1/gitops/events"),
        ("GET", "/api/v1/gitops/plan"),
        ("GET", "/api/v1/gitops/recover"),
        ("POST", "/api/v1/gitops/recover"),
        ("POST", "/api/v1/gitops/recover/adopt"),
        ("POST", "/api/v1/gitops/recover/accept"),
        ("GET", "/api/v1/gitops/explain/node/local"),
        ("GET", "/api/v1/gitops/releases/1/provenance"),
        ("GET", "/api/v1/gitops/pauses"),
        ("POST", "/api/v1/gitops/pauses"),
        ("DELETE", "/api/v1/gitops/pauses"),
        ("POST", "/api/v1/instances/x/reset"),
        ("GET", "/api/v1/gitops/events/log"),
        ("POST", "/api/v1/gitops/notices/test"),
    ];
    for (method, path) in routes {
        let (status, body) = status_and_json(ask(method, path, None)).await;
        let seen = (status, body["code"].as_str(), body["detail"].as_str());
        assert_eq!(seen, (401, Some("http_401"), Some("Not authenticated")), "{method} {path}");
        for token in ["pt_unknown", &"x".repeat(4000)] {
            let (status, body) = status_and_json(ask(method, path, Some(token))).await;
            let seen = (status, body["code"].as_str(), body["detail"].as_str());
            let wanted = (403, Some("http_403"), Some("Invalid or revoked token"));
            assert_eq!(seen, wanted, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn open_routes_take_a_bad_token_for_none() {
    for path in [
        "/api/v1/health",
        "/api/v1/meta",
        "/api/v1/challenges",
        "/api/v1/challenges/facets",
        "/api/v1/competitions",
        "/api/v1/competitions/default",
        "/api/v1/competitions/default/challenges",
        "/api/v1/competitions/default/scoreboard",
        "/api/v1/scoreboard",
        "/api/v1/teams",
        "/api/v1/instances",
        "/api/v1/auth/providers",
        "/api/v1/auth/tokens/scopes",
        "/device",
        "/healthz",
        "/openapi.json",
    ] {
        let (status, _, _) = send(ask("GET", path, Some("pt_unknown"))).await;
        assert_eq!(status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn listings_are_pages_and_out_of_range_is_a_422_with_both_faults() {
    let (_, page) = status_and_json(ask("GET", "/api/v1/challenges?limit=7&offset=2", None)).await;
    assert_eq!(page, serde_json::json!({"items": [], "total": 0, "limit": 7, "offset": 2}));
    let (status, mut body) =
        status_and_json(ask("GET", "/api/v1/challenges?limit=0&offset=-1", None)).await;
    assert_eq!(status, 422);
    body["timestamp"] = "now".into();
    insta::assert_json_snapshot!(body, @r#"
    {
      "code": "validation_error",
      "detail": {
        "issues": [
          {
            "ctx": {
              "ge": 1
            },
            "input": "0",
            "loc": [
              "query",
              "limit"
            ],
            "msg": "Input should be greater than or equal to 1",
            "type": "greater_than_equal"
          },
          {
            "ctx": {
              "ge": 0
            },
            "input": "-1",
            "loc": [
              "query",
              "offset"
            ],
            "msg": "Input should be greater than or equal to 0",
            "type": "greater_than_equal"
          }
        ],
        "message": "limit: Input should be greater than or equal to 1; offset: Input should be greater than or equal to 0"
      },
      "timestamp": "now"
    }
    "#);
}

#[tokio::test]
async fn what_is_not_there_is_a_404_in_the_right_shape() {
    let cases = [
        ("/nope", Value::Null, "Not Found"),
        ("/api/v1/nope", Value::Null, "Not Found"),
        ("/api/v1/challenges/NO-001", "challenge_not_found".into(), "Challenge NO-001 not found"),
        ("/api/v1/challenges/%2e%2e%2fx", "challenge_not_found".into(), "Challenge ../x not found"),
        ("/api/v1/challenges/%ff", "http_404".into(), "Not Found"),
        ("/api/v1/competitions/other", "http_404".into(), "Competition not found: other"),
        (
            "/api/v1/competitions/other/scoreboard",
            "http_404".into(),
            "Competition not found: other",
        ),
        ("/api/v1/teams/zz", "team_not_found".into(), "Team zz not found"),
    ];
    for (path, code, detail) in cases {
        let (status, body) = status_and_json(ask("GET", path, None)).await;
        assert_eq!(
            (status, &body["code"], &body["detail"]),
            (404, &code, &detail.into()),
            "{path}"
        );
    }
    let (status, body) = status_and_json(ask("PUT", "/api/v1/challenges", None)).await;
    assert_eq!((status, body), (405, serde_json::json!({"detail": "Method Not Allowed"})));
}

#[tokio::test]
async fn head_and_preflight_are_answered_without_a_body() {
    let (status, _, body) = send(ask("HEAD", "/api/v1/health", None)).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 0));
    let preflight = Request::builder()
        .method("OPTIONS")
        .uri("/api/v1/instances")
        .header(header::ORIGIN, "https://play.example.org")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type")
        .body(Body::empty())
        .unwrap();
    let (status, headers, body) = send(preflight).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 0));
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "authorization,content-type");
    assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
}

#[tokio::test]
async fn the_request_id_is_ours_and_nothing_is_cached() {
    let request = Request::builder()
        .uri("/api/v1/health")
        .header("x-request-id", "evil")
        .body(Body::empty())
        .unwrap();
    let (_, headers, _) = send(request).await;
    let id = headers["x-request-id"].to_str().unwrap();
    assert_eq!((id.len(), id == "evil"), (32, false));
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn readiness_is_the_engine_s_and_metrics_are_not_for_strangers() {
    let (status, body) = status_and_json(ask("GET", "/readyz", None)).await;
    assert_eq!((status, &body["status"]), (503, &"unready".into()));
    let (status, _) = status_and_json(ask("GET", "/metrics", None)).await;
    assert_eq!(status, 401);
    let mut local = ask("GET", "/metrics", None);
    let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 50_000));
    local.extensions_mut().insert(axum::extract::ConnectInfo(peer));
    let (status, headers, _) = send(local).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
}

#[tokio::test]
async fn a_body_too_large_or_broken_is_refused_before_it_is_looked_at() {
    #[derive(serde::Deserialize)]
    struct Any {}
    async fn take(_body: extract::Body<Any>) {}
    let rig = Rig::new();
    let app = Router::new()
        .route("/take", axum::routing::post(take))
        .layer(DefaultBodyLimit::max(extract::MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(rig.idle(), request::finish));
    let check = async |body: Body| {
        let request = Request::post("/take").body(body).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let code = serde_json::from_slice::<Value>(&body).map(|body| body["code"].clone());
        (status, code.unwrap_or_default())
    };
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(extract::MAX_BODY_BYTES));
    assert_eq!(check(Body::from(large)).await, (413, "http_413".into()));
    assert_eq!(check(Body::from("{]")).await, (422, "validation_error".into()));
    assert_eq!(check(Body::empty()).await, (422, "validation_error".into()));
    assert_eq!(check(Body::from("{}")).await, (200, Value::Null));
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    #[expect(unreachable_code, reason = "a handler must have a response type")]
    async fn fall() -> &'static str {
        panic!("secret cause");
        ""
    }
    let rig = Rig::new();
    let app = Router::new()
        .route("/fall", get(fall))
        .layer(CatchPanicLayer::custom(request::after_panic))
        .layer(middleware::from_fn_with_state(rig.idle(), request::finish));
    let response = app.oneshot(ask("GET", "/fall", None)).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains(r#""detail":"internal error""#));
    assert!(!String::from_utf8_lossy(&body).contains("secret"));
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_back() {
    let rig = Rig::new();
    let app = router(rig.idle());
    // The budget grows while we ask, so a slow machine needs more than the bare number.
    let mut refused = None;
    for _ in 0..=2 * PER_MINUTE {
        let request = ask("POST", "/api/v1/submissions", Some("pt_unknown"));
        let response = app.clone().oneshot(request).await.unwrap();
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("twice the budget is more than a minute's worth");
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], br#"{"error":"Rate limit exceeded: 600 per 1 minute"}"#);
    let reading = app.oneshot(ask("GET", "/api/v1/submissions", Some("pt_unknown"))).await.unwrap();
    assert_eq!(reading.status(), StatusCode::FORBIDDEN, "reading is not limited");
}

#[tokio::test]
async fn the_document_describes_every_route_and_every_route_is_there() {
    let (_, document) = status_and_json(ask("GET", "/openapi.json", None)).await;
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let paths = document["paths"].as_object().unwrap();
    let mut n_operations = 0;
    for (path, item) in paths {
        assert!(!path.contains('*'), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            n_operations += 1;
            let text = operation["summary"].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{method} {path} has no summary");
            let real = path.replace("{competition_id}", "default").replace(['{', '}'], "");
            let (status, body) = status_and_json(ask(&method.to_uppercase(), &real, None)).await;
            assert_ne!(status, 405, "{method} {path}");
            let is_unrouted = status == 404 && body.get("code").is_none();
            assert!(!is_unrouted, "{method} {path} is documented but not routed");
        }
    }
    for (method, path) in [
        ("post", "/api/v1/submissions"),
        ("get", "/api/v1/submissions"),
        ("post", "/api/v1/instances"),
        ("get", "/api/v1/instances"),
        ("get", "/api/v1/challenges/{challenge_id}/attachments/{path}"),
        ("get", "/api/v1/gitops/status"),
        ("get", "/readyz"),
    ] {
        assert!(paths[path].get(method).is_some(), "{method} {path}");
    }
    assert!(n_operations >= 50, "{n_operations}");
}

#[tokio::test]
async fn serving_stops_when_told_and_finishes_what_is_under_way() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let client = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 4096];
        let n_read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..n_read].starts_with(b"HTTP/1.1 200 OK"));
        stop.cancel();
        // The idle connection is closed by the server, so the read ends.
        assert_eq!(stream.read(&mut answer).await.unwrap(), 0);
    };
    let rig = Rig::new();
    let (served, ()) = tokio::join!(serve(rig.idle(), listener, stop.clone()), client);
    served.unwrap();
}
