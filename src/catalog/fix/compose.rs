//! The obsolete `version:`, and limits that are missing.
//!
//! Limits are those of the reference's scaffolds, cut at the organizer's ceilings; what the service
//! says in the old spelling (`mem_limit`, `cpus`) is repeated, never contradicted.

use super::change::{Change, Edit, Step, keys};
use super::place::{New, Source, column};
use super::{About, Proposal, Proposals};
use crate::catalog::Policy;
use crate::catalog::decode::shown;
use crate::catalog::rules::{COMPOSE002, COMPOSE006};
use crate::catalog::spanned::{Entry, Map, Node};
use crate::model::compose::ROTATOR;

/// Where limits are written.
const CHAIN: [&str; 3] = ["deploy", "resources", "limits"];

/// One service of a compose file, as far as it is a mapping.
pub(super) struct Service<'n> {
    /// Its key and value.
    pub entry: &'n Entry,
    /// Its keys.
    pub map: &'n Map,
    /// Blanks per level of indentation.
    pub step: usize,
}

impl Service<'_> {
    /// Where it is in the file.
    pub(super) fn at(&self, keys_inside: &[&str]) -> Vec<Step> {
        let mut at = keys(&["services", &self.entry.key]);
        at.extend(keys(keys_inside));
        at
    }

    /// Which findings are about it.
    pub(super) fn about(&self, rules: &'static [&'static str]) -> About {
        let service = Some(shown(&self.entry.key));
        About { rules, lines: vec![self.entry.key_span.line], service }
    }

    /// Whether it is the sidecar that writes answers.
    pub(super) fn is_rotator(&self) -> bool {
        self.entry.key == ROTATOR
    }
}

/// Every service that is a mapping.
pub(super) fn services(root: &Node) -> Vec<Service<'_>> {
    let entry = root.as_map().and_then(|map| map.get("services"));
    let Some(services) = entry.map(|entry| &entry.value) else { return Vec::new() };
    let entries = services.as_map().map(|map| map.entries.as_slice()).unwrap_or_default();
    let service = |entry| service(services, entry);
    entries.iter().filter_map(service).collect()
}

fn service<'n>(services: &Node, entry: &'n Entry) -> Option<Service<'n>> {
    let step = column(&entry.value).saturating_sub(column(services));
    let step = if (1..=8).contains(&step) { step } else { 2 };
    Some(Service { entry, map: entry.value.as_map()?, step })
}

/// Proposes what a `docker-compose.yml` needs.
pub(super) fn propose(source: Source<'_>, root: &Node, policy: &Policy, proposals: &mut Proposals) {
    if let Some(entry) = root.as_map().and_then(|map| map.get("version")) {
        proposals.able.push(without_version(source, entry));
    }
    for service in services(root) {
        limits(source, &service, policy, proposals);
    }
}

/// Takes the line of `version:` away; a comment on it stays.
fn without_version(source: Source<'_>, entry: &Entry) -> Proposal {
    let line_start = source.line_start(entry.key_span.start);
    let value_end = source.end_of(&entry.value).unwrap_or(entry.value.span.end);
    let line_end = source.line_end(value_end.max(entry.key_span.end));
    let rest = source.0.get(value_end..line_end).unwrap_or_default();
    let edit = match rest.find('#') {
        Some(at) => Edit::replace(line_start, value_end + at, ""),
        None => {
            let after = source.0.get(line_end..).unwrap_or_default();
            let line_break = after.find('\n').map_or(after.len(), |at| at + 1);
            Edit::replace(line_start, line_end + line_break, "")
        }
    };
    // On one line only, and alone on it: otherwise there is no way.
    let is_alone =
        line_start == entry.key_span.start && source.line_end(entry.key_span.start) == line_end;
    Proposal {
        about: About { rules: &[COMPOSE002], lines: vec![entry.key_span.line], service: None },
        what: "removed the obsolete `version`".to_owned(),
        ways: if is_alone { vec![vec![edit]] } else { Vec::new() },
        changes: vec![Change { at: keys(&["version"]), to: None }],
    }
}

/// Proposes the limits that `service` lacks.
fn limits(source: Source<'_>, service: &Service<'_>, policy: &Policy, proposals: &mut Proposals) {
    let about = service.about(&[COMPOSE006]);
    let mut node = &service.entry.value;
    let mut path = Vec::new();
    let mut gap = None;
    for (nth, key) in CHAIN.into_iter().enumerate() {
        path.push(key);
        let Some(map) = node.as_map() else {
            let why = format!("`{}` is no mapping", path[..nth].join("."));
            return proposals.unable.push((about, why));
        };
        match map.get(key) {
            Some(entry) if !entry.value.is_null() => node = &entry.value,
            entry => {
                gap = Some((nth, entry));
                break;
            }
        }
    }
    let missing = missing(gap.is_none().then_some(node));
    if missing.is_empty() {
        return;
    }
    let mut values = Vec::new();
    for key in missing {
        match limit(&service.entry.key, service.map, key, policy) {
            Ok(value) => values.push((key, New::Raw(value))),
            Err(why) => return proposals.unable.push((about, why)),
        }
    }
    let (ways, changes) = match gap {
        Some((nth, entry)) => nested(source, service, node, (nth, entry), values.clone()),
        None => flat(source, service, node, &values),
    };
    let said: Vec<String> = values
        .iter()
        .map(|(key, value)| match value {
            New::Raw(text) => format!("`{key}: {text}`"),
            New::Map(..) => format!("`{key}`"),
        })
        .collect();
    let what = format!("limited `{}` to {}", shown(&service.entry.key), said.join(" and "));
    proposals.able.push(Proposal { about, what, ways, changes });
}

