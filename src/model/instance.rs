//! One copy of a challenge: whose it is, how far it is, where it answers, until when.

use serde::{Deserialize, Serialize};

use super::challenge::word_enum;
use super::compose::Transport;
use super::{ChallengeId, InstanceId, NodeId, Revision, ServiceName, TeamId, Timestamp, TreeId};

/// One instance. The row outlives the containers: a stopped instance is its own archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Its id; also the label of everything that belongs to it.
    pub id: InstanceId,
    /// What it is a copy of.
    pub challenge: ChallengeId,
    /// Whose it is.
    pub team: TeamId,
    /// The competition it was started in.
    pub competition: String,
    /// Where it runs.
    pub node: NodeId,
    /// The commit it was started from; pinned until it ends.
    pub revision: Revision,
    /// The challenge's tree at that commit.
    pub tree: TreeId,
    /// How far it is.
    pub phase: InstancePhase,
    /// Why it failed, for its owner; set once, kept until the end.
    pub error: Option<String>,
    /// Why it ended or is ending.
    pub stop_reason: Option<StopReason>,
    /// Where players reach it; filled from `Starting` on.
    pub surface: Vec<Endpoint>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it became ready (the clock of `solve_time_s`); `created_at` until then.
    pub started_at: Timestamp,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// The lease in seconds, as granted.
    pub ttl_secs: u32,
    /// When the lease ends.
    pub expires_at: Timestamp,
    /// Times a container was started again after it died.
    pub n_restarts: u32,
    /// Times its containers were made anew on request; 0 for those it was started with.
    pub n_resets: u32,
    /// Which answers are its own: 0 until a reset asks for others.
    pub answer_epoch: u32,
    /// The last service that died, since its last reset.
    pub last_death: Option<Death>,
}

/// Where an instance comes from: what each of its containers tells of it, so that its row can be
/// written anew when the database was lost. None of it changes while the container exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Whose it is.
    pub team: TeamId,
    /// The competition it was started in.
    pub competition: String,
    /// The commit it was started from.
    pub revision: Revision,
    /// The challenge's tree at that commit.
    pub tree: TreeId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The lease in seconds, as granted when the container was made.
    pub ttl_secs: u32,
    /// Which incarnation the container is of.
    pub n_resets: u32,
    /// Which answers are its own.
    pub answer_epoch: u32,
}

#[cfg(test)]
impl Provenance {
    /// Of an instance that nobody started.
    pub(crate) fn for_tests() -> Self {
        Self {
            team: TeamId::new(uuid::Uuid::from_bytes([2; 16])),
            competition: "default".to_owned(),
            revision: Revision(super::ObjectId::from_bytes([3; 20])),
            tree: TreeId(super::ObjectId::from_bytes([4; 20])),
            created_at: Timestamp::from_millis(1_795_000_000_123),
            ttl_secs: 600,
            n_resets: 0,
            answer_epoch: 0,
        }
    }
}

/// How a service of an instance died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Which.
    pub service: ServiceName,
    /// Its exit code.
    pub code: i64,
    /// Whether the kernel killed it for memory.
    pub is_oom: bool,
    /// When that was seen.
    pub at: Timestamp,
    /// Deaths of this service in the ten minutes before, this one included.
    pub n_recent: u32,
    /// The end of its output with answers masked, where organizers let players read it.
    pub last_words: Option<String>,
}

impl Death {
    /// Deaths in ten minutes from which on it is a crash loop (`contract/gitops.md` §4.7).
    pub const CRASH_LOOP: u32 = 5;

    /// Whether it dies again and again.
    pub fn is_crash_loop(&self) -> bool {
        self.n_recent >= Self::CRASH_LOOP
    }
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { service, code, is_oom, .. } = self;
        match (is_oom, code) {
            (true, _) => {
                write!(
                    f,
                    "service `{service}` was killed because it used more memory than its limit"
                )
            }
            (false, 0) => {
                write!(f, "service `{service}` ended by itself (exit code 0) instead of serving")
            }
            (false, code) => write!(f, "service `{service}` exited with code {code}"),
        }
    }
}

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedFor {
    /// Of the instance that it becomes.
    pub id: InstanceId,
    /// Of what.
    pub challenge: ChallengeId,
    /// For whom.
    pub team: TeamId,
    /// In which competition.
    pub competition: String,
    /// Which version.
    pub revision: Revision,
    /// The challenge's folder in it.
    pub tree: TreeId,
}

impl Instance {
    /// An instance of which nothing exists yet, asked for at `now` of the local node, without places.
    pub fn asked_for(wish: AskedFor, now: Timestamp, ttl_secs: u32) -> Self {
        Self {
            id: wish.id,
            challenge: wish.challenge,
            team: wish.team,
            competition: wish.competition,
            node: NodeId::local(),
            revision: wish.revision,
            tree: wish.tree,
            phase: InstancePhase::Queued,
            error: None,
            stop_reason: None,
            surface: Vec::new(),
            created_at: now,
            started_at: now,
            stopped_at: None,
            ttl_secs,
            expires_at: now.plus_secs(i64::from(ttl_secs)),
            n_restarts: 0,
            n_resets: 0,
            answer_epoch: 0,
            last_death: None,
        }
    }

