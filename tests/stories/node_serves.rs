//! A node operator adds machines: they pull, build and serve by themselves, and what they lose is not
//! lost for players.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    Challenge, Client, Daemon, Finished, PATIENCE, Ready, Settings, Stage, until,
};

/// A platform without instances of its own, where a node is lost after a few seconds.
fn platform_of(stage: &Stage) -> Settings {
    stage
        .settings()
        .data_dir(stage.path("platform"))
        .no("nodes.local")
        .number("nodes.lost_after_secs", 6)
}

/// A node of `platform`, not yet running.
async fn node_of(stage: &Stage, platform: &Daemon, name: &str) -> Settings {
    let invite = platform.admin().post("/nodes/invites", json!({"ttl_seconds": 600})).await;
    let invite = invite.expect_status(200).text("registration_token");
    stage
        .settings()
        .data_dir(stage.path(name))
        .text("node.name", name)
        .node_of(&platform.url(), &invite)
}

/// The rows of `GET /nodes`, by name.
async fn nodes(platform: &Daemon) -> BTreeMap<String, Value> {
    let reply = platform.admin().get("/nodes").await.expect_status(200);
    let items = reply.body["items"].as_array().cloned().unwrap_or_default();
    let named = |node: Value| (node["display_name"].as_str().unwrap_or_default().to_owned(), node);
    items.into_iter().map(named).collect()
}

/// A platform and two nodes, and `challenges` live.
async fn cluster(challenges: &[Challenge]) -> (Stage, Daemon, [Daemon; 2]) {
    let stage = Stage::with(challenges).await;
    let platform = Daemon::start(platform_of(&stage)).await;
    let one = Daemon::start(node_of(&stage, &platform, "one").await).await;
    let two = Daemon::start(node_of(&stage, &platform, "two").await).await;
    for challenge in challenges {
        let id = challenge.folder.rsplit('/').next().expect("a folder has a name");
        platform.live(id).await;
        on_both(&platform, id).await;
    }
    (stage, platform, [one, two])
}

/// Waits until both nodes follow what is live.
async fn on_both(platform: &Daemon, id: &str) {
    until(&format!("both nodes have {id}"), PATIENCE, || async {
        let nodes = nodes(platform).await;
        let have = |node: &&Value| {
            node["is_healthy"] == true
                && node["generation"].as_u64() > Some(0)
                && node["images_built"].as_u64() > Some(0)
        };
        if nodes.values().filter(have).count() == 2 { Ok(()) } else { Err(format!("{nodes:?}")) }
    })
    .await;
}

/// Where an instance is.
async fn whereabouts(platform: &Daemon, id: &str) -> Value {
    platform.admin().get(&format!("/instances/{id}")).await.body
}

