//! The nodes of a platform: who they are, how they are reached, and what follows when one is silent.
//!
//! In:  heartbeats and the clock. Out: conditions of nodes, and workers that are woken where a node and
//! a row disagree.
//!
//! # Invariants
//! * A node that is silent has lost nothing: its instances fail or move only after the deadline, and
//!   what it has of them is taken down when it is back.
//! * The roster in memory is what the database says; it is changed after it.
//!
//! # Not here
//! One instance on one node (`remote`), which node gets one (`place`), the wire (`node`, `api`).

pub(crate) mod files;
pub(crate) mod images;
pub(crate) mod place;
pub(crate) mod remote;
pub(crate) mod told;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use super::queue;
use super::shared::{Shared, Statement, Swap};
use crate::model::{
    ConditionStatus, ConditionType, Duty, Happening, Instance, InstanceId, InstancePhase, Node,
    NodeId, NodeSample, Scope, Timestamp,
};
use crate::node::client::Connector;
use crate::node::wire::Beating;
use crate::node::{Node as Link, NodeError};
use crate::planner::lifecycle;
use crate::store::{InstanceFilter, StoreError, Which};
use crate::telemetry::Chain;

/// Samples that a slow listener may be behind.
const SAMPLES: usize = 256;
/// Between two looks whether nodes are silent.
const LOOK: Duration = Duration::from_secs(2);

/// A node and how it is reached.
pub(crate) struct Known {
    pub(crate) node: Node,
    /// What both sides show each other. Secret.
    pub(crate) token: String,
    pub(crate) link: Arc<dyn Link>,
}

/// Every node, by id.
pub(crate) type Roster = BTreeMap<NodeId, Arc<Known>>;

/// How a test reaches a node.
#[cfg(test)]
type FakeLinks = Mutex<BTreeMap<NodeId, Arc<dyn Link>>>;

/// What is known of the nodes.
pub(crate) struct Nodes {
    connector: Result<Connector, String>,
    roster: Swap<Roster>,
    /// Whoever changes the roster holds it.
    turn: tokio::sync::Mutex<()>,
    /// What files instances elsewhere have.
    files: files::Files,
    /// What each said of itself.
    pub(crate) told: told::Told,
    /// Who builds what for the others.
    pub(super) errands: images::Errands,
    /// How each node is, as it is heard of or missed; who listens too slowly loses the oldest.
    samples: broadcast::Sender<Arc<(NodeId, NodeSample)>>,
    /// What each node said last of its instances.
    beating: Mutex<BTreeMap<NodeId, BTreeMap<InstanceId, Beating>>>,
    #[cfg(test)]
    pub(crate) fakes: FakeLinks,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        Self {
            connector: Connector::new(),
            roster: Swap::default(),
            turn: tokio::sync::Mutex::default(),
            files: files::Files::default(),
            told: told::Told::default(),
            errands: images::Errands::new(),
            samples: broadcast::Sender::new(SAMPLES),
            beating: Mutex::default(),
            #[cfg(test)]
            fakes: Mutex::default(),
        }
    }

    /// Every sample from now on.
    pub(crate) fn follow_samples(&self) -> broadcast::Receiver<Arc<(NodeId, NodeSample)>> {
        self.samples.subscribe()
    }

    /// Tells whoever listens how a node is.
    pub(crate) fn tell_sample(&self, id: &NodeId, sample: NodeSample) {
        // Nobody need listen.
        let _ = self.samples.send(Arc::new((id.clone(), sample)));
    }

    /// Everybody.
    pub(crate) fn roster(&self) -> Arc<Roster> {
        self.roster.load()
    }

    /// One node.
    pub(crate) fn known(&self, id: &NodeId) -> Option<Arc<Known>> {
        self.roster.load().get(id).cloned()
    }

    /// How a node is reached.
    fn link(&self, node: &Node, token: &str) -> Option<Arc<dyn Link>> {
        #[cfg(test)]
        if let Some(fake) = self.fakes.lock().unwrap_or_else(PoisonError::into_inner).get(&node.id)
        {
            return Some(Arc::clone(fake));
        }
        let url = node.url.parse().ok()?;
        let connector = self.connector.as_ref().ok()?;
        let connector = match node.tls_pin.as_str() {
            "" => connector.clone(),
            pin => Connector::pinned(pin.parse().ok()?).ok()?,
        };
        Some(Arc::new(connector.node(url, token.to_owned())))
    }

    /// Whether nodes can be talked to at all; else why not.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.connector.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// What a node said last of one instance.
    pub(crate) fn said(&self, node: &NodeId, id: InstanceId) -> Option<Beating> {
        let beating = self.beating.lock().unwrap_or_else(PoisonError::into_inner);
        beating.get(node)?.get(&id).cloned()
    }

    fn heard(&self, id: &NodeId, instances: BTreeMap<InstanceId, Beating>) {
        self.beating.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), instances);
    }
}

