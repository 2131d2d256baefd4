//! Which competitions there are: read from the repository with what is live, kept in the database,
//! and held in memory for every request.
//!
//! Without tags the newest revision of the branch declares them, with tags the one that is live; what
//! holds challenges back (a freeze, a rollback) holds them too.
//!
//! # Invariants
//! * A file with a fault, and a repository that cannot be read, take nothing away.
//! * What files declare and what administrators make never mix: the one is read-only in the API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::shared::Shared;
use crate::catalog;
use crate::contest::competition::{Contest, Status};
use crate::model::{CompetitionId, Revision, Timestamp, UserId};
use crate::store::{Declared, PersonKind, StoreError};

/// The competition that is there when no other is.
pub(crate) const DEFAULT: &str = "default";

/// Its title.
pub(crate) const DEFAULT_TITLE: &str = "All challenges";

/// Every competition, and the people beside players.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contests {
    /// The revision that was read last; `None` since the start.
    revision: Option<Revision>,
    /// By id.
    pub(crate) all: BTreeMap<CompetitionId, Arc<Contest>>,
    /// Who runs one without being an administrator of everything.
    pub(crate) admins: BTreeSet<(CompetitionId, UserId)>,
    /// Who may take part in a private one.
    pub(crate) invited: BTreeSet<(CompetitionId, UserId)>,
}

impl Contests {
    /// Nothing but the one that is there when no other is.
    pub(crate) fn only_default(since: Timestamp) -> Self {
        let id: CompetitionId = DEFAULT.parse().expect("`default` is an id");
        let contest = Arc::new(Contest::built_in(id.clone(), DEFAULT_TITLE, since));
        Self { all: BTreeMap::from([(id, contest)]), ..Self::default() }
    }
}

/// Reads what the repository declares now, if that is another revision than the last time, and then
/// everything from the database.
pub(crate) async fn follow(shared: &Arc<Shared>) {
    let known = shared.contests.load().revision;
    match revision_of(shared).await {
        Ok(Some(revision)) if known != Some(revision) => declare(shared, revision).await,
        Ok(_) => {}
        Err(error) => tracing::warn!(
            error = %crate::telemetry::chain::Chain(&error),
            "could not find out which revision declares the competitions; they stay as they are"
        ),
    }
}

/// The revision whose files count: the tag that is live; or the newest of the branch, unless
/// somebody went back from it. `None` while nothing goes live.
async fn revision_of(shared: &Arc<Shared>) -> Result<Option<Revision>, StoreError> {
    let active = shared.store.active().await?.map(|(_, manifest)| manifest.revision);
    if shared.releases.policy().is_some() {
        return Ok(active);
    }
    let now = shared.now();
    let is_frozen = shared.pauses.load().frozen().is_some()
        || shared.config.release.freezes().iter().any(|freeze| freeze.is_on(now));
    if is_frozen {
        return Ok(None);
    }
    match shared.head.load().revision {
        Some(head) if shared.store.left_revisions().await?.contains(&head) => Ok(active),
        head => Ok(head),
    }
}

async fn declare(shared: &Arc<Shared>, revision: Revision) {
    let mirror = Arc::clone(&shared.mirror);
    let read = move || catalog::competitions(&mirror.tree(revision)?);
    let found = match tokio::task::spawn_blocking(read).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::warn!(
                error = %crate::telemetry::chain::Chain(&error), revision = %revision,
                "could not read the competitions of revision {}; they stay as they are", revision.short()
            );
            return;
        }
        // The daemon stops.
        Err(_) => return,
    };
    let (competitions, faulty) = found;
    for file in &faulty {
        tracing::warn!(
            revision = %revision,
            "competitions/{file} of revision {} has a fault, so what was declared last stays: `flagops check` says what",
            revision.short()
        );
    }
    let declared = Declared { revision, competitions, faulty };
    if let Err(error) = shared.store.declare_competitions(declared, shared.now()).await {
        tracing::error!(
            error = %crate::telemetry::chain::Chain(&error),
            "could not record the competitions of revision {}", revision.short()
        );
        return;
    }
    if let Err(error) = take_over(shared, Some(revision)).await {
        tracing::error!(
            error = %crate::telemetry::chain::Chain(&error),
            "could not read the competitions; they stay as they are"
        );
    }
}

/// Reads everything from the database.
///
/// # Errors
/// When the database does not answer; then everything stays as it is.
pub(crate) async fn refresh(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let revision = shared.contests.load().revision;
    take_over(shared, revision).await
}

async fn take_over(shared: &Arc<Shared>, revision: Option<Revision>) -> Result<(), StoreError> {
    let found = shared.store.contests().await?;
    let is_alone = !found.values().any(|contest| contest.status == Status::Published);
    let mut all =
        if is_alone { Contests::only_default(shared.started_at).all } else { BTreeMap::new() };
    all.extend(found.into_iter().map(|(id, contest)| (id, Arc::new(contest))));
    let people = shared.store.competition_people().await?;
    let of = |kind: PersonKind| {
        let rows = people.iter().filter(move |row| row.kind == kind);
        rows.map(|row| (row.competition.clone(), row.user)).collect()
    };
    shared.contests.store(Contests {
        revision,
        all,
        admins: of(PersonKind::Admin),
        invited: of(PersonKind::Invited),
    });
    Ok(())
}
