//! An event runs CTFd, and its plugin has this platform run the instances: the calls are those of
//! docs/ctfd.md, and CTFd's end of the webhook is here.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Challenge, Client, Daemon, PATIENCE, Stage, fetch, until};

const CHALLENGE: &str = "WEB-401";

/// CTFd's end of the webhook: takes calls, or fails them for a while.
struct Receiver {
    address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
    _served: JoinSet<std::io::Result<()>>,
}

#[derive(Default)]
struct Inside {
    is_broken: bool,
    n_refused: u32,
    taken: Vec<(HeaderMap, Bytes)>,
}

impl Receiver {
    async fn open() -> Self {
        let inside = Arc::<Mutex<Inside>>::default();
        let app = Router::new().route("/flagops/solve", post(take)).with_state(Arc::clone(&inside));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut served = JoinSet::new();
        served.spawn(async move { axum::serve(listener, app).await });
        Self { address, inside, _served: served }
    }

    fn url(&self) -> String {
        format!("http://{}/flagops/solve", self.address)
    }

    fn break_down(&self) {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).is_broken = true;
    }

    fn mend(&self) {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).is_broken = false;
    }

    fn n_refused(&self) -> u32 {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).n_refused
    }

    /// Every call that was taken, its signature checked; once each.
    fn solves(&self, secret: &str) -> Vec<(String, Value)> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let mut solves: Vec<(String, Value)> = Vec::new();
        for (headers, body) in &inside.taken {
            let text = |name: &str| headers[name].to_str().expect("it is text").to_owned();
            let mut signed = format!("{}.", text("x-flagops-timestamp")).into_bytes();
            signed.extend_from_slice(body);
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
            let sum = ring::hmac::sign(&key, &signed);
            let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(text("x-flagops-signature-256"), format!("sha256={hex}"));
            let delivery = text("x-flagops-delivery");
            if solves.iter().all(|(known, _)| *known != delivery) {
                solves.push((delivery, serde_json::from_slice(body).expect("it is JSON")));
            }
        }
        solves
    }
}

async fn take(
    State(inside): State<Arc<Mutex<Inside>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut inside = inside.lock().unwrap_or_else(PoisonError::into_inner);
    if inside.is_broken {
        inside.n_refused += 1;
        return StatusCode::BAD_GATEWAY;
    }
    inside.taken.push((headers, body));
    StatusCode::NO_CONTENT
}

/// Makes an integration; its keys.
async fn integrate(daemon: &Daemon, name: &str, mode: &str, webhook: &str) -> Value {
    let body = json!({"name": name, "mode": mode, "webhook_url": webhook});
    let reply = daemon.admin().post("/integrations/ctfd", body).await;
    reply.expect_status(201).body
}

fn plugin(daemon: &Daemon, keys: &Value) -> Client {
    let address = daemon.url();
    let address = address.trim_start_matches("http://");
    Client::new(address, keys["token"].as_str().expect("a token is text"))
}

async fn ready(ctfd: &Client, id: &str, whose: &str) -> Value {
    until(&format!("{id} is ready for {whose}"), PATIENCE, || async {
        let reply = ctfd.try_get(&format!("/integrations/ctfd/instances/{id}?{whose}")).await?;
        assert!(reply.body["status"] != "error", "{}", reply.body);
        if reply.body["status"] == "ready" { Ok(reply.body) } else { Err(reply.body.to_string()) }
    })
    .await
}

async fn flag_of(instance: &Value) -> String {
    let url = instance["connection_info"].as_str().expect("a line for players");
    fetch(&format!("{}/answers/flag", url.trim_end_matches('/')))
        .await
        .expect("the instance answers")
}

