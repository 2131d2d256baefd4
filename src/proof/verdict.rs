//! Judges what an exploit printed: every answer is graded as a player's would be.
//!
//! In:  the questions, the minted answers, the exploit's output. Out: a [`Report`].
//!
//! # Invariants
//! * Solved means: the exploit ended well, every dynamic question is right, nothing printed is
//!   wrong, and at least one answer is right.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contest::Answer;
use crate::contest::grading::grade;
use crate::model::Challenge;

/// Most answers that are read.
const MAX_ANSWERS: usize = 1000;

/// How the exploit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Question, mode and verdict, in the author's order; what is no question comes last.
    pub verdicts: Vec<(String, String, Verdict)>,
    /// Why the run itself failed: its exit code, or that it took too long.
    pub fault: Option<String>,
    /// How long it ran.
    pub took: Duration,
    /// What it printed beside its answers; hostile text.
    pub output: String,
}

/// The verdict on one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every answer printed for it is right.
    Correct,
    /// One is wrong.
    Wrong,
    /// The exploit must find it and printed nothing.
    Missing,
    /// The exploit need not find it and printed nothing.
    Skipped,
    /// The challenge has no such question.
    Unknown,
}

impl Report {
    /// Whether the exploit solves the challenge.
    pub fn is_solved(&self) -> bool {
        let is_fine = |verdict: Verdict| matches!(verdict, Verdict::Correct | Verdict::Skipped);
        self.fault.is_none()
            && self.verdicts.iter().all(|(_, _, verdict)| is_fine(*verdict))
            && self.verdicts.iter().any(|(_, _, verdict)| *verdict == Verdict::Correct)
    }
}

/// Judges each question of `challenge` by the lines `Q[id]: value` of `stdout`.
pub fn judge(
    challenge: &Challenge,
    minted: &[(String, String)],
    stdout: &str,
) -> Vec<(String, String, Verdict)> {
    let mut printed = parse(stdout);
    let mut verdicts = Vec::new();
    for question in &challenge.metadata.questions {
        let id = question.id.to_string();
        let own = minted.iter().find(|(name, _)| *name == id).map(|(_, answer)| answer.as_str());
        let is_right = |value: &String| grade(&question.mode, &Answer::One(value.clone()), own);
        let verdict = match printed.remove(&id) {
            Some(values) if values.iter().all(is_right) => Verdict::Correct,
            Some(_) => Verdict::Wrong,
            None if question.mode.is_dynamic() => Verdict::Missing,
            None => Verdict::Skipped,
        };
        verdicts.push((id, question.mode.as_str().to_owned(), verdict));
    }
    let strange = printed.into_keys().map(|id| (id, String::new(), Verdict::Unknown));
    verdicts.extend(strange);
    verdicts
}

/// The answers by question: lines `Q[id]: value`, anything else is talk.
fn parse(stdout: &str) -> BTreeMap<String, Vec<String>> {
    let mut printed = BTreeMap::<String, Vec<String>>::new();
    let answers = stdout.lines().filter_map(|line| {
        let (id, value) = line.trim_end_matches('\r').strip_prefix("Q[")?.split_once("]:")?;
        let value = value.trim();
        (!value.is_empty()).then(|| (id.trim(), value))
    });
    for (id, value) in answers.take(MAX_ANSWERS) {
        printed.entry(id.chars().take(80).collect()).or_default().push(value.to_owned());
    }
    printed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{self, Policy};
    use crate::model::MemoryTree;

    const METADATA: &str = "\
name: Story
description: Two questions.
difficulty: easy
category: misc
tags: [story]
questions:
  - {id: flag, prompt: The flag?}
  - {id: port, prompt: The port?, answer: \"443\"}
";

    fn check(stdout: &str) -> String {
        let tree = MemoryTree::new().with("WEB/WEB-001/metadata.yaml", METADATA).with(
            "WEB/WEB-001/docker-compose.yml",
            "services:\n  web:\n    image: busybox:latest\n    ports: [\"80\"]\n",
        );
        let folder = catalog::load_one(&tree, "WEB/WEB-001", &Policy::default()).unwrap();
        let challenge = folder.challenge.unwrap_or_else(|| panic!("{:?}", folder.findings));
        let minted = [("flag".to_owned(), "FLAG{00ff}".to_owned())];
        let verdicts = judge(&challenge, &minted, stdout);
        let report = Report { verdicts, fault: None, took: Duration::ZERO, output: String::new() };
        let words: Vec<_> =
            report.verdicts.iter().map(|(id, _, verdict)| format!("{id} {verdict:?}")).collect();
        format!("{}: {}", if report.is_solved() { "solved" } else { "open" }, words.join(", "))
    }

    #[test]
    fn every_printed_answer_is_graded_as_a_players_would_be() {
        for (stdout, shown) in [
            ("Q[flag]: FLAG{00ff}\n", "solved: flag Correct, port Skipped"),
            ("talk\nQ[flag]:  00ff \r\nQ[port]: 443\n", "solved: flag Correct, port Correct"),
            ("Q[flag]: FLAG{00FF}\n", "open: flag Wrong, port Skipped"),
            ("Q[flag]: FLAG{00ff}\nQ[port]: 80\n", "open: flag Correct, port Wrong"),
            ("Q[flag]: FLAG{00ff}\nQ[flag]: x\n", "open: flag Wrong, port Skipped"),
            ("Q[port]: 443\n", "open: flag Missing, port Correct"),
            ("Q[flag]: \n", "open: flag Missing, port Skipped"),
            ("Q[flag]: 00ff\nQ[root]: x\n", "open: flag Correct, port Skipped, root Unknown"),
            ("", "open: flag Missing, port Skipped"),
        ] {
            assert_eq!(check(stdout), shown, "{stdout:?}");
        }
    }

    #[test]
    fn a_run_that_failed_solves_nothing() {
        let report = Report {
            verdicts: vec![("flag".to_owned(), "dynamic".to_owned(), Verdict::Correct)],
            fault: Some("it exited with 2".to_owned()),
            took: Duration::ZERO,
            output: String::new(),
        };
        assert!(!report.is_solved());
    }
}
