//! Who may sign, what signatures came to, and how far a branch may be followed whose commits must be
//! signed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{ReleaseError, state};
use crate::config::trust::load_keyring;
use crate::daemon::shared::{Shared, Statement};
use crate::daemon::source::ReadError;
use crate::git::Mirror;
use crate::model::{
    ConditionStatus, ConditionType, KeyringDigest, ObjectId, Revision, Scope, TagName, Timestamp,
    TreeError,
};
use crate::release::chain::Signature;
use crate::release::manifest::Manifest;
use crate::release::tag::{Distrust, TagFacts, TagRecord, TagTarget};
use crate::store::StoreError;
use crate::trust::{self, Chain, Keyring, Link, Sighting, Subject, Verdict};

/// What the signatures of tags came to. A verdict holds for a name, an object and a keyring.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdicts {
    keyring: Option<KeyringDigest>,
    by_tag: BTreeMap<(TagName, ObjectId), Option<Distrust>>,
}

impl Verdicts {
    pub(super) fn new(keyring: Option<KeyringDigest>) -> Self {
        Self { keyring, by_tag: BTreeMap::new() }
    }

    /// The verdict that `known` has under the same keyring, or a new one. What could not be read is
    /// judged anew each time.
    pub(super) fn get_or(
        &mut self,
        known: &Self,
        name: &TagName,
        object: ObjectId,
        verify: impl FnOnce() -> Option<Distrust>,
    ) -> Option<Distrust> {
        let key = (name.clone(), object);
        let is_same = self.keyring.is_some() && known.keyring == self.keyring;
        let kept = known.by_tag.get(&key).filter(|_| is_same);
        let distrust = kept.cloned().unwrap_or_else(verify);
        if distrust.as_ref().is_none_or(|it| it.reason != "Unreadable") {
            self.by_tag.insert(key, distrust.clone());
        }
        distrust
    }
}

