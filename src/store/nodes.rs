//! Nodes that joined, invitations, heartbeats, and what each node carries.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};
use thiserror::Error;

use super::{Store, StoreError, row};
use crate::model::{
    Duty, Node, NodeEvent, NodeEventKind, NodeId, NodeInvite, NodeReport, NodeSample, TeamId,
    Timestamp,
};

/// Heartbeats kept of each node (`contract/http-api.md` §4.1).
const MAX_SAMPLES: u32 = 200;
/// Events kept of each node.
const MAX_EVENTS: u32 = 1_000;

/// Why somebody may not join.
#[derive(Debug, Error)]
pub enum JoinError {
    /// Nobody made such an invitation.
    #[error("Invalid invite or admin credentials")]
    Unknown,
    /// Another node used it.
    #[error("Invite has already been used")]
    Consumed,
    /// It is too late.
    #[error("Invite has expired")]
    Expired,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for JoinError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Who vouches for a node that joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voucher {
    /// An administrator.
    Admin,
    /// The invitation with this SHA-256.
    Invite([u8; 32]),
}

/// A heartbeat, as it is kept.
#[derive(Debug, Clone)]
pub struct Beat {
    /// Instances that the node takes on.
    pub capacity: u32,
    /// Drawn at each start of the node.
    pub life: String,
    /// Counts up within a life; 0 when the node does not count.
    pub beat: u64,
    /// How it stands.
    pub report: NodeReport,
    /// From measuring to receiving.
    pub latency_ms: f64,
}

/// What a heartbeat was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beaten {
    /// The newest.
    Fresh,
    /// The first after the node was lost, for so many milliseconds.
    Recovered(i64),
    /// Sent before another one that we have: it says nothing.
    Stale,
    /// There is no such node.
    Unknown,
}

/// What changes of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeChange {
    /// What people call it.
    pub name: Option<String>,
    /// In place of all that it has.
    pub labels: Option<BTreeMap<String, String>>,
    /// Whether it gets instances.
    pub duty: Option<Duty>,
}

/// What a node carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Live instances, canaries not.
    pub n_instances: u32,
    /// The limits of their services together.
    pub memory_bytes: u64,
    /// Likewise, in thousandths of a processor.
    pub cpu_millis: u64,
    /// How many of each team.
    pub by_team: BTreeMap<TeamId, u32>,
}

