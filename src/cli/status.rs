//! `flagops status` and `flagops reconcile`: what the server follows, and how it is.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use crate::model::{Clock as _, Timestamp};
use crate::telemetry::SystemClock;

use super::client::Request;
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Show the repository, the conditions and the counts of the server
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops status
  flagops status --format json | jq '.conditions[] | select(.status != \"True\")'
  flagops status --url https://ctf.example --token-file ./organizer.token")]
pub(crate) struct StatusArgs {}

/// Make the server look at the repository now, and wait until it has
///
/// The server polls by itself; this saves waiting for the next poll.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  git push && flagops reconcile && flagops builds --watch")]
pub(crate) struct ReconcileArgs {}

/// Shows the status.
pub(crate) async fn run(global: &Global, _args: &StatusArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let status = client.get(Request::to(&["gitops", "status"])).await?;
    match global.format() {
        Format::Json => output::print_json(&status)?,
        Format::Table => output::print(&render(&status, SystemClock.now()))?,
    }
    Ok(Ending::Fine)
}

/// Makes the server look at the repository.
pub(crate) async fn reconcile(global: &Global, _args: &ReconcileArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let answer = client.post(Request::to(&["gitops", "reconcile"]), None).await?;
    // The source may come bare or wrapped as in the status.
    let source = answer.get("source").unwrap_or(&answer);
    match global.format() {
        Format::Json => output::print_json(&answer)?,
        Format::Table => output::print(&render_source(source, SystemClock.now()))?,
    }
    Ok(Ending::Fine)
}

fn render(status: &Value, now: Timestamp) -> String {
    let mut text = render_source(&status["source"], now);
    if let Some(is_ready) = status.get("engine_ready").and_then(Value::as_bool) {
        text += if is_ready { "\nengine      ready" } else { "\nengine      does not create" };
    }
    text += &notices(&status["notices"]);
    let conditions = status.list("conditions");
    if !conditions.is_empty() {
        let rows: Vec<_> = conditions.iter().map(|row| condition_row(row, now)).collect();
        let header = ["SCOPE", "CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"];
        let _ = write!(text, "\n\n{}", output::table(&header, &rows));
    }
    let challenges = status.list("challenges");
    let _ = write!(text, "\n\nchallenges  {}", summary(challenges));
    let failing: Vec<_> = challenges
        .iter()
        .filter(|challenge| !challenge.list("findings").is_empty())
        .map(|challenge| output::clean(challenge.text("id")))
        .collect();
    if !failing.is_empty() {
        let shown = output::cut(&failing.join(", "), 200);
        let _ = write!(text, "\nfindings    {shown}; `flagops challenges show ID` has them");
    }
    if let Some(counts) = status.get("counts").and_then(Value::as_object) {
        let counts: Vec<_> = counts
            .iter()
            .map(|(name, n)| format!("{n} {}", output::clean(name).replace('_', " ")))
            .collect();
        let _ = write!(text, "\ncounts      {}", counts.join(", "));
    }
    text
}

/// The line about notices: nothing when the server does not tell of any.
fn notices(notices: &Value) -> String {
    if !notices.is_object() {
        return String::new();
    }
    let receiver = notices.text("receiver");
    if receiver.is_empty() {
        return "\nnotices     to nobody; set `notify.url_file` to be told".to_owned();
    }
    let (waiting, given_up) = (notices.number("waiting"), notices.number("given_up"));
    let mut text = format!("\nnotices     {}", output::clean(receiver));
    if waiting + given_up > 0.0 {
        let error = output::cut(&output::clean(notices.text("last_error")), 120);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            ", {waiting} waiting, {given_up} given up ({error}); `flagops notify test` tries it"
        );
    }
    text
}

/// How many challenges are in which state, in the order of the alphabet.
fn summary(challenges: &[Value]) -> String {
    let mut by_state = std::collections::BTreeMap::<&str, usize>::new();
    for challenge in challenges {
        *by_state.entry(challenge.text("state")).or_default() += 1;
    }
    let parts: Vec<_> =
        by_state.iter().map(|(state, n)| format!("{n} {}", output::clean(state))).collect();
    if parts.is_empty() {
        return "none".to_owned();
    }
    format!("{} ({})", challenges.len(), parts.join(", "))
}

