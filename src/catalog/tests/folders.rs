//! Folders and repositories: discovery, hostile entries, budgets, collisions, reuse.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{COMPOSE, METADATA, lines, read, repository, short};
use crate::catalog::{Catalog, Policy, load, load_one, rules};
use crate::model::{Entry, EntryKind, MemoryTree, ObjectId, Tree, TreeError};

const QUIZ: &str = "\
name: Quiz
description: Which port?
difficulty: easy
tags: [qa]
category: misc
questions: [{id: port, prompt: 'Which?', answer: '22'}]
";

fn loaded(tree: &dyn Tree) -> Catalog {
    load(tree, None, &Policy::default()).unwrap()
}

fn ids(catalog: &Catalog) -> Vec<&str> {
    catalog.folders.keys().map(|id| id.as_str()).collect()
}

/// `RULE path message` of the findings of the repository.
fn repository_lines(catalog: &Catalog) -> String {
    let lines: Vec<String> = catalog
        .findings
        .iter()
        .map(|it| format!("{} {} {}\n", it.rule, it.path, it.message))
        .collect();
    lines.concat()
}

#[test]
fn flat_and_bucket_layouts_are_found_and_nothing_deeper() {
    let tree = MemoryTree::new()
        .with("README.md", "x")
        .with("FLAT-1/metadata.yaml", QUIZ)
        .with("FLAT-1/INNER-1/metadata.yaml", QUIZ)
        .with("QA/QA-1/metadata.yaml", QUIZ)
        .with("QA/notes/readme.md", "x")
        .with("QA/deep/QA-2/metadata.yaml", QUIZ)
        .with(".github/X-1/metadata.yaml", QUIZ)
        .with("scripts/X-2/metadata.yaml", QUIZ)
        .with("node_modules/X-3/metadata.yaml", QUIZ)
        .with("QA/.hidden/metadata.yaml", QUIZ);
    let catalog = loaded(&tree);
    assert_eq!(ids(&catalog), ["FLAT-1", "QA-1"]);
    let challenge = |id: &str| catalog.folders[&id.parse().unwrap()].challenge.clone().unwrap();
    assert_eq!(challenge("FLAT-1").bucket, None);
    assert_eq!(challenge("QA-1").bucket.as_deref(), Some("QA"));
    assert!(challenge("QA-1").is_qa_only());
    assert_eq!(
        repository_lines(&catalog),
        "REPO001 QA/.hidden the folder name `.hidden` is no challenge id\n\
         REPO007 QA/deep/QA-2 `QA/deep/QA-2` looks like a challenge, but lies too deep to be one\n"
    );
}

