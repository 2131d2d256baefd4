//! Decides what becomes of an attempt: which questions are open, how often one may be wrong.
//!
//! [`decide_submission`] and [`decide_verify`] run inside the store's transaction, so that two
//! attempts at once cannot both take the last one that is left.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::grading::{Answer, grade};
use crate::model::{
    Challenge, InstanceId, Question, QuestionId, Revision, Submission, SubmissionId, TeamId,
    Timestamp, UserId,
};

/// Wrong answers that one team may give to one question; 0 is any number.
///
/// Minted answers are never capped: they cannot be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptCaps {
    /// For questions with one right choice (default 3).
    pub single_select: u32,
    /// For questions with several right choices (default 10).
    pub multi_select: u32,
    /// For questions with a fixed text (default 10).
    pub static_text: u32,
}

impl Default for AttemptCaps {
    fn default() -> Self {
        Self { single_select: 3, multi_select: 10, static_text: 10 }
    }
}

impl AttemptCaps {
    /// The cap of a wire mode (`static`, `single_select`, …); `None` when there is none.
    pub fn cap(&self, mode: &str) -> Option<u32> {
        let cap = match mode {
            "single_select" => self.single_select,
            "multi_select" => self.multi_select,
            "static" => self.static_text,
            _ => 0,
        };
        (cap > 0).then_some(cap)
    }

    /// Wrong answers left after `n_wrong`; `None` when there is no cap.
    pub fn remaining(&self, mode: &str, n_wrong: u32) -> Option<u32> {
        Some(self.cap(mode)?.saturating_sub(n_wrong))
    }
}

/// What one team did so far on one challenge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Wrong attempts by question, over all instances.
    pub wrong: BTreeMap<QuestionId, u32>,
    /// Questions with a right answer.
    pub solved: BTreeSet<QuestionId>,
}

impl Progress {
    /// Wrong attempts on `question`.
    pub fn n_wrong(&self, question: &QuestionId) -> u32 {
        self.wrong.get(question).copied().unwrap_or(0)
    }
}

/// What to do about an attempt. `R` is what the caller is told when nothing is recorded.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<R> {
    /// Store it, right or wrong; a first right one is a solve.
    Record(Submission),
    /// Only count a wrong attempt on this question.
    CountWrong(QuestionId, R),
    /// Store nothing.
    Answer(R),
}

/// Why an attempt is neither graded nor recorded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The challenge has no such question.
    #[error("unknown question `{question}`")]
    UnknownQuestion {
        /// As sent.
        question: String,
        /// What there is, in the author's order.
        known: Vec<QuestionId>,
    },
    /// Questions it requires are not solved yet.
    #[error("question `{question}` is locked until others are solved")]
    Locked {
        /// The question.
        question: QuestionId,
        /// What is missing, in the author's order.
        requires: Vec<QuestionId>,
    },
    /// No wrong answers left; a right one is refused too.
    #[error("no attempts left for question `{question}` ({cap} wrong answers)")]
    CapReached {
        /// The question.
        question: QuestionId,
        /// Wire word of its mode.
        mode: &'static str,
        /// Wrong answers so far.
        wrong_attempts: u32,
        /// The cap.
        cap: u32,
    },
}

/// One attempt as it came in. Has no `Debug`, because it carries the right answer.
#[derive(Clone)]
pub struct Attempt {
    /// The id that its record gets.
    pub id: SubmissionId,
    /// Who.
    pub team: TeamId,
    /// Which of its members.
    pub user: Option<UserId>,
    /// Through which instance and since when that is ready; `None` for a quiz.
    pub instance: Option<(InstanceId, Timestamp)>,
    /// Which question, as sent.
    pub question: String,
    /// The claimed answer.
    pub answer: Answer,
    /// The instance's own answer, when the question is dynamic.
    pub minted: Option<String>,
    /// The revision of the challenge that grades it.
    pub revision: Revision,
    /// When.
    pub now: Timestamp,
}

