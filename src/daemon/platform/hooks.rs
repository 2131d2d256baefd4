//! Hints from outside that the remote may have changed.

use super::Platform;
use crate::daemon::webhook::{Call, Headers};
use crate::telemetry::chain::Chain;
use crate::telemetry::metrics::{self, CallFate};

/// What became of a call of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// The remote is looked at, now and a little later.
    Accepted,
    /// It came before; nothing follows.
    Duplicate,
    /// It is not from the forge, as far as we can tell. Why is nobody's business.
    Refused,
}

impl Platform {
    /// Whether there is a webhook of this id.
    pub fn is_webhook(&self, id: &str) -> bool {
        self.shared.webhook.as_ref().is_some_and(|webhook| webhook.is_called(id))
    }

    /// Somebody called the webhook `id`. Returns before anything is looked at.
    pub async fn webhook_called(&self, id: &str, headers: &Headers, body: &[u8]) -> Called {
        let Some(webhook) = &self.shared.webhook else {
            metrics::webhook_call(CallFate::UnknownId);
            return Called::Refused;
        };
        let delivery = match webhook.judge(id, headers, body) {
            Ok(Call::Good(delivery)) => delivery,
            Ok(Call::UnknownId) => {
                metrics::webhook_call(CallFate::UnknownId);
                return Called::Refused;
            }
            Ok(Call::BadSignature) => {
                metrics::webhook_call(CallFate::BadSignature);
                return Called::Refused;
            }
            Err(error) => {
                metrics::webhook_call(CallFate::NoSecret);
                tracing::error!("a call of the webhook was refused: {}", Chain(&error));
                return Called::Refused;
            }
        };
        if !self.is_new(delivery).await {
            metrics::webhook_call(CallFate::Duplicate);
            return Called::Duplicate;
        }
        metrics::webhook_call(CallFate::Accepted);
        tracing::debug!("the webhook was called: looking at the remote");
        self.shared.hinted.notify_one();
        Called::Accepted
    }

    /// Whether a delivery did not come before. One without a name, or that nobody can remember, is.
    async fn is_new(&self, delivery: Option<Vec<u8>>) -> bool {
        let Some(name) = delivery else { return true };
        match self.shared.store.note_delivery(&name, self.now()).await {
            Ok(is_new) => is_new,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "could not remember a webhook's delivery");
                true
            }
        }
    }
}
