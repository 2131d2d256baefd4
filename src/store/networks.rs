//! Networks made ahead and in use: which subnets are ours, and whose they are.
//!
//! `reserve → Intent → made → Ready ⇄ Used`. The subnet is committed before the engine is asked,
//! and the engine's object bears a name that follows from it: after a crash either is found by the
//! other. A network that a hub may be on never becomes `Ready` again: it is removed while it is `Used`.

use ipnet::Ipv4Net;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, row, subnets};
use crate::model::challenge::word_enum;
use crate::model::id::hex;
use crate::model::{Egress, InstallationId, InstanceId, Timestamp};
use crate::release::spec::NetworkSpec;

/// One network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRow {
    /// What the engine is asked for.
    pub spec: NetworkSpec,
    /// The engine's id, once it is made.
    pub engine_id: Option<String>,
    /// The instance that has it, and the name of the wish it fulfils.
    pub owner: Option<(InstanceId, String)>,
    /// How far it is.
    pub state: NetworkState,
    /// When it was reserved, claimed or released, whichever came last.
    pub touched_at: Timestamp,
    /// A hub is or may be on it: it is removed once its instance is done with it, never handed on.
    pub is_single_use: bool,
}

word_enum!(
    /// How far a network is.
    NetworkState {
        /// The subnet is reserved; the engine may have been asked.
        Intent = "intent",
        /// It exists and nobody has it.
        Ready = "ready",
        /// An instance has it.
        Used = "used",
    }
);

/// Whether a network leads out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkKind {
    /// It can carry published ports.
    Outward,
    /// No way out and no published ports.
    Internal,
    /// It can carry published ports, and leads to the internet.
    Egress,
}

/// How the bridges of networks begin that lead to the internet: the wall knows them by that.
const EGRESS_BRIDGE: &str = "fx";

impl NetworkKind {
    /// The kind of a network of an instance with this way out.
    pub fn of(is_internal: IsInternal, egress: Egress) -> Self {
        match (is_internal, egress) {
            (true, _) => Self::Internal,
            (false, Egress::None) => Self::Outward,
            (false, Egress::Internet) => Self::Egress,
        }
    }

    /// How the names of its bridges begin.
    fn bridge(self) -> &'static str {
        match self {
            Self::Outward | Self::Internal => "fi",
            Self::Egress => EGRESS_BRIDGE,
        }
    }

    fn is_internal(self) -> bool {
        self == Self::Internal
    }
}

/// As the author wrote it.
type IsInternal = bool;

impl NetworkRow {
    /// Whether it leads out. Its bridge says it, so that rows and wall cannot differ.
    pub fn kind(&self) -> NetworkKind {
        match (self.spec.is_internal, self.spec.bridge.starts_with(EGRESS_BRIDGE)) {
            (true, _) => NetworkKind::Internal,
            (false, true) => NetworkKind::Egress,
            (false, false) => NetworkKind::Outward,
        }
    }
}

