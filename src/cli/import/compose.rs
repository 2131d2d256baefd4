//! `flagops import compose`: a folder with a compose file becomes a challenge.
//!
//! Only what can be known is written: the name of the compose file, and a `metadata.yaml` with
//! honest placeholders. What has to be changed in the services is said by the check, not done.
//!
//! # Invariants
//! * Services are never edited, and no answer is made up.
//! * The folder that is imported stays as it is, unless `--in-place` is given.
//! * What was not copied is told, and so is every line that holds a flag or a secret.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::residue::{self, Residue};
use crate::catalog::{self, Finding, Policy, Severity};
use crate::cli::failure::{Ending, Failure};
use crate::cli::new::files::{Overwrite, Staged, could_not};
use crate::cli::new::place::{self, Shelves, Wish};
use crate::cli::new::{self, Kind, yaml};
use crate::cli::output::{self, Format};
use crate::cli::settings::Global;
use crate::git::WorkTree;
use crate::model::{Category, ChallengeId, Difficulty};

const COMPOSE: &str = "docker-compose.yml";
const METADATA: &str = "metadata.yaml";
/// Variables for `docker compose`, which nothing here reads.
const VARIABLES: &str = ".env";
/// Lines with flags and secrets that people are shown; JSON has all of them.
const MAX_SHOWN: usize = 20;
/// Names of compose files; the first is the one that is read.
const NAMES: &[&str] = &[COMPOSE, "compose.yaml", "compose.yml", "docker-compose.yaml"];

/// Make a challenge of a folder with a compose file
///
/// Gives the compose file the name that is read, adds a metadata.yaml to fill in, and shows what
/// the check says about the rest. The services are not changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops import compose ~/old/cookie-shop --id WEB-005 --out .
  flagops import compose WEB/cookie-shop --in-place

Exit codes: 0 nothing is wrong, 1 the check has errors, 2 wrong usage.")]
pub(super) struct ComposeArgs {
    /// Folder with docker-compose.yml or compose.yaml
    dir: PathBuf,

    /// Id of the challenge [default: the name of the folder]
    #[arg(long)]
    id: Option<String>,

    /// web, pwn, reverse, crypto or misc
    #[arg(long, default_value = "web", value_parser = category)]
    category: Category,

    /// Title that players see [default: the name of the folder]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,

    /// How hard it is: easy, medium or hard
    #[arg(long, default_value = "easy", value_parser = new::difficulty)]
    difficulty: Difficulty,

    /// Tag; may be repeated
    #[arg(long = "tag", value_name = "TAG", default_value = "imported")]
    tags: Vec<String>,

    /// Bucket of the copy [default: as the id says]
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,

    /// Copy it into this repository of challenges
    #[arg(long, value_name = "DIR", required_unless_present = "in_place")]
    out: Option<PathBuf>,

    /// Make the folder itself the challenge
    #[arg(long, conflicts_with_all = ["out", "bucket", "force"])]
    in_place: bool,

    /// Replace the challenge of this id in `--out`, with all of its files
    #[arg(long)]
    force: bool,
}

fn category(word: &str) -> Result<Category, String> {
    Category::from_word(word).ok_or_else(|| format!("use one of {}", Category::WORDS.join(", ")))
}

/// The folder that is imported.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// The name of its compose file.
    compose: &'static str,
    /// Its own name.
    name: String,
}

/// The challenge that came out.
#[derive(Debug)]
struct Imported {
    /// The folder above the bucket, or above the challenge.
    root: PathBuf,
    /// Its path inside of `root`.
    path: String,
    /// What was not copied.
    left_out: Vec<String>,
}

/// Imports the folder and checks what came out.
pub(super) fn run(global: &Global, args: &ComposeArgs) -> Result<Ending, Failure> {
    let folder = Folder::find(&args.dir)?;
    let id = args.id.clone().unwrap_or_else(|| folder.name.clone());
    let id: ChallengeId = id.parse().map_err(|error: crate::model::IdError| {
        Failure::usage(error.to_string(), "choose an id: `--id WEB-001`")
    })?;
    let imported = match &args.out {
        Some(out) => copy(args, &folder, &id, out)?,
        None => in_place(args, &folder, &id)?,
    };
    let findings = imported.check()?;
    let residue = imported.residue()?;
    imported.show(&findings, &residue, global.format())?;
    let has_errors = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if has_errors { Ending::Findings } else { Ending::Fine })
}

