//! The two loops of notices: one decides what people are told, one delivers it.
//!
//! The first sleeps until the store rings, and looks now and then without: a bell is a hint. The
//! second is a [`Courier`]. They touch the store and the receiver only, so neither can hold up
//! anybody who reconciles.
//!
//! # Invariants
//! * A decision and its notices are one transaction, made before anything is sent.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::courier::{Courier, Fate, Letter, Outbox, Sent, Setback};
use super::decide::decide;
use super::receiver::{Receiver, SendError};
use super::throttle::Throttle;
use super::words;
use crate::model::{Clock, Disposition, Timestamp};
use crate::store::{Decision, OutboxRow, Store, StoreError};
use crate::telemetry::Chain;
use crate::telemetry::metrics::{self, NoticeFate};

/// How long the first change waits for others, so that what fails together is told together.
const GATHER: Duration = Duration::from_millis(200);
/// Between two looks without a hint.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// After a failure of ours.
const PAUSE: Duration = Duration::from_secs(5);

/// What both loops share.
pub struct Pump {
    store: Store,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    courier: Courier<Notices>,
}

impl Pump {
    /// The loops of one daemon; nothing runs yet.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        receiver: Arc<Receiver>,
        stop: CancellationToken,
        jitter: fn(u64) -> Duration,
    ) -> Self {
        let notices = Notices { store: store.clone(), receiver };
        let courier = Courier::new(notices, Arc::clone(&clock), stop.clone(), jitter);
        Self { store, clock, stop, courier }
    }

    /// Decides until the stop.
    pub async fn watch(self: Arc<Self>) {
        let mut bell = self.store.bell();
        let mut throttle = Throttle::default();
        loop {
            // Marked before the look: what changes during it rings again.
            bell.mark_unchanged();
            let pause = match self.look(&mut throttle).await {
                Ok(()) => LOOK_EVERY,
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "could not decide about notices");
                    PAUSE
                }
            };
            tokio::select! {
                // Cancel-safe: a missed bell costs one pause. The sender lives in our store.
                _ = bell.changed() => {}
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
            if self.stopped_within(GATHER).await {
                return;
            }
        }
    }

    /// Delivers until the stop.
    pub async fn deliver(self: Arc<Self>) {
        self.courier.deliver().await;
    }

    /// One look at every condition.
    pub(super) async fn look(&self, throttle: &mut Throttle) -> Result<(), StoreError> {
        let conditions = self.store.conditions().await?;
        let alarms = self.store.alarms().await?;
        let now = self.clock.now();
        let decided = decide(now, &conditions, &alarms, throttle);
        let notices: Vec<_> = decided.drafts.iter().filter_map(words::render).collect();
        if decided.changed.is_empty() && decided.forgotten.is_empty() && notices.is_empty() {
            return Ok(());
        }
        let is_posted = !notices.is_empty();
        let (alarms, forgotten) = (decided.changed, decided.forgotten);
        self.store.decide(Decision { alarms, forgotten, notices }, now).await?;
        if is_posted {
            self.courier.ring();
        }
        Ok(())
    }

    /// Delivers what may be delivered now.
    #[cfg(test)]
    pub(super) async fn deliver_due(&self) -> Result<(), StoreError> {
        self.courier.deliver_due().await.map(drop)
    }

    async fn stopped_within(&self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.stop.cancelled()).await.is_ok()
    }
}

/// The notices that wait, and who is told.
struct Notices {
    store: Store,
    receiver: Arc<Receiver>,
}

impl Letter for OutboxRow {
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

impl Outbox for Notices {
    type Letter = OutboxRow;
    type Error = SendError;

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        self.store.due_notices(now, limit).await
    }

    async fn n_waiting(&self) -> Result<u32, StoreError> {
        Ok(self.store.outbox_counts().await?.n_waiting)
    }

    async fn send(&self, row: &OutboxRow, now: Timestamp) -> Result<Sent, SendError> {
        self.receiver.send(Some(row.seq), &row.notice, now).await?;
        Ok(Sent::default())
    }

    fn setback(&self, error: &SendError) -> Setback {
        match error.disposition() {
            Disposition::Retry(_) => Setback::Retry { silence: error.retry_after() },
            Disposition::Terminal | Disposition::WaitUntil(_) => Setback::GiveUp,
        }
    }

    async fn delivered(&self, seq: i64) -> Result<(), StoreError> {
        self.store.notice_delivered(seq).await
    }

    async fn failed(
        &self,
        seq: i64,
        next_at: Option<Timestamp>,
        error: String,
    ) -> Result<(), StoreError> {
        self.store.notice_failed(seq, next_at, error).await
    }

    fn tell(&self, row: &OutboxRow, fate: Fate<'_>) {
        match fate {
            Fate::Delivered => metrics::notice(NoticeFate::Delivered),
            Fate::Retried(why) => {
                metrics::notice(NoticeFate::Retried);
                if row.n_attempts == 0 {
                    tracing::warn!(notice.seq = row.seq, "a notice waits: {why}");
                }
            }
            Fate::GivenUp(why) => {
                metrics::notice(NoticeFate::GivenUp);
                tracing::error!(
                    notice.seq = row.seq,
                    "a notice was given up ({}): {why}; try `flagops notify test`",
                    row.notice.title
                );
            }
        }
    }

    async fn halted(&self, error: String) {
        // Nobody who is told notices refuses us altogether: each is given up by itself.
        tracing::error!("no notice is taken: {error}");
    }
}