impl Store {
    /// Reserves the next free subnet of `pool` for a network to be made; `None` when the pool has
    /// none left. A subnet that was just given up comes last.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn reserve_network(
        &self,
        pool: Ipv4Net,
        prefix_len: u8,
        kind: NetworkKind,
        installation: &InstallationId,
        now: Timestamp,
    ) -> Result<Option<NetworkRow>, StoreError> {
        let installation = installation.clone();
        self.write(move |db| {
            let used = unavailable(db, now)?;
            let cursor = cursor(db)?;
            let Some(subnet) = subnets::next(pool, prefix_len, &used, cursor) else {
                return Ok(None);
            };
            set_cursor(db, subnet)?;
            let spec = spec_of(subnet, kind, &installation);
            db.prepare_cached(
                "INSERT INTO networks (subnet, name, bridge, is_internal, state, touched_at)
                 VALUES (?1, ?2, ?3, ?4, 'intent', ?5)",
            )?
            .execute(params![
                subnet.to_string(),
                spec.name,
                spec.bridge,
                spec.is_internal,
                now.as_millis()
            ])?;
            Ok(one(db, subnet)?)
        })
        .await
    }

    /// The engine made the network of `subnet`: it is ready. Does nothing when it is not reserved,
    /// or already ready or used.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn network_made(&self, subnet: Ipv4Net, engine_id: &str) -> Result<(), StoreError> {
        let engine_id = engine_id.to_owned();
        self.write(move |db| {
            db.prepare_cached(
                "UPDATE networks SET state = 'ready', engine_id = ?2
                 WHERE subnet = ?1 AND state = 'intent'",
            )?
            .execute(params![subnet.to_string(), engine_id])?;
            Ok(())
        })
        .await
    }

    /// Gives `instance` a ready network for its wish: the one it already has, or the one that has
    /// been idle longest. `None` when none is ready: make one, then ask again.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn claim_network(
        &self,
        instance: InstanceId,
        wish: &str,
        kind: NetworkKind,
        now: Timestamp,
    ) -> Result<Option<NetworkRow>, StoreError> {
        let wish = wish.to_owned();
        self.write(move |db| {
            let owner = params![instance.to_string(), wish];
            let claimed = db
                .prepare_cached("SELECT * FROM networks WHERE instance = ?1 AND wish = ?2")?
                .query_row(owner, network_row)
                .optional()?;
            if claimed.is_some() {
                return Ok(claimed);
            }
            let claimed = db
                .prepare_cached(
                    "UPDATE networks SET state = 'used', instance = ?1, wish = ?2, touched_at = ?3
                     WHERE subnet = (SELECT subnet FROM networks
                                     WHERE state = 'ready' AND is_internal = ?4
                                           AND substr(bridge, 1, 2) = ?5
                                     ORDER BY touched_at, subnet LIMIT 1)
                     RETURNING *",
                )?
                .query_row(
                    params![
                        instance.to_string(),
                        wish,
                        now.as_millis(),
                        kind.is_internal(),
                        kind.bridge()
                    ],
                    network_row,
                )
                .optional()?;
            Ok(claimed)
        })
        .await
    }

    /// Notes that a hub may be on a network from now on; false when the instance does not have it any
    /// more, and then no hub may be put onto it.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn mark_single_use(
        &self,
        subnet: Ipv4Net,
        instance: InstanceId,
        engine_id: &str,
    ) -> Result<bool, StoreError> {
        let engine_id = engine_id.to_owned();
        self.write(move |db| {
            let n_rows = db
                .prepare_cached(
                    "UPDATE networks SET is_single_use = 1
                     WHERE subnet = ?1 AND instance = ?2 AND engine_id = ?3 AND state = 'used'",
                )?
                .execute(params![subnet.to_string(), instance.to_string(), engine_id])?;
            Ok(n_rows > 0)
        })
        .await
    }

    /// As [`Self::mark_single_use`], of every network that an instance has: nobody knows what was put
    /// onto them.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn mark_all_single_use(&self) -> Result<(), StoreError> {
        self.write(|db| {
            db.execute("UPDATE networks SET is_single_use = 1 WHERE state = 'used'", [])?;
            Ok(())
        })
        .await
    }

    /// Nobody has the network of `subnet` any more: it is ready for the next. Does nothing when
    /// nobody had it, or when a hub may be on it: that one is removed first, and then forgotten.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn release_network(&self, subnet: Ipv4Net, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "UPDATE networks SET state = 'ready', instance = NULL, wish = NULL, touched_at = ?2
                 WHERE subnet = ?1 AND state = 'used' AND is_single_use = 0",
            )?
            .execute(params![subnet.to_string(), now.as_millis()])?;
            Ok(())
        })
        .await
    }

    /// Takes a ready network out of the stock before it is removed; false when it is in use. After
    /// a crash the row is an intent again, and the next sweep finds out what there is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retire_network(&self, subnet: Ipv4Net) -> Result<bool, StoreError> {
        self.write(move |db| {
            let n_rows = db
                .prepare_cached(
                    "UPDATE networks SET state = 'intent', engine_id = NULL
                     WHERE subnet = ?1 AND state = 'ready'",
                )?
                .execute([subnet.to_string()])?;
            Ok(n_rows > 0)
        })
        .await
    }

    /// The network of `subnet` is gone from the engine, or never was: the subnet is free.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn forget_network(&self, subnet: Ipv4Net) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached("DELETE FROM networks WHERE subnet = ?1")?
                .execute([subnet.to_string()])?;
            Ok(())
        })
        .await
    }

    /// Others on this machine use `subnet`: nothing that overlaps it is handed out until then.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn block_subnet(&self, subnet: Ipv4Net, until: Timestamp) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO blocked_subnets (subnet, until) VALUES (?1, ?2)",
            )?
            .execute(params![subnet.to_string(), until.as_millis()])?;
            Ok(())
        })
        .await
    }

    /// Every network, the one untouched longest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn networks(&self) -> Result<Vec<NetworkRow>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM networks ORDER BY touched_at, subnet")?
                .query_map([], network_row)?
                .collect()
        })
        .await
    }
}

