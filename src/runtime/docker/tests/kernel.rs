//! What a player with a shell in a container tries at the kernel, by the ids of the contract
//! (`contract/security.md` §4.6 and §4.10).

use std::net::Ipv4Addr;

use super::*;
use crate::planner::isolation::{self, Ground, Outcome};

const CAPABILITIES: [&str; 7] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"];

/// The spec of a player's container with the image of the prober.
async fn prober(rig: &Rig) -> ContainerSpec {
    let dockerfile = include_str!("../../../../images/prober/Dockerfile");
    let script = include_bytes!("../../../../images/prober/probe.pl");
    let image = build(&rig.engine, dockerfile, &[("probe.pl", script)]).await;
    let (_, network) = rig.bench().network().await;
    let mut spec = rig.bench().web(&network);
    spec.service.image = image.id;
    spec.service.is_read_only = false;
    spec.service.capabilities = CAPABILITIES.map(str::to_owned).to_vec();
    spec
}

/// A ground on which only the container itself is.
fn nowhere() -> Ground {
    let itself = Ipv4Addr::LOCALHOST;
    Ground {
        mate: itself,
        other: itself,
        own_gateway: itself,
        other_gateway: itself,
        node: None,
        listener: 9,
        published: 9,
        router: None,
        internet: itself,
        kernel: None,
    }
}

