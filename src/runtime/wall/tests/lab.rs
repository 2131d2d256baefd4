//! The wall in a network of namespaces: a host with three bridges, one of which leads to the internet,
//! and a LAN with a metadata service, which is also the internet.
//! Needs root, `ip`, `nft` and `/bin/busybox`; no engine, and nothing of the machine is touched.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::super::rules::{self, Plan};
use crate::runtime::suite;

/// What is put up inside the host's namespace. `A`, `B` and `E` are bridges of ours, the translation is
/// what Docker does for two ports of the server on `B`, one published, one on loopback only, and for
/// `E`: one port published, and its connections out masked.
const SETUP: &str = r#"
set -e
for ns in host a1 a2 b1 e1 lan; do ip netns add "$ID-$ns"; done
host() { ip netns exec "$ID-host" "$@"; }
host ip link set lo up
host sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'

bridge() { # name, address, IPv6 address
    host ip link add "$1" type bridge
    host ip address add "$2" dev "$1"
    host ip -6 address add "$3" dev "$1" nodad
    host ip link set "$1" up
}
plug() { # namespace, bridge or -, address, gateway
    ip -n "$ID-$1" link add eth0 type veth peer name "$1" netns "$ID-host"
    ip -n "$ID-$1" link set lo up
    ip -n "$ID-$1" address add "$3" dev eth0
    ip -n "$ID-$1" link set eth0 up
    host ip link set "$1" up
    [ "$2" = - ] || host ip link set "$1" master "$2"
    [ -z "$4" ] || ip -n "$ID-$1" route add default via "$4"
}
bridge fi0a5800001c 10.88.0.1/28 fd88::1/64
bridge fi0a5800101c 10.88.0.17/28 fd89::1/64
bridge fx0a5800201c 10.88.0.33/28 fd8a::1/64
plug a1 fi0a5800001c 10.88.0.2/28 10.88.0.1
plug a2 fi0a5800001c 10.88.0.3/28 10.88.0.1
plug b1 fi0a5800101c 10.88.0.18/28 10.88.0.17
plug e1 fx0a5800201c 10.88.0.34/28 10.88.0.33
ip -n "$ID-e1" -6 address add fd8a::2/64 dev eth0 nodad
ip -n "$ID-a1" -6 address add fd88::2/64 dev eth0 nodad
plug lan - 198.51.100.2/24 ""
host ip address add 198.51.100.1/24 dev lan
host ip route add default via 198.51.100.2
ip -n "$ID-lan" address add 169.254.169.254/32 dev eth0
ip -n "$ID-lan" address add 203.0.113.9/32 dev eth0
ip -n "$ID-lan" address add 192.168.77.7/32 dev eth0
ip -n "$ID-lan" route add 10.88.0.0/24 via 198.51.100.1
# A hostile neighbour has no loopback of its own and routes it to us.
ip -n "$ID-lan" address flush dev lo
ip netns exec "$ID-lan" sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet'
ip -n "$ID-lan" route add 127.0.0.1/32 via 198.51.100.1

serve() { # namespace, port
    ip netns exec "$ID-$1" busybox nc -ll -p "$2" -e /bin/busybox echo hello \
        </dev/null >/dev/null 2>&1 &
}
serve host 9000
serve a2 8080
serve b1 8080
serve e1 8080
serve lan 80
serve lan 25
host nft -f - <<'NAT'
table ip lab {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 127.0.0.1 tcp dport 18081 dnat to 10.88.0.18:8080
    fib daddr type local tcp dport 18080 dnat to 10.88.0.18:8080
    fib daddr type local udp dport 18080 dnat to 10.88.0.18:8080
    fib daddr type local tcp dport 18082 dnat to 10.88.0.34:8080
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.88.0.32/28 oifname != "fx0a5800201c" masquerade
  }
}
NAT
"#;

