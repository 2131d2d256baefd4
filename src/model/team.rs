//! Who plays, who asks, and what they answered.

use super::{
    Account, AccountRole, ChallengeId, CompetitionId, Grant, InstanceId, QuestionId, Revision,
    SubmissionId, TeamId, Timestamp, UserId,
};

/// A team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Its id.
    pub id: TeamId,
    /// The one that it plays in.
    pub competition: CompetitionId,
    /// Display name, unique in the competition.
    pub name: String,
    /// What it says about itself.
    pub description: String,
    /// Who leads it; `None` where it has tokens of its own instead of members.
    pub captain: Option<UserId>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Somebody in a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// Their name.
    pub name: String,
    /// Since when.
    pub joined_at: Timestamp,
}

/// A place in a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// In which competition.
    pub competition: CompetitionId,
    /// In which team.
    pub team: TeamId,
}

/// Who sent a request, after its token was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What they may do.
    pub role: Role,
    /// Public id of the token used, for audit and rate limits; never the token.
    pub token_id: String,
    /// Whose account the token is of; `None` for `admin.token` and for tokens of teams.
    pub account: Option<Account>,
    /// The teams they play for with this token, at most one in each competition.
    pub memberships: Vec<Membership>,
    /// What a fine-grained token is limited to; `None` is no limit.
    pub grant: Option<Grant>,
    /// Where they ask from; empty where nobody knows.
    pub address: String,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything: the holder of `admin.token`, or an administrator who does an administrator's
    /// work.
    Admin,
    /// Play for the teams they are in.
    Player,
}

impl Caller {
    /// The holder of `admin.token`, or one who acts like it.
    pub fn administrator(token_id: &str) -> Self {
        Self {
            role: Role::Admin,
            token_id: token_id.to_owned(),
            account: None,
            memberships: Vec::new(),
            grant: None,
            address: String::new(),
        }
    }

    /// The holder of a token of a team.
    pub fn of_team(membership: Membership, token_id: String) -> Self {
        Self {
            role: Role::Player,
            token_id,
            account: None,
            memberships: vec![membership],
            grant: None,
            address: String::new(),
        }
    }

    /// The holder of a token of an account.
    pub fn of_account(
        account: Account,
        memberships: Vec<Membership>,
        token_id: String,
        grant: Option<Grant>,
    ) -> Self {
        let mut caller = Self {
            role: Role::Player,
            token_id,
            account: Some(account),
            memberships,
            grant,
            address: String::new(),
        };
        if let Some(grant) = &caller.grant {
            caller.memberships.retain(|it| grant.reach.admits(&it.competition));
        }
        caller
    }

    /// The same person doing an administrator's work, if they may: never with a fine-grained token.
    pub fn as_administrator(self, least: AccountRole) -> Option<Self> {
        let is_one = match (&self.account, self.role) {
            (_, Role::Admin) => true,
            (Some(account), Role::Player) => {
                account.role >= least.max(AccountRole::Admin) && self.grant.is_none()
            }
            (None, Role::Player) => false,
        };
        is_one.then_some(Self { role: Role::Admin, ..self })
    }

    /// Whether they are an administrator, whatever they do now.
    pub fn is_administrator(&self) -> bool {
        self.clone().as_administrator(AccountRole::Admin).is_some()
    }

    /// The team they play for, if there is exactly one.
    pub fn team(&self) -> Option<TeamId> {
        match self.memberships.as_slice() {
            [only] => Some(only.team),
            _ => None,
        }
    }

    /// The team they play for in `competition`.
    pub fn team_in(&self, competition: &CompetitionId) -> Option<TeamId> {
        self.memberships.iter().find(|it| it.competition == *competition).map(|it| it.team)
    }

    /// Every team they play for.
    pub fn teams(&self) -> Vec<TeamId> {
        self.memberships.iter().map(|it| it.team).collect()
    }

    /// Whether they play for `team`.
    pub fn plays_for(&self, team: TeamId) -> bool {
        self.memberships.iter().any(|it| it.team == team)
    }

    /// How the audit names them.
    pub fn name(&self) -> String {
        match (&self.account, self.memberships.as_slice()) {
            (Some(account), _) => format!("{} ({})", account.name, account.id),
            (None, [only]) => format!("team {}", only.team),
            (None, _) => self.token_id.clone(),
        }
    }
}

/// One graded attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// Its id.
    pub id: SubmissionId,
    /// Who.
    pub team: TeamId,
    /// Which of its members; `None` for a token of the team.
    pub user: Option<UserId>,
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
