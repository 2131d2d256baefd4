//! One request and its answer, as the contract's flow record.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A request, and what was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// What was asked.
    pub request: Request,
    /// What was answered; `None` where nothing was seen of it.
    pub response: Option<Response>,
    /// When, and between whom.
    pub metadata: Metadata,
    /// Who asked.
    pub client: Peer,
    /// Who was asked.
    pub server: Peer,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Host and target.
    pub url: String,
    /// The header `Host`; the address where there is none.
    pub host: String,
    /// The target without what follows `?`.
    pub path: String,
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub version: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What follows `?`; of a key that is given more often the last value.
    pub query: BTreeMap<String, String>,
    /// Text, or what can be read as text of it.
    pub body: Option<String>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The status.
    pub status_code: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Text, or what can be read as text of it.
    pub body: Option<String>,
    /// The header `Content-Type`.
    pub content_type: String,
    /// Bytes of the body that were seen.
    pub content_length: u64,
}

/// When, and between whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// When the request began: RFC 3339 in UTC, microseconds always, so that texts sort as times.
    pub timestamp: String,
    /// Milliseconds until the answer was there.
    pub duration: f64,
    /// Who spoke with whom. Whoever reads packets does not know; whoever knows the networks sets it.
    #[serde(default)]
    pub side: Side,
}

/// Whether somebody from outside of the instance asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// One of its own services, or nobody knows.
    #[default]
    Inside,
    /// A player.
    Outside,
}

/// One end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
}
