//! The example repository is real: everything in it builds, starts, and is solved by its own
//! reference solution.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Daemon, Finished, Ready, Stage, python, repository_root, until};

/// The first build of the examples installs packages.
const BUILD_PATIENCE: Duration = Duration::from_secs(900);

fn folders(repo: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("the examples are in the repository");
        let paths = entries.map(|entry| entry.expect("it can be read").path());
        paths.filter(|path| path.is_dir()).collect()
    };
    let mut found: Vec<_> = entries(repo)
        .iter()
        .flat_map(|bucket| entries(bucket))
        .filter(|folder| folder.join("metadata.yaml").is_file())
        .collect();
    found.sort();
    found
}

fn name(folder: &Path) -> &str {
    folder.file_name().and_then(|name| name.to_str()).expect("ids are ASCII")
}

#[tokio::test]
async fn every_example_is_solved_by_its_own_solution() {
    let examples = repository_root().join("example-repo");
    let stage = Stage::set().await;
    let copied =
        Command::new("cp").arg("-a").arg(examples.join(".")).arg(stage.remote.file("")).status();
    assert!(copied.is_ok_and(|status| status.success()), "the examples were not copied");
    stage.remote.push("the examples");
    let daemon = Daemon::start(stage.settings()).await;
    let admin = daemon.admin();
    let folders = folders(&examples);
    assert!(folders.len() >= 5, "{folders:?}");
    until("every example is live", BUILD_PATIENCE, || async {
        let mut waiting = Vec::new();
        for folder in &folders {
            let row = admin.challenge(name(folder)).await?;
            assert_ne!(row["state"], "invalid", "{row}");
            assert_ne!(row["state"], "failed", "{row}");
            if row["state"] != "live" {
                waiting.push(format!("{}: {}", name(folder), row["images"]));
            }
        }
        if waiting.is_empty() { Ok(()) } else { Err(waiting.join("\n")) }
    })
    .await;

    let red = daemon.team("red").await;
    let mut n_solved = 0;
    // Those behind a VPN are solved in `player_connects`, by a player with a tunnel.
    let is_open = |folder: &&PathBuf| {
        let metadata = std::fs::read_to_string(folder.join("metadata.yaml"));
        let metadata = metadata.expect("every example has metadata");
        folder.join("solution/exploit.py").is_file() && !metadata.contains("engagement")
    };
    for folder in folders.iter().filter(is_open) {
        let instance = red.play(name(folder)).await;
        let answers = exploit(folder, &instance);
        assert!(!answers.is_empty(), "{} found nothing", folder.display());
        for (question, answer) in answers {
            let graded = red.submit(&instance.id, &question, json!(answer)).await;
            assert_eq!(graded.body["correct"], true, "{question} of {}", folder.display());
        }
        red.gone(&instance.id).await;
        n_solved += 1;
    }
    assert!(n_solved >= 4, "only {n_solved} examples have a solution");
    quiz(&red).await;
    daemon.nothing_left().await;
}

/// What the solution in `folder` prints, by question.
pub(crate) fn exploit(folder: &Path, instance: &Ready) -> Vec<(String, String)> {
    let (host, port) = instance.first();
    let mut run = Command::new(python());
    run.current_dir(folder)
        .args(["solution/exploit.py", host, &port.to_string()])
        .env("PYTHONPATH", repository_root().join("templates/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let said = Finished::of(&mut run).fine();
    let answer = |line: &str| {
        let (question, value) = line.strip_prefix("Q[")?.split_once("]: ")?;
        Some((question.to_owned(), value.to_owned()))
    };
    said.lines().filter_map(answer).collect()
}

async fn quiz(team: &crate::support::Client) {
    let answer = |question: &str, answer: Value| {
        team.post(
            "/qa/submissions",
            json!({"challenge_id": "QUIZ-001", "competition_id": "default",
                   "question_id": question, "answer": answer}),
        )
    };
    answer("layers", json!(["dns", "ntp"])).await.expect_refusal(403, "question_locked");
    for (question, sent) in
        [("https_port", json!("443")), ("encrypted", json!("ssh")), ("layers", json!("dns, ntp"))]
    {
        assert_eq!(answer(question, sent).await.body["correct"], true, "{question}");
    }
}
