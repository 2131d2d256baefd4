//! A platform and two nodes in one process, over a wire that a test cuts, slows and bends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::vpn;
use super::*;
use crate::builder::{Carrier, Supplied, Supplier};
use crate::daemon::platform::PlatformError;
use crate::daemon::worker::link;
use crate::daemon::{LocalNode, nodes};
use crate::model::{BuildKey, ConditionStatus, Duty, Happening, NodeId, VpnProtocol};
use crate::node::client::ImageReply;
use crate::node::wire::{
    AgentRuntime, BuildAllReply, BuildReply, BuildStates, Container, FileEntry, Health,
    InstanceState, RegisterOrder, RescanReply, ResetOrder, ShellOrder, StartOrder, VpnOrder,
    VpnSessions,
};
use crate::node::{Node, NodeError, NodeFile, Outcome};
use crate::runtime::fake::{Pushed, Verb};
use crate::runtime::{Registry, Terminal};
use crate::store::NodeChange;

/// The registry of every node.
const REPOSITORY: &str = "registry.ctf.test/flagops";

/// What the wire does to what is said over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fine,
    /// What the platform says does not arrive.
    Deaf,
    /// What the node answers does not arrive; it does what it was told.
    Mute,
    /// Everything takes a while.
    Slow,
}

/// A node behind a wire.
struct Wire {
    node: LocalNode,
    weather: Arc<Mutex<Weather>>,
}

impl Wire {
    async fn say<T>(&self, call: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let lost = || NodeError::Unreachable("the wire is cut".to_owned());
        let weather = *self.weather.lock().unwrap();
        match weather {
            Weather::Fine => call.await,
            Weather::Deaf => Err(lost()),
            Weather::Mute => {
                let _ = call.await;
                Err(lost())
            }
            Weather::Slow => {
                tokio::time::sleep(Duration::from_millis(80)).await;
                call.await
            }
        }
    }
}

#[async_trait]
impl Node for Wire {
    async fn health(&self) -> Outcome<Health> {
        self.say(self.node.health()).await
    }
    async fn readiness(&self) -> Outcome<()> {
        self.say(self.node.readiness()).await
    }
    async fn start(&self, order: StartOrder) -> Outcome<InstanceState> {
        self.say(self.node.start(order)).await
    }
    async fn status(&self, id: InstanceId) -> Outcome<InstanceState> {
        self.say(self.node.status(id)).await
    }
    async fn instances(&self) -> Outcome<Vec<InstanceState>> {
        self.say(self.node.instances()).await
    }
    async fn stop(&self, id: InstanceId) -> Outcome<()> {
        self.say(self.node.stop(id)).await
    }
    async fn renew(&self, id: InstanceId, ttl_secs: u32) -> Outcome<InstanceState> {
        self.say(self.node.renew(id, ttl_secs)).await
    }
    async fn reset(&self, id: InstanceId, order: ResetOrder) -> Outcome<InstanceState> {
        self.say(self.node.reset(id, order)).await
    }
    async fn is_healthy(&self, id: InstanceId) -> Outcome<bool> {
        self.say(self.node.is_healthy(id)).await
    }
    async fn agent_runtime(&self, id: InstanceId) -> Outcome<AgentRuntime> {
        self.say(self.node.agent_runtime(id)).await
    }
    async fn logs(&self, id: InstanceId) -> Outcome<String> {
        self.say(self.node.logs(id)).await
    }
    async fn traffic(&self, id: InstanceId) -> Outcome<Vec<serde_json::Value>> {
        self.say(self.node.traffic(id)).await
    }
    async fn pcap(&self, id: InstanceId) -> Outcome<Bytes> {
        self.say(self.node.pcap(id)).await
    }
    async fn containers(&self, id: InstanceId) -> Outcome<Vec<Container>> {
        self.say(self.node.containers(id)).await
    }
    async fn shell(&self, id: InstanceId, order: ShellOrder) -> Outcome<Terminal> {
        self.say(self.node.shell(id, order)).await
    }
    async fn files(&self, id: InstanceId) -> Outcome<Vec<FileEntry>> {
        self.say(self.node.files(id)).await
    }
    async fn file(&self, id: InstanceId, name: &str) -> Outcome<NodeFile> {
        self.say(self.node.file(id, name)).await
    }
    async fn openvpn_config(&self, id: InstanceId, holder: Option<Uuid>) -> Outcome<Bytes> {
        self.say(self.node.openvpn_config(id, holder)).await
    }
    async fn admit(&self, id: InstanceId, order: VpnOrder) -> Outcome<()> {
        self.say(self.node.admit(id, order)).await
    }
    async fn vpn_sessions(&self, id: InstanceId) -> Outcome<VpnSessions> {
        self.say(self.node.vpn_sessions(id)).await
    }
    async fn image(&self, key: BuildKey, repository: Option<&str>) -> Outcome<Supplied> {
        self.say(self.node.image(key, repository)).await
    }

