//! A build's output as lines, and which instruction failed.
//!
//! In:  what the builders stream: vertices and chunks (BuildKit), or plain text (classic).
//! Out: lines into a [`LogSink`], and a one-line verdict. Pure but for the channel.
//!
//! # Invariants
//! * A hostile build cannot fill the memory: lines are cut, and after [`TOTAL_BYTES`] dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::containers::lossy;
use super::errors;
use crate::runtime::LogSink;

/// Longest line that is passed on.
const LINE_BYTES: usize = 2048;
/// Most output of one build that is passed on.
const TOTAL_BYTES: usize = 4 << 20;

/// What one build has printed so far.
pub(super) struct BuildLog {
    sink: LogSink,
    /// Unfinished last line per step.
    open: BTreeMap<String, Vec<u8>>,
    announced: BTreeSet<String>,
    /// The step that is running (classic) or that failed (BuildKit).
    step: String,
    step_error: String,
    n_bytes: usize,
}

impl BuildLog {
    pub(super) fn new(sink: LogSink) -> Self {
        Self {
            sink,
            open: BTreeMap::new(),
            announced: BTreeSet::new(),
            step: String::new(),
            step_error: String::new(),
            n_bytes: 0,
        }
    }

    /// Passes on one whole line.
    pub(super) fn line(&mut self, text: &str) {
        if self.n_bytes > TOTAL_BYTES {
            return;
        }
        let line = match text.char_indices().find(|(at, _)| *at >= LINE_BYTES) {
            Some((cut, _)) => format!("{}…", &text[..cut]),
            None => text.to_owned(),
        };
        self.n_bytes += line.len() + 1;
        let line = if self.n_bytes > TOTAL_BYTES {
            "the output is longer than 4 MiB: the rest is not kept".to_owned()
        } else {
            line
        };
        // Nobody listening any more is no reason to fail a build.
        let _ = self.sink.send(line);
    }

    /// Text of the classic builder, in pieces that need not end with a line.
    pub(super) fn classic(&mut self, text: &str) {
        self.chunk("", text.as_bytes());
    }

    /// Output of step `step`, in pieces that need not end with a line.
    pub(super) fn chunk(&mut self, step: &str, bytes: &[u8]) {
        let mut open = self.open.remove(step).unwrap_or_default();
        for byte in bytes {
            match byte {
                b'\n' => self.emit(step, &std::mem::take(&mut open)),
                // Beyond the longest line nothing is kept until the line ends.
                _ if open.len() > LINE_BYTES => (),
                byte => open.push(*byte),
            }
        }
        if !open.is_empty() {
            self.open.insert(step.to_owned(), open);
        }
    }

    fn emit(&mut self, step: &str, bytes: &[u8]) {
        let text = lossy(bytes, 3 * LINE_BYTES);
        let text = text.trim_end_matches('\r');
        if step.is_empty() {
            // The classic builder says `Step 2/3 : RUN exit 3` before it runs it.
            if let Some((_, instruction)) =
                text.strip_prefix("Step ").and_then(|rest| rest.split_once(" : "))
            {
                self.step = instruction.to_owned();
            }
        }
        self.line(text);
    }

    /// News of one step of BuildKit.
    pub(super) fn vertex(&mut self, news: Vertex<'_>) {
        if news.phase != Phase::Waiting && self.announced.insert(news.digest.to_owned()) {
            let cached = if news.phase == Phase::Cached { "CACHED " } else { "" };
            self.line(&format!("{cached}{}", news.name));
        }
        // Steps that were stopped because another one failed say so too; the first one counts.
        if !news.error.is_empty()
            && !news.error.contains("context canceled")
            && self.step_error.is_empty()
        {
            self.step = strip_position(news.name).to_owned();
            self.step_error = news.error.to_owned();
        }
    }

    /// Passes on unfinished lines.
    pub(super) fn finish(&mut self) {
        for (step, open) in std::mem::take(&mut self.open) {
            self.emit(&step, &open);
        }
    }

    /// The step that failed, e.g. `RUN exit 3`; empty when no step had begun.
    pub(super) fn failed_step(&self) -> &str {
        &self.step
    }

    /// Whether the failed step only fetches something from a registry that was not reached.
    pub(super) fn is_base_unreachable(&self, reason: &str) -> bool {
        let is_fetch = ["FROM ", "load metadata for ", "resolve image config for "]
            .iter()
            .any(|prefix| self.step.contains(prefix));
        is_fetch && errors::is_registry_unreachable(reason)
    }

