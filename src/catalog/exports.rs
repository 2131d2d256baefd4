//! Reads `exports` of `metadata.yaml`: files of built images, or of running services, that players
//! may download.
//!
//! In:  the file as written, what runs, the attachments. Out: what can be exported, and findings.
//!
//! # Invariants
//! * A name that passes is no path out of a folder, and no other file that players get has it.
//! * A path that passes is absolute and climbs nowhere; whether the image has it, the build shows.

use super::decode::{Report, shown};
use super::names;
use super::rules;
use super::spanned::{Map, Node};
use crate::model::compose::{ROTATOR, Service};
use crate::model::{Attachment, ContainerRuntime, Export};

/// Every key of an entry.
pub(super) const KEYS: &[&str] = &["service", "path", "as", "per_team"];
/// Most files of one challenge.
const MAX_EXPORTS: usize = 16;
const MAX_PATH_BYTES: usize = 1024;
const MAX_NAME_BYTES: usize = 255;
/// Services whose files are for no player.
const PRIVATE: &[&str] = &[ROTATOR, "openvpn"];

/// What a challenge runs, as far as it could be read.
pub(super) enum Runs<'a> {
    /// These services.
    These(&'a [Service]),
    /// Nothing.
    Nothing,
    /// The file that says so is wrong, which is reported there.
    Unknown,
}

/// Reads the list.
pub(super) fn read(
    metadata: &Map,
    runs: &Runs<'_>,
    runtime: ContainerRuntime,
    attachments: &[Attachment],
    report: &mut Report,
) -> Vec<Export> {
    let Some(entry) = metadata.get("exports").filter(|entry| !entry.value.is_null()) else {
        return Vec::new();
    };
    let Some(items) = report.list(rules::META026, "exports", &entry.value) else {
        return Vec::new();
    };
    if items.len() > MAX_EXPORTS {
        let message = format!("`exports` has {} items, more than {MAX_EXPORTS}", items.len());
        let hint = "pack several files into an archive when the image is built";
        report.refuse(rules::META026, entry.value.span, message, hint);
    }
    let mut taken: Vec<String> =
        attachments.iter().map(|file| names::folded(file.public_name())).collect();
    let mut exports = Vec::new();
    for (nth, item) in items.iter().enumerate().take(MAX_EXPORTS) {
        if let Some(export) = one(nth, item, runs, report)
            && is_within_reach(nth, item, &export, runtime, report)
            && is_free(nth, item, &export, &taken, report)
        {
            taken.push(names::folded(&export.name));
            exports.push(export);
        }
    }
    exports
}

fn one(nth: usize, item: &Node, runs: &Runs<'_>, report: &mut Report) -> Option<Export> {
    let what = |key: &str| format!("exports[{nth}].{key}");
    let map = report.map(rules::META026, &format!("exports[{nth}]"), item)?;
    report.only_keys(rules::META026, &format!("`exports[{nth}]`"), map, KEYS);
    let mut field = |key: &str| {
        let Some(entry) = map.get(key) else {
            let message = format!("`{}` is missing", what(key));
            let hint = "write `{service: …, path: /…, as: …}`";
            report.refuse(rules::META026, item.span, message, hint);
            return None;
        };
        let text = report.text(rules::META026, &what(key), &entry.value)?;
        Some((text, entry.value.span))
    };
    let (service, path, name) = (field("service"), field("path"), field("as"));
    let per_team = map.get("per_team").filter(|entry| !entry.value.is_null());
    let is_per_team = per_team
        .and_then(|entry| report.boolean(rules::META026, &what("per_team"), &entry.value))
        .unwrap_or_default();
    let ((service, service_at), (path, path_at), (name, name_at)) = (service?, path?, name?);
    let mut is_fine = true;
    let mut refuse = |at, key: &str, text: &str, fault: &str, hint: &str| {
        let message = format!("`{}`, `{}`, {fault}", what(key), shown(text));
        report.refuse(rules::META026, at, message, hint.to_owned());
        is_fine = false;
    };
    if let Some((fault, hint)) = service_fault(&service, runs) {
        refuse(service_at, "service", &service, fault, &hint);
    }
    if let Some(fault) = path_fault(&path) {
        refuse(path_at, "path", &path, fault, "write an absolute path such as `/srv/chal`");
    }
    if let Some(fault) = name_fault(&name) {
        refuse(name_at, "as", &name, fault, "write a plain name such as `chal`");
    }
    if is_per_team && let Some((fault, hint)) = unwritten(&service, &path, runs) {
        refuse(path_at, "path", &path, fault, hint);
    }
    let service = service.parse().ok()?;
    is_fine.then_some(Export { service, path, name, is_per_team })
}

