//! What a release changes, before it does: images, attachments, questions, instances.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::{LiveChallenge, LiveSet, Outcome, Platform, PlatformError};
use crate::daemon::nodes;
use crate::daemon::releases::{Candidate, flip, tags};
use crate::daemon::source;
use crate::git::{GitTree, Mirror};
use crate::model::{
    BuildKey, BuildState, ChallengeId, EntryKind, InstanceId, ObjectId, Revision, TagName, TeamId,
    Tree, TreeError,
};
use crate::release::gate::Verdict;
use crate::release::identity::build_units;
use crate::release::manifest::Manifest;
use crate::release::preview::{ChallengeChange, Side, changes};
use crate::release::tag::{Standing, TagTarget};
use crate::store::{InstanceFilter, Which};

/// What changes, and for whom.
#[derive(Debug, Clone)]
pub struct Preview {
    /// What it is compared with, e.g. "generation 3".
    pub before: String,
    /// What goes live, e.g. "tag `v1.2.0`".
    pub after: String,
    /// Each challenge that differs.
    pub changes: Vec<ChallengePreview>,
    /// Why it does not go live, in words; empty when it would, or was.
    pub held: Vec<String>,
}

/// One challenge that differs.
#[derive(Debug, Clone)]
pub struct ChallengePreview {
    /// In what.
    pub change: ChallengeChange,
    /// How far each new image is, by the order of `change.images`.
    pub builds: Vec<BuildState>,
    /// Running instances of another version than the new one.
    pub stale: Vec<(InstanceId, TeamId)>,
}

impl Platform {
    /// What a tag would change if it went live now. Changes nothing; builds nothing.
    ///
    /// # Errors
    /// When there is no such release tag, it names no commit, or that cannot be read.
    pub async fn preview_tag(&self, tag: &str) -> Outcome<Preview> {
        let shared = &self.shared;
        let unknown = || PlatformError::TagNotFound { tag: tag.chars().take(80).collect() };
        let name: TagName = tag.parse().map_err(|_| unknown())?;
        let (facts, selection) = shared.releases.tags();
        let it = facts.into_iter().find(|it| it.record.name == name).ok_or_else(unknown)?;
        let (TagTarget::Commit { revision, .. }, Some(object)) = (&it.target, it.record.current)
        else {
            let reason = format!("tag `{name}` names no commit that the mirror holds");
            return Err(PlatformError::BadRelease { reason });
        };
        let candidate = self.candidate(name.clone(), object, *revision).await?;
        let mut held = Vec::new();
        match selection.standings.get(&name) {
            Some(Standing::Held(hold)) => held.push(hold.to_string()),
            Some(Standing::Superseded) => held.push("a later tag takes its place".to_owned()),
            Some(Standing::Quarantined) => held.push("a person took it out".to_owned()),
            Some(Standing::Unordered(why)) => held.push(why.to_string()),
            Some(Standing::Live | Standing::Candidate | Standing::Gone) | None => (),
        }
        let after = match tags::judge(shared, &candidate).await? {
            Verdict::Eligible(manifest) => {
                flip::resolve(shared, &manifest, vec![Arc::clone(&candidate.catalog)])
                    .await
                    .map_err(|error| PlatformError::BadRelease { reason: error.to_string() })?
            }
            verdict => {
                held.extend(why_not(&verdict));
                declared(&candidate)
            }
        };
        let (before, words) = self.live_now().await?;
        let held = if held.is_empty() { self.frozen_words() } else { held };
        self.preview(words, format!("tag `{name}`"), before, after, held).await
    }

    /// What differs between two generations.
    ///
    /// # Errors
    /// When one of them is not kept, or cannot be read any more.
    pub async fn diff(&self, before: u32, after: u32) -> Outcome<Preview> {
        let (old, new) = (self.generation(before).await?.1, self.generation(after).await?.1);
        let (old, new) = (self.resolved(&old).await?, self.resolved(&new).await?);
        let named = |number: u32| format!("generation {number}");
        self.preview(named(before), named(after), old, new, Vec::new()).await
    }

    async fn resolved(&self, manifest: &Manifest) -> Outcome<LiveSet> {
        flip::resolve(&self.shared, manifest, Vec::new())
            .await
            .map_err(|error| PlatformError::BadRelease { reason: error.to_string() })
    }

    async fn candidate(
        &self,
        name: TagName,
        object: ObjectId,
        revision: Revision,
    ) -> Outcome<Candidate> {
        let known = self.shared.releases.candidate();
        if let Some(same) = known.filter(|it| it.revision == revision && it.name == name) {
            return Ok(same);
        }
        let previous = Arc::clone(&self.shared.head.load().catalog);
        let catalog = source::read(&self.shared, revision, previous)
            .await
            .map_err(|error| PlatformError::Internal(Box::new(error)))?;
        Ok(Candidate::new(&self.shared, (name, object), revision, Arc::new(catalog)).await)
    }

