//! The database is lost in the middle of an event: what runs goes on, and an operator brings
//! everything together again.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Challenge, Daemon, Stage};

const CHALLENGE: &str = "WEB-611";

/// Deletes the database and whatever SQLite keeps beside it.
fn delete_database(daemon: &Daemon) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(daemon.data_dir().join(format!("flagops.db{suffix}")));
    }
}

fn recover(daemon: &Daemon) -> Value {
    let text = daemon.cli(&["recover", "--format", "json"]).fine();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
}

#[tokio::test]
async fn without_any_copy_what_runs_is_adopted_from_its_labels_and_the_pinned_commit() {
    let stage = Stage::with(&[Challenge::web_and_db(CHALLENGE, "one")]).await;
    let mut daemon = stage.serve().await;
    daemon.live(CHALLENGE).await;
    let red = daemon.team("red").await;
    let instance = red.play(CHALLENGE).await;
    let flag = instance.flag("/cgi-bin/flag").await;
    let before = daemon.engine().ids_of(&instance.id);
    // It runs an old version by now.
    stage.remote.put(&Challenge::web_and_db(CHALLENGE, "two"));
    stage.remote.push("two");
    daemon.admin().reconcile().await;
    daemon.live(CHALLENGE).await;

    daemon.kill9();
    delete_database(&daemon);
    daemon.restart().await;
    daemon.live(CHALLENGE).await;
    let told = daemon.admin().stated("node/local", "PruneHeld", "True", "AwaitingApproval").await;
    assert!(told["message"].as_str().is_some_and(|text| text.contains("flagops recover")));
    assert_eq!(instance.flag("/cgi-bin/flag").await, flag, "players notice nothing");

    let listed = recover(&daemon);
    assert_eq!(listed["items"][0]["instance_id"], instance.id.as_str(), "{listed}");
    assert_eq!(listed["items"][0]["adoptable"], true, "{listed}");
    let adopted = daemon.cli(&["recover", "--adopt-all"]).fine();
    assert_eq!(adopted.trim(), format!("{} is adopted", instance.id));
    assert_eq!(daemon.engine().ids_of(&instance.id), before, "nothing was made anew");
    daemon.admin().stated("node/local", "PruneHeld", "False", "Ok").await;

    // The team is known by its id; a new token is all that it needs.
    let team = listed["items"][0]["team_id"].as_str().expect("the label told").to_owned();
    let red = daemon.team(&format!("recovered-{}", &team[..8])).await;
    let again = red.ready(&instance.id).await;
    assert_eq!(again.services, instance.services, "players find it where it was");
    assert_eq!(daemon.engine().ids_of(&instance.id), before, "nothing was made anew");
    let graded = red.submit(&instance.id, "flag", json!(flag)).await;
    assert_eq!(graded.body["correct"], true, "{}", graded.body);
    red.gone(&instance.id).await;
    // Until somebody says so, the old networks may be anybody's.
    let lost = daemon.admin().stated("node/local", "Recovering", "True", "DatabaseLost").await;
    let told = lost["message"].as_str().unwrap_or_default();
    assert!(told.contains("it is new, but the mirror keeps"), "{told}");
    daemon.cli(&["recover", "--accept", "--by", "ada"]).fine();
    daemon.nothing_left().await;
}

#[tokio::test]
async fn a_truncated_database_comes_back_from_its_newest_copy() {
    let stage = Stage::with(&[Challenge::web(CHALLENGE, "one")]).await;
    let mut daemon = stage.serve().await;
    daemon.live(CHALLENGE).await;
    let red = daemon.team("red").await;
    let early = red.play(CHALLENGE).await;
    daemon.stop().await;
    // As the daemon itself does every ten minutes.
    let folder = daemon.data_dir().join("backups");
    fs::create_dir_all(&folder).expect("a folder can be made");
    let database = daemon.data_dir().join("flagops.db");
    fs::copy(&database, folder.join("flagops-2026-11-28T16-12-00.555Z.db")).expect("it is there");
    daemon.restart().await;
    let late = red.play(CHALLENGE).await;
    let before = [daemon.engine().ids_of(&early.id), daemon.engine().ids_of(&late.id)];
    daemon.kill9();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(daemon.data_dir().join(format!("flagops.db{suffix}")));
    }
    let file = fs::OpenOptions::new().write(true).open(&database).expect("it is there");
    file.set_len(10_000).expect("a file can be cut");

    daemon.restart().await;
    let lost = daemon.admin().stated("node/local", "Recovering", "True", "DatabaseLost").await;
    let told = lost["message"].as_str().unwrap_or_default().to_owned();
    assert!(told.contains("the copy of 2026-11-28T16:12:00.555Z took its place"), "{told}");
    assert!(told.contains("flagops.db.damaged-"), "{told}");
    let shown = daemon.cli(&["recover"]).fine();
    assert!(shown.contains("The database was lost"), "{shown}");
    assert!(shown.contains(&late.id) && !shown.contains(&early.id), "{shown}");
    daemon.cli(&["recover", "--adopt", &late.id]).fine();
    // Tokens are in the copy: players go on.
    for instance in [&early, &late] {
        assert_eq!(red.ready(&instance.id).await.services, instance.services);
    }
    let now = [daemon.engine().ids_of(&early.id), daemon.engine().ids_of(&late.id)];
    assert_eq!(now, before, "nothing was made anew");
    daemon.cli(&["recover", "--accept", "--by", "ada"]).fine();
    daemon.admin().stated("node/local", "Recovering", "False", "Accepted").await;
    for instance in [&early, &late] {
        red.stop(&instance.id).await;
    }
    daemon.nothing_left().await;
}
