//! `flagops instances`: start, look at, renew and stop running copies of challenges.
//!
//! An operator acts for a team with `--team`: the server makes a token of that team, which is used
//! for this one command and never shown.

mod pcap;
mod shell;
mod show;
mod start;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::model::{Clock as _, InstanceId};
use crate::telemetry::SystemClock;

use super::client::{Client, Request};
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// List, start, stop, renew or inspect instances
///
/// An instance may be named by the first letters of its id, at least four.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops instances
  flagops instances start WEB-001 --team blue
  flagops instances logs 3f2a
  flagops instances stop 3f2a")]
pub(crate) struct InstancesArgs {
    #[command(subcommand)]
    command: Option<InstancesCommand>,

    /// Act for this team (operators only); it is made when it is new
    #[arg(long, global = true, value_name = "NAME")]
    team: Option<String>,
}

#[derive(Debug, Subcommand)]
enum InstancesCommand {
    /// List instances: of one team, or, for operators, all
    #[command(after_help = "\
Examples:
  flagops instances ls
  flagops instances ls --team blue
  flagops instances ls --challenge WEB-001 --status ready --format json")]
    Ls {
        /// Only copies of this challenge
        #[arg(long, value_name = "CHALLENGE")]
        challenge: Option<String>,
        /// Only those with this status: starting, ready or error
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
    },
    Start(start::StartArgs),
    /// Stop instances; everything of them is removed
    #[command(after_help = "\
Examples:
  flagops instances stop 3f2a 9b01
  flagops instances stop --all --team blue
  flagops instances stop --all --yes     every instance of every team")]
    Stop {
        /// Ids, or how they begin
        #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<String>,
        /// Stop all: of the team, or of everybody
        #[arg(long)]
        all: bool,
        /// Do not ask for `--team` when stopping everybody's
        #[arg(long, requires = "all")]
        yes: bool,
    },
    /// Begin the lease again, from now
    #[command(after_help = "\
Examples:
  flagops instances renew 3f2a
  flagops instances renew 3f2a --ttl 2h")]
    Renew {
        /// Id, or how it begins
        id: String,
        /// New length: seconds, or with s, m, h or d
        #[arg(long, value_name = "TIME", value_parser = parse_span)]
        ttl: Option<u32>,
    },
    /// Make an instance anew: containers and volumes go, id, ports, network and lease stay
    #[command(after_help = "\
Examples:
  flagops instances reset 3f2a
  flagops instances reset 3f2a --new-answers    a leaked flag is worth nothing any more")]
    Reset {
        /// Id, or how it begins
        id: String,
        /// Give it other answers; the old ones are wrong from then on
        #[arg(long)]
        new_answers: bool,
    },
    /// Print the last lines of an instance's containers (operators only)
    #[command(after_help = "\
Examples:
  flagops instances logs 3f2a
  flagops instances logs 3f2a --lines 1000 > web.log")]
    Logs {
        /// Id, or how it begins
        id: String,
        /// Lines of each container
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        lines: u32,
    },
    /// Save the captured packets of an instance, also of one that is over (operators only)
    #[command(after_help = "\
Examples:
  flagops instances pcap 3f2a
  flagops instances pcap 3f2a --out web.pcap && tcpdump -r web.pcap")]
    Pcap {
        /// Id, or how it begins while it is not over
        id: String,
        /// Where to (default `ID.pcap`)
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    Shell(shell::ShellArgs),
    /// Show one instance: phase, endpoints, lease, questions
    #[command(after_help = "\
Examples:
  flagops instances show 3f2a")]
    Show {
        /// Id, or how it begins
        id: String,
    },
}

/// Carries out the wish.
pub(crate) async fn run(global: &Global, args: InstancesArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let team = args.team.as_deref();
    let client = match team {
        // What is looked at there is for operators, whoever owns the instance.
        Some(_)
            if matches!(
                args.command,
                Some(
                    InstancesCommand::Logs { .. }
                        | InstancesCommand::Pcap { .. }
                        | InstancesCommand::Shell(_)
                )
            ) =>
        {
            client
        }
        Some(team) => client.for_team(team).await?,
        None => client,
    };
    let everything = InstancesCommand::Ls { challenge: None, status: None };
    match args.command.unwrap_or(everything) {
        InstancesCommand::Ls { challenge, status } => {
            list(global, &client, challenge.as_deref(), status.as_deref()).await
        }
        InstancesCommand::Start(wish) => start::run(global, &client, &wish, team).await,
        InstancesCommand::Stop { ids, all: false, .. } => stop(global, &client, &ids).await,
        InstancesCommand::Stop { yes: false, .. } if team.is_none() => Err(Failure::usage(
            "this would stop the instances of every team",
            "name a team with `--team`, or mean it with `--yes`",
        )),
        InstancesCommand::Stop { .. } => {
            let ids: Vec<_> =
                all(&client).await?.iter().map(|row| row.text("id").to_owned()).collect();
            stop(global, &client, &ids).await
        }
        InstancesCommand::Renew { id, ttl } => renew(global, &client, &id, ttl).await,
        InstancesCommand::Reset { id, new_answers } => {
            let answers = if new_answers { "new" } else { "keep" };
            reset(global, &client, &id, answers).await
        }
        InstancesCommand::Logs { id, lines } => logs(global, &client, &id, lines).await,
        InstancesCommand::Pcap { id, out } => pcap::run(global, &client, &id, out).await,
        InstancesCommand::Shell(wish) => shell::run(&client, &wish).await,
        InstancesCommand::Show { id } => show::run(global, &client, &id).await,
    }
}

/// Every live instance that the token may see: all for an operator, else the team's.
async fn all(client: &Client) -> Result<Vec<Value>, Failure> {
    match client.list(Request::to(&["admin", "instances"])).await {
        Err(error) if error.status() == Some(403) => {
            Ok(client.list(Request::to(&["instances"])).await?)
        }
        other => Ok(other?),
    }
}

/// The id that `text` names: a whole id, or the beginning of exactly one.
pub(super) async fn resolve(client: &Client, text: &str) -> Result<InstanceId, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let is_beginning = text.len() >= 4 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if !is_beginning {
        return Err(Failure::usage(
            format!("`{}` is not an instance id", output::clean(text)),
            "give the id, or its first four letters or more; `flagops instances` lists them",
        ));
    }
    unique(text, &all(client).await?)
}

