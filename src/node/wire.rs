//! Shapes on the wire between platform and node (`contract/http-api.md` §4), and what we add.
//!
//! Both sides use these very types. Members of our own have defaults, so that a node or a platform of
//! the reference, or of an older flagops, can leave them out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{NodeReport, Revision, TreeId, VpnProtocol, VpnSeat};
use crate::release::manifest::Manifest;

/// Asks for an instance.
#[derive(Clone, Serialize, Deserialize)]
pub struct StartOrder {
    /// Which challenge.
    pub challenge_id: String,
    /// The id that it gets.
    pub instance_id: String,
    /// The lease in seconds.
    pub ttl: i64,
    /// Exactly one for each question whose answer is minted. Secret.
    #[serde(default)]
    pub answers: BTreeMap<String, String>,
    /// Ignored: no path of a client reaches our disk.
    #[serde(default, skip_serializing)]
    pub proxy_output_dir: Option<Value>,
    /// What only flagops says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flagops: Option<StartExtras>,
}

impl std::fmt::Debug for StartOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StartOrder")
            .field("challenge_id", &self.challenge_id)
            .field("instance_id", &self.instance_id)
            .field("ttl", &self.ttl)
            .field("answers", &self.answers.keys())
            .finish_non_exhaustive()
    }
}

/// What a platform of ours says beside the contract's order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartExtras {
    /// The commit that it is started from; the node reads it from its own mirror.
    pub revision: Revision,
    /// The challenge's tree there: the node refuses another one.
    pub tree: TreeId,
    /// The generation that the platform is at.
    pub generation: u32,
    /// Whose it is: what templates show.
    pub team_id: String,
    /// Their name.
    pub team_name: String,
    /// In which competition.
    pub competition_id: String,
    /// Which incarnation.
    pub n_resets: u32,
    /// Which answers.
    pub answer_epoch: u32,
    /// Whether it must not answer any more when the platform was not heard of for this long; 0 for never.
    #[serde(default)]
    pub fence_secs: u32,
    /// Who may connect to its VPN; left out where it has none, or by an older platform: then its team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpn: Option<VpnOrder>,
}

/// Says who may connect to the VPN of an instance, and nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnOrder {
    /// Counts up: an earlier one that arrives late is refused.
    pub number: i64,
    /// Them.
    pub seats: Vec<VpnSeat>,
    /// What the gateway of an instance that starts is to speak; later ones change nothing of that.
    #[serde(default, skip_serializing_if = "VpnProtocol::is_openvpn")]
    pub protocol: VpnProtocol,
}

/// Who is connected to the VPN of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnSessions {
    /// As its gateway tells it: lines of OpenVPN's `status 3`, or of `gateway status` of WireGuard.
    pub text: String,
}

/// `GET …/shell`, in the query: a shell in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellOrder {
    /// The name of the container.
    pub container: String,
    /// `bash` or `sh`.
    #[serde(default = "bash")]
    pub shell: String,
}

fn bash() -> String {
    "bash".to_owned()
}

/// Asks for another incarnation.
#[derive(Clone, Serialize, Deserialize)]
pub struct ResetOrder {
    /// Which one: what the node has already it does not make again.
    pub n_resets: u32,
    /// Which answers.
    pub answer_epoch: u32,
    /// Its answers. Secret.
    pub answers: BTreeMap<String, String>,
}

impl std::fmt::Debug for ResetOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResetOrder").field("n_resets", &self.n_resets).finish_non_exhaustive()
    }
}

/// How an instance stands on its node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceState {
    /// Which.
    pub instance_id: String,
    /// `starting`, `ready` or `error`.
    pub status: String,
    /// Where it answers; null unless it is ready.
    #[serde(default)]
    pub attack_surface: Option<Surface>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
    /// What only flagops says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flagops: Option<InstanceExtras>,
}

