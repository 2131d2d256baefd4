//! The words everything else is said in: ids, challenges, builds, instances, teams, conditions.
//!
//! Plain data without behaviour that needs a clock, a socket or a file. Every id is parsed once at
//! the door ([`id`]) and trusted afterwards; every state is an enum with a doc line per variant.
//!
//! # Not here
//! How a file becomes a [`Challenge`] (`catalog`), what the engine is asked for (`release::spec`).

pub mod account;
pub mod activity;
pub mod announcement;
pub mod build;
pub mod challenge;
pub mod commit_status;
pub mod competition;
pub mod compose;
pub mod condition;
pub mod ctfd;
pub mod disk;
pub mod disposition;
pub mod id;
pub mod instance;
pub mod invite;
pub mod node;
pub mod node_url;
pub mod notice;
pub mod pause;
pub mod proof;
pub mod team;
pub mod time;
pub mod tree;
pub mod vpn;
pub mod waiting;

pub use account::{Account, AccountRole, AccountToken, Area, Grant, Level, Profile, Reach};
pub use activity::{Activity, Actor, ActorKind, Happening};
pub use announcement::{Announcement, Severity};
pub use build::{Build, BuildState};
pub use challenge::{
    AnswerFormat, Attachment, Capture, Category, Challenge, ContainerRuntime, Demands, Difficulty,
    Egress, Export, Hardening, InstanceScope, InstanceSettings, Metadata, OnNodeLoss, Question,
    QuestionMode, Topology, UpdatePolicy, plain_name,
};
pub use commit_status::{CommitState, CommitStatus, StatusContext};
pub use competition::Competition;
pub use compose::Compose;
pub use condition::{Condition, ConditionStatus, ConditionType, Polarity, Scope};
pub use ctfd::{CtfdOwner, CtfdSolve, Integration, IntegrationMode, OwnerError, OwnerKind};
pub use disk::Disk;
pub use disposition::{Disposition, RetryClass};
pub use id::{
    BuildKey, ChallengeId, CompetitionId, ContextId, IdError, InstallationId, InstanceId,
    IntegrationId, KeyringDigest, NodeId, ObjectId, QuestionId, Revision, ServiceName, SpecHash,
    SubmissionId, TagName, TeamId, TreeId, UserId,
};
pub use instance::{
    AskedFor, Death, Door, Endpoint, EndpointKind, Instance, InstancePhase, InstanceStatus,
    Provenance, StopReason,
};
pub use invite::{Invite, InviteKind};
pub use node::{Duty, Node, NodeEvent, NodeEventKind, NodeInvite, NodeReport, NodeSample};
pub use node_url::{NodeUrl, NodeUrlError, Plain};
pub use notice::{Alarm, AlarmPhase, Notice, NoticeKind, Told};
pub use pause::{Pause, PauseKind, Pauses};
pub use proof::{ProofOutcome, ProofRecord};
pub use team::{Caller, Member, Membership, Role, Solve, Submission, Team};
pub use time::{Clock, Timestamp};
pub use tree::{Below, Entry, EntryKind, MemoryTree, Tree, TreeError};
pub use vpn::{VpnAccess, VpnProtocol, VpnSeat, VpnTold};
pub use waiting::Waiting;