#[tokio::test]
async fn n10_the_kernel_refuses_what_leads_out_of_a_container() {
    let rig = Rig::new().await;
    let id = rig.started(&prober(&rig).await).await;
    let command = HealthTest::Exec(isolation::command(&nowhere()));
    let ran = rig.engine.exec(&id, &command, Duration::from_secs(20)).await.unwrap();
    assert_eq!(ran.code, 0, "{}", ran.output);
    let rows = isolation::matrix(&nowhere(), &ran.output);
    let of_kernel: Vec<_> = rows.iter().skip_while(|row| row.id != "foreign-source").collect();
    assert!(of_kernel.len() > 30, "{rows:#?}");
    let wrong: Vec<_> = of_kernel.iter().filter(|row| !row.holds()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The probes can fail: the engine's own profile lets some of them through, e.g. `ptrace`.
    let is_reached =
        |id: &str| of_kernel.iter().any(|row| row.id == id && row.seen == Outcome::Reached);
    assert!(is_reached("ptrace") && is_reached("socket-netlink-route"), "{of_kernel:#?}");
}

#[tokio::test]
async fn n10_the_same_probes_get_through_where_only_the_profile_of_the_engine_is() {
    let rig = Rig::new().await;
    let spec = prober(&rig).await;
    // By the command line: nothing of ours can make such a container.
    let label = format!("{}={}", crate::runtime::labels::INSTALLATION, rig.engine.installation);
    let output = std::process::Command::new("docker")
        .args(["run", "--rm", "--label", &label, "--cap-drop", "ALL", &spec.service.image, "try"])
        .args([
            "io-uring-setup=call:io_uring_setup",
            "socket-netlink-netfilter=socket:netlink_netfilter",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("socket-netlink-netfilter reached"), "{said}");
}

#[tokio::test]
async fn n11_files_of_the_host_are_neither_read_nor_written() {
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let mut spec = rig.bench().web(&network);
    spec.service.is_read_only = false;
    spec.service.capabilities = CAPABILITIES.map(str::to_owned).to_vec();
    let id = rig.started(&spec).await;
    for (what, line) in [
        ("the kernel's memory", "head -c 1 /proc/kcore | grep -q ."),
        ("a magic key", "echo h > /proc/sysrq-trigger"),
        ("who handles crashes", "echo '|/bin/sh' > /proc/sys/kernel/core_pattern"),
        ("who handles devices", "echo /bin/sh > /sys/kernel/uevent_helper"),
        ("memory", "ls /dev/mem || mknod /tmp/mem c 1 1"),
        ("a disk", "mknod /tmp/disk b 8 0"),
        (
            "debugging files of the kernel",
            "ls /sys/kernel/debug/* /sys/kernel/tracing/* | grep -q .",
        ),
        ("the agent of cgroups", "echo /x > $(ls -d /sys/fs/cgroup/*/release_agent | head -1)"),
        (
            "its own limits",
            "echo 99999 > $(ls /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max | head -1)",
        ),
        ("page cache of the host", "echo 3 > /proc/sys/vm/drop_caches"),
        ("modules", "ls /lib/modules/* | grep -q ."),
    ] {
        let said = rig.say(&id, line).await;
        assert_ne!(said.code, 0, "{what} by `{line}`: {said:?}");
    }
}

#[tokio::test]
async fn r01_a_bomb_of_processes_ends_at_its_own_limit() {
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let mut spec = rig.bench().web(&network);
    spec.service.limits.pids = 40;
    let bombed = rig.started(&spec).await;
    let neighbour = rig.started(&rig.bench().web(&network)).await;
    let quiet = began(&rig, &neighbour).await;
    let bomb = "for i in $(seq 400); do sleep 8 & done; wait";
    let (said, busy) = tokio::join!(rig.say(&bombed, bomb), began(&rig, &neighbour));
    assert!(said.output.contains("can't fork"), "{said:?}");
    assert!(
        busy < quiet * 10 + Duration::from_secs(2),
        "the neighbour waited {busy:?}, not {quiet:?}"
    );
    let threads =
        rig.say(&bombed, "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max").await;
    assert!(threads.output.contains("40"), "{threads:?}");
}

/// How long a container takes to run something.
async fn began(rig: &Rig, id: &str) -> Duration {
    let begin = std::time::Instant::now();
    assert_eq!(rig.say(id, "true").await.code, 0);
    begin.elapsed()
}

#[tokio::test]
async fn r02_memory_of_every_kind_ends_at_its_own_limit() {
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let mut spec = rig.bench().web(&network);
    spec.service.limits.memory_bytes = 48 << 20;
    let id = rig.started(&spec).await;
    let neighbour = rig.started(&rig.bench().web(&network)).await;
    for (what, line) in [
        ("anonymous", "tail /dev/zero"),
        ("shared", "dd if=/dev/zero of=/dev/shm/x bs=1M count=200"),
        ("files in memory", "dd if=/dev/zero of=/tmp/x bs=1M count=200"),
    ] {
        let said = rig.say(&id, line).await;
        assert_ne!(said.code, 0, "{what}: {said:?}");
        let _ = rig.say(&id, "rm -f /dev/shm/x /tmp/x").await;
        assert_eq!(rig.say(&neighbour, "true").await.code, 0, "{what}");
    }
    let free = std::fs::read_to_string("/proc/meminfo").unwrap();
    assert!(free.contains("MemAvailable"), "the host still answers");
}

#[tokio::test]
async fn r08_keyrings_are_refused_and_queues_are_the_containers_own() {
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let id = rig.started(&rig.bench().web(&network)).await;
    // A list of the kernel's keys is that of the namespace; none can be made (N10).
    let keys = rig.say(&id, "cat /proc/keys | wc -l").await;
    assert_eq!(keys.output.trim(), "0", "{keys:?}");
    let shared = rig.say(&id, "cat /proc/sysvipc/shm | wc -l").await;
    assert_eq!(shared.output.trim(), "1", "only the heading: {shared:?}");
    let full = rig.say(&id, "dd if=/dev/zero of=/dev/mqueue/x bs=1M count=1").await;
    assert_ne!(full.code, 0, "{full:?}");
}

/// Polls the disk as the daemon does until `id` keeps more than `bytes`; how much.
async fn uses_more_than(rig: &Rig, instance: crate::model::InstanceId, bytes: u64) -> u64 {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let used = rig.engine.disk_use(1 << 30).await.unwrap().expect("these tests run as root");
        let found = used.get(&instance).copied().unwrap_or_default();
        if found > bytes {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "only {found} bytes are seen");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn r04_what_a_container_writes_is_counted_by_names_by_blocks_and_without_a_name() {
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let mut spec = rig.bench().web(&network);
    spec.service.is_read_only = false;
    let id = rig.started(&spec).await;
    let before = uses_more_than(&rig, spec.instance, 0).await;
    assert!(before < 1 << 20, "{before}");
    assert_eq!(rig.say(&id, "dd if=/dev/zero of=/big bs=1M count=20").await.code, 0);
    uses_more_than(&rig, spec.instance, 20 << 20).await;
    assert_eq!(
        rig.say(&id, "rm /big; mkdir /many; cd /many; seq 3000 | xargs touch").await.code,
        0
    );
    let many = uses_more_than(&rig, spec.instance, 3000 * 1024).await;
    assert!(many < 10 << 20, "{many}: what was removed is not counted");
    // A hole is no block.
    assert_eq!(rig.say(&id, "truncate -s 900M /hole").await.code, 0);
    assert!(uses_more_than(&rig, spec.instance, 0).await < 10 << 20);
    let open = "exec 3>/gone; rm /gone; dd if=/dev/zero bs=1M count=20 >&3; sleep 5";
    let (_, nameless) =
        tokio::join!(rig.say(&id, open), uses_more_than(&rig, spec.instance, 20 << 20));
    assert!(nameless < 40 << 20, "{nameless}");
}

#[tokio::test]
async fn r05_files_of_the_host_that_a_container_writes_are_counted_and_bounded() {
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let mut spec = rig.bench().web(&network);
    spec.service.is_read_only = false;
    spec.service.capabilities = vec!["DAC_OVERRIDE".to_owned()];
    spec.disk_bytes = 8 << 20;
    let id = rig.started(&spec).await;
    // It is a file of the host, outside of the layer. One write ends at the limit of any file.
    let said = rig.say(&id, "dd if=/dev/zero of=/etc/hosts bs=1M count=60").await;
    assert_ne!(said.code, 0, "{said:?}");
    let used = uses_more_than(&rig, spec.instance, (8 << 20) - 1).await;
    assert!(used < 12 << 20, "{used}");
    // Paths that the image calls volumes are memory, and so are the others.
    for path in ["/data", "/dev/shm", "/tmp"] {
        let line = format!("stat -f -c %T {path}");
        assert_eq!(rig.say(&id, &line).await.output.trim(), "tmpfs", "{path}");
    }
    let said = rig.say(&id, "dd if=/dev/zero of=/data/x bs=1M count=7 && sync").await;
    assert_eq!(said.code, 0, "{said:?}");
    let same = rig.engine.disk_use(1 << 30).await.unwrap().unwrap()[&spec.instance];
    assert!(same < used + (1 << 20), "memory is not disk: {same}");
}

/// Perl that makes kernel objects by system call `$ARGV[0]` until none is given, and prints how many.
const MAKE: &str = r#"
my ($number, @arguments) = @ARGV;
my $pair = pack('i2', 0, 0);
my $n = 0;
while ($n < 100000) {
    my @words = map { $_ eq 'pair' ? $pair : 0 + $_ } @arguments;
    last if syscall($number, @words) < 0;
    $n++;
}
print $n;
"#;

#[tokio::test]
async fn r07_kernel_objects_end_at_the_containers_own_limit() {
    // x86-64, and everything that took the generic table (64-bit ARM).
    let of = |x86: &'static str, generic: &'static str| match std::env::consts::ARCH {
        "x86_64" => x86,
        _ => generic,
    };
    let rig = Rig::new().await;
    let mut spec = prober(&rig).await;
    // Fewer than the host has of the scarcest, so that nobody beside this test notices.
    spec.service.limits.nofile = (64, 64);
    let id = rig.started(&spec).await;
    let neighbour = rig.started(&prober(&rig).await).await;
    for (what, number, arguments) in [
        ("inotify", of("294", "26"), &["0"][..]),
        ("epoll", of("291", "20"), &["0"]),
        ("eventfd", of("290", "19"), &["0", "0"]),
        ("timerfd", of("283", "85"), &["1", "0"]),
        ("pipe", of("293", "59"), &["pair", "0"]),
    ] {
        let words = ["perl", "-e", MAKE, number].into_iter().chain(arguments.iter().copied());
        let command = HealthTest::Exec(words.map(str::to_owned).collect());
        let made = rig.engine.exec(&id, &command, Duration::from_secs(20)).await.unwrap();
        let n: u32 = made.output.trim().parse().unwrap_or_else(|_| panic!("{what}: {made:?}"));
        assert!((20..=64).contains(&n), "{what}: {n}");
        let other = rig.engine.exec(&neighbour, &command, Duration::from_secs(20));
        let _ = other.await.unwrap();
    }
    // Terminals are those of the container: its own instance of `devpts`.
    let terminals = rig.say(&id, "stat -f -c %T /dev/pts; ls /dev/pts | grep -c '^[0-9]'").await;
    assert!(terminals.output.contains("devpts") && terminals.output.contains("0"), "{terminals:?}");
    // The host still gets what containers asked for.
    let watch = notify::recommended_watcher(|_: notify::Result<notify::Event>| {});
    assert!(watch.is_ok(), "{:?}", watch.err());
}

#[tokio::test]
async fn r13_storms_of_writes_and_entropy_stall_no_neighbour() {
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let mut spec = rig.bench().web(&network);
    spec.service.is_read_only = false;
    let id = rig.started(&spec).await;
    let neighbour = rig.started(&rig.bench().web(&network)).await;
    let quiet = began(&rig, &neighbour).await;
    let storm = "dd if=/dev/random of=/dev/null bs=1M count=64 & \
        for i in $(seq 40); do dd if=/dev/zero of=/x bs=64k count=4 conv=fsync; sync; done; wait";
    let storm = HealthTest::Shell(storm.to_owned());
    let deadline = Duration::from_secs(90);
    let (stormed, busy) = tokio::join!(rig.engine.exec(&id, &storm, deadline), async {
        let mut worst = Duration::ZERO;
        for _ in 0..5 {
            worst = worst.max(began(&rig, &neighbour).await);
        }
        worst
    });
    assert_eq!(stormed.unwrap().code, 0);
    assert!(
        busy < quiet * 10 + Duration::from_secs(2),
        "the neighbour waited {busy:?}, not {quiet:?}"
    );
    let other_time = rig.say(&id, "unshare -T true || unshare --time true").await;
    assert_ne!(other_time.code, 0, "a time of its own: {other_time:?}");
}

#[tokio::test]
async fn n13_a_command_that_prints_without_end_is_cut_and_ends_at_its_deadline() {
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let id = rig.started(&rig.bench().web(&network)).await;
    let much = rig.say(&id, "head -c 200000000 /dev/zero | tr '\\0' x").await;
    assert_eq!(much.code, 0);
    assert!(much.output.len() <= 1 << 20, "{} bytes are kept", much.output.len());
    let endless = HealthTest::Exec(vec!["yes".to_owned(), "x".repeat(1000)]);
    let begin = std::time::Instant::now();
    let cut = rig.engine.exec(&id, &endless, Duration::from_secs(2)).await;
    assert!(matches!(cut, Err(EngineError::TimedOut { .. })), "{:?}", cut.map(|it| it.code));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    let left = rig.say(&id, "ps | grep -c '[y]es x'").await;
    assert_eq!(left.output.trim(), "0", "what was cut off does not go on: {left:?}");
}
