//! A stranger knocks at the door of an engagement, its gateway dies, and the way to it is narrow:
//! players notice none of it (V01, V10, V11, R20).

use std::time::Duration;

use serde_json::Value;

use crate::support::{Challenge, Client, Daemon, Laptop, Stage, python, until};

/// A gateway that was ended is noticed by its players, and made anew, within this.
const BACK_WITHIN: Duration = Duration::from_secs(90);

/// What a stranger sends to `HOST PORT`: noise that looks like the beginning of a handshake, and the
/// first packet of a player (that of an `openvpn` here, which comes to port 5555) again and again.
/// Prints what was sent and what came back, as JSON.
const STRANGER: &str = r#"
import json, os, socket, sys, time
host, port = sys.argv[1], int(sys.argv[2])
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("127.0.0.1", 5555))
listener.settimeout(20)
first = listener.recv(4096)

def knock(packets):
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
    sent = received = answers = 0
    def drain():
        nonlocal received, answers
        for one in sockets:
            while True:
                try:
                    answer = one.recv(4096)
                except (BlockingIOError, ConnectionRefusedError):
                    break
                received += len(answer)
                answers += 1
    for one in sockets:
        one.setblocking(False)
    for nth, packet in enumerate(packets):
        try:
            sockets[nth % 64].sendto(packet, (host, port))
            sent += len(packet)
        except BlockingIOError:
            time.sleep(0.001)
        if nth % 256 == 0:
            drain()
    time.sleep(2)
    drain()
    return {"sent": sent, "received": received, "answers": answers}

def noise():
    opcodes = [7 << 3, 10 << 3, 5 << 3, 9 << 3, 4 << 3, 0]
    for nth in range(20000):
        yield bytes([opcodes[nth % len(opcodes)]]) + os.urandom(nth % 1200)

cut = (first[:length] for length in range(1, len(first)))
bent = (first[:20] + bytes([first[20] ^ 1]) + first[21:] for _ in range(200))
print(json.dumps({
    "noise": knock(noise()), "cut": knock(cut), "bent": knock(bent),
    "replayed": knock(first for _ in range(5000)),
}))
"#;

async fn serve(stage: &Stage, laptop: &Laptop, challenge: &str) -> Daemon {
    let settings = stage
        .settings()
        .text("network.wall", "auto")
        .text("network.publish_address", "0.0.0.0")
        .text("network.public_host", &laptop.host());
    let daemon = Daemon::start(settings).await;
    daemon.live(challenge).await;
    daemon
}

async fn profile(team: &Client, instance: &str) -> String {
    let reply = team.get(&format!("/instances/{instance}/openvpn-config")).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body.as_str().expect("a profile is text").to_owned()
}

/// The address of the service, as `profile` tells it.
fn address(profile: &str) -> String {
    let told = profile.lines().find_map(|line| line.strip_suffix(" chal"));
    told.expect("it is told").trim_start_matches(['#', ' ']).to_owned()
}

/// The line with the gateway's own address, and its port.
fn door(profile: &str) -> (String, String) {
    let line = profile.lines().find(|line| line.starts_with("remote ")).expect("there is a door");
    let port = line.split(' ').nth(2).expect("a door has a port");
    (line.to_owned(), port.to_owned())
}

/// What the service says to a player.
fn read(laptop: &Laptop, address: &str) -> String {
    let line = format!("cat < /dev/tcp/{address}/1337");
    laptop.run(&["timeout", "-k", "1", "3", "bash", "-c", &line]).stdout
}

