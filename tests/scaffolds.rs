//! What `flagops new` and `flagops import` make, as an author meets it: files on disk, exit codes,
//! and what the reference says about the same files.
//!
//! # Not here
//! Whether new challenges run and are solved (`tests/stories/author_begins.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flagops::catalog::{self, Policy};
use flagops::git::WorkTree;
use flagops::model::Challenge;
use serde_json::{Value, json};

/// Why nothing of the file system is expected to fail.
const WRITABLE: &str = "a test may write to its own folder";
const READABLE: &str = "a test may read its own folder";

/// How a program ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the program can be run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn flagops(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flagops"));
    Ended::of(command.current_dir(folder).env_clear().args(arguments))
}

fn write(folder: &Path, name: &str, content: &str) {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().expect("a file is in a folder")).expect(WRITABLE);
    fs::write(file, content).expect(WRITABLE);
}

/// Every challenge of a folder; there must be no finding at all.
fn challenges(folder: &Path) -> BTreeMap<String, Challenge> {
    let tree = WorkTree::open(folder).expect(READABLE);
    let catalog = catalog::load(&tree, None, &Policy::default()).expect(READABLE);
    let findings: Vec<String> = catalog.all_findings().map(ToString::to_string).collect();
    assert_eq!(findings, [""; 0]);
    catalog
        .folders
        .into_iter()
        .map(|(id, folder)| {
            let challenge = folder.challenge.as_ref().expect("it has no finding");
            (id.to_string(), (**challenge).clone())
        })
        .collect()
}

/// `ctfy-admin` of the Python that the tests are given. CI must have it; elsewhere it may lack.
fn reference() -> Option<PathBuf> {
    let python = std::env::var_os("FLAGOPS_TEST_PYTHON").map(PathBuf::from);
    let tool = python.map(|python| python.with_file_name("ctfy-admin")).filter(|it| it.is_file());
    assert!(
        tool.is_some() || std::env::var_os("CI").is_none(),
        "CI needs `ctfy-admin` beside FLAGOPS_TEST_PYTHON: `scripts/test` installs it"
    );
    tool
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("`{key}` is a list in {value}"))
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("`{key}` is text in {value}"))
}

/// One challenge of every category and stack.
fn one_of_each(root: &Path) -> Vec<Value> {
    let all = flagops(root, &["new", "--list", "--format", "json"]).json();
    let made = list(&all, "items").iter().map(|item| {
        let (category, stack) = (text(item, "category"), text(item, "stack"));
        let arguments = ["new", "--category", category, "--stack", stack, "--format", "json"];
        let made = flagops(root, &arguments);
        assert_eq!(made.code, Some(0), "{made:?}");
        made.json()
    });
    made.collect()
}

#[test]
fn every_new_challenge_is_valid_and_without_a_finding() {
    let root = tempfile::tempdir().unwrap();
    let made = one_of_each(root.path());
    let challenges = challenges(root.path());
    assert!(made.len() >= 15, "{made:?}");
    let ids = |values: &[Value]| -> Vec<String> {
        let mut ids: Vec<_> = values.iter().map(|it| text(it, "id").to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&made), challenges.keys().cloned().collect::<Vec<_>>());
    // Nothing but challenges is left in the repository.
    let beside = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(beside.into_iter().all(|name| !name.to_string_lossy().starts_with('.')));
}

#[test]
fn the_reference_finds_nothing_in_a_new_challenge() {
    let Some(reference) = reference() else { return };
    let root = tempfile::tempdir().unwrap();
    let made = one_of_each(root.path());
    assert_eq!(audit(&reference, root.path()), (made.len(), json!([])));
}

/// How many challenges the reference sees, and what it finds.
fn audit(reference: &Path, root: &Path) -> (usize, Value) {
    let mut audit = Command::new(reference);
    audit.args(["challenge", "audit", "--all", "--json", "--challenges-dir"]).arg(root);
    let report = Ended::of(&mut audit).json();
    (list(&report, "benchmarks").len(), report["issues"].clone())
}

