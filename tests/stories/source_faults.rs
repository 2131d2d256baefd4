//! The remote breaks in every way a remote can break: what is live stays live, the condition says
//! since when and why, and it heals by itself.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Challenge, Client, Daemon, PATIENCE, Stage, lock, unlock, until};

const CHALLENGE: &str = "WEB-401";

async fn serving() -> (Stage, Daemon) {
    let stage = Stage::with(&[Challenge::web(CHALLENGE, "one")]).await;
    let daemon = stage.serve().await;
    daemon.live(CHALLENGE).await;
    (stage, daemon)
}

/// Breaks, looks at once, and checks what is said and that players notice nothing.
async fn broken(daemon: &Daemon, reason: &str) -> Value {
    let admin = daemon.admin();
    let condition = admin.stated("repo", "SourceReachable", "False", reason).await;
    let message = condition["message"].as_str().expect("a condition has a message");
    assert!(message.contains("last good revision stays in use"), "{message}");
    let since = condition["since"].as_str().expect("a condition has a time").to_owned();

    // The same failure again is the same condition since the same time.
    admin.reconcile().await;
    let again = admin.condition("repo", "SourceReachable").await.expect("it is stated");
    assert_eq!(again["since"], since.as_str(), "since when it fails");
    plays(&daemon.team("red").await).await;
    condition
}

async fn healed(daemon: &Daemon) {
    daemon.admin().stated("repo", "SourceReachable", "True", "Ok").await;
}

/// A start, a flag and a right answer.
async fn plays(team: &Client) {
    let instance = team.play(CHALLENGE).await;
    let flag = instance.flag("/answers/flag").await;
    assert_eq!(team.submit(&instance.id, "flag", json!(flag)).await.body["correct"], true);
    team.gone(&instance.id).await;
}

#[tokio::test]
async fn a_remote_that_is_removed_takes_nothing_with_it_not_even_over_a_restart() {
    let (stage, mut daemon) = serving().await;
    let aside = stage.path("aside.git");
    fs::rename(stage.remote.bare(), &aside).expect("the repository can be moved");
    broken(&daemon, "Unreachable").await;

    daemon.stop().await;
    daemon.restart().await;
    broken(&daemon, "Unreachable").await;
    daemon.kill9();
    daemon.restart().await;
    plays(&daemon.team("blue").await).await;

    fs::rename(&aside, stage.remote.bare()).expect("the repository can be moved");
    healed(&daemon).await;
    stage.remote.put(&Challenge::tcp("PWN-401"));
    stage.remote.push("after the outage");
    daemon.live("PWN-401").await;
}

#[tokio::test]
async fn a_remote_that_is_emptied_or_no_repository_any_more_is_named() {
    let (stage, daemon) = serving().await;
    let tip = stage.remote.git(&["rev-parse", "refs/heads/main"]);
    stage.remote.git(&["update-ref", "-d", "refs/heads/main"]);
    broken(&daemon, "EmptyRepository").await;
    stage.remote.git(&["update-ref", "refs/heads/main", tip.trim()]);
    healed(&daemon).await;

    let aside = stage.path("aside.git");
    fs::rename(stage.remote.bare(), &aside).expect("the repository can be moved");
    fs::create_dir(stage.remote.bare()).expect("a folder can be made");
    fs::write(stage.remote.bare().join("notes.txt"), "no repository").expect("it can be written");
    broken(&daemon, "NotARepository").await;
    fs::remove_dir_all(stage.remote.bare()).expect("the folder can be removed");
    fs::rename(&aside, stage.remote.bare()).expect("the repository can be moved");
    healed(&daemon).await;
}

#[tokio::test]
async fn a_repository_that_may_not_be_read_is_named() {
    let (stage, daemon) = serving().await;
    lock(stage.remote.bare());
    let condition = broken(&daemon, "PermissionDenied").await;
    let message = condition["message"].to_string();
    assert!(message.contains("needs a change of yours"), "{message}");
    unlock(stage.remote.bare());
    healed(&daemon).await;
}

