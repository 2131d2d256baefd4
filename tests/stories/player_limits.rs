//! Players meet limits, leases and each other.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Challenge, Daemon, PATIENCE, Stage, until};

const CHALLENGE: &str = "WEB-501";

#[tokio::test]
async fn a_team_and_a_node_have_as_many_instances_as_they_may() {
    let stage = Stage::with(&[Challenge::web(CHALLENGE, "one")]).await;
    let settings = stage
        .settings()
        .number("limits.instances_per_team", 2)
        .number("limits.instances_per_node", 3)
        .number("limits.waiting_starts", 0);
    let daemon = Daemon::start(settings).await;
    daemon.live(CHALLENGE).await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let wish = json!({ "challenge_id": CHALLENGE, "another": true });

    let (first, _second) = (red.start(CHALLENGE).await, red.start(CHALLENGE).await);
    let refused = red.post("/instances", wish.clone()).await;
    let refused = refused.expect_refusal(503, "capacity_exceeded");
    assert_eq!(refused.text("detail"), "Max 2 concurrent instances per team");
    blue.start(CHALLENGE).await;
    let refused = blue.post("/instances", wish).await.expect_refusal(503, "capacity_exceeded");
    assert_eq!(refused.text("detail"), "Node at capacity");

    red.stop(&first).await;
    until("the place is free again", PATIENCE, || async {
        let body = json!({ "challenge_id": CHALLENGE, "another": true });
        let reply = blue.try_post("/instances", body).await?;
        if reply.status == 202 { Ok(()) } else { Err(format!("{reply:?}")) }
    })
    .await;
}

#[tokio::test]
async fn who_finds_no_room_waits_in_a_line_that_survives_a_kill() {
    let stage = Stage::with(&[Challenge::web(CHALLENGE, "one")]).await;
    let mut daemon = Daemon::start(stage.settings().number("limits.instances_per_node", 1)).await;
    daemon.live(CHALLENGE).await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let first = red.start(CHALLENGE).await;
    let wish = json!({ "challenge_id": CHALLENGE });
    let reply = blue.post("/instances", wish.clone()).await.expect_status(202);
    assert_eq!(reply.text("status"), "starting");
    let id = reply.text("id").to_owned();
    let again = blue.post("/instances", wish).await.expect_status(202);
    assert_eq!(again.text("id"), id, "a repeated wish waits once");
    let status = format!("/instances/{id}/status");
    let waits = |body: &Value| {
        body["status"] == "starting"
            && body["phase"] == "waiting"
            && body["queue"] == json!({ "position": 1, "length": 1 })
    };
    let seen = blue.get(&status).await.expect_status(200).body;
    assert!(waits(&seen), "{seen}");
    let listed = blue.get("/instances").await.expect_status(200).body;
    assert_eq!(listed["items"][0]["queue"]["position"], 1, "{listed}");
    red.get(&status).await.expect_refusal(403, "forbidden");
    blue.post(&format!("/instances/{id}/renew"), json!({}))
        .await
        .expect_refusal(409, "instance_waiting");

    daemon.kill9();
    daemon.restart().await;
    let seen = blue.get(&status).await.expect_status(200).body;
    assert!(waits(&seen), "{seen}");
    red.stop(&first).await;
    blue.ready(&id).await;
    blue.stop(&id).await;
}

