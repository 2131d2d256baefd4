//! Who plays, who asks, and what they answered.

use super::{ChallengeId, InstanceId, QuestionId, Revision, SubmissionId, TeamId, Timestamp};

/// A team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Its id.
    pub id: TeamId,
    /// Display name, unique.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Who sent a request, after its token was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What they may do.
    pub role: Role,
    /// Public id of the token used, for audit and rate limits; never the token.
    pub token_id: String,
}

impl Caller {
    /// The team they play for; `None` for an operator.
    pub fn team(&self) -> Option<TeamId> {
        match self.role {
            Role::Player { team } => Some(team),
            Role::Admin => None,
        }
    }
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The holder of `admin.token`.
    Admin,
    /// A member of a team.
    Player {
        /// The team.
        team: TeamId,
    },
}

/// One graded attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// Its id.
    pub id: SubmissionId,
    /// Who.
    pub team: TeamId,
    /// On what.
    pub challenge: ChallengeId,
    /// Through which instance; `None` for a quiz.
    pub instance: Option<InstanceId>,
    /// Which question.
    pub question: QuestionId,
    /// The raw answer; lists as JSON text.
    pub claimed: String,
    /// Whether it was right.
    pub is_correct: bool,
    /// When.
    pub submitted_at: Timestamp,
    /// Seconds from the instance's `started_at`, one decimal; 0 for wrong answers and quizzes.
    pub solve_time_secs: f64,
    /// The revision of the challenge it was graded against.
    pub revision: Revision,
}

/// The first right answer of a team to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solve {
    /// Who.
    pub team: TeamId,
    /// On what.
    pub challenge: ChallengeId,
    /// Which question.
    pub question: QuestionId,
    /// When.
    pub solved_at: Timestamp,
    /// How many teams had it then, this one included: 1 is first blood.
    pub rank: u32,
}