impl Folder {
    fn find(dir: &Path) -> Result<Self, Failure> {
        let shown = dir.display();
        let next = "name a folder with a compose file: `flagops import compose DIR`";
        let path = dir
            .canonicalize()
            .map_err(|error| Failure::usage(format!("could not open `{shown}` ({error})"), next))?;
        if path.join(METADATA).symlink_metadata().is_ok() {
            let problem = format!("`{shown}` has a `{METADATA}`, so it is a challenge already");
            return Err(Failure::usage(problem, format!("flagops check {shown}")));
        }
        let is_there = |name: &&&str| path.join(name).is_file();
        let Some(compose) = NAMES.iter().find(is_there) else {
            let problem = format!("`{shown}` has none of {}", NAMES.join(", "));
            return Err(Failure::usage(problem, next));
        };
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        Ok(Self { path, compose, name })
    }
}

/// The metadata, as far as it can be known.
fn metadata(args: &ComposeArgs, folder: &Folder) -> String {
    format!(
        "name: {}\n\
         description: |\n  \
           Nobody has described this challenge yet. Say what the player shall achieve, not how.\n\
         difficulty: {}\n\
         category: {}\n\
         tags: {}\n\
         questions:\n  \
           # Without `answer` a value is minted for each instance; with it, that text is right.\n  \
           - id: flag\n    \
             prompt: What is the flag?\n",
        yaml::scalar(args.title.as_deref().unwrap_or(&folder.name)),
        args.difficulty,
        args.category,
        yaml::list(&args.tags),
    )
}

fn in_place(args: &ComposeArgs, folder: &Folder, id: &ChallengeId) -> Result<Imported, Failure> {
    let parent = folder.path.parent().filter(|_| folder.name == id.as_str());
    let Some(parent) = parent else {
        let problem = format!("the folder `{}` gives a challenge its id, not `{id}`", folder.name);
        return Err(Failure::usage(problem, "rename the folder, or copy it with `--out DIR`"));
    };
    if folder.path.join(".git").exists() {
        let problem = format!("`{}` is a repository of its own, not a folder of one", folder.name);
        return Err(Failure::usage(problem, "copy it into your repository with `--out DIR`"));
    }
    let file = folder.path.join(METADATA);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&file)
        .and_then(|mut new| new.write_all(metadata(args, folder).as_bytes()))
        .map_err(|error| could_not("write", &file, &error))?;
    rename(&folder.path, folder.compose)?;
    Ok(Imported { root: parent.to_owned(), path: folder.name.clone(), left_out: Vec::new() })
}

fn copy(
    args: &ComposeArgs,
    folder: &Folder,
    id: &ChallengeId,
    out: &Path,
) -> Result<Imported, Failure> {
    let root = place::root(Some(out))?;
    if root.starts_with(&folder.path) {
        let problem = format!("`{}` is inside of the folder that is imported", out.display());
        return Err(Failure::usage(problem, "use `--in-place`, or another `--out`"));
    }
    let wish = Wish { id: Some(id.as_str()), bucket: args.bucket.as_deref() };
    let place = Shelves::read(&root)?.find(&wish, kind(args.category))?;
    if root.join(place.path()) == folder.path {
        let problem = format!("`{}` is in its place already", args.dir.display());
        return Err(Failure::usage(problem, "use `--in-place`"));
    }
    let staged = Staged::begin(&root)?;
    let mut left_out = Vec::new();
    copy_folder(&folder.path, &staged.folder(), &mut left_out)?;
    leave_variables(&folder.path, &staged.folder(), &mut left_out)?;
    rename(&staged.folder(), folder.compose)?;
    let files = new::Files::from([(METADATA.to_owned(), metadata(args, folder).into_bytes())]);
    staged.write(&files)?;
    staged.put(&place.path(), Overwrite::from_flag(&args.force))?;
    Ok(Imported { root, path: place.path(), left_out })
}

fn kind(category: Category) -> Kind {
    match category {
        Category::Web => Kind::Web,
        Category::Pwn => Kind::Pwn,
        Category::Reverse => Kind::Reverse,
        Category::Crypto => Kind::Crypto,
        Category::Misc => Kind::Misc,
    }
}

/// Gives the compose file of `folder` the name that is read.
fn rename(folder: &Path, name: &str) -> Result<(), Failure> {
    if name == COMPOSE {
        return Ok(());
    }
    let from = folder.join(name);
    fs::rename(&from, folder.join(COMPOSE)).map_err(|error| could_not("rename", &from, &error))
}

