//! Connections to the service of one instance, for one connection of a client.
//!
//! # Invariants
//! * A connection to a service carries requests of one connection of a client only: what somebody
//!   makes of the order of messages there concerns nobody else.
//! * Every connection counts for its instance, and ends with that of the client.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Inner;
use super::routes::Route;

/// How long a service may take to accept a connection; it is on this machine.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection that is about to be free is waited for.
const FREE_PATIENCE: Duration = Duration::from_millis(20);

/// Bytes of a service that are kept at a time, its headers among them.
const MAX_BUFFER: usize = 64 << 10;

/// Connections without a request that are kept.
const MAX_FREE: usize = 8;

/// What is sent to a service: the body of a client as it arrives, or none.
pub(super) type Sent = Either<Incoming, Empty<Bytes>>;

/// Why a service gave no answer.
#[derive(Debug, Error)]
pub(super) enum BackendError {
    /// The instance has as many connections as it may.
    #[error("too many connections")]
    Busy,
    /// It does not take connections.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// It ended the connection, or what it says is no HTTP.
    #[error("no answer")]
    Answer(#[source] hyper::Error),
}

/// The connections.
#[derive(Debug, Default)]
pub(super) struct Backends {
    free: Mutex<Vec<SendRequest<Sent>>>,
    drivers: Mutex<JoinSet<()>>,
}

impl Backends {
    /// Sends `request` to where `route` leads and returns its answer, whose body is still on the way.
    ///
    /// # Errors
    /// [`BackendError`].
    pub(super) async fn send(
        &self,
        inner: &Arc<Inner>,
        route: Route,
        mut request: Request<Sent>,
    ) -> Result<Response<Incoming>, BackendError> {
        if let Some(sender) = self.free().await {
            let again = repeatable(&request);
            match self.ask(sender, request).await {
                Ok(answer) => return Ok(answer),
                // A service may end a connection that waits, just when it is used again. What was not
                // sent, or changes nothing, goes to another one.
                Err(mut error) => match error.take_message().or(again) {
                    Some(unsent) => request = unsent,
                    None => return Err(BackendError::Answer(error.into_error())),
                },
            }
        }
        let sender = self.open(inner, route).await?;
        let answer = self.ask(sender, request).await;
        answer.map_err(|error| BackendError::Answer(error.into_error()))
    }

    async fn ask(
        &self,
        mut sender: SendRequest<Sent>,
        request: Request<Sent>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Sent>>> {
        let answer = sender.try_send_request(request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            self.keep(sender);
        }
        Ok(answer)
    }

    /// A connection that is free, or is in a moment.
    async fn free(&self) -> Option<SendRequest<Sent>> {
        let mut sender = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.retain(|sender| !sender.is_closed());
            let ready = free.iter().position(SendRequest::is_ready);
            // One alone is that of a client who sends one request after the other.
            let at = ready.or((free.len() == 1).then_some(0))?;
            free.swap_remove(at)
        };
        match tokio::time::timeout(FREE_PATIENCE, sender.ready()).await {
            Ok(Ok(())) => Some(sender),
            Ok(Err(_)) => None,
            Err(_) => {
                self.keep(sender);
                None
            }
        }
    }

    fn keep(&self, sender: SendRequest<Sent>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < MAX_FREE && !sender.is_closed() {
            free.push(sender);
        }
    }

    async fn open(
        &self,
        inner: &Arc<Inner>,
        route: Route,
    ) -> Result<SendRequest<Sent>, BackendError> {
        let slots = inner.instance_slot(route.instance).ok_or(BackendError::Busy)?;
        let stream = connect(route).await.map_err(BackendError::Connect)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER)
            .preserve_header_case(true)
            .title_case_headers(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(BackendError::Answer)?;
        let driver = async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a service ended early");
            }
            drop(slots);
        };
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        while drivers.try_join_next().is_some() {}
        drivers.spawn(driver);
        Ok(sender)
    }
}

/// The same once more, when sending it twice does no harm.
fn repeatable(request: &Request<Sent>) -> Option<Request<Sent>> {
    let is_empty = matches!(request.body(), Either::Right(_));
    if !(is_empty && request.method().is_safe()) {
        return None;
    }
    let mut again = Request::new(Either::Right(Empty::new()));
    request.method().clone_into(again.method_mut());
    request.uri().clone_into(again.uri_mut());
    request.headers().clone_into(again.headers_mut());
    Some(again)
}

/// A connection to where `route` leads.
///
/// # Errors
/// When nobody listens there, or does not accept in time.
pub(super) async fn connect(route: Route) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect(route.target);
    let stream = tokio::time::timeout(CONNECT_PATIENCE, connecting)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // Without it small messages wait for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    Ok(stream)
}
