//! Profiles of members and teams, through the router, on an engine in memory.

use serde_json::json;

use super::contests::{Event, code, text, wait};
use super::*;
use crate::model::InstanceId;

const LAB: &str = "name: Lab\ndescription: Get in.\ndifficulty: easy\ntags: [t]\ncategory: web\nnetwork_topology: engagement\n";

const COMPOSE: &str = "services:\n  openvpn:\n    image: ctfy/openvpn-base:1\n    ports: ['1194/udp']\n    deploy: &d {resources: {limits: {cpus: 0.5, memory: 64m}}}\n  web: {image: 'base:1', command: [serve], ports: [8080], deploy: *d}\n";

/// An engagement that is live.
async fn lab() -> Event {
    let event = Event::with(&[
        ("NET/LAB-001/metadata.yaml", LAB),
        ("NET/LAB-001/docker-compose.yml", COMPOSE),
    ])
    .await;
    let platform = event.daemon.platform();
    wait("the lab to be live", async || platform.live().contains_key(&"LAB-001".parse().unwrap()))
        .await;
    event
}

impl Event {
    /// A ready instance of the lab.
    async fn play(&self, token: &str) -> String {
        let (status, started) = self.start(token, "LAB-001", "default").await;
        assert_eq!(status, 202, "{started}");
        let id = text(&started["id"]);
        let path = format!("/instances/{id}/status");
        wait("it to be ready", async || self.site.get(token, &path).await.1["status"] == "ready")
            .await;
        id
    }

    async fn profile(&self, token: &str, id: &str, query: &str) -> (u16, String) {
        let uri = format!("/api/v1/instances/{id}/openvpn-config{query}");
        let bearer = format!("Bearer {token}");
        let request = Request::get(uri).header(header::AUTHORIZATION, bearer);
        let (status, _, bytes) = self.site.raw(request.body(Body::empty()).unwrap()).await;
        (status, String::from_utf8(bytes).unwrap())
    }

    /// The profile, once the gateway knows its holder.
    async fn given(&self, token: &str, id: &str) -> String {
        let mut given = String::new();
        wait("the profile", async || {
            let (status, text) = self.profile(token, id, "").await;
            given = text;
            status == 200
        })
        .await;
        given
    }

    /// Whom the gateway was told to let in last.
    fn told(&self, id: &str) -> Vec<String> {
        let id: InstanceId = id.parse().unwrap();
        let commands = self.site.rig.engine.commands(id);
        let told = commands.iter().rev().find(|words| words[1] == "clients");
        told.map(|words| words[2..].to_vec()).unwrap_or_default()
    }

    async fn wait_told(&self, id: &str, who: &[(&str, u32)]) {
        let mut names: Vec<_> = who.iter().map(|(id, serial)| format!("{id}.{serial}")).collect();
        names.sort();
        wait(&format!("the gateway to let in {names:?}"), async || self.told(id) == names).await;
    }

    async fn team(&self, token: &str, name: &str) -> String {
        let create = json!({"mode": "create", "name": name});
        let (status, team) = self.enter(token, "default", create).await;
        assert_eq!(status, 201, "{team}");
        text(&team["id"])
    }

    async fn joins(&self, captain: &str, who: &str) {
        let path = "/competitions/default/invites";
        let (_, invite) = self.site.post(captain, path, json!({"max_uses": 1})).await;
        let redeem = json!({"code": invite["code"]});
        let joined = self.site.post(who, "/competitions/default/teams/redeem", redeem).await;
        assert_eq!(joined.0, 200, "{}", joined.1);
    }

    async fn id_of(&self, token: &str) -> String {
        text(&self.site.get(token, "/me").await.1["id"])
    }
}

