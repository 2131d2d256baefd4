//! Decides which version of each challenge players get, when no tag policy is set: the newest one
//! that is valid and built; an invalid or unbuilt one changes nothing for players.

use std::collections::BTreeMap;

use crate::catalog::{Catalog, Folder};
use crate::model::{BuildKey, BuildState, ChallengeId, TreeId};

use super::identity::build_units;

/// The version of a challenge that is live: where it is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveVersion {
    /// Folder in the repository.
    pub path: String,
    /// Its tree.
    pub tree: TreeId,
}

/// What changes for players.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveChange {
    /// Challenges whose newest version goes live.
    pub promote: Vec<ChallengeId>,
    /// Challenges whose folder is gone.
    pub drop: Vec<ChallengeId>,
    /// Set when everything would go: then nothing does, and a person must look.
    pub held: Option<HoldReason>,
}

/// Why nothing is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldReason {
    /// The newest revision has none of the live challenges. More likely a mistake than a wish.
    AllWouldBeRemoved,
}

/// Compares the newest revision with what is live.
///
/// Pure and total: the same input gives the same change, and applying a change leaves none.
pub fn plan(
    head: &Catalog,
    live: &BTreeMap<ChallengeId, LiveVersion>,
    builds: &BTreeMap<BuildKey, BuildState>,
) -> LiveChange {
    let mut change = LiveChange::default();
    for (id, folder) in &head.folders {
        let is_current =
            live.get(id).is_some_and(|v| v.tree == folder.tree && v.path == folder.path);
        if !is_current && build_state(folder, builds) == Some(BuildState::Built) {
            change.promote.push(id.clone());
        }
    }
    let gone: Vec<_> = live.keys().filter(|id| !head.folders.contains_key(*id)).cloned().collect();
    if gone.len() == live.len() && !gone.is_empty() && change.promote.is_empty() {
        change.held = Some(HoldReason::AllWouldBeRemoved);
    } else {
        change.drop = gone;
    }
    change
}

