//! Decides what to do next for one instance, from what is wanted and what is seen.
//!
//! [`plan`] is pure: the daemon and the property tests run the very same code. It names every
//! action whose preconditions hold now; the caller runs them side by side, records what happened
//! in [`Observed`] and plans again, until nothing is left to do. A crash at any point is only
//! another observation to start from.
//!
//! In:  the stored spec, what is wanted, what the engine and the store show, the time.
//! Out: a [`Plan`]: actions, the verdict on the instance, and when to look again.
//!
//! # Invariants
//! * The same input gives the same plan, sorted as the spec's services are.
//! * A converged input gives no action; every action brings the observation closer.
//! * Nothing is started before its answers are in place and its dependencies have come far enough.
//! * No container is made before the files of its players are rendered.
//!
//! # Not here
//! Doing (`daemon::executor`), which version is live (`release::live`), leases (`contest::lease`).
#![warn(clippy::wildcard_enum_match_arm)]

pub mod budget;
pub mod capacity;
pub mod capture;
pub mod certificate;
pub mod container;
pub mod drift;
pub mod fuse;
pub mod gc;
pub mod hubs;
#[cfg(test)]
mod invariants;
pub mod isolation;
pub mod lifecycle;
pub mod line;
pub mod placement;
pub mod prune;
pub mod remote;
pub mod report;
#[cfg(test)]
mod simulation;
pub mod supply;
#[cfg(test)]
mod tests;
pub mod vpn;

use std::collections::{BTreeMap, BTreeSet};

use self::drift::Flaw;
use crate::model::compose::{DependsCondition, Restart};
use crate::model::{Death, InstancePhase, ServiceName, Timestamp};
use crate::release::spec::{InstanceSpec, ServiceSpec};

/// How often a service of an instance that was never ready may die before the start has failed.
const MAX_CRASHES_WHILE_STARTING: u32 = 3;

/// The first pause before a service that died is started again, doubled with each further death.
const FIRST_BACKOFF_MILLIS: i64 = 500;

/// The longest such pause. A player who crashes a service on purpose gets it back within this.
const MAX_BACKOFF_MILLIS: i64 = 30_000;

/// What is wanted of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// It runs and is usable.
    Run,
    /// Nothing of it is left.
    Gone,
}

/// What is seen of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Networks it holds: the name in the file to the engine's id.
    pub networks: BTreeMap<String, String>,
    /// Named volumes that exist, by their name in the file.
    pub volumes: BTreeSet<String>,
    /// Volumes of it that nothing wants any more, by the engine's name: an earlier incarnation's.
    pub stray_volumes: BTreeSet<String>,
    /// Volumes of it that are gone with what they held, by their name in the file.
    pub lost_volumes: BTreeSet<String>,
    /// Containers that exist.
    pub services: BTreeMap<ServiceName, ServiceSeen>,
    /// Further containers of a service: the engine's id, and which service.
    pub duplicates: BTreeMap<String, ServiceName>,
    /// Deaths of each service, as far as remembered.
    pub crashes: BTreeMap<ServiceName, Crashes>,
    /// Whether it was usable before: then a death is repaired for as long as the lease lasts.
    pub was_ready: bool,
    /// Whether the files of this incarnation are rendered from its templates.
    pub is_rendered: bool,
    /// Whether the files that its services wrote are taken out of the containers that run.
    pub is_collected: bool,
}

/// One container of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSeen {
    /// The engine's id.
    pub container: String,
    /// What it does.
    pub state: ServiceState,
}

/// What a container of an instance does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceState {
    /// Made, never started; its answers may be missing.
    Empty,
    /// Made, never started, with its answers in place.
    Filled,
    /// Its main process runs; nobody proved that it is usable.
    Running,
    /// It runs and our probe passed.
    Usable,
    /// Its main process ended.
    Exited {
        /// Exit code.
        code: i64,
        /// Whether the kernel killed it for memory.
        is_oom: bool,
    },
    /// It is not what we made, or stuck. It must be made anew.
    Wrong(Flaw),
}

/// How often and when a service died.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crashes {
    /// Deaths in the last ten minutes.
    pub n_recent: u32,
    /// The last one.
    pub last_at: Timestamp,
}

