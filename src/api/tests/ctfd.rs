//! CTFd as the front, through the router, on an engine in memory.

use serde_json::json;

use super::contests::{Event, code, text, wait};
use super::*;

/// An event with a CTFd of this mode; its keys.
async fn front(mode: &str) -> (Event, Value) {
    let event = Event::with(&[]).await;
    let body = json!({"name": "finals", "mode": mode});
    let (status, keys) = event.site.post(&event.site.admin(), "/integrations/ctfd", body).await;
    assert_eq!(status, 201, "{keys}");
    (event, keys)
}

async fn start(event: &Event, token: &str, body: Value) -> (u16, Value) {
    event.site.post(token, "/integrations/ctfd/instances", body).await
}

#[tokio::test]
async fn a10_the_token_of_a_ctfd_is_good_for_its_routes_and_no_other_token_is() {
    let (event, keys) = front("team").await;
    let (site, token) = (&event.site, text(&keys["token"]));
    assert!(token.starts_with("ci_") && text(&keys["webhook_secret"]).len() == 64);
    assert_eq!(site.get(&token, "/integrations/ctfd/self").await.0, 200);
    for path in ["/me", "/submissions", "/admin/users", "/integrations/ctfd", "/gitops/status"] {
        let (status, body) = site.get(&token, path).await;
        assert_eq!((status, &body["detail"]), (403, &json!("Invalid or revoked token")), "{path}");
    }
    let ada = site.sign_up("ada").await;
    for other in [site.admin(), ada] {
        assert_eq!(site.get(&other, "/integrations/ctfd/self").await.0, 403);
        let body = json!({"challenge_id": "WEB-001", "team_id": 1});
        assert_eq!(start(&event, &other, body).await.0, 403);
    }
    // Only administrators have anything to do with integrations.
    let bob = site.sign_up("bob").await;
    let own = format!("/integrations/ctfd/{}", text(&keys["id"]));
    for caller in [&bob, &token] {
        assert_eq!(site.get(caller, "/integrations/ctfd").await.0, 403);
        assert_eq!(site.get(caller, &own).await.0, 403);
        for deed in ["rotate", "kill", "purge"] {
            assert_eq!(site.post(caller, &format!("{own}/{deed}"), json!({})).await.0, 403);
        }
    }
    let admin = site.admin();
    let rotated = site.post(&admin, &format!("{own}/rotate"), json!({})).await.1;
    assert_eq!(site.get(&token, "/integrations/ctfd/self").await.0, 403);
    assert_ne!(rotated["webhook_secret"], keys["webhook_secret"]);
    let token = text(&rotated["token"]);
    assert_eq!(site.get(&token, "/integrations/ctfd/self").await.0, 200);
    let shown = site.get(&admin, &own).await.1;
    assert!(shown["last_used_at"].is_string() && !shown.to_string().contains(&token));
    assert_eq!(site.call(&admin, "DELETE", &own, Value::Null).await.0, 200);
    assert_eq!(site.get(&token, "/integrations/ctfd/self").await.0, 403);
    let gone = site.get(&admin, "/integrations/ctfd/nobody").await;
    assert_eq!(code(&gone), (404, "integration_not_found"));
}

#[tokio::test]
async fn a_start_that_is_sent_again_is_the_same_one_also_when_it_is_ready() {
    let (event, keys) = front("team").await;
    let (site, token) = (&event.site, text(&keys["token"]));
    let wish = || json!({"challenge_id": "WEB-001", "team_id": 17, "user_id": 5});
    let (status, first) = start(&event, &token, wish()).await;
    assert_eq!(status, 202, "{first}");
    let path = format!("/integrations/ctfd/instances/{}?team_id=17", text(&first["id"]));
    wait("it to be ready", async || site.get(&token, &path).await.1["status"] == "ready").await;
    assert_eq!(start(&event, &token, wish()).await.1["id"], first["id"]);
    let shown = site.get(&token, &path).await.1;
    assert!(text(&shown["connection_info"]).starts_with("http://"), "{shown}");
    // What nobody can start makes nobody.
    let absent = start(&event, &token, json!({"challenge_id": "NO-001", "team_id": 99})).await;
    assert_eq!(code(&absent), (404, "challenge_not_found"));
    let own = format!("/integrations/ctfd/{}", text(&keys["id"]));
    assert_eq!(site.get(&site.admin(), &own).await.1["owners"], 1);
    // Stopped, the next one is another.
    assert_eq!(site.call(&token, "DELETE", &path, Value::Null).await.0, 200);
    assert_eq!(site.call(&token, "DELETE", &path, Value::Null).await.0, 404);
    assert_ne!(start(&event, &token, wish()).await.1["id"], first["id"]);
}

