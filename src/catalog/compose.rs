//! Reads `docker-compose.yml` into the strict model: only what can run safely has a field.
//!
//! Every key of the compose specification is either modelled, ignored with a warning, or refused
//! with the reason and what to do instead. Ceilings are applied here, so that a verdict shows the
//! effective values.
//!
//! In:  the bytes of the file and its [`Surroundings`]: policy, questions, topology.
//! Out: a [`Draft`]: the model and the builds with their places.
//!
//! # Not here
//! Rules that a challenge may break and still run (`audit`), the notation (`spanned`), what is started (`release`).

mod answers;
mod build;
mod depends;
mod environment;
mod health;
mod interpolate;
mod limits;
mod networks;
mod ports;
pub(super) mod process;
mod refused;
mod service;
mod volumes;
mod words;

use std::collections::BTreeMap;

use super::Policy;
use super::decode::{Report, nearest, shown};
use super::names;
use super::rules;
use super::spanned::{Entry, Map, Node, Parsed, Span};
use crate::model::compose::{BuildSpec, GATEWAY, NetworkDecl, ROTATOR};
use crate::model::{Compose, Question, ServiceName, Topology};

/// What a compose file is read against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// The organizer's ceilings.
    pub policy: &'a Policy,
    /// The questions, if the metadata could be read that far.
    pub questions: Option<&'a [Question]>,
    /// How players reach it.
    pub topology: Topology,
}

/// A build and where it is written.
#[derive(Debug, Clone)]
pub(crate) struct BuildAt {
    /// The service.
    pub service: ServiceName,
    /// What is built.
    pub spec: BuildSpec,
    /// Where `build` stands.
    pub at: Span,
}

/// What could be read.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The file as written, nothing interpolated, if it could be parsed.
    pub root: Option<Node>,
    /// The model; only to be used when the report holds no error.
    pub compose: Option<Compose>,
    /// Every build with a usable context path.
    pub builds: Vec<BuildAt>,
}

/// Where a key stands: the service and what is around it.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    service: &'a str,
    around: &'a Surroundings<'a>,
}

impl Place<'_> {
    fn is_rotator(&self) -> bool {
        self.service == ROTATOR
    }

    /// The service that our own VPN gateway takes the place of.
    fn is_gateway(&self) -> bool {
        self.service == GATEWAY && self.around.topology == Topology::Engagement
    }
}

/// Reads the file.
pub(crate) fn read(parsed: Parsed, around: &Surroundings<'_>, report: &mut Report) -> Draft {
    for fault in parsed.faults {
        report.refuse(rules::COMPOSE000, fault.at, fault.message, fault.hint);
    }
    let Some(root) = parsed.root else { return Draft::default() };
    let Some(map) = root.as_map() else {
        let message = format!("a compose file must be a mapping, this is {}", root.kind());
        report.refuse(rules::COMPOSE000, root.span, message, "write `services:` and so on");
        return Draft::default();
    };
    let map = interpolate::file(map, report);
    check_top_keys(&map, report);
    let networks = networks::declared(map.get("networks"), report);
    let volumes = volumes::declared(map.get("volumes"), report);
    let services = services(&map, around, report);
    let draft = finish(services, networks, volumes, around, report);
    Draft { root: Some(root), ..draft }
}

fn check_top_keys(map: &Map, report: &mut Report) {
    const KEYS: &[&str] = &["services", "networks", "volumes"];
    // What it has no effect on need not be refused; `audit::compose` says what to do with it.
    for entry in &map.entries {
        let key = entry.key.as_str();
        if !KEYS.contains(&key)
            && key != "version"
            && !key.starts_with("x-")
            && !refused::report(refused::TOP_LEVEL, "a challenge", entry, report)
        {
            report.unknown_key(rules::COMPOSE008, "a compose file", entry, KEYS);
        }
    }
}

