//! Physical lines, and the logical ones that continuations make of them.

use super::words::is_space;
use super::{Chomp, Reading};
use crate::catalog::spanned::Span;

/// The lines of a file, read once from top to bottom.
pub(super) struct Lines<'t> {
    text: &'t str,
    /// Byte where the next line begins; past the end when there is none.
    next: usize,
    /// Number of the next line, from 1.
    line: u32,
}

/// One instruction with its continuations.
pub(super) struct Logical {
    /// The joined text.
    pub text: String,
    /// Whether engines of different age join it differently.
    pub is_ambiguous: bool,
    pieces: Vec<Piece>,
}

/// A part of a joined text that is written in one place.
struct Piece {
    /// Byte in the joined text.
    from: usize,
    /// Byte in the file.
    byte: usize,
    /// Line in the file.
    line: u32,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, next: 0, line: 1 }
    }

    /// The next line without its end, and where it begins.
    pub(super) fn peek(&self) -> Option<(&'t str, Span)> {
        if self.next >= self.text.len() {
            return None;
        }
        let rest = &self.text[self.next..];
        let line = rest.find('\n').map_or(rest, |end| &rest[..end]);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let span =
            Span { start: self.next, end: self.next + line.len(), line: self.line, column: 1 };
        Some((line, span))
    }

    /// Goes over the next line.
    pub(super) fn advance(&mut self) {
        let rest = self.text.get(self.next..).unwrap_or_default();
        self.next += rest.find('\n').map_or(rest.len() + 1, |end| end + 1);
        self.line += 1;
    }

    /// Goes over a first line `#!…`.
    pub(super) fn skip_shebang(&mut self) {
        if self.peek().is_some_and(|(line, _)| line.starts_with("#!")) {
            self.advance();
        }
    }

    /// The next instruction: comments and blank lines, also those between its parts, are left out.
    pub(super) fn next_logical(&mut self, escape: char, reading: Reading) -> Option<Logical> {
        let mut logical = Logical { text: String::new(), is_ambiguous: false, pieces: Vec::new() };
        while let Some((line, span)) = self.peek() {
            self.advance();
            let body = line.trim_start();
            if body.is_empty() || body.starts_with('#') {
                continue;
            }
            let (part, is_continued) = match continued(line, escape) {
                Continued::No => (line, false),
                Continued::Yes(part) => (part, true),
                Continued::Doubled(part) => {
                    logical.is_ambiguous = true;
                    match reading {
                        Reading::Modern => (line, false),
                        Reading::Old => (part, true),
                    }
                }
            };
            let from = logical.text.len();
            logical.pieces.push(Piece { from, byte: span.start, line: span.line });
            logical.text.push_str(part);
            if !is_continued {
                break;
            }
        }
        (!logical.pieces.is_empty()).then_some(logical)
    }

    /// Goes over the body of a heredoc and the line that ends it; `None` when there is no such line.
    pub(super) fn skip_heredoc(&mut self, name: &str, chomp: Chomp) -> Option<()> {
        while let Some((line, _)) = self.peek() {
            self.advance();
            let line = match chomp {
                Chomp::Tabs => line.trim_start_matches('\t'),
                Chomp::Nothing => line,
            };
            if line == name {
                return Some(());
            }
        }
        None
    }
}

/// Whether a line goes on in the next one.
enum Continued<'l> {
    No,
    /// Yes, and what is before the escape.
    Yes(&'l str),
    /// Two escapes at the end: only old engines continue.
    Doubled(&'l str),
}

fn continued(line: &str, escape: char) -> Continued<'_> {
    match line.trim_end_matches(is_space).strip_suffix(escape) {
        None => Continued::No,
        Some(part) if part.ends_with(escape) => Continued::Doubled(part),
        Some(part) => Continued::Yes(part),
    }
}

impl Logical {
    /// Where it begins.
    pub(super) fn start(&self) -> Span {
        let start = self.text.len() - self.text.trim_start().len();
        self.places().at(start)
    }

    /// Finds places, from the front to the back.
    pub(super) fn places(&self) -> Places<'_> {
        Places { logical: self, piece: 0, offset: 0, column: 1 }
    }
}

/// Turns bytes of a joined text into places of the file; made for ascending bytes.
pub(super) struct Places<'l> {
    logical: &'l Logical,
    piece: usize,
    offset: usize,
    column: u32,
}

impl Places<'_> {
    /// The place of byte `offset` of the joined text.
    pub(super) fn at(&mut self, offset: usize) -> Span {
        let pieces = &self.logical.pieces;
        if offset < self.offset {
            *self = self.logical.places();
        }
        while pieces.get(self.piece + 1).is_some_and(|piece| piece.from <= offset) {
            self.piece += 1;
            self.offset = pieces[self.piece].from;
            self.column = 1;
        }
        let between = self.logical.text.get(self.offset..offset).unwrap_or_default();
        let n_chars = u32::try_from(between.chars().count()).unwrap_or(u32::MAX);
        self.column = self.column.saturating_add(n_chars);
        self.offset = offset.max(self.offset);
        let (byte, line) = match pieces.get(self.piece) {
            Some(piece) => (piece.byte + (offset - piece.from.min(offset)), piece.line),
            None => (0, 1),
        };
        Span { start: byte, end: byte, line, column: self.column }
    }
}