    async fn stop_all(&self) -> Outcome<()> {
        self.say(self.node.stop_all()).await
    }
    async fn rescan(&self) -> Outcome<RescanReply> {
        self.say(self.node.rescan()).await
    }
    async fn build(&self, id: ChallengeId) -> Outcome<BuildReply> {
        self.say(self.node.build(id)).await
    }
    async fn build_all(&self) -> Outcome<BuildAllReply> {
        self.say(self.node.build_all()).await
    }
    async fn build_states(&self) -> Outcome<BuildStates> {
        self.say(self.node.build_states()).await
    }
}

/// A node of the cluster.
struct Machine {
    rig: Rig,
    daemon: Daemon,
    id: NodeId,
    token: String,
    weather: Arc<Mutex<Weather>>,
    is_beating: Arc<AtomicBool>,
}

impl Machine {
    fn be(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    /// One heartbeat, if the weather lets it through.
    async fn beat(&self, platform: &Platform, n: u64) {
        if !self.is_beating.load(Ordering::SeqCst) {
            return;
        }
        let shared = &self.daemon.shared;
        let heartbeat = link::heartbeat(shared, &self.id, ("life", n), 0.0).await;
        // What the node says travels the other way: a mute one is not heard.
        if *self.weather.lock().unwrap() != Weather::Mute
            && platform.heartbeat(&self.token, heartbeat).await.is_ok()
        {
            shared.worker.hear();
        }
    }

    /// Instances of which it has a container.
    async fn has(&self) -> BTreeSet<InstanceId> {
        let containers = self.rig.engine.containers(None).await.unwrap();
        containers.into_iter().filter_map(|container| container.instance).collect()
    }
}

/// A platform that runs nothing itself, and its nodes.
struct Cluster {
    rig: Rig,
    daemon: Daemon,
    machines: Vec<Machine>,
    n_beats: std::sync::atomic::AtomicU64,
}

impl Cluster {
    async fn new(metadata: &'static str, n_nodes: u16) -> Self {
        Self::of(&[("WEB/WEB-001/metadata.yaml", metadata), ONE_FILES[1]], n_nodes).await
    }

    async fn of(files: &[(&str, &str)], n_nodes: u16) -> Self {
        let mut rig = Rig::new();
        rig.config.nodes.local = false;
        rig.config.nodes.lost_after_secs = 30;
        rig.push(files);
        let daemon = rig.start().await;
        let platform = daemon.platform();
        let mut machines = Vec::new();
        for n in 0..n_nodes {
            machines.push(Self::machine(&rig, &daemon, n).await);
        }
        let cluster = Self { rig, daemon, machines, n_beats: 0.into() };
        until("the challenge to be live on images of nodes", async || {
            cluster.beat().await;
            platform.live().contains_key(&challenge_id("WEB-001")).then_some(())
        })
        .await;
        cluster
    }

    async fn machine(platform_rig: &Rig, platform: &Daemon, n: u16) -> Machine {
        let mut rig = Rig::new();
        rig.config.source.repo = platform_rig.remote().display().to_string();
        rig.config.node.capacity = 10;
        rig.config.registry.repository = Some(REPOSITORY.to_owned());
        rig.add_image("base:1");
        let daemon = rig.start().await;
        daemon.shared.worker.follow();
        let node_platform = daemon.platform();
        until("its engine to be proved", async || node_platform.is_engine_ready().then_some(()))
            .await;
        let weather = Arc::new(Mutex::new(Weather::Fine));
        let wire = Wire { node: daemon.node(), weather: Arc::clone(&weather) };
        let url = format!("http://127.0.0.1:{}", 1000 + n);
        let id: NodeId = format!("127.0.0.1_{}", 1000 + n).parse().unwrap();
        let fakes = &platform.shared.nodes.fakes;
        fakes.lock().unwrap().insert(id.clone(), Arc::new(wire));
        let (_, invite) = platform.platform().invite_node(600).await.unwrap();
        let order = RegisterOrder {
            url,
            display_name: String::new(),
            capacity: 10,
            labels: BTreeMap::new(),
            tls_pin: None,
        };
        let (node, token, _) = platform.platform().register_node(&invite, order).await.unwrap();
        assert_eq!(node.id, id);
        let is_beating = Arc::new(AtomicBool::new(true));
        Machine { rig, daemon, id, token, weather, is_beating }
    }

