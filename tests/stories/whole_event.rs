//! A whole event: declared in git, tagged, entered by twenty teams that are more than the node has room
//! for, played, frozen, ended, counted again, and looked at afterwards.

use std::collections::BTreeSet;

use flagops::model::{Clock as _, Timestamp};
use flagops::telemetry::clock::SystemClock;
use serde_json::{Value, json};

use crate::support::{Challenge, Client, Daemon, PATIENCE, Ready, Stage, until};

const CHALLENGE: &str = "WEB-801";
const N_TEAMS: usize = 20;
/// Fewer than there are teams.
const N_SEATS: u32 = 8;

/// A team of one.
struct Player {
    name: String,
    client: Client,
}

/// The file of the competition, with `extra` lines.
fn finals(starts_at: Timestamp, extra: &str) -> String {
    format!(
        "title: Finals\nstarts_at: {}\n{extra}challenges: ['WEB-*']\nregistration: {{mode: create}}\n\
         scoring: {{function: linear, value: 500, minimum: 100, decay: 10, first_blood: 50}}\n",
        starts_at.rfc3339()
    )
}

async fn publish(stage: &Stage, daemon: &Daemon, file: &str, tag: &str) {
    stage.remote.write("competitions/finals.yaml", file);
    stage.remote.push(tag);
    stage.remote.tag(tag);
    until(&format!("{tag} to be live"), PATIENCE, || async {
        let page = daemon.admin().try_get("/gitops/releases").await?.body;
        if page["active"]["tag"] == tag { Ok(()) } else { Err(page.to_string()) }
    })
    .await;
}

async fn enter(daemon: &Daemon, name: &str) -> Player {
    let account = json!({
        "email": format!("{name}@example.org"), "password": "correct-horse-battery-9", "display_name": name,
    });
    let registered = daemon.anonymous().post("/auth/register", account).await;
    let token = registered.expect_status(200).text("token");
    let address = daemon.url();
    let address = address.strip_prefix("http://").expect("it speaks HTTP");
    let client = Client::new(address, &token);
    let team = json!({ "mode": "create", "name": name });
    client.post("/competitions/finals/register", team).await.expect_status(201);
    Player { name: name.to_owned(), client }
}

impl Player {
    /// Asks for an instance; also when it has to wait for one.
    async fn ask(&self) -> String {
        let wish = json!({ "challenge_id": CHALLENGE, "competition_id": "finals" });
        self.client.post("/instances", wish).await.expect_status(202).text("id")
    }

    async fn solve(&self, instance: &Ready) {
        let flag = instance.flag("/answers/flag").await;
        let graded = self.client.submit(&instance.id, "flag", json!(flag)).await.expect_status(200);
        assert_eq!(graded.body["correct"], true, "{}", graded.body);
    }
}

/// Name and points of every team, best first.
async fn board(client: &Client) -> Vec<(String, i64)> {
    let page =
        client.get("/competitions/finals/scoreboard?limit=100").await.expect_status(200).body;
    let rows = page["items"].as_array().expect("a board has rows").clone();
    let row = |row: &Value| {
        let name = row["team_name"].as_str().unwrap_or_default().to_owned();
        (name, row["score"].as_i64().unwrap_or_default())
    };
    rows.iter().map(row).collect()
}

