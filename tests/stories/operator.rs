//! An operator starts, looks after and stops the daemon.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Challenge, Daemon, Finished, PATIENCE, Stage, command, until};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
}

#[tokio::test]
async fn a_graceful_stop_leaves_instances_running_and_the_next_start_adopts_them() {
    let stage = Stage::with(&[Challenge::web_and_db("WEB-601", "one")]).await;
    let mut daemon = stage.serve().await;
    daemon.live("WEB-601").await;
    let red = daemon.team("red").await;
    let instance = red.play("WEB-601").await;
    let flag = instance.flag("/cgi-bin/flag").await;
    let before = daemon.engine().ids_of(&instance.id);

    assert_eq!(daemon.stop().await, Some(0));
    assert_eq!(instance.flag("/cgi-bin/flag").await, flag, "players notice nothing");
    daemon.restart().await;
    let again = red.ready(&instance.id).await;
    assert_eq!(again.services, instance.services);
    assert_eq!(daemon.engine().ids_of(&instance.id), before, "nothing was made anew");
    assert_eq!(red.submit(&instance.id, "flag", json!(flag)).await.body["correct"], true);
    red.gone(&instance.id).await;
    daemon.nothing_left().await;
}

#[tokio::test]
async fn a_data_directory_has_one_daemon() {
    let stage = Stage::with(&[Challenge::web("WEB-602", "one")]).await;
    let mut first = stage.serve().await;
    let other = stage.settings().data_dir(first.data_dir().to_owned());
    let refused = Finished::of(&mut other.serve_command());
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let said = &refused.stderr;
    assert!(said.contains("is in use by another flagops (process"), "{said}");
    assert!(said.contains("choose another data directory"), "{said}");
    assert!(first.is_running());
    first.live("WEB-602").await;
    let mode = |name: &str| {
        let path = first.data_dir().join(name);
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("admin.token"), mode("answers.key")), (0o700, 0o600, 0o600));
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_setting() {
    let stage = Stage::set().await;
    let settings = stage.settings();
    let squatter = TcpListener::bind(settings.address()).expect("the slot's port is free");
    let refused = Finished::of(&mut settings.serve_command());
    let port = squatter.local_addr().expect("it is bound").port().to_string();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&port), "{}", refused.stderr);
    assert!(refused.stderr.contains("in use"), "{}", refused.stderr);
}

#[tokio::test]
async fn every_fault_of_the_configuration_is_shown_at_once_with_its_key() {
    let stage = Stage::set().await;
    let file = stage.path("flagops.toml");
    let text = "listen = \"nowhere\"
colour = \"red\"
[source]
poll_secs = 0
[network]
pool = \"10.80.0.1/15\"
first_port = 80
[limits]
instances_per_teem = 3
";
    std::fs::write(&file, text).expect("the file can be written");
    let mut serve = command(&[]);
    let refused = Finished::of(
        serve.arg("serve").arg("--config").arg(&file).env("FLAGOPS_LOG__FILTER", "??="),
    );
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for key in [
        "listen",
        "colour",
        "source.poll_secs",
        "source.repo",
        "network.pool",
        "network.first_port",
        "limits.instances_per_team",
        "log.filter",
    ] {
        assert!(refused.stderr.contains(key), "`{key}` is missing: {}", refused.stderr);
    }
    assert!(refused.stderr.contains("flagops.toml:"), "lines are named: {}", refused.stderr);
}

