//! What came of running challenges' own exploits: the last time for each version and node.

use rusqlite::{Row, params};

use super::{Store, StoreError, row};
use crate::model::{ProofOutcome, ProofRecord};

impl Store {
    /// Every proof, by challenge, version and node.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn proofs(&self) -> Result<Vec<ProofRecord>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM proofs ORDER BY challenge, tree, node")?
                .query_map([], proof_row)?
                .collect()
        })
        .await
    }

    /// Keeps a proof, in place of an earlier one of that version on that node.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn set_proof(&self, proof: ProofRecord) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO proofs
                 (challenge, tree, node, revision, outcome, message, took_millis, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                proof.challenge.as_str(),
                proof.tree.to_string(),
                proof.node.as_str(),
                proof.revision.to_string(),
                proof.outcome.as_str(),
                proof.message,
                i64::try_from(proof.took_millis).unwrap_or(i64::MAX),
                proof.at.as_millis(),
            ])?;
            Ok(())
        })
        .await
    }
}

fn proof_row(row: &Row<'_>) -> rusqlite::Result<ProofRecord> {
    let took_millis: i64 = row.get("took_millis")?;
    Ok(ProofRecord {
        challenge: row::text(row, "challenge")?,
        tree: row::text(row, "tree")?,
        node: row::text(row, "node")?,
        revision: row::text(row, "revision")?,
        outcome: row::word(row, "outcome", ProofOutcome::from_word)?,
        message: row.get("message")?,
        took_millis: took_millis.unsigned_abs(),
        at: row::time(row, "at")?,
    })
}
