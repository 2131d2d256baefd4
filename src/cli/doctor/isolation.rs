//! `flagops doctor isolation`: what an instance reaches, seen from inside.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::super::client::Request;
use super::super::failure::{Ending, Failure};
use super::super::output::{self, Format};
use super::super::settings::Global;
use super::super::wire::Fields as _;

/// Look from inside of an instance whether it is kept apart from everything else
///
/// The server starts two instances of a small prober on networks of its own, with the profile of a
/// player's instance. The prober tries to reach the other instance, this host, its networks and the
/// internet, and what a kernel should refuse. The server does the same by itself when it starts, after
/// each restart of the engine, and every `network.check_secs`; while a row misses, no instance starts.
/// Where the engine has gVisor (`runsc`), it looks from inside of that, too; what asks for it does not start
/// while a row of that misses or nobody can look.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops doctor isolation
  flagops doctor isolation --last        what the last look found, without a new one
  flagops doctor isolation --format json | jq '.check.rows[] | select(.holds | not)'

Exit codes: 0 every row holds, 1 a row misses or nobody could look, 2 wrong usage.")]
pub(crate) struct IsolationArgs {
    /// Show what the last look found
    #[arg(long)]
    last: bool,
}

/// Asks for a look and shows the matrix.
pub(crate) async fn run(global: &Global, args: &IsolationArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let request = Request::to(&["gitops", "isolation"]);
    let report =
        if args.last { client.get(request).await? } else { client.post(request, None).await? };
    match global.format() {
        Format::Json => output::print_json(&report)?,
        Format::Table => output::print(&render(&report))?,
    }
    let (check, sandbox) = (&report["check"], &report["check"]["sandbox"]);
    let holds = check.text("verdict") == "holds"
        && (sandbox.is_null() || sandbox.text("verdict") == "holds")
        && report.is("starts");
    Ok(if holds { Ending::Fine } else { Ending::Findings })
}

fn render(report: &Value) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "wall     {}", wall(report));
    let starts = if report.is("starts") { "yes" } else { "no" };
    let _ = writeln!(text, "starts   {starts}: {}", output::clean(report.text("message")));
    let check = &report["check"];
    if !check.is_object() {
        return text + "\nnobody has looked yet";
    }
    text += &matrix(check);
    let seconds = check.number("took_ms") / 1000.0;
    let _ = write!(text, "\n{}, looked at in {seconds:.1} s", count(check));
    let sandbox = &check["sandbox"];
    if sandbox.is_object() {
        let _ = write!(text, "\n\nfrom inside of gVisor\n{}\n{}", matrix(sandbox), count(sandbox));
    }
    text
}

/// Why nobody could look, and what was seen.
fn matrix(look: &Value) -> String {
    let mut text = String::new();
    let problem = look.text("problem");
    if !problem.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "problem  {}", output::clean(problem));
    }
    let cells = |row: &Value| {
        let verdict = match (row.is("holds"), row.text("seen")) {
            (true, _) => "ok",
            (false, "unknown") => "unknown",
            (false, _) => "MISS",
        };
        let field = |key: &str| row.text(key).to_owned();
        vec![verdict.to_owned(), field("what"), field("expected"), field("seen"), field("why")]
    };
    let rows: Vec<_> = look.list("rows").iter().map(cells).collect();
    if !rows.is_empty() {
        let table = output::table(&["", "WHAT", "EXPECTED", "SEEN", "WHY"], &rows);
        let _ = write!(text, "\n{table}\n");
    }
    text
}

fn count(look: &Value) -> String {
    let rows = look.list("rows");
    let n_hold = rows.iter().filter(|row| row.is("holds")).count();
    format!("{n_hold} of {} rows hold", rows.len())
}

fn wall(report: &Value) -> String {
    match (report.text("wall"), report.text("wall_reason")) {
        ("up", _) => "up".to_owned(),
        ("unseen", _) => "not looked after (`network.wall`)".to_owned(),
        (word, reason) => format!("{word}: {}", output::clean(reason)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_matrix_shows_what_misses() {
        let row = |what: &str, expected: &str, seen: &str, why: &str| {
            json!({
                "what": what, "expected": expected, "seen": seen, "why": why,
                "holds": expected == seen,
            })
        };
        let mut report = json!({
            "wall": "up",
            "wall_reason": null,
            "starts": false,
            "message": "no instance starts: metadata",
            "check": {
                "problem": null,
                "took_ms": 4200,
                "rows": [
                    row("another service of the same instance", "reached", "reached", "it answers"),
                    row("the metadata service of a cloud", "blocked", "reached", "it\u{1b} answers"),
                    row("`bpf`", "blocked", "unknown", "the prober did not say"),
                ],
            },
        });
        insta::assert_snapshot!(render(&report), @r"
        wall     up
        starts   no: no instance starts: metadata

                 WHAT                                  EXPECTED  SEEN     WHY
        ok       another service of the same instance  reached   reached  it answers
        MISS     the metadata service of a cloud       blocked   reached  it� answers
        unknown  `bpf`                                 blocked   unknown  the prober did not say

        1 of 3 rows hold, looked at in 4.2 s
        ");
        report["check"] = Value::Null;
        report["wall"] = "unsupported".into();
        report["wall_reason"] = "there is no `nft`".into();
        insta::assert_snapshot!(render(&report), @r"
        wall     unsupported: there is no `nft`
        starts   no: no instance starts: metadata

        nobody has looked yet
        ");
    }
}