#[tokio::test]
async fn the_command_line_shows_everything_as_table_and_as_json() {
    let stage = Stage::with(&[Challenge::web("WEB-603", "one"), Challenge::quiz("QUIZ-603")]).await;
    let mut daemon = stage.serve().await;
    daemon.live("WEB-603").await;
    let token =
        parsed(&daemon.cli(&["token", "create", "--team", "red", "--format", "json"]).fine());
    let token = token["token"].as_str().expect("there is a token").to_owned();
    let start = ["instances", "start", "WEB-603", "--token", &token, "--format", "json"];
    daemon.cli(&start).fine();
    let listed = parsed(&daemon.cli(&["instances", "ls", "--format", "json"]).fine());
    let id = listed["items"][0]["id"].as_str().expect("one instance is listed").to_owned();

    for (arguments, wanted) in [
        (vec!["status"], stage.remote.url()),
        (vec!["challenges"], "WEB-603".to_owned()),
        (vec!["builds"], "built".to_owned()),
        (vec!["instances", "ls"], "WEB-603".to_owned()),
        (vec!["instances", "logs", &id], String::new()),
        (vec!["version"], env!("CARGO_PKG_VERSION").to_owned()),
        (vec!["reconcile"], "main".to_owned()),
    ] {
        let table = daemon.cli(&arguments).fine();
        assert!(table.contains(&wanted), "{arguments:?} shows no `{wanted}`: {table}");
        let json = daemon.cli(&[arguments.as_slice(), &["--format", "json"]].concat()).fine();
        parsed(&json);
    }
    daemon.cli(&["instances", "renew", &id]).fine();
    daemon.cli(&["instances", "stop", &id]).fine();
    daemon.nothing_left().await;

    let openapi = daemon.anonymous().at(&format!("{}/openapi.json", daemon.url())).await;
    let openapi = openapi.expect("it answers").expect_status(200).body;
    assert!(openapi["paths"]["/api/v1/instances"].is_object(), "the document has our routes");
    let metrics = daemon.anonymous().at(&format!("{}/metrics", daemon.url())).await;
    let metrics = metrics.expect("it answers").expect_status(200).body;
    assert!(metrics.as_str().is_some_and(|text| text.contains("flagops_")), "{metrics}");

    daemon.stop().await;
    let offline = daemon.cli(&["status"]);
    assert_eq!(offline.code, Some(1));
    assert!(offline.stderr.contains("flagops serve"), "it says what to do: {}", offline.stderr);
}

#[tokio::test]
async fn reconcile_looks_at_once() {
    let stage = Stage::with(&[Challenge::web("WEB-604", "one")]).await;
    // Nobody would look for an hour.
    let daemon = Daemon::start(stage.settings().number("source.poll_secs", 3600)).await;
    daemon.live("WEB-604").await;
    stage.remote.put(&Challenge::quiz("QUIZ-604"));
    let pushed = stage.remote.push("a quiz");
    let source = parsed(&daemon.cli(&["reconcile", "--format", "json"]).fine());
    assert_eq!(source["revision"], pushed.as_str());
    let row = daemon.admin().challenge("QUIZ-604").await.expect("it was read");
    assert_eq!(row["state"], "live", "a quiz needs no image");
}

#[tokio::test]
async fn doctor_looks_at_everything_and_says_what_to_do() {
    let stage = Stage::with(&[Challenge::web("WEB-607", "one")]).await;
    let daemon = stage.serve().await;
    let challenges = stage.remote.file("").display().to_string();
    let report = daemon.cli(&["doctor", "--challenges", &challenges]);
    assert!(matches!(report.code, Some(0 | 1)), "{report:?}");
    for word in ["engine create", "engine disk", "base images", "address pool"] {
        assert!(report.stdout.to_lowercase().contains(word), "no `{word}`: {}", report.stdout);
    }
    let mut broken = command(&[]);
    let socket = format!("unix://{}", stage.path("nothing.sock").display());
    let broken = Finished::of(broken.arg("doctor").env("FLAGOPS_ENGINE__ENDPOINT", socket));
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(broken.stdout.contains("nothing.sock"), "{}", broken.stdout);
}

