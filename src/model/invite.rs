//! Ways into a team.

use super::{CompetitionId, TeamId, Timestamp, UserId};

/// One way into a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Its id.
    pub id: String,
    /// What is typed to use it.
    pub code: String,
    /// Into which team.
    pub team: TeamId,
    /// In which competition.
    pub competition: CompetitionId,
    /// Of which kind.
    pub kind: InviteKind,
    /// Whom it is about; `None` for a code.
    pub target: Option<UserId>,
    /// Who made it: a person, or a team by its own token.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it may be used; `None` is for ever.
    pub expires_at: Option<Timestamp>,
    /// How often it may be used; 0 is any number of times.
    pub max_uses: u32,
    /// How often it was.
    pub n_uses: u32,
    /// When it was taken back, refused or withdrawn.
    pub revoked_at: Option<Timestamp>,
}

impl Invite {
    /// Whether it can be used at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none()
            && self.expires_at.is_none_or(|end| end > now)
            && (self.max_uses == 0 || self.n_uses < self.max_uses)
    }
}

/// The kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InviteKind {
    /// For whoever has the code.
    Code,
    /// The captain asks one person.
    Direct,
    /// One person asks the captain.
    JoinRequest,
}

impl InviteKind {
    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Direct => "direct",
            Self::JoinRequest => "join_request",
        }
    }

    /// The kind that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Code, Self::Direct, Self::JoinRequest].into_iter().find(|it| it.as_str() == word)
    }
}
