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
