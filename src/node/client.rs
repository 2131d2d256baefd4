//! A node on another machine, over HTTP.
//!
//! # Invariants
//! * Every call has a deadline, follows no redirect and reads a bounded answer.
//! * An answer about another instance than the one that was asked for is no answer.
//! * The token travels in a header only and is never logged.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::tls::{self, Pin};
use super::wire::{
    AgentRuntime, BuildAllReply, BuildReply, BuildStates, Container, Done, FileEntry, FileList,
    Health, Heartbeat, HeartbeatReply, InstanceHealth, InstanceState, LiveReply, Logs,
    RegisterOrder, RegisterReply, RenewOrder, RescanReply, ResetOrder, ShellOrder, StartOrder,
    Stopped, VpnOrder, VpnSessions,
};
use super::{Node, NodeError, NodeFile, Outcome, socket};
use crate::builder::{Carrier, Supplied};
use crate::model::{BuildKey, ChallengeId, InstanceId, NodeUrl};
use crate::runtime::{Terminal, is_digest};
use crate::telemetry::Chain;

/// How long a question may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a start or a stop may take: the node has deadlines of its own, which are shorter.
const LONG: Duration = Duration::from_secs(400);
/// How long an image may take.
const TRANSFER: Duration = Duration::from_secs(3600);
/// The header that says which image a body is: the id that it has on the engine it comes from.
pub const IMAGE_ID: &str = "x-flagops-image";
/// The header with the digest that the image has in the registry that was named; the body is empty then.
pub const IMAGE_DIGEST: &str = "x-flagops-registry-digest";
/// Largest answer in JSON, in bytes.
const MAX_JSON: usize = 8 << 20;
/// Largest file, profile or capture, in bytes.
const MAX_BODY: usize = 256 << 20;
/// How much of a refusal's words is kept, in characters.
const MAX_WORDS: usize = 500;

/// A node on another machine.
#[derive(Clone)]
pub struct HttpNode {
    http: reqwest::Client,
    url: NodeUrl,
    token: String,
}

impl std::fmt::Debug for HttpNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpNode").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Makes clients of nodes and platforms, which share their connections: no redirects, no proxy of the
/// environment.
#[derive(Debug, Clone)]
pub struct Connector {
    http: reqwest::Client,
}

impl Connector {
    /// One for plain http and, with the roots of the system, https.
    ///
    /// # Errors
    /// When TLS cannot be set up, with the library's words.
    pub fn new() -> Result<Self, String> {
        // Idempotent: whoever was first has installed the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::of(reqwest::Client::builder())
    }

    /// One that talks to the holder of one key only, and over TLS only.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn pinned(pin: Pin) -> Result<Self, String> {
        let builder = reqwest::Client::builder().tls_backend_preconfigured(tls::pinned(pin)?);
        Self::of(builder.https_only(true))
    }

    fn of(builder: reqwest::ClientBuilder) -> Result<Self, String> {
        let http = builder
            .user_agent(concat!("flagops/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(DEADLINE)
            .build()
            .map_err(|error| Chain(&error.without_url()).to_string())?;
        Ok(Self { http })
    }

    /// The node at `url`, which knows us by `token`.
    pub fn node(&self, url: NodeUrl, token: String) -> HttpNode {
        HttpNode { http: self.http.clone(), url, token }
    }

    /// The platform at `url`.
    pub fn platform(&self, url: NodeUrl) -> HttpPlatform {
        HttpPlatform { http: self.http.clone(), url }
    }
}

/// The platform, as a node sees it.
#[derive(Debug, Clone)]
pub struct HttpPlatform {
    http: reqwest::Client,
    url: NodeUrl,
}

impl HttpPlatform {
    /// Asks to join.
    ///
    /// # Errors
    /// As [`NodeError`]: `Unauthorized` when the invitation is not good.
    pub async fn register(&self, invite: &str, order: &RegisterOrder) -> Outcome<RegisterReply> {
        self.post(&["nodes", "register"], invite, order).await
    }

    /// Says how this node stands.
    ///
    /// # Errors
    /// As [`NodeError`]: `Unauthorized` or `NotFound` when the platform does not know this node.
    pub async fn heartbeat(&self, token: &str, beat: &Heartbeat) -> Outcome<HeartbeatReply> {
        self.post(&["nodes", "heartbeat"], token, beat).await
    }

    /// What is live.
    ///
    /// # Errors
    /// As [`NodeError`].
    pub async fn live(&self, token: &str) -> Outcome<LiveReply> {
        let url = self.url.route(&["nodes", "live"]);
        json(send(self.http.get(url).bearer_auth(token)).await?).await
    }

    /// The image of `key`, if anybody else has it; out of `repository` of a registry, if one is named and
    /// whoever has it uses the same.
    ///
    /// # Errors
    /// As [`NodeError`].
    pub async fn image(
        &self,
        token: &str,
        key: BuildKey,
        repository: Option<&str>,
    ) -> Outcome<ImageReply> {
        let url = self.url.route(&["nodes", "images", &key.to_string()]);
        let request = self.http.get(url).bearer_auth(token).timeout(TRANSFER);
        let request = by_way_of(request, repository);
        let response = match send(request).await {
            // An older platform hands none out.
            Err(NodeError::NotFound(_)) => return Ok(ImageReply::Build),
            response => response?,
        };
        match response.status() {
            StatusCode::OK => Ok(ImageReply::Image(supplied(response)?)),
            StatusCode::NO_CONTENT => Ok(ImageReply::Build),
            _ => Ok(ImageReply::Wait),
        }
    }

    async fn post<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        token: &str,
        body: &impl Serialize,
    ) -> Outcome<T> {
        let request = self.http.post(self.url.route(segments)).bearer_auth(token).json(body);
        json(send(request).await?).await
    }
}

