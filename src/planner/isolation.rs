//! What the prober tries from inside of an instance, what should come of it, and what follows.
//!
//! In:  the addresses of this check, and what the prober said. Pure.
//! Out: the words for the prober, the matrix (a row each: what, expected, seen), the verdict, and
//! whether instances may start on the node.
//!
//! # Invariants
//! * A row that nobody saw is never one that holds.
//! * One row that misses stops new starts, whatever the other rows are.
//! * A check that could not be made stops nothing by itself: what an earlier one found stays.
//!
//! # Not here
//! Starting the prober and asking it (`daemon::isolation`), the wall itself (`runtime::wall`).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The port that the prober listens on.
pub const PORT: u16 = 8080;

/// What should come of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It gets there: otherwise instances do not work.
    Reached,
    /// It gets nowhere: otherwise the wall leaks.
    Blocked,
}

impl Expected {
    /// The word in a matrix.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Blocked => "blocked",
        }
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody answered, or the kernel did it.
    Reached,
    /// Nobody answered, or the kernel refused.
    Blocked,
    /// Nobody saw what came of it.
    Unknown,
    /// There is nothing of the kind on this node.
    Skipped,
}

impl Outcome {
    /// The word in a matrix.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Blocked => "blocked",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }
}

/// Where an attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// The second container of the same instance.
    Mate,
    /// A container of the other instance.
    Other,
    /// The port that the other instance publishes, by this address of the host.
    Published(Host),
    /// The listener of the check, by TCP.
    Listener(Host),
    /// The same, by UDP.
    Datagram(Host),
    /// The same, by the link-local IPv6 address of the gateway.
    Link,
    /// Where clouds tell machines their secrets.
    Metadata,
    /// The router of this node's own network.
    Lan,
    /// A name server on the internet.
    Internet,
    /// A socket of this kind.
    Socket(&'static str),
    /// A system call.
    Call(&'static str),
    /// A file that is opened for writing.
    Write(&'static str),
    /// The kernel of this node, which what is shut in does not meet.
    Kernel,
}

impl Target {
    /// Whether it is tried on `ground`. What is shut in makes its system calls to a kernel of its own.
    fn is_tried(self, ground: &Ground) -> bool {
        match self {
            Self::Socket(_) | Self::Call(_) | Self::Write(_) => ground.kernel.is_none(),
            Self::Kernel => ground.kernel.is_some(),
            Self::Mate
            | Self::Other
            | Self::Published(_)
            | Self::Listener(_)
            | Self::Datagram(_)
            | Self::Link
            | Self::Metadata
            | Self::Lan
            | Self::Internet => true,
        }
    }
}

/// An address of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    OwnGateway,
    OtherGateway,
    Node,
}

/// One attempt.
#[derive(Debug)]
struct Attempt {
    id: &'static str,
    what: &'static str,
    target: Target,
    expected: Expected,
}

const fn open(id: &'static str, what: &'static str, target: Target) -> Attempt {
    Attempt { id, what, target, expected: Expected::Reached }
}

const fn shut(id: &'static str, what: &'static str, target: Target) -> Attempt {
    Attempt { id, what, target, expected: Expected::Blocked }
}

/// All attempts, in the order of the matrix (`contract/security.md` §3.4, and N10 and N11 of §4.6).
const ATTEMPTS: &[Attempt] = &[
    open("same-network", "another service of the same instance", Target::Mate),
    shut("other-instance", "a container of another instance", Target::Other),
    shut(
        "host-own-gateway",
        "this host, by the instance's gateway",
        Target::Listener(Host::OwnGateway),
    ),
    shut(
        "host-other-gateway",
        "this host, by another gateway",
        Target::Listener(Host::OtherGateway),
    ),
    shut("host-node-address", "this host, by its own address", Target::Listener(Host::Node)),
    shut("host-udp", "this host, by UDP", Target::Datagram(Host::OwnGateway)),
    shut("host-link-local", "this host, by its IPv6 link-local address", Target::Link),
    shut(
        "published-own-gateway",
        "another instance's port, by the instance's gateway",
        Target::Published(Host::OwnGateway),
    ),
    shut(
        "published-other-gateway",
        "another instance's port, by another gateway",
        Target::Published(Host::OtherGateway),
    ),
    shut(
        "published-node-address",
        "another instance's port, by the host's address",
        Target::Published(Host::Node),
    ),
    shut("metadata", "the metadata service of a cloud", Target::Metadata),
    shut("lan", "the router of this node's network", Target::Lan),
    shut("internet", "the internet", Target::Internet),
    shut("own-kernel", "the kernel of this host", Target::Kernel),
    shut("foreign-source", "sending with another source address", Target::Socket("foreign_source")),
    shut("socket-raw", "raw sockets", Target::Socket("raw")),
    shut("socket-packet", "packet sockets", Target::Socket("packet")),
    shut("socket-vsock", "sockets to the hypervisor", Target::Socket("vsock")),
    shut("socket-alg", "sockets to the kernel's ciphers", Target::Socket("alg")),
    shut("socket-netlink-audit", "netlink about the audit", Target::Socket("netlink_audit")),
    shut(
        "socket-netlink-netfilter",
        "netlink about the packet filter",
        Target::Socket("netlink_netfilter"),
    ),
    open("socket-netlink-route", "netlink about routes", Target::Socket("netlink_route")),
    open("ptrace", "tracing its own processes", Target::Call("ptrace")),
    shut("mount", "`mount`", Target::Call("mount")),
    shut("umount2", "`umount2`", Target::Call("umount2")),
    shut("pivot-root", "`pivot_root`", Target::Call("pivot_root")),
    shut("fsopen", "`fsopen`", Target::Call("fsopen")),
    shut("open-tree", "`open_tree`", Target::Call("open_tree")),
    shut("unshare", "a user namespace, by `unshare`", Target::Call("unshare")),
    shut("clone-newuser", "a user namespace, by `clone`", Target::Call("clone")),
    shut("clone3-newuser", "a user namespace, by `clone3`", Target::Call("clone3")),
    shut("setns", "`setns`", Target::Call("setns")),
    shut("bpf", "`bpf`", Target::Call("bpf")),
    shut("io-uring-setup", "`io_uring_setup`", Target::Call("io_uring_setup")),
    shut("perf-event-open", "`perf_event_open`", Target::Call("perf_event_open")),
    shut("keyctl", "keyrings, by `keyctl`", Target::Call("keyctl")),
    shut("add-key", "keyrings, by `add_key`", Target::Call("add_key")),
    shut("request-key", "keyrings, by `request_key`", Target::Call("request_key")),
    shut("userfaultfd", "`userfaultfd`", Target::Call("userfaultfd")),
    shut("kexec-load", "`kexec_load`", Target::Call("kexec_load")),
    shut("init-module", "`init_module`", Target::Call("init_module")),
    shut("delete-module", "`delete_module`", Target::Call("delete_module")),
    shut("open-by-handle-at", "`open_by_handle_at`", Target::Call("open_by_handle_at")),
    shut("mknod", "making a disk device", Target::Call("mknodat")),
    shut("clock-settime", "setting the clock", Target::Call("clock_settime")),
    shut("syslog", "the kernel's log", Target::Call("syslog")),
    shut("swapon", "`swapon`", Target::Call("swapon")),
    shut("reboot", "`reboot`", Target::Call("reboot")),
    shut("acct", "`acct`", Target::Call("acct")),
    shut("sysrq", "`/proc/sysrq-trigger`", Target::Write("/proc/sysrq-trigger")),
    shut(
        "core-pattern",
        "`/proc/sys/kernel/core_pattern`",
        Target::Write("/proc/sys/kernel/core_pattern"),
    ),
    shut(
        "uevent-helper",
        "`/sys/kernel/uevent_helper`",
        Target::Write("/sys/kernel/uevent_helper"),
    ),
];

/// The addresses of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// The second container of the instance that the prober is in.
    pub mate: Ipv4Addr,
    /// The container of the other instance.
    pub other: Ipv4Addr,
    /// The host on the network of the prober.
    pub own_gateway: Ipv4Addr,
    /// The host on the network of the other instance.
    pub other_gateway: Ipv4Addr,
    /// The host towards the world; `None` when it has no way there.
    pub node: Option<Ipv4Addr>,
    /// The port of the check's own listener on every address of the host.
    pub listener: u16,
    /// The host port that the other instance publishes.
    pub published: u16,
    /// The next hop of the host's default route.
    pub router: Option<Ipv4Addr>,
    /// A name server on the internet.
    pub internet: Ipv4Addr,
    /// The version of this host's kernel, where the prober is shut in and has to have another.
    pub kernel: Option<String>,
}

