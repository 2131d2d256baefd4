//! Rows written anew for what runs and no row knows: after a lost database, or an older one.

use ipnet::Ipv4Net;
use rusqlite::{Connection, OptionalExtension, params};
use thiserror::Error;

use super::instances::{insert, random_offset, update};
use super::networks::spec_of;
use super::{NetworkKind, PortRange, Store, StoreError, images, ports};
use crate::model::{
    Disposition, Endpoint, InstallationId, Instance, InstanceId, RetryClass, TeamId, Timestamp,
};
use crate::release::spec::InstanceSpec;

/// An instance as its containers tell it.
#[derive(Debug, Clone)]
pub struct AdoptedInstance {
    /// The row. Endpoints of `surface` have the ports that its containers publish, and 0 where there
    /// is no container yet.
    pub instance: Instance,
    /// What it runs.
    pub spec: InstanceSpec,
    /// The networks that it has.
    pub networks: Vec<AdoptedNetwork>,
    /// Where ports come from that are not published yet.
    pub ports: PortRange,
}

/// A network of an adopted instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedNetwork {
    /// The wish of the instance that it fulfils.
    pub wish: String,
    /// The engine's id.
    pub engine_id: String,
    /// Its subnet.
    pub subnet: Ipv4Net,
    /// Whether it leads out.
    pub kind: NetworkKind,
}

/// Why an instance was not adopted. Nothing is stored.
#[derive(Debug, Error)]
pub enum AdoptError {
    /// Meanwhile somebody else was.
    #[error("a row knows it already")]
    Known,
    /// Another instance was given what it uses.
    #[error("its {what} belongs to instance {owner} by now: stop that one first")]
    Taken {
        /// The port or network.
        what: String,
        /// Whose it is.
        owner: InstanceId,
    },
    /// A service has no container yet, and there is no port for it.
    #[error("no host port is free for a service that has no container")]
    NoFreePort,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AdoptError {
    /// Says whether trying again can help, and with which backoff.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Known => Disposition::Terminal,
            Self::Taken { .. } | Self::NoFreePort => Disposition::Retry(RetryClass::Engine),
            Self::Store(error) => error.disposition(),
        }
    }
}

impl From<rusqlite::Error> for AdoptError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Writes the row of an instance that runs already, with its networks and host ports, in one
    /// step. Its team gets a row, too, when there is none: `recovered-<8 digits of the id>`, for
    /// which an administrator can make a token. No limit is checked: it runs.
    ///
    /// # Errors
    /// [`AdoptError`]; nothing is stored then.
    pub async fn adopt_instance(
        &self,
        adopted: AdoptedInstance,
        installation: &InstallationId,
        now: Timestamp,
    ) -> Result<Instance, AdoptError> {
        let (installation, offset) = (installation.clone(), random_offset()?);
        let avoid = self.avoided_ports(&[]);
        self.write(move |db| {
            let AdoptedInstance { mut instance, spec, networks, ports: range } = adopted;
            if is_known(db, instance.id)? {
                return Err(AdoptError::Known);
            }
            ensure_team(db, instance.team, &instance.competition, now)?;
            insert(db, &instance, &spec)?;
            images::note_start(db, &spec, now)?;
            for network in &networks {
                take_network(db, &instance, network, &installation, now)?;
            }
            let surface = std::mem::take(&mut instance.surface);
            for mut endpoint in surface {
                let one = std::slice::from_mut(&mut endpoint);
                if one[0].port == 0 {
                    ports::allocate(db, instance.id, one, range, &avoid, offset)?
                        .ok_or(AdoptError::NoFreePort)?;
                } else {
                    take_port(db, instance.id, &one[0])?;
                }
                instance.surface.push(endpoint);
            }
            update(db, &instance)?;
            Ok(instance)
        })
        .await
    }
}

fn is_known(db: &Connection, id: InstanceId) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM instances WHERE id = ?1")?.exists([id.to_string()])
}

fn ensure_team(
    db: &Connection,
    team: TeamId,
    competition: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let id = team.to_string();
    let name = format!("recovered-{}", id.get(..8).unwrap_or(&id));
    db.prepare_cached(
        "INSERT INTO teams (id, competition, name, description, created_at)
         VALUES (?1, ?2, ?3, '', ?4) ON CONFLICT DO NOTHING",
    )?
    .execute(params![id, competition, name, now.as_millis()])?;
    Ok(())
}

fn take_network(
    db: &Connection,
    instance: &Instance,
    network: &AdoptedNetwork,
    installation: &InstallationId,
    now: Timestamp,
) -> Result<(), AdoptError> {
    let subnet = network.subnet.to_string();
    let owner: Option<String> = db
        .prepare_cached("SELECT instance FROM networks WHERE subnet = ?1")?
        .query_row([&subnet], |row| row.get(0))
        .optional()?
        .flatten();
    if let Some(owner) = owner.and_then(|text| text.parse().ok()) {
        return Err(AdoptError::Taken { what: format!("network {subnet}"), owner });
    }
    let spec = spec_of(network.subnet, network.kind, installation);
    db.prepare_cached(
        "INSERT OR REPLACE INTO networks
             (subnet, name, bridge, engine_id, is_internal, instance, wish, state, touched_at,
              is_single_use)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'used', ?8, 1)",
    )?
    .execute(params![
        subnet,
        spec.name,
        spec.bridge,
        network.engine_id,
        spec.is_internal,
        instance.id.to_string(),
        network.wish,
        now.as_millis()
    ])?;
    Ok(())
}

fn take_port(db: &Connection, id: InstanceId, endpoint: &Endpoint) -> Result<(), AdoptError> {
    let transport = endpoint.transport.as_str();
    let owner: Option<String> = db
        .prepare_cached("SELECT instance FROM ports WHERE transport = ?1 AND port = ?2")?
        .query_row(params![transport, endpoint.port], |row| row.get(0))
        .optional()?
        .flatten();
    if let Some(owner) = owner.and_then(|text| text.parse().ok()) {
        return Err(AdoptError::Taken { what: format!("port {}", endpoint.port), owner });
    }
    db.prepare_cached(
        "INSERT INTO ports (transport, port, instance, freed_seq) VALUES (?1, ?2, ?3, 0)
         ON CONFLICT (transport, port) DO UPDATE SET instance = excluded.instance",
    )?
    .execute(params![transport, endpoint.port, id.to_string()])?;
    Ok(())
}
