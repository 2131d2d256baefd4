//! Settings that act at once, for administrators.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Denial, Outcome, Platform};
use crate::contest::settings::{SettingKey, Settings};
use crate::daemon::{activities, settings};
use crate::model::{Caller, Happening};

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingSource {
    /// An administrator set it.
    Stored,
    /// The configuration: file, variables, flags.
    Configured,
    /// Nobody said anything.
    BuiltIn,
}

/// One setting as administrators see it.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingState {
    /// Which.
    pub key: SettingKey,
    /// What holds.
    pub value: Value,
    /// Why.
    pub source: SettingSource,
    /// What is configured; null when nothing is.
    pub configured: Value,
    /// What holds when nobody says anything.
    pub built_in: Value,
}

impl Platform {
    /// What holds now. One atomic load.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.settings.load()
    }

    /// Every setting, in the contract's order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn setting_states(&self) -> Outcome<Vec<SettingState>> {
        let stored = self.shared.store.settings().await?;
        Ok(SettingKey::ALL.into_iter().map(|key| self.state_of_setting(key, &stored)).collect())
    }

    /// Sets one; it acts when this returns.
    ///
    /// # Errors
    /// When there is no such key, or it cannot have that value.
    pub async fn set_setting(
        &self,
        caller: &Caller,
        key: &str,
        value: Value,
    ) -> Outcome<SettingState> {
        let key = known(key)?;
        key.check(&value).map_err(|why| Denial::bad_request("", why))?;
        let who = caller.name();
        self.shared.store.set_setting(key, value, who, self.now()).await?;
        self.changed_setting(caller, key, "set").await
    }

    /// Takes one back, so that what is configured holds again.
    ///
    /// # Errors
    /// When there is no such key.
    pub async fn unset_setting(&self, caller: &Caller, key: &str) -> Outcome<SettingState> {
        let key = known(key)?;
        self.shared.store.unset_setting(key).await?;
        self.changed_setting(caller, key, "unset").await
    }

    async fn changed_setting(
        &self,
        caller: &Caller,
        key: SettingKey,
        action: &str,
    ) -> Outcome<SettingState> {
        settings::restore(&self.shared).await?;
        let stored = self.shared.store.settings().await?;
        let state = self.state_of_setting(key, &stored);
        let happening = Happening::PlatformSettingChanged {
            setting_key: key.as_str().to_owned(),
            source: state.source.as_str().to_owned(),
            action: action.to_owned(),
        };
        activities::of_platform(&self.shared, caller, happening);
        Ok(state)
    }

    fn state_of_setting(
        &self,
        key: SettingKey,
        stored: &BTreeMap<SettingKey, Value>,
    ) -> SettingState {
        let configured = settings::configured(&self.shared.config).value(key);
        let built_in = settings::configured(&crate::config::Config::default()).value(key);
        let is_configured = configured != built_in;
        let stored = stored.get(&key).filter(|value| key.check(value).is_ok()).cloned();
        let (value, source) = match stored {
            Some(value) => (value, SettingSource::Stored),
            None if is_configured => (configured.clone(), SettingSource::Configured),
            None => (built_in.clone(), SettingSource::BuiltIn),
        };
        let configured = if is_configured { configured } else { Value::Null };
        SettingState { key, value, source, configured, built_in }
    }
}

impl SettingSource {
    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "db",
            Self::Configured => "env",
            Self::BuiltIn => "default",
        }
    }
}

fn known(key: &str) -> Result<SettingKey, Denial> {
    SettingKey::from_word(key).ok_or_else(|| {
        let key: String = key.chars().filter(|c| !c.is_control()).take(80).collect();
        Denial::not_found("", format!("unknown setting: {key}"))
    })
}
