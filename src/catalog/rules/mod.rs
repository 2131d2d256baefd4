//! Every rule: what it finds, why it matters, how to mend it, and a pair of examples.
//!
//! One table for everybody: `flagops check --explain`, the pages of `docs/rules/`, the descriptions
//! in SARIF, and the tests that read every example.
//!
//! # Invariants
//! * An id is never used for something else later.
//! * The bad example of a rule has a finding of it, the good one has none (`rules/tests.rs`).
//!
//! # Not here
//! The rules' code (`metadata`, `compose`, `audit`, …).

mod allow;
mod base;
mod build;
mod compose;
mod event;
mod exploit;
mod harden;
mod health;
mod ids;
mod leak;
mod meta;
mod net;
pub mod page;
mod repo;
mod secret;
mod source;
mod structure;
mod template;
#[cfg(test)]
mod tests;

pub use base::Base;
pub use ids::*;

use super::finding::Weight;

/// One rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its stable id, e.g. `META005`.
    pub id: &'static str,
    /// What a finding of it usually means; a few have lighter ones too.
    pub weight: Weight,
    /// What it finds: a sentence without a dot.
    pub summary: &'static str,
    /// Why it matters: whole sentences.
    pub why: &'static str,
    /// How to mend it: whole sentences.
    pub fix: &'static str,
    /// A challenge that breaks it.
    pub bad: Example,
    /// The same challenge, mended.
    pub good: Example,
}

/// A challenge: a base, and what differs from it.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// The challenge around the files; it has no findings itself.
    pub base: Base,
    /// What is added, replaced or taken away. These are shown to people.
    pub files: &'static [File],
}

/// One file of an example.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Path inside the challenge folder; with a leading `/` inside the repository. `{0..3}` in it
    /// stands for as many files of the same content.
    pub path: &'static str,
    /// What is there.
    pub what: What,
}

/// What is at a path of an example.
#[derive(Debug, Clone, Copy)]
pub enum What {
    /// A regular file.
    Text(&'static str),
    /// A regular file that is no text.
    Bytes(&'static [u8]),
    /// A symbolic link and its target.
    Link(&'static str),
    /// A submodule.
    Submodule,
    /// Nothing, although the base has something there.
    Absent,
}

/// A text file of an example.
const fn text(path: &'static str, content: &'static str) -> File {
    File { path, what: What::Text(content) }
}

/// A file of the base that an example goes without.
const fn absent(path: &'static str) -> File {
    File { path, what: What::Absent }
}

/// The tables of all families, in the order of the documentation.
const FAMILIES: &[(Family, &[Rule])] = &[
    (Family { prefix: "META", title: "Metadata" }, meta::RULES),
    (Family { prefix: "STRUCT", title: "Structure of the folder" }, structure::RULES),
    (Family { prefix: "COMPOSE", title: "Compose file" }, compose::RULES),
    (Family { prefix: "HEALTH", title: "Health checks" }, health::RULES),
    (Family { prefix: "NET", title: "Engagement networks" }, net::RULES),
    (Family { prefix: "EXPLOIT", title: "Reference exploit" }, exploit::RULES),
    (Family { prefix: "SOURCE", title: "Sources that players can read" }, source::RULES),
    (Family { prefix: "HARDEN", title: "What no challenge may do" }, harden::RULES),
    (Family { prefix: "BUILD", title: "Dockerfiles" }, build::RULES),
    (Family { prefix: "TEMPLATE", title: "Templates of attachments" }, template::RULES),
    (Family { prefix: "LEAK", title: "Leaked answers" }, leak::RULES),
    (Family { prefix: "SECRET", title: "Encrypted files" }, secret::RULES),
    (Family { prefix: "REPO", title: "Repository" }, repo::RULES),
    (Family { prefix: "EVENT", title: "Competition files" }, event::RULES),
    (Family { prefix: "ALLOW", title: "Allowlist" }, allow::RULES),
];

/// Rules whose ids begin alike.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// What their ids begin with.
    pub prefix: &'static str,
    /// What they are about.
    pub title: &'static str,
}

/// Every family with its rules, in the order of the documentation.
pub fn families() -> impl Iterator<Item = (Family, &'static [Rule])> {
    FAMILIES.iter().copied()
}

/// Every rule.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    FAMILIES.iter().flat_map(|(_, rules)| rules.iter())
}

/// The rule with this id.
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id == id)
}

/// The rule whose id is meant by `word`, if one is near.
pub fn nearest(word: &str) -> Option<&'static Rule> {
    let word = word.to_uppercase();
    all()
        .map(|rule| (super::decode::distance(&word, rule.id), rule))
        .filter(|(distance, _)| *distance <= 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, rule)| rule)
}
