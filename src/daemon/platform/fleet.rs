//! Questions to every other node at once. One that does not answer is told as such; it never makes the
//! whole question fail.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Platform;
use crate::daemon::nodes::Known;
use crate::model::{ChallengeId, NodeId};
use crate::node::wire::{BuildAllReply, BuildReply, BuildStates, RescanReply};
use crate::node::{Node, NodeError, Outcome};

/// How long a node is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most characters of what a node says went wrong.
const MAX_ERROR: usize = 300;
/// What the contract says of a node that is silent.
const SILENT: &str = "node offline (no recent heartbeat)";

/// What one node said, or why it said nothing.
#[derive(Debug, Clone)]
pub struct Told<T> {
    /// Which.
    pub node: NodeId,
    /// What it said.
    pub said: Result<T, String>,
}

impl Platform {
    /// How far the images are on every node but the embedded one.
    pub async fn builds_elsewhere(&self) -> Vec<Told<BuildStates>> {
        self.ask_nodes(|link| async move { link.build_states().await }).await
    }

    /// Asks every other node for the images of one challenge.
    pub async fn build_elsewhere(&self, id: &ChallengeId) -> Vec<Told<BuildReply>> {
        self.ask_nodes(|link| {
            let id = id.clone();
            async move { link.build(id).await }
        })
        .await
    }

    /// Asks every other node for every image that it does not have.
    pub async fn build_all_elsewhere(&self) -> Vec<Told<BuildAllReply>> {
        self.ask_nodes(|link| async move { link.build_all().await }).await
    }

    /// Lets every other node look at the remote.
    pub async fn rescan_elsewhere(&self) -> Vec<Told<RescanReply>> {
        self.ask_nodes(|link| async move { link.rescan().await }).await
    }

    async fn ask_nodes<T, A>(&self, ask: impl Fn(Arc<dyn Node>) -> A) -> Vec<Told<T>>
    where
        A: Future<Output = Outcome<T>>,
    {
        let (roster, now) = (self.shared.nodes.roster(), self.now());
        let patience = self.shared.config.nodes.lost_after_secs;
        let one = |known: &Arc<Known>| {
            let is_heard = known.node.is_heard(now, patience);
            let (node, asked) = (known.node.id.clone(), ask(Arc::clone(&known.link)));
            async move {
                if !is_heard {
                    return Told { node, said: Err(SILENT.to_owned()) };
                }
                let said = match tokio::time::timeout(PATIENCE, asked).await {
                    Ok(answer) => answer.map_err(|error| in_words(&error)),
                    Err(_) => Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
                };
                Told { node, said }
            }
        };
        join_all(roster.values().map(one)).await
    }
}

/// Why a node refused, in the contract's words where it has some; on one line.
fn in_words(error: &NodeError) -> String {
    let text = match error {
        NodeError::NotFound(why) => format!("node returned 404: {why}"),
        NodeError::Conflict(why) => format!("node returned 409: {why}"),
        NodeError::Invalid(why) => format!("node returned 422: {why}"),
        NodeError::Failed(why) => format!("node returned 500: {why}"),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_ERROR).collect()
}
