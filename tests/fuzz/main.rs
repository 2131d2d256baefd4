//! No input makes the checker panic, hang or take the machine: seeds, and thousands of mutations of
//! them, the same in every run.
//!
//! In:  every example of the rule table that fits a target, `fuzz/corpus/`, and [`hostile`] inputs
//! that were made to be slow or large. `cargo fuzz run TARGET` looks further (`fuzz/README.md`).
//!
//! # Invariants
//! * A file that once broke something stays in `fuzz/corpus/`.

mod hostile;
#[path = "../seeded/rng.rs"]
mod rng;
mod targets;
mod trust;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::{Duration, Instant};

use flagops::catalog::rules::{self, What};

use crate::rng::Rng;
use crate::targets::{TARGETS, Target, check, named};

/// Mutations of each seed.
const MUTATIONS: u64 = 12;
/// Longest look at one input. A release build has a second (`make bench` shows how much it needs);
/// a debug build on a machine with other work is a few times slower.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most memory of the process after everything.
const MAX_RSS_KIB: u64 = 256 << 10;

/// Bytes that files of authors are made of; they join what random bytes rarely join.
const TOKENS: &[&str] = &[
    "\n",
    "\r\n",
    "\t",
    "- ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "|\n",
    ">\n",
    "\"",
    "'",
    "#",
    "FLAG{",
    "{{",
    "}}",
    "{%",
    "%}",
    "\\",
    "/*",
    "*/",
    "<!--",
    "<?php",
    "?>",
    "<template>",
    "\u{feff}",
    "\u{202e}",
    "é",
    "\0",
    "<<EOF",
    "FROM ",
    "ARG ",
    "$X",
    "${",
    "\"\"\"",
    "(",
    ")",
    "lambda ",
    "/api/x",
    "ANSWER_FLAG",
    "/answers/flag",
    "services:",
    "questions:",
    "~",
    "null",
    "0x",
    "1e999",
];

#[test]
fn no_mutation_of_a_seed_breaks_an_invariant() {
    for target in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "`{}` has no seeds", target.name);
        for (nth, seed) in seeds.iter().enumerate() {
            look(target, seed);
            for round in 0..MUTATIONS {
                let mut rng = Rng::new(round * 7919 + nth as u64);
                look(target, &mutated(seed, &seeds, &mut rng));
            }
        }
    }
}

#[test]
fn hostile_inputs_are_refused_within_limits() {
    for (name, target, bytes) in hostile::inputs() {
        let target = named(target);
        let begin = Instant::now();
        look(target, &bytes);
        let took = begin.elapsed();
        assert!(took < PATIENCE, "{name}: {took:?}");
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    let peak: u64 = peak.expect("Linux counts it");
    assert!(peak < MAX_RSS_KIB, "{peak} KiB at the peak");
}

#[test]
fn no_mutation_of_a_signed_object_or_of_a_keyring_breaks_an_invariant() {
    const MUTATIONS_OF_SIGNED: u64 = 200;
    for (name, _) in trust::TARGETS {
        let (check, seeds) = (trust::named(name), corpus(name));
        assert!(!seeds.is_empty(), "`{name}` has no seeds");
        for (nth, seed) in seeds.iter().enumerate() {
            for round in 0..MUTATIONS_OF_SIGNED {
                let mut rng = Rng::new(round * 7919 + nth as u64);
                let bytes = mutated(seed, &seeds, &mut rng);
                let done = std::panic::catch_unwind(AssertUnwindSafe(|| check(&bytes)));
                let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]);
                assert!(done.is_ok(), "`{name}` broke (add it to fuzz/corpus): {shown:?}");
            }
        }
    }
}

/// Checks `bytes`; a failure shows them.
fn look(target: &Target, bytes: &[u8]) {
    let done = std::panic::catch_unwind(AssertUnwindSafe(|| check(target, bytes)));
    if done.is_err() {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]);
        panic!(
            "`{}` broke on {} bytes (add them to fuzz/corpus): {shown:?}",
            target.name,
            bytes.len()
        );
    }
}

/// What is in the corpus, and every example with a file at the target's path.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let examples = rules::all().flat_map(|rule| [rule.bad, rule.good]);
    let mut seeds: Vec<Vec<u8>> = examples
        .flat_map(|example| example.base.files().iter().chain(example.files))
        .filter(|file| file.path == target.path || extension(file.path) == extension(target.path))
        .filter_map(|file| match file.what {
            What::Text(text) => Some(text.as_bytes().to_vec()),
            _ => None,
        })
        .collect();
    seeds.extend(corpus(target.name));
    seeds.sort();
    seeds.dedup();
    seeds
}

/// What is kept for the target `name`, sorted.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut seeds: Vec<Vec<u8>> =
        entries.map(|entry| std::fs::read(entry.path()).expect("the corpus can be read")).collect();
    seeds.sort();
    seeds
}

/// The end of a name, unless it is that of every YAML file.
fn extension(path: &str) -> Option<&str> {
    path.rsplit_once('.').map(|(_, end)| end).filter(|end| !matches!(*end, "yaml" | "yml"))
}

/// `seed` with a few bytes changed, cut out, doubled, or joined with tokens and other seeds.
fn mutated(seed: &[u8], others: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + 1 + rng.below(30)).min(bytes.len());
        match rng.below(6) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(rng.below(256)).expect("a byte"),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].repeat(1 + rng.below(40));
                bytes.splice(at..at, copy).for_each(drop);
            }
            3 => {
                let other = rng.pick(others);
                let from = rng.below(other.len() + 1);
                bytes.splice(at..end, other[from..].iter().copied()).for_each(drop);
            }
            _ => {
                let token = *rng.pick(TOKENS);
                bytes.splice(at..at, token.bytes()).for_each(drop);
            }
        }
    }
    bytes.truncate(300_000);
    bytes
}
