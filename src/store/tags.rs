//! What was ever seen of the tags of the remote, and what people decided about them.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, row};
use crate::model::challenge::word_enum;
use crate::model::{ObjectId, TagName, Timestamp};
use crate::release::tag::{Sighting, TagRecord};

word_enum!(
    /// What a person decided about one object of a tag.
    DecisionKind {
        /// It may go live.
        Approve = "approve",
        /// It moved, and that is fine.
        AcceptMove = "accept_move",
        /// It never goes live again, and nothing before it does.
        Quarantine = "quarantine",
    }
);

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagDecision {
    /// The tag.
    pub tag: TagName,
    /// The object that it named then.
    pub object: ObjectId,
    /// What was decided.
    pub kind: DecisionKind,
    /// By whom.
    pub who: String,
    /// Why.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// Notes what the tags of the remote name now: `present` is complete, so what is not in it is
    /// gone. Gives every record, by name.
    ///
    /// Writes nothing when nothing changed.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn observe_tags(
        &self,
        present: BTreeMap<TagName, ObjectId>,
        now: Timestamp,
    ) -> Result<Vec<TagRecord>, StoreError> {
        let before = self.tag_records().await?;
        let is_same = before.iter().all(|it| it.current.as_ref() == present.get(&it.name))
            && present.keys().all(|name| before.iter().any(|it| it.name == *name));
        if is_same {
            return Ok(before);
        }
        self.write(move |db| {
            db.execute("UPDATE tags SET object = NULL", [])?;
            let mut seen = db.prepare_cached(
                "INSERT INTO tag_sightings (tag, object, first_seen) VALUES (?1, ?2, ?3)
                 ON CONFLICT (tag, object) DO NOTHING",
            )?;
            let mut current = db.prepare_cached(
                "INSERT INTO tags (tag, object) VALUES (?1, ?2)
                 ON CONFLICT (tag) DO UPDATE SET object = excluded.object",
            )?;
            for (name, object) in &present {
                let object = object.to_string();
                seen.execute(params![name.as_str(), object, now.as_millis()])?;
                current.execute(params![name.as_str(), object])?;
            }
            Ok(records(db)?)
        })
        .await
    }

    /// Everything that was ever seen of the tags, by name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tag_records(&self) -> Result<Vec<TagRecord>, StoreError> {
        self.read(records).await
    }

    /// Notes a decision, in place of an earlier one of that kind about that object.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn decide_tag(&self, decision: TagDecision) -> Result<(), StoreError> {
        self.write(move |db| {
            insert_decision(db, &decision)?;
            let what = decision.kind.as_str();
            let TagDecision { tag, who, why, at, .. } = &decision;
            super::releases::note_audit(db, *at, who, what, tag.as_str(), why)?;
            Ok(())
        })
        .await
    }

    /// Every decision, by tag.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tag_decisions(&self) -> Result<Vec<TagDecision>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM tag_decisions ORDER BY tag, at, kind")?
                .query_map([], decision_row)?
                .collect()
        })
        .await
    }
}

pub(super) fn insert_decision(db: &Connection, decision: &TagDecision) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO tag_decisions (tag, object, kind, who, why, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        decision.tag.as_str(),
        decision.object.to_string(),
        decision.kind.as_str(),
        decision.who,
        decision.why,
        decision.at.as_millis(),
    ])?;
    Ok(())
}

fn records(db: &Connection) -> rusqlite::Result<Vec<TagRecord>> {
    let mut records: BTreeMap<TagName, TagRecord> = BTreeMap::new();
    let mut select = db.prepare_cached(
        "SELECT s.tag, s.object, s.first_seen, t.object AS current
         FROM tag_sightings s LEFT JOIN tags t ON t.tag = s.tag ORDER BY s.seq",
    )?;
    let mut rows = select.query([])?;
    while let Some(found) = rows.next()? {
        let name: TagName = row::text(found, "tag")?;
        let sighting = Sighting {
            object: row::text(found, "object")?,
            first_seen: row::time(found, "first_seen")?,
        };
        let current = row::opt_text(found, "current")?;
        let new = || TagRecord { name: name.clone(), sightings: Vec::new(), current };
        records.entry(name.clone()).or_insert_with(new).sightings.push(sighting);
    }
    Ok(records.into_values().collect())
}

fn decision_row(found: &Row<'_>) -> rusqlite::Result<TagDecision> {
    Ok(TagDecision {
        tag: row::text(found, "tag")?,
        object: row::text(found, "object")?,
        kind: row::word(found, "kind", DecisionKind::from_word)?,
        who: found.get("who")?,
        why: found.get("why")?,
        at: row::time(found, "at")?,
    })
}
