//! Competitions, teams and playing in them, through the router, on an engine in memory.

use serde_json::json;

use super::accounts::Site;
use super::*;
use crate::daemon::Daemon;
use crate::model::{ChallengeId, InstanceId};
use crate::render::answers::mint;

const WEB: &str = "name: One\ndescription: Read it.\ndifficulty: easy\ntags: [t]\ncategory: web\nquestions:\n  - id: flag\n    prompt: What?\n";

const TWO: &str = "name: Two\ndescription: Read it.\ndifficulty: easy\ntags: [t]\ncategory: web\nquestions:\n  - id: flag\n    prompt: What?\n  - id: os\n    prompt: Which one?\n    answer: linux\n    requires: [flag]\n";

const QUIZ: &str = "name: Ports\ndescription: Which port?\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - id: port\n    prompt: Which port?\n    answer: \"22\"\n    choices: [\"22\", \"23\", \"24\", \"25\"]\n";

const COMPOSE: &str = "services:\n  web:\n    image: base:1\n    command: [serve]\n    ports: [8080]\n    mem_limit: 64m\n    cpus: 0.5\n    pids_limit: 64\n";

/// A site whose daemon runs, with these files in its repository.
pub(super) struct Event {
    pub(super) site: Site,
    pub(super) daemon: Daemon,
}

impl Event {
    pub(super) async fn with(files: &[(&str, &str)]) -> Self {
        let rig = Rig::new();
        rig.add_image("base:1");
        let mut all = vec![
            ("WEB/WEB-001/metadata.yaml", WEB),
            ("WEB/WEB-001/docker-compose.yml", COMPOSE),
            ("WEB/WEB-002/metadata.yaml", TWO),
            ("WEB/WEB-002/docker-compose.yml", COMPOSE),
            ("MISC/QUIZ-001/metadata.yaml", QUIZ),
        ];
        all.extend(files);
        rig.push(&all);
        let daemon = rig.start().await;
        let platform = daemon.platform();
        let wanted: Vec<ChallengeId> =
            ["WEB-001", "WEB-002", "QUIZ-001"].map(|id| id.parse().unwrap()).to_vec();
        wait("everything to be live", async || {
            let live = platform.live();
            wanted.iter().all(|id| live.contains_key(id)) && platform.is_engine_ready()
        })
        .await;
        Self { site: Site::over(rig, platform), daemon }
    }

    /// The answer of an instance to its question `flag`.
    pub(super) async fn flag(&self, id: &str) -> String {
        let platform = self.daemon.platform();
        let shared = platform.shared_for_test();
        let id: InstanceId = id.parse().unwrap();
        let row = shared.store.instance(id).await.unwrap().unwrap();
        let question = "flag".parse().unwrap();
        mint(shared.data.answer_key(), id, row.answer_epoch, &question, AnswerFormat::Flag)
    }

    pub(super) async fn start(
        &self,
        token: &str,
        challenge: &str,
        competition: &str,
    ) -> (u16, Value) {
        let body = json!({"challenge_id": challenge, "competition_id": competition});
        self.site.post(token, "/instances", body).await
    }

    pub(super) async fn submit(
        &self,
        token: &str,
        instance: &str,
        question: &str,
        answer: &str,
    ) -> (u16, Value) {
        let body = json!({"instance_id": instance, "question_id": question, "answer": answer});
        self.site.post(token, "/submissions", body).await
    }

    pub(super) async fn enter(&self, token: &str, competition: &str, body: Value) -> (u16, Value) {
        self.site.post(token, &format!("/competitions/{competition}/teams"), body).await
    }
}