impl Store {
    /// Keeps an invitation.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn invite_node(
        &self,
        id: &str,
        token_hash: [u8; 32],
        created_at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |db| {
            db.prepare_cached(
                "INSERT INTO node_invites (id, token_hash, created_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                id,
                token_hash,
                created_at.as_millis(),
                expires_at.as_millis()
            ])?;
            Ok(())
        })
        .await
    }

    /// Every invitation, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn node_invites(&self) -> Result<Vec<NodeInvite>, StoreError> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT id, created_at, expires_at, consumed_by FROM node_invites
                 ORDER BY created_at DESC, id",
            )?
            .query_map([], |row| {
                Ok(NodeInvite {
                    id: row.get("id")?,
                    created_at: row::time(row, "created_at")?,
                    expires_at: row::time(row, "expires_at")?,
                    consumed_by: row::opt_text(row, "consumed_by")?,
                })
            })?
            .collect()
        })
        .await
    }

    /// Takes an invitation back; whether there was one.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn revoke_node_invite(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |db| {
            Ok(db.prepare_cached("DELETE FROM node_invites WHERE id = ?1")?.execute([id])? > 0)
        })
        .await
    }

    /// Takes a node on, or once more under another token, and uses its invitation up in the same step:
    /// of many that come with one invitation, one wins. Gives the node as it stands then.
    ///
    /// # Errors
    /// As [`JoinError`]; nothing is stored then.
    pub async fn join_node(
        &self,
        voucher: Voucher,
        node: Node,
        token: String,
    ) -> Result<Node, JoinError> {
        self.write(move |db| {
            if let Voucher::Invite(hash) = voucher {
                consume(db, hash, &node)?;
            }
            db.prepare_cached(
                "INSERT INTO nodes (id, url, name, capacity, labels, duty, token, registered_at,
                        last_beat, life, beat, is_lost, report, tls_pin)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, '', 0, 0, ?10, ?11)
                 ON CONFLICT (id) DO UPDATE SET url = ?2, name = ?3, capacity = ?4, labels = ?5,
                        token = ?7, last_beat = ?9, life = '', beat = 0, is_lost = 0,
                        tls_pin = ?11",
            )?
            .execute(params![
                node.id.as_str(),
                node.url,
                node.name,
                node.capacity,
                row::to_json(&node.labels)?,
                node.duty.as_str(),
                token,
                node.registered_at.as_millis(),
                node.last_beat.as_millis(),
                row::to_json(&node.report)?,
                node.tls_pin,
            ])?;
            let detail = json!({"url": node.url});
            note(db, &node.id, NodeEventKind::Registered, &detail, node.last_beat)?;
            one(db, &node.id)?.ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
        })
        .await
    }

    /// Every node that joined, by id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM nodes ORDER BY id")?.query_map([], node_row)?.collect()
        })
        .await
    }

    /// One node.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn node(&self, id: &NodeId) -> Result<Option<Node>, StoreError> {
        let id = id.clone();
        self.read(move |db| one(db, &id)).await
    }

    /// Every node's token, by id. Secret.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn node_tokens(&self) -> Result<BTreeMap<NodeId, String>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT id, token FROM nodes")?
                .query_map([], |row| Ok((row::text(row, "id")?, row.get("token")?)))?
                .collect()
        })
        .await
    }

    /// Takes a heartbeat in. One that was sent before another one we have changes nothing.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn beat_node(
        &self,
        id: &NodeId,
        beat: Beat,
        now: Timestamp,
    ) -> Result<Beaten, StoreError> {
        let id = id.clone();
        self.write(move |db| {
            let before = db
                .prepare_cached("SELECT life, beat, is_lost, last_beat FROM nodes WHERE id = ?1")?
                .query_row([id.as_str()], |row| {
                    let life: String = row.get(0)?;
                    let n: i64 = row.get(1)?;
                    let is_lost: bool = row.get(2)?;
                    Ok((life, n, is_lost, row::time(row, "last_beat")?))
                })
                .optional()?;
            let Some((life, last, was_lost, last_beat)) = before else {
                return Ok(Beaten::Unknown);
            };
            let n = i64::try_from(beat.beat).unwrap_or(i64::MAX);
            if n > 0 && life == beat.life && n <= last {
                return Ok(Beaten::Stale);
            }
            db.prepare_cached(
                "UPDATE nodes SET capacity = ?2, life = ?3, beat = ?4, report = ?5, last_beat = ?6,
                        is_lost = 0 WHERE id = ?1",
            )?
            .execute(params![
                id.as_str(),
                beat.capacity,
                beat.life,
                n,
                row::to_json(&beat.report)?,
                now.as_millis(),
            ])?;
            let sample = NodeSample {
                at: now,
                is_healthy: true,
                cpu_percent: beat.report.cpu_percent,
                memory_percent: beat.report.memory_percent,
                disk_percent: beat.report.disk_percent,
                latency_ms: beat.latency_ms,
            };
            keep_sample(db, &id, &sample)?;
            if !was_lost {
                return Ok(Beaten::Fresh);
            }
            let millis = now.millis_since(last_beat);
            let detail = json!({"downtime_seconds": millis / 1000});
            note(db, &id, NodeEventKind::Recovered, &detail, now)?;
            Ok(Beaten::Recovered(millis))
        })
        .await
    }

    /// Marks the nodes that were not heard of since `horizon` as lost, and gives those that were not
    /// marked before.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn lose_nodes(
        &self,
        horizon: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Node>, StoreError> {
        self.write(move |db| {
            let silent: Vec<Node> = db
                .prepare_cached(
                    "SELECT * FROM nodes WHERE last_beat < ?1 AND is_lost = 0 ORDER BY id",
                )?
                .query_map([horizon.as_millis()], node_row)?
                .collect::<Result<_, _>>()?;
            for node in &silent {
                db.prepare_cached("UPDATE nodes SET is_lost = 1 WHERE id = ?1")?
                    .execute([node.id.as_str()])?;
                keep_sample(db, &node.id, &NodeSample::missed(now))?;
                let secs = now.millis_since(node.last_beat) as f64 / 1000.0;
                let detail = json!({
                    "url": node.url,
                    "error_message": format!("No heartbeat for {secs:.1}s"),
                });
                note(db, &node.id, NodeEventKind::Unhealthy, &detail, now)?;
            }
            Ok(silent)
        })
        .await
    }

    /// Changes a node; as it stands then, or `None` when there is none.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn change_node(
        &self,
        id: &NodeId,
        change: NodeChange,
        now: Timestamp,
    ) -> Result<Option<Node>, StoreError> {
        let id = id.clone();
        self.write(move |db| {
            let Some(before) = one(db, &id)? else { return Ok(None) };
            let mut after = before.clone();
            let NodeChange { name, labels, duty } = change;
            after.name = name.unwrap_or(after.name);
            after.labels = labels.unwrap_or(after.labels);
            after.duty = duty.unwrap_or(after.duty);
            if after == before {
                return Ok(Some(after));
            }
            db.prepare_cached("UPDATE nodes SET name = ?2, labels = ?3, duty = ?4 WHERE id = ?1")?
                .execute(params![
                    id.as_str(),
                    after.name,
                    row::to_json(&after.labels)?,
                    after.duty.as_str()
                ])?;
            let detail = json!({
                "display_name": after.name,
                "labels_changed": changed_keys(&before.labels, &after.labels),
                "duty": after.duty.as_str(),
            });
            note(db, &id, NodeEventKind::Updated, &detail, now)?;
            Ok(Some(after))
        })
        .await
    }

    /// Forgets a node; whether there was one. Rows of its instances stay.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn remove_node(&self, id: &NodeId, now: Timestamp) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |db| {
            let n = db.prepare_cached("DELETE FROM nodes WHERE id = ?1")?.execute([id.as_str()])?;
            db.prepare_cached("DELETE FROM node_samples WHERE node = ?1")?
                .execute([id.as_str()])?;
            if n > 0 {
                note(db, &id, NodeEventKind::Removed, &json!({}), now)?;
            }
            Ok(n > 0)
        })
        .await
    }

    /// The last heartbeats of a node, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn node_samples(&self, id: &NodeId) -> Result<Vec<NodeSample>, StoreError> {
        let id = id.to_string();
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM node_samples WHERE node = ?1 ORDER BY seq")?
                .query_map([id], sample_row)?
                .collect()
        })
        .await
    }

    /// The last things that happened to a node, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn node_events(&self, id: &NodeId, limit: u32) -> Result<Vec<NodeEvent>, StoreError> {
        let id = id.to_string();
        self.read(move |db| {
            db.prepare_cached(
                "SELECT * FROM node_events WHERE node = ?1 ORDER BY seq DESC LIMIT ?2",
            )?
            .query_map(params![id, limit], event_row)?
            .collect()
        })
        .await
    }

    /// What every node carries.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn usage(&self) -> Result<BTreeMap<NodeId, Usage>, StoreError> {
        self.read(|db| {
            let mut usage: BTreeMap<NodeId, Usage> = BTreeMap::new();
            let mut select = db.prepare_cached(
                "SELECT node, team, count(*) AS n, sum(memory_bytes) AS memory,
                        sum(cpu_millis) AS cpu
                 FROM instances INDEXED BY instances_not_stopped
                 WHERE phase <> 'stopped' AND phase <> 'failed' AND team <> ?1
                 GROUP BY node, team",
            )?;
            let mut rows = select.query([TeamId::CANARY.to_string()])?;
            while let Some(row) = rows.next()? {
                let node: NodeId = row::text(row, "node")?;
                let (n, memory, cpu): (u32, i64, i64) =
                    (row.get("n")?, row.get("memory")?, row.get("cpu")?);
                let of = usage.entry(node).or_default();
                of.n_instances += n;
                of.memory_bytes += memory.max(0).unsigned_abs();
                of.cpu_millis += cpu.max(0).unsigned_abs();
                of.by_team.insert(row::text(row, "team")?, n);
            }
            Ok(usage)
        })
        .await
    }
}

