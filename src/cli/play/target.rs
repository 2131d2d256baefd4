//! Which challenge is meant, and where it is in its repository.
//!
//! In:  an id or a path, the repository's folder, the working directory. Out: a [`Target`].

use std::fs;
use std::path::{Path, PathBuf};

use crate::model::ChallengeId;

use super::super::failure::Failure;
use super::super::output;

/// One challenge folder on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The name of the folder.
    pub(super) id: ChallengeId,
    /// The repository, or what stands for it without git. Absolute.
    pub(super) root: PathBuf,
    /// The challenge. Absolute.
    pub(super) folder: PathBuf,
    /// The challenge below `root`, with `/`.
    pub(super) inside: String,
}

impl Target {
    /// The challenge that `text` names: a folder, or the name of one in the repository at `repo`,
    /// which is looked for upwards.
    pub(super) fn find(text: &str, repo: &Path) -> Result<Self, Failure> {
        let path = Path::new(text);
        if is_challenge(path) {
            return Self::at(path, repo);
        }
        let place = repo.canonicalize().map_err(|error| {
            Failure::usage(
                format!("could not open `{}` ({error})", repo.display()),
                "name the repository: `flagops play ID --repo PATH`",
            )
        })?;
        let mut found = Self::candidates(&place, text);
        if found.is_empty()
            && let Some(root) = repository(&place)
        {
            found = Self::candidates(root, text);
        }
        match found.as_slice() {
            [folder] => Self::at(folder, repo),
            [] => Err(Failure::usage(
                format!("there is no challenge `{}` in `{}`", output::clean(text), place.display()),
                "name a folder with a metadata.yaml, or the repository: `--repo PATH`",
            )),
            [first, second, ..] => Err(Failure::usage(
                format!(
                    "`{}` is more than one challenge: `{}` and `{}`",
                    output::clean(text),
                    first.display(),
                    second.display()
                ),
                "name the folder instead",
            )),
        }
    }

    /// The challenge folders below `root` whose name is `id`: at the top, or in a bucket.
    fn candidates(root: &Path, id: &str) -> Vec<PathBuf> {
        if id.parse::<ChallengeId>().is_err() {
            return Vec::new();
        }
        let buckets = fs::read_dir(root).into_iter().flatten().flatten();
        let inside = buckets
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path().join(id));
        let mut found: Vec<_> =
            std::iter::once(root.join(id)).chain(inside).filter(|at| is_challenge(at)).collect();
        found.sort();
        found
    }

    fn at(folder: &Path, repo: &Path) -> Result<Self, Failure> {
        let unusable = |why: String| Failure::usage(why, "name the folder of a challenge");
        let shown = folder.display();
        let folder = folder
            .canonicalize()
            .map_err(|error| unusable(format!("could not open `{shown}` ({error})")))?;
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let id = name.parse().map_err(|_| {
            unusable(format!("the folder name `{}` is no challenge id", output::clean(name)))
        })?;
        let root = root_of(&folder, repo);
        let parts: Option<Vec<&str>> = folder
            .strip_prefix(&root)
            .unwrap_or(Path::new(""))
            .components()
            .map(|part| part.as_os_str().to_str())
            .collect();
        let parts = parts.filter(|parts| !parts.is_empty());
        let inside = parts.ok_or_else(|| unusable(format!("`{shown}` is not UTF-8")))?.join("/");
        Ok(Self { id, root, folder, inside })
    }
}

fn is_challenge(folder: &Path) -> bool {
    folder.join("metadata.yaml").is_file()
}

fn repository(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|folder| folder.join(".git").exists())
}

/// The repository around a challenge; without git, `repo` when the challenge is where one may be
/// inside of it, else the folder above.
fn root_of(folder: &Path, repo: &Path) -> PathBuf {
    let above = folder.parent().unwrap_or(folder);
    if let Some(root) = repository(above) {
        return root.to_owned();
    }
    let repo = repo.canonicalize().unwrap_or_default();
    match folder.strip_prefix(&repo) {
        Ok(inside) if (1..=2).contains(&inside.components().count()) => repo,
        _ => above.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(root: &Path, path: &str) -> PathBuf {
        let folder = root.join(path);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("metadata.yaml"), "").unwrap();
        folder
    }

    fn found(text: &str, repo: &Path) -> (PathBuf, String) {
        let target = Target::find(text, repo).unwrap();
        assert_eq!(target.folder, target.root.join(&target.inside));
        (target.root, target.inside)
    }

    #[test]
    fn an_id_is_found_at_the_top_and_in_a_bucket() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        challenge(&root, "WEB/WEB-001");
        challenge(&root, "PWN-001");
        assert_eq!(found("WEB-001", &root), (root.clone(), "WEB/WEB-001".to_owned()));
        assert_eq!(found("PWN-001", &root), (root.clone(), "PWN-001".to_owned()));
        fs::create_dir(root.join(".git")).unwrap();
        assert_eq!(found("PWN-001", &root.join("WEB")), (root.clone(), "PWN-001".to_owned()));
        challenge(&root, "MISC/WEB-001");
        for wrong in ["WEB-001", "WEB-009", "../WEB-001", ""] {
            assert!(Target::find(wrong, &root).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_belongs_to_its_repository_or_to_the_folder_above() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let folder = challenge(&root, "WEB/WEB-001");
        let text = folder.to_str().unwrap();
        assert_eq!(found(text, &root), (root.clone(), "WEB/WEB-001".to_owned()));
        assert_eq!(found(text, Path::new("/")), (root.join("WEB"), "WEB-001".to_owned()));
        fs::create_dir(root.join(".git")).unwrap();
        assert_eq!(found(text, Path::new("/")), (root, "WEB/WEB-001".to_owned()));
    }
}
