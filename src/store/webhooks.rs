//! Deliveries of webhooks that were taken, so that one that comes twice is known.

use rusqlite::params;
use sha2::{Digest, Sha256};

use super::{Store, StoreError};
use crate::model::Timestamp;
use crate::model::id::hex;

/// How many deliveries are remembered: the newest. An older one that comes again is one more look.
const MAX_DELIVERIES: i64 = 1000;

impl Store {
    /// Remembers that the delivery called `name` was taken; whether it is new.
    ///
    /// # Errors
    /// When the database does not take it; then it is not remembered.
    pub async fn note_delivery(&self, name: &[u8], now: Timestamp) -> Result<bool, StoreError> {
        let digest = hex(&Sha256::digest(name));
        self.write(move |db| {
            let n_new = db
                .prepare_cached(
                    "INSERT INTO webhook_deliveries (delivery, at) VALUES (?1, ?2)
                     ON CONFLICT (delivery) DO NOTHING",
                )?
                .execute(params![digest, now.as_millis()])?;
            db.prepare_cached(
                "DELETE FROM webhook_deliveries
                 WHERE seq <= (SELECT max(seq) FROM webhook_deliveries) - ?1",
            )?
            .execute([MAX_DELIVERIES])?;
            Ok(n_new > 0)
        })
        .await
    }
}
