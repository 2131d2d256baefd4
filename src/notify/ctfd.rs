//! Tells a CTFd what its teams solved: signed, in order, until it has taken it.
//!
//! In:  solves that the store put into the outbox in the transaction that recorded them.
//! Out: one POST each to the address of the integration.
//!
//! # Invariants
//! * A solve is told at least once, also over kills, or it is given up after a day and counted.
//! * An address is checked when it is set, and what its name leads to before each connection.
//! * The secret that a call is signed with is derived for it and kept nowhere.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use sha2::Sha256;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::courier::{Courier, Fate, Letter, Outbox, Sent, Setback};
use super::wire;
use crate::model::id::hex;
use crate::model::node_url::is_forbidden;
use crate::model::{Clock, Timestamp};
use crate::render::answers::AnswerKey;
use crate::render::webhook_secret;
use crate::store::{SolveRow, Store, StoreError};
use crate::telemetry::metrics::{self, NoticeFate};

/// The way to every CTFd.
pub struct SolvePump {
    courier: Courier<Solves>,
}

impl SolvePump {
    /// The way of one daemon; nothing runs yet.
    pub fn new(
        store: Store,
        key: AnswerKey,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
        jitter: fn(u64) -> Duration,
    ) -> Self {
        let outbox = Solves { store, key, secure: OnceLock::new(), plain: OnceLock::new() };
        Self { courier: Courier::new(outbox, clock, stop, jitter) }
    }

    /// Delivers until the stop.
    pub async fn deliver(self: Arc<Self>) {
        self.courier.deliver().await;
    }

    /// A solve was put into the outbox.
    pub fn ring(&self) {
        self.courier.ring();
    }
}

/// Why a CTFd was not told.
#[derive(Debug, Error)]
pub(super) enum TellError {
    /// The integration has no webhook any more.
    #[error("the integration has no webhook")]
    NoWebhook,
    /// TLS could not be set up: usually, there are no root certificates.
    #[error("could not set up TLS ({reason}); install `ca-certificates`")]
    Tls {
        /// The library's words.
        reason: String,
    },
    /// Nobody answered.
    #[error("the webhook did not answer ({reason})")]
    Unreachable {
        /// The transport's words.
        reason: String,
    },
    /// It answered and did not take it.
    #[error("the webhook answered HTTP {status}: {answer}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The beginning of its answer.
        answer: String,
    },
}

/// The solves that wait, and how they are sent.
struct Solves {
    store: Store,
    key: AnswerKey,
    /// Made when somebody is told over TLS for the first time.
    secure: OnceLock<reqwest::Client>,
    /// Likewise without, which needs no root certificates.
    plain: OnceLock<reqwest::Client>,
}

impl Letter for SolveRow {
    fn seq(&self) -> i64 {
        self.seq
    }

    fn created_at(&self) -> Timestamp {
        self.created_at
    }

    fn n_attempts(&self) -> u32 {
        self.n_attempts
    }
}

impl Outbox for Solves {
    type Letter = SolveRow;
    type Error = TellError;

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<SolveRow>, StoreError> {
        self.store.due_solves(now, limit).await
    }

    async fn n_waiting(&self) -> Result<u32, StoreError> {
        self.store.n_waiting_solves().await
    }

    async fn send(&self, row: &SolveRow, now: Timestamp) -> Result<Sent, TellError> {
        let it = &row.integration;
        let address = it.webhook.as_ref().ok_or(TellError::NoWebhook)?.to_string();
        let url = wire::parse(&address).ok_or(TellError::NoWebhook)?;
        let body = serde_json::to_string(&row.solve).unwrap_or_default();
        let secret = webhook_secret(&self.key, it.id, it.epoch);
        let sent_at = now.as_millis() / 1000;
        let request = self
            .client(&url)?
            .post(url)
            .header("content-type", "application/json")
            .header("x-flagops-event", "solve")
            .header("x-flagops-delivery", format!("{}-{}", it.id, row.seq))
            .header("x-flagops-timestamp", sent_at)
            .header("x-flagops-signature-256", signature(&secret, sent_at, &body))
            .body(body);
        let answer = wire::send(request, now, |text| text.replace(&secret, "…"))
            .await
            .map_err(|reason| TellError::Unreachable { reason })?;
        if answer.status.is_success() {
            // Silence is for one receiver, and the courier goes to others too.
            return Ok(Sent::default());
        }
        Err(TellError::Refused { status: answer.status.as_u16(), answer: answer.text })
    }

    /// Whatever is wrong over there may be mended within the day.
    fn setback(&self, error: &TellError) -> Setback {
        match error {
            TellError::NoWebhook => Setback::GiveUp,
            TellError::Tls { .. } | TellError::Unreachable { .. } | TellError::Refused { .. } => {
                Setback::Retry { silence: None }
            }
        }
    }

    async fn delivered(&self, seq: i64) -> Result<(), StoreError> {
        self.store.solve_delivered(seq).await
    }

    async fn failed(
        &self,
        seq: i64,
        next_at: Option<Timestamp>,
        error: String,
    ) -> Result<(), StoreError> {
        self.store.solve_failed(seq, next_at, error).await
    }

    fn tell(&self, row: &SolveRow, fate: Fate<'_>) {
        let name = &row.integration.name;
        match fate {
            Fate::Delivered => metrics::ctfd_solve(NoticeFate::Delivered),
            Fate::Retried(why) => {
                metrics::ctfd_solve(NoticeFate::Retried);
                if row.n_attempts == 0 {
                    tracing::warn!("a solve for CTFd `{name}` waits: {why}");
                }
            }
            Fate::GivenUp(why) => {
                metrics::ctfd_solve(NoticeFate::GivenUp);
                tracing::error!("a solve for CTFd `{name}` was given up: {why}");
            }
        }
    }

    async fn halted(&self, error: String) {
        // No setback of ours halts.
        tracing::error!("solves are told no more: {error}");
    }
}

impl Solves {
    fn client(&self, url: &Url) -> Result<reqwest::Client, TellError> {
        let kept = if url.scheme() == "https" { &self.secure } else { &self.plain };
        if let Some(client) = kept.get() {
            return Ok(client.clone());
        }
        let client = wire::guarded_client(url, Arc::new(Guard))
            .map_err(|reason| TellError::Tls { reason })?;
        Ok(kept.get_or_init(|| client).clone())
    }
}

/// `sha256=…` over the time and the body, so that neither can be changed nor an old call be new.
fn signature(secret: &str, sent_at: i64, body: &str) -> String {
    let mut code =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC accepts keys of any length");
    code.update(format!("{sent_at}.{body}").as_bytes());
    format!("sha256={}", hex(&code.finalize().into_bytes()))
}

/// Resolves names, and forgets addresses at which no CTFd can be: a name that was harmless when it
/// was checked may lead to a metadata service by now.
struct Guard;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let good: Vec<SocketAddr> = found.filter(|it| !is_forbidden(it.ip())).collect();
            if good.is_empty() {
                return Err("the name leads to no address that may be called".into());
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_the_page_says() {
        // printf '%s' '1700000000.{}' | openssl dgst -sha256 -hmac secret
        insta::assert_snapshot!(signature("secret", 1_700_000_000, "{}"), @"sha256=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163");
    }

    #[tokio::test]
    async fn a_name_that_leads_nowhere_good_is_not_called() {
        let resolve = async |name: &str| Guard.resolve(name.parse().unwrap()).await.is_ok();
        assert!(resolve("localhost").await);
        assert!(!resolve("169.254.169.254").await);
        assert!(!resolve("0.0.0.0").await);
    }
}
