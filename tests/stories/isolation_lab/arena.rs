//! The lab: an engine's namespace, a LAN beside it, and two instances, of an engine alone or of ours.

use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::matrix::{Expected, From, MATRIX, Node, Row, To};
use crate::support::{
    Challenge, Client, Daemon, Disk, Engine, OwnEngine, PATIENCE, Ready, Stage, python, until,
};

/// The node's address on the LAN, and those of the LAN.
const NODE: &str = "198.51.100.254";
const LAN: &str = "198.51.100.1";
const INTERNET: &str = "203.0.113.9";
const METADATA: &str = "169.254.169.254";
/// A service of the node on every address, and one on loopback only.
const SERVICE: u16 = 9000;
const LOOPBACK: u16 = 9001;
const CHALLENGE: &str = "WEB-931";

/// The LAN beside the namespace `$NODE`: `$LAN` is its own, `$POOLS` are routed to the node.
const SETUP: &str = r#"
set -e
ip netns add "$LAN"
ip -n "$NODE" link add lan type veth peer name eth0 netns "$LAN"
ip -n "$NODE" address add 198.51.100.254/24 dev lan
ip -n "$NODE" link set lan up
ip -n "$NODE" route add default via 198.51.100.1
ip -n "$LAN" link set lo up
for address in 198.51.100.1/24 169.254.169.254/32 203.0.113.9/32; do
    ip -n "$LAN" address add "$address" dev eth0
done
ip -n "$LAN" link set eth0 up
for pool in $POOLS; do ip -n "$LAN" route add "$pool" via 198.51.100.254; done
# A hostile neighbour has no loopback of its own and routes it to the node.
ip -n "$LAN" address flush dev lo
ip netns exec "$LAN" sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet'
ip -n "$LAN" route add 127.0.0.1/32 via 198.51.100.254
"#;

/// What the LAN hears for name servers, whatever becomes of it.
const QUESTIONS: &str = "add table inet questions; \
    add chain inet questions heard { type filter hook prerouting priority -300; }; \
    add rule inet questions heard iifname eth0 meta l4proto { tcp, udp } th dport { 53, 443, 853 } counter";

/// Knocks at every TCP port of an address, many at a time, and prints `address:port` of each that
/// answers within a second, also with a refusal.
const SWEEP: &str = r#"
import errno, resource, select, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (9000, 9000))
address = sys.argv[1]
for first in range(1, 65536, 8192):
    poll, knocks = select.epoll(), {}
    for port in range(first, min(first + 8192, 65536)):
        knock = socket.socket()
        knock.setblocking(False)
        if knock.connect_ex((address, port)) not in (0, errno.EINPROGRESS):
            continue
        knocks[knock.fileno()] = (port, knock)
        poll.register(knock, select.EPOLLOUT)
    end = time.monotonic() + 1
    while knocks and time.monotonic() < end:
        for fd, _ in poll.poll(0.1):
            port, knock = knocks.pop(fd)
            poll.unregister(fd)
            print(f"{address}:{port}")
            knock.close()
    for _, knock in knocks.values():
        knock.close()
    poll.close()
"#;

/// Knocks at every address of the own network, and at four thousand of private ones.
const SCAN: &str = r#"
import ipaddress, random, socket, sys
own = int(ipaddress.ip_address(sys.argv[1])) & ~15
far = [random.randrange(10 << 24, 11 << 24) for _ in range(2000)]
far += [random.randrange(2886729728, 2887778304) for _ in range(2000)]
for address in list(range(own, own + 16)) + far:
    knock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        knock.sendto(b"x", (str(ipaddress.ip_address(address)), 4000))
    except OSError:
        pass
    knock.close()
"#;

/// The lab.
pub(super) struct Arena {
    stage: Stage,
    pub(super) engine: OwnEngine,
    lan: String,
    servers: Vec<Child>,
}

/// Two instances, whoever made them: process and addresses of each container.
#[derive(Debug)]
pub(super) struct Cast {
    web: Actor,
    db: Actor,
    other_web: Actor,
    other_db: Actor,
    /// Host ports that they publish.
    published: u16,
    other_published: u16,
}

/// A container.
#[derive(Debug)]
struct Actor {
    pid: String,
    address: String,
    gateway: String,
}

impl Arena {
    /// An engine of its own, a LAN, and services on both.
    pub(super) async fn set() -> Self {
        Self::with(&Challenge::web_and_db(CHALLENGE, "one")).await
    }