#[tokio::test]
async fn check_says_before_the_push_what_the_server_would_say_after_it() {
    let stage = Stage::with(&[Challenge::web("WEB-605", "one")]).await;
    let check = |arguments: &[&str]| {
        let mut check = command(&[]);
        Finished::of(check.arg("check").arg(stage.remote.file("")).args(arguments))
    };
    check(&[]).fine();
    let path = "WEB/WEB-605/metadata.yaml";
    let text = std::fs::read_to_string(stage.remote.file(path)).expect("the author's file");
    stage.remote.write(path, text.replace("easy", "hardest"));
    let found = check(&["--format", "json"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    let of_check = parsed(&found.stdout)["issues"].clone();
    let keys = ["rule", "path", "line", "message"];
    let brief = |rows: &Value| -> Vec<Vec<Value>> {
        let rows = rows.as_array().expect("findings are a list").iter();
        rows.map(|row| keys.map(|key| row[key].clone()).to_vec()).collect()
    };

    let daemon = stage.serve().await;
    daemon.live("WEB-605").await;
    stage.remote.push("break it");
    let admin = daemon.admin();
    let of_server = until("the server has findings", PATIENCE, || async {
        let row = admin.challenge("WEB-605").await?;
        if row["valid"] == false { Ok(row["findings"].clone()) } else { Err(row.to_string()) }
    })
    .await;
    assert_eq!(brief(&of_check), brief(&of_server));
}

#[tokio::test]
async fn no_secret_is_in_the_log_the_labels_or_the_command_lines() {
    let stage =
        Stage::with(&[Challenge::web("WEB-606", "one"), Challenge::rotated("WEB-608")]).await;
    let settings = stage.settings().text("log.filter", "trace");
    let daemon = Daemon::start(settings).await;
    daemon.live("WEB-606").await;
    let red = daemon.team("red").await;
    let instance = red.play("WEB-606").await;
    let flag = instance.flag("/answers/flag").await;
    let container = daemon.engine().containers_of(&instance.id);
    let shown = daemon.engine().docker(&["inspect", &container[0]]).expect("it is there");
    assert!(!shown.contains(&flag), "`docker inspect` shows the flag");
    red.submit(&instance.id, "flag", json!("FLAG{wrong-guess}")).await.expect_status(200);
    red.submit(&instance.id, "flag", json!(flag)).await.expect_status(200);
    red.gone(&instance.id).await;
    daemon.live("WEB-608").await;
    let rotated = red.play("WEB-608").await;
    let in_environment = rotated.flag("/flag").await;
    let log = daemon.log();
    let admin = daemon.admin();
    for secret in
        [flag.as_str(), in_environment.as_str(), red.token(), admin.token(), "wrong-guess"]
    {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret is logged");
    }
}

#[tokio::test]
async fn an_instance_is_explained_held_and_made_anew_from_the_command_line() {
    let stage = Stage::with(&[Challenge::web("WEB-405", "one")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-405").await;
    let red = daemon.team("red").await;
    let instance = red.play("WEB-405").await;
    let old_flag = instance.flag("/answers/flag").await;

    assert_eq!(daemon.cli(&["plan"]).fine().trim(), "nothing to do: everything is as wanted");
    let told = daemon.cli(&["explain", &instance.id]).fine();
    assert!(told.contains("service `web`: usable"), "{told}");
    let told = daemon.cli(&["explain", "WEB-405"]).fine();
    assert!(told.contains("players get the newest version"), "{told}");
    daemon.cli(&["explain", "node"]).fine();

    let held = ["hold", &instance.id, "--for", "1h", "--why", "evidence", "--by", "ada"];
    daemon.cli(&held).fine();
    let refused = red.delete(&format!("/instances/{}", instance.id)).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(daemon.cli(&["status"]).fine().contains("by ada until"));
    daemon.cli(&["resume", &instance.id]).fine();

    daemon.cli(&["instances", "reset", &instance.id, "--new-answers"]).fine();
    let instance = red.ready(&instance.id).await;
    let new_flag = instance.flag("/answers/flag").await;
    assert_ne!(new_flag, old_flag);
    let graded = red.submit(&instance.id, "flag", json!(old_flag)).await;
    assert_eq!(graded.body["correct"], false, "what was given up is wrong");
    let graded = red.submit(&instance.id, "flag", json!(new_flag)).await;
    assert_eq!(graded.body["correct"], true);
    red.gone(&instance.id).await;
    daemon.nothing_left().await;
}
