//! The loops against an engine in memory: killed, hung, restarted and lied to.

mod attachments;
mod budgets;
mod drift;
mod exports;
mod fairness;
mod faults;
mod gc;
mod history;
mod hooks;
mod hubs;
mod idle;
mod ingress;
mod isolation;
mod kills;
mod nodes;
mod notices;
mod operators;
mod provenance;
mod races;
mod records;
mod recovery;
mod releases;
mod repair;
mod resets;
mod signed;
mod solver;
mod source;
mod upgrade;
mod vpn;
mod waiting;

use std::collections::BTreeSet;
use std::time::Duration;

use super::platform::{Answer, Repeats, StartRequest};
use super::testing::Rig;
use super::{Daemon, Platform};
use crate::model::{
    Caller, ChallengeId, Condition, ConditionType, Instance, InstanceId, InstancePhase,
    InstanceStatus, Scope, StopReason,
};
use crate::runtime::Engine as _;
use crate::store::{InstanceFilter, NetworkState, Which};

const METADATA: &str = "name: One\ndescription: Read it.\ndifficulty: easy\ntags: [t]\ncategory: web\nquestions:\n  - id: flag\n    prompt: What?\n";

const COMPOSE: &str = "services:\n  web:\n    image: base:1\n    command: [serve]\n    ports: [8080]\n    mem_limit: 64m\n    cpus: 0.5\n    pids_limit: 64\n";

/// A build, a dependency, a job, a volume, an internal network and answers.
const FULL: &str = "\
services:
  web:
    build: services/web
    ports: [8080]
    networks: [front, back]
    volumes: ['answers:/answers:ro']
    depends_on:
      db: {condition: service_healthy}
      flag-rotator: {condition: service_completed_successfully}
    deploy: {resources: {limits: {cpus: 0.5, memory: 64m}}}
  db:
    image: base:1
    networks: [back]
    volumes: ['data:/var/lib/data']
    healthcheck: {test: [CMD, 'true'], interval: 1s, timeout: 1s, retries: 3}
    deploy: {resources: {limits: {cpus: 0.5, memory: 64m}}}
  flag-rotator:
    image: base:1
    networks: [back]
    volumes: ['answers:/out']
    environment: [ANSWER_FLAG]
    deploy: {resources: {limits: {cpus: 0.5, memory: 64m}}}
networks: {front: , back: {internal: true}}
volumes: {answers: , data: }
";

const FULL_FILES: &[(&str, &str)] = &[
    ("WEB/WEB-001/metadata.yaml", METADATA),
    ("WEB/WEB-001/docker-compose.yml", FULL),
    ("WEB/WEB-001/services/web/Dockerfile", "FROM scratch\nCOPY page /page\nCMD [\"/page\"]\n"),
    ("WEB/WEB-001/services/web/page", "hello\n"),
];

const ONE_FILES: &[(&str, &str)] =
    &[("WEB/WEB-001/metadata.yaml", METADATA), ("WEB/WEB-001/docker-compose.yml", COMPOSE)];

fn start_request(challenge: &str) -> StartRequest {
    StartRequest {
        challenge: challenge.to_owned(),
        competition: String::new(),
        ttl_secs: None,
        repeats: Repeats::Another,
    }
}

/// Waits until `look` gives something; panics with what was waited for after ten seconds.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn player(platform: &Platform, team: &str) -> Caller {
    let (_, token) = platform.create_team_token(team, "").await.unwrap();
    platform.authenticate(&token).await.unwrap()
}

fn challenge_id(id: &str) -> ChallengeId {
    id.parse().unwrap()
}

/// A rig with one small challenge whose image is on the machine.
fn rig() -> Rig {
    let rig = Rig::new();
    rig.add_image("base:1");
    rig.push(ONE_FILES);
    rig
}

/// A rig with a challenge that uses everything.
fn full_rig() -> Rig {
    let rig = Rig::new();
    rig.add_image("base:1");
    rig.push(FULL_FILES);
    rig
}

/// A daemon whose engine is proved and whose only challenge is live, and a player.
async fn playing(rig: &Rig) -> (Daemon, Platform, Caller) {
    let daemon = rig.start().await;
    let platform = daemon.platform();
    live(&platform, "WEB-001").await;
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    let red = player(&platform, "red").await;
    (daemon, platform, red)
}

async fn live(platform: &Platform, id: &str) {
    let id = challenge_id(id);
    until(&format!("{id} to be live"), async || platform.live().contains_key(&id).then_some(()))
        .await;
}

/// An instance of `WEB-001` that is ready.
async fn ready_instance(daemon: &Daemon, red: &Caller) -> Instance {
    let started = daemon.platform().start(red, start_request("WEB-001")).await.unwrap();
    ready(daemon, started.id).await
}

async fn row(daemon: &Daemon, id: InstanceId) -> Instance {
    daemon.store().instance(id).await.unwrap().unwrap()
}

/// Waits until the instance is ready and nobody works on it.
async fn ready(daemon: &Daemon, id: InstanceId) -> Instance {
    until("the instance to be ready", async || {
        let now = row(daemon, id).await;
        assert_eq!(now.error, None);
        (now.status() == InstanceStatus::Ready && !daemon.is_busy(id)).then_some(now)
    })
    .await
}