    /// The same with a challenge that asks for a way out to the internet.
    pub(super) async fn with_way_out() -> Self {
        let closed = Challenge::web_and_db(CHALLENGE, "one");
        let metadata = format!("{}instance: {{egress: internet}}\n", closed.files["metadata.yaml"]);
        Self::with(&closed.with("metadata.yaml", metadata)).await
    }

    async fn with(challenge: &Challenge) -> Self {
        let stage = Stage::with(std::slice::from_ref(challenge)).await;
        let engine = OwnEngine::start(&stage.path(""), Disk::Ample).await;
        let lan = format!("{}l", engine.namespace());
        // The networks of our own pool, and those that an engine takes by itself.
        let pools = "10.128.0.0/9 172.16.0.0/12";
        let output = Command::new("sh")
            .args(["-c", SETUP])
            .env("NODE", engine.namespace())
            .env("LAN", &lan)
            .env("POOLS", pools)
            .output()
            .expect("there is a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut arena = Self { stage, engine, lan, servers: Vec::new() };
        let node = arena.engine.namespace().to_owned();
        arena.serve(&node, &["-p", &SERVICE.to_string()]);
        arena.serve(&node, &["-s", "127.0.0.1", "-p", &LOOPBACK.to_string()]);
        arena.serve(&arena.lan.clone(), &["-p", "80"]);
        arena.accept_forwarding();
        arena
    }

    /// As an engine finds it where something else forwards already: nothing is dropped by default (E2).
    pub(super) fn accept_forwarding(&self) {
        self.inside(&["iptables", "-P", "FORWARD", "ACCEPT"]);
    }

    fn serve(&mut self, namespace: &str, at: &[&str]) {
        let mut server = Command::new("ip");
        server.args(["netns", "exec", namespace, "busybox", "nc", "-ll"]).args(at);
        server.args(["-e", "/bin/busybox", "echo", "hello"]);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.servers.push(server.spawn().expect("there is busybox"));
    }

    /// Runs a program in the node's namespace.
    pub(super) fn inside(&self, words: &[&str]) {
        let runner = self.engine.runner();
        let output = Command::new(&runner[0]).args(&runner[1..]).args(words).output();
        let output = output.expect("the program is there");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The engine and its containerd, as the kernel kills what it has no memory for.
    pub(super) fn kill_engine(&mut self) {
        let containerd = self.engine.containerd().expect("it runs");
        self.engine.kill9();
        let _ = rustix::process::kill_process(containerd, rustix::process::Signal::KILL);
    }

    /// What an engine alone makes of the same two instances.
    pub(super) fn stock_cast(&self) -> Cast {
        let docker =
            |words: &[&str]| self.engine.engine().docker(words).expect("the engine does it");
        for (n, port) in [("1", "18081"), ("2", "18082")] {
            let (outer, inner) = (format!("outer{n}"), format!("inner{n}"));
            docker(&["network", "create", &outer]);
            docker(&["network", "create", "--internal", &inner]);
            let (web, db) = (format!("web{n}"), format!("db{n}"));
            let publish = format!("{port}:8080");
            docker(&[
                "create",
                "--name",
                &web,
                "--network",
                &outer,
                "-p",
                &publish,
                "busybox",
                "nc",
                "-ll",
                "-p",
                "8080",
                "-e",
                "echo",
                "web",
            ]);
            docker(&["network", "connect", &inner, &web]);
            docker(&["start", &web]);
            docker(&[
                "run",
                "-d",
                "--name",
                &db,
                "--network",
                &inner,
                "busybox",
                "nc",
                "-ll",
                "-p",
                "6379",
                "-e",
                "echo",
                "db",
            ]);
        }
        let actor = |name: &str, network: &str| {
            Actor::of(&self.engine.engine(), name, Some(network)).expect("it runs")
        };
        Cast {
            web: actor("web1", "outer1"),
            db: actor("db1", "inner1"),
            other_web: actor("web2", "outer2"),
            other_db: actor("db2", "inner2"),
            published: 18081,
            other_published: 18082,
        }
    }

    /// Two teams play the same challenge on this engine, behind our wall.
    pub(super) async fn play(&self) -> Play {
        let address = self.engine.address();
        let settings = self.stage.settings();
        let settings = settings
            .elsewhere(self.engine.engine(), self.engine.runner(), &address)
            .text("engine.endpoint", &format!("unix://{}", self.engine.socket().display()))
            .text("network.publish_address", "0.0.0.0")
            .text("network.wall", "required")
            // The LAN has public addresses: where there is a way out, it is closed by name.
            .text("network.egress_deny", "198.51.100.0/24")
            .number("network.check_secs", 0);
        let daemon = Daemon::start(settings).await;
        daemon.live(CHALLENGE).await;
        let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
        let (of_red, of_blue) = (red.play(CHALLENGE).await, blue.play(CHALLENGE).await);
        Play { daemon, red, blue, of_red, of_blue }
    }

    /// What answers, in the order of the matrix.
    pub(super) fn look(&self, cast: &Cast) -> Vec<bool> {
        std::thread::scope(|scope| {
            let asked: Vec<_> =
                MATRIX.iter().map(|row| scope.spawn(|| self.answers(cast, row))).collect();
            asked.into_iter().map(|it| it.join().expect("asking does not panic")).collect()
        })
    }

    /// Every TCP port of every address of the node that says anything to the web server of the first
    /// instance, be it no: `address:port`.
    pub(super) fn ports(&self, cast: &Cast) -> Vec<String> {
        let namespace = format!("--net=/proc/{}/ns/net", cast.web.pid);
        let gateways = [cast.web.gateway.as_str(), cast.other_web.gateway.as_str(), NODE];
        let swept: Vec<_> = gateways
            .iter()
            .map(|address| {
                let mut sweep = Command::new("nsenter");
                sweep.arg(&namespace).arg(python()).args(["-c", SWEEP, address]);
                sweep.stdout(Stdio::piped()).spawn().expect("there is nsenter")
            })
            .collect();
        let outputs = swept.into_iter().map(|it| it.wait_with_output().expect("it ends"));
        let mut ports = Vec::new();
        for output in outputs {
            assert!(output.status.success(), "the sweep did not end by itself");
            ports.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
        }
        ports
    }

    /// The web server of the first instance knocks at thousands of addresses, near and far; how many
    /// neighbours the node and the instance know then.
    pub(super) fn neighbours_after_a_scan(&self, cast: &Cast) -> (usize, usize) {
        let instance = format!("--net=/proc/{}/ns/net", cast.web.pid);
        let mut scan = Command::new("nsenter");
        let output =
            scan.arg(&instance).arg(python()).args(["-c", SCAN, &cast.web.address]).output();
        let output = output.expect("there is nsenter");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let n_known = |namespace: &str| {
            let output = Command::new("nsenter").args([namespace, "ip", "neigh"]).output();
            output.expect("there is ip").stdout.split(|byte| *byte == b'\n').count() - 1
        };
        (n_known(&format!("--net=/run/netns/{}", self.engine.namespace())), n_known(&instance))
    }

    /// Counts what comes to the LAN for name servers, from now on.
    pub(super) fn count_questions(&self) {
        let mut nft = Command::new("ip");
        nft.args(["netns", "exec", &self.lan, "nft", QUESTIONS]);
        let output = nft.output().expect("there is nft");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// How many packets did.
    pub(super) fn n_questions(&self) -> u64 {
        let words = ["netns", "exec", &self.lan, "nft", "list", "table", "inet", "questions"];
        let output = Command::new("ip").args(words).output().expect("there is nft");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let packets = text.split("packets ").nth(1).and_then(|it| it.split(' ').next());
        packets.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("no counter: {text}"))
    }

    /// Asks everybody whom a player could ask for a name outside, from `container`.
    pub(super) fn ask_for_names(&self, container: &str, cast: &Cast) {
        let engine = self.engine.engine();
        std::thread::scope(|scope| {
            let servers = ["127.0.0.11", &cast.web.gateway, INTERNET, LAN, NODE];
            for (nth, server) in servers.into_iter().enumerate() {
                let engine = &engine;
                scope.spawn(move || {
                    let name = format!("stolen-{nth}-x7f3.example.com");
                    // No answer is what should come.
                    let _ = engine.inside(container, &["timeout", "4", "nslookup", &name, server]);
                    let _ = engine.inside(container, &["timeout", "2", "nc", server, "853"]);
                });
            }
        });
    }

    /// Whether somebody answers. Whatever they say: each server here says something.
    fn answers(&self, cast: &Cast, row: &Row) -> bool {
        let Some((host, port)) = cast.target(row.to) else { return false };
        let from = match row.from {
            From::Web => format!("nsenter --net=/proc/{}/ns/net", cast.web.pid),
            From::Db => format!("nsenter --net=/proc/{}/ns/net", cast.db.pid),
            From::Lan => format!("nsenter --net=/run/netns/{}", self.lan),
            From::Node => self.engine.runner().join(" "),
        };
        let line = format!(
            "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | {from} timeout -k 1 3 busybox nc -w 1 {host} {port} | grep -q ."
        );
        Command::new("sh")
            .args(["-c", &line])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// The rows that are not as they should be, and whether they were reached.
    pub(super) fn wrong(&self, cast: &Cast) -> Vec<(&'static Row, bool)> {
        MATRIX.iter().zip(self.look(cast)).filter(is_wrong).collect()
    }

    /// No row leaks.
    pub(super) fn shuts(&self, cast: &Cast, situation: &str) {
        let seen = self.look(cast);
        let leaks: Vec<_> =
            MATRIX.iter().zip(seen).filter(|seen| seen.1 && is_wrong(seen)).collect();
        assert!(leaks.is_empty(), "{situation}: {leaks:#?}");
    }
}

/// Whether a row and what was seen of it, reached or not, are not as they should be.
fn is_wrong((row, reached): &(&Row, bool)) -> bool {
    *reached != (row.expected == Expected::Reached)
}

impl Drop for Arena {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.lan]).output();
    }
}

