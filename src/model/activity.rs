//! What happened in a contest: who did what, for which team, on what.
//!
//! These are the recorded events of the contract; the stream and the listings are made from them.

use serde::{Deserialize, Serialize};

use super::{ChallengeId, CompetitionId, InstanceId, TeamId, Timestamp};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// When.
    pub at: Timestamp,
    /// What.
    pub happening: Happening,
    /// In which competition, where it is in one.
    pub competition: Option<CompetitionId>,
    /// Which team it is about.
    pub team: Option<TeamId>,
    /// Which challenge it is about.
    pub challenge: Option<ChallengeId>,
    /// Who did it.
    pub actor: Actor,
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Their id: of an account, a team, a node.
    pub id: String,
    /// Their name then.
    pub name: String,
    /// What they are.
    pub kind: ActorKind,
}

impl Actor {
    /// Flagops itself.
    pub fn system() -> Self {
        Self { id: String::new(), name: "flagops".to_owned(), kind: ActorKind::System }
    }
}

/// What somebody is who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// A player, or a team by its own token.
    Team,
    /// A node.
    Node,
    /// An administrator.
    Admin,
    /// Flagops itself.
    System,
}

impl ActorKind {
    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::Node => "node",
            Self::Admin => "admin",
            Self::System => "system",
        }
    }

    /// The kind that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Team, Self::Node, Self::Admin, Self::System];
        all.into_iter().find(|it| it.as_str() == word)
    }
}

/// What happened, with what clients are told beside who and where. The names are the contract's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "detail", rename_all = "snake_case")]
pub enum Happening {
    /// Somebody got a team.
    TeamRegistered {
        /// From where.
        ip: String,
    },
    /// Somebody asked for an instance.
    InstanceStarted {
        /// Which.
        instance_id: InstanceId,
        /// Where.
        node_id: String,
        /// From where.
        ip: String,
    },
    /// It can be used.
    InstanceReady {
        /// Which.
        instance_id: InstanceId,
        /// Where.
        node_id: String,
    },
    /// It failed.
    InstanceError {
        /// Which.
        instance_id: InstanceId,
        /// Where.
        node_id: String,
        /// Why, for players.
        error: String,
    },
    /// It is over.
    InstanceStopped {
        /// Which.
        instance_id: InstanceId,
        /// Where.
        node_id: String,
        /// Why; empty for a stop by its owner.
        reason: String,
        /// From where; empty where nobody asked.
        ip: String,
    },
    /// Its lease begins anew.
    InstanceRenewed {
        /// Which.
        instance_id: InstanceId,
        /// For how long, in seconds.
        ttl: u32,
    },
    /// A right answer.
    FlagCorrect {
        /// Through which; `None` for a quiz.
        instance_id: Option<InstanceId>,
        /// To which question.
        question_id: String,
        /// Seconds since the instance was ready.
        solve_time_s: f64,
        /// From where.
        ip: String,
    },
    /// A wrong answer.
    FlagWrong {
        /// Through which; `None` for a quiz.
        instance_id: Option<InstanceId>,
        /// To which question.
        question_id: String,
        /// Always 0.
        solve_time_s: f64,
        /// From where.
        ip: String,
    },
    /// A wrong answer that is the right one of another team's instance. For organizers only.
    FlagShared {
        /// Through which instance it was given.
        instance_id: Option<InstanceId>,
        /// To which question.
        question_id: String,
        /// Who gave it.
        from_team_id: TeamId,
        /// Whose it is.
        owner_team_id: TeamId,
        /// Of which instance.
        owner_instance_id: InstanceId,
        /// From where it was given.
        ip: String,
    },
    /// A node joined.
    NodeRegistered {
        /// Which.
        node_id: String,
        /// Where; for operators.
        url: String,
    },
    /// It was not heard of for too long.
    NodeUnhealthy {
        /// Which.
        node_id: String,
        /// Where; for operators.
        url: String,
        /// For how long.
        error_message: String,
    },
    /// It was heard of again.
    NodeRecovered {
        /// Which.
        node_id: String,
        /// Where; for operators.
        url: String,
        /// For how long it was not.
        downtime_seconds: i64,
    },
    /// It was removed.
    NodeRemoved {
        /// Which.
        node_id: String,
    },
    /// Its name, labels or duty changed.
    NodeUpdated {
        /// Which.
        node_id: String,
        /// What people call it.
        display_name: String,
    },
    /// Somebody got another role.
    TeamRoleChanged {
        /// Whose.
        target_user_id: String,
        /// Before.
        previous_role: String,
        /// After.
        new_role: String,
    },
    /// Somebody runs a competition, or no more.
    CompetitionAdminChanged {
        /// Which.
        competition_id: CompetitionId,
        /// Who.
        target_user_id: String,
        /// `granted` or `revoked`.
        action: String,
    },
    /// Somebody may take part in a private competition, or no more.
    CompetitionInviteChanged {
        /// Which.
        competition_id: CompetitionId,
        /// Who.
        target_user_id: String,
        /// `invited` or `revoked`.
        action: String,
    },
    /// A setting was set or taken back.
    PlatformSettingChanged {
        /// Which.
        setting_key: String,
        /// Where what holds now comes from: `db`, `env` or `default`.
        source: String,
        /// `set` or `unset`.
        action: String,
    },
    /// A team got its attempts at a question back.
    QuestionAttemptReset {
        /// Which.
        question_id: String,
        /// Why.
        reason: String,
    },
    /// Somebody asked for a shell in a container.
    AdminShellSessionRequested {
        /// Which shell.
        session_id: String,
        /// In which instance.
        instance_id: InstanceId,
        /// In which container.
        container: String,
        /// Where.
        node_id: String,
        /// Why, in their words.
        reason: String,
    },
    /// It is open.
    AdminShellSessionOpened {
        /// Which shell.
        session_id: String,
        /// In which instance.
        instance_id: InstanceId,
        /// In which container.
        container: String,
        /// Where.
        node_id: String,
        /// What is recorded of it.
        recording_path: String,
    },
    /// It is closed.
    AdminShellSessionClosed {
        /// Which shell.
        session_id: String,
        /// In which instance.
        instance_id: InstanceId,
        /// In which container.
        container: String,
        /// Where.
        node_id: String,
        /// What was recorded of it.
        recording_path: String,
        /// For how long it was open.
        duration_s: f64,
        /// How much was typed.
        bytes_in: u64,
        /// How much was shown.
        bytes_out: u64,
        /// Why it was closed.
        reason: String,
    },
    /// Somebody read what was recorded of a shell.
    AdminShellRecordingViewed {
        /// Of which shell.
        session_id: String,
        /// What.
        recording_path: String,
    },
    /// Organizers tell something.
    AnnouncementCreated {
        /// Which.
        announcement_id: String,
    },
    /// They tell it otherwise.
    AnnouncementUpdated {
        /// Which.
        announcement_id: String,
    },
    /// They took it back.
    AnnouncementDeleted {
        /// Which.
        announcement_id: String,
    },
}
