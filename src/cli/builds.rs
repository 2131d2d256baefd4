//! `flagops builds`: images, how far they are, why they failed, and again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::model::{BuildState, ChallengeId};

use super::challenges;
use super::client::{Client, Request};
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// How often the server is asked while watching.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// List builds of images, watch them, read their output, or build again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops builds
  flagops builds --watch                 until nothing is left to build
  flagops builds log WEB-001
  flagops builds retry WEB-001 && flagops builds --watch")]
pub(crate) struct BuildsArgs {
    #[command(subcommand)]
    command: Option<BuildsCommand>,

    /// Print every change until nothing is left to build; exit code 1 when something failed
    #[arg(long, visible_alias = "follow", global = true)]
    watch: bool,
}

#[derive(Debug, Subcommand)]
enum BuildsCommand {
    /// List every image that is wanted, with its progress
    #[command(after_help = "\
Examples:
  flagops builds ls
  flagops builds ls --watch")]
    Ls,
    /// Print the last lines of the output of a challenge's builds
    #[command(after_help = "\
Examples:
  flagops builds log WEB-001")]
    Log {
        /// Id of the challenge
        challenge: ChallengeId,
    },
    /// Build a challenge's images again, also those that failed for good
    #[command(after_help = "\
Examples:
  flagops builds retry WEB-001
  flagops builds retry WEB-001 --watch")]
    Retry {
        /// Id of the challenge
        challenge: ChallengeId,
    },
}

/// Lists, watches, shows or retries.
pub(crate) async fn run(global: &Global, args: BuildsArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    match args.command.unwrap_or(BuildsCommand::Ls) {
        BuildsCommand::Ls if args.watch => watch(global, &client).await,
        BuildsCommand::Ls => {
            let rows = all(&client).await?;
            match global.format() {
                Format::Json => {
                    output::print_json(&json!({ "total": rows.len(), "items": rows }))?;
                }
                Format::Table => output::print(&render_list(&rows))?,
            }
            if let Some(why) = why_waiting(&client, &rows).await? {
                output::note(&why);
            }
            Ok(Ending::Fine)
        }
        BuildsCommand::Log { challenge } => log(global, &client, &challenge).await,
        BuildsCommand::Retry { challenge } => {
            let answer = retry(&client, &challenge).await?;
            if args.watch {
                return watch(global, &client).await;
            }
            match global.format() {
                Format::Json => output::print_json(&answer)?,
                Format::Table => output::print(&render_retry(&challenge, &answer))?,
            }
            Ok(Ending::Fine)
        }
    }
}

async fn all(client: &Client) -> Result<Vec<Value>, Failure> {
    Ok(client.list(Request::to(&["gitops", "builds"])).await?)
}

/// Why no build begins although images of `rows` wait: the disk of the engine is full.
async fn why_waiting(client: &Client, rows: &[Value]) -> Result<Option<String>, Failure> {
    if !rows.iter().any(|row| state(row) == BuildState::Unbuilt.as_str()) {
        return Ok(None);
    }
    let status = client.get(Request::to(&["gitops", "status"])).await?;
    let is_full = |condition: &&Value| condition.text("reason") == "GcNothingToFree";
    let full = status.list("conditions").iter().find(is_full);
    Ok(full.map(|condition| format!("builds wait: {}", output::clean(condition.text("message")))))
}

/// Asks for the images of `id` again.
async fn retry(client: &Client, id: &ChallengeId) -> Result<Value, Failure> {
    let path = ["admin", "challenges", id.as_str(), "build"];
    let answer = client.post(Request::to(&path), None).await?;
    // A refusal of the node comes inside of a success.
    match answer.list("nodes").iter().find(|node| !node.text("error").is_empty()) {
        Some(node) => Err(Failure::failed(
            format!("{id} was not queued: {}", output::clean(node.text("error"))),
            "`flagops challenges` lists what there is",
        )),
        None => Ok(answer),
    }
}

fn render_retry(id: &ChallengeId, answer: &Value) -> String {
    let has = |key: &str| answer.list("nodes").iter().any(|node| !node.list(key).is_empty());
    if has("skipped_built") {
        return format!("the images of {id} are built already");
    }
    if has("skipped_in_progress") {
        return format!("the images of {id} are being built; `flagops builds --watch` follows");
    }
    format!("asked for the images of {id} again; `flagops builds --watch` follows")
}

