//! Decides whether a candidate may go live, and as what.
//!
//! In:  the candidate's catalog, the state of its builds and proofs, what is live, the mode.
//! Out: the manifest that goes live, or exactly what is missing.
//!
//! # Invariants
//! * With [`GateMode::All`] nothing goes live unless everything of the candidate is good.
//! * A version that was taken out of service is never in a manifest again.
//! * The list of what is missing is complete: nobody mends one thing to learn of the next.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::identity::build_units;
use super::live::build_state;
use super::manifest::{Entry, EntryDisposition, Manifest};
use crate::catalog::{Catalog, Finding, Folder, Severity};
use crate::model::challenge::word_enum;
use crate::model::{
    BuildKey, BuildState, Challenge, ChallengeId, ObjectId, Revision, TagName, TreeId,
};

word_enum!(
    /// What goes live when something of a candidate is not good.
    GateMode {
        /// Nothing.
        All = "all",
        /// The rest; what is not good keeps its last good version, or is left out.
        Partial = "partial",
    }
);

/// What is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The tag and its object; `None` where the branch itself is live.
    pub tag: Option<&'a (TagName, ObjectId)>,
    /// The commit.
    pub revision: Revision,
    /// What the commit declares.
    pub catalog: &'a Catalog,
    /// How far the images are.
    pub builds: &'a BTreeMap<BuildKey, BuildState>,
    /// Versions whose own solution did not solve them, and in which words.
    pub unproven: &'a BTreeMap<(ChallengeId, TreeId), String>,
    /// Versions whose proof is still under way.
    pub proving: &'a BTreeSet<(ChallengeId, TreeId)>,
    /// Versions with files for players that this installation cannot decrypt, and why.
    pub sealed: &'a BTreeMap<(ChallengeId, TreeId), String>,
    /// What is live.
    pub live: &'a BTreeMap<ChallengeId, Entry>,
    /// Versions that were taken out of service.
    pub quarantined: &'a BTreeSet<(ChallengeId, TreeId)>,
    /// What to do with what is not good.
    pub mode: GateMode,
}

/// Why a challenge or a competition of a candidate is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its files are wrong.
    #[error("{id} is not valid: {first}")]
    Invalid {
        /// The challenge.
        id: ChallengeId,
        /// The first finding that blocks, with file and line.
        first: String,
    },
    /// A competition's file is wrong.
    #[error("a competition is not valid: {first}")]
    Competition {
        /// The finding, with file and line.
        first: String,
    },
    /// An image cannot be built.
    #[error("an image of {id} could not be built: `flagops builds show {id}` has the log")]
    BuildFailed {
        /// The challenge.
        id: ChallengeId,
    },
    /// Its own solution does not solve it.
    #[error("{id} was not solved by its own solution: {reason}")]
    SolverFailed {
        /// The challenge.
        id: ChallengeId,
        /// In words.
        reason: String,
    },
    /// Players could not get its files.
    #[error("a file of {id} cannot be handed out: {reason}")]
    NotDecryptable {
        /// The challenge.
        id: ChallengeId,
        /// Which file, and what to do.
        reason: String,
    },
    /// This version was taken out of service.
    #[error("this version of {id} was taken out of service: change it, then tag again")]
    Quarantined {
        /// The challenge.
        id: ChallengeId,
    },
}

impl Fault {
    /// The challenge that it is about, if it is about one.
    pub fn id(&self) -> Option<&ChallengeId> {
        match self {
            Self::Competition { .. } => None,
            Self::Invalid { id, .. }
            | Self::BuildFailed { id }
            | Self::SolverFailed { id, .. }
            | Self::NotDecryptable { id, .. }
            | Self::Quarantined { id } => Some(id),
        }
    }
}

/// What [`judge`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This may go live.
    Eligible(Manifest),
    /// Nothing is wrong; these are being built or proved.
    Waiting(Vec<ChallengeId>),
    /// These are wrong; nothing goes live before the input changes.
    Blocked(Vec<Fault>),
    /// Everything that is live would go. More likely a mistake than a wish.
    AllWouldBeRemoved,
}

/// How far one challenge of the candidate is.
enum State {
    Good(Box<Entry>),
    Waiting,
    Bad(Fault),
}

