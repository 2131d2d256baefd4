//! `flagops events`: what changed its condition, and when; also as it happens.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::model::{ConditionType, Scope};

use super::client::{Client, ClientError, Request};
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// How often the server is asked while following.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// List changes of conditions, oldest first, and follow them
///
/// An event is recorded when a condition changes its status or its reason. The server keeps the
/// newest 50,000.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops events
  flagops events --follow
  flagops events --scope challenge/WEB-001 --limit 200
  flagops events --kind DockerAvailable --since-seq 0 --format json
  flagops events --follow --format json | jq -c 'select(.status == \"False\")'")]
pub(crate) struct EventsArgs {
    /// Print every event as it is recorded, until Ctrl-C; as JSON, one object per line
    #[arg(long)]
    follow: bool,

    /// Only those about this object: repo, challenge/ID, node/ID or instance/ID
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,

    /// Only those of this type, e.g. SourceReachable
    #[arg(long, value_name = "TYPE")]
    kind: Option<ConditionType>,

    /// Begin after the event of this number instead of with the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    since_seq: Option<i64>,

    /// At most so many; while following, how many to begin with
    #[arg(
        long,
        value_name = "N",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    limit: u32,
}

impl EventsArgs {
    fn query(&self, after: Option<i64>) -> Vec<(&'static str, String)> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(after.map(|after| ("after", after.to_string())));
        query.extend(self.scope.as_ref().map(|scope| ("scope", scope.to_string())));
        query.extend(self.kind.map(|kind| ("kind", kind.to_string())));
        query
    }
}

/// Lists or follows.
pub(crate) async fn run(global: &Global, args: EventsArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let page = page(&client, &args, args.since_seq).await?;
    if args.follow {
        return follow(global, &client, &args, page).await;
    }
    match global.format() {
        Format::Json => output::print_json(&page)?,
        Format::Table => output::print(&render(page.list("items")))?,
    }
    Ok(Ending::Fine)
}

async fn page(
    client: &Client,
    args: &EventsArgs,
    after: Option<i64>,
) -> Result<Value, ClientError> {
    let query = args.query(after);
    client.get(Request { path: &["gitops", "events", "log"], query: &query }).await
}

/// Prints what comes, page after page. A server that is away for a moment is waited for: the next
/// page begins where the last one ended.
async fn follow(
    global: &Global,
    client: &Client,
    args: &EventsArgs,
    first: Value,
) -> Result<Ending, Failure> {
    let mut now = first;
    let mut is_away = false;
    loop {
        for event in now.list("items") {
            output::print(&line(event, global.format()))?;
        }
        let after = now["next"].as_i64().unwrap_or(0);
        if (now.list("items").len() as u64) < u64::from(args.limit) {
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
        now = match page(client, args, Some(after)).await {
            Ok(page) => {
                is_away = false;
                page
            }
            Err(error @ (ClientError::Unreachable { .. } | ClientError::TimedOut { .. })) => {
                if !is_away {
                    output::note(&output::clean(&format!("{error}; waiting for it")));
                }
                is_away = true;
                serde_json::json!({ "next": after })
            }
            Err(error) => return Err(error.into()),
        };
    }
}

fn line(event: &Value, format: Format) -> String {
    match format {
        Format::Json => event.to_string(),
        Format::Table => output::clean(&row(event).join("  ")),
    }
}

fn row(event: &Value) -> Vec<String> {
    vec![
        event["seq"].to_string(),
        event.text("at").to_owned(),
        event.text("scope").to_owned(),
        format!("{}={}", event.text("type"), event.text("status")),
        event.text("reason").to_owned(),
        output::cut(event.text("message").lines().next().unwrap_or_default(), 120),
    ]
}

fn render(events: &[Value]) -> String {
    if events.is_empty() {
        return "no events; `flagops events --since-seq 0` shows the oldest kept".to_owned();
    }
    let rows: Vec<_> = events.iter().map(row).collect();
    output::table(&["SEQ", "AT", "SCOPE", "CONDITION", "REASON", "MESSAGE"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(seq: i64, status: &str, message: &str) -> Value {
        json!({
            "seq": seq, "at": "2026-11-20T12:00:00Z", "scope": "node/local",
            "type": "DockerAvailable", "status": status, "reason": "Unreachable",
            "message": message, "revision": null,
        })
    }

    #[test]
    fn events_are_a_table_and_a_line_each_when_they_are_followed() {
        let events = [event(7, "False", "no\u{1b}[2J answer\nlast output"), event(12, "True", "")];
        insta::assert_snapshot!(render(&events), @r"
        SEQ  AT                    SCOPE       CONDITION              REASON       MESSAGE
        7    2026-11-20T12:00:00Z  node/local  DockerAvailable=False  Unreachable  no�[2J answer
        12   2026-11-20T12:00:00Z  node/local  DockerAvailable=True   Unreachable
        ");
        assert_eq!(
            line(&events[0], Format::Table),
            "7  2026-11-20T12:00:00Z  node/local  DockerAvailable=False  Unreachable  no�[2J answer"
        );
        let json = line(&events[0], Format::Json);
        assert!(!json.contains('\n') && json.contains("\\n"), "{json}");
    }

    #[test]
    fn no_events_say_what_to_do() {
        assert!(render(&[]).contains("--since-seq 0"));
    }
}
