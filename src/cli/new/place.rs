//! Where a new challenge goes: which bucket, which id.
//!
//! In:  what the author named, and the folders that are there. Out: a [`Place`] that is free, or
//! taken by exactly this challenge.
//!
//! # Invariants
//! * An id that another folder has is never given again, in whatever case.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::scaffold::Kind;
use crate::cli::failure::Failure;
use crate::model::ChallengeId;

/// Folders of the root that hold no challenges (`contract/challenges.md` §1.2).
const SKIPPED: &[&str] = &["scripts", "node_modules"];
/// Digits of the first number in a bucket.
const WIDTH: usize = 3;

/// Where a challenge is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Place {
    /// Its id.
    pub id: ChallengeId,
    /// The folder of the root that it is in; empty for the root itself.
    pub bucket: String,
}

impl Place {
    /// The path of its folder in the repository.
    pub(in crate::cli) fn path(&self) -> String {
        if self.bucket.is_empty() {
            return self.id.to_string();
        }
        format!("{}/{}", self.bucket, self.id)
    }
}

/// What an author asks for.
#[derive(Debug, Default)]
pub(in crate::cli) struct Wish<'a> {
    /// An id, or the beginning of one.
    pub id: Option<&'a str>,
    /// The bucket.
    pub bucket: Option<&'a str>,
}

/// The folders of a repository that matter here.
#[derive(Debug, Default)]
pub(in crate::cli) struct Shelves {
    /// Names in each folder of the root.
    buckets: BTreeMap<String, Vec<String>>,
    /// Challenges in the root itself.
    flat: Vec<String>,
}

/// The repository that the working directory is in, or that was named.
///
/// # Errors
/// When it is no folder.
pub(in crate::cli) fn root(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = named.unwrap_or(Path::new("."));
    let open = |error: &dyn std::fmt::Display| {
        let next = "name the folder of your challenges: `--path DIR`";
        Failure::usage(format!("could not open `{}` ({error})", path.display()), next)
    };
    let path = path.canonicalize().map_err(|error| open(&error))?;
    if !path.is_dir() {
        return Err(open(&"it is no folder"));
    }
    let repository = path.ancestors().find(|folder| folder.join(".git").exists());
    Ok(match repository {
        Some(repository) if named.is_none() => repository.to_owned(),
        _ => path,
    })
}

