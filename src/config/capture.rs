//! `[capture]`: packets of instances that are kept on this machine.

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::layers::{Layers, Setting};
use super::sections::word_setting;
use crate::planner::capture::Bounds;

/// `[capture]`: packets of instances that are kept on this machine, newest first.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CaptureConfig {
    /// Whose packets are captured (default `asked`).
    pub mode: CaptureMode,
    /// Most MiB of one instance; beyond that its oldest packets go (default 16).
    #[schemars(range(min = 8, max = 64))]
    pub instance_mib: u32,
    /// Most MiB of all instances, those that are over included; beyond that the oldest go (default 1024).
    #[schemars(range(min = 8, max = 1_048_576))]
    pub node_mib: u32,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self { mode: CaptureMode::Asked, instance_mib: 16, node_mib: 1024 }
    }
}

impl CaptureConfig {
    pub(super) fn read(layers: &mut Layers, default: &Self) -> Self {
        Self {
            mode: layers.take("capture.mode", default.mode),
            instance_mib: layers.take_in("capture.instance_mib", default.instance_mib, 8..=64),
            node_mib: layers.take_in("capture.node_mib", default.node_mib, 8..=1_048_576),
        }
    }

    /// How much may be kept.
    pub(crate) fn bounds(&self) -> Bounds {
        let mib = |mib: u32| u64::from(mib) << 20;
        Bounds { instance_bytes: mib(self.instance_mib), node_bytes: mib(self.node_mib) }
    }
}

/// What stands in the schema as defaults.
pub(super) fn defaults(config: &CaptureConfig) -> Value {
    let CaptureConfig { mode, instance_mib, node_mib } = config;
    json!({ "mode": mode.as_str(), "instance_mib": instance_mib, "node_mib": node_mib })
}

word_setting!(
    /// Whose packets are captured.
    CaptureMode, "\"off\", \"asked\" or \"all\"" {
        /// Nobody's, whatever a challenge asks for.
        Off = "off",
        /// Those of challenges that ask for it.
        Asked = "asked",
        /// Everybody's.
        All = "all",
    }
);
