//! `volumes` and `tmpfs`: storage that is private to the instance, and nothing of the node.
//!
//! A mount of a named volume below `/answers` is no storage but a wish for an answer file.

use super::networks::is_name;
use super::one_or_many;
use crate::catalog::decode::{Report, shown};
use crate::catalog::names;
use crate::catalog::quantity;
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Node, Span};
use crate::model::compose::VolumeMount;

const MAX_VOLUMES: usize = 20;
const ANSWERS: &str = "/answers";
const LONG_KEYS: &[&str] =
    &["type", "source", "target", "read_only", "consistency", "volume", "tmpfs"];
/// Size of a tmpfs that names none.
const DEFAULT_TMPFS: u64 = 64 << 20;

/// Everything that a service mounts.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Named and anonymous volumes.
    pub volumes: Vec<VolumeMount>,
    /// tmpfs mounts: target, size, place.
    pub tmpfs: Vec<(String, u64, Span)>,
    /// Answer files.
    pub answers: Vec<Wanted>,
    /// Every named volume with its place.
    pub uses: Vec<(String, Span)>,
    targets: Vec<String>,
}

/// A wish for answer files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of them.
    Whole,
    /// The one of this question.
    One(String),
}

/// Whether mounts below `/answers` are wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerMounts {
    /// In every consumer.
    AreWishes,
    /// In `flag-rotator`, which writes them.
    AreStorage,
}

/// Reads the top-level `volumes`.
pub(super) fn declared(entry: Option<&Entry>, report: &mut Report) -> Vec<String> {
    let Some(entry) = entry.filter(|entry| !entry.value.is_null()) else { return Vec::new() };
    let Some(map) = report.map(rules::COMPOSE007, "volumes", &entry.value) else {
        return Vec::new();
    };
    if map.entries.len() > MAX_VOLUMES {
        let message = format!("{} volumes are more than {MAX_VOLUMES}", map.entries.len());
        report.refuse(rules::HARDEN016, entry.key_span, message, "use fewer");
        return Vec::new();
    }
    for volume in &map.entries {
        if !is_name(&volume.key) {
            let message = format!("`{}` is no name of a volume", shown(&volume.key));
            report.refuse(rules::COMPOSE007, volume.key_span, message, "use letters and digits");
        }
        if !volume.value.is_null()
            && let Some(map) = report.map(rules::COMPOSE007, &shown(&volume.key), &volume.value)
        {
            check_declaration(map, report);
        }
    }
    map.entries.iter().map(|volume| volume.key.clone()).collect()
}

fn check_declaration(map: &Map, report: &mut Report) {
    for entry in &map.entries {
        let key = entry.key.as_str();
        let is_false = entry.value.as_scalar().is_some_and(|scalar| scalar.text == "false");
        match key {
            "labels" => {
                let message = "`labels` of a volume have no effect";
                report.warning(rules::HARDEN022, entry.key_span, message, "remove them");
            }
            "external" if is_false => (),
            "driver" | "driver_opts" | "external" | "name" => {
                let message = format!(
                    "`{key}` of a volume is not allowed: volumes are private to the instance"
                );
                report.refuse(rules::HARDEN008, entry.key_span, message, "leave the volume empty");
            }
            _ if key.starts_with("x-") => (),
            _ => report.unknown_key(rules::COMPOSE008, "a volume", entry, &["labels"]),
        }
    }
}

impl Mounts {
    /// Adds what `volumes` of a service says.
    pub(super) fn read_volumes(&mut self, node: &Node, mode: AnswerMounts, report: &mut Report) {
        for item in report.list(rules::COMPOSE007, "volumes", node).unwrap_or_default() {
            let mount = match item.as_map() {
                Some(map) => self.long(map, item, report),
                None => short(item, report),
            };
            if let Some(mount) = mount {
                self.add(mount, mode, report);
            }
        }
    }

    /// Adds what `tmpfs` says.
    pub(super) fn read_tmpfs(&mut self, node: &Node, report: &mut Report) {
        for (item, text) in one_or_many("tmpfs", node, report) {
            let (target, options) = text.split_once(':').unwrap_or((&text, ""));
            let mut size = DEFAULT_TMPFS;
            for option in options.split(',').filter(|option| !option.is_empty()) {
                match option.split_once('=').unwrap_or((option, "")) {
                    ("size", text) => size = tmpfs_size(text, item.span, report).unwrap_or(size),
                    ("rw" | "nosuid" | "nodev" | "noexec", "") => (),
                    ("mode" | "uid" | "gid" | "exec" | "ro", _) => {
                        let message = format!("the tmpfs option `{}` has no effect", shown(option));
                        report.warning(rules::HARDEN022, item.span, message, "remove it");
                    }
                    _ => {
                        let message = format!("there is no tmpfs option `{}`", shown(option));
                        report.refuse(rules::COMPOSE007, item.span, message, "use `size=64m`");
                    }
                }
            }
            self.add_tmpfs(target, size, item.span, report);
        }
    }

