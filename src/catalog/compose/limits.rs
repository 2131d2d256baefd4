//! Limits: what the author asks for, cut at the organizer's ceilings, never without a bound.

use super::Place;
use crate::catalog::decode::{Report, parse_integer, shown};
use crate::catalog::quantity::{bytes, cpu_millis, shown_bytes, shown_cpu};
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Node, Span};
use crate::model::compose::Limits;

const MIN_MEMORY: u64 = 6 << 20;
const MIN_CPU: u32 = 10;
const MAX_NOFILE: u32 = 65_536;
/// Names of ulimits beside `nofile`; their values are ours.
const OTHER_ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// What the author asks for, with places.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    memory: Option<(u64, Span)>,
    cpu: Option<(u32, Span)>,
    pids: Option<(i64, Span)>,
    shm: Option<(u64, Span)>,
    nofile: Option<(i64, i64, Span)>,
}

impl Wishes {
    /// Reads one of `mem_limit`, `cpus`, `pids_limit`, `shm_size`, `memory`, `pids`.
    pub(super) fn read_key(&mut self, entry: &Entry, report: &mut Report) {
        let at = entry.value.span;
        let Some(text) = report.loose_text(rules::COMPOSE007, &entry.key, &entry.value) else {
            return;
        };
        let fits = match entry.key.as_str() {
            "mem_limit" | "memory" => bytes(&text)
                .filter(|size| *size >= MIN_MEMORY)
                .map(|size| set(&mut self.memory, size, at, &entry.key, report)),
            "shm_size" => bytes(&text)
                .filter(|size| *size > 0)
                .map(|size| set(&mut self.shm, size, at, &entry.key, report)),
            "cpus" => cpu_millis(&text)
                .filter(|millis| *millis >= MIN_CPU)
                .map(|millis| set(&mut self.cpu, millis, at, &entry.key, report)),
            _ => parse_integer(&text)
                .filter(|number| *number >= -1)
                .map(|number| set(&mut self.pids, number, at, &entry.key, report)),
        };
        if fits.is_none() {
            let message = format!("`{}` cannot be `{}`", entry.key, shown(&text));
            let hint = match (entry.key.as_str(), with_unit(&text)) {
                ("cpus", _) => "write at least `0.01`".to_owned(),
                ("pids" | "pids_limit", _) => "write a whole number".to_owned(),
                (_, Some(size)) => {
                    format!("write `{size}`: units are `k`, `m` and `g`, also as `MB` or `MiB`")
                }
                ("shm_size", None) => "write e.g. `64m`".to_owned(),
                (_, None) => "write at least `6m`".to_owned(),
            };
            report.refuse(rules::COMPOSE007, at, message, hint);
        }
    }

    /// Reads `deploy`, of which only limits are ours to keep.
    pub(super) fn read_deploy(&mut self, node: &Node, report: &mut Report) {
        let Some(map) = report.map(rules::COMPOSE007, "deploy", node) else { return };
        for entry in &map.entries {
            match entry.key.as_str() {
                "resources" if entry.value.is_null() => (),
                "resources" => self.read_resources(&entry.value, report),
                "replicas" => {
                    let replicas = report.integer(rules::COMPOSE007, "replicas", &entry.value);
                    if replicas.is_some_and(|replicas| replicas != 1) {
                        let message = "a service is one container; `replicas` must be 1";
                        let hint = "write the service twice";
                        report.refuse(rules::HARDEN015, entry.value.span, message, hint);
                    }
                }
                key if key.starts_with("x-") => (),
                "mode" | "restart_policy" | "placement" | "labels" | "endpoint_mode"
                | "update_config" | "rollback_config" => {
                    let message = format!("`deploy.{}` is not allowed: it is ours", entry.key);
                    report.refuse(rules::HARDEN015, entry.key_span, message, "remove it");
                }
                _ => report.unknown_key(rules::COMPOSE008, "`deploy`", entry, &["resources"]),
            }
        }
    }

    fn read_resources(&mut self, node: &Node, report: &mut Report) {
        let Some(map) = report.map(rules::COMPOSE007, "resources", node) else { return };
        for entry in map.entries.iter().filter(|entry| !entry.value.is_null()) {
            match entry.key.as_str() {
                "limits" => {
                    let limits = report.map(rules::COMPOSE007, "limits", &entry.value);
                    self.read_limits(limits, report);
                }
                "reservations" => check_reservations(entry, report),
                _ => {
                    let known = &["limits", "reservations"];
                    report.unknown_key(rules::COMPOSE008, "`resources`", entry, known);
                }
            }
        }
    }

    fn read_limits(&mut self, map: Option<&Map>, report: &mut Report) {
        let entries = map.map(|map| map.entries.as_slice()).unwrap_or_default();
        for entry in entries.iter().filter(|entry| !entry.value.is_null()) {
            match entry.key.as_str() {
                "cpus" | "memory" | "pids" => self.read_key(entry, report),
                "devices" => refuse_devices(entry, report),
                _ => {
                    let known = &["cpus", "memory", "pids"];
                    report.unknown_key(rules::COMPOSE008, "`limits`", entry, known);
                }
            }
        }
    }

