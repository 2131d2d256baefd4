//! Instances: their rows, limits and host ports. Rows are never deleted: a stopped instance is its
//! own archive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use rusqlite::{Connection, OptionalExtension, Row, params};
use thiserror::Error;
use tokio::time::Instant;

use super::{Store, StoreError, images, ports, records, row, waiting};
use crate::model::{
    ChallengeId, Disposition, Instance, InstanceId, InstancePhase, NodeId, RetryClass, Revision,
    StopReason, TeamId, Timestamp,
};
use crate::release::spec::InstanceSpec;

/// The instances that are not in the archive. Through the partial index in any case: left to
/// itself SQLite reads the whole archive, because that is in the wanted order already.
macro_rules! not_stopped {
    () => {
        "instances INDEXED BY instances_not_stopped WHERE phase <> 'stopped'"
    };
}

/// An instance that somebody asks for.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// The row, with an endpoint of port 0 in `surface` for each port that players reach.
    pub instance: Instance,
    /// What it runs; kept with the row.
    pub spec: InstanceSpec,
    /// How many there may be.
    pub limits: InstanceLimits,
    /// Where host ports come from.
    pub ports: PortRange,
    /// What happens when one of the same team, challenge and competition is starting already.
    pub repeats: Repeats,
}

/// What a second wish for the same means while the first is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repeats {
    /// The same wish again, by a client that saw no answer or a team-mate: the first one is given.
    #[default]
    Same,
    /// Another instance.
    Another,
    /// One is enough, however far it is: it is given, and no second one is made.
    Only,
    /// Another instance, unless the first wish of the same id made it.
    Numbered,
}

/// How many instances there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceLimits {
    /// Of one team, failed ones included.
    pub per_team: u32,
    /// On one node, failed ones and canaries not.
    pub per_node: u32,
}

/// Host ports to choose from, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// Which instances are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstanceFilter {
    /// Only of this team.
    pub team: Option<TeamId>,
    /// Only of this challenge.
    pub challenge: Option<ChallengeId>,
    /// Only on this node.
    pub node: Option<NodeId>,
    /// Only this far.
    pub which: Which,
}

/// How far an instance must be to be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Which {
    /// Something of it may exist in the engine.
    #[default]
    Live,
    /// Those, and those that failed and were not stopped yet.
    LiveOrFailed,
    /// The archive too.
    All,
}

/// How many instances a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InstanceCounts {
    /// Starting or ready.
    pub running: u32,
    /// Everything that is not stopped.
    pub live_or_failed: u32,
}

/// Why an instance was not taken on. Nothing is stored.
#[derive(Debug, Error)]
pub enum InsertError {
    /// The team has as many as it may.
    #[error("the team has {limit} instances, as many as it may: stop one first")]
    TeamLimit {
        /// The limit.
        limit: u32,
    },
    /// The node has as many as it may.
    #[error("the node runs {limit} instances, as many as it may: try again later")]
    NodeLimit {
        /// The limit.
        limit: u32,
    },
    /// Every host port of the range is in use.
    #[error("no host port is free: widen the range of ports or wait for an instance to end")]
    NoFreePort,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl InsertError {
    /// Says whether trying again can help, and with which backoff.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::TeamLimit { .. } => Disposition::Terminal,
            Self::NodeLimit { .. } | Self::NoFreePort => Disposition::Retry(RetryClass::Engine),
            Self::Store(error) => error.disposition(),
        }
    }
}

