//! Our verdicts beside those of the reference: the unmodified `ctfy-admin challenge audit` of
//! `ctfy==0.6.3`, asked about the very same folders.
//!
//! In:  [`corpus`]: hundreds of seeded mutations of valid challenges, and every example of the rule
//! table. Out: equal sets of (challenge, rule, path), but for the differences that
//! [`differences`] lists, each with its reason.
//!
//! # Invariants
//! * Every rule of the contract is hit by several mutations.
//! * A difference that no longer shows is a failure too, and so is one that `docs/rules.md` does
//!   not tell.
//!
//! # Not here
//! What a message says (`tests/cli.rs`, `docs/rules/`); rules of ours (`catalog::rules`).

mod corpus;
mod differences;
mod mutations;
mod reference;
#[path = "../seeded/rng.rs"]
mod rng;
mod specimen;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use flagops::catalog::{Policy, Severity, load, rules};
use flagops::git::WorkTree;

use crate::corpus::Case;

/// Rule and path of a finding, the path inside the challenge folder.
type Finding = (String, String);

/// How often each rule of the contract must be hit.
const MIN_HITS: usize = 3;
/// Fewest cases of the corpus.
const MIN_CASES: usize = 300;

/// Writes the corpus, asks both, and gives the findings by challenge: ours, theirs.
struct Verdicts {
    ours: BTreeMap<String, BTreeSet<Finding>>,
    theirs: BTreeMap<String, BTreeSet<Finding>>,
}

impl Verdicts {
    /// `None` where the reference is not installed, and nobody insists on it.
    fn of(cases: &[Case]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for case in cases {
            case.write(folder.path());
        }
        let theirs = reference::audit(folder.path())?;
        let tree = WorkTree::open(folder.path()).expect("the corpus can be read");
        let catalog = load(&tree, None, &Policy::default()).expect("the corpus can be read");
        let mut ours: BTreeMap<String, BTreeSet<Finding>> = BTreeMap::new();
        for finding in catalog.all_findings() {
            let is_contract = reference::RULES.contains(&finding.rule.as_str());
            if !is_contract || finding.severity != Severity::Error {
                continue;
            }
            let id = finding.challenge.as_ref().expect("contract rules judge challenges");
            let found = (finding.rule.clone(), inside(&finding.path, id.as_str()));
            ours.entry(id.to_string()).or_default().insert(found);
        }
        Some(Self { ours, theirs })
    }

    fn ours(&self, id: &str) -> BTreeSet<Finding> {
        self.ours.get(id).cloned().unwrap_or_default()
    }

    fn theirs(&self, id: &str) -> BTreeSet<Finding> {
        self.theirs.get(id).cloned().unwrap_or_default()
    }
}

/// The part of `path` below the challenge folder: the reference writes some paths with the bucket
/// and some without (`contract/challenges.md` §3.1).
fn inside(path: &str, id: &str) -> String {
    let at = path.split('/').position(|part| part == id);
    let parts: Vec<&str> = path.split('/').skip(at.map_or(0, |at| at + 1)).collect();
    parts.join("/")
}

#[test]
fn verdicts_equal_those_of_the_reference() {
    let cases = corpus::mutated();
    assert!(cases.len() >= MIN_CASES, "{} cases are too few", cases.len());
    let Some(verdicts) = Verdicts::of(&cases) else { return };
    let mut faults = Vec::new();
    let mut hits: BTreeMap<&str, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for case in &cases {
        let (ours, theirs) = (verdicts.ours(&case.id), verdicts.theirs(&case.id));
        for (rule, _) in &theirs {
            if let Some(rule) = reference::RULES.iter().find(|it| *it == rule) {
                *hits.entry(rule).or_default() += 1;
            }
        }
        for (side, finding) in ours
            .difference(&theirs)
            .map(|it| ("only ours", it))
            .chain(theirs.difference(&ours).map(|it| ("only the reference", it)))
        {
            match differences::explains(case, side, finding) {
                Some(difference) => drop(seen.insert(difference.name)),
                None => {
                    faults.push(format!("{case}: {side}: {} {}", finding.0, finding.1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    let rare: Vec<_> = reference::RULES
        .iter()
        .filter(|rule| hits.get(*rule).copied().unwrap_or(0) < MIN_HITS)
        .collect();
    assert!(rare.is_empty(), "too few mutations hit {rare:?}: {hits:?}");
    let stale: Vec<_> = differences::ALL.iter().filter(|it| !seen.contains(it.name)).collect();
    assert!(stale.is_empty(), "these no longer show; remove them: {stale:#?}");
}

#[test]
fn every_difference_is_told() {
    let told = include_str!("../../docs/rules.md");
    let missing: Vec<_> =
        differences::ALL.iter().filter(|it| !told.contains(it.reason)).map(|it| it.name).collect();
    assert_eq!(missing, Vec::<&str>::new(), "docs/rules.md must give the reason of these");
}

#[test]
fn bad_examples_break_the_same_rule_there_and_good_ones_are_clean_there() {
    let cases = corpus::examples();
    let Some(verdicts) = Verdicts::of(&cases) else { return };
    let mut faults = Vec::new();
    for case in &cases {
        let theirs = verdicts.theirs(&case.id);
        let (rule, is_bad) = case.example.expect("only examples here");
        let hits = theirs.iter().any(|(it, _)| *it == rule.id);
        let is_contract = reference::RULES.contains(&rule.id);
        if is_bad && is_contract && !hits {
            faults.push(format!("{}: the bad example is clean for the reference", rule.id));
        }
        // Our own delivery is a difference of its own.
        let is_known = |(rule, _): &Finding| rule == "STRUCT006" && case.has_own_delivery();
        if !is_bad && is_contract && !theirs.iter().all(is_known) {
            faults.push(format!("{}: the good example is not clean there: {theirs:?}", rule.id));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_rule_table_knows_every_rule_of_the_reference() {
    let missing: Vec<_> =
        reference::RULES.iter().filter(|rule| rules::find(rule).is_none()).collect();
    assert_eq!(missing, Vec::<&&str>::new());
}
