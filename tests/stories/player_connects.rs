//! A player connects to an engagement with a real `openvpn`, and gets where they should and not one
//! packet further.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Challenge, Client, Daemon, Finished, Laptop, Stage, python, repository_root, until,
};

/// The first build of the example installs packages.
const BUILD_PATIENCE: Duration = Duration::from_secs(600);
/// A profile that was taken back is refused within this.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

pub(crate) const LAB: &str = "LAB-001";

/// A daemon that plays the example, whose gateways `laptop` reaches.
async fn lab(stage: &Stage, laptop: &Laptop) -> Daemon {
    lab_that_speaks(stage, laptop, "openvpn").await
}

/// The same with gateways that speak `protocol`.
pub(crate) async fn lab_that_speaks(stage: &Stage, laptop: &Laptop, protocol: &str) -> Daemon {
    let example = repository_root().join("example-repo/NET/LAB-001");
    let target = stage.remote.file("NET");
    fs::create_dir_all(&target).expect("a folder can be made");
    Finished::of(Command::new("cp").arg("-a").arg(example).arg(&target)).fine();
    stage.remote.push("an engagement");
    let settings = stage
        .settings()
        .text("network.wall", "auto")
        .text("network.publish_address", "0.0.0.0")
        .text("network.public_host", &laptop.host())
        .text("vpn.protocol", protocol);
    let daemon = Daemon::start(settings).await;
    let admin = daemon.admin();
    until("the lab is live", BUILD_PATIENCE, || async {
        let row = admin.challenge(LAB).await?;
        assert!(row["state"] != "invalid" && row["state"] != "failed", "{row}");
        if row["state"] == "live" { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    daemon
}

pub(crate) async fn profile(team: &Client, instance: &str) -> String {
    let reply = team.get(&format!("/instances/{instance}/openvpn-config")).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body.as_str().expect("a profile is text").to_owned()
}

/// The address that `profile` tells of `service`.
pub(crate) fn told<'p>(profile: &'p str, service: &str) -> Option<&'p str> {
    profile.lines().find_map(|line| {
        let mut words = line.strip_prefix('#')?.split_whitespace();
        let address = words.next()?;
        (words.next() == Some(service)).then_some(address)
    })
}

pub(crate) fn container(daemon: &Daemon, instance: &str, service: &str) -> String {
    let mut containers = daemon.engine().containers_of(instance).into_iter();
    containers.find(|name| name.ends_with(service)).expect("the service has a container")
}

#[tokio::test]
async fn a_player_reaches_the_networks_of_the_gateway_and_nothing_else() {
    let stage = Stage::set().await;
    let mut laptop = Laptop::new(&stage.path(""));
    let daemon = lab(&stage, &laptop).await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);

    let id = red.start(LAB).await;
    red.get(&format!("/instances/{id}/openvpn-config"))
        .await
        .expect_refusal(404, "openvpn_config_not_available");
    let ready = red.ready(&id).await;
    assert!(ready.services.is_empty(), "nothing but the gateway is published");
    let shown = red.get(&format!("/instances/{id}")).await.body;
    assert_eq!(shown["network_topology"], "engagement");
    let url = format!("/api/v1/instances/{id}/openvpn-config");
    assert_eq!(shown["vpn_endpoint"]["config_url"], url, "{shown}");

    let of_red = profile(&red, &id).await;
    let (intranet, printer) =
        (told(&of_red, "intranet").unwrap(), told(&of_red, "printer").unwrap());
    assert_eq!(told(&of_red, "vault"), None, "it is behind the intranet");
    assert_eq!(laptop.get(intranet, 8080, "/"), None, "without the tunnel");
    laptop.connect(&of_red).await;
    assert!(laptop.get(intranet, 8080, "/").is_some_and(|page| page.contains("Branch office")));
    assert!(laptop.get(printer, 8080, "/").is_some_and(|page| page.contains("Out of paper")));

    let flag = solved(&laptop, intranet);

    // Not one packet further, whatever routes the player adds.
    let host = TcpListener::bind("0.0.0.0:0").expect("a port is free");
    let port = host.local_addr().expect("it is bound").port();
    let other = blue.play(LAB).await;
    let of_blue = profile(&blue, &other.id).await;
    let theirs = told(&of_blue, "intranet").unwrap();
    for (what, address, port) in off_limits(&daemon, &id, (intranet, theirs), port) {
        let route = format!("{address}/32");
        laptop.run(&["ip", "route", "replace", &route, "dev", "tun0"]).fine();
        assert_eq!(
            laptop.get(&address, port, "/"),
            None,
            "the tunnel leads to {what} at {address}"
        );
    }
    assert!(laptop.get(intranet, 8080, "/").is_some(), "the way in is still there");

    // V02: one team's keys at another team's door.
    let door =
        |text: &str| text.lines().find(|line| line.starts_with("remote ")).unwrap().to_owned();
    let mut stranger = Laptop::new(&stage.path(""));
    let stolen = of_red.replace(&door(&of_red), &door(&of_blue));
    stranger.dial(&stolen.replace(&laptop.host(), &stranger.host()));
    stranger.refused().await;

    let graded = red.submit(&id, "flag", json!(flag)).await;
    assert_eq!(graded.body["correct"], true, "{}", graded.body);
    drop(laptop);
    // The platform proves the challenge where a player's tunnel ends.
    let proven = daemon.cli(&["solve", LAB]).fine();
    assert!(proven.contains("proven"), "{proven}");
    red.gone(&id).await;
    blue.stop(&other.id).await;
    blue.gone(&other.id).await;
    daemon.nothing_left().await;
}

