//! The command line: what can be asked for, and how each wish is carried out.
//!
//! In:  arguments and variables. Out: text or JSON on standard output, an exit code: 0 fine,
//! 1 findings or failure, 2 usage.
//!
//! `serve` and `play` run the daemon in this process; `new`, `import`, `check`, `secrets`, `backup`,
//! `restore` and `doctor` look at this machine, `schema` at nothing; everything else asks a running server
//! through its HTTP API.
//!
//! # Invariants
//! * Only [`output`] prints.
//! * A failure says what, where, why, and what to do next.

mod backup;
mod builds;
mod challenges;
mod check;
mod client;
mod ctfd;
mod daemon;
mod doctor;
mod events;
mod excerpt;
mod explain;
mod failure;
mod fairness;
mod fix;
mod gc;
mod import;
mod instances;
mod login;
mod new;
mod node;
mod nodes;
mod notices;
mod output;
mod pauses;
mod play;
mod recount;
mod recover;
mod releases;
mod render;
mod schema;
mod secrets;
mod serve;
mod settings;
mod solve;
mod status;
mod token;
mod traffic;
mod users;
mod vpn;
mod wire;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use failure::{Ending, Failure};
use output::Format;
use settings::Global;

/// GitOps for capture-the-flag events: a git repository of challenges becomes running, per-team
/// instances, and stays so.
#[derive(Debug, Parser)]
#[command(name = "flagops", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Start here:
  flagops new --category web            begin a challenge that runs at once
  flagops check ./challenges            check a repository before you push it
  flagops play WEB-001                  build and start one challenge as it is on disk
  flagops serve --repo ./challenges     serve it on http://127.0.0.1:8100
  flagops status                        see what the server does

Exit codes: 0 fine, 1 findings or failure, 2 wrong usage or configuration.
`flagops COMMAND --help` has examples for every command.")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::NewArgs),
    Import(import::ImportArgs),
    Serve(serve::ServeArgs),
    Node(node::NodeArgs),
    Check(check::CheckArgs),
    Play(play::PlayArgs),
    Status(status::StatusArgs),
    Reconcile(status::ReconcileArgs),
    Events(events::EventsArgs),
    Challenges(challenges::ChallengesArgs),
    Builds(builds::BuildsArgs),
    Gc(gc::GcArgs),
    Solve(solve::SolveArgs),
    Instances(instances::InstancesArgs),
    Vpn(vpn::VpnArgs),
    Nodes(nodes::NodesArgs),
    Login(login::LoginArgs),
    Logout(login::LogoutArgs),
    Whoami(login::WhoamiArgs),
    Token(token::TokenArgs),
    Users(users::UsersArgs),
    Ctfd(ctfd::CtfdArgs),
    Releases(releases::ReleasesArgs),
    Rollback(releases::RollbackArgs),
    Diff(releases::DiffArgs),
    Freeze(releases::FreezeArgs),
    Plan(explain::PlanArgs),
    Explain(explain::ExplainArgs),
    Suspend(pauses::SuspendArgs),
    Hold(pauses::HoldArgs),
    Resume(pauses::ResumeArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Recover(recover::RecoverArgs),
    Recount(recount::RecountArgs),
    Fairness(fairness::FairnessArgs),
    Notify(notices::NotifyArgs),
    Secrets(secrets::SecretsArgs),
    Doctor(doctor::DoctorArgs),
    Schema(schema::SchemaArgs),
    #[command(name = crate::daemon::RENDER_COMMAND, hide = true)]
    Render(render::RenderArgs),
    #[command(name = crate::daemon::TRAFFIC_COMMAND, hide = true)]
    Traffic(traffic::TrafficArgs),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  flagops completions bash > /etc/bash_completion.d/flagops
  flagops completions fish > ~/.config/fish/completions/flagops.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the server's OpenAPI document
    #[command(after_help = "\
Examples:
  flagops openapi > flagops.openapi.json")]
    Openapi,
    /// Print the version of this program, and of the server if one answers
    #[command(after_help = "\
Examples:
  flagops version
  flagops version --format json")]
    Version,
}

