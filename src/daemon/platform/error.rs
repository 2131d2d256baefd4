//! Why the platform did not do it: one variant per situation of a caller.

use thiserror::Error;

use super::{Denial, PlaceInLine};
use crate::contest::Refusal;
use crate::model::{ChallengeId, InstanceId, Pause, QuestionId, Revision};
use crate::store::StoreError;

/// Why the platform did not do it.
#[derive(Debug, Error)]
pub enum PlatformError {
    /// No such instance.
    #[error("Instance {id} not found")]
    InstanceNotFound {
        /// As sent.
        id: String,
    },
    /// No such challenge, or not visible.
    #[error("Challenge {id} not found")]
    ChallengeNotFound {
        /// As sent.
        id: String,
    },
    /// It is no instance yet.
    #[error("Instance {id} waits for room{}", .place.map(|it| format!(" ({it})")).unwrap_or_default())]
    Waits {
        /// Of the instance that it becomes.
        id: InstanceId,
        /// Where it stands; `None` when it failed to get room.
        place: Option<PlaceInLine>,
    },
    /// The instance is another team's.
    #[error("Not your instance")]
    NotYours,
    /// The caller plays for no team.
    #[error("You are not registered in competition {competition}")]
    NotRegistered {
        /// The competition.
        competition: String,
    },
    /// Too many instances.
    #[error("{message}")]
    Capacity {
        /// Which limit.
        message: String,
    },
    /// The instance is ending or has failed, so it cannot be renewed.
    #[error("Instance {id} is {status}")]
    NotRunning {
        /// The instance.
        id: InstanceId,
        /// Its status.
        status: &'static str,
    },
    /// It has no VPN, or is not ready.
    #[error("Instance {id} has no OpenVPN profile, or is not ready yet")]
    NoVpnProfile {
        /// The instance.
        id: InstanceId,
    },
    /// An organizer took its profile back.
    #[error(
        "the OpenVPN profile of instance {id} was revoked by an organizer: ask them for access"
    )]
    VpnRevoked {
        /// The instance.
        id: InstanceId,
    },
    /// Another version is live, and leases of this one are not renewed.
    #[error(
        "Instance {id} is of an older version, whose leases are not renewed: stop it and start the challenge anew"
    )]
    Drained {
        /// The instance.
        id: InstanceId,
    },
    /// No such node.
    #[error("there is no node `{id}`: `flagops nodes ls` lists them")]
    NodeNotFound {
        /// As sent.
        id: String,
    },
    /// Nobody vouches for whoever says to be a node.
    #[error("{reason}")]
    NodeRefused {
        /// Why.
        reason: String,
    },
    /// What is said of a node cannot be.
    #[error("{reason}")]
    BadNode {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// No packet of it is kept.
    #[error("No capture for this instance: {why}")]
    NoCapture {
        /// Why, for operators.
        why: String,
    },
    /// The node of an instance could not be asked.
    #[error("the node of the instance cannot be asked now, try again in a moment")]
    NodeUnavailable {
        /// Why, for the log.
        reason: String,
    },
    /// No such release tag.
    #[error("there is no release tag `{tag}`: `flagops releases` lists those that were seen")]
    TagNotFound {
        /// As sent.
        tag: String,
    },
    /// No such generation.
    #[error("there is no generation {number}: `flagops releases` lists those that are kept")]
    GenerationNotFound {
        /// As sent.
        number: u32,
    },
    /// What is asked of releases cannot be.
    #[error("{reason}")]
    BadRelease {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The images of what should go live are not there yet; they are being built.
    #[error("images of {} are being built first: ask again in a moment", .missing.iter().map(ChallengeId::as_str).collect::<Vec<_>>().join(", "))]
    ImagesMissing {
        /// Of which challenges.
        missing: Vec<ChallengeId>,
    },
    /// No such piece of evidence.
    #[error("there is no evidence `{id}`: `flagops fairness` lists what there is")]
    EvidenceNotFound {
        /// As sent.
        id: String,
    },
    /// The challenge has no such question.
    #[error("unknown question `{question}`")]
    UnknownQuestion {
        /// As sent.
        question: String,
        /// What there is.
        known: Vec<QuestionId>,
    },
    /// Questions it requires are not solved yet.
    #[error("question `{question}` is locked: solve {} first", .requires.iter().map(QuestionId::as_str).collect::<Vec<_>>().join(", "))]
    QuestionLocked {
        /// The question.
        question: QuestionId,
        /// What is missing.
        requires: Vec<QuestionId>,
    },
    /// No wrong answers left.
    #[error("no attempts left for this question ({cap} wrong answers)")]
    AttemptCap {
        /// Wire word of the mode.
        mode: &'static str,
        /// Wrong answers so far.
        wrong_attempts: u32,
        /// The cap.
        cap: u32,
    },
    /// The team downloads too much at a time.
    #[error("Max {limit} concurrent downloads per team")]
    TooManyDownloads {
        /// How many at a time.
        limit: u32,
    },
    /// Not a quiz.
    #[error("Challenge {id} is not a quiz")]
    NotAQuiz {
        /// The challenge.
        id: ChallengeId,
    },
    /// The mirror holds no such commit, or several that begin so.
    #[error(
        "Revision {name} not found: give 40 hex digits, or at least 7 that begin one commit only; what was pushed a moment ago is there after the next look (`flagops reconcile`)"
    )]
    RevisionNotFound {
        /// As sent.
        name: String,
    },
    /// The revision is being judged, and that takes longer than a caller waits.
    #[error("revision {revision} is still being read, ask again in a moment")]
    StillJudging {
        /// The revision.
        revision: Revision,
    },
    /// The wanted pause cannot be.
    #[error("{reason}")]
    BadPause {
        /// What is wrong.
        reason: String,
    },
    /// A person keeps it as it is.
    #[error("{what} is held {pause}")]
    Held {
        /// The object.
        what: String,
        /// By whom, until when, and why.
        pause: Box<Pause>,
    },
    /// No such file.
    #[error("attachment not found")]
    AttachmentNotFound,
    /// The token is unknown or revoked.
    #[error("Invalid or revoked token")]
    BadToken,
    /// The token was good once.
    #[error("Token has expired")]
    TokenExpired,
    /// The rules of accounts, teams or competitions say no.
    #[error("{0}")]
    Denied(Box<Denial>),
    /// The node does not keep instances apart, so it starts none; the reason is in a condition.
    #[error(
        "no instance starts right now: the walls of this node are being repaired ({reason}); instances that run are not affected, try again in a few minutes"
    )]
    NotIsolated {
        /// The reason of the condition.
        reason: String,
    },
    /// The engine does not answer; the reason is in a condition.
    #[error("the container engine is not available, try again in a moment")]
    EngineUnavailable,
    /// No image of it is there yet, so it cannot start.
    #[error("Challenge {id} cannot be started: {reason}")]
    NotStartable {
        /// The challenge.
        id: ChallengeId,
        /// Why.
        reason: String,
    },
    /// Nobody is to be told when something is wrong.
    #[error(
        "no receiver of notices is configured: put its address into a file and set `notify.url_file`"
    )]
    NoReceiver,
    /// The receiver of notices did not take one.
    #[error("{reason}")]
    NotDelivered {
        /// Why, without the address.
        reason: String,
    },
    /// The name of a team is not one.
    #[error("{reason}")]
    BadTeamName {
        /// Why.
        reason: String,
    },
    /// Something of ours failed; the cause is logged, not shown to players.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What every method of the platform returns.
pub type Outcome<T> = Result<T, PlatformError>;

impl From<Denial> for PlatformError {
    fn from(denial: Denial) -> Self {
        Self::Denied(Box::new(denial))
    }
}

impl From<StoreError> for PlatformError {
    fn from(error: StoreError) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl From<Refusal> for PlatformError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownQuestion { question, known } => {
                Self::UnknownQuestion { question, known }
            }
            Refusal::Locked { question, requires } => Self::QuestionLocked { question, requires },
            Refusal::CapReached { mode, wrong_attempts, cap, .. } => {
                Self::AttemptCap { mode, wrong_attempts, cap }
            }
        }
    }
}
