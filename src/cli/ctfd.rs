//! `flagops ctfd`: a CTFd that has this platform run its instances.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{Client, Request};
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Let a CTFd start and check instances for its teams
///
/// Players stay in CTFd; its plugin asks this platform with a token of its own, which is good for
/// nothing else. See docs/ctfd.md.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops ctfd create finals --mode team --webhook https://ctf.example.org/flagops/solve
  flagops ctfd                              who there is, and what waits for them
  flagops ctfd kill finals --team 17        stop what team 17 runs
  flagops ctfd revoke finals")]
pub(crate) struct CtfdArgs {
    #[command(subcommand)]
    command: Option<CtfdCommand>,
}

#[derive(Debug, Subcommand)]
enum CtfdCommand {
    /// List the integrations
    #[command(after_help = "\
Examples:
  flagops ctfd ls
  flagops ctfd ls --format json | jq -r '.[].last_error'")]
    Ls,
    /// Make an integration; its token and secret are shown once
    #[command(after_help = "\
Examples:
  flagops ctfd create finals --mode team
  flagops ctfd create finals --mode user --competition finals-2027 --format json > finals.keys")]
    Create {
        /// What it is called; names of its teams begin with it
        name: String,
        /// Who owns instances
        #[arg(long, value_enum)]
        mode: Mode,
        /// Id of the competition; needed where several are published
        #[arg(long, value_name = "ID", default_value = "")]
        competition: String,
        /// Where CTFd hears of solves
        #[arg(long, value_name = "URL")]
        webhook: Option<String>,
    },
    /// Give an integration another token and secret; the old ones are worth nothing
    #[command(after_help = "\
Examples:
  flagops ctfd rotate finals")]
    Rotate {
        /// Name or id
        integration: String,
    },
    /// Take an integration its rights; its instances run on until their leases end
    #[command(after_help = "\
Examples:
  flagops ctfd revoke finals")]
    Revoke {
        /// Name or id
        integration: String,
    },
    /// Stop what runs for an integration's teams and users, or for one
    #[command(after_help = "\
Examples:
  flagops ctfd kill finals
  flagops ctfd kill finals --team 17")]
    Kill(WhoseArgs),
    /// Stop it, and forget whom the integration spoke for; they begin anew
    #[command(after_help = "\
Examples:
  flagops ctfd purge finals --user 3")]
    Purge(WhoseArgs),
}

#[derive(Debug, Args)]
struct WhoseArgs {
    /// Name or id
    integration: String,
    /// Only of this team of CTFd
    #[arg(long, value_name = "NUMBER", conflicts_with = "user")]
    team: Option<u32>,
    /// Only of this user of CTFd
    #[arg(long, value_name = "NUMBER")]
    user: Option<u32>,
}

impl WhoseArgs {
    fn body(&self) -> Value {
        json!({"team_id": self.team, "user_id": self.user})
    }
}

/// Who owns instances.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// A team of CTFd; one instance of each challenge
    Team,
    /// A user of CTFd; one instance of each challenge
    User,
    /// A team, or a user without one; as many as limits allow
    Unlimited,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::User => "user",
            Self::Unlimited => "unlimited",
        }
    }
}

