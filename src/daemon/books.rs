//! What rows add up to, kept up to date row by row: nobody reads fifty thousand of them to show a page.
//!
//! Rows that are only ever added are followed by their number: each look reads what came since the last
//! one, so that what is kept is never older than the database, and nothing has to be told to forget.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::shared::Shared;
use crate::contest::tally::Solves;
use crate::model::{ChallengeId, Team, TeamId};
use crate::store::{AsOf, StoreError, Topic};

/// What is kept.
#[derive(Debug)]
struct Book<T> {
    /// The number of the newest row that is counted.
    last: i64,
    count: Arc<T>,
    /// As of when that is known to be all.
    as_of: Option<AsOf>,
}

type Kept<T> = Mutex<Book<T>>;

impl<T: Default> Default for Book<T> {
    fn default() -> Self {
        Self { last: 0, count: Arc::default(), as_of: None }
    }
}

/// Everything that is kept.
#[derive(Debug, Default)]
pub(crate) struct Books {
    solves: Kept<Solves>,
    attempts: Kept<BTreeMap<TeamId, u32>>,
    launches: Kept<BTreeMap<ChallengeId, u32>>,
    teams: Mutex<Option<(AsOf, Arc<Vec<Team>>)>>,
}

/// Every solve, oldest first, and the number of the newest row.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn solves(shared: &Shared) -> Result<(i64, Arc<Solves>), StoreError> {
    let newer = |last| shared.store.solves_after(last);
    let as_of = shared.store.as_of(Topic::Solves);
    follow(&shared.books.solves, as_of, newer, |solves: &mut Solves, rows| {
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
    let as_of = shared.store.as_of(Topic::Submissions);
    Ok(follow(&shared.books.attempts, as_of, newer, add_up).await?.1)
}

/// How often each challenge was started by a team.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn launches(
    shared: &Shared,
) -> Result<Arc<BTreeMap<ChallengeId, u32>>, StoreError> {
    let newer = |last| shared.store.launches_after(last);
    let as_of = shared.store.as_of(Topic::Instances);
    Ok(follow(&shared.books.launches, as_of, newer, add_up).await?.1)
}

/// Every team that is not disbanded, by name.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn teams(shared: &Shared) -> Result<Arc<Vec<Team>>, StoreError> {
    let lock = || shared.books.teams.lock().unwrap_or_else(PoisonError::into_inner);
    let as_of = shared.store.as_of(Topic::Teams);
    let known = lock().clone();
    if let Some((then, teams)) = known
        && then.holds(as_of)
    {
        return Ok(teams);
    }
    let teams = Arc::new(shared.store.teams().await?);
    // Whoever read later may have kept theirs already; then the next look reads once more.
    *lock() = Some((as_of, Arc::clone(&teams)));
    Ok(teams)
}

fn add_up<K: Ord>(counts: &mut BTreeMap<K, u32>, newer: BTreeMap<K, u32>) {
    for (key, n) in newer {
        *counts.entry(key).or_default() += n;
    }
}

/// Brings `kept` up to date with what `newer` says came after a row, if anything came since `as_of`.
async fn follow<T: Clone, R, F: Future<Output = Result<(i64, R), StoreError>>>(
    kept: &Kept<T>,
    as_of: AsOf,
    newer: impl Fn(i64) -> F,
    add: impl Fn(&mut T, R),
) -> Result<(i64, Arc<T>), StoreError> {
    let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let last = {
            let kept = lock();
            if kept.as_of.is_some_and(|then| then.holds(as_of)) {
                return Ok((kept.last, Arc::clone(&kept.count)));
            }
            kept.last
        };
        let (newest, rows) = newer(last).await?;
        let mut kept = lock();
        // Somebody else may have counted some of these rows meanwhile: then once more.
        if kept.last == last {
            if newest > last {
                // It need not be copied, unless somebody else looks at it.
                add(Arc::make_mut(&mut kept.count), rows);
                kept.last = newest;
            }
            kept.as_of = Some(as_of);
            return Ok((kept.last, Arc::clone(&kept.count)));
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
            let as_of = AsOf::now(newest.load(Ordering::SeqCst).unsigned_abs());
            let add = |rows: &mut Vec<i64>, newer| rows.extend(newer);
            let looks = (0..5).map(|_| follow(&kept, as_of, &look, add));
            for seen in futures_util::future::join_all(looks).await {
                let (last, rows) = seen.unwrap();
                assert_eq!(last, newest.load(Ordering::SeqCst));
                assert_eq!(*rows, (1..=last).collect::<Vec<_>>());
            }
        }
    }
}