/// Judges a candidate. Pure and total.
pub fn judge(question: &Question<'_>) -> Verdict {
    let mut entries = BTreeMap::new();
    let mut waiting = Vec::new();
    let mut faults = match question.mode {
        GateMode::All => competition_faults(question.catalog),
        // What was declared last stays.
        GateMode::Partial => Vec::new(),
    };
    for (id, folder) in &question.catalog.folders {
        match state(question, id, folder) {
            State::Good(entry) => {
                entries.insert(id.clone(), *entry);
            }
            State::Waiting => waiting.push(id.clone()),
            State::Bad(fault) => match question.mode {
                GateMode::All => faults.push(fault),
                GateMode::Partial => {
                    entries.extend(kept(question, id));
                }
            },
        }
    }
    if !faults.is_empty() {
        return Verdict::Blocked(faults);
    }
    if !waiting.is_empty() {
        return Verdict::Waiting(waiting);
    }
    if entries.is_empty() && !question.live.is_empty() {
        return Verdict::AllWouldBeRemoved;
    }
    Verdict::Eligible(Manifest::new(question.tag.cloned(), question.revision, entries))
}

/// Of each competition file that cannot be followed, the first error.
fn competition_faults(catalog: &Catalog) -> Vec<Fault> {
    let mut first: BTreeMap<&str, &Finding> = BTreeMap::new();
    let is_error = |it: &&Finding| {
        it.severity == Severity::Error && it.challenge.is_none() && it.rule.starts_with("EVENT")
    };
    for finding in catalog.findings.iter().filter(is_error) {
        first.entry(&finding.path).or_insert(finding);
    }
    first.into_values().map(|it| Fault::Competition { first: it.to_string() }).collect()
}

fn state(question: &Question<'_>, id: &ChallengeId, folder: &Folder) -> State {
    let Some(challenge) = &folder.challenge else {
        let first = folder.findings.iter().min_by_key(|finding| finding.weight());
        let first = first
            .map_or_else(|| "its folder holds no usable challenge".to_owned(), ToString::to_string);
        return State::Bad(Fault::Invalid { id: id.clone(), first });
    };
    let version = (id.clone(), challenge.tree);
    if question.quarantined.contains(&version) {
        return State::Bad(Fault::Quarantined { id: id.clone() });
    }
    if let Some(reason) = question.sealed.get(&version) {
        return State::Bad(Fault::NotDecryptable { id: id.clone(), reason: reason.clone() });
    }
    match build_state(folder, question.builds) {
        Some(BuildState::Failed) => return State::Bad(Fault::BuildFailed { id: id.clone() }),
        Some(BuildState::Building | BuildState::Unbuilt) => return State::Waiting,
        Some(BuildState::Built) | None => {}
    }
    if let Some(reason) = question.unproven.get(&version) {
        return State::Bad(Fault::SolverFailed { id: id.clone(), reason: reason.clone() });
    }
    if question.proving.contains(&version) {
        return State::Waiting;
    }
    State::Good(Box::new(entry(challenge, question.revision)))
}

/// The version of the released commit.
pub fn entry(challenge: &Challenge, revision: Revision) -> Entry {
    let mut images: Vec<_> = build_units(challenge).into_iter().map(|unit| unit.key).collect();
    images.sort_unstable();
    images.dedup();
    Entry {
        path: challenge.path.clone(),
        revision,
        tree: challenge.tree,
        images,
        disposition: EntryDisposition::Include,
    }
}

/// Puts what is live in place of what somebody keeps us from changing.
pub fn leave_alone(
    manifest: &mut Manifest,
    live: &BTreeMap<ChallengeId, Entry>,
    is_suspended: impl Fn(&ChallengeId) -> bool,
) {
    manifest.challenges.retain(|id, _| !is_suspended(id));
    for (id, entry) in live.iter().filter(|(id, _)| is_suspended(id)) {
        let kept = Entry { disposition: EntryDisposition::LastKnownGood, ..entry.clone() };
        manifest.challenges.insert(id.clone(), kept);
    }
}