/// Who may sign now: read anew each time, since a key may be revoked. Without a readable trust file
/// nobody may, and a condition says so.
pub(super) async fn keyring(shared: &Arc<Shared>) -> Result<Keyring, String> {
    let Some(path) = shared.config.release.trust.clone() else {
        return Err("`release.trust` is not set".to_owned());
    };
    let loaded = read_keyring(shared, path).await;
    let (status, reason, words) = match &loaded {
        Ok(_) => (ConditionStatus::False, "Ok", "the trust file is readable".to_owned()),
        Err(error) => (
            ConditionStatus::True,
            "TrustMissing",
            format!("nobody may sign releases, so nothing new is trusted: {error}"),
        ),
    };
    state(shared, ConditionType::Stalled, status, reason, words, None).await;
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
    let Some(record) = records.into_iter().find(|it| it.name == *name) else {
        return Ok(Signature::Bad("nobody saw that tag".to_owned()));
    };
    let (mirror, now) = (Arc::clone(&shared.mirror), shared.now());
    let repository = shared.config.source.repo.clone();
    let judge = move || verify(&mirror, &repository, &record, object, &keyring, now);
    let judged: Result<_, String> = match tokio::task::spawn_blocking(judge).await {
        Ok(judged) => judged.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    Ok(match judged {
        Ok(verdict) if verdict.is_good() => Signature::Good(verdict.to_string()),
        Ok(verdict) => Signature::Bad(verdict.to_string()),
        Err(error) => Signature::Bad(error),
    })
}

/// Whether this node's own trust file lets a release of its platform go live; else why not.
///
/// # Errors
/// In words for the operator of the node.
pub(crate) async fn check_trust(shared: &Arc<Shared>, manifest: &Manifest) -> Result<(), String> {
    let config = &shared.config.release;
    if config.require_signed {
        let Some((name, object)) = &manifest.tag else {
            return Err(
                "this node wants signed releases (`release.require_signed`), and this is none of a tag"
                    .to_owned(),
            );
        };
        let (facts, _) = shared.releases.tags();
        let names = |facts: &TagFacts| match &facts.target {
            TagTarget::Commit { revision, .. } => *revision == manifest.revision,
            TagTarget::Other(_) | TagTarget::Unreadable => false,
        };
        if !facts.iter().any(|it| it.record.name == *name && names(it)) {
            return Err(format!(
                "tag `{name}` does not name {} in this node's own mirror",
                manifest.revision.short()
            ));
        }
        match signature(shared, name, *object).await {
            Ok(Signature::Good(_)) => {}
            Ok(Signature::Bad(why)) => return Err(format!("tag `{name}`: {why}")),
            Ok(Signature::NotAsked) => {
                return Err("`release.require_signed` wants `release.trust`".to_owned());
            }
            Err(error) => return Err(crate::telemetry::chain::Chain(&error).to_string()),
        }
    }
    if config.require_signed_commits {
        let keyring = keyring(shared).await?;
        let (mirror, now) = (Arc::clone(&shared.mirror), shared.now());
        let repository = shared.config.source.repo.clone();
        let revision = manifest.revision;
        let judge = move || {
            let sighting = Sighting { repository: &repository, first_seen: now, now };
            let raw = mirror.raw_object(revision.0).map_err(|error| error.to_string())?;
            let verdict = trust::verify_commit(&raw, &keyring, &sighting);
            if verdict.is_good() {
                Ok(())
            } else {
                Err(format!("commit {}: {verdict}", revision.short()))
            }
        };
        tokio::task::spawn_blocking(judge).await.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// The verdict on the `object` that the tag of `record` names, or named. Blocks.
///
/// # Errors
/// When the mirror does not give the object.
pub(super) fn verify(
    mirror: &Mirror,
    repository: &str,
    record: &TagRecord,
    object: ObjectId,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<Verdict, TreeError> {
    let seen = record.sightings.iter().find(|it| it.object == object);
    let first_seen = seen.map_or(now, |it| it.first_seen);
    let sighting = Sighting { repository, first_seen, now };
    let name = format!("refs/tags/{}", record.name);
    Ok(trust::verify_tag(&mirror.raw_object(object)?, &name, keyring, &sighting))
}

/// The newest revision of `branch` that may be followed: `tip`, or what is signed of the way to it
/// where that is asked for. `None` when there is none yet.
///
/// # Errors
/// When the database does not answer, or the mirror cannot be read.
pub(crate) async fn follow(
    shared: &Arc<Shared>,
    branch: &str,
    tip: Revision,
) -> Result<Option<Revision>, ReleaseError> {
    if !shared.config.release.require_signed_commits {
        return Ok(Some(tip));
    }
    // An organizer who names another branch means it.
    let seen = shared.store.source().await?.filter(|row| row.branch == branch);
    let anchor = seen.map(|row| row.revision);
    let Ok(keyring) = keyring(shared).await else { return Ok(anchor) };
    let (mirror, now) = (Arc::clone(&shared.mirror), shared.now());
    let repository = shared.config.source.repo.clone();
    let walk = move || -> Result<Chain, TreeError> {
        let sighting = Sighting { repository: &repository, first_seen: now, now };
        let mut links = Vec::new();
        for (revision, parents) in mirror.lineage(tip, anchor)? {
            let raw = mirror.raw_object(revision.0)?;
            let verdict = trust::verify_commit(&raw, &keyring, &sighting);
            links.push(Link { revision, parents, verdict });
        }
        Ok(trust::verify_chain(&links, anchor))
    };
    let walked = tokio::task::spawn_blocking(walk).await.map_err(ReadError::from);
    let chain = walked.and_then(|walked| walked.map_err(ReadError::from));
    let chain = chain.map_err(ReleaseError::Branch)?;
    state_branch(shared, tip, &chain).await;
    Ok(chain.last_good)
}

async fn state_branch(shared: &Shared, tip: Revision, chain: &Chain) {
    let stays = chain.last_good.map_or_else(
        || "nothing is followed yet".to_owned(),
        |last_good| format!("{} stays the newest", last_good.short()),
    );
    let (status, reason, message) = match (&chain.broken, chain.last_good) {
        (_, Some(followed)) if followed == tip => {
            let words = "the newest commit of the branch, and all since the last one, are signed";
            (ConditionStatus::True, "SignatureValid", words.to_owned())
        }
        (Some((revision, verdict)), _) => {
            let next = verdict.next_step(Subject::Commit);
            let words =
                format!("commit {}: {verdict}. {next} Until then {stays}", revision.short());
            (ConditionStatus::False, verdict.reason(), words)
        }
        (None, followed) => {
            let was = followed.map_or_else(String::new, |it| it.to_string());
            let words = format!(
                "the branch was moved off {}, which was followed; {stays}. Push a signed commit that contains it, e.g. with `git merge -s ours {was}`; if it was moved on purpose, start once without `release.require_signed_commits`",
                followed.unwrap_or(tip).short()
            );
            (ConditionStatus::False, "HistoryRewritten", words)
        }
    };
    let (scope, kind, revision) = (Scope::Repo, ConditionType::SourceVerified, Some(tip));
    shared.state(Statement { scope, kind, status, reason, message, revision }).await;
}
