//! Files, sides and leftovers; packets of a real bridge are a story.

use std::process::Stdio;

use super::flows::side;
use super::*;
use crate::traffic::{Side, pcap};

const ID: &str = "3f2a0000-0000-4000-8000-000000000001";

fn target(bridge: &str) -> Target {
    Target { instance: ID.parse().unwrap(), bridge: bridge.to_owned() }
}

/// A record of one packet, seconds after 1970.
fn record(secs: u32) -> Vec<u8> {
    [secs, 0, 1, 60].iter().flat_map(|number| number.to_le_bytes()).chain([7]).collect()
}

#[test]
fn segments_of_all_bridges_are_one_capture_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path().join("captures"));
    let id = ID.parse().unwrap();
    assert!(folder.read(id).unwrap().is_none());
    for (number, bridge, secs) in [(1, "fi1", 3), (2, "fi2", 1), (3, "fi1", 4)] {
        let whole = [pcap::header().to_vec(), record(secs)].concat();
        folder.keep(number, &target(bridge), &whole).unwrap();
    }
    let (merged, is_cut) = folder.read(id).unwrap().unwrap();
    let wanted = [pcap::header().to_vec(), record(1), record(3), record(4)].concat();
    assert_eq!((merged, is_cut), (wanted, false));
    assert!(folder.keep(1, &target("fi1"), &[]).is_err(), "a number is used once");
    folder.remove(1, &target("fi1"));
    let listed: Vec<_> = folder.list().into_iter().map(|(number, ..)| number).collect();
    let (_, is_cut) = folder.read(id).unwrap().unwrap();
    assert!(is_cut);
    assert_eq!(listed.len(), 2);
    folder.discard(id);
    assert_eq!((folder.list(), folder.n_bytes(id)), (vec![], 0));
}

#[test]
fn nobody_else_reads_what_was_captured() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path().join("captures"));
    drop(folder.begin(9, &target("fi1")).unwrap());
    let mode = |path: std::path::PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    let of_instance = dir.path().join("captures").join(ID);
    assert_eq!(mode(dir.path().join("captures")), 0o700);
    assert_eq!(mode(of_instance.clone()), 0o700);
    assert_eq!(mode(of_instance.join("0000000000000009-fi1.pcap")), 0o600);
}

#[test]
fn who_asked_from_outside_is_told_by_networks() {
    let subnets = ["10.7.0.0/28".parse().unwrap(), "10.7.1.0/28".parse().unwrap()];
    let side_of = |client: &str, server: &str| {
        let flow = serde_json::json!({
            "request": {"method": "GET", "url": "", "host": "", "path": "", "version": "",
                "headers": {}, "query": {}, "body": null},
            "response": null,
            "metadata": {"timestamp": "", "duration": 0.0},
            "client": {"ip": client, "port": 1}, "server": {"ip": server, "port": 2},
        });
        side(&serde_json::from_value(flow).unwrap(), &subnets)
    };
    assert_eq!(side_of("10.7.0.1", "10.7.0.2"), Side::Outside);
    assert_eq!(side_of("203.0.113.9", "10.7.1.3"), Side::Outside);
    for (client, server) in [
        ("10.7.0.3", "10.7.0.2"),
        ("10.7.0.3", "10.7.1.2"),
        ("10.7.0.3", "203.0.113.9"),
        ("203.0.113.9", "203.0.113.8"),
        ("::1", "10.7.0.2"),
    ] {
        assert_eq!(side_of(client, server), Side::Inside, "{client} {server}");
    }
}

#[test]
fn what_an_earlier_daemon_left_is_ended_and_nobody_else() {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    let sleeper = |name: &str| {
        let mut command = std::process::Command::new("sleep");
        command.arg0(name).arg("60").stdin(Stdio::null()).spawn().unwrap()
    };
    let tag = format!("flagops-capture-test-{}", std::process::id());
    let (mut ours, mut other) = (sleeper(&tag), sleeper(&format!("{tag}-of-another")));
    let waiting = std::thread::spawn(move || ours.wait().unwrap());
    process::end_strays(&tag);
    assert_eq!(waiting.join().unwrap().signal(), Some(9));
    assert!(other.try_wait().unwrap().is_none());
    other.kill().unwrap();
    other.wait().unwrap();
}
