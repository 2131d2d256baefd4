//! Every route with an id in its path is asked, by everybody whom the object does not belong to, for
//! one that is somebody else's and for one that is not there: both answers are the same, and nothing is
//! done. The routes come from our own OpenAPI document, so a new one is asked too.
//!
//! A new kind of id fails here until [`World::objects`] says what a foreign and an absent one are; an
//! answer that has to differ is a row of [`DIFFERS`], with the reason.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, json};

use super::contests::{Event, text, wait};
use super::*;

/// Where a foreign object is answered otherwise than an absent one, by how the path begins and the
/// name in it, and why that is right.
const DIFFERS: &[(&str, &str, &str)] = &[
    (
        "/instances/{instance_id}",
        "instance_id",
        "403 for another team's, as the contract wants; ids are drawn by lot and tell nothing",
    ),
    ("/competitions/{competition_id}/instances/{instance_id}", "instance_id", "as without it"),
    ("/teams/{team_id}", "team_id", "who takes part is public"),
    (
        "/competitions/{competition_id}/teams/{team_id}/join-request",
        "team_id",
        "who takes part is public",
    ),
    (
        "/competitions/{competition_id}/team/members/{user_id}",
        "user_id",
        "a captain is told `user_not_found` or `not_team_member`, as the contract wants; ids are drawn by lot",
    ),
    (
        "/competitions/{competition_id}/invites/{invite_id}/",
        "invite_id",
        "whom it is for and of which kind it is, as the contract wants; ids are drawn by lot, and no code is told",
    ),
];

/// A challenge that nobody may know of yet.
const LATER: &str = "name: Later\ndescription: Read it.\ndifficulty: easy\ntags: [t]\ncategory: web\n\
    release_at: 2099-01-01T00:00:00Z\nquestions:\n  - id: flag\n    prompt: What?\n    answer: x\n";

/// A foreign object and one that is not there.
type Pair = (String, String);

/// An event with somebody's objects in it, and others who want them.
struct World {
    event: Event,
    /// Who wants what is not theirs, by what they are.
    strangers: Vec<(&'static str, String)>,
    /// Whose everything is.
    owner: String,
    objects: BTreeMap<&'static str, Pair>,
}

impl World {
    async fn new() -> Self {
        let event = Event::with(&[("WEB/WEB-009/metadata.yaml", LATER)]).await;
        let site = &event.site;
        let boss = site.sign_up("boss").await;
        let (owner, eve) = (site.sign_up("owner").await, site.sign_up("eve").await);
        let enter = async |token: &str, name: &str| {
            let entered =
                event.enter(token, "default", json!({"mode": "create", "name": name})).await;
            assert_eq!(entered.0, 201, "{}", entered.1);
            entered.1
        };
        let team = enter(&owner, "own").await;
        enter(&eve, "other").await;
        let (status, started) = event.start(&owner, "WEB-001", "default").await;
        assert_eq!(status, 202, "{started}");
        let instance = text(&started["id"]);
        let path = format!("/instances/{instance}/status");
        wait("the instance to be ready", async || {
            site.get(&owner, &path).await.1["status"] == "ready"
        })
        .await;
        // A draft is for administrators only.
        let hidden = json!({"title": "Hidden"});
        let (status, hidden) = site.post(&boss, "/admin/competitions", hidden).await;
        assert!((200..300).contains(&status), "{hidden}");
        let invite = site.post(&owner, "/competitions/default/invites", json!({})).await;
        assert!((200..300).contains(&invite.0), "{}", invite.1);
        let (_, tokens) = site.get(&owner, "/auth/tokens").await;
        let (_, me) = site.get(&owner, "/me").await;
        let (_, minted) = site.post(&eve, "/auth/tokens", json!({"label": "all"})).await;
        let (_, of_team) = site
            .post(&boss, "/admin/tokens", json!({"team": "third", "competition": "default"}))
            .await;
        let mut strangers = vec![
            ("nobody", String::new()),
            ("a made-up token", "pt_made-up".to_owned()),
            ("another player", eve),
            ("a token of another player", text(&minted["token"])),
            ("another team", text(&of_team["token"])),
        ];
        let front = json!({"name": "front", "mode": "team", "competition_id": "default"});
        let (status, front) = site.post(&boss, "/integrations/ctfd", front).await;
        assert_eq!(status, 201, "{front}");
        strangers.push(("a CTFd", text(&front["token"])));
        let node = json!({"url": "http://127.0.0.1:40999"});
        let (status, node) = site.post(&site.admin(), "/nodes/register", node).await;
        assert_eq!(status, 200, "{node}");
        strangers.push(("a node", text(&node["token"])));
        let no_uuid = || "00000000-0000-4000-8000-000000000000".to_owned();
        let no_id = || "AAAAAAAAAAAAAAAA".to_owned();
        let objects = BTreeMap::from([
            ("instance_id", (instance, no_uuid())),
            ("team_id", (text(&team["id"]), no_uuid())),
            ("user_id", (text(&me["id"]), no_uuid())),
            ("competition_id", (text(&hidden["id"]), "no-such".to_owned())),
            ("invite_id", (text(&invite.1["id"]), no_id())),
            ("token_id", (text(&tokens["items"][0]["token_id"]), no_id())),
            ("challenge_id", ("WEB-009".to_owned(), "WEB-999".to_owned())),
            ("node_id", ("local".to_owned(), "elsewhere".to_owned())),
            ("integration_id", (text(&front["id"]), no_uuid())),
            ("identity_id", (no_id(), no_id())),
        ]);
        for (name, (foreign, absent)) in &objects {
            assert!(!foreign.is_empty() && !absent.is_empty(), "there is no {name}");
        }
        assert!(strangers.iter().skip(1).all(|(_, token)| !token.is_empty()));
        Self { event, strangers, owner, objects }
    }

