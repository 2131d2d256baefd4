//! `flagops check`: the very rules of the daemon, on a folder or a commit, without a server.
//!
//! In:  paths of a work tree, or a commit. Out: a [`Report`] in one of five formats, and an exit
//! code: 0 nothing to mend, 1 errors (or anything, with `--strict`), 2 wrong usage.
//!
//! # Invariants
//! * What is shown comes from the engine alone: no file is read again for an excerpt.
//! * Every format shows the same findings.
//!
//! # Not here
//! The rules (`catalog`), how files are mended (`cli::fix`).

mod explain;
mod files;
mod github;
mod json;
mod junit;
mod place;
mod report;
mod sarif;
mod since;
mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::Args;

use crate::catalog::Policy;
use crate::config::{Need, Overrides};
use crate::git::hands;
use crate::model::TreeError;

use super::failure::{Ending, Failure};
use super::fix::{FixReport, Mendable, Mode, run_fix, try_fix};
use super::output::{self, Paint, Shape};
use super::settings::Global;
use place::Place;
use report::Report;

/// Check challenges by the rules of the server
///
/// Reads a repository, a part of it or one challenge as it is on disk, or as it was at a commit,
/// and shows everything that is wrong: file, line, rule and fix. What passes here is valid on the
/// server. Needs no server and no container engine.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops check                          the repository in the working directory
  flagops check WEB/WEB-001              one challenge
  flagops check --rev HEAD               what is committed, not what is on disk
  flagops check --since origin/main      only what differs from that commit
  flagops check --fix --dry-run          what could be mended mechanically, as a patch
  flagops check --explain META007        a rule: why, how to mend it, examples
  flagops check --format json | jq '.issues[].rule'
  flagops check --format sarif > flagops.sarif

Exit codes: 0 no errors (warnings are fine, but for --strict), 1 errors, 2 wrong usage.")]
pub(crate) struct CheckArgs {
    /// Repository, or folders and files inside of one; a file stands for its challenge, and so does
    /// its id
    #[arg(default_value = ".", value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Look at this commit instead of the files on disk: a branch, a tag or an id
    #[arg(long, value_name = "REV")]
    rev: Option<String>,

    /// Only challenges that differ from this commit, and what is new in the repository since
    #[arg(long, value_name = "REV")]
    since: Option<String>,

    /// Fail on warnings too, also on errors that were waived
    #[arg(long)]
    strict: bool,

    /// Mend first what can be mended mechanically: limits, health checks, quotes, `version:`
    #[arg(long, conflicts_with_all = ["rev", "since"])]
    fix: bool,

    /// Show what `--fix` would change as a patch, and change nothing
    #[arg(long, requires = "fix")]
    dry_run: bool,

    /// Explain a rule and check nothing; without RULE, list every rule
    #[arg(long, value_name = "RULE", num_args = 0..=1, default_missing_value = explain::ALL)]
    explain: Option<String>,

    /// How to show results
    // The id is that of the global option, so this one takes its place.
    #[arg(id = "format", long = "format", value_enum, value_name = "FORMAT", default_value_t)]
    shape: Shape,
}

/// Checks and shows what was found, or explains a rule.
pub(crate) fn run(global: &Global, args: &CheckArgs) -> Result<Ending, Failure> {
    if let Some(rule) = &args.explain {
        return explain::run(rule, args.shape);
    }
    let policy = global.load(Need::Client, Overrides::new())?.limits.policy();
    let place = Place::find(&args.paths)?;
    let mended = mend(&place, args, &policy)?;
    if let Some(mended) = mended.as_ref().filter(|_| args.dry_run) {
        let patch = mended.diff();
        let nothing = || ["nothing can be mended".to_owned(), mended.render()].join("\n\n");
        output::print(&if patch.is_empty() { nothing().trim_end().to_owned() } else { patch })?;
        return Ok(if mended.n_mended() > 0 { Ending::Findings } else { Ending::Fine });
    }
    let report = Report { mended, ..read(&place, args, &policy)? };
    output::print(&render(&report, args.shape)?)?;
    let is_bad = report.n_errors() > 0 || (args.strict && !report.findings.is_empty());
    Ok(if is_bad { Ending::Findings } else { Ending::Fine })
}

fn read(place: &Place, args: &CheckArgs, policy: &Policy) -> Result<Report, Failure> {
    let tree = files::open(&place.root, &place.base, args.rev.as_deref())?;
    let report = match &args.since {
        None => Report::read(&tree, &place.parts, policy).map_err(unreadable)?,
        Some(name) => {
            let base = since::open(&place.root, &place.base, name)?;
            let changed = hands::load_changed(&tree, &base, policy).map_err(unreadable)?;
            Report::of(&changed, &place.parts).since(name)
        }
    };
    if report.challenges.is_empty() && report.findings.is_empty() && args.since.is_none() {
        return Err(Failure::usage(
            format!("no challenge was found in `{}`", place.root.join(&place.base).display()),
            "a challenge is a folder with `metadata.yaml`, at the top of the repository or one \
             folder below: `flagops new` begins one",
        ));
    }
    let mendable = if args.fix || args.rev.is_some() || args.shape != Shape::Table {
        Mendable::default()
    } else {
        let root = place.root.join(&place.base);
        try_fix(&root, &report.with_fixable(), policy).map_err(unreadable)?
    };
    Ok(Report { mendable, ..report }.below(&place.base))
}

fn unreadable(error: TreeError) -> Failure {
    Failure::failed(error.to_string(), "check the path and its permissions")
}

/// Mends what is named, as far as it can be done without thinking.
fn mend(place: &Place, args: &CheckArgs, policy: &Policy) -> Result<Option<FixReport>, Failure> {
    let mode = match (args.fix, args.dry_run) {
        (false, _) => return Ok(None),
        (true, true) => Mode::Show,
        (true, false) => Mode::Write,
    };
    let root = place.root.join(&place.base);
    run_fix(&root, &place.parts, policy, mode).map(Some)
}

fn render(report: &Report, shape: Shape) -> Result<String, Failure> {
    match shape {
        Shape::Table => Ok(table::render(report, Paint::of_output())),
        Shape::Json => json::render(report),
        Shape::Sarif => sarif::render(report),
        Shape::Github => Ok(github::render(report)),
        Shape::Junit => junit::render(report),
    }
}

/// What we made could not be written as a document: nothing that a person did.
fn unwritable(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("could not write the report ({error})"), "try `--format json`")
}