impl From<rusqlite::Error> for InsertError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Takes an instance on in one step, unless the wish repeats one that is under way: checks the
    /// limits, gives each endpoint of its surface a
    /// host port that no other instance has, and commits the row as queued. Its images count as
    /// used now.
    ///
    /// # Errors
    /// When a limit is reached or no port is free; nothing is stored then.
    pub async fn insert_instance(&self, new: NewInstance) -> Result<Instance, InsertError> {
        let avoid = self.avoided_ports(&[]);
        let offset = random_offset()?;
        self.write(move |db| {
            if let Some(first) = repeated(db, &new.instance, new.repeats)? {
                return Ok(first);
            }
            take_on(db, new, &avoid, offset)
        })
        .await
    }

    /// Writes the row of an instance that another node has: nothing of this machine belongs to it. `None`
    /// when there is a row of that id.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn insert_remote(
        &self,
        instance: Instance,
        spec: InstanceSpec,
    ) -> Result<Option<Instance>, StoreError> {
        self.write(move |db| {
            if one(db, instance.id)?.is_some() {
                return Ok(None);
            }
            insert(db, &instance, &spec)?;
            update(db, &instance)?;
            Ok(Some(instance))
        })
        .await
    }

    /// One instance, over or not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn instance(&self, id: InstanceId) -> Result<Option<Instance>, StoreError> {
        self.read(move |db| one(db, id)).await
    }

    /// What an instance was started from.
    ///
    /// # Errors
    /// When the database does not answer, or the spec is of a shape that we do not know.
    pub async fn instance_spec(&self, id: InstanceId) -> Result<Option<InstanceSpec>, StoreError> {
        self.read(move |db| {
            db.prepare_cached("SELECT spec FROM instances WHERE id = ?1")?
                .query_row([id.to_string()], |row| row::json(row, "spec"))
                .optional()
        })
        .await
    }

    /// The instances meant by `filter`, the one asked for longest ago first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn instances(&self, filter: InstanceFilter) -> Result<Vec<Instance>, StoreError> {
        self.read(move |db| {
            let rows = match filter.which {
                Which::Live => concat!(not_stopped!(), " AND phase <> 'failed'"),
                Which::LiveOrFailed => not_stopped!(),
                Which::All => "instances WHERE TRUE",
            };
            db.prepare_cached(&format!(
                "SELECT * FROM {rows}
                 AND (?1 IS NULL OR team = ?1) AND (?2 IS NULL OR challenge = ?2)
                 AND (?3 IS NULL OR node = ?3) ORDER BY seq"
            ))?
            .query_map(
                params![
                    filter.team.map(|team| team.to_string()),
                    filter.challenge.as_ref().map(ChallengeId::as_str),
                    filter.node.as_ref().map(NodeId::as_str)
                ],
                instance_row,
            )?
            .collect()
        })
        .await
    }

    /// Runs `change` on the row and stores the outcome in one step; two changes of one instance
    /// never interleave. Gives the row as stored and what `change` returned; `None` when there is
    /// no such instance.
    ///
    /// When the instance is over (`Stopped`, `Failed`) its ports are free again, and its record is
    /// written. What an instance
    /// *is* (id, challenge, team, competition, node, revision, tree, time of asking) stays,
    /// whatever `change` does to it. `change` runs on the only thread that writes: it must be
    /// quick and must not wait.
    ///
    /// # Errors
    /// When the database does not take it, or `change` lets an instance that is over live again
    /// (a failed one may only be taken down); the row is as before then.
    pub async fn change_instance<T: Send + 'static>(
        &self,
        id: InstanceId,
        change: impl FnOnce(&mut Instance) -> T + Send + 'static,
    ) -> Result<Option<(Instance, T)>, StoreError> {
        self.write(move |db| {
            let Some(before) = one(db, id)? else { return Ok(None) };
            let mut after = before.clone();
            let value = change(&mut after);
            keep_identity(&before, &mut after);
            if is_revived(before.phase, after.phase) {
                return Err(StoreError::InstanceOver {
                    id,
                    was: before.phase,
                    wanted: after.phase,
                });
            }
            if after != before {
                update(db, &after)?;
                records::note(db, &after)?;
            }
            if before.phase.is_live() && !after.phase.is_live() {
                ports::free(db, id)?;
            }
            Ok(Some((after, value)))
        })
        .await
    }

    /// Gives a live instance another node, as another incarnation without places. `None` when it is over
    /// or not on `from` any more; the row is as before then.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn move_instance(
        &self,
        id: InstanceId,
        from: &NodeId,
        to: &NodeId,
    ) -> Result<Option<Instance>, StoreError> {
        let (from, to) = (from.clone(), to.clone());
        self.write(move |db| {
            let found = one(db, id)?.filter(|row| row.phase.is_live() && row.node == from);
            let Some(mut row) = found.filter(|row| row.phase != InstancePhase::Removing) else {
                return Ok(None);
            };
            row.n_resets += 1;
            row.phase = InstancePhase::Queued;
            row.surface = Vec::new();
            row.last_death = None;
            row.node = to;
            update(db, &row)?;
            db.prepare_cached("UPDATE instances SET node = ?2 WHERE id = ?1")?
                .execute(params![id.to_string(), row.node.as_str()])?;
            Ok(Some(row))
        })
        .await
    }

    /// Forgets an instance that is over, so that its id can be used again: a node keeps no archive, its
    /// platform does. Whether there was one.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn forget_instance(&self, id: InstanceId) -> Result<bool, StoreError> {
        self.write(move |db| {
            let id = id.to_string();
            db.prepare_cached("DELETE FROM given_answers WHERE instance = ?1")?.execute([&id])?;
            let n = db
                .prepare_cached(
                    "DELETE FROM instances WHERE id = ?1 AND phase IN ('stopped', 'failed')",
                )?
                .execute([&id])?;
            if n > 0 {
                records::forget(db, &id)?;
            }
            Ok(n > 0)
        })
        .await
    }

    /// Gives a live instance other host ports in place of `taken`, which strangers use and which
    /// are left alone for the next ten minutes. `None` when it is over or there are not enough
    /// ports; the row is as before then.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn reassign_ports(
        &self,
        id: InstanceId,
        taken: Vec<u16>,
        range: PortRange,
    ) -> Result<Option<Instance>, StoreError> {
        let avoid = self.avoided_ports(&taken);
        let offset = random_offset()?;
        let outcome = self
            .write(move |db| {
                let Some(mut instance) = one(db, id)?.filter(|found| found.phase.is_live()) else {
                    return Ok(None);
                };
                let (mut moving, staying): (Vec<_>, Vec<_>) = std::mem::take(&mut instance.surface)
                    .into_iter()
                    .enumerate()
                    .partition(|(_, endpoint)| taken.contains(&endpoint.port));
                let (order, mut endpoints): (Vec<_>, Vec<_>) = moving.drain(..).unzip();
                ports::free_some(db, id, &endpoints)?;
                ports::allocate(db, id, &mut endpoints, range, &avoid, offset)?
                    .ok_or(InsertError::NoFreePort)?;
                let mut surface: Vec<_> =
                    staying.into_iter().chain(order.into_iter().zip(endpoints)).collect();
                surface.sort_by_key(|(nth, _)| *nth);
                instance.surface = surface.into_iter().map(|(_, endpoint)| endpoint).collect();
                update(db, &instance)?;
                Ok(Some(instance))
            })
            .await;
        match outcome {
            Ok(instance) => Ok(instance),
            Err(InsertError::Store(error)) => Err(error),
            Err(
                InsertError::NoFreePort
                | InsertError::TeamLimit { .. }
                | InsertError::NodeLimit { .. },
            ) => Ok(None),
        }
    }

    /// Instances whose lease is over and that nobody takes down yet, failed ones included, the one
    /// asked for longest ago first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn expired(&self, now: Timestamp) -> Result<Vec<InstanceId>, StoreError> {
        self.read(move |db| {
            db.prepare_cached(concat!(
                "SELECT id FROM ",
                not_stopped!(),
                " AND phase <> 'removing' AND expires_at <= ?1 ORDER BY seq"
            ))?
            .query_map([now.as_millis()], |row| row::text(row, "id"))?
            .collect()
        })
        .await
    }

    /// How many instances a node has, canaries not counted.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn counts(&self, node: &NodeId) -> Result<InstanceCounts, StoreError> {
        let node = node.to_string();
        self.read(move |db| {
            db.prepare_cached(concat!(
                "SELECT count(*) FILTER (WHERE phase NOT IN ('failed', 'removing')) AS running,
                            count(*) AS live_or_failed
                     FROM ",
                not_stopped!(),
                " AND node = ?1 AND team <> ?2"
            ))?
            .query_row([node, TeamId::CANARY.to_string()], |row| {
                Ok(InstanceCounts {
                    running: row.get("running")?,
                    live_or_failed: row.get("live_or_failed")?,
                })
            })
        })
        .await
    }

    /// How often each challenge was started by a team after the row `last`; and the number of the newest
    /// row.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn launches_after(
        &self,
        last: i64,
    ) -> Result<(i64, BTreeMap<ChallengeId, u32>), StoreError> {
        self.read(move |db| {
            let (mut newest, mut counts) = (last, BTreeMap::new());
            let mut select = db.prepare_cached(
                "SELECT challenge, count(*) FILTER (WHERE team <> ?2) AS n, max(seq) AS newest
                 FROM instances WHERE seq > ?1 GROUP BY challenge",
            )?;
            let mut rows = select.query(params![last, TeamId::CANARY.to_string()])?;
            while let Some(row) = rows.next()? {
                newest = newest.max(row.get("newest")?);
                let n: u32 = row.get("n")?;
                if n > 0 {
                    counts.insert(row::text(row, "challenge")?, n);
                }
            }
            Ok((newest, counts))
        })
        .await
    }

    /// Revisions that must stay readable: those of live challenges and of live instances.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn pinned_revisions(&self) -> Result<BTreeSet<Revision>, StoreError> {
        self.read(|db| {
            db.prepare_cached(concat!(
                "SELECT revision FROM live UNION SELECT revision FROM release_revisions \
                 UNION SELECT revision FROM waiting UNION SELECT revision FROM ",
                not_stopped!(),
                " AND phase <> 'failed'"
            ))?
            .query_map([], |row| row::text(row, "revision"))?
            .collect()
        })
        .await
    }

    /// Ports that strangers use, `seen` ones included from now on.
    pub(super) fn avoided_ports(&self, seen: &[u16]) -> BTreeSet<u16> {
        let mut strangers = self.inner.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        // A monotonic clock, not the time: this is about patience, and is not stored.
        let now = Instant::now();
        strangers.add(seen, now);
        strangers.avoid(now)
    }
}

