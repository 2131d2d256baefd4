//! `flagops check --fix`: mends files on disk, one at a time and never half.
//!
//! What is changed, and that it is safe, is decided in `catalog::fix`; this reads and writes.
//!
//! # Invariants
//! * A file is replaced whole, by a rename in its folder, with its mode; nothing is written that
//!   the file would not survive.
//! * No link is followed, nothing outside of the repository is written, and a file that changed
//!   since it was looked at is left alone.
//!
//! # Not here
//! Which findings there are (`check`), what can be mended (`catalog::fix`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::catalog::fix::{self, Left, Mended, MendedFile, Overlay};
use crate::catalog::{self, Policy};
use crate::git::WorkTree;
use crate::model::TreeError;

use super::failure::Failure;
use super::output;

/// Whether files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are.
    Write,
    /// Only what would be written is shown.
    Show,
}

/// What became of a repository.
#[derive(Debug, Default)]
pub(super) struct FixReport {
    /// The files that changed, or would change, by path.
    changed: Vec<MendedFile>,
    /// What has to be mended by hand, and why.
    left: Vec<Left>,
}

/// Mends what can be mended mechanically in `parts` (`""` for all) of the repository at `root`, as it
/// is on disk.
///
/// # Errors
/// When files cannot be read or written. What was written before stays: every file is whole.
pub(super) fn run_fix(
    root: &Path,
    parts: &[String],
    policy: &Policy,
    mode: Mode,
) -> Result<FixReport, Failure> {
    let unreadable =
        |error: TreeError| Failure::failed(error.to_string(), "check the path and its permissions");
    // One tree for all: it reads the index of git once, and a folder only once.
    let mut tree = Overlay::over(Box::new(WorkTree::open(root).map_err(unreadable)?));
    let catalog = catalog::load(&tree, None, policy).map_err(unreadable)?;
    let mut report = FixReport::default();
    for folder in catalog.folders.values() {
        let has_fixable = folder.findings.iter().any(|finding| fix::is_fixable(&finding.rule));
        if !has_fixable || !parts.iter().any(|part| is_inside(&folder.path, part)) {
            continue;
        }
        let Mended { files, mut left } =
            fix::mend(&mut tree, &folder.path, policy).map_err(unreadable)?;
        for file in files {
            let written = match mode {
                Mode::Write => replace(root, &file),
                Mode::Show => Ok(()),
            };
            match written {
                Ok(()) => {
                    if mode == Mode::Write {
                        // What is left is where the check that follows sees it.
                        for it in left.iter_mut().filter(|it| it.path == file.path) {
                            it.line = it.line_after;
                        }
                    }
                    report.changed.push(file);
                }
                Err(Refusal::LeftAlone(why)) => report.leave(&file, &why),
                Err(Refusal::Failed(error)) => {
                    let problem = format!("could not write `{}` ({error})", file.path);
                    let next = "check space and permissions; the files before it are mended";
                    return Err(Failure::failed(problem, next));
                }
            }
        }
        report.left.extend(left);
    }
    report.changed.sort_by(|left, right| left.path.cmp(&right.path));
    report.left.sort();
    Ok(report)
}

/// What `--fix` would mend.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mendable {
    /// How many findings of each rule.
    pub(super) by_rule: BTreeMap<String, usize>,
    /// Whether there are challenges that were not tried.
    pub(super) is_cut: bool,
}

/// Most challenges in which it is tried how much can be mended.
const MAX_TRIED: usize = 20;

/// Tries in memory what would be mended in the challenge folders `folders` of the repository at
/// `root`; a few folders are enough to know what to tell.
///
/// # Errors
/// When files cannot be read.
pub(super) fn try_fix(
    root: &Path,
    folders: &BTreeSet<&str>,
    policy: &Policy,
) -> Result<Mendable, TreeError> {
    let mut mendable = Mendable { is_cut: folders.len() > MAX_TRIED, ..Mendable::default() };
    if folders.is_empty() {
        return Ok(mendable);
    }
    let mut tree = Overlay::over(Box::new(WorkTree::open(root)?));
    for folder in folders.iter().take(MAX_TRIED) {
        let mended = fix::mend(&mut tree, folder, policy)?;
        for applied in mended.files.into_iter().flat_map(|file| file.applied) {
            *mendable.by_rule.entry(applied.rule).or_default() += 1;
        }
    }
    Ok(mendable)
}

