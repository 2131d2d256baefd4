//! The settings of the daemon: one typed [`Config`], loaded and checked at once.
//!
//! In:  `flagops.toml`, variables `FLAGOPS_SECTION__KEY`, flags; each layer wins over the former.
//! Out: a [`Config`], or [`ConfigErrors`] with every fault, its place and its fix.
//!
//! # Invariants
//! * Every key has a default except `source.repo`; `Config::default()` is what an empty file gives.
//! * Unknown keys are faults. Secrets are paths of files, never values.
//!
//! # Not here
//! When secrets are read (callers of [`Secret::read`] and [`identities::load`]), finding the file (`cli`).

mod acme;
mod capture;
mod check;
mod env;
mod fault;
mod file;
mod forge;
pub mod identities;
mod ingress;
mod layers;
mod nodes;
mod outside;
mod registry;
mod release;
mod schema;
pub mod secrets;
mod sections;
#[cfg(test)]
mod tests;
pub mod trust;
mod vpn;

use std::collections::BTreeMap;
use std::path::Path;

pub use acme::AcmeConfig;
pub use capture::{CaptureConfig, CaptureMode};
pub use env::variable;
pub use fault::{ConfigErrors, Fault, Origin};
pub use forge::{ForgeKind, StatusesConfig, WebhookConfig, WebhookKind};
pub use ingress::IngressConfig;
pub use nodes::{Labels, NodeConfig, NodesConfig};
pub use registry::RegistryConfig;
pub use release::ReleaseConfig;
pub use schema::schema;
pub use secrets::{Secret, SecretError};
pub use sections::{
    AttemptCaps, BuildCache, BuildNetworkChoice, BuildPlace, BuilderConfig, ChallengeIds, Config,
    EngineConfig, GcConfig, LimitsConfig, LogConfig, LogFormat, NetworkConfig, NoticeFormat,
    NotifyConfig, RecordsConfig, SecretsConfig, ShellConfig, ShellMode, SolverConfig, SolverGate,
    SourceConfig, Wall,
};
pub use vpn::{VpnConfig, VpnMode};

use layers::{Layers, Raw};

/// Settings given on the command line, by key path.
#[derive(Debug, Clone, Default)]
pub struct Overrides(BTreeMap<&'static str, (&'static str, String)>);

impl Overrides {
    /// No flags.
    pub fn new() -> Self {
        Self::default()
    }

    /// These with `key` set by `flag` (e.g. `--repo`), if it was given.
    #[must_use]
    pub fn with(
        mut self,
        key: &'static str,
        flag: &'static str,
        value: Option<impl ToString>,
    ) -> Self {
        if let Some(value) = value {
            self.0.insert(key, (flag, value.to_string()));
        }
        self
    }
}

/// Whether the settings must be enough to run the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Everything: a repository must be named.
    Daemon,
    /// What is set must be right; a missing repository is empty.
    Client,
}

impl Config {
    /// Loads the settings of the daemon.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load(
        file: Option<&Path>,
        env: BTreeMap<String, String>,
        flags: &Overrides,
    ) -> Result<Self, ConfigErrors> {
        Self::load_for(Need::Daemon, file, env, flags)
    }

    /// Loads the settings for `need`.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load_for(
        need: Need,
        file: Option<&Path>,
        env: BTreeMap<String, String>,
        flags: &Overrides,
    ) -> Result<Self, ConfigErrors> {
        let mut layers = Layers::default();
        if let Some(path) = file {
            file::read_into(&mut layers, path);
        }
        env::overlay(&mut layers, &env);
        for (key, (flag, value)) in &flags.0 {
            layers.set(key, Raw::Text(value.clone()), Origin::Flag((*flag).to_owned()));
        }
        let config = sections::take(&mut layers);
        check::check(&mut layers, &config, need);
        match layers.finish() {
            faults if faults.is_empty() => Ok(config),
            faults => Err(ConfigErrors { faults }),
        }
    }
}
