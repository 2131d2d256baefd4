//! What the reader accepts, refuses and survives.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn faults(text: &str) -> String {
    parse(text.as_bytes())
        .faults
        .iter()
        .map(|fault| format!("{}:{} {}\n", fault.at.line, fault.at.column, fault.message))
        .collect()
}

fn scalar(text: &str) -> Scalar {
    let parsed = parse(format!("k: {text}\n").as_bytes());
    assert_eq!(parsed.faults, [], "{text}");
    let root = parsed.root.unwrap();
    root.as_map().unwrap().get("k").unwrap().value.as_scalar().unwrap().clone()
}

#[test]
fn plain_scalars_follow_the_core_schema() {
    for (text, kind) in [
        ("2222:22", ScalarKind::Text),
        ("yes", ScalarKind::Text),
        ("No", ScalarKind::Text),
        ("012", ScalarKind::Text),
        ("1_000", ScalarKind::Text),
        ("2027-03-01", ScalarKind::Text),
        ("1.2.3", ScalarKind::Text),
        ("e3", ScalarKind::Text),
        (".", ScalarKind::Text),
        ("true", ScalarKind::Bool(true)),
        ("FALSE", ScalarKind::Bool(false)),
        ("~", ScalarKind::Null),
        ("", ScalarKind::Null),
        ("-42", ScalarKind::Int),
        ("0x1F", ScalarKind::Int),
        ("0", ScalarKind::Int),
        ("1.50", ScalarKind::Float),
        ("1e3", ScalarKind::Float),
        (".5", ScalarKind::Float),
        ("'42'", ScalarKind::Text),
        ("\"true\"", ScalarKind::Text),
        ("!!str 42", ScalarKind::Text),
        ("!!int 42", ScalarKind::Int),
    ] {
        assert_eq!(scalar(text).kind, kind, "{text:?}");
    }
    assert_eq!(scalar("1.50").text, "1.50");
    assert!(!scalar("'x'").is_plain);
}

#[test]
fn faults_of_the_notation_have_a_place() {
    for (text, want) in [
        ("", "0:0 the file is empty\n"),
        ("# only\n# comments\n", "0:0 the file is empty\n"),
        ("a: 1\nb: 2\na: 3\n", "3:1 the key `a` is already at 1:1; the first value is kept\n"),
        ("a: 1\n---\nb: 2\n", "2:1 a second YAML document begins here\n"),
        ("é: !foo x\n", "1:4 the tag `!foo` is not allowed here\n"),
        ("a: !!python/object:x {}\n", "1:4 the tag `!!python/object:x` is not allowed here\n"),
        ("a: !!map [1]\n", "1:4 the tag `!!map` is not allowed here\n"),
        ("a: !!int x\n", "1:4 the tag `!!int` is not allowed here\n"),
        ("a: *no\n", "1:4 the alias `*no` has no anchor before it\n"),
        ("a: &x [*x]\n", "1:8 this alias stands inside the value that it repeats\n"),
        ("a: .inf\n", "1:4 `.inf` is not a finite number\n"),
        ("a: 1e999\n", "1:4 `1e999` is not a finite number\n"),
        ("a: \"x\\0y\"\n", "1:4 the value has a NUL character\n"),
        ("? [a]\n: b\n", "1:3 a key must be text, this is a list\n"),
        ("<<: 5\n", "1:5 `<<` merges mappings, this is a number\n"),
    ] {
        assert_eq!(faults(text), want, "{text:?}");
    }
}

#[test]
fn a_tab_is_pointed_at_wherever_the_parser_stops() {
    for (text, want) in [
        ("tags:\n\t- a\n", "2:1"),
        ("name: x\n\tdescription: a\n", "2:1"),
        ("name:\tx\n\tdescription: a\n", "2:1"),
        ("questions:\n  - id: flag\n\tprompt: x\n", "3:1"),
        ("questions:\n  - id: flag\n  \tprompt: x\n", "3:3"),
        ("\ta: 1\n", "1:1"),
    ] {
        let want = format!("{want} this is not YAML: a tab is used where YAML wants spaces\n");
        assert_eq!(faults(text), want, "{text:?}");
    }
}

#[test]
fn usual_mistakes_have_a_hint_of_their_own() {
    for (text, place, want) in [
        ("name: x\nd: Find: it\n", (2, 8), "put the text in quotes: `: ` in it begins a new key"),
        ("d: `x` is\n", (1, 4), "put the text in quotes: ``` at its start means something else"),
        ("d: @x is\n", (1, 4), "put the text in quotes: `@` at its start means something else"),
        ("d: *x is\n", (1, 7), "put the text in quotes: `*` at its start means something else"),
        ("d: {x} is\n", (1, 8), "put the text in quotes: `{` at its start means something else"),
        ("a: 1\nn: \"x\nd: foo\nt: [a]\n", (2, 4), "close it at the end of the text"),
        (
            "n: 'it's x'\nd: foo\n",
            (1, 8),
            "the text in quotes ends before this: write it in the other kind of quotes, or remove \
             what follows",
        ),
        ("name:x\nd: foo\n", (2, 2), "write a space after the colon: `name: x`"),
        ("a: x\nd:foo\nt: [a]\n", (2, 1), "write a space after the colon: `d: foo`"),
        ("a: x\n  d: b\n", (2, 4), "give the keys of one mapping the same indentation"),
        ("q: [{id: a\n", (1, 5), "close the bracket; put a text that begins with one in quotes"),
        ("a: *no\n", (1, 4), "define it with `&name` above, or put the text in quotes"),
    ] {
        let fault = parse(text.as_bytes()).faults.remove(0);
        assert_eq!(
            (fault.hint.as_str(), (fault.at.line, fault.at.column)),
            (want, place),
            "{text:?}"
        );
    }
}