/// Why the image of this service cannot be exported from, and what to do.
fn service_fault(name: &str, runs: &Runs<'_>) -> Option<(&'static str, String)> {
    if PRIVATE.contains(&name) {
        return Some(("holds what is for no player", "name the service that is attacked".into()));
    }
    match runs {
        Runs::These(services) if services.iter().any(|it| it.name.as_str() == name) => None,
        Runs::These(services) => {
            let known: Vec<&str> = services.iter().map(|it| it.name.as_str()).collect();
            Some(("is no service", super::decode::suggestion(name, &known)))
        }
        Runs::Nothing => Some(("is no service", "add a `docker-compose.yml` with it".into())),
        Runs::Unknown => None,
    }
}

/// Why no file that this service writes can be taken from there, and what to do.
fn unwritten(name: &str, path: &str, runs: &Runs<'_>) -> Option<(&'static str, &'static str)> {
    let Runs::These(services) = runs else { return None };
    let service = services.iter().find(|it| it.name.as_str() == name)?;
    let is_below = |target: &str| {
        path.strip_prefix(target.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
    };
    if service.tmpfs.iter().any(|it| is_below(&it.target)) {
        return Some(("is on a tmpfs, which cannot be read from outside", "write it elsewhere"));
    }
    let is_kept = service.volumes.iter().any(|it| is_below(&it.target) && !it.is_read_only);
    (service.is_read_only && !is_kept)
        .then_some(("cannot be written by a `read_only` service", "write it to a named volume"))
}

fn path_fault(path: &str) -> Option<&'static str> {
    let Some(below) = path.strip_prefix('/') else { return Some("is not absolute") };
    if path.len() > MAX_PATH_BYTES {
        Some("has more than 1024 bytes")
    } else if path.chars().any(names::is_misleading) {
        Some("has a control or direction character")
    } else if below.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("has an empty part, `.` or `..`")
    } else if ["answers", "dev", "proc", "sys"].contains(&below.split('/').next()?) {
        Some("is in no image: it is made when a container starts")
    } else {
        None
    }
}

fn name_fault(name: &str) -> Option<&'static str> {
    if name.len() > MAX_NAME_BYTES {
        Some("has more than 255 bytes")
    } else if name.ends_with(".tpl") || name.ends_with(".age") {
        Some("ends as a template or an encrypted file does")
    } else {
        name.split('/').find_map(names::fault)
    }
}

/// Whether the engine can read what a service writes there.
fn is_within_reach(
    nth: usize,
    item: &Node,
    export: &Export,
    runtime: ContainerRuntime,
    report: &mut Report,
) -> bool {
    match runtime {
        ContainerRuntime::Runsc if export.is_per_team => {
            let message = format!(
                "`exports[{nth}]` is `per_team`, and what a service writes under `runtime: runsc` stays inside of gVisor"
            );
            let hint = "leave `instance.runtime` out, or serve the file yourself";
            report.refuse(rules::META026, item.span, message, hint);
            false
        }
        ContainerRuntime::Runsc | ContainerRuntime::Default => true,
    }
}

/// Whether players get no other file by this name, nor one below or above it.
fn is_free(
    nth: usize,
    item: &Node,
    export: &Export,
    taken: &[String],
    report: &mut Report,
) -> bool {
    let name = names::folded(&export.name);
    let is_below = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    let other = taken.iter().find(|it| **it == name || is_below(it, &name) || is_below(&name, it));
    let Some(other) = other else { return true };
    let message =
        format!("`exports[{nth}]` is downloaded as `{}`, and so is another file", shown(other));
    report.refuse(rules::META026, item.span, message, "choose another name in `as`");
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_paths_and_names_are_refused() {
        for path in [
            "",
            "srv/chal",
            "/",
            "//etc/passwd",
            "/a/../etc",
            "/a/./b",
            "/a/",
            "/a\nb",
            "/answers/flag",
            "/proc/1/environ",
            "/dev/sda",
            "\\\\host\\x",
        ] {
            assert!(path_fault(path).is_some(), "{path:?}");
        }
        for path in ["/srv/chal", "/a b/é", "/app/.hidden/x", "/procedures/x"] {
            assert_eq!(path_fault(path), None, "{path:?}");
        }
        for name in [
            "",
            "..",
            "../x",
            "/etc/passwd",
            "a//b",
            "a/../b",
            "C:\\x",
            "a\r\nSet-Cookie: x",
            "x\u{202e}fdp.exe",
            ".git/config",
            "a.tpl",
            "b.age",
            "a/",
        ] {
            assert!(name_fault(name).is_some(), "{name:?}");
        }
        for name in ["chal", "bin/chal.x86", "é"] {
            assert_eq!(name_fault(name), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_climbs_nowhere(path in "[/.a]{0,12}", name in "[/.a\\\\]{0,12}") {
            if path_fault(&path).is_none() {
                prop_assert!(path.starts_with('/'));
                prop_assert!(path[1..].split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
            if name_fault(&name).is_none() {
                prop_assert!(name.split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
        }
    }
}