#[test]
fn two_challenges_with_one_id_are_both_refused_and_others_go_on() {
    let tree = MemoryTree::new()
        .with("A/X-1/metadata.yaml", QUIZ)
        .with("B/X-1/metadata.yaml", QUIZ)
        .with("C/y-2/metadata.yaml", QUIZ)
        .with("D/Y-2/metadata.yaml", QUIZ)
        .with("E/Z-3/metadata.yaml", QUIZ);
    let catalog = loaded(&tree);
    let mut twins: Vec<String> = catalog
        .all_findings()
        .map(|it| format!("{} {} {}", it.rule, it.path, it.message))
        .collect();
    twins.sort();
    insta::assert_snapshot!(twins.join("\n"), @r"
    REPO002 A/X-1 `A/X-1` and `B/X-1` have one and the same challenge id
    REPO002 B/X-1 `A/X-1` and `B/X-1` have one and the same challenge id
    REPO002 C/y-2 `C/y-2` and `D/Y-2` have one and the same challenge id
    REPO002 D/Y-2 `C/y-2` and `D/Y-2` have one and the same challenge id
    ");
    for (id, folder) in &catalog.folders {
        assert_eq!(folder.challenge.is_some(), id.as_str() == "Z-3", "{id}");
    }
    let mended = MemoryTree::new().with("A/X-1/metadata.yaml", QUIZ);
    let catalog = load(&mended, Some(&catalog), &Policy::default()).unwrap();
    assert!(catalog.folders[&"X-1".parse().unwrap()].challenge.is_some());
}

#[test]
fn links_and_submodules_are_named_and_never_followed() {
    let tree = repository(METADATA, COMPOSE)
        .with_kind("LINK", EntryKind::Symlink, "WEB")
        .with_kind("WEB/WEB-002", EntryKind::Submodule, "")
        .with_kind("WEB/WEB-001/attachments/x", EntryKind::Symlink, "/etc/passwd")
        .with_kind("WEB/WEB-001/services/web/link", EntryKind::Symlink, "../../..")
        .with_kind("WEB/WEB-001/docs", EntryKind::Symlink, "../WEB-002")
        .with_kind("WEB/WEB-001/vendor", EntryKind::Submodule, "");
    let catalog = loaded(&tree);
    insta::assert_snapshot!(repository_lines(&catalog), @r"
    REPO003 LINK `LINK` is a symbolic link, which is never followed
    REPO003 WEB/WEB-002 `WEB-002` is a submodule, which is never fetched
    ");
    insta::assert_snapshot!(lines(&read(&tree)), @r"
    attachments/x:0:0 error STRUCT020 a symbolic link in attachments, which is never followed
    docs:0:0 warning STRUCT020 a symbolic link in a challenge, which is never followed
    services/web/link:0:0 error STRUCT020 a symbolic link in a build context, which is never followed
    vendor:0:0 error STRUCT021 `vendor` is a submodule, which is never fetched
    ");
}

#[test]
fn a_build_context_is_what_its_ignore_file_leaves() {
    let ignore = "WEB/WEB-001/services/web/.dockerignore";
    let tree = repository(METADATA, COMPOSE).with(ignore, "*.log\n");
    let contexts = |tree: &MemoryTree| read(tree).challenge.unwrap().contexts.clone();
    let same = tree.clone().with("WEB/WEB-001/services/web/a.log", "x");
    let other = tree.clone().with("WEB/WEB-001/services/web/a.txt", "x");
    assert_eq!(contexts(&tree), contexts(&same));
    assert_ne!(contexts(&tree), contexts(&other));
    insta::assert_snapshot!(lines(&read(&tree.with(ignore, "*.log\n[a\n"))), @r"
    docker-compose.yml:3:5 error STRUCT004 the build context of `web`: `.dockerignore:2`: a `[` is never closed; write `\[` for the character itself
    ");
}

#[test]
fn every_link_that_a_build_would_send_is_refused_and_no_other() {
    let link = |tree: MemoryTree, path: &str| {
        tree.with_kind(&format!("WEB/WEB-001/{path}"), EntryKind::Symlink, "/etc/passwd")
    };
    let tree = repository(METADATA, COMPOSE)
        .with("WEB/WEB-001/services/web/.dockerignore", "ignored\n*.tmp\n");
    let tree = ["a", "b", "x.tmp", "ignored/c"]
        .iter()
        .fold(tree, |tree, name| link(tree, &format!("services/web/{name}")));
    insta::assert_snapshot!(lines(&read(&tree)), @r"
    services/web/a:0:0 error STRUCT020 a symbolic link in a build context, which is never followed
    services/web/b:0:0 error STRUCT020 a symbolic link in a build context, which is never followed
    services/web/ignored/c:0:0 warning STRUCT020 a symbolic link in a challenge, which is never followed
    services/web/x.tmp:0:0 warning STRUCT020 a symbolic link in a challenge, which is never followed
    ");
    let ignored =
        repository(METADATA, COMPOSE).with("WEB/WEB-001/services/web/.dockerignore", "*.tmp\n");
    let folder = read(&link(ignored, "services/web/x.tmp"));
    assert_eq!(short(&folder), "(STRUCT020@0)");
    assert_eq!(folder.challenge.unwrap().contexts.len(), 1);
}

#[test]
fn author_files_must_be_regular_files() {
    let tree = MemoryTree::new()
        .with_kind("WEB/WEB-001/metadata.yaml", EntryKind::Symlink, "../x")
        .with_kind("WEB/WEB-001/docker-compose.yml", EntryKind::Symlink, "../x");
    assert_eq!(short(&read(&tree)), "COMPOSE000@0 (STRUCT020@0) META000@0 (STRUCT020@0)");
    let tree = repository(METADATA, COMPOSE).with_kind(
        "WEB/WEB-001/services/web/Dockerfile",
        EntryKind::Symlink,
        "/x",
    );
    assert_eq!(short(&read(&tree)), "STRUCT020@0");
    let tree = repository(METADATA, COMPOSE)
        .with("WEB/WEB-001/services/web/Dockerfile", vec![b'#'; 1 << 20]);
    assert_eq!(short(&read(&tree)), "STRUCT004@0");
    let tree = repository(&"#".repeat(300_000), COMPOSE);
    assert_eq!(short(&read(&tree)), "META000@0");
}

#[test]
fn names_that_mislead_or_collide_are_refused() {
    let check = |names: &[&str], want: &str| {
        let tree = names.iter().fold(repository(METADATA, COMPOSE), |tree, name| {
            tree.with(&format!("WEB/WEB-001/attachments/{name}"), "x")
        });
        let folder = read(&tree);
        assert_eq!(short(&folder), want, "{}", lines(&folder));
        for finding in &folder.findings {
            let text = finding.to_string();
            assert!(!text.contains(['\n', '\u{202e}']), "{text:?}");
        }
    };
    check(&["Flag.txt", "flag.txt"], "STRUCT024@0");
    check(&["\u{e9}", "e\u{301}"], "STRUCT024@0");
    check(&["a\nb"], "STRUCT022@0");
    check(&["x\u{202e}gpj.exe"], "STRUCT022@0");
    check(&["dot."], "STRUCT022@0");
    check(&[".git/config"], "STRUCT022@0");
    check(&["GIT~1"], "STRUCT022@0");
    check(&["caf\u{e9}.txt", "\u{65e5}\u{672c}"], "");
}

#[test]
fn categories_want_what_they_need() {
    let check = |metadata: &str, want: &str| {
        let tree = MemoryTree::new().with("WEB/WEB-001/metadata.yaml", metadata);
        assert_eq!(short(&read(&tree)), want);
    };
    check(METADATA, "STRUCT001@0 STRUCT002@0");
    check(&format!("{METADATA}category: pwn\n"), "STRUCT010@0 STRUCT001@0 STRUCT002@0");
    check(&format!("{METADATA}category: crypto\n"), "STRUCT010@0 STRUCT011@0 STRUCT002@0");
    check(
        &format!("{METADATA}category: crypto\nquestions: [{{id: a, prompt: p}}]\n"),
        "STRUCT010@0 STRUCT011@6 STRUCT002@0",
    );
    check(QUIZ, "");
    let tree = MemoryTree::new()
        .with("WEB/WEB-001/metadata.yaml", METADATA)
        .with("WEB/WEB-001/compose.yaml", COMPOSE);
    assert_eq!(short(&read(&tree)), "(STRUCT026@0) STRUCT001@0 STRUCT002@0");
}

#[test]
fn attachments_are_listed_and_templates_win() {
    let tree = repository(METADATA, COMPOSE)
        .with("WEB/WEB-001/attachments/b.txt.tpl", "{{ answer.flag }}")
        .with("WEB/WEB-001/attachments/b.txt", "x")
        .with("WEB/WEB-001/attachments/a/z.bin", "12345");
    let folder = read(&tree);
    assert_eq!(short(&folder), "(TEMPLATE004@0)");
    let challenge = folder.challenge.unwrap();
    let attachments: Vec<_> = challenge
        .attachments
        .iter()
        .map(|it| (it.name.as_str(), it.public_name(), it.size_bytes))
        .collect();
    assert_eq!(attachments, [("a/z.bin", "a/z.bin", 5), ("b.txt.tpl", "b.txt", 17)]);
}

#[test]
fn more_than_two_hundred_findings_are_cut_and_said() {
    let keys: String = (0..500).map(|n| format!("k{n}: 1\n")).collect();
    let folder = read(&repository(&format!("{METADATA}{keys}"), COMPOSE));
    assert_eq!(folder.findings.len(), 201);
    assert!(folder.findings.iter().any(|it| {
        it.rule == rules::STRUCT099 && it.message == "300 further findings are not shown"
    }));
    assert!(folder.challenge.is_some(), "a foreign key changes nothing of what runs");
}

#[test]
fn load_one_reads_what_load_reads() {
    let tree = repository(METADATA, COMPOSE);
    let folder = load_one(&tree, "WEB/WEB-001", &Policy::default()).unwrap();
    let catalog = loaded(&tree);
    let other = &catalog.folders[&"WEB-001".parse().unwrap()];
    assert_eq!(folder.challenge, other.challenge);
    assert_eq!(folder.tree, other.tree);
    let missing = load_one(&tree, "WEB/WEB-009", &Policy::default());
    assert!(matches!(missing, Err(TreeError::NotFound { .. })));
}

/// A folder of which only names and sizes exist.
struct Sizes {
    files: Vec<(String, u64)>,
    is_endless: bool,
}

impl Tree for Sizes {
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        let entry = |(name, size_bytes): &(String, u64), kind| Entry {
            name: name.clone(),
            is_utf8: true,
            kind,
            oid: ObjectId::from_bytes([1; 20]),
            size_bytes: *size_bytes,
        };
        let directory = |name: &str| entry(&(name.to_owned(), 0), EntryKind::Directory);
        let file = |file: &(String, u64)| entry(file, EntryKind::File { executable: false });
        Ok(match dir {
            "" => vec![directory("WEB")],
            "WEB" => vec![directory("WEB-001")],
            "WEB/WEB-001" => self.files.iter().map(file).chain([directory("d")]).collect(),
            _ if self.is_endless => vec![directory("d")],
            _ => Vec::new(),
        })
    }

    fn read(&self, _path: &str, _limit_bytes: u64) -> Result<Vec<u8>, TreeError> {
        Ok(QUIZ.as_bytes().to_vec())
    }
}

#[test]
fn folders_over_budget_are_refused_unread() {
    let check = |files: Vec<(String, u64)>, is_endless, want: &str| {
        let mut tree = Sizes { files, is_endless };
        tree.files.push(("metadata.yaml".to_owned(), 1));
        let folder = load_one(&tree, "WEB/WEB-001", &Policy::default()).unwrap();
        assert_eq!(lines(&folder), want);
    };
    let files = |n: usize, size: u64| (0..n).map(|n| (format!("f{n}"), size)).collect();
    check(files(5, 100 << 20), false, "");
    check(
        files(1, (100 << 20) + 1),
        false,
        "f0:0:0 error STRUCT023 the file has 104857601 bytes, more than 100 MiB\n",
    );
    check(
        files(6, 100 << 20),
        false,
        ":0:0 error STRUCT023 the challenge has 629145601 bytes, more than 512 MiB\n",
    );
    let deep = vec!["d"; 32].join("/");
    check(
        files(0, 0),
        true,
        &format!("{deep}:0:0 error STRUCT023 the folder is nested deeper than 32 levels\n"),
    );
    let mut tree = Sizes { files: files(20_001, 1), is_endless: false };
    tree.files.insert(0, ("metadata.yaml".to_owned(), 1));
    let folder = load_one(&tree, "WEB/WEB-001", &Policy::default()).unwrap();
    assert!(lines(&folder).contains("more than 20000 files"), "{}", lines(&folder));
}

/// A thousand quizzes; counts what is asked of it.
struct Thousand {
    changed: Option<usize>,
    n_calls: Cell<usize>,
    is_broken: bool,
}

impl Thousand {
    fn new(changed: Option<usize>) -> Self {
        Self { changed, n_calls: Cell::new(0), is_broken: false }
    }

    fn entry(name: String, kind: EntryKind, content: u8) -> Entry {
        let mut oid = [content; 20];
        for (at, byte) in name.bytes().take(19).enumerate() {
            oid[at] = byte;
        }
        let oid = ObjectId::from_bytes(oid);
        Entry { name, is_utf8: true, kind, oid, size_bytes: 100 }
    }
}

impl Tree for Thousand {
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        self.n_calls.set(self.n_calls.get() + 1);
        if self.is_broken {
            return Err(TreeError::Unreadable { path: dir.to_owned(), reason: "gone".to_owned() });
        }
        Ok(match dir {
            "" => vec![Self::entry("QA".to_owned(), EntryKind::Directory, 0)],
            "competitions" => return Err(TreeError::NotFound { path: dir.to_owned() }),
            "QA" => (0..1000)
                .map(|n| {
                    let content = u8::from(self.changed == Some(n));
                    Self::entry(format!("QA-{n:04}"), EntryKind::Directory, content)
                })
                .collect(),
            _ => {
                let kind = EntryKind::File { executable: false };
                vec![Self::entry("metadata.yaml".to_owned(), kind, 0)]
            }
        })
    }

    fn read(&self, _path: &str, _limit_bytes: u64) -> Result<Vec<u8>, TreeError> {
        self.n_calls.set(self.n_calls.get() + 1);
        Ok(QUIZ.as_bytes().to_vec())
    }
}

#[test]
fn one_change_in_a_thousand_costs_one_parse() {
    let before = loaded(&Thousand::new(None));
    let changed = Thousand::new(Some(7));
    let start = Instant::now();
    let after = load(&changed, Some(&before), &Policy::default()).unwrap();
    let elapsed = start.elapsed();
    // The root, the bucket, the folder twice (once to find it), its one file, and looks for
    // competitions and for templates of the gateway.
    assert_eq!(changed.n_calls.get(), 7);
    let n_shared = before
        .folders
        .iter()
        .filter(|(id, folder)| Arc::ptr_eq(folder, &after.folders[*id]))
        .count();
    assert_eq!((after.folders.len(), n_shared), (1000, 999));
    // Far below 20 ms when optimised; the bound leaves room for a slow machine.
    assert!(elapsed < Duration::from_millis(200), "{elapsed:?}");
}

#[test]
fn a_store_that_fails_is_an_error_and_no_empty_catalog() {
    let tree = Thousand { is_broken: true, ..Thousand::new(None) };
    let result = load(&tree, None, &Policy::default());
    assert!(matches!(result, Err(TreeError::Unreadable { .. })));
}