/// The flag of the lab, by the way that its author meant.
pub(crate) fn solved(laptop: &Laptop, intranet: &str) -> String {
    let mut exploit = laptop.command();
    exploit
        .current_dir(repository_root().join("example-repo/NET/LAB-001"))
        .arg(python())
        .args(["solution/exploit.py", intranet, "8080"])
        .env("PYTHONPATH", repository_root().join("templates/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let said = Finished::of(&mut exploit).fine();
    said.trim().strip_prefix("Q[flag]: ").expect("it finds the flag").to_owned()
}

/// What a tunnel into instance `id` of the lab must not lead to, with addresses and ports: `own` and `theirs`
/// are the intranets of both teams, and `port` is one of this host.
pub(crate) fn off_limits(
    daemon: &Daemon,
    id: &str,
    (own, theirs): (&str, &str),
    port: u16,
) -> [(&'static str, String, u16); 5] {
    let vault = daemon.engine().address_of(&container(daemon, id, "vault"));
    [
        ("what is behind the intranet", vault, 8080),
        ("another team's service", theirs.to_owned(), 8080),
        ("the host's end of the network", first_address_of_network(own), port),
        ("the metadata of a cloud", "169.254.169.254".to_owned(), 80),
        ("the internet", "203.0.113.9".to_owned(), 80),
    ]
}

/// The host's own address on the network of a container at `address`: our networks are /28.
pub(crate) fn first_address_of_network(address: &str) -> String {
    let (network, last) = address.rsplit_once('.').expect("an IPv4 address");
    let last: u8 = last.parse().expect("a number");
    format!("{network}.{}", (last & 0xf0) + 1)
}

#[tokio::test]
async fn twenty_engagements_run_side_by_side_and_none_leads_into_another() {
    const N: usize = 20;
    let stage = Stage::with(&[Challenge::engagement("LAB-902")]).await;
    let (mut first, mut last) = (Laptop::new(&stage.path("")), Laptop::new(&stage.path("")));
    let settings = stage
        .settings()
        .text("network.wall", "auto")
        .text("network.publish_address", "0.0.0.0")
        .text("network.public_host", &first.host());
    let daemon = Daemon::start(settings).await;
    daemon.live("LAB-902").await;
    let red = daemon.team("red").await;
    let mut ids = Vec::new();
    for _ in 0..N {
        ids.push(red.start("LAB-902").await);
    }
    let mut profiles = Vec::new();
    for id in &ids {
        red.ready(id).await;
        profiles.push(profile(&red, id).await);
    }
    let chal = |n: usize| told(&profiles[n], "chal").expect("it is told").to_owned();
    let mut addresses: Vec<_> = (0..N).map(chal).collect();
    first.connect(&profiles[0]).await;
    let to_last = profiles[N - 1].replace(&first.host(), &last.host());
    last.connect(&to_last).await;
    let read = |laptop: &Laptop, address: &str| {
        let line = format!("cat < /dev/tcp/{address}/1337");
        laptop.run(&["timeout", "-k", "1", "3", "bash", "-c", &line]).stdout
    };
    let (of_first, of_last) = (read(&first, &addresses[0]), read(&last, &addresses[N - 1]));
    assert!(of_first.starts_with("FLAG{") && of_last.starts_with("FLAG{"), "{of_first} {of_last}");
    assert_ne!(of_first, of_last);
    for address in &addresses[1..] {
        first.run(&["ip", "route", "replace", &format!("{address}/32"), "dev", "tun0"]).fine();
    }
    assert_eq!(read(&first, &addresses[1]), "", "its neighbour");
    assert_eq!(read(&first, &addresses[N - 1]), "", "the other end");
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), N, "every instance has addresses of its own");
    for id in &ids {
        red.stop(id).await;
    }
    daemon.nothing_left().await;
}

#[tokio::test]
async fn two_members_connect_at_once_and_a_profile_that_is_taken_back_is_worthless() {
    let stage = Stage::set().await;
    let (mut one, mut two) = (Laptop::new(&stage.path("")), Laptop::new(&stage.path("")));
    let daemon = lab(&stage, &one).await;
    let (red, admin) = (daemon.team("red").await, daemon.admin());
    let id = red.play(LAB).await.id;
    let first = profile(&red, &id).await;
    let intranet = told(&first, "intranet").unwrap().to_owned();
    let at_two = |text: &str, one: &Laptop, two: &Laptop| text.replace(&one.host(), &two.host());
    one.connect(&first).await;
    two.connect(&at_two(&first, &one, &two)).await;
    for laptop in [&one, &two] {
        assert!(laptop.get(&intranet, 8080, "/").is_some(), "both are in");
    }
    let vpn = format!("/admin/instances/{id}/vpn");
    let sessions = |body: &Value| body["sessions"].as_array().map_or(0, Vec::len);
    until("both sessions are told", REVOKED_WITHIN, || async {
        let body = admin.get(&vpn).await.body;
        if sessions(&body) == 2 { Ok(()) } else { Err(body.to_string()) }
    })
    .await;

    // The gateway dies; both come back by themselves with the profile they have.
    let gateway = container(&daemon, &id, "openvpn");
    daemon.engine().docker(&["rm", "--force", &gateway]).expect("it can be removed");
    until("a player is back", Duration::from_secs(90), || {
        let page = one.get(&intranet, 8080, "/");
        std::future::ready(page.map(drop).ok_or_else(|| one.log()))
    })
    .await;

    // Taken back: who is in is out within 5 s, and nobody gets in.
    red.get(&vpn).await.expect_refusal(403, "http_403");
    let began = Instant::now();
    let revoked = admin.post(&format!("{vpn}/revoke"), json!({"why": "it was posted"})).await;
    assert_eq!(revoked.body["holders"][0]["revoked"], true, "{}", revoked.body);
    until("nobody is connected", REVOKED_WITHIN, || async {
        let body = admin.get(&vpn).await.body;
        let is_told = body["holders"][0]["applied"] == true && sessions(&body) == 0;
        if is_told { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
    assert!(began.elapsed() < REVOKED_WITHIN, "{:?}", began.elapsed());
    red.get(&format!("/instances/{id}/openvpn-config"))
        .await
        .expect_refusal(403, "openvpn_config_revoked");
    one.dial(&first);
    one.refused().await;

    // Another one is as good as the first was, and the first is still worth nothing.
    let rotate = format!("/instances/{id}/openvpn-config/rotate");
    red.post(&rotate, json!({})).await.expect_refusal(403, "openvpn_config_revoked");
    let rotated = admin.post(&rotate, json!({"why": "it was a mistake"})).await;
    assert_eq!(rotated.body["holders"][0]["serial"], 2, "{}", rotated.body);
    // Not before the gateway lets it in: a client that is refused once gives up.
    let second = until("there is another profile", REVOKED_WITHIN, || async {
        let reply = red.get(&format!("/instances/{id}/openvpn-config")).await;
        let text = reply.body.as_str().filter(|_| reply.status == 200).map(str::to_owned);
        text.ok_or_else(|| reply.body.to_string())
    })
    .await;
    one.connect(&second).await;
    assert!(one.get(&intranet, 8080, "/").is_some(), "the second profile leads in");
    two.dial(&at_two(&first, &one, &two));
    two.refused().await;
    assert_eq!(two.get(&intranet, 8080, "/"), None);

    red.stop(&id).await;
    red.gone(&id).await;
    daemon.nothing_left().await;
}

#[tokio::test]
async fn a_member_connects_as_long_as_they_are_in_the_team() {
    let stage = Stage::set().await;
    let (mut one, mut two) = (Laptop::new(&stage.path("")), Laptop::new(&stage.path("")));
    let daemon = lab(&stage, &one).await;
    let (ada, bob) = (daemon.account("ada").await, daemon.account("bob").await);
    let create = json!({"mode": "create", "name": "Red"});
    ada.post("/competitions/default/teams", create).await.expect_status(201);
    let id = ada.play(LAB).await.id;
    let of_ada = profile(&ada, &id).await;
    let intranet = told(&of_ada, "intranet").unwrap().to_owned();
    one.connect(&of_ada).await;
    assert!(one.get(&intranet, 8080, "/").is_some(), "the first member is in");

    // Who joins is let in while the instance runs, with a profile of their own.
    let invite = ada.post("/competitions/default/invites", json!({})).await.expect_status(201);
    let redeem = json!({"code": invite.text("code")});
    bob.post("/competitions/default/teams/redeem", redeem).await.expect_status(200);
    let of_bob = until("the newcomer's profile", REVOKED_WITHIN, || async {
        let reply = bob.get(&format!("/instances/{id}/openvpn-config")).await;
        let text = reply.body.as_str().filter(|_| reply.status == 200).map(str::to_owned);
        text.ok_or_else(|| reply.body.to_string())
    })
    .await;
    two.connect(&of_bob.replace(&one.host(), &two.host())).await;
    assert!(two.get(&intranet, 8080, "/").is_some(), "the newcomer is in");

    // One member's profile on two machines is seen.
    let admin = daemon.admin();
    let vpn = format!("/admin/instances/{id}/vpn");
    let mut thief = Laptop::new(&stage.path(""));
    thief.connect(&of_ada.replace(&one.host(), &thief.host())).await;
    until("the shared profile is seen", REVOKED_WITHIN, || async {
        let body = admin.get(&vpn).await.body;
        let is_shared = |n: usize| body["holders"][n]["shared"] == true;
        if is_shared(0) && !is_shared(1) { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
    let body = admin.get("/admin/fairness?kind=shared_profile").await.body;
    let found = &body["items"][0];
    let ada_id = ada.get("/me").await.text("id");
    assert_eq!((&body["total"], &found["user_id"]), (&json!(1), &json!(ada_id)), "{body}");
    assert_eq!((&found["challenge_id"], &found["instance"]["id"]), (&json!(LAB), &json!(id)));
    assert_eq!(found["connected_from"].as_array().map(Vec::len), Some(2), "{found}");
    drop(thief);

    // Who is put out is out within 5 s, and does not come back; the others stay.
    let me = bob.get("/me").await.text("id");
    let began = Instant::now();
    ada.delete(&format!("/competitions/default/team/members/{me}")).await;
    until("the former member is out", REVOKED_WITHIN, || async {
        let body = admin.get(&vpn).await.body;
        let sessions = body["sessions"].to_string();
        if sessions.contains(&me) || !sessions.contains('.') {
            Err(body.to_string())
        } else {
            Ok(())
        }
    })
    .await;
    assert!(began.elapsed() < REVOKED_WITHIN, "{:?}", began.elapsed());
    two.dial(&of_bob.replace(&one.host(), &two.host()));
    two.refused().await;
    assert!(one.get(&intranet, 8080, "/").is_some(), "nothing changed for who stays");
    ada.stop(&id).await;
    ada.gone(&id).await;
    daemon.nothing_left().await;
}

/// What `laptop` reads from the service of an instance.
pub(crate) fn flag_at(laptop: &Laptop, address: &str) -> String {
    let line = format!("cat < /dev/tcp/{address}/1337");
    laptop.run(&["timeout", "-k", "1", "3", "bash", "-c", &line]).stdout
}

/// Waits until `laptop` reads a flag there.
pub(crate) async fn reached(laptop: &Laptop, address: &str) {
    until(&format!("{address} is reached"), Duration::from_secs(60), || {
        let said = flag_at(laptop, address);
        let is_there = said.starts_with("FLAG{");
        std::future::ready(if is_there { Ok(()) } else { Err(laptop.log()) })
    })
    .await;
}

#[tokio::test]
async fn one_profile_of_a_team_leads_to_all_of_its_engagements() {
    let stage = Stage::with(&[Challenge::engagement("LAB-905")]).await;
    let mut laptop = Laptop::new(&stage.path(""));
    let settings = stage
        .settings()
        .text("network.wall", "auto")
        .text("network.publish_address", "0.0.0.0")
        .text("network.public_host", &laptop.host())
        .text("vpn.mode", "team");
    let mut daemon = Daemon::start(settings).await;
    daemon.live("LAB-905").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let teams = daemon.admin().get("/teams").await.body;
    let red_id =
        teams["items"].as_array().and_then(|all| all.iter().find(|it| it["name"] == "red"));
    let red_id = red_id.expect("the team is listed")["id"].as_str().unwrap().to_owned();
    let path = format!("/teams/{red_id}/openvpn-config");
    red.get(&path).await.expect_refusal(404, "openvpn_config_not_available");
    let (one, two) = (red.play("LAB-905").await.id, red.play("LAB-905").await.id);
    let theirs = blue.play("LAB-905").await.id;
    let address =
        async |who: &Client, id: &str| told(&profile(who, id).await, "chal").unwrap().to_owned();
    let (at_one, at_two) = (address(&red, &one).await, address(&red, &two).await);
    let at_theirs = address(&blue, &theirs).await;
    blue.get(&path).await.expect_refusal(403, "forbidden");
    let of_team = until("the team's profile", Duration::from_secs(60), || async {
        let reply = red.get(&path).await;
        let text = reply.body.as_str().filter(|_| reply.status == 200).map(str::to_owned);
        text.ok_or_else(|| reply.body.to_string())
    })
    .await;
    laptop.connect(&of_team).await;
    reached(&laptop, &at_one).await;
    reached(&laptop, &at_two).await;

    // One that starts later is reached with the same profile; one that ended is not; another team's
    // never is, whatever routes the player adds.
    let three = red.play("LAB-905").await.id;
    let at_three = address(&red, &three).await;
    reached(&laptop, &at_three).await;
    red.stop(&one).await;
    red.gone(&one).await;
    until("the way to what ended is gone", Duration::from_secs(20), || {
        let routes = laptop.run(&["ip", "route"]).stdout;
        let network = at_one.rsplit_once('.').unwrap().0.to_owned();
        let is_up = routes.contains("tun0");
        let last: u8 = at_one.rsplit_once('.').unwrap().1.parse().unwrap();
        let line = format!("{network}.{}/28", last & 0xf0);
        std::future::ready(if is_up && !routes.contains(&line) { Ok(()) } else { Err(routes) })
    })
    .await;
    let fourth = blue.play("LAB-905").await.id;
    let at_fourth = address(&blue, &fourth).await;
    for address in [&at_one, &at_theirs, &at_fourth] {
        laptop.run(&["ip", "route", "replace", &format!("{address}/32"), "dev", "tun0"]).fine();
        assert_eq!(flag_at(&laptop, address), "", "{address}");
    }
    let bridge = first_address_of_network(&at_two);
    let host = TcpListener::bind("0.0.0.0:0").expect("a port is free");
    let port = host.local_addr().expect("it is bound").port();
    assert_eq!(laptop.get(&bridge, port, "/"), None, "the host's end of a network");
    reached(&laptop, &at_two).await;

    // The hub dies: it is back, and so is the player, with the profile that they have.
    let hub = of_team.lines().find_map(|line| line.strip_prefix("# flagops instance "));
    let hub = hub.and_then(|rest| rest.split(',').next()).expect("it says which").to_owned();
    let gateway = container(&daemon, &hub, "openvpn");
    daemon.engine().docker(&["rm", "--force", &gateway]).expect("it can be removed");
    until("it is made anew", Duration::from_secs(60), || {
        let is_there = !daemon.engine().containers_of(&hub).is_empty();
        std::future::ready(if is_there { Ok(()) } else { Err("it is gone".to_owned()) })
    })
    .await;
    reached(&laptop, &at_two).await;
    reached(&laptop, &at_three).await;
    assert_eq!(flag_at(&laptop, &at_fourth), "");

    drop(laptop);
    for (who, id) in [(&red, &two), (&red, &three), (&blue, &theirs), (&blue, &fourth)] {
        who.stop(id).await;
        who.gone(id).await;
    }
    // Hubs end with the mode.
    daemon.kill9();
    daemon.relaunch_with("FLAGOPS_VPN__MODE", "instance");
    daemon.ready().await;
    until("the hubs are gone", Duration::from_secs(60), || {
        let left = daemon.engine().containers_of(&hub);
        std::future::ready(if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
    })
    .await;
    daemon.nothing_left().await;
}

/// Templates of ours with more lines, where a repository has its own.
fn write_templates(stage: &Stage, server: &str, client: &str) {
    for (name, more) in [("server.conf.j2", server), ("client.ovpn.j2", client)] {
        let path = format!("templates/openvpn/{name}");
        let ours = fs::read_to_string(repository_root().join(&path)).expect("it is there");
        stage.remote.write(&path, format!("{more}\n{ours}"));
    }
}

#[tokio::test]
async fn a_repository_has_templates_of_its_own_and_none_that_is_refused_is_used() {
    let stage = Stage::with(&[Challenge::engagement("LAB-904")]).await;
    write_templates(
        &stage,
        "push \"ping 7\"\nreneg-sec 1800\nconnect-freq 50 10",
        "setenv FRIENDLY_NAME \"The finals\"\nconnect-timeout 20",
    );
    stage.remote.push("templates of our own");
    let mut laptop = Laptop::new(&stage.path(""));
    let settings = stage
        .settings()
        .text("network.wall", "auto")
        .text("network.publish_address", "0.0.0.0")
        .text("network.public_host", &laptop.host());
    let daemon = Daemon::start(settings).await;
    let admin = daemon.admin();
    admin.reconcile().await;
    daemon.live("LAB-904").await;
    let before = admin.challenge("LAB-904").await.expect("it is there")["live"]["revision"].clone();
    assert!(before.is_string(), "{before}");
    let red = daemon.team("red").await;
    let id = red.play("LAB-904").await.id;
    let configured = |id: &str| {
        let gateway = container(&daemon, id, "openvpn");
        let read = daemon.engine().inside(&gateway, &["cat", "/gateway/server.conf"]);
        read.expect("the gateway has a configuration")
    };
    assert!(
        configured(&id).starts_with("push \"ping 7\"\nreneg-sec 1800\n"),
        "{}",
        configured(&id)
    );
    let own = profile(&red, &id).await;
    assert!(own.starts_with("setenv FRIENDLY_NAME \"The finals\"\n"), "{own}");
    laptop.connect(&own).await;
    let chal = told(&own, "chal").expect("it is told").to_owned();
    let line = format!("cat < /dev/tcp/{chal}/1337");
    let flag = laptop.run(&["timeout", "-k", "1", "3", "bash", "-c", &line]).stdout;
    assert!(flag.starts_with("FLAG{"), "{flag}");
    red.stop(&id).await;
    red.gone(&id).await;

    // A bad one is told with its line, and gateways go on with the platform's own.
    write_templates(&stage, "script-security 2\nup /gateway/evil.sh", "redirect-gateway def1");
    stage.remote.put(&Challenge::engagement("LAB-904").with("README.md", "another version"));
    stage.remote.push("what nobody may");
    admin.reconcile().await;
    until("the next version is live", BUILD_PATIENCE, || async {
        let row = admin.challenge("LAB-904").await?;
        let is_next = row["live"]["revision"] != before && row["state"] == "live";
        if is_next { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    let stated = admin.stated("repo", "Validated", "False", "GatewayTemplateRefused").await;
    let message = stated["message"].as_str().unwrap_or_default();
    assert!(message.contains("templates/openvpn/client.ovpn.j2:1:1: error[NET005]"), "{message}");
    let checked = daemon.cli(&["check", &stage.remote.file("").display().to_string()]);
    assert!(checked.stdout.contains("NET005"), "{}{}", checked.stdout, checked.stderr);
    let id = red.play("LAB-904").await.id;
    assert!(!configured(&id).contains("evil"), "{}", configured(&id));
    let ours = profile(&red, &id).await;
    assert!(!ours.contains("redirect-gateway") && !ours.contains("FRIENDLY_NAME"), "{ours}");
    laptop.connect(&ours).await;
    assert!(daemon.log().contains("a template of the repository was refused"));
    write_templates(&stage, "", "");
    stage.remote.push("mended");
    admin.reconcile().await;
    admin.stated("repo", "Validated", "True", "Ok").await;
    red.stop(&id).await;
    red.gone(&id).await;
    daemon.nothing_left().await;
}
