//! A player connects with what desktops do it with: NetworkManager.
//!
//! It runs in a container, because on a machine it takes over whatever interfaces there are.

use std::fs;

use crate::player_connects::{LAB, lab_that_speaks, profile, told};
use crate::support::{Engine, Laptop, PATIENCE, Stage, until};

/// Makes the interface that it has one that NetworkManager has brought up, as a desktop's is.
const ADOPT: &str = r#"set -e
gateway=$(ip route | awk '/^default/ {print $3}')
interface=$(ip route | awk '/^default/ {print $5}')
address=$(ip -4 -o address show "$interface" | awk '{print $4}')
nmcli connection add type ethernet ifname "$interface" con-name base ipv4.method manual \
    ipv4.addresses "$address" ipv4.gateway "$gateway" ipv6.method disabled
nmcli connection up base"#;

const DOCKERFILE: &str = "FROM debian:bookworm-slim
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \\
    --no-install-recommends network-manager network-manager-openvpn dbus curl iproute2 >/dev/null
";

/// A desktop, as far as its network goes. It ends, with its image, when it is dropped.
struct Desktop {
    name: String,
}

impl Desktop {
    /// One without a network.
    fn start(stage: &Stage) -> Self {
        let folder = stage.path("desktop");
        fs::create_dir_all(&folder).expect("a folder can be made");
        fs::write(folder.join("Dockerfile"), DOCKERFILE).expect("it can be written");
        let desktop = Self { name: format!("flagops-story-desktop-{}", std::process::id()) };
        let (name, engine) = (desktop.name.as_str(), Engine::shared());
        let build = ["build", "-q", "-t", name, &folder.display().to_string()];
        engine.docker(&build).expect("Debian has it");
        // A device for tunnels, and rights over its own network alone. Engines let no container of one
        // network to what those of another publish, so it gets an interface from elsewhere.
        let run = ["run", "-d", "--name", name, "--network", "none", "--cap-add", "NET_ADMIN"];
        let rest = ["--device", "/dev/net/tun", name, "sleep", "600"];
        engine.docker(&[&run[..], &rest].concat()).expect("it can be started");
        desktop
    }

    /// The process that its namespaces are of.
    fn pid(&self) -> String {
        let asked = ["inspect", "--format", "{{.State.Pid}}", &self.name];
        Engine::shared().docker(&asked).expect("it runs").trim().to_owned()
    }

    /// Lets NetworkManager take its interfaces over.
    async fn manage(&self) {
        let begin = "mkdir -p /run/dbus && dbus-daemon --system --fork \
            && (NetworkManager --debug >/tmp/log 2>&1 &)";
        self.does(begin).expect("it starts");
        until("NetworkManager answers", PATIENCE, || {
            std::future::ready(self.does("nmcli -t -f RUNNING general | grep running"))
        })
        .await;
        self.does(ADOPT).expect("it takes its interface over");
    }

    /// What a line of a shell on it prints.
    fn does(&self, line: &str) -> Result<String, String> {
        Engine::shared().docker(&["exec", &self.name, "sh", "-c", line])
    }

    fn takes(&self, profile: &str, stage: &Stage) {
        let file = stage.path("lab.ovpn");
        fs::write(&file, profile).expect("a profile can be written");
        let target = format!("{}:/root/lab.ovpn", self.name);
        let copied = Engine::shared().docker(&["cp", &file.display().to_string(), &target]);
        copied.expect("a file can be copied");
        let import = "nmcli connection import type openvpn file /root/lab.ovpn";
        self.does(import).expect("it takes the profile");
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        let _ = Engine::shared().docker(&["rm", "-f", &self.name]);
        let _ = Engine::shared().docker(&["rmi", &self.name]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn network_manager_takes_the_profile_as_it_is_and_gets_where_it_should() {
    let stage = Stage::set().await;
    let desktop = Desktop::start(&stage);
    let laptop = Laptop::of(&stage.path(""), &desktop.pid());
    let daemon = lab_that_speaks(&stage, &laptop, "openvpn").await;
    let red = daemon.team("red").await;
    let ready = red.play(LAB).await;
    let of_red = profile(&red, &ready.id).await;
    let intranet = told(&of_red, "intranet").expect("the profile tells of it");

    desktop.manage().await;
    desktop.takes(&of_red, &stage);
    let kept = desktop.does("nmcli -f vpn.data connection show lab").unwrap();
    for word in ["tls-crypt-v2", "remote-cert-tls = server", "verify-x509-name", "tunnel-mtu"] {
        assert!(kept.contains(word), "it dropped `{word}`: {kept}");
    }
    // As the profile says: left alone, NetworkManager sends everything into any tunnel.
    let says = "nmcli connection modify NAME ipv4.never-default yes";
    assert!(of_red.contains(says), "{of_red}");
    desktop.does(&says.replace("NAME", "lab")).unwrap();
    let page = format!("curl --silent --fail --max-time 3 http://{intranet}:8080/");
    assert!(desktop.does(&page).is_err(), "without the tunnel");
    if let Err(why) = desktop.does("timeout 40 nmcli connection up lab") {
        panic!("{why}\n{}", desktop.does("grep -i vpn /tmp/log; tail -n 20 /tmp/log").unwrap());
    }
    let shown =
        until("the intranet is reached", PATIENCE, || std::future::ready(desktop.does(&page)))
            .await;
    assert!(shown.contains("Branch office"), "{shown}");
    let route = desktop.does(&format!("ip route get {intranet}")).unwrap();
    assert!(route.contains("dev tun"), "{route}");
    // What is not of the instance goes where it went before.
    let elsewhere = desktop.does("ip route get 192.0.2.1").unwrap();
    assert!(!elsewhere.contains("dev tun"), "{elsewhere}");
    desktop.does("nmcli connection down lab").unwrap();
    assert!(desktop.does(&page).is_err(), "after the tunnel");
}
