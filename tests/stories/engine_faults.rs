//! The engine, or somebody beside us at the engine, does what nobody asked for.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{
    Challenge, Client, Daemon, Disk, Engine, OwnEngine, PATIENCE, Ready, Stage, until,
};

const CHALLENGE: &str = "WEB-801";

/// Waits until `instance` answers with the flag it had, at the place where it was.
async fn repaired(daemon: &Daemon, team: &Client, instance: &Ready, flag: &str) {
    let (host, port) = instance.first();
    let url = format!("http://{host}:{port}/cgi-bin/flag");
    until("the instance answers again", PATIENCE, || async {
        let state = team.try_get(&format!("/instances/{}/status", instance.id)).await?.body;
        assert_ne!(state["status"], "error", "{state}");
        let text = crate::support::fetch(&url).await?;
        let is_ready = state["status"] == "ready";
        if text == flag && is_ready { Ok(()) } else { Err(format!("{text} {state}")) }
    })
    .await;
    let n_containers = daemon.engine().containers_of(&instance.id).len();
    assert_eq!(n_containers, 2, "one container for each service");
}

#[tokio::test]
async fn what_an_operator_does_to_containers_by_hand_is_repaired() {
    let stage = Stage::with(&[Challenge::web_and_db(CHALLENGE, "one")]).await;
    let daemon = stage.serve().await;
    daemon.live(CHALLENGE).await;
    let red = daemon.team("red").await;
    let instance = red.play(CHALLENGE).await;
    let flag = instance.flag("/cgi-bin/flag").await;
    let containers = daemon.engine().containers_of(&instance.id);
    let (db, web) = (containers[0].as_str(), containers[1].as_str());
    assert!(db.ends_with("-db") && web.ends_with("-web"), "{containers:?}");
    for by_hand in [
        vec!["rm", "--force", web],
        vec!["rm", "--force", db],
        vec!["rm", "--force", web, db],
        vec!["kill", db],
        vec!["kill", web],
        vec!["stop", "--time", "0", web],
    ] {
        daemon.engine().docker(&by_hand).expect("the operator may do that");
        repaired(&daemon, &red, &instance, &flag).await;
    }
    let shown = red.get(&format!("/instances/{}", instance.id)).await.body;
    assert!(shown["restarts"].as_u64().is_some_and(|n| n >= 3), "deaths are counted: {shown}");
    // Made anew three times within ten minutes: no hand is fought for ever.
    daemon.engine().docker(&["pause", web]).expect("the operator may do that");
    let scope = format!("instance/{}", instance.id);
    daemon.admin().stated(&scope, "Stalled", "True", "ReplacesExhausted").await;
    // Its owner begins anew.
    daemon.cli(&["instances", "reset", &instance.id]).fine();
    repaired(&daemon, &red, &instance, &flag).await;
    assert_eq!(red.submit(&instance.id, "flag", json!(flag)).await.body["correct"], true);
    red.gone(&instance.id).await;
    daemon.nothing_left().await;
}

#[tokio::test]
async fn what_is_not_ours_is_never_touched() {
    let stage = Stage::with(&[Challenge::web("WEB-802", "one")]).await;
    let mut daemon = stage.serve().await;
    daemon.live("WEB-802").await;
    let name = format!("fo-story-stranger-{}", std::process::id());
    let engine = daemon.engine().clone();
    // It even claims to be an instance, of another installation.
    let id = engine
        .docker(&[
            "run",
            "--detach",
            "--name",
            &name,
            "--label",
            "flagops.kind=instance",
            "--label",
            "flagops.installation=0123456789abcdef",
            "--label",
            "flagops.instance=00000000-0000-4000-8000-000000000000",
            "busybox:latest",
            "sleep",
            "600",
        ])
        .expect("a stranger may run containers");
    let red = daemon.team("red").await;
    let instance = red.play("WEB-802").await;
    red.stop(&instance.id).await;
    daemon.nothing_left().await;
    daemon.kill9();
    daemon.restart().await;
    daemon.nothing_left().await;
    let state = engine.docker(&["inspect", "--format", "{{.State.Running}}", id.trim()]);
    engine.docker(&["rm", "--force", &name]).expect("the stranger goes");
    assert_eq!(state.as_deref().map(str::trim), Ok("true"));
}

