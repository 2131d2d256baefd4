//! Whom gateways let in, when what tells them fails or is killed.

use super::*;
use crate::runtime::EngineError;
use crate::runtime::fake::Verb;
use crate::store::VpnChange;

const LAB: &str = "name: Lab\ndescription: Get in.\ndifficulty: easy\ntags: [t]\ncategory: web\nnetwork_topology: engagement\n";

const COMPOSE: &str = "services:\n  openvpn:\n    image: ctfy/openvpn-base:1\n    ports: ['1194/udp']\n    deploy: &d {resources: {limits: {cpus: 0.5, memory: 64m}}}\n  web: {image: 'base:1', command: [serve], ports: [8080], deploy: *d}\n";

pub(super) const LAB_FILES: &[(&str, &str)] =
    &[("WEB/WEB-001/metadata.yaml", LAB), ("WEB/WEB-001/docker-compose.yml", COMPOSE)];

fn lab_rig() -> Rig {
    let rig = Rig::new();
    rig.add_image("base:1");
    rig.push(LAB_FILES);
    rig
}

/// The serials that the gateway was told to let in, each time.
pub(super) fn told(rig: &Rig, id: InstanceId) -> Vec<Vec<String>> {
    let commands = rig.engine.commands(id).into_iter().filter(|words| words[1] == "clients");
    commands
        .map(|words| {
            let serial = |name: &String| name.rsplit('.').next().unwrap().to_owned();
            words[2..].iter().map(serial).collect()
        })
        .collect()
}

async fn knows(daemon: &Daemon, id: InstanceId, serials: &[&str]) {
    until(&format!("the gateway to know {serials:?}"), async || {
        let told = daemon.store().vpn_told_of(id).await.unwrap()?;
        let serial = |name: &String| name.rsplit('.').next().unwrap().to_owned();
        let names: Vec<_> = told.names?.iter().map(serial).collect();
        (names == serials).then_some(())
    })
    .await;
}

fn lost() -> EngineError {
    EngineError::TimedOut { what: "exec".to_owned(), secs: 10 }
}

#[tokio::test]
async fn a_telling_that_took_effect_and_was_not_answered_is_told_again() {
    let rig = lab_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let id = ready_instance(&daemon, &red).await.id;
    let change = async |change: VpnChange| {
        let (id, now) = (id, platform.now());
        let holder = red.team().unwrap().as_uuid();
        daemon.store().change_vpn_access(id, holder, change, now).await.unwrap();
        daemon.shared.vpn_due.notify_one();
    };
    assert_eq!(told(&rig, id), [[""; 0]; 0], "it was filled with what it should know");
    // The first telling takes effect, and nobody hears of it; then the wish is taken back.
    rig.engine.fail_after_effect(Verb::Exec, lost());
    change(VpnChange::Revoke).await;
    until("it to be told", async || (told(&rig, id).len() == 1).then_some(())).await;
    change(VpnChange::Restore).await;
    knows(&daemon, id, &["2"]).await;
    assert_eq!(told(&rig, id).last().unwrap(), &["2"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_hint_that_is_lost_with_the_daemon_costs_time_only() {
    let rig = lab_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let id = ready_instance(&daemon, &red).await.id;
    let holder = red.team().unwrap().as_uuid();
    let now = platform.now();
    daemon.store().change_vpn_access(id, holder, VpnChange::Rotate, now).await.unwrap();
    daemon.stop().await;
    drop(platform);
    let daemon = rig.start().await;
    knows(&daemon, id, &["2"]).await;
    assert_eq!(told(&rig, id), [["2"]]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_gateway_that_is_made_anew_begins_with_what_holds_then() {
    let rig = lab_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let id = ready_instance(&daemon, &red).await.id;
    let gateway = async || {
        let seen = rig.engine.containers(Some(id)).await.unwrap();
        seen.into_iter().find(|it| it.service.as_ref().unwrap().as_str() == "openvpn")
    };
    let first = gateway().await.unwrap().id;
    rig.engine.remove_by_hand(&first);
    let holder = red.team().unwrap().as_uuid();
    let now = platform.now();
    daemon.store().change_vpn_access(id, holder, VpnChange::Rotate, now).await.unwrap();
    daemon.shared.vpn_due.notify_one();
    until("another gateway", async || gateway().await.filter(|it| it.id != first)).await;
    knows(&daemon, id, &["2"]).await;
    ready(&daemon, id).await;
    daemon.stop().await;
}

#[tokio::test]
async fn one_gateway_that_hangs_keeps_no_other_waiting() {
    let rig = lab_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let one = ready_instance(&daemon, &red).await.id;
    let blue = player(&platform, "blue").await;
    let other = ready_instance(&daemon, &blue).await.id;
    rig.engine.hang(Verb::Exec);
    for (id, caller) in [(one, &red), (other, &blue)] {
        let holder = caller.team().unwrap().as_uuid();
        let now = platform.now();
        daemon.store().change_vpn_access(id, holder, VpnChange::Revoke, now).await.unwrap();
        daemon.shared.vpn_due.notify_one();
    }
    let began = std::time::Instant::now();
    until("one of both to be told", async || {
        let n_told = told(&rig, one).len() + told(&rig, other).len();
        (n_told == 1).then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    daemon.stop().await;
}
