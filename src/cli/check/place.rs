//! Which repository the named paths are in, and which parts of it they mean.

use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::model::ChallengeId;

/// A repository, and parts of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where the repository is on disk.
    pub(super) root: PathBuf,
    /// Where the challenges are inside of the repository: `""`, or a folder of a larger project.
    pub(super) base: String,
    /// `/`-separated below `base`, sorted; an empty one is all of it.
    pub(super) parts: Vec<String>,
}

impl Place {
    /// The repository that `paths` are in; without git, the folder itself, or, inside of a single
    /// challenge, the folder above. A path inside of a challenge means that challenge, as hooks
    /// name changed files.
    pub(super) fn find(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut place: Option<Self> = None;
        for path in paths {
            let Located { root, base, part } = locate(path)?;
            let place = place.get_or_insert_with(|| Self {
                root: root.clone(),
                base: base.clone(),
                parts: Vec::new(),
            });
            if (&place.root, &place.base) != (&root, &base) {
                let (one, other) = (place.root.join(&place.base), root.join(&base));
                let (one, other) = (one.display(), other.display());
                return Err(Failure::usage(
                    format!("the paths are in two repositories, `{one}` and `{other}`"),
                    "check them one after the other",
                ));
            }
            place.parts.push(part);
        }
        let mut place = place.ok_or_else(|| Failure::usage("no path was named", NEXT))?;
        place.parts.sort();
        place.parts.dedup();
        if place.parts.iter().any(String::is_empty) {
            place.parts = vec![String::new()];
        }
        Ok(place)
    }
}

const NEXT: &str = "name a folder: `flagops check PATH`";

/// What a path means.
struct Located {
    root: PathBuf,
    base: String,
    part: String,
}

/// Challenges lie at most this deep below the root of their repository: `BUCKET/ID`.
const MAX_DEPTH: usize = 2;

/// The repository of `path`, and what it means there.
fn locate(path: &Path) -> Result<Located, Failure> {
    let path = path.canonicalize().or_else(|error| {
        by_id(path).ok_or_else(|| {
            Failure::usage(format!("could not open `{}` ({error})", path.display()), NEXT)
        })
    })?;
    let repository = path.ancestors().find(|folder| folder.join(".git").exists());
    let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(&path) };
    let root = match repository {
        Some(root) => root,
        None => match folder.ancestors().find(|folder| is_challenge(folder)) {
            Some(challenge) => challenge.parent().unwrap_or(challenge),
            None => folder,
        },
    };
    // The outermost one: a challenge may ship a file of that name somewhere inside.
    let challenge = folder
        .ancestors()
        .take_while(|folder| *folder != root)
        .filter(|folder| is_challenge(folder))
        .last();
    let base = base(root, folder, challenge);
    let inside = challenge.unwrap_or(&path).strip_prefix(base).unwrap_or(Path::new(""));
    match (slashed(base.strip_prefix(root).unwrap_or(Path::new(""))), slashed(inside)) {
        (Some(base), Some(part)) => Ok(Located { root: root.to_owned(), base, part }),
        _ => Err(Failure::usage(format!("`{}` is not UTF-8", path.display()), NEXT)),
    }
}

/// The one challenge of the repository around the working directory whose id `path` is.
fn by_id(path: &Path) -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?.canonicalize().ok()?;
    let root = here.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(&here);
    challenge_of(root, path.to_str()?)
}

/// The one challenge below `root` with this id.
fn challenge_of(root: &Path, id: &str) -> Option<PathBuf> {
    id.parse::<ChallengeId>().ok()?;
    let folders = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let buckets = folders.map(|entry| entry.path()).filter(|path| path.is_dir());
    let places = std::iter::once(root.to_owned()).chain(buckets).map(|folder| folder.join(id));
    let mut found = places.filter(|folder| is_challenge(folder));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn slashed(path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = path.components().map(|it| it.as_os_str().to_str()).collect();
    Some(parts?.join("/"))
}

/// Where the challenges of a repository begin: at its root, unless those in question lie deeper than
/// challenges may, as in a project with a folder for them.
fn base<'p>(root: &'p Path, folder: &'p Path, challenge: Option<&'p Path>) -> &'p Path {
    let depth =
        |path: &Path| path.strip_prefix(root).map_or(0, |inside| inside.components().count());
    match challenge {
        Some(challenge) if depth(challenge) > MAX_DEPTH => {
            challenge.ancestors().nth(MAX_DEPTH).unwrap_or(root)
        }
        Some(_) => root,
        None => {
            // The nearest folder above the challenges that are in it.
            let below = |path: &Path, levels: usize| has_challenge(path, levels);
            let is_deep = (1..=MAX_DEPTH)
                .any(|levels| depth(folder) + levels > MAX_DEPTH && below(folder, levels));
            if is_deep && !below(folder, MAX_DEPTH.saturating_sub(depth(folder))) {
                folder
            } else {
                root
            }
        }
    }
}

