//! What every engine must do, checked against the one in memory and against a real Docker.
//!
//! In:  a [`Bench`]: an engine, the same machine as another installation sees it, an image.
//! Out: panics with what was seen.
//!
//! Tests of what only a kernel can show (capabilities, limits, DNS) are in `docker::tests`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use ipnet::Ipv4Net;

use super::{
    BuildError, BuildNetwork, BuildRequest, ContainerState, Engine, EngineError, ExecOutcome,
    ImageSeen, NoFile,
};
use crate::model::compose::{AnswerFiles, HealthTest, Limits, Restart, Transport};
use crate::model::{BuildKey, EndpointKind, InstallationId, InstanceId, Provenance};
use crate::release::spec::{
    ContainerSpec, NetworkEnd, NetworkSpec, PortSpec, Profile, Published, ServiceSpec,
};

/// An engine under test, with what its tests share.
pub(crate) struct Bench<'a> {
    /// As we see it.
    pub(crate) engine: &'a dyn Engine,
    /// As another installation sees the same machine.
    pub(crate) other: &'a dyn Engine,
    /// Image id: has `/bin/busybox` and applets, runs `httpd` on port 8080.
    pub(crate) image: String,
}

/// Random bytes as hex, for names that no other test uses.
pub(crate) fn random_hex(n_bytes: usize) -> String {
    let mut bytes = vec![0; n_bytes];
    getrandom::fill(&mut bytes).unwrap();
    crate::model::id::hex(&bytes)
}

pub(crate) fn random_installation() -> InstallationId {
    random_hex(8).parse().unwrap()
}

pub(crate) fn random_instance() -> InstanceId {
    InstanceId::new(uuid::Uuid::new_v4())
}

/// A /28 and a bridge of our own, at random, so that parallel tests rarely meet.
pub(crate) fn random_network(prefix: &str) -> NetworkSpec {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).unwrap();
    let subnet = Ipv4Net::new(Ipv4Addr::new(10, 233, bytes[0], bytes[1] & 0xf0), 28).unwrap();
    NetworkSpec {
        name: format!("fo-test-{}", random_hex(6)),
        bridge: format!("{prefix}{}", random_hex(5)),
        subnet,
        is_internal: false,
    }
}

/// A free host port: the kernel's choice, given back.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A tar of regular files.
pub(crate) fn tar_of(files: &[(&str, &[u8])]) -> Bytes {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap().into()
}

/// A build of `dockerfile` in a context with these further files.
pub(crate) fn build_request(dockerfile: &str, files: &[(&str, &[u8])]) -> BuildRequest {
    let mut digest = [0; 32];
    getrandom::fill(&mut digest).unwrap();
    let key = BuildKey::from_digest(digest);
    let mut all = vec![("Dockerfile", dockerfile.as_bytes())];
    all.extend(files);
    BuildRequest {
        key,
        challenge: "WEB-001".parse().unwrap(),
        service: "web".parse().unwrap(),
        tree: None,
        tag: format!("flagops/test-{}:{}", random_hex(4), key.short()),
        context: tar_of(&all),
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: BTreeMap::new(),
        network: BuildNetwork::None,
        deadline: Duration::from_secs(120),
    }
}

/// The end of a service `web` on a network that fulfils `wish`.
pub(crate) fn end(wish: &str, network: &str) -> NetworkEnd {
    NetworkEnd {
        wish: wish.to_owned(),
        network: network.to_owned(),
        aliases: vec!["web".to_owned()],
        address: None,
    }
}

