//! Talks to a running server over its HTTP API.
//!
//! In:  where the server is, and a token. Out: typed answers (`calls`), JSON for the rest of the API, or a
//! [`ClientError`] that names the URL, what happened, and the next command.
//!
//! # Invariants
//! * The token is sent to the named server only (redirects are not followed) and never shown.
//! * The administrator's token from the data directory is sent to this machine only; another
//!   server gets a token that somebody named.
//! * Ids become whole path segments; `.`, `..` and the empty text are refused, since they would
//!   change what a `DELETE` means.

mod calls;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::config::Secret;
use crate::node::socket;
use crate::runtime::Terminal;
use crate::telemetry::Chain;

pub use calls::{
    DeviceAnswer, DeviceCode, DeviceStatus, InstanceView, Me, Membership, Place, StartWish,
    Started, Step,
};

/// Most bytes of one answer that are read.
const LIMIT_BYTES: usize = 80 << 20;
/// Rows asked for at a time.
const PAGE: u64 = 500;
/// Most pages of one listing: more rows than any event has.
const MAX_PAGES: u64 = 1000;

/// Where the token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenOrigin {
    /// `--token` or its variable.
    Given,
    /// A file that was named.
    File(PathBuf),
    /// `flagops login`, which kept it in this file.
    Login(PathBuf),
    /// `admin.token` in the data directory.
    DataDir(PathBuf),
    /// Made by the server a moment ago for a team.
    Minted,
    /// There is none; the reason.
    None(String),
}

impl fmt::Display for TokenOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("the token from `--token` or FLAGOPS_TOKEN"),
            Self::File(path) | Self::DataDir(path) => {
                write!(f, "the token in `{}`", path.display())
            }
            Self::Login(path) => write!(f, "the token of `flagops login` in `{}`", path.display()),
            Self::Minted => f.write_str("the token made for the team"),
            Self::None(reason) => write!(f, "no token ({reason})"),
        }
    }
}

/// A server and who we are to it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret<String>>,
    origin: TokenOrigin,
}

/// Why the server did not do it.
#[derive(Debug, Error)]
pub enum ClientError {
    /// It cannot be asked at all.
    #[error("`--url` (FLAGOPS_URL) {problem}")]
    Address {
        /// What is wrong with it.
        problem: String,
    },
    /// This machine cannot speak TLS.
    #[error("could not set up TLS ({})", Chain(.source))]
    Tls {
        /// Why.
        source: reqwest::Error,
    },
    /// Nothing answers there.
    #[error("no server answers at {url} ({})", Chain(.source))]
    Unreachable {
        /// Where.
        url: String,
        /// The transport's words.
        source: reqwest::Error,
    },
    /// It took the request and did not answer in time.
    #[error("the server at {url} did not answer {what} in time")]
    TimedOut {
        /// Where.
        url: String,
        /// Method and path.
        what: String,
    },
    /// It does not accept the token, or the token may not do this.
    #[error("the server at {url} refused {what} with {origin}: {detail}")]
    Denied {
        /// Where.
        url: String,
        /// Method and path.
        what: String,
        /// Which token.
        origin: TokenOrigin,
        /// The server's words.
        detail: String,
    },
    /// It understood and said no.
    #[error("the server at {url} refused {what}: {detail} ({code})")]
    Refused {
        /// Where.
        url: String,
        /// Method and path.
        what: String,
        /// The HTTP status.
        status: u16,
        /// The stable word of the error, e.g. `challenge_not_found`.
        code: String,
        /// The server's words.
        detail: String,
    },
    /// Something answers, and it is not flagops.
    #[error("{url} answered {what} with something else than flagops would ({problem})")]
    NotFlagops {
        /// Where.
        url: String,
        /// Method and path.
        what: String,
        /// What is odd.
        problem: String,
    },
}

