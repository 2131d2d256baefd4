//! The schemas are those of the files in `schema/`, and judge as the readers do.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{competition, metadata};
use crate::catalog::metadata::keys;
use crate::catalog::spanned::{self, Node, ScalarKind};
use crate::catalog::{Policy, Severity, load, load_one, rules};
use crate::model::MemoryTree;

#[test]
fn the_files_in_the_repository_are_these_schemas() {
    for (name, schema, file) in [
        ("metadata", metadata(), include_str!("../../../schema/metadata.schema.json")),
        ("competition", competition(), include_str!("../../../schema/competition.schema.json")),
    ] {
        let text = format!("{schema:#}\n");
        assert!(
            text == file,
            "schema/{name}.schema.json is out of date: \
             cargo run -- schema {name} > schema/{name}.schema.json"
        );
    }
}

/// The keys that a mapping of the schema may have.
fn keys_at(schema: &Value, pointer: &str) -> BTreeSet<String> {
    let place = schema.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"));
    assert_eq!(place["additionalProperties"], json!(false), "{pointer}");
    place["properties"].as_object().unwrap().keys().cloned().collect()
}

fn set(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[test]
fn the_schema_has_the_keys_of_the_reader() {
    let schema = metadata();
    assert_eq!(keys_at(&schema, ""), set(crate::catalog::metadata::KEYS));
    assert_eq!(keys_at(&schema, "/properties/questions/items"), set(keys::QUESTION));
    assert_eq!(keys_at(&schema, "/properties/instance"), set(keys::INSTANCE));
    assert_eq!(keys_at(&schema, "/properties/scoring"), set(keys::SCORING));
    assert_eq!(keys_at(&schema, "/properties/exports/items"), set(crate::catalog::exports::KEYS));
}

#[test]
fn every_key_says_what_it_is_for() {
    fn walk(schema: &Value, path: &str) {
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}/{key}");
            // A condition inside of `if` repeats a key without a word.
            let text = inner["description"].as_str().unwrap_or_else(|| panic!("{path} is silent"));
            assert!(text.ends_with('.'), "{path}: {text}");
            walk(inner, &path);
            walk(&inner["items"], &path);
        }
    }
    walk(&metadata(), "");
    walk(&competition(), "");
}

/// What an editor sees of a YAML text.
fn json_of(node: &Node) -> Value {
    if let Some(map) = node.as_map() {
        let entries = map.entries.iter().map(|it| (it.key.clone(), json_of(&it.value)));
        return Value::Object(entries.collect::<Map<_, _>>());
    }
    if let Some(items) = node.as_list() {
        return items.iter().map(json_of).collect();
    }
    let scalar = node.as_scalar().expect("a value is a mapping, a list or a scalar");
    match scalar.kind {
        ScalarKind::Null => Value::Null,
        ScalarKind::Bool(value) => value.into(),
        ScalarKind::Int => scalar.text.parse::<i64>().map_or(json!(1), Value::from),
        ScalarKind::Float => json!(scalar.text.parse::<f64>().unwrap_or(0.5)),
        ScalarKind::Text => scalar.text.clone().into(),
    }
}

fn is_valid(schema: &Value, text: &str) -> bool {
    let parsed = spanned::parse(text.as_bytes());
    assert!(parsed.faults.is_empty(), "{:?}: {text}", parsed.faults);
    let value = json_of(&parsed.root.unwrap());
    jsonschema::validator_for(schema).unwrap().is_valid(&value)
}

/// The rules that the reader of `metadata.yaml` finds broken.
fn refusals(text: &str) -> BTreeSet<String> {
    let tree = MemoryTree::new().with("MISC/Q-1/metadata.yaml", text);
    let folder = load_one(&tree, "MISC/Q-1", &Policy::default()).unwrap();
    let errors = folder.findings.into_iter().filter(|it| it.severity == Severity::Error);
    errors.map(|it| it.rule).filter(|rule| rule.starts_with("META")).collect()
}

const HEAD: &str = "name: a\ndescription: b\ndifficulty: easy\ntags: [c]\n";

