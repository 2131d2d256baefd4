//! A player connects to an engagement with a real `wg-quick`, where the organizers chose WireGuard, and gets
//! where they should and not one packet further.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::player_connects::{
    LAB, container, flag_at, lab_that_speaks, off_limits, profile, reached, solved, told,
};
use crate::support::{Challenge, Client, Daemon, Laptop, Stage, until};

/// A profile that was taken back leads nowhere within this.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

/// What stands behind `name` in a profile.
fn value<'p>(profile: &'p str, name: &str) -> &'p str {
    let value = profile.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
    value.unwrap_or_else(|| panic!("there is no {name} in {profile}"))
}

/// Waits until `laptop` gets a page, or does not any more.
async fn page(laptop: &Laptop, address: &str, patience: Duration) {
    until(&format!("a page of {address}"), patience, || {
        let page = laptop.get(address, 8080, "/");
        std::future::ready(page.map(drop).ok_or_else(|| laptop.run(&["wg", "show"]).stdout))
    })
    .await;
}

/// What another profile is, once the gateway lets it in.
async fn next_profile(who: &Client, id: &str) -> String {
    until("there is a profile", REVOKED_WITHIN, || async {
        let reply = who.get(&format!("/instances/{id}/openvpn-config")).await;
        let text = reply.body.as_str().filter(|_| reply.status == 200).map(str::to_owned);
        text.ok_or_else(|| reply.body.to_string())
    })
    .await
}

/// Sends everything for `address` into the tunnel, as a player would who changes their own profile.
fn insist(laptop: &Laptop, profile: &str, address: &str) {
    let (name, route) = (laptop.tunnel_name(), format!("{address}/32"));
    let allowed = format!("{},{route}", value(profile, "AllowedIPs").replace(' ', ""));
    let server = value(profile, "PublicKey");
    laptop.run(&["wg", "set", &name, "peer", server, "allowed-ips", &allowed]).fine();
    laptop.run(&["ip", "route", "replace", &route, "dev", &name]).fine();
}

#[tokio::test]
async fn a_player_with_wireguard_reaches_the_networks_of_the_gateway_and_nothing_else() {
    let stage = Stage::set().await;
    let mut laptop = Laptop::new(&stage.path(""));
    let daemon = lab_that_speaks(&stage, &laptop, "wireguard").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let (id, other) = (red.play(LAB).await.id, blue.play(LAB).await.id);
    let (of_red, of_blue) = (profile(&red, &id).await, profile(&blue, &other).await);
    let intranet = told(&of_red, "intranet").unwrap();
    assert_eq!(told(&of_red, "vault"), None, "it is behind the intranet");
    assert_eq!(laptop.get(intranet, 8080, "/"), None, "without the tunnel");
    laptop.tunnel(&of_red);
    page(&laptop, intranet, Duration::from_secs(20)).await;

    let flag = solved(&laptop, intranet);

    // Not one packet further, whatever the player makes of their profile.
    let host = TcpListener::bind("0.0.0.0:0").expect("a port is free");
    let port = host.local_addr().expect("it is bound").port();
    let theirs = told(&of_blue, "intranet").unwrap();
    for (what, address, port) in off_limits(&daemon, &id, (intranet, theirs), port) {
        insist(&laptop, &of_red, &address);
        let found = laptop.get(&address, port, "/");
        assert_eq!(found, None, "the tunnel leads to {what} at {address}");
    }
    page(&laptop, intranet, Duration::from_secs(20)).await;

    // An address inside the tunnel that is not theirs, and one team's keys at another team's door.
    let mut stranger = Laptop::new(&stage.path(""));
    let borrowed = of_red
        .replace(value(&of_red, "Address"), "10.82.77.77/32")
        .replace(&laptop.host(), &stranger.host());
    stranger.tunnel(&borrowed);
    assert_eq!(stranger.get(intranet, 8080, "/"), None, "with another address");
    let stolen = of_red
        .replace(value(&of_red, "Endpoint"), value(&of_blue, "Endpoint"))
        .replace(value(&of_red, "PublicKey"), value(&of_blue, "PublicKey"))
        .replace(value(&of_red, "AllowedIPs"), value(&of_blue, "AllowedIPs"))
        .replace(&laptop.host(), &stranger.host());
    stranger.tunnel(&stolen);
    assert_eq!(stranger.get(told(&of_blue, "intranet").unwrap(), 8080, "/"), None, "V02");
    let handshakes =
        stranger.run(&["wg", "show", &stranger.tunnel_name(), "latest-handshakes"]).fine();
    assert!(handshakes.trim().ends_with("\t0"), "nobody answers: {handshakes}");
    drop(stranger);

    let graded = red.submit(&id, "flag", json!(flag)).await;
    assert_eq!(graded.body["correct"], true, "{}", graded.body);
    drop(laptop);
    // It was the last question: the instance ends by itself.
    red.gone(&id).await;
    blue.stop(&other).await;
    blue.gone(&other).await;
    daemon.nothing_left().await;
}

