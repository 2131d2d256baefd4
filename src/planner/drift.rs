//! Says in which class a difference falls between what a ready instance is and what it was.
//!
//! In:  the row, the stored spec, what is seen. Out: a [`Drift`] for each difference: its class
//! (`D1` … `D15` of `contract/gitops.md` §4.14), what it is about, and what is done about it.
//!
//! # Invariants
//! * Only a ready instance drifts: what our own start, reset or stop is changing is no drift.
//! * There is drift exactly when [`plan`](super::plan) would do something, or give up.
//! * What an engine fills in by itself, counts, or labels in an older way is nothing here: it is
//!   not in [`Observed`], so it cannot be compared.
//!
//! # Not here
//! Repairing (`plan` decides, `daemon::executor` does), how much of it at once (`fuse`), what is
//! left of instances that are over (`prune`).

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Observed, ServiceSeen, ServiceState, ends_by_itself, is_collected, is_rendered, may_end,
};
use crate::model::challenge::word_enum;
use crate::model::compose::Limits;
use crate::model::{Instance, InstancePhase, ServiceName};
use crate::release::spec::{InstanceSpec, ServiceSpec};

word_enum!(
    /// The class of a difference; the word is the reason of a condition.
    DriftClass {
        /// D1: a container that is wanted is not there.
        ContainerMissing = "ContainerMissing",
        /// D2: its main process does not run.
        ContainerExited = "ContainerExited",
        /// D3: the engine calls it unhealthy.
        Unhealthy = "Unhealthy",
        /// D4: it was made from another spec than the instance has.
        SpecDiffers = "SpecDiffers",
        /// D5: somebody paused it, took it off a network, changed its limits or ran it again.
        ChangedByHand = "ChangedByHand",
        /// D6: two containers for one service.
        Duplicate = "Duplicate",
        /// D7: it bears our labels, and nothing wants it.
        Orphan = "Orphan",
        /// D8: it has our name and is not ours.
        NameConflict = "NameConflict",
        /// D9: the image that a container is to be made from is gone.
        ImageMissing = "ImageMissing",
        /// D10: a network, a volume or the rendered files are gone.
        GroundMissing = "GroundMissing",
        /// D11: a port is not where players were told.
        PortNotServed = "PortNotServed",
        /// D12: the engine restarted, or the clock jumped.
        EngineRestarted = "EngineRestarted",
        /// D13: made by an older flagops.
        OlderLabels = "OlderLabels",
        /// D14: counts, statistics, what an engine fills in.
        Informational = "Informational",
        /// D15: what is live is not in the repository any more.
        SourceDrift = "SourceDrift",
    }
);

impl DriftClass {
    /// Its code in the contract.
    pub fn code(self) -> &'static str {
        match self {
            Self::ContainerMissing => "D1",
            Self::ContainerExited => "D2",
            Self::Unhealthy => "D3",
            Self::SpecDiffers => "D4",
            Self::ChangedByHand => "D5",
            Self::Duplicate => "D6",
            Self::Orphan => "D7",
            Self::NameConflict => "D8",
            Self::ImageMissing => "D9",
            Self::GroundMissing => "D10",
            Self::PortNotServed => "D11",
            Self::EngineRestarted => "D12",
            Self::OlderLabels => "D13",
            Self::Informational => "D14",
            Self::SourceDrift => "D15",
        }
    }

    /// What is done about it, in general.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::ContainerMissing => "a container that is gone is made again, a few times at most",
            Self::ContainerExited => "a container that ended is started again, ever later",
            Self::Unhealthy => "an unhealthy service is probed, and started anew if that fails",
            Self::SpecDiffers => "a container of another spec is made anew from the stored one",
            Self::ChangedByHand => "a container that was changed by hand is made anew",
            Self::Duplicate => "of two containers for one service the better one stays",
            Self::Orphan => "what nothing wants is removed after two looks, within a budget",
            Self::NameConflict => "what has our name and is not ours is never touched",
            Self::ImageMissing => "a lost image is built again; instances run by image id",
            Self::GroundMissing => {
                "a lost network is replaced, lost files are made or taken again; a lost volume ends the instance, since what it held is gone"
            }
            Self::PortNotServed => "a container whose port is not served is made anew",
            Self::EngineRestarted => "everything is listed before anything is done",
            Self::OlderLabels => "what an older flagops made is kept until it ends",
            Self::Informational => "it is not looked at",
            Self::SourceDrift => {
                "players keep what is live; the condition `Held` says `HistoryRewritten`"
            }
        }
    }
}

