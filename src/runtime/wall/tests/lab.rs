//! The wall in a network of namespaces: a host with two bridges, and a LAN with a metadata service.
//! Needs root, `ip`, `nft` and `/bin/busybox`; no engine, and nothing of the machine is touched.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::super::rules;
use crate::runtime::suite;

/// What is put up inside the host's namespace. `A` and `B` are bridges of ours, the translation is
/// what Docker does for two ports of the server on `B`: one published, one on loopback only.
const SETUP: &str = r#"
set -e
for ns in host a1 a2 b1 lan; do ip netns add "$ID-$ns"; done
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
plug a1 fi0a5800001c 10.88.0.2/28 10.88.0.1
plug a2 fi0a5800001c 10.88.0.3/28 10.88.0.1
plug b1 fi0a5800101c 10.88.0.18/28 10.88.0.17
ip -n "$ID-a1" -6 address add fd88::2/64 dev eth0 nodad
plug lan - 198.51.100.2/24 ""
host ip address add 198.51.100.1/24 dev lan
host ip route add default via 198.51.100.2
ip -n "$ID-lan" address add 169.254.169.254/32 dev eth0
ip -n "$ID-lan" address add 203.0.113.9/32 dev eth0
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
serve lan 80
host nft -f - <<'NAT'
table ip lab {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 127.0.0.1 tcp dport 18081 dnat to 10.88.0.18:8080
    fib daddr type local tcp dport 18080 dnat to 10.88.0.18:8080
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
            for ns in host a1 a2 b1 lan; do
                ip netns pids "$ID-$ns" | xargs -r kill -9
                ip netns delete "$ID-$ns"
            done"#;
        let _ = Command::new("sh").args(["-c", script]).env("ID", &self.id).output();
    }
}

#[test]
fn only_what_should_pass_passes_with_and_without_br_netfilter() {
    let lab = Lab::new();
    let pool = "10.88.0.0/24".parse().unwrap();
    for bridged in ["0", "1"] {
        // A kernel without `br_netfilter` never shows them: that is the first round.
        assert!(lab.show_bridged(bridged) || bridged == "0", "needs the module `br_netfilter`");
        // Servers come up in their own time.
        let is_open = (0..20).any(|_| lab.answering().iter().all(|answers| *answers));
        assert!(is_open, "closed without a wall: {:#?}", lab.answering());
        lab.load(&rules::text("flagops_01234567", pool));
        for ((from, address, port, passes), answers) in MATRIX.iter().zip(lab.answering()) {
            let expected = *passes == Passes::Still;
            assert_eq!(answers, expected, "{from} → {address}:{port}, br_netfilter {bridged}");
        }
        // Around another pool it changes nothing.
        lab.load(&rules::removal("flagops_01234567"));
        lab.load(&rules::text("flagops_01234567", "10.88.1.0/24".parse().unwrap()));
        assert!(lab.answering().iter().all(|answers| *answers), "{:#?}", lab.answering());
        lab.load(&rules::removal("flagops_01234567"));
    }
}
