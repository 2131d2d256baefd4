//! The static answers that a text could give away, and where bytes hold one.
//!
//! In:  the questions. Out: which question's answer is where.
//!
//! # Invariants
//! * What anybody could write by chance is no secret: short words, short numbers, choices.
//! * One pass finds all of them, however many there are.
//!
//! # Not here
//! Showing them: nobody but this file sees an answer.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::model::{Question, QuestionMode};

/// Shortest secret, in characters.
const MIN_CHARS: usize = 6;
/// Shortest secret that is a single word of letters.
const MIN_LETTERS: usize = 12;
/// Shortest secret that is a number.
const MIN_DIGITS: usize = 10;
/// Longest secret, in bytes: no player types more.
const MAX_BYTES: usize = 1000;
/// Most secrets of one challenge.
const MAX_SECRETS: usize = 200;

/// Where a secret may begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edges {
    /// Not inside of a longer word.
    Words,
    /// Anywhere, as in a program, where letters stand side by side without meaning.
    Anywhere,
}

/// The static answers of a challenge.
#[derive(Debug)]
pub(super) struct Secrets<'q> {
    needles: Vec<Needle<'q>>,
    automaton: AhoCorasick,
}

/// One spelling of one answer.
#[derive(Debug)]
struct Needle<'q> {
    question: &'q str,
    bytes: Vec<u8>,
}

/// An answer that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found<'q> {
    /// The id of the question.
    pub question: &'q str,
    /// First byte.
    pub start: usize,
    /// One past the last.
    pub end: usize,
}

impl<'q> Secrets<'q> {
    /// The secrets of `questions`; `None` when there is none.
    pub(super) fn of(questions: &'q [Question]) -> Option<Self> {
        let answers = questions.iter().filter_map(|question| match &question.mode {
            QuestionMode::Static { answer } => Some((question.id.as_str(), answer.trim())),
            QuestionMode::Dynamic { .. }
            | QuestionMode::SingleSelect { .. }
            | QuestionMode::MultiSelect { .. } => None,
        });
        let secrets = answers.filter(|(_, answer)| is_secret(answer)).take(MAX_SECRETS);
        let needles: Vec<Needle<'q>> = secrets
            .flat_map(|(question, answer)| {
                let wide = answer.encode_utf16().flat_map(u16::to_le_bytes).collect();
                let plain = Needle { question, bytes: answer.as_bytes().to_vec() };
                [plain, Needle { question, bytes: wide }]
            })
            .collect();
        if needles.is_empty() {
            return None;
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(needles.iter().map(|needle| &needle.bytes))
            .ok()?;
        Some(Self { needles, automaton })
    }

    /// The first place of each question's answer in `bytes`, by place.
    pub(super) fn found_in(&self, bytes: &[u8], edges: Edges) -> Vec<Found<'q>> {
        let mut found: BTreeMap<&str, Found<'q>> = BTreeMap::new();
        for hit in self.automaton.find_overlapping_iter(bytes) {
            let question = self.needles[hit.pattern().as_usize()].question;
            let is_whole = edges == Edges::Anywhere || stands_alone(bytes, hit.start(), hit.end());
            if is_whole {
                let place = Found { question, start: hit.start(), end: hit.end() };
                found.entry(question).or_insert(place);
            }
            if 2 * found.len() == self.needles.len() {
                break;
            }
        }
        let mut found: Vec<Found<'q>> = found.into_values().collect();
        found.sort_by_key(|it| it.start);
        found
    }
}

/// Whether finding this text somewhere means that it was given away.
fn is_secret(answer: &str) -> bool {
    let n_chars = answer.chars().count();
    let min_chars = if answer.chars().all(char::is_alphabetic) {
        MIN_LETTERS
    } else if answer.chars().all(|c| c.is_ascii_digit()) {
        MIN_DIGITS
    } else {
        MIN_CHARS
    };
    n_chars >= min_chars && answer.len() <= MAX_BYTES
}

/// Whether no letter or digit goes on where the bytes from `start` to `end` begin or end with one.
fn stands_alone(bytes: &[u8], start: usize, end: usize) -> bool {
    let is_word = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let goes_on = |inner: usize, outer: Option<usize>| is_word(inner) && outer.is_some_and(is_word);
    !goes_on(start, start.checked_sub(1)) && !goes_on(end.saturating_sub(1), Some(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_could_write_is_no_secret() {
        for (answer, want) in [
            ("22", false),
            ("Apache", false),
            ("Heartbleed", false),
            ("attackatdawn", true),
            ("20240131", false),
            ("1234567890", true),
            ("hunter2", true),
            ("h2", false),
            ("10.0.0.1", true),
            ("correct horse", true),
            ("FLAG{abc}", true),
        ] {
            assert_eq!(is_secret(answer), want, "{answer}");
        }
        assert!(!is_secret(&"a b".repeat(1000)));
    }

    #[test]
    fn words_have_edges() {
        for (text, want) in
            [("hunter2", true), ("(hunter2)", true), ("xhunter2", false), ("hunter22", false)]
        {
            let start = text.find("hunter2").unwrap();
            assert_eq!(stands_alone(text.as_bytes(), start, start + 7), want, "{text}");
        }
    }
}
