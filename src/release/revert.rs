//! Decides which challenges go back to their last good version by themselves.
//!
//! In:  what is live, how starts of each version went, which versions were live before.
//! Out: for each version that does not work, the one that takes its place.
//!
//! # Invariants
//! * A version goes back only to one that players had and that became usable for them.
//! * A version that ever became usable stays: what breaks it later is no fault of the release.
//! * Whoever goes back does not come again: its version is taken out of service with the flip, so
//!   there is no ping-pong, and one revert of a challenge at most in a generation.
//! * When versions that did not change fail as well, the node is at fault and nothing goes back.
//!
//! # Not here
//! Rollbacks by people (`daemon::platform`).

use std::collections::{BTreeMap, BTreeSet};

use super::manifest::{Entry, EntryDisposition};
use crate::model::{ChallengeId, TreeId};

/// Starts that must have failed, with none that worked.
const MIN_FAILED: u32 = 2;

/// How starts of one version went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StartRecord {
    /// Those that became usable.
    pub n_good: u32,
    /// Those that failed before.
    pub n_failed: u32,
}

/// How starts went, by version.
pub type StartRecords = BTreeMap<(ChallengeId, TreeId), StartRecord>;

/// What is known.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// What players have.
    pub live: &'a BTreeMap<ChallengeId, Entry>,
    /// What they had before, the newest first: the manifests of earlier generations.
    pub history: &'a [BTreeMap<ChallengeId, Entry>],
    /// Versions that are live since lately; only these go back.
    pub fresh: &'a BTreeSet<(ChallengeId, TreeId)>,
    /// How starts ever went.
    pub starts: &'a StartRecords,
    /// Versions that were taken out of service.
    pub quarantined: &'a BTreeSet<(ChallengeId, TreeId)>,
}

/// One challenge that goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revert {
    /// Which.
    pub challenge: ChallengeId,
    /// From this version.
    pub from: TreeId,
    /// To this one.
    pub to: Entry,
}

/// What goes back now. Pure and total.
pub fn due(scene: &Scene<'_>) -> Vec<Revert> {
    let record =
        |id: &ChallengeId, tree| scene.starts.get(&(id.clone(), tree)).copied().unwrap_or_default();
    let is_broken = |id: &ChallengeId, entry: &Entry| {
        let starts = record(id, entry.tree);
        starts.n_good == 0 && starts.n_failed >= MIN_FAILED
    };
    let is_fresh =
        |id: &ChallengeId, entry: &Entry| scene.fresh.contains(&(id.clone(), entry.tree));
    let is_node_at_fault =
        scene.live.iter().any(|(id, entry)| !is_fresh(id, entry) && is_broken(id, entry));
    if is_node_at_fault {
        return Vec::new();
    }
    let broken =
        scene.live.iter().filter(|(id, entry)| is_fresh(id, entry) && is_broken(id, entry));
    let reverts = broken.filter_map(|(id, entry)| {
        let to = last_good(scene, id, entry.tree)?;
        Some(Revert { challenge: id.clone(), from: entry.tree, to })
    });
    reverts.collect()
}