/// Why a container has to be made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It bears the hash of another spec, or of an earlier incarnation.
    OtherSpec,
    /// A crash may have come before it was connected to all its networks.
    HalfMade,
    /// Somebody paused it.
    Paused,
    /// The engine is stuck with it; its word.
    Stuck(String),
    /// This network of it does not exist.
    NetworkGone(String),
    /// It runs and does not hang on this network.
    Detached(String),
    /// Its limits are not those of its spec; which, in words.
    Limits(String),
    /// It runs and does not serve this host port.
    PortNotServed(u16),
}

impl Flaw {
    fn class(&self) -> DriftClass {
        match self {
            Self::OtherSpec => DriftClass::SpecDiffers,
            Self::HalfMade | Self::Stuck(_) => DriftClass::ContainerExited,
            Self::Paused | Self::Detached(_) | Self::Limits(_) => DriftClass::ChangedByHand,
            Self::NetworkGone(_) => DriftClass::GroundMissing,
            Self::PortNotServed(_) => DriftClass::PortNotServed,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSpec => f.write_str("was made from another spec"),
            Self::HalfMade => f.write_str("was made and never connected or started"),
            Self::Paused => f.write_str("is paused"),
            Self::Stuck(word) => write!(f, "is stuck in the state `{word}`"),
            Self::NetworkGone(name) => write!(f, "hangs on the network `{name}`, which is gone"),
            Self::Detached(name) => write!(f, "was taken off the network `{name}`"),
            Self::Limits(what) => write!(f, "has other limits than its spec: {what}"),
            Self::PortNotServed(port) => write!(f, "does not serve the host port {port}"),
        }
    }
}

/// What is done about one difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repair {
    /// Its container is started again.
    Restart,
    /// It is probed, and started again if that fails.
    Probe,
    /// Its container is made anew: what was written into it is lost.
    MakeAnew,
    /// A network is taken from the stock, or made.
    ReplaceNetwork,
    /// The files of its players are rendered again.
    Render,
    /// They are taken out of the containers again.
    Collect,
    /// It is removed.
    Remove,
    /// The instance ends, since what it held is lost.
    End,
}

impl Repair {
    fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "it is started again",
            Self::Probe => "it is probed, and started again if that fails",
            Self::MakeAnew => "it is made anew",
            Self::ReplaceNetwork => "it is replaced, with the containers on it",
            Self::Render => "they are rendered again",
            Self::Collect => "they are taken out again",
            Self::Remove => "it is removed",
            Self::End => "the instance ends",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Its class.
    pub class: DriftClass,
    /// What it is about, e.g. "service `web`".
    pub object: String,
    /// What is the matter with it, e.g. "is paused".
    pub what: String,
    /// What is done about it.
    pub repair: Repair,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, what, repair, .. } = self;
        write!(f, "{object} {what}: {}", repair.as_str())
    }
}

/// Whether a player who broke into a service can have caused all of it: it ended, or answers no
/// more. Everything else takes a hand on the machine, or is a fault of it.
pub fn is_from_within(drifts: &[Drift]) -> bool {
    drifts.iter().all(|it| matches!(it.repair, Repair::Restart | Repair::Probe))
}

/// The differences of a ready instance, in the order of its spec; none of any other.
pub fn classify(row: &Instance, spec: &InstanceSpec, observed: &Observed) -> Vec<Drift> {
    if row.phase != InstancePhase::Ready {
        return Vec::new();
    }
    let mut drifts = Vec::new();
    let mut add = |class, object: String, what: String, repair| {
        drifts.push(Drift { class, object, what, repair });
    };
    let gone = || "is gone".to_owned();
    for wish in spec.networks.iter().filter(|it| !observed.networks.contains_key(&it.name)) {
        let object = format!("network `{}`", wish.name);
        add(DriftClass::GroundMissing, object, gone(), Repair::ReplaceNetwork);
    }
    for volume in spec.volumes.iter().filter(|it| !observed.volumes.contains(*it)) {
        let object = format!("volume `{volume}`");
        add(DriftClass::GroundMissing, object, gone(), Repair::End);
    }
    if !is_rendered(spec, observed) {
        let (object, what) = ("files of its players".to_owned(), "are gone".to_owned());
        add(DriftClass::GroundMissing, object, what, Repair::Render);
    }
    if !is_collected(spec, observed) {
        let object = "files that its services wrote".to_owned();
        let what = "are not those of the containers that run".to_owned();
        add(DriftClass::GroundMissing, object, what, Repair::Collect);
    }
    for service in &spec.services {
        let seen = observed.services.get(&service.name);
        if let Some((class, what, repair)) = of_service(spec, service, seen) {
            add(class, format!("service `{}`", service.name), what, repair);
        }
    }
    let nobody = || "is wanted by nobody".to_owned();
    let is_known = |name: &ServiceName| spec.services.iter().any(|it| it.name == *name);
    for name in observed.services.keys().filter(|name| !is_known(name)) {
        add(DriftClass::Orphan, format!("service `{name}`"), nobody(), Repair::Remove);
    }
    for (container, name) in &observed.duplicates {
        let object = format!("container {}", container.chars().take(12).collect::<String>());
        let what = format!("is a second one for service `{name}`");
        add(DriftClass::Duplicate, object, what, Repair::Remove);
    }
    for volume in &observed.stray_volumes {
        add(DriftClass::Orphan, format!("volume `{volume}`"), nobody(), Repair::Remove);
    }
    drifts
}

