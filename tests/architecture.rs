//! Holds the walls of the house: which room may name which, and what every file owes its reader.
//!
//! Everything here reads source text line by line; it knows just enough Rust to leave comments and
//! tests out. A failure names file and line and says what to do instead.
//!
//! # Not here
//! Lints that clippy has (`Cargo.toml`), and how the code behaves (`tests/stories`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in reading order. A room names only rooms that come before it.
///
/// `cli/daemon.rs` is the one place that wires them together, so `cli` comes last and sees all.
/// `api` uses `daemon` (what the platform can be asked for), never the reverse.
const ROOMS: &[&str] = &[
    // Pure: they decide.
    "model",
    "trust",
    "secrets",
    "render",
    "traffic",
    "catalog",
    "release",
    "planner",
    "contest",
    "proof",
    // Shell: they act.
    "config",
    "telemetry",
    "git",
    "store",
    "runtime",
    "builder",
    "notify",
    "node",
    "ingress",
    "daemon",
    "api",
    "client",
    "cli",
];

/// How many of [`ROOMS`], from the first, are pure.
const N_PURE_ROOMS: usize = 9;

/// What a pure room never names: clocks, I/O, async, and everything that speaks to the world.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio_util",
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "SystemTime",
    "Instant",
    "async fn",
    ".await",
    "git2",
    "bollard",
    "rusqlite",
    "axum",
    "reqwest",
    "getrandom",
];

/// Words that belong to some rooms only: the word, and the rooms.
const OWNED: &[(&str, &[&str])] = &[
    ("bollard", &["runtime"]),
    ("git2", &["git"]),
    ("rusqlite", &["store"]),
    ("axum", &["api"]),
    ("utoipa", &["api"]),
    ("pgp", &["trust"]),
    ("age::", &["secrets"]),
    ("clap", &["cli"]),
    ("reqwest", &["notify", "node", "client", "cli"]),
    ("tokio_tungstenite", &["node"]),
    ("argon2", &["daemon"]),
    ("println!", &["cli"]),
    ("print!", &["cli"]),
    ("eprintln!", &["cli"]),
    ("eprint!", &["cli"]),
    ("SystemTime::now", &["telemetry"]),
];

/// Longest file, without its tests.
const MAX_LINES: usize = 800;

// ---------------------------------------------------------------------------------------- walls

#[test]
fn a_room_names_only_rooms_before_it() {
    let faults = each_room_line(|room, line| {
        let own = position(room);
        named_rooms(&line.statement)
            .into_iter()
            .filter(|named| ROOMS.iter().position(|r| r == named).is_some_and(|at| at > own))
            .map(|named| {
                format!("`{room}` names `{named}`, which comes after it; see ARCHITECTURE.md")
            })
            .collect()
    });
    assert_none(&faults);
}

#[test]
fn no_room_is_reached_through_super() {
    let faults = each_room_line(|_, line| {
        let escapes = n_supers(&line.text) >= line.module_depth;
        escapes
            .then(|| "`super` leaves the room; write `crate::<room>`".to_owned())
            .into_iter()
            .collect()
    });
    assert_none(&faults);
}

#[test]
fn a_pure_room_holds_no_clock_no_io_and_no_async() {
    let faults = each_room_line(|room, line| {
        if position(room) >= N_PURE_ROOMS || line.is_test {
            return Vec::new();
        }
        IMPURE
            .iter()
            .filter(|word| has_word(&line.text, word))
            .map(|word| format!("the pure room `{room}` names `{word}`; take it as an input"))
            .collect()
    });
    assert_none(&faults);
}

#[test]
fn a_crate_that_has_a_room_is_named_in_that_room_only() {
    let faults = each_room_line(|room, line| {
        if line.is_test {
            return Vec::new();
        }
        OWNED
            .iter()
            .filter(|(word, owners)| !owners.contains(&room) && has_word(&line.text, word))
            .map(|(word, owners)| format!("`{word}` belongs to {owners:?}, not to `{room}`"))
            .collect()
    });
    assert_none(&faults);
}

#[test]
fn every_folder_is_a_room_and_every_room_is_in_the_library() {
    let folders: BTreeSet<String> = fs::read_dir(root().join("src"))
        .expect("src is a folder")
        .map(|entry| entry.expect("src can be listed").path())
        .filter(|path| path.is_dir())
        .map(|path| file_name(&path))
        .collect();
    let rooms: BTreeSet<String> = ROOMS.iter().map(|&room| room.to_owned()).collect();
    let strangers: Vec<_> = folders.difference(&rooms).collect();
    assert!(strangers.is_empty(), "add these folders to `ROOMS`, in their place: {strangers:?}");

    let library = read(&root().join("src/lib.rs"));
    let declared: BTreeSet<String> = library
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    assert_eq!(declared, folders, "src/lib.rs declares the rooms, one line each");
}

