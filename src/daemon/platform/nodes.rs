//! Nodes: invitations, joining, heartbeats, and what operators do with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::tokens::random;
use super::{Denial, Outcome, Platform, PlatformError};
use crate::daemon::{activities, nodes};
use crate::model::id::hex;
use crate::model::node::{MAX_LABELS, is_label};
use crate::model::{
    Caller, ConditionStatus, Duty, Happening, Instance, Node, NodeEvent, NodeId, NodeInvite,
    NodeReport, NodeSample, NodeUrl, Plain, Revision, Scope,
};
use crate::node::Node as Link;
use crate::node::client::ImageReply;
use crate::node::tls::Pin;
use crate::node::wire::{Heartbeat, HeartbeatReply, LiveReply, RegisterOrder, SourceOffer};
use crate::store::{Beat, Beaten, InstanceFilter, JoinError, NodeChange, Voucher};

/// The prefix of an invitation (`contract/http-api.md` §2).
const INVITE_PREFIX: &str = "reg_";
/// Longest name of a node.
const MAX_NAME: usize = 100;
/// Tokens longer than this are not looked up.
const MAX_TOKEN: usize = 256;
/// Instances that a node may say it takes on.
const MAX_CAPACITY: u32 = 100_000;

/// A node and what an operator wants to know beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeState {
    /// It.
    pub node: Node,
    /// Whether it was heard of lately.
    pub is_healthy: bool,
    /// Instances that it has, by the rows of the platform.
    pub n_instances: u32,
}

impl Platform {
    /// Makes an invitation for one node, which is shown once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn invite_node(&self, ttl_secs: u32) -> Outcome<(NodeInvite, String)> {
        let token = format!("{INVITE_PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<32>()?));
        let (id, now) = (hex(&random::<8>()?), self.now());
        let expires_at = now.plus_secs(i64::from(ttl_secs));
        self.shared.store.invite_node(&id, digest(&token), now, expires_at).await?;
        Ok((NodeInvite { id, created_at: now, expires_at, consumed_by: None }, token))
    }