#[tokio::test]
async fn an_image_that_was_removed_by_hand_is_built_again() {
    let stage = Stage::with(&[Challenge::web("WEB-803", "one")]).await;
    let mut daemon = stage.serve().await;
    daemon.live("WEB-803").await;
    let admin = daemon.admin();
    let row = admin.challenge("WEB-803").await.expect("it is there");
    let image = row["images"][0]["image"].as_str().expect("it is built").to_owned();
    daemon.engine().docker(&["rmi", "--force", &image]).expect("nobody uses it");
    daemon.stop().await;
    daemon.restart().await;
    let red = daemon.team("red").await;
    until("an instance starts again", PATIENCE, || async {
        let reply = red.try_post("/instances", json!({ "challenge_id": "WEB-803" })).await?;
        if reply.status != 202 {
            return Err(format!("{reply:?}"));
        }
        let id = reply.text("id");
        let state = until("the start has ended", PATIENCE, || async {
            let state = red.try_get(&format!("/instances/{id}/status")).await?.body;
            if state["status"] == "starting" { Err(state.to_string()) } else { Ok(state) }
        })
        .await;
        if state["status"] == "ready" { Ok(()) } else { Err(state.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_daemon_without_an_engine_says_so_and_recovers() {
    let stage = Stage::with(&[Challenge::web("WEB-804", "one")]).await;
    let socket = stage.path("engine.sock");
    let endpoint = format!("unix://{}", socket.display());
    let mut daemon = Daemon::launch(stage.settings().text("engine.endpoint", &endpoint));
    let (anonymous, url) = (daemon.anonymous(), daemon.url());
    let unready = until("it answers that it is not ready", PATIENCE, || async {
        let reply = anonymous.at(&format!("{url}/readyz")).await?;
        if reply.status == 503 { Ok(reply.body) } else { Err(format!("{reply:?}")) }
    })
    .await;
    assert!(unready.to_string().contains("engine"), "{unready}");
    let alive = anonymous.at(&format!("{url}/healthz")).await.expect("it answers");
    alive.expect_status(200);
    let admin = daemon.admin();
    let condition = admin.stated("node/local", "DockerAvailable", "False", "Unreachable").await;
    assert!(condition["message"].to_string().contains("engine.sock"), "{condition}");
    admin.stated("repo", "SourceReachable", "True", "Ok").await;

    link_to_engine(&socket);
    daemon.ready().await;
    daemon.live("WEB-804").await;
    let red = daemon.team("red").await;
    red.play("WEB-804").await.flag("/answers/flag").await;

    // It goes away while an instance starts, and comes back: the start goes on.
    std::fs::remove_file(&socket).expect("the link can be removed");
    let id = red.start("WEB-804").await;
    admin.stated("node/local", "DockerAvailable", "False", "Unreachable").await;
    link_to_engine(&socket);
    red.ready(&id).await.flag("/answers/flag").await;
}

/// Makes the machine's engine answer at `socket`, too.
fn link_to_engine(socket: &Path) {
    std::os::unix::fs::symlink(Engine::shared_socket(), socket).expect("a link can be made");
}

async fn with_own_engine(stage: &Stage, disk: Disk) -> (OwnEngine, Daemon) {
    let own = OwnEngine::start(&stage.path(""), disk).await;
    let endpoint = format!("unix://{}", own.socket().display());
    let settings = stage
        .settings()
        .elsewhere(own.engine(), own.runner(), &own.address())
        .text("engine.endpoint", &endpoint);
    let daemon = Daemon::start(settings).await;
    (own, daemon)
}

#[tokio::test]
async fn an_engine_that_restarts_under_running_instances_gets_them_back() {
    let stage = Stage::with(&[Challenge::web_and_db(CHALLENGE, "one")]).await;
    let (mut own, mut daemon) = with_own_engine(&stage, Disk::Ample).await;
    daemon.live(CHALLENGE).await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let (of_red, of_blue) = (red.play(CHALLENGE).await, blue.play(CHALLENGE).await);
    let flags = (of_red.flag("/cgi-bin/flag").await, of_blue.flag("/cgi-bin/flag").await);

    own.halt().await;
    let admin = daemon.admin();
    admin.stated("node/local", "DockerAvailable", "False", "Unreachable").await;
    // Not seen is not gone: both are still there for their owners.
    red.get(&format!("/instances/{}", of_red.id)).await.expect_status(200);
    own.boot().await;
    daemon.ready().await;
    repaired(&daemon, &red, &of_red, &flags.0).await;
    repaired(&daemon, &blue, &of_blue, &flags.1).await;

    // The engine restarts, and the daemon is not there to see it.
    daemon.kill9();
    own.halt().await;
    own.boot().await;
    daemon.restart().await;
    repaired(&daemon, &red, &of_red, &flags.0).await;
    assert_eq!(red.submit(&of_red.id, "flag", json!(flags.0)).await.body["correct"], true);
    blue.stop(&of_blue.id).await;
    daemon.nothing_left().await;
    drop(daemon);
}

#[tokio::test]
async fn a_disk_that_is_full_while_building_is_named_and_the_build_is_tried_again() {
    let stage = Stage::with(&[Challenge::web("WEB-805", "one")]).await;
    let (own, daemon) = with_own_engine(&stage, Disk::Small(64)).await;
    daemon.live("WEB-805").await;
    let admin = daemon.admin();
    let large = "FROM busybox:latest
RUN dd if=/dev/zero of=/large bs=1M count=120
COPY version /www/version
CMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/\"]
";
    stage.remote.write("WEB/WEB-805/services/web/Dockerfile", large);
    let pushed = stage.remote.push("a large image");
    let row = until("the build has failed", PATIENCE, || async {
        let row = admin.challenge("WEB-805").await?;
        if row["images"][0]["status"] == "failed" { Ok(row) } else { Err(row.to_string()) }
    })
    .await;
    let image = &row["images"][0];
    let error = image["error"].as_str().expect("a failed build has an error");
    assert!(error.contains("disk of the container engine is full"), "{error}");
    assert_eq!(image["retryable"], true, "{row}");
    assert_ne!(row["live"], Value::Null, "the old version stays live");

    own.resize(1024);
    until("the build is made after all", PATIENCE * 2, || async {
        let row = admin.challenge("WEB-805").await?;
        if row["live"]["revision"] == pushed.as_str() { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    daemon.team("red").await.play("WEB-805").await.flag("/answers/flag").await;
    drop(daemon);
}

#[tokio::test]
async fn a_start_ends_within_its_deadline_even_when_the_engine_hangs() {
    let stage = Stage::with(&[Challenge::web("WEB-806", "one")]).await;
    let socket = stage.path("engine.sock");
    link_to_engine(&socket);
    let settings = stage
        .settings()
        .number("limits.start_deadline_secs", 10)
        .text("engine.endpoint", &format!("unix://{}", socket.display()));
    let daemon = Daemon::start(settings).await;
    daemon.live("WEB-806").await;
    let red = daemon.team("red").await;
    std::fs::remove_file(&socket).expect("the link can be removed");
    let id = red.start("WEB-806").await;
    let error = red.failed(&id).await;
    assert!(error.contains("10 s"), "{error}");
    link_to_engine(&socket);
    daemon.nothing_left().await;
}