impl Bench<'_> {
    /// Makes a network; another subnet when the first is in use on this machine.
    pub(crate) async fn network(&self) -> (NetworkSpec, String) {
        for _ in 0..50 {
            let spec = random_network("fi");
            match self.engine.create_network(&spec).await {
                Ok(id) => return (spec, id),
                Err(EngineError::SubnetTaken { .. }) => (),
                Err(error) => panic!("no network: {error}"),
            }
        }
        panic!("fifty random subnets are in use")
    }

    /// A web server of a fresh instance on `network`, not yet asked for.
    pub(crate) fn web(&self, network: &str) -> ContainerSpec {
        ContainerSpec {
            name: format!("fo-test-{}", random_hex(6)),
            instance: random_instance(),
            service: ServiceSpec {
                name: "web".parse().unwrap(),
                image: self.image.clone(),
                command: None,
                entrypoint: None,
                environment: BTreeMap::new(),
                answer_environment: Vec::new(),
                answers: AnswerFiles::Only(Vec::new()),
                ports: Vec::new(),
                depends_on: BTreeMap::new(),
                healthcheck: None,
                networks: BTreeMap::from([("default".to_owned(), Vec::new())]),
                volumes: Vec::new(),
                tmpfs: Vec::new(),
                limits: Limits { memory_bytes: 64 << 20, pids: 32, ..Limits::default() },
                user: None,
                working_dir: None,
                hostname: None,
                capabilities: Vec::new(),
                is_read_only: true,
                stop_signal: Some("SIGKILL".to_owned()),
                stop_grace_millis: 1000,
                restart: Restart::No,
                profile: Profile::Default,
            },
            challenge: "WEB-001".parse().unwrap(),
            spec_hash: format!("v1:{}", random_hex(32)),
            network: end("default", network),
            more_networks: Vec::new(),
            volume_names: BTreeMap::new(),
            published: Vec::new(),
            answer_values: Vec::new(),
            has_answers: false,
            demands: crate::model::Demands::default(),
            hosts: Vec::new(),
            disk_bytes: 1 << 30,
            resolver: None,
            provenance: Provenance::for_tests(),
        }
    }

    async fn remove(&self, containers: &[&str], networks: &[&str]) {
        for container in containers {
            self.engine.remove_container(container).await.unwrap();
        }
        for network in networks {
            self.engine.remove_network(network).await.unwrap();
        }
    }
}

/// Publishes the web server's port on the loopback address.
pub(crate) fn publish(spec: &mut ContainerSpec, port: u16) {
    spec.service.ports = vec![PortSpec {
        target: 8080,
        transport: Transport::Tcp,
        kind: EndpointKind::Http,
        is_hidden: false,
    }];
    spec.published = vec![Published {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port,
        target: 8080,
        transport: Transport::Tcp,
    }];
}

/// Every check of this file, one after the other.
pub(crate) async fn everything(bench: &Bench<'_>) {
    creating_twice_gives_the_same_container(bench).await;
    a_container_tells_where_it_comes_from(bench).await;
    a_name_of_something_else_is_a_conflict(bench).await;
    a_container_lives_and_ends(bench).await;
    a_taken_port_is_said_at_the_start(bench).await;
    a_taken_subnet_or_bridge_is_said(bench).await;
    removing_what_is_absent_succeeds(bench).await;
    what_is_foreign_is_neither_seen_nor_touched(bench).await;
    volumes_belong_to_one_instance(bench).await;
    answers_go_into_a_read_only_container(bench).await;
    changes_are_hinted(bench).await;
    a_network_goes_although_something_runs_on_it(bench).await;
    a_running_container_comes_onto_a_network_and_off_it(bench).await;
    absent_images_are_said(bench).await;
    the_disk_is_seen_or_not(bench).await;
    bench.engine.prove().await.unwrap();
}

async fn creating_twice_gives_the_same_container(bench: &Bench<'_>) {
    let (_, network) = bench.network().await;
    let spec = bench.web(&network);
    let id = bench.engine.create_container(&spec).await.unwrap();
    assert_eq!(bench.engine.create_container(&spec).await.unwrap(), id);
    let seen = bench.engine.container(&spec.name).await.unwrap().unwrap();
    assert_eq!(seen.id, id);
    assert_eq!(seen.state, ContainerState::Created);
    assert_eq!(seen.instance, Some(spec.instance));
    assert_eq!(seen.service, Some(spec.service.name.clone()));
    assert_eq!(seen.spec_hash, spec.spec_hash);
    assert!(seen.addresses.is_empty(), "{seen:?}");
    bench.remove(&[&id], &[&network]).await;
}

