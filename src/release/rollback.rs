//! Decides which earlier manifest a rollback without a number may go back to.
//!
//! In:  what is live, an earlier manifest, what was ever taken out of service. Out: yes or no.
//!
//! # Invariants
//! * What somebody went back from is never gone back to by itself, so that saying it twice does not
//!   undo it.
//!
//! # Not here
//! Whether its images are there (`daemon::platform`).

use std::collections::BTreeSet;

use super::manifest::{Difference, Manifest};
use crate::model::{ChallengeId, ObjectId, Revision, TagName, TreeId};

/// What never goes live again by itself.
#[derive(Debug, Clone, Default)]
pub struct OutOfService {
    /// Versions.
    pub versions: BTreeSet<(ChallengeId, TreeId)>,
    /// Tags.
    pub tags: BTreeSet<(TagName, ObjectId)>,
    /// Commits of the branch.
    pub revisions: BTreeSet<Revision>,
}

impl OutOfService {
    /// The first challenge that `manifest` has in a version that was taken out.
    pub fn version_in<'a>(&self, manifest: &'a Manifest) -> Option<&'a ChallengeId> {
        let is_out = |id: &ChallengeId, tree| self.versions.contains(&(id.clone(), tree));
        let mut entries = manifest.challenges.iter();
        entries.find(|(id, entry)| is_out(id, entry.tree)).map(|(id, _)| id)
    }
}

/// Whether a rollback from `live`, as a whole or of one challenge, may go back to `earlier`.
pub fn may_return_to(
    earlier: &Manifest,
    live: &Manifest,
    challenge: Option<&ChallengeId>,
    out: &OutOfService,
) -> bool {
    if let Some(id) = challenge {
        let tree = |of: &Manifest| of.challenges.get(id).map(|entry| entry.tree);
        return tree(earlier).is_some_and(|old| {
            Some(old) != tree(live) && !out.versions.contains(&(id.clone(), old))
        });
    }
    // Where a tag is live, its commit says nothing: a later tag may name it again.
    let was_left = match &earlier.tag {
        Some(tag) => out.tags.contains(tag),
        None => out.revisions.contains(&earlier.revision),
    };
    let differs = !Difference::between(&earlier.challenges, &live.challenges).is_empty();
    differs && !was_left && out.version_in(earlier).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::manifest::{Entry, EntryDisposition};

    fn object(n: u8) -> ObjectId {
        ObjectId::from_bytes([n; 20])
    }

    fn manifest(tag: Option<u8>, revision: u8, versions: &[(&str, u8)]) -> Manifest {
        let entry = |n: u8| Entry {
            path: "WEB/x".into(),
            revision: Revision(object(revision)),
            tree: TreeId(object(n)),
            images: vec![],
            disposition: EntryDisposition::Include,
        };
        let tag = tag.map(|n| (format!("v{n}").parse().unwrap(), object(n)));
        let challenges = versions.iter().map(|(id, n)| (id.parse().unwrap(), entry(*n))).collect();
        Manifest::new(tag, Revision(object(revision)), challenges)
    }

    fn may(earlier: &Manifest, challenge: Option<&str>, out: &OutOfService) -> bool {
        let live = manifest(Some(1), 1, &[("A", 1), ("B", 1)]);
        let id = challenge.map(|id| id.parse().unwrap());
        may_return_to(earlier, &live, id.as_ref(), out)
    }

    #[test]
    fn what_differs_and_was_not_left_is_gone_back_to() {
        let (nothing, other) = (OutOfService::default(), manifest(Some(2), 2, &[("A", 2)]));
        assert!(may(&other, None, &nothing));
        let same = manifest(Some(3), 3, &[("A", 1), ("B", 1)]);
        assert!(!may(&same, None, &nothing), "nothing would change for players");
        let left = OutOfService {
            tags: [("v2".parse().unwrap(), object(2))].into(),
            ..OutOfService::default()
        };
        assert!(!may(&other, None, &left), "its tag was gone back from");
        let branch = manifest(None, 2, &[("A", 2)]);
        let left = OutOfService { revisions: [Revision(object(2))].into(), ..Default::default() };
        assert!(!may(&branch, None, &left), "its commit was gone back from");
        let leaked = OutOfService {
            versions: [("A".parse().unwrap(), TreeId(object(2)))].into(),
            ..OutOfService::default()
        };
        assert!(!may(&other, None, &leaked), "it has a version that leaked");
    }

    #[test]
    fn one_challenge_goes_back_to_another_version_of_it_wherever_that_was() {
        let nothing = OutOfService::default();
        assert!(may(&manifest(None, 2, &[("A", 2)]), Some("A"), &nothing));
        assert!(!may(&manifest(None, 2, &[("A", 1)]), Some("A"), &nothing), "it is live");
        assert!(!may(&manifest(None, 2, &[("B", 2)]), Some("A"), &nothing), "it had none");
        let leaked = OutOfService {
            versions: [("A".parse().unwrap(), TreeId(object(2)))].into(),
            ..OutOfService::default()
        };
        assert!(!may(&manifest(None, 2, &[("A", 2)]), Some("A"), &leaked));
    }
}
