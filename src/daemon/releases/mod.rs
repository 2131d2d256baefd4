//! Decides what should be live now, and makes it so.
//!
//! Two channels: without a tag policy the branch is live, each challenge as soon as it is built
//! ([`branch`]); with one, a tag goes live whole ([`tags`]). Both end in [`flip`]: one transaction.
//!
//! # Invariants
//! * One writer: whoever changes what is live holds `release_turn`.
//! * What fails here changes nothing for players.
//!
//! # Not here
//! The choices (`release::{live, tag, gate, revert}`), the verbs of organizers
//! (`platform::releases`).

mod branch;
pub(crate) mod flip;
mod observe;
mod replace;
mod revert;
mod signed;
pub(crate) mod tags;
mod verified;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::secrets;
use super::shared::{Shared, Statement};
use super::source::ReadError;
use crate::catalog::Catalog;
use crate::config::ReleaseConfig;
use crate::git::TagWish;
use crate::model::{
    ChallengeId, ConditionStatus, ConditionType, ObjectId, Revision, Scope, TagName, Timestamp,
    TreeId,
};
use crate::release::gate::Fault;
use crate::release::manifest::Entry;
use crate::release::tag::{Selection, TagFacts, TagPolicy};
use crate::store::StoreError;

pub(crate) use observe::{observe, recall};
pub(crate) use replace::force;
#[cfg(test)]
pub(crate) use revert::check as check_reverts;
use signed::Verdicts;
pub(crate) use signed::{check_trust, follow, signature};

/// Who does what nobody asked for.
const FLAGOPS: &str = "flagops";

/// Between two looks at how starts of new versions go.
const REVERT_SECS: u64 = 15;

/// What is known about releases, beside the database.
#[derive(Debug)]
pub(crate) struct Releases {
    policy: Option<TagPolicy>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Everything about the tags; `None` before the first look.
    tags: Option<Vec<TagFacts>>,
    /// What the last selection said.
    selection: Selection,
    /// The commit that goes live next, and what it declares.
    candidate: Option<Candidate>,
    /// When to look again even if nothing happens.
    wake_at: Option<Timestamp>,
    /// What signatures of tags came to.
    verdicts: Verdicts,
}

/// The commit that goes live next.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// The tag.
    pub(crate) name: TagName,
    /// The object it names.
    pub(crate) object: ObjectId,
    /// The commit.
    pub(crate) revision: Revision,
    /// What it declares.
    pub(crate) catalog: Arc<Catalog>,
    /// What of it cannot be decrypted here, and why.
    pub(crate) sealed: Arc<BTreeMap<(ChallengeId, TreeId), String>>,
    /// Since when it is the candidate.
    pub(crate) since: Timestamp,
    /// What it waits for.
    pub(crate) missing: Missing,
}

impl Candidate {
    /// A candidate from now on, before anything of it was judged.
    pub(crate) async fn new(
        shared: &Arc<Shared>,
        (name, object): (TagName, ObjectId),
        revision: Revision,
        catalog: Arc<Catalog>,
    ) -> Self {
        let sealed = Arc::new(secrets::sealed(shared, revision, &catalog).await);
        let (since, missing) = (shared.now(), Missing::Nothing);
        Self { name, object, revision, catalog, sealed, since, missing }
    }
}

/// What a candidate waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Nothing that was seen.
    #[default]
    Nothing,
    /// These are being built or proved.
    Waiting(Vec<ChallengeId>),
    /// These are wrong.
    Blocked(Vec<Fault>),
    /// It would take everything away.
    AllWouldBeRemoved,
}

/// What of the tags a mirror has to look for.
pub fn tag_wish(config: &ReleaseConfig) -> TagWish {
    TagWish {
        pattern: config.policy().map(|policy| policy.pattern),
        branches: config.ancestor_of.iter().filter_map(|it| it.parse().ok()).collect(),
    }
}

impl Releases {
    pub(crate) fn new(config: &ReleaseConfig) -> Self {
        Self { policy: config.policy(), known: Mutex::default() }
    }