#[tokio::test]
async fn an_event_that_runs_ctfd_plays_here() {
    let stage = Stage::with(&[Challenge::web(CHALLENGE, "one")]).await;
    let mut daemon = stage.serve().await;
    daemon.live(CHALLENGE).await;
    let receiver = Receiver::open().await;
    let keys = integrate(&daemon, "finals", "team", &receiver.url()).await;
    let secret = keys["webhook_secret"].as_str().expect("a secret is text");
    let ctfd = plugin(&daemon, &keys);
    let about = ctfd.get("/integrations/ctfd/self").await.expect_status(200);
    assert_eq!((about.text("name"), about.text("mode")), ("finals".into(), "team".into()));
    let offered = ctfd.get("/integrations/ctfd/challenges").await.expect_status(200);
    assert_eq!(offered.body["items"][0]["id"], CHALLENGE);

    // Fifty clicks at once are one instance.
    let start = |team: u32| {
        let body = json!({"challenge_id": CHALLENGE, "team_id": team, "user_id": 900});
        let ctfd = ctfd.clone();
        async move { ctfd.post("/integrations/ctfd/instances", body).await }
    };
    let mut clicks = JoinSet::new();
    for _ in 0..50 {
        clicks.spawn(start(17));
    }
    let mut ids: Vec<String> = Vec::new();
    while let Some(reply) = clicks.join_next().await {
        ids.push(reply.expect("it does not panic").expect_status(202).text("id"));
    }
    ids.sort();
    ids.dedup();
    let [id] = ids.as_slice() else { panic!("one instance: {ids:?}") };
    let own = ready(&ctfd, id, "team_id=17").await;
    assert_eq!((&own["owner"], &own["owner_id"]), (&json!("team"), &json!(17)));
    // Also when it is ready, and after a kill in the middle.
    daemon.kill9();
    daemon.restart().await;
    assert_eq!(start(17).await.expect_status(202).text("id"), *id);
    let own = ready(&ctfd, id, "team_id=17").await;

    // Another team has nothing of it, and cannot tell that it is there.
    let other = start(18).await.expect_status(202).text("id");
    let others = ready(&ctfd, &other, "team_id=18").await;
    let path = format!("/integrations/ctfd/instances/{id}");
    let absent = "/integrations/ctfd/instances/3f2a0000-0000-4000-8000-000000000001";
    for stranger in [18, 19] {
        let body = json!({"team_id": stranger});
        for (path, absent) in [(path.as_str(), absent)] {
            let whose = format!("?team_id={stranger}");
            let seen = ctfd.get(&format!("{path}{whose}")).await;
            let nothing = ctfd.get(&format!("{absent}{whose}")).await;
            assert_eq!((seen.status, &seen.body["code"]), (404, &nothing.body["code"]));
            ctfd.delete(&format!("{path}{whose}")).await.expect_status(404);
            for deed in ["renew", "reset"] {
                ctfd.post(&format!("{path}/{deed}"), body.clone()).await.expect_status(404);
            }
        }
        let answer = json!({"team_id": stranger, "challenge_id": CHALLENGE, "instance_id": id,
            "answer": flag_of(&own).await});
        ctfd.post("/integrations/ctfd/verify", answer).await.expect_status(404);
    }
    let another = integrate(&daemon, "other event", "team", &receiver.url()).await;
    let another = plugin(&daemon, &another);
    another.get(&format!("{path}?team_id=17")).await.expect_status(404);

    // Its token is worth nothing anywhere else, and nobody else's is worth anything here.
    for path in ["/me", "/instances/x", "/gitops/status", "/admin/instances"] {
        ctfd.get(path).await.expect_status(403);
    }
    let red = daemon.team("red").await;
    red.get(&format!("{path}?team_id=17")).await.expect_status(403);
    daemon.admin().get("/integrations/ctfd/self").await.expect_status(403);
    daemon.anonymous().get("/integrations/ctfd/self").await.expect_status(401);

    // A lease is renewed, a reset makes it anew with the same flag.
    let flag = flag_of(&own).await;
    assert_ne!(flag, flag_of(&others).await);
    let renewed = ctfd.post(&format!("{path}/renew"), json!({"team_id": 17, "ttl": 900})).await;
    assert!(renewed.expect_status(200).body["expires_at"].as_f64() > Some(0.0));
    let reset = ctfd.post(&format!("{path}/reset"), json!({"team_id": 17})).await;
    assert_eq!(reset.expect_status(202).body["resets"], 1);
    let own = ready(&ctfd, id, "team_id=17").await;
    assert_eq!(flag_of(&own).await, flag);

    // The receiver is down, the daemon is killed: CTFd hears of the solve all the same.
    receiver.break_down();
    let answer =
        |team: u32, flag: &str| json!({"team_id": team, "challenge_id": CHALLENGE, "answer": flag});
    let wrong = ctfd.post("/integrations/ctfd/verify", answer(17, "FLAG{no}")).await;
    assert_eq!(wrong.expect_status(200).body["correct"], false);
    let right = ctfd.post("/integrations/ctfd/verify", answer(17, &flag)).await.expect_status(200);
    assert_eq!((&right.body["correct"], &right.body["solve_rank"]), (&json!(true), &json!(1)));
    until("the receiver refused a call", PATIENCE, || {
        std::future::ready(if receiver.n_refused() > 0 { Ok(()) } else { Err("none yet".into()) })
    })
    .await;
    daemon.kill9();
    receiver.mend();
    daemon.restart().await;
    let told = until("CTFd hears of the solve", PATIENCE, || {
        let solves = receiver.solves(secret);
        std::future::ready(solves.first().cloned().ok_or_else(|| "nothing yet".to_owned()))
    })
    .await;
    let (_, solve) = told;
    assert_eq!(solve["owner"], "team");
    assert_eq!((&solve["owner_id"], &solve["challenge_id"]), (&json!(17), &json!(CHALLENGE)));
    assert_eq!((&solve["question_id"], &solve["instance_id"]), (&json!("flag"), &json!(id)));
    assert!(!solve.to_string().contains(&flag), "no answer leaves through the webhook");
    // Solved, so it stopped; the same answer again is right, and no second solve.
    let again = ctfd.post("/integrations/ctfd/verify", answer(17, &flag)).await.expect_status(200);
    assert_eq!((&again.body["correct"], &again.body["solve_rank"]), (&json!(true), &json!(0)));
    let shared = ctfd.post("/integrations/ctfd/verify", answer(18, &flag)).await.expect_status(200);
    assert_eq!(shared.body["correct"], false, "the flag of another team is none");
    assert_eq!(receiver.solves(secret).len(), 1);

    // Organizers end it.
    let kill = daemon.cli(&["ctfd", "kill", "finals"]).fine();
    assert_eq!(kill.trim(), "1 stopped");
    daemon.nothing_left().await;
    assert_eq!(
        daemon.cli(&["ctfd", "purge", "finals", "--team", "17"]).fine().trim(),
        "1 forgotten"
    );
    let anew = ctfd.post("/integrations/ctfd/verify", answer(17, &flag)).await;
    anew.expect_status(404);
    daemon.cli(&["ctfd", "revoke", "finals"]).fine();
    start(17).await.expect_status(403);
    assert!(!daemon.log().contains(secret), "no secret is logged");
}