impl Ground {
    /// What is tried there, in the order of the matrix.
    fn attempts(&self) -> impl Iterator<Item = &'static Attempt> {
        ATTEMPTS.iter().filter(|it| it.target.is_tried(self))
    }

    fn host(&self, host: Host) -> Option<Ipv4Addr> {
        match host {
            Host::OwnGateway => Some(self.own_gateway),
            Host::OtherGateway => Some(self.other_gateway),
            Host::Node => self.node,
        }
    }

    /// The attempt at `target` in the prober's words; `None` when there is nothing of the kind.
    fn word(&self, target: Target) -> Option<String> {
        let tcp = |address: Ipv4Addr, port: u16| format!("tcp:{address}:{port}");
        Some(match target {
            Target::Mate => tcp(self.mate, PORT),
            Target::Other => tcp(self.other, PORT),
            Target::Published(host) => tcp(self.host(host)?, self.published),
            Target::Listener(host) => tcp(self.host(host)?, self.listener),
            Target::Datagram(host) => format!("udp:{}:{}", self.host(host)?, self.listener),
            Target::Link => format!("link:{}", self.listener),
            Target::Metadata => tcp(Ipv4Addr::new(169, 254, 169, 254), 80),
            // Routers answer there, if only to refuse.
            Target::Lan => tcp(self.router?, 53),
            Target::Internet => tcp(self.internet, 53),
            Target::Socket(name) => format!("socket:{name}"),
            Target::Call(name) => format!("call:{name}"),
            Target::Write(path) => format!("write:{path}"),
            Target::Kernel => format!("kernel:{}", self.kernel.as_ref()?),
        })
    }
}

