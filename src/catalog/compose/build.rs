//! `build` and `image`: where a service's image comes from.
//!
//! A context is a folder of the challenge, a Dockerfile a file of its context: nothing else of the
//! node or the network takes part.

use super::{Pair, interpolate, pairs};
use crate::catalog::decode::{Report, shown};
use crate::catalog::names;
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map};
use crate::model::compose::BuildSpec;

const KEYS: &[&str] = &["context", "dockerfile", "target", "args"];
const IGNORED: &[&str] = &["labels", "no_cache", "pull", "tags", "provenance", "sbom"];
const REFUSED: &[(&str, &str)] = &[
    ("network", "builds have no network of the node"),
    ("privileged", "it gives the build the host"),
    ("ssh", "it hands out keys of the node"),
    ("secrets", "it reads files of the node"),
    ("cache_from", "it reads images of others"),
    ("cache_to", "it writes outside the build"),
    ("extra_hosts", "it forges names"),
    ("entitlements", "it gives the build the host"),
    ("isolation", "the organizer chooses the isolation"),
    ("ulimits", "the limits of builds are ours"),
    ("shm_size", "the limits of builds are ours"),
    ("additional_contexts", "it reaches outside the context"),
    ("dockerfile_inline", "the Dockerfile must be a file that can be reviewed"),
    ("platforms", "the image is built for the node"),
    ("no_cache_filter", "the cache is ours"),
    (
        "per_team",
        "the cache of an engine does not tell builds apart by their secrets, so one team would get what was built for another",
    ),
];

/// Reads `build`.
pub(super) fn read(entry: &Entry, report: &mut Report) -> Option<BuildSpec> {
    let Some(map) = entry.value.as_map() else {
        let context = report.loose_text(rules::COMPOSE007, "build", &entry.value)?;
        return Some(BuildSpec {
            context: context_path(&context, entry, report)?,
            dockerfile: "Dockerfile".to_owned(),
            target: None,
            args: std::collections::BTreeMap::new(),
        });
    };
    check_keys(map, report);
    let context = match text(map, "context", report) {
        Some(context) => context_path(&context, map.get("context").unwrap_or(entry), report),
        None if map.get("context").is_some() => None,
        None => Some(String::new()),
    };
    let dockerfile = match text(map, "dockerfile", report) {
        Some(path) => dockerfile_path(&path, map.get("dockerfile").unwrap_or(entry), report),
        None => Some("Dockerfile".to_owned()),
    };
    let target = text(map, "target", report);
    let args = map.get("args").map(|args| args_of(args, report)).unwrap_or_default();
    Some(BuildSpec { context: context?, dockerfile: dockerfile?, target, args })
}

fn text(map: &Map, key: &str, report: &mut Report) -> Option<String> {
    let entry = map.get(key).filter(|entry| !entry.value.is_null())?;
    report.loose_text(rules::COMPOSE007, key, &entry.value)
}

fn check_keys(map: &Map, report: &mut Report) {
    for entry in &map.entries {
        let key = entry.key.as_str();
        if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
            let message = format!("`build.{key}` is not allowed: {why}");
            let hint = match key {
                "per_team" => {
                    "remove it, make the file from `/answers/` when the service starts, and hand it out by `exports: [{…, per_team: true}]`"
                }
                _ => "remove it",
            };
            report.refuse(rules::HARDEN014, entry.key_span, message, hint);
        } else if IGNORED.contains(&key) {
            let message = format!("`build.{key}` has no effect");
            report.warning(rules::HARDEN022, entry.key_span, message, "remove it");
        } else if !KEYS.contains(&key) && !key.starts_with("x-") {
            report.unknown_key(rules::COMPOSE008, "`build`", entry, KEYS);
        }
    }
}

fn context_path(text: &str, entry: &Entry, report: &mut Report) -> Option<String> {
    let is_remote = text.contains("://")
        || text.contains('#')
        || text.starts_with("git@")
        || text.starts_with("github.com/")
        || text.ends_with(".git")
        || text == "-";
    let fault = if is_remote {
        "is no folder of the challenge"
    } else {
        match inside(text) {
            Ok(path) => return Some(path),
            Err(fault) => fault,
        }
    };
    let message = format!("the build context `{}` {fault}", shown(text));
    let hint = "name a folder of the challenge such as `./services/web`";
    report.refuse(rules::HARDEN014, entry.value.span, message, hint);
    None
}

fn dockerfile_path(text: &str, entry: &Entry, report: &mut Report) -> Option<String> {
    let fault = match inside(text) {
        Ok(path) if path.is_empty() => "is no file",
        Ok(path) => return Some(path),
        Err(fault) => fault,
    };
    let message = format!("the Dockerfile `{}` {fault}", shown(text));
    report.refuse(rules::HARDEN014, entry.value.span, message, "name a file of the context");
    None
}

/// `text` as a path without `.` and empty parts; `Err` when it could leave its folder.
fn inside(text: &str) -> Result<String, &'static str> {
    if text.starts_with(['/', '~']) || text.contains(['\\', ':']) {
        return Err("is not a relative path");
    }
    let mut parts = Vec::new();
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Err("may not have `..`");
        }
        if names::fault(part).is_some() {
            return Err("has a name that is not allowed");
        }
        parts.push(part);
    }
    Ok(parts.join("/"))
}

fn args_of(entry: &Entry, report: &mut Report) -> std::collections::BTreeMap<String, String> {
    let mut args = std::collections::BTreeMap::new();
    if entry.value.is_null() {
        return args;
    }
    for Pair { key, value, at, .. } in pairs("args", &entry.value, report) {
        if interpolate::is_answer(key.trim()) {
            // Refused by `audit::compose` (COMPOSE005).
            continue;
        }
        if key.is_empty() || key.chars().any(|c| c.is_whitespace() || c.is_control()) {
            report.refuse(rules::COMPOSE007, at, "a build argument has no valid name", "name it");
        } else if let Some(value) = value {
            args.insert(key, value);
        } else {
            let message = format!("the build argument `{}` has no value", shown(&key));
            report.refuse(rules::COMPOSE010, at, message, "write `NAME: value`");
        }
    }
    args
}

/// Reads `image`.
pub(super) fn image(entry: &Entry, report: &mut Report) -> Option<String> {
    let text = report.loose_text(rules::COMPOSE007, "image", &entry.value)?;
    let name = text.split('@').next().unwrap_or_default();
    let name = name.rsplit_once('/').map_or(name, |(_, last)| last);
    let repository = name.split(':').next().unwrap_or_default();
    let is_fine = text.len() <= 255
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@+".contains(c))
        && !repository.is_empty()
        && !repository.chars().any(|c| c.is_ascii_uppercase())
        && !text.contains("//")
        && !text.ends_with([':', '/', '@']);
    if !is_fine {
        let message = format!("`{}` is no image reference", shown(&text));
        let hint = "write e.g. `nginx:1.27` or `registry.example/team/app@sha256:…`";
        report.refuse(rules::COMPOSE007, entry.value.span, message, hint);
        return None;
    }
    Some(text)
}