/// Prints every change until nothing waits or runs.
async fn watch(global: &Global, client: &Client) -> Result<Ending, Failure> {
    let mut seen = BTreeMap::new();
    let mut told = None;
    loop {
        let rows = all(client).await?;
        for line in changes(&mut seen, &rows, global.format()) {
            output::print(&line)?;
        }
        let why = why_waiting(client, &rows).await?;
        if let Some(why) = why.as_ref().filter(|_| why != told) {
            output::note(why);
        }
        told = why;
        if !rows.iter().any(is_pending) {
            let n_failed =
                rows.iter().filter(|row| state(row) == BuildState::Failed.as_str()).count();
            if global.format() == Format::Table {
                output::note(&format!("nothing is left to build, {n_failed} failed"));
            }
            return Ok(if n_failed > 0 { Ending::Findings } else { Ending::Fine });
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

fn is_pending(build: &Value) -> bool {
    // A failed one that is tried again by itself is not settled.
    state(build) == BuildState::Unbuilt.as_str()
        || state(build) == BuildState::Building.as_str()
        || (state(build) == BuildState::Failed.as_str() && build.is("retryable"))
}

fn state(build: &Value) -> &str {
    build.any_text(&["state", "status"])
}

fn step(build: &Value) -> &str {
    match build["progress"].text("step") {
        "" => build.text("step"),
        step => step,
    }
}

/// One line for every build whose state or step differs from what was `seen`.
fn changes(seen: &mut BTreeMap<String, String>, rows: &[Value], format: Format) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows {
        let key = format!("{}/{}", row.text("key"), name(row));
        let now = format!("{} {}", state(row), step(row));
        if seen.insert(key, now.clone()).as_deref() == Some(&now) {
            continue;
        }
        lines.push(match format {
            Format::Json => row.to_string(),
            Format::Table => {
                let line = format!("{} {} {}", name(row), state(row), progress(row));
                output::clean(line.trim_end())
            }
        });
    }
    lines
}

fn name(build: &Value) -> String {
    format!("{}/{}", challenge(build), build.text("service"))
}

fn challenge(build: &Value) -> &str {
    build.any_text(&["challenge_id", "challenge"])
}

/// How far it is, or why it failed.
fn progress(build: &Value) -> String {
    let text = if build.text("error").is_empty() {
        let line = match build["progress"].text("line") {
            "" => build.text("line"),
            line => line,
        };
        format!("{} {line}", step(build))
    } else {
        build.text("error").to_owned()
    };
    output::cut(text.trim(), 100)
}

/// A table of builds.
pub(super) fn render_list(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no images are wanted".to_owned();
    }
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            vec![
                challenge(row).to_owned(),
                row.text("service").to_owned(),
                state(row).to_owned(),
                took(row),
                progress(row),
            ]
        })
        .collect();
    output::table(&["CHALLENGE", "SERVICE", "STATE", "TOOK", "PROGRESS"], &cells)
}

/// How long the last attempt took.
fn took(build: &Value) -> String {
    match (build.time_millis("started_at"), build.time_millis("finished_at")) {
        (Some(began), Some(ended)) if ended >= began => output::span(ended - began),
        _ => match build.number("duration_s") {
            secs if secs > 0.0 => output::span((secs * 1000.0) as i64),
            _ => String::new(),
        },
    }
}

async fn log(global: &Global, client: &Client, id: &ChallengeId) -> Result<Ending, Failure> {
    let mut builds = all(client).await?;
    builds.retain(|build| challenge(build) == id.as_str());
    if builds.is_empty() {
        // Tells a challenge without images from one that is not there.
        challenges::one(client, id).await?;
    }
    match global.format() {
        Format::Json => output::print_json(&json!({ "total": builds.len(), "items": builds }))?,
        Format::Table => output::print(&render_log(id, &builds))?,
    }
    Ok(Ending::Fine)
}

fn render_log(id: &ChallengeId, builds: &[Value]) -> String {
    if builds.is_empty() {
        return format!("{id} has no images to build");
    }
    let mut text = String::new();
    for build in builds {
        let title =
            format!("==> {id}/{} {} {}", build.text("service"), state(build), build.text("error"));
        let _ = writeln!(text, "{}", output::clean(title.trim_end()));
        let tail = output::clean_block(build.text("log_tail"));
        text += tail.trim_end();
        text += if tail.trim().is_empty() { "(no output yet)\n" } else { "\n" };
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(service: &str, status: &str, step: &str) -> Value {
        json!({"key": service, "challenge_id": "WEB-001", "service": service, "status": status,
               "progress": {"step": step, "line": "RUN make"}, "error": null,
               "started_at": "2026-11-20T12:00:00.000Z", "finished_at": "2026-11-20T12:00:03.250Z"})
    }

    #[test]
    fn builds_show_progress_or_the_error() {
        let mut failed = build("db", "failed", "2/3");
        failed["error"] = json!("exit code 1");
        insta::assert_snapshot!(render_list(&[build("web", "building", "3/7"), failed]), @r"
        CHALLENGE  SERVICE  STATE     TOOK  PROGRESS
        WEB-001    web      building  3.2s  3/7 RUN make
        WEB-001    db       failed    3.2s  exit code 1
        ");
    }

    #[test]
    fn watching_prints_changes_only() {
        let mut seen = BTreeMap::new();
        let mut look = |rows: &[Value]| changes(&mut seen, rows, Format::Table);
        assert_eq!(look(&[build("web", "unbuilt", "")]), ["WEB-001/web unbuilt RUN make"]);
        assert_eq!(look(&[build("web", "unbuilt", "")]), [""; 0]);
        assert_eq!(look(&[build("web", "building", "1/7")]), ["WEB-001/web building 1/7 RUN make"]);
        assert!(is_pending(&build("web", "building", "")));
        assert!(!is_pending(&build("web", "failed", "")));
    }

    #[test]
    fn a_log_is_cleaned_and_named() {
        let id = "WEB-001".parse().unwrap();
        let build = json!({"service": "web", "state": "failed", "error": "exit code 2",
                           "log_tail": "cc \u{1b}[31mx.c\r\nerror\n"});
        insta::assert_snapshot!(render_log(&id, &[build, json!({"service": "db"})]), @r"
        ==> WEB-001/web failed exit code 2
        cc �[31mx.c
        error
        ==> WEB-001/db
        (no output yet)
        ");
    }
}