/// One thing to do. Preconditions held when it was planned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Render its templates for it.
    Render,
    /// Take a network from the stock, or make one, for this name in the file.
    ClaimNetwork(String),
    /// Make the volume of this name in the file.
    CreateVolume(String),
    /// Make the container of this service.
    Create(ServiceName),
    /// Write into it what it needs before it starts: answers, or a gateway's keys.
    Fill(ServiceName),
    /// Start it, for the first time or again.
    Start(ServiceName),
    /// Wait until our probe passes.
    Probe(ServiceName),
    /// Wait until it exits by itself.
    AwaitExit(ServiceName),
    /// Take the files that its services wrote for its players out of their containers.
    Collect,
    /// Remove its container.
    Remove(ServiceName),
    /// Remove a further container of a service, by the engine's id.
    RemoveDuplicate(String),
    /// Remove the volume of this name in the file.
    RemoveVolume(String),
    /// Remove a volume of an earlier incarnation, by the engine's name.
    RemoveStray(String),
    /// Give the network of this name in the file back.
    ReleaseNetwork(String),
}

/// What [`plan`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Everything that can be done now.
    pub actions: Vec<Action>,
    /// Where the instance stands.
    pub verdict: Verdict,
    /// When to plan again even if nothing happens.
    pub wake_at: Option<Timestamp>,
}

/// Where an instance stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// On its way; the phase is what its owner sees.
    Progress(InstancePhase),
    /// Everything it consists of is usable.
    Usable,
    /// It cannot become usable; the text is for its owner.
    Failed(String),
    /// Nothing of it is left.
    Gone,
}

/// Plans the next actions for one instance.
///
/// Never fails: what cannot be done yet is left out, what can never be done is the verdict.
/// O(services × dependencies).
pub fn plan(spec: &InstanceSpec, want: Want, observed: &Observed, now: Timestamp) -> Plan {
    match want {
        Want::Run => plan_run(spec, observed, now),
        Want::Gone => plan_gone(observed),
    }
}

fn plan_run(spec: &InstanceSpec, observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan { actions: Vec::new(), verdict: Verdict::Usable, wake_at: None };
    if let Some(volume) = observed.lost_volumes.first() {
        // Another one, empty, would look like the instance and not be it.
        plan.verdict = Verdict::Failed(lost(volume));
        return plan;
    }
    if !is_rendered(spec, observed) && !observed.was_ready {
        plan.act(Action::Render, InstancePhase::Preparing);
    } else if !is_rendered(spec, observed) {
        // What runs does not read these files: it stays ready while they are made again.
        plan.actions.push(Action::Render);
    }
    for wish in &spec.networks {
        if !observed.networks.contains_key(&wish.name) {
            plan.act(Action::ClaimNetwork(wish.name.clone()), InstancePhase::Preparing);
        }
    }
    for volume in &spec.volumes {
        if !observed.volumes.contains(volume) {
            plan.act(Action::CreateVolume(volume.clone()), InstancePhase::Preparing);
        }
    }
    for service in &spec.services {
        plan_service(&mut plan, spec, service, observed, now);
    }
    plan_strays(&mut plan, spec, observed);
    let is_whole = plan.verdict == Verdict::Usable && plan.actions.is_empty();
    if is_whole && !is_collected(spec, observed) && !observed.was_ready {
        // Nobody is told that it is ready before its files are there.
        plan.act(Action::Collect, InstancePhase::Probing);
    } else if is_whole && !is_collected(spec, observed) {
        plan.actions.push(Action::Collect);
    }
    if matches!(plan.verdict, Verdict::Failed(_)) {
        plan.actions.clear();
        plan.wake_at = None;
    }
    plan
}

/// Containers that the spec does not know go first, then the volumes that nothing wants any more:
/// while a container of an earlier incarnation exists, it may hold them.
fn plan_strays(plan: &mut Plan, spec: &InstanceSpec, observed: &Observed) {
    let is_known = |name: &ServiceName| spec.services.iter().any(|it| it.name == *name);
    for name in observed.services.keys().filter(|name| !is_known(name)) {
        plan.act(Action::Remove(name.clone()), InstancePhase::Creating);
    }
    for container in observed.duplicates.keys() {
        plan.act(Action::RemoveDuplicate(container.clone()), InstancePhase::Creating);
    }
    let may_hold = |(name, seen): (&ServiceName, &ServiceSeen)| {
        matches!(seen.state, ServiceState::Wrong(_)) || !is_known(name)
    };
    if observed.duplicates.is_empty() && !observed.services.iter().any(may_hold) {
        for volume in &observed.stray_volumes {
            plan.act(Action::RemoveStray(volume.clone()), InstancePhase::Preparing);
        }
    }
}

