//! Endpoints behind the door of the node: published where only it reaches them, named for as long as
//! they live, and what was started before there was one stays as it is.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::*;
use crate::ingress::{Reach, Table};
use crate::model::EndpointKind;

const DOMAIN: &str = ".ctf.test";

/// A rig that publishes for everybody what is not behind a door.
fn public_rig() -> Rig {
    let mut rig = rig();
    rig.config.network.publish_address = Ipv4Addr::UNSPECIFIED.into();
    rig
}

fn give_door(rig: &mut Rig) {
    let ingress = &mut rig.config.ingress;
    ingress.domain = Some(DOMAIN[1..].to_owned());
    (ingress.certificate, ingress.key) = (Some("cert.pem".into()), Some("key.pem".into()));
}

/// Whether each published port of the only instance is on loopback.
async fn on_loopback(rig: &Rig) -> Vec<bool> {
    let containers = rig.engine.containers(None).await.unwrap();
    let published = containers.iter().flat_map(|it| &it.published);
    published.map(|it| it.address.is_loopback()).collect()
}

async fn adopted(rig: &Rig, instance: &Instance) -> (Daemon, Instance) {
    let daemon = rig.start().await;
    let platform = daemon.platform();
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    live(&platform, "WEB-001").await;
    let outcome = platform.adopt_unknown(&[instance.id]).await.unwrap();
    assert_eq!(outcome.refused, std::collections::BTreeMap::new());
    let row = ready(&daemon, instance.id).await;
    (daemon, row)
}

#[tokio::test]
async fn a_name_leads_to_its_instance_for_as_long_as_that_lives() {
    let mut rig = public_rig();
    give_door(&mut rig);
    let (daemon, platform, red) = playing(&rig).await;
    let table = Arc::new(Table::default());
    daemon.keep_routes(Arc::clone(&table));
    let instance = ready_instance(&daemon, &red).await;
    let endpoint = &instance.surface[0];
    assert_eq!((endpoint.public_kind(), endpoint.public_port()), (EndpointKind::Https, 443));
    assert!(endpoint.host.ends_with(DOMAIN), "{}", endpoint.host);
    assert_eq!(on_loopback(&rig).await, [true]);
    // Whoever sees that it is ready is led there at once.
    let route = table.settled(&endpoint.host).await.unwrap();
    assert_eq!((route.instance, route.reach), (instance.id, Reach::Ready));
    assert_eq!(route.target, (Ipv4Addr::LOCALHOST, endpoint.port).into());

    platform.stop(&red, &instance.id.to_string(), StopReason::User).await.unwrap();
    until("the name to be gone", async || table.get(&endpoint.host).is_none().then_some(())).await;
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_name_outlives_the_database() {
    let mut rig = public_rig();
    give_door(&mut rig);
    let (daemon, _, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    daemon.stop().await;
    rig.lose_database();
    let (daemon, row) = adopted(&rig, &instance).await;
    assert_eq!(row.surface, instance.surface);
    daemon.stop().await;
}

#[tokio::test]
async fn what_was_published_for_everybody_before_there_was_a_door_stays_there() {
    let mut rig = public_rig();
    let (daemon, _, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    assert_eq!(on_loopback(&rig).await, [false]);
    daemon.stop().await;
    give_door(&mut rig);
    rig.lose_database();
    let (daemon, row) = adopted(&rig, &instance).await;
    assert_eq!(row.surface, instance.surface);
    assert_eq!(row.surface[0].door, None);
    daemon.stop().await;
}
