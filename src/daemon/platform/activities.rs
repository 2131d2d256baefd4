//! What happened, for those it is about.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Outcome, Platform};
use crate::model::{Caller, NodeId, NodeSample, Timestamp};
use crate::store::{ActivityFilter, ActivityRow};

impl Platform {
    /// What the caller and their teams did, the newest first; and how much there is of it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn activities_of(
        &self,
        caller: &Caller,
        since: Option<Timestamp>,
        page: (usize, usize),
    ) -> Outcome<(Vec<ActivityRow>, usize)> {
        let actor = caller.account.as_ref().map(|account| account.id.to_string());
        let of = Some((caller.teams(), actor.unwrap_or_else(|| caller.token_id.clone())));
        let filter = ActivityFilter { of, since, page, ..ActivityFilter::default() };
        Ok(self.shared.store.activities(filter).await?)
    }

    /// What happened, the newest first; and how much there is of it before paging.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn activities(&self, filter: ActivityFilter) -> Outcome<(Vec<ActivityRow>, usize)> {
        Ok(self.shared.store.activities(filter).await?)
    }

    /// What happens from now on.
    pub fn follow_activities(&self) -> broadcast::Receiver<Arc<ActivityRow>> {
        self.shared.happened.subscribe()
    }

    /// How each node is, as it is heard of or missed, from now on.
    pub fn follow_node_samples(&self) -> broadcast::Receiver<Arc<(NodeId, NodeSample)>> {
        self.shared.nodes.follow_samples()
    }

    /// What happened after number `after`, the oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn activities_after(
        &self,
        after: i64,
        limit: usize,
    ) -> Outcome<Vec<Arc<ActivityRow>>> {
        let filter =
            ActivityFilter { after: Some(after), page: (limit, 0), ..ActivityFilter::default() };
        let (rows, _) = self.shared.store.activities(filter).await?;
        Ok(rows.into_iter().map(Arc::new).collect())
    }
}