fn render_source(source: &Value, now: Timestamp) -> String {
    let or = |text: &str, other: &str| {
        if text.is_empty() { other.to_owned() } else { output::clean(text) }
    };
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "remote      {}", or(source.text("remote"), "not known"));
    let _ = writeln!(text, "branch      {}", or(source.text("branch"), "not known yet"));
    let _ = writeln!(text, "revision    {}", or(source.text("revision"), "none read yet"));
    let fetched = match source.time_millis("fetched_at") {
        Some(at) => format!("{} ago", output::span(now.as_millis().saturating_sub(at))),
        None => "never answered".to_owned(),
    };
    let _ = write!(text, "last answer {fetched}");
    for finding in source.list("findings") {
        let _ = write!(text, "\n  {}", finding_line(finding));
    }
    text
}

fn condition_row(condition: &Value, now: Timestamp) -> Vec<String> {
    let since = condition
        .time_millis("since")
        .map_or(String::new(), |since| output::span(now.as_millis().saturating_sub(since)));
    vec![
        condition.text("scope").to_owned(),
        condition.text("type").to_owned(),
        condition.text("status").to_owned(),
        condition.text("reason").to_owned(),
        since,
        output::cut(condition.text("message"), 120),
    ]
}

/// One finding of the server in one line, as `check` would write it.
pub(super) fn finding_line(finding: &Value) -> String {
    let mut line = finding.text("path").to_owned();
    if finding.number("line") > 0.0 {
        let _ = write!(line, ":{}:{}", finding.number("line"), finding.number("column"));
    }
    let (severity, rule) = (finding.text("severity"), finding.text("rule"));
    let _ = write!(line, ": {severity}[{rule}] {}", finding.text("message"));
    if !finding.text("hint").is_empty() {
        let _ = write!(line, "; {}", finding.text("hint"));
    }
    if finding.is("blocks") {
        line += " (blocks)";
    }
    output::clean(&line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse_rfc3339("2026-11-20T12:00:00Z").unwrap()
    }

    #[test]
    fn the_status_shows_source_conditions_and_counts() {
        let status = json!({
            "source": {
                "remote": "https://…@git.example/ctf.git",
                "branch": "main",
                "revision": "1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d",
                "fetched_at": "2026-11-20T11:59:48Z",
                "findings": [{"path": "WEB", "severity": "error", "rule": "ID001", "line": 0,
                              "message": "two folders are called A", "hint": "rename one"}],
            },
            "conditions": [
                {"scope": "repo", "type": "SourceReachable", "status": "True", "reason": "Fetched",
                 "message": "the remote answers", "since": "2026-11-20T10:00:00Z"},
                {"scope": "node/local", "type": "DockerAvailable", "status": "False",
                 "reason": "TimedOut", "message": "no\u{1b}[2J answer"},
            ],
            "challenges": [
                {"id": "WEB-001", "state": "live", "findings": []},
                {"id": "WEB-002", "state": "invalid", "findings": [{}]},
                {"id": "WEB-003", "state": "live"},
            ],
            "engine_ready": false,
            "notices": {"receiver": "slack", "waiting": 2, "given_up": 1,
                        "last_error": "the receiver answered HTTP 404: no_team"},
            "counts": {"running_instances": 2, "teams": 4},
        });
        insta::assert_snapshot!(render(&status, now()), @r"
        remote      https://…@git.example/ctf.git
        branch      main
        revision    1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d
        last answer 12.0s ago
          WEB: error[ID001] two folders are called A; rename one
        engine      does not create
        notices     slack, 2 waiting, 1 given up (the receiver answered HTTP 404: no_team); `flagops notify test` tries it

        SCOPE       CONDITION        STATUS  REASON    SINCE  MESSAGE
        repo        SourceReachable  True    Fetched   2h0m   the remote answers
        node/local  DockerAvailable  False   TimedOut         no�[2J answer

        challenges  3 (1 invalid, 2 live)
        findings    WEB-002; `flagops challenges show ID` has them
        counts      2 running instances, 4 teams
        ");
    }

    #[test]
    fn an_empty_answer_is_shown_as_not_known() {
        insta::assert_snapshot!(render(&Value::Null, now()), @r"
        remote      not known
        branch      not known yet
        revision    none read yet
        last answer never answered

        challenges  none
        ");
    }
}