fn plan_service(
    plan: &mut Plan,
    spec: &InstanceSpec,
    service: &ServiceSpec,
    observed: &Observed,
    now: Timestamp,
) {
    let name = &service.name;
    let Some(seen) = observed.services.get(name) else {
        plan.progress(InstancePhase::Creating);
        if has_ground(service, observed) && is_rendered(spec, observed) {
            plan.act(Action::Create(name.clone()), InstancePhase::Creating);
        }
        return;
    };
    match &seen.state {
        ServiceState::Wrong(_) => plan.act(Action::Remove(name.clone()), InstancePhase::Creating),
        ServiceState::Empty if service.is_filled(spec) => {
            plan.act(Action::Fill(name.clone()), InstancePhase::Creating);
        }
        ServiceState::Empty | ServiceState::Filled => {
            plan.progress(InstancePhase::Starting);
            if dependencies_are_met(spec, service, observed) {
                plan.act(Action::Start(name.clone()), InstancePhase::Starting);
            }
        }
        ServiceState::Running | ServiceState::Usable if ends_by_itself(spec, service) => {
            plan.act(Action::AwaitExit(name.clone()), InstancePhase::Starting);
        }
        ServiceState::Running => plan.act(Action::Probe(name.clone()), InstancePhase::Probing),
        ServiceState::Usable => (),
        ServiceState::Exited { code: 0, .. } if may_end(spec, service) => (),
        ServiceState::Exited { code, is_oom } => {
            let exit = Exit { code: *code, is_oom: *is_oom };
            plan_restart(plan, spec, service, observed, exit, now);
        }
    }
}

fn plan_restart(
    plan: &mut Plan,
    spec: &InstanceSpec,
    service: &ServiceSpec,
    observed: &Observed,
    exit: Exit,
    now: Timestamp,
) {
    let name = &service.name;
    let crashes = observed.crashes.get(name).copied().unwrap_or_default();
    let is_final = !observed.was_ready
        && (service.restart == Restart::No || crashes.n_recent >= MAX_CRASHES_WHILE_STARTING);
    if is_final {
        plan.verdict = Verdict::Failed(death(name, exit, &crashes).to_string());
        return;
    }
    plan.progress(InstancePhase::Starting);
    let exponent = crashes.n_recent.saturating_sub(1).min(10);
    let pause = (FIRST_BACKOFF_MILLIS << exponent).min(MAX_BACKOFF_MILLIS);
    let not_before = crashes.last_at.plus_millis(pause);
    // Nobody waits for longer than the pause, whatever the clock says.
    let left = not_before.millis_since(now);
    if crashes.n_recent > 0 && (1..=pause).contains(&left) {
        plan.wake(not_before);
    } else if dependencies_are_met(spec, service, observed) {
        plan.act(Action::Start(name.clone()), InstancePhase::Starting);
    }
}

/// How a main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its code.
    pub code: i64,
    /// Whether the kernel killed it for memory.
    pub is_oom: bool,
}

/// The death of a service that was seen exited, after the `crashes` before it.
pub fn death(service: &ServiceName, exit: Exit, crashes: &Crashes) -> Death {
    Death {
        service: service.clone(),
        code: exit.code,
        is_oom: exit.is_oom,
        at: crashes.last_at,
        n_recent: crashes.n_recent,
        last_words: None,
    }
}

/// What is missing most for the instance to be usable, in words for its owner: the first service
/// that died, else the first that is on its way. `None` when no container says anything.
pub fn shortfall(spec: &InstanceSpec, observed: &Observed) -> Option<String> {
    let of = |name: &ServiceName| observed.services.get(name).map(|seen| &seen.state);
    let died = spec.services.iter().find_map(|service| match of(&service.name)? {
        ServiceState::Exited { code: 0, .. } if may_end(spec, service) => None,
        ServiceState::Exited { code, is_oom } => {
            let crashes = observed.crashes.get(&service.name).copied().unwrap_or_default();
            Some(death(&service.name, Exit { code: *code, is_oom: *is_oom }, &crashes).to_string())
        }
        ServiceState::Empty
        | ServiceState::Filled
        | ServiceState::Running
        | ServiceState::Usable
        | ServiceState::Wrong(_) => None,
    });
    let waiting = || {
        spec.services.iter().find_map(|service| {
            let name = &service.name;
            let n_deaths = observed.crashes.get(name).map_or(0, |crashes| crashes.n_recent);
            match of(name)? {
                ServiceState::Running if n_deaths > 0 => Some(format!(
                    "service `{name}` died and was started again, {n_deaths} times so far"
                )),
                ServiceState::Running => {
                    Some(format!("service `{name}` runs, and its health check did not pass yet"))
                }
                ServiceState::Empty
                | ServiceState::Filled
                | ServiceState::Usable
                | ServiceState::Exited { .. }
                | ServiceState::Wrong(_) => None,
            }
        })
    };
    died.or_else(waiting)
}

