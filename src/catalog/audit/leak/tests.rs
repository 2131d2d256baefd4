//! What is said about answers that can be found, and what is not said.

use crate::catalog::{Finding, Policy, load_one};
use crate::model::MemoryTree;

const SECRET: &str = "correct horse 7";

/// A challenge of one static question.
fn challenge(category: &str) -> MemoryTree {
    MemoryTree::new().with(
        "C/C-1/metadata.yaml",
        format!(
            "name: Box\ndescription: Open it.\ndifficulty: easy\ntags: [x]\ncategory: {category}\n\
             questions:\n  - {{id: word, prompt: What opens it?, answer: {SECRET}}}\n"
        ),
    )
}

fn judged(tree: &MemoryTree) -> Vec<Finding> {
    let folder = load_one(tree, "C/C-1", &Policy::default()).unwrap();
    let found: Vec<Finding> =
        folder.findings.into_iter().filter(|it| it.rule.starts_with("LEAK")).collect();
    for it in &found {
        let shown = format!("{it} {:?}", it.snippet);
        assert!(!it.blocks && !shown.contains("horse") && !shown.contains("real"), "{shown}");
    }
    found
}

/// `severity RULE path:line:column` of what the family says.
fn lines(tree: &MemoryTree) -> String {
    let line = |it: &Finding| {
        let path = it.path.strip_prefix("C/C-1/").unwrap_or(&it.path);
        format!("{} {} {path}:{}:{}", it.severity, it.rule, it.line, it.column)
    };
    judged(tree).iter().map(line).collect::<Vec<_>>().join("; ")
}

#[test]
fn the_metadata_may_not_tell() {
    let check = |from: &str, to: &str, want: &str| {
        let text = format!(
            "name: Box\ndescription: Open it.\ndifficulty: easy\ntags: [x]\ncategory: reverse\n\
             questions:\n  - id: word\n    prompt: What opens it?\n    answer: {SECRET}\n"
        );
        let tree = MemoryTree::new().with("C/C-1/metadata.yaml", text.replace(from, to));
        assert_eq!(lines(&tree), want, "{to}");
    };
    check("Open it.", "Say 'correct horse 7'.", "error LEAK001 metadata.yaml:2:14");
    check("Box", "correct horse 7", "error LEAK001 metadata.yaml:1:7");
    check("What opens it?", "Is it correct horse 7?", "error LEAK001 metadata.yaml:8:13");
    check("Open it.", "correct horse 77", "");
    check("Open it.", "'Get FLAG{real-one}'", "error LEAK004 metadata.yaml:2:14");
    check("Open it.", "'Flags look like FLAG{...} or FLAG{xxxx} or FLAG{[0-9a-f]}'", "");
    check("Open it.", "'FLAG{<your flag>}'", "");
    check("answer: correct horse 7", "answer: FLAG{real-one}", "");
}

#[test]
fn attachments_may_not_tell() {
    let check = |name: &str, content: &[u8], want: &str| {
        let tree = challenge("crypto").with(&format!("C/C-1/attachments/{name}"), content);
        assert_eq!(lines(&tree), want, "{name}");
    };
    check("a.txt", b"x\n the correct horse 7!\n", "error LEAK002 attachments/a.txt:2:6");
    check("a.tpl", b"correct horse 7", "error LEAK002 attachments/a.tpl:1:1");
    check("a.txt", b"incorrect horse 77", "");
    check("a.bin", b"\xff\0xcorrect horse 7x", "error LEAK002 attachments/a.bin:0:0");
    let wide: Vec<u8> = SECRET.encode_utf16().flat_map(u16::to_le_bytes).chain([0xff]).collect();
    check("a.exe", &wide, "error LEAK002 attachments/a.exe:0:0");
    check("a.txt", b"FLAG{real-one}\nFLAG{%s} FLAG{sample}", "error LEAK004 attachments/a.txt:1:1");
    check("a.bin", b"\xff FLAG{real-one}", "error LEAK004 attachments/a.bin:0:0");
    check("a.bin", b"\xff FLAG{\x01real}FLAG{\xff}FLAG{\nreal\n}", "");
    check("a.txt", b"FLAG{real\n}", "");
    check("a.txt", &b"correct horse 7\n".repeat(1000), "error LEAK002 attachments/a.txt:1:1");
}

#[test]
fn an_answer_that_is_a_flag_is_named_once() {
    let tree = challenge("reverse").with("C/C-1/attachments/a.txt", "FLAG{real-one}").with(
        "C/C-1/metadata.yaml",
        "category: reverse\nquestions: [{id: word, prompt: x, answer: 'FLAG{real-one}'}]\n",
    );
    assert_eq!(lines(&tree), "error LEAK002 attachments/a.txt:1:1");
}

#[test]
fn who_searches_a_dump_may_find_the_answer_in_it() {
    let tree = challenge("misc").with("C/C-1/attachments/log.txt", "10 correct horse 7 GET");
    assert_eq!(lines(&tree), "warning LEAK002 attachments/log.txt:1:4");
}

#[test]
fn a_source_that_holds_a_static_answer_is_worth_a_look() {
    let tree = challenge("web").with("C/C-1/services/a/app.py", "\nkey = 'correct horse 7'\n");
    assert_eq!(lines(&tree), "warning LEAK003 services/a/app.py:2:8");
    let tree = challenge("web").with("C/C-1/services/a/x.lock", "correct horse 7");
    assert_eq!(lines(&tree), "");
}

#[test]
fn the_solution_is_in_no_build_context() {
    let check = |build: &str, ignore: &str, want: &str| {
        let tree = challenge("web")
            .with("C/C-1/docker-compose.yml", format!("services:\n  a:\n    build: {build}\n"))
            .with("C/C-1/Dockerfile", "FROM scratch\n")
            .with("C/C-1/services/a/Dockerfile", "FROM scratch\n")
            .with("C/C-1/solution/Dockerfile", "FROM scratch\n")
            .with("C/C-1/solution/exploit.py", "x\n")
            .with("C/C-1/.dockerignore", ignore);
        assert_eq!(lines(&tree), want, "{build} {ignore}");
    };
    check(".", "", "error LEAK005 docker-compose.yml:3:5");
    check(".", "solution\n", "error LEAK005 docker-compose.yml:3:5");
    check(".", "solution\nmetadata.yaml\n", "");
    check(".", "*\n!services\n", "");
    check("{context: solution}", "", "error LEAK005 docker-compose.yml:3:5");
    check("services/a", "", "");
}