#[tokio::test]
async fn v01_and_r20_strangers_get_no_answer_and_players_stay_connected() {
    let stage = Stage::with(&[Challenge::engagement("LAB-911")]).await;
    let (mut player, mut stranger) = (Laptop::new(&stage.path("")), Laptop::new(&stage.path("")));
    let mut late = Laptop::new(&stage.path(""));
    let daemon = serve(&stage, &player, "LAB-911").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let (of_red, of_blue) = (red.play("LAB-911").await.id, blue.play("LAB-911").await.id);
    let (ours, theirs) = (profile(&red, &of_red).await, profile(&blue, &of_blue).await);
    player.connect(&ours).await;
    assert!(read(&player, &address(&ours)).starts_with("FLAG{"));

    let (line, port) = door(&ours);
    // A player behind a relay that only listens: what a stranger on the way sees.
    stranger.dial(&ours.replace(&line, "remote 127.0.0.1 5555 udp"));
    let host = stranger.host();
    let python = python().display().to_string();
    let said = stranger.run(&[&python, "-c", STRANGER, &host, &port]).fine();
    let said: Value = serde_json::from_str(&said).expect("the stranger reports");
    for kind in ["noise", "cut", "bent"] {
        assert_eq!(said[kind]["answers"], 0, "{said}");
    }
    // A true first packet is answered, seldom, and with less than it has.
    let replayed = &said["replayed"];
    let of = |key: &str| replayed[key].as_u64().expect("a number");
    assert!(of("answers") <= 300 && of("received") <= of("sent"), "{said}");

    assert_eq!(player.n_connected(), 1, "the session went on: {}", player.log());
    assert!(read(&player, &address(&ours)).starts_with("FLAG{"), "and still carries packets");
    let at_late = theirs.replace(&player.host(), &late.host());
    late.connect(&at_late).await;
    assert!(read(&late, &address(&theirs)).starts_with("FLAG{"), "another gateway is alive");
    for (team, id) in [(&red, &of_red), (&blue, &of_blue)] {
        team.stop(id).await;
        team.gone(id).await;
    }
    daemon.nothing_left().await;
}

#[tokio::test]
async fn v10_a_gateway_that_hangs_up_or_dies_is_back_and_lets_the_same_profile_in() {
    let stage = Stage::with(&[Challenge::engagement("LAB-912")]).await;
    let mut player = Laptop::new(&stage.path(""));
    let daemon = serve(&stage, &player, "LAB-912").await;
    let red = daemon.team("red").await;
    let id = red.play("LAB-912").await.id;
    let ours = profile(&red, &id).await;
    player.connect(&ours).await;
    for signal in ["HUP", "KILL"] {
        let before = player.n_connected();
        let containers = daemon.engine().containers_of(&id);
        let gateway = containers.iter().find(|name| name.ends_with("openvpn")).expect("it runs");
        daemon.engine().docker(&["kill", "--signal", signal, gateway]).expect("it takes a signal");
        until("the player is back", BACK_WITHIN, || {
            let is_back = player.n_connected() > before
                && read(&player, &address(&ours)).starts_with("FLAG{");
            std::future::ready(if is_back { Ok(()) } else { Err(player.log()) })
        })
        .await;
        red.ready(&id).await;
        assert_eq!(profile(&red, &id).await, ours, "after SIG{signal}");
    }
    red.stop(&id).await;
    red.gone(&id).await;
    daemon.nothing_left().await;
}

#[tokio::test]
async fn v11_a_narrow_way_carries_much_through_renegotiations() {
    const N_BYTES: u64 = 64 << 20;
    let much = "FROM busybox:latest
CMD [\"nc\", \"-ll\", \"-p\", \"1337\", \"-e\", \"dd\", \"if=/dev/zero\", \"bs=64k\", \"count=1024\"]
";
    let challenge = Challenge::engagement("LAB-913").with("services/chal/Dockerfile", much);
    let stage = Stage::with(&[challenge]).await;
    let mut player = Laptop::new(&stage.path(""));
    let daemon = serve(&stage, &player, "LAB-913").await;
    let red = daemon.team("red").await;
    let id = red.play("LAB-913").await.id;
    // What is larger than 1,400 bytes is lost on the way, without a word.
    let narrow =
        "ip link set dev $(ip -o link | sed -n 's/^[0-9]*: \\([^@:]*b\\)@.*/\\1/p') mtu 1400";
    player.run(&["sh", "-c", narrow]).fine();
    assert!(player.run(&["ip", "-o", "link"]).fine().contains("mtu 1400"));
    let ours = profile(&red, &id).await;
    player.connect(&format!("reneg-sec 3\n{ours}")).await;
    let line = format!("cat < /dev/tcp/{}/1337 | wc -c", address(&ours));
    for _ in 0..2 {
        let got = player.run(&["timeout", "-k", "1", "150", "bash", "-c", &line]).stdout;
        assert_eq!(got.trim(), N_BYTES.to_string(), "{}", player.log());
    }
    until("keys were negotiated again", BACK_WITHIN, || {
        let n = player.log().matches("TLS: soft reset").count();
        std::future::ready(if n > 0 { Ok(()) } else { Err(player.log()) })
    })
    .await;
    assert_eq!(player.n_connected(), 1, "{}", player.log());
    assert!(player.log().contains("AES-256-GCM"), "{}", player.log());
    red.stop(&id).await;
    red.gone(&id).await;
    daemon.nothing_left().await;
}
