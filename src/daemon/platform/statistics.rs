//! Facts for the numbers that administrators look at.

use super::{Outcome, Platform};
use crate::model::{Timestamp, UserId};
use crate::store::Launch;

impl Platform {
    /// Every start that was wanted or that lived at `since` or later, in the order of asking.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn launches_since(&self, since: Timestamp) -> Outcome<Vec<Launch>> {
        Ok(self.shared.store.launches_since(since).await?)
    }

    /// When answers were given, from `since` on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn answer_times(&self, since: Timestamp) -> Outcome<Vec<Timestamp>> {
        Ok(self.shared.store.answer_times(since).await?)
    }

    /// Who of those with an account did something, and when, from `since` on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn people_active(&self, since: Timestamp) -> Outcome<Vec<(Timestamp, UserId)>> {
        Ok(self.shared.store.people_active(since).await?)
    }
}