#[test]
fn a_folder_that_exists_is_replaced_only_with_force_and_then_as_a_whole() {
    let root = tempfile::tempdir().unwrap();
    let new = |arguments: &[&str]| flagops(root.path(), &[&["new", "WEB-001"], arguments].concat());
    assert_eq!(new(&[]).code, Some(0));
    write(root.path(), "WEB/WEB-001/notes.txt", "mine");
    let refused = new(&[]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("`WEB/WEB-001` exists already: docker-compose.yml"),
        "{refused:?}"
    );
    assert!(root.path().join("WEB/WEB-001/notes.txt").exists());
    let replaced = new(&["--force", "--stack", "go", "--format", "json"]).json();
    assert_eq!(replaced["removed"], json!(["notes.txt", "services/web/app.py"]));
    assert!(!root.path().join("WEB/WEB-001/notes.txt").exists());
    challenges(root.path());
}

#[test]
fn the_author_is_told_what_to_do_next() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join(".git")).unwrap();
    fs::create_dir_all(root.path().join("WEB")).unwrap();
    // From a folder inside of the repository, the paths are those that can be typed there.
    let made =
        flagops(&root.path().join("WEB"), &["new", "--category", "web", "--stack", "static"]);
    insta::assert_snapshot!(made.stdout, @r"
    made WEB/WEB-001 (web, static): The director's coat
      docker-compose.yml
      metadata.yaml
      services/flag-rotator/Dockerfile
      services/flag-rotator/rotate.sh
      services/web/Dockerfile
      services/web/www/cgi-bin/hook
      services/web/www/healthz
      services/web/www/index.html
      solution/exploit.py
    next:
      flagops check WEB-001
      flagops play WEB-001
      git add WEB-001
    ");
}

#[test]
fn the_lock_of_a_new_reverse_challenge_opens_for_its_answer_and_can_be_made_again() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(flagops(root.path(), &["new", "REVERSE-001"]).code, Some(0));
    let folder = root.path().join("REVERSE/REVERSE-001");
    let metadata = fs::read_to_string(folder.join("metadata.yaml")).unwrap();
    let answer = metadata.lines().find_map(|line| line.trim().strip_prefix("answer: ")).unwrap();
    let python = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        let ended = Ended::of(command.current_dir(&folder).args(arguments));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    };
    assert_eq!(python(&["attachments/lock.py", answer]), "The dome opens.\n");
    assert_eq!(python(&["attachments/lock.py", "per aspera ad astra"]), "Nothing moves.\n");
    // Both makers of the program agree, and the maker of the author fits the lock.
    let lock = folder.join("attachments/lock.hex");
    let first = fs::read_to_string(&lock).unwrap();
    python(&["solution/make.py", answer]);
    assert_eq!(fs::read_to_string(&lock).unwrap(), first);
    python(&["solution/make.py", "per aspera ad astra"]);
    assert_eq!(python(&["attachments/lock.py", "per aspera ad astra"]), "The dome opens.\n");
}

// --------------------------------------------------------------------------------------- import

