//! How much the API bears in the middle of a large event: 1,000 teams, 200 challenges, 50,000 answers.
//!
//! `wrk` asks over loopback with the tokens of all teams by turns, on the same machine, so both share its
//! processors. The engine is in memory: what is measured is ours alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flagops::config::Config;
use flagops::daemon::platform::{Answer, Platform, Repeats, StartRequest};
use flagops::model::{Caller, InstanceStatus};
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use crate::converged::{embedded, wait};
use crate::platform::{METADATA, push};
use crate::report::Report;
use crate::wrk::load;

const N_TEAMS: usize = 1_000;
const N_QUIZZES: usize = 180;
/// Challenges with an instance.
const N_WEB: usize = 20;
/// Answers of each team, all right.
const N_ANSWERS: usize = 50;
/// Teams that have an instance.
const N_PLAYING: usize = 200;
/// How long each route is asked.
const SECS: u32 = 5;
/// Connections: under full load, and a few whose latency says what players feel.
const CONNECTIONS: [u32; 2] = [64, 4];

const QUIZ: &str = "name: Quiz\ndescription: One question.\ndifficulty: easy\ncategory: misc\ntags: [bench]\nquestions:\n  - {id: port, prompt: The port of HTTPS?, answer: \"443\"}\n";
const COMPOSE: &str = "services:\n  web:\n    image: base:1\n    command: [serve]\n    ports: [8080]\n    mem_limit: 64m\n    cpus: 0.5\n    pids_limit: 64\n";

/// A team, its token, and its instance if it has one.
struct Team {
    caller: Caller,
    token: String,
    instance: Option<String>,
}

pub(crate) async fn run(report: &mut Report) -> Result<()> {
    if std::process::Command::new("wrk").arg("-v").output().is_err() {
        report.number("api", "wrk is not installed".to_owned(), "");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let remote = commit(dir.path())?;
    let mut config = Config { data_dir: dir.path().join("data"), ..Config::default() };
    config.source.repo = remote.display().to_string();
    let (daemon, _) = embedded(config).await?;
    let platform = daemon.platform();
    wait("the challenges to be live", || async { Ok(platform.live().len() == N_QUIZZES + N_WEB) })
        .await?;
    wait("the engine to be proved", || async { Ok(platform.is_engine_ready()) }).await?;
    let teams = fill(&platform).await?;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}/api/v1", listener.local_addr()?);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(flagops::api::serve(platform.clone(), listener, stop.clone()));
    report.number("api, memory of daemon and bench", memory()?, "< 150 MiB");
    let tokens: Vec<_> = teams.iter().map(|team| team.token.as_str()).collect();
    let playing: Vec<_> = teams.iter().filter(|team| team.instance.is_some()).collect();
    let of_playing = |path: fn(&str) -> String| -> Vec<(String, String)> {
        let pair = |team: &&Team| Some((team.token.clone(), path(team.instance.as_deref()?)));
        playing.iter().filter_map(pair).collect()
    };
    let everybody = |path: &str| -> Vec<(String, String)> {
        tokens.iter().map(|token| ((*token).to_owned(), path.to_owned())).collect()
    };
    let cases = [
        ("GET /challenges", everybody("/api/v1/challenges"), "", ">= 5000/s"),
        (
            "GET /instances/{id}/status",
            of_playing(|id| format!("/api/v1/instances/{id}/status")),
            "",
            ">= 20000/s",
        ),
        ("GET /scoreboard", everybody("/api/v1/scoreboard"), "", ""),
        (
            "POST /submissions",
            of_playing(|id| format!("/api/v1/submissions#{id}")),
            "FLAG{not-the-answer}",
            ">= 2000/s",
        ),
    ];
    for (name, wishes, answer, goal) in cases {
        let script = script(dir.path(), &wishes, answer)?;
        for connections in CONNECTIONS {
            let seen = load(&base, connections, SECS, Some(&script)).await;
            let seen = seen.with_context(|| name.to_owned())?;
            let text = format!(
                "{:.0}/s, p50 {:.2} ms, p99 {:.2} ms",
                seen.per_sec, seen.median_ms, seen.slow_ms
            );
            let goal = if connections == CONNECTIONS[0] { goal } else { "p99 < 10 ms" };
            report.number(&format!("api, {name}, {connections} connections"), text, goal);
        }
    }
    report.number("api, memory afterwards", memory()?, "< 150 MiB");
    stop.cancel();
    serving.await??;
    daemon.stop().await;
    Ok(())
}

