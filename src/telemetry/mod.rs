//! What the process says about itself: logs, metrics, readiness, and the real clock.
//!
//! In:  `[log]` of the configuration. Out: log lines on standard error, Prometheus text, messages
//! to the service manager.
//!
//! # Invariants
//! * Standard output belongs to the commands: no log line ever goes there.
//! * Nothing here fails a start except a filter that cannot be parsed.
//!
//! # Not here
//! Text for people at the command line (`cli::output`).

pub mod chain;
pub mod clock;
pub mod metrics;
pub mod notify;

use std::io::IsTerminal as _;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::config::{LogConfig, LogFormat};
use crate::model::Clock as _;

pub use chain::Chain;
pub use clock::SystemClock;

/// Why logs could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("`log.filter` is not a filter of log levels")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody set up logs before.
    #[error("logs were set up twice in one process")]
    Twice,
}

/// Sends log lines of this process to standard error from now on.
///
/// # Errors
/// When the filter is wrong, or when called twice.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&config.filter)?)
        .with_writer(std::io::stderr);
    let outcome = match config.format {
        LogFormat::Text => {
            builder.with_timer(Rfc3339).with_ansi(std::io::stderr().is_terminal()).try_init()
        }
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_timer(Rfc3339)
            .try_init(),
    };
    outcome.map_err(|_| TelemetryError::Twice)
}

/// The operator's filter. The engine's client is never more talkative than `info`: below that it
/// logs request bodies, and the rotator's environment holds answers.
fn filter(text: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    let quiet = ["bollard=info", "hyper=info", "hyper_util=info", "h2=info"];
    quiet.into_iter().try_fold(EnvFilter::try_new(text)?, |filter, directive| {
        Ok(filter.add_directive(directive.parse()?))
    })
}

/// Stamps log lines with the system's clock, in UTC with milliseconds.
struct Rfc3339;

impl FormatTime for Rfc3339 {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", SystemClock.now())
    }
}
