//! Decides what a node that wants an image is told: where it is, that somebody builds it, or to build it.
//!
//! In:  the states of the image on every machine that counts, and who was told to build it.
//! Out: an [`Answer`].
//!
//! # Invariants
//! * Somebody who has the image is always named before anybody is told to build it.
//! * While one machine builds it nobody else is told to, unless it fails or is heard of no more.
//! * Whoever asks is told to build it rather than to wait for nobody.
//!
//! # Not here
//! Sending it (`daemon::nodes::images`), which machines are heard of (`daemon::nodes`).

use std::collections::BTreeMap;

use crate::model::{BuildState, NodeId, Timestamp};

/// How long whoever was told to build an image has until it says that it does.
pub const ERRAND_SECS: i64 = 60;

/// Who was told to build an image, and until when that counts without a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// Who.
    pub node: NodeId,
    /// Until when.
    pub until: Timestamp,
}

/// What is known of one image.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Its state on the platform's own machine; `None` where that builds nothing, or nobody wants it there.
    pub own: Option<BuildState>,
    /// Its state on every node that is heard of, where it has one.
    pub nodes: BTreeMap<NodeId, BuildState>,
    /// Who was told to build it last.
    pub errand: Option<Errand>,
}

/// What a node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The platform's own machine has it.
    Own,
    /// That node has it.
    From(NodeId),
    /// Somebody builds it.
    Wait,
    /// It is to build it.
    Build,
}

/// What `asker` is told at `now`.
pub fn answer(ground: &Ground, asker: &NodeId, now: Timestamp) -> Answer {
    if ground.own == Some(BuildState::Built) {
        return Answer::Own;
    }
    let others = || ground.nodes.iter().filter(|(node, _)| *node != asker);
    if let Some((node, _)) = others().find(|(_, state)| **state == BuildState::Built) {
        return Answer::From(node.clone());
    }
    if matches!(ground.own, Some(BuildState::Unbuilt | BuildState::Building)) {
        return Answer::Wait;
    }
    // That a node says that it builds an image proves nothing: it says so while it waits, too.
    let busy =
        ground.errand.as_ref().filter(|errand| errand.node != *asker).is_some_and(|errand| {
            match ground.nodes.get(&errand.node) {
                Some(BuildState::Building) => true,
                Some(BuildState::Failed) => false,
                Some(BuildState::Unbuilt | BuildState::Built) | None => errand.until > now,
            }
        });
    if busy { Answer::Wait } else { Answer::Build }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(n: u8) -> NodeId {
        format!("node-{n}").parse().unwrap()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn ground(own: Option<BuildState>, nodes: &[(u8, BuildState)], errand: Option<u8>) -> Ground {
        Ground {
            own,
            nodes: nodes.iter().map(|(n, state)| (node(*n), *state)).collect(),
            errand: errand.map(|n| Errand { node: node(n), until: at(100) }),
        }
    }

    #[test]
    fn what_a_node_is_told() {
        use BuildState::{Building, Built, Failed, Unbuilt};
        for (ground, now, wanted) in [
            (ground(Some(Built), &[(2, Built)], None), 50, Answer::Own),
            (ground(Some(Building), &[(2, Built)], None), 50, Answer::From(node(2))),
            (ground(Some(Unbuilt), &[], None), 50, Answer::Wait),
            (ground(None, &[], None), 50, Answer::Build),
            // Its own image is no answer: it asks because its engine lost it.
            (ground(None, &[(1, Built)], None), 50, Answer::Build),
            // It says so because it waits, and so does the other one.
            (ground(None, &[(1, Building), (2, Building)], None), 50, Answer::Build),
            (ground(None, &[(1, Building), (2, Building)], Some(2)), 500, Answer::Wait),
            (ground(None, &[(1, Building)], Some(2)), 50, Answer::Wait),
            (ground(None, &[(1, Building)], Some(2)), 100, Answer::Build),
            (ground(None, &[(2, Failed)], Some(2)), 50, Answer::Build),
            (ground(None, &[], Some(1)), 50, Answer::Build),
            (ground(Some(Failed), &[], None), 50, Answer::Build),
        ] {
            assert_eq!(answer(&ground, &node(1), at(now)), wanted, "{ground:?} at {now}");
        }
    }

    fn state() -> impl Strategy<Value = BuildState> {
        use BuildState::{Building, Built, Failed, Unbuilt};
        prop::sample::select(vec![Building, Built, Failed, Unbuilt])
    }

    fn any_ground() -> impl Strategy<Value = Ground> {
        let nodes = prop::collection::btree_map((0_u8..5).prop_map(node), state(), 0..5);
        let errand = prop::option::of((0_u8..5, 0_i64..200))
            .prop_map(|it| it.map(|(n, until)| Errand { node: node(n), until: at(until) }));
        (prop::option::of(state()), nodes, errand).prop_map(|(own, nodes, errand)| Ground {
            own,
            nodes,
            errand,
        })
    }

    proptest! {
        #[test]
        fn nobody_builds_what_another_has_and_nobody_waits_for_nobody(
            ground in any_ground(), n in 0_u8..5, now in 0_i64..200,
        ) {
            let (asker, now) = (node(n), at(now));
            let mut others = ground.nodes.iter().filter(|(node, _)| **node != asker);
            let is_there = ground.own == Some(BuildState::Built)
                || others.any(|(_, state)| *state == BuildState::Built);
            match answer(&ground, &asker, now) {
                Answer::Own => prop_assert_eq!(ground.own, Some(BuildState::Built)),
                Answer::From(node) => {
                    prop_assert_ne!(&node, &asker);
                    prop_assert_eq!(ground.nodes.get(&node), Some(&BuildState::Built));
                }
                Answer::Build => prop_assert!(!is_there),
                Answer::Wait => {
                    prop_assert!(!is_there);
                    let own = matches!(ground.own, Some(BuildState::Unbuilt | BuildState::Building));
                    prop_assert!(own || ground.errand.is_some_and(|it| it.node != asker));
                }
            }
        }

        #[test]
        fn of_nodes_that_all_ask_one_builds(ids in prop::collection::btree_set(0_u8..5, 1..5)) {
            let mut ground = ground(None, &[], None);
            let mut n_builders = 0;
            for _ in 0..3 {
                for id in &ids {
                    let told = answer(&ground, &node(*id), at(0));
                    if told == Answer::Build {
                        let is_new = |it: &Errand| it.node != node(*id);
                        n_builders += usize::from(ground.errand.as_ref().is_none_or(is_new));
                        ground.errand = Some(Errand { node: node(*id), until: at(60) });
                    } else {
                        prop_assert_eq!(told, Answer::Wait);
                    }
                    ground.nodes.insert(node(*id), BuildState::Building);
                }
            }
            prop_assert_eq!(n_builders, 1);
        }
    }
}