    fn add_tmpfs(&mut self, target: &str, size: u64, at: Span, report: &mut Report) {
        let Some(target) = self.target(target, at, report) else { return };
        if target == ANSWERS || target.starts_with("/answers/") {
            refuse_answers(&target, at, report);
            return;
        }
        self.tmpfs.push((target, size, at));
    }

    /// A checked target, once per service.
    fn target(&mut self, text: &str, at: Span, report: &mut Report) -> Option<String> {
        let target = match container_path(text) {
            Ok(target) => target,
            Err(fault) => {
                let message = format!("the mount target `{}` {fault}", shown(text));
                report.refuse(rules::HARDEN006, at, message, "mount at a folder such as `/data`");
                return None;
            }
        };
        if self.targets.contains(&target) {
            let message = format!("something is mounted at `{}` already", shown(&target));
            report.refuse(rules::COMPOSE007, at, message, "remove one of the two");
            return None;
        }
        self.targets.push(target.clone());
        Some(target)
    }

    fn add(&mut self, mount: Mount, mode: AnswerMounts, report: &mut Report) {
        let at = mount.at;
        let Some(target) = self.target(&mount.target, at, report) else { return };
        if let Some(source) = &mount.source {
            self.uses.push((source.clone(), at));
        }
        let below = target.strip_prefix("/answers/");
        if mode == AnswerMounts::AreWishes && (target == ANSWERS || below.is_some()) {
            let is_fine = mount.source.is_some()
                && match (below, &mount.subpath) {
                    (Some(id), Some(subpath)) => subpath == id,
                    (Some(id), None) => is_question_id(id),
                    (None, subpath) => subpath.is_none(),
                };
            match below {
                Some(id) if mount.subpath.as_ref().is_some_and(|it| it != id) => {
                    let subpath = shown(mount.subpath.as_deref().unwrap_or_default());
                    let message =
                        format!("`subpath: {subpath}` is not the question of `{}`", shown(&target));
                    let hint = format!("write `subpath: {}`, or remove it", shown(id));
                    report.refuse(rules::HARDEN006, at, message, hint);
                }
                _ if !is_fine => refuse_answers(&target, at, report),
                None => self.answers.push(Wanted::Whole),
                Some(id) => self.answers.push(Wanted::One(id.to_owned())),
            }
            return;
        }
        if mount.subpath.is_some() {
            let message = "`subpath` is understood only for answers";
            let hint = "mount the whole volume, or an answer at `/answers/<id>`";
            report.refuse(rules::HARDEN006, at, message, hint);
            return;
        }
        self.volumes.push(VolumeMount {
            source: mount.source,
            target,
            is_read_only: mount.is_read_only,
        });
    }

    fn long(&mut self, map: &Map, item: &Node, report: &mut Report) -> Option<Mount> {
        let text = |key: &str, report: &mut Report| {
            let entry = map.get(key).filter(|entry| !entry.value.is_null())?;
            report.loose_text(rules::COMPOSE007, key, &entry.value)
        };
        let kind = text("type", report).unwrap_or_else(|| "volume".to_owned());
        let source = text("source", report);
        if kind != "volume" && kind != "tmpfs" {
            refuse_kind(&kind, source.as_deref(), item.span, report);
            return None;
        }
        report.only_keys(rules::COMPOSE008, "a mount", map, LONG_KEYS);
        let Some(target) = text("target", report) else {
            report.refuse(rules::COMPOSE007, item.span, "the mount has no `target`", "add it");
            return None;
        };
        let is_read_only = map
            .get("read_only")
            .and_then(|entry| report.boolean(rules::COMPOSE007, "read_only", &entry.value))
            .unwrap_or(false);
        let options = map.get(&kind).filter(|entry| !entry.value.is_null());
        if kind == "tmpfs" {
            let size = options.and_then(|entry| long_tmpfs_size(entry, report));
            self.add_tmpfs(&target, size.unwrap_or(DEFAULT_TMPFS), item.span, report);
            return None;
        }
        if let Some(source) = &source {
            check_source(source, item.span, report)?;
        }
        let subpath = options.and_then(|entry| volume_subpath(entry, report));
        Some(Mount { source, target, is_read_only, subpath, at: item.span })
    }
}

/// A volume as written.
struct Mount {
    source: Option<String>,
    target: String,
    is_read_only: bool,
    subpath: Option<String>,
    at: Span,
}

