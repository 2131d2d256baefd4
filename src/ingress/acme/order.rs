//! One order: account, record, proof, certificate (RFC 8555 with the challenge `dns-01`).
//!
//! # Invariants
//! * The record is taken away again, whatever came of it.
//! * The private key is made here, for each certificate anew.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, Problem, RetryPolicy,
};
use thiserror::Error;

use super::folder::Folder;
use super::hook::{Action, Hook, HookError};
use crate::config::AcmeConfig;

/// How long an authority may take for one answer that it works on.
const PATIENCE: Duration = Duration::from_secs(180);

/// What an authority says of an account that it does not know (RFC 8555 §6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Why there is no certificate.
#[derive(Debug, Error)]
pub(crate) enum AcmeError {
    /// It could not be asked, or it refused.
    #[error("{step} at {directory}: {}", words(cause))]
    Authority {
        /// What was asked for.
        step: &'static str,
        /// The authority's address.
        directory: String,
        /// Why.
        cause: instant_acme::Error,
    },
    /// It looked at the record and did not like what it saw.
    #[error("{directory} does not accept the record {name}: {words}")]
    Refused {
        /// The authority's address.
        directory: String,
        /// The record.
        name: String,
        /// Its words.
        words: String,
    },
    /// It offers nothing that a wildcard can be proven by.
    #[error("{directory} offers no challenge `dns-01`, which is what a wildcard needs")]
    NoChallenge {
        /// The authority's address.
        directory: String,
    },
    /// The record was not written.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The certificate of the authority's own TLS.
    #[error("`ingress.acme.ca_file` {} cannot be used: {}", path.display(), words(cause))]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: instant_acme::Error,
    },
    /// What was got cannot be kept.
    #[error("account and certificate cannot be kept below the data directory")]
    Keep(#[source] io::Error),
    /// What was got is not what was asked for.
    #[error("{directory} gave a certificate that cannot be used: {words}")]
    Unusable {
        /// The authority's address.
        directory: String,
        /// Why.
        words: String,
    },
}

/// An error of the library with all that is behind it, in which the cause mostly is.
fn words(error: &instant_acme::Error) -> String {
    crate::telemetry::Chain(error).to_string()
}

/// Who orders, and what.
#[derive(Debug)]
pub(super) struct Orderer {
    pub(super) config: AcmeConfig,
    pub(super) domain: String,
    pub(super) folder: Folder,
    pub(super) hook: Hook,
}

/// A certificate and its key, as PEM.
pub(super) struct Ordered {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Orderer {
    /// Orders one certificate for `*.<domain>`.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub(super) async fn order(&self) -> Result<Ordered, AcmeError> {
        let identifier = [Identifier::Dns(format!("*.{}", self.domain))];
        let wanted = NewOrder::new(&identifier);
        let account = self.account().await?;
        let mut order = match account.new_order(&wanted).await {
            Err(instant_acme::Error::Api(Problem { r#type: Some(kind), .. }))
                if kind == NO_ACCOUNT =>
            {
                tracing::warn!(
                    "the authority does not know our account any more: making another one"
                );
                self.folder.forget_account().map_err(AcmeError::Keep)?;
                let account = self.account().await?;
                account.new_order(&wanted).await.map_err(self.at("ordering a certificate"))?
            }
            other => other.map_err(self.at("ordering a certificate"))?,
        };
        self.prove(&mut order).await?;
        let key = order.finalize().await.map_err(self.at("asking for the certificate"))?;
        let retries = RetryPolicy::new().timeout(PATIENCE);
        let chain = order.poll_certificate(&retries).await;
        Ok(Ordered { chain: chain.map_err(self.at("fetching the certificate"))?, key })
    }

    fn at(&self, step: &'static str) -> impl FnOnce(instant_acme::Error) -> AcmeError {
        let directory = self.config.directory.clone();
        move |cause| AcmeError::Authority { step, directory, cause }
    }

    fn builder(&self) -> Result<AccountBuilder, AcmeError> {
        match &self.config.ca_file {
            Some(path) => Account::builder_with_root(path)
                .map_err(|cause| AcmeError::Roots { path: path.clone(), cause }),
            None => Account::builder().map_err(self.at("preparing TLS")),
        }
    }

    async fn account(&self) -> Result<Account, AcmeError> {
        if let Some(credentials) = self.folder.account().map_err(AcmeError::Keep)? {
            let account = self.builder()?.from_credentials(credentials).await;
            return account.map_err(self.at("finding its services"));
        }
        let contact = self.config.contact.as_ref().map(|address| format!("mailto:{address}"));
        let contact: Vec<_> = contact.as_deref().into_iter().collect();
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.config.directory.clone();
        let made = self.builder()?.create(&wanted, directory, None).await;
        let (account, credentials) = made.map_err(self.at("making an account"))?;
        self.folder.keep_account(&credentials).map_err(AcmeError::Keep)?;
        Ok(account)
    }

    /// Shows that the domain is ours, where the authority does not know it already.
    async fn prove(&self, order: &mut Order) -> Result<(), AcmeError> {
        let name = format!("_acme-challenge.{}.", self.domain);
        let mut values = Vec::new();
        let proven = self.write_and_wait(order, &name, &mut values).await;
        for value in &values {
            if let Err(error) = self.hook.call(Action::Cleanup, &name, value).await {
                // What is left of it harms nobody.
                tracing::warn!("a record of the certificate's order stays in the DNS: {error}");
            }
        }
        proven
    }

    async fn write_and_wait(
        &self,
        order: &mut Order,
        name: &str,
        values: &mut Vec<String>,
    ) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(self.at("asking what to prove"))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let challenge = authorization.challenge(ChallengeType::Dns01);
            let directory = self.config.directory.clone();
            let mut challenge = challenge.ok_or(AcmeError::NoChallenge { directory })?;
            let value = challenge.key_authorization().dns_value();
            // Before it is written: a hook that fails half-way may have written it.
            values.push(value.clone());
            self.hook.call(Action::Present, name, &value).await?;
            tracing::info!(
                "the record {name} is written; the authority is told in {} s",
                self.config.propagation_secs
            );
            let pause = Duration::from_secs(u64::from(self.config.propagation_secs));
            tokio::time::sleep(pause).await;
            challenge.set_ready().await.map_err(self.at("telling of the record"))?;
        }
        let retries = RetryPolicy::new().timeout(PATIENCE);
        match order.poll_ready(&retries).await {
            Ok(OrderStatus::Ready) => Ok(()),
            Ok(_) => Err(self.refusal(order, name).await),
            // Some authorities say it with the order.
            Err(instant_acme::Error::Api(problem)) => Err(self.refused(name, problem.to_string())),
            Err(cause) => Err(self.at("waiting for its look at the record")(cause)),
        }
    }

    /// What the authority did not like.
    async fn refusal(&self, order: &mut Order, name: &str) -> AcmeError {
        let mut words = None;
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if let Ok(state) = authorization.refresh().await {
                let said = state.challenges.iter().find_map(|it| it.error.as_ref());
                words = words.or_else(|| said.map(ToString::to_string));
            }
        }
        self.refused(name, words.unwrap_or_else(|| "it does not say why".to_owned()))
    }

    fn refused(&self, name: &str, words: String) -> AcmeError {
        let directory = self.config.directory.clone();
        AcmeError::Refused { directory, name: name.to_owned(), words }
    }
}
