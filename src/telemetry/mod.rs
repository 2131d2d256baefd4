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
pub mod failpoint;
pub mod load;
pub mod metrics;
pub mod notify;

use std::io::IsTerminal as _;

use thiserror::Error;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

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
    let colours = if std::io::stderr().is_terminal() { Colours::On } else { Colours::Off };
    let subscriber = subscriber(config, std::io::stderr, colours)?;
    subscriber.try_init().map_err(|_| TelemetryError::Twice)
}

/// Whether a person reads the lines on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    On,
    Off,
}

fn subscriber<W>(
    config: &LogConfig,
    writer: W,
    colours: Colours,
) -> Result<impl Subscriber + Send + Sync, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_timer(Rfc3339);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(colours == Colours::On).boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
    };
    let filter = EnvFilter::try_new(&config.filter)?;
    Ok(tracing_subscriber::registry().with(filter).with(lines.with_filter(filter_fn(is_harmless))))
}

/// Whatever the operator asks for, the engine's client is never more talkative than `info`: below
/// that it logs request bodies, and the rotator's environment holds answers.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    let carries_bodies = ["bollard", "hyper", "hyper_util", "h2"];
    let root = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::INFO || !carries_bodies.contains(&root)
}

/// Stamps log lines with the system's clock, in UTC with milliseconds.
struct Rfc3339;

impl FormatTime for Rfc3339 {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", SystemClock.now())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_filter_makes_the_engines_client_log_what_it_sends() {
        for filter in ["trace", "info,bollard=trace", "bollard::docker=trace"] {
            let lines = Lines::default();
            let config = LogConfig { format: LogFormat::Text, filter: filter.to_owned() };
            let writer = lines.clone();
            let subscriber = subscriber(&config, move || writer.clone(), Colours::Off).unwrap();
            tracing::subscriber::with_default(subscriber, || {
                tracing::trace!(target: "bollard::docker", "FLAG{{secret}}");
                tracing::info!(target: "bollard::docker", "connected");
            });
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert!(!text.contains("FLAG{secret}"), "{filter}: {text}");
            assert!(text.contains("connected"), "{filter}: {text}");
        }
    }
}
