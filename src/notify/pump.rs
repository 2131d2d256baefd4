//! The two loops: one decides what people are told, one delivers it.
//!
//! Both sleep until the store rings, and look now and then without: a bell is a hint. They touch the
//! store and the receiver only, so neither can hold up anybody who reconciles.
//!
//! # Invariants
//! * A decision and its notices are one transaction, made before anything is sent.
//! * A notice is tried until the receiver has it, says that it is wrong, or a day has passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

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
/// Between two looks at an outbox in which something waits.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// After a failure of ours.
const PAUSE: Duration = Duration::from_secs(5);
/// How long an undelivered notice is tried.
const GIVE_UP_MILLIS: i64 = 24 * 3_600_000;
/// How long a delivery under way may go on after the stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// Notices taken out of the outbox at a time.
const BATCH: u32 = 16;

/// What both loops share.
pub struct Pump {
    store: Store,
    clock: Arc<dyn Clock>,
    receiver: Arc<Receiver>,
    stop: CancellationToken,
    /// A pause of so many milliseconds at most, spread.
    jitter: fn(u64) -> Duration,
    /// Rings when something was put into the outbox.
    posted: Notify,
    /// The receiver asked for silence until then, in milliseconds since the epoch.
    quiet_until: AtomicI64,
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
        let (posted, quiet_until) = (Notify::new(), AtomicI64::new(0));
        Self { store, clock, receiver, stop, jitter, posted, quiet_until }
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
        while !self.stop.is_cancelled() {
            let pause = match self.deliver_due().await {
                Ok(()) => match self.store.outbox_counts().await {
                    Ok(counts) if counts.n_waiting == 0 => LOOK_EVERY,
                    Ok(_) | Err(_) => RETRY_EVERY,
                },
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "could not deliver notices");
                    PAUSE
                }
            };
            tokio::select! {
                // Cancel-safe: a permit that is not taken stays.
                () = self.posted.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
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
            self.posted.notify_one();
        }
        Ok(())
    }

    /// Delivers what may be delivered now, until nothing is left or the receiver wants silence.
    pub(super) async fn deliver_due(&self) -> Result<(), StoreError> {
        loop {
            let now = self.clock.now();
            if now.as_millis() < self.quiet_until.load(Ordering::Relaxed) {
                return Ok(());
            }
            let due = self.store.due_notices(now, BATCH).await?;
            if due.is_empty() {
                return Ok(());
            }
            for row in due {
                match self.attempt(&row).await? {
                    Attempt::Done => {}
                    Attempt::Pause => return Ok(()),
                }
            }
        }
    }

    async fn attempt(&self, row: &OutboxRow) -> Result<Attempt, StoreError> {
        let now = self.clock.now();
        let sending = self.receiver.send(Some(row.seq), &row.notice, now);
        let outcome = tokio::select! {
            outcome = sending => outcome,
            // Dropped in the middle it may have arrived; then it arrives twice, under one number.
            () = self.long_stopped() => return Ok(Attempt::Pause),
        };
        match outcome {
            Ok(_) => {
                metrics::notice(NoticeFate::Delivered);
                self.store.notice_delivered(row.seq).await?;
                Ok(Attempt::Done)
            }
            Err(error) => self.after_failure(row, &error).await,
        }
    }

    async fn after_failure(
        &self,
        row: &OutboxRow,
        error: &SendError,
    ) -> Result<Attempt, StoreError> {
        let now = self.clock.now();
        let is_old = now.millis_since(row.created_at) >= GIVE_UP_MILLIS;
        let text = Chain(error).to_string();
        let next_at = match error.disposition() {
            Disposition::Retry(class) if !is_old => {
                let pause = (self.jitter)(class.backoff_millis(row.n_attempts + 1));
                Some(later(now, pause.max(error.retry_after().unwrap_or_default())))
            }
            Disposition::Retry(_) | Disposition::Terminal | Disposition::WaitUntil(_) => None,
        };
        match next_at {
            Some(_) => {
                metrics::notice(NoticeFate::Retried);
                if row.n_attempts == 0 {
                    tracing::warn!(notice.seq = row.seq, "a notice waits: {text}");
                }
            }
            None => {
                metrics::notice(NoticeFate::GivenUp);
                tracing::error!(
                    notice.seq = row.seq,
                    "a notice was given up ({}): {text}; try `flagops notify test`",
                    row.notice.title
                );
            }
        }
        self.store.notice_failed(row.seq, next_at, text).await?;
        let Some(pause) = error.retry_after() else { return Ok(Attempt::Done) };
        self.quiet_until.store(later(now, pause).as_millis(), Ordering::Relaxed);
        Ok(Attempt::Pause)
    }

    async fn stopped_within(&self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.stop.cancelled()).await.is_ok()
    }

    async fn long_stopped(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(STOP_PATIENCE).await;
    }
}

/// Whether to go on with the next notice.
enum Attempt {
    Done,
    Pause,
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    now.plus_millis(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}