    /// Every invitation, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn node_invites(&self) -> Outcome<Vec<NodeInvite>> {
        Ok(self.shared.store.node_invites().await?)
    }

    /// Takes an invitation back.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn revoke_node_invite(&self, id: &str) -> Outcome<()> {
        match self.shared.store.revoke_node_invite(id).await? {
            true => Ok(()),
            false => Err(PlatformError::NodeNotFound { id: cut(id) }),
        }
    }

    /// Takes a node on, vouched for by an invitation or by an administrator. Gives it with the token that
    /// both sides show each other from now on, and what it follows.
    ///
    /// # Errors
    /// When its address is none, or nobody vouches for it.
    pub async fn register_node(
        &self,
        bearer: &str,
        order: RegisterOrder,
    ) -> Outcome<(Node, String, SourceOffer)> {
        let url = self.node_url(&order.url)?;
        let id = url.node_id().ok_or_else(|| PlatformError::BadNode {
            reason: format!("`{}` makes no id of a node", cut(&order.url)),
        })?;
        let name = order.display_name.trim();
        let name = if name.is_empty() { url.to_string() } else { name.to_owned() };
        check_name(&name)?;
        check_labels(&order.labels)?;
        let tls_pin = match &order.tls_pin {
            None => String::new(),
            Some(text) => {
                let pin = text.parse::<Pin>();
                pin.map_err(|error| PlatformError::BadNode { reason: error.to_string() })?
                    .to_string()
            }
        };
        self.shared.nodes.check().map_err(|reason| PlatformError::BadNode { reason })?;
        let now = self.now();
        let node = Node {
            id,
            url: url.to_string(),
            name,
            capacity: order.capacity.min(MAX_CAPACITY),
            labels: order.labels,
            duty: Duty::Active,
            tls_pin,
            registered_at: now,
            last_beat: now,
            report: NodeReport::default(),
        };
        let voucher = self.voucher(bearer).await;
        let token = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let joined = self.shared.store.join_node(voucher, node, token.clone()).await;
        let node = joined.map_err(|error| match error {
            JoinError::Store(error) => error.into(),
            refused => PlatformError::NodeRefused { reason: refused.to_string() },
        })?;
        nodes::refresh(&self.shared).await?;
        tracing::info!(node.id = %node.id, node.url = %node.url, "node {} joined", node.id);
        let (node_id, url) = (node.id.to_string(), node.url.clone());
        let happening = Happening::NodeRegistered { node_id, url };
        activities::of_node(&self.shared, &node.id, happening);
        let words = format!("node {} ({}) joined", node.id, node.url);
        nodes::state(&self.shared, &node.id, ConditionStatus::True, "Ok", words).await;
        Ok((node, token, self.source_offer()))
    }

    /// The address of a node, checked.
    fn node_url(&self, text: &str) -> Outcome<NodeUrl> {
        let plain =
            if self.shared.config.nodes.allow_http { Plain::Allowed } else { Plain::Loopback };
        let url: Result<NodeUrl, _> = text.parse();
        url.and_then(|url| url.check_plain(plain).map(|()| url))
            .map_err(|error| PlatformError::BadNode { reason: error.to_string() })
    }

    async fn voucher(&self, bearer: &str) -> Voucher {
        let caller = self.authenticate(bearer).await;
        match caller {
            Ok(caller) if caller.is_administrator() => Voucher::Admin,
            Ok(_) | Err(_) => Voucher::Invite(digest(bearer)),
        }
    }

    /// What a node that joined follows.
    fn source_offer(&self) -> SourceOffer {
        let config = &self.shared.config;
        SourceOffer {
            repo: self.shared.mirror.remote().masked(),
            branch: config.source.branch.clone(),
            pattern: config.release.pattern.clone(),
        }
    }

    /// The node that shows `bearer`, if it is `id`.
    fn node_of(&self, bearer: &str, id: &str) -> Option<Arc<nodes::Known>> {
        let id: NodeId = id.parse().ok()?;
        let known = self.shared.nodes.known(&id)?;
        let is_it: bool = known.token.as_bytes().ct_eq(bearer.as_bytes()).into();
        (is_it && bearer.len() <= MAX_TOKEN).then_some(known)
    }

    /// Whether any node shows `bearer`: then it is another one than it says.
    fn is_any_node(&self, bearer: &str) -> bool {
        let roster = self.shared.nodes.roster();
        roster.values().any(|known| known.token.as_bytes().ct_eq(bearer.as_bytes()).into())
    }

    /// Takes a heartbeat in, and says what is live and what to build.
    ///
    /// # Errors
    /// When it is not from the node that it names.
    pub async fn heartbeat(&self, bearer: &str, heartbeat: Heartbeat) -> Outcome<HeartbeatReply> {
        let shared = &self.shared;
        let Some(known) = self.node_of(bearer, &heartbeat.node_id) else {
            return Err(self.refused_beat(bearer, &heartbeat.node_id).await);
        };
        let (id, now) = (known.node.id.clone(), self.now());
        let Heartbeat { capacity, beat, life, report, instances, conditions, .. } = heartbeat;
        let report = sane(report);
        let latency_ms = match report.sampled_at {
            at if at > 0.0 => (now.as_secs_f64() - at).max(0.0) * 1000.0,
            _ => 0.0,
        };
        let builds_changed = known.node.report.builds != report.builds
            || known.node.report.exports != report.exports;
        let capacity = capacity.min(MAX_CAPACITY);
        let node = Node { capacity, last_beat: now, report: report.clone(), ..known.node.clone() };
        let life = life.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
        let sample = NodeSample {
            at: now,
            is_healthy: true,
            cpu_percent: report.cpu_percent,
            memory_percent: report.memory_percent,
            disk_percent: report.disk_percent,
            latency_ms,
        };
        let kept = Beat { capacity, life, beat, report, latency_ms };
        match shared.store.beat_node(&id, kept, now).await? {
            Beaten::Unknown => return Err(PlatformError::NodeNotFound { id: id.to_string() }),
            // An answer all the same: whoever sent it twice means no harm, or learns nothing.
            Beaten::Stale => {
                return Ok(HeartbeatReply { status: "ok".to_owned(), ..Default::default() });
            }
            Beaten::Fresh => {}
            Beaten::Recovered(millis) => {
                tracing::info!(node.id = %id, "node {id} is back after {} s", millis / 1000);
                let happening = Happening::NodeRecovered {
                    node_id: id.to_string(),
                    url: node.url.clone(),
                    downtime_seconds: millis / 1000,
                };
                activities::of_node(shared, &id, happening);
                let words = format!("node {id} is back after {} s", millis / 1000);
                nodes::state(shared, &id, ConditionStatus::True, "Ok", words).await;
            }
        }
        shared.nodes.tell_sample(&id, sample);
        let was_closed = known.node.report.closed.clone();
        state_closed(self, &node, &was_closed).await;
        nodes::replace(shared, node).await;
        nodes::told::take(shared, &id, &conditions).await?;
        nodes::compare(shared, &id, &instances).await?;
        if builds_changed {
            let again = Arc::clone(shared);
            shared.tasks.spawn("releases", async move {
                crate::daemon::releases::advance(&again).await;
            });
        }
        self.reply().await
    }

    async fn reply(&self) -> Outcome<HeartbeatReply> {
        let shared = &self.shared;
        let active = shared.store.active().await?;
        let head = shared.head.load().revision;
        let candidate = shared.releases.candidate().map(|candidate| candidate.revision);
        let mut build: Vec<Revision> = candidate.into_iter().chain(head).collect();
        build.dedup();
        let (generation, release) = active.map_or((0, String::new()), |(generation, _)| {
            (generation.number, generation.release.to_string())
        });
        Ok(HeartbeatReply { status: "ok".to_owned(), generation, release, build })
    }

    /// In the words of the contract (`contract/http-api.md` §4.1).
    async fn refused_beat(&self, bearer: &str, id: &str) -> PlatformError {
        if self.is_any_node(bearer) {
            let reason = "Node token does not match target node".to_owned();
            return PlatformError::NodeRefused { reason };
        }
        match self.authenticate(bearer).await {
            Ok(caller) if caller.is_administrator() => PlatformError::NodeNotFound { id: cut(id) },
            Ok(_) | Err(_) => PlatformError::NodeRefused {
                reason: "Invalid node or admin credentials".to_owned(),
            },
        }
    }

    /// What is live, for a node that shows its token.
    ///
    /// # Errors
    /// When it is none of ours, or nothing is live.
    pub async fn live_for_node(&self, bearer: &str) -> Outcome<LiveReply> {
        if !self.is_any_node(bearer) {
            let reason = "Invalid node credentials".to_owned();
            return Err(PlatformError::NodeRefused { reason });
        }
        let active = self.shared.store.active().await?;
        let (generation, manifest) =
            active.ok_or(PlatformError::GenerationNotFound { number: 0 })?;
        Ok(LiveReply {
            generation: generation.number,
            release: generation.release.to_string(),
            manifest,
        })
    }

    /// The image of `key` for the node that shows `bearer`, or what it is to do in place.
    ///
    /// # Errors
    /// When it is none of ours, or `key` is no key.
    pub async fn image_for_node(
        &self,
        bearer: &str,
        key: &str,
        repository: Option<&str>,
    ) -> Outcome<ImageReply> {
        let roster = self.shared.nodes.roster();
        let is_it = |known: &&Arc<nodes::Known>| {
            bool::from(known.token.as_bytes().ct_eq(bearer.as_bytes()))
        };
        let asker = roster.values().find(is_it).ok_or_else(|| PlatformError::NodeRefused {
            reason: "Invalid node credentials".to_owned(),
        })?;
        let key = key
            .parse()
            .map_err(|_| Denial::invalid("build_key_invalid", "a build key is 64 hex digits"))?;
        Ok(nodes::images::supply(&self.shared, &asker.node.id, key, repository).await?)
    }

    /// Forgets a node: by itself, or by an administrator. Its instances fail, or go elsewhere.
    ///
    /// # Errors
    /// When neither asks.
    pub async fn remove_node(&self, bearer: &str, id: &str) -> Outcome<()> {
        if self.node_of(bearer, id).is_none() {
            let is_admin = self.authenticate(bearer).await;
            let is_admin = is_admin.is_ok_and(|caller| caller.is_administrator());
            if !is_admin {
                return Err(self.refused_beat(bearer, id).await);
            }
        }
        let Ok(id) = id.parse::<NodeId>() else { return Ok(()) };
        if self.shared.store.remove_node(&id, self.now()).await? {
            nodes::refresh(&self.shared).await?;
            self.shared.nodes.told.forget(&id);
            self.shared.store.clear_conditions(&Scope::Node(id.clone())).await?;
            tracing::info!(node.id = %id, "node {id} was removed");
            let happening = Happening::NodeRemoved { node_id: id.to_string() };
            activities::of_node(&self.shared, &id, happening);
            self.wake_rows_of(&id).await?;
        }
        Ok(())
    }

    async fn wake_rows_of(&self, id: &NodeId) -> Outcome<()> {
        let filter = InstanceFilter { node: Some(id.clone()), ..InstanceFilter::default() };
        for row in self.shared.store.instances(filter).await? {
            crate::daemon::queue::trigger(&self.shared, row.id);
        }
        Ok(())
    }

    /// Every node but the embedded one, by id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn nodes(&self) -> Outcome<Vec<NodeState>> {
        let usage = self.shared.store.usage().await?;
        let (now, roster) = (self.now(), self.shared.nodes.roster());
        let patience = self.shared.config.nodes.lost_after_secs;
        let state = |known: &Arc<nodes::Known>| NodeState {
            is_healthy: known.node.is_heard(now, patience),
            n_instances: usage.get(&known.node.id).map_or(0, |it| it.n_instances),
            node: known.node.clone(),
        };
        Ok(roster.values().map(state).collect())
    }

    /// One node.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn node(&self, id: &str) -> Outcome<NodeState> {
        let found = self.nodes().await?.into_iter().find(|it| it.node.id.as_str() == id);
        found.ok_or_else(|| PlatformError::NodeNotFound { id: cut(id) })
    }

    /// Changes a node, and writes down who did.
    ///
    /// # Errors
    /// When there is none of that id, or a name or label is none.
    pub async fn change_node(
        &self,
        caller: &Caller,
        id: &str,
        change: NodeChange,
        why: String,
    ) -> Outcome<NodeState> {
        let unknown = || PlatformError::NodeNotFound { id: cut(id) };
        let node: NodeId = id.parse().map_err(|_| unknown())?;
        if let Some(name) = &change.name {
            check_name(name)?;
        }
        if let Some(labels) = &change.labels {
            check_labels(labels)?;
        }
        let now = self.now();
        if let Some(duty) = change.duty {
            let what = match duty {
                Duty::Active => "uncordon_node",
                Duty::Cordoned => "cordon_node",
                Duty::Draining => "drain_node",
            };
            let (who, object) = (caller.token_id.clone(), format!("node {node}"));
            self.shared.store.note_deed(who, what, object, why, now).await?;
        }
        let changed = self.shared.store.change_node(&node, change, now).await?;
        let changed = changed.ok_or_else(unknown)?;
        let (node_id, display_name) = (changed.id.to_string(), changed.name.clone());
        activities::of_node(&self.shared, &node, Happening::NodeUpdated { node_id, display_name });
        nodes::replace(&self.shared, changed).await;
        // Which nodes count for a release may be others now.
        let again = Arc::clone(&self.shared);
        self.shared.tasks.spawn("releases", async move {
            crate::daemon::releases::advance(&again).await;
        });
        self.node(id).await
    }

    /// The last heartbeats of a node, the oldest first; none of one that nobody knows.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn node_samples(&self, id: &str) -> Outcome<Vec<NodeSample>> {
        match id.parse() {
            Ok(id) => Ok(self.shared.store.node_samples(&id).await?),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// The last things that happened to a node, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn node_events(&self, id: &str, limit: u32) -> Outcome<Vec<NodeEvent>> {
        match id.parse() {
            Ok(id) => Ok(self.shared.store.node_events(&id, limit).await?),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// How the node of an instance that is elsewhere is reached; `None` for one of this machine.
    pub(super) fn link_of(&self, instance: &Instance) -> Option<Arc<dyn Link>> {
        if instance.node == NodeId::local() {
            return None;
        }
        self.shared.nodes.known(&instance.node).map(|known| Arc::clone(&known.link))
    }
}

/// Says that a node starts nothing, or that it does again.
async fn state_closed(platform: &Platform, node: &Node, was: &str) {
    if node.report.closed == was {
        return;
    }
    let (status, reason, message) = match node.report.closed.as_str() {
        "" => (ConditionStatus::True, "Ok", format!("node {} starts instances", node.id)),
        why => {
            (ConditionStatus::False, "Closed", format!("node {} starts nothing: {why}", node.id))
        }
    };
    let statement = crate::daemon::shared::Statement {
        scope: Scope::Node(node.id.clone()),
        kind: crate::model::ConditionType::Healthy,
        status,
        reason,
        message,
        revision: None,
    };
    platform.shared.state(statement).await;
}

/// A report within bounds: a node may be wrong, or worse.
fn sane(mut report: NodeReport) -> NodeReport {
    let percent = |value: f64| if value.is_finite() { value.clamp(0.0, 100.0) } else { 0.0 };
    report.cpu_percent = percent(report.cpu_percent);
    report.memory_percent = percent(report.memory_percent);
    report.disk_percent = percent(report.disk_percent);
    if !report.sampled_at.is_finite() {
        report.sampled_at = 0.0;
    }
    for text in [
        &mut report.version,
        &mut report.architecture,
        &mut report.closed,
        &mut report.release,
        &mut report.mismatch,
    ] {
        *text = text.chars().filter(|c| !c.is_control()).take(500).collect();
    }
    report.runtimes = report.runtimes.into_iter().filter(|it| is_label(it)).take(64).collect();
    while report.builds.len() > 10_000 {
        report.builds.pop_last();
    }
    while report.exports.len() > 10_000 {
        report.exports.pop_last();
    }
    report
}

fn check_name(name: &str) -> Outcome<()> {
    let is_fine =
        (1..=MAX_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if is_fine {
        return Ok(());
    }
    let reason = format!("a node's name has 1 to {MAX_NAME} characters on one line");
    Err(PlatformError::BadNode { reason })
}

fn check_labels(labels: &BTreeMap<String, String>) -> Outcome<()> {
    let is_fine = labels.len() <= MAX_LABELS
        && labels.iter().all(|(key, value)| is_label(key) && is_label(value));
    if is_fine {
        return Ok(());
    }
    let reason = format!(
        "a node has at most {MAX_LABELS} labels, each of 1 to 63 letters, digits, `.`, `_`, `-` or `/`"
    );
    Err(PlatformError::BadNode { reason })
}

fn digest(token: &str) -> [u8; 32] {
    let text = if token.len() > MAX_TOKEN { "" } else { token };
    Sha256::digest(text.as_bytes()).into()
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
