//! `flagops releases`, `rollback`, `diff` and `freeze`: what is live, what goes live next, and back.

mod show;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::model::ChallengeId;

use super::client::{Client, Request};
use super::failure::{Ending, Failure};
use super::instances::parse_span;
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

pub(super) use show::render_preview;

/// Between two questions whether images are there.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Show what is live, what goes live next, and where every release tag stands
///
/// Without a tag policy (`[release]` in the configuration) the branch itself is live: every push is
/// a generation. With one, tags are releases: they go live whole, once everything in them is valid
/// and built. A generation is never changed; going back makes a new one.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  flagops releases
  flagops releases show 12
  flagops releases approve v1.2.0 --why tried-it
  flagops releases quarantine v1.3.0 --why leaks
  flagops releases provenance 12 --out event-1.2.0.intoto.json
  flagops plan --tag v1.3.0          what it would change
  flagops rollback --reason broken"
)]
pub(crate) struct ReleasesArgs {
    #[command(subcommand)]
    command: Option<ReleasesCommand>,
}

#[derive(Debug, Subcommand)]
enum ReleasesCommand {
    /// List tags and generations (the default)
    #[command(after_help = "\
Examples:
  flagops releases ls
  flagops releases ls --format json")]
    Ls,
    /// Show everything in one generation
    #[command(after_help = "\
Examples:
  flagops releases show 12")]
    Show {
        /// Its number
        generation: u32,
    },
    /// Let a tag go live that waits for a person, for its time, or for the end of a freeze
    #[command(after_help = "\
Examples:
  flagops releases approve v1.2.0 --why tried-it")]
    Approve {
        /// The tag
        tag: String,
        #[command(flatten)]
        deed: Deed,
    },
    /// Accept that a tag names something else than when it was first seen
    #[command(after_help = "\
Examples:
  flagops releases accept-move v1.2.0 1234567890123456789012345678901234567890 --why typo")]
    AcceptMove {
        /// The tag
        tag: String,
        /// What it names now: 40 hex digits, as `flagops releases` shows them
        object: String,
        #[command(flatten)]
        deed: Deed,
    },
    /// Take a tag out: it and everything before it never goes live again
    ///
    /// What is live stays live; `flagops rollback` goes back.
    #[command(after_help = "\
Examples:
  flagops releases quarantine v1.3.0 --why leaks")]
    Quarantine {
        /// The tag
        tag: String,
        #[command(flatten)]
        deed: Deed,
    },
    /// End running instances of a challenge that are of an older version than the live one
    ///
    /// Their players read why and start anew. For a challenge that is broken or leaked.
    #[command(after_help = "\
Examples:
  flagops releases force WEB-004 --why leaked")]
    Force {
        /// The challenge
        challenge: ChallengeId,
        #[command(flatten)]
        deed: Deed,
    },
    /// Print where a generation comes from, for programs that verify it
    ///
    /// An in-toto statement with SLSA's provenance predicate: every challenge folder with its git
    /// tree, every image with its id, the repository, tag, tag object and commit. The same bytes
    /// whenever it is asked for. It is not signed: sign the file with a key of yours.
    #[command(after_help = "\
Examples:
  flagops releases provenance 12 --out event-1.2.0.intoto.json
  flagops releases provenance 12 | jq -r '.subject[].name'
  ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n file event-1.2.0.intoto.json")]
    Provenance {
        /// Its number, as `flagops releases` shows it
        generation: u32,
        /// Write it to this file, in place of what the file held
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List who did what to what is live, and why
    #[command(after_help = "\
Examples:
  flagops releases audit
  flagops releases audit --format json")]
    Audit,
}

/// Who and why.
#[derive(Debug, Args)]
struct Deed {
    /// Why, for whoever wonders
    #[arg(long, visible_alias = "reason", value_name = "TEXT")]
    why: String,
    /// Who says so
    #[arg(long, value_name = "NAME", env = "USER", default_value = "an organizer")]
    by: String,
}

/// Go back to an earlier generation, as a whole or of one challenge
///
/// Makes a new generation of the old content. The tag (or the commit of the branch, or the version
/// of the challenge) that is gone back from never goes live again by itself, so it stays: the next
/// tag after it, or the next push, goes live as ever. Running instances keep what they were started
/// from; `flagops releases force` ends them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops rollback --reason broken
  flagops rollback --to 11 --reason as-on-saturday
  flagops rollback --challenge WEB-004 --reason leaks")]
pub(crate) struct RollbackArgs {
    /// The generation; without it, the last one that differs
    #[arg(long, value_name = "GENERATION")]
    to: Option<u32>,
    /// Of this challenge only
    #[arg(long, value_name = "ID")]
    challenge: Option<ChallengeId>,
    #[command(flatten)]
    deed: Deed,
}

/// Show what differs between two generations
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops diff 11 12
  flagops diff 11 12 --format json | jq '.items[].challenge'

Exit codes: 0 nothing differs, 2 something does.")]
pub(crate) struct DiffArgs {
    /// The older one
    before: u32,
    /// The newer one
    after: u32,
}

/// Let nothing go live by itself for a while
///
/// Pushes are checked and built as ever, and a tag that is approved goes live all the same.
/// `flagops resume` ends it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops freeze --for 48h --why event
  flagops resume")]
pub(crate) struct FreezeArgs {
    /// For how long: seconds, or with s, m, h or d; at most 30d
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
    secs: u32,
    #[command(flatten)]
    deed: Deed,
}

/// Lists, shows or decides.
pub(crate) async fn run(global: &Global, args: ReleasesArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    match args.command.unwrap_or(ReleasesCommand::Ls) {
        ReleasesCommand::Ls => {
            let overview = client.get(Request::to(&["gitops", "releases"])).await?;
            let generations = client.get(Request::to(&["gitops", "generations"])).await?;
            let both = json!({ "releases": overview, "generations": generations["items"] });
            show(global, &both, || show::render_list(&overview, generations.list("items")))
        }
        ReleasesCommand::Show { generation } => {
            let number = generation.to_string();
            let found = client.get(Request::to(&["gitops", "generations", &number])).await?;
            show(global, &found, || show::render_generation(&found))
        }
        ReleasesCommand::Approve { tag, deed } => {
            decide(global, &client, &tag, json!({ "kind": "approve" }), deed).await
        }
        ReleasesCommand::AcceptMove { tag, object, deed } => {
            let body = json!({ "kind": "accept_move", "object": object });
            decide(global, &client, &tag, body, deed).await
        }
        ReleasesCommand::Quarantine { tag, deed } => {
            decide(global, &client, &tag, json!({ "kind": "quarantine" }), deed).await
        }
        ReleasesCommand::Force { challenge, deed } => {
            let body = json!({ "challenge": challenge, "who": deed.by, "why": deed.why });
            let done = client.post(Request::to(&["gitops", "force"]), Some(&body)).await?;
            show(global, &done, || {
                format!("{} instances of an older version of {challenge} end", done["ended"])
            })
        }
        ReleasesCommand::Provenance { generation, out } => {
            provenance(&client, generation, out.as_deref()).await
        }
        ReleasesCommand::Audit => {
            let audit = client.get(Request::to(&["gitops", "audit"])).await?;
            show(global, &audit, || show::render_audit(audit.list("items")))
        }
    }
}

fn show(global: &Global, value: &Value, table: impl FnOnce() -> String) -> Result<Ending, Failure> {
    match global.format() {
        Format::Json => output::print_json(value)?,
        Format::Table => output::print(&table())?,
    }
    Ok(Ending::Fine)
}

async fn provenance(
    client: &Client,
    generation: u32,
    out: Option<&Path>,
) -> Result<Ending, Failure> {
    let number = generation.to_string();
    let path = ["gitops", "releases", &number, "provenance"];
    let text = client.get_text(Request::to(&path)).await?;
    match out {
        None => output::print(&text)?,
        Some(file) => {
            std::fs::write(file, &text).map_err(|error| {
                let problem = format!("could not write `{}`: {error}", file.display());
                Failure::failed(problem, "give a file in a folder that you may write to with --out")
            })?;
            output::note(&format!("wrote {}", file.display()));
        }
    }
    Ok(Ending::Fine)
}

async fn decide(
    global: &Global,
    client: &Client,
    tag: &str,
    mut body: Value,
    deed: Deed,
) -> Result<Ending, Failure> {
    body["who"] = json!(deed.by);
    body["why"] = json!(deed.why);
    let path = ["gitops", "tags", tag, "decisions"];
    let overview = client.post(Request::to(&path), Some(&body)).await?;
    show(global, &overview, || show::render_list(&overview, &[]))
}

/// Goes back; waits while images have to be built first.
pub(crate) async fn rollback(global: &Global, args: &RollbackArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let body = json!({
        "to": args.to, "challenge": args.challenge, "who": args.deed.by, "why": args.deed.why,
    });
    let begin = Instant::now();
    let mut is_told = false;
    let done = loop {
        match client.post(Request::to(&["gitops", "rollback"]), Some(&body)).await {
            Err(error) if error.code() == Some("images_missing") => {
                if !is_told {
                    output::note(&format!("{error}; waiting (`flagops builds --watch` follows)"));
                    is_told = true;
                }
                if begin.elapsed() > Duration::from_secs(3600) {
                    return Err(error.into());
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
            other => break other?,
        }
    };
    show(global, &done, || {
        format!("generation {} is live: {}", done["number"], output::clean(done.text("why")))
    })
}

/// Compares.
pub(crate) async fn diff(global: &Global, args: &DiffArgs) -> Result<Ending, Failure> {
    let query = [("before", args.before.to_string()), ("after", args.after.to_string())];
    let request = Request { path: &["gitops", "diff"], query: &query };
    let preview = global.client()?.get(request).await?;
    show(global, &preview, || render_preview(&preview))?;
    Ok(if preview.list("items").is_empty() { Ending::Fine } else { Ending::Changes })
}

/// What a tag would change.
pub(crate) async fn plan_tag(global: &Global, tag: &str) -> Result<Ending, Failure> {
    let preview = global.client()?.get(Request::to(&["gitops", "tags", tag, "plan"])).await?;
    show(global, &preview, || render_preview(&preview))?;
    Ok(match (preview.list("held").is_empty(), preview.list("items").is_empty()) {
        (false, _) => Ending::Held,
        (true, true) => Ending::Fine,
        (true, false) => Ending::Changes,
    })
}

/// Freezes.
pub(crate) async fn freeze(global: &Global, args: &FreezeArgs) -> Result<Ending, Failure> {
    let body = json!({
        "scope": "repo", "kind": "freeze",
        "who": args.deed.by, "why": args.deed.why, "secs": args.secs,
    });
    let pause = global.client()?.post(Request::to(&["gitops", "pauses"]), Some(&body)).await?;
    show(global, &pause, || {
        format!(
            "nothing goes live by itself until {}; `flagops resume` ends it",
            output::clean(pause.text("until"))
        )
    })
}