/// Uses an invitation up for `node`.
fn consume(db: &Connection, hash: [u8; 32], node: &Node) -> Result<(), JoinError> {
    let invite = db
        .prepare_cached(
            "SELECT id, expires_at, consumed_by FROM node_invites WHERE token_hash = ?1",
        )?
        .query_row([hash], |row| {
            let id: String = row.get("id")?;
            let consumed: Option<String> = row.get("consumed_by")?;
            Ok((id, row::time(row, "expires_at")?, consumed.is_some()))
        })
        .optional()?;
    match invite {
        None => Err(JoinError::Unknown),
        Some((_, _, true)) => Err(JoinError::Consumed),
        Some((_, expires_at, _)) if expires_at <= node.last_beat => Err(JoinError::Expired),
        Some((id, _, _)) => {
            db.prepare_cached("UPDATE node_invites SET consumed_by = ?2 WHERE id = ?1")?
                .execute(params![id, node.id.as_str()])?;
            Ok(())
        }
    }
}

fn keep_sample(db: &Connection, id: &NodeId, sample: &NodeSample) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO node_samples (node, at, is_healthy, cpu_percent, memory_percent, disk_percent,
                latency_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        id.as_str(),
        sample.at.as_millis(),
        sample.is_healthy,
        sample.cpu_percent,
        sample.memory_percent,
        sample.disk_percent,
        sample.latency_ms,
    ])?;
    db.prepare_cached(
        "DELETE FROM node_samples WHERE node = ?1 AND seq <= (SELECT seq FROM node_samples
            WHERE node = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![id.as_str(), MAX_SAMPLES])?;
    Ok(())
}

