//! One service: every key to the decoder that knows it, in file order.

use std::collections::BTreeMap;

use super::environment::{self, Environment};
use super::limits::Wishes;
use super::networks;
use super::volumes::{AnswerMounts, Mounts, Wanted};
use super::{BuildAt, Place, Surroundings, build, depends, health, ports, process, refused};
use crate::catalog::decode::{Report, shown};
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Node, Span};
use crate::model::ServiceName;
use crate::model::compose::{
    AnswerFiles, ImageSource, Limits, Port, Restart, Service, ServiceProtocol, Tmpfs,
};

/// Every key that is modelled or checked; suggestions for unknown ones come from here.
const KEYS: &[&str] = &[
    "build",
    "image",
    "command",
    "entrypoint",
    "environment",
    "expose",
    "ports",
    "depends_on",
    "healthcheck",
    "networks",
    "volumes",
    "tmpfs",
    "deploy",
    "mem_limit",
    "cpus",
    "pids_limit",
    "shm_size",
    "user",
    "working_dir",
    "hostname",
    "cap_add",
    "cap_drop",
    "read_only",
    "stop_signal",
    "stop_grace_period",
    "init",
    "labels",
    "restart",
    "ulimits",
    "sysctls",
    "x-answers",
];

/// A service as read, and what can only be judged together with the others.
#[derive(Debug)]
pub(super) struct Draft {
    /// The service.
    pub service: Service,
    /// Its build.
    pub build: Option<BuildAt>,
    /// Its dependencies as written.
    pub depends: Vec<depends::Wish>,
    /// Where `depends_on` stands.
    pub depends_at: Span,
    /// Networks that it names.
    pub network_uses: Vec<(String, Span)>,
    /// Volumes that it names.
    pub volume_uses: Vec<(String, Span)>,
    /// Which answers it wants; `None` when it says nothing.
    pub wanted: Option<Vec<Wanted>>,
}