fn is_inside(path: &str, folder: &str) -> bool {
    let below = path.strip_prefix(folder);
    folder.is_empty() || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl FixReport {
    /// How many findings were mended, or would be.
    pub(super) fn n_mended(&self) -> usize {
        self.changed.iter().map(|file| file.applied.len()).sum()
    }

    /// Everything of `file` is left alone.
    fn leave(&mut self, file: &MendedFile, why: &str) {
        self.left.extend(file.applied.iter().map(|applied| Left {
            path: file.path.clone(),
            line: applied.line,
            line_after: applied.line,
            rule: applied.rule.clone(),
            why: why.to_owned(),
        }));
    }

    /// `{"mended": [{path, line, rule, what}], "left": [{path, line, rule, why}]}`.
    pub(super) fn json(&self) -> Value {
        let mended = self.changed.iter().flat_map(|file| {
            file.applied.iter().map(|it| {
                json!({ "path": file.path, "line": it.line, "rule": it.rule, "what": it.what })
            })
        });
        let left = self
            .left
            .iter()
            .map(|it| json!({ "path": it.path, "line": it.line, "rule": it.rule, "why": it.why }));
        json!({ "mended": mended.collect::<Vec<_>>(), "left": left.collect::<Vec<_>>() })
    }

    /// Tables of what was done and what was not; empty when there is neither.
    pub(super) fn render(&self) -> String {
        let place = |path: &str, line: u32| {
            if line > 0 { format!("{path}:{line}") } else { path.to_owned() }
        };
        let mended: Vec<Vec<String>> = self
            .changed
            .iter()
            .flat_map(|file| {
                file.applied
                    .iter()
                    .map(|it| vec![place(&file.path, it.line), it.rule.clone(), it.what.clone()])
            })
            .collect();
        let left: Vec<Vec<String>> = self
            .left
            .iter()
            .map(|it| vec![place(&it.path, it.line), it.rule.clone(), it.why.clone()])
            .collect();
        let mut parts = Vec::new();
        if !mended.is_empty() {
            parts.push(output::table(&["MENDED", "RULE", "WHAT"], &mended));
        }
        if !left.is_empty() {
            parts.push(output::table(&["LEFT ALONE", "RULE", "WHY"], &left));
        }
        parts.join("\n\n")
    }

    /// What changed, as a patch that `git apply` takes.
    pub(super) fn diff(&self) -> String {
        let mut patch = String::new();
        for file in &self.changed {
            let before = String::from_utf8_lossy(&file.before);
            let after = String::from_utf8_lossy(&file.after);
            let diff = similar::TextDiff::from_lines(before.as_ref(), after.as_ref());
            let (old, new) = (format!("a/{}", file.path), format!("b/{}", file.path));
            patch += &diff.unified_diff().header(&old, &new).to_string();
        }
        patch
    }
}

/// Why a file was not replaced.
#[derive(Debug)]
enum Refusal {
    /// It is not ours to replace; everything else goes on.
    LeftAlone(String),
    /// The disk did not do it.
    Failed(std::io::Error),
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Puts the new bytes of `file` in the place of the old ones.
fn replace(root: &Path, file: &MendedFile) -> Result<(), Refusal> {
    let at = locate(root, &file.path)?;
    let folder = at.parent().unwrap_or(root);
    let old = fs::symlink_metadata(&at)?;
    if fs::read(&at)? != file.before {
        return Err(Refusal::LeftAlone("the file changed while it was looked at".to_owned()));
    }
    let mut new = tempfile::Builder::new().prefix(".flagops-fix-").tempfile_in(folder)?;
    new.write_all(&file.after)?;
    new.as_file().set_permissions(old.permissions())?;
    let made = new.as_file().metadata()?;
    if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
        // Only root can give a file away; anybody else keeps what he wrote.
        let _ = fchown(new.as_file(), Some(old.uid()), Some(old.gid()));
    }
    new.as_file().sync_all()?;
    new.persist(&at).map_err(|error| error.error)?;
    Ok(())
}

/// The place of `path` below `root`, if every step is a real folder and the last a regular file.
fn locate(root: &Path, path: &str) -> Result<PathBuf, Refusal> {
    let refused = |why: &str| Refusal::LeftAlone(why.to_owned());
    let mut at = root.to_owned();
    let names: Vec<&str> = path.split('/').collect();
    for (nth, name) in names.iter().enumerate() {
        if matches!(*name, "" | "." | "..") {
            return Err(refused("the path leaves the repository"));
        }
        at.push(name);
        let found = fs::symlink_metadata(&at)?;
        let is_last = nth + 1 == names.len();
        let is_fine = if is_last { found.is_file() } else { found.is_dir() };
        if !is_fine {
            return Err(refused("a link or a special file is on the way to it"));
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::catalog::fix::Applied;
    use crate::catalog::rules::{Base, What};

    const COMPOSE: &str = "WEB/WEB-001/docker-compose.yml";
    const METADATA: &str = "WEB/WEB-001/metadata.yaml";

    /// The clean web challenge on disk, with something to mend.
    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in Base::Web.files() {
            let What::Text(text) = file.what else { panic!("{} is no text", file.path) };
            let path = folder.path().join(Base::Web.folder()).join(file.path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let at = |path: &str| folder.path().join(path);
        let compose = fs::read_to_string(at(COMPOSE)).unwrap();
        fs::write(at(COMPOSE), format!("version: '3'\n{compose}")).unwrap();
        let metadata = fs::read_to_string(at(METADATA)).unwrap();
        fs::write(at(METADATA), metadata.replace("Cookie jar", "1234")).unwrap();
        folder
    }

    fn fixed(root: &Path, inside: &str, mode: Mode) -> FixReport {
        run_fix(root, &[inside.to_owned()], &Policy::default(), mode).unwrap()
    }

    #[test]
    fn files_are_mended_once_with_their_mode_and_nothing_is_left_behind() {
        let folder = repository();
        let at = folder.path().join(COMPOSE);
        fs::set_permissions(&at, fs::Permissions::from_mode(0o640)).unwrap();
        let report = fixed(folder.path(), "", Mode::Write);
        insta::assert_snapshot!(report.render(), @r"
        MENDED                            RULE        WHAT
        WEB/WEB-001/docker-compose.yml:1  COMPOSE002  removed the obsolete `version`
        WEB/WEB-001/metadata.yaml:1       META002     put the value of `name` in quotes
        ");
        assert!(fs::read_to_string(&at).unwrap().starts_with("services:"));
        assert_eq!(fs::metadata(&at).unwrap().mode() & 0o777, 0o640);
        let names: Vec<_> = fs::read_dir(at.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        assert_eq!(names, Vec::<String>::new());
        let again = fixed(folder.path(), "", Mode::Write);
        assert_eq!((again.n_mended(), again.render()), (0, String::new()));
    }

    #[test]
    fn showing_writes_nothing_and_gives_a_patch() {
        let folder = repository();
        let before = fs::read(folder.path().join(COMPOSE)).unwrap();
        let report = fixed(folder.path(), "WEB/WEB-001", Mode::Show);
        insta::assert_snapshot!(report.diff(), @r#"
        --- a/WEB/WEB-001/docker-compose.yml
        +++ b/WEB/WEB-001/docker-compose.yml
        @@ -1,4 +1,3 @@
        -version: '3'
         services:
           web:
             build: services/web
        --- a/WEB/WEB-001/metadata.yaml
        +++ b/WEB/WEB-001/metadata.yaml
        @@ -1,4 +1,4 @@
        -name: 1234
        +name: "1234"
         description: Find out what the owner keeps at the bottom of the jar.
         difficulty: easy
         tags: [web]
        "#);
        insta::assert_json_snapshot!(report.json(), @r#"
        {
          "left": [],
          "mended": [
            {
              "line": 1,
              "path": "WEB/WEB-001/docker-compose.yml",
              "rule": "COMPOSE002",
              "what": "removed the obsolete `version`"
            },
            {
              "line": 1,
              "path": "WEB/WEB-001/metadata.yaml",
              "rule": "META002",
              "what": "put the value of `name` in quotes"
            }
          ]
        }
        "#);
        assert_eq!(fs::read(folder.path().join(COMPOSE)).unwrap(), before);
    }

    #[test]
    fn what_cannot_be_mended_is_neither_promised_nor_told_at_an_old_line() {
        let folder = repository();
        let at = |path: &str| folder.path().join("WEB/WEB-001").join(path);
        let text = fs::read_to_string(folder.path().join(COMPOSE)).unwrap();
        let (before, rest) = text.split_once("    healthcheck:\n").unwrap();
        let (_, after) = rest.split_once('\n').unwrap();
        fs::write(folder.path().join(COMPOSE), format!("{before}{after}")).unwrap();
        fs::write(at("services/web/Dockerfile"), "FROM ghcr.io/me/mine:1\nCMD [\"/x\"]\n").unwrap();
        let policy = Policy::default();
        let folders = BTreeSet::from(["WEB/WEB-001"]);
        let mendable = try_fix(folder.path(), &folders, &policy).unwrap();
        let by_rule = [("COMPOSE002".to_owned(), 1), ("META002".to_owned(), 1)];
        assert_eq!(mendable, Mendable { by_rule: by_rule.into(), is_cut: false });
        let lines = |report: &FixReport| report.left.iter().map(|it| it.line).collect::<Vec<_>>();
        assert_eq!(lines(&fixed(folder.path(), "", Mode::Show)), [3], "nothing moved yet");
        assert_eq!(lines(&fixed(folder.path(), "", Mode::Write)), [2]);
    }

    #[test]
    fn another_part_of_the_repository_is_not_touched() {
        let folder = repository();
        for inside in ["WEB/WEB-0", "WEB/WEB-001/services", "PWN"] {
            assert_eq!(fixed(folder.path(), inside, Mode::Write).n_mended(), 0);
        }
        assert_eq!(fixed(folder.path(), "WEB", Mode::Show).n_mended(), 2);
    }

    fn mended(path: &str, before: &str) -> MendedFile {
        let applied = Applied { line: 1, rule: "X".to_owned(), what: "y".to_owned() };
        MendedFile {
            path: path.to_owned(),
            before: before.into(),
            after: b"after".to_vec(),
            applied: vec![applied],
        }
    }

    #[test]
    fn links_and_files_that_changed_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let (root, target) = (folder.path(), outside.path().join("file"));
        fs::write(&target, "before").unwrap();
        symlink(&target, root.join("link")).unwrap();
        symlink(outside.path(), root.join("folder")).unwrap();
        fs::write(root.join("own"), "changed").unwrap();
        for path in ["link", "folder/file", "own", "../file", "own/../own", "folder"] {
            let refused = replace(root, &mended(path, "before")).unwrap_err();
            assert!(matches!(refused, Refusal::LeftAlone(_)), "{path}: {refused:?}");
        }
        assert!(matches!(replace(root, &mended("gone", "x")), Err(Refusal::Failed(_))));
        assert_eq!(fs::read_to_string(&target).unwrap(), "before");
        replace(root, &mended("own", "changed")).unwrap();
        assert_eq!(fs::read_to_string(root.join("own")).unwrap(), "after");
    }
}