type Ways = (Vec<Vec<Edit>>, Vec<Change>);

/// Writes the keys of [`CHAIN`] from `nth` on into `node`, whose `entry` of that key is empty.
fn nested(
    source: Source<'_>,
    service: &Service<'_>,
    node: &Node,
    (nth, entry): (usize, Option<&Entry>),
    values: Vec<(&'static str, New)>,
) -> Ways {
    let mut new = New::Map(None, values);
    for key in CHAIN.into_iter().skip(nth + 1).rev() {
        new = New::Map(None, vec![(key, new)]);
    }
    let at = service.at(&CHAIN[..=nth]);
    let changes = vec![Change { at, to: Some(new.meaning()) }];
    let ways = match entry {
        Some(entry) => source.fill(node, entry, &new, service.step),
        None => source.add(node, &[(CHAIN[nth], new)], service.step),
    };
    (ways, changes)
}

/// Writes `values` into `limits`, where some of the keys may stand without a value.
fn flat(
    source: Source<'_>,
    service: &Service<'_>,
    limits: &Node,
    values: &[(&'static str, New)],
) -> Ways {
    let mut filled = Vec::new();
    let mut added = Vec::new();
    let mut changes = Vec::new();
    for (key, new) in values {
        let mut at = service.at(&CHAIN);
        at.extend(keys(&[key]));
        changes.push(Change { at, to: Some(new.meaning()) });
        match limits.as_map().and_then(|map| map.get(key)) {
            Some(entry) => {
                let way = source.fill(limits, entry, new, service.step).into_iter().next();
                filled.extend(way.unwrap_or_default());
            }
            None => added.push((*key, new.clone())),
        }
    }
    if added.is_empty() {
        return (vec![filled], changes);
    }
    let ways = source.add(limits, &added, service.step);
    // What is filled comes first: both may be at one offset.
    let ways = ways.into_iter().map(|way| [filled.clone(), way].concat()).collect();
    (ways, changes)
}

/// The limits without a value in `limits`.
fn missing(limits: Option<&Node>) -> Vec<&'static str> {
    let map = limits.and_then(Node::as_map);
    let has = |key: &str| {
        map.and_then(|map| map.get(key)).is_some_and(|entry| {
            !entry.value.is_null() && entry.value.as_scalar().is_none_or(|it| !it.text.is_empty())
        })
    };
    ["cpus", "memory"].into_iter().filter(|key| !has(key)).collect()
}

/// The limit `key` that fits the service `name`, as it is written; or why none can be told.
///
/// # Errors
/// What stands in the way.
pub(in crate::catalog) fn limit(
    name: &str,
    service: &Map,
    key: &str,
    policy: &Policy,
) -> Result<String, String> {
    let old_key = if key == "cpus" { "cpus" } else { "mem_limit" };
    if let Some(entry) = service.get(old_key).filter(|entry| !entry.value.is_null()) {
        let text = entry.value.as_scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
        let is_plain = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
        return if is_plain {
            Ok(format!("\"{text}\""))
        } else {
            Err(format!("its `{old_key}` cannot be repeated as it is written"))
        };
    }
    let is_tcp = label(service, "ctfy.service.protocol").is_some_and(|it| it == "tcp");
    let (millis, mib): (u32, u64) = match (name == ROTATOR, is_tcp) {
        (true, _) => (250, 64),
        (false, true) => (1000, 256),
        (false, false) => (1000, 512),
    };
    Ok(match key {
        "cpus" => {
            let millis = millis.min(policy.max_cpu_millis);
            let text = format!("{}.{:03}", millis / 1000, millis % 1000);
            let short = text.trim_end_matches('0');
            let zero = if short.ends_with('.') { "0" } else { "" };
            format!("\"{short}{zero}\"")
        }
        _ => format!("{}M", mib.min(policy.max_memory_bytes >> 20)),
    })
}

/// The text of a label, in either spelling.
fn label<'n>(service: &'n Map, name: &str) -> Option<&'n str> {
    let labels = &service.get("labels")?.value;
    if let Some(map) = labels.as_map() {
        return Some(map.get(name)?.value.as_scalar()?.text.as_str());
    }
    labels
        .as_list()?
        .iter()
        .find_map(|item| item.as_scalar()?.text.strip_prefix(name)?.strip_prefix('='))
}