#[tokio::test]
async fn each_member_has_a_profile_of_their_own_as_long_as_they_are_in_the_team() {
    let event = lab().await;
    let site = &event.site;
    let (ada, bob) = (site.sign_up("ada").await, site.sign_up("bob").await);
    let cyd = site.sign_up("cyd").await;
    let (ada_id, bob_id) = (event.id_of(&ada).await, event.id_of(&bob).await);
    let team = event.team(&ada, "Red").await;
    event.joins(&ada, &bob).await;
    let id = event.play(&ada).await;
    let (of_ada, of_bob) = (event.given(&ada, &id).await, event.given(&bob, &id).await);
    let key = |profile: &str| profile.split("<key>").nth(1).unwrap().to_owned();
    assert_ne!(key(&of_ada), key(&of_bob));
    assert!(of_ada.contains("# For ada of Red."), "{of_ada}");
    assert!(event.told(&id).is_empty(), "a gateway that was filled with both needs no telling");
    assert_eq!(event.profile(&cyd, &id, "").await.0, 403, "a stranger");
    assert!(!of_ada.contains("# tree") && !of_ada.contains("build key"), "hashes of answers");
    let line = format!("# flagops instance {id}, commit ");
    assert!(of_ada.lines().last().unwrap().starts_with(&line), "{of_ada}");

    // Who joins is let in, and may download from then on.
    event.joins(&ada, &cyd).await;
    let cyd_id = event.id_of(&cyd).await;
    event.wait_told(&id, &[(&ada_id, 1), (&bob_id, 1), (&cyd_id, 1)]).await;
    event.given(&cyd, &id).await;
    // Who is put out or leaves is not.
    let path = format!("/competitions/default/team/members/{cyd_id}");
    assert_eq!(site.call(&ada, "DELETE", &path, Value::Null).await.0, 204);
    event.wait_told(&id, &[(&ada_id, 1), (&bob_id, 1)]).await;
    assert_eq!(event.profile(&cyd, &id, "").await.0, 403);

    // A member rotates their own.
    let rotate = format!("/instances/{id}/openvpn-config/rotate");
    let of_other = site.post(&bob, &rotate, json!({"holder": ada_id})).await;
    assert_eq!(code(&of_other), (403, "openvpn_holder_is_for_organizers"));
    let (status, rotated) = site.post(&bob, &rotate, json!({})).await;
    assert_eq!((status, rotated["holders"].as_array().map(Vec::len)), (200, Some(1)), "{rotated}");
    assert_eq!(rotated["holders"][0]["serial"], 2);
    event.wait_told(&id, &[(&ada_id, 1), (&bob_id, 2)]).await;
    assert_ne!(event.given(&bob, &id).await, of_bob);
    assert_eq!(event.given(&ada, &id).await, of_ada, "nothing changed for the others");

    // Organizers act on one or all, and see everybody.
    let admin = site.admin();
    let vpn = format!("/admin/instances/{id}/vpn");
    assert_eq!(site.get(&bob, &vpn).await.0, 403);
    let asked = event.profile(&admin, &id, "").await;
    assert_eq!(asked.0, 409, "{}", asked.1);
    let (status, named) = event.profile(&admin, &id, "?holder=ada").await;
    assert_eq!(status, 200, "{named}");
    assert!(named.starts_with(&of_ada) && named.contains("\n# tree "), "{named}");
    assert!(named.contains("\n# build key of openvpn: "), "{named}");
    assert_eq!(event.profile(&admin, &id, "?holder=eve").await.0, 404);
    let revoke = format!("{vpn}/revoke");
    let one = site.post(&admin, &revoke, json!({"why": "shared", "holder": "bob"})).await;
    assert_eq!((one.0, one.1["holders"][0]["revoked"].clone()), (200, json!(true)), "{}", one.1);
    event.wait_told(&id, &[(&ada_id, 1)]).await;
    assert_eq!(event.profile(&bob, &id, "").await.0, 403);
    assert_eq!(code(&site.post(&bob, &rotate, json!({})).await), (403, "openvpn_config_revoked"));
    let (_, seen) = site.get(&admin, &vpn).await;
    let short =
        |it: &Value| format!("{} {} {} {}", it["name"], it["kind"], it["serial"], it["revoked"]);
    let listed: Vec<_> = seen["holders"].as_array().unwrap().iter().map(short).collect();
    assert_eq!(listed, ["\"ada\" \"member\" 1 false", "\"bob\" \"member\" 2 true"], "{seen}");
    let all = site.post(&admin, &rotate, json!({})).await;
    assert_eq!(all.1["holders"].as_array().map(Vec::len), Some(2), "{}", all.1);
    event.wait_told(&id, &[(&ada_id, 2), (&bob_id, 3)]).await;

    // One profile at two addresses is seen.
    let line = |from: &str| {
        format!("CLIENT_LIST\t{ada_id}.2\t{from}\t10.82.0.2\t\t3\t4\tx\t1795942800\tUNDEF\t0\t0\tC")
    };
    let output = format!("{}\n{}\n", line("198.51.100.7:1"), line("203.0.113.9:2"));
    let outcome = crate::runtime::ExecOutcome { code: 0, output };
    site.rig.engine.script_exec("openvpn", [outcome]);
    let (_, seen) = site.get(&admin, &vpn).await;
    assert_eq!(seen["holders"][0]["shared"], true, "{seen}");
    assert_eq!(seen["holders"][0]["connected_from"], json!(["198.51.100.7", "203.0.113.9"]));
    assert_eq!(seen["holders"][1]["shared"], false);

    // A token of the team is nobody's, where its members are known.
    let membership = crate::model::Membership {
        competition: "default".parse().unwrap(),
        team: team.parse().unwrap(),
    };
    let caller = crate::model::Caller::of_team(membership, "tt".to_owned());
    let own = crate::daemon::platform::VpnTarget::Own;
    let refused = event.daemon.platform().vpn_profile(&caller, &id, own).await.unwrap_err();
    assert!(refused.to_string().contains("use a token of your account"), "{refused}");
    event.daemon.stop().await;
}
