//! Where a byte of a file is, in lines and columns.
//!
//! In:  a text, and byte offsets in it. Out: [`Span`]s.
//!
//! # Invariants
//! * Any offset gives a span: one beyond the end gives the end, one inside a character its start.

use crate::catalog::spanned::Span;

/// Longest part of a line whose characters are counted; what stands behind it has this column.
const MAX_COLUMN_BYTES: usize = 4096;

/// The lines of one text.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    /// The first byte of every line.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Finds the lines of `text`.
    pub(super) fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self { text, starts: starts.collect() }
    }

    /// The place of the bytes from `start` to `end`.
    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        let start = self.text.floor_char_boundary(start);
        let index = self.index(start);
        let head = &self.text[self.starts[index]..start];
        let head = &head[..head.floor_char_boundary(MAX_COLUMN_BYTES)];
        Span {
            start,
            end: end.max(start),
            line: u32::try_from(index + 1).unwrap_or(u32::MAX),
            column: u32::try_from(head.chars().count() + 1).unwrap_or(u32::MAX),
        }
    }

    /// The line that holds byte `at`, without its end.
    pub(super) fn line(&self, at: usize) -> &'t str {
        let at = self.text.floor_char_boundary(at);
        let rest = &self.text[self.starts[self.index(at)]..];
        rest.split('\n').next().unwrap_or(rest)
    }

    fn index(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_offset_has_a_place() {
        let lines = Lines::new("é\nab\n");
        for (at, want) in
            [(0, (1, 1)), (1, (1, 1)), (2, (1, 2)), (3, (2, 1)), (4, (2, 2)), (99, (3, 1))]
        {
            let span = lines.span(at, at);
            assert_eq!((span.line, span.column), want, "byte {at}");
        }
        assert_eq!(lines.line(4), "ab");
    }
}