impl Shelves {
    /// Looks at the folders of `root`.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(in crate::cli) fn read(root: &Path) -> Result<Self, Failure> {
        let mut shelves = Self::default();
        for name in folders(root)? {
            if name.starts_with('.') || SKIPPED.contains(&name.as_str()) {
                continue;
            }
            let folder = root.join(&name);
            if folder.join("metadata.yaml").exists() {
                shelves.flat.push(name);
            } else {
                shelves.buckets.insert(name, folders(&folder)?);
            }
        }
        Ok(shelves)
    }

    /// The place for what is wished; `kind` says where it goes when the author does not.
    ///
    /// # Errors
    /// When a name cannot be used, or another folder has the id.
    pub(in crate::cli) fn find(&self, wish: &Wish<'_>, kind: Kind) -> Result<Place, Failure> {
        let place = match wish.id {
            Some(id) if !self.is_beginning(id) => {
                Place { id: parse(id)?, bucket: self.bucket_of(id, wish, kind) }
            }
            beginning => {
                let beginning = beginning.map(|text| text.trim_end_matches('-'));
                let bucket = wish.bucket.or(beginning).unwrap_or_else(|| self.bucket_for(kind));
                Place { id: self.next(bucket, beginning)?, bucket: bucket.to_owned() }
            }
        };
        self.check(place)
    }

    /// The kind that the author's words speak of, if they do.
    pub(in crate::cli) fn kind_of(wish: &Wish<'_>) -> Option<Kind> {
        let name = wish.bucket.or(wish.id)?;
        Kind::of_bucket(name).or_else(|| Kind::of_bucket(beginning(name)))
    }

    /// Whether `id` stands for the next number: a bucket, or something that ends with `-`.
    fn is_beginning(&self, id: &str) -> bool {
        id.ends_with('-') || self.buckets.contains_key(id) || Kind::of_bucket(id).is_some()
    }

    fn bucket_of(&self, id: &str, wish: &Wish<'_>, kind: Kind) -> String {
        let holder = self.buckets.iter().find(|(_, names)| names.iter().any(|name| name == id));
        match (wish.bucket, holder) {
            (Some(bucket), _) => bucket.to_owned(),
            (None, Some((bucket, _))) => bucket.clone(),
            (None, None) if self.flat.iter().any(|name| name == id) => String::new(),
            (None, None) if beginning(id) != id => beginning(id).to_owned(),
            (None, None) => self.bucket_for(kind).to_owned(),
        }
    }

    fn bucket_for(&self, kind: Kind) -> &'static str {
        let names = kind.buckets();
        let known = names.iter().find(|name| self.buckets.contains_key(**name));
        known.or(names.first()).expect("every kind has a bucket")
    }

    /// The next free number of `bucket`, as its ids are made: with their beginning and width.
    fn next(&self, bucket: &str, wanted: Option<&str>) -> Result<ChallengeId, Failure> {
        let names = self.buckets.get(bucket).map(Vec::as_slice).unwrap_or_default();
        let mut series = BTreeMap::<&str, (usize, u64, usize)>::new();
        for (text, digits) in names.iter().filter_map(|name| numbered(name)) {
            let Ok(number) = digits.parse::<u64>() else { continue };
            let (n, last, width) = series.entry(text).or_default();
            *n += 1;
            *last = number.max(*last);
            *width = digits.len().max(*width);
        }
        let is_wanted = |text: &str| match wanted {
            Some(wanted) if wanted != bucket => text == wanted,
            _ => true,
        };
        let most = series
            .iter()
            .filter(|(text, _)| is_wanted(text))
            .max_by_key(|(text, (n, ..))| (**text == bucket, *n));
        let (text, last, width) = match most {
            Some((text, (_, last, width))) => (*text, *last, *width),
            None => (wanted.unwrap_or(bucket), 0, WIDTH),
        };
        let mut number = last.saturating_add(1);
        loop {
            let id = format!("{text}-{number:0width$}");
            if self.holder(&id).is_none() {
                return parse(&id);
            }
            number = number.saturating_add(1);
        }
    }

    /// The path of the folder with this id, in whatever case.
    fn holder(&self, id: &str) -> Option<String> {
        let is_it = |name: &&String| name.eq_ignore_ascii_case(id);
        let flat = self.flat.iter().find(is_it).cloned();
        flat.or_else(|| {
            self.buckets.iter().find_map(|(bucket, names)| {
                names.iter().find(is_it).map(|name| format!("{bucket}/{name}"))
            })
        })
    }

    fn check(&self, place: Place) -> Result<Place, Failure> {
        let bucket = &place.bucket;
        let is_fine = bucket.is_empty()
            || (bucket.parse::<ChallengeId>().is_ok() && !SKIPPED.contains(&bucket.as_str()));
        if !is_fine {
            let next = "use letters, digits and `-`, such as `--bucket WEB`";
            return Err(Failure::usage(format!("`{bucket}` cannot be a bucket"), next));
        }
        if self.flat.contains(bucket) {
            let problem = format!("`{bucket}` is a challenge, so it cannot hold others");
            return Err(Failure::usage(problem, "name another bucket: `--bucket NAME`"));
        }
        match self.holder(place.id.as_str()) {
            Some(path) if path != place.path() => {
                let problem = format!("`{path}` has the id `{}` already", place.id);
                Err(Failure::usage(problem, "choose another id; ids are compared without case"))
            }
            _ => Ok(place),
        }
    }
}

