//! What the API may ask of the daemon: one method per wish, typed answers, typed refusals.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::catalog::Finding;
use crate::model::{
    Build, BuildState, Caller, Challenge, ChallengeId, Condition, Instance, InstanceId, QuestionId,
    Revision, Solve, StopReason, Submission, Team, TeamId, Timestamp, TreeId,
};

/// The daemon as the API sees it. Cheap to clone.
#[derive(Clone)]
pub struct Platform {}

/// A challenge that players can start.
#[derive(Debug, Clone)]
pub struct LiveChallenge {
    /// The version that is live.
    pub challenge: Arc<Challenge>,
    /// The commit it comes from.
    pub revision: Revision,
    /// Since when this version is live.
    pub since: Timestamp,
}

/// The challenges that players can start, by id.
pub type LiveSet = BTreeMap<ChallengeId, LiveChallenge>;

/// A challenge as operators see it: also what is not live, and why.
#[derive(Debug, Clone)]
pub struct ChallengeState {
    /// Its id.
    pub id: ChallengeId,
    /// The version players get, if any.
    pub live: Option<LiveChallenge>,
    /// The tree at the newest revision; `None` when the folder is gone there.
    pub head_tree: Option<TreeId>,
    /// Whether the newest version is valid.
    pub is_valid: bool,
    /// Aggregated over the images of the newest valid version.
    pub build: BuildState,
    /// Those images.
    pub builds: Vec<Build>,
    /// Findings of the newest version.
    pub findings: Vec<Finding>,
}

/// The repository as operators see it.
#[derive(Debug, Clone)]
pub struct SourceState {
    /// The remote, credentials masked.
    pub remote: String,
    /// The branch that is followed, once known.
    pub branch: Option<String>,
    /// The newest revision read.
    pub revision: Option<Revision>,
    /// When the remote last answered.
    pub fetched_at: Option<Timestamp>,
    /// Findings that belong to no single challenge.
    pub findings: Vec<Finding>,
}

/// What a player asks for.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// The challenge.
    pub challenge: String,
    /// The competition; empty is the only one there is.
    pub competition: String,
    /// Wanted lease in seconds.
    pub ttl_secs: Option<i64>,
}

/// The verdict on one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Graded {
    /// What was recorded.
    pub submission: Submission,
    /// Rank of a first right answer; 0 for wrong and repeated ones.
    pub solve_rank: u32,
    /// Whether the team now has every question.
    pub is_fully_solved: bool,
    /// Wrong answers left; `None` when uncapped.
    pub attempts_remaining: Option<u32>,
}

/// An answer as sent: one text or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// One text.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// Numbers for `/health`, `/meta` and `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Instances that are starting or ready.
    pub running_instances: u32,
    /// Starting, ready or failed.
    pub live_instances: u32,
    /// The node's limit.
    pub max_instances: u32,
    /// Teams.
    pub teams: u32,
    /// Solved questions.
    pub solves: u32,
}

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
    /// Not a quiz.
    #[error("Challenge {id} is not a quiz")]
    NotAQuiz {
        /// The challenge.
        id: ChallengeId,
    },
    /// No such file.
    #[error("attachment not found")]
    AttachmentNotFound,
    /// The token is unknown or revoked.
    #[error("Invalid or revoked token")]
    BadToken,
    /// The engine does not answer; the reason is in a condition.
    #[error("the container engine is not available, try again in a moment")]
    EngineUnavailable,
    /// Something of ours failed; the cause is logged, not shown to players.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Answers of [`Platform::submit`] and friends.
pub type Outcome<T> = Result<T, PlatformError>;

impl Platform {
    /// Who holds `token`.
    ///
    /// # Errors
    /// [`PlatformError::BadToken`].
    pub async fn authenticate(&self, token: &str) -> Outcome<Caller> {
        let _ = token;
        std::future::ready(Err(PlatformError::BadToken)).await
    }

    /// What players can start now. One atomic load.
    pub fn live(&self) -> Arc<LiveSet> {
        Arc::default()
    }

    /// Bytes of a static attachment by its public name; templates are never served.
    pub async fn attachment(&self, challenge: &ChallengeId, name: &str) -> Outcome<Vec<u8>> {
        let _ = (challenge, name);
        std::future::ready(Err(PlatformError::AttachmentNotFound)).await
    }

    /// The challenge as it was at the revision the instance was started from; it may differ from
    /// the live version, or be live no more.
    pub async fn challenge_of(&self, instance: &Instance) -> Outcome<Arc<Challenge>> {
        std::future::ready(Err(PlatformError::ChallengeNotFound {
            id: instance.challenge.to_string(),
        }))
        .await
    }

    /// Bytes of a static attachment by its public name, as it was at the instance's revision;
    /// templates are never served.
    pub async fn instance_attachment(&self, instance: &Instance, name: &str) -> Outcome<Vec<u8>> {
        let _ = (instance, name);
        std::future::ready(Err(PlatformError::AttachmentNotFound)).await
    }

    /// Starts an instance for the caller's team; returns as soon as the intent is committed.
    pub async fn start(&self, caller: &Caller, request: StartRequest) -> Outcome<Instance> {
        let _ = (caller, request);
        std::future::ready(Err(PlatformError::EngineUnavailable)).await
    }

    /// One live or failed instance the caller may see: their team's, or any for an administrator.
    pub async fn instance(&self, caller: &Caller, id: &str) -> Outcome<Instance> {
        let _ = caller;
        std::future::ready(Err(PlatformError::InstanceNotFound { id: id.to_owned() })).await
    }

