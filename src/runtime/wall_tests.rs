//! The wall between real containers. Needs root, `nft` and a Docker engine, and fails without.
//!
//! The bridges of these tests have a prefix of their own, so the table stands around them only.

use std::net::{Ipv4Addr, TcpListener};

use super::*;
use crate::model::compose::HealthTest;
use crate::release::spec::{ContainerSpec, NetworkSpec};
use crate::runtime::docker::tests::{Rig, fetch};
use crate::runtime::{Engine, EngineError, suite};

/// A prefix that nobody else on this machine uses, in the length of a real bridge name.
fn prefix() -> String {
    format!("fw{}", suite::random_hex(2))
}

/// Takes the table down at the end, whatever happens.
struct Up(Wall);

impl Up {
    async fn new(prefix: &str) -> Self {
        let up = Self(Wall::with_prefix(&suite::random_installation(), prefix));
        assert_eq!(up.0.ensure().await.unwrap(), WallState::Up, "these tests need root and nft");
        up
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = std::process::Command::new("nft")
            .args(["delete", "table", "inet", &self.0.table])
            .output();
    }
}

async fn network(rig: &Rig, prefix: &str) -> String {
    for _ in 0..50 {
        let spec = suite::random_network("");
        let spec = NetworkSpec { bridge: format!("{prefix}{}", suite::random_hex(3)), ..spec };
        match rig.engine.create_network(&spec).await {
            Ok(id) => return id,
            Err(EngineError::SubnetTaken { .. }) => (),
            Err(error) => panic!("no network: {error}"),
        }
    }
    panic!("fifty random subnets are in use")
}

/// A started web server and its address.
async fn server(rig: &Rig, spec: &ContainerSpec) -> (String, Ipv4Addr) {
    let id = rig.started(spec).await;
    let seen = rig.engine.container(&id).await.unwrap().unwrap();
    (id, *seen.addresses.values().next().unwrap())
}

/// Whether a container gets an answer from `host:port` within a second.
async fn reaches(rig: &Rig, from: &str, host: &str, port: u16) -> bool {
    // `-w` counts from the last byte; the web server answers a request and closes.
    let line = format!(
        "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 2 nc -w 1 {host} {port} | grep -q ."
    );
    let test = HealthTest::Shell(line);
    rig.engine.exec(from, &test, Duration::from_secs(20)).await.unwrap().code == 0
}

/// A server on every address of the host that says hello.
fn host_server() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut &stream, b"hello\n");
        }
    });
    port
}

/// The host's own address towards the world.
fn host_address() -> String {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("these tests need a default route");
    socket.local_addr().unwrap().ip().to_string()
}

#[tokio::test]
async fn nothing_leaves_an_instance_and_what_is_published_stays_reachable() {
    let rig = Rig::new().await;
    let bench = rig.bench();
    let prefix = prefix();
    let (first, second) = (network(&rig, &prefix).await, network(&rig, &prefix).await);
    let port = suite::free_port();
    let mut published = bench.web(&first);
    suite::publish(&mut published, port);
    published.published[0].address = Ipv4Addr::UNSPECIFIED.into();
    let (web, web_address) = server(&rig, &published).await;
    let mut peer = bench.web(&first);
    peer.network.aliases = vec!["peer".to_owned()];
    let (_, peer_address) = server(&rig, &peer).await;
    let (stranger, stranger_address) = server(&rig, &bench.web(&second)).await;

    let host = host_address();
    let host_port = host_server();
    let octets = web_address.octets();
    let gateway =
        Ipv4Addr::new(octets[0], octets[1], octets[2], (octets[3] & 0xf0) + 1).to_string();
    let open = [(gateway.as_str(), host_port), (&host, host_port), (&host, port)];
    for (address, port) in open {
        assert!(
            reaches(&rig, &stranger, address, port).await
                || reaches(&rig, &web, address, port).await,
            "the test itself is blind: {address}:{port} is not reachable without a wall"
        );
    }

    let up = Up::new(&prefix).await;
    assert_eq!(up.0.ensure().await.unwrap(), WallState::Up, "a second time replaces it");
    for (from, address, port) in [
        (&web, gateway.as_str(), host_port),
        (&web, &host, host_port),
        (&stranger, &host, host_port),
        (&stranger, &host, port),
        (&stranger, &gateway, port),
        (&web, &stranger_address.to_string(), 8080),
        (&stranger, &web_address.to_string(), 8080),
        (&web, "169.254.169.254", 80),
        (&web, "1.1.1.1", 80),
    ] {
        assert!(!reaches(&rig, from, address, port).await, "{address}:{port} is reachable");
    }
    assert!(reaches(&rig, &web, &peer_address.to_string(), 8080).await, "same instance");
    assert!(reaches(&rig, &web, "peer", 8080).await, "same instance, by name");
    for address in [web_address, stranger_address] {
        assert_eq!(fetch((address, 8080)).await.unwrap(), "hello", "our probe");
    }
    assert_eq!(fetch((Ipv4Addr::LOCALHOST, port)).await.unwrap(), "hello", "a player, here");
    assert_eq!(fetch((host.parse().unwrap(), port)).await.unwrap(), "hello", "a player");

    assert_eq!(up.0.remove().await.unwrap(), WallState::Up);
    assert_eq!(up.0.remove().await.unwrap(), WallState::Up, "removing twice succeeds");
    assert!(reaches(&rig, &web, &gateway, host_port).await, "it was the wall");
}

#[tokio::test]
async fn the_rules_are_accepted_by_nft() {
    let text = rules("flagops_01234567", BRIDGE_PREFIX);
    let output = run_nft(&["-c", "-f", "-"], &text).await.unwrap().expect("this test needs nft");
    assert!(output.status.success(), "{}", one_line(&output.stderr));
    let broken = text.replace("fib saddr", "fib nonsense");
    let output = run_nft(&["-c", "-f", "-"], &broken).await.unwrap().unwrap();
    assert!(!output.status.success());
}

#[test]
fn the_table_is_replaced_as_a_whole_and_bears_the_installation() {
    let wall = Wall::new(&"0123456789abcdef".parse().unwrap());
    assert_eq!(wall.table, "flagops_01234567");
    let text = rules(&wall.table, &wall.prefix);
    assert!(text.starts_with(
        "table inet flagops_01234567\ndelete table inet flagops_01234567\ntable inet flagops_01234567 {"
    ));
    // Every rule is about our bridges, but for the loopback address.
    let rules = text.lines().filter(|line| line.contains("drop") || line.contains("accept"));
    for rule in rules.filter(|rule| !rule.contains("policy")) {
        assert!(
            rule.contains("ifname \"fi*\"") || rule.contains("127.0.0.0/8") || rule.contains('#'),
            "{rule}"
        );
    }
}
