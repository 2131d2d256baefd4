//! Decides which networks the hub of a team is put onto, taken off, and told to lead to.
//!
//! In:  the networks that the gateways of the team's engagements are on, and what the hub is on and knows.
//! Out: the next steps, in order.
//!
//! # Invariants
//! * A hub is put onto a network only while an engagement of its team has it.
//! * What a hub should not lead to it is told before it is taken off, and what it should only once it
//!   is on it: it never leads to where it is not, and never to where it should not.
//! * Its own network, which its port is published on, is never touched.
//! * Nothing is planned when nothing is to be done.
//!
//! # Not here
//! Doing it, and the mark on a network that says that a hub may be on it (`daemon::hubs`).

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;

/// A network that a hub could lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its addresses.
    pub subnet: Ipv4Net,
    /// How many containers of the instance are on it.
    pub n_containers: usize,
}

impl Candidate {
    /// Whether there is an address for a hub beside those of the instance, the host's own, and one to
    /// spare for a container that is made anew.
    pub fn has_room(&self) -> bool {
        let n_addresses = self.subnet.hosts().count();
        self.n_containers + 3 <= n_addresses
    }
}

/// What is wanted of a hub: networks by the engine's id.
pub type Wanted = BTreeMap<String, Ipv4Net>;

/// What is seen of a hub that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubSeen {
    /// The network that its port is published on.
    pub edge: String,
    /// The networks that it is on, by the engine's id.
    pub on: BTreeSet<String>,
    /// Where it was told to lead last; `None` when nobody knows.
    pub told: Option<BTreeSet<Ipv4Net>>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubStep {
    /// It is to lead to exactly these.
    Tell(BTreeSet<Ipv4Net>),
    /// It comes off that network.
    Disconnect(String),
    /// It goes onto that network.
    Connect(String, Ipv4Net),
}

/// The next steps of a hub, in order. Each is worth doing even when a later one fails.
pub fn plan(wanted: &Wanted, seen: &HubSeen) -> Vec<HubStep> {
    let mut steps = Vec::new();
    let reached = wanted.iter().filter(|(id, _)| seen.on.contains(*id));
    let before: BTreeSet<Ipv4Net> = reached.map(|(_, subnet)| *subnet).collect();
    // What it knows too much, or nobody knows what it knows.
    let is_too_much = seen.told.as_ref().is_none_or(|told| !told.is_subset(&before));
    if is_too_much {
        steps.push(HubStep::Tell(before.clone()));
    }
    let surplus = seen.on.iter().filter(|id| **id != seen.edge && !wanted.contains_key(*id));
    steps.extend(surplus.map(|id| HubStep::Disconnect(id.clone())));
    let missing = wanted.iter().filter(|(id, _)| !seen.on.contains(*id));
    steps.extend(missing.map(|(id, subnet)| HubStep::Connect(id.clone(), *subnet)));
    let all: BTreeSet<Ipv4Net> = wanted.values().copied().collect();
    let known = if is_too_much { Some(&before) } else { seen.told.as_ref() };
    if known != Some(&all) {
        steps.push(HubStep::Tell(all));
    }
    steps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(n: u8) -> Ipv4Net {
        Ipv4Net::new([10, 80, 0, n * 16].into(), 28).unwrap()
    }

    fn id(n: u8) -> String {
        format!("net{n}")
    }

    fn wanted(of: &BTreeSet<u8>) -> Wanted {
        of.iter().map(|n| (id(*n), net(*n))).collect()
    }

    fn seen(on: &BTreeSet<u8>, told: Option<&BTreeSet<u8>>) -> HubSeen {
        let mut on: BTreeSet<String> = on.iter().map(|n| id(*n)).collect();
        on.insert("edge".to_owned());
        let told = told.map(|it| it.iter().map(|n| net(*n)).collect());
        HubSeen { edge: "edge".to_owned(), on, told }
    }

    fn follow(seen: &mut HubSeen, step: &HubStep) {
        match step {
            HubStep::Tell(nets) => seen.told = Some(nets.clone()),
            HubStep::Disconnect(id) => {
                seen.on.remove(id);
            }
            HubStep::Connect(id, _) => {
                seen.on.insert(id.clone());
            }
        }
    }

    #[test]
    fn what_it_leads_to_goes_before_the_network_and_comes_after_it() {
        let steps = plan(
            &wanted(&BTreeSet::from([2, 3])),
            &seen(&BTreeSet::from([1, 2]), Some(&BTreeSet::from([1, 2]))),
        );
        let told = |of: &[u8]| HubStep::Tell(of.iter().map(|n| net(*n)).collect());
        assert_eq!(
            steps,
            [
                told(&[2]),
                HubStep::Disconnect(id(1)),
                HubStep::Connect(id(3), net(3)),
                told(&[2, 3])
            ]
        );
    }

    #[test]
    fn a_network_without_a_spare_address_is_left_alone() {
        let of = |n_containers| Candidate { subnet: net(1), n_containers };
        assert!(of(11).has_room());
        assert!(!of(12).has_room());
    }

    fn some() -> impl Strategy<Value = BTreeSet<u8>> {
        prop::collection::btree_set(0_u8..6, 0..6)
    }

    proptest! {
        #[test]
        fn after_any_number_of_steps_it_leads_to_nothing_that_it_should_not(
            want in some(), on in some(), told in prop::option::of(some()), n_done in 0_usize..9
        ) {
            let want = wanted(&want);
            let mut hub = seen(&on, told.as_ref());
            let knew = hub.told.clone();
            let steps = plan(&want, &hub);
            for (nth, step) in steps.iter().take(n_done).enumerate() {
                if let HubStep::Connect(id, _) = step {
                    prop_assert!(want.contains_key(id));
                }
                let is_edge = matches!(step, HubStep::Disconnect(id) if *id == hub.edge);
                prop_assert!(!is_edge);
                follow(&mut hub, step);
                // From the first step on everything that it knows is wanted, and it is on it.
                let is_fine = hub.told.as_ref().is_some_and(|told| told.iter().all(|net| {
                    let found = want.iter().find(|(_, it)| *it == net);
                    found.is_some_and(|(id, _)| hub.on.contains(id))
                }));
                prop_assert!(is_fine, "step {nth} of {steps:?} from {knew:?}");
            }
        }

        #[test]
        fn whatever_was_it_comes_to_what_is_wanted_and_then_nothing_is_done(
            want in some(), on in some(), told in prop::option::of(some()), n_done in 0_usize..9
        ) {
            let want = wanted(&want);
            let mut hub = seen(&on, told.as_ref());
            // Cut off anywhere, and begun anew.
            for step in plan(&want, &hub).into_iter().take(n_done) {
                follow(&mut hub, &step);
            }
            for step in plan(&want, &hub) {
                follow(&mut hub, &step);
            }
            let mut on: BTreeSet<String> = want.keys().cloned().collect();
            on.insert("edge".to_owned());
            prop_assert_eq!(&hub.on, &on);
            prop_assert_eq!(hub.told.clone().unwrap(), want.values().copied().collect());
            prop_assert_eq!(plan(&want, &hub), []);
        }
    }
}
