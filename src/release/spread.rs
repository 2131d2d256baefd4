//! One state of an image out of its states on all nodes. Pure.
//!
//! # Invariants
//! * An image is built when it is on as many nodes as are asked for; without a node none is.
//! * One that failed somewhere is failed, unless enough others have it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{BuildKey, BuildState};

/// On how many nodes an image must be before its version goes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// On each that counts.
    All,
    /// On so many: the others follow, and get instances once they have it.
    Some(u32),
}

impl Reach {
    /// The setting: 0 is all.
    pub fn of(canary: u32) -> Self {
        if canary == 0 { Self::All } else { Self::Some(canary) }
    }
}

/// The states of all nodes that count as one.
pub fn spread(
    nodes: &[&BTreeMap<BuildKey, BuildState>],
    reach: Reach,
) -> BTreeMap<BuildKey, BuildState> {
    let keys: BTreeSet<&BuildKey> = nodes.iter().flat_map(|node| node.keys()).collect();
    let state = |key: &BuildKey| {
        let states: Vec<BuildState> = nodes
            .iter()
            .map(|node| node.get(key).copied().unwrap_or(BuildState::Unbuilt))
            .collect();
        one(&states, reach)
    };
    keys.into_iter().map(|key| (*key, state(key))).collect()
}

fn one(states: &[BuildState], reach: Reach) -> BuildState {
    let count = |wanted: BuildState| states.iter().filter(|it| **it == wanted).count();
    let n_wanted = match reach {
        Reach::All => states.len(),
        Reach::Some(n) => (n as usize).min(states.len()),
    };
    let n_built = count(BuildState::Built);
    if n_wanted > 0 && n_built >= n_wanted {
        return BuildState::Built;
    }
    let n_failed = count(BuildState::Failed);
    // As long as the others could still be enough, it is waited for them.
    if n_failed > 0 && states.len() - n_failed < n_wanted {
        return BuildState::Failed;
    }
    if count(BuildState::Building) > 0 || n_built > 0 {
        return BuildState::Building;
    }
    BuildState::Unbuilt
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_state() -> impl Strategy<Value = BuildState> {
        prop_oneof![
            Just(BuildState::Unbuilt),
            Just(BuildState::Building),
            Just(BuildState::Built),
            Just(BuildState::Failed),
        ]
    }

    proptest! {
        #[test]
        fn built_means_on_as_many_as_were_asked_for(
            states in prop::collection::vec(any_state(), 0..6),
            n in 0_u32..5,
        ) {
            let reach = Reach::of(n);
            let n_built = states.iter().filter(|it| **it == BuildState::Built).count();
            let wanted = match reach {
                Reach::All => states.len(),
                Reach::Some(n) => (n as usize).min(states.len()),
            };
            let is_built = one(&states, reach) == BuildState::Built;
            prop_assert_eq!(is_built, wanted > 0 && n_built >= wanted);
            let n_failed = states.iter().filter(|it| **it == BuildState::Failed).count();
            if one(&states, reach) == BuildState::Failed {
                prop_assert!(states.len() - n_failed < wanted, "the others could not be enough");
            }
            if n_failed == states.len() && !states.is_empty() {
                prop_assert_eq!(one(&states, reach), BuildState::Failed);
            }
        }

        #[test]
        fn the_order_of_nodes_does_not_matter(states in prop::collection::vec(any_state(), 0..6)) {
            let mut other_way = states.clone();
            other_way.reverse();
            prop_assert_eq!(one(&states, Reach::All), one(&other_way, Reach::All));
        }
    }

    #[test]
    fn one_node_alone_decides_alone() {
        for state in
            [BuildState::Unbuilt, BuildState::Building, BuildState::Built, BuildState::Failed]
        {
            assert_eq!(one(&[state], Reach::All), state);
        }
    }

    #[test]
    fn a_canary_goes_first() {
        let states = [BuildState::Built, BuildState::Building, BuildState::Failed];
        assert_eq!(one(&states, Reach::Some(1)), BuildState::Built);
        assert_eq!(one(&states, Reach::Some(2)), BuildState::Building);
        assert_eq!(one(&states, Reach::All), BuildState::Failed);
    }
}