/// Copies files, folders and links as they are; `.git` and what is none of these stays behind.
fn copy_folder(from: &Path, to: &Path, left_out: &mut Vec<String>) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| could_not("copy", &path, &error)
    };
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed(&source))?;
        if entry.file_name() == ".git" {
            left_out.push(source.display().to_string());
        } else if kind.is_dir() {
            fs::create_dir(&target).map_err(failed(&target))?;
            copy_folder(&source, &target, left_out)?;
        } else if kind.is_symlink() {
            // A link stays a link; the check says what to do about it.
            fs::read_link(&source)
                .and_then(|aim| std::os::unix::fs::symlink(aim, &target))
                .map_err(failed(&source))?;
        } else if kind.is_file() {
            fs::copy(&source, &target).map_err(failed(&source))?;
        } else {
            left_out.push(source.display().to_string());
        }
    }
    Ok(())
}

/// Takes the variables of `docker compose` out of the copy: no file of a challenge may name them, and
/// they mostly hold what must not be in a repository.
fn leave_variables(from: &Path, to: &Path, left_out: &mut Vec<String>) -> Result<(), Failure> {
    let copy = to.join(VARIABLES);
    if copy.symlink_metadata().is_ok_and(|it| !it.is_dir()) {
        fs::remove_file(&copy).map_err(|error| could_not("remove", &copy, &error))?;
        left_out.push(from.join(VARIABLES).display().to_string());
    }
    Ok(())
}

impl Imported {
    /// The lines that should not be in a repository.
    fn residue(&self) -> Result<Vec<Residue>, Failure> {
        let folder = self.root.join(&self.path);
        residue::find(&folder).map_err(|error| could_not("read", &folder, &error))
    }

    /// What the check says about the challenge.
    fn check(&self) -> Result<Vec<Finding>, Failure> {
        let failed = |error: crate::model::TreeError| {
            Failure::failed(format!("could not check `{}`: {error}", self.path), "check it again")
        };
        let tree = WorkTree::open(&self.root).map_err(failed)?;
        let folder = catalog::load_one(&tree, &self.path, &Policy::default()).map_err(failed)?;
        Ok(folder.findings)
    }

    fn show(
        &self,
        findings: &[Finding],
        residue: &[Residue],
        format: Format,
    ) -> Result<(), Failure> {
        let folder = new::shown(&self.root, &self.path);
        let next = [
            format!("flagops check {folder}"),
            format!("flagops check {folder} --fix"),
            format!("flagops play {folder}"),
        ];
        match format {
            Format::Json => output::print_json(&json!({
                "path": self.path,
                "left_out": self.left_out,
                "secrets": residue,
                "issues": findings,
                "next": next,
            })),
            Format::Table => output::print(&self.text(findings, residue, &next)),
        }
    }

    fn text(&self, findings: &[Finding], residue: &[Residue], next: &[String]) -> String {
        let mut lines = vec![format!("made {}", output::clean(&self.path))];
        let left_out = self.left_out.iter().map(|path| output::clean(path));
        lines.extend(left_out.map(|path| match path.ends_with("/.env") {
            true => format!(
                "  {path} was left out: nothing reads it here; write its values under `environment`"
            ),
            false => format!("  {path} was left out"),
        }));
        lines.extend(residue.iter().take(MAX_SHOWN).map(|it| {
            let file = output::clean(&format!("{}/{}", self.path, it.file));
            format!("  {file}:{} holds {}: take it out before you commit", it.line, it.what)
        }));
        if residue.len() > MAX_SHOWN {
            let n_more = residue.len() - MAX_SHOWN;
            lines.push(format!("  and {n_more} more such lines; `--format json` has all"));
        }
        lines.extend(findings.iter().map(|finding| output::clean(&finding.to_string())));
        lines.push(ANSWERS.to_owned());
        lines.push("next:".to_owned());
        lines.extend(next.iter().map(|command| format!("  {command}")));
        lines.join("\n")
    }
}

/// What an importer has to decide, since nobody else can.
const ANSWERS: &str = "\
Still yours to do:
  Describe the goal in metadata.yaml, and write solution/exploit.py.
  The answer of `flag` is minted for each instance, and services find it in `/answers/flag`. If only
  one service may know it, write there: `x-answers: [flag]`.
  A flag that stands in the files today is the same for every team: take it out.";