/// Where the search for a port begins, so that ports are spread and not to be foretold.
pub(super) fn random_offset() -> Result<u32, StoreError> {
    getrandom::u32()
        .map_err(|error| StoreError::System { what: "randomness", source: Box::new(error) })
}

/// Writes the row of `new`, with ports, within the limits.
pub(super) fn take_on(
    db: &Connection,
    new: NewInstance,
    avoid: &BTreeSet<u16>,
    offset: u32,
) -> Result<Instance, InsertError> {
    let NewInstance { mut instance, spec, limits, ports, repeats: _ } = new;
    check_limits(db, &instance, limits)?;
    instance.phase = InstancePhase::Queued;
    insert(db, &instance, &spec)?;
    images::note_start(db, &spec, instance.created_at)?;
    ports::allocate(db, instance.id, &mut instance.surface, ports, avoid, offset)?
        .ok_or(InsertError::NoFreePort)?;
    update(db, &instance)?;
    Ok(instance)
}

/// The instance that `wish` repeats. A start that waits is shown as the instance that it becomes.
pub(super) fn repeated(
    db: &Connection,
    wish: &Instance,
    repeats: Repeats,
) -> rusqlite::Result<Option<Instance>> {
    match repeats {
        Repeats::Another => Ok(None),
        Repeats::Numbered => match one(db, wish.id)? {
            Some(known) => Ok(Some(known)),
            None => Ok(waiting::by_id(db, wish.id)?.map(|waiting| waiting.as_instance())),
        },
        Repeats::Same => starting_like(db, wish),
        Repeats::Only => match live_like(db, wish)? {
            Some(live) => Ok(Some(live)),
            None => Ok(waiting::like(db, wish)?.map(|waiting| waiting.as_instance())),
        },
    }
}

