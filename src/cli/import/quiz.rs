//! `flagops import quiz`: each row of a public data set becomes a challenge of one question.
//!
//! # Invariants
//! * What is written has no error: it is checked in memory first.
//! * A row that cannot be used is named with its number and the reason, never with its content. The
//!   number is the one that descriptions give as the source: it counts from 0, as the data sets do.

mod item;
mod lists;
mod rows;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use self::item::{DataSet, Item};
use self::rows::Notation;
use crate::catalog::Severity;
use crate::cli::failure::{Ending, Failure};
use crate::cli::new::files::{Overwrite, Staged, could_not};
use crate::cli::new::place::{self, Place, Shelves, Wish};
use crate::cli::new::{self, Files, Kind};
use crate::cli::output::{self, Format};
use crate::cli::settings::Global;
use crate::model::Difficulty;

/// Bad rows that people are shown; JSON has all of them.
const MAX_SHOWN: usize = 20;

/// Make a quiz of each row of a public data set
///
/// Reads a file that you fetched (JSON, JSON lines, CSV, TSV) and writes one challenge per row:
/// nothing runs, the answer is graded. Rows that cannot be used are named as the descriptions name the
/// others: row0 is the first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops import quiz secqa --source secqa_v1.csv --out . --dry-run
  flagops import quiz mmlu_cs --source computer_security.jsonl --out . --limit 20
  flagops import quiz cti_mcq --source cti-mcq.tsv --out . --start-index 101

Exit codes: 0 all rows could be used, 1 some could not, 2 wrong usage.")]
pub(super) struct QuizArgs {
    /// Which data set it is
    #[arg(value_enum)]
    set: DataSet,

    /// The file: .json, .jsonl, .ndjson, .csv or .tsv
    #[arg(long, value_name = "FILE")]
    source: PathBuf,

    /// Repository of challenges; the bucket is made below
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Make at most so many challenges
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// Number of the first challenge
    #[arg(long, value_name = "N", default_value_t = 1)]
    start_index: u32,

    /// How hard they are: easy, medium or hard [default: as the data set is]
    #[arg(long, value_parser = new::difficulty)]
    difficulty: Option<Difficulty>,

    /// Read and check, but write nothing
    #[arg(long)]
    dry_run: bool,

    /// Replace challenges that exist
    #[arg(long)]
    force: bool,
}

/// A challenge that is ready to be written.
#[derive(Debug)]
struct Quiz {
    place: Place,
    files: Files,
}

/// What came of the rows.
#[derive(Debug, Default)]
struct Harvest {
    n_rows: usize,
    quizzes: Vec<Quiz>,
    /// Rows that cannot be used, counted from 0, and why.
    bad: Vec<(usize, String)>,
}

/// Reads the data set and writes its challenges.
pub(super) fn run(global: &Global, args: &QuizArgs) -> Result<Ending, Failure> {
    let rows = rows(&args.source)?;
    if !args.dry_run {
        fs::create_dir_all(&args.out).map_err(|error| could_not("create", &args.out, &error))?;
    }
    let shelves = match args.out.is_dir() {
        true => Shelves::read(&place::root(Some(&args.out))?)?,
        false => Shelves::default(),
    };
    let harvest = harvest(args, rows, &shelves)?;
    if harvest.quizzes.is_empty() {
        harvest.show(args, global.format())?;
        let problem = format!("`{}` has no row that can be used", args.source.display());
        return Err(Failure::failed(problem, "check that it is the data set that you named"));
    }
    refuse_existing(args, &harvest.quizzes)?;
    if !args.dry_run {
        write(args, &harvest.quizzes)?;
    }
    harvest.show(args, global.format())?;
    Ok(if harvest.bad.is_empty() { Ending::Fine } else { Ending::Findings })
}

fn rows(source: &Path) -> Result<Vec<rows::Row>, Failure> {
    let shown = source.display();
    let Some(notation) = Notation::of(source) else {
        let next = "it must end with .json, .jsonl, .ndjson, .csv or .tsv";
        return Err(Failure::usage(format!("`{shown}` is of no known kind"), next));
    };
    let mut bytes = Vec::new();
    let read = File::open(source)
        .and_then(|file| file.take(rows::MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            Failure::usage(format!("could not read `{shown}` ({error})"), "check `--source`")
        })?;
    if u64::try_from(read).is_ok_and(|n_bytes| n_bytes > rows::MAX_BYTES) {
        let problem = format!("`{shown}` has more than {} MiB", rows::MAX_BYTES >> 20);
        return Err(Failure::usage(
            problem,
            "split it, and use `--start-index` for the second part",
        ));
    }
    rows::read(&bytes, notation).map_err(|reason| {
        Failure::failed(format!("could not read `{shown}`: {reason}"), "fetch the file again")
    })
}

