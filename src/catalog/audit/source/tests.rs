//! What is said about sources, file by file.

use std::fmt::Write as _;

use super::{check_within, extension, is_source};
use crate::catalog::decode::Report;
use crate::catalog::files;
use crate::catalog::{Policy, Weight, load_one};
use crate::model::MemoryTree;

/// `RULE@line:column` of what the family says about `services/NAME`.
fn judged(name: &str, content: impl Into<Vec<u8>>) -> String {
    let path = format!("A/A-1/services/{name}");
    let tree = MemoryTree::new().with("A/A-1/metadata.yaml", "name: x\n").with(&path, content);
    let folder = load_one(&tree, "A/A-1", &Policy::default()).unwrap();
    let found: Vec<String> = folder
        .findings
        .iter()
        .filter(|it| it.rule.starts_with("SOURCE"))
        .inspect(|it| assert!(path.starts_with(&it.path) && !it.message.contains("FLAG{"), "{it}"))
        .map(|it| {
            let rule = &it.rule["SOURCE".len()..];
            let mark = if it.weight() == Weight::Error { "" } else { "?" };
            format!("{rule}{mark}@{}:{}", it.line, it.column)
        })
        .collect();
    found.join(" ")
}

#[test]
fn some_files_are_no_sources() {
    for (name, want) in [
        ("a.txt", true),
        (".png", true),
        ("a.PNG", false),
        ("a.tar.gz", false),
        ("a.gz.txt", true),
        ("x/package-lock.json", false),
        ("Package-Lock.json", true),
        ("a.min.js", false),
        ("a.MIN.js5", false),
        (".min.js", false),
        ("min.js", true),
        ("a.min.js.map", true),
        ("a.bundle.css", false),
        ("a.min.", true),
        ("a.min.\u{212a}", true),
        ("Makefile", true),
    ] {
        assert_eq!(is_source(name, &extension(name)), want, "{name}");
    }
}

#[test]
fn literal_flags_are_named() {
    assert_eq!(judged("a/x.txt", "x\r\n FLAG{real}\nFLAG{%s}"), "001@2:2");
    assert_eq!(judged("a/x.png", "FLAG{real}"), "");
    assert_eq!(judged("a/x", b"\xffFLAG{re\xffal}".to_vec()), "001@1:1");
    assert_eq!(judged("a/x", "FLAG{real}".to_owned() + &"x".repeat(2_000_000)), "");
}

#[test]
fn comments_that_point_at_the_weakness_are_named() {
    for (text, want) in [
        ("# insecure", "002@1:3"),
        ("  // it is insecure, WAF", "002@1:12"),
        ("x = 1 # insecure", ""),
        ("/* a\n insecure\n*/ insecure\ninsecure", "002@2:2 002@3:4"),
        ("/* a */\ninsecure", ""),
        ("x(); /* a\ninsecure */", ""),
        ("<!-- a\n*/\ninsecure", ""),
        ("# see <!-- below\ninsecure", "002@2:1"),
        ("# /* -->\ninsecure", ""),
        ("/* a\n*/ /* b\ninsecure", ""),
        ("# a\r# insecure\u{2028}insecure", "002@1:7"),
        ("\u{a0}# insecure", "002@1:4"),
        ("-- insecure", ""),
    ] {
        assert_eq!(judged("a/x", text), want, "{text}");
    }
}

#[test]
fn texts_that_players_see_are_named() {
    let long = "a text with the word insecure in it";
    for (name, text, want) in [
        ("x.html", "<p>see\n/api/users, insecure</p>".to_owned(), "003@2:1 003@2:13"),
        ("x.html", "path\ntraversal /api/health".to_owned(), "003@1:1"),
        ("x.go", format!("x := \"{long}\""), ""),
        ("x.js", format!("x = '{long}'"), "003@1:27"),
        ("x.js", "x = 'a text that names the path /api/users'".to_owned(), ""),
        ("x.py", "x = 'a text that names the path /api/users'".to_owned(), "003@1:33"),
        ("x.py", format!("app.get('{long}')"), ""),
        ("x.py", format!("'''\n{long}\n'''"), "003@2:22"),
        ("x.jsx", "<p>{a} insecure</p>".to_owned(), "003@1:8"),
        ("x.jsx", "<p>inse{a}cure</p>".to_owned(), "003@1:4"),
        ("x.tsx", "<a\n href='/admin/x'>abc</a>".to_owned(), "003@2:8"),
        ("x.php", "<?php $x = 'insecure'; insecure ?> insecure".to_owned(), "003@1:13 003@1:36"),
        ("x.vue", "insecure<template>insecure</template>".to_owned(), "003@1:19"),
    ] {
        assert_eq!(judged(&format!("a/{name}"), text.clone()), want, "{name}: {text}");
    }
}

#[test]
fn shortcuts_are_named() {
    assert_eq!(judged("a/Docs/x/README/y.png", "x"), "004@0:0 004@0:0");
    assert_eq!(judged("docs/x", "x"), "004@0:0");
    assert_eq!(judged("a/docs", "x"), "");
    assert_eq!(judged("a/x.min.js", "\napp.get('/docs', f)"), "004@2:10");
    assert_eq!(judged("a/x.go", "app.get('/docs', f)"), "");
    assert_eq!(judged("a/x.js", "x".repeat(2_000_001)), "020?@0:0");
}

#[test]
fn the_work_ends_at_the_budget_and_it_is_said() {
    let mut tree = MemoryTree::new();
    for nth in 0..5 {
        tree = tree.with(&format!("A/services/f{nth}"), "# insecure\n".repeat(10));
    }
    let mut said = String::new();
    for work in [0, 1000, 10_000] {
        let mut report = Report::new(None, "A".to_owned());
        let files = files::walk(&tree, "A", &mut report).unwrap();
        let subject = super::Subject {
            policy: &crate::catalog::Policy::default(),
            tree: &tree,
            root: "A",
            files: &files,
            encrypted: &Default::default(),
            metadata: None,
            questions: None,
            category: None,
            topology: None,
            compose: None,
            builds: &[],
            texts: Default::default(),
        };
        check_within(work, &subject, &mut report).unwrap();
        let found = report.into_findings();
        let last = found.last().unwrap();
        writeln!(said, "{} {} {}", found.len(), last.rule, last.message).unwrap();
    }
    insta::assert_snapshot!(said, @r"
    1 SOURCE020 there is more below `services` than is looked through: the rules stopped at `f0`
    11 SOURCE020 there is more below `services` than is looked through: the rules stopped at `f1`
    50 SOURCE002 the comment says `insecure`, which points at the weakness
    ");
}
