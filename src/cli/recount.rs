//! `flagops recount`: whether the standings are what the answers make them.

use clap::Args;
use serde_json::Value;

use super::client::Request;
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Count all answers anew and compare the solves on record with what comes out
///
/// Ends with 1 and names each difference, if there is one: then the database was changed by
/// something else than the server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops recount
  flagops recount --format json | jq .differences")]
pub(crate) struct RecountArgs {}

/// Carries out the wish.
pub(crate) async fn run(global: &Global, _args: &RecountArgs) -> Result<Ending, Failure> {
    let found = global.client()?.get(Request::to(&["admin", "recount"])).await?;
    match global.format() {
        Format::Json => output::print_json(&found)?,
        Format::Table => output::print(&render(&found))?,
    }
    Ok(if found.list("differences").is_empty() { Ending::Fine } else { Ending::Findings })
}

fn render(found: &Value) -> String {
    let (answers, solves) = (found.number("answers"), found.number("solves"));
    let differences = found.list("differences");
    if differences.is_empty() {
        return format!("{solves} solves on record are what {answers} answers make them");
    }
    let row = |it: &Value| {
        let column = |name: &str| it.text(name).to_owned();
        vec![column("team_id"), column("challenge_id"), column("question_id"), column("problem")]
    };
    let rows: Vec<_> = differences.iter().map(row).collect();
    output::table(&["TEAM", "CHALLENGE", "QUESTION", "PROBLEM"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_recount_reads_like_this() {
        let fine = json!({"answers": 7, "solves": 2, "differences": []});
        assert_eq!(render(&fine), "2 solves on record are what 7 answers make them");
        let difference = json!({
            "team_id": "t1", "challenge_id": "WEB-001", "question_id": "flag",
            "problem": "there is a solve and no right answer",
        });
        let found = json!({"answers": 7, "solves": 2, "differences": [difference]});
        insta::assert_snapshot!(render(&found), @"
        TEAM  CHALLENGE  QUESTION  PROBLEM
        t1    WEB-001    flag      there is a solve and no right answer
        ");
    }
}
