//! The optional keys beside the contract: `instance`, `scoring`, `author`, `release_at`.
//!
//! Every key is checked. What this version does not act on yet is said as a warning, so that no
//! author relies on a setting that has no effect.

use std::collections::BTreeMap;

use crate::catalog::Policy;
use crate::catalog::decode::{Report, shown};
use crate::catalog::quantity::{bytes, duration_millis};
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Node};
use crate::model::node::{MAX_LABELS, is_label};
use crate::model::{
    Capture, ContainerRuntime, Egress, Hardening, InstanceScope, InstanceSettings, OnNodeLoss,
    Timestamp, UpdatePolicy,
};

pub(crate) const INSTANCE_KEYS: &[&str] = &[
    "scope",
    "ttl",
    "max_ttl",
    "size",
    "warm",
    "update",
    "egress",
    "disk",
    "profile",
    "runtime",
    "capture",
    "on_node_loss",
    "node",
];
pub(crate) const SCORING_KEYS: &[&str] = &["value", "minimum", "decay", "function"];
const MIN_TTL_SECS: u32 = 60;
const MAX_WARM: i64 = 20;
const MAX_SCORE: i64 = 1_000_000;

/// What the keys say.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// `instance`.
    pub instance: InstanceSettings,
    /// `author`.
    pub author: Option<String>,
    /// `release_at`.
    pub release_at: Option<Timestamp>,
}

/// Reads all four.
pub(super) fn read(map: &Map, policy: &Policy, report: &mut Report) -> Extras {
    let present = |key: &str| map.get(key).filter(|entry| !entry.value.is_null());
    if let Some(entry) = present("scoring") {
        scoring(entry, report);
    }
    Extras {
        instance: present("instance")
            .map(|entry| instance(&entry.value, policy, report))
            .unwrap_or_default(),
        author: present("author").and_then(|entry| author(&entry.value, report)),
        release_at: present("release_at").and_then(|entry| release_at(&entry.value, report)),
    }
}

fn instance(node: &Node, policy: &Policy, report: &mut Report) -> InstanceSettings {
    let mut settings = InstanceSettings::default();
    let Some(map) = report.map(rules::META020, "instance", node) else { return settings };
    report.only_keys(rules::META020, "`instance`", map, INSTANCE_KEYS);
    for entry in map.entries.iter().filter(|entry| !entry.value.is_null()) {
        let value = &entry.value;
        match entry.key.as_str() {
            "scope" => {
                let words = InstanceScope::WORDS;
                let parse = InstanceScope::from_word;
                let scope = report.word(rules::META020, "instance.scope", value, words, parse);
                settings.scope = scope.unwrap_or(settings.scope);
            }
            "ttl" => settings.ttl_secs = lease(entry, policy, report),
            "max_ttl" => settings.max_ttl_secs = lease(entry, policy, report),
            "size" => setting(entry, &["small", "medium", "large"], "small", report),
            "update" => {
                let (words, parse) = (UpdatePolicy::WORDS, UpdatePolicy::from_word);
                let update = report.word(rules::META020, "instance.update", value, words, parse);
                settings.update = update.unwrap_or(settings.update);
            }
            "egress" => {
                let (words, parse) = (Egress::WORDS, Egress::from_word);
                let egress = report.word(rules::META020, "instance.egress", value, words, parse);
                settings.demands.egress = egress.unwrap_or_default();
                if settings.demands.egress == Egress::Internet {
                    way_out(entry, report);
                }
            }
            "disk" => settings.demands.disk_mib = disk(entry, report),
            "profile" => {
                let (words, parse) = (Hardening::WORDS, Hardening::from_word);
                let profile = report.word(rules::META020, "instance.profile", value, words, parse);
                settings.demands.profile = profile.unwrap_or_default();
            }
            "runtime" => {
                let (words, parse) = (ContainerRuntime::WORDS, ContainerRuntime::from_word);
                let runtime = report.word(rules::META020, "instance.runtime", value, words, parse);
                settings.demands.runtime = runtime.unwrap_or_default();
            }
            "capture" => {
                let (words, parse) = (Capture::WORDS, Capture::from_word);
                let capture = report.word(rules::META020, "instance.capture", value, words, parse);
                settings.demands.capture = capture.unwrap_or_default();
            }
            "on_node_loss" => {
                let (words, parse) = (OnNodeLoss::WORDS, OnNodeLoss::from_word);
                let what = "instance.on_node_loss";
                let wish = report.word(rules::META020, what, value, words, parse);
                settings.on_node_loss = wish.unwrap_or(settings.on_node_loss);
            }
            "node" => settings.node = labels(value, report),
            "warm" => {
                let number = bounded(entry, "instance.warm", MAX_WARM, rules::META020, report);
                if number.is_some_and(|number| number > 0) {
                    no_effect(entry, "instance.warm", report);
                }
            }
            _ => (),
        }
    }
    let (ttl, max_ttl) = (settings.ttl_secs, settings.max_ttl_secs);
    if let (Some(ttl), Some(max_ttl)) = (ttl, max_ttl)
        && ttl > max_ttl
    {
        let message = format!("`ttl` ({ttl} s) is longer than `max_ttl` ({max_ttl} s)");
        report.refuse(rules::META020, node.span, message, "shorten `ttl`, or raise `max_ttl`");
    }
    let demands = &settings.demands;
    if (demands.egress, demands.runtime) == (Egress::Internet, ContainerRuntime::Runsc) {
        let message = "with `runtime: runsc` the internet has no names: the resolver of the engine cannot be asked from inside of gVisor";
        let hint = "connect to addresses, or leave `runtime` out";
        report.warning(rules::HARDEN023, node.span, message, hint);
    }
    settings
}