    /// Which tags go live; `None` when the branch does.
    pub(crate) fn policy(&self) -> Option<&TagPolicy> {
        self.policy.as_ref()
    }

    /// Looks again at `at`, unless something is due before.
    pub(crate) fn wake_by(&self, at: Timestamp) {
        let mut known = self.known();
        known.wake_at = Some(known.wake_at.map_or(at, |before| before.min(at)));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The commit that goes live next, if it is known what it declares.
    pub(crate) fn candidate(&self) -> Option<Candidate> {
        self.known().candidate.clone()
    }

    /// Everything about the tags, and what the last selection said of them.
    pub(crate) fn tags(&self) -> (Vec<TagFacts>, Selection) {
        let known = self.known();
        (known.tags.clone().unwrap_or_default(), known.selection.clone())
    }
}

/// Why nothing could be worked out. Players keep what they have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the commit of tag `{tag}` could not be read")]
    Read {
        tag: TagName,
        #[source]
        source: ReadError,
    },
    #[error("the commits of the branch could not be read")]
    Branch(#[source] ReadError),
}

/// Works out what should be live now, and makes it so.
pub(crate) async fn advance(shared: &Arc<Shared>) {
    if shared.worker.follows() {
        super::exports::take(shared).await;
        return;
    }
    // Two at once would both begin with what is live now, and the later one would win.
    let _turn = shared.release_turn.acquire().await;
    let result = match shared.releases.policy() {
        None => branch::advance(shared).await,
        Some(policy) => tags::advance(shared, policy).await,
    };
    if let Err(error) = result {
        tracing::error!(
            error = %crate::telemetry::chain::Chain(&error),
            "could not change what is live; players keep what they have"
        );
    }
    shared.statuses_due.notify_one();
}

/// Advances when time alone changes what should be live, and takes back what does not start.
pub(crate) async fn keep(shared: Arc<Shared>) {
    loop {
        let now = shared.now();
        let millis = shared.releases.known().wake_at.map(|at| at.millis_since(now).max(100));
        let pause = millis.map_or(u64::MAX, i64::unsigned_abs).min(REVERT_SECS * 1000);
        let is_due = tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause)) => {
                let wake_at = shared.releases.known().wake_at;
                wake_at.is_some_and(|at| at <= shared.now())
            }
            // Cancel-safe: a ring that nobody waited for is kept.
            () = shared.solver.told.notified() => true,
            () = shared.tasks.stopping().cancelled() => return,
        };
        if is_due {
            shared.releases.known().wake_at = None;
            advance(&shared).await;
        }
        revert::check(&shared).await;
    }
}

/// Versions that were taken out of service.
pub(crate) async fn quarantined(
    shared: &Shared,
) -> Result<BTreeSet<(ChallengeId, TreeId)>, StoreError> {
    let all = shared.store.quarantined_versions().await?;
    Ok(all.into_iter().map(|it| (it.challenge, it.tree)).collect())
}

/// What is live, as a manifest lists it.
pub(crate) fn live_entries(shared: &Shared) -> BTreeMap<ChallengeId, Entry> {
    let live = shared.live.load();
    let entry = |it: &super::platform::LiveChallenge| {
        crate::release::gate::entry(&it.challenge, it.revision)
    };
    live.iter().map(|(id, live)| (id.clone(), entry(live))).collect()
}

/// States something about what goes live.
async fn state(
    shared: &Shared,
    kind: ConditionType,
    status: ConditionStatus,
    reason: &'static str,
    message: String,
    revision: Option<Revision>,
) {
    let scope = Scope::Release;
    shared.state(Statement { scope, kind, status, reason, message, revision }).await;
}

/// States what keeps everything from going live, or that nothing does.
async fn state_held(shared: &Shared, held: Option<(&'static str, String)>, at: Option<Revision>) {
    let (status, reason, message) = match held {
        Some((reason, message)) => (ConditionStatus::True, reason, message),
        None => (ConditionStatus::False, "Ok", "nothing is held back".to_owned()),
    };
    state(shared, ConditionType::Held, status, reason, message, at).await;
}
