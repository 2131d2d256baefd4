//! A platform and two nodes on machines of their own: each node has an engine and a network namespace, and
//! reaches the platform by one cable that can be cut.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    Challenge, Daemon, Disk, Finished, OwnEngine, OwnRegistry, PATIENCE, Settings, Stage, fetch,
    until,
};

const ID: &str = "WEB-811";

/// A challenge whose every build gives another image, and which moves when its node is lost.
fn stamped() -> Challenge {
    let challenge = Challenge::web(ID, "one");
    let metadata = challenge.files["metadata.yaml"].clone();
    let dockerfile = challenge.files["services/web/Dockerfile"]
        .replace("COPY", "RUN mkdir /www && cat /proc/sys/kernel/random/uuid >/www/stamp\nCOPY");
    challenge
        .with("metadata.yaml", format!("{metadata}instance: {{on_node_loss: move}}\n"))
        .with("services/web/Dockerfile", dockerfile)
}

/// A node with a machine around it.
struct Machine {
    engine: OwnEngine,
    daemon: Daemon,
}

impl Machine {
    async fn start(stage: &Stage, platform: &Daemon, name: &str) -> Self {
        Self::start_with(stage, platform, name, |settings, _| settings).await
    }

    /// Starts one with further settings.
    async fn start_with(
        stage: &Stage,
        platform: &Daemon,
        name: &str,
        more: impl FnOnce(Settings, &OwnEngine) -> Settings,
    ) -> Self {
        let folder = stage.path(name);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let engine = OwnEngine::start(&folder, Disk::Ample).await;
        let invite = platform.admin().post("/nodes/invites", json!({"ttl_seconds": 600})).await;
        let invite = invite.expect_status(200).text("registration_token");
        let port = port(platform);
        let settings = stage
            .settings()
            .data_dir(folder.join("data"))
            .elsewhere(engine.engine(), engine.runner(), &engine.address())
            .text("engine.endpoint", &format!("unix://{}", engine.socket().display()))
            .text("node.name", name)
            .text("builder.build", "once")
            .yes("nodes.allow_http")
            .node_of(&format!("http://{}:{port}", engine.host()), &invite);
        Self { daemon: Daemon::start(more(settings, &engine)).await, engine }
    }

    /// Its id at the platform.
    fn id(&self) -> String {
        self.daemon.url().replace("http://", "").replace(':', "_")
    }
}

