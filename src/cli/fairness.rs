//! `flagops fairness`: what looks as if it were not a team's own work.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::Request;
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Show what looks odd in the answers of teams, and note what you make of it
///
/// Evidence is worked out from the records each time: an answer that is another team's, a solve without
/// ever having had an instance or a file, one that was implausibly fast, a VPN profile of one person that
/// was connected from several addresses at once. Nothing follows from it by
/// itself: no points change and nobody is stopped. Most of it has an innocent explanation.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops fairness ls
  flagops fairness ls --kind foreign_answer --open
  flagops fairness review foreign_answer:8c1f0a52 dismissed --note laptop
  flagops fairness ls --format json | jq -r '.[].id'")]
pub(crate) struct FairnessArgs {
    #[command(subcommand)]
    command: FairnessCommand,
}

#[derive(Debug, Subcommand)]
enum FairnessCommand {
    /// List the evidence, the newest first
    #[command(after_help = "\
Examples:
  flagops fairness ls
  flagops fairness ls --kind foreign_answer --open
  flagops fairness ls --format json | jq -r '.[].team_name'")]
    Ls {
        /// Only of this kind
        #[arg(long, value_enum)]
        kind: Option<Kind>,
        /// Only by or of this team, by its id
        #[arg(long)]
        team: Option<String>,
        /// Only on this challenge
        #[arg(long)]
        challenge: Option<String>,
        /// Only what nobody has judged yet
        #[arg(long)]
        open: bool,
    },
    /// Note what you make of one piece of evidence
    #[command(after_help = "\
Examples:
  flagops fairness review foreign_answer:8c1f0a52 dismissed --note laptop
  flagops fairness review foreign_answer:8c1f0a52 open")]
    Review {
        /// Its name, as listed
        evidence: String,
        /// What you make of it
        verdict: Verdict,
        /// Why, for other organizers
        #[arg(long, default_value = "")]
        note: String,
    },
}

/// Kinds of evidence, by their words on the wire.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// The answer of another team's instance
    #[value(name = "foreign_answer")]
    ForeignAnswer,
    /// Solved without a usable instance or a file
    #[value(name = "never_started")]
    NeverStarted,
    /// Solved without a file of a challenge that has some
    #[value(name = "never_downloaded")]
    NeverDownloaded,
    /// Solved implausibly soon
    #[value(name = "too_fast")]
    TooFast,
    /// A VPN profile at several places at once
    #[value(name = "shared_profile")]
    SharedProfile,
}

/// What an organizer makes of it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verdict {
    /// Nothing yet: takes an earlier verdict back
    Open,
    /// There is an innocent explanation
    Dismissed,
    /// It is what it looks like
    Confirmed,
}

/// The word for a value on the wire.
fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
}

/// Carries out the wish.
pub(crate) async fn run(global: &Global, args: FairnessArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    match args.command {
        FairnessCommand::Ls { kind, team, challenge, open } => {
            let wishes = [
                ("kind", kind.map(word)),
                ("team_id", team),
                ("challenge_id", challenge),
                ("verdict", open.then(|| "open".to_owned())),
            ];
            let query: Vec<_> =
                wishes.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let request = Request { path: &["admin", "fairness"], query: &query };
            let rows = client.list(request).await?;
            match global.format() {
                Format::Json => output::print_json(&Value::Array(rows))?,
                Format::Table => output::print(&render(&rows))?,
            }
        }
        FairnessCommand::Review { evidence, verdict, note } => {
            let body = json!({ "verdict": word(verdict), "note": note });
            let path = ["admin", "fairness", &evidence];
            let row = client.put(Request::to(&path), &body).await?;
            match global.format() {
                Format::Json => output::print_json(&row)?,
                Format::Table => output::print(&format!(
                    "{} is {} now",
                    output::clean(row.text("id")),
                    output::clean(row.text("verdict"))
                ))?,
            }
        }
    }
    Ok(Ending::Fine)
}

fn render(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "nothing looks odd".to_owned();
    }
    let line = |row: &Value| {
        let owner = row["owner"].text("team_name");
        let what = match owner {
            "" => row.text("message").to_owned(),
            owner => format!("{} ({owner})", row.text("message")),
        };
        let column = |name: &str| row.text(name).to_owned();
        vec![
            column("at"),
            row.number("weight").to_string(),
            column("team_name"),
            column("challenge_id"),
            what,
            column("verdict"),
            column("id"),
        ]
    };
    let rows: Vec<_> = rows.iter().map(line).collect();
    output::table(&["AT", "WEIGHT", "TEAM", "CHALLENGE", "WHAT", "VERDICT", "EVIDENCE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_reads_like_this() {
        let row = json!({
            "at": "2027-03-01T12:00:00Z", "weight": 90, "team_name": "red",
            "challenge_id": "WEB-001", "message": "this is the answer of another team's instance",
            "owner": {"team_name": "blue"}, "verdict": "open", "id": "foreign_answer:s1",
        });
        insta::assert_snapshot!(render(&[row]), @"
        AT                    WEIGHT  TEAM  CHALLENGE  WHAT                                                  VERDICT  EVIDENCE
        2027-03-01T12:00:00Z  90      red   WEB-001    this is the answer of another team's instance (blue)  open     foreign_answer:s1
        ");
        assert_eq!(render(&[]), "nothing looks odd");
        assert_eq!(word(Kind::NeverStarted), "never_started");
    }
}