/// What a node of ours says of an instance beside the contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceExtras {
    /// How far it is, finer than `status`.
    pub phase: String,
    /// Where it answers, with everything that the wall knows.
    pub endpoints: Vec<crate::model::Endpoint>,
    /// What it waits for, in words for its owner.
    #[serde(default)]
    pub obstacle: String,
    /// What is left of its lease here, in seconds: two clocks need not agree.
    pub remaining_secs: i64,
    /// Whether it failed because the platform was not heard of: it may be started again.
    #[serde(default)]
    pub is_fenced: bool,
    /// Which incarnation.
    pub n_resets: u32,
    /// Times a container of it was started again.
    pub n_restarts: u32,
    /// The last service that died.
    #[serde(default)]
    pub last_death: Option<crate::model::Death>,
    /// What it was started from: enough to write its row anew.
    pub challenge_id: String,
    /// Whose it is.
    pub team_id: String,
    /// In which competition.
    pub competition_id: String,
    /// The commit.
    pub revision: Revision,
    /// The tree.
    pub tree: TreeId,
    /// Seconds since it was asked for.
    pub age_secs: i64,
    /// Which answers.
    pub answer_epoch: u32,
    /// Whether its answers are known here.
    pub has_answers: bool,
}

/// Where to attack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Surface {
    /// What answers.
    #[serde(default)]
    pub services: Vec<Service>,
    /// Files of the instance.
    #[serde(default)]
    pub provided_files: Vec<FileEntry>,
    /// Always null.
    #[serde(default)]
    pub flag_path: Option<String>,
    /// The gateway of an engagement.
    #[serde(default)]
    pub vpn: Option<Vpn>,
}

/// One port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// `ssh`, `http`, `https` or `tcp`.
    pub service_type: String,
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Always null.
    #[serde(default)]
    pub credentials: Option<Value>,
    /// Where a browser begins.
    #[serde(default)]
    pub path: String,
    /// The service's name.
    #[serde(default)]
    pub label: String,
}

/// The gateway of an engagement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vpn {
    /// `udp`.
    pub proto: String,
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Empty here.
    #[serde(default)]
    pub config_url: String,
}

/// A file in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The name it is downloaded by.
    pub name: String,
    /// In bytes.
    pub size: u64,
}

/// Every file of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    /// Them.
    #[serde(default)]
    pub files: Vec<FileEntry>,
}

/// Whether every container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceHealth {
    /// It.
    pub is_healthy: bool,
}

/// Whether a node answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Where it says it answers.
    #[serde(default)]
    pub public_url: String,
    /// Instances that it takes on.
    #[serde(default)]
    pub capacity: u32,
    /// Instances that it has.
    #[serde(default)]
    pub running: u32,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Version of flagops.
    #[serde(default)]
    pub version: String,
}

/// What an agent beside an instance would be run with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRuntime {
    /// `docker`.
    pub kind: String,
    /// Always empty: we intercept no traffic.
    pub ca_volume: String,
    /// Likewise.
    pub proxy_url: String,
    /// Likewise.
    pub ca_cert_pem: String,
    /// Where the instance answers.
    pub target_hosts: Vec<String>,
}

/// Output of containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// It; empty when there is none.
    pub logs: String,
}

/// One container of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The engine's name of it.
    pub name: String,
    /// The service.
    pub service: String,
    /// The engine's word: `running`, `exited` and the like.
    pub status: String,
    /// The image.
    pub image: String,
    /// Whether it is ours, not the author's.
    pub is_sidecar: bool,
    /// Whether a command could be run in it.
    pub exec_ready: bool,
    /// Never.
    pub privileged: bool,
    /// Capabilities beside the default ones.
    pub cap_add: Vec<String>,
}

/// What became of a wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// A word.
    pub status: String,
}

/// What became of a stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Which.
    pub instance_id: String,
    /// `stopped`.
    pub status: String,
}

/// What a look at the remote changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RescanReply {
    /// Challenges at the newest revision.
    pub total: u32,
    /// What came.
    #[serde(default)]
    pub added: Vec<String>,
    /// What went.
    #[serde(default)]
    pub removed: Vec<String>,
}

