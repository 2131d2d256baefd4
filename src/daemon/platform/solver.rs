//! Proofs: which versions are to be proven, and what came of it.

use std::sync::Arc;

use super::{Outcome, Platform, PlatformError};
use crate::daemon::solver::{self, Progress, Why};
use crate::model::{Challenge, ChallengeId, ProofRecord, Revision, TreeId};

/// Which version of a challenge is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// What players get.
    Live,
    /// The newest one, when that is another.
    Newest,
    /// That of the tag that goes live next, when it is neither.
    Tagged,
}

/// How far a proof is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofProgress {
    /// Nobody tries it now; what is known is in the record.
    Idle,
    /// It waits for a slot, or for the next try; with what came between.
    Queued(Option<String>),
    /// Its exploit runs, or its canary is on its way.
    Running,
    /// Nothing came of it, again and again; why.
    GivenUp(String),
}

/// One version of a challenge and what is known of it.
#[derive(Debug, Clone)]
pub struct ProofState {
    /// The challenge.
    pub challenge: ChallengeId,
    /// Which version.
    pub which: Which,
    /// The commit.
    pub revision: Revision,
    /// The version.
    pub tree: TreeId,
    /// How far it is.
    pub progress: ProofProgress,
    /// The last time that it was tried.
    pub record: Option<ProofRecord>,
}

impl Platform {
    /// Wants the live, the newest and the tagged version of each of `challenges` proven; of all when
    /// it is empty. Returns at once, with how each of them stands now.
    ///
    /// # Errors
    /// When there is no such challenge, or no version of it is valid; then nothing is wanted.
    pub async fn solve(&self, challenges: &[String]) -> Outcome<Vec<ProofState>> {
        let wanted = |id: &ChallengeId| {
            challenges.is_empty() || challenges.iter().any(|name| name == id.as_str())
        };
        let versions = self.versions();
        let missing = challenges.iter().find(|name| {
            !versions.iter().any(|(challenge, ..)| challenge.id.as_str() == name.as_str())
        });
        if let Some(name) = missing {
            return Err(PlatformError::ChallengeNotFound { id: name.chars().take(80).collect() });
        }
        for (challenge, revision, _) in versions.iter().filter(|(it, ..)| wanted(&it.id)) {
            solver::want(&self.shared, challenge, *revision, Why::Asked);
        }
        let mut states = self.proofs().await?;
        states.retain(|state| wanted(&state.challenge));
        Ok(states)
    }

    /// Every live version, and every newest or tagged one that is another, by challenge.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn proofs(&self) -> Outcome<Vec<ProofState>> {
        // The wishes first: one that is over since then has left its record.
        let progress = self.shared.solver.progress();
        let records = solver::records(&self.shared).await?;
        let state = |(challenge, revision, which): &Valid| {
            let version = (challenge.id.clone(), challenge.tree);
            ProofState {
                challenge: challenge.id.clone(),
                which: *which,
                revision: *revision,
                tree: challenge.tree,
                progress: match progress.get(&version) {
                    None => ProofProgress::Idle,
                    Some(Progress::Queued(why)) => ProofProgress::Queued(why.clone()),
                    Some(Progress::Running) => ProofProgress::Running,
                    Some(Progress::GivenUp(why)) => ProofProgress::GivenUp(why.clone()),
                },
                record: records.get(&version).cloned(),
            }
        };
        Ok(self.versions().iter().map(state).collect())
    }

    /// What can be proven: by challenge, the live version first.
    fn versions(&self) -> Vec<Valid> {
        let (live, head) = (self.shared.live.load(), self.shared.head.load());
        let mut versions: Vec<Valid> = live
            .values()
            .map(|live| (live.challenge.clone(), live.revision, Which::Live))
            .collect();
        if let Some(revision) = head.revision {
            let newest = head.catalog.folders.values().filter_map(|it| it.challenge.clone());
            let is_live = |newest: &Challenge| {
                live.get(&newest.id).is_some_and(|live| live.challenge.tree == newest.tree)
            };
            let newest = newest.filter(|challenge| !is_live(challenge));
            versions.extend(newest.map(|challenge| (challenge, revision, Which::Newest)));
        }
        if let Some(candidate) = self.shared.releases.candidate() {
            let tagged = candidate.catalog.folders.values().filter_map(|it| it.challenge.clone());
            let is_known = |tagged: &Challenge, versions: &[Valid]| {
                versions.iter().any(|(it, ..)| (&it.id, it.tree) == (&tagged.id, tagged.tree))
            };
            let tagged: Vec<_> = tagged.filter(|tagged| !is_known(tagged, &versions)).collect();
            let at = candidate.revision;
            versions.extend(tagged.into_iter().map(|tagged| (tagged, at, Which::Tagged)));
        }
        versions.sort_by(|(a, ..), (b, ..)| a.id.cmp(&b.id));
        versions
    }
}

/// A version that can be proven.
type Valid = (Arc<Challenge>, Revision, Which);