/// Who asks whom, and whether that is answered behind the wall. Without it everything is.
const MATRIX: &[(&str, &str, u16, Passes)] = &[
    ("a1", "10.88.0.3", 8080, Passes::Still),
    ("host", "10.88.0.3", 8080, Passes::Still),
    ("host", "10.88.0.18", 8080, Passes::Still),
    // Published, from the LAN.
    ("lan", "198.51.100.1", 18080, Passes::Still),
    // The host, by each of its addresses.
    ("a1", "10.88.0.1", 9000, Passes::NoLonger),
    ("a1", "10.88.0.17", 9000, Passes::NoLonger),
    ("a1", "198.51.100.1", 9000, Passes::NoLonger),
    ("a1", "fd88::1", 9000, Passes::NoLonger),
    // Another instance: directly, and what it publishes, by each address of the host.
    ("a1", "10.88.0.18", 8080, Passes::NoLonger),
    ("a1", "198.51.100.1", 18080, Passes::NoLonger),
    ("a1", "10.88.0.1", 18080, Passes::NoLonger),
    ("a1", "10.88.0.17", 18080, Passes::NoLonger),
    // The LAN, the metadata service, the internet.
    ("a1", "198.51.100.2", 80, Passes::NoLonger),
    ("a1", "169.254.169.254", 80, Passes::NoLonger),
    ("a1", "203.0.113.9", 80, Passes::NoLonger),
    // From the LAN to what was not published, or not for it.
    ("lan", "10.88.0.3", 8080, Passes::NoLonger),
    ("lan", "10.88.0.18", 8080, Passes::NoLonger),
    ("lan", "127.0.0.1", 18081, Passes::NoLonger),
    ("lan", "10.88.0.1", 9000, Passes::NoLonger),
    // A way out to the internet, and to nothing else (N20).
    ("e1", "203.0.113.9", 80, Passes::Still),
    ("host", "10.88.0.34", 8080, Passes::Still),
    ("lan", "198.51.100.1", 18082, Passes::Still),
    ("e1", "203.0.113.9", 25, Passes::NoLonger),
    ("e1", "192.168.77.7", 80, Passes::NoLonger),
    ("e1", "198.51.100.2", 80, Passes::NoLonger),
    ("e1", "169.254.169.254", 80, Passes::NoLonger),
    ("e1", "10.88.0.18", 8080, Passes::NoLonger),
    ("e1", "10.88.0.33", 9000, Passes::NoLonger),
    ("e1", "10.88.0.1", 9000, Passes::NoLonger),
    ("e1", "198.51.100.1", 9000, Passes::NoLonger),
    ("e1", "198.51.100.1", 18080, Passes::NoLonger),
    ("e1", "fd8a::1", 9000, Passes::NoLonger),
    ("a1", "10.88.0.34", 8080, Passes::NoLonger),
    ("lan", "10.88.0.34", 8080, Passes::NoLonger),
];

/// What becomes of a connection when the wall is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    Still,
    NoLonger,
}