/// Reads the roster from the database.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn refresh(shared: &Shared) -> Result<(), StoreError> {
    let _turn = shared.nodes.turn.lock().await;
    let (nodes, tokens) = (shared.store.nodes().await?, shared.store.node_tokens().await?);
    let before = shared.nodes.roster.load();
    let mut roster = Roster::new();
    for node in nodes {
        let Some(token) = tokens.get(&node.id) else { continue };
        let same = before.get(&node.id).filter(|it| {
            it.node.url == node.url && it.node.tls_pin == node.tls_pin && it.token == *token
        });
        let link = match same {
            Some(known) => Arc::clone(&known.link),
            None => match shared.nodes.link(&node, token) {
                Some(link) => link,
                None => continue,
            },
        };
        roster.insert(node.id.clone(), Arc::new(Known { node, token: token.clone(), link }));
    }
    shared.nodes.roster.store(roster);
    Ok(())
}

/// Takes in what a node said of itself: `node` is its row after that.
pub(crate) async fn replace(shared: &Shared, node: Node) {
    let _turn = shared.nodes.turn.lock().await;
    let mut roster = (*shared.nodes.roster.load()).clone();
    if let Some(known) = roster.get(&node.id) {
        let (token, link) = (known.token.clone(), Arc::clone(&known.link));
        roster.insert(node.id.clone(), Arc::new(Known { node, token, link }));
        shared.nodes.roster.store(roster);
    }
}

/// Watches for silent nodes until the daemon stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    if let Err(error) = refresh(&shared).await {
        tracing::error!(error = %Chain(&error), "could not read the nodes, trying again");
    }
    while shared.tasks.sleep(LOOK).await {
        if let Err(error) = look(&shared).await {
            tracing::error!(error = %Chain(&error), "could not look after the nodes, trying again");
        }
    }
}

async fn look(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let now = shared.now();
    let patience = shared.config.nodes.lost_after_secs;
    for node in shared.store.lose_nodes(now.plus_secs(-i64::from(patience)), now).await? {
        shared.nodes.tell_sample(&node.id, NodeSample::missed(now));
        state_lost(shared, &node, now).await;
    }
    let roster = shared.nodes.roster();
    let is_lost = |id: &NodeId| roster.get(id).is_some_and(|it| !it.node.is_heard(now, patience));
    let is_draining = |id: &NodeId| roster.get(id).is_some_and(|it| it.node.duty == Duty::Draining);
    if !roster.keys().any(|id| is_lost(id) || is_draining(id)) {
        return Ok(());
    }
    let filter = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
    for row in shared.store.instances(filter).await? {
        if row.phase == InstancePhase::Removing || row.node == NodeId::local() {
            continue;
        }
        if is_lost(&row.node) {
            after_loss(shared, &row).await?;
        } else if is_draining(&row.node) {
            place::relocate(shared, &row, "its node is being emptied").await?;
        }
    }
    Ok(())
}