/// The newest version before `than` that players had and that became usable for them.
fn last_good(scene: &Scene<'_>, id: &ChallengeId, than: TreeId) -> Option<Entry> {
    let is_good = |entry: &&Entry| {
        let version = (id.clone(), entry.tree);
        let starts = scene.starts.get(&version).copied().unwrap_or_default();
        entry.tree != than && starts.n_good > 0 && !scene.quarantined.contains(&version)
    };
    let entry = scene.history.iter().filter_map(|manifest| manifest.get(id)).find(is_good)?;
    Some(Entry { disposition: EntryDisposition::LastKnownGood, ..entry.clone() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{ObjectId, Revision};

    fn tree(n: u8) -> TreeId {
        TreeId(ObjectId::from_bytes([n; 20]))
    }

    fn manifest(versions: &BTreeMap<String, u8>) -> BTreeMap<ChallengeId, Entry> {
        let entry = |n: u8| Entry {
            path: "WEB/x".into(),
            revision: Revision(ObjectId::from_bytes([n; 20])),
            tree: tree(n),
            images: vec![],
            disposition: EntryDisposition::Include,
        };
        versions.iter().map(|(id, n)| (id.parse().unwrap(), entry(*n))).collect()
    }

    fn of(versions: &[(&str, u8)]) -> BTreeMap<ChallengeId, Entry> {
        manifest(&versions.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect())
    }

    fn versions(all: &[(&str, u8)]) -> BTreeSet<(ChallengeId, TreeId)> {
        all.iter().map(|(id, n)| (id.parse().unwrap(), tree(*n))).collect()
    }

    fn starts(all: &[(&str, u8, u32, u32)]) -> StartRecords {
        all.iter()
            .map(|(id, n, n_good, n_failed)| {
                let record = StartRecord { n_good: *n_good, n_failed: *n_failed };
                ((id.parse().unwrap(), tree(*n)), record)
            })
            .collect()
    }

    fn reverts(
        live: &[(&str, u8)],
        history: &[&[(&str, u8)]],
        starts_of: &[(&str, u8, u32, u32)],
        out: &[(&str, u8)],
    ) -> Vec<(String, u8)> {
        let history: Vec<_> = history.iter().map(|it| of(it)).collect();
        let fresh = versions(&[("A", 3), ("B", 3)]);
        let scene = Scene {
            live: &of(live),
            history: &history,
            fresh: &fresh,
            starts: &starts(starts_of),
            quarantined: &versions(out),
        };
        let named = |it: Revert| (it.challenge.to_string(), it.to.tree.0.as_bytes()[0]);
        due(&scene).into_iter().map(named).collect()
    }

    #[test]
    fn what_failed_twice_goes_back_to_what_last_worked() {
        let broken = [("A", 3, 0, 2), ("A", 2, 0, 0), ("A", 1, 5, 1)];
        let history: &[&[_]] = &[&[("A", 2)], &[("A", 1)]];
        assert_eq!(reverts(&[("A", 3)], history, &broken, &[]), [("A".to_owned(), 1)]);
        assert_eq!(reverts(&[("A", 3)], history, &broken, &[("A", 1)]), [], "it was taken out");
        assert_eq!(reverts(&[("A", 3)], &[], &broken, &[]), [], "there is nothing to go back to");
        let once = [("A", 3, 0, 1), ("A", 1, 5, 0)];
        assert_eq!(reverts(&[("A", 3)], history, &once, &[]), [], "once is no proof");
        let works = [("A", 3, 1, 9), ("A", 1, 5, 0)];
        assert_eq!(reverts(&[("A", 3)], history, &works, &[]), [], "it worked for somebody");
    }

    #[test]
    fn what_did_not_change_and_fails_blames_the_node() {
        let all = [("A", 3, 0, 2), ("A", 1, 5, 0), ("C", 1, 0, 2)];
        assert_eq!(reverts(&[("A", 3), ("C", 1)], &[&[("A", 1)]], &all, &[]), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn whoever_goes_back_stays_there(
            live in proptest::collection::btree_map("[A-C]", 0_u8..4, 0..4),
            history in proptest::collection::vec(
                proptest::collection::btree_map("[A-C]", 0_u8..4, 0..4), 0..4),
            starts in proptest::collection::btree_map(("[A-C]", 0_u8..4), (0_u32..2, 0_u32..4), 0..12),
            fresh in proptest::collection::btree_set(("[A-C]", 0_u8..4), 0..12),
        ) {
            let version = |(id, n): (String, u8)| (id.parse::<ChallengeId>().unwrap(), tree(n));
            let starts: StartRecords = starts
                .into_iter()
                .map(|(key, (n_good, n_failed))| (version(key), StartRecord { n_good, n_failed }))
                .collect();
            let fresh: BTreeSet<_> = fresh.into_iter().map(version).collect();
            let history: Vec<_> = history.iter().map(manifest).collect();
            let mut live = manifest(&live);
            let mut quarantined = BTreeSet::new();
            for round in 0.. {
                let scene = Scene {
                    live: &live,
                    history: &history,
                    fresh: &fresh,
                    starts: &starts,
                    quarantined: &quarantined,
                };
                let reverts = due(&scene);
                if reverts.is_empty() {
                    break;
                }
                prop_assert!(round < 1, "what it went back to worked, so it stays");
                for it in reverts {
                    prop_assert!(it.from != it.to.tree);
                    quarantined.insert((it.challenge.clone(), it.from));
                    live.insert(it.challenge, it.to);
                }
            }
        }
    }
}