/// How far the images of one challenge are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildReply {
    /// Which.
    pub challenge_id: String,
    /// `unbuilt`, `building`, `built` or `failed`.
    pub status: String,
    /// Unix seconds; 0 unless built.
    pub built_at: f64,
    /// Why it failed.
    pub error: String,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildAllReply {
    /// Challenges whose images are built now.
    #[serde(default)]
    pub queued: Vec<String>,
    /// Those that have them.
    #[serde(default)]
    pub skipped_built: Vec<String>,
    /// Those that are at it.
    #[serde(default)]
    pub skipped_in_progress: Vec<String>,
}

/// How far all images are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BuildStates {
    /// By challenge.
    #[serde(default)]
    pub rows: Vec<BuildReply>,
}

/// Renews a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewOrder {
    /// What is left of the lease, in seconds.
    pub ttl: u32,
}

/// Asks to join.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegisterOrder {
    /// Where the node answers.
    pub url: String,
    /// What people call it; the address when left out.
    #[serde(default)]
    pub display_name: String,
    /// Instances that it takes on.
    #[serde(default = "default_capacity")]
    pub capacity: u32,
    /// What placement may ask for.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The certificate that the node serves with, as a pin; one of an authority when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_pin: Option<String>,
}

/// What the contract says where nothing is said.
fn default_capacity() -> u32 {
    50
}

/// The answer to a node that joined, from a platform of either age: each spells two names its own way,
/// and ours has both.
#[derive(Clone, Deserialize)]
pub struct RegisterReply {
    id: Option<String>,
    node_id: Option<String>,
    node_token: Option<String>,
    token: Option<String>,
    /// What it follows, from a platform of ours.
    #[serde(default)]
    pub source: Option<SourceOffer>,
}

impl RegisterReply {
    /// The node's id, and what both sides show each other from now on; the latter is secret. `None` when
    /// the reply lacks one.
    pub fn identity(&self) -> Option<(&str, &str)> {
        let id = self.id.as_deref().or(self.node_id.as_deref())?;
        let token = self.node_token.as_deref().or(self.token.as_deref())?;
        Some((id, token))
    }
}

/// The repository that the platform follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceOffer {
    /// URL or path, without secrets.
    pub repo: String,
    /// The branch.
    #[serde(default)]
    pub branch: Option<String>,
    /// Which tags are releases: the node fetches them, too.
    #[serde(default)]
    pub pattern: Option<String>,
}

/// One heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who.
    pub node_id: String,
    /// Instances that it takes on.
    #[serde(default = "default_capacity")]
    pub capacity: u32,
    /// Counts up within one life of the node, so that an old one is told from a new one; 0 when unknown.
    #[serde(default)]
    pub beat: u64,
    /// Drawn at each start of the node: a beat of an earlier life does not count.
    #[serde(default)]
    pub life: String,
    /// How it stands.
    #[serde(flatten)]
    pub report: NodeReport,
    /// Its instances, short.
    #[serde(default)]
    pub instances: Vec<Beating>,
    /// What it states of itself; a platform takes what it knows of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Stated>,
}

/// One condition of a node, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// E.g. `Isolated`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// PascalCase word.
    #[serde(default)]
    pub reason: String,
    /// One sentence for people.
    #[serde(default)]
    pub message: String,
}

/// One instance in a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beating {
    /// Which.
    pub id: String,
    /// `starting`, `ready` or `error`.
    pub status: String,
    /// Which incarnation.
    pub n_resets: u32,
    /// Times a container of it was started again.
    pub n_restarts: u32,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// `ok`.
    pub status: String,
    /// What is live: a node that is behind asks for it.
    #[serde(default)]
    pub generation: u32,
    /// Its release.
    #[serde(default)]
    pub release: String,
    /// Commits whose images should be there.
    #[serde(default)]
    pub build: Vec<Revision>,
}

/// What is live, for a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveReply {
    /// Its number: a node never goes back.
    pub generation: u32,
    /// The id that the manifest must have.
    pub release: String,
    /// What goes live.
    pub manifest: Manifest,
}

#[cfg(test)]
mod tests;
