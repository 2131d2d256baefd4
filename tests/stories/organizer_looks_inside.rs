//! An organizer opens a shell in a container of an instance, and everybody can see later what they did.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use flagops::node::socket;
use flagops::runtime::{Terminal, TerminalSize};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::{Challenge, Client, Daemon, PATIENCE, Ready, Settings, Stage, command, until};

const WHY: &str = "they say that nobody can log in";

fn with_shells(stage: &Stage) -> Settings {
    stage.settings().text("shell.mode", "on")
}

/// The container of a service.
async fn container(admin: &Client, ready: &Ready) -> String {
    let path = format!("/admin/instances/{}/containers", ready.id);
    let rows = admin.get(&path).await.expect_status(200).body;
    assert_eq!(rows[0]["exec_ready"], true, "{rows}");
    rows[0]["name"].as_str().expect("it has a name").to_owned()
}

/// Asks for a shell.
async fn ask(admin: &Client, ready: &Ready) -> Value {
    let container = container(admin, ready).await;
    let wish = json!({"container": container, "shell": "sh", "reason": WHY});
    let path = format!("/admin/instances/{}/shell/sessions", ready.id);
    admin.post(&path, wish).await.expect_status(200).body
}

/// Opens a socket; the status when it was refused.
async fn open(daemon: &Daemon, url: &str, origin: Option<&str>) -> Result<Terminal, u16> {
    let request = socket::asking(reqwest::Client::new().get(format!("{}{url}", daemon.url())));
    let request = match origin {
        Some(origin) => request.header("origin", origin),
        None => request,
    };
    let response = request.send().await.expect("the server answers");
    let status = response.status().as_u16();
    if status == 101 {
        return Ok(socket::opened(response).await.expect("it is a socket"));
    }
    Err(status)
}

fn url(session: &Value) -> String {
    session["ws_url"].as_str().expect("it has a place").to_owned()
}

/// Reads until `wanted` is shown; what was shown.
async fn shown(terminal: &mut Terminal, wanted: &str) -> String {
    let mut text = String::new();
    let read = async {
        while let Some(Ok(bytes)) = terminal.output.next().await {
            text.push_str(&String::from_utf8_lossy(&bytes));
            if text.contains(wanted) {
                return;
            }
        }
    };
    let read = tokio::time::timeout(PATIENCE, read).await;
    assert!(read.is_ok() && text.contains(wanted), "`{wanted}` was not shown: {text:?}");
    text
}

/// Reads to the end.
async fn ended(mut terminal: Terminal) {
    let read = async { while let Some(Ok(_)) = terminal.output.next().await {} };
    tokio::time::timeout(PATIENCE, read).await.expect("it is closed");
}

