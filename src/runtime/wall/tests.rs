//! The wall between real containers. Needs root, `nft` and a Docker engine, and fails without.
//!
//! Each test has a random pool of its own, so the table stands around its own networks only. What
//! the machine around cannot show (a LAN, the metadata service) is in `lab`.

mod lab;

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

use super::*;
use crate::model::compose::HealthTest;
use crate::model::id::hex;
use crate::release::spec::{ContainerSpec, NetworkSpec};
use crate::runtime::docker::tests::{Rig, fetch};
use crate::runtime::suite::end;
use crate::runtime::{Engine, EngineError, suite};
use crate::store::{NetworkKind, Store};

/// A pool in 10.88.0.0/16 that hardly any other test uses right now.
fn random_pool() -> Ipv4Net {
    let mut byte = [0; 1];
    getrandom::fill(&mut byte).unwrap();
    Ipv4Net::new(Ipv4Addr::new(10, 88, byte[0], 0), 24).unwrap()
}

/// The wall of a test; the table goes at the end, whatever happens.
struct Guarded(Wall);

impl Guarded {
    fn new(pool: Ipv4Net) -> Self {
        Self(Wall::new(&suite::random_installation(), pool))
    }

    async fn up(&self) {
        match self.0.ensure().await.unwrap() {
            WallState::Up => (),
            WallState::Unsupported { reason } => panic!(
                "this test puts up a firewall and cannot here: {reason} \
                 (`scripts/setup-host` installs what is missing; then run it as root)"
            ),
        }
    }

    /// The table with its counters, or nothing.
    fn listing(&self) -> String {
        let listed = nft(&["list", "table", "inet", &self.0.table]);
        String::from_utf8(listed.stdout).unwrap()
    }

    /// How many packets the only rule with `words` has counted.
    fn n_packets(&self, words: &str) -> u64 {
        let listing = self.listing();
        let rule = listing.lines().find(|line| line.contains(words)).expect(words);
        let (_, count) = rule.split_once("packets ").unwrap();
        count.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Guarded {
    /// By the command line, because a test that panicked has no runtime any more.
    fn drop(&mut self) {
        nft(&["delete", "table", "inet", &self.0.table]);
    }
}

fn nft(arguments: &[&str]) -> std::process::Output {
    std::process::Command::new("nft")
        .args(arguments)
        .output()
        .expect("these tests need `nft`; `scripts/setup-host` installs it")
}

/// Networks of one pool, one after the other, named as the store names them.
struct Networks<'a> {
    rig: &'a Rig,
    free: Vec<Ipv4Net>,
}

impl<'a> Networks<'a> {
    fn new(rig: &'a Rig, pool: Ipv4Net) -> Self {
        let mut free: Vec<_> = pool.subnets(28).unwrap().collect();
        free.reverse();
        Self { rig, free }
    }