fn lease(entry: &Entry, policy: &Policy, report: &mut Report) -> Option<u32> {
    let what = format!("instance.{}", entry.key);
    let at = entry.value.span;
    let text = report.loose_text(rules::META020, &what, &entry.value)?;
    let Some(secs) = duration_millis(&text).map(|millis| millis / 1000) else {
        let message = format!("`{what}` cannot be `{}`", shown(&text));
        report.refuse(rules::META020, at, message, "write a duration such as `2h` or `90m`");
        return None;
    };
    if secs < u64::from(MIN_TTL_SECS) {
        let message = format!("`{what}` is shorter than {MIN_TTL_SECS} s");
        report.refuse(rules::META020, at, message, "write at least `60s`");
        return None;
    }
    let limit = policy.max_ttl_secs;
    if secs > u64::from(limit) {
        let message = format!("`{what}` is above the organizer's limit; {limit} s are used");
        report.warning(rules::HARDEN020, at, message, format!("write at most `{limit}s`"));
    }
    u32::try_from(secs.min(u64::from(limit))).ok()
}

/// Players who own a container of the instance own its way out, too.
fn way_out(entry: &Entry, report: &mut Report) {
    let message =
        "`instance.egress: internet` lets whoever breaks in attack others from this machine";
    let hint =
        "leave it out unless the challenge cannot do without; mirror what it needs in a service";
    report.warning(rules::HARDEN023, entry.key_span, message, hint);
}

/// What its containers may keep on the disk, in MiB. More than the node allows is not granted.
fn disk(entry: &Entry, report: &mut Report) -> Option<u32> {
    let text = report.loose_text(rules::META020, "instance.disk", &entry.value)?;
    let mib = bytes(&text).map(|bytes| bytes >> 20).filter(|&mib| mib > 0);
    if mib.is_none() {
        let message = format!("`instance.disk` cannot be `{}`", shown(&text));
        let hint = "write a size such as `256M`, at least `1M`";
        report.refuse(rules::META020, entry.value.span, message, hint);
    }
    Some(u32::try_from(mib?).unwrap_or(u32::MAX))
}

