//! Grading: through an instance, on a quiz, and without a record.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::{Answer, Graded, Outcome, Platform, PlatformError};
use crate::contest::policy::{self, Attempt, AttemptCaps, Decision};
use crate::daemon::leases;
use crate::model::{
    Caller, Challenge, ChallengeId, Instance, QuestionId, QuestionMode, Revision, Solve,
    StopReason, Submission, SubmissionId, TeamId,
};
use crate::render::answers::mint;
use crate::telemetry::metrics;

impl Platform {
    /// Grades and records an answer through an instance. The answer to the last open question
    /// stops it.
    ///
    /// # Errors
    /// When the instance, team or question does not fit, the question is locked or capped.
    pub async fn submit(
        &self,
        caller: &Caller,
        instance: &str,
        question: &str,
        answer: Answer,
    ) -> Outcome<Graded> {
        let team = self.team_of(caller)?;
        let instance = self.instance(caller, instance).await?;
        let challenge = self.challenge_of(&instance).await?;
        let attempt = self.attempt(team, Some(&instance), &challenge, question, answer);
        let graded = self.record(challenge, attempt).await?;
        let is_held = self.shared.pauses.load().held_instance(instance.id).is_some();
        if graded.is_fully_solved && !is_held {
            leases::end(&self.shared, instance.id, StopReason::AutoStopAfterSolve).await?;
        }
        Ok(graded)
    }

    /// Grades and records an answer to a quiz, without an instance.
    ///
    /// # Errors
    /// As [`Platform::submit`]; and when the challenge is no quiz.
    pub async fn submit_quiz(
        &self,
        caller: &Caller,
        challenge: &str,
        question: &str,
        answer: Answer,
    ) -> Outcome<Graded> {
        let team = self.team_of(caller)?;
        let unknown =
            || PlatformError::ChallengeNotFound { id: challenge.chars().take(80).collect() };
        let id: ChallengeId = challenge.parse().map_err(|_| unknown())?;
        let live = self.live().get(&id).cloned().ok_or_else(unknown)?;
        if !live.challenge.is_qa_only() {
            return Err(PlatformError::NotAQuiz { id });
        }
        let mut attempt = self.attempt(team, None, &live.challenge, question, answer);
        attempt.revision = live.revision;
        self.record(live.challenge, attempt).await
    }

    /// Grades without recording; a wrong answer to a capped question counts all the same.
    ///
    /// # Errors
    /// As [`Platform::submit`].
    pub async fn verify(
        &self,
        caller: &Caller,
        instance: &str,
        question: &str,
        answer: Answer,
    ) -> Outcome<bool> {
        let instance = self.instance(caller, instance).await?;
        let challenge = self.challenge_of(&instance).await?;
        let attempt = self.attempt(instance.team, Some(&instance), &challenge, question, answer);
        let caps = self.caps();
        let id = challenge.id.clone();
        let decide =
            move |progress: &_| policy::decide_verify(&challenge, &attempt, progress, &caps);
        match self.shared.store.submit(instance.team, &id, decide).await?.decision {
            Decision::Answer(verdict) | Decision::CountWrong(_, verdict) => Ok(verdict?),
            Decision::Record(submission) => Ok(submission.is_correct),
        }
    }

    fn team_of(&self, caller: &Caller) -> Outcome<TeamId> {
        caller.team().ok_or_else(|| PlatformError::NotRegistered {
            competition: super::instances::DEFAULT_COMPETITION.to_owned(),
        })
    }

    fn attempt(
        &self,
        team: TeamId,
        instance: Option<&Instance>,
        challenge: &Challenge,
        question: &str,
        answer: Answer,
    ) -> Attempt {
        let minted = instance.and_then(|instance| self.minted(instance, challenge, question));
        Attempt {
            id: SubmissionId::new(Uuid::new_v4()),
            team,
            instance: instance.map(|instance| (instance.id, instance.started_at)),
            question: question.to_owned(),
            answer,
            minted,
            revision: instance.map_or(Revision(challenge.tree.0), |instance| instance.revision),
            now: self.now(),
        }
    }

    /// The instance's own answer to a dynamic question. Secret.
    fn minted(&self, instance: &Instance, challenge: &Challenge, id: &str) -> Option<String> {
        let question = challenge.question(id)?;
        match question.mode {
            QuestionMode::Dynamic { format } => {
                let key = self.shared.data.answer_key();
                Some(mint(key, instance.id, instance.answer_epoch, &question.id, format))
            }
            QuestionMode::Static { .. }
            | QuestionMode::SingleSelect { .. }
            | QuestionMode::MultiSelect { .. } => None,
        }
    }

    fn caps(&self) -> AttemptCaps {
        let caps = &self.shared.config.limits.attempt_caps;
        AttemptCaps {
            single_select: caps.single_select,
            multi_select: caps.multi_select,
            static_text: caps.r#static,
        }
    }

    async fn record(&self, challenge: Arc<Challenge>, attempt: Attempt) -> Outcome<Graded> {
        let caps = self.caps();
        let (team, id) = (attempt.team, challenge.id.clone());
        let graded_by = Arc::clone(&challenge);
        let decide = move |progress: &_| -> Decision<_> {
            policy::decide_submission(&graded_by, &attempt, progress, &caps)
        };
        let submitted = self.shared.store.submit(team, &id, decide).await?;
        let submission = match submitted.decision {
            Decision::Record(submission) => submission,
            Decision::Answer(refusal) | Decision::CountWrong(_, refusal) => {
                return Err(PlatformError::from(refusal));
            }
        };
        metrics::submission(if submission.is_correct {
            metrics::Verdict::Correct
        } else {
            metrics::Verdict::Wrong
        });
        let question = challenge.question(submission.question.as_str());
        let mode = question.map_or("dynamic", |question| question.mode.as_str());
        let progress = submitted.progress;
        let n_wrong = progress.n_wrong(&submission.question);
        Ok(Graded {
            solve_rank: submitted.solve.map_or(0, |solve| solve.rank),
            is_fully_solved: submission.is_correct
                && policy::is_fully_solved(&challenge, &progress.solved),
            attempts_remaining: self.caps().remaining(mode, n_wrong),
            submission,
        })
    }

    /// The caller's team's attempts, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn submissions(&self, caller: &Caller) -> Outcome<Vec<Submission>> {
        match caller.team() {
            Some(team) => Ok(self.shared.store.submissions(team).await?),
            None => Ok(Vec::new()),
        }
    }

    /// Every solve on the platform, oldest first; counts of solves come from it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn solves(&self) -> Outcome<Vec<Solve>> {
        Ok(self.shared.store.solves().await?)
    }

    /// Wrong attempts of a team on a challenge by question.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wrong_attempts(
        &self,
        team: TeamId,
        challenge: &ChallengeId,
    ) -> Outcome<BTreeMap<QuestionId, u32>> {
        Ok(self.shared.store.wrong_attempts(team, challenge).await?)
    }

    /// How many attempts each team made, right and wrong.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn attempts(&self) -> Outcome<BTreeMap<TeamId, u32>> {
        Ok(self.shared.store.attempts().await?)
    }

    /// The wrong answers a question of this wire mode allows; `None` when uncapped.
    pub fn attempt_cap(&self, mode: &str) -> Option<u32> {
        self.caps().cap(mode)
    }
}
