//! What evidence is worked out from beside answers and instances, and what organizers made of it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Store, StoreError, row};
use crate::contest::fairness::SharedProfile;
use crate::model::{ChallengeId, InstanceId, TeamId, Timestamp, UserId};

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

/// Most addresses that are kept of one profile.
const MAX_ADDRESSES: usize = 16;

fn shared_profile(row: &Row<'_>) -> rusqlite::Result<SharedProfile> {
    let addresses: String = row.get("addresses")?;
    Ok(SharedProfile {
        instance: row::text(row, "instance")?,
        holder: row::text(row, "holder")?,
        addresses: serde_json::from_str(&addresses).unwrap_or_default(),
        first_at: row::time(row, "first_at")?,
        last_at: row::time(row, "last_at")?,
    })
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

    /// Notes that a profile of one person is connected from these addresses at once.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn note_shared_profile(
        &self,
        instance: InstanceId,
        holder: UserId,
        addresses: BTreeSet<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            let key = params![instance.to_string(), holder.to_string()];
            let known = db
                .prepare_cached(
                    "SELECT * FROM shared_profiles WHERE instance = ?1 AND holder = ?2",
                )?
                .query_row(key, shared_profile)
                .optional()?;
            let (mut all, first_at) = known
                .map_or_else(|| (BTreeSet::new(), now), |known| (known.addresses, known.first_at));
            for address in addresses {
                if all.len() < MAX_ADDRESSES {
                    all.insert(address);
                }
            }
            db.prepare_cached(
                "INSERT OR REPLACE INTO shared_profiles
                 (instance, holder, addresses, first_at, last_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                instance.to_string(),
                holder.to_string(),
                serde_json::to_string(&all).unwrap_or_default(),
                first_at.as_millis(),
                now.as_millis(),
            ])?;
            Ok(())
        })
        .await
    }

    /// Profiles of one person that were connected from several addresses at once.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn shared_profiles(&self) -> Result<Vec<SharedProfile>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM shared_profiles ORDER BY first_at, instance, holder")?
                .query_map([], shared_profile)?
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
