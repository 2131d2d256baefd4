//! What administrators see and change, through the router, on an engine in memory.

use serde_json::json;

use super::accounts::Site;
use super::contests::{Event, code, text, wait};
use super::*;

/// The paths of the contract that want an administrator, with a method each.
const ADMIN_PATHS: &[(&str, &str)] = &[
    ("GET", "/admin/instances"),
    ("GET", "/admin/instances/x"),
    ("DELETE", "/admin/instances/x"),
    ("POST", "/admin/instances/x/reset"),
    ("GET", "/admin/instances/x/pcap"),
    ("GET", "/admin/instances/x/traffic"),
    ("GET", "/admin/instances/x/containers"),
    ("POST", "/admin/instances/x/shell/sessions"),
    ("GET", "/admin/shell-sessions"),
    ("DELETE", "/admin/shell-sessions/x"),
    ("GET", "/admin/shell-recordings"),
    ("GET", "/admin/shell-recordings/x"),
    ("DELETE", "/instances"),
    ("GET", "/admin/instance-records"),
    ("GET", "/admin/instance-records/x"),
    ("GET", "/admin/instance-records/x/container-log"),
    ("GET", "/admin/instance-records/x/events"),
    ("GET", "/admin/instance-records/x/submissions"),
    ("GET", "/admin/instance-records/x/traffic"),
    ("GET", "/admin/instance-records/x/pcap"),
    ("GET", "/admin/platform-settings"),
    ("PATCH", "/admin/platform-settings/disabled_challenges"),
    ("DELETE", "/admin/platform-settings/disabled_challenges"),
    ("GET", "/admin/overview"),
    ("GET", "/admin/health-flags"),
    ("GET", "/admin/timeseries?metric=solves"),
    ("GET", "/admin/solve-matrix"),
    ("GET", "/admin/traffic/summary"),
    ("GET", "/admin/challenges/stats"),
    ("GET", "/admin/challenges/latency-histogram"),
    ("GET", "/admin/challenges/x/timeseries"),
    ("GET", "/admin/challenges/build-state"),
    ("POST", "/admin/challenges/build-all"),
    ("POST", "/admin/challenges/rescan"),
    ("GET", "/admin/activities"),
    ("GET", "/admin/activities/timeseries"),
    ("GET", "/admin/announcements"),
    ("POST", "/admin/announcements"),
    ("PATCH", "/admin/announcements/x"),
    ("DELETE", "/admin/announcements/x"),
    ("POST", "/admin/teams/x/questions/y/z/reset-attempts"),
];

#[tokio::test]
async fn players_and_fine_grained_tokens_of_administrators_do_not_administer() {
    let site = Site::new();
    let ada = site.sign_up("ada").await;
    let bob = site.sign_up("bob").await;
    let wish = json!({"label": "x", "scopes": {"instances": "write", "profile": "write"},
        "competition_access": "all"});
    let (status, minted) = site.post(&ada, "/auth/tokens", wish).await;
    assert_eq!(status, 200, "{minted}");
    let bot = text(&minted["token"]);
    for (method, path) in ADMIN_PATHS {
        for (token, wanted) in [("", 401), (bob.as_str(), 403), (bot.as_str(), 403)] {
            let (status, body) = site.call(token, method, path, json!({})).await;
            assert_eq!(status, wanted, "{method} {path}: {body}");
        }
    }
}

