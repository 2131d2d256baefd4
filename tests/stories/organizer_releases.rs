//! An organizer tags releases, goes back, and goes on; and the daemon dies in the middle of it.

use std::fs;

use serde_json::Value;

use crate::support::{Challenge, Client, Daemon, PATIENCE, Settings, Stage, fetch, until};

fn with_tags(stage: &Stage) -> Settings {
    stage.settings().text("release.pattern", "^v(?<v>.+)$")
}

async fn releases(admin: &Client) -> Value {
    admin.get("/gitops/releases").await.expect_status(200).body
}

/// Waits until a tag is live.
async fn tag_live(admin: &Client, tag: &str) -> Value {
    until(&format!("tag {tag} to be live"), PATIENCE, || async {
        let page = admin.try_get("/gitops/releases").await?.body;
        let is_live = page["active"]["tag"] == tag;
        if is_live { Ok(page) } else { Err(page.to_string()) }
    })
    .await
}

#[tokio::test]
async fn a_tag_goes_live_whole_a_bad_one_is_blocked_and_a_rollback_sticks() {
    let stage = Stage::with(&[Challenge::web("WEB-120", "one")]).await;
    let daemon = Daemon::start(with_tags(&stage)).await;
    let admin = daemon.admin();
    until("the branch to be built ahead", PATIENCE, || async {
        let row = admin.challenge("WEB-120").await?;
        if row["build"]["status"] == "built" || row["build"] == "built" {
            Ok(())
        } else {
            Err(row.to_string())
        }
    })
    .await;
    assert_eq!(releases(&admin).await["active"], Value::Null, "nobody tagged anything");

    stage.remote.tag("v1.0.0");
    tag_live(&admin, "v1.0.0").await;
    let red = daemon.team("red").await;
    let first = red.play("WEB-120").await;

    // A broken release is blocked with file and line; players have what they had.
    stage.remote.put(&Challenge::web("WEB-120", "two"));
    let quiz = Challenge::quiz("QUIZ-120");
    let broken = quiz.files["metadata.yaml"].replace("easy", "impossible");
    stage.remote.put(&quiz.with("metadata.yaml", broken));
    stage.remote.push("a broken quiz");
    stage.remote.tag("v1.1.0");
    let stated = admin.stated("release", "Validated", "False", "Invalid").await;
    let words = stated["message"].as_str().unwrap_or_default();
    assert!(words.contains("MISC/QUIZ-120/metadata.yaml"), "{words}");
    assert_eq!(releases(&admin).await["active"]["tag"], "v1.0.0");

    stage.remote.put(&Challenge::quiz("QUIZ-120"));
    stage.remote.push("the quiz is mended");
    stage.remote.tag("v1.1.1");
    tag_live(&admin, "v1.1.1").await;
    let (host, port) = first.first();
    let version = fetch(&format!("http://{host}:{port}/www/version")).await;
    assert_eq!(version.as_deref(), Ok("one"), "what runs is not touched");
    let diff = daemon.cli(&["diff", "1", "2"]);
    assert_eq!(diff.code, Some(2), "{diff:?}");
    assert!(diff.stdout.contains("changed WEB-120"), "{diff:?}");
    assert!(diff.stdout.contains("1 instances of 1 teams keep"), "{diff:?}");

    // Back is one command, and the next looks do not undo it.
    let back = daemon.cli(&["rollback", "--reason", "logins are broken"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(back.stdout.starts_with("generation 3 is live"), "{back:?}");
    for _ in 0..2 {
        admin.reconcile().await;
    }
    assert_eq!(releases(&admin).await["active"]["tag"], "v1.0.0");
    let list = daemon.cli(&["releases"]).fine();
    assert!(list.contains("quarantined"), "{list}");
    assert!(list.contains("logins are broken"), "{list}");
    let forced = daemon.cli(&["releases", "force", "WEB-120", "--why", "leaked"]).fine();
    assert!(forced.starts_with("0 instances"), "its version is live again: {forced}");

    stage.remote.push("mended");
    stage.remote.tag("v1.1.2");
    tag_live(&admin, "v1.1.2").await;
    let forced = daemon.cli(&["releases", "force", "WEB-120", "--why", "leaked"]).fine();
    assert!(forced.starts_with("1 instances"), "{forced}");
    assert!(red.failed(&first.id).await.contains("leaked"));
    let audit = daemon.cli(&["releases", "audit"]).fine();
    assert!(audit.contains("force") && audit.contains("rollback"), "{audit}");
}

/// What is live, by the commit it comes from; one commit when it is no mixture.
async fn live_revisions(admin: &Client) -> Vec<String> {
    let mut found = Vec::new();
    for id in ["QUIZ-130", "QUIZ-131", "QUIZ-132"] {
        let row = admin.challenge(id).await.expect("it is live");
        found.push(row["live"]["revision"].as_str().unwrap_or("none").to_owned());
    }
    found.dedup();
    found
}

#[tokio::test]
async fn a_kill_at_any_step_of_the_flip_leaves_the_old_release_or_the_new_one() {
    let ids = ["QUIZ-130", "QUIZ-131", "QUIZ-132"];
    let stage = Stage::with(&ids.map(Challenge::quiz)).await;
    let mut daemon = Daemon::start(with_tags(&stage)).await;
    stage.remote.tag("v1.0.0");
    tag_live(&daemon.admin(), "v1.0.0").await;
    let away = stage.remote.bare().with_extension("away");
    for (nth, point) in [
        "git.pin.before",
        "git.pin.after",
        // The first is of the boot.
        "store.note_images.before:2",
        "store.note_images.after:2",
        "store.flip.before",
        "store.flip.after",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(daemon.stop().await, Some(0));
        let old = stage.remote.git(&["rev-parse", "refs/heads/main"]).trim().to_owned();
        for id in ids {
            let quiz = Challenge::quiz(id);
            let text =
                quiz.files["metadata.yaml"].replace("Four questions.", &format!("Four {nth}."));
            stage.remote.put(&quiz.with("metadata.yaml", text));
        }
        let new = stage.remote.push("another version of all three");
        let tag = format!("v1.{}.0", nth + 1);
        stage.remote.tag(&tag);
        daemon.relaunch_with("FLAGOPS_TEST_KILL", point);
        daemon.buried();
        // What is told now is what the database says, without the remote.
        fs::rename(stage.remote.bare(), &away).expect("the remote can be moved");
        daemon.restart().await;
        let live = live_revisions(&daemon.admin()).await;
        assert!(live == [old.clone()] || live == [new.clone()], "{point}: {live:?}");
        fs::rename(&away, stage.remote.bare()).expect("the remote can be moved back");
        tag_live(&daemon.admin(), &tag).await;
        assert_eq!(live_revisions(&daemon.admin()).await, [new], "{point}");
    }
}