#[tokio::test]
async fn a_force_push_is_followed_and_said_and_what_runs_keeps_its_version() {
    let (stage, mut daemon) = serving().await;
    let red = daemon.team("red").await;
    let old = red.play(CHALLENGE).await;
    let revision = red.get(&format!("/instances/{}", old.id)).await.text("revision");

    stage.remote.put(&Challenge::web(CHALLENGE, "rewritten"));
    let pushed = stage.remote.force_push("another history");
    let admin = daemon.admin();
    let held = admin.stated("repo", "Held", "True", "HistoryRewritten").await;
    assert!(held["message"].to_string().contains(&revision[..7]), "{held}");
    until("the new history is live", PATIENCE, || async {
        let row = admin.challenge(CHALLENGE).await?;
        if row["live"]["revision"] == pushed.as_str() { Ok(()) } else { Err(row.to_string()) }
    })
    .await;

    // The remote has forgotten the old commit; we have not, and not over a restart either.
    daemon.kill9();
    daemon.restart().await;
    let shown = red.get(&format!("/instances/{}", old.id)).await.expect_status(200);
    assert_eq!(shown.text("revision"), revision);
    assert_eq!(shown.body["questions"][0]["id"], "flag");
    let flag = old.flag("/answers/flag").await;
    assert_eq!(red.submit(&old.id, "flag", json!(flag)).await.body["correct"], true);
}

#[tokio::test]
async fn a_wrong_branch_names_those_that_exist_and_is_followed_once_it_is_there() {
    let stage = Stage::with(&[Challenge::web(CHALLENGE, "one")]).await;
    let daemon = Daemon::start(stage.settings().text("source.branch", "event")).await;
    let admin = daemon.admin();
    let condition = admin.stated("repo", "SourceReachable", "False", "BranchMissing").await;
    let message = condition["message"].as_str().expect("a condition has a message");
    assert!(message.contains("`event`") && message.contains("`main`"), "{message}");
    assert_eq!(admin.get("/challenges").await.body["total"], 0);

    stage.remote.git(&["branch", "event", "main"]);
    healed(&daemon).await;
    daemon.live(CHALLENGE).await;
}

#[tokio::test]
async fn a_daemon_that_starts_before_its_repository_waits_for_it() {
    let stage = Stage::set().await;
    let daemon = stage.serve().await;
    let admin = daemon.admin();
    admin.stated("repo", "SourceReachable", "False", "EmptyRepository").await;
    stage.remote.put(&Challenge::web(CHALLENGE, "one"));
    stage.remote.push("the first push ever");
    daemon.live(CHALLENGE).await;
    plays(&daemon.team("red").await).await;
}

#[tokio::test]
async fn a_damaged_mirror_is_made_anew_while_it_runs_and_at_a_start() {
    let (stage, mut daemon) = serving().await;
    let red = daemon.team("red").await;
    let running = red.play(CHALLENGE).await;

    damage(&daemon.data_dir().join("mirror"));
    stage.remote.put(&Challenge::tcp("PWN-402"));
    stage.remote.push("while the mirror is damaged");
    daemon.live("PWN-402").await;
    plays(&daemon.team("blue").await).await;

    daemon.stop().await;
    damage(&daemon.data_dir().join("mirror"));
    daemon.restart().await;
    daemon.live(CHALLENGE).await;
    daemon.live("PWN-402").await;
    let flag = running.flag("/answers/flag").await;
    assert_eq!(red.submit(&running.id, "flag", json!(flag)).await.body["correct"], true);
    stage.remote.put(&Challenge::web(CHALLENGE, "two"));
    let pushed = stage.remote.push("after the repair");
    let admin = daemon.admin();
    until("the push after the repair is live", PATIENCE, || async {
        let row = admin.challenge(CHALLENGE).await?;
        if row["live"]["revision"] == pushed.as_str() { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
}

/// Cuts every object file of a repository in half, as a full disk or a bad one does.
pub(crate) fn damage(repository: &Path) {
    let mut folders = vec![repository.join("objects")];
    let mut n_cut = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the mirror is a repository") {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).expect("an object can be read");
            // Objects are read-only files; another one takes the place.
            fs::remove_file(&path).expect("an object can be removed");
            fs::write(&path, &bytes[..bytes.len() / 2]).expect("an object can be written");
            n_cut += 1;
        }
    }
    assert!(n_cut > 0, "the mirror holds no object");
}
