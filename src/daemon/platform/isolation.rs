//! Whether the node keeps instances apart, asked for by an operator.

use std::sync::Arc;

use super::{Outcome, Platform, PlatformError};
use crate::daemon::isolation::{self, Standing, Trigger};

impl Platform {
    /// How the node stands, and what the last check found.
    pub fn isolation(&self) -> Standing {
        isolation::standing(&self.shared)
    }

    /// Makes a check now, and returns when that is done. Goes on when the caller does not wait.
    ///
    /// # Errors
    /// When the engine does not answer, or the daemon stops.
    pub async fn check_isolation(&self) -> Outcome<Standing> {
        if !self.shared.is_engine_ready() {
            return Err(PlatformError::EngineUnavailable);
        }
        let shared = Arc::clone(&self.shared);
        let checking = async move { isolation::check(&shared, Trigger::Asked).await };
        let checked = self.shared.tasks.run("isolation now", checking).await;
        checked.map_err(|_| PlatformError::EngineUnavailable)?;
        Ok(self.isolation())
    }
}