/// Whether a challenge lies exactly `levels` below `folder`.
fn has_challenge(folder: &Path, levels: usize) -> bool {
    if levels == 0 {
        return is_challenge(folder);
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .any(|entry| has_challenge(&entry.path(), levels - 1))
}

fn is_challenge(folder: &Path) -> bool {
    folder.join("metadata.yaml").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(root: &Path, parts: &[&str]) -> Place {
        let base = String::new();
        Place {
            root: root.into(),
            base,
            parts: parts.iter().map(|part| (*part).to_owned()).collect(),
        }
    }

    #[test]
    fn a_path_is_found_inside_its_repository() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let challenge = root.join("WEB/WEB-001");
        let inner = challenge.join("services/web");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(challenge.join("metadata.yaml"), "").unwrap();
        std::fs::write(inner.join("metadata.yaml"), "not a challenge").unwrap();
        std::fs::write(root.join("README.md"), "").unwrap();
        let find = |paths: &[&Path]| {
            let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
            Place::find(&paths)
        };

        assert_eq!(find(&[&challenge]), Ok(place(&root.join("WEB"), &["WEB-001"])));
        assert_eq!(find(&[&root]), Ok(place(&root, &[""])));
        std::fs::create_dir(root.join(".git")).unwrap();
        let web = place(&root, &["WEB/WEB-001"]);
        assert_eq!(find(&[&challenge]).as_ref(), Ok(&web));
        assert_eq!(find(&[&challenge.join("metadata.yaml")]).as_ref(), Ok(&web));
        assert_eq!(find(&[&inner, &challenge.join("metadata.yaml")]).as_ref(), Ok(&web));
        assert_eq!(find(&[&root.join("WEB")]), Ok(place(&root, &["WEB"])));
        assert_eq!(
            find(&[&inner, &root.join("README.md")]),
            Ok(place(&root, &["README.md", "WEB/WEB-001"]))
        );
        assert_eq!(find(&[&inner, &root]), Ok(place(&root, &[""])), "all is all");
        assert!(find(&[&root.join("nowhere")]).is_err());
    }

    #[test]
    fn an_id_means_the_one_challenge_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["WEB/WEB-001", "WEB/WEB-002", "OLD/WEB-002", "FLAT-1"] {
            std::fs::create_dir_all(root.join(path)).unwrap();
            std::fs::write(root.join(path).join("metadata.yaml"), "").unwrap();
        }
        assert_eq!(challenge_of(root, "WEB-001"), Some(root.join("WEB/WEB-001")));
        assert_eq!(challenge_of(root, "FLAT-1"), Some(root.join("FLAT-1")));
        assert_eq!(challenge_of(root, "WEB-002"), None, "two have it");
        assert_eq!(challenge_of(root, "../x"), None);
    }

    #[test]
    fn challenges_may_lie_in_a_folder_of_a_larger_project() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let challenge = root.join("ctf/WEB/WEB-001");
        std::fs::create_dir_all(&challenge).unwrap();
        std::fs::write(challenge.join("metadata.yaml"), "").unwrap();
        std::fs::create_dir(root.join(".git")).unwrap();
        let find = |path: &Path| {
            let place = Place::find(&[path.to_path_buf()]).unwrap();
            (place.base, place.parts.join(" "))
        };
        let pair = |base: &str, part: &str| (base.to_owned(), part.to_owned());
        assert_eq!(find(&root.join("ctf")), pair("ctf", ""));
        assert_eq!(find(&challenge), pair("ctf", "WEB/WEB-001"));
        assert_eq!(find(&challenge.join("metadata.yaml")), pair("ctf", "WEB/WEB-001"));
        assert_eq!(find(&root), pair("", ""));
    }

    #[test]
    fn two_repositories_are_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let error = Place::find(&[one.path().into(), two.path().into()]).unwrap_err();
        assert!(error.to_string().contains("two repositories"), "{error}");
    }
}