fn note(
    db: &Connection,
    id: &NodeId,
    kind: NodeEventKind,
    detail: &Value,
    at: Timestamp,
) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO node_events (at, node, kind, detail) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![at.as_millis(), id.as_str(), kind.as_str(), row::to_json(detail)?])?;
    db.prepare_cached(
        "DELETE FROM node_events WHERE node = ?1 AND seq <= (SELECT seq FROM node_events
            WHERE node = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![id.as_str(), MAX_EVENTS])?;
    Ok(())
}

fn changed_keys(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut keys: Vec<_> = before.keys().chain(after.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| before.get(key) != after.get(key));
    keys
}

fn one(db: &Connection, id: &NodeId) -> rusqlite::Result<Option<Node>> {
    db.prepare_cached("SELECT * FROM nodes WHERE id = ?1")?
        .query_row([id.as_str()], node_row)
        .optional()
}

fn node_row(row: &Row<'_>) -> rusqlite::Result<Node> {
    Ok(Node {
        id: row::text(row, "id")?,
        url: row.get("url")?,
        name: row.get("name")?,
        capacity: row.get("capacity")?,
        labels: row::json(row, "labels")?,
        duty: row::word(row, "duty", Duty::from_word)?,
        tls_pin: row.get("tls_pin")?,
        registered_at: row::time(row, "registered_at")?,
        last_beat: row::time(row, "last_beat")?,
        report: row::json(row, "report")?,
    })
}

fn sample_row(row: &Row<'_>) -> rusqlite::Result<NodeSample> {
    Ok(NodeSample {
        at: row::time(row, "at")?,
        is_healthy: row.get("is_healthy")?,
        cpu_percent: row.get("cpu_percent")?,
        memory_percent: row.get("memory_percent")?,
        disk_percent: row.get("disk_percent")?,
        latency_ms: row.get("latency_ms")?,
    })
}

fn event_row(row: &Row<'_>) -> rusqlite::Result<NodeEvent> {
    Ok(NodeEvent {
        seq: row.get("seq")?,
        at: row::time(row, "at")?,
        node: row::text(row, "node")?,
        kind: row::word(row, "kind", NodeEventKind::from_word)?,
        detail: row::json(row, "detail")?,
    })
}