    /// One line: the failing instruction and how it ended.
    pub(super) fn verdict(&self, reason: &str) -> String {
        let step = errors::line(&self.step);
        match exit_code(reason).or_else(|| exit_code(&self.step_error)) {
            Some(code) if !step.is_empty() => format!("`{step}` ended with exit code {code}"),
            _ if step.is_empty() => errors::line(reason),
            _ => {
                let cause = if self.step_error.is_empty() { reason } else { &self.step_error };
                errors::line(&format!("`{step}`: {cause}"))
            }
        }
    }
}

/// News of one step of BuildKit.
pub(super) struct Vertex<'a> {
    /// Its key.
    pub(super) digest: &'a str,
    /// E.g. `[web 2/3] RUN make`.
    pub(super) name: &'a str,
    /// How far it is.
    pub(super) phase: Phase,
    /// Why it failed; empty if it has not.
    pub(super) error: &'a str,
}

/// How far a step of BuildKit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not begun.
    Waiting,
    /// Running or done.
    Started,
    /// Taken from the cache.
    Cached,
}

/// `[web 2/3] RUN make` without the position.
fn strip_position(name: &str) -> &str {
    match name.split_once("] ") {
        Some((position, rest)) if position.starts_with('[') => rest,
        _ => name,
    }
}

/// The exit code in the words of either builder.
fn exit_code(reason: &str) -> Option<i64> {
    let at = ["exit code: ", "non-zero code: "]
        .iter()
        .find_map(|words| reason.rfind(words).map(|at| at + words.len()))?;
    let rest = &reason[at..];
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(feed: impl FnOnce(&mut BuildLog)) -> (BuildLog, Vec<String>) {
        let (sink, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let mut log = BuildLog::new(sink);
        feed(&mut log);
        log.finish();
        (log, std::iter::from_fn(|| lines.try_recv().ok()).collect())
    }

    fn vertex<'a>(name: &'a str, phase: Phase, error: &'a str) -> Vertex<'a> {
        Vertex { digest: name, name, phase, error }
    }

    #[test]
    fn pieces_become_lines_per_step() {
        let (_, lines) = check(|log| {
            log.chunk("a", b"one");
            log.chunk("b", b"two\r\n");
            log.chunk("a", b" and\nthree");
        });
        assert_eq!(lines, ["two", "one and", "three"]);
    }

    #[test]
    fn the_verdict_names_the_instruction_and_its_exit_code() {
        let words = "executor failed running [/bin/sh -c exit 3]: exit code: 3";
        let (log, lines) = check(|log| {
            log.vertex(vertex("[2/3] RUN exit 3", Phase::Started, ""));
            log.vertex(vertex("[2/3] RUN exit 3", Phase::Started, words));
            log.vertex(vertex("[3/3] COPY x y", Phase::Started, "context canceled"));
        });
        assert_eq!(lines, ["[2/3] RUN exit 3", "[3/3] COPY x y"]);
        assert_eq!(log.verdict(words), "`RUN exit 3` ended with exit code 3");

        let (log, _) = check(|log| log.classic("Step 2/3 : RUN exit 3\n ---> Running\n"));
        let words = "The command '/bin/sh -c exit 3' returned a non-zero code: 3";
        assert_eq!(log.verdict(words), "`RUN exit 3` ended with exit code 3");

        let (log, _) = check(|_| ());
        let words = "dockerfile parse error line 2: unknown instruction: RUNN";
        assert_eq!(log.verdict(words), words);
    }

    #[test]
    fn a_registry_out_of_reach_is_not_the_authors_mistake() {
        let words = "failed to do request: Head https://x/v2/: dial tcp: lookup x: no such host";
        let name = "[internal] load metadata for x/y:1";
        let (log, _) = check(|log| log.vertex(vertex(name, Phase::Started, words)));
        assert!(log.is_base_unreachable(words));
        let (log, _) = check(|log| log.vertex(vertex("[2/2] RUN curl x", Phase::Started, words)));
        assert!(!log.is_base_unreachable(words));
    }

    #[test]
    fn a_flood_is_cut_once_and_said_once() {
        let (_, lines) = check(|log| {
            for _ in 0..5000 {
                log.chunk("a", &[b'x'; 4000]);
                log.chunk("a", b"\n");
            }
        });
        assert!(lines.iter().all(|line| line.len() <= LINE_BYTES + 3));
        assert!(lines.iter().map(String::len).sum::<usize>() <= TOTAL_BYTES + 100);
        assert_eq!(lines.iter().filter(|line| line.contains("4 MiB")).count(), 1);
    }
}
