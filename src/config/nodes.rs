//! `[nodes]` and `[node]`: what a platform wants of its nodes, and what this machine is as one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::layers::{Layers, Setting};
use super::sections::Config;
use crate::model::NodeUrl;
use crate::model::node::{MAX_LABELS, is_label};

/// `[nodes]`: how a platform deals with its nodes.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NodesConfig {
    /// Whether this machine runs instances too (default true).
    pub local: bool,
    /// A node that was not heard of for this many seconds is lost: its instances fail, or go elsewhere
    /// where their challenge allows that (default 90).
    #[schemars(range(min = 5, max = 3600))]
    pub lost_after_secs: u32,
    /// Whether nodes on other machines may be talked to without TLS: only where the network between is
    /// yours (default false).
    pub allow_http: bool,
    /// Percent of a node's memory that is promised to instances by their limits; 0 is without end
    /// (default 200: containers seldom use all that they may).
    #[schemars(range(min = 0, max = 10_000))]
    pub memory_percent: u32,
}

/// `[node]`: this machine as a node of a platform (`flagops node`).
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NodeConfig {
    /// The platform to join.
    #[schemars(with = "Option<String>", inner(regex(pattern = "^https?://")))]
    pub platform: Option<String>,
    /// A file with the invite; it is needed once.
    #[schemars(length(min = 1))]
    pub invite_file: Option<PathBuf>,
    /// Where the platform reaches this node (default: `http://` and `listen`).
    #[schemars(with = "Option<String>", inner(regex(pattern = "^https?://")))]
    pub public_url: Option<String>,
    /// Whether it serves TLS with a key of its own, which the platform pins when it joins (default false).
    pub tls: bool,
    /// The certificate of the platform as a pin, for one that no authority vouches for: its SHA-256 in
    /// hex.
    #[schemars(with = "Option<String>", inner(regex(pattern = "^[0-9a-fA-F:]{64,95}$")))]
    pub platform_pin: Option<String>,
    /// What people call it (default: its address).
    #[schemars(length(min = 1, max = 100))]
    pub name: Option<String>,
    /// Instances that it takes on; 0 is twice its processors or its GiB of memory, whichever is less
    /// (default 0).
    #[schemars(range(min = 0, max = 100_000))]
    pub capacity: u32,
    /// What placement may ask for: `key=value` pairs with commas between them.
    #[schemars(with = "Option<String>", inner(length(min = 1)))]
    pub labels: Option<Labels>,
    /// Seconds between two heartbeats (default 10).
    #[schemars(range(min = 1, max = 60))]
    pub heartbeat_secs: u32,
}

impl Default for NodesConfig {
    fn default() -> Self {
        Self { local: true, lost_after_secs: 90, allow_http: false, memory_percent: 200 }
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            platform: None,
            invite_file: None,
            public_url: None,
            tls: false,
            platform_pin: None,
            name: None,
            capacity: 0,
            labels: None,
            heartbeat_secs: 10,
        }
    }
}

/// Labels of a node; in the file `key=value` pairs with commas between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(pub BTreeMap<String, String>);

impl Setting for Labels {
    const WANTED: &'static str = "`key=value` pairs with commas between them, e.g. \"zone=a\"";
    fn from_text(text: &str) -> Result<Self, String> {
        let pair = |pair: &str| {
            let (key, value) = pair.trim().split_once('=')?;
            (is_label(key) && is_label(value)).then(|| (key.to_owned(), value.to_owned()))
        };
        let labels: Option<BTreeMap<_, _>> = text.split(',').map(pair).collect();
        let labels = labels.filter(|labels| labels.len() <= MAX_LABELS);
        labels.map(Self).ok_or_else(String::new)
    }
}

pub(super) fn take_nodes(layers: &mut Layers, default: &NodesConfig) -> NodesConfig {
    NodesConfig {
        local: layers.take("nodes.local", default.local),
        lost_after_secs: layers.take_in("nodes.lost_after_secs", default.lost_after_secs, 5..=3600),
        allow_http: layers.take("nodes.allow_http", default.allow_http),
        memory_percent: layers.take_in("nodes.memory_percent", default.memory_percent, 0..=10_000),
    }
}

pub(super) fn take_node(layers: &mut Layers, default: &NodeConfig) -> NodeConfig {
    NodeConfig {
        platform: layers.take_optional("node.platform"),
        invite_file: layers.take_optional("node.invite_file"),
        public_url: layers.take_optional("node.public_url"),
        tls: layers.take("node.tls", default.tls),
        platform_pin: layers.take_optional("node.platform_pin"),
        name: layers.take_optional("node.name"),
        capacity: layers.take_in("node.capacity", default.capacity, 0..=100_000),
        labels: layers.take_optional("node.labels"),
        heartbeat_secs: layers.take_in("node.heartbeat_secs", default.heartbeat_secs, 1..=60),
    }
}

/// Notes every address that is none.
pub(super) fn check(layers: &mut Layers, config: &Config) {
    let node = &config.node;
    for (key, url) in [("node.platform", &node.platform), ("node.public_url", &node.public_url)] {
        if let Some(url) = url
            && let Err(error) = url.parse::<NodeUrl>()
        {
            layers.refuse(key, format_args!("is wrong: {error}"), "give scheme, host and port");
        }
    }
}

/// Both sections as a file would say them.
pub(super) fn defaults(nodes: &NodesConfig, node: &NodeConfig) -> (Value, Value) {
    let NodesConfig { local, lost_after_secs, allow_http, memory_percent } = nodes;
    let nodes = json!({
        "local": local,
        "lost_after_secs": lost_after_secs,
        "allow_http": allow_http,
        "memory_percent": memory_percent,
    });
    let NodeConfig {
        platform,
        invite_file,
        public_url,
        tls,
        platform_pin,
        name,
        capacity,
        labels: _,
        heartbeat_secs,
    } = node;
    let node = json!({
        "platform": platform,
        "invite_file": invite_file,
        "public_url": public_url,
        "tls": tls,
        "platform_pin": platform_pin,
        "name": name,
        "capacity": capacity,
        "labels": null,
        "heartbeat_secs": heartbeat_secs,
    });
    (nodes, node)
}