async fn a_container_tells_where_it_comes_from(bench: &Bench<'_>) {
    let (_, network) = bench.network().await;
    let (_, second) = bench.network().await;
    let mut spec = bench.web(&network);
    publish(&mut spec, free_port());
    spec.more_networks = vec![end("back", &second)];
    let id = bench.engine.create_container(&spec).await.unwrap();
    let seen = bench.engine.container(&id).await.unwrap().unwrap();
    assert_eq!(seen.provenance, Some(spec.provenance));
    assert_eq!(seen.challenge, Some(spec.challenge));
    assert_eq!(seen.image, bench.engine.image(&bench.image).await.unwrap().unwrap().id);
    assert_eq!(seen.published, spec.published);
    let wishes = [("back".to_owned(), second.clone()), ("default".to_owned(), network.clone())];
    assert_eq!(seen.wishes, BTreeMap::from(wishes));
    bench.remove(&[&id], &[&network, &second]).await;
}

async fn a_name_of_something_else_is_a_conflict(bench: &Bench<'_>) {
    let (_, network) = bench.network().await;
    let spec = bench.web(&network);
    let id = bench.engine.create_container(&spec).await.unwrap();
    let other_hash = ContainerSpec { spec_hash: format!("v1:{}", random_hex(32)), ..spec.clone() };
    let other_instance = ContainerSpec { instance: random_instance(), ..spec.clone() };
    for changed in [other_hash, other_instance] {
        let refused = bench.engine.create_container(&changed).await.unwrap_err();
        assert!(matches!(refused, EngineError::Conflict { .. }), "{refused:?}");
    }
    bench.remove(&[&id], &[&network]).await;
}

async fn a_container_lives_and_ends(bench: &Bench<'_>) {
    let (net, network) = bench.network().await;
    let mut spec = bench.web(&network);
    spec.service.is_read_only = false;
    let id = bench.engine.create_container(&spec).await.unwrap();
    bench.engine.start(&id).await.unwrap();
    bench.engine.start(&id).await.expect("starting what runs succeeds");
    let seen = bench.engine.container(&id).await.unwrap().unwrap();
    assert_eq!(seen.state, ContainerState::Running);
    let address = seen.addresses.get(&network).expect("it has an address on its network");
    assert!(net.subnet.contains(address), "{address} is not in {}", net.subnet);
    assert_eq!(
        bench.engine.containers(Some(spec.instance)).await.unwrap(),
        std::slice::from_ref(&seen)
    );
    assert!(bench.engine.containers(None).await.unwrap().contains(&seen));
    assert_eq!(bench.engine.containers(Some(random_instance())).await.unwrap(), []);

    let test = HealthTest::Exec(vec!["/bin/true".to_owned()]);
    let ran = bench.engine.exec(&id, &test, Duration::from_secs(10)).await.unwrap();
    assert_eq!(ran, ExecOutcome { code: 0, output: String::new() });
    bench.engine.logs(&id, 10).await.unwrap();

    // What it has at the moment, while it runs and afterwards; never more than is asked for.
    let tar = tar_of(&[("made", b"12".as_slice())]);
    bench.engine.upload(&id, "/", tar).await.unwrap();
    let file = |path: &'static str, limit| bench.engine.container_file(&id, path, limit);
    assert_eq!(&file("/made", 2).await.unwrap().unwrap().bytes[..], b"12");
    assert_eq!(file("/made", 1).await.unwrap(), Err(NoFile::TooLarge));
    assert_eq!(file("/none", 9).await.unwrap(), Err(NoFile::Missing));

    bench.engine.stop(&id, Duration::from_secs(1)).await.unwrap();
    bench.engine.stop(&id, Duration::from_secs(1)).await.expect("stopping twice succeeds");
    let seen = bench.engine.container(&id).await.unwrap().unwrap();
    assert!(matches!(seen.state, ContainerState::Exited { is_oom: false, .. }), "{seen:?}");
    assert!(seen.addresses.is_empty(), "{seen:?}");
    assert_eq!(&file("/made", 2).await.unwrap().unwrap().bytes[..], b"12");
    // What is said ends with who says it.
    let lines = bench.engine.follow_logs(&id, None).await.unwrap().count();
    tokio::time::timeout(Duration::from_secs(20), lines).await.expect("the stream ends");
    let refused = bench.engine.exec(&id, &test, Duration::from_secs(10)).await.unwrap_err();
    assert!(matches!(refused, EngineError::Refused { .. }), "{refused:?}");
    bench.engine.start(&id).await.expect("a stopped container starts again");
    bench.remove(&[&id], &[&network]).await;
    assert_eq!(bench.engine.container(&id).await.unwrap(), None);
}

