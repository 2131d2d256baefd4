//! What players see of JSX: text between tags, and the targets of links.
//!
//! In:  a text. Out: [`Piece`]s.
//!
//! # Invariants
//! * Linear in the text.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::spans::{Paths, Piece};

/// Shortest text between tags, in characters.
const MIN_CHARS: usize = 4;

static COMMENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s)\{/\*.*?\*/\}").expect("the pattern is a constant that the tests compile")
});
static EXPRESSION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\{[^{}]*\}").expect("the pattern is a constant that the tests compile")
});
static TARGET: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"\s(?:href|src|action|to|formAction)\s*=\s*["'](/[^"'\n\r]{2,})["']"#)
        .expect("the pattern is a constant that the tests compile")
});

/// What players see.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let blanked = without_comments(text);
    let mut pieces: Vec<Piece<'_>> =
        nodes(&blanked).map(|(start, node)| piece(start, node)).collect();
    let targets = TARGET.captures_iter(&blanked).filter_map(|found| found.get(1));
    pieces.extend(
        targets.map(|target| owned(target.start(), target.as_str().to_owned(), Vec::new())),
    );
    pieces
}

fn owned(start: usize, text: String, holes: Vec<(usize, usize)>) -> Piece<'static> {
    Piece { text: Cow::Owned(text), start, holes, paths: Paths::Checked }
}

/// `text` with spaces for each `{/* … */}`, byte by byte.
fn without_comments(text: &str) -> Cow<'_, str> {
    COMMENT.replace_all(text, |found: &regex::Captures<'_>| " ".repeat(found[0].len()))
}

/// Text between a `>` and the next tag.
fn nodes(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut open = None;
    text.char_indices().filter(|(_, c)| matches!(c, '<' | '>')).filter_map(move |(at, c)| {
        let start = open.take();
        if c == '>' {
            open = Some(at + 1);
            return None;
        }
        let node = &text[start?..at];
        let is_long = node.chars().nth(MIN_CHARS - 1).is_some();
        (is_long && is_tag(&text[at + 1..])).then_some((start?, node))
    })
}

/// Whether `<` and `rest` begin a tag.
fn is_tag(rest: &str) -> bool {
    let name = rest.strip_prefix('/').unwrap_or(rest);
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '>')
}

/// A node without its `{…}`.
fn piece(start: usize, node: &str) -> Piece<'static> {
    let mut text = String::with_capacity(node.len());
    let mut holes = Vec::new();
    let mut from = 0;
    for expression in EXPRESSION.find_iter(node) {
        text += &node[from..expression.start()];
        holes.push((text.len(), expression.len()));
        from = expression.end();
    }
    text += &node[from..];
    owned(start, text, holes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_between_tags_is_seen() {
        for (text, want) in [
            ("<p>some text</p>", vec!["some text"]),
            ("<p>{a} some {b}text</p>", vec![" some text"]),
            ("<p>{/* } no { */}some</p>", vec!["              some"]),
            ("<p>abc</p><p>abcd<>efgh</>", vec!["abcd", "efgh"]),
            ("a > b text < 3; x => y", vec![]),
            ("<a\n href = '/x y' title='/z' data-to='/w'>", vec!["/x y"]),
            ("<a href={'/x/y'} HREF='/x' to=\"/\">", vec![]),
        ] {
            let pieces: Vec<_> = pieces(text).into_iter().map(|piece| piece.text).collect();
            assert_eq!(pieces, want, "{text}");
        }
    }

    #[test]
    fn a_piece_knows_where_it_came_from() {
        let text = "<p>{é} some {b}text</p>";
        let pieces = pieces(text);
        let at = pieces[0].text.find("text").unwrap();
        assert_eq!(pieces[0].origin(at), text.find("text").unwrap());
    }
}