/// The instance of the same team, challenge and competition that is on its way or ready.
fn live_like(db: &Connection, wish: &Instance) -> rusqlite::Result<Option<Instance>> {
    db.prepare_cached(concat!(
        "SELECT * FROM ",
        not_stopped!(),
        " AND phase NOT IN ('removing', 'failed')
         AND team = ?1 AND challenge = ?2 AND competition = ?3 ORDER BY seq LIMIT 1"
    ))?
    .query_row(
        params![wish.team.to_string(), wish.challenge.as_str(), wish.competition],
        instance_row,
    )
    .optional()
}

/// The instance of the same team, challenge and competition that is on its way for the first time.
fn starting_like(db: &Connection, wish: &Instance) -> rusqlite::Result<Option<Instance>> {
    db.prepare_cached(concat!(
        "SELECT * FROM ",
        not_stopped!(),
        " AND phase IN ('queued', 'preparing', 'creating', 'starting', 'probing')
         AND n_resets = 0 AND started_at = created_at
         AND team = ?1 AND challenge = ?2 AND competition = ?3 ORDER BY seq LIMIT 1"
    ))?
    .query_row(
        params![wish.team.to_string(), wish.challenge.as_str(), wish.competition],
        instance_row,
    )
    .optional()
}

/// Instances of `team` that are not stopped, and its starts that wait.
pub(super) fn n_of_team(db: &Connection, team: TeamId) -> rusqlite::Result<u32> {
    db.prepare_cached(concat!(
        "SELECT (SELECT count(*) FROM ",
        not_stopped!(),
        " AND team = ?1) + (SELECT count(*) FROM waiting WHERE team = ?1 AND error IS NULL)"
    ))?
    .query_row([team.to_string()], |row| row.get(0))
}

fn check_limits(
    db: &Connection,
    instance: &Instance,
    limits: InstanceLimits,
) -> Result<(), InsertError> {
    let of_team = n_of_team(db, instance.team)?;
    if of_team >= limits.per_team {
        return Err(InsertError::TeamLimit { limit: limits.per_team });
    }
    let on_node: u32 = db
        .prepare_cached(concat!(
            "SELECT count(*) FROM ",
            not_stopped!(),
            " AND phase <> 'failed' AND node = ?1 AND team <> ?2"
        ))?
        .query_row([instance.node.to_string(), TeamId::CANARY.to_string()], |row| row.get(0))?;
    if on_node >= limits.per_node {
        return Err(InsertError::NodeLimit { limit: limits.per_node });
    }
    Ok(())
}