/// Decides about an attempt that is to be recorded, through an instance or on a quiz.
pub fn decide_submission(
    challenge: &Challenge,
    attempt: &Attempt,
    progress: &Progress,
    caps: &AttemptCaps,
) -> Decision<Refusal> {
    let question = match open_question(challenge, &attempt.question, progress, caps) {
        Ok(question) => question,
        Err(refusal) => return Decision::Answer(refusal),
    };
    let is_correct = grade(&question.mode, &attempt.answer, attempt.minted.as_deref());
    Decision::Record(Submission {
        id: attempt.id,
        team: attempt.team,
        user: attempt.user,
        challenge: challenge.id.clone(),
        instance: attempt.instance.map(|(id, _)| id),
        question: question.id.clone(),
        claimed: attempt.answer.claimed(),
        is_correct,
        submitted_at: attempt.now,
        solve_time_secs: if is_correct { solve_time_secs(attempt) } else { 0.0 },
        revision: attempt.revision,
    })
}

/// Decides about an answer that is only to be checked: `Ok` says whether it is right.
///
/// Nothing is recorded, but a wrong answer to a capped question counts, so that checking is no way
/// around the cap.
pub fn decide_verify(
    challenge: &Challenge,
    attempt: &Attempt,
    progress: &Progress,
    caps: &AttemptCaps,
) -> Decision<Result<bool, Refusal>> {
    let question = match open_question(challenge, &attempt.question, progress, caps) {
        Ok(question) => question,
        Err(refusal) => return Decision::Answer(Err(refusal)),
    };
    let is_capped = caps.cap(question.mode.as_str()).is_some();
    match grade(&question.mode, &attempt.answer, attempt.minted.as_deref()) {
        false if is_capped => Decision::CountWrong(question.id.clone(), Ok(false)),
        is_correct => Decision::Answer(Ok(is_correct)),
    }
}

/// The questions that must still be solved before `question` opens, in the author's order. Empty
/// for a question that the team has already: it does not close again.
pub fn missing(question: &Question, solved: &BTreeSet<QuestionId>) -> Vec<QuestionId> {
    if solved.contains(&question.id) {
        return Vec::new();
    }
    question.requires.iter().filter(|id| !solved.contains(*id)).cloned().collect()
}

/// Whether every question of the challenge, of whatever mode, is solved.
pub fn is_fully_solved(challenge: &Challenge, solved: &BTreeSet<QuestionId>) -> bool {
    challenge.metadata.questions.iter().all(|question| solved.contains(&question.id))
}

/// The question, if it exists, is unlocked and has attempts left.
fn open_question<'a>(
    challenge: &'a Challenge,
    id: &str,
    progress: &Progress,
    caps: &AttemptCaps,
) -> Result<&'a Question, Refusal> {
    let question = challenge.question(id).ok_or_else(|| Refusal::UnknownQuestion {
        question: id.chars().take(80).collect(),
        known: challenge.metadata.questions.iter().map(|known| known.id.clone()).collect(),
    })?;
    let requires = missing(question, &progress.solved);
    if !requires.is_empty() {
        return Err(Refusal::Locked { question: question.id.clone(), requires });
    }
    let mode = question.mode.as_str();
    let wrong_attempts = progress.n_wrong(&question.id);
    match caps.cap(mode) {
        Some(cap) if wrong_attempts >= cap => {
            Err(Refusal::CapReached { question: question.id.clone(), mode, wrong_attempts, cap })
        }
        Some(_) | None => Ok(question),
    }
}

/// Seconds since the instance became ready, one decimal, never negative; 0 for a quiz.
fn solve_time_secs(attempt: &Attempt) -> f64 {
    let millis =
        attempt.instance.map_or(0, |(_, since)| attempt.now.millis_since(since).clamp(0, 1 << 50));
    // Exact: tenths of seconds stay far below 2^53.
    ((millis + 50) / 100) as f64 / 10.0
}

#[cfg(test)]
mod tests;