/// What a platform says to a node that wants an image.
pub enum ImageReply {
    /// Here it is.
    Image(Supplied),
    /// Somebody builds it: ask again.
    Wait,
    /// Nobody has it: build it.
    Build,
}

/// The image in `response`.
fn supplied(response: Response) -> Outcome<Supplied> {
    let id = response.headers().get(IMAGE_ID).and_then(|it| it.to_str().ok());
    let id = id.filter(|id| id.starts_with("sha256:") && id.len() == 71);
    let id = id.ok_or_else(|| strange("it did not say which image this is"))?.to_owned();
    if let Some(digest) = response.headers().get(IMAGE_DIGEST) {
        let digest = digest.to_str().ok().filter(|it| is_digest(it));
        let digest = digest.ok_or_else(|| strange("it named no digest of an image"))?.to_owned();
        return Ok(Supplied { id, carrier: Carrier::Registry(digest) });
    }
    let bytes = response.bytes_stream().map_err(|error| std::io::Error::other(error.without_url()));
    Ok(Supplied { id, carrier: Carrier::Bytes(bytes.boxed()) })
}

fn by_way_of(request: RequestBuilder, repository: Option<&str>) -> RequestBuilder {
    match repository {
        Some(repository) => request.query(&[("registry", repository)]),
        None => request,
    }
}

impl HttpNode {
    fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        self.http.request(method, self.url.route(segments)).bearer_auth(&self.token)
    }

    async fn get<T: DeserializeOwned>(&self, segments: &[&str]) -> Outcome<T> {
        json(send(self.request(Method::GET, segments)).await?).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        body: &impl Serialize,
    ) -> Outcome<T> {
        json(send(self.request(Method::POST, segments).timeout(LONG).json(body)).await?).await
    }

    fn of(id: InstanceId, state: InstanceState) -> Outcome<InstanceState> {
        if state.instance_id == id.to_string() {
            return Ok(state);
        }
        Err(strange("it spoke of another instance"))
    }
}

#[async_trait]
impl Node for HttpNode {
    async fn health(&self) -> Outcome<Health> {
        self.get(&["health"]).await
    }

    async fn readiness(&self) -> Outcome<()> {
        self.health().await.map(|_| ())
    }

    async fn start(&self, order: StartOrder) -> Outcome<InstanceState> {
        let id: InstanceId = order
            .instance_id
            .parse()
            .map_err(|error: crate::model::IdError| NodeError::Invalid(error.to_string()))?;
        let state: InstanceState = self.post(&["instances"], &order).await?;
        Self::of(id, state)
    }

    async fn status(&self, id: InstanceId) -> Outcome<InstanceState> {
        let state = self.get(&["instances", &id.to_string(), "status"]).await?;
        Self::of(id, state)
    }

    async fn instances(&self) -> Outcome<Vec<InstanceState>> {
        self.get(&["instances"]).await
    }

    async fn stop(&self, id: InstanceId) -> Outcome<()> {
        let request = self.request(Method::DELETE, &["instances", &id.to_string()]).timeout(LONG);
        let stopped: Stopped = json(send(request).await?).await?;
        if stopped.instance_id == id.to_string() {
            Ok(())
        } else {
            Err(strange("it stopped another"))
        }
    }