/// Whether an instance that is over would live again. A failed one may still be taken down.
fn is_revived(before: InstancePhase, after: InstancePhase) -> bool {
    match before {
        InstancePhase::Stopped => after != InstancePhase::Stopped,
        InstancePhase::Failed => after.is_live() && after != InstancePhase::Removing,
        InstancePhase::Queued
        | InstancePhase::Preparing
        | InstancePhase::Creating
        | InstancePhase::Starting
        | InstancePhase::Probing
        | InstancePhase::Ready
        | InstancePhase::Removing => false,
    }
}

fn keep_identity(before: &Instance, after: &mut Instance) {
    after.id = before.id;
    after.challenge.clone_from(&before.challenge);
    after.team = before.team;
    after.competition.clone_from(&before.competition);
    after.node.clone_from(&before.node);
    after.revision = before.revision;
    after.tree = before.tree;
    after.created_at = before.created_at;
}

pub(super) fn insert(
    db: &Connection,
    instance: &Instance,
    spec: &InstanceSpec,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO instances (id, challenge, team, competition, node, revision, tree, phase,
                surface, created_at, started_at, ttl_secs, expires_at, n_restarts, spec,
                memory_bytes, cpu_millis)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '[]', ?9, 0, 0, 0, 0, ?10, ?11, ?12)",
    )?
    .execute(params![
        instance.id.to_string(),
        instance.challenge.as_str(),
        instance.team.to_string(),
        instance.competition,
        instance.node.as_str(),
        instance.revision.to_string(),
        instance.tree.to_string(),
        instance.phase.as_str(),
        instance.created_at.as_millis(),
        row::to_json(spec)?,
        i64::try_from(spec.memory_bytes()).unwrap_or(i64::MAX),
        i64::try_from(spec.cpu_millis()).unwrap_or(i64::MAX),
    ])?;
    Ok(())
}

/// Writes what may change.
pub(super) fn update(db: &Connection, instance: &Instance) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE instances SET phase = ?2, error = ?3, stop_reason = ?4, surface = ?5,
                started_at = ?6, stopped_at = ?7, ttl_secs = ?8, expires_at = ?9, n_restarts = ?10,
                n_resets = ?11, answer_epoch = ?12, last_death = ?13
         WHERE id = ?1",
    )?
    .execute(params![
        instance.id.to_string(),
        instance.phase.as_str(),
        instance.error,
        instance.stop_reason.map(StopReason::as_str),
        row::to_json(&instance.surface)?,
        instance.started_at.as_millis(),
        instance.stopped_at.map(Timestamp::as_millis),
        instance.ttl_secs,
        instance.expires_at.as_millis(),
        instance.n_restarts,
        instance.n_resets,
        instance.answer_epoch,
        instance.last_death.as_ref().map(row::to_json).transpose()?,
    ])?;
    Ok(())
}

fn one(db: &Connection, id: InstanceId) -> rusqlite::Result<Option<Instance>> {
    db.prepare_cached("SELECT * FROM instances WHERE id = ?1")?
        .query_row([id.to_string()], instance_row)
        .optional()
}

pub(super) fn instance_row(row: &Row<'_>) -> rusqlite::Result<Instance> {
    Ok(Instance {
        id: row::text(row, "id")?,
        challenge: row::text(row, "challenge")?,
        team: row::text(row, "team")?,
        competition: row.get("competition")?,
        node: row::text(row, "node")?,
        revision: row::text(row, "revision")?,
        tree: row::text(row, "tree")?,
        phase: row::word(row, "phase", InstancePhase::from_word)?,
        error: row.get("error")?,
        stop_reason: row::opt_word(row, "stop_reason", StopReason::from_word)?,
        surface: row::json(row, "surface")?,
        created_at: row::time(row, "created_at")?,
        started_at: row::time(row, "started_at")?,
        stopped_at: row::opt_time(row, "stopped_at")?,
        ttl_secs: row.get("ttl_secs")?,
        expires_at: row::time(row, "expires_at")?,
        n_restarts: row.get("n_restarts")?,
        n_resets: row.get("n_resets")?,
        answer_epoch: row.get("answer_epoch")?,
        last_death: row::opt_json(row, "last_death")?,
    })
}