impl ClientError {
    /// What to do about it.
    pub fn next(&self) -> String {
        match self {
            Self::Address { .. } => "give e.g. `--url http://127.0.0.1:8100`".into(),
            Self::Tls { .. } => {
                "install the root certificates of the system (`ca-certificates`)".into()
            }
            Self::Denied { origin: TokenOrigin::Login(_), .. } => {
                "`flagops whoami` says who that is; `flagops login` signs in as somebody else, and \
                 `--token-file` names another token"
                    .into()
            }
            Self::Unreachable { .. } => {
                "start one with `flagops serve --repo PATH_OR_URL`, or name it with `--url`".into()
            }
            Self::TimedOut { .. } => "look at its log, then try again with `--timeout 600`".into(),
            Self::Denied { .. } => {
                "sign in with `flagops login`, name the right token with `--token-file`, or run where \
                 the data directory is (`--data-dir`)"
                    .into()
            }
            Self::Refused { code, .. } => next_after(code),
            Self::NotFlagops { .. } => "check `--url`".into(),
        }
    }

    /// The stable word of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Address { .. }
            | Self::Tls { .. }
            | Self::Denied { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::NotFlagops { .. } => None,
        }
    }

    /// The HTTP status, when the server answered with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Denied { .. } => Some(403),
            Self::Address { .. }
            | Self::Tls { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::NotFlagops { .. } => None,
        }
    }
}

fn next_after(code: &str) -> String {
    match code {
        "challenge_not_found" => "`flagops challenges` lists what there is",
        "instance_not_found" => "`flagops instances` lists what there is",
        "capacity_exceeded" => "stop some with `flagops instances stop`, or raise `[limits]`",
        "no_receiver" => {
            "put the address of a webhook into a file (mode 0600), set `url_file` below `[notify]` \
             and restart the server"
        }
        "notice_not_delivered" => {
            "correct the address in the file of `notify.url_file`, or `notify.format`, and try again"
        }
        "http_404" => "the server may be of another version: `flagops version`",
        _ => "`flagops status` and the server's log say more",
    }
    .to_owned()
}

/// The parts of one request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Path below `/api/v1`, segment by segment.
    pub path: &'a [&'a str],
    /// Query parameters.
    pub query: &'a [(&'a str, String)],
}

impl<'a> Request<'a> {
    /// A request without query.
    pub fn to(path: &'a [&'a str]) -> Self {
        Self { path, query: &[] }
    }
}