/// How far the images of a folder are, as one word: failed, else building, else unbuilt, else
/// built. `None` for an invalid folder.
pub fn build_state(folder: &Folder, builds: &BTreeMap<BuildKey, BuildState>) -> Option<BuildState> {
    let challenge = folder.challenge.as_ref()?;
    let states: Vec<_> = build_units(challenge)
        .iter()
        .map(|unit| builds.get(&unit.key).copied().unwrap_or(BuildState::Unbuilt))
        .collect();
    let worst = [BuildState::Failed, BuildState::Building, BuildState::Unbuilt];
    Some(worst.into_iter().find(|state| states.contains(state)).unwrap_or(BuildState::Built))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::model::compose::{
        AnswerFiles, Compose, ImageSource, Limits, Restart, Service, ServiceProtocol,
    };
    use crate::model::{
        Category, Challenge, Difficulty, InstanceSettings, Metadata, ObjectId, Topology,
    };

    fn tree(n: u8) -> TreeId {
        TreeId(ObjectId::from_bytes([n; 20]))
    }

    fn folder(id: &str, n: u8, is_valid: Validity) -> Arc<Folder> {
        let challenge = Challenge {
            id: id.parse().unwrap(),
            path: id.to_owned(),
            bucket: None,
            tree: tree(n),
            metadata: Metadata {
                name: id.into(),
                description: "d".into(),
                difficulty: Difficulty::Easy,
                tags: vec!["t".into()],
                category: Category::Misc,
                topology: Topology::Simple,
                entry_urls: vec![],
                questions: vec![],
                instance: InstanceSettings::default(),
                author: None,
                release_at: None,
                exports: vec![],
            },
            compose: None,
            attachments: vec![],
            contexts: BTreeMap::new(),
        };
        Arc::new(Folder {
            path: id.to_owned(),
            tree: tree(n),
            challenge: matches!(is_valid, Validity::Valid).then(|| Arc::new(challenge)),
            findings: vec![],
            n_entries: 0,
            total_bytes: 0,
        })
    }

    #[derive(Clone, Copy, Debug)]
    enum Validity {
        Valid,
        Broken,
    }

    fn head(folders: &[(&str, u8, Validity)]) -> Catalog {
        let folders = folders
            .iter()
            .map(|(id, n, valid)| (id.parse().unwrap(), folder(id, *n, *valid)))
            .collect();
        Catalog { folders, ..Catalog::default() }
    }

    fn live(versions: &[(&str, u8)]) -> BTreeMap<ChallengeId, LiveVersion> {
        versions
            .iter()
            .map(|(id, n)| {
                let version = LiveVersion { path: (*id).to_owned(), tree: tree(*n) };
                (id.parse().unwrap(), version)
            })
            .collect()
    }

    #[test]
    fn a_broken_folder_keeps_its_live_version() {
        let change =
            plan(&head(&[("A", 2, Validity::Broken)]), &live(&[("A", 1)]), &BTreeMap::new());
        assert_eq!(change, LiveChange::default());
    }

    #[test]
    fn a_removed_folder_goes_but_not_all_of_them() {
        let one_left = plan(
            &head(&[("A", 1, Validity::Valid)]),
            &live(&[("A", 1), ("B", 1)]),
            &BTreeMap::new(),
        );
        assert_eq!(one_left.drop, ["B".parse().unwrap()]);
        let none_left = plan(&head(&[]), &live(&[("A", 1), ("B", 1)]), &BTreeMap::new());
        assert_eq!(none_left.held, Some(HoldReason::AllWouldBeRemoved));
        assert_eq!(none_left.drop, []);
    }

    /// A repository of a few challenges with images of their own, and how far each image is.
    pub(crate) fn any_repository()
    -> impl Strategy<Value = (Catalog, BTreeMap<BuildKey, BuildState>)> {
        let state = prop_oneof![
            Just(BuildState::Unbuilt),
            Just(BuildState::Building),
            Just(BuildState::Built),
            Just(BuildState::Failed),
        ];
        let folder = (0_u8..3, validity(), proptest::option::of(state));
        proptest::collection::btree_map("[A-D]", folder, 0..5).prop_map(|folders| {
            let mut builds = BTreeMap::new();
            let mut head = Catalog::default();
            for (id, (n, validity, state)) in folders {
                let mut it = (*folder_with_image(&id, n, validity)).clone();
                it.path.clone_from(&id);
                for unit in it.challenge.iter().flat_map(|challenge| build_units(challenge)) {
                    builds.extend(state.map(|state| (unit.key, state)));
                }
                head.folders.insert(id.parse().unwrap(), Arc::new(it));
            }
            (head, builds)
        })
    }

    /// Some of the challenges that [`any_repository`] may have, and one that it never has.
    pub(crate) fn any_live() -> impl Strategy<Value = BTreeMap<ChallengeId, LiveVersion>> {
        proptest::collection::btree_map("[A-E]", 0_u8..3, 0..5).prop_map(|versions| {
            let versions: Vec<_> = versions.iter().map(|(id, n)| (id.as_str(), *n)).collect();
            live(&versions)
        })
    }

    /// As [`folder`], with one service that refers to an image of its own.
    fn folder_with_image(id: &str, n: u8, validity: Validity) -> Arc<Folder> {
        let mut folder = (*folder(id, n, validity)).clone();
        folder.challenge = folder.challenge.map(|challenge| {
            let mut challenge = (*challenge).clone();
            challenge.compose = Some(Compose {
                services: vec![service_of(&format!("{id}:{n}"))],
                networks: BTreeMap::new(),
                volumes: vec![],
            });
            Arc::new(challenge)
        });
        Arc::new(folder)
    }

    fn service_of(image: &str) -> Service {
        Service {
            name: "web".parse().unwrap(),
            image: ImageSource::Reference(image.to_owned()),
            command: None,
            entrypoint: None,
            environment: BTreeMap::new(),
            answer_environment: vec![],
            ports: vec![],
            protocol: ServiceProtocol::Tcp,
            depends_on: BTreeMap::new(),
            healthcheck: None,
            networks: BTreeMap::new(),
            volumes: vec![],
            answers: AnswerFiles::All,
            tmpfs: vec![],
            limits: Limits::default(),
            user: None,
            working_dir: None,
            hostname: None,
            capabilities: vec![],
            is_read_only: false,
            stop_signal: None,
            stop_grace_millis: 0,
            restart: Restart::No,
        }
    }

    fn validity() -> impl Strategy<Value = Validity> {
        prop_oneof![Just(Validity::Valid), Just(Validity::Broken)]
    }

    proptest! {
        #[test]
        fn applying_a_change_leaves_none(
            folders in proptest::collection::btree_map("[A-C]", (0_u8..3, validity()), 0..4),
            versions in proptest::collection::btree_map("[A-D]", 0_u8..3, 0..4),
        ) {
            let folders: Vec<_> = folders.iter().map(|(id, (n, v))| (id.as_str(), *n, *v)).collect();
            let versions: Vec<_> = versions.iter().map(|(id, n)| (id.as_str(), *n)).collect();
            let head = head(&folders);
            let mut live = live(&versions);
            let change = plan(&head, &live, &BTreeMap::new());
            for id in &change.promote {
                let folder = &head.folders[id];
                prop_assert!(folder.challenge.is_some());
                live.insert(id.clone(), LiveVersion { path: folder.path.clone(), tree: folder.tree });
            }
            for id in &change.drop {
                live.remove(id);
            }
            let again = plan(&head, &live, &BTreeMap::new());
            prop_assert_eq!(again.promote, vec![]);
            prop_assert_eq!(again.drop, vec![]);
        }
    }
}
