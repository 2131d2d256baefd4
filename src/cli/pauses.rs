//! `flagops suspend`, `hold` and `resume`: a person keeps the server from something, for a while.

use clap::Args;
use serde_json::json;

use crate::model::{ChallengeId, InstanceId};

use super::client::{Client, Request};
use super::failure::{Ending, Failure};
use super::instances::{self, parse_span};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Suspend the server's own work on everything, a challenge or an instance, for a while
///
/// No repair, no removal of what is left over, and no new version goes live. Players start and stop
/// as ever, and leases end. It ends by itself, and is shown in `flagops status` until then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops suspend --for 30m --why maintenance
  flagops suspend WEB-001 --for 2h --why crashes
  flagops resume WEB-001")]
pub(crate) struct SuspendArgs {
    /// A challenge, the id of an instance (or how it begins), or `repo` for everything
    #[arg(value_name = "OBJECT", default_value = "repo")]
    object: String,
    #[command(flatten)]
    reason: Reason,
}

/// Hold a challenge, so that nobody starts it, or an instance, so that it does not end
///
/// A held instance outlives its lease, a solve and its team's stop; administrators can stop it. It
/// ends by itself, and is shown in `flagops status` until then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops hold WEB-001 --for 1h --why leaked
  flagops hold 3f2a --for 4h --why evidence
  flagops resume 3f2a")]
pub(crate) struct HoldArgs {
    /// A challenge, or the id of an instance (or how it begins)
    #[arg(value_name = "OBJECT")]
    object: String,
    #[command(flatten)]
    reason: Reason,
}

/// End what `suspend`, `hold` and `freeze` began
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops resume
  flagops resume WEB-001")]
pub(crate) struct ResumeArgs {
    /// A challenge, the id of an instance (or how it begins), or `repo` for everything
    #[arg(value_name = "OBJECT", default_value = "repo")]
    object: String,
}

/// Who, why and for how long.
#[derive(Debug, Args)]
struct Reason {
    /// For how long: seconds, or with s, m, h or d; at most 30d
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
    secs: u32,
    /// Why, for whoever wonders
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Who says so
    #[arg(long, value_name = "NAME", env = "USER", default_value = "an organizer")]
    by: String,
}

/// Suspends.
pub(crate) async fn suspend(global: &Global, args: &SuspendArgs) -> Result<Ending, Failure> {
    begin(global, "suspend", &args.object, &args.reason).await
}

/// Holds.
pub(crate) async fn hold(global: &Global, args: &HoldArgs) -> Result<Ending, Failure> {
    begin(global, "hold", &args.object, &args.reason).await
}

async fn begin(
    global: &Global,
    kind: &str,
    object: &str,
    reason: &Reason,
) -> Result<Ending, Failure> {
    let client = global.client()?;
    let scope = scope_of(&client, object).await?;
    let body = json!({
        "scope": scope, "kind": kind, "who": reason.by, "why": reason.why, "secs": reason.secs,
    });
    let pause = client.post(Request::to(&["gitops", "pauses"]), Some(&body)).await?;
    let word = if kind == "hold" { "held" } else { "suspended" };
    match global.format() {
        Format::Json => output::print_json(&pause)?,
        Format::Table => output::print(&format!(
            "{scope} is {word} until {}; `flagops resume {object}` ends it",
            output::clean(pause.text("until"))
        ))?,
    }
    Ok(Ending::Fine)
}

/// Ends every kind of pause of an object.
pub(crate) async fn resume(global: &Global, args: &ResumeArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let scope = scope_of(&client, &args.object).await?;
    let mut ended = Vec::new();
    for kind in ["suspend", "hold", "freeze"] {
        let query = [("scope", scope.clone()), ("kind", kind.to_owned())];
        let request = Request { path: &["gitops", "pauses"], query: &query };
        if client.delete(request).await?["resumed"] == json!(true) {
            ended.push(kind);
        }
    }
    match global.format() {
        Format::Json => output::print_json(&json!({ "scope": scope, "ended": ended }))?,
        Format::Table if ended.is_empty() => {
            output::print(&format!("{scope} was neither suspended, held nor frozen"))?;
        }
        Format::Table => output::print(&format!("{scope} goes on ({} ended)", ended.join(", ")))?,
    }
    Ok(Ending::Fine)
}

/// What the server calls the object.
async fn scope_of(client: &Client, object: &str) -> Result<String, Failure> {
    if object == "repo" || object.contains('/') {
        return Ok(object.to_owned());
    }
    if object.parse::<InstanceId>().is_ok() {
        return Ok(format!("instance/{object}"));
    }
    if object.parse::<ChallengeId>().is_ok() {
        let challenges = client.get(Request::to(&["gitops", "status"])).await?;
        let is_one = challenges.list("challenges").iter().any(|row| row.text("id") == object);
        if is_one {
            return Ok(format!("challenge/{object}"));
        }
    }
    Ok(format!("instance/{}", instances::resolve(client, object).await?))
}
