//! Two teams download the files of one challenge: each gets its own answers, nothing of the other's,
//! and nobody gets what is not listed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Challenge, Client, Daemon, PATIENCE, Ready, Stage, until};

const LETTER: &str = "{% include 'head.txt' %}\nThe word is {{ answer.flag }}.\n\
                      nc {{ service.web.host }} {{ service.web.port }}\n";

fn challenge(id: &str) -> Challenge {
    Challenge::rotated(id)
        .with("attachments/head.txt", "To {{ team.name }}, visit {{ instance.id }}")
        .with("attachments/sub/letter.txt.tpl", LETTER)
        .with("attachments/plain.txt", "for everybody\n")
}

/// A raw answer: status, headers and bytes.
struct Raw {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Raw {
    fn header(&self, name: reqwest::header::HeaderName) -> String {
        let value = self.headers.get(&name).unwrap_or_else(|| panic!("no {name}"));
        value.to_str().expect("our headers are ASCII").to_owned()
    }
}

async fn ask(
    daemon: &Daemon,
    client: &Client,
    method: Method,
    path: &str,
    headers: &[(reqwest::header::HeaderName, &str)],
) -> Raw {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client can be made");
    let url = format!("{}/api/v1{path}", daemon.url());
    let mut request = http.request(method, &url).bearer_auth(client.token());
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let response = request.send().await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.expect("the answer can be read").to_vec();
    Raw { status, headers, body }
}

async fn letter(daemon: &Daemon, client: &Client, id: &str) -> String {
    let path = format!("/instances/{id}/attachments/sub/letter.txt");
    let raw = ask(daemon, client, Method::GET, &path, &[]).await;
    assert_eq!(raw.status, 200, "{}", String::from_utf8_lossy(&raw.body));
    String::from_utf8(raw.body).expect("it is text")
}

#[tokio::test]
async fn two_teams_hold_their_own_answer_and_nothing_of_the_other() {
    let stage = Stage::with(&[challenge("WEB-731")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-731").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let (ours, theirs) = (red.play("WEB-731").await, blue.play("WEB-731").await);
    let flags = [ours.flag("/flag").await, theirs.flag("/flag").await];
    assert_ne!(flags[0], flags[1]);
    for (client, name, instance, own, other) in
        [(&red, "red", &ours, &flags[0], &flags[1]), (&blue, "blue", &theirs, &flags[1], &flags[0])]
    {
        let text = letter(&daemon, client, &instance.id).await;
        let (host, port) = instance.first();
        let id = &instance.id;
        let wanted = format!("To {name}, visit {id}\nThe word is {own}.\nnc {host} {port}\n");
        assert_eq!(text, wanted);
        assert!(!text.contains(other.as_str()));
        let listed = client.get(&format!("/instances/{id}/attachments")).await.body;
        let letter = json!({"name": "sub/letter.txt", "size": wanted.len()});
        assert!(listed["files"].as_array().expect("a list").contains(&letter), "{listed}");
    }
    nobody_gets_a_file_of_another_team(&daemon, (&red, &ours), (&blue, &theirs)).await;
    only_what_is_listed_is_handed_out(&daemon, &red, &ours).await;
    parts_are_parts(&daemon, &red, &ours).await;
    for (client, instance) in [(&red, &ours), (&blue, &theirs)] {
        client.stop(&instance.id).await;
    }
    daemon.nothing_left().await;
    let left = std::fs::read_dir(daemon.data_dir().join("instances")).expect("it was made");
    assert_eq!(left.count(), 0, "files of instances that are over are gone");
}

async fn nobody_gets_a_file_of_another_team(
    daemon: &Daemon,
    (red, ours): (&Client, &Ready),
    (blue, theirs): (&Client, &Ready),
) {
    let path = |instance: &Ready| format!("/instances/{}/attachments/plain.txt", instance.id);
    let first = ask(daemon, red, Method::GET, &path(ours), &[]).await;
    let second = ask(daemon, blue, Method::GET, &path(theirs), &[]).await;
    assert_eq!(first.body, second.body);
    assert_ne!(first.header(ETAG), second.header(ETAG), "equal bytes, another instance");
    assert_eq!(first.header(reqwest::header::CACHE_CONTROL), "private, no-cache");
    let known = [(IF_NONE_MATCH, &*first.header(ETAG))];
    assert_eq!(ask(daemon, red, Method::GET, &path(ours), &known).await.status, 304);
    assert_eq!(ask(daemon, blue, Method::GET, &path(theirs), &known).await.status, 200);
    for name in ["plain.txt", "sub/letter.txt", "nothing.txt"] {
        let path = format!("/instances/{}/attachments/{name}", ours.id);
        let refused = blue.get(&path).await.expect_refusal(403, "forbidden");
        assert_eq!(refused.body["detail"], "Not your instance", "the same for any name");
    }
}

async fn only_what_is_listed_is_handed_out(daemon: &Daemon, red: &Client, ours: &Ready) {
    let long = "a".repeat(5000);
    for name in [
        "sub/letter.txt.tpl",
        "letter.txt",
        "sub",
        "sub/",
        ".git/config",
        "solution/exploit.py",
        "metadata.yaml",
        "..%2fmetadata.yaml",
        "%2e%2e%2f%2e%2e%2fmetadata.yaml",
        "..%5cmetadata.yaml",
        "%2fetc%2fpasswd",
        "sub%2f.%2fletter.txt",
        "sub%2f%2e%2fletter.txt",
        "plain.txt%00",
        "C:%5cx",
        "plain.txt%0d%0aSet-Cookie:%20x%3d1",
        "plain.txt%22",
        "0",
        "rendered.json",
        &long,
    ] {
        for base in [format!("/instances/{}", ours.id), "/challenges/WEB-731".to_owned()] {
            let path = format!("{base}/attachments/{name}");
            let raw = ask(daemon, red, Method::GET, &path, &[]).await;
            let body: Value = serde_json::from_slice(&raw.body).unwrap_or_default();
            assert_eq!(
                (raw.status.as_u16(), &body["detail"]),
                (404, &json!("attachment not found")),
                "{path}"
            );
        }
    }
    let early = "/challenges/WEB-731/attachments/sub/letter.txt";
    assert_eq!(ask(daemon, red, Method::GET, early, &[]).await.status, 404, "no instance, no text");
    let listed = red.get("/challenges/WEB-731/attachments").await.body.to_string();
    assert!(listed.contains("sub/letter.txt") && !listed.contains(".tpl"), "{listed}");
}

async fn parts_are_parts(daemon: &Daemon, red: &Client, ours: &Ready) {
    let path = format!("/instances/{}/attachments/sub/letter.txt", ours.id);
    let whole = ask(daemon, red, Method::GET, &path, &[]).await;
    let (size, tag) = (whole.body.len(), whole.header(ETAG));
    let head = ask(daemon, red, Method::HEAD, &path, &[]).await;
    assert_eq!((head.header(CONTENT_LENGTH), head.body.len()), (size.to_string(), 0));
    assert_eq!(head.header(ETAG), tag);
    let part =
        ask(daemon, red, Method::GET, &path, &[(RANGE, "bytes=3-5"), (IF_RANGE, &tag)]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &whole.body[3..6]));
    assert_eq!(part.header(CONTENT_RANGE), format!("bytes 3-5/{size}"));
    let many = format!("bytes={}0-", "0-,".repeat(1_000));
    for (range, status) in [
        ("bytes=18446744073709551616-", 416),
        ("bytes=-18446744073709551616", 206),
        ("bytes=-0", 416),
        (many.as_str(), 200),
    ] {
        let raw = ask(daemon, red, Method::GET, &path, &[(RANGE, range)]).await;
        assert_eq!(raw.status.as_u16(), status, "{}", &range[..range.len().min(40)]);
    }
    let changed = [(RANGE, "bytes=3-5"), (IF_RANGE, "\"other\"")];
    assert_eq!(ask(daemon, red, Method::GET, &path, &changed).await.body, whole.body);
}

/// Its service makes the binary that it serves from the answers of its team.
fn making(id: &str) -> Challenge {
    const MAKE: &str = "#!/bin/sh\nset -eu\nmkdir -p /srv/out\n{ printf '\\177ELF '; cat /answers/flag; } >/srv/out/chal\n\
                        chmod 0755 /srv/out/chal\nexec httpd -f -p 8080 -h /answers\n";
    let exports =
        "exports:\n  - {service: web, path: /srv/out/chal, as: bin/chal, per_team: true}\n";
    let rotated = challenge(id);
    let metadata = format!("{}{exports}", rotated.files["metadata.yaml"]);
    rotated.with("metadata.yaml", metadata).with("services/web/make.sh", MAKE).with(
        "services/web/Dockerfile",
        "FROM busybox:latest\nCOPY make.sh /make.sh\nCMD [\"/make.sh\"]\n",
    )
}

#[tokio::test]
async fn each_team_downloads_the_very_binary_that_its_service_made() {
    let stage = Stage::with(&[making("WEB-732")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-732").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let early = ask(&daemon, &red, Method::GET, "/challenges/WEB-732/attachments/bin/chal", &[]);
    assert_eq!(early.await.status, 404, "nobody has one before a start");
    let (ours, theirs) = (red.play("WEB-732").await, blue.play("WEB-732").await);
    let flags = [ours.flag("/flag").await, theirs.flag("/flag").await];
    let path = |instance: &Ready| format!("/instances/{}/attachments/bin/chal", instance.id);
    for (client, instance, flag) in [(&red, &ours, &flags[0]), (&blue, &theirs, &flags[1])] {
        let raw = ask(&daemon, client, Method::GET, &path(instance), &[]).await;
        assert_eq!(raw.status, 200);
        assert_eq!(raw.body, format!("\u{7f}ELF {flag}").into_bytes());
        let listed = client.get(&format!("/instances/{}", instance.id)).await.body;
        let wanted = json!({"name": "bin/chal", "size": raw.body.len()});
        assert!(listed["attachments"].as_array().expect("a list").contains(&wanted), "{listed}");
    }
    red.get(&path(&theirs)).await.expect_refusal(403, "forbidden");
    grep_everything(&daemon, &[&ours, &theirs], &flags).await;
    for (client, instance) in [(&red, &ours), (&blue, &theirs)] {
        client.stop(&instance.id).await;
    }
    daemon.nothing_left().await;
    let left = std::fs::read_dir(daemon.data_dir().join("collected")).expect("it was made");
    assert_eq!(left.count(), 0, "files of instances that are over are gone");
}

#[tokio::test]
async fn t14_answers_are_where_they_belong_only() {
    let stage = Stage::with(&[challenge("WEB-734")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-734").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let (ours, theirs) = (red.play("WEB-734").await, blue.play("WEB-734").await);
    let flags = [ours.flag("/flag").await, theirs.flag("/flag").await];
    for (client, instance) in [(&red, &ours), (&blue, &theirs)] {
        letter(&daemon, client, &instance.id).await;
    }
    grep_everything(&daemon, &[&ours, &theirs], &flags).await;
    for (client, instance) in [(&red, &ours), (&blue, &theirs)] {
        client.stop(&instance.id).await;
    }
    daemon.nothing_left().await;
}

/// Greps everything that we show, log or hand to the engine for the answers of two instances.
async fn grep_everything(daemon: &Daemon, instances: &[&Ready], flags: &[String; 2]) {
    let bodies: Vec<&str> = flags.iter().map(|flag| &flag[5..flag.len() - 1]).collect();
    let holds = |text: &str| bodies.iter().any(|body| text.contains(body));
    let admin = daemon.admin();
    for path in [
        "/instances",
        "/gitops/conditions",
        "/gitops/builds",
        "/gitops/challenges",
        "/gitops/events",
        "/challenges",
        "/meta",
    ] {
        if let Ok(reply) = admin.try_get(path).await {
            assert!(!holds(&reply.body.to_string()), "{path}");
        }
    }
    let metrics = admin.at(&format!("{}/metrics", daemon.url())).await.expect("it answers");
    assert!(!holds(&metrics.body.to_string()), "metrics");
    assert!(!holds(&daemon.log()), "the log");
    let engine = daemon.engine();
    for instance in instances {
        for path in ["", "/status", "/attachments"] {
            let reply = admin.get(&format!("/instances/{}{path}", instance.id)).await;
            assert!(!holds(&reply.body.to_string()), "{path}");
        }
        for container in engine.ids_of(&instance.id) {
            let seen = engine.docker(&["inspect", &container]).expect("it exists");
            let seen: Value = serde_json::from_str(&seen).expect("inspect says JSON");
            let is_rotator = seen[0]["Config"]["Env"].to_string().contains("ANSWER_FLAG");
            assert_eq!(
                holds(&seen.to_string()),
                is_rotator,
                "only the rotator's environment: {seen}"
            );
            assert!(!holds(&seen[0]["Config"]["Labels"].to_string()), "labels");
            let image = seen[0]["Image"].as_str().expect("it has an image");
            let history = engine.docker(&["history", "--no-trunc", image]).expect("it has one");
            assert!(!holds(&history), "history");
        }
    }
    grep_disk(daemon.data_dir(), &|path, bytes| {
        let text = String::from_utf8_lossy(bytes);
        let is_theirs = path
            .components()
            .any(|it| ["instances", "collected"].iter().any(|of| it.as_os_str() == *of));
        assert!(!holds(&text) || is_theirs, "{}", path.display());
    });
}

fn grep_disk(root: &Path, look: &dyn Fn(&Path, &[u8])) {
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("the data directory can be read") {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                look(&path, &bytes);
            }
        }
    }
}

#[tokio::test]
async fn a_kill_around_the_files_of_players_loses_and_doubles_nothing() {
    let stage = Stage::with(&[making("WEB-732")]).await;
    let mut daemon = stage.serve().await;
    daemon.live("WEB-732").await;
    let red = daemon.team("red").await;
    for point in [
        "daemon.render_attachments.before",
        "daemon.render_attachments.after",
        "daemon.keep_collected.before",
        "daemon.keep_collected.after",
    ] {
        daemon.stop().await;
        daemon.relaunch_with("FLAGOPS_TEST_KILL", point);
        daemon.ready().await;
        let asked = red.try_post("/instances", json!({"challenge_id": "WEB-732"})).await;
        let id = asked.expect("it is committed before any file is made").text("id");
        daemon.buried();
        daemon.restart().await;
        let instance = red.ready(&id).await;
        let flag = instance.flag("/flag").await;
        assert!(letter(&daemon, &red, &id).await.contains(&flag));
        let made = format!("/instances/{id}/attachments/bin/chal");
        let made = ask(&daemon, &red, Method::GET, &made, &[]).await;
        assert_eq!(made.body, format!("\u{7f}ELF {flag}").into_bytes());
        for folder in ["instances", "collected"] {
            let home = daemon.data_dir().join(folder).join(&id);
            assert_eq!(std::fs::read_dir(home).expect("it is made").count(), 1, "{folder}");
        }
        red.stop(&id).await;
        daemon.nothing_left().await;
    }
    let id = red.play("WEB-732").await.id;
    daemon.stop().await;
    daemon.relaunch_with("FLAGOPS_TEST_KILL", "daemon.discard_attachments.before");
    daemon.ready().await;
    // The answer may be cut off with the daemon.
    let _ = red.try_delete(&format!("/instances/{id}")).await;
    daemon.buried();
    daemon.restart().await;
    red.gone(&id).await;
    until("its files are gone", PATIENCE, || {
        let left = ["instances", "collected"]
            .iter()
            .any(|folder| daemon.data_dir().join(folder).join(&id).exists());
        std::future::ready(if left { Err("they are there".to_owned()) } else { Ok(()) })
    })
    .await;
    daemon.nothing_left().await;
}

/// A web challenge that hands out the file `path` of its image as `page.txt`.
fn exporting(id: &str, path: &str) -> Challenge {
    let web = Challenge::web(id, "one");
    let exports = format!("exports:\n  - {{service: web, path: {path}, as: page.txt}}\n");
    let metadata = format!("{}{exports}", web.files["metadata.yaml"]);
    web.with("metadata.yaml", metadata)
}

#[tokio::test]
async fn a_file_of_the_image_is_the_same_for_everybody_and_none_goes_live_without() {
    let stage = Stage::with(&[exporting("WEB-733", "/www/nothing")]).await;
    let daemon = stage.serve().await;
    let admin = daemon.admin();
    let why = "exports[0]: /www/nothing is not in the image of service web";
    until("it is said what is missing", PATIENCE, || async {
        let stated = admin.condition("challenge/WEB-733", "Released").await?;
        if stated["reason"] == "ExportMissing" && stated["message"] == why {
            Ok(())
        } else {
            Err(stated.to_string())
        }
    })
    .await;
    assert_eq!(admin.challenge("WEB-733").await.expect("it is known")["live"], Value::Null);
    stage.remote.put(&exporting("WEB-733", "/www/version"));
    stage.remote.push("the file that is there");
    admin.reconcile().await;
    daemon.live("WEB-733").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let (ours, theirs) = (red.play("WEB-733").await, blue.play("WEB-733").await);
    let (first, second) = (format!("/instances/{}", ours.id), format!("/instances/{}", theirs.id));
    let mut tags = std::collections::BTreeSet::new();
    for (client, base) in [(&red, "/challenges/WEB-733"), (&red, &first), (&blue, &second)] {
        let path = format!("{base}/attachments/page.txt");
        let raw = ask(&daemon, client, Method::GET, &path, &[]).await;
        assert_eq!((raw.status.as_u16(), &raw.body[..]), (200, &b"one"[..]), "{path}");
        tags.insert(raw.header(ETAG));
        let listed = client.get(&format!("{base}/attachments")).await.body;
        let file = json!({"name": "page.txt", "size": 3});
        assert!(listed["files"].as_array().expect("a list").contains(&file), "{listed}");
        let shown = client.get(base).await.body;
        assert!(shown["attachments"].as_array().expect("a list").contains(&file), "{shown}");
    }
    assert_eq!(tags.len(), 3, "a tag is of one place");
    for (client, instance) in [(&red, &ours), (&blue, &theirs)] {
        client.stop(&instance.id).await;
    }
    daemon.nothing_left().await;
}

#[test]
fn t02_the_process_that_renders_has_limits_and_no_environment() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flagops"))
        .arg("render-attachments")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary under test can be run");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    let limits = format!("/proc/{}/limits", child.id());
    let deadline = std::time::Instant::now() + PATIENCE;
    let row = |name: &str| {
        let text = std::fs::read_to_string(&limits).expect("it waits for its input");
        let line = text.lines().find(|line| line.starts_with(name)).expect("the kernel lists it");
        line[name.len()..].split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    while row("Max file size") != "0 0" {
        assert!(std::time::Instant::now() < deadline, "it never took its limits");
        std::thread::yield_now();
    }
    assert_eq!(row("Max address space"), "268435456 268435456");
    assert_eq!(row("Max cpu time"), "5 5");
    assert_eq!(row("Max core file size"), "0 0");
    // A template that cannot be rendered leaves the others alone.
    let large = json!({"name": "large.tpl", "text": "{% for i in range(1000) %}{{ team.name * 16 }}{% endfor %}"});
    let request = json!({
        "templates": [{"name": "a.tpl", "text": "{{ answer.flag }}"}, large],
        "files": {},
        "facts": {
            "answers": {"flag": "FLAG{1}"}, "instance_id": "i",
            "team": {"id": "t", "name": "t"}, "challenge": {"id": "c", "name": "c"},
            "event": {"id": "e", "name": "e"}, "services": {},
        },
    });
    stdin.write_all(request.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let mut lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("it is text"), "{\"bytes\":7}");
    assert!(lines.next().expect("a line").expect("it is text").starts_with("FLAG{1}{\"failed\":"));
    assert!(child.wait().expect("it ends").success());
}
