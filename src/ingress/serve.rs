//! Accepts connections and leads each where its first words say.
//!
//! # Invariants
//! * At most as many connections as allowed, in all and from one source; the rest waits in the backlog
//!   of the kernel, or is closed.
//! * Who is slow to say what it wants, or then says nothing, loses its connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::backend::{self, Backends};
use super::certificate::Certificate;
use super::headers::Scheme;
use super::hello;
use super::idle::Idle;
use super::line::{Judged, Line};
use super::proxy::Conversation;
use super::routes::{Protocol, Reach, Route};
use super::slots::source;
use super::{Ingress, Inner};

/// How long sent bytes may stay unacknowledged, in milliseconds.
const STALL_MILLIS: u32 = 60_000;

/// How long connections may go on after the stop.
const GRACE: Duration = Duration::from_secs(10);

/// How long to wait when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Requests of one connection of HTTP/2 at a time.
const MAX_STREAMS: u32 = 64;

/// More than an answer of ours may take, so that it still arrives.
const AFTERTHOUGHT: Duration = Duration::from_secs(5);

/// Room for what the parser reads beside a head.
const SPARE_BYTES: usize = 16 << 10;

type Client = Idle<TcpStream>;

impl Ingress {
    /// Serves until `stop`, then finishes what is under way, for a while.
    pub async fn serve(self, stop: CancellationToken) {
        let Self { inner, tls, plain } = self;
        let slots = Arc::new(Semaphore::new(inner.settings.connections as usize));
        let mut connections = JoinSet::new();
        loop {
            // Cancel-safe: a connection that was accepted is returned at once.
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = next(tls.as_ref(), plain.as_ref(), &slots) => accepted,
            };
            while connections.try_join_next().is_some() {}
            let (stream, peer, scheme, slot) = accepted;
            let Some(of_source) = inner.sources.take(source(peer.ip())) else {
                debug!(peer = %peer.ip(), "closed a connection: its source has as many as it may");
                continue;
            };
            let (inner, stop) = (Arc::clone(&inner), stop.clone());
            connections.spawn(async move {
                let ended = match scheme {
                    Scheme::Https => converse_tls(&inner, stream, peer, stop).await,
                    Scheme::Http => converse_plain(&inner, stream, peer, stop).await,
                };
                if let Err(error) = ended {
                    debug!(peer = %peer.ip(), %error, "a connection ended early");
                }
                drop((slot, of_source));
            });
        }
        drop((tls, plain));
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, drained).await.is_err() {
            debug!(
                n_connections = connections.len(),
                "closed connections that did not end in time"
            );
        }
    }
}

