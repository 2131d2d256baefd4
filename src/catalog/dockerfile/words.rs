//! Words of an instruction: cut, unquoted, and with variables put in.

use super::lines::Places;
use crate::catalog::spanned::Span;

/// Deepest nesting of `${a:-${b:-…}}`.
const MAX_DEPTH: usize = 8;
/// Longest text that an expansion gives; what is longer is cut and said.
pub(crate) const MAX_EXPANDED: usize = 64 << 10;

/// One word and its place, quotes and variables as written.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    /// As written.
    pub text: String,
    /// Where it begins.
    pub at: Span,
}

/// Words, and whether every quote among them is closed.
pub(super) struct Cut {
    pub(super) words: Vec<Word>,
    pub(super) is_closed: bool,
}

/// White space between words, as engines see it.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

/// Words between white space, whatever quotes there are.
pub(super) fn plain(text: &str, from: usize, places: &mut Places<'_>) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = from;
    while at < text.len() {
        let rest = &text[at..];
        let start = at + rest.find(|c: char| !is_space(c)).unwrap_or(rest.len());
        let rest = &text[start..];
        let end = start + rest.find(is_space).unwrap_or(rest.len());
        // The end of a line is trimmed of all that Unicode calls space.
        let word = text[start..end].trim();
        if !word.is_empty() {
            words.push(Word { text: word.to_owned(), at: places.at(start) });
        }
        at = end.max(at + 1);
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
    words
}

/// Words between white space outside of quotes.
pub(super) fn quoted(text: &str, from: usize, escape: char, places: &mut Places<'_>) -> Cut {
    let mut cut = Cut { words: Vec::new(), is_closed: true };
    let mut at = from;
    while let Some(gap) = text[at..].find(|c: char| !is_space(c)) {
        let start = at + gap;
        let (end, is_closed) = scan_word(text, start, escape);
        cut.is_closed &= is_closed;
        cut.words.push(Word { text: text[start..end].to_owned(), at: places.at(start) });
        at = end;
    }
    cut
}

/// Where the word that begins at `start` ends.
pub(super) fn end_of_word(text: &str, start: usize, escape: char) -> usize {
    scan_word(text, start, escape).0
}

fn scan_word(text: &str, start: usize, escape: char) -> (usize, bool) {
    let mut quote = None;
    let mut chars = text[start..].char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if is_space(c) => return (start + at, true),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            Some('\'') => (),
            _ if c == escape => {
                chars.next();
            }
            _ => (),
        }
    }
    (text.len(), quote.is_none())
}

/// `word` without quotes and escapes.
pub(super) fn unquoted(word: &str, escape: char) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            Some('\'') => out.push(c),
            _ if c == escape => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

/// What a variable stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// This text.
    Text(String),
    /// It is not set.
    Unset,
    /// Only the base image knows.
    Unknown,
}

/// A word after expansion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expanded {
    /// The text; unknown values are left out.
    pub text: String,
    /// The byte of `text` where the first unknown value would be.
    pub unknown_at: Option<usize>,
    /// Whether a variable that is not set was asked for, without a default.
    pub has_unset: bool,
    /// Whether it is longer than [`MAX_EXPANDED`].
    pub is_cut: bool,
}

/// Resolves quotes, escapes and variables of `word`.
pub(crate) fn expand(word: &str, escape: char, lookup: &dyn Fn(&str) -> Value) -> Expanded {
    let chars: Vec<char> = word.chars().collect();
    let mut expander =
        Expander { chars: &chars, at: 0, escape, lookup, out: Expanded::default(), depth: 0 };
    expander.until(None);
    expander.out
}

struct Expander<'a> {
    chars: &'a [char],
    at: usize,
    escape: char,
    lookup: &'a dyn Fn(&str) -> Value,
    out: Expanded,
    depth: usize,
}

/// An earlier state of an output.
#[derive(Debug, Clone, Copy)]
struct Mark {
    length: usize,
    unknown_at: Option<usize>,
    has_unset: bool,
    is_cut: bool,
}

impl Expander<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.at).copied();
        self.at += 1;
        c
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn push(&mut self, text: &str) {
        if self.out.text.len() + text.len() > MAX_EXPANDED {
            self.out.is_cut = true;
        } else {
            self.out.text.push_str(text);
        }
    }

    /// Expands up to an unquoted `end`, which is taken, or to the end of the word.
    fn until(&mut self, end: Option<char>) {
        let mut quote = None;
        while let Some(c) = self.next() {
            match quote {
                None if Some(c) == end => return,
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(open) if c == open => quote = None,
                Some('\'') => self.push(c.encode_utf8(&mut [0; 4])),
                _ if c == self.escape => {
                    if let Some(next) = self.next() {
                        self.push(next.encode_utf8(&mut [0; 4]));
                    }
                }
                _ if c == '$' => self.variable(),
                _ => self.push(c.encode_utf8(&mut [0; 4])),
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
            self.at += 1;
        }
        name
    }

    /// What follows a `$`.
    fn variable(&mut self) {
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                self.push("$");
            } else {
                self.put(&name);
            }
            return;
        }
        self.at += 1;
        let name = self.name();
        let modifier = match (self.peek(), self.chars.get(self.at + 1)) {
            (Some('}'), _) => {
                self.at += 1;
                return self.put(&name);
            }
            (Some(':'), Some(&c)) if "-+".contains(c) => {
                self.at += 2;
                c
            }
            (Some(c), _) if "-+".contains(c) => {
                self.at += 1;
                c
            }
            _ => '?',
        };
        self.modified(&name, modifier);
    }

    /// `${name:-word}` and its like, after the modifier.
    fn modified(&mut self, name: &str, modifier: char) {
        let before = self.mark();
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            self.until(Some('}'));
        } else {
            self.at = self.chars.len();
        }
        self.depth -= 1;
        if self.depth >= MAX_DEPTH || modifier == '?' {
            // What newer engines make of it is not ours to guess.
            self.back_to(before);
            self.unknown();
            return;
        }
        let value = (self.lookup)(name);
        match (&value, modifier) {
            (Value::Unknown, _) => {
                self.back_to(before);
                self.unknown();
            }
            (Value::Text(text), '-') if !text.is_empty() => {
                self.back_to(before);
                self.push(text);
            }
            (Value::Text(text), '+') if !text.is_empty() => (),
            (_, '+') => self.back_to(before),
            _ => (),
        }
    }

    /// How far the output is, to come back to.
    fn mark(&self) -> Mark {
        Mark {
            length: self.out.text.len(),
            unknown_at: self.out.unknown_at,
            has_unset: self.out.has_unset,
            is_cut: self.out.is_cut,
        }
    }

    fn back_to(&mut self, mark: Mark) {
        self.out.text.truncate(mark.length);
        self.out.unknown_at = mark.unknown_at;
        self.out.has_unset = mark.has_unset;
        self.out.is_cut = mark.is_cut;
    }

    fn put(&mut self, name: &str) {
        match (self.lookup)(name) {
            Value::Text(text) => self.push(&text),
            Value::Unset => self.out.has_unset = true,
            Value::Unknown => self.unknown(),
        }
    }

    fn unknown(&mut self) {
        let at = self.out.text.len();
        self.out.unknown_at.get_or_insert(at);
    }
}
