//! Attempts, solves and their ranks: judged and recorded in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Store, StoreError, accounts, ctfd, row};
use crate::contest::{Decision, Progress};
use crate::model::{
    Account, ChallengeId, QuestionId, Solve, Submission, TeamId, Timestamp, UserId,
};

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted<R> {
    /// What was decided, and done.
    pub decision: Decision<R>,
    /// The solve, when it was the team's first right answer to the question.
    pub solve: Option<Solve>,
    /// The team's progress with this attempt in it.
    pub progress: Progress,
}

/// What a team tried on a challenge.
#[derive(Debug, Clone, PartialEq)]
pub struct Tries {
    /// Who.
    pub team: TeamId,
    /// On what.
    pub challenge: ChallengeId,
    /// Answers.
    pub n: u32,
    /// Right ones.
    pub n_correct: u32,
    /// The longest time from the start to a right one, in seconds.
    pub solve_time_secs: f64,
}

/// A person who answered rightly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BestPerson {
    /// Who.
    pub account: Account,
    /// Challenges with any right answer of theirs.
    pub n_challenges: u32,
    /// Questions that they answered rightly.
    pub n_questions: u32,
    /// When they last did.
    pub last_at: Timestamp,
}

/// Wrong attempts that were given back to a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptReset {
    /// To whom.
    pub team: TeamId,
    /// On what.
    pub challenge: ChallengeId,
    /// Which question of it.
    pub question: QuestionId,
    /// How many there were.
    pub n_wrong: u32,
    /// By whom.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// What one person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Answers that they gave.
    pub attempts: u32,
    /// Questions that they answered rightly.
    pub solves: u32,
    /// When they answered last.
    pub last_at: Option<Timestamp>,
}