/// Rows of each data set in the spelling of its publisher, with everything that is hard in YAML.
fn data_sets() -> [(&'static str, &'static str, Vec<Value>); 3] {
    let hard = [
        "Which port, by default?",
        "yes",
        "a: b # c",
        "'quoted' and \"quoted\" and \\",
        "- [x] {y} & * ! | > % @ `",
        "two\nlines and\n\n  a third",
        "Ünï 漢字 😀 \u{a0} \t end",
        "0x10 3.14 ~ null",
    ];
    let words = |at: usize| hard[at % hard.len()];
    let letter = |at: usize| ["A", "b", "2", " d "][at % 4];
    let rows = 0..24;
    let secqa = rows.clone().map(|n| {
        json!({"Question": words(n), "A": words(n + 1), "B": words(n + 2), "C": words(n + 3),
               "D": words(n + 5), "Answer": letter(n)})
    });
    let mmlu = rows.clone().map(|n| {
        json!({"question": words(n), "choices": [words(n + 1), words(n + 2), words(n + 3), "none"],
               "answer": n % 4})
    });
    let cti = rows.map(|n| match n % 2 {
        0 => json!({"Question": words(n), "Option A": words(n + 1), "Option B": words(n + 2),
                    "Option C": words(n + 3), "Option D": "none", "GT": letter(n)}),
        _ => json!({"prompt": words(n), "options": [words(n), "none"], "correct": n % 4 / 2}),
    });
    // A row of each that nobody can use takes no number.
    let mut sets = [
        ("secqa", "SECQA", secqa.collect::<Vec<_>>()),
        ("mmlu_cs", "MMLU-CS", mmlu.collect()),
        ("cti_mcq", "CTI-MCQ", cti.collect()),
    ];
    for (_, _, rows) in &mut sets {
        rows.insert(3, json!({"question": "Which?", "answer": "hidden"}));
    }
    sets
}

#[test]
fn a_data_set_becomes_quizzes_and_bad_rows_are_named() {
    let root = tempfile::tempdir().unwrap();
    for (set, bucket, rows) in data_sets() {
        write(root.path(), "rows.json", &json!({ "rows": rows }).to_string());
        let arguments =
            ["import", "quiz", set, "--source", "rows.json", "--out", "repo", "--format", "json"];
        let made = flagops(root.path(), &arguments);
        assert_eq!(made.code, Some(1), "{made:?}");
        assert!(!made.stdout.contains("hidden"), "{made:?}");
        let made = made.json();
        assert_eq!(made["rows"], 25);
        assert_eq!(made["bad"][0]["row"], 3, "{made}");
        assert_eq!(list(&made, "bad").len(), 1, "{made}");
        assert_eq!(made["challenges"][23], format!("{bucket}/{bucket}-0024"));
        // Once more nothing is written, unless it is asked for.
        assert_eq!(flagops(root.path(), &arguments).code, Some(2));
        assert_eq!(flagops(root.path(), &[&arguments[..], &["--force"]].concat()).code, Some(1));
    }
    let challenges = challenges(&root.path().join("repo"));
    assert_eq!(challenges.len(), 72);
    for (id, challenge) in challenges {
        let is_quiz = challenge.compose.is_none()
            && challenge.metadata.questions.iter().all(|question| !question.mode.is_dynamic());
        assert!(is_quiz, "{id}");
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "rows.csv", "Question,A,B,C,D,Answer\nWhich?,a,b,c,d,B\nWho?,a,b,c,d,C\n");
    let arguments = ["import", "quiz", "secqa", "--source", "rows.csv", "--out", "repo"];
    let dry = flagops(root.path(), &[&arguments[..], &["--dry-run"]].concat());
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert!(dry.stdout.contains("would write SECQA/SECQA-0001 to SECQA/SECQA-0002"), "{dry:?}");
    assert!(!root.path().join("repo").exists());
    let some =
        flagops(root.path(), &[&arguments[..], &["--limit", "1", "--start-index", "41"]].concat());
    assert_eq!(some.code, Some(0), "{some:?}");
    assert!(root.path().join("repo/SECQA/SECQA-0041/metadata.yaml").is_file());
}

#[test]
fn one_row_is_told_as_one_and_bad_rows_by_the_number_that_descriptions_give() {
    let root = tempfile::tempdir().unwrap();
    let header = "Question,A,B,C,D,Answer\n";
    let import = |rows: &str| {
        write(root.path(), "rows.csv", &format!("{header}{rows}"));
        flagops(root.path(), &["import", "quiz", "secqa", "--source", "rows.csv", "--out", "repo"])
    };
    let one = import("Which?,a,b,c,d,B\n");
    assert_eq!(one.code, Some(0), "{one:?}");
    assert!(one.stdout.starts_with("1 row: 1 can be used"), "{one:?}");
    assert!(one.stdout.contains("wrote SECQA/SECQA-0001\n"), "{one:?}");
    let again = import("Which?,a,b,c,d,B\n");
    assert!(again.stderr.contains("`SECQA/SECQA-0001` exists already"), "{again:?}");
    let file = root.path().join("repo/SECQA/SECQA-0001/metadata.yaml");
    assert!(fs::read_to_string(file).unwrap().contains("row0"));
    let bad = import("Dup?,same,same,c,d,A\n,a,b,c,d,A\n");
    assert_eq!(bad.code, Some(1), "{bad:?}");
    assert!(bad.stdout.contains("  row0: options A and B are the same\n"), "{bad:?}");
    assert!(bad.stdout.contains("  row1: `Question` is empty\n"), "{bad:?}");
}

