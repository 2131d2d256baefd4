//! An author commits a flag that nobody who reads the repository can read.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Challenge, Daemon, Finished, PATIENCE, Stage, fetch, until};

const FLAG: &str = "FLAG{kept-by-the-author-4711}";
/// What `COPY version` becomes in the challenge that means its secret.
const COPIED: &str = "COPY version /www/version\nCOPY data/flag.txt /www/secret";

/// `flagops secrets …` in the work tree of the stage.
fn secrets(stage: &Stage, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flagops"));
    command.arg("secrets").args(arguments).current_dir(stage.remote.file(""));
    Finished::of(&mut command).fine()
}

/// A challenge with an encrypted flag in its build context, and an encrypted attachment.
fn challenge(id: &str, copies: &str) -> Challenge {
    let web = Challenge::web(id, "one");
    let dockerfile =
        web.files["services/web/Dockerfile"].replace("COPY version /www/version", copies);
    web.with("services/web/Dockerfile", dockerfile)
}

/// Every file of the image of `id`, and the text of its layers and history.
fn image_of(daemon: &Daemon, row: &Value, scratch: &Path) -> (Vec<String>, Vec<u8>) {
    let image = row["images"][0]["image"].as_str().expect("it has an image");
    let engine = daemon.engine();
    let tar = scratch.join("image.tar");
    let path = tar.to_str().expect("the scratch folder is UTF-8");
    engine.docker(&["save", "-o", path, image]).expect("the engine saves the image");
    let saved = std::fs::read(&tar).expect("the image was saved");
    let listed = engine
        .docker(&["run", "--rm", "--network=none", "--entrypoint=find", image, "/www"])
        .expect("busybox has find");
    (listed.lines().map(str::to_owned).collect(), saved)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn an_encrypted_flag_is_in_the_image_that_copies_it_and_nowhere_else() {
    let stage = Stage::with(&[]).await;
    let key = stage.path("age.key");
    let recipient = secrets(&stage, &["keygen", key.to_str().expect("it is UTF-8")]);
    stage.remote.write(".age-recipients", &recipient);
    for (id, copies) in [("WEB-811", COPIED), ("WEB-812", "COPY version /www/version")] {
        stage.remote.put(&challenge(id, copies));
        let flag = format!("WEB/{id}/services/web/data/flag.txt");
        let map = format!("WEB/{id}/attachments/map.txt");
        stage.remote.write(&flag, FLAG);
        stage.remote.write(&map, format!("{FLAG} is not here\n"));
        secrets(&stage, &["encrypt", "--remove", &flag, &map]);
    }
    stage.remote.push("two challenges with a secret");

    // A node without the key builds nothing, says so, and goes on.
    let mut daemon = stage.serve().await;
    let admin = daemon.admin();
    until("the build fails for good with what to do", PATIENCE, || async {
        let page = admin.try_get("/gitops/builds?challenge_id=WEB-811").await?.body;
        let build = &page["items"][0];
        let error = build["error"].as_str().unwrap_or_default();
        let says = ["services/web/data/flag.txt.age", "secrets.identity_file", "builds retry"];
        let is_told = build["status"] == "failed" && says.iter().all(|it| error.contains(it));
        if is_told { Ok(()) } else { Err(page.to_string()) }
    })
    .await;
    assert_eq!(admin.challenge("WEB-811").await.expect("it is known")["live"], Value::Null);
    daemon.stop().await;

    // With it, the flag is where the Dockerfile puts it.
    let identity = key.to_str().expect("it is UTF-8");
    daemon.relaunch_with("FLAGOPS_SECRETS__IDENTITY_FILE", identity);
    daemon.ready().await;
    let admin = daemon.admin();
    for id in ["WEB-811", "WEB-812"] {
        until("the repository is read again", PATIENCE, || async {
            admin.challenge(id).await.map(|_| ())
        })
        .await;
        daemon.cli(&["builds", "retry", id]).fine();
        daemon.live(id).await;
    }
    let red = daemon.team("red").await;
    let instance = red.play("WEB-811").await;
    let (host, port) = instance.first();
    let secret = fetch(&format!("http://{host}:{port}/www/secret")).await;
    assert_eq!(secret.expect("the web service answers"), FLAG);
    let attachment = format!("/instances/{}/attachments", instance.id);
    let listed = red.get(&attachment).await.body;
    assert_eq!(listed["files"][0]["name"], "map.txt");
    assert_eq!(listed["files"][0]["size"], FLAG.len() + " is not here\n".len());

    let admin = daemon.admin();
    for (id, is_copied) in [("WEB-811", true), ("WEB-812", false)] {
        let row = admin.challenge(id).await.expect("it is live");
        let (files, saved) = image_of(&daemon, &row, &stage.path(""));
        assert_eq!(files.contains(&"/www/secret".to_owned()), is_copied, "{files:?}");
        assert_eq!(holds(&saved, FLAG), is_copied, "the layers of {id}");
        assert!(!holds(&saved, "AGE ENCRYPTED"), "{id} has no encrypted file either");
    }

    keeps_nothing(&daemon);
    red.stop(&instance.id).await;
    daemon.nothing_left().await;
}

/// The mirror, the database and the log never had it.
fn keeps_nothing(daemon: &Daemon) {
    let mut open = vec![daemon.data_dir().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("the data directory can be read") {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                assert!(!holds(&bytes, FLAG), "{}", path.display());
            }
        }
    }
    // Objects of git are compressed.
    let mirror = daemon.data_dir().join("mirror");
    let objects = Command::new("git")
        .arg("--git-dir")
        .arg(&mirror)
        .args(["cat-file", "--batch-all-objects", "--batch", "--unordered"])
        .output()
        .expect("git reads the mirror")
        .stdout;
    assert!(holds(&objects, "AGE ENCRYPTED FILE") && !holds(&objects, FLAG));
    let log = daemon.log();
    assert!(!log.contains(FLAG) && !log.contains("AGE-SECRET-KEY"), "{log}");
}
