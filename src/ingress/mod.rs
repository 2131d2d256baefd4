//! The one door of this node: players reach instances at `<label>.<domain>`, HTTP by host and everything
//! else by the name that their TLS asks for, on one port.
//!
//! In:  connections; the names of instances ([`Table`]), which the daemon keeps.
//! Out: connections to loopback addresses, where what is behind the door is published.
//!
//! # Invariants
//! * Nothing is shared between instances: no network, and no connection to a service.
//! * A message that has more than one reading is refused, not mended (`framing`).
//! * What a client is, and how it came here, only we say (`headers`).
//! * Everything has a bound: connections, headers, silence. Bodies are never kept.
//!
//! # Not here
//! Which name an endpoint gets (`render::label`), when an instance is ready (`daemon`), when a certificate
//! is due (`planner::certificate`).

mod acme;
mod backend;
mod certificate;
mod framing;
mod headers;
mod hello;
mod host;
mod idle;
mod line;
mod page;
mod proxy;
mod routes;
mod serve;
mod slots;
#[cfg(test)]
mod tests;
mod writes;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::config::IngressConfig;
use crate::model::{Clock, InstanceId};

use acme::Acme;
use certificate::Certificate;
pub use certificate::{CertificateError, CertificateState};
pub use routes::{Protocol, Reach, Route, Routes, Table, routes};
use slots::{Slot, Slots};

/// Why there is no ingress although one is configured.
#[derive(Debug, Error)]
pub enum IngressError {
    /// An address cannot be listened on.
    #[error(
        "the ingress could not listen on {address}: is it taken, or a port below 1024 without `CAP_NET_BIND_SERVICE`?"
    )]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("`ingress.certificate` cannot be used")]
    Certificate(#[from] CertificateError),
}

/// Bounds.
#[derive(Debug, Clone, Copy)]
struct Settings {
    connections: u32,
    header: Duration,
    idle: Duration,
    max_header_bytes: usize,
    /// Where players find TLS; `None` without a certificate.
    tls_port: Option<u16>,
}

/// The ingress, listening and not yet serving.
#[derive(Debug)]
pub struct Ingress {
    inner: Arc<Inner>,
    tls: Option<TcpListener>,
    plain: Option<TcpListener>,
}

/// What all connections share.
#[derive(Debug)]
struct Inner {
    table: Arc<Table>,
    settings: Settings,
    certificate: Option<Certificate>,
    /// Connections of clients, by where they come from.
    sources: Slots<IpAddr>,
    /// Connections to services, by instance.
    instances: Slots<InstanceId>,
    /// Connections to services, in all.
    services: Arc<Semaphore>,
}

/// A connection to a service, counted.
#[derive(Debug)]
struct InstanceSlot {
    _of_instance: Slot<InstanceId>,
    _of_all: OwnedSemaphorePermit,
}

impl Ingress {
    /// Listens as `config` says; `None` without a domain. What is got from an authority is kept below
    /// `data_dir`.
    ///
    /// # Errors
    /// When an address is taken, or the certificate cannot be used.
    pub async fn open(
        config: &IngressConfig,
        data_dir: &Path,
    ) -> Result<Option<Self>, IngressError> {
        let Some(domain) = &config.domain else { return Ok(None) };
        let certificate = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => Some(Certificate::open(certificate, key, domain)?),
            (None, _) | (_, None) => Acme::new(&config.acme, domain, data_dir)
                .map(|acme| Certificate::ordered(acme, domain)),
        };
        let tls = match &certificate {
            Some(_) => Some(listen(config.listen).await?),
            None => None,
        };
        let plain = match config.plain_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let secs = |secs: u32| Duration::from_secs(u64::from(secs));
        let public = config.public_port.unwrap_or(config.listen.port());
        let settings = Settings {
            connections: config.connections,
            header: secs(config.header_secs),
            idle: secs(config.idle_secs),
            max_header_bytes: (config.max_header_kib as usize) << 10,
            tls_port: certificate.as_ref().map(|_| public),
        };
        let inner = Inner {
            table: Arc::default(),
            settings,
            certificate,
            sources: Slots::new(config.source_connections),
            instances: Slots::new(config.instance_connections),
            services: Arc::new(Semaphore::new(2 * config.connections as usize)),
        };
        Ok(Some(Self { inner: Arc::new(inner), tls, plain }))
    }

    /// The names that lead somewhere; empty until somebody keeps it.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.inner.table)
    }

    /// Where it listens, for TLS and without.
    pub fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let of = |listener: &Option<TcpListener>| listener.as_ref()?.local_addr().ok();
        (of(&self.tls), of(&self.plain))
    }

    /// How the certificate stands, now and later; `None` where there is to be none.
    pub fn certificate(&self) -> Option<watch::Receiver<CertificateState>> {
        Some(self.inner.certificate.as_ref()?.state())
    }

    /// What keeps the certificate fresh until `stop`.
    pub fn keep_certificate(
        &self,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        async move {
            if let Some(certificate) = &inner.certificate {
                certificate.keep(&*clock, stop).await;
            }
        }
    }
}

impl Inner {
    /// Counts one more connection to a service of `instance`; `None` when there are as many as may be.
    fn instance_slot(&self, instance: InstanceId) -> Option<InstanceSlot> {
        let of_all = Arc::clone(&self.services).try_acquire_owned().ok()?;
        let of_instance = self.instances.take(instance)?;
        Some(InstanceSlot { _of_instance: of_instance, _of_all: of_all })
    }

    fn public_tls_port(&self) -> Option<u16> {
        self.settings.tls_port
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, IngressError> {
    TcpListener::bind(address).await.map_err(|source| IngressError::Listen { address, source })
}
