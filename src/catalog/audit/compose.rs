//! What a compose file must say (COMPOSE).
//!
//! # Not here
//! Keys and values that cannot run (`catalog::compose`), health checks (`audit::health`).

#[cfg(test)]
mod tests;
pub(super) mod written;

use std::sync::LazyLock;

use regex::Regex;

use super::Subject;
use crate::catalog::decode::{Report, shown};
use crate::catalog::files::shown_path;
use crate::catalog::finding::Weight;
use crate::catalog::fix::limit;
use crate::catalog::quantity::{shown_bytes, shown_cpu};
use crate::catalog::rules;
use crate::catalog::spanned::{Map, Span};
use crate::model::TreeError;
use crate::model::compose::{Limits, ROTATOR};

const COMPOSE: &str = "docker-compose.yml";

/// Lines of a Dockerfile that put an answer into the image.
static BAKED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?mR)^\s*((?:ARG\s+|RUN\s+echo\s+["']?\$)ANSWER_[A-Z][A-Z0-9_]*)"#)
        .expect("the pattern is valid: every test runs it")
});

/// Judges the family.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    let Some(root) = subject.compose else { return Ok(()) };
    let file = subject.path(COMPOSE);
    let services = match root.get("services") {
        Some(entry) if entry.value.as_map().is_some() => entry,
        found => {
            let (at, message) = match found {
                Some(entry) => (
                    entry.key_span,
                    format!("`services` must be a mapping, this is {}", entry.value.kind()),
                ),
                None => (first_key(root), "there is no `services`, so nothing runs".to_owned()),
            };
            let hint = "write `services:` and below it a name for each service";
            report.at(Weight::Refusal, rules::COMPOSE001, file, at, message, hint);
            return Ok(());
        }
    };
    if let Some(version) = root.get("version") {
        let message = "the top-level key `version` is obsolete and has no effect";
        let at = version.key_span;
        report.at(Weight::Error, rules::COMPOSE002, file.clone(), at, message, "remove the line");
    }
    if !subject.services().any(|(_, service)| written::said(service, "ports").is_some()) {
        let message = "no service publishes a port, so players reach nothing";
        let hint = "add `ports: [\"8080\"]` to the service that players reach";
        let at = services.key_span;
        report.at(Weight::Error, rules::COMPOSE003, file, at, message, hint);
    }
    check_arguments(subject, report);
    check_limits(subject, report);
    check_strict(subject, report);
    check_dockerfiles(subject, report)
}

fn first_key(root: &Map) -> Span {
    root.entries.first().map_or(Span::default(), |entry| entry.key_span)
}

