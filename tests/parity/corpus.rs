//! The folders that both are asked about.

use std::fmt;
use std::path::Path;

use flagops::catalog::rules::{self, Example, Rule, What};

use crate::mutations::{self, Mutation};
use crate::rng::Rng;
use crate::specimen::{Kind, Specimen};
use crate::yaml::Style;

/// How often each mutation is tried on each kind: most choose between several mistakes.
const ROUNDS: usize = 3;
/// Cases with two or three mutations at once.
const N_COMBINED: u64 = 150;

/// One challenge folder.
pub(crate) struct Case {
    /// Its id; unique in the corpus.
    pub(crate) id: String,
    /// What was done to it.
    pub(crate) mutations: Vec<&'static str>,
    /// The rule it is an example of, and whether it is the bad one.
    pub(crate) example: Option<(&'static Rule, bool)>,
    files: Vec<(String, Vec<u8>)>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.id, self.mutations.join(", "))
    }
}

impl Case {
    /// Whether some service gets its answers by `x-answers`.
    pub(crate) fn has_own_delivery(&self) -> bool {
        self.files.iter().any(|(name, content)| {
            name == "docker-compose.yml" && String::from_utf8_lossy(content).contains("x-answers")
        })
    }

    /// Writes it below `root`, in a bucket of its own kind.
    pub(crate) fn write(&self, root: &Path) {
        let folder = root.join("CASES").join(&self.id);
        for (name, content) in &self.files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("it is in a folder"))
                .and_then(|()| std::fs::write(&path, content))
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

/// Every mutation on every kind that it fits, then mixtures of them.
pub(crate) fn mutated() -> Vec<Case> {
    let mut cases = Vec::new();
    for &kind in Kind::ALL {
        cases.extend(case(&mut Rng::new(0), kind, &[], cases.len()));
        for mutation in mutations::all().flat_map(|mutation| [mutation; ROUNDS]) {
            let seed = cases.len() as u64 + 1;
            cases.extend(case(&mut Rng::new(seed), kind, &[mutation], cases.len()));
        }
    }
    let all: Vec<&Mutation> = mutations::all().collect();
    for seed in 0..N_COMBINED {
        let mut rng = Rng::new(0x5eed_0000 + seed);
        let kind = *rng.pick(Kind::ALL);
        let n = 2 + rng.below(2);
        let chosen: Vec<&Mutation> = (0..n).map(|_| *rng.pick(&all)).collect();
        cases.extend(case(&mut rng, kind, &chosen, cases.len()));
    }
    cases
}

/// The case of `mutations` on a challenge of `kind`; `None` when one does not fit.
fn case(rng: &mut Rng, kind: Kind, mutations: &[&Mutation], number: usize) -> Option<Case> {
    let mut specimen = Specimen::new(kind);
    for mutation in mutations {
        (mutation.apply)(&mut specimen, rng)?;
    }
    let style = *rng.pick(&[Style::Block, Style::Flow, Style::Commented]);
    let files = specimen.written(style);
    Some(Case {
        id: format!("CASE-{number:04}"),
        mutations: mutations.iter().map(|it| it.name).collect(),
        example: None,
        files: files.into_iter().map(|(name, text)| (name, text.into_bytes())).collect(),
    })
}

/// The examples of the rule table that are one folder of files.
pub(crate) fn examples() -> Vec<Case> {
    let mut cases = Vec::new();
    for rule in rules::all() {
        for (example, is_bad) in [(&rule.bad, true), (&rule.good, false)] {
            let word = if is_bad { "bad" } else { "good" };
            let Some(files) = files_of(example) else { continue };
            cases.push(Case {
                id: format!("{}-{word}", rule.id),
                mutations: Vec::new(),
                example: Some((rule, is_bad)),
                files,
            });
        }
    }
    cases
}

/// The files of an example; `None` when it needs more than one folder, or more than files.
fn files_of(example: &Example) -> Option<Vec<(String, Vec<u8>)>> {
    let mut files = std::collections::BTreeMap::new();
    for file in example.base.files().iter().chain(example.files) {
        if file.path.starts_with('/') || file.path.contains('\n') {
            return None;
        }
        let content = match file.what {
            What::Text(text) => Some(text.as_bytes().to_vec()),
            What::Bytes(bytes) => Some(bytes.to_vec()),
            What::Absent => None,
            _ => return None,
        };
        files.insert(file.path.to_owned(), content);
    }
    let files: Vec<_> =
        files.into_iter().filter_map(|(path, content)| Some((path, content?))).collect();
    files.iter().any(|(path, _)| path == "metadata.yaml").then_some(files)
}