    async fn renew(&self, id: InstanceId, ttl_secs: u32) -> Outcome<InstanceState> {
        let order = RenewOrder { ttl: ttl_secs };
        let state = self.post(&["instances", &id.to_string(), "renew"], &order).await?;
        Self::of(id, state)
    }

    async fn reset(&self, id: InstanceId, order: ResetOrder) -> Outcome<InstanceState> {
        let state = self.post(&["instances", &id.to_string(), "reset"], &order).await?;
        Self::of(id, state)
    }

    async fn is_healthy(&self, id: InstanceId) -> Outcome<bool> {
        let health: InstanceHealth = self.get(&["instances", &id.to_string(), "health"]).await?;
        Ok(health.is_healthy)
    }

    async fn agent_runtime(&self, id: InstanceId) -> Outcome<AgentRuntime> {
        self.get(&["instances", &id.to_string(), "agent-runtime"]).await
    }

    async fn logs(&self, id: InstanceId) -> Outcome<String> {
        let logs: Logs = self.get(&["instances", &id.to_string(), "container-logs"]).await?;
        Ok(logs.logs)
    }

    async fn traffic(&self, id: InstanceId) -> Outcome<Vec<serde_json::Value>> {
        self.get(&["instances", &id.to_string(), "traffic"]).await
    }

    async fn pcap(&self, id: InstanceId) -> Outcome<Bytes> {
        let request = self.request(Method::GET, &["instances", &id.to_string(), "pcap"]);
        bytes(send(request.timeout(LONG)).await?, MAX_BODY).await
    }

    async fn containers(&self, id: InstanceId) -> Outcome<Vec<Container>> {
        self.get(&["instances", &id.to_string(), "containers"]).await
    }

    async fn shell(&self, id: InstanceId, order: ShellOrder) -> Outcome<Terminal> {
        let request = self.request(Method::GET, &["instances", &id.to_string(), "shell"]);
        let request = socket::asking(request.query(&order));
        socket::opened(send(request).await?).await.map_err(|why| strange(&why))
    }

    async fn files(&self, id: InstanceId) -> Outcome<Vec<FileEntry>> {
        let list: FileList = self.get(&["instances", &id.to_string(), "attachments"]).await?;
        Ok(list.files)
    }

    async fn file(&self, id: InstanceId, name: &str) -> Outcome<NodeFile> {
        let id = id.to_string();
        let segments: Vec<&str> =
            ["instances", &id, "attachments"].into_iter().chain(name.split('/')).collect();
        let response = send(self.request(Method::GET, &segments).timeout(LONG)).await?;
        let tag = response.headers().get(header::ETAG).and_then(|it| it.to_str().ok());
        let tag = tag.unwrap_or_default().trim_matches('"').chars().take(80).collect();
        Ok(NodeFile { content: bytes(response, MAX_BODY).await?, tag })
    }

    async fn openvpn_config(&self, id: InstanceId, holder: Option<Uuid>) -> Outcome<Bytes> {
        let request = self.request(Method::GET, &["instances", &id.to_string(), "openvpn-config"]);
        let request = match holder {
            Some(holder) => request.query(&[("holder", holder)]),
            None => request,
        };
        bytes(send(request).await?, MAX_JSON).await
    }

    async fn admit(&self, id: InstanceId, order: VpnOrder) -> Outcome<()> {
        let request = self.request(Method::PUT, &["instances", &id.to_string(), "vpn"]);
        let _: Done = json(send(request.json(&order)).await?).await?;
        Ok(())
    }

    async fn vpn_sessions(&self, id: InstanceId) -> Outcome<VpnSessions> {
        self.get(&["instances", &id.to_string(), "vpn"]).await
    }

    async fn image(&self, key: BuildKey, repository: Option<&str>) -> Outcome<Supplied> {
        let request = self.request(Method::GET, &["images", &key.to_string()]).timeout(TRANSFER);
        supplied(send(by_way_of(request, repository)).await?)
    }

    async fn stop_all(&self) -> Outcome<()> {
        let _: Done = self.post(&["admin", "stop-all"], &serde_json::json!({})).await?;
        Ok(())
    }

    async fn rescan(&self) -> Outcome<RescanReply> {
        self.post(&["admin", "rescan-challenges"], &serde_json::json!({})).await
    }

    async fn build(&self, id: ChallengeId) -> Outcome<BuildReply> {
        let segments = ["admin", "challenges", id.as_str(), "build"];
        self.post(&segments, &serde_json::json!({})).await
    }