impl Client {
    /// A client of the server at `url`; nothing is sent yet.
    ///
    /// # Errors
    /// When `url` is not one that we can speak to.
    pub fn new(
        url: &str,
        token: Option<Secret<String>>,
        origin: TokenOrigin,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let base = parse_url(url)?;
        // Idempotent: whoever was first has installed the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("flagops/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(timeout);
        if base.scheme() == "http" {
            // Without TLS no root certificates are needed, and a minimal image has none.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|source| ClientError::Tls { source })?;
        Ok(Self { http, base, token, origin })
    }

    /// The server, as it was named.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Where the token comes from.
    pub fn origin(&self) -> &TokenOrigin {
        &self.origin
    }

    /// The same server, as a member of team `name`: asks it for a token of that team, which makes
    /// the team when it is new.
    ///
    /// # Errors
    /// When the server does not answer, or we are not an administrator.
    pub async fn for_team(&self, name: &str) -> Result<Self, ClientError> {
        let answer = self.mint(name, "").await?;
        let token = Some(Secret::new(text(&answer, "token").to_owned()));
        Ok(Self { token, origin: TokenOrigin::Minted, ..self.clone() })
    }

    /// Makes a token for team `name` in a competition, which may be empty where one only is
    /// published: `{token, team_id, team_name, competition_id}`.
    ///
    /// # Errors
    /// As [`Self::for_team`].
    pub async fn mint(&self, name: &str, competition: &str) -> Result<Value, ClientError> {
        let request = Request::to(&["admin", "tokens"]);
        let mut body = serde_json::json!({ "team": name });
        if !competition.is_empty() {
            body["competition"] = competition.into();
        }
        let answer = self.post(request, Some(&body)).await?;
        if text(&answer, "token").is_empty() {
            return Err(self.odd("POST /api/v1/admin/tokens", "there is no token in the answer"));
        }
        Ok(answer)
    }

    /// Reads one document.
    ///
    /// # Errors
    /// When the server does not answer, or says no.
    pub async fn get(&self, request: Request<'_>) -> Result<Value, ClientError> {
        self.json(Method::GET, request, None).await
    }

    /// Reads one text; of a JSON answer, the text inside.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_text(&self, request: Request<'_>) -> Result<String, ClientError> {
        let (_, bytes) = self.send(Method::GET, request, None).await?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(match serde_json::from_slice::<Value>(&bytes) {
            Ok(Value::String(inner)) => inner,
            Ok(Value::Object(fields)) => {
                let inner =
                    ["logs", "log", "text"].iter().find_map(|key| fields.get(*key)?.as_str());
                inner.map_or(text, str::to_owned)
            }
            _ => text,
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_bytes(&self, request: Request<'_>) -> Result<Vec<u8>, ClientError> {
        Ok(self.send(Method::GET, request, None).await?.1)
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(
        &self,
        request: Request<'_>,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        self.json(Method::POST, request, body).await
    }

    /// Changes something.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn patch(&self, request: Request<'_>, body: &Value) -> Result<Value, ClientError> {
        self.json(Method::PATCH, request, Some(body)).await
    }

    /// Puts something in the place of what was there.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn put(&self, request: Request<'_>, body: &Value) -> Result<Value, ClientError> {
        self.json(Method::PUT, request, Some(body)).await
    }

    /// Removes something.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn delete(&self, request: Request<'_>) -> Result<Value, ClientError> {
        self.json(Method::DELETE, request, None).await
    }

    /// Every row of a listing, page by page.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn list(&self, request: Request<'_>) -> Result<Vec<Value>, ClientError> {
        let mut rows = Vec::new();
        for page in 0..MAX_PAGES {
            let mut query = request.query.to_vec();
            query.push(("limit", PAGE.to_string()));
            query.push(("offset", (page * PAGE).to_string()));
            let answer = self.get(Request { path: request.path, query: &query }).await?;
            let (items, total) = match answer {
                // Some listings have no envelope; they come whole.
                Value::Array(items) => return Ok(items),
                envelope => {
                    let items = envelope["items"].as_array().cloned().unwrap_or_default();
                    (items, envelope["total"].as_f64().unwrap_or(0.0))
                }
            };
            let is_last = items.is_empty() || (rows.len() + items.len()) as f64 >= total;
            rows.extend(items);
            if is_last {
                break;
            }
        }
        Ok(rows)
    }

