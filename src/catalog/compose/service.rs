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
use crate::model::compose::{AnswerFiles, ImageSource, Restart, Service, ServiceProtocol, Tmpfs};

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
    let map = report.map(rules::COMPOSE001, &format!("services.{name}"), &entry.value)?;
    let place = Place { service: name.as_str(), around };
    let at = entry.key_span;
    let mut parts = Parts::default();
    for key in &map.entries {
        check_key(key, place, report);
        if !key.value.is_null() {
            parts.read(key, place, report);
        }
    }
    let environment = environment(map, at, place, report);
    let image = parts.image(at, place, report);
    let capabilities =
        process::capabilities(map.get("cap_add"), map.get("cap_drop"), place, report);
    let limits = parts.limits.settle(place, at, report);
    let tmpfs = tmpfs(&parts.mounts, limits.memory_bytes, report);
    let Mounts { volumes, answers, uses, .. } = parts.mounts;
    let wanted = match (parts.x_answers, answers) {
        (None, answers) if answers.is_empty() => None,
        (x_answers, answers) => Some(x_answers.into_iter().flatten().chain(answers).collect()),
    };
    let build = match &image {
        ImageSource::Build(spec) => {
            let at = map.get("build").map_or(at, |build| build.key_span);
            Some(BuildAt { service: name.clone(), spec: spec.clone(), at })
        }
        ImageSource::Reference(_) => None,
    };
    let network_uses = parts.networks.iter().map(|(name, _, at)| (name.clone(), *at)).collect();
    let networks: BTreeMap<_, _> =
        parts.networks.into_iter().map(|(name, used, _)| (name, used)).collect();
    let service = Service {
        name: name.clone(),
        image,
        command: parts.command,
        entrypoint: parts.entrypoint,
        environment: environment.literal,
        answer_environment: environment.answers,
        ports: parts.ports,
        protocol: parts.protocol,
        depends_on: BTreeMap::new(),
        healthcheck: parts.healthcheck,
        networks,
        volumes,
        answers: AnswerFiles::Only(Vec::new()),
        tmpfs,
        limits,
        user: parts.user,
        working_dir: parts.working_dir,
        hostname: parts.hostname,
        capabilities,
        is_read_only: parts.is_read_only,
        stop_signal: parts.stop_signal,
        stop_grace_millis: parts.stop_grace_millis,
        restart: parts.restart,
    };
    let depends_at = map.get("depends_on").map_or(at, |entry| entry.key_span);
    Some(Draft {
        service,
        build,
        depends: parts.depends,
        depends_at,
        network_uses,
        volume_uses: uses,
        wanted,
    })
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

/// The keys that are values of their own.
#[derive(Debug)]
struct Parts {
    build: Option<crate::model::compose::BuildSpec>,
    reference: Option<String>,
    has_image: bool,
    command: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    ports: Vec<crate::model::compose::Port>,
    protocol: ServiceProtocol,
    depends: Vec<depends::Wish>,
    healthcheck: Option<crate::model::compose::Healthcheck>,
    networks: Vec<(String, crate::model::compose::NetworkUse, Span)>,
    mounts: Mounts,
    x_answers: Option<Vec<Wanted>>,
    limits: Wishes,
    user: Option<String>,
    working_dir: Option<String>,
    hostname: Option<String>,
    is_read_only: bool,
    stop_signal: Option<String>,
    stop_grace_millis: u32,
    restart: Restart,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            build: None,
            reference: None,
            has_image: false,
            command: None,
            entrypoint: None,
            ports: Vec::new(),
            protocol: ServiceProtocol::Http,
            depends: Vec::new(),
            healthcheck: None,
            networks: Vec::new(),
            mounts: Mounts::default(),
            x_answers: None,
            limits: Wishes::default(),
            user: None,
            working_dir: None,
            hostname: None,
            is_read_only: false,
            stop_signal: None,
            stop_grace_millis: process::MAX_GRACE_MILLIS,
            restart: Restart::OnFailure,
        }
    }
}