    async fn build_all(&self) -> Outcome<BuildAllReply> {
        self.post(&["admin", "challenges", "build-all"], &serde_json::json!({})).await
    }

    async fn build_states(&self) -> Outcome<BuildStates> {
        self.get(&["admin", "challenges", "build-state"]).await
    }
}

/// Sends `request`; what is no success is an error with the other side's words.
///
/// # Errors
/// As [`NodeError`].
async fn send(request: RequestBuilder) -> Outcome<Response> {
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    let text = bytes(response, MAX_JSON).await.unwrap_or_default();
    let words = words(&text, status);
    Err(match status {
        StatusCode::NOT_FOUND => NodeError::NotFound(words),
        StatusCode::CONFLICT => NodeError::Conflict(words),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => NodeError::Unauthorized(words),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => NodeError::Invalid(words),
        status if status.is_redirection() => strange("it answers with a redirect"),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            NodeError::Unreachable(words)
        }
        _ => NodeError::Failed(words),
    })
}

/// The body as `T`.
///
/// # Errors
/// [`NodeError::Unreachable`]: who does not speak like a node is none.
async fn json<T: DeserializeOwned>(response: Response) -> Outcome<T> {
    let body = bytes(response, MAX_JSON).await?;
    serde_json::from_slice(&body).map_err(|_| strange("its answer is of no known shape"))
}

async fn bytes(mut response: Response, limit: usize) -> Outcome<Bytes> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > limit {
            return Err(strange("its answer is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn unreachable(error: reqwest::Error) -> NodeError {
    NodeError::Unreachable(Chain(&error.without_url()).to_string())
}

fn strange(what: &str) -> NodeError {
    NodeError::Unreachable(format!("who answers there does not speak like a flagops node: {what}"))
}

/// What is wrong, in the other side's words: `detail` as text or with a `message`; hostile, on one line.
fn words(body: &[u8], status: StatusCode) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let detail = &value["detail"];
    let text = detail.as_str().or_else(|| detail["message"].as_str());
    let text = text.map_or_else(|| format!("HTTP {status}"), str::to_owned);
    text.chars().take(MAX_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::{any, header};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    /// What a client makes of `answer` to a question about an instance.
    async fn told(answer: ResponseTemplate) -> Outcome<InstanceState> {
        let server = MockServer::start().await;
        let is_ours = header("authorization", "Bearer secret");
        Mock::given(is_ours).respond_with(answer).mount(&server).await;
        Mock::given(any()).respond_with(ResponseTemplate::new(401)).mount(&server).await;
        let node =
            Connector::new().unwrap().node(server.uri().parse().unwrap(), "secret".to_owned());
        assert!(!format!("{node:?}").contains("secret"));
        node.status(id()).await
    }

    fn id() -> InstanceId {
        InstanceId::new(uuid::Uuid::from_bytes([7; 16]))
    }

    #[tokio::test]
    async fn a_lying_node_is_one_that_was_not_reached() {
        let fine = serde_json::json!({"instance_id": id().to_string(), "status": "ready"});
        let told_fine = told(ResponseTemplate::new(200).set_body_json(&fine)).await.unwrap();
        assert_eq!(told_fine.status, "ready");
        let other = serde_json::json!({"instance_id": "x", "status": "ready"});
        for answer in [
            ResponseTemplate::new(200).set_body_json(other),
            ResponseTemplate::new(200).set_body_string("<html>"),
            ResponseTemplate::new(200).set_body_bytes(vec![b' '; MAX_JSON + 1]),
            ResponseTemplate::new(302).insert_header("location", "http://169.254.169.254/"),
            ResponseTemplate::new(503),
        ] {
            let told = told(answer).await;
            assert!(matches!(told, Err(NodeError::Unreachable(_))), "{told:?}");
        }
        let gone = told(
            ResponseTemplate::new(404)
                .set_body_json(serde_json::json!({"detail": "Instance not found"})),
        );
        assert_eq!(gone.await, Err(NodeError::NotFound("Instance not found".to_owned())));
    }

    #[test]
    fn a_refusal_keeps_its_words_and_nothing_that_breaks_a_line() {
        let status = StatusCode::CONFLICT;
        assert_eq!(words(br#"{"detail":"no\nway"}"#, status), "no way");
        assert_eq!(words(br#"{"detail":{"message":"why"}}"#, status), "why");
        assert_eq!(words(b"<html>", status), "HTTP 409 Conflict");
        assert_eq!(words(&[b'a'; 9], status), "HTTP 409 Conflict");
    }
}
