//! The answers that are ours and not an instance's: small pages that bear `Server: flagops`.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER,
    SERVER, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use super::framing::Refusal;
use super::headers::SERVER_NAME;

/// What we answer ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    /// The message has more than one reading, or asks for what is not served.
    Refused(Refusal),
    /// The request names no host, or two.
    BadHost,
    /// The request is for another host than the connection.
    Misdirected,
    /// No instance has that name. All unknown names look alike.
    Unknown,
    /// The instance is on its way.
    Starting,
    /// The instance has as many connections as it may.
    Busy,
    /// The service does not take connections, or what it says is no HTTP.
    NoAnswer,
    /// The service took longer than allowed.
    TooLate,
    /// TLS is spoken elsewhere; the address is checked.
    Moved(String),
}

impl Page {
    fn words(&self) -> (u16, &'static str) {
        match self {
            Self::Refused(refusal) => refusal.words(),
            Self::BadHost => (400, "The request must name one host."),
            Self::Misdirected => (421, "The request is for another host than the connection."),
            Self::Unknown => (404, "There is no instance here. It may have ended: start another."),
            Self::Starting => (503, "The instance is starting. Try again in a moment."),
            Self::Busy => (503, "The instance has too many connections. Try again in a moment."),
            Self::NoAnswer => (502, "The service of the instance does not answer as it should."),
            Self::TooLate => (504, "The service of the instance took too long to answer."),
            Self::Moved(_) => (308, "TLS is spoken elsewhere."),
        }
    }

    /// Its status.
    pub(super) fn status(&self) -> u16 {
        self.words().0
    }

    /// The whole answer. Nothing of the request is in it, save for a checked address.
    pub(super) fn answer(&self) -> Response<Full<Bytes>> {
        let (status, sentence) = self.words();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let title = status.canonical_reason().unwrap_or("Error");
        let page = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n\
             <h1>{} {title}</h1>\n<p>{sentence}</p>\n</html>\n",
            status.as_u16()
        );
        let mut answer = Response::new(Full::new(Bytes::from(page)));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static(SERVER_NAME));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        match self {
            Self::Starting | Self::Busy => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            Self::Moved(address) => {
                if let Ok(address) = HeaderValue::from_str(address) {
                    headers.insert(LOCATION, address);
                }
            }
            Self::Refused(_)
            | Self::BadHost
            | Self::Misdirected
            | Self::Unknown
            | Self::NoAnswer
            | Self::TooLate => {}
        }
        answer
    }
}
