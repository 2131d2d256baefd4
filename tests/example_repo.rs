//! Holds `example-repo/` to what its README promises, without an engine.
//!
//! # Not here
//! Whether the solutions solve running instances (`tests/stories`).

use std::fs;
use std::path::{Path, PathBuf};

use flagops::catalog::{self, Catalog, Policy};
use flagops::model::MemoryTree;
use flagops::render::attachments::job::{Reply, Request, Source, answer, replies};
use flagops::render::attachments::{Address, Facts, Named};

#[test]
fn every_example_is_valid_and_without_a_finding() {
    let catalog = load();
    let ids: Vec<&str> = catalog.folders.keys().map(|id| id.as_str()).collect();
    assert_eq!(
        ids,
        ["CRYPTO-001", "LAB-001", "PWN-001", "QUIZ-001", "WEB-001", "WEB-002", "WEB-003"]
    );

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

/// What is true of the instance `which`, and of no other. Every value is another text.
fn facts(which: &str) -> Facts {
    let named =
        |what: &str| Named { id: format!("{what}-{which}"), name: format!("{what} {which}") };
    let host = format!("{which}.example");
    let services = ["machine", "notary", "web", "chal"];
    Facts {
        answers: [("flag".to_owned(), format!("FLAG{{of-{which}}}"))].into(),
        instance_id: format!("instance-{which}"),
        team: named("team"),
        challenge: named("challenge"),
        event: named("event"),
        services: services
            .map(|it| (it.to_owned(), Address { host: host.clone(), port: 1 }))
            .into(),
    }
}

fn rendered(name: &str, text: &str, which: &str) -> String {
    let templates = vec![Source { name: name.to_owned(), text: text.to_owned() }];
    let request = Request { templates, files: Default::default(), facts: facts(which) };
    let mut out = Vec::new();
    answer(&request.encode(), &mut out).expect("it is a request");
    match replies(&out, 1).pop() {
        Some(Reply::Rendered(bytes)) => String::from_utf8(bytes).expect("it is text"),
        Some(Reply::Failed(why)) => panic!("{why}"),
        None => panic!("{name}: no reply"),
    }
}

#[test]
fn t13_every_template_gives_each_instance_its_own_values_and_nothing_of_another() {
    let mut n_templates = 0;
    let mut open = vec![root(), root().join("../templates/scaffold")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of ours can be listed") {
            let path = entry.expect("a folder of ours can be listed").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|it| it == "tpl") {
                let (name, text) = (path.display().to_string(), fs::read_to_string(&path));
                let text = text.expect("a template is text");
                let [red, blue] = ["crimson", "azure"].map(|which| rendered(&name, &text, which));
                assert_eq!(red, rendered(&name, &text, "crimson"), "{name}: always the same bytes");
                assert!(red.contains("crimson"), "{name}: it holds nothing of its own");
                assert!(!red.contains("azure") && !blue.contains("crimson"), "{name}");
                assert_eq!(red.replace("crimson", "azure"), blue, "{name}: the rest is the same");
                n_templates += 1;
            }
        }
    }
    assert!(n_templates >= 2, "only {n_templates} templates were found");
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
