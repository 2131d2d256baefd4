//! A newer flagops restarts nothing: what an earlier one wrote and labelled is what it was.
//!
//! Names, hash and rows are those that a daemon of schema 0001 left on a real engine; nothing of
//! them is computed here.

use std::collections::BTreeMap;

use super::*;
use crate::model::Provenance;
use crate::model::compose::Transport;
use crate::release::spec::{ContainerSpec, InstanceSpec, NetworkEnd, NetworkSpec, Published};
use crate::runtime::Engine;
use crate::store::testing::write_0001;
use crate::store::{DataDir, Store};

const INSTALLATION: &str = "0d9104022f7842d8";
const INSTANCE: &str = "fd459b03-f3ce-424c-a3af-45a272bcdba2";
const HASH: &str = "v1:888bb48fca89ee77e04cdeb3aa22fc13d553b7ab0d65b1f7737e14da3583b2dd";
const NAME: &str = "fo-0d910402-fd459b03-f3ce-424c-a3af-45a272bcdba2-web";
const VOLUME: &str = "fo-0d910402-fd459b03-f3ce-424c-a3af-45a272bcdba2-v-data";

async fn network(engine: &dyn Engine, name: &str, bridge: &str, subnet: &str) -> String {
    let spec = NetworkSpec {
        name: name.to_owned(),
        bridge: bridge.to_owned(),
        subnet: subnet.parse().unwrap(),
        is_internal: name.ends_with("40"),
    };
    engine.create_network(&spec).await.unwrap()
}

/// The container as it was made then.
async fn run(engine: &dyn Engine, spec: &InstanceSpec, front: &str, back: &str) {
    let end = |wish: &str, network: &str| NetworkEnd {
        wish: wish.to_owned(),
        network: network.to_owned(),
        aliases: vec!["web".into()],
        address: None,
    };
    let id: InstanceId = INSTANCE.parse().unwrap();
    engine.create_volume(VOLUME, id).await.unwrap();
    let container = ContainerSpec {
        name: NAME.to_owned(),
        instance: id,
        service: spec.services[0].clone(),
        challenge: challenge_id("WEB-001"),
        spec_hash: HASH.to_owned(),
        network: end("front", front),
        hosts: Vec::new(),
        more_networks: vec![end("back", back)],
        volume_names: BTreeMap::from([("data".to_owned(), VOLUME.to_owned())]),
        published: vec![Published {
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 31848,
            target: 8080,
            transport: Transport::Tcp,
        }],
        answer_values: vec![],
        has_answers: true,
        demands: crate::model::Demands::default(),
        disk_bytes: 1 << 30,
        resolver: None,
        provenance: Provenance::for_tests(),
    };
    let container = engine.create_container(&container).await.unwrap();
    engine.start(&container).await.unwrap();
}

#[tokio::test]
async fn an_upgrade_plans_zero_actions_and_changes_nothing_in_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    drop(DataDir::open(&data).unwrap());
    std::fs::write(data.join("installation"), INSTALLATION).unwrap();
    let mut rig = Rig::at(&data);
    rig.config.network.n_ready = 0;
    let image = "sha256:2815863ffced88e6edd501d25730ac47a71839a6c886d72390271661478c6619";
    rig.add_image(image);
    let engine = rig.engine.clone();
    let front = network(&engine, "fo-0d910402-0a5b0000", "fi0a5b00001c", "10.91.0.0/28").await;
    let back = network(&engine, "fo-0d910402-0a5b0040", "fi0a5b00401c", "10.91.0.64/28").await;
    let database = DataDir::open(&data).unwrap().database_path();
    write_0001(&database, &front, &back);
    let id: InstanceId = INSTANCE.parse().unwrap();
    let spec = Store::open(&database).unwrap().instance_spec(id).await.unwrap().unwrap();
    let image_id = rig.engine.image(image).await.unwrap().unwrap().id;
    let mut runnable = spec.clone();
    runnable.services[0].image = image_id;
    run(&engine, &runnable, &front, &back).await;
    let before = rig.engine.containers(None).await.unwrap();

    let n_calls = rig.engine.calls().len();
    let daemon = rig.start().await;
    let platform = daemon.platform();
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    daemon.relist().await;
    let plan = platform.plan().await.unwrap();
    let of_instances: Vec<_> =
        plan.iter().filter(|it| matches!(it.scope, Scope::Instance(_))).collect();
    assert!(of_instances.is_empty(), "{of_instances:#?}");
    assert_eq!(row(&daemon, id).await.phase, InstancePhase::Ready);
    assert_eq!(rig.engine.containers(None).await.unwrap(), before, "the very same containers");
    let writes: Vec<_> =
        rig.engine.calls().into_iter().skip(n_calls).filter(|verb| verb.changes()).collect();
    assert_eq!(writes, [], "an upgrade asks the engine for nothing");
    drop(platform);
    daemon.stop().await;
}
