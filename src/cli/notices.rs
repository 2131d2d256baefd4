//! `flagops notify`: whether those who are to be told when something is wrong can be told.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::Request;
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Try the receiver of notices
#[derive(Debug, Args)]
pub(crate) struct NotifyArgs {
    #[command(subcommand)]
    command: NotifyCommand,
}

#[derive(Debug, Subcommand)]
enum NotifyCommand {
    /// Make the server send a test notice, and show what the receiver answered
    ///
    /// The address is in the file that `notify.url_file` names, and is read anew each time: it can be
    /// mended without a restart. `flagops status` shows what waits and what was given up.
    #[command(after_help = "\
Examples:
  flagops notify test
  flagops notify test --format json")]
    Test,
}

/// Sends a test.
pub(crate) async fn run(global: &Global, args: NotifyArgs) -> Result<Ending, Failure> {
    let NotifyCommand::Test = args.command;
    let answer = global.client()?.post(Request::to(&["gitops", "notices", "test"]), None).await?;
    match global.format() {
        Format::Json => output::print_json(&answer)?,
        Format::Table => output::print(&render(&answer))?,
    }
    Ok(Ending::Fine)
}

fn render(answer: &Value) -> String {
    let said = match answer.text("answer") {
        "" => "nothing else".to_owned(),
        text => format!("`{}`", output::cut(text, 200)),
    };
    output::clean(&format!(
        "the receiver ({}) took the test notice: HTTP {} after {}, and said {said}",
        answer.text("format"),
        answer.number("status"),
        output::span(answer["took_ms"].as_i64().unwrap_or(0)),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_receiver_said_is_shown_and_cannot_drive_the_terminal() {
        let answer = json!({"format": "slack", "status": 200, "answer": "o\u{1b}k", "took_ms": 84});
        assert_eq!(
            render(&answer),
            "the receiver (slack) took the test notice: HTTP 200 after 84ms, and said `o\u{fffd}k`"
        );
        let silent = json!({"format": "json", "status": 204, "answer": "", "took_ms": 1200});
        assert!(render(&silent).ends_with("HTTP 204 after 1.2s, and said nothing else"));
    }
}
