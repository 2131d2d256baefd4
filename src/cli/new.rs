//! `flagops new`: a challenge that passes every rule, runs at once and is solved by its own
//! solution, to be changed into the author's.
//!
//! In:  a category, a stack, what the author says. Out: a folder of the repository.
//!
//! # Invariants
//! * What is written has no finding: it is checked in memory first.
//! * A folder appears complete, or not at all.

pub(super) mod files;
mod lock;
pub(super) mod place;
mod scaffold;
#[cfg(test)]
mod tests;
pub(super) mod yaml;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use self::files::{Overwrite, Removed, Staged};
use self::place::{Place, Shelves, Wish};
pub(super) use self::scaffold::{Files, Kind};
use self::scaffold::{Sayings, Scaffold};
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use crate::catalog::{self, Finding, Policy};
use crate::model::{Difficulty, MemoryTree, TreeError};

/// Bytes of chance in the phrase of a lock.
const PHRASE_BYTES: usize = 8;

/// Begin a challenge
///
/// Writes a small challenge that is complete: it passes every check, and its solution solves it.
/// `flagops play` starts it, but for a quiz, where nothing runs. Change it into yours, step by step,
/// and check after each.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops new --category web --stack node     the next free WEB id
  flagops new PWN-007                         a pwn challenge, by its id
  flagops new SWEETS- --bucket WEB            the next of a series of your own
  flagops new CRYPTO-002 --title Keys --difficulty hard --tag crypto --tag rsa
  flagops new --list                          every category and stack")]
pub(crate) struct NewArgs {
    /// Id, such as WEB-004; a bucket, such as WEB, means its next free number
    id: Option<String>,

    /// What kind of challenge [default: as the id or bucket says, else web]
    #[arg(long, value_enum)]
    category: Option<Kind>,

    /// With what it is made; see `--list` [default: the first of the category]
    #[arg(long)]
    stack: Option<String>,

    /// Title that players see [default: the scaffold's]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,

    /// How hard it is: easy, medium or hard
    #[arg(long, default_value = "easy", value_parser = difficulty)]
    difficulty: Difficulty,

    /// Tag; may be repeated [default: the scaffold's]
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// Folder of the repository that it goes to [default: as the id says]
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,

    /// Repository of challenges [default: the git repository of the working directory]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,

    /// Replace the challenge of this id, with all of its files
    #[arg(long)]
    force: bool,

    /// Show every category and stack
    #[arg(long)]
    list: bool,
}

/// Reads a word of the contract.
pub(super) fn difficulty(word: &str) -> Result<Difficulty, String> {
    Difficulty::from_word(word)
        .ok_or_else(|| format!("use one of {}", Difficulty::WORDS.join(", ")))
}

/// Makes the challenge.
pub(crate) fn run(global: &Global, args: &NewArgs) -> Result<Ending, Failure> {
    if args.list {
        return list(global.format());
    }
    let root = place::root(args.path.as_deref())?;
    let wish = Wish { id: args.id.as_deref(), bucket: args.bucket.as_deref() };
    let kind = args.category.or_else(|| Shelves::kind_of(&wish)).unwrap_or(Kind::Web);
    let scaffold = choose(kind, args.stack.as_deref())?;
    let place = Shelves::read(&root)?.find(&wish, kind)?;
    let sayings = Sayings {
        title: args.title.clone(),
        difficulty: args.difficulty,
        tags: args.tags.clone(),
        phrase: phrase()?,
    };
    let files = scaffold.files(&sayings);
    check(&place, &files)?;
    let staged = Staged::begin(&root)?;
    staged.write(&files)?;
    let removed = staged.put(&place.path(), Overwrite::from_flag(&args.force))?;
    let made = Made { root: &root, place: &place, scaffold, files: &files, removed: &removed };
    made.show(&scaffold.title(&sayings), global.format())?;
    Ok(Ending::Fine)
}

fn choose(kind: Kind, stack: Option<&str>) -> Result<&'static Scaffold, Failure> {
    let mut known = scaffold::of(kind);
    let found = match stack {
        None => known.next(),
        Some(stack) => known.find(|scaffold| scaffold.stack == stack),
    };
    found.ok_or_else(|| {
        let stacks: Vec<&str> = scaffold::of(kind).map(|scaffold| scaffold.stack).collect();
        let problem = format!(
            "{} has no stack `{}`",
            kind.as_str(),
            output::clean(stack.unwrap_or_default())
        );
        Failure::usage(problem, format!("use one of {}", stacks.join(", ")))
    })
}