#[test]
fn what_the_schema_refuses_the_reader_refuses_by_its_rule() {
    for (text, rule) in [
        ("[]", rules::META000),
        ("name: a\n", rules::META002),
        ("name: 1\ndescription: b\ndifficulty: easy\ntags: [c]\n", rules::META002),
        ("name: ' '\ndescription: b\ndifficulty: easy\ntags: [c]\n", rules::META023),
        ("name: a\ndescription:\ndifficulty: easy\ntags: [c]\n", rules::META002),
        ("name: a\ndescription: b\ndifficulty: Easy\ntags: [c]\n", rules::META003),
        ("name: a\ndescription: b\ndifficulty: easy\ntags: []\n", rules::META004),
        ("name: a\ndescription: b\ndifficulty: easy\ntags: [1]\n", rules::META004),
    ] {
        assert!(!is_valid(&metadata(), text), "{text}");
        assert!(refusals(text).contains(rule), "{text}: {:?}", refusals(text));
    }
    for (line, rule) in [
        ("flags: []", rules::META005),
        ("Name: x", rules::META005),
        ("questions: []", rules::META006),
        ("questions: {}", rules::META006),
        ("questions: [a]", rules::META006),
        ("questions: [{prompt: b}]", rules::META006),
        ("questions: [{id: a}]", rules::META006),
        ("questions: [{id: A, prompt: b}]", rules::META006),
        ("questions: [{id: 1, prompt: b}]", rules::META006),
        ("questions: [{id: a, prompt: b, hint: c}]", rules::META006),
        ("questions: [{id: a, prompt: ' '}]", rules::META006),
        ("questions: [{id: a, prompt: b, requires: c}]", rules::META006),
        ("questions: [{id: a, prompt: b, format: hex}]", rules::META006),
        ("questions: [{id: a, prompt: b, answer: 42}]", rules::META008),
        ("questions: [{id: a, prompt: b, answer: true}]", rules::META008),
        ("questions: [{id: a, prompt: b, answer: }]", rules::META023),
        ("questions: [{id: a, prompt: b, answer: ' '}]", rules::META023),
        ("questions: [{id: a, prompt: b, answer: [c]}]", rules::META008),
        ("questions: [{id: a, prompt: b, choices: [c]}]", rules::META008),
        ("questions: [{id: a, prompt: b, answer: c, choices: []}]", rules::META008),
        ("questions: [{id: a, prompt: b, answer: c, choices: [c, c]}]", rules::META025),
        ("questions: [{id: a, prompt: b, answer: [c, c], choices: [c]}]", rules::META008),
        ("questions: [{id: a, prompt: b, answer: [], choices: [c]}]", rules::META008),
        ("category: forensics", rules::META011),
        ("network_topology: vpn", rules::META012),
        ("entry_urls: http://a", rules::META013),
        ("entry_urls: ['javascript:alert(1)']", rules::META013),
        ("entry_urls: [1]", rules::META013),
        ("instance: []", rules::META020),
        ("instance: {size: huge}", rules::META020),
        ("instance: {lease: 2h}", rules::META020),
        ("instance: {ttl: soon}", rules::META020),
        ("instance: {ttl: 5}", rules::META020),
        ("instance: {warm: 21}", rules::META020),
        ("scoring: {value: -1}", rules::META021),
        ("scoring: {function: cubic}", rules::META021),
        ("scoring: {points: 1}", rules::META021),
        ("author: 1", rules::META022),
        ("author: ' '", rules::META022),
        ("release_at: tomorrow", rules::META022),
        ("release_at: 2027-03-01", rules::META022),
    ] {
        let text = format!("{HEAD}{line}\n");
        assert!(!is_valid(&metadata(), &text), "{text}");
        assert!(refusals(&text).contains(rule), "{text}: {:?}", refusals(&text));
    }
}

/// Values that fit somewhere, and values that fit nowhere.
fn value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "~",
        "a",
        "flag",
        "raw",
        "web",
        "simple",
        "team",
        "shared",
        "large",
        "static",
        "none",
        "7",
        "60",
        "1000001",
        "-1",
        "0x40",
        "'12'",
        "1.5",
        "true",
        "' '",
        "[]",
        "{}",
        "[a]",
        "[a, a]",
        "[a, b]",
        "[1]",
        "['x y']",
        "2h",
        "1h30m",
        "1.5h",
        "'60'",
        "2027-03-01T12:00:00Z",
        "2027-03-01t12:00:00.5+01:00",
        "['http://a/b']",
        "['HTTPS://[::1]:8']",
        "[b, ~]",
        "yes",
    ])
}

