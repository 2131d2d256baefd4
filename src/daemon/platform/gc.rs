//! Making room on the engine's disk, asked for by an operator.

use std::sync::Arc;

use super::{Outcome, Platform, PlatformError};
use crate::daemon::executor::Fault;
use crate::daemon::gc::{self, GcReport};

impl Platform {
    /// What garbage collection of images would do now, and why the other images stay.
    ///
    /// # Errors
    /// When the engine or the store does not answer.
    pub async fn gc_plan(&self) -> Outcome<GcReport> {
        gc::look(&self.shared).await.map_err(refuse)
    }

    /// Collects now, by the same marks and pins as always, and returns when that is done. Goes on
    /// when the caller does not wait for it.
    ///
    /// # Errors
    /// When the engine or the store does not answer; what was removed until then is gone.
    pub async fn gc_now(&self) -> Outcome<GcReport> {
        let shared = Arc::clone(&self.shared);
        let collecting = self.shared.tasks.run("gc now", async move { gc::run(&shared).await });
        collecting.await.map_err(|_| PlatformError::EngineUnavailable)?.map_err(refuse)
    }
}

fn refuse(fault: Fault) -> PlatformError {
    match fault {
        Fault::Engine(error) => {
            tracing::warn!(
                error = %crate::telemetry::chain::Chain(&error),
                "could not look after the disk of the container engine"
            );
            PlatformError::EngineUnavailable
        }
        Fault::Store(error) => error.into(),
        other @ (Fault::Again
        | Fault::Hopeless(_)
        | Fault::NameTaken { .. }
        | Fault::ImageLost { .. }
        | Fault::Unrendered(_)
        | Fault::Attachments(_)
        | Fault::Node(_)
        | Fault::CutOff(_)) => PlatformError::Internal(Box::new(other)),
    }
}