/// Words that nobody guesses, for a lock that is like no other.
fn phrase() -> Result<String, Failure> {
    let mut bytes = [0; PHRASE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::failed(format!("the system has no random numbers ({error})"), "try again")
    })?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("per aspera {hex}"))
}

/// Refuses what the check would complain about: a title or tag that cannot be one.
fn check(place: &Place, files: &Files) -> Result<(), Failure> {
    let findings = findings(place, files)
        .map_err(|error| Failure::failed(error.to_string(), "report this as a bug of flagops"))?;
    let Some(first) = findings.first() else { return Ok(()) };
    let problem = format!("{} would not pass the check: {}", place.id, first.message);
    Err(Failure::usage(problem, first.hint.clone()))
}

/// What the check finds in a challenge with these files.
pub(super) fn findings(place: &Place, files: &Files) -> Result<Vec<Finding>, TreeError> {
    let mut tree = MemoryTree::new();
    for (name, content) in files {
        tree = tree.with(&format!("{}/{name}", place.path()), content.clone());
    }
    Ok(catalog::load_one(&tree, &place.path(), &Policy::default())?.findings)
}

/// What was made.
struct Made<'a> {
    root: &'a Path,
    place: &'a Place,
    scaffold: &'a Scaffold,
    files: &'a Files,
    removed: &'a Removed,
}

impl Made<'_> {
    fn show(&self, title: &str, format: Format) -> Result<(), Failure> {
        let folder = shown(self.root, &self.place.path());
        let next: Vec<String> = [
            Some(format!("flagops check {folder}")),
            self.scaffold.can_be_played().then(|| format!("flagops play {folder}")),
            Some(format!("git add {folder}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        match format {
            Format::Json => output::print_json(&json!({
                "id": self.place.id,
                "path": self.place.path(),
                "category": self.scaffold.kind.as_str(),
                "stack": self.scaffold.stack,
                "title": title,
                "files": self.files.keys().collect::<Vec<_>>(),
                "removed": self.removed,
                "next": next,
            })),
            Format::Table => output::print(&self.text(title, &next)),
        }
    }

    fn text(&self, title: &str, next: &[String]) -> String {
        let (kind, stack) = (self.scaffold.kind.as_str(), self.scaffold.stack);
        let path = self.place.path();
        let mut lines = vec![format!("made {path} ({kind}, {stack}): {}", output::clean(title))];
        lines.extend(self.files.keys().map(|name| format!("  {name}")));
        let removed =
            self.removed.iter().map(|name| format!("  {} (removed)", output::clean(name)));
        lines.extend(removed);
        lines.push("next:".to_owned());
        lines.extend(next.iter().map(|command| format!("  {command}")));
        lines.join("\n")
    }
}

/// The path of `inside` as it can be typed: from the working directory where it is below.
pub(super) fn shown(root: &Path, inside: &str) -> String {
    let path = root.join(inside);
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let short = match &here {
        Ok(here) => path.strip_prefix(here).unwrap_or(&path),
        Err(_) => &path,
    };
    let text = short.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn list(format: Format) -> Result<Ending, Failure> {
    match format {
        Format::Json => {
            let row = |scaffold: &Scaffold| {
                json!({"category": scaffold.kind.as_str(), "stack": scaffold.stack,
                       "summary": scaffold.summary})
            };
            output::print_json(
                &json!({ "items": scaffold::ALL.iter().map(row).collect::<Vec<_>>() }),
            )?;
        }
        Format::Table => {
            let rows: Vec<Vec<String>> = scaffold::ALL
                .iter()
                .map(|scaffold| {
                    let texts = [scaffold.kind.as_str(), scaffold.stack, scaffold.summary];
                    texts.map(str::to_owned).to_vec()
                })
                .collect();
            output::print(&output::table(&["CATEGORY", "STACK", "WHAT IT IS"], &rows))?;
        }
    }
    Ok(Ending::Fine)
}