/// Key and value pairs in brackets; about half of the keys.
fn mapping(keys: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec((any::<bool>(), value()), keys.len()).prop_map(move |values| {
        let pairs = keys.iter().zip(values).filter(|(_, (is_there, _))| *is_there);
        let pairs: Vec<String> = pairs.map(|(key, (_, value))| format!("{key}: {value}")).collect();
        format!("{{{}}}", pairs.join(", "))
    })
}

fn files() -> impl Strategy<Value = String> {
    let question = (mapping(&["answer", "choices", "requires", "format"]), value(), 0..8_u8);
    let top = prop::collection::vec((0..12_u8, value()), 6);
    let settings = (mapping(keys::INSTANCE), mapping(keys::SCORING), any::<[bool; 3]>());
    (question, top, settings).prop_map(|((extra, id, odd), top, (instance, scoring, has))| {
        let mut text = HEAD.to_owned();
        let keys =
            ["category", "network_topology", "entry_urls", "author", "release_at", "questions"];
        for (key, (n, value)) in keys.iter().zip(top) {
            let is_given = n < 4 && (*key != "questions" || !has[2]);
            if is_given {
                writeln!(text, "{key}: {value}").unwrap();
            }
        }
        if has[2] {
            let id = if odd == 0 { id } else { "a" };
            let extra = extra.trim_matches(['{', '}']);
            writeln!(
                text,
                "questions:\n- {{id: {id}, prompt: p, {extra}}}\n- {{id: b, prompt: q}}"
            )
            .unwrap();
        }
        if has[0] {
            writeln!(text, "instance: {instance}").unwrap();
        }
        if has[1] {
            writeln!(text, "scoring: {scoring}").unwrap();
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_the_reader_accepts_the_schema_accepts(text in files()) {
        if refusals(&text).is_empty() {
            prop_assert!(is_valid(&metadata(), &text), "{}", text);
        }
    }
}

#[test]
fn the_examples_are_valid() {
    for file in crate::catalog::rules::Base::Quiz.files() {
        if let crate::catalog::rules::What::Text(text) = file.what {
            assert!(is_valid(&metadata(), text), "{text}");
        }
    }
    let all = format!(
        "{HEAD}questions:\n- {{id: a, prompt: b, answer: [c], choices: [c, d]}}\n- {{id: e, prompt: f, requires: [a], format: raw}}\n\
         category: misc\nnetwork_topology:\nentry_urls: ['http://a']\n\
         instance: {{scope: team, ttl: 2h, max_ttl: 28800, size: small, warm: 0, update: force, egress: none, runtime: runsc}}\n\
         scoring: {{value: 500, minimum: 100, decay: 30, function: linear}}\nauthor: A <a@b>\nrelease_at: 2027-03-01T12:00:00Z\n"
    );
    assert!(is_valid(&metadata(), &all));
}

#[test]
fn the_example_repository_is_valid() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("example-repo");
    let folders = |dir: &std::path::Path| {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let mut n_files = 0;
    for folder in folders(&root).iter().flat_map(|bucket| folders(bucket)) {
        let Ok(text) = std::fs::read_to_string(folder.join("metadata.yaml")) else { continue };
        assert!(is_valid(&metadata(), &text), "{}", folder.display());
        n_files += 1;
    }
    assert!(n_files > 3);
}

const COMPETITION: &str = "\
title: Spring
starts_at: 2027-03-01T12:00:00Z
ends_at: 2027-03-02T12:00:00+01:00
challenges: [WEB-001, 'CRYPTO-*', {bucket: PWN, value: 300, release_at: 2027-03-01T18:00:00Z}]
";

/// What the reader finds wrong with the shape of a competition file: what a schema could know. Not
/// the order of times, not what is selected.
fn shape_faults(text: &str) -> Vec<String> {
    let quiz = format!("{HEAD}category: misc\nquestions: [{{id: a, prompt: b, answer: c}}]\n");
    let tree = MemoryTree::new()
        .with("WEB/WEB-001/metadata.yaml", quiz.clone())
        .with("CRYPTO/CRYPTO-001/metadata.yaml", quiz.clone())
        .with("PWN/PWN-001/metadata.yaml", quiz)
        .with("competitions/spring.yaml", text);
    let catalog = load(&tree, None, &Policy::default()).unwrap();
    let shape = [rules::EVENT000, rules::EVENT001, rules::EVENT002, rules::EVENT008];
    let found = catalog.findings.into_iter().filter(|it| it.severity == Severity::Error);
    found.filter(|it| shape.contains(&it.rule.as_str())).map(|it| it.to_string()).collect()
}

/// Competition files of which about half of the keys fit.
fn competitions() -> impl Strategy<Value = String> {
    let registration = mapping(&["mode", "opens_at", "closes_at"]);
    let scoring = mapping(&["function", "value", "minimum", "decay", "first_blood"]);
    let caps = mapping(&["static", "single_select", "multi_select"]);
    let teams = mapping(&["min_size", "max_size"]);
    let selection = mapping(&["id", "bucket", "tag", "value", "release_at"]);
    let sections = (registration, scoring, caps, teams, selection);
    let words = prop::collection::vec((0..6_u8, value()), 4);
    (sections, words, any::<[bool; 5]>()).prop_map(|(sections, words, has)| {
        let (registration, scoring, caps, teams, selection) = sections;
        let mut text = COMPETITION.replace("challenges: [", "challenges: [@");
        text = text.replace('@', &if has[4] { format!("{selection}, ") } else { String::new() });
        let sections = [
            ("registration", registration),
            ("scoring", scoring),
            ("attempt_caps", caps),
            ("teams", teams),
        ];
        for ((key, section), _) in sections.iter().zip(has).filter(|(_, has)| *has) {
            writeln!(text, "{key}: {section}").unwrap();
        }
        let keys = ["description", "freeze_at", "practice", "instances"];
        for (key, (n, value)) in keys.iter().zip(words) {
            if n < 2 {
                writeln!(text, "{key}: {value}").unwrap();
            }
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_competition_that_the_reader_accepts_the_schema_accepts(text in competitions()) {
        if shape_faults(&text).is_empty() {
            prop_assert!(is_valid(&competition(), &text), "{}", text);
        }
    }
}

#[test]
fn the_schema_has_the_keys_of_competitions() {
    use crate::catalog::competition::keys as fields;
    let schema = competition();
    assert_eq!(keys_at(&schema, ""), set(fields::TOP));
    for (key, wanted) in [
        ("registration", fields::REGISTRATION),
        ("scoring", fields::SCORING),
        ("attempt_caps", fields::ATTEMPT_CAPS),
        ("teams", fields::TEAMS),
        ("instances", fields::INSTANCES),
    ] {
        assert_eq!(keys_at(&schema, &format!("/properties/{key}")), set(wanted), "{key}");
    }
}

#[test]
fn a_competition_is_judged_by_its_shape() {
    assert!(is_valid(&competition(), COMPETITION));
    for line in [
        "description: x",
        "freeze_at: 2027-03-02T10:00:00Z",
        "practice: true",
        "registration: {mode: invite, opens_at: 2027-01-01T00:00:00Z, closes_at: }",
        "teams: {min_size: 1, max_size: 4}",
        "scoring: {function: logarithmic, value: 500, minimum: 100, decay: 30, first_blood: 50}",
        "attempt_caps: {static: 10, single_select: 3, multi_select: 10}",
        "instances: {per_team: 5}",
        "teams:",
    ] {
        let text = format!("{COMPETITION}{line}\n");
        assert!(is_valid(&competition(), &text), "{line}");
        assert_eq!(shape_faults(&text), [""; 0], "{line}");
    }
    for line in [
        "name: x",
        "practice: often",
        "registration: {mode: open}",
        "registration: {from: x}",
        "teams: {min_size: 0}",
        "teams: {min_size: a}",
        "freeze_at: late",
        "scoring: {function: cubic}",
        "attempt_caps: {dynamic: 1}",
        "instances: 5",
    ] {
        let text = format!("{COMPETITION}{line}\n");
        assert!(!is_valid(&competition(), &text), "{line}");
        assert!(!shape_faults(&text).is_empty(), "{line}");
    }
    for (part, instead) in [
        ("title: Spring\n", ""),
        ("starts_at: 2027-03-01T12:00:00Z\n", ""),
        ("2027-03-01T12:00:00Z\n", "2027-03-01\n"),
        ("[WEB-001,", "[1,"),
        ("bucket: PWN,", ""),
        ("bucket: PWN,", "bucket: PWN, tag: x,"),
        ("value: 300", "points: 300"),
    ] {
        let text = COMPETITION.replacen(part, instead, 1);
        assert_ne!(text, COMPETITION);
        assert!(!is_valid(&competition(), &text), "{text}");
    }
    let none = format!("{}challenges: []\n", COMPETITION.split("challenges").next().unwrap());
    assert!(!is_valid(&competition(), &none));
}
