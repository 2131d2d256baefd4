//! Holds `example-repo/` to what its README promises, without an engine.
//!
//! # Not here
//! Whether the solutions solve running instances (`tests/stories`).

use std::fs;
use std::path::{Path, PathBuf};

use flagops::catalog::{self, Catalog, Policy};
use flagops::model::MemoryTree;

#[test]
fn every_example_is_valid_and_without_a_finding() {
    let catalog = load();
    let ids: Vec<&str> = catalog.folders.keys().map(|id| id.as_str()).collect();
    assert_eq!(ids, ["CRYPTO-001", "PWN-001", "QUIZ-001", "WEB-001", "WEB-002", "WEB-003"]);

    let folders = catalog.folders.values();
    let findings: Vec<String> = (catalog.findings.iter())
        .chain(folders.clone().flat_map(|folder| &folder.findings))
        .map(ToString::to_string)
        .collect();
    assert_eq!(findings, [""; 0]);
    for folder in folders {
        assert!(folder.challenge.is_some(), "{} is invalid without a finding", folder.path);
    }
}

#[test]
fn every_example_that_runs_has_a_solution() {
    for folder in load().folders.values() {
        let Some(challenge) = &folder.challenge else { continue };
        let solution = root().join(&folder.path).join("solution/exploit.py");
        assert_eq!(solution.is_file(), challenge.compose.is_some(), "{}", solution.display());
    }
}

#[test]
fn what_players_are_given_is_what_runs() {
    for (given, runs) in [
        ("PWN/PWN-001/attachments/guestbook.c", "PWN/PWN-001/services/chal/guestbook.c"),
        ("PWN/PWN-001/attachments/Makefile", "PWN/PWN-001/services/chal/Makefile"),
        ("CRYPTO/CRYPTO-001/attachments/notary.py", "CRYPTO/CRYPTO-001/services/notary/notary.py"),
    ] {
        let read = |path| fs::read_to_string(root().join(path)).expect("the example is complete");
        assert_eq!(read(given), read(runs), "{given} differs from {runs}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("example-repo")
}

fn load() -> Catalog {
    let mut tree = MemoryTree::new();
    let mut open = vec![root()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of examples can be listed") {
            let path = entry.expect("a folder of examples can be listed").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root()).expect("below the root").to_string_lossy();
                tree = tree.with(&name, fs::read(&path).expect("an example file can be read"));
            }
        }
    }
    catalog::load(&tree, None, &Policy::default()).expect("a tree in memory can be read")
}
