//! What rows add up to, kept up to date row by row: nobody reads fifty thousand of them to show a page.
//!
//! Rows that are only ever added are followed by their number: each look reads what came since the last
//! one, so that what is kept is never older than the database, and nothing has to be told to forget.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::shared::Shared;
use crate::contest::tally::Solves;
use crate::model::{ChallengeId, Team, TeamId};
use crate::store::StoreError;

/// The number of the newest row that is counted, and the count.
type Kept<T> = Mutex<(i64, Arc<T>)>;

/// Everything that is kept.
#[derive(Debug, Default)]
pub(crate) struct Books {
    solves: Kept<Solves>,
    attempts: Kept<BTreeMap<TeamId, u32>>,
    launches: Kept<BTreeMap<ChallengeId, u32>>,
    /// By how often teams had changed.
    teams: Kept<Vec<Team>>,
}

/// Every solve, oldest first, and the number of the newest row.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn solves(shared: &Shared) -> Result<(i64, Arc<Solves>), StoreError> {
    let newer = |last| shared.store.solves_after(last);
    follow(&shared.books.solves, newer, |solves: &mut Solves, rows| {
        rows.into_iter().for_each(|row| solves.add(row));
    })
    .await
}

/// How many attempts each team made, right or wrong.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn attempts(shared: &Shared) -> Result<Arc<BTreeMap<TeamId, u32>>, StoreError> {
    let newer = |last| shared.store.attempts_after(last);
    Ok(follow(&shared.books.attempts, newer, add_up).await?.1)
}

/// How often each challenge was started by a team.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn launches(
    shared: &Shared,
) -> Result<Arc<BTreeMap<ChallengeId, u32>>, StoreError> {
    let newer = |last| shared.store.launches_after(last);
    Ok(follow(&shared.books.launches, newer, add_up).await?.1)
}

/// Every team that is not disbanded, by name.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn teams(shared: &Shared) -> Result<Arc<Vec<Team>>, StoreError> {
    let lock = || shared.books.teams.lock().unwrap_or_else(PoisonError::into_inner);
    let n_changes = shared.store.n_team_changes().await?;
    let (n_known, known) = lock().clone();
    if n_known == n_changes {
        return Ok(known);
    }
    let (n_changes, teams) = shared.store.teams_and_changes().await?;
    let (mut kept, teams) = (lock(), Arc::new(teams));
    if kept.0 < n_changes {
        *kept = (n_changes, Arc::clone(&teams));
    }
    Ok(teams)
}

fn add_up<K: Ord>(counts: &mut BTreeMap<K, u32>, newer: BTreeMap<K, u32>) {
    for (key, n) in newer {
        *counts.entry(key).or_default() += n;
    }
}

/// Brings `kept` up to date with what `newer` says came after a row.
async fn follow<T: Clone, R, F: Future<Output = Result<(i64, R), StoreError>>>(
    kept: &Kept<T>,
    newer: impl Fn(i64) -> F,
    add: impl Fn(&mut T, R),
) -> Result<(i64, Arc<T>), StoreError> {
    loop {
        let (last, known) = kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (newest, rows) = newer(last).await?;
        if newest <= last {
            return Ok((last, known));
        }
        // So that it need not be copied, unless somebody else looks at it.
        drop(known);
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have counted some of these rows meanwhile: then once more.
        if kept.0 == last {
            add(Arc::make_mut(&mut kept.1), rows);
            kept.0 = newest;
            return Ok(kept.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[tokio::test]
    async fn whoever_looks_at_the_same_time_counts_every_row_once() {
        let kept: Arc<Kept<Vec<i64>>> = Arc::default();
        let newest = Arc::new(AtomicI64::new(0));
        let look = {
            let newest = Arc::clone(&newest);
            move |last: i64| {
                let newest = newest.load(Ordering::SeqCst);
                async move {
                    tokio::task::yield_now().await;
                    Ok((newest, (last + 1..=newest).collect::<Vec<_>>()))
                }
            }
        };
        for _ in 0..20 {
            newest.fetch_add(3, Ordering::SeqCst);
            let looks = (0..5)
                .map(|_| follow(&kept, &look, |rows: &mut Vec<i64>, newer| rows.extend(newer)));
            for seen in futures_util::future::join_all(looks).await {
                let (last, rows) = seen.unwrap();
                assert_eq!(last, newest.load(Ordering::SeqCst));
                assert_eq!(*rows, (1..=last).collect::<Vec<_>>());
            }
        }
    }
}