/// Waits until `n` machines have images and follow the release.
async fn have_images(platform: &Daemon, n: usize) {
    until("the machines have the image", PATIENCE, || async {
        let nodes = platform.admin().get("/nodes").await.body;
        let items = nodes["items"].as_array().cloned().unwrap_or_default();
        let has = |node: &&Value| {
            node["generation"].as_u64() > Some(0) && node["images_built"].as_u64() > Some(0)
        };
        if items.iter().filter(has).count() == n { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
}

async fn both_are_heard_of(platform: &Daemon) {
    until("both machines are heard of", PATIENCE, || async {
        let nodes = platform.admin().get("/nodes").await.body;
        let items = nodes["items"].as_array().cloned().unwrap_or_default();
        let is_healthy = |node: &&Value| node["is_healthy"] == true;
        if items.iter().filter(is_healthy).count() == 2 { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
}

async fn whereabouts(platform: &Daemon, id: &str) -> Value {
    platform.admin().get(&format!("/instances/{id}")).await.body
}

/// What an instance serves at `path`, by what the platform says of it.
async fn served(row: &Value, path: &str) -> Result<String, String> {
    let service = &row["services"][0];
    let (host, port) = (service["host"].as_str().unwrap_or_default(), &service["port"]);
    fetch(&format!("http://{host}:{port}{path}")).await
}

/// A platform that instances do not run on, and that other machines can reach.
async fn platform(stage: &Stage) -> Daemon {
    let settings = stage
        .settings()
        .data_dir(stage.path("platform"))
        .no("nodes.local")
        .yes("nodes.allow_http")
        .number("nodes.lost_after_secs", 6);
    let port = settings.address().rsplit_once(':').expect("an address with a port").1.to_owned();
    Daemon::start(settings.text("listen", &format!("0.0.0.0:{port}"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_built_on_one_machine_and_a_cut_cable_loses_and_doubles_nothing() {
    let stage = Stage::with(&[stamped()]).await;
    let platform = platform(&stage).await;
    let one = Machine::start(&stage, &platform, "one").await;
    let two = Machine::start(&stage, &platform, "two").await;
    platform.live(ID).await;
    have_images(&platform, 2).await;

    // What a build draws by lot is the same on both: one of them built it.
    let mut played = Vec::new();
    for n in 0..4 {
        let team = platform.team(&format!("team {n}")).await;
        let ready = team.play(ID).await;
        let row = whereabouts(&platform, &ready.id).await;
        let node = row["node_id"].as_str().expect("it is somewhere").to_owned();
        let flag = served(&row, "/answers/flag").await.expect("it has a flag");
        let stamp = served(&row, "/www/stamp").await.expect("it has a stamp");
        played.push((team, ready, node, flag, stamp));
    }
    let on = |id: &str| played.iter().filter(|it| it.2 == id).count();
    assert_eq!((on(&one.id()), on(&two.id())), (2, 2), "they share the instances");
    assert!(played.iter().all(|it| it.4 == played[0].4), "one of them built the image");
    let took = [&one, &two].map(|it| it.daemon.log().matches("took an image over").count());
    assert_eq!(took.iter().sum::<usize>(), 1, "{took:?}");

    // The cable of one machine is cut: what it had is made anew on the other, with the same answers.
    two.engine.cut();
    for (team, ready, node, flag, _) in &played {
        if *node == two.id() {
            let row = until("it is ready on the other machine", PATIENCE, || async {
                let row = whereabouts(&platform, &ready.id).await;
                let is_there = row["status"] == "ready" && row["node_id"] == one.id();
                if is_there { Ok(row) } else { Err(row.to_string()) }
            })
            .await;
            assert_eq!(served(&row, "/answers/flag").await.as_ref(), Ok(flag));
        }
        let body = json!({"instance_id": ready.id, "question_id": "flag", "answer": "FLAG{no}"});
        team.post("/submissions", body).await.expect_status(200);
    }
    // Before that, the machine without a cable took down what others might reach.
    let left = two.engine.engine().docker(&["ps", "-q"]).expect("its engine answers");
    assert_eq!(left.trim(), "", "nothing of it serves any more");

    two.engine.mend();
    both_are_heard_of(&platform).await;
    for (team, ready, _, flag, _) in &played {
        let body = json!({"instance_id": ready.id, "question_id": "flag", "answer": flag});
        let graded = team.post("/submissions", body).await.expect_status(200).body;
        assert_eq!(graded["correct"], true, "no answer was lost: {graded}");
        team.gone(&ready.id).await;
    }
    for machine in [&one, &two] {
        machine.daemon.nothing_left().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_once_into_a_registry_and_by_the_platform_where_that_refuses() {
    let stage = Stage::with(&[stamped()]).await;
    let registry = OwnRegistry::start(&stage.path("registry")).await;
    let platform = platform(&stage).await;
    let machine = async |name: &str, password: &str| {
        let file = stage.path(&format!("{name}.password"));
        write_secret(&file, password);
        let more = |settings: Settings, engine: &OwnEngine| {
            engine.route(registry.address());
            settings
                .text("registry.repository", &registry.repository())
                .text("registry.username", OwnRegistry::USERNAME)
                .text("registry.password_file", &file.display().to_string())
        };
        Machine::start_with(&stage, &platform, name, more).await
    };
    let one = machine("one", OwnRegistry::PASSWORD).await;
    let two = machine("two", OwnRegistry::PASSWORD).await;
    platform.live(ID).await;
    have_images(&platform, 2).await;
    // One of them built it and pushed it once; the other has pulled it by its digest.
    assert_eq!((registry.tags().await.len(), registry.n_pulls()), (1, 1));
    let took = |it: &Machine| it.daemon.log().matches("took an image over").count();
    assert_eq!(took(&one) + took(&two), 1);

    // One that the registry does not let in gets it by way of the platform.
    let three = machine("three", "not that one").await;
    have_images(&platform, 3).await;
    assert_eq!(took(&three), 1);
    let log = three.daemon.log();
    assert!(log.contains("an image did not come from the registry"), "{log}");
    assert_eq!((registry.tags().await.len(), registry.n_pulls()), (1, 1));
    for it in [&one, &two, &three] {
        // No name of the registry is left, which would keep the image on the disk.
        let names = it.engine.engine().docker(&["images", "--digests", "--all"]);
        let names = names.expect("its engine answers");
        assert!(!names.contains(registry.address()), "{names}");
        for password in [OwnRegistry::PASSWORD, "not that one"] {
            assert!(!it.daemon.log().contains(password), "a password is in the log");
        }
    }

    // All three serve the same image.
    let mut stamps = std::collections::BTreeMap::new();
    for n in 0..3 {
        let ready = platform.team(&format!("team {n}")).await.play(ID).await;
        let row = whereabouts(&platform, &ready.id).await;
        let node = row["node_id"].as_str().expect("it is somewhere").to_owned();
        stamps.insert(node, served(&row, "/www/stamp").await.expect("it has a stamp"));
    }
    assert_eq!(stamps.len(), 3, "{stamps:?}");
    assert!(stamps.values().all(|it| Some(it) == stamps.values().next()), "{stamps:?}");
}

fn write_secret(path: &std::path::Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("it can be written");
}

/// The port of a daemon.
fn port(daemon: &Daemon) -> String {
    daemon.url().rsplit_once(':').expect("a URL with a port").1.to_owned()
}

/// Waits until the machines together have one container for each of `n` instances.
async fn have_exactly(machines: &[&Machine], n: usize) {
    until("nothing is lost or doubled", PATIENCE, || async {
        let mut seen = Vec::new();
        for machine in machines {
            let of_instances = ["ps", "-q", "--filter", "label=flagops.instance"];
            let ids = machine.engine.engine().docker(&of_instances)?;
            seen.push(ids.lines().count());
        }
        if seen.iter().sum::<usize>() == n { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_carries_one_way_only_loses_and_doubles_nothing() {
    let stage = Stage::with(&[stamped()]).await;
    let platform = platform(&stage).await;
    let one = Machine::start(&stage, &platform, "one").await;
    let two = Machine::start(&stage, &platform, "two").await;
    platform.live(ID).await;
    have_images(&platform, 2).await;
    let mut played = Vec::new();
    for n in 0..4 {
        let team = platform.team(&format!("team {n}")).await;
        let ready = team.play(ID).await;
        let row = whereabouts(&platform, &ready.id).await;
        let flag = served(&row, "/answers/flag").await.expect("it has a flag");
        played.push((team, ready.id, flag));
    }
    let flags = async || {
        for (_, id, flag) in &played {
            let row = until("it is ready", PATIENCE, || async {
                let row = whereabouts(&platform, id).await;
                if row["status"] == "ready" { Ok(row) } else { Err(row.to_string()) }
            })
            .await;
            assert_eq!(served(&row, "/answers/flag").await.as_ref(), Ok(flag), "{row}");
        }
    };

    // One is heard of and cannot be told anything: what it has goes on, and nothing is made twice.
    two.engine.deafen(&port(&two.daemon));
    let blue = platform.team("blue").await;
    let asked = blue.start(ID).await;
    flags().await;
    two.engine.unblock();
    let ready = blue.ready(&asked).await;
    have_exactly(&[&one, &two], 5).await;
    flags().await;
    blue.delete(&format!("/instances/{}", ready.id)).await.expect_status(200);
    have_exactly(&[&one, &two], 4).await;

    // One can be told everything and is not heard of: what it had is made anew on the other.
    two.engine.mute(&port(&platform));
    for (_, id, _) in &played {
        until("it is on the other machine", PATIENCE, || async {
            let row = whereabouts(&platform, id).await;
            let is_there = row["status"] == "ready" && row["node_id"] == one.id();
            if is_there { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
    }
    have_exactly(&[&one, &two], 4).await;
    two.engine.unblock();
    both_are_heard_of(&platform).await;
    have_exactly(&[&one, &two], 4).await;
    flags().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_clock_is_off_by_an_hour_ends_nothing_early_or_late() {
    const LEASE_SECS: u64 = 12;
    let stage = Stage::with(&[stamped()]).await;
    let platform = platform(&stage).await;
    let off = |hours: &'static str| {
        move |settings: Settings, _: &OwnEngine| {
            settings
                .variable("LD_PRELOAD", &fake_clock())
                .variable("FAKETIME", hours)
                .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        }
    };
    let early = Machine::start_with(&stage, &platform, "early", off("+1h")).await;
    let late = Machine::start_with(&stage, &platform, "late", off("-1h")).await;
    for (machine, hour) in [(&early, 1), (&late, -1)] {
        let begun = machine.daemon.log().chars().take(13).collect::<String>();
        // An hour may have struck since its log began.
        let wanted = [0, 2].map(|minutes_ago| {
            let there = time::OffsetDateTime::now_utc() + time::Duration::hours(hour)
                - time::Duration::minutes(minutes_ago);
            format!("{}T{:02}", there.date(), there.hour())
        });
        assert!(wanted.contains(&begun), "its clock is off: {begun}, {wanted:?}");
    }
    platform.live(ID).await;
    have_images(&platform, 2).await;

    let mut played = Vec::new();
    for n in 0..4 {
        let team = platform.team(&format!("team {n}")).await;
        let ready = team.play(ID).await;
        let node = whereabouts(&platform, &ready.id).await["node_id"].clone();
        played.push((team, ready, node));
    }
    for machine in [&early, &late] {
        let (team, ready, _) =
            played.iter().find(|it| it.2 == machine.id()).expect("they share the instances");
        let renew = format!("/instances/{}/renew?ttl={LEASE_SECS}", ready.id);
        let begun = std::time::Instant::now();
        team.post(&renew, json!({})).await.expect_status(200);
        team.gone(&ready.id).await;
        let took = begun.elapsed();
        assert!(took.as_secs() + 1 >= LEASE_SECS, "{}: ended after {took:?}", machine.id());
        assert!(took < PATIENCE, "{took:?}");
    }
    // The others have hours left, by everybody's clock.
    have_exactly(&[&early, &late], 2).await;
    let nodes = platform.admin().get("/nodes").await.body;
    let items = nodes["items"].as_array().cloned().unwrap_or_default();
    assert!(items.iter().all(|node| node["is_healthy"] == true), "{nodes}");
}

/// The library that bends the clock of a program.
fn fake_clock() -> String {
    let folders = std::fs::read_dir("/usr/lib").expect("it can be read").flatten();
    let mut places = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    let place = places.find(|place| place.is_file());
    let place = place.expect("`faketime` is installed: `scripts/setup-host` does that");
    place.display().to_string()
}

/// Where the door of a machine listens.
const DOOR: &str = "8088";

/// What the door of `machine` says of `path` under a name, by `curl` with more arguments.
fn through_door(machine: &Machine, host: &str, path: &str, more: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "30", "--resolve"]);
    command.arg(format!("{host}:{DOOR}:{}", machine.engine.address())).args(more);
    Finished::of(command.arg(format!("http://{host}:{DOOR}{path}"))).fine()
}

/// Every machine has a door with names of its own, and keeps what went through its wires; people ask the
/// platform for both.
#[tokio::test(flavor = "multi_thread")]
async fn players_enter_where_their_instance_is_and_its_packets_are_asked_for_at_the_platform() {
    let challenge = Challenge::web(ID, "one");
    let metadata = challenge.files["metadata.yaml"].clone() + "instance: {capture: packets}\n";
    let stage = Stage::with(&[challenge.with("metadata.yaml", metadata)]).await;
    let platform = platform(&stage).await;
    let mut machines = Vec::new();
    for name in ["one", "two"] {
        let with_door = |settings: Settings, engine: &OwnEngine| {
            settings
                .text("ingress.domain", &format!("{name}.ctf.test"))
                .text("ingress.plain_listen", &format!("{}:{DOOR}", engine.address()))
        };
        machines.push(Machine::start_with(&stage, &platform, name, with_door).await);
    }
    platform.live(ID).await;
    have_images(&platform, 2).await;

    let mut names = Vec::new();
    for (team, page) in [("red", "red-was-here"), ("blue", "blue-was-here")] {
        let team = platform.team(team).await;
        let ready = team.play(ID).await;
        let row = whereabouts(&platform, &ready.id).await;
        let machine = machines.iter().find(|it| row["node_id"] == it.id().as_str());
        let machine = machine.unwrap_or_else(|| panic!("it is nowhere: {row}"));
        let (host, port) = ready.first();
        let domain = if machine.id() == machines[0].id() { "one" } else { "two" };
        assert!(host.ends_with(&format!(".{domain}.ctf.test")), "{host}");
        assert_eq!(port.to_string(), DOOR);
        let flag = through_door(machine, host, "/answers/flag", &[]);
        assert!(flag.starts_with("FLAG{"), "{flag}");
        assert!(!names.iter().any(|(_, its): &(String, String)| *its == flag), "one flag for both");

        // Another machine's door does not know the name.
        let code = ["-o", "/dev/null", "-w", "%{http_code}"];
        let other = machines.iter().find(|it| it.id() != machine.id()).expect("there are two");
        assert_eq!(through_door(other, host, "/", &code), "404");

        // The machine kept its packets and knows its requests; the platform is asked for both.
        let file = stage.path(&format!("{page}.pcap"));
        let out = file.display().to_string();
        until("the packets of a visit are kept", PATIENCE, || async {
            through_door(machine, host, &format!("/{page}"), &code);
            let _ = std::fs::remove_file(&file);
            let saved = platform.cli(&["instances", "pcap", &ready.id, "--out", &out]);
            if saved.code != Some(0) {
                return Err(saved.stderr);
            }
            let mut tcpdump = Command::new("tcpdump");
            let read = Finished::of(tcpdump.args(["-n", "-A", "-r"]).arg(&file)).fine();
            if read.contains(&format!("GET /{page} HTTP")) { Ok(()) } else { Err(read) }
        })
        .await;
        let flows = team.get(&format!("/instances/{}/traffic", ready.id)).await.expect_status(200);
        let path = format!("/{page}");
        let mut flows = flows.body.as_array().cloned().unwrap_or_default().into_iter();
        assert!(flows.any(|flow| flow["request"]["path"] == path.as_str()), "{path} is no flow");
        names.push((host.to_owned(), flag));
    }
    assert_ne!(names[0].0, names[1].0);
}