    async fn live_now(&self) -> Outcome<(LiveSet, String)> {
        let active = self.shared.store.active().await?;
        let words = active.map_or("nothing".to_owned(), |(it, _)| {
            format!("generation {}, which is live", it.number)
        });
        Ok(((*self.shared.live.load()).clone(), words))
    }

    fn frozen_words(&self) -> Vec<String> {
        self.frozen().map(|pause| format!("nothing goes live {pause}")).into_iter().collect()
    }

    async fn preview(
        &self,
        before: String,
        after: String,
        old: LiveSet,
        new: LiveSet,
        held: Vec<String>,
    ) -> Outcome<Preview> {
        let mirror = Arc::clone(&self.shared.mirror);
        let work = move || {
            Ok::<_, TreeError>(changes(&sides(&mirror, &old, &new)?, &sides(&mirror, &new, &old)?))
        };
        let found = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| PlatformError::Internal(Box::new(error)))?
            .map_err(|error| PlatformError::Internal(Box::new(error)))?;
        let states = nodes::images::states(&self.shared).await?;
        let filter = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
        let instances = self.shared.store.instances(filter).await?;
        let told = found.into_iter().map(|change| {
            let state = |key: &BuildKey| states.get(key).copied().unwrap_or(BuildState::Unbuilt);
            let is_stale = |it: &&crate::model::Instance| {
                it.challenge == change.id && Some(it.tree) != change.to
            };
            let stale = instances.iter().filter(is_stale).map(|it| (it.id, it.team)).collect();
            let builds = change.images.iter().map(|(_, key)| state(key)).collect();
            ChallengePreview { change, builds, stale }
        });
        Ok(Preview { before, after, changes: told.collect(), held })
    }
}

/// Why a verdict lets nothing go live.
fn why_not(verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Eligible(_) => Vec::new(),
        Verdict::Waiting(ids) => {
            ids.iter().map(|id| format!("images of {id} are not built yet")).collect()
        }
        Verdict::Blocked(faults) => faults.iter().map(ToString::to_string).collect(),
        Verdict::AllWouldBeRemoved => vec!["it has none of the live challenges".to_owned()],
    }
}

/// Every usable challenge of the candidate, as if it were good.
fn declared(candidate: &Candidate) -> LiveSet {
    let usable = candidate.catalog.folders.iter().filter_map(|(id, folder)| {
        let challenge = folder.challenge.clone()?;
        let (revision, since) = (candidate.revision, candidate.since);
        Some((id.clone(), LiveChallenge { challenge, revision, since }))
    });
    usable.collect()
}

/// What is to be compared of `of`: versions that `other` does not have.
fn sides(
    mirror: &Mirror,
    of: &LiveSet,
    other: &LiveSet,
) -> Result<BTreeMap<ChallengeId, Side>, TreeError> {
    let version = |live: &LiveChallenge| (live.challenge.tree, live.challenge.path.clone());
    let differs = |id, live| other.get(id).is_none_or(|other| version(other) != version(live));
    // Most are of the same revision.
    let mut trees = BTreeMap::new();
    of.iter()
        .filter(|(id, live)| differs(*id, *live))
        .map(|(id, live)| Ok((id.clone(), side(mirror, &mut trees, live)?)))
        .collect()
}

fn side(
    mirror: &Mirror,
    trees: &mut BTreeMap<Revision, GitTree>,
    live: &LiveChallenge,
) -> Result<Side, TreeError> {
    let challenge = &live.challenge;
    let mut attachments = BTreeMap::new();
    if !challenge.attachments.is_empty() {
        let tree = match trees.entry(live.revision) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(mirror.tree(live.revision)?),
        };
        let root = format!("{}/attachments", challenge.path);
        walk(tree, &root, "", &mut attachments)?;
    }
    Ok(Side {
        tree: challenge.tree,
        path: challenge.path.clone(),
        questions: challenge.metadata.questions.clone(),
        attachments,
        images: build_units(challenge).into_iter().map(|it| (it.service, it.key)).collect(),
        update: challenge.metadata.instance.update,
    })
}

fn walk(
    tree: &impl Tree,
    root: &str,
    below: &str,
    found: &mut BTreeMap<String, ObjectId>,
) -> Result<(), TreeError> {
    let join = |parent: &str, name: &str| {
        if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
    };
    for entry in tree.entries(join(root, below).trim_end_matches('/'))? {
        let path = join(below, &entry.name);
        match entry.kind {
            EntryKind::Directory => walk(tree, root, &path, found)?,
            EntryKind::File { .. } | EntryKind::Symlink | EntryKind::Submodule => {
                found.insert(path, entry.oid);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MemoryTree;

    #[test]
    fn attachments_are_found_at_every_depth() {
        let tree = MemoryTree::new()
            .with("W/A/attachments/one.txt", "1")
            .with("W/A/attachments/deep/er/two.txt", "2");
        let mut found = BTreeMap::new();
        walk(&tree, "W/A/attachments", "", &mut found).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["deep/er/two.txt", "one.txt"]);
    }
}
