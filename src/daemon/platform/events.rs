//! Changes of conditions as they are recorded, and the notices about them.

use std::time::Duration;

use super::{Outcome, Platform, PlatformError};
use crate::notify;
use crate::store::{EventFilter, EventPage, EventRow, OutboxCounts};
use crate::telemetry::Chain;

/// Between two looks without a hint.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How notices are.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// What the receiver understands; `None` when nobody is told.
    pub format: Option<&'static str>,
    /// What is on its way, and what was given up.
    pub counts: OutboxCounts,
}

/// How the receiver took a test.
#[derive(Debug, Clone)]
pub struct Tried {
    /// What it understands.
    pub format: &'static str,
    /// The HTTP status of its answer.
    pub status: u16,
    /// The beginning of its answer: hostile text.
    pub answer: String,
    /// How long it took.
    pub took_millis: i64,
}

impl Platform {
    /// The events that `filter` asks for.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn events(&self, filter: EventFilter) -> Outcome<EventPage> {
        Ok(self.shared.store.event_page(filter).await?)
    }

    /// The number of the newest event; 0 before the first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn newest_event(&self) -> Outcome<i64> {
        Ok(self.shared.store.newest_event().await?)
    }

    /// At most `limit` events after the one numbered `after`; waits until there is one. Nothing is
    /// lost between two calls: what is told is read from the store. Cancel-safe.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next_events(&self, after: i64, limit: u32) -> Outcome<Vec<EventRow>> {
        let mut bell = self.shared.store.bell();
        loop {
            bell.mark_unchanged();
            let rows = self.shared.store.events(after, limit).await?;
            if !rows.is_empty() {
                return Ok(rows);
            }
            // A bell that is missed costs one pause.
            let _ = tokio::time::timeout(LOOK_EVERY, bell.changed()).await;
        }
    }

    /// How notices are.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn outbox(&self) -> Outcome<Outbox> {
        let format = self.shared.receiver.as_ref().map(|receiver| receiver.format());
        Ok(Outbox { format, counts: self.shared.store.outbox_counts().await? })
    }

    /// Sends a test to the receiver of notices, and says how it took it. It is tried once.
    ///
    /// # Errors
    /// When there is no receiver, or it does not take the test.
    pub async fn test_notice(&self) -> Outcome<Tried> {
        let receiver = self.shared.receiver.as_ref().ok_or(PlatformError::NoReceiver)?;
        let began = self.now();
        let sent = receiver.send(None, &notify::test_notice(began), began).await;
        let delivered = sent
            .map_err(|error| PlatformError::NotDelivered { reason: Chain(&error).to_string() })?;
        Ok(Tried {
            format: receiver.format(),
            status: delivered.status,
            answer: delivered.answer,
            took_millis: self.now().millis_since(began),
        })
    }
}
