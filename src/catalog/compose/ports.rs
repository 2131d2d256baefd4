//! `ports` and `expose`: which ports of the container players reach.
//!
//! The host side is ours to choose, so whatever an author writes there is ignored.

use super::interpolate;
use crate::catalog::decode::{Report, parse_integer, shown};
use crate::catalog::rules;
use crate::catalog::spanned::{Node, Span};
use crate::model::compose::{Port, Transport};

const MAX_PORTS: usize = 32;
const LONG_KEYS: &[&str] =
    &["target", "published", "host_ip", "protocol", "mode", "name", "app_protocol"];

/// Reads `ports`: in file order, without doubles.
pub(super) fn read(node: &Node, report: &mut Report) -> Vec<Port> {
    let Some(items) = report.list(rules::COMPOSE011, "ports", node) else { return Vec::new() };
    let mut ports: Vec<Port> = Vec::new();
    for item in items {
        let found = if item.as_map().is_some() { long(item, report) } else { short(item, report) };
        for port in found.unwrap_or_default() {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
    }
    if ports.len() > MAX_PORTS {
        let message = format!("{} ports are more than {MAX_PORTS}", ports.len());
        report.refuse(rules::HARDEN016, node.span, message, "publish what players need");
        ports.truncate(MAX_PORTS);
    }
    ports
}

/// Checks `expose`, which changes nothing: services of an instance reach each other anyway.
pub(super) fn check_expose(node: &Node, report: &mut Report) {
    let Some(items) = report.list(rules::COMPOSE011, "expose", node) else { return };
    for item in items {
        let Some(text) = report.loose_text(rules::COMPOSE011, "expose", item) else { continue };
        if let Err(reason) = container_ports(&text) {
            fault(&text, reason, item.span, report);
        }
    }
}

fn fault(text: &str, reason: &str, at: Span, report: &mut Report) {
    let message = format!("the port `{}` {reason}", shown(text));
    report.refuse(rules::COMPOSE011, at, message, "write `80`, `\"8080:80\"` or `\"53/udp\"`");
}

fn short(item: &Node, report: &mut Report) -> Option<Vec<Port>> {
    let text = report.loose_text(rules::COMPOSE011, "ports", item)?;
    let container = interpolate::text(container_part(&text), item.span, report)?;
    match container_ports(&container) {
        Ok(ports) => Some(ports),
        Err(reason) => {
            fault(&text, reason, item.span, report);
            None
        }
    }
}

/// What stands after the last `:` outside of `${…}`.
fn container_part(text: &str) -> &str {
    let mut depth = 0_usize;
    let mut start = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => start = at + 1,
            _ => (),
        }
    }
    &text[start..]
}

/// The ports of `80`, `53/udp`, `3000-3005`.
fn container_ports(text: &str) -> Result<Vec<Port>, &'static str> {
    let (range, protocol) = match text.split_once('/') {
        Some((range, protocol)) => (range, protocol),
        None => (text, "tcp"),
    };
    let transport = transport(protocol)?;
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err("is a range that ends before it begins");
    }
    if usize::from(last - first) >= MAX_PORTS {
        return Err("is a range of more than 32 ports");
    }
    Ok((first..=last).map(|target| Port { target, transport }).collect())
}

fn number(text: &str) -> Result<u16, &'static str> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if is_digits && number > 0 => Ok(number),
        _ => Err("has no container port between 1 and 65535"),
    }
}

fn transport(protocol: &str) -> Result<Transport, &'static str> {
    Transport::from_word(&protocol.to_ascii_lowercase())
        .ok_or("has a protocol other than `tcp` and `udp`")
}

fn long(item: &Node, report: &mut Report) -> Option<Vec<Port>> {
    let item = interpolate_long(item, report);
    let map = item.as_map()?;
    report.only_keys(rules::COMPOSE008, "a port", map, LONG_KEYS);
    let Some(target) = map.get("target") else {
        report.refuse(rules::COMPOSE011, item.span, "the port has no `target`", "add `target: 80`");
        return None;
    };
    let text = report.loose_text(rules::COMPOSE011, "target", &target.value)?;
    let protocol = match map.get("protocol").filter(|entry| !entry.value.is_null()) {
        Some(entry) => report.loose_text(rules::COMPOSE011, "protocol", &entry.value)?,
        None => "tcp".to_owned(),
    };
    let port = parse_integer(&text)
        .and_then(|number| u16::try_from(number).ok())
        .filter(|port| *port > 0)
        .ok_or("has no container port between 1 and 65535")
        .and_then(|target| Ok(Port { target, transport: transport(&protocol)? }));
    match port {
        Ok(port) => Some(vec![port]),
        Err(reason) => {
            fault(&format!("{text}/{protocol}"), reason, target.value.span, report);
            None
        }
    }
}

/// Expands only what is used: `target` and `protocol`.
fn interpolate_long(item: &Node, report: &mut Report) -> Node {
    let Some(map) = item.as_map() else { return item.clone() };
    let mut map = map.clone();
    for entry in &mut map.entries {
        if matches!(entry.key.as_str(), "target" | "protocol") {
            entry.value = interpolate::tree(&entry.value, report);
        }
    }
    Node::map(item.span, map)
}