async fn submit(team: &Client, ready: &Ready, flag: &str) -> Value {
    let body = json!({"instance_id": ready.id, "question_id": "flag", "answer": flag});
    team.post("/submissions", body).await.expect_status(200).body
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_build_what_is_released_and_share_the_instances() {
    let (_stage, platform, [one, two]) = cluster(&[Challenge::web("WEB-801", "one")]).await;
    let mut started = Vec::new();
    for n in 0..6 {
        let team = platform.team(&format!("team {n}")).await;
        let ready = team.play("WEB-801").await;
        started.push((team, ready));
    }
    let mut by_node: BTreeMap<String, usize> = BTreeMap::new();
    for (_, ready) in &started {
        let row = whereabouts(&platform, &ready.id).await;
        *by_node.entry(row["node_id"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    assert_eq!(by_node.values().copied().collect::<Vec<_>>(), [3, 3], "{by_node:?}");
    let mut flags = Vec::new();
    for (team, ready) in &started {
        let flag = ready.flag("/answers/flag").await;
        assert!(!flags.contains(&flag), "two instances have one flag");
        assert_eq!(submit(team, ready, "FLAG{wrong}").await["correct"], false);
        assert_eq!(submit(team, ready, &flag).await["correct"], true);
        flags.push(flag);
    }
    // A right answer to the last question ends the instance, on its node too.
    one.nothing_left().await;
    two.nothing_left().await;
    for log in [platform.log(), one.log(), two.log()] {
        assert!(!flags.iter().any(|flag| log.contains(flag.as_str())), "an answer is in a log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_node_had_fails_or_is_made_anew_elsewhere_and_never_serves_twice() {
    let stays = Challenge::web("WEB-802", "one");
    let metadata = stays.files["metadata.yaml"].replace("WEB-802", "WEB-803");
    let moves = Challenge::web("WEB-803", "one")
        .with("metadata.yaml", format!("{metadata}instance: {{on_node_loss: move}}\n"));
    let (_stage, platform, [mut one, two]) = cluster(&[stays, moves]).await;
    let (red, blue) = (platform.team("red").await, platform.team("blue").await);
    // Both on the node that will be lost.
    let name_of = |node: &Daemon| node.url().replace("http://", "").replace(':', "_");
    let (first, second) = (name_of(&one), name_of(&two));
    platform.cli(&["nodes", "cordon", &second, "--why", "story"]).fine();
    let (kept, moved) = (red.play("WEB-802").await, blue.play("WEB-803").await);
    let flag = moved.flag("/answers/flag").await;
    platform.cli(&["nodes", "uncordon", &second]).fine();
    assert_eq!(whereabouts(&platform, &moved.id).await["node_id"], first.as_str());

    one.kill9();
    until("its owner reads that the node is lost", PATIENCE, || async {
        let status = red.get(&format!("/instances/{}/status", kept.id)).await.body;
        let is_told = status["status"] == "error"
            && status["error"].as_str().is_some_and(|text| text.contains("unhealthy"));
        if is_told { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let again = until("the other one is ready elsewhere", PATIENCE, || async {
        let row = whereabouts(&platform, &moved.id).await;
        let is_there = row["status"] == "ready" && row["node_id"] == second.as_str();
        if is_there { Ok(row) } else { Err(row.to_string()) }
    })
    .await;
    let port = again["services"][0]["port"].as_u64().expect("it has a port");
    let url = format!("http://127.0.0.1:{port}/answers/flag");
    let text = crate::support::fetch(&url).await.expect("it answers");
    assert_eq!(text, flag, "the same answer elsewhere");

    // Back again, it has nothing of either.
    one.restart().await;
    one.nothing_left().await;
    assert_eq!(submit(&blue, &moved, &flag).await["correct"], true);
    let shown = platform.cli(&["nodes", "show", &first]).fine();
    assert!(shown.contains("node_recovered"), "{}", shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_dies_or_loses_its_database_finds_everything_again() {
    let (_stage, mut platform, [one, two]) = cluster(&[Challenge::web("WEB-804", "one")]).await;
    let red = platform.team("red").await;
    let ready = red.play("WEB-804").await;
    let flag = ready.flag("/answers/flag").await;
    platform.kill9();
    until("a node notices that its platform is away", PATIENCE, || async {
        let noticed = [&one, &two].iter().any(|node| node.log().contains("PlatformSilent"));
        if noticed { Ok(()) } else { Err(one.log()) }
    })
    .await;
    assert_eq!(ready.flag("/answers/flag").await, flag, "its node goes on serving");
    platform.restart().await;
    until("it is ready as ever", PATIENCE, || async {
        let status = red.get(&format!("/instances/{}/status", ready.id)).await.body;
        if status["status"] == "ready" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;

    // As after a restore from a copy that did not know of the instance.
    platform.kill9();
    platform.forget_instances();
    platform.restart().await;
    until("the row is written anew", PATIENCE, || async {
        let row = whereabouts(&platform, &ready.id).await;
        if row["status"] == "ready" { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    assert_eq!(ready.flag("/answers/flag").await, flag, "nothing of it was touched");
    assert_eq!(submit(&red, &ready, &flag).await["correct"], true);
    one.nothing_left().await;
    two.nothing_left().await;
}

/// Everything that the unmodified `NodeClient` of the contract can ask.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_the_contract_can_ask_a_node_for_everything() {
    crate::sdk::require_sdk();
    let challenge = Challenge::web("WEB-806", "one")
        .with("attachments/readme.txt", "read me\n")
        .with("attachments/letter.txt.tpl", "{{ answer.flag }}\n");
    let stage = Stage::with(&[challenge]).await;
    let mut platform = Daemon::start(platform_of(&stage)).await;
    let node = Daemon::start(node_of(&stage, &platform, "one").await).await;
    platform.live("WEB-806").await;
    until("the node follows what is live", PATIENCE, || async {
        let nodes = nodes(&platform).await;
        let follows = nodes.values().any(|node| node["generation"].as_u64() > Some(0));
        if follows { Ok(()) } else { Err(format!("{nodes:?}")) }
    })
    .await;
    // It would take on what is started behind its back, and start it again.
    platform.kill9();
    let identity = std::fs::read(node.data_dir().join("node.json")).expect("it has joined");
    let identity: Value = serde_json::from_slice(&identity).expect("it is whole");
    let token = identity["token"].as_str().expect("it has a token").to_owned();
    let script = crate::support::repository_root().join("tests/stories/fixtures/node_client.py");
    let mut run = std::process::Command::new(crate::support::python());
    let done = Finished::of(run.arg(script).args([&node.url(), &token, "WEB-806"]));
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    node.nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_invite_is_good_for_one_node() {
    let stage = Stage::with(&[Challenge::web("WEB-805", "one")]).await;
    let platform = Daemon::start(platform_of(&stage)).await;
    let admin = platform.admin();
    let invite = admin.post("/nodes/invites", json!({"ttl_seconds": 60})).await;
    let token = invite.expect_status(200).text("registration_token");
    let mut joining = tokio::task::JoinSet::new();
    for n in 0..50 {
        let client = Client::new(platform.url().trim_start_matches("http://"), &token);
        joining.spawn(async move {
            let body = json!({"url": format!("http://127.0.0.1:{}", 40_000 + n)});
            client.post("/nodes/register", body).await.status
        });
    }
    let statuses = joining.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 49, "{statuses:?}");
    for url in ["http://169.254.169.254", "file:///etc/passwd", "http://10.1.2.3:8101"] {
        admin.post("/nodes/register", json!({"url": url})).await.expect_refusal(422, "bad_node");
    }
    let joined = admin.post("/nodes/register", json!({"url": "http://127.0.0.1:40999"})).await;
    let joined = joined.expect_status(200);
    let node = Client::new(platform.url().trim_start_matches("http://"), &joined.text("token"));
    let beat = |n: u64| json!({"node_id": "127.0.0.1_40999", "running": 0, "life": "a", "beat": n});
    let other = json!({"node_id": "127.0.0.1_1", "running": 0});
    node.post("/nodes/heartbeat", other).await.expect_refusal(403, "http_403");
    node.post("/nodes/heartbeat", beat(2)).await.expect_status(200);
    let before = admin.get("/admin/nodes/127.0.0.1_40999").await.body["last_heartbeat"].clone();
    // A replay says nothing.
    node.post("/nodes/heartbeat", beat(1)).await.expect_status(200);
    let after = admin.get("/admin/nodes/127.0.0.1_40999").await.body["last_heartbeat"].clone();
    assert_eq!(before, after);
    let anonymous = platform.anonymous().get("/nodes").await.body;
    assert!(!anonymous.to_string().contains("http://127.0.0.1:40999"), "{anonymous}");
}