/// Reads one service.
pub(super) fn read(
    name: ServiceName,
    entry: &Entry,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Draft> {
    let map = report.map(rules::COMPOSE007, &format!("services.{name}"), &entry.value)?;
    let place = Place { service: name.as_str(), around };
    let at = entry.key_span;
    let mut reader = Reader::new(Draft::new(name.clone(), at));
    for key in &map.entries {
        check_key(key, place, report);
        if !key.value.is_null() {
            reader.key(key, place, report);
        }
    }
    let environment = environment(map, place, report);
    let service = &mut reader.draft.service;
    service.environment = environment.literal;
    service.answer_environment = environment.answers;
    service.capabilities =
        process::capabilities(map.get("cap_add"), map.get("cap_drop"), place, report);
    Some(reader.finish(at, place, report))
}

impl Draft {
    /// A service that says nothing.
    fn new(name: ServiceName, at: Span) -> Self {
        let service = Service {
            name,
            image: ImageSource::Reference(String::new()),
            command: None,
            entrypoint: None,
            environment: BTreeMap::new(),
            answer_environment: Vec::new(),
            ports: Vec::new(),
            protocol: ServiceProtocol::Http,
            depends_on: BTreeMap::new(),
            healthcheck: None,
            networks: BTreeMap::new(),
            volumes: Vec::new(),
            answers: AnswerFiles::Only(Vec::new()),
            tmpfs: Vec::new(),
            limits: Limits::default(),
            user: None,
            working_dir: None,
            hostname: None,
            capabilities: Vec::new(),
            is_read_only: false,
            stop_signal: None,
            stop_grace_millis: 0,
            restart: Restart::OnFailure,
        };
        Self {
            service,
            build: None,
            depends: Vec::new(),
            depends_at: at,
            network_uses: Vec::new(),
            volume_uses: Vec::new(),
            wanted: None,
        }
    }
}

fn check_key(entry: &Entry, place: Place<'_>, report: &mut Report) {
    let key = entry.key.as_str();
    if KEYS.contains(&key)
        || key.starts_with("x-")
        || (key == "devices" && process::devices_are_tunnel(&entry.value, place))
    {
        return;
    }
    // `privileged: false` says what is the case anyway; older files are full of it.
    let is_false = entry.value.as_scalar().is_some_and(|scalar| scalar.text == "false");
    if is_false && matches!(key, "privileged" | "tty" | "stdin_open" | "oom_kill_disable") {
        return;
    }
    let what = format!("the service `{}`", shown(place.service));
    if !refused::report(refused::SERVICE, &what, entry, report) {
        report.unknown_key(rules::COMPOSE008, &what, entry, KEYS);
    }
}

/// A service while its keys are read.
#[derive(Debug)]
struct Reader {
    draft: Draft,
    /// Whether `build` or `image` is there, readable or not.
    has_image: bool,
    mounts: Mounts,
    limits: Wishes,
}

impl Reader {
    fn new(draft: Draft) -> Self {
        Self { draft, has_image: false, mounts: Mounts::default(), limits: Wishes::default() }
    }

    /// Reads one key whose value is not null.
    fn key(&mut self, entry: &Entry, place: Place<'_>, report: &mut Report) {
        let node = &entry.value;
        let service = &mut self.draft.service;
        match entry.key.as_str() {
            "build" | "image" => self.image(entry, report),
            "ports" => service.ports = published(entry, place, report),
            "expose" => ports::check_expose(node, report),
            "labels" => service.protocol = process::protocol(node, report),
            "healthcheck" => service.healthcheck = health::read(node, report),
            "depends_on" => {
                self.draft.depends_at = entry.key_span;
                self.draft.depends = depends::read(node, report);
            }
            "networks" => self.networks(node, report),
            "volumes" => {
                let mode = if place.is_rotator() {
                    AnswerMounts::AreStorage
                } else {
                    AnswerMounts::AreWishes
                };
                self.mounts.read_volumes(node, mode, report);
            }
            "tmpfs" => self.mounts.read_tmpfs(node, report),
            "x-answers" => {
                self.draft.wanted.get_or_insert_default().extend(x_answers(node, report));
            }
            "deploy" => self.limits.read_deploy(node, report),
            "mem_limit" | "cpus" | "pids_limit" | "shm_size" => {
                self.limits.read_key(entry, report);
            }
            "ulimits" => self.limits.read_ulimits(node, report),
            "sysctls" => process::check_sysctls(node, place, report),
            _ => process_key(service, entry, report),
        }
    }

    fn image(&mut self, entry: &Entry, report: &mut Report) {
        self.has_image = true;
        if entry.key == "image" {
            // Beside a build, `image` only names what is built; the name is ours.
            if let (Some(text), None) = (build::image(entry, report), &self.draft.build) {
                self.draft.service.image = ImageSource::Reference(text);
            }
        } else if let Some(spec) = build::read(entry, report) {
            let service = self.draft.service.name.clone();
            self.draft.service.image = ImageSource::Build(spec.clone());
            self.draft.build = Some(BuildAt { service, spec, at: entry.key_span });
        }
    }

    fn networks(&mut self, node: &Node, report: &mut Report) {
        for (name, used, at) in networks::used(node, report) {
            self.draft.network_uses.push((name.clone(), at));
            self.draft.service.networks.insert(name, used);
        }
    }

    /// What follows from several keys together.
    fn finish(self, at: Span, place: Place<'_>, report: &mut Report) -> Draft {
        let mut draft = self.draft;
        if !self.has_image {
            let message = format!("the service `{}` has no image", shown(place.service));
            report.refuse(rules::COMPOSE007, at, message, "add `build: ./services/…` or `image:`");
        }
        if place.is_gateway() {
            draft.service.image = ImageSource::Gateway;
        }
        draft.service.limits = self.limits.settle(place, report);
        draft.service.tmpfs = tmpfs(&self.mounts, draft.service.limits.memory_bytes, report);
        draft.service.volumes = self.mounts.volumes;
        draft.volume_uses = self.mounts.uses;
        if !self.mounts.answers.is_empty() {
            draft.wanted.get_or_insert_default().extend(self.mounts.answers);
        }
        draft
    }
}

/// The keys that say how the process runs.
fn process_key(service: &mut Service, entry: &Entry, report: &mut Report) {
    let node = &entry.value;
    match entry.key.as_str() {
        "command" => service.command = process::command(entry, report),
        "entrypoint" => service.entrypoint = process::command(entry, report),
        "user" => service.user = process::user(node, report),
        "working_dir" => service.working_dir = process::working_dir(node, report),
        "hostname" => service.hostname = process::hostname(node, report),
        "stop_signal" => service.stop_signal = process::stop_signal(node, report),
        "stop_grace_period" => service.stop_grace_millis = process::stop_grace(entry, report),
        "restart" => service.restart = process::restart(node, report).unwrap_or(service.restart),
        "read_only" => {
            let is_read_only = report.boolean(rules::COMPOSE007, "read_only", node);
            service.is_read_only = is_read_only.unwrap_or(false);
        }
        // Accepted either way: an init of ours runs in every container.
        "init" => {
            report.boolean(rules::COMPOSE007, "init", node);
        }
        _ => (),
    }
}

fn environment(map: &Map, place: Place<'_>, report: &mut Report) -> Environment {
    match map.get("environment").filter(|entry| !entry.value.is_null()) {
        Some(entry) => environment::read(&entry.value, place, report),
        None => Environment::default(),
    }
}

/// The ports that players reach. Those of `flag-rotator` are never published: it is gone before
/// anybody could reach them (STRUCT008 says so).
fn published(entry: &Entry, place: Place<'_>, report: &mut Report) -> Vec<Port> {
    let ports = ports::read(&entry.value, report);
    if place.is_rotator() { Vec::new() } else { ports }
}

fn x_answers(node: &Node, report: &mut Report) -> Vec<Wanted> {
    let items = report.list(rules::COMPOSE007, "x-answers", node).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| report.loose_text(rules::COMPOSE007, "x-answers", item))
        .map(Wanted::One)
        .collect()
}

fn tmpfs(mounts: &Mounts, memory_bytes: u64, report: &mut Report) -> Vec<Tmpfs> {
    let cut = |(target, size, at): &(String, u64, Span)| {
        if *size > memory_bytes {
            let shown = crate::catalog::quantity::shown_bytes(memory_bytes);
            let message = format!("the tmpfs is larger than the memory limit; {shown} is used");
            report.warning(rules::HARDEN020, *at, message, "a tmpfs counts as memory");
        }
        Tmpfs { target: target.clone(), size_bytes: (*size).min(memory_bytes) }
    };
    mounts.tmpfs.iter().map(cut).collect()
}