async fn a_taken_port_is_said_at_the_start(bench: &Bench<'_>) {
    let (_, network) = bench.network().await;
    let port = free_port();
    let (mut first, mut second) = (bench.web(&network), bench.web(&network));
    publish(&mut first, port);
    publish(&mut second, port);
    let first = bench.engine.create_container(&first).await.unwrap();
    let second = bench.engine.create_container(&second).await.unwrap();
    bench.engine.start(&first).await.unwrap();
    let refused = bench.engine.start(&second).await.unwrap_err();
    assert!(matches!(refused, EngineError::PortTaken { .. }), "{refused:?}");
    bench.engine.remove_container(&first).await.unwrap();
    bench.engine.start(&second).await.expect("the port is free again");
    bench.remove(&[&second], &[&network]).await;
}

async fn a_taken_subnet_or_bridge_is_said(bench: &Bench<'_>) {
    let (spec, network) = bench.network().await;
    let seen = bench.engine.networks().await.unwrap();
    let ours = seen.iter().find(|seen| seen.id == network).expect("it is listed");
    assert_eq!((&ours.name, ours.subnet), (&spec.name, Some(spec.subnet)));
    assert_eq!((ours.is_internal, ours.n_containers), (false, 0));
    let free = random_network("fi");
    let same_bridge = NetworkSpec { bridge: spec.bridge.clone(), ..free.clone() };
    let same_subnet = NetworkSpec { subnet: spec.subnet, ..free };
    for taken in [spec.clone(), same_bridge, same_subnet] {
        let refused = bench.engine.create_network(&taken).await.unwrap_err();
        assert!(matches!(refused, EngineError::SubnetTaken { .. }), "{refused:?}");
    }
    bench.remove(&[], &[&spec.name]).await;
    assert!(bench.engine.networks().await.unwrap().iter().all(|seen| seen.id != network));
}

async fn removing_what_is_absent_succeeds(bench: &Bench<'_>) {
    let name = format!("fo-test-{}", random_hex(6));
    bench.engine.remove_container(&name).await.unwrap();
    bench.engine.remove_network(&name).await.unwrap();
    bench.engine.remove_volume(&name).await.unwrap();
    bench.engine.remove_image(&format!("flagops/{name}:1")).await.unwrap();
    bench.engine.stop(&name, Duration::ZERO).await.unwrap();
    assert_eq!(bench.engine.container(&name).await.unwrap(), None);
    let refused = bench.engine.start(&name).await.unwrap_err();
    assert!(matches!(refused, EngineError::NotFound { .. }), "{refused:?}");
}

