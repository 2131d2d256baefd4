//! One request: whose it is, whether it may go on, and what comes back.
//!
//! # Invariants
//! * A connection is for one host: what its TLS names, or its first request where there is none.
//! * Bodies are passed on as they arrive; none is kept.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::upgrade::{self, OnUpgrade};
use hyper::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::task::JoinSet;

use super::Inner;
use super::backend::{BackendError, Backends, Sent};
use super::framing::Upgrade;
use super::headers::{self, Scheme};
use super::host::name_of;
use super::line::Line;
use super::page::Page;
use super::routes::{Protocol, Reach, Route};

/// What is answered: the body of a service as it arrives, or a page of ours.
pub(super) type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// One connection of a client that speaks HTTP.
pub(super) struct Conversation {
    pub(super) inner: Arc<Inner>,
    pub(super) peer: IpAddr,
    pub(super) scheme: Scheme,
    /// The host that every request must name; set by the first one where TLS named none.
    pub(super) host: OnceLock<Option<String>>,
    /// What its reader says; there is none for HTTP/2.
    pub(super) line: Option<Arc<Line>>,
    /// Requests so far; those of HTTP/1 come one after the other.
    pub(super) n_requests: AtomicU64,
    pub(super) backends: Backends,
    /// What goes on after HTTP ended.
    pub(super) tunnels: Mutex<JoinSet<()>>,
}

/// Who a request is for.
#[derive(Debug)]
struct Addressee {
    /// As the client wrote it, with its port.
    value: HeaderValue,
    name: String,
}

impl Conversation {
    /// Answers one request; failures are answers, too.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Answer, Infallible> {
        let nth = self.n_requests.fetch_add(1, Ordering::Relaxed) + 1;
        let answer = match self.pass_on(request, nth).await {
            Ok(answer) => answer,
            Err(page) => self.page(&page),
        };
        if let Some(line) = &self.line {
            line.resume(
                nth,
                match answer.status() {
                    StatusCode::SWITCHING_PROTOCOLS => Upgrade::Accepted,
                    _ => Upgrade::Declined,
                },
            );
        }
        Ok(answer)
    }

    fn page(&self, page: &Page) -> Answer {
        tracing::debug!(peer = %self.peer, status = page.status(), "the ingress answers itself");
        let mut answer = page.answer().map(Either::Right);
        if self.line.is_some()
            && matches!(page, Page::Refused(_) | Page::BadHost | Page::Misdirected)
        {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn pass_on(&self, mut request: Request<Incoming>, nth: u64) -> Result<Answer, Page> {
        self.check_line()?;
        let to = addressee(&request)?;
        if self.host.get_or_init(|| Some(to.name.clone())).as_ref() != Some(&to.name) {
            return Err(Page::Misdirected);
        }
        let route = self.inner.table.settled(&to.name).await.ok_or(Page::Unknown)?;
        if let Some(address) = self.moved(&request, &to) {
            return Err(Page::Moved(address));
        }
        if route.protocol != Protocol::Http {
            return Err(Page::Unknown);
        }
        if route.reach == Reach::Starting {
            return Err(Page::Starting);
        }
        let is_upgrade = self.line.as_ref().is_some_and(|line| line.is_asked(nth));
        let client = is_upgrade.then(|| upgrade::on(&mut request));
        let mut request = self.outgoing(request, &to);
        if client.is_some() {
            headers::ask_websocket(request.headers_mut());
        }
        let sending = self.backends.send(&self.inner, route, request);
        let mut answer = match tokio::time::timeout(self.inner.idle(), sending).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.failed(route, &error)),
            Err(_) => return Err(Page::TooLate),
        };
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            headers::answer_on(answer.headers_mut());
            *answer.version_mut() = Version::HTTP_11;
            return Ok(answer.map(Either::Left));
        }
        match client {
            Some(client) if headers::is_websocket(answer.headers()) => {
                Ok(self.switch(client, answer))
            }
            // It speaks something that nobody asked for.
            Some(_) | None => Err(Page::NoAnswer),
        }
    }

    fn check_line(&self) -> Result<(), Page> {
        match self.line.as_ref().and_then(|line| line.refusal()) {
            Some(refusal) => Err(Page::Refused(refusal)),
            None => Ok(()),
        }
    }

    fn failed(&self, route: Route, error: &BackendError) -> Page {
        // A body that is refused half way ends the request that it belongs to.
        if let Err(refused) = self.check_line() {
            return refused;
        }
        tracing::debug!(instance.id = %route.instance, "a service gave no answer: {}", crate::telemetry::Chain(error));
        match error {
            BackendError::Busy => Page::Busy,
            BackendError::Connect(_) | BackendError::Answer(_) => Page::NoAnswer,
        }
    }

    /// Where a request without TLS belongs, when there is TLS.
    fn moved(&self, request: &Request<Incoming>, to: &Addressee) -> Option<String> {
        let port = self.inner.public_tls_port().filter(|_| self.scheme == Scheme::Http)?;
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        let path = request.uri().path_and_query().map_or("/", |it| it.as_str());
        Some(format!("https://{}{port}{path}", to.name))
    }

    /// The request as the service gets it.
    fn outgoing(&self, request: Request<Incoming>, to: &Addressee) -> Request<Sent> {
        let (mut parts, body) = request.into_parts();
        headers::send_on(&mut parts.headers, self.peer, self.scheme, &to.value);
        parts.uri = origin_form(&parts.uri);
        parts.version = Version::HTTP_11;
        let body =
            if body.is_end_stream() { Either::Right(Empty::new()) } else { Either::Left(body) };
        Request::from_parts(parts, body)
    }

    /// Connects both sides for what is spoken after HTTP.
    fn switch(&self, client: OnUpgrade, mut answer: Response<Incoming>) -> Answer {
        let service = upgrade::on(&mut answer);
        headers::answer_on(answer.headers_mut());
        headers::ask_websocket(answer.headers_mut());
        let tunnel = async move {
            let (Ok(client), Ok(service)) = tokio::join!(client, service) else { return };
            let (mut client, mut service) = (TokioIo::new(client), TokioIo::new(service));
            if let Err(error) = copy_bidirectional(&mut client, &mut service).await {
                tracing::debug!(%error, "a tunnel ended early");
            }
        };
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner).spawn(tunnel);
        answer.map(Either::Left)
    }
}

