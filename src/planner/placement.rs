//! Decides which node an instance goes to. Pure.
//!
//! In:  what the instance needs, what every node has and carries.
//! Out: the node, and of every other one why not.
//!
//! # Invariants
//! * A node that is chosen is healthy, on duty, open, has the images and room for all that is needed.
//! * The same question has the same answer: ties go by id.
//! * Of two nodes with room the one that carries less of this team is chosen, then the emptier one.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{BuildKey, BuildState, ContainerRuntime, Duty, NodeId};

/// What an instance needs.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The images, by what determines them.
    pub images: &'a [BuildKey],
    /// What runs its containers.
    pub runtime: ContainerRuntime,
    /// The limits of its services together.
    pub memory_bytes: u64,
    /// Labels that the node must have.
    pub labels: &'a BTreeMap<String, String>,
}

/// A node that could take it.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// Which.
    pub id: &'a NodeId,
    /// Whether it was heard of lately.
    pub is_healthy: bool,
    /// Whether it gets instances.
    pub duty: Duty,
    /// Why it starts nothing now; empty when it does.
    pub closed: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its runtimes; the default one is everywhere.
    pub runtimes: &'a std::collections::BTreeSet<String>,
    /// How far its images are.
    pub builds: &'a BTreeMap<BuildKey, BuildState>,
    /// Instances that it takes on.
    pub capacity: u32,
    /// Instances that it has.
    pub n_instances: u32,
    /// Of this team.
    pub n_of_team: u32,
    /// Its memory; 0 when it is not known.
    pub memory_bytes: u64,
    /// The limits of what it runs together.
    pub memory_used_bytes: u64,
    /// Percent of memory that may be promised: containers seldom use all that they may.
    pub overcommit_percent: u32,
}

/// Why a node does not get an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// It was not heard of.
    Lost,
    /// It gets nothing new.
    OffDuty(Duty),
    /// It starts nothing now.
    Closed(String),
    /// So many of the images are not there.
    ImagesMissing(usize),
    /// Its engine has no such runtime.
    NoRuntime(ContainerRuntime),
    /// It lacks a label, or has another value.
    Label(String),
    /// It has as many instances as it may.
    Full(u32),
    /// Its memory is promised.
    NoMemory,
}

impl Obstacle {
    /// Whether waiting for instances to end can help.
    pub fn is_room(&self) -> bool {
        matches!(self, Self::Full(_) | Self::NoMemory)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("it was not heard of lately"),
            Self::OffDuty(duty) => write!(f, "it is {duty}"),
            Self::Closed(why) => write!(f, "it starts nothing now: {why}"),
            Self::ImagesMissing(n) => write!(f, "{n} images of the challenge are not there yet"),
            Self::NoRuntime(runtime) => {
                write!(f, "its engine does not have the container runtime `{runtime}`")
            }
            Self::Label(label) => write!(f, "it lacks the label `{label}`"),
            Self::Full(capacity) => write!(f, "it has {capacity} instances, as many as it may"),
            Self::NoMemory => f.write_str("its memory is promised to other instances"),
        }
    }
}

/// Where an instance goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// The node; `None` when none can take it.
    pub node: Option<NodeId>,
    /// Why none of these.
    pub refused: BTreeMap<NodeId, Obstacle>,
}

impl Placement {
    /// Whether a node would take it once there is room.
    pub fn waits_for_room(&self) -> bool {
        self.node.is_none() && self.refused.values().any(Obstacle::is_room)
    }

    /// Why no node takes it, for people: each reason once.
    pub fn why_not(&self) -> String {
        if self.refused.is_empty() {
            return "there is no node".to_owned();
        }
        let reasons: Vec<_> =
            self.refused.iter().map(|(node, why)| format!("{node}: {why}")).collect();
        reasons.join("; ")
    }
}