/// Why the shells of an instance were closed, the oldest first.
async fn reasons(admin: &Client, ready: &Ready) -> Vec<String> {
    let path = format!("/admin/instance-records/{}/events?limit=200", ready.id);
    let events = admin.get(&path).await.expect_status(200).body;
    let items = events["items"].as_array().cloned().unwrap_or_default().into_iter();
    let closed = items.filter(|it| it["event"] == "admin_shell_session_closed");
    closed.map(|it| it["reason"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn closed(admin: &Client, ready: &Ready, wanted: &[&str]) {
    until(&format!("shells were closed: {wanted:?}"), PATIENCE, || async {
        let reasons = reasons(admin, ready).await;
        if reasons == wanted { Ok(()) } else { Err(format!("{reasons:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organizer_looks_inside_and_it_is_recorded() {
    let stage = Stage::with(&[Challenge::web("WEB-651", "one")]).await;
    let daemon = Daemon::start(with_shells(&stage)).await;
    daemon.live("WEB-651").await;
    let (red, admin) = (daemon.team("red").await, daemon.admin());
    let ready = red.play("WEB-651").await;
    let flag = ready.flag("/answers/flag").await;

    // By the command line, as a script.
    let mut shell = command(&[]);
    shell.args(["instances", "shell", &ready.id[..8], "--reason", WHY, "--url", &daemon.url()]);
    shell.arg("--token").arg(admin.token());
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.spawn().expect("the program can be run");
    let mut stdin = child.stdin.take().expect("it has an input");
    stdin.write_all(b"cat /answers/flag; exit\n").expect("it reads");
    drop(stdin);
    let finished = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&finished.stdout);
    let said = String::from_utf8_lossy(&finished.stderr);
    assert!(finished.status.success() && text.contains(&flag), "{text}\n{said}");
    closed(&admin, &ready, &["node_disconnect"]).await;

    let recordings = admin.get("/admin/shell-recordings").await.expect_status(200).body;
    let session = recordings[0]["session_id"].as_str().expect("one is there").to_owned();
    let path = format!("/admin/shell-recordings/{session}");
    let cast = admin.get(&path).await.expect_status(200).body;
    let cast = cast.as_str().expect("it is no single document");
    let head: Value = serde_json::from_str(cast.lines().next().expect("it has a head")).unwrap();
    assert_eq!(head["version"], 2, "{cast}");
    assert!(cast.contains(&flag) && cast.contains("cat /answers/flag; exit"), "{cast}");
    let events = admin.get("/admin/activities?limit=200").await.expect_status(200).body.to_string();
    for event in ["requested", "opened", "closed"] {
        assert!(events.contains(&format!("admin_shell_session_{event}")), "{event}: {events}");
    }
    assert!(events.contains("admin_shell_recording_viewed") && events.contains(WHY), "{events}");
    let own = red.get("/me/activities").await.body.to_string();
    assert!(!own.contains("admin_shell"), "players are not told: {own}");
    assert!(!daemon.log().contains("session="), "no token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a25_nobody_but_a_super_administrator_gets_a_shell_and_none_outlives_its_instance() {
    let stage = Stage::with(&[Challenge::web("WEB-652", "one")]).await;
    let daemon = Daemon::start(with_shells(&stage)).await;
    daemon.live("WEB-652").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let admin = daemon.admin();
    let (ready, other) = (red.play("WEB-652").await, blue.play("WEB-652").await);
    let path = format!("/admin/instances/{}/shell/sessions", ready.id);
    let wish = |container: &str, shell: &str, reason: &str| json!({"container": container, "shell": shell, "reason": reason});

    let own = container(&admin, &ready).await;
    red.post(&path, wish(&own, "sh", WHY)).await.expect_status(403);
    let theirs = container(&admin, &other).await;
    admin.post(&path, wish(&theirs, "sh", WHY)).await.expect_status(400);
    admin.post(&path, wish(&own, "/bin/evil", WHY)).await.expect_status(400);
    admin.post(&path, wish(&own, "sh", "no")).await.expect_status(422);

    // A token is good once, in its own instance, for pages that are named.
    let session = ask(&admin, &ready).await;
    let wrong = url(&session).replace(&ready.id, &other.id);
    assert_eq!(open(&daemon, &wrong, None).await.err(), Some(403));
    assert_eq!(open(&daemon, &url(&session), Some("https://evil.example")).await.err(), Some(403));
    let mut terminal = open(&daemon, &url(&session), None).await.expect("it opens");
    assert_eq!(open(&daemon, &url(&session), None).await.err(), Some(403), "a second time");

    // Bytes both ways, and a size that the program sees.
    terminal.keyboard.resize(TerminalSize::new(33, 111).unwrap()).await.unwrap();
    terminal.keyboard.type_in(b"stty size; echo ov''er\r").await.unwrap();
    let text = shown(&mut terminal, "over\r\n").await;
    assert!(text.contains("33 111"), "{text:?}");
    // A paste that the program only echoes: neither side waits for the other.
    terminal.keyboard.type_in(b"cat > /dev/null\r").await.unwrap();
    for _ in 0..64 {
        let line = [b"y".repeat(1000), b"\r".to_vec()].concat();
        terminal.keyboard.type_in(&line).await.unwrap();
    }
    terminal.keyboard.type_in(b"\x04echo al''ive\r").await.unwrap();
    shown(&mut terminal, "alive").await;

    // By force, by a size that no terminal has, and by the end of the instance.
    let sessions = admin.get("/admin/shell-sessions").await.expect_status(200).body;
    assert_eq!(sessions[0]["burned"], true, "{sessions}");
    assert!(!sessions.to_string().contains(session["session_token"].as_str().unwrap()));
    let id = session["session_id"].as_str().unwrap();
    admin.delete(&format!("/admin/shell-sessions/{id}")).await.expect_status(200);
    ended(terminal).await;
    closed(&admin, &ready, &["force_close"]).await;

    let terminal = open(&daemon, &url(&ask(&admin, &ready).await), None).await.expect("it opens");
    red.stop(&ready.id).await;
    ended(terminal).await;
    until("the shell of an instance that is over is closed", PATIENCE, || async {
        let reasons = reasons(&admin, &ready).await;
        if reasons.len() == 2 { Ok(()) } else { Err(format!("{reasons:?}")) }
    })
    .await;
    assert_eq!(admin.get("/admin/shell-sessions").await.body, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_opens_no_shells_says_so_and_an_idle_one_is_closed() {
    let stage = Stage::with(&[Challenge::web("WEB-653", "one")]).await;
    let mut daemon = stage.serve().await;
    daemon.live("WEB-653").await;
    let red = daemon.team("red").await;
    let ready = red.play("WEB-653").await;
    let path = format!("/admin/instances/{}/containers", ready.id);
    daemon.admin().get(&path).await.expect_refusal(403, "shell_disabled");
    daemon.stop().await;
    daemon.relaunch_with("FLAGOPS_SHELL__MODE", "on");
    daemon.ready().await;
    let admin = daemon.admin();
    red.ready(&ready.id).await;
    let setting = "/admin/platform-settings/admin_shell_idle_timeout_s";
    admin.patch(setting, json!({"value": 30})).await.expect_status(200);
    let terminal = open(&daemon, &url(&ask(&admin, &ready).await), None).await.expect("it opens");
    tokio::time::timeout(Duration::from_secs(50), ended(terminal)).await.expect("it is idle");
    closed(&admin, &ready, &["idle_timeout"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_leads_to_an_instance_on_another_node() {
    let stage = Stage::with(&[Challenge::web("WEB-654", "one")]).await;
    let platform = with_shells(&stage).data_dir(stage.path("platform")).no("nodes.local");
    let platform = Daemon::start(platform).await;
    let admin = platform.admin();
    let invite = admin.post("/nodes/invites", json!({"ttl_seconds": 600})).await;
    let invite = invite.expect_status(200).text("registration_token");
    let node = stage.settings().data_dir(stage.path("one")).text("node.name", "one");
    let node = Daemon::start(node.node_of(&platform.url(), &invite)).await;
    platform.live("WEB-654").await;
    until("the node has the image", PATIENCE, || async {
        let nodes = admin.get("/nodes").await.body;
        let has = nodes["items"][0]["images_built"].as_u64() > Some(0);
        if has { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
    let red = platform.team("red").await;
    let ready = red.play("WEB-654").await;
    let flag = ready.flag("/answers/flag").await;
    let session = ask(&admin, &ready).await;
    let mut terminal = open(&platform, &url(&session), None).await.expect("it opens");
    terminal.keyboard.resize(TerminalSize::new(40, 90).unwrap()).await.unwrap();
    terminal.keyboard.type_in(b"stty size; cat /answers/flag\r").await.unwrap();
    let text = shown(&mut terminal, &flag).await;
    assert!(text.contains("40 90"), "{text:?}");
    terminal.keyboard.type_in(b"exit\r").await.unwrap();
    ended(terminal).await;
    closed(&admin, &ready, &["node_disconnect"]).await;
    let recordings = admin.get("/admin/shell-recordings").await.body;
    assert_eq!(recordings[0]["session_id"], session["session_id"], "the platform has it");
    red.stop(&ready.id).await;
    node.nothing_left().await;
}
