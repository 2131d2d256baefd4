//! Takes in what a look at the remote saw of the tags, and works out what each is.

use std::path::PathBuf;
use std::sync::Arc;

use super::ReleaseError;
use crate::config::trust::load_keyring;
use crate::daemon::shared::Shared;
use crate::git::{Mirror, SeenTags};
use crate::model::{ConditionStatus, ConditionType, ObjectId, Revision, TagName, Timestamp};
use crate::release::chain::Signature;
use crate::release::tag::{TagFacts, TagPolicy, TagRecord, TagTarget};
use crate::store::StoreError;
use crate::trust::{self, Keyring, Sighting, Subject};

/// Takes in the tags of a look that succeeded.
///
/// # Errors
/// When the database does not take it.
pub(crate) async fn observe(shared: &Arc<Shared>, seen: SeenTags) -> Result<(), ReleaseError> {
    let records = shared.store.observe_tags(seen.objects, shared.now()).await?;
    if let Some(fault) = seen.fault {
        tracing::warn!("some tags could not be fetched and wait for the next look: {fault}");
    }
    take(shared, records, seen.branches).await;
    Ok(())
}

/// At the start: what was seen of the tags in the last life, without the remote.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn recall(shared: &Arc<Shared>) -> Result<(), ReleaseError> {
    if shared.releases.policy().is_some() {
        let records = shared.store.tag_records().await?;
        let mirror = Arc::clone(&shared.mirror);
        let tip = tokio::task::spawn_blocking(move || mirror.head()).await.ok().flatten();
        take(shared, records, tip.into_iter().collect()).await;
    }
    Ok(())
}

async fn take(shared: &Arc<Shared>, records: Vec<TagRecord>, tips: Vec<Revision>) {
    let Some(policy) = shared.releases.policy().cloned() else { return };
    let keyring = if policy.needs_signed { Some(keyring(shared).await) } else { None };
    let bench = Bench {
        mirror: Arc::clone(&shared.mirror),
        repository: shared.config.source.repo.clone(),
        keyring,
        tips,
        now: shared.now(),
    };
    let work = move || records.into_iter().map(|record| bench.facts(&policy, record)).collect();
    if let Ok(facts) = tokio::task::spawn_blocking(work).await {
        shared.releases.known().tags = Some(facts);
    }
}

/// Who may sign now: read anew each time, since a key may be revoked. Without a readable trust file
/// nobody may, and a condition says so.
async fn keyring(shared: &Arc<Shared>) -> Result<Keyring, String> {
    let Some(path) = shared.config.release.trust.clone() else {
        return Err("`release.trust` is not set".to_owned());
    };
    let loaded = read_keyring(shared, path).await;
    let (status, reason, words) = match &loaded {
        Ok(_) => (ConditionStatus::False, "Ok", "the trust file is readable".to_owned()),
        Err(error) => (
            ConditionStatus::True,
            "TrustMissing",
            format!("nobody may sign releases, so no tag goes live: {error}"),
        ),
    };
    super::state(shared, ConditionType::Stalled, status, reason, words, None).await;
    loaded
}

async fn read_keyring(shared: &Shared, path: PathBuf) -> Result<Keyring, String> {
    let repository = PathBuf::from(&shared.config.source.repo);
    let repository = Some(repository).filter(|path| path.is_dir());
    let load = move || load_keyring(&path, repository.as_deref());
    match tokio::task::spawn_blocking(load).await {
        Ok(loaded) => loaded.map_err(|error| crate::telemetry::chain::Chain(&error).to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Who signed the object that a release tag named, as the trust file says now.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn signature(
    shared: &Shared,
    name: &TagName,
    object: ObjectId,
) -> Result<Signature, StoreError> {
    let Some(path) = shared.config.release.trust.clone() else { return Ok(Signature::NotAsked) };
    let records = shared.store.tag_records().await?;
    let keyring = match read_keyring(shared, path).await {
        Ok(keyring) => keyring,
        Err(error) => return Ok(Signature::Bad(error)),
    };
    let now = shared.now();
    let record = records.iter().find(|it| it.name == *name);
    let seen = record.and_then(|it| it.sightings.iter().find(|it| it.object == object));
    let first_seen = seen.map_or(now, |it| it.first_seen);
    let (mirror, name) = (Arc::clone(&shared.mirror), format!("refs/tags/{name}"));
    let repository = shared.config.source.repo.clone();
    let judge = move || {
        let sighting = Sighting { repository: &repository, first_seen, now };
        let raw = mirror.raw_object(object).map_err(|error| error.to_string())?;
        Ok(trust::verify_tag(&raw, &name, &keyring, &sighting))
    };
    let judged: Result<_, String> = match tokio::task::spawn_blocking(judge).await {
        Ok(judged) => judged,
        Err(error) => Err(error.to_string()),
    };
    Ok(match judged {
        Ok(verdict) if verdict.is_good() => Signature::Good(verdict.to_string()),
        Ok(verdict) => Signature::Bad(verdict.to_string()),
        Err(error) => Signature::Bad(error),
    })
}

/// What tags are judged with.
struct Bench {
    mirror: Arc<Mirror>,
    repository: String,
    /// `None` when signatures are not asked for.
    keyring: Option<Result<Keyring, String>>,
    tips: Vec<Revision>,
    now: Timestamp,
}

impl Bench {
    fn facts(&self, policy: &TagPolicy, record: TagRecord) -> TagFacts {
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
        let distrust = self.distrust(&record, object, &target);
        TagFacts { record, target, distrust, is_contained }
    }

    /// Why the signature does not count.
    fn distrust(&self, record: &TagRecord, object: ObjectId, target: &TagTarget) -> Option<String> {
        let keyring = match self.keyring.as_ref()? {
            Ok(keyring) => keyring,
            Err(error) => return Some(format!("nobody is known to be trusted ({error})")),
        };
        // What is no tag object, or names no commit, is held for that reason.
        let TagTarget::Commit { object: Some(_), .. } = target else { return None };
        let seen = record.sightings.iter().find(|it| it.object == object);
        let sighting = Sighting {
            repository: &self.repository,
            first_seen: seen.map_or(self.now, |it| it.first_seen),
            now: self.now,
        };
        let raw = match self.mirror.raw_object(object) {
            Ok(raw) => raw,
            Err(error) => return Some(error.to_string()),
        };
        let name = format!("refs/tags/{}", record.name);
        let verdict = trust::verify_tag(&raw, &name, keyring, &sighting);
        let why = || format!("{verdict}. {}", verdict.next_step(Subject::Tag));
        (!verdict.is_good()).then(why)
    }
}
