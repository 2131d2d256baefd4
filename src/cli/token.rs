//! `flagops token`: tokens for teams.

use clap::{Args, Subcommand};

use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Make tokens for teams
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token for a team, and the team when it is new
    ///
    /// The token is shown once; the server keeps only its hash. It lets its holder play for the
    /// team and nothing else.
    #[command(after_help = "\
Examples:
  flagops token create --team blue
  flagops token create --team blue --competition finals-2027
  flagops token create --team blue --format json | jq -r .token > blue.token")]
    Create {
        /// Name of the team
        #[arg(long, value_name = "NAME")]
        team: String,
        /// Id of the competition; needed where several are published
        #[arg(long, value_name = "ID", default_value = "")]
        competition: String,
    },
}

/// Makes a token.
pub(crate) async fn run(global: &Global, args: TokenArgs) -> Result<Ending, Failure> {
    let TokenCommand::Create { team, competition } = args.command;
    let answer = global.client()?.mint(&team, &competition).await?;
    match global.format() {
        Format::Json => output::print_json(&answer)?,
        // The token alone goes to standard output, so that it can be stored without editing.
        Format::Table => {
            let id = output::clean(answer.text("team_id"));
            output::note(&format!("token of team {} ({id}):", output::clean(&team)));
            output::print(&output::clean(answer.text("token")))?;
        }
    }
    Ok(Ending::Fine)
}
