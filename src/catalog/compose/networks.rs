//! `networks`: private networks of the instance, and how a service sits on them.

use std::collections::BTreeMap;

use crate::catalog::decode::{Report, shown};
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Node, Span};
use crate::model::compose::{NetworkDecl, NetworkUse};

const MAX_NETWORKS: usize = 10;
const MAX_ALIASES: usize = 32;
const REFUSED: &[(&str, &str)] = &[
    ("external", "networks of others are out of reach"),
    ("ipam", "addresses are ours; services find each other by their names"),
    ("driver_opts", "options of the driver reach the node"),
    ("name", "the names of networks are ours"),
];
const REFUSED_USE: &[&str] = &[
    "ipv4_address",
    "ipv6_address",
    "mac_address",
    "link_local_ips",
    "driver_opts",
    "gw_priority",
    "interface_name",
];

/// Whether `name` can name a network or volume.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Reads the top-level `networks`.
pub(super) fn declared(
    entry: Option<&Entry>,
    report: &mut Report,
) -> BTreeMap<String, NetworkDecl> {
    let mut networks = BTreeMap::new();
    let Some(entry) = entry.filter(|entry| !entry.value.is_null()) else { return networks };
    let Some(map) = report.map(rules::COMPOSE007, "networks", &entry.value) else {
        return networks;
    };
    if map.entries.len() > MAX_NETWORKS {
        let message = format!("{} networks are more than {MAX_NETWORKS}", map.entries.len());
        report.refuse(rules::HARDEN016, entry.key_span, message, "use fewer");
        return networks;
    }
    for network in &map.entries {
        if !is_name(&network.key) {
            let message = format!("`{}` is no name of a network", shown(&network.key));
            report.refuse(rules::COMPOSE007, network.key_span, message, "use letters and digits");
        }
        networks.insert(network.key.clone(), declaration(network, report));
    }
    networks
}

fn declaration(network: &Entry, report: &mut Report) -> NetworkDecl {
    let mut declaration = NetworkDecl::default();
    if network.value.is_null() {
        return declaration;
    }
    let Some(map) = report.map(rules::COMPOSE007, &shown(&network.key), &network.value) else {
        return declaration;
    };
    for entry in &map.entries {
        let key = entry.key.as_str();
        match key {
            "internal" => {
                let is_internal = report.boolean(rules::COMPOSE007, key, &entry.value);
                declaration.is_internal = is_internal.unwrap_or(false);
            }
            "driver" => check_driver(entry, report),
            "attachable" | "labels" | "enable_ipv4" | "enable_ipv6" => {
                let message = format!("`{key}` of a network has no effect");
                report.warning(rules::HARDEN022, entry.key_span, message, "remove it");
            }
            _ => refuse_or_unknown(entry, map, report),
        }
    }
    declaration
}

fn check_driver(entry: &Entry, report: &mut Report) {
    let Some(driver) = report.loose_text(rules::COMPOSE007, "driver", &entry.value) else { return };
    if driver != "bridge" {
        let message = format!("the network driver `{}` is not allowed", shown(&driver));
        report.refuse(rules::HARDEN008, entry.value.span, message, "remove it, or write `bridge`");
    }
}

fn refuse_or_unknown(entry: &Entry, map: &Map, report: &mut Report) {
    let key = entry.key.as_str();
    match REFUSED.iter().find(|(refused, _)| *refused == key) {
        // `external: false` says what is the case anyway.
        Some(_) if key == "external" && is_false(map) => (),
        Some((_, why)) => {
            let message = format!("`{key}` of a network is not allowed: {why}");
            report.refuse(rules::HARDEN008, entry.key_span, message, "remove it");
        }
        None if key.starts_with("x-") => (),
        None => report.unknown_key(rules::COMPOSE008, "a network", entry, &["internal", "driver"]),
    }
}

fn is_false(map: &Map) -> bool {
    map.get("external")
        .and_then(|entry| entry.value.as_scalar())
        .is_some_and(|scalar| scalar.text == "false")
}

/// Reads `networks` of a service.
pub(super) fn used(node: &Node, report: &mut Report) -> Vec<(String, NetworkUse, Span)> {
    if let Some(map) = node.as_map() {
        return map
            .entries
            .iter()
            .map(|entry| (entry.key.clone(), long(entry, report), entry.key_span))
            .collect();
    }
    let Some(items) = report.list(rules::COMPOSE007, "networks", node) else { return Vec::new() };
    items
        .iter()
        .filter_map(|item| {
            let name = report.loose_text(rules::COMPOSE007, "networks", item)?;
            Some((name, NetworkUse::default(), item.span))
        })
        .collect()
}

fn long(network: &Entry, report: &mut Report) -> NetworkUse {
    let mut used = NetworkUse::default();
    if network.value.is_null() {
        return used;
    }
    let Some(map) = report.map(rules::COMPOSE007, &shown(&network.key), &network.value) else {
        return used;
    };
    for entry in map.entries.iter().filter(|entry| !entry.value.is_null()) {
        let key = entry.key.as_str();
        if key == "aliases" {
            used.aliases = aliases(&entry.value, report);
        } else if key == "priority" {
            let message = "`priority` of a network has no effect";
            report.warning(rules::HARDEN022, entry.key_span, message, "remove it");
        } else if REFUSED_USE.contains(&key) {
            let message = format!("`{key}` is not allowed: addresses are ours");
            let hint = "services find each other by their names, and by `aliases`";
            report.refuse(rules::HARDEN007, entry.key_span, message, hint);
        } else if !key.starts_with("x-") {
            report.unknown_key(rules::COMPOSE008, "a network of a service", entry, &["aliases"]);
        }
    }
    used
}

fn aliases(node: &Node, report: &mut Report) -> Vec<String> {
    let mut aliases = Vec::new();
    for item in report.list(rules::COMPOSE007, "aliases", node).unwrap_or_default() {
        let Some(alias) = report.loose_text(rules::COMPOSE007, "aliases", item) else { continue };
        if !is_host(&alias) {
            let message = format!("`{}` is no host name", shown(&alias));
            report.refuse(rules::COMPOSE007, item.span, message, "use letters, digits, `-`, `.`");
        } else if !aliases.contains(&alias) {
            aliases.push(alias);
        }
    }
    if aliases.len() > MAX_ALIASES {
        let message = format!("{} aliases are more than {MAX_ALIASES}", aliases.len());
        report.refuse(rules::HARDEN016, node.span, message, "use fewer");
    }
    aliases
}

/// Whether `name` can be a DNS name inside an instance.
pub(super) fn is_host(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}
