//! What nodes state of themselves, among the conditions of their platform: one place to look, and
//! notices for all machines.
//!
//! In:  what a heartbeat says. Out: conditions of the node's scope.
//!
//! # Invariants
//! * A node speaks of itself alone, and never of whether it is heard of: that the platform knows better.
//! * What it said once and says no more is not taken for true any longer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::super::shared::Shared;
use crate::model::{Condition, ConditionStatus, ConditionType, NodeId, Scope};
use crate::node::wire::Stated;
use crate::store::{NewCondition, StoreError};

/// What a node is listened to about.
const KINDS: &[ConditionType] = &[
    ConditionType::DockerAvailable,
    ConditionType::Isolated,
    ConditionType::DiskPressure,
    ConditionType::CertificateValid,
    ConditionType::Drifted,
    ConditionType::PruneHeld,
    ConditionType::Recovering,
    ConditionType::Stalled,
];
/// Longest message that is kept, in characters.
const MAX_MESSAGE: usize = 500;
/// Longest reason.
const MAX_REASON: usize = 64;

/// What each node said last, so that a heartbeat without news costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<BTreeMap<NodeId, Vec<Stated>>>);

impl Told {
    /// Whether this is news; then it is what was said last.
    fn is_news(&self, id: &NodeId, said: &[Stated]) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(id).is_some_and(|before| before == said) {
            return false;
        }
        told.insert(id.clone(), said.to_vec());
        true
    }

    /// Forgets a node, with its conditions or because they could not be written.
    pub(crate) fn forget(&self, id: &NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// What this machine tells its platform.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn own(shared: &Shared) -> Result<Vec<Stated>, StoreError> {
    let all = shared.store.conditions().await?.into_iter();
    let is_own =
        |it: &Condition| it.scope == Scope::Node(NodeId::local()) && KINDS.contains(&it.kind);
    let stated = |it: Condition| Stated {
        kind: it.kind.to_string(),
        status: it.status.to_string(),
        reason: it.reason,
        message: it.message,
    };
    Ok(all.filter(is_own).map(stated).collect())
}

/// Takes in what node `id` says of itself.
///
/// # Errors
/// When the database does not answer; the next heartbeat says it again.
pub(crate) async fn take(shared: &Shared, id: &NodeId, said: &[Stated]) -> Result<(), StoreError> {
    if !shared.nodes.told.is_news(id, said) {
        return Ok(());
    }
    let written = write(shared, id, said).await;
    if written.is_err() {
        shared.nodes.told.forget(id);
    }
    written
}

async fn write(shared: &Shared, id: &NodeId, said: &[Stated]) -> Result<(), StoreError> {
    let known = shared.store.conditions().await?;
    for condition in accepted(id, said, &known) {
        shared.note(condition).await?;
    }
    Ok(())
}

/// What is to be stated of `id` after it said so, where `known` is stated so far.
fn accepted(id: &NodeId, said: &[Stated], known: &[Condition]) -> Vec<NewCondition> {
    let scope = Scope::Node(id.clone());
    let mut kinds = BTreeSet::new();
    let mut new = Vec::new();
    for one in said {
        let kind = ConditionType::from_word(&one.kind).filter(|kind| KINDS.contains(kind));
        let (Some(kind), Some(status)) = (kind, ConditionStatus::from_word(&one.status)) else {
            continue;
        };
        if kinds.insert(kind) {
            let reason: String =
                one.reason.chars().filter(char::is_ascii_alphanumeric).take(MAX_REASON).collect();
            let reason = if reason.is_empty() { "Told".to_owned() } else { reason };
            let message =
                one.message.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
            new.push(NewCondition {
                scope: scope.clone(),
                kind,
                status,
                reason,
                message,
                revision: None,
            });
        }
    }
    let is_old = |it: &&Condition| {
        it.scope == scope
            && KINDS.contains(&it.kind)
            && !kinds.contains(&it.kind)
            && it.status != ConditionStatus::Unknown
    };
    let withdrawn = known.iter().filter(is_old).map(|it| NewCondition {
        scope: scope.clone(),
        kind: it.kind,
        status: ConditionStatus::Unknown,
        reason: "NotTold".to_owned(),
        message: format!("node {id} says nothing of it any more"),
        revision: None,
    });
    new.into_iter().chain(withdrawn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn node() -> NodeId {
        "10.0.0.2_8101".parse().unwrap()
    }

    fn stated(kind: &str, status: &str, reason: &str, message: &str) -> Stated {
        Stated {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }

    fn words(new: &[NewCondition]) -> Vec<String> {
        let word = |it: &NewCondition| {
            format!("{} {}={} {}: {}", it.scope, it.kind, it.status, it.reason, it.message)
        };
        new.iter().map(word).collect()
    }

    #[test]
    fn a_node_speaks_of_itself_within_bounds() {
        let long = "x".repeat(2_000);
        let said = [
            stated("CertificateValid", "False", "Expired", "it ended\nyesterday"),
            stated("CertificateValid", "True", "Ok", "said twice: the first counts"),
            stated("DiskPressure", "True", "", &long),
            // Not its business, not known, no status.
            stated("NodeConnected", "True", "Ok", "I am here"),
            stated("Released", "False", "Lies", "nothing is live"),
            stated("Moonlight", "True", "New", "of a newer version"),
            stated("Isolated", "maybe", "Ok", ""),
        ];
        let new = accepted(&node(), &said, &[]);
        let x = "x".repeat(MAX_MESSAGE);
        assert_eq!(
            words(&new),
            [
                "node/10.0.0.2_8101 CertificateValid=False Expired: it endedyesterday".to_owned(),
                format!("node/10.0.0.2_8101 DiskPressure=True Told: {x}"),
            ]
        );
    }

    #[test]
    fn what_is_said_no_more_is_not_taken_for_true() {
        let known = |scope: Scope, kind, status| Condition {
            scope,
            kind,
            status,
            reason: "Ok".to_owned(),
            message: String::new(),
            since: Timestamp::default(),
            revision: None,
        };
        let (own, other) = (Scope::Node(node()), Scope::Node(NodeId::local()));
        let known = [
            known(own.clone(), ConditionType::Isolated, ConditionStatus::False),
            known(own.clone(), ConditionType::NodeConnected, ConditionStatus::True),
            known(own.clone(), ConditionType::DockerAvailable, ConditionStatus::Unknown),
            known(own, ConditionType::DiskPressure, ConditionStatus::True),
            known(other, ConditionType::Isolated, ConditionStatus::False),
        ];
        let new = accepted(&node(), &[stated("DiskPressure", "False", "Ok", "room")], &known);
        assert_eq!(
            words(&new),
            [
                "node/10.0.0.2_8101 DiskPressure=False Ok: room",
                "node/10.0.0.2_8101 Isolated=Unknown NotTold: node 10.0.0.2_8101 says nothing of it any more",
            ]
        );
    }
}
