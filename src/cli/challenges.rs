//! `flagops challenges`: what the server knows about each challenge, live or not, and why.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fmt::Write as _;

use crate::model::ChallengeId;

use super::client::{Client, Request};
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::status::finding_line;
use super::wire::Fields as _;

/// List challenges, or show one with its findings and builds
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops challenges
  flagops challenges ls --state invalid
  flagops challenges show WEB-001
  flagops challenges --format json | jq -r '.items[] | select(.state == \"invalid\") | .id'")]
pub(crate) struct ChallengesArgs {
    #[command(subcommand)]
    command: Option<ChallengesCommand>,
}

#[derive(Debug, Subcommand)]
enum ChallengesCommand {
    /// List every challenge of the newest revision, and every live one
    #[command(after_help = "\
Examples:
  flagops challenges ls
  flagops challenges ls --state live")]
    Ls {
        /// Only those in this state, as the list shows it
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
    },
    /// Show one challenge with its findings and builds
    #[command(after_help = "\
Examples:
  flagops challenges show WEB-001")]
    Show {
        /// Id of the challenge: the name of its folder
        #[arg(value_name = "CHALLENGE")]
        id: ChallengeId,
    },
}

/// Lists or shows.
pub(crate) async fn run(global: &Global, args: ChallengesArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    match args.command.unwrap_or(ChallengesCommand::Ls { state: None }) {
        ChallengesCommand::Ls { state } => {
            let mut rows = all(&client).await?;
            if let Some(state) = state {
                rows.retain(|row| row.text("state").eq_ignore_ascii_case(&state));
            }
            match global.format() {
                Format::Json => {
                    output::print_json(&json!({ "total": rows.len(), "items": rows }))?;
                }
                Format::Table => output::print(&render_list(&rows))?,
            }
        }
        ChallengesCommand::Show { id } => {
            let challenge = one(&client, &id).await?;
            match global.format() {
                Format::Json => output::print_json(&challenge)?,
                Format::Table => output::print(&render_one(&challenge))?,
            }
        }
    }
    Ok(Ending::Fine)
}

async fn all(client: &Client) -> Result<Vec<Value>, Failure> {
    Ok(client.list(Request::to(&["gitops", "challenges"])).await?)
}

/// The challenge `id` as the server sees it.
pub(super) async fn one(client: &Client, id: &ChallengeId) -> Result<Value, Failure> {
    all(client).await?.into_iter().find(|row| row.text("id") == id.as_str()).ok_or_else(|| {
        Failure::failed(
            format!("the server at {} knows no challenge `{id}`", client.url()),
            "`flagops challenges` lists what there is; `flagops reconcile` looks at the repository",
        )
    })
}

fn render_list(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no challenges; `flagops status` says whether the repository was read".to_owned();
    }
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            vec![
                row.text("id").to_owned(),
                row.text("state").to_owned(),
                revision(row),
                build_word(row).to_owned(),
                findings_count(row),
                row.text("name").to_owned(),
            ]
        })
        .collect();
    output::table(&["ID", "STATE", "LIVE", "BUILD", "FINDINGS", "NAME"], &cells)
}

fn render_one(challenge: &Value) -> String {
    let head = [
        ("id", challenge.text("id").to_owned()),
        ("name", challenge.text("name").to_owned()),
        ("state", challenge.text("state").to_owned()),
        ("newest", newest(challenge)),
        ("live", revision(challenge)),
        ("head tree", challenge.text("head_tree").to_owned()),
        ("build", build_word(challenge).to_owned()),
    ];
    let rows: Vec<_> = head
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    let mut text = output::table(&[], &rows);
    let builds = images(challenge);
    if !builds.is_empty() {
        let _ = write!(text, "\n\n{}", super::builds::render_list(builds));
    }
    for finding in challenge.list("findings") {
        let _ = write!(text, "\n\n{}", finding_line(finding));
    }
    text
}

/// Whether the newest version may be used, and what is wrong with it all the same.
fn newest(challenge: &Value) -> String {
    let found = findings_count(challenge);
    match (challenge.get("valid").and_then(Value::as_bool), found.as_str()) {
        (None, _) => String::new(),
        (Some(true), "") => "runs".to_owned(),
        (Some(true), found) => format!("runs, with {found}"),
        (Some(false), "") => "not usable".to_owned(),
        (Some(false), found) => format!("not usable: {found}"),
    }
}

/// The state of the images; the server may say it as a word or as an object.
fn build_word(row: &Value) -> &str {
    match row.get("build") {
        Some(build @ Value::Object(_)) => build.text("state"),
        _ => row.text("build"),
    }
}

/// The first letters of the commit that players get; empty when it is not live.
fn revision(row: &Value) -> String {
    let revision = match row.text("live_revision") {
        "" => row["live"].text("revision"),
        flat => flat,
    };
    revision.chars().take(10).collect()
}

/// The images of a challenge.
fn images(challenge: &Value) -> &[Value] {
    match challenge.list("images") {
        [] => challenge.list("builds"),
        images => images,
    }
}

fn findings_count(row: &Value) -> String {
    let findings = row.list("findings");
    let n_errors = findings.iter().filter(|f| f.text("severity") == "error").count();
    match (n_errors, findings.len() - n_errors) {
        (0, 0) => String::new(),
        (errors, 0) => format!("{errors} error(s)"),
        (0, warnings) => format!("{warnings} warning(s)"),
        (errors, warnings) => format!("{errors} error(s), {warnings} warning(s)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_show_state_revision_build_and_findings() {
        let rows = vec![
            json!({"id": "WEB-001", "name": "Login", "state": "live", "build": "built",
                   "live_revision": "1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d"}),
            json!({"id": "WEB-002", "state": "invalid", "build": {"state": "unbuilt"},
                   "live": null,
                   "findings": [{"severity": "error"}, {"severity": "warning"}]}),
        ];
        insta::assert_snapshot!(render_list(&rows), @r"
        ID       STATE    LIVE        BUILD    FINDINGS                  NAME
        WEB-001  live     1a2b3c4d5e  built                              Login
        WEB-002  invalid              unbuilt  1 error(s), 1 warning(s)
        ");
    }

    #[test]
    fn a_version_with_errors_that_do_not_block_runs() {
        let finding = |blocks| json!([{"severity": "error", "blocks": blocks, "path": "x"}]);
        for (challenge, said) in [
            (json!({"valid": true, "findings": finding(false)}), "runs, with 1 error(s)"),
            (json!({"valid": true, "findings": []}), "runs"),
            (json!({"valid": false, "findings": finding(true)}), "not usable: 1 error(s)"),
            (json!({}), ""),
        ] {
            assert_eq!(newest(&challenge), said, "{challenge}");
        }
        let shown = render_one(&json!({"id": "A", "valid": false, "findings": finding(true)}));
        assert!(shown.ends_with("(blocks)"), "{shown}");
    }

    #[test]
    fn one_challenge_is_shown_with_its_findings() {
        let challenge = json!({"id": "WEB-002", "state": "invalid", "build": "failed",
            "images": [{"service": "web", "status": "failed", "error": "exit code 1"}],
            "findings": [{"severity": "error", "rule": "META001", "path": "WEB-002/metadata.yaml",
                "line": 3, "column": 1, "message": "`name` is missing", "hint": "add it"}]});
        insta::assert_snapshot!(render_one(&challenge), @r"
        id     WEB-002
        state  invalid
        build  failed

        CHALLENGE  SERVICE  STATE   TOOK  PROGRESS
                   web      failed        exit code 1

        WEB-002/metadata.yaml:3:1: error[META001] `name` is missing; add it
        ");
    }
}