/// An instance on a node that was not heard of for too long: elsewhere where it may, else its owner
/// reads why.
async fn after_loss(shared: &Arc<Shared>, row: &Instance) -> Result<(), StoreError> {
    if place::relocate(shared, row, "its node was lost").await? {
        return Ok(());
    }
    let (n_resets, why) = (row.n_resets, format!("Node {} unhealthy", row.node));
    let reason = why.clone();
    let change = move |row: &mut Instance| {
        let fits = lifecycle::fail(row, n_resets, reason);
        if fits {
            row.stop_reason = Some(crate::model::StopReason::NodeUnhealthy);
        }
        fits
    };
    if let Some((row, true)) = shared.store.change_instance(row.id, change).await? {
        tracing::warn!(
            instance.id = %row.id, node.id = %row.node,
            "instance {} is lost with its node {}", row.id, row.node
        );
        super::activities::failed(shared, &row, &why);
        queue::trigger(shared, row.id);
    }
    Ok(())
}

async fn state_lost(shared: &Shared, node: &Node, now: Timestamp) {
    let secs = now.millis_since(node.last_beat) / 1000;
    tracing::warn!(node.id = %node.id, "node {} was not heard of for {secs} s", node.id);
    let happening = Happening::NodeUnhealthy {
        node_id: node.id.to_string(),
        url: node.url.clone(),
        error_message: format!("No heartbeat for {secs}s"),
    };
    super::activities::of_node(shared, &node.id, happening);
    let message = format!(
        "node {} ({}) was not heard of: is it running, and does it reach this platform? Its instances fail, or go elsewhere where their challenge allows that",
        node.id, node.url
    );
    state(shared, &node.id, ConditionStatus::False, "Silent", message).await;
}

/// States whether a node is heard of.
pub(crate) async fn state(
    shared: &Shared,
    id: &NodeId,
    status: ConditionStatus,
    reason: &'static str,
    message: String,
) {
    let (scope, kind) = (Scope::Node(id.clone()), ConditionType::NodeConnected);
    shared.state(Statement { scope, kind, status, reason, message, revision: None }).await;
}

/// What a node said of its instances: wakes the worker of each that is not as its row says, and ends
/// what no row wants there.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn compare(
    shared: &Arc<Shared>,
    id: &NodeId,
    said: &[Beating],
) -> Result<(), StoreError> {
    let said: BTreeMap<InstanceId, Beating> =
        said.iter().filter_map(|it| Some((it.id.parse().ok()?, it.clone()))).collect();
    let filter = InstanceFilter { node: Some(id.clone()), ..InstanceFilter::default() };
    let rows = shared.store.instances(filter).await?;
    let rows: BTreeMap<InstanceId, Instance> = rows.into_iter().map(|row| (row.id, row)).collect();
    for (instance, row) in &rows {
        let agrees = said.get(instance).is_some_and(|it| {
            row.phase == InstancePhase::Ready
                && it.status == "ready"
                && it.n_resets == row.n_resets
                && it.n_restarts == row.n_restarts
        });
        if !agrees && !queue::is_busy(shared, *instance) {
            queue::trigger(shared, *instance);
        }
    }
    for instance in said.keys().filter(|instance| !rows.contains_key(instance)) {
        stray(shared, id, *instance).await?;
    }
    shared.nodes.heard(id, said);
    Ok(())
}

/// An instance on a node that no live row has there: over, or elsewhere by now, or unknown.
async fn stray(shared: &Arc<Shared>, node: &NodeId, id: InstanceId) -> Result<(), StoreError> {
    let Some(known) = shared.nodes.known(node) else { return Ok(()) };
    let row = shared.store.instance(id).await?;
    let (shared, node) = (Arc::clone(shared), node.clone());
    shared.clone().tasks.spawn("stray", async move {
        match row {
            // There is positive evidence: the row says that it is over, or at another place.
            Some(row) if row.node != node || !row.phase.is_live() => {
                match known.link.stop(id).await {
                    Ok(()) | Err(NodeError::NotFound(_)) => tracing::info!(
                        instance.id = %id, node.id = %node,
                        "node {node} still had instance {id}, which is over or elsewhere: it was ended there"
                    ),
                    Err(error) => tracing::warn!(
                        instance.id = %id, node.id = %node, error = %error,
                        "could not end an instance that node {node} still has; the next heartbeat tries again"
                    ),
                }
            }
            Some(_) => {}
            None => remote::adopt(&shared, &known, id).await,
        }
    });
    Ok(())
}
