//! A player who owns a container of an instance tries to get further than the instance.
//!
//! These stories set rules in the packet filter of this machine and take them away again.

use std::net::TcpListener;

use crate::support::{Challenge, Client, Daemon, Engine, PATIENCE, Ready, Stage, fetch, until};

/// The container of `instance`, in which the player has a shell.
fn container(engine: &Engine, instance: &Ready) -> String {
    engine.containers_of(&instance.id).pop().expect("it has a container")
}

async fn two_instances(stage: &Stage) -> (Daemon, Client, Ready, Ready) {
    // The wall of the machine is part of this story.
    let daemon = Daemon::start(stage.settings().text("network.wall", "auto")).await;
    daemon.live("WEB-901").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let (of_red, of_blue) = (red.play("WEB-901").await, blue.play("WEB-901").await);
    (daemon, red, of_red, of_blue)
}

#[tokio::test]
async fn an_instance_reaches_itself_and_nothing_else() {
    let stage = Stage::with(&[Challenge::web("WEB-901", "one")]).await;
    let (daemon, _, of_red, of_blue) = two_instances(&stage).await;
    let engine = daemon.engine();
    let (red, blue) = (container(engine, &of_red), container(engine, &of_blue));
    let (own, other) = (engine.address_of(&red), engine.address_of(&blue));
    assert!(engine.reaches(&red, "web", 8080), "its own service, by name");
    assert!(engine.reaches(&red, &own, 8080), "its own service, by address");
    assert!(engine.reaches(&blue, &other, 8080), "that address is right");

    // A service of the host, on every address of it.
    let host = TcpListener::bind("0.0.0.0:0").expect("a port is free");
    let host_port = host.local_addr().expect("it is bound").port();
    let gateway = engine.inside(&red, &["ip", "route"]).expect("it has routes");
    let gateway = gateway.split("via ").nth(1).and_then(|rest| rest.split(' ').next());
    let gateway = gateway.expect("it has a gateway").to_owned();
    let (_, published) = of_blue.first();
    for (what, host, port) in [
        ("another team's container", other.as_str(), 8080),
        ("another team's published port", gateway.as_str(), published),
        ("a service of the host", gateway.as_str(), host_port),
        ("the host's ssh", gateway.as_str(), 22),
        ("the metadata of a cloud", "169.254.169.254", 80),
    ] {
        assert!(!engine.reaches(&red, host, port), "it reaches {what} at {host}:{port}");
    }
    // Players still come in.
    of_red.flag("/answers/flag").await;
    of_blue.flag("/answers/flag").await;
}

