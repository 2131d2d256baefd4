//! The line that a finding is about, fit to be shown anywhere.
//!
//! A verdict travels: into logs of CI, annotations, the API. What a line holds of answers is
//! masked before it leaves this room.
//!
//! # Invariants
//! * No snippet holds an answer that stands in the metadata, or a literal flag.
//! * A snippet is one line of at most [`MAX_CHARS`] characters.

use std::rc::Rc;

use super::audit::Subject;
use super::finding::Finding;
use crate::model::{QuestionMode, TreeError};

/// Longest snippet, in characters.
pub(crate) const MAX_CHARS: usize = 400;
/// What stands for an answer.
const MASK: &str = "•••";
/// Answers shorter than this are ordinary words of ordinary lines (`22`, `A`).
const MIN_ANSWER_CHARS: usize = 4;

/// Gives every finding with a place its line; they are sorted by file and line.
pub(super) fn attach(subject: &Subject<'_>, findings: &mut [Finding]) -> Result<(), TreeError> {
    let answers = answers(subject);
    let mut reading: Option<Reading> = None;
    for finding in findings.iter_mut().filter(|finding| finding.line > 0) {
        let Some(name) = inside(subject.root, &finding.path) else { continue };
        if reading.as_ref().is_none_or(|reading| reading.name != name) {
            let text = subject.text(name)?;
            reading = text.map(|text| Reading { name: name.to_owned(), text, at: 0, line: 1 });
        }
        let Some(reading) = &mut reading else { continue };
        let line = reading.line(finding.line).map(|line| masked(line, &answers));
        finding.snippet = match name {
            // The answer of a question that could not be read is none of `answers`.
            "metadata.yaml" => line.map(|line| mask_answer(&line)),
            _ => line,
        };
    }
    Ok(())
}

/// A file that is gone through once, from finding to finding.
struct Reading {
    name: String,
    text: Rc<str>,
    /// Where line `line` begins.
    at: usize,
    line: u32,
}

impl Reading {
    /// Line `number`, which is not before the one asked for last.
    fn line(&mut self, number: u32) -> Option<&str> {
        while self.line < number {
            self.at += self.text.get(self.at..)?.find('\n')? + 1;
            self.line += 1;
        }
        self.text.get(self.at..)?.split('\n').next()
    }
}

/// Line `number` of a file that belongs to no challenge.
pub(super) fn quote(text: &str, number: u32) -> Option<String> {
    line(text, number).map(|line| masked(line, &[]))
}

/// `path` inside the folder `root`.
fn inside<'p>(root: &str, path: &'p str) -> Option<&'p str> {
    match root {
        "" => Some(path),
        _ => path.strip_prefix(root)?.strip_prefix('/'),
    }
}

fn line(text: &str, number: u32) -> Option<&str> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    text.split('\n').nth(index)
}

/// The answers of the metadata that a line could give away.
fn answers(subject: &Subject<'_>) -> Vec<String> {
    let mut answers = Vec::new();
    for question in subject.questions.unwrap_or_default() {
        match &question.mode {
            QuestionMode::Dynamic { .. }
            | QuestionMode::SingleSelect { .. }
            | QuestionMode::MultiSelect { .. } => (),
            QuestionMode::Static { answer } => answers.push(answer.trim().to_owned()),
        }
    }
    answers.retain(|answer| answer.chars().count() >= MIN_ANSWER_CHARS);
    // The longest first: one may hold another.
    answers.sort_by_key(|answer| std::cmp::Reverse(answer.len()));
    answers
}

/// `line` without its end, cut, and with answers and flags masked.
fn masked(line: &str, answers: &[String]) -> String {
    // Somewhat more than is shown: an answer must not be cut before it is masked.
    let longest = answers.first().map_or(0, |answer| answer.chars().count());
    let mut line: String = line.trim_end().chars().take(MAX_CHARS + longest).collect();
    for answer in answers {
        line = line.replace(answer.as_str(), MASK);
    }
    mask_flags(&line).chars().take(MAX_CHARS).collect()
}

/// Masks the value of a key `answer`.
fn mask_answer(line: &str) -> String {
    for key in ["answer:", "answer\":", "answer':"] {
        if let Some((before, value)) = line.split_once(key)
            && !value.trim().is_empty()
        {
            return format!("{before}{key} {MASK}");
        }
    }
    line.to_owned()
}

/// Masks what stands between `FLAG{` and `}`, unless it is a placeholder.
fn mask_flags(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("FLAG{") {
        out += before;
        out += "FLAG{";
        let end = after.find('}').unwrap_or(after.len());
        let body = &after[..end];
        let is_placeholder = body.starts_with(['$', '%', '<', '_']) || body.starts_with("sample");
        out += if is_placeholder { body } else { MASK };
        rest = &after[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_key_answer_is_masked_whatever_it_is() {
        for (line, want) in [
            ("    answer: telnet # old", "    answer: •••"),
            ("  - {id: x, \"answer\": [a, b]}", "  - {id: x, \"answer\": •••"),
            ("    answer:", "    answer:"),
            ("    prompt: Which port?", "    prompt: Which port?"),
        ] {
            assert_eq!(mask_answer(line), want);
        }
    }

    #[test]
    fn answers_and_flags_are_masked() {
        let answers = ["correct horse".to_owned()];
        for (line, want) in [
            ("  answer: correct horse  ", "  answer: •••"),
            (
                "x = 'FLAG{abc}' + \"FLAG{$ANSWER_FLAG}\"",
                "x = 'FLAG{•••}' + \"FLAG{$ANSWER_FLAG}\"",
            ),
            ("FLAG{never closed", "FLAG{•••"),
            ("plain", "plain"),
        ] {
            assert_eq!(masked(line, &answers), want);
        }
    }
}