impl Store {
    /// Runs `decide` on a team's progress and does what it says, in one step: two attempts at once
    /// are judged one after the other, and ranks of solves have neither gaps nor doubles.
    ///
    /// `decide` runs on the only thread that writes: it must be quick and must not wait.
    ///
    /// # Errors
    /// When the database does not take it; nothing is recorded or counted then.
    pub async fn submit<R: Send + 'static>(
        &self,
        team: TeamId,
        challenge: &ChallengeId,
        decide: impl FnOnce(&Progress) -> Decision<R> + Send + 'static,
    ) -> Result<Submitted<R>, StoreError> {
        let challenge = challenge.clone();
        self.write(move |db| {
            let mut progress = Progress {
                wrong: wrong(db, team, &challenge)?,
                solved: solved(db, team, &challenge)?,
            };
            let decision = decide(&progress);
            let mut solve = None;
            match &decision {
                Decision::Record(submission) => {
                    insert_submission(db, submission)?;
                    if !submission.is_correct {
                        count_wrong(db, team, &challenge, &submission.question, &mut progress)?;
                    } else if progress.solved.insert(submission.question.clone()) {
                        let first = insert_solve(db, submission)?;
                        ctfd::post(db, &first, submission)?;
                        solve = Some(first);
                    }
                }
                Decision::CountWrong(question, _) => {
                    count_wrong(db, team, &challenge, question, &mut progress)?;
                }
                Decision::Answer(_) => (),
            }
            Ok(Submitted { decision, solve, progress })
        })
        .await
    }

    /// A team's attempts, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn submissions(&self, team: TeamId) -> Result<Vec<Submission>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM submissions WHERE team = ?1 ORDER BY seq")?
                .query_map([team.to_string()], submission_row)?
                .collect()
        })
        .await
    }

    /// What one account did.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn work_of(&self, user: UserId) -> Result<Work, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT count(*) AS attempts, max(submitted_at) AS last_at,
                        count(DISTINCT CASE WHEN is_correct
                              THEN team || ' ' || challenge || ' ' || question END) AS solves
                 FROM submissions WHERE user = ?1",
            )?
            .query_row([user.to_string()], |row| {
                Ok(Work {
                    attempts: row.get("attempts")?,
                    solves: row.get("solves")?,
                    last_at: row::opt_time(row, "last_at")?,
                })
            })
        })
        .await
    }

    /// The attempts of one account, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn submissions_of_user(&self, user: UserId) -> Result<Vec<Submission>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM submissions WHERE user = ?1 ORDER BY seq")?
                .query_map([user.to_string()], submission_row)?
                .collect()
        })
        .await
    }

    /// How many attempts each team made, right and wrong, and when the last one was.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn activity_of_teams(
        &self,
    ) -> Result<BTreeMap<TeamId, (u32, Timestamp)>, StoreError> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT team, count(*) AS n, max(submitted_at) AS last_at FROM submissions
                 GROUP BY team",
            )?
            .query_map([], |row| {
                Ok((row::text(row, "team")?, (row.get("n")?, row::time(row, "last_at")?)))
            })?
            .collect()
        })
        .await
    }

    /// Every answer and every solve, each in its order, as they were at one moment.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn records(&self) -> Result<(Vec<Submission>, Vec<Solve>), StoreError> {
        self.read(|db| {
            let answers = db
                .prepare_cached("SELECT * FROM submissions ORDER BY seq")?
                .query_map([], submission_row)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let solves = db
                .prepare_cached("SELECT * FROM solves ORDER BY seq")?
                .query_map([], solve_row)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok((answers, solves))
        })
        .await
    }

    /// Everybody who answered a question rightly, best first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn best_people(&self) -> Result<Vec<BestPerson>, StoreError> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT users.*, best.* FROM users JOIN (
                     SELECT user, count(DISTINCT challenge) AS n_challenges,
                            count(DISTINCT challenge || ' ' || question) AS n_questions,
                            max(submitted_at) AS last_at
                     FROM submissions WHERE is_correct AND user IS NOT NULL GROUP BY user
                 ) AS best ON best.user = users.id
                 ORDER BY n_questions DESC, n_challenges DESC, last_at, users.id",
            )?
            .query_map([], |row| {
                Ok(BestPerson {
                    account: accounts::account_row(row)?,
                    n_challenges: row.get("n_challenges")?,
                    n_questions: row.get("n_questions")?,
                    last_at: row::time(row, "last_at")?,
                })
            })?
            .collect()
        })
        .await
    }

    /// What each team tried on each challenge between two times.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tries(&self, from: Timestamp, until: Timestamp) -> Result<Vec<Tries>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT team, challenge, count(*) AS n, sum(is_correct) AS n_correct,
                        max(solve_time_secs) AS solve_time_secs
                 FROM submissions WHERE submitted_at >= ?1 AND submitted_at < ?2
                 GROUP BY team, challenge",
            )?
            .query_map(params![from.as_millis(), until.as_millis()], |row| {
                Ok(Tries {
                    team: row::text(row, "team")?,
                    challenge: row::text(row, "challenge")?,
                    n: row.get("n")?,
                    n_correct: row.get("n_correct")?,
                    solve_time_secs: row.get("solve_time_secs")?,
                })
            })?
            .collect()
        })
        .await
    }

    /// How many attempts each team made, right and wrong, after the row `last`; and the number of the
    /// newest row.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn attempts_after(
        &self,
        last: i64,
    ) -> Result<(i64, BTreeMap<TeamId, u32>), StoreError> {
        self.read(move |db| {
            let (mut newest, mut counts) = (last, BTreeMap::new());
            let mut select = db.prepare_cached(
                "SELECT team, count(*) AS n, max(seq) AS newest FROM submissions WHERE seq > ?1
                 GROUP BY team",
            )?;
            let mut rows = select.query([last])?;
            while let Some(row) = rows.next()? {
                newest = newest.max(row.get("newest")?);
                counts.insert(row::text(row, "team")?, row.get("n")?);
            }
            Ok((newest, counts))
        })
        .await
    }

    /// Every solve after the row `last`, oldest first; and the number of the newest row.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn solves_after(&self, last: i64) -> Result<(i64, Vec<Solve>), StoreError> {
        self.read(move |db| {
            let (mut newest, mut solves) = (last, Vec::new());
            let mut select =
                db.prepare_cached("SELECT * FROM solves WHERE seq > ?1 ORDER BY seq")?;
            let mut rows = select.query([last])?;
            while let Some(row) = rows.next()? {
                newest = row.get("seq")?;
                solves.push(solve_row(row)?);
            }
            Ok((newest, solves))
        })
        .await
    }

    /// Wrong attempts of a team on a challenge, submitted or only checked, by question.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn wrong_attempts(
        &self,
        team: TeamId,
        challenge: &ChallengeId,
    ) -> Result<BTreeMap<QuestionId, u32>, StoreError> {
        let challenge = challenge.clone();
        self.read(move |db| wrong(db, team, &challenge)).await
    }

    /// Gives a team its wrong attempts at a question back, and keeps that it did. What it sent stays.
    /// Gives `reset` with how many there were.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn reset_attempts(&self, reset: AttemptReset) -> Result<AttemptReset, StoreError> {
        self.write(move |db| {
            let (team, challenge) = (reset.team.to_string(), reset.challenge.as_str());
            let question = reset.question.as_str();
            let n_wrong: Option<u32> = db
                .prepare_cached(
                    "DELETE FROM wrong_attempts WHERE team = ?1 AND challenge = ?2 AND question = ?3
                     RETURNING n",
                )?
                .query_row([team.as_str(), challenge, question], |row| row.get(0))
                .optional()?;
            let n_wrong = n_wrong.unwrap_or(0);
            db.prepare_cached(
                "INSERT INTO attempt_resets (team, challenge, question, n_wrong, reset_by, reset_at,
                        reason)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                team,
                challenge,
                question,
                n_wrong,
                reset.by,
                reset.at.as_millis(),
                reset.reason
            ])?;
            Ok(AttemptReset { n_wrong, ..reset })
        })
        .await
    }

    /// Questions of a challenge that a team has.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn solved(
        &self,
        team: TeamId,
        challenge: &ChallengeId,
    ) -> Result<BTreeSet<QuestionId>, StoreError> {
        let challenge = challenge.clone();
        self.read(move |db| solved(db, team, &challenge)).await
    }
}