    /// Reads `ulimits`.
    pub(super) fn read_ulimits(&mut self, node: &Node, report: &mut Report) {
        let Some(map) = report.map(rules::COMPOSE007, "ulimits", node) else { return };
        for entry in &map.entries {
            let key = entry.key.as_str();
            if key == "nofile" {
                self.nofile = nofile(entry, report);
            } else if OTHER_ULIMITS.contains(&key) {
                let message = format!("the ulimit `{key}` has no effect: its value is ours");
                report.warning(rules::HARDEN022, entry.key_span, message, "remove it");
            } else {
                report.unknown_key(rules::COMPOSE008, "`ulimits`", entry, &["nofile"]);
            }
        }
    }

    /// The effective limits: wishes, then defaults, then ceilings.
    pub(super) fn settle(&self, place: Place<'_>, report: &mut Report) -> Limits {
        let policy = place.around.policy;
        let mut limits = Limits::default();
        limits.memory_bytes = limits.memory_bytes.min(policy.max_memory_bytes);
        limits.cpu_millis = limits.cpu_millis.min(policy.max_cpu_millis);
        limits.pids = limits.pids.min(policy.max_pids);
        if let Some((memory, at)) = self.memory {
            limits.memory_bytes =
                cut(memory, policy.max_memory_bytes, "memory", at, shown_bytes, report);
        }
        if let Some((cpu, at)) = self.cpu {
            limits.cpu_millis = cut(cpu, policy.max_cpu_millis, "cpus", at, shown_cpu, report);
        }
        if let Some((pids, at)) = self.pids {
            let pids = if pids > 0 { u32::try_from(pids).unwrap_or(u32::MAX) } else { u32::MAX };
            let say = |pids: u32| pids.to_string();
            limits.pids = cut(pids, policy.max_pids, "pids", at, say, report);
        }
        limits.shm_bytes = limits.shm_bytes.min(limits.memory_bytes);
        if let Some((shm, at)) = self.shm {
            limits.shm_bytes = cut(shm, limits.memory_bytes, "shm_size", at, shown_bytes, report);
        }
        if let Some((soft, hard, at)) = self.nofile {
            let number = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
            let say = |files: u32| files.to_string();
            let hard = cut(number(hard), MAX_NOFILE, "nofile", at, say, report);
            limits.nofile = (number(soft).min(hard), hard);
        }
        limits
    }
}

/// The size that was meant by a text whose unit is none, such as `256MBytes`.
fn with_unit(text: &str) -> Option<String> {
    let text = text.trim();
    let number = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(number);
    let unit = unit.trim_start().chars().next()?.to_ascii_uppercase();
    let size = format!("{number}{unit}");
    let is_size = matches!(unit, 'K' | 'M' | 'G') && bytes(&size).is_some();
    (bytes(text).is_none() && is_size).then_some(size)
}

fn set<T: PartialEq + Copy>(
    slot: &mut Option<(T, Span)>,
    value: T,
    at: Span,
    key: &str,
    report: &mut Report,
) {
    if slot.is_some_and(|(old, _)| old != value) {
        let message = format!("`{key}` contradicts another limit of this service");
        report.refuse(rules::COMPOSE007, at, message, "keep `deploy.resources.limits` only");
        return;
    }
    *slot = Some((value, at));
}

/// `value`, or the ceiling and a warning that names it.
fn cut<T: Ord + Copy>(
    value: T,
    ceiling: T,
    what: &str,
    at: Span,
    say: impl Fn(T) -> String,
    report: &mut Report,
) -> T {
    if value > ceiling {
        let ceiling = say(ceiling);
        let message = format!("`{what}` is above its ceiling; {ceiling} is used");
        report.warning(rules::HARDEN020, at, message, format!("write at most {ceiling}"));
    }
    value.min(ceiling)
}

fn nofile(entry: &Entry, report: &mut Report) -> Option<(i64, i64, Span)> {
    let number = |what: &str, node: &Node, report: &mut Report| {
        let number = report.integer(rules::COMPOSE007, what, node)?;
        // -1 means unlimited.
        Some(if number < 0 { i64::MAX } else { number })
    };
    let at = entry.value.span;
    let (soft, hard) = match entry.value.as_map() {
        None => {
            let both = number("nofile", &entry.value, report)?;
            (both, both)
        }
        Some(map) => {
            report.only_keys(rules::COMPOSE008, "`nofile`", map, &["soft", "hard"]);
            let soft = map.get("soft").and_then(|soft| number("soft", &soft.value, report));
            let hard = map.get("hard").and_then(|hard| number("hard", &hard.value, report));
            (soft.or(hard)?, hard.or(soft)?)
        }
    };
    if soft > hard || hard < 64 {
        let message = "`nofile` must be at least 64, and `soft` at most `hard`";
        report.refuse(rules::COMPOSE007, at, message, "write e.g. `{soft: 4096, hard: 16384}`");
        return None;
    }
    Some((soft, hard, at))
}

fn check_reservations(entry: &Entry, report: &mut Report) {
    let Some(map) = report.map(rules::COMPOSE007, "reservations", &entry.value) else { return };
    if let Some(devices) = map.get("devices") {
        refuse_devices(devices, report);
    }
    report.only_keys(
        rules::COMPOSE008,
        "`reservations`",
        map,
        &["cpus", "memory", "devices", "generic_resources"],
    );
    let message = "`reservations` have no effect: nothing is reserved";
    report.warning(rules::HARDEN022, entry.key_span, message, "use `limits`");
}

fn refuse_devices(entry: &Entry, report: &mut Report) {
    let message = "`devices` is not allowed: it hands out devices of the node";
    report.refuse(rules::HARDEN004, entry.key_span, message, "remove it");
}