#[test]
fn choices_are_read_from_a_cell_of_a_table() {
    let root = tempfile::tempdir().unwrap();
    let rows = "question,choices,answer\nWhich?,\"['a', 'b', 'c', 'd']\",2\n\
                Who?,\"[\"\"a\"\", \"\"b\"\", \"\"c\"\", \"\"d\"\"]\",3\n";
    write(root.path(), "rows.csv", rows);
    let arguments = ["import", "quiz", "mmlu_cs", "--source", "rows.csv", "--out", "repo"];
    let made = flagops(root.path(), &arguments);
    assert_eq!(made.code, Some(0), "{made:?}");
    let file = root.path().join("repo/MMLU-CS/MMLU-CS-0001/metadata.yaml");
    let metadata = fs::read_to_string(file).unwrap();
    assert!(metadata.contains("C) c\n") && metadata.contains("answer: C\n"), "{metadata}");
}

#[test]
fn the_reference_makes_the_same_challenges_of_a_data_set() {
    let Some(reference) = reference() else { return };
    let root = tempfile::tempdir().unwrap();
    for (set, _, rows) in data_sets() {
        write(root.path(), "rows.json", &json!({ "data": rows }).to_string());
        let arguments = ["import", "quiz", set, "--source", "rows.json", "--out", "ours"];
        assert_eq!(flagops(root.path(), &arguments).code, Some(1));
        let mut theirs = Command::new(&reference);
        theirs.current_dir(root.path()).args(["challenge", "import", set]);
        let theirs = Ended::of(theirs.args(["--source", "rows.json", "--out", "theirs"]));
        assert_eq!(theirs.code, Some(0), "{theirs:?}");
    }
    let ours = challenges(&root.path().join("ours"));
    let theirs = challenges(&root.path().join("theirs"));
    assert_eq!(ours.len(), 72);
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (id, challenge) in ours {
        assert_eq!(challenge.metadata, theirs[&id].metadata, "{id}");
    }
    assert_eq!(audit(&reference, &root.path().join("ours")), (72, json!([])));
}

const OLD_COMPOSE: &str = "version: '3'
services:
  shop:
    build: shop
    ports: ['8000:80']
    privileged: true
";

fn old_folder(root: &Path) {
    write(root, "old/compose.yaml", OLD_COMPOSE);
    write(root, "old/shop/Dockerfile", "FROM debian:bookworm-slim\nCMD [\"sleep\", \"1d\"]\n");
    write(root, "old/.git/HEAD", "ref: refs/heads/main\n");
}