async fn what_is_foreign_is_neither_seen_nor_touched(bench: &Bench<'_>) {
    let (net, network) = bench.network().await;
    let spec = bench.web(&network);
    let volume = format!("fo-test-{}", random_hex(6));
    bench.engine.create_volume(&volume, spec.instance).await.unwrap();
    let id = bench.engine.create_container(&spec).await.unwrap();
    let other = bench.other;
    for name in [id.as_str(), &spec.name] {
        assert_eq!(other.container(name).await.unwrap(), None);
        let refusals = [
            other.remove_container(name).await.unwrap_err(),
            other.start(name).await.unwrap_err(),
            other.stop(name, Duration::ZERO).await.unwrap_err(),
            other.upload(name, "/", tar_of(&[])).await.unwrap_err(),
            other.container_file(name, "/etc/passwd", 9).await.unwrap_err(),
            other.logs(name, 1).await.unwrap_err(),
            other.follow_logs(name, None).await.map(drop).unwrap_err(),
        ];
        for refused in refusals {
            assert!(matches!(refused, EngineError::NotOurs { .. }), "{refused:?}");
        }
    }
    for refused in [
        other.remove_network(&net.name).await.unwrap_err(),
        other.remove_volume(&volume).await.unwrap_err(),
    ] {
        assert!(matches!(refused, EngineError::NotOurs { .. }), "{refused:?}");
    }
    let refused = other.create_volume(&volume, spec.instance).await.unwrap_err();
    assert!(matches!(refused, EngineError::Conflict { .. }), "{refused:?}");
    let refused = other.create_container(&spec).await.unwrap_err();
    assert!(matches!(refused, EngineError::Conflict { .. }), "{refused:?}");
    assert_eq!(other.containers(None).await.unwrap(), []);
    assert_eq!(other.networks().await.unwrap(), []);
    assert_eq!(other.volumes().await.unwrap(), []);
    assert!(bench.engine.container(&id).await.unwrap().is_some(), "it is still there");
    bench.remove(&[&id], &[&network]).await;
    bench.engine.remove_volume(&volume).await.unwrap();
}

async fn volumes_belong_to_one_instance(bench: &Bench<'_>) {
    let name = format!("fo-test-{}", random_hex(6));
    let instance = random_instance();
    bench.engine.create_volume(&name, instance).await.unwrap();
    bench.engine.create_volume(&name, instance).await.expect("making it twice succeeds");
    let refused = bench.engine.create_volume(&name, random_instance()).await.unwrap_err();
    assert!(matches!(refused, EngineError::Conflict { .. }), "{refused:?}");
    let seen = bench.engine.volumes().await.unwrap();
    assert!(seen.iter().any(|seen| seen.name == name && seen.instance == Some(instance)));
    bench.engine.remove_volume(&name).await.unwrap();
    assert!(bench.engine.volumes().await.unwrap().iter().all(|seen| seen.name != name));
}

async fn answers_go_into_a_read_only_container(bench: &Bench<'_>) {
    let (_, network) = bench.network().await;
    let mut spec = bench.web(&network);
    spec.has_answers = true;
    let id = bench.engine.create_container(&spec).await.unwrap();
    let tar = tar_of(&[("root_flag", b"FLAG{x}".as_slice())]);
    bench.engine.upload(&id, "/answers", tar.clone()).await.unwrap();
    let refused = bench.engine.upload(&id, "/etc", tar).await.unwrap_err();
    assert!(matches!(refused, EngineError::Refused { .. } | EngineError::NotFound { .. }));
    bench.engine.start(&id).await.unwrap();
    bench.remove(&[&id], &[&network]).await;
}

async fn changes_are_hinted(bench: &Bench<'_>) {
    let (_, network) = bench.network().await;
    let spec = bench.web(&network);
    // Not polled before the changes happen: nothing may be lost in between.
    let events = bench.engine.events().await.unwrap();
    let id = bench.engine.create_container(&spec).await.unwrap();
    bench.engine.start(&id).await.unwrap();
    bench.engine.remove_container(&id).await.unwrap();
    let ours = events
        .filter(|event| std::future::ready(event.instance == Some(spec.instance)))
        .map(|event| event.action)
        .take_while(|action| std::future::ready(action != "destroy"));
    let actions: Vec<_> =
        tokio::time::timeout(Duration::from_secs(10), ours.collect()).await.unwrap();
    assert_eq!(&actions[..2], ["create", "start"]);
    bench.remove(&[], &[&network]).await;
}

async fn a_network_goes_although_something_runs_on_it(bench: &Bench<'_>) {
    let (_, network) = bench.network().await;
    let (_, second) = bench.network().await;
    let mut spec = bench.web(&network);
    let end = end("back", &second);
    spec.more_networks = vec![end];
    let id = bench.engine.create_container(&spec).await.unwrap();
    assert_eq!(bench.engine.create_container(&spec).await.unwrap(), id);
    bench.engine.start(&id).await.unwrap();
    let seen = bench.engine.container(&id).await.unwrap().unwrap();
    assert!(seen.addresses.contains_key(&second) && seen.addresses.contains_key(&network));
    bench.engine.remove_network(&network).await.unwrap();
    let seen = bench.engine.container(&id).await.unwrap().unwrap();
    assert_eq!(seen.addresses.keys().collect::<Vec<_>>(), [&second]);
    bench.remove(&[&id], &[&second]).await;
}