fn harvest(args: &QuizArgs, rows: Vec<rows::Row>, shelves: &Shelves) -> Result<Harvest, Failure> {
    let mut harvest = Harvest { n_rows: rows.len(), ..Harvest::default() };
    let difficulty = args.difficulty.unwrap_or(args.set.difficulty());
    let bucket = args.set.bucket();
    for (at, row) in rows.into_iter().enumerate() {
        if args.limit.is_some_and(|limit| harvest.quizzes.len() >= limit) {
            break;
        }
        let n_before = u64::try_from(harvest.quizzes.len()).unwrap_or(u64::MAX);
        let id = format!("{bucket}-{:04}", u64::from(args.start_index) + n_before);
        let item = match row.and_then(|row| Item::read(args.set, &row)) {
            Ok(item) => item,
            Err(reason) => {
                harvest.bad.push((at, reason));
                continue;
            }
        };
        let place = shelves.find(&Wish { id: Some(&id), bucket: Some(bucket) }, Kind::Misc)?;
        let metadata = item.metadata(args.set, &id, at, difficulty);
        let files = Files::from([("metadata.yaml".to_owned(), metadata.into_bytes())]);
        match fault(&place, &files)? {
            Some(reason) => harvest.bad.push((at, reason)),
            None => harvest.quizzes.push(Quiz { place, files }),
        }
    }
    Ok(harvest)
}

/// Why the check would refuse this challenge.
fn fault(place: &Place, files: &Files) -> Result<Option<String>, Failure> {
    let findings = new::findings(place, files)
        .map_err(|error| Failure::failed(error.to_string(), "report this as a bug of flagops"))?;
    let error = findings.into_iter().find(|finding| finding.severity == Severity::Error);
    Ok(error.map(|error| format!("{}: {}", error.rule, error.message)))
}

/// Nothing is written when something is in the way.
fn refuse_existing(args: &QuizArgs, quizzes: &[Quiz]) -> Result<(), Failure> {
    if args.force {
        return Ok(());
    }
    let taken: Vec<String> = quizzes
        .iter()
        .map(|quiz| quiz.place.path())
        .filter(|path| args.out.join(path).exists())
        .collect();
    let Some(first) = taken.first() else { return Ok(()) };
    let others = match taken.len() - 1 {
        0 => " exists".to_owned(),
        1 => " and 1 other exist".to_owned(),
        n => format!(" and {n} others exist"),
    };
    let next = "use `--force` to replace them, or `--start-index` to add to them";
    Err(Failure::usage(format!("`{first}`{others} already; nothing was written"), next))
}

fn write(args: &QuizArgs, quizzes: &[Quiz]) -> Result<(), Failure> {
    for quiz in quizzes {
        let staged = Staged::begin(&args.out)?;
        staged.write(&quiz.files)?;
        staged.put(&quiz.place.path(), Overwrite::from_flag(&args.force))?;
    }
    Ok(())
}

impl Harvest {
    fn show(&self, args: &QuizArgs, format: Format) -> Result<(), Failure> {
        match format {
            Format::Json => output::print_json(&json!({
                "rows": self.n_rows,
                "written": !args.dry_run && !self.quizzes.is_empty(),
                "challenges": self.quizzes.iter().map(|quiz| quiz.place.path()).collect::<Vec<_>>(),
                "bad": self.bad.iter()
                    .map(|(row, reason)| json!({"row": row, "reason": reason}))
                    .collect::<Vec<_>>(),
            })),
            Format::Table => output::print(&self.text(args)),
        }
    }

    fn text(&self, args: &QuizArgs) -> String {
        let (n_good, n_bad) = (self.quizzes.len(), self.bad.len());
        let s = if self.n_rows == 1 { "" } else { "s" };
        let mut lines =
            vec![format!("{} row{s}: {n_good} can be used, {n_bad} cannot", self.n_rows)];
        let bad = self.bad.iter().take(MAX_SHOWN);
        lines.extend(bad.map(|(row, reason)| format!("  row{row}: {}", output::clean(reason))));
        if n_bad > MAX_SHOWN {
            lines.push(format!("  and {} more; `--format json` has all", n_bad - MAX_SHOWN));
        }
        if let (Some(first), Some(last)) = (self.quizzes.first(), self.quizzes.last()) {
            let verb = if args.dry_run { "would write" } else { "wrote" };
            let (first, last) = (first.place.path(), last.place.path());
            let to = if first == last { String::new() } else { format!(" to {last}") };
            lines.push(format!("{verb} {first}{to}"));
            if !args.dry_run {
                let bucket = new::shown(&args.out, args.set.bucket());
                lines.push(format!("next:\n  flagops check {bucket}"));
            }
        }
        lines.join("\n")
    }
}