#[test]
fn a_compose_folder_is_copied_and_what_it_may_not_do_is_explained() {
    let root = tempfile::tempdir().unwrap();
    old_folder(root.path());
    fs::create_dir(root.path().join("repo")).unwrap();
    let arguments =
        ["import", "compose", "old", "--id", "WEB-007", "--out", "repo", "--title", "No"];
    let made = flagops(root.path(), &arguments);
    assert_eq!(made.code, Some(1), "{made:?}");
    for said in [
        "made WEB/WEB-007\n",
        "WEB/WEB-007/docker-compose.yml:6:5: error[HARDEN001] `privileged` is not allowed",
        "error[COMPOSE002]",
        "x-answers: [flag]",
    ] {
        assert!(made.stdout.contains(said), "{said}: {}", made.stdout);
    }
    let folder = root.path().join("repo/WEB/WEB-007");
    assert_eq!(fs::read_to_string(folder.join("docker-compose.yml")).unwrap(), OLD_COMPOSE);
    assert!(!folder.join("compose.yaml").exists() && !folder.join(".git").exists());
    // What was imported stays as it was.
    assert!(root.path().join("old/compose.yaml").exists());
    assert!(!root.path().join("old/metadata.yaml").exists());
    assert_eq!(flagops(root.path(), &arguments).code, Some(2));
    let metadata = fs::read_to_string(folder.join("metadata.yaml")).unwrap();
    insta::assert_snapshot!(metadata, @r#"
    name: "No"
    description: |
      Nobody has described this challenge yet. Say what the player shall achieve, not how.
    difficulty: easy
    category: web
    tags: [imported]
    questions:
      # Without `answer` a value is minted for each instance; with it, that text is right.
      - id: flag
        prompt: What is the flag?
    "#);
}

#[test]
fn flags_and_secrets_of_a_compose_folder_are_named_and_never_shown() {
    let root = tempfile::tempdir().unwrap();
    old_folder(root.path());
    write(root.path(), "old/.env", "FLAG=FLAG{real_one_123}\n");
    write(root.path(), "old/shop/.env", "DEBUG=1\nDB_PASSWORD=hunter2\n");
    write(root.path(), "old/shop/app.py", "import os\nflag = 'FLAG{real_one_123}'\n");
    fs::create_dir(root.path().join("repo")).unwrap();
    let made =
        flagops(root.path(), &["import", "compose", "old", "--id", "WEB-007", "--out", "repo"]);
    for said in [
        "old/.env was left out: nothing reads it here",
        "WEB/WEB-007/shop/.env:2 holds a value of `DB_PASSWORD`",
        "WEB/WEB-007/shop/app.py:2 holds a literal flag",
    ] {
        assert!(made.stdout.contains(said), "{said}: {}", made.stdout);
    }
    assert!(!made.stdout.contains("real_one") && !made.stdout.contains("hunter2"), "{made:?}");
    assert!(!root.path().join("repo/WEB/WEB-007/.env").exists());
    assert!(root.path().join("old/.env").exists());
    // In its place nothing is removed, so the file is named with its line.
    fs::remove_dir_all(root.path().join("old/.git")).unwrap();
    let made =
        flagops(root.path(), &["import", "compose", "old", "--in-place", "--format", "json"]);
    let made = made.json();
    assert_eq!(made["secrets"][0], json!({"file": ".env", "line": 1, "what": "a literal flag"}));
    assert!(root.path().join("old/.env").exists());
}

#[test]
fn a_compose_folder_becomes_a_challenge_in_its_place() {
    let root = tempfile::tempdir().unwrap();
    old_folder(root.path());
    let import =
        |more: &[&str]| flagops(root.path(), &[&["import", "compose", "old"], more].concat());
    assert_eq!(import(&[]).code, Some(2));
    let other = import(&["--in-place", "--id", "WEB-001"]);
    assert!(other.stderr.contains("rename the folder"), "{other:?}");
    let nested = import(&["--in-place"]);
    assert!(nested.stderr.contains("is a repository of its own"), "{nested:?}");
    fs::remove_dir_all(root.path().join("old/.git")).unwrap();
    let made = import(&["--in-place", "--format", "json"]).json();
    assert_eq!(made["path"], "old");
    let rules: Vec<&str> = list(&made, "issues").iter().map(|it| text(it, "rule")).collect();
    assert!(rules.contains(&"HARDEN001") && rules.contains(&"COMPOSE002"), "{rules:?}");
    assert!(root.path().join("old/docker-compose.yml").exists());
    assert!(!root.path().join("old/compose.yaml").exists());
    let again = import(&["--in-place"]);
    assert!(again.stderr.contains("is a challenge already"), "{again:?}");
}
