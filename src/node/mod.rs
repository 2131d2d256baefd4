//! A machine that runs instances, seen from outside: what it can be asked for, and by which address.
//!
//! [`Node`] is one interface with two sides: the node itself implements it (`daemon`), in process or
//! behind `api`, and [`client::HttpNode`] is a remote one. The shapes on the wire are those of
//! `contract/http-api.md` §4.2, with members of our own that its clients ignore.
//!
//! # Invariants
//! * What a remote node says is hostile until it is typed: bounded in size and time, without
//!   redirects, and about the instance that was asked for.
//! * Who could not be asked said nothing: [`NodeError::Unreachable`] is never an absence.
//!
//! # Not here
//! Which node gets an instance (`planner::placement`), who decides that one is lost (`daemon`).

pub mod client;
pub mod identity;
pub mod socket;
pub mod tls;
pub mod wire;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;
use uuid::Uuid;

use crate::builder::Supplied;
use crate::model::{BuildKey, ChallengeId, Disposition, InstanceId, RetryClass};
use crate::runtime::Terminal;

use wire::{
    AgentRuntime, BuildAllReply, BuildReply, BuildStates, Container, FileEntry, Health,
    InstanceState, RescanReply, ResetOrder, ShellOrder, StartOrder, VpnOrder, VpnSessions,
};

/// Why a node did not do it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NodeError {
    /// It has no such thing. Only the node itself can say so.
    #[error("{0}")]
    NotFound(String),
    /// What is asked contradicts what it has.
    #[error("{0}")]
    Conflict(String),
    /// What is asked can never be.
    #[error("{0}")]
    Invalid(String),
    /// It does not take our token.
    #[error("the node refuses our token ({0}): it has to join again")]
    Unauthorized(String),
    /// It tried, and failed.
    #[error("{0}")]
    Failed(String),
    /// Nobody answered, or nobody that speaks like a node.
    #[error("{0}")]
    Unreachable(String),
}

impl NodeError {
    /// Says whether trying again can help, and with which backoff.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::NotFound(_) | Self::Conflict(_) | Self::Invalid(_) => Disposition::Terminal,
            Self::Unauthorized(_) | Self::Failed(_) => Disposition::Retry(RetryClass::Engine),
            Self::Unreachable(_) => Disposition::Retry(RetryClass::Network),
        }
    }
}

/// What every question to a node is answered with.
pub type Outcome<T> = Result<T, NodeError>;

/// A file of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFile {
    /// Its content.
    pub content: Bytes,
    /// Changes with the content and with the instance.
    pub tag: String,
}

/// A machine that runs instances. Methods are idempotent where the verb allows it, and cancel-safe:
/// what the node began it goes on with.
#[async_trait]
pub trait Node: Send + Sync {
    /// Whether it answers, and how much it runs.
    async fn health(&self) -> Outcome<Health>;

    /// Whether it could take an instance now; else why not.
    async fn readiness(&self) -> Outcome<()>;

    /// Makes sure that the instance runs; returns when it is usable or has failed. The same order again
    /// gives how it stands.
    async fn start(&self, order: StartOrder) -> Outcome<InstanceState>;

    /// How one instance stands.
    async fn status(&self, id: InstanceId) -> Outcome<InstanceState>;

    /// How every instance stands that is not over.
    async fn instances(&self) -> Outcome<Vec<InstanceState>>;

    /// Ends an instance; returns when nothing of it is left. A second time there is no such instance.
    async fn stop(&self, id: InstanceId) -> Outcome<()>;

    /// Gives an instance another lease.
    async fn renew(&self, id: InstanceId, ttl_secs: u32) -> Outcome<InstanceState>;

    /// Makes containers and volumes anew; the same incarnation again changes nothing.
    async fn reset(&self, id: InstanceId, order: ResetOrder) -> Outcome<InstanceState>;

    /// Whether every container of it runs.
    async fn is_healthy(&self, id: InstanceId) -> Outcome<bool>;

    /// What an agent beside it would be run with.
    async fn agent_runtime(&self, id: InstanceId) -> Outcome<AgentRuntime>;

    /// The last output of its containers, by service.
    async fn logs(&self, id: InstanceId) -> Outcome<String>;

    /// HTTP that was seen, one record each, by time.
    async fn traffic(&self, id: InstanceId) -> Outcome<Vec<serde_json::Value>>;

    /// Packets that were captured.
    async fn pcap(&self, id: InstanceId) -> Outcome<Bytes>;

    /// Its containers.
    async fn containers(&self, id: InstanceId) -> Outcome<Vec<Container>>;

    /// A shell in one of its containers, for an administrator.
    async fn shell(&self, id: InstanceId, order: ShellOrder) -> Outcome<Terminal>;

    /// The files that are its own.
    async fn files(&self, id: InstanceId) -> Outcome<Vec<FileEntry>>;

    /// One of them.
    async fn file(&self, id: InstanceId, name: &str) -> Outcome<NodeFile>;

    /// The OpenVPN profile of one holder, of its only one where none is named, once there is one.
    async fn openvpn_config(&self, id: InstanceId, holder: Option<Uuid>) -> Outcome<Bytes>;

    /// Makes sure that exactly these may connect to its VPN; returns before its gateway knows.
    async fn admit(&self, id: InstanceId, order: VpnOrder) -> Outcome<()>;

    /// Who is connected to its VPN.
    async fn vpn_sessions(&self, id: InstanceId) -> Outcome<VpnSessions>;

    /// An image that it has built: pushed to `repository` of a registry where it uses the same, else as
    /// bytes.
    async fn image(&self, key: BuildKey, repository: Option<&str>) -> Outcome<Supplied>;

    /// Ends every instance.
    async fn stop_all(&self) -> Outcome<()>;

    /// Looks at the remote at once.
    async fn rescan(&self) -> Outcome<RescanReply>;

    /// Asks for the images of one challenge.
    async fn build(&self, id: ChallengeId) -> Outcome<BuildReply>;

    /// Asks for every image that is not there.
    async fn build_all(&self) -> Outcome<BuildAllReply>;

    /// How far the images are.
    async fn build_states(&self) -> Outcome<BuildStates>;
}