#[tokio::test]
async fn an_event_from_its_declaration_to_its_archive() {
    let stage = Stage::with(&[Challenge::web(CHALLENGE, "one")]).await;
    let settings = stage
        .settings()
        .text("release.pattern", "^v(?<v>.+)$")
        .number("limits.instances_per_node", N_SEATS);
    let daemon = Daemon::start(settings).await;
    let (admin, begun) = (daemon.admin(), SystemClock.now().plus_secs(-60));
    let until_later = format!("ends_at: {}\n", SystemClock.now().plus_secs(3600).rfc3339());
    publish(&stage, &daemon, &finals(begun, &until_later), "v1.0.0").await;
    daemon.live(CHALLENGE).await;

    // The first account runs the platform.
    let organizer =
        json!({ "email": "organizer@example.org", "password": "correct-horse-battery-0" });
    daemon.anonymous().post("/auth/register", organizer).await.expect_status(200);
    let mut players = Vec::new();
    for nth in 0..N_TEAMS {
        players.push(enter(&daemon, &format!("team{nth:02}")).await);
    }
    let mut instances = Vec::new();
    for player in &players {
        instances.push(player.ask().await);
    }
    let status = format!("/instances/{}/status", instances[N_TEAMS - 1]);
    let waits = players[N_TEAMS - 1].client.get(&status).await.expect_status(200).body;
    assert_eq!(
        (&waits["status"], &waits["phase"]),
        (&json!("starting"), &json!("waiting")),
        "{waits}"
    );
    assert!(waits["queue"]["position"].as_u64().is_some_and(|it| it >= 1), "{waits}");

    // One by one they solve, which makes room for who waits; one tries the answer of another.
    let (thief, late) = (N_TEAMS - 2, N_TEAMS - 1);
    let mut stolen = String::new();
    for nth in 0..thief {
        let ready = players[nth].client.ready(&instances[nth]).await;
        if nth == 0 {
            players[nth]
                .client
                .post(&format!("/instances/{}/renew?ttl=600", ready.id), json!({}))
                .await
                .expect_status(200);
            stolen = ready.flag("/answers/flag").await;
        }
        players[nth].solve(&ready).await;
        players[nth].client.gone(&ready.id).await;
    }
    let taken = players[thief].client.ready(&instances[thief]).await;
    let graded = players[thief].client.submit(&taken.id, "flag", json!(stolen)).await;
    assert_eq!(graded.expect_status(200).body["correct"], false);
    players[thief].client.stop(&taken.id).await;

    let open = board(&daemon.anonymous()).await;
    assert_eq!(open.len(), N_TEAMS);
    // Eighteen solved: the value has sunk to its minimum for all of them, and one was first.
    assert_eq!(open[0], (players[0].name.clone(), 150), "{open:?}");
    assert_eq!(open[thief - 1], (players[thief - 1].name.clone(), 100), "{open:?}");

    // Frozen: who solves now is seen by organizers only.
    let frozen =
        format!("freeze_at: {}\nends_at: {}\n", now(), SystemClock.now().plus_secs(3600).rfc3339());
    publish(&stage, &daemon, &finals(begun, &frozen), "v1.1.0").await;
    let last = players[late].client.ready(&instances[late]).await;
    players[late].solve(&last).await;
    assert_eq!(board(&daemon.anonymous()).await, open, "the board stays as it was");
    assert_eq!(board(&players[late].client).await, open, "also for the team itself");
    let seen = board(&admin).await;
    assert_eq!(seen.iter().filter(|(_, score)| *score > 0).count(), N_TEAMS - 1, "{seen:?}");

    // Over: nothing starts, and everybody sees all.
    let over = format!("ends_at: {}\n", now());
    publish(&stage, &daemon, &finals(begun, &over), "v1.2.0").await;
    let wish = json!({ "challenge_id": CHALLENGE, "competition_id": "finals" });
    let refused = players[0].client.post("/instances", wish).await;
    refused.expect_refusal(409, "competition_ended");
    let ended = board(&daemon.anonymous()).await;
    assert_eq!(ended, seen, "what organizers saw is what everybody sees now");
    assert_eq!(
        daemon.cli(&["recount"]).code,
        Some(0),
        "the standings are what the answers make them"
    );
    assert_eq!(board(&daemon.anonymous()).await, ended);

    after_the_event(&daemon, &players, thief).await;
    daemon.nothing_left().await;
}

fn now() -> String {
    SystemClock.now().rfc3339()
}

/// What organizers still have when everything is over.
async fn after_the_event(daemon: &Daemon, players: &[Player], thief: usize) {
    let admin = daemon.admin();
    let found = admin.get("/admin/fairness?kind=foreign_answer").await.expect_status(200).body;
    let row = &found["items"][0];
    assert_eq!(found["total"], 1, "{found}");
    assert_eq!(row["team_name"], json!(players[thief].name), "{row}");
    assert_eq!(row["owner"]["team_name"], json!(players[0].name), "{row}");
    assert_eq!(row["owner"]["instance"]["had_ended"], true, "{row}");

    let page = admin.get("/admin/instance-records?limit=100").await.expect_status(200).body;
    let records = page["items"].as_array().expect("records are listed");
    let teams: BTreeSet<_> = records.iter().filter_map(|it| it["team_id"].as_str()).collect();
    assert_eq!((records.len(), teams.len()), (N_TEAMS, N_TEAMS), "{page}");
    for record in records {
        let id = record["id"].as_str().unwrap_or_default();
        let path = format!("/admin/instance-records/{id}");
        let whole = admin.get(&path).await.expect_status(200).body;
        let counts = &whole["artifacts"];
        assert!(counts["events_count"].as_u64().is_some_and(|n| n >= 3), "{whole}");
        assert_eq!(counts["submissions_count"], 1, "{whole}");
        admin.get(&format!("{path}/container-log")).await.expect_status(200);
    }
}