/// The names follow from the subnet and the kind: two daemons that chose the same subnet cannot both make
/// it, and a network that leads to the internet is never taken for one that does not.
pub(super) fn spec_of(
    subnet: Ipv4Net,
    kind: NetworkKind,
    installation: &InstallationId,
) -> NetworkSpec {
    let address = hex(&subnet.network().octets());
    let infix = if kind == NetworkKind::Egress { "x" } else { "" };
    NetworkSpec {
        name: format!("fo-{}-{infix}{address}", installation.short()),
        bridge: format!("{}{address}{:02x}", kind.bridge(), subnet.prefix_len()),
        subnet,
        is_internal: kind.is_internal(),
    }
}

/// Our own subnets and those that others use now. Forgets the blocks that are over.
fn unavailable(db: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Ipv4Net>> {
    db.prepare_cached("DELETE FROM blocked_subnets WHERE until <= ?1")?
        .execute([now.as_millis()])?;
    db.prepare_cached("SELECT subnet FROM networks UNION SELECT subnet FROM blocked_subnets")?
        .query_map([], |row| row::text(row, "subnet"))?
        .collect()
}

fn cursor(db: &Connection) -> rusqlite::Result<Option<u32>> {
    db.prepare_cached("SELECT value FROM cursors WHERE name = 'subnet'")?
        .query_row([], |row| row.get(0))
        .optional()
}

fn set_cursor(db: &Connection, subnet: Ipv4Net) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO cursors (name, value) VALUES ('subnet', ?1)")?
        .execute([u32::from(subnet.network())])?;
    Ok(())
}

fn one(db: &Connection, subnet: Ipv4Net) -> rusqlite::Result<Option<NetworkRow>> {
    db.prepare_cached("SELECT * FROM networks WHERE subnet = ?1")?
        .query_row([subnet.to_string()], network_row)
        .optional()
}

fn network_row(row: &Row<'_>) -> rusqlite::Result<NetworkRow> {
    let wish: Option<String> = row.get("wish")?;
    Ok(NetworkRow {
        spec: NetworkSpec {
            name: row.get("name")?,
            bridge: row.get("bridge")?,
            subnet: row::text(row, "subnet")?,
            is_internal: row.get("is_internal")?,
        },
        engine_id: row.get("engine_id")?,
        owner: row::opt_text(row, "instance")?.zip(wish),
        state: row::word(row, "state", NetworkState::from_word)?,
        touched_at: row::time(row, "touched_at")?,
        is_single_use: row.get("is_single_use")?,
    })
}
