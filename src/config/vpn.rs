//! `[vpn]`: how players reach engagements.

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::layers::{Layers, Setting};
use super::sections::word_setting;
use crate::model::VpnProtocol;

/// `[vpn]`: how players reach engagements.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VpnConfig {
    /// Whether a team also gets one profile for all of its engagements (default `instance`).
    pub mode: VpnMode,
    /// What gateways speak that are made from now on, also those on other nodes (default `openvpn`).
    #[schemars(with = "String", extend("enum" = VpnProtocol::WORDS))]
    pub protocol: VpnProtocol,
}

impl Default for VpnConfig {
    fn default() -> Self {
        Self { mode: VpnMode::Instance, protocol: VpnProtocol::OpenVpn }
    }
}

impl VpnConfig {
    pub(super) fn read(layers: &mut Layers, default: &Self) -> Self {
        Self {
            mode: layers.take("vpn.mode", default.mode),
            protocol: layers.take("vpn.protocol", default.protocol),
        }
    }
}

/// What stands in the schema as defaults.
pub(super) fn defaults(config: &VpnConfig) -> Value {
    let VpnConfig { mode, protocol } = config;
    json!({ "mode": mode.as_str(), "protocol": protocol.as_str() })
}

word_setting!(
    /// Which VPN profiles there are.
    VpnMode, "\"instance\" or \"team\"" {
        /// One for each instance.
        Instance = "instance",
        /// One for each instance, and one that leads to all of a team.
        Team = "team",
    }
);

impl Setting for VpnProtocol {
    const WANTED: &'static str = "\"openvpn\" or \"wireguard\"";
    fn from_text(text: &str) -> Result<Self, String> {
        Self::from_word(text).ok_or_else(String::new)
    }
}
