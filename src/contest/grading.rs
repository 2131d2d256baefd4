//! Grades one answer to one question (`contract/challenges.md` §8.2).
//!
//! Comparisons are exact and case-sensitive after trimming, and take the same time wherever two
//! texts of one length differ.

use std::collections::BTreeSet;

use subtle::ConstantTimeEq;

use crate::model::QuestionMode;

/// Most bytes of an answer that are recorded; a longer one is graded all the same.
const MAX_CLAIMED_BYTES: usize = 4096;

/// An answer as sent: one text or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// One text.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Answer {
    /// The answer as it is recorded: the text, or the list as JSON; cut at 4 KiB.
    pub fn claimed(&self) -> String {
        let mut text = match self {
            Self::One(text) => text.clone(),
            Self::Many(parts) => serde_json::Value::from(parts.clone()).to_string(),
        };
        text.truncate(text.floor_char_boundary(MAX_CLAIMED_BYTES));
        text
    }
}

/// Whether `answer` is right. `minted` is the instance's own answer of a dynamic question; without
/// it nothing is right.
pub fn grade(mode: &QuestionMode, answer: &Answer, minted: Option<&str>) -> bool {
    match (mode, answer) {
        (QuestionMode::Dynamic { .. }, Answer::One(text)) => {
            minted.is_some_and(|minted| is_minted(text.trim(), minted))
        }
        (QuestionMode::Static { answer }, Answer::One(text)) => is_same(text.trim(), answer.trim()),
        (QuestionMode::SingleSelect { answer, choices }, Answer::One(text)) => {
            choices.iter().any(|choice| choice == text.trim()) && is_same(text.trim(), answer)
        }
        (QuestionMode::MultiSelect { answers, choices }, answer) => {
            is_chosen(&parts(answer), answers, choices)
        }
        (
            QuestionMode::Dynamic { .. }
            | QuestionMode::Static { .. }
            | QuestionMode::SingleSelect { .. },
            Answer::Many(_),
        ) => false,
    }
}

fn is_minted(text: &str, minted: &str) -> bool {
    is_same(text, minted) | is_same(unwrapped(text), unwrapped(minted))
}

/// What is inside of an enclosing `FLAG{…}`, or the text itself.
fn unwrapped(text: &str) -> &str {
    text.strip_prefix("FLAG{")
        .and_then(|rest| rest.strip_suffix('}'))
        .filter(|body| !body.is_empty() && !body.contains('}'))
        .unwrap_or(text)
}

/// The non-empty parts of an answer to a question with several right choices.
fn parts(answer: &Answer) -> BTreeSet<&str> {
    match answer {
        Answer::One(text) => text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|part| !part.is_empty())
            .collect(),
        Answer::Many(list) => {
            list.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect()
        }
    }
}

fn is_chosen(parts: &BTreeSet<&str>, answers: &[String], choices: &[String]) -> bool {
    let right: BTreeSet<&str> = answers.iter().map(String::as_str).collect();
    !parts.is_empty()
        && parts.iter().all(|part| choices.iter().any(|choice| choice == part))
        && parts.len() == right.len()
        // Both are sorted and without doubles. `&` instead of `&&`: no early end.
        && parts.iter().zip(&right).fold(true, |same, (part, right)| same & is_same(part, right))
}

fn is_same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

#[cfg(test)]
mod tests;
