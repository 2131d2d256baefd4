//! Whole challenges: what authors write, and what is said about it.

mod compose;
mod folders;
mod metadata;
mod properties;

use crate::catalog::{Finding, Folder, Policy, Severity, load_one};
use crate::model::{Challenge, MemoryTree};

/// A `metadata.yaml` without faults: a web challenge with one minted answer.
const METADATA: &str = "\
name: Cookie jar
description: Read the admin's cookie.
difficulty: easy
tags: [web]
";

/// A `docker-compose.yml` without findings.
const COMPOSE: &str = "\
services:
  web:
    build: ./services/web
    ports: ['8080:80']
    deploy: {resources: {limits: {cpus: 0.5, memory: 128m}}}
";

/// A repository with one challenge `WEB/WEB-001`.
fn repository(metadata: &str, compose: &str) -> MemoryTree {
    MemoryTree::new()
        .with("WEB/WEB-001/metadata.yaml", metadata)
        .with("WEB/WEB-001/docker-compose.yml", compose)
        .with("WEB/WEB-001/services/web/Dockerfile", "FROM scratch\n")
        .with("WEB/WEB-001/services/flag-rotator/Dockerfile", "FROM scratch\n")
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
    let short: Vec<String> = folder
        .findings
        .iter()
        .map(|finding| match finding.severity {
            Severity::Error => format!("{}@{}", finding.rule, finding.line),
            Severity::Warning => format!("({}@{})", finding.rule, finding.line),
        })
        .collect();
    short.join(" ")
}
