//! A start that waits for room.

use super::{
    Actor, AskedFor, ChallengeId, Instance, InstanceId, InstancePhase, Revision, TeamId, Timestamp,
    TreeId,
};

/// A wish for an instance that no node has room for yet. It becomes one, or says why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Of the instance that it becomes.
    pub id: InstanceId,
    /// Of what.
    pub challenge: ChallengeId,
    /// For whom.
    pub team: TeamId,
    /// In which competition.
    pub competition: String,
    /// What was live when it was asked for; the instance is of what is live when there is room.
    pub revision: Revision,
    /// The challenge's folder then.
    pub tree: TreeId,
    /// The lease that was asked for in seconds; `None` is the default.
    pub ttl_secs: Option<i64>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Why it never became one, and since when that is known.
    pub failure: Option<(String, Timestamp)>,
    /// Who asked.
    pub actor: Actor,
    /// From where.
    pub address: String,
}

impl Waiting {
    /// The instance as far as it is known: of no node, without places.
    pub fn as_instance(&self) -> Instance {
        let error = self.failure.as_ref().map(|(why, _)| why.clone());
        Instance {
            phase: if error.is_some() { InstancePhase::Failed } else { InstancePhase::Queued },
            error,
            stopped_at: self.failure.as_ref().map(|(_, at)| *at),
            ..Instance::asked_for(
                AskedFor {
                    id: self.id,
                    challenge: self.challenge.clone(),
                    team: self.team,
                    competition: self.competition.clone(),
                    revision: self.revision,
                    tree: self.tree,
                },
                self.asked_at,
                0,
            )
        }
    }
}