#[test]
fn bytes_that_are_no_text_are_named_by_place() {
    let check = |bytes: &[u8]| {
        let fault = parse(bytes).faults.remove(0);
        (fault.at.line, fault.at.column, fault.message)
    };
    assert_eq!(check(b"a: 1\nb: \xff\n"), (2, 4, "the file is not valid UTF-8 here".to_owned()));
    assert_eq!(check(b"\xff\xfea\0:\0"), (1, 1, "the file is UTF-16, not UTF-8".to_owned()));
    assert_eq!(check(b"a: 1\0\n"), (1, 5, "the file has a NUL character here".to_owned()));
    let tab = check(b"a:\n\tb: 1\n");
    assert_eq!(tab.0, 2, "{tab:?}");
    assert!(check(&vec![b' '; 300_000]).2.contains("more than the limit"));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_accepted() {
    let parsed = parse(b"\xef\xbb\xbfa: 1\r\nb:\r\n  - x\r\n");
    assert_eq!(parsed.faults, []);
    let root = parsed.root.unwrap();
    let entry = root.as_map().unwrap().get("b").unwrap();
    assert_eq!((entry.key_span.line, entry.key_span.column), (2, 1));
    assert_eq!(entry.value.as_list().unwrap()[0].as_scalar().unwrap().text, "x");
}

#[test]
fn merge_keys_fill_what_is_not_written() {
    let text = "x-base: &base {a: 1, b: 2}\nx-more: &more {b: 3, c: 4}\n\
                one: {<<: *base, a: 9}\ntwo:\n  <<: [*base, *more]\n";
    let parsed = parse(text.as_bytes());
    assert_eq!(parsed.faults, []);
    let root = parsed.root.unwrap();
    let keys = |name: &str| -> String {
        let node = &root.as_map().unwrap().get(name).unwrap().value;
        let map = node.as_map().unwrap();
        map.entries
            .iter()
            .map(|entry| format!("{}={} ", entry.key, entry.value.as_scalar().unwrap().text))
            .collect()
    };
    assert_eq!(keys("one"), "a=9 b=2 ");
    assert_eq!(keys("two"), "a=1 b=2 c=4 ");
}

#[test]
fn bombs_are_refused_at_once() {
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    laughs.extend((1..10).map(|level| {
        let aliases = vec![format!("*a{}", level - 1); 9].join(",");
        format!("a{level}: &a{level} [{aliases}]\n")
    }));
    let mut merges = "a0: &a0 {k0: 1}\n".to_owned();
    merges.extend(
        (1..60)
            .map(|level| format!("a{level}: &a{level} {{<<: *a{}, k{level}: {{}}}}\n", level - 1)),
    );
    let aliases = format!("a: &a 1\nb: [{}]\n", vec!["*a"; 200].join(","));
    let keys: String = (0..30_000).map(|n| format!("k{n}: 1\n")).collect();
    let items = format!("[{}]", "1,".repeat(60_000));
    for (name, text) in [
        ("laughs", laughs),
        ("flow", "[".repeat(100_000)),
        ("block", (0..2000).map(|n| format!("{}- \n", "- ".repeat(n % 100))).collect()),
        ("aliases", aliases),
        ("keys", keys),
        ("items", items),
        ("merge of itself", "a: &a\n  <<: *a\n".to_owned()),
    ] {
        let start = Instant::now();
        let parsed = parse(text.as_bytes());
        assert!(!parsed.faults.is_empty(), "{name}");
        assert!(start.elapsed() < Duration::from_secs(2), "{name}: {:?}", start.elapsed());
    }
    assert_eq!(parse(merges.as_bytes()).faults, [], "a chain of merges is no bomb");
}

/// Calls `check` with every span of the tree.
fn visit(node: &Node, check: &mut impl FnMut(Span)) {
    check(node.span);
    for item in node.as_list().unwrap_or_default() {
        visit(item, check);
    }
    for entry in node.as_map().into_iter().flat_map(|map| &map.entries) {
        check(entry.key_span);
        visit(&entry.value, check);
    }
}

fn check_spans(text: &str) {
    let parsed = parse(text.as_bytes());
    let n_lines = text.split('\n').count() + text.matches('\r').count();
    let mut check = |span: Span| {
        assert!(span.start <= span.end && span.end <= text.len(), "{span:?} in {text:?}");
        assert!(usize::try_from(span.line).unwrap() <= n_lines, "{span:?} in {text:?}");
    };
    for fault in &parsed.faults {
        check(fault.at);
    }
    if let Some(root) = &parsed.root {
        visit(root, &mut check);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn every_span_lies_inside_the_text(text in "[-a-c:é \n\r\t{}\\[\\]&*!<>|'\"#,?~0-9.]{0,80}") {
        check_spans(&text);
    }

    #[test]
    fn lines_that_look_like_yaml_keep_their_places(
        lines in proptest::collection::vec("( |  )?(- )?[a-c]{1,2}: ?(&a |\\*a|\\[x, y\\]|1|é)?", 0..12)
    ) {
        check_spans(&lines.join("\n"));
    }
}

#[test]
fn a_tab_before_the_first_key_is_no_indentation() {
    for text in ["\tname: x\n", " \t- x\n", "# c\n\tname: x\n"] {
        let parsed = parse(text.as_bytes());
        assert!(parsed.root.is_none(), "{text:?}");
        assert_eq!(parsed.faults[0].hint, "indent with spaces", "{text:?}");
    }
    assert!(parse(b"\t{a: 1}\n").faults.is_empty());
}