// -------------------------------------------------------------------------------- every file

#[test]
fn every_file_opens_with_what_it_is() {
    let faults: Vec<String> = rust_files(&["src", "tests", "benches"])
        .into_iter()
        .filter(|path| !read(path).starts_with("//!"))
        .map(|path| {
            format!("{}:1: begins without `//!`: say in one sentence what it is", show(&path))
        })
        .collect();
    assert_none(&faults);
}

#[test]
fn every_public_item_says_what_it_promises() {
    let mut faults = Vec::new();
    for path in rust_files(&["src"]) {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for at in undocumented(&lines, first_test_line(&path, &lines)) {
            faults.push(format!("{}:{}: no `///`: `{}`", show(&path), at + 1, lines[at].trim()));
        }
    }
    assert_none(&faults);
}

#[test]
fn no_file_is_too_long_to_read() {
    let mut faults = Vec::new();
    for path in rust_files(&["src"]) {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        let n_lines = first_test_line(&path, &lines);
        if n_lines > MAX_LINES {
            faults.push(format!(
                "{}: {n_lines} lines without tests, at most {MAX_LINES}: it has two jobs",
                show(&path)
            ));
        }
    }
    assert_none(&faults);
}

/// The document of the API has one place for each name: of two shapes one would not be told.
#[test]
fn no_two_shapes_of_the_api_share_a_name() {
    let (mut places, mut faults) = (BTreeMap::<String, String>::new(), Vec::new());
    for path in rust_files(&["src"]) {
        let text = read(&path);
        let mut is_shape = false;
        for (nth, line) in text.lines().enumerate() {
            is_shape |= line.starts_with("#[derive(") && has_word(line, "ToSchema");
            let kind = ["struct ", "enum "].iter().find_map(|it| line.split_once(it));
            let (true, Some((_, rest))) = (is_shape && !line.starts_with(['#', '/']), kind) else {
                continue;
            };
            is_shape = false;
            let place = format!("{}:{}", show(&path), nth + 1);
            if let Some(first) = places.insert(identifier(rest).to_owned(), place.clone()) {
                faults.push(format!("{place}: `{}` is also at {first}", identifier(rest)));
            }
        }
    }
    assert!(places.len() > 100, "{} shapes were found", places.len());
    assert_none(&faults);
}

#[test]
fn migrations_are_numbered_without_gaps() {
    let folder = root().join("schema/sql");
    // Until the store moves in there is no folder.
    let Ok(entries) = fs::read_dir(&folder) else { return };
    let mut names: Vec<String> =
        entries.map(|entry| file_name(&entry.expect("schema/sql can be listed").path())).collect();
    names.sort();
    for (nth, name) in names.iter().enumerate() {
        let number = nth + 1;
        assert!(
            is_migration(name, number),
            "schema/sql/{name}: migration {number} is called `{number:04}_what_it_does.sql`"
        );
    }
}