fn unique(beginning: &str, rows: &[Value]) -> Result<InstanceId, Failure> {
    let beginning = beginning.to_ascii_lowercase();
    let found: Vec<InstanceId> = rows
        .iter()
        .map(|row| row.text("id"))
        .filter(|id| id.starts_with(&beginning))
        .filter_map(|id| id.parse().ok())
        .collect();
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(Failure::failed(
            format!("no instance begins with `{beginning}`"),
            "`flagops instances` lists what there is",
        )),
        several => Err(Failure::usage(
            format!("{} instances begin with `{beginning}`", several.len()),
            "give more letters of the id",
        )),
    }
}

async fn list(
    global: &Global,
    client: &Client,
    challenge: Option<&str>,
    status: Option<&str>,
) -> Result<Ending, Failure> {
    let mut rows = all(client).await?;
    rows.retain(|row| {
        challenge.is_none_or(|wanted| row.text("challenge_id") == wanted)
            && status.is_none_or(|wanted| row.text("status") == wanted)
    });
    match global.format() {
        Format::Json => output::print_json(&json!({ "total": rows.len(), "items": rows }))?,
        Format::Table => output::print(&show::render_list(&rows, SystemClock.now()))?,
    }
    Ok(Ending::Fine)
}

async fn stop(global: &Global, client: &Client, ids: &[String]) -> Result<Ending, Failure> {
    let mut answers = Vec::new();
    for text in ids {
        let id = resolve(client, text).await?;
        match client.delete(Request::to(&["instances", &id.to_string()])).await {
            Ok(answer) => answers.push(answer),
            // Somebody else was faster, or the lease ended: it is stopped, as was wished.
            Err(error) if error.status() == Some(404) && ids.len() > 1 => (),
            Err(error) => return Err(error.into()),
        }
        if global.format() == Format::Table {
            output::print(&format!("stopping {id}"))?;
        }
    }
    match global.format() {
        Format::Json => output::print_json(&json!({ "total": answers.len(), "items": answers }))?,
        Format::Table if ids.is_empty() => output::print("there is nothing to stop")?,
        Format::Table => (),
    }
    Ok(Ending::Fine)
}

