//! How far a branch may be followed when every commit of it must be signed.
//!
//! # Invariants
//! * What is followed is signed, and so is everything between it and what was followed before.
//! * A good commit on top vouches for nothing below it.

use std::collections::BTreeMap;

use super::Verdict;
use crate::model::Revision;

/// One commit of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The commit.
    pub revision: Revision,
    /// Its parents, the first one first.
    pub parents: Vec<Revision>,
    /// Whether it is signed by one who may.
    pub verdict: Verdict,
}

/// How far a branch may be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The newest commit of the branch that may be followed; `None` when none may.
    pub last_good: Option<Revision>,
    /// The oldest commit that is not good, and why.
    pub broken: Option<(Revision, Verdict)>,
}

/// Judges the commits that `links` lists: every one of the branch that the `anchor`, which was
/// followed before, does not contain, parents before children, the tip last. Without an anchor only
/// the tip counts, and its signer vouches for what is below it.
pub fn verify_chain(links: &[Link], anchor: Option<Revision>) -> Chain {
    let broken = links.iter().find(|link| !link.verdict.is_good());
    let broken = broken.map(|link| (link.revision, link.verdict.clone()));
    let Some(anchor) = anchor else {
        let tip = links.last().filter(|tip| tip.verdict.is_good());
        return Chain { last_good: tip.map(|tip| tip.revision), broken };
    };
    let mut known: BTreeMap<Revision, Standing> = BTreeMap::new();
    for link in links {
        let mut standing = Standing { is_good: link.verdict.is_good(), is_above: false };
        for parent in &link.parents {
            let is_good = known.get(parent).is_none_or(|it| it.is_good);
            let is_above = known.get(parent).is_some_and(|it| it.is_above);
            standing.is_good &= is_good;
            standing.is_above |= *parent == anchor || is_above;
        }
        known.insert(link.revision, standing);
    }
    Chain { last_good: Some(newest(links, &known).unwrap_or(anchor)), broken }
}

/// How one commit and everything new below it stands.
struct Standing {
    /// All of it is signed.
    is_good: bool,
    /// It contains what was followed before.
    is_above: bool,
}

/// The newest commit that the branch itself was at, which may be followed.
fn newest(links: &[Link], known: &BTreeMap<Revision, Standing>) -> Option<Revision> {
    let by_revision: BTreeMap<_, _> = links.iter().map(|link| (link.revision, link)).collect();
    let mut at = links.last();
    while let Some(link) = at {
        if known.get(&link.revision).is_some_and(|it| it.is_good && it.is_above) {
            return Some(link.revision);
        }
        at = link.parents.first().and_then(|first| by_revision.get(first).copied());
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{ObjectId, Timestamp};
    use crate::trust::Signer;

    fn revision(n: u8) -> Revision {
        Revision(ObjectId::from_bytes([n; 20]))
    }

    /// Who signed a commit.
    #[derive(Debug, Clone, Copy)]
    enum By {
        Alice,
        Nobody,
    }
    use By::{Alice, Nobody};

    fn link(n: u8, parents: &[u8], by: By) -> Link {
        let signer = Signer { name: "alice".into(), key: "SHA256:x".into() };
        let good = Verdict::Good {
            signer,
            at: Timestamp::from_millis(0),
            target: ObjectId::from_bytes([n; 20]),
        };
        Link {
            revision: revision(n),
            parents: parents.iter().map(|n| revision(*n)).collect(),
            verdict: match by {
                Alice => good,
                Nobody => Verdict::Unsigned,
            },
        }
    }

    fn last_good(links: &[Link], anchor: Option<u8>) -> Option<Revision> {
        verify_chain(links, anchor.map(revision)).last_good
    }

    #[test]
    fn a_branch_is_followed_up_to_the_first_that_nobody_signed() {
        let links = [link(2, &[1], Alice), link(3, &[2], Nobody), link(4, &[3], Alice)];
        assert_eq!(last_good(&links, Some(1)), Some(revision(2)));
        assert_eq!(last_good(&links[..1], Some(1)), Some(revision(2)));
        assert_eq!(last_good(&links[1..2], Some(2)), Some(revision(2)), "it stays where it was");
        assert_eq!(last_good(&[], Some(1)), Some(revision(1)));
        let broken = verify_chain(&links, Some(revision(1))).broken;
        assert_eq!(broken, Some((revision(3), Verdict::Unsigned)));
    }

    #[test]
    fn the_first_look_asks_for_the_tip_alone() {
        assert_eq!(last_good(&[link(4, &[3], Alice)], None), Some(revision(4)));
        assert_eq!(last_good(&[link(4, &[3], Nobody)], None), None);
        assert_eq!(last_good(&[], None), None);
    }

    #[test]
    fn a_merge_brings_nothing_unsigned_and_a_side_branch_is_not_the_branch() {
        // 1 is followed; 5 merges 2 (of the branch) with 4, which sits on an unsigned 3.
        let merge = [
            link(2, &[1], Alice),
            link(3, &[1], Nobody),
            link(4, &[3], Alice),
            link(5, &[2, 4], Alice),
        ];
        assert_eq!(last_good(&merge, Some(1)), Some(revision(2)));
        // The branch was moved to another history, which was merged with what was followed.
        let moved = [link(3, &[], Alice), link(4, &[3, 1], Nobody)];
        assert_eq!(last_good(&moved, Some(1)), Some(revision(1)));
    }

    /// A graph over an anchor 0 and an older commit 200: each commit has one or two earlier ones.
    fn any_graph() -> impl Strategy<Value = Vec<(By, usize, Option<usize>)>> {
        proptest::collection::vec(
            (
                prop_oneof![4 => Just(Alice), 1 => Just(Nobody)],
                0..12_usize,
                prop::option::of(0..12_usize),
            ),
            1..12,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn what_is_followed_has_nothing_unsigned_between_it_and_the_anchor(graph in any_graph()) {
            let earlier = |nth: usize, at: usize| match at % (nth + 2) {
                0 => 0,
                1 => 200,
                n => u8::try_from(n - 1).unwrap(),
            };
            let links: Vec<_> = graph
                .iter()
                .enumerate()
                .map(|(nth, (by, one, other))| {
                    let parents: Vec<_> =
                        [Some(*one), *other].into_iter().flatten().map(|at| earlier(nth, at)).collect();
                    link(u8::try_from(nth + 1).unwrap(), &parents, *by)
                })
                .collect();
            let followed = last_good(&links, Some(0)).unwrap();
            let by_revision: BTreeMap<_, _> = links.iter().map(|it| (it.revision, it)).collect();
            let (mut seen, mut open) = (BTreeSet::new(), vec![followed]);
            while let Some(at) = open.pop() {
                if seen.insert(at)
                    && let Some(link) = by_revision.get(&at)
                {
                    prop_assert!(link.verdict.is_good(), "{at} is not signed");
                    open.extend(&link.parents);
                }
            }
            prop_assert!(seen.contains(&revision(0)), "what was followed is still in it");
        }
    }
}
