//! What happened in contests, in order.

use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::{Store, StoreError, row};
use crate::model::{Activity, Actor, ActorKind, TeamId, Timestamp};

/// Rows above which the oldest go.
const MAX_ROWS: i64 = 1_000_000;

/// Which of them are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActivityFilter {
    /// Of these teams, or by this actor; `None` is all.
    pub of: Option<(Vec<TeamId>, String)>,
    /// Only after this number; for who follows along.
    pub after: Option<i64>,
    /// By this actor.
    pub actor: Option<String>,
    /// About this team.
    pub team: Option<String>,
    /// About this challenge.
    pub challenge: Option<String>,
    /// Of this kind.
    pub event: Option<String>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Not after this time.
    pub until: Option<Timestamp>,
    /// At most so many, and how many are skipped; the newest first, unless `after` is set.
    pub page: (usize, usize),
}

/// One row, with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityRow {
    /// Grows with time.
    pub seq: i64,
    /// What happened.
    pub activity: Activity,
}

impl Store {
    /// Adds something that happened, without waiting; `then` is told its number on the writer's
    /// thread. What is added earlier has the smaller number.
    pub fn add_activity(
        &self,
        activity: Activity,
        then: impl FnOnce(Result<i64, StoreError>) + Send + 'static,
    ) {
        self.inner.writer.post(move |db| Ok(insert(db, &activity)?), then);
    }

    /// What happened, and how much of it there is before paging.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn activities(
        &self,
        filter: ActivityFilter,
    ) -> Result<(Vec<ActivityRow>, usize), StoreError> {
        // Nobody waits when something is added: so whoever asks waits for what was added before.
        self.write(|_| Ok::<(), StoreError>(())).await?;
        self.read(move |db| {
            let (teams, actor) = filter.of.clone().unzip();
            let teams: Option<Vec<String>> =
                teams.map(|teams| teams.iter().map(ToString::to_string).collect());
            let teams = teams.as_ref().map(row::to_json).transpose()?;
            let order = if filter.after.is_some() { "seq" } else { "seq DESC" };
            let wanted = "FROM activities WHERE (?1 IS NULL OR actor = ?2
                    OR team IN (SELECT value FROM json_each(?1)))
                 AND (?3 IS NULL OR seq > ?3) AND (?4 IS NULL OR at >= ?4)
                 AND (?5 IS NULL OR at <= ?5) AND (?6 IS NULL OR actor = ?6)
                 AND (?7 IS NULL OR team = ?7) AND (?8 IS NULL OR challenge = ?8)
                 AND (?9 IS NULL OR event = ?9)";
            let since = filter.since.map(Timestamp::as_millis);
            let until = filter.until.map(Timestamp::as_millis);
            let ActivityFilter { after, actor: by, team, challenge, event, .. } = &filter;
            let total: i64 = db.prepare_cached(&format!("SELECT count(*) {wanted}"))?.query_row(
                params![teams, actor, after, since, until, by, team, challenge, event],
                |row| row.get(0),
            )?;
            let bound = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            let (limit, offset) = (bound(filter.page.0), bound(filter.page.1));
            let rows = db
                .prepare_cached(&format!(
                    "SELECT * {wanted} ORDER BY {order} LIMIT ?10 OFFSET ?11"
                ))?
                .query_map(
                    params![
                        teams, actor, after, since, until, by, team, challenge, event, limit,
                        offset
                    ],
                    activity_row,
                )?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok((rows, usize::try_from(total).unwrap_or(usize::MAX)))
        })
        .await
    }
}

fn insert(db: &Connection, activity: &Activity) -> rusqlite::Result<i64> {
    let happening = serde_json::to_value(&activity.happening).unwrap_or(Value::Null);
    let seq: i64 = db
        .prepare_cached(
            "INSERT INTO activities (at, event, competition, team, challenge, actor, actor_name,
                    actor_kind, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) RETURNING seq",
        )?
        .query_row(
            params![
                activity.at.as_millis(),
                happening["event"].as_str().unwrap_or_default(),
                activity.competition.as_ref().map(|id| id.as_str()),
                activity.team.map(|team| team.to_string()),
                activity.challenge.as_ref().map(|id| id.as_str()),
                activity.actor.id,
                activity.actor.name,
                activity.actor.kind.as_str(),
                happening["detail"].to_string(),
            ],
            |row| row.get(0),
        )?;
    if seq % 1000 == 0 {
        db.prepare_cached("DELETE FROM activities WHERE seq <= ?1")?.execute([seq - MAX_ROWS])?;
    }
    Ok(seq)
}

pub(super) fn activity_row(row: &Row<'_>) -> rusqlite::Result<ActivityRow> {
    let (event, detail): (String, Value) = (row.get("event")?, row::json(row, "detail")?);
    let happening = serde_json::from_value(serde_json::json!({"event": event, "detail": detail}))
        .map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(0, kind, Box::new(error))
    })?;
    Ok(ActivityRow {
        seq: row.get("seq")?,
        activity: Activity {
            at: row::time(row, "at")?,
            happening,
            competition: row::opt_text(row, "competition")?,
            team: row::opt_text(row, "team")?,
            challenge: row::opt_text(row, "challenge")?,
            actor: Actor {
                id: row.get("actor")?,
                name: row.get("actor_name")?,
                kind: row::word(row, "actor_kind", ActorKind::from_word)?,
            },
        },
    })
}
