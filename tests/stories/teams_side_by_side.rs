//! Two teams play the same challenge, again and again: they share nothing that can be written, and
//! nothing is left of what ended (N17, R19).

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::{Challenge, Daemon, Stage};

/// Starts before anything is counted, and those that count.
const N_BEFORE: usize = 4;
const N_CYCLES: usize = 20;

/// Every place of the host that the containers of an instance can write to.
fn writable(daemon: &Daemon, instance: &str) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    for container in daemon.engine().ids_of(instance) {
        let shown = daemon.engine().docker(&["inspect", &container]).expect("it is there");
        let shown: Value = serde_json::from_str(&shown).expect("it is JSON");
        let shown = &shown[0];
        let layer = &shown["GraphDriver"]["Data"]["UpperDir"];
        places.extend(layer.as_str().map(str::to_owned));
        let mounts = shown["Mounts"].as_array().into_iter().flatten();
        let written = mounts.filter(|mount| mount["RW"] == true);
        places.extend(written.filter_map(|mount| Some(mount["Source"].as_str()?.to_owned())));
        for key in ["HostsPath", "HostnamePath", "ResolvConfPath"] {
            places.extend(shown[key].as_str().map(str::to_owned));
        }
        for mode in ["IpcMode", "PidMode", "UTSMode"] {
            assert_ne!(shown["HostConfig"][mode], "host", "{container}: {mode}");
        }
    }
    places
}

#[tokio::test]
async fn n17_two_teams_share_nothing_that_can_be_written() {
    let stage = Stage::with(&[Challenge::rotated("WEB-941")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-941").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let (of_red, of_blue) = (red.play("WEB-941").await, blue.play("WEB-941").await);
    let (ours, theirs) = (writable(&daemon, &of_red.id), writable(&daemon, &of_blue.id));
    assert!(ours.len() > 4 && theirs.len() == ours.len(), "{ours:?} {theirs:?}");
    let shared: Vec<_> = ours.intersection(&theirs).collect();
    assert!(shared.is_empty(), "{shared:?}");
    assert_ne!(of_red.flag("/flag").await, of_blue.flag("/flag").await);
    for (team, instance) in [(&red, &of_red), (&blue, &of_blue)] {
        team.stop(&instance.id).await;
    }
    daemon.nothing_left().await;
}

#[tokio::test]
async fn r19_many_starts_leave_nothing_behind() {
    let stage = Stage::with(&[Challenge::web("WEB-942", "one")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-942").await;
    let red = daemon.team("red").await;
    let mut containers = Vec::new();
    let mut n_files = 0;
    for nth in 0..N_BEFORE + N_CYCLES {
        let id = red.play("WEB-942").await.id;
        containers.extend(daemon.engine().ids_of(&id));
        red.stop(&id).await;
        red.gone(&id).await;
        if nth + 1 == N_BEFORE {
            daemon.nothing_left().await;
            n_files = open_files(&daemon);
        }
    }
    daemon.nothing_left().await;
    let now = open_files(&daemon);
    assert!(now <= n_files + 8, "{now} files are open, {n_files} were after {N_BEFORE} starts");
    assert_eq!(containers.len(), N_BEFORE + N_CYCLES);
    let left: Vec<_> =
        processes().filter(|line| containers.iter().any(|id| line.contains(id.as_str()))).collect();
    assert!(left.is_empty(), "processes of the engine are left: {left:?}");
    for id in &containers {
        for group in ["memory/docker", "pids/docker", "docker"] {
            let path = format!("/sys/fs/cgroup/{group}/{id}");
            assert!(!fs::exists(&path).unwrap_or(false), "{path} is left");
        }
    }
}

fn open_files(daemon: &Daemon) -> usize {
    let listed = fs::read_dir(format!("/proc/{}/fd", daemon.pid()));
    listed.expect("it runs, and this is its user or root").count()
}

/// The command line of every process.
fn processes() -> impl Iterator<Item = String> {
    let listed = fs::read_dir("/proc").expect("there is /proc").flatten();
    listed.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok())
}