    /// As [`Self::get`] and its like, with an answer of a known shape.
    async fn typed<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<T, ClientError> {
        let (what, bytes) = self.send(method, Request::to(path), body).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| self.odd(&what, &format!("the answer has another shape: {error}")))
    }

    async fn json(
        &self,
        method: Method,
        request: Request<'_>,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let (what, bytes) = self.send(method, request, body).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| self.odd(&what, "the answer is not JSON"))
    }

    /// Sends one request; returns its name and the body of a successful answer.
    async fn send(
        &self,
        method: Method,
        request: Request<'_>,
        body: Option<&Value>,
    ) -> Result<(String, Vec<u8>), ClientError> {
        let Some(url) = self.address(request) else {
            let what = format!("{method} {}", request.path.join("/"));
            return Err(self.odd(&what, "an id in the path is empty or not one name"));
        };
        let what = format!("{method} {}", url.path());
        let mut sending = self.http.request(method, url);
        if let Some(token) = &self.token {
            sending = sending.bearer_auth(token.reveal());
        }
        if let Some(body) = body {
            sending = sending.json(body);
        }
        let failed = |source: reqwest::Error| self.transport(&what, source);
        let mut response = sending.send().await.map_err(failed)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > LIMIT_BYTES {
                return Err(self.odd(&what, "the answer has more than 80 MiB"));
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            Ok((what, bytes))
        } else {
            Err(self.refusal(what, status, &bytes))
        }
    }

    /// Opens a terminal.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn terminal(&self, request: Request<'_>) -> Result<Terminal, ClientError> {
        let what = format!("GET /api/v1/{}", request.path.join("/"));
        let odd = |problem: &str| self.odd(&what, problem);
        let url = self.address(request).ok_or_else(|| odd("an id in the path is empty"))?;
        let failed = |source: reqwest::Error| self.transport(&what, source.without_url());
        let response = socket::asking(self.http.get(url)).send().await.map_err(failed)?;
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return socket::opened(response).await.map_err(|why| odd(&why));
        }
        let bytes = response.bytes().await.map_err(failed)?;
        Err(self.refusal(what.clone(), status, &bytes))
    }

    fn address(&self, request: Request<'_>) -> Option<Url> {
        let is_segment = |segment: &&str| !matches!(*segment, "" | "." | "..");
        if !request.path.iter().all(is_segment) {
            return None;
        }
        let mut url = self.base.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(["api", "v1"]).extend(request.path);
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(request.query);
        }
        Some(url)
    }

    fn transport(&self, what: &str, source: reqwest::Error) -> ClientError {
        let url = self.url().to_owned();
        // A connection that was not made in time is no answer at all.
        if source.is_timeout() && !source.is_connect() {
            return ClientError::TimedOut { url, what: what.to_owned() };
        }
        // The URL is named already.
        ClientError::Unreachable { url, source: source.without_url() }
    }

    fn odd(&self, what: &str, problem: &str) -> ClientError {
        let (url, what) = (self.url().to_owned(), what.to_owned());
        ClientError::NotFlagops { url, what, problem: problem.to_owned() }
    }

    fn refusal(&self, what: String, status: StatusCode, bytes: &[u8]) -> ClientError {
        let url = self.url().to_owned();
        let envelope: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
        let detail = match &envelope["detail"] {
            Value::String(text) => text.clone(),
            Value::Object(fields) => match fields.get("message").and_then(Value::as_str) {
                Some(message) => message.to_owned(),
                None => envelope["detail"].to_string(),
            },
            Value::Null if envelope.is_null() => {
                return self
                    .odd(&what, &format!("HTTP status {status} without our error envelope"));
            }
            other => other.to_string(),
        };
        let detail = detail.chars().take(500).collect();
        if matches!(status.as_u16(), 401 | 403) {
            return ClientError::Denied { url, what, origin: self.origin.clone(), detail };
        }
        let code = match text(&envelope, "code") {
            "" => format!("http_{}", status.as_u16()),
            code => code.to_owned(),
        };
        ClientError::Refused { url, what, status: status.as_u16(), code, detail }
    }
}

/// Whether `url` leads to this machine, so that its data directory may be that server's.
pub fn is_local(url: &str) -> bool {
    let Ok(url) = parse_url(url) else { return false };
    url.host_str().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

fn parse_url(text: &str) -> Result<Url, ClientError> {
    let wrong = |problem: String| ClientError::Address { problem };
    let url = Url::parse(text.trim()).map_err(|error| wrong(format!("is not a URL ({error})")))?;
    let problem = match url.scheme() {
        "http" | "https" if !url.username().is_empty() || url.password().is_some() => {
            "contains credentials; use `--token-file`"
        }
        "http" | "https" if url.query().is_some() || url.fragment().is_some() => {
            "has a query or a fragment"
        }
        "http" | "https" => return Ok(url),
        _ => "has neither scheme `http` nor `https`",
    };
    Err(wrong(problem.to_owned()))
}

/// The text at `key`; empty when there is none.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}