async fn renew(
    global: &Global,
    client: &Client,
    text: &str,
    ttl: Option<u32>,
) -> Result<Ending, Failure> {
    let id = resolve(client, text).await?.to_string();
    let query: Vec<_> = ttl.iter().map(|ttl| ("ttl", ttl.to_string())).collect();
    let request = Request { path: &["instances", &id, "renew"], query: &query };
    let answer = client.post(request, None).await?;
    match global.format() {
        Format::Json => output::print_json(&answer)?,
        Format::Table => {
            let left = show::time_left(&answer, SystemClock.now());
            output::print(&format!("renewed {id}: {left} left"))?;
        }
    }
    Ok(Ending::Fine)
}

async fn reset(
    global: &Global,
    client: &Client,
    text: &str,
    answers: &str,
) -> Result<Ending, Failure> {
    let id = resolve(client, text).await?.to_string();
    let body = json!({ "answers": answers });
    let answer = client.post(Request::to(&["instances", &id, "reset"]), Some(&body)).await?;
    match global.format() {
        Format::Json => output::print_json(&answer)?,
        Format::Table => output::print(&format!(
            "making {id} anew; `flagops instances show {id}` shows how far it is"
        ))?,
    }
    Ok(Ending::Fine)
}

async fn logs(
    global: &Global,
    client: &Client,
    text: &str,
    n_lines: u32,
) -> Result<Ending, Failure> {
    let id = resolve(client, text).await?.to_string();
    let query = [("lines", n_lines.to_string())];
    let path = ["admin", "instances", &id, "logs"];
    let logs = client.get_text(Request { path: &path, query: &query }).await?;
    match global.format() {
        Format::Json => output::print_json(&json!({ "id": id, "logs": logs }))?,
        Format::Table => output::print(&output::clean_block(&logs))?,
    }
    Ok(Ending::Fine)
}

/// Parses a span of time: `90`, `90s`, `30m`, `2h`, `1d`.
pub(super) fn parse_span(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.chars().last() {
        Some('s') => (&text[..text.len() - 1], 1),
        Some('m') => (&text[..text.len() - 1], 60),
        Some('h') => (&text[..text.len() - 1], 3600),
        Some('d') => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    let number = digits.parse::<u32>().ok().filter(|number| *number > 0);
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| "give seconds, or a number with s, m, h or d, e.g. 90m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_have_units() {
        for (text, secs) in [
            ("90", Ok(90)),
            ("90s", Ok(90)),
            ("30m", Ok(1800)),
            ("2h", Ok(7200)),
            ("1d", Ok(86_400)),
        ] {
            assert_eq!(parse_span(text), secs, "{text}");
        }
        for text in ["", "0", "m", "-1", "1.5h", "1w", "99999999d", "ü"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_beginning_of_an_id_must_be_unique() {
        let rows = [
            json!({"id": "3f2a0000-0000-4000-8000-000000000001"}),
            json!({"id": "3f2b0000-0000-4000-8000-000000000002"}),
        ];
        assert_eq!(
            unique("3F2A", &rows).map(|id| id.to_string()),
            Ok("3f2a0000-0000-4000-8000-000000000001".to_owned())
        );
        assert!(unique("3f2", &rows).unwrap_err().to_string().contains("2 instances begin"));
        assert!(unique("9999", &rows).unwrap_err().to_string().contains("no instance begins"));
    }
}
