//! The store against a real file: what it promises when calls race, when it is killed, and when
//! the file is not what it should be.

mod builds;
mod conditions;
mod contest;
mod crash;
mod ctfd;
mod datadir;
mod exports;
mod hooks;
mod images;
mod instances;
mod migrations;
mod networks;
mod outbox;
mod proofs;
mod provenance;
mod records;
mod releases;
mod room;
mod tombstones;
mod whole;
mod writer;

use std::path::PathBuf;

use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::model::compose::Transport;
use crate::model::{
    ChallengeId, Endpoint, EndpointKind, Instance, InstanceId, InstancePhase, NodeId, ObjectId,
    Revision, TeamId, Timestamp, TreeId,
};
use crate::release::manifest::{Cause, Entry, EntryDisposition, Manifest};
use crate::release::spec::InstanceSpec;

/// A store in a folder of its own, removed with it.
struct Fixture {
    store: Store,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("flagops.db")).unwrap();
        Self { store, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("flagops.db")
    }

    /// Closes the database and opens it again, as a restart does.
    fn reopened(self) -> Self {
        let path = self.path();
        let Self { store, folder } = self;
        drop(store);
        Self { store: Store::open(&path).unwrap(), folder }
    }
}

/// Makes `upsert` live and `remove` not, as a push does, at the time of the first of them.
async fn set_live(
    store: &Store,
    upsert: Vec<LiveRow>,
    remove: Vec<ChallengeId>,
) -> Result<(), StoreError> {
    let now = upsert.first().map_or(at(0), |row| row.since);
    let rows = store.live().await?.into_iter().filter(|row| !remove.contains(&row.challenge));
    let entry = |row: LiveRow| Entry {
        path: row.path,
        revision: row.revision,
        tree: row.tree,
        images: vec![],
        disposition: EntryDisposition::Include,
    };
    let challenges = rows.chain(upsert).map(|row| (row.challenge.clone(), entry(row))).collect();
    let new = NewGeneration {
        manifest: Manifest::new(None, revision(99), challenges),
        cause: Cause::Branch,
        who: "flagops".into(),
        why: "a push".into(),
        expected: store.active().await?.map_or(0, |(generation, _)| generation.number),
        quarantine_tags: vec![],
        quarantine_versions: vec![],
        left_revision: None,
    };
    store.flip(new, now).await.map(drop)
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn revision(byte: u8) -> Revision {
    Revision(ObjectId::from_bytes([byte; 20]))
}

fn tree(byte: u8) -> TreeId {
    TreeId(ObjectId::from_bytes([byte; 20]))
}

fn team(n: u128) -> TeamId {
    TeamId::new(Uuid::from_u128(n))
}

fn instance_id(n: u128) -> InstanceId {
    InstanceId::new(Uuid::from_u128(n))
}

fn endpoint(transport: Transport) -> Endpoint {
    Endpoint {
        service: "web".parse().unwrap(),
        kind: EndpointKind::Tcp,
        host: "127.0.0.1".to_owned(),
        port: 0,
        target: 80,
        transport,
        door: None,
    }
}

/// Instance `n` of team `n % 3` with two TCP ports and a UDP port, asked for at second `n`.
fn instance(n: u128) -> Instance {
    let created_at = at(i64::try_from(n).unwrap());
    Instance {
        id: instance_id(n),
        challenge: "WEB-001".parse().unwrap(),
        team: team(n % 3),
        competition: String::new(),
        node: NodeId::local(),
        revision: revision(1),
        tree: tree(1),
        phase: InstancePhase::Queued,
        error: None,
        stop_reason: None,
        surface: [Transport::Tcp, Transport::Udp, Transport::Tcp].map(endpoint).to_vec(),
        created_at,
        started_at: created_at,
        stopped_at: None,
        ttl_secs: 100,
        expires_at: created_at.plus_secs(100),
        n_restarts: 0,
        n_resets: 0,
        answer_epoch: 0,
        last_death: None,
    }
}

fn spec() -> InstanceSpec {
    InstanceSpec {
        schema: 1,
        challenge: "WEB-001".parse().unwrap(),
        services: Vec::new(),
        networks: Vec::new(),
        volumes: vec!["data".to_owned()],
        answers: [("flag".to_owned(), crate::model::AnswerFormat::Flag)].into(),
        demands: crate::model::Demands::default(),
        templates: vec![],
        exports: vec![],
        vpn: crate::model::VpnProtocol::default(),
    }
}

fn new_instance(n: u128) -> NewInstance {
    NewInstance {
        instance: instance(n),
        spec: spec(),
        limits: InstanceLimits { per_team: 1000, per_node: 1000 },
        repeats: crate::store::Repeats::Another,
        ports: PortRange { first: 20_000, last: 20_999 },
    }
}
