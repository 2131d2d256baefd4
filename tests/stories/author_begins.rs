//! An author begins challenges with `flagops new`, pushes them as they are, and they are solved by
//! the solutions that came with them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::examples::exploit;
use crate::support::{Daemon, Finished, Stage, command, until};

/// The builds install packages.
const BUILD_PATIENCE: Duration = Duration::from_secs(900);

/// What a run on a laptop builds: category and stack.
const SOME: &[(&str, &str)] =
    &[("web", "python"), ("web", "static"), ("pwn", "c"), ("crypto", "python")];
/// What CI builds, which takes minutes: everything that runs. A gateway's base image comes from the
/// platform.
const ALL: &[(&str, &str)] = &[
    ("web", "python"),
    ("web", "python-flask"),
    ("web", "node"),
    ("web", "node-express"),
    ("web", "ruby-sinatra"),
    ("web", "php"),
    ("web", "php-apache"),
    ("web", "go"),
    ("web", "static"),
    ("pwn", "c"),
    ("crypto", "python"),
    ("misc", "service"),
];

#[tokio::test]
async fn a_new_challenge_runs_at_once_and_is_solved_by_its_solution() {
    let is_ci = std::env::var_os("CI").is_some();
    begin_push_and_solve(if is_ci { ALL } else { SOME }).await;
}

async fn begin_push_and_solve(scaffolds: &[(&str, &str)]) {
    let stage = Stage::set().await;
    let made: Vec<Value> = scaffolds.iter().map(|(kind, stack)| new(&stage, kind, stack)).collect();
    stage.remote.push("new challenges");
    let daemon = Daemon::start(stage.settings()).await;
    let admin = daemon.admin();
    until("every new challenge is live", BUILD_PATIENCE, || async {
        let mut waiting = Vec::new();
        for challenge in &made {
            let id = text(challenge, "id");
            let row = admin.challenge(id).await?;
            assert!(!["invalid", "failed"].contains(&text(&row, "state")), "{row}");
            if row["state"] != "live" {
                waiting.push(format!("{id}: {}", row["images"]));
            }
        }
        if waiting.is_empty() { Ok(()) } else { Err(waiting.join("\n")) }
    })
    .await;

    let red = daemon.team("red").await;
    for challenge in &made {
        let id = text(challenge, "id");
        let instance = red.play(id).await;
        let answers = exploit(&stage.remote.file(text(challenge, "path")), &instance);
        assert_eq!(answers.len(), 1, "{challenge}");
        for (question, answer) in answers {
            let graded = red.submit(&instance.id, &question, json!(answer)).await;
            assert_eq!(graded.body["correct"], true, "{question} of {challenge}");
        }
        red.gone(&instance.id).await;
    }
    daemon.nothing_left().await;
}

/// What `flagops new` says about the challenge that it made.
fn new(stage: &Stage, kind: &str, stack: &str) -> Value {
    let mut command = command(&[]);
    command.current_dir(stage.remote.file(""));
    command.args(["new", "--category", kind, "--stack", stack, "--format", "json"]);
    serde_json::from_str(&Finished::of(&mut command).fine()).expect("the answer is JSON")
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("`{key}` is text in {value}"))
}
