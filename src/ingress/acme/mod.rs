//! A certificate that we get ourselves: by ACME (RFC 8555), proving the domain by a record in the DNS.
//!
//! In:  the authority, and the operator's program that writes records (`hook`).
//! Out: a file with certificate and key (`folder`), as good as one that somebody brought.
//!
//! # Not here
//! When to order (`planner::certificate`), serving and telling (`super::certificate`).

mod folder;
mod hook;
mod order;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub(super) use order::AcmeError;

use self::folder::Folder;
use self::hook::Hook;
use self::order::Orderer;
use super::certificate::load;
use crate::config::AcmeConfig;
use crate::model::Timestamp;
use crate::planner::certificate::Failures;

/// What gets certificates for one domain.
#[derive(Debug)]
pub(super) struct Acme {
    orderer: Orderer,
    failures: Mutex<Option<Failures>>,
}

impl Acme {
    /// As `config` says; `None` when it is off.
    pub(super) fn new(config: &AcmeConfig, domain: &str, data_dir: &Path) -> Option<Self> {
        let hook = Hook::new(config.hook.as_deref()?);
        let folder = Folder::new(data_dir, &config.directory, domain);
        let failures = Mutex::new(folder.failures());
        let orderer = Orderer { config: config.clone(), domain: domain.to_owned(), folder, hook };
        Some(Self { orderer, failures })
    }

    /// The file with certificate, chain and key, whether it is there or not.
    pub(super) fn certificate(&self) -> PathBuf {
        self.orderer.folder.certificate()
    }

    /// The failures since the last success.
    pub(super) fn failures(&self) -> Option<Failures> {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes one more.
    pub(super) fn fail(&self, now: Timestamp) -> Failures {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let more = Failures::another(*failures, now);
        *failures = Some(more);
        if let Err(error) = self.orderer.folder.keep_failure(more) {
            tracing::warn!(%error, "could not note that an order failed");
        }
        more
    }

    /// Orders one, and keeps it when it can be served.
    ///
    /// # Errors
    /// [`AcmeError`]; what was kept before stays.
    pub(super) async fn obtain(&self, domain: &str) -> Result<(), AcmeError> {
        let ordered = self.orderer.order().await?;
        let folder = &self.orderer.folder;
        let tried = folder.keep_new(&ordered.chain, &ordered.key).map_err(AcmeError::Keep)?;
        load(&tried, &tried, domain).map_err(|error| AcmeError::Unusable {
            directory: self.orderer.config.directory.clone(),
            words: crate::telemetry::Chain(&error).to_string(),
        })?;
        folder.take_new().map_err(AcmeError::Keep)?;
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}