/// Labels that its node must have.
fn labels(node: &Node, report: &mut Report) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(map) = report.map(rules::META020, "instance.node", node) else { return labels };
    for entry in &map.entries {
        let what = format!("instance.node.{}", entry.key);
        let Some(value) = report.loose_text(rules::META020, &what, &entry.value) else { continue };
        if is_label(&entry.key) && is_label(&value) && labels.len() < MAX_LABELS {
            labels.insert(entry.key.clone(), value);
            continue;
        }
        let message = format!("`{}` is no label of a node", shown(&what));
        let hint = format!(
            "write at most {MAX_LABELS} pairs of 1 to 63 letters, digits, `.`, `_`, `-` or `/`, e.g. `zone: a`"
        );
        report.refuse(rules::META020, entry.value.span, message, hint);
    }
    labels
}

/// A word that this version checks and does not act on.
fn setting(entry: &Entry, words: &'static [&'static str], default: &str, report: &mut Report) {
    let what = format!("instance.{}", entry.key);
    let Some(text) = report.text(rules::META020, &what, &entry.value) else { return };
    if !words.contains(&text.as_str()) {
        let message = format!("`{what}` cannot be `{}`", shown(&text));
        let hint = crate::catalog::decode::suggestion(&text, words);
        report.refuse(rules::META020, entry.value.span, message, hint);
    } else if text != default {
        no_effect(entry, &what, report);
    }
}

fn no_effect(entry: &Entry, what: &str, report: &mut Report) {
    let message = format!("`{what}` is valid, and has no effect in this version");
    report.warning(rules::HARDEN022, entry.key_span, message, "do not rely on it yet");
}

fn bounded(
    entry: &Entry,
    what: &str,
    max: i64,
    rule: &'static str,
    report: &mut Report,
) -> Option<i64> {
    let number = report.integer(rule, what, &entry.value)?;
    if (0..=max).contains(&number) {
        return Some(number);
    }
    let message = format!("`{what}` is not between 0 and {max}");
    report.refuse(rule, entry.value.span, message, format!("write a number from 0 to {max}"));
    None
}

fn scoring(entry: &Entry, report: &mut Report) {
    let Some(map) = report.map(rules::META021, "scoring", &entry.value) else { return };
    report.only_keys(rules::META021, "`scoring`", map, SCORING_KEYS);
    let mut numbers = [None; 2];
    for field in map.entries.iter().filter(|field| !field.value.is_null()) {
        let what = format!("scoring.{}", field.key);
        match field.key.as_str() {
            "value" => numbers[0] = bounded(field, &what, MAX_SCORE, rules::META021, report),
            "minimum" => numbers[1] = bounded(field, &what, MAX_SCORE, rules::META021, report),
            "decay" => {
                bounded(field, &what, MAX_SCORE, rules::META021, report);
            }
            "function" => {
                let words: &[&str] = &["static", "linear", "logarithmic"];
                let parse =
                    |word: &str| matches!(word, "static" | "linear" | "logarithmic").then_some(());
                report.word(rules::META021, &what, &field.value, words, parse);
            }
            _ => (),
        }
    }
    if let [Some(value), Some(minimum)] = numbers
        && minimum > value
    {
        let message = "`scoring.minimum` is above `scoring.value`";
        report.refuse(rules::META021, entry.value.span, message, "lower it");
    }
    no_effect(entry, "scoring", report);
}

fn author(node: &Node, report: &mut Report) -> Option<String> {
    let text = report.text(rules::META022, "author", node)?;
    let is_fine = !text.trim().is_empty()
        && text.chars().count() <= 200
        && !text.chars().any(crate::catalog::names::is_misleading);
    if !is_fine {
        let message = "`author` is not one plain line of at most 200 characters";
        report.refuse(rules::META022, node.span, message, "write `name <mail>`");
        return None;
    }
    Some(text)
}

fn release_at(node: &Node, report: &mut Report) -> Option<Timestamp> {
    let text = report.text(rules::META022, "release_at", node)?;
    let parsed = Timestamp::parse_rfc3339(&text).ok();
    if parsed.is_none() {
        let message = format!("`release_at` cannot be `{}`", shown(&text));
        let hint = "write a time with a zone such as `2027-03-01T12:00:00Z`";
        report.refuse(rules::META022, node.span, message, hint);
    }
    parsed
}
