//! Accepts connections and serves each within bounds, until told to stop.
//!
//! # Invariants
//! * At most [`MAX_CONNECTIONS`] connections; the rest waits in the backlog of the kernel.
//! * A client that is slow to send its headers, or that stops reading, loses its connection.
//! * Stopping finishes requests under way, for at most [`GRACE`].
//!
//! # Not here
//! TLS of the platform: a reverse proxy does that, and HTTP/2 with it. A node has a key of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::router;
use crate::daemon::platform::Platform;

/// Most connections at once.
const MAX_CONNECTIONS: usize = 1024;

/// How long headers may take, also on an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long sent bytes may stay unacknowledged, in milliseconds.
const STALL_MILLIS: u32 = 60_000;

/// How long requests may go on after the stop.
const GRACE: Duration = Duration::from_secs(10);

/// How long to wait when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Tells answers without an end when to end, in the extensions of a request.
#[derive(Debug, Clone)]
pub(crate) struct Stopping(pub(crate) CancellationToken);

/// Serves the API on `listener` until `stop`, then finishes what is under way.
///
/// # Errors
/// None after the start at present: a failed accept is logged and tried again.
pub async fn serve(
    platform: Platform,
    listener: TcpListener,
    stop: CancellationToken,
) -> io::Result<()> {
    serve_app(router(platform), listener, None, stop).await
}

/// Serves the API of a node on `listener` until `stop`, over TLS where it has a key, then finishes what
/// is under way.
///
/// # Errors
/// As [`serve`].
pub async fn serve_node(
    app: Router,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    stop: CancellationToken,
) -> io::Result<()> {
    serve_app(app, listener, tls.map(TlsAcceptor::from), stop).await
}

async fn serve_app(
    app: Router,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // Cancel-safe: a permit or an accepted stream is only lost together with the listener.
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next_connection(&listener, &slots) => accepted,
        };
        let (stream, peer, slot) = accepted;
        tune(&stream);
        let (app, stop) = (app.clone(), stop.clone());
        match tls.clone() {
            None => connections.spawn(converse(app, stream, peer, slot, stop)),
            Some(tls) => connections.spawn(async move {
                match tokio::time::timeout(HEADER_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => converse(app, stream, peer, slot, stop).await,
                    Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
                    Err(_) => debug!("a TLS handshake took too long"),
                }
            }),
        };
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        warn!(n_connections = connections.len(), "closed connections that did not finish in time");
    }
    Ok(())
}

async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, slot),
            Err(error) => {
                warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, from its first byte to its last.
async fn converse(
    app: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    let stopping = Stopping(stop.clone());
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(stopping.clone());
        app.clone().oneshot(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
    drop(slot);
}

fn tune(stream: &TcpStream) {
    // Without it small answers wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, STALL_MILLIS);
}
