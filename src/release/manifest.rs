//! What a release consists of: an immutable list of challenge versions with an id of its own.
//!
//! In:  the commit that was released, and for each challenge the version that goes live.
//! Out: a [`Manifest`] whose [`release_id`](Manifest::id) any node works out alike.
//!
//! # Invariants
//! * The same content has the same id, whoever computes it and when.
//! * Generations only grow; a rollback is a new generation of an old manifest.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::challenge::word_enum;
use crate::model::id::hex;
use crate::model::{
    BuildKey, ChallengeId, IdError, ObjectId, Revision, TagName, Timestamp, TreeId,
};

/// The version of the shape that is hashed.
const SCHEMA: u32 = 1;

/// The id of a release: `sha256` of its canonical manifest, 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(String);

impl ReleaseId {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl std::str::FromStr for ReleaseId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let is_id = text.len() == 64
            && text.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it));
        let wrong = || IdError {
            text: text.chars().take(80).collect(),
            wanted: "a release id (64 lower-case hex digits)",
        };
        is_id.then(|| Self(text.to_owned())).ok_or_else(wrong)
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a release consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this shape.
    pub schema: u32,
    /// The tag and the object that it named; `None` where the branch itself is live.
    pub tag: Option<(TagName, ObjectId)>,
    /// The commit.
    pub revision: Revision,
    /// Every challenge that players get.
    pub challenges: BTreeMap<ChallengeId, Entry>,
}

/// One challenge of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its folder.
    pub path: String,
    /// The commit that it is read from: an older one for a version that was kept.
    pub revision: Revision,
    /// Its tree there.
    pub tree: TreeId,
    /// The images that it needs.
    pub images: Vec<BuildKey>,
    /// Why this version.
    pub disposition: EntryDisposition,
}

word_enum!(
    /// Why a release has this version of a challenge.
    EntryDisposition {
        /// It is the one of the released commit.
        Include = "include",
        /// That one is not good: the last good one was kept.
        LastKnownGood = "lkg",
    }
);

impl Manifest {
    /// A manifest of this version's shape.
    pub fn new(
        tag: Option<(TagName, ObjectId)>,
        revision: Revision,
        challenges: BTreeMap<ChallengeId, Entry>,
    ) -> Self {
        Self { schema: SCHEMA, tag, revision, challenges }
    }

    /// Its id.
    pub fn id(&self) -> ReleaseId {
        // Maps are sorted and structs have one order: this text is canonical.
        let text = serde_json::to_vec(self).unwrap_or_default();
        ReleaseId(hex(&Sha256::digest(text)))
    }
}

/// One going live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its number: only ever grows.
    pub number: u32,
    /// What went live.
    pub release: ReleaseId,
    /// Why.
    pub cause: Cause,
    /// Who; `flagops` itself where nobody asked.
    pub who: String,
    /// In words.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

word_enum!(
    /// Why something went live.
    Cause {
        /// The branch moved, and no tags are waited for.
        Branch = "branch",
        /// A tag.
        Tag = "tag",
        /// A person went back.
        Rollback = "rollback",
        /// A challenge did not work and went back by itself.
        Revert = "revert",
    }
);

/// What differs between two manifests, for players.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Challenges that appear.
    pub added: Vec<ChallengeId>,
    /// Challenges that are another version.
    pub changed: Vec<ChallengeId>,
    /// Challenges that disappear.
    pub removed: Vec<ChallengeId>,
}

impl Difference {
    /// What changes from `before` to `after`.
    pub fn between(
        before: &BTreeMap<ChallengeId, Entry>,
        after: &BTreeMap<ChallengeId, Entry>,
    ) -> Self {
        let mut difference = Self::default();
        for (id, entry) in after {
            match before.get(id) {
                None => difference.added.push(id.clone()),
                // The commit alone changes nothing for players.
                Some(old) if old.tree != entry.tree || old.path != entry.path => {
                    difference.changed.push(id.clone());
                }
                Some(_) => {}
            }
        }
        difference.removed = before.keys().filter(|id| !after.contains_key(*id)).cloned().collect();
        difference
    }

    /// Whether nothing changes for players.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u8) -> Entry {
        Entry {
            path: format!("WEB/WEB-{n:03}"),
            revision: Revision(ObjectId::from_bytes([n; 20])),
            tree: TreeId(ObjectId::from_bytes([n; 20])),
            images: vec![],
            disposition: EntryDisposition::Include,
        }
    }

    fn manifest(entries: &[(&str, u8)]) -> Manifest {
        let challenges = entries.iter().map(|(id, n)| (id.parse().unwrap(), entry(*n))).collect();
        Manifest::new(None, Revision(ObjectId::from_bytes([7; 20])), challenges)
    }

    #[test]
    fn the_id_is_pinned() {
        // Every node of every version must come to the same: a change of this is a new schema.
        let id = manifest(&[("WEB-001", 1)]).id();
        insta::assert_snapshot!(id, @"1cbb0cb8a2df727427ff8d10014ea5a69ccfd8bc97a166886d765f3861602886");
    }

    #[test]
    fn it_survives_being_stored() {
        let mut before = manifest(&[("WEB-001", 1), ("WEB-002", 2)]);
        before.tag = Some(("v1.0.0".parse().unwrap(), ObjectId::from_bytes([9; 20])));
        let text = serde_json::to_string(&before).unwrap();
        let after: Manifest = serde_json::from_str(&text).unwrap();
        assert_eq!(after, before);
        assert_eq!(after.id(), before.id());
    }

    #[test]
    fn a_difference_is_what_players_see() {
        let before = manifest(&[("A", 1), ("B", 2), ("C", 3)]);
        let mut after = manifest(&[("B", 2), ("C", 4), ("D", 5)]);
        after.challenges.get_mut(&"B".parse().unwrap()).unwrap().revision =
            Revision(ObjectId::from_bytes([8; 20]));
        let difference = Difference::between(&before.challenges, &after.challenges);
        let ids = |texts: &[&str]| texts.iter().map(|it| it.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(difference.added, ids(&["D"]));
        assert_eq!(difference.changed, ids(&["C"]));
        assert_eq!(difference.removed, ids(&["A"]));
        assert!(Difference::between(&before.challenges, &before.challenges).is_empty());
    }
}