#[tokio::test]
async fn a_setting_acts_at_once_and_says_where_it_comes_from() {
    let event = Event::with(&[]).await;
    let (site, admin) = (&event.site, event.site.admin());
    let (_, rows) = site.get(&admin, "/admin/platform-settings").await;
    assert_eq!(rows.as_array().unwrap().len(), 13);
    assert_eq!(
        (&rows[0]["key"], &rows[0]["source"]),
        (&json!("rate_limiting_enabled"), &json!("default"))
    );
    let set = async |key: &str, value: Value| {
        site.call(
            &admin,
            "PATCH",
            &format!("/admin/platform-settings/{key}"),
            json!({"value": value}),
        )
        .await
    };
    let wrong = set("max_instance_ttl_s", json!(59)).await;
    assert_eq!(
        (code(&wrong), text(&wrong.1["detail"])),
        ((400, "http_400"), "must be between 60 and 2592000".into())
    );
    let unknown = set("zz", json!(1)).await;
    assert_eq!(
        (code(&unknown), text(&unknown.1["detail"])),
        ((404, "http_404"), "unknown setting: zz".into())
    );

    let ada = site.sign_up("ada").await;
    event.enter(&ada, "default", json!({})).await;
    let (_, row) = set("max_instance_ttl_s", json!(600)).await;
    assert_eq!(
        (&row["value"], &row["source"], &row["default_value"]),
        (&json!(600), &json!("db"), &json!(86_400))
    );
    let (_, started) = event.start(&ada, "WEB-001", "").await;
    let path = format!("/instances/{}", text(&started["id"]));
    assert_eq!(site.get(&ada, &path).await.1["ttl"], 600);

    assert_eq!(site.get(&ada, "/challenges/WEB-002").await.0, 200);
    set("disabled_challenges", json!(["WEB-002"])).await;
    for token in ["", &ada, &admin] {
        let seen = site.get(token, "/challenges/WEB-002").await;
        assert_eq!(code(&seen), (404, "challenge_not_found"));
        let (_, listed) = site.get(token, "/competitions/default/challenges").await;
        assert_eq!(listed["total"], 2, "{listed}");
    }
    assert_eq!(event.start(&ada, "WEB-002", "").await.0, 404);
    let unset = "/admin/platform-settings/disabled_challenges";
    let (_, row) = site.call(&admin, "DELETE", unset, Value::Null).await;
    assert_eq!((&row["value"], &row["source"]), (&json!([]), &json!("default")));
    assert_eq!(event.start(&ada, "WEB-002", "").await.0, 202);

    set("question_attempt_caps", json!({"single_select": 1})).await;
    let answer = json!({"challenge_id": "QUIZ-001", "competition_id": "default",
        "question_id": "port", "answer": "23"});
    assert_eq!(site.post(&ada, "/qa/submissions", answer.clone()).await.0, 200);
    let capped = site.post(&ada, "/qa/submissions", answer.clone()).await;
    assert_eq!(code(&capped), (429, "question_attempt_cap_exceeded"));
    let (_, me) = site.get(&ada, "/me").await;
    let team = text(&me["competition_teams"][0]["team_id"]);
    let reset = format!("/admin/teams/{team}/questions/QUIZ-001/port/reset-attempts");
    let (status, given) = site.post(&admin, &reset, json!({"reason": "typo in the prompt"})).await;
    assert_eq!((status, &given["wrong_attempts"]), (200, &json!(1)), "{given}");
    assert_eq!(site.post(&ada, "/qa/submissions", answer).await.0, 200);
    let nobody = "/admin/teams/x/questions/QUIZ-001/port/reset-attempts";
    assert_eq!(code(&site.post(&admin, nobody, json!({})).await), (404, "team_not_found"));

    let (_, happened) = site.get(&admin, "/admin/activities?event=platform_setting_changed").await;
    assert_eq!(happened["total"], 4, "{happened}");
    assert_eq!(site.get(&admin, "/admin/activities?since=yesterday").await.0, 422);
    event.daemon.stop().await;
}

