//! What is kept of a shell: every byte both ways, with its time, as asciinema reads it (version 2).
//!
//! # Invariants
//! * A recording is readable by us only, and has at most [`MAX_BYTES`]; a shell that would say more is
//!   closed: none goes on that is not recorded.
//! * Whatever bytes come, each line is JSON.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::time::Instant;

use crate::model::Timestamp;
use crate::runtime::TerminalSize;

/// Largest recording.
pub(super) const MAX_BYTES: u64 = 32 << 20;

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Typed.
    In,
    /// Shown.
    Out,
}

/// A recording that is written.
pub(super) struct Recording {
    file: File,
    began: Instant,
    left: u64,
    /// The beginning of a character whose end has not come, by way.
    pending: [Vec<u8>; 2],
}

impl Recording {
    /// Begins the file at `path`, which is not there yet.
    pub(super) fn begin(path: &Path, at: Timestamp, title: &str) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut recording = Self {
            file,
            began: Instant::now(),
            left: MAX_BYTES,
            pending: [Vec::new(), Vec::new()],
        };
        let size = TerminalSize::default();
        recording.line(&json!({
            "version": 2, "width": size.columns(), "height": size.rows(),
            "timestamp": at.as_millis() / 1000, "title": title,
        }))?;
        Ok(recording)
    }

    /// Bytes went one way.
    pub(super) fn add(&mut self, way: Way, bytes: &[u8]) -> io::Result<()> {
        let (nth, letter) = match way {
            Way::In => (0, "i"),
            Way::Out => (1, "o"),
        };
        let mut whole = std::mem::take(&mut self.pending[nth]);
        whole.extend_from_slice(bytes);
        let (text, rest) = split(&whole);
        self.pending[nth] = rest;
        if text.is_empty() {
            return Ok(());
        }
        self.event(letter, &text)
    }

    /// The terminal has another size.
    pub(super) fn resize(&mut self, size: TerminalSize) -> io::Result<()> {
        self.event("r", &format!("{}x{}", size.columns(), size.rows()))
    }

    fn event(&mut self, letter: &str, data: &str) -> io::Result<()> {
        let secs = self.began.elapsed().as_secs_f64();
        self.line(&json!([secs, letter, data]))
    }

    fn line(&mut self, value: &serde_json::Value) -> io::Result<()> {
        let line = format!("{value}\n");
        let full = || io::Error::from(io::ErrorKind::QuotaExceeded);
        self.left = self.left.checked_sub(line.len() as u64).ok_or_else(full)?;
        self.file.write_all(line.as_bytes())
    }
}

/// The text of `bytes` without a character at its end that is not whole, and that one.
fn split(bytes: &[u8]) -> (String, Vec<u8>) {
    let chunks: Vec<_> = bytes.utf8_chunks().collect();
    let last = chunks.last().map_or(&[][..], |chunk| chunk.invalid());
    // What could still become a character is at most three bytes at the very end.
    let is_begun = !last.is_empty()
        && std::str::from_utf8(last).is_err_and(|error| error.error_len().is_none());
    let n_kept = if is_begun { last.len() } else { 0 };
    let (whole, rest) = bytes.split_at(bytes.len() - n_kept);
    (String::from_utf8_lossy(whole).into_owned(), rest.to_vec())
}

/// A recording on the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingFile {
    /// Of which shell.
    pub session: String,
    /// Below the folder of recordings.
    pub path: String,
    /// How large it is.
    pub n_bytes: u64,
    /// When it was written last.
    pub modified_at: Timestamp,
}

/// Where the recording of a shell is, below the folder of recordings.
pub(super) fn path_of(session: &str, at: Timestamp) -> String {
    let month: String = at.rfc3339().chars().take(7).collect();
    format!("{month}/{session}.cast")
}