impl Actor {
    /// A container, by its end of `network`, or of its only one; `None` while it does not run.
    fn of(engine: &Engine, name: &str, network: Option<&str>) -> Option<Self> {
        let ends = "{{range $name, $end := .NetworkSettings.Networks}}{{$name}} {{$end.IPAddress}} {{$end.Gateway}} {{$end.IPAMConfig}}|{{end}}";
        let shown = engine.docker(&["inspect", "--format", ends, name]).ok()?;
        let mut found = shown.split('|').filter(|end| !end.trim().is_empty());
        let end = match network {
            Some(network) => found.find(|end| end.trim().starts_with(network)),
            None => found.next(),
        };
        let words: Vec<_> = end?.split_whitespace().collect();
        let pid = engine.docker(&["inspect", "--format", "{{.State.Pid}}", name]);
        let address = (*words.get(1)?).to_owned();
        // An engine names no gateway on a network without a way out; its bridge has one all the same.
        let gateway = first_of(&address)?;
        Some(Self { pid: pid.ok()?.trim().to_owned(), address, gateway })
    }
}

/// The first address of the network of `address`: ours have 14, those of an engine many more, and either
/// has one that begins at a multiple of sixteen.
fn first_of(address: &str) -> Option<String> {
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    Some(std::net::Ipv4Addr::from((u32::from(address) & !15) + 1).to_string())
}