/// The names of the folders in `folder`.
fn folders(folder: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| {
        let problem = format!("could not list `{}` ({error})", folder.display());
        Failure::failed(problem, "check its permissions")
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string()
            && entry.path().is_dir()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What stands before the number of an id; all of it when there is none.
fn beginning(id: &str) -> &str {
    numbered(id).map_or(id, |(text, _)| text)
}

/// `WEB-004` as `WEB` and `004`.
fn numbered(id: &str) -> Option<(&str, &str)> {
    let (text, digits) = id.rsplit_once('-')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !text.is_empty()).then_some((text, digits))
}

fn parse(id: &str) -> Result<ChallengeId, Failure> {
    id.parse().map_err(|error: crate::model::IdError| {
        Failure::usage(error.to_string(), "choose an id such as `WEB-001`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelves() -> Shelves {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Shelves {
            buckets: BTreeMap::from([
                ("WEB".to_owned(), names(&["WEB-001", "WEB-003", "shared"])),
                ("MISC".to_owned(), names(&["QUIZ-001", "QUIZ-002"])),
                ("MMLU-CS".to_owned(), names(&["MMLU-CS-0009"])),
                ("CVE".to_owned(), names(&["CVE-2021-44228"])),
                ("OLD".to_owned(), names(&["PWN-001"])),
            ]),
            flat: vec!["solo".to_owned()],
        }
    }

    fn find(id: &str, bucket: &str, kind: Kind) -> Result<String, String> {
        let given = |text: &'static str| (!text.is_empty()).then_some(text);
        let (id, bucket) = (id.to_owned().leak(), bucket.to_owned().leak());
        let wish = Wish { id: given(id), bucket: given(bucket) };
        match shelves().find(&wish, kind) {
            Ok(place) => Ok(place.path()),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn the_next_number_follows_the_habits_of_the_bucket() {
        for (id, bucket, kind, path) in [
            ("", "", Kind::Web, "WEB/WEB-004"),
            ("WEB", "", Kind::Web, "WEB/WEB-004"),
            ("WEB-", "", Kind::Web, "WEB/WEB-004"),
            ("", "", Kind::Misc, "MISC/QUIZ-003"),
            ("MISC", "", Kind::Misc, "MISC/QUIZ-003"),
            ("TRIVIA-", "MISC", Kind::Misc, "MISC/TRIVIA-001"),
            ("MMLU-CS", "", Kind::Misc, "MMLU-CS/MMLU-CS-0010"),
            ("", "CVE", Kind::Web, "CVE/CVE-2021-44229"),
            ("", "NEW", Kind::Crypto, "NEW/NEW-001"),
            // PWN-001 is taken elsewhere.
            ("", "", Kind::Pwn, "PWN/PWN-002"),
            ("", "", Kind::Engagement, "LAB/LAB-001"),
        ] {
            assert_eq!(find(id, bucket, kind).as_deref(), Ok(path), "{id} {bucket}");
        }
    }

    #[test]
    fn an_id_is_taken_as_it_is_said() {
        for (id, bucket, kind, path) in [
            ("WEB-009", "", Kind::Web, "WEB/WEB-009"),
            ("WEB-001", "", Kind::Web, "WEB/WEB-001"),
            ("AGENT-DEFENSE-001", "", Kind::Web, "AGENT-DEFENSE/AGENT-DEFENSE-001"),
            ("cookies", "", Kind::Web, "WEB/cookies"),
            ("cookies", "SWEETS", Kind::Web, "SWEETS/cookies"),
            ("solo", "", Kind::Web, "solo"),
        ] {
            assert_eq!(find(id, bucket, kind).as_deref(), Ok(path), "{id} {bucket}");
        }
    }

    #[test]
    fn what_cannot_be_a_place_is_refused() {
        for (id, bucket, said) in [
            ("../x", "", "`../x` is not a challenge id"),
            ("X-1", "..", "`..` cannot be a bucket"),
            ("X-1", "scripts", "`scripts` cannot be a bucket"),
            ("X-1", "solo", "`solo` is a challenge"),
            ("web-001", "", "`WEB/WEB-001` has the id"),
            ("PWN-001", "PWN", "`OLD/PWN-001` has the id"),
        ] {
            let failure = find(id, bucket, Kind::Web).unwrap_err();
            assert!(failure.contains(said), "{id} {bucket}: {failure}");
        }
    }

    #[test]
    fn a_bucket_says_what_kind_its_challenges_are() {
        let kind = |id, bucket| Shelves::kind_of(&Wish { id, bucket });
        assert_eq!(kind(Some("PWN-007"), None), Some(Kind::Pwn));
        assert_eq!(kind(Some("CRYPTO"), None), Some(Kind::Crypto));
        assert_eq!(kind(Some("x"), Some("MISC")), Some(Kind::Misc));
        assert_eq!(kind(Some("cookies"), None), None);
    }
}