#[test]
fn no_story_is_forgotten() {
    let folder = root().join("tests/stories");
    if !folder.is_dir() {
        return;
    }
    let main = read(&folder.join("main.rs"));
    let listed: BTreeSet<&str> = main
        .lines()
        .filter_map(|line| line.trim().strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    for entry in fs::read_dir(&folder).expect("tests/stories can be listed") {
        let path = entry.expect("tests/stories can be listed").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_module =
            path.join("mod.rs").is_file() || path.extension().is_some_and(|e| e == "rs");
        if is_module && name != "main" {
            assert!(
                listed.contains(name.as_str()),
                "tests/stories/main.rs does not list `mod {name};`, so it never runs"
            );
        }
    }
}

// ------------------------------------------------------------------------- the reader's own tests

#[test]
fn grouped_and_nested_imports_are_seen() {
    let check = |text: &str, rooms: &[&str]| assert_eq!(named_rooms(text), rooms, "{text}");
    check("use crate::model::Team;", &["model"]);
    check("use crate::{model::Team, store::{self, Db}, api};", &["model", "store", "api"]);
    check("fn f(x: crate::git::Mirror) -> crate::api::Wire", &["git", "api"]);
    check("pub(crate) fn f()", &[]);
    check("use othercrate::store;", &[]);
}

#[test]
fn statements_over_several_lines_are_read_as_one() {
    let text = "//! X.\nuse crate::{\n    model::Team,\n    api,\n};\n";
    let lines = code_lines(Path::new("src/git/mirror.rs"), text);
    assert_eq!(named_rooms(&lines[0].statement), ["model", "api"]);
    assert_eq!(lines[0].number, 2);
}

#[test]
fn comments_and_texts_are_not_code() {
    assert_eq!(strip_comment("let a = 1; // crate::api"), "let a = 1; ");
    assert_eq!(strip_comment("let a = \"https://x\"; // y"), "let a = \"\"; ");
    assert_eq!(strip_comment("let a = '\"'; tokio::spawn"), "let a = ; tokio::spawn");
    assert_eq!(strip_comment("fn f<'a>(x: &'a str) -> Git2"), "fn f<a>(x: &a str) -> Git2");
    assert_eq!(strip_comment("/// [`crate::api`]"), "");
}

#[test]
fn tests_are_told_from_code_and_know_how_deep_they_are() {
    let text = "//! X.\nuse x;\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
    let seen: Vec<(usize, bool, usize)> = code_lines(Path::new("src/git/mod.rs"), text)
        .into_iter()
        .map(|line| (line.number, line.is_test, line.module_depth))
        .collect();
    assert_eq!(seen, [(2, false, 1), (3, true, 2), (4, true, 2), (5, true, 2), (6, true, 2)]);
    let of_file = code_lines(Path::new("src/git/tests.rs"), "use super::*;\n");
    assert_eq!((of_file[0].is_test, of_file[0].module_depth), (true, 2));
}

#[test]
fn a_word_ends_where_an_identifier_ends() {
    assert!(has_word("use git2::Oid;", "git2"));
    assert!(has_word("x.await?", ".await"));
    assert!(!has_word("let my_git2x = 1;", "git2"));
    assert!(!has_word("eprintln!()", "println!"));
}

#[test]
fn an_attribute_may_stand_between_a_promise_and_its_item() {
    let check = |text: &str, faults: &[usize]| {
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(undocumented(&lines, lines.len()), faults, "{text}");
    };
    check("/// Yes.\n#[derive(Debug)]\npub struct A;", &[]);
    check("/// Yes.\n#[expect(\n    lint,\n    reason = \"x\"\n)]\npub fn a() {}", &[]);
    check("use x;\n\npub fn a() {}", &[2]);
    check("}\npub const fn a() {}", &[1]);
    check("    pub async fn a() {}", &[0]);
    check("pub use a::b;\npub mod c;\npub(crate) fn d() {}", &[]);
}

#[test]
fn a_super_chain_is_counted() {
    assert_eq!(n_supers("use super::super::x;"), 2);
    assert_eq!(n_supers("use super::*;"), 1);
    assert_eq!(n_supers("pub(super) fn x()"), 0);
}

// --------------------------------------------------------------------------------- reading source

/// One line of code, without comments and texts.
struct Line {
    /// From 1.
    number: usize,
    /// The line itself.
    text: String,
    /// For a `use` that spans lines: all of it, at its first line; otherwise the line.
    statement: String,
    /// Whether it belongs to tests.
    is_test: bool,
    /// How many modules deep below the crate's root: this many `super` leave the room.
    module_depth: usize,
}

/// Runs `check` on every line of code of every room; returns its faults with file and line.
fn each_room_line(check: impl Fn(&str, &Line) -> Vec<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for path in rust_files(&["src"]) {
        let relative = show(&path);
        let mut parts = relative.split('/').skip(1);
        let (Some(room), Some(_)) = (parts.next(), parts.next()) else { continue };
        for line in code_lines(Path::new(&relative), &read(&path)) {
            for fault in check(room, &line) {
                faults.push(format!("{relative}:{}: {fault}", line.number));
            }
        }
    }
    faults
}

/// The lines of code of the file `relative` (`src/…`), blank ones left out.
fn code_lines(relative: &Path, text: &str) -> Vec<Line> {
    let raw: Vec<&str> = text.lines().collect();
    let first_test = first_test_line(relative, &raw);
    let is_test_file = first_test == 0;
    let n_parts = relative.components().count() - 1; // without `src`
    let is_front_door = relative.file_name().is_some_and(|name| name == "mod.rs");
    let depth = if is_front_door { n_parts - 1 } else { n_parts };

    let stripped: Vec<String> = raw.iter().map(|line| strip_comment(line)).collect();
    stripped
        .iter()
        .enumerate()
        .filter(|(_, code)| !code.trim().is_empty())
        .map(|(at, code)| {
            let is_test = at >= first_test;
            // An inline `mod tests { … }` is one module further down.
            let inline = usize::from(is_test && !is_test_file);
            Line {
                number: at + 1,
                text: code.clone(),
                statement: statement_at(&stripped, at),
                is_test,
                module_depth: depth + inline,
            }
        })
        .collect()
}

/// The whole `use …;` that begins at line `at`, or just that line.
fn statement_at(lines: &[String], at: usize) -> String {
    let is_open = |text: &str| text.contains("crate::{") && !text.contains(';');
    let mut statement = lines[at].clone();
    for more in &lines[at + 1..] {
        if !is_open(&statement) {
            break;
        }
        statement.push_str(more);
    }
    statement
}

/// The rooms named as `crate::room` or `crate::{room, …}`, in the order they appear.
fn named_rooms(statement: &str) -> Vec<&str> {
    let mut named = Vec::new();
    for (at, _) in statement.match_indices("crate::") {
        if statement[..at].ends_with(is_identifier_part) {
            continue;
        }
        let rest = &statement[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            named.extend(group_heads(group));
        } else {
            named.push(identifier(rest));
        }
    }
    named
}

/// The first identifier of each member of a `a::b, c::{d, e}, f}` group, its brace already read.
fn group_heads(group: &str) -> Vec<&str> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.push(identifier(group[start..at].trim()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => (),
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn is_identifier_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c| !is_identifier_part(c)).unwrap_or(text.len());
    &text[..end]
}

/// The length of the longest `super::super::…` in a line.
fn n_supers(text: &str) -> usize {
    let mut longest = 0;
    for (at, _) in text.match_indices("super::") {
        let mut rest = &text[at..];
        let mut n = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            n += 1;
            rest = next;
        }
        longest = longest.max(n);
    }
    longest
}