fn of_service(
    spec: &InstanceSpec,
    service: &ServiceSpec,
    seen: Option<&ServiceSeen>,
) -> Option<(DriftClass, String, Repair)> {
    let Some(seen) = seen else {
        let what = "has no container".to_owned();
        return Some((DriftClass::ContainerMissing, what, Repair::MakeAnew));
    };
    match &seen.state {
        ServiceState::Wrong(flaw) => Some((flaw.class(), flaw.to_string(), Repair::MakeAnew)),
        ServiceState::Running | ServiceState::Usable if ends_by_itself(spec, service) => {
            let what = "runs again although it was done".to_owned();
            Some((DriftClass::ChangedByHand, what, Repair::Probe))
        }
        ServiceState::Usable => None,
        ServiceState::Running => {
            Some((DriftClass::Unhealthy, "is unhealthy".to_owned(), Repair::Probe))
        }
        ServiceState::Empty | ServiceState::Filled => {
            let what = "was made and not started".to_owned();
            Some((DriftClass::ContainerExited, what, Repair::Restart))
        }
        ServiceState::Exited { code: 0, .. } if may_end(spec, service) => None,
        ServiceState::Exited { is_oom: true, .. } => {
            let what = "was killed for using more memory than its limit".to_owned();
            Some((DriftClass::ContainerExited, what, Repair::Restart))
        }
        ServiceState::Exited { code, .. } => {
            let what = format!("exited with code {code}");
            Some((DriftClass::ContainerExited, what, Repair::Restart))
        }
    }
}

/// Volumes that are gone although something was in them: all that are missing of a ready instance,
/// and of any other those that a container of this incarnation was made with.
///
/// While a repair is under way and no such container exists, a loss cannot be told from a volume
/// that was not made yet.
pub fn lost_volumes(
    phase: InstancePhase,
    spec: &InstanceSpec,
    volumes: &BTreeSet<String>,
    has_container: impl Fn(&ServiceName) -> bool,
) -> BTreeSet<String> {
    let was_used = |volume: &str| {
        spec.services.iter().any(|service| {
            let mounts = service.volumes.iter().filter_map(|mount| mount.source.as_deref());
            has_container(&service.name) && mounts.into_iter().any(|source| source == volume)
        })
    };
    let is_lost = |volume: &&String| {
        !volumes.contains(*volume)
            && match phase {
                InstancePhase::Ready => true,
                InstancePhase::Queued
                | InstancePhase::Preparing
                | InstancePhase::Creating
                | InstancePhase::Starting
                | InstancePhase::Probing => was_used(volume),
                InstancePhase::Removing | InstancePhase::Stopped | InstancePhase::Failed => false,
            }
    };
    spec.volumes.iter().filter(is_lost).cloned().collect()
}

/// Limits of a container as the engine shows them; `None` where it shows none: a kernel without
/// that controller bounds nothing, and making the container anew would not change that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitsSeen {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Billionths of a core.
    pub nano_cpus: Option<u64>,
    /// Processes; negative is unlimited.
    pub pids: Option<i64>,
}

/// Which limits are not the wanted ones, in words.
pub fn limits_differ(wanted: &Limits, seen: &LimitsSeen) -> Option<String> {
    let mut words = Vec::new();
    if let Some(bytes) = seen.memory_bytes.filter(|bytes| *bytes != wanted.memory_bytes) {
        words.push(format!("memory {bytes} instead of {} bytes", wanted.memory_bytes));
    }
    let nano_cpus = u64::from(wanted.cpu_millis) * 1_000_000;
    if let Some(nano) = seen.nano_cpus.filter(|nano| *nano != nano_cpus) {
        words.push(format!(
            "{} instead of {} thousandths of a core",
            nano / 1_000_000,
            wanted.cpu_millis
        ));
    }
    if let Some(pids) = seen.pids.filter(|pids| *pids != i64::from(wanted.pids)) {
        words.push(format!("{pids} instead of {} processes", wanted.pids));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// How much of a service one of several containers for it is: the higher, the rather it stays.
pub fn worth(state: &ServiceState) -> u8 {
    match state {
        ServiceState::Usable => 5,
        ServiceState::Running => 4,
        ServiceState::Filled | ServiceState::Empty => 3,
        ServiceState::Exited { code: 0, .. } => 2,
        ServiceState::Exited { .. } => 1,
        ServiceState::Wrong(_) => 0,
    }
}
