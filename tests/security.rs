//! Keeps `docs/security-tests.md` true: which cases of `contract/security.md` §4 a test tries, which test,
//! and why others are skipped.
//!
//! A test belongs to a case when its name begins with the id (`n01_…`, `m16_m19_and_m20_…`), or when
//! [`BY_NAME`] names it. `FLAGOPS_UPDATE=1 cargo test --test security` writes the page anew.
//!
//! # Not here
//! Whether the tests pass: that is what running them is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The cases of the groups that are about walls, files and the VPN, some about accounts, and what
/// they are about.
const CASES: &[(&str, &str)] = &[
    ("A10", "Tokens that are used beyond what they are for"),
    ("A14", "The answer of another team"),
    ("A20", "Text of others in pages"),
    ("A23", "Finding out who has an account"),
    ("A25", "Shells of administrators"),
    ("L04", "Starts that are sent twice"),
    ("M16", "Dockerfiles that fetch, mount or reach outside"),
    ("M17", "Dockerfiles and contexts that are no plain files of the folder"),
    ("M19", "Images with a hostile configuration"),
    ("M20", "Images with volumes, exposures, labels and variables"),
    ("T01", "Templates that do not end"),
    ("T02", "Templates that take all memory"),
    ("T04", "Templates that include what they may not"),
    ("T05", "Answers that look like template, quote or markup"),
    ("T07", "Downloads of what was not offered"),
    ("T08", "Downloads of another team"),
    ("T10", "Archives that escape"),
    ("T11", "Ranges without end"),
    ("T13", "The same input gives the same bytes"),
    ("T14", "Answers where nobody may read them"),
    ("V01", "Garbage and replays at a VPN port"),
    ("V02", "Foreign, expired, revoked and odd certificates"),
    ("V04", "From tunnel to tunnel"),
    ("V05", "From a tunnel to the node and the world"),
    ("V07", "Lines injected into a profile"),
    ("V08", "Options that a gateway could push"),
    ("V10", "A gateway that crashes, a clock that is wrong"),
    ("V11", "Small packets, large transfers, renegotiation"),
    ("N01", "The whole matrix"),
    ("N02", "The matrix after each fault"),
    ("N04", "Other settings of the host's firewall"),
    ("N05", "IPv6"),
    ("N07", "A sweep over the ports of the host"),
    ("N08", "A tunnel through DNS"),
    ("N10", "Sockets and system calls that lead out"),
    ("N11", "Files of the host"),
    ("N13", "`exec`, health checks and logs as a vehicle"),
    ("N14", "The archive interface of the engine"),
    ("N16", "The ingress"),
    ("N17", "What two teams could share"),
    ("N19", "A canary beside a shell"),
    ("N20", "What a way out to the internet allows"),
    ("R01", "Bombs of processes"),
    ("R02", "Bombs of memory"),
    ("R04", "Writing to the layer"),
    ("R05", "Writing to files of the host and volumes"),
    ("R07", "Kernel objects by the thousand"),
    ("R08", "Keyrings, shared memory, queues"),
    ("R10", "Neighbour and bridge tables"),
    ("R11", "Bandwidth"),
    ("R13", "Storms of `sync`, entropy, caches"),
    ("R14", "A storm of calls to the engine"),
    ("R16", "Capturing a large flow"),
    ("R17", "Many open streams"),
    ("R19", "Leaks over many starts"),
    ("R20", "Floods at published ports"),
];

/// Tests of a case that are older than this table.
const BY_NAME: &[(&str, &str)] = &[
    ("M16", "the_engine_fetches_nothing"),
    ("M17", "a_context_without_a_sane_dockerfile_is_refused"),
    ("M17", "what_is_no_regular_file_is_named_unless_ignored"),
    ("M20", "every_volume_path_of_the_image_is_covered_once"),
    ("M20", "no_write_reaches_the_disk_of_the_host_unbounded"),
    ("T07", "file_names_cannot_break_out_of_the_header"),
    ("T11", "no_range_reaches_outside"),
    ("N04", "only_what_should_pass_passes_with_and_without_br_netfilter"),
    ("N05", "only_what_should_pass_passes_with_and_without_br_netfilter"),
    ("N14", "t10_exactly_one_regular_file_comes_out_of_an_archive"),
    ("N20", "only_what_should_pass_passes_with_and_without_br_netfilter"),
    ("R01", "a_container_has_no_power_over_the_machine"),
    ("R05", "no_write_reaches_the_disk_of_the_host_unbounded"),
    ("R04", "an_instance_over_its_budget_ends_and_its_owner_reads_why"),
    ("V08", "a_repository_has_templates_of_its_own_and_none_that_is_refused_is_used"),
    ("V02", "two_members_connect_at_once_and_a_profile_that_is_taken_back_is_worthless"),
    ("V04", "a_player_reaches_the_networks_of_the_gateway_and_nothing_else"),
    ("V05", "a_player_reaches_the_networks_of_the_gateway_and_nothing_else"),
];