pub(super) async fn wait(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

pub(super) fn code((status, body): &(u16, Value)) -> (u16, &str) {
    (*status, body["code"].as_str().unwrap_or_default())
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A competition that begins in an hour and lasts one.
fn finals(now: Timestamp) -> String {
    let (start, end) = (now.plus_secs(3600).rfc3339(), now.plus_secs(7200).rfc3339());
    format!(
        "title: Finals\nstarts_at: {start}\nends_at: {end}\nteams: {{max_size: 2}}\n\
         challenges:\n  - {{bucket: WEB, value: 200}}\n  - {{tag: quiz}}\n\
         scoring: {{function: linear, value: 100, minimum: 10, decay: 10, first_blood: 5}}\n\
         attempt_caps: {{single_select: 1}}\ninstances: {{per_team: 1}}\n"
    )
}

#[tokio::test]
async fn an_account_plays_in_the_competition_that_is_always_there() {
    let event = Event::with(&[]).await;
    let ada = event.site.sign_up("ada").await;
    let (status, none) = event.start(&ada, "WEB-001", "default").await;
    assert_eq!((status, &none["code"]), (403, &json!("not_registered")));
    let (status, team) = event.enter(&ada, "default", json!({"mode": "solo"})).await;
    assert_eq!((status, &team["name"]), (201, &json!("ada's team")));
    assert_eq!(team["members"][0]["is_captain"], true);
    let again = event.enter(&ada, "default", json!({"mode": "solo"})).await;
    assert_eq!((again.0, &again.1["id"]), (201, &team["id"]));
    let (_, me) = event.site.get(&ada, "/me").await;
    assert_eq!(me["competition_teams"][0]["role"], "captain");
    assert_eq!(me["competition_teams"][0]["team_id"], team["id"]);

    let (status, first) = event.start(&ada, "WEB-002", "").await;
    assert_eq!(status, 202, "{first}");
    let id = text(&first["id"]);
    wait("it to be ready", async || {
        event.site.get(&ada, &format!("/instances/{id}/status")).await.1["status"] == "ready"
    })
    .await;
    let (_, info) = event.site.get(&ada, &format!("/instances/{id}")).await;
    assert_eq!((&info["competition_id"], &info["team_id"]), (&json!("default"), &team["id"]));
    assert_eq!(info["questions"][1]["prompt"], "", "what is locked is not shown");
    let locked = event.submit(&ada, &id, "os", "linux").await;
    assert_eq!(code(&locked), (403, "question_locked"));
    let flag = event.flag(&id).await;
    let (_, right) = event.submit(&ada, &id, "flag", &flag).await;
    assert_eq!((&right["correct"], &right["solve_rank"]), (&json!(true), &json!(1)), "{right}");
    let stopped = event.site.call(&ada, "DELETE", &format!("/instances/{id}"), Value::Null).await;
    assert_eq!(stopped.0, 200);
    let (status, late) = event.submit(&ada, &id, "os", "linux").await;
    assert_eq!((status, &late["correct"]), (200, &json!(true)), "what was found counts: {late}");
    assert_eq!(late["challenge_fully_solved"], true);
    let bob = event.site.sign_up("bob").await;
    assert_eq!(code(&event.submit(&bob, &id, "os", "linux").await), (403, "not_registered"));
    event.enter(&bob, "default", json!({})).await;
    assert_eq!(code(&event.submit(&bob, &id, "os", "x").await), (403, "wrong_team_for_instance"));

    let (_, activities) = event.site.get(&ada, "/activities").await;
    let events: Vec<_> =
        activities["items"].as_array().unwrap().iter().map(|row| text(&row["event"])).collect();
    for wanted in [
        "team_registered",
        "instance_started",
        "instance_ready",
        "flag_correct",
        "instance_stopped",
    ] {
        assert!(events.iter().any(|event| event == wanted), "{wanted} in {events:?}");
    }
    let (_, others) = event.site.get(&bob, "/activities").await;
    assert_eq!(others["total"], 1, "{others}");
    let (_, solves) = event.site.get(&ada, "/me/solves").await;
    assert_eq!(solves[0]["challenge_id"], "WEB-002");
    let (_, history) = event.site.get(&ada, "/submissions").await;
    assert_eq!(history["total"], 2);
    event.daemon.stop().await;
}

#[tokio::test]
async fn l04_a_wish_that_is_sent_twice_is_one_instance() {
    let event = Event::with(&[]).await;
    let ada = event.site.sign_up("ada").await;
    event.enter(&ada, "default", json!({})).await;
    let wishes = (0..20).map(|_| event.start(&ada, "WEB-001", "default"));
    let ids: std::collections::BTreeSet<_> = futures_util::future::join_all(wishes)
        .await
        .into_iter()
        .map(|(status, body)| (status, text(&body["id"])))
        .collect();
    let newest = ids.iter().next().unwrap().1.clone();
    let (_, all) = event.site.get(&ada, "/instances").await;
    // Those that came after the first was ready are another wish.
    assert!(ids.len() <= 2 && all["total"].as_u64() <= Some(2), "{ids:?} {all}");
    let body = json!({"challenge_id": "WEB-001", "another": true});
    let (status, other) = event.site.post(&ada, "/instances", body).await;
    assert_eq!(status, 202, "{other}");
    assert_ne!(text(&other["id"]), newest);
    event.daemon.stop().await;
}

#[tokio::test]
async fn a_declared_competition_is_played_in_its_time_and_changes_only_by_a_commit() {
    let now = crate::model::Clock::now(&crate::telemetry::clock::SystemClock);
    let file = finals(now);
    let event = Event::with(&[("competitions/finals.yaml", &file)]).await;
    let site = &event.site;
    wait("the competition to be there", async || {
        site.get("", "/competitions/finals").await.0 == 200
    })
    .await;
    assert_eq!(site.get("", "/competitions/default").await.0, 404, "another one is there");
    let (_, finals) = site.get("", "/competitions/finals").await;
    assert_eq!((&finals["phase"], &finals["source"]), (&json!("upcoming"), &json!("git")));
    assert_eq!(finals["declared_in"]["path"], "competitions/finals.yaml");
    assert_eq!(finals["challenges"], json!([]), "nothing is shown before the beginning");
    assert_eq!(site.get("", "/challenges").await.1["total"], 0);
    assert_eq!(site.get("", "/challenges/WEB-001").await.0, 404);
    let admin = site.admin();
    let (_, early) = site.get(&admin, "/competitions/finals").await;
    assert_eq!(early["challenge_ids"], json!(["QUIZ-001", "WEB-001", "WEB-002"]));
    let body = json!({"title": "Mine"});
    let refused = site.call(&admin, "PATCH", "/admin/competitions/finals", body).await;
    assert_eq!(code(&refused), (409, "competition_read_only"));
    let words = text(&refused.1["detail"]["message"]);
    assert!(words.contains("`competitions/finals.yaml`"), "{words}");
    let refused = site.call(&admin, "DELETE", "/admin/competitions/finals", Value::Null).await;
    assert_eq!(code(&refused), (409, "competition_read_only"));

    let ada = site.sign_up("ada").await;
    let team = event.enter(&ada, "finals", json!({})).await;
    assert_eq!(team.0, 201, "{}", team.1);
    assert_eq!(
        code(&event.start(&ada, "WEB-001", "finals").await),
        (409, "competition_not_started")
    );
    site.rig.clock.advance_millis(3_700_000);
    let (_, listed) = site.get(&ada, "/competitions/finals/challenges").await;
    assert_eq!(listed["total"], 3);
    let (status, started) = event.start(&ada, "WEB-001", "finals").await;
    assert_eq!(status, 202, "{started}");
    let id = text(&started["id"]);
    let second = event.start(&ada, "WEB-002", "finals").await;
    assert_eq!(code(&second), (503, "capacity_exceeded"), "one instance at a time");
    let flag = event.flag(&id).await;
    let (_, right) = event.submit(&ada, &id, "flag", &flag).await;
    assert_eq!(right["correct"], true);
    let (_, board) = site.get("", "/competitions/finals/scoreboard").await;
    assert_eq!((&board["items"][0]["score"], &board["items"][0]["rank"]), (&json!(205), &json!(1)));

    let answer = |answer: &str| {
        json!({"challenge_id": "QUIZ-001", "competition_id": "finals", "question_id": "port",
               "answer": answer})
    };
    let (_, quizzes) = site.get(&ada, "/qa/challenges?competition_id=finals").await;
    assert_eq!(quizzes[0]["id"], "QUIZ-001");
    let (status, wrong) = site.post(&ada, "/qa/submissions", answer("23")).await;
    assert_eq!((status, &wrong["attempts_remaining"]), (200, &json!(0)), "{wrong}");
    let capped = site.post(&ada, "/qa/submissions", answer("22")).await;
    assert_eq!(code(&capped), (429, "question_attempt_cap_exceeded"));

    for path in [
        "/scoreboard/distribution",
        "/score-history?top=5",
        "/challenge-breakdown",
        "/solve-matrix",
    ] {
        let (status, body) = site.get("", &format!("/competitions/finals{path}")).await;
        assert_eq!(status, 200, "{path} {body}");
    }
    let (_, history) = site.get("", "/competitions/finals/score-history").await;
    assert_eq!(history["series"][0]["points"][0]["score"], 205);
    let (_, matrix) = site.get("", "/competitions/finals/solve-matrix").await;
    assert_eq!(matrix["cells"][0]["challenge_id"], "QUIZ-001");
    assert_eq!(matrix["cells"][1]["first_blood"], true);
    assert_eq!(site.get("", "/scoreboard/challenges").await.1["total"], 3);
    assert_eq!(site.get("", "/scoreboard/users").await.1["items"][0]["flags_solved"], 1);

    site.rig.clock.advance_millis(3_600_000);
    assert_eq!(code(&event.start(&ada, "WEB-002", "finals").await), (409, "competition_ended"));
    let late = event.submit(&ada, &id, "flag", &flag).await;
    assert_eq!(code(&late), (409, "competition_ended"));
    let bob = site.sign_up("bob").await;
    assert_eq!(code(&event.enter(&bob, "finals", json!({})).await), (409, "competition_ended"));
    event.daemon.stop().await;
}

#[tokio::test]
async fn a_file_with_a_fault_takes_its_competition_not_away_and_one_that_goes_does() {
    let now = crate::model::Clock::now(&crate::telemetry::clock::SystemClock);
    let file = finals(now);
    let event = Event::with(&[("competitions/finals.yaml", &file)]).await;
    let site = &event.site;
    let title = async || site.get("", "/competitions/finals").await.1["title"].clone();
    wait("the competition to be there", async || title().await == "Finals").await;
    let keep = [("MISC/QUIZ-001/metadata.yaml", QUIZ)];
    let push = |text: &str| {
        site.rig.push(&[keep[0], ("competitions/finals.yaml", text)]);
    };
    push("title: [\n");
    event.daemon.platform().reconcile_now().await.unwrap();
    assert_eq!(title().await, "Finals");
    push(&file.replace("Finals", "Grand finals"));
    event.daemon.platform().reconcile_now().await.unwrap();
    wait("the new title", async || title().await == "Grand finals").await;
    site.rig.push(&keep);
    event.daemon.platform().reconcile_now().await.unwrap();
    wait("the competition to go", async || {
        site.get("", "/competitions/finals").await.0 == 404
            && site.get("", "/competitions/default").await.0 == 200
    })
    .await;
    event.daemon.stop().await;
}

#[tokio::test]
async fn a_competition_of_an_administrator_is_seen_by_whom_it_is_for() {
    let event = Event::with(&[]).await;
    let site = &event.site;
    let (ada, bob) = (site.sign_up("ada").await, site.sign_up("bob").await);
    let create = async |body: Value| site.post(&ada, "/admin/competitions", body).await;
    for (body, wanted) in [
        (json!({}), "validation_error"),
        (json!({"title": "x", "challenge_ids": ["NO-1"]}), "http_422"),
        (json!({"title": "x", "challenge_ids": ["WEB-001", "WEB-001"]}), "http_422"),
        (
            json!({"title": "x", "starts_at": "2027-01-02T00:00:00Z", "ends_at": "2027-01-01T00:00:00Z"}),
            "http_422",
        ),
        (json!({"title": "x", "status": "open"}), "validation_error"),
    ] {
        assert_eq!(code(&create(body.clone()).await), (422, wanted), "{body}");
    }
    let (status, made) =
        create(json!({"title": "Cup", "challenge_ids": ["WEB-002", "WEB-001"]})).await;
    assert_eq!((status, &made["status"]), (201, &json!("draft")), "{made}");
    let id = text(&made["id"]);
    let path = format!("/competitions/{id}");
    assert_eq!(site.get(&bob, &path).await.0, 404, "a draft is for administrators");
    assert_eq!(site.get(&ada, &path).await.1["challenges"][0]["id"], "WEB-002", "in its order");
    assert_eq!(site.get(&bob, "/competitions/default").await.0, 200);
    let admin_path = format!("/admin/competitions/{id}");
    let body = json!({"status": "published", "access": "private_hidden"});
    assert_eq!(site.call(&ada, "PATCH", &admin_path, body).await.0, 200);
    assert_eq!(site.get("", "/competitions/default").await.0, 404, "there is another now");
    assert_eq!(site.get(&bob, &path).await.0, 404);
    assert_eq!(code(&event.enter(&bob, &id, json!({})).await), (404, "competition_not_found"));
    let person = json!({"email": "BOB@example.org"});
    let (status, invited) = site.post(&ada, &format!("{admin_path}/invites"), person.clone()).await;
    assert_eq!((status, &invited["display_name"]), (201, &json!("bob")));
    assert_eq!(site.get(&bob, &path).await.0, 200);
    assert_eq!(site.get(&bob, "/me/inbox").await.1["competition_invites"][0]["competition_id"], id);
    assert_eq!(event.enter(&bob, &id, json!({})).await.0, 201);
    let refused = site.call(&bob, "PATCH", &admin_path, json!({"title": "Mine"})).await;
    assert_eq!(refused.1["detail"], "Competition-admin privileges required");
    assert_eq!(site.post(&ada, &format!("{admin_path}/admins"), person).await.0, 201);
    let changed = site.call(&bob, "PATCH", &admin_path, json!({"title": "Mine"})).await;
    assert_eq!((changed.0, &changed.1["title"]), (200, &json!("Mine")));
    let (_, rows) = site.get(&bob, &format!("{admin_path}/registrations")).await;
    assert_eq!(rows["total"], 1);
    assert_eq!(site.call(&bob, "DELETE", &admin_path, Value::Null).await.0, 403);
    let nope = site.call(&ada, "PATCH", "/admin/competitions/nope", json!({})).await;
    assert_eq!(nope.0, 404);
    let gone = site.call(&ada, "DELETE", &admin_path, Value::Null).await;
    assert_eq!((gone.0, &gone.1["status"]), (200, &json!("deleted")));
    assert_eq!(site.get(&bob, "/me").await.1["competition_teams"], json!([]));
    event.daemon.stop().await;
}

#[tokio::test]
async fn a10_a_token_for_one_competition_is_for_that_one_whatever_the_query_says() {
    let event = Event::with(&[]).await;
    let site = &event.site;
    let ada = site.sign_up("ada").await;
    let mut ids = Vec::new();
    for title in ["One", "Two"] {
        let body = json!({"title": title, "status": "published", "challenge_ids": ["WEB-001"]});
        ids.push(text(&site.post(&ada, "/admin/competitions", body).await.1["id"]));
        event.enter(&ada, ids.last().unwrap(), json!({})).await;
    }
    let (one, two) = (&ids[0], &ids[1]);
    assert_eq!(code(&event.start(&ada, "WEB-001", "").await), (403, "competition_required"));
    let body = json!({
        "competition_access": "selected", "competition_ids": [one],
        "permissions": {"instances": "write", "submissions": "write", "challenges": "read"},
    });
    let (_, minted) = site.post(&ada, "/auth/tokens", body).await;
    let token = text(&minted["token"]);
    let (status, started) = event.start(&token, "WEB-001", one).await;
    assert_eq!(status, 202, "the body says which: {started}");
    let forbidden = event.start(&token, "WEB-001", two).await;
    assert_eq!(code(&forbidden), (403, "token_competition_forbidden"));
    let (_, other) = event.start(&ada, "WEB-001", two).await;
    let path = format!("/instances/{}?competition_id={one}", text(&other["id"]));
    assert_eq!(code(&site.get(&token, &path).await), (403, "token_competition_forbidden"));
    let own = format!("/instances/{}", text(&started["id"]));
    assert_eq!(site.get(&token, &own).await.0, 200);
    let renewed = site.post(&token, &format!("{own}/renew?ttl=60"), Value::Null).await;
    assert_eq!(renewed.0, 200);
    let answered = event.submit(&token, &text(&other["id"]), "flag", "x").await;
    assert_eq!(code(&answered), (403, "token_competition_forbidden"));
    assert_eq!(site.get(&token, &format!("/competitions/{two}")).await.0, 403);
    let (_, seen) = site.get(&token, "/competitions").await;
    assert_eq!(seen["total"], 1);
    event.daemon.stop().await;
}

#[tokio::test]
async fn people_get_into_teams_and_out_of_them() {
    let event = Event::with(&[]).await;
    let site = &event.site;
    let (ada, bob) = (site.sign_up("ada").await, site.sign_up("bob").await);
    let cyd = site.sign_up("cyd").await;
    let at = |rest: &str| format!("/competitions/default{rest}");
    let blank = event.enter(&ada, "default", json!({"mode": "create", "name": " "})).await;
    assert_eq!(code(&blank), (422, "team_name_required"));
    let create = json!({"mode": "create", "name": "Blue", "description": "We are."});
    let (status, blue) = event.enter(&ada, "default", create.clone()).await;
    assert_eq!((status, &blue["name"]), (201, &json!("Blue")));
    assert_eq!(code(&event.enter(&ada, "default", create).await), (409, "already_member"));
    let taken = event.enter(&bob, "default", json!({"mode": "create", "name": "blue"})).await;
    assert_eq!(code(&taken), (409, "team_name_taken"));

    let (status, invite) = site.post(&ada, &at("/invites"), json!({"max_uses": 1})).await;
    assert_eq!((status, text(&invite["code"]).len()), (201, 8));
    let redeem = async |who: &str, code: &str| {
        site.post(who, &at("/teams/redeem"), json!({"code": code})).await
    };
    assert_eq!(code(&redeem(&bob, "NOPE2345").await), (404, "invite_not_found"));
    let (status, joined) = redeem(&bob, &text(&invite["code"]).to_lowercase()).await;
    assert_eq!((status, &joined["member_count"]), (200, &json!(2)), "{joined}");
    assert_eq!(code(&redeem(&cyd, &text(&invite["code"])).await), (409, "expired_or_revoked"));
    assert_eq!(code(&redeem(&bob, &text(&invite["code"])).await), (409, "already_member"));
    assert_eq!(code(&site.post(&bob, &at("/invites"), json!({})).await), (403, "not_captain"));
    assert_eq!(code(&site.post(&cyd, &at("/invites"), json!({})).await), (403, "not_registered"));
    let (_, second) = site.post(&ada, &at("/invites"), json!({})).await;
    let revoke = async || {
        let path = at(&format!("/invites/{}", text(&second["id"])));
        site.call(&ada, "DELETE", &path, Value::Null).await.1["status"].clone()
    };
    assert_eq!((revoke().await, revoke().await), (json!("revoked"), json!("already_revoked")));

    let direct =
        async |email: &str| site.post(&ada, &at("/invites/direct"), json!({"email": email})).await;
    assert_eq!(code(&direct("ada@example.org").await), (400, "cannot_invite_self"));
    assert_eq!(code(&direct("eve@example.org").await), (404, "user_not_found"));
    assert_eq!(code(&direct("bob@example.org").await), (409, "already_on_team"));
    let (_, asked) = direct("cyd@example.org").await;
    assert_eq!(code(&direct("cyd@example.org").await), (409, "invite_already_pending"));
    let act = async |who: &str, id: &str, verb: &str| {
        site.post(who, &at(&format!("/invites/{id}/{verb}")), Value::Null).await
    };
    let asked_id = text(&asked["id"]);
    assert_eq!(code(&act(&bob, &asked_id, "accept").await), (403, "not_invited"));
    assert_eq!(code(&act(&ada, &asked_id, "approve").await), (409, "wrong_invite_kind"));
    assert_eq!(site.get(&cyd, "/me/inbox").await.1["incoming_invites"][0]["id"], asked["id"]);
    assert_eq!(act(&cyd, &asked_id, "decline").await.1["status"], "declined");
    assert_eq!(code(&act(&cyd, &asked_id, "accept").await), (409, "expired_or_revoked"));

    let team_path = at(&format!("/teams/{}/join-request", text(&blue["id"])));
    let (status, request) = site.post(&cyd, &team_path, Value::Null).await;
    assert_eq!((status, &request["kind"]), (201, &json!("join_request")));
    assert_eq!(
        code(&site.post(&cyd, &team_path, Value::Null).await),
        (409, "request_already_pending")
    );
    assert_eq!(
        site.get(&ada, "/me/inbox").await.1["captain_requests"][0]["invite_id"],
        request["id"]
    );
    let request_id = text(&request["id"]);
    assert_eq!(code(&act(&cyd, &request_id, "accept").await), (409, "wrong_invite_kind"));
    assert_eq!(act(&ada, &request_id, "approve").await.0, 200);
    let (_, found) = site.get(&cyd, &at("/teams/search?q=BLU")).await;
    assert_eq!((&found["total"], &found["items"][0]["member_count"]), (&json!(1), &json!(3)));

    let renamed = site.call(&ada, "PATCH", &at("/team"), json!({"name": "Red"})).await;
    assert_eq!((renamed.0, &renamed.1["name"]), (200, &json!("Red")));
    let bob_id = text(&site.get(&bob, "/me").await.1["id"]);
    let cyd_id = text(&site.get(&cyd, "/me").await.1["id"]);
    let kick = async |who: &str, id: &str| {
        site.call(who, "DELETE", &at(&format!("/team/members/{id}")), Value::Null).await
    };
    assert_eq!(code(&kick(&bob, &cyd_id).await), (403, "not_captain"));
    let ada_id = text(&site.get(&ada, "/me").await.1["id"]);
    assert_eq!(code(&kick(&ada, &ada_id).await), (400, "cannot_kick_self"));
    assert_eq!(kick(&ada, &cyd_id).await.0, 204);
    assert_eq!(code(&kick(&ada, &cyd_id).await), (404, "not_team_member"));
    let leave = async |who: &str| site.post(who, &at("/team/leave"), Value::Null).await;
    assert_eq!(leave(&ada).await.0, 204);
    let (_, left) = site.get("", &format!("/teams/{}", text(&blue["id"]))).await;
    assert_eq!((&left["captain_user_id"], &left["member_count"]), (&json!(bob_id), &json!(1)));
    assert_eq!(leave(&bob).await.0, 204);
    assert_eq!(site.get("", &format!("/teams/{}", text(&blue["id"]))).await.0, 404);
    assert_eq!(code(&leave(&bob).await), (403, "not_registered"));
    let delete = async |name: &str| {
        site.call(&cyd, "DELETE", "/me", json!({"confirm_display_name": name})).await
    };
    event.enter(&cyd, "default", json!({})).await;
    assert_eq!(code(&delete("ada").await), (400, "wrong_confirmation"));
    assert_eq!(delete("cyd").await.0, 204);
    assert_eq!(site.get(&cyd, "/me").await.0, 403);
    assert_eq!(site.get("", "/teams").await.1["total"], 0);
    event.daemon.stop().await;
}

#[tokio::test]
async fn who_registers_twenty_times_at_once_is_in_one_team() {
    let event = Event::with(&[]).await;
    let ada = event.site.sign_up("ada").await;
    let bodies = (0..20).map(|n| match n % 2 {
        0 => json!({"mode": "solo"}),
        _ => json!({"mode": "create", "name": format!("Team {n}")}),
    });
    let calls = bodies.map(|body| event.enter(&ada, "default", body));
    let answers = futures_util::future::join_all(calls).await;
    let teams: std::collections::BTreeSet<_> = answers
        .iter()
        .filter(|(status, _)| *status == 201)
        .map(|(_, body)| text(&body["id"]))
        .collect();
    assert_eq!(teams.len(), 1, "{answers:?}");
    assert_eq!(event.site.get("", "/teams").await.1["total"], 1);
    event.daemon.stop().await;
}

#[tokio::test]
async fn what_the_server_does_not_have_is_a_clear_501() {
    let site = Site::new();
    for (method, path) in [
        ("GET", "/achievements/catalog"),
        ("GET", "/users/x"),
        ("PUT", "/challenges/WEB-001/feedback/brutal"),
        ("GET", "/scoreboard/history"),
        ("GET", "/me/export"),
    ] {
        let answer = site.call("", method, path, Value::Null).await;
        assert_eq!(code(&answer), (501, "not_implemented"), "{method} {path}");
        assert!(answer.1["timestamp"].is_string());
    }
}