async fn a_running_container_comes_onto_a_network_and_off_it(bench: &Bench<'_>) {
    let engine = bench.engine;
    let ((_, own), (_, further)) = (bench.network().await, bench.network().await);
    let spec = bench.web(&own);
    let id = engine.create_container(&spec).await.unwrap();
    engine.start(&id).await.unwrap();
    let on = async || {
        let seen = engine.container(&id).await.unwrap().unwrap();
        assert_eq!(seen.wishes.len(), 1, "what it was made for stays: {seen:?}");
        seen.addresses.into_keys().collect::<BTreeSet<_>>()
    };
    let both = BTreeSet::from([own.clone(), further.clone()]);
    for _ in 0..2 {
        engine.connect_network(&further, &id).await.unwrap();
        assert_eq!(on().await, both);
    }
    // Nobody else's.
    let refused = bench.other.connect_network(&further, &id).await.unwrap_err();
    assert!(matches!(refused, EngineError::NotOurs { .. }), "{refused:?}");
    let refused = bench.other.disconnect_network(&further, &id).await.unwrap_err();
    assert!(matches!(refused, EngineError::NotOurs { .. }), "{refused:?}");
    for _ in 0..2 {
        engine.disconnect_network(&further, &id).await.unwrap();
        assert_eq!(on().await, BTreeSet::from([own.clone()]));
    }
    // A network that goes takes nobody with it; one that was on it runs on without it.
    engine.connect_network(&further, &id).await.unwrap();
    engine.remove_network(&further).await.unwrap();
    assert_eq!(on().await, BTreeSet::from([own.clone()]));
    let seen = engine.container(&id).await.unwrap().unwrap();
    assert_eq!(seen.state, ContainerState::Running);
    engine.disconnect_network(&further, &id).await.unwrap();
    let gone = engine.connect_network(&further, &id).await.unwrap_err();
    assert!(matches!(gone, EngineError::NotFound { .. }), "{gone:?}");
    bench.remove(&[&id], &[]).await;
    let gone = engine.connect_network(&own, &id).await.unwrap_err();
    assert!(matches!(gone, EngineError::NotFound { .. }), "{gone:?}");
    engine.disconnect_network(&own, &id).await.unwrap();
    bench.remove(&[], &[&own]).await;
}

async fn absent_images_are_said(bench: &Bench<'_>) {
    assert_eq!(bench.engine.image("flagops/no-such-image:1").await.unwrap(), None);
    let (_, network) = bench.network().await;
    let mut spec = bench.web(&network);
    spec.service.image = format!("sha256:{}", "0".repeat(64));
    let refused = bench.engine.create_container(&spec).await.unwrap_err();
    assert!(matches!(refused, EngineError::NotFound { .. }), "{refused:?}");
    bench.remove(&[], &[&network]).await;
}

async fn the_disk_is_seen_or_not(bench: &Bench<'_>) {
    // Where it is seen it has a size, and nobody uses more than there is.
    if let Some(disk) = bench.engine.disk().await.unwrap() {
        assert!(disk.capacity_bytes > 0 && disk.used_bytes <= disk.capacity_bytes, "{disk:?}");
    }
    // Trimming to more than there is removes nothing, from nobody's cache.
    let freed = bench.engine.trim_build_cache(1 << 60).await.unwrap();
    assert_eq!(freed, 0);
    bench.engine.build_cache_bytes().await.unwrap();
}