/// The command of the prober: everything that can be tried on `ground`.
pub fn command(ground: &Ground) -> Vec<String> {
    let tries = ground
        .attempts()
        .filter_map(|it| ground.word(it.target).map(|word| format!("{}={word}", it.id)));
    ["/usr/bin/perl", "/probe.pl", "try"].map(str::to_owned).into_iter().chain(tries).collect()
}

/// One row of the matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name, stable.
    pub id: &'static str,
    /// What was tried, for people.
    pub what: &'static str,
    /// What should come of it.
    pub expected: Expected,
    /// What came of it.
    pub seen: Outcome,
    /// Why, in a few words of the prober's kernel.
    pub why: String,
}

impl Row {
    /// Whether it is as it should be.
    pub fn holds(&self) -> bool {
        matches!(
            (self.expected, self.seen),
            (Expected::Reached, Outcome::Reached)
                | (Expected::Blocked, Outcome::Blocked)
                | (_, Outcome::Skipped)
        )
    }

    /// Whether it is known to be otherwise.
    pub fn misses(&self) -> bool {
        !self.holds() && self.seen != Outcome::Unknown
    }
}

/// The matrix of what the prober said on `ground`. Its words are read strictly: what is not said in
/// them was not seen.
pub fn matrix(ground: &Ground, said: &str) -> Vec<Row> {
    let said: BTreeMap<&str, (Outcome, &str)> = said.lines().filter_map(parse_line).collect();
    ground
        .attempts()
        .map(|it| {
            let (seen, why) = match ground.word(it.target) {
                None => (Outcome::Skipped, "this node has none"),
                Some(_) => {
                    *said.get(it.id).unwrap_or(&(Outcome::Unknown, "the prober did not say"))
                }
            };
            let why = why.chars().filter(|c| !c.is_control()).take(80).collect();
            Row { id: it.id, what: it.what, expected: it.expected, seen, why }
        })
        .collect()
}

fn parse_line(line: &str) -> Option<(&str, (Outcome, &str))> {
    let mut parts = line.splitn(3, ' ');
    let (id, word, why) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
    let seen = match word {
        "reached" => Outcome::Reached,
        "blocked" => Outcome::Blocked,
        "unknown" => Outcome::Unknown,
        _ => return None,
    };
    Some((id, (seen, why)))
}