/// Chooses. O(n) in nodes times images.
pub fn place(wanted: &Wanted<'_>, candidates: &[Candidate<'_>]) -> Placement {
    let mut placement = Placement::default();
    let mut best: Option<&Candidate<'_>> = None;
    for candidate in candidates {
        match obstacle(wanted, candidate) {
            Some(why) => {
                placement.refused.insert(candidate.id.clone(), why);
            }
            None if best.is_none_or(|best| rank(candidate) < rank(best)) => best = Some(candidate),
            None => {}
        }
    }
    placement.node = best.map(|best| best.id.clone());
    placement
}

/// Less is better: of this team, how full in thousandths, id.
fn rank<'a>(candidate: &'a Candidate<'_>) -> (u32, u64, &'a NodeId) {
    let capacity = u64::from(candidate.capacity.max(1));
    let fullness = u64::from(candidate.n_instances) * 1000 / capacity;
    (candidate.n_of_team, fullness, candidate.id)
}

fn obstacle(wanted: &Wanted<'_>, candidate: &Candidate<'_>) -> Option<Obstacle> {
    if !candidate.is_healthy {
        return Some(Obstacle::Lost);
    }
    if candidate.duty != Duty::Active {
        return Some(Obstacle::OffDuty(candidate.duty));
    }
    if !candidate.closed.is_empty() {
        return Some(Obstacle::Closed(candidate.closed.to_owned()));
    }
    let lacks = |(key, value): &(&String, &String)| candidate.labels.get(*key) != Some(*value);
    if let Some((key, value)) = wanted.labels.iter().find(lacks) {
        return Some(Obstacle::Label(format!("{key}={value}")));
    }
    let is_default = wanted.runtime == ContainerRuntime::Default;
    if !is_default && !candidate.runtimes.contains(wanted.runtime.as_str()) {
        return Some(Obstacle::NoRuntime(wanted.runtime));
    }
    let is_missing = |key: &&BuildKey| candidate.builds.get(key) != Some(&BuildState::Built);
    let n_missing = wanted.images.iter().filter(is_missing).count();
    if n_missing > 0 {
        return Some(Obstacle::ImagesMissing(n_missing));
    }
    if candidate.n_instances >= candidate.capacity {
        return Some(Obstacle::Full(candidate.capacity));
    }
    let promised =
        u128::from(candidate.memory_bytes) * u128::from(candidate.overcommit_percent) / 100;
    let would_be = u128::from(candidate.memory_used_bytes) + u128::from(wanted.memory_bytes);
    if candidate.memory_bytes > 0 && would_be > promised {
        return Some(Obstacle::NoMemory);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    struct Machine {
        id: NodeId,
        is_healthy: bool,
        duty: Duty,
        closed: String,
        has_images: bool,
        has_runtime: bool,
        has_label: bool,
        capacity: u32,
        n_instances: u32,
        n_of_team: u32,
        memory_used: u64,
    }

    fn machine() -> impl Strategy<Value = Machine> {
        let duty = prop_oneof![6 => Just(Duty::Active), 1 => Just(Duty::Cordoned), 1 => Just(Duty::Draining)];
        let mostly = || prop::bool::weighted(0.85);
        let first = (mostly(), duty, mostly(), mostly(), mostly(), mostly());
        (first, 0_u32..12, 0_u32..12, 0_u32..4, 0_u64..5000).prop_map(
            |(
                (is_healthy, duty, open, has_images, has_runtime, has_label),
                capacity,
                n,
                team,
                used,
            )| {
                Machine {
                    id: NodeId::local(),
                    is_healthy,
                    duty,
                    closed: if open { String::new() } else { "walls".to_owned() },
                    has_images,
                    has_runtime,
                    has_label,
                    capacity,
                    n_instances: n,
                    n_of_team: team.min(n),
                    memory_used: used,
                }
            },
        )
    }

    fn machines() -> impl Strategy<Value = Vec<Machine>> {
        prop::collection::vec(machine(), 0..6).prop_map(|mut all| {
            for (nth, machine) in all.iter_mut().enumerate() {
                machine.id = format!("n{nth}").parse().unwrap();
            }
            all
        })
    }

    fn key() -> BuildKey {
        "0".repeat(64).parse().unwrap()
    }

    /// Asks with everything that a machine may lack.
    fn ask(machines: &[Machine]) -> Placement {
        let (built, none) = (BTreeMap::from([(key(), BuildState::Built)]), BTreeMap::new());
        let (runsc, plain) = (BTreeSet::from(["runsc".to_owned()]), BTreeSet::new());
        let label = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        let unlabelled = BTreeMap::new();
        let candidates: Vec<_> = machines
            .iter()
            .map(|it| Candidate {
                id: &it.id,
                is_healthy: it.is_healthy,
                duty: it.duty,
                closed: &it.closed,
                labels: if it.has_label { &label } else { &unlabelled },
                runtimes: if it.has_runtime { &runsc } else { &plain },
                builds: if it.has_images { &built } else { &none },
                capacity: it.capacity,
                n_instances: it.n_instances,
                n_of_team: it.n_of_team,
                memory_bytes: 4000,
                memory_used_bytes: it.memory_used,
                overcommit_percent: 100,
            })
            .collect();
        let images = [key()];
        let wanted = Wanted {
            images: &images,
            runtime: ContainerRuntime::Runsc,
            memory_bytes: 500,
            labels: &label,
        };
        place(&wanted, &candidates)
    }

    fn is_able(it: &Machine) -> bool {
        it.is_healthy
            && it.duty == Duty::Active
            && it.closed.is_empty()
            && it.has_images
            && it.has_runtime
            && it.has_label
            && it.n_instances < it.capacity
            && it.memory_used + 500 <= 4000
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn whoever_is_chosen_can_and_is_the_best_of_those_who_can(machines in machines()) {
            let placement = ask(&machines);
            let able: Vec<_> = machines.iter().filter(|it| is_able(it)).collect();
            prop_assert_eq!(placement.node.is_some(), !able.is_empty());
            if let Some(chosen) = &placement.node {
                let chosen = machines.iter().find(|it| it.id == *chosen).unwrap();
                prop_assert!(is_able(chosen));
                let fewest = able.iter().map(|it| it.n_of_team).min().unwrap();
                prop_assert_eq!(chosen.n_of_team, fewest);
            }
            for machine in &machines {
                prop_assert_eq!(placement.refused.contains_key(&machine.id), !is_able(machine));
            }
            let mut other_way = machines.clone();
            other_way.reverse();
            prop_assert_eq!(ask(&other_way), placement);
        }

        #[test]
        fn one_team_is_spread(n_nodes in 1_usize..6, n in 1_u32..24) {
            let mut machines: Vec<_> = (0..n_nodes)
                .map(|nth| Machine {
                    id: format!("n{nth}").parse().unwrap(),
                    is_healthy: true,
                    duty: Duty::Active,
                    closed: String::new(),
                    has_images: true,
                    has_runtime: true,
                    has_label: true,
                    capacity: 100,
                    n_instances: 0,
                    n_of_team: 0,
                    memory_used: 0,
                })
                .collect();
            for _ in 0..n {
                let node = ask(&machines).node.unwrap();
                let chosen = machines.iter_mut().find(|it| it.id == node).unwrap();
                chosen.n_instances += 1;
                chosen.n_of_team += 1;
            }
            let most = machines.iter().map(|it| it.n_of_team).max().unwrap();
            let least = machines.iter().map(|it| it.n_of_team).min().unwrap();
            prop_assert!(most - least <= 1);
        }
    }

    #[test]
    fn whoever_waits_for_room_is_told_from_whom_nobody_takes() {
        let refused = |why: Obstacle| Placement {
            node: None,
            refused: BTreeMap::from([(NodeId::local(), why)]),
        };
        assert!(refused(Obstacle::Full(5)).waits_for_room());
        assert!(refused(Obstacle::NoMemory).waits_for_room());
        assert!(!refused(Obstacle::Lost).waits_for_room());
        assert_eq!(
            refused(Obstacle::Full(5)).why_not(),
            "local: it has 5 instances, as many as it may"
        );
        assert_eq!(Placement::default().why_not(), "there is no node");
    }
}