async fn next(
    tls: Option<&TcpListener>,
    plain: Option<&TcpListener>,
    slots: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Scheme, tokio::sync::OwnedSemaphorePermit) {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        let (accepted, scheme) = tokio::select! {
            accepted = accept(tls) => (accepted, Scheme::Https),
            accepted = accept(plain) => (accepted, Scheme::Http),
        };
        match accepted {
            Ok((stream, peer)) => return (stream, peer, scheme, slot),
            Err(error) => {
                warn!(%error, "could not accept a connection to the ingress");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

fn tune(inner: &Inner, stream: TcpStream) -> Client {
    // Without it small answers wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, STALL_MILLIS);
    Idle::new(stream, inner.settings.idle + AFTERTHOUGHT)
}

/// `work` within the patience for headers and handshakes.
async fn promptly<T>(inner: &Inner, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let patience = inner.settings.header;
    tokio::time::timeout(patience, work)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// A connection to the port of TLS.
async fn converse_tls(
    inner: &Arc<Inner>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: CancellationToken,
) -> io::Result<()> {
    // While the first certificate is on its way there is nothing that could be said.
    let Some(configs) = inner.certificate.as_ref().and_then(Certificate::configs) else {
        return Ok(());
    };
    let stream = tune(inner, stream);
    let Some(hello) = promptly(inner, hello::read(stream)).await? else { return Ok(()) };
    let route = match &hello.host {
        Some(host) => inner.table.settled(host).await,
        None => None,
    };
    if let Some(route) = route.filter(|route| route.protocol != Protocol::Http) {
        let stream = hello.io;
        return match route.protocol {
            Protocol::OwnTls => tunnel(inner, route, stream, stop).await,
            Protocol::Stream | Protocol::Http => {
                let accept = TlsAcceptor::from(configs.stream).accept(stream);
                tunnel(inner, route, promptly(inner, accept).await?, stop).await
            }
        };
    }
    let tls = promptly(inner, TlsAcceptor::from(configs.http).accept(hello.io)).await?;
    let is_http_2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    // Who names nobody in TLS may name nobody in HTTP either.
    let host = OnceLock::from(hello.host);
    if is_http_2 {
        converse_http_2(conversation(inner, peer, host, None), tls, stop).await
    } else {
        let line = Arc::new(Line::default());
        let talk = conversation(inner, peer, host, Some((Scheme::Https, line)));
        converse_http_1(talk, tls, stop).await
    }
}

/// A connection to the port without TLS.
async fn converse_plain(
    inner: &Arc<Inner>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: CancellationToken,
) -> io::Result<()> {
    let line = Some((Scheme::Http, Arc::new(Line::default())));
    let stream = tune(inner, stream);
    converse_http_1(conversation(inner, peer, OnceLock::new(), line), stream, stop).await
}

fn conversation(
    inner: &Arc<Inner>,
    peer: SocketAddr,
    host: OnceLock<Option<String>>,
    line: Option<(Scheme, Arc<Line>)>,
) -> Arc<Conversation> {
    let (scheme, line) = line.unzip();
    Arc::new(Conversation {
        inner: Arc::clone(inner),
        peer: peer.ip(),
        // HTTP/2 is agreed on in TLS only.
        scheme: scheme.unwrap_or(Scheme::Https),
        host,
        line,
        n_requests: AtomicU64::new(0),
        backends: Backends::default(),
        tunnels: Mutex::default(),
    })
}

async fn converse_http_1<T>(
    talk: Arc<Conversation>,
    io: T,
    stop: CancellationToken,
) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let max_head = talk.inner.settings.max_header_bytes;
    let line = talk.line.clone().unwrap_or_default();
    let io = TokioIo::new(Judged::new(io, line, max_head));
    let asked = Arc::clone(&talk);
    let service = service_fn(move |request| Arc::clone(&asked).answer(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(talk.inner.settings.header)
        .max_buf_size(max_head + SPARE_BYTES)
        .max_headers(MAX_PARSED_HEADERS)
        .preserve_header_case(true)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    let mut tunnels =
        std::mem::take(&mut *talk.tunnels.lock().unwrap_or_else(PoisonError::into_inner));
    tokio::select! {
        () = async { while tunnels.join_next().await.is_some() {} } => {}
        () = stop.cancelled() => {}
    }
    ended.map_err(io::Error::other)
}

/// One more than the judge lets through, so that it is always the judge who refuses.
const MAX_PARSED_HEADERS: usize = 101;

async fn converse_http_2<T>(
    talk: Arc<Conversation>,
    io: T,
    stop: CancellationToken,
) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::clone(&talk);
    let service = service_fn(move |request| Arc::clone(&asked).answer(request));
    let max_head = u32::try_from(talk.inner.settings.max_header_bytes).unwrap_or(u32::MAX);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(max_head)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(io::Error::other)
}

/// Passes bytes both ways between a client and the service that `route` leads to.
async fn tunnel<T>(
    inner: &Arc<Inner>,
    route: Route,
    mut client: T,
    stop: CancellationToken,
) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let slots = inner.instance_slot(route.instance);
    if route.reach == Reach::Starting || slots.is_none() {
        return client.shutdown().await;
    }
    let mut service = match backend::connect(route).await {
        Ok(service) => service,
        Err(error) => {
            debug!(instance.id = %route.instance, %error, "a service does not take connections");
            return client.shutdown().await;
        }
    };
    tokio::select! {
        ended = copy_bidirectional(&mut client, &mut service) => ended.map(|_| ()),
        () = stop.cancelled() => Ok(()),
    }
}