/// The services; that there are some is for `audit::compose` to say.
fn services(map: &Map, around: &Surroundings<'_>, report: &mut Report) -> Vec<service::Draft> {
    let Some(entry) = map.get("services") else { return Vec::new() };
    let Some(services) = entry.value.as_map() else { return Vec::new() };
    let limit = around.policy.max_services;
    if services.entries.is_empty() {
        let hint = "write a service below it: a name, and `build` or `image`";
        report.refuse(rules::COMPOSE007, entry.key_span, "`services` is empty", hint);
    }
    if services.entries.len() > limit {
        let message = format!(
            "{} services are more than the organizer's limit of {limit}",
            services.entries.len()
        );
        report.refuse(rules::HARDEN016, entry.key_span, message, "split the challenge");
        return Vec::new();
    }
    let mut folded: BTreeMap<String, &Entry> = BTreeMap::new();
    let mut drafts = Vec::new();
    for entry in &services.entries {
        if let Some(first) = folded.insert(names::folded(&entry.key), entry) {
            let message = format!(
                "the service `{}` differs from `{}` at line {} by case only",
                shown(&entry.key),
                shown(&first.key),
                first.key_span.line
            );
            report.refuse(rules::COMPOSE007, entry.key_span, message, "rename one of the two");
        }
        match entry.key.parse::<ServiceName>() {
            Ok(name) => drafts.extend(service::read(name, entry, around, report)),
            Err(error) => {
                report.refuse(rules::COMPOSE007, entry.key_span, service_name_fault(&entry.key), {
                    format!("use {}", error.wanted)
                });
            }
        }
    }
    drafts
}

fn service_name_fault(name: &str) -> String {
    format!("`{}` is no service name", shown(name))
}

/// What needs all services: references between them, and who gets which answers.
fn finish(
    mut drafts: Vec<service::Draft>,
    networks: BTreeMap<String, NetworkDecl>,
    volumes: Vec<String>,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Draft {
    depends::check(&mut drafts, report);
    for draft in &drafts {
        for (name, at) in &draft.network_uses {
            if name != "default" && !networks.contains_key(name) {
                undeclared(
                    "network",
                    name,
                    &networks.keys().map(String::as_str).collect::<Vec<_>>(),
                    *at,
                    report,
                );
            }
        }
        for (name, at) in &draft.volume_uses {
            if !volumes.contains(name) {
                undeclared(
                    "volume",
                    name,
                    &volumes.iter().map(String::as_str).collect::<Vec<_>>(),
                    *at,
                    report,
                );
            }
        }
    }
    answers::assign(&mut drafts, around);
    let builds = drafts.iter().filter_map(|draft| draft.build.clone()).collect();
    let services = drafts.into_iter().map(|draft| draft.service).collect();
    Draft { root: None, compose: Some(Compose { services, networks, volumes }), builds }
}

fn undeclared(what: &str, name: &str, known: &[&str], at: Span, report: &mut Report) {
    let message = format!("the {what} `{}` is not declared", shown(name));
    let hint = match nearest(name, known) {
        Some((near, _)) => format!("did you mean `{}`?", shown(near)),
        None => format!("add `{}:` below the top-level `{what}s:`", shown(name)),
    };
    report.refuse(rules::COMPOSE009, at, message, hint);
}

/// The scalars of a value that may be one text or a list of texts.
fn one_or_many<'n>(what: &str, node: &'n Node, report: &mut Report) -> Vec<(&'n Node, String)> {
    let items = node.as_list().unwrap_or(std::slice::from_ref(node));
    items
        .iter()
        .filter_map(|item| Some((item, report.loose_text(rules::COMPOSE007, what, item)?)))
        .collect()
}

/// The pairs of a value that may be a mapping or a list of `key=value`.
fn pairs<'n>(what: &str, node: &'n Node, report: &mut Report) -> Vec<Pair<'n>> {
    if let Some(map) = node.as_map() {
        return map.entries.iter().filter_map(|entry| pair_of_entry(what, entry, report)).collect();
    }
    let Some(items) = report.list(rules::COMPOSE007, what, node) else { return Vec::new() };
    let mut pairs = Vec::new();
    for item in items {
        let Some(text) = report.loose_text(rules::COMPOSE007, what, item) else { continue };
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (text, None),
        };
        pairs.push(Pair { key, value, at: item.span, node: item });
    }
    pairs
}

fn pair_of_entry<'n>(what: &str, entry: &'n Entry, report: &mut Report) -> Option<Pair<'n>> {
    let value = if entry.value.is_null() {
        None
    } else {
        let what = format!("{what}.{}", shown(&entry.key));
        Some(report.loose_text(rules::COMPOSE007, &what, &entry.value)?)
    };
    Some(Pair { key: entry.key.clone(), value, at: entry.key_span, node: &entry.value })
}

/// One `key=value`.
#[derive(Debug)]
struct Pair<'n> {
    key: String,
    value: Option<String>,
    at: Span,
    node: &'n Node,
}
