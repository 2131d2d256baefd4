//! What is wrong in the files that say whom we trust: file, line, what, and the fix.

use std::fmt;

use super::verdict::shown;

/// One mistake in a file of the keyring.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub fix: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.file, self.line, self.what, self.fix)
    }
}

/// Every mistake of a keyring, in the order of files and lines. Nothing of it is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the keyring cannot be used: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct KeyringErrors(pub Vec<Fault>);

/// A file that was read, by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceText {
    /// How messages call it.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl SourceText {
    /// The lines that are neither blank nor a comment, trimmed, with their numbers.
    pub(super) fn lines<'a>(
        &'a self,
        faults: &mut Faults,
    ) -> impl Iterator<Item = (usize, &'a str)> + use<'a> {
        let mut lines = Vec::new();
        for (index, line) in self.bytes.split(|byte| *byte == b'\n').enumerate() {
            match std::str::from_utf8(line.trim_ascii()) {
                Ok(line) if line.is_empty() || line.starts_with('#') => (),
                Ok(line) => lines.push((index + 1, line)),
                Err(_) => faults.add(
                    self,
                    index + 1,
                    "the line is not text",
                    "write the file in UTF-8; keys belong there as `ssh-keygen` prints them",
                ),
            }
        }
        lines.into_iter()
    }
}

/// Mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, source: &SourceText, line: usize, what: &str, fix: &str) {
        self.0.push(Fault {
            file: source.name.clone(),
            line,
            what: what.to_owned(),
            fix: fix.to_owned(),
        });
    }

    /// `Ok` when there are none.
    pub(super) fn finish<T>(mut self, value: T) -> Result<T, KeyringErrors> {
        self.0.sort();
        self.0.dedup();
        if self.0.is_empty() { Ok(value) } else { Err(KeyringErrors(self.0)) }
    }
}

/// `text` in backticks, printable.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", shown(text.as_bytes()))
}