#[tokio::test]
async fn settings_outlive_the_daemon_and_rates_change_under_way() {
    let rig = Rig::new();
    let daemon = rig.start().await;
    let site = Site::over(rig, daemon.platform());
    let admin = site.admin();
    let path = "/admin/platform-settings/rate_limits";
    let set = json!({"value": {"login": "2/hour"}});
    assert_eq!(site.call(&admin, "PATCH", path, set).await.0, 200);
    let body = json!({"email": "nobody@example.org", "password": "a dozen of characters"});
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(site.post("", "/auth/login", body.clone()).await);
    }
    assert_eq!(seen.iter().map(|answer| answer.0).collect::<Vec<_>>(), [401, 401, 429]);
    assert_eq!(seen[2].1["error"], "Rate limit exceeded: 2 per 1 hour");
    daemon.stop().await;
    let rig = site.close();
    let daemon = rig.start().await;
    let site = Site::over(rig, daemon.platform());
    let (_, rows) = site.get(&admin, "/admin/platform-settings").await;
    assert_eq!(rows[1]["value"], json!({"login": "2/hour"}));
    let off = json!({"value": false});
    site.call(&admin, "PATCH", "/admin/platform-settings/rate_limiting_enabled", off).await;
    for _ in 0..4 {
        assert_eq!(site.post("", "/auth/login", body.clone()).await.0, 401);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn an_administrator_with_an_account_stops_and_resets_what_is_not_theirs() {
    let event = Event::with(&[]).await;
    let site = &event.site;
    let (ada, bob) = (site.sign_up("ada").await, site.sign_up("bob").await);
    event.enter(&bob, "default", json!({})).await;
    let (_, started) = event.start(&bob, "WEB-001", "").await;
    let id = text(&started["id"]);
    let ready =
        async || site.get(&bob, &format!("/instances/{id}/status")).await.1["status"] == "ready";
    wait("it to be ready", ready).await;
    assert_eq!(site.call(&ada, "DELETE", &format!("/instances/{id}"), Value::Null).await.0, 403);
    let path = format!("/admin/instances/{id}");
    let (status, reset) = site.post(&ada, &format!("{path}/reset"), json!({})).await;
    assert_eq!((status, &reset["resets"]), (202, &json!(1)), "{reset}");
    let (status, stopped) = site.call(&ada, "DELETE", &path, Value::Null).await;
    assert_eq!((status, &stopped["status"]), (200, &json!("stopped")));
    assert_eq!(code(&site.get(&ada, &path).await), (404, "instance_not_found"));
    assert_eq!(code(&site.get(&ada, "/admin/instances/a.b").await), (400, "http_400"));
    let (record, log) = (format!("/admin/instance-records/{id}"), "container-log");
    let is_over = async || site.get(&ada, &record).await.1["record"]["stopped_at"] != 0.0;
    wait("the record", is_over).await;
    let (_, detail) = site.get(&ada, &record).await;
    let seen = &detail["record"];
    assert_eq!((&seen["stop_reason"], &seen["spec"]["id"]), (&json!("admin_stop_all"), &json!(id)));
    assert_eq!(seen["surface"]["services"][0]["label"], "web");
    assert!(detail["artifacts"]["events_count"].as_u64() >= Some(3), "{detail}");
    let (_, events) = site.get(&ada, &format!("{record}/events")).await;
    assert_eq!(events["items"][0]["event"], "instance_started");
    assert_eq!(events["items"][0]["instance_id"], json!(id));
    assert!(text(&events["items"][0]["timestamp"]).ends_with("+00:00"));
    let (_, list) =
        site.get(&ada, "/admin/instance-records?status=stopped&challenge_id=WEB-001").await;
    assert_eq!((&list["total"], &list["limit"]), (&json!(1), &json!(100)));
    for other in ["status=error", "status=ready", "team_id=x", "since_ts=99999999999"] {
        let (_, none) = site.get(&ada, &format!("/admin/instance-records?{other}")).await;
        assert_eq!(none["total"], 0, "{other}");
    }
    assert_eq!(site.get(&ada, "/admin/instance-records?since_ts=soon").await.0, 422);
    assert_eq!(
        code(&site.get(&ada, "/admin/instance-records/x").await),
        (404, "instance_not_found")
    );
    let (status, log) = site.get(&ada, &format!("/admin/instance-records/x/{log}")).await;
    assert_eq!((status, log), (200, json!({"instance_id": "x", "logs": ""})));
    assert_eq!(code(&site.get(&ada, &format!("{record}/pcap")).await), (404, "http_404"));
    event.daemon.stop().await;
}

#[tokio::test]
async fn what_organizers_announce_is_read_by_everybody() {
    let site = Site::new();
    let (ada, bob) = (site.sign_up("ada").await, site.sign_up("bob").await);
    let announce = async |body: Value| site.post(&ada, "/admin/announcements", body).await;
    let (status, one) =
        announce(json!({"title": " Hint ", "body": "Look *up*.", "severity": "warning"})).await;
    assert_eq!(
        (status, &one["title"], &one["created_by_name"]),
        (201, &json!("Hint"), &json!("ada"))
    );
    let later = announce(json!({"title": "Later", "starts_at": "2999-01-01T00:00:00Z"})).await;
    assert_eq!(later.0, 201);
    for wrong in [
        json!({"title": ""}),
        json!({"title": "x".repeat(201)}),
        json!({"title": "a\nb"}),
        json!({"title": "x", "severity": "loud"}),
        json!({"title": "x", "starts_at": "2026-01-01T00:00:00"}),
        json!({"title": "x", "starts_at": "2026-01-02T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}),
        json!({"body": "x"}),
    ] {
        let (status, answer) = announce(wrong.clone()).await;
        assert_eq!(status, 422, "{wrong}: {answer}");
    }
    let inbox = async || site.get(&bob, "/me/inbox").await.1;
    let seen = inbox().await;
    assert_eq!(seen["unread_announcement_count"], 1, "what is scheduled is not shown: {seen}");
    assert_eq!(seen["announcements"][0]["is_read"], false);
    let read = format!("/me/announcements/{}/read", text(&one["id"]));
    let (_, first) = site.post(&bob, &read, Value::Null).await;
    let (_, again) = site.post(&bob, &read, Value::Null).await;
    assert_eq!(
        (first, again),
        (json!({"ok": true, "new": true}), json!({"ok": true, "new": false}))
    );
    assert_eq!(inbox().await["unread_announcement_count"], 0);
    let hidden = format!("/me/announcements/{}/read", text(&later.1["id"]));
    assert_eq!(code(&site.post(&bob, &hidden, Value::Null).await), (404, "announcement_not_found"));
    let path = format!("/admin/announcements/{}", text(&later.1["id"]));
    let (_, changed) = site.call(&ada, "PATCH", &path, json!({"starts_at": null})).await;
    assert_eq!((&changed["starts_at"], &changed["title"]), (&Value::Null, &json!("Later")));
    let (_, all) = site.post(&bob, "/me/announcements/read-all", Value::Null).await;
    assert_eq!(all, json!({"ok": true, "read_count": 1}));
    let gone = site.call(&ada, "DELETE", &path, Value::Null).await;
    assert_eq!((gone.0, &gone.1["status"]), (200, &json!("deleted")));
    assert_eq!(
        code(&site.call(&ada, "DELETE", &path, Value::Null).await),
        (404, "announcement_not_found")
    );
    assert_eq!(inbox().await["announcements"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn numbers_follow_what_happened() {
    let event = Event::with(&[]).await;
    let (site, admin) = (&event.site, event.site.admin());
    let ada = site.sign_up("ada").await;
    event.enter(&ada, "default", json!({})).await;
    let (_, started) = event.start(&ada, "WEB-001", "").await;
    let id = text(&started["id"]);
    let ready =
        async || site.get(&ada, &format!("/instances/{id}/status")).await.1["status"] == "ready";
    wait("it to be ready", ready).await;
    event.submit(&ada, &id, "flag", "FLAG{no}").await;
    let (_, overview) = site.get(&admin, "/admin/overview").await;
    assert_eq!(overview["nodes"], json!({"total": 1, "healthy": 1}));
    let users = ["users_total", "users_active_24h", "users_new_24h", "running_instances"];
    assert_eq!(users.map(|name| overview[name].clone()), [1, 1, 1, 1].map(Value::from));
    assert_eq!((&overview["solves_total"], &overview["teams_total"]), (&json!(0), &json!(1)));
    let flag = event.flag(&id).await;
    event.submit(&ada, &id, "flag", &flag).await;
    for (metric, sum) in
        [("launches", 1), ("submissions", 2), ("solves", 1), ("teams", 1), ("active_users", 1)]
    {
        let (_, series) = site
            .get(&admin, &format!("/admin/timeseries?metric={metric}&window=600&bucket=60"))
            .await;
        let buckets = series["buckets"].as_array().unwrap();
        let seen: u64 = buckets.iter().map(|bucket| bucket["value"].as_u64().unwrap()).sum();
        assert_eq!((seen, buckets.len()), (sum, 10), "{metric}: {series}");
        assert_eq!(buckets[9]["partial"], true);
    }
    for wrong in ["", "metric=x", "metric=", "metric=solves&window=59"] {
        assert_eq!(site.get(&admin, &format!("/admin/timeseries?{wrong}")).await.0, 422, "{wrong}");
    }
    let (_, stats) = site.get(&admin, "/admin/challenges/stats?q=web-001").await;
    let row = &stats["items"][0];
    assert_eq!(
        (&stats["total"], &row["launches"], &row["solve_rate"]),
        (&json!(1), &json!(1), &json!(1.0))
    );
    let (_, bars) = site.get(&admin, "/admin/challenges/latency-histogram").await;
    assert_eq!(
        bars.as_array().unwrap().iter().map(|bar| bar["count"].as_u64().unwrap()).sum::<u64>(),
        1
    );
    let (_, series) = site.get(&admin, "/admin/challenges/WEB-001/timeseries").await;
    assert_eq!(series["buckets"].as_array().unwrap().len(), 24);
    let unknown = site.get(&admin, "/admin/challenges/NO-1/timeseries").await;
    assert_eq!(code(&unknown), (404, "challenge_not_found"));
    let (_, matrix) = site.get(&admin, "/admin/solve-matrix").await;
    assert_eq!(
        (&matrix["cells"][0]["solved"], &matrix["cells"][0]["attempts"]),
        (&json!(true), &json!(2))
    );
    let (_, flags) = site.get(&admin, "/admin/health-flags").await;
    let none = json!({"stuck_starting": [], "recent_errors": [], "unhealthy_nodes": [], "silent_challenges": []});
    assert_eq!(flags, none);
    let (_, chart) = site.get(&admin, "/admin/activities/timeseries").await;
    assert!(chart["events"].as_array().unwrap().contains(&json!("flag_correct")), "{chart}");
    event.daemon.stop().await;
}

#[tokio::test]
async fn a_broken_and_a_too_hard_challenge_are_flagged() {
    let event = Event::with(&[]).await;
    let (site, admin) = (&event.site, event.site.admin());
    let ada = site.sign_up("ada").await;
    event.enter(&ada, "default", json!({})).await;
    let mut last = String::new();
    for _ in 0..3 {
        let body = json!({"challenge_id": "WEB-001", "another": true});
        last = text(&site.post(&ada, "/instances", body).await.1["id"]);
    }
    event.submit(&ada, &last, "flag", "FLAG{no}").await;
    let (_, flags) = site.get(&admin, "/admin/health-flags").await;
    let silent = &flags["silent_challenges"][0];
    assert_eq!(
        (&silent["challenge_id"], &silent["launches"]),
        (&json!("WEB-001"), &json!(3)),
        "{flags}"
    );
    wait("all of them to be ready", async || {
        let (_, rows) = site.get(&ada, "/instances?status=ready").await;
        rows["total"] == 3
    })
    .await;
    site.rig.engine.exit_on_start("web", 7);
    let (_, started) = event.start(&ada, "WEB-002", "").await;
    let id = text(&started["id"]);
    wait("it to fail", async || {
        let (_, flags) = site.get(&admin, "/admin/health-flags").await;
        flags["recent_errors"][0]["instance_id"] == json!(id)
    })
    .await;
    let (_, stats) = site.get(&admin, "/admin/challenges/stats").await;
    let worst = &stats["items"][0];
    assert_eq!((&worst["challenge_id"], &worst["error_rate"]), (&json!("WEB-002"), &json!(1.0)));
    assert!(text(&worst["last_error"]["message"]).contains("exited with code 7"), "{worst}");
    event.daemon.stop().await;
}
