//! Whole challenges: what authors write, and what is said about it.

mod authors;
mod build;
mod compose;
mod folders;
mod gate;
mod hostile;
mod metadata;
mod properties;
mod templates;

use std::collections::BTreeMap;

use crate::catalog::rules::{Base, What};
use crate::catalog::{Finding, Folder, Policy, Severity, Weight, load_one};
use crate::model::{Challenge, MemoryTree};

/// A `metadata.yaml` without faults: a web challenge with one minted answer.
const METADATA: &str = "\
name: Cookie jar
description: Read the admin's cookie.
difficulty: easy
tags: [web]
";

/// A `docker-compose.yml` without findings, whatever the metadata asks for.
const COMPOSE: &str = "\
services:
  web:
    build: ./services/web
    ports: ['8080:80']
    deploy: {resources: {limits: {cpus: 0.5, memory: 128m}}}
    x-answers: []
    healthcheck: {test: [CMD, wget, -qO, /dev/null, 'http://127.0.0.1/']}
";

/// A reference exploit without findings.
const EXPLOIT: &str = "\
from ctfy.challenge.exploit import ExploitBase, run_exploit


class Exploit(ExploitBase):
    def run(self) -> dict[str, str]:
        return {\"flag\": self.match_flag(self.session.get(self.base_url).text)}


if __name__ == \"__main__\":
    run_exploit(Exploit)
";

/// A repository with one challenge `WEB/WEB-001`.
fn repository(metadata: &str, compose: &str) -> MemoryTree {
    MemoryTree::new()
        .with("WEB/WEB-001/metadata.yaml", metadata)
        .with("WEB/WEB-001/docker-compose.yml", compose)
        .with("WEB/WEB-001/services/web/Dockerfile", "FROM scratch AS final\nCMD [\"/server\"]\n")
        .with("WEB/WEB-001/services/flag-rotator/Dockerfile", "FROM scratch\nCMD [\"/server\"]\n")
        .with("WEB/WEB-001/solution/exploit.py", EXPLOIT)
}

/// A change to the files of a [`Base`].
#[derive(Clone, Copy)]
pub(super) enum Edit {
    /// This text stands in this file instead of that one; it must be there.
    Replace(&'static str, &'static str, &'static str),
    /// This file is added, or has this content.
    Put(&'static str, &'static str),
    /// This file, or everything below this folder, is gone.
    Drop(&'static str),
}

/// The challenge of `base` with `edits`, in a repository of its own.
pub(super) fn edited(base: Base, edits: &[Edit]) -> MemoryTree {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for file in base.files() {
        let What::Text(text) = file.what else { panic!("a base has texts only: {}", file.path) };
        files.insert(file.path, text.to_owned());
    }
    for edit in edits {
        match edit {
            Edit::Replace(path, from, to) => {
                let text = files.get_mut(path).unwrap_or_else(|| panic!("no file {path}"));
                assert!(text.contains(from), "{path} has no {from:?}:\n{text}");
                *text = text.replace(from, to);
            }
            Edit::Put(path, text) => {
                files.insert(path, (*text).to_owned());
            }
            Edit::Drop(path) => {
                files.retain(|name, _| !super::files::is_below(path, name));
            }
        }
    }
    files.into_iter().fold(MemoryTree::new(), |tree, (path, text)| {
        tree.with(&format!("{}/{path}", base.folder()), text)
    })
}

/// `RULE file:line`, one per line, of what the families `prefixes` say about the challenge of
/// `base`: what blocks with `!`, a warning in parentheses.
pub(super) fn verdict(base: Base, edits: &[Edit], prefixes: &[&str]) -> String {
    let folder = load_one(&edited(base, edits), base.folder(), &Policy::default()).unwrap();
    let is_asked = |it: &&Finding| prefixes.iter().any(|prefix| it.rule.starts_with(prefix));
    let lines: Vec<String> = folder
        .findings
        .iter()
        .filter(is_asked)
        .map(|it| {
            let file = it.path.strip_prefix(base.folder()).unwrap_or(&it.path);
            let place = format!("{} {}:{}", it.rule, file.trim_start_matches('/'), it.line);
            match it.weight() {
                Weight::Refusal => format!("{place} !"),
                Weight::Error => place,
                Weight::Warning => format!("({place})"),
            }
        })
        .collect();
    lines.join("\n")
}

fn read(tree: &MemoryTree) -> Folder {
    load_one(tree, "WEB/WEB-001", &Policy::default()).unwrap()
}

/// Reads and wants no error.
fn valid(metadata: &str, compose: &str) -> Challenge {
    let folder = read(&repository(metadata, compose));
    match folder.challenge {
        Some(challenge) => challenge.as_ref().clone(),
        None => panic!("{}\n{compose}", lines(&folder)),
    }
}

/// One line per finding: file, place, severity, rule, message.
fn lines(folder: &Folder) -> String {
    let line = |finding: &Finding| {
        let path = finding.path.strip_prefix("WEB/WEB-001").unwrap_or(&finding.path);
        format!(
            "{}:{}:{} {} {} {}\n",
            path.strip_prefix('/').unwrap_or(path),
            finding.line,
            finding.column,
            finding.severity,
            finding.rule,
            finding.message
        )
    };
    folder.findings.iter().map(line).collect()
}

/// `RULE@line` of every finding, errors plain and warnings in parentheses.
fn short(folder: &Folder) -> String {
    short_without(folder, &[])
}

/// As [`short`], but without findings of the rules `left_out`.
fn short_without(folder: &Folder, left_out: &[&str]) -> String {
    let short: Vec<String> = folder
        .findings
        .iter()
        .filter(|finding| !left_out.contains(&finding.rule.as_str()))
        .map(|finding| match finding.severity {
            Severity::Error => format!("{}@{}", finding.rule, finding.line),
            Severity::Warning => format!("({}@{})", finding.rule, finding.line),
        })
        .collect();
    short.join(" ")
}
