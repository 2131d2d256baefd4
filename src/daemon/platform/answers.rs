//! Grading: through an instance, on a quiz, and without a record.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::competitions::{check_reach, no_competition, not_registered};
use super::{Answer, Denial, Graded, Outcome, Platform, PlatformError};
use crate::contest::Contest;
use crate::contest::policy::{self, Attempt, AttemptCaps, Decision};
use crate::contest::tally::Solves;
use crate::daemon::{activities, books, leases};
use crate::model::{
    Account, Activity, Caller, Challenge, ChallengeId, Happening, Instance, InstanceId, QuestionId,
    QuestionMode, Revision, Solve, StopReason, Submission, SubmissionId, TeamId, Timestamp, UserId,
};
use crate::render::answers::mint;
use crate::store::{AttemptReset, BestPerson, Tries, Work};
use crate::telemetry::metrics;

/// Which account answers.
fn user_of(caller: &Caller) -> Option<UserId> {
    caller.account.as_ref().map(|account| account.id)
}

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
        let instance = self.answerable(caller, instance).await?;
        let contest = self.contest_of(&instance)?;
        contest.playable(self.now()).map_err(Denial::from)?;
        let challenge = self.challenge_of(&instance).await?;
        let team = instance.team;
        let mut attempt = self.attempt(team, Some(&instance), &challenge, question, answer);
        attempt.user = user_of(caller);
        let graded = self.record(caller, &contest, challenge, attempt).await?;
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
        (competition, challenge): (&str, &str),
        question: &str,
        answer: Answer,
    ) -> Outcome<Graded> {
        let (contest, team) = self.place(caller, competition)?;
        contest.playable(self.now()).map_err(Denial::from)?;
        let unknown =
            || PlatformError::ChallengeNotFound { id: challenge.chars().take(80).collect() };
        let id: ChallengeId = challenge.parse().map_err(|_| unknown())?;
        let live = self.live().get(&id).cloned().ok_or_else(unknown)?;
        if !contest.offers(&live.challenge, self.now()) {
            let message = format!("challenge {id} is not played in competition {}", contest.id);
            return Err(Denial::forbidden("challenge_out_of_competition", message)
                .with("challenge_id", id.as_str())
                .with("competition_id", contest.id.as_str())
                .into());
        }
        if !live.challenge.is_qa_only() {
            return Err(PlatformError::NotAQuiz { id });
        }
        let mut attempt = self.attempt(team, None, &live.challenge, question, answer);
        attempt.revision = live.revision;
        attempt.user = user_of(caller);
        self.record(caller, &contest, live.challenge, attempt).await
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
        let contest = self.contest_of(&instance)?;
        contest.playable(self.now()).map_err(Denial::from)?;
        let challenge = self.challenge_of(&instance).await?;
        let attempt = self.attempt(instance.team, Some(&instance), &challenge, question, answer);
        let caps = self.caps_of(&contest);
        let id = challenge.id.clone();
        let decide =
            move |progress: &_| policy::decide_verify(&challenge, &attempt, progress, &caps);
        match self.shared.store.submit(instance.team, &id, decide).await?.decision {
            Decision::Answer(verdict) | Decision::CountWrong(_, verdict) => Ok(verdict?),
            Decision::Record(submission) => Ok(submission.is_correct),
        }
    }

    /// The instance that an answer goes through. It may be over: what was found in it counts.
    async fn answerable(&self, caller: &Caller, id: &str) -> Outcome<Instance> {
        let unknown = || PlatformError::InstanceNotFound { id: id.chars().take(80).collect() };
        let parsed: InstanceId = id.parse().map_err(|_| unknown())?;
        let instance = self.shared.store.instance(parsed).await?.ok_or_else(unknown)?;
        let competition = instance.competition.parse().map_err(|_| unknown())?;
        check_reach(Some(caller), &competition)?;
        if caller.plays_for(instance.team) {
            return Ok(instance);
        }
        if caller.memberships.is_empty() {
            return Err(not_registered(&instance.competition).into());
        }
        Err(PlatformError::NotYours)
    }

    /// The competition that an instance belongs to.
    fn contest_of(&self, instance: &Instance) -> Outcome<Arc<Contest>> {
        let id = instance.competition.as_str();
        self.find(id).ok_or_else(|| no_competition("", id).into())
    }

    /// The caps that hold in a competition.
    fn caps_of(&self, contest: &Contest) -> AttemptCaps {
        contest.caps.map_or_else(
            || self.caps(),
            |caps| AttemptCaps {
                single_select: caps.single_select,
                multi_select: caps.multi_select,
                static_text: caps.static_text,
            },
        )
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
            user: None,
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
        self.settings().caps
    }

    /// Gives a team its wrong attempts at a question back (administrators).
    ///
    /// # Errors
    /// When there is no such team, or the ids cannot be ones.
    pub async fn reset_attempts(
        &self,
        caller: &Caller,
        (team, challenge, question): (&str, &str, &str),
        reason: String,
    ) -> Outcome<AttemptReset> {
        let cut = |id: &str| id.chars().take(80).collect::<String>();
        let no_team = || Denial::not_found("team_not_found", format!("no team {}", cut(team)));
        let team: TeamId = team.parse().map_err(|_| no_team())?;
        let team = self.team(team).await?;
        let unknown = || PlatformError::ChallengeNotFound { id: cut(challenge) };
        let challenge: ChallengeId = challenge.parse().map_err(|_| unknown())?;
        let question: QuestionId = question.parse().map_err(|_| unknown())?;
        let actor = activities::actor_of(caller);
        let reset = AttemptReset {
            team: team.id,
            challenge,
            question,
            n_wrong: 0,
            by: actor.id.clone(),
            at: self.now(),
            reason,
        };
        let reset = self.shared.store.reset_attempts(reset).await?;
        let question_id = reset.question.to_string();
        let activity = Activity {
            at: reset.at,
            happening: Happening::QuestionAttemptReset {
                question_id,
                reason: reset.reason.clone(),
            },
            competition: Some(team.competition),
            team: Some(reset.team),
            challenge: Some(reset.challenge.clone()),
            actor,
        };
        activities::record(&self.shared, activity);
        Ok(reset)
    }

    async fn record(
        &self,
        caller: &Caller,
        contest: &Contest,
        challenge: Arc<Challenge>,
        attempt: Attempt,
    ) -> Outcome<Graded> {
        let caps = self.caps_of(contest);
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
        self.tell_answer(caller, contest, &submission);
        if !submission.is_correct {
            self.look_for_owner(&submission, caller.address.clone());
        }
        let question = challenge.question(submission.question.as_str());
        let mode = question.map_or("dynamic", |question| question.mode.as_str());
        if submitted.solve.is_some() {
            self.shared.solves_due.notify_one();
        }
        let progress = submitted.progress;
        let n_wrong = progress.n_wrong(&submission.question);
        Ok(Graded {
            solve_rank: submitted.solve.map_or(0, |solve| solve.rank),
            is_fully_solved: submission.is_correct
                && policy::is_fully_solved(&challenge, &progress.solved),
            attempts_remaining: caps.remaining(mode, n_wrong),
            submission,
        })
    }

    fn tell_answer(&self, caller: &Caller, contest: &Contest, submission: &Submission) {
        let (instance_id, question_id) = (submission.instance, submission.question.to_string());
        let (ip, solve_time_s) = (caller.address.clone(), submission.solve_time_secs);
        let happening = if submission.is_correct {
            Happening::FlagCorrect { instance_id, question_id, solve_time_s, ip }
        } else {
            Happening::FlagWrong { instance_id, question_id, solve_time_s, ip }
        };
        let activity = Activity {
            at: submission.submitted_at,
            happening,
            competition: Some(contest.id.clone()),
            team: Some(submission.team),
            challenge: Some(submission.challenge.clone()),
            actor: activities::actor_of(caller),
        };
        activities::record(&self.shared, activity);
    }

    /// The caller's own attempts, oldest first; those of the team for a token of a team.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn submissions(&self, caller: &Caller) -> Outcome<Vec<Submission>> {
        if let Some(account) = &caller.account {
            let mut rows = self.shared.store.submissions_of_user(account.id).await?;
            if caller.grant.is_some() {
                rows.retain(|row| caller.plays_for(row.team));
            }
            return Ok(rows);
        }
        match caller.team() {
            Some(team) => Ok(self.shared.store.submissions(team).await?),
            None => Ok(Vec::new()),
        }
    }

    /// What the holder of an account did.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn work_of(&self, account: &Account) -> Outcome<Work> {
        Ok(self.shared.store.work_of(account.id).await?)
    }

    /// Every solve on the platform, oldest first; counts of solves come from it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn solves(&self) -> Outcome<Arc<Solves>> {
        Ok(books::solves(&self.shared).await?.1)
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
    pub async fn attempts(&self) -> Outcome<Arc<BTreeMap<TeamId, u32>>> {
        Ok(books::attempts(&self.shared).await?)
    }

    /// How many attempts each team made, and when the last one was.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn activity_of_teams(&self) -> Outcome<BTreeMap<TeamId, (u32, Timestamp)>> {
        Ok(self.shared.store.activity_of_teams().await?)
    }

    /// Every answer and every solve, as they were at one moment.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn records(&self) -> Outcome<(Vec<Submission>, Vec<Solve>)> {
        Ok(self.shared.store.records().await?)
    }

    /// Everybody who answered a question rightly, best first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn best_people(&self) -> Outcome<Vec<BestPerson>> {
        Ok(self.shared.store.best_people().await?)
    }

    /// What each team tried on each challenge while a competition was on, or ever.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tries(&self, contest: Option<&Contest>) -> Outcome<Vec<Tries>> {
        let from = contest.and_then(|contest| contest.starts_at);
        let until = contest.and_then(|contest| contest.ends_at);
        let (from, until) = (
            from.unwrap_or(Timestamp::from_millis(0)),
            until.unwrap_or(Timestamp::from_millis(i64::MAX)),
        );
        Ok(self.shared.store.tries(from, until).await?)
    }

    /// The wrong answers that a question of this wire mode allows in a competition; `None` when
    /// uncapped.
    pub fn attempt_cap(&self, competition: &str, mode: &str) -> Option<u32> {
        let caps = self.find(competition).map_or_else(|| self.caps(), |it| self.caps_of(&it));
        caps.cap(mode)
    }
}
