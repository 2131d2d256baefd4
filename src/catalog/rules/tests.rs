//! Every example does what its page says.

use std::collections::BTreeSet;

use super::{Base, Example, What, all, families, find};
use crate::catalog::{Catalog, Policy, load};
use crate::model::{EntryKind, MemoryTree};

/// The repository that an example describes.
fn repository(example: &Example) -> MemoryTree {
    let base = example.base;
    let mut files = std::collections::BTreeMap::new();
    for file in base.files().iter().chain(example.files) {
        let path = match file.path.strip_prefix('/') {
            Some(path) => path.to_owned(),
            None => format!("{}/{}", base.folder(), file.path),
        };
        for path in spread(&path) {
            files.insert(path, file.what);
        }
    }
    let mut tree = MemoryTree::new();
    for (path, what) in files {
        tree = match what {
            What::Text(text) => tree.with(&path, text),
            What::Bytes(bytes) => tree.with(&path, bytes),
            What::Link(target) => tree.with_kind(&path, EntryKind::Symlink, target),
            What::Submodule => tree.with_kind(&path, EntryKind::Submodule, ""),
            What::Absent => tree,
        };
    }
    tree
}

/// `a{0..3}b` stands for `a0b`, `a1b` and `a2b`.
fn spread(path: &str) -> Vec<String> {
    let parts = path.split_once("{0..").and_then(|(before, rest)| {
        let (end, after) = rest.split_once('}')?;
        Some((before, end.parse::<usize>().ok()?, after))
    });
    match parts {
        Some((before, end, after)) => (0..end).map(|n| format!("{before}{n}{after}")).collect(),
        None => vec![path.to_owned()],
    }
}

fn loaded(example: &Example) -> Catalog {
    load(&repository(example), None, &Policy::default()).unwrap()
}

/// One line per finding.
fn lines(catalog: &Catalog) -> Vec<String> {
    catalog.all_findings().map(ToString::to_string).collect()
}

#[test]
fn the_bases_have_no_findings() {
    for base in [Base::Web, Base::Pwn, Base::Quiz, Base::Engagement, Base::Nothing] {
        let catalog = loaded(&Example { base, files: &[] });
        assert_eq!(lines(&catalog), Vec::<String>::new(), "{base:?}");
    }
}

#[test]
fn a_bad_example_breaks_its_rule() {
    for rule in all() {
        let catalog = loaded(&rule.bad);
        let found: Vec<_> = catalog.all_findings().filter(|it| it.rule == rule.id).collect();
        assert!(!found.is_empty(), "{}: {:#?}", rule.id, lines(&catalog));
        assert!(
            found.iter().any(|it| it.weight() == rule.weight),
            "{} weighs something else: {:#?}",
            rule.id,
            lines(&catalog)
        );
    }
}

#[test]
fn a_good_example_has_no_error_and_nothing_of_its_rule() {
    for rule in all() {
        let catalog = loaded(&rule.good);
        let left: Vec<String> = catalog
            .all_findings()
            .filter(|it| it.rule == rule.id || it.severity == crate::catalog::Severity::Error)
            .map(ToString::to_string)
            .collect();
        assert_eq!(left, Vec::<String>::new(), "{}", rule.id);
    }
}

#[test]
fn ids_are_unique_sorted_and_of_their_family() {
    let mut seen = BTreeSet::new();
    for (family, rules) in families() {
        let ids: Vec<&str> = rules.iter().map(|rule| rule.id).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        for id in ids {
            let number = id.strip_prefix(family.prefix).unwrap_or_else(|| panic!("{id}"));
            assert!(number.len() == 3 && number.bytes().all(|it| it.is_ascii_digit()), "{id}");
            assert!(seen.insert(id), "{id} stands twice");
        }
    }
    assert_eq!(find("META000").map(|rule| rule.id), seen.get("META000").copied());
}

#[test]
fn words_are_sentences() {
    for rule in all() {
        assert!(!rule.summary.ends_with('.') && !rule.summary.is_empty(), "{}", rule.id);
        for text in [rule.why, rule.fix] {
            assert!(text.ends_with('.') && !text.contains('\n'), "{}: {text}", rule.id);
        }
    }
}
