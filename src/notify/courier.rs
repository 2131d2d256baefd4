//! Delivers what waits in an outbox, one letter after the other, until its receiver has it.
//!
//! Sleeps until somebody rings, and looks now and then without: a bell is a hint. It touches the
//! outbox and the receiver only, so it can hold up nobody who reconciles.
//!
//! # Invariants
//! * A letter is tried until the receiver has it, says that it is wrong, or a day has passed.
//! * Who asks for silence gets it, for every letter; who refuses us altogether is asked no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::model::{Clock, RetryClass, Timestamp};
use crate::store::StoreError;
use crate::telemetry::Chain;

/// Between two looks at an empty outbox.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Between two looks at an outbox in which something waits.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// After a failure of ours.
const PAUSE: Duration = Duration::from_secs(5);
/// How long an undelivered letter is tried.
const GIVE_UP_MILLIS: i64 = 24 * 3_600_000;
/// How long a delivery under way may go on after the stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// Letters taken out of the outbox at a time.
const BATCH: u32 = 16;

/// One letter on its way.
pub(super) trait Letter: Send + Sync {
    /// Its number in the outbox.
    fn seq(&self) -> i64;
    /// When it was decided.
    fn created_at(&self) -> Timestamp;
    /// Deliveries that failed.
    fn n_attempts(&self) -> u32;
}

/// An outbox, and the receiver of what is in it.
pub(super) trait Outbox: Send + Sync {
    /// What is in it.
    type Letter: Letter;
    /// Why the receiver did not get one.
    type Error: std::error::Error + Send + Sync;

    /// At most `limit` letters that may be delivered now, in order.
    fn due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Self::Letter>, StoreError>> + Send;
    /// Letters that wait.
    fn n_waiting(&self) -> impl Future<Output = Result<u32, StoreError>> + Send;
    /// Hands a letter to the receiver. Dropping the future may have delivered it.
    fn send(
        &self,
        letter: &Self::Letter,
        now: Timestamp,
    ) -> impl Future<Output = Result<Sent, Self::Error>> + Send;
    /// What follows from a failure.
    fn setback(&self, error: &Self::Error) -> Setback;
    /// Takes a letter out.
    fn delivered(&self, seq: i64) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Leaves a letter in until `next_at`, or gives it up.
    fn failed(
        &self,
        seq: i64,
        next_at: Option<Timestamp>,
        error: String,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Counts and logs what became of a letter.
    fn tell(&self, letter: &Self::Letter, fate: Fate<'_>);
    /// The receiver refuses us altogether: says so to people.
    fn halted(&self, error: String) -> impl Future<Output = ()> + Send;
}

/// A letter was delivered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    /// How long the receiver wants to hear nothing more.
    pub(super) silence: Option<Duration>,
}

/// What follows from a failed delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setback {
    /// Trying again can help.
    Retry {
        /// How long the receiver wants to hear nothing from us.
        silence: Option<Duration>,
    },
    /// This letter will never be taken.
    GiveUp,
    /// No letter will be taken until a person changes something.
    Halt,
}

/// What became of a letter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate<'a> {
    /// The receiver has it.
    Delivered,
    /// It is tried again later, because of this.
    Retried(&'a str),
    /// It never will be delivered, because of this.
    GivenUp(&'a str),
}

/// Delivers the letters of one outbox.
pub(super) struct Courier<O> {
    pub(super) outbox: O,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    /// A pause of so many milliseconds at most, spread.
    jitter: fn(u64) -> Duration,
    /// Rings when something was put into the outbox.
    posted: Notify,
    /// The receiver asked for silence until then, in milliseconds since the epoch.
    quiet_until: AtomicI64,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// With the next letter.
    On,
    /// Later.
    Pause,
    /// Never again in this life.
    Halt,
}

impl<O: Outbox> Courier<O> {
    /// A courier who does not run yet.
    pub(super) fn new(
        outbox: O,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
        jitter: fn(u64) -> Duration,
    ) -> Self {
        let (posted, quiet_until) = (Notify::new(), AtomicI64::new(0));
        Self { outbox, clock, stop, jitter, posted, quiet_until }
    }

    /// Something was put into the outbox.
    pub(super) fn ring(&self) {
        self.posted.notify_one();
    }

    /// Delivers until the stop, or until the receiver refuses us.
    pub(super) async fn deliver(&self) {
        while !self.stop.is_cancelled() {
            let pause = match self.deliver_due().await {
                Ok(Turn::Halt) => return,
                Ok(Turn::On | Turn::Pause) => match self.outbox.n_waiting().await {
                    Ok(0) => LOOK_EVERY,
                    Ok(_) | Err(_) => RETRY_EVERY,
                },
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "could not deliver what waits");
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

    /// Delivers what may be delivered now, until nothing is left or the receiver wants silence.
    pub(super) async fn deliver_due(&self) -> Result<Turn, StoreError> {
        loop {
            let now = self.clock.now();
            if now.as_millis() < self.quiet_until.load(Ordering::Relaxed) {
                return Ok(Turn::Pause);
            }
            let due = self.outbox.due(now, BATCH).await?;
            if due.is_empty() {
                return Ok(Turn::On);
            }
            for letter in due {
                match self.attempt(&letter).await? {
                    Turn::On => {}
                    turn @ (Turn::Pause | Turn::Halt) => return Ok(turn),
                }
            }
        }
    }

    async fn attempt(&self, letter: &O::Letter) -> Result<Turn, StoreError> {
        let now = self.clock.now();
        let outcome = tokio::select! {
            outcome = self.outbox.send(letter, now) => outcome,
            // Dropped in the middle it may have arrived; then it arrives twice.
            () = self.long_stopped() => return Ok(Turn::Pause),
        };
        match outcome {
            Ok(sent) => {
                self.outbox.tell(letter, Fate::Delivered);
                self.outbox.delivered(letter.seq()).await?;
                Ok(self.keep_silent(sent.silence))
            }
            Err(error) => self.after_failure(letter, &error).await,
        }
    }

    async fn after_failure(
        &self,
        letter: &O::Letter,
        error: &O::Error,
    ) -> Result<Turn, StoreError> {
        let now = self.clock.now();
        let is_old = now.millis_since(letter.created_at()) >= GIVE_UP_MILLIS;
        let text = Chain(error).to_string();
        let (next_at, silence) = match self.outbox.setback(error) {
            Setback::Halt => {
                self.outbox.halted(text).await;
                return Ok(Turn::Halt);
            }
            Setback::Retry { silence } if !is_old => {
                let bound = RetryClass::Notice.backoff_millis(letter.n_attempts() + 1);
                let pause = (self.jitter)(bound).max(silence.unwrap_or_default());
                (Some(later(now, pause)), silence)
            }
            Setback::Retry { silence } => (None, silence),
            Setback::GiveUp => (None, None),
        };
        let fate = if next_at.is_some() { Fate::Retried(&text) } else { Fate::GivenUp(&text) };
        self.outbox.tell(letter, fate);
        self.outbox.failed(letter.seq(), next_at, text).await?;
        Ok(self.keep_silent(silence))
    }

    fn keep_silent(&self, silence: Option<Duration>) -> Turn {
        let Some(pause) = silence else { return Turn::On };
        let until = later(self.clock.now(), pause);
        self.quiet_until.store(until.as_millis(), Ordering::Relaxed);
        Turn::Pause
    }

    async fn long_stopped(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(STOP_PATIENCE).await;
    }
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    now.plus_millis(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}