/// An image that a container was made from, running or not, is not removed.
pub(crate) async fn a_used_image_stays(bench: &Bench<'_>, request: BuildRequest) {
    let (log, _lines) = tokio::sync::mpsc::unbounded_channel();
    let built = bench.engine.build(request, log).await.unwrap();
    assert!(built.made_at.is_some(), "{built:?}");
    let (_, network) = bench.network().await;
    let mut spec = bench.web(&network);
    spec.service.image.clone_from(&built.id);
    let id = bench.engine.create_container(&spec).await.unwrap();
    let refused = bench.engine.remove_image(&built.id).await.unwrap_err();
    assert!(matches!(refused, EngineError::Refused { .. }), "{refused:?}");
    assert_eq!(bench.engine.image(&built.id).await.unwrap().as_ref(), Some(&built));
    let foreign = bench.other.remove_image(&built.id).await.unwrap_err();
    assert!(matches!(foreign, EngineError::NotOurs { .. }), "{foreign:?}");
    bench.remove(&[&id], &[&network]).await;
    bench.engine.remove_image(&built.id).await.unwrap();
    assert_eq!(bench.engine.image(&built.id).await.unwrap(), None);
}

/// Builds, looks at, and removes an image; then one that fails.
pub(crate) async fn builds(engine: &dyn Engine, good: BuildRequest, bad: BuildRequest) {
    let (log, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let (key, tag) = (good.key, good.tag.clone());
    let built: ImageSeen = engine.build(good, log).await.unwrap();
    assert_eq!(built.build_key, Some(key));
    assert_eq!(engine.image(&tag).await.unwrap().as_ref(), Some(&built));
    assert_eq!(engine.image(&built.id).await.unwrap().as_ref(), Some(&built));
    assert!(engine.images().await.unwrap().contains(&built));
    assert!(lines.recv().await.is_some(), "a build says something");
    let file = |path: &'static str, limit| engine.image_file(&built.id, path, limit);
    assert_eq!(&file("/a", 1).await.unwrap().unwrap().bytes[..], b"1");
    assert_eq!(file("/a", 0).await.unwrap(), Err(NoFile::TooLarge));
    assert_eq!(file("/b", 9).await.unwrap(), Err(NoFile::Missing));
    assert_eq!(&file("/a", 1).await.unwrap().unwrap().bytes[..], b"1", "and nothing is left over");
    let saved: Vec<_> = engine.save(&built.id).await.unwrap().collect().await;
    engine.remove_image(&tag).await.unwrap();
    engine.remove_image(&tag).await.unwrap();
    assert_eq!(engine.image(&tag).await.unwrap(), None);

    // On another engine it would be the same: gone from here, it is taken in again.
    let gone = engine.save(&built.id).await.map(drop).unwrap_err();
    assert!(matches!(gone, EngineError::NotFound { .. }), "{gone:?}");
    let taken = super::taken_tag(&tag);
    let cut = vec![Ok(Bytes::from_static(b"not an image")), Err(std::io::Error::other("cut"))];
    engine.load(&built.id, &taken, futures_util::stream::iter(cut).boxed()).await.unwrap_err();
    let saved: Vec<Bytes> = saved.into_iter().map(|part| part.unwrap()).collect();
    let again = || futures_util::stream::iter(saved.clone().into_iter().map(Ok)).boxed();
    let other = format!("sha256:{}", "0".repeat(64));
    let strange = engine.load(&other, &taken, again()).await.unwrap_err();
    assert!(matches!(strange, EngineError::Refused { .. }), "{strange:?}");
    let loaded = engine.load(&built.id, &taken, again()).await.unwrap();
    assert_eq!(loaded.id, built.id);
    assert_eq!(&file("/a", 1).await.unwrap().unwrap().bytes[..], b"1");
    assert_eq!(engine.image(&tag).await.unwrap(), None, "a tag is not taken over");
    assert_eq!(engine.image(&taken).await.unwrap().map(|it| it.id), Some(built.id.clone()));
    engine.unload(&taken).await.unwrap();
    engine.unload(&taken).await.unwrap();
    assert_eq!(engine.image(&built.id).await.unwrap(), None);

    let (log, _lines) = tokio::sync::mpsc::unbounded_channel();
    let failed = engine.build(bad, log).await.unwrap_err();
    assert!(matches!(failed, BuildError::Failed { .. }), "{failed:?}");
}