    fn platform(&self) -> Platform {
        self.daemon.platform()
    }

    /// Every node is heard of.
    async fn beat(&self) {
        let n = self.n_beats.fetch_add(1, Ordering::SeqCst) + 1;
        for machine in &self.machines {
            machine.beat(&self.platform(), n).await;
        }
    }

    /// Whether an image of this key was pushed.
    fn platform_knows(&self, key: BuildKey) -> bool {
        self.daemon.shared.nodes.errands.pushed(key, REPOSITORY).is_some()
    }

    async fn machine_of(&self, id: InstanceId) -> &Machine {
        let node = row(&self.daemon, id).await.node;
        self.machines.iter().find(|machine| machine.id == node).unwrap()
    }

    async fn ready(&self, id: InstanceId) -> Instance {
        until("the instance to be ready", async || {
            self.beat().await;
            let now = row(&self.daemon, id).await;
            assert_eq!(now.error, None);
            (now.phase == InstancePhase::Ready).then_some(now)
        })
        .await
    }

    /// Where an instance has containers.
    async fn places(&self, id: InstanceId) -> Vec<NodeId> {
        let mut places = Vec::new();
        for machine in &self.machines {
            if machine.has().await.contains(&id) {
                places.push(machine.id.clone());
            }
        }
        places
    }