fn short(item: &Node, report: &mut Report) -> Option<Mount> {
    let text = report.loose_text(rules::COMPOSE007, "volumes", item)?;
    let at = item.span;
    // `C:\x:/e` has the colon of a drive: a path of a node, whatever follows.
    if text.contains('\\') {
        refuse_kind("bind", Some(&text), at, report);
        return None;
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => {
            refuse_kind("bind", Some(&text), at, report);
            return None;
        }
    };
    if let Some(source) = source {
        check_source(source, at, report)?;
    }
    let mut is_read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => is_read_only = true,
            "rw" | "nocopy" | "z" | "Z" | "consistent" | "cached" | "delegated" => (),
            _ => {
                let message = format!("the mount option `{}` is not allowed", shown(option));
                report.refuse(rules::HARDEN006, at, message, "use `ro` or nothing");
            }
        }
    }
    let source = source.map(str::to_owned);
    Some(Mount { source, target: target.to_owned(), is_read_only, subpath: None, at })
}

fn check_source(source: &str, at: Span, report: &mut Report) -> Option<()> {
    if source.starts_with(['/', '.', '~']) || source.contains(['/', '\\']) {
        refuse_kind("bind", Some(source), at, report);
        return None;
    }
    if !is_name(source) {
        let message = format!("`{}` is no name of a volume", shown(source));
        report.refuse(rules::COMPOSE007, at, message, "declare a volume, and use its name");
        return None;
    }
    Some(())
}

fn refuse_kind(kind: &str, source: Option<&str>, at: Span, report: &mut Report) {
    let source = source.unwrap_or_default();
    let message = if source.contains("docker.sock") {
        "the engine's socket is not allowed in a container: it is the node".to_owned()
    } else if kind == "bind" {
        format!("`{}` is a path of the node, which is never mounted", shown(source))
    } else {
        format!("mounts of type `{}` are not allowed", shown(kind))
    };
    let hint = "copy files in the Dockerfile; use a named volume for data";
    report.refuse(rules::HARDEN006, at, message, hint);
}

fn refuse_answers(target: &str, at: Span, report: &mut Report) {
    let message = format!("`{}` is where the platform puts answers", shown(target));
    let hint = "mount the answers volume at `/answers/<id>`, or write `x-answers: [<id>]`";
    report.refuse(rules::HARDEN006, at, message, hint);
}

/// Whether a question may have this id; whether one has, `audit::structure` says.
fn is_question_id(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn volume_subpath(entry: &Entry, report: &mut Report) -> Option<String> {
    let map = report.map(rules::COMPOSE007, "volume", &entry.value)?;
    report.only_keys(rules::COMPOSE008, "`volume`", map, &["nocopy", "subpath"]);
    let subpath = map.get("subpath").filter(|entry| !entry.value.is_null())?;
    report.loose_text(rules::COMPOSE007, "subpath", &subpath.value)
}

fn long_tmpfs_size(entry: &Entry, report: &mut Report) -> Option<u64> {
    let map = report.map(rules::COMPOSE007, "tmpfs", &entry.value)?;
    report.only_keys(rules::COMPOSE008, "`tmpfs`", map, &["size", "mode"]);
    if let Some(mode) = map.get("mode") {
        let message = "`mode` of a tmpfs has no effect";
        report.warning(rules::HARDEN022, mode.key_span, message, "remove it");
    }
    let size = map.get("size").filter(|entry| !entry.value.is_null())?;
    let text = report.loose_text(rules::COMPOSE007, "size", &size.value)?;
    tmpfs_size(&text, size.value.span, report)
}

fn tmpfs_size(text: &str, at: Span, report: &mut Report) -> Option<u64> {
    let size = quantity::bytes(text).filter(|size| *size > 0);
    if size.is_none() {
        let message = format!("the size of a tmpfs cannot be `{}`", shown(text));
        report.refuse(rules::COMPOSE007, at, message, "write e.g. `64m`");
    }
    size
}

/// `text` as an absolute path that may be mounted over, without empty parts.
pub(super) fn container_path(text: &str) -> Result<String, &'static str> {
    if !text.starts_with('/') {
        return Err("is not absolute");
    }
    if text.chars().any(names::is_misleading) || text.contains([':', ',']) || text.len() > 1024 {
        return Err("has a character that is not allowed");
    }
    let mut path = String::new();
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Err("may not have `..`");
        }
        path.push('/');
        path.push_str(part);
    }
    let top = path.split('/').nth(1).unwrap_or_default();
    match top {
        "" => Err("is the root of the container"),
        "dev" if path == "/dev/shm" => Ok(path),
        "proc" | "sys" | "dev" => Err("belongs to the kernel"),
        _ => Ok(path),
    }
}
