//! What evidence is worked out from beside answers and instances, and what organizers made of it.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{Store, StoreError, row};
use crate::model::{ChallengeId, TeamId, Timestamp};

/// What an organizer made of a piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Their verdict.
    pub verdict: ReviewVerdict,
    /// Why.
    pub note: String,
    /// Who.
    pub reviewed_by: String,
    /// When.
    pub reviewed_at: Timestamp,
}

/// Whether a piece of evidence is held against a team. Nothing follows from it by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewVerdict {
    /// There is an innocent explanation.
    Dismissed,
    /// It is what it looks like.
    Confirmed,
}

impl ReviewVerdict {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dismissed => "dismissed",
            Self::Confirmed => "confirmed",
        }
    }

    /// The verdict that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Dismissed, Self::Confirmed].into_iter().find(|it| it.as_str() == word)
    }
}

impl Store {
    /// Notes that `team` got a file of `challenge`, without waiting; the first time counts.
    pub fn note_file(
        &self,
        team: TeamId,
        challenge: ChallengeId,
        now: Timestamp,
        then: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        self.inner.writer.post(
            move |db| {
                db.prepare_cached(
                    "INSERT OR IGNORE INTO got_files (team, challenge, first_at)
                     VALUES (?1, ?2, ?3)",
                )?
                .execute(params![
                    team.to_string(),
                    challenge.as_str(),
                    now.as_millis()
                ])?;
                Ok(())
            },
            then,
        );
    }

    /// Which teams got a file of which challenges, and when first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn got_files(
        &self,
    ) -> Result<BTreeMap<(TeamId, ChallengeId), Timestamp>, StoreError> {
        // Nobody waits when one is noted: so whoever asks waits for what was noted before.
        self.write(|_| Ok::<(), StoreError>(())).await?;
        self.read(|db| {
            db.prepare_cached("SELECT * FROM got_files")?
                .query_map([], |row| {
                    let key = (row::text(row, "team")?, row::text(row, "challenge")?);
                    Ok((key, row::time(row, "first_at")?))
                })?
                .collect()
        })
        .await
    }

    /// Where answers came from, by team and time.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn addresses_of_answers(
        &self,
    ) -> Result<BTreeMap<(TeamId, Timestamp), String>, StoreError> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT team, at, coalesce(json_extract(detail, '$.ip'), '') AS ip FROM activities
                 WHERE event IN ('flag_correct', 'flag_wrong') AND team IS NOT NULL",
            )?
            .query_map([], |row| {
                Ok(((row::text(row, "team")?, row::time(row, "at")?), row.get("ip")?))
            })?
            .collect()
        })
        .await
    }

    /// What organizers made of evidence, by its name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn reviews(&self) -> Result<BTreeMap<String, Review>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM reviews")?
                .query_map([], |row| {
                    let review = Review {
                        verdict: row::word(row, "verdict", ReviewVerdict::from_word)?,
                        note: row.get("note")?,
                        reviewed_by: row.get("reviewed_by")?,
                        reviewed_at: row::time(row, "reviewed_at")?,
                    };
                    Ok((row.get("evidence")?, review))
                })?
                .collect()
        })
        .await
    }

    /// Notes a verdict in place of an earlier one; `None` takes it back.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn review(&self, evidence: String, review: Option<Review>) -> Result<(), StoreError> {
        self.write(move |db| {
            match review {
                Some(review) => db
                    .prepare_cached(
                        "INSERT OR REPLACE INTO reviews
                         (evidence, verdict, note, reviewed_by, reviewed_at)
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![
                        evidence,
                        review.verdict.as_str(),
                        review.note,
                        review.reviewed_by,
                        review.reviewed_at.as_millis(),
                    ])?,
                None => db
                    .prepare_cached("DELETE FROM reviews WHERE evidence = ?1")?
                    .execute([evidence])?,
            };
            Ok(())
        })
        .await
    }
}