fn commit(dir: &Path) -> Result<PathBuf> {
    let (work, remote) = (dir.join("work"), dir.join("remote.git"));
    for nth in 0..N_QUIZZES {
        let folder = work.join("MISC").join(format!("QUIZ-{nth:03}"));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("metadata.yaml"), QUIZ)?;
    }
    for nth in 0..N_WEB {
        let folder = work.join("WEB").join(format!("WEB-{nth:03}"));
        std::fs::create_dir_all(&folder)?;
        let question = "questions:\n  - {id: flag, prompt: What does it say?}\n";
        std::fs::write(folder.join("metadata.yaml"), format!("{METADATA}{question}"))?;
        std::fs::write(folder.join("docker-compose.yml"), COMPOSE)?;
    }
    push(&work, &remote)?;
    Ok(remote)
}

/// Teams, their answers and their instances.
async fn fill(platform: &Platform) -> Result<Vec<Team>> {
    let mut teams = Vec::new();
    for nth in 0..N_TEAMS {
        let (_, token) = platform.create_team_token(&format!("team {nth:04}"), "").await?;
        let caller = platform.authenticate(&token).await?;
        teams.push(Team { caller, token, instance: None });
    }
    for nth in 0..N_ANSWERS {
        // Each begins elsewhere, so that ranks differ.
        let answers = teams.iter().enumerate().map(|(team, it)| async move {
            let quiz = format!("QUIZ-{:03}", (team + nth * 7) % N_QUIZZES);
            let answer = Answer::One("443".to_owned());
            platform.submit_quiz(&it.caller, ("", &quiz), "port", answer).await
        });
        try_join_all(answers).await?;
    }
    for (nth, team) in teams.iter_mut().enumerate().take(N_PLAYING) {
        let request = StartRequest {
            challenge: format!("WEB-{:03}", nth % N_WEB),
            competition: String::new(),
            ttl_secs: None,
            repeats: Repeats::Another,
        };
        team.instance = Some(platform.start(&team.caller, request).await?.id.to_string());
    }
    let last = &teams[N_PLAYING - 1].caller;
    wait("the last instance to be ready", || async {
        let rows = platform.instances(last).await?;
        Ok(rows.iter().all(|row| row.status() == InstanceStatus::Ready))
    })
    .await?;
    Ok(teams)
}

/// A script that goes through `wishes` (a token and a path each) by turns; with an `answer` it is posted
/// to the instance that is named behind the path's `#`.
fn script(dir: &Path, wishes: &[(String, String)], answer: &str) -> Result<PathBuf> {
    let mut text = String::from("local wishes = {\n");
    for (token, path) in wishes {
        let (path, instance) = path.split_once('#').unwrap_or((path, ""));
        let body = match answer {
            "" => String::new(),
            answer => format!(
                r#"{{"instance_id":"{instance}","question_id":"flag","answer":"{answer}"}}"#
            ),
        };
        writeln!(text, "  {{[[{token}]], [[{path}]], [[{body}]]}},")?;
    }
    let method = if answer.is_empty() { "GET" } else { "POST" };
    write!(
        text,
        "}}
local nth = 0
local headers = {{[\"Content-Type\"] = \"application/json\"}}
function request()
  nth = nth % #wishes + 1
  local wish = wishes[nth]
  headers[\"Authorization\"] = \"Bearer \" .. wish[1]
  return wrk.format(\"{method}\", wish[2], headers, wish[3] ~= \"\" and wish[3] or nil)
end
"
    )?;
    let path = dir.join("wishes.lua");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// What this process has in memory.
fn memory() -> Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.context("the kernel says it")?.trim().trim_end_matches(" kB").parse()?;
    Ok(format!("{} MiB", kib / 1024))
}
