//! The output of a container, line by line as it appears.
//!
//! # Invariants
//! * Lines that were told are not told again: the engine counts seconds, we count nanoseconds.
//! * A line without an end is told in pieces of at most [`LINE_BYTES`], never gathered.

use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Docker;
use super::containers::lossy;
use crate::runtime::{EngineError, LogLine};

/// The engine cuts longer lines itself; whatever it sends, we keep no more.
const LINE_BYTES: usize = 16 << 10;

impl Docker {
    /// Subscribes to what `container` says. The request is sent when the stream is first polled.
    pub(super) async fn follow(
        &self,
        container: &str,
        after: Option<&str>,
    ) -> Result<BoxStream<'static, LogLine>, EngineError> {
        self.own_container(container).await?;
        let options = LogsOptions {
            follow: true,
            stdout: true,
            stderr: true,
            timestamps: true,
            since: after.and_then(unix_secs).unwrap_or_default(),
            ..Default::default()
        };
        let (_, client) = self.connection.pinned().await?;
        let after = after.unwrap_or_default().to_owned();
        let chunks = client.logs(container, Some(options));
        let lines = chunks
            .take_while(|chunk| std::future::ready(chunk.is_ok()))
            .filter_map(|chunk| std::future::ready(chunk.ok()))
            .filter_map(|chunk| std::future::ready(as_line(&chunk.into_bytes())))
            .filter(move |line| std::future::ready(line.at > after));
        Ok(lines.boxed())
    }
}

/// One frame of the engine: its time, a blank, and the line.
fn as_line(frame: &[u8]) -> Option<LogLine> {
    let end = frame.iter().position(|byte| *byte == b' ')?;
    let at = std::str::from_utf8(&frame[..end]).ok()?.to_owned();
    let text = &frame[end + 1..];
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    Some(LogLine { at, text: lossy(text, LINE_BYTES) })
}

/// The whole seconds of an engine's time.
fn unix_secs(at: &str) -> Option<i32> {
    let at = OffsetDateTime::parse(at, &Rfc3339).ok()?;
    i32::try_from(at.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_time_and_a_line() {
        let line = as_line(b"2026-11-21T08:04:25.012345678Z GET / 200\n").unwrap();
        assert_eq!(line.at, "2026-11-21T08:04:25.012345678Z");
        assert_eq!(line.text, "GET / 200");
        assert_eq!(unix_secs(&line.at), Some(1_795_248_265));
        assert_eq!(as_line(b"2026 \xff").unwrap().text, "\u{fffd}");
        assert_eq!(as_line(b"nonsense"), None);
    }
}