#[tokio::test]
async fn members_tunnel_at_once_and_whoever_is_put_out_is_out() {
    let stage = Stage::set().await;
    let (mut one, mut two) = (Laptop::new(&stage.path("")), Laptop::new(&stage.path("")));
    let mut daemon = lab_that_speaks(&stage, &one, "wireguard").await;
    let (ada, bob) = (daemon.account("ada").await, daemon.account("bob").await);
    let create = json!({"mode": "create", "name": "Red"});
    ada.post("/competitions/default/teams", create).await.expect_status(201);
    let id = ada.play(LAB).await.id;
    let of_ada = profile(&ada, &id).await;
    let intranet = told(&of_ada, "intranet").unwrap().to_owned();
    one.tunnel(&of_ada);
    page(&one, &intranet, Duration::from_secs(20)).await;

    // Who joins is let in while the instance runs.
    let invite = ada.post("/competitions/default/invites", json!({})).await.expect_status(201);
    let redeem = json!({"code": invite.text("code")});
    bob.post("/competitions/default/teams/redeem", redeem).await.expect_status(200);
    let of_bob = next_profile(&bob, &id).await;
    assert_ne!(value(&of_ada, "Address"), value(&of_bob, "Address"));
    two.tunnel(&of_bob.replace(&one.host(), &two.host()));
    page(&two, &intranet, Duration::from_secs(20)).await;
    assert!(one.get(&intranet, 8080, "/").is_some(), "both are in");

    // The operator sees who is connected.
    let admin = daemon.admin();
    let vpn = format!("/admin/instances/{id}/vpn");
    let me = bob.get("/me").await.text("id");
    let status = admin.get(&vpn).await.body;
    let sessions = status["sessions"].as_array().expect("the gateway answers");
    let of_me = sessions.iter().find(|it| it["certificate"] == json!(format!("{me}.1")));
    let of_me = of_me.unwrap_or_else(|| panic!("{status}"));
    assert!(of_me["from"].as_str().unwrap().contains(':'), "{status}");
    assert!(of_me["last_handshake"].is_string() && of_me["since"].is_null(), "{status}");
    assert!(of_me["bytes_sent"].as_u64() > Some(500), "{status}");
    assert_eq!(sessions.len(), 2, "{status}");

    // The gateway dies, and the settings change meanwhile: what runs keeps what it was started with.
    daemon.kill9();
    let gateway = container(&daemon, &id, "openvpn");
    daemon.engine().docker(&["rm", "--force", &gateway]).expect("it can be removed");
    daemon.relaunch_with("FLAGOPS_VPN__PROTOCOL", "openvpn");
    daemon.ready().await;
    page(&one, &intranet, Duration::from_secs(90)).await;

    // Who is put out is out within 5 s; the others stay.
    ada.delete(&format!("/competitions/default/team/members/{me}")).await;
    let began = Instant::now();
    until("the former member is out", REVOKED_WITHIN, || {
        let page = two.get(&intranet, 8080, "/");
        std::future::ready(if page.is_none() { Ok(()) } else { Err("still in".to_owned()) })
    })
    .await;
    assert!(began.elapsed() < REVOKED_WITHIN, "{:?}", began.elapsed());
    assert!(one.get(&intranet, 8080, "/").is_some(), "nothing changed for who stays");

    // Another profile, and the old one is worth nothing.
    let rotate = format!("/instances/{id}/openvpn-config/rotate");
    ada.post(&rotate, json!({})).await.expect_status(200);
    let second = next_profile(&ada, &id).await;
    assert_ne!(value(&second, "PrivateKey"), value(&of_ada, "PrivateKey"));
    assert_eq!(one.get(&intranet, 8080, "/"), None, "the first one");
    one.tunnel(&second);
    page(&one, &intranet, Duration::from_secs(20)).await;
    drop((one, two));
    ada.stop(&id).await;
    ada.gone(&id).await;
    daemon.nothing_left().await;
}