fn wrong(
    db: &Connection,
    team: TeamId,
    challenge: &ChallengeId,
) -> rusqlite::Result<BTreeMap<QuestionId, u32>> {
    db.prepare_cached("SELECT question, n FROM wrong_attempts WHERE team = ?1 AND challenge = ?2")?
        .query_map(params![team.to_string(), challenge.as_str()], |row| {
            Ok((row::text(row, "question")?, row.get("n")?))
        })?
        .collect()
}

fn solved(
    db: &Connection,
    team: TeamId,
    challenge: &ChallengeId,
) -> rusqlite::Result<BTreeSet<QuestionId>> {
    db.prepare_cached("SELECT question FROM solves WHERE team = ?1 AND challenge = ?2")?
        .query_map(params![team.to_string(), challenge.as_str()], |row| row::text(row, "question"))?
        .collect()
}

fn count_wrong(
    db: &Connection,
    team: TeamId,
    challenge: &ChallengeId,
    question: &QuestionId,
    progress: &mut Progress,
) -> rusqlite::Result<()> {
    let n: u32 = db
        .prepare_cached(
            "INSERT INTO wrong_attempts (team, challenge, question, n) VALUES (?1, ?2, ?3, 1)
             ON CONFLICT (team, challenge, question) DO UPDATE SET n = n + 1
             RETURNING n",
        )?
        .query_row(params![team.to_string(), challenge.as_str(), question.as_str()], |row| {
            row.get(0)
        })?;
    progress.wrong.insert(question.clone(), n);
    Ok(())
}

fn insert_submission(db: &Connection, submission: &Submission) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO submissions (id, team, challenge, instance, question, claimed, is_correct,
                submitted_at, solve_time_secs, revision, user)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        submission.id.to_string(),
        submission.team.to_string(),
        submission.challenge.as_str(),
        submission.instance.map(|id| id.to_string()),
        submission.question.as_str(),
        submission.claimed,
        submission.is_correct,
        submission.submitted_at.as_millis(),
        submission.solve_time_secs,
        submission.revision.to_string(),
        submission.user.map(|user| user.to_string()),
    ])?;
    Ok(())
}

fn insert_solve(db: &Connection, submission: &Submission) -> rusqlite::Result<Solve> {
    db.prepare_cached(
        "INSERT INTO solves (team, challenge, question, solved_at, rank)
         VALUES (?1, ?2, ?3, ?4,
                 (SELECT count(*) + 1 FROM solves WHERE challenge = ?2 AND question = ?3))
         RETURNING *",
    )?
    .query_row(
        params![
            submission.team.to_string(),
            submission.challenge.as_str(),
            submission.question.as_str(),
            submission.submitted_at.as_millis(),
        ],
        solve_row,
    )
}

pub(super) fn submission_row(row: &Row<'_>) -> rusqlite::Result<Submission> {
    Ok(Submission {
        id: row::text(row, "id")?,
        team: row::text(row, "team")?,
        user: row::opt_text(row, "user")?,
        challenge: row::text(row, "challenge")?,
        instance: row::opt_text(row, "instance")?,
        question: row::text(row, "question")?,
        claimed: row.get("claimed")?,
        is_correct: row.get("is_correct")?,
        submitted_at: row::time(row, "submitted_at")?,
        solve_time_secs: row.get("solve_time_secs")?,
        revision: row::text(row, "revision")?,
    })
}

fn solve_row(row: &Row<'_>) -> rusqlite::Result<Solve> {
    Ok(Solve {
        team: row::text(row, "team")?,
        challenge: row::text(row, "challenge")?,
        question: row::text(row, "question")?,
        solved_at: row::time(row, "solved_at")?,
        rank: row.get("rank")?,
    })
}
