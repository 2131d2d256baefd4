//! The machine's disk is lost, and with it the whole platform; an organizer puts a backup into place,
//! and the event goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Challenge, Client, Daemon, Finished, PATIENCE, Stage, python, until};

const CHALLENGE: &str = "WEB-641";

/// The standings, without the time that they were asked at.
async fn standings(client: &Client) -> Value {
    client.get("/scoreboard").await.expect_status(200).body["items"].clone()
}

/// An archive that somebody with other tools looks into.
fn names_in(archive: &std::path::Path) -> Vec<String> {
    let script =
        "import sys, tarfile\nfor name in tarfile.open(sys.argv[1]).getnames(): print(name)";
    let mut run = Command::new(python());
    let listed = Finished::of(run.args(["-c", script]).arg(archive)).fine();
    listed.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_platform_is_restored_from_a_backup_that_was_made_while_it_ran() {
    let stage = Stage::with(&[
        Challenge::web(CHALLENGE, "one").with("attachments/a.txt.tpl", "{{ answer.flag }}\n"),
        Challenge::quiz("QUIZ-641"),
    ])
    .await;
    let mut daemon = stage.serve().await;
    daemon.live(CHALLENGE).await;
    daemon.live("QUIZ-641").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let solved = red.play(CHALLENGE).await;
    let flag = solved.flag("/answers/flag").await;
    red.submit(&solved.id, "flag", json!(flag)).await.expect_status(200);
    red.gone(&solved.id).await;
    let running = blue.play(CHALLENGE).await;
    let flag = running.flag("/answers/flag").await;
    let containers = daemon.engine().ids_of(&running.id);
    let file = format!("/instances/{}/attachments", running.id);
    let files = blue.get(&file).await.expect_status(200).body;
    let before = standings(&daemon.admin()).await;
    assert_eq!(before[0]["team_name"], "red", "{before}");

    let archive = stage.path("all.tar");
    let path = archive.to_str().expect("its path is text");
    let told = daemon.cli(&["backup", path]);
    assert!(told.stderr.contains("keep it like a key"), "{}", told.stderr);
    assert!(told.fine().starts_with(&format!("wrote {path}: ")));
    let mode = fs::metadata(&archive).expect("it was written").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let names = names_in(&archive);
    assert_eq!(names.last().map(String::as_str), Some("manifest.json"));
    for wanted in ["installation", "answers.key", "admin.token", "mirror/HEAD"] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} in {names:?}");
    }
    assert!(daemon.cli(&["backup", path]).stderr.contains("is there already"));
    // What comes later is lost, and said to be.
    let late = daemon.team("late").await;
    late.get("/me").await.expect_status(200);

    let refused = daemon.cli(&["restore", path]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("is there already"), "{}", refused.stderr);
    daemon.kill9();
    fs::remove_dir_all(daemon.data_dir()).expect("the disk is gone");
    assert_eq!(running.flag("/answers/flag").await, flag, "players notice nothing");
    daemon.cli(&["restore", path]).fine();
    daemon.restart().await;
    daemon.live(CHALLENGE).await;

    let lost = daemon.admin().stated("node/local", "Recovering", "True", "DatabaseLost").await;
    let told = lost["message"].as_str().unwrap_or_default();
    assert!(told.contains("took its place"), "{told}");
    assert_eq!(standings(&daemon.admin()).await, before);
    late.get("/me").await.expect_refusal(403, "http_403");
    let again = blue.ready(&running.id).await;
    assert_eq!(again.services, running.services, "players find it where it was");
    assert_eq!(running.flag("/answers/flag").await, flag);
    assert_eq!(daemon.engine().ids_of(&running.id), containers, "nothing was made anew");
    until("its files are rendered again", PATIENCE, || async {
        let now = blue.get(&file).await.body;
        if now == files { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let record = format!("/admin/instance-records/{}", solved.id);
    let record = daemon.admin().get(&record).await.expect_status(200).body;
    assert_eq!(record["record"]["stop_reason"], "auto_stop_after_solve", "{record}");

    daemon.cli(&["recover", "--accept", "--by", "ada"]).fine();
    blue.submit(&running.id, "flag", json!(flag)).await.expect_status(200);
    blue.gone(&running.id).await;
    let after = standings(&daemon.admin()).await;
    assert_eq!(after[1]["team_name"], "blue", "{after}");
    let recounted = daemon.cli(&["recount"]);
    assert_eq!(recounted.code, Some(0), "{}{}", recounted.stdout, recounted.stderr);
    daemon.nothing_left().await;
    no_answers_in(&daemon, &[&flag]);
}

fn no_answers_in(daemon: &Daemon, flags: &[&str]) {
    let log = daemon.log();
    assert!(!flags.iter().any(|flag| log.contains(flag)), "an answer is in a log");
}

#[tokio::test]
async fn what_a_challenge_wrote_is_in_the_archive_and_its_answers_are_nowhere() {
    let challenge = Challenge::web("WEB-642", "one").with("services/web/Dockerfile", TALKATIVE);
    let stage = Stage::with(&[challenge]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-642").await;
    let red = daemon.team("red").await;
    let instance = red.play("WEB-642").await;
    let flag = instance.flag("/answers/flag").await;
    let path = format!("/admin/instances/{}/logs", instance.id);
    until("it has spoken", PATIENCE, || async {
        let logs = daemon.admin().get(&path).await.body;
        if logs.to_string().contains("the answer is") { Ok(()) } else { Err(logs.to_string()) }
    })
    .await;
    red.stop(&instance.id).await;
    red.gone(&instance.id).await;
    daemon.nothing_left().await;
    let path = format!("/admin/instance-records/{}/container-log", instance.id);
    let kept = daemon.admin().get(&path).await.expect_status(200).text("logs");
    assert!(kept.contains("web | the answer is FLAG{[answer]}"), "{kept}");
    red.get(&path).await.expect_refusal(403, "http_403");
    let database = fs::read(daemon.data_dir().join("flagops.db")).expect("it is there");
    let body = flag.trim_start_matches("FLAG{").trim_end_matches('}').as_bytes().to_vec();
    assert!(!database.windows(body.len()).any(|window| window == body), "it is in the database");
    no_answers_in(&daemon, &[&flag]);
}

/// Serves everything, and says what it should not.
const TALKATIVE: &str = "\
FROM busybox:latest
COPY version /www/version
CMD [\"sh\", \"-c\", \"echo the answer is $(cat /answers/flag); exec httpd -f -p 8080 -h /\"]
";