/// Every recording, the newest first. A folder that is not there has none.
pub(super) fn list(folder: &Path) -> Vec<RecordingFile> {
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for month in entries(folder.to_owned()) {
        for entry in entries(month.path()) {
            let (name, month) = (entry.file_name(), month.file_name());
            let (Some(name), Some(month)) = (name.to_str(), month.to_str()) else { continue };
            let Some(session) = name.strip_suffix(".cast") else { continue };
            let Ok(metadata) = entry.metadata() else { continue };
            found.push(RecordingFile {
                session: session.to_owned(),
                path: format!("{month}/{name}"),
                n_bytes: metadata.len(),
                modified_at: Timestamp::from_millis(metadata.mtime().saturating_mul(1000)),
            });
        }
    }
    found.sort_by(|a, b| (b.modified_at, &b.session).cmp(&(a.modified_at, &a.session)));
    found
}

/// Which recordings go: those of before `before`, and the oldest until the rest has `max_bytes`.
pub(super) fn overdue(
    newest_first: Vec<RecordingFile>,
    before: Timestamp,
    max_bytes: u64,
) -> Vec<RecordingFile> {
    let mut sum: u64 = 0;
    let mut gone = Vec::new();
    for file in newest_first {
        sum = sum.saturating_add(file.n_bytes);
        if file.modified_at < before || sum > max_bytes {
            gone.push(file);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn file(session: &str, n_bytes: u64, at: i64) -> RecordingFile {
        let path = format!("2026-11/{session}.cast");
        let modified_at = Timestamp::from_millis(at);
        RecordingFile { session: session.to_owned(), path, n_bytes, modified_at }
    }

    #[tokio::test]
    async fn a_recording_has_a_head_and_both_ways_and_is_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(path_of("abc", Timestamp::from_millis(0)));
        assert!(path.ends_with("1970-01/abc.cast"));
        let mut recording = Recording::begin(&path, Timestamp::from_millis(5000), "why").unwrap();
        recording.add(Way::In, b"ls\r").unwrap();
        // A character that is cut, and bytes that are none.
        recording.add(Way::Out, &"ü".as_bytes()[..1]).unwrap();
        recording.add(Way::Out, &"ü".as_bytes()[1..]).unwrap();
        recording.add(Way::Out, b"\xff\x1b[0m").unwrap();
        recording.resize(TerminalSize::new(50, 120).unwrap()).unwrap();
        let lines = lines(&path);
        assert_eq!((&lines[0]["version"], &lines[0]["timestamp"]), (&json!(2), &json!(5)));
        let said: Vec<_> = lines[1..].iter().map(|it| (it[1].clone(), it[2].clone())).collect();
        let wanted = [("i", "ls\r"), ("o", "ü"), ("o", "\u{fffd}\u{1b}[0m"), ("r", "120x50")];
        assert_eq!(said, wanted.map(|(letter, data)| (json!(letter), json!(data))));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(Recording::begin(&path, Timestamp::from_millis(0), "").is_err(), "not twice");
        let listed = list(folder.path());
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (listed[0].session.as_str(), listed[0].path.as_str()),
            ("abc", "1970-01/abc.cast")
        );
    }

    #[tokio::test]
    async fn a_recording_that_is_full_takes_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.cast");
        let mut recording = Recording::begin(&path, Timestamp::from_millis(0), "").unwrap();
        recording.left = 100;
        recording.add(Way::Out, &[b'x'; 40]).unwrap();
        assert!(recording.add(Way::Out, &[b'x'; 80]).is_err());
    }

    #[test]
    fn the_old_and_the_oldest_of_too_much_go() {
        let there = vec![file("d", 10, 90), file("c", 10, 80), file("b", 10, 70), file("a", 1, 10)];
        let gone = overdue(there, Timestamp::from_millis(20), 25);
        assert_eq!(gone.iter().map(|it| it.session.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    }

    proptest! {
        #[test]
        fn how_bytes_are_cut_does_not_change_what_was_said(text in "\\PC{0,40}", cut in 1_usize..9) {
            let (mut said, mut pending) = (String::new(), Vec::new());
            for part in text.as_bytes().chunks(cut) {
                pending.extend_from_slice(part);
                let (whole, rest) = split(&pending);
                said.push_str(&whole);
                pending = rest;
            }
            prop_assert_eq!(said, text);
            prop_assert!(pending.is_empty());
        }

        #[test]
        fn little_is_kept_back(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(split(&bytes).1.len() < 4);
        }
    }
}