/// The version that is live, kept; none when there is none or it was taken out of service.
fn kept(question: &Question<'_>, id: &ChallengeId) -> Option<(ChallengeId, Entry)> {
    let live = question.live.get(id)?;
    let is_out = question.quarantined.contains(&(id.clone(), live.tree));
    let kept = Entry { disposition: EntryDisposition::LastKnownGood, ..live.clone() };
    (!is_out).then(|| (id.clone(), kept))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::{self, Policy};
    use crate::model::MemoryTree;

    const METADATA: &str = "name: One\ndescription: Read it.\ndifficulty: easy\ntags: [t]\ncategory: web\nquestions:\n  - id: flag\n    prompt: What?\n";

    fn compose(version: u8) -> String {
        format!(
            "services:\n  web:\n    image: base:{version}\n    ports: [8080]\n    deploy: {{resources: {{limits: {{cpus: 0.5, memory: 64m}}}}}}\n"
        )
    }

    /// How one challenge of a test stands.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum How {
        Built,
        Unbuilt,
        Failed,
        Invalid,
        Unproven,
        Proving,
        Sealed,
        Out,
    }

    struct Scene {
        catalog: Catalog,
        builds: BTreeMap<BuildKey, BuildState>,
        unproven: BTreeMap<(ChallengeId, TreeId), String>,
        proving: BTreeSet<(ChallengeId, TreeId)>,
        sealed: BTreeMap<(ChallengeId, TreeId), String>,
        quarantined: BTreeSet<(ChallengeId, TreeId)>,
        live: BTreeMap<ChallengeId, Entry>,
    }

    fn revision() -> Revision {
        Revision(ObjectId::from_bytes([7; 20]))
    }

    fn id(text: &str) -> ChallengeId {
        text.parse().unwrap()
    }

    fn scene(challenges: &[(&str, u8, How)], live: &[(&str, u8)]) -> Scene {
        let mut tree = MemoryTree::new();
        for (id, version, how) in challenges {
            let metadata = if *how == How::Invalid { "name: [\n" } else { METADATA };
            tree = tree
                .with(&format!("WEB/{id}/metadata.yaml"), metadata)
                .with(&format!("WEB/{id}/docker-compose.yml"), compose(*version));
        }
        let catalog = catalog::load(&tree, None, &Policy::default()).unwrap();
        let mut scene = Scene {
            builds: BTreeMap::new(),
            unproven: BTreeMap::new(),
            proving: BTreeSet::new(),
            sealed: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            live: BTreeMap::new(),
            catalog,
        };
        for (text, _, how) in challenges {
            let folder = &scene.catalog.folders[&id(text)];
            assert_eq!(folder.challenge.is_none(), *how == How::Invalid, "{:?}", folder.findings);
            let version = (id(text), folder.tree);
            let state = match how {
                How::Unbuilt => BuildState::Unbuilt,
                How::Failed => BuildState::Failed,
                How::Built
                | How::Invalid
                | How::Unproven
                | How::Proving
                | How::Sealed
                | How::Out => BuildState::Built,
            };
            for unit in folder.challenge.iter().flat_map(|it| build_units(it)) {
                scene.builds.insert(unit.key, state);
            }
            match how {
                How::Unproven => {
                    scene.unproven.insert(version, "no flag".into());
                }
                How::Proving => {
                    scene.proving.insert(version);
                }
                How::Sealed => {
                    scene.sealed.insert(version, "no key".into());
                }
                How::Out => {
                    scene.quarantined.insert(version);
                }
                How::Built | How::Unbuilt | How::Failed | How::Invalid => {}
            }
        }
        for (text, n) in live {
            let entry = Entry {
                path: format!("WEB/{text}"),
                revision: Revision(ObjectId::from_bytes([1; 20])),
                tree: TreeId(ObjectId::from_bytes([*n; 20])),
                images: vec![],
                disposition: EntryDisposition::Include,
            };
            scene.live.insert(id(text), entry);
        }
        scene
    }

    fn judged(scene: &Scene, mode: GateMode) -> Verdict {
        judge(&Question {
            tag: None,
            revision: revision(),
            catalog: &scene.catalog,
            builds: &scene.builds,
            unproven: &scene.unproven,
            proving: &scene.proving,
            sealed: &scene.sealed,
            live: &scene.live,
            quarantined: &scene.quarantined,
            mode,
        })
    }

    #[test]
    fn everything_good_is_eligible_and_what_was_removed_is_not_in_it() {
        let scene = scene(&[("A", 1, How::Built), ("B", 2, How::Built)], &[("A", 9), ("C", 9)]);
        let Verdict::Eligible(manifest) = judged(&scene, GateMode::All) else { panic!() };
        assert_eq!(manifest.challenges.keys().cloned().collect::<Vec<_>>(), [id("A"), id("B")]);
        assert!(manifest.challenges.values().all(|it| it.revision == revision()));
        assert_eq!(manifest.challenges[&id("A")].images.len(), 1);
    }

    #[test]
    fn a_competition_that_cannot_be_followed_blocks_where_all_must_be_good() {
        let mut scene = scene(&[("A", 1, How::Built)], &[]);
        let tree = MemoryTree::new()
            .with("WEB/A/metadata.yaml", METADATA)
            .with("WEB/A/docker-compose.yml", compose(1))
            .with("competitions/finals.yaml", "title: Finals\nchallenges: [GONE]\n");
        scene.catalog = catalog::load(&tree, None, &Policy::default()).unwrap();
        let Verdict::Blocked(faults) = judged(&scene, GateMode::All) else { panic!() };
        let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 1, "a file is named once: {texts:?}");
        assert!(texts[0].starts_with("a competition is not valid: "), "{texts:?}");
        assert!(texts[0].contains("competitions/finals.yaml:1"), "{texts:?}");
        assert!(matches!(judged(&scene, GateMode::Partial), Verdict::Eligible(_)));
    }

    #[test]
    fn one_that_is_broken_blocks_all_and_the_list_is_complete() {
        let scene = scene(
            &[
                ("A", 1, How::Built),
                ("B", 2, How::Invalid),
                ("C", 3, How::Failed),
                ("D", 4, How::Unproven),
                ("E", 5, How::Out),
                ("F", 6, How::Unbuilt),
                ("G", 7, How::Sealed),
            ],
            &[],
        );
        let Verdict::Blocked(faults) = judged(&scene, GateMode::All) else { panic!() };
        let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 5, "{texts:#?}");
        assert!(texts[0].starts_with("B is not valid: WEB/B/metadata.yaml:"), "{}", texts[0]);
        assert!(texts[1].contains("`flagops builds show C`"), "{}", texts[1]);
        assert!(texts[2].contains("no flag"), "{}", texts[2]);
        assert!(texts[4].contains("no key"), "{}", texts[4]);
    }

    #[test]
    fn with_partial_what_is_broken_keeps_its_last_good_version_or_is_left_out() {
        let challenges = [("A", 1, How::Built), ("B", 2, How::Invalid), ("C", 3, How::Failed)];
        let scene = scene(&challenges, &[("B", 9)]);
        let Verdict::Eligible(manifest) = judged(&scene, GateMode::Partial) else { panic!() };
        assert_eq!(manifest.challenges.keys().cloned().collect::<Vec<_>>(), [id("A"), id("B")]);
        let kept = &manifest.challenges[&id("B")];
        assert_eq!(kept.disposition, EntryDisposition::LastKnownGood);
        assert_eq!(kept.tree, scene.live[&id("B")].tree);
    }

    #[test]
    fn what_is_under_way_is_waited_for() {
        let scene = scene(&[("A", 1, How::Unbuilt), ("B", 2, How::Proving)], &[]);
        let waiting = Verdict::Waiting(vec![id("A"), id("B")]);
        assert_eq!(judged(&scene, GateMode::All), waiting);
        assert_eq!(judged(&scene, GateMode::Partial), waiting);
    }

    #[test]
    fn not_everything_goes_at_once() {
        let scene = scene(&[], &[("A", 1)]);
        assert_eq!(judged(&scene, GateMode::All), Verdict::AllWouldBeRemoved);
    }

    fn any_how() -> impl Strategy<Value = How> {
        prop_oneof![
            4 => Just(How::Built),
            1 => Just(How::Unbuilt),
            1 => Just(How::Failed),
            1 => Just(How::Invalid),
            1 => Just(How::Unproven),
            1 => Just(How::Proving),
            1 => Just(How::Sealed),
            1 => Just(How::Out),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn only_what_is_good_is_ever_eligible(
            hows in proptest::collection::btree_map("[A-E]", any_how(), 0..5),
            live in proptest::collection::btree_map("[A-F]", 100_u8..110, 0..5),
            is_partial in any::<bool>(),
        ) {
            let challenges: Vec<_> = hows
                .iter()
                .zip(1_u8..)
                .map(|((text, how), n)| (text.as_str(), n, *how))
                .collect();
            let versions: Vec<_> = live.iter().map(|(text, n)| (text.as_str(), *n)).collect();
            let scene = scene(&challenges, &versions);
            let mode = if is_partial { GateMode::Partial } else { GateMode::All };
            let verdict = judged(&scene, mode);
            prop_assert_eq!(&verdict, &judged(&scene, mode));
            let Verdict::Eligible(manifest) = verdict else { return Ok(()) };
            for (id, entry) in &manifest.challenges {
                match entry.disposition {
                    EntryDisposition::Include => {
                        prop_assert_eq!(hows[id.as_str()], How::Built);
                        prop_assert_eq!(entry.tree, scene.catalog.folders[id].tree);
                    }
                    EntryDisposition::LastKnownGood => {
                        prop_assert!(is_partial);
                        prop_assert_eq!(entry.tree, scene.live[id].tree);
                    }
                }
            }
            if mode == GateMode::All {
                prop_assert!(hows.values().all(|how| *how == How::Built));
            }
        }
    }
}