impl Cast {
    fn target(&self, to: To) -> Option<(String, u16)> {
        let node = |node: Node| match node {
            Node::Gateway => Some(self.web.gateway.clone()),
            Node::InnerGateway => Some(self.db.gateway.clone()),
            Node::OtherGateway => Some(self.other_web.gateway.clone()),
            Node::Lan => Some(NODE.to_owned()),
            Node::Localhost => Some("127.0.0.1".to_owned()),
            Node::LinkLocal => self.link_local(),
        };
        Some(match to {
            To::Web => (self.web.address.clone(), 8080),
            To::Db => (self.db.address.clone(), 6379),
            To::OtherWeb => (self.other_web.address.clone(), 8080),
            To::OtherDb => (self.other_db.address.clone(), 6379),
            To::Service(address) => (node(address)?, SERVICE),
            To::Loopback => (self.web.gateway.clone(), LOOPBACK),
            To::Published(address) => (node(address)?, self.other_published),
            To::OwnPublished => (NODE.to_owned(), self.published),
            To::Metadata => (METADATA.to_owned(), 80),
            To::Lan => (LAN.to_owned(), 80),
            To::Internet => (INTERNET.to_owned(), 80),
        })
    }

    /// The link-local address of the bridge, as it follows from its hardware address; `None` when the
    /// container has not heard of it.
    fn link_local(&self) -> Option<String> {
        let output = Command::new("nsenter")
            .args([&format!("--net=/proc/{}/ns/net", self.web.pid), "ip", "neigh", "show"])
            .arg(&self.web.gateway)
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let hardware = text.split("lladdr ").nth(1)?.split_whitespace().next()?;
        let bytes: Vec<u8> =
            hardware.split(':').filter_map(|it| u8::from_str_radix(it, 16).ok()).collect();
        let [a, b, c, d, e, f] = bytes[..] else { return None };
        Some(format!("fe80::{:02x}{b:02x}:{c:02x}ff:fe{d:02x}:{e:02x}{f:02x}%eth0", a ^ 2))
    }
}

