//! Takes in what a look at the remote saw of the tags, and works out what each is.

use std::sync::Arc;

use super::ReleaseError;
use super::signed::{self, Verdicts};
use crate::daemon::shared::Shared;
use crate::git::{Mirror, SeenTags};
use crate::model::{ObjectId, Revision, Timestamp};
use crate::release::tag::{Distrust, TRUST_MISSING, TagFacts, TagPolicy, TagRecord, TagTarget};
use crate::trust::{Keyring, Subject};

/// Takes in the tags of a look that succeeded. `followed` is the newest revision of the branch that
/// may be followed.
///
/// # Errors
/// When the database does not take it.
pub(crate) async fn observe(
    shared: &Arc<Shared>,
    seen: SeenTags,
    followed: Option<Revision>,
) -> Result<(), ReleaseError> {
    let records = shared.store.observe_tags(seen.objects, shared.now()).await?;
    if let Some(fault) = seen.fault {
        tracing::warn!("some tags could not be fetched and wait for the next look: {fault}");
    }
    take(shared, records, seen.branches, followed).await
}

/// At the start: what was seen of the tags in the last life, without the remote.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn recall(shared: &Arc<Shared>) -> Result<(), ReleaseError> {
    if shared.releases.policy().is_none() {
        return Ok(());
    }
    let records = shared.store.tag_records().await?;
    let followed = shared.store.source().await?.map(|row| row.revision);
    let mirror = Arc::clone(&shared.mirror);
    let tip = tokio::task::spawn_blocking(move || mirror.head()).await.ok().flatten();
    take(shared, records, tip.into_iter().collect(), followed).await
}

async fn take(
    shared: &Arc<Shared>,
    records: Vec<TagRecord>,
    tips: Vec<Revision>,
    followed: Option<Revision>,
) -> Result<(), ReleaseError> {
    let Some(policy) = shared.releases.policy().cloned() else { return Ok(()) };
    let keyring = if policy.needs_signed { Some(signed::keyring(shared).await) } else { None };
    let wants_chain = shared.config.release.require_signed_commits;
    let bench = Bench {
        mirror: Arc::clone(&shared.mirror),
        repository: shared.config.source.repo.clone(),
        known: shared.releases.known().verdicts.clone(),
        keyring,
        tips,
        followed: wants_chain.then_some(followed),
        now: shared.now(),
    };
    let work = move || {
        let mut verdicts = bench.no_verdicts();
        let judge = |record| bench.facts(&policy, record, &mut verdicts);
        let facts: Vec<_> = records.into_iter().map(judge).collect();
        (facts, verdicts)
    };
    if let Ok((facts, verdicts)) = tokio::task::spawn_blocking(work).await {
        let mut known = shared.releases.known();
        (known.tags, known.verdicts) = (Some(facts), verdicts);
    }
    Ok(())
}

/// What tags are judged with.
struct Bench {
    mirror: Arc<Mirror>,
    repository: String,
    /// What signatures came to in an earlier look.
    known: Verdicts,
    /// `None` when signatures are not asked for.
    keyring: Option<Result<Keyring, String>>,
    tips: Vec<Revision>,
    /// The end of the signed history of the branch, where that is asked for.
    followed: Option<Option<Revision>>,
    now: Timestamp,
}

impl Bench {
    fn no_verdicts(&self) -> Verdicts {
        let keyring = self.keyring.as_ref().and_then(|keyring| keyring.as_ref().ok());
        Verdicts::new(keyring.map(Keyring::digest))
    }

    fn facts(&self, policy: &TagPolicy, record: TagRecord, verdicts: &mut Verdicts) -> TagFacts {
        let last = record.sightings.last().map(|sighting| sighting.object);
        let Some(object) = record.current.or(last) else {
            let target = TagTarget::Unreadable;
            return TagFacts { record, target, distrust: None, is_contained: None };
        };
        if policy.pattern.ordered_part(&record.name).is_none() {
            // No release tag: nobody asks.
            let target = TagTarget::Unreadable;
            return TagFacts { record, target, distrust: None, is_contained: None };
        }
        let target = self.mirror.tag_target(object);
        let is_contained = match (&target, policy.ancestor_of.is_empty()) {
            (TagTarget::Commit { revision, .. }, false) => {
                // What cannot be read is not known to be on a branch.
                Some(self.mirror.is_contained(*revision, &self.tips).unwrap_or(false))
            }
            _ => None,
        };
        let distrust = self
            .distrust(&record, object, &target, verdicts)
            .or_else(|| self.is_off_the_signed_branch(&target));
        TagFacts { record, target, distrust, is_contained }
    }

    /// Why the signature does not count.
    fn distrust(
        &self,
        record: &TagRecord,
        object: ObjectId,
        target: &TagTarget,
        verdicts: &mut Verdicts,
    ) -> Option<Distrust> {
        let keyring = match self.keyring.as_ref()? {
            Ok(keyring) => keyring,
            Err(error) => {
                let words = format!("nobody is known to be trusted ({error})");
                return Some(Distrust { reason: TRUST_MISSING, words });
            }
        };
        // What is no tag object, or names no commit, is held for that reason.
        let TagTarget::Commit { object: Some(_), .. } = target else { return None };
        verdicts.get_or(&self.known, &record.name, object, || self.verify(record, object, keyring))
    }

    fn verify(&self, record: &TagRecord, object: ObjectId, keyring: &Keyring) -> Option<Distrust> {
        let (mirror, repository) = (&self.mirror, &self.repository);
        match signed::verify(mirror, repository, record, object, keyring, self.now) {
            Ok(verdict) if verdict.is_good() => None,
            Ok(verdict) => {
                let words = format!("{verdict}. {}", verdict.next_step(Subject::Tag));
                Some(Distrust { reason: verdict.reason(), words })
            }
            Err(error) => Some(Distrust { reason: "Unreadable", words: error.to_string() }),
        }
    }

    fn is_off_the_signed_branch(&self, target: &TagTarget) -> Option<Distrust> {
        let followed = self.followed?;
        let TagTarget::Commit { revision, .. } = target else { return None };
        let tips: Vec<Revision> = followed.into_iter().collect();
        if self.mirror.is_contained(*revision, &tips).unwrap_or(false) {
            return None;
        }
        let end = followed
            .map_or("holds nothing yet".to_owned(), |end| format!("ends at {}", end.short()));
        let words = format!(
            "its commit is not in the signed history of the branch, which {end} (`release.require_signed_commits`). Tag a commit that the branch contains."
        );
        Some(Distrust { reason: "NotAncestor", words })
    }
}
