//! An operator sees whether instances are kept apart, and a node that does not keep them starts none.
//!
//! These stories set rules in the packet filter of this machine and take them away again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Challenge, Daemon, Finished, Settings, Stage};

fn walled(settings: Settings) -> Settings {
    settings.text("network.wall", "required").text("network.publish_address", "0.0.0.0")
}

/// What `flagops doctor isolation` says, and how it ended.
fn look(daemon: &Daemon) -> (Finished, Value) {
    let finished = daemon.cli(&["--format", "json", "doctor", "isolation"]);
    let report = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
    (finished, report)
}

/// The ids of the rows that do not hold.
fn misses(report: &Value) -> Vec<&str> {
    let rows = report["check"]["rows"].as_array().expect("it has rows");
    let misses = rows.iter().filter(|row| row["holds"] == false);
    misses.filter_map(|row| row["id"].as_str()).collect()
}

#[tokio::test]
async fn n01_every_row_of_the_matrix_holds_from_inside_of_an_instance() {
    let stage = Stage::with(&[Challenge::web("WEB-921", "one")]).await;
    let daemon = Daemon::start(walled(stage.settings())).await;
    daemon.live("WEB-921").await;
    daemon.admin().stated("node/local", "Isolated", "True", "Ok").await;
    let (finished, report) = look(&daemon);
    assert_eq!(misses(&report), Vec::<&str>::new(), "{report:#}");
    assert_eq!((finished.code, &report["check"]["verdict"]), (Some(0), &json!("holds")));
    // What was skipped is said; a machine with a way out skips nothing.
    let rows = report["check"]["rows"].as_array().expect("it has rows");
    let of = |id: &str| rows.iter().find(|row| row["id"] == id).expect(id);
    for (id, seen) in [
        ("same-network", "reached"),
        ("host-node-address", "blocked"),
        ("published-node-address", "blocked"),
        ("internet", "blocked"),
        ("ptrace", "reached"),
    ] {
        assert_eq!(of(id)["seen"], seen, "{:#}", of(id));
    }
    let table = daemon.cli(&["doctor", "isolation", "--last"]).fine();
    assert!(table.contains("another service of the same instance"), "{table}");
    daemon.nothing_left().await;
    let anonymous = daemon.team("red").await.get("/gitops/isolation").await;
    anonymous.expect_status(403);
}

/// A program called `nft` that does what a file beside it says, found before the real one.
struct Nft {
    folder: PathBuf,
}

impl Nft {
    fn new(folder: PathBuf) -> Self {
        fs::create_dir(&folder).expect("a folder can be made");
        let script = format!(
            "#!/bin/sh\n\
             PATH=/usr/sbin:/sbin:/usr/bin:/bin\n\
             if [ -e {0}/forbidden ]; then echo 'Operation not permitted' >&2; exit 1; fi\n\
             if [ -e {0}/leaky ]; then sed 's/counter drop/counter accept/' | nft \"$@\"; exit; fi\n\
             exec nft \"$@\"\n",
            folder.display()
        );
        let path = folder.join("nft");
        fs::write(&path, script).expect("a script can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
        Self { folder }
    }

    fn settings(&self, settings: Settings) -> Settings {
        let path = std::env::var("PATH").expect("there is a PATH");
        settings.variable("PATH", &format!("{}:{path}", self.folder.display()))
    }

    fn becomes(&self, what: &str) {
        for mood in ["forbidden", "leaky"] {
            let path: &Path = &self.folder.join(mood);
            if mood == what {
                fs::write(path, "").expect("a file can be written");
            } else {
                let _ = fs::remove_file(path);
            }
        }
    }
}

#[tokio::test]
async fn a_wall_that_leaks_stops_new_starts_until_it_is_mended() {
    let stage = Stage::with(&[Challenge::web("WEB-922", "one")]).await;
    let nft = Nft::new(stage.path("bin"));
    let mut daemon = Daemon::start(nft.settings(walled(stage.settings()))).await;
    daemon.live("WEB-922").await;
    let admin = daemon.admin();
    admin.stated("node/local", "Isolated", "True", "Ok").await;
    let red = daemon.team("red").await;
    let before = red.play("WEB-922").await;

    // Somebody's tool changes our rules, and ours cannot mend them.
    nft.becomes("leaky");
    let table = format!("flagops_{}", &daemon.installation()[..8]);
    let flushed = Command::new("nft").args(["delete", "table", "inet", &table]).status();
    assert!(flushed.is_ok_and(|status| status.success()), "the table was there");
    let (finished, report) = look(&daemon);
    let missed = misses(&report);
    for id in
        ["host-own-gateway", "host-other-gateway", "host-node-address", "published-node-address"]
    {
        assert!(missed.contains(&id), "{id} is not in {missed:?}");
    }
    assert!(!missed.contains(&"same-network") && !missed.contains(&"mount"), "{missed:?}");
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let stated = admin.stated("node/local", "Isolated", "False", "RowsMissed").await;
    assert!(
        stated["message"].as_str().is_some_and(|it| it.contains("host-own-gateway")),
        "{stated}"
    );
    let refused = red.post("/instances", json!({ "challenge_id": "WEB-922" })).await;
    refused.expect_refusal(503, "node_not_isolated");
    before.flag("/answers/flag").await;

    // It stays so over a restart, and is over with the first look that finds it mended.
    daemon.kill9();
    daemon.restart().await;
    let refused = red.post("/instances", json!({ "challenge_id": "WEB-922" })).await;
    refused.expect_refusal(503, "node_not_isolated");
    nft.becomes("itself again");
    let flushed = Command::new("nft").args(["delete", "table", "inet", &table]).status();
    assert!(flushed.is_ok_and(|status| status.success()), "the table was there");
    let (finished, report) = look(&daemon);
    assert_eq!((finished.code, misses(&report)), (Some(0), vec![]), "{report:#}");
    daemon.admin().stated("node/local", "Isolated", "True", "Ok").await;
    let after = red.play("WEB-922").await;
    after.flag("/answers/flag").await;
    red.stop(&before.id).await;
    red.stop(&after.id).await;
    daemon.nothing_left().await;
}

#[tokio::test]
async fn a_node_that_cannot_have_a_wall_starts_nothing_unless_it_is_allowed() {
    let stage = Stage::with(&[Challenge::web("WEB-923", "one")]).await;
    let nft = Nft::new(stage.path("bin"));
    nft.becomes("forbidden");
    let settings = nft.settings(walled(stage.settings())).number("network.check_secs", 0);
    let mut daemon = Daemon::start(settings).await;
    daemon.live("WEB-923").await;
    let stated = daemon.admin().stated("node/local", "Isolated", "False", "NoWall").await;
    let says = |words: &str| stated["message"].as_str().is_some_and(|it| it.contains(words));
    assert!(says("CAP_NET_ADMIN") && says("network.wall = \"auto\""), "{stated}");
    let red = daemon.team("red").await;
    let refused = red.post("/instances", json!({ "challenge_id": "WEB-923" })).await;
    refused.expect_refusal(503, "node_not_isolated");
    daemon.stop().await;
    daemon.relaunch_with("FLAGOPS_NETWORK__WALL", "auto");
    daemon.ready().await;
    daemon.live("WEB-923").await;
    daemon.admin().stated("node/local", "Isolated", "False", "WithoutWall").await;
    let instance = red.play("WEB-923").await;
    instance.flag("/answers/flag").await;
    red.stop(&instance.id).await;
    daemon.nothing_left().await;
}