/// What is known to lead out of a container, and what looks for the flag of another one from inside.
/// Each is tried with busybox as root of its container; what needs a program of its own is in
/// `runtime/docker/tests/kernel.rs`.
const ESCAPES: &[(&str, &str)] = &[
    ("the root of the first process", "cat /proc/1/root/answers/* /proc/[0-9]*/root/answers/*"),
    ("the host's processes", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'; ls /proc/[0-9]*/cwd/"),
    (
        "a mount of the host's disk",
        "mkdir -p /tmp/m; for d in vda sda nvme0n1 vda1 sda1; do mknod /tmp/$d b 254 0; mount /dev/$d /tmp/m; mount /tmp/$d /tmp/m; cat /tmp/m/var/lib/docker/volumes/*/_data/* ; done",
    ),
    (
        "a disk of the host, read raw",
        "mknod /tmp/raw b 254 0; dd if=/tmp/raw bs=1M count=64 | grep -a -o 'FLAG{[0-9a-f]*}'",
    ),
    (
        "the memory of the machine",
        "dd if=/dev/mem bs=1k count=1; dd if=/proc/kcore bs=1k count=1; dd if=/dev/kmem bs=1k count=1",
    ),
    (
        "new namespaces",
        "unshare -r -m sh -c 'mount -t proc none /proc; cat /proc/1/root/answers/*'; unshare -U id",
    ),
    (
        "the namespaces of the host",
        "nsenter -t 1 -m -u -i -n -p cat /answers/flag; nsenter --target 1 --all ls /var/lib/docker",
    ),
    (
        "release_agent of a cgroup",
        "mkdir -p /tmp/c; mount -t cgroup -o memory none /tmp/c; mount -t cgroup2 none /tmp/c; echo /cmd > /tmp/c/release_agent; echo 1 > /sys/fs/cgroup/notify_on_release",
    ),
    ("core_pattern", "echo '|/bin/sh' > /proc/sys/kernel/core_pattern"),
    (
        "helpers that the kernel starts",
        "echo /cmd > /sys/kernel/uevent_helper; echo /cmd > /proc/sys/kernel/modprobe; echo ':x:M::x::/bin/sh:' > /proc/sys/fs/binfmt_misc/register",
    ),
    ("sysrq", "echo b > /proc/sysrq-trigger"),
    (
        "the socket of the engine",
        "find / -xdev -name '*.sock' -type s; wget -q -O - http://127.0.0.1:2375/containers/json",
    ),
    (
        "another root",
        "chroot /proc/1/root /bin/sh -c 'cat /answers/flag'; cd /proc/self/fd; ls -l; cat /proc/self/fd/*/../../answers/flag",
    ),
    ("modules", "insmod /nothing.ko; modprobe overlay; losetup -f"),
    ("the log of the kernel", "dmesg; cat /dev/kmsg"),
    (
        "the layers on the disk",
        "sed -n 's/.*upperdir=\\([^,]*\\).*/\\1/p' /proc/mounts | while read up; do ls $up $up/..; done",
    ),
    (
        "names and addresses of neighbours",
        "for n in canary chal web flag-rotator; do nslookup $n; wget -T 2 -q -O - http://$n:8080/answers/flag; done",
    ),
];

#[tokio::test]
async fn n19_nothing_that_is_known_gets_a_shell_to_the_flag_of_the_canary_beside_it() {
    // The canary has no port: nothing leads to it but a way out of a container.
    let canary = Challenge::web("WEB-902", "canary");
    let compose = canary.files["docker-compose.yml"].replace("    ports: [\"8080\"]\n", "");
    let canary = canary.with("docker-compose.yml", compose);
    let stage = Stage::with(&[Challenge::web("WEB-901", "one"), canary]).await;
    let daemon = Daemon::start(stage.settings().text("network.wall", "auto")).await;
    daemon.live("WEB-901").await;
    daemon.live("WEB-902").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let (shell, canary) = (red.play("WEB-901").await, blue.play("WEB-902").await);
    assert!(canary.services.is_empty(), "{canary:?}");
    let engine = daemon.engine();
    let flag_of = |container: &str| {
        engine.inside(container, &["cat", "/answers/flag"]).expect("it has its flag")
    };
    let (inside, beside) = (container(engine, &shell), container(engine, &canary));
    let (own, wanted) = (flag_of(&inside), flag_of(&beside));
    assert_ne!(own, wanted);
    let address = engine.address_of(&beside);
    let port = format!(
        "for p in 80 8080 22 2375; do wget -T 1 -q -O - http://{address}:$p/answers/flag; done"
    );
    let mut tried = 0;
    for (what, script) in ESCAPES.iter().copied().chain([("its address", port.as_str())]) {
        let script = format!("{{ {script}\n}} 2>&1; true");
        let seen = engine.inside(&inside, &["timeout", "20", "sh", "-c", &script]);
        let seen = seen.unwrap_or_else(|error| error);
        assert!(!seen.contains(wanted.trim()), "{what} leads to the canary's flag: {seen}");
        tried += 1;
    }
    assert_eq!(tried, ESCAPES.len() + 1);
    // Both are as they were, and so is the machine.
    assert_eq!(flag_of(&beside), wanted);
    shell.flag("/answers/flag").await;
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("it is there");
    assert!(!pattern.contains("/bin/sh"), "{pattern}");
}

#[tokio::test]
async fn a_container_has_no_power_over_the_machine() {
    let stage = Stage::with(&[Challenge::web("WEB-901", "one")]).await;
    let (daemon, _, of_red, of_blue) = two_instances(&stage).await;
    let engine = daemon.engine();
    let red = container(engine, &of_red);
    let inside = |arguments: &[&str]| engine.inside(&red, arguments);
    let status = inside(&["cat", "/proc/1/status"]).expect("it has a process");
    let line = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default().to_owned()
    };
    assert_eq!(line("NoNewPrivs:"), "1");
    assert_eq!(line("Seccomp:"), "2");
    // CAP_SYS_ADMIN, CAP_NET_RAW, CAP_SYS_PTRACE, CAP_SYS_MODULE, CAP_MKNOD.
    let bounding = u64::from_str_radix(&line("CapBnd:"), 16).expect("capabilities are a number");
    for capability in [21, 13, 19, 16, 27] {
        assert_eq!(bounding >> capability & 1, 0, "capability {capability}: {bounding:x}");
    }
    assert!(inside(&["mount", "-t", "tmpfs", "none", "/tmp"]).is_err());
    assert!(inside(&["ping", "-c", "1", "-W", "1", "127.0.0.1"]).is_err());
    let limit = inside(&["cat", "/sys/fs/cgroup/pids/pids.max"])
        .or_else(|_| inside(&["cat", "/sys/fs/cgroup/pids.max"]));
    let limit: u64 = limit.expect("it has a limit").trim().parse().expect("it is a number");
    assert!(limit <= 4096, "{limit}");

    // A fork bomb ends at the limits of its container, and the neighbour does not notice.
    let bomb = "for i in $(seq 5000); do sleep 5 & done 2>/dev/null; wait";
    let _ = inside(&["timeout", "5", "sh", "-c", bomb]);
    of_blue.flag("/answers/flag").await;
    let (host, port) = of_red.first();
    let url = format!("http://{host}:{port}/answers/flag");
    until("the bombed instance answers again", PATIENCE, || fetch(&url)).await;
}