/// What a matrix comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every row holds.
    Holds,
    /// These rows do not, by id.
    Missed(Vec<String>),
    /// None is known to miss, and these were not seen.
    Unseen(Vec<String>),
}

impl Verdict {
    /// The word of the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Missed(_) => "missed",
            Self::Unseen(_) => "unseen",
        }
    }
}

/// Judges a matrix.
pub fn judge(rows: &[Row]) -> Verdict {
    let ids = |is: fn(&Row) -> bool| -> Vec<String> {
        rows.iter().filter(|row| is(row)).map(|row| row.id.to_owned()).collect()
    };
    let missed = ids(Row::misses);
    let unseen = ids(|row| row.seen == Outcome::Unknown);
    match (missed.is_empty(), unseen.is_empty() && !rows.is_empty()) {
        (false, _) => Verdict::Missed(missed),
        (true, false) => Verdict::Unseen(unseen),
        (true, true) => Verdict::Holds,
    }
}

/// What the operator wants of the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// No instance starts without one.
    Required,
    /// Instances start without one where the machine cannot have one.
    Optional,
    /// There is none of ours.
    Off,
}

/// How the wall stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wall {
    /// Nobody has looked yet.
    Unseen,
    /// It stands.
    Up,
    /// The machine cannot have one; the reason.
    Unsupported(String),
    /// It could not be put up; the reason.
    Failed(String),
}

/// Whether instances may start on the node, and what is stated about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// They may.
    Open {
        /// The reason of the condition.
        reason: &'static str,
        /// Its message.
        message: String,
    },
    /// They may not.
    Shut {
        /// The reason of the condition.
        reason: &'static str,
        /// Its message.
        message: String,
    },
}

impl Gate {
    /// Whether instances may start.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// Decides from how the wall stands and what the last check that saw anything came to.
pub fn gate(rule: Rule, wall: &Wall, last: Option<&Verdict>) -> Gate {
    let open = |reason, message: &str| Gate::Open { reason, message: message.to_owned() };
    match (rule, wall, last) {
        (Rule::Off, ..) => {
            open("Off", "`network.wall` is \"off\": nobody looks what instances reach")
        }
        (Rule::Required, Wall::Unsupported(why), _) => Gate::Shut {
            reason: "NoWall",
            message: format!(
                "this node cannot keep instances from the host and its networks ({why}), so no instance starts; mend that, or set `network.wall = \"auto\"` to run without"
            ),
        },
        (Rule::Required, Wall::Failed(why), _) => Gate::Shut {
            reason: "WallFailed",
            message: format!(
                "the wall around instances could not be put up, so no instance starts: {why}"
            ),
        },
        (_, Wall::Up | Wall::Unseen, Some(Verdict::Missed(rows))) => Gate::Shut {
            reason: "RowsMissed",
            message: format!(
                "an instance is not kept apart as it should be, so no instance starts: {}; `flagops doctor isolation` shows the matrix and looks again",
                rows.join(", ")
            ),
        },
        (Rule::Optional, Wall::Unsupported(why), _) => Gate::Open {
            reason: "WithoutWall",
            message: format!(
                "instances can reach this host and its networks ({why}); `network.wall` is \"auto\", so they start all the same"
            ),
        },
        (Rule::Optional, Wall::Failed(why), _) => Gate::Open {
            reason: "WallFailed",
            message: format!("the wall around instances could not be put up: {why}"),
        },
        (_, Wall::Up | Wall::Unseen, Some(Verdict::Holds)) => {
            open("Ok", "instances reach themselves and nothing else")
        }
        (_, Wall::Up | Wall::Unseen, Some(Verdict::Unseen(_)) | None) => {
            open("NotChecked", "the wall stands, and nobody could look yet what instances reach")
        }
    }
}

/// What the prober says when everything is as it should be, but for some rows.
#[cfg(test)]
pub(crate) fn said(but: &[(&str, &str)]) -> String {
    let line = |it: &Attempt| {
        let changed = but.iter().find(|(id, _)| *id == it.id).map(|(_, word)| *word);
        format!("{} {} because\n", it.id, changed.unwrap_or(it.expected.as_str()))
    };
    ATTEMPTS.iter().map(line).collect()
}

#[cfg(test)]
#[path = "isolation/tests.rs"]
mod tests;
