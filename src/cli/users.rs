//! `flagops users`: who has an account, and who runs the event.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{Client, Request};
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// List accounts, and say who is an administrator
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops users ls
  flagops users role ada@example.org admin")]
pub(crate) struct UsersArgs {
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    /// List every account, the oldest first
    #[command(after_help = "\
Examples:
  flagops users ls
  flagops users ls --format json | jq -r '.[].email'")]
    Ls,
    /// Make somebody an administrator, or a player again
    ///
    /// Only super administrators may: the first account, and the holder of `admin.token`.
    #[command(after_help = "\
Examples:
  flagops users role ada@example.org admin
  flagops users role ada@example.org user")]
    Role {
        /// Address or id of the account
        who: String,
        /// What they become
        role: NewRole,
    },
}

/// The roles that are given.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum NewRole {
    /// Runs the event
    Admin,
    /// Plays
    User,
}

/// Carries out the wish.
pub(crate) async fn run(global: &Global, args: UsersArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    match args.command {
        UsersCommand::Ls => {
            let users = client.list(Request::to(&["admin", "users"])).await?;
            match global.format() {
                Format::Json => output::print_json(&Value::Array(users))?,
                Format::Table => output::print(&render(&users))?,
            }
        }
        UsersCommand::Role { who, role } => {
            let id = resolve(&client, &who).await?;
            let word = match role {
                NewRole::Admin => "admin",
                NewRole::User => "user",
            };
            let path = ["admin", "users", &id, "role"];
            let user = client.patch(Request::to(&path), &json!({"role": word})).await?;
            match global.format() {
                Format::Json => output::print_json(&user)?,
                Format::Table => output::print(&format!(
                    "{} is {} now",
                    output::clean(user.text("email")),
                    output::clean(user.text("role"))
                ))?,
            }
        }
    }
    Ok(Ending::Fine)
}

/// The id of the account that `who` names.
async fn resolve(client: &Client, who: &str) -> Result<String, Failure> {
    let users = client.list(Request::to(&["admin", "users"])).await?;
    let wanted = who.to_lowercase();
    let found = users.iter().find(|user| user.text("email") == wanted || user.text("id") == wanted);
    found.map(|user| user.text("id").to_owned()).ok_or_else(|| {
        let problem = format!("nobody has the account `{}`", output::clean(who));
        Failure::failed(problem, "`flagops users ls` lists them")
    })
}

fn render(users: &[Value]) -> String {
    if users.is_empty() {
        return "nobody has an account: the first who registers is a super administrator"
            .to_owned();
    }
    let row = |user: &Value| {
        let column = |name: &str| user.text(name).to_owned();
        vec![
            column("email"),
            column("display_name"),
            column("role"),
            user.number("solves").to_string(),
            column("created_at"),
            column("id"),
        ]
    };
    let rows: Vec<_> = users.iter().map(row).collect();
    output::table(&["EMAIL", "NAME", "ROLE", "SOLVES", "SINCE", "ID"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_reads_like_this() {
        let user = json!({
            "email": "ada@example.org", "display_name": "Ada", "role": "super_admin",
            "solves": 3, "created_at": "2027-03-01T12:00:00Z", "id": "u1",
        });
        insta::assert_snapshot!(render(&[user]), @"
        EMAIL            NAME  ROLE         SOLVES  SINCE                 ID
        ada@example.org  Ada   super_admin  3       2027-03-01T12:00:00Z  u1
        ");
        assert!(render(&[]).starts_with("nobody has an account"));
    }
}