/// Whether `word` stands in `text` as a word of its own.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let goes_on_before =
            word.starts_with(is_identifier_part) && text[..at].ends_with(is_identifier_part);
        let goes_on_after = word.ends_with(is_identifier_part)
            && text[at + word.len()..].starts_with(is_identifier_part);
        !goes_on_before && !goes_on_after
    })
}

/// The line without `//` comments and without what stands in quotes.
fn strip_comment(line: &str) -> String {
    let mut code = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.as_str().starts_with('/') => break,
            '"' => {
                code.push_str("\"\"");
                skip_text(&mut chars);
            }
            // A quoted quote would open a text that never ends. A lifetime is no character.
            '\'' => skip_character(&mut chars),
            _ => code.push(c),
        }
    }
    code
}

/// Skips to behind the closing quote of a text.
fn skip_text(chars: &mut std::str::Chars<'_>) {
    while let Some(inside) = chars.next() {
        match inside {
            '\\' => drop(chars.next()),
            '"' => return,
            _ => (),
        }
    }
}

/// Skips `x'` or `\n'` if that comes next, otherwise nothing.
fn skip_character(chars: &mut std::str::Chars<'_>) {
    let mut ahead = chars.clone();
    if ahead.next() == Some('\\') {
        ahead.next();
    }
    if ahead.next() == Some('\'') {
        *chars = ahead;
    }
}

/// Index of the first line that belongs to tests: 0 for test files, the number of lines for none.
/// By convention tests come last in a file.
fn first_test_line(path: &Path, lines: &[&str]) -> usize {
    let is_test_file = path.components().any(|part| {
        let name = part.as_os_str();
        name == "tests.rs" || name == "tests"
    });
    if is_test_file {
        return 0;
    }
    let opens_tests = |pair: &[&str]| {
        pair[0].trim() == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    };
    lines.windows(2).position(opens_tests).unwrap_or(lines.len())
}

/// Indices of the public items before line `end` that no `///` stands above.
fn undocumented(lines: &[&str], end: usize) -> Vec<usize> {
    (0..end).filter(|&at| is_public_item(lines[at]) && !is_documented(&lines[..at])).collect()
}

fn is_public_item(line: &str) -> bool {
    let Some(rest) = line.trim_start().strip_prefix("pub ") else { return false };
    let item = rest.split_whitespace().find(|word| !["async", "unsafe"].contains(word));
    let kinds = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
    // A field is `pub name: Type`; `pub use` and `pub mod` lead to what has its own promise.
    item.is_some_and(|word| kinds.contains(&word))
}

/// Whether the lines above an item end with its `///`, with attributes between at most.
fn is_documented(above: &[&str]) -> bool {
    for line in above.iter().rev() {
        let line = line.trim();
        // In a macro the promise is handed in by the caller: `$(#[$doc])*`.
        if line.starts_with("///") || line.starts_with("$(#[") {
            return true;
        }
        let ends_something = line.is_empty() || line.ends_with(['{', '}', ';']);
        if ends_something && !line.starts_with("#[") {
            return false;
        }
    }
    false
}

fn is_migration(name: &str, number: usize) -> bool {
    let rest = name.strip_prefix(&format!("{number:04}_"));
    let what = rest.and_then(|rest| rest.strip_suffix(".sql")).unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !what.is_empty() && what.chars().all(is_plain)
}

// ------------------------------------------------------------------------------------------ files

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn position(room: &str) -> usize {
    let found = ROOMS.iter().position(|&known| known == room);
    found.unwrap_or_else(|| panic!("src/{room} is not in `ROOMS`: put it in its place"))
}

/// Every `.rs` file below these folders, sorted.
fn rust_files(folders: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder of sources can be listed").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", show(path)))
}

fn show(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{} fault(s):\n{}", faults.len(), faults.join("\n"));
}