    /// A further one and its subnet; later ones have greater names.
    async fn make(&mut self) -> (String, Ipv4Net) {
        while let Some(subnet) = self.free.pop() {
            let address = hex(&subnet.network().octets());
            let spec = NetworkSpec {
                name: format!("fo-test-{address}-{}", suite::random_hex(6)),
                bridge: format!("fi{address}{:02x}", subnet.prefix_len()),
                subnet,
                is_internal: false,
            };
            match self.rig.engine.create_network(&spec).await {
                Ok(id) => return (id, subnet),
                Err(EngineError::SubnetTaken { .. }) => (),
                Err(error) => panic!("no network: {error}"),
            }
        }
        panic!("all networks of the pool are in use")
    }
}

/// A running web server: its container and its address on the network it was made on.
struct Server {
    id: String,
    address: Ipv4Addr,
}

async fn server(rig: &Rig, spec: &ContainerSpec) -> Server {
    let id = rig.started(spec).await;
    let seen = rig.engine.container(&id).await.unwrap().unwrap();
    let address = seen.addresses[&spec.network.network];
    Server { id, address }
}

/// Whether a container gets an answer from `host:port` within a second.
async fn reaches(rig: &Rig, from: &Server, host: &str, port: u16) -> bool {
    // `-w` counts from the last byte; the web server answers a request and closes.
    let line = format!(
        "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 2 nc -w 1 {host} {port} | grep -q ."
    );
    run(rig, from, &line).await == 0
}

/// Runs a line of shell in a container; its exit code.
async fn run(rig: &Rig, server: &Server, line: &str) -> i64 {
    let test = HealthTest::Shell(line.to_owned());
    rig.engine.exec(&server.id, &test, Duration::from_secs(20)).await.unwrap().code
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
fn host_address() -> Ipv4Addr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("these tests need a default route");
    match socket.local_addr().unwrap().ip() {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(_) => unreachable!("the socket is an IPv4 one"),
    }
}

fn gateway(subnet: Ipv4Net) -> Ipv4Addr {
    subnet.hosts().next().unwrap()
}

#[tokio::test]
async fn nothing_leaves_an_instance_and_what_is_published_stays_reachable() {
    let rig = Rig::new().await;
    let bench = rig.bench();
    let pool = random_pool();
    let mut networks = Networks::new(&rig, pool);
    let (first, first_subnet) = networks.make().await;
    let (second, second_subnet) = networks.make().await;
    let mut published = bench.web(&first);
    let port = suite::free_port();
    suite::publish(&mut published, port);
    published.published[0].address = Ipv4Addr::UNSPECIFIED.into();
    let web = server(&rig, &published).await;
    let mut local = bench.web(&first);
    let local_port = suite::free_port();
    suite::publish(&mut local, local_port);
    local.network.aliases = vec!["peer".to_owned()];
    let peer = server(&rig, &local).await;
    let stranger = server(&rig, &bench.web(&second)).await;

    let host = host_address();
    let host_port = host_server();
    let (own, foreign) = (gateway(second_subnet), gateway(first_subnet));
    // What the engine alone leaves open: the reason for the wall, and proof that this test can see.
    let holes = [(own, host_port), (foreign, host_port), (host, host_port), (host, port)];
    for (address, port) in holes {
        let is_open = reaches(&rig, &stranger, &address.to_string(), port).await;
        assert!(
            is_open,
            "{address}:{port} is closed without a wall, so this test is blind; another table?\n{}",
            String::from_utf8_lossy(&nft(&["list", "tables"]).stdout)
        );
    }

    let wall = Guarded::new(pool);
    wall.up().await;
    let nowhere =
        [(web.address, 8080), ([169, 254, 169, 254].into(), 80), ([1, 1, 1, 1].into(), 80)];
    for (address, port) in holes.into_iter().chain([(own, port)]).chain(nowhere) {
        let is_open = reaches(&rig, &stranger, &address.to_string(), port).await;
        assert!(!is_open, "{address}:{port} is open from {}", stranger.address);
    }
    assert!(!reaches(&rig, &web, &stranger.address.to_string(), 8080).await, "the other way");
    assert!(!reaches(&rig, &web, &gateway(first_subnet).to_string(), host_port).await, "host");

    assert!(reaches(&rig, &web, &peer.address.to_string(), 8080).await, "same network");
    assert!(reaches(&rig, &web, "peer", 8080).await, "same network, by name");
    for server in [&web, &peer, &stranger] {
        assert_eq!(fetch((server.address, 8080)).await.unwrap(), "hello", "from the host");
        let address = SocketAddrV4::new(server.address, 8080);
        rig.engine.reach(address, Duration::from_secs(3)).await.expect("our probe");
    }
    for (address, port) in [(Ipv4Addr::LOCALHOST, port), (host, port), (foreign, port)] {
        assert_eq!(fetch((address, port)).await.unwrap(), "hello", "published at {address}");
    }
    let loopback = fetch((Ipv4Addr::LOCALHOST, local_port)).await;
    assert_eq!(loopback.unwrap(), "hello", "published on loopback only");

    wall.0.remove().await.unwrap();
    assert!(reaches(&rig, &stranger, &own.to_string(), host_port).await, "it was the wall");
}

#[tokio::test]
async fn a_container_on_two_networks_answers_players_through_either() {
    let rig = Rig::new().await;
    let pool = random_pool();
    let mut networks = Networks::new(&rig, pool);
    // The engine leads the default route through the network that sorts first.
    let (first, _) = networks.make().await;
    let (second, _) = networks.make().await;
    let mut spec = rig.bench().web(&second);
    let port = suite::free_port();
    suite::publish(&mut spec, port);
    spec.published[0].address = Ipv4Addr::UNSPECIFIED.into();
    spec.more_networks = vec![end("first", &first)];
    server(&rig, &spec).await;
    let wall = Guarded::new(pool);
    wall.up().await;
    for address in [host_address(), Ipv4Addr::LOCALHOST] {
        assert_eq!(fetch((address, port)).await.unwrap(), "hello", "published at {address}");
    }
}

#[tokio::test]
async fn a_forged_source_address_does_not_leave_its_bridge() {
    let rig = Rig::new().await;
    let pool = random_pool();
    let (network, subnet) = Networks::new(&rig, pool).make().await;
    let mut spec = rig.bench().web(&network);
    spec.service.capabilities = vec!["NET_ADMIN".to_owned()];
    let forger = server(&rig, &spec).await;
    let wall = Guarded::new(pool);
    wall.up().await;
    assert_eq!(wall.n_packets("fib saddr"), 0);
    let gateway = gateway(subnet);
    let forge = format!(
        "ip address add 203.0.113.7/32 dev eth0 \
         && ip route add 192.0.2.77/32 via {gateway} src 203.0.113.7 || exit 3; \
         timeout 2 nc -w 1 192.0.2.77 80; true"
    );
    assert_eq!(run(&rig, &forger, &forge).await, 0, "the address was not set");
    assert!(wall.n_packets("fib saddr") > 0, "{}", wall.listing());
}

#[tokio::test]
async fn walls_of_two_installations_do_not_meet() {
    let rig = Rig::new().await;
    let pool = random_pool();
    let (network, _) = Networks::new(&rig, pool).make().await;
    let web = server(&rig, &rig.bench().web(&network)).await;
    let own = Guarded::new(pool);
    own.up().await;
    let same = Guarded::new(pool);
    same.up().await;
    // The neighbouring half of the next larger net, where this container is not.
    let neighbour = Ipv4Addr::from(u32::from(pool.network()) ^ 0x100);
    let other = Guarded::new(Ipv4Net::new(neighbour, 24).unwrap());
    other.up().await;
    assert_eq!(fetch((web.address, 8080)).await.unwrap(), "hello", "three walls");
    let host_port = host_server();
    let host = host_address().to_string();
    assert!(!reaches(&rig, &web, &host, host_port).await);
    own.0.remove().await.unwrap();
    assert!(!reaches(&rig, &web, &host, host_port).await, "the other of this pool still stands");
    same.0.remove().await.unwrap();
    assert!(reaches(&rig, &web, &host, host_port).await, "the one left is of another pool");
}

#[tokio::test]
async fn a_wall_that_somebody_broke_is_put_up_again() {
    let wall = Guarded::new(random_pool());
    wall.up().await;
    let intact = nft(&["--stateless", "--handle", "list", "table", "inet", &wall.0.table]).stdout;
    assert!(intact.windows(7).any(|word| word == b"goto to"));
    wall.up().await;
    let again = nft(&["--stateless", "--handle", "list", "table", "inet", &wall.0.table]).stdout;
    assert_eq!(again, intact, "an intact one is left alone: the handles are the same");

    let table = wall.0.table.clone();
    let whole = nft(&["--stateless", "list", "table", "inet", &table]).stdout;
    for damage in [
        &["delete", "table", "inet", &table][..],
        &["flush", "chain", "inet", &table, "to_host"],
        &["insert", "rule", "inet", &table, "to_host", "accept"],
    ] {
        assert!(nft(damage).status.success(), "{damage:?}");
        assert_ne!(nft(&["--stateless", "list", "table", "inet", &table]).stdout, whole);
        wall.up().await;
        let repaired = nft(&["--stateless", "list", "table", "inet", &table]).stdout;
        assert_eq!(repaired, whole, "after {damage:?}");
    }
}

#[tokio::test]
async fn removing_leaves_nothing_and_may_be_repeated() {
    let wall = Guarded::new(random_pool());
    wall.0.remove().await.expect("there is none yet");
    wall.up().await;
    assert!(!wall.listing().is_empty());
    wall.0.remove().await.unwrap();
    wall.0.remove().await.unwrap();
    let tables = String::from_utf8(nft(&["list", "tables"]).stdout).unwrap();
    assert!(!tables.contains(&wall.0.table), "{tables}");
    wall.up().await;
    assert!(!wall.listing().is_empty(), "after a removal it is made anew");
}

#[tokio::test]
async fn the_bridges_that_the_store_names_are_covered() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("flagops.db")).unwrap();
    let now = crate::model::Timestamp::from_millis(0);
    for pool in ["10.80.0.0/15", "172.20.0.0/14", "10.88.7.64/26"] {
        let pool: Ipv4Net = pool.parse().unwrap();
        let installation = suite::random_installation();
        let row = store
            .reserve_network(pool, 28, NetworkKind::Outward, &installation, now)
            .await
            .unwrap()
            .unwrap();
        assert!(rules::covers(pool, &row.spec.bridge), "{pool}: {}", row.spec.bridge);
        let elsewhere = "10.99.0.0/16".parse().unwrap();
        assert!(!rules::covers(elsewhere, &row.spec.bridge), "{}", row.spec.bridge);
    }
}

#[test]
fn what_this_machine_lacks_is_told_from_what_is_wrong() {
    for (said, lack) in [
        ("Operation not permitted (you must be root)", Some("as root")),
        ("netlink: Error: cache initialization failed: Operation not permitted", Some("as root")),
        ("Unable to initialize Netlink socket: Protocol not supported", Some("nf_tables")),
        ("/dev/stdin:7:5-9: Error: syntax error, unexpected newline", None),
        ("Error: Could not process rule: No such file or directory", None),
    ] {
        match (unsupported(said), lack) {
            (Some(reason), Some(words)) => assert!(reason.contains(words), "{said}: {reason}"),
            (reason, lack) => assert_eq!(reason, lack, "{said}"),
        }
    }
}

#[tokio::test]
async fn a_refusal_says_which_table_and_why() {
    let wall = Wall {
        table: "no-such name".to_owned(),
        ..Wall::new(&suite::random_installation(), random_pool())
    };
    let error = wall.ensure().await.unwrap_err().to_string();
    assert!(error.starts_with("`nft` refused the table `no-such name`: "), "{error}");
    assert!(error.len() < 500 && !error.contains('\n'), "{error}");
}