#[tokio::test]
async fn answers_are_graded_for_whom_they_are_sent() {
    let (event, keys) = front("team").await;
    let (site, token) = (&event.site, text(&keys["token"]));
    let wish = json!({"challenge_id": "WEB-001", "team_id": 17});
    let id = text(&start(&event, &token, wish).await.1["id"]);
    let flag = event.flag(&id).await;
    let verify = async |body: Value| site.post(&token, "/integrations/ctfd/verify", body).await;
    let answer = |team: u32, challenge: &str, question: &str, answer: &str| {
        json!({"team_id": team, "challenge_id": challenge, "question_id": question,
            "answer": answer})
    };
    // Nobody whom nothing was started for, nor a team without it, reaches it.
    let stranger = verify(answer(18, "WEB-001", "flag", &flag)).await;
    assert_eq!(code(&stranger), (404, "instance_not_found"));
    let mut named = answer(18, "WEB-001", "flag", &flag);
    named["instance_id"] = json!(id);
    assert_eq!(code(&verify(named).await), (404, "instance_not_found"));
    let unknown = verify(answer(17, "WEB-001", "nope", &flag)).await;
    assert_eq!(code(&unknown), (422, "unknown_question_id"));
    assert_eq!(verify(answer(17, "WEB-001", "flag", "FLAG{no}")).await.1["correct"], false);
    let right = verify(answer(17, "WEB-001", "flag", &flag)).await.1;
    assert_eq!((&right["correct"], &right["challenge_fully_solved"]), (&json!(true), &json!(true)));
    assert_eq!(verify(answer(17, "WEB-001", "flag", &flag)).await.1["solve_rank"], 0);
    // A quiz needs no instance.
    assert_eq!(verify(answer(17, "QUIZ-001", "port", "22")).await.1["correct"], true);
}

#[tokio::test]
async fn what_is_purged_begins_anew() {
    let (event, keys) = front("unlimited").await;
    let (site, token) = (&event.site, text(&keys["token"]));
    let wish = |request_id: &str| json!({"challenge_id": "WEB-001", "user_id": 3, "request_id": request_id});
    let refused = start(&event, &token, wish("")).await;
    assert_eq!(code(&refused), (422, "request_id_required"));
    let first = start(&event, &token, wish("a")).await.1;
    assert_eq!(start(&event, &token, wish("a")).await.1["id"], first["id"]);
    assert_ne!(start(&event, &token, wish("b")).await.1["id"], first["id"]);
    let admin = site.admin();
    let own = format!("/integrations/ctfd/{}", text(&keys["id"]));
    let both = site.post(&admin, &format!("{own}/kill"), json!({"team_id": 1, "user_id": 1})).await;
    assert_eq!(both.0, 422);
    let other = site.post(&admin, &format!("{own}/kill"), json!({"team_id": 3})).await.1;
    assert_eq!(other, json!({"stopped": 0}), "a team is no user of the same number");
    let purged = site.post(&admin, &format!("{own}/purge"), json!({"user_id": 3})).await.1;
    assert_eq!(purged, json!({"purged": 1}));
    let listed = site.get(&token, "/integrations/ctfd/instances?user_id=3").await.1;
    assert_eq!(listed["total"], 0);
    let anew = start(&event, &token, wish("a")).await;
    assert_eq!(anew.0, 202);
    assert_ne!(anew.1["id"], first["id"]);
}
