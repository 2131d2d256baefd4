//! An operator's disk runs full: images of old pushes go, and nobody who plays notices.

use serde_json::Value;

use crate::support::{Challenge, Daemon, PATIENCE, Stage, fetch, until};

/// The images that bear the label of the daemon's installation, by id.
fn images(daemon: &Daemon) -> Vec<String> {
    let label = format!("label=flagops.installation={}", daemon.installation());
    let listed = daemon
        .engine()
        .docker(&[
            "images",
            "--no-trunc",
            "-q",
            "--filter",
            &label,
            "--filter",
            "label=flagops.kind=image",
        ])
        .expect("the engine lists images");
    let mut ids: Vec<_> = listed.lines().map(str::to_owned).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Pushes `version` of the challenge and waits until it is live; its image.
async fn goes_live(stage: &Stage, daemon: &Daemon, version: &str) -> String {
    stage.remote.put(&Challenge::web("WEB-701", version));
    let pushed = stage.remote.push(&format!("version {version}"));
    let admin = daemon.admin();
    until(&format!("version {version} is live"), PATIENCE, || async {
        let row = admin.challenge("WEB-701").await?;
        let image = row["images"][0]["image"].as_str().map(str::to_owned);
        match image {
            Some(image) if row["live"]["revision"] == pushed.as_str() => Ok(image),
            _ => Err(row.to_string()),
        }
    })
    .await
}

/// `flagops gc …` as JSON.
fn gc(daemon: &Daemon, arguments: &[&str]) -> Value {
    let arguments = [&["gc", "--format", "json"], arguments].concat();
    serde_json::from_str(&daemon.cli(&arguments).fine()).expect("it is JSON")
}

/// The ids of images in a list of a report.
fn ids(report: &Value, list: &str) -> Vec<String> {
    let rows = report[list].as_array().expect("it is a list").iter();
    rows.map(|row| row["id"].as_str().expect("an image has an id").to_owned()).collect()
}

#[tokio::test]
async fn images_of_old_pushes_go_from_a_full_disk_and_what_runs_goes_on() {
    let stage = Stage::set().await;
    // A stranger's image, alike in everything but the label.
    let other = Stage::with(&[Challenge::web("WEB-701", "stranger")]).await;
    let stranger = other.serve().await;
    stranger.live("WEB-701").await;
    let theirs = images(&stranger);
    assert_eq!(theirs.len(), 1);

    let settings = stage.settings().number("gc.min_age_secs", 0).number("gc.low_percent", 0);
    let mut daemon = Daemon::start(settings).await;
    let first = goes_live(&stage, &daemon, "one").await;
    let red = daemon.team("red").await;
    let running = red.play("WEB-701").await;
    let mut built = Vec::new();
    for version in ["two", "three", "four", "five"] {
        built.push(goes_live(&stage, &daemon, version).await);
    }
    let kept = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    let all = kept(built.iter().chain([&first]).cloned().collect());
    assert_eq!(images(&daemon), all, "a disk with room keeps everything");
    daemon.stop().await;

    // From here on the disk counts as full, however full it is.
    daemon.relaunch_with("FLAGOPS_GC__HIGH_PERCENT", "0");
    daemon.ready().await;
    let needed = kept(vec![first, built[1].clone(), built[2].clone(), built[3].clone()]);
    until("the image that nothing needs is gone", PATIENCE, || async {
        let report = gc(&daemon, &[]);
        if images(&daemon) == needed { Ok(()) } else { Err(report.to_string()) }
    })
    .await;
    let report = gc(&daemon, &["--dry-run"]);
    assert_eq!(report["pressure"], "nothing_to_free");
    assert_eq!(report["builds_paused"], true);
    assert_eq!(ids(&report, "remove"), Vec::<String>::new());
    assert_eq!(kept(ids(&report, "held")), needed);
    let table = daemon.cli(&["gc", "--dry-run"]).fine();
    for words in ["live in WEB-701", "previous version of WEB-701", &running.id, "builds"] {
        assert!(table.contains(words), "no `{words}`: {table}");
    }
    let status = daemon.cli(&["status"]).fine();
    assert!(status.contains("GcNothingToFree"), "{status}");

    // Players notice nothing: what runs goes on, and what is live can be started.
    let (host, port) = running.first();
    let version = fetch(&format!("http://{host}:{port}/www/version")).await;
    assert_eq!(version.expect("it still answers"), "one");
    let red = daemon.team("red").await;
    red.play("WEB-701").await.flag("/answers/flag").await;

    // What is pushed now waits, and is built once there is room.
    stage.remote.put(&Challenge::web("WEB-701", "six"));
    let pushed = stage.remote.push("version six");
    daemon.cli(&["reconcile"]).fine();
    let row = daemon.admin().challenge("WEB-701").await.expect("it is listed");
    assert_eq!(row["state"], "updating", "{row}");
    daemon.stop().await;
    daemon.restart().await;
    let admin = daemon.admin();
    until("the push is live", PATIENCE, || async {
        let row = admin.challenge("WEB-701").await?;
        if row["live"]["revision"] == pushed.as_str() { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    assert_eq!(images(&stranger), theirs, "a stranger's image is never touched");
}