#[tokio::test]
async fn one_wireguard_profile_of_a_team_leads_to_what_starts_later() {
    let stage = Stage::with(&[Challenge::engagement("LAB-906")]).await;
    let mut laptop = Laptop::new(&stage.path(""));
    let settings = stage
        .settings()
        .text("network.wall", "auto")
        .text("network.publish_address", "0.0.0.0")
        .text("network.public_host", &laptop.host())
        .text("vpn.mode", "team")
        .text("vpn.protocol", "wireguard");
    let mut daemon = Daemon::start(settings).await;
    daemon.live("LAB-906").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let teams = daemon.admin().get("/teams").await.body;
    let red_id = teams["items"].as_array().unwrap().iter().find(|it| it["name"] == "red");
    let path = format!("/teams/{}/openvpn-config", red_id.unwrap()["id"].as_str().unwrap());
    let one = red.play("LAB-906").await.id;
    let theirs = blue.play("LAB-906").await.id;
    let address =
        async |who: &Client, id: &str| told(&profile(who, id).await, "chal").unwrap().to_owned();
    let (at_one, at_theirs) = (address(&red, &one).await, address(&blue, &theirs).await);
    let of_team = until("the team's profile", Duration::from_secs(60), || async {
        let reply = red.get(&path).await;
        let text = reply.body.as_str().filter(|_| reply.status == 200).map(str::to_owned);
        text.ok_or_else(|| reply.body.to_string())
    })
    .await;
    laptop.tunnel(&of_team);
    reached(&laptop, &at_one).await;
    let two = red.play("LAB-906").await.id;
    let at_two = address(&red, &two).await;
    reached(&laptop, &at_two).await;
    red.stop(&one).await;
    red.gone(&one).await;
    until("the way to what ended is gone", Duration::from_secs(20), || {
        let said = flag_at(&laptop, &at_one);
        std::future::ready(if said.is_empty() { Ok(()) } else { Err(said) })
    })
    .await;
    assert_eq!(flag_at(&laptop, &at_theirs), "", "another team's, at {at_theirs}");
    reached(&laptop, &at_two).await;
    drop(laptop);
    for (who, id) in [(&red, &two), (&blue, &theirs)] {
        who.stop(id).await;
        who.gone(id).await;
    }
    daemon.kill9();
    daemon.relaunch_with("FLAGOPS_VPN__MODE", "instance");
    daemon.ready().await;
    let hub = of_team.lines().find_map(|line| line.strip_prefix("# flagops instance "));
    let hub = hub.and_then(|rest| rest.split(',').next()).expect("it says which").to_owned();
    until("the hub is gone", Duration::from_secs(60), || {
        let left = daemon.engine().containers_of(&hub);
        std::future::ready(if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
    })
    .await;
    daemon.nothing_left().await;
}
