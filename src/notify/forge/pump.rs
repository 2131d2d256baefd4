//! From what was decided to the forge: an outbox, and a [`Courier`] who empties it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::client::{Forge, PostError};
use super::decide::{Facts, Names, decide};
use crate::model::{Clock, ConditionStatus, ConditionType, Scope, Timestamp};
use crate::notify::courier::{Courier, Fate, Letter, Outbox, Sent, Setback};
use crate::store::{NewCondition, StatusRow, Store, StoreError};
use crate::telemetry::Chain;
use crate::telemetry::metrics::{self, NoticeFate};

/// The way to the forge.
pub struct Pump {
    store: Store,
    clock: Arc<dyn Clock>,
    names: Names,
    courier: Courier<Statuses>,
}

impl Pump {
    /// The way of one daemon; nothing runs yet.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        forge: Forge,
        names: Names,
        stop: CancellationToken,
        jitter: fn(u64) -> Duration,
    ) -> Self {
        let is_taken = AtomicBool::new(false);
        let outbox = Statuses { store: store.clone(), clock: Arc::clone(&clock), forge, is_taken };
        let courier = Courier::new(outbox, Arc::clone(&clock), stop, jitter);
        Self { store, clock, names, courier }
    }

    /// Delivers until the stop, or until the forge refuses our token.
    pub async fn deliver(self: Arc<Self>) {
        self.courier.deliver().await;
    }

    /// Puts on its way what the forge does not know yet.
    ///
    /// # Errors
    /// When the database fails; then nothing is on its way.
    pub async fn look(&self, facts: &Facts) -> Result<(), StoreError> {
        let known = self.store.commit_statuses().await?;
        let mut wishes = decide(facts, &known, self.names);
        wishes.retain(|wish| !known.contains(wish));
        if !wishes.is_empty() && self.store.wish_statuses(wishes, self.clock.now()).await? {
            self.courier.ring();
        }
        Ok(())
    }

    /// Delivers what may be delivered now.
    #[cfg(test)]
    pub(super) async fn deliver_due(&self) -> Result<crate::notify::courier::Turn, StoreError> {
        self.courier.deliver_due().await
    }
}

/// The statuses that wait, and the forge.
struct Statuses {
    store: Store,
    clock: Arc<dyn Clock>,
    forge: Forge,
    /// Whether the forge took one in this life.
    is_taken: AtomicBool,
}

impl Letter for StatusRow {
    fn seq(&self) -> i64 {
        self.seq
    }

    fn created_at(&self) -> Timestamp {
        self.created_at
    }

    fn n_attempts(&self) -> u32 {
        self.n_attempts
    }
}

impl Outbox for Statuses {
    type Letter = StatusRow;
    type Error = PostError;

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<StatusRow>, StoreError> {
        self.store.due_statuses(now, limit).await
    }

    async fn n_waiting(&self) -> Result<u32, StoreError> {
        Ok(self.store.status_counts().await?.n_waiting)
    }

    async fn send(&self, row: &StatusRow, now: Timestamp) -> Result<Sent, PostError> {
        let sent = self.forge.post(&row.status, now).await?;
        if !self.is_taken.swap(true, Ordering::Relaxed) {
            let words = "the forge takes commit statuses".to_owned();
            self.state(ConditionStatus::True, "Ok", words).await;
        }
        Ok(sent)
    }

    fn setback(&self, error: &PostError) -> Setback {
        error.setback()
    }

    async fn delivered(&self, seq: i64) -> Result<(), StoreError> {
        self.store.status_delivered(seq).await
    }

    async fn failed(
        &self,
        seq: i64,
        next_at: Option<Timestamp>,
        error: String,
    ) -> Result<(), StoreError> {
        self.store.status_failed(seq, next_at, error).await
    }

    fn tell(&self, row: &StatusRow, fate: Fate<'_>) {
        let (revision, context) = (row.status.revision, row.status.context);
        match fate {
            Fate::Delivered => metrics::commit_status(NoticeFate::Delivered),
            Fate::Retried(why) => {
                metrics::commit_status(NoticeFate::Retried);
                if row.n_attempts == 0 {
                    tracing::warn!(revision = %revision, "the status {context} waits: {why}");
                }
            }
            Fate::GivenUp(why) => {
                metrics::commit_status(NoticeFate::GivenUp);
                tracing::error!(
                    revision = %revision,
                    "the status {context} of {} was given up: {why}", revision.short()
                );
            }
        }
    }

    async fn halted(&self, error: String) {
        tracing::error!("no commit status is posted until the next start: {error}");
        self.state(ConditionStatus::False, "AuthFailed", error).await;
    }
}

impl Statuses {
    /// Says whether the forge takes what we post.
    async fn state(&self, status: ConditionStatus, reason: &str, message: String) {
        let condition = NewCondition {
            scope: Scope::Repo,
            kind: ConditionType::StatusesPosted,
            status,
            reason: reason.to_owned(),
            message,
            revision: None,
        };
        if let Err(error) = self.store.set_condition(condition, self.clock.now()).await {
            tracing::error!(error = %Chain(&error), "could not record what the forge said");
        }
    }
}
