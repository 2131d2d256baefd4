//! Circles in small graphs: `requires` of questions, `depends_on` of services.

use std::collections::{BTreeMap, BTreeSet};

/// The first circle, its first node repeated at the end; `None` when there is none. Nodes are
/// tried in order; edges to nodes that are no key are ignored.
pub(crate) fn first_cycle<'n>(edges: &BTreeMap<&'n str, Vec<&'n str>>) -> Option<Vec<&'n str>> {
    let mut done = BTreeSet::new();
    for start in edges.keys() {
        // A path of (node, next edge to try): no recursion, whatever the depth.
        let mut path: Vec<(&'n str, usize)> = vec![(start, 0)];
        while let Some((node, nth)) = path.last_mut() {
            let next = edges.get(*node).and_then(|targets| targets.get(*nth)).copied();
            *nth += 1;
            match next {
                None => {
                    done.insert(*node);
                    path.pop();
                }
                Some(target) if done.contains(target) => (),
                Some(target) => match path.iter().position(|(node, _)| *node == target) {
                    Some(at) => {
                        let mut cycle: Vec<&str> =
                            path[at..].iter().map(|(node, _)| *node).collect();
                        cycle.push(target);
                        return Some(cycle);
                    }
                    None => path.push((target, 0)),
                },
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_named_in_order_and_a_diamond_is_none() {
        let diamond = BTreeMap::from([("a", vec!["b", "c"]), ("b", vec!["d"]), ("c", vec!["d"])]);
        assert_eq!(first_cycle(&diamond), None);
        let circle = BTreeMap::from([("a", vec!["b"]), ("b", vec!["c"]), ("c", vec!["b"])]);
        assert_eq!(first_cycle(&circle), Some(vec!["b", "c", "b"]));
        let own = BTreeMap::from([("a", vec!["a"])]);
        assert_eq!(first_cycle(&own), Some(vec!["a", "a"]));
    }
}