/// Why an instance ends whose volume is gone, for its owner.
fn lost(volume: &str) -> String {
    format!(
        "the volume `{volume}` of this instance is gone from the node, and what was in it is lost: stop the instance and start another"
    )
}

fn plan_gone(observed: &Observed) -> Plan {
    let mut plan = Plan { actions: Vec::new(), verdict: Verdict::Gone, wake_at: None };
    for name in observed.services.keys() {
        plan.act(Action::Remove(name.clone()), InstancePhase::Removing);
    }
    for container in observed.duplicates.keys() {
        plan.act(Action::RemoveDuplicate(container.clone()), InstancePhase::Removing);
    }
    if observed.services.is_empty() && observed.duplicates.is_empty() {
        // Volumes and networks can go only when no container holds them.
        for volume in &observed.volumes {
            plan.act(Action::RemoveVolume(volume.clone()), InstancePhase::Removing);
        }
        for volume in &observed.stray_volumes {
            plan.act(Action::RemoveStray(volume.clone()), InstancePhase::Removing);
        }
        for wish in observed.networks.keys() {
            plan.act(Action::ReleaseNetwork(wish.clone()), InstancePhase::Removing);
        }
    }
    plan
}

/// Whether its players' files are there, as far as it has templates.
fn is_rendered(spec: &InstanceSpec, observed: &Observed) -> bool {
    spec.templates.is_empty() || observed.is_rendered
}

/// Whether its players have the files that its services wrote, as far as there are any.
fn is_collected(spec: &InstanceSpec, observed: &Observed) -> bool {
    spec.exports.is_empty() || observed.is_collected
}

/// Whether the networks and volumes that its container needs are there.
fn has_ground(service: &ServiceSpec, observed: &Observed) -> bool {
    service.networks.keys().all(|wish| observed.networks.contains_key(wish))
        && service
            .volumes
            .iter()
            .filter_map(|mount| mount.source.as_ref())
            .all(|volume| observed.volumes.contains(volume))
}

fn dependencies_are_met(spec: &InstanceSpec, service: &ServiceSpec, observed: &Observed) -> bool {
    service.depends_on.iter().all(|(name, condition)| {
        let is_job = spec.services.iter().any(|s| s.name == *name && ends_by_itself(spec, s));
        let state = observed.services.get(name).map(|seen| &seen.state);
        match (condition, state) {
            (
                DependsCondition::Started,
                Some(
                    ServiceState::Running
                    | ServiceState::Usable
                    | ServiceState::Exited { code: 0, .. },
                ),
            )
            | (DependsCondition::Healthy, Some(ServiceState::Usable))
            | (DependsCondition::Completed, Some(ServiceState::Exited { code: 0, .. })) => true,
            // Others wait for its exit, so it is never probed: its success is its health.
            (DependsCondition::Healthy, Some(ServiceState::Exited { code: 0, .. })) => is_job,
            (
                DependsCondition::Started | DependsCondition::Healthy | DependsCondition::Completed,
                _,
            ) => false,
        }
    })
}

/// Whether others wait for this service to exit: it is not probed, its exit is awaited.
fn ends_by_itself(spec: &InstanceSpec, service: &ServiceSpec) -> bool {
    service.name.as_str() == crate::model::compose::ROTATOR
        || spec
            .services
            .iter()
            .any(|other| other.depends_on.get(&service.name) == Some(&DependsCondition::Completed))
}

/// Whether an exit with 0 is fine. A service with ports, a health command or somebody who needs it
/// healthy is a server, and a server that ended is missed.
fn may_end(spec: &InstanceSpec, service: &ServiceSpec) -> bool {
    let is_needed = spec
        .services
        .iter()
        .any(|other| other.depends_on.get(&service.name) == Some(&DependsCondition::Healthy));
    let is_server = !service.ports.is_empty() || service.healthcheck.is_some() || is_needed;
    ends_by_itself(spec, service) || !is_server
}

impl Plan {
    /// Adds an action; the instance is then at most in `phase`.
    fn act(&mut self, action: Action, phase: InstancePhase) {
        self.actions.push(action);
        self.progress(phase);
    }

    /// Notes that something is still in `phase`; the earliest phase wins.
    fn progress(&mut self, phase: InstancePhase) {
        let is_earlier = match &self.verdict {
            Verdict::Usable | Verdict::Gone => true,
            Verdict::Progress(current) => phase < *current,
            Verdict::Failed(_) => false,
        };
        if is_earlier {
            self.verdict = Verdict::Progress(phase);
        }
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}