#[tokio::test]
async fn modes_say_who_owns_an_instance_and_how_many_there_are() {
    let stage = Stage::with(&[Challenge::web(CHALLENGE, "one")]).await;
    let daemon = stage.serve().await;
    daemon.live(CHALLENGE).await;
    let admin = daemon.admin();
    // The name of the team that would stand for user 3 is taken by somebody, and stays theirs.
    let red = daemon.team("users user 3").await;
    let users = admin.post("/integrations/ctfd", json!({"name": "users", "mode": "user"})).await;
    let users = plugin(&daemon, &users.expect_status(201).body);
    let start = |ctfd: &Client, body: Value| {
        let ctfd = ctfd.clone();
        async move { ctfd.post("/integrations/ctfd/instances", body).await }
    };
    let body = json!({"challenge_id": CHALLENGE, "team_id": 17, "user_id": 3});
    let id = start(&users, body.clone()).await.expect_status(202).text("id");
    assert_eq!(start(&users, body).await.expect_status(202).text("id"), id);
    let refused = start(&users, json!({"challenge_id": CHALLENGE, "team_id": 17})).await;
    refused.expect_refusal(422, "owner_required");
    assert_eq!(red.get("/instances").await.body["items"], json!([]));
    red.get(&format!("/instances/{id}")).await.expect_status(403);

    let body = json!({"name": "free", "mode": "unlimited"});
    let free = admin.post("/integrations/ctfd", body).await.expect_status(201);
    let free = plugin(&daemon, &free.body);
    let wish = |request_id: &str| json!({"challenge_id": CHALLENGE, "user_id": 3, "request_id": request_id});
    let first = start(&free, wish("a")).await.expect_status(202).text("id");
    let second = start(&free, wish("b")).await.expect_status(202).text("id");
    assert_eq!(start(&free, wish("a")).await.expect_status(202).text("id"), first);
    assert!(first != second && first != id);
    start(&free, wish("")).await.expect_refusal(422, "request_id_required");
    let listed = free.get("/integrations/ctfd/instances?user_id=3").await.expect_status(200);
    assert_eq!(listed.body["total"], 2);

    // Nobody is called where no CTFd can be, and a name is had once.
    for url in ["http://169.254.169.254/latest", "ftp://a.example", "http://10.0.0.5/x"] {
        let body = json!({"name": "bad", "mode": "team", "webhook_url": url});
        admin.post("/integrations/ctfd", body).await.expect_refusal(422, "bad_webhook");
    }
    let taken = admin.post("/integrations/ctfd", json!({"name": "Free", "mode": "team"})).await;
    taken.expect_refusal(409, "integration_name_taken");
    assert_eq!(daemon.cli(&["ctfd", "purge", "free"]).fine().trim(), "1 forgotten");
    assert_eq!(daemon.cli(&["ctfd", "kill", "users", "--user", "3"]).fine().trim(), "1 stopped");
    daemon.nothing_left().await;
}