/// Cases that no test tries, and why. One that a test tries by now is not shown as skipped.
const SKIPPED: &[(&str, &str)] = &[
    ("T10", "flagops never unpacks an archive that an author offers"),
    ("R11", "bandwidth is not shaped, which docs/operating.md says"),
];

#[test]
fn the_page_of_security_tests_is_true() {
    let page = page(&found());
    let path = root().join("docs/security-tests.md");
    if std::env::var_os("FLAGOPS_UPDATE").is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/security-tests.md is not what the tests say: `FLAGOPS_UPDATE=1 cargo test --test security` writes it"
    );
}

#[test]
fn every_case_has_a_test_or_a_reason() {
    let found = found();
    let skipped: BTreeSet<_> = SKIPPED.iter().map(|(id, _)| *id).collect();
    for (id, what) in CASES {
        let is_tried = found.contains_key(*id);
        assert!(is_tried || skipped.contains(id), "{id} ({what}) is neither tried nor skipped");
    }
    let known: BTreeSet<_> = CASES.iter().map(|(id, _)| *id).collect();
    let strangers: Vec<_> = skipped.iter().filter(|id| !known.contains(*id)).collect();
    assert!(strangers.is_empty(), "{strangers:?} are no cases");
}

#[test]
fn ids_are_read_from_the_beginning_of_a_name_only() {
    for (name, wanted) in [
        ("n01_every_row", &["N01"][..]),
        ("m16_m19_and_m20_dockerfiles_are_judged", &["M16", "M19", "M20"]),
        ("d10_one_listing", &["D10"]),
        ("a_row_of_n01", &[]),
        ("n1_short", &[]),
    ] {
        assert_eq!(ids(name), wanted, "{name}");
    }
}

/// The ids that a test's name begins with.
fn ids(name: &str) -> Vec<String> {
    let is_id = |word: &str| {
        word.len() == 3
            && word.starts_with(|c: char| c.is_ascii_lowercase())
            && word[1..].bytes().all(|b| b.is_ascii_digit())
    };
    name.split('_')
        .take_while(|word| is_id(word) || *word == "and")
        .filter(|word| is_id(word))
        .map(str::to_ascii_uppercase)
        .collect()
}

/// Where the tests of each case are: `file::name`.
fn found() -> BTreeMap<String, BTreeSet<String>> {
    let known: BTreeSet<_> = CASES.iter().map(|(id, _)| *id).collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut unseen: BTreeSet<_> = BY_NAME.iter().map(|(_, name)| *name).collect();
    for (place, name) in tests() {
        let by_name = BY_NAME.iter().filter(|(_, it)| *it == name).map(|(id, _)| (*id).to_owned());
        unseen.remove(name.as_str());
        for id in ids(&name).into_iter().chain(by_name).filter(|id| known.contains(id.as_str())) {
            found.entry(id).or_default().insert(format!("`{name}` ({place})"));
        }
    }
    assert!(unseen.is_empty(), "no test has these names any more: {unseen:?}");
    found
}

/// File and name of every test of this repository.
fn tests() -> Vec<(String, String)> {
    let mut tests = Vec::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be read").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&path).expect("source is text");
                let place = path.strip_prefix(root()).expect("it is below").display().to_string();
                tests.extend(names(&text).into_iter().map(|name| (place.clone(), name)));
            }
        }
    }
    tests.sort();
    tests
}

/// Functions with a test attribute in the lines before them.
fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(rest) =
            line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn "))
            && std::mem::take(&mut is_test)
        {
            names.extend(rest.split('(').next().map(str::to_owned));
        }
    }
    names
}

fn page(found: &BTreeMap<String, BTreeSet<String>>) -> String {
    let n_tried = CASES.iter().filter(|(id, _)| found.contains_key(*id)).count();
    let mut page = format!(
        "# Security tests\n\n\
         Which hostile cases a test tries, and which are skipped. Written by `tests/security.rs` from the names of\n\
         tests; `FLAGOPS_UPDATE=1 cargo test --test security` writes it anew. CI fails when a test fails, so what is\n\
         tried here is survived.\n\n\
         {n_tried} of {} cases are tried.\n\n\
         | case | about | tests |\n|---|---|---|\n",
        CASES.len()
    );
    for (id, what) in CASES {
        let Some(tests) = found.get(*id) else { continue };
        let tests: Vec<_> = tests.iter().map(String::as_str).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| {id} | {what} | {} |", tests.join("<br>"));
    }
    page.push_str("\n## Skipped\n\n| case | about | why |\n|---|---|---|\n");
    for (id, why) in SKIPPED.iter().filter(|(id, _)| !found.contains_key(*id)) {
        let what = CASES.iter().find(|(case, _)| case == id).map_or("", |(_, what)| what);
        let _ = writeln!(page, "| {id} | {what} | {why} |");
    }
    page
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