    /// What its containers tell of it.
    pub fn provenance(&self) -> Provenance {
        Provenance {
            team: self.team,
            competition: self.competition.clone(),
            revision: self.revision,
            tree: self.tree,
            created_at: self.created_at,
            ttl_secs: self.ttl_secs,
            n_resets: self.n_resets,
            answer_epoch: self.answer_epoch,
        }
    }

    /// Whether it is a canary: nobody plays it, the solver tries the challenge's own exploit on it.
    pub fn is_canary(&self) -> bool {
        self.team == TeamId::CANARY
    }

    /// What players are told.
    pub fn status(&self) -> InstanceStatus {
        match self.phase {
            InstancePhase::Queued
            | InstancePhase::Preparing
            | InstancePhase::Creating
            | InstancePhase::Starting
            | InstancePhase::Probing => InstanceStatus::Starting,
            InstancePhase::Ready => InstanceStatus::Ready,
            InstancePhase::Failed => InstanceStatus::Error,
            InstancePhase::Removing if self.error.is_some() => InstanceStatus::Error,
            InstancePhase::Removing | InstancePhase::Stopped => InstanceStatus::Stopped,
        }
    }
}

word_enum!(
    /// How far an instance is. Leaves in file order; `Removing` can follow any of the live ones.
    InstancePhase {
        /// The row is committed; nothing exists in the engine. Left by a free slot.
        Queued = "queued",
        /// Networks and volumes are being made.
        Preparing = "preparing",
        /// Containers are being created.
        Creating = "creating",
        /// Containers are being started, in the order of `depends_on`.
        Starting = "starting",
        /// Everything runs; our probe has not passed yet.
        Probing = "probing",
        /// Usable by players. Left by stop, lease end, or a repair that fails.
        Ready = "ready",
        /// Everything of it is being taken down; with an error set it becomes `Failed`.
        Removing = "removing",
        /// Nothing of it is left, and its owner asked for that or the lease ended.
        Stopped = "stopped",
        /// Nothing of it is left, because it failed. Kept until its owner stops it or the lease
        /// ends, so that the error can be read.
        Failed = "failed",
    }
);

impl InstancePhase {
    /// Whether something of it may exist in the engine.
    pub fn is_live(self) -> bool {
        !matches!(self, Self::Stopped | Self::Failed)
    }
}

word_enum!(
    /// What players are told.
    InstanceStatus {
        /// On its way.
        Starting = "starting",
        /// Usable.
        Ready = "ready",
        /// Gone.
        Stopped = "stopped",
        /// Failed; the error says why.
        Error = "error",
    }
);

word_enum!(
    /// Why an instance ended.
    StopReason {
        /// Its owner asked.
        User = "user",
        /// Every question is solved.
        AutoStopAfterSolve = "auto_stop_after_solve",
        /// An administrator stopped everything.
        AdminStopAll = "admin_stop_all",
        /// The lease ended.
        TtlExpired = "ttl_expired",
        /// It could not be started.
        Error = "error",
        /// It died and could not be repaired.
        HealthCheckFailed = "health_check_failed",
        /// It wrote more to the node's disk than it may.
        DiskQuota = "disk_quota",
        /// Its node was lost.
        NodeUnhealthy = "node_unhealthy",
    }
);

/// Where players reach one port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The compose service.
    pub service: ServiceName,
    /// What to speak.
    pub kind: EndpointKind,
    /// Host that players use.
    pub host: String,
    /// The port of this node that it is published on. Players use [`Endpoint::public_port`].
    pub port: u16,
    /// Port inside the container.
    pub target: u16,
    /// Transport.
    pub transport: Transport,
    /// The ingress in front of it; absent where players reach the published port itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<Door>,
}

/// Where and how players reach an endpoint that only the ingress of its node can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// What players speak.
    pub kind: EndpointKind,
    /// The port of the ingress.
    pub port: u16,
}

impl Endpoint {
    /// What players speak.
    pub fn public_kind(&self) -> EndpointKind {
        self.door.map_or(self.kind, |door| door.kind)
    }

    /// The port that players use on [`Endpoint::host`].
    pub fn public_port(&self) -> u16 {
        self.door.map_or(self.port, |door| door.port)
    }
}

word_enum!(
    /// The wire word of an endpoint.
    EndpointKind {
        /// A shell.
        Ssh = "ssh",
        /// Plain HTTP.
        Http = "http",
        /// HTTP over TLS.
        Https = "https",
        /// Anything else.
        Tcp = "tcp",
        /// A VPN gateway. It is no service: on the wire it has a field of its own.
        Vpn = "vpn",
    }
);