/// Two teams that play behind our wall.
pub(super) struct Play {
    pub(super) daemon: Daemon,
    red: Client,
    blue: Client,
    of_red: Ready,
    of_blue: Ready,
}

impl Play {
    /// A container of the first instance.
    pub(super) fn container(&self, arena: &Arena, service: &str) -> String {
        let names = arena.engine.engine().containers_of(&self.of_red.id);
        names.into_iter().find(|name| name.ends_with(service)).expect("it runs")
    }

    /// The cast, once both instances are ready.
    pub(super) async fn cast(&self, arena: &Arena) -> Cast {
        self.red.ready(&self.of_red.id).await;
        self.blue.ready(&self.of_blue.id).await;
        // A row may be ready for a moment longer than its containers after the engine went away.
        until("every container runs", PATIENCE, || {
            std::future::ready(self.try_cast(arena).ok_or_else(|| "one does not".to_owned()))
        })
        .await
    }

    /// The cast as the engine has it.
    pub(super) fn cast_as_it_is(&self, arena: &Arena) -> Cast {
        self.try_cast(arena).expect("every container runs")
    }

    fn try_cast(&self, arena: &Arena) -> Option<Cast> {
        let engine = arena.engine.engine();
        let actor = |instance: &Ready, service: &str| {
            let names = engine.containers_of(&instance.id);
            let name = names.iter().find(|name| name.ends_with(service))?;
            // The network that carries the port is the first; the database has one only.
            let published =
                engine.docker(&["inspect", "--format", "{{.HostConfig.NetworkMode}}", name]);
            let mode = published.ok()?.trim().to_owned();
            let name_of = engine.docker(&["network", "inspect", "--format", "{{.Name}}", &mode]);
            Actor::of(&engine, name, Some(name_of.ok()?.trim()))
        };
        Some(Cast {
            web: actor(&self.of_red, "-web")?,
            db: actor(&self.of_red, "-db")?,
            other_web: actor(&self.of_blue, "-web")?,
            other_db: actor(&self.of_blue, "-db")?,
            published: self.of_red.first().1,
            other_published: self.of_blue.first().1,
        })
    }

    /// Every row is as it should be. What should answer may take its time, also because the engine starts a
    /// container anew, which then has another address; what should not never does.
    pub(super) async fn holds(&self, arena: &Arena, situation: &str) {
        for n_tries in 1.. {
            let wrong = arena.wrong(&self.cast(arena).await);
            let leaks = wrong.iter().any(|(_, reached)| *reached);
            assert!(!leaks && (wrong.is_empty() || n_tries < 10), "{situation}: {wrong:#?}");
            if wrong.is_empty() {
                return;
            }
        }
    }

    /// One tick of the daemon's own look at the wall, which every look from inside begins with. There is
    /// no image for that in this lab, so it comes to nothing else.
    pub(super) async fn tick(&self) {
        let looked = self.daemon.admin().post("/gitops/isolation", json!({})).await;
        let looked = looked.expect_status(200).body;
        assert_eq!(looked["wall"], "up", "{looked}");
        assert!(looked["check"]["problem"].is_string(), "{looked}");
    }

    /// Both end and start anew: their networks come out of the stock, or are made.
    pub(super) async fn start_anew(&mut self, arena: &Arena) {
        for (client, instance) in [(&self.red, &self.of_red), (&self.blue, &self.of_blue)] {
            client.stop(&instance.id).await;
        }
        self.daemon.nothing_left().await;
        self.daemon.kill9();
        // Whatever the stock holds goes, so that everything is made anew.
        let engine = arena.engine.engine();
        for network in self.daemon.left().networks {
            engine.docker(&["network", "rm", &network]).expect("nobody is on it");
        }
        self.daemon.restart().await;
        self.of_red = self.red.play(CHALLENGE).await;
        self.of_blue = self.blue.play(CHALLENGE).await;
    }

    /// Nothing is left.
    pub(super) async fn end(self) {
        self.red.stop(&self.of_red.id).await;
        self.blue.stop(&self.of_blue.id).await;
        self.daemon.nothing_left().await;
    }
}
