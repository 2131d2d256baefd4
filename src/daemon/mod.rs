//! Wires the rooms and runs the loops.

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

pub mod platform;

/// Why the daemon could not run.
#[derive(Debug, Error)]
#[error("stand-in")]
pub struct RunError;

/// Stands in until the real one is merged.
///
/// # Errors
/// Never.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    let _ = config;
    stop.cancelled().await;
    Ok(())
}