/// Does what is asked with integrations.
pub(crate) async fn run(global: &Global, args: CtfdArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    match args.command.unwrap_or(CtfdCommand::Ls) {
        CtfdCommand::Ls => {
            let rows = client.list(Request::to(&["integrations", "ctfd"])).await?;
            match global.format() {
                Format::Json => output::print_json(&Value::Array(rows))?,
                Format::Table => output::print(&table(&rows))?,
            }
        }
        CtfdCommand::Create { name, mode, competition, webhook } => {
            let body = json!({
                "name": name, "mode": mode.word(), "competition_id": competition,
                "webhook_url": webhook,
            });
            let request = Request::to(&["integrations", "ctfd"]);
            show_keys(global, &client.post(request, Some(&body)).await?)?;
        }
        CtfdCommand::Rotate { integration } => {
            let id = resolve(&client, &integration).await?;
            let path = ["integrations", "ctfd", &id, "rotate"];
            show_keys(global, &client.post(Request::to(&path), Some(&json!({}))).await?)?;
        }
        CtfdCommand::Revoke { integration } => {
            let id = resolve(&client, &integration).await?;
            let done = client.delete(Request::to(&["integrations", "ctfd", &id])).await?;
            tell(
                global,
                &done,
                &format!("`{}` may nothing any more", output::clean(&integration)),
            )?;
        }
        CtfdCommand::Kill(whose) => {
            let id = resolve(&client, &whose.integration).await?;
            let path = ["integrations", "ctfd", &id, "kill"];
            let done = client.post(Request::to(&path), Some(&whose.body())).await?;
            tell(global, &done, &format!("{} stopped", done.number("stopped")))?;
        }
        CtfdCommand::Purge(whose) => {
            let id = resolve(&client, &whose.integration).await?;
            let path = ["integrations", "ctfd", &id, "purge"];
            let done = client.post(Request::to(&path), Some(&whose.body())).await?;
            tell(global, &done, &format!("{} forgotten", done.number("purged")))?;
        }
    }
    Ok(Ending::Fine)
}

fn tell(global: &Global, answer: &Value, words: &str) -> Result<(), Failure> {
    match global.format() {
        Format::Json => output::print_json(answer),
        Format::Table => output::print(words),
    }
}

/// The keys go to standard output, one a line, so that a configuration can be made of them.
fn show_keys(global: &Global, keys: &Value) -> Result<(), Failure> {
    match global.format() {
        Format::Json => output::print_json(keys),
        Format::Table => {
            output::note(&format!(
                "keys of `{}` ({}), shown this once:",
                output::clean(keys.text("name")),
                output::clean(keys.text("id"))
            ));
            output::print(&format!(
                "token          {}\nwebhook secret {}",
                output::clean(keys.text("token")),
                output::clean(keys.text("webhook_secret"))
            ))
        }
    }
}

/// The id of the integration of this name or id; of two of a name, the one that is not revoked.
async fn resolve(client: &Client, wanted: &str) -> Result<String, Failure> {
    let rows = client.list(Request::to(&["integrations", "ctfd"])).await?;
    let name = wanted.to_lowercase();
    let by_id = rows.iter().find(|row| row.text("id") == wanted);
    let mut named: Vec<&Value> =
        rows.iter().filter(|row| row.text("name").to_lowercase() == name).collect();
    named.sort_by_key(|row| row["revoked_at"].is_string());
    let found = by_id.or(named.first().copied());
    found.map(|row| row.text("id").to_owned()).ok_or_else(|| {
        let problem = format!("there is no integration `{}`", output::clean(wanted));
        Failure::failed(problem, "`flagops ctfd ls` lists them")
    })
}

fn table(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no CTFd has this platform run its instances: `flagops ctfd create`".to_owned();
    }
    let line = |row: &Value| {
        let state = if row["revoked_at"].is_string() { "revoked" } else { "good" };
        let column = |name: &str| row.text(name).to_owned();
        vec![
            column("name"),
            column("mode"),
            column("competition_id"),
            state.to_owned(),
            row.number("owners").to_string(),
            row.number("solves_waiting").to_string(),
            column("last_used_at"),
            column("id"),
        ]
    };
    let lines: Vec<_> = rows.iter().map(line).collect();
    let head = ["NAME", "MODE", "COMPETITION", "STATE", "OWNERS", "WAITING", "USED", "ID"];
    output::table(&head, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_reads_like_this() {
        let row = json!({
            "name": "finals", "mode": "team", "competition_id": "default", "owners": 12,
            "solves_waiting": 1, "last_used_at": "2027-03-01T12:00:00Z", "revoked_at": null,
            "id": "i1",
        });
        insta::assert_snapshot!(table(&[row]), @"
        NAME    MODE  COMPETITION  STATE  OWNERS  WAITING  USED                  ID
        finals  team  default      good   12      1        2027-03-01T12:00:00Z  i1
        ");
        assert!(table(&[]).starts_with("no CTFd"));
    }
}