/// COMPOSE004: no Dockerfile takes an answer at build time.
fn check_dockerfiles(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    for (entry, service) in subject.services().filter(|(entry, _)| entry.key != ROTATOR) {
        let Some(build) = written::build(subject, &entry.key, service) else { continue };
        let path = build.path();
        let Some(text) = subject.text(&path)? else { continue };
        for found in BAKED.captures_iter(&text).filter_map(|found| found.get(1)) {
            let message = format!(
                "`{}` takes an answer at build time: it would be the same in every instance, and \
                 everybody can read it in the image",
                shown(first_line(found.as_str()))
            );
            let hint = "read the file `/answers/<id>` when the service needs it";
            let at = place(&text, found.start());
            let path = shown_path(&subject.path(&path));
            report.at(Weight::Error, rules::COMPOSE004, path, at, message, hint);
        }
    }
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Line and column of byte `offset`.
fn place(text: &str, offset: usize) -> Span {
    let before = text.get(..offset).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let count = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
    Span {
        start: offset,
        end: offset,
        line: count(before.matches('\n').count()),
        column: count(before.get(line_start..).unwrap_or_default().chars().count()),
    }
}

/// COMPOSE005: no build argument carries an answer.
fn check_arguments(subject: &Subject<'_>, report: &mut Report) {
    for (_, service) in subject.services() {
        let Some(args) = written::below(service, "build").and_then(|build| build.get("args"))
        else {
            continue;
        };
        for (key, at) in written::keys(&args.value) {
            let key = key.trim();
            if key.starts_with("ANSWER_") {
                let message = format!(
                    "the build argument `{}` would put an answer into the image",
                    shown(key)
                );
                let hint = "remove it, and read the file `/answers/<id>` when it is needed";
                let path = subject.path(COMPOSE);
                report.at(Weight::Refusal, rules::COMPOSE005, path, at, message, hint);
            }
        }
    }
}

/// HARDEN024: where a challenge is `strict`, each service that players may get into says who it runs as,
/// and that is not root. What an image says cannot be seen here.
fn check_strict(subject: &Subject<'_>, report: &mut Report) {
    let profile = subject
        .metadata
        .and_then(|metadata| written::below(metadata, "instance"))
        .and_then(|instance| instance.get("profile"));
    if profile.and_then(|entry| written::text(&entry.value)) != Some("strict") {
        return;
    }
    for (entry, service) in subject.services().filter(|(entry, _)| entry.key != ROTATOR) {
        let user = service.get("user").and_then(|user| user.value.as_scalar());
        let name = user.map_or("", |user| user.text.split(':').next().unwrap_or_default().trim());
        if !matches!(name, "" | "root" | "0") {
            continue;
        }
        let message = format!(
            "the challenge is `strict`, and the service `{}` may run as root",
            shown(&entry.key)
        );
        let hint = "write `user: \"1000:1000\"`, or another that is not root";
        let (path, at) = (subject.path(COMPOSE), entry.key_span);
        report.at(Weight::Error, rules::HARDEN024, path, at, message, hint);
    }
}

/// COMPOSE006: every service says how much it may take.
fn check_limits(subject: &Subject<'_>, report: &mut Report) {
    for (entry, service) in subject.services() {
        let limits = written::below(service, "deploy")
            .and_then(|deploy| written::below(deploy, "resources"))
            .and_then(|resources| written::below(resources, "limits"));
        let lacks = |key: &str| {
            limits.and_then(|limits| limits.get(key)).is_none_or(|entry| {
                entry.value.is_null() || written::text(&entry.value) == Some("")
            })
        };
        let missing: Vec<&str> = ["cpus", "memory"].into_iter().filter(|key| lacks(key)).collect();
        if missing.is_empty() {
            continue;
        }
        let used: Vec<String> = missing.iter().map(|key| used(subject, service, key)).collect();
        let names: Vec<String> = missing.iter().map(|key| format!("`{key}`")).collect();
        let message = format!(
            "the service `{}` lacks {} below `deploy.resources.limits`",
            shown(&entry.key),
            names.join(" and ")
        );
        let hint = format!(
            "{}; until then the service gets {}",
            what_to_add(subject, &entry.key, service, &missing),
            used.join(" and ")
        );
        let (path, at) = (subject.path(COMPOSE), entry.key_span);
        report.at(Weight::Error, rules::COMPOSE006, path, at, message, hint);
    }
}

/// The limits that are missing, as they are written at the place that is there already; the
/// numbers are those of `--fix`.
fn what_to_add(subject: &Subject<'_>, name: &str, service: &Map, missing: &[&str]) -> String {
    let values: Vec<String> = missing
        .iter()
        .map(|key| {
            let value = limit(name, service, key, subject.policy);
            format!("{key}: {}", value.unwrap_or_else(|_| "…".to_owned()))
        })
        .collect();
    let values = values.join(", ");
    let deploy = written::below(service, "deploy");
    let resources = deploy.and_then(|deploy| written::below(deploy, "resources"));
    let limits = resources.and_then(|resources| written::below(resources, "limits"));
    match (deploy, resources, limits) {
        (_, _, Some(_)) => format!("add `{values}` to its `deploy.resources.limits`"),
        (_, Some(_), None) => format!("add `limits: {{{values}}}` to its `deploy.resources`"),
        (Some(_), None, None) => {
            format!("add `resources: {{limits: {{{values}}}}}` to its `deploy`")
        }
        (None, ..) => format!("add `deploy: {{resources: {{limits: {{{values}}}}}}}`"),
    }
}

/// What stands in for a limit that is missing.
fn used(subject: &Subject<'_>, service: &Map, key: &str) -> String {
    let short = if key == "memory" { "mem_limit" } else { "cpus" };
    if written::said(service, short).is_some() {
        return format!("what its `{short}` says");
    }
    let defaults = Limits::default();
    if key == "memory" {
        let bytes = defaults.memory_bytes.min(subject.policy.max_memory_bytes);
        format!("`memory` {}", shown_bytes(bytes))
    } else {
        let millis = defaults.cpu_millis.min(subject.policy.max_cpu_millis);
        format!("`cpus` {}", shown_cpu(millis))
    }
}