#[tokio::test]
async fn strangers_and_other_teams_get_nothing() {
    let stage = Stage::with(&[Challenge::web(CHALLENGE, "one")]).await;
    let daemon = stage.serve().await;
    daemon.live(CHALLENGE).await;
    let (red, blue, nobody) =
        (daemon.team("red").await, daemon.team("blue").await, daemon.anonymous());
    let id = red.start(CHALLENGE).await;
    let path = format!("/instances/{id}");

    for reply in [
        blue.get(&path).await,
        blue.get(&format!("{path}/status")).await,
        blue.post(&format!("{path}/renew"), json!({})).await,
        blue.delete(&path).await,
    ] {
        reply.expect_refusal(403, "forbidden");
    }
    assert_eq!(nobody.get(&path).await.status, 401);
    assert_eq!(nobody.post("/instances", json!({ "challenge_id": CHALLENGE })).await.status, 401);
    blue.post("/instances", json!({ "challenge_id": "WEB-999" }))
        .await
        .expect_refusal(404, "challenge_not_found");
    for hostile in ["../../etc/passwd", "WEB-501'--", "", &"x".repeat(5000)] {
        let reply = blue.post("/instances", json!({ "challenge_id": hostile })).await;
        assert_eq!(reply.status, 404, "{hostile}: {}", reply.body);
    }
    for admins_only in ["/gitops/status", "/gitops/builds", "/admin/instances"] {
        assert_eq!(blue.get(admins_only).await.status, 403, "{admins_only}");
        assert_eq!(nobody.get(admins_only).await.status, 401, "{admins_only}");
    }

    let ids = |page: &Value| -> Vec<String> {
        let rows = page["items"].as_array().expect("a page has items").iter();
        rows.map(|row| row["id"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(ids(&red.get("/instances").await.body), [id.as_str()]);
    assert_eq!(ids(&blue.get("/instances").await.body), Vec::<String>::new());
    assert_eq!(ids(&daemon.admin().get("/admin/instances").await.body), [id.as_str()]);
    let other = red.get("/instances?challenge_id=WEB-502").await.body;
    assert_eq!(ids(&other), Vec::<String>::new());

    red.stop(&id).await;
    red.delete(&path).await.expect_refusal(404, "instance_not_found");
    daemon.nothing_left().await;
}

#[tokio::test]
async fn a_lease_is_bounded_renewed_and_ends() {
    let stage = Stage::with(&[Challenge::web(CHALLENGE, "one")]).await;
    let settings =
        stage.settings().number("limits.default_ttl_secs", 600).number("limits.max_ttl_secs", 900);
    let daemon = Daemon::start(settings).await;
    daemon.live(CHALLENGE).await;
    let red = daemon.team("red").await;
    let lasting = red.play(CHALLENGE).await;
    let path = format!("/instances/{}", lasting.id);
    let left = |body: &Value| {
        let end = body["expires_at"].as_f64().expect("a lease has an end");
        end - now()
    };
    let shown = red.get(&path).await.body;
    assert_eq!(shown["ttl"], 600);
    assert!((590.0..=600.5).contains(&left(&shown)), "{shown}");
    for (ttl, wanted) in [(60, 60.0), (100_000, 900.0), (-5, 600.0), (0, 600.0)] {
        let renewed = red.post(&format!("{path}/renew?ttl={ttl}"), json!({})).await;
        let renewed = renewed.expect_status(200).body;
        let difference: f64 = left(&renewed) - wanted;
        assert!(difference.abs() < 10.0, "a renewal of {ttl} s: {renewed}");
    }

    // A short one ends by itself, and everything of it goes.
    let wish = json!({ "challenge_id": CHALLENGE, "ttl": 3 });
    let short = red.post("/instances", wish).await.expect_status(202).text("id");
    let begin = Instant::now();
    red.gone(&short).await;
    assert!(begin.elapsed() >= Duration::from_secs(3), "no lease ends early");
    until("nothing of the short one is left", PATIENCE, || async {
        let left = daemon.engine().containers_of(&short);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    lasting.flag("/answers/flag").await;
}

/// Seconds since the epoch, by the clock of the machine that the daemon shares.
fn now() -> f64 {
    let text = std::process::Command::new("date").arg("+%s.%N").output().expect("there is a clock");
    String::from_utf8_lossy(&text.stdout).trim().parse().expect("`date` prints seconds")
}

#[tokio::test]
async fn ten_teams_start_one_challenge_at_the_same_time() {
    let stage = Stage::with(&[Challenge::web(CHALLENGE, "one")]).await;
    let daemon = stage.serve().await;
    daemon.live(CHALLENGE).await;
    let mut teams = Vec::new();
    for n in 0..10 {
        teams.push(daemon.team(&format!("team {n}")).await);
    }
    let starts = teams.iter().map(|team| team.play(CHALLENGE));
    let instances = futures_util::future::join_all(starts).await;
    let mut flags = std::collections::BTreeSet::new();
    let mut ports = std::collections::BTreeSet::new();
    for instance in &instances {
        flags.insert(instance.flag("/answers/flag").await);
        ports.insert(instance.first().1);
    }
    assert_eq!((flags.len(), ports.len()), (10, 10), "everybody has their own");

    let stopped = daemon.admin().delete("/instances").await.expect_status(200);
    assert_eq!(stopped.body.as_array().map(Vec::len), Some(10), "{}", stopped.body);
    daemon.nothing_left().await;
}

#[tokio::test]
async fn a_stop_during_a_start_leaves_nothing() {
    let stage = Stage::with(&[Challenge::web_and_db("WEB-503", "one")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-503").await;
    let red = daemon.team("red").await;
    let phases = ["queued", "preparing", "creating", "starting", "probing"];
    for wanted in phases {
        let id = red.start("WEB-503").await;
        // A phase may be over before anybody looks: then it is stopped in a later one.
        until(&format!("it has come as far as {wanted}"), PATIENCE, || async {
            let reply = red.try_get(&format!("/instances/{id}/status")).await?;
            let phase = reply.body["phase"].as_str().unwrap_or_default().to_owned();
            let at = |phase: &str| phases.iter().position(|known| *known == phase).unwrap_or(9);
            if at(&phase) >= at(wanted) { Ok(()) } else { Err(phase) }
        })
        .await;
        red.stop(&id).await;
        daemon.nothing_left().await;
    }
}
