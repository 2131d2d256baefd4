//! What administrators set in place of the configuration.

use std::collections::BTreeMap;

use rusqlite::params;
use serde_json::Value;

use super::{Store, StoreError, row};
use crate::contest::settings::SettingKey;
use crate::model::Timestamp;

impl Store {
    /// What is set, by key. Keys that this version does not know are passed over.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn settings(&self) -> Result<BTreeMap<SettingKey, Value>, StoreError> {
        self.read(|db| {
            let rows = db
                .prepare_cached("SELECT key, value FROM platform_settings")?
                .query_map([], |row| {
                    Ok((row.get::<_, String>("key")?, row::json::<Value>(row, "value")?))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let known = rows
                .into_iter()
                .filter_map(|(key, value)| SettingKey::from_word(&key).map(|key| (key, value)));
            Ok(known.collect())
        })
        .await
    }

    /// Sets one.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn set_setting(
        &self,
        key: SettingKey,
        value: Value,
        who: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "INSERT INTO platform_settings (key, value, set_by, set_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value, set_by = excluded.set_by,
                     set_at = excluded.set_at",
            )?
            .execute(params![
                key.as_str(),
                value.to_string(),
                who,
                now.as_millis()
            ])?;
            Ok(())
        })
        .await
    }

    /// Takes one back; whether it was set.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn unset_setting(&self, key: SettingKey) -> Result<bool, StoreError> {
        self.write(move |db| {
            let n = db
                .prepare_cached("DELETE FROM platform_settings WHERE key = ?1")?
                .execute([key.as_str()])?;
            Ok(n > 0)
        })
        .await
    }
}