impl Inner {
    /// How long an answer may take to begin. The connection itself has a little more, so that whoever
    /// waits is told.
    fn idle(&self) -> Duration {
        self.settings.idle
    }
}

/// Who `request` is for: its `Host`, and where its target names a host the same one.
fn addressee<B>(request: &Request<B>) -> Result<Addressee, Page> {
    let host = only_host(request.headers())?;
    let authority = request.uri().authority();
    let value = match (host, authority) {
        (Some(host), None) => host.clone(),
        (None, Some(authority)) => {
            HeaderValue::from_str(authority.as_str()).map_err(|_| Page::BadHost)?
        }
        (Some(host), Some(authority)) => {
            let text = host.to_str().map_err(|_| Page::BadHost)?;
            if !text.eq_ignore_ascii_case(authority.as_str()) {
                return Err(Page::BadHost);
            }
            host.clone()
        }
        (None, None) => return Err(Page::BadHost),
    };
    let name = value.to_str().ok().and_then(name_of).ok_or(Page::BadHost)?;
    Ok(Addressee { value, name })
}

fn only_host(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Page> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (host, None) => Ok(host),
        (_, Some(_)) => Err(Page::BadHost),
    }
}

/// The target without scheme and host.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |it| it.as_str());
    path.parse().unwrap_or_else(|_| Uri::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_request_names_one_host() {
        for (uri, hosts, name) in [
            ("/", &["abc.ctf.test"][..], Some("abc.ctf.test")),
            ("/", &["ABC.ctf.test:8443"], Some("abc.ctf.test")),
            ("*", &["abc.ctf.test"], Some("abc.ctf.test")),
            ("http://abc.ctf.test/x", &["abc.ctf.test"], Some("abc.ctf.test")),
            ("http://abc.ctf.test/x", &["ABC.ctf.test"], Some("abc.ctf.test")),
            ("http://abc.ctf.test:81/x", &["abc.ctf.test:81"], Some("abc.ctf.test")),
            // HTTP/2 has it in the target only.
            ("https://abc.ctf.test/x", &[], Some("abc.ctf.test")),
            // a03: another host in the target than in `Host`.
            ("http://evil.test/x", &["abc.ctf.test"], None),
            ("http://abc.ctf.test/x", &["evil.test"], None),
            ("http://abc.ctf.test:80/x", &["abc.ctf.test"], None),
            ("http://user@abc.ctf.test/x", &["abc.ctf.test"], None),
            ("/", &[], None),
            ("/", &["abc.ctf.test", "abc.ctf.test"], None),
            ("/", &["abc.ctf.test, evil.test"], None),
            ("/", &["abc.ctf.test@evil.test"], None),
            ("/", &[""], None),
        ] {
            let found = addressee(&request(uri, hosts)).ok().map(|it| it.name);
            assert_eq!(found.as_deref(), name, "{uri} {hosts:?}");
        }
    }

    #[test]
    fn a_target_goes_on_without_scheme_and_host_and_otherwise_as_it_is() {
        for (uri, target) in [
            ("/", "/"),
            ("/a/../b//c?x=%2e%2e&y", "/a/../b//c?x=%2e%2e&y"),
            ("http://abc.ctf.test/a?b", "/a?b"),
            ("http://abc.ctf.test", "/"),
            ("*", "*"),
        ] {
            assert_eq!(origin_form(&uri.parse().unwrap()).to_string(), target);
        }
    }
}