    /// Live and failed instances of the caller's team, or all for an administrator, oldest first.
    pub async fn instances(&self, caller: &Caller) -> Outcome<Vec<Instance>> {
        let _ = caller;
        std::future::ready(Ok(Vec::new())).await
    }

    /// Restarts the lease from now.
    pub async fn renew(
        &self,
        caller: &Caller,
        id: &str,
        ttl_secs: Option<i64>,
    ) -> Outcome<Instance> {
        let _ = (caller, ttl_secs);
        std::future::ready(Err(PlatformError::InstanceNotFound { id: id.to_owned() })).await
    }

    /// Stops an instance; returns when the intent is committed. A stopped one is not found.
    pub async fn stop(&self, caller: &Caller, id: &str, reason: StopReason) -> Outcome<Instance> {
        let _ = (caller, reason);
        std::future::ready(Err(PlatformError::InstanceNotFound { id: id.to_owned() })).await
    }

    /// The last lines of its containers, by service (administrators).
    pub async fn logs(&self, caller: &Caller, id: &str, n_lines: u32) -> Outcome<String> {
        let _ = (caller, n_lines);
        std::future::ready(Err(PlatformError::InstanceNotFound { id: id.to_owned() })).await
    }

    /// Grades and records an answer through an instance.
    pub async fn submit(
        &self,
        caller: &Caller,
        instance: &str,
        question: &str,
        answer: Answer,
    ) -> Outcome<Graded> {
        let _ = (caller, question, answer);
        std::future::ready(Err(PlatformError::InstanceNotFound { id: instance.to_owned() })).await
    }

    /// Grades and records an answer to a quiz, without an instance.
    pub async fn submit_quiz(
        &self,
        caller: &Caller,
        challenge: &str,
        question: &str,
        answer: Answer,
    ) -> Outcome<Graded> {
        let _ = (caller, question, answer);
        std::future::ready(Err(PlatformError::ChallengeNotFound { id: challenge.to_owned() })).await
    }

    /// Grades without recording a dynamic answer; capped modes count wrong attempts all the same.
    pub async fn verify(
        &self,
        caller: &Caller,
        instance: &str,
        question: &str,
        answer: Answer,
    ) -> Outcome<bool> {
        let _ = (caller, question, answer);
        std::future::ready(Err(PlatformError::InstanceNotFound { id: instance.to_owned() })).await
    }

    /// The caller's team's attempts, oldest first.
    pub async fn submissions(&self, caller: &Caller) -> Outcome<Vec<Submission>> {
        let _ = caller;
        std::future::ready(Ok(Vec::new())).await
    }

    /// Every solve on the platform, oldest first; counts of solves come from it.
    pub async fn solves(&self) -> Outcome<Vec<Solve>> {
        std::future::ready(Ok(Vec::new())).await
    }

    /// Wrong attempts of a team on a challenge by question.
    pub async fn wrong_attempts(
        &self,
        team: TeamId,
        challenge: &ChallengeId,
    ) -> Outcome<BTreeMap<QuestionId, u32>> {
        let _ = (team, challenge);
        std::future::ready(Ok(BTreeMap::new())).await
    }

    /// How many attempts each team made, right and wrong.
    pub async fn attempts(&self) -> Outcome<BTreeMap<TeamId, u32>> {
        std::future::ready(Ok(BTreeMap::new())).await
    }

    /// How often each challenge was started.
    pub async fn launches(&self) -> Outcome<BTreeMap<ChallengeId, u32>> {
        std::future::ready(Ok(BTreeMap::new())).await
    }

    /// Every team, by name.
    pub async fn teams(&self) -> Outcome<Vec<Team>> {
        std::future::ready(Ok(Vec::new())).await
    }

    /// Makes a token for team `name`, and the team when it is new. The token is shown once.
    pub async fn create_team_token(&self, name: &str) -> Outcome<(Team, String)> {
        let _ = name;
        std::future::ready(Err(PlatformError::BadToken)).await
    }

    /// The wrong answers a question of this wire mode allows; `None` when uncapped.
    pub fn attempt_cap(&self, mode: &str) -> Option<u32> {
        let _ = mode;
        None
    }

    /// The repository.
    pub async fn source(&self) -> Outcome<SourceState> {
        std::future::ready(Err(PlatformError::EngineUnavailable)).await
    }

    /// Every challenge of the newest revision and every live one, by id.
    pub async fn challenge_states(&self) -> Outcome<Vec<ChallengeState>> {
        std::future::ready(Ok(Vec::new())).await
    }

    /// Asks for the images of a challenge again, also when they failed for good.
    pub async fn rebuild(&self, challenge: &str) -> Outcome<()> {
        std::future::ready(Err(PlatformError::ChallengeNotFound { id: challenge.to_owned() })).await
    }

    /// Every condition.
    pub async fn conditions(&self) -> Outcome<Vec<Condition>> {
        std::future::ready(Ok(Vec::new())).await
    }

    /// Looks at the remote at once and returns when that look is done.
    pub async fn reconcile_now(&self) -> Outcome<SourceState> {
        std::future::ready(Err(PlatformError::EngineUnavailable)).await
    }

    /// Numbers.
    pub async fn counts(&self) -> Outcome<Counts> {
        std::future::ready(Ok(Counts::default())).await
    }

    /// Whether the engine answered its last real create.
    pub fn is_engine_ready(&self) -> bool {
        false
    }

    /// Prometheus text.
    pub fn metrics(&self) -> String {
        String::new()
    }

    /// When the daemon started, by its clock.
    pub fn started_at(&self) -> Timestamp {
        Timestamp::default()
    }

    /// Now, by the daemon's clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::default()
    }
}