    /// Everything agrees: each live row is ready in one place, and nothing else is anywhere.
    async fn agrees(&self) {
        until("platform and nodes to agree", async || {
            self.beat().await;
            let live = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
            let rows = self.daemon.store().instances(live).await.unwrap();
            let mut wanted: BTreeMap<&NodeId, BTreeSet<InstanceId>> = BTreeMap::new();
            for row in &rows {
                if row.phase != InstancePhase::Ready {
                    return None;
                }
                wanted.entry(&row.node).or_default().insert(row.id);
            }
            for machine in &self.machines {
                let has = machine.has().await;
                if has != wanted.remove(&machine.id).unwrap_or_default() {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    async fn stop(self) {
        for machine in self.machines {
            machine.daemon.stop().await;
        }
        self.daemon.stop().await;
        drop(self.rig);
    }
}

const MOVES: &str = "name: One\ndescription: Read it.\ndifficulty: easy\ntags: [t]\ncategory: web\ninstance: {on_node_loss: move}\nquestions:\n  - id: flag\n    prompt: What?\n";

#[tokio::test]
async fn answers_that_are_lost_on_the_way_make_no_second_instance() {
    let cluster = Cluster::new(METADATA, 1).await;
    let red = player(&cluster.platform(), "red").await;
    let machine = &cluster.machines[0];
    machine.be(Weather::Mute);
    let started = cluster.platform().start(&red, start_request("WEB-001")).await.unwrap();
    until("its node to have it", async || (!machine.has().await.is_empty()).then_some(())).await;
    assert_ne!(row(&cluster.daemon, started.id).await.phase, InstancePhase::Ready);
    machine.be(Weather::Fine);
    cluster.ready(started.id).await;
    assert_eq!(machine.rig.engine.containers(None).await.unwrap().len(), 1);
    // A stop whose answer is lost is a stop.
    machine.be(Weather::Mute);
    let id = started.id.to_string();
    cluster.platform().stop(&red, &id, StopReason::User).await.unwrap();
    until("its node to be rid of it", async || machine.has().await.is_empty().then_some(())).await;
    machine.be(Weather::Fine);
    cluster.agrees().await;
    assert_eq!(row(&cluster.daemon, started.id).await.phase, InstancePhase::Stopped);
    cluster.stop().await;
}

#[tokio::test]
async fn a_silent_node_loses_nothing_before_its_time_and_its_owner_is_told_after_it() {
    let cluster = Cluster::new(METADATA, 1).await;
    let red = player(&cluster.platform(), "red").await;
    let started = cluster.platform().start(&red, start_request("WEB-001")).await.unwrap();
    cluster.ready(started.id).await;
    let totals = cluster.platform().totals().await.unwrap();
    assert_eq!((totals.running_instances, totals.max_instances), (1, 10));
    let machine = &cluster.machines[0];
    machine.be(Weather::Deaf);
    machine.is_beating.store(false, Ordering::SeqCst);
    cluster.rig.clock.advance_millis(20_000);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(row(&cluster.daemon, started.id).await.phase, InstancePhase::Ready);
    cluster.rig.clock.advance_millis(12_000);
    let lost = until("its owner to be told", async || {
        Some(row(&cluster.daemon, started.id).await).filter(|row| row.error.is_some())
    })
    .await;
    assert_eq!(lost.stop_reason, Some(StopReason::NodeUnhealthy));
    assert_eq!(lost.status(), InstanceStatus::Error);
    assert_eq!(machine.has().await.len(), 1, "it goes on serving");
    let told = cluster.platform().activities_after(0, 100).await.unwrap();
    let count = |is_it: fn(&Happening) -> bool| {
        told.iter().filter(|row| is_it(&row.activity.happening)).count()
    };
    assert_eq!(count(|it| matches!(it, Happening::InstanceReady { .. })), 1, "{told:#?}");
    assert_eq!(count(|it| matches!(it, Happening::InstanceError { .. })), 1, "{told:#?}");
    // Back again, it gives it up.
    machine.be(Weather::Fine);
    machine.is_beating.store(true, Ordering::SeqCst);
    until("its node to be rid of it", async || {
        cluster.beat().await;
        machine.has().await.is_empty().then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn what_may_move_is_in_one_place_at_a_time_and_keeps_its_answers() {
    let cluster = Cluster::new(MOVES, 2).await;
    let red = player(&cluster.platform(), "red").await;
    let started = cluster.platform().start(&red, start_request("WEB-001")).await.unwrap();
    cluster.ready(started.id).await;
    let first = cluster.machine_of(started.id).await;
    let answers = |machine: &Machine| {
        machine.daemon.shared.worker.given(started.id).map(|given| given.answers)
    };
    let before = answers(first).unwrap();
    // Drained: its containers are ended there before they are anywhere else, or right after; in the end
    // they are in one place.
    let change = NodeChange { duty: Some(Duty::Draining), ..NodeChange::default() };
    let admin = Caller::administrator("admin");
    let node = first.id.to_string();
    cluster.platform().change_node(&admin, &node, change, "story".to_owned()).await.unwrap();
    until("it to be elsewhere", async || {
        cluster.beat().await;
        (row(&cluster.daemon, started.id).await.node != first.id).then_some(())
    })
    .await;
    cluster.ready(started.id).await;
    cluster.agrees().await;
    let second = cluster.machine_of(started.id).await;
    assert_eq!(cluster.places(started.id).await, std::slice::from_ref(&second.id));
    assert_eq!(answers(second).unwrap(), before);
    assert_eq!(answers(first), None, "what was given is forgotten with the instance");
    cluster.stop().await;
}

#[tokio::test]
async fn an_order_of_an_older_generation_or_of_another_tree_is_refused() {
    let cluster = Cluster::new(METADATA, 1).await;
    let machine = &cluster.machines[0];
    let live = cluster.platform().live()[&challenge_id("WEB-001")].clone();
    let order = |generation: u32, tree| StartOrder {
        challenge_id: "WEB-001".to_owned(),
        instance_id: uuid::Uuid::new_v4().to_string(),
        ttl: 600,
        answers: BTreeMap::from([("flag".to_owned(), "FLAG{x}".to_owned())]),
        proxy_output_dir: None,
        flagops: Some(crate::node::wire::StartExtras {
            revision: live.revision,
            tree,
            generation,
            team_id: uuid::Uuid::nil().to_string(),
            team_name: "red".to_owned(),
            competition_id: "default".to_owned(),
            n_resets: 0,
            answer_epoch: 0,
            fence_secs: 0,
            vpn: None,
        }),
    };
    let node = machine.daemon.node();
    let other = crate::model::TreeId(crate::model::ObjectId::from_bytes([9; 20]));
    let refused = node.start(order(1, other)).await.unwrap_err();
    assert!(
        matches!(&refused, NodeError::Conflict(why) if why.contains("ReleaseMismatch")),
        "{refused}"
    );
    machine.daemon.shared.worker.follow_generation_for_test(7);
    let refused = node.start(order(6, live.challenge.tree)).await.unwrap_err();
    assert!(
        matches!(&refused, NodeError::Conflict(why) if why.contains("older than 7")),
        "{refused}"
    );
    assert!(node.start(order(7, live.challenge.tree)).await.is_ok());
    cluster.stop().await;
}

/// Wishes and weather at random: whatever was acknowledged is so in the end, once, in one place.
#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_or_doubled_in_any_weather() {
    let seed: u64 =
        std::env::var("FLAGOPS_TEST_SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(11);
    let mut state = seed;
    let mut draw = move |n: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let cluster = Cluster::new(MOVES, 2).await;
    let platform = cluster.platform();
    let mut acknowledged: BTreeMap<InstanceId, bool> = BTreeMap::new();
    for step in 0..60 {
        let team = player(&platform, &format!("team {}", draw(4))).await;
        let ids: Vec<InstanceId> = acknowledged.keys().copied().collect();
        let some = (!ids.is_empty()).then(|| ids[usize::try_from(draw(ids.len() as u64)).unwrap()]);
        match (draw(8), some) {
            (0..=2, _) if acknowledged.values().filter(|is_wanted| **is_wanted).count() < 6 => {
                if let Ok(started) = platform.start(&team, start_request("WEB-001")).await {
                    acknowledged.insert(started.id, true);
                }
            }
            (3, Some(id)) => {
                let admin = Caller::administrator("a");
                if platform.stop(&admin, &id.to_string(), StopReason::User).await.is_ok() {
                    acknowledged.insert(id, false);
                }
            }
            (4, Some(id)) => {
                let admin = Caller::administrator("a");
                let _ = platform
                    .reset(&admin, &id.to_string(), crate::planner::lifecycle::Answers::Keep)
                    .await;
            }
            _ => {
                let weather = [Weather::Fine, Weather::Deaf, Weather::Mute, Weather::Slow];
                let machine = &cluster.machines[usize::try_from(draw(2)).unwrap()];
                machine.be(weather[usize::try_from(draw(4)).unwrap()]);
            }
        }
        tokio::time::sleep(Duration::from_millis(draw(40))).await;
        if step % 3 == 0 {
            cluster.beat().await;
        }
    }
    for machine in &cluster.machines {
        machine.be(Weather::Fine);
    }
    cluster.agrees().await;
    for (id, is_wanted) in acknowledged {
        let row = row(&cluster.daemon, id).await;
        let expected = if is_wanted { InstancePhase::Ready } else { InstancePhase::Stopped };
        assert_eq!(row.phase, expected, "seed {seed}: {row:#?}");
        assert_eq!(cluster.places(id).await.len(), usize::from(is_wanted), "seed {seed}");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn answers_that_belong_to_no_row_go_at_the_next_start() {
    let rig = Rig::new();
    let daemon = rig.start().await;
    let id = InstanceId::new(uuid::Uuid::from_bytes([5; 16]));
    let answers = BTreeMap::from([("flag".to_owned(), "FLAG{x}".to_owned())]);
    let given = crate::store::Given { answers, ..crate::store::Given::default() };
    daemon.store().give(id, given).await.unwrap();
    crate::daemon::worker::restore(&daemon.shared).await.unwrap();
    assert!(daemon.store().given().await.unwrap().is_empty());
    assert_eq!(daemon.shared.worker.given(id), None);
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_node_states_of_itself_is_read_at_its_platform() {
    let cluster = Cluster::new(METADATA, 1).await;
    let (platform, machine) = (cluster.platform(), &cluster.machines[0]);
    let there = Scope::Node(machine.id.clone());
    let state = async |status, reason, message: &str| {
        let statement = crate::daemon::shared::Statement {
            scope: Scope::Node(NodeId::local()),
            kind: ConditionType::CertificateValid,
            status,
            reason,
            message: message.to_owned(),
            revision: None,
        };
        machine.daemon.shared.state(statement).await;
        cluster.beat().await;
        let seen = condition(&platform, &there, ConditionType::CertificateValid).await.unwrap();
        (seen.status, seen.reason, seen.message)
    };
    let bad = state(ConditionStatus::False, "Expired", "it ended yesterday").await;
    assert_eq!(
        bad,
        (ConditionStatus::False, "Expired".to_owned(), "it ended yesterday".to_owned())
    );
    let good = state(ConditionStatus::True, "Ok", "until spring").await;
    assert_eq!(good, (ConditionStatus::True, "Ok".to_owned(), "until spring".to_owned()));
    // Its platform knows better whether it is heard of, and what it says of itself is of it alone.
    let heard = condition(&platform, &there, ConditionType::NodeConnected).await.unwrap();
    assert!(heard.message.contains("joined"), "{heard:?}");
    let own = Scope::Node(NodeId::local());
    assert!(condition(&platform, &own, ConditionType::CertificateValid).await.is_none());
    // Whoever removes it and takes it on again hears everything anew.
    let id = machine.id.to_string();
    platform.remove_node(&machine.token, &id).await.unwrap();
    assert!(condition(&platform, &there, ConditionType::CertificateValid).await.is_none());
    cluster.stop().await;
}

#[tokio::test]
async fn the_roster_is_what_the_database_says() {
    let cluster = Cluster::new(METADATA, 2).await;
    nodes::refresh(&cluster.daemon.shared).await.unwrap();
    assert_eq!(cluster.platform().nodes().await.unwrap().len(), 2);
    let gone = cluster.machines[1].id.to_string();
    cluster.platform().remove_node(&cluster.machines[1].token, &gone).await.unwrap();
    assert_eq!(cluster.platform().nodes().await.unwrap().len(), 1);
    let beat =
        link::heartbeat(&cluster.machines[1].daemon.shared, &cluster.machines[1].id, ("x", 1), 0.0);
    let refused = cluster.platform().heartbeat(&cluster.machines[1].token, beat.await).await;
    assert!(refused.is_err(), "whoever was removed is not heard");
    cluster.stop().await;
}

#[tokio::test]
async fn a_gateway_on_a_node_lets_in_whom_the_platform_says() {
    let cluster = Cluster::of(vpn::LAB_FILES, 1).await;
    let (platform, machine) = (cluster.platform(), &cluster.machines[0]);
    let red = player(&platform, "red").await;
    let id = platform.start(&red, start_request("WEB-001")).await.unwrap().id;
    cluster.ready(id).await;
    let profile = async || {
        let own = crate::daemon::platform::VpnTarget::Own;
        platform.vpn_profile(&red, &id.to_string(), own).await.ok().map(|(_, text)| text)
    };
    let first = until("the profile", profile).await;
    assert!(first.contains("# For red."), "{first}");
    let own = || crate::daemon::platform::VpnTarget::Own;
    let rotate = async || {
        let change = crate::store::VpnChange::Rotate;
        platform.change_vpn(&red, &id.to_string(), own(), change, String::new()).await.unwrap()
    };

    // A wire that is cut costs time.
    machine.be(Weather::Deaf);
    let (_, changed) = rotate().await;
    assert_eq!((changed[0].standing.holder.serial, changed[0].is_applied), (2, false));
    tokio::time::sleep(Duration::from_millis(50)).await;
    machine.be(Weather::Fine);
    let told = async |serials: &[&str]| {
        until(&format!("the gateway to be told {serials:?}"), async || {
            cluster.beat().await;
            let last = vpn::told(&machine.rig, id).pop();
            last.filter(|last| last == serials).map(|_| ())
        })
        .await;
    };
    told(&["2"]).await;
    let second = until("the next profile", profile).await;
    let key = |profile: &str| profile.split("<key>").nth(1).unwrap().to_owned();
    assert_ne!(key(&first), key(&second));

    // What arrives late, or about nobody, changes nothing.
    let order = VpnOrder { number: 1, seats: Vec::new(), protocol: VpnProtocol::default() };
    let late = machine.daemon.node().admit(id, order.clone()).await.unwrap_err();
    assert!(matches!(&late, NodeError::Conflict(why) if why.contains("newer order")), "{late}");
    let nobody = InstanceId::new(Uuid::from_u128(9));
    let unknown = machine.daemon.node().admit(nobody, order).await.unwrap_err();
    assert!(matches!(unknown, NodeError::NotFound(_)), "{unknown}");
    rotate().await;
    told(&["3"]).await;
    assert_eq!(platform.vpn_status(&red, &id.to_string()).await.unwrap().sessions, Some(vec![]));
}

#[tokio::test]
async fn what_an_instance_elsewhere_wrote_is_kept_by_the_platform_without_its_answers() {
    let cluster = Cluster::new(METADATA, 1).await;
    let (platform, machine) = (cluster.platform(), &cluster.machines[0]);
    let red = player(&platform, "red").await;
    let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
    cluster.ready(started.id).await;
    let web = container(&machine.rig, started.id, "web");
    let answer = machine.daemon.shared.worker.given(started.id).unwrap().answers["flag"].clone();
    machine.rig.engine.set_log(&web, &format!("serving {answer}\n"));
    platform.stop(&red, &started.id.to_string(), StopReason::User).await.unwrap();
    cluster.agrees().await;
    let log = platform.archived_log(started.id).await.unwrap();
    assert_eq!(log, "web | serving FLAG{[answer]}\n");
    let record = platform.archived(&started.id.to_string()).await.unwrap().unwrap();
    assert_eq!(
        (record.instance.phase, &record.instance.node),
        (InstancePhase::Stopped, &machine.id)
    );
    let on_node = machine.daemon.platform();
    assert!(
        on_node.archived(&started.id.to_string()).await.unwrap().is_none(),
        "it keeps no archive"
    );
    assert_eq!(on_node.archived_log(started.id).await.unwrap(), "");
    cluster.stop().await;
}

/// As if packets of it had been captured on that machine: two, a second apart.
fn capture_on(machine: &Machine, id: InstanceId) -> Vec<u8> {
    let folder = machine.daemon.shared.data.captures_path().join(id.to_string());
    std::fs::create_dir_all(&folder).unwrap();
    let mut capture = crate::traffic::pcap::header().to_vec();
    for secs in [1_u32, 2] {
        capture.extend([secs, 0, 1, 60].iter().flat_map(|number| number.to_le_bytes()).chain([7]));
    }
    std::fs::write(folder.join("0000000000000001-fi1.pcap"), &capture).unwrap();
    capture
}

#[tokio::test]
async fn packets_of_an_instance_elsewhere_are_fetched_and_kept_by_the_platform() {
    let cluster = Cluster::new(METADATA, 1).await;
    let (platform, machine) = (cluster.platform(), &cluster.machines[0]);
    let (red, admin) = (player(&platform, "red").await, Caller::administrator("test"));
    let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
    cluster.ready(started.id).await;
    let id = started.id.to_string();
    let none = platform.packets(&admin, &id).await.unwrap_err().to_string();
    assert!(none.contains("does not ask for it"), "{none}");
    let capture = capture_on(machine, started.id);
    assert_eq!(platform.packets(&admin, &id).await.unwrap().pcap, capture);
    assert_eq!(platform.kept_packets(started.id).await, 0);
    platform.stop(&red, &id, StopReason::User).await.unwrap();
    cluster.agrees().await;
    assert_eq!(platform.kept_packets(started.id).await, capture.len() as u64);
    let kept = platform.archived_packets(&admin, &id).await.unwrap();
    assert_eq!((kept.pcap.to_vec(), kept.is_cut), (capture, false));
    let deeds = platform.audit(10).await.unwrap();
    let n_noted = deeds.iter().filter(|it| it.what == "download_pcap").count();
    assert_eq!(n_noted, 2, "{deeds:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn why_an_instance_elsewhere_failed_is_read_from_what_its_node_kept() {
    let cluster = Cluster::new(METADATA, 1).await;
    let (platform, machine) = (cluster.platform(), &cluster.machines[0]);
    machine.rig.engine.exit_on_start("web", 7);
    let red = player(&platform, "red").await;
    let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
    until("it to have failed", async || {
        cluster.beat().await;
        (row(&cluster.daemon, started.id).await.phase == InstancePhase::Failed).then_some(())
    })
    .await;
    let record = platform.archived(&started.id.to_string()).await.unwrap().unwrap();
    assert!(record.error_detail.contains("exited with code 7"), "{}", record.error_detail);
    assert_eq!(cluster.daemon.store().log_incarnation(started.id).await.unwrap(), Some(0));
    cluster.stop().await;
}

/// The platform, asked by a node without a network in between.
struct ByHand {
    platform: Platform,
    token: String,
    repository: Option<String>,
}

#[async_trait]
impl Supplier for ByHand {
    fn registry(&self) -> Result<Option<Registry>, String> {
        let repository = self.repository.clone();
        Ok(repository.map(|repository| Registry { repository, login: None }))
    }

    async fn supply(
        &self,
        key: BuildKey,
        repository: Option<&str>,
    ) -> Result<Option<Supplied>, String> {
        loop {
            match self.platform.image_for_node(&self.token, &key.to_string(), repository).await {
                Ok(ImageReply::Image(image)) => return Ok(Some(image)),
                Ok(ImageReply::Build) => return Ok(None),
                Ok(ImageReply::Wait) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[tokio::test]
async fn an_image_is_built_by_one_node_and_taken_over_by_the_others() {
    let cluster = Cluster::new(METADATA, 3).await;
    for machine in &cluster.machines {
        let (platform, token) = (cluster.platform(), machine.token.clone());
        machine.daemon.shared.builder.supply_by(Arc::new(ByHand {
            platform,
            token,
            repository: None,
        }));
    }
    let before = cluster.platform().live()[&challenge_id("WEB-001")].revision;
    cluster.rig.push(FULL_FILES);
    until("the new version to be live", async || {
        cluster.beat().await;
        let live = cluster.platform().live()[&challenge_id("WEB-001")].revision;
        (live != before).then_some(())
    })
    .await;
    let n = |machine: &Machine, verb: Verb| {
        machine.rig.engine.calls().iter().filter(|it| **it == verb).count()
    };
    let loaded: Vec<_> = cluster.machines.iter().map(|it| n(it, Verb::Load)).collect();
    let saved: Vec<_> = cluster.machines.iter().map(|it| n(it, Verb::Save)).collect();
    assert_eq!(loaded.iter().sum::<usize>(), 2, "{loaded:?}");
    assert_eq!(saved.iter().sum::<usize>(), 2, "{saved:?}");
    // Whoever shows no token of a node gets nothing.
    let refused = cluster.platform().image_for_node("nobody", &"0".repeat(64), None).await;
    assert!(matches!(refused, Err(PlatformError::NodeRefused { .. })));
    cluster.stop().await;
}

#[tokio::test]
async fn through_a_registry_an_image_goes_once_and_outlives_who_built_it() {
    let mut cluster = Cluster::new(METADATA, 3).await;
    let pushed = Pushed::default();
    for machine in &cluster.machines {
        machine.rig.engine.share_registry(&pushed);
        let (platform, token) = (cluster.platform(), machine.token.clone());
        let repository = Some(REPOSITORY.to_owned());
        machine.daemon.shared.builder.supply_by(Arc::new(ByHand { platform, token, repository }));
    }
    let before = cluster.platform().live()[&challenge_id("WEB-001")].revision;
    cluster.rig.push(FULL_FILES);
    until("the new version to be live", async || {
        cluster.beat().await;
        let live = cluster.platform().live()[&challenge_id("WEB-001")].revision;
        (live != before).then_some(())
    })
    .await;
    let n = |machine: &Machine, verb: Verb| {
        machine.rig.engine.calls().iter().filter(|it| **it == verb).count()
    };
    let all =
        |verb: Verb| cluster.machines.iter().map(|machine| n(machine, verb)).collect::<Vec<_>>();
    assert_eq!((all(Verb::Save), all(Verb::Load)), (vec![0; 3], vec![0; 3]));
    assert_eq!(all(Verb::Fetch).iter().sum::<usize>(), 2);
    let builder = all(Verb::Push).iter().position(|n| *n > 0).unwrap();
    let key = cluster.machines[builder].daemon.shared.store.build_states().await.unwrap();
    let key = key.into_keys().find(|key| cluster.platform_knows(*key)).unwrap().to_string();
    // A node that joins later gets it, although whoever built it is gone; one that names another
    // repository does not, and neither does anybody send anything there.
    let gone = cluster.machines.remove(builder);
    gone.daemon.stop().await;
    let asker = cluster.machines[0].token.clone();
    let ask = async |repository| {
        let reply = cluster.platform().image_for_node(&asker, &key, repository).await.unwrap();
        match reply {
            ImageReply::Image(Supplied { carrier: Carrier::Registry(digest), .. }) => Some(digest),
            ImageReply::Image(_) | ImageReply::Wait | ImageReply::Build => None,
        }
    };
    let digest = ask(Some(REPOSITORY)).await.unwrap();
    assert!(pushed.lock().unwrap().contains_key(&format!("{REPOSITORY}@{digest}")));
    assert_eq!(ask(Some("evil.example/flagops")).await, None);
    assert!(pushed.lock().unwrap().keys().all(|name| name.starts_with(REPOSITORY)));
    cluster.stop().await;
}
