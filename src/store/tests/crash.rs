//! Killed at any instruction: what was acknowledged is there, what was not is whole or absent.
//!
//! The test starts itself once more as a child, lets it write, kills it, and looks.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

/// Names the file for the child; without it the child's part does nothing.
const PATH: &str = "FLAGOPS_TEST_CRASH_DB";
/// What the child is to do.
const ROLE: &str = "FLAGOPS_TEST_CRASH_ROLE";

/// Runs in the child only.
#[tokio::test]
async fn child_part() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let store = Store::open(path.as_ref()).unwrap();
    match std::env::var(ROLE).unwrap().as_str() {
        "write until killed" => {
            for n in 1_u128.. {
                let stored = store.insert_instance(new_instance(n)).await.unwrap();
                println!("stored {n} {}", stored.surface[0].port);
                if n % 2 == 0 {
                    let stop = |instance: &mut Instance| instance.phase = InstancePhase::Stopped;
                    store.change_instance(instance_id(n), stop).await.unwrap();
                    println!("stopped {n} 0");
                }
            }
        }
        "die in a change" => {
            store.insert_instance(new_instance(1)).await.unwrap();
            let _ = store
                .write::<(), StoreError>(|db| {
                    db.execute("UPDATE instances SET phase = 'stopped'", [])?;
                    db.execute("UPDATE ports SET instance = NULL", [])?;
                    std::process::abort()
                })
                .await;
        }
        role => panic!("no such role: {role}"),
    }
}

fn child(path: &std::path::Path, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::child_part", "--nocapture", "--test-threads=1"])
        .env(PATH, path)
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the child said was done, until `n_lines` of it; then the child is dead.
fn acknowledged(mut child: Child, n_lines: usize) -> Vec<(String, u128, u16)> {
    let output = BufReader::new(child.stdout.take().unwrap());
    let said = output
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| {
            // The harness writes the test's name in front of the first line.
            let line = line.rsplit("... ").next().unwrap_or_default().to_owned();
            let mut words = line.split(' ');
            let verb = words.next()?.to_owned();
            let is_ours = verb == "stored" || verb == "stopped";
            is_ours.then_some(())?;
            Some((verb, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        })
        .take(n_lines)
        .collect();
    // SIGKILL: no destructor runs, nothing is flushed.
    child.kill().unwrap();
    child.wait().unwrap();
    said
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    for n_lines in [1, 7, 40] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flagops.db");
        let said = acknowledged(child(&path, "write until killed"), n_lines);
        assert_eq!(said.len(), n_lines);

        let store = Store::open(&path).unwrap();
        for (verb, n, port) in &said {
            let instance = store.instance(instance_id(*n)).await.unwrap().unwrap();
            match verb.as_str() {
                "stored" => assert_eq!(instance.surface[0].port, *port),
                _ => assert_eq!(instance.phase, InstancePhase::Stopped),
            }
        }
        // And what was under way is whole: ports are held by live instances, all of theirs.
        let live = store.instances(InstanceFilter::default()).await.unwrap();
        let surface = live.iter().flat_map(|instance| &instance.surface);
        let wanted: BTreeSet<_> =
            surface.map(|endpoint| (endpoint.transport.to_string(), endpoint.port)).collect();
        let held: BTreeSet<(String, u16)> = store
            .read(|db| {
                db.prepare("SELECT transport, port FROM ports WHERE instance IS NOT NULL")?
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .await
            .unwrap();
        assert_eq!(held, wanted);
        assert_eq!(wanted.len(), live.len() * 3);
    }
}

#[tokio::test]
async fn a_death_inside_a_change_undoes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flagops.db");
    let mut child = child(&path, "die in a change");
    assert!(!child.wait().unwrap().success());
    let store = Store::open(&path).unwrap();
    let instance = store.instance(instance_id(1)).await.unwrap().unwrap();
    assert_eq!(instance.phase, InstancePhase::Queued);
    let stop = |instance: &mut Instance| instance.phase = InstancePhase::Stopped;
    store.change_instance(instance_id(1), stop).await.unwrap().unwrap();
}