    /// Asks for a team of its own where a CTFd asks, and takes out of the answer what differs between any two.
    async fn ask(&self, token: &str, method: &str, path: &str, ids: &Pair, body: Value) -> String {
        let (mut path, mut body) = (path.to_owned(), body);
        if path.starts_with("/integrations/ctfd/instances/") {
            path.push_str("?team_id=1");
            if body.is_object() {
                body["team_id"] = 1.into();
            }
        }
        let (status, mut answer) = self.event.site.call(token, method, &path, body).await;
        if let Some(fields) = answer.as_object_mut() {
            fields.remove("timestamp");
        }
        let text = answer.to_string().replace(&ids.0, "ID").replace(&ids.1, "ID");
        format!("{status} {text}")
    }
}

/// Names that stand for nothing that belongs to somebody: words, numbers of releases, files.
const NOBODY_S: &[&str] = &[
    "announcement_id",
    "evidence_id",
    "generation",
    "id",
    "key",
    "kind",
    "number",
    "path",
    "provider",
    "question_id",
    "session_id",
    "sha",
    "tag",
];

/// The smallest body that a schema of `document` takes.
fn sample(document: &Value, schema: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return sample(document, &document.pointer(&reference[1..]).cloned().unwrap_or_default());
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(first) = schema[choice].get(0) {
            return sample(document, first);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten();
            let names = required.filter_map(Value::as_str);
            let member =
                |name: &str| (name.to_owned(), sample(document, &schema["properties"][name]));
            Value::Object(names.map(member).collect::<Map<_, _>>())
        }
        Some("array") => json!([]),
        Some("integer" | "number") => schema["minimum"].as_i64().unwrap_or(1).into(),
        Some("boolean") => false.into(),
        Some(_) | None => {
            let n = schema["minLength"].as_u64().unwrap_or(1).max(1);
            "x".repeat(usize::try_from(n).unwrap_or(1)).into()
        }
    }
}

/// The names in braces.
fn holes(path: &str) -> Vec<&str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
}

/// `path` with `hole` replaced by `id` and every other one by what `objects` has, in a competition
/// that everybody is in.
fn fill(path: &str, hole: &str, id: &str, objects: &BTreeMap<&'static str, Pair>) -> String {
    let mut filled = path.to_owned();
    for name in holes(path) {
        let value = match name {
            it if it == hole => id,
            "competition_id" => "default",
            it => objects.get(it).map_or("1", |(foreign, _)| foreign.as_str()),
        };
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    filled
}

#[tokio::test]
async fn a23_what_is_somebody_else_s_looks_like_what_is_not_there() {
    let world = World::new().await;
    let (_, document) = status_and_json(ask("GET", "/openapi.json", None)).await;
    let (mut new, mut known, mut n_asked) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(path) = path.strip_prefix("/api/v1") else { continue };
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let body = if schema.is_null() { Value::Null } else { sample(&document, schema) };
            let method = method.to_uppercase();
            for hole in holes(path) {
                let Some(ids) = world.objects.get(hole) else {
                    assert!(
                        NOBODY_S.contains(&hole),
                        "{method} {path}: say in `World::objects` whose `{hole}` is, or in \
                         `NOBODY_S` that it is nobody's"
                    );
                    continue;
                };
                for (who, token) in &world.strangers {
                    let at = |id: &str| fill(path, hole, id, &world.objects);
                    let theirs = world.ask(token, &method, &at(&ids.0), ids, body.clone()).await;
                    let absent = world.ask(token, &method, &at(&ids.1), ids, body.clone()).await;
                    n_asked += 1;
                    assert!(
                        !theirs.starts_with('5') || theirs.starts_with("501"),
                        "{method} {path}: {theirs}"
                    );
                    if theirs == absent {
                        continue;
                    }
                    let row = DIFFERS.iter().find(|(begin, name, _)| {
                        *name == hole && path.starts_with(begin) && !theirs.starts_with("5")
                    });
                    match row {
                        Some((begin, name, _)) => known.insert((*begin, *name)),
                        None => new.insert(format!(
                            "  {method} {path} {hole}\n      {who}: {theirs:.160}\n      absent: {absent:.160}\n"
                        )),
                    };
                }
            }
        }
    }
    assert!(n_asked > 300, "{n_asked}");
    assert!(
        new.is_empty(),
        "who is refused learns what there is; mend it, or say in `DIFFERS` why it is right:\n{}",
        new.into_iter().collect::<String>()
    );
    let stale = DIFFERS.iter().filter(|(begin, name, _)| !known.contains(&(*begin, *name)));
    assert_eq!(
        stale.collect::<Vec<_>>(),
        Vec::<&(&str, &str, &str)>::new(),
        "these do not differ any more"
    );

    // Nobody did anything to it.
    let (instance, _) = &world.objects["instance_id"];
    let (status, own) = world.event.site.get(&world.owner, &format!("/instances/{instance}")).await;
    assert_eq!((status, &own["status"]), (200, &json!("ready")), "{own}");
    let (team, _) = &world.objects["team_id"];
    let (_, own) = world.event.site.get(&world.owner, &format!("/teams/{team}")).await;
    assert_eq!(own["name"], "own", "{own}");
    world.event.daemon.stop().await;
}
