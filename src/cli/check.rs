//! `flagops check`: the very rules of the daemon, on a folder or a commit, without a server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::catalog::{self, Catalog, Finding, Policy, Severity};
use crate::config::{LimitsConfig, Need, Overrides};
use crate::git::{WorkTree, revision};
use crate::model::{Tree, TreeError};

use super::excerpt;
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;

/// Largest file that is read for an excerpt.
const EXCERPT_BYTES: u64 = 1 << 20;

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
  flagops check --format json | jq '.issues[].rule'

Exit codes: 0 no errors (warnings are fine), 1 errors, 2 wrong usage.")]
pub(crate) struct CheckArgs {
    /// Repository, or a folder inside of one
    #[arg(default_value = ".")]
    path: PathBuf,

    /// Look at this commit instead of the files on disk: a branch, a tag or an id
    #[arg(long, value_name = "REV")]
    rev: Option<String>,
}

/// Checks and shows what was found.
pub(crate) fn run(global: &Global, args: &CheckArgs) -> Result<Ending, Failure> {
    let limits = global.load(Need::Client, Overrides::new())?.limits;
    let place = Place::find(&args.path)?;
    let tree = open(&place, args.rev.as_deref())?;
    let report = Report::read(tree.as_ref(), &place.inside, &policy(&limits)).map_err(|error| {
        Failure::failed(error.to_string(), "check the path and its permissions")
    })?;
    match global.format {
        Format::Json => output::print_json(&report.json())?,
        Format::Table => output::print(&report.render(tree.as_ref()))?,
    }
    Ok(if report.n_errors() > 0 { Ending::Findings } else { Ending::Fine })
}

/// The rules' ceilings as the configuration sets them.
fn policy(limits: &LimitsConfig) -> Policy {
    Policy {
        max_memory_bytes: u64::from(limits.max_memory_mib) << 20,
        max_cpu_millis: limits.max_cpu_millis,
        max_pids: limits.max_pids,
        max_services: usize::try_from(limits.max_services).unwrap_or(usize::MAX),
        max_ttl_secs: limits.max_ttl_secs,
    }
}

/// Which repository, and which part of it.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    root: PathBuf,
    /// `/`-separated below `root`; empty for all of it.
    inside: String,
}

impl Place {
    /// The repository that `path` is in; without git, `path` itself, or, for a single challenge,
    /// the folder above.
    fn find(path: &Path) -> Result<Self, Failure> {
        let next = "name a folder: `flagops check PATH`";
        let path = path.canonicalize().map_err(|error| {
            Failure::usage(format!("could not open `{}` ({error})", path.display()), next)
        })?;
        if !path.is_dir() {
            return Err(Failure::usage(format!("`{}` is not a folder", path.display()), next));
        }
        let repository = path.ancestors().find(|folder| folder.join(".git").exists());
        let root = match repository {
            Some(root) => root,
            None if is_challenge(&path) => path.parent().unwrap_or(&path),
            None => &path,
        };
        let parts: Option<Vec<&str>> = path
            .strip_prefix(root)
            .unwrap_or(Path::new(""))
            .components()
            .map(|part| part.as_os_str().to_str())
            .collect();
        let Some(parts) = parts else {
            return Err(Failure::usage(format!("`{}` is not UTF-8", path.display()), next));
        };
        Ok(Self { root: root.to_owned(), inside: parts.join("/") })
    }
}

fn is_challenge(folder: &Path) -> bool {
    folder.join("metadata.yaml").is_file()
}

fn open(place: &Place, name: Option<&str>) -> Result<Box<dyn Tree>, Failure> {
    let root = place.root.display();
    match name {
        None => Ok(Box::new(WorkTree::open(&place.root).map_err(|error| {
            Failure::failed(format!("could not open `{root}`: {error}"), "check its permissions")
        })?)),
        Some(name) => Ok(Box::new(revision::tree_at(&place.root, name).map_err(|error| {
            Failure::usage(
                format!("could not read revision `{name}` of `{root}`: {error}"),
                format!("`git -C {root} rev-parse {name}` must name a commit"),
            )
        })?)),
    }
}

/// What was found.
#[derive(Debug)]
struct Report {
    n_challenges: usize,
    /// Sorted by path and line.
    findings: Vec<Finding>,
}

impl Report {
    /// Reads the part `inside` of `tree`.
    fn read(tree: &dyn Tree, inside: &str, policy: &Policy) -> Result<Self, TreeError> {
        let is_one = !inside.is_empty()
            && tree.entries(inside)?.iter().any(|entry| entry.name == "metadata.yaml");
        if is_one {
            let folder = catalog::load_one(tree, inside, policy)?;
            return Ok(Self::new(1, folder.findings));
        }
        let catalog = catalog::load(tree, None, policy)?;
        Ok(Self::of(&catalog, inside))
    }

