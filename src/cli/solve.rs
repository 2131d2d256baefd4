//! `flagops solve`: challenges are tried with their own exploits by the server, and judged.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, Request};
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Between two looks at how far the server is.
const POLL: Duration = Duration::from_millis(500);

/// Run the exploits of challenges against fresh instances on the server, and judge the answers
///
/// Each `solution/exploit.py` runs in a container on a network of its own with the services that
/// players reach, against an instance that no player sees and that is gone afterwards. The live
/// version is tried, and the newest and the tagged one when these are others. Without arguments nothing is tried:
/// what is known is shown. Ends with 1 when a challenge was not solved; one without an exploit is
/// only told.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops solve                      what is known
  flagops solve WEB-001 PWN-002
  flagops solve --all --format json | jq '.[] | select(.state == \"failed\")'")]
pub(crate) struct SolveArgs {
    /// Challenges
    #[arg(value_name = "CHALLENGE")]
    challenges: Vec<String>,
    /// Every challenge
    #[arg(long, conflicts_with = "challenges")]
    all: bool,
    /// The same as `--format json`
    #[arg(long)]
    json: bool,
}

/// Asks for proofs, waits for them, and shows what came of them.
pub(crate) async fn run(global: &Global, args: &SolveArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let rows = if args.challenges.is_empty() && !args.all {
        proofs(&client).await?
    } else {
        let body = json!({ "challenges": args.challenges });
        let wanted = client.post(Request::to(&["gitops", "solve"]), Some(&body)).await?;
        follow(&client, wanted.list("items").to_vec()).await?
    };
    let format = if args.json { Format::Json } else { global.format() };
    match format {
        Format::Json => output::print_json(&Value::from(rows.clone()))?,
        Format::Table => output::print(&render(&rows))?,
    }
    Ok(if rows.iter().any(is_bad) { Ending::Findings } else { Ending::Fine })
}

async fn proofs(client: &Client) -> Result<Vec<Value>, Failure> {
    Ok(client.list(Request::to(&["gitops", "proofs"])).await?)
}

/// Waits until none of `wanted` is tried any more, and tells each step; how they stand then.
async fn follow(client: &Client, wanted: Vec<Value>) -> Result<Vec<Value>, Failure> {
    let mut rows = wanted;
    let mut told = BTreeMap::new();
    loop {
        for row in &rows {
            tell(&mut told, row);
        }
        if !rows.iter().any(is_open) {
            return Ok(rows);
        }
        tokio::time::sleep(POLL).await;
        let now = proofs(client).await?;
        rows = rows.into_iter().map(|row| successor(row, &now)).collect();
    }
}

/// The same version as it stands now.
fn successor(mut row: Value, now: &[Value]) -> Value {
    let is_it = |other: &&Value| {
        ["challenge_id", "tree"].iter().all(|key| other.text(key) == row.text(key))
    };
    if let Some(found) = now.iter().find(is_it) {
        return found.clone();
    }
    // Nobody gets it any more, and it is not the newest one either.
    row["state"] = "superseded".into();
    row["why"] = "another version took its place meanwhile".into();
    row
}

fn is_open(row: &Value) -> bool {
    matches!(row.text("state"), "queued" | "running")
}

fn is_bad(row: &Value) -> bool {
    matches!(row.text("state"), "failed" | "given_up")
}

/// Says on standard error what changed of a row.
fn tell(told: &mut BTreeMap<String, String>, row: &Value) {
    let name = format!("{} ({})", row.text("challenge_id"), row.text("version"));
    let step = match row.text("why") {
        "" => row.text("state").to_owned(),
        why => format!("{}: {why}", row.text("state")),
    };
    if told.get(&name) != Some(&step) {
        output::note(&output::clean(&format!("{name} {step}")));
        told.insert(name, step);
    }
}

fn render(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no challenge is valid or live".to_owned();
    }
    let cells = |row: &Value| {
        let took = row.get("took_ms").and_then(Value::as_f64).filter(|took| *took > 0.0);
        vec![
            row.text("challenge_id").to_owned(),
            row.text("version").to_owned(),
            row.text("state").replace('_', " "),
            took.map_or(String::new(), |took| format!("{:.1} s", took / 1000.0)),
            output::cut(row.text("why"), 160),
        ]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    output::table(&["CHALLENGE", "VERSION", "VERDICT", "TOOK", "WHY"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, tree: &str, state: &str, why: &str) -> Value {
        json!({ "challenge_id": id, "version": "live", "tree": tree, "state": state, "why": why })
    }

    #[test]
    fn verdicts_are_a_table_and_one_that_is_bad_counts() {
        let mut solved = row("WEB-001", "a", "proven", "its own exploit solves it");
        solved["took_ms"] = 1234.into();
        let rows = [
            solved,
            row("WEB-002", "b", "failed", "it found no answer to `flag`\u{1b}[2J"),
            row("WEB-003", "c", "no_exploit", "it has no `solution/exploit.py`"),
        ];
        insta::assert_snapshot!(render(&rows), @r"
        CHALLENGE  VERSION  VERDICT     TOOK   WHY
        WEB-001    live     proven      1.2 s  its own exploit solves it
        WEB-002    live     failed             it found no answer to `flag`�[2J
        WEB-003    live     no exploit         it has no `solution/exploit.py`
        ");
        assert_eq!(rows.iter().map(is_bad).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(render(&[]), "no challenge is valid or live");
    }

    #[test]
    fn a_version_is_followed_by_its_tree() {
        let now = [row("WEB-001", "a", "running", ""), row("WEB-001", "b", "proven", "")];
        let of = |tree| successor(row("WEB-001", tree, "queued", ""), &now);
        assert_eq!(of("a").text("state"), "running");
        assert_eq!(of("b").text("state"), "proven");
        assert_eq!(of("c").text("state"), "superseded");
    }
}
