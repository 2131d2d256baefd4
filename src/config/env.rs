//! The overlay of environment variables: `FLAGOPS_SECTION__KEY` sets `section.key`.
//!
//! In:  the variables of the process. Out: settings named after their variable. An empty variable
//! is as good as none, since service managers cannot unset one.

use std::collections::BTreeMap;

use super::fault::{Fault, Origin};
use super::layers::{Layers, Raw, nearest};

/// Variables that belong to the commands and not to the configuration.
const OF_COMMANDS: &[&str] =
    &["FLAGOPS_CONFIG", "FLAGOPS_FORMAT", "FLAGOPS_TOKEN", "FLAGOPS_TOKEN_FILE", "FLAGOPS_URL"];

/// Keys without a section; every other key has `__` in its variable.
const TOP_LEVEL: &[&str] = &["data_dir", "listen"];

/// Puts every `FLAGOPS_…` variable of `env` into `layers`.
pub(super) fn overlay(layers: &mut Layers, env: &BTreeMap<String, String>) {
    if let Some(host) = env.get("DOCKER_HOST").filter(|host| !host.is_empty()) {
        layers.set_weak("engine.endpoint", host, Origin::Variable("DOCKER_HOST".to_owned()));
    }
    for (name, value) in env {
        let Some(rest) = name.strip_prefix("FLAGOPS_") else { continue };
        if value.is_empty() || OF_COMMANDS.contains(&name.as_str()) {
            continue;
        }
        let key = rest.to_ascii_lowercase().replace("__", ".");
        if key.contains('.') || TOP_LEVEL.contains(&key.as_str()) {
            layers.set(&key, Raw::Text(value.clone()), Origin::Variable(name.clone()));
        } else if let Some(meant) = nearest(&key, TOP_LEVEL.iter().copied()) {
            // Other `FLAGOPS_…` variables may be somebody else's; a misspelt one is not.
            layers.fault(Fault {
                origin: Origin::Variable(name.clone()),
                key,
                problem: "is not a setting".to_owned(),
                fix: format!("did you mean `{}`?", variable(meant)),
            });
        }
    }
}

/// The variable that sets `key`, e.g. `FLAGOPS_SOURCE__POLL_SECS`.
pub fn variable(key: &str) -> String {
    format!("FLAGOPS_{}", key.replace('.', "__").to_ascii_uppercase())
}