    fn of(catalog: &Catalog, inside: &str) -> Self {
        let is_inside = |path: &str| {
            inside.is_empty()
                || path
                    .strip_prefix(inside)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let folders: Vec<_> =
            catalog.folders.values().filter(|folder| is_inside(&folder.path)).collect();
        let of_folders = folders.iter().flat_map(|folder| folder.findings.iter().cloned());
        let of_none = catalog.findings.iter().filter(|finding| is_inside(&finding.path)).cloned();
        Self::new(folders.len(), of_folders.chain(of_none).collect())
    }

    fn new(n_challenges: usize, mut findings: Vec<Finding>) -> Self {
        findings.sort_by(|left, right| {
            let place = |f: &Finding| (f.path.clone(), f.line, f.column, f.rule.clone());
            place(left).cmp(&place(right))
        });
        findings.dedup();
        Self { n_challenges, findings }
    }

    fn n_errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    fn json(&self) -> serde_json::Value {
        json!({ "challenges": self.n_challenges, "issues": self.findings })
    }

    fn render(&self, tree: &dyn Tree) -> String {
        let mut sources = BTreeMap::<&str, Option<String>>::new();
        let mut text = String::new();
        for finding in &self.findings {
            let source = sources.entry(&finding.path).or_insert_with(|| {
                let bytes = tree.read(&finding.path, EXCERPT_BYTES).ok()?;
                String::from_utf8(bytes).ok()
            });
            text += &excerpt::render(finding, source.as_deref());
            text += "\n\n";
        }
        text + &self.summary()
    }

    fn summary(&self) -> String {
        let n_errors = self.n_errors();
        let n_warnings = self.findings.len() - n_errors;
        let challenges = count(self.n_challenges, "challenge");
        if self.findings.is_empty() {
            return format!("{challenges} checked, nothing to complain about");
        }
        let (errors, warnings) = (count(n_errors, "error"), count(n_warnings, "warning"));
        format!("{challenges} checked: {errors}, {warnings}")
    }
}

fn count(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::Folder;
    use crate::model::{MemoryTree, ObjectId, TreeId};

    fn finding(path: &str, line: u32, severity: Severity) -> Finding {
        Finding {
            rule: "META001".to_owned(),
            severity,
            challenge: None,
            path: path.to_owned(),
            line,
            column: 1,
            message: "`name` is missing".to_owned(),
            hint: "add it".to_owned(),
        }
    }

    fn catalog() -> Catalog {
        let folder = |path: &str, findings| {
            let tree = TreeId(ObjectId::from_bytes([1; 20]));
            Arc::new(Folder { path: path.to_owned(), tree, challenge: None, findings })
        };
        let web = vec![
            finding("WEB/WEB-001/metadata.yaml", 2, Severity::Warning),
            finding("WEB/WEB-001/metadata.yaml", 1, Severity::Error),
        ];
        Catalog {
            folders: BTreeMap::from([
                ("WEB-001".parse().unwrap(), folder("WEB/WEB-001", web)),
                ("PWN-001".parse().unwrap(), folder("PWN/PWN-001", Vec::new())),
            ]),
            findings: vec![finding("WEBSITE", 0, Severity::Error)],
        }
    }

    #[test]
    fn findings_are_shown_in_the_order_of_the_files_with_counts() {
        let tree =
            MemoryTree::new().with("WEB/WEB-001/metadata.yaml", "description: x\ntags: []\n");
        insta::assert_snapshot!(Report::of(&catalog(), "WEB").render(&tree), @r"
        error[META001] `name` is missing
          --> WEB/WEB-001/metadata.yaml:1:1
           |
         1 | description: x
           | ^
           = hint: add it

        warning[META001] `name` is missing
          --> WEB/WEB-001/metadata.yaml:2:1
           |
         2 | tags: []
           | ^
           = hint: add it

        1 challenge checked: 1 error, 1 warning
        ");
    }

    #[test]
    fn the_whole_repository_has_the_findings_of_no_challenge_too() {
        let report = Report::of(&catalog(), "");
        assert_eq!((report.n_challenges, report.findings.len(), report.n_errors()), (2, 3, 2));
        assert_eq!(report.findings[2].path, "WEBSITE");
    }

    #[test]
    fn json_has_every_field_of_the_contract() {
        let report = Report::new(1, vec![finding("A/metadata.yaml", 1, Severity::Error)]);
        insta::assert_json_snapshot!(report.json(), @r#"
        {
          "challenges": 1,
          "issues": [
            {
              "challenge": null,
              "column": 1,
              "hint": "add it",
              "line": 1,
              "message": "`name` is missing",
              "path": "A/metadata.yaml",
              "rule": "META001",
              "severity": "error"
            }
          ]
        }
        "#);
    }

    #[test]
    fn nothing_to_complain_about_says_so() {
        let shown = Report::new(12, Vec::new()).render(&MemoryTree::new());
        assert_eq!(shown, "12 challenges checked, nothing to complain about");
    }

    #[test]
    fn a_path_is_found_inside_its_repository() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let challenge = root.join("WEB/WEB-001");
        std::fs::create_dir_all(&challenge).unwrap();
        std::fs::write(challenge.join("metadata.yaml"), "").unwrap();
        let place = |root: &Path, inside: &str| Place { root: root.into(), inside: inside.into() };

        assert_eq!(Place::find(&challenge), Ok(place(&root.join("WEB"), "WEB-001")));
        assert_eq!(Place::find(&root), Ok(place(&root, "")));
        std::fs::create_dir(root.join(".git")).unwrap();
        assert_eq!(Place::find(&challenge), Ok(place(&root, "WEB/WEB-001")));
        assert_eq!(Place::find(&root.join("WEB")), Ok(place(&root, "WEB")));
        assert!(Place::find(&root.join("nowhere")).is_err());
        assert!(Place::find(&challenge.join("metadata.yaml")).is_err());
    }
}