/// Runs the program: parses `arguments`, does what they say, and tells how it ended.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // clap knows where: help and version to standard output, the rest to standard error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli) {
        Ok(ending) => ending.into(),
        Err(failure) => {
            output::note(&failure.to_string());
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<Ending, Failure> {
    if let Command::Render(_) = cli.command {
        // One thread, and no more memory than it needs.
        return render::run();
    }
    if let Command::Traffic(_) = cli.command {
        return traffic::run();
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
            Failure::failed(
                format!("could not start the runtime ({error})"),
                "raise the limits on threads and open files (`ulimit -u`, `ulimit -n`)",
            )
        })?;
    runtime.block_on(dispatch(cli))
}

async fn dispatch(cli: Cli) -> Result<Ending, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::New(args) => new::run(&global, &args),
        Command::Import(args) => import::run(&global, &args),
        Command::Serve(args) => serve::run(&global, args).await,
        Command::Node(args) => node::run(&global, args).await,
        Command::Check(args) => check::run(&global, &args),
        Command::Play(args) => play::run(&global, args).await,
        Command::Status(args) => status::run(&global, &args).await,
        Command::Reconcile(args) => status::reconcile(&global, &args).await,
        Command::Events(args) => events::run(&global, args).await,
        Command::Challenges(args) => challenges::run(&global, args).await,
        Command::Builds(args) => builds::run(&global, args).await,
        Command::Gc(args) => gc::run(&global, &args).await,
        Command::Solve(args) => solve::run(&global, &args).await,
        Command::Instances(args) => instances::run(&global, args).await,
        Command::Vpn(args) => vpn::run(&global, args).await,
        Command::Nodes(args) => nodes::run(&global, args).await,
        Command::Users(args) => users::run(&global, args).await,
        Command::Ctfd(args) => ctfd::run(&global, args).await,
        Command::Token(args) => token::run(&global, args).await,
        Command::Login(args) => login::login(&global, args).await,
        Command::Logout(args) => login::logout(&global, args).await,
        Command::Whoami(args) => login::whoami(&global, args).await,
        Command::Releases(args) => releases::run(&global, args).await,
        Command::Rollback(args) => releases::rollback(&global, &args).await,
        Command::Diff(args) => releases::diff(&global, &args).await,
        Command::Freeze(args) => releases::freeze(&global, &args).await,
        Command::Plan(args) => explain::plan(&global, &args).await,
        Command::Explain(args) => explain::explain(&global, &args).await,
        Command::Suspend(args) => pauses::suspend(&global, &args).await,
        Command::Hold(args) => pauses::hold(&global, &args).await,
        Command::Fairness(args) => fairness::run(&global, args).await,
        Command::Recount(args) => recount::run(&global, &args).await,
        Command::Backup(args) => backup::back_up(&global, args).await,
        Command::Restore(args) => backup::restore(&global, args).await,
        Command::Recover(args) => recover::run(&global, &args).await,
        Command::Resume(args) => pauses::resume(&global, &args).await,
        Command::Notify(args) => notices::run(&global, args).await,
        Command::Doctor(args) => doctor::run(&global, &args).await,
        Command::Secrets(args) => secrets::run(&global, &args),
        Command::Schema(args) => schema::run(&args),
        Command::Render(_) => render::run(),
        Command::Traffic(_) => traffic::run(),
        Command::Completions { shell } => completions(shell),
        Command::Openapi => openapi(&global).await,
        Command::Version => version(&global).await,
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Ending, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "flagops", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Ending::Fine)
}

async fn openapi(global: &Global) -> Result<Ending, Failure> {
    let document = global.client()?.get(client::Request::to(&["openapi.json"])).await?;
    output::print_json(&document)?;
    Ok(Ending::Fine)
}

async fn version(global: &Global) -> Result<Ending, Failure> {
    use wire::Fields as _;
    let ours = env!("CARGO_PKG_VERSION");
    // Without a server the question is answered all the same.
    let meta = match global.anonymous() {
        Ok(client) => client.get(client::Request::to(&["meta"])).await.ok(),
        Err(_) => None,
    };
    let theirs = meta.as_ref().map(|meta| meta.text("version")).filter(|text| !text.is_empty());
    match global.format() {
        Format::Json => {
            output::print_json(&serde_json::json!({ "version": ours, "server": theirs }))?;
        }
        Format::Table => {
            let server = theirs.map_or(String::new(), |theirs| format!("\nserver {theirs}"));
            output::print(&format!("flagops {ours}{}", output::clean_block(&server)))?;
        }
    }
    Ok(Ending::Fine)
}
