//! An author pushes a mistake and reads the verdict: as an event, over HTTP, and with the program on
//! their own machine, word for word the same.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::{Challenge, Client, Daemon, PATIENCE, Stage, command, until};

/// The stream of verdicts.
struct Verdicts {
    lines: BufReader<TcpStream>,
}

impl Verdicts {
    async fn of(daemon: &Daemon) -> Self {
        let url = daemon.url();
        let address = url.strip_prefix("http://").expect("it is http");
        let mut stream = TcpStream::connect(address).await.expect("the daemon listens");
        let head = format!(
            "GET /api/v1/gitops/events HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\r\n",
            daemon.admin().token()
        );
        stream.write_all(head.as_bytes()).await.expect("the request can be sent");
        let mut verdicts = Self { lines: BufReader::new(stream) };
        verdicts.line_with(": connected").await;
        verdicts
    }

    /// The next line that begins so; what follows.
    async fn line_with(&mut self, begin: &str) -> String {
        let found = async {
            loop {
                let mut line = String::new();
                let n_read = self.lines.read_line(&mut line).await.expect("the stream is text");
                assert!(n_read > 0, "the stream ended");
                if let Some(rest) = line.strip_prefix(begin) {
                    return rest.trim().to_owned();
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("an event comes in time")
    }

    /// The verdict on `revision`.
    async fn on(&mut self, revision: &str) -> Value {
        loop {
            // Conditions come in between; the id and the data follow the name.
            self.line_with("event: verdict").await;
            let data = self.line_with("data:").await;
            let verdict: Value = serde_json::from_str(&data).expect("an event is JSON");
            if verdict["revision"] == revision {
                return verdict;
            }
        }
    }
}

async fn findings(admin: &Client, revision: &str) -> Value {
    admin.get(&format!("/gitops/revisions/{revision}/findings")).await.expect_status(200).body
}

/// What `flagops check` says of a commit of the author's own clone.
fn checked(stage: &Stage, revision: &str) -> (Option<i32>, Value) {
    let folder = stage.remote.file("");
    let output = command(&[])
        .current_dir(folder)
        .args(["check", "--rev", revision, "--format", "json"])
        .output()
        .expect("the program can be run");
    let report = serde_json::from_slice(&output.stdout).expect("the report is JSON");
    (output.status.code(), report)
}

/// The issues of the server as the program writes them: one field has another name.
fn renamed(issues: &Value) -> Vec<BTreeMap<String, Value>> {
    let rows = issues.as_array().expect("issues are a list").iter();
    rows.map(|row| {
        let fields = row.as_object().expect("an issue is an object").iter();
        let name = |key: &str| if key == "challenge_id" { "challenge" } else { key }.to_owned();
        fields.map(|(key, value)| (name(key), value.clone())).collect()
    })
    .collect()
}

#[tokio::test]
async fn a_verdict_is_the_same_as_an_event_over_http_and_on_the_author_s_machine() {
    let stage = Stage::with(&[Challenge::web("WEB-301", "one")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-301").await;
    let admin = daemon.admin();
    let mut verdicts = Verdicts::of(&daemon).await;

    let path = "WEB/WEB-301/metadata.yaml";
    let good = std::fs::read_to_string(stage.remote.file(path)).expect("the author's file");
    stage.remote.write(path, good.replace("difficulty: easy", "difficulty: impossible"));
    stage.remote.put(&Challenge::web("WEB-302", "new"));
    let broken = stage.remote.push("break one, add another");

    let verdict = verdicts.on(&broken).await;
    assert_eq!(verdict["changed"], serde_json::json!(["WEB-301", "WEB-302"]));
    assert_eq!((&verdict["challenges"], &verdict["n_valid"]), (&2.into(), &1.into()));

    let of_server = findings(&admin, &broken).await;
    let is_named = |issue: &Value| {
        issue["rule"] == "META003" && issue["path"] == path && issue["blocks"] == true
    };
    assert!(of_server["issues"].as_array().is_some_and(|all| all.iter().any(is_named)));
    let errors = of_server["issues"].as_array().into_iter().flatten();
    let n_errors = errors.filter(|issue| issue["severity"] == "error").count();
    assert_eq!(verdict["n_errors"], n_errors);

    let (code, of_author) = checked(&stage, &broken);
    assert_eq!(code, Some(1), "{of_author}");
    assert_eq!(of_author["challenges"], of_server["challenges"]);
    assert_eq!(renamed(&of_server["issues"]), renamed(&of_author["issues"]));

    // Mended; the verdict on the commit before can still be read, by its first digits too.
    stage.remote.write(path, good);
    let mended = stage.remote.push("mend it");
    let verdict = verdicts.on(&mended).await;
    assert_eq!(verdict["changed"], serde_json::json!(["WEB-301"]));
    assert_eq!(verdict["n_valid"], 2);
    assert_eq!(findings(&admin, &broken[..9]).await, of_server);
    until("the challenge is stated valid", PATIENCE, || async {
        let row = admin.challenge("WEB-301").await?;
        if row["valid"] == true { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    let shown = daemon.cli(&["challenges", "show", "WEB-301"]).fine();
    assert!(shown.contains("runs"), "{shown}");
}
