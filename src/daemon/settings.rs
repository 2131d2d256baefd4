//! Keeps what administrators set at hand, for everybody who reads it.

use std::collections::{BTreeMap, BTreeSet};

use super::shared::Shared;
use crate::config::Config;
use crate::contest::settings::{RateLimiting, Settings, ShellBounds};
use crate::contest::{AttemptCaps, LeaseBounds};
use crate::store::StoreError;

/// What the configuration alone gives.
pub(crate) fn configured(config: &Config) -> Settings {
    let limits = &config.limits;
    Settings {
        rate_limiting: RateLimiting::On(BTreeMap::new()),
        disabled: BTreeSet::new(),
        caps: AttemptCaps {
            single_select: limits.attempt_caps.single_select,
            multi_select: limits.attempt_caps.multi_select,
            static_text: limits.attempt_caps.r#static,
        },
        start_deadline_secs: limits.start_deadline_secs,
        lease: LeaseBounds { default_secs: limits.default_ttl_secs, max_secs: limits.max_ttl_secs },
        shell: ShellBounds::default(),
    }
}

/// Reads what is set. From then on it holds.
///
/// # Errors
/// When the database does not answer; then what held holds.
pub(crate) async fn restore(shared: &Shared) -> Result<(), StoreError> {
    let _turn = shared.settings_turn.lock().await;
    let stored = shared.store.settings().await?;
    shared.settings.store(configured(&shared.config).with(&stored));
    Ok(())
}