impl Parts {
    /// Reads one key whose value is not null.
    fn read(&mut self, entry: &Entry, place: Place<'_>, report: &mut Report) {
        let node = &entry.value;
        match entry.key.as_str() {
            "build" => {
                self.has_image = true;
                self.build = build::read(entry, report);
            }
            "image" => {
                self.has_image = true;
                self.reference = build::image(entry, report);
            }
            "command" => self.command = process::command(entry, report),
            "entrypoint" => self.entrypoint = process::command(entry, report),
            "expose" => ports::check_expose(node, report),
            "ports" => self.ports = published(entry, place, report),
            "depends_on" => self.depends = depends::read(node, report),
            "healthcheck" => self.healthcheck = health::read(node, report),
            "networks" => self.networks = networks::used(node, report),
            "volumes" => {
                let mode = if place.is_rotator() {
                    AnswerMounts::AreStorage
                } else {
                    AnswerMounts::AreWishes
                };
                self.mounts.read_volumes(node, mode, report);
            }
            "tmpfs" => self.mounts.read_tmpfs(node, report),
            "deploy" => self.limits.read_deploy(node, report),
            "mem_limit" | "cpus" | "pids_limit" | "shm_size" => {
                self.limits.read_key(entry, report);
            }
            "ulimits" => self.limits.read_ulimits(node, report),
            "x-answers" => self.x_answers = Some(x_answers(node, report)),
            "labels" => self.protocol = process::protocol(node, report),
            "sysctls" => process::check_sysctls(node, place, report),
            _ => self.read_process(entry, report),
        }
    }

    fn read_process(&mut self, entry: &Entry, report: &mut Report) {
        let node = &entry.value;
        match entry.key.as_str() {
            "user" => self.user = process::user(node, report),
            "working_dir" => self.working_dir = process::working_dir(node, report),
            "hostname" => self.hostname = process::hostname(node, report),
            "stop_signal" => self.stop_signal = process::stop_signal(node, report),
            "stop_grace_period" => self.stop_grace_millis = process::stop_grace(entry, report),
            "restart" => self.restart = process::restart(node, report).unwrap_or(self.restart),
            "read_only" => {
                let is_read_only = report.boolean(rules::COMPOSE007, "read_only", node);
                self.is_read_only = is_read_only.unwrap_or(false);
            }
            // Accepted either way: an init of ours runs in every container.
            "init" => {
                report.boolean(rules::COMPOSE007, "init", node);
            }
            _ => (),
        }
    }

    fn image(&mut self, at: Span, place: Place<'_>, report: &mut Report) -> ImageSource {
        if !self.has_image {
            let message = format!("the service `{}` has no image", shown(place.service));
            report.error(rules::COMPOSE007, at, message, "add `build: ./services/…` or `image:`");
        }
        match (self.build.take(), self.reference.take()) {
            (Some(spec), _) => ImageSource::Build(spec),
            (None, reference) => ImageSource::Reference(reference.unwrap_or_default()),
        }
    }
}

fn environment(map: &Map, at: Span, place: Place<'_>, report: &mut Report) -> Environment {
    let entry = map.get("environment");
    let environment = match entry.filter(|entry| !entry.value.is_null()) {
        Some(entry) => environment::read(&entry.value, place, report),
        None => Environment::default(),
    };
    if place.is_rotator() {
        environment::check_rotator(&environment, entry, at, place.around.questions, report);
    }
    environment
}

fn published(
    entry: &Entry,
    place: Place<'_>,
    report: &mut Report,
) -> Vec<crate::model::compose::Port> {
    let ports = ports::read(&entry.value, report);
    if place.is_rotator() && !ports.is_empty() {
        let message = "`flag-rotator` publishes ports, but it only writes answers and exits";
        report.error(rules::STRUCT008, entry.key_span, message, "remove `ports`");
    }
    ports
}

fn x_answers(node: &Node, report: &mut Report) -> Vec<Wanted> {
    let items = report.list(rules::COMPOSE007, "x-answers", node).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| {
            let id = report.loose_text(rules::COMPOSE007, "x-answers", item)?;
            Some(Wanted::One(id, item.span))
        })
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