async fn in_phase(daemon: &Daemon, id: InstanceId, phase: InstancePhase) -> Instance {
    until(&format!("the instance to be {phase:?}"), async || {
        let now = row(daemon, id).await;
        (now.phase == phase && !daemon.is_busy(id)).then_some(now)
    })
    .await
}

/// The name of the container of a service.
fn container(rig: &Rig, id: InstanceId, service: &str) -> String {
    let wanted = format!("{id}-{service}");
    let found = rig.engine.object_names().into_iter().find(|name| name.ends_with(&wanted));
    found.unwrap_or_else(|| panic!("no container of {service}"))
}

/// Names of everything that belongs to an instance by its name.
fn objects_of(rig: &Rig, id: InstanceId) -> BTreeSet<String> {
    let names = rig.engine.object_names();
    names.into_iter().filter(|name| name.contains(&id.to_string())).collect()
}

/// Waits until nothing is left of any instance, and checks that every network that exists is in
/// the stock and every host port is free.
async fn nothing_is_left(rig: &Rig, daemon: &Daemon) {
    let live = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
    until("every row to be over", async || {
        daemon.store().instances(live.clone()).await.unwrap().is_empty().then_some(())
    })
    .await;
    daemon.relist().await;
    let containers = rig.engine.containers(None).await.unwrap();
    assert_eq!(containers, [], "a container is left");
    let volumes = rig.engine.volumes().await.unwrap();
    assert_eq!(volumes, [], "a volume is left");
    until("every network to be in the stock", async || {
        let rows = daemon.store().networks().await.unwrap();
        assert!(rows.iter().all(|row| row.state != NetworkState::Used), "{rows:#?}");
        let seen = rig.engine.networks().await.unwrap();
        let is_stock = |id: &str| {
            rows.iter()
                .any(|row| row.engine_id.as_deref() == Some(id) && row.state == NetworkState::Ready)
        };
        let is_settled = seen.iter().all(|network| is_stock(&network.id));
        if !is_settled {
            // What no row knows goes after two looks that are a minute apart.
            rig.clock.advance_millis(61_000);
            daemon.relist().await;
        }
        is_settled.then_some(())
    })
    .await;
    let all = InstanceFilter { which: Which::All, ..InstanceFilter::default() };
    for instance in daemon.store().instances(all).await.unwrap() {
        assert!(!instance.phase.is_live(), "{instance:#?}");
        assert!(instance.stopped_at.is_some(), "{instance:#?}");
    }
}

/// What is stated, if anything.
async fn condition(platform: &Platform, scope: &Scope, kind: ConditionType) -> Option<Condition> {
    let all = platform.conditions().await.unwrap();
    all.into_iter().find(|condition| condition.scope == *scope && condition.kind == kind)
}

#[tokio::test]
async fn only_a_challenge_that_asks_for_it_gets_a_network_that_leads_out() {
    let rig = Rig::new();
    rig.add_image("base:1");
    let asking = format!("{METADATA}instance: {{egress: internet}}\n");
    rig.push(&[
        ONE_FILES[0],
        ONE_FILES[1],
        ("WEB/WEB-002/metadata.yaml", &asking),
        ("WEB/WEB-002/docker-compose.yml", COMPOSE),
    ]);
    let (daemon, platform, red) = playing(&rig).await;
    live(&platform, "WEB-002").await;
    for (challenge, prefix) in [("WEB-001", "fi"), ("WEB-002", "fx"), ("WEB-001", "fi")] {
        let started = platform.start(&red, start_request(challenge)).await.unwrap();
        ready(&daemon, started.id).await;
        let rows = daemon.store().networks().await.unwrap();
        let is_own = |row: &&crate::store::NetworkRow| {
            row.owner.as_ref().is_some_and(|(owner, _)| *owner == started.id)
        };
        let bridges: Vec<_> = rows.iter().filter(is_own).map(|row| &row.spec.bridge[..2]).collect();
        assert_eq!(bridges, [prefix], "{challenge}");
        platform.stop(&red, &started.id.to_string(), StopReason::User).await.unwrap();
        in_phase(&daemon, started.id, InstancePhase::Stopped).await;
    }
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_pushed_challenge_can_be_started_and_stopped() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let id = instance.id.to_string();
    for name in ["db", "flag-rotator", "v-answers", "v-data", "web"] {
        container(&rig, instance.id, name);
    }
    assert_eq!(objects_of(&rig, instance.id).len(), 5);
    let answer = rig.engine.files(&container(&rig, instance.id, "web"))["/answers/flag"].clone();
    let wrong = Answer::One("FLAG{no}".to_owned());
    assert!(!platform.submit(&red, &id, "flag", wrong).await.unwrap().submission.is_correct);
    let right = Answer::One(String::from_utf8(answer).unwrap());
    assert!(platform.submit(&red, &id, "flag", right).await.unwrap().is_fully_solved);
    nothing_is_left(&rig, &daemon).await;
    assert_eq!(row(&daemon, instance.id).await.stop_reason, Some(StopReason::AutoStopAfterSolve));
    daemon.stop().await;
}
