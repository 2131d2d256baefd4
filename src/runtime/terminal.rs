//! A program inside of a container with a terminal of its own, as whoever types into it sees it.
//!
//! Both directions are independent: whoever moves bytes waits for one of them without keeping the other
//! from going on, or two full buffers would wait for each other.

use std::fmt;
use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

/// Most rows or columns of a terminal.
const MAX_SIDE: u16 = 1000;

/// How large a terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    rows: u16,
    columns: u16,
}

impl Default for TerminalSize {
    fn default() -> Self {
        Self { rows: 24, columns: 80 }
    }
}

impl TerminalSize {
    /// A size that a terminal can have: 1 to 1000 rows and columns.
    pub fn new(rows: u64, columns: u64) -> Option<Self> {
        let side = |n: u64| u16::try_from(n).ok().filter(|n| (1..=MAX_SIDE).contains(n));
        Some(Self { rows: side(rows)?, columns: side(columns)? })
    }

    /// Its rows.
    pub fn rows(self) -> u16 {
        self.rows
    }

    /// Its columns.
    pub fn columns(self) -> u16 {
        self.columns
    }
}

/// A program with a terminal.
pub struct Terminal {
    /// What it shows; ends with the program, or with the connection. Hostile bytes.
    pub output: BoxStream<'static, io::Result<Bytes>>,
    /// What is typed into it.
    pub keyboard: Box<dyn Keyboard>,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

/// The other direction of a [`Terminal`].
#[async_trait]
pub trait Keyboard: Send {
    /// Types; returns when the program's side has taken it.
    async fn type_in(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the terminal another size.
    async fn resize(&mut self, size: TerminalSize) -> io::Result<()>;

    /// Ends the program, as well as that can be done.
    async fn end(&mut self);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_a_sane_size() {
        let size = TerminalSize::new(50, 200).unwrap();
        assert_eq!((size.rows(), size.columns()), (50, 200));
        for (rows, columns) in [(0, 80), (24, 0), (1001, 80), (24, 1_000_000_000), (65_560, 80)] {
            assert_eq!(TerminalSize::new(rows, columns), None, "{rows}x{columns}");
        }
    }
}