/// The namespaces; they go at the end, with the servers in them, whatever happens.
struct Lab {
    id: String,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { id: format!("fo-{}", suite::random_hex(4)) };
        let output = Command::new("sh").args(["-c", SETUP]).env("ID", &lab.id).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "this test needs root, `ip`, `nft` and busybox: {said}");
        lab
    }

    /// A command inside one of the namespaces.
    fn inside(&self, namespace: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{namespace}", self.id)]).args(words);
        command
    }

    /// Whether a server answers.
    fn answers(&self, from: &str, address: &str, port: u16) -> bool {
        let port = port.to_string();
        let output = self
            .inside(from, &["timeout", "3", "busybox", "nc", "-w", "1", address, &port])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        output.stdout == b"hello\n"
    }

    /// What answers, in the order of the matrix.
    fn answering(&self) -> Vec<bool> {
        std::thread::scope(|scope| {
            let asked: Vec<_> = MATRIX
                .iter()
                .map(|(from, address, port, _)| scope.spawn(|| self.answers(from, address, *port)))
                .collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        })
    }

    /// Fails unless just what `is_open` says is answered. What should be open may take its time, on
    /// a busy machine and while servers come up; what should be closed is closed each time.
    fn expect(&self, is_open: &dyn Fn(Passes) -> bool, situation: &str) {
        for n_tries in 1.. {
            let wrong: Vec<_> = MATRIX
                .iter()
                .zip(self.answering())
                .filter(|((.., passes), answers)| is_open(*passes) != *answers)
                .collect();
            let leaks = wrong.iter().any(|(_, answers)| *answers);
            assert!(!leaks && (wrong.is_empty() || n_tries < 20), "{situation}: {wrong:#?}");
            if wrong.is_empty() {
                return;
            }
        }
    }

    /// Loads rules into the host's namespace.
    fn load(&self, text: &str) {
        let mut nft =
            self.inside("host", &["nft", "-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success());
    }

    /// Whether packets within a bridge are shown to the firewall; false when the kernel cannot.
    fn show_bridged(&self, value: &str) -> bool {
        let write = format!("echo {value} > /proc/sys/net/bridge/bridge-nf-call-iptables");
        self.inside("host", &["sh", "-c", &write]).status().unwrap().success()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let script = r#"
            for ns in host a1 a2 b1 e1 lan; do
                ip netns pids "$ID-$ns" | xargs -r kill -9
                ip netns delete "$ID-$ns"
            done"#;
        let _ = Command::new("sh").args(["-c", script]).env("ID", &self.id).output();
    }
}

/// The rules around `pool`; the LAN is denied as an operator would.
fn plan(pool: &str) -> Plan {
    let deny = vec!["198.51.100.0/24".parse().unwrap()];
    Plan { pool: pool.parse().unwrap(), deny, source_connections: 16 }
}

#[test]
fn only_what_should_pass_passes_with_and_without_br_netfilter() {
    let lab = Lab::new();
    for bridged in ["0", "1"] {
        // A kernel without `br_netfilter` never shows them: that is the first round.
        assert!(lab.show_bridged(bridged) || bridged == "0", "needs the module `br_netfilter`");
        lab.expect(&|_| true, &format!("no wall, br_netfilter {bridged}"));
        lab.load(&rules::text("flagops_01234567", &plan("10.88.0.0/24")));
        let passes = |passes| passes == Passes::Still;
        lab.expect(&passes, &format!("behind the wall, br_netfilter {bridged}"));
        lab.load(&rules::removal("flagops_01234567"));
        lab.load(&rules::text("flagops_01234567", &plan("10.88.1.0/24")));
        lab.expect(&|_| true, "the wall of another pool");
        lab.load(&rules::removal("flagops_01234567"));
    }
}

/// Opens so many flows from one address, each with a port of its own, and holds them.
const FLOWS: &str =
    "for i in $(seq $N); do exec {fd}<>/dev/udp/$TO; echo x >&$fd; done 2>/dev/null; true";

#[test]
fn n20_flows_are_counted_by_who_opened_them_out_and_in() {
    let lab = Lab::new();
    lab.load(&rules::text("flagops_01234567", &plan("10.88.0.0/24")));
    let dropped = |words: &str| {
        let listed = lab.inside("host", &["nft", "list", "table", "inet", "flagops_01234567"]);
        let listed = { listed }.output().unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        let rule = text
            .lines()
            .find(|line| line.contains(words) && line.contains("counter packets"))
            .expect(words)
            .to_owned();
        let (_, count) = rule.split_once("packets ").unwrap();
        count.split_whitespace().next().unwrap().parse::<u32>().unwrap()
    };
    for (from, to, n, limit) in
        [("e1", "203.0.113.9/53", "300", 256_u32), ("lan", "198.51.100.1/18080", "40", 16)]
    {
        let words = format!("ct count over {limit}");
        assert_eq!(dropped(&words), 0, "{words}");
        let mut flood = lab.inside(from, &["bash", "-c", FLOWS]);
        assert!(flood.env("N", n).env("TO", to).status().unwrap().success());
        assert_eq!(dropped(&words), n.parse::<u32>().unwrap() - limit, "{words}");
    }
}
